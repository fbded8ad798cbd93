//! What outlives a connection, and what does not.

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
        SenderPolicy::from_iter([Allow::Pin(identity().pin())]),
        &[ALPN],
        EarlyData::Off,
    );
    let refused = over_tcp(client.tcp(), client.explainer(), &stricter, HOST).await;
    assert!(matches!(refused.sender_refusal(), HandshakeRefusal::SenderNotAllowed { .. }));
}

/// Connects once more, and tells whether without certificates.
async fn resumed(client: &ClientTls, server: &ServerTls) -> bool {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (config, _) = server.tcp();
    let receiver = async {
        let mut stream = TlsAcceptor::from(config).accept(far).await.unwrap();
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
