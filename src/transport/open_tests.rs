use std::net::Ipv4Addr;
use std::time::SystemTime;

use tokio::net::TcpListener;

use super::*;
use crate::congestion::Congestion;
use crate::identity::{DEFAULT_DAYS, EarlyData, Identity, NewCertificate, ReceiverTrust};

type Answer = Result<Vec<SocketAddr>, TransportError>;

/// The transport that needs no other end to have a session.
fn setup(addresses: Vec<SocketAddr>) -> DialSetup {
    let new = NewCertificate { names: vec![], days: DEFAULT_DAYS, now: SystemTime::now() };
    let identity = Identity::generate(&new).unwrap();
    let receiver: ReceiverAddress = "receiver.invalid:4433".parse().unwrap();
    let trust = ReceiverTrust::pinned(receiver.clone(), identity.pin());
    DialSetup {
        transport: Transport::StopAndWait,
        addresses,
        host: receiver.host().to_owned(),
        tls: crate::identity::client_config(&identity, trust, &[], EarlyData::Off),
        congestion: Congestion::default().factory(),
        repair: RepairMode::Off,
        tcp: TcpOptions::default(),
        stop_and_wait: SenderSettings::default(),
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn a_receiver_that_has_moved_is_found_by_its_name() {
    let ((old, before), (new, now)) = (listener().await, listener().await);
    let answer: Arc<Mutex<Answer>> = Arc::new(Mutex::new(Ok(vec![now])));
    let answers = answer.clone();
    let look_up: LookUp = Box::new(move || {
        let answer = answers.lock().unwrap().clone();
        Box::pin(std::future::ready(answer))
    });
    let dial = ByName::new(setup(vec![before]), look_up);
    // The first session is with the addresses given: they have just been looked up.
    let _first = dial.dial().await.unwrap();
    old.accept().await.unwrap();
    drop(old);
    let _second = dial.dial().await.unwrap();
    new.accept().await.unwrap();
    // Without a name service the receiver is where it was.
    let why = "no name service".to_owned();
    *answer.lock().unwrap() = Err(TransportError::Resolve { host: "receiver".to_owned(), why });
    let _third = dial.dial().await.unwrap();
    new.accept().await.unwrap();
    assert!(!dial.proves_content());
}

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
        })
        .unwrap();
        let ended = timeout(Duration::from_millis(300), listener.links.recv()).await;
        assert!(ended.is_err(), "the listener of {transport} is dead");
    }
}
