//! Owners, runs, and what is declared of them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::tests::{frame, source};
use super::*;
use crate::frame::{Captured, Clock, DropRange, DropReason, RunId, Sequence, UnixNanos};
use crate::manifest::{Entry, FILE_NAME, LEDGER_NAME, Place, Range};

const ONE: RunId = RunId([1; 16]);
const TWO: RunId = RunId([2; 16]);

fn sender(pin: &str, run: Option<RunId>) -> Opener {
    let mut opener = Opener::with_pin(Some(pin));
    opener.run = run;
    opener
}

fn open(out: &Path, opener: &Opener) -> Result<FolderSource, StoreError> {
    FolderStore::open(out, StoreOptions::default()).unwrap().source(&source(), opener)
}

fn from(opener: &Opener, frame: ReceivedFrame) -> ReceivedFrame {
    ReceivedFrame { from: Arc::new(opener.clone()), ..frame }
}

fn ledger(out: &Path) -> Vec<Entry> {
    let text = fs::read_to_string(out.join("visible").join(LEDGER_NAME)).unwrap();
    text.lines().map(|line| Entry::parse(line.as_bytes()).unwrap().unwrap()).collect()
}

fn began(run: RunId) -> Note {
    Note::Began { run, at: UnixNanos(1), endless: false, live: false, first: None }
}

fn ended(run: RunId, captured: u64) -> Note {
    Note::Ended { run, at: UnixNanos(2), first: None, captured }
}

#[test]
fn a_source_is_the_senders_that_opened_it() {
    let out = TempDir::new().unwrap();
    let (mut a, b) = (sender("sha256:aa", None), sender("sha256:bb", None));
    a.name = Some("cam1".into());
    let mut store = open(out.path(), &a).unwrap();
    assert_eq!(store.store_batch(&[from(&a, frame(0, "0.jpg", b"zero"))]), [Outcome::Stored]);
    let refused = store.admit(&b).unwrap_err().to_string();
    for said in ["cam1", "`out` 'DIR/{sender}'", "`shared`", "NAME=PATH"] {
        assert!(refused.contains(said), "{refused}");
    }
    let mut reinstalled = b.clone();
    reinstalled.name.clone_from(&a.name);
    let refused = store.admit(&reinstalled).unwrap_err().to_string();
    for said in
        ["belongs to cam1 with an earlier key, sha256:aa", "move its folder away", "`shared`"]
    {
        assert!(refused.contains(said), "{refused}");
    }
    assert!(!refused.contains("{sender}"), "it would not help: {refused}");
    let mut evil = from(&b, frame(0, "0.jpg", b"evil"));
    evil.replace = true;
    let outcomes = store.store_batch(&[evil, from(&a, frame(1, "1.jpg", b"one"))]);
    assert!(matches!(&outcomes[0], Outcome::Failed(FrameError::Source { .. })), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Stored);
    drop(store);
    assert!(matches!(open(out.path(), &b), Err(StoreError::NotOwner { .. })));
    // Nor is it anybody's whom nothing tells from others.
    assert!(matches!(open(out.path(), &Opener::default()), Err(StoreError::NotOwner { .. })));
    let shared = Opener { shared: true, ..b.clone() };
    let mut store = open(out.path(), &shared).unwrap();
    assert_eq!(store.store_batch(&[from(&shared, frame(2, "2.jpg", b"two"))]), [Outcome::Stored]);
    let senders: Vec<_> =
        super::tests::lines(out.path()).into_iter().map(|record| record.sender).collect();
    assert_eq!(senders, ["sha256:aa", "sha256:aa", "sha256:bb"].map(|pin| Some(pin.to_owned())));
    drop(store);
    // Sharing makes nobody else the owner, and without a ledger the frames' lines tell.
    fs::remove_file(out.path().join("visible").join(LEDGER_NAME)).unwrap();
    assert!(matches!(open(out.path(), &b), Err(StoreError::NotOwner { .. })));
    assert!(open(out.path(), &a).is_ok());
}

#[test]
fn what_nobody_known_opened_is_the_first_known_senders() {
    let out = TempDir::new().unwrap();
    let (a, b) = (sender("sha256:aa", None), sender("sha256:bb", None));
    open(out.path(), &Opener::default()).unwrap().store_batch(&[frame(0, "0.jpg", b"zero")]);
    open(out.path(), &a).unwrap();
    assert!(open(out.path(), &b).is_err());
    // A new folder in the place of one that was taken away is the first comer's, whoever is still at work.
    let mut store = open(out.path(), &a).unwrap();
    fs::remove_dir_all(out.path().join("visible")).unwrap();
    let outcomes = store.store_batch(&[from(&b, frame(0, "0.jpg", b"zero"))]);
    assert_eq!(outcomes, [Outcome::Stored]);
    assert!(store.admit(&a).is_err());
}

