//! A spool from the outside: what it keeps, gives up and finds again.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;
use crate::frame::{DropReason, FrameName, Sequence, SourceName, UnixNanos};
use crate::source::{
    Bell, Content, Count, Description, Dropped, Extent, Fate, Recalled, Source, SourceError,
};

/// A source whose frames the test gives.
pub(super) struct Camera {
    name: SourceName,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    frames: Vec<Option<(Content, Instant)>>,
    settled: Vec<(u64, Fate)>,
    ended: bool,
    bell: Option<Bell>,
    count: Option<Count>,
}

impl Camera {
    pub(super) fn new() -> Arc<Self> {
        let name = SourceName::parse("visible").unwrap();
        Arc::new(Self { name, state: Mutex::default() })
    }

    /// Gives frames of so many bytes each.
    pub(super) fn give(&self, frames: u64, bytes: usize) {
        for _ in 0..frames {
            let mut state = self.state.lock().unwrap();
            let place = state.frames.len() as u64;
            state.frames.push(Some((content(place, bytes), Instant::now())));
            if let Some(count) = &state.count {
                count.frames(place + 1);
            }
            state.bell.as_ref().unwrap().ring();
        }
    }

    fn end(&self) {
        let mut state = self.state.lock().unwrap();
        state.ended = true;
        state.bell.as_ref().unwrap().ring();
    }

    /// Frames that it holds still.
    fn held(&self) -> usize {
        self.state.lock().unwrap().frames.iter().flatten().count()
    }

    fn frame(&self, place: Sequence) -> Result<(Content, Instant), SourceError> {
        let state = self.state.lock().unwrap();
        let frame = state.frames.get(place.0 as usize).cloned().flatten();
        frame.ok_or_else(|| SourceError::Read { path: "it".into(), why: "gone".to_owned() })
    }
}

fn content(number: u64, bytes: usize) -> Content {
    let body: bytes::Bytes = vec![number as u8; bytes].into();
    let name = FrameName::parse(&format!("{number}.jpg")).unwrap();
    let description = Description { name, bytes: bytes as u64, modified: None, captured: None };
    Content { description, hash: blake3::hash(&body), body }
}

impl Source for Camera {
    fn name(&self) -> &SourceName {
        &self.name
    }
    fn extent(&self) -> Extent {
        let state = self.state.lock().unwrap();
        Extent { frames: state.frames.len() as u64, ended: state.ended }
    }
    fn goes_on(&self) -> bool {
        true
    }
    fn wake_by(&self, bell: &Bell) {
        self.state.lock().unwrap().bell = Some(bell.clone());
    }
    fn count_by(&self, count: &Count) {
        self.state.lock().unwrap().count = Some(count.clone());
    }
    fn let_go(&self, sequence: Sequence) {
        self.state.lock().unwrap().frames[sequence.0 as usize] = None;
    }
    fn arrival(&self, sequence: Sequence) -> Option<Instant> {
        Some(self.frame(sequence).map_or_else(|_| Instant::now(), |frame| frame.1))
    }
    fn settled(&self, sequence: Sequence, fate: Fate) {
        self.state.lock().unwrap().settled.push((sequence.0, fate));
    }
    fn describe(&self, sequence: Sequence) -> Result<Description, SourceError> {
        Ok(self.frame(sequence)?.0.description)
    }
    fn read(&self, sequence: Sequence, _: u64) -> Result<Content, SourceError> {
        Ok(self.frame(sequence)?.0)
    }
    fn label(&self, sequence: Sequence) -> String {
        format!("camera's {sequence}")
    }
}

/// Waits until something has come about; the machine may be busy.
#[track_caller]
pub(super) fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "{what} does not come about");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(super) const RECEIVER: &str = "receiver:4433";

pub(super) fn options(size: u64, memory: u64, when_full: WhenFull) -> SpoolOptions {
    SpoolOptions { size: ByteSize(size), memory: ByteSize(memory), when_full }
}

/// A spool that brings everything to disk at once.
fn eager(folder: &Path) -> Spool {
    Spool::open(folder, options(1 << 30, 1, WhenFull::Wait), RECEIVER).unwrap()
}

