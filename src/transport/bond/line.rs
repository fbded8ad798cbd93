//! One connection of a session, and what is known of its path.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::super::{PathStats, SenderLink};
use super::Named;
use super::book::{Copied, Key};
use super::meter;
use super::steer::{Health, View};
use crate::wire::{Message, SourceId};

/// What a path is taken for, in bytes a second, before a frame has gone over it: a slow one costs a frame more than a
/// fast one gains it.
const UNPROVEN_RATE: f64 = 125_000.0;
/// Receipts after which its own figures are believed.
const PROVEN: u32 = 3;
/// The last of them by which its rate is bounded.
const SAMPLES: usize = 16;
/// A path is no faster than so many times what it was seen to carry.
const BELIEVED_TIMES: f64 = 2.0;
/// What was seen of a path is not known any more after so long.
const PROOF_LASTS: Duration = Duration::from_secs(10);
/// Copies that are let through to see it.
const MOST_TRIALS: usize = 2;
/// The rate of a path of which the transport tells nothing, at first.
const UNKNOWN_RATE: f64 = 1e6;

/// Bytes that a path may have and that are not through, as a multiple of its window, ...
const WINDOWS: u64 = 2;
/// ... and beyond that. More is a queue in which a frame is bound to one path that another would have sooner.
const SPARE: u64 = 256 << 10;
/// The same where the window is not known: time of the rate.
const SPARE_TIME: f64 = 0.3;

/// Beyond a round trip and a quarter, nothing that is owed stays out for longer on a path that is well, ...
const PATIENCE: Duration = Duration::from_millis(40);
/// ... and beyond three round trips on one that carries anything.
const LAST_PATIENCE: Duration = Duration::from_millis(100);
/// Less than this is a pause of one of the machines.
const LEAST_PATIENCE: Duration = Duration::from_millis(200);
/// A transport that does not tell of packets is judged by receipts, which take longer.
const RECEIPT_PATIENCE: Duration = Duration::from_millis(150);

/// How a connection stands to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The session cannot be joined yet.
    Waits,
    /// It has asked to join.
    Joins,
    /// It carries frames.
    Joined,
    /// Another takes its place: it may bring what it has until then.
    Leaves(Instant),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: u64,
    /// The place of its link among those that the user named.
    pub(super) slot: usize,
    pub(super) link: SenderLink,
    pub(super) stage: Stage,
    pub(super) health: Health,
    pub(super) outbox: VecDeque<Message>,
    pub(super) stats: PathStats,
    /// A frame that went elsewhere, and is left here to see by it that the path carries again.
    pub(super) left: Option<watch::Sender<()>>,
    /// True where the one whose place it takes still carries what it has.
    pub(super) drains: bool,
    /// What it was given and is not confirmed: live frames, and all.
    live: Load,
    all: Load,
    /// Since when something is owed and nothing has come.
    owed: Option<Instant>,
    samples: VecDeque<f64>,
    proofs: u32,
    proven: Option<Instant>,
    /// The first connection is believed: nothing is known of any other either.
    pub(super) is_first: bool,
    /// Copies of frames that were there sooner elsewhere, and are to show how this path is.
    trials: VecDeque<(Key, Copied)>,
    /// When something was said or given last.
    said: Instant,
    /// When it was tried out with a copy.
    pub(super) sounded: Option<Instant>,
    /// Since when it has been there, or was back after it had been dead.
    pub(super) since: Instant,
    /// What of its cost its link's meter has.
    metered: u64,
    /// Answers to offers that are to come over it, of each source, ...
    answers: BTreeMap<SourceId, u64>,
    /// ... and the first of them that are to what was said before it led: that was said again since.
    stale: BTreeMap<SourceId, u64>,
    /// Sources whose end was said over it, which is said once.
    ended: BTreeSet<SourceId>,
}

/// Frames that a path has.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// Their bytes.
    bytes: u64,
    /// When they will have left, at the path's rate.
    busy: Instant,
}

impl Load {
    fn add(&mut self, bytes: u64, takes: Duration, now: Instant) {
        self.busy = self.busy.max(now) + takes;
        self.bytes += bytes;
    }
}

