//! Real handshakes, over TCP's TLS in memory and over QUIC on loopback: each case over both.

mod authority;
mod resumption;

use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustls::pki_types::{ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

const ALPN: &[u8] = b"framelane/1";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the two ends of one attempt made of it: the peer's pin, or the reason why not.
#[derive(Debug, PartialEq)]
struct Outcome {
    sender: Result<(), Option<HandshakeRefusal>>,
    receiver: Result<Option<Pin>, Option<HandshakeRefusal>>,
}

impl Outcome {
    fn sender_refusal(&self) -> HandshakeRefusal {
        self.sender.clone().unwrap_err().expect("an explained refusal")
    }

    fn receiver_refusal(&self) -> HandshakeRefusal {
        self.receiver.clone().unwrap_err().expect("an explained refusal")
    }
}

/// Who takes part in an attempt.
struct Case {
    sender: Identity,
    receiver: Identity,
    policy: SenderPolicy,
    trust: ReceiverTrust,
    alpn: &'static [u8],
}

impl Case {
    /// A case in which everything is in order.
    fn new() -> Self {
        let (sender, receiver) = (identity(), identity());
        let trust = ReceiverTrust::pinned(address(), receiver.pin());
        let policy = SenderPolicy::only([sender.pin()]);
        Self { sender, receiver, policy, trust, alpn: ALPN }
    }

    fn known(mut self, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_receivers");
        fs::write(&path, text).unwrap();
        let known = KnownReceivers::load(&path).unwrap();
        self.trust = ReceiverTrust::new(address(), Vec::new(), None, &known);
        self
    }

    fn client(&self) -> ClientTls {
        client_config(&self.sender, self.trust.clone(), &[self.alpn], EarlyData::Off)
    }

    fn server(&self) -> ServerTls {
        server_config(&self.receiver, self.policy.clone(), &[ALPN], EarlyData::Off)
    }

    /// Tries over both transports, which have to agree.
    async fn run(&self) -> Outcome {
        let client = self.client();
        let tcp = over_tcp(client.tcp(), client.explainer(), &self.server(), HOST).await;
        let client = self.client();
        let quic = over_quic(&client, &self.server()).await;
        // Messages about dates have the time in them, and a second may have passed.
        let dated = |outcome: &Outcome| {
            let text = format!("{outcome:?}");
            text.contains("NotInForce").then(|| digits_out(&text))
        };
        assert!(
            tcp == quic || dated(&tcp).is_some() && dated(&tcp) == dated(&quic),
            "{tcp:?} {quic:?}"
        );
        quic
    }
}

fn digits_out(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

const HOST: &str = "localhost";

/// The receiver as its user calls it; that it listens on another port is of no matter to TLS.
fn address() -> ReceiverAddress {
    "localhost:4433".parse().unwrap()
}

fn identity() -> Identity {
    made_at(SystemTime::now(), 10)
}

fn made_at(now: SystemTime, days: u32) -> Identity {
    Identity::generate(&NewCertificate { names: Vec::new(), days, now }).unwrap()
}

fn expired() -> Identity {
    made_at(SystemTime::now() - 20 * DAY, 1)
}

/// As programs made them that took the begin from their clock.
fn not_yet_valid() -> Identity {
    let begin = SystemTime::now() + 20 * DAY;
    dated(begin, begin + DAY)
}

fn dated(begin: SystemTime, end: SystemTime) -> Identity {
    let mut params = rcgen::CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (begin.into(), end.into());
    let key = rcgen::KeyPair::generate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    authority::write_identity(folder.path(), &params.self_signed(&key).unwrap(), &key)
}

/// A clock that tests set.
#[derive(Debug)]
struct HandClock(Mutex<SystemTime>);

impl HandClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(SystemTime::now())))
    }

    fn forward(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

impl rustls::time_provider::TimeProvider for HandClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(validity::unix_time(*self.0.lock().unwrap()))
    }
}

