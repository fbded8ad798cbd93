//! Our receiver against the script client, and against worse.

use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::super::receiver::{Admission, converse, next_sequence};
use super::super::socket::Connection;
use super::super::{ReceiverSettings, SenderSettings, StopAndWaitDial, listen};
use super::in_time;
use super::scripts::{Sends, client};
use super::sessions::{Frames, Stored, frames, send, store};
use crate::frame::{ByteSize, FrameName};
use crate::transport::{Dial, Intake, Listener, MemoryBudget, TransportError};
use crate::wire::RefusalCode;
use crate::wire::stop_and_wait::Header;

impl Connection for DuplexStream {}

const MAX_FRAME: u64 = 1 << 20;

fn intake() -> Intake {
    Intake {
        max_frame: ByteSize(MAX_FRAME),
        budget: MemoryBudget::new(ByteSize(8 << 20)),
        stall: Duration::from_secs(5),
        max_sessions: 8,
        voice: crate::transport::Voice::default(),
    }
}

fn listener() -> Listener {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    listen(address, intake(), ReceiverSettings::default()).unwrap()
}

/// A client's side of a conversation in memory, under a clock that stands still while anybody has
/// something to do.
struct Pipe(DuplexStream);

impl Pipe {
    /// Sends the pieces one after the other, 1 ms apart: less than any silence that counts.
    async fn say(&mut self, pieces: &[&[u8]]) {
        for piece in pieces {
            if self.0.write_all(piece).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// What one `recv(1024)` returns; empty at the end.
    async fn recv(&mut self) -> Vec<u8> {
        let mut buffer = [0; 1_024];
        let read = self.0.read(&mut buffer).await.unwrap_or(0);
        buffer[..read].to_vec()
    }

    async fn say_and_hear_ok(&mut self, pieces: &[&[u8]]) {
        self.say(pieces).await;
        assert_eq!(self.recv().await, b"ok");
    }
}

/// Runs a conversation to its end; `None` where no session came of it.
fn converse_in_memory<F: Future<Output = ()>>(
    verdict: fn(&str) -> Option<RefusalCode>,
    client: impl FnOnce(Pipe) -> F,
) -> Option<Stored> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (ours, theirs) = duplex(64 << 10);
        let (found, mut links) = mpsc::channel(1);
        let address = SocketAddr::from(([127, 0, 0, 1], 8_000));
        let settings = ReceiverSettings::default();
        let serving =
            converse(theirs, address, Admission::new(&intake()), intake(), settings, found);
        let storing = async {
            match links.recv().await {
                Some(link) => Some(store(link, verdict).await),
                None => None,
            }
        };
        let ((), stored, ()) = tokio::join!(serving, storing, client(Pipe(ours)));
        stored
    })
}

fn all_stored(_: &str) -> Option<RefusalCode> {
    None
}

/// Cuts a text before each byte that `cuts` says.
fn split<'a>(text: &'a [u8], cuts: &[bool]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut start = 0;
    for at in 1..text.len() {
        if cuts[at % cuts.len()] {
            pieces.push(&text[start..at]);
            start = at;
        }
    }
    pieces.push(&text[start..]);
    pieces
}

fn send_split(frames: &Frames, cuts: &[bool]) -> Stored {
    let stored = converse_in_memory(all_stored, |mut pipe| async move {
        pipe.say_and_hear_ok(&split(b"visible|./data/visible/", cuts)).await;
        for (at, (name, body)) in frames.iter().enumerate() {
            let command = if at > 0 { "continue" } else { "" };
            let text = format!("{command}{}|{name}", body.len());
            pipe.say_and_hear_ok(&split(text.as_bytes(), cuts)).await;
            pipe.say_and_hear_ok(&split(body, cuts)).await;
        }
        pipe.say(&split(b"over", cuts)).await;
        assert_eq!(pipe.recv().await, b"");
    });
    stored.expect("no session came of it")
}

