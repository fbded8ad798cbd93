//! Frames of many days that come in turn.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::TempDir;

use super::tests::{frame, source};
use super::*;
use crate::frame::{Captured, Clock, UnixNanos};
use crate::manifest::{FILE_NAME, INDEX_NAME};

const DAY: u64 = 24 * 3_600_000_000_000;
/// 2026-11-29, noon.
const NOON: u64 = 20_786 * DAY + DAY / 2;
const DAYS: u64 = 6;

/// A frame of a replay: one of each day, and then the next of each.
fn at(sequence: u64) -> ReceivedFrame {
    let name = format!("{sequence}.jpg");
    let mut frame = frame(sequence, &name, name.as_bytes());
    let at = UnixNanos(NOON + sequence % DAYS * DAY);
    frame.frame.meta.captured = Some(Captured { at, clock: Clock::Read, uncertainty: None });
    frame
}

fn open(out: &Path) -> FolderSource {
    let options = StoreOptions { layout: Layout::Day, ..StoreOptions::default() };
    FolderStore::open(out, options).unwrap().source(&source(), &Opener::default()).unwrap()
}

/// How often an index was made, by what is at its place.
#[derive(Default)]
struct Indexes {
    last: HashMap<u64, (u64, i64, i64)>,
    made: usize,
}

impl Indexes {
    fn look(&mut self, out: &Path) {
        for day in 0..DAYS {
            let day_folder = crate::manifest::Day::of(UnixNanos(NOON + day * DAY)).to_string();
            let Ok(found) = fs::metadata(out.join("visible").join(day_folder).join(INDEX_NAME))
            else {
                continue;
            };
            let is = (found.ino(), found.ctime(), found.ctime_nsec());
            self.made += usize::from(self.last.insert(day, is) != Some(is));
        }
    }
}

#[test]
fn their_indexes_are_not_made_anew_with_each_frame() {
    const FRAMES: u64 = 600;
    let out = TempDir::new().unwrap();
    let mut store = open(out.path());
    let mut indexes = Indexes::default();
    for sequence in 0..FRAMES {
        assert_eq!(store.store_batch(&[at(sequence)]), [Outcome::Stored]);
        indexes.look(out.path());
    }
    assert!(indexes.made <= 2 * DAYS as usize, "made {} times", indexes.made);
    assert_eq!(store.frames(), FRAMES);
    // All are known, those too that are in no index yet, and by the next receiver as well.
    let all: Vec<_> = (0..FRAMES).map(at).collect();
    let known = |store: &mut FolderSource| {
        for received in all.iter().chain([&at(FRAMES)]) {
            let found = store.lookup(&received.frame.meta.name).unwrap();
            assert_eq!(found.is_some(), received.frame.meta.sequence.0 < FRAMES);
        }
        assert_eq!(store.store_batch(&all), vec![Outcome::AlreadyStored; all.len()]);
    };
    known(&mut store);
    drop(store);
    known(&mut open(out.path()));
    let lines = |day: u64| {
        let day = crate::manifest::Day::of(UnixNanos(NOON + day * DAY)).to_string();
        let text = fs::read_to_string(out.path().join("visible").join(day).join(FILE_NAME));
        text.unwrap().lines().count() as u64
    };
    assert!((0..DAYS).all(|day| lines(day) == FRAMES / DAYS));
}

#[test]
fn an_index_is_brought_up_to_date_when_many_lines_have_come() {
    let out = TempDir::new().unwrap();
    let mut store = open(out.path());
    let mut indexes = Indexes::default();
    for batch in 0..12 {
        let frames: Vec<_> = (batch * 300..(batch + 1) * 300).map(at).collect();
        let of_day = |day| frames.iter().filter(move |it| it.frame.meta.sequence.0 % DAYS == day);
        for day in 0..DAYS {
            let some: Vec<_> = of_day(day).cloned().collect();
            assert_eq!(store.store_batch(&some), vec![Outcome::Stored; 50]);
        }
        indexes.look(out.path());
    }
    // 600 lines a day, 50 at once: when it is first closed, and then about every 256.
    let made = indexes.made;
    assert!((2 * DAYS as usize..=4 * DAYS as usize).contains(&made), "made {made} times");
}
