//! What a session says and hears on its stream, over QUIC on this machine.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quinn::{ClientConfig, Endpoint, VarInt};
use tokio::time::timeout;

use super::*;
use crate::congestion::Congestion;
use crate::frame::{ByteSize, ContentHash, FrameMeta, FrameName, Sequence};
use crate::identity::{
    DEFAULT_DAYS, EarlyData, Identity, NewCertificate, ReceiverAddress, ReceiverTrust,
    SenderPolicy, client_config, server_config,
};
use crate::repair::RepairMode;
use crate::transport::long_offer::long_offer;
use crate::transport::{
    Arrival, Dial, Intake, Listener, MESSAGE_QUEUE, MemoryBudget, ReceiverLink, SenderLink,
};
use crate::wire::{ALPN, FrameHeader, SourceId};

/// Longer than anything here takes; reaching it is a failure, not a delay.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} took too long"))
}

/// A receiver, and the identity of a sender that it lets in.
struct World {
    listener: Listener,
    intake: Intake,
    tls: crate::identity::ClientTls,
}

impl World {
    fn new() -> Self {
        Self::with_stall(Duration::from_secs(10))
    }

    fn with_stall(stall: Duration) -> Self {
        let new = NewCertificate { names: Vec::new(), days: DEFAULT_DAYS, now: SystemTime::now() };
        Self::of(stall, &Identity::generate(&new).unwrap())
    }

    fn of(stall: Duration, receiver: &Identity) -> Self {
        let new = NewCertificate { names: Vec::new(), days: DEFAULT_DAYS, now: SystemTime::now() };
        let sender = Identity::generate(&new).unwrap();
        let intake = Intake {
            max_frame: ByteSize(4 << 20),
            budget: MemoryBudget::new(ByteSize(16 << 20)),
            stall,
            max_sessions: 8,
            voice: crate::transport::Voice::default(),
        };
        let listener = listen(QuicListen {
            address: ([127, 0, 0, 1], 0).into(),
            tls: server_config(receiver, SenderPolicy::Local, &[ALPN], EarlyData::Off),
            congestion: Congestion::default().factory(),
            intake: intake.clone(),
        })
        .unwrap();
        let trust = ReceiverTrust::pinned(ReceiverAddress::from(listener.address), receiver.pin());
        let tls = client_config(&sender, trust, &[ALPN], EarlyData::Off);
        Self { listener, intake, tls }
    }

    /// Both ends of a session on which a clock probe has been said.
    async fn session(&mut self) -> (SenderLink, ReceiverLink) {
        let dial = self.dial(self.listener.address);
        let sender = soon("dialling", dial.dial()).await.unwrap();
        sender.messages.send(Message::ClockProbe(1)).await.unwrap();
        (sender, self.accepted().await)
    }

    fn dial(&self, address: std::net::SocketAddr) -> QuicDial {
        QuicDial {
            leave: crate::transport::leave::Leave::ByRoute,
            address,
            server_name: "localhost".to_owned(),
            tls: self.tls.clone(),
            congestion: Congestion::default().factory(),
            repair: RepairMode::Off,
            last: super::dial::LastSession::default(),
        }
    }

    /// The receiver's end of a session, whose first message has been taken.
    async fn accepted(&mut self) -> ReceiverLink {
        let mut receiver = soon("accepting", self.listener.links.recv()).await.unwrap();
        let arrival = soon("a message", receiver.arrivals.recv()).await;
        assert!(matches!(arrival, Some(Arrival::Message(..))), "{arrival:?}");
        receiver
    }

    /// A connection to do anything with, and what keeps it.
    async fn raw(&self) -> (Endpoint, quinn::Connection) {
        let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
        let mut config = ClientConfig::new(self.tls.quic());
        config.transport_config(settings::transport(Congestion::default().factory()));
        let connecting = endpoint.connect_with(config, self.listener.address, "localhost").unwrap();
        let connection = soon("the handshake", connecting).await.unwrap();
        (endpoint, connection)
    }
}

