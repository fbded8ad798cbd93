//! Sessions over several connections, with transports in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::frame::{ByteSize, Frame, FrameMeta, FrameName, RunId, Sequence, SourceName, UnixNanos};
use crate::identity::Permit;
use crate::store::{FolderStore, StoreOptions};
use crate::transport::{
    ARRIVAL_QUEUE, Arrival, ArrivedFrame, LinkEnd, LinkKeeper, MESSAGE_QUEUE, MemoryBudget,
    PathStats, PathWatch, Peer, ReceiverLink, SourceCount, TransportError,
};
use crate::wire::{
    Capabilities, CloseCode, EndOfRun, Hello, Join, Message, Offer, OfferEntry, SourceHello,
    SourceId, Totals, Verdict, VerdictRun, Welcome,
};

struct World {
    server: Server,
    budget: MemoryBudget,
    store: TempDir,
}

/// A connection that is being served, from its transport's side.
struct Connection {
    arrived: mpsc::Sender<Arrival>,
    messages: mpsc::Receiver<Message>,
    keeper: LinkKeeper,
    serving: JoinHandle<Option<SessionReport>>,
    budget: MemoryBudget,
}

impl World {
    fn new() -> Self {
        let store = tempfile::tempdir().unwrap();
        let folder = FolderStore::open(store.path(), StoreOptions::default()).unwrap();
        let server = Server {
            sources: Sources::new(folder),
            limits: ReceiveLimits::default(),
            progress: Arc::default(),
            reports: mpsc::unbounded_channel().0,
            stop: watch::channel(false).1,
            voice: Voice::default(),
            room: watch::channel(None).1,
            trials: Trials::default(),
            joints: Joints::default(),
        };
        // Nobody stops it: that is so as well where nobody holds the other end.
        Self { server, budget: MemoryBudget::new(ByteSize(1 << 20)), store }
    }

    fn connect(&self, sender: &str) -> Connection {
        let (arrived, arrivals) = mpsc::channel(ARRIVAL_QUEUE);
        let (to_peer, messages) = mpsc::channel(MESSAGE_QUEUE);
        let (end, keeper) = LinkEnd::new();
        let link = ReceiverLink {
            peer: Peer {
                address: ([127, 0, 0, 1], 1).into(),
                pin: None,
                transport: Transport::Quic,
                permit: Permit::unauthenticated(),
            },
            account: self.budget.open(sender),
            arrivals,
            messages: to_peer,
            sources: SourceCount::default(),
            end,
            path: PathWatch::new(PathStats::default),
        };
        let server = self.server.clone();
        let serving = tokio::spawn(async move {
            let mut presence = Presence::new(&server.progress);
            session::serve(link, &server, &mut presence).await
        });
        Connection { arrived, messages, keeper, serving, budget: self.budget.clone() }
    }

    /// A session, by its first connection and its welcome.
    async fn session(&self, name: u8) -> (Connection, Welcome) {
        let mut connection = self.connect("sender");
        let source =
            SourceHello::new(SourceName::parse("a").unwrap(), RunId([1; 16]), UnixNanos(1));
        connection
            .say(Message::Hello(Hello {
                session: [name; 16],
                overwrite: false,
                agent: "test".to_owned(),
                sources: vec![source],
                capabilities: Capabilities::JOIN,
            }))
            .await;
        let welcome = connection.welcome().await;
        assert!(welcome.capabilities.has(Capabilities::JOIN));
        (connection, welcome)
    }

    async fn join(&self, sender: &str, session: u8, token: [u8; 16]) -> Connection {
        let connection = self.connect(sender);
        connection.say(Message::Join(Join { session: [session; 16], token })).await;
        connection
    }
}

impl Connection {
    async fn say(&self, message: Message) {
        let claim = self.budget.open("sender").claim();
        self.arrived.send(Arrival::Message(message, claim)).await.unwrap();
    }

    /// Asks for these frames, which are those of [`Self::send`], and hears that all are stored.
    async fn offer(&mut self, sequences: impl Iterator<Item = u64>) {
        let entries: Vec<_> = sequences
            .map(|sequence| OfferEntry {
                sequence: Sequence(sequence),
                name: FrameName::parse(&format!("{sequence}.bin")).unwrap(),
                bytes: 100,
                modified: None,
                hash: Some(blake3::hash(&[7; 100])),
            })
            .collect();
        let count = entries.len() as u64;
        self.say(Message::Offer(Offer { source: SourceId(0), entries })).await;
        match self.messages.recv().await {
            Some(Message::Answer(answer)) => {
                assert_eq!(answer.runs, [VerdictRun { verdict: Verdict::Stored, count }]);
            }
            other => panic!("{other:?}"),
        }
    }

