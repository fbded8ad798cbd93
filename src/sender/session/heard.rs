//! What the receiver says in a session.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::super::lane::{Confirmed, Lane, Nonsense, Share};
use super::super::stopped::INTERRUPTED;
use super::super::tend::tend;
use super::{LAST_ORIGIN, State};
use crate::frame::{Sequence, UnixNanos, quoted};
use crate::wire::{Declined, Message, Notice, Opened, Unopened, Welcome};

/// How long a run that is stopped waits for the receipts of what it has sent.
const LAST_RECEIPTS: Duration = Duration::from_secs(1);

/// How long the receiver is given to note which frames will not come: two round trips, behind what is on its way.
const LAST_WORDS: Duration = Duration::from_secs(3);

impl State<'_> {
    /// Takes a message from the receiver.
    pub(super) fn heard(&mut self, message: Message) -> Result<(), Nonsense> {
        self.inquiry.heard(Instant::now());
        match message {
            Message::Welcome(welcome) => self.welcomed(&welcome),
            Message::Answer(answer) => {
                let lane = self.lane(answer.source)?;
                let (schedule, before) = (self.schedule(), self.run.ledgers[lane].settled());
                self.lanes[lane].answered(answer, &mut self.run.ledgers[lane], &schedule)?;
                self.got_on();
                self.settled(lane, before);
                Ok(())
            }
            Message::Receipts(receipts) => {
                let lane = self.lane(receipts.source)?;
                let before = self.run.ledgers[lane].settled();
                let news = self.lanes[lane].confirmed(&receipts, &mut self.run.ledgers[lane])?;
                if !news.is_empty() {
                    self.got_on();
                }
                self.tell(lane, &news, receipts.stored);
                self.settled(lane, before);
                Ok(())
            }
            Message::Refusal(refusal) => {
                let lane = self.lane(refusal.source)?;
                let before = self.run.ledgers[lane].settled();
                let took = self.lanes[lane].refused(&refusal, &mut self.run.ledgers[lane])?;
                if took {
                    self.got_on();
                }
                let failed = self.run.ledgers[lane].settled() > before;
                if took && !failed {
                    // What has failed for good is in the report, once.
                    let what = format!("{}: {}", refusal.code, quoted(&refusal.reason));
                    self.run.progress.refused(&refusal.code.to_string(), what);
                }
                self.settled(lane, before);
                Ok(())
            }
            Message::Totals(totals) => {
                let lane = self.lane(totals.source)?;
                self.lanes[lane].totalled(totals)?;
                self.got_on();
                Ok(())
            }
            Message::ClockReply { asked, arrived, replied } => {
                let [asked, arrived, replied] = [asked, arrived, replied].map(UnixNanos);
                let now = UnixNanos::now();
                self.run.figures.clock(asked, arrived, replied, now);
                if let Some(observer) = &self.run.options.observer {
                    observer.clock(asked, arrived, replied, now);
                }
                Ok(())
            }
            Message::Noted(noted) => {
                let lane = self.lane(noted.source)?;
                if self.lanes[lane].noted(&noted, &mut self.run.ledgers[lane])? {
                    self.got_on();
                }
                Ok(())
            }
            Message::Notice(notice) => {
                if notice.kind == Notice::ROOM_AGAIN {
                    self.lanes.iter_mut().for_each(Lane::has_room_again);
                }
                if self.run.progress.is_news(notice.kind) {
                    tracing::warn!("the receiver says: {}", quoted(&notice.text));
                }
                Ok(())
            }
            Message::Opened(opened) => self.opened(opened),
            Message::Declined(declined) => self.declined(&declined),
            Message::Skipped { .. } => Ok(()),
            other => Err(Nonsense(format!("only a sender says {}", other.name()))),
        }
    }

    pub(super) fn welcomed(&mut self, welcome: &Welcome) -> Result<(), Nonsense> {
        if self.share.is_some() {
            return Err(Nonsense("a second welcome".to_owned()));
        }
        let lanes = self.lanes.len();
        if welcome.next.len() != lanes {
            return Err(Nonsense("a welcome that does not fit the hello".to_owned()));
        }
        for Unopened { source, why } in &welcome.unopened {
            let lane = self.lane(*source)?;
            self.lanes[lane].unopened = Some(why.clone());
        }
        for (lane, &next) in welcome.next.iter().enumerate() {
            self.run.ledgers[lane].declined = None;
            if self.lanes[lane].unopened.is_none() {
                self.begin_at(lane, next)?;
            }
        }
        if let Some(what) = self.unopened_words() {
            self.run.progress.refused(&what, format!("{what}; the others go on meanwhile"));
        }
        self.share = Some(Share::of(welcome, lanes));
        tracing::debug!(receiver = %welcome.agent, durable = welcome.durable, "welcomed");
        self.next_probe = Some(Instant::now());
        self.got_on();
        Ok(())
    }

    /// A source that goes on begins behind what the receiver has of it. Another begins at 0, whatever that is.
    fn begin_at(&mut self, lane: usize, next: Sequence) -> Result<(), Nonsense> {
        let (ledger, source) = (&mut self.run.ledgers[lane], &self.run.sources[lane]);
        if ledger.origin().is_some() {
            return Ok(());
        }
        let origin = source.origin(next);
        if origin.0 > LAST_ORIGIN {
            let name = source.name();
            let why = format!("frames of {name} as far as {next}, behind which there is no room");
            return Err(Nonsense(why));
        }
        if let Some(remembered) = source.remembered() {
            remembered.begun(origin);
        }
        ledger.begin_at(origin);
        Ok(())
    }

    /// A source is open at the receiver that was not. Over several connections that is said more than once.
    fn opened(&mut self, opened: Opened) -> Result<(), Nonsense> {
        let lane = self.lane(opened.source)?;
        if self.lanes[lane].is_declined {
            return Err(Nonsense("it opens a source that it has declined".to_owned()));
        }
        if !self.lanes[lane].opened() {
            return self.lanes[lane].nothing_new();
        }
        self.begin_at(lane, opened.next)?;
        self.got_on();
        let name = self.run.sources[lane].name();
        self.run.progress.news(format!("source {name} is open at the receiver now"));
        Ok(())
    }

    /// The receiver will not have a source of this sender. Over several connections that is said more than once.
    fn declined(&mut self, declined: &Declined) -> Result<(), Nonsense> {
        let lane = self.lane(declined.source)?;
        if self.lanes[lane].unopened.is_none() {
            return Err(Nonsense("it declines a source that it has opened".to_owned()));
        }
        let (name, why) = (self.run.sources[lane].name(), quoted(&declined.why));
        let words = format!("the receiver does not take source {name}: {why}");
        if self.lanes[lane].is_declined {
            return self.lanes[lane].nothing_new();
        }
        self.run.ledgers[lane].declined = Some(words.clone());
        self.lanes[lane].is_declined = true;
        self.got_on();
        let others = if self.lanes.len() > 1 { "; the others go on" } else { "" };
        self.run.progress.refused(&words, format!("{words}{others}"));
        Ok(())
    }

    /// Which sources are not open at the receiver, and why, where there are any.
    fn unopened_words(&self) -> Option<String> {
        let named = self.lanes.iter().zip(self.run.sources).zip(&*self.run.ledgers);
        let words = named.filter_map(|((lane, source), ledger)| {
            if let Some(words) = ledger.declined.as_ref().filter(|_| lane.is_declined) {
                return Some(words.clone());
            }
            // Why one is declined is said next.
            let why = quoted(lane.unopened.as_ref().filter(|why| !why.is_empty())?);
            Some(format!("source {} is not open at the receiver: {why}", source.name()))
        });
        let words: Vec<_> = words.collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Why a receiver was not waited for any longer, with what it has said of its sources.
    pub(super) fn with_unopened(&self, why: String) -> String {
        match self.unopened_words() {
            Some(words) => format!("{words} ({why})"),
            None => why,
        }
    }

    /// Tells whoever wants to know of confirmed frames.
    pub(super) fn tell(&mut self, lane: usize, news: &[Confirmed], stored: UnixNanos) {
        let Some(schedule) = *self.run.schedule else { return };
        let heard = UnixNanos::now();
        for Confirmed { sequence, bytes, due } in news {
            let Some(due) = due else { continue };
            let captured = schedule.unix(due.at);
            if due.live {
                self.run.figures.stored(lane, captured, stored, heard);
            }
            if let Some(observer) = &self.run.options.observer {
                let source = self.lanes[lane].id;
                let sequence = self.run.ledgers[lane].sequence(*sequence);
                observer.confirmed(source, sequence, *bytes, due.at, captured, stored);
            }
        }
    }

    /// Shows what has become of a source of which so many frames were settled before. From the first that is
    /// settled on the receiver may take as long as ever.
    pub(super) fn settled(&mut self, lane: usize, before: u64) {
        if self.run.ledgers[lane].settled() > before {
            self.stall.renew(self.run.limits[1]);
        }
        self.show(lane);
    }

    /// The end of a run that is stopped: the receiver confirms what it has, and notes what will not come, for a bounded
    /// time. Cancel safe.
    pub(super) async fn last_words(
        &mut self,
        messages: &mpsc::Sender<Message>,
        incoming: &mut mpsc::Receiver<Message>,
    ) {
        let last = self.hear_last_receipts(incoming);
        let _ = tokio::time::timeout(LAST_RECEIPTS, last).await;
        let rest = self.declare_rest(messages, incoming);
        let _ = tokio::time::timeout(LAST_WORDS, rest).await;
    }

    /// Takes the receipts of frames that are on their way, so that what is stored is not called
    /// missing when the user stops the run. Cancel safe.
    async fn hear_last_receipts(&mut self, incoming: &mut mpsc::Receiver<Message>) {
        while self.lanes.iter().any(Lane::awaits_receipts) {
            let Some(message) = incoming.recv().await else { return };
            if self.heard(message).is_err() {
                return;
            }
        }
    }

    /// Tells the receiver, at the end of a run that is stopped, that the frames that are left of its sources will not
    /// come, and waits until it has noted that. Not so of a list that is the same each time, nor of frames that are
    /// kept: another run goes on with them. Cancel safe.
    async fn declare_rest(
        &mut self,
        messages: &mpsc::Sender<Message>,
        incoming: &mut mpsc::Receiver<Message>,
    ) {
        if self.share.is_none() {
            return;
        }
        // Of one that is not open nothing can be told.
        let is_open = |lane: usize| self.lanes[lane].unopened.is_none();
        let ends: Vec<usize> = (0..self.lanes.len())
            .filter(|&lane| self.run.ledgers[lane].goes_on && is_open(lane))
            .collect();
        let keeps = |lane: usize| {
            self.run.sources[lane].remembered().is_some_and(crate::source::Remembered::keeps)
        };
        let kept: Vec<usize> = ends.iter().copied().filter(|&lane| keeps(lane)).collect();
        for &lane in &ends {
            let source = self.run.sources[lane].as_ref();
            let dropped = tend(source, &mut self.run.ledgers[lane], None, Duration::ZERO);
            self.lanes[lane].forget(&dropped);
            if !kept.contains(&lane) {
                self.lanes[lane].give_up(&mut self.run.ledgers[lane], INTERRUPTED);
            }
        }
        let is_told = |state: &Self, lane: usize| {
            let is_kept = kept.contains(&lane) && !state.run.ledgers[lane].is_settled();
            is_kept && state.run.ledgers[lane].drops.are_noted() || state.lanes[lane].is_done()
        };
        while !ends.iter().all(|&lane| is_told(self, lane)) {
            for &lane in &ends {
                let message = self.lanes[lane].last_word(&mut self.run.ledgers[lane]);
                self.outbox.extend(message);
            }
            while let Some(message) = self.outbox.pop_front() {
                if messages.send(message).await.is_err() {
                    return;
                }
            }
            let Some(message) = incoming.recv().await else { return };
            if self.heard(message).is_err() {
                return;
            }
        }
    }

    pub(super) fn show(&self, lane: usize) {
        let source = self.run.sources[lane].as_ref();
        self.run.progress.count(lane, source, &self.run.ledgers[lane]);
    }
}
