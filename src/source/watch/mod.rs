//! A folder that something writes into: every file becomes a frame when its writer has let go of it and
//! its image has its own end.
//!
//! The kernel tells of each file that is closed, moved or linked into the folder; the folder is listed
//! after it has begun to tell, and again whenever it lost count, and looked at now and then for mounts
//! that tell nothing. What is taken for complete: a file that was closed or moved in, if it is of a kind
//! that has an end and has it, or is of no such kind; a file that was found by looking, once it has its
//! end or has not changed for a while.

mod content;
mod events;
mod folders;
mod left;
mod look;
mod pending;
#[cfg(test)]
mod tests;
mod watcher;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::folder::{Folder, FolderOptions, Passed};
use super::growing::{Body, Growing};
use super::stamp;
use super::stop::Stop;
use super::{Bell, Content, Count, Description, Extent, Fate, Source, SourceError};
use crate::frame::{ContentHash, FrameName, Sequence, SourceName};
use look::Seen;
use watcher::{Watcher, with_stamp};

/// How a folder is watched.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WatchOptions {
    /// What is taken of it.
    pub folder: FolderOptions,
    /// The longest frame in bytes.
    pub max_frame: u64,
    /// Bytes of frames that are kept in memory until they are settled; those beyond are read again.
    pub memory: u64,
}

impl Default for WatchOptions {
    fn default() -> Self {
        let folder = FolderOptions::default();
        Self { folder, max_frame: 64 << 20, memory: 64 << 20 }
    }
}

/// The files of a folder: those that are there, in natural order, then those that appear.
///
/// It has no end of its own. A folder that is not there yet is waited for.
pub struct Watched {
    name: SourceName,
    /// What was there at the start.
    old: Folder,
    frames: Growing,
    seen: Arc<Mutex<Seen>>,
    /// What is not sent of what came since.
    passed: Arc<Mutex<Passed>>,
    /// Files that were there at the start and whose names other frames have: each goes by its name and its time.
    renamed: Mutex<HashSet<Sequence>>,
    stop: Stop,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("old", &self.old).finish_non_exhaustive()
    }
}

impl Watched {
    /// Begins to watch `path`.
    ///
    /// # Errors
    /// [`SourceError::List`] for what is no folder, [`SourceError::Start`] where it cannot be watched.
    pub fn open(name: SourceName, path: &Path, options: WatchOptions) -> Result<Self, SourceError> {
        let fault = |error: std::io::Error| SourceError::Start {
            what: format!("watching {}", super::shown(path)),
            why: error.to_string(),
        };
        let stop = Stop::new().map_err(fault)?;
        // What does not fit into memory stays in its files.
        let frames = Growing::new(None);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let passed = Arc::default();
        let (watcher, old) = Watcher::begin(
            &name,
            path,
            options,
            frames.clone(),
            stop.clone(),
            seen.clone(),
            Arc::clone(&passed),
        )?;
        std::thread::Builder::new()
            .name(format!("source {name}"))
            .spawn(move || watcher.run())
            .map_err(fault)?;
        Ok(Self { name, old, frames, seen, passed, renamed: Mutex::default(), stop })
    }

    /// What was in the folder at the start.
    pub fn old(&self) -> &Folder {
        &self.old
    }

    /// What came since the start and is not sent: folders that are not watched, and, once the watching has ended, files
    /// that were not complete then.
    pub fn passed(&self) -> Passed {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// No more files are taken; what was captured stays, and the list ends there.
    pub fn stop(&self) {
        self.stop.stop();
    }

    /// The same, where nobody sends what was captured either.
    pub fn close(&self) {
        self.stop.stop();
        self.frames.close();
    }

    /// Notes what an old file was, in case it is touched.
    fn remember(&self, description: &Description, hash: &ContentHash) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.content(description.name.as_str().as_bytes(), hash);
    }

    /// A frame under its file's name.
    fn read_as_it_is(&self, sequence: Sequence, limit: u64) -> Result<Content, SourceError> {
        let Some(place) = self.appeared(sequence) else {
            let content = self.old.read(sequence, limit)?;
            let content = content::check_whole(content, &self.label(sequence))?;
            self.remember(&content.description, &content.hash);
            return Ok(content);
        };
        let entry = self.frames.entry(place).ok_or_else(gone)?;
        let bytes = entry.describe()?.bytes;
        if bytes > limit {
            return Err(SourceError::TooLarge { path: entry.label.into(), bytes, limit });
        }
        match entry.body {
            Body::Held(content) => Ok(content),
            Body::File(path, description, hash) => content::read_again(&path, description, hash),
            Body::None(why) => Err(why),
        }
    }

