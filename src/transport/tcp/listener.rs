//! Accepting sessions, at the receiver.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncRead;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::intake::{self, Taken};
use super::link::{self, Blame, Ending, Outgoing, abandoned};
use super::pace::Paced;
use super::path;
use super::per_frame::{self, OpenSession, Registered, Sessions};
use super::reader::RecordReader;
use super::socket::{self, Stream};
use super::writer::RecordWriter;
use super::{Admit, Classify, TcpOptions, TlsOfEach, settings};
use crate::identity::Permit;
use crate::transport::desk::{Desk, Seat};
use crate::transport::kernel::choose_congestion;
use crate::transport::places::{Full, Places};
use crate::transport::{
    ARRIVAL_QUEUE, Arrival, Intake, LinkEnd, Listener, MESSAGE_QUEUE, Peer, ReceiverLink,
    SourceCount, Transport, TransportError, hand_on, plain, sender_of,
};
use crate::wire::record::Record;
use crate::wire::{ALPN, ALPN_BEFORE, ALPN_SINGLE_FRAME, CloseCode, Message, OLDER_THAN_THIS};

/// Listens for sessions of `tcp` and of `tcp-per-frame`, on one port. The ALPN of what `tls` makes is
/// replaced by those of both. `admit` decides on a sender by its certificate. Must be called inside a tokio runtime.
///
/// [`Peer::transport`] says `tcp` for both: what carries a session's frames is known only when they
/// come. For the same reason a listener that was stopped turns new sessions away, and keeps its port
/// until the last open session has ended.
///
/// # Errors
/// [`TransportError::Listen`] where the address cannot be had.
pub fn listen(
    address: SocketAddr,
    tls: TlsOfEach,
    intake: Intake,
    admit: Admit,
    options: TcpOptions,
) -> Result<Listener, TransportError> {
    let refused = |error: io::Error| TransportError::listen(address, Transport::Tcp, &error);
    let socket = socket::bind(address, options.multipath).map_err(refused)?;
    let bound = socket.local_addr().map_err(refused)?;
    let (stop, stopped) = oneshot::channel();
    let (accepted, links) = mpsc::channel(settings::LINK_QUEUE);
    let (open, _) = watch::channel(0);
    let server = Arc::new(Server {
        tls,
        newcomers: Desk::new(settings::HANDSHAKES, settings::HANDSHAKES_OF_ONE),
        places: Places::new(intake.max_sessions),
        open,
        sessions: Sessions::default(),
        intake,
        admit,
        options,
        accepted: accepted.downgrade(),
    });
    let (going, gone) = oneshot::channel();
    let serving = server.serve(socket, accepted, stopped);
    tokio::spawn(async move {
        serving.await;
        drop(going);
    });
    Ok(Listener { address: bound, transport: Transport::Tcp, links, stop: Some(stop), gone })
}

/// What all connections of a listener share.
struct Server {
    tls: TlsOfEach,
    newcomers: Desk,
    places: Places,
    /// Sessions that are open.
    open: watch::Sender<usize>,
    sessions: Sessions,
    intake: Intake,
    admit: Admit,
    options: TcpOptions,
    /// Gone once the listener was stopped.
    accepted: mpsc::WeakSender<ReceiverLink>,
}

