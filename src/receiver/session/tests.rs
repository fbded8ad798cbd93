//! Sessions whose transport is in memory: peers that do not listen, and what is said last.

use std::sync::Arc;

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::frame::{ByteSize, RunId, Sequence, SourceName, UnixNanos};
use crate::identity::Permit;
use crate::receiver::{ReceiveLimits, ReceiveProgress, Sources};
use crate::store::{
    FolderStore, Held, Note, Offered, OpenSource, Outcome, ReceivedFrame, Store, StoreError,
    StoreOptions,
};
use crate::transport::{
    ARRIVAL_QUEUE, Arrival, LinkEnd, LinkKeeper, MESSAGE_QUEUE, MemoryBudget, PathStats, PathWatch,
    Peer, SourceCount, Transport, Voice,
};
use crate::wire::{Capabilities, EndOfRun, Hello, SourceHello, SourceId};

const STALL: Duration = Duration::from_secs(30);

/// A session that is being served, from its transport's side.
struct World {
    arrived: mpsc::Sender<Arrival>,
    messages: mpsc::Receiver<Message>,
    keeper: LinkKeeper,
    stop: watch::Sender<bool>,
    progress: Arc<ReceiveProgress>,
    serving: JoinHandle<SessionReport>,
    _store: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::open(folder.path(), StoreOptions::default()).unwrap();
        Self::of(store, folder)
    }

    fn of(store: impl Store + 'static, folder: TempDir) -> Self {
        let progress = Arc::new(ReceiveProgress::default());
        let (stop, stopping) = watch::channel(false);
        let (reports, _) = mpsc::unbounded_channel();
        let server = Server {
            sources: Sources::new(store),
            limits: ReceiveLimits { stall: STALL, ..ReceiveLimits::default() },
            progress: progress.clone(),
            reports,
            stop: stopping,
            voice: Voice::default(),
            room: watch::channel(None).1,
            trials: Default::default(),
            joints: Default::default(),
        };
        let (arrived, arrivals) = mpsc::channel(ARRIVAL_QUEUE);
        let (to_peer, messages) = mpsc::channel(MESSAGE_QUEUE);
        let (end, keeper) = LinkEnd::new();
        let address = ([127, 0, 0, 1], 1).into();
        let link = ReceiverLink {
            peer: Peer {
                address,
                pin: None,
                transport: Transport::Quic,
                permit: Permit::unauthenticated(),
            },
            account: MemoryBudget::new(ByteSize(1 << 20)).open("test"),
            arrivals,
            messages: to_peer,
            sources: SourceCount::default(),
            end,
            path: PathWatch::new(PathStats::default),
        };
        let mut presence = Presence::new(&progress);
        let serving =
            tokio::spawn(
                async move { serve(link, &server, &mut presence).await.expect("a report") },
            );
        Self { arrived, messages, keeper, stop, progress, serving, _store: folder }
    }

    async fn say(&self, message: Message) {
        let claim = MemoryBudget::new(ByteSize(0)).open("test").claim();
        self.arrived.send(Arrival::Message(message, claim)).await.unwrap();
    }

    /// One whose peer has said hello, and has not taken the welcome yet.
    async fn greeted() -> Self {
        Self::new().greet().await
    }

    async fn greet(self) -> Self {
        let world = self;
        let (run, began) = (RunId([1; 16]), UnixNanos(1));
        let sources = vec![SourceHello::new(SourceName::parse("a").unwrap(), run, began)];
        let capabilities = Capabilities::default();
        let agent = "test".to_owned();
        world
            .say(Message::Hello(Hello {
                session: [1; 16],
                overwrite: false,
                agent,
                sources,
                capabilities,
            }))
            .await;
        world
    }

    /// What the session closes its link with; its report once the link has ended.
    async fn closed(mut self) -> (CloseCode, String, SessionReport) {
        let (code, why) = self.keeper.close.recv().await.expect("a session that is there");
        self.keeper.ended(TransportError::Ended);
        (code, why, self.serving.await.unwrap())
    }
}

