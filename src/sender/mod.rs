//! The sending end: offers, frames, receipts, and going on after a lost connection.
//!
//! [`run`] opens sessions one after the other until every frame of every source is settled: stored
//! and confirmed, found to be stored already, or failed by name.

mod glance;
mod inquiry;
mod lane;
mod ledger;
mod progress;
mod report;
mod schedule;
mod session;
#[cfg(test)]
mod session_tests;
mod weight;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub use progress::{Observer, Progress, SourceProgress, Trouble};
pub use report::{FailedFrame, SendReport, SourceReport};
pub use schedule::{Pace, Schedule};
pub use weight::{Weight, WeightError};

use crate::frame::{RunId, UnixNanos};
use crate::source::Source;
use crate::transport::{Dial, TransportError};
use ledger::Ledger;
use session::{Session, SessionEnd};

/// The first pause before connecting again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A link that comes back is used within this time, and what a name service without an answer takes.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What is said of a run that was stopped, and of each frame that was not confirmed then.
pub(crate) const INTERRUPTED: &str = "interrupted";

/// How long a run stays at its end, so that the receiver hears of it. Three probe timeouts of a round trip
/// of 400 ms.
const LINGER: Duration = Duration::from_millis(1_500);
/// The same where the user stopped it.
const LEAVE: Duration = Duration::from_millis(50);

/// How to send.
#[derive(Clone)]
#[non_exhaustive]
pub struct SendOptions {
    /// How fast frames fall due that were there before: so many a second from each source, or all at once.
    pub pace: Pace,
    /// The weight of each source, in the order of the sources. Those without one have the default.
    pub weights: Vec<Weight>,
    /// Replace frames that are stored with other content.
    pub overwrite: bool,
    /// Compare frames by their hash even where length and modification time agree.
    pub checksum: bool,
    /// How long to go on trying without a connection, or with connections that settle no frame; zero gives up
    /// at once.
    pub retry_for: Duration,
    /// How long the receiver may owe an answer, a receipt or room for the next frame and let nothing of it
    /// come, until the session is given up and another one tried.
    pub stall: Duration,
    /// Is told of each confirmed frame.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self {
            pace: Pace::Bulk,
            weights: Vec::new(),
            overwrite: false,
            checksum: false,
            retry_for: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            observer: None,
        }
    }
}

/// Sends every frame of `sources`, and reports what became of each.
///
/// Ends early when `stop` turns true, when the connection stays lost for longer than
/// [`SendOptions::retry_for`], or on an error that trying again cannot mend; the report then says
/// which frames are missing, and why. Never sends a frame that the receiver says it has.
pub async fn run(
    dial: &dyn Dial,
    sources: Vec<Arc<dyn Source>>,
    options: SendOptions,
    progress: Arc<Progress>,
    mut stop: watch::Receiver<bool>,
) -> SendReport {
    let started = Instant::now();
    let begin = |source: &Arc<dyn Source>| {
        Ledger::of_run(RunId(rand::random()), UnixNanos::now(), source.frames())
    };
    let mut ledgers: Vec<Ledger> = sources.iter().map(begin).collect();
    let mut attempts = Attempts::new(options.retry_for);
    let mut schedule = None;
    let mut sessions = 0_u32;
    let error = loop {
        let began = Instant::now();
        let link = tokio::select! {
            biased;
            () = stopped(&mut stop) => break Some(SessionEnd::Stopped),
            link = dial.dial() => link,
        };
        attempts.spend(began.elapsed());
        let ended = match link {
            Ok(link) => {
                sessions += 1;
                progress.connected(true);
                let before = settled(&ledgers);
                let session =
                    Session::new(link, &sources, &mut ledgers, &options, &mut schedule, &progress);
                let ended = session.run(&mut stop).await;
                progress.connected(false);
                // A peer that ends each session before a frame is stored would otherwise be asked for ever.
                attempts.session_ended(settled(&ledgers) > before);
                ended
            }
            Err(error) => SessionEnd::Link(error),
        };
        match ended {
            SessionEnd::Done => break None,
            SessionEnd::Link(error) if error.may_pass() => {
                let Some(pause) = attempts.next_pause() else {
                    break Some(SessionEnd::Link(error));
                };
                progress.trouble(&error, pause);
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stopped(&mut stop) => break Some(SessionEnd::Stopped),
                }
            }
            other => break Some(other),
        }
    };
    let elapsed = started.elapsed();
    let interrupted = matches!(error, Some(SessionEnd::Stopped));
    let told = matches!(error, Some(SessionEnd::Link(TransportError::ClosedByPeer { .. })));
    if !told {
        linger(dial, &mut stop).await;
    }
    let error = error.map(|end| attempts.explain(&end));
    let proven = dial.proves_content();
    SendReport::new(&sources, ledgers, proven, elapsed, sessions, error, interrupted)
}

/// Lets the transport see that the receiver hears of the end, for a bounded time. A run that is
/// stopped, before or meanwhile, only sees that the packet leaves.
async fn linger(dial: &dyn Dial, stop: &mut watch::Receiver<bool>) {
    let _ = tokio::time::timeout(LINGER, async {
        tokio::select! {
            () = dial.linger() => {}
            () = stopped(stop) => {
                let _ = tokio::time::timeout(LEAVE, dial.linger()).await;
            }
        }
    })
    .await;
}