/// A spool of a camera, and the camera as the spool has it.
fn keep(spool: &Spool, archive: bool) -> (Arc<Camera>, Arc<dyn Source>) {
    let camera = Camera::new();
    let kept = spool.keep(camera.clone(), archive).unwrap();
    kept.wake_by(&Bell::default());
    (camera, kept)
}

fn recall(kept: &Arc<dyn Source>) -> Recalled {
    kept.remembered().unwrap().recall()
}

fn dropped(dropped: &[Dropped]) -> Vec<(u64, u64, DropReason)> {
    dropped.iter().map(|one| (one.places.start, one.places.end, one.reason)).collect()
}

/// Leaves a spool as a killed process does: nothing is written that was not.
fn kill(spool: Spool) {
    drop(spool);
}

#[test]
fn frames_go_through_memory_and_disk_and_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let spool = eager(folder.path());
    let (camera, kept) = keep(&spool, true);
    camera.give(20, 10_000);
    wait_for("the twentieth", || kept.extent().frames == 20);
    wait_for("the disk", || spool.figures().disk_frames >= 19);
    assert!(spool.figures().memory_bytes <= 2 * 10_512, "{:?}", spool.figures());
    assert_eq!(camera.held(), 0, "the spool has them");
    for place in (0..20).map(Sequence) {
        let read = kept.read(place, u64::MAX).unwrap();
        let given = content(place.0, 10_000);
        assert_eq!((&read.description, &read.body), (&given.description, &given.body));
        assert_eq!(kept.describe(place).unwrap(), given.description);
        assert_eq!(kept.label(place), format!("{place}.jpg"));
    }
    for place in (0..20).map(Sequence) {
        kept.settled(place, Fate::Stored);
    }
    wait_for("an empty spool", || spool.figures().disk_bytes == 0);
    assert_eq!(camera.state.lock().unwrap().settled.len(), 20);
    camera.end();
    wait_for("the end", || kept.extent().ended);
    spool.close();
    let frames = fs::read_dir(folder.path().join("frames")).unwrap();
    let files = frames.flat_map(|run| fs::read_dir(run.unwrap().path()).unwrap()).count();
    assert!(files <= 1, "{files} files are left");
}

#[test]
fn what_a_killed_process_had_on_disk_is_sent_and_what_it_had_in_memory_declared() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), SpoolOptions::default(), RECEIVER).unwrap();
    let (camera, kept) = keep(&spool, true);
    let remembered = kept.remembered().unwrap();
    let run = remembered.recall().run;
    remembered.begun(Sequence(700));
    camera.give(5, 100);
    wait_for("five frames on disk", || spool.figures().disk_frames == 5);
    kept.settled(Sequence(1), Fate::Stored);
    let late = DropReason::Late;
    remembered.lost(Dropped { places: 3..4, reason: late, captured: None });
    kept.settled(Sequence(3), Fate::Lost);
    // These three have no time to grow old.
    camera.give(3, 100);
    wait_for("eight frames", || kept.extent().frames == 8);
    wait_for("the journal", || !spool.hall.room().journal.has_unwritten());
    assert_eq!(spool.figures().memory_frames, 3);
    kill(spool);

    let spool = Spool::open(folder.path(), SpoolOptions::default(), RECEIVER).unwrap();
    let (camera, kept) = keep(&spool, true);
    let recalled = recall(&kept);
    assert_eq!((recalled.run, recalled.origin, recalled.frames), (run, Some(Sequence(700)), 8));
    assert_eq!(recalled.left, [0..1, 2..3, 4..5]);
    assert_eq!(dropped(&recalled.dropped), [(3, 4, late), (5, 8, DropReason::SenderCrashed)]);
    assert_eq!(spool.figures().found, 3);
    // It goes on behind them.
    camera.give(1, 50);
    wait_for("the ninth", || kept.extent().frames == 9);
    assert_eq!(kept.read(Sequence(8), 99).unwrap().body.len(), 50);
    assert_eq!(kept.read(Sequence(4), 999).unwrap().body, vec![4; 100]);
    assert!(kept.arrival(Sequence(0)).unwrap() < kept.arrival(Sequence(8)).unwrap());
    // What is noted and stored is not told again; what is in memory at an orderly end goes to disk.
    let remembered = kept.remembered().unwrap();
    remembered.noted(3..4);
    remembered.noted(5..8);
    for place in [0, 2, 4] {
        kept.settled(Sequence(place), Fate::StoredBefore);
    }
    spool.close();
    let spool = eager(folder.path());
    let (_, kept) = keep(&spool, true);
    let recalled = recall(&kept);
    assert_eq!((recalled.frames, &recalled.left[..]), (9, std::slice::from_ref(&(8..9))));
    assert_eq!(dropped(&recalled.dropped), []);
    kept.settled(Sequence(8), Fate::Stored);
    kept.remembered().unwrap().ended();
    spool.close();
    let spool = eager(folder.path());
    let (_, kept) = keep(&spool, true);
    let recalled = recall(&kept);
    assert!(recalled.run != run && recalled.frames == 0, "a run that ended is over");
}

