//! What is kept where, and how much of it: the spool without its threads and files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::counts::SLOTS;
use super::disk::Left;
use super::entry::Entry;
use super::journal::Journal;
use super::past;
use super::{SpoolOptions, WhenFull};
use crate::frame::{DropReason, RunId, SourceName, UnixNanos};
use crate::source::{Bell, Content, Dropped, Fate, Recalled, Source, SourceError};

/// What is not settled after this long goes to disk, though there is room in memory: what a crash of the sender loses
/// is what is younger.
const SPOOL_AFTER: Duration = Duration::from_secs(1);

/// The same once all sources have ended, as where the sender was told to: it may be told again, and then has little time.
const SPOOL_AFTER_END: Duration = Duration::from_millis(100);

/// Frames that a run may have beyond what it has, at least and at most: a power cut may cost as many sequences.
const LEAST_AHEAD: u64 = 128;
const MOST_AHEAD: u64 = 1 << 16;

/// How long half of a reserve is to last: longer than nearly every disk takes for a sync.
const HALF_LASTS: Duration = Duration::from_secs(5);

/// How long a disk that refused is left in peace.
pub(super) const DISK_PAUSE: Duration = Duration::from_secs(1);

/// What a spool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct SpoolFigures {
    /// Frames in memory that are not on disk.
    pub memory_frames: u64,
    /// Their bytes.
    pub memory_bytes: u64,
    /// Frames on disk.
    pub disk_frames: u64,
    /// Bytes of their files.
    pub disk_bytes: u64,
    /// Frames that were dropped because it was full, since it was opened.
    pub dropped: u64,
    /// Frames that earlier processes left in it.
    pub found: u64,
}

/// Where a frame is.
#[derive(Debug, Clone)]
pub(super) enum At {
    /// In memory.
    Memory(Arc<Content>),
    /// The same, and on its way to disk.
    Writing(Arc<Content>),
    /// In a file of so many bytes.
    Disk(u64),
    /// With its source.
    Source,
    /// Nowhere: the source gave what is no frame, which is called so.
    Nowhere(Arc<(String, SourceError)>),
}

/// A frame that is not settled.
#[derive(Debug, Clone)]
struct Kept {
    came: UnixNanos,
    at: At,
}

/// The frames of one source.
struct Compartment {
    run: RunId,
    source: SourceName,
    slot: u16,
    archive: bool,
    recalled: Recalled,
    /// How many frames it has; places from `recalled.frames` on are of this process.
    frames: u64,
    ended: bool,
    kept: BTreeMap<u64, Kept>,
    in_memory: BTreeSet<u64>,
    /// Given to the sender in its present session, so that they may be on their way.
    lent: BTreeSet<u64>,
    /// Dropped here, and not told to the sender.
    dropped: Vec<Dropped>,
    /// Frames that the journal says it may have, and how many of them a power cut cannot take back.
    reserved: u64,
    durable: u64,
    /// How many are reserved ahead, which goes by how fast they come, and when that was done last.
    ahead: u64,
    raised: Option<Instant>,
    /// How many frames were counted.
    counted: Arc<AtomicU64>,
    /// Of whoever sends it.
    bell: Option<Bell>,
    inner: Arc<dyn Source>,
}

impl fmt::Debug for Compartment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compartment").field("run", &self.run).finish_non_exhaustive()
    }
}

impl Compartment {
    fn counted(&self) -> u64 {
        self.counted.load(Ordering::SeqCst).max(self.frames)
    }

    /// How many of its frames may be sent. A sequence that a receiver sees before the reserve that it is of is on the
    /// medium would be given to another frame after a power cut.
    fn shown(&self, is_gated: bool) -> u64 {
        let safe = self.durable.max(self.recalled.frames);
        if is_gated { self.frames.min(safe) } else { self.frames }
    }
}

/// A frame that is to be written.
#[derive(Debug)]
pub(super) struct Spill {
    pub(super) shelf: usize,
    pub(super) run: RunId,
    pub(super) source: SourceName,
    pub(super) place: u64,
    pub(super) content: Arc<Content>,
    pub(super) came: UnixNanos,
}

