//! Proves a store: every file is read and hashed again, and held against the manifests; and every run of every source
//! is held against what it declared, so that what never came is known as well.
//!
//! Each source is in one of these states:
//!
//! | state | says | proven |
//! |---|---|---|
//! | complete | every frame that its runs captured is stored, or declared dropped | yes |
//! | undeclared | no run says how many frames there were: they came over stop-and-wait, which has no runs, or to an earlier version. Gaps in their sequences are listed and prove nothing: stop-and-wait takes the numbers from the names | yes |
//! | account lost | frames of a run are here and verified, and the ledger, or this part of it, is lost: nothing says how many it had | no |
//! | not ended | the sender of a run was killed, or is still at it; no later run of the same folder has all of it | no |
//! | ambiguous | different frames have one run and sequence: two senders gave it, as from a copied spool; in one folder, or in two that are verified together | no |
//! | contradictory | frames are here, or declared dropped, that their run cannot have had by what it says of itself, or not from that sender: lines of the ledger or the manifest were changed or lost | no |
//! | gap | frames of a run have neither file nor declaration, or went with a folder that was taken away while it went on | no |
//!
//! Files are never changed, symbolic links never followed. Memory is bounded: the manifests are
//! streamed (with about 20 bytes a frame kept to know which line of a name is its last), and
//! findings are counted exactly but named only up to a limit.

mod account;
mod check;
mod course;
mod later;
mod overlap;
mod parts;
mod past;
mod report;
mod run;
mod runs;
mod sequences;
mod source;
mod together;
mod unknown;

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

pub use account::{Account, Drops, Gap, RunReport, State};
pub use course::Course;
use course::Whole;
pub use past::Past;
pub use report::{Alteration, Altered, Progress, SourceReport, UnreadableSource, VerifyReport};
pub use sequences::{SequenceGap, Sequences};
pub use together::{Together, overlapping};

use crate::frame::UnixNanos;
use crate::manifest::{FILE_NAME, LEDGER_NAME, Listed, ManifestError};
use crate::store::{Directory, Kind, days, is_temporary};

/// How to verify.
#[derive(Debug, Clone, Copy)]
pub struct VerifyOptions {
    /// Threads that read and hash; at least one is used.
    pub threads: usize,
    /// How many findings of a kind are named for each source; all are counted.
    pub named: usize,
    /// The files of frames that were stored before are not read.
    pub since: Option<UnixNanos>,
}

/// Why a store could not be verified.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// No manifest there.
    #[error("there is no {FILE_NAME} in {} or in a folder directly below it; {}", path.display(), where_else(below))]
    NothingToVerify {
        /// The folder.
        path: PathBuf,
        /// Folders in it that are stores, the first few.
        below: Vec<PathBuf>,
    },
    /// The folder to verify is a link that leads nowhere.
    #[error("{} is a symbolic link to {}, and there is nothing; is the disk mounted?", path.display(), target.display())]
    Dangling {
        /// The link.
        path: PathBuf,
        /// What it points to, as it says.
        target: PathBuf,
    },
    /// No manifest there, but a link to a folder with one, or to nothing.
    #[error("there is no {FILE_NAME} in {} or in a folder directly below it. {} is a symbolic link to {}{}", store.display(), path.display(), target.display(), advice(*found))]
    OnlyLinked {
        /// The store.
        store: PathBuf,
        /// The link.
        path: PathBuf,
        /// What it points to, as it says.
        target: PathBuf,
        /// Whether there is anything.
        found: bool,
    },
    /// A manifest that cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It was asked to stop.
    #[error("interrupted")]
    Interrupted,
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
        Self { threads, named: 10_000, since: None }
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
    let together = Together::of(&[path.to_owned()])?;
    let course = Course { together: Some(&together), ..Course::default() };
    verify_on(path, options, course, progress)
}