fn assert_all_arrived(stored: &Stored, frames: &Frames) {
    assert_eq!(stored.source.as_deref(), Some("visible"));
    assert_eq!(stored.frames_alone(), *frames);
    assert_eq!(stored.end, Some(frames.len() as u64));
    assert!(matches!(stored.cause, TransportError::ClosedByPeer { code: 0, .. }));
}

fn awkward_frames() -> Frames {
    let names = ["0.png", "1", "2.png.jpg", "continue", "over", "雪 3.tiff", "4.tif"];
    let body = |at: usize| (0..2 + 7 * at).map(|byte| byte as u8).collect();
    names.iter().enumerate().map(|(at, name)| ((*name).to_owned(), body(at))).collect()
}

#[test]
fn merged_texts() {
    let frames = awkward_frames();
    assert_all_arrived(&send_split(&frames, &[false]), &frames);
}

#[test]
fn one_byte_at_a_time() {
    let frames = awkward_frames();
    assert_all_arrived(&send_split(&frames, &[true]), &frames);
}

proptest! {
    #[test]
    fn any_split(cuts in proptest::collection::vec(any::<bool>(), 1..50)) {
        let frames = awkward_frames();
        assert_all_arrived(&send_split(&frames, &cuts), &frames);
    }
}

#[test]
fn ok_is_said_of_what_is_stored_alone() {
    let verdict = |name: &str| match name {
        "0.png" => Some(RefusalCode::NotNeeded),
        _ => Some(RefusalCode::NoSpace),
    };
    let stored = converse_in_memory(verdict, |mut pipe| async move {
        pipe.say_and_hear_ok(&[b"visible|x"]).await;
        pipe.say_and_hear_ok(&[b"3|0.png"]).await;
        pipe.say_and_hear_ok(&[b"abc"]).await;
        pipe.say_and_hear_ok(&[b"continue3|1.png"]).await;
        pipe.say(&[b"abc"]).await;
        assert_eq!(pipe.recv().await, b"");
    });
    let stored = stored.unwrap();
    assert_eq!(stored.end, None);
    assert!(stored.cause.to_string().contains("no space left"), "{}", stored.cause);
}

#[test]
fn the_end_of_the_connection_after_a_whole_frame_is_the_end_of_the_source() {
    let stored = converse_in_memory(all_stored, |mut pipe| async move {
        pipe.say_and_hear_ok(&[b"visible|x"]).await;
        pipe.say_and_hear_ok(&[b"3|0.png"]).await;
        pipe.say_and_hear_ok(&[b"abc"]).await;
    });
    assert_eq!(stored.unwrap().end, Some(1));
}

#[test]
fn the_end_anywhere_else_is_a_loss() {
    for text in [&b"continue"[..], b"contin", b"continue3|1", b"continue3|1.png", b"ov"] {
        let stored = converse_in_memory(all_stored, |mut pipe| async move {
            pipe.say_and_hear_ok(&[b"visible|x"]).await;
            pipe.say_and_hear_ok(&[b"3|0.png"]).await;
            pipe.say_and_hear_ok(&[b"abc"]).await;
            pipe.say(&[text]).await;
        });
        let stored = stored.unwrap();
        assert_eq!((stored.end, stored.frames.len()), (None, 1));
        assert!(matches!(stored.cause, TransportError::Lost { .. }), "{}", stored.cause);
    }
}

#[test]
fn what_is_no_opening_gets_no_session() {
    let long = "x".repeat(1_025);
    for opening in ["visible", "a|b|c", "|x", "\u{1}|..", "a/b|..", "", long.as_str()] {
        let stored = converse_in_memory(all_stored, |mut pipe| async move {
            pipe.say(&[opening.as_bytes()]).await;
            assert_eq!(pipe.recv().await, b"", "{opening:?} was answered");
        });
        assert!(stored.is_none(), "{opening:?} was taken");
    }
}

