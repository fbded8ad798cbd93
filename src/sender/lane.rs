//! One source within one session: from offer to receipt.

mod given_up;
#[cfg(test)]
mod gone_tests;
mod heard;
mod held;
mod queue;
mod state;
mod wants;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::hold::Hold;
use super::ledger::{Ledger, Loss};
use super::options::SendOptions;
use super::schedule::{Due, Schedule};
use super::tend::lose;
use super::weight::Weight;
use super::worker::{self, Described, Done, Work};
use crate::frame::{DropReason, Sequence, UnixNanos};
use crate::source::{Content, Dropped, Remembered, Source, SourceError};
use crate::transport::PathStats;
use crate::wire::{
    Drops, EndOfRun, LostFrame, MAX_ENTRIES, Message, Offer, OfferEntry, SourceId, Welcome,
};
use given_up::Limbo;
use wants::Wants;

/// Frames in an offer with hashes. The receiver may have to hash as many files before it can answer, and an
/// answer that takes long looks like none.
const HASHED_ENTRIES: usize = 64;

/// Offers on their way at once: a round trip of 600 ms still skips 13,000 frames a second.
const OFFERS_AHEAD: usize = 8;

/// Frames that are known to be wanted and wait for the window; enough to keep it full while the
/// next offers travel.
const WANTED_AHEAD: usize = 4 * MAX_ENTRIES;

/// How often drops are told while a source goes on: 40 bytes each time, where they follow one another.
const DECLARED_EVERY: Duration = Duration::from_millis(500);

/// How long a frame waits that the receiver could not store, for a full disk say.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// Receipts and refusals of a session that may tell nothing new, beside two for each frame: as many as the
/// frames under way, which a transport may all have had to send twice.
const MOST_STALE: u64 = 2 * MOST_UNCONFIRMED_FRAMES;

/// A frame that is read and waits to be handed to the transport.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) sequence: Sequence,
    pub(super) due: Due,
    pub(super) content: Content,
    /// It was never handed to a transport before.
    pub(super) is_first: bool,
}

/// A frame that the receiver wants and that is not read.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    sequence: Sequence,
    bytes: u64,
    due: Due,
}

/// A frame that the receiver has confirmed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Confirmed {
    pub(super) sequence: Sequence,
    pub(super) bytes: u64,
    pub(super) due: Option<Due>,
}

/// A frame on offer whose answer has not come.
#[derive(Debug, Clone, Copy)]
struct Offered {
    sequence: Sequence,
    bytes: u64,
    hashed: bool,
    captured: Option<UnixNanos>,
}

/// Bytes that a run has unconfirmed at most, whatever the receiver lets it. Nearly all of them can be
/// in this end's memory. It is more than framelane's own receivers allow.
const MOST_UNCONFIRMED_BYTES: u64 = 64 << 20;

/// Frames that a run has unconfirmed at most: as many as can have a stream open over QUIC.
const MOST_UNCONFIRMED_FRAMES: u64 = 4_096;

/// Ranges that are kept of what a source has dropped, which drops the oldest first, so that they are few.
const MOST_GONE: usize = 4_096;

/// A frame that could not be had of its source.
fn unreadable(error: &SourceError) -> Loss {
    Loss { reason: error.reason(), words: error.to_string(), captured: None }
}

/// A frame that the receiver will not have.
fn refused(words: String) -> Loss {
    Loss { reason: DropReason::Refused, words, captured: None }
}

/// True for a live frame that is due in that time.
fn is_within(due: Due, times: &Range<Instant>) -> bool {
    due.live && times.contains(&due.at)
}

/// A lane's part of what the sender may have unconfirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    bytes: u64,
    frames: usize,
    max_frame: u64,
}

impl Share {
    /// An equal part for each of so many lanes, so that one that is held up cannot use up the window
    /// of the others. Where it comes to nothing, a lane still has one frame unconfirmed.
    pub(super) fn of(welcome: &Welcome, lanes: usize) -> Self {
        let lanes = lanes.max(1);
        let frames = welcome.max_unconfirmed_frames.min(MOST_UNCONFIRMED_FRAMES);
        Self {
            bytes: welcome.max_unconfirmed_bytes.min(MOST_UNCONFIRMED_BYTES) / lanes as u64,
            frames: frames as usize / lanes,
            max_frame: welcome.max_frame,
        }
    }
}

/// The answer of a lane to something that the peer should not have said.
#[derive(Debug)]
pub(super) struct Nonsense(pub(super) String);

