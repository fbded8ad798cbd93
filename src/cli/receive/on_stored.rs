//! A command that is given a line for each stored frame, read from the store and so never in the way of storing.
//!
//! Each line of what is stored while the receiver runs is given, in the store's order; the store is what holds them for a
//! command that is slow, is being started again or does not read. What a command had not read when it ended, the next one is
//! given. What nobody has read when the receiver ends is counted and said.

mod lines;

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::manifest::Reels;
use lines::Lines;

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
/// How often it is looked then.
const LAST_LOOKS: Duration = Duration::from_millis(20);
/// How long is counted, at the end, what nobody has read.
const COUNTING: Duration = Duration::from_secs(1);
/// How long a command may read nothing before that is said.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });
/// The command's environment: 1 in the first that this receiver starts, then 2, and the store's folder.
const STARTS: &str = "ON_STORED_START";
const FOLDER: &str = "ON_STORED_FOLDER";
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

    /// Whether one of them is there still; as long as one is, their number is theirs.
    fn is_there(&self) -> bool {
        let group = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        group.is_some_and(|group| test_kill_process_group(group).is_ok())
    }

    /// Ends them: tells them first, and then kills those that are there still. `is_over` says whether that is done.
    fn end(&self, mut is_over: impl FnMut() -> bool) {
        let (told, mut is_killed) = (Instant::now(), false);
        if !self.signal(Signal::TERM) {
            return;
        }
        // All of them, and not the first alone: what it has started may take longer to go.
        while (!is_over() || self.is_there()) && told.elapsed() < GRACE + GRACE {
            if told.elapsed() >= GRACE && !is_killed {
                is_killed = self.signal(Signal::KILL);
            }
            sleep(Duration::from_millis(20));
        }
    }
}

struct Follower {
    command: String,
    out: PathBuf,
    group: Group,
    reels: Reels,
    child: Option<(Child, Instant)>,
    /// How often it was started.
    starts: u64,
    lines: Lines,
    pause: Duration,
    not_before: Instant,
    /// Since when the command has not read, though there are lines for it; and whether that was said.
    unread: Option<(Instant, bool)>,
    end: Arc<AtomicBool>,
}

impl OnStored {
    /// Begins with the next frame that is stored below `out`.
    pub(super) fn start(command: String, out: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(out)?;
        let mut reels = Reels::open(out)?;
        reels.skip_to_end()?;
        let end = Arc::new(AtomicBool::new(false));
        let group = Group::default();
        let mut follower = Follower {
            command,
            out: out.to_owned(),
            group: group.clone(),
            reels,
            child: None,
            starts: 0,
            lines: Lines::default(),
            pause: FIRST_PAUSE,
            not_before: Instant::now(),
            unread: None,
            end: end.clone(),
        };
        let named = std::thread::Builder::new().name("on-stored".to_owned());
        let thread = Some(named.spawn(move || follower.run())?);
        Ok(Self { end, group, thread })
    }
}

impl Drop for OnStored {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        // A store that cannot be read must not keep the receiver from ending.
        let until = Instant::now() + LAST_WORDS + GRACE + GRACE + Duration::from_secs(1);
        let Some(thread) = self.thread.take() else { return };
        while !thread.is_finished() && Instant::now() < until {
            sleep(Duration::from_millis(20));
        }
        if !thread.is_finished() {
            self.group.end(|| thread.is_finished());
        }
    }
}

impl Follower {
    fn run(&mut self) {
        while !self.end.load(Ordering::Acquire) {
            self.give_all();
            self.look_whether_it_reads();
            sleep(LOOK_EVERY);
        }
        // What was stored before the end is there by now, and nothing comes after it.
        let until = Instant::now() + LAST_WORDS;
        self.not_before = Instant::now();
        while !self.give_all() && Instant::now() < until {
            sleep(LAST_LOOKS);
        }
        self.finish(until);
    }

    /// Gives all that there is; false where the command does not take it for now.
    fn give_all(&mut self) -> bool {
        loop {
            if self.lines.is_empty() {
                self.read();
            }
            if self.lines.is_empty() {
                return true;
            }
            if !self.give() {
                return false;
            }
        }
    }

    /// Reads some lines; none where there are none, or the store cannot be read just now.
    fn read(&mut self) {
        while self.lines.ahead() < WRITE_BYTES {
            match self.reels.next_frame() {
                Ok(Some((source, stored))) => {
                    stored.write_line(&source, self.lines.end());
                }
                Ok(None) => return,
                Err(error) => return tracing::warn!("--on-stored: cannot read the store: {error}"),
            }
        }
    }

    /// Gives lines to the command; whether it took them all.
    fn give(&mut self) -> bool {
        if Instant::now() < self.not_before {
            return false;
        }
        let written = self.started().map(|_| ());
        let written = written.and_then(|()| match self.child.as_mut().map(|it| &mut it.0.stdin) {
            Some(Some(stdin)) => self.lines.give(stdin),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        });
        match written {
            Ok(()) => {
                self.unread = None;
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                self.ended(&error);
                false
            }
        }
    }

    /// Says, once, that a command does not read: nothing is lost for it, and nothing is done for what waits.
    fn look_whether_it_reads(&mut self) {
        if self.lines.is_empty() || self.child.is_none() {
            return;
        }
        let (since, is_said) = self.unread.get_or_insert((Instant::now(), false));
        if since.elapsed() >= PATIENCE && !std::mem::replace(is_said, true) {
            tracing::warn!(
                "the command of --on-stored has read nothing for {} s; what is stored waits for it in the store",
                PATIENCE.as_secs()
            );
        }
    }

