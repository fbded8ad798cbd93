//! Frames that come about while a run lasts, kept until it is known what became of them.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use super::{Bell, Content, Count, Description, Extent, SourceError};
use crate::frame::{ContentHash, Sequence};

/// Bytes that a list holds beside one frame where they are taken as they come about.
const IN_HAND: u64 = 1 << 20;
/// What a frame takes beside its bytes.
const BESIDE: u64 = 512;

/// A list that grows at one end and is let go of at the other. Clones are the same list.
#[derive(Clone)]
pub(super) struct Growing(Arc<Shared>);

struct Shared {
    list: Mutex<List>,
    /// Rung when there is room again, or nobody wants more.
    room: Condvar,
    /// Bytes that are held in memory before whoever adds a frame has to wait; `None`: nobody waits.
    most: Option<u64>,
    /// Frames are taken as they come about, and let go of.
    is_drained: AtomicBool,
}

#[derive(Default)]
struct List {
    /// Frames from `first` on; those that are settled are gone.
    frames: VecDeque<Option<Entry>>,
    first: u64,
    held: u64,
    bell: Option<Bell>,
    count: Option<Count>,
    ended: bool,
    failure: Option<String>,
    /// Nobody asks any more.
    is_closed: bool,
}

/// A frame that has come about.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// What to call it in a report, where it has no description.
    pub(super) label: String,
    /// When it came about; `None` for what was there before the source began.
    pub(super) arrival: Option<Instant>,
    pub(super) body: Body,
}

/// Where a frame's bytes are.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// In memory.
    Held(Content),
    /// In a file, which still has to have this hash.
    File(PathBuf, Description, ContentHash),
    /// Nowhere: something was captured that is no frame, and why.
    None(SourceError),
}

impl fmt::Debug for Growing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Growing").field("extent", &self.extent()).finish_non_exhaustive()
    }
}

impl Growing {
    /// An empty list that holds about `most` bytes in memory, or as many as there are.
    pub(super) fn new(most: Option<u64>) -> Self {
        let (list, room, is_drained) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        Self(Arc::new(Shared { list, room, most, is_drained }))
    }

    /// From now on somebody takes frames as they come about, and lets go of them: few need to be held here.
    pub(super) fn drain(&self) {
        self.0.is_drained.store(true, Ordering::Relaxed);
    }

    /// Of so many bytes, as many as are worth holding here.
    pub(super) fn within(&self, most: u64) -> u64 {
        if self.0.is_drained.load(Ordering::Relaxed) { most.min(IN_HAND) } else { most }
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // A list is whole between any two of its statements.
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a frame, once there is room for it. False where nobody wants it any more.
    pub(super) fn push(&self, entry: Entry) -> bool {
        let mut list = self.list();
        let is_full = |held| self.0.most.is_some_and(|most| held >= self.within(most));
        while is_full(list.held) && !list.is_closed {
            list = self.0.room.wait(list).unwrap_or_else(PoisonError::into_inner);
        }
        if list.is_closed {
            return false;
        }
        list.held += entry.held();
        list.frames.push_back(Some(entry));
        list.tell_count();
        list.ring();
        true
    }

    /// Bytes that are held in memory.
    pub(super) fn held(&self) -> u64 {
        self.list().held
    }

    /// Frames that are not settled, or behind one that is not.
    pub(super) fn waiting(&self) -> usize {
        self.list().frames.len()
    }

    /// No more will come, and why, if that was not meant to be.
    pub(super) fn end(&self, failure: Option<String>) {
        let mut list = self.list();
        (list.ended, list.failure) = (true, failure);
        list.ring();
    }

    /// Nobody wants more of it.
    pub(super) fn close(&self) {
        self.list().is_closed = true;
        self.0.room.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.list().is_closed
    }

    pub(super) fn wake_by(&self, bell: &Bell) {
        self.list().bell = Some(bell.clone());
    }

    /// Tells of those that are there, and of each from now on.
    pub(super) fn count_by(&self, count: &Count) {
        let mut list = self.list();
        list.count = Some(count.clone());
        list.tell_count();
    }

    pub(super) fn extent(&self) -> Extent {
        let list = self.list();
        Extent { frames: list.len(), ended: list.ended }
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.list().failure.clone()
    }

    /// The frame at a place, if it is there and not settled.
    pub(super) fn entry(&self, place: Sequence) -> Option<Entry> {
        self.list().at(place).and_then(|entry| entry.clone())
    }

    /// Lets go of a frame.
    pub(super) fn settle(&self, place: Sequence) {
        let mut list = self.list();
        let gone = list.at(place).and_then(Option::take);
        list.held -= gone.map_or(0, |entry| entry.held());
        while let Some(None) = list.frames.front() {
            list.frames.pop_front();
            list.first += 1;
        }
        drop(list);
        self.0.room.notify_all();
    }
}

impl List {
    fn at(&mut self, place: Sequence) -> Option<&mut Option<Entry>> {
        let index = place.0.checked_sub(self.first)?;
        self.frames.get_mut(usize::try_from(index).ok()?)
    }

