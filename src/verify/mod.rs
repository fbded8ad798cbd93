//! Proves a store: every file is read and hashed again, and held against the manifests.
//!
//! Files are never changed, symbolic links never followed. Memory is bounded: the manifests are
//! streamed (with about 20 bytes a frame kept to know which line of a name is its last), and
//! findings are counted exactly but named only up to a limit.

mod report;
mod runs;
mod source;

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

pub use report::{Alteration, Altered, Progress, SourceReport, VerifyReport};
pub use runs::{SequenceGap, Sequences};

use crate::manifest::{FILE_NAME, Listed, ManifestError};
use crate::sink::{Directory, Kind};

/// How to verify.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// Threads that read and hash; at least one is used.
    pub threads: usize,
    /// How many findings of a kind are named for each source; all are counted.
    pub named: usize,
}

/// Why a store could not be verified.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// No manifest there.
    #[error("there is no {FILE_NAME} in {} or in a folder directly below it; name the folder that `receive` stored to (--out)", path.display())]
    NothingToVerify {
        /// The folder.
        path: PathBuf,
    },
    /// A manifest that cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A folder that cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        cause: Errno,
    },
}

impl Default for VerifyOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads, named: 10_000 }
    }
}

/// Verifies `path`: a store with its sources below it, or the folder of one source. `progress` is
/// told after every few megabytes.
///
/// # Errors
/// [`VerifyError`], where a folder or manifest cannot be read at all or there is none. What is wrong
/// with frames is no error but in the report; [`VerifyReport::is_proven`] sums it up.
pub fn verify(
    path: &Path,
    options: VerifyOptions,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<VerifyReport, VerifyError> {
    let failed = |cause| VerifyError::Io { path: path.to_owned(), cause };
    let folder = Directory::open(path).map_err(failed)?;
    let mut report = VerifyReport {
        folder: path.display().to_string(),
        sources: Vec::new(),
        unknown: Listed::new(options.named),
    };
    if has_manifest(&folder).map_err(failed)? {
        let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = full.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        report.sources.push(source::verify_source(&folder, path, name, options, progress)?);
        return Ok(report);
    }
    for name in source_names(&folder, path, &mut report.unknown)? {
        let (folder, path) = (folder.folder(&name).map_err(failed)?, path.join(&name));
        report.sources.push(source::verify_source(&folder, &path, name, options, progress)?);
    }
    if report.sources.is_empty() {
        return Err(VerifyError::NothingToVerify { path: path.to_owned() });
    }
    Ok(report)
}

/// The folders with a manifest, sorted; everything else in the store is unknown.
fn source_names(
    folder: &Directory,
    path: &Path,
    unknown: &mut Listed<String>,
) -> Result<Vec<String>, VerifyError> {
    let mut names = Vec::new();
    let visited = folder.for_each_name(|name| {
        let is_source = match std::str::from_utf8(name) {
            Ok(name) if folder.kind(name)? == Some(Kind::Folder) => {
                has_manifest(&folder.folder(name)?)?
            }
            _ => false,
        };
        let name = String::from_utf8_lossy(name).into_owned();
        if is_source {
            names.push(name);
        } else {
            unknown.push(name);
        }
        Ok::<_, Errno>(())
    });
    visited.map_err(|cause| VerifyError::Io { path: path.to_owned(), cause })?;
    names.sort();
    unknown.first.sort();
    Ok(names)
}

fn has_manifest(folder: &Directory) -> Result<bool, Errno> {
    Ok(matches!(folder.kind(FILE_NAME)?, Some(Kind::File(_))))
}

#[cfg(test)]
mod tests;
