//! Removes the oldest days of a store, by what is to be kept: on a thread of its own, with little of its time, and never
//! in the way of storing.
//!
//! A day is declared to have expired in its source's ledger, which is on the medium before the first file goes. So
//! whatever a crash leaves is known: the day's files are removed on by the next receiver. Its lines stay, so that a
//! frame that is offered again is known, until the records of such days take too much; then those go as well, and the
//! ledger has the sequences.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::doubt::{self, Doubt};
use super::error::StoreError;
use super::keep::Keep;
use super::options::StoreOptions;
use super::removal::{Pace, Removal};
use super::room::Room;
use super::root::Root;
use super::said::Said;
use super::seat::{DayStock, Seat};
use super::seats::{KeptOpen, Seats};
use crate::frame::{ByteSize, Share, SourceName, UnixNanos};
use crate::manifest::{Day, Record};

/// How often it is looked whether anything has to go.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked, while a day is removed, whether that goes fast enough.
const JUDGE_EVERY: Duration = Duration::from_millis(500);
/// A removal works for so long and then pauses, so that it has less than a third of one processor and of the disk.
const WORK: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(60);
/// The same while more has to go than is being removed: a disk that fills up is in the way of storing most of all.
const HARD_WORK: Duration = Duration::from_millis(60);
const SHORT_PAUSE: Duration = Duration::from_millis(5);
/// By so many threads, then.
const HARD_HANDS: usize = 4;
/// Over its limit by more than this part of it, and than so many bytes, a store is slowed down to the pace of removing.
const MARGIN_PART: u64 = 20;
const MARGIN_BYTES: u64 = 1 << 20;
/// When storing was not slowed for so long, that it is said again.
const SLOWED_FOR: Duration = Duration::from_secs(600);
/// A day in which a frame was stored so short a time ago is being written.
const QUIET: u64 = 5 * 1_000_000_000;
/// Where nothing more may go, and too much is there for so long, that is said.
const SHORT_FOR: u64 = 60 * 1_000_000_000;
/// Records of days that have expired may take so much, or such a part of what is stored, before the oldest go.
const RECORD_BYTES: u64 = 256 << 20;
const RECORD_PART: u64 = 20;
/// A line of a manifest takes about so much.
const LINE_BYTES: u64 = 400;
/// What is said where nothing is removed though it should be.
const TROUBLE: &str = "old frames cannot be removed";

/// Keeps a store within its limits until it is dropped.
#[derive(Debug)]
pub(super) struct Janitor {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Janitor {
    pub(super) fn start(seats: &Arc<Seats>, options: StoreOptions) -> Option<Self> {
        if !options.keep.removes() {
            return None;
        }
        let (stop, stopped) = channel();
        let doubt = Doubt::at_start(Instant::now(), (options.clock)());
        let mut work = Work::new(seats, options, stopped, doubt);
        let spawned = std::thread::Builder::new().name("keep".to_owned()).spawn(move || work.run());
        let thread = spawned.inspect_err(|error| {
            tracing::error!("nothing will be removed: cannot start a thread for that: {error}");
        });
        Some(Self { stop: Some(stop), thread: thread.ok() })
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    seats: Weak<Seats>,
    options: StoreOptions,
    stopped: Receiver<()>,
    doubt: Doubt,
    /// What was said of it.
    doubted: Said,
    removal: Option<(KeptOpen, Removal)>,
    /// More has to go than is being removed.
    is_behind: bool,
    /// When that was found, and by how much the store was over its limit then.
    judged: (Instant, u64),
    said: Said,
    /// Sources at which something has failed: the others go first, and then they are tried again.
    left_out: HashSet<SourceName>,
    /// What was said of them.
    troubles: BTreeMap<SourceName, Said>,
    /// That there is nothing to be removed though there should be.
    short: Said,
    /// Since when that is so.
    short_since: Option<UnixNanos>,
    /// That storing is slowed, and when it last was.
    slowed: Said,
    slowed_at: Option<Instant>,
}

/// What all sources have, by days.
type Stock = HashMap<SourceName, Vec<DayStock>>;
/// A day of a source.
type Stocked<'a> = (&'a SourceName, &'a DayStock);

impl Work {
    fn new(seats: &Arc<Seats>, options: StoreOptions, stopped: Receiver<()>, doubt: Doubt) -> Self {
        let (said, short) = (Said::default(), Said::default());
        let seats = Arc::downgrade(seats);
        let judged = (Instant::now(), 0);
        Self {
            seats,
            options,
            stopped,
            doubt,
            doubted: Said::default(),
            removal: None,
            is_behind: false,
            judged,
            said,
            left_out: HashSet::new(),
            troubles: BTreeMap::new(),
            short,
            short_since: None,
            slowed: Said::default(),
            slowed_at: None,
        }
    }