    /// What a frame is, by the name that it goes by.
    fn called(&self, sequence: Sequence, description: Description) -> Description {
        let is_renamed =
            self.renamed.lock().unwrap_or_else(PoisonError::into_inner).contains(&sequence);
        let Some(modified) = description.modified.filter(|_| is_renamed) else {
            return description;
        };
        let name = with_stamp(description.name.as_str().as_bytes(), &stamp::name(modified));
        // One that is too long with a time in it stays as it is, and is refused.
        let name = FrameName::from_bytes(&name).unwrap_or(description.name);
        Description { name, ..description }
    }

    /// The place among those that appeared, of a frame that did.
    fn appeared(&self, sequence: Sequence) -> Option<Sequence> {
        sequence.0.checked_sub(self.old.frames()).map(Sequence)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.close();
    }
}

impl Source for Watched {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn extent(&self) -> Extent {
        let Extent { frames, ended } = self.frames.extent();
        Extent { frames: self.old.frames() + frames, ended }
    }

    fn goes_on(&self) -> bool {
        true
    }

    fn run_over(&self) {
        self.close();
    }

    /// As a file that is written over while it is watched. One that has come since has a name that is new here.
    fn rename(&self, sequence: Sequence) -> bool {
        self.arrival(sequence).is_none()
            && self.renamed.lock().unwrap_or_else(PoisonError::into_inner).insert(sequence)
    }

    fn drained(&self) {
        self.frames.drain();
    }

    fn wake_by(&self, bell: &Bell) {
        self.frames.wake_by(bell);
    }

    fn count_by(&self, count: &Count) {
        let (count, old) = (count.clone(), self.old.frames());
        self.frames.count_by(&Count::new(move |appeared| count.frames(old + appeared)));
    }

    fn let_go(&self, sequence: Sequence) {
        if let Some(place) = self.appeared(sequence) {
            self.frames.settle(place);
        }
    }

    fn comes_again(&self) -> bool {
        true
    }

    fn arrival(&self, sequence: Sequence) -> Option<Instant> {
        // What was there may have been sent before.
        let entry = self.frames.entry(self.appeared(sequence)?);
        entry.map_or_else(|| Some(Instant::now()), |entry| entry.arrival)
    }

    fn origin(&self, next: Sequence) -> Sequence {
        next
    }

    fn settled(&self, sequence: Sequence, _: Fate) {
        if let Some(place) = self.appeared(sequence) {
            self.frames.settle(place);
        }
    }

    fn failure(&self) -> Option<String> {
        self.frames.failure()
    }

    fn describe(&self, sequence: Sequence) -> Result<Description, SourceError> {
        let description = match self.appeared(sequence) {
            None => self.old.describe(sequence),
            Some(place) => self.frames.entry(place).ok_or_else(gone)?.describe(),
        };
        Ok(self.called(sequence, description?))
    }

    fn read(&self, sequence: Sequence, limit: u64) -> Result<Content, SourceError> {
        let content = self.read_as_it_is(sequence, limit)?;
        Ok(Content { description: self.called(sequence, content.description), ..content })
    }

    fn hash(&self, sequence: Sequence) -> Result<(Description, ContentHash), SourceError> {
        let (description, hash) = match self.appeared(sequence) {
            None => {
                let (description, hash) = self.old.hash(sequence)?;
                self.remember(&description, &hash);
                (description, hash)
            }
            Some(place) => self.frames.entry(place).ok_or_else(gone)?.hash()?,
        };
        Ok((self.called(sequence, description), hash))
    }

    fn label(&self, sequence: Sequence) -> String {
        match self.appeared(sequence) {
            None => self.old.label(sequence),
            Some(place) => {
                let entry = self.frames.entry(place);
                entry.map_or_else(|| sequence.to_string(), |entry| entry.label)
            }
        }
    }
}

/// Asked for after it was settled.
fn gone() -> SourceError {
    SourceError::Read { path: PathBuf::from("a frame"), why: "it was let go of".to_owned() }
}
