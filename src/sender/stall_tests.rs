//! Receivers that let nothing come, sources with a defect, and what a hostile receiver costs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::session_tests::{FRAMES, FarEnd, Hand, Memory};
use super::*;
use crate::frame::{Sequence, SourceName, UnixNanos};
use crate::source::{Content, Description, Extent, Source, SourceError};
use crate::transport::{BoxFuture, Dial, MESSAGE_QUEUE, PathStats, SenderLink, TransportError};
use crate::wire::{Message, Notice, Receipts, Refusal, RefusalCode, SequenceRun, SourceId};

const RETRY_FOR: Duration = Duration::from_secs(5);
const STALL: Duration = Duration::from_secs(3);

/// How far a hostile receiver goes along with the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gives {
    Nothing,
    Welcome,
    /// Answers, but no room: no frame is taken from the queue.
    Answers,
    /// Frames are taken, and never confirmed.
    Room,
    /// Receipts for all frames, but no totals.
    Receipts,
}

/// Serves every session so, and answers every question about the clock, as a sign of life.
async fn serve(mut links: mpsc::UnboundedReceiver<FarEnd>, gives: Gives) {
    while let Some(mut link) = links.recv().await {
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    message = link.messages.recv() => {
                        let Some(message) = message else { return };
                        if !go_along(&mut link, message, gives).await {
                            return;
                        }
                    }
                    Some(frame) = link.frames.recv(), if gives >= Gives::Room => {
                        if gives == Gives::Receipts {
                            let (source, sequence) = (frame.header.source, frame.header.meta.sequence);
                            let receipts = Receipts::new(source, UnixNanos::now(), [sequence]);
                            let _ = link.incoming.send(Message::Receipts(receipts)).await;
                        }
                    }
                    Some(_) = link.keeper.close.recv() => {
                        link.keeper.ended(TransportError::Ended);
                        return;
                    }
                }
            }
        });
    }
}

async fn go_along(link: &mut FarEnd, message: Message, gives: Gives) -> bool {
    let says = match &message {
        Message::Hello(_) => gives >= Gives::Welcome,
        Message::Offer(_) => gives >= Gives::Answers,
        Message::ClockProbe(asked) => {
            let (asked, arrived) = (*asked, UnixNanos::now().0);
            let reply = Message::ClockReply { asked, arrived, replied: arrived };
            return link.incoming.send(reply).await.is_ok();
        }
        _ => false,
    };
    if says {
        link.answer(Some(message)).await;
    }
    true
}

/// Sends a source to a receiver that goes along so far; the report, and how long it took on a clock that
/// goes by itself.
async fn run_against(gives: Gives, options: SendOptions) -> (SendReport, Duration) {
    let (hand, links) = mpsc::unbounded_channel();
    let receiver = tokio::spawn(serve(links, gives));
    let sources: Vec<Arc<dyn Source>> =
        vec![Arc::new(Memory(SourceName::parse("visible").unwrap()))];
    let (_go_on, stop) = watch::channel(false);
    let path = PathStats { datagrams_received: Some(0), ..PathStats::default() };
    let began = Instant::now();
    let progress = Arc::new(Progress::new([FRAMES]));
    let report = run(&Hand(hand, path), sources, options, progress, stop).await;
    receiver.abort();
    (report, began.elapsed())
}

fn options(retry_for: Duration, stall: Duration) -> SendOptions {
    SendOptions { retry_for, stall, ..SendOptions::default() }
}

const WAITS: [(Gives, &str); 5] = [
    (Gives::Nothing, "no answer to the hello"),
    (Gives::Welcome, "no answer to an offer"),
    (Gives::Answers, "no receipt for 2 frames under way, nor room for more of them"),
    (Gives::Room, "no receipt for 8 frames under way"),
    (Gives::Receipts, "no totals"),
];

/// However a receiver holds a sender up, `--retry-for` is kept, and what was waited for is said.
#[tokio::test]
async fn a_receiver_that_lets_nothing_come_is_left_when_patience_ends() {
    for (gives, what) in WAITS {
        let short = Duration::from_secs(1);
        let (report, took) = run_against(gives, options(short, Duration::from_secs(60))).await;
        assert!(took >= short && took < 3 * short, "{gives:?}: {took:?}");
        let error = report.error.unwrap();
        assert!(error.contains(what) && error.contains("(`retry_for`)"), "{gives:?}: {error}");
    }
}

