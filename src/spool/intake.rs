//! The thread that takes a source's frames into its spool as they come about.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::hall::Hall;
use super::room::{At, Space};
use super::shelf::Shelf;
use crate::frame::{Sequence, UnixNanos};
use crate::source::{Bell, Fate};

/// How often it is looked whether the spool is at its end, while nothing comes.
const LOOK: Duration = Duration::from_millis(200);

/// Whether there is something to look at.
#[derive(Default)]
struct Rung {
    is: Mutex<bool>,
    news: Condvar,
}

impl Rung {
    fn ring(&self) {
        *self.is.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.news.notify_one();
    }

    fn wait(&self, time: Duration) {
        let is = self.is.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.news.wait_timeout_while(is, time, |is| !*is);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

/// Takes a source's frames from now on, in a thread of its own.
pub(super) fn start(shelf: &Arc<Shelf>) -> io::Result<()> {
    let rung = Arc::new(Rung::default());
    let rope = rung.clone();
    shelf.inner.wake_by(&Bell::calling(move || rope.ring()));
    let shelf = shelf.clone();
    let name = format!("spool {}", shelf.inner.name());
    let taking = Taking::begin(&shelf.hall);
    let work = move || {
        let _taking = taking;
        run(&shelf, &rung);
    };
    std::thread::Builder::new().name(name).spawn(work).map(drop)
}

/// One that takes frames in, for which the spool waits when it is closed.
struct Taking(Arc<Hall>);

impl Taking {
    fn begin(hall: &Arc<Hall>) -> Self {
        hall.room().intakes += 1;
        Self(hall.clone())
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.0.room().intakes -= 1;
        self.0.tell();
    }
}

fn run(shelf: &Shelf, rung: &Rung) {
    let mut taken = 0;
    loop {
        // Looked at first: what has come about before that is taken in still.
        let is_over = is_over(shelf);
        let extent = shelf.inner.extent();
        while taken < extent.frames {
            if !take(shelf, Sequence(taken)) {
                return;
            }
            taken += 1;
            shelf.ring();
        }
        if extent.ended {
            shelf.hall.room().end_source(shelf.number);
            shelf.ring();
            return;
        }
        if is_over {
            return;
        }
        rung.wait(LOOK);
    }
}

fn is_over(shelf: &Shelf) -> bool {
    let room = shelf.hall.room();
    room.closing || room.abandoned
}

/// Takes a frame, once there is room for it. False where nobody wants it any more.
fn take(shelf: &Shelf, place: Sequence) -> bool {
    let arrival = shelf.inner.arrival(place);
    let came = arrival.map_or_else(UnixNanos::now, |arrival| shelf.hall.unix(arrival));
    let at = match arrival {
        Some(_) if shelf.archive => match shelf.inner.read(place, u64::MAX) {
            Ok(content) => At::Memory(Arc::new(content)),
            Err(why) => At::Nowhere(Arc::new((shelf.inner.label(place), why))),
        },
        // What was there before stays where it is, and what is dropped when it is late is not worth a place.
        _ => At::Source,
    };
    let number = shelf.number;
    let bytes = match &at {
        At::Memory(content) => content.body.len() as u64,
        _ => 0,
    };
    let is_held = matches!(at, At::Memory(_));
    let mut room = shelf.hall.room();
    let mut dropped = Vec::new();
    if is_held {
        room.waiting += 1;
        loop {
            let now = Instant::now();
            if room.abandoned || (room.closing && room.is_stuck(bytes, now)) {
                room.waiting -= 1;
                return false;
            }
            match room.space(bytes, now) {
                Space::Free => break,
                Space::Wait => {
                    shelf.hall.tell();
                    room = shelf.hall.wait(room, LOOK);
                }
                Space::Full => match room.drop_oldest() {
                    Some(oldest) => dropped.push(oldest),
                    None => {
                        // Even the last of it is being written.
                        room.waiting -= 1;
                        room.drop_next(number, came);
                        drop(room);
                        shelf.inner.settled(place, Fate::Lost);
                        return true;
                    }
                },
            }
        }
        room.waiting -= 1;
    }
    if shelf.inner.comes_again() {
        let (next, _) = room.frames(number);
        room.comes_again(number, next);
    }
    room.add(number, came, at);
    let (frames, _) = room.frames(number);
    let others: Vec<_> = dropped.iter().filter_map(|&(of, place)| room.teller(of, place)).collect();
    drop(room);
    shelf.count(frames);
    if is_held {
        shelf.inner.let_go(place);
    }
    others.into_iter().for_each(|tell| tell());
    shelf.hall.tell();
    true
}
