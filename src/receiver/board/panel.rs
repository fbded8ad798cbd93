//! What is shown of one source.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::watch;

use super::chart::{Chart, Second, Spread};
use super::drops::Declared;
use super::guest::{Guest, Sitting, Told};
use crate::frame::{
    Captured, Clock, ContentHash, DropRange, FrameName, MediaType, RunId, Sequence, SourceName,
    UnixNanos,
};
use crate::store::{Outcome, ReceivedFrame};
use crate::transport::PathWatch;

/// What a sender told that is kept, to tell what the last seconds were like: it tells once a second.
const TOLD: usize = 6;

/// A source, as it is shown.
#[derive(Debug)]
pub struct Panel {
    /// The store's place, where there is one for each sender or day.
    pub place: PathBuf,
    /// The source.
    pub source: SourceName,
    shown: Arc<AtomicBool>,
    tallies: Tallies,
    newest: watch::Sender<Option<Arc<Newest>>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct Tallies {
    stored: AtomicU64,
    bytes: AtomicU64,
    before: AtomicU64,
    repaired: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    missing: AtomicU64,
    held: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    chart: Chart,
    sitting: Vec<Sitting>,
    seats: u64,
    declared: Declared,
    /// How far this machine's clock is ahead of the last sender's.
    ahead: Option<i64>,
    last_stored: UnixNanos,
    trouble: Option<Trouble>,
}

/// The disk would not take a frame, and has taken none of the source since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// What the system said.
    pub cause: Errno,
    /// The frame's length.
    pub bytes: u64,
    /// When.
    pub at: UnixNanos,
}

/// The newest frame of a source. Its content is in the store, under its name.
#[derive(Debug, Clone)]
pub struct Newest {
    /// Place in the source.
    pub sequence: Sequence,
    /// Its name.
    pub name: FrameName,
    /// Its length.
    pub bytes: u64,
    /// Of its content, where it came with the frame.
    pub hash: Option<ContentHash>,
    /// What it is, as the sender says.
    pub media: MediaType,
    /// When the camera made it.
    pub captured: Option<Captured>,
    /// When it was due, in a replayed folder.
    pub due: Option<UnixNanos>,
    /// When its last byte had come.
    pub received: UnixNanos,
    /// When it was stored.
    pub stored: UnixNanos,
    /// The sender's run.
    pub run: Option<RunId>,
}

/// A frame that a source's thread has just dealt with.
pub(in super::super) struct StoredFrame<'a> {
    pub(in super::super) frame: &'a ReceivedFrame,
    pub(in super::super) outcome: &'a Outcome,
    pub(in super::super) repaired: bool,
}

/// What was counted since the receiver began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames stored.
    pub stored: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that came and were stored before.
    pub before: u64,
    /// Frames stored that forward repair made whole.
    pub repaired: u64,
    /// Frames refused; a sender may have sent them again.
    pub refused: u64,
    /// Frames that senders declared dropped.
    pub dropped: u64,
    /// Frames that will not come and were not declared dropped, as senders said when they ended the source.
    pub missing: u64,
    /// Frames that the source has in the store, of all times, those that have expired left out; `None` where nobody has
    /// counted them.
    pub held: Option<u64>,
}

impl Counts {
    /// Adds another's; what is in the store is left as it is.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.stored, other.stored),
            (&mut self.bytes, other.bytes),
            (&mut self.before, other.before),
            (&mut self.repaired, other.repaired),
            (&mut self.refused, other.refused),
            (&mut self.dropped, other.dropped),
            (&mut self.missing, other.missing),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// Quantiles of the newest latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantiles {
    /// How many there are.
    pub count: u64,
    /// Half of them were no longer.
    pub p50: Duration,
    /// 95 of 100 were no longer.
    pub p95: Duration,
    /// The longest.
    pub max: Duration,
}

