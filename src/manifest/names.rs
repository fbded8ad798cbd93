//! Where the line of each name is: those of the last lines in memory, those of all before in the index beside the
//! manifest, which is made anew behind the back of whoever appends.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::fs::{AtFlags, unlinkat};

use super::index::Index;
use super::settled::{INDEX_PART_NAME, Key, Merge, Settled, hash, tag};
use super::summary::Summary;
use super::window::Window;
use crate::frame::FrameName;

/// Lines since the index after which it is made anew: at least so many, and so great a part of what is in it. Each
/// time all of it is written, so each frame costs 12 bytes for each of these parts, and an opening after a crash reads
/// as many lines at some 2 us each.
const FRESH_NAMES: usize = 1 << 16;
const FRESH_PART: u64 = 32;
/// The same while all lines are read to make it for the first time.
const SCANNED_NAMES: usize = 1 << 20;
const SCANNED_PART: u64 = 4;
/// So few lines since, or so small a part of all, are left for the next opening to read: 2 us each, where an index for
/// them costs as much as for all, and a sync of the disk. Of 20 million that is 0.3 s.
const FEW_NAMES: usize = 1_024;
const FEW_PART: u64 = 128;
/// The same of a manifest that is closed for another, to be opened again when one more line comes: where the frames of
/// many days come in turn, each of them is opened and closed once a frame. 256 lines are read in half a millisecond.
const TAIL_NAMES: usize = 256;
const TAIL_PART: u64 = 1_024;

/// The names of a manifest.
#[derive(Debug)]
pub(super) struct Names {
    key: Key,
    /// Those of the lines since.
    recent: Index,
    kept: Option<Kept>,
}

/// The names of a closed manifest's lines that its index does not speak of.
#[derive(Debug)]
pub(super) struct Tail {
    key: Key,
    /// In order.
    tags: Vec<u64>,
    pub(super) has_index: bool,
}

impl Tail {
    /// Whether a name can be one of them.
    pub(super) fn may_have(&self, name: &FrameName) -> bool {
        self.tags.binary_search(&tag(hash(&self.key, name))).is_ok()
    }
}

/// The part that is on disk.
#[derive(Debug)]
struct Kept {
    folder: Arc<OwnedFd>,
    settled: Option<(Arc<Settled>, File)>,
    /// Tags and offsets of the lines since, in their order.
    fresh: Vec<(u64, u64)>,
    making: Option<Making>,
    /// Lines since at which it is tried again, after that failed.
    not_before: usize,
}

/// An index that is being made.
#[derive(Debug)]
struct Making {
    thread: JoinHandle<io::Result<()>>,
    /// How many of the lines since are in it.
    names: usize,
}

impl Names {
    /// All of them in memory.
    pub(super) fn in_memory() -> Self {
        Self { key: rand::random(), recent: Index::default(), kept: None }
    }

    /// With the index of `manifest` in the folder, as far as there is one, and what the lines in it come to.
    pub(super) fn in_folder(folder: OwnedFd, manifest: &File) -> (Self, Summary) {
        // One that was being made when the process was killed.
        let _ = unlinkat(&folder, INDEX_PART_NAME, AtFlags::empty());
        let loaded = Settled::load(&folder, manifest).unwrap_or_else(|error| {
            tracing::debug!("an index that cannot be read is made anew: {error}");
            None
        });
        let (settled, summary) = match loaded {
            Some((settled, summary, file)) => (Some((Arc::new(settled), file)), summary),
            None => (None, Summary::default()),
        };
        let key = settled.as_ref().map_or_else(rand::random, |(settled, _)| *settled.key());
        let kept = Kept {
            folder: Arc::new(folder),
            settled,
            fresh: Vec::new(),
            making: None,
            not_before: 0,
        };
        (Self { key, recent: Index::default(), kept: Some(kept) }, summary)
    }

    pub(super) fn hash(&self, name: &FrameName) -> u64 {
        hash(&self.key, name)
    }

    /// How much of the manifest is in the index on disk.
    pub(super) fn covered(&self) -> u64 {
        self.settled().map_or(0, |(settled, _)| settled.covered())
    }

    /// Whether there is an index on disk.
    pub(super) fn is_settled(&self) -> bool {
        self.settled().is_some()
    }

