//! QUIC where UDP gets through, TCP where it does not, and the one after the other while frames are sent.
//!
//! QUIC is begun first, and TCP [`HEAD_START`] later if nothing has come. Where TCP comes through, QUIC is tried
//! again beside it, and takes over when it works. Where nothing comes over QUIC any more, both are tried beside
//! it, and the first that comes through takes over if the old connection is silent still: a link that is away as
//! a whole lets none of them through.

mod anew;
mod instead;
mod retry;
mod silence;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::leave::{self, Leave};
use super::reached::Reached;
use super::route::{News, towards};
use super::{Better, BoxFuture, Dial, PathWatch, SenderLink, Transport, TransportError, Via};
pub(super) use anew::Anew;
use instead::instead_of;
use retry::Retry;

/// How long QUIC has to itself: most round trips are shorter, so that most often a single handshake is begun.
const HEAD_START: Duration = Duration::from_millis(200);

/// How long the link that the route names has to itself at the beginning, until others are tried as well.
const OTHERS_AFTER: Duration = Duration::from_secs(1);

/// How soon the usual way is tried again that has failed, while others are tried: the receiver may only be starting.
const AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Makes a way to the receiver over a transport, which leaves by some link.
pub(super) type Over = Box<dyn Fn(Transport, Leave) -> Arc<dyn Dial> + Send + Sync>;

/// Opens sessions over QUIC or TCP.
pub(super) struct Auto {
    usual: Pair,
    over: Over,
    /// By which other links; `None` for those of which a route leads to the receiver.
    others: Option<Vec<Leave>>,
    reached: Reached,
    state: Mutex<State>,
}

/// Both transports, over one link.
struct Pair {
    quic: Arc<dyn Dial>,
    tcp: Arc<dyn Dial>,
}

/// An attempt at QUIC, which ends with this.
type Attempt = JoinSet<Result<SenderLink, TransportError>>;

struct State {
    /// An attempt at QUIC that goes on beside a link over TCP.
    trying: Option<Attempt>,
    retry: Retry,
    /// UDP did not get through the last time.
    doubts_udp: bool,
    /// Over what the last link goes.
    last: Option<Transport>,
    /// Whether that is the first choice: QUIC by the usual link.
    is_first_choice: bool,
}

/// A link that came through, and an attempt at QUIC that goes on where it is TCP's.
type Opened = (SenderLink, Option<Attempt>);

impl Pair {
    /// An attempt at QUIC that goes on whether or not anybody looks, until it is dropped.
    fn attempt(&self) -> Attempt {
        let quic = self.quic.clone();
        let mut attempt = JoinSet::new();
        attempt.spawn(async move { quic.dial().await });
        attempt
    }

    /// The first of the two that comes through. Cancel safe.
    async fn open(&self, head_start: Duration) -> Result<Opened, TransportError> {
        let began = Instant::now();
        let mut quic = self.attempt();
        let (mut quic_failed, mut tcp_failed) = (None, None);
        let begin = Notify::new();
        let mut tcp = std::pin::pin!(async {
            tokio::select! {
                () = sleep_until(began + head_start) => {}
                () = begin.notified() => {}
            }
            self.tcp.dial().await
        });
        loop {
            tokio::select! {
                biased;
                Some(ended) = quic.join_next(), if quic_failed.is_none() => match outcome(ended) {
                    Ok(link) => return Ok((link, None)),
                    Err(error) if is_refusal(&error) => return Err(error),
                    Err(error) => {
                        tracing::debug!("QUIC does not come through: {error}");
                        begin.notify_one();
                        quic_failed = Some(error);
                    }
                },
                ended = &mut tcp, if tcp_failed.is_none() => match ended {
                    Ok(mut link) => {
                        link.via.why = Some(why_not_quic(quic_failed.as_ref(), began.elapsed()));
                        return Ok((link, quic_failed.is_none().then_some(quic)));
                    }
                    Err(error) if is_refusal(&error) => return Err(error),
                    Err(error) => {
                        tracing::debug!("TCP does not come through: {error}");
                        tcp_failed = Some(error);
                    }
                },
            }
            if quic_failed.is_some()
                && let Some(tcp) = tcp_failed.take()
                && let Some(quic) = quic_failed.take()
            {
                return Err(TransportError::Neither { quic: Box::new(quic), tcp: Box::new(tcp) });
            }
        }
    }
}

