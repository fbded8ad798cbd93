use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::super::tests::{frame, source};
use super::super::*;
use super::*;
use crate::frame::{Captured, Clock, FrameName, RunId};
use crate::manifest::{Entry, FILE_NAME, LEDGER_NAME};

const DAY: u64 = 24 * 3_600_000_000_000;
/// 2026-11-29, noon.
const NOON: u64 = 20_786 * DAY + DAY / 2;
const PIN: &str = "sha256:aa";

// Each test has a thread, and what it looks at runs on that.
thread_local! {
    static NOW: AtomicU64 = const { AtomicU64::new(NOON) };
}

fn now() -> UnixNanos {
    UnixNanos(NOW.with(|now| now.fetch_add(1, Ordering::Relaxed)))
}

fn later(by: u64) {
    NOW.with(|now| now.fetch_add(by, Ordering::Relaxed));
}

fn options(layout: Layout, keep: Keep) -> StoreOptions {
    StoreOptions { layout, keep, clock: now, ..StoreOptions::default() }
}

/// A store without a thread that removes, and what such a thread does.
struct Kept {
    out: TempDir,
    options: StoreOptions,
    seats: Arc<Seats>,
}

impl Kept {
    fn new(layout: Layout, keep: Keep) -> Self {
        let out = TempDir::new().unwrap();
        let seats = Arc::new(Seats::of(Root::open(out.path()).unwrap()));
        Self { options: options(layout, keep), seats, out }
    }

    fn source(&self) -> FolderSource {
        let opener = Opener::with_pin(Some(PIN));
        FolderSource::open(self.seats.clone(), &source(), &opener, self.options).unwrap()
    }

    fn work(&self) -> Work {
        Work::new(&self.seats, self.options, channel().1, Doubt::none())
    }

    /// Removes all that is to be removed.
    fn remove(&self) {
        let mut work = self.work();
        while work.go_on().unwrap() {}
    }

    fn visible(&self) -> std::path::PathBuf {
        self.out.path().join("visible")
    }

    fn ledger(&self) -> Vec<Entry> {
        let text = fs::read_to_string(self.visible().join(LEDGER_NAME)).unwrap();
        text.lines().map(|line| Entry::parse(line.as_bytes()).unwrap().unwrap()).collect()
    }
}

/// A frame captured so many days after the first.
fn at(sequence: u64, days: u64) -> ReceivedFrame {
    let name = format!("{sequence}.jpg");
    let mut frame = frame(sequence, &name, name.as_bytes());
    let at = UnixNanos(NOON + days * DAY);
    frame.frame.meta.captured = Some(Captured { at, clock: Clock::Read, uncertainty: None });
    frame.frame.meta.modified = Some(UnixNanos(NOON + 5));
    let mut from = Opener::with_pin(Some(PIN));
    from.run = Some(RunId([7; 16]));
    frame.from = from.into();
    frame.received = now();
    frame
}

fn stored(store: &mut FolderSource, frames: &[ReceivedFrame]) {
    assert_eq!(store.store_batch(frames), vec![Outcome::Stored; frames.len()]);
}

/// Names of frames below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else if name.ends_with(".jpg") {
            found.push(name);
        }
    }
    found.sort();
    found
}

fn ask(store: &mut FolderSource, frame: &ReceivedFrame, hash: bool, modified: bool) -> Held {
    let meta = &frame.frame.meta;
    let offered = Offered {
        sequence: meta.sequence,
        name: &meta.name,
        bytes: meta.bytes,
        modified: meta.modified.filter(|_| modified),
        hash: meta.hash.filter(|_| hash),
    };
    store.look_up(&frame.from, &[offered], &|| true)[0]
}

fn aged(days: u64) -> Keep {
    Keep { age: Some(Duration::from_secs(days * 86_400)), ..Keep::default() }
}

