//! The task of a session over several connections.

mod frames;
mod hopeless;
mod paths;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::{
    FRAME_QUEUE, GivenUp, LinkEnd, LinkKeeper, MESSAGE_QUEUE, OutgoingFrame, PathWatch, SenderLink,
    TransportError, Via,
};
use super::book::{Book, Key};
use super::line::{Line, Stage};
use super::mode::PathsMode;
use super::steer::Health;
use super::sums::Sums;
use super::unanswered::Unanswered;
use super::{Named, Tried};
use crate::frame::{Sequence, UnixNanos};
use crate::wire::{
    CloseCode, JOIN_TOKEN_BYTES, Join, Message, Receipts, Refusal, SESSION_ID_BYTES, Welcome,
};
use hopeless::Hopeless;

/// Messages of the session that may wait for a connection.
const MOST_SAID: usize = 16;

/// How often a path that is not well is asked, ...
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// ... and one that is well and idle.
const ASK_IDLE: Duration = Duration::from_secs(1);

/// How soon it is looked again for room for a frame that waits, where nothing tells of it.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How long the end of the connections is waited for.
const CLOSE_PATIENCE: Duration = Duration::from_secs(3);
/// How long the cause of an end may take to be known.
const CAUSE_PATIENCE: Duration = Duration::from_millis(200);

/// How long the only connection may be silent of a session that no other can join.
const ALONE_PATIENCE: Duration = Duration::from_secs(3);

/// A session over several connections.
pub(super) struct Carrier {
    mode: PathsMode,
    links: Vec<Named>,
    lines: Vec<Line>,
    next_id: u64,
    /// The connection over which the session's messages go.
    lead: u64,
    book: Book,
    /// Frames of which no connection that carries anything has a copy.
    again: VecDeque<Key>,
    /// Bytes of copies that may go to make up for frames that are late for no known reason.
    spare: u64,
    /// When a copy was made last so that no path stands idle at the end.
    stolen: Instant,
    hopeless: Hopeless,
    unanswered: Unanswered,
    upward: VecDeque<Message>,
    session: Option<[u8; SESSION_ID_BYTES]>,
    welcomed: bool,
    /// By which a connection joins the session; `None` where none can.
    token: Option<[u8; JOIN_TOKEN_BYTES]>,
    sums: Sums,
    /// What is known of the connections is to be told anew.
    changed: bool,
    /// Links of which was said that they are silent.
    silent: Vec<bool>,
    /// Links of which was said that their data is used up.
    spent: Vec<bool>,
    /// Why the session cannot go on.
    over: Option<TransportError>,
    last: Arc<AtomicUsize>,
    drained: Arc<Notify>,
}

/// The session's ends of it.
struct Ends {
    messages: mpsc::Receiver<Message>,
    frames: mpsc::Receiver<OutgoingFrame>,
    to_session: mpsc::Sender<Message>,
    keeper: LinkKeeper,
    keepers: JoinSet<()>,
    tried: mpsc::Receiver<Tried>,
}

