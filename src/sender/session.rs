//! One session with a receiver: a single task that owns all of its state.

mod going;
mod handover;
mod heard;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::figures::Figures;
use super::glance::Glance;
use super::inquiry::Inquiry;
use super::lane::{Lane, Nonsense, Share};
use super::ledger::Ledger;
use super::options::SendOptions;
use super::progress::Progress;
use super::schedule::Schedule;
use super::stall::{Limit, Owed, Stall};
use super::stopped::stopped;
use super::tend::tend;
use super::worker::Done;
use crate::alarm::Alarm;
use crate::frame::UnixNanos;
use crate::source::{Bell, Remembered, Source};
use crate::transport::{Dial, LinkEnd, MESSAGE_QUEUE, PathStats, SenderLink, TransportError, Via};
use crate::wire::{
    Capabilities, CloseCode, Hello, Message, SourceHello, SourceId, SourceStanding, Standing,
    Welcome,
};
use handover::Handover;

/// The highest sequence that a run may begin with; above it 10^18 frames still have one that can travel.
const LAST_ORIGIN: u64 = 1 << 61;

/// How long a receiver that has stalled is given to hear of it.
const STALLED_CLOSE: Duration = Duration::from_millis(250);

/// What a session that is woken by the clock alone rests at least. A time that had passed and stayed would otherwise keep
/// it, and with it all that shares its thread, from ever hearing anything.
const LEAST_REST: Duration = Duration::from_micros(100);

/// How long a session may work before it lets others work. Of a source that floods it there is always more, and tokio
/// counts what it has waited for, not how long that took.
const LONGEST_TURN: Duration = Duration::from_millis(1);

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
    /// It goes on over another link.
    Moved(Box<Opened>),
}

/// A link that is open, and the receiver's welcome where that has come on it already.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) link: SenderLink,
    pub(super) welcome: Option<Welcome>,
}