#[test]
fn what_is_declared_is_in_the_ledger_once() {
    let out = TempDir::new().unwrap();
    let a = sender("sha256:aa", Some(ONE));
    let mut store = open(out.path(), &a).unwrap();
    store.note(&a, &[began(ONE)]).unwrap();
    store.note(&a, &[began(ONE)]).unwrap();
    store.store(&[from(&a, frame(0, "0.jpg", b"zero"))]);
    let late = |first: u64| DropRange {
        first: Sequence(first),
        count: 5,
        reason: DropReason::Late,
        captured: None,
    };
    let dropped = |ranges| Note::Dropped { run: ONE, ranges, place: Place::Sender };
    store.note(&a, &[dropped(vec![late(1), late(6)])]).unwrap();
    store.note(&a, &[dropped(vec![late(11)]), ended(ONE, 16)]).unwrap();
    assert_eq!(store.last_sequence(), Some(Sequence(15)));
    let said: Vec<_> = ledger(out.path());
    assert_eq!(said.len(), 4, "{said:?}");
    let Entry::Dropped { range, .. } = &said[2] else { panic!("{said:?}") };
    assert_eq!((range.first, range.last), (1, 15));
    drop(store);
    // A camera's next run goes on behind it all.
    let mut store = open(out.path(), &a).unwrap();
    store
        .note(
            &a,
            &[Note::Began { run: TWO, at: UnixNanos(3), endless: true, live: true, first: None }],
        )
        .unwrap();
    let Some(Entry::Began { first, .. }) = ledger(out.path()).pop() else { panic!() };
    assert_eq!(first, 16);
}

/// Its sender was killed before it knew what its first frame is called.
#[test]
fn a_run_that_has_brought_frames_goes_on_from_its_own_beginning() {
    let out = TempDir::new().unwrap();
    let a = sender("sha256:aa", Some(TWO));
    let mut store = open(out.path(), &a).unwrap();
    store.store(&[from(&a, frame(0, "0.jpg", b"0"))]);
    let (run, at, first) = (ONE, UnixNanos(3), Some(Sequence(1)));
    let a = sender("sha256:aa", Some(ONE));
    store.note(&a, &[Note::Began { run, at, endless: true, live: false, first }]).unwrap();
    assert_eq!(store.goes_on_from(ONE), None, "it has brought nothing");
    store.store(&[from(&a, frame(1, "1.jpg", b"1")), from(&a, frame(2, "2.jpg", b"2"))]);
    assert_eq!(store.goes_on_from(ONE), Some(Sequence(1)));
    drop(store);
    let mut store = open(out.path(), &a).unwrap();
    assert_eq!(store.goes_on_from(ONE), Some(Sequence(1)));
    assert_eq!(store.goes_on_from(TWO), None, "of a run of a folder its sender knows");
    // A sender that was not told that its end is noted comes back, and may go on with the run.
    store.note(&a, &[ended(ONE, 2)]).unwrap();
    assert_eq!(store.goes_on_from(ONE), Some(Sequence(1)));
}

/// As a spool's that was told to end, and not that all had arrived.
#[test]
fn a_run_that_goes_on_after_its_end_is_the_one_that_it_was() {
    for is_opened_anew in [false, true] {
        let out = TempDir::new().unwrap();
        let one = sender("sha256:aa", Some(ONE));
        let began = Note::Began {
            run: ONE,
            at: UnixNanos(3),
            endless: true,
            live: false,
            first: Some(Sequence(0)),
        };
        let mut store = open(out.path(), &one).unwrap();
        store.note(&one, std::slice::from_ref(&began)).unwrap();
        store.store(&[from(&one, frame(0, "0.jpg", b"0"))]);
        store.note(&one, &[ended(ONE, 1)]).unwrap();
        if is_opened_anew {
            drop(store);
            store = open(out.path(), &one).unwrap();
        }
        store.note(&one, &[began]).unwrap();
        store.store(&[from(&one, frame(1, "1.jpg", b"1"))]);
        // What it has brought before is known to be of it, and is said to be in the folder that is taken away.
        fs::rename(out.path().join("visible"), out.path().join("flight1")).unwrap();
        store.store(&[from(&one, frame(2, "2.jpg", b"2"))]);
        let said = ledger(out.path());
        let range = Range { first: 0, last: 1 };
        assert!(said.contains(&Entry::TakenAway { run: ONE, range }), "{said:?}");
    }
}

