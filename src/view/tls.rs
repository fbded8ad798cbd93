//! The view over TLS: with the receiver's own certificate, and where it is wanted only for those who show theirs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::identity::{
    EarlyData, Explainer, HandshakeRefusal, Identity, Pin, SenderPolicy, ServerTls, TrustRefusal,
    open_server_config, server_config,
};

/// What browsers and programs speak inside of it.
pub(super) const HTTP: &[u8] = b"http/1.1";

/// The first byte of whatever opens TLS: a record of the handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// Bytes that wait for the socket, beyond those that the kernel has: what is chosen after them is newer.
const UNSENT: usize = 16 * 1024;

/// How long whoever is turned away may take to read why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Those who are turned away are told of once in this time, so that nobody fills a log.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// A view's TLS.
#[derive(Debug, Clone)]
pub struct ViewTls {
    who: Who,
    told: Arc<Mutex<Option<Instant>>>,
}

#[derive(Debug, Clone)]
enum Who {
    /// Whoever comes.
    Anybody(Arc<ServerConfig>),
    /// Who has one of certain certificates.
    Only(ServerTls),
}

impl ViewTls {
    /// With this certificate, for whoever comes.
    pub fn new(identity: &Identity) -> Self {
        let who = Who::Anybody(open_server_config(identity, &[HTTP]));
        Self { who, told: Arc::default() }
    }

    /// With this certificate, for those who show one of these and prove that it is theirs. Their dates are of no
    /// matter: it is the very certificate that is let in.
    pub fn only(identity: &Identity, viewers: impl IntoIterator<Item = Pin>) -> Self {
        let policy = SenderPolicy::only(viewers);
        let who = Who::Only(server_config(identity, policy, &[HTTP], EarlyData::Off));
        Self { who, told: Arc::default() }
    }

    /// Whether only certain viewers are let in.
    pub fn is_mutual(&self) -> bool {
        matches!(self.who, Who::Only(_))
    }

    /// Makes TLS of a connection. Nothing where it is none, or not of somebody who may look; he is told why, as far
    /// as TLS has words for it.
    pub(super) async fn accept(
        &self,
        socket: TcpStream,
        viewer: SocketAddr,
        patience: Duration,
    ) -> Option<TlsStream<TcpStream>> {
        timeout(patience, self.greet(socket, viewer)).await.ok()?
    }

    async fn greet(&self, socket: TcpStream, viewer: SocketAddr) -> Option<TlsStream<TcpStream>> {
        let mut first = [0];
        if socket.peek(&mut first).await.ok()? == 0 {
            return None;
        }
        if first != [HANDSHAKE] {
            say_where(socket).await;
            return None;
        }
        let (config, explainer) = match &self.who {
            Who::Anybody(config) => (config.clone(), None),
            Who::Only(tls) => {
                let (config, explainer) = tls.tcp();
                (Arc::new(config), Some(explainer))
            }
        };
        match TlsAcceptor::from(config).accept(socket).into_fallible().await {
            Ok(mut stream) => {
                if let Who::Only(tls) = &self.who {
                    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
                    tls.admit(certificates).ok()?;
                }
                stream.get_mut().1.set_buffer_limit(Some(UNSENT));
                Some(stream)
            }
            Err((error, socket)) => {
                self.tell(viewer, why(&error, explainer.as_ref()));
                let_it_arrive(socket).await;
                None
            }
        }
    }

    fn tell(&self, viewer: SocketAddr, why: String) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| now.duration_since(told) >= TOLD_EVERY) {
            *told = Some(now);
            tracing::warn!("a viewer at {viewer} was turned away: {why}");
        }
    }
}

/// In the words of a view; those of a handshake are about senders.
fn why(error: &std::io::Error, explainer: Option<&Explainer>) -> String {
    match explainer.and_then(|explainer| explainer.explain(error)) {
        Some(HandshakeRefusal::Here(TrustRefusal::SenderNotAllowed { presented })) => {
            format!("its certificate, {presented}, is none of those that may look")
        }
        Some(HandshakeRefusal::NoSenderCertificate) => "it showed no certificate".to_owned(),
        Some(HandshakeRefusal::ReceiverNotTrusted { own }) => {
            format!("it does not trust the certificate of this receiver, {own}")
        }
        Some(refusal) => refusal.to_string(),
        None => error.to_string(),
    }
}

/// Whoever comes by plain HTTP is told where to go.
async fn say_where(mut socket: TcpStream) {
    const WORDS: &str = "this view is served over TLS: go to it by https://\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{WORDS}",
        WORDS.len()
    );
    if socket.write_all(answer.as_bytes()).await.is_ok() {
        let_it_arrive(socket).await;
    }
}

/// Closing a socket with unread bytes resets the connection, and the reset may overtake what was said.
async fn let_it_arrive(mut socket: TcpStream) {
    let _ = socket.shutdown().await;
    let mut scratch = [0; 1_024];
    let reading = async { while let Ok(1..) = socket.read(&mut scratch).await {} };
    let _ = timeout(LAST_WORDS, reading).await;
}