impl Carrier {
    /// Begins with a connection by the link in that place; what keeps the others tells of them.
    pub(super) fn begin(
        mode: PathsMode,
        links: Vec<Named>,
        (slot, link): (usize, SenderLink),
        (keepers, tried): (JoinSet<()>, mpsc::Receiver<Tried>),
        last: Arc<AtomicUsize>,
    ) -> SenderLink {
        let (to_carrier, messages) = mpsc::channel(MESSAGE_QUEUE);
        let (to_frames, frames) = mpsc::channel(FRAME_QUEUE);
        let (to_session, incoming) = mpsc::channel(MESSAGE_QUEUE);
        let (end, keeper) = LinkEnd::new();
        let (sums, drained) = (Sums::default(), Arc::new(Notify::new()));
        let looking = sums.clone();
        let given_up = GivenUp::default();
        let path = PathWatch::new(move || looking.look());
        let path = path.with_notice(drained.clone()).with_given_up(given_up.clone());
        let first = links.get(slot).map_or_else(String::new, |link| link.name.clone());
        let via = Via {
            why: Some(match links.len() {
                1 => format!("by {first}"),
                links => format!("{links} links at once, the first of them {first}"),
            }),
            ..link.via.clone()
        };
        let now = Instant::now();
        let mut lead = Line::new(0, slot, link, now);
        lead.stage = Stage::Joined;
        lead.is_first = true;
        last.store(slot, Ordering::Relaxed);
        let carrier = Self {
            mode,
            silent: vec![false; links.len()],
            spent: vec![false; links.len()],
            links,
            lines: vec![lead],
            next_id: 1,
            lead: 0,
            book: Book::default(),
            again: VecDeque::new(),
            spare: 0,
            stolen: now,
            hopeless: Hopeless::new(given_up.clone(), drained.clone()),
            unanswered: Unanswered::default(),
            upward: VecDeque::new(),
            session: None,
            welcomed: false,
            token: None,
            sums,
            changed: true,
            over: None,
            last,
            drained,
        };
        carrier.sums.set(&carrier.lines);
        let ends = Ends { messages, frames, to_session, keeper, keepers, tried };
        tokio::spawn(carrier.run(ends));
        SenderLink { messages: to_carrier, frames: to_frames, incoming, end, path, via }
    }