pub(super) struct Lane {
    pub(super) id: SourceId,
    pub(super) weight: Weight,
    source: Arc<dyn Source>,
    work: mpsc::UnboundedSender<Work>,
    checksum: bool,
    /// Whether the receiver was asked to replace what differs.
    overwrite: bool,
    /// How old a frame may be when it arrives, where there is such a limit.
    pub(super) deadline: Option<Duration>,
    /// When drops were told last.
    told: Option<Instant>,
    describing: usize,
    reading: usize,
    offered: VecDeque<Vec<Offered>>,
    need_hash: Vec<Sequence>,
    /// Why the receiver has not opened the source yet, and frames that are begun and to be offered when it has.
    pub(super) unopened: Option<String>,
    /// It never will, in this session.
    pub(super) is_declined: bool,
    /// Offers whose answers were on their way when it was opened: as many may be answered as if it were not.
    crossing: usize,
    held_back: Vec<Sequence>,
    wanted: Wants,
    later: VecDeque<(Instant, Wanted)>,
    ready: VecDeque<Ready>,
    unconfirmed: HashMap<Sequence, Unconfirmed>,
    unconfirmed_bytes: u64,
    /// Frames that the transport has given up, and whose receipt may be on its way.
    given_up: VecDeque<Limbo>,
    /// When a frame was handed to the transport last.
    begun: Option<Instant>,
    /// The transport has given up a frame since one was confirmed.
    in_vain: bool,
    /// Frames that were given up when the transport had them, with their bytes: they may arrive all the same.
    doomed: BTreeMap<u64, (u64, DropReason)>,
    /// Frames that the source has dropped in this session: one of them may be on offer, and stored already.
    gone: VecDeque<Range<u64>>,
    /// How many of the unconfirmed were handed to the transport.
    handed: usize,
    /// Receipts and refusals that told nothing new.
    stale: u64,
    /// How long a frame of this source is, to judge one that arrives by before it is read.
    usual_bytes: u64,
    /// Frames have fallen due at times of their own.
    is_live: bool,
    refused_since: Option<Instant>,
    /// How long refused frames are tried again.
    patience: Duration,
    /// The receiver has no room, so that no frame goes but now and then.
    hold: Option<Hold>,
    /// Bytes handed over so far, this session.
    pub(super) handed_bytes: u64,
    stored: u64,
    already: u64,
    ended: bool,
    totals: bool,
    /// The source goes on in another session, which is to say its end.
    pub(super) leaves: bool,
    /// A wanted frame has found no room among the unconfirmed.
    blocked: bool,
}

/// A frame between being read and being confirmed.
#[derive(Debug, Clone, Copy)]
struct Unconfirmed {
    bytes: u64,
    handed: bool,
}

impl Lane {
    pub(super) fn new(
        index: usize,
        source: Arc<dyn Source>,
        options: &SendOptions,
        results: mpsc::UnboundedSender<(usize, Done)>,
    ) -> Self {
        let work = worker::start(index, source.clone(), results);
        Self {
            id: SourceId(index as u8), // at most MAX_SOURCES
            weight: options.weights.get(index).copied().unwrap_or_default(),
            source,
            work,
            checksum: options.checksum,
            overwrite: options.overwrite,
            deadline: options.deadlines.get(index).copied().flatten(),
            told: None,
            describing: 0,
            reading: 0,
            offered: VecDeque::new(),
            need_hash: Vec::new(),
            unopened: None,
            is_declined: false,
            crossing: 0,
            held_back: Vec::new(),
            wanted: Wants::default(),
            later: VecDeque::new(),
            ready: VecDeque::new(),
            unconfirmed: HashMap::new(),
            unconfirmed_bytes: 0,
            given_up: VecDeque::new(),
            begun: None,
            in_vain: false,
            doomed: BTreeMap::new(),
            gone: VecDeque::new(),
            handed: 0,
            stale: 0,
            usual_bytes: 0,
            is_live: false,
            refused_since: None,
            patience: options.retry_for,
            hold: None,
            handed_bytes: 0,
            stored: 0,
            already: 0,
            ended: false,
            totals: false,
            leaves: false,
            blocked: false,
        }
    }

