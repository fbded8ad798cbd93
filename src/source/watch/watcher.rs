//! The thread that watches.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::WatchOptions;
use super::content::{self, Found};
use super::events::{Event, Events, join};
use super::left::Left;
use super::look::{Known, Seen};
use crate::frame::{Clock, FrameName, MAX_FRAME_NAME_PARTS, SourceName, printable};
use crate::source::captured::Untimed;
use crate::source::folder::{Folder, Passed, Unsent};
use crate::source::growing::{Body, Entry, Growing, content as held};
use crate::source::stamp::{self, Stamp, Stamps};
use crate::source::stop::Stop;
use crate::source::{Description, SourceError};

/// How often the folder itself is looked at, for what nobody tells of.
const POLL: Duration = Duration::from_millis(500);
/// The same while it is not there.
const ABSENT_POLL: Duration = Duration::from_millis(50);
/// A file of a kind that has no end, found by looking, is complete when it has not changed for this long.
const SETTLED: Duration = Duration::from_secs(1);
/// A file that its writer let go of and that stays torn is told of after this long.
const TORN: Duration = Duration::from_secs(10);
/// Between two looks at a file that is not complete: the first, and the longest.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// A file that changes later than this after the word to end is not waited for.
const LAST_CHANGE: Duration = Duration::from_secs(1);
/// Between two looks after the word to end.
const LAST_LOOKS: Duration = Duration::from_millis(20);
/// Files that are waited for at a time; more are found when the folder is looked at.
const MOST_PENDING: usize = 10_000;

pub(super) struct Watcher {
    source: SourceName,
    root: PathBuf,
    options: WatchOptions,
    frames: Growing,
    stop: Stop,
    events: Events,
    seen: Arc<Mutex<Seen>>,
    left: Left,
    stamps: Stamps,
    /// Set once the folder was listed.
    untimed: Option<Arc<Untimed>>,
    /// Files that may have been being written at the start.
    from_start: HashSet<Vec<u8>>,
    pending: HashMap<Vec<u8>, Pending>,
    /// The root that is listened to, by device and inode, and the time it had when it was looked at.
    identity: Option<(u64, u64)>,
    folder_times: HashMap<Vec<u8>, SystemTime>,
    polled: Instant,
    /// Events have come since the folder was looked at.
    heard: bool,
}

/// A file that is not complete.
#[derive(Debug, Clone, Copy)]
struct Pending {
    since: Instant,
    look_at: Instant,
    pause: Duration,
    /// Its writer let go of it.
    is_let_go: bool,
    /// Its length and time at the last look, and since when they are these. This machine's clock alone is asked, since
    /// that of a mount may be another.
    state: Option<(u64, Option<SystemTime>)>,
    state_since: Instant,
}