#[test]
fn the_oldest_day_goes_when_it_is_old_enough() {
    for layout in [Layout::Flat, Layout::Day, Layout::Hour] {
        let kept = Kept::new(layout, aged(30));
        let mut store = kept.source();
        stored(&mut store, &[at(0, 0), at(1, 0), at(2, 1)]);
        later(DAY);
        stored(&mut store, &[at(3, 1)]);
        kept.remove();
        assert_eq!(files(&kept.visible()).len(), 4, "{layout}");
        // Thirty days after its last frame was stored, and not before; of the next day one came later.
        later(29 * DAY + DAY / 2);
        kept.remove();
        assert_eq!(files(&kept.visible()), ["2.jpg", "3.jpg"], "{layout}");
        let ledger = kept.ledger();
        let gone: Vec<_> =
            ledger.iter().filter(|entry| matches!(entry, Entry::DayExpired { .. })).collect();
        assert!(matches!(gone[..], [Entry::DayExpired { frames: 2, bytes: 10, .. }]), "{gone:?}");
        assert!(matches!(ledger.last(), Some(Entry::DayRemoved { frames: 2, left: 0, .. })));
        // Nothing twice, and nothing more.
        kept.remove();
        assert_eq!(kept.ledger(), ledger);
        drop(store);
        kept.remove();
        later(DAY);
        kept.remove();
        assert!(files(&kept.visible()).is_empty(), "{layout}");
    }
}

#[test]
fn what_has_expired_is_known_when_it_is_offered_again() {
    for layout in [Layout::Flat, Layout::Day] {
        let kept = Kept::new(layout, aged(30));
        let mut store = kept.source();
        stored(&mut store, &[at(0, 0), at(1, 0)]);
        later(40 * DAY);
        kept.remove();
        for _ in 0..2 {
            let zero = at(0, 0);
            assert_eq!(ask(&mut store, &zero, false, true), Held::Expired, "{layout}");
            assert_eq!(ask(&mut store, &zero, true, false), Held::Expired);
            assert_eq!(ask(&mut store, &zero, false, false), Held::NeedsHash);
            assert!(store.lookup(&zero.frame.meta.name).unwrap().is_none());
            // One that is sent without being offered is not stored again either.
            assert_eq!(store.store_batch(&[zero]), [Outcome::AlreadyStored]);
            drop(store);
            store = kept.source();
        }
        // Another frame of its name is another frame, and is not put among what has expired.
        let mut other = frame(7, "0.jpg", b"another");
        other.frame.meta.captured = at(0, 0).frame.meta.captured;
        other.received = now();
        other.from = at(0, 0).from;
        assert_eq!(ask(&mut store, &other, true, true), Held::Nothing);
        stored(&mut store, std::slice::from_ref(&other));
        assert_eq!(ask(&mut store, &other, true, true), Held::Same);
        later(DAY / 2);
        kept.remove();
        assert_eq!(files(&kept.visible()), ["0.jpg"]);
        drop(store);
        let mut store = kept.source();
        assert_eq!(ask(&mut store, &other, true, true), Held::Same, "{layout}");
        assert_eq!(store.frames(), if layout == Layout::Flat { 2 } else { 3 });
    }
}

#[test]
fn a_removal_that_was_cut_short_is_finished_by_the_next_receiver() {
    for layout in [Layout::Flat, Layout::Hour] {
        let kept = Kept::new(layout, aged(30));
        let mut store = kept.source();
        stored(&mut store, &[at(0, 0), at(1, 0), at(2, 0), at(3, 30)]);
        drop(store);
        later(20 * DAY);
        let mut store = kept.source();
        stored(&mut store, &[at(4, 40)]);
        later(15 * DAY);
        // Declared, and killed before anything was removed; and then in the middle.
        assert!(kept.work().go_on().unwrap());
        assert_eq!(files(&kept.visible()).len(), 5);
        let first = kept.ledger();
        assert!(matches!(first.last(), Some(Entry::DayExpired { frames: 3, .. })), "{first:?}");
        let one = files(&kept.visible()).remove(0);
        let folder = if layout == Layout::Flat { "" } else { "2026-11-29/12" };
        fs::remove_file(kept.visible().join(folder).join(one)).unwrap();
        assert_eq!(ask(&mut store, &at(0, 0), true, true), Held::Expired);
        drop(store);
        kept.remove();
        assert_eq!(files(&kept.visible()), ["4.jpg"], "{layout}");
        let expiries =
            kept.ledger().iter().filter(|entry| matches!(entry, Entry::DayExpired { .. })).count();
        assert_eq!(expiries, 2, "each day is declared once");
    }
}

