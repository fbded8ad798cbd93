//! How links end, and how they do not begin.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::super::{TcpDial, TcpOptions};
use super::support::*;
use crate::transport::{Arrival, Dial, Intake, TransportError};
use crate::wire::{
    ALPN, ALPN_BEFORE, ALPN_SINGLE_FRAME, CloseCode, Decoded, Message, SESSION_ID_BYTES, record,
};

fn closed_with(cause: &TransportError, expected: CloseCode, words: &str) {
    match cause {
        TransportError::ClosedByPeer { code, why, .. } => {
            assert_eq!(*code, expected.number());
            assert!(why.contains(words), "{why}");
        }
        other => panic!("not closed by the peer: {other:?}"),
    }
}

#[tokio::test]
async fn what_was_queued_arrives_before_the_close() {
    for per_frame in [false, true] {
        let mut world = World::new();
        let (sender, mut receiver) = world.session(per_frame).await;
        for sequence in 0..2 {
            sender.frames.send(frame(0, sequence, 500_000)).await.unwrap();
        }
        sender.messages.send(Message::ClockProbe(1)).await.unwrap();
        let closing = tokio::spawn(async move {
            sender.end.close(CloseCode::Done, "all said").await;
            sender.end.cause().await
        });
        let (mut frames, mut messages) = (0, 0);
        while let Some(arrival) = soon("an arrival", receiver.arrivals.recv()).await {
            match arrival {
                Arrival::Frame(_) => frames += 1,
                Arrival::Message(..) => messages += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((frames, messages), (2, 1));
        closed_with(&receiver.end.cause().await, CloseCode::Done, "all said");
        assert!(matches!(closing.await.unwrap(), TransportError::Ended));
    }
}

#[tokio::test]
async fn a_receiver_closes_with_its_reason() {
    let mut world = World::new();
    let (mut sender, receiver) = world.session(false).await;
    receiver.messages.send(Message::ClockProbe(9)).await.unwrap();
    soon("closing", receiver.end.close(CloseCode::Store, "the disk is gone")).await;
    assert_eq!(soon("a message", sender.incoming.recv()).await, Some(Message::ClockProbe(9)));
    assert_eq!(soon("the end", sender.incoming.recv()).await, None);
    closed_with(&sender.end.cause().await, CloseCode::Store, "the disk is gone");
}

#[tokio::test]
async fn a_session_that_goes_away_is_noticed() {
    let mut world = World::new();
    let (sender, mut receiver) = world.session(false).await;
    drop(sender);
    closed_with(&end_of(&mut receiver).await, CloseCode::Shutdown, "dropped");
    let (sender, receiver) = world.session(false).await;
    drop(receiver);
    closed_with(&soon("the cause", sender.end.cause()).await, CloseCode::Shutdown, "dropped");
}

#[tokio::test]
async fn an_end_without_a_word_is_a_loss() {
    let mut world = World::new();
    let mut raw = world.raw(&world.sender, ALPN).await;
    raw.write_all(&record::message(&hello([1; SESSION_ID_BYTES]))).await.unwrap();
    raw.shutdown().await.unwrap();
    let cause = end_of(&mut world.accepted().await).await;
    assert!(
        matches!(&cause, TransportError::Lost { why, .. } if why.contains("between")),
        "{cause}"
    );
}

#[tokio::test]
async fn a_sender_of_an_older_version_is_told_which_is_needed() {
    use tokio::io::AsyncReadExt;
    let world = World::new();
    for alpn in ALPN_BEFORE {
        let mut raw = world.raw(&world.sender, alpn).await;
        let mut answer = Vec::new();
        soon("an answer", raw.read_to_end(&mut answer)).await.unwrap();
        let Decoded::Value(record::Record::Close { code, reason }, _) =
            record::decode(&answer).unwrap()
        else {
            panic!("no close record");
        };
        assert_eq!(code, CloseCode::Version.number());
        assert!(reason.contains("version 2"), "{reason}");
    }
}

#[tokio::test]
async fn a_refused_certificate_is_a_refusal() {
    let world = World::new();
    let stranger = Identity::new();
    let cause = match soon("dialling", world.dial(&stranger).dial()).await {
        Err(error) => error,
        Ok(link) => {
            // TLS 1.3: the refusal comes after the handshake.
            let _ = link.messages.send(hello([1; SESSION_ID_BYTES])).await;
            soon("the cause", link.end.cause()).await
        }
    };
    assert!(matches!(cause, TransportError::Refused(_)), "{cause:?}");
    assert!(!cause.may_pass());
}

#[tokio::test]
async fn each_connection_is_explained_by_its_own_verifier() {
    let mut world = World::new();
    for number in 0..2 {
        // In TLS 1.3 a client that is refused may have taken the handshake for done.
        let _link = soon("dialling", world.dial(&Identity::new()).dial()).await;
        assert_eq!(soon("a reason", world.explained.recv()).await, Some(number));
    }
}

#[tokio::test]
async fn a_full_receiver_says_so() {
    let mut world = World::with(Intake { max_sessions: 1, ..intake() }, options());
    let (sender, receiver) = world.session(false).await;
    let second = soon("dialling", world.dial(&world.other).dial()).await.unwrap();
    let cause = soon("the cause", second.end.cause()).await;
    closed_with(&cause, CloseCode::Busy, "limit of 1");
    assert!(cause.may_pass());
    soon("closing", sender.end.close(CloseCode::Done, "")).await;
    soon("the end", receiver.end.cause()).await;
    let (_sender, _receiver) = world.session(false).await;
}

/// Somebody else's program at `address`.
fn dial_to(world: &World, address: SocketAddr, handshake: Duration) -> TcpDial {
    let options = TcpOptions { handshake, ..options() };
    TcpDial::new(address, name(), &world.client_tls(&world.sender), classify(), options)
}

#[tokio::test]
async fn nobody_there_is_no_connection() {
    let world = World::new();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = dial_to(&world, free, Duration::from_secs(5)).dial().await.unwrap_err();
    assert!(matches!(error, TransportError::Connect { .. }), "{error:?}");
    assert!(error.to_string().contains("`transport` tcp"), "{error}");
}

#[tokio::test]
async fn a_silent_port_is_no_answer() {
    let world = World::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let error = dial_to(&world, address, Duration::from_millis(200)).dial().await.unwrap_err();
    assert!(matches!(error, TransportError::NoAnswer { .. }), "{error:?}");
}

#[tokio::test]
async fn a_port_without_tls_is_a_connection_that_was_lost() {
    let world = World::new();
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut socket, _) = other.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        socket
    });
    let error = dial_to(&world, address, Duration::from_secs(5)).dial().await.unwrap_err();
    assert!(error.may_pass() && error.to_string().contains("no TLS handshake"), "{error:?}");
    drop(serving.await.unwrap());
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let world = World::new();
    let Err(error) = super::super::socket::bind(world.listener.address, false) else {
        panic!("two listeners on one port");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn congestion_control_is_chosen_by_name() {
    let world = World::new();
    let choose = |name: &str| {
        let options = TcpOptions { congestion: Some(name.to_owned()), ..options() };
        let tls = world.client_tls(&world.sender);
        TcpDial::new(world.listener.address, super::support::name(), &tls, classify(), options)
    };
    soon("dialling", choose("reno").dial()).await.unwrap();
    let error = soon("dialling", choose("nonsense").dial()).await.unwrap_err().to_string();
    assert!(error.contains("nonsense") && error.contains("this kernel has"), "{error}");
}

/// What a connection for one frame is answered.
async fn answer(world: &World, identity: &Identity, session: [u8; 16]) -> record::Record {
    use tokio::io::AsyncReadExt;
    let mut raw = world.raw(identity, ALPN_SINGLE_FRAME).await;
    let mut bytes = session.to_vec();
    bytes.extend_from_slice(&record::frame(&header(0, 5, 3)).unwrap());
    bytes.extend_from_slice(b"abc");
    raw.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    soon("an answer", raw.read_to_end(&mut answer)).await.unwrap();
    match record::decode(&answer).unwrap() {
        crate::wire::Decoded::Value(record, _) => record,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_frame_joins_only_its_own_session() {
    let mut world = World::new();
    let (_sender, mut receiver) = world.session(true).await;
    let done = record::Record::Close { code: CloseCode::Done.number(), reason: String::new() };
    assert_ne!(answer(&world, &world.sender, [8; 16]).await, done, "an unknown session");
    assert_ne!(answer(&world, &world.other, [7; 16]).await, done, "another sender");
    assert_eq!(answer(&world, &world.sender, [7; 16]).await, done);
    assert_eq!(&arrived(&mut receiver).await.frame.body[..], b"abc");
}

#[tokio::test]
async fn a_session_cannot_be_taken_over_by_another_sender() {
    let mut world = World::new();
    let (_sender, _receiver) = world.session(true).await;
    let thief = soon("dialling", world.dial(&world.other).dial()).await.unwrap();
    thief.messages.send(hello([7; SESSION_ID_BYTES])).await.unwrap();
    let cause = soon("the cause", thief.end.cause()).await;
    closed_with(&cause, CloseCode::Protocol, "another sender");
}

#[tokio::test]
async fn frames_are_lost_with_the_receiver() {
    let mut world = World::new();
    let (sender, receiver) = world.session(true).await;
    receiver.end.close(CloseCode::Shutdown, "bye").await;
    closed_with(&soon("the cause", sender.end.cause()).await, CloseCode::Shutdown, "bye");
}

#[tokio::test]
async fn a_stopped_listener_keeps_its_port_for_the_frames_of_open_sessions() {
    let mut world = World::new();
    let (sender, mut receiver) = world.session(true).await;
    drop(world.listener.stop.take());
    assert!(soon("the last link", world.listener.links.recv()).await.is_none());
    let late = soon("dialling", world.dial(&world.other).dial()).await.unwrap();
    closed_with(&soon("the cause", late.end.cause()).await, CloseCode::Shutdown, "stopping");
    sender.frames.send(frame(0, 1, 1_000)).await.unwrap();
    arrived(&mut receiver).await;
    soon("closing", sender.end.close(CloseCode::Done, "")).await;
    soon("the end", end_of(&mut receiver)).await;
    let rebound = async {
        while super::super::socket::bind(world.listener.address, false).is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon("the port", rebound).await;
}
