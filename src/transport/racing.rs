//! Dialling a receiver that has several addresses.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::time::{Instant, sleep_until};

use super::race::{self, Race, Step};
use super::{BoxFuture, Dial, SenderLink, TransportError};

/// Ways to one receiver, one for each of its addresses.
pub(super) struct Racing {
    addresses: Vec<SocketAddr>,
    ways: Vec<Box<dyn Dial>>,
    memory: Mutex<Memory>,
}

/// What earlier attempts have shown.
#[derive(Default)]
struct Memory {
    /// The way that worked last.
    last: Option<usize>,
    /// Ways that trying again cannot mend: another receiver's, say.
    ended: HashMap<usize, TransportError>,
}

/// An attempt under way, and the place of its address.
type Attempt<'a> = (usize, BoxFuture<'a, Result<SenderLink, TransportError>>);

impl Racing {
    /// Ways to `addresses`, each made by `way`; the first of them is preferred. `last` is the address that
    /// worked last, where that is known.
    pub(super) fn new(
        addresses: Vec<SocketAddr>,
        last: Option<SocketAddr>,
        way: impl Fn(SocketAddr) -> Box<dyn Dial>,
    ) -> Self {
        let ways = addresses.iter().map(|&address| way(address)).collect();
        let last = addresses.iter().position(|&address| Some(address) == last);
        let memory = Mutex::new(Memory { last, ended: HashMap::new() });
        Self { addresses, ways, memory }
    }

    /// Whether these are its addresses, in whatever order.
    pub(super) fn leads_to(&self, addresses: &[SocketAddr]) -> bool {
        addresses.len() == self.addresses.len()
            && addresses.iter().all(|address| self.addresses.contains(address))
    }

    /// The address that worked last.
    pub(super) fn last(&self) -> Option<SocketAddr> {
        self.memory().last.map(|place| self.addresses[place])
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first attempt that comes through; the others are dropped then.
    async fn open(&self) -> Result<SenderLink, TransportError> {
        let order = {
            let memory = self.memory();
            race::order(&self.addresses, memory.last, |place| memory.ended.contains_key(&place))
        };
        let mut race = Race::new(order, Instant::now());
        let mut running: Vec<Attempt<'_>> = Vec::new();
        let mut failures = Vec::new();
        loop {
            let until = match race.step(Instant::now()) {
                Step::Start(place) => {
                    running.push((place, self.ways[place].dial()));
                    continue;
                }
                Step::WaitUntil(time) => Some(time),
                Step::Wait => None,
                Step::Over => return Err(self.in_vain(failures)),
            };
            let (place, ended) = tokio::select! {
                ended = first(&mut running) => ended,
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => continue,
            };
            match ended {
                Ok(link) => {
                    self.memory().last = Some(place);
                    return Ok(link);
                }
                Err(error) => {
                    race.failed(Instant::now());
                    if self.addresses.len() > 1 {
                        tracing::info!("one of the receiver's addresses fails: {error}");
                    }
                    if error.may_pass() {
                        failures.push(error);
                    } else {
                        self.memory().ended.insert(place, error);
                    }
                }
            }
        }
    }

    /// What is said where no address led to the receiver: of those that ended earlier as well.
    fn in_vain(&self, failures: Vec<TransportError>) -> TransportError {
        let mut memory = self.memory();
        let mut errors: Vec<_> = memory.ended.values().cloned().chain(failures).collect();
        if !errors.iter().any(TransportError::may_pass) {
            // Whoever asks again all the same, after something was changed, is to be tried again.
            memory.ended.clear();
        }
        match errors.len() {
            0 => TransportError::Ended,
            1 => errors.remove(0),
            _ => TransportError::NoneOf(errors),
        }
    }
}

/// Waits for the first of some attempts to end, and takes it out. For ever, where there is none.
async fn first<'a>(running: &mut Vec<Attempt<'a>>) -> (usize, Result<SenderLink, TransportError>) {
    poll_fn(|cx| {
        for index in 0..running.len() {
            if let Poll::Ready(ended) = running[index].1.as_mut().poll(cx) {
                let (place, _) = running.swap_remove(index);
                return Poll::Ready((place, ended));
            }
        }
        Poll::Pending
    })
    .await
}

