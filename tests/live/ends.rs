//! Two machines in namespaces with a bad link between them, and framelane's own program at both ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use framelane::identity::{Identity, NewCertificate};
use framelane::link::{Emulation, LinkSpec, NamespaceHandle, Privilege};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Nothing that is waited for takes so long.
const PATIENCE: Duration = Duration::from_secs(180);

/// The link, its two ends, and a folder for both.
pub(crate) struct Ends {
    pub(crate) link: Emulation,
    folder: tempfile::TempDir,
}

/// A program that runs; killed when dropped.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.0), signal)?)
    }

    /// `kill -9`, and its end.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Waits for its end; its exit status, and what it has said on standard output.
    pub(crate) fn finish(mut self) -> Result<(Option<i32>, String)> {
        let output = self.0.stdout.take();
        let reading = std::thread::spawn(move || {
            let mut said = String::new();
            output.map(|mut output| output.read_to_string(&mut said));
            said
        });
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.0.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > deadline => bail!("a program does not end"),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        Ok((status.code(), reading.join().unwrap_or_default()))
    }

    /// Resident memory in bytes, the program's own text included.
    pub(crate) fn memory(&self) -> Option<u64> {
        self.status("VmRSS:")
    }

    /// What of it is neither the program nor a library: the text of one that is not optimised alone is 24 MB.
    pub(crate) fn anonymous(&self) -> Option<u64> {
        self.status("RssAnon:")
    }

    fn status(&self, field: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kilobytes << 10)
    }
}

impl Ends {
    pub(crate) fn new(privilege: Privilege, link: &LinkSpec) -> Result<Self> {
        let ends = Self { link: Emulation::start(privilege, link)?, folder: tempfile::tempdir()? };
        for name in ["sender", "receiver", "pusher"] {
            let new = NewCertificate { names: Vec::new(), days: 1, now: SystemTime::now() };
            Identity::load_or_create(&ends.path(name), &new)?;
        }
        Ok(ends)
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The receiver's pin.
    pub(crate) fn pin(&self) -> Result<String> {
        Ok(Identity::load(&self.path("receiver"), SystemTime::now())?.pin().to_string())
    }

    fn begin(&self, mut command: Command, place: &NamespaceHandle, log: &str) -> Result<Running> {
        let log = fs::File::options().create(true).append(true).open(self.path(log))?;
        command.current_dir(self.folder.path()).env("HOME", self.folder.path());
        command.env_remove("XDG_CONFIG_HOME").env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        Ok(Running(place.run(move || command.spawn())??))
    }

    /// Starts a receiver on a port, 0 for any; it, and the port.
    pub(crate) fn receive(&self, port: u16) -> Result<(Running, u16)> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_framelane"));
        let listen = format!("{}:{port}", self.link.far_addr());
        command.args(["receive", "--listen", &listen, "--allow", "any", "--certs", "receiver"]);
        command.args(["--out", "store"]);
        let mut receiver = self.begin(command, self.link.far(), "receiver.log")?;
        let mut line = String::new();
        let mut output = BufReader::new(receiver.0.stdout.take().context("a pipe")?);
        output.read_line(&mut line)?;
        // Read to its end, so that the receiver never waits for a reader.
        std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(drop));
        let address = line.trim().strip_prefix("listening on ").context("the receiver listens")?;
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        Ok((receiver, port.context("a port")?))
    }

    /// Starts a sender of these sources.
    pub(crate) fn send(&self, port: u16, arguments: &[&str]) -> Result<Running> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_framelane"));
        let (address, pin) = (format!("{}:{port}", self.link.far_addr()), self.pin()?);
        command.args(["send", &address, "--certs", "sender", "--pin", &pin, "--json"]);
        command.args(arguments);
        self.begin(command, self.link.near(), "sender.log")
    }

    /// Starts another program at the sender's end.
    pub(crate) fn beside(&self, command: Command, log: &str) -> Result<Running> {
        self.begin(command, self.link.near(), log)
    }

    /// What `verify` says of the store, as JSON and in words.
    pub(crate) fn verify(&self) -> Result<(Value, String)> {
        let run = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_framelane"));
            command.arg("verify").arg(self.path("store")).args(arguments);
            command.env("HOME", self.folder.path()).env_remove("XDG_CONFIG_HOME").output()
        };
        let (json, words) = (run(&["--json"])?, run(&[])?);
        let said = String::from_utf8_lossy(&words.stdout).into_owned();
        ensure!(json.status.success(), "verify: {said}{}", String::from_utf8_lossy(&words.stderr));
        Ok((serde_json::from_slice(&json.stdout)?, said))
    }

    /// The lines of a source's manifest or ledger.
    pub(crate) fn lines(&self, source: &str, file: &str) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.path("store").join(source).join(file))?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// What both ends have said, for whoever looks for what went wrong.
    pub(crate) fn said(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.path(name)).unwrap_or_default();
        let all = ["sender.log", "receiver.log", "pusher.log"];
        all.map(|name| format!("\n--- {name}\n{}", read(name))).concat()
    }
}

/// A time of a line, in nanoseconds since 1970.
pub(crate) fn time(line: &Value) -> Option<u64> {
    line.as_u64().or_else(|| line.as_str()?.parse().ok())
}