#[test]
fn what_came_about_just_before_the_end_goes_to_disk_as_well() {
    for memory in [1 << 20, 15_000] {
        let folder = tempfile::tempdir().unwrap();
        let options = SpoolOptions { memory: ByteSize(memory), ..SpoolOptions::default() };
        let spool = Spool::open(folder.path(), options, RECEIVER).unwrap();
        let (camera, _kept) = keep(&spool, true);
        camera.give(20, 10_000);
        let closed = spool.close();
        assert_eq!(closed, [(camera.name().clone(), 20)], "with {memory} bytes of memory");
        let spool = eager(folder.path());
        let (_, kept) = keep(&spool, true);
        assert_eq!(recall(&kept).left, std::slice::from_ref(&(0..20)));
    }
}

#[test]
fn a_process_that_is_killed_before_its_first_frame_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let spool = eager(folder.path());
    let run = recall(&keep(&spool, true).1).run;
    wait_for("the journal", || {
        let room = spool.hall.room();
        room.journal.past(run).unwrap().reserved > 0 && !room.journal.has_unwritten()
    });
    kill(spool);
    let spool = eager(folder.path());
    let recalled = recall(&keep(&spool, true).1);
    assert_eq!((recalled.run, recalled.frames, recalled.dropped), (run, 0, vec![]));
}

#[test]
fn a_full_spool_holds_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let limits = options(50_000, 30_000, WhenFull::Wait);
    let spool = Spool::open(folder.path(), limits, RECEIVER).unwrap();
    let (camera, kept) = keep(&spool, true);
    camera.give(20, 10_000);
    let is_full = || spool.figures().disk_bytes > 38_000 && spool.figures().memory_frames == 2;
    wait_for("a full spool", is_full);
    let taken = kept.extent().frames;
    assert!((6..=7).contains(&taken), "{taken} frames were taken");
    let written = fs_bytes(folder.path());
    assert!(written <= 50_000, "{written} bytes are on disk");
    for place in 0..20 {
        wait_for("the next frame", || kept.extent().frames > place);
        assert_eq!(kept.read(Sequence(place), 99_999).unwrap().body[0], place as u8);
        kept.settled(Sequence(place), Fate::Stored);
    }
    assert_eq!((kept.extent().frames, spool.figures().dropped), (20, 0));
}

