//! A command that writes images: started, listened to, started again.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::intake::Intake;
use super::reader::{Ended, Reader};
use super::{GRACE, Lines};
use crate::frame::printable;
use crate::source::stop::Stop;

/// Waits before a command is started again: the first, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Time between two who are told to end at one moment, as by a service's manager that tells all of its processes.
const SAME_MOMENT: Duration = Duration::from_millis(100);
/// How often one that is held back looks whether it may run.
const HELD_STEP: Duration = Duration::from_millis(2);
/// Lines of standard error that are kept for the message when it fails.
const KEPT_LINES: usize = 5;
/// Bytes of a line that are shown.
const LINE: usize = 500;
/// Lines that are shown in a second. More are counted.
const LINES_A_SECOND: u32 = 50;

/// Takes the lines of a command's standard error.
#[derive(Clone)]
pub struct OnLine(pub Arc<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for OnLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnLine")
    }
}

/// Holds commands back that are not to run yet: until all else is known to be right, say. Clones hold back the same.
#[derive(Debug, Clone, Default)]
pub struct Held(Arc<AtomicBool>);

impl Held {
    /// Lets them run, those that come later as well.
    pub fn let_run(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Waits until they may run; false where the word to stop comes before.
    fn wait(&self, stop: &Stop) -> bool {
        while !self.0.load(Ordering::Acquire) {
            if stop.is_said() || stop.wait(None, Some(HELD_STEP)).is_err() {
                return false;
            }
        }
        true
    }
}

/// A command, and what is done when it ends.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CommandOptions {
    /// What `sh -c` runs.
    pub line: String,
    /// Start it again when it ends, or is silent for as long as this.
    pub restart: Option<Duration>,
    /// Takes its standard error, line by line; without it, the log does.
    pub on_line: Option<OnLine>,
    /// Holds it back from its first start.
    pub held: Option<Held>,
}

impl CommandOptions {
    /// A command that is run once.
    pub fn new(line: impl Into<String>) -> Self {
        Self { line: line.into(), restart: None, on_line: None, held: None }
    }

    /// Runs it until it has ended for good, or the word comes.
    pub(super) fn run(&self, mut intake: Intake, stop: &Stop) {
        if self.held.as_ref().is_some_and(|held| !held.wait(stop)) {
            return intake.end(None);
        }
        let mut wait = WAITS.0;
        // A gap is noted once, however often the command fails in it.
        let mut noted = 0;
        loop {
            let given = intake.given();
            let failure = self.run_once(&mut intake, stop);
            if failure.is_some() || self.restart.is_some() {
                // Who ends us may have ended it as well, and before us: then it has not failed.
                let _ = stop.wait(None, Some(SAME_MOMENT));
            }
            if stop.is_said() {
                return intake.end(None);
            }
            if self.restart.is_none() {
                return intake.end(failure);
            }
            let has_given = intake.given() > given;
            let why = failure.unwrap_or_else(|| "it ended".to_owned());
            wait = if has_given { WAITS.0 } else { (wait * 2).min(WAITS.1) };
            tracing::warn!("source {}: {why}; started again in {wait:?}", intake.source());
            if intake.given() > noted {
                noted = intake.given();
                if !intake.gap(&why) {
                    return intake.end(None);
                }
            }
            let until = Instant::now() + wait;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                if stop.is_said() || stop.wait(None, Some(left)).is_err() {
                    return intake.end(None);
                }
            }
        }
    }

    /// Runs it once; says what was wrong with it, if anything.
    fn run_once(&self, intake: &mut Intake, stop: &Stop) -> Option<String> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.line).stdin(Stdio::null());
        // A group of its own: what it starts is ended with it, and an interrupt from the terminal is ours.
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut running = match command.spawn() {
            Ok(child) => Running(child),
            Err(error) => return Some(format!("cannot run sh: {error}")),
        };
        let source = intake.source().to_string();
        let on_line: Lines = match &self.on_line {
            Some(on_line) => on_line.0.clone(),
            None => Arc::new(move |line: &str| tracing::info!("source {source}: {line}")),
        };
        let said = running.0.stderr.take().map(|stderr| Said::listen(stderr, on_line));
        let output = running.0.stdout.take()?;
        let before = intake.given();
        let ended = Reader { input: output.as_fd(), stop, silence: self.restart }.run(intake);
        drop(output);
        let status = running.end(matches!(ended, Ended::End));
        let given = intake.given() - before;
        let said = said.map(Said::last).unwrap_or_default();
        let what = match ended {
            Ended::Stopped => return None,
            Ended::Silent => "it was silent for too long".to_owned(),
            Ended::Error(error) => format!("its output cannot be read: {error}"),
            Ended::End => match status {
                Ok(status) if status.success() && given > 0 => return None,
                Ok(status) if status.success() => "it ended without an image".to_owned(),
                Ok(status) => ended_by(status),
                Err(error) => format!("it cannot be waited for: {error}"),
            },
        };
        let said = if said.is_empty() { said } else { format!("; it said: {said}") };
        Some(format!("the command {:?}: {what}{said}", self.line))
    }
}