impl Auto {
    /// One that opens sessions by what `over` makes, and notes in `reached` over what. Links in `via` are used in
    /// their order, each where those before it do not lead to the receiver; without any, the usual one is what
    /// the routes say.
    pub(super) fn new(over: Over, via: Vec<Leave>, reached: Reached) -> Self {
        let doubts_udp =
            reached.recalled().is_some_and(|reached| reached.transport == Transport::Tcp);
        let retry = Retry::new(Instant::now());
        let (trying, last, is_first_choice) = (None, None, true);
        let state = Mutex::new(State { trying, retry, doubts_udp, last, is_first_choice });
        let mut via = via.into_iter();
        let (leave, others) = match via.next() {
            None => (Leave::ByRoute, None),
            Some(first) => (first, Some(via.collect())),
        };
        let usual =
            Pair { quic: over(Transport::Quic, leave.clone()), tcp: over(Transport::Tcp, leave) };
        Self { usual, over, others, reached, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first that comes through of the usual way and, `later` or as soon as that fails, of those by other links that
    /// lead to `address`, where that is known. Cancel safe.
    async fn open(
        &self,
        head_start: Duration,
        address: Option<SocketAddr>,
        later: Duration,
    ) -> Result<SenderLink, TransportError> {
        let mut usual = std::pin::pin!(self.usual.open(head_start));
        let begin = Notify::new();
        let mut others = std::pin::pin!(async {
            tokio::select! {
                () = sleep(later) => {}
                () = begin.notified() => {}
            }
            self.open_elsewhere(address).await
        });
        let (mut failed, mut none_elsewhere) = (None, false);
        let mut again = Instant::now();
        let (link, trying) = loop {
            tokio::select! {
                biased;
                opened = &mut usual, if failed.is_none() => match opened {
                    Ok(opened) => break opened,
                    Err(error) if is_refusal(&error) => return Err(error),
                    // A link that is not there fails at once: then the others are not waited for.
                    Err(error) => {
                        begin.notify_one();
                        failed = Some(error);
                        again = Instant::now() + AGAIN_AFTER;
                    }
                },
                opened = &mut others, if !none_elsewhere => match opened {
                    Some(link) => break (link, None),
                    None => none_elsewhere = true,
                },
                () = sleep_until(again), if failed.is_some() => {
                    failed = None;
                    usual.set(self.usual.open(head_start));
                }
            }
            if none_elsewhere && let Some(error) = failed.take() {
                return Err(error);
            }
        };
        self.state().trying = trying;
        Ok(link)
    }

    /// The first that comes through by another link than the route names; `None` where none does.
    async fn open_elsewhere(&self, address: Option<SocketAddr>) -> Option<SenderLink> {
        let others = match (&self.others, address) {
            (Some(others), _) => others.clone(),
            (None, Some(address)) => leave::others(address),
            (None, None) => Vec::new(),
        };
        let mut attempts = JoinSet::new();
        for leave in others {
            let over = |transport| (self.over)(transport, leave.clone());
            let pair = Pair { quic: over(Transport::Quic), tcp: over(Transport::Tcp) };
            attempts.spawn(async move { (leave, pair.open(HEAD_START).await) });
        }
        while let Some(ended) = attempts.join_next().await {
            match ended {
                Ok((Leave::Link(name), Ok((mut link, _)))) => {
                    link.via.link = Some(name);
                    return Some(link);
                }
                Ok((leave, Err(error))) => tracing::debug!(?leave, "nor by another link: {error}"),
                _ => {}
            }
        }
        None
    }

    /// A link is going to be used.
    fn took(&self, via: &Via) {
        let now = Instant::now();
        let mut state = self.state();
        let is_first_choice = via.transport == Transport::Quic && via.link.is_none();
        match (is_first_choice, state.is_first_choice, state.last) {
            (false, _, None) => state.retry = Retry::new(now),
            (false, true, _) => state.retry.fell_back(now),
            (true, false, _) => state.retry.took_over(now),
            _ => {}
        }
        state.is_first_choice = is_first_choice;
        if via.transport == Transport::Quic {
            state.trying = None;
        }
        state.doubts_udp = via.transport == Transport::Tcp;
        state.last = Some(via.transport);
        drop(state);
        self.reached.note(via.transport, via.address);
    }

    /// Tries QUIC beside a link over TCP, until it comes through.
    async fn quic_again(&self, address: SocketAddr) -> SenderLink {
        let news = News::new();
        let mut stood = towards(address);
        loop {
            let under_way = self.state().trying.take();
            let mut attempt = match under_way {
                Some(attempt) => attempt,
                None => {
                    self.time_to_retry(address, &news, &mut stood).await;
                    self.usual.attempt()
                }
            };
            match attempt.join_next().await.map(outcome) {
                Some(Ok(mut link)) => {
                    link.via.why = Some("UDP gets through again".to_owned());
                    return link;
                }
                Some(Err(error)) => tracing::debug!("UDP still does not get through: {error}"),
                None => {}
            }
            self.state().retry.failed(Instant::now());
        }
    }

    /// Waits until something is to be tried again that failed: at its time, or when the network has changed.
    async fn time_to_retry(&self, address: SocketAddr, news: &News, stood: &mut Option<IpAddr>) {
        loop {
            let at = self.state().retry.at();
            tokio::select! {
                () = sleep_until(at) => return,
                () = news.changed() => {}
            }
            let stands = towards(address);
            if stands.is_some() && std::mem::replace(stood, stands) != stands {
                self.state().retry.network_changed(Instant::now());
                return;
            }
        }
    }

    /// Tries the usual link beside another one, until it leads to the receiver.
    async fn usual_again(&self, address: SocketAddr) -> SenderLink {
        let (news, mut stood) = (News::new(), towards(address));
        loop {
            self.time_to_retry(address, &news, &mut stood).await;
            match self.usual.open(HEAD_START).await {
                Ok((mut link, trying)) => {
                    self.state().trying = trying;
                    link.via.why = Some("the first choice leads to the receiver again".to_owned());
                    return link;
                }
                Err(error) => tracing::debug!("the usual link still leads nowhere: {error}"),
            }
            self.state().retry.failed(Instant::now());
        }
    }

    /// Another link than one over QUIC on which nothing comes any more.
    async fn instead_of_silence(&self, address: SocketAddr, path: &PathWatch) -> SenderLink {
        let open = || -> BoxFuture<'_, _> {
            Box::pin(self.open(Duration::ZERO, Some(address), Duration::ZERO))
        };
        instead_of(address, path, open).await
    }
}

/// Why a link goes over TCP, at the time at which it came through.
fn why_not_quic(failed: Option<&TransportError>, waited: Duration) -> String {
    match failed {
        Some(TransportError::Connect { why, .. }) => format!("UDP does not get through: {why}"),
        Some(TransportError::NoAnswer { seconds, .. }) => {
            format!("no answer over UDP within {seconds} s")
        }
        Some(other) => format!("QUIC does not come through: {other}"),
        None => format!("no answer over UDP within {:.1} s", waited.as_secs_f64()),
    }
}

/// True where the receiver was reached and does not want this sender, or is another one: it is the same one
/// over both transports.
fn is_refusal(error: &TransportError) -> bool {
    match error {
        TransportError::Refused(_) => true,
        TransportError::NoneOf(errors) => errors.iter().all(is_refusal),
        _ => false,
    }
}

fn outcome(
    joined: Result<Result<SenderLink, TransportError>, tokio::task::JoinError>,
) -> Result<SenderLink, TransportError> {
    joined.unwrap_or_else(|error| Err(TransportError::Silent { why: error.to_string() }))
}

impl Dial for Auto {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        Box::pin(async {
            let head_start = if self.state().doubts_udp { Duration::ZERO } else { HEAD_START };
            let address = self.reached.address();
            let mut link = self.open(head_start, address, OTHERS_AFTER).await?;
            if let Some(other) = &link.via.link {
                link.via.why =
                    Some(format!("no answer by the link that the route names, but by {other}"));
            }
            self.took(&link.via);
            Ok(link)
        })
    }

    fn better<'a>(&'a self, via: &'a Via, path: &'a PathWatch) -> BoxFuture<'a, Better> {
        Box::pin(async {
            let address = via.address;
            let (link, drains) = match (via.transport, &via.link) {
                (Transport::Quic, None) => (self.instead_of_silence(address, path).await, false),
                (Transport::Quic, Some(_)) => tokio::select! {
                    link = self.usual_again(address) => (link, true),
                    link = self.instead_of_silence(address, path) => (link, false),
                },
                (_, None) => (self.quic_again(address).await, true),
                (_, Some(_)) => (self.usual_again(address).await, true),
            };
            self.took(&link.via);
            Better { link, drains }
        })
    }

    fn is_ready(&self) -> bool {
        self.usual.tcp.is_ready()
    }

    fn linger(&self) -> BoxFuture<'_, ()> {
        match self.state().last {
            Some(Transport::Quic) => self.usual.quic.linger(),
            _ => self.usual.tcp.linger(),
        }
    }
}

#[cfg(test)]
mod tests;
