use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::tests::store;
use super::*;

const FRAMES: u64 = 200;
const BATCH: u64 = 64;

/// A store of 200 frames, and what verifying it has read.
struct Read {
    out: TempDir,
    past: PathBuf,
}

impl Read {
    fn new() -> Self {
        let out = TempDir::new().unwrap();
        store(&out.path().join("store"), "visible", FRAMES);
        let past = out.path().join("past");
        let read = Self { out, past };
        let report = read.verify(false, None).unwrap();
        assert_eq!((report.sources[0].read_before, report.resumed_from_unix_ns), (0, None));
        read.next_tick();
        read
    }

    /// Waits until the file system's clock has gone on: what is changed from then on has another time.
    fn next_tick(&self) {
        let changed = |path: &Path| {
            let found = fs::metadata(path).unwrap();
            (found.ctime(), found.ctime_nsec())
        };
        let (stored, probe) = (changed(&self.file(FRAMES - 1)), self.out.path().join("probe"));
        while {
            fs::write(&probe, "").unwrap();
            changed(&probe) <= stored
        } {}
    }

    fn store(&self) -> PathBuf {
        self.out.path().join("store")
    }

    fn file(&self, number: u64) -> PathBuf {
        self.store().join(format!("visible/{number:03}.jpg"))
    }

    /// Verifies, and ends before the end as after a crash; with `after`, once so many frames were looked at.
    fn verify(&self, resume: bool, after: Option<u64>) -> Result<VerifyReport, VerifyError> {
        let mut past = Past::open(&self.past, &self.store(), resume).unwrap();
        past.settled_after = 0;
        let stop = AtomicBool::new(false);
        let course = Course { past: Some(&past), stop: Some(&stop), ..Course::default() };
        let options = VerifyOptions { threads: 1, ..VerifyOptions::default() };
        let report = verify_on(&self.store(), options, course, &mut |progress| {
            let is_enough = after.is_some_and(|after| progress.all_frames >= after);
            stop.fetch_or(is_enough, Ordering::Relaxed);
        });
        past.keep().unwrap();
        report
    }

    fn again(&self) -> SourceReport {
        self.verify(true, None).unwrap().sources.remove(0)
    }
}

#[test]
fn what_an_interrupted_run_has_read_is_not_read_again() {
    let read = Read::new();
    assert_eq!(read.verify(false, Some(1)), Err(VerifyError::Interrupted));
    let report = read.verify(true, None).unwrap();
    assert!(report.proven && report.resumed_from_unix_ns.is_some());
    let source = &report.sources[0];
    assert_eq!((source.verified, source.read_before), (FRAMES, BATCH));
    assert_eq!(source.read_before_bytes, BATCH * "frame 000 false".len() as u64);
    // A second interruption loses nothing of the first.
    assert_eq!(read.again().read_before, FRAMES);
}

#[test]
fn whatever_has_changed_is_read_again_with_its_neighbours() {
    let unchanged = FRAMES - BATCH;
    let first = |source: SourceReport| (source.verified, source.read_before);

    let read = Read::new();
    // The same content once more, with the same times where they can be set.
    let modified = fs::metadata(read.file(1)).unwrap().modified().unwrap();
    let content = fs::read(read.file(1)).unwrap();
    fs::write(read.file(1), &content).unwrap();
    fs::File::options().append(true).open(read.file(1)).unwrap().set_modified(modified).unwrap();
    assert_eq!(first(read.again()), (FRAMES, unchanged));

    let read = Read::new();
    let other = fs::read(read.file(1)).unwrap();
    fs::write(read.file(1), other.to_ascii_uppercase()).unwrap();
    fs::File::options().append(true).open(read.file(1)).unwrap().set_modified(modified).unwrap();
    let source = read.again();
    assert_eq!((source.altered.count, source.read_before), (1, unchanged));
    // A batch with a finding is not remembered, and found again.
    assert_eq!(read.again().altered.count, 1);

    let read = Read::new();
    fs::rename(read.file(1), read.out.path().join("aside")).unwrap();
    assert_eq!((read.again().missing.count, read.again().read_before), (1, unchanged));
    fs::copy(read.out.path().join("aside"), read.file(1)).unwrap();
    assert_eq!(first(read.again()), (FRAMES, unchanged));

    // The line, and nothing else.
    let read = Read::new();
    let manifest = read.store().join("visible").join(FILE_NAME);
    let text = fs::read_to_string(&manifest).unwrap();
    let line = text.lines().next().unwrap();
    let hash = line.split("\"blake3\":\"").nth(1).unwrap().split('"').next().unwrap();
    let other = text.replacen(hash, &"0".repeat(64), 1);
    let mut file = fs::File::options().write(true).open(&manifest).unwrap();
    std::io::Write::write_all(&mut file, other.as_bytes()).unwrap();
    drop(file);
    let source = read.again();
    assert_eq!((source.altered.count, source.read_before), (1, unchanged));

    // A manifest that is another file is another manifest.
    let read = Read::new();
    let manifest = read.store().join("visible").join(FILE_NAME);
    let text = fs::read(&manifest).unwrap();
    fs::rename(&manifest, read.out.path().join("manifest")).unwrap();
    fs::write(&manifest, text).unwrap();
    assert_eq!(first(read.again()), (FRAMES, 0));
}

#[test]
fn a_frame_that_came_since_is_read_and_one_that_was_replaced_is_too() {
    let read = Read::new();
    store(&read.store(), "infrared", 5);
    let report = read.verify(true, None).unwrap();
    let before: Vec<_> = report.sources.iter().map(|source| source.read_before).collect();
    assert_eq!((before, report.proven), (vec![0, FRAMES], true));
    super::tests::replace(&read.store(), "visible", 70);
    // Its earlier line does not count any more, and its new one is at the end.
    let source = read.verify(true, None).unwrap().sources.remove(1);
    assert_eq!((source.verified, source.read_before), (FRAMES, FRAMES - BATCH - FRAMES % BATCH));
}

#[test]
fn a_file_that_was_changed_shortly_before_it_was_read_is_not_remembered() {
    let out = TempDir::new().unwrap();
    let (place, path) = (out.path().join("store"), out.path().join("past"));
    store(&place, "visible", FRAMES);
    let past = Past::open(&path, &place, false).unwrap();
    let course = Course { past: Some(&past), ..Course::default() };
    verify_on(&place, VerifyOptions::default(), course, &mut |_| {}).unwrap();
    past.keep().unwrap();
    assert!(!path.exists());
}

#[test]
fn a_damaged_memory_costs_time_and_nothing_else() {
    let read = Read::new();
    let mut bytes = fs::read(&read.past).unwrap();
    let end = bytes.len();
    bytes[end - 1] ^= 1;
    fs::write(&read.past, bytes).unwrap();
    let source = read.again();
    assert_eq!((source.verified, source.read_before), (FRAMES, FRAMES - FRAMES % BATCH));
}
