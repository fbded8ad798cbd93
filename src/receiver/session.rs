//! One session with a sender: a single task that owns all of its state.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::board::{Seat, Told};
use super::joint::{Joint, State, Unjoined};
use super::progress::Presence;
use super::report::SessionReport;
use super::room::RoomState;
use super::server::Server;
use super::sources::Unopened;
use super::trial;
use super::turns::Turns;
use super::work::{
    Admitted, Afterwards, Done, Question, Reply, Settled, SourceThread, Task, Ticket, Work,
    refusal_code,
};
use crate::frame::{DropRange, RunId, Sequence, SourceName, UnixNanos};
use crate::identity::Permit;
use crate::store::{Note, Opener, Outcome, Place};
use crate::transport::{Account, Arrival, Claim, ReceiverLink, TransportError};
use crate::wire::{
    Answer, Capabilities, CloseCode, Drops, EndOfRun, Hello, JOIN_TOKEN_BYTES, Join, Message,
    Noted, Notice, Receipts, Refusal, RefusalCode, SequenceRun, SourceId, Standing, Welcome,
};

/// How long a peer may take from its connection to its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages that wait to be sent, and offers that wait to be looked up, beyond which nothing more
/// is taken from the sender: one that does not listen is not answered without end.
const MAX_BACKLOG: usize = 256;

/// How long a receiver that is stopping waits for a sender to take its last receipts. One that does
/// not listen asks again when it comes back, and must not keep the receiver from ending.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a session may bring nothing whose sender has begun another of the same runs: it gives the old connection a
/// second to bring what it has.
const LEFT_PATIENCE: Duration = Duration::from_secs(2);

/// Why a session is ended from this side.
struct Ending {
    code: CloseCode,
    why: String,
}

fn protocol(why: impl Into<String>) -> Ending {
    Ending { code: CloseCode::Protocol, why: why.into() }
}

/// Serves a session from its hello to its end, or one of its connections. It is among the open ones once its hello has
/// come. A report is made when the last connection of a session has ended.
pub(super) async fn serve(
    mut link: ReceiverLink,
    server: &Server,
    presence: &mut Presence,
) -> Option<SessionReport> {
    let mut stop = server.stop.clone();
    let mut report = SessionReport {
        peer: link.peer.address.to_string(),
        pin: link.peer.pin.clone(),
        transport: link.peer.transport.to_string(),
        began: None,
        connections: 1,
        sources: Vec::new(),
        complete: false,
        closed: false,
        moved: false,
        end: String::new(),
        refused_unnamed: 0,
    };
    let opened = match opening(&mut link, &mut stop).await {
        Ok(Opening::Trial) => {
            try_out(link, server, &mut stop).await;
            return None;
        }
        Ok(Opening::Hello(hello)) => open_in_time(&hello, &link, server, presence, &mut stop).await,
        Ok(Opening::Join(join)) => ReceiverSession::join(&join, &link, server, presence),
        Err(ending) => Err(ending),
    };
    let ended = match opened {
        Ok(mut session) => {
            report.began = Some(session.joint.began);
            link.sources.set(session.lanes.len());
            let permit = link.peer.permit.clone();
            let ended = tokio::select! {
                ended = session.exchange(&mut link, &mut stop) => ended,
                () = permit.withdrawn() => {
                    session.finish_storing().await;
                    Err(revoked(&permit))
                }
            };
            let is_last = session.ended(&ended, &mut report);
            say_end(link, ended, &mut report).await;
            return is_last.then_some(report);
        }
        Err(ending) => Err(ending),
    };
    say_end(link, ended, &mut report).await;
    Some(report)
}

/// Ends the link, where this end has to, and says in the report how it has ended.
async fn say_end(
    link: ReceiverLink,
    ended: Result<TransportError, Ending>,
    report: &mut SessionReport,
) {
    let end = match ended {
        // Where this end has closed the link, the cause says no more than that.
        Ok(_) if link.account.is_told_to_go() => link.account.told_to_go().await,
        Ok(cause) => cause.to_string(),
        Err(Ending { code, why }) => {
            // Nothing more is said, so that the link knows what it has to deliver before it closes.
            drop(link.messages);
            link.end.close(code, &why).await;
            why
        }
    };
    if report.end.is_empty() {
        report.end = end;
    }
}

