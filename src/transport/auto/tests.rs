use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::*;
use crate::transport::{LinkEnd, PathStats};

const ROUND_TRIP: Duration = Duration::from_millis(50);

/// What a transport does at the moment with who dials it.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Swallows,
    AnswersAfter(Duration),
    IsRefused,
    IsAnother,
}

/// One of the two transports.
struct Way {
    transport: Transport,
    does: Arc<Mutex<Does>>,
    tried: Arc<AtomicUsize>,
}

impl Dial for Way {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        self.tried.fetch_add(1, Ordering::Relaxed);
        let does = *self.does.lock().unwrap();
        Box::pin(async move {
            match does {
                // As the transports' own patience.
                Does::Swallows => {
                    sleep(Duration::from_secs(8)).await;
                    Err(no_answer(self.transport))
                }
                Does::AnswersAfter(time) => {
                    sleep(time).await;
                    Ok(link(self.transport))
                }
                Does::IsRefused => {
                    let error = std::io::ErrorKind::ConnectionRefused.into();
                    Err(TransportError::connect(address(), self.transport, &error))
                }
                Does::IsAnother => Err(TransportError::Refused("another's pin".to_owned())),
            }
        })
    }
}

fn no_answer(transport: Transport) -> TransportError {
    TransportError::NoAnswer { address: address(), transport, seconds: 8, advice: "" }
}

fn address() -> SocketAddr {
    ([127, 0, 0, 1], 9).into()
}

fn link(transport: Transport) -> SenderLink {
    let ((messages, _), (frames, _), (_, incoming)) =
        (mpsc::channel(1), mpsc::channel(1), mpsc::channel(1));
    let path = PathWatch::new(PathStats::default);
    let via = Via { transport, address: address(), why: None, link: None };
    SenderLink { messages, frames, incoming, end: LinkEnd::new().0, path, via }
}

/// A receiver that can be dialled over both.
struct Rig {
    auto: Auto,
    does: [Arc<Mutex<Does>>; 2],
    tried: [Arc<AtomicUsize>; 2],
}

fn rig(quic: Does, tcp: Does) -> Rig {
    rig_with(quic, tcp, None)
}

fn rig_with(quic: Does, tcp: Does, file: Option<std::path::PathBuf>) -> Rig {
    let does = [quic, tcp].map(|does| Arc::new(Mutex::new(does)));
    let tried: [Arc<AtomicUsize>; 2] = Default::default();
    let (all_do, all_tried) = (does.clone(), tried.clone());
    let over = move |transport, _| -> Arc<dyn Dial> {
        let place = usize::from(transport == Transport::Tcp);
        Arc::new(Way { transport, does: all_do[place].clone(), tried: all_tried[place].clone() })
    };
    let reached = Reached::recall("store:9".parse().unwrap(), file);
    let auto = Auto::new(Box::new(over), Vec::new(), reached);
    Rig { auto, does, tried }
}

impl Rig {
    /// Over what the receiver is reached, and how long that takes.
    async fn reach(&self) -> Result<(Via, Duration), TransportError> {
        let began = Instant::now();
        self.auto.dial().await.map(|link| (link.via, began.elapsed()))
    }

    fn set(&self, quic: Does, tcp: Does) {
        *self.does[0].lock().unwrap() = quic;
        *self.does[1].lock().unwrap() = tcp;
    }

    fn tried(&self) -> [usize; 2] {
        [0, 1].map(|place| self.tried[place].load(Ordering::Relaxed))
    }
}

const SOON: Does = Does::AnswersAfter(ROUND_TRIP);
const LATER: Does = Does::AnswersAfter(Duration::from_millis(100));

