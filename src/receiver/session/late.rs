//! Sources that do not open when their session begins, because something stands where their folder should be, say.
//!
//! The others of the session go on meanwhile, where its sender can. Each of these is tried again, and its sender is told
//! when it is open. One that is another sender's is not tried again, and its sender is told that.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::board::Seat;
use super::super::joint::JointSource;
use super::super::sources::{Sources, Unopened};
use super::super::turns::Turns;
use super::super::work::{Admitted, Done, Reply, SourceThread};
use super::{Ending, Lane, ReceiverSession, protocol};
use crate::frame::Sequence;
use crate::store::Opener;
use crate::transport::Account;
use crate::wire;
use crate::wire::{
    Answer, Capabilities, CloseCode, Declined, Message, Offer, Opened, SourceHello, SourceId,
    Verdict, Welcome,
};

/// How long the sources that are open wait for the others, as a disk that is busy may be, and a store of many frames.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause before a source is tried again; it doubles up to the longest, since each time costs a thread.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Somebody who has made room for a folder need not wait for longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What came of opening a session's sources.
pub(super) enum Attempt {
    Open(SourceThread, Admitted),
    /// Not yet, or never: why.
    Not(Unopened),
}

/// Without which sources a session may go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Without {
    late: bool,
    declined: bool,
}

impl Without {
    /// As its sender can.
    pub(super) fn of(sender: Capabilities) -> Self {
        let late = sender.has(Capabilities::LATE_SOURCES);
        Self { late, declined: late && sender.has(Capabilities::DECLINED_SOURCES) }
    }

    fn this(self, unopened: &Unopened) -> bool {
        if matches!(unopened, Unopened::Owned(_)) { self.declined } else { self.late }
    }
}

/// Opens all sources of a hello at once: one disk that hangs holds up this session, and nobody else's; where the sender
/// goes on without it, not even that. At least one is open.
pub(super) async fn open_all(
    hello: &[SourceHello],
    openers: &[Arc<Opener>],
    (sources, account): (&Sources, &Account),
    without: Without,
) -> Result<Vec<Attempt>, Ending> {
    let mut opening = JoinSet::new();
    for (place, (source, from)) in hello.iter().zip(openers).enumerate() {
        let (name, from) = (source.name.clone(), from.clone());
        let (sources, account) = (sources.clone(), account.clone());
        opening.spawn(async move { (place, sources.open(&name, &from, &account).await) });
    }
    let still = "it is still being opened: its disk is slow, or has many frames of it";
    let mut attempts: Vec<Attempt> =
        hello.iter().map(|_| Attempt::Not(Unopened::Store(still.to_owned()))).collect();
    let (mut is_any_open, until) = (false, Instant::now() + PATIENCE);
    loop {
        let opened = tokio::select! {
            opened = opening.join_next() => opened,
            () = sleep_until(until), if without.late && is_any_open => break,
        };
        let Some(opened) = opened else { break };
        let (place, opened) = opened.map_err(|error| store_failed(error.to_string()))?;
        match opened {
            Ok((thread, admitted)) => {
                attempts[place] = Attempt::Open(thread, admitted);
                is_any_open = true;
            }
            Err(unopened) if without.this(&unopened) => attempts[place] = Attempt::Not(unopened),
            Err(unopened) => return Err(failed(unopened)),
        }
    }
    if is_any_open {
        return Ok(attempts);
    }
    // Where one may open yet, the session is tried again.
    let not = attempts.into_iter().filter_map(|attempt| match attempt {
        Attempt::Open(..) => None,
        Attempt::Not(unopened) => Some(unopened),
    });
    let last = not.max_by_key(|unopened| !matches!(unopened, Unopened::Owned(_)));
    Err(last.map_or_else(|| protocol("a hello without sources"), failed))
}

fn failed(unopened: Unopened) -> Ending {
    match unopened {
        Unopened::Busy(why) => Ending { code: CloseCode::Busy, why },
        Unopened::Owned(why) => Ending { code: CloseCode::Owned, why },
        Unopened::Store(why) => store_failed(why),
    }
}

fn store_failed(why: String) -> Ending {
    Ending { code: CloseCode::Store, why }
}

/// Tries a source again until it is open.
async fn open_later(
    place: u8,
    source: SourceHello,
    from: Arc<Opener>,
    (sources, account): (Sources, Account),
    reply: Reply,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
        let number = SourceId(place);
        let done = match sources.open(&source.name, &from, &account).await {
            Ok((thread, admitted)) => Done::Opened { source: number, thread, admitted },
            Err(Unopened::Owned(why)) => Done::Declined { source: number, why },
            Err(Unopened::Busy(_) | Unopened::Store(_)) => continue,
        };
        let _ = reply.send(done);
        return;
    }
}