/// What a run knows and keeps over its sessions.
pub(super) struct Run<'a> {
    pub(super) dial: &'a dyn Dial,
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
    welcome: Option<Welcome>,
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
    /// A link that is to take the place of this one.
    handover: Option<Handover>,
    /// That link was lost again, after the receiver had heard of the session on it.
    handover_failed: bool,
    /// The transport has had a frame since what is known of it was looked at.
    look_again: bool,
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
    pub(super) fn new(opened: Opened, run: Run<'a>) -> Self {
        let Opened { link, welcome } = opened;
        let (report, results) = mpsc::unbounded_channel();
        let lane = |(index, source): (usize, &Arc<dyn Source>)| {
            Lane::new(index, source.clone(), run.options, report.clone())
        };
        let mut lanes: Vec<Lane> = run.sources.iter().enumerate().map(lane).collect();
        for (lane, ledger) in lanes.iter_mut().zip(&mut *run.ledgers) {
            lane.take_up_hold(ledger.hold.take());
        }
        // Where there is a welcome, the hello was said.
        let hello = welcome.is_none().then(|| Message::Hello(run.hello()));
        let stall = Stall::new(run.limits[0], Instant::now());
        let state = State {
            lanes,
            run,
            results,
            outbox: hello.into_iter().collect(),
            share: None,
            stall,
            broken: None,
            next_probe: None,
            inquiry: Inquiry::new(Instant::now()),
            handover: None,
            handover_failed: false,
            look_again: false,
        };
        Self { link, welcome, state }
    }

    /// Runs the session to its end.
    pub(super) async fn run(mut self, stop: &mut watch::Receiver<bool>) -> Outcome {
        let end = self.exchange(stop).await;
        let Run { ledgers, figures, sources, .. } = &mut self.state.run;
        for (ledger, lane) in ledgers.iter_mut().zip(&mut self.state.lanes) {
            ledger.session_lost();
            ledger.hold = lane.take_hold();
        }
        let remembered = sources.iter().filter_map(|source| source.remembered());
        remembered.for_each(Remembered::session_lost);
        figures.see(&self.link.path.look());
        figures.session_ended();
        let (stall, now) = (&self.state.stall, Instant::now());
        Outcome { end, owed_for: stall.owed_for(), quiet: stall.quiet(now) }
    }

    async fn exchange(&mut self, stop: &mut watch::Receiver<bool>) -> SessionEnd {
        let Self { link, welcome, state } = self;
        let SenderLink { messages, frames, incoming, end, path, via } = link;
        let (path, via, dial) = (&*path, &*via, state.run.dial);
        if let Some(welcome) = welcome.take()
            && let Err(Nonsense(what)) = state.welcomed(&welcome)
        {
            return protocol_error(end, what).await;
        }
        let mut glance = Glance::default();
        let bell = state.run.bell.clone();
        let mut better = dial.better(via, path);
        let (mut alarm, mut rested) = (None, Instant::now());
        let mut busy = Duration::ZERO;
        loop {
            let woken = Instant::now();
            // Everything that is there already is taken before anything is started or waited for:
            // waking up for each frame, receipt and message by itself costs more than they do.
            if let Err(Nonsense(what)) = state.take_all(messages, incoming) {
                return protocol_error(end, what).await;
            }
            if std::mem::take(&mut state.look_again) {
                glance.forget();
            }
            let path_now = glance.look(path);
            state.given_up(path.take_given_up(), &path_now);
            state.pump(&path_now);
            match state.move_on(Instant::now()) {
                Some(Ok(opened)) => {
                    leave(end, via, &opened.link.via);
                    return SessionEnd::Moved(Box::new(opened));
                }
                Some(Err(why)) => {
                    leave(end, via, via);
                    return SessionEnd::Link(TransportError::Silent { why });
                }
                None => {}
            }
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
            let wake = wake.map(|wake| wake.max(rested + LEAST_REST));
            // Where something is always ready, other tasks have their turn all the same: the connection's own above all.
            busy += woken.elapsed();
            if busy >= LONGEST_TURN {
                busy = Duration::ZERO;
                tokio::task::yield_now().await;
            }
            tokio::task::coop::consume_budget().await;
            tokio::select! {
                message = incoming.recv() => match message {
                    Some(message) => {
                        if let Err(Nonsense(what)) = state.heard(message) {
                            return protocol_error(end, what).await;
                        }
                    }
                    None => return SessionEnd::Link(end.cause().await),
                },
                other = &mut better, if state.handover.is_none() => {
                    state.handover = Handover::begin(other, state.run.hello(), Instant::now());
                    if state.handover.is_none() {
                        better = dial.better(via, path);
                    }
                }
                heard = hear(&mut state.handover) => state.heard_on_other(heard),
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
                () = sleep_until(&mut alarm, wake) => {
                    rested = Instant::now();
                    // What has come meanwhile is taken before the receiver is judged by it.
                    if let Err(Nonsense(what)) = state.take_all(messages, incoming) {
                        return protocol_error(end, what).await;
                    }
                    state.see(path.look().moved);
                    if let Some(why) = state.stall.why(Instant::now()) {
                        let why = state.with_unopened(why);
                        let close = end.close(CloseCode::Stalled, &why);
                        let _ = tokio::time::timeout(STALLED_CLOSE, close).await;
                        return SessionEnd::Link(TransportError::Silent { why });
                    }
                }
                // One that takes over will hear of it.
                () = stopped(stop), if state.handover.is_none() => {
                    let words = state.last_words(messages, incoming);
                    // Told once more, it waits for nobody.
                    tokio::select! {
                        () = words => {}
                        Ok(()) = stop.changed() => {}
                    }
                    end.close(CloseCode::Shutdown, "the sender was stopped").await;
                    return SessionEnd::Stopped;
                }
            }
        }
    }
}