/// A panel at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When.
    pub at: UnixNanos,
    /// What was counted.
    pub counts: Counts,
    /// Capture to stored, of the newest frames; `None` where nobody knows when they were made.
    pub latency: Option<Quantiles>,
    /// All latencies since the receiver began.
    pub spread: Spread,
    /// The last minutes.
    pub seconds: Vec<Second>,
    /// The sessions.
    pub guests: Vec<Guest>,
    /// Packets lost of those sent in the last seconds, as the senders tell, and both since their beginnings.
    pub lost: Share,
    /// Bytes of repair of all bytes sent in the last seconds, likewise.
    pub repair: Share,
    /// The newest frame.
    pub newest: Option<Arc<Newest>>,
    /// What is wrong with the disk, where it would not take the last frame.
    pub trouble: Option<Trouble>,
}

/// A part of something, lately; `of` is 0 where nobody has told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// The part.
    pub part: u64,
    /// Of how much.
    pub of: u64,
}

impl Panel {
    pub(super) fn new(place: PathBuf, source: SourceName, shown: Arc<AtomicBool>) -> Self {
        let tallies = Tallies { held: AtomicU64::new(u64::MAX), ..Tallies::default() };
        let (newest, state) = (watch::Sender::new(None), Mutex::default());
        Self { place, source, shown, tallies, newest, state }
    }

    /// The newest frame, whenever there is a newer one.
    pub fn newest(&self) -> watch::Receiver<Option<Arc<Newest>>> {
        self.newest.subscribe()
    }

    /// Looks.
    pub fn look(&self) -> Snapshot {
        let at = UnixNanos::now();
        let mut state = self.state();
        state.chart.settle(at.0 / 1_000_000_000);
        let (mut lost, mut repair) = (Share::default(), Share::default());
        for sitting in &state.sitting {
            let (Some((from, _)), Some((to, _))) =
                (sitting.earlier.front(), sitting.earlier.back())
            else {
                continue;
            };
            // The first that is told has only itself to be held against.
            let from = if sitting.earlier.len() > 1 { *from } else { Told::default() };
            lost.add(to.packets_lost, from.packets_lost, to.packets_sent, from.packets_sent);
            repair.add(to.repair_bytes, from.repair_bytes, to.bytes_sent, from.bytes_sent);
        }
        Snapshot {
            at,
            counts: self.counts(),
            latency: quantiles(&state.chart.recent()),
            spread: state.chart.spread(),
            seconds: state.chart.seconds(at.0 / 1_000_000_000),
            guests: guests(&state.sitting),
            lost,
            repair,
            newest: self.newest.borrow().clone(),
            trouble: state.trouble,
        }
    }

    /// What is wrong with the disk, where it would not take the last frame.
    pub fn trouble(&self) -> Option<Trouble> {
        self.state().trouble
    }

    /// Whether anybody has counted the source's frames in the store.
    pub fn is_counted(&self) -> bool {
        self.tallies.held.load(Ordering::Relaxed) != u64::MAX
    }

    /// Has the source's frames in the store counted anew, where they have changed by something else than storing.
    /// Where a batch is stored meanwhile, that one's count stays, and this is false.
    pub fn recount(&self, count: impl FnOnce() -> Option<u64>) -> bool {
        let before = self.tallies.held.load(Ordering::Relaxed);
        let Some(counted) = count() else { return false };
        let order = Ordering::Relaxed;
        self.tallies.held.compare_exchange(before, counted, order, order).is_ok()
    }

    pub(super) fn counts(&self) -> Counts {
        let of = |tally: &AtomicU64| tally.load(Ordering::Relaxed);
        let tallies = &self.tallies;
        Counts {
            stored: of(&tallies.stored),
            bytes: of(&tallies.bytes),
            before: of(&tallies.before),
            repaired: of(&tallies.repaired),
            refused: of(&tallies.refused),
            dropped: of(&tallies.dropped),
            missing: of(&tallies.missing),
            held: Some(of(&tallies.held)).filter(|held| *held != u64::MAX),
        }
    }

