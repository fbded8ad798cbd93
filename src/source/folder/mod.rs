//! The files of a folder, in natural order.

mod listing;
mod natural;
pub(crate) mod own;
mod pick;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::fs::OFlags;

pub use listing::{Passed, Unsent};
pub use pick::{LeftOut, NamePattern, PatternError, Pick};

use super::captured::Untimed;
use super::{CapturedBy, Content, Description, Extent, Source, SourceError, Zone};
use crate::frame::{Clock, ContentHash, FrameName, Sequence, SourceName, UnixNanos, printable};
use listing::{Listing, kind_of};

/// A file that changed less than this ago may be being written.
const BEING_WRITTEN: Duration = Duration::from_secs(10);

/// What is taken of a folder.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct FolderOptions {
    /// The folders in it as well: their names are in front of their frames', as in `flight1/0.jpg`.
    pub recursive: bool,
    /// Which names.
    pub pick: Pick,
    /// Where capture times are taken from.
    pub captured: CapturedBy,
    /// The zone of those that do not say it.
    pub zone: Zone,
}

/// The files in a folder, as they were listed at the start.
#[derive(Debug)]
pub struct Folder {
    name: SourceName,
    path: PathBuf,
    listing: Listing,
    captured: CapturedBy,
    zone: Zone,
    /// Frames that were read and have no time by that rule; those of names are known from the listing.
    untimed: Arc<Untimed>,
}

impl Folder {
    /// Lists the files directly in `path` that are neither hidden nor temporary.
    ///
    /// # Errors
    /// [`SourceError::List`] or [`SourceError::Empty`].
    pub fn open(name: SourceName, path: &Path) -> Result<Self, SourceError> {
        Self::open_with(name, path, &FolderOptions::default())
    }

    /// Lists what `options` say of `path`. Links to files count as files.
    ///
    /// # Errors
    /// [`SourceError::List`] or [`SourceError::Empty`].
    pub fn open_with(
        name: SourceName,
        path: &Path,
        options: &FolderOptions,
    ) -> Result<Self, SourceError> {
        refuse_spool(path)?;
        let mut listing = Listing::of(path, options.recursive, &options.pick)
            .map_err(|error| SourceError::List { path: path.to_owned(), why: error.to_string() })?;
        if listing.len() == 0 {
            let but = but(&listing.passed);
            return Err(SourceError::Empty { path: path.to_owned(), but });
        }
        if let CapturedBy::Name(pattern) = &options.captured {
            listing.note_untimed(path, |name| !pattern.gives_a_time(name, options.zone));
        }
        let (captured, zone) = (options.captured.clone(), options.zone);
        let is_listed = matches!(captured, CapturedBy::Name(_));
        let counted = if is_listed { &CapturedBy::Modified } else { &captured };
        let untimed = Arc::new(Untimed::by(counted, &name));
        let folder = Self { name, path: path.to_owned(), listing, captured, zone, untimed };
        folder.check_captured()?;
        Ok(folder)
    }

    /// Checks that the rule of capture times is one for these frames: of some of them, at least.
    fn check_captured(&self) -> Result<(), SourceError> {
        /// Where so much was read and no camera wrote its time into it, the rest is not looked through for one that has.
        const PROBE_BYTES: u64 = 64 << 20;
        let fault = |why| Err(SourceError::Captured { path: self.path.clone(), why });
        let example = printable(&String::from_utf8_lossy(self.listing.name(0))).into_owned();
        match &self.captured {
            CapturedBy::Name(_) if self.listing.passed.untimed.0 == self.listing.len() as u64 => {
                fault(format!("no name in it is as {}; one is {example}", self.captured))
            }
            CapturedBy::Exif => {
                let mut rest = PROBE_BYTES;
                for probe in 0..self.listing.len() as u64 {
                    // What cannot be read is told in its turn.
                    let Ok(content) = self.content(Sequence(probe), rest) else { return Ok(()) };
                    let captured = content.description.captured;
                    if captured.is_some_and(|captured| captured.clock == Clock::Exif) {
                        return Ok(());
                    }
                    rest = rest.saturating_sub(content.description.bytes);
                }
                fault(format!(
                    "{example} and all others have none in their EXIF: take the time of the files, then (`captured` mtime)"
                ))
            }
            _ => Ok(()),
        }
    }

    fn description(
        &self,
        name: FrameName,
        metadata: &Metadata,
        body: Option<&[u8]>,
    ) -> Description {
        let modified = modified(metadata);
        let file_name = name.file_name().as_bytes();
        let captured = self.captured.of(file_name, body, modified, self.zone);
        Description { name, bytes: metadata.len(), modified, captured }
    }

