//! A day of two cameras in faster time: 5,184,000 frames over loopback, of 16 days of capture, into the real program with
//! old days removed. Memory and descriptors of the receiver are sampled while it runs, and all that was sent is held
//! against the store at the end.
//! `cargo build --release && cargo run --release --example store_soak -- DIR [FRAMES] [KEEP_MB] [LAYOUT] [MINUTES]`

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use framelane::manifest::Reels;
use framelane::{Frame, Sender};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const DAY: f64 = 86_400.0;
/// Two cameras with 30 frames a second, for a day.
const FRAMES: u64 = 2 * 30 * 86_400;
/// The days that they are captured on, and what a frame weighs.
const DAYS: f64 = 16.0;
const FRAME_BYTES: usize = 1_000;
const SOURCES: [&str; 2] = ["visible", "infrared"];
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().ok_or("name a folder to store in")?;
    let (frames, keep, layout) = (arguments.next(), arguments.next(), arguments.next());
    // Where there is not as much time, what was sent by then is held against the store.
    let minutes = arguments.next().map_or(Ok(u64::MAX / 60), |minutes| minutes.parse())?;
    let frames = frames.map_or(Ok(FRAMES), |frames| frames.parse())?;
    let keep = keep.unwrap_or_else(|| "500".to_owned());
    let root = Path::new(&root).join("store_soak");
    let out = root.join("store");
    if out.exists() {
        return Err(format!("{} is there already; remove it first", out.display()).into());
    }
    let layout = layout.unwrap_or_else(|| "day".to_owned());
    let mut receiver =
        Receiver::start(&root, &["--layout", &layout, "--keep-bytes", &format!("{keep}MB")])?;
    let sender = Sender::to(receiver.address.clone()).pin(&receiver.pin).certs(root.join("sender"));
    let sender = SOURCES.iter().fold(sender, |sender, source| sender.source(*source));
    let sender = Arc::new(sender.start().await?);
    let sent = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let cameras: Vec<_> = SOURCES
        .iter()
        .map(|source| {
            tokio::spawn(camera(source, frames / 2, minutes, sender.clone(), sent.clone()))
        })
        .collect();
    let mut sampled = Vec::new();
    while !cameras.iter().all(tokio::task::JoinHandle::is_finished) {
        tokio::time::sleep(SAMPLE_EVERY).await;
        let sample = receiver.sample(&out, sent.load(Ordering::Relaxed));
        println!("{:>4} s  {sample}", began.elapsed().as_secs());
        sampled.push(sample);
    }
    for camera in cameras {
        camera.await??;
    }
    let sender = Arc::into_inner(sender).ok_or("a camera goes on")?;
    let report = sender.finish().await;
    if !report.is_complete() {
        return Err(format!("not all was stored: {report:?}").into());
    }
    let seconds = began.elapsed().as_secs_f64();
    let sent = sent.load(Ordering::Relaxed);
    println!("sent {sent} frames in {seconds:.0} s, {:.0} a second", sent as f64 / seconds);
    receiver.end()?;
    judge(&out, sent, &sampled, &receiver.lines())
}

/// One camera: as many frames as are taken, captured evenly over the days.
async fn camera(
    source: &'static str,
    frames: u64,
    minutes: u64,
    sender: Arc<Sender>,
    sent: Arc<AtomicU64>,
) -> std::result::Result<(), String> {
    let first = SystemTime::now() - Duration::from_secs_f64((DAYS + 1.0) * DAY);
    let (mut body, began) = (vec![7; FRAME_BYTES], Instant::now());
    for number in 0..frames {
        if began.elapsed() > Duration::from_secs(minutes * 60) {
            break;
        }
        let played = number as f64 / frames as f64 * DAYS * DAY;
        body[..8].copy_from_slice(&number.to_le_bytes());
        let frame = Frame::raw(body.clone()).captured_at(first + Duration::from_secs_f64(played));
        drop(sender.push(source, frame).await.map_err(|error| error.to_string())?);
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// The receiving program.
struct Receiver {
    child: Child,
    address: String,
    pin: String,
    lines: Arc<Mutex<Vec<String>>>,
}

/// The program that was built beside this example.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let built = own.parent().and_then(Path::parent).ok_or("this example is nowhere")?;
    Ok(built.join("framelane"))
}

impl Receiver {
    fn start(root: &Path, options: &[&str]) -> Result<Self> {
        fs::create_dir_all(root)?;
        let mut child = Command::new(program()?)
            .current_dir(root)
            .args(["receive", "--listen", "127.0.0.1:0", "--certs", "receiver", "--out", "store"])
            .args(["--allow", "any"])
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        let mut stdout = BufReader::new(child.stdout.take().ok_or("no output")?);
        stdout.read_line(&mut address)?;
        let address = address.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let stderr = BufReader::new(child.stderr.take().ok_or("no output")?);
        let heard = lines.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(std::result::Result::ok) {
                eprintln!("        {line}");
                heard.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(line);
            }
        });
        // What it prints later is of no interest, and has to go somewhere.
        std::thread::spawn(move || stdout.lines().for_each(drop));
        let pin = Command::new(program()?)
            .current_dir(root)
            .args(["certs", "--certs", "receiver"])
            .output()?;
        let pin = String::from_utf8(pin.stdout)?;
        let pin = pin.split_whitespace().find(|word| word.starts_with("sha256:"));
        let pin = pin.ok_or("the receiver has no pin")?.to_owned();
        Ok(Self { child, address, pin, lines })
    }

    fn sample(&self, out: &Path, sent: u64) -> Sample {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
        let kb = line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok());
        let descriptors = fs::read_dir(process.join("fd")).map_or(0, Iterator::count);
        let files = files(out);
        Sample { sent, resident_mb: kb.unwrap_or(0) / 1_000, descriptors, files }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    fn end(&mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}