/// Waits for a word on the link that is to take over; for ever, where there is none. Cancel safe.
async fn hear(handover: &mut Option<Handover>) -> bool {
    match handover {
        Some(handover) if !handover.is_welcome() => handover.hear().await,
        _ => std::future::pending().await,
    }
}

/// Tells the receiver that the session goes on elsewhere, without waiting for it: the link may be dead.
fn leave(end: &LinkEnd, from: &Via, to: &Via) {
    let end = end.clone();
    let reason = match from.transport == to.transport {
        true => "goes on over another connection".to_owned(),
        false => format!("goes on over {}", to.transport),
    };
    tokio::spawn(async move { end.close(CloseCode::Moved, &reason).await });
}

impl Run<'_> {
    /// What the receiver is told at the beginning of a session.
    fn hello(&self) -> Hello {
        let is_live = |index| self.options.deadlines.get(index).copied().flatten().is_some();
        let named = self.sources.iter().zip(&*self.ledgers).enumerate();
        let introductions = named.map(|(index, source)| introduce(source, is_live(index)));
        Hello {
            session: rand::random(),
            overwrite: self.options.overwrite,
            agent: concat!("framelane/", env!("CARGO_PKG_VERSION")).to_owned(),
            sources: introductions.collect(),
            // Whether it does is the transport's affair.
            capabilities: Capabilities::JOIN
                .and(Capabilities::LATE_SOURCES)
                .and(Capabilities::DECLINED_SOURCES),
        }
    }
}

