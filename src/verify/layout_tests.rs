//! Folders by capture time: what holds for one folder holds for many.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{State, VerifyOptions, VerifyReport, verify};
use crate::frame::{
    Captured, Clock, Frame, FrameMeta, FrameName, RunId, Sequence, SourceName, UnixNanos,
};
use crate::manifest::{Entry, FILE_NAME, INDEX_NAME, INDEX_PART_NAME, LEDGER_NAME, Range, Reel};
use crate::store::{
    FolderSource, FolderStore, FrameError, Layout, Note, OpenSource, Opener, Outcome,
    ReceivedFrame, StoreOptions, Taken,
};

const HOUR: u64 = 3_600_000_000_000;
const DAY: u64 = 24 * HOUR;
/// 2026-11-29, 23:59:59 UTC.
const EVENING: u64 = 20_786 * DAY + DAY - 1_000_000_000;
const RUN: RunId = RunId([7; 16]);

fn open(out: &Path, layout: Layout) -> FolderSource {
    let options = StoreOptions { layout, clock: || UnixNanos(EVENING), ..StoreOptions::default() };
    let opener = Opener::with_pin(Some("sha256:aa"));
    let source = SourceName::parse("visible").unwrap();
    FolderStore::open(out, options).unwrap().source(&source, &opener).unwrap()
}

fn frame(sequence: u64, name: &str, body: &[u8]) -> ReceivedFrame {
    let name = FrameName::parse(name).unwrap();
    let meta = FrameMeta {
        sequence: Sequence(sequence),
        media: name.media_type(),
        name,
        bytes: body.len() as u64,
        hash: None,
        captured: None,
        due: None,
        modified: None,
    };
    let frame = Frame { meta, body: bytes::Bytes::copy_from_slice(body) };
    let received = UnixNanos(EVENING - 1);
    ReceivedFrame { frame, from: Opener::default().into(), received, replace: false }
}

/// A frame of the run, captured so long after the evening.
fn at(sequence: u64, name: &str, after: u64) -> ReceivedFrame {
    let mut frame = frame(sequence, name, name.as_bytes());
    let at = UnixNanos(EVENING + after);
    frame.frame.meta.captured = Some(Captured { at, clock: Clock::Read, uncertainty: None });
    let mut from = Opener::with_pin(Some("sha256:aa"));
    from.run = Some(RUN);
    frame.from = from.into();
    frame
}

/// Files below the source's folder, without records.
fn files(out: &Path) -> Vec<String> {
    fn walk(folder: &Path, below: &str, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &format!("{below}{name}/"), found);
            } else if ![FILE_NAME, LEDGER_NAME, INDEX_NAME].contains(&name.as_str()) {
                found.push(format!("{below}{name}"));
            }
        }
    }
    let mut found = Vec::new();
    walk(&out.join("visible"), "", &mut found);
    found.sort();
    found
}

fn began() -> Note {
    Note::Began { run: RUN, at: UnixNanos(1), endless: false, live: false, first: None }
}

fn ended(captured: u64) -> Note {
    Note::Ended { run: RUN, at: UnixNanos(9), first: None, captured }
}

fn verified(out: &Path) -> VerifyReport {
    verify(out, VerifyOptions::default(), &mut |_| {}).unwrap()
}

fn stored(store: &mut FolderSource, frames: &[ReceivedFrame]) {
    assert_eq!(store.store_batch(frames), vec![Outcome::Stored; frames.len()]);
}