/// How it stands with room for a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// There is some.
    Free,
    /// There will be, when frames have gone to disk or to the receiver.
    Wait,
    /// Everything is full, and the oldest frames are to go.
    Full,
}

/// The whole.
#[derive(Debug)]
pub(super) struct Room {
    options: SpoolOptions,
    has_disk: bool,
    pub(super) journal: Journal,
    left: BTreeMap<RunId, Left>,
    compartments: Vec<Compartment>,
    memory: u64,
    /// Frames that are being written.
    writing: usize,
    disk: u64,
    disk_frames: u64,
    found: u64,
    dropped: u64,
    /// Until then the disk is not tried.
    resting: Option<Instant>,
    /// Files that are of no more use.
    pub(super) useless: Vec<(RunId, u64)>,
    /// Runs of which nothing is left.
    pub(super) over: Vec<RunId>,
    pub(super) waiting: usize,
    /// Threads that take frames in.
    pub(super) intakes: usize,
    /// The journal has something to say that must not be lost in a power cut.
    pub(super) is_urgent: bool,
    /// The disk could not bring the last reserve to the medium. Frames are sent all the same, for as long as that is so.
    pub(super) is_unsafe: bool,
    pub(super) closing: bool,
    pub(super) abandoned: bool,
}

impl Room {
    pub(super) fn new(
        options: SpoolOptions,
        journal: Journal,
        left: BTreeMap<RunId, Left>,
        has_disk: bool,
    ) -> Self {
        let files = || left.values().flat_map(|left| left.files.values());
        let (disk, found) = (files().map(|file| file.bytes).sum(), files().count() as u64);
        Self {
            options,
            has_disk,
            journal,
            left,
            compartments: Vec::new(),
            memory: 0,
            writing: 0,
            disk,
            disk_frames: found,
            found,
            dropped: 0,
            resting: None,
            useless: Vec::new(),
            over: Vec::new(),
            waiting: 0,
            intakes: 0,
            is_urgent: false,
            is_unsafe: false,
            closing: false,
            abandoned: false,
        }
    }

    /// Makes room for the frames of a source, with what is left of it; its number, its slot and its run.
    pub(super) fn admit_source(
        &mut self,
        inner: &Arc<dyn Source>,
        archive: bool,
    ) -> (usize, u16, Recalled) {
        let source = inner.name();
        let of = |past: &past::Past| past.source == source.as_str();
        let known = self.journal.pasts.runs.iter().find(|(_, past)| of(past));
        let run = known.map(|(&run, _)| run);
        let run = run.unwrap_or_else(|| {
            // A session has fewer sources than there are slots, and so has a spool that is not used for hundreds.
            let slot = self.journal.pasts.free_slot(SLOTS).unwrap_or(SLOTS - 1);
            let (run, source) = (RunId(rand::random()), source.to_string());
            let began_unix_ns = UnixNanos::now().0;
            self.journal.note(Entry::Began { run, source, slot, began_unix_ns });
            run
        });
        let Left { files, frames } = self.left.remove(&run).unwrap_or_default();
        let (mut slot, mut durable) = (0, 0);
        let mut recalled = Recalled::new(run, frames, ranges(files.keys()));
        if let Some(past) = self.journal.past(run) {
            slot = past.slot;
            // What is said of a run when the spool is opened is synced then.
            durable = past.reserved;
            recalled.began = past.began;
            recalled.origin = past.origin.map(crate::frame::Sequence);
            recalled.dropped = past.dropped.clone();
        }
        let on_disk = files
            .into_iter()
            .map(|(place, file)| (place, Kept { came: file.came, at: At::Disk(file.bytes) }));
        self.compartments.push(Compartment {
            run,
            source: source.clone(),
            slot,
            archive,
            recalled: recalled.clone(),
            frames,
            ended: false,
            kept: on_disk.collect(),
            in_memory: BTreeSet::new(),
            lent: BTreeSet::new(),
            dropped: Vec::new(),
            reserved: 0,
            durable,
            ahead: LEAST_AHEAD,
            raised: None,
            counted: Arc::default(),
            bell: None,
            inner: inner.clone(),
        });
        (self.compartments.len() - 1, slot, recalled)
    }

