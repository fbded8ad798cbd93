//! What verifying found.

use std::path::PathBuf;

use serde::Serialize;

use super::account::{Account, State};
use super::sequences::Sequences;
use crate::manifest::{BadLine, Listed};

/// The result for a whole store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// [`VerifyReport::is_proven`].
    pub proven: bool,
    /// The folder that was verified, as it was given.
    pub folder: String,
    /// One for each folder with a manifest, by name.
    pub sources: Vec<SourceReport>,
    /// When the interrupted verification began that this one went on with; `None` where there was none.
    pub resumed_from_unix_ns: Option<u64>,
    /// What lies beside the sources, but for a file system's own `lost+found`.
    pub unknown: Listed<String>,
    /// Sources of which nothing is known, because their folder, manifest or ledger cannot be read.
    pub unreadable: Listed<UnreadableSource>,
}

/// A source that cannot be verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadableSource {
    /// The source's folder.
    pub source: String,
    /// What cannot be read of it, and why.
    pub reason: String,
}

/// The result for one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceReport {
    /// The source's folder.
    pub source: String,
    /// Where that folder is. Not in JSON, which has the store's.
    #[serde(skip)]
    pub path: PathBuf,
    /// Frames that the manifest has a line for.
    pub frames: u64,
    /// Frames whose file is, byte for byte, what its line says.
    pub verified: u64,
    /// Bytes in the verified frames.
    pub verified_bytes: u64,
    /// Those of the verified frames whose files were not read now: they were by the verification that was interrupted,
    /// and nothing of them has changed since.
    pub read_before: u64,
    /// Bytes in those.
    pub read_before_bytes: u64,
    /// Frames without a file that were removed because they were old enough.
    pub expired: u64,
    /// Frames whose files were not read, because they were stored before the time from which on they were to be.
    pub skipped: u64,
    /// Frames with a line but no file.
    pub missing: Listed<String>,
    /// Frames whose file is not what its line says.
    pub altered: Listed<Altered>,
    /// Files and folders that no line speaks of, temporary files of a killed receiver included.
    pub unknown: Listed<String>,
    /// Lines that are not records.
    pub bad_lines: Listed<BadLine>,
    /// Lines of the ledger that are none.
    pub bad_ledger_lines: Listed<BadLine>,
    /// The source's runs: what they captured and what became of it.
    pub account: Account,
    /// The places of the frames that no run brought.
    pub sequences: Sequences,
}

/// A frame whose file is not what its line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Altered {
    /// The frame.
    pub name: String,
    /// What is wrong with its file.
    #[serde(flatten)]
    pub how: Alteration,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Alteration {
    /// It is shorter or longer.
    Length {
        /// Bytes according to the manifest.
        expected: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// It has other content of the same length.
    Content {
        /// BLAKE3 according to the manifest.
        expected: String,
        /// BLAKE3 of the file.
        found: String,
    },
    /// It is a symbolic link, a folder or a device.
    NotAFile,
    /// It cannot be read, so that nothing is known of its content.
    Unreadable {
        /// What the system said.
        cause: String,
    },
}

/// How far verifying has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// The source being verified.
    pub source: &'a str,
    /// Its frames that have been looked at.
    pub frames: u64,
    /// Its frames altogether, as far as that is known yet.
    pub of_frames: u64,
    /// Bytes hashed in this source.
    pub bytes: u64,
    /// Frames of the whole store that have been looked at.
    pub all_frames: u64,
    /// The store's frames altogether, as far as that is known yet.
    pub of_all_frames: u64,
    /// Frames that were not read again, because the verification that was interrupted had read them.
    pub read_before: u64,
}

impl VerifyReport {
    /// Whether every frame that a manifest speaks of is there, byte for byte, every line could be read, and
    /// every run ended with each of its frames stored or declared dropped, and none of these because the receiver
    /// refused it, and every source could be read. Unknown files do not count against
    /// it, nor do gaps in the sequences of frames that no run brought: they say nothing about frames.
    pub fn is_proven(&self) -> bool {
        self.unreadable.is_empty() && self.sources.iter().all(SourceReport::is_proven)
    }
}

impl SourceReport {
    /// As [`VerifyReport::is_proven`], for one source.
    pub fn is_proven(&self) -> bool {
        self.verified + self.expired + self.skipped == self.frames
            && matches!(self.account.state, State::Complete | State::Undeclared)
            && self.account.refused == 0
            && self.bad_ledger_lines.is_empty()
            && self.missing.is_empty()
            && self.altered.is_empty()
            && self.bad_lines.is_empty()
    }
}
