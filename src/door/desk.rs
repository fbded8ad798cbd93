//! Where sources lay down frames and the program takes them.
//!
//! What lies here is bounded. A source that has no room waits, on its own thread; sources that wait are in a
//! line, so that none that is fast keeps the others out. The program takes from the sources in turn.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::received::Received;
use crate::frame::SourceName;

/// What a frame counts beside its bytes, so that frames without any are bounded as well.
const FRAME_COST: u64 = 1 << 10;

/// Frames that wait for the program.
#[derive(Debug)]
pub(super) struct Desk {
    state: Mutex<State>,
    /// Told when there is more room, or another may be the first of the line.
    room: Condvar,
    /// Told when there is a frame to take, or when there will be none.
    news: Arc<Notify>,
    most: u64,
}

#[derive(Debug, Default)]
struct State {
    lying: HashMap<u64, VecDeque<Received>>,
    /// Sources that have something lying here, the one whose turn it is first.
    turn: VecDeque<u64>,
    /// Sources that wait for room.
    line: VecDeque<u64>,
    bytes: u64,
    sources: u64,
    closed: bool,
    ended: bool,
}

/// What there is to take.
#[derive(Debug)]
pub(super) enum Taken {
    Frame(Box<Received>),
    NothingYet,
    /// Nothing will come.
    End,
}

/// How a frame is laid down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lay {
    /// Behind the source's others.
    Behind,
    /// In the place of what lies there of its source.
    InPlace,
    /// Not at all: a later one lies there already.
    Not,
}

/// One source's place at the desk.
#[derive(Debug)]
pub(super) struct Seat {
    desk: Arc<Desk>,
    number: u64,
}

fn cost(frame: &Received) -> u64 {
    frame.bytes.len() as u64 + FRAME_COST
}

impl Desk {
    /// For frames of so many bytes at once, or for one.
    pub(super) fn new(most: u64) -> Arc<Self> {
        let (state, room, news) = (Mutex::default(), Condvar::new(), Arc::default());
        Arc::new(Self { state, room, news, most })
    }

    pub(super) fn seat(self: &Arc<Self>) -> Seat {
        let mut state = self.state();
        state.sources += 1;
        Seat { desk: self.clone(), number: state.sources }
    }

    /// Takes a frame, of each source in its turn.
    pub(super) fn take(&self) -> Taken {
        let mut state = self.state();
        let Some(number) = state.turn.pop_front() else {
            if !state.ended && !state.closed {
                return Taken::NothingYet;
            }
            // Whoever else waits is to know as well.
            self.news.notify_one();
            return Taken::End;
        };
        let frames = state.lying.get_mut(&number);
        let frame = frames.and_then(VecDeque::pop_front);
        if state.lying.get(&number).is_some_and(|frames| !frames.is_empty()) {
            state.turn.push_back(number);
        } else {
            state.lying.remove(&number);
        }
        let Some(frame) = frame else { return Taken::NothingYet };
        state.bytes -= cost(&frame);
        drop(state);
        self.room.notify_all();
        Taken::Frame(Box::new(frame))
    }

    /// Of this source, or of all, only the newest frame is left lying, and nobody waits until the others are taken.
    pub(super) fn keep_newest(&self, source: Option<&SourceName>) {
        let mut state = self.state();
        let state = &mut *state;
        for frames in state.lying.values_mut() {
            let is_meant = |frame: &Received| source.is_none_or(|source| frame.source == *source);
            if !frames.front().is_some_and(is_meant) {
                continue;
            }
            let newest = frames.iter().max_by_key(|frame| frame.sequence).cloned();
            state.bytes -= frames.iter().map(cost).sum::<u64>();
            state.bytes += newest.as_ref().map_or(0, cost);
            *frames = newest.into_iter().collect();
        }
        self.room.notify_all();
    }

    /// True where there is something to take, or nothing will come.
    pub(super) fn has_news(&self) -> bool {
        let state = self.state();
        !state.turn.is_empty() || state.ended || state.closed
    }

