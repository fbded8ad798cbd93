//! A process whose processor time and peak memory are known when it has ended.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// How often the peak is looked at. It cannot be asked for any more once the process has ended, so
/// what it grows in its last moment may be missed.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Ticks a second of the times in `/proc`, the same on every architecture that Rust's Linux knows.
const USER_HZ: f64 = 100.0;

/// What a process used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_bytes: u64,
}

/// A running process; killed when dropped.
pub(crate) struct Process {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    peak_bytes: u64,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = started.with_context(|| format!("cannot start {command:?}"))?;
        let stdout = child.stdout.take().context("it has no standard output")?;
        Ok(Self { child, stdout: Some(BufReader::new(stdout)), peak_bytes: 0 })
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.stdout.as_mut().context("its output was read already")?.read_line(&mut line)?;
        Ok(line)
    }

    /// Asks it to end, as Ctrl-C does.
    pub(crate) fn interrupt(&self) -> anyhow::Result<()> {
        Ok(kill_process(self.pid()?, Signal::INT)?)
    }

    /// Processor time so far, in user and kernel, in seconds.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(self.proc("stat"))?;
        // Behind the name, which is in parentheses and may hold anything: fields 14 and 15 of proc(5).
        let fields = stat.rsplit_once(')').context("no ) in the process's stat")?.1;
        let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
        let (Some(Ok(user)), Some(Ok(system))) = (ticks.next(), ticks.next()) else {
            bail!("the process's stat is not as proc(5) says: {stat}");
        };
        Ok((user + system) as f64 / USER_HZ)
    }

    /// Looks at its memory; gives the peak so far.
    pub(crate) fn look(&mut self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        self.peak_bytes = self.peak_bytes.max(kib.unwrap_or(0) * 1_024);
        self.peak_bytes
    }

    /// Waits until it has ended, looking at it and at `other` meanwhile; gives what it used and what
    /// else it printed.
    ///
    /// # Errors
    /// Where it did not end with status 0 or `also`.
    pub(crate) fn finish(
        mut self,
        also: i32,
        mut other: Option<&mut Self>,
    ) -> anyhow::Result<(Used, String)> {
        let stdout = self.stdout.take().context("its output was read already")?;
        let reading = std::thread::spawn(|| read_all(stdout));
        while !self.has_ended()? {
            self.look();
            if let Some(other) = &mut other {
                other.look();
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let used = Used { cpu_seconds: self.cpu_seconds()?, peak_bytes: self.peak_bytes };
        let printed = reading.join().map_err(|_| anyhow!("cannot read its output"))??;
        let status = self.child.wait()?;
        if status.success() || status.code() == Some(also) {
            return Ok((used, printed));
        }
        bail!("framelane ended with {status}: {printed}")
    }

    /// Whether it has ended, without taking its figures away.
    fn has_ended(&self) -> anyhow::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid()?), options)?.is_some())
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        Pid::from_raw(self.child.id().cast_signed()).context("it has no process number")
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_all(mut from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.read_to_string(&mut text).map(|_| text)
}
