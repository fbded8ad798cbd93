//! A run: sessions one after the other, until every frame is settled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

use super::attempts::Attempts;
use super::figures::Figures;
use super::ledger::{Ledger, Loss};
use super::options::SendOptions;
use super::progress::Progress;
use super::report::{End, SendReport};
use super::session::{Opened, Outcome, Run, Session, SessionEnd};
use super::stopped::{INTERRUPTED, stopped};
use super::tend::{TEND_EVERY, lose, tend};
use super::waiting::LimitedBy;
use crate::frame::{DropReason, RunId, Sequence, Span, UnixNanos};
use crate::source::{Bell, Remembered, Source};
use crate::transport::{Dial, RouteNews, SenderLink, TransportError};
use crate::wire::MAX_SOURCES;

/// A pause lasts this long at least, whatever changes at this machine's links meanwhile: a link that comes back has an
/// address and a route moments later.
const LEAST_PAUSE: Duration = Duration::from_millis(30);

/// How long a run stays at its end, so that the receiver hears of it. Three probe timeouts of a round trip
/// of 400 ms.
const LINGER: Duration = Duration::from_millis(1_500);
/// The same where the user stopped it, or the receiver has let nothing come for long.
const LEAVE: Duration = Duration::from_millis(50);

/// Sends every frame of `sources`, and reports what became of each.
///
/// Ends when every source has ended and all of its frames are settled. Ends early when `stop` turns true, when
/// the connection stays lost or the receiver gets on with nothing for longer than [`SendOptions::retry_for`],
/// when a source panics, or on an error that trying again cannot mend; the report then says which frames are
/// missing, and why. Never sends a frame that the receiver says it has. At most [`MAX_SOURCES`] sources, of
/// different names. Dropped, it leaves the session as a lost connection does.
pub async fn run(
    dial: &dyn Dial,
    sources: Vec<Arc<dyn Source>>,
    options: SendOptions,
    progress: Arc<Progress>,
    mut stop: watch::Receiver<bool>,
) -> SendReport {
    let (started, processor) = (Instant::now(), processor_time());
    let mut figures = Figures::new(sources.len(), started);
    let mut ledgers: Vec<Ledger> = Vec::new();
    let bell = Bell::default();
    for source in &sources {
        source.wake_by(&bell);
        let mut ledger = match source.remembered() {
            Some(remembered) => Ledger::recalled(remembered.recall()),
            None => Ledger::of_run(RunId(rand::random()), UnixNanos::now()),
        };
        ledger.grow(source.extent());
        ledger.goes_on = source.goes_on();
        if !ledger.goes_on {
            // A list that is the same each time.
            ledger.begin_at(Sequence(0));
        }
        ledgers.push(ledger);
    }
    let mut running = Running {
        dial,
        sources: &sources,
        options: &options,
        progress: &progress,
        ledgers: &mut ledgers,
        figures: &mut figures,
        bell,
        attempts: Attempts::new(options.retry_for, options.stall),
        sessions: 0,
    };
    let end = match unfit(&sources) {
        Some(why) => SessionEnd::Broken(why),
        None => running.until_all_is_settled(&mut stop).await,
    };
    let (error, sessions) = (running.explain(&end), running.sessions);
    progress.ended();
    for (ledger, source) in ledgers.iter_mut().zip(&sources) {
        // What came about while there was no session is of this run as well, and nothing comes about behind it.
        source.run_over();
        tend(source.as_ref(), ledger, None, Duration::ZERO);
        give_up(source.as_ref(), ledger);
    }
    let elapsed = started.elapsed();
    match &end {
        // The receiver knows.
        SessionEnd::Link(TransportError::ClosedByPeer { .. }) => {}
        SessionEnd::Link(TransportError::Silent { .. }) | SessionEnd::Stopped => {
            let _ = tokio::time::timeout(LEAVE, dial.linger()).await;
        }
        _ => linger(dial, &mut stop).await,
    }
    figures.finish();
    let end = End {
        proven: dial.proves_content(),
        elapsed,
        processor: processor.zip(processor_time()).map(|(from, to)| to.saturating_sub(from)),
        sessions,
        error,
        interrupted: matches!(end, SessionEnd::Stopped),
    };
    SendReport::new(&sources, &ledgers, &figures, end)
}