fn offer<'a>(received: &'a ReceivedFrame, sequence: u64) -> Offered<'a> {
    let meta = &received.frame.meta;
    Offered {
        sequence: Sequence(sequence),
        name: &meta.name,
        bytes: meta.bytes,
        modified: meta.modified,
        hash: meta.hash,
    }
}

#[test]
fn a_folder_that_is_sent_again_has_all_of_a_run_that_was_killed() {
    let out = TempDir::new().unwrap();
    let (one, two) = (sender("sha256:aa", Some(ONE)), sender("sha256:aa", Some(TWO)));
    let frames = [frame(0, "0.jpg", b"0"), frame(1, "1.jpg", b"1"), frame(2, "2.jpg", b"2")];
    let mut store = open(out.path(), &one).unwrap();
    store.note(&one, &[began(ONE)]).unwrap();
    store.store(&[from(&one, frames[0].clone()), from(&one, frames[1].clone())]);
    drop(store);
    // Killed. The folder is sent again, with a frame before all others.
    let mut store = open(out.path(), &two).unwrap();
    store.note(&two, &[began(TWO)]).unwrap();
    let offered: Vec<_> = (1u64..).zip(&frames).map(|(n, frame)| offer(frame, n)).collect();
    let held = store.look_up(&two, &offered, &|| true);
    assert_eq!(held, [Held::Same, Held::Same, Held::Nothing]);
    let rest = [frame(0, "00.jpg", b"00"), frame(3, "2.jpg", b"2")].map(|frame| from(&two, frame));
    assert_eq!(store.store(&rest), vec![Outcome::Stored; 2]);
    store.note(&two, &[ended(TWO, 4)]).unwrap();
    let said = ledger(out.path());
    assert!(said.contains(&Entry::ResumedBy { run: ONE, by: TWO }), "{said:?}");
    let before = |entry: &&Entry| matches!(entry, Entry::StoredBefore { run: TWO, .. });
    assert_eq!(said.iter().filter(before).count(), 1, "{said:?}");
}

#[test]
fn what_a_run_has_of_an_earlier_one_is_known_after_the_receiver_was_killed_as_well() {
    let out = TempDir::new().unwrap();
    let (one, two) = (sender("sha256:aa", Some(ONE)), sender("sha256:aa", Some(TWO)));
    let frames = [frame(0, "0.jpg", b"0"), frame(1, "1.jpg", b"1")];
    let mut store = open(out.path(), &one).unwrap();
    store.note(&one, &[began(ONE)]).unwrap();
    store.store(&[from(&one, frames[0].clone())]);
    store.note(&two, &[began(TWO)]).unwrap();
    let held = store.look_up(&two, &[offer(&frames[0], 0)], &|| true);
    assert_eq!(held, [Held::Same]);
    drop(store);
    let mut store = open(out.path(), &two).unwrap();
    assert_eq!(store.store(&[from(&two, frames[1].clone())]), [Outcome::Stored]);
    store.note(&two, &[ended(TWO, 2)]).unwrap();
    let said = ledger(out.path());
    assert!(said.contains(&Entry::ResumedBy { run: ONE, by: TWO }), "{said:?}");
}

#[test]
fn a_run_that_stored_nothing_is_resumed_by_the_next_of_its_sender_and_no_other() {
    for (next, is_resumed) in [("sha256:aa", true), ("sha256:bb", false)] {
        let out = TempDir::new().unwrap();
        let one = sender("sha256:aa", Some(ONE));
        let two = Opener { shared: true, ..sender(next, Some(TWO)) };
        let mut store = open(out.path(), &one).unwrap();
        store.note(&one, &[began(ONE)]).unwrap();
        store.note(&two, &[began(TWO)]).unwrap();
        store.store(&[from(&two, frame(0, "0.jpg", b"0"))]);
        store.note(&two, &[ended(TWO, 1)]).unwrap();
        let resumed = ledger(out.path()).contains(&Entry::ResumedBy { run: ONE, by: TWO });
        assert_eq!(resumed, is_resumed, "{next}");
    }
}

