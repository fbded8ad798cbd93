//! Why a spool cannot be used.

use std::path::PathBuf;

use thiserror::Error;

use crate::frame::printable;

/// Why a spool cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// Another process has it.
    #[error(
        "the spool {} is in use by another sender{who}; name another `spool`, or wait until that one has ended",
        shown(path)
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Which, as ` (process 17)`.
        who: String,
    },
    /// A version of framelane made it that this one does not know.
    #[error(
        "the spool {} is of version {found}, and this framelane writes version {known}; send what it holds with the \
         framelane that made it, or name another `spool`",
        shown(path)
    )]
    Version {
        /// The folder.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The one that is known.
        known: u32,
    },
    /// There is something else in the folder.
    #[error(
        "{} is no spool, and not empty: {what} is in it; name a folder that is empty, or not there yet",
        shown(path)
    )]
    NotASpool {
        /// The folder.
        path: PathBuf,
        /// What is in it.
        what: String,
    },
    /// The system says no.
    #[error("the spool {}: cannot {doing}: {why}", shown(path))]
    System {
        /// The folder or file.
        path: PathBuf,
        /// What.
        doing: &'static str,
        /// The system's word.
        why: String,
    },
    /// No thread can be had.
    #[error("the spool: cannot start a thread: {0}")]
    Thread(String),
}

impl SpoolError {
    /// What the system said of a path.
    pub(super) fn system(
        path: impl Into<PathBuf>,
        doing: &'static str,
        error: &std::io::Error,
    ) -> Self {
        Self::System { path: path.into(), doing, why: error.to_string() }
    }

    /// True where the caller has asked for what cannot be; false where the machine did not give it.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::InUse { .. } | Self::Version { .. } | Self::NotASpool { .. })
    }
}

fn shown(path: &std::path::Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}