    /// Whether there is room for a frame of so many bytes. One always has room in memory.
    pub(super) fn space(&self, bytes: u64, now: Instant) -> Space {
        if self.has_memory(bytes) {
            return Space::Free;
        }
        match self.options.when_full {
            WhenFull::DropOldest if self.is_full(now) => Space::Full,
            _ => Space::Wait,
        }
    }

    /// Whether a frame of so many bytes will have no room until frames have gone to the receiver.
    pub(super) fn is_stuck(&self, bytes: u64, now: Instant) -> bool {
        !self.has_memory(bytes) && self.is_full(now)
    }

    fn has_memory(&self, bytes: u64) -> bool {
        self.memory == 0 || self.memory.saturating_add(bytes) <= self.options.memory.0
    }

    /// Whether the disk takes nothing more of what is in memory.
    fn is_full(&self, now: Instant) -> bool {
        let oldest = self.oldest_in_memory().map_or(0, |(_, _, bytes)| bytes);
        !self.takes(oldest, now) && self.writing == 0
    }

    /// Whether the disk takes a frame of so many bytes now.
    fn takes(&self, bytes: u64, now: Instant) -> bool {
        // Its file is a little longer.
        const HEAD: u64 = 1 << 10;
        let bytes = bytes.saturating_add(HEAD);
        let is_up = self.has_disk && self.resting.is_none_or(|until| until <= now);
        is_up && self.disk.saturating_add(bytes) <= self.options.size.0
    }

    /// The disk has refused.
    pub(super) fn disk_refused(&mut self, now: Instant) {
        self.resting = Some(now + DISK_PAUSE);
    }

    pub(super) fn disk_works(&mut self) {
        self.resting = None;
    }

    /// Adds the next frame of a source.
    pub(super) fn add(&mut self, shelf: usize, came: UnixNanos, at: At) {
        let one = &mut self.compartments[shelf];
        let place = one.frames;
        if let At::Memory(content) = &at {
            self.memory += size(content);
            one.in_memory.insert(place);
        }
        one.kept.insert(place, Kept { came, at });
        one.frames += 1;
    }

    /// The next frame of a source, for which there is no room, is dropped at once.
    pub(super) fn drop_next(&mut self, shelf: usize, came: UnixNanos) {
        let place = self.compartments[shelf].frames;
        self.compartments[shelf].frames += 1;
        self.note_drop(shelf, place, came);
    }

    /// Drops the oldest frame that is not on its way, or, where all are, the oldest; its source and place.
    pub(super) fn drop_oldest(&mut self) -> Option<(usize, u64)> {
        let oldest = |with_lent: bool| {
            let oldest = move |(shelf, one): (usize, &Compartment)| {
                let may_go = |(place, kept): &(&u64, &Kept)| {
                    let is_here = matches!(kept.at, At::Memory(_) | At::Disk(_));
                    is_here && (with_lent || !one.lent.contains(place))
                };
                let (&place, kept) = one.kept.iter().find(may_go)?;
                Some((kept.came, shelf, place))
            };
            let archives = self.compartments.iter().enumerate().filter(|(_, one)| one.archive);
            archives.filter_map(oldest).min()
        };
        let (came, shelf, place) = oldest(false).or_else(|| oldest(true))?;
        self.take(shelf, place);
        self.note_drop(shelf, place, came);
        Some((shelf, place))
    }

    fn note_drop(&mut self, shelf: usize, place: u64, came: UnixNanos) {
        self.dropped += 1;
        let one = &mut self.compartments[shelf];
        let (reason, captured) = (DropReason::SpoolFull, Some((came, came)));
        let dropped = Dropped { places: place..place + 1, reason, captured };
        self.journal.note(Entry::dropped(one.run, &dropped));
        past::add(&mut one.dropped, dropped);
    }

    /// Forgets a frame; the room that it had is free.
    fn take(&mut self, shelf: usize, place: u64) -> Option<Kept> {
        let one = &mut self.compartments[shelf];
        let kept = one.kept.remove(&place)?;
        one.lent.remove(&place);
        match &kept.at {
            At::Memory(content) | At::Writing(content) => {
                self.memory -= size(content);
                one.in_memory.remove(&place);
            }
            At::Disk(bytes) => {
                self.disk -= bytes;
                self.disk_frames -= 1;
                self.useless.push((one.run, place));
            }
            At::Source | At::Nowhere(_) => {}
        }
        Some(kept)
    }