/// A source as the hello names it.
fn introduce((source, ledger): (&Arc<dyn Source>, &Ledger), live: bool) -> SourceHello {
    let endless = ledger.goes_on;
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

    /// Starts whatever can be started.
    fn pump(&mut self, path: &PathStats) {
        let now = Instant::now();
        let fresh = Schedule::fresh(now, path.rtt);
        self.see(path.moved);
        let scheduled = self.next_probe.is_some_and(|when| when <= now);
        if scheduled {
            self.next_probe = Some(now + CLOCK_INTERVAL);
            self.outbox.push_back(Message::Standing(self.standing(path, now)));
        }
        let awaited = self.owed().is_some();
        if (self.inquiry.asks(now, awaited, path) && self.outbox.is_empty()) || scheduled {
            self.outbox.push_back(Message::ClockProbe(UnixNanos::now().0));
        }
        let leaves = self.handover.is_some();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.leaves = leaves;
            let ledger = &mut self.run.ledgers[index];
            let source = self.run.sources[index].as_ref();
            // A session is woken for one source, and may have sixty others.
            if source.remembered().is_none() && lane.rests(ledger, source.extent()) {
                continue;
            }
            lane.forget(&tend(source, ledger, lane.deadline, path.rtt / 2));
            if ledger.goes_on {
                self.run.progress.count(index, source, ledger);
            }
            let message = lane.pump(ledger, self.share, &fresh, path);
            self.outbox.extend(message);
        }
        if self.share.is_some() && self.lanes.iter().any(Lane::wants_schedule) {
            self.schedule();
        }
    }

    /// How this run stands, for whoever looks at the receiver.
    fn standing(&self, path: &PathStats, now: Instant) -> Standing {
        let source = |(index, ledger): (usize, &Ledger)| SourceStanding {
            source: self.lanes[index].id,
            captured: ledger.frames(),
            settled: ledger.settled(),
            lag: ledger.oldest_due().map(|due| now.saturating_duration_since(due.at)),
        };
        Standing {
            rtt: path.rtt,
            packets_sent: path.packets_sent,
            packets_lost: path.packets_lost,
            bytes_sent: path.bytes_sent,
            repair_bytes: path.repair_bytes,
            clock_ahead: self.run.figures.clock_ahead(),
            sources: self.run.ledgers.iter().enumerate().map(source).collect(),
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
        if self.share.is_none() {
            return Some(Owed::Welcome);
        }
        let lanes = self.lanes.iter().zip(&*self.run.ledgers);
        let owed = lanes.filter_map(|(lane, ledger)| lane.owed(ledger)).next();
        // A source that does not open is waited for without end as long as another goes on.
        let waits_for_sources = || {
            let mut open = self.lanes.iter().filter(|lane| lane.unopened.is_none());
            self.lanes.iter().any(Lane::is_to_open) && open.all(Lane::is_done)
        };
        owed.or_else(|| waits_for_sources().then_some(Owed::Opening))
    }

    /// Something was heard on the link that is to take over, or it is gone.
    fn heard_on_other(&mut self, is_well: bool) {
        if !is_well {
            self.handover_failed = true;
        }
    }

    /// The link that takes over now, where one does; or why the session has to begin anew.
    fn move_on(&mut self, now: Instant) -> Option<Result<Opened, String>> {
        let owes = self.lanes.iter().any(Lane::awaits_receipts);
        let handover = self.handover.take_if(|other| {
            self.handover_failed || other.is_in_vain(now) || other.is_due(owes, now)
        })?;
        if handover.is_welcome() && !self.handover_failed {
            return Some(Ok(handover.into_opened()));
        }
        let transport = handover.link().via.transport;
        Some(Err(format!("the connection over {transport} that was to take over did not last")))
    }

    /// True where no more frames go over this link, since another takes over.
    fn is_leaving(&self) -> bool {
        self.handover.as_ref().is_some_and(Handover::is_welcome)
    }

    fn see(&mut self, moved: Option<u64>) {
        let owed = self.owed();
        self.stall.see(Instant::now(), owed, moved);
    }

    /// Something has come of what the receiver owes.
    fn got_on(&mut self) {
        let now = Instant::now();
        self.stall.got_on(now);
        if let Some(handover) = &mut self.handover {
            handover.brought(now);
        }
    }

    fn is_done(&self) -> bool {
        let leaves = self.handover.is_some();
        !leaves
            && self.share.is_some()
            && self.outbox.is_empty()
            && self.lanes.iter().all(Lane::is_done)
    }

    fn worked(&mut self, lane: usize, done: Done) {
        if let Done::Broken { why } = done {
            let name = self.run.sources[lane].name();
            self.broken =
                Some(format!("source {name} has a defect and gives no more frames: {why}"));
            return;
        }
        let ledger = &mut self.run.ledgers[lane];
        if done.has_failed() {
            // The source may have dropped it meanwhile, and says so itself.
            let dropped = tend(self.run.sources[lane].as_ref(), ledger, None, Duration::ZERO);
            self.lanes[lane].forget(&dropped);
        }
        let message = self.lanes[lane].worked(done, ledger);
        self.outbox.extend(message);
        self.show(lane);
    }

    fn lane(&self, source: SourceId) -> Result<usize, Nonsense> {
        let index = usize::from(source.0);
        if index < self.lanes.len() {
            return Ok(index);
        }
        Err(Nonsense(format!("source number {index} was not in the hello")))
    }

    fn wakes_at(&self) -> Option<Instant> {
        let lanes = self.lanes.iter().zip(&*self.run.ledgers);
        let lanes = lanes.filter_map(|(lane, ledger)| lane.wakes_at(ledger)).min();
        let stall =
            earlier(self.stall.wakes_at(), self.handover.as_ref().map(Handover::gives_up_at));
        earlier(earlier(stall, lanes), earlier(self.next_probe, self.inquiry.wakes_at()))
    }
}

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

/// Sleeps until then; for ever, where there is no such time. Cancel safe: the alarm is kept for the next time, since
/// to make one costs five calls to the kernel.
async fn sleep_until(alarm: &mut Option<Alarm>, when: Option<Instant>) {
    let Some(when) = when else { return std::future::pending().await };
    // A millisecond late here is a millisecond late at the other end.
    let alarm = alarm.get_or_insert_with(|| Alarm::new(when));
    alarm.reset(when);
    alarm.await;
}
