//! Frames that are refused one by one, while the session and others go on.

use framelane::frame::{ContentHash, Sequence};
use framelane::wire::{FrameHeader, Message, Receipts, Refusal, RefusalCode, SourceId};

use super::peer::{Peer, header, stopped, wire};
use crate::support::{Place, Receiver};

/// Sends frame 99 of a session's only source, and sees it confirmed.
async fn assert_goes_on(peer: &mut Peer) {
    let body = b"all is well";
    peer.send(&header(0, 99, body), body).await;
    let confirmed = receipts(peer).await;
    assert_eq!(confirmed.runs[0].first, Sequence(99));
}

async fn receipts(peer: &mut Peer) -> Receipts {
    match peer.hear().await {
        Message::Receipts(receipts) => receipts,
        other => panic!("no receipts but {other:?}"),
    }
}

async fn refusal(peer: &mut Peer) -> Refusal {
    match peer.hear().await {
        Message::Refusal(refusal) => refusal,
        other => panic!("no refusal but {other:?}"),
    }
}

#[tokio::test]
async fn headers_that_cannot_be_read_are_refused_and_the_session_goes_on() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--json"]);
    let before = place.snapshot();
    let mut peer = Peer::welcomed(&place, &receiver, &["bad"]).await;
    let good = wire(&header(0, 1, b"body"), b"body");
    let at = good.windows(5).position(|window| window == b"1.bin").unwrap();
    let renamed = |name: &[u8; 5]| {
        let mut bytes = good.to_vec();
        bytes[at..at + 5].copy_from_slice(name);
        bytes
    };

    for (what, bytes) in [
        ("another version", [&[4], &good[1..]].concat()),
        ("a header over the limit", vec![2, 0xff, 0xff]),
        ("noise", vec![0xee; 5_000]),
        ("a way up", renamed(b"../ab")),
        ("a folder without a name", renamed(b"a//bc")),
        ("a way up further down", renamed(b"a/../")),
        ("a backslash", renamed(b"a\\b\\c")),
        ("a NUL", renamed(b"a\0bin")),
        ("a newline", renamed(b"a\nbin")),
        ("no UTF-8", renamed(b"a\xff\xffbc")),
        ("a device", renamed(b"nul.x")),
        ("our record", with_name("manifest.jsonl")),
        ("our temporary file", with_name(".framelane-1.part")),
    ] {
        assert_eq!(peer.refused(&bytes).await, RefusalCode::BadHeader, "{what}");
    }
    assert_goes_on(&mut peer).await;
    // A stream that has ended cannot be stopped any more; the log and the report tell of it.
    for bytes in [&good[..0], &good[..good.len() / 2]] {
        assert_eq!(peer.refused_whole(bytes).await, None);
    }
    assert_goes_on(&mut peer).await;
    peer.leave().await;
    assert_eq!(place.snapshot(), before);
    assert_eq!(place.manifest("bad").len(), 1);
    receiver.assert_serves(&[]);
    let ended = receiver.interrupt().expect(130);
    assert!(ended.stderr.contains("bad header: a frame's stream ended after "), "{ended}");
    // Behind the line that says where it listens.
    let (_, report) = ended.stdout.split_once('\n').unwrap();
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    let session = &report["sessions"][0];
    let refused = session["refused_unnamed"].as_u64().unwrap();
    assert_eq!(refused + session["sources"][0]["refused"].as_u64().unwrap(), 15, "{session}");
}

/// A header with a name that the library would not let anybody write.
fn with_name(name: &str) -> Vec<u8> {
    // As many letters as the name has, then the name in their place.
    let letters = "x".repeat(name.len());
    let mut header = header(0, 1, b"body");
    header.meta.name = framelane::frame::FrameName::parse(&letters).unwrap();
    let mut bytes = wire(&header, b"body").to_vec();
    let at = bytes.windows(letters.len()).position(|window| window == letters.as_bytes()).unwrap();
    bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
    bytes
}

