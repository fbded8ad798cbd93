//! What outlives a connection, and what does not.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A resumed connection is still that sender's, and a receiver started again resumes nothing.
#[tokio::test]
async fn a_resumed_session_keeps_the_identity_and_does_not_outlive_the_receiver() {
    let case = Case::new();
    let (client, server) = (case.client(), case.server());
    let first = over_tcp(client.tcp(), client.explainer(), &server, HOST).await;
    assert_eq!(first.receiver, Ok(Some(case.sender.pin())));
    assert!(resumed(&client, &server).await);

    let restarted = case.server();
    assert!(!resumed(&client, &restarted).await);
    let stricter = server_config(
        &case.receiver,
        SenderPolicy::only([identity().pin()]),
        &[ALPN],
        EarlyData::Off,
    );
    let refused = over_tcp(client.tcp(), client.explainer(), &stricter, HOST).await;
    assert!(matches!(refused.sender_refusal(), HandshakeRefusal::SenderNotAllowed { .. }));
}

/// Connects once more, and tells whether without certificates.
pub(super) async fn resumed(client: &ClientTls, server: &ServerTls) -> bool {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (config, _) = server.tcp();
    let receiver = async {
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(far).await.unwrap();
        let pin = stream.get_ref().1.peer_certificates().and_then(peer_pin);
        assert!(pin.is_some(), "a resumed session has its sender's certificate");
        stream.write_all(&[1]).await.unwrap();
        stream.get_ref().1.handshake_kind()
    };
    let sender = async {
        let name = ServerName::try_from(HOST).unwrap();
        let mut stream = TlsConnector::from(client.tcp()).connect(name, near).await.unwrap();
        stream.read_u8().await.unwrap();
    };
    tokio::join!(receiver, sender).0 == Some(rustls::HandshakeKind::Resumed)
}

#[tokio::test]
async fn a_session_is_not_resumed_beyond_the_end_of_the_senders_certificate() {
    let now = SystemTime::now();
    let sender = dated(now - DAY, now + DAY / 2);
    let case = Case { policy: SenderPolicy::Any, sender, ..Case::new() };
    let clock = HandClock::new();
    let (client, server) = (case.client(), case.server().by_clock(clock.clone()));
    let first = over_tcp(client.tcp(), client.explainer(), &server, HOST).await;
    assert_eq!(first.receiver, Ok(Some(case.sender.pin())));
    clock.forward(DAY / 4);
    assert!(resumed(&client, &server).await);
    clock.forward(DAY / 3);
    assert!(server.admit(case.sender.chain()).is_err());
    let last = over_tcp(client.tcp(), client.explainer(), &server, HOST).await;
    let message = last.receiver_refusal().to_string();
    assert!(message.contains("expired on"), "{message}");
}

#[tokio::test]
async fn a_certificate_is_shown_again_after_a_day_however_often_its_session_was_resumed() {
    let case = Case::new();
    let clock = HandClock::new();
    let server = case.server().by_clock(clock.clone());
    let client = case.client();
    over_tcp(client.tcp(), client.explainer(), &server, HOST).await;
    for _ in 0..3 {
        clock.forward(DAY / 4);
        assert!(resumed(&client, &server).await);
    }
    clock.forward(DAY / 3);
    assert!(!resumed(&client, &server).await);
    assert!(resumed(&client, &server).await, "the whole handshake begins another day");

    // The same by the sender's clock.
    let server = case.server();
    let clock = HandClock::new();
    let client = tls::client_config_at(
        &case.sender,
        case.trust.clone(),
        &[ALPN],
        EarlyData::Off,
        clock.clone(),
    );
    over_tcp(client.tcp(), client.explainer(), &server, HOST).await;
    clock.forward(DAY / 2);
    assert!(resumed(&client, &server).await);
    clock.forward(DAY * 2 / 3);
    assert!(!resumed(&client, &server).await);
}

#[tokio::test]
async fn a_sender_taken_off_the_list_resumes_nothing() {
    let case = Case::new();
    let policy = SharedPolicy::from(case.policy.clone());
    let server = server_config(&case.receiver, policy.clone(), &[ALPN], EarlyData::Off);
    let client = case.client();
    over_tcp(client.tcp(), client.explainer(), &server, HOST).await;
    assert!(resumed(&client, &server).await);
    let permit = server.admit(case.sender.chain()).unwrap();
    policy.replace(SenderPolicy::only([identity().pin()]));
    assert!(permit.is_withdrawn());
    assert!(server.admit(case.sender.chain()).is_err());
    let refused = over_tcp(client.tcp(), client.explainer(), &server, HOST).await;
    let own = case.sender.pin();
    assert_eq!(refused.sender_refusal(), HandshakeRefusal::SenderNotAllowed { own });
    // Back on the list, it is let in again.
    policy.replace(case.policy.clone());
    let back = over_tcp(client.tcp(), client.explainer(), &server, HOST).await;
    assert_eq!(back.receiver, Ok(Some(own)));
}