#[tokio::test]
async fn what_a_receiver_said_last_arrives_before_its_close() {
    let mut world = World::new();
    let (mut sender, receiver) = world.session().await;
    for count in 0..MESSAGE_QUEUE as u64 {
        receiver.messages.send(Message::ClockProbe(count)).await.unwrap();
    }
    drop(receiver.messages);
    soon("closing", receiver.end.close(CloseCode::Shutdown, "bye")).await;
    for count in 0..MESSAGE_QUEUE as u64 {
        let heard = soon("a message", sender.incoming.recv()).await;
        assert_eq!(heard, Some(Message::ClockProbe(count)));
    }
    assert_eq!(soon("the end", sender.incoming.recv()).await, None);
    let cause = sender.end.cause().await;
    assert!(
        matches!(&cause, TransportError::ClosedByPeer { code: 1, why, .. } if why == "\"bye\""),
        "{cause:?}"
    );
}

fn frame(number: u64, body: &bytes::Bytes) -> crate::transport::OutgoingFrame {
    let name = FrameName::parse(&format!("{number}.bin")).unwrap();
    let meta = FrameMeta {
        sequence: Sequence(number),
        media: name.media_type(),
        name,
        bytes: body.len() as u64,
        hash: Some(ContentHash::from_bytes([0; 32])),
        captured: None,
        due: None,
        modified: None,
    };
    crate::transport::OutgoingFrame {
        header: FrameHeader { source: SourceId(0), meta, repair: None },
        body: body.clone(),
        priority: 0,
        late: None,
        deadline: None,
        moot: None,
    }
}

/// Though it takes nothing, and no question of the session's would leave any more.
#[tokio::test]
async fn a_receiver_without_room_is_heard_all_the_same() {
    let mut world = World::new();
    let (sender, receiver) = world.session().await;
    receiver.sources.set(1);
    let body = bytes::Bytes::from(vec![7; 100_000]);
    // Into the queue of the session that takes none, the memory, and the credit.
    let mut number = 0;
    while timeout(Duration::from_millis(300), sender.frames.send(frame(number, &body)))
        .await
        .is_ok()
    {
        number += 1;
        assert!(number < 2_000, "the receiver takes all");
    }
    let mut before = sender.path.look();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = sender.path.look();
        assert!(now.datagrams_received > before.datagrams_received, "{now:?}");
        before = now;
    }
    drop(receiver);
}

#[tokio::test]
async fn a_receiver_that_has_said_all_does_not_wait_to_close() {
    let mut world = World::new();
    let (sender, receiver) = world.session().await;
    // Somebody still has a way to say more: the link cannot know that nobody will.
    let (end, _messages) = (receiver.end, receiver.messages);
    let before = tokio::time::Instant::now();
    soon("closing", end.close(CloseCode::Protocol, "nonsense")).await;
    assert!(before.elapsed() < settings::LAST_WORDS, "it waited for the peer that it blames");
    let cause = soon("the cause", sender.end.cause()).await;
    assert!(matches!(cause, TransportError::ClosedByPeer { code: 2, .. }), "{cause:?}");
}

#[tokio::test]
async fn a_peer_that_stops_the_receivers_messages_ends_its_session() {
    let mut world = World::new();
    let (_endpoint, connection) = world.raw().await;
    let (mut out, mut input) = soon("the session's stream", connection.open_bi()).await.unwrap();
    out.write_all(&Message::ClockProbe(1).encode()).await.unwrap();
    let mut receiver = world.accepted().await;
    // Nothing is said to it meanwhile, so that no write can fail.
    input.stop(VarInt::from_u32(0)).unwrap();
    match soon("the end", connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => {
            assert_eq!(u64::from(close.error_code), CloseCode::Protocol.number());
            let why = String::from_utf8_lossy(&close.reason).into_owned();
            assert!(why.contains("messages are not taken"), "{why}");
        }
        other => panic!("{other}"),
    }
    let end = async { while receiver.arrivals.recv().await.is_some() {} };
    soon("the end of the arrivals", end).await;
    soon("the cause", receiver.end.cause()).await;
}