/// Serves a session that only measures.
async fn try_out(mut link: ReceiverLink, server: &Server, stop: &mut watch::Receiver<bool>) {
    let permit = link.peer.permit.clone();
    let ended = tokio::select! {
        ended = trial::serve(&mut link, &server.trials, &server.limits) => {
            ended.map_err(|(code, why)| Ending { code, why })
        }
        () = permit.withdrawn() => Err(revoked(&permit)),
        () = stopped(stop) => Err(shutting_down()),
    };
    if let Err(Ending { code, why }) = ended {
        drop(link.messages);
        link.end.close(code, &why).await;
    }
}

/// What a session begins with.
enum Opening {
    Hello(Hello),
    Join(Join),
    Trial,
}

async fn opening(
    link: &mut ReceiverLink,
    stop: &mut watch::Receiver<bool>,
) -> Result<Opening, Ending> {
    let arrival = tokio::select! {
        arrival = tokio::time::timeout(HELLO_TIMEOUT, link.arrivals.recv()) => arrival,
        () = stopped(stop) => return Err(shutting_down()),
        () = link.peer.permit.withdrawn() => return Err(revoked(&link.peer.permit)),
    };
    match arrival {
        Ok(Some(Arrival::Message(Message::Hello(hello), _))) if hello.sources.is_empty() => {
            Err(protocol("the hello names no source"))
        }
        Ok(Some(Arrival::Message(Message::Hello(hello), _))) => Ok(Opening::Hello(hello)),
        Ok(Some(Arrival::Message(Message::Join(join), _))) => Ok(Opening::Join(join)),
        Ok(Some(Arrival::Message(Message::Trial(_), _))) => Ok(Opening::Trial),
        Ok(Some(_)) => Err(protocol("the session did not begin with a hello")),
        Ok(None) => Err(protocol("the connection ended before the hello")),
        Err(_) => {
            let seconds = HELLO_TIMEOUT.as_secs();
            let why = format!("no hello came within {seconds} s");
            Err(Ending { code: CloseCode::Stalled, why })
        }
    }
}

/// True where the peer has closed the session with this code.
fn is_closed(cause: &TransportError, with: CloseCode) -> bool {
    matches!(cause, TransportError::ClosedByPeer { code, .. } if *code == with.number())
}

/// Waits until `stop` turns true; for ever, where nobody can turn it any more.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn shutting_down() -> Ending {
    Ending { code: CloseCode::Shutdown, why: "the receiver is shutting down".to_owned() }
}

/// What a sender that was taken off the list is told.
fn revoked(permit: &Permit) -> Ending {
    let who = match (permit.name(), permit.pin()) {
        (Some(name), Some(pin)) => format!("{name} ({pin})"),
        (None, Some(pin)) => pin.to_string(),
        (_, None) => "this sender".to_owned(),
    };
    let why =
        format!("the receiver does not allow {who} any more: it was taken off the list of senders");
    Ending { code: CloseCode::Revoked, why }
}

/// Opens the sources that a hello names, as long as the link is there and the receiver is not stopped.
async fn open_in_time<'a>(
    hello: &Hello,
    link: &ReceiverLink,
    server: &'a Server,
    presence: &mut Presence,
    stop: &mut watch::Receiver<bool>,
) -> Result<ReceiverSession<'a>, Ending> {
    tokio::select! {
        session = ReceiverSession::open(hello, link, server, presence) => session,
        cause = link.end.cause() => {
            let why = format!("the connection ended before its sources were open: {cause}");
            Err(Ending { code: CloseCode::Shutdown, why })
        }
        () = stopped(stop) => Err(shutting_down()),
        () = link.peer.permit.withdrawn() => Err(revoked(&link.peer.permit)),
    }
}

