//! Sources that grow while they are sent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::session_tests::{FarEnd, Hand, Memory, welcome};
use super::*;
use crate::frame::{DropReason, Sequence, SourceName, UnixNanos};
use crate::source::{Bell, Content, Description, Extent, Fate, Source, SourceError};
use crate::transport::{PathStats, TransportError};
use crate::wire::{Answer, Message, Receipts, SourceId, Totals, Verdict};

/// A source that grows while it is sent.
struct Growing {
    inner: Memory,
    frames: std::sync::Mutex<(Extent, Vec<std::time::Instant>, Option<Bell>)>,
    settled: std::sync::Mutex<Vec<(Sequence, Fate)>>,
}

impl Growing {
    fn new() -> Arc<Self> {
        let inner = Memory(SourceName::parse("live").unwrap());
        let frames = std::sync::Mutex::new((Extent::growing(0), Vec::new(), None));
        Arc::new(Self { inner, frames, settled: std::sync::Mutex::default() })
    }

    fn grow(&self, ended: bool) {
        let mut frames = self.frames.lock().unwrap();
        if ended {
            frames.0.ended = true;
        } else {
            frames.0.frames += 1;
            frames.1.push(std::time::Instant::now());
        }
        frames.2.as_ref().unwrap().ring();
    }
}

impl Source for Growing {
    fn name(&self) -> &SourceName {
        self.inner.name()
    }
    fn extent(&self) -> Extent {
        self.frames.lock().unwrap().0
    }
    fn wake_by(&self, bell: &Bell) {
        self.frames.lock().unwrap().2 = Some(bell.clone());
    }
    fn arrival(&self, sequence: Sequence) -> Option<std::time::Instant> {
        Some(self.frames.lock().unwrap().1[sequence.0 as usize])
    }
    fn origin(&self, next: Sequence) -> Sequence {
        next
    }
    fn settled(&self, sequence: Sequence, fate: Fate) {
        self.settled.lock().unwrap().push((sequence, fate));
    }
    fn describe(&self, sequence: Sequence) -> Result<Description, SourceError> {
        self.inner.describe(sequence)
    }
    fn read(&self, sequence: Sequence, limit: u64) -> Result<Content, SourceError> {
        self.inner.read(sequence, limit)
    }
    fn label(&self, sequence: Sequence) -> String {
        self.inner.label(sequence)
    }
}

#[tokio::test]
async fn what_comes_about_leaves_at_once_and_is_not_offered() {
    let (hand, mut links) = mpsc::unbounded_channel();
    let source = Growing::new();
    let (_go_on, stop) = watch::channel(false);
    let sources: Vec<Arc<dyn Source>> = vec![source.clone()];
    let sending = tokio::spawn(async move {
        let options = SendOptions::default();
        run(&Hand(hand, PathStats::default()), sources, options, Arc::new(Progress::new([])), stop)
            .await
    });
    let mut link = links.recv().await.unwrap();
    link.answer_next().await;
    for sequence in 0..5 {
        source.grow(false);
        let frame = loop {
            tokio::select! {
                message = link.messages.recv() => match message {
                    Some(Message::ClockProbe(_) | Message::Standing(_)) => {}
                    other => panic!("{other:?}"),
                },
                frame = link.frames.recv() => break frame.expect("the sender goes on"),
            }
        };
        assert!(frame.is_live() && frame.header.meta.sequence == Sequence(sequence));
        let receipts = Receipts::new(SourceId(0), UnixNanos::now(), [Sequence(sequence)]);
        link.incoming.send(Message::Receipts(receipts)).await.unwrap();
    }
    source.grow(true);
    loop {
        match link.messages.recv().await {
            Some(Message::EndOfRun(end)) => {
                assert_eq!(end.captured, 5);
                break;
            }
            other => assert!(
                matches!(other, Some(Message::ClockProbe(_) | Message::Standing(_))),
                "{other:?}"
            ),
        }
    }
    let totals = Totals { source: SourceId(0), stored: 5, already: 0 };
    link.incoming.send(Message::Totals(totals)).await.unwrap();
    link.keeper.close.recv().await.unwrap();
    link.keeper.ended(TransportError::Ended);
    let report = sending.await.unwrap();
    assert!(report.is_complete(), "{:?}", report.error);
    let latency = report.sources[0].latency.unwrap();
    assert_eq!((report.sources[0].frames, latency.count), (5, 5));
    let settled = source.settled.lock().unwrap().clone();
    let stored = (0..5).map(|sequence| (Sequence(sequence), Fate::Stored));
    assert_eq!(settled, stored.collect::<Vec<_>>());
}