#[test]
fn a_run_over_midnight_is_in_two_folders_and_complete() {
    for (layout, expected) in [
        (Layout::Flat, ["0.jpg", "1.jpg", "2.jpg", "sub/3.jpg"]),
        (
            Layout::Day,
            ["2026-11-29/0.jpg", "2026-11-29/2.jpg", "2026-11-30/1.jpg", "2026-12-01/sub/3.jpg"],
        ),
        (
            Layout::Hour,
            [
                "2026-11-29/23/0.jpg",
                "2026-11-29/23/2.jpg",
                "2026-11-30/00/1.jpg",
                "2026-12-01/01/sub/3.jpg",
            ],
        ),
    ] {
        let out = TempDir::new().unwrap();
        let mut store = open(out.path(), layout);
        let from = Opener::with_pin(Some("sha256:aa"));
        store.note(&from, &[began()]).unwrap();
        // Two in one batch of two days, one that comes late for the day before, and one in a folder of its own.
        stored(&mut store, &[at(0, "0.jpg", 0), at(1, "1.jpg", 1_000_000_000), at(2, "2.jpg", 5)]);
        stored(&mut store, &[at(3, "sub/3.jpg", DAY + HOUR + 1_000_000_000)]);
        store.note(&from, &[ended(4)]).unwrap();
        assert_eq!(files(out.path()), expected, "{layout}");
        assert_eq!(store.frames(), 4);
        let mut reel = Reel::open(&out.path().join("visible")).unwrap();
        while let Some(stored) = reel.next_frame().unwrap() {
            assert_eq!(fs::read(&stored.path).unwrap(), stored.record.name.as_str().as_bytes());
        }
        let report = verified(out.path());
        assert!(report.proven, "{layout}: {report:?}");
        let source = &report.sources[0];
        assert_eq!((source.frames, source.verified, source.unknown.count), (4, 4, 0), "{layout}");
        assert_eq!(source.account.state, State::Complete);
        // Again, by another receiver, by whatever layout: nothing twice.
        drop(store);
        for layout in [layout, Layout::Day, Layout::Flat, Layout::Hour] {
            let mut store = open(out.path(), layout);
            assert_eq!(store.frames(), 4);
            let again = [at(0, "0.jpg", 0), at(3, "sub/3.jpg", 3 * DAY), at(2, "2.jpg", 0)];
            assert_eq!(store.store_batch(&again), vec![Outcome::AlreadyStored; 3], "{layout}");
            assert_eq!(store.last_sequence().unwrap().0, 3);
        }
        assert_eq!(files(out.path()), expected, "{layout}");
        // What is missing or unknown is named with its folder.
        let first = out.path().join("visible").join(expected[0]);
        fs::rename(&first, first.with_extension("moved")).unwrap();
        let report = verified(out.path());
        assert_eq!(report.sources[0].missing.first, [expected[0]], "{layout}");
        assert_eq!(report.sources[0].unknown.first, [expected[0].replace("jpg", "moved")]);
    }
}

#[test]
fn a_name_stays_on_its_day_and_is_never_in_two() {
    let out = TempDir::new().unwrap();
    let mut store = open(out.path(), Layout::Day);
    stored(&mut store, &[at(0, "0.jpg", 0)]);
    let mut other = at(1, "0.jpg", 2 * DAY);
    other.frame.meta.hash = Some(blake3::hash(b"other"));
    other.frame.meta.bytes = 5;
    other.frame.body = bytes::Bytes::from_static(b"other");
    let refused = store.store_batch(std::slice::from_ref(&other));
    let conflict = FrameError::Conflict { frame: "visible/0.jpg".into(), taken: Taken::Stored };
    assert_eq!(refused, [Outcome::Failed(conflict)]);
    other.replace = true;
    stored(&mut store, &[other]);
    assert_eq!(files(out.path()), ["2026-11-29/0.jpg"]);
    assert_eq!(fs::read(out.path().join("visible/2026-11-29/0.jpg")).unwrap(), b"other");
    assert_eq!(store.frames(), 1);
}