    /// Lists what `options` say of `path`, which may be empty or not there yet. Files that may be being
    /// written are not among its frames: their paths are the second value.
    pub(super) fn for_watching(
        name: SourceName,
        path: &Path,
        options: &FolderOptions,
    ) -> Result<(Self, Vec<Vec<u8>>), SourceError> {
        refuse_spool(path)?;
        let mut listing = match Listing::of(path, options.recursive, &options.pick) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Listing::default(),
            listing => listing.map_err(|error| SourceError::List {
                path: path.to_owned(),
                why: error.to_string(),
            })?,
        };
        let is_fresh = |name: &[u8]| {
            let changed =
                fs::metadata(path.join(OsStr::from_bytes(name))).and_then(|it| it.modified());
            let age = changed.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
            age.is_none_or(|age| age < BEING_WRITTEN)
        };
        let fresh = listing.take_out(is_fresh);
        let (captured, zone) = (options.captured.clone(), options.zone);
        let untimed = Arc::new(Untimed::by(&captured, &name));
        Ok((Self { name, path: path.to_owned(), listing, captured, zone, untimed }, fresh))
    }

    /// What counts the frames without a time, for those that come later as well.
    pub(super) fn untimed(&self) -> &Arc<Untimed> {
        &self.untimed
    }

    /// The content of a frame, whatever its time.
    fn content(&self, sequence: Sequence, limit: u64) -> Result<Content, SourceError> {
        let name = self.frame_name(sequence)?;
        let path = self.file(sequence);
        let (mut file, before) = open_file(&path)?;
        let bytes = before.len();
        if bytes > limit {
            return Err(SourceError::TooLarge { path, bytes, limit });
        }
        let body = read_exactly(&mut file, bytes, &path)?;
        check_unchanged(&file, &before, &path)?;
        check_no_key(&body, &path)?;
        let description = self.description(name, &before, Some(&body));
        Ok(Content { description, hash: blake3::hash(&body), body: Bytes::from(body) })
    }

    /// The names of its frames as they are on the disk, below its path.
    pub(super) fn raw_names(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.listing.len() as u64).map(|index| self.listing.name(index))
    }

    /// What in the folder is not sent, and why.
    pub fn passed(&self) -> &Passed {
        &self.listing.passed
    }

    fn raw_name(&self, sequence: Sequence) -> &[u8] {
        self.listing.name(sequence.0)
    }

    fn file(&self, sequence: Sequence) -> PathBuf {
        self.path.join(OsStr::from_bytes(self.raw_name(sequence)))
    }

    fn frame_name(&self, sequence: Sequence) -> Result<FrameName, SourceError> {
        FrameName::from_bytes(self.raw_name(sequence))
            .map_err(|why| SourceError::Name { path: self.file(sequence), why })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.untimed.tell();
    }
}

impl Source for Folder {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn extent(&self) -> Extent {
        Extent::fixed(self.listing.len() as u64)
    }

    fn describe(&self, sequence: Sequence) -> Result<Description, SourceError> {
        let name = self.frame_name(sequence)?;
        let path = self.file(sequence);
        let metadata = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
        check_is_file(&metadata, &path)?;
        Ok(self.description(name, &metadata, None))
    }

    fn read(&self, sequence: Sequence, limit: u64) -> Result<Content, SourceError> {
        let content = self.content(sequence, limit)?;
        let captured = content.description.captured.as_ref();
        self.untimed.note(self.raw_name(sequence), captured, &self.label(sequence));
        Ok(content)
    }

    fn hash(&self, sequence: Sequence) -> Result<(Description, ContentHash), SourceError> {
        let name = self.frame_name(sequence)?;
        let path = self.file(sequence);
        let (file, before) = open_file(&path)?;
        let bytes = before.len();
        let mut hasher = blake3::Hasher::new();
        // One byte more, for a file that grows, and no more of it.
        let rest = (&file).take(bytes.saturating_add(1));
        hasher.update_reader(rest).map_err(|error| unreadable(&path, &error))?;
        check_length(hasher.count(), bytes, &path)?;
        check_unchanged(&file, &before, &path)?;
        let description = self.description(name, &before, None);
        Ok((description, hasher.finalize()))
    }

    fn label(&self, sequence: Sequence) -> String {
        printable(&String::from_utf8_lossy(self.raw_name(sequence))).into_owned()
    }
}

