//! QUIC where UDP gets through, TCP where it does not, and the one after the other while frames are sent.
//!
//! QUIC is begun first, and TCP [`HEAD_START`] later if nothing has come. Where TCP comes through, QUIC is tried
//! again beside it, and takes over when it works. Where nothing comes over QUIC any more, both are tried beside
//! it, and the first that comes through takes over if the old connection is silent still: a link that is away as
//! a whole lets none of them through.

mod retry;
mod silence;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::reached::Reached;
use super::route::{News, towards};
use super::{Better, BoxFuture, Dial, PathWatch, SenderLink, Transport, TransportError, Via};
use retry::Retry;
use silence::Silence;

/// How long QUIC has to itself: most round trips are shorter, so that most often a single handshake is begun.
const HEAD_START: Duration = Duration::from_millis(200);

/// How often it is looked whether anything comes.
const LOOK: Duration = Duration::from_millis(25);

/// The pause after attempts in vain beside a silent connection.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens sessions over QUIC or TCP.
pub(super) struct Auto {
    quic: Arc<dyn Dial>,
    tcp: Arc<dyn Dial>,
    reached: Reached,
    state: Mutex<State>,
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
}

impl Auto {
    /// One that opens sessions over `quic` or `tcp`, and notes in `reached` which of them it was.
    pub(super) fn new(quic: Arc<dyn Dial>, tcp: Arc<dyn Dial>, reached: Reached) -> Self {
        let doubts_udp =
            reached.recalled().is_some_and(|reached| reached.transport == Transport::Tcp);
        let retry = Retry::new(Instant::now());
        let state = Mutex::new(State { trying: None, retry, doubts_udp, last: None });
        Self { quic, tcp, reached, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt at QUIC that goes on whether or not anybody looks, until it is dropped.
    fn attempt(&self) -> Attempt {
        let quic = self.quic.clone();
        let mut attempt = JoinSet::new();
        attempt.spawn(async move { quic.dial().await });
        attempt
    }

    /// The first of the two that comes through. Cancel safe.
    async fn open(&self, head_start: Duration) -> Result<SenderLink, TransportError> {
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
                    Ok(link) => return Ok(link),
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
                        if quic_failed.is_none() {
                            self.state().trying = Some(quic);
                        }
                        return Ok(link);
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

    /// A link is going to be used.
    fn took(&self, via: &Via) {
        let now = Instant::now();
        let mut state = self.state();
        match (via.transport, state.last) {
            (Transport::Tcp, Some(Transport::Quic)) => state.retry.fell_back(now),
            (Transport::Tcp, None) => state.retry = Retry::new(now),
            (Transport::Quic, Some(Transport::Tcp)) => state.retry.took_over(now),
            _ => {}
        }
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
                    let at = self.state().retry.at();
                    tokio::select! {
                        () = sleep_until(at) => {}
                        () = news.changed() => {
                            let stands = towards(address);
                            if stands == stood || stands.is_none() {
                                continue;
                            }
                            stood = stands;
                            self.state().retry.network_changed(Instant::now());
                        }
                    }
                    self.attempt()
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

    /// Another link than one over QUIC on which nothing comes any more.
    async fn instead_of_silence(&self, address: SocketAddr, path: &PathWatch) -> SenderLink {
        let news = News::new();
        let mut stood = towards(address);
        let mut silence = Silence::new(&path.look(), Instant::now());
        loop {
            tokio::select! {
                () = sleep(LOOK) => {}
                () = news.changed() => {
                    let stands = towards(address);
                    if stands != stood && stands.is_some() {
                        silence.doubt();
                    }
                    stood = stands;
                }
            }
            if !silence.is_too_long(&path.look(), Instant::now()) {
                continue;
            }
            let opened = tokio::select! {
                opened = self.open(Duration::ZERO) => opened,
                () = until_heard(&mut silence, path) => continue,
            };
            match opened {
                Ok(link) if silence.is_too_long(&path.look(), Instant::now()) => {
                    return explained(link, silence.length(Instant::now()));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(
                        "nothing comes, and no other connection comes through: {error}"
                    );
                    let _ = tokio::time::timeout(PAUSE, until_heard(&mut silence, path)).await;
                }
            }
        }
    }
}

/// Waits until something comes.
async fn until_heard(silence: &mut Silence, path: &PathWatch) {
    while silence.is_too_long(&path.look(), Instant::now()) {
        sleep(LOOK).await;
    }
}

/// The link that takes the place of one on which nothing has come for so long.
fn explained(mut link: SenderLink, silent: Duration) -> SenderLink {
    let silent = silent.as_secs_f64();
    link.via.why = Some(match link.via.transport {
        Transport::Quic => {
            format!(
                "nothing came over the old connection for {silent:.1} s, and a new one comes through"
            )
        }
        _ => format!("nothing came over UDP for {silent:.1} s, and TCP comes through"),
    });
    link
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
            let link = self.open(head_start).await?;
            self.took(&link.via);
            Ok(link)
        })
    }

    fn better<'a>(&'a self, via: &'a Via, path: &'a PathWatch) -> BoxFuture<'a, Better> {
        Box::pin(async {
            let drains = via.transport == Transport::Tcp;
            let link = match drains {
                true => self.quic_again(via.address).await,
                false => self.instead_of_silence(via.address, path).await,
            };
            self.took(&link.via);
            Better { link, drains }
        })
    }

    fn linger(&self) -> BoxFuture<'_, ()> {
        match self.state().last {
            Some(Transport::Quic) => self.quic.linger(),
            _ => self.tcp.linger(),
        }
    }
}

#[cfg(test)]
mod tests;