#[test]
fn a_layout_that_is_changed_leaves_what_is_stored_where_it_is() {
    let out = TempDir::new().unwrap();
    stored(&mut open(out.path(), Layout::Flat), &[at(0, "0.jpg", 0)]);
    stored(&mut open(out.path(), Layout::Hour), &[at(1, "1.jpg", 0)]);
    stored(&mut open(out.path(), Layout::Day), &[at(2, "2.jpg", 0)]);
    stored(&mut open(out.path(), Layout::Flat), &[at(3, "3.jpg", 0)]);
    let all = ["0.jpg", "2026-11-29/2.jpg", "2026-11-29/23/1.jpg", "3.jpg"];
    assert_eq!(files(out.path()), all);
    let report = verified(out.path());
    let source = &report.sources[0];
    assert_eq!((source.verified, source.unknown.count), (4, 0), "{source:?}");
    let mut store = open(out.path(), Layout::Flat);
    for (sequence, name) in ["0.jpg", "1.jpg", "2.jpg", "3.jpg"].into_iter().enumerate() {
        let again = at(sequence as u64, name, 0);
        assert_eq!(store.store_batch(&[again]), [Outcome::AlreadyStored], "{name}");
    }
}

#[test]
fn a_file_is_one_frames_whatever_the_layout_calls_it() {
    for (first, name, then, other) in [
        (Layout::Flat, "2026-11-29/5.jpg", Layout::Day, "5.jpg"),
        (Layout::Flat, "2026-11-29/23/5.jpg", Layout::Hour, "5.jpg"),
        (Layout::Flat, "2026-11-29/23/5.jpg", Layout::Day, "23/5.jpg"),
        (Layout::Day, "5.jpg", Layout::Flat, "2026-11-29/5.jpg"),
        (Layout::Day, "23/5.jpg", Layout::Hour, "5.jpg"),
        (Layout::Hour, "5.jpg", Layout::Day, "23/5.jpg"),
    ] {
        let out = TempDir::new().unwrap();
        stored(&mut open(out.path(), first), &[at(0, name, 0)]);
        let mut second = at(1, other, 0);
        for replace in [false, true] {
            second.replace = replace;
            let refused = open(out.path(), then).store_batch(std::slice::from_ref(&second));
            let (frame, other) = (format!("visible/{other}"), format!("visible/{name}"));
            assert_eq!(refused, [Outcome::Failed(FrameError::Occupied { frame, other })]);
        }
        // Others of that day go beside it, and nothing of it is unknown.
        stored(&mut open(out.path(), then), &[at(2, "6.jpg", 0)]);
        let report = verified(out.path());
        let source = &report.sources[0];
        assert_eq!((source.verified, source.unknown.count), (2, 0), "{name}: {source:?}");
    }
}

/// As two senders do of which one has a copy of the other's spool.
#[test]
fn two_frames_of_one_run_and_sequence_are_no_account() {
    for layout in [Layout::Flat, Layout::Day] {
        let out = TempDir::new().unwrap();
        let mut store = open(out.path(), layout);
        let from = Opener::with_pin(Some("sha256:aa"));
        store.note(&from, &[began()]).unwrap();
        stored(&mut store, &[at(0, "0.jpg", 0), at(1, "1.jpg", 0)]);
        // One that is stored again in the place of its own file is the same frame.
        let file = files(out.path()).pop().unwrap();
        fs::remove_file(out.path().join("visible").join(file)).unwrap();
        stored(&mut store, &[at(1, "1.jpg", 0)]);
        store.note(&from, &[ended(2)]).unwrap();
        let account = &verified(out.path()).sources[0].account;
        assert_eq!((account.state, account.ambiguous), (State::Complete, 0));
        stored(&mut store, &[at(1, "other.jpg", DAY)]);
        let report = verified(out.path());
        let source = &report.sources[0];
        let account = &source.account;
        assert_eq!((account.state, account.ambiguous, source.verified), (State::Ambiguous, 1, 3));
        assert!(!report.proven);
    }
}

