//! A spool whose keeper is slow: what is sent meanwhile, and who waits for it.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::disk::Disk;
use super::hall::Hall;
use super::journal_file::Told;
use super::tests::{Camera, RECEIVER, options, wait_for};
use super::*;
use crate::frame::UnixNanos;
use crate::source::Bell;

/// A hall whose keeper has not begun, and a camera as it has it.
fn without_keeper(folder: &Path) -> (Arc<Hall>, Arc<Camera>, Arc<Shelf>) {
    let (disk, found) = Disk::open(folder, RECEIVER).unwrap();
    let limits = options(1 << 30, 1 << 30, WhenFull::Wait);
    let hall = Arc::new(Hall::new(limits, Some((disk, found))));
    let camera = Camera::new();
    let shelf = Arc::new(Shelf::new(hall.clone(), camera.clone(), true));
    intake::start(&shelf).unwrap();
    shelf.wake_by(&Bell::default());
    (hall, camera, shelf)
}

fn start_keeper(hall: &Arc<Hall>) -> JoinHandle<()> {
    let hall = hall.clone();
    std::thread::spawn(move || keeper::run(&hall))
}

#[test]
fn no_frame_is_sent_before_a_reserve_of_its_sequence_is_on_the_medium() {
    let folder = tempfile::tempdir().unwrap();
    let (hall, camera, shelf) = without_keeper(folder.path());
    camera.give(1_000, 10);
    wait_for("a thousand frames in the spool", || hall.room().frames(0).0 == 1_000);
    assert_eq!(shelf.extent().frames, 0, "a power cut would have forgotten these sequences");
    let keeper = start_keeper(&hall);
    wait_for("the frames", || shelf.extent().frames == 1_000);
    let said = Told::read(folder.path()).unwrap();
    let reserved = said.pasts.runs.values().map(|past| past.reserved).max();
    assert!(reserved >= Some(1_000), "{reserved:?}");
    hall.abandon();
    keeper.join().unwrap();
}

#[test]
fn the_reserve_grows_with_the_rate_of_frames_and_shrinks_again() {
    let folder = tempfile::tempdir().unwrap();
    let (hall, _camera, _shelf) = without_keeper(folder.path());
    let mut room = hall.room();
    let (begin, mut given) = (Instant::now(), 0_u64);
    let mut go = |room: &mut room::Room, seconds: u64, from: u64, rate: u64| {
        let mut raised = 0;
        for tick in from * 20..(from + seconds) * 20 {
            for _ in 0..rate / 20 {
                room.add(0, UnixNanos::now(), room::At::Source);
                given += 1;
            }
            let before = room.reserves();
            raised += u64::from(room.reserve(begin + Duration::from_millis(tick * 50)));
            let ahead = before[0] >= given;
            assert!(ahead || tick < 100, "at tick {tick} {given} frames, {before:?} reserved");
        }
        (raised, room.reserves()[0] - given)
    };
    let (raised, ahead) = go(&mut room, 60, 0, 1_200);
    assert!(raised < 25, "{raised} syncs in a minute");
    assert!(ahead >= 5 * 1_200, "{ahead} ahead");
    let (_, ahead) = go(&mut room, 36_000, 60, 20);
    // Half of it lasts between 5 and 20 s.
    assert!(ahead <= 2 * 20 * 20, "{ahead} ahead of 20 frames a second");
}

#[test]
#[cfg(target_os = "linux")]
fn nobody_waits_for_the_journal_that_is_written_anew() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let folder = tempfile::tempdir().unwrap();
    let (hall, camera, shelf) = without_keeper(folder.path());
    // A disk that takes its time: whoever opens this to write waits until another reads.
    let part = folder.path().join("journal.part");
    mknodat(CWD, &part, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let words = "x".repeat(8 << 10);
    for _ in 0..600 {
        let run = crate::frame::RunId([1; 16]);
        let captured_unix_ns = None;
        let reason = words.clone();
        let entry = entry::Entry::Dropped { run, first: 0, last: 0, reason, captured_unix_ns };
        hall.room().journal.note(entry);
    }
    let disk = hall.disk.as_ref().unwrap();
    disk.append(&hall.room().journal.take_unwritten()).unwrap();
    assert!(disk.is_long());
    let keeper = start_keeper(&hall);
    std::thread::sleep(Duration::from_millis(200));
    let (told, done) = std::sync::mpsc::channel();
    let push = std::thread::spawn(move || {
        camera.give(10, 10);
        let frames = shelf.hall.room().frames(0).0;
        told.send(frames).unwrap();
    });
    let free = done.recv_timeout(Duration::from_secs(10));
    drop(fs::OpenOptions::new().read(true).open(&part));
    assert!(free.is_ok(), "a push has waited for the journal");
    push.join().unwrap();
    hall.abandon();
    keeper.join().unwrap();
}