impl ReceiverSession<'_> {
    /// Takes up the sources that are open, and tries the others again.
    pub(super) fn begin_lanes(&mut self) {
        for place in 0..self.joint.sources.len() {
            self.lanes.push(None);
            if self.lane_at(place).is_some() || self.joint.sources[place].declined.get().is_some() {
                continue;
            }
            let JointSource { hello, from, .. } = &self.joint.sources[place];
            let place = place as u8; // at most MAX_SOURCES
            let (sources, reply) = (self.server.sources.clone(), self.reply.clone());
            let with = (sources, self.account.clone());
            self.late.spawn(open_later(place, hello.clone(), from.clone(), with, reply));
        }
    }

    /// What a connection is told at first: the welcome of its session, what has opened since, and what never will.
    pub(super) fn first_words(welcome: &Welcome, sources: &[JointSource]) -> Vec<Message> {
        let since = welcome.unopened.iter().filter_map(|unopened| {
            let (source, known) = (unopened.source, sources.get(usize::from(unopened.source.0))?);
            if let Some(why) = known.declined.get() {
                return Some(Message::Declined(Declined::new(source, CloseCode::Owned, why)));
            }
            Some(Message::Opened(Opened { source, next: known.next()? }))
        });
        std::iter::once(Message::Welcome(welcome.clone())).chain(since).collect()
    }

    /// Says in the log which sources are not open, at the beginning of a session.
    pub(super) fn say_unopened(&self) {
        for wire::Unopened { source, why } in &self.joint.welcome.unopened {
            let place = usize::from(source.0);
            let known = self.joint.sources.get(place);
            if let Some(why) = known.and_then(|known| known.declined.get()) {
                self.say_declined(*source, why);
                continue;
            }
            let name = self.joint.name(place);
            self.warn(|| {
                format!(
                    "source {name} cannot be opened: {why}; it is tried again, and the other sources of its sender go on"
                )
            });
        }
    }

    fn say_declined(&self, source: SourceId, why: &str) {
        let name = self.joint.name(usize::from(source.0));
        self.warn(|| {
            format!("source {name} is not taken: {why}; the other sources of its sender go on")
        });
    }

    /// A source is another sender's after all, as has come out when it was tried again.
    pub(super) fn declined(&mut self, source: SourceId, why: String) {
        let Some(known) = self.joint.sources.get(usize::from(source.0)) else { return };
        if !self.joint.may_decline {
            self.owned = Some(why);
            return;
        }
        let declined = Declined::new(source, CloseCode::Owned, &why);
        if known.declined.set(why.clone()).is_ok() {
            self.joint.unopened(usize::from(source.0), Some(&why));
            self.say_declined(source, &why);
        }
        self.outbox.push_back(Message::Declined(declined));
    }

    /// A source of the session, where it is open by now.
    pub(super) fn lane_at(&mut self, place: usize) -> Option<&mut Lane> {
        let slot = self.lanes.get_mut(place)?;
        if slot.is_none() {
            let source = &self.joint.sources[place];
            let (thread, _) = source.open.get()?;
            let panel = self.server.sources.panel(&source.hello.name, &source.from);
            let seat = Seat::take(panel, &self.peer, &self.path, self.joint.began);
            *slot = Some(Lane {
                thread: thread.clone(),
                from: source.from.clone(),
                ended: false,
                turns: Turns::default(),
                seat,
            });
        }
        slot.as_mut()
    }

    /// A source that the sender says something of that it may say only of one that is open.
    pub(super) fn lane(&mut self, source: SourceId) -> Result<&mut Lane, Ending> {
        let place = usize::from(source.0);
        let is_known = place < self.lanes.len();
        self.lane_at(place).ok_or_else(|| {
            let what = if is_known { "is not open" } else { "was not in the hello" };
            protocol(format!("source number {place} {what}"))
        })
    }

    /// A source is open now. Of several connections that have tried it, the first has its run begin.
    pub(super) fn opened(&mut self, source: SourceId, thread: SourceThread, admitted: Admitted) {
        let place = usize::from(source.0);
        let Some(known) = self.joint.sources.get(place) else { return };
        let is_first = known.open.set((thread, admitted.next)).is_ok();
        let next: Sequence = known.next().unwrap_or_default();
        let (hello, peer) = (known.hello.clone(), self.peer.address);
        if is_first {
            self.joint.unopened(place, None);
            tracing::info!(%peer, "source {} is open now", hello.name);
            self.begin_run(source);
        }
        if self.lane_at(place).is_some() {
            self.outbox.push_back(Message::Opened(Opened { source, next }));
        }
    }

    /// The answer to an offer of a source that is not open.
    pub(super) fn answer_not_open(&mut self, offer: &Offer) {
        let verdicts = offer.entries.iter().map(|_| Verdict::NotOpen);
        self.outbox.push_back(Message::Answer(Answer::new(offer.source, verdicts)));
    }
}