    /// Takes what came of a batch.
    pub(in super::super) fn stored<'a>(
        &self,
        frames: impl Iterator<Item = StoredFrame<'a>>,
        at: UnixNanos,
        held: Option<u64>,
    ) {
        if !self.shown.load(Ordering::Relaxed) {
            return;
        }
        let mut newest: Option<&ReceivedFrame> = None;
        let mut trouble = None;
        let (mut stored, mut bytes, mut before, mut repaired) = (0, 0, 0, 0);
        let mut state = self.state();
        for StoredFrame { frame, outcome, repaired: mended } in frames {
            match outcome {
                Outcome::Stored => {
                    stored += 1;
                    bytes += frame.frame.meta.bytes;
                    repaired += u64::from(mended);
                    let latency = state.latency(frame, at);
                    state.chart.add(at.0 / 1_000_000_000, frame.frame.meta.bytes, latency);
                    if newest.is_none_or(|newest| is_newer(&of(frame), &of(newest))) {
                        newest = Some(frame);
                    }
                }
                Outcome::AlreadyStored => before += 1,
                Outcome::Failed(error) => {
                    let of = |cause| Trouble { cause, bytes: frame.frame.meta.bytes, at };
                    trouble = error.cause().map(of).or(trouble);
                }
            }
        }
        if trouble.is_some() || stored > 0 {
            state.trouble = trouble;
        }
        state.last_stored = at;
        drop(state);
        for (tally, more) in [
            (&self.tallies.stored, stored),
            (&self.tallies.bytes, bytes),
            (&self.tallies.before, before),
            (&self.tallies.repaired, repaired),
        ] {
            tally.fetch_add(more, Ordering::Relaxed);
        }
        if let Some(held) = held {
            self.tallies.held.store(held, Ordering::Relaxed);
        }
        if let Some(frame) = newest {
            self.put_up(frame, at);
        }
    }

    fn put_up(&self, frame: &ReceivedFrame, at: UnixNanos) {
        let place = of(frame);
        self.newest.send_if_modified(|newest| {
            let known = newest.as_ref().map(|newest| Age {
                run: newest.run,
                sequence: newest.sequence,
                made: made(newest.captured, newest.due),
            });
            if known.is_some_and(|known| !is_newer(&place, &known)) {
                return false;
            }
            let meta = &frame.frame.meta;
            *newest = Some(Arc::new(Newest {
                sequence: meta.sequence,
                name: meta.name.clone(),
                bytes: meta.bytes,
                hash: meta.hash,
                media: meta.media.clone(),
                captured: meta.captured,
                due: meta.due,
                received: frame.received,
                stored: at,
                run: frame.from.run,
            }));
            true
        });
    }

    /// The last frame from before, where none has come yet.
    pub(super) fn recall(&self, frame: Newest) {
        self.newest.send_if_modified(|newest| {
            let is_news = newest.is_none();
            newest.get_or_insert_with(|| Arc::new(frame));
            is_news
        });
    }

    /// What was shown as the newest is not in the store any more, and this one is.
    pub fn replace_gone(&self, gone: &Arc<Newest>, frame: Option<Newest>) {
        self.newest.send_if_modified(|newest| {
            let is_it = newest.as_ref().is_some_and(|newest| Arc::ptr_eq(newest, gone));
            if is_it {
                *newest = frame.map(Arc::new);
            }
            is_it
        });
    }

    /// How many frames the source has in the store.
    pub(in super::super) fn holds(&self, held: Option<u64>) {
        if let Some(held) = held {
            self.tallies.held.store(held, Ordering::Relaxed);
        }
    }

    pub(in super::super) fn refused(&self) {
        self.tallies.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes what a sender declares dropped; it may say so again.
    pub(in super::super) fn dropped(&self, run: RunId, ranges: &[DropRange]) {
        let mut state = self.state();
        for range in ranges {
            let fresh = state.declared.add(run, range);
            self.tallies.dropped.fetch_add(fresh, Ordering::Relaxed);
        }
    }

    pub(super) fn sit_down(&self, guest: Guest, path: PathWatch) -> u64 {
        let mut state = self.state();
        state.seats += 1;
        let number = state.seats;
        state.sitting.push(Sitting { number, guest, path, earlier: VecDeque::new() });
        number
    }

    pub(super) fn leave(&self, number: u64) {
        self.state().sitting.retain(|sitting| sitting.number != number);
    }

    pub(super) fn told(&self, number: u64, told: Told) {
        let mut state = self.state();
        if let Some(ahead) = told.clock_ahead {
            // What was measured by two clocks taken for one says nothing, where they are far apart.
            if state.ahead.unwrap_or(0).abs_diff(ahead) > 5_000_000 {
                state.chart.forget_latency();
            } else {
                state.chart.trust_latency();
            }
            state.ahead = Some(ahead);
        }
        let Some(sitting) = state.sitting.iter_mut().find(|sitting| sitting.number == number)
        else {
            return;
        };
        if sitting.earlier.len() == TOLD {
            sitting.earlier.pop_front();
        }
        sitting.earlier.push_back((told, UnixNanos::now()));
    }

    pub(super) fn ended(&self, number: u64, missing: u64) {
        self.tallies.missing.store(missing, Ordering::Relaxed);
        let mut state = self.state();
        let sitting = state.sitting.iter_mut().find(|sitting| sitting.number == number);
        sitting.into_iter().for_each(|sitting| sitting.guest.ended = true);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state().sitting.is_empty()
    }

    pub(super) fn last_stored(&self) -> UnixNanos {
        self.state().last_stored
    }

    pub(super) fn spread(&self) -> Spread {
        let mut state = self.state();
        state.chart.settle(UnixNanos::now().0 / 1_000_000_000);
        state.chart.spread()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is shown is true at every moment, so another thread's panic does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// From when the frame was made, or due, until it was stored, in microseconds.
    fn latency(&self, frame: &ReceivedFrame, at: UnixNanos) -> Option<u64> {
        let meta = &frame.frame.meta;
        let made = made(meta.captured, meta.due)?;
        let nanos = at.nanos_since(made) - i128::from(self.ahead.unwrap_or(0));
        // No frame is stored before it was made: that is the clocks' error.
        Some(u64::try_from(nanos.max(0) / 1_000).unwrap_or(u64::MAX))
    }
}

impl Share {
    fn add(&mut self, part: u64, part_before: u64, of: u64, of_before: u64) {
        self.part = self.part.saturating_add(part.saturating_sub(part_before));
        self.of = self.of.saturating_add(of.saturating_sub(of_before));
    }
}

/// One for each session, whatever connections it has.
fn guests(sitting: &[Sitting]) -> Vec<Guest> {
    let mut all: Vec<Guest> = Vec::new();
    for next in sitting.iter().map(guest) {
        match all.iter_mut().find(|known| known.session == next.session) {
            Some(known) => known.join(next),
            None => all.push(next),
        }
    }
    all
}

fn guest(sitting: &Sitting) -> Guest {
    let told = sitting.earlier.back().copied();
    let known = |rtt: Duration| Some(rtt).filter(|rtt| !rtt.is_zero());
    let rtt = told.and_then(|(told, _)| known(told.rtt)).or_else(|| known(sitting.path.look().rtt));
    Guest { rtt, told, ..sitting.guest.clone() }
}

fn quantiles(sorted: &[u32]) -> Option<Quantiles> {
    let at = |share: usize| {
        let place = (sorted.len() * share).div_ceil(100).max(1) - 1;
        sorted.get(place).map(|us| Duration::from_micros(u64::from(*us)))
    };
    Some(Quantiles { count: sorted.len() as u64, p50: at(50)?, p95: at(95)?, max: at(100)? })
}

/// What tells which of two frames is the newer one.
struct Age {
    run: Option<RunId>,
    sequence: Sequence,
    made: Option<UnixNanos>,
}

fn of(frame: &ReceivedFrame) -> Age {
    let meta = &frame.frame.meta;
    Age { run: frame.from.run, sequence: meta.sequence, made: made(meta.captured, meta.due) }
}

/// In one run the sequence tells. Of two runs the later moment does, where both are known: what an earlier one had
/// left in a spool comes behind the fresh frames of the next.
fn is_newer(a: &Age, b: &Age) -> bool {
    match (a.made, b.made) {
        _ if a.run == b.run => a.sequence > b.sequence,
        (Some(a), Some(b)) => a >= b,
        _ => true,
    }
}

/// When a frame came about, where that was while its sender looked: the age of a file or of a picture's own record
/// says nothing of how long it was under way.
fn made(captured: Option<Captured>, due: Option<UnixNanos>) -> Option<UnixNanos> {
    let seen = |captured: &Captured| {
        matches!(captured.clock, Clock::Read | Clock::Complete | Clock::Program | Clock::Now)
    };
    due.or_else(|| captured.filter(seen).map(|captured| captured.at))
}
