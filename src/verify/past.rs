//! What an interrupted verification had read, so that the next one need not read it again.
//!
//! Remembered are batches of up to 64 lines of a manifest, of which every file was found to be as its line says. Of each
//! there is nothing but one hash: of the source's folder, the manifest and the place in it, of each line that counts as
//! it stands there, and of each file's device, inode, length, modification time and change time, as they were before and
//! after it was read. A later run makes the same hash of what is there then. Where it is known, no file of the batch is
//! read; where anything at all is different, or the record is damaged, it is not known and every file is read. So what
//! is remembered can save time, and cannot make anything pass that was not read.
//!
//! Not remembered is a batch with any finding, or with a file that was changed within the minute before it was read:
//! a change behind that might not show.

use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::frame::UnixNanos;

/// The hash of a batch.
pub(super) type Batch = [u8; 32];

/// What a file of this kind begins with.
const MAGIC: &str = "framelane verify 1 ";
/// A head beyond this is none.
const MAX_HEAD: u64 = 64 << 10;
/// Batches that are taken in: of two thousand million frames. What is behind them is read again.
const MAX_BATCHES: usize = 1 << 25;
/// So long a run has to go on before it leaves anything, and so much it may lose when it is killed.
const WRITE_EVERY: Duration = Duration::from_secs(5);
/// A file that was changed less than this before it was read is not remembered. Times are kept to two seconds by FAT, and
/// what is written through a mapping of a file shows in its times with the first write behind the last time that the
/// kernel has written it out, which it does after half a minute.
const SETTLED_AFTER: u64 = 60_000_000_000;

/// What was read before, and is remembered from now on, of one store.
#[derive(Debug)]
pub struct Past {
    path: PathBuf,
    known: HashSet<Batch>,
    head: Head,
    earlier: Option<UnixNanos>,
    /// In ns.
    pub(super) settled_after: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Made with the first that is written.
    file: Option<File>,
    unwritten: Vec<u8>,
    written: Instant,
    failed: Option<io::Error>,
}

/// The first line of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Head {
    /// The store's folder, every link in its path followed.
    store: String,
    /// When the first run began: nothing that is remembered was read before.
    began_unix_ns: u64,
}

impl Past {
    /// Takes up what an interrupted verification of `store` has left at `path`; without `resume`, or where it left
    /// nothing, it begins anew, and what was there is overwritten when there is something to write.
    ///
    /// # Errors
    /// What is there cannot be read, is something else, or is being written by another run.
    pub fn open(path: &Path, store: &Path, resume: bool) -> io::Result<Self> {
        let store = store.canonicalize().unwrap_or_else(|_| store.to_owned());
        let store = store.display().to_string();
        let began = UnixNanos::now();
        let mut past = Self {
            path: path.to_owned(),
            known: HashSet::new(),
            head: Head { store, began_unix_ns: began.0 },
            earlier: None,
            settled_after: SETTLED_AFTER,
            inner: Mutex::new(Inner {
                file: None,
                unwritten: Vec::new(),
                written: Instant::now(),
                failed: None,
            }),
        };
        if !resume && File::open(path).is_ok_and(|mut file| !is_ours(&mut file)) {
            return Err(something_else());
        }
        if resume && let Some((head, known, file)) = load(path, &past.head.store)? {
            past.earlier = Some(UnixNanos(head.began_unix_ns));
            (past.head, past.known) = (head, known);
            past.inner.get_mut().unwrap_or_else(PoisonError::into_inner).file = Some(file);
        }
        Ok(past)
    }

    /// Whether an interrupted verification of `store` has left something at `path`.
    pub fn is_there(path: &Path, store: &Path) -> bool {
        let store = store.canonicalize().unwrap_or_else(|_| store.to_owned());
        let opened = File::open(path).and_then(|mut file| read_head(&mut file));
        opened.is_ok_and(|found| {
            found.is_some_and(|(head, _)| head.store == store.display().to_string())
        })
    }

    /// When the verification began that is gone on with; `None` where there is none.
    pub fn earlier(&self) -> Option<UnixNanos> {
        self.earlier
    }

