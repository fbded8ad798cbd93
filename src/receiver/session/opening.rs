//! How a session begins: its hello, and the sources that are opened for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::board::Seat;
use super::super::joint::{Joint, Unjoined};
use super::super::progress::Presence;
use super::super::server::Server;
use super::super::sources::Unopened;
use super::super::turns::Turns;
use super::super::work::{Admitted, SourceThread};
use super::{Ending, Lane, ReceiverSession, protocol, revoked, shutting_down, stopped};
use crate::frame::{RunId, SourceName, UnixNanos};
use crate::store::Opener;
use crate::transport::{Arrival, ReceiverLink};
use crate::wire::{Capabilities, CloseCode, Hello, JOIN_TOKEN_BYTES, Join, Message, Welcome};

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
    let limit = server.limits.max_sessions;
    match is_admitted {
        true => Ok(opening),
        false => {
            let why =
                format!("the receiver has as many sessions as it serves, its limit of {limit}");
            Err(Ending { code: CloseCode::Busy, why: format!("{why}; try later") })
        }
    }
}

/// Opens the sources that a hello names, as long as the link is there and the receiver is not stopped.
pub(super) async fn open_in_time<'a>(
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
        let joins = hello.capabilities.has(Capabilities::JOIN);
        let welcome = Welcome {
            durable: server.sources.is_durable(),
            replaces: server.limits.allow_overwrite,
            next: lanes.iter().map(|(_, admitted)| admitted.next).collect(),
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
        Unopened::Owned(why) => Ending { code: CloseCode::Owned, why },
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