/// Sends a source that grows; the session that was opened for it.
async fn start(
    source: &Arc<Growing>,
    options: SendOptions,
) -> (FarEnd, tokio::task::JoinHandle<SendReport>) {
    let (hand, mut links) = mpsc::unbounded_channel();
    let sources: Vec<Arc<dyn Source>> = vec![source.clone()];
    let sending = tokio::spawn(async move {
        let (_go_on, stop) = watch::channel(false);
        let dial = Hand(hand, PathStats::default());
        run(&dial, sources, options, Arc::new(Progress::new([])), stop).await
    });
    (links.recv().await.unwrap(), sending)
}

/// The next message that is no question about the clock.
async fn hear(link: &mut FarEnd) -> Message {
    loop {
        match link.messages.recv().await.expect("the sender goes on") {
            Message::ClockProbe(_) | Message::Standing(_) => {}
            other => return other,
        }
    }
}

#[tokio::test]
async fn a_source_goes_on_behind_what_the_receiver_knows() {
    let source = Growing::new();
    let (mut link, sending) = start(&source, SendOptions::default()).await;
    source.grow(false);
    let Message::Hello(hello) = hear(&mut link).await else { panic!("no hello") };
    assert!(hello.sources[0].endless);
    let Message::Welcome(mut known) = welcome(1_000, 1 << 20, 8) else { panic!("no welcome") };
    known.next = vec![Sequence(700)];
    link.incoming.send(Message::Welcome(known)).await.unwrap();
    let frame = link.frames.recv().await.unwrap();
    assert_eq!(frame.header.meta.sequence, Sequence(700));
    assert_eq!(frame.header.meta.due, None, "it is due when it was captured");
    let receipts = Receipts::new(SourceId(0), UnixNanos::now(), [Sequence(700)]);
    link.incoming.send(Message::Receipts(receipts)).await.unwrap();
    source.grow(true);
    let Message::EndOfRun(end) = hear(&mut link).await else { panic!("no end") };
    assert_eq!((end.first, end.captured, end.run), (Sequence(700), 1, hello.sources[0].run));
    let totals = Totals { source: SourceId(0), stored: 1, already: 0 };
    link.incoming.send(Message::Totals(totals)).await.unwrap();
    link.keeper.close.recv().await.unwrap();
    link.keeper.ended(TransportError::Ended);
    assert!(sending.await.unwrap().is_complete());
    assert_eq!(*source.settled.lock().unwrap(), [(Sequence(0), Fate::Stored)], "by its place");
}

