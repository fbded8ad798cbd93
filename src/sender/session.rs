//! One session with a receiver: a single task that owns all of its state.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::figures::Figures;
use super::glance::Glance;
use super::inquiry::Inquiry;
use super::lane::{Confirmed, Lane, Nonsense, Share};
use super::ledger::Ledger;
use super::options::SendOptions;
use super::progress::Progress;
use super::schedule::{Pace, Schedule};
use super::stall::{Limit, Owed, Stall};
use super::stopped::stopped;
use super::waiting::LimitedBy;
use super::worker::Done;
use crate::alarm::Alarm;
use crate::frame::{Captured, Clock, FrameMeta, UnixNanos, quoted};
use crate::source::{Bell, Source};
use crate::transport::{
    LinkEnd, MESSAGE_QUEUE, OutgoingFrame, PathStats, SenderLink, TransportError,
};
use crate::wire::{
    Capabilities, CloseCode, FrameHeader, Hello, Message, SourceHello, SourceId, Welcome,
};

/// The highest sequence that a run may begin with; above it 10^18 frames still have one that can travel.
const LAST_ORIGIN: u64 = 1 << 61;

/// How long a run that is stopped waits for the receipts of what it has sent.
const LAST_RECEIPTS: Duration = Duration::from_secs(1);

/// How long a receiver that has stalled is given to hear of it.
const STALLED_CLOSE: Duration = Duration::from_millis(250);

/// How often the receiver's clock is asked for: 50 bytes of the link each time.
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
    /// A source has a defect.
    Broken(String),
}

/// What a run knows and keeps over its sessions.
pub(super) struct Run<'a> {
    pub(super) sources: &'a [Arc<dyn Source>],
    pub(super) ledgers: &'a mut [Ledger],
    pub(super) options: &'a SendOptions,
    pub(super) schedule: &'a mut Option<Schedule>,
    pub(super) progress: &'a Progress,
    pub(super) figures: &'a mut Figures,
    /// Rings when a source has changed.
    pub(super) bell: &'a Bell,
    /// How long the receiver may let nothing come of what it owes, until a frame is settled and after.
    pub(super) limits: [Limit; 2],
}

/// How a session went.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) end: SessionEnd,
    /// How long something was owed, and how long at its end nothing has come of that.
    pub(super) owed_for: Duration,
    pub(super) quiet: Duration,
}

pub(super) struct Session<'a> {
    link: SenderLink,
    state: State<'a>,
}

