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

pub use progress::{Observer, Progress, SourceProgress};
pub use report::{FailedFrame, SendReport, SourceReport};
pub use schedule::{Pace, Schedule};
pub use weight::{Weight, WeightError};

use crate::source::Source;
use crate::transport::{Dial, TransportError};
use ledger::Ledger;
use session::{Session, SessionEnd};

/// The first pause before connecting again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A link that comes back is used within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How to send.
#[derive(Clone)]
pub struct SendOptions {
    /// How fast frames fall due: so many a second from each source, or all at once.
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
    /// Is told of each confirmed frame.
    pub observer: Option<Arc<dyn Observer>>,
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
    let mut ledgers: Vec<Ledger> =
        sources.iter().map(|source| Ledger::new(source.frames())).collect();
    let mut attempts = Attempts::new(options.retry_for);
    let mut schedule = None;
    let mut sessions = 0_u32;
    let error = loop {
        let link = tokio::select! {
            link = dial.dial() => link,
            () = stopped(&mut stop) => break Some(SessionEnd::Stopped),
        };
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
                    break Some(attempts.given_up(error));
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
    let interrupted = matches!(error, Some(SessionEnd::Stopped));
    let error = error.map(|end| end.to_string());
    SendReport::new(
        &sources,
        ledgers,
        dial.proves_content(),
        started.elapsed(),
        sessions,
        error,
        interrupted,
    )
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
    failing_since: Option<Instant>,
    pause: Duration,
    /// Sessions since the last one that settled a frame.
    in_vain: u32,
}

impl Attempts {
    fn new(patience: Duration) -> Self {
        Self { patience, failing_since: None, pause: FIRST_PAUSE, in_vain: 0 }
    }

    fn session_ended(&mut self, settled_some: bool) {
        if settled_some {
            *self = Self::new(self.patience);
        } else {
            self.in_vain += 1;
        }
    }

    /// How the run ends when patience is at its end.
    fn given_up(&self, error: TransportError) -> SessionEnd {
        match self.in_vain {
            0 | 1 => SessionEnd::Link(error),
            sessions => SessionEnd::InVain { error, sessions },
        }
    }

    /// The next pause, or `None` where patience is at its end.
    fn next_pause(&mut self) -> Option<Duration> {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        let left = self.patience.checked_sub(since.elapsed()).filter(|left| !left.is_zero())?;
        let pause = self.pause.min(left);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

impl std::fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Stopped => f.write_str("interrupted"),
            Self::Link(error) => error.fmt(f),
            Self::InVain { error, sessions } => write!(
                f,
                "{error}; {sessions} sessions in a row ended before a frame was stored: the receiver's own \
                 messages say why"
            ),
        }
    }
}

/// A link error in a form that [`run`] can act on.
impl From<TransportError> for SessionEnd {
    fn from(error: TransportError) -> Self {
        Self::Link(error)
    }
}
