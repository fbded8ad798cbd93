//! Too much of everything: the receiver's memory stays bounded, and others are served.

use std::time::Duration;

use framelane::frame::RunId;
use framelane::wire::{CloseCode, Message, Offer, SourceId};
use quinn::Endpoint;

use super::peer::{self, Options, Peer, header, hello, wire};
use super::sessions::entries;
use crate::support::{Place, Receiver, skipped};

/// What the issue allows a receiver at full speed; a flood may not bring it above that either.
const MOST_MEMORY_KIB: u64 = 150 * 1024;

/// The most memory that a receiver has held, in KiB.
fn peak(receiver: &Receiver<'_>) -> u64 {
    let path = format!("/proc/{}/status", receiver.process().pid());
    let Ok(status) = std::fs::read_to_string(&path) else {
        skipped(&format!("the check of memory: there is no {path}"));
        return 0;
    };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[track_caller]
fn assert_bounded(receiver: &Receiver<'_>) {
    let peak = peak(receiver);
    println!("the receiver's peak: {peak} KiB");
    assert!(peak < MOST_MEMORY_KIB, "the receiver held {peak} KiB");
}

#[tokio::test]
async fn a_flood_of_broken_streams() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let mut peer = Peer::welcomed(&place, &receiver, &["flood"]).await;
    for _ in 0..10_000 {
        let mut stream = peer.open().await;
        let _ = stream.write_all(&[0xee; 16]).await;
        let _ = stream.finish();
    }
    peer.send(&header(0, 0, b"body"), b"body").await;
    assert!(matches!(peer.hear().await, Message::Receipts(_)));
    assert_bounded(&receiver);
    receiver.assert_serves(&[]);
    peer.leave().await;
}

#[tokio::test]
async fn a_flood_of_open_streams() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--stall", "2s"]);
    let peer = Peer::welcomed(&place, &receiver, &["flood"]).await;
    let body = vec![0; 4_000];
    let half = wire(&header(0, 0, &body), &body[..2_000]);
    let mut streams = Vec::new();
    // As many as the receiver allows, each with half a frame.
    while let Ok(Ok(mut stream)) =
        tokio::time::timeout(Duration::from_millis(300), peer.connection.open_uni()).await
    {
        if stream.write_all(&half).await.is_err() {
            break;
        }
        streams.push(stream);
    }
    assert!(streams.len() <= 4_096, "{} streams are open", streams.len());
    receiver.assert_serves(&[]);
    let (code, _) = peer.closed().await;
    assert_eq!(code, CloseCode::Stalled);
    assert_bounded(&receiver);
    receiver.assert_serves(&[]);
}

#[tokio::test]
async fn memory_for_a_body_is_taken_only_as_it_arrives() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let peer = Peer::welcomed(&place, &receiver, &["flood"]).await;
    let mut streams = Vec::new();
    for index in 0..1_000 {
        // A thousand frames of 64 MiB, of each one byte.
        let mut announced = header(0, index, b"");
        announced.meta.bytes = 64 << 20;
        // As many as the receiver allows who has sent next to nothing.
        let open = tokio::time::timeout(Duration::from_millis(300), peer.connection.open_uni());
        let Ok(Ok(mut stream)) = open.await else { break };
        stream.write_all(&wire(&announced, b"x")).await.unwrap();
        streams.push(stream);
    }
    assert!(streams.len() >= 100, "{} streams", streams.len());
    receiver.assert_serves(&[]);
    assert_bounded(&receiver);
}

#[tokio::test]
async fn bodies_that_never_end_do_not_use_up_everybodys_memory() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--memory", "4MiB", "--max-frame", "1MiB"]);
    let peer = Peer::welcomed(&place, &receiver, &["hoard"]).await;
    let body = vec![0; 1 << 20];
    let mut streams = Vec::new();
    for index in 0..32 {
        let mut stream = peer.open().await;
        let most = wire(&header(0, index, &body), &body[..body.len() - 1]);
        // Where the receiver has no more memory it takes no more.
        let written = stream.write_all(&most);
        if tokio::time::timeout(Duration::from_millis(300), written).await.is_err() {
            break;
        }
        streams.push(stream);
    }
    receiver.assert_serves(&[]);
    assert_bounded(&receiver);
}

#[tokio::test]
async fn a_flood_of_empty_frames() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let mut peer = Peer::welcomed(&place, &receiver, &["flood"]).await;
    let header = header(0, 0, b"").encode().unwrap();
    for _ in 0..30_000 {
        let mut stream = peer.open().await;
        stream.write_all(&header).await.unwrap();
        stream.finish().unwrap();
    }
    // It is one frame, however often it comes.
    let mut confirmed = 0;
    while confirmed < 30_000 {
        match peer.hear().await {
            Message::Receipts(receipts) => {
                confirmed += receipts.runs.iter().map(|run| run.count).sum::<u64>();
            }
            other => panic!("no receipts but {other:?}"),
        }
    }
    assert_eq!(place.manifest("flood").len(), 1);
    assert_bounded(&receiver);
    receiver.assert_serves(&[]);
    peer.leave().await;
}

