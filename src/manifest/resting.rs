//! A manifest that is not open: what is known of it without its lines.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use super::names::Tail;
use super::settled::{Settled, hash, open_index};
use super::summary::Summary;
use crate::frame::FrameName;

/// What an index says of its manifest, and what is known of the few lines since. No file of it is open.
#[derive(Debug)]
pub struct Resting {
    summary: Summary,
    /// What is kept in memory to look for names, where that was needed.
    settled: Option<Settled>,
    /// Of the lines that are not in the index.
    tail: Option<Tail>,
}

impl Resting {
    /// Of the manifest that is open as `manifest`, in the folder of its index; `None` where the index does not speak
    /// of all of it.
    pub fn load(folder: impl AsFd, manifest: &File) -> Option<Self> {
        let (covered, summary) = Settled::load_summary(folder, manifest).ok()??;
        let length = manifest.metadata().ok()?.len();
        (covered == length).then_some(Self { summary, settled: None, tail: None })
    }

    /// Of a manifest that is closed while its index does not speak of its last lines.
    pub(super) fn with_tail(summary: Summary, tail: Tail) -> Self {
        Self { summary, settled: None, tail: Some(tail) }
    }

    /// What all lines come to.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Whether a name can be there: `false` is certain. `folder` is the index's, and opened only where the name is
    /// between the lowest and the highest.
    ///
    /// # Errors
    /// Where the folder or its index cannot be read; the manifest itself tells then.
    pub fn may_have<F: AsFd>(
        &mut self,
        name: &FrameName,
        folder: impl FnOnce() -> io::Result<F>,
    ) -> io::Result<bool> {
        if !self.summary.may_have(name.as_str()) {
            return Ok(false);
        }
        if let Some(tail) = &self.tail {
            if tail.may_have(name) {
                return Ok(true);
            }
            if !tail.has_index {
                return Ok(false);
            }
        }
        let mut folder = Some(folder);
        let mut open = || match folder.take() {
            Some(folder) => open_index(folder()?),
            None => Err(io::Error::other("it is open already")),
        };
        let mut file = None;
        if self.settled.is_none() {
            let index = open()?;
            self.settled = Settled::load_names(&index)?;
            file = Some(index);
        }
        let Some(settled) = &self.settled else {
            return Err(io::Error::other("there is no index any more"));
        };
        let hash = hash(settled.key(), name);
        if !settled.may_have(hash) {
            return Ok(false);
        }
        let file = match file {
            Some(file) => file,
            None => open()?,
        };
        Ok(settled.find(&file, hash, |_| Ok(true))?.is_some())
    }

    /// The memory in which names are looked for, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.settled.as_ref().map_or(0, Settled::memory_bytes)
    }

    /// Gives that memory back until a name is asked for again.
    pub fn forget(&mut self) {
        self.settled = None;
    }
}