#[test]
fn hostile_headers_are_refused_before_any_body() {
    for header in [
        "5|../x",
        "5|/etc/passwd",
        "5|a\\b",
        "5|..",
        "5|manifest.jsonl",
        "5|a|b",
        "-5|a.png",
        "abc|a.png",
        "|a.png",
        "0|a.png",
        "1048577|a.png",
        "999999999999|a.png",
        "99999999999999999999999|a.png",
        "over",
        "continue5|a.png",
    ] {
        let stored = converse_in_memory(all_stored, |mut pipe| async move {
            pipe.say_and_hear_ok(&[b"visible|x"]).await;
            pipe.say(&[header.as_bytes()]).await;
            assert_eq!(pipe.recv().await, b"", "{header:?} was answered");
        });
        let stored = stored.unwrap();
        assert_eq!((stored.frames.len(), stored.refused.len()), (0, 1), "{header:?}");
    }
}

#[test]
fn the_wrong_order_is_refused() {
    for text in ["3|1.png", "ok", "visible|x", "continuecontinue", "overcontinue3|1"] {
        let stored = converse_in_memory(all_stored, |mut pipe| async move {
            pipe.say_and_hear_ok(&[b"visible|x"]).await;
            pipe.say_and_hear_ok(&[b"3|0.png"]).await;
            pipe.say_and_hear_ok(&[b"abc"]).await;
            pipe.say(&[text.as_bytes()]).await;
            assert_eq!(pipe.recv().await, b"", "{text:?} was answered");
        });
        assert_eq!(stored.unwrap().frames.len(), 1, "{text:?}");
    }
}

#[test]
fn a_header_cut_short_is_noticed_by_the_byte_too_many() {
    let stored = converse_in_memory(all_stored, |mut pipe| async move {
        pipe.say_and_hear_ok(&[b"visible|x"]).await;
        // The end of the name comes long after the silence that ends a header.
        pipe.say(&[b"3|0.pn"]).await;
        sleep(Duration::from_millis(200)).await;
        pipe.say(&[b"gabc"]).await;
        assert_eq!(pipe.recv().await, b"ok");
        assert_eq!(pipe.recv().await, b"");
    });
    let stored = stored.unwrap();
    assert_eq!(stored.frames.len(), 0);
    assert!(stored.cause.to_string().contains("pieces"), "{}", stored.cause);
}

#[test]
fn silence_is_bounded_everywhere() {
    let quiet: [&[&[u8]]; 5] = [
        &[b""],
        &[b"visible"],
        &[b"visible|x", b"5"],
        &[b"visible|x", b"500|a.png", b"abc"],
        &[b"visible|x", b"3|a.png", b"abc", b"conti"],
    ];
    for texts in quiet {
        converse_in_memory(all_stored, |mut pipe| async move {
            let (last, before) = texts.split_last().unwrap();
            for text in before {
                pipe.say_and_hear_ok(&[text]).await;
            }
            pipe.say(&[last]).await;
            // Nothing more: the receiver ends it, or this would never return.
            assert_eq!(pipe.recv().await, b"");
        });
    }
}

#[test]
fn one_byte_a_second_is_no_progress() {
    let stored = converse_in_memory(all_stored, |mut pipe| async move {
        pipe.say_and_hear_ok(&[b"visible|x"]).await;
        pipe.say_and_hear_ok(&[b"1000000|a.png"]).await;
        let begun = tokio::time::Instant::now();
        while pipe.0.write_all(b"x").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
            assert!(begun.elapsed() < Duration::from_secs(20), "it is still served");
        }
    });
    assert!(stored.unwrap().cause.to_string().contains("no progress"));
}