/// A connection of a session.
struct ReceiverSession<'a> {
    server: &'a Server,
    /// What it shares with the other connections of its session.
    joint: Arc<Joint>,
    account: Account,
    lanes: Vec<Lane>,
    outbox: VecDeque<Message>,
    /// Since when no message could be handed on, while there are any.
    unheard: Option<Instant>,
    looking_up: usize,
    noting: usize,
    storing: usize,
    reply: Reply,
    /// Whether answers can still be heard at the other end.
    listening: Arc<AtomicBool>,
    done: mpsc::UnboundedReceiver<Done>,
    /// True once a source's thread has failed.
    failed: bool,
    /// When something came last.
    heard: Instant,
    /// Changes when there is little room for frames, or enough again; what was said of that, and of old frames.
    room: watch::Receiver<Option<RoomState>>,
    told_low: bool,
    told_expired: bool,
}

/// One source of the session.
struct Lane {
    thread: SourceThread,
    /// The sender, and its run of the source.
    from: Arc<Opener>,
    ended: bool,
    turns: Turns,
    /// Its place at what is shown of the source.
    seat: Seat,
}

impl<'a> ReceiverSession<'a> {
    /// Opens the sources that the hello names.
    async fn open(
        hello: &Hello,
        link: &ReceiverLink,
        server: &'a Server,
        presence: &mut Presence,
    ) -> Result<Self, Ending> {
        let (entered, began) = (presence.enter(), server.progress.begin());
        link.account.is_of(began);
        let mut from = Opener::with_pin(link.peer.pin.as_deref());
        from.name = link.peer.permit.name().map(|name| name.to_string().into());
        from.shared = server.limits.shared;
        from.began = Some(UnixNanos::now());
        let lanes = open_all(hello, &from, link, server, began).await?;
        // A run goes on behind what the source has.
        let next = |admitted: &Admitted| {
            Sequence(admitted.last.map_or(0, |last| last.0.saturating_add(1)))
        };
        let joins = hello.capabilities.has(Capabilities::JOIN);
        let welcome = Welcome {
            durable: server.sources.is_durable(),
            replaces: server.limits.allow_overwrite,
            next: lanes.iter().map(|(_, admitted)| next(admitted)).collect(),
            capabilities: Capabilities::JOIN,
            join: joins.then(rand::random::<[u8; JOIN_TOKEN_BYTES]>),
            max_frame: server.limits.max_frame.0,
            max_unconfirmed_bytes: server.limits.max_unconfirmed_bytes.0,
            max_unconfirmed_frames: server.limits.max_unconfirmed_frames,
            agent: concat!("framelane/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let lanes: Vec<Lane> = lanes.into_iter().map(|(lane, _)| lane).collect();
        let overwrite = hello.overwrite && server.limits.allow_overwrite;
        let sources = lanes.iter().map(|lane| (lane.thread.clone(), lane.from.clone())).collect();
        let sender = link.account.sender();
        let joint = Joint::new(hello, sender, overwrite, welcome, sources, (began, entered));
        let joint = Arc::new(joint);
        server.joints.enter(&joint);
        tracing::info!(
            peer = %link.peer.address,
            transport = %link.peer.transport,
            sources = hello.sources.len(),
            "a session was opened"
        );
        let mut session = Self::new(joint, lanes, link, server);
        session.begin_runs(hello);
        Ok(session)
    }

    /// A connection that joins a session.
    fn join(
        join: &Join,
        link: &ReceiverLink,
        server: &'a Server,
        presence: &mut Presence,
    ) -> Result<Self, Ending> {
        let joint = server.joints.join(link.account.sender(), join).map_err(|why| match why {
            Unjoined::Unknown => protocol("there is no such session to join"),
            Unjoined::Full => {
                let why = "the session has as many connections as it may".to_owned();
                Ending { code: CloseCode::Busy, why }
            }
        })?;
        presence.join(&joint.entered);
        link.account.is_of(joint.began);
        tracing::info!(
            peer = %link.peer.address,
            transport = %link.peer.transport,
            "a connection has joined a session"
        );
        let lane = |(place, (thread, from)): (usize, &(SourceThread, Arc<Opener>))| {
            let name = SourceName::parse(&joint.name(place)).ok()?;
            let panel = server.sources.panel(&name, from);
            let seat = Seat::take(panel, &link.peer, &link.path, joint.began);
            let turns = Turns::default();
            Some(Lane { thread: thread.clone(), from: from.clone(), ended: false, turns, seat })
        };
        let lanes = joint.sources.iter().enumerate().filter_map(lane).collect();
        Ok(Self::new(joint, lanes, link, server))
    }

    fn new(joint: Arc<Joint>, lanes: Vec<Lane>, link: &ReceiverLink, server: &'a Server) -> Self {
        let (reply, done) = mpsc::unbounded_channel();
        Self {
            server,
            outbox: VecDeque::from([Message::Welcome(joint.welcome.clone())]),
            joint,
            account: link.account.clone(),
            lanes,
            unheard: None,
            looking_up: 0,
            noting: 0,
            storing: 0,
            reply,
            listening: Arc::new(AtomicBool::new(true)),
            done,
            failed: false,
            heard: Instant::now(),
            room: server.room.clone(),
            told_low: false,
            told_expired: false,
        }
    }

    /// Runs until the link has ended, which is told, or until this side has to end it.
    async fn exchange(
        &mut self,
        link: &mut ReceiverLink,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<TransportError, Ending> {
        let state = *self.room.borrow_and_update();
        self.say_room(state);
        let mut standing = self.joint.standing();
        loop {
            let left = match *standing.borrow_and_update() {
                State::Open => None,
                State::Over => break,
                State::Left(since) => Some(since.max(self.heard) + LEFT_PATIENCE),
            };
            // Empty frames take none of the memory budget, so frames are counted as well.
            let early: usize = self.lanes.iter().map(|lane| lane.turns.waiting()).sum();
            let takes_more = self.outbox.len() + self.looking_up + self.noting + early
                < MAX_BACKLOG
                && self.storing < self.server.max_storing();
            let patience = self.patience();
            if self.failed {
                self.finish_storing().await;
                return Err(thread_gone());
            }
            tokio::select! {
                Some(done) = self.done.recv() => self.settle(done),
                permit = link.messages.reserve(), if !self.outbox.is_empty() => {
                    match permit {
                        Ok(permit) => {
                            if let Some(message) = self.outbox.pop_front() {
                                permit.send(message);
                            }
                        }
                        // Nobody hears it, but what has arrived is still taken.
                        Err(_) => self.outbox.clear(),
                    }
                    self.unheard = None;
                }
                // This process may have been held up for as long, and the peer have taken everything.
                () = sleep(patience), if !self.outbox.is_empty() => {
                    if link.messages.capacity() == 0 {
                        let ending = self.deaf();
                        self.finish_storing().await;
                        return Err(ending);
                    }
                }
                Ok(()) = self.room.changed() => {
                    let state = *self.room.borrow_and_update();
                    self.say_room(state);
                }
                arrival = link.arrivals.recv(), if takes_more => {
                    let Some(arrival) = arrival else { break };
                    self.heard = Instant::now();
                    self.take(arrival)?;
                }
                Ok(()) = standing.changed() => {}
                () = sleep_until(left.unwrap_or(self.heard)), if left.is_some() => {
                    self.finish_storing().await;
                    return Err(gone_elsewhere("its sender goes on in another session"));
                }
                () = stopped(stop) => {
                    self.flush(link).await;
                    return Err(shutting_down());
                }
            }
        }
        if *standing.borrow() == State::Over && !link.arrivals.is_closed() {
            self.finish_storing().await;
            return Err(gone_elsewhere("all was said over another connection"));
        }
        // The link is gone. What has arrived is stored all the same.
        let cause = link.end.cause().await;
        self.finish_storing().await;
        Ok(cause)
    }

    /// The connection has ended; true for the last of its session, which then is in the report.
    fn ended(self, ended: &Result<TransportError, Ending>, report: &mut SessionReport) -> bool {
        if let Ok(cause) = ended
            && is_closed(cause, CloseCode::Done)
        {
            self.joint.is_over(&cause.to_string());
        }
        if !self.joint.leave() {
            return false;
        }
        let counted = self.joint.counted();
        report.closed = counted.end.is_some();
        report.moved = match ended {
            Ok(cause) => is_closed(cause, CloseCode::Moved),
            Err(ending) => ending.code == CloseCode::Moved,
        };
        report.moved &= !report.closed;
        report.end = counted.end.unwrap_or_default();
        report.complete = counted.complete;
        report.sources = counted.sources;
        report.refused_unnamed = counted.refused_unnamed;
        report.connections = counted.connections;
        true
    }

    /// How much longer the peer may take no message. One that takes none keeps frames and offers from
    /// being taken, and with them the memory that is everybody's.
    fn patience(&mut self) -> Duration {
        let stall = self.server.limits.stall;
        if self.outbox.is_empty() {
            self.unheard = None;
            return stall;
        }
        stall.saturating_sub(self.unheard.get_or_insert_with(Instant::now).elapsed())
    }

    fn deaf(&self) -> Ending {
        let (seconds, waiting) = (self.server.limits.stall.as_secs_f32(), self.outbox.len());
        let why = format!("the sender takes no messages: {waiting} wait, none left in {seconds} s");
        Ending { code: CloseCode::Stalled, why }
    }

    /// What has arrived is stored and confirmed, before the receiver stops.
    async fn flush(&mut self, link: &ReceiverLink) {
        self.finish_storing().await;
        let outbox = std::mem::take(&mut self.outbox);
        let say_all = async {
            for message in outbox {
                if link.messages.send(message).await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, say_all).await;
    }

    async fn finish_storing(&mut self) {
        // Frames must not wait behind answers that nobody hears.
        self.listening.store(false, Ordering::Relaxed);
        while self.storing + self.noting > 0 {
            match self.done.recv().await {
                Some(done) => self.settle(done),
                None => return,
            }
        }
    }

    /// Takes something from the sender.
    fn take(&mut self, arrival: Arrival) -> Result<(), Ending> {
        match arrival {
            Arrival::Frame(frame) => {
                let Some(lane) = self.lanes.get(usize::from(frame.source.0)) else {
                    return Err(protocol("a frame of a source that the hello did not name"));
                };
                self.storing += 1;
                let (replace, from) = (self.joint.overwrite, lane.from.clone());
                let (frame, ticket) = (Box::new(frame), Ticket::new(&self.reply, Task::Frame));
                // Where its thread has failed, the ticket says so.
                let _ = lane.thread.send(Work::Store { frame, from, replace, ticket });
                Ok(())
            }
            Arrival::Message(Message::Offer(offer), claim) => {
                let lane = self.lane(offer.source)?;
                let (from, turn) = (lane.from.clone(), lane.turns.take());
                self.looking_up += 1;
                let question = Question {
                    from,
                    claim,
                    replace: self.joint.overwrite,
                    listening: self.listening.clone(),
                    ticket: Ticket::new(&self.reply, Task::Offer),
                    turn,
                    was_read: false,
                    offer,
                };
                let lane = self.lane(question.offer.source)?;
                let _ = lane.thread.send(Work::LookUp(Box::new(question)));
                Ok(())
            }
            Arrival::Message(Message::Drops(drops), claim) => self.drops(drops, claim),
            Arrival::Message(Message::EndOfRun(end), claim) => self.end_run(end, claim),
            Arrival::Message(Message::Standing(standing), _) => {
                self.show(&standing);
                Ok(())
            }
            Arrival::Message(Message::Skipped { .. }, _) => Ok(()),
            Arrival::Message(Message::ClockProbe(asked), _) => {
                let now = UnixNanos::now().0;
                self.outbox.push_back(Message::ClockReply { asked, arrived: now, replied: now });
                Ok(())
            }
            Arrival::Message(other, _) => {
                Err(protocol(format!("a sender does not say {}", other.name())))
            }
            Arrival::Refused { frame, code, reason } => {
                self.warn(|| format!("refused a frame: {code}: {reason}"));
                self.refuse(frame, code, &reason);
                Ok(())
            }
        }
    }

    fn refuse(&mut self, frame: Option<(SourceId, Sequence)>, code: RefusalCode, reason: &str) {
        let known = frame.filter(|(source, _)| usize::from(source.0) < self.lanes.len());
        match known {
            Some((source, sequence)) => {
                let lane = usize::from(source.0);
                self.joint.refused(Some(lane));
                self.lanes[lane].seat.panel().refused();
                self.outbox
                    .push_back(Message::Refusal(Refusal::new(source, sequence, code, reason)));
            }
            None => self.joint.refused(None),
        }
    }

    /// Has shown how the sender stands. Sources that there are not are passed over: nothing depends on it.
    fn show(&self, standing: &Standing) {
        for source in &standing.sources {
            if let Some(lane) = self.lanes.get(usize::from(source.source.0)) {
                lane.seat.tell(Told::of(standing, source));
            }
        }
    }

    /// Has declared drops noted, which is answered when it is done.
    fn drops(&mut self, drops: Drops, claim: Claim) -> Result<(), Ending> {
        let Drops { source, run, ranges } = drops;
        self.lane(source)?.seat.panel().dropped(run, &ranges);
        let noted = |range: &DropRange| SequenceRun { first: range.first, count: range.count };
        let answer = Noted { source, run, frames: ranges.iter().map(noted).collect() };
        let dropped = Note::Dropped { run, ranges, place: Place::Sender };
        self.note(source, vec![dropped], Afterwards::Noted(answer), claim);
        Ok(())
    }

    /// Has something noted by a source's thread. Counted as offers are, and bounded with them.
    fn note(&mut self, source: SourceId, notes: Vec<Note>, answer: Afterwards, claim: Claim) {
        let Some(lane) = self.lanes.get(usize::from(source.0)) else { return };
        self.noting += 1;
        let (from, ticket) = (lane.from.clone(), Ticket::new(&self.reply, Task::Note));
        // Where its thread has failed, the ticket says so.
        let _ = lane.thread.send(Work::Note { from, notes, answer, claim, ticket });
    }

    /// Has the beginnings of the runs noted that the hello names.
    fn begin_runs(&mut self, hello: &Hello) {
        for (place, source) in hello.sources.iter().enumerate() {
            let Ok(place) = u8::try_from(place) else { return };
            if source.run == RunId::NONE {
                continue;
            }
            let began = Note::Began {
                run: source.run,
                at: source.began,
                endless: source.endless,
                live: source.live,
            };
            self.note(SourceId(place), vec![began], Afterwards::Nothing, self.account.claim());
        }
    }

    fn end_run(&mut self, mut end: EndOfRun, claim: Claim) -> Result<(), Ending> {
        let lane = self.lane(end.source)?;
        if lane.ended {
            return Err(protocol("a source ended twice"));
        }
        lane.ended = true;
        let (totals, is_news) = self.joint.end(usize::from(end.source.0), &mut end);
        if is_news {
            self.lane(end.source)?.seat.end(end.lost_count);
        }
        if end.run == RunId::NONE {
            self.outbox.push_back(Message::Totals(totals));
        } else {
            // What another connection has said is noted, or waits for that before this.
            let ended = Note::Ended { run: end.run, at: end.ended, captured: end.captured };
            let notes = if is_news { vec![ended] } else { Vec::new() };
            self.note(end.source, notes, Afterwards::Totals(totals), claim);
        }
        Ok(())
    }

    /// Says something of this session in the log, as far as there is room for it.
    fn warn(&self, line: impl FnOnce() -> String) {
        self.server.voice.warn(self.account.sender(), line);
    }

    /// Takes what a source's thread has done.
    fn settle(&mut self, done: Done) {
        match done {
            Done::Failed(task) => {
                self.failed = true;
                match task {
                    Task::Frame => self.storing -= 1,
                    Task::Offer => self.looking_up -= 1,
                    Task::Note => self.noting -= 1,
                }
            }
            Done::Noted(told) => {
                self.noting -= 1;
                self.outbox.extend(told);
            }
            Done::Answered { answer, turn, stored, expired } => {
                self.looking_up -= 1;
                self.say_expired(&answer, expired);
                self.joint.stored_before(usize::from(answer.source.0), stored);
                let lane = self.lanes.get_mut(usize::from(answer.source.0));
                let next = lane.map(|lane| lane.turns.found(turn, answer)).unwrap_or_default();
                self.outbox.extend(next.into_iter().map(Message::Answer));
            }
            Done::Stored { source, at, frames } => {
                self.storing -= frames.len();
                let receipts = self.account(source, frames);
                if !receipts.is_empty() {
                    let receipts = Receipts::new(source, at, receipts);
                    self.outbox.push_back(Message::Receipts(receipts));
                }
            }
        }
    }

    /// Says once in a session that frames on offer are not stored any more, and not wanted.
    fn say_expired(&mut self, answer: &Answer, expired: u64) {
        if expired > 0 && !std::mem::replace(&mut self.told_expired, true) {
            let name = self.joint.name(usize::from(answer.source.0));
            let text = format!(
                "frames of {name} were stored before and have been removed since, because they were old enough; \
                 they count as stored and are not wanted again"
            );
            self.outbox.push_back(Message::Notice(Notice { kind: Notice::EXPIRED, text }));
        }
    }

    /// Says that there is little room for frames, or enough again.
    fn say_room(&mut self, state: Option<RoomState>) {
        let Some(state) = state.filter(|state| state.is_low != self.told_low) else { return };
        self.told_low = state.is_low;
        let kind = if state.is_low { Notice::NEARLY_FULL } else { Notice::ROOM_AGAIN };
        self.outbox.push_back(Message::Notice(Notice { kind, text: state.words() }));
    }

    /// Counts stored frames, refuses the others, and gives those to confirm.
    fn account(&mut self, source: SourceId, frames: Vec<Settled>) -> Vec<Sequence> {
        let mut receipts = Vec::with_capacity(frames.len());
        for settled in frames {
            if self.joint.settled(usize::from(source.0), &settled) {
                receipts.push(settled.sequence);
            }
            match settled.outcome {
                Outcome::Stored => self.server.progress.stored(1, settled.bytes),
                Outcome::AlreadyStored => {}
                Outcome::Failed(error) => {
                    let (voice, sender) = (&self.server.voice, self.account.sender());
                    voice.warn(sender, || format!("not stored: {error}"));
                    let code = refusal_code(&error);
                    self.refuse(Some((source, settled.sequence)), code, &error.to_string());
                }
            }
        }
        receipts
    }

    fn lane(&mut self, source: SourceId) -> Result<&mut Lane, Ending> {
        let unknown = || protocol(format!("source number {} was not in the hello", source.0));
        self.lanes.get_mut(usize::from(source.0)).ok_or_else(unknown)
    }
}

/// Opens all sources of a hello at once: one disk that hangs holds up this session, and nobody else's.
async fn open_all(
    hello: &Hello,
    from: &Opener,
    link: &ReceiverLink,
    server: &Server,
    began: u64,
) -> Result<Vec<(Lane, Admitted)>, Ending> {
    let mut opening = JoinSet::new();
    for (place, source) in hello.sources.iter().enumerate() {
        let mut from = from.clone();
        from.run = (source.run != RunId::NONE).then_some(source.run);
        let (from, name) = (Arc::new(from), source.name.clone());
        let (sources, account) = (server.sources.clone(), link.account.clone());
        let (peer, path) = (link.peer.clone(), link.path.clone());
        opening.spawn(async move {
            let opened = sources.open(&name, &from, &account).await;
            opened.map(|(thread, admitted)| {
                let seat = Seat::take(sources.panel(&name, &from), &peer, &path, began);
                let lane = Lane { thread, from, ended: false, turns: Turns::default(), seat };
                (place, (lane, admitted))
            })
        });
    }
    let failed = |unopened| match unopened {
        Unopened::Busy(why) => Ending { code: CloseCode::Busy, why },
        Unopened::Store(why) => Ending { code: CloseCode::Store, why },
    };
    let mut lanes = Vec::with_capacity(hello.sources.len());
    while let Some(opened) = opening.join_next().await {
        let opened = opened.map_err(|error| Unopened::Store(error.to_string()));
        lanes.push(opened.and_then(|opened| opened).map_err(failed)?);
    }
    lanes.sort_unstable_by_key(|(place, _)| *place);
    Ok(lanes.into_iter().map(|(_, lane)| lane).collect())
}

/// Nothing more is to come over this connection.
fn gone_elsewhere(why: &str) -> Ending {
    Ending { code: CloseCode::Moved, why: why.to_owned() }
}

fn thread_gone() -> Ending {
    let why = "a source's thread has failed; see the receiver's log".to_owned();
    Ending { code: CloseCode::Store, why }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
