//! A command that is given a line for each stored frame, read from the store and so never in the way of storing.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::manifest::Reels;

/// How often it is looked for more.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Lines are given together up to so much: as much as a pipe holds.
const WRITE_BYTES: usize = 64 * 1024;
/// Pauses before a command that has ended is started again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A command that has run for so long did not fail at its start.
const RAN_WELL: Duration = Duration::from_secs(30);
/// How long a command may take to read what is left and end, when the receiver ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Gives lines to a command until it is told to end.
pub(super) struct OnStored {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Follower {
    command: String,
    reels: Reels,
    child: Option<(Child, Instant)>,
    /// Lines that are to be given, and were not taken yet.
    lines: Vec<u8>,
    pause: Duration,
    not_before: Instant,
    end: Arc<AtomicBool>,
}

impl OnStored {
    /// Begins with the next frame that is stored below `out`.
    pub(super) fn start(command: String, out: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(out)?;
        let mut reels = Reels::open(out)?;
        reels.skip_to_end()?;
        let end = Arc::new(AtomicBool::new(false));
        let (child, lines, pause) = (None, Vec::new(), FIRST_PAUSE);
        let (not_before, ended) = (Instant::now(), end.clone());
        let mut follower = Follower { command, reels, child, lines, pause, not_before, end: ended };
        let named = std::thread::Builder::new().name("on-stored".to_owned());
        let thread = Some(named.spawn(move || follower.run())?);
        Ok(Self { end, thread })
    }
}

impl Drop for OnStored {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        // A command that does not read must not keep the receiver from ending.
        let until = Instant::now() + LAST_WORDS + Duration::from_secs(1);
        let Some(thread) = self.thread.take() else { return };
        while !thread.is_finished() && Instant::now() < until {
            sleep(Duration::from_millis(20));
        }
        if !thread.is_finished() {
            tracing::warn!(
                "the command of --on-stored does not read what it is given; its last lines are lost"
            );
        }
    }
}

impl Follower {
    fn run(&mut self) {
        loop {
            // First whether it ends, then what there is: so nothing that was stored before the end is left out.
            let is_ending = self.end.load(Ordering::Acquire);
            self.give_all();
            if is_ending {
                return self.finish();
            }
            sleep(LOOK_EVERY);
        }
    }

    /// Gives all that there is, where the command takes it.
    fn give_all(&mut self) {
        loop {
            if self.lines.is_empty() {
                self.read();
            }
            if self.lines.is_empty() || !self.give() {
                return;
            }
        }
    }

    /// Reads some lines; none where there are none, or the store cannot be read just now.
    fn read(&mut self) {
        while self.lines.len() < WRITE_BYTES {
            match self.reels.next_frame() {
                Ok(Some((source, stored))) => stored.write_line(&source, &mut self.lines),
                Ok(None) => return,
                Err(error) => return tracing::warn!("--on-stored: cannot read the store: {error}"),
            }
        }
    }

    /// Gives the lines to the command; whether it took them.
    fn give(&mut self) -> bool {
        if Instant::now() < self.not_before {
            return false;
        }
        let lines = std::mem::take(&mut self.lines);
        let written = self.started().and_then(|child| match &mut child.stdin {
            Some(stdin) => stdin.write_all(&lines),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        });
        let Err(error) = written else { return true };
        // The next one gets them all: some twice rather than not at all.
        self.lines = lines;
        self.ended(&error);
        false
    }

    fn started(&mut self) -> io::Result<&mut Child> {
        if self.child.is_none() {
            let mut command = Command::new("sh");
            command.arg("-c").arg(&self.command).stdin(Stdio::piped());
            // What it prints is no result of ours.
            command.stdout(io::stderr());
            self.child = Some((command.spawn()?, Instant::now()));
        }
        match &mut self.child {
            Some((child, _)) => Ok(child),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn ended(&mut self, error: &io::Error) {
        let (how, since) = match self.child.take() {
            Some((mut child, since)) => {
                drop(child.stdin.take());
                let ended = child.wait();
                (
                    ended.map_or_else(|error| error.to_string(), |status| status.to_string()),
                    Some(since),
                )
            }
            None => (error.to_string(), None),
        };
        if since.is_some_and(|since| since.elapsed() >= RAN_WELL) {
            self.pause = FIRST_PAUSE;
        }
        tracing::warn!(
            "the command of --on-stored has ended ({how}); it is started again in {} s and goes on where it was: what \
             it had read last it may be given twice",
            self.pause.as_secs()
        );
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Lets the command read what it was given, and end.
    fn finish(&mut self) {
        let until = Instant::now() + LAST_WORDS;
        let Some((mut child, _)) = self.child.take() else { return };
        drop(child.stdin.take());
        while Instant::now() < until {
            match child.try_wait() {
                Ok(None) => sleep(Duration::from_millis(20)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        tracing::warn!(
            "the command of --on-stored goes on, though it was told that nothing more comes"
        );
    }
}