/// Waits until `stop` turns true; for ever, where nobody can turn it any more.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Frames that are settled, of all sources.
fn settled(ledgers: &[Ledger]) -> u64 {
    ledgers.iter().map(Ledger::settled).sum()
}

/// Pauses between attempts, and when to give up.
struct Attempts {
    patience: Duration,
    /// Time without a connection, dialling included, since a frame was settled.
    spent: Duration,
    pause: Duration,
    /// Sessions since the last one that settled a frame.
    in_vain: u32,
}

impl Attempts {
    fn new(patience: Duration) -> Self {
        Self { patience, spent: Duration::ZERO, pause: FIRST_PAUSE, in_vain: 0 }
    }

    fn spend(&mut self, time: Duration) {
        self.spent = self.spent.saturating_add(time);
    }

    fn session_ended(&mut self, settled_some: bool) {
        if settled_some {
            *self = Self::new(self.patience);
        } else {
            self.in_vain += 1;
        }
    }

    /// The next pause, or `None` where patience is at its end.
    fn next_pause(&mut self) -> Option<Duration> {
        let left = self.patience.checked_sub(self.spent).filter(|left| !left.is_zero())?;
        let pause = self.pause.min(left);
        self.spend(pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }

    /// Why a run ended whose last session, or attempt at one, ended so.
    fn explain(&self, end: &SessionEnd) -> String {
        match (end, self.in_vain) {
            (SessionEnd::Link(_), sessions @ 2..) => format!(
                "{end}; {sessions} sessions in a row ended before a frame was stored: the receiver's own \
                 messages say why"
            ),
            _ => end.to_string(),
        }
    }
}

impl std::fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Stopped => f.write_str(INTERRUPTED),
            Self::Link(error) => error.fmt(f),
        }
    }
}

/// A link error in a form that [`run`] can act on.
impl From<TransportError> for SessionEnd {
    fn from(error: TransportError) -> Self {
        Self::Link(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{BoxFuture, SenderLink};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// The pauses until patience is at its end, where each attempt takes `attempt` and opens no session, or one
    /// that settles nothing.
    fn pauses(attempt: Duration, opens: bool) -> (usize, Duration, Attempts) {
        let mut attempts = Attempts::new(PATIENCE);
        let (mut count, mut sum) = (0, Duration::ZERO);
        loop {
            attempts.spend(attempt);
            if opens {
                attempts.session_ended(false);
            }
            let Some(pause) = attempts.next_pause() else { return (count, sum, attempts) };
            assert!(pause <= LONGEST_PAUSE, "{pause:?}");
            (count, sum) = (count + 1, sum + pause);
        }
    }

    #[test]
    fn patience_covers_dialling_and_pauses() {
        let (count, sum, _) = pauses(Duration::from_secs(8), false);
        // 8, 0.1, 8, 0.2, 8, 0.4, 8 seconds.
        assert_eq!((count, sum), (3, Duration::from_millis(700)));
        let (count, sum, _) = pauses(Duration::ZERO, false);
        assert_eq!(sum, PATIENCE);
        assert!(count < 25, "{count} attempts");
    }

    #[test]
    fn sessions_that_settle_nothing_use_up_patience_and_are_told() {
        let (count, _, attempts) = pauses(Duration::from_millis(1), true);
        assert!((15..25).contains(&count), "{count} sessions");
        let error = TransportError::Silent { why: "reset".to_owned() };
        let why = attempts.explain(&SessionEnd::Link(error));
        assert!(why.starts_with("reset; "), "{why}");
        assert!(why.contains("sessions in a row ended before a frame was stored"), "{why}");
    }

    #[test]
    fn a_settled_frame_gives_new_patience() {
        let (_, _, mut attempts) = pauses(Duration::from_secs(8), true);
        attempts.session_ended(true);
        assert_eq!(attempts.next_pause(), Some(FIRST_PAUSE));
        let why = attempts.explain(&SessionEnd::Link(TransportError::Ended));
        assert_eq!(why, TransportError::Ended.to_string());
    }

    /// Reaches nobody, and would be at its end for ever.
    struct Endless;

    impl Dial for Endless {
        fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
            Box::pin(std::future::ready(Err(TransportError::Ended)))
        }

        fn linger(&self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::pending())
        }
    }

    /// How long a run takes that reaches nobody, stopped before or not.
    async fn run_in_vain(stopped: bool) -> Duration {
        let options = SendOptions { retry_for: Duration::ZERO, ..SendOptions::default() };
        let (_stop, stop) = watch::channel(stopped);
        let began = tokio::time::Instant::now();
        let report = run(&Endless, Vec::new(), options, Arc::new(Progress::new([])), stop).await;
        assert_eq!(report.interrupted, stopped);
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_transport_has_some_time_at_the_end_and_little_once_stopped() {
        let near = |time: Duration, wanted| time >= wanted && time < wanted + LEAVE / 2;
        let (ended, stopped) = (run_in_vain(false).await, run_in_vain(true).await);
        assert!(near(ended, LINGER) && near(stopped, LEAVE), "{ended:?}, {stopped:?}");
    }

    #[test]
    fn no_patience_is_one_attempt() {
        assert_eq!(Attempts::new(Duration::ZERO).next_pause(), None);
    }
}
