//! Both ends of a transfer, each a process of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use crate::frames::Frames;
use crate::process::{Process, Used};
use crate::run::Measured;

/// The exit status of a receiver that was interrupted, as product habits have it.
const INTERRUPTED: i32 = 130;

/// What a transport of the other build ends with.
pub(crate) const OTHER: &str = " (other)";

/// The yardstick, which is no transport of framelane's.
const BARE: &str = "bare-quic";

/// Starts senders and receivers in one folder, with one identity for both.
#[derive(Debug)]
pub(crate) struct Ends {
    program: PathBuf,
    folder: PathBuf,
    pin: String,
    congestion: Option<String>,
    other: Option<PathBuf>,
}

impl Ends {
    pub(crate) fn new(
        program: &Path,
        folder: &Path,
        congestion: Option<String>,
    ) -> anyhow::Result<Self> {
        let certs = folder.join("certs");
        let made = Command::new(program).args(["-q", "certs", "--out"]).arg(&certs).output();
        let made = made.with_context(|| format!("cannot run {}", program.display()))?;
        ensure!(made.status.success(), "cannot make an identity: {made:?}");
        let pin = String::from_utf8(made.stdout)?.trim().to_owned();
        Ok(Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            pin,
            congestion,
            other: None,
        })
    }

    /// Has transports that end with [`OTHER`] run by another program.
    pub(crate) fn against(&mut self, other: Option<PathBuf>) {
        self.other = other;
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sends all frames to an empty store, and checks that it has them.
    ///
    /// # Errors
    /// With what both ends said, where one of them failed.
    pub(crate) fn transfer(&self, transport: &str, frames: &Frames) -> anyhow::Result<Measured> {
        self.try_transfer(transport, frames)
            .with_context(|| fs::read_to_string(self.log()).unwrap_or_default())
    }

    fn try_transfer(&self, transport: &str, frames: &Frames) -> anyhow::Result<Measured> {
        if transport == BARE {
            return self.bare(frames);
        }
        let store = self.new_store()?;
        let (mut receiver, address) = self.receiver(transport, store.path())?;
        let (seconds, sender, _) = self.send(transport, frames, &address, &mut receiver)?;
        let (receiver, _) = stop(receiver)?;
        self.verify(frames, store.path())?;
        frames.keep_if_many(store);
        Ok(Measured { seconds, sender, receiver })
    }

    /// As many bytes over quinn alone: this program at both ends.
    fn bare(&self, frames: &Frames) -> anyhow::Result<Measured> {
        let this = std::env::current_exe()?;
        let mut receive = Command::new(&this);
        let mut receiver = Process::start(receive.arg("--bare").arg(&self.folder).arg("-"))?;
        let address = listening(&receiver.line()?)?;
        let mut send = Command::new(&this);
        send.arg("--bare").arg(&self.folder).arg(address);
        send.args([frames.count.to_string(), frames.bytes.to_string()]);
        let started = Instant::now();
        let (sender, _) = Process::start(&mut send)?.finish(0, Some(&mut receiver))?;
        let seconds = started.elapsed().as_secs_f64();
        let (receiver, _) = receiver.finish(0, None)?;
        Ok(Measured { seconds, sender, receiver })
    }

    /// Sends frames to a store that has them, `times` times.
    pub(crate) fn skip(
        &self,
        transport: &str,
        frames: &Frames,
        times: usize,
    ) -> anyhow::Result<Vec<Measured>> {
        let store = self.new_store()?;
        let (mut receiver, address) = self.receiver(transport, store.path())?;
        self.send(transport, frames, &address, &mut receiver)?;
        frames.keep_if_many(store);
        let mut runs = Vec::new();
        for _ in 0..times {
            let before = receiver.cpu_seconds()?;
            let (seconds, sender, report) =
                self.send(transport, frames, &address, &mut receiver)?;
            let already = report["sources"][0]["stored_before"].as_u64();
            ensure!(already == Some(frames.count), "not all frames were skipped: {report}");
            let receiver =
                Used { cpu_seconds: receiver.cpu_seconds()? - before, peak_bytes: receiver.look() };
            runs.push(Measured { seconds, sender, receiver });
        }
        stop(receiver)?;
        Ok(runs)
    }

    fn receiver(&self, transport: &str, store: &Path) -> anyhow::Result<(Process, String)> {
        let (program, transport) = self.program_of(transport);
        let mut receive = self.framelane(program, "receive");
        receive.args(["--listen", "127.0.0.1:0", "--transport", transport, "--out"]);
        let mut receiver = Process::start(receive.arg(store))?;
        let address = listening(&receiver.line()?)?;
        Ok((receiver, address))
    }

    fn send(
        &self,
        transport: &str,
        frames: &Frames,
        address: &str,
        receiver: &mut Process,
    ) -> anyhow::Result<(f64, Used, serde_json::Value)> {
        let (program, transport) = self.program_of(transport);
        let mut send = self.framelane(program, "send");
        send.args([address, "--transport", transport, "--json", "--retry-for", "0s"]);
        match transport {
            // Both ends are framelane's, which needs no pause between two frames.
            "stop-and-wait" => send.args(["--gap", "0ms"]),
            _ => send.args(["--pin", &self.pin]),
        };
        if let Some(congestion) = &self.congestion {
            send.args(["--congestion", congestion]);
        }
        send.arg(format!("frames={}", frames.folder.display()));
        let started = Instant::now();
        let sender = Process::start(&mut send)?;
        let (used, printed) = sender.finish(0, Some(receiver))?;
        let seconds = started.elapsed().as_secs_f64();
        let report = serde_json::from_str(&printed).context("the sender's report is not JSON")?;
        Ok((seconds, used, report))
    }

    /// Reads and hashes everything that was stored.
    fn verify(&self, frames: &Frames, store: &Path) -> anyhow::Result<()> {
        let mut verify = Command::new(&self.program);
        let output = verify.args(["-q", "verify"]).arg(store).stderr(Stdio::inherit()).output()?;
        let names =
            fs::read_dir(store.join("frames"))?.map(|entry| entry.map(|entry| entry.file_name()));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        // Beside the frames are records, whose names no frame has.
        let is_frame = |name: &&OsString| {
            let name = name.to_string_lossy();
            !name.starts_with(".framelane-") && !name.ends_with(".jsonl")
        };
        let stored = names.iter().filter(is_frame).count() as u64;
        if !output.status.success() || stored != frames.count {
            let found = String::from_utf8_lossy(&output.stdout);
            bail!("{stored} files for {} frames: {found}", frames.count);
        }
        Ok(())
    }

    /// The program that runs a transport, and what it calls it.
    fn program_of<'a>(&'a self, transport: &'a str) -> (&'a Path, &'a str) {
        let other = transport.strip_suffix(OTHER).zip(self.other.as_deref());
        other.map_or((&self.program, transport), |(transport, other)| (other, transport))
    }

    fn framelane(&self, program: &Path, subcommand: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-q", subcommand, "--certs"]).arg(self.folder.join("certs"));
        // What they say is of interest only where something fails, and then it is there to be read.
        let log = File::options().create(true).append(true).open(self.log());
        command.env_remove("RUST_LOG").stderr(log.map_or_else(|_| Stdio::inherit(), Stdio::from));
        command
    }

    fn new_store(&self) -> anyhow::Result<TempDir> {
        let store = tempfile::Builder::new().prefix("store-").tempdir_in(&self.folder);
        store.context("cannot make a folder to store to")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("framelane.log")
    }
}

/// The address in a receiver's first line.
fn listening(line: &str) -> anyhow::Result<String> {
    let address = line
        .strip_prefix("listening on ")
        .and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
    address.with_context(|| format!("the receiver did not start: {line}"))
}

/// Ends a receiver and gives what it used.
fn stop(mut receiver: Process) -> anyhow::Result<(Used, String)> {
    receiver.look();
    receiver.interrupt()?;
    receiver.finish(INTERRUPTED, None)
}