/// The transport takes two frames and no more: what waits behind them grows old.
#[tokio::test]
async fn frames_that_cannot_make_it_are_dropped_declared_and_accounted_for() {
    let deadline = Duration::from_millis(200);
    let source = Growing::new();
    let options = SendOptions { deadlines: vec![Some(deadline)], ..SendOptions::default() };
    let (mut link, sending) = start(&source, options).await;
    let Message::Hello(hello) = hear(&mut link).await else { panic!("no hello") };
    assert!(hello.sources[0].live);
    link.incoming.send(welcome(1_000, 1 << 20, 100)).await.unwrap();
    for _ in 0..10 {
        source.grow(false);
    }
    let drops = hear(&mut link).await;
    let Message::Drops(told) = &drops else { panic!("{drops:?}") };
    assert!(told.ranges.iter().all(|range| range.reason == DropReason::Late), "{told:?}");
    assert!(told.ranges.iter().all(|range| range.captured.is_some()), "{told:?}");
    let dropped: u64 = told.ranges.iter().map(|range| range.count).sum();
    assert_eq!((told.run, dropped), (hello.sources[0].run, 8));
    // What is dropped is not told to be at its end before the receiver has noted it.
    source.grow(true);
    link.answer(Some(drops)).await;
    for _ in 0..2 {
        let sequence = link.frames.recv().await.unwrap().header.meta.sequence;
        let receipts = Receipts::new(SourceId(0), UnixNanos::now(), [sequence]);
        link.incoming.send(Message::Receipts(receipts)).await.unwrap();
    }
    let Message::EndOfRun(end) = hear(&mut link).await else { panic!("no end") };
    assert_eq!((end.captured, end.lost_count), (10, 8));
    let totals = Totals { source: SourceId(0), stored: 2, already: 0 };
    link.incoming.send(Message::Totals(totals)).await.unwrap();
    link.keeper.close.recv().await.unwrap();
    link.keeper.ended(TransportError::Ended);
    let report = sending.await.unwrap();
    let counts = &report.sources[0];
    assert_eq!((counts.frames, counts.stored, counts.dropped["late"]), (10, 2, 8));
    assert!(report.is_complete() && counts.missing == 0, "{:?}", report.error);
}

/// The end of a run that captured one frame.
async fn end_of_one(link: &mut FarEnd, source: &Growing, end: Message, stored: u64) {
    source.grow(true);
    let Message::EndOfRun(end) = end else { panic!("{end:?}") };
    assert_eq!((end.captured, end.lost_count), (1, 1 - stored));
    let totals = Totals { source: SourceId(0), stored, already: 0 };
    link.incoming.send(Message::Totals(totals)).await.unwrap();
    link.keeper.close.recv().await.unwrap();
    link.keeper.ended(TransportError::Ended);
}

/// A session whose transport has given up the one frame of its source.
async fn given_up() -> (Arc<Growing>, FarEnd, tokio::task::JoinHandle<SendReport>) {
    let source = Growing::new();
    let deadlines = vec![Some(Duration::from_secs(60))];
    let options = SendOptions { deadlines, ..SendOptions::default() };
    let (mut link, sending) = start(&source, options).await;
    link.answer_next().await;
    source.grow(false);
    let frame = link.frames.recv().await.unwrap();
    assert!(frame.deadline.is_some() && frame.is_live());
    link.stopping.give_up(&frame);
    source.grow(true);
    (source, link, sending)
}

#[tokio::test]
async fn a_frame_that_the_transport_gives_up_is_declared() {
    let (source, mut link, sending) = given_up().await;
    let drops = hear(&mut link).await;
    let Message::Drops(told) = &drops else { panic!("{drops:?}") };
    assert_eq!((told.ranges[0].reason, told.ranges[0].count), (DropReason::Late, 1));
    link.answer(Some(drops)).await;
    let end = hear(&mut link).await;
    end_of_one(&mut link, &source, end, 0).await;
    let report = sending.await.unwrap();
    assert_eq!((report.sources[0].stored, report.sources[0].dropped["late"]), (0, 1));
    assert!(report.is_complete(), "{:?}", report.error);
}

#[tokio::test]
async fn one_that_had_arrived_is_stored_and_never_declared() {
    let (source, mut link, sending) = given_up().await;
    let receipts = Receipts::new(SourceId(0), UnixNanos::now(), [Sequence(0)]);
    link.incoming.send(Message::Receipts(receipts)).await.unwrap();
    let end = hear(&mut link).await;
    end_of_one(&mut link, &source, end, 1).await;
    let report = sending.await.unwrap();
    assert_eq!((report.sources[0].stored, report.sources[0].dropped.len()), (1, 0));
    assert_eq!(*source.settled.lock().unwrap(), [(Sequence(0), Fate::Stored)]);
}