    /// A frame is settled: forgotten, and known to the receiver where it was `told`.
    pub(super) fn settle(&mut self, shelf: usize, place: u64, told: bool) {
        let was_here = self.take(shelf, place).is_some();
        if told {
            let one = &mut self.compartments[shelf];
            let is_it = |dropped: &Dropped| dropped.places.contains(&place);
            if !was_here && one.dropped.iter().any(is_it) {
                // It was on its way when it was dropped, and nobody was told yet that it was.
                past::take_out(&mut one.dropped, place, place);
                self.stored_after_all(1);
            }
            let run = self.compartments[shelf].run;
            self.journal.note(Entry::Settled { run, first: place, last: place });
        }
    }

    /// Frames that were dropped are stored.
    pub(super) fn stored_after_all(&mut self, frames: u64) {
        self.dropped = self.dropped.saturating_sub(frames);
    }

    /// The receiver has noted drops.
    pub(super) fn noted(&mut self, shelf: usize, places: Range<u64>) {
        if let Some(last) = places.end.checked_sub(1).filter(|&last| last >= places.start) {
            let run = self.compartments[shelf].run;
            self.journal.note(Entry::Settled { run, first: places.start, last });
        }
    }

    /// Frames that the sender has given up.
    pub(super) fn lost(&mut self, shelf: usize, dropped: &Dropped) {
        let run = self.compartments[shelf].run;
        self.journal.note(Entry::dropped(run, dropped));
    }

    pub(super) fn begun(&mut self, shelf: usize, sequence: u64) {
        let run = self.compartments[shelf].run;
        self.journal.note(Entry::Origin { run, sequence });
        self.is_urgent = true;
    }

    /// Both ends agree on the run of a source.
    pub(super) fn ended(&mut self, shelf: usize) {
        let run = self.compartments[shelf].run;
        self.journal.note(Entry::Ended { run });
        self.over.push(run);
    }

    /// These come again with the next process, where they are lost.
    pub(super) fn comes_again(&mut self, shelf: usize, place: u64) {
        let run = self.compartments[shelf].run;
        let is_known = self.journal.past(run).is_some_and(|past| past.again.contains(place));
        if !is_known {
            // A few at a time, so that the journal does not have a line for each.
            const AHEAD: u64 = 4_096;
            self.journal.note(Entry::Again { run, first: place, last: place + AHEAD });
        }
    }

    /// Drops of which the sender knows nothing, as far as the frames may be known.
    pub(super) fn take_dropped(&mut self, shelf: usize) -> Vec<Dropped> {
        let shown = self.shown(shelf).0;
        let one = &mut self.compartments[shelf];
        let all = std::mem::take(&mut one.dropped);
        let mut told = Vec::new();
        for dropped in all {
            let Range { start, end } = dropped.places;
            let parts =
                [(&mut told, start..end.min(shown)), (&mut one.dropped, start.max(shown)..end)];
            for (to, places) in parts {
                if places.start < places.end {
                    to.push(Dropped { places, ..dropped.clone() });
                }
            }
        }
        told
    }

    /// Where a frame is, which is lent from now on, and when it came about.
    pub(super) fn lend(&mut self, shelf: usize, place: u64) -> Option<At> {
        let one = &mut self.compartments[shelf];
        let kept = one.kept.get(&place)?;
        one.lent.insert(place);
        Some(kept.at.clone())
    }

    /// What was lent is not on its way any more.
    pub(super) fn session_lost(&mut self, shelf: usize) {
        self.compartments[shelf].lent.clear();
    }

    /// The same to look at.
    pub(super) fn look(&self, shelf: usize, place: u64) -> Option<(At, UnixNanos)> {
        let kept = self.compartments[shelf].kept.get(&place)?;
        Some((kept.at.clone(), kept.came))
    }

    pub(super) fn frames(&self, shelf: usize) -> (u64, bool) {
        let one = &self.compartments[shelf];
        (one.frames, one.ended)
    }

    /// How many frames a source has that may be sent, and whether they are all.
    pub(super) fn shown(&self, shelf: usize) -> (u64, bool) {
        let one = &self.compartments[shelf];
        let shown = one.shown(self.has_disk && !self.is_unsafe);
        (shown, one.ended && shown == one.frames)
    }

