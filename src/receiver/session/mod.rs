//! One session with a sender: a single task that owns all of its state.

mod answers;
mod late;
mod opening;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::board::Seat;
use super::joint::{Joint, State};
use super::progress::Presence;
use super::report::{SessionReport, SourceTotals};
use super::room::RoomState;
use super::server::Server;
use super::trial;
use super::turns::Turns;
use super::work::{Done, Reply, SourceThread};
use crate::identity::Permit;
use crate::store::Opener;
use crate::transport::{Account, PathWatch, Peer, ReceiverLink, TransportError};
use crate::wire::{CloseCode, Message};
use opening::{Opening, admit, open_in_time, opening};

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
        asked: None,
        connections: 1,
        sources: Vec::new(),
        complete: false,
        closed: false,
        moved: false,
        end: String::new(),
        refused_unnamed: 0,
    };
    let begins = opening(&mut link, &mut stop).await;
    let opened = match begins.and_then(|begins| admit(begins, &link, server)) {
        Ok(Opening::Trial) => {
            try_out(link, server, &mut stop).await;
            return None;
        }
        Ok(Opening::Hello(hello)) => {
            // What it asked for is known, whatever comes of it.
            let asked = server.progress.begin();
            report.asked = Some(asked);
            let opened = open_in_time(&hello, asked, &link, server, presence, &mut stop).await;
            if let Err(Ending { why, .. }) = &opened {
                report.sources = SourceTotals::unopened(&hello, why);
            }
            opened
        }
        Ok(Opening::Join(join)) => ReceiverSession::join(&join, &link, server, presence),
        Err(ending) => Err(ending),
    };
    let ended = match opened {
        Ok(mut session) => {
            report.began = Some(session.joint.began);
            report.asked = report.began;
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

/// A connection of a session.
struct ReceiverSession<'a> {
    server: &'a Server,
    /// What it shares with the other connections of its session.
    joint: Arc<Joint>,
    account: Account,
    peer: Peer,
    path: PathWatch,
    /// Those that are open.
    lanes: Vec<Option<Lane>>,
    /// Tries the others again.
    late: JoinSet<()>,
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
    /// A source is another's, and its sender cannot go on without it: why.
    owned: Option<String>,
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

impl ReceiverSession<'_> {
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
            let early: usize = self.lanes.iter().flatten().map(|lane| lane.turns.waiting()).sum();
            let takes_more = self.outbox.len() + self.looking_up + self.noting + early
                < MAX_BACKLOG
                && self.storing < self.server.max_storing();
            let patience = self.patience();
            if self.failed {
                self.finish_storing().await;
                return Err(thread_gone());
            }
            if let Some(why) = self.owned.take() {
                self.finish_storing().await;
                return Err(Ending { code: CloseCode::Owned, why });
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
mod tests;
