//! The receiver's end: accepting connections, and the tasks behind a [`ReceiverLink`].

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::congestion::ControllerFactory;
use quinn::{Connection, Endpoint, Incoming, ServerConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::messages::{Bounds, Messages};
use super::runtime::PreciseRuntime;
use super::{close, keep, receive, settings, until_closed, watch_path};
use crate::identity::{ServerTls, quinn_peer_certificates};
use crate::transport::{
    ARRIVAL_QUEUE, Arrival, Intake, LinkEnd, Listener, MESSAGE_QUEUE, Peer, ReceiverLink,
    SourceCount, Transport, TransportError,
};
use crate::wire::CloseCode;

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
pub fn listen(setup: QuicListen) -> Result<Listener, TransportError> {
    let failed =
        |error: std::io::Error| TransportError::listen(setup.address, Transport::Quic, &error);
    let mut config = ServerConfig::with_crypto(setup.tls.quic().0);
    config.transport_config(settings::transport(setup.congestion.clone()));
    config.max_incoming(settings::MAX_HANDSHAKES);
    let template = config.clone();
    let socket = settings::bind(setup.address).map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    let runtime = Arc::new(PreciseRuntime);
    let endpoint_config = settings::listening_endpoint(&setup.tls.reset_secret(address));
    let endpoint = Endpoint::new(endpoint_config, Some(config), socket, runtime).map_err(failed)?;

    // Sessions wait here for the receiver; it takes them at once.
    let (ready, links) = mpsc::channel(1);
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(accept(endpoint, setup, template, ready, stopped));
    Ok(Listener { address, transport: Transport::Quic, links, stop: Some(stop) })
}

async fn accept(
    endpoint: Endpoint,
    setup: QuicListen,
    template: ServerConfig,
    ready: mpsc::Sender<ReceiverLink>,
    mut stopped: oneshot::Receiver<()>,
) {
    let handshakes = Arc::new(Semaphore::new(settings::MAX_HANDSHAKES));
    let sessions = Arc::new(Semaphore::new(setup.intake.max_sessions));
    let shared = Arc::new((setup, template));
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = &mut stopped => None,
        };
        let Some(incoming) = incoming else { break };
        let Ok(handshake) = handshakes.clone().try_acquire_owned() else {
            incoming.ignore();
            continue;
        };
        let busy = settings::MAX_HANDSHAKES - handshakes.available_permits();
        if busy > settings::RETRY_ABOVE
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            let _ = incoming.retry();
            continue;
        }
        let (shared, ready, sessions) = (shared.clone(), ready.clone(), sessions.clone());
        tokio::spawn(async move { open(incoming, handshake, &shared, ready, sessions).await });
    }
    // Open sessions end on their own; the last packets of each must leave before the socket goes.
    endpoint.set_server_config(None);
    endpoint.wait_idle().await;
}

/// One connection from its first packet to the end of its session.
async fn open(
    incoming: Incoming,
    handshake: OwnedSemaphorePermit,
    (setup, template): &(QuicListen, ServerConfig),
    ready: mpsc::Sender<ReceiverLink>,
    sessions: Arc<Semaphore>,
) {
    let address = incoming.remote_address();
    // Each connection is verified on its own, so that a refusal names the right sender.
    let (crypto, explainer) = setup.tls.quic();
    let mut config = template.clone();
    config.crypto = crypto;
    let opening = async {
        let connection = match shake_hands(incoming, config).await {
            Ok(connection) => connection,
            Err(error) => {
                let refusal = explainer.explain(&error);
                let why = refusal.map_or_else(|| error.to_string(), |refusal| refusal.to_string());
                tracing::warn!(%address, "refused a connection: {why}");
                return Err(error);
            }
        };
        let permit = match setup.tls.admit(&quinn_peer_certificates(&connection)) {
            Ok(permit) => permit,
            Err(refusal) => {
                tracing::warn!(%address, "refused a session: {refusal}");
                close(&connection, CloseCode::Revoked, &refusal.to_string());
                return Ok(None);
            }
        };
        let Ok(session) = sessions.try_acquire_owned() else {
            tracing::warn!(%address, "refused a session: as many as allowed are open");
            close(&connection, CloseCode::Busy, "the receiver has as many sessions as it serves");
            return Ok(None);
        };
        let streams = connection.accept_bi().await?;
        Ok::<_, quinn::ConnectionError>(Some((connection, permit, session, streams)))
    };
    let opened = tokio::time::timeout(settings::OPENING_TIMEOUT, opening).await;
    drop(handshake);
    let Ok(Ok(Some((connection, permit, session, (session_out, session_in))))) = opened else {
        return;
    };

    let (arrived, arrivals) = mpsc::channel(ARRIVAL_QUEUE);
    let (messages, queued_messages) = mpsc::channel(MESSAGE_QUEUE);
    let (end, keeper) = LinkEnd::new();
    let sources = SourceCount::default();
    let pin = permit.pin().map(|pin| pin.to_string());
    let peer = Peer { address, pin, transport: Transport::Quic, permit };
    let path = watch_path(&connection, Arc::default());
    let link = ReceiverLink { peer, arrivals, messages, sources: sources.clone(), end, path };
    if ready.send(link).await.is_err() {
        close(&connection, CloseCode::Shutdown, "the receiver is shutting down");
        return;
    }
    let saying = tokio::spawn(super::say(connection.clone(), session_out, queued_messages));
    let messages = Messages::new(session_in);
    let intake = setup.intake.clone();
    tokio::spawn(read_messages(connection.clone(), messages, intake.clone(), arrived.clone()));
    tokio::spawn(receive::frames(connection.clone(), arrived, sources, intake));
    let all_said = async {
        let _ = saying.await;
    };
    keep(connection, keeper, address, explainer, all_said).await;
    drop(session);
}

async fn read_messages(
    connection: Connection,
    mut messages: Messages,
    intake: Intake,
    arrived: mpsc::Sender<Arrival>,
) {
    let reading = async {
        loop {
            let mut claim = intake.budget.claim();
            let bounds = Bounds { claim: &mut claim, stall: intake.stall };
            let Some(message) = messages.next(Some(bounds)).await? else { return Ok(()) };
            if arrived.send(Arrival::Message(message, claim)).await.is_err() {
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
