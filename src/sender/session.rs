//! One session with a receiver: a single task that owns all of its state.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::glance::Glance;
use super::inquiry::Inquiry;
use super::lane::{Lane, Nonsense, Share};
use super::ledger::Ledger;
use super::progress::Progress;
use super::schedule::{Pace, Schedule};
use super::worker::Done;
use super::{SendOptions, stopped};
use crate::alarm::Alarm;
use crate::frame::{FrameMeta, UnixNanos};
use crate::source::Source;
use crate::transport::{
    LinkEnd, MESSAGE_QUEUE, OutgoingFrame, PathStats, SenderLink, TransportError,
};
use crate::wire::{
    Capabilities, CloseCode, FrameHeader, Hello, Message, SourceHello, SourceId, Welcome,
};

/// How long a receiver may take to answer the hello.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a run that is stopped waits for the receipts of what it has sent.
const LAST_RECEIPTS: Duration = Duration::from_secs(1);

/// How often the receiver's clock is asked for, while somebody observes.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes that may be with the transport and not through, as a multiple of its congestion window: one
/// window is on the way, another waits to follow it. More would only be a queue at this end, in
/// which a fresh frame cannot overtake and nothing can be held back any more.
const WINDOWS_UNDERWAY: u64 = 2;

/// Beyond that, so that a small window does not make large frames wait for one another's last
/// acknowledgements.
const SPARE_UNDERWAY: u64 = 1 << 20;

/// What late frames may add to it while fresh ones are handed over: a quarter of what a QUIC connection
/// holds. An outage makes frames late that are with the transport already; if they kept fresh frames
/// from it, the first of these would go only when the backlog has.
const LATE_UNDERWAY: u64 = 8 << 20;

/// The same in bulk, where nothing is urgent: where round trips are short the window is small, and
/// what takes time is the storing. At 500 MB/s this covers 30 ms of it.
const SPARE_UNDERWAY_IN_BULK: u64 = 16 << 20;

/// How a session ended.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// Every frame is settled, and both ends agree.
    Done,
    /// The user stopped it.
    Stopped,
    /// The link could not be opened or was lost.
    Link(TransportError),
}

pub(super) struct Session<'a> {
    link: SenderLink,
    state: State<'a>,
}

struct State<'a> {
    lanes: Vec<Lane>,
    ledgers: &'a mut [Ledger],
    options: &'a SendOptions,
    schedule: &'a mut Option<Schedule>,
    progress: &'a Progress,
    results: mpsc::UnboundedReceiver<(usize, Done)>,
    outbox: VecDeque<Message>,
    share: Option<Share>,
    opened: Instant,
    next_probe: Option<Instant>,
    inquiry: Inquiry,
}

