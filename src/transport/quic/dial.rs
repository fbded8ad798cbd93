//! The sender's end: connecting, and the tasks behind a [`SenderLink`].

use std::future::IntoFuture;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use quinn::congestion::ControllerFactory;
use quinn::{ClientConfig, Connecting, Connection, ConnectionError, Endpoint};
use socket2::SockRef;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::messages::Messages;
use super::runtime::PreciseRuntime;
use super::{keep, live, send, settings, until_closed, watch_path};
use crate::congestion::watched;
use crate::frame::Span;
use crate::identity::ClientTls;
use crate::repair::RepairMode;
use crate::transport::knock;
use crate::transport::leave::Leave;
use crate::transport::{
    BoxFuture, Dial, FRAME_QUEUE, LinkEnd, MESSAGE_QUEUE, SenderLink, Transport, TransportError,
    Via,
};
use crate::wire::Message;

/// Opens QUIC sessions to one receiver.
pub struct QuicDial {
    /// Where the receiver listens.
    pub address: SocketAddr,
    /// The name that a certificate checked by `--ca` must carry.
    pub server_name: String,
    /// Identity and trust, with the protocol's ALPN. One for all attempts, so that a session ticket
    /// of an earlier connection can be used.
    pub tls: ClientTls,
    /// The congestion controller.
    pub congestion: Arc<dyn ControllerFactory + Send + Sync>,
    /// How much forward repair frames carry.
    pub repair: RepairMode,
    /// By which link it leaves.
    pub(in crate::transport) leave: Leave,
    /// What [`Dial::linger`] waits for; a default one at first.
    pub last: LastSession,
}

/// Tells when the connection of the last session that was opened is done with.
#[derive(Debug, Default)]
pub struct LastSession(Mutex<Option<watch::Receiver<()>>>);

impl Dial for QuicDial {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        Box::pin(self.open())
    }

    /// A connection that was closed stays for three probe timeouts (RFC 9000, section 10.2) and answers
    /// what still comes with another CONNECTION_CLOSE. Where the first was lost something does come: the
    /// receiver's last message was acknowledged in the same packet, and is sent again. Without that the
    /// receiver would take the session for broken when nothing was heard for 30 s.
    fn linger(&self) -> BoxFuture<'_, ()> {
        let last = self.last.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            if let Some(mut last) = last {
                // Nothing is ever sent: it ends with the other end, which the connection's keeper has.
                let _ = last.changed().await;
            }
        })
    }
}

impl LastSession {
    /// Begins a new one, which lasts until what this returns is dropped.
    fn begin(&self) -> watch::Sender<()> {
        let (lasts, last) = watch::channel(());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
        lasts
    }
}

impl QuicDial {
    async fn open(&self) -> Result<SenderLink, TransportError> {
        let endpoint = self.endpoint()?;
        let counters = Arc::new(send::Sending::default());
        let connection = self.connect(&endpoint, &counters).await?;
        let (session_out, session_in) =
            connection.open_bi().await.map_err(|error| self.cause(&error))?;

        let (messages, queued_messages) = mpsc::channel(MESSAGE_QUEUE);
        let (frames, queued_frames) = mpsc::channel(FRAME_QUEUE);
        let (to_session, incoming) = mpsc::channel(MESSAGE_QUEUE);
        let (end, keeper) = LinkEnd::new();

        tokio::spawn(super::say(connection.clone(), session_out, queued_messages));
        let sending =
            send::frames(connection.clone(), queued_frames, self.repair, counters.clone());
        tokio::spawn(sending);
        tokio::spawn(send::nudge(connection.clone(), counters.clone()));
        tokio::spawn(live::watch(connection.clone(), counters.live.clone()));
        tokio::spawn(listen_to(connection.clone(), Messages::new(session_in), to_session));
        let path = watch_path(&connection, counters);
        let (address, explainer) = (self.address, self.tls.explainer().clone());
        let lasts = self.last.begin();
        tokio::spawn(async move {
            let unheard = unheard(connection.clone(), address);
            // The sender says nothing that it does not wait for an answer to.
            keep(connection, keeper, address, explainer, std::future::ready(()), unheard).await;
            // The close packet must leave before the socket goes.
            endpoint.wait_idle().await;
            drop(lasts);
        });
        let via = Via { transport: Transport::Quic, address: self.address, why: None, link: None };
        Ok(SenderLink { messages, frames, incoming, end, path, via })
    }