/// Refuses a folder that is a spool's: what is in it is a sender's own.
fn refuse_spool(path: &Path) -> Result<(), SourceError> {
    if !own::is_in_spool(path) {
        return Ok(());
    }
    let why =
        "it is a spool, or lies in one: a sender that names it as its spool sends what is in it"
            .to_owned();
    Err(SourceError::List { path: path.to_owned(), why })
}

/// Refuses a private key, by whichever name it came here.
pub(super) fn check_no_key(body: &[u8], path: &Path) -> Result<(), SourceError> {
    if !own::has_private_key(body) {
        return Ok(());
    }
    let what = super::shown(path).to_string();
    let why =
        "there is a private key in it, which is never sent; take it out of the source's folder"
            .to_owned();
    Err(SourceError::NotAnImage { what, why })
}

/// The order of frames by their names.
pub(super) fn in_order(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    natural::compare(a, b)
}

/// What there is instead of frames, for people.
fn but(passed: &Passed) -> String {
    let folders = passed.unsent.iter().filter(|(_, why)| *why == Unsent::Folder).count() as u64;
    let parts = [
        (folders, "folders, which `recursive` takes"),
        (passed.hidden.0, "hidden names"),
        (passed.temporary.0, "names of unfinished files"),
        (
            passed.own.0,
            "of framelane's own: identities, spools and stores, of which each source's folder can be sent by itself",
        ),
        (passed.unwanted, "that your patterns leave out"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<_> = parts.map(|(count, what)| format!("{count} {what}")).collect();
    if parts.is_empty() { String::new() } else { format!(" (but {})", parts.join(", ")) }
}

/// Opens a file without waiting for anybody: what was a file when the folder was listed can be a named
/// pipe by now.
pub(super) fn open_file(path: &Path) -> Result<(File, Metadata), SourceError> {
    // Looked at before it is opened, too: opening a device can set something going.
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    check_is_file(&metadata, path)?;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = opened.map_err(|error| unreadable(path, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    check_is_file(&metadata, path)?;
    Ok((file, metadata))
}

fn check_is_file(metadata: &Metadata, path: &Path) -> Result<(), SourceError> {
    if metadata.is_file() {
        return Ok(());
    }
    let why = format!("it is {} now, not a file", kind_of(metadata.file_type()));
    Err(SourceError::Read { path: path.to_owned(), why })
}

/// Reads `bytes` bytes and checks that the file ends there.
pub(super) fn read_exactly(
    file: &mut File,
    bytes: u64,
    path: &Path,
) -> Result<Vec<u8>, SourceError> {
    // One byte more than announced is asked for: a file that grew shows itself.
    let most = bytes.saturating_add(1);
    let mut body = Vec::new();
    // The length is the file's and the receiver's: one that this machine cannot hold is an error.
    body.try_reserve_exact(usize::try_from(most).unwrap_or(usize::MAX)).map_err(|_| {
        let why = format!("there is no memory for its {bytes} bytes");
        SourceError::Read { path: path.to_owned(), why }
    })?;
    file.take(most).read_to_end(&mut body).map_err(|error| unreadable(path, &error))?;
    check_length(body.len() as u64, bytes, path)?;
    Ok(body)
}

fn check_length(read: u64, bytes: u64, path: &Path) -> Result<(), SourceError> {
    let changed = |what: String| SourceError::Changed { path: path.to_owned(), what };
    match read.cmp(&bytes) {
        std::cmp::Ordering::Less => Err(changed(format!("it shrank from {bytes} to {read} bytes"))),
        std::cmp::Ordering::Greater => Err(changed(format!("it grew beyond {bytes} bytes"))),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

fn check_unchanged(file: &File, before: &Metadata, path: &Path) -> Result<(), SourceError> {
    let after = file.metadata().map_err(|error| unreadable(path, &error))?;
    if after.len() == before.len() && modified(&after) == modified(before) {
        return Ok(());
    }
    let (before, after) = (before.len(), after.len());
    let what = format!("it was written to; {before} bytes before, {after} after");
    Err(SourceError::Changed { path: path.to_owned(), what })
}

/// When it was last changed, where that says anything.
pub(super) fn modified(metadata: &Metadata) -> Option<UnixNanos> {
    // A clock that was not set, or a time that this type cannot hold, says nothing of the content.
    metadata.modified().ok().map(UnixNanos::from).filter(|time| time.0 > 0)
}

fn unreadable(path: &Path, error: &io::Error) -> SourceError {
    if error.kind() == io::ErrorKind::NotFound {
        return SourceError::Vanished { path: path.to_owned() };
    }
    SourceError::Read { path: path.to_owned(), why: error.to_string() }
}