/// The frame that goes next.
#[derive(Clone, Copy)]
struct Next {
    lane: usize,
    /// Its place in the lane's queue.
    place: usize,
    due: Instant,
    priority: i32,
    /// When it will be late, and its priority from then on.
    late: Option<(Instant, i32)>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        link: SenderLink,
        sources: &[Arc<dyn Source>],
        ledgers: &'a mut [Ledger],
        options: &'a SendOptions,
        schedule: &'a mut Option<Schedule>,
        progress: &'a Progress,
    ) -> Self {
        let (report, results) = mpsc::unbounded_channel();
        let lane = |(index, source): (usize, &Arc<dyn Source>)| {
            Lane::new(index, source.clone(), options, report.clone())
        };
        let lanes = sources.iter().enumerate().map(lane).collect();
        let hello = Message::Hello(Hello {
            session: rand::random(),
            overwrite: options.overwrite,
            agent: concat!("framelane/", env!("CARGO_PKG_VERSION")).to_owned(),
            sources: sources.iter().zip(&*ledgers).map(introduce).collect(),
            capabilities: Capabilities::default(),
        });
        let state = State {
            lanes,
            ledgers,
            options,
            schedule,
            progress,
            results,
            outbox: VecDeque::from([hello]),
            share: None,
            opened: Instant::now(),
            next_probe: None,
            inquiry: Inquiry::new(Instant::now()),
        };
        Self { link, state }
    }

    /// Runs the session to its end.
    pub(super) async fn run(mut self, stop: &mut watch::Receiver<bool>) -> SessionEnd {
        let end = self.exchange(stop).await;
        for ledger in self.state.ledgers.iter_mut() {
            ledger.session_lost();
        }
        end
    }

    async fn exchange(&mut self, stop: &mut watch::Receiver<bool>) -> SessionEnd {
        let Self { link, state } = self;
        let SenderLink { messages, frames, incoming, end, path } = link;
        let mut glance = Glance::default();
        loop {
            // Everything that is there already is taken before anything is started or waited for:
            // waking up for each frame, receipt and message by itself costs more than they do.
            if let Err(Nonsense(what)) = state.take_all(messages, incoming) {
                return protocol_error(end, what).await;
            }
            let path_now = glance.look(path);
            state.pump(&path_now);
            if state.is_done() {
                end.close(CloseCode::Done, "done").await;
                return SessionEnd::Done;
            }
            let next = state.hand_over(frames, &path_now, glance.is_silent());
            let sendable = next.filter(|next| next.due <= Instant::now());
            let due = next.map(|next| next.due).filter(|_| sendable.is_none());
            let wake = earlier(earlier(due, glance.wakes_at()), state.wakes_at());
            tokio::select! {
                message = incoming.recv() => match message {
                    Some(message) => {
                        if let Err(Nonsense(what)) = state.heard(message) {
                            return protocol_error(end, what).await;
                        }
                    }
                    None => return SessionEnd::Link(end.cause().await),
                },
                Some((lane, done)) = state.results.recv() => state.worked(lane, done),
                permit = messages.reserve(), if !state.outbox.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some(message) = state.outbox.pop_front() {
                            permit.send(message);
                        }
                    }
                    Err(_) => return SessionEnd::Link(end.cause().await),
                },
                permit = frames.reserve(), if sendable.is_some() => match permit {
                    Ok(permit) => {
                        if let Some(frame) = sendable.and_then(|next| state.take_frame(&next)) {
                            permit.send(frame);
                        }
                    }
                    Err(_) => return SessionEnd::Link(end.cause().await),
                },
                () = path.drained(), if sendable.is_none() => glance.forget(),
                () = sleep_until(wake) => {
                    if let Some(why) = state.unwelcome() {
                        end.close(CloseCode::Shutdown, &why).await;
                        return SessionEnd::Link(TransportError::Silent { why });
                    }
                }
                () = stopped(stop) => {
                    let last = state.hear_last_receipts(incoming);
                    let _ = tokio::time::timeout(LAST_RECEIPTS, last).await;
                    end.close(CloseCode::Shutdown, "the sender was stopped").await;
                    return SessionEnd::Stopped;
                }
            }
        }
    }
}

/// A source as the hello names it.
fn introduce((source, ledger): (&Arc<dyn Source>, &Ledger)) -> SourceHello {
    let (name, run, began) = (source.name().clone(), ledger.run, ledger.began);
    SourceHello::new(name, run, began)
}

async fn protocol_error(end: &LinkEnd, why: String) -> SessionEnd {
    end.close(CloseCode::Protocol, &why).await;
    SessionEnd::Link(TransportError::Nonsense { why })
}