    /// Where it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn knows(&self, batch: &Batch) -> bool {
        self.known.contains(batch)
    }

    /// Remembers a batch. What cannot be written is not remembered.
    pub(super) fn learn(&self, batch: Batch) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.failed.is_some() {
            return;
        }
        inner.unwritten.extend_from_slice(&batch);
        if inner.written.elapsed() >= WRITE_EVERY {
            self.write(&mut inner);
        }
    }

    /// Writes what is not written yet, before an interrupted run ends.
    ///
    /// # Errors
    /// Why what was read is not remembered.
    pub fn keep(&self) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.failed.is_none() {
            self.write(&mut inner);
        }
        inner.failed.take().map_or(Ok(()), Err)
    }

    /// Removes the file: the verification has come to its end.
    pub fn end(self) {
        let inner = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        if inner.file.is_some() {
            // Where it stays it is of no harm.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn write(&self, inner: &mut Inner) {
        inner.written = Instant::now();
        if inner.unwritten.is_empty() {
            return;
        }
        let written = match &mut inner.file {
            Some(file) => file.write_all(&inner.unwritten),
            None => self.make().and_then(|mut file| {
                let written = file.write_all(&inner.unwritten);
                inner.file = Some(file);
                written
            }),
        };
        inner.unwritten.clear();
        inner.failed = written.err();
    }

    /// Makes the file, for its owner alone, and its head.
    fn make(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent().filter(|folder| !folder.exists()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut file = options().create(true).open(&self.path)?;
        lock(&file)?;
        file.set_len(0)?;
        let head = serde_json::to_string(&self.head)?;
        file.write_all(format!("{MAGIC}{head}\n").as_bytes())?;
        Ok(file)
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// One run writes it at a time.
fn lock(file: &File) -> io::Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|cause| match cause {
        rustix::io::Errno::WOULDBLOCK => {
            io::Error::other("another verification of this store is going on and writes it")
        }
        cause => cause.into(),
    })
}

/// What is in the file, where it is of this store, and the file, to write on at its end.
fn load(path: &Path, store: &str) -> io::Result<Option<(Head, HashSet<Batch>, File)>> {
    let mut file = match options().open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    lock(&file)?;
    let Some((head, begin)) = read_head(&mut file)?.filter(|(head, _)| head.store == store) else {
        return Err(something_else());
    };
    file.seek(SeekFrom::Start(begin))?;
    let mut known = HashSet::new();
    let mut reader = io::BufReader::with_capacity(1 << 18, &file);
    let mut batch = Batch::default();
    while known.len() < MAX_BATCHES && reader.read_exact(&mut batch).is_ok() {
        known.insert(batch);
    }
    // A hash that was cut off by a crash is written over.
    let end = begin + known_bytes(&file, begin)?;
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    Ok(Some((head, known, file)))
}

/// Nothing else is ever written over.
fn is_ours(file: &mut File) -> bool {
    matches!(read_head(file), Ok(Some(_))) || file.metadata().is_ok_and(|found| found.len() == 0)
}

fn something_else() -> io::Error {
    io::Error::other("what is in it is not of a verification of this store")
}

/// The bytes of whole hashes behind the head.
fn known_bytes(file: &File, begin: u64) -> io::Result<u64> {
    let one = size_of::<Batch>() as u64;
    Ok((file.metadata()?.len().saturating_sub(begin)) / one * one)
}

/// The head, and where it ends; `None` where this is something else.
fn read_head(file: &mut File) -> io::Result<Option<(Head, u64)>> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    (&mut *file).take(MAX_HEAD).read_to_end(&mut text)?;
    let Some(end) = text.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    let head = text[..end].strip_prefix(MAGIC.as_bytes());
    let head = head.and_then(|json| serde_json::from_slice(json).ok());
    Ok(head.map(|head| (head, end as u64 + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u8) -> Batch {
        [number; 32]
    }

    #[test]
    fn what_was_kept_is_known_again_and_a_cut_off_hash_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (path, store) = (folder.path().join("new/past"), folder.path());
        let past = Past::open(&path, store, false).unwrap();
        past.learn(batch(1));
        assert!(!path.exists(), "nothing is left of a short run");
        past.keep().unwrap();
        assert!(Past::is_there(&path, store) && !Past::is_there(&path, Path::new("/")));
        past.learn(batch(2));
        past.keep().unwrap();
        drop(past);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&[3; 31]).unwrap();
        let past = Past::open(&path, store, true).unwrap();
        assert!(past.earlier().is_some());
        assert_eq!([1, 2, 3].map(|n| past.knows(&batch(n))), [true, true, false]);
        past.learn(batch(4));
        past.keep().unwrap();
        let busy = Past::open(&path, store, true).unwrap_err();
        assert!(busy.to_string().contains("another verification"), "{busy}");
        drop(past);
        let past = Past::open(&path, store, true).unwrap();
        assert_eq!([2, 3, 4].map(|n| past.knows(&batch(n))), [true, false, true]);
        past.end();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_not_of_this_store_is_refused_and_anew_means_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, store) = (folder.path().join("past"), folder.path());
        for other in ["", "something else\n", "framelane verify 1 {}\n", "framelane verify 1 "] {
            std::fs::write(&path, other).unwrap();
            assert!(Past::open(&path, store, true).is_err(), "{other}");
            assert_eq!(Past::open(&path, store, false).is_ok(), other.is_empty(), "{other}");
            assert!(!Past::is_there(&path, store));
        }
        std::fs::remove_file(&path).unwrap();
        let past = Past::open(&path, store, false).unwrap();
        past.learn(batch(1));
        past.keep().unwrap();
        drop(past);
        assert!(Past::open(&path, Path::new("/"), true).is_err());
        let past = Past::open(&path, store, false).unwrap();
        assert!(past.earlier().is_none() && !past.knows(&batch(1)));
        past.learn(batch(2));
        past.keep().unwrap();
        drop(past);
        let past = Past::open(&path, store, true).unwrap();
        assert_eq!([1, 2].map(|n| past.knows(&batch(n))), [false, true]);
    }

    #[test]
    fn where_nothing_can_be_written_it_is_said_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let below = folder.path().join("file/past");
        let past = Past::open(&below, folder.path(), false).unwrap();
        past.learn(batch(1));
        assert!(past.keep().is_err());
    }
}
