//! One source within one session: from offer to receipt.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::SendOptions;
use super::ledger::Ledger;
use super::weight::Weight;
use super::worker::{self, Done, Work};
use crate::frame::{Sequence, UnixNanos};
use crate::source::{Content, Source};
use crate::wire::{
    Answer, EndOfRun, LostFrame, MAX_ENTRIES, Message, Offer, OfferEntry, Receipts, Refusal,
    SourceId, Totals, Verdict, Welcome,
};

/// Offers on their way at once: a round trip of 600 ms still skips 13,000 frames a second.
const OFFERS_AHEAD: usize = 8;

/// Frames that are known to be wanted and wait for the window; enough to keep it full while the
/// next offers travel.
const WANTED_AHEAD: usize = 4 * MAX_ENTRIES;

/// How long a frame waits that the receiver could not store, for a full disk say.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// A frame that is read and waits to be handed to the transport.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) sequence: Sequence,
    pub(super) slot: u64,
    pub(super) content: Content,
}

/// A frame that the receiver wants and that is not read.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    sequence: Sequence,
    bytes: u64,
    slot: u64,
}

/// A frame on offer whose answer has not come.
#[derive(Debug, Clone, Copy)]
struct Offered {
    sequence: Sequence,
    bytes: u64,
    hashed: bool,
}

/// Bytes that a run has unconfirmed at most, whatever the receiver lets it. Nearly all of them can be
/// in this end's memory. It is more than framelane's own receivers allow.
const MOST_UNCONFIRMED_BYTES: u64 = 64 << 20;