impl Watcher {
    /// Listens first and then looks, so that nothing falls in between.
    pub(super) fn begin(
        source: &SourceName,
        root: &Path,
        options: WatchOptions,
        frames: Growing,
        stop: Stop,
        seen: Arc<Mutex<Seen>>,
        passed: Arc<Mutex<Passed>>,
    ) -> Result<(Self, Folder), SourceError> {
        let fault = |error: io::Error| SourceError::Start {
            what: format!("watching {}", printable(&root.to_string_lossy())),
            why: error.to_string(),
        };
        let mut watcher = Self {
            source: source.clone(),
            root: root.to_owned(),
            options,
            frames,
            stop,
            events: Events::new().map_err(fault)?,
            seen,
            left: Left::new(source.clone(), passed),
            stamps: Stamps::of(source.clone()),
            untimed: None,
            from_start: HashSet::new(),
            pending: HashMap::new(),
            identity: None,
            folder_times: HashMap::new(),
            polled: Instant::now(),
            heard: false,
        };
        watcher.attach().map_err(fault)?;
        let (old, fresh) = Folder::for_watching(source.clone(), root, &watcher.options.folder)?;
        for name in old.raw_names() {
            watcher.seen().name(name);
        }
        watcher.left.is_listed = true;
        watcher.untimed = Some(Arc::clone(old.untimed()));
        watcher.from_start.extend(fresh.iter().cloned());
        for path in fresh {
            watcher.look(path, false);
        }
        Ok((watcher, old))
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches until the word comes.
    pub(super) fn run(mut self) {
        let failure = loop {
            let next_poll = self.polled + if self.identity.is_some() { POLL } else { ABSENT_POLL };
            let looks = self.pending.values().map(|pending| pending.look_at);
            let wakes_at = looks.chain([next_poll]).min().unwrap_or(next_poll);
            let time = wakes_at.saturating_duration_since(Instant::now());
            match self.stop.wait(Some(self.events.fd()), Some(time)) {
                Err(error) => break Some(format!("cannot wait for the folder: {error}")),
                Ok(_) if self.stop.is_said() => break self.last_looks(),
                Ok(_) => {}
            }
            match self.events.take() {
                Ok(events) => self.happened(events),
                Err(error) => break Some(format!("cannot hear of the folder: {error}")),
            }
            self.look_at_pending();
            if next_poll <= Instant::now() {
                self.poll();
            }
            if self.frames.is_closed() {
                break None;
            }
        };
        if let Some(untimed) = &self.untimed {
            untimed.tell();
        }
        self.frames.end(failure);
    }

    /// What was there when the word to end came is still taken: what the kernel has told or nobody did, and what was
    /// found a moment ago and has yet to be seen not to change.
    fn last_looks(&mut self) -> Option<String> {
        match self.events.take() {
            Ok(events) => self.happened(events),
            Err(error) => return Some(format!("cannot hear of the folder: {error}")),
        }
        self.poll();
        let said = Instant::now();
        // A torn image has no state, and gets as much time as one that is written.
        let may_settle = |pending: &Pending| match pending.state {
            Some(_) => pending.state_since <= said + LAST_CHANGE,
            None => said.elapsed() < LAST_CHANGE,
        };
        while !self.frames.is_closed() && self.pending.values().any(may_settle) {
            std::thread::sleep(LAST_LOOKS);
            self.pending.values_mut().for_each(|pending| pending.look_at = Instant::now());
            self.look_at_pending();
        }
        if !self.frames.is_closed() {
            let names = self.pending.keys().map(|name| OsStr::from_bytes(name).into());
            self.left.incomplete(&self.root, names.collect());
        }
        None
    }

    /// Listens to the root, and what is below it, if it is there.
    fn attach(&mut self) -> io::Result<()> {
        let Ok(root) = fs::metadata(&self.root) else { return Ok(()) };
        if !root.is_dir() {
            return Ok(());
        }
        match self.events.listen(&self.root, Vec::new()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        self.identity = Some((root.dev(), root.ino()));
        self.folder_times.clear();
        for folder in self.folders_in(b"") {
            self.enter(folder, false);
        }
        Ok(())
    }

    fn absolute(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }

    fn happened(&mut self, events: Vec<Event>) {
        self.heard |= !events.is_empty();
        let mut is_lost = false;
        for event in events {
            match event {
                Event::Complete(path) => self.look(path, true),
                Event::Moved(path) if self.is_link_to_folder(&path) => self.enter(path, true),
                Event::Moved(path) => self.look(path, true),
                Event::Created(path) => self.created(path),
                Event::Folder(path) => self.enter(path, true),
                Event::RootGone => self.detach(),
                Event::Overflow => is_lost = true,
            }
        }
        if is_lost {
            tracing::debug!(
                "source {}: more happened than was told; the folder is listed",
                self.source
            );
            self.rescan();
        }
    }

    fn detach(&mut self) {
        if self.identity.take().is_some() {
            let root = printable(&self.root.to_string_lossy()).into_owned();
            tracing::warn!("source {}: {root} is gone; waiting for it to come back", self.source);
        }
        self.events.forget_all();
        self.folder_times.clear();
    }

    /// Something came about. One that is written to is complete when it is closed; a link is as it is.
    fn created(&mut self, path: Vec<u8>) {
        if self.is_link_to_folder(&path) {
            return self.enter(path, true);
        }
        let Ok(metadata) = fs::symlink_metadata(self.absolute(&path)) else { return };
        if metadata.is_symlink() || metadata.nlink() > 1 {
            self.look(path, true);
        }
    }

    fn is_link_to_folder(&self, path: &[u8]) -> bool {
        let absolute = self.absolute(path);
        fs::symlink_metadata(&absolute).is_ok_and(|it| it.is_symlink()) && absolute.is_dir()
    }

    /// Listens to a folder below the root, and looks at what is in it where `looks`.
    fn enter(&mut self, folder: Vec<u8>, looks: bool) {
        if self.options.folder.pick.leaves_out_folder(&folder).is_some() {
            return;
        }
        let parts = folder.iter().filter(|&&byte| byte == b'/').count() + 1;
        let listens = match parts {
            _ if !self.options.folder.recursive => Err(Unsent::Folder),
            MAX_FRAME_NAME_PARTS.. => Err(Unsent::TooDeep),
            _ => match self.events.listen(&self.root, folder.clone()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                Err(error) => Err(Unsent::Unreadable(format!("it cannot be watched: {error}"))),
                // Where it is listened to already, a link leads around.
                Ok(false) => return,
                Ok(true) => Ok(()),
            },
        };
        if let Err(why) = listens {
            return self.left.folder(&folder, self.absolute(&folder), why);
        }
        if looks {
            self.look_through(&folder);
        }
        for inner in self.folders_in(&folder) {
            self.enter(inner, looks);
        }
    }

    fn folders_in(&self, folder: &[u8]) -> Vec<Vec<u8>> {
        if !self.options.folder.recursive {
            return Vec::new();
        }
        self.entries(folder).filter(|path| self.absolute(path).is_dir()).collect()
    }

    /// What is in a folder, by its path below the root.
    fn entries(&self, folder: &[u8]) -> impl Iterator<Item = Vec<u8>> + use<> {
        let folder = folder.to_vec();
        let entries = fs::read_dir(self.absolute(&folder)).into_iter().flatten().flatten();
        entries.map(move |entry| join(&folder, &entry.file_name().into_vec()))
    }

    /// Looks at the files of a folder that have not been seen.
    fn look_through(&mut self, folder: &[u8]) {
        let unseen = {
            let seen = self.seen();
            let is_new = |path: &Vec<u8>| !seen.has(path) && !self.pending.contains_key(path);
            self.entries(folder).filter(is_new).collect::<Vec<_>>()
        };
        let mut unseen: Vec<_> =
            unseen.into_iter().filter(|path| self.absolute(path).is_file()).collect();
        unseen.sort_unstable_by(|a, b| crate::source::folder::in_order(a, b));
        for path in unseen {
            self.look(path, false);
        }
    }

    /// Looks through everything.
    fn rescan(&mut self) {
        for folder in self.events.folders() {
            self.look_through(&folder);
            for inner in self.folders_in(&folder) {
                self.enter(inner, true);
            }
        }
    }

    /// Looks whether something happened that nobody told of.
    fn poll(&mut self) {
        self.polled = Instant::now();
        let root = fs::metadata(&self.root).ok().filter(Metadata::is_dir);
        let identity = root.map(|root| (root.dev(), root.ino()));
        if identity != self.identity {
            self.detach();
            match self.attach() {
                Ok(()) => self.rescan(),
                Err(error) => tracing::warn!("source {}: cannot watch: {error}", self.source),
            }
            return;
        }
        let heard = std::mem::take(&mut self.heard);
        for folder in self.events.folders() {
            let time = fs::metadata(self.absolute(&folder)).and_then(|folder| folder.modified());
            let time = match time {
                Ok(time) => time,
                Err(error) => {
                    if error.kind() == io::ErrorKind::NotFound {
                        self.events.forget(&folder);
                        self.folder_times.remove(&folder);
                    }
                    continue;
                }
            };
            let before = self.folder_times.insert(folder.clone(), time);
            // Where the kernel tells, it has told.
            if before.is_some_and(|before| before != time) && !heard {
                self.look_through(&folder);
                for inner in self.folders_in(&folder) {
                    self.enter(inner, true);
                }
            }
        }
    }

    fn look_at_pending(&mut self) {
        let now = Instant::now();
        let due = self.pending.iter().filter(|(_, pending)| pending.look_at <= now);
        let due: Vec<_> = due.map(|(path, pending)| (path.clone(), pending.is_let_go)).collect();
        for (path, is_let_go) in due {
            self.look(path, is_let_go);
        }
    }

    /// Looks at a file: its writer let go of it, or it was found.
    fn look(&mut self, path: Vec<u8>, is_let_go: bool) {
        if self.options.folder.pick.leaves_out_file(&path).is_some() {
            return;
        }
        let absolute = self.absolute(&path);
        match content::look(&absolute, self.options.max_frame) {
            Found::Frame { metadata, is_image, .. }
                if !is_image && !is_let_go && !self.has_settled(&path, &metadata) =>
            {
                self.wait_for(path, false);
            }
            Found::Frame { body, metadata, .. } => {
                self.pending.remove(&path);
                self.frame(&path, absolute, body, &metadata);
            }
            Found::Empty | Found::Changing => {
                if let Some(pending) = self.pending.get_mut(&path) {
                    pending.state = None;
                }
                self.wait_for(path, is_let_go);
            }
            Found::Torn(what) => self.torn(path, is_let_go, what),
            Found::Nothing => {
                self.pending.remove(&path);
            }
            Found::TooLarge(bytes) => {
                let limit = self.options.max_frame;
                self.refuse(&path, SourceError::TooLarge { path: absolute, bytes, limit });
            }
            Found::Unreadable(why) => self.refuse(&path, why),
        }
    }

    /// Whether a file has not changed for a while, by its own time or by what was seen of it.
    fn has_settled(&mut self, path: &[u8], metadata: &Metadata) -> bool {
        let state = Some((metadata.len(), metadata.modified().ok()));
        let Some(pending) = self.pending.get_mut(path) else { return has_been(metadata, SETTLED) };
        if pending.state != state {
            (pending.state, pending.state_since) = (state, Instant::now());
        }
        has_been(metadata, SETTLED) || pending.state_since.elapsed() >= SETTLED
    }

    /// Looks again later.
    fn wait_for(&mut self, path: Vec<u8>, is_let_go: bool) {
        let now = Instant::now();
        if self.pending.len() >= MOST_PENDING && !self.pending.contains_key(&path) {
            return;
        }
        let fresh = Pending {
            since: now,
            look_at: now + LOOKS.0,
            pause: LOOKS.0,
            is_let_go,
            state: None,
            state_since: now,
        };
        let pending = self.pending.entry(path).or_insert(fresh);
        pending.is_let_go |= is_let_go;
        if pending.look_at <= now {
            pending.pause = (pending.pause * 2).min(LOOKS.1);
            pending.look_at = now + pending.pause;
        }
    }

    /// An image without its end: its writer may come back, and if not it is told of.
    fn torn(&mut self, path: Vec<u8>, is_let_go: bool, what: &str) {
        let waited = self.pending.get(&path).map(|pending| pending.since.elapsed());
        let is_left =
            is_let_go || fs::metadata(self.absolute(&path)).is_ok_and(|it| has_been(&it, TORN));
        if waited.is_some_and(|waited| waited >= TORN) && is_left {
            let shown = printable(&self.absolute(&path).to_string_lossy()).into_owned();
            let why = SourceError::NotAnImage { what: shown, why: what.to_owned() };
            return self.refuse(&path, why);
        }
        self.wait_for(path, is_let_go);
    }

    /// Tells of a file that is no frame. Should it become one, it is.
    fn refuse(&mut self, path: &[u8], why: SourceError) {
        self.pending.remove(path);
        let is_told = self.seen().has(path);
        self.seen().name(path);
        if !is_told {
            tracing::warn!("source {}: {why}", self.source);
            let label = printable(&String::from_utf8_lossy(path)).into_owned();
            let arrival = self.arrival(path);
            self.frames.push(Entry { label, arrival, body: Body::None(why) });
        }
    }

    /// When a file that is complete now came about. One that was there at the start may be stored already, and is asked
    /// for before it is sent, as those are that were complete then.
    fn arrival(&mut self, path: &[u8]) -> Option<Instant> {
        (!self.from_start.remove(path)).then(Instant::now)
    }

    fn frame(&mut self, path: &[u8], absolute: PathBuf, body: Bytes, metadata: &Metadata) {
        let (now, complete) = (Instant::now(), SystemTime::now());
        let arrival = self.arrival(path);
        let hash = blake3::hash(&body);
        let known = self.seen().content(path, &hash);
        if known == Known::Yes {
            return;
        }
        let stamp = match arrival {
            Some(_) => self.stamps.take(complete, now),
            // What was there at the start is as old as it says.
            None => {
                let age = age(metadata).unwrap_or_default();
                Stamp::alone(complete.checked_sub(age).unwrap_or(complete))
            }
        };
        let name = match known {
            Known::Changed => with_stamp(path, &stamp::name(stamp.at)),
            Known::No | Known::Yes => path.to_vec(),
        };
        let label = printable(&String::from_utf8_lossy(&name)).into_owned();
        let body = match FrameName::from_bytes(&name) {
            Err(why) => Body::None(SourceError::Name { path: absolute, why }),
            Ok(name) => {
                let modified = crate::source::folder::modified(metadata);
                let rule = &self.options.folder.captured;
                let by_rule = rule.of(
                    name.file_name().as_bytes(),
                    Some(&body),
                    None,
                    self.options.folder.zone,
                );
                if let Some(untimed) = &self.untimed {
                    untimed.note(path, by_rule.as_ref(), &label);
                }
                let captured = Some(by_rule.unwrap_or_else(|| stamp.captured(Clock::Complete)));
                let bytes = body.len() as u64;
                let description = Description { name, bytes, modified, captured };
                let most = self.frames.within(self.options.memory);
                if self.frames.held().saturating_add(bytes) <= most {
                    Body::Held(held(description, body))
                } else {
                    Body::File(absolute, description, hash)
                }
            }
        };
        self.frames.push(Entry { label, arrival, body });
    }
}

/// A name that was there before, with the time in it: `latest.20261129T201133.123456Z.jpg`.
pub(super) fn with_stamp(path: &[u8], stamp: &str) -> Vec<u8> {
    let name_at = path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
    let name = &path[name_at..];
    let dot = name.iter().rposition(|&byte| byte == b'.').filter(|&at| at > 0);
    let end = name_at + dot.unwrap_or(name.len());
    [&path[..end], b".", stamp.as_bytes(), &path[end..]].concat()
}

/// Whether a file has been as it is for this long, by its own time.
fn has_been(metadata: &Metadata, time: Duration) -> bool {
    age(metadata).is_some_and(|age| age >= time)
}

/// How long ago a file was changed, by its own time.
fn age(metadata: &Metadata) -> Option<Duration> {
    metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_there_gets_a_time() {
        for (path, expected) in [
            (&b"latest.jpg"[..], &b"latest.T.jpg"[..]),
            (b"a.b/latest", b"a.b/latest.T"),
            (b"a/.x", b"a/.x.T"),
        ] {
            assert_eq!(with_stamp(path, "T"), expected);
        }
    }
}