    fn run(&mut self) {
        loop {
            let pause = match self.go_on() {
                Ok(true) if self.is_behind => SHORT_PAUSE,
                Ok(true) => PAUSE,
                Ok(false) => LOOK_EVERY,
                Err(error) => {
                    self.said.trouble(&TROUBLE, &error);
                    self.release();
                    LOOK_EVERY
                }
            };
            match self.stopped.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.release();
    }

    /// Does something; whether there is more to do. What fails at one source is said, and keeps nothing of the others.
    fn go_on(&mut self) -> Result<bool, StoreError> {
        let Some(seats) = self.seats.upgrade() else { return Ok(false) };
        if let Some((open, removal)) = self.removal.take() {
            let source = open.source.clone();
            let removed = self.remove(&seats, open, removal);
            self.of_source(&source, removed);
            return Ok(true);
        }
        let stock = self.look(&seats)?;
        let now = (self.options.clock)();
        self.doubt.look(Instant::now(), now, all(&stock).map(|(_, day)| day));
        self.say_doubt(&stock, now);
        let is_in_turn = |(source, _): &Stocked<'_>| !self.left_out.contains(*source);
        let unfinished = all(&stock)
            .filter(is_in_turn)
            .filter(|(_, day)| day.pending.is_some_and(|at| doubt::may_go_on(at, now)))
            .min_by_key(|(_, day)| day.day)
            .map(|(source, day)| (source, day.day));
        let oldest = || self.victim(&stock, seats.root(), now);
        if let Some((source, day)) = unfinished.or_else(oldest) {
            let begun = self.begin(&seats, source, day);
            self.of_source(source, begun);
            return Ok(true);
        }
        // What cannot go is not waited for.
        let over = Excess::of(&self.options.keep, held(&stock), seats.root());
        self.slow_down(&seats, &over, false);
        self.say_short(&stock, seats.root());
        if let Some((source, day)) = too_many_records(&stock, &self.left_out) {
            let folded = with_seat(&seats, source, self.options, |seat| seat.fold(day));
            self.of_source(source, folded);
            return Ok(true);
        }
        self.said.over(&TROUBLE);
        let left_out = std::mem::take(&mut self.left_out);
        self.troubles.retain(|source, said| {
            let goes_on = left_out.contains(source);
            if !goes_on {
                said.over(&of(source));
            }
            goes_on
        });
        Ok(false)
    }

    /// Takes what came of something at a source; leaves it out for this time where that failed.
    fn of_source<T>(&mut self, source: &SourceName, done: Result<T, StoreError>) {
        if let Err(error) = done {
            self.troubles.entry(source.clone()).or_default().trouble(&of(source), &error);
            self.left_out.insert(source.clone());
        }
    }

    /// What all sources have, but for those that do not open.
    fn look(&mut self, seats: &Arc<Seats>) -> Result<Stock, StoreError> {
        look_at_open(seats);
        let sources = seats.root().sources()?;
        let known = seats.stock();
        for name in sources.iter().filter(|name| !known.contains_key(name)) {
            if !self.left_out.contains(name) {
                // Opening it is what finds out; one that does not open is tried again.
                let opened = with_seat(seats, name, self.options, |_| Ok(()));
                self.of_source(name, opened);
            }
        }
        known.keys().filter(|name| !sources.contains(name)).for_each(|name| seats.forget(name));
        Ok(seats.stock())
    }

    /// Declares a day to have expired, where it is not already.
    fn begin(
        &mut self,
        seats: &Arc<Seats>,
        source: &SourceName,
        day: Day,
    ) -> Result<(), StoreError> {
        let open = KeptOpen::of(seats, source);
        let removal = with_seat(seats, source, self.options, |seat| seat.expire(day))?;
        tracing::debug!("{source}: {day} is to be removed");
        self.removal = Some((open, removal));
        Ok(())
    }

    fn remove(
        &mut self,
        seats: &Arc<Seats>,
        open: KeptOpen,
        mut removal: Removal,
    ) -> Result<(), StoreError> {
        let (source, options) = (&open.source, self.options);
        let path = seats.root().path().join(source.as_str());
        let failed = |cause| StoreError::Io { doing: "remove old frames from", path, cause };
        // What cannot be asked for is not the file's fault: the day is not done, and is gone on with later.
        let mut unasked = None;
        let mut is_last = |record: &Record| {
            let asked = with_seat(seats, source, options, |seat| seat.is_last(record));
            asked.map_err(|error| {
                unasked = Some(error);
                Errno::IO
            })
        };
        let folder = seats.root().folder()?.folder(source.as_str());
        let (time, hands) = if self.is_behind { (HARD_WORK, HARD_HANDS) } else { (WORK, 1) };
        let pace = Pace { until: Instant::now() + time, hands };
        let had = removal.bytes;
        let done = folder.and_then(|folder| removal.go_on(&folder, pace, &mut is_last));
        seats.brake().removed(removal.bytes - had);
        self.judge(seats, &removal);
        if let Some(error) = unasked {
            return Err(error);
        }
        if !done.map_err(failed)? {
            self.removal = Some((open, removal));
            return Ok(());
        }
        with_seat(seats, source, options, |seat| seat.expired(&removal))?;
        let Removal { day, frames, bytes, left, .. } = removal;
        let left = match left {
            0 => String::new(),
            left => format!("; {left} files are not as they were stored, and stay"),
        };
        tracing::info!(
            "{source}: {day} has expired: {frames} frames, {} removed{left}",
            ByteSize(bytes)
        );
        Ok(())
    }

    /// Finds out whether more has to go than is being removed: another day has to, or the store grows meanwhile.
    fn judge(&mut self, seats: &Arc<Seats>, removal: &Removal) {
        let (at, over_then) = self.judged;
        if at.elapsed() < JUDGE_EVERY {
            return;
        }
        look_at_open(seats);
        let (stock, keep) = (seats.stock(), &self.options.keep);
        let there = held(&stock).saturating_add(removal.rest());
        let over = there.saturating_sub(keep.bytes.map_or(0, |limit| limit.0));
        let is_over = is_full(keep, over > 0, seats.root());
        let now = (self.options.clock)();
        self.is_behind =
            self.victim(&stock, seats.root(), now).is_some() || is_over && over > over_then;
        self.judged = (Instant::now(), over);
        let excess = Excess::of(keep, there, seats.root());
        let was_slowed = seats.brake().keeping().is_slowed;
        self.slow_down(seats, &excess, excess.is_much(was_slowed));
    }

    /// Slows storing down, or does not any more. The first is said once.
    fn slow_down(&mut self, seats: &Seats, excess: &Excess, is_slowed: bool) {
        const WHAT: &str = "frames come faster than old ones can be removed";
        seats.brake().set(excess.over, is_slowed);
        if is_slowed {
            // It keeps up with all that it has.
            self.is_behind = true;
            self.slowed_at = Some(Instant::now());
            let over = ByteSize(excess.over);
            let why = format!(
                "{over} over what is to be kept; storing is slowed down to the pace of removing"
            );
            self.slowed.trouble_once(&WHAT, &why);
        } else if self.slowed_at.is_some_and(|at| at.elapsed() >= SLOWED_FOR) {
            self.slowed_at = None;
            self.slowed.over(&WHAT);
        }
    }

    /// Lets go of storing.
    fn release(&self) {
        if let Some(seats) = self.seats.upgrade() {
            seats.brake().set(0, false);
        }
    }

    /// The oldest day that may go, if one has to, of a source that is not left out.
    fn victim<'a>(
        &self,
        stock: &'a Stock,
        root: &Root,
        now: UnixNanos,
    ) -> Option<(&'a SourceName, Day)> {
        let keep = &self.options.keep;
        let may_go = |(source, day): &Stocked<'_>| {
            let quiet = day.last_stored.0.saturating_add(QUIET);
            // By the clock of now, and where that was set back since, by what its source has stored since.
            let last = stock.get(*source).into_iter().flatten().map(|day| day.last_stored.0).max();
            let is_written = quiet >= now.0 && last.is_none_or(|last| last < quiet);
            let is_in_turn = !self.left_out.contains(*source);
            day.frames > 0 && age(day) < Day::of(now) && !is_written && is_in_turn
        };
        let is_over = keep.bytes.is_some_and(|limit| held(stock) > limit.0);
        if is_full(keep, is_over, root) {
            let oldest = all(stock).filter(may_go).min_by_key(|(source, day)| (age(day), *source));
            return oldest.map(|(source, day)| (source, day.day));
        }
        if !self.doubt.is_over() {
            return None;
        }
        let old = all(stock).filter(may_go).filter(|(_, day)| is_old(keep, day, now));
        old.min_by_key(|(source, day)| (age(day), *source)).map(|(source, day)| (source, day.day))
    }

