//! Frames that rest, or come a byte at a time, in sessions that go on otherwise.

use std::time::Duration;

use framelane::frame::Sequence;
use framelane::wire::{CloseCode, Message, Refusal, RefusalCode, SourceId};

use super::peer::{Peer, header, stopped, wire};
use crate::support::{Place, Receiver};

/// Sends half of a frame, and then a byte now and then, and meanwhile asks what time it is, until the frame is refused;
/// nothing where the session is ended.
async fn drip(peer: &mut Peer, beginning: &[u8], more: &[u8]) -> Option<Refusal> {
    let mut stream = peer.open().await;
    stream.write_all(beginning).await.unwrap();
    for byte in more.chunks(1) {
        peer.say(&Message::ClockProbe(1)).await;
        let _ = stream.write_all(byte).await;
        let pause = Duration::from_millis(50);
        while let Ok(heard) = tokio::time::timeout(pause, peer.hear_or_end()).await {
            match heard? {
                Message::Refusal(refusal) => {
                    assert_eq!(stopped(&mut stream).await, RefusalCode::Stalled);
                    return Some(refusal);
                }
                Message::ClockReply { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    panic!("nothing came of it");
}

#[tokio::test]
async fn a_frame_that_rests_is_refused_and_the_session_goes_on() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--stall", "1s"]);
    let mut peer = Peer::welcomed(&place, &receiver, &["slow"]).await;
    let body = vec![1; 4_000];
    let whole = |sequence| wire(&header(0, sequence, &body), &body);
    for sequence in 0..2 {
        // Twice, and then it comes: it is as if nothing had been.
        for _ in 0..2 {
            let slow = whole(sequence);
            let refusal = drip(&mut peer, &slow[..2_000], &slow[2_000..3_000]).await;
            let refusal = refusal.expect("the session goes on");
            let (source, code) = (refusal.source, refusal.code);
            assert_eq!((source, refusal.sequence), (SourceId(0), Sequence(sequence)));
            assert_eq!(code, RefusalCode::Stalled);
            assert!(refusal.reason.contains("2"), "{}", refusal.reason);
        }
        peer.send(&header(0, sequence, &body), &body).await;
        let receipts = loop {
            match peer.hear().await {
                Message::Receipts(receipts) => break receipts,
                Message::ClockReply { .. } => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(receipts.runs[0].first, Sequence(sequence));
    }
    assert_eq!(place.manifest("slow").len(), 2);
    // Over and over, and nothing else: then it is ended.
    let mut refused = 0;
    for sequence in 2..10 {
        let slow = whole(sequence);
        match drip(&mut peer, &slow[..2_000], &slow[2_000..3_000]).await {
            Some(_) => refused += 1,
            None => break,
        }
    }
    assert_eq!((refused, peer.closed().await.0), (2, CloseCode::Stalled));
    receiver.assert_serves(&[]);
}

/// Nothing could be said of it that its sender would know it by.
#[tokio::test]
async fn a_stream_whose_header_does_not_come_ends_the_session() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--stall", "1s"]);
    let mut peer = Peer::welcomed(&place, &receiver, &["slow"]).await;
    let body = vec![1; 4_000];
    let header = header(0, 0, &body).encode().unwrap();
    let (begin, more) = header.split_at(3);
    assert_eq!(drip(&mut peer, begin, &more[..more.len() - 1]).await, None);
    assert_eq!(peer.closed().await.0, CloseCode::Stalled);
    receiver.assert_serves(&[]);
}