#[test]
fn a_source_that_is_called_like_a_day_is_one_of_many() {
    for layout in [Layout::Flat, Layout::Day] {
        let out = TempDir::new().unwrap();
        for name in ["2026-11-29", "visible"] {
            let options =
                StoreOptions { layout, clock: || UnixNanos(EVENING), ..StoreOptions::default() };
            let from = Opener::with_pin(Some("sha256:aa"));
            let name = SourceName::parse(name).unwrap();
            let store = FolderStore::open(out.path(), options).unwrap();
            let mut source = store.source(&name, &from).unwrap();
            source.note(&from, &[began()]).unwrap();
            stored(&mut source, &[at(0, "0.jpg", 0)]);
            source.note(&from, &[ended(1)]).unwrap();
        }
        let report = verified(out.path());
        assert!(report.proven, "{layout}: {report:?}");
        let names: Vec<_> = report.sources.iter().map(|source| &*source.source).collect();
        assert_eq!(names, ["2026-11-29", "visible"]);
        // One folder of it, and the days of a source whose ledger is lost, are what they were.
        assert_eq!(verified(&out.path().join("2026-11-29")).sources.len(), 1);
        fs::remove_file(out.path().join("visible").join(LEDGER_NAME)).unwrap();
        assert_eq!(verified(&out.path().join("visible")).sources[0].verified, 1);
    }
}

#[test]
fn a_day_that_is_taken_away_is_gone_and_said_to_be() {
    let out = TempDir::new().unwrap();
    let mut store = open(out.path(), Layout::Day);
    let from = Opener::with_pin(Some("sha256:aa"));
    store.note(&from, &[began()]).unwrap();
    stored(&mut store, &[at(0, "0.jpg", 0), at(1, "1.jpg", 0), at(2, "2.jpg", DAY)]);
    let day = out.path().join("visible/2026-11-29");
    let away = TempDir::new().unwrap();
    let moved = away.path().join("2026-11-29");
    fs::rename(&day, &moved).unwrap();
    stored(&mut store, &[at(3, "3.jpg", DAY)]);
    store.note(&from, &[ended(4)]).unwrap();
    assert_eq!(files(out.path()), ["2026-11-30/2.jpg", "2026-11-30/3.jpg"]);
    let report = verified(out.path());
    let account = &report.sources[0].account;
    let gaps: Vec<_> =
        account.gaps.first.iter().map(|gap| (gap.from, gap.to, gap.taken_away)).collect();
    assert_eq!((account.state, gaps), (State::Gap, vec![(0, 1, true)]));
    // By itself its files are verified, and nothing tells whether frames of it are missing: the ledger is not there.
    let alone = verified(&moved);
    assert_eq!((alone.proven, alone.sources[0].verified), (false, 2));
    assert_eq!(alone.sources[0].account.state, State::AccountLost);
    // It is stored again where it is sent again.
    stored(&mut store, &[at(0, "0.jpg", 0), at(1, "1.jpg", 0)]);
    assert!(verified(out.path()).proven);
    // One that is at rest when it is taken away.
    drop(store);
    let mut store = open(out.path(), Layout::Day);
    fs::remove_dir_all(&day).unwrap();
    stored(&mut store, &[at(0, "0.jpg", 0)]);
}

#[test]
fn more_days_than_are_open_at_once_lose_nothing() {
    let out = TempDir::new().unwrap();
    let mut store = open(out.path(), Layout::Day);
    let frames: Vec<_> = (0..60).map(|n| at(n, &format!("{n}.jpg"), n % 20 * DAY)).collect();
    stored(&mut store, &frames);
    stored(&mut store, &[at(60, "60.jpg", 3 * DAY)]);
    assert_eq!(store.store_batch(&frames), vec![Outcome::AlreadyStored; 60]);
    for n in (0..60).rev() {
        let name = FrameName::parse(&format!("{n}.jpg")).unwrap();
        assert_eq!(store.lookup(&name).unwrap().unwrap().sequence.0, n);
    }
    let absent = FrameName::parse("30.png").unwrap();
    assert_eq!(store.lookup(&absent).unwrap(), None);
    drop(store);
    let store = open(out.path(), Layout::Day);
    assert_eq!(store.frames(), 61);
    assert_eq!(verified(out.path()).sources[0].verified, 61);
}

