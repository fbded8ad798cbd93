//! A running program whose output is watched.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// A test that waits longer than this has failed. Far above what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A child process. Killed and reaped when dropped.
pub(crate) struct Process {
    child: Child,
    heard: Arc<Heard>,
}

/// What has come from a process so far.
#[derive(Default)]
struct Heard {
    output: Mutex<Output>,
    news: Condvar,
}

#[derive(Default)]
struct Output {
    stdout: String,
    stderr: String,
    /// How many of the two have ended.
    ended: usize,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit status; `None` where a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    pub(crate) fn start(command: Command) -> Self {
        Self::start_reading(command, Stdio::null())
    }

    /// Starts one with a standard input.
    pub(crate) fn start_reading(mut command: Command, stdin: impl Into<Stdio>) -> Self {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let heard = Arc::new(Heard::default());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        listen(stdout.expect("a pipe"), heard.clone(), |output| &mut output.stdout);
        listen(stderr.expect("a pipe"), heard.clone(), |output| &mut output.stderr);
        Self { child, heard }
    }

    /// Waits for a line on stdout that `wanted` takes something from.
    pub(crate) fn stdout_line<T>(&self, wanted: impl Fn(&str) -> Option<T>) -> T {
        self.wait_for("a line on stdout", |output| whole_lines(&output.stdout).find_map(&wanted))
    }

    /// The same on stderr.
    pub(crate) fn stderr_line<T>(&self, wanted: impl Fn(&str) -> Option<T>) -> T {
        self.wait_for("a line on stderr", |output| whole_lines(&output.stderr).find_map(&wanted))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, unless the process has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        // The child is not reaped before this is dropped or finished, so the number is still its.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// True once the process has closed both of its outputs, as it does when it ends.
    pub(crate) fn has_ended(&self) -> bool {
        self.heard.output.lock().unwrap().ended == 2
    }

    /// Waits for the end.
    pub(crate) fn finish(mut self) -> Finished {
        self.wait_for("the end of the program", |output| (output.ended == 2).then_some(()));
        let status = self.child.wait().expect("a child").code();
        let output = self.heard.output.lock().unwrap();
        let (stdout, stderr) = (output.stdout.clone(), output.stderr.clone());
        Finished { status, stdout, stderr }
    }

    fn wait_for<T>(&self, what: &str, wanted: impl Fn(&Output) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut output = self.heard.output.lock().unwrap();
        loop {
            if let Some(found) = wanted(&output) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || output.ended == 2 {
                let Output { stdout, stderr, .. } = &*output;
                panic!("{what} did not come\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
            }
            output = self.heard.news.wait_timeout(output, left).unwrap().0;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Checks the exit status; what the program said explains a wrong one.
    #[track_caller]
    pub(crate) fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{self}");
        self
    }

    /// Checks that stderr says something, wherever the lines are broken.
    #[track_caller]
    pub(crate) fn says(self, wanted: &str) -> Self {
        assert!(self.stderr.contains(wanted), "nothing says {wanted:?}:\n{self}");
        self
    }

    /// Checks that stdout says something.
    #[track_caller]
    pub(crate) fn prints(self, wanted: &str) -> Self {
        assert!(self.stdout.contains(wanted), "nothing prints {wanted:?}:\n{self}");
        self
    }

    /// stdout as one JSON object.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{self}"))
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, stdout, stderr } = self;
        write!(f, "exit status {status:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

fn listen(
    pipe: impl Read + Send + 'static,
    heard: Arc<Heard>,
    field: fn(&mut Output) -> &mut String,
) {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(pipe);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            field(&mut heard.output.lock().unwrap()).push_str(&String::from_utf8_lossy(&line));
            heard.news.notify_all();
            line.clear();
        }
        heard.output.lock().unwrap().ended += 1;
        heard.news.notify_all();
    });
}

/// Lines that have arrived to their end.
fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
}