    async fn send(&self, sequence: u64) {
        let (body, name) =
            (Bytes::from(vec![7; 100]), FrameName::parse(&format!("{sequence}.bin")));
        let name = name.unwrap();
        let meta = FrameMeta {
            sequence: Sequence(sequence),
            media: name.media_type(),
            name,
            bytes: 100,
            hash: Some(blake3::hash(&body)),
            captured: None,
            due: None,
            modified: None,
        };
        let frame = ArrivedFrame {
            source: SourceId(0),
            frame: Frame { meta, body },
            received: UnixNanos(1),
            repaired: false,
            claim: self.budget.open("sender").claim(),
        };
        self.arrived.send(Arrival::Frame(frame)).await.unwrap();
    }

    async fn welcome(&mut self) -> Welcome {
        match self.messages.recv().await {
            Some(Message::Welcome(welcome)) => welcome,
            other => panic!("{other:?}"),
        }
    }

    /// Sequences of the next receipts.
    async fn receipts(&mut self) -> Vec<u64> {
        match self.messages.recv().await {
            Some(Message::Receipts(receipts)) => {
                receipts.runs.iter().flat_map(|run| run.first.0..run.first.0 + run.count).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    async fn end_run(&mut self) -> Totals {
        let (source, run, first, ended) = (SourceId(0), RunId([1; 16]), Sequence(0), UnixNanos(2));
        let (captured, lost, lost_count) = (3, Vec::new(), 0);
        self.say(Message::EndOfRun(EndOfRun {
            source,
            run,
            first,
            captured,
            ended,
            lost,
            lost_count,
        }))
        .await;
        match self.messages.recv().await {
            Some(Message::Totals(totals)) => totals,
            other => panic!("{other:?}"),
        }
    }

    /// Ends it as its peer would, or the link.
    async fn ends(self, code: Option<CloseCode>) -> Option<SessionReport> {
        let (address, why) = (([127, 0, 0, 1], 1).into(), "said so".to_owned());
        self.keeper.ended(match code {
            Some(code) => TransportError::ClosedByPeer { address, code: code.number(), why },
            None => TransportError::Lost { address, why },
        });
        drop(self.arrived);
        self.serving.await.unwrap()
    }

    /// What this end closes it with, and its report.
    async fn closed(mut self) -> (CloseCode, Option<SessionReport>) {
        let (code, _) = self.keeper.close.recv().await.unwrap();
        self.keeper.ended(TransportError::Ended);
        (code, self.serving.await.unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_comes_over_two_connections_is_confirmed_twice_and_counted_once() {
    let world = World::new();
    let (mut first, welcome) = world.session(1).await;
    let mut second = world.join("sender", 1, welcome.join.unwrap()).await;
    assert_eq!(second.welcome().await, welcome);
    first.send(0).await;
    assert_eq!(first.receipts().await, [0]);
    second.send(0).await;
    assert_eq!(second.receipts().await, [0], "each is answered over the connection it came by");
    second.send(1).await;
    assert_eq!(second.receipts().await, [1]);
    first.send(2).await;
    assert_eq!(first.receipts().await, [2]);
    let totals = first.end_run().await;
    assert_eq!((totals.stored, totals.already), (3, 0));
    // Where the answer was lost with its connection, the other is asked.
    assert_eq!(second.end_run().await, totals);
    let lines = std::fs::read_to_string(world.store.path().join("a/ledger.jsonl")).unwrap();
    assert_eq!(lines.matches("\"ended\"").count(), 1, "{lines}");
    assert!(second.ends(Some(CloseCode::Done)).await.is_none(), "the other is there");
    let (code, report) = first.closed().await;
    let report = report.unwrap();
    assert_eq!((code, report.connections), (CloseCode::Moved, 2));
    assert!(report.complete && report.closed && !report.moved, "{report:?}");
    let totals = &report.sources[0];
    assert_eq!((totals.stored, totals.stored_before, totals.copies), (3, 0, 1));
    assert_eq!(world.server.progress.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_is_answered_over_two_connections_is_counted_once() {
    let world = World::new();
    let (mut earlier, _) = world.session(1).await;
    for sequence in 0..2 {
        earlier.send(sequence).await;
        assert_eq!(earlier.receipts().await, [sequence]);
    }
    earlier.ends(None).await;
    let (mut first, welcome) = world.session(2).await;
    first.offer(0..2).await;
    let mut second = world.join("sender", 2, welcome.join.unwrap()).await;
    second.welcome().await;
    second.offer(0..2).await;
    // Nor is what came in this session stored before it, nor a frame that comes though it was found.
    first.send(2).await;
    assert_eq!(first.receipts().await, [2]);
    second.offer(2..3).await;
    second.send(1).await;
    assert_eq!(second.receipts().await, [1]);
    let totals = first.end_run().await;
    assert_eq!((totals.stored, totals.already), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_session_goes_on_as_long_as_one_of_its_connections_is_there() {
    let world = World::new();
    let (mut first, welcome) = world.session(1).await;
    let mut second = world.join("sender", 1, welcome.join.unwrap()).await;
    second.welcome().await;
    first.send(0).await;
    first.receipts().await;
    assert!(first.ends(None).await.is_none());
    let mut third = world.join("sender", 1, welcome.join.unwrap()).await;
    third.welcome().await;
    assert!(second.ends(Some(CloseCode::Moved)).await.is_none());
    third.send(0).await;
    assert_eq!(third.receipts().await, [0]);
    third.end_run().await;
    let report = third.ends(Some(CloseCode::Done)).await.unwrap();
    assert!(report.complete && report.closed, "{report:?}");
    assert_eq!((report.connections, report.sources[0].stored, report.sources[0].copies), (3, 1, 1));
    // It is over, and nobody joins it.
    let (code, report) = world.join("sender", 1, welcome.join.unwrap()).await.closed().await;
    assert_eq!((code, report.and_then(|report| report.began)), (CloseCode::Protocol, None));
}

#[tokio::test(start_paused = true)]
async fn however_many_connections_a_session_has_it_counts_as_one() {
    let world = World::new();
    world.server.sources.board().show();
    let guests = || {
        let panels = world.server.sources.board().panels();
        let seen = panels.iter().flat_map(|panel| panel.look().guests);
        seen.map(|guest| (guest.connections, guest.ended)).collect::<Vec<_>>()
    };
    let (first, welcome) = world.session(1).await;
    let mut second = world.join("sender", 1, welcome.join.unwrap()).await;
    second.welcome().await;
    assert_eq!((world.server.progress.sessions(), guests()), (1, vec![(2, false)]));
    // The one that began it is gone, and what it ended over the other is ended.
    assert!(first.ends(None).await.is_none());
    second.end_run().await;
    assert_eq!((world.server.progress.sessions(), guests()[0]), (1, (1, true)));
    assert!(second.ends(Some(CloseCode::Done)).await.is_some());
    assert_eq!((world.server.progress.sessions(), guests().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn only_the_same_sender_with_the_right_number_joins() {
    let world = World::new();
    let (_first, welcome) = world.session(1).await;
    let token = welcome.join.unwrap();
    let mut wrong = token;
    wrong[15] ^= 1;
    for (sender, session, token) in
        [("other", 1, token), ("sender", 2, token), ("sender", 1, wrong)]
    {
        let (code, _) = world.join(sender, session, token).await.closed().await;
        assert_eq!(code, CloseCode::Protocol);
    }
    let mut joined = Vec::new();
    for _ in 1..8 {
        joined.push(world.join("sender", 1, token).await);
        joined.last_mut().unwrap().welcome().await;
    }
    let (code, _) = world.join("sender", 1, token).await.closed().await;
    assert_eq!(code, CloseCode::Busy, "connections are bounded");
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_sender_is_there_in_another_goes_when_it_brings_nothing_more() {
    let world = World::new();
    let (first, _) = world.session(1).await;
    let began = Instant::now();
    let (second, _) = world.session(2).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    first.send(0).await;
    let (code, report) = first.closed().await;
    assert_eq!(code, CloseCode::Moved);
    let waited = began.elapsed();
    assert!(
        (3_400..4_000).contains(&waited.as_millis()),
        "{waited:?} after the last that it brought"
    );
    let report = report.unwrap();
    assert!(report.moved && !report.complete, "{report:?}");
    assert_eq!(report.sources[0].stored, 1);
    drop(second);
}