    /// Starts whatever can be started, and says what the receiver has to be told. Before the
    /// welcome (`share` is `None`) frames are offered, which saves a round trip, but not sent.
    /// `fresh` is the due times of frames that go before the backlog.
    pub(super) fn pump(
        &mut self,
        ledger: &mut Ledger,
        share: Option<Share>,
        fresh: &Range<Instant>,
        path: &PathStats,
    ) -> Option<Message> {
        if self.unopened.is_some() {
            self.drop_late(ledger, path);
            self.let_go_declined(ledger);
            return None;
        }
        self.begin_fresh(ledger, fresh);
        self.look_up_more(ledger);
        let share = share?;
        self.take_up_again();
        self.let_go(ledger);
        self.settle_given_up(ledger, path);
        self.drop_late(ledger, path);
        self.blocked = false;
        while let Some(next) = self.next_wanted(fresh) {
            let Wanted { sequence, bytes, .. } = next;
            if !self.is_worth_reading(&next) {
                break;
            }
            let fits = self.has_room(bytes, share)
                || is_within(next.due, fresh) && self.make_room(bytes, share, fresh.start);
            if !fits {
                self.blocked = true;
                break;
            }
            self.wanted.remove(&next);
            self.unconfirmed.insert(sequence, Unconfirmed { bytes, handed: false });
            self.unconfirmed_bytes += bytes;
            self.reading += 1;
            match self.source.read_at_once(sequence, share.max_frame) {
                Some(content) => self.has_read(sequence, content, ledger),
                None => self.ask(Work::Read { sequence, limit: share.max_frame }),
            }
        }
        self.declare(ledger).or_else(|| self.end_if_settled(ledger))
    }

    /// Tells the receiver of frames that will not come: some at a time, and all at the end.
    fn declare(&mut self, ledger: &mut Ledger) -> Option<Message> {
        let now = Instant::now();
        let waits = self.told.is_some_and(|told| now - told < DECLARED_EVERY);
        if !ledger.drops.are_to_be_told() || waits && !ledger.is_settled() {
            return None;
        }
        self.told = Some(now);
        let ranges = ledger.declare();
        Some(Message::Drops(Drops { source: self.id, run: ledger.run, ranges }))
    }

    fn look_up_more(&mut self, ledger: &mut Ledger) {
        // What a frame is called is not known yet.
        if ledger.origin().is_none() {
            return;
        }
        while self.describing + self.offered.len() < OFFERS_AHEAD
            && self.wanted.len() < WANTED_AHEAD
        {
            let most = if self.checksum { HASHED_ENTRIES } else { MAX_ENTRIES };
            let (sequences, hash) = if !self.need_hash.is_empty() {
                let most = self.need_hash.len().min(HASHED_ENTRIES);
                (self.need_hash.drain(..most).collect(), true)
            } else if !self.held_back.is_empty() {
                let most = self.held_back.len().min(most);
                (self.held_back.drain(..most).collect(), self.checksum)
            } else {
                (self.begin(ledger, most), self.checksum)
            };
            if sequences.is_empty() {
                return;
            }
            self.describing += 1;
            self.ask(Work::Describe { sequences, hash });
        }
    }

    /// Begins what has come about just now, before everything that waits.
    fn begin_fresh(&mut self, ledger: &mut Ledger, fresh: &Range<Instant>) {
        if ledger.origin().is_none() || self.wanted.len() >= 2 * WANTED_AHEAD {
            return;
        }
        let source = self.source.clone();
        let is_fresh = |place| source.arrival(place).is_some_and(|at| at >= fresh.start);
        let batch = ledger.begin_newest(MAX_ENTRIES, is_fresh);
        let to_offer = self.sort_out(batch, ledger);
        if !to_offer.is_empty() {
            self.describing += 1;
            self.ask(Work::Describe { sequences: to_offer, hash: self.checksum });
        }
    }

    /// Begins more frames, and gives those that are to be offered; none where there are none, or enough are wanted.
    fn begin(&mut self, ledger: &mut Ledger, most: usize) -> Vec<Sequence> {
        loop {
            let batch = ledger.begin(most);
            let is_last = batch.is_empty();
            let to_offer = self.sort_out(batch, ledger);
            if is_last || !to_offer.is_empty() || self.wanted.len() >= WANTED_AHEAD {
                return to_offer;
            }
        }
    }

    /// Those of the frames that are to be offered. What has come about while the source runs is nowhere yet, unless a
    /// session before has sent it, and what the receiver has wanted in a session before that has not sent it is not there
    /// either: they are wanted at once. After an outage the offers of all that waits would go before the first frame.
    fn sort_out(&mut self, mut batch: Vec<Sequence>, ledger: &mut Ledger) -> Vec<Sequence> {
        batch.retain(|&sequence| {
            if let Some((due, bytes)) = ledger.still_wanted(sequence) {
                self.is_live |= due.live;
                self.want(Some(Wanted { sequence, bytes, due }));
                return false;
            }
            let Some(at) = self.source.arrival(sequence) else { return true };
            let due = ledger.due(sequence, true, |rank| Schedule::arrived(at, rank));
            self.is_live = true;
            if ledger.was_sent(sequence) {
                return true;
            }
            let bytes = self.usual_bytes;
            self.want(due.map(|due| Wanted { sequence, bytes, due }));
            false
        });
        batch
    }