/// One byte there and back, which is when a sender has learned whether it was let in.
async fn over_tcp(
    client: Arc<rustls::ClientConfig>,
    explainer: &Explainer,
    server: &ServerTls,
    name: &'static str,
) -> Outcome {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (config, receiver_explainer) = server.tcp();
    let receiver = async move {
        let mut stream = TlsAcceptor::from(Arc::new(config))
            .accept(far)
            .await
            .map_err(|error| receiver_explainer.explain(&error))?;
        let sender = stream.get_ref().1.peer_certificates().and_then(peer_pin);
        stream.write_all(&[1]).await.unwrap();
        stream.shutdown().await.unwrap();
        Ok(sender)
    };
    let name = ServerName::try_from(name).unwrap();
    let sender = async move {
        let explained = |error: std::io::Error| explainer.explain(&error);
        let mut stream = TlsConnector::from(client).connect(name, near).await.map_err(explained)?;
        stream.read_u8().await.map_err(explained)?;
        Ok(())
    };
    let (sender, receiver) = tokio::join!(sender, receiver);
    Outcome { sender, receiver }
}

async fn over_quic(client: &ClientTls, server: &ServerTls) -> Outcome {
    let listening = quic_server(server);
    let connecting = quic_client(client);
    let (sender, receiver) = tokio::join!(
        quic_send(&connecting, listening.local_addr().unwrap(), client.explainer()),
        quic_receive(&listening, server)
    );
    Outcome { sender, receiver }
}

fn quic_server(server: &ServerTls) -> quinn::Endpoint {
    let config = quinn::ServerConfig::with_crypto(server.quic().0);
    quinn::Endpoint::server(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap()
}

fn quic_client(client: &ClientTls) -> quinn::Endpoint {
    let mut endpoint = quinn::Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(client.quic()));
    endpoint
}