impl Server {
    /// Accepts until it is stopped and, after that, until no session is open.
    async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        accepted: mpsc::Sender<ReceiverLink>,
        stopped: oneshot::Receiver<()>,
    ) {
        let ended = async {
            let _ = stopped.await;
            drop(accepted);
            let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
        };
        tokio::select! {
            () = ended => {}
            () = self.clone().accept_all(listener) => {}
        }
    }

    async fn accept_all(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((socket, address)) => {
                    let address = plain(address);
                    let span = tracing::debug_span!("connection", peer = %address);
                    let seat = self.newcomers.sit_down(address.ip());
                    tokio::spawn(self.clone().greet(socket, address, seat).instrument(span));
                }
                Err(error) => {
                    let line = || format!("cannot accept a connection, trying again: {error}");
                    self.intake.voice.warn("", line);
                    sleep(settings::ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Makes TLS of a socket, and hands it to what its protocol says.
    async fn greet(self: Arc<Self>, socket: TcpStream, address: SocketAddr, mut seat: Seat) {
        let options = SockRef::from(&socket);
        if let Err(error) = socket::tune(&options, settings::USER_TIMEOUT) {
            tracing::warn!(%error, "cannot set a socket's options");
        }
        if let Some(Err(error)) =
            self.options.congestion.as_deref().map(|name| choose_congestion(&options, name))
        {
            tracing::warn!("{error}");
        }
        let patience = self.patience();
        let (mut tls, classify) = (self.tls)();
        let understood = [ALPN, ALPN_SINGLE_FRAME].into_iter().chain(ALPN_BEFORE);
        tls.alpn_protocols = understood.map(<[u8]>::to_vec).collect();
        let accepting = timeout(patience, socket::accept(socket, Arc::new(tls)));
        let accepted = tokio::select! {
            accepted = accepting => accepted,
            () = seat.told_to_go() => return,
        };
        let stranger = address.ip().to_string();
        let refused = |why: String| {
            let line = || format!("refused a connection from {address}: {why}");
            self.intake.voice.warn(&stranger, line);
        };
        let stream = match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return refused(classify(&error).unwrap_or_else(|| error.to_string()));
            }
            Err(_) => return refused(format!("no TLS handshake came within {patience:?}")),
        };
        let admitted = (self.admit)(stream.get_ref().1.peer_certificates().unwrap_or_default());
        let permit = match admitted {
            Ok(permit) => permit,
            Err(why) => {
                refused(why.clone());
                return self.turn_away(stream, CloseCode::Revoked, &why).await;
            }
        };
        match socket::alpn(&stream) {
            Some(ALPN) => self.open(stream, address, permit, classify, seat).await,
            Some(ALPN_SINGLE_FRAME) => {
                let pin = permit.pin().map(|pin| pin.to_string());
                let (sessions, intake) = (self.sessions.clone(), self.intake.clone());
                per_frame::receive(stream, pin, sessions, intake, patience, seat).await;
            }
            Some(before) if ALPN_BEFORE.contains(&before) => {
                refused(format!("a sender of an older version: {OLDER_THAN_THIS}"));
                self.turn_away(stream, CloseCode::Version, OLDER_THAN_THIS).await;
            }
            _ => tracing::info!("a TLS client that does not speak framelane"),
        }
    }

    fn patience(&self) -> Duration {
        let crowded = self.newcomers.taken() > settings::HANDSHAKES / 2;
        self.options.handshake / if crowded { settings::CROWDED_PART } else { 1 }
    }

    /// Opens a session, where there is a place, and runs it to its end.
    async fn open(
        self: Arc<Self>,
        stream: Stream,
        address: SocketAddr,
        permit: Permit,
        classify: Classify,
        seat: Seat,
    ) {
        let Some(accepted) = self.accepted.upgrade() else {
            return self.turn_away(stream, CloseCode::Shutdown, "the receiver is stopping").await;
        };
        let pin = permit.pin().map(|pin| pin.to_string());
        let account = self.intake.budget.open(&sender_of(pin.as_deref(), address));
        let place = match self.places.take_or_join(&account) {
            Ok(place) => place,
            Err(Full(reason)) => return self.turn_away(stream, CloseCode::Busy, &reason).await,
        };
        let _open = Counted::new(&self.open);
        // Large reads where there is memory for them; without it more system calls do the same.
        match account.extend_credit(settings::CONNECTION_BYTES) {
            settings::CONNECTION_BYTES => stream.get_ref().0.length().set(settings::READ_BYTES),
            less => account.take_back_credit(less),
        }
        let (end, keeper) = LinkEnd::new();
        let (arrived, arrivals) = mpsc::channel(ARRIVAL_QUEUE);
        let (messages, outgoing) = mpsc::channel(MESSAGE_QUEUE);
        let (alive, session_alive) = watch::channel(());
        let sources = SourceCount::default();
        let session = OpenSession {
            pin: pin.clone(),
            account: account.clone(),
            sources: sources.clone(),
            arrivals: arrived,
            readers: Arc::new(Semaphore::new(settings::FRAME_CONNECTIONS_READ)),
            alive: session_alive,
        };
        let peer = Peer { address, pin, transport: Transport::Tcp, permit };
        let socket = path::handle(&stream);
        let path = path::watch(socket.as_ref());
        let held = account.clone();
        let link = ReceiverLink { peer, account: held, arrivals, messages, sources, end, path };
        if accepted.send(link).await.is_err() {
            return;
        }
        drop((accepted, seat));
        let blame = Blame { address, classify };
        let blamed = blame.clone();
        let incoming = Incoming { server: self.clone(), session, blame: blamed, _alive: alive };
        let (session_name, _) = watch::channel(None);
        let paced = Paced::default();
        let outgoing = Outgoing { messages: outgoing, frames: None, paced, session: session_name };
        let read = async move |reader: &mut RecordReader<_>| {
            tokio::select! {
                ending = incoming.read(reader) => ending,
                why = account.told_to_go() => give_way(why),
            }
        };
        let stall = self.intake.stall;
        // What the kernel notices is soon enough here: it is the sender that has to come back.
        let alive = async move {
            // Asked about as long as the connection is there.
            let _socket = socket;
            std::future::pending().await
        };
        link::run(stream, stall, keeper, outgoing, blame, read, link::nothing, alive).await;
        drop(place);
    }

    async fn turn_away(&self, stream: Stream, code: CloseCode, reason: &str) {
        let (input, output) = tokio::io::split(stream);
        let mut reader = RecordReader::new(input, self.intake.stall);
        let mut writer = RecordWriter::new(output);
        link::answer(&mut reader, &mut writer, code, reason).await;
    }
}

