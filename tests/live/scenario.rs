//! Minutes of three live sources over a link that loses 5 %, with outages, and with everybody killed now and then. What
//! was captured is stored or declared, and each drop has its reason.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use framelane::frame::UnixNanos;
use framelane::link::Privilege;
use rustix::process::Signal;

use crate::camera;
use crate::ends::{Ends, Running, time};

/// How long the link is away, each time.
const AWAY: Duration = Duration::from_secs(10);

/// An event explains what was late this long after it: a deadline, and the time to begin anew.
const AFTERMATH: Duration = Duration::from_secs(3);

/// PNGs written a second.
const WRITTEN: f64 = 10.0;

/// What memory may grow by between the first third of a run and its end.
const GROWTH: u64 = 16 << 20;

/// Something that costs frames, and when, in nanoseconds since 1970.
struct Event {
    what: String,
    when: Range<u64>,
}

/// Memory of both ends: the most in the first third, in the second, and in the last, in bytes.
#[derive(Default)]
struct Memory {
    sender: [u64; 3],
    receiver: [u64; 3],
}

struct Stage<'a> {
    ends: &'a Ends,
    began: Instant,
    total: Duration,
    events: Vec<Event>,
    memory: Memory,
}

pub(crate) fn run(privilege: Privilege, seconds: u64) -> Result<()> {
    ensure!(seconds >= 60, "a minute at least");
    let (first, second) = (seconds / 3, seconds * 2 / 3);
    let away = AWAY.as_secs();
    let link = format!(
        "rate=20mbit,delay=25ms,loss=5%,queue=100ms,outage={first}s+{away}s,outage={second}s+{away}s"
    );
    println!("{seconds} s over {link}");
    let ends = Ends::new(privilege, &link.parse()?)?;
    let mut stage = Stage {
        ends: &ends,
        began: Instant::now(),
        total: Duration::from_secs(seconds),
        events: Vec::new(),
        memory: Memory::default(),
    };
    for at in [first, second] {
        let from = unix(stage.began + Duration::from_secs(at));
        let to = from + (AWAY + AFTERMATH).as_nanos() as u64;
        stage.events.push(Event { what: "the link was away".to_owned(), when: from..to });
    }
    stage.play().with_context(|| ends.said())
}

