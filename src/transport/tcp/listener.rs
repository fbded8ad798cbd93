//! Accepting sessions, at the receiver.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncRead;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::dial::unknown_path;
use super::intake::{self, Taken};
use super::link::{self, Blame, Ending, Outgoing, abandoned};
use super::per_frame::{self, Registered, Session, Sessions};
use super::reader::RecordReader;
use super::socket::{self, Stream};
use super::writer::RecordWriter;
use super::{Admit, Classify, TcpOptions, TlsOfEach, settings};
use crate::identity::Permit;
use crate::transport::{
    ARRIVAL_QUEUE, Arrival, Intake, LinkEnd, Listener, MESSAGE_QUEUE, Peer, ReceiverLink,
    SourceCount, Transport, TransportError,
};
use crate::wire::record::Record;
use crate::wire::{ALPN, ALPN_SINGLE_FRAME, CloseCode, Message};

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
    let socket = socket::bind(address).map_err(refused)?;
    let bound = socket.local_addr().map_err(refused)?;
    let (stop, stopped) = oneshot::channel();
    let (accepted, links) = mpsc::channel(settings::LINK_QUEUE);
    let places = u32::try_from(intake.max_sessions).unwrap_or(u32::MAX >> 4);
    let server = Arc::new(Server {
        tls,
        handshakes: Arc::new(Semaphore::new(settings::HANDSHAKES)),
        places: Arc::new(Semaphore::new(places as usize)),
        all_places: places,
        sessions: Sessions::default(),
        intake,
        admit,
        options,
        accepted: accepted.downgrade(),
    });
    tokio::spawn(server.serve(socket, accepted, stopped));
    Ok(Listener { address: bound, transport: Transport::Tcp, links, stop: Some(stop) })
}