/// Frames that a run has unconfirmed at most: as many as can have a stream open over QUIC.
const MOST_UNCONFIRMED_FRAMES: u64 = 4_096;

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
    describing: usize,
    offered: VecDeque<Vec<Offered>>,
    need_hash: Vec<Sequence>,
    wanted: VecDeque<Wanted>,
    later: VecDeque<(Instant, Wanted)>,
    ready: VecDeque<Ready>,
    unconfirmed: HashMap<Sequence, Unconfirmed>,
    unconfirmed_bytes: u64,
    refused_since: Option<Instant>,
    /// Bytes handed over so far, this session.
    pub(super) handed_bytes: u64,
    stored: u64,
    already: u64,
    ended: bool,
    totals: bool,
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
            describing: 0,
            offered: VecDeque::new(),
            need_hash: Vec::new(),
            wanted: VecDeque::new(),
            later: VecDeque::new(),
            ready: VecDeque::new(),
            unconfirmed: HashMap::new(),
            unconfirmed_bytes: 0,
            refused_since: None,
            handed_bytes: 0,
            stored: 0,
            already: 0,
            ended: false,
            totals: false,
        }
    }

    /// Starts whatever can be started, and says what the receiver has to be told. Before the
    /// welcome (`share` is `None`) frames are offered, which saves a round trip, but not sent.
    /// `fresh` is the places in the schedule that go before the backlog.
    pub(super) fn pump(
        &mut self,
        ledger: &mut Ledger,
        share: Option<Share>,
        fresh: &Range<u64>,
    ) -> Option<Message> {
        self.look_up_more(ledger);
        let share = share?;
        self.take_up_again();
        while let Some(next) = self.next_wanted(fresh) {
            let Wanted { sequence, bytes, .. } = next;
            let fits = self.has_room(bytes, share)
                || fresh.contains(&next.slot) && self.make_room(bytes, share, fresh.start);
            if !fits {
                break;
            }
            let place = self.wanted.iter().position(|wanted| wanted.sequence == sequence)?;
            self.wanted.remove(place);
            self.unconfirmed.insert(sequence, Unconfirmed { bytes, handed: false });
            self.unconfirmed_bytes += bytes;
            self.ask(Work::Read { sequence, limit: share.max_frame });
        }
        self.end_if_settled(ledger)
    }

    /// The frame that is read next. While the queue begins with a backlog, fresh ones overtake it.
    fn next_wanted(&self, fresh: &Range<u64>) -> Option<Wanted> {
        let first = *self.wanted.front()?;
        if first.slot >= fresh.start {
            return Some(first);
        }
        let urgent = self.wanted.iter().find(|wanted| fresh.contains(&wanted.slot));
        urgent.copied().or(Some(first))
    }

    fn has_room(&self, bytes: u64, share: Share) -> bool {
        let first = self.unconfirmed.is_empty();
        let fits = self.unconfirmed_bytes.saturating_add(bytes) <= share.bytes;
        first || fits && self.unconfirmed.len() < share.frames
    }

    /// Puts late frames back that were read and still wait, the youngest first, until so many bytes
    /// have room. They are those before the place `fresh` in the schedule.
    fn make_room(&mut self, bytes: u64, share: Share, fresh: u64) -> bool {
        while !self.has_room(bytes, share) {
            let late = self.ready.partition_point(|ready| ready.slot < fresh);
            let Some(youngest) = late.checked_sub(1).and_then(|last| self.ready.remove(last))
            else {
                return false;
            };
            let Ready { sequence, slot, .. } = youngest;
            let bytes = self.release(sequence);
            self.wanted.push_front(Wanted { sequence, bytes, slot });
        }
        true
    }

    fn look_up_more(&mut self, ledger: &mut Ledger) {
        while self.describing + self.offered.len() < OFFERS_AHEAD
            && self.wanted.len() < WANTED_AHEAD
        {
            let (sequences, hash) = if self.need_hash.is_empty() {
                (ledger.begin(MAX_ENTRIES), self.checksum)
            } else {
                let most = self.need_hash.len().min(MAX_ENTRIES);
                (self.need_hash.drain(..most).collect(), true)
            };
            if sequences.is_empty() {
                return;
            }
            self.describing += 1;
            self.ask(Work::Describe { sequences, hash });
        }
    }

    /// Frames that were refused for a passing reason are wanted again after a pause.
    fn take_up_again(&mut self) {
        let now = Instant::now();
        while self.later.front().is_some_and(|&(when, _)| when <= now) {
            self.wanted.extend(self.later.pop_front().map(|(_, wanted)| wanted));
        }
    }

    fn end_if_settled(&mut self, ledger: &Ledger) -> Option<Message> {
        if self.ended || !ledger.is_settled() {
            return None;
        }
        self.ended = true;
        let named = ledger.failed.iter().take(MAX_ENTRIES);
        Some(Message::EndOfRun(EndOfRun {
            source: self.id,
            run: ledger.run,
            first: Sequence(0),
            captured: ledger.frames(),
            ended: UnixNanos::now(),
            lost: named
                .map(|failed| LostFrame {
                    sequence: Sequence(failed.sequence),
                    name: failed.name.clone(),
                })
                .collect(),
            lost_count: ledger.failed_count,
        }))
    }

    fn ask(&self, work: Work) {
        // The thread lives as long as this lane, but for a panic in a source, which ends the run.
        let _ = self.work.send(work);
    }

    /// Takes what the thread has done, and says what the receiver has to be told.
    pub(super) fn worked(&mut self, done: Done, ledger: &mut Ledger) -> Vec<Message> {
        match done {
            Done::Described { offers, failed } => {
                self.describing -= 1;
                for (sequence, error) in failed {
                    self.fail(sequence, error.to_string(), ledger);
                }
                return self.offer(offers);
            }
            Done::Read { sequence, content } => {
                let bytes = content.body.len() as u64;
                if let Some(known) = self.unconfirmed.get_mut(&sequence) {
                    self.unconfirmed_bytes = self.unconfirmed_bytes - known.bytes + bytes;
                    known.bytes = bytes;
                }
                let slot = ledger.slot(sequence);
                let place = self.ready.partition_point(|ready| ready.slot < slot);
                self.ready.insert(place, Ready { sequence, slot, content });
            }
            Done::Failed { sequence, error } => {
                self.release(sequence);
                self.fail(sequence, error.to_string(), ledger);
            }
        }
        Vec::new()
    }

    fn offer(&mut self, entries: Vec<OfferEntry>) -> Vec<Message> {
        let offered = |entry: &OfferEntry| Offered {
            sequence: entry.sequence,
            bytes: entry.bytes,
            hashed: entry.hash.is_some(),
        };
        let offers = Offer::batches(self.id, entries);
        self.offered.extend(offers.iter().map(|offer| offer.entries.iter().map(offered).collect()));
        offers.into_iter().map(Message::Offer).collect()
    }

    /// The receiver's verdicts on the oldest offer.
    pub(super) fn answered(&mut self, answer: Answer, ledger: &mut Ledger) -> Result<(), Nonsense> {
        let nonsense = |what: &str| Nonsense(format!("an answer {what}"));
        let offered = self.offered.pop_front().ok_or_else(|| nonsense("to no offer"))?;
        let total: u64 = answer.runs.iter().map(|run| run.count).sum();
        if total != offered.len() as u64 {
            return Err(nonsense("does not fit its offer"));
        }
        let verdicts =
            answer.runs.iter().flat_map(|run| std::iter::repeat_n(run.verdict, run.count as usize));
        for (verdict, Offered { sequence, bytes, hashed }) in verdicts.zip(offered) {
            match verdict {
                Verdict::Wanted => {
                    let slot = ledger.slot(sequence);
                    self.wanted.push_back(Wanted { sequence, bytes, slot });
                }
                // Otherwise each round trip would have the same frames read and hashed, without end.
                Verdict::NeedHash if hashed => {
                    return Err(nonsense("asks for a hash that it has"));
                }
                Verdict::NeedHash => self.need_hash.push(sequence),
                Verdict::Stored => {
                    self.already += 1;
                    ledger.found(sequence, bytes);
                }
                Verdict::Differs => {
                    let reason = "the receiver has a frame of this name with other content; \
                                  send to another folder, or replace it with --overwrite";
                    self.fail(sequence, reason.to_owned(), ledger);
                }
            }
        }
        Ok(())
    }

    /// The frame that goes next: the oldest fresh one that is due; or else the oldest late one, where
    /// `late_may_go`; or else the first that will be due. `is_late` and `is_due` tell of a place in the
    /// schedule; places go up along the queue.
    pub(super) fn next_ready(
        &self,
        is_late: impl Fn(u64) -> bool,
        is_due: impl Fn(u64) -> bool,
        late_may_go: bool,
    ) -> Option<(usize, &Ready)> {
        let fresh = self.ready.partition_point(|ready| is_late(ready.slot));
        let waits = self.ready.get(fresh).is_none_or(|ready| !is_due(ready.slot));
        let index = if waits && fresh > 0 && late_may_go { 0 } else { fresh };
        Some((index, self.ready.get(index)?))
    }

    /// Takes the frame at that place of the queue.
    pub(super) fn take_ready(&mut self, index: usize, ledger: &mut Ledger) -> Option<Ready> {
        let ready = self.ready.remove(index)?;
        ledger.sent(ready.sequence);
        if let Some(known) = self.unconfirmed.get_mut(&ready.sequence) {
            known.handed = true;
        }
        let bytes = ready.content.body.len() as u64;
        self.handed_bytes += bytes;
        Some(ready)
    }

    /// Frames that the receiver has stored: those of them that were open, and their lengths.
    pub(super) fn confirmed(
        &mut self,
        receipts: &Receipts,
        ledger: &mut Ledger,
    ) -> Result<Vec<(Sequence, u64)>, Nonsense> {
        let mut news = Vec::new();
        for run in &receipts.runs {
            // A run cannot name more frames than there are, whatever its count says.
            if run.count > ledger.frames() {
                return Err(Nonsense("a receipt for frames that were not sent".to_owned()));
            }
            for offset in 0..run.count {
                let sequence = Sequence(run.first.0.saturating_add(offset));
                if ledger.is_settled_frame(sequence) {
                    continue; // a second receipt, for a frame that a transport had to send twice
                }
                if !self.is_handed(sequence) {
                    if ledger.was_sent(sequence) {
                        continue; // refused at first, and about to be sent and confirmed again
                    }
                    return Err(Nonsense(format!("a receipt for frame {sequence}, not sent")));
                }
                let bytes = self.release(sequence);
                self.stored += 1;
                self.refused_since = None;
                if ledger.confirm(sequence, bytes) {
                    news.push((sequence, bytes));
                }
            }
        }
        Ok(news)
    }

    /// A frame that the receiver did not store. It is tried again where that can help, for at most
    /// `patience` without a success.
    pub(super) fn refused(
        &mut self,
        refusal: &Refusal,
        ledger: &mut Ledger,
        patience: Duration,
    ) -> Result<(), Nonsense> {
        if !self.is_handed(refusal.sequence) {
            if ledger.is_settled_frame(refusal.sequence) || ledger.was_sent(refusal.sequence) {
                return Ok(()); // a second answer to a frame that a transport had to send twice
            }
            return Err(Nonsense(format!("a refusal of frame {}, not sent", refusal.sequence)));
        }
        let bytes = self.release(refusal.sequence);
        let now = Instant::now();
        let since = *self.refused_since.get_or_insert(now);
        if refusal.code.may_pass() && now - since < patience {
            let (sequence, slot) = (refusal.sequence, ledger.slot(refusal.sequence));
            self.later.push_back((now + REFUSED_PAUSE, Wanted { sequence, bytes, slot }));
        } else {
            let reason = format!("{}: {}", refusal.code, refusal.reason);
            self.fail(refusal.sequence, reason, ledger);
        }
        Ok(())
    }

    /// True while the transport has the frame, or has sent it and no answer has come.
    fn is_handed(&self, sequence: Sequence) -> bool {
        self.unconfirmed.get(&sequence).is_some_and(|known| known.handed)
    }

    /// What the receiver counts for this source.
    pub(super) fn totalled(&mut self, totals: Totals) -> Result<(), Nonsense> {
        if !self.ended {
            return Err(Nonsense("totals before the end of the source".to_owned()));
        }
        // A frame that a transport had to send twice counts twice there.
        if totals.stored.saturating_add(totals.already) < self.stored + self.already {
            return Err(Nonsense(format!(
                "{} frames of {} were confirmed, but the receiver counts {}",
                self.stored + self.already,
                self.source.name(),
                totals.stored.saturating_add(totals.already)
            )));
        }
        self.totals = true;
        Ok(())
    }

    /// True while frames that were handed to the transport are not confirmed.
    pub(super) fn awaits_receipts(&self) -> bool {
        self.unconfirmed.values().any(|known| known.handed)
    }

    /// True while the receiver owes an answer, a receipt or the totals.
    pub(super) fn awaits_something(&self) -> bool {
        let totals = self.ended && !self.totals;
        totals || !self.offered.is_empty() || self.awaits_receipts()
    }

    /// True once both ends agree on what is stored.
    pub(super) fn is_done(&self) -> bool {
        self.totals
    }

    /// When something has to be taken up again without anything arriving.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.later.front().map(|&(when, _)| when)
    }

    fn release(&mut self, sequence: Sequence) -> u64 {
        let bytes = self.unconfirmed.remove(&sequence).map_or(0, |known| known.bytes);
        self.unconfirmed_bytes -= bytes;
        bytes
    }

    fn fail(&self, sequence: Sequence, reason: String, ledger: &mut Ledger) {
        let name = self.source.label(sequence);
        // The report has it, and so has whoever prints that.
        tracing::info!(source = %self.source.name(), %name, "not sent: {reason}");
        ledger.fail(sequence, name, reason);
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
