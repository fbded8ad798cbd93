//! A command that is given a line for each stored frame, read from the store and so never in the way of storing.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

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
const LAST_WORDS: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 5_000 });
/// How long it has then, once it is told to end, before it is killed.
const GRACE: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 2_000 });

/// Gives lines to a command until it is told to end.
pub(super) struct OnStored {
    end: Arc<AtomicBool>,
    group: Group,
    thread: Option<JoinHandle<()>>,
}

/// The processes of the command, while its first is there: until then nobody else can have their number.
#[derive(Clone, Default)]
struct Group(Arc<Mutex<Option<Pid>>>);

impl Group {
    fn is(&self, command: Option<&Child>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = command.map(Pid::from_child);
    }

    /// Sends them a signal; false where there are none.
    fn signal(&self, signal: Signal) -> bool {
        let group = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        group.is_some_and(|group| kill_process_group(group, signal).is_ok())
    }

    /// Ends them: tells them first, and then kills those that are there still. `is_over` says whether that is done.
    fn end(&self, mut is_over: impl FnMut() -> bool) {
        let (told, mut is_killed) = (Instant::now(), false);
        if !self.signal(Signal::TERM) {
            return;
        }
        while !is_over() && told.elapsed() < GRACE + GRACE {
            if told.elapsed() >= GRACE && !is_killed {
                is_killed = self.signal(Signal::KILL);
            }
            sleep(Duration::from_millis(20));
        }
    }
}

struct Follower {
    command: String,
    group: Group,
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
        let group = Group::default();
        let its = group.clone();
        let mut follower =
            Follower { command, group: its, reels, child, lines, pause, not_before, end: ended };
        let named = std::thread::Builder::new().name("on-stored".to_owned());
        let thread = Some(named.spawn(move || follower.run())?);
        Ok(Self { end, group, thread })
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
                "the command of --on-stored does not read what it is given: it is ended, and its last lines are lost"
            );
            self.group.end(|| thread.is_finished());
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
            // What the terminal tells the receiver (Ctrl-C) is not for it: it is told that nothing more comes.
            command.process_group(0);
            let child = command.spawn()?;
            self.group.is(Some(&child));
            self.child = Some((child, Instant::now()));
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
                self.group.is(None);
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
                Ok(Some(_)) | Err(_) => return self.group.is(None),
            }
        }
        tracing::warn!(
            "the command of --on-stored goes on, though it was told that nothing more comes: it is ended"
        );
        self.group.end(|| !matches!(child.try_wait(), Ok(None)));
        self.group.is(None);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Bytes;
    use tempfile::TempDir;

    use super::*;
    use crate::frame::{Frame, FrameMeta, FrameName, Sequence, SourceName, UnixNanos};
    use crate::store::{FolderStore, Opener, ReceivedFrame, StoreOptions};

    fn store(out: &Path, frames: u64) {
        let store = FolderStore::open(out, StoreOptions::default()).unwrap();
        let name = SourceName::parse("visible").unwrap();
        let frame = |sequence: u64| {
            let name = FrameName::parse(&format!("{sequence}.bin")).unwrap();
            let (bytes, media) = (1, name.media_type());
            let (hash, captured, due, modified) = (None, None, None, None);
            let sequence = Sequence(sequence);
            let meta = FrameMeta { sequence, name, bytes, media, hash, captured, due, modified };
            let frame = Frame { meta, body: Bytes::from_static(b"x") };
            ReceivedFrame { frame, from: Arc::default(), received: UnixNanos(1), replace: false }
        };
        let batch: Vec<_> = (0..frames).map(frame).collect();
        store.source(&name, &Opener::default()).unwrap().store_batch(&batch);
    }

    /// Whether a process is there that does anything.
    fn is_there(pid: &str) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        !matches!(state, None | Some('Z' | 'X'))
    }

    /// The processes of a command that has been given so many lines, once its receiver has ended.
    fn left(script: &str, frames: u64) -> Vec<String> {
        let folder = TempDir::new().unwrap();
        let (out, pids) = (folder.path().join("store"), folder.path().join("pids"));
        let command = script.replace("PIDS", &pids.display().to_string());
        let follower = OnStored::start(command, &out).unwrap();
        store(&out, frames);
        let until = Instant::now() + Duration::from_secs(60);
        let read = || fs::read_to_string(&pids).unwrap_or_default();
        while read().lines().count() < 2 {
            assert!(Instant::now() < until, "the command was not started");
            sleep(Duration::from_millis(5));
        }
        let pids: Vec<_> = read().lines().map(str::to_owned).collect();
        assert!(pids.iter().all(|pid| is_there(pid)), "{pids:?}");
        drop(follower);
        pids.into_iter().filter(|pid| is_there(pid)).collect()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_command_does_not_outlive_its_receiver_nor_does_what_it_has_started() {
        let both = "sleep 1000 & echo $! >> PIDS; echo $$ >> PIDS";
        // One that goes on at the end of its input, one that is deaf to being told, and one that reads nothing of more
        // than a pipe holds.
        for (script, frames) in [
            (format!("{both}; cat > /dev/null; wait"), 1),
            (format!("trap '' TERM; {both}; cat > /dev/null; while :; do sleep 1; done"), 1),
            (format!("{both}; wait"), 600),
        ] {
            assert_eq!(left(&script, frames), Vec::<String>::new(), "{script}");
        }
    }
}
