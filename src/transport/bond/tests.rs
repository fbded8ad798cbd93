//! A session over several paths in virtual time: paths with a rate, a delay and losses, which are cut and come back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::{Notify, watch};
use tokio::time::sleep_until;

use super::super::{
    GivenUp, LinkEnd, LinkKeeper, OutgoingFrame, PathStats, PathWatch, SenderLink, Transport, Via,
};
use super::*;
use crate::frame::{ContentHash, FrameMeta, FrameName, RunId, Sequence, UnixNanos};
use crate::wire::{
    Answer, Capabilities, FrameHeader, Hello, Message, Offer, Receipts, SourceId, Verdict, Welcome,
};

/// What a path is like.
#[derive(Clone, Copy)]
struct Spec {
    /// Bytes a second.
    rate: f64,
    /// One way.
    delay: Duration,
    /// The chance that a frame loses something, which comes a round trip and a quarter later.
    loss: f64,
    seed: u64,
}

const fn spec(mbit: u64, rtt_ms: u64) -> Spec {
    let (rate, delay) = ((mbit * 125_000) as f64, Duration::from_millis(rtt_ms / 2));
    Spec { rate, delay, loss: 0.0, seed: 1 }
}

impl Spec {
    /// How long a frame takes over it that nothing holds up.
    fn takes(self, bytes: usize) -> Duration {
        self.delay + Duration::from_secs_f64(bytes as f64 / self.rate)
    }
}

/// The receiver, which all paths lead to.
#[derive(Default)]
struct Store {
    /// When a frame was there first, and over which path.
    stored: Mutex<BTreeMap<u64, (Instant, usize)>>,
    /// Copies that came when a frame was there.
    copies: AtomicU64,
    changed: Notify,
    /// It takes no second connection.
    is_old: AtomicBool,
    /// Offers that came.
    offers: AtomicU64,
}

/// One path.
struct Path {
    place: usize,
    spec: Spec,
    store: Arc<Store>,
    /// True while it carries anything.
    up: watch::Sender<bool>,
    /// When it was given a frame last.
    used: Arc<Mutex<Option<Instant>>>,
    dialled: AtomicUsize,
}

/// What a connection counts.
#[derive(Default)]
struct Counts {
    under: AtomicU64,
    sent: AtomicU64,
    came: AtomicU64,
    drained: Arc<Notify>,
    given_up: GivenUp,
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap()
}

async fn until_up(up: &mut watch::Receiver<bool>) -> bool {
    let waits = !*up.borrow();
    let _ = up.wait_for(|up| *up).await;
    waits
}

impl Path {
    fn new(place: usize, spec: Spec, store: &Arc<Store>) -> Arc<Self> {
        let (up, store) = (watch::Sender::new(true), store.clone());
        Arc::new(Self {
            place,
            spec,
            store,
            up,
            used: Arc::default(),
            dialled: AtomicUsize::new(0),
        })
    }

    fn link(&self) -> SenderLink {
        let (messages, said) = mpsc::channel(64);
        let (frames, given) = mpsc::channel(2);
        let (to_session, incoming) = mpsc::channel(64);
        let (end, keeper) = LinkEnd::new();
        let counts = Arc::new(Counts::default());
        let (rtt, rate) = (self.spec.delay * 2, self.spec.rate);
        let look = counts.clone();
        let path = PathWatch::new(move || PathStats {
            rtt,
            window: (rate * rtt.as_secs_f64()) as u64 + 20_000,
            datagrams_received: Some(look.came.load(Ordering::Relaxed)),
            with_transport: look.under.load(Ordering::Relaxed),
            bytes_sent: look.sent.load(Ordering::Relaxed),
            ..PathStats::default()
        });
        let path = path.with_notice(counts.drained.clone()).with_given_up(counts.given_up.clone());
        tokio::spawn(carry(
            self.spec,
            self.up.subscribe(),
            given,
            to_session.clone(),
            counts.clone(),
            Arrivals { place: self.place, store: self.store.clone(), used: self.used.clone() },
        ));
        tokio::spawn(answer(
            self.spec,
            self.up.subscribe(),
            said,
            to_session,
            counts,
            self.store.clone(),
        ));
        tokio::spawn(until_closed(keeper));
        let address = ([127, 0, 0, 1], 1 + self.place as u16).into();
        let via = Via { transport: Transport::Quic, address, why: None, link: None };
        SenderLink { messages, frames, incoming, end, path, via }
    }
}

