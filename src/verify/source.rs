//! Verifies the folder of one source, with several threads reading from one manifest.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::check::{Finding, check, look};
use super::course::{Course, Whole};
use super::parts::{Part, look_at_ledger, parts, read_ledger};
use super::report::{Altered, Progress, SourceReport};
use super::runs::Accounts;
use super::sequences::Places;
use super::unknown;
use super::{VerifyError, VerifyOptions};
use crate::frame::{RunId, UnixNanos};
use crate::manifest::{
    BadLine, Day, FILE_NAME, Lines, Listed, Manifest, ManifestError, Ranges, Record, Text,
};
use crate::store::{Directory, FileId, Look};

/// What a thread takes on at a time: enough that threads seldom wait for one another, little
/// enough that progress is seen and no thread is left alone with the rest.
const BATCH_FRAMES: usize = 64;
const BATCH_BYTES: u64 = 8 << 20;

/// Hands out the records that count, in the manifest's order.
struct Feed<'m> {
    manifest: &'m Manifest,
    path: &'m Path,
    id: FileId,
    lines: Lines<'m>,
    since: Option<UnixNanos>,
    skipped: u64,
    places: Places,
    accounts: Accounts,
    /// Ends the work of every thread.
    failed: Option<ManifestError>,
}

/// Lines of a manifest that are checked together. Where it begins and ends is by the manifest alone, so that each run
/// has the same.
struct Batch {
    /// Those of its lines that count and whose files are to be read.
    records: Vec<Record>,
    /// Of the manifest, the place in it, and these lines as they stand there.
    hasher: blake3::Hasher,
}

/// Gathers what the threads find.
struct Tally<'p> {
    report: SourceReport,
    /// The folder of the part, before names of frames.
    below: String,
    of_frames: u64,
    bytes_read: u64,
    checked: u64,
    whole: &'p mut Whole,
    progress: &'p mut (dyn FnMut(Progress<'_>) + Send),
}

/// What was declared to have been removed because it was old enough.
struct Expired {
    runs: HashMap<RunId, Ranges>,
    days: HashMap<Day, UnixNanos>,
    /// What the ledger looked like before it was read.
    ledger: Option<Look>,
}

impl Expired {
    fn of(accounts: &Accounts, ledger: Option<Look>) -> Self {
        let (runs, days) = (accounts.expired(), accounts.expired_days());
        Self { runs, days, ledger }
    }

    /// The same where the frame's file is missing: where nothing is known of that, and the ledger is another than the one
    /// that was read, it is read again. Days may expire while they are verified, and are in the ledger before a file goes.
    fn has_now(&mut self, source: (&Directory, &Path), day: Option<Day>, record: &Record) -> bool {
        if self.has(day, record) {
            return true;
        }
        let (ledger, mut accounts) = (look_at_ledger(source.0), Accounts::default());
        if ledger == self.ledger || read_ledger(source.0, source.1, 0, &mut accounts).is_err() {
            return false;
        }
        *self = Self::of(&accounts, ledger);
        self.has(day, record)
    }

    fn has(&self, day: Option<Day>, record: &Record) -> bool {
        let of_run = record.run.and_then(|run| self.runs.get(&run));
        let of_day = self.days.get(&day.unwrap_or_else(|| record.day()));
        of_run.is_some_and(|of_run| of_run.contains(record.sequence.0))
            || of_day.is_some_and(|at| record.stored <= *at)
    }
}

