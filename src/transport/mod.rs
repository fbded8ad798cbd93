//! Ways to carry a session between two machines, behind one small boundary.
//!
//! A sender calls [`Dial::dial`] and gets a [`SenderLink`]; a receiver takes [`ReceiverLink`]s from
//! a [`Listener`]. Both are channels: each transport runs its own tasks behind them, so that a
//! session at either end reads the same for every transport, and a test can stand in for one.
//!
//! What a transport promises:
//! - messages arrive in order, each once, or the link ends;
//! - a frame arrives whole, with the announced length, or as [`Arrival::Refused`], or the link ends;
//! - frames may overtake one another and messages, unless the transport cannot help it;
//! - nothing is promised of delivery: only a receipt proves it.

mod auto;
mod bond;
mod budget;
mod by_name;
mod desk;
mod error;
mod forecast;
mod kernel;
mod knock;
mod leave;
mod links;
#[cfg(test)]
mod long_offer;
mod open;
mod places;
pub mod quic;
mod race;
mod racing;
mod reached;
mod route;
pub mod stop_and_wait;
pub mod tcp;
mod threads;
mod via;
mod voice;

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot, watch};

pub use bond::{DataCap, PathsMode, Period, ViaError, ViaLink, check_count};
pub use budget::{Account, Claim, Holdup, MemoryBudget, SHORT_MESSAGE, WeakAccount};
pub use error::TransportError;
pub use forecast::Forecast;
pub use kernel::check_tcp_congestion;
pub use leave::Link;
pub use links::{OwnAddress, link_number, own_addresses};
pub use open::{
    DialSetup, ListenSetup, dial, dial_by_links, dial_by_name, dial_either, listen, resolve,
};
pub use places::all_taken;
pub use reached::{Reached, Way};
pub use route::News as RouteNews;
pub use threads::worker_threads;
pub use via::{Better, TransportChoice, Via};
pub use voice::Voice;

use crate::frame::{ByteSize, Frame, Sequence, UnixNanos};
use crate::identity::Permit;
use crate::wire::{CloseCode, FrameHeader, Message, RefusalCode, SourceId};

/// A boxed future, for the one trait that is used as an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Frames waiting to be taken by a transport. One is being written while the next is prepared;
/// more would be a queue in which a fresh frame waits behind older ones unseen. Short ones could use up what the receiver
/// lets come over a connection, too, and leave nothing for the question whether it lives.
pub const FRAME_QUEUE: usize = 2;

/// Messages on their way to or from a transport. They are small, and their number is bounded by
/// what is in flight; this only smooths wake-ups.
pub const MESSAGE_QUEUE: usize = 64;

/// Frames and messages that have arrived and wait for the session. Their bytes are bounded by the
/// memory budget.
pub const ARRIVAL_QUEUE: usize = 256;

/// Which transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// One QUIC connection, a stream for each frame.
    Quic,
    /// One TLS 1.3 connection over TCP, frames one after the other without a stall.
    Tcp,
    /// The Python socket scripts' protocol: no encryption, an "ok" after each header and body.
    StopAndWait,
    /// A new TLS 1.3 connection over TCP for each frame.
    TcpPerFrame,
}

/// Opens a session to a receiver.
pub trait Dial: Send + Sync {
    /// Connects and makes everything ready for the hello.
    ///
    /// Cancel safe: a dropped attempt leaves nothing behind.
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>>;

    /// Waits until another link is to take the place of the one in use, which goes over `via` and knows `path`.
    /// For ever, where there is no choice.
    ///
    /// Cancel safe: what was tried is given up.
    fn better<'a>(&'a self, via: &'a Via, path: &'a PathWatch) -> BoxFuture<'a, Better> {
        let _ = (via, path);
        Box::pin(std::future::pending())
    }

    /// Waits until the end of the last session needs this end no more: where what told the receiver of
    /// it may have been lost, it is told again as long as this waits. Whoever ends the process right
    /// after a session calls it, and bounds the time. Returns at once where nothing is to be told.
    ///
    /// Cancel safe.
    fn linger(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// True where a connection is open already that the next attempt takes: there is nothing to wait for.
    fn is_ready(&self) -> bool {
        false
    }

    /// True where the receiver checks each frame against its hash before it confirms it. The
    /// stop-and-wait protocol cannot carry one.
    fn proves_content(&self) -> bool {
        true
    }
}

/// The sending end of a session.
#[derive(Debug)]
pub struct SenderLink {
    /// Messages to the receiver.
    pub messages: mpsc::Sender<Message>,
    /// Frames to the receiver, taken in this order; what is urgent overtakes where it can.
    pub frames: mpsc::Sender<OutgoingFrame>,
    /// Messages from the receiver; closed when the link has ended, whose reason is then in `end`.
    pub incoming: mpsc::Receiver<Message>,
    /// How the link ended, and how to end it.
    pub end: LinkEnd,
    /// What the transport knows of the path.
    pub path: PathWatch,
    /// Over what it goes.
    pub via: Via,
}

