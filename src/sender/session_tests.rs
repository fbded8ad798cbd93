//! Sessions with a receiver in memory: what an outage leaves over beside the frames that go on falling due, and
//! a receiver that is silent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::*;
use crate::frame::{FrameName, Sequence, SourceName, UnixNanos};
use crate::source::{Content, Description, Extent, Source, SourceError};
use crate::transport::{
    BoxFuture, Dial, FRAME_QUEUE, Forecast, GivenUp, LinkEnd, LinkKeeper, MESSAGE_QUEUE,
    OutgoingFrame, PathStats, PathWatch, SenderLink, Transport, TransportError, Via,
};
use crate::wire::{
    Answer, Capabilities, CloseCode, Declined, Message, Noted, Receipts, Refusal, RefusalCode,
    SequenceRun, SourceId, Totals, Unopened, Verdict, Welcome,
};

pub(super) const FRAMES: u64 = 200;
const PER_SECOND: f64 = 100.0;
/// Half of what falls due in it is late at its end.
const OUTAGE: Duration = Duration::from_secs(1);
/// Frames that may be unconfirmed: far fewer than are late.
const WINDOW: u64 = 8;
/// How much faster than they fall due the link takes frames, as a time for each.
const LINK_TIME: Duration = Duration::from_millis(4);
/// The scheduler of a busy machine may take this long.
const SLACK: Duration = Duration::from_millis(150);

/// A source in memory.
pub(super) struct Memory(pub(super) SourceName);

impl Source for Memory {
    fn name(&self) -> &SourceName {
        &self.0
    }

    fn extent(&self) -> Extent {
        Extent::fixed(FRAMES)
    }

    fn describe(&self, sequence: Sequence) -> Result<Description, SourceError> {
        let name = FrameName::parse(&format!("{sequence}.bin")).expect("a valid name");
        Ok(Description { name, bytes: 100, modified: None, captured: None })
    }

    fn read(&self, sequence: Sequence, limit: u64) -> Result<Content, SourceError> {
        let body = Bytes::from(vec![0; 100]);
        let description = self.describe(sequence)?;
        if limit < 100 {
            let path = description.name.as_str().into();
            return Err(SourceError::TooLarge { path, bytes: 100, limit });
        }
        Ok(Content { description, hash: blake3::hash(&body), body })
    }

    fn label(&self, sequence: Sequence) -> String {
        sequence.to_string()
    }
}

/// The other end of a link that a sender has opened.
pub(super) struct FarEnd {
    pub(super) messages: mpsc::Receiver<Message>,
    pub(super) frames: mpsc::Receiver<OutgoingFrame>,
    pub(super) incoming: mpsc::Sender<Message>,
    pub(super) keeper: LinkKeeper,
    pub(super) stopping: Stopping,
}

/// Opens links whose far ends are handed to the test, over paths like this.
pub(super) struct Hand(pub(super) mpsc::UnboundedSender<FarEnd>, pub(super) PathStats);

/// What a transport tells of frames that it has given up.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    pub(super) given_up: GivenUp,
    pub(super) notice: Arc<tokio::sync::Notify>,
}

impl Stopping {
    pub(super) fn give_up(&self, frame: &OutgoingFrame) {
        self.given_up.add((frame.header.source, frame.header.meta.sequence));
        self.notice.notify_one();
    }
}

impl Dial for Hand {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        let (messages, far_messages) = mpsc::channel(MESSAGE_QUEUE);
        let (frames, far_frames) = mpsc::channel(FRAME_QUEUE);
        let (far_incoming, incoming) = mpsc::channel(MESSAGE_QUEUE);
        let (end, keeper) = LinkEnd::new();
        let stats = self.1;
        let stopping = Stopping::default();
        let path = PathWatch::new(move || stats)
            .with_notice(stopping.notice.clone())
            .with_given_up(stopping.given_up.clone());
        let far = FarEnd {
            messages: far_messages,
            frames: far_frames,
            incoming: far_incoming,
            keeper,
            stopping,
        };
        self.0.send(far).expect("the test is there");
        let (transport, address) = (Transport::Quic, ([127, 0, 0, 1], 1).into());
        let via = Via { transport, address, why: None, link: None };
        let link = SenderLink { messages, frames, incoming, end, path, via };
        Box::pin(std::future::ready(Ok(link)))
    }
}

