//! How many frames each run has, written at the moment at which a frame comes about: a write into a page that is there
//! already, which a killed process has done.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::frame::{RunId, UnixNanos};

const NAME: &str = "counts";

/// A run, a number, a time and their checksum, and room for more.
const SLOT: usize = 64;
const SAID: usize = RunId::BYTES + 16;
const CHECK: usize = 8;

/// Runs that are counted at once: as many as a session has sources, and some that wait for theirs.
pub(super) const SLOTS: u16 = 512;

/// The file.
#[derive(Debug, Clone)]
pub(super) struct Counts(Arc<File>, Arc<AtomicBool>);

impl Counts {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(NAME);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let whole = usize::from(SLOTS) * SLOT;
        let there = usize::try_from(file.metadata()?.len()).unwrap_or(whole).min(whole);
        // Now, so that no later write needs room.
        file.write_all_at(&vec![0; whole - there], there as u64)?;
        Ok(Self(Arc::new(file), Arc::default()))
    }

    /// Notes that a run has so many frames, the last of which came about at `at`.
    pub(super) fn write(
        &self,
        slot: u16,
        run: RunId,
        frames: u64,
        at: UnixNanos,
    ) -> io::Result<()> {
        if self.1.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut said = Vec::with_capacity(SAID + CHECK);
        said.extend_from_slice(&run.0);
        said.extend_from_slice(&frames.to_le_bytes());
        said.extend_from_slice(&at.0.to_le_bytes());
        let check = blake3::hash(&said);
        said.extend_from_slice(&check.as_bytes()[..CHECK]);
        self.0.write_all_at(&said, u64::from(slot) * SLOT as u64)
    }

    /// How many frames a run had: none where nothing was written for it. `None` where it cannot be read.
    pub(super) fn read(&self, slot: u16, run: RunId) -> Option<u64> {
        let mut said = [0; SAID + CHECK];
        self.0.read_exact_at(&mut said, u64::from(slot) * SLOT as u64).ok()?;
        if said.iter().all(|byte| *byte == 0) {
            return Some(0);
        }
        let (said, check) = said.split_at(SAID);
        (&blake3::hash(said).as_bytes()[..CHECK] == check).then_some(())?;
        let (id, numbers) = said.split_at(RunId::BYTES);
        let frames = u64::from_le_bytes(*numbers.first_chunk()?);
        Some(if id == run.0 { frames } else { 0 })
    }

    /// Writes no more.
    pub(super) fn retire(&self) {
        self.1.store(true, Ordering::SeqCst);
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_its_runs_and_whole_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let (run, other) = (RunId([7; 16]), RunId([8; 16]));
        let counts = Counts::open(folder.path()).unwrap();
        assert_eq!(counts.read(3, run), Some(0), "nothing was counted");
        counts.write(3, run, 17, UnixNanos(9)).unwrap();
        let counts = Counts::open(folder.path()).unwrap();
        assert_eq!(counts.read(3, run), Some(17));
        assert_eq!((counts.read(3, other), counts.read(2, run)), (Some(0), Some(0)));
        counts.0.write_all_at(&[1], 3 * SLOT as u64 + 17).unwrap();
        assert_eq!(counts.read(3, run), None, "a byte of it is another");
    }
}