#[test]
fn a_run_that_was_killed_stays_open_where_another_folder_is_sent() {
    let out = TempDir::new().unwrap();
    let (one, two) = (sender("sha256:aa", Some(ONE)), sender("sha256:aa", Some(TWO)));
    let mut store = open(out.path(), &one).unwrap();
    store.note(&one, &[began(ONE)]).unwrap();
    let frames = [frame(0, "0.jpg", b"0"), frame(1, "1.jpg", b"1")];
    store.store(&frames.clone().map(|frame| from(&one, frame)));
    store.note(&two, &[began(TWO)]).unwrap();
    // It has one of the two.
    store.store(&[from(&two, frames[0].clone())]);
    store.note(&two, &[ended(TWO, 1)]).unwrap();
    let resumed = |entry: &Entry| matches!(entry, Entry::ResumedBy { .. });
    assert!(!ledger(out.path()).iter().any(resumed));
}

#[test]
fn a_run_goes_on_in_a_new_folder_and_says_what_is_not_there() {
    let out = TempDir::new().unwrap();
    let one = sender("sha256:aa", Some(ONE));
    let mut store = open(out.path(), &one).unwrap();
    store.note(&one, &[began(ONE)]).unwrap();
    store.store(&[from(&one, frame(0, "0.jpg", b"0")), from(&one, frame(1, "1.jpg", b"1"))]);
    let (first, reason) = (Sequence(2), DropReason::Late);
    let ranges = vec![DropRange { first, count: 2, reason, captured: None }];
    store.note(&one, &[Note::Dropped { run: ONE, ranges, place: Place::Sender }]).unwrap();
    fs::rename(out.path().join("visible"), out.path().join("flight1")).unwrap();
    store.store(&[from(&one, frame(4, "4.jpg", b"4"))]);
    store.note(&one, &[ended(ONE, 5)]).unwrap();
    let said = ledger(out.path());
    let taken = |entry: &Entry| match entry {
        Entry::TakenAway { range, .. } => Some((range.first, range.last)),
        _ => None,
    };
    assert_eq!(said.iter().filter_map(taken).collect::<Vec<_>>(), [(0, 1)], "{said:?}");
    // What was dropped is in no folder.
    let dropped = Entry::Dropped {
        run: ONE,
        range: Range { first: 2, last: 3 },
        reason: Some(DropReason::Late),
        place: Place::Sender,
        captured: None,
    };
    assert!(said.contains(&dropped), "{said:?}");
    assert!(said.iter().any(|entry| matches!(entry, Entry::Began { run: ONE, .. })));
    let moved = fs::read_to_string(out.path().join("flight1").join(FILE_NAME)).unwrap();
    assert_eq!(moved.lines().count(), 2);
}

#[test]
fn a_run_says_what_it_had_of_a_day_that_is_not_written_any_more_and_was_taken_away() {
    for is_looked_for in [false, true] {
        let out = TempDir::new().unwrap();
        let one = sender("sha256:aa", Some(ONE));
        let options = StoreOptions { layout: Layout::Day, ..StoreOptions::default() };
        let store = FolderStore::open(out.path(), options).unwrap();
        let mut store = store.source(&source(), &one).unwrap();
        store.note(&one, &[began(ONE)]).unwrap();
        let mut stored = Vec::new();
        for day in 0..6 {
            let mut frame = from(&one, frame(day, &format!("{day}.jpg"), b"0"));
            let at = UnixNanos(day * 86_400_000_000_000 + 1);
            let clock = Clock::Read;
            frame.frame.meta.captured = Some(Captured { at, clock, uncertainty: None });
            assert_eq!(store.store_batch(std::slice::from_ref(&frame)), [Outcome::Stored]);
            stored.push(frame);
        }
        fs::rename(out.path().join("visible/1970-01-01"), out.path().join("flight1")).unwrap();
        if is_looked_for {
            let held = store.look_up(&one, &[offer(&stored[0], 0)], &|| true);
            assert_eq!(held, [Held::Nothing]);
        }
        store.note(&one, &[ended(ONE, 6)]).unwrap();
        let said = ledger(out.path());
        let taken = |entry: &Entry| match entry {
            Entry::TakenAway { range, .. } => Some((range.first, range.last)),
            _ => None,
        };
        assert_eq!(said.iter().filter_map(taken).collect::<Vec<_>>(), [(0, 0)], "{said:?}");
    }
}