// Time stands still here while anything can be done, so that none of these depends on how busy the
// machine is.

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_no_messages_is_given_up() {
    let world = World::greeted().await;
    let before = Instant::now();
    for _ in 0..2 * MESSAGE_QUEUE as u64 {
        world.say(Message::ClockProbe(1)).await;
    }
    let (code, why, report) = world.closed().await;
    assert_eq!(code, CloseCode::Stalled);
    assert!(why.contains("takes no messages"), "{why}");
    assert!(before.elapsed() >= STALL, "given up after {:?}", before.elapsed());
    assert_eq!((report.began, report.complete), (Some(1), false));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_messages_slowly_is_not() {
    let mut world = World::greeted().await;
    for _ in 0..2 * MESSAGE_QUEUE as u64 {
        world.say(Message::ClockProbe(1)).await;
    }
    for _ in 0..2 * MESSAGE_QUEUE {
        sleep(STALL * 9 / 10).await;
        world.messages.recv().await.expect("the session goes on");
    }
    assert!(world.keeper.close.try_recv().is_err(), "the session was ended");
    // Silence with nothing to say is no fault.
    world.messages.recv().await.expect("the last answer");
    sleep(STALL * 3).await;
    assert!(world.keeper.close.try_recv().is_err(), "the session was ended");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_stops_leaves_its_link_nothing_to_wait_for() {
    let mut world = World::greeted().await;
    for _ in 0..10 {
        world.say(Message::ClockProbe(1)).await;
    }
    // The probes are answered behind the welcome.
    assert!(matches!(world.messages.recv().await, Some(Message::Welcome(_))));
    assert!(matches!(world.messages.recv().await, Some(Message::ClockReply { .. })));
    world.stop.send_replace(true);
    let (code, _) = world.keeper.close.recv().await.unwrap();
    assert_eq!(code, CloseCode::Shutdown);
    // What was said is in the queue, and its end tells that there will be no more.
    while world.messages.recv().await.is_some() {}
    world.keeper.ended(TransportError::Ended);
    assert!(!world.serving.await.unwrap().closed);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_hello_is_no_session() {
    let mut world = World::new();
    let (code, _) = world.keeper.close.recv().await.unwrap();
    assert_eq!(code, CloseCode::Stalled);
    assert_eq!(world.progress.sessions(), 0);
    world.keeper.ended(TransportError::Ended);
    assert_eq!(world.serving.await.unwrap().began, None);
}

/// The end of a run of so many frames of the first source.
fn end_of_run(captured: u64) -> Message {
    let (source, run, first, ended) = (SourceId(0), RunId([1; 16]), Sequence(0), UnixNanos(2));
    let (lost, lost_count) = (Vec::new(), 0);
    Message::EndOfRun(EndOfRun { source, run, first, captured, ended, lost, lost_count })
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_has_said_all_has_closed_its_session() {
    let mut world = World::greeted().await;
    world.say(end_of_run(3)).await;
    while !matches!(world.messages.recv().await, Some(Message::Totals(_))) {}
    assert_eq!(world.progress.sessions(), 1);
    let (address, why) = (([127, 0, 0, 1], 1).into(), String::new());
    let code = CloseCode::Done.number();
    world.keeper.ended(TransportError::ClosedByPeer { address, code, why });
    drop(world.arrived);
    let report = world.serving.await.unwrap();
    assert_eq!((report.complete, report.closed), (true, true));
    assert_eq!(world.progress.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_has_arrived_is_taken_though_nobody_hears_of_it() {
    let mut world = World::greeted().await;
    assert!(matches!(world.messages.recv().await, Some(Message::Welcome(_))));
    for _ in 0..100 {
        world.say(Message::ClockProbe(1)).await;
    }
    world.say(end_of_run(3)).await;
    // The connection goes: what waits to be said first, then what arrives.
    drop(world.messages);
    let (address, why) = (([127, 0, 0, 1], 1).into(), String::new());
    world.keeper.ended(TransportError::Lost { address, why });
    drop(world.arrived);
    let report = world.serving.await.unwrap();
    assert!(report.complete, "the end of the source was dropped");
}

/// A listener that nobody connects to, and what keeps it alive.
fn listener() -> (mpsc::Sender<ReceiverLink>, crate::transport::Listener) {
    let (accepted, links) = mpsc::channel(1);
    let address = ([127, 0, 0, 1], 1).into();
    let (_, gone) = tokio::sync::oneshot::channel();
    (
        accepted,
        crate::transport::Listener { address, transport: Transport::Quic, links, stop: None, gone },
    )
}

/// Runs a receiver of these listeners for a second.
async fn run_for_a_second(
    listeners: Vec<crate::transport::Listener>,
    stop: watch::Receiver<bool>,
) -> Option<Result<(), crate::receiver::ReceiveError>> {
    let store = tempfile::tempdir().unwrap();
    let store = FolderStore::open(store.path(), StoreOptions::default()).unwrap();
    let (reports, _reports) = mpsc::unbounded_channel();
    let (sources, limits) = (Sources::new(store), ReceiveLimits::default());
    let run = crate::receiver::run(listeners, sources, limits, Arc::default(), reports, stop);
    tokio::time::timeout(Duration::from_secs(1), run).await.ok()
}

#[tokio::test(start_paused = true)]
async fn a_receiver_whose_stop_nobody_holds_goes_on() {
    let (_accepted, listener) = listener();
    let (_, stop) = watch::channel(false);
    let ended = run_for_a_second(vec![listener], stop).await;
    assert!(ended.is_none(), "it has ended, though nobody stopped it");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_has_lost_a_listener_says_so() {
    let (_accepted, alive) = listener();
    let (_, dead) = listener();
    let (_held, stop) = watch::channel(false);
    let ended = run_for_a_second(vec![alive, dead], stop).await.expect("it ends");
    let why = ended.unwrap_err().to_string();
    assert!(why.contains("127.0.0.1:1 over quic"), "{why}");
}

/// A store of which the end of a run is noted when the test lets it.
#[derive(Debug)]
struct Slow(Arc<std::sync::Mutex<std::sync::mpsc::Receiver<()>>>);

impl Store for Slow {
    fn open(&self, _: &SourceName, _: &Opener) -> Result<Box<dyn OpenSource>, StoreError> {
        Ok(Box::new(Self(self.0.clone())))
    }

    fn is_durable(&self) -> bool {
        false
    }
}

impl OpenSource for Slow {
    fn look_up(&mut self, _: &Opener, _: &[Offered<'_>], _: &dyn Fn() -> bool) -> Vec<Held> {
        Vec::new()
    }

    fn store(&mut self, _: &[ReceivedFrame]) -> Vec<Outcome> {
        Vec::new()
    }

    fn note(&mut self, _: &Opener, notes: &[Note]) -> Result<(), StoreError> {
        if notes.iter().any(|note| matches!(note, Note::Ended { .. })) {
            let _ = self.0.lock().unwrap().recv();
        }
        Ok(())
    }
}

/// Whoever has its totals does not come back: a receiver that is killed then has to know the end of the run.
#[tokio::test(start_paused = true)]
async fn totals_are_told_when_the_end_of_the_run_is_noted() {
    let (let_it, lets) = std::sync::mpsc::channel();
    let store = Slow(Arc::new(std::sync::Mutex::new(lets)));
    let mut world = World::of(store, tempfile::tempdir().unwrap()).greet().await;
    let welcome = world.messages.recv().await;
    assert!(matches!(welcome, Some(Message::Welcome(_))), "{welcome:?}");
    world.say(end_of_run(0)).await;
    let early = tokio::time::timeout(STALL / 2, world.messages.recv()).await;
    assert!(early.is_err(), "{early:?}");
    let_it.send(()).unwrap();
    let totals = world.messages.recv().await;
    assert!(matches!(totals, Some(Message::Totals(_))), "{totals:?}");
}

/// A store that has no room for notes so many times; what it has noted.
#[derive(Debug, Clone, Default)]
struct Full(Arc<std::sync::Mutex<(u32, Vec<&'static str>)>>);

impl Store for Full {
    fn open(&self, _: &SourceName, _: &Opener) -> Result<Box<dyn OpenSource>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

impl OpenSource for Full {
    fn look_up(&mut self, _: &Opener, _: &[Offered<'_>], _: &dyn Fn() -> bool) -> Vec<Held> {
        Vec::new()
    }

    fn store(&mut self, _: &[ReceivedFrame]) -> Vec<Outcome> {
        Vec::new()
    }

    fn note(&mut self, _: &Opener, notes: &[Note]) -> Result<(), StoreError> {
        let (fails, noted) = &mut *self.0.lock().unwrap();
        if *fails > 0 {
            *fails -= 1;
            return Err(StoreError::Unsteady { path: "a".into() });
        }
        noted.extend(notes.iter().map(|note| match note {
            Note::Began { .. } => "began",
            Note::Ended { .. } => "ended",
            Note::Dropped { .. } => "dropped",
        }));
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_noted_is_noted_later_and_no_totals_are_told_before() {
    // The beginning of the run, its end, and each of them again.
    for fails in 1..5 {
        let store = Full::default();
        store.0.lock().unwrap().0 = fails;
        let mut world = World::of(store.clone(), tempfile::tempdir().unwrap()).greet().await;
        welcome_of(world.messages.recv().await);
        world.say(end_of_run(0)).await;
        let totals = world.messages.recv().await;
        assert!(matches!(totals, Some(Message::Totals(_))), "{totals:?}");
        let noted = store.0.lock().unwrap().1.clone();
        assert!(noted.starts_with(&["began"]) && noted.ends_with(&["ended"]), "{noted:?}");
        assert_eq!(noted.iter().filter(|noted| **noted == "ended").count(), 1, "{noted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_beginning_of_a_run_that_could_not_be_noted_is_noted_while_it_goes_on() {
    let store = Full::default();
    store.0.lock().unwrap().0 = 3;
    let mut world = World::of(store.clone(), tempfile::tempdir().unwrap()).greet().await;
    welcome_of(world.messages.recv().await);
    let noted = || store.0.lock().unwrap().1.clone();
    // The store's thread takes real time.
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while noted().is_empty() && std::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(100)).await;
        std::thread::yield_now();
    }
    assert_eq!(noted(), ["began"]);
}

/// A store of which the source `b` does not open until the test lets it: it fails, or hangs.
#[derive(Debug, Clone)]
struct Shut {
    /// How often it has failed, as long as it is to.
    fails: Arc<std::sync::Mutex<Option<u32>>>,
    hangs: Option<Arc<std::sync::Mutex<std::sync::mpsc::Receiver<()>>>>,
    /// It is another sender's from then on.
    owned: Arc<AtomicBool>,
}

impl Shut {
    fn failing(fails: &Arc<std::sync::Mutex<Option<u32>>>) -> Self {
        Self { fails: fails.clone(), hangs: None, owned: Arc::default() }
    }
}

impl Store for Shut {
    fn open(&self, name: &SourceName, _: &Opener) -> Result<Box<dyn OpenSource>, StoreError> {
        if name.as_str() == "b" {
            if let Some(hangs) = &self.hangs {
                let _ = hangs.lock().unwrap().recv();
            }
            if self.owned.load(Ordering::Relaxed) {
                let (source_name, owner) = (name.to_string(), "cam1".to_owned());
                return Err(StoreError::NotOwner { source_name, owner, earlier_key: None });
            }
            if let Some(fails) = &mut *self.fails.lock().unwrap() {
                *fails += 1;
                return Err(StoreError::NotAFolder { path: "b".into() });
            }
        }
        let (_, never) = std::sync::mpsc::channel();
        Ok(Box::new(Slow(Arc::new(std::sync::Mutex::new(never)))))
    }

    fn is_durable(&self) -> bool {
        false
    }
}

async fn greet_with(world: &World, sources: &[&str], capabilities: Capabilities) {
    let source = |name: &&str| {
        let (name, run) = (SourceName::parse(name).unwrap(), RunId([name.as_bytes()[0]; 16]));
        SourceHello::new(name, run, UnixNanos(1))
    };
    let sources = sources.iter().map(source).collect();
    let (session, agent) = ([1; 16], "test".to_owned());
    let hello = Hello { session, overwrite: false, agent, sources, capabilities };
    world.say(Message::Hello(hello)).await;
}

fn welcome_of(message: Option<Message>) -> crate::wire::Welcome {
    match message {
        Some(Message::Welcome(welcome)) => welcome,
        other => panic!("{other:?}"),
    }
}

fn offer(source: u8) -> Message {
    let entry = crate::wire::OfferEntry {
        sequence: Sequence(0),
        name: crate::frame::FrameName::parse("0.bin").unwrap(),
        bytes: 1,
        modified: None,
        hash: None,
    };
    Message::Offer(crate::wire::Offer { source: SourceId(source), entries: vec![entry] })
}

#[tokio::test(start_paused = true)]
async fn a_source_that_does_not_open_is_named_and_opened_later() {
    let fails = Arc::new(std::sync::Mutex::new(Some(0)));
    let store = Shut::failing(&fails);
    let mut world = World::of(store, tempfile::tempdir().unwrap());
    greet_with(&world, &["a", "b"], Capabilities::LATE_SOURCES).await;
    let welcome = welcome_of(world.messages.recv().await);
    assert_eq!(welcome.unopened.len(), 1, "{welcome:?}");
    assert_eq!(welcome.unopened[0].source, SourceId(1));
    world.say(offer(1)).await;
    let answer = world.messages.recv().await;
    let not_open = crate::wire::Answer::new(SourceId(1), [crate::wire::Verdict::NotOpen]);
    assert_eq!(answer, Some(Message::Answer(not_open)));
    // It is not tried without a pause, however long that lasts.
    let before = Instant::now();
    while fails.lock().unwrap().unwrap() < 6 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(before.elapsed() > Duration::from_secs(20), "{:?}", before.elapsed());
    *fails.lock().unwrap() = None;
    let opened = world.messages.recv().await;
    let next = Sequence(0);
    assert_eq!(opened, Some(Message::Opened(crate::wire::Opened { source: SourceId(1), next })));
}

#[tokio::test(start_paused = true)]
async fn of_a_source_that_is_not_open_nothing_else_may_be_said() {
    let store = Shut::failing(&Arc::new(std::sync::Mutex::new(Some(0))));
    let mut world = World::of(store, tempfile::tempdir().unwrap());
    greet_with(&world, &["b", "a"], Capabilities::LATE_SOURCES).await;
    welcome_of(world.messages.recv().await);
    world.say(end_of_run(0)).await;
    let (code, why, _) = world.closed().await;
    assert_eq!((code, why.as_str()), (CloseCode::Protocol, "source number 0 is not open"));
}

#[tokio::test(start_paused = true)]
async fn where_none_opens_or_the_sender_cannot_wait_for_one_the_session_ends() {
    let late = Capabilities::LATE_SOURCES;
    for (sources, capabilities) in [(&["b"][..], late), (&["a", "b"], Capabilities::default())] {
        let store = Shut::failing(&Arc::new(std::sync::Mutex::new(Some(0))));
        let world = World::of(store, tempfile::tempdir().unwrap());
        greet_with(&world, sources, capabilities).await;
        assert_eq!(world.closed().await.0, CloseCode::Store, "{sources:?}");
    }
}

const BOTH: Capabilities = Capabilities::LATE_SOURCES.and(Capabilities::DECLINED_SOURCES);

fn declined_of(message: Option<Message>) -> crate::wire::Declined {
    match message {
        Some(Message::Declined(declined)) => declined,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_of_another_sender_is_declined_and_the_others_go_on() {
    let store = Shut::failing(&Arc::default());
    store.owned.store(true, Ordering::Relaxed);
    let mut world = World::of(store, tempfile::tempdir().unwrap());
    greet_with(&world, &["a", "b"], BOTH).await;
    let welcome = welcome_of(world.messages.recv().await);
    assert_eq!(welcome.unopened.len(), 1, "{welcome:?}");
    let declined = declined_of(world.messages.recv().await);
    assert_eq!((declined.source, declined.code), (SourceId(1), CloseCode::Owned.number()));
    assert!(declined.why.contains("belongs to cam1"), "{declined:?}");
    world.say(offer(1)).await;
    assert!(matches!(world.messages.recv().await, Some(Message::Answer(_))));
    world.say(end_of_run(0)).await;
    let totals = world.messages.recv().await;
    assert!(matches!(totals, Some(Message::Totals(_))), "{totals:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_turns_out_to_be_anothers_is_declined_later_and_not_tried_again() {
    let fails = Arc::new(std::sync::Mutex::new(Some(0)));
    let store = Shut::failing(&fails);
    let owned = store.owned.clone();
    let mut world = World::of(store, tempfile::tempdir().unwrap());
    greet_with(&world, &["a", "b"], BOTH).await;
    welcome_of(world.messages.recv().await);
    owned.store(true, Ordering::Relaxed);
    assert_eq!(declined_of(world.messages.recv().await).source, SourceId(1));
    owned.store(false, Ordering::Relaxed);
    let tried = *fails.lock().unwrap();
    let more = tokio::time::timeout(STALL / 2, world.messages.recv()).await;
    assert!(more.is_err(), "{more:?}");
    assert_eq!(*fails.lock().unwrap(), tried);
}

#[tokio::test(start_paused = true)]
async fn where_all_are_anothers_or_the_sender_goes_on_without_none_the_session_ends() {
    let late = Capabilities::LATE_SOURCES;
    for (sources, capabilities) in [(&["b"][..], BOTH), (&["a", "b"], late)] {
        let store = Shut::failing(&Arc::default());
        store.owned.store(true, Ordering::Relaxed);
        let world = World::of(store, tempfile::tempdir().unwrap());
        greet_with(&world, sources, capabilities).await;
        assert_eq!(world.closed().await.0, CloseCode::Owned, "{sources:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_holds_up_its_own_source_alone() {
    let (let_it, lets) = std::sync::mpsc::channel();
    let hangs = Some(Arc::new(std::sync::Mutex::new(lets)));
    let store = Shut { hangs, ..Shut::failing(&Arc::default()) };
    let mut world = World::of(store, tempfile::tempdir().unwrap());
    greet_with(&world, &["a", "b"], Capabilities::LATE_SOURCES).await;
    let welcome = welcome_of(world.messages.recv().await);
    assert_eq!(welcome.unopened.len(), 1, "{welcome:?}");
    let early = tokio::time::timeout(STALL / 2, world.messages.recv()).await;
    assert!(early.is_err(), "{early:?}");
    let_it.send(()).unwrap();
    let opened = world.messages.recv().await;
    assert!(matches!(opened, Some(Message::Opened(_))), "{opened:?}");
}