struct State<'a> {
    lanes: Vec<Lane>,
    run: Run<'a>,
    results: mpsc::UnboundedReceiver<(usize, Done)>,
    outbox: VecDeque<Message>,
    share: Option<Share>,
    stall: Stall,
    broken: Option<String>,
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
    pub(super) fn new(link: SenderLink, run: Run<'a>) -> Self {
        let (report, results) = mpsc::unbounded_channel();
        let lane = |(index, source): (usize, &Arc<dyn Source>)| {
            Lane::new(index, source.clone(), run.options, report.clone())
        };
        let lanes = run.sources.iter().enumerate().map(lane).collect();
        let is_live = |index| run.options.deadlines.get(index).copied().flatten().is_some();
        let named = run.sources.iter().zip(&*run.ledgers).enumerate();
        let introductions = named.map(|(index, source)| introduce(source, is_live(index)));
        let hello = Message::Hello(Hello {
            session: rand::random(),
            overwrite: run.options.overwrite,
            agent: concat!("framelane/", env!("CARGO_PKG_VERSION")).to_owned(),
            sources: introductions.collect(),
            capabilities: Capabilities::default(),
        });
        let stall = Stall::new(run.limits[0], Instant::now());
        let state = State {
            lanes,
            run,
            results,
            outbox: VecDeque::from([hello]),
            share: None,
            stall,
            broken: None,
            next_probe: None,
            inquiry: Inquiry::new(Instant::now()),
        };
        Self { link, state }
    }

    /// Runs the session to its end.
    pub(super) async fn run(mut self, stop: &mut watch::Receiver<bool>) -> Outcome {
        let end = self.exchange(stop).await;
        let Run { ledgers, figures, .. } = &mut self.state.run;
        ledgers.iter_mut().for_each(Ledger::session_lost);
        figures.see(&self.link.path.look());
        figures.session_ended();
        let (stall, now) = (&self.state.stall, Instant::now());
        Outcome { end, owed_for: stall.owed_for(), quiet: stall.quiet(now) }
    }

    async fn exchange(&mut self, stop: &mut watch::Receiver<bool>) -> SessionEnd {
        let Self { link, state } = self;
        let SenderLink { messages, frames, incoming, end, path } = link;
        let mut glance = Glance::default();
        let bell = state.run.bell.clone();
        loop {
            // Everything that is there already is taken before anything is started or waited for:
            // waking up for each frame, receipt and message by itself costs more than they do.
            if let Err(Nonsense(what)) = state.take_all(messages, incoming) {
                return protocol_error(end, what).await;
            }
            let path_now = glance.look(path);
            state.pump(&path_now);
            if let Some(why) = state.broken.take() {
                end.close(CloseCode::Shutdown, "a source at the sender has failed").await;
                return SessionEnd::Broken(why);
            }
            if state.is_done() {
                end.close(CloseCode::Done, "done").await;
                return SessionEnd::Done;
            }
            let next = state.hand_over(frames, &path_now, glance.is_silent());
            let sendable = next.filter(|next| next.due <= Instant::now());
            let due = next.map(|next| next.due).filter(|_| sendable.is_none());
            state.account(&path_now, sendable.is_some());
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
                () = bell.rung() => {}
                () = sleep_until(wake) => {
                    // What has come meanwhile is taken before the receiver is judged by it.
                    if let Err(Nonsense(what)) = state.take_all(messages, incoming) {
                        return protocol_error(end, what).await;
                    }
                    state.see(path.look().moved);
                    if let Some(why) = state.stall.why(Instant::now()) {
                        let close = end.close(CloseCode::Stalled, &why);
                        let _ = tokio::time::timeout(STALLED_CLOSE, close).await;
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
fn introduce((source, ledger): (&Arc<dyn Source>, &Ledger), live: bool) -> SourceHello {
    let endless = !ledger.has_ended();
    let hello = SourceHello::new(source.name().clone(), ledger.run, ledger.began);
    SourceHello { endless, live, ..hello }
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
        let fresh = Schedule::fresh(now, path.rtt);
        self.see(path.moved);
        let scheduled = self.next_probe.is_some_and(|when| when <= now);
        if scheduled {
            self.next_probe = Some(now + CLOCK_INTERVAL);
        }
        let awaited = self.owed().is_some();
        if (self.inquiry.asks(now, awaited, path) && self.outbox.is_empty()) || scheduled {
            self.outbox.push_back(Message::ClockProbe(UnixNanos::now().0));
        }
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let ledger = &mut self.run.ledgers[index];
            ledger.grow(self.run.sources[index].extent());
            let message = lane.pump(ledger, self.share, &fresh, path.rtt / 2);
            self.outbox.extend(message);
        }
        if self.share.is_some() && self.lanes.iter().any(Lane::wants_schedule) {
            self.schedule();
        }
    }

    /// The clock that frames fall due by, started where it is not yet: frames that were there before fall due
    /// from the moment on at which the receiver is ready for the first, and go on doing so when the connection
    /// is lost.
    fn schedule(&mut self) -> Schedule {
        let pace = self.run.options.pace;
        *self.run.schedule.get_or_insert_with(|| Schedule::start(pace))
    }

    /// What the receiver owes: its welcome, or what a source waits for.
    fn owed(&self) -> Option<Owed> {
        match self.share {
            None => Some(Owed::Welcome),
            Some(_) => {
                let lanes = self.lanes.iter().zip(&*self.run.ledgers);
                lanes.filter_map(|(lane, ledger)| lane.owed(ledger)).next()
            }
        }
    }

    fn see(&mut self, moved: Option<u64>) {
        let owed = self.owed();
        self.stall.see(Instant::now(), owed, moved);
    }

    /// Something has come of what the receiver owes.
    fn got_on(&mut self) {
        self.stall.got_on(Instant::now());
    }

    /// Accounts for the time from now on. `is_full`: a frame is to go and the transport does not take it.
    fn account(&mut self, path: &PathStats, is_full: bool) {
        /// Less than this on the way, and the frames under way have arrived.
        const REST: u64 = 64 << 10;
        let now = Instant::now();
        let any = |of: fn(&Lane) -> bool| self.lanes.iter().any(of);
        // A transport that does not know the window does not know what is on the way either.
        let arrived = path.window > 0 && path.with_transport < REST;
        let kind = if self.share.is_none() {
            LimitedBy::Answers
        } else if is_full || self.lanes.iter().any(|lane| lane.has_due(now)) {
            LimitedBy::Link
        } else if any(Lane::is_blocked) {
            if arrived { LimitedBy::Receiver } else { LimitedBy::Link }
        } else if any(Lane::waits_for_source) {
            LimitedBy::Source
        } else if any(Lane::has_offers) {
            LimitedBy::Answers
        } else if any(Lane::awaits_receipts) && self.lanes.iter().all(Lane::has_no_more) {
            if arrived { LimitedBy::Receiver } else { LimitedBy::Link }
        } else {
            LimitedBy::Nothing
        };
        self.run.figures.waiting.begin(kind, now);
    }

    fn is_done(&self) -> bool {
        self.share.is_some() && self.outbox.is_empty() && self.lanes.iter().all(Lane::is_done)
    }

    /// The frame that goes next; `None` where there is none, or where the transport has enough.
    fn next_frame(&self, path: &PathStats, silent: bool) -> Option<Next> {
        let schedule = self.run.schedule.as_ref()?;
        let limit = path.window.saturating_mul(WINDOWS_UNDERWAY).saturating_add(self.spare());
        let fresh = path.with_transport.saturating_sub(path.late_with_transport);
        // Into an outage go no more frames than fit: they would all be late when the link is back.
        let late_underway = if silent { 0 } else { LATE_UNDERWAY };
        if fresh > limit || path.with_transport > limit.saturating_add(late_underway) {
            return None;
        }
        let late_may_go = path.with_transport <= limit;
        // Where frames have a deadline, what waits in the transport only makes the next one late.
        let no_queue = path.with_transport > path.window.saturating_add(path.window / 4);
        let may_queue = |lane: &Lane| lane.deadline.is_none() || path.window == 0 || !no_queue;
        let now = Instant::now();
        let is_late = |due| Schedule::late_at(due, path.rtt).is_some_and(|late_at| late_at <= now);
        let candidate = |(lane, queue): (usize, &Lane)| {
            let (place, ready) = queue.next_ready(is_late, now, late_may_go)?;
            let bytes = ready.content.body.len() as u64;
            let late_at = Schedule::late_at(ready.due, path.rtt);
            let late = late_at.map(|late_at| (late_at, schedule.late_priority(ready.due)));
            let priority = match late {
                Some((late_at, priority)) if late_at <= now => priority,
                _ => schedule.priority(ready.due, bytes, queue.handed_bytes, queue.weight),
            };
            Some(Next { lane, place, due: ready.due.at, priority, late })
        };
        let candidates = self.lanes.iter().enumerate().filter(|(_, lane)| may_queue(lane));
        let candidates = candidates.filter_map(candidate);
        candidates.max_by_key(|next| (next.due <= now, next.priority))
    }

    /// What may be with the transport beside its windows.
    fn spare(&self) -> u64 {
        match self.run.options.pace {
            Pace::Bulk => SPARE_UNDERWAY_IN_BULK,
            Pace::PerSecond(_) => SPARE_UNDERWAY,
        }
    }

    fn take_frame(&mut self, next: &Next) -> Option<OutgoingFrame> {
        let schedule = (*self.run.schedule)?;
        let lane = next.lane;
        let ready = self.lanes[lane].take_ready(next.place, &mut self.run.ledgers[lane])?;
        if ready.due.live && ready.is_first {
            self.run.figures.handed(lane, ready.due.at.elapsed());
        }
        let description = ready.content.description;
        let is_new = self.run.sources[lane].arrival(ready.sequence).is_some();
        let meta = FrameMeta {
            sequence: self.run.ledgers[lane].sequence(ready.sequence),
            media: description.name.media_type(),
            name: description.name,
            bytes: ready.content.body.len() as u64,
            hash: Some(ready.content.hash),
            captured: description.captured.or_else(|| {
                let (clock, uncertainty) = (Clock::Modified, None);
                description.modified.map(|at| Captured { at, clock, uncertainty })
            }),
            // What comes about while it is sent is due when it was captured.
            due: (!is_new).then(|| schedule.unix(ready.due.at)),
            modified: description.modified,
        };
        let header = FrameHeader { source: self.lanes[lane].id, meta, repair: None };
        let (priority, late) = (next.priority, next.late);
        Some(OutgoingFrame { header, body: ready.content.body, priority, late })
    }

    fn worked(&mut self, lane: usize, done: Done) {
        if let Done::Broken { why } = done {
            let name = self.run.sources[lane].name();
            self.broken =
                Some(format!("source {name} has a defect and gives no more frames: {why}"));
            return;
        }
        let message = self.lanes[lane].worked(done, &mut self.run.ledgers[lane]);
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
                let (patience, before) =
                    (self.run.options.retry_for, self.run.ledgers[lane].settled());
                let took =
                    self.lanes[lane].refused(&refusal, &mut self.run.ledgers[lane], patience)?;
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
            Message::Skipped { .. } => Ok(()),
            other => Err(Nonsense(format!("only a sender says {}", other.name()))),
        }
    }

    fn welcomed(&mut self, welcome: &Welcome) -> Result<(), Nonsense> {
        if self.share.is_some() {
            return Err(Nonsense("a second welcome".to_owned()));
        }
        let lanes = self.lanes.len();
        if welcome.next.len() != lanes || welcome.next.iter().any(|next| next.0 > LAST_ORIGIN) {
            return Err(Nonsense("a welcome that does not fit the hello".to_owned()));
        }
        for ((ledger, source), &next) in
            self.run.ledgers.iter_mut().zip(self.run.sources).zip(&welcome.next)
        {
            if ledger.origin().is_none() {
                ledger.begin_at(source.origin(next));
            }
        }
        self.share = Some(Share::of(welcome, lanes));
        tracing::debug!(receiver = %welcome.agent, durable = welcome.durable, "welcomed");
        self.next_probe = Some(Instant::now());
        self.got_on();
        Ok(())
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
        let ledger = &self.run.ledgers[lane];
        self.run.progress.count(lane, ledger.frames(), ledger.settled(), ledger.bytes);
    }

    /// Shows what has become of a source of which so many frames were settled before. From the first that is
    /// settled on the receiver may take as long as ever.
    fn settled(&mut self, lane: usize, before: u64) {
        if self.run.ledgers[lane].settled() > before {
            self.stall.renew(self.run.limits[1]);
        }
        self.show(lane);
    }

    /// Tells whoever wants to know of confirmed frames.
    fn tell(&mut self, lane: usize, news: &[Confirmed], stored: UnixNanos) {
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

    fn wakes_at(&self) -> Option<Instant> {
        let lanes = self.lanes.iter().zip(&*self.run.ledgers);
        let lanes = lanes.filter_map(|(lane, ledger)| lane.wakes_at(ledger)).min();
        let stall = self.stall.wakes_at();
        earlier(earlier(stall, lanes), earlier(self.next_probe, self.inquiry.wakes_at()))
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
