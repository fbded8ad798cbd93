//! A source's frames in the store, read by name. Nothing is written, and no link is followed.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::io::Errno;
use thiserror::Error;

use super::raw::RawLook;
use crate::frame::SourceName;
use crate::manifest::{Day, Expired, LEDGER_NAME, Record};
use crate::receiver::Newest;
use crate::store::Directory;

/// The longest frame that is shown.
pub(super) const MAX_SHOWN: u64 = 256 << 20;

/// Where a source's frames are.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    store: PathBuf,
    source: SourceName,
    /// The shape of its raw frames, where that was told.
    pub(super) raw: RawLook,
    /// What is known of frames that have expired.
    expired: Arc<Mutex<Expired>>,
}

/// Why a frame is not there to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Unread {
    /// It was deleted, or its folder was moved away.
    #[error("{frame} is not in the store any more")]
    Gone { frame: String },
    /// It was removed because it was old enough.
    #[error("{frame} is not in the store any more: it was old enough to be removed")]
    Expired { frame: String },
    /// A link, a folder or a pipe is in the place of a record.
    #[error("{record} is no file (a link, a folder or a pipe): remove it there")]
    NoFile { record: String },
    /// It is another one than its line says.
    #[error("{frame} is not what was stored: `framelane verify` says more")]
    Altered { frame: String },
    /// It is not where it should be, and there is too much to look everywhere.
    #[error(
        "{frame} was not found where it would be, nor in the last gigabyte of lines: ask for it by its place (`at`)"
    )]
    NotFound { frame: String },
    #[error("{frame} has {bytes} bytes, more than is shown")]
    TooLong { frame: String, bytes: u64 },
    #[error("cannot read {frame}: {cause}")]
    Io { frame: String, cause: Errno },
}

impl Shelf {
    pub(super) fn new(store: PathBuf, source: SourceName, raw: RawLook) -> Self {
        Self { store, source, raw, expired: Arc::default() }
    }

    /// The same, with what is known already of frames that have expired.
    pub(super) fn knowing(self, expired: Arc<Mutex<Expired>>) -> Self {
        Self { expired, ..self }
    }

    /// What has expired by now, as the ledger says. Blocks on the file system.
    pub(super) fn expired(&self, folder: &Directory) -> Expired {
        let ledger = folder.open_file(LEDGER_NAME).ok();
        let mut expired = self.expired.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a ledger that cannot be read nothing more is known.
        let _ = expired.follow(ledger.as_ref());
        expired.clone()
    }

    /// The source's folder. The store's path is the user's own; below it no link is followed.
    pub(super) fn folder(&self) -> Result<Directory, Errno> {
        Directory::open(&self.store)?.folder(self.source.as_str())
    }

    pub(super) fn source(&self) -> &SourceName {
        &self.source
    }

    /// Its path, for messages.
    pub(super) fn path(&self) -> PathBuf {
        Path::new(&self.store).join(self.source.as_str())
    }

    /// A stored frame's content. Blocks on the file system.
    pub(super) fn read(&self, day: Option<Day>, record: &Record) -> Result<Bytes, Unread> {
        let day = day.map(|day| format!("{day}/")).unwrap_or_default();
        self.read_at(&format!("{day}{}", record.path()))
    }

    /// The content of a frame that has just been stored, by whichever layout: a name is in one place of a source.
    /// Blocks on the file system.
    pub(super) fn read_newest(&self, newest: &Newest) -> Result<Bytes, Unread> {
        let at = newest.captured.map_or(newest.received, |captured| captured.at);
        let (name, day, hour) = (&newest.name, Day::of(at), Day::hour(at));
        let mut read = self.read_at(name.as_str());
        for place in [format!("{day}/{name}"), format!("{day}/{hour:02}/{name}")] {
            if !matches!(read, Err(Unread::Gone { .. })) {
                break;
            }
            read = self.read_at(&place);
        }
        let frame = || format!("{}/{name}", self.source);
        let bytes = read.map_err(|error| match error {
            Unread::Gone { .. } => Unread::Gone { frame: frame() },
            other => other,
        })?;
        match newest.hash {
            Some(hash) if blake3::hash(&bytes) != hash => Err(Unread::Altered { frame: frame() }),
            _ => Ok(bytes),
        }
    }

    /// The content of a file below the source's folder. Its path is a stored frame's, and each part of it is opened
    /// as a folder that is no link.
    fn read_at(&self, path: &str) -> Result<Bytes, Unread> {
        let frame = || format!("{}/{path}", self.source);
        let failed = |cause| match cause {
            Errno::NOENT | Errno::NOTDIR => Unread::Gone { frame: frame() },
            cause => Unread::Io { frame: frame(), cause },
        };
        let mut folder = self.folder().map_err(failed)?;
        let mut parts = path.split('/').peekable();
        let mut name = "";
        while let Some(part) = parts.next() {
            match parts.peek() {
                Some(_) => folder = folder.folder(part).map_err(failed)?,
                None => name = part,
            }
        }
        let mut file = folder.open_file(name).map_err(failed)?;
        let io = |error: std::io::Error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        let bytes = file.metadata().map_err(io)?.len();
        if bytes > MAX_SHOWN {
            return Err(Unread::TooLong { frame: frame(), bytes });
        }
        let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        let mut file = (&mut file).take(MAX_SHOWN);
        file.read_to_end(&mut content).map_err(io)?;
        Ok(content.into())
    }
}