async fn until_closed(mut keeper: LinkKeeper) {
    let _ = keeper.close.recv().await;
    keeper.ended(TransportError::Ended);
}

/// Where frames arrive.
struct Arrivals {
    place: usize,
    store: Arc<Store>,
    used: Arc<Mutex<Option<Instant>>>,
}

/// Carries frames, the most urgent first.
async fn carry(
    spec: Spec,
    mut up: watch::Receiver<bool>,
    mut given: mpsc::Receiver<OutgoingFrame>,
    to_session: mpsc::Sender<Message>,
    counts: Arc<Counts>,
    arrivals: Arrivals,
) {
    let mut random = StdRng::seed_from_u64(spec.seed);
    let mut waiting: VecDeque<OutgoingFrame> = VecDeque::new();
    let arrivals = Arc::new(arrivals);
    loop {
        while let Ok(frame) = given.try_recv() {
            counts.under.fetch_add(frame.body.len() as u64, Ordering::Relaxed);
            *lock(&arrivals.used) = Some(Instant::now());
            waiting.push_back(frame);
        }
        let first = (0..waiting.len()).max_by_key(|&at| (waiting[at].priority, usize::MAX - at));
        let Some(frame) = first.and_then(|at| waiting.remove(at)) else {
            match given.recv().await {
                Some(frame) => {
                    counts.under.fetch_add(frame.body.len() as u64, Ordering::Relaxed);
                    *lock(&arrivals.used) = Some(Instant::now());
                    waiting.push_back(frame);
                    continue;
                }
                None => return,
            }
        };
        let bytes = frame.body.len() as u64;
        let is_moot = |frame: &OutgoingFrame| {
            frame.moot.as_ref().is_some_and(|moot| moot.has_changed().is_err())
        };
        // A frame that cannot make it is stopped as soon as that is known.
        let by = |spare| {
            let latest = frame.deadline.map(|deadline| Instant::from_std(deadline) - spare);
            async move {
                match latest {
                    Some(latest) => sleep_until(latest).await,
                    None => std::future::pending().await,
                }
            }
        };
        let starting = async {
            if until_up(&mut up).await {
                // What went into the outage goes again.
                sleep(spec.delay * 2).await;
            }
        };
        tokio::select! {
            biased;
            () = by(spec.takes(frame.body.len())) => {
                counts.give_up(&frame);
                continue;
            }
            () = starting => {}
        }
        if !is_moot(&frame) {
            counts.sent.fetch_add(bytes, Ordering::Relaxed);
            // It takes what others give meanwhile.
            let ends = Instant::now() + Duration::from_secs_f64(bytes as f64 / spec.rate);
            loop {
                tokio::select! {
                    () = sleep_until(ends) => break,
                    Some(frame) = given.recv() => {
                        counts.under.fetch_add(frame.body.len() as u64, Ordering::Relaxed);
                        *lock(&arrivals.used) = Some(Instant::now());
                        waiting.push_back(frame);
                    }
                }
            }
        }
        let again = if random.random_bool(spec.loss) { spec.delay * 5 / 2 } else { Duration::ZERO };
        let (mut up, counts, to_session) = (up.clone(), counts.clone(), to_session.clone());
        let arrivals = arrivals.clone();
        tokio::spawn(async move {
            // What is on its way when the path is cut is lost, and goes again when that is back.
            let deadline = frame.deadline.map(Instant::from_std);
            let travelling = async {
                sleep(spec.delay + again).await;
                if until_up(&mut up).await {
                    sleep(spec.delay * 3).await;
                }
            };
            let in_time = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, travelling).await.is_ok(),
                None => {
                    travelling.await;
                    true
                }
            };
            if !in_time {
                return counts.give_up(&frame);
            }
            if !is_moot(&frame) {
                arrivals.arrive(&frame);
            }
            sleep(spec.delay).await;
            if until_up(&mut up).await {
                sleep(spec.delay * 2).await;
            }
            counts.under.fetch_sub(bytes, Ordering::Relaxed);
            counts.came.fetch_add(1, Ordering::Relaxed);
            counts.drained.notify_one();
            if !is_moot(&frame) {
                let sequence = vec![frame.header.meta.sequence];
                let receipts = Receipts::new(frame.header.source, UnixNanos(1), sequence);
                let _ = to_session.send(Message::Receipts(receipts)).await;
            }
        });
    }
}