    pub(super) fn ring_by(&mut self, shelf: usize, bell: Bell) {
        self.compartments[shelf].bell = Some(bell);
    }

    pub(super) fn end_source(&mut self, shelf: usize) {
        self.compartments[shelf].ended = true;
    }

    fn oldest_in_memory(&self) -> Option<(usize, u64, u64)> {
        let oldest = |(shelf, one): (usize, &Compartment)| {
            let waits = |place: &&u64| matches!(one.kept[*place].at, At::Memory(_));
            let &place = one.in_memory.iter().find(waits)?;
            let kept = &one.kept[&place];
            let At::Memory(content) = &kept.at else { return None };
            Some((kept.came, shelf, place, size(content)))
        };
        let all = self.compartments.iter().enumerate().filter_map(oldest);
        all.min().map(|(_, shelf, place, bytes)| (shelf, place, bytes))
    }

    /// The frame that goes to disk next, if one should: it is old, or memory is wanted, or this is the end.
    pub(super) fn next_spill(&mut self, now: (Instant, UnixNanos)) -> Option<Spill> {
        let (shelf, place, bytes) = self.oldest_in_memory()?;
        if !self.takes(bytes, now.0) {
            return None;
        }
        let is_at_its_end = self.compartments.iter().all(|one| one.ended);
        let is_scarce = self.waiting > 0 || self.memory > self.options.memory.0 / 2;
        let one = &mut self.compartments[shelf];
        let kept = one.kept.get_mut(&place)?;
        let age = now.1.nanos_since(kept.came);
        let soon = if is_at_its_end { SPOOL_AFTER_END } else { SPOOL_AFTER };
        if !(is_scarce || self.closing || age >= soon.as_nanos() as i128) {
            return None;
        }
        let At::Memory(content) = kept.at.clone() else { return None };
        kept.at = At::Writing(content.clone());
        self.writing += 1;
        let (run, source, came) = (one.run, one.source.clone(), kept.came);
        Some(Spill { shelf, run, source, place, content, came })
    }

    /// A frame was written into a file of so many bytes, or was not.
    pub(super) fn spilled(&mut self, spill: &Spill, written: Option<u64>) {
        self.writing -= 1;
        let one = &mut self.compartments[spill.shelf];
        let Some(kept) = one.kept.get_mut(&spill.place) else {
            // It was settled meanwhile.
            if written.is_some() {
                self.useless.push((spill.run, spill.place));
            }
            return;
        };
        match written {
            Some(bytes) => {
                kept.at = At::Disk(bytes);
                one.in_memory.remove(&spill.place);
                self.memory -= size(&spill.content);
                self.disk += bytes;
                self.disk_frames += 1;
            }
            None => kept.at = At::Memory(spill.content.clone()),
        }
    }

    /// Frames that runs may have beyond what they have: each is raised where it is near. True where one was.
    pub(super) fn reserve(&mut self, now: Instant) -> bool {
        let mut raised = false;
        for one in &mut self.compartments {
            let counted = one.counted();
            if counted + one.ahead / 2 > one.reserved {
                let lasted = one.raised.map(|raised| now.saturating_duration_since(raised));
                if lasted.is_some_and(|lasted| lasted < HALF_LASTS) {
                    one.ahead = (one.ahead * 2).min(MOST_AHEAD);
                } else if lasted.is_some_and(|lasted| lasted > 4 * HALF_LASTS) {
                    one.ahead = (one.ahead / 2).max(LEAST_AHEAD);
                }
                one.raised = Some(now);
                one.reserved = counted + one.ahead;
                let (run, frames) = (one.run, one.reserved);
                self.journal.note(Entry::Reserved { run, frames });
                raised = true;
            }
        }
        raised
    }

    /// What is reserved, as it is written next.
    pub(super) fn reserves(&self) -> Vec<u64> {
        self.compartments.iter().map(|one| one.reserved).collect()
    }

