//! The receiver's end: accepting connections, and the tasks behind a [`ReceiverLink`].

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use quinn::congestion::ControllerFactory;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream, ServerConfig};
use tokio::sync::{mpsc, oneshot};

use super::gather::{GatheringSocket, Pace};
use super::messages::{Bounds, Messages};
use super::runtime::PreciseRuntime;
use super::socket::Socket;
use super::{close, gather, keep, receive, settings, until_closed, watch_path, window};
use crate::identity::{Explainer, Permit, ServerTls, quinn_peer_certificates};
use crate::transport::desk::{Desk, Seat};
use crate::transport::places::{Full, Place, Places};
use crate::transport::{
    ARRIVAL_QUEUE, Account, Arrival, Intake, LinkEnd, Listener, MESSAGE_QUEUE, Peer, ReceiverLink,
    SourceCount, Transport, TransportError, hand_on, plain, sender_of,
};
use crate::wire::{ALPN_BEFORE, CloseCode, OLDER_THAN_THIS};

/// What a QUIC listener needs.
#[derive(Clone)]
pub struct QuicListen {
    /// Where to listen; port 0 picks a free one.
    pub address: SocketAddr,
    /// Identity and trust, with the protocol's ALPN.
    pub tls: ServerTls,
    /// The congestion controller for what the receiver sends, which is little.
    pub congestion: Arc<dyn ControllerFactory + Send + Sync>,
    /// Limits.
    pub intake: Intake,
}

/// Listens for QUIC sessions.
///
/// # Errors
/// [`TransportError::Listen`] where the address cannot be had.
pub fn listen(mut setup: QuicListen) -> Result<Listener, TransportError> {
    setup.tls = setup.tls.and_agrees_to(&ALPN_BEFORE);
    let failed =
        |error: std::io::Error| TransportError::listen(setup.address, Transport::Quic, &error);
    let mut config = ServerConfig::with_crypto(setup.tls.quic().0);
    let mut transport = settings::settings(setup.congestion.clone());
    window::begin(&mut transport);
    config.transport_config(Arc::new(transport));
    config
        .max_incoming(settings::MAX_HANDSHAKES)
        .incoming_buffer_size(settings::UNTAKEN_BYTES)
        .incoming_buffer_size_total(settings::UNTAKEN_BYTES_OF_ALL);
    let template = config.clone();
    let socket = settings::bind(setup.address).map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    // A receiver's packets are as short as any path takes.
    let longest = settings::longest_datagram(address.ip(), None);
    let runtime = Arc::new(PreciseRuntime { longest });
    let pace = Arc::new(Pace::default());
    let socket = Arc::new(Socket::new(socket, longest).map_err(failed)?);
    let (going, gone) = oneshot::channel();
    let socket = Arc::new(GatheringSocket::new(socket, pace.clone(), going));
    let endpoint_config = settings::listening_endpoint(&setup.tls.reset_secret(address));
    let endpoint =
        Endpoint::new_with_abstract_socket(endpoint_config, Some(config), socket, runtime)
            .map_err(failed)?;

    // Sessions wait here for the receiver; it takes them at once.
    let (ready, links) = mpsc::channel(1);
    let (stop, stopped) = oneshot::channel();
    let newcomers = Desk::new(settings::MAX_HANDSHAKES, settings::MAX_HANDSHAKES_OF_ONE);
    let places = Places::new(setup.intake.max_sessions);
    let reception = Reception { setup, template, pace, newcomers, places };
    tokio::spawn(accept(endpoint, Arc::new(reception), ready, stopped));
    Ok(Listener { address, transport: Transport::Quic, links, stop: Some(stop), gone })
}

/// What all connections of a listener share.
struct Reception {
    setup: QuicListen,
    template: ServerConfig,
    pace: Arc<Pace>,
    newcomers: Desk,
    places: Places,
}

async fn accept(
    endpoint: Endpoint,
    reception: Arc<Reception>,
    ready: mpsc::Sender<ReceiverLink>,
    mut stopped: oneshot::Receiver<()>,
) {
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = &mut stopped => None,
        };
        let Some(incoming) = incoming else { break };
        if reception.newcomers.taken() > settings::RETRY_ABOVE
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            let _ = incoming.retry();
            continue;
        }
        let seat = reception.newcomers.sit_down(incoming.remote_address().ip());
        let (reception, ready) = (reception.clone(), ready.clone());
        tokio::spawn(async move { reception.open(incoming, seat, ready).await });
    }
    // Open sessions end on their own; the last packets of each must leave before the socket goes.
    endpoint.set_server_config(None);
    endpoint.wait_idle().await;
}

/// A connection whose session stream is open.
struct Opened {
    connection: Connection,
    permit: Permit,
    account: Account,
    place: Place,
    session: (SendStream, RecvStream),
}

impl Reception {
    /// One connection from its first packet to the end of its session.
    async fn open(&self, incoming: Incoming, mut seat: Seat, ready: mpsc::Sender<ReceiverLink>) {
        let address = plain(incoming.remote_address());
        // Each connection is verified on its own, so that a refusal names the right sender.
        let (crypto, explainer) = self.setup.tls.quic();
        let mut config = self.template.clone();
        config.crypto = crypto;
        let opening = tokio::time::timeout(
            settings::OPENING_TIMEOUT,
            self.welcome(incoming, config, address, &explainer),
        );
        let opened = tokio::select! {
            opened = opening => opened,
            // Its connection goes with what is dropped here.
            () = seat.told_to_go() => return,
        };
        drop(seat);
        let Ok(Ok(Some(opened))) = opened else { return };
        self.serve(opened, address, explainer, ready).await;
    }