impl Counts {
    /// Nothing more of a frame is sent.
    fn give_up(&self, frame: &OutgoingFrame) {
        self.given_up.add((frame.header.source, frame.header.meta.sequence));
        self.under.fetch_sub(frame.body.len() as u64, Ordering::Relaxed);
        self.drained.notify_one();
    }
}

impl Arrivals {
    fn arrive(&self, frame: &OutgoingFrame) {
        let mut stored = lock(&self.store.stored);
        let place = frame.header.meta.sequence.0;
        match stored.contains_key(&place) {
            true => drop(self.store.copies.fetch_add(1, Ordering::Relaxed)),
            false => drop(stored.insert(place, (Instant::now(), self.place))),
        }
        drop(stored);
        self.store.changed.notify_one();
    }
}

/// Answers messages a round trip later.
async fn answer(
    spec: Spec,
    up: watch::Receiver<bool>,
    mut said: mpsc::Receiver<Message>,
    to_session: mpsc::Sender<Message>,
    counts: Arc<Counts>,
    store: Arc<Store>,
) {
    while let Some(message) = said.recv().await {
        let is_old = store.is_old.load(Ordering::Relaxed);
        let reply = match message {
            Message::Hello(_) => Message::Welcome(welcome(is_old)),
            Message::Join(join) => {
                assert_eq!((join.session, join.token), ([7; 16], [9; 16]));
                Message::Welcome(welcome(false))
            }
            Message::ClockProbe(asked) => Message::ClockReply { asked, arrived: 1, replied: 1 },
            Message::Offer(Offer { source, entries }) => {
                store.offers.fetch_add(1, Ordering::Relaxed);
                Message::Answer(Answer::new(source, vec![Verdict::Wanted; entries.len()]))
            }
            other => panic!("{other:?}"),
        };
        let (mut up, counts, to_session) = (up.clone(), counts.clone(), to_session.clone());
        tokio::spawn(async move {
            if until_up(&mut up).await {
                sleep(Duration::from_millis(25)).await;
            }
            sleep(spec.delay * 2).await;
            until_up(&mut up).await;
            counts.came.fetch_add(1, Ordering::Relaxed);
            let _ = to_session.send(reply).await;
        });
    }
}

fn welcome(is_old: bool) -> Welcome {
    Welcome {
        durable: false,
        replaces: false,
        max_frame: 1 << 26,
        max_unconfirmed_bytes: 1 << 26,
        max_unconfirmed_frames: 4_096,
        agent: String::new(),
        next: vec![Sequence(0)],
        capabilities: Capabilities::default(),
        join: (!is_old).then_some([9; 16]),
        unopened: Vec::new(),
    }
}

impl Dial for Path {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        Box::pin(async {
            self.dialled.fetch_add(1, Ordering::Relaxed);
            let mut up = self.up.subscribe();
            until_up(&mut up).await;
            sleep(self.spec.delay * 2).await;
            Ok(self.link())
        })
    }
}

/// A session over some paths.
struct World {
    store: Arc<Store>,
    paths: Vec<Arc<Path>>,
    link: SenderLink,
    _bond: Bond,
}