    /// These reserves are on the medium, or (`None`) the disk refuses. The bells of those whose frames have waited for it.
    pub(super) fn reserved(&mut self, reserves: Option<&[u64]>) -> Vec<Bell> {
        let count = self.compartments.len();
        let before: Vec<_> = (0..count).map(|shelf| self.shown(shelf)).collect();
        if std::mem::replace(&mut self.is_unsafe, reserves.is_none()) {
            // What was shown stays so.
            self.compartments.iter_mut().for_each(|one| one.durable = one.durable.max(one.frames));
        }
        for (one, &reserved) in self.compartments.iter_mut().zip(reserves.unwrap_or_default()) {
            one.durable = one.durable.max(reserved);
        }
        let more = (0..count).filter(|&shelf| self.shown(shelf) != before[shelf]);
        more.filter_map(|shelf| self.compartments[shelf].bell.clone()).collect()
    }

    /// At the end: what is neither settled nor on disk is given up, of as many frames as were counted.
    pub(super) fn give_up_rest(&mut self) {
        for one in &self.compartments {
            let Some(past) = self.journal.past(one.run) else { continue };
            let mut kept = crate::manifest::Ranges::with_limit(usize::MAX);
            let on_disk = one.kept.iter().filter(|(_, kept)| matches!(kept.at, At::Disk(_)));
            for (&place, _) in on_disk {
                kept.insert(place, place);
            }
            let run = one.run;
            for lost in past.lost(one.counted(), &kept) {
                let lost = Dropped { reason: DropReason::GivenUp, ..lost };
                self.journal.note(Entry::dropped(run, &lost));
            }
        }
    }

    /// The sources, and how many frames of each are on disk.
    pub(super) fn on_disk(&self) -> Vec<(SourceName, u64)> {
        let is_on_disk = |kept: &&Kept| matches!(kept.at, At::Disk(_));
        let of = |one: &Compartment| {
            (one.source.clone(), one.kept.values().filter(is_on_disk).count() as u64)
        };
        self.compartments.iter().map(of).collect()
    }

    /// How many frames these entries give up.
    pub(super) fn lost_of(entries: &[Entry]) -> u64 {
        let lost = entries.iter().filter_map(|entry| match entry {
            Entry::Dropped { first, last, reason, .. } if reason == DropReason::GivenUp.name() => {
                Some(last - first + 1)
            }
            _ => None,
        });
        lost.sum()
    }

    /// Counts the frames of a source with this from now on.
    pub(super) fn count_with(&mut self, shelf: usize, counted: Arc<AtomicU64>) {
        self.compartments[shelf].counted = counted;
    }

    /// Whether the disk has refused, and is left in peace.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.resting.is_some_and(|until| until > now)
    }

    /// Tells a source that a frame of it is lost, to be called when the room is not held.
    pub(super) fn teller(&self, shelf: usize, place: u64) -> Option<impl FnOnce() + use<>> {
        let one = &self.compartments[shelf];
        let place = crate::frame::Sequence(place.checked_sub(one.recalled.frames)?);
        let inner = one.inner.clone();
        Some(move || inner.settled(place, Fate::Lost))
    }

    pub(super) fn left_over(&self) -> Vec<(String, u64)> {
        let names = self.left.iter().filter_map(|(run, left)| {
            let past = self.journal.past(*run)?;
            Some((past.source.clone(), left.files.len() as u64))
        });
        names.filter(|(_, frames)| *frames > 0).collect()
    }

    pub(super) fn figures(&self) -> SpoolFigures {
        let in_memory = self.compartments.iter().map(|one| one.in_memory.len() as u64);
        SpoolFigures {
            memory_frames: in_memory.sum(),
            memory_bytes: self.memory,
            disk_frames: self.disk_frames,
            disk_bytes: self.disk,
            dropped: self.dropped,
            found: self.found,
        }
    }

    pub(super) fn slot(&self, shelf: usize) -> u16 {
        self.compartments[shelf].slot
    }
}

fn size(content: &Content) -> u64 {
    // A frame takes more than its bytes.
    const BESIDE: u64 = 512;
    content.body.len() as u64 + BESIDE
}

/// Places in order, as ranges.
fn ranges<'a>(places: impl Iterator<Item = &'a u64>) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for &place in places {
        match ranges.last_mut() {
            Some(last) if last.end == place => last.end += 1,
            _ => ranges.push(place..place + 1),
        }
    }
    ranges
}