fn fs_bytes(folder: &Path) -> u64 {
    let frames = fs::read_dir(folder.join("frames")).unwrap();
    let files = frames.flat_map(|run| fs::read_dir(run.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn a_full_spool_drops_the_oldest_that_is_not_on_its_way_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    for disk in [50_000, 0] {
        let limits = options(disk, 30_000, WhenFull::DropOldest);
        let spool = match disk {
            0 => Spool::in_memory(limits).unwrap(),
            _ => Spool::open(folder.path(), limits, RECEIVER).unwrap(),
        };
        let (camera, kept) = keep(&spool, true);
        camera.give(1, 10_000);
        wait_for("the first", || kept.extent().frames == 1);
        kept.read(Sequence(0), 99_999).unwrap();
        camera.give(39, 10_000);
        wait_for("all of them", || kept.extent().frames == 40);
        let gone = kept.remembered().unwrap().take_dropped();
        let count: u64 = gone.iter().map(|gone| gone.places.end - gone.places.start).sum();
        assert!(gone.iter().all(|gone| gone.reason == DropReason::SpoolFull));
        assert!(gone.iter().all(|gone| gone.captured.is_some()));
        assert_eq!((gone[0].places.start, spool.figures().dropped), (1, count));
        assert!(count >= 32, "{count} are dropped: {gone:?}");
        assert!(kept.read(Sequence(0), 99_999).is_ok(), "it is on its way");
        assert!(kept.read(Sequence(1), 99_999).is_err());
        assert!(kept.read(Sequence(39), 99_999).is_ok());
        let lost = camera.state.lock().unwrap().settled.len() as u64;
        assert_eq!(lost, count, "the source is told");
        assert!(spool.figures().memory_bytes <= 31_000 && spool.figures().disk_bytes <= disk);
    }
}

#[test]
fn frames_that_are_dropped_when_they_are_late_are_accounted_for_and_stay_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let spool = eager(folder.path());
    let (camera, kept) = keep(&spool, false);
    camera.give(4, 1_000);
    wait_for("four", || kept.extent().frames == 4);
    assert_eq!((camera.held(), spool.figures().memory_frames), (4, 0));
    assert_eq!(kept.read(Sequence(2), 9_999).unwrap().body[0], 2);
    kept.settled(Sequence(2), Fate::Stored);
    assert!(!kept.remembered().unwrap().keeps());
    wait_for("the journal", || !spool.hall.room().journal.has_unwritten());
    kill(spool);
    let spool = eager(folder.path());
    let recalled = recall(&keep(&spool, false).1);
    let crashed = DropReason::SenderCrashed;
    assert_eq!(dropped(&recalled.dropped), [(0, 2, crashed), (3, 4, crashed)]);
}

#[test]
fn a_damaged_frame_is_told_of_and_the_next_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let spool = eager(folder.path());
    let (camera, kept) = keep(&spool, true);
    camera.give(3, 1_000);
    wait_for("the disk", || spool.figures().disk_frames >= 3);
    spool.close();
    let run = recall(&kept).run;
    let path = |place| {
        let name = frame_file::file_name(place);
        folder.path().join("frames").join(run.to_string()).join(name)
    };
    let mut damaged = fs::read(path(1)).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(path(1), damaged).unwrap();
    fs::write(path(0), b"").unwrap();
    let spool = eager(folder.path());
    let (_, kept) = keep(&spool, true);
    for place in [0, 1] {
        let why = kept.read(Sequence(place), 9_999).unwrap_err();
        assert!(why.to_string().contains("damaged"), "{why}");
        assert_eq!(why.reason(), DropReason::Unreadable);
    }
    assert_eq!(kept.read(Sequence(2), 9_999).unwrap().body[0], 2);
}

#[test]
fn a_damaged_journal_costs_the_account_and_no_frame() {
    for damage in ["no journal", "a damaged line"] {
        let folder = tempfile::tempdir().unwrap();
        let spool = eager(folder.path());
        let (camera, kept) = keep(&spool, true);
        let run = recall(&kept).run;
        kept.remembered().unwrap().begun(Sequence(5));
        camera.give(4, 1_000);
        wait_for("four", || kept.extent().frames == 4);
        kept.settled(Sequence(1), Fate::Stored);
        spool.close();
        let journal = folder.path().join("journal");
        if damage == "no journal" {
            fs::remove_file(&journal).unwrap();
        } else {
            let mut text = fs::read(&journal).unwrap();
            text[20] ^= 1;
            fs::write(&journal, text).unwrap();
        }
        let spool = eager(folder.path());
        let (_, kept) = keep(&spool, true);
        let recalled = recall(&kept);
        assert!(recalled.run != run && recalled.origin.is_none(), "{damage}");
        assert_eq!(
            (recalled.frames, &recalled.left[..]),
            (3, std::slice::from_ref(&(0..3))),
            "{damage}"
        );
        let bodies: Vec<u8> =
            (0..3).map(|place| kept.read(Sequence(place), 9_999).unwrap().body[0]).collect();
        assert_eq!(bodies, [0, 2, 3], "{damage}");
    }
}