#[tokio::test]
async fn long_messages_wait_within_the_memory_budget() {
    let mut world = World::new();
    let (sender, mut receiver) = world.session().await;
    sender.messages.send(long_offer()).await.unwrap();
    let Some(Arrival::Message(message, claim)) = soon("an offer", receiver.arrivals.recv()).await
    else {
        panic!("no offer");
    };
    assert_eq!(message, long_offer());
    let held = world.intake.budget.in_use();
    assert!(held >= message.encode().len() as u64, "{held} bytes are held");
    drop(claim);
    assert_eq!(world.intake.budget.in_use(), 0);
}

#[tokio::test]
async fn a_long_message_that_does_not_go_on_ends_its_session() {
    let mut world = World::with_stall(Duration::from_millis(200));
    let (_endpoint, connection) = world.raw().await;
    let (mut out, _input) = soon("the session's stream", connection.open_bi()).await.unwrap();
    out.write_all(&Message::ClockProbe(1).encode()).await.unwrap();
    let _receiver = world.accepted().await;
    out.write_all(&long_offer().encode()[..10]).await.unwrap();
    match soon("the end", connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => {
            assert_eq!(u64::from(close.error_code), CloseCode::Stalled.number());
        }
        other => panic!("{other}"),
    }
    let memory_is_back = async {
        while world.intake.budget.in_use() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the memory", memory_is_back).await;
}

/// A frame a minute over a thin link is judged by its own time, and not by the quiet before it.
#[tokio::test]
async fn a_frame_that_begins_after_a_pause_has_the_whole_stall_time() {
    const STALL: Duration = Duration::from_secs(1);
    let mut world = World::with_stall(STALL);
    let (_endpoint, connection) = world.raw().await;
    let (mut out, _input) = soon("the session's stream", connection.open_bi()).await.unwrap();
    out.write_all(&Message::ClockProbe(1).encode()).await.unwrap();
    let _receiver = world.accepted().await;
    // Towards the end of a period in which nothing was open.
    tokio::time::sleep(STALL * 9 / 10).await;
    let opened = tokio::time::Instant::now();
    let mut stream = soon("a stream", connection.open_uni()).await.unwrap();
    stream.write_all(&[crate::wire::HEADER_VERSION]).await.unwrap();
    match soon("the end", connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => {
            assert_eq!(u64::from(close.error_code), CloseCode::Stalled.number());
        }
        other => panic!("{other}"),
    }
    assert!(opened.elapsed() > STALL * 9 / 10, "it was ended after {:?}", opened.elapsed());
}

/// Forwards datagrams to a receiver and back, each after `delay`, and nothing back once that is said.
async fn a_long_way(
    receiver: std::net::SocketAddr,
    delay: Duration,
) -> (std::net::SocketAddr, tokio::sync::watch::Sender<bool>) {
    use tokio::net::UdpSocket;
    use tokio::sync::mpsc;
    use tokio::time::{Instant, sleep_until};

    let bind = async || Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let (near, far) = (bind().await, bind().await);
    far.connect(receiver).await.unwrap();
    let address = near.local_addr().unwrap();
    let (shut, is_shut) = tokio::sync::watch::channel(false);
    let (found, mut sender) = tokio::sync::watch::channel(None);
    let (there, mut going) = mpsc::unbounded_channel();
    let (back, mut returning) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let (from_sender, from_receiver) = (near.clone(), far.clone());
    tokio::spawn(async move {
        let mut bytes = vec![0; 65_536];
        while let Ok((length, from)) = from_sender.recv_from(&mut bytes).await {
            found.send_replace(Some(from));
            let _ = there.send((Instant::now() + delay, bytes[..length].to_vec()));
        }
    });
    tokio::spawn(async move {
        let mut bytes = vec![0; 65_536];
        while let Ok(length) = from_receiver.recv(&mut bytes).await {
            if !*is_shut.borrow() {
                let _ = back.send((Instant::now() + delay, bytes[..length].to_vec()));
            }
        }
    });
    tokio::spawn(async move {
        while let Some((at, bytes)) = going.recv().await {
            sleep_until(at).await;
            let _ = far.send(&bytes).await;
        }
    });
    tokio::spawn(async move {
        while let Some((at, bytes)) = returning.recv().await {
            sleep_until(at).await;
            let to = *sender.wait_for(Option::is_some).await.unwrap();
            let _ = near.send_to(&bytes, to.unwrap()).await;
        }
    });
    (address, shut)
}

/// A camera's first frames over a long path are there before the receiver can give credit for what it has read.
#[tokio::test]
async fn what_may_be_under_way_at_first_grows_with_the_path() {
    let mut world = World::new();
    let (way, shut) = a_long_way(world.listener.address, Duration::from_millis(150)).await;
    let mut sender = soon("dialling", world.dial(way).dial()).await.unwrap();
    sender.messages.send(Message::ClockProbe(1)).await.unwrap();
    let mut receiver = world.accepted().await;
    receiver.sources.set(1);
    receiver.messages.send(Message::ClockProbe(2)).await.unwrap();
    assert_eq!(soon("an answer", sender.incoming.recv()).await, Some(Message::ClockProbe(2)));
    // From now on no credit comes.
    shut.send_replace(true);
    let body = bytes::Bytes::from(vec![7; 100_000]);
    let sending = async {
        for number in 0..6 {
            sender.frames.send(frame(number, &body)).await.unwrap();
        }
        std::future::pending::<()>().await
    };
    let arriving = async {
        for number in 0..6 {
            let arrival = soon("a frame", receiver.arrivals.recv()).await;
            assert!(matches!(arrival, Some(Arrival::Frame(..))), "{number}: {arrival:?}");
        }
    };
    tokio::select! {
        () = sending => {}
        () = arriving => {}
    }
}

/// Forwards datagrams from a sender to one receiver until that has answered, and all that follows to another, as where
/// the first was killed just then and started again.
async fn way_to_a_receiver_that_is_started_again(
    first: std::net::SocketAddr,
    second: std::net::SocketAddr,
) -> std::net::SocketAddr {
    use tokio::net::UdpSocket;

    let bind = async || UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (near, to_first, to_second) = (bind().await, bind().await, bind().await);
    to_first.connect(first).await.unwrap();
    to_second.connect(second).await.unwrap();
    let address = near.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
        let (mut again, mut sender) = (false, None);
        let mut back_again = vec![0; 65_536];
        loop {
            tokio::select! {
                Ok((bytes, from)) = near.recv_from(&mut there) => {
                    sender = Some(from);
                    let receiver = if again { &to_second } else { &to_first };
                    let _ = receiver.send(&there[..bytes]).await;
                }
                // All of the first one's answer goes through, which may be several datagrams.
                Ok(bytes) = to_first.recv(&mut back) => {
                    let Some(sender) = sender else { continue };
                    let _ = near.send_to(&back[..bytes], sender).await;
                    again = true;
                }
                Ok(bytes) = to_second.recv(&mut back_again) => {
                    let Some(sender) = sender else { continue };
                    let _ = near.send_to(&back_again[..bytes], sender).await;
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn a_receiver_that_was_killed_in_the_handshake_is_not_waited_for() {
    let new = NewCertificate { names: Vec::new(), days: DEFAULT_DAYS, now: SystemTime::now() };
    let receiver = Identity::generate(&new).unwrap();
    let mut world = World::of(Duration::from_secs(10), &receiver);
    let killed = World::of(Duration::from_secs(10), &receiver);
    let (first, second) = (killed.listener.address, world.listener.address);
    let way = way_to_a_receiver_that_is_started_again(first, second).await;
    let dial = world.dial(way);
    let sender = soon("dialling", dial.dial()).await.unwrap();
    sender.messages.send(Message::ClockProbe(1)).await.unwrap();
    let cause = soon("the end of the first connection", sender.end.cause()).await;
    assert!(cause.may_pass(), "{cause}");
    assert!(cause.to_string().contains("of the handshake"), "{cause}");
    // The next one is heard, and stays.
    let sender = soon("dialling again", dial.dial()).await.unwrap();
    sender.messages.send(Message::ClockProbe(1)).await.unwrap();
    let _receiver = world.accepted().await;
    let waits = timeout(settings::CONFIRM_TIMEOUT + Duration::from_secs(1), sender.end.cause());
    assert!(waits.await.is_err(), "it has ended");
}