#[tokio::test(start_paused = true)]
async fn quic_is_first_and_alone_where_it_answers_in_time() {
    let rig = rig(SOON, SOON);
    let (via, time) = rig.reach().await.unwrap();
    assert_eq!((via.transport, via.why, time), (Transport::Quic, None, ROUND_TRIP));
    assert_eq!(rig.tried(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn tcp_comes_200_ms_later_where_udp_is_swallowed_and_at_once_the_next_time() {
    let rig = rig(Does::Swallows, LATER);
    let (via, time) = rig.reach().await.unwrap();
    assert_eq!((via.transport, time), (Transport::Tcp, HEAD_START + Duration::from_millis(100)));
    assert_eq!(via.why.as_deref(), Some("no answer over UDP within 0.3 s"));
    assert_eq!(rig.reach().await.unwrap().1, Duration::from_millis(100));
    // But QUIC is the first choice still.
    rig.set(SOON, LATER);
    let (via, time) = rig.reach().await.unwrap();
    assert_eq!((via.transport, time), (Transport::Quic, ROUND_TRIP));
}

#[tokio::test(start_paused = true)]
async fn what_the_system_says_is_not_waited_for() {
    let rig = rig(Does::IsRefused, LATER);
    let (via, time) = rig.reach().await.unwrap();
    assert_eq!((via.transport, time), (Transport::Tcp, Duration::from_millis(100)));
    assert!(via.why.unwrap().starts_with("UDP does not get through: "));
    rig.set(Does::IsRefused, Does::IsRefused);
    let began = Instant::now();
    let error = rig.reach().await.unwrap_err();
    assert!(error.may_pass() && began.elapsed() < Duration::from_millis(5), "{error}");
    let text = error.to_string();
    assert!(text.contains("neither over QUIC nor over TCP"), "{text}");
    assert!(text.contains("nothing listens there") && !text.contains("`transport`"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn where_both_are_swallowed_both_are_named() {
    let error = rig(Does::Swallows, Does::Swallows).reach().await.unwrap_err();
    assert!(error.may_pass());
    assert!(error.to_string().contains("neither over QUIC (UDP) nor over TCP"), "{error}");
    let error = rig(Does::Swallows, Does::IsRefused).reach().await.unwrap_err().to_string();
    assert!(error.starts_with("neither QUIC nor TCP comes through: no answer from"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn another_receiver_is_the_end_over_both() {
    for rig in [rig(Does::IsAnother, SOON), rig(Does::Swallows, Does::IsAnother)] {
        let began = Instant::now();
        assert!(!rig.reach().await.unwrap_err().may_pass());
        assert!(began.elapsed() <= HEAD_START);
    }
}

/// A path on which something comes every ten milliseconds until `quiet`.
fn path(quiet: Arc<AtomicU64>, began: Instant) -> PathWatch {
    PathWatch::new(move || {
        let now = began.elapsed().as_millis() as u64;
        PathStats {
            rtt: ROUND_TRIP,
            datagrams_received: Some(now.min(quiet.load(Ordering::Relaxed)) / 10),
            with_transport: 1,
            ..PathStats::default()
        }
    })
}

#[tokio::test(start_paused = true)]
async fn quic_takes_over_from_tcp_when_it_gets_through() {
    let rig = rig(Does::Swallows, LATER);
    let (via, _) = rig.reach().await.unwrap();
    let path = PathWatch::new(PathStats::default);
    // Eight seconds each, and pauses of 3, 6 and 12 s.
    let in_vain = tokio::time::timeout(Duration::from_secs(40), rig.auto.better(&via, &path));
    assert!(in_vain.await.is_err());
    assert!((3..=5).contains(&rig.tried()[0]), "{:?}", rig.tried());
    rig.set(SOON, LATER);
    let better = rig.auto.better(&via, &path).await;
    assert_eq!((better.link.via.transport, better.drains), (Transport::Quic, true));
    assert_eq!(better.link.via.why.as_deref(), Some("UDP gets through again"));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_at_quic_that_comes_late_is_not_in_vain() {
    let rig = rig(Does::AnswersAfter(Duration::from_secs(2)), SOON);
    let (via, _) = rig.reach().await.unwrap();
    assert_eq!(via.transport, Transport::Tcp);
    let began = Instant::now();
    let better = rig.auto.better(&via, &PathWatch::new(PathStats::default)).await;
    assert_eq!((better.link.via.transport, rig.tried()[0]), (Transport::Quic, 1));
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn where_udp_dies_tcp_takes_over() {
    let rig = rig(SOON, LATER);
    let (via, _) = rig.reach().await.unwrap();
    rig.set(Does::Swallows, LATER);
    let began = Instant::now();
    let path = path(Arc::new(AtomicU64::new(1_000)), began);
    let better = rig.auto.better(&via, &path).await;
    assert_eq!((better.link.via.transport, better.drains), (Transport::Tcp, false));
    let why = better.link.via.why.unwrap();
    assert!(why.starts_with("nothing came over UDP for 0.") && why.ends_with("TCP comes through"));
    // Three round trips and 100 ms, and a look: TCP was tried by half of that.
    let took = began.elapsed() - Duration::from_secs(1);
    assert!((250..=270).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_takes_over_where_only_the_old_one_is_dead() {
    let rig = rig(SOON, LATER);
    let (via, _) = rig.reach().await.unwrap();
    let path = path(Arc::new(AtomicU64::new(1_000)), Instant::now());
    let better = rig.auto.better(&via, &path).await;
    assert_eq!((better.link.via.transport, better.drains), (Transport::Quic, false));
    assert!(better.link.via.why.unwrap().contains("a new one comes through"));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_away_as_a_whole_is_waited_for() {
    let rig = rig(SOON, LATER);
    let (via, _) = rig.reach().await.unwrap();
    rig.set(Does::Swallows, Does::Swallows);
    let quiet = Arc::new(AtomicU64::new(1_000));
    let path = path(quiet.clone(), Instant::now());
    let mut better = rig.auto.better(&via, &path);
    let outage = Duration::from_secs(21);
    assert!(tokio::time::timeout(outage, &mut better).await.is_err());
    let tried = rig.tried();
    assert!((2..=4).contains(&tried[1]), "{tried:?}");
    // It is back: the old connection is heard, and nothing is changed any more.
    quiet.store(u64::MAX, Ordering::Relaxed);
    rig.set(SOON, LATER);
    assert!(tokio::time::timeout(outage, better).await.is_err());
    assert_eq!(rig.tried(), tried);
}

#[tokio::test(start_paused = true)]
async fn what_was_found_is_remembered_for_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reached");
    let rig = rig_with(Does::Swallows, LATER, Some(file.clone()));
    rig.reach().await.unwrap();
    // Written by a thread of its own, on its own time.
    while !file.exists() {
        std::thread::yield_now();
        tokio::task::yield_now().await;
    }
    let next = rig_with(Does::Swallows, LATER, Some(file));
    assert_eq!(next.reach().await.unwrap().1, Duration::from_millis(100));
}

/// A receiver behind two links that a user names, of which each may swallow.
fn two_links() -> (Auto, [Arc<Mutex<Does>>; 2]) {
    let does: [Arc<Mutex<Does>>; 2] = [SOON, SOON].map(|does| Arc::new(Mutex::new(does)));
    let by_link = does.clone();
    let over = move |transport, leave| -> Arc<dyn Dial> {
        let place = usize::from(leave == Leave::Link("second".to_owned()));
        Arc::new(Way { transport, does: by_link[place].clone(), tried: Arc::default() })
    };
    let via = ["first", "second"].map(|name| Leave::Link(name.to_owned())).to_vec();
    let reached = Reached::recall("store:9".parse().unwrap(), None);
    (Auto::new(Box::new(over), via, reached), does)
}

#[tokio::test(start_paused = true)]
async fn the_second_link_stands_by_for_the_first_and_gives_way_to_it() {
    let (auto, does) = two_links();
    let link = auto.dial().await.unwrap();
    assert_eq!((link.via.transport, &link.via.link), (Transport::Quic, &None));
    *does[0].lock().unwrap() = Does::Swallows;
    let silent = path(Arc::new(AtomicU64::new(1_000)), Instant::now());
    let better = auto.better(&link.via, &silent).await;
    let via = better.link.via;
    assert_eq!((via.link.as_deref(), better.drains), (Some("second"), false));
    assert!(via.why.as_ref().unwrap().contains("one by second comes through"), "{via:?}");
    // It is tried again and again, and used when it works.
    let well = path(Arc::new(AtomicU64::new(u64::MAX)), Instant::now());
    let in_vain = tokio::time::timeout(Duration::from_secs(30), auto.better(&via, &well));
    assert!(in_vain.await.is_err());
    *does[0].lock().unwrap() = SOON;
    let better = auto.better(&via, &well).await;
    assert_eq!((better.link.via.link, better.drains), (None, true));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_leads_nowhere_at_first_costs_a_second() {
    let (auto, does) = two_links();
    *does[0].lock().unwrap() = Does::Swallows;
    let began = Instant::now();
    let link = auto.dial().await.unwrap();
    assert_eq!(link.via.link.as_deref(), Some("second"));
    assert_eq!(began.elapsed(), OTHERS_AFTER + ROUND_TRIP);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_fails_at_once_has_the_second_tried_at_once() {
    let (auto, does) = two_links();
    *does[0].lock().unwrap() = Does::IsRefused;
    let began = Instant::now();
    let link = auto.dial().await.unwrap();
    assert_eq!((link.via.link.as_deref(), began.elapsed()), (Some("second"), ROUND_TRIP));
    // The same in mid-stream, where nothing comes over the first any more.
    let (auto, does) = two_links();
    let link = auto.dial().await.unwrap();
    *does[0].lock().unwrap() = Does::IsRefused;
    let silent = path(Arc::new(AtomicU64::new(1_000)), Instant::now());
    let better = auto.better(&link.via, &silent).await;
    assert_eq!(better.link.via.link.as_deref(), Some("second"));
    // Where none leads anywhere, what the first came to is told.
    *does[1].lock().unwrap() = Does::IsRefused;
    let error = auto.dial().await.unwrap_err();
    assert!(matches!(error, TransportError::Neither { .. }), "{error}");
}
