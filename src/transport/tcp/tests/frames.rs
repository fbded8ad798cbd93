//! What is sent is what arrives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

use super::super::TcpDial;
use super::super::pace::Paced;
use super::super::reader::RecordReader;
use super::super::settings::CONNECTION_BYTES;
use super::super::writer::{Outbox, RecordWriter};
use super::support::*;
use crate::frame::{ByteSize, Sequence, UnixNanos};
use crate::transport::{Dial, FRAME_QUEUE, Intake, MemoryBudget, OutgoingFrame, TransportError};
use crate::wire::record::Record;
use crate::wire::{CloseCode, Message, Receipts, SESSION_ID_BYTES, SourceId};

/// Around every size at which the code goes another way.
const LENGTHS: [usize; 16] = [
    0, 1, 4_000, 16_383, 16_384, 16_385, 32_768, 32_769, 65_535, 65_536, 65_537, 131_073, 262_144,
    300_001, 1_000_000, 3_000_000,
];

async fn frames_of_every_size_arrive(per_frame: bool) {
    // Less memory than the longest frame, so that its claim has to go over the budget.
    let budget = MemoryBudget::new(ByteSize(1 << 20));
    let mut world = World::with(Intake { budget, ..intake() }, options());
    let (sender, mut receiver) = world.session(per_frame).await;
    let count = LENGTHS.len() as u64 * 3;
    let length = |sequence: u64| LENGTHS[sequence as usize % LENGTHS.len()];
    let frames = sender.frames.clone();
    let sending = tokio::spawn(async move {
        for sequence in 0..count {
            let frame = frame((sequence % 3) as u8, sequence, length(sequence));
            frames.send(frame).await.unwrap();
        }
    });
    let mut seen = Vec::new();
    for _ in 0..count {
        let arrived = arrived(&mut receiver).await;
        let sequence = arrived.frame.meta.sequence.0;
        assert_eq!(arrived.frame.body, body(sequence, length(sequence)));
        assert_eq!(u64::from(arrived.source.0), sequence % 3);
        seen.push((arrived.source, sequence));
    }
    sending.await.unwrap();
    for source in 0..3 {
        let of = seen.iter().filter(|(of, _)| of.0 == source).map(|(_, sequence)| *sequence);
        assert!(of.is_sorted(), "frames of one source changed places");
    }
    seen.sort_by_key(|(_, sequence)| *sequence);
    assert!(seen.iter().map(|(_, sequence)| *sequence).eq(0..count), "each frame once");
    // A connection of a single frame has its buffers until it has ended.
    let given_back = async {
        while world.intake.budget.in_use() > CONNECTION_BYTES {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon("memory that is given back", given_back).await;
}

#[tokio::test]
async fn over_one_connection() {
    frames_of_every_size_arrive(false).await;
}

#[tokio::test]
async fn over_a_connection_each() {
    frames_of_every_size_arrive(true).await;
}

#[tokio::test]
async fn a_frame_past_its_deadline_does_not_go_and_is_told() {
    for per_frame in [false, true] {
        let mut world = World::new();
        let (sender, mut receiver) = world.session(per_frame).await;
        let deadline = Some(std::time::Instant::now());
        let late = OutgoingFrame { deadline, ..frame(0, 0, 60_000) };
        sender.frames.send(late).await.unwrap();
        sender.frames.send(frame(0, 1, 1_000)).await.unwrap();
        assert_eq!(arrived(&mut receiver).await.frame.meta.sequence, Sequence(1));
        assert_eq!(sender.path.take_given_up(), [(SourceId(0), Sequence(0))]);
    }
}

#[tokio::test]
async fn messages_go_both_ways_while_frames_flow() {
    for per_frame in [false, true] {
        let mut world = World::new();
        let (mut sender, mut receiver) = world.session(per_frame).await;
        for round in 0..20 {
            sender.messages.send(Message::ClockProbe(round)).await.unwrap();
            assert_eq!(message(&mut receiver).await, Message::ClockProbe(round));
            sender.frames.send(frame(0, round, 50_000)).await.unwrap();
            assert_eq!(arrived(&mut receiver).await.frame.meta.sequence.0, round);
            let reply = Message::ClockReply { asked: round, arrived: 1, replied: 2 };
            receiver.messages.send(reply.clone()).await.unwrap();
            assert_eq!(soon("a reply", sender.incoming.recv()).await, Some(reply));
        }
    }
}

#[tokio::test]
async fn a_session_of_many_small_frames() {
    let mut world = World::new();
    let (sender, mut receiver) = world.session(false).await;
    let sending = tokio::spawn(async move {
        for sequence in 0..5_000 {
            sender.frames.send(frame(1, sequence, 40 + sequence as usize % 500)).await.unwrap();
        }
        sender
    });
    for sequence in 0..5_000 {
        let arrived = arrived(&mut receiver).await;
        assert_eq!(arrived.frame.body, body(sequence, 40 + sequence as usize % 500));
    }
    drop(sending.await.unwrap());
}

/// What a writer makes of its queues, by a reader that gets it in pieces of `pipe` bytes at most.
async fn through_a_pipe(pipe: usize, frames: Vec<OutgoingFrame>) -> Vec<(u64, bytes::Bytes)> {
    let (input, output) = tokio::io::duplex(pipe);
    let (_messages, messages) = mpsc::channel(1);
    let (queue, queued) = mpsc::channel(frames.len().max(1));
    let (close, closing) = oneshot::channel();
    for frame in frames {
        queue.send(frame).await.unwrap();
    }
    close.send((CloseCode::Done, String::new())).unwrap();
    let (session, _) = watch::channel(None);
    let paced = Paced::default();
    let outbox = Outbox { messages, frames: Some(queued), paced, closing, session };
    let writing = tokio::spawn(async move { RecordWriter::new(input).run(outbox).await });
    let mut reader = RecordReader::new(output, Duration::from_secs(10));
    let mut got = Vec::new();
    loop {
        match reader.record().await.unwrap() {
            Record::Frame(header) => {
                let mut claim = intake().budget.open("test").claim();
                let length = header.meta.bytes as usize;
                got.push((header.meta.sequence.0, reader.body(length, &mut claim).await.unwrap()));
            }
            Record::Close { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    writing.await.unwrap().unwrap();
    got
}

#[tokio::test]
async fn the_most_urgent_of_those_that_wait_goes_first() {
    let urgent = |sequence, priority| OutgoingFrame { priority, ..frame(0, sequence, 10) };
    let frames = vec![urgent(0, 0), urgent(1, 5), urgent(2, 5), urgent(3, -1)];
    assert_eq!(FRAME_QUEUE, 2, "the order below is that of two frames to choose from");
    let order = through_a_pipe(1_000, frames).await.into_iter().map(|(sequence, _)| sequence);
    assert_eq!(order.collect::<Vec<_>>(), [1, 2, 0, 3]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_survive_any_split(
        pipe in 1_usize..100_000,
        lengths in proptest::collection::vec(0_usize..200_000, 0..6),
    ) {
        // A pipe of a few bytes wakes both ends for each of them.
        let most = pipe.saturating_mul(2_000);
        let lengths: Vec<usize> = lengths.into_iter().map(|length| length.min(most)).collect();
        let numbered = || (0_u64..).zip(lengths.iter().copied());
        let frames = numbered().map(|(sequence, length)| frame(0, sequence, length)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let got = runtime.block_on(through_a_pipe(pipe, frames));
        let sent: Vec<_> =
            numbered().map(|(sequence, length)| (sequence, body(sequence, length))).collect();
        prop_assert_eq!(got, sent);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_kernel_tells_of_the_path() {
    for per_frame in [false, true] {
        let mut world = World::new();
        let (sender, mut receiver) = world.session(per_frame).await;
        let before = sender.path.look();
        for sequence in 0..3 {
            sender.frames.send(frame(0, sequence, 300_000)).await.unwrap();
            arrived(&mut receiver).await;
        }
        // The connection of a single frame is counted when it has ended.
        let (mut path, enough) = (before, before.packets_sent + 10);
        let counted = async {
            while path.packets_sent < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
                path = sender.path.look();
            }
        };
        soon("packets that are counted", counted).await;
        assert!(path.rtt > Duration::ZERO && path.bytes_sent > 300_000, "{path:?}");
        assert!(path.packets_lost <= path.packets_sent && path.window == 0, "{path:?}");
        assert!(receiver.path.look().rtt > Duration::ZERO);
        // It keeps nothing open, and still knows what there was.
        soon("closing", sender.end.close(CloseCode::Done, "")).await;
        assert!(sender.path.look().packets_sent >= path.packets_sent);
        assert!(matches!(end_of(&mut receiver).await, TransportError::ClosedByPeer { .. }));
    }
}

/// A way to a receiver that lets everything through but, of its second connection, what the receiver says once the
/// frame on it is there. `cut` breaks that one.
async fn way_that_loses_an_answer(
    receiver: SocketAddr,
    frame: u64,
    cut: oneshot::Receiver<()>,
) -> SocketAddr {
    let way = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = way.local_addr().unwrap();
    tokio::spawn(async move {
        let mut cut = Some(cut);
        for number in 0.. {
            let (mut near, _) = way.accept().await.unwrap();
            let mut far = TcpStream::connect(receiver).await.unwrap();
            let cut = if number == 1 { cut.take() } else { None };
            tokio::spawn(async move {
                let Some(cut) = cut else {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    return;
                };
                let (mut near_in, mut near_out) = near.split();
                let (mut far_in, mut far_out) = far.split();
                let passed = Arc::new(AtomicU64::new(0));
                let there = async {
                    let mut buffer = vec![0; 16_384];
                    while let Ok(read @ 1..) = near_in.read(&mut buffer).await {
                        passed.fetch_add(read as u64, Ordering::Relaxed);
                        far_out.write_all(&buffer[..read]).await.unwrap();
                    }
                };
                let back = async {
                    let mut buffer = vec![0; 16_384];
                    while let Ok(read @ 1..) = far_in.read(&mut buffer).await {
                        if passed.load(Ordering::Relaxed) < frame {
                            near_out.write_all(&buffer[..read]).await.unwrap();
                        }
                    }
                };
                tokio::select! {
                    _ = cut => {}
                    _ = async { tokio::join!(there, back) } => {}
                }
            });
        }
    });
    address
}

/// Sends two frames, of which the first one's answer is lost. `confirm` has the receiver confirm it meanwhile. Tells
/// which frames have arrived, in their order.
async fn arrived_where_an_answer_was_lost(confirm: bool) -> Vec<u64> {
    const BYTES: usize = 100_000;
    let mut world = World::new();
    let (cut, cutting) = oneshot::channel();
    let way = way_that_loses_an_answer(world.listener.address, BYTES as u64, cutting).await;
    let tls = world.client_tls(&world.sender);
    let dial = TcpDial::new(way, name(), &tls, classify(), options()).per_frame();
    let sender = soon("dialling", dial.dial()).await.unwrap();
    sender.messages.send(hello([7; SESSION_ID_BYTES])).await.unwrap();
    let mut receiver = world.accepted().await;
    message(&mut receiver).await;
    receiver.sources.set(3);
    sender.frames.send(frame(0, 1, BYTES)).await.unwrap();
    sender.frames.send(frame(0, 2, 1_000)).await.unwrap();
    let mut seen = vec![arrived(&mut receiver).await.frame.meta.sequence.0];
    cut.send(()).unwrap();
    if confirm {
        let receipt = Receipts::new(SourceId(0), UnixNanos(1), [Sequence(1)]);
        receiver.messages.send(Message::Receipts(receipt)).await.unwrap();
    }
    while !seen.contains(&2) {
        seen.push(arrived(&mut receiver).await.frame.meta.sequence.0);
    }
    seen
}

#[tokio::test]
async fn a_frame_whose_answer_was_lost_goes_again_only_where_the_session_does_not_tell_of_it() {
    assert_eq!(arrived_where_an_answer_was_lost(true).await, [1, 2]);
    assert_eq!(arrived_where_an_answer_was_lost(false).await, [1, 1, 2]);
}