/// The same, from where an interrupted one was, and to be interrupted itself.
///
/// # Errors
/// As [`verify`], and [`VerifyError::Interrupted`].
pub fn verify_on(
    path: &Path,
    options: VerifyOptions,
    course: Course<'_>,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<VerifyReport, VerifyError> {
    let failed = |cause| VerifyError::Io { path: path.to_owned(), cause };
    let folder = open(path)?;
    let mut report = VerifyReport {
        proven: false,
        folder: path.display().to_string(),
        sources: Vec::new(),
        resumed_from_unix_ns: course.past.and_then(Past::earlier).map(|began| began.0),
        unknown: Listed::new(options.named),
        unreadable: Listed::new(options.named),
    };
    let mut whole = Whole::default();
    if is_source(&folder).map_err(failed)? {
        whole.of_frames = source::about(&folder, path);
        let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = full.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let course = (course, &mut whole);
        report.sources.push(source::verify_source(&folder, path, name, options, course, progress)?);
        report.proven = report.is_proven();
        return Ok(report);
    }
    let names = source_names(&folder, path, &mut report.unknown)?;
    let mut first_fault = None;
    for name in &names {
        let about = |source: Directory| source::about(&source, &path.join(name));
        whole.of_frames += folder.folder(name).map_or(0, about);
    }
    for name in names {
        let path = path.join(&name);
        let failed = |cause| VerifyError::Io { path: path.clone(), cause };
        let course = (course, &mut whole);
        let verified = folder.folder(&name).map_err(failed).and_then(|folder| {
            source::verify_source(&folder, &path, name.clone(), options, course, progress)
        });
        match verified {
            Ok(source) => report.sources.push(source),
            Err(VerifyError::Interrupted) => return Err(VerifyError::Interrupted),
            // One that cannot be read says nothing about the others.
            Err(error) => {
                report
                    .unreadable
                    .push(UnreadableSource { source: name, reason: error.to_string() });
                first_fault.get_or_insert(error);
            }
        }
    }
    if report.sources.is_empty() {
        return Err(first_fault.unwrap_or_else(|| nothing(path, &report.unknown)));
    }
    report.proven = report.is_proven();
    Ok(report)
}

fn open(path: &Path) -> Result<Directory, VerifyError> {
    Directory::open(path).map_err(|cause| match path.read_link() {
        Ok(target) if cause == Errno::NOENT => {
            VerifyError::Dangling { path: path.to_owned(), target }
        }
        _ => VerifyError::Io { path: path.to_owned(), cause },
    })
}

/// The folders of the sources in `path`, or `path` itself where it is one.
fn sources(path: &Path) -> Result<Vec<(Directory, PathBuf)>, VerifyError> {
    let folder = open(path)?;
    if is_source(&folder).map_err(|cause| VerifyError::Io { path: path.to_owned(), cause })? {
        return Ok(vec![(folder, path.to_owned())]);
    }
    let names = source_names(&folder, path, &mut Listed::new(0))?;
    let found =
        names.into_iter().filter_map(|name| Some((folder.folder(&name).ok()?, path.join(name))));
    Ok(found.collect())
}

/// What to do about a link in the place of a source.
fn advice(found: bool) -> &'static str {
    if found {
        "; links in a store are not followed: name the folder that it points to"
    } else {
        ", where there is nothing. Is the disk mounted? Or name the folder that `receive` stored to (`out`)"
    }
}

/// What is to be verified in place of a folder that is no store.
fn where_else(below: &[PathBuf]) -> String {
    let named: Vec<_> = below.iter().map(|store| store.display().to_string()).collect();
    match named.is_empty() {
        true => "name the folder that `receive` stored to (`out`)".to_owned(),
        false => format!("each sender has a store of its own there: name {}", named.join(", or ")),
    }
}

