//! rustls as this crate uses it: TLS 1.3, certificates at both ends, one crypto provider.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;

use super::own::{Derived, Identity};
use super::pin::Pin;
use super::refusal::{Explainer, Role, Verdict};
use super::senders::{SenderPolicy, SenderVerifier};
use super::trust::{Proof, ReceiverTrust, ReceiverVerifier};

/// Sessions that a sender keeps for resumption: one receiver, of which rustls keeps the last eight
/// tickets.
const SENDER_SESSIONS: usize = 8;
/// Sessions that a receiver keeps. Each holds its sender's certificate chain, of usually 500 bytes
/// and at most the 64 KiB of a handshake message, so this is 16 MiB at the very worst; and with two
/// tickets a connection it is enough for the last 128 senders.
const RECEIVER_SESSIONS: usize = 256;

/// Whether a resumed session may carry data in its first packets (0-RTT, RFC 9001 section 4.6),
/// over QUIC.
///
/// Off unless a transport asks for it. What is sent this way is not yet protected by a fresh key
/// exchange, and an attacker can deliver it a second time; a receiver here answers each ticket once
/// only, but the transport has to know that what it sends may arrive twice without harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyData {
    /// The first frame waits for the handshake.
    #[default]
    Off,
    /// A resumed session sends at once.
    On,
}

/// A sender's TLS, towards one receiver.
///
/// Keep it for the whole run: it remembers the session for the next connection. A resumed session is
/// one whose certificate was verified by this same value within the ticket's lifetime (at most seven
/// days), and the receiver proves by the ticket that it is the same.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<rustls::ClientConfig>,
    explainer: Explainer,
}

/// A receiver's TLS.
///
/// Sessions are kept in this value alone, each with the certificate that its sender proved, and each
/// can be resumed once. So a policy is enforced on resumed sessions by construction: a receiver that
/// is started again with another `--allow` has forgotten them all. [`peer_pin`] tells who a
/// connection belongs to, resumed or not.
#[derive(Debug, Clone)]
pub struct ServerTls {
    provider: Arc<CryptoProvider>,
    certificate: Arc<SingleCertAndKey>,
    own: Pin,
    derived: Derived,
    policy: SenderPolicy,
    alpn: Vec<Vec<u8>>,
    early_data: EarlyData,
    sessions: Arc<dyn StoresServerSessions>,
}

/// TLS for the sender with this identity, towards the receiver of `trust`.
///
/// `alpn` is the protocol versions offered, the preferred one first. Connect with
/// [`ReceiverAddress::host`](super::ReceiverAddress::host) as the server name: an authority vouches
/// for that name.
pub fn client_config(
    identity: &Identity,
    trust: ReceiverTrust,
    alpn: &[&[u8]],
    early_data: EarlyData,
) -> ClientTls {
    let verdict = Verdict::default();
    let verifier = ReceiverVerifier { trust, proof: Proof::new(verdict.clone()) };
    let certificate = SingleCertAndKey::from(Arc::clone(identity.certified()));
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has cipher suites for TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = owned(alpn);
    config.resumption = Resumption::in_memory_sessions(SENDER_SESSIONS);
    config.enable_early_data = early_data == EarlyData::On;
    let explainer = Explainer::new(Role::Sender, identity.pin(), verdict);
    ClientTls { config: Arc::new(config), explainer }
}

/// TLS for the receiver with this identity, letting in the senders of `policy`.
///
/// `alpn` is the protocol versions understood, the preferred one first.
pub fn server_config(
    identity: &Identity,
    policy: SenderPolicy,
    alpn: &[&[u8]],
    early_data: EarlyData,
) -> ServerTls {
    ServerTls {
        provider: Arc::new(provider()),
        certificate: Arc::new(SingleCertAndKey::from(Arc::clone(identity.certified()))),
        own: identity.pin(),
        derived: identity.derived(),
        policy,
        alpn: owned(alpn),
        early_data,
        sessions: ServerSessionMemoryCache::new(RECEIVER_SESSIONS),
    }
}