#[test]
fn a_link_in_the_place_of_a_day_is_not_followed() {
    let (out, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut store = open(out.path(), Layout::Day);
    std::os::unix::fs::symlink(elsewhere.path(), out.path().join("visible/2026-11-29")).unwrap();
    let outcomes = store.store_batch(&[at(0, "0.jpg", 0), at(1, "1.jpg", DAY)]);
    assert!(
        matches!(&outcomes[0], Outcome::Failed(error) if error.to_string().contains("2026-11-29")),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[1], Outcome::Stored);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

/// Appends an entry to the ledger.
fn declare(out: &Path, entry: &Entry) {
    let path = out.join("visible").join(LEDGER_NAME);
    let mut text = fs::read(&path).unwrap();
    entry.write_line(&mut text);
    fs::write(path, text).unwrap();
}

#[test]
fn a_day_that_has_expired_is_not_missing() {
    for layout in [Layout::Flat, Layout::Day] {
        let out = TempDir::new().unwrap();
        let mut store = open(out.path(), layout);
        let from = Opener::with_pin(Some("sha256:aa"));
        store.note(&from, &[began()]).unwrap();
        stored(&mut store, &[at(0, "0.jpg", 0), at(1, "1.jpg", 0), at(2, "2.jpg", DAY)]);
        store.note(&from, &[ended(3)]).unwrap();
        drop(store);
        let folder = out.path().join("visible");
        let day = if layout == Layout::Flat { folder } else { folder.join("2026-11-29") };
        fs::remove_file(day.join("0.jpg")).unwrap();
        fs::remove_file(day.join("1.jpg")).unwrap();
        assert!(!verified(out.path()).proven);
        // Of another day, or of before they were stored, it says nothing of them.
        let expired = |day: &str, at| Entry::DayExpired {
            day: day.parse().unwrap(),
            at: UnixNanos(at),
            frames: 2,
            bytes: 10,
        };
        declare(out.path(), &expired("2026-11-28", EVENING + DAY));
        declare(out.path(), &expired("2026-11-29", EVENING - 1));
        assert_eq!(verified(out.path()).sources[0].missing.count, 2);
        declare(out.path(), &expired("2026-11-29", EVENING));
        let report = verified(out.path());
        let source = &report.sources[0];
        assert!(report.proven, "{layout}: {source:?}");
        assert_eq!((source.verified, source.expired, source.missing.count), (1, 2, 0));
        assert_eq!(source.account.state, State::Complete);
        if layout == Layout::Day {
            // And then its lines.
            let range = Range { first: 0, last: 1 };
            declare(out.path(), &Entry::Expired { run: RUN, range, at: UnixNanos(EVENING) });
            fs::remove_dir_all(&day).unwrap();
            let report = verified(out.path());
            let source = &report.sources[0];
            assert!(report.proven, "{source:?}");
            assert_eq!((source.frames, source.verified, source.account.expired), (1, 1, 2));
        }
    }
}

#[test]
fn a_day_that_expires_while_it_is_verified_is_not_missing() {
    // More than a thread takes on at a time.
    const FRAMES: u64 = 100;
    let out = TempDir::new().unwrap();
    let mut store = open(out.path(), Layout::Day);
    let from = Opener::with_pin(Some("sha256:aa"));
    store.note(&from, &[began()]).unwrap();
    let frames: Vec<_> = (0..FRAMES).map(|n| at(n, &format!("{n}.jpg"), 0)).collect();
    stored(&mut store, &frames);
    store.note(&from, &[ended(FRAMES)]).unwrap();
    drop(store);
    let mut declared = false;
    let options = VerifyOptions { threads: 1, ..VerifyOptions::default() };
    let report = verify(out.path(), options, &mut |_| {
        if !std::mem::replace(&mut declared, true) {
            let (day, at) = ("2026-11-29", UnixNanos(EVENING));
            let day = day.parse().unwrap();
            declare(out.path(), &Entry::DayExpired { day, at, frames: FRAMES, bytes: 0 });
            for n in 0..FRAMES {
                fs::remove_file(out.path().join(format!("visible/2026-11-29/{n}.jpg"))).unwrap();
            }
        }
    });
    let report = report.unwrap();
    let source = &report.sources[0];
    assert_eq!((source.verified + source.expired, source.missing.count), (FRAMES, 0));
    assert!(source.expired > 0);
}

#[test]
fn what_was_stored_before_is_not_read_again() {
    let out = TempDir::new().unwrap();
    stored(&mut open(out.path(), Layout::Day), &[at(0, "0.jpg", 0), at(1, "1.jpg", DAY)]);
    fs::write(out.path().join("visible/2026-11-29/0.jpg"), "bad").unwrap();
    let since = |at| {
        let options = VerifyOptions { since: Some(UnixNanos(at)), ..VerifyOptions::default() };
        verify(out.path(), options, &mut |_| {}).unwrap().sources.remove(0)
    };
    let all = since(EVENING);
    assert_eq!((all.frames, all.skipped, all.altered.count), (2, 0, 1));
    let none = since(EVENING + 1);
    assert_eq!((none.frames, none.skipped, none.verified, none.altered.count), (2, 2, 0, 0));
}

/// Their files are not read, and the account is the one of all lines.
#[test]
fn of_days_whose_files_are_not_read_two_frames_of_one_sequence_are_known() {
    let other = |mut frame: ReceivedFrame| {
        let mut from = Opener::with_pin(Some("sha256:bb"));
        (from.run, from.shared) = (Some(RUN), true);
        frame.from = from.into();
        frame
    };
    let (one, next) = ([at(0, "0.jpg", 0), at(1, "1.jpg", 0)], at(2, "2.jpg", DAY));
    let cases = [
        (vec![next.clone()], State::Complete),
        (vec![next.clone(), at(1, "other.jpg", 1)], State::Ambiguous),
        (vec![next.clone(), at(1, "other.jpg", DAY)], State::Ambiguous),
        (vec![next, other(at(3, "3.jpg", DAY))], State::Contradictory),
    ];
    for (frames, state) in cases {
        let out = TempDir::new().unwrap();
        let mut store = open(out.path(), Layout::Day);
        let from = Opener::with_pin(Some("sha256:aa"));
        store.note(&from, &[began()]).unwrap();
        stored(&mut store, &one);
        stored(&mut store, &frames);
        let captured = if state == State::Contradictory { 4 } else { 3 };
        store.note(&from, &[ended(captured)]).unwrap();
        drop(store);
        // Its days have their index when they are at rest.
        drop(open(out.path(), Layout::Day));
        let all = verified(out.path()).sources.remove(0);
        let since = Some(UnixNanos(EVENING + 1));
        let options = VerifyOptions { since, ..VerifyOptions::default() };
        let some = verify(out.path(), options, &mut |_| {}).unwrap().sources.remove(0);
        assert_eq!((some.skipped, some.verified), (all.frames, 0));
        assert_eq!(some.account, all.account);
        assert_eq!(some.account.state, state, "{:?}", some.account);
    }
}

/// What a receiver leaves behind that is killed is nothing unknown, and the next one takes it away.
#[test]
fn what_was_being_made_when_a_receiver_was_killed() {
    for layout in [Layout::Flat, Layout::Day] {
        let out = TempDir::new().unwrap();
        let store = |sequence, name, after| {
            let stored = open(out.path(), layout).store_batch(&[at(sequence, name, after)]);
            assert_eq!(stored, [Outcome::Stored]);
        };
        store(0, "0.jpg", 0);
        store(1, "1.jpg", DAY);
        let top = out.path().join("visible");
        let mut leftovers =
            vec![out.path().join(".framelane-0.part"), top.join(".framelane-17.part")];
        leftovers.extend(match layout {
            Layout::Flat => vec![top.join(INDEX_PART_NAME)],
            _ => ["2026-11-29", "2026-11-30"].map(|day| top.join(day).join(INDEX_PART_NAME)).into(),
        });
        for leftover in &leftovers {
            fs::write(leftover, "half").unwrap();
        }
        let report = verify(out.path(), VerifyOptions::default(), &mut |_| {}).unwrap();
        assert_eq!((report.unknown.count, report.sources[0].unknown.count), (0, 0), "{report:?}");
        store(2, "2.jpg", 0);
        let left: Vec<_> = leftovers.iter().filter(|leftover| leftover.exists()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