#[tokio::test]
async fn offers_without_listening_to_the_answers() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let options = Options { session_window: Some(64), ..Options::default() };
    let mut peer = Peer::with(&place, &receiver, &options).await;
    peer.say(&hello(&["deaf"])).await;
    let offer = Message::Offer(Offer { source: SourceId(0), entries: entries(1_024) }).encode();
    let offers = offer.repeat(64 * 1024 * 1024 / offer.len());
    // The receiver takes no more of them at some point; this never gets to its end.
    let all = tokio::time::timeout(Duration::from_secs(3), peer.say_bytes(&offers)).await;
    assert!(all.is_err(), "the receiver took 64 MiB of offers that it could not answer");
    assert_bounded(&receiver);
    receiver.assert_serves(&[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_connections() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let options = Options::default();
    let starting = (0..500).map(|_| peer::start(&endpoint, &place, receiver.address(), &options));
    let connecting: Vec<_> = starting.collect();
    let mut open = Vec::new();
    for connecting in connecting {
        // Those that the receiver does not answer are no different from those it turns away.
        if let Ok(Ok(connection)) = tokio::time::timeout(Duration::from_secs(2), connecting).await {
            open.push(connection);
        }
    }
    // Somebody who comes now may have to wait until the silent ones are turned out.
    receiver.assert_serves(&[]);
    assert_bounded(&receiver);
    drop(open);
}

#[tokio::test]
async fn the_65th_session_is_told_that_the_receiver_is_busy() {
    let place = Place::new();
    // A busy machine may take long to open 64.
    let receiver = Receiver::start(&place, &["--stall", "300s"]);
    let mut peers = Vec::new();
    for _ in 0..64 {
        peers.push(Peer::welcomed(&place, &receiver, &["same"]).await);
    }
    // It may join one of those of its sender, or follow one, but is no session more.
    let mut turned_away = Peer::connect(&place, &receiver).await;
    turned_away.say(&of_another_run(hello(&["same"]))).await;
    let (code, why) = turned_away.closed().await;
    assert_eq!(code, CloseCode::Busy, "{why}");
    // The sender's own patience brings it in as soon as there is a place. Over TCP there are others.
    place.frames("good", 3, 5_000);
    let sending = receiver.sending(&["good"], &["--transport", "quic"]);
    sending.stderr_line(|line| line.contains("as many sessions as it serves").then_some(()));
    for peer in peers {
        peer.leave().await;
    }
    sending.finish().expect(0);
    place.assert_stored("good");
}

#[tokio::test]
async fn a_stalled_stream_is_not_left_when_the_session_ends() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--stall", "300ms"]);
    let peer = Peer::welcomed(&place, &receiver, &["bad"]).await;
    let body = vec![0; 100];
    let mut stream = peer.open().await;
    stream.write_all(&wire(&header(0, 0, &body), &body[..50])).await.unwrap();
    assert_eq!(peer.closed().await.0, CloseCode::Stalled);
    assert!(stream.stopped().await.is_err(), "the stream outlived its session");
    // Its records, and nothing of the frame.
    let left = std::fs::read_dir(place.store().join("bad")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().ends_with(".jsonl")), "{left:?}");
}

#[test]
fn a_small_budget_is_slower_and_loses_no_frame_that_would_fit() {
    let place = Place::new();
    place.frames("small", 300, 15_000);
    for transport in ["quic", "tcp", "tcp-per-frame"] {
        let store = format!("store-{transport}");
        let args = ["--max-frame", "20KiB", "--memory", "64KiB", "--transport", transport];
        let receiver = Receiver::start(&place, &[&args[..], &["--out", &store]].concat());
        let sent = receiver.send(&["small"], &["--transport", transport]).expect(0);
        sent.prints("missing 0");
        crate::support::assert_same_frames(&place.path("small"), &place.path(&store).join("small"));
    }
    place.file("large/0.bin", &[1; 30_000]);
    let receiver = Receiver::start(&place, &["--max-frame", "20KiB", "--memory", "64KiB"]);
    let sent = receiver.send(&["large"], &[]).expect(1);
    let told = sent.stdout.lines().filter(|line| line.contains("0.bin")).collect::<Vec<_>>();
    assert!(told.len() == 1 && told[0].contains("20480"), "{sent}");
}

/// The hello of another run.
fn of_another_run(hello: Message) -> Message {
    let Message::Hello(mut hello) = hello else { panic!("no hello") };
    hello.session = [8; 16];
    hello.sources.iter_mut().for_each(|source| source.run = RunId([2; 16]));
    Message::Hello(hello)
}