/// A frame handed to a transport.
#[derive(Debug)]
pub struct OutgoingFrame {
    /// Its header, complete.
    pub header: FrameHeader,
    /// `header.meta.bytes` bytes.
    pub body: Bytes,
    /// Higher goes first, where the transport can choose. Live frames have a positive one.
    pub priority: i32,
    /// When a live frame that is still not through has become part of the backlog, and the priority
    /// that it has from then on.
    pub late: Option<(Instant, i32)>,
    /// When it is of no use any more, where there is such a time: a transport that can stop a frame midway gives up what
    /// is known not to arrive by then, and tells [`PathWatch::take_given_up`].
    pub deadline: Option<Instant>,
    /// Ends when it need not arrive any more, since another copy of it has.
    pub moot: Option<watch::Receiver<()>>,
}

impl OutgoingFrame {
    /// True for a frame that fell due at its own time, false for one of a backlog. Live frames have
    /// a positive priority.
    pub fn is_live(&self) -> bool {
        self.priority > 0
    }

    /// The frame again, which nothing takes back.
    fn copy(&self) -> Self {
        Self {
            header: self.header.clone(),
            body: self.body.clone(),
            priority: self.priority,
            late: self.late,
            deadline: self.deadline,
            moot: None,
        }
    }
}

/// The receiving end of a session.
#[derive(Debug)]
pub struct ReceiverLink {
    /// Who is at the other end.
    pub peer: Peer,
    /// The memory that the session holds, and what it is told where it has to give way. Until it is
    /// dropped the session counts among those that there may be.
    pub account: Account,
    /// What arrives; closed when the link has ended, whose reason is then in `end`.
    pub arrivals: mpsc::Receiver<Arrival>,
    /// Messages to the sender. Dropped by a session that has no more to say: a close delivers what was
    /// said before.
    pub messages: mpsc::Sender<Message>,
    /// How many sources the hello has named: frames of others are refused from their header on.
    pub sources: SourceCount,
    /// How the link ended, and how to end it.
    pub end: LinkEnd,
    /// What the transport knows of the path.
    pub path: PathWatch,
}

/// Something from the sender.
#[derive(Debug)]
pub enum Arrival {
    /// A session message, and the memory that it holds where it is long; dropping that gives the
    /// memory back.
    Message(Message, Claim),
    /// A whole frame, of the announced length, its hash not yet checked.
    Frame(ArrivedFrame),
    /// A frame that the transport refused.
    Refused {
        /// Which, as far as its header could be read.
        frame: Option<(SourceId, Sequence)>,
        /// Why.
        code: RefusalCode,
        /// Why, for people.
        reason: String,
    },
}

/// A frame that has arrived whole.
#[derive(Debug)]
pub struct ArrivedFrame {
    /// Whose.
    pub source: SourceId,
    /// The frame.
    pub frame: Frame,
    /// When its last byte arrived.
    pub received: UnixNanos,
    /// True where forward repair made it whole before all of it had arrived.
    pub repaired: bool,
    /// The memory that its body holds; dropping it gives the memory back.
    pub claim: Claim,
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The pin of its certificate as text, where it has one.
    pub pin: Option<String>,
    /// The transport it uses.
    pub transport: Transport,
    /// Its leave to send, with the name that the receiver's user has given to it. A session whose permit is
    /// withdrawn is to be ended with [`CloseCode::Revoked`].
    pub permit: Permit,
}

/// What every receiving transport has to bound.
#[derive(Debug, Clone)]
pub struct Intake {
    /// The longest body in bytes.
    pub max_frame: ByteSize,
    /// Memory for bodies and long messages that are arriving or wait to be stored or answered, shared
    /// by all sessions.
    pub budget: MemoryBudget,
    /// A session whose open frames make next to no progress for this long is ended.
    pub stall: Duration,
    /// The most sessions at once.
    pub max_sessions: usize,
    /// What is said of peers.
    pub voice: Voice,
}

/// Hands something on that has arrived. To wait for the session is not the peer's stall.
///
/// # Errors
/// The session is gone.
async fn hand_on(
    arrivals: &mpsc::Sender<Arrival>,
    arrival: Arrival,
    account: &Account,
) -> Result<(), Abandoned> {
    use mpsc::error::TrySendError;
    account.act();
    match arrivals.try_send(arrival) {
        Ok(()) => Ok(()),
        Err(TrySendError::Closed(_)) => Err(Abandoned),
        Err(TrySendError::Full(arrival)) => {
            let _holdup = account.holdup();
            arrivals.send(arrival).await.map_err(|_| Abandoned)
        }
    }
}