/// What the receiver and its store are at a moment.
struct Sample {
    sent: u64,
    resident_mb: u64,
    descriptors: usize,
    files: u64,
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sent, resident_mb, descriptors, files } = self;
        let mb = files * FRAME_BYTES as u64 / 1_000_000;
        write!(
            f,
            "{sent:>9} frames, {resident_mb:>4} MB, {descriptors:>3} descriptors, {files:>7} files of {mb} MB"
        )
    }
}

/// Files of frames below a folder.
fn files(folder: &Path) -> u64 {
    let mut found = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found += files(&entry.path()),
            Ok(_) => found += u64::from(!entry.file_name().to_string_lossy().contains(".jsonl")),
            // It went meanwhile.
            Err(_) => {}
        }
    }
    found
}

/// Files of days that were declared expired, and whose removal had not come to its end when the receiver was ended.
fn being_removed(out: &Path) -> Result<u64> {
    let mut files_left = 0;
    for source in fs::read_dir(out)? {
        let source = source?.path();
        let ledger = fs::read_to_string(source.join("ledger.jsonl")).unwrap_or_default();
        let mut days = HashMap::new();
        for line in ledger.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            let line: serde_json::Value = line;
            if let Some(day) = line["day"].as_str() {
                days.insert(day.to_owned(), line["removed_unix_ns"].is_null());
            }
        }
        let left = days.iter().filter(|(_, is_left)| **is_left);
        files_left += left.map(|(day, _)| files(&source.join(day))).sum::<u64>();
    }
    Ok(files_left)
}

/// Holds the store against what was sent.
fn judge(out: &Path, sent: u64, sampled: &[Sample], log: &[String]) -> Result<()> {
    let (mut reels, mut twice) = (Reels::open(out)?, 0);
    let mut seen: HashMap<_, Vec<bool>> = HashMap::new();
    while let Some((source, stored)) = reels.next_frame()? {
        let of_source = seen.entry(source).or_insert_with(|| vec![false; sent as usize]);
        let place = of_source.get_mut(stored.record.sequence.0 as usize);
        twice += u64::from(place.is_none_or(|seen| std::mem::replace(seen, true)));
    }
    let lines = seen.values().flatten().filter(|seen| **seen).count() as u64;
    let verified = Command::new(program()?).args(["verify", "--json"]).arg(out).output()?;
    let found: serde_json::Value = serde_json::from_slice(&verified.stdout)?;
    let sources = || found["sources"].as_array().into_iter().flatten();
    let count = |of: &serde_json::Value| of.as_u64().unwrap_or(0);
    // Lines of days that expired long ago go as well; the account of the runs has them.
    let runs = || sources().filter_map(|source| source["account"]["runs"]["first"].as_array());
    let captured: u64 = runs().flatten().map(|run| count(&run["captured"])).sum();
    let accounted: u64 =
        runs().flatten().map(|run| count(&run["stored"]) + count(&run["expired"])).sum();
    let frames: u64 = sources().map(|source| count(&source["frames"])).sum();
    let verify = |field: &str| sources().map(|source| count(&source[field])).sum::<u64>();
    println!(
        "verify: proven {}, {} files verified, {} frames expired that have lines; of the runs {captured} captured, \
         {accounted} stored or expired",
        found["proven"],
        verify("verified"),
        verify("expired"),
    );
    let mut said: BTreeMap<&str, u64> = BTreeMap::new();
    log.iter().for_each(|line| *said.entry(line).or_default() += 1);
    let repeated = said.values().filter(|count| **count > 1).count();
    let half = &sampled[sampled.len() / 2..];
    let figures = |of: fn(&Sample) -> u64| {
        let least = half.iter().map(of).min().unwrap_or(0);
        format!("{least} to {}", half.iter().map(of).max().unwrap_or(0))
    };
    println!(
        "sent {sent}, lines {lines} and {twice} more; the receiver said {} lines, {repeated} of them more than once",
        log.len()
    );
    println!(
        "second half: {} MB resident, {} descriptors, {} files; at most {} files",
        figures(|s| s.resident_mb),
        figures(|s| s.descriptors as u64),
        figures(|s| s.files),
        sampled.iter().map(|s| s.files).max().unwrap_or(0),
    );
    // Their lines say nothing any more, and some of their files are there still.
    let removing = being_removed(out)?;
    println!("{removing} files of days whose removal was under way at the end");
    let is_all = captured == sent && accounted == sent && lines + removing == frames;
    if !verified.status.success() || twice > 0 || repeated > 0 || !is_all {
        return Err("the store is not what was sent".into());
    }
    Ok(())
}
