//! Verifies the folder of one source, with several threads reading from one manifest.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::report::{Alteration, Altered, Progress, SourceReport};
use super::runs::Accounts;
use super::sequences::Places;
use super::{VerifyError, VerifyOptions};
use crate::frame::{FrameName, MAX_FRAME_NAME_PARTS, RunId};
use crate::manifest::{
    BadLine, FILE_NAME, LEDGER_NAME, Ledger, Lines, Listed, Manifest, ManifestError, Ranges,
    Record, Text,
};
use crate::store::{Directory, Kind, hash_file, within};

/// What a thread takes on at a time: enough that threads seldom wait for one another, little
/// enough that progress is seen and no thread is left alone with the rest.
const BATCH_FRAMES: usize = 64;
const BATCH_BYTES: u64 = 8 << 20;

/// Hands out the records that count, in the manifest's order.
struct Feed<'m> {
    manifest: &'m Manifest,
    path: &'m Path,
    lines: Lines<'m>,
    places: Places,
    accounts: Accounts,
    /// Ends the work of every thread.
    failed: Option<ManifestError>,
}

/// Gathers what the threads find.
struct Tally<'p> {
    report: SourceReport,
    bytes_read: u64,
    checked: u64,
    progress: &'p mut (dyn FnMut(Progress<'_>) + Send),
}

/// How one file stands to its record.
enum Finding {
    Verified,
    Missing,
    /// Missing, as was declared.
    Expired,
    Altered(Alteration),
}

pub(super) fn verify_source(
    folder: &Directory,
    path: &Path,
    source: String,
    options: VerifyOptions,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<SourceReport, VerifyError> {
    let manifest_path = path.join(FILE_NAME);
    let failed = |cause| VerifyError::Io { path: path.to_owned(), cause };
    let file = folder
        .open_file(FILE_NAME)
        .map_err(|cause| VerifyError::Io { path: manifest_path.clone(), cause })?;
    let mut accounts = Accounts::default();
    // Before the manifest: of a source that is being written, the ledger must not say more than that.
    let bad_ledger_lines = read_ledger(folder, path, options.named, &mut accounts)?;
    let (mut manifest, opened) = Manifest::read(file, &manifest_path)?;
    let expired = accounts.expired();
    let mut report = SourceReport {
        source,
        path: path.to_owned(),
        frames: manifest.frames(),
        verified: 0,
        verified_bytes: 0,
        expired: 0,
        missing: Listed::new(options.named),
        altered: Listed::new(options.named),
        unknown: Listed::new(options.named),
        bad_lines: opened.bad_lines,
        bad_ledger_lines,
        account: Accounts::default().finish(0),
        sequences: Places::default().finish(0),
    };
    find_unknown(folder, "", &mut manifest, &mut report.unknown)?.map_err(failed)?;
    let feed = Mutex::new(Feed {
        manifest: &manifest,
        path: &manifest_path,
        lines: manifest.lines()?,
        places: Places::default(),
        accounts,
        failed: None,
    });
    let tally = Mutex::new(Tally { report, bytes_read: 0, checked: 0, progress });
    std::thread::scope(|scope| {
        for _ in 1..options.threads {
            // Where the system gives no more threads, those that there are do it all.
            let helper = std::thread::Builder::new();
            if helper.spawn_scoped(scope, || check_frames(folder, &expired, &feed, &tally)).is_err()
            {
                break;
            }
        }
        check_frames(folder, &expired, &feed, &tally);
    });
    let feed = feed.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut report = tally.into_inner().unwrap_or_else(PoisonError::into_inner).report;
    report.sequences = feed.places.finish(options.named);
    report.account = feed.accounts.finish(options.named);
    // Threads and folders have no order of their own; equal stores shall have equal reports.
    report.missing.first.sort();
    report.altered.first.sort_by(|one, other| one.name.cmp(&other.name));
    report.unknown.first.sort();
    feed.failed.map_or(Ok(report), |error| Err(error.into()))
}

/// Takes the ledger in, where there is one: earlier versions wrote none.
fn read_ledger(
    folder: &Directory,
    path: &Path,
    named: usize,
    accounts: &mut Accounts,
) -> Result<Listed<BadLine>, VerifyError> {
    let path = path.join(LEDGER_NAME);
    match folder.open_file(LEDGER_NAME) {
        Ok(file) => Ok(Ledger::read(file, &path, &mut |entry| accounts.learn(entry))?),
        Err(Errno::NOENT) => Ok(Listed::new(named)),
        Err(cause) => Err(VerifyError::Io { path, cause }),
    }
}

/// Lists what is in the folder, and in folders below it, without a line: a folder of which nothing has one as a
/// whole. The outer error is the manifest's, the inner one the folder's. Whether anything has a line.
fn find_unknown(
    folder: &Directory,
    below: &str,
    manifest: &mut Manifest,
    unknown: &mut Listed<String>,
) -> Result<Result<bool, Errno>, ManifestError> {
    let (mut failed, mut any) = (None, false);
    let visited = folder.for_each_name(|name| {
        if below.is_empty() && [FILE_NAME.as_bytes(), LEDGER_NAME.as_bytes()].contains(&name) {
            return Ok(());
        }
        let shown = format!("{below}{}", String::from_utf8_lossy(name));
        let found = match std::str::from_utf8(name) {
            Ok(name) => is_known(folder, name, &shown, manifest, unknown),
            Err(_) => Ok(Ok(false)),
        };
        match found {
            Ok(Ok(true)) => any = true,
            Ok(Ok(false)) => unknown.push(shown),
            Ok(Err(cause)) => return Err(cause),
            Err(error) => {
                let cause = error.cause;
                failed = Some(error);
                return Err(cause);
            }
        }
        Ok(())
    });
    failed.map_or(Ok(visited.map(|()| any)), Err)
}

/// Whether what is in a folder has a line, or anything in it has: then what has none there is listed.
fn is_known(
    folder: &Directory,
    name: &str,
    shown: &str,
    manifest: &mut Manifest,
    unknown: &mut Listed<String>,
) -> Result<Result<bool, Errno>, ManifestError> {
    if let Ok(frame) = FrameName::parse(shown)
        && manifest.find(&frame)?.is_some()
    {
        return Ok(Ok(true));
    }
    match folder.kind(name) {
        Ok(Some(Kind::Folder)) if shown.split('/').count() < MAX_FRAME_NAME_PARTS => {}
        Ok(_) => return Ok(Ok(false)),
        Err(cause) => return Ok(Err(cause)),
    }
    let inner = match folder.folder(name) {
        Ok(inner) => inner,
        // What cannot be looked into has no frame that could be read either.
        Err(Errno::ACCESS) => return Ok(Ok(false)),
        Err(cause) => return Ok(Err(cause)),
    };
    let mut inside = unknown.alike();
    let found = find_unknown(&inner, &format!("{shown}/"), manifest, &mut inside)?;
    if found == Ok(true) {
        unknown.append(inside);
    }
    Ok(found)
}

/// One thread's work: until nothing is left, takes some records and checks their files.
fn check_frames(
    folder: &Directory,
    expired: &HashMap<RunId, Ranges>,
    feed: &Mutex<Feed<'_>>,
    tally: &Mutex<Tally<'_>>,
) {
    let is_expired = |record: &Record| {
        let expired = record.run.and_then(|run| expired.get(&run));
        expired.is_some_and(|expired| expired.contains(record.sequence.0))
    };
    let mut buffer = Vec::new();
    loop {
        let batch = locked(feed).take();
        if batch.is_empty() {
            return;
        }
        let check = |record: Record| match check(folder, &record, &mut buffer) {
            Finding::Missing if is_expired(&record) => (Finding::Expired, record),
            found => (found, record),
        };
        let checked: Vec<_> = batch.into_iter().map(check).collect();
        locked(tally).add(checked);
    }
}

/// A thread that panicked has left no half-done work behind that would matter to the others.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed<'_> {
    /// The next records, none at the end or after an error.
    fn take(&mut self) -> Vec<Record> {
        let mut batch = Vec::new();
        let mut bytes = 0u64;
        while self.failed.is_none() && batch.len() < BATCH_FRAMES && bytes < BATCH_BYTES {
            let line = match self.lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => {
                    let cause = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                    let path = self.path.to_owned();
                    self.failed = Some(ManifestError { doing: "read", path, cause });
                    break;
                }
            };
            let (Text::Whole(text) | Text::Unfinished(text)) = line.text else { continue };
            let Ok(record) = Record::parse(text) else { continue };
            self.accounts.stored(&record);
            // Lines that a later line of the same name has replaced claim nothing any more.
            if self.manifest.is_current(&record.name, line.offset) {
                bytes = bytes.saturating_add(record.bytes);
                if record.run.is_none() {
                    self.places.insert(record.sequence);
                }
                batch.push(record);
            }
        }
        batch
    }
}