    async fn run(mut self, mut ends: Ends) {
        let mut held: Option<OutgoingFrame> = None;
        loop {
            let now = Instant::now();
            self.look(now);
            self.ask(now);
            self.take_given_up(now);
            self.rescue(now);
            self.send_again(now);
            held = held.and_then(|frame| self.place(frame, now));
            let is_idle = held.is_none() && ends.frames.is_empty();
            if is_idle {
                self.share_rest(now);
            }
            self.hand_on(&ends.to_session, now);
            if self.welcomed && self.token.is_none() {
                ends.keepers.abort_all();
            }
            if let Some(cause) = self.over.take() {
                ends.keeper.ended(cause);
                return self.close(CloseCode::Moved, "goes on over another connection").await;
            }
            let wake = self.wakes_at(now, held.is_some(), is_idle);
            let notices: Vec<_> =
                self.lines.iter().map(|line| line.link.path.drain_notice()).collect();
            let takes_frames = held.is_none() && self.takes_frames();
            let takes_messages =
                self.line(self.lead).is_some_and(|line| line.outbox.len() < MOST_SAID);
            tokio::select! {
                frame = ends.frames.recv(), if takes_frames && !ends.frames.is_closed() => held = frame,
                message = ends.messages.recv(), if takes_messages && !ends.messages.is_closed() => {
                    if let Some(message) = message {
                        self.say(message);
                    }
                }
                (id, word) = next_word(&mut self.lines), if self.upward.len() < MESSAGE_QUEUE => match word {
                    Some(message) => self.heard(id, message, Instant::now()),
                    None => self.has_ended(id).await,
                },
                permit = ends.to_session.reserve(), if !self.upward.is_empty() => {
                    if let Ok(permit) = permit && let Some(message) = self.upward.pop_front() {
                        permit.send(message);
                    }
                }
                Some(tried) = ends.tried.recv() => self.tried(tried, Instant::now()),
                request = ends.keeper.close.recv() => {
                    let (code, reason) = request.unwrap_or((CloseCode::Shutdown, "gone".to_owned()));
                    self.close(code, &reason).await;
                    return ends.keeper.ended(TransportError::Ended);
                }
                () = any(&notices) => self.drained.notify_one(),
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }

    /// What the session says goes over the connection that leads.
    fn say(&mut self, message: Message) {
        if let Message::Hello(hello) = &message {
            self.session = Some(hello.session);
        }
        self.unanswered.said(&message);
        let lead = self.lead;
        if let Some(line) = self.line_mut(lead) {
            line.outbox.push_back(message);
        }
    }

    /// Takes what the receiver says over a connection.
    fn heard(&mut self, id: u64, message: Message, now: Instant) {
        let leads = id == self.lead;
        let Some(line) = self.line_mut(id) else { return };
        line.hear(now);
        match message {
            Message::Welcome(welcome) => self.welcomed(id, welcome, now),
            Message::Receipts(receipts) => self.receipts(id, receipts, now),
            Message::Refusal(refusal) => self.refusal(id, refusal),
            // The order of answers is that of the offers over one connection.
            Message::Answer(answer) => {
                if line.is_answered(answer.source) && leads {
                    let answer = Message::Answer(answer);
                    if self.unanswered.heard(&answer) {
                        self.upward.push_back(answer);
                    }
                }
            }
            // The session asks over the one that leads, and this asks the others.
            Message::ClockReply { .. } if !leads => {}
            message => {
                if self.unanswered.heard(&message) {
                    self.upward.push_back(message);
                }
            }
        }
    }

    fn welcomed(&mut self, id: u64, welcome: Welcome, now: Instant) {
        if id == self.lead && !self.welcomed {
            self.welcomed = true;
            self.token = welcome.join;
            self.upward.push_back(Message::Welcome(welcome));
            match self.token {
                Some(_) => self.join_all(now),
                None => self.alone(),
            }
            return;
        }
        self.joined(id, now);
    }

    /// The session goes over one connection alone.
    fn alone(&mut self) {
        if self.links.len() > 1 {
            tracing::warn!(
                "the receiver is of a version that takes no second connection into a session: one link is used at a time"
            );
        }
        let lead = self.lead;
        let others: Vec<u64> =
            self.lines.iter().map(|line| line.id).filter(|&id| id != lead).collect();
        others.into_iter().for_each(|id| self.drop_line(id, CloseCode::Shutdown));
    }

    fn join_all(&mut self, now: Instant) {
        let waiting: Vec<u64> = self
            .lines
            .iter()
            .filter(|line| line.stage == Stage::Waits)
            .map(|line| line.id)
            .collect();
        waiting.into_iter().for_each(|id| self.join(id, now));
    }

    /// Has a connection join the session, where that can be joined by now.
    fn join(&mut self, id: u64, now: Instant) {
        let (Some(session), Some(token)) = (self.session, self.token) else { return };
        if let Some(line) = self.line_mut(id) {
            line.stage = Stage::Joins;
            line.outbox.push_back(Message::Join(Join { session, token }));
            line.flush(now);
        }
    }

    /// Frames that are stored.
    fn receipts(&mut self, id: u64, receipts: Receipts, now: Instant) {
        let mut any = false;
        for run in &receipts.runs {
            for key in self.book.within(receipts.source, run.first, run.count) {
                any = true;
                self.settle(key, Some(id), now);
            }
            // Given up, and there all the same.
            let last = run.first.0.saturating_add(run.count.saturating_sub(1));
            let ends = [run.first, Sequence(last)].map(|sequence| (receipts.source, sequence));
            any |= run.count > 0 && self.hopeless.has_come(ends[0], ends[1]);
            if let Some(line) = self.line_mut(id) {
                let sequences = run.first.0..=last;
                let is_meant = |(source, sequence): Key| {
                    source == receipts.source && sequences.contains(&sequence.0)
                };
                line.is_tried(is_meant, now);
            }
        }
        // That of a second copy tells nothing.
        if any {
            self.changed = true;
            self.upward.push_back(Message::Receipts(receipts));
        }
    }

    /// A frame that was not stored: where another copy of it is under way, that decides.
    fn refusal(&mut self, id: u64, refusal: Refusal) {
        let key = (refusal.source, refusal.sequence);
        let Some(out) = self.book.get(key) else { return };
        let (bytes, live) = (out.frame.header.meta.bytes, out.frame.is_live());
        if refusal.code.may_pass() && out.copies.len() > 1 {
            if let Some(line) = self.line_mut(id) {
                line.rid(bytes, live);
            }
            self.book.take_back(key, id);
            if self.is_carried(key) {
                return;
            }
        }
        self.settle(key, None, Instant::now());
        self.upward.push_back(Message::Refusal(refusal));
    }

    /// Hands on what is to be said in both directions, as far as there is room.
    fn hand_on(&mut self, to_session: &mpsc::Sender<Message>, now: Instant) {
        self.lines.iter_mut().for_each(|line| line.flush(now));
        while !self.upward.is_empty()
            && let Ok(permit) = to_session.try_reserve()
            && let Some(message) = self.upward.pop_front()
        {
            permit.send(message);
        }
        if std::mem::take(&mut self.changed) {
            self.sums.set(&self.lines);
            self.drained.notify_one();
        }
    }

    /// Asks over paths of which is not known whether they carry anything.
    fn ask(&mut self, now: Instant) {
        for line in self.lines.iter_mut().filter(|line| line.is_joined()) {
            if line.outbox.is_empty() && asks_at(line).is_some_and(|when| when <= now) {
                line.outbox.push_back(Message::ClockProbe(UnixNanos::now().0));
                line.owes(now);
            }
        }
    }

    fn wakes_at(&self, now: Instant, is_held: bool, is_idle: bool) -> Option<Instant> {
        let of_lines =
            self.lines.iter().flat_map(|line| [line.wakes_at(), asks_at(line), leaves_at(line)]);
        let waits = is_held || !self.again.is_empty();
        let shares = is_idle && self.lines.len() > 1 && self.book.len() > 0;
        let again = (waits || shares).then_some(now + LOOK_AGAIN);
        let all = of_lines.chain([self.book.next_due(), again]).flatten();
        all.min().map(|when| when.max(now + Duration::from_millis(1)))
    }

    /// Closes every connection, and waits until those that carry anything have told the receiver.
    async fn close(&mut self, code: CloseCode, reason: &str) {
        let slot = self.line(self.lead).map(|line| line.slot);
        if let Some(slot) = slot {
            self.last.store(slot, Ordering::Relaxed);
        }
        let mut closing = JoinSet::new();
        for line in self.lines.drain(..) {
            let (end, reason) = (line.link.end.clone(), reason.to_owned());
            let is_well = line.health == Health::Well && line.is_joined();
            let close = async move {
                end.close(code, &reason).await;
                drop(line);
            };
            match is_well {
                true => drop(closing.spawn(close)),
                false => drop(tokio::spawn(close)),
            }
        }
        let all = async { while closing.join_next().await.is_some() {} };
        let _ = timeout(CLOSE_PATIENCE, all).await;
        closing.detach_all();
    }

    fn line(&self, id: u64) -> Option<&Line> {
        self.lines.iter().find(|line| line.id == id)
    }

    fn line_mut(&mut self, id: u64) -> Option<&mut Line> {
        self.lines.iter_mut().find(|line| line.id == id)
    }
}

/// When a path is to be asked whether it carries anything.
fn asks_at(line: &Line) -> Option<Instant> {
    if !line.is_joined() {
        return None;
    }
    match line.health {
        Health::Well => line.is_idle().then(|| line.said() + ASK_IDLE),
        Health::Ill | Health::Dead => Some(line.said() + ASK_AGAIN),
    }
}

/// When a connection that is left is given up.
fn leaves_at(line: &Line) -> Option<Instant> {
    match line.stage {
        Stage::Leaves(when) => Some(when),
        _ => None,
    }
}

/// The next word over any of the connections, or that one has ended. Cancel safe.
async fn next_word(lines: &mut [Line]) -> (u64, Option<Message>) {
    poll_fn(|cx| {
        for line in lines.iter_mut() {
            if let Poll::Ready(word) = line.link.incoming.poll_recv(cx) {
                return Poll::Ready((line.id, word));
            }
        }
        Poll::Pending
    })
    .await
}

/// Waits for any of the notices; for ever, where there is none. Cancel safe.
async fn any(notices: &[Arc<Notify>]) {
    let mut all: Vec<Pin<Box<_>>> =
        notices.iter().map(|notice| Box::pin(notice.notified())).collect();
    poll_fn(|cx| {
        let ready = all.iter_mut().any(|notified| notified.as_mut().poll(cx).is_ready());
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await
}