    /// Says once that nothing is removed by its age, where something would be.
    fn say_doubt(&mut self, stock: &Stock, now: UnixNanos) {
        const WHAT: &str = "old frames are not removed";
        let keep = &self.options.keep;
        let is_to_come = |day: &DayStock| day.pending.is_some_and(|at| !doubt::may_go_on(at, now));
        if all(stock).any(|(_, day)| is_to_come(day)) {
            let why = "a day was declared to have expired at a time that is still to come; was the clock wrong? Its frames stay until then";
            self.doubted.trouble_once(&WHAT, &why);
        } else if !self.doubt.is_over() && all(stock).any(|(_, day)| is_old(keep, day, now)) {
            let why = "the clock has gone on by more than a day since a frame was stored; is it right? They are in 24 h, or when a frame of today by its sender's clock is stored";
            self.doubted.trouble_once(&WHAT, &why);
        } else {
            self.doubted.over(&WHAT);
        }
    }

    /// Says once that more is to be removed than may be, where that is not over as soon as a day is not written any
    /// more.
    fn say_short(&mut self, stock: &Stock, root: &Root) {
        const WHAT: &str = "the store takes more than is to be kept";
        let Keep { bytes, free, .. } = self.options.keep;
        let held = held(stock);
        let is_over = bytes.is_some_and(|limit| held > limit.0);
        if !is_full(&self.options.keep, is_over, root) {
            self.short_since = None;
            self.short.over(&WHAT);
            return;
        }
        let now = (self.options.clock)();
        if self.short_since.get_or_insert(now).0.saturating_add(SHORT_FOR) > now.0 {
            return;
        }
        if let Some(limit) = bytes.filter(|limit| held > limit.0) {
            let over = ByteSize(held - limit.0);
            let why = format!(
                "{over} over {limit}; the frames of today, and of days that are being written, are never removed"
            );
            self.short.trouble_once(&WHAT, &why);
        } else if free.is_some() {
            let why = "less of the disk is free than is to be, and nothing of the store is old enough to be removed: the frames of today, and of days that are being written, never are";
            self.short.trouble_once(&WHAT, &why);
        }
    }
}

/// By how much a store is over what is to be kept, and how much that may be before storing is slowed.
struct Excess {
    over: u64,
    /// The part of the margin that it comes to.
    margins: f64,
}

impl Excess {
    /// Where its frames take so much.
    fn of(keep: &Keep, there: u64, root: &Root) -> Self {
        let by_bytes = keep.bytes.map(|limit| (there.saturating_sub(limit.0), limit.0));
        let by_room = keep.free.zip(Room::at(root.path()).ok()).map(|(part, room)| {
            let wanted = (room.total.0 as f64 * part.fraction()) as u64;
            (wanted.saturating_sub(room.free.0), wanted)
        });
        let mut excess = Self { over: 0, margins: 0.0 };
        for (over, limit) in by_bytes.into_iter().chain(by_room) {
            let margin = (limit / MARGIN_PART).max(MARGIN_BYTES);
            excess.over = excess.over.max(over);
            excess.margins = excess.margins.max(over as f64 / margin as f64);
        }
        excess
    }