/// Nobody takes what arrives any more.
#[derive(Debug)]
struct Abandoned;

/// Accepts sessions; its tasks end when it is dropped.
#[derive(Debug)]
pub struct Listener {
    /// Where it listens, the port chosen by the system filled in.
    pub address: SocketAddr,
    /// The transport it serves.
    pub transport: Transport,
    /// Sessions whose handshake is done. Closed after a fatal error.
    pub links: mpsc::Receiver<ReceiverLink>,
    /// Dropped, or sent to, it stops the accepting; open sessions are not touched.
    pub stop: Option<oneshot::Sender<()>>,
    /// Its other end is dropped with the socket, some time after the last session has ended; the port is free then.
    pub gone: oneshot::Receiver<()>,
}

/// The number of sources of a session, known once its hello has arrived.
#[derive(Debug, Clone, Default)]
pub struct SourceCount(Arc<AtomicUsize>);

/// Reads what a transport knows of its path, at the moment of the call.
#[derive(Clone)]
pub struct PathWatch {
    look: Arc<dyn Fn() -> PathStats + Send + Sync>,
    drained: Arc<Notify>,
    given_up: GivenUp,
    awaited: Arc<AtomicBool>,
}

/// Frames that a transport has given up, since they cannot arrive by their deadlines.
#[derive(Debug, Clone, Default)]
pub struct GivenUp(Arc<Mutex<Vec<(SourceId, Sequence)>>>);

/// What a transport knows of its path. Zero where it does not know.
#[derive(Debug, Clone, Copy, Default)]
pub struct PathStats {
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Congestion window in bytes.
    pub window: u64,
    /// The longest payload of a datagram that is known to get through, where the transport is one of datagrams.
    pub datagram: Option<u16>,
    /// Datagrams that have come, where the transport is one of datagrams.
    pub datagrams_received: Option<u64>,
    /// The same over TCP, where the kernel tells.
    pub segments: Option<Segments>,
    /// Packets sent and, of these, lost.
    pub packets_sent: u64,
    /// Packets that were declared lost.
    pub packets_lost: u64,
    /// Bytes that have left this end for good, where the transport can tell: acknowledged by the peer over
    /// QUIC, taken by the kernel over TCP, which takes no more than the peer makes room for. They go up
    /// while the link moves, and hardly where it does not.
    pub moved: Option<u64>,
    /// UDP or TCP payload bytes sent, retransmissions included where they can be counted.
    pub bytes_sent: u64,
    /// Bytes of datagrams that have come, where the transport is one of datagrams.
    pub bytes_received: u64,
    /// Bytes of forward repair among those that were sent.
    pub repair_bytes: u64,
    /// Bytes of bodies that were handed to the transport and are not known to have arrived.
    pub with_transport: u64,
    /// Those of them that belong to frames which have become late since, and stand behind all others.
    pub late_with_transport: u64,
    /// What becomes of a live frame that is handed over now, where the transport knows.
    pub forecast: Option<Forecast>,
}

/// What the kernel tells of a TCP connection's other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments {
    /// Segments that have come.
    pub received: u32,
    /// Whether one is due: something that was sent is not acknowledged, or waits though the peer has room for it.
    pub is_due: bool,
}

impl GivenUp {
    /// Adds one.
    pub fn add(&self, frame: (SourceId, Sequence)) {
        self.list().push(frame);
    }

    fn list(&self) -> MutexGuard<'_, Vec<(SourceId, Sequence)>> {
        // The list is whole at every moment, so another thread's panic does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a link ended, and the way to end it.
#[derive(Debug, Clone)]
pub struct LinkEnd {
    close: mpsc::Sender<(CloseCode, String)>,
    cause: watch::Receiver<Option<TransportError>>,
}

/// A transport's side of a [`LinkEnd`].
#[derive(Debug)]
pub struct LinkKeeper {
    /// A request to close, from the session. `None` when every session handle is gone.
    pub close: mpsc::Receiver<(CloseCode, String)>,
    cause: watch::Sender<Option<TransportError>>,
}

impl LinkEnd {
    /// A session's handle and the transport's side of it.
    pub fn new() -> (Self, LinkKeeper) {
        let (close, closing) = mpsc::channel(1);
        let (report, cause) = watch::channel(None);
        (Self { close, cause }, LinkKeeper { close: closing, cause: report })
    }

    /// Waits for the end of the link and tells its cause. Cancel safe.
    pub async fn cause(&self) -> TransportError {
        let mut cause = self.cause.clone();
        match cause.wait_for(Option::is_some).await {
            Ok(cause) => cause.clone().unwrap_or(TransportError::Ended),
            Err(_) => TransportError::Ended,
        }
    }