#[tokio::test]
async fn frames_that_are_not_what_they_say_are_refused_by_name() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--max-frame", "10kB"]);
    let before = place.snapshot();
    let mut peer = Peer::welcomed(&place, &receiver, &["bad"]).await;
    let body = vec![5; 10_000];

    let over = FrameHeader { ..announced(1, 10_001, &body) };
    assert_eq!(peer.refused(&wire(&over, &body)).await, RefusalCode::TooLarge);
    let told = refusal(&mut peer).await;
    assert_eq!((told.sequence, told.code), (Sequence(1), RefusalCode::TooLarge));
    assert!(told.reason.contains("10000") && told.reason.contains("`max_frame`"), "{told:?}");

    let huge = announced(2, u64::MAX >> 2, &body);
    assert_eq!(peer.refused(&wire(&huge, b"")).await, RefusalCode::TooLarge);
    assert_eq!(refusal(&mut peer).await.code, RefusalCode::TooLarge);

    let mut unknown = header(0, 3, &body);
    unknown.source = SourceId(1);
    assert_eq!(peer.refused(&wire(&unknown, &body)).await, RefusalCode::UnknownSource);

    let short = announced(4, 9_000, &body[..8_000]);
    assert_eq!(peer.refused_whole(&wire(&short, &body[..8_000])).await, None);
    let told = refusal(&mut peer).await;
    assert_eq!((told.sequence, told.code), (Sequence(4), RefusalCode::LengthMismatch));
    assert!(told.reason.starts_with("4.bin: "), "{told:?}");

    let long = announced(5, 9_000, &body);
    assert_eq!(peer.refused(&wire(&long, &body)).await, RefusalCode::LengthMismatch);
    let told = refusal(&mut peer).await;
    assert_eq!((told.sequence, told.code), (Sequence(5), RefusalCode::LengthMismatch));

    let mut altered = header(0, 6, &body);
    altered.meta.hash = Some(ContentHash::from_bytes([9; 32]));
    peer.send(&altered, &body).await;
    let told = refusal(&mut peer).await;
    assert_eq!((told.sequence, told.code), (Sequence(6), RefusalCode::HashMismatch));
    assert!(told.reason.contains("bad/6.bin arrived altered"), "{told:?}");

    assert_goes_on(&mut peer).await;
    // The same name with other content.
    let other = b"other content";
    peer.send(&header(0, 99, other), other).await;
    let told = refusal(&mut peer).await;
    assert_eq!((told.sequence, told.code), (Sequence(99), RefusalCode::Conflict));
    peer.leave().await;
    assert_eq!(place.snapshot(), before);
    assert_eq!(place.manifest("bad").len(), 1);
    assert_eq!(std::fs::read(place.store().join("bad/99.bin")).unwrap(), b"all is well");
    receiver.assert_serves(&[]);
}

/// The header of a body, with another length.
fn announced(sequence: u64, bytes: u64, body: &[u8]) -> FrameHeader {
    let mut header = header(0, sequence, body);
    header.meta.bytes = bytes;
    header
}

#[tokio::test]
async fn a_source_whose_frame_is_held_back_holds_back_no_other() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let mut peer = Peer::welcomed(&place, &receiver, &["visible", "infrared"]).await;
    let body = vec![1; 400_000];
    let held = wire(&header(0, 0, &body), &body);
    let mut stream = peer.open().await;
    stream.write_all(&held[..held.len() / 2]).await.unwrap();

    // Meanwhile the other source's frames are stored and confirmed, one after the other.
    for sequence in 0..50 {
        let body = vec![sequence as u8; 20_000];
        peer.send(&header(1, sequence, &body), &body).await;
        let confirmed = receipts(&mut peer).await;
        assert_eq!((confirmed.source, confirmed.runs[0].first.0), (SourceId(1), sequence));
    }
    assert_eq!(place.manifest("infrared").len(), 50);
    assert_eq!(place.manifest("visible").len(), 0);

    stream.write_all(&held[held.len() / 2..]).await.unwrap();
    stream.finish().unwrap();
    assert_eq!(receipts(&mut peer).await.source, SourceId(0));
    assert_eq!(std::fs::read(place.store().join("visible/0.bin")).unwrap(), body);
    peer.leave().await;
}

#[tokio::test]
async fn a_frame_given_up_half_way_leaves_nothing() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let mut peer = Peer::welcomed(&place, &receiver, &["bad"]).await;
    let body = vec![1; 100_000];
    let mut stream = peer.open().await;
    stream.write_all(&wire(&header(0, 1, &body), &body[..50_000])).await.unwrap();
    stream.reset(quinn::VarInt::from_u32(0)).unwrap();
    assert_goes_on(&mut peer).await;
    let mut names: Vec<_> = std::fs::read_dir(place.store().join("bad"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["99.bin", "ledger.jsonl", "manifest.jsonl"]);
    peer.leave().await;
}

#[tokio::test]
async fn a_stream_is_stopped_while_it_is_being_sent() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--max-frame", "1MB"]);
    let mut peer = Peer::welcomed(&place, &receiver, &["bad"]).await;
    let body = vec![0; 100_000];
    let mut stream = peer.open().await;
    let long = announced(1, 500_000, &body);
    stream.write_all(&long.encode().unwrap()).await.unwrap();
    // More and more, until the receiver has had enough.
    while stream.write_all(&body).await.is_ok() {}
    assert_eq!(stopped(&mut stream).await, RefusalCode::LengthMismatch);
    assert_eq!(refusal(&mut peer).await.code, RefusalCode::LengthMismatch);
    assert_goes_on(&mut peer).await;
    peer.leave().await;
}
