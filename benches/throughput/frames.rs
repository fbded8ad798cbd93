//! Files to send: cheap to make, all different, as incompressible as camera frames.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

/// A folder of files of one size.
#[derive(Debug)]
pub(crate) struct Frames {
    pub(crate) folder: PathBuf,
    /// Removes the folder when dropped, unless it is kept to the end.
    _removed: Option<TempDir>,
    pub(crate) count: u64,
    pub(crate) bytes: usize,
}

impl Frames {
    /// Makes the folder, and waits until the disk has it, so that the kernel's writing it out does
    /// not fall into the measurement.
    pub(crate) fn make(within: &Path, count: u64, bytes: usize) -> anyhow::Result<Self> {
        let failed = || format!("cannot make frames in {}", within.display());
        let made = tempfile::Builder::new().prefix("frames-").tempdir_in(within);
        let made = made.with_context(failed)?;
        let folder = made.path().to_owned();
        let mut body = vec![0; bytes];
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for number in 0..count {
            random.fill(&mut body);
            fs::write(folder.join(format!("{number}.jpg")), &body).with_context(failed)?;
        }
        let opened = fs::File::open(&folder).with_context(failed)?;
        rustix::fs::syncfs(&opened).with_context(failed)?;
        let mut frames = Self { folder, _removed: None, count, bytes };
        if count > MANY {
            frames.keep_if_many(made);
        } else {
            frames._removed = Some(made);
        }
        Ok(frames)
    }

    /// Keeps a folder of as many files as these to the end of the benchmark, when everything is
    /// removed, if they are many. To remove them now would slow down the next run: ext4 avoids
    /// inodes that were freed within the last minutes, and searches for others, file by file.
    pub(crate) fn keep_if_many(&self, folder: TempDir) {
        if self.count > MANY {
            let _ = folder.keep();
        }
    }
}

/// More files than this are not removed between two runs.
const MANY: u64 = 10_000;

/// Marsaglia's xorshift64: nothing has to be proven of these numbers, only made quickly.
struct Random(u64);

impl Random {
    fn fill(&mut self, body: &mut [u8]) {
        for chunk in body.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}