impl State<'_> {
    /// Takes what has come from the sources and the receiver, and sends messages, without waiting.
    fn take_all(
        &mut self,
        messages: &mpsc::Sender<Message>,
        incoming: &mut mpsc::Receiver<Message>,
    ) -> Result<(), Nonsense> {
        while let Ok((lane, done)) = self.results.try_recv() {
            self.worked(lane, done);
        }
        // No more than the queue holds, so that a talkative receiver cannot keep frames from going.
        for _ in 0..MESSAGE_QUEUE {
            let Ok(message) = incoming.try_recv() else { break };
            self.heard(message)?;
        }
        while !self.outbox.is_empty()
            && let Ok(permit) = messages.try_reserve()
            && let Some(message) = self.outbox.pop_front()
        {
            permit.send(message);
        }
        Ok(())
    }

    /// Hands the transport what is due while it has room; tells which frame comes next.
    fn hand_over(
        &mut self,
        frames: &mpsc::Sender<OutgoingFrame>,
        path: &PathStats,
        silent: bool,
    ) -> Option<Next> {
        let mut handed = 0;
        loop {
            // The transport has not counted these yet.
            let path = PathStats { with_transport: path.with_transport + handed, ..*path };
            let next = self.next_frame(&path, silent)?;
            if next.due > Instant::now() {
                return Some(next);
            }
            let Ok(permit) = frames.try_reserve() else { return Some(next) };
            let frame = self.take_frame(&next)?;
            handed += frame.body.len() as u64;
            permit.send(frame);
        }
    }

    /// Starts whatever can be started.
    fn pump(&mut self, path: &PathStats) {
        let now = Instant::now();
        let schedule = self.schedule.as_ref();
        let fresh = schedule.map_or(0..0, |schedule| schedule.fresh(now, path.rtt));
        let scheduled = self.next_probe.is_some_and(|when| when <= now);
        if scheduled {
            self.next_probe = Some(now + CLOCK_INTERVAL);
        }
        let awaited = self.share.is_none() || self.lanes.iter().any(Lane::awaits_something);
        if (self.inquiry.asks(now, awaited, path) && self.outbox.is_empty()) || scheduled {
            self.outbox.push_back(Message::ClockProbe(UnixNanos::now().0));
        }
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let message = lane.pump(&mut self.ledgers[index], self.share, &fresh);
            self.outbox.extend(message);
        }
    }

    fn is_done(&self) -> bool {
        self.share.is_some() && self.outbox.is_empty() && self.lanes.iter().all(Lane::is_done)
    }

    /// The frame that goes next; `None` where there is none, or where the transport has enough.
    fn next_frame(&self, path: &PathStats, silent: bool) -> Option<Next> {
        let schedule = self.schedule.as_ref()?;
        let limit = path.window.saturating_mul(WINDOWS_UNDERWAY).saturating_add(self.spare());
        let fresh = path.with_transport.saturating_sub(path.late_with_transport);
        // Into an outage go no more frames than fit: they would all be late when the link is back.
        let late_underway = if silent { 0 } else { LATE_UNDERWAY };
        if fresh > limit || path.with_transport > limit.saturating_add(late_underway) {
            return None;
        }
        let late_may_go = path.with_transport <= limit;
        let now = Instant::now();
        let is_due = |slot| schedule.due(slot) <= now;
        let is_late = |slot| schedule.late_at(slot, path.rtt).is_some_and(|late_at| late_at <= now);
        let candidate = |(lane, queue): (usize, &Lane)| {
            let (place, ready) = queue.next_ready(is_late, is_due, late_may_go)?;
            let bytes = ready.content.body.len() as u64;
            let late_at = schedule.late_at(ready.slot, path.rtt);
            let late = late_at.map(|late_at| (late_at, schedule.late_priority(ready.slot)));
            let priority = match late {
                Some((late_at, priority)) if late_at <= now => priority,
                _ => schedule.priority(ready.slot, bytes, queue.handed_bytes, queue.weight),
            };
            Some(Next { lane, place, due: schedule.due(ready.slot), priority, late })
        };
        let candidates = self.lanes.iter().enumerate().filter_map(candidate);
        candidates.max_by_key(|next| (next.due <= now, next.priority))
    }

    /// What may be with the transport beside its windows.
    fn spare(&self) -> u64 {
        match self.options.pace {
            Pace::Bulk => SPARE_UNDERWAY_IN_BULK,
            Pace::PerSecond(_) => SPARE_UNDERWAY,
        }
    }

    fn take_frame(&mut self, next: &Next) -> Option<OutgoingFrame> {
        let schedule = (*self.schedule)?;
        let lane = next.lane;
        let ready = self.lanes[lane].take_ready(next.place, &mut self.ledgers[lane])?;
        let description = ready.content.description;
        let meta = FrameMeta {
            sequence: ready.sequence,
            media: description.name.media_type(),
            name: description.name,
            bytes: ready.content.body.len() as u64,
            hash: Some(ready.content.hash),
            captured: description.captured,
            due: Some(schedule.captured(ready.slot)),
            modified: description.modified,
        };
        let header = FrameHeader { source: self.lanes[lane].id, meta, repair: None };
        let (priority, late) = (next.priority, next.late);
        Some(OutgoingFrame { header, body: ready.content.body, priority, late })
    }

    fn worked(&mut self, lane: usize, done: Done) {
        let message = self.lanes[lane].worked(done, &mut self.ledgers[lane]);
        self.outbox.extend(message);
        self.show(lane);
    }

    /// Takes a message from the receiver.
    fn heard(&mut self, message: Message) -> Result<(), Nonsense> {
        self.inquiry.heard(Instant::now());
        match message {
            Message::Welcome(welcome) => self.welcomed(&welcome),
            Message::Answer(answer) => {
                let lane = self.lane(answer.source)?;
                // Frames fall due from the moment on at which the receiver is ready for the first,
                // and go on doing so when the connection is lost.
                self.schedule.get_or_insert_with(|| Schedule::start(self.options.pace));
                self.lanes[lane].answered(answer, &mut self.ledgers[lane])?;
                self.show(lane);
                Ok(())
            }
            Message::Receipts(receipts) => {
                let lane = self.lane(receipts.source)?;
                let slots: Vec<_> = self.observed_slots(lane, &receipts);
                let news = self.lanes[lane].confirmed(&receipts, &mut self.ledgers[lane])?;
                if let (Some(observer), Some(schedule)) = (&self.options.observer, &*self.schedule)
                {
                    for ((sequence, bytes), slot) in news.into_iter().zip(slots) {
                        let (due, captured) = (schedule.due(slot), schedule.captured(slot));
                        observer.confirmed(
                            receipts.source,
                            sequence,
                            bytes,
                            due,
                            captured,
                            receipts.stored,
                        );
                    }
                }
                self.show(lane);
                Ok(())
            }
            Message::Refusal(refusal) => {
                let lane = self.lane(refusal.source)?;
                self.progress.note(format!("{}: {}", refusal.code, refusal.reason));
                let patience = self.options.retry_for;
                self.lanes[lane].refused(&refusal, &mut self.ledgers[lane], patience)?;
                self.show(lane);
                Ok(())
            }
            Message::Totals(totals) => {
                let lane = self.lane(totals.source)?;
                self.lanes[lane].totalled(totals)
            }
            Message::ClockReply { asked, arrived, replied } => {
                if let Some(observer) = &self.options.observer {
                    let [asked, arrived, replied] = [asked, arrived, replied].map(UnixNanos);
                    observer.clock(asked, arrived, replied, UnixNanos::now());
                }
                Ok(())
            }
            Message::Skipped { .. } => Ok(()),
            other => Err(Nonsense(format!("only a sender says {}", other.name()))),
        }
    }

    fn welcomed(&mut self, welcome: &Welcome) -> Result<(), Nonsense> {
        if self.share.is_some() {
            return Err(Nonsense("a second welcome".to_owned()));
        }
        self.share = Some(Share::of(welcome, self.lanes.len()));
        tracing::debug!(receiver = %welcome.agent, durable = welcome.durable, "welcomed");
        self.next_probe = self.options.observer.as_ref().map(|_| Instant::now());
        Ok(())
    }

    /// The schedule places of the frames that a receipt confirms, where somebody wants them.
    fn observed_slots(&mut self, lane: usize, receipts: &crate::wire::Receipts) -> Vec<u64> {
        if self.options.observer.is_none() {
            return Vec::new();
        }
        let ledger = &mut self.ledgers[lane];
        let sequences = receipts.runs.iter().flat_map(|run| {
            (0..run.count)
                .map_while(|offset| run.first.0.checked_add(offset).map(crate::frame::Sequence))
        });
        let known: Vec<_> = sequences.take_while(|&sequence| ledger.is_open(sequence)).collect();
        known.into_iter().map(|sequence| ledger.slot(sequence)).collect()
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

    fn lane(&self, source: SourceId) -> Result<usize, Nonsense> {
        let index = usize::from(source.0);
        if index < self.lanes.len() {
            return Ok(index);
        }
        Err(Nonsense(format!("source number {index} was not in the hello")))
    }

    fn show(&self, lane: usize) {
        let (ledger, shown) = (&self.ledgers[lane], &self.progress.sources[lane]);
        shown.settled.store(ledger.settled(), Ordering::Relaxed);
        shown.bytes.store(ledger.bytes, Ordering::Relaxed);
    }

    fn wakes_at(&self) -> Option<Instant> {
        let welcome = self.share.is_none().then(|| self.opened + WELCOME_TIMEOUT);
        let lanes = self.lanes.iter().filter_map(Lane::wakes_at).min();
        earlier(earlier(welcome, lanes), earlier(self.next_probe, self.inquiry.wakes_at()))
    }

    /// Why the session should not be waited for any longer, if so.
    fn unwelcome(&self) -> Option<String> {
        let overdue = self.share.is_none() && self.opened.elapsed() >= WELCOME_TIMEOUT;
        overdue.then(|| {
            format!("the receiver did not answer the hello within {} s", WELCOME_TIMEOUT.as_secs())
        })
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        // A millisecond late here is a millisecond late at the other end.
        Some(when) => Alarm::new(when).await,
        None => std::future::pending().await,
    }
}