/// What all connections of a listener share.
struct Server {
    tls: TlsOfEach,
    handshakes: Arc<Semaphore>,
    places: Arc<Semaphore>,
    all_places: u32,
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
            let _ = self.places.acquire_many(self.all_places).await;
        };
        tokio::select! {
            () = ended => {}
            () = self.clone().accept_all(listener) => {}
        }
    }

    async fn accept_all(self: Arc<Self>, listener: TcpListener) {
        // Strangers beyond this bound wait in the kernel's queue, where they cost next to nothing.
        while let Ok(handshake) = self.handshakes.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((socket, address)) => {
                    let span = tracing::debug_span!("connection", peer = %address);
                    tokio::spawn(self.clone().greet(socket, address, handshake).instrument(span));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                    sleep(settings::ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Makes TLS of a socket, and hands it to what its protocol says.
    async fn greet(
        self: Arc<Self>,
        socket: TcpStream,
        address: SocketAddr,
        handshake: OwnedSemaphorePermit,
    ) {
        if let Err(error) =
            socket::tune(&SockRef::from(&socket), self.options.congestion.as_deref())
        {
            tracing::warn!(%error, "cannot set a socket's options");
        }
        let patience = self.patience();
        let (mut tls, classify) = (self.tls)();
        tls.alpn_protocols = vec![ALPN.to_vec(), ALPN_SINGLE_FRAME.to_vec()];
        let stream = match timeout(patience, socket::accept(socket, Arc::new(tls))).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let why = classify(&error).unwrap_or_else(|| error.to_string());
                return tracing::warn!(%address, "refused a connection: {why}");
            }
            Err(_) => {
                return tracing::warn!(%address, "no TLS handshake came within {patience:?}");
            }
        };
        let admitted = (self.admit)(stream.get_ref().1.peer_certificates().unwrap_or_default());
        let permit = match admitted {
            Ok(permit) => permit,
            Err(why) => {
                tracing::warn!(%address, "refused a session: {why}");
                return self.turn_away(stream, CloseCode::Revoked, &why).await;
            }
        };
        match socket::alpn(&stream) {
            Some(ALPN) => self.open(stream, address, permit, classify, handshake).await,
            Some(ALPN_SINGLE_FRAME) => {
                let pin = permit.pin().map(|pin| pin.to_string());
                let (sessions, intake) = (self.sessions.clone(), self.intake.clone());
                per_frame::receive(stream, pin, sessions, intake, patience, handshake).await;
            }
            _ => tracing::info!("a TLS client that does not speak framelane"),
        }
    }

    fn patience(&self) -> Duration {
        let crowded = self.handshakes.available_permits() < settings::HANDSHAKES / 2;
        self.options.handshake / if crowded { settings::CROWDED_PART } else { 1 }
    }

    /// Opens a session, where there is a place, and runs it to its end.
    async fn open(
        self: Arc<Self>,
        stream: Stream,
        address: SocketAddr,
        permit: Permit,
        classify: Classify,
        handshake: OwnedSemaphorePermit,
    ) {
        let Some(accepted) = self.accepted.upgrade() else {
            return self.turn_away(stream, CloseCode::Shutdown, "the receiver is stopping").await;
        };
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let limit = self.intake.max_sessions;
            let reason = format!("the receiver serves its limit of {limit} sessions; try later");
            return self.turn_away(stream, CloseCode::Busy, &reason).await;
        };
        let (end, keeper) = LinkEnd::new();
        let (arrived, arrivals) = mpsc::channel(ARRIVAL_QUEUE);
        let (messages, outgoing) = mpsc::channel(MESSAGE_QUEUE);
        let (alive, session_alive) = watch::channel(());
        let sources = SourceCount::default();
        let pin = permit.pin().map(|pin| pin.to_string());
        let session = Session {
            pin: pin.clone(),
            sources: sources.clone(),
            arrivals: arrived,
            readers: Arc::new(Semaphore::new(settings::FRAME_CONNECTIONS_READ)),
            alive: session_alive,
        };
        let peer = Peer { address, pin, transport: Transport::Tcp, permit };
        let link = ReceiverLink { peer, arrivals, messages, sources, end, path: unknown_path() };
        if accepted.send(link).await.is_err() {
            return;
        }
        drop((accepted, handshake));
        let blame = Blame { address, classify };
        let blamed = blame.clone();
        let incoming = Incoming { server: self.clone(), session, blame: blamed, _alive: alive };
        let (session_name, _) = watch::channel(None);
        let outgoing = Outgoing { messages: outgoing, frames: None, session: session_name };
        let read = async move |reader: &mut RecordReader<_>| incoming.read(reader).await;
        let stall = self.intake.stall;
        link::run(stream, stall, keeper, outgoing, blame, read, link::nothing).await;
        drop(place);
    }

    async fn turn_away(&self, stream: Stream, code: CloseCode, reason: &str) {
        let (input, output) = tokio::io::split(stream);
        let mut reader = RecordReader::new(input, self.intake.stall);
        let mut writer = RecordWriter::new(output);
        link::answer(&mut reader, &mut writer, code, reason).await;
    }
}

/// A receiver's reading direction.
struct Incoming {
    server: Arc<Server>,
    session: Session,
    blame: Blame,
    /// Dropped with this, it ends the session's other connections.
    _alive: watch::Sender<()>,
}

impl Incoming {
    async fn read<R: AsyncRead + Unpin>(self, reader: &mut RecordReader<R>) -> Ending {
        let mut registered = None;
        loop {
            let mut claim = self.server.intake.budget.claim();
            let arrival = match reader.record_within(&mut claim).await {
                Ok(Record::Message(message)) => {
                    if let Err(ending) = self.register(&message, &mut registered) {
                        return ending;
                    }
                    Arrival::Message(message, claim)
                }
                Ok(Record::Frame(header)) => {
                    let intake = &self.server.intake;
                    match intake::take(reader, header, intake, &self.session.sources).await {
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
            if self.session.arrivals.send(arrival).await.is_err() {
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