    /// Asks the transport to deliver what it can, to tell the peer, and to close; waits until it
    /// has, for at most five seconds, after which a vanished peer is not worth waiting for.
    pub async fn close(&self, code: CloseCode, reason: &str) {
        const PATIENCE: Duration = Duration::from_secs(5);
        // A full queue means that a close is under way already.
        let _ = self.close.try_send((code, reason.to_owned()));
        let _ = tokio::time::timeout(PATIENCE, self.cause()).await;
    }
}

impl LinkKeeper {
    /// Reports the cause of the end. The first one counts.
    pub fn ended(&self, cause: TransportError) {
        self.cause.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(cause);
            }
            first
        });
    }
}

impl Peer {
    /// Whose sessions count together: its pin, or its address where it has none.
    pub fn sender(&self) -> String {
        sender_of(self.pin.as_deref(), self.address)
    }
}

/// An address as people write it: a socket of both families gives those of IPv4 inside of IPv6 ones.
fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        // The zone of a link-local one is kept.
        IpAddr::V6(_) => address,
        ip => SocketAddr::new(ip, address.port()),
    }
}

fn sender_of(pin: Option<&str>, address: SocketAddr) -> String {
    pin.map_or_else(|| address.ip().to_canonical().to_string(), str::to_owned)
}

impl SourceCount {
    /// Makes `count` sources known.
    pub fn set(&self, count: usize) {
        self.0.store(count, Ordering::Release);
    }

    /// True where the hello has named this source.
    pub fn knows(&self, source: SourceId) -> bool {
        usize::from(source.0) < self.0.load(Ordering::Acquire)
    }
}

impl PathWatch {
    /// Wraps a transport's way to look.
    pub fn new(look: impl Fn() -> PathStats + Send + Sync + 'static) -> Self {
        let (drained, given_up, awaited) = (Arc::default(), GivenUp::default(), Arc::default());
        Self { look: Arc::new(look), drained, given_up, awaited }
    }

    /// The same, with what the transport notifies when [`PathStats::with_transport`] has fallen.
    pub fn with_notice(mut self, drained: Arc<Notify>) -> Self {
        self.drained = drained;
        self
    }

    /// The same, with where the transport puts the frames that it has given up. It notifies as for others.
    pub fn with_given_up(mut self, given_up: GivenUp) -> Self {
        self.given_up = given_up;
        self
    }

    /// The same, with what tells the transport that something is [awaited](Self::awaits).
    pub fn with_awaited(mut self, awaited: Arc<AtomicBool>) -> Self {
        self.awaited = awaited;
        self
    }

    /// Says whether something is awaited from the peer beside acknowledgements. While it is, and while frames are with
    /// the transport, this sees to it that something [comes](PathStats::datagrams_received) within a round trip and a
    /// little more over a path that carries anything, though the peer may take nothing at the moment.
    pub fn awaits(&self, awaited: bool) {
        self.awaited.store(awaited, Ordering::Relaxed);
    }

    /// Frames that the transport has given up since the last asking. Nothing more of them is sent; that they have
    /// arrived all the same is possible, and a receipt tells.
    pub fn take_given_up(&self) -> Vec<(SourceId, Sequence)> {
        std::mem::take(&mut *self.given_up.list())
    }

    /// Waits until bytes handed to the transport have arrived; for ever, where it does not count
    /// them. Cancel safe: a notice that nobody waits for is kept for the next who does.
    pub async fn drained(&self) {
        self.drained.notified().await;
    }

    /// The same, for whoever waits for several.
    fn drain_notice(&self) -> Arc<Notify> {
        self.drained.clone()
    }

    /// Looks.
    pub fn look(&self) -> PathStats {
        (self.look)()
    }
}

impl fmt::Debug for PathWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.look().fmt(f)
    }
}

impl Transport {
    /// All of them, the default first.
    pub const ALL: [Self; 4] = [Self::Quic, Self::Tcp, Self::StopAndWait, Self::TcpPerFrame];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::StopAndWait => "stop-and-wait",
            Self::TcpPerFrame => "tcp-per-frame",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|transport| transport.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown transport {text:?}; the transports are {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_people_write_them() {
        for (given, shown) in [
            ("[::ffff:192.0.2.7]:4433", "192.0.2.7:4433"),
            ("192.0.2.7:1", "192.0.2.7:1"),
            ("[2001:db8::1]:2", "[2001:db8::1]:2"),
            ("[fe80::1%3]:3", "[fe80::1%3]:3"),
        ] {
            assert_eq!(plain(given.parse().unwrap()).to_string(), shown);
        }
    }
}