    fn len(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    fn tell_count(&self) {
        if let Some(count) = &self.count {
            count.frames(self.len());
        }
    }

    fn ring(&self) {
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }
}

impl Entry {
    fn held(&self) -> u64 {
        match &self.body {
            Body::Held(content) => content.body.len() as u64 + BESIDE,
            Body::File(..) | Body::None(_) => BESIDE,
        }
    }

    pub(super) fn describe(&self) -> Result<Description, SourceError> {
        match &self.body {
            Body::Held(content) => Ok(content.description.clone()),
            Body::File(_, description, _) => Ok(description.clone()),
            Body::None(why) => Err(why.clone()),
        }
    }

    pub(super) fn hash(&self) -> Result<(Description, ContentHash), SourceError> {
        match &self.body {
            Body::Held(content) => Ok((content.description.clone(), content.hash)),
            Body::File(_, description, hash) => Ok((description.clone(), *hash)),
            Body::None(why) => Err(why.clone()),
        }
    }
}

/// A frame's content in memory.
pub(super) fn content(description: Description, body: Bytes) -> Content {
    Content { description, hash: blake3::hash(&body), body }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameName;

    fn entry(bytes: usize) -> Entry {
        let name = FrameName::parse("0.jpg").unwrap();
        let description = Description { name, bytes: bytes as u64, modified: None, captured: None };
        let body = Body::Held(content(description, vec![7; bytes].into()));
        Entry { label: String::new(), arrival: Some(Instant::now()), body }
    }

    #[test]
    fn settled_frames_are_let_go_in_any_order() {
        let list = Growing::new(Some(3 * (10 + BESIDE)));
        for _ in 0..3 {
            assert!(list.push(entry(10)));
        }
        assert_eq!(list.extent(), Extent::growing(3));
        list.settle(Sequence(1));
        list.settle(Sequence(1));
        assert!(list.entry(Sequence(1)).is_none() && list.entry(Sequence(0)).is_some());
        list.settle(Sequence(0));
        list.settle(Sequence(7));
        assert_eq!(list.held(), 10 + BESIDE);
        assert_eq!(list.list().frames.len(), 1);
        list.end(None);
        assert_eq!(list.extent(), Extent::fixed(3));
        assert!(list.entry(Sequence(2)).is_some());
    }

    #[test]
    fn few_are_held_where_somebody_takes_them_as_they_come() {
        let list = Growing::new(Some(64 << 20));
        list.drain();
        assert!(list.push(entry(600 << 10)) && list.push(entry(600 << 10)));
        let adding = std::thread::spawn({
            let list = list.clone();
            move || list.push(entry(10))
        });
        list.settle(Sequence(0));
        assert!(adding.join().unwrap());
        assert_eq!(list.extent(), Extent::growing(3));
        // Who has a file of it need not hold it at all.
        assert_eq!(list.within(64 << 20), IN_HAND);
        assert_eq!(Growing::new(None).within(64 << 20), 64 << 20);
    }

    #[test]
    fn who_adds_waits_for_room_and_is_let_go_at_the_end() {
        let list = Growing::new(Some(100 + BESIDE));
        assert!(list.push(entry(150)));
        assert_eq!(list.held(), 150 + BESIDE);
        let adding = list.clone();
        let waiting = std::thread::spawn(move || {
            (adding.push(entry(1)), adding.push(entry(200)), adding.push(entry(1)))
        });
        list.settle(Sequence(0));
        while list.extent().frames < 3 {
            std::thread::yield_now();
        }
        list.close();
        assert_eq!(waiting.join().unwrap(), (true, true, false));
    }
}