impl Dial for Racing {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        Box::pin(self.open())
    }

    /// Only one of them can have a session that has just ended.
    fn linger(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            for way in &self.ways {
                way.linger().await;
            }
        })
    }

    fn is_ready(&self) -> bool {
        self.ways.iter().any(|way| way.is_ready())
    }

    fn proves_content(&self) -> bool {
        self.ways.iter().all(|way| way.proves_content())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::super::{LinkEnd, PathStats, PathWatch, Transport, Via};
    use super::*;

    /// What an address does with who dials it.
    #[derive(Clone, Copy, PartialEq)]
    enum Does {
        Swallows,
        AnswersAfter(u64),
        IsRefused,
        IsAnother,
    }

    struct Way {
        does: Does,
        /// Attempts begun, and those that were given up.
        tried: Arc<[AtomicUsize; 2]>,
    }

    struct GivenUp<'a>(&'a AtomicUsize);

    impl Drop for GivenUp<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Dial for Way {
        fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
            Box::pin(async {
                self.tried[0].fetch_add(1, Ordering::Relaxed);
                let given_up = GivenUp(&self.tried[1]);
                let ended = match self.does {
                    Does::Swallows => std::future::pending().await,
                    Does::AnswersAfter(ms) => {
                        tokio::time::sleep(Duration::from_millis(ms)).await;
                        Ok(link())
                    }
                    Does::IsRefused => {
                        let error = std::io::ErrorKind::ConnectionRefused.into();
                        Err(TransportError::connect(address(0), Transport::Quic, &error))
                    }
                    Does::IsAnother => Err(TransportError::Refused("another's pin".to_owned())),
                };
                std::mem::forget(given_up);
                ended
            })
        }
    }

    fn link() -> SenderLink {
        let ((messages, _), (frames, _), (_, incoming)) =
            (mpsc::channel(1), mpsc::channel(1), mpsc::channel(1));
        let path = PathWatch::new(PathStats::default);
        let via = Via { transport: Transport::Quic, address: address(0), why: None, link: None };
        SenderLink { messages, frames, incoming, end: LinkEnd::new().0, path, via }
    }

    fn address(place: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1 + place as u16))
    }

    type Tried = Vec<Arc<[AtomicUsize; 2]>>;

    fn racing(ways: &[Does]) -> (Racing, Tried) {
        let tried: Tried = ways.iter().map(|_| Arc::default()).collect();
        let way = |at: SocketAddr| {
            let place = usize::from(at.port()) - 1;
            Box::new(Way { does: ways[place], tried: tried[place].clone() }) as Box<dyn Dial>
        };
        (Racing::new((0..ways.len()).map(address).collect(), None, way), tried)
    }

    fn counts(tried: &Tried, which: usize) -> Vec<usize> {
        tried.iter().map(|counts| counts[which].load(Ordering::Relaxed)).collect()
    }

    /// How long it took to reach the receiver, in virtual time.
    async fn reach(racing: &Racing) -> Result<Duration, TransportError> {
        let began = Instant::now();
        racing.dial().await.map(|_| began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_first_address_costs_its_head_start_once() {
        let (racing, tried) = racing(&[Does::Swallows, Does::AnswersAfter(10)]);
        assert_eq!(reach(&racing).await.unwrap(), Duration::from_millis(260));
        assert_eq!(counts(&tried, 1), [1, 0], "the loser is given up");
        assert_eq!(racing.last(), Some(address(1)));
        assert_eq!(reach(&racing).await.unwrap(), Duration::from_millis(10));
        assert_eq!(counts(&tried, 0), [1, 2], "the one that worked comes first");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_address_may_still_win() {
        let (racing, tried) =
            racing(&[Does::AnswersAfter(400), Does::Swallows, Does::AnswersAfter(300)]);
        assert_eq!(reach(&racing).await.unwrap(), Duration::from_millis(400));
        assert_eq!(racing.last(), Some(address(0)));
        assert_eq!(counts(&tried, 1), [0, 1, 0], "the third was not begun");
    }

    #[tokio::test(start_paused = true)]
    async fn another_receiver_ends_its_address_only() {
        let (racing, tried) = racing(&[Does::IsAnother, Does::IsRefused, Does::AnswersAfter(10)]);
        assert_eq!(reach(&racing).await.unwrap(), Duration::from_millis(10));
        racing.memory().last = None;
        assert_eq!(reach(&racing).await.unwrap(), Duration::from_millis(10));
        assert_eq!(counts(&tried, 0), [1, 2, 2], "another receiver is asked once");
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_leads_to_it_all_are_named() {
        let (racing, _) = racing(&[Does::IsAnother, Does::IsRefused]);
        for _ in 0..2 {
            let error = reach(&racing).await.unwrap_err();
            assert!(error.may_pass(), "{error}");
            let text = error.to_string();
            assert!(text.contains("2 addresses") && text.contains("another's pin"), "{text}");
            assert!(text.contains("nothing listens there"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn others_receivers_alone_are_the_end() {
        let (racing, tried) = racing(&[Does::IsAnother, Does::IsAnother]);
        assert!(!reach(&racing).await.unwrap_err().may_pass());
        assert!(!reach(&racing).await.unwrap_err().may_pass());
        assert_eq!(counts(&tried, 0), [2, 2], "who asks again is to be tried again");
        assert!(matches!(
            super::Racing::new(vec![], None, |_| unreachable!()).dial().await,
            Err(TransportError::Ended)
        ));
    }
}