#[test]
fn a_torn_end_of_the_journal_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let spool = eager(folder.path());
    let (camera, kept) = keep(&spool, true);
    let run = recall(&kept).run;
    kept.remembered().unwrap().begun(Sequence(5));
    camera.give(2, 1_000);
    wait_for("two", || kept.extent().frames == 2);
    spool.close();
    let journal = folder.path().join("journal");
    let mut text = fs::read(&journal).unwrap();
    text.extend_from_slice(b"0123456789abcdef {\"settled\":{\"run\":\"");
    fs::write(&journal, text).unwrap();
    let spool = eager(folder.path());
    let recalled = recall(&keep(&spool, true).1);
    assert_eq!((recalled.run, recalled.origin), (run, Some(Sequence(5))));
}

#[test]
fn a_spool_for_another_receiver_sends_its_frames_in_a_run_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let spool = eager(folder.path());
    let (camera, kept) = keep(&spool, true);
    kept.remembered().unwrap().begun(Sequence(5));
    let run = recall(&kept).run;
    camera.give(4, 1_000);
    wait_for("four", || kept.extent().frames == 4);
    kept.settled(Sequence(0), Fate::Stored);
    spool.close();
    let limits = options(1 << 30, 1, WhenFull::Wait);
    let spool = Spool::open(folder.path(), limits, "elsewhere:4433").unwrap();
    let (_, kept) = keep(&spool, true);
    let recalled = recall(&kept);
    assert!(recalled.run != run && recalled.origin.is_none());
    assert_eq!(
        (recalled.frames, &recalled.left[..], recalled.dropped),
        (3, std::slice::from_ref(&(0..3)), vec![])
    );
    assert_eq!(kept.read(Sequence(0), 9_999).unwrap().body[0], 1);
}

/// The address was mistyped, say: the receiver that is found then is told of all that was captured.
#[test]
fn a_run_of_which_no_receiver_has_heard_goes_on_with_another() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), SpoolOptions::default(), "elsewhere:4433").unwrap();
    let (camera, kept) = keep(&spool, true);
    let run = recall(&kept).run;
    camera.give(4, 1_000);
    wait_for("four on disk", || spool.figures().disk_frames == 4);
    camera.give(3, 1_000);
    wait_for("seven", || kept.extent().frames == 7);
    wait_for("the journal", || !spool.hall.room().journal.has_unwritten());
    kill(spool);
    let spool = eager(folder.path());
    let (_, kept) = keep(&spool, true);
    let recalled = recall(&kept);
    assert_eq!((recalled.run, recalled.origin, recalled.frames), (run, None, 7));
    assert_eq!(recalled.left, std::slice::from_ref(&(0..4)));
    assert_eq!(dropped(&recalled.dropped), [(4, 7, DropReason::SenderCrashed)]);
}

#[test]
fn after_the_machine_was_started_anew_no_sequence_is_given_twice() {
    let folder = tempfile::tempdir().unwrap();
    let spool = eager(folder.path());
    let (camera, kept) = keep(&spool, true);
    camera.give(10, 100);
    wait_for("ten", || kept.extent().frames == 10);
    wait_for("a reservation", || {
        let room = spool.hall.room();
        room.journal.past(recall(&kept).run).unwrap().reserved >= 10
            && !room.journal.has_unwritten()
    });
    let slot = spool.hall.room().slot(0);
    kill(spool);
    // The power was cut: what the counts said last is not on the medium.
    let other_boot = |text: String| {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let lines = text.lines().map(|line| {
            let json = &line[17..];
            let mut out = Vec::new();
            let entry: entry::Entry = serde_json::from_str(json).unwrap();
            match entry {
                entry::Entry::Opened { receiver, boot: said } => {
                    assert_eq!(said, boot.trim());
                    lines::write(
                        &entry::Entry::Opened { boot: "other".into(), receiver },
                        &mut out,
                    );
                }
                other => lines::write(&other, &mut out),
            }
            String::from_utf8(out).unwrap()
        });
        lines.collect::<String>()
    };
    let path = folder.path().join("journal");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, other_boot(text)).unwrap();
    let run = recall(&kept).run;
    let counts = counts::Counts::open(folder.path()).unwrap();
    counts.write(slot, run, 2, UnixNanos(0)).unwrap();
    let spool = eager(folder.path());
    let recalled = recall(&keep(&spool, true).1);
    assert_eq!(recalled.run, run);
    assert!((10..200).contains(&recalled.frames), "{recalled:?}");
}