pub(super) fn verify_source(
    folder: &Directory,
    path: &Path,
    source: String,
    options: VerifyOptions,
    (course, whole): (Course<'_>, &mut Whole),
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<SourceReport, VerifyError> {
    let failed = |cause| VerifyError::Io { path: path.to_owned(), cause };
    let mut accounts = Accounts::default();
    // Before the manifests: of a source that is being written, the ledger must not say more than those.
    let ledger = look_at_ledger(folder);
    let bad_ledger_lines = read_ledger(folder, path, options.named, &mut accounts)?;
    let expired = Mutex::new(Expired::of(&accounts, ledger));
    let parts = parts(folder, path).map_err(failed)?;
    let named = || Listed::new(options.named);
    let mut report = SourceReport {
        source,
        path: path.to_owned(),
        frames: 0,
        verified: 0,
        verified_bytes: 0,
        read_before: 0,
        read_before_bytes: 0,
        expired: 0,
        skipped: 0,
        missing: named(),
        altered: Listed::new(options.named),
        unknown: named(),
        bad_lines: Listed::new(options.named),
        bad_ledger_lines,
        account: Accounts::default().finish(0),
        sequences: Places::default().finish(0),
    };
    if !parts.iter().any(|part| part.day.is_none()) {
        unknown::beside_days(folder, &mut report.unknown).map_err(failed)?;
    }
    let of_frames = parts.iter().map(Part::about).sum();
    let (below, bytes_read, checked) = (String::new(), 0, 0);
    let tally = Tally { report, below, of_frames, bytes_read, checked, whole, progress };
    let tally = Mutex::new(tally);
    let (mut places, whole) = (Places::default(), Mutex::default());
    for part in &parts {
        let source = Source { folder, path, expired: &expired, course, whole: &whole };
        (places, accounts) = verify_part(part, &source, options, (places, accounts), &tally)?;
    }
    let mut report = tally.into_inner().unwrap_or_else(PoisonError::into_inner).report;
    report.sequences = places.finish(options.named);
    if accounts.has_untold() {
        // They may have begun since the ledger was read.
        let mut now = Accounts::default();
        read_ledger(folder, path, 0, &mut now)?;
        accounts.has_told_since(&now);
    }
    if let Ok(id) = folder.id() {
        course.together.inspect(|together| together.join(id, &mut accounts));
    }
    report.account = accounts.finish(options.named);
    // Threads and folders have no order of their own; equal stores shall have equal reports.
    report.missing.first.sort();
    report.altered.first.sort_by(|one, other| one.name.cmp(&other.name));
    report.unknown.first.sort();
    Ok(report)
}

/// About how many frames a source has.
pub(super) fn about(folder: &Directory, path: &Path) -> u64 {
    parts(folder, path).map_or(0, |parts| parts.iter().map(Part::about).sum())
}

/// What all parts of a source have in common.
struct Source<'a> {
    folder: &'a Directory,
    path: &'a Path,
    expired: &'a Mutex<Expired>,
    course: Course<'a>,
    /// The manifest of its own folder, once it was asked about the folders of days.
    whole: &'a Mutex<Option<Manifest>>,
}

/// Holds the files of one manifest against it.
fn verify_part(
    part: &Part,
    source: &Source<'_>,
    options: VerifyOptions,
    (places, mut accounts): (Places, Accounts),
    tally: &Mutex<Tally<'_>>,
) -> Result<(Places, Accounts), VerifyError> {
    if let (Some(since), Some(resting)) = (options.since, &part.resting)
        && resting.summary().last_stored() < since
        && accounts.take_all(resting.summary())
    {
        let summary = resting.summary();
        let mut tally = locked(tally);
        tally.add_bad(part, summary.bad_lines.clone());
        tally.skip(summary.frames);
        return Ok((places, accounts));
    }
    let manifest_path = part.path.join(FILE_NAME);
    let failed = |cause| VerifyError::Io { path: part.path.clone(), cause };
    let file = part
        .folder
        .open_file(FILE_NAME)
        .map_err(|cause| VerifyError::Io { path: manifest_path.clone(), cause })?;
    let id = Look::of_file(&file).map_err(failed)?.id;
    let (mut manifest, opened) = Manifest::read(file, &manifest_path)?;
    let mut unknown = locked(tally).begin(part, manifest.frames(), opened.bad_lines);
    let mut lines = unknown::Known {
        manifest: &mut manifest,
        day: part.day.map(|day| (day, source.folder, source.path)),
        whole: &mut locked(source.whole),
    };
    unknown::find(&part.folder, part.day.is_none(), &mut lines, &mut unknown)?.map_err(failed)?;
    locked(tally).found_unknown(unknown);
    let feed = Mutex::new(Feed {
        manifest: &manifest,
        path: &manifest_path,
        id,
        lines: manifest.lines()?,
        since: options.since,
        skipped: 0,
        places,
        accounts,
        failed: None,
    });
    std::thread::scope(|scope| {
        for _ in 1..options.threads {
            // Where the system gives no more threads, those that there are do it all.
            let helper = std::thread::Builder::new();
            if helper.spawn_scoped(scope, || check_frames(part, source, &feed, tally)).is_err() {
                break;
            }
        }
        check_frames(part, source, &feed, tally);
    });
    if source.course.is_stopped() {
        return Err(VerifyError::Interrupted);
    }
    let feed = feed.into_inner().unwrap_or_else(PoisonError::into_inner);
    locked(tally).report.skipped += feed.skipped;
    feed.failed.map_or(Ok((feed.places, feed.accounts)), |error| Err(error.into()))
}

/// One thread's work: until nothing is left, takes some records and checks their files.
fn check_frames(
    part: &Part,
    source: &Source<'_>,
    feed: &Mutex<Feed<'_>>,
    tally: &Mutex<Tally<'_>>,
) {
    let mut buffer = Vec::new();
    loop {
        let Some(batch) = locked(feed).take() else { return };
        let checked = check_batch(part, source, batch, &mut buffer);
        // What a stopped run has not read is not counted.
        let Some(checked) = checked else { return };
        locked(tally).add(checked);
    }
}

/// Checks the files of a batch, unless an earlier run has and nothing has changed since. `None` where it is to stop.
fn check_batch(
    part: &Part,
    source: &Source<'_>,
    batch: Batch,
    buffer: &mut Vec<u8>,
) -> Option<Vec<(Finding, Record)>> {
    let past = source.course.past;
    if let Some(past) = past
        && past.earlier().is_some()
        && let looks = batch.records.iter().map(|record| look(&part.folder, record))
        && let Some(hash) = batch.hash(looks)
        && past.knows(&hash)
    {
        return Some(batch.records.into_iter().map(|record| (Finding::Before, record)).collect());
    }
    let mut findings = Vec::with_capacity(batch.records.len());
    let is_wanted = || !source.course.is_stopped();
    for record in &batch.records {
        findings.push(match check(&part.folder, record, buffer, &is_wanted) {
            Finding::Missing
                if locked(source.expired).has_now(
                    (source.folder, source.path),
                    part.day,
                    record,
                ) =>
            {
                Finding::Expired
            }
            found => found,
        });
        if !is_wanted() {
            return None;
        }
    }
    if let Some(past) = past {
        let looks = findings.iter().map(|finding| match finding {
            Finding::Verified(seen) => seen.settled(past.settled_after),
            _ => None,
        });
        batch.hash(looks).into_iter().for_each(|hash| past.learn(hash));
    }
    Some(findings.into_iter().zip(batch.records).collect())
}

impl Batch {
    /// By what it is known again, where each of its files can be.
    fn hash(&self, looks: impl Iterator<Item = Option<Look>>) -> Option<[u8; 32]> {
        let mut hasher = self.hasher.clone();
        let mut files = 0;
        for look in looks {
            hasher.update(&look?.to_bytes());
            files += 1;
        }
        (files > 0).then(|| *hasher.finalize().as_bytes())
    }
}

/// A thread that panicked has left no half-done work behind that would matter to the others.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed<'_> {
    /// The next lines; none at the end or after an error.
    fn take(&mut self) -> Option<Batch> {
        let mut batch: Option<Batch> = None;
        let (mut lines, mut bytes) = (0, 0u64);
        while self.failed.is_none() && lines < BATCH_FRAMES && bytes < BATCH_BYTES {
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
            let batch = batch.get_or_insert_with(|| Batch::at(self.id, line.offset));
            lines += 1;
            let (Text::Whole(text) | Text::Unfinished(text)) = line.text else { continue };
            let Ok(record) = Record::parse(text) else { continue };
            bytes = bytes.saturating_add(record.bytes);
            self.accounts.stored(&record);
            // Lines that a later line of the same name has replaced claim nothing any more.
            if self.manifest.is_current(&record.name, line.offset) {
                self.accounts.current(&record);
                if self.since.is_some_and(|since| record.stored < since) {
                    self.skipped += 1;
                    continue;
                }
                if record.run.is_none() {
                    self.places.insert(record.sequence);
                }
                batch.hasher.update(&(text.len() as u64).to_le_bytes()).update(text);
                batch.records.push(record);
            }
        }
        batch
    }
}