/// The stores of senders (`out` DIR/{sender}) in a folder, the first few by name.
fn stores_below(folder: &Path) -> Vec<PathBuf> {
    const MOST: usize = 3;
    let within = |folder: &Path| {
        let listed = std::fs::read_dir(folder).into_iter().flatten().flatten();
        // Enough to find one, however much else is there.
        listed.take(1_000).map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let is_store =
        |path: &PathBuf| within(path).iter().any(|source| source.join(FILE_NAME).is_file());
    let mut stores: Vec<_> = within(folder).into_iter().filter(is_store).collect();
    stores.sort();
    stores.truncate(MOST);
    stores
}

/// Why there is nothing to verify: a link in the place of a source may be the reason.
fn nothing(store: &Path, unknown: &Listed<String>) -> VerifyError {
    let mut links = unknown.first.iter().filter_map(|name| {
        let path = store.join(name);
        let (target, found) = (path.read_link().ok()?, path.exists());
        let store = store.to_owned();
        let counts = !found || path.join(FILE_NAME).is_file();
        counts.then_some(VerifyError::OnlyLinked { store, path, target, found })
    });
    let otherwise =
        || VerifyError::NothingToVerify { path: store.to_owned(), below: stores_below(store) };
    links.next().unwrap_or_else(otherwise)
}

/// The folders with a manifest, sorted; everything else in the store is unknown.
fn source_names(
    folder: &Directory,
    path: &Path,
    unknown: &mut Listed<String>,
) -> Result<Vec<String>, VerifyError> {
    let mut names = Vec::new();
    let visited = folder.for_each_name(|name| {
        let what = match std::str::from_utf8(name) {
            // What cannot be looked into may be a source, and is named as one.
            Ok(name) => what_is(folder, name).unwrap_or(Within::Source),
            Err(_) => Within::Unknown,
        };
        let name = String::from_utf8_lossy(name).into_owned();
        match what {
            Within::Source => names.push(name),
            Within::Unknown => unknown.push(name),
            Within::FileSystem | Within::Passing => {}
        }
        Ok::<_, Errno>(())
    });
    visited.map_err(|cause| VerifyError::Io { path: path.to_owned(), cause })?;
    names.sort();
    unknown.first.sort();
    Ok(names)
}

/// What a name in a store stands for.
enum Within {
    Source,
    Unknown,
    /// The file system's own, no business of ours.
    FileSystem,
    /// A receiver's, for a moment.
    Passing,
}

/// Where a disk is mounted as the store, this is in it from the start, and mostly for root alone.
const LOST_AND_FOUND: &str = "lost+found";

fn what_is(store: &Directory, name: &str) -> Result<Within, Errno> {
    match store.kind(name)? {
        Some(Kind::Folder) => {}
        _ if is_temporary(name) => return Ok(Within::Passing),
        _ => return Ok(Within::Unknown),
    }
    let is_own = name == LOST_AND_FOUND;
    match store.folder(name).and_then(|folder| is_source(&folder)) {
        Ok(true) => Ok(Within::Source),
        Ok(false) if !is_own => Ok(Within::Unknown),
        Err(cause) if !is_own || cause != Errno::ACCESS => Err(cause),
        _ => Ok(Within::FileSystem),
    }
}

/// A source has a manifest or, where it has days instead, a ledger; where that is lost, days are enough. A source may be
/// called like a day: then it has a ledger of its own, which is in no part of a source.
fn is_source(folder: &Directory) -> Result<bool, Errno> {
    let has = |folder: &Directory, name| {
        Ok::<_, Errno>(matches!(folder.kind(name)?, Some(Kind::File(_))))
    };
    if has(folder, FILE_NAME)? || has(folder, LEDGER_NAME)? {
        return Ok(true);
    }
    if days(folder)?.is_empty() {
        return Ok(false);
    }
    let mut has_sources = false;
    folder.for_each_name(|name| {
        let inner = std::str::from_utf8(name).ok().and_then(|name| folder.folder(name).ok());
        has_sources |= inner.is_some_and(|inner| has(&inner, LEDGER_NAME).unwrap_or(false));
        Ok::<_, Errno>(())
    })?;
    Ok(!has_sources)
}

#[cfg(test)]
mod layout_tests;
#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod together_tests;