impl Stage<'_> {
    fn play(&mut self) -> Result<()> {
        fs::create_dir(self.ends.path("watched"))?;
        fs::write(self.ends.path("seed.png"), camera::png(200, 150))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (mut receiver, port) = self.ends.receive(0)?;
        let piped = piped()?;
        let mut sender = self.send(port, &piped)?;
        let writer = self.writer(&stop)?;
        let mut push = Command::new(std::env::current_exe()?);
        push.args(["push", &format!("{}:{port}", self.ends.link.far_addr()), &self.ends.pin()?]);
        let pusher = self.ends.beside(push, "pusher.log")?;
        // A sender while all goes well, the receiver, and a sender in an outage: its spool has what the link did not take.
        self.until(0.2, &sender, &receiver);
        sender = self.kill_sender(sender, port, &piped)?;
        self.until(0.5, &sender, &receiver);
        self.note("the receiver was killed");
        receiver.kill()?;
        thread::sleep(Duration::from_secs(1));
        (receiver, _) = self.ends.receive(port)?;
        self.until(2.0 / 3.0, &sender, &receiver);
        thread::sleep(AWAY / 2);
        sender = self.kill_sender(sender, port, &piped)?;
        self.until(1.0, &sender, &receiver);
        stop.store(true, Ordering::Relaxed);
        let written = writer.join().map_err(|_| anyhow::anyhow!("the writer has failed"))??;
        fs::write(self.ends.path("no-more"), "")?;
        let (status, pushed) = pusher.finish()?;
        ensure!(status == Some(0), "the pushing program ends with {status:?}");
        self.last_file(written)?;
        sender.signal(Signal::TERM)?;
        let (status, _) = sender.finish()?;
        ensure!(status == Some(0), "the sender ends with {status:?}");
        receiver.signal(Signal::TERM)?;
        let (status, _) = receiver.finish()?;
        ensure!(status == Some(0), "the receiver ends with {status:?}");
        self.check(written, pushed.trim().parse()?)
    }

    fn send(&self, port: u16, piped: &str) -> Result<Running> {
        let arguments = ["--watch", "watched=./watched", "--live", "watched=300ms", piped];
        let more = ["--spool", "spool", "--retry-for", "120s", "--drain", "60s", "-v"];
        self.ends.send(port, &[&arguments[..], &more].concat())
    }

    fn kill_sender(&mut self, sender: Running, port: u16, piped: &str) -> Result<Running> {
        self.note("the sender was killed");
        sender.kill()?;
        thread::sleep(Duration::from_millis(500));
        self.send(port, piped)
    }

    fn note(&mut self, what: &str) {
        println!("{:4.0} s: {what}", self.began.elapsed().as_secs_f64());
        let from = UnixNanos::now().0;
        // What the sender had read a moment before is lost with it.
        let before = Duration::from_secs(1).as_nanos() as u64;
        let when = from - before..from + AFTERMATH.as_nanos() as u64;
        self.events.push(Event { what: what.to_owned(), when });
    }

    /// Waits until so much of the time is over, and looks at how much memory both ends have meanwhile.
    fn until(&mut self, share: f64, sender: &Running, receiver: &Running) {
        while self.began.elapsed() < self.total.mul_f64(share) {
            thread::sleep(Duration::from_millis(500));
            let gone = self.began.elapsed().as_secs_f64() / self.total.as_secs_f64();
            let third = ((gone * 3.0) as usize).min(2);
            let Memory { sender: sent, receiver: received } = &mut self.memory;
            sent[third] = sent[third].max(sender.memory().unwrap_or(0));
            received[third] = received[third].max(receiver.memory().unwrap_or(0));
        }
    }

    /// Writes PNGs into the watched folder until it is told to stop; how many.
    fn writer(&self, stop: &Arc<AtomicBool>) -> Result<thread::JoinHandle<Result<u64>>> {
        let (stop, folder) = (stop.clone(), self.ends.path("watched"));
        let seed = fs::read(self.ends.path("seed.png"))?;
        Ok(thread::spawn(move || {
            let began = Instant::now();
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                write(&folder, number, &seed)?;
                number += 1;
                let due = began + Duration::from_secs_f64(number as f64 / WRITTEN);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            Ok(number)
        }))
    }

    /// Waits until the last file has been seen: it is stored, or declared.
    fn last_file(&self, written: u64) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let last = self.ends.path("store/watched").join(file(written - 1));
        // One that is late is no fault: then a sender that ends has seen it all the same.
        while !last.exists() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn check(&self, written: u64, pushed: u64) -> Result<()> {
        let (found, words) = self.ends.verify()?;
        println!("{words}");
        let mut drops = 0;
        for source in found["sources"].as_array().context("sources")? {
            let (name, account) =
                (source["source"].as_str().context("a name")?, &source["account"]);
            ensure!(account["state"] == "complete", "{name}: {account}");
            let (mut captured, mut declared) = (0, 0);
            for run in account["runs"]["first"].as_array().context("runs")? {
                let count = |field: &str| run[field].as_u64().unwrap_or(0);
                let settled = count("stored") + count("stored_before") + count("dropped");
                ensure!(count("captured") == settled, "{name}: {run}");
                captured += settled;
                declared += count("dropped");
            }
            let told = self.explain(name)?;
            println!("{name}: {captured} captured, {declared} declared");
            ensure!(told >= declared, "{name}: {told} of {declared} drops are explained");
            drops += declared;
            match name {
                "pushed" => ensure!(captured == pushed, "{pushed} pushed, {captured} counted"),
                "watched" => {
                    // What is late in an event is late for the next sender again, which finds the file.
                    let times = self.events.iter().map(|event| event.when.end - event.when.start);
                    let most = 2.0 * WRITTEN * times.sum::<u64>() as f64 / 1e9;
                    ensure!(declared as f64 <= most, "{declared} drops are more than {most}");
                    // A run that goes on finds files that the one before had already told of.
                    let stored = source["frames"].as_u64().context("frames")?;
                    ensure!(
                        stored <= written && captured >= written,
                        "{written} written, {captured} counted"
                    );
                }
                _ => {}
            }
        }
        let complete = if drops == 0 { "complete" } else { "declared drop" };
        ensure!(words.contains(complete), "{words}");
        self.memory.check()
    }

    /// Says why each drop of a source was; how many frames they are.
    fn explain(&self, source: &str) -> Result<u64> {
        let mut frames = 0;
        for line in self.ends.lines(source, "ledger.jsonl")? {
            let Some(dropped) = line.get("dropped") else { continue };
            let [first, last] = ["first", "last"].map(|field| time(&dropped[field]));
            let (first, last) = (first.context("first")?, last.context("last")?);
            let reason = line["reason"].as_str().context("a reason")?;
            let captured: Vec<u64> = line["captured_unix_ns"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(time)
                .collect();
            let event =
                self.events.iter().find(|event| captured.iter().any(|at| event.when.contains(at)));
            let why = match (reason, event) {
                ("late" | "sender-crashed" | "vanished", Some(event)) => event.what.clone(),
                ("late", None) => {
                    "it did not make it: lost packets, sent again too late".to_owned()
                }
                ("sender-crashed", None) => "the sender was killed".to_owned(),
                // A file is there still: the run of the next process has it.
                ("given-up", _) => {
                    "the sender was killed; these files came again in the next run".to_owned()
                }
                _ => anyhow::bail!("{source}: {line} is explained by nothing"),
            };
            println!("  {source} {first} to {last}: {reason}; {why}");
            frames += last - first + 1;
        }
        Ok(frames)
    }
}