    fn endpoint(&self) -> Result<Endpoint, TransportError> {
        let any: IpAddr = match self.address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let failed = |error| TransportError::connect(self.address, Transport::Quic, &error);
        let socket = settings::bind(SocketAddr::new(any, 0)).map_err(failed)?;
        self.leave.bind(&SockRef::from(&socket)).map_err(failed)?;
        let runtime = Arc::new(PreciseRuntime { longest: settings::datagram_to(self.address) });
        Endpoint::new(settings::dialling_endpoint(), None, socket, runtime).map_err(failed)
    }

    /// The first of a few handshakes that comes through. Each probe timeout of one is twice the one before,
    /// so where losses come in runs a new one, begun a while later, is often sooner.
    async fn connect(
        &self,
        endpoint: &Endpoint,
        counters: &Arc<send::Sending>,
    ) -> Result<Connection, TransportError> {
        let mut attempts = JoinSet::new();
        let mut word = std::pin::pin!(knock::word(self.address, &self.leave, &knock::TIMES));
        let mut starts = settings::CONNECT_STARTS.iter().map(|&start| Instant::now() + start);
        let deadline = Instant::now() + settings::CONNECT_TIMEOUT;
        let mut next = starts.next();
        loop {
            tokio::select! {
                () = sleep_until(next.unwrap_or(deadline)), if next.is_some() => {
                    attempts.spawn(self.handshake(endpoint, counters)?.into_future());
                    next = starts.next();
                }
                Some(Ok(ended)) = attempts.join_next() => match ended {
                    Ok(connection) => return Ok(connection),
                    Err(ConnectionError::TimedOut) => {}
                    Err(error) => return Err(self.cause(&error)),
                },
                error = &mut word => {
                    return Err(TransportError::connect(self.address, Transport::Quic, &error));
                }
                () = sleep_until(deadline) => return Err(self.no_answer()),
            }
        }
    }

    fn handshake(
        &self,
        endpoint: &Endpoint,
        counters: &Arc<send::Sending>,
    ) -> Result<Connecting, TransportError> {
        let mut config = ClientConfig::new(self.tls.quic());
        let congestion = watched(self.congestion.clone(), counters.clone());
        config.transport_config(settings::transport_to(self.address, congestion));
        endpoint.connect_with(config, self.address, &self.server_name).map_err(|error| {
            let error = std::io::Error::other(error);
            TransportError::connect(self.address, Transport::Quic, &error)
        })
    }

    fn no_answer(&self) -> TransportError {
        TransportError::NoAnswer {
            address: self.address,
            transport: Transport::Quic,
            seconds: settings::CONNECT_TIMEOUT.as_secs(),
            advice: "is `framelane receive` running there? If it is, UDP may be blocked on the \
                     way: try `transport` tcp at both ends",
        }
    }

    fn cause(&self, error: &ConnectionError) -> TransportError {
        super::cause_of(error, self.address, self.tls.explainer())
    }
}

/// Waits until it is time to give a connection up over which nothing has come since its handshake; for ever, where
/// something has.
///
/// Until the receiver has confirmed the handshake only its end of that is sent again, in packets that no receiver
/// answers but the one that began it: there is no reset for them.
async fn unheard(connection: Connection, address: SocketAddr) -> TransportError {
    let patience = settings::CONFIRM_TIMEOUT.max(connection.rtt() * settings::CONFIRM_RTTS);
    sleep(patience).await;
    let came = connection.stats().frame_rx;
    if came.handshake_done > 0 || came.stream > 0 {
        std::future::pending::<()>().await;
    }
    let within = Span(patience);
    let why = format!(
        "nothing was heard within {within} of the handshake; the receiver may have been started again meanwhile"
    );
    TransportError::Lost { address, why }
}

/// Hands what the receiver says to the session, until the connection has ended.
async fn listen_to(
    connection: Connection,
    mut messages: Messages,
    to_session: mpsc::Sender<Message>,
) {
    let listening = async {
        while let Some(message) = messages.next(None).await? {
            if to_session.send(message).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    // The session goes on hearing nothing until the keeper can tell why the link has ended.
    until_closed(&connection, listening).await;
}