impl World {
    async fn new(mode: PathsMode, specs: &[Spec]) -> Self {
        Self::with(mode, specs, Arc::default()).await
    }

    async fn with(mode: PathsMode, specs: &[Spec], store: Arc<Store>) -> Self {
        let paths: Vec<_> =
            specs.iter().enumerate().map(|(place, &spec)| Path::new(place, spec, &store)).collect();
        Self::capped(mode, paths, store, None).await
    }

    /// The same with a cap on the last path.
    async fn capped(
        mode: PathsMode,
        paths: Vec<Arc<Path>>,
        store: Arc<Store>,
        cap: Option<(DataCap, PathBuf)>,
    ) -> Self {
        let last = paths.len() - 1;
        let way = |path: &Arc<Path>| Way {
            link: Link(format!("path{}", path.place)),
            dial: path.clone(),
            cap: cap.clone().filter(|_| path.place == last),
        };
        let bond = Bond::new(paths.iter().map(way).collect(), mode).unwrap();
        let mut link = bond.dial().await.unwrap();
        link.messages.send(Message::Hello(hello())).await.unwrap();
        let welcome = link.incoming.recv().await;
        assert!(matches!(welcome, Some(Message::Welcome(_))), "{welcome:?}");
        // All others have joined.
        sleep(Duration::from_secs(1)).await;
        Self { store, paths, link, _bond: bond }
    }

    /// Sends so many frames, a frame each `every`; how long each took, and when the last was there.
    async fn send(
        &mut self,
        frames: u64,
        bytes: usize,
        every: Option<Duration>,
    ) -> (Vec<Duration>, Duration) {
        let began = Instant::now();
        let first = lock(&self.store.stored).len() as u64;
        let due = |number: u64| began + every.unwrap_or_default() * u32::try_from(number).unwrap();
        for number in 0..frames {
            let next = frame(first + number, bytes, every.is_some());
            tokio::select! {
                // What the session hears, it takes.
                () = async { while self.link.incoming.recv().await.is_some() {} } => panic!("it has ended"),
                () = async {
                    sleep_until(due(number)).await;
                    self.link.frames.send(next).await.unwrap();
                } => {}
            }
        }
        let all = first + frames;
        let arriving = async {
            while (lock(&self.store.stored).len() as u64) < all {
                tokio::select! {
                    () = self.store.changed.notified() => {}
                    heard = self.link.incoming.recv() => assert!(heard.is_some(), "it has ended"),
                }
            }
        };
        let arrived = tokio::time::timeout(Duration::from_secs(120), arriving).await;
        let stored = lock(&self.store.stored);
        assert!(arrived.is_ok(), "{} of {all} are stored", stored.len());
        let took = (0..frames).map(|number| stored[&(first + number)].0 - due(number)).collect();
        let last = stored.values().map(|(at, _)| *at).max().unwrap();
        (took, last - began)
    }
}

fn hello() -> Hello {
    Hello {
        session: [7; 16],
        overwrite: false,
        agent: String::new(),
        sources: vec![crate::wire::SourceHello::new(
            crate::frame::SourceName::parse("a").unwrap(),
            RunId([1; 16]),
            UnixNanos(1),
        )],
        capabilities: Capabilities::JOIN,
    }
}

fn frame(sequence: u64, bytes: usize, live: bool) -> OutgoingFrame {
    let name = FrameName::parse(&format!("{sequence}.bin")).unwrap();
    let meta = FrameMeta {
        sequence: Sequence(sequence),
        media: name.media_type(),
        name,
        bytes: bytes as u64,
        hash: Some(ContentHash::from_bytes([0; 32])),
        captured: None,
        due: None,
        modified: None,
    };
    OutgoingFrame {
        header: FrameHeader { source: SourceId(0), meta, repair: None },
        body: Bytes::from(vec![0; bytes]),
        priority: if live { i32::MAX - 10 - i32::try_from(sequence).unwrap() } else { 0 },
        late: None,
        deadline: None,
        moot: None,
    }
}