impl ClientTls {
    /// For `tokio_rustls::TlsConnector`.
    pub fn tcp(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.config)
    }

    /// For `quinn::ClientConfig::new`.
    pub fn quic(&self) -> Arc<QuicClientConfig> {
        let config = QuicClientConfig::try_from(Arc::clone(&self.config));
        Arc::new(config.expect("the provider has TLS13_AES_128_GCM_SHA256"))
    }

    /// What explains a connection that fails.
    ///
    /// Connections of one [`ClientTls`] are meant to follow one another: of two at the same time,
    /// either may be explained by the reason of the other, which is about the same receiver.
    pub fn explainer(&self) -> &Explainer {
        &self.explainer
    }
}

impl ServerTls {
    /// For `tokio_rustls::TlsAcceptor`: a configuration for one connection, and what explains it.
    pub fn tcp(&self) -> (rustls::ServerConfig, Explainer) {
        self.connection()
    }

    /// For `quinn::Incoming::accept_with`: a configuration for one connection, and what explains it.
    ///
    /// It may also be given to an endpoint for all connections, whose refusals then cannot be told
    /// apart.
    pub fn quic(&self) -> (Arc<QuicServerConfig>, Explainer) {
        let (mut config, explainer) = self.connection();
        // QUIC knows no other number than this (RFC 9001, section 4.6.1); its own flow control
        // limits what arrives.
        if self.early_data == EarlyData::On {
            config.max_early_data_size = u32::MAX;
        }
        let config = QuicServerConfig::try_from(config);
        (Arc::new(config.expect("the provider has TLS13_AES_128_GCM_SHA256")), explainer)
    }

    /// A secret for stateless resets (RFC 9000, section 10.3) of whoever listens at `address`.
    ///
    /// It is the same after a restart, so that a receiver can tell its senders at once that it has
    /// forgotten their connections. It is another at every address, because whoever knows the
    /// secret of one receiver's connections could end those of another with it (section 21.11).
    pub fn reset_secret(&self, address: SocketAddr) -> [u8; 32] {
        self.derived.secret(&format!("stateless reset at {address}"))
    }

    /// Each connection has a verifier of its own, so that a refusal is told of the right sender.
    /// Certificate, key and sessions are shared; what is built here is small.
    fn connection(&self) -> (rustls::ServerConfig, Explainer) {
        let verdict = Verdict::default();
        let proof = Proof::new(verdict.clone());
        let verifier = SenderVerifier { policy: self.policy.clone(), proof };
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has cipher suites for TLS 1.3")
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::clone(&self.certificate) as _);
        config.alpn_protocols.clone_from(&self.alpn);
        config.session_storage = Arc::clone(&self.sessions);
        (config, Explainer::new(Role::Receiver, self.own, verdict))
    }
}

/// The pin of a peer, from the certificates that a connection has of it
/// (`rustls::CommonState::peer_certificates`, or [`quinn_peer_pin`]).
pub fn peer_pin(certificates: &[CertificateDer<'_>]) -> Option<Pin> {
    certificates.first().map(Pin::of)
}

/// The pin of the peer of a QUIC connection. `None` before the handshake is complete.
pub fn quinn_peer_pin(connection: &quinn::Connection) -> Option<Pin> {
    let identity = connection.peer_identity()?;
    peer_pin(identity.downcast_ref::<Vec<CertificateDer<'static>>>()?)
}

/// ring, with the cipher that is fastest here first.
///
/// The order of the sender counts, which is more often the weaker machine. AES-128-GCM leads where
/// the processor has instructions for it; where it has none, as on a Raspberry Pi 4, AES in software
/// is several times slower than ChaCha20.
pub(super) fn provider() -> CryptoProvider {
    use ring::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    let cipher_suites = if has_aes_instructions() {
        vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256]
    } else {
        vec![TLS13_CHACHA20_POLY1305_SHA256, TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384]
    };
    CryptoProvider { cipher_suites, ..ring::default_provider() }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes_instructions() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes_instructions() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes_instructions() -> bool {
    false
}

fn owned(protocols: &[&[u8]]) -> Vec<Vec<u8>> {
    protocols.iter().map(|protocol| protocol.to_vec()).collect()
}