#[test]
fn an_equal_time_is_believed_of_ones_own_frame_alone() {
    let out = TempDir::new().unwrap();
    let (a, b) = (sender("sha256:aa", None), Opener { shared: true, ..sender("sha256:bb", None) });
    let mut store = open(out.path(), &a).unwrap();
    let mut one = from(&a, frame(0, "0.jpg", b"zero"));
    one.frame.meta.modified = Some(UnixNanos(1_764_000_000_123_456_789));
    store.store(std::slice::from_ref(&one));
    let mut offered = offer(&one, 0);
    offered.hash = None;
    assert_eq!(store.look_up(&a, &[offered], &|| true), [Held::Same]);
    assert_eq!(store.look_up(&b, &[offered], &|| true), [Held::NeedsHash]);
    offered.modified = Some(UnixNanos(1_764_000_000_123_456_788));
    assert_eq!(store.look_up(&a, &[offered], &|| true), [Held::NeedsHash]);
    assert_eq!(store.look_up(&a, &[offered, offered], &|| false), []);
}

#[test]
fn a_copied_store_is_read_once_for_whoever_asks_and_not_by_the_thread_that_stores() {
    let out = TempDir::new().unwrap();
    let a = sender("sha256:aa", None);
    let one = from(&a, frame(0, "0.jpg", b"zero"));
    // Its times are made up, so that nothing but the content tells whether it is the line's.
    let options = StoreOptions { clock: || UnixNanos(4), ..StoreOptions::default() };
    let store = FolderStore::open(out.path(), options).unwrap();
    let mut store = store.source(&source(), &a).unwrap();
    store.store(std::slice::from_ref(&one));
    let offered = [offer(&one, 0)];
    let mut readings = store.unread(&offered);
    assert_eq!(readings.len(), 1);
    let mut reading = readings.pop().unwrap();
    reading.read();
    store.has_read(reading);
    assert_eq!(store.look_up(&a, &offered, &|| true), [Held::Same]);
}

/// As of a store that was copied: nothing tells without reading that its files are the ones that were stored.
#[test]
fn files_that_wait_to_be_read_hold_no_descriptor_each() {
    let out = TempDir::new().unwrap();
    let a = sender("sha256:aa", Some(ONE));
    let options = StoreOptions { clock: || UnixNanos(4), ..StoreOptions::default() };
    let store = FolderStore::open(out.path(), options).unwrap();
    let mut store = store.source(&source(), &a).unwrap();
    let name = |number: u64| format!("{}/{number}.jpg", if number < 50 { "one" } else { "two" });
    let frames: Vec<_> =
        (0..100).map(|number| from(&a, frame(number, &name(number), b"zero"))).collect();
    assert_eq!(store.store_batch(&frames), vec![Outcome::Stored; 100]);
    let offered: Vec<_> = frames.iter().zip(0..).map(|(frame, at)| offer(frame, at)).collect();
    // Other tests have files of their own.
    let open_files = || {
        let all = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let path = out.path().canonicalize().unwrap();
        all.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(&path))).count()
    };
    let before = if cfg!(target_os = "linux") { open_files() } else { 0 };
    let mut unread = store.unread(&offered);
    assert_eq!(unread.len(), 100);
    if cfg!(target_os = "linux") {
        assert!(open_files() <= before + 2, "{} and {before}", open_files());
    }
    unread.iter_mut().for_each(Reading::read);
    unread.into_iter().for_each(|reading| store.has_read(reading));
    assert_eq!(store.look_up(&a, &offered, &|| true), [Held::Same; 100]);
}

/// As two senders do of which one has a copy of the other's spool, also when the run of the first has ended.
#[test]
fn a_sequence_that_a_run_has_brought_is_known_also_when_it_has_ended() {
    for is_ended in [false, true] {
        let out = TempDir::new().unwrap();
        let one = sender("sha256:aa", Some(ONE));
        let mut store = open(out.path(), &one).unwrap();
        store.note(&one, &[began(ONE)]).unwrap();
        assert_eq!(store.store_batch(&[from(&one, frame(7, "7.jpg", b"7"))]), [Outcome::Stored]);
        if is_ended {
            store.note(&one, &[ended(ONE, 1)]).unwrap();
        }
        drop(store);
        let root = super::root::Root::open(out.path()).unwrap();
        let footing = super::footing::Footing::open(&root, &source(), StoreOptions::default());
        let has = |run, sequence| footing.as_ref().unwrap().has_brought(run, Sequence(sequence));
        assert!(has(Some(ONE), 7) && !has(Some(ONE), 8) && !has(Some(TWO), 7) && !has(None, 7));
    }
}