/// Of a source whose account outlives this process, but not its frames, those that are left are lost, and the next
/// process declares them.
fn give_up(source: &dyn Source, ledger: &mut Ledger) {
    if source.remembered().is_none_or(Remembered::keeps) {
        return;
    }
    for place in ledger.give_up() {
        let (reason, words) = (DropReason::GivenUp, INTERRUPTED.to_owned());
        lose(source, ledger, place, Loss { reason, words, captured: None });
    }
}

/// Why these sources cannot be sent together, where that is so.
fn unfit(sources: &[Arc<dyn Source>]) -> Option<String> {
    if sources.len() > MAX_SOURCES {
        return Some(format!(
            "{} sources; one session carries at most {MAX_SOURCES}",
            sources.len()
        ));
    }
    let twice = sources.iter().enumerate().find_map(|(index, source)| {
        sources[..index].iter().any(|other| other.name() == source.name()).then(|| source.name())
    });
    twice.map(|name| format!("two sources are called {name}; give one another name"))
}

/// A run under way.
struct Running<'a> {
    dial: &'a dyn Dial,
    sources: &'a [Arc<dyn Source>],
    options: &'a SendOptions,
    progress: &'a Progress,
    ledgers: &'a mut [Ledger],
    figures: &'a mut Figures,
    bell: Bell,
    attempts: Attempts,
    sessions: u32,
}

