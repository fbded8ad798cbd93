//! Certificates, both ends of a link, and frames to send.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::socket::{self, Stream};
use super::super::{Admit, Classify, TcpDial, TcpOptions, listen};
use crate::frame::{
    ByteSize, ContentHash, FrameMeta, FrameName, MediaType, RunId, Sequence, SourceName, UnixNanos,
};
use crate::identity::{Pin, SenderPolicy, SharedPolicy};
use crate::transport::{
    Arrival, ArrivedFrame, Dial, Intake, Listener, MemoryBudget, OutgoingFrame, ReceiverLink,
    SenderLink, TransportError,
};
use crate::wire::{
    Capabilities, FrameHeader, Hello, Message, SESSION_ID_BYTES, SourceHello, SourceId,
};

/// Longer than anything here takes; reaching it is a failure, not a delay.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} took too long"),
    }
}

pub(super) struct Identity {
    pub(super) certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    pub(super) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        Self { certificate: made.cert.der().clone(), key }
    }
}

/// A receiver, the sender that it lets in, and another that it lets in as well.
pub(super) struct World {
    pub(super) listener: Listener,
    pub(super) intake: Intake,
    server: Identity,
    pub(super) sender: Identity,
    pub(super) other: Identity,
    /// Which of its connections the receiver has explained, by their number.
    pub(super) explained: mpsc::UnboundedReceiver<usize>,
}

pub(super) fn intake() -> Intake {
    Intake {
        max_frame: ByteSize(4 << 20),
        budget: MemoryBudget::new(ByteSize(16 << 20)),
        stall: Duration::from_secs(10),
        max_sessions: 8,
        voice: crate::transport::Voice::default(),
    }
}

pub(super) fn options() -> TcpOptions {
    TcpOptions::default()
}

/// Explains alerts, as the identity layer would: which one a refused certificate leads to depends on
/// what is wrong with it.
pub(super) fn classify() -> Classify {
    Arc::new(|error| {
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        matches!(error, rustls::Error::AlertReceived(_)).then(|| format!("refused: {error}"))
    })
}

fn admit() -> Admit {
    let anybody = SharedPolicy::from(SenderPolicy::Any);
    Arc::new(move |certificates| {
        let sender = certificates.first().map(Pin::of);
        sender.and_then(|sender| anybody.permit(sender)).ok_or_else(|| "no certificate".to_owned())
    })
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(intake(), options())
    }

    pub(super) fn with(intake: Intake, options: TcpOptions) -> Self {
        let (server, sender, other) = (Identity::new(), Identity::new(), Identity::new());
        let mut senders = RootCertStore::empty();
        senders.add(sender.certificate.clone()).unwrap();
        senders.add(other.certificate.clone()).unwrap();
        let provider = Arc::new(default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(senders.into(), provider.clone());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![server.certificate.clone()], server.key.clone_key())
            .unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let (explains, explained) = mpsc::unbounded_channel();
        let connections = AtomicUsize::new(0);
        let of_each = Arc::new(move || {
            let number = connections.fetch_add(1, Ordering::Relaxed);
            let (explains, classify) = (explains.clone(), classify());
            let noted: Classify = Arc::new(move |error| {
                let _ = explains.send(number);
                classify(error)
            });
            (tls.clone(), noted)
        });
        let listener = listen(address, of_each, intake.clone(), admit(), options).unwrap();
        Self { listener, intake, server, sender, other, explained }
    }

    pub(super) fn client_tls(&self, identity: &Identity) -> ClientConfig {
        let mut servers = RootCertStore::empty();
        servers.add(self.server.certificate.clone()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(servers)
            .with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key())
            .unwrap()
    }

    pub(super) fn dial(&self, identity: &Identity) -> TcpDial {
        let tls = self.client_tls(identity);
        TcpDial::new(self.listener.address, name(), &tls, classify(), options())
    }

    /// A session whose hello has been said, with three sources.
    pub(super) async fn session(&mut self, per_frame: bool) -> (SenderLink, ReceiverLink) {
        let dial = self.dial(&self.sender);
        let dial = if per_frame { dial.per_frame() } else { dial };
        let sender = soon("dialling", dial.dial()).await.unwrap();
        sender.messages.send(hello([7; SESSION_ID_BYTES])).await.unwrap();
        let mut receiver = self.accepted().await;
        assert_eq!(message(&mut receiver).await, hello([7; SESSION_ID_BYTES]));
        receiver.sources.set(3);
        (sender, receiver)
    }

    pub(super) async fn accepted(&mut self) -> ReceiverLink {
        soon("accepting", self.listener.links.recv()).await.unwrap()
    }

    /// A TLS connection to say anything on.
    pub(super) async fn raw(&self, identity: &Identity, alpn: &[u8]) -> Stream {
        let mut tls = self.client_tls(identity);
        tls.alpn_protocols = vec![alpn.to_vec()];
        let socket = TcpStream::connect(self.listener.address).await.unwrap();
        soon("handshake", socket::secure(socket, &Arc::new(tls), &name())).await.unwrap()
    }
}

pub(super) fn name() -> ServerName<'static> {
    "localhost".try_into().unwrap()
}

pub(super) fn hello(session: [u8; SESSION_ID_BYTES]) -> Message {
    let source =
        |name| SourceHello::new(SourceName::parse(name).unwrap(), RunId([1; 16]), UnixNanos(1));
    let (sources, agent) = (["a", "b", "c"].map(source).to_vec(), "test".to_owned());
    let capabilities = Capabilities::default();
    Message::Hello(Hello { session, overwrite: false, agent, sources, capabilities })
}

/// Bytes that differ from place to place and from frame to frame.
pub(super) fn body(sequence: u64, length: usize) -> Bytes {
    (0..length as u64).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ sequence) as u8).collect()
}

pub(super) fn header(source: u8, sequence: u64, bytes: u64) -> FrameHeader {
    let meta = FrameMeta {
        sequence: Sequence(sequence),
        name: FrameName::parse(&format!("{sequence}.png")).unwrap(),
        bytes,
        hash: Some(ContentHash::from_bytes([9; 32])),
        captured: None,
        due: None,
        modified: None,
        media: MediaType::parse("image/png").unwrap(),
    };
    FrameHeader { source: SourceId(source), meta, repair: None }
}

pub(in crate::transport::tcp) fn frame(source: u8, sequence: u64, length: usize) -> OutgoingFrame {
    let header = header(source, sequence, length as u64);
    OutgoingFrame {
        header,
        body: body(sequence, length),
        priority: 0,
        late: None,
        deadline: None,
        moot: None,
    }
}

pub(super) async fn arrival(receiver: &mut ReceiverLink) -> Arrival {
    match soon("an arrival", receiver.arrivals.recv()).await {
        Some(arrival) => arrival,
        None => panic!("the link has ended: {}", receiver.end.cause().await),
    }
}

pub(super) async fn message(receiver: &mut ReceiverLink) -> Message {
    match arrival(receiver).await {
        Arrival::Message(message, _) => message,
        other => panic!("not a message: {other:?}"),
    }
}

pub(super) async fn arrived(receiver: &mut ReceiverLink) -> ArrivedFrame {
    match arrival(receiver).await {
        Arrival::Frame(frame) => frame,
        other => panic!("not a frame: {other:?}"),
    }
}

/// The cause of the end of a receiver's link, whatever arrives until then.
pub(super) async fn end_of(receiver: &mut ReceiverLink) -> TransportError {
    soon("the end of the arrivals", async { while receiver.arrivals.recv().await.is_some() {} })
        .await;
    soon("the cause", receiver.end.cause()).await
}