#[test]
fn a_file_that_the_store_did_not_put_there_stays() {
    for layout in [Layout::Flat, Layout::Day] {
        let kept = Kept::new(layout, aged(30));
        stored(&mut kept.source(), &[at(0, 0), at(1, 0), at(2, 0)]);
        let folder =
            if layout == Layout::Flat { kept.visible() } else { kept.visible().join("2026-11-29") };
        fs::write(folder.join("0.jpg"), "mine!").unwrap();
        fs::write(folder.join("beside.jpg"), "mine").unwrap();
        // One that was touched, or comes from a backup, is still what was stored.
        fs::write(folder.join("1.jpg"), "1.jpg").unwrap();
        later(40 * DAY);
        kept.remove();
        assert_eq!(files(&kept.visible()), ["0.jpg", "beside.jpg"], "{layout}");
        assert!(matches!(kept.ledger().last(), Some(Entry::DayRemoved { frames: 2, left: 1, .. })));
    }
}

#[test]
fn a_source_is_opened_once_to_remove_files_that_were_touched() {
    let kept = Kept::new(Layout::Day, aged(30));
    let frames: Vec<_> = (0..50).map(|sequence| at(sequence, 0)).collect();
    stored(&mut kept.source(), &frames);
    for name in files(&kept.visible()) {
        let path = kept.visible().join("2026-11-29").join(name);
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    later(40 * DAY);
    let mut work = kept.work();
    assert!(work.go_on().unwrap(), "declared");
    let is_open = || kept.seats.slot(&source()).seat().is_some();
    assert!(is_open(), "from one file to the next");
    while work.go_on().unwrap() {}
    assert!(files(&kept.visible()).is_empty());
    assert!(!is_open(), "nobody needs it any more");
    assert!(matches!(kept.ledger().last(), Some(Entry::DayRemoved { frames: 50, left: 0, .. })));
}

#[test]
fn a_day_of_which_a_file_cannot_be_asked_for_is_not_done() {
    let kept = Kept::new(Layout::Day, aged(30));
    stored(&mut kept.source(), &[at(0, 0), at(1, 0)]);
    later(40 * DAY);
    let mut work = kept.work();
    assert!(work.go_on().unwrap(), "declared");
    // The times of these files are not those of their lines, whose clock is the test's. What opening the source anew fails at, and nothing of the removal itself.
    *kept.seats.slot(&source()).seat() = None;
    let (ledger, away) = (kept.visible().join(LEDGER_NAME), kept.out.path().join("away"));
    fs::rename(&ledger, &away).unwrap();
    fs::create_dir(&ledger).unwrap();
    assert!(work.go_on().unwrap());
    assert!(work.removal.is_none() && work.left_out.contains(&source()), "it has failed");
    assert_eq!(files(&kept.visible()), ["0.jpg", "1.jpg"], "nothing that is not known");
    fs::remove_dir(&ledger).unwrap();
    fs::rename(&away, &ledger).unwrap();
    kept.remove();
    assert!(files(&kept.visible()).is_empty(), "gone on with");
    assert!(matches!(kept.ledger().last(), Some(Entry::DayRemoved { left: 0, .. })));
}

#[test]
fn days_that_are_still_to_come_go_by_the_day_they_were_stored_on() {
    let bytes = Keep { bytes: Some(ByteSize(10)), ..Keep::default() };
    for keep in [aged(1), bytes] {
        let kept = Kept::new(Layout::Day, keep);
        let mut store = kept.source();
        stored(&mut store, &[at(0, 10_000), at(1, 0)]);
        later(QUIET + 1_000_000);
        kept.remove();
        assert_eq!(files(&kept.visible()), ["0.jpg", "1.jpg"], "stored today");
        later(3 * DAY);
        stored(&mut store, &[at(2, 3)]);
        later(QUIET + 1_000_000);
        stored(&mut store, &[at(3, 3)]);
        kept.remove();
        assert_eq!(files(&kept.visible()), ["2.jpg", "3.jpg"], "{keep:?}");
    }
}

#[test]
fn a_name_of_a_frame_that_is_being_removed_is_free() {
    let kept = Kept::new(Layout::Flat, aged(30));
    let mut store = kept.source();
    stored(&mut store, &[at(0, 0), at(1, 0), at(2, 0)]);
    fs::write(kept.visible().join("2.jpg"), "mine!").unwrap();
    later(40 * DAY);
    let mut work = kept.work();
    assert!(work.go_on().unwrap(), "declared, and nothing is removed yet");
    let again = |name: &str, sequence| {
        let mut other = frame(sequence, name, b"of the next flight");
        let captured = UnixNanos(NOON + 40 * DAY);
        let clock = Clock::Read;
        other.frame.meta.captured = Some(Captured { at: captured, clock, uncertainty: None });
        other.received = now();
        other.from = at(0, 0).from;
        other
    };
    stored(&mut store, &[again("0.jpg", 10)]);
    let outcomes = store.store_batch(&[again("2.jpg", 12)]);
    assert!(matches!(outcomes[..], [Outcome::Failed(FrameError::Conflict { .. })]), "{outcomes:?}");
    while work.go_on().unwrap() {}
    assert_eq!(files(&kept.visible()), ["0.jpg", "2.jpg"]);
    let path = kept.visible().join("0.jpg");
    assert_eq!(fs::read(path).unwrap(), b"of the next flight");
    assert_eq!(ask(&mut store, &again("0.jpg", 10), true, true), Held::Same);
}

#[test]
fn the_oldest_days_go_while_there_is_too_much() {
    let keep = Keep { bytes: Some(ByteSize(20)), ..Keep::default() };
    let kept = Kept::new(Layout::Day, keep);
    let mut store = kept.source();
    for day in 0..6 {
        stored(&mut store, &[at(2 * day, day), at(2 * day + 1, day)]);
        later(DAY);
        kept.remove();
    }
    // Twenty bytes are three of these frames: one day, since a day goes as a whole.
    assert_eq!(files(&kept.visible()), ["10.jpg", "11.jpg"]);
}

#[test]
fn today_and_days_that_are_being_written_stay() {
    let keep = Keep { bytes: Some(ByteSize(1)), ..Keep::default() };
    let kept = Kept::new(Layout::Day, keep);
    let mut store = kept.source();
    later(DAY);
    // Yesterday's comes late, just now; today's is today's.
    stored(&mut store, &[at(0, 0), at(1, 1)]);
    kept.remove();
    assert_eq!(files(&kept.visible()), ["0.jpg", "1.jpg"]);
    later(QUIET + 1_000_000);
    kept.remove();
    assert_eq!(files(&kept.visible()), ["1.jpg"]);
}

#[test]
fn a_day_is_waited_for_while_it_is_written() {
    let keep = Keep { bytes: Some(ByteSize(1)), ..Keep::default() };
    let kept = Kept::new(Layout::Day, keep);
    let mut store = kept.source();
    later(3 * DAY);
    stored(&mut store, &[at(0, 0)]);
    later(QUIET / 2);
    stored(&mut store, &[at(1, 1)]);
    kept.remove();
    assert_eq!(files(&kept.visible()), ["0.jpg", "1.jpg"], "it may go on");
    stored(&mut store, &[at(2, 0)]);
    later(QUIET / 4 * 3);
    kept.remove();
    assert_eq!(files(&kept.visible()), ["0.jpg", "1.jpg", "2.jpg"], "it did");
    later(QUIET / 4 + 1_000_000);
    stored(&mut store, &[at(3, 1)]);
    kept.remove();
    assert_eq!(files(&kept.visible()), ["1.jpg", "3.jpg"], "it did not");
    later(QUIET);
    kept.remove();
    assert!(files(&kept.visible()).is_empty());
}

#[test]
fn removing_is_harder_where_it_does_not_keep_pace() {
    let keep = Keep { bytes: Some(ByteSize(20)), ..Keep::default() };
    let kept = Kept::new(Layout::Day, keep);
    let mut store = kept.source();
    later(9 * DAY);
    stored(&mut store, &[at(0, 0), at(1, 0), at(2, 0), at(3, 1)]);
    later(QUIET + 1_000_000);
    let mut work = kept.work();
    let judge = |work: &mut Work| {
        work.judged.0 = Instant::now().checked_sub(JUDGE_EVERY).unwrap();
        let (open, removal) = work.removal.take().unwrap();
        work.judge(&kept.seats, &removal);
        work.removal = Some((open, removal));
        work.is_behind
    };
    // Twenty bytes are two days of these and no more: the first is declared to have expired.
    stored(&mut store, &[at(4, 2)]);
    assert!(work.go_on().unwrap());
    assert!(work.removal.is_some());
    work.judged.1 = u64::MAX;
    assert!(!judge(&mut work), "less than there was");
    assert!(!judge(&mut work), "as much as there was");
    stored(&mut store, &[at(5, 2)]);
    assert!(judge(&mut work), "more is stored than removed");
    assert!(!judge(&mut work));
    stored(&mut store, &[at(6, 2), at(7, 3)]);
    later(QUIET);
    stored(&mut store, &[at(8, 4)]);
    assert!(judge(&mut work));
    assert!(judge(&mut work), "another day has to go");
}

/// Half a megabyte of a day.
fn large(sequence: u64, days: u64) -> ReceivedFrame {
    let small = at(sequence, days);
    let mut large = frame(sequence, &format!("{sequence}.jpg"), &vec![7; 512 << 10]);
    large.frame.meta.captured = small.frame.meta.captured;
    (large.from, large.received) = (small.from, small.received);
    large
}

#[test]
fn storing_waits_where_removing_does_not_keep_pace() {
    let keep = Keep { bytes: Some(ByteSize(2 << 20)), ..Keep::default() };
    let kept = Kept::new(Layout::Day, keep);
    let mut store = kept.source();
    later(9 * DAY);
    // Six megabytes, of three days, and one that is being written.
    let frames: Vec<_> = (0..13).map(|number| large(number, number / 4)).collect();
    stored(&mut store, &frames);
    later(QUIET + 1_000_000);
    let mut work = kept.work();
    assert!(work.go_on().unwrap());
    assert!(!kept.seats.brake().keeping().is_slowed);
    work.judged.0 = Instant::now().checked_sub(JUDGE_EVERY).unwrap();
    assert!(work.go_on().unwrap());
    let keeping = kept.seats.brake().keeping();
    assert_eq!((keeping.is_slowed, keeping.over), (true, ByteSize((9 << 19) - (2 << 20))));
    // A camera goes on beside it, by the same clock, and waits.
    let (frame, now) = (large(20, 4), now());
    let (tell, told) = channel();
    let camera = std::thread::spawn(move || {
        NOW.with(|clock| clock.store(now.0, Ordering::Relaxed));
        stored(&mut store, &[frame]);
        tell.send(()).unwrap();
        store
    });
    assert!(told.recv_timeout(Duration::from_millis(100)).is_err());
    while work.go_on().unwrap() {}
    told.recv_timeout(Duration::from_secs(10)).unwrap();
    drop(camera.join().unwrap());
    let keeping = kept.seats.brake().keeping();
    assert_eq!((keeping.is_slowed, keeping.over), (false, ByteSize(0)));
    assert!(keeping.slowed >= Duration::from_millis(90), "{keeping:?}");
    assert!(files(&kept.visible()).contains(&"20.jpg".to_owned()));
}

#[test]
fn many_files_go_by_several_hands_as_by_one() {
    let long = Duration::from_secs(3_600);
    for (hands, time) in [(1, Duration::ZERO), (1, long), (3, long)] {
        let kept = Kept::new(Layout::Hour, aged(30));
        let mut store = kept.source();
        let frames: Vec<_> = (0..500).map(|number| at(number, 0)).collect();
        stored(&mut store, &frames);
        let folder = kept.visible().join("2026-11-29/12");
        fs::write(folder.join("7.jpg"), "mine!").unwrap();
        fs::write(folder.join("300.jpg"), "300.jpg").unwrap();
        later(40 * DAY);
        let mut removal = with_seat(&kept.seats, &source(), kept.options, |seat| {
            seat.expire("2026-11-29".parse().unwrap())
        })
        .unwrap();
        let top = kept.seats.root().folder().unwrap().folder(source().as_str()).unwrap();
        let mut is_last = |record: &Record| {
            Ok(with_seat(&kept.seats, &source(), kept.options, |seat| seat.is_last(record))
                .unwrap())
        };
        // A moment at a time, or all at once: no line is passed over.
        let mut turns = 1;
        while {
            let pace = Pace { until: Instant::now() + time, hands };
            !removal.go_on(&top, pace, &mut is_last).unwrap()
        } {
            turns += 1;
        }
        assert_eq!(turns, if time == long { 1 } else { 500 });
        assert_eq!((removal.frames, removal.left), (499, 1), "{hands}");
        assert_eq!(files(&kept.visible()), ["7.jpg"]);
    }
}

#[test]
fn records_of_days_that_have_expired_go_last() {
    let kept = Kept::new(Layout::Day, aged(30));
    let mut store = kept.source();
    store
        .note(
            &at(0, 0).from,
            &[Note::Began {
                run: RunId([7; 16]),
                at: UnixNanos(1),
                endless: true,
                live: false,
                first: None,
            }],
        )
        .unwrap();
    stored(&mut store, &[at(0, 0), at(1, 0), at(2, 1)]);
    later(40 * DAY);
    kept.remove();
    let day = kept.visible().join("2026-11-29");
    assert!(day.join(FILE_NAME).exists());
    with_seat(&kept.seats, &source(), kept.options, |seat| {
        seat.fold("2026-11-29".parse().unwrap())
    })
    .unwrap();
    assert!(!day.exists());
    let range = crate::manifest::Range { first: 0, last: 1 };
    assert!(
        kept.ledger()
            .iter()
            .any(|entry| matches!(entry, Entry::Expired { range: of, .. } if *of == range))
    );
    drop(store);
    let mut store = kept.source();
    assert_eq!(store.last_sequence().unwrap().0, 2);
    let name = FrameName::parse("0.jpg").unwrap();
    assert_eq!(store.lookup(&name).unwrap(), None);
    assert_eq!(ask(&mut store, &at(0, 0), true, true), Held::Nothing);
}

#[test]
fn a_source_that_does_not_open_keeps_no_day_of_another() {
    let kept = Kept::new(Layout::Day, aged(1));
    let mut store = kept.source();
    stored(&mut store, &[at(0, 0)]);
    drop(store);
    let other = kept.out.path().join("another");
    fs::create_dir(&other).unwrap();
    fs::write(other.join(LEDGER_NAME), "").unwrap();
    std::os::unix::fs::symlink("nowhere", other.join(FILE_NAME)).unwrap();
    later(3 * DAY);
    kept.remove();
    assert!(files(&kept.visible()).is_empty());
    assert_eq!(kept.ledger().iter().filter(|entry| is_removed(entry)).count(), 1);
}

/// Frames of two days, stored by a clock that was a year ahead.
#[test]
fn a_day_that_was_stored_by_a_clock_ahead_goes_as_a_whole() {
    let keep = Keep { bytes: Some(ByteSize(5)), ..Keep::default() };
    let kept = Kept::new(Layout::Day, keep);
    let mut store = kept.source();
    later(365 * DAY);
    stored(&mut store, &[at(0, 0), at(1, 0)]);
    later(2 * QUIET);
    stored(&mut store, &[at(2, 1)]);
    NOW.with(|now| now.fetch_sub(360 * DAY, Ordering::Relaxed));
    kept.remove();
    assert_eq!(files(&kept.visible()), ["2.jpg"]);
    assert!(kept.ledger().iter().any(|entry| matches!(entry, Entry::DayRemoved { frames: 2, .. })));
}

fn is_removed(entry: &Entry) -> bool {
    matches!(entry, Entry::DayRemoved { frames: 1, left: 0, .. })
}

/// A receiver whose clock is in another year when it starts, and one that was declared to have expired by such a clock.
#[test]
fn a_clock_that_is_far_ahead_removes_nothing() {
    let kept = Kept::new(Layout::Day, aged(30));
    let mut store = kept.source();
    stored(&mut store, &[at(0, 0), at(1, 0)]);
    later(400 * DAY);
    let mut work = kept.work();
    work.doubt = Doubt::at_start(Instant::now(), now());
    while work.go_on().unwrap() {}
    assert_eq!(files(&kept.visible()).len(), 2);
    // A frame of that day, by its sender's clock, speaks for the receiver's.
    stored(&mut store, &[at(2, 400)]);
    while work.go_on().unwrap() {}
    assert_eq!(files(&kept.visible()), ["2.jpg"]);
    drop(store);

    let kept = Kept::new(Layout::Day, aged(30));
    stored(&mut kept.source(), &[at(0, 0), at(1, 0)]);
    later(400 * DAY);
    // Declared, and nothing removed yet.
    assert!(kept.work().go_on().unwrap());
    NOW.with(|now| now.fetch_sub(399 * DAY, Ordering::Relaxed));
    kept.remove();
    assert_eq!(files(&kept.visible()).len(), 2, "the declaration is of a time to come");
    later(399 * DAY);
    kept.remove();
    assert!(files(&kept.visible()).is_empty());
}

#[path = "tests_replaced.rs"]
mod replaced;