#[test]
fn memory_follows_what_arrives() {
    let intake = intake();
    let budget = intake.budget.clone();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let (ours, theirs) = duplex(64 << 10);
        let (found, mut links) = mpsc::channel(1);
        let address = SocketAddr::from(([127, 0, 0, 1], 8_000));
        tokio::spawn(converse(
            theirs,
            address,
            Admission::new(&intake),
            intake,
            ReceiverSettings::default(),
            found,
        ));
        let mut pipe = Pipe(ours);
        pipe.say(&[b"visible|x"]).await;
        tokio::spawn(store(links.recv().await.unwrap(), all_stored));
        assert_eq!(pipe.recv().await, b"ok");
        pipe.say_and_hear_ok(&[b"1000000|a.png"]).await;
        pipe.say(&[b"abc"]).await;
        assert!(budget.in_use() <= 64 << 10, "{} bytes for 3", budget.in_use());
        pipe.say(&[&[0; 200_000]]).await;
        assert!((200_000..600_000).contains(&budget.in_use()), "{}", budget.in_use());
        drop(pipe);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(budget.in_use(), 0);
    });
}

#[test]
fn a_sequence_is_the_number_in_the_name_while_it_goes_up() {
    let names = ["3.png", "4.png", "4.jpg", "a.png", "2.png", "100.png", "x"];
    let mut last = None;
    let mut sequences = Vec::new();
    for name in names {
        let header = Header { bytes: 5, name: FrameName::parse(name).unwrap() };
        let sequence = next_sequence(&header, last);
        sequences.push(sequence.0);
        last = Some(sequence);
    }
    assert_eq!(sequences, [3, 4, 5, 6, 7, 100, 101]);
}

#[tokio::test]
async fn scripts_are_served_over_tcp_side_by_side() {
    let mut listener = listener();
    let frames = frames(5, "png");
    let merged = client(listener.address, "visible|visible", frames.clone(), Sends::Merged);
    let one = in_time(listener.links.recv()).await.unwrap();
    let apart = client(listener.address, "0|D:\\data\\infrared", frames.clone(), Sends::Apart);
    // The first is still open, and not yet welcomed, when the second has its session.
    let two = in_time(listener.links.recv()).await.unwrap();
    let (one, two) =
        in_time(async { tokio::join!(store(one, all_stored), store(two, all_stored)) }).await;
    assert_all_arrived(&one, &frames);
    assert_eq!(two.source.as_deref(), Some("infrared"));
    assert_eq!(two.frames_alone(), frames);
    assert_eq!((merged.join().unwrap(), apart.join().unwrap()), (11, 11));
}

#[tokio::test]
async fn a_script_notices_a_refusal() {
    let mut listener = listener();
    let script = client(listener.address, "visible|visible", frames(3, "png"), Sends::Apart);
    let link = in_time(listener.links.recv()).await.unwrap();
    let verdict = |name: &str| (name == "1.png").then_some(RefusalCode::Conflict);
    let stored = in_time(store(link, verdict)).await;
    assert_eq!(stored.end, None);
    // The opening, two for the first frame, the header of the second; none for its body.
    assert_eq!(script.join().unwrap(), 4);
}

#[tokio::test]
async fn our_sender_and_our_receiver() {
    let mut listener = listener();
    let dial = StopAndWaitDial::new(listener.address, SenderSettings::default());
    let sources = [("visible", frames(20, "png")), ("infrared", frames(10, "tif"))];
    let storing = async {
        let one = listener.links.recv().await.unwrap();
        let two = listener.links.recv().await.unwrap();
        tokio::join!(store(one, all_stored), store(two, all_stored))
    };
    let sending = async { send(dial.dial().await.unwrap(), &sources).await };
    let ((one, two), sent) = in_time(async { tokio::join!(storing, sending) }).await;
    assert_eq!((sent.totals[&0], sent.totals[&1]), (20, 10));
    for stored in [one, two] {
        let source = stored.source.clone().unwrap();
        let (_, frames) = sources.iter().find(|(name, _)| *name == source).unwrap();
        assert_eq!(stored.frames_alone(), *frames);
        assert_eq!(stored.end, Some(frames.len() as u64));
    }
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let taken = listener();
    let error = listen(taken.address, intake(), ReceiverSettings::default()).unwrap_err();
    assert!(error.to_string().contains("choose another `listen` port"), "{error}");
}