/// The session gives way to others.
fn give_way(why: String) -> Ending {
    Ending { cause: TransportError::Ended, tell: Some((CloseCode::Busy, why)) }
}

/// Counts one more for as long as it is there.
struct Counted<'a>(&'a watch::Sender<usize>);

impl<'a> Counted<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// A receiver's reading direction.
struct Incoming {
    server: Arc<Server>,
    session: OpenSession,
    blame: Blame,
    /// Dropped with this, it ends the session's other connections.
    _alive: watch::Sender<()>,
}

impl Incoming {
    async fn read<R: AsyncRead + Unpin>(self, reader: &mut RecordReader<R>) -> Ending {
        let mut registered = None;
        loop {
            let mut claim = self.session.account.claim();
            let arrival = match reader.record_within(&mut claim).await {
                Ok(Record::Message(message)) => {
                    if let Err(ending) = self.register(&message, &mut registered) {
                        return ending;
                    }
                    Arrival::Message(message, claim)
                }
                Ok(Record::Frame(header)) => {
                    let intake = &self.server.intake;
                    let OpenSession { account, sources, .. } = &self.session;
                    match intake::take(reader, header, intake, account, sources).await {
                        Ok(Taken::Whole(arrival)) => arrival,
                        Ok(Taken::Endless(arrival, why)) => {
                            let _ = self.session.arrivals.send(arrival).await;
                            return self.blame.protocol(why);
                        }
                        Err(error) => return self.blame.read(error),
                    }
                }
                Ok(Record::Close { code, reason }) => return self.blame.closed(code, reason),
                Err(error) => return self.blame.read(error),
            };
            let OpenSession { account, arrivals, .. } = &self.session;
            if hand_on(arrivals, arrival, account).await.is_err() {
                return abandoned();
            }
        }
    }

    /// Makes the session known to connections for single frames.
    fn register(
        &self,
        message: &Message,
        registered: &mut Option<Registered>,
    ) -> Result<(), Ending> {
        let Message::Hello(hello) = message else { return Ok(()) };
        *registered = self.server.sessions.register(hello.session, self.session.clone());
        match registered {
            Some(_) => Ok(()),
            None => Err(self.blame.protocol("another sender's session has this name".to_owned())),
        }
    }
}