    /// True where nothing is left to take, and nothing will come.
    pub(super) fn has_ended(&self) -> bool {
        let state = self.state();
        state.turn.is_empty() && (state.ended || state.closed)
    }

    /// Waits until there may be something to take. For one who waits; cancel safe.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// The same, for who cannot borrow it so long.
    pub(super) fn next_news(&self) -> OwnedNotified {
        self.news.clone().notified_owned()
    }

    /// Has one of those that wait for news look again.
    pub(super) fn ring(&self) {
        self.news.notify_one();
    }

    /// Nothing will be laid down any more; what lies here can still be taken.
    pub(super) fn end(&self) {
        self.state().ended = true;
        self.news.notify_one();
    }

    /// Nobody takes anything any more, and nobody waits for that.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.turn.clear();
        drop(state);
        self.room.notify_all();
        self.news.notify_one();
    }

    /// Sources that wait for room.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state().line.len()
    }

    /// Frames that lie here.
    #[cfg(test)]
    pub(super) fn lying(&self) -> usize {
        self.state().lying.values().map(VecDeque::len).sum()
    }

    /// It is true at every moment, so another thread's panic does not spoil it.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.room.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Lays a frame down as `how` says, which is asked again after each wait: the program may have changed its mind.
    /// Waits for room, unless it comes in the place of another that lies there; false where the desk is closed.
    pub(super) fn lay(&self, frame: Received, how: impl Fn() -> Lay) -> bool {
        let mut state = self.desk.state();
        let mut is_in_line = false;
        let is_open = loop {
            let how = how();
            if state.closed || how == Lay::Not {
                break !state.closed;
            }
            if state.fits(self.number, cost(&frame), how, self.desk.most) {
                state.put(self.number, frame, how);
                self.desk.news.notify_one();
                break true;
            }
            if !is_in_line {
                state.line.push_back(self.number);
                is_in_line = true;
            }
            state = self.desk.wait(state);
        };
        if is_in_line {
            state.line.retain(|number| *number != self.number);
        }
        drop(state);
        self.desk.room.notify_all();
        is_open
    }

    /// Waits until all that the source has laid down is taken, or `is_enough`, and says how many frames are not, where
    /// the desk was closed before.
    pub(super) fn wait_until_taken(&self, is_enough: impl Fn() -> bool) -> usize {
        let mut state = self.desk.state();
        loop {
            let left = state.lying.get(&self.number).map_or(0, VecDeque::len);
            if left == 0 || state.closed {
                state.bytes -= state.cost_of(self.number);
                state.lying.remove(&self.number);
                return left;
            }
            if is_enough() {
                return 0;
            }
            state = self.desk.wait(state);
        }
    }
}

impl State {
    fn cost_of(&self, number: u64) -> u64 {
        self.lying.get(&number).into_iter().flatten().map(cost).sum()
    }

    /// What replaces another of its source waits for nobody in the line: no room is taken from them, but for what
    /// it is longer, for which a quarter is kept: pictures of a camera are never of one length.
    fn fits(&self, number: u64, cost: u64, how: Lay, most: u64) -> bool {
        let own = if how == Lay::InPlace { self.cost_of(number) } else { 0 };
        let others = self.bytes - own;
        if own > 0 {
            return others == 0 || others + cost <= most.saturating_add(most / 4);
        }
        let is_first = self.line.front().is_none_or(|first| *first == number);
        is_first && (others == 0 || others + cost <= most)
    }

    fn put(&mut self, number: u64, frame: Received, how: Lay) {
        if how == Lay::InPlace {
            self.bytes -= self.cost_of(number);
            self.lying.remove(&number);
        }
        self.bytes += cost(&frame);
        self.lying.entry(number).or_default().push_back(frame);
        if !self.turn.contains(&number) {
            self.turn.push_back(number);
        }
    }
}