    /// Whether it is so much that storing has to be slowed; for longer than it is, where it was.
    fn is_much(&self, was_slowed: bool) -> bool {
        self.margins > if was_slowed { 0.5 } else { 1.0 }
    }
}

/// Does something with a source, which is opened for that where it is not open, and closed again.
fn with_seat<T>(
    seats: &Arc<Seats>,
    source: &SourceName,
    options: StoreOptions,
    act: impl FnOnce(&mut Seat) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let slot = seats.slot(source);
    let mut seat = slot.seat();
    if seat.is_none() {
        *seat = Some(Seat::open(seats.root().clone(), source, options)?);
    }
    let Some(open) = &mut *seat else {
        return Err(StoreError::NotAFolder { path: seats.root().path().to_owned() });
    };
    let done = act(open);
    seats.note(source, open.stock());
    if !slot.is_needed() {
        *seat = None;
    }
    done
}

/// Notes what the sources that are open have.
fn look_at_open(seats: &Seats) {
    for (name, slot) in seats.open() {
        if let Some(seat) = &*slot.seat() {
            seats.note(&name, seat.stock());
        }
    }
}

fn all(stock: &Stock) -> impl Iterator<Item = Stocked<'_>> {
    stock.iter().flat_map(|(source, days)| days.iter().map(move |day| (source, day)))
}