pub(super) fn welcome(max_frame: u64, bytes: u64, frames: u64) -> Message {
    Message::Welcome(Welcome {
        durable: false,
        replaces: true,
        max_frame,
        max_unconfirmed_bytes: bytes,
        max_unconfirmed_frames: frames,
        agent: "test".to_owned(),
        next: vec![Sequence(0)],
        capabilities: Capabilities::default(),
        join: None,
        unopened: Vec::new(),
    })
}

impl FarEnd {
    /// Answers as a receiver does that has nothing, until the sender says the end of its source.
    /// True then; false where the sender has gone.
    pub(super) async fn answer(&mut self, message: Option<Message>) -> bool {
        let reply = match message {
            Some(Message::Hello(_)) => welcome(1_000, 1 << 20, WINDOW),
            Some(Message::Offer(offer)) => {
                let verdicts = offer.entries.iter().map(|_| Verdict::Wanted);
                Message::Answer(Answer::new(offer.source, verdicts))
            }
            Some(Message::Drops(drops)) => {
                let (source, run) = (drops.source, drops.run);
                let frames = drops.ranges.iter();
                let frames =
                    frames.map(|range| SequenceRun { first: range.first, count: range.count });
                Message::Noted(Noted { source, run, frames: frames.collect() })
            }
            Some(Message::EndOfRun(end)) => {
                let totals = Totals { source: end.source, stored: FRAMES, already: 0 };
                let _ = self.incoming.send(Message::Totals(totals)).await;
                return true;
            }
            _ => return false,
        };
        let _ = self.incoming.send(reply).await;
        false
    }

    /// The same for the next message.
    pub(super) async fn answer_next(&mut self) -> bool {
        let message = self.messages.recv().await;
        assert!(message.is_some(), "the sender has gone");
        self.answer(message).await
    }

    /// Takes no frame, then loses the connection.
    async fn be_out(mut self) {
        let outage = tokio::time::sleep(OUTAGE);
        tokio::pin!(outage);
        loop {
            tokio::select! {
                message = self.messages.recv() => { self.answer(message).await; }
                () = &mut outage => break,
            }
        }
        let address = ([127, 0, 0, 1], 1).into();
        self.keeper.ended(TransportError::Lost { address, why: "an outage".to_owned() });
    }

    /// Takes and confirms a frame at a time until all are there; gives them with the times at which
    /// they were taken.
    pub(super) async fn take_all(mut self) -> Vec<(UnixNanos, OutgoingFrame)> {
        let mut taken = Vec::new();
        let mut link = tokio::time::interval(LINK_TIME);
        loop {
            tokio::select! {
                message = self.messages.recv() => {
                    if self.answer(message).await {
                        return taken;
                    }
                }
                frame = async { link.tick().await; self.frames.recv().await } => {
                    let Some(frame) = frame else { return taken };
                    let now = UnixNanos::now();
                    let (source, sequence) = (frame.header.source, frame.header.meta.sequence);
                    taken.push((now, frame));
                    let receipts = Receipts::new(source, now, [sequence]);
                    let _ = self.incoming.send(Message::Receipts(receipts)).await;
                }
            }
        }
    }
}

/// Starts a run over links whose far ends come out of the channel.
fn send(pace: Pace, path: PathStats) -> (mpsc::UnboundedReceiver<FarEnd>, JoinHandle<SendReport>) {
    start(SendOptions { pace, retry_for: Duration::from_secs(60), ..SendOptions::default() }, path)
}

