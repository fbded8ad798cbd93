//! The thread that watches.

mod looking;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
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
use super::folders::{self, Folders, Look, POLL};
use super::left::Left;
use super::look::{Known, Seen};
use super::pending::PendingFiles;
use crate::frame::{Clock, FrameName, MAX_FRAME_NAME_PARTS, SourceName, printable};
use crate::source::captured::Untimed;
use crate::source::cut::Further;
use crate::source::folder::{Folder, Passed, Unsent, check_no_key, own};
use crate::source::growing::{Body, Entry, Growing, content as held};
use crate::source::stamp::{self, Stamp, Stamps};
use crate::source::stop::Stop;
use crate::source::{Description, SourceError};

/// How often the folder is looked for while it is not there.
const ABSENT_POLL: Duration = Duration::from_millis(50);
/// A file that nobody has let go of is complete when it has not changed for this long, since more of it may be under way.
/// So is one that was let go of, and announces a picture that is not there.
const SETTLED: Duration = Duration::from_secs(1);
/// A file that its writer let go of and that stays torn is told of after this long; one that nobody let go of, and that
/// announces a picture that is not there, is complete without it.
const TORN: Duration = Duration::from_secs(10);
/// Where the kernel has told of what changed in a folder, a file of which it has not told is taken when it is as old as this:
/// sooner it may be open still.
const LEFT_THERE: Duration = Duration::from_secs(60);
/// A file that changes later than this after the word to end is not waited for.
const LAST_CHANGE: Duration = Duration::from_secs(1);
/// Between two looks after the word to end.
const LAST_LOOKS: Duration = Duration::from_millis(20);
/// Frames that wait to be sent, of some 500 bytes each beside what is held of them; more stay in the folder.
const MOST_WAITING: usize = 65_536;

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
    pending: PendingFiles,
    /// The root that is listened to, by device and inode.
    identity: Option<(u64, u64)>,
    folders: Folders,
    polled: Instant,
    /// It was said that there is no room for more.
    is_full_told: bool,
    /// Since when files were left in their folders, for want of room.
    left_since: Option<Instant>,
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
            pending: PendingFiles::default(),
            identity: None,
            folders: Folders::default(),
            polled: Instant::now(),
            is_full_told: false,
            left_since: None,
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
            let wakes_at = self.pending.next_look().map_or(next_poll, |look| look.min(next_poll));
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
        // Whatever its time says.
        self.rescan();
        let said = Instant::now();
        while !self.frames.is_closed() && self.pending.may_settle(said, LAST_CHANGE, SETTLED) {
            std::thread::sleep(LAST_LOOKS);
            self.pending.look_at_all();
            self.look_at_pending();
        }
        if !self.frames.is_closed() {
            let names = self.pending.names().map(|name| OsStr::from_bytes(name).into());
            self.left.incomplete(&self.root, names.collect());
            let waiting: Vec<_> = self.folders.waiting().map(<[u8]>::to_vec).collect();
            for folder in waiting {
                let why = "there was no room for some of its files when the sender was told to end";
                self.left.folder(&folder, self.absolute(&folder), Unsent::Unreadable(why.into()));
            }
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
        self.folders.forget_all();
        self.folders.enter(b"", folders::tells(&self.root));
        for folder in self.folders_in(b"") {
            self.enter(folder, false);
        }
        Ok(())
    }

    fn absolute(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }

    fn happened(&mut self, events: Vec<Event>) {
        let mut is_lost = false;
        for event in events {
            event.path().into_iter().for_each(|path| self.folders.told(path));
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
        self.folders.forget_all();
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
        // Before it is listened to: nothing in it is a frame, and spools and stores change all the time.
        if self.options.folder.recursive && own::is_own_folder(&self.root, &folder) {
            return self.left.own(self.absolute(&folder));
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
        self.folders.enter(&folder, folders::tells(&self.absolute(&folder)));
        if looks {
            self.look_through(&folder, Look::Now);
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

    fn look_at_pending(&mut self) {
        for (path, is_let_go) in self.pending.due(Instant::now()) {
            self.look(path, is_let_go);
        }
    }

    /// Looks at a file: its writer let go of it, or it was found.
    fn look(&mut self, path: Vec<u8>, is_let_go: bool) {
        if self.options.folder.pick.leaves_out_file(&path).is_some() {
            return;
        }
        if self.room() == 0 {
            return self.leave(&path);
        }
        let absolute = self.absolute(&path);
        // The folder of a spool or a store may have been empty when it was entered.
        if own::is_own(&self.root, &path) {
            self.pending.remove(&path);
            return self.left.own(absolute);
        }
        if fs::metadata(&absolute).is_ok_and(|it| self.pending.is_settling(&path, &it)) {
            return;
        }
        match content::look(&absolute, self.options.max_frame) {
            Found::Frame { body, metadata, further } => {
                if let Err(why) = check_no_key(&body, &absolute) {
                    return self.refuse(&path, why);
                }
                if self.is_complete(&path, is_let_go, &metadata, further) {
                    self.pending.remove(&path);
                    self.frame(&path, absolute, body, &metadata, is_let_go);
                }
            }
            Found::Empty | Found::Changing => self.wait_for(&path, is_let_go, None),
            Found::Torn(what, metadata) => self.torn(path, is_let_go, what, &metadata),
            Found::Nothing => self.pending.remove(&path),
            Found::TooLarge(bytes) => {
                let limit = self.options.max_frame;
                self.refuse(&path, SourceError::TooLarge { path: absolute, bytes, limit });
            }
            Found::Unreadable(why) => self.refuse(&path, why),
        }
    }

    /// Whether all of a file is there; where that is not known yet, it is looked at again.
    fn is_complete(
        &mut self,
        path: &[u8],
        is_let_go: bool,
        metadata: &Metadata,
        further: Further,
    ) -> bool {
        let time = match (further, is_let_go) {
            (Further::Nothing, _) | (Further::Perhaps, true) => return true,
            (Further::Perhaps, false) | (Further::Announced, true) => SETTLED,
            (Further::Announced, false) => TORN,
        };
        // Its own time tells where it is by the clock of this machine.
        if self.folders.tells(path) && has_been(metadata, time) {
            return true;
        }
        let has_settled = self.pending.settle(path, is_let_go, metadata, time);
        if has_settled.is_none() {
            self.leave(path);
        }
        has_settled == Some(true)
    }

    /// Looks again later.
    fn wait_for(&mut self, path: &[u8], is_let_go: bool, metadata: Option<&Metadata>) {
        if !self.pending.wait_for(path, is_let_go, metadata) {
            self.leave(path);
        }
    }

    /// An image without its end: its writer may come back, and if not it is told of.
    fn torn(&mut self, path: Vec<u8>, is_let_go: bool, what: &str, metadata: &Metadata) {
        self.wait_for(&path, is_let_go, Some(metadata));
        if self.pending.unchanged_for(&path).is_some_and(|time| time >= TORN) {
            let shown = printable(&self.absolute(&path).to_string_lossy()).into_owned();
            let why = SourceError::NotAnImage { what: shown, why: what.to_owned() };
            self.refuse(&path, why);
        }
    }

    /// Tells of a file that is no frame. Should it become one, it is.
    fn refuse(&mut self, path: &[u8], why: SourceError) {
        self.pending.remove(path);
        let is_told = self.seen().has(path);
        self.seen().name(path);
        if !is_told {
            // Of others the sender tells.
            if matches!(why, SourceError::NotAnImage { .. }) {
                tracing::warn!("source {}: {why}", self.source);
            }
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

    fn frame(
        &mut self,
        path: &[u8],
        absolute: PathBuf,
        body: Bytes,
        metadata: &Metadata,
        is_let_go: bool,
    ) {
        let (now, complete) = (Instant::now(), SystemTime::now());
        let mut arrival = self.arrival(path);
        let hash = blake3::hash(&body);
        let known = self.seen().content(path, &hash);
        if known == Known::Yes {
            return;
        }
        let left_since = self.left_since.filter(|_| !is_let_go);
        let stamp = match (arrival, left_since) {
            (Some(_), None) => self.stamps.take(complete, now),
            // It was complete while there was no room for it, and is as old as it says within that time.
            (Some(_), Some(since)) => {
                let age = age(metadata).unwrap_or_default().min(since.elapsed());
                arrival = now.checked_sub(age);
                Stamp::alone(complete.checked_sub(age).unwrap_or(complete))
            }
            // What was there at the start is as old as it says.
            (None, _) => {
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