#[tokio::test]
async fn one_that_was_declared_and_had_arrived_counts_as_stored() {
    let (source, mut link, sending) = given_up().await;
    let drops = hear(&mut link).await;
    assert!(matches!(drops, Message::Drops(_)), "{drops:?}");
    let receipts = Receipts::new(SourceId(0), UnixNanos::now(), [Sequence(0)]);
    link.incoming.send(Message::Receipts(receipts)).await.unwrap();
    link.answer(Some(drops)).await;
    let end = hear(&mut link).await;
    end_of_one(&mut link, &source, end, 1).await;
    let report = sending.await.unwrap();
    assert_eq!((report.sources[0].stored, report.sources[0].dropped.len()), (1, 0));
    assert!(report.is_complete(), "{:?}", report.error);
}

#[tokio::test]
async fn where_the_session_is_lost_before_that_is_known_the_next_one_asks() {
    let source = Growing::new();
    let deadlines = vec![Some(Duration::from_secs(60))];
    let options =
        SendOptions { deadlines, retry_for: Duration::from_secs(60), ..SendOptions::default() };
    let (hand, mut links) = mpsc::unbounded_channel();
    let sources: Vec<Arc<dyn Source>> = vec![source.clone()];
    let sending = tokio::spawn(async move {
        let (_go_on, stop) = watch::channel(false);
        // Nothing is heard from the moment on at which it is given up.
        let path = PathStats { datagrams_received: Some(1), ..PathStats::default() };
        run(&Hand(hand, path), sources, options, Arc::new(Progress::new([])), stop).await
    });
    let mut link = links.recv().await.unwrap();
    link.answer_next().await;
    source.grow(false);
    let frame = link.frames.recv().await.unwrap();
    link.stopping.give_up(&frame);
    source.grow(true);
    let silent = std::time::Instant::now();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let silent = silent.elapsed();
    assert!(silent < Duration::from_secs(5), "a session kept its thread to itself for {silent:?}");
    assert!(!matches!(link.messages.try_recv(), Ok(Message::Drops(_))), "nothing is known of it");
    let address = ([127, 0, 0, 1], 1).into();
    link.keeper.ended(TransportError::Lost { address, why: "an outage".to_owned() });
    drop(link);
    let mut link = links.recv().await.unwrap();
    link.answer_next().await;
    let Message::Offer(offer) = hear(&mut link).await else { panic!("no offer") };
    let stored = Answer::new(offer.source, [Verdict::Stored]);
    link.incoming.send(Message::Answer(stored)).await.unwrap();
    let end = hear(&mut link).await;
    end_of_one(&mut link, &source, end, 1).await;
    let report = sending.await.unwrap();
    assert_eq!((report.sources[0].stored, report.sources[0].dropped.len()), (1, 0));
}

#[tokio::test]
async fn a_run_that_is_stopped_twice_waits_for_no_last_words() {
    let source = Growing::new();
    let (hand, mut links) = mpsc::unbounded_channel();
    let sources: Vec<Arc<dyn Source>> = vec![source.clone()];
    let (told, stop) = watch::channel(false);
    let sending = tokio::spawn(async move {
        let dial = Hand(hand, PathStats::default());
        run(&dial, sources, SendOptions::default(), Arc::new(Progress::new([])), stop).await
    });
    let mut link = links.recv().await.unwrap();
    link.answer_next().await;
    source.grow(false);
    // It is never confirmed.
    link.frames.recv().await.unwrap();
    let began = std::time::Instant::now();
    told.send_replace(true);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!sending.is_finished(), "the receiver has time for its receipts");
    told.send_replace(true);
    link.keeper.close.recv().await.unwrap();
    link.keeper.ended(TransportError::Ended);
    let report = sending.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!((report.sources[0].frames, report.sources[0].missing), (1, 1));
}
