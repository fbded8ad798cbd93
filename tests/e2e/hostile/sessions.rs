//! Sessions that are ended with a named code, and what a receiver does about silence.

use std::time::Duration;

use framelane::frame::{FrameName, RunId, Sequence};
use framelane::wire::{
    ALPN_BEFORE, Capabilities, CloseCode, Message, Offer, OfferEntry, SourceId, Totals, Welcome,
};
use quinn::ConnectionError;

use super::peer::{self, Options, Peer, header, hello, wire};
use crate::support::{Place, Receiver, Signal};

#[tokio::test]
async fn another_version_of_the_protocol_is_turned_away_before_anything_else() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    for alpn in [b"framelane/3".as_slice(), b"h3"] {
        let options = Options { alpn, ..Options::default() };
        let refused = peer::connect(&place, receiver.address(), &options).await;
        let error = refused.expect_err("no connection");
        // 0x100 + 120: the TLS alert no_application_protocol (RFC 9001, 4.8; RFC 7301, 3.2).
        let ConnectionError::ConnectionClosed(close) = &error else { panic!("{error}") };
        assert_eq!(u64::from(close.error_code), 0x178, "{error}");
    }
    receiver.process().stderr_line(|line| {
        line.contains("does not speak this version of the framelane protocol").then_some(())
    });
    receiver.assert_serves(&[]);
}

#[tokio::test]
async fn a_sender_of_an_older_version_is_told_which_is_needed() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    for alpn in ALPN_BEFORE {
        let options = Options { alpn, ..Options::default() };
        let (_endpoint, old) = peer::connect(&place, receiver.address(), &options).await.unwrap();
        let ConnectionError::ApplicationClosed(close) =
            peer::within("the end of the session", old.closed()).await
        else {
            panic!("the receiver does not close it in order");
        };
        assert_eq!(close.error_code.into_inner(), CloseCode::Version.number());
        let why = String::from_utf8_lossy(&close.reason).into_owned();
        assert!(why.contains("version 2"), "{why}");
    }
    receiver.process().stderr_line(|line| line.contains("an older version").then_some(()));
    receiver.assert_serves(&[]);
}

#[tokio::test]
async fn a_session_that_does_not_begin_with_a_hello_is_ended() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let before = place.snapshot();
    let body = b"too early";
    for first in [
        Message::ClockProbe(1).encode(),
        Message::Totals(Totals { source: SourceId(0), stored: 0, already: 0 }).encode(),
        Message::Welcome(Welcome {
            durable: true,
            replaces: true,
            max_frame: 1,
            max_unconfirmed_bytes: 1,
            max_unconfirmed_frames: 1,
            agent: String::new(),
            next: vec![Sequence(0)],
            capabilities: Capabilities::default(),
            join: None,
            unopened: Vec::new(),
        })
        .encode(),
        hello(&[]).encode(),
        bytes::Bytes::from_static(&[0x3f, 4, 1, 2, 3, 4]),
        // A message that would be far too long.
        bytes::Bytes::from_static(&[1, 0xbf, 0xff, 0xff, 0xff]),
        bytes::Bytes::from(vec![0xff; 4_000]),
    ] {
        let mut peer = Peer::connect(&place, &receiver).await;
        peer.say_bytes(&first).await;
        let (code, why) = peer.closed().await;
        assert_eq!(code, CloseCode::Protocol, "{why}");
        assert!(!why.is_empty(), "no reason for {first:?}");
    }
    // A frame before the hello: nobody can say whose it is. The session stream has to be there, or
    // the receiver does not look at frames at all.
    let mut peer = Peer::connect(&place, &receiver).await;
    peer.say_bytes(&hello(&["early"]).encode()[..1]).await;
    peer.send(&header(0, 0, body), body).await;
    let (code, why) = peer.closed().await;
    assert_eq!(code, CloseCode::Protocol);
    assert!(why.contains("did not begin with a hello"), "{why}");

    assert_eq!(place.snapshot(), before);
    assert_eq!(std::fs::read_dir(place.store()).unwrap().count(), 0, "something was stored");
    receiver.assert_serves(&[]);
}

#[tokio::test]
async fn a_hello_with_bad_source_names_is_refused_and_writes_nothing() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let before = place.snapshot();
    for name in ["..", "a/b", "a\\b", "a\0b", "a\x1bb", "con", ".framelane", &"x".repeat(256)] {
        let mut peer = Peer::connect(&place, &receiver).await;
        peer.say_bytes(&hello_for(&[name])).await;
        let (code, why) = peer.closed().await;
        assert_eq!(code, CloseCode::Protocol, "{name:?}: {why}");
        assert!(why.contains("a source name"), "{name:?}: {why}");
    }
    for names in [vec!["twice", "twice"], vec!["x"; 65]] {
        let mut peer = Peer::connect(&place, &receiver).await;
        peer.say_bytes(&hello_for(&names)).await;
        assert_eq!(peer.closed().await.0, CloseCode::Protocol);
    }
    assert_eq!(place.snapshot(), before);
    assert_eq!(std::fs::read_dir(place.store()).unwrap().count(), 0, "something was stored");
    receiver.assert_serves(&[]);
}

