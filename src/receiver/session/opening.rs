//! How a session begins: its hello, and the sources that are opened for it.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::joint::{Joint, JointSource, Unjoined};
use super::super::progress::Presence;
use super::super::server::Server;
use super::super::sources::Unopened;
use super::late::{Attempt, Without, open_all};
use super::{Ending, ReceiverSession, protocol, revoked, shutting_down, stopped};
use crate::frame::{RunId, Sequence, UnixNanos};
use crate::store::Opener;
use crate::transport::{Arrival, ReceiverLink, all_taken};
use crate::wire::{
    self, Capabilities, CloseCode, Hello, JOIN_TOKEN_BYTES, Join, Message, SourceHello, SourceId,
    Welcome,
};

/// How long a peer may take from its connection to its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// What a session begins with.
pub(super) enum Opening {
    Hello(Hello),
    Join(Join),
    Trial,
}

pub(super) async fn opening(
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

/// Whether what a connection begins with is what it was let in for, where all places are taken.
pub(super) fn admit(
    opening: Opening,
    link: &ReceiverLink,
    server: &Server,
) -> Result<Opening, Ending> {
    let account = &link.account;
    let is_admitted = match &opening {
        Opening::Join(_) => true,
        Opening::Hello(hello) => {
            account.may_begin() || server.joints.is_succeeded(account.sender(), hello)
        }
        Opening::Trial => account.may_begin(),
    };
    if is_admitted {
        return Ok(opening);
    }
    Err(Ending { code: CloseCode::Busy, why: all_taken(server.limits.max_sessions) })
}

/// Opens the sources that a hello names, as long as the link is there and the receiver is not stopped.
pub(super) async fn open_in_time<'a>(
    hello: &Hello,
    asked: u64,
    link: &ReceiverLink,
    server: &'a Server,
    presence: &mut Presence,
    stop: &mut watch::Receiver<bool>,
) -> Result<ReceiverSession<'a>, Ending> {
    tokio::select! {
        session = ReceiverSession::open(hello, asked, link, server, presence) => session,
        cause = link.end.cause() => {
            let why = format!("the connection ended before its sources were open: {cause}");
            Err(Ending { code: CloseCode::Shutdown, why })
        }
        () = stopped(stop) => Err(shutting_down()),
        () = link.peer.permit.withdrawn() => Err(revoked(&link.peer.permit)),
    }
}

impl<'a> ReceiverSession<'a> {
    /// Opens the sources that the hello names.
    async fn open(
        hello: &Hello,
        asked: u64,
        link: &ReceiverLink,
        server: &'a Server,
        presence: &mut Presence,
    ) -> Result<Self, Ending> {
        let (entered, began) = (presence.enter(), asked);
        link.account.is_of(began);
        let mut from = Opener::with_pin(link.peer.pin.as_deref());
        from.name = link.peer.permit.name().map(|name| name.to_string().into());
        from.shared = server.limits.shared;
        from.began = Some(UnixNanos::now());
        let opener = |source: &SourceHello| {
            let run = (source.run != RunId::NONE).then_some(source.run);
            Arc::new(Opener { run, ..from.clone() })
        };
        let openers: Vec<_> = hello.sources.iter().map(opener).collect();
        let with = (&server.sources, &link.account);
        let without = Without::of(hello.capabilities);
        let attempts = open_all(&hello.sources, &openers, with, without).await?;
        let welcome = welcome(hello, &attempts, server);
        let sources = hello.sources.iter().zip(openers).zip(attempts);
        let sources = sources.map(|((hello, from), attempt)| {
            let (open, declined) = match attempt {
                Attempt::Open(thread, admitted) => (OnceLock::from((thread, admitted.next)), None),
                Attempt::Not(Unopened::Owned(why)) => (OnceLock::new(), Some(why)),
                Attempt::Not(_) => (OnceLock::new(), None),
            };
            let declined = declined.map_or_else(OnceLock::new, OnceLock::from);
            JointSource { hello: hello.clone(), from, open, declined }
        });
        let overwrite = hello.overwrite && server.limits.allow_overwrite;
        let (sources, sender) = (sources.collect(), link.account.sender());
        let joint = Joint::new(hello, sender, overwrite, welcome, sources, (began, entered));
        let joint = Arc::new(joint);
        server.joints.enter(&joint);
        tracing::info!(
            peer = %link.peer.address,
            transport = %link.peer.transport,
            sources = hello.sources.len(),
            "a session was opened"
        );
        let mut session = Self::new(joint, link, server);
        session.begin_runs();
        session.say_unopened();
        Ok(session)
    }

    /// A connection that joins a session.
    pub(super) fn join(
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
        Ok(Self::new(joint, link, server))
    }

    fn new(joint: Arc<Joint>, link: &ReceiverLink, server: &'a Server) -> Self {
        let (reply, done) = mpsc::unbounded_channel();
        let first = Self::first_words(&joint.welcome, &joint.sources);
        let mut session = Self {
            server,
            outbox: first.into(),
            joint,
            account: link.account.clone(),
            peer: link.peer.clone(),
            path: link.path.clone(),
            lanes: Vec::new(),
            late: JoinSet::new(),
            unheard: None,
            looking_up: 0,
            noting: 0,
            storing: 0,
            reply,
            listening: Arc::new(AtomicBool::new(true)),
            done,
            failed: false,
            owned: None,
            heard: Instant::now(),
            room: server.room.clone(),
            told_low: false,
            told_expired: false,
        };
        session.begin_lanes();
        session
    }
}

/// What a sender is told whose sources are open, all of them or all but some.
fn welcome(hello: &Hello, attempts: &[Attempt], server: &Server) -> Welcome {
    let next = |attempt: &Attempt| match attempt {
        Attempt::Open(_, admitted) => admitted.next,
        Attempt::Not(_) => Sequence(0),
    };
    let unopened = attempts.iter().zip(0..).filter_map(|(attempt, place)| match attempt {
        Attempt::Open(..) => None,
        // What is said of it follows, in a message of its own.
        Attempt::Not(Unopened::Owned(_)) => Some(wire::Unopened::new(SourceId(place), "")),
        Attempt::Not(Unopened::Busy(why) | Unopened::Store(why)) => {
            Some(wire::Unopened::new(SourceId(place), why))
        }
    });
    let joins = hello.capabilities.has(Capabilities::JOIN);
    Welcome {
        durable: server.sources.is_durable(),
        replaces: server.limits.allow_overwrite,
        next: attempts.iter().map(next).collect(),
        capabilities: Capabilities::JOIN,
        join: joins.then(rand::random::<[u8; JOIN_TOKEN_BYTES]>),
        max_frame: server.limits.max_frame.0,
        max_unconfirmed_bytes: server.limits.max_unconfirmed_bytes.0,
        max_unconfirmed_frames: server.limits.max_unconfirmed_frames,
        agent: concat!("framelane/", env!("CARGO_PKG_VERSION")).to_owned(),
        unopened: unopened.collect(),
    }
}
