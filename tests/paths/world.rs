//! Two machines in namespaces, two links between them, and framelane's own program at both ends.

use std::fs;
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use framelane::identity::{Identity, NewCertificate};
use framelane::link::{Emulation, LinkSpec, Privilege};
use rustix::process::{Pid, Signal, kill_process};

/// The receiver's address, which is behind both links and of neither.
pub(crate) const RECEIVER: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);

/// The link of all rows: 50 Mbit/s, 50 ms.
pub(crate) const LINK: &str = "rate=50mbit,delay=25ms,queue=50ms";

/// Nothing in a row takes so long, but on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(150);

/// The machines, the links and a folder. The sender leaves over the first link, `link`, and over the second,
/// `link1`, where the first has no route.
pub(crate) struct World {
    pub(crate) links: Emulation,
    folder: tempfile::TempDir,
    receiver: Option<Running>,
}

/// A program that runs, ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Which machine.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Near,
    Far,
}

/// A sender that runs, and what it sends.
pub(crate) struct Sending {
    child: Running,
    frames: u64,
}

/// A frame that is stored: when it was due, and when it had arrived, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) due: u64,
    pub(crate) received: u64,
}

impl World {
    pub(crate) fn new(privilege: Privilege, first: &str, second: &str) -> Result<Self> {
        let specs = [first.parse::<LinkSpec>()?, second.parse::<LinkSpec>()?];
        let links = Emulation::start_paths(privilege, &specs)?;
        let world = Self { links, folder: tempfile::tempdir()?, receiver: None };
        world.ip(Side::Far, &format!("addr add {RECEIVER}/32 dev lo"))?;
        world.ip(Side::Near, &format!("route add {RECEIVER}/32 dev link metric 10"))?;
        world.ip(Side::Near, &format!("route add {RECEIVER}/32 dev link1 metric 20"))?;
        for name in ["sender", "receiver"] {
            let new = NewCertificate { names: Vec::new(), days: 1, now: SystemTime::now() };
            Identity::load_or_create(&world.path(name), &new)?;
        }
        Ok(world)
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `ip` on one of the machines.
    pub(crate) fn ip(&self, side: Side, arguments: &str) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::piped());
        let output = self.inside(side, move || command.output())?.context("ip")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ip {arguments}: {said}");
        Ok(())
    }

    fn inside<T: Send>(&self, side: Side, work: impl FnOnce() -> T + Send) -> Result<T> {
        let there = match side {
            Side::Near => self.links.near(),
            Side::Far => self.links.far(),
        };
        Ok(there.run(work)?)
    }

    /// Puts something else in the place of a link.
    pub(crate) fn link(&self, path: usize, spec: &str) -> Result<()> {
        self.links.replace_path(path, &spec.parse::<LinkSpec>()?)?;
        Ok(())
    }

    fn start(&self, side: Side, arguments: &[&str]) -> Result<Running> {
        self.start_program(side, env!("CARGO_BIN_EXE_framelane").as_ref(), arguments)
    }

    fn start_program(&self, side: Side, program: &Path, arguments: &[&str]) -> Result<Running> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path());
        command
            .env("HOME", self.folder.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("RUST_LOG");
        if let Some(log) = std::env::var_os("FRAMELANE_TEST_LOG") {
            command.env("RUST_LOG", log);
        }
        let log = fs::File::create(self.path(format!("{side:?}.log")))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        Ok(Running(self.inside(side, move || command.spawn())??))
    }

    /// Starts a receiver, and a sender of two sources at 30 frames/s: 60 and 20 kB. It is under way then.
    pub(crate) fn send(&mut self, frames: u64, options: &[&str]) -> Result<Sending> {
        let sending = self.begin(frames, &[&["--fps", "30"], options].concat())?;
        self.wait_for(15)?;
        Ok(sending)
    }

    /// The same without a pace.
    pub(crate) fn send_at_once(&mut self, frames: u64, options: &[&str]) -> Result<Sending> {
        self.begin(frames, options)
    }

    /// The same at 30 frames/s of other lengths, to a receiver that takes none for so many seconds.
    pub(crate) fn send_to_full(
        &mut self,
        frames: u64,
        bytes: [usize; 2],
        seconds: u64,
        options: &[&str],
    ) -> Result<Sending> {
        self.make(frames, bytes)?;
        let program = std::env::current_exe()?;
        let receiver = self.start_program(Side::Far, &program, &["full", &seconds.to_string()])?;
        let (address, pin) = self.listening(receiver)?;
        let send = ["send", &address, "visible", "infrared", "--certs", "sender", "--pin", &pin];
        let send = [&send[..], &["--json", "-v", "--fps", "30"], options].concat();
        Ok(Sending { child: self.start(Side::Near, &send)?, frames })
    }

    /// Waits for both ends: over what the sender says it went, and what the receiver says.
    pub(crate) fn finish_full(&mut self, sending: Sending) -> Result<(Vec<String>, String)> {
        let paths = self.ended(sending)?;
        let mut receiver = self.receiver.take().context("a receiver")?;
        let mut said = String::new();
        receiver.0.stdout.take().context("a pipe")?.read_to_string(&mut said)?;
        Ok((paths, said))
    }

    fn make(&self, frames: u64, bytes: [usize; 2]) -> Result<()> {
        for (name, bytes) in ["visible", "infrared"].into_iter().zip(bytes) {
            let folder = self.path(name);
            fs::create_dir(&folder)?;
            for number in 0..frames {
                let mut content = vec![0; bytes];
                let mut hasher = blake3::Hasher::new();
                hasher.update(name.as_bytes()).update(&number.to_be_bytes());
                hasher.finalize_xof().fill(&mut content);
                fs::write(folder.join(format!("{number}.bin")), content)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, frames: u64, options: &[&str]) -> Result<Sending> {
        self.make(frames, [60_000, 20_000])?;
        let (address, pin) = self.receive()?;
        let send = ["send", &address, "visible", "infrared", "--certs", "sender", "--pin", &pin];
        let child = self.start(Side::Near, &[&send[..], &["--json", "-v"], options].concat())?;
        Ok(Sending { child, frames })
    }

    /// Starts a sender with all of its arguments, to a receiver that is started before it.
    pub(crate) fn send_live(&mut self, options: &[&str]) -> Result<Live> {
        let (address, pin) = self.receive()?;
        let send = ["send", &address, "--certs", "sender", "--pin", &pin, "--json", "-v"];
        Ok(Live(self.start(Side::Near, &[&send[..], options].concat())?))
    }

    /// Starts a receiver: its address and its pin.
    fn receive(&mut self) -> Result<(String, String)> {
        let listen = format!("{RECEIVER}:0");
        // However its paths change, and over however many, a session is one.
        let places = ["--max-sessions", "1"];
        let receive = ["receive", "--listen", &listen, "--allow", "any", "--certs", "receiver"];
        let receive = [&receive[..], &["--out", "store", "-v"], &places].concat();
        let receiver = self.start(Side::Far, &receive)?;
        self.listening(receiver)
    }

    /// Waits until a receiver listens: its address and its pin.
    fn listening(&mut self, mut receiver: Running) -> Result<(String, String)> {
        let output = receiver.0.stdout.as_mut().context("a pipe")?;
        // Byte by byte: what it says later is for another reader.
        let (mut line, mut byte) = (Vec::new(), [0]);
        while output.read(&mut byte)? == 1 && byte != *b"\n" {
            line.extend(byte);
        }
        let line = String::from_utf8(line)?;
        let address =
            line.trim().strip_prefix("listening on ").context("the receiver listens")?.to_owned();
        self.receiver = Some(receiver);
        let pin = Identity::load(&self.path("receiver"), SystemTime::now())?.pin().to_string();
        Ok((address, pin))
    }

    /// Waits until so many visible frames are stored.
    pub(crate) fn wait_for(&self, count: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.stored("visible").map_or(0, |stored| stored.len()) < count {
            ensure!(Instant::now() < deadline, "fewer than {count} frames came: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Ends the receiver, and has all that is stored read and held against its account.
    pub(crate) fn verify(&mut self) -> Result<String> {
        let mut receiver = self.receiver.take().context("a receiver")?;
        let pid =
            i32::try_from(receiver.0.id()).ok().and_then(Pid::from_raw).context("a process")?;
        kill_process(pid, Signal::TERM)?;
        receiver.0.wait()?;
        let mut verify = Command::new(env!("CARGO_BIN_EXE_framelane"));
        let output = verify.args(["verify", "store"]).current_dir(self.folder.path()).output()?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "verify ends with {}: {told}", output.status);
        Ok(told)
    }

    pub(crate) fn receiver(&self) -> Option<u32> {
        self.receiver.as_ref().map(|running| running.0.id())
    }

    /// What both ends have said.
    pub(crate) fn said(&self) -> String {
        let read =
            |side| fs::read_to_string(self.path(format!("{side:?}.log"))).unwrap_or_default();
        format!("\n--- sender\n{}--- receiver\n{}", read(Side::Near), read(Side::Far))
    }

    /// The frames of a source that are stored, in the order in which they were due.
    pub(crate) fn stored(&self, source: &str) -> Result<Vec<Stored>> {
        let text = fs::read_to_string(self.path("store").join(source).join("manifest.jsonl"))?;
        let mut all = Vec::new();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let line: serde_json::Value = serde_json::from_str(line)?;
            let time =
                |field: &str| line[field].as_u64().or_else(|| line[field].as_str()?.parse().ok());
            let (due, received) = (time("due_unix_ns"), time("received_unix_ns"));
            // A frame that came about by itself fell due when it was captured.
            let due = due.or_else(|| time("captured_unix_ns"));
            all.push(Stored { due: due.context("due")?, received: received.context("received")? });
        }
        all.sort_by_key(|stored| stored.due);
        Ok(all)
    }

    /// Waits for the sender's end, checks that nothing is missing or there twice, and gives all frames and what
    /// the sender says over what they went.
    pub(crate) fn finish(&self, sending: Sending) -> Result<(Vec<Stored>, Vec<String>)> {
        let frames = sending.frames;
        let paths = self.ended(sending)?;
        let mut all = Vec::new();
        for source in ["visible", "infrared"] {
            let stored = self.stored(source)?;
            ensure!(stored.len() as u64 == frames, "{} of {source} are stored", stored.len());
            all.extend(stored);
        }
        all.sort_by_key(|stored| stored.due);
        Ok((all, paths))
    }

    /// Waits for the sender's end, and gives what it says over what its frames went.
    fn ended(&self, mut sending: Sending) -> Result<Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match sending.child.0.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > deadline => bail!("it does not end: {}", self.said()),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let mut told = String::new();
        sending.child.0.stdout.take().context("a pipe")?.read_to_string(&mut told)?;
        ensure!(status.success(), "the sender ends with {status}{}", self.said());
        let report: serde_json::Value = serde_json::from_str(&told)?;
        let paths = report["paths"].as_array().context("paths")?.iter();
        let told = |path: &serde_json::Value| {
            let text = |field: &str| path[field].as_str().unwrap_or("").to_owned();
            format!("{} {}", text("transport"), text("why")).trim().to_owned()
        };
        Ok(paths.map(told).collect())
    }
}

/// A sender of sources that end when it is told to.
pub(crate) struct Live(Running);

impl Live {
    /// Tells it to end, and gives its report when it has.
    pub(crate) fn finish(mut self, world: &World) -> Result<serde_json::Value> {
        ensure!(self.0.0.try_wait()?.is_none(), "it has ended by itself: {}", world.said());
        let pid = i32::try_from(self.0.0.id()).ok().and_then(Pid::from_raw).context("a process")?;
        kill_process(pid, Signal::TERM)?;
        let mut told = String::new();
        self.0.0.stdout.take().context("a pipe")?.read_to_string(&mut told)?;
        let status = self.0.0.wait()?;
        ensure!(status.success(), "the sender ends with {status}: {}", world.said());
        Ok(serde_json::from_str(&told)?)
    }
}

impl Sending {
    pub(crate) fn id(&self) -> u32 {
        self.child.0.id()
    }
}

/// Has a process sleep for a while.
pub(crate) fn put_to_sleep(id: u32, time: Duration) -> Result<()> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).context("a process")?;
    kill_process(pid, Signal::STOP)?;
    std::thread::sleep(time);
    kill_process(pid, Signal::CONT)?;
    Ok(())
}

/// Now, in nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