impl Line {
    pub(super) fn new(id: u64, slot: usize, link: SenderLink, now: Instant) -> Self {
        let stats = link.path.look();
        Self {
            id,
            slot,
            link,
            stage: Stage::Waits,
            health: Health::Well,
            outbox: VecDeque::new(),
            stats,
            left: None,
            drains: false,
            live: Load { bytes: 0, busy: now },
            all: Load { bytes: 0, busy: now },
            owed: None,
            samples: VecDeque::new(),
            proofs: 0,
            proven: None,
            is_first: false,
            trials: VecDeque::new(),
            said: now,
            sounded: None,
            since: now,
            metered: 0,
            answers: BTreeMap::new(),
            stale: BTreeMap::new(),
            ended: BTreeSet::new(),
        }
    }

    /// Looks how the path is; true where its health is another than before.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let stats = self.link.path.look();
        let before = std::mem::replace(&mut self.stats, stats);
        let came = match stats.segments {
            // A peer that has no room owes nothing, and neither does one whose answer is being made.
            Some(segments) => !segments.is_due || before.segments != stats.segments,
            None => stats.datagrams_received != before.datagrams_received,
        };
        if came {
            self.hear(now);
        }
        self.link.path.awaits(self.owed.is_some());
        let health = self.judged(now);
        std::mem::replace(&mut self.health, health) != health
    }

    /// What it has cost its link since it was asked last, both ways.
    pub(super) fn cost(&mut self) -> u64 {
        let cost = meter::cost(&self.stats);
        cost.saturating_sub(std::mem::replace(&mut self.metered, cost))
    }

    /// Bytes of frames that it was given and that are not confirmed.
    pub(super) fn under_way(&self) -> u64 {
        self.all.bytes
    }

    fn judged(&self, now: Instant) -> Health {
        let Some(owed) = self.owed else { return Health::Well };
        let silent = now.saturating_duration_since(owed);
        let [ill, dead] = self.patience();
        match silent {
            silent if silent >= dead => Health::Dead,
            silent if silent >= ill => Health::Ill,
            _ => Health::Well,
        }
    }

    /// After which silence it is ill, and dead.
    fn patience(&self) -> [Duration; 2] {
        let rtt = self.stats.rtt;
        if self.stats.datagrams_received.is_some() {
            let dead = (rtt * 3 + LAST_PATIENCE).max(LEAST_PATIENCE);
            return [rtt + rtt / 4 + PATIENCE, dead];
        }
        if self.stats.segments.is_some() {
            // The kernel sends again what is missing at a frame's end after 200 ms and more.
            let ill = rtt * 2 + RECEIPT_PATIENCE;
            return [ill, ill * 3];
        }
        let drained = Duration::from_secs_f64((self.all.bytes as f64 / self.rate()).min(60.0));
        let ill = drained + rtt * 2 + RECEIPT_PATIENCE;
        [ill, ill * 3]
    }

    /// When it may be judged otherwise without anything happening.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let owed = self.owed?;
        let [ill, dead] = self.patience();
        match self.health {
            Health::Well => Some(owed + ill),
            Health::Ill => Some(owed + dead),
            Health::Dead => None,
        }
    }

    /// Something came.
    pub(super) fn hear(&mut self, now: Instant) {
        self.owed = (self.all.bytes > 0).then_some(now);
        self.left = None;
    }

    /// Something was said or given that is answered.
    pub(super) fn owes(&mut self, now: Instant) {
        self.owed.get_or_insert(now);
        self.said = now;
    }

    /// When something was said or given last.
    pub(super) fn said(&self) -> Instant {
        self.said
    }

    /// It was given a frame of so many bytes.
    pub(super) fn given(&mut self, bytes: u64, live: bool, now: Instant) {
        let takes = Duration::from_secs_f64((bytes as f64 / self.rate()).min(60.0));
        self.all.add(bytes, takes, now);
        if live {
            self.live.add(bytes, takes, now);
        }
        self.owes(now);
    }

    /// It does not have that frame any more.
    pub(super) fn rid(&mut self, bytes: u64, live: bool) {
        self.all.bytes = self.all.bytes.saturating_sub(bytes);
        if live {
            self.live.bytes = self.live.bytes.saturating_sub(bytes);
        }
    }

    /// It has nothing.
    pub(super) fn is_idle(&self) -> bool {
        self.all.bytes == 0
    }

    /// A frame that it was given has been confirmed over it, so long after it was given.
    pub(super) fn proves(&mut self, bytes: u64, given: Instant, now: Instant) {
        let took = now.saturating_duration_since(given);
        let took = took.saturating_sub(self.stats.rtt).max(Duration::from_millis(1));
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(bytes as f64 / took.as_secs_f64());
        self.proofs = self.proofs.saturating_add(1);
        self.proven = Some(now);
    }

    /// A copy of a frame is there sooner elsewhere. It is taken back, unless little is known of this path.
    pub(super) fn is_beaten(&mut self, key: Key, copied: Copied, now: Instant) {
        if self.health != Health::Well {
            // One is left where nothing comes, to see by it that something does.
            self.left = Some(copied.keep);
            return;
        }
        let is_known = self.proven.is_some_and(|proven| now - proven < PROOF_LASTS);
        if !(self.is_proven() && is_known) && self.trials.len() < MOST_TRIALS {
            self.trials.push_back((key, copied));
        }
    }

    /// A copy of a frame of so many bytes is there, after another.
    pub(super) fn is_tried(&mut self, is_meant: impl Fn(Key) -> bool, now: Instant) {
        while let Some(place) = self.trials.iter().position(|(key, _)| is_meant(*key)) {
            if let Some((_, copied)) = self.trials.remove(place) {
                self.proves(copied.bytes, copied.given, now);
            }
        }
    }

    /// A copy that was to show how it is does not come any more.
    pub(super) fn is_no_trial(&mut self, key: Key) {
        self.trials.retain(|(of, _)| *of != key);
    }

    /// Whether its own figures are believed.
    pub(super) fn is_proven(&self) -> bool {
        self.proofs >= PROVEN || self.is_first
    }

    /// Bytes that it carries in a second.
    pub(super) fn rate(&self) -> f64 {
        let seen = self.samples.iter().copied().fold(0.0, f64::max);
        let rtt = self.stats.rtt.as_secs_f64().max(1e-3);
        let told = self.stats.window as f64 / rtt;
        match (self.is_proven(), told > 0.0) {
            (true, true) if self.proofs >= PROVEN => told.min(seen * BELIEVED_TIMES),
            (true, true) => told,
            (true, false) if seen > 0.0 => seen,
            (true, false) => UNKNOWN_RATE,
            (false, true) => told.min(UNPROVEN_RATE.max(seen)),
            (false, false) => UNKNOWN_RATE,
        }
        .max(10_000.0)
    }

    /// What it is for a live frame, which goes before all others that it has, or for another.
    pub(super) fn view(&self, live: bool, now: Instant) -> View {
        let load = if live { self.live } else { self.all };
        let (rate, rtt) = (self.rate(), self.stats.rtt);
        // By the frames it was given, by what has not left, and by what has not arrived beyond what a path holds.
        let seconds = |bytes: f64| Duration::from_secs_f64((bytes.max(0.0) / rate).min(60.0));
        let under = load.bytes as f64;
        let waits = load.busy.saturating_duration_since(now).min(seconds(under));
        let queue = seconds(under - rate * (rtt.as_secs_f64() + 0.01));
        let sent = self.stats.packets_sent;
        let loss = if sent > 200 { self.stats.packets_lost as f64 / sent as f64 } else { 0.0 };
        View {
            health: self.health,
            rtt,
            rate,
            loss,
            waits: waits.max(queue),
            has_room: self.has_room(),
        }
    }

    /// It takes another frame.
    pub(super) fn has_room(&self) -> bool {
        if self.stage != Stage::Joined || self.link.frames.capacity() == 0 {
            return false;
        }
        match self.stats.window {
            0 => {
                let most = self.rate() * (self.stats.rtt.as_secs_f64() + SPARE_TIME);
                self.all.bytes <= most as u64 + SPARE
            }
            window => self.stats.with_transport <= window.saturating_mul(WINDOWS) + SPARE,
        }
    }

    /// True where something is owed and nothing has come for so long.
    pub(super) fn is_silent_for(&self, time: Duration, now: Instant) -> bool {
        self.owed.is_some_and(|owed| now.saturating_duration_since(owed) >= time)
    }

    /// True where frames may go over it.
    pub(super) fn is_joined(&self) -> bool {
        self.stage == Stage::Joined
    }

    /// Hands on what is to be said, as far as there is room for it.
    pub(super) fn flush(&mut self, now: Instant) {
        while !self.outbox.is_empty()
            && let Ok(permit) = self.link.messages.try_reserve()
            && let Some(message) = self.outbox.pop_front()
        {
            match &message {
                Message::Offer(offer) => *self.answers.entry(offer.source).or_default() += 1,
                Message::EndOfRun(end) => {
                    self.ended.insert(end.source);
                }
                _ => {}
            }
            permit.send(message);
            self.owed.get_or_insert(now);
            self.said = now;
        }
    }

    /// It leads from now on, and is told all again that has no answer: what it was told before is answered first, and that
    /// has been answered over another, or will be once more.
    pub(super) fn leads(&mut self, again: impl Iterator<Item = Message>) {
        self.stale = self.answers.clone();
        let ended = &self.ended;
        let is_new = |message: &Message| !matches!(message, Message::EndOfRun(end) if ended.contains(&end.source));
        self.outbox.extend(again.filter(is_new));
    }

    /// An answer has come over it; true where it is to what was said since it leads. Answers of one source come in the
    /// order of its offers over one connection, so it is known by counting.
    pub(super) fn is_answered(&mut self, source: SourceId) -> bool {
        if let Some(owed) = self.answers.get_mut(&source) {
            *owed = owed.saturating_sub(1);
        }
        match self.stale.get_mut(&source).filter(|stale| **stale > 0) {
            Some(stale) => {
                *stale -= 1;
                false
            }
            None => true,
        }
    }

    /// The name by which it is told of.
    pub(super) fn name<'a>(&self, links: &'a [Named]) -> &'a str {
        links.get(self.slot).map_or("", |link| link.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::super::super::{LinkEnd, PathWatch, Transport, Via};
    use super::*;
    use crate::frame::{RunId, Sequence, UnixNanos};
    use crate::wire::{EndOfRun, Offer};

    #[tokio::test(start_paused = true)]
    async fn where_all_is_said_again_only_the_last_answers_count_and_an_end_is_said_once() {
        let (messages, mut told) = mpsc::channel(16);
        let ((frames, _given), (_words, incoming)) = (mpsc::channel(1), mpsc::channel(1));
        let address = ([127, 0, 0, 1], 9).into();
        let via = Via { transport: Transport::Quic, address, why: None, link: None };
        let path = PathWatch::new(PathStats::default);
        let link = SenderLink { messages, frames, incoming, end: LinkEnd::new().0, path, via };
        let now = Instant::now();
        let mut line = Line::new(0, 0, link, now);
        let (source, other) = (SourceId(3), SourceId(4));
        let offer = Message::Offer(Offer { source, entries: Vec::new() });
        let end = Message::EndOfRun(EndOfRun {
            source: other,
            run: RunId([1; 16]),
            first: Sequence(0),
            captured: 0,
            ended: UnixNanos(1),
            lost: Vec::new(),
            lost_count: 0,
        });
        line.leads([offer.clone(), offer.clone(), end.clone()].into_iter());
        line.flush(now);
        assert!(line.is_answered(source));
        // Another has led meanwhile, and this one does again.
        line.leads([offer.clone(), end.clone()].into_iter());
        line.flush(now);
        let said: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).collect();
        assert_eq!(said, [offer.clone(), offer.clone(), end, offer]);
        assert!(!line.is_answered(source), "it is to what was said the first time");
        assert!(line.is_answered(source) && line.is_answered(other));
    }
}