impl Tally<'_> {
    fn add(&mut self, checked: Vec<(Finding, Record)>) {
        for (finding, record) in checked {
            let name = record.name.as_str().to_owned();
            self.checked += 1;
            self.bytes_read += record.bytes;
            match finding {
                Finding::Verified => {
                    self.report.verified += 1;
                    self.report.verified_bytes += record.bytes;
                }
                Finding::Expired => self.report.expired += 1,
                Finding::Missing => self.report.missing.push(name),
                Finding::Altered(how) => self.report.altered.push(Altered { name, how }),
            }
        }
        (self.progress)(Progress {
            source: &self.report.source,
            frames: self.checked,
            of_frames: self.report.frames,
            bytes: self.bytes_read,
        });
    }
}

fn check(folder: &Directory, record: &Record, buffer: &mut Vec<u8>) -> Finding {
    let unreadable = |cause: String| Finding::Altered(Alteration::Unreadable { cause });
    let folder = match within(folder, &record.name) {
        Ok(Some(folder)) => folder,
        Ok(None) => return Finding::Missing,
        Err((_, Errno::NOTDIR)) => return Finding::Altered(Alteration::NotAFile),
        Err((_, cause)) => return unreadable(cause.to_string()),
    };
    let name = record.name.file_name();
    // The length first: it needs no reading.
    match folder.kind(name) {
        Ok(None) => return Finding::Missing,
        Ok(Some(Kind::File(found))) if found != record.bytes => {
            let expected = record.bytes;
            return Finding::Altered(Alteration::Length { expected, found });
        }
        Ok(Some(Kind::File(_))) => {}
        Ok(Some(Kind::Folder | Kind::Other)) => return Finding::Altered(Alteration::NotAFile),
        Err(cause) => return unreadable(cause.to_string()),
    }
    let file = match folder.open_file(name) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Finding::Missing,
        Err(cause) => return unreadable(cause.to_string()),
    };
    match hash_file(&file, buffer) {
        Ok((hash, _)) if hash == record.blake3 => Finding::Verified,
        Ok((_, found)) if found != record.bytes => {
            Finding::Altered(Alteration::Length { expected: record.bytes, found })
        }
        Ok((hash, _)) => Finding::Altered(Alteration::Content {
            expected: record.blake3.to_hex().to_string(),
            found: hash.to_hex().to_string(),
        }),
        Err(error) => unreadable(error.to_string()),
    }
}