    /// Whether an index on disk is kept.
    pub(super) fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// The folder of the index.
    pub(super) fn folder(&self) -> Option<Arc<OwnedFd>> {
        self.kept.as_ref().map(|kept| kept.folder.clone())
    }

    fn settled(&self) -> Option<&(Arc<Settled>, File)> {
        self.kept.as_ref()?.settled.as_ref()
    }

    /// The offset of the last line of the name with that hash.
    pub(super) fn find(
        &self,
        hash: u64,
        mut is_named: impl FnMut(u64) -> io::Result<bool>,
    ) -> io::Result<Option<u64>> {
        match (self.recent.find_hashed(hash, &mut is_named)?, self.settled()) {
            (None, Some((settled, file))) => settled.find(file, hash, is_named),
            (found, _) => Ok(found),
        }
    }

    /// Whether the line at `offset` is the last of its name, where all names are in memory.
    pub(super) fn is_current(&self, hash: u64, offset: u64) -> bool {
        self.recent.is_current_hashed(hash, offset)
    }

    /// Makes `offset` the line of the name with that hash; whether the name is a new one.
    pub(super) fn enter(
        &mut self,
        hash: u64,
        offset: u64,
        mut is_named: impl FnMut(u64) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let is_new = match self.settled() {
            Some((settled, file)) => settled.find(file, hash, &mut is_named)?.is_none(),
            None => true,
        };
        let is_first = self.recent.insert_hashed(hash, offset, is_named)?;
        if let Some(kept) = &mut self.kept {
            kept.fresh.push((tag(hash), offset));
        }
        Ok(is_new && is_first)
    }

    /// Has the index made anew on a thread of its own, where enough lines have come since.
    pub(super) fn keep_up(&mut self, manifest: &File, end: u64, summary: &Summary) {
        if self.kept.as_ref().is_none_or(|kept| kept.fresh.len() < FRESH_NAMES / 2) {
            return;
        }
        let is_made = |making: &Making| making.thread.is_finished();
        if self.kept.as_ref().is_some_and(|kept| kept.making.as_ref().is_some_and(is_made)) {
            self.take_made(manifest);
        }
        let Some(kept) = &mut self.kept else { return };
        if kept.making.is_some() || !kept.is_due(FRESH_NAMES, FRESH_PART) {
            return;
        }
        let begun = kept.merge(self.key, manifest, end, summary).and_then(|merge| {
            std::thread::Builder::new().name("index".to_owned()).spawn(move || merge.write())
        });
        match begun {
            Ok(thread) => kept.making = Some(Making { thread, names: kept.fresh.len() }),
            Err(error) => kept.failed(&error),
        }
    }

    /// The same at once, while lines are read that may be many.
    pub(super) fn keep_up_scanning(&mut self, manifest: &File, end: u64, summary: &Summary) {
        if self.kept.as_ref().is_some_and(|kept| kept.is_due(SCANNED_NAMES, SCANNED_PART))
            && let Err(error) = self.settle(manifest, end, summary)
            && let Some(kept) = &mut self.kept
        {
            kept.failed(&error);
        }
    }

    /// Brings the index up to the end of the manifest.
    pub(super) fn settle(
        &mut self,
        manifest: &File,
        end: u64,
        summary: &Summary,
    ) -> io::Result<()> {
        self.take_made(manifest);
        let Some(kept) = &mut self.kept else { return Ok(()) };
        let covered = kept.settled.as_ref().map_or(0, |(settled, _)| settled.covered());
        if kept.fresh.is_empty() && covered == end {
            return Ok(());
        }
        let names = kept.fresh.len();
        kept.merge(self.key, manifest, end, summary)?.write()?;
        self.take(manifest, names)
    }

    /// Forgets all of them.
    pub(super) fn forget(&mut self) {
        self.recent = Index::default();
        if let Some(kept) = &mut self.kept {
            if let Some(making) = kept.making.take() {
                let _ = making.thread.join();
            }
            (kept.settled, kept.fresh, kept.not_before) = (None, Vec::new(), 0);
        }
    }

    /// Waits for the index that is being made, if one is.
    fn take_made(&mut self, manifest: &File) {
        let Some(Making { thread, names }) = self.kept.as_mut().and_then(|kept| kept.making.take())
        else {
            return;
        };
        let made = thread.join().unwrap_or_else(|_| Err(io::Error::other("its thread has failed")));
        let taken = made.and_then(|()| self.take(manifest, names));
        if let (Err(error), Some(kept)) = (taken, &mut self.kept) {
            kept.failed(&error);
        }
    }