#[test]
fn a_spool_that_cannot_be_used_is_refused_and_says_what_to_do() {
    let refused = |folder: &Path| {
        let opened = Spool::open(folder, SpoolOptions::default(), RECEIVER);
        opened.err().map(|error| (error.is_usage(), error.to_string())).unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let spool = eager(folder.path());
    let (usage, why) = refused(folder.path());
    let process = format!("(process {})", std::process::id());
    assert!(usage && why.contains("in use by another sender") && why.contains(&process), "{why}");
    kill(spool);
    fs::write(folder.path().join("framelane-spool"), "spool 2\n").unwrap();
    let (usage, why) = refused(folder.path());
    assert!(usage && why.contains("is of version 2, and this framelane writes version 1"), "{why}");
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("thesis.tex"), "").unwrap();
    let (usage, why) = refused(other.path());
    assert!(usage && why.contains("thesis.tex is in it"), "{why}");
    let file = other.path().join("thesis.tex");
    let (usage, why) = refused(&file);
    assert!(!usage && why.contains("make the folder"), "{why}");
}

#[test]
fn what_a_disk_refuses_stays_in_memory_until_it_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let spool = eager(folder.path());
    let (camera, kept) = keep(&spool, true);
    // A file where the run's folder is to be.
    let run = folder.path().join("frames").join(recall(&kept).run.to_string());
    fs::write(&run, "").unwrap();
    camera.give(2, 1_000);
    wait_for("the first", || kept.extent().frames == 1);
    wait_for("a refusal", || spool.hall.room().is_resting(Instant::now()));
    assert_eq!((spool.figures().memory_frames, spool.figures().disk_frames), (1, 0));
    assert_eq!(kept.read(Sequence(0), 9_999).unwrap().body[0], 0);
    fs::remove_file(&run).unwrap();
    wait_for("the disk", || spool.figures().disk_frames >= 1);
    wait_for("the second", || kept.extent().frames == 2);
}

#[test]
fn a_frame_that_was_dropped_on_its_way_and_is_stored_was_not_dropped() {
    let spool = Spool::in_memory(options(0, 2_000, WhenFull::DropOldest)).unwrap();
    let (camera, kept) = keep(&spool, true);
    camera.give(1, 1_000);
    wait_for("the first", || kept.extent().frames == 1);
    kept.read(Sequence(0), 9_999).unwrap();
    // Each takes the place of the one before, which is on its way.
    camera.give(1, 1_000);
    wait_for("the second", || kept.extent().frames == 2);
    kept.read(Sequence(1), 9_999).unwrap();
    camera.give(1, 1_000);
    wait_for("the third", || kept.extent().frames == 3);
    assert_eq!(spool.figures().dropped, 2);
    let remembered = kept.remembered().unwrap();
    // Its receipt comes before anybody has asked what was dropped.
    kept.settled(Sequence(0), Fate::Stored);
    assert_eq!(dropped(&remembered.take_dropped()), [(1, 2, DropReason::SpoolFull)]);
    assert_eq!(spool.figures().dropped, 1);
    // And after.
    remembered.stored_after_all(1..2);
    assert_eq!(spool.figures().dropped, 0);
    assert!(remembered.take_dropped().is_empty());
}
