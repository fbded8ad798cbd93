//! Frames that a program takes: with a store behind it, and without one.

use std::pin::Pin;
use std::time::Duration;

use framelane::door::ReceiverBuilder;
use framelane::frame::{ByteSize, Sequence};
use framelane::transport::Transport;
use framelane::{Frame, Receiver, Sender};
use futures_core::Stream as _;

use crate::door::send_camera;
use crate::support::{Place, Process};

#[expect(dead_code, reason = "the test has its own main")]
#[path = "../../examples/receive_callback.rs"]
mod receive_callback;

/// A receiver in a place that lets the place's sender send.
fn listen(place: &Place, address: &str) -> ReceiverBuilder {
    Receiver::listen(address)
        .allow(format!("cam={}", place.pin("sender")))
        .certs(place.path("receiver"))
}

/// A sender to it with one source, `a`.
async fn sender(place: &Place, receiver: &Receiver) -> Sender {
    let to = Sender::to(receiver.local_addr().to_string()).pin(receiver.pin());
    to.certs(place.path("sender")).source("a").start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_send_to_each_other() {
    let place = Place::new();
    let receiver = listen(&place, "127.0.0.1:0").once().start().await.unwrap();
    let (address, pin) = (receiver.local_addr().to_string(), receiver.pin().to_string());
    let mut taken = Vec::new();
    let certs = place.path("sender");
    let (sent, received) = tokio::join!(
        send_camera::send(&address, &pin, &certs),
        receive_callback::receive(receiver, |frame| taken.push(frame)),
    );
    let (sent, received) = (sent.unwrap(), received.unwrap());
    assert!(sent.is_complete() && received.is_complete(), "{:?}", sent.error);
    assert_eq!((sent.sent(), received.stored, taken.len()), (30, 30, 30));
    taken.sort_by_key(|frame| frame.sequence);
    let of_sender = place.pin("sender");
    for (place, frame) in taken.iter().enumerate() {
        assert_eq!((frame.source.as_str(), frame.sequence), ("visible", Sequence(place as u64)));
        assert_eq!(
            (frame.sender.as_deref(), frame.sender_name.as_deref()),
            (Some(&*of_sender), Some("cam"))
        );
        assert!(frame.name.as_str().ends_with("Z.jpg") && frame.bytes.starts_with(&[0xff, 0xd8]));
        assert!(frame.captured.is_some() && frame.due.is_none());
    }
}

/// Without a store a receipt says that the program has the frame; what it did not take goes to its successor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_program_has_not_taken_comes_again() {
    let place = Place::new();
    let mut receiver = listen(&place, "127.0.0.1:0").start().await.unwrap();
    let sender = sender(&place, &receiver).await;
    let mut receipts = Vec::new();
    for index in 0..4_u8 {
        let frame = Frame::named(&format!("{index}.bin"), vec![index; 10_000]);
        receipts.push(sender.push("a", frame).await.unwrap());
    }
    // Frames that are pushed at once may overtake each other.
    let mut taken = Vec::new();
    for _ in 0..2 {
        taken.push(receiver.next().await.unwrap());
    }
    let address = receiver.local_addr().to_string();
    let report = receiver.shutdown().await.unwrap();
    assert_eq!(report.stored, 2);
    // The port is free.
    let mut receiver = listen(&place, &address).start().await.unwrap();
    for _ in 0..2 {
        taken.push(receiver.next().await.unwrap());
    }
    taken.sort_by_key(|frame| frame.sequence);
    let taken: Vec<_> =
        taken.iter().map(|frame| (frame.sequence.0, u64::from(frame.bytes[0]))).collect();
    assert_eq!(taken, (0..4).map(|index| (index, index)).collect::<Vec<_>>());
    for receipt in receipts {
        receipt.stored().await.unwrap();
    }
    assert!(sender.finish().await.is_complete());
    assert_eq!(receiver.shutdown().await.unwrap().stored, 2);
}

/// Frames of which nobody takes any are not confirmed, and a wait for one that is given up loses none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_waits_for_the_program_and_a_wait_may_be_given_up() {
    let place = Place::new();
    let mut receiver = listen(&place, "127.0.0.1:0").queue(ByteSize(1)).start().await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(1), receiver.next());
    assert!(early.await.is_err(), "nothing was sent");
    let sender = sender(&place, &receiver).await;
    let receipt = sender.push("a", Frame::raw(vec![1])).await.unwrap();
    let mut stored = std::pin::pin!(receipt.stored());
    // The receipt is polled while the frame lies there, and cannot come.
    let early = tokio::time::timeout(Duration::from_millis(300), &mut stored);
    assert!(early.await.is_err(), "it was confirmed before the program had it");
    assert_eq!(receiver.next().await.unwrap().bytes[..], [1]);
    stored.await.unwrap();
    assert!(sender.finish().await.is_complete());
    receiver.stop();
    assert!(receiver.next().await.is_none());
    assert_eq!(receiver.shutdown().await.unwrap().stored, 1);
}