/// The bytes of a hello for names that the library would not let anybody write.
fn hello_for(names: &[&str]) -> Vec<u8> {
    let mut payload = framelane::wire::Writer::new();
    payload.raw(&[7; 16]).byte(0).text("test").varint(names.len() as u64);
    for name in names {
        payload.text(name);
    }
    let mut message = framelane::wire::Writer::new();
    message.varint(1).varint(payload.len() as u64).raw(&payload.finish());
    message.finish().to_vec()
}

#[tokio::test]
async fn garbage_in_the_middle_of_a_session_ends_that_session_alone() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let mut other = Peer::welcomed(&place, &receiver, &["other"]).await;
    for what in [
        vec![0xff; 100],
        vec![0x3e, 0],
        hello(&["again"]).encode().to_vec(),
        Message::Offer(Offer { source: SourceId(1), entries: entries(1) }).encode().to_vec(),
    ] {
        let mut peer = Peer::welcomed(&place, &receiver, &["bad"]).await;
        peer.say_bytes(&what).await;
        let (code, why) = peer.closed().await;
        assert_eq!(code, CloseCode::Protocol, "{why}");
        assert!(!why.is_empty());
    }
    other.send(&header(0, 0, b"body"), b"body").await;
    assert!(matches!(other.hear().await, Message::Receipts(_)));
    other.leave().await;
    receiver.assert_serves(&[]);
}

pub(super) fn entries(count: u64) -> Vec<OfferEntry> {
    let entry = |index| OfferEntry {
        sequence: Sequence(index),
        name: FrameName::parse(&format!("{index}.bin")).unwrap(),
        bytes: 10,
        modified: None,
        hash: None,
    };
    (0..count).map(entry).collect()
}

#[tokio::test]
async fn a_session_stream_that_ends_too_early_is_no_harm() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let mut peer = Peer::welcomed(&place, &receiver, &["bad"]).await;
    peer.fall_silent();
    peer.send(&header(0, 0, b"body"), b"body").await;
    assert!(matches!(peer.hear().await, Message::Receipts(_)));
    peer.leave().await;
    receiver.assert_serves(&[]);
}

#[tokio::test]
async fn streams_that_send_nothing_or_next_to_nothing_end_the_session() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--stall", "500ms"]);
    let mut other = Peer::welcomed(&place, &receiver, &["other"]).await;
    for chatty in [false, true] {
        let peer = Peer::welcomed(&place, &receiver, &["bad"]).await;
        let body = vec![0; 1_000];
        let start = wire(&header(0, 0, &body), &body[..1]);
        let mut streams = Vec::new();
        for _ in 0..100 {
            let mut stream = peer.open().await;
            stream.write_all(&start[..start.len().min(2)]).await.unwrap();
            streams.push(stream);
        }
        let trickle = async {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            for byte in start[2..].iter().cycle() {
                tick.tick().await;
                if chatty && streams[0].write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
        };
        let (code, why) = tokio::select! {
            closed = peer.closed() => closed,
            () = trickle => peer.closed().await,
        };
        assert_eq!(code, CloseCode::Stalled, "{why}");
        assert!(why.contains("frames are open"), "{why}");
    }
    // Somebody who has nothing to send is not stalled.
    other.send(&header(0, 0, b"body"), b"body").await;
    assert!(matches!(other.hear().await, Message::Receipts(_)));
    other.leave().await;
    receiver.assert_serves(&[]);
}

#[tokio::test]
async fn a_receiver_ends_though_a_peer_does_not_listen() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let options = Options { session_window: Some(64), ..Options::default() };
    let mut peer = Peer::with(&place, &receiver, &options).await;
    peer.say(&hello(&["deaf"])).await;
    // More questions than fit into all windows and queues.
    let probe = Message::ClockProbe(1).encode();
    let probes = probe.repeat(32 * 1024 * 1024 / probe.len());
    let all = tokio::time::timeout(Duration::from_secs(3), peer.say_bytes(&probes)).await;
    assert!(all.is_err(), "the receiver took 32 MiB of questions that it could not answer");
    receiver.process().signal(Signal::INT);
    receiver.finish().expect(130);
}

/// A camera's sender that was killed before it had written down where its run begins asks again, with the same run.
#[tokio::test]
async fn a_run_without_an_end_goes_on_from_its_own_beginning() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let camera = |run: u8| {
        let Message::Hello(mut hello) = hello(&["camera"]) else { unreachable!() };
        hello.session = [run; 16];
        hello.sources[0].run = RunId([run; 16]);
        hello.sources[0].endless = true;
        Message::Hello(hello)
    };
    let mut told = Vec::new();
    // The same run again after two frames of it, and then another.
    for (run, frames) in [(1, 3), (2, 2), (2, 0), (3, 0)] {
        let mut peer = Peer::connect(&place, &receiver).await;
        peer.say(&camera(run)).await;
        let Message::Welcome(welcome) = peer.hear().await else { panic!("no welcome") };
        let next = welcome.next[0].0;
        told.push(next);
        for sequence in next..next + frames {
            peer.send(&header(0, sequence, b"body"), b"body").await;
            assert!(matches!(peer.hear().await, Message::Receipts(_)), "{sequence}");
        }
        peer.leave().await;
    }
    assert_eq!(told, [0, 3, 3, 5]);
}