#[tokio::test]
async fn early_data_is_accepted_only_where_both_ask_for_it() {
    for (early_data, expected) in [(EarlyData::On, true), (EarlyData::Off, false)] {
        let case = Case::new();
        let client = client_config(&case.sender, case.trust.clone(), &[ALPN], early_data);
        let server = server_config(&case.receiver, case.policy.clone(), &[ALPN], early_data);
        let (listening, connecting) = (quic_server(&server), quic_client(&client));
        let to = listening.local_addr().unwrap();
        let (sent, received) = tokio::join!(
            quic_send(&connecting, to, client.explainer()),
            quic_receive(&listening, &server)
        );
        assert_eq!((sent, received), (Ok(()), Ok(Some(case.sender.pin()))));

        let early = connecting.connect(to, HOST).unwrap().into_0rtt();
        assert_eq!(early.is_ok(), expected);
        if let Ok((connection, accepted)) = early {
            let (accepted, sender) =
                tokio::join!(accepted, quic_receive_then(&listening, &server, &connection));
            assert!(accepted);
            assert_eq!(sender, Some(case.sender.pin()));
        }
    }
}

async fn quic_receive_then(
    listening: &quinn::Endpoint,
    server: &ServerTls,
    client: &quinn::Connection,
) -> Option<Pin> {
    let config = Arc::new(quinn::ServerConfig::with_crypto(server.quic().0));
    let connection = listening.accept().await.unwrap().accept_with(config).unwrap().await.unwrap();
    client.close(0u32.into(), b"");
    quinn_peer_pin(&connection)
}

/// A sender's certificate, which counts how often it is asked for: in a resumed handshake, never.
#[derive(Debug)]
struct Counted {
    certificate: Arc<dyn rustls::client::ResolvesClientCert>,
    asked: AtomicUsize,
}

impl rustls::client::ResolvesClientCert for Counted {
    fn resolve(
        &self,
        hints: &[&[u8]],
        schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.certificate.resolve(hints, schemes)
    }

    fn has_certs(&self) -> bool {
        self.certificate.has_certs()
    }
}

/// The same over QUIC as over TCP, and with the policy of a receiver that was started again.
#[tokio::test]
async fn over_quic_a_session_is_resumed_by_its_sender_and_refused_where_it_is_not_allowed_any_more()
{
    let case = Case::new();
    let client = case.client();
    let mut config = (*client.tcp()).clone();
    let certificate = config.client_auth_cert_resolver.clone();
    let counted = Arc::new(Counted { certificate, asked: AtomicUsize::new(0) });
    config.client_auth_cert_resolver = counted.clone();
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(Arc::new(config)).unwrap();
    let mut connecting = quic_client(&client);
    connecting.set_default_client_config(quinn::ClientConfig::new(Arc::new(config)));
    let explainer = client.explainer();

    let server = case.server();
    let listening = quic_server(&server);
    for _ in 0..3 {
        let to = listening.local_addr().unwrap();
        let (sent, received) =
            tokio::join!(quic_send(&connecting, to, explainer), quic_receive(&listening, &server));
        assert_eq!((sent, received), (Ok(()), Ok(Some(case.sender.pin()))));
    }
    assert_eq!(counted.asked.load(Ordering::Relaxed), 1, "the second and the third are resumed");

    let policy = SenderPolicy::only([identity().pin()]);
    let stricter = server_config(&case.receiver, policy, &[ALPN], EarlyData::Off);
    let listening = quic_server(&stricter);
    let to = listening.local_addr().unwrap();
    let (sent, received) =
        tokio::join!(quic_send(&connecting, to, explainer), quic_receive(&listening, &stricter));
    let own = case.sender.pin();
    assert_eq!(sent, Err(Some(HandshakeRefusal::SenderNotAllowed { own })));
    assert!(received.is_err());
    assert_eq!(counted.asked.load(Ordering::Relaxed), 2);
}