    /// Puts a frame among those that are wanted, by when it is due.
    fn want(&mut self, wanted: Option<Wanted>) {
        if let Some(wanted) = wanted {
            self.wanted.insert(wanted);
        }
    }

    /// The source has no such frames any more.
    pub(super) fn forget(&mut self, dropped: &[Dropped]) {
        if dropped.is_empty() {
            return;
        }
        for places in dropped.iter().map(|gone| &gone.places) {
            match self.gone.back_mut().filter(|last| last.end == places.start) {
                Some(last) => last.end = places.end,
                None => self.gone.push_back(places.clone()),
            }
        }
        let too_many = self.gone.len().saturating_sub(MOST_GONE);
        self.gone.drain(..too_many);
        let is_gone = |place: Sequence| dropped.iter().any(|gone| gone.places.contains(&place.0));
        self.wanted.retain(|place| !is_gone(place));
        self.later.retain(|(_, wanted)| !is_gone(wanted.sequence));
        self.need_hash.retain(|&place| !is_gone(place));
        self.held_back.retain(|&place| !is_gone(place));
        let (gone, ready) =
            std::mem::take(&mut self.ready).into_iter().partition(|ready| is_gone(ready.sequence));
        self.ready = ready;
        let gone: VecDeque<Ready> = gone;
        for ready in gone {
            self.release(ready.sequence);
        }
        let handed =
            self.unconfirmed.iter().filter(|(place, known)| known.handed && is_gone(**place));
        let handed: Vec<_> = handed.map(|(&place, _)| place).collect();
        handed.into_iter().for_each(|place| self.doom(place, DropReason::SpoolFull));
    }

    /// The transport has a frame that was given up. Should it arrive, it counts as what it is.
    fn doom(&mut self, place: Sequence, reason: DropReason) {
        /// Those whose receipt is to be expected still are far fewer.
        const MOST: usize = 4 * MOST_UNCONFIRMED_FRAMES as usize;
        let bytes = self.release(place);
        self.doomed.insert(place.0, (bytes, reason));
        if self.doomed.len() > MOST {
            self.doomed.pop_first();
        }
    }

    fn end_if_settled(&mut self, ledger: &Ledger) -> Option<Message> {
        if self.ended || self.leaves || !ledger.is_settled() || !ledger.drops.are_noted() {
            return None;
        }
        self.ended = true;
        let named = ledger.failed.iter().take(MAX_ENTRIES);
        Some(Message::EndOfRun(EndOfRun {
            source: self.id,
            run: ledger.run,
            first: ledger.origin().unwrap_or_default(),
            captured: ledger.frames(),
            ended: UnixNanos::now(),
            lost: named
                .map(|failed| LostFrame {
                    sequence: Sequence(failed.sequence),
                    name: failed.name.clone(),
                })
                .collect(),
            lost_count: ledger.lost_of_run(),
        }))
    }

    /// Gives up every frame that is not settled.
    pub(super) fn give_up(&self, ledger: &mut Ledger, words: &str) {
        for sequence in ledger.give_up() {
            let loss =
                Loss { reason: DropReason::GivenUp, words: words.to_owned(), captured: None };
            self.lose(sequence, loss, ledger);
        }
    }

    /// Frames that the receiver does not take, and that nobody else keeps, are given up as they come: a camera and a
    /// program would wait for room otherwise.
    fn let_go_declined(&mut self, ledger: &mut Ledger) {
        let keeps = self.source.remembered().is_some_and(Remembered::keeps);
        if !ledger.goes_on || keeps || self.source.comes_again() {
            return;
        }
        let Some(words) = ledger.declined.clone() else { return };
        let mut places = std::mem::take(&mut self.held_back);
        places.extend(ledger.begin(usize::MAX));
        for place in places {
            let (reason, words) = (DropReason::GivenUp, words.clone());
            self.lose(place, Loss { reason, words, captured: None }, ledger);
        }
    }