    /// Goes on with the index that was made, in which so many of the lines since are.
    fn take(&mut self, manifest: &File, names: usize) -> io::Result<()> {
        let Some(kept) = &mut self.kept else { return Ok(()) };
        let Some((settled, _, file)) = Settled::load(&kept.folder, manifest)? else {
            return Err(io::Error::other("another index is in its place"));
        };
        let (mut recent, mut window) = (Index::default(), Window::default());
        for &(tag, offset) in kept.fresh.get(names..).unwrap_or_default() {
            // Seldom: only where two names have one hash.
            recent.insert_hashed(tag << 16, offset, |other| {
                let name = window.record(manifest, other)?.map(|record| record.name);
                let this = window.record(manifest, offset)?.map(|record| record.name);
                Ok::<_, io::Error>(name == this)
            })?;
        }
        kept.fresh.drain(..names.min(kept.fresh.len()));
        kept.fresh.shrink_to(FRESH_NAMES);
        kept.not_before = 0;
        kept.settled = Some((Arc::new(settled), file));
        self.recent = recent;
        Ok(())
    }

    /// What is to be kept in mind of a manifest that is closed and whose index is not brought up to its end: `None`
    /// where too many lines have come since, or all names are in memory.
    pub(super) fn tail(&self) -> Option<Tail> {
        let kept = self.kept.as_ref().filter(|kept| kept.making.is_none())?;
        let entries = kept.settled.as_ref().map_or(0, |(settled, _)| settled.entries());
        let most = TAIL_NAMES.max(usize::try_from(entries / TAIL_PART).unwrap_or(usize::MAX));
        if kept.fresh.is_empty() || kept.fresh.len() >= most {
            return None;
        }
        let mut tags: Vec<_> = kept.fresh.iter().map(|(tag, _)| *tag).collect();
        tags.sort_unstable();
        Some(Tail { key: self.key, tags, has_index: kept.settled.is_some() })
    }

    /// Settles what the next opening would have to read, where that is much. Nothing is found any more afterwards.
    pub(super) fn close(&mut self, manifest: &File, end: u64, summary: &Summary) {
        let Some(kept) = &mut self.kept else { return };
        if let Some(Making { thread, names }) = kept.making.take() {
            let is_made = thread.join().is_ok_and(|made| made.is_ok());
            if is_made && !kept.has_many(kept.fresh.len().saturating_sub(names)) {
                return;
            }
            if is_made && self.take(manifest, names).is_err() {
                return;
            }
        }
        // Without it the next opening reads those lines.
        if let Some(kept) = self.kept.as_ref().filter(|kept| kept.has_many(kept.fresh.len()))
            && let Ok(merge) = kept.merge(self.key, manifest, end, summary)
        {
            let _ = merge.write();
        }
    }
}

impl Kept {
    /// Whether so many lines since are worth an index before all is closed.
    fn has_many(&self, names: usize) -> bool {
        let entries = self.settled.as_ref().map_or(0, |(settled, _)| settled.entries());
        names >= FEW_NAMES.max(usize::try_from(entries / FEW_PART).unwrap_or(usize::MAX))
    }

    fn is_due(&self, names: usize, part: u64) -> bool {
        let entries = self.settled.as_ref().map_or(0, |(settled, _)| settled.entries());
        let enough = names.max(usize::try_from(entries / part).unwrap_or(usize::MAX));
        self.fresh.len() >= enough.max(self.not_before)
    }

    fn failed(&mut self, error: &io::Error) {
        tracing::debug!("the index of a manifest could not be written: {error}");
        // A disk that is full now may have room later.
        self.not_before = self.fresh.len() + FRESH_NAMES;
    }

    fn merge(
        &self,
        key: Key,
        manifest: &File,
        covered: u64,
        summary: &Summary,
    ) -> io::Result<Merge> {
        let old = match &self.settled {
            Some((settled, file)) => Some((settled.clone(), file.try_clone()?)),
            None => None,
        };
        let (fresh, manifest) = (self.fresh.clone(), manifest.try_clone()?);
        let (summary, folder) = (summary.clone(), self.folder.clone());
        Ok(Merge { old, fresh, manifest, covered, summary, key, folder })
    }
}