/// A stall ends a session, and the next is given what is left.
#[tokio::test]
async fn a_stall_ends_the_session_and_counts_as_time_without_one() {
    let tenth = |time: Duration| time / 10;
    let (report, took) = run_against(Gives::Welcome, options(tenth(RETRY_FOR), tenth(STALL))).await;
    let error = report.error.unwrap();
    assert!(report.sessions >= 2, "{} sessions: {error}", report.sessions);
    assert!(
        took >= tenth(RETRY_FOR) && took < tenth(RETRY_FOR) + Duration::from_secs(2),
        "{took:?}"
    );
}

/// Whoever asks once has the whole stall.
#[tokio::test]
async fn without_patience_a_stall_is_waited_for_once() {
    let (report, took) =
        run_against(Gives::Room, options(Duration::ZERO, Duration::from_millis(600))).await;
    assert_eq!(report.sessions, 1);
    assert!(took >= Duration::from_millis(600) && took < Duration::from_millis(2_600), "{took:?}");
    let error = report.error.unwrap();
    assert!(error.ends_with("came from the receiver within 600 ms (`stall`)"), "{error}");
}

/// Dials for ever.
struct Unreachable;

impl Dial for Unreachable {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn dialling_has_what_is_left_of_the_patience() {
    let began = Instant::now();
    let (_go_on, stop) = watch::channel(false);
    let progress = Arc::new(Progress::new([]));
    let report = run(&Unreachable, Vec::new(), options(RETRY_FOR, STALL), progress, stop).await;
    let took = began.elapsed();
    assert!(took >= RETRY_FOR && took < RETRY_FOR + Duration::from_secs(2), "{took:?}");
    let error = report.error.unwrap();
    assert!(error.contains("no connection came about within 5 s (`retry_for`)"), "{error}");
}

/// A receiver whose disk is full says so again and again, of far fewer frames than it would be sent, and then has room.
#[tokio::test]
async fn a_receiver_that_says_what_it_waits_for_has_not_stalled() {
    let (hand, mut links) = mpsc::unbounded_channel();
    let sources: Vec<Arc<dyn Source>> =
        vec![Arc::new(Memory(SourceName::parse("visible").unwrap()))];
    let (_go_on, stop) = watch::channel(false);
    let sending = tokio::spawn(async move {
        let options = options(Duration::from_secs(60), Duration::from_millis(1_500));
        run(&Hand(hand, PathStats::default()), sources, options, Arc::new(Progress::new([])), stop)
            .await
    });
    let mut link = links.recv().await.unwrap();
    let mut refused = 0;
    let full_until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < full_until {
        tokio::select! {
            message = link.messages.recv() => { link.answer(message).await; }
            frame = link.frames.recv() => {
                let meta = frame.expect("the sender goes on").header.meta;
                let refusal = Refusal::new(SourceId(0), meta.sequence, RefusalCode::NoSpace, "full");
                link.incoming.send(Message::Refusal(refusal)).await.unwrap();
                refused += 1;
            }
        }
    }
    // Those that were under way at first, and then one at a time.
    assert!((2..100).contains(&refused), "{refused} frames went in vain");
    // Nobody waits for a pause of four seconds.
    let (kind, text) = (Notice::ROOM_AGAIN, "there is room".to_owned());
    link.incoming.send(Message::Notice(Notice { kind, text })).await.unwrap();
    link.take_all().await;
    let report = sending.await.unwrap();
    assert!(report.is_complete() && report.sessions == 1, "{:?}", report.error);
}

/// A source of somebody else's, with a defect.
struct Defect(SourceName);

impl Source for Defect {
    fn name(&self) -> &SourceName {
        &self.0
    }
    fn extent(&self) -> Extent {
        Extent::fixed(1)
    }
    fn describe(&self, _: Sequence) -> Result<Description, SourceError> {
        panic!("a defect in a source")
    }
    fn read(&self, _: Sequence, _: u64) -> Result<Content, SourceError> {
        panic!("a defect in a source")
    }
    fn label(&self, sequence: Sequence) -> String {
        sequence.to_string()
    }
}

#[tokio::test]
async fn a_panic_in_a_source_ends_the_run() {
    let (to_test, mut opened) = mpsc::unbounded_channel();
    let dial = Hand(to_test, PathStats::default());
    let (_stop, stop) = watch::channel(false);
    let sources: Vec<Arc<dyn Source>> = vec![Arc::new(Defect(SourceName::parse("s").unwrap()))];
    let run = tokio::spawn(async move {
        let options = options(Duration::ZERO, STALL);
        crate::sender::run(&dial, sources, options, Arc::new(Progress::new([1])), stop).await
    });
    let mut far: FarEnd = opened.recv().await.unwrap();
    far.answer_next().await;
    let told = far.keeper.close.recv().await.unwrap();
    far.keeper.ended(TransportError::Ended);
    let report = run.await.unwrap();
    let error = report.error.unwrap();
    assert!(error.contains("source s") && error.contains("a defect in a source"), "{error}");
    assert!(told.1.contains("a source at the sender has failed"), "{told:?}");
    assert_eq!(report.sources[0].missing, 1);
}

#[tokio::test]
async fn sources_that_cannot_go_together_are_refused() {
    let source = |name: &str| Arc::new(Memory(SourceName::parse(name).unwrap())) as Arc<dyn Source>;
    for (sources, says) in [
        (vec![source("a"), source("b"), source("a")], "two sources are called a"),
        ((0..65).map(|number| source(&format!("s{number}"))).collect(), "at most 64"),
    ] {
        let (_stop, stop) = watch::channel(false);
        let progress = Arc::new(Progress::new([]));
        let report = run(&Unreachable, sources, options(STALL, STALL), progress, stop).await;
        let error = report.error.unwrap();
        assert!(error.contains(says), "{error}");
    }
}

/// Receipts that name what is known again and again cost no more than their bytes, and in the end the
/// session.
#[tokio::test]
async fn a_receiver_that_tells_the_same_again_and_again_is_left() {
    let (hand, mut links) = mpsc::unbounded_channel();
    let sources: Vec<Arc<dyn Source>> =
        vec![Arc::new(Memory(SourceName::parse("visible").unwrap()))];
    let (_go_on, stop) = watch::channel(false);
    let sending = tokio::spawn(async move {
        let options = options(Duration::ZERO, Duration::from_secs(60));
        run(&Hand(hand, PathStats::default()), sources, options, Arc::new(Progress::new([])), stop)
            .await
    });
    let mut link = links.recv().await.unwrap();
    // All frames but the last are confirmed in order.
    let mut stored = 0;
    while stored < FRAMES - 1 {
        tokio::select! {
            message = link.messages.recv() => { link.answer(message).await; }
            frame = link.frames.recv() => {
                let sequence = frame.expect("the sender goes on").header.meta.sequence;
                let receipts = Receipts::new(SourceId(0), UnixNanos::now(), [sequence]);
                link.incoming.send(Message::Receipts(receipts)).await.unwrap();
                stored += 1;
            }
        }
    }
    let runs = vec![SequenceRun { first: Sequence(0), count: FRAMES - 1 }; 1_000];
    let again = Message::Receipts(Receipts { source: SourceId(0), stored: UnixNanos(0), runs });
    let mut told = 0;
    loop {
        tokio::select! {
            sent = link.incoming.send(again.clone()) => { sent.unwrap(); told += 1; }
            Some((_, why)) = link.keeper.close.recv() => {
                assert!(why.contains("again and again"), "{why}");
                link.keeper.ended(TransportError::Ended);
                break;
            }
        }
    }
    assert!(told <= 10 + MESSAGE_QUEUE, "{told} messages");
    assert!(sending.await.unwrap().error.unwrap().contains("again and again"));
}

/// What a peer says that only a sender says is named, and not repeated.
#[tokio::test]
async fn a_message_of_the_wrong_end_is_named_in_a_line() {
    let (hand, mut links) = mpsc::unbounded_channel();
    let sources: Vec<Arc<dyn Source>> =
        vec![Arc::new(Memory(SourceName::parse("visible").unwrap()))];
    let (_go_on, stop) = watch::channel(false);
    let sending = tokio::spawn(async move {
        let options = options(Duration::ZERO, STALL);
        run(&Hand(hand, PathStats::default()), sources, options, Arc::new(Progress::new([])), stop)
            .await
    });
    let mut link = links.recv().await.unwrap();
    link.answer_next().await;
    let offer = loop {
        match link.messages.recv().await {
            Some(offer @ Message::Offer(_)) => break offer,
            other => assert!(other.is_some(), "the sender has gone"),
        }
    };
    link.incoming.send(offer).await.unwrap();
    link.keeper.close.recv().await.unwrap();
    link.keeper.ended(TransportError::Ended);
    let error = sending.await.unwrap().error.unwrap();
    assert!(error.contains("only a sender says offer") && error.len() < 300, "{error}");
}