    /// Brings a connection to its session stream; `None` where there is no place for it.
    async fn welcome(
        &self,
        incoming: Incoming,
        config: ServerConfig,
        address: SocketAddr,
        explainer: &Explainer,
    ) -> Result<Option<Opened>, quinn::ConnectionError> {
        let Intake { voice, budget, .. } = &self.setup.intake;
        let stranger = address.ip().to_string();
        let connection = match shake_hands(incoming, config).await {
            Ok(connection) => connection,
            Err(error) => {
                let refusal = explainer.explain(&error);
                let why = refusal.map_or_else(|| error.to_string(), |refusal| refusal.to_string());
                voice.warn(&stranger, || format!("refused a connection from {address}: {why}"));
                return Err(error);
            }
        };
        if speaks_older_version(&connection) {
            let why = "a sender of an older version";
            voice.warn(&stranger, || {
                format!("refused a connection from {address}: {why}: {OLDER_THAN_THIS}")
            });
            close(&connection, CloseCode::Version, OLDER_THAN_THIS);
            return Ok(None);
        }
        let permit = match self.setup.tls.admit(&quinn_peer_certificates(&connection)) {
            Ok(permit) => permit,
            Err(refusal) => {
                voice.warn(&stranger, || format!("refused a session of {address}: {refusal}"));
                close(&connection, CloseCode::Revoked, &refusal.to_string());
                return Ok(None);
            }
        };
        let pin = permit.pin().map(|pin| pin.to_string());
        let account = budget.open(&sender_of(pin.as_deref(), address));
        let place = match self.places.take_or_join(&account) {
            Ok(place) => place,
            Err(Full(why)) => {
                voice.warn(account.sender(), || format!("refused a session of {address}: {why}"));
                close(&connection, CloseCode::Busy, &why);
                return Ok(None);
            }
        };
        let session = tokio::select! {
            session = connection.accept_bi() => session?,
            why = account.told_to_go() => {
                close(&connection, CloseCode::Busy, &why);
                return Ok(None);
            }
        };
        Ok(Some(Opened { connection, permit, account, place, session }))
    }

    /// Runs a session to the end of its connection.
    async fn serve(
        &self,
        opened: Opened,
        address: SocketAddr,
        explainer: Explainer,
        ready: mpsc::Sender<ReceiverLink>,
    ) {
        let Opened { connection, permit, account, place, session } = opened;
        let (session_out, session_in) = session;
        let (arrived, arrivals) = mpsc::channel(ARRIVAL_QUEUE);
        let (messages, queued_messages) = mpsc::channel(MESSAGE_QUEUE);
        let (end, keeper) = LinkEnd::new();
        let sources = SourceCount::default();
        let pin = permit.pin().map(|pin| pin.to_string());
        let link = ReceiverLink {
            peer: Peer { address, pin, transport: Transport::Quic, permit },
            account: account.clone(),
            arrivals,
            messages,
            sources: sources.clone(),
            end,
            path: watch_path(&connection, Arc::default()),
        };
        if ready.send(link).await.is_err() {
            close(&connection, CloseCode::Shutdown, "the receiver is shutting down");
            return;
        }
        let saying = tokio::spawn(super::say(connection.clone(), session_out, queued_messages));
        let messages = Messages::new(session_in);
        let intake = self.setup.intake.clone();
        let reading = read_messages(
            connection.clone(),
            messages,
            intake.stall,
            arrived.clone(),
            account.clone(),
        );
        tokio::spawn(reading);
        let bulk = Arc::<AtomicBool>::default();
        tokio::spawn(receive::frames(
            connection.clone(),
            arrived,
            sources,
            intake,
            account.clone(),
            bulk.clone(),
        ));
        tokio::spawn(gather::watch(connection.clone(), self.pace.clone(), bulk));
        let all_said = async {
            let _ = saying.await;
        };
        let mut keeping = std::pin::pin!(keep(
            connection.clone(),
            keeper,
            address,
            explainer,
            all_said,
            pending()
        ));
        tokio::select! {
            () = &mut keeping => {}
            why = account.told_to_go() => {
                let voice = &self.setup.intake.voice;
                voice.warn(account.sender(), || format!("ending a session with {address}: {why}"));
                close(&connection, CloseCode::Busy, &why);
                keeping.await;
            }
        }
        drop(place);
    }
}

/// True where the peer has only an older version of the protocol to offer.
fn speaks_older_version(connection: &Connection) -> bool {
    let data = connection.handshake_data();
    let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
    let agreed = data.and_then(|data| data.protocol);
    agreed.is_some_and(|agreed| ALPN_BEFORE.contains(&agreed.as_slice()))
}

async fn read_messages(
    connection: Connection,
    mut messages: Messages,
    stall: Duration,
    arrived: mpsc::Sender<Arrival>,
    account: Account,
) {
    let reading = async {
        loop {
            let mut claim = account.claim();
            let bounds = Bounds { claim: &mut claim, stall };
            let Some(message) = messages.next(Some(bounds)).await? else { return Ok(()) };
            let arrival = Arrival::Message(message, claim);
            if hand_on(&arrived, arrival, &account).await.is_err() {
                return Ok(());
            }
        }
    };
    until_closed(&connection, reading).await;
}

async fn shake_hands(
    incoming: Incoming,
    config: ServerConfig,
) -> Result<Connection, quinn::ConnectionError> {
    incoming.accept_with(Arc::new(config))?.await
}
