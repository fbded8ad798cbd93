//! A close that is lost on its way.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use super::{LastSession, QuicDial, QuicListen, listen};
use crate::congestion::Congestion;
use crate::frame::ByteSize;
use crate::identity::{
    DEFAULT_DAYS, EarlyData, Identity, NewCertificate, ReceiverAddress, ReceiverTrust,
    SenderPolicy, client_config, server_config,
};
use crate::repair::RepairMode;
use crate::transport::{Arrival, Dial, Intake, MemoryBudget, ReceiverLink, TransportError};
use crate::wire::{ALPN, CloseCode, Message};

/// Each datagram to the receiver waits for up to this long, so that probe timeouts are a multiple of it and
/// a machine that is busy elsewhere is not what the test measures.
const DELAY: Duration = Duration::from_millis(150);
/// Far above what any step takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the test and the relay tell each other.
#[derive(Default)]
struct Loss {
    loses: AtomicBool,
    lost: AtomicUsize,
    ended: AtomicBool,
}

/// Forwards datagrams to the receiver and back; those to the receiver are lost as long as [`Loss`] says so.
fn relay(receiver: SocketAddr, loss: &Arc<Loss>) -> SocketAddr {
    let socket = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (near, far) = (socket(), socket());
    far.connect(receiver).unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_read_timeout(Some(DELAY)).unwrap();
    let address = near.local_addr().unwrap();
    let (near, far, loss) = (Arc::new(near), Arc::new(far), loss.clone());
    let (sender, answers) = std::sync::mpsc::channel();
    let (back_near, back_far, back_loss) = (near.clone(), far.clone(), loss.clone());
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        let mut known = None;
        while !loss.ended.load(Ordering::Relaxed) {
            thread::sleep(DELAY);
            while let Ok((length, from)) = near.recv_from(&mut buffer) {
                if known.replace(from).is_none() {
                    let _ = sender.send(from);
                }
                match loss.loses.load(Ordering::SeqCst) {
                    true => _ = loss.lost.fetch_add(1, Ordering::SeqCst),
                    false => _ = far.send(&buffer[..length]),
                }
            }
        }
    });
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        let Ok(sender) = answers.recv() else { return };
        while !back_loss.ended.load(Ordering::Relaxed) {
            if let Ok(length) = back_far.recv(&mut buffer) {
                let _ = back_near.send_to(&buffer[..length], sender);
            }
        }
    });
    address
}

fn identity() -> Identity {
    let new = NewCertificate { names: vec![], days: DEFAULT_DAYS, now: SystemTime::now() };
    Identity::generate(&new).unwrap()
}

/// A sender of one message that closes and ends, on a runtime of its own as a process has.
fn send(dial: &QuicDial, loss: &Loss) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut link = dial.dial().await.unwrap();
        link.messages.send(Message::ClockProbe(1)).await.unwrap();
        link.incoming.recv().await.expect("an answer");
        loss.loses.store(true, Ordering::SeqCst);
        link.end.close(CloseCode::Done, "done").await;
        let _ = tokio::time::timeout(PATIENCE, dial.linger()).await;
    });
    runtime.shutdown_background();
}

/// Says something now and then, as a receiver does whose last message is not acknowledged, from when
/// the close is lost; tells how the session ended.
async fn receive(mut link: ReceiverLink, loss: &Loss) -> TransportError {
    let probe = link.arrivals.recv().await;
    assert!(matches!(probe, Some(Arrival::Message(Message::ClockProbe(1), _))), "{probe:?}");
    let reply = || Message::ClockReply { asked: 1, arrived: 2, replied: 3 };
    link.messages.send(reply()).await.unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let mut said = 0;
    loop {
        tokio::select! {
            cause = link.end.cause() => return cause,
            _ = tick.tick() => {}
        }
        if loss.lost.load(Ordering::SeqCst) > 0 {
            let _ = link.messages.send(reply()).await;
            said += 1;
            loss.loses.store(said < 5, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_that_is_lost_is_said_again_before_the_sender_has_ended() {
    let (receiver, sender) = (identity(), identity());
    let congestion = Congestion::default().factory();
    let mut listener = listen(QuicListen {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        tls: server_config(&receiver, SenderPolicy::Any, &[ALPN], EarlyData::Off),
        congestion: congestion.clone(),
        intake: Intake {
            max_frame: ByteSize(1 << 20),
            budget: MemoryBudget::new(ByteSize(1 << 20)),
            stall: PATIENCE,
            max_sessions: 1,
            voice: crate::transport::Voice::default(),
        },
    })
    .unwrap();
    let loss = Arc::new(Loss::default());
    let address = relay(listener.address, &loss);
    let trust = ReceiverTrust::pinned(ReceiverAddress::from(address), receiver.pin());
    let dial = QuicDial {
        leave: crate::transport::leave::Leave::ByRoute,
        address,
        server_name: "localhost".to_owned(),
        tls: client_config(&sender, trust, &[ALPN], EarlyData::Off),
        congestion,
        repair: RepairMode::Off,
        last: LastSession::default(),
    };
    let lost = loss.clone();
    let sending = thread::spawn(move || send(&dial, &lost));
    let link = listener.links.recv().await.unwrap();
    let cause = tokio::time::timeout(PATIENCE, receive(link, &loss)).await.expect("an end");
    assert!(matches!(cause, TransportError::ClosedByPeer { code: 0, .. }), "{cause:?}");
    assert!(loss.lost.load(Ordering::SeqCst) > 0);
    sending.join().unwrap();
    loss.ended.store(true, Ordering::Relaxed);
}
