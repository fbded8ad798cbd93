//! Peers that break the protocol, by mistake or on purpose. The receiver goes on serving others.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::TcpOptions;
use super::super::settings::{CONNECTION_BYTES, DISCARD_MULTIPLE, FIRST_BODY_BYTES, FRAME_BYTES};
use super::super::socket::Stream;
use super::support::*;
use crate::frame::ByteSize;
use crate::transport::long_offer::long_offer;
use crate::transport::{Arrival, Intake, ReceiverLink, TransportError};
use crate::wire::{
    ALPN, CloseCode, Decoded, MAX_HEADER_BYTES, Message, RefusalCode, RepairLayout,
    SESSION_ID_BYTES, record, record::Record,
};

fn world(stall: Duration) -> World {
    World::with(Intake { max_frame: ByteSize(100_000), stall, ..intake() }, options())
}

/// A session of a peer that can say anything.
async fn opened(world: &mut World) -> (Stream, ReceiverLink) {
    let mut raw = world.raw(&world.sender, ALPN).await;
    raw.write_all(&record::message(&hello([3; SESSION_ID_BYTES]))).await.unwrap();
    let mut receiver = world.accepted().await;
    message(&mut receiver).await;
    receiver.sources.set(3);
    (raw, receiver)
}

/// The session ends for `code`, says so to the peer, and others are served.
async fn ends_with(
    world: &mut World,
    mut raw: Stream,
    mut receiver: ReceiverLink,
    code: CloseCode,
) {
    let reading = async {
        let mut said = Vec::new();
        let _ = raw.read_to_end(&mut said).await;
        said
    };
    let (cause, said) = tokio::join!(end_of(&mut receiver), soon("the peer's end", reading));
    match code {
        CloseCode::Protocol => {
            assert!(matches!(cause, TransportError::Protocol { .. }), "{cause:?}");
        }
        _ => assert!(matches!(cause, TransportError::Lost { .. }), "{cause:?}"),
    }
    match record::decode(&said).unwrap() {
        Decoded::Value(Record::Close { code: told, .. }, _) => assert_eq!(told, code.number()),
        other => panic!("the peer was told {other:?}"),
    }
    goes_on(world).await;
}

async fn goes_on(world: &mut World) {
    let (sender, mut receiver) = world.session(false).await;
    sender.frames.send(frame(0, 1, 1_000)).await.unwrap();
    arrived(&mut receiver).await;
    assert!(world.intake.budget.in_use() <= 2 * CONNECTION_BYTES, "memory is held");
}

const PATIENT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn garbage_instead_of_tls() {
    let mut world = world(PATIENT);
    let mut socket = TcpStream::connect(world.listener.address).await.unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let _ = soon("its end", socket.read_to_end(&mut Vec::new())).await;
    goes_on(&mut world).await;
}

#[tokio::test]
async fn garbage_instead_of_records() {
    let mut world = world(PATIENT);
    let (mut raw, receiver) = opened(&mut world).await;
    raw.write_all(&[0xee; 5_000]).await.unwrap();
    ends_with(&mut world, raw, receiver, CloseCode::Protocol).await;
}

#[tokio::test]
async fn a_header_that_is_too_long() {
    let mut world = world(PATIENT);
    let (mut raw, receiver) = opened(&mut world).await;
    let length = (MAX_HEADER_BYTES as u16).to_be_bytes();
    raw.write_all(&[2, 1, length[0], length[1]]).await.unwrap();
    ends_with(&mut world, raw, receiver, CloseCode::Protocol).await;
}

#[tokio::test]
async fn a_header_of_another_version() {
    let mut world = world(PATIENT);
    let (mut raw, receiver) = opened(&mut world).await;
    raw.write_all(&[2, 77]).await.unwrap();
    ends_with(&mut world, raw, receiver, CloseCode::Protocol).await;
}

#[tokio::test]
async fn repair_where_there_is_none() {
    let mut world = world(PATIENT);
    let (mut raw, receiver) = opened(&mut world).await;
    let mut header = header(0, 1, 10);
    header.repair = Some(RepairLayout { shard_bytes: 100, repair_shards: 1 });
    raw.write_all(&record::frame(&header).unwrap()).await.unwrap();
    ends_with(&mut world, raw, receiver, CloseCode::Protocol).await;
}