impl Running<'_> {
    async fn until_all_is_settled(&mut self, stop: &mut watch::Receiver<bool>) -> SessionEnd {
        let mut schedule = None;
        // Why the last attempt failed, which says more than that the time is over.
        let mut last: Option<TransportError> = None;
        // A link that takes the place of another.
        let mut other: Option<Box<Opened>> = None;
        loop {
            // From before an attempt: what changes while it fails is a reason to try again.
            let mut news = None;
            let link = match other.take() {
                Some(other) => Ok(*other),
                None => {
                    self.figures.waiting.begin(LimitedBy::Connection, Instant::now());
                    let began = tokio::time::Instant::now();
                    news = Some(RouteNews::new());
                    let opening = open(self.dial, self.attempts.dialling(), last.take());
                    let mut opening = std::pin::pin!(opening);
                    let link = loop {
                        tokio::select! {
                            biased;
                            () = stopped(stop) => return SessionEnd::Stopped,
                            link = &mut opening => break link,
                            () = tokio::time::sleep(TEND_EVERY) => self.tend(),
                        }
                    };
                    self.attempts.spend(began.elapsed());
                    link.map(|link| Opened { link, welcome: None })
                }
            };
            let ended = match link {
                Ok(opened) => {
                    news = None;
                    match self.session(opened, &mut schedule, stop).await {
                        SessionEnd::Moved(opened) => {
                            other = Some(opened);
                            continue;
                        }
                        ended => ended,
                    }
                }
                Err(error) => SessionEnd::Link(error),
            };
            let SessionEnd::Link(error) = ended else { return ended };
            let pause = if error.may_pass() { self.attempts.next_pause() } else { None };
            let Some(pause) = pause else { return SessionEnd::Link(error) };
            let pause = if self.dial.is_ready() { Duration::ZERO } else { pause };
            self.figures.waiting.begin(LimitedBy::Connection, Instant::now());
            self.progress.trouble(&error, pause);
            last = Some(error);
            let news = news.unwrap_or_else(RouteNews::new);
            tokio::select! {
                () = self.rest(pause, &news) => {}
                () = stopped(stop) => return SessionEnd::Stopped,
            }
        }
    }

    /// Looks after the sources for the time of a pause, or until `news` come of this machine's links: one that is back may
    /// lead to the receiver at once.
    async fn rest(&mut self, pause: Duration, news: &RouteNews) {
        let began = tokio::time::Instant::now();
        let mut end = began + pause;
        let mut is_told = !news.is_told();
        while tokio::time::Instant::now() < end {
            let next = end.min(tokio::time::Instant::now() + TEND_EVERY);
            tokio::select! {
                () = tokio::time::sleep_until(next) => self.tend(),
                () = news.changed(), if !is_told => {
                    is_told = true;
                    end = end.min(tokio::time::Instant::now().max(began + LEAST_PAUSE));
                }
            }
        }
    }

    /// Looks after the sources while there is no session.
    fn tend(&mut self) {
        for (index, (source, ledger)) in self.sources.iter().zip(&mut *self.ledgers).enumerate() {
            let deadline = self.options.deadlines.get(index).copied().flatten();
            tend(source.as_ref(), ledger, deadline, Duration::ZERO);
            self.progress.count(index, source.as_ref(), ledger);
        }
    }

    async fn session(
        &mut self,
        opened: Opened,
        schedule: &mut Option<super::schedule::Schedule>,
        stop: &mut watch::Receiver<bool>,
    ) -> SessionEnd {
        self.sessions += 1;
        self.progress.connected(true);
        self.progress.goes_over(&opened.link.via, Instant::now());
        self.figures.paths.opened(&opened.link.via, Instant::now());
        let (before, began) = (settled(self.ledgers), Instant::now());
        let run = Run {
            dial: self.dial,
            sources: self.sources,
            ledgers: self.ledgers,
            options: self.options,
            schedule,
            progress: self.progress,
            figures: self.figures,
            bell: &self.bell,
            limits: self.attempts.limits(),
        };
        let outcome = Session::new(opened, run).run(stop).await;
        self.figures.paths.ended(Instant::now());
        if !matches!(outcome.end, SessionEnd::Moved(_)) {
            self.progress.connected(false);
        }
        // A peer that ends each session before a frame is stored would otherwise be asked for ever.
        let settled_some = settled(self.ledgers) > before;
        let Outcome { end, owed_for, quiet } = outcome;
        self.attempts.session_ended(settled_some, began.elapsed(), owed_for, quiet);
        end
    }

    /// Why the run has ended, where that is not that all is done; or why a source has.
    fn explain(&self, end: &SessionEnd) -> Option<String> {
        match end {
            // It is followed by another session.
            SessionEnd::Moved(_) => None,
            SessionEnd::Done => {
                let failed = self.sources.iter().filter_map(|source| {
                    source.failure().map(|why| format!("source {}: {why}", source.name()))
                });
                let declined = self.ledgers.iter().filter_map(|ledger| ledger.declined.clone());
                let all: Vec<_> = failed.chain(declined).collect();
                (!all.is_empty()).then(|| all.join("; "))
            }
            SessionEnd::Stopped => Some(INTERRUPTED.to_owned()),
            SessionEnd::Broken(why) => Some(why.clone()),
            SessionEnd::Link(error) => Some(self.attempts.explain(error)),
        }
    }
}

/// Opens a link, in the time that is left. Cancel safe.
async fn open(
    dial: &dyn Dial,
    limit: Option<Duration>,
    last: Option<TransportError>,
) -> Result<SenderLink, TransportError> {
    let dialling = dial.dial();
    let Some(limit) = limit else { return dialling.await };
    tokio::time::timeout(limit, dialling).await.unwrap_or_else(|_| {
        Err(last.unwrap_or_else(|| TransportError::Silent {
            why: format!(
                "no connection came about within {} (`retry_for`): is `framelane receive` running \
                 there, and does a firewall let it be reached?",
                Span(limit)
            ),
        }))
    })
}

/// Lets the transport see that the receiver hears of the end, for a bounded time. A run that is stopped
/// meanwhile only sees that the packet leaves.
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

/// Frames that are settled, of all sources.
fn settled(ledgers: &[Ledger]) -> u64 {
    ledgers.iter().map(Ledger::settled).sum()
}

/// Processor time of this process so far.
fn processor_time() -> Option<Duration> {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
    Some(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::BoxFuture;

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
}
