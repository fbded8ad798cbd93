use super::*;

#[tokio::test]
async fn any_number_of_sessions_can_be_allowed() {
    let place = tempfile::tempdir().unwrap();
    let now = std::time::SystemTime::now();
    let new = crate::identity::NewCertificate { names: vec![], days: 1, now };
    let identity = crate::identity::Identity::create(place.path(), &new, true).unwrap();
    for transport in Transport::ALL {
        let intake = Intake {
            max_frame: crate::frame::ByteSize(1 << 20),
            budget: crate::transport::MemoryBudget::new(crate::frame::ByteSize(1 << 20)),
            stall: Duration::from_secs(30),
            max_sessions: usize::MAX,
            voice: crate::transport::Voice::default(),
        };
        let mut listener = listen(ListenSetup {
            transport,
            address: ([127, 0, 0, 1], 0).into(),
            tls: crate::identity::server_config(
                &identity,
                crate::identity::SenderPolicy::Any,
                &[crate::wire::ALPN],
                crate::identity::EarlyData::Off,
            ),
            congestion: crate::congestion::Congestion::default().factory(),
            intake,
            tcp: TcpOptions::default(),
        })
        .unwrap();
        let ended = timeout(Duration::from_millis(300), listener.links.recv()).await;
        assert!(ended.is_err(), "the listener of {transport} is dead");
    }
}