impl Memory {
    fn check(&self) -> Result<()> {
        for (who, [first, second, last]) in [("sender", self.sender), ("receiver", self.receiver)] {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            println!(
                "memory of the {who}: at most {:.1}, {:.1} and {:.1} MiB in the three thirds",
                mib(first),
                mib(second),
                mib(last)
            );
            ensure!(last <= first.max(second) + GROWTH, "the {who} has grown");
        }
        Ok(())
    }
}

fn file(number: u64) -> String {
    format!("{number:06}.png")
}

/// A file that is there whole or not at all.
fn write(folder: &Path, number: u64, seed: &[u8]) -> Result<()> {
    let part = folder.join(format!(".{number}.part"));
    fs::write(&part, seed)?;
    fs::rename(part, folder.join(file(number)))?;
    Ok(())
}

/// The source of the pipe: a real encoder where there is one.
fn piped() -> Result<String> {
    let quiet = |mut command: Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.arg("-version");
    if quiet(ffmpeg).is_ok_and(|status| status.success()) {
        let command = "exec ffmpeg -nostdin -loglevel error -re -f lavfi -i testsrc2=size=640x480:rate=30 \
                       -f image2pipe -c:v mjpeg -q:v 6 -";
        return Ok(format!("piped=cmd:{command}"));
    }
    println!("SKIPPED: there is no ffmpeg; a program of this test makes the frames of the pipe");
    let this = std::env::current_exe()?;
    let this = this.to_str().context("a path that can be written")?;
    Ok(format!("piped=raw:200x150x1:cmd:exec '{this}' camera 30000 30"))
}

fn unix(at: Instant) -> u64 {
    let ahead = at.saturating_duration_since(Instant::now()).as_nanos() as u64;
    UnixNanos::now().0 + ahead
}