#[tokio::test]
async fn refused_frames_leave_the_session_whole() {
    let mut world = world(PATIENT);
    let (mut raw, mut receiver) = opened(&mut world).await;
    let cases = [(0, 100_001, RefusalCode::TooLarge), (3, 10, RefusalCode::UnknownSource)];
    for (source, length, expected) in cases {
        raw.write_all(&record::frame(&header(source, 4, length)).unwrap()).await.unwrap();
        raw.write_all(&vec![1; length as usize]).await.unwrap();
        raw.write_all(&record::message(&Message::ClockProbe(1))).await.unwrap();
        match arrival(&mut receiver).await {
            Arrival::Refused { frame: Some((of, sequence)), code, reason } => {
                assert_eq!((of.0, sequence.0, code), (source, 4, expected), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(message(&mut receiver).await, Message::ClockProbe(1));
    }
}

#[tokio::test]
async fn a_frame_beyond_all_measure_ends_the_session() {
    let mut world = world(PATIENT);
    let (mut raw, mut receiver) = opened(&mut world).await;
    let header = header(0, 4, 100_000 * DISCARD_MULTIPLE + 1);
    raw.write_all(&record::frame(&header).unwrap()).await.unwrap();
    match arrival(&mut receiver).await {
        Arrival::Refused { code, .. } => assert_eq!(code, RefusalCode::TooLarge),
        other => panic!("{other:?}"),
    }
    ends_with(&mut world, raw, receiver, CloseCode::Protocol).await;
}

#[tokio::test]
async fn a_body_that_is_cut_short() {
    let mut world = world(PATIENT);
    let (mut raw, mut receiver) = opened(&mut world).await;
    raw.write_all(&record::frame(&header(0, 4, 90_000)).unwrap()).await.unwrap();
    raw.write_all(&[1; 50_000]).await.unwrap();
    raw.shutdown().await.unwrap();
    let cause = end_of(&mut receiver).await;
    assert!(
        matches!(&cause, TransportError::Lost { why, .. } if why.contains("middle")),
        "{cause}"
    );
    goes_on(&mut world).await;
}

#[tokio::test]
async fn much_announced_and_little_sent_holds_little_memory() {
    let mut world = World::new();
    let (mut raw, mut receiver) = opened(&mut world).await;
    raw.write_all(&record::message(&Message::ClockProbe(1))).await.unwrap();
    raw.write_all(&record::frame(&header(0, 4, 4 << 20)).unwrap()).await.unwrap();
    raw.write_all(&[1; 30_000]).await.unwrap();
    message(&mut receiver).await;
    // The rest of what was written may take a moment; it cannot make the claim any larger.
    for _ in 0..100 {
        let frame = FIRST_BODY_BYTES + FRAME_BYTES;
        assert!(world.intake.budget.in_use() <= CONNECTION_BYTES + frame);
        tokio::task::yield_now().await;
    }
}

/// A byte now and then, until the receiver has had enough.
async fn drips(world: &mut World, raw: Stream, mut receiver: ReceiverLink, bytes: &[u8]) {
    let start = Instant::now();
    let (mut input, mut output) = tokio::io::split(raw);
    let dripping = async {
        for byte in bytes {
            if output.write_all(&[*byte]).await.is_err() || output.flush().await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await
    };
    let ending = async {
        let mut said = Vec::new();
        let reading = async {
            let _ = input.read_to_end(&mut said).await;
        };
        tokio::join!(end_of(&mut receiver), reading).0
    };
    let cause = tokio::select! {
        () = dripping => unreachable!("dripping never ends"),
        cause = soon("the stall", ending) => cause,
    };
    assert!(cause.to_string().contains("fewer than 1000 bytes"), "{cause}");
    assert!(start.elapsed() >= Duration::from_millis(300));
    goes_on(world).await;
}

#[tokio::test]
async fn a_body_byte_by_byte() {
    let mut world = world(Duration::from_millis(300));
    let (mut raw, receiver) = opened(&mut world).await;
    raw.write_all(&record::frame(&header(0, 4, 90_000)).unwrap()).await.unwrap();
    drips(&mut world, raw, receiver, &[7; 2_000]).await;
}

#[tokio::test]
async fn a_message_byte_by_byte() {
    let mut world = world(Duration::from_millis(300));
    let (raw, receiver) = opened(&mut world).await;
    // The start of an offer of 16,383 bytes.
    let mut bytes = vec![1, 3, 0x7f, 0xff];
    bytes.extend([0; 2_000]);
    drips(&mut world, raw, receiver, &bytes).await;
}

#[tokio::test]
async fn idleness_between_records_is_no_stall() {
    let mut world = world(Duration::from_millis(100));
    let (mut raw, mut receiver) = opened(&mut world).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    raw.write_all(&record::message(&Message::ClockProbe(1))).await.unwrap();
    assert_eq!(message(&mut receiver).await, Message::ClockProbe(1));
}

#[tokio::test]
async fn a_receiver_that_is_busy_is_no_stall() {
    let mut world = world(Duration::from_millis(100));
    let (sender, mut receiver) = world.session(false).await;
    let frames = 2 * crate::transport::ARRIVAL_QUEUE as u64;
    let sending = tokio::spawn(async move {
        for sequence in 0..frames {
            sender.frames.send(frame(0, sequence, 50_000)).await.unwrap();
        }
        sender
    });
    // The queue of arrivals or the budget is full for longer than the stall time.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..frames {
        arrived(&mut receiver).await;
    }
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn hundreds_of_silent_connections() {
    let patience = TcpOptions { handshake: Duration::from_millis(500), ..options() };
    let mut world = World::with(intake(), patience);
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(world.listener.address).await.unwrap());
    }
    goes_on(&mut world).await;
    for socket in &mut silent {
        // Every one is closed in the end, or waits in the kernel's queue no longer.
        let _ = soon("its end", socket.read_to_end(&mut Vec::new())).await;
    }
}

#[tokio::test]
async fn a_session_that_never_says_a_word_holds_one_place() {
    let mut world = world(PATIENT);
    let silent = world.raw(&world.sender, ALPN).await;
    let _link = world.accepted().await;
    goes_on(&mut world).await;
    drop(silent);
}

#[tokio::test]
async fn long_messages_wait_within_the_memory_budget() {
    let mut world = world(Duration::from_secs(10));
    let (sender, mut receiver) = world.session(false).await;
    let before = world.intake.budget.in_use();
    let offer = long_offer();
    sender.messages.send(offer.clone()).await.unwrap();
    let Arrival::Message(message, claim) = arrival(&mut receiver).await else {
        panic!("no message");
    };
    assert_eq!(message, offer);
    let held = world.intake.budget.in_use() - before;
    assert!(held >= message.encode().len() as u64, "{held} bytes are held");
    drop(claim);
    assert_eq!(world.intake.budget.in_use(), before);
}