fn percentile(took: &[Duration], part: f64) -> Duration {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

const FAST: Spec = spec(20, 40);
const SLOW: Spec = spec(10, 100);
const INTERVAL: Duration = Duration::from_millis(33);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test(start_paused = true)]
async fn bulk_over_two_paths_is_as_fast_as_both_together() {
    const FRAMES: u64 = 600;
    const BYTES: usize = 60_000;
    let mut rates = Vec::new();
    for specs in [&[FAST][..], &[SLOW], &[FAST, SLOW], &[SLOW, FAST]] {
        let (_, time) = World::new(PathsMode::Auto, specs).await.send(FRAMES, BYTES, None).await;
        rates.push((FRAMES * BYTES as u64) as f64 / time.as_secs_f64());
    }
    for together in &rates[2..] {
        let part = together / (rates[0] + rates[1]);
        assert!(part >= 0.95, "{part:.3} of the sum: {rates:?}");
    }
}

fn a_cap(bytes: u64, folder: &tempfile::TempDir) -> Option<(DataCap, PathBuf)> {
    let cap = DataCap { bytes: crate::frame::ByteSize(bytes), per: Period::Day };
    Some((cap, folder.path().join("data-used")))
}

#[tokio::test(start_paused = true)]
async fn a_cap_is_kept_over_runs_and_what_is_over_it_goes_over_the_other_path() {
    let folder = tempfile::tempdir().unwrap();
    let mut carried = 0;
    for mode in [PathsMode::Spread, PathsMode::Auto, PathsMode::Duplicate] {
        let store = Arc::default();
        let paths = [SLOW, FAST].iter().enumerate();
        let paths: Vec<_> = paths.map(|(place, &spec)| Path::new(place, spec, &store)).collect();
        let mut world = World::capped(mode, paths, store, a_cap(20_000_000, &folder)).await;
        // 24 MB each, of which most would go over the fast path.
        world.send(400, 60_000, None).await;
        let stored = lock(&world.store.stored);
        carried += stored.values().filter(|(_, place)| *place == 1).count() * 60_000;
        assert_eq!(stored.len(), 400);
    }
    assert!((15_000_000..=20_000_000).contains(&carried), "{carried} bytes over a cap of 20 MB");
}

#[tokio::test(start_paused = true)]
async fn without_another_path_a_session_is_over_when_the_data_is_used_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::default();
    let paths = vec![Path::new(0, FAST, &store)];
    let mut world = World::capped(PathsMode::Auto, paths, store, a_cap(10_000_000, &folder)).await;
    let sending = async {
        for number in 0.. {
            if world.link.frames.send(frame(number, 60_000, false)).await.is_err() {
                return;
            }
        }
    };
    let hearing = async { while world.link.incoming.recv().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(sending, hearing) })
        .await
        .unwrap();
    let cause = world.link.end.cause().await;
    let told = cause.to_string();
    assert!(cause.may_pass() && told.contains("path0 (10.0 MB a day)"), "{told}");
    let bytes = lock(&world.store.stored).len() * 60_000;
    assert!((8_000_000..=10_000_000).contains(&bytes), "{bytes} bytes");
    let again = world._bond.dial().await.unwrap_err();
    assert!(matches!(again, TransportError::DataSpent { .. }), "{again}");
}

/// Sends live frames while the first path is cut again and again: how long they took.
async fn while_cut(mode: PathsMode, specs: &[Spec], cut: Duration) -> (Vec<Duration>, World) {
    let mut world = World::new(mode, specs).await;
    let up = world.paths[0].up.clone();
    let cutting = tokio::spawn(async move {
        loop {
            // At no moment of a frame's way in particular.
            sleep(ms(3_007)).await;
            up.send_replace(false);
            sleep(cut).await;
            up.send_replace(true);
        }
    });
    let (took, _) = world.send(1_500, 60_000, Some(INTERVAL)).await;
    cutting.abort();
    (took, world)
}