    fn started(&mut self) -> io::Result<()> {
        if self.child.is_none() {
            let mut command = Command::new("sh");
            command.arg("-c").arg(&self.command).stdin(Stdio::piped());
            command.env(STARTS, (self.starts + 1).to_string()).env(FOLDER, &self.out);
            // What it prints is no result of ours.
            command.stdout(io::stderr());
            // What the terminal tells the receiver (Ctrl-C) is not for it: it is told that nothing more comes.
            command.process_group(0);
            let child = command.spawn()?;
            if let Some(stdin) = &child.stdin {
                // Of this end alone: one that does not read is waited for elsewhere.
                rustix::io::ioctl_fionbio(stdin, true)?;
            }
            self.starts += 1;
            self.group.is(Some(&child));
            self.child = Some((child, Instant::now()));
        }
        Ok(())
    }

    fn ended(&mut self, error: &io::Error) {
        let (how, since) = match self.child.take() {
            Some((mut child, since)) => {
                // The next one gets what this one has not read.
                self.lines.take_back(child.stdin.as_ref());
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
            "the command of --on-stored has ended ({how}); it is started again in {} s and is given what this one has not \
             read; what it had read and not done is its own matter ({STARTS} tells the next one that it is not the first)",
            self.pause.as_secs()
        );
        let is_ending = self.end.load(Ordering::Acquire);
        self.not_before = Instant::now() + if is_ending { LAST_LOOKS } else { self.pause };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Lets the command read what it was given, and end; says what nobody was given.
    fn finish(&mut self, until: Instant) {
        let Some((mut child, _)) = self.child.take() else { return self.tell_lost() };
        let has_unread = |child: &Child| {
            child
                .stdin
                .as_ref()
                .is_some_and(|it| rustix::io::ioctl_fionread(it).is_ok_and(|left| left > 0))
        };
        while Instant::now() < until && has_unread(&child) && matches!(child.try_wait(), Ok(None)) {
            sleep(LAST_LOOKS);
        }
        self.lines.take_back(child.stdin.as_ref());
        drop(child.stdin.take());
        self.tell_lost();
        while Instant::now() < until {
            match child.try_wait() {
                Ok(None) => sleep(LAST_LOOKS),
                Ok(Some(_)) | Err(_) => return self.group.is(None),
            }
        }
        tracing::warn!(
            "the command of --on-stored goes on, though it was told that nothing more comes: it is ended"
        );
        self.group.end(|| !matches!(child.try_wait(), Ok(None)));
        self.group.is(None);
    }

    /// Counts and says what no command has read and none will.
    fn tell_lost(&mut self) {
        let first = self.lines.first().map(<[u8]>::to_vec);
        let mut lost = self.lines.count();
        let until = Instant::now() + COUNTING;
        self.lines = Lines::default();
        let mut is_all = false;
        while Instant::now() < until && !is_all {
            self.read();
            is_all = self.lines.is_empty();
            lost += self.lines.count();
            self.lines = Lines::default();
        }
        if lost == 0 {
            return;
        }
        let name = |line: Vec<u8>| {
            let line: serde_json::Value = serde_json::from_slice(&line).ok()?;
            Some(line.get("path")?.as_str()?.to_owned())
        };
        let from = first.and_then(name).map_or_else(String::new, |it| {
            format!(", from {} on", super::super::output::printable(&it))
        });
        tracing::warn!(
            "the command of --on-stored has not read {}{lost} {}{from}: `framelane tail {} --since 1h` prints those of the \
             last hour, say",
            if is_all { "" } else { "at least " },
            if lost == 1 { "line" } else { "lines" },
            self.out.display()
        );
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

    /// The names that the command has noted, once there are so many or a minute is over.
    fn noted(path: &Path, count: usize) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let text = fs::read_to_string(path).unwrap_or_default();
            let names: Vec<_> = text
                .lines()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                .map(|line| line["name"].as_str().unwrap().to_owned())
                .collect();
            if names.len() >= count || Instant::now() > until {
                return names;
            }
            sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_command_that_ends_loses_nothing_that_it_had_not_read() {
        let folder = TempDir::new().unwrap();
        let (out, noted_in) = (folder.path().join("store"), folder.path().join("noted"));
        // The first reads one line byte by byte, as `read` does, and dies with all others in its pipe.
        let script = "test $ON_STORED_START = 1 && { read -r line; printf '%s\\n' \"$line\" >> NOTED; exit 3; }; cat >> NOTED";
        let command = script.replace("NOTED", &noted_in.display().to_string());
        let follower = OnStored::start(command, &out).unwrap();
        store(&out, 50);
        assert_eq!(noted(&noted_in, 1), ["0.bin"]);
        // What comes later shows that it is gone.
        let until = Instant::now() + Duration::from_secs(60);
        let mut more = 50;
        while noted(&noted_in, 1).len() < 50 && Instant::now() < until {
            more += 1;
            store(&out, more);
            sleep(Duration::from_millis(50));
        }
        drop(follower);
        let expected: Vec<_> = (0..more).map(|number| format!("{number}.bin")).collect();
        assert_eq!(noted(&noted_in, expected.len()), expected);
    }

    #[test]
    fn a_command_that_does_not_read_keeps_nobody_and_gets_all_once_it_does() {
        let folder = TempDir::new().unwrap();
        let (out, noted_in) = (folder.path().join("store"), folder.path().join("noted"));
        let go = folder.path().join("go");
        let command = format!(
            "while ! test -e '{}'; do sleep 0.01; done; cat >> '{}'",
            go.display(),
            noted_in.display()
        );
        let follower = OnStored::start(command, &out).unwrap();
        // More than a pipe holds.
        store(&out, 1_000);
        sleep(LOOK_EVERY * 2);
        fs::write(&go, "").unwrap();
        assert_eq!(noted(&noted_in, 1_000).len(), 1_000);
        drop(follower);
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