/// The bytes of all frames that have not expired.
fn held(stock: &Stock) -> u64 {
    all(stock).map(|(_, day)| day.bytes).fold(0, u64::saturating_add)
}

/// The same of one source.
fn of(source: &SourceName) -> String {
    format!("source {source}: {TROUBLE}")
}

/// The day by which a day is old: its own, or that on which its last frame was stored, where that is earlier. A camera whose
/// clock is years ahead would have its frames stay for years, and those of all others go for them.
fn age(day: &DayStock) -> Day {
    match doubt::says_age(day.last_stored) {
        true => day.day.min(Day::of(day.last_stored)),
        false => day.day,
    }
}

/// Whether a day has been kept for as long as it is to be.
fn is_old(keep: &Keep, day: &DayStock, now: UnixNanos) -> bool {
    let Some(age) = keep.age else { return false };
    let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    doubt::says_age(day.last_stored) && day.last_stored.0.saturating_add(age) < now.0
}

/// Whether something has to go for want of room.
fn is_full(keep: &Keep, is_over: bool, root: &Root) -> bool {
    let is_short =
        |part: Share| Room::at(root.path()).is_ok_and(|room| room.free_part() < part.fraction());
    is_over || keep.free.is_some_and(is_short)
}

/// The oldest day of which only records are left, where those of all such days take too much.
fn too_many_records<'a>(
    stock: &'a Stock,
    left_out: &HashSet<SourceName>,
) -> Option<(&'a SourceName, Day)> {
    let gone = || all(stock).filter(|(_, day)| day.has_only_records);
    let records: u64 = gone().map(|(_, day)| day.lines.saturating_mul(LINE_BYTES)).sum();
    if records <= RECORD_BYTES.max(held(stock) / RECORD_PART) {
        return None;
    }
    let in_turn = gone().filter(|(source, _)| !left_out.contains(*source));
    in_turn.min_by_key(|(source, day)| (day.day, *source)).map(|(source, day)| (source, day.day))
}

#[cfg(test)]
#[path = "tests_keep.rs"]
mod tests;