#[tokio::test(start_paused = true)]
async fn live_frames_go_by_the_other_path_when_one_is_cut() {
    for cut in [ms(500), ms(2_000), ms(10_000)] {
        let remaining = spec(30, 60);
        let (took, _world) = while_cut(PathsMode::Auto, &[spec(50, 40), remaining], cut).await;
        let most = took.iter().max().unwrap();
        let limit = remaining.takes(60_000) + ms(100) + remaining.delay * 2;
        assert!(*most <= limit, "{most:?} where {limit:?} is the limit, cut for {cut:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_two_copies_of_each_frame_none_is_later_than_over_the_path_that_is_left() {
    let remaining = spec(30, 60);
    let specs = [spec(50, 40), remaining];
    let (took, _world) = while_cut(PathsMode::Duplicate, &specs, ms(2_000)).await;
    let most = took.iter().max().unwrap();
    let limit = remaining.takes(60_000).mul_f64(1.1);
    assert!(*most <= limit, "{most:?} where {limit:?} is the limit");
}

#[tokio::test(start_paused = true)]
async fn a_path_that_comes_back_is_used_again_within_a_second() {
    for cut in [ms(1_000), ms(10_000), ms(20_000)] {
        let mut world = World::new(PathsMode::Auto, &[spec(50, 40), spec(30, 60)]).await;
        world.send(30, 60_000, Some(INTERVAL)).await;
        world.paths[0].up.send_replace(false);
        let frames = u64::try_from(cut.as_millis() / 33).unwrap();
        world.send(frames, 60_000, Some(INTERVAL)).await;
        let back = Instant::now();
        world.paths[0].up.send_replace(true);
        *lock(&world.paths[0].used) = None;
        world.send(30, 60_000, Some(INTERVAL)).await;
        let stored =
            lock(&world.store.stored).values().filter(|(at, by)| *by == 0 && *at > back).count();
        assert!(stored > 5, "{stored} frames came by it in a second, after {cut:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_second_path_makes_nothing_later() {
    for seed in 0..10 {
        let with = |spec: Spec, loss| Spec { loss, seed, ..spec };
        let good = with(spec(25, 30), 0.05);
        for slow in [spec(1, 400), spec(5, 200), spec(10, 100)] {
            let slow = with(slow, 0.2);
            let alone = World::new(PathsMode::Auto, &[good]).await;
            let both = World::new(PathsMode::Auto, &[good, slow]).await;
            let mut seen = Vec::new();
            for mut world in [alone, both] {
                let (took, _) = world.send(600, 60_000, Some(INTERVAL)).await;
                seen.push([
                    percentile(&took, 0.5),
                    percentile(&took, 0.99),
                    percentile(&took, 1.0),
                ]);
            }
            for (alone, both) in seen[0].iter().zip(&seen[1]) {
                assert!(*both <= *alone + ms(2), "{seen:?} with {} Mbit/s", slow.rate / 125_000.0);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn more_than_one_path_takes_goes_over_both() {
    // 23 Mbit/s.
    let mut world = World::new(PathsMode::Spread, &[spec(16, 40), spec(16, 60)]).await;
    let (took, _) = world.send(600, 60_000, Some(ms(21))).await;
    let late = percentile(&took, 0.99);
    assert!(late <= ms(200), "{late:?}");
    let by = |place| lock(&world.store.stored).values().filter(|(_, by)| *by == place).count();
    assert!(by(0) > 100 && by(1) > 100, "{} and {}", by(0), by(1));
    assert!(world.store.copies.load(Ordering::Relaxed) <= 30, "each goes once");
}

#[tokio::test(start_paused = true)]
async fn what_was_said_over_a_path_that_is_cut_is_said_again_over_another() {
    let mut world = World::new(PathsMode::Auto, &[spec(50, 20), spec(30, 60)]).await;
    world.paths[0].up.send_replace(false);
    let offer = Offer { source: SourceId(0), entries: Vec::new() };
    world.link.messages.send(Message::Offer(offer)).await.unwrap();
    let began = Instant::now();
    let answer = world.link.incoming.recv().await;
    assert!(matches!(answer, Some(Message::Answer(_))), "{answer:?}");
    assert!(began.elapsed() < ms(600), "{:?}", began.elapsed());
    // The one over the path that is back again is the answer to no offer.
    world.paths[0].up.send_replace(true);
    let more = tokio::time::timeout(Duration::from_secs(5), world.link.incoming.recv()).await;
    assert!(!matches!(more, Ok(Some(Message::Answer(_)))), "{more:?}");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_takes_no_second_connection_is_sent_to_over_one() {
    let store = Arc::new(Store::default());
    store.is_old.store(true, Ordering::Relaxed);
    let mut world = World::with(PathsMode::Auto, &[spec(50, 20), spec(30, 60)], store).await;
    world.send(30, 60_000, Some(INTERVAL)).await;
    assert!(lock(&world.store.stored).values().all(|(_, by)| *by == 0));
    // And when that is cut, the session ends, so that another begins.
    world.paths[0].up.send_replace(false);
    world.link.frames.send(frame(30, 60_000, true)).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), world.link.end.cause()).await;
    assert!(matches!(ended, Ok(TransportError::Silent { .. })), "{ended:?}");
}

/// Sends live frames with a deadline for 15 s, in whose midst all paths are away for 2 s; how old those are that are
/// stored, by their numbers, and those that were given up.
async fn with_deadlines(mode: PathsMode, specs: &[Spec]) -> (BTreeMap<u64, Duration>, Vec<u64>) {
    let mut world = World::new(mode, specs).await;
    let began = Instant::now();
    let ups: Vec<_> = world.paths.iter().map(|path| path.up.clone()).collect();
    tokio::spawn(async move {
        for (after, is_up) in [(ms(5_007), false), (ms(2_000), true)] {
            sleep(after).await;
            for up in &ups {
                up.send_replace(is_up);
            }
        }
    });
    let (mut given_up, mut handed) = (Vec::new(), 0);
    let frames = 450;
    while given_up.len() + lock(&world.store.stored).len() < frames as usize {
        assert!(began.elapsed() < ms(20_000), "{} of {handed} are given up", given_up.len());
        let due = began + INTERVAL * u32::try_from(handed).unwrap();
        tokio::select! {
            heard = world.link.incoming.recv() => assert!(heard.is_some(), "it has ended"),
            () = sleep(ms(5)) => {}
            permit = world.link.frames.reserve(), if handed < frames && due <= Instant::now() => {
                let deadline = Some((due + DEADLINE).into_std());
                permit.unwrap().send(OutgoingFrame { deadline, ..frame(handed, 60_000, true) });
                handed += 1;
            }
        }
        given_up.extend(world.link.path.take_given_up().into_iter().map(|(_, place)| place.0));
    }
    let stored = lock(&world.store.stored);
    let age = |(&place, (at, _)): (&u64, &(Instant, usize))| {
        (place, *at - (began + INTERVAL * u32::try_from(place).unwrap()))
    };
    (stored.iter().map(age).collect(), given_up)
}

const DEADLINE: Duration = ms(300);

#[tokio::test(start_paused = true)]
async fn a_live_frame_past_its_deadline_is_stopped_on_every_path() {
    for mode in [PathsMode::Auto, PathsMode::Duplicate, PathsMode::Spread, PathsMode::Standby] {
        let (stored, given_up) = with_deadlines(mode, &[spec(50, 40), spec(30, 60)]).await;
        let oldest = stored.values().max().unwrap();
        assert!(*oldest <= DEADLINE, "{oldest:?} ({mode:?})");
        // Those of the outage, and what was under way when it began; each is told once.
        let lost: std::collections::BTreeSet<_> = given_up.iter().copied().collect();
        assert_eq!(lost.len(), given_up.len(), "{given_up:?} ({mode:?})");
        assert!((45..=75).contains(&lost.len()), "{} ({mode:?})", lost.len());
        assert!(lost.iter().all(|place| !stored.contains_key(place)), "{given_up:?} ({mode:?})");
    }
}
