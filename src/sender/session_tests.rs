//! Sessions with a receiver in memory: what an outage leaves over beside the frames that go on falling due, and
//! a receiver that is silent.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::frame::{FrameName, Sequence, SourceName, UnixNanos};
use crate::source::{Content, Description, SourceError};
use crate::transport::{
    BoxFuture, FRAME_QUEUE, LinkEnd, LinkKeeper, MESSAGE_QUEUE, OutgoingFrame, PathStats,
    PathWatch, SenderLink,
};
use crate::wire::{Answer, Message, Receipts, Totals, Verdict, Welcome};

const FRAMES: u64 = 200;
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
struct Memory(SourceName);

impl Source for Memory {
    fn name(&self) -> &SourceName {
        &self.0
    }

    fn frames(&self) -> u64 {
        FRAMES
    }

    fn describe(&self, sequence: Sequence) -> Result<Description, SourceError> {
        let name = FrameName::parse(&format!("{sequence}.bin")).expect("a valid name");
        Ok(Description { name, bytes: 100, modified: None })
    }

    fn read(&self, sequence: Sequence, _: u64) -> Result<Content, SourceError> {
        let body = Bytes::from(vec![0; 100]);
        let description = self.describe(sequence)?;
        Ok(Content { description, hash: blake3::hash(&body), body })
    }

    fn label(&self, sequence: Sequence) -> String {
        sequence.to_string()
    }
}

/// The other end of a link that a sender has opened.
struct FarEnd {
    messages: mpsc::Receiver<Message>,
    frames: mpsc::Receiver<OutgoingFrame>,
    incoming: mpsc::Sender<Message>,
    keeper: LinkKeeper,
}

/// Opens links whose far ends are handed to the test, over paths like this.
struct Hand(mpsc::UnboundedSender<FarEnd>, PathStats);

impl Dial for Hand {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        let (messages, far_messages) = mpsc::channel(MESSAGE_QUEUE);
        let (frames, far_frames) = mpsc::channel(FRAME_QUEUE);
        let (far_incoming, incoming) = mpsc::channel(MESSAGE_QUEUE);
        let (end, keeper) = LinkEnd::new();
        let stats = self.1;
        let path = PathWatch::new(move || stats);
        let far =
            FarEnd { messages: far_messages, frames: far_frames, incoming: far_incoming, keeper };
        self.0.send(far).expect("the test is there");
        Box::pin(std::future::ready(Ok(SenderLink { messages, frames, incoming, end, path })))
    }
}

impl FarEnd {
    /// Answers as a receiver does that has nothing, until the sender says the end of its source.
    /// True then; false where the sender has gone.
    async fn answer(&mut self, message: Option<Message>) -> bool {
        let reply = match message {
            Some(Message::Hello(_)) => Message::Welcome(Welcome {
                durable: false,
                max_frame: 1_000,
                max_unconfirmed_bytes: 1 << 20,
                max_unconfirmed_frames: WINDOW,
                agent: "test".to_owned(),
            }),
            Some(Message::Offer(offer)) => {
                let verdicts = offer.entries.iter().map(|_| Verdict::Wanted);
                Message::Answer(Answer::new(offer.source, verdicts))
            }
            Some(Message::EndOfSource(end)) => {
                let totals = Totals { source: end.source, stored: FRAMES, already: 0 };
                let _ = self.incoming.send(Message::Totals(totals)).await;
                return true;
            }
            _ => return false,
        };
        let _ = self.incoming.send(reply).await;
        false
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
    async fn take_all(mut self) -> Vec<(UnixNanos, OutgoingFrame)> {
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
    let (hand, links) = mpsc::unbounded_channel();
    let sources: Vec<Arc<dyn Source>> =
        vec![Arc::new(Memory(SourceName::parse("visible").unwrap()))];
    let options = SendOptions {
        pace,
        weights: Vec::new(),
        overwrite: false,
        checksum: false,
        retry_for: Duration::from_secs(60),
        observer: None,
    };
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
    let due = |frame: &OutgoingFrame| frame.header.meta.captured.expect("live").0;
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