/// The frames as a stream: one that is given up in the middle has lost none, and the next goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_frames_may_be_dropped_at_any_time() {
    let place = Place::new();
    let mut receiver = listen(&place, "127.0.0.1:0").start().await.unwrap();
    let sender = sender(&place, &receiver).await;
    let next = async |receiver: &mut Receiver, time: Duration| {
        let mut frames = receiver.frames();
        let next = std::future::poll_fn(|context| Pin::new(&mut frames).poll_next(context));
        tokio::time::timeout(time, next).await.ok()
    };
    assert!(next(&mut receiver, Duration::from_millis(1)).await.is_none(), "nothing was sent");
    let (mut receipts, mut taken) = (Vec::new(), Vec::new());
    for index in 0..60_u8 {
        receipts.push(sender.push("a", Frame::raw(vec![index; 1_000])).await.unwrap());
        // Given up before, while and after a frame comes.
        let time = Duration::from_micros(u64::from(index) * 50);
        taken.extend(next(&mut receiver, time).await.flatten());
    }
    while taken.len() < 60 {
        match taken.len() % 2 {
            0 => taken.push(receiver.next().await.unwrap()),
            _ => taken.extend(next(&mut receiver, Duration::from_secs(60)).await.unwrap()),
        }
    }
    let mut sequences: Vec<_> = taken.iter().map(|frame| frame.sequence.0).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (0..60).collect::<Vec<_>>());
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert!(sender.finish().await.is_complete());
    receiver.stop();
    let end = next(&mut receiver, Duration::from_secs(60)).await;
    assert!(end.is_some_and(|end| end.is_none()), "the stream has an end");
    assert_eq!(receiver.shutdown().await.unwrap().stored, 60);
}

/// Where a slow program wants the latest frame, it gets that, and the sender is done long before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_program_gets_the_latest_frame() {
    let place = Place::new();
    let mut receiver = listen(&place, "127.0.0.1:0").latest("a").start().await.unwrap();
    let sender = sender(&place, &receiver).await;
    for index in 0..50_u8 {
        let receipt = sender.push("a", Frame::raw(vec![index; 1_000])).await.unwrap();
        receipt.stored().await.unwrap();
    }
    assert_eq!(receiver.next().await.unwrap().bytes[0], 49);
    assert!(sender.finish().await.is_complete());
    receiver.stop();
    assert!(receiver.next().await.is_none());
    assert_eq!(receiver.shutdown().await.unwrap().stored, 50);
}

/// With a folder, a frame is there when the program gets it, and what came before is not handed out again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_frame_is_handed_out_once_it_is_stored() {
    let place = Place::new();
    let out = place.path("received");
    place.frames("a", 20, 20_000);
    let start = || listen(&place, "127.0.0.1:0").out(out.join("{sender}")).once().start();
    for taken in [20, 0] {
        let mut receiver = start().await.unwrap();
        let send = Sender::to(receiver.local_addr().to_string()).pin(receiver.pin());
        let send = send.certs(place.path("sender")).folder("a", place.path("a"));
        let sending = send.start().await.unwrap();
        let mut count = 0;
        receiver
            .for_each(|frame| {
                let stored = std::fs::read(out.join("cam/a").join(frame.name.as_str())).unwrap();
                assert_eq!(stored, frame.bytes);
                count += 1;
            })
            .await;
        assert!(sending.finish().await.is_complete());
        let report = receiver.shutdown().await.unwrap();
        assert_eq!((count, report.stored, report.is_complete()), (taken, taken, true));
    }
}

/// A queue that is smaller than what is sent, and a transport that was asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_sends_to_a_program() {
    let place = Place::new();
    place.frames("a", 40, 30_000);
    let receiver = listen(&place, "127.0.0.1:0").transport(Transport::Tcp).queue(ByteSize(50_000));
    let mut receiver = receiver.once().start().await.unwrap();
    let (address, pin) = (receiver.local_addr().to_string(), receiver.pin().to_string());
    let args = ["send", &address, "a", "--pin", &pin, "--certs", "sender", "--transport", "tcp"];
    let sending = Process::start(place.command(&args));
    let mut sequences = Vec::new();
    receiver.for_each(|frame| sequences.push(frame.sequence.0)).await;
    sequences.sort_unstable();
    assert_eq!(sequences, (0..40).collect::<Vec<_>>());
    sending.finish().expect(0);
    assert_eq!(receiver.shutdown().await.unwrap().stored, 40);
}