fn start(
    options: SendOptions,
    path: PathStats,
) -> (mpsc::UnboundedReceiver<FarEnd>, JoinHandle<SendReport>) {
    let (hand, links) = mpsc::unbounded_channel();
    let sources: Vec<Arc<dyn Source>> =
        vec![Arc::new(Memory(SourceName::parse("visible").unwrap()))];
    let progress = Arc::new(Progress::new([FRAMES]));
    let sending = tokio::spawn(async move {
        let (_go_on, stop) = watch::channel(false);
        run(&Hand(hand, path), sources, options, progress, stop).await
    });
    (links, sending)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_receiver_is_asked_for_a_sign_of_life() {
    let path = PathStats { datagrams_received: Some(0), ..PathStats::default() };
    let (mut links, sending) = send(Pace::Bulk, path);
    let mut link = links.recv().await.unwrap();
    let mut unanswered = Vec::new();
    let mut asked = 0;
    while asked < 3 {
        match link.messages.recv().await.expect("the sender waits") {
            Message::ClockProbe(_) => asked += 1,
            other => unanswered.push(other),
        }
    }
    for message in unanswered {
        link.answer(Some(message)).await;
    }
    assert_eq!(link.take_all().await.len() as u64, FRAMES);
    assert!(sending.await.unwrap().is_complete());
}

/// Opens a session with a receiver that welcomes the sender so.
async fn welcomed(link: &mut FarEnd, welcome: Message) {
    let hello = link.messages.recv().await;
    assert!(matches!(hello, Some(Message::Hello(_))), "{hello:?}");
    link.incoming.send(welcome).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_of_nothing_still_lets_one_frame_go_at_a_time() {
    let (mut links, sending) = send(Pace::Bulk, PathStats::default());
    let mut link = links.recv().await.unwrap();
    welcomed(&mut link, welcome(1_000, 0, 0)).await;
    assert_eq!(link.take_all().await.len() as u64, FRAMES);
    assert!(sending.await.unwrap().is_complete());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_source_that_begins_anew_would_go_on_is_nothing_to_it() {
    let (mut links, sending) = send(Pace::Bulk, PathStats::default());
    let mut link = links.recv().await.unwrap();
    let mut far = welcome(1_000, 1 << 20, WINDOW);
    if let Message::Welcome(welcome) = &mut far {
        welcome.next = vec![Sequence(u64::MAX >> 2)];
    }
    welcomed(&mut link, far).await;
    assert_eq!(link.take_all().await.len() as u64, FRAMES);
    assert!(sending.await.unwrap().is_complete());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_takes_no_length_has_each_frame_fail_by_name() {
    let (mut links, sending) = send(Pace::Bulk, PathStats::default());
    let mut link = links.recv().await.unwrap();
    welcomed(&mut link, welcome(0, u64::MAX, u64::MAX)).await;
    while !link.answer_next().await {}
    drop(link);
    let report = sending.await.unwrap();
    let source = &report.sources[0];
    assert_eq!((source.dropped["too-large"], source.missing, source.lost()), (FRAMES, 0, FRAMES));
    assert_eq!((report.complete, report.error), (false, None));
    for frame in &report.sources[0].failed {
        assert!(frame.reason.contains("the receiver takes at most 0"), "{}", frame.reason);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_asks_for_hashes_again_and_again_is_left() {
    let (mut links, sending) = send(Pace::Bulk, PathStats::default());
    let mut link = links.recv().await.unwrap();
    welcomed(&mut link, welcome(1_000, 1 << 20, WINDOW)).await;
    let mut offered = Vec::new();
    loop {
        tokio::select! {
            message = link.messages.recv() => {
                let offer = match message {
                    Some(Message::Offer(offer)) => offer,
                    Some(Message::ClockProbe(_) | Message::Standing(_)) => continue,
                    other => panic!("{other:?}"),
                };
                offered.push(offer.entries.iter().all(|entry| entry.hash.is_some()));
                assert!(offered.len() <= 5, "hashed without end");
                let verdicts = offer.entries.iter().map(|_| Verdict::NeedHash);
                let answer = Message::Answer(Answer::new(offer.source, verdicts));
                link.incoming.send(answer).await.unwrap();
            }
            closed = link.keeper.close.recv() => {
                assert_eq!(closed.unwrap().0, CloseCode::Protocol);
                link.keeper.ended(TransportError::Ended);
                break;
            }
        }
    }
    assert!(!offered[0] && offered[1..].iter().all(|&hashed| hashed), "{offered:?}");
    let error = sending.await.unwrap().error.unwrap();
    assert!(error.contains("asks for a hash that it has"), "{error}");
}

/// It would be looked up and offered a round trip later, each time, for as long as the receiver likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_calls_an_open_source_not_open_is_left() {
    let (mut links, sending) = send(Pace::Bulk, PathStats::default());
    let mut link = links.recv().await.unwrap();
    welcomed(&mut link, welcome(1_000, 1 << 20, WINDOW)).await;
    let mut offers = 0;
    loop {
        tokio::select! {
            message = link.messages.recv() => {
                let Some(Message::Offer(offer)) = message else { continue };
                offers += 1;
                assert!(offers < 20, "offered without end");
                let verdicts = offer.entries.iter().map(|_| Verdict::NotOpen);
                let answer = Message::Answer(Answer::new(offer.source, verdicts));
                let _ = link.incoming.send(answer).await;
            }
            closed = link.keeper.close.recv() => {
                assert_eq!(closed.unwrap().0, CloseCode::Protocol);
                link.keeper.ended(TransportError::Ended);
                break;
            }
        }
    }
    let error = sending.await.unwrap().error.unwrap();
    assert!(error.contains("calls a source not open that is"), "{error}");
}

/// One that is another sender's is not waited for, and is what the run says that it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_declined_ends_the_run_with_its_reason() {
    let (mut links, sending) = send(Pace::Bulk, PathStats::default());
    let mut link = links.recv().await.unwrap();
    let mut far = welcome(1_000, 1 << 20, WINDOW);
    if let Message::Welcome(welcome) = &mut far {
        welcome.unopened = vec![Unopened::new(SourceId(0), "")];
    }
    welcomed(&mut link, far).await;
    let declined = Declined::new(SourceId(0), CloseCode::Owned, "it is cam1's");
    // Said over two connections it is one word.
    for _ in 0..2 {
        link.incoming.send(Message::Declined(declined.clone())).await.unwrap();
    }
    loop {
        tokio::select! {
            message = link.messages.recv() => match message {
                Some(Message::Offer(offer)) => {
                    let verdicts = offer.entries.iter().map(|_| Verdict::NotOpen);
                    let answer = Message::Answer(Answer::new(offer.source, verdicts));
                    let _ = link.incoming.send(answer).await;
                }
                Some(Message::Drops(_) | Message::EndOfRun(_)) => panic!("{message:?}"),
                _ => {}
            },
            frame = link.frames.recv() => assert!(frame.is_none(), "a frame of it was sent"),
            closed = link.keeper.close.recv() => {
                assert_eq!(closed.unwrap().0, CloseCode::Done);
                link.keeper.ended(TransportError::Ended);
                break;
            }
        }
    }
    let report = sending.await.unwrap();
    assert!(report.error.unwrap().contains("it is cam1's"));
    let source = &report.sources[0];
    assert_eq!((source.missing, source.stored), (FRAMES, 0));
    assert!(source.failed[0].reason.contains("it is cam1's"), "{:?}", source.failed[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_never_delays_frames_that_fall_due() {
    let (mut links, sending) = send(Pace::PerSecond(PER_SECOND), PathStats::default());
    links.recv().await.unwrap().be_out().await;
    let taken = links.recv().await.unwrap().take_all().await;
    let report = sending.await.unwrap();
    assert!(report.is_complete(), "{:?}", report.error);
    assert_eq!(taken.len() as u64, FRAMES);
    assert_fresh_first(&taken);
}

/// Checks that no late frame was taken while one waited that had fallen due since, and was not
/// late itself.
fn assert_fresh_first(taken: &[(UnixNanos, OutgoingFrame)]) {
    let due = |frame: &OutgoingFrame| frame.header.meta.due.expect("live").0;
    let slack = SLACK.as_nanos() as u64;
    let late = |(_, frame): &&(UnixNanos, OutgoingFrame)| !frame.is_live();
    let backlog = taken.iter().filter(late).count();
    assert!(backlog > 30, "only {backlog} frames were late");
    for (place, (now, frame)) in taken.iter().enumerate().filter(|(_, taken)| late(taken)) {
        let oldest_fresh = now.0 - 500_000_000 + slack;
        let passed_over = taken[place..].iter().find(|(_, other)| {
            (oldest_fresh..now.0 - slack).contains(&due(other)) && other.is_live()
        });
        assert!(
            passed_over.is_none(),
            "frame {}, late, went before frame {:?}",
            frame.header.meta.sequence,
            passed_over.map(|(_, other)| other.header.meta.sequence.0)
        );
    }
}

/// The estimate of a moment tells nothing of a time that is yet to come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_frame_is_given_up_before_it_is_due() {
    let rate = Some(1);
    let forecast = Some(Forecast { rate, is_busy: true, ..Forecast::default() });
    let options = SendOptions {
        pace: Pace::PerSecond(PER_SECOND),
        deadlines: vec![Some(Duration::from_millis(400))],
        ..SendOptions::default()
    };
    let (mut links, sending) = start(options, PathStats { forecast, ..PathStats::default() });
    let mut link = links.recv().await.unwrap();
    let began = std::time::Instant::now();
    let mut dropped = 0;
    loop {
        tokio::select! {
            message = link.messages.recv() => {
                if let Some(Message::Drops(drops)) = &message {
                    dropped += drops.ranges.iter().map(|range| range.count).sum::<u64>();
                    let due = 1 + (began.elapsed().as_secs_f64() * PER_SECOND) as u64;
                    assert!(dropped <= due, "{dropped} are dropped where {due} are due");
                }
                if link.answer(message).await {
                    break;
                }
            }
            frame = link.frames.recv() => {
                let header = frame.expect("the sender goes on").header;
                let receipts = Receipts::new(header.source, UnixNanos::now(), [header.meta.sequence]);
                link.incoming.send(Message::Receipts(receipts)).await.unwrap();
            }
        }
    }
    assert!(dropped > FRAMES / 2, "{dropped} were dropped over a link that carries nothing");
    drop(link);
    sending.await.unwrap();
}

/// A transport that has lost the answer to a frame sends it again, and then both are answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_answer_to_a_frame_is_no_answer() {
    let (mut links, sending) = send(Pace::Bulk, PathStats::default());
    let mut link = links.recv().await.unwrap();
    let frame = loop {
        tokio::select! {
            message = link.messages.recv() => { link.answer(message).await; }
            frame = link.frames.recv() => break frame.expect("the sender goes on"),
        }
    };
    let (source, sequence) = (frame.header.source, frame.header.meta.sequence);
    let refusal = |code| Message::Refusal(Refusal::new(source, sequence, code, "the first frame"));
    let receipt = || Message::Receipts(Receipts::new(source, UnixNanos::now(), [sequence]));
    // No room, twice over, and then room: it is still to be sent again, since nobody waits for it now.
    for answer in [refusal(RefusalCode::NoSpace), refusal(RefusalCode::NoSpace), receipt()] {
        link.incoming.send(answer).await.unwrap();
    }
    let taken = link.take_all().await;
    let times = taken.iter().filter(|(_, frame)| frame.header.meta.sequence == sequence).count();
    assert_eq!((times, taken.len() as u64), (1, FRAMES));
    let report = sending.await.unwrap();
    assert!(report.is_complete(), "{:?}", report.error);
}