    /// What the receiver has to be told next of a source of which no frame goes any more.
    pub(super) fn last_word(&mut self, ledger: &mut Ledger) -> Option<Message> {
        // Nothing follows that would be told with it.
        self.told = None;
        self.declare(ledger).or_else(|| self.end_if_settled(ledger))
    }

    fn ask(&self, work: Work) {
        // The thread lives as long as this lane, but for a panic in a source, which ends the run.
        let _ = self.work.send(work);
    }

    /// A frame was read.
    fn has_read(&mut self, sequence: Sequence, content: Content, ledger: &mut Ledger) {
        self.reading -= 1;
        let bytes = content.body.len() as u64;
        self.usual_bytes = bytes;
        if let Some(known) = self.unconfirmed.get_mut(&sequence) {
            self.unconfirmed_bytes = self.unconfirmed_bytes - known.bytes + bytes;
            known.bytes = bytes;
        }
        // Whatever is read was wanted, and has a due time since.
        let is_first = !ledger.was_sent(sequence);
        match ledger.due_of(sequence) {
            Some(due) => {
                let place = self.ready.partition_point(|ready| ready.due < due);
                self.ready.insert(place, Ready { sequence, due, content, is_first });
            }
            // It was given up meanwhile.
            None => {
                self.release(sequence);
            }
        }
    }

    /// Takes what the thread has done, and says what the receiver has to be told.
    pub(super) fn worked(&mut self, done: Done, ledger: &mut Ledger) -> Vec<Message> {
        match done {
            Done::Described { offers, failed } => {
                self.describing -= 1;
                for (sequence, error) in failed {
                    self.lose(sequence, unreadable(&error), ledger);
                }
                if self.unopened.is_some() {
                    self.held_back.extend(offers.iter().map(|offer| offer.entry.sequence));
                    return Vec::new();
                }
                return self.offer(offers, ledger);
            }
            Done::Read { sequence, content } => self.has_read(sequence, content, ledger),
            Done::Failed { sequence, error } => {
                self.reading -= 1;
                self.release(sequence);
                self.lose(sequence, unreadable(&error), ledger);
            }
            Done::Broken { .. } => {}
        }
        Vec::new()
    }

    fn offer(&mut self, described: Vec<Described>, ledger: &Ledger) -> Vec<Message> {
        let offered = described.iter().map(|Described { entry, captured }| Offered {
            sequence: entry.sequence,
            bytes: entry.bytes,
            hashed: entry.hash.is_some(),
            captured: *captured,
        });
        let mut offered: VecDeque<Offered> = offered.collect();
        // The source knows places, the receiver sequences.
        let entries = described.into_iter().map(|Described { entry, .. }| {
            let sequence = ledger.sequence(entry.sequence);
            OfferEntry { sequence, ..entry }
        });
        let offers = Offer::batches(self.id, entries.collect());
        let parts = offers.iter().map(|offer| offered.drain(..offer.entries.len()).collect());
        self.offered.extend(parts);
        offers.into_iter().map(Message::Offer).collect()
    }

    /// True while the transport has the frame, or has sent it and no answer has come.
    fn is_handed(&self, sequence: Sequence) -> bool {
        self.unconfirmed.get(&sequence).is_some_and(|known| known.handed)
    }

    fn release(&mut self, sequence: Sequence) -> u64 {
        if let Some(hold) = &mut self.hold {
            hold.forget(sequence);
        }
        let Some(known) = self.unconfirmed.remove(&sequence) else { return 0 };
        self.unconfirmed_bytes -= known.bytes;
        self.handed -= usize::from(known.handed);
        known.bytes
    }

    fn lose(&self, sequence: Sequence, why: Loss, ledger: &mut Ledger) {
        lose(self.source.as_ref(), ledger, sequence, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Capabilities;

    fn share(bytes: u64, frames: u64, lanes: usize) -> (u64, usize) {
        let welcome = Welcome {
            durable: false,
            replaces: true,
            max_frame: 1,
            max_unconfirmed_bytes: bytes,
            max_unconfirmed_frames: frames,
            agent: String::new(),
            next: vec![Sequence(0)],
            capabilities: Capabilities::default(),
            join: None,
            unopened: Vec::new(),
        };
        let share = Share::of(&welcome, lanes);
        (share.bytes, share.frames)
    }

    #[test]
    fn lanes_share_what_the_receiver_allows_and_this_end_can_hold() {
        assert_eq!(share(48 << 20, 1_000, 2), (24 << 20, 500));
        assert_eq!(share(u64::MAX, u64::MAX, 4), (16 << 20, 1_024));
        assert_eq!(share(0, 0, 64), (0, 0));
    }
}
