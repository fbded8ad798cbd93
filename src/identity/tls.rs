//! rustls as this crate uses it: TLS 1.3, certificates at both ends, one crypto provider.

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::TLS13;

use super::own::{Derived, Identity};
use super::permit::{Permit, SharedPolicy};
use super::pin::Pin;
use super::proof::{DateRemarks, Proof};
use super::provider::provider;
use super::refusal::{Explainer, Role, TrustRefusal, Verdict};
use super::sender_check::{SenderCheck, SenderVerifier};
use super::tickets::{ConnectionSessions, LetIn, ReceiverSessions, SenderSessions};
use super::trust::{ReceiverTrust, ReceiverVerifier};

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
/// one whose certificate was verified by this same value within the last day, and where an authority
/// vouches for it is still in force; the receiver proves by the ticket that it is the same.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<rustls::ClientConfig>,
    explainer: Explainer,
}

/// A receiver's TLS.
///
/// Sessions are kept in this value alone, each with the certificate that its sender proved, and each
/// can be resumed once, within a day of that proof. The policy is asked again for each that is resumed,
/// so a sender that was taken off the list makes a whole handshake, and is refused in it.
/// [`ServerTls::admit`] tells who a connection belongs to, resumed or not, and whether it may send.
#[derive(Debug, Clone)]
pub struct ServerTls {
    provider: Arc<CryptoProvider>,
    certificate: Arc<SingleCertAndKey>,
    chain: Vec<CertificateDer<'static>>,
    derived: Derived,
    check: SenderCheck,
    alpn: Vec<Vec<u8>>,
    early_data: EarlyData,
    sessions: Arc<SenderSessions>,
    time: Arc<dyn TimeProvider>,
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
    client_config_at(identity, trust, alpn, early_data, Arc::new(DefaultTimeProvider))
}

/// The same, by a clock of the caller's.
pub(super) fn client_config_at(
    identity: &Identity,
    trust: ReceiverTrust,
    alpn: &[&[u8]],
    early_data: EarlyData,
    time: Arc<dyn TimeProvider>,
) -> ClientTls {
    let (verdict, let_in) = (Verdict::default(), LetIn::default());
    let proof = Proof::new(verdict.clone());
    let remarks = DateRemarks::default();
    let verifier = ReceiverVerifier { trust, proof, remarks, let_in: let_in.clone() };
    let certificate = SingleCertAndKey::from(Arc::clone(identity.certified()));
    let mut config =
        rustls::ClientConfig::builder_with_details(Arc::new(provider()), Arc::clone(&time))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has cipher suites for TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = owned(alpn);
    let sessions = ReceiverSessions::new(SENDER_SESSIONS, let_in, time);
    config.resumption = Resumption::store(Arc::new(sessions));
    config.enable_early_data = early_data == EarlyData::On;
    let explainer = Explainer::new(Role::Sender, identity.chain(), verdict);
    ClientTls { config: Arc::new(config), explainer }
}

/// TLS for the receiver with this identity, letting in the senders of `policy`: a
/// [`SenderPolicy`](super::SenderPolicy), or a [`SharedPolicy`] that may change.
///
/// `alpn` is the protocol versions understood, the preferred one first.
pub fn server_config(
    identity: &Identity,
    policy: impl Into<SharedPolicy>,
    alpn: &[&[u8]],
    early_data: EarlyData,
) -> ServerTls {
    ServerTls {
        provider: Arc::new(provider()),
        certificate: Arc::new(SingleCertAndKey::from(Arc::clone(identity.certified()))),
        chain: identity.chain().to_vec(),
        derived: identity.derived(),
        check: SenderCheck { policy: policy.into(), remarks: DateRemarks::default() },
        alpn: owned(alpn),
        early_data,
        sessions: Arc::new(SenderSessions::new(RECEIVER_SESSIONS)),
        time: Arc::new(DefaultTimeProvider),
    }
}

/// TLS for whoever comes, who is not asked for a certificate: only for what is shown and not for what is stored.
///
/// `alpn` is the protocols spoken, the preferred one first.
pub fn open_server_config(identity: &Identity, alpn: &[&[u8]]) -> Arc<rustls::ServerConfig> {
    let certificate = SingleCertAndKey::from(Arc::clone(identity.certified()));
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has cipher suites for TLS 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = owned(alpn);
    Arc::new(config)
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
    /// The same, which agrees to these protocol versions as well, after its own.
    #[must_use]
    pub fn and_agrees_to(mut self, alpn: &[&[u8]]) -> Self {
        self.alpn.extend(owned(alpn));
        self
    }

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

    /// The permit of the sender with these certificates, which a connection has of it
    /// (`rustls::CommonState::peer_certificates`, or [`quinn_peer_certificates`]).
    ///
    /// Every connection is to be asked about when its handshake is done: the policy may have changed since
    /// the handshake began, and a resumed one shows no certificate.
    ///
    /// # Errors
    /// Why the sender may not send. It is to be told with
    /// [`CloseCode::Revoked`](crate::wire::CloseCode::Revoked): it took itself for let in.
    pub fn admit(&self, certificates: &[CertificateDer<'_>]) -> Result<Permit, TrustRefusal> {
        let leaf = certificates.first().ok_or_else(|| TrustRefusal::NotProven {
            presented: Pin::of(&CertificateDer::from(&[][..])),
            reason: "it showed no certificate".to_owned(),
        })?;
        let now = self.time.current_time().unwrap_or_else(UnixTime::now);
        self.check.check(leaf, now).map_err(|refused| refused.reason)
    }

    /// The same by another clock.
    #[cfg(test)]
    pub(super) fn by_clock(self, time: Arc<dyn TimeProvider>) -> Self {
        Self { time, ..self }
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
        let (verdict, let_in) = (Verdict::default(), LetIn::default());
        let proof = Proof::new(verdict.clone());
        let verifier = SenderVerifier { check: self.check.clone(), proof, let_in: let_in.clone() };
        let (provider, time) = (Arc::clone(&self.provider), Arc::clone(&self.time));
        let mut config = rustls::ServerConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has cipher suites for TLS 1.3")
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::clone(&self.certificate) as _);
        config.alpn_protocols.clone_from(&self.alpn);
        config.session_storage = Arc::new(ConnectionSessions {
            all: Arc::clone(&self.sessions),
            policy: self.check.policy.clone(),
            let_in,
            time: Arc::clone(&self.time),
        });
        (config, Explainer::new(Role::Receiver, &self.chain, verdict))
    }
}

/// The pin of a peer, from the certificates that a connection has of it
/// (`rustls::CommonState::peer_certificates`, or [`quinn_peer_pin`]).
pub fn peer_pin(certificates: &[CertificateDer<'_>]) -> Option<Pin> {
    certificates.first().map(Pin::of)
}

/// The certificates of the peer of a QUIC connection. Empty before the handshake is complete.
pub fn quinn_peer_certificates(connection: &quinn::Connection) -> Vec<CertificateDer<'static>> {
    let identity = connection.peer_identity();
    let certificates =
        identity.and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    certificates.map(|certificates| *certificates).unwrap_or_default()
}

/// The pin of the peer of a QUIC connection. `None` before the handshake is complete.
pub fn quinn_peer_pin(connection: &quinn::Connection) -> Option<Pin> {
    peer_pin(&quinn_peer_certificates(connection))
}

fn owned(protocols: &[&[u8]]) -> Vec<Vec<u8>> {
    protocols.iter().map(|protocol| protocol.to_vec()).collect()
}