impl Batch {
    /// The one that begins there in that manifest.
    fn at(manifest: FileId, offset: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&manifest.to_bytes()).update(&offset.to_le_bytes());
        Self { records: Vec::with_capacity(BATCH_FRAMES), hasher }
    }
}

impl Tally<'_> {
    /// Begins a part, and gives a list for what is unknown in it.
    fn begin(&mut self, part: &Part, frames: u64, bad_lines: Listed<BadLine>) -> Listed<String> {
        self.of_frames = (self.of_frames + frames).saturating_sub(part.about());
        self.whole.of_frames = (self.whole.of_frames + frames).saturating_sub(part.about());
        self.report.frames += frames;
        self.below = part.day.map_or_else(String::new, |day| format!("{day}/"));
        self.add_bad(part, bad_lines);
        self.report.unknown.alike()
    }

    /// Lines that say nothing are told of, also where nothing else of their part is looked at.
    fn add_bad(&mut self, part: &Part, mut bad: Listed<BadLine>) {
        if let Some(day) = part.day {
            bad.first
                .iter_mut()
                .for_each(|line| line.reason = format!("in {day}: {}", line.reason));
        }
        self.report.bad_lines.append(bad);
    }

    fn found_unknown(&mut self, mut unknown: Listed<String>) {
        unknown.first.iter_mut().for_each(|name| name.insert_str(0, &self.below));
        self.report.unknown.append(unknown);
    }

    /// Counts a part that was not looked at.
    fn skip(&mut self, frames: u64) {
        self.report.frames += frames;
        self.report.skipped += frames;
        self.checked += frames;
        self.whole.frames += frames;
    }

    fn add(&mut self, checked: Vec<(Finding, Record)>) {
        for (finding, record) in checked {
            let name = format!("{}{}", self.below, record.path());
            self.checked += 1;
            self.whole.frames += 1;
            match finding {
                Finding::Verified(_) => {
                    self.report.verified += 1;
                    self.report.verified_bytes += record.bytes;
                    self.bytes_read += record.bytes;
                }
                Finding::Before => {
                    self.report.verified += 1;
                    self.report.verified_bytes += record.bytes;
                    self.report.read_before += 1;
                    self.report.read_before_bytes += record.bytes;
                    self.whole.read_before += 1;
                }
                Finding::Expired => self.report.expired += 1,
                Finding::Missing => self.report.missing.push(name),
                Finding::Altered(how) => self.report.altered.push(Altered { name, how }),
            }
        }
        (self.progress)(Progress {
            source: &self.report.source,
            frames: self.checked,
            of_frames: self.of_frames.max(self.checked),
            bytes: self.bytes_read,
            all_frames: self.whole.frames,
            of_all_frames: self.whole.of_frames.max(self.whole.frames),
            read_before: self.whole.read_before,
        });
    }
}