async fn quic_send(
    endpoint: &quinn::Endpoint,
    to: SocketAddr,
    explainer: &Explainer,
) -> Result<(), Option<HandshakeRefusal>> {
    let explained = |error: &(dyn Error + 'static)| explainer.explain(error);
    let connection =
        endpoint.connect(to, HOST).unwrap().await.map_err(|error| explained(&error))?;
    let mut stream = connection.accept_uni().await.map_err(|error| explained(&error))?;
    stream.read_to_end(1).await.map_err(|error| explained(&error))?;
    connection.close(0u32.into(), b"");
    Ok(())
}

async fn quic_receive(
    endpoint: &quinn::Endpoint,
    server: &ServerTls,
) -> Result<Option<Pin>, Option<HandshakeRefusal>> {
    let incoming = endpoint.accept().await.unwrap();
    let (crypto, explainer) = server.quic();
    let config = Arc::new(quinn::ServerConfig::with_crypto(crypto));
    let explained = |error: quinn::ConnectionError| explainer.explain(&error);
    // The first packet may be refused before there is anything to wait for.
    let connection = incoming.accept_with(config).map_err(explained)?.await.map_err(explained)?;
    let sender = quinn_peer_pin(&connection);
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(&[1]).await.unwrap();
    stream.finish().unwrap();
    connection.closed().await;
    Ok(sender)
}

#[tokio::test]
async fn the_right_pin_lets_both_in() {
    let case = Case::new();
    let outcome = case.run().await;
    assert_eq!(outcome, Outcome { sender: Ok(()), receiver: Ok(Some(case.sender.pin())) });
}

#[tokio::test]
async fn one_of_several_pins_suffices() {
    let mut case = Case::new();
    let pins = vec![identity().pin(), case.receiver.pin()];
    case.trust = ReceiverTrust::new(address(), pins, None, &KnownReceivers::default());
    case.policy = SenderPolicy::only([identity().pin(), case.sender.pin()]);
    assert_eq!(case.run().await.sender, Ok(()));
}

#[tokio::test]
async fn a_wrong_pin_stops_the_sender() {
    let mut case = Case::new();
    let other = identity().pin();
    case.trust = ReceiverTrust::pinned(address(), other);
    let outcome = case.run().await;
    let message = outcome.sender_refusal().to_string();
    let expected =
        format!("localhost:4433 presented {}, but `pin` says {other}", case.receiver.pin());
    assert!(message.contains(&expected), "{message}");
    assert_eq!(
        outcome.receiver_refusal(),
        HandshakeRefusal::ReceiverNotTrusted { own: case.receiver.pin() }
    );
    let message = outcome.receiver_refusal().to_string();
    assert!(message.contains(&format!("`pin` {}", case.receiver.pin())), "{message}");
}

#[tokio::test]
async fn an_unknown_receiver_is_refused_with_the_pin_to_add() {
    let case = Case::new().known("");
    let message = case.run().await.sender_refusal().to_string();
    let pin = case.receiver.pin();
    assert!(message.contains("localhost:4433 is not known here"), "{message}");
    assert!(message.contains(&format!("\n  `pin` {pin}\n")), "{message}");
    assert!(message.contains(&format!("known_receivers:\n  localhost:4433 {pin}")), "{message}");
}

#[tokio::test]
async fn a_known_receiver_is_trusted() {
    let case = Case::new();
    let line = format!("LOCALHOST:4433 {}", case.receiver.pin());
    assert_eq!(case.known(&line).run().await.sender, Ok(()));
}

#[tokio::test]
async fn a_known_receiver_with_another_certificate_is_refused_loudly() {
    let known = identity().pin();
    let case = Case::new().known(&format!("localhost:4433 {known}\nother:1 {known}"));
    let message = case.run().await.sender_refusal().to_string();
    assert!(message.contains("THE CERTIFICATE OF localhost:4433 HAS CHANGED"), "{message}");
    let expected = format!("known_receivers says {known}");
    assert!(message.contains(&expected), "{message}");
    assert!(!message.contains("`pin`"), "the way around is not offered: {message}");
}

#[tokio::test]
async fn what_is_said_for_this_run_outweighs_the_known_receivers() {
    let mut case = Case::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known_receivers");
    fs::write(&path, format!("localhost:4433 {}", case.receiver.pin())).unwrap();
    let known = KnownReceivers::load(&path).unwrap();
    case.trust = ReceiverTrust::new(address(), vec![identity().pin()], None, &known);
    let refusal = case.run().await.sender_refusal();
    assert!(matches!(refusal, HandshakeRefusal::Here(TrustRefusal::WrongPin { .. })), "{refusal}");
}

#[tokio::test]
async fn a_certificate_that_is_trusted_by_its_pin_may_be_out_of_its_time() {
    for made in [expired(), not_yet_valid()] {
        let mut case = Case::new();
        case.trust = ReceiverTrust::pinned(address(), made.pin());
        case.receiver = made.clone();
        assert_eq!(case.run().await.sender, Ok(()));

        let mut case = Case::new();
        case.policy = SenderPolicy::only([made.pin()]);
        case.sender = made.clone();
        assert_eq!(case.run().await.receiver, Ok(Some(made.pin())));
    }
}

#[tokio::test]
async fn where_anybody_is_let_in_dates_count_and_no_advice_costs_the_identity() {
    for (made, at_receiver, at_sender) in [
        (expired(), "expired on 20", "It expired on 20"),
        (not_yet_valid(), "is not valid before 20", "It is not valid before 20"),
    ] {
        let case = Case { policy: SenderPolicy::Any, sender: made.clone(), ..Case::new() };
        let outcome = case.run().await;
        let message = outcome.receiver_refusal().to_string();
        let allow = format!("`allow` {}", made.pin());
        for words in [at_receiver, "this machine's clock says 20", " UTC", &allow] {
            assert!(message.contains(words), "{words}: {message}");
        }
        let told = outcome.sender_refusal().to_string();
        for words in ["refused this machine's certificate", at_sender, &allow] {
            assert!(told.contains(words), "{words}: {told}");
        }
        assert!(!message.contains("--force") && !told.contains("--force"), "{message} {told}");
    }
}

#[test]
fn a_peer_whose_clock_is_wrong_is_named_as_the_likely_cause() {
    let own = identity();
    let explainer = Explainer::new(Role::Receiver, own.chain(), Default::default());
    let refused = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
    let message = explainer.explain(&refused).unwrap().to_string();
    for words in [
        "valid from 1970-01-01 00:00:00 UTC until 20",
        "and this machine's clock says 20",
        "most likely the peer's clock is wrong",
        &format!("`pin` {}", own.pin()),
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert!(!message.contains("--force"), "{message}");
}

#[tokio::test]
async fn a_sender_that_is_not_allowed_learns_it_and_what_to_ask_for() {
    let mut case = Case::new();
    case.policy = SenderPolicy::only([identity().pin()]);
    let outcome = case.run().await;
    let own = case.sender.pin();
    assert_eq!(outcome.sender_refusal(), HandshakeRefusal::SenderNotAllowed { own });
    let message = outcome.sender_refusal().to_string();
    assert!(message.contains(&format!("`allow` {own}")), "{message}");
    assert_eq!(
        outcome.receiver_refusal(),
        HandshakeRefusal::Here(TrustRefusal::SenderNotAllowed { presented: own })
    );
    let message = outcome.receiver_refusal().to_string();
    assert!(message.contains(&format!("`allow` {own}")), "{message}");
}

#[tokio::test]
async fn any_sender_is_let_in_where_the_user_says_so() {
    for policy in [SenderPolicy::Any, SenderPolicy::Local] {
        let mut case = Case::new();
        case.policy = policy;
        assert_eq!(case.run().await.receiver, Ok(Some(case.sender.pin())));
    }
}

#[tokio::test]
async fn another_protocol_version_is_told_apart() {
    let mut case = Case::new();
    case.alpn = b"framelane/0";
    let outcome = case.run().await;
    assert_eq!(outcome.sender_refusal(), HandshakeRefusal::UnknownProtocolVersion);
    assert_eq!(outcome.receiver_refusal(), HandshakeRefusal::UnknownProtocolVersion);
    let message = outcome.sender_refusal().to_string();
    assert!(message.contains("run the same version of framelane at both ends"), "{message}");
}

#[tokio::test]
async fn a_sender_without_a_certificate_is_refused() {
    let case = Case::new();
    let client = case.client();
    let mut anonymous = (*client.tcp()).clone();
    anonymous.client_auth_cert_resolver = Arc::new(NoCertificate);
    let anonymous = Arc::new(anonymous);
    let outcome = over_tcp(Arc::clone(&anonymous), client.explainer(), &case.server(), HOST).await;
    assert_eq!(outcome.sender_refusal(), HandshakeRefusal::NoSenderCertificate);
    assert_eq!(outcome.receiver_refusal(), HandshakeRefusal::NoSenderCertificate);

    let listening = quic_server(&case.server());
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(anonymous).unwrap();
    let mut endpoint = quic_client(&client);
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
    let server = case.server();
    let (sender, receiver) = tokio::join!(
        quic_send(&endpoint, listening.local_addr().unwrap(), client.explainer()),
        quic_receive(&listening, &server)
    );
    assert_eq!(sender, Err(Some(HandshakeRefusal::NoSenderCertificate)));
    assert_eq!(receiver, Err(Some(HandshakeRefusal::NoSenderCertificate)));
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// A certificate is public: who only copied it does not get in.
#[tokio::test]
async fn a_certificate_without_its_key_is_refused_at_either_end() {
    let stolen = |victim: &Identity, thief: &Identity| {
        let key = Arc::clone(&thief.certified().key);
        let forged = rustls::sign::CertifiedKey::new(victim.chain().to_vec(), key);
        Identity::forged(forged, victim.pin())
    };
    let mut case = Case::new();
    case.receiver = stolen(&case.receiver, &identity());
    let message = case.run().await.sender_refusal().to_string();
    assert!(message.contains("did not prove to have its key"), "{message}");

    let mut case = Case::new();
    case.sender = stolen(&case.sender, &identity());
    let message = case.run().await.receiver_refusal().to_string();
    assert!(message.contains("did not prove to have its key"), "{message}");
}

#[tokio::test]
async fn bytes_that_were_changed_on_the_way_are_no_last_word_and_a_refusal_is() {
    let (_, explainer) = Case::new().server().tcp();
    for (alert, is_final) in [
        (rustls::AlertDescription::BadRecordMac, false),
        (rustls::AlertDescription::DecodeError, false),
        (rustls::AlertDescription::AccessDenied, true),
        (rustls::AlertDescription::CertificateExpired, true),
        (rustls::AlertDescription::NoApplicationProtocol, true),
    ] {
        let refusal = explainer.explain(&rustls::Error::AlertReceived(alert)).unwrap();
        assert_eq!(refusal.is_final(), is_final, "{refusal}");
    }
}

#[tokio::test]
async fn something_that_is_not_tls_is_told_apart() {
    let case = Case::new();
    let (mut near, far) = tokio::io::duplex(1024);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let (config, explainer) = case.server().tcp();
    let error = TlsAcceptor::from(Arc::new(config)).accept(far).await.unwrap_err();
    let refusal = explainer.explain(&error).unwrap();
    assert!(refusal.to_string().contains("does not speak TLS 1.3"), "{refusal}");
    assert!(!refusal.is_final(), "somebody may answer in its place");
    assert_eq!(explainer.explain(&std::io::Error::other("the disk is full")), None);
}