fn ended_by(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(127), _) => "there is no such command (exit status 127)".to_owned(),
        (Some(code), _) => format!("it ended with exit status {code}"),
        (None, signal) => format!("it was ended by signal {}", signal.unwrap_or(0)),
    }
}

/// A command that runs; it ends, with all that it started, at the latest when this is dropped.
struct Running(Child);

impl Running {
    /// Ends it, if it has not; one that closed its output is given some time to do so itself.
    fn end(&mut self, is_ending: bool) -> io::Result<ExitStatus> {
        if is_ending && let Some(status) = self.wait(GRACE)? {
            self.signal(Signal::TERM);
            return Ok(status);
        }
        self.signal(Signal::TERM);
        if let Some(status) = self.wait(GRACE)? {
            self.signal(Signal::KILL);
            return Ok(status);
        }
        self.signal(Signal::KILL);
        self.0.wait()
    }

    fn wait(&mut self, time: Duration) -> io::Result<Option<ExitStatus>> {
        let until = Instant::now() + time;
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Tells all of its group. Where none is left there is nobody to tell.
    fn signal(&self, signal: Signal) {
        let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            self.signal(Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

/// A command's standard error.
struct Said {
    lines: Arc<Mutex<VecDeque<String>>>,
    /// Hung up when all has been read.
    ended: Receiver<()>,
}

impl Said {
    fn listen(stderr: ChildStderr, on_line: Lines) -> Self {
        let (ending, ended) = channel();
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let said = Self { lines: lines.clone(), ended };
        let listen = move || {
            let _ending = ending;
            let mut shown = Shown { on_line, lines, since: Instant::now(), count: 0 };
            shown.all(stderr);
        };
        // Without a thread its words are lost, and it stops when its pipe is full: rare, and visible.
        if let Err(error) = std::thread::Builder::new().name("stderr".to_owned()).spawn(listen) {
            tracing::warn!("what a command says is not shown: {error}");
        }
        said
    }

    /// The last lines, once all has been said. Something that it started may hold it open: that is not
    /// waited for.
    fn last(self) -> String {
        let ended = self.ended.recv_timeout(Duration::from_millis(500));
        if ended == Err(RecvTimeoutError::Timeout) {
            tracing::debug!("something that a command started still has its standard error");
        }
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join(" | ")
    }
}

struct Shown {
    on_line: Lines,
    lines: Arc<Mutex<VecDeque<String>>>,
    /// When the second began that is counted, and its lines.
    since: Instant,
    count: u32,
}

impl Shown {
    fn all(&mut self, mut stderr: ChildStderr) {
        let mut line = Vec::new();
        let mut buffer = [0; 4_096];
        loop {
            let bytes = match stderr.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(bytes) => bytes,
            };
            for &byte in &buffer[..bytes] {
                // A progress line ends in a carriage return.
                if byte == b'\n' || byte == b'\r' {
                    self.line(&line);
                    line.clear();
                } else if line.len() < LINE {
                    line.push(byte);
                }
            }
        }
        self.line(&line);
        self.count_out();
    }

    fn line(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = printable(text.trim()).into_owned();
        if text.is_empty() {
            return;
        }
        if self.since.elapsed() >= Duration::from_secs(1) {
            self.count_out();
            (self.since, self.count) = (Instant::now(), 0);
        }
        self.count += 1;
        if self.count <= LINES_A_SECOND {
            (self.on_line)(&text);
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }

    fn count_out(&self) {
        if let Some(more) = self.count.checked_sub(LINES_A_SECOND).filter(|&more| more > 0) {
            (self.on_line)(&format!("({more} more lines in a second are not shown)"));
        }
    }
}
