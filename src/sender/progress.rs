//! A view of a run that can be looked at from another thread at any time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::paths::PathInUse;
use super::tend::unix;
use crate::frame::{Sequence, UnixNanos};
use crate::source::Source;
use crate::transport::{TransportError, Via};
use crate::wire::{Notice, SourceId};

/// What goes on and on is told again after this long, with how often it came meanwhile.
const TOLD_AGAIN: Duration = Duration::from_secs(10);

/// Counters of a run, written by it and read by whoever shows them.
#[derive(Debug)]
pub struct Progress {
    /// One entry a source.
    pub sources: Vec<SourceProgress>,
    connected: AtomicBool,
    ended: AtomicBool,
    trouble: Mutex<Told>,
    /// The kinds of notices of the receiver that were told and are not over.
    notices: Mutex<Vec<u64>>,
    path: Mutex<Option<PathInUse>>,
    /// Over what it goes from now on, where that was a choice, for whoever shows it.
    change: Mutex<Option<String>>,
}

/// Kinds of notices that are kept apart; no receiver has more.
const MAX_NOTICES: usize = 16;

/// What went wrong, and is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// In words, with advice.
    pub what: String,
    /// When it is tried again, where that takes a new connection.
    pub pause: Option<Duration>,
    /// How often the same kind of thing came since it was told last.
    pub again: u64,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        match self.again {
            0 => {}
            1 => f.write_str(" (and once more)")?,
            times => write!(f, " (and {times} times more)")?,
        }
        match self.pause {
            Some(pause) if pause.is_zero() => f.write_str("; trying again now"),
            Some(pause) => write!(f, "; trying again in {:.1} s", pause.as_secs_f32()),
            None => Ok(()),
        }
    }
}

/// What was told of the troubles of a run.
#[derive(Debug, Default)]
struct Told {
    next: Option<Trouble>,
    /// The kind of the last one, and since when it is only counted.
    kind: Option<(String, Instant)>,
    again: u64,
}

/// Counters of one source.
#[derive(Debug, Default)]
pub struct SourceProgress {
    /// Frames in it.
    pub frames: AtomicU64,
    /// Frames that are settled.
    pub settled: AtomicU64,
    /// Payload bytes confirmed in this run.
    pub bytes: AtomicU64,
    /// When the oldest frame that is not settled came about, in nanoseconds since 1970; 0 where there is none, or it was
    /// there before.
    pub oldest: AtomicU64,
}

/// Is told of each frame when its receipt arrives.
pub trait Observer: Send + Sync {
    /// A frame of `bytes` bytes that was due at `due` (this machine's clock: `captured`) was stored
    /// at `stored` by the receiver's clock, and the receipt is here.
    fn confirmed(
        &self,
        source: SourceId,
        sequence: Sequence,
        bytes: u64,
        due: Instant,
        captured: UnixNanos,
        stored: UnixNanos,
    );

    /// A reply to a clock probe: times of asking, of arrival and reply at the receiver, and of the
    /// reply's arrival here.
    fn clock(&self, asked: UnixNanos, arrived: UnixNanos, replied: UnixNanos, heard: UnixNanos);
}

impl Progress {
    /// Counters for sources of these numbers of frames. A run of other sources counts for as many as it has.
    pub fn new(frames: impl IntoIterator<Item = u64>) -> Self {
        let source =
            |frames| SourceProgress { frames: AtomicU64::new(frames), ..SourceProgress::default() };
        Self {
            sources: frames.into_iter().map(source).collect(),
            connected: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            trouble: Mutex::default(),
            notices: Mutex::default(),
            path: Mutex::default(),
            change: Mutex::default(),
        }
    }

    /// Over what the run goes, or went last; `None` before its first session.
    pub fn path(&self) -> Option<PathInUse> {
        lock(&self.path).clone()
    }

    /// In words over what the run goes, where that was not the first choice and has changed since this was last
    /// asked.
    pub fn take_change(&self) -> Option<String> {
        lock(&self.change).take()
    }

    /// True while a session is open.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// True once the run needs no connection any more.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether a kind of notice is news in this run.
    pub(super) fn is_news(&self, kind: u64) -> bool {
        let mut told = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        if kind == Notice::ROOM_AGAIN {
            let before = told.len();
            told.retain(|other| *other != Notice::NEARLY_FULL);
            return told.len() < before;
        }
        let is_news = !told.contains(&kind) && told.len() < MAX_NOTICES;
        told.extend(is_news.then_some(kind));
        is_news
    }

    /// What went wrong since this was last asked. What comes again and again is told at first, and then now and
    /// then, with how often it came.
    pub fn take_trouble(&self) -> Option<Trouble> {
        self.told().next.take()
    }

    pub(super) fn connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// A session begins over `via`.
    pub(super) fn goes_over(&self, via: &Via, now: Instant) {
        let Via { transport, address, why, .. } = via.clone();
        let known = lock(&self.path).replace(PathInUse { transport, address, why, since: now });
        tracing::info!(%transport, %address, "connected{}", why_words(via));
        let is_news =
            known.is_none_or(|known| (known.transport, &known.why) != (transport, &via.why));
        if via.why.is_some() && is_news {
            let name = transport.name().to_uppercase();
            *lock(&self.change) = Some(format!("going over {name}{}", why_words(via)));
        }
    }

    /// Something has turned out well that was told of as trouble.
    pub(super) fn news(&self, what: String) {
        tracing::info!("{what}");
        *lock(&self.change) = Some(what);
    }

    pub(super) fn ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    pub(super) fn count(&self, place: usize, source: &dyn Source, ledger: &Ledger) {
        let Some(shown) = self.sources.get(place) else { return };
        shown.frames.store(ledger.frames_here(), Ordering::Relaxed);
        shown.settled.store(ledger.settled_here(), Ordering::Relaxed);
        shown.bytes.store(ledger.bytes, Ordering::Relaxed);
        if ledger.goes_on {
            let oldest = ledger.oldest_unsettled().and_then(|place| source.arrival(place));
            shown.oldest.store(oldest.map_or(0, |at| unix(at).0), Ordering::Relaxed);
        }
    }

    /// How old the oldest frame is that is not settled, of sources that grow.
    pub fn oldest(&self) -> Option<Duration> {
        let times = self.sources.iter().map(|source| source.oldest.load(Ordering::Relaxed));
        let oldest = times.filter(|&time| time > 0).min()?;
        Some(Duration::from_nanos(UnixNanos::now().0.saturating_sub(oldest)))
    }

    pub(super) fn trouble(&self, error: &TransportError, pause: Duration) {
        let what = error.to_string();
        tracing::debug!("{what}; trying again in {pause:?}");
        self.tell(&what.clone(), what, Some(pause), Instant::now());
    }

    /// A frame was refused that is tried again, for a reason of such a kind.
    pub(super) fn refused(&self, kind: &str, what: String) {
        self.tell(kind, what, None, Instant::now());
    }

    fn tell(&self, kind: &str, what: String, pause: Option<Duration>, now: Instant) {
        let mut told = self.told();
        let is_known = told.kind.as_ref().is_some_and(|(known, since)| {
            known == kind && now.saturating_duration_since(*since) < TOLD_AGAIN
        });
        if is_known {
            told.again += 1;
            return;
        }
        let again = match &told.kind {
            Some((known, _)) if known == kind => std::mem::take(&mut told.again),
            _ => 0,
        };
        *told = Told {
            next: Some(Trouble { what, pause, again }),
            kind: Some((kind.to_owned(), now)),
            again: 0,
        };
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.trouble)
    }
}

/// What is told is whole at every moment, so another thread's panic does not spoil it.
fn lock<T>(told: &Mutex<T>) -> MutexGuard<'_, T> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `: why`, where there is a reason.
fn why_words(via: &Via) -> String {
    via.why.as_ref().map_or_else(String::new, |why| format!(": {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_and_again_is_told_now_and_then() {
        let progress = Progress::new([1]);
        let start = Instant::now();
        let mut told = Vec::new();
        for tenth in 0..205 {
            let now = start + Duration::from_millis(100 * tenth);
            progress.tell("no space", format!("no space for {tenth}"), None, now);
            told.extend(progress.take_trouble().map(|trouble| trouble.to_string()));
        }
        let again = |frame| format!("no space for {frame} (and 99 times more)");
        assert_eq!(told, ["no space for 0".to_owned(), again(100), again(200)]);
        progress.tell("gone", "gone".to_owned(), Some(Duration::from_secs(1)), start);
        let told = progress.take_trouble().unwrap().to_string();
        assert_eq!(told, "gone; trying again in 1.0 s");
    }

    #[test]
    fn the_oldest_frame_of_all_sources_tells_the_age() {
        let progress = Progress::new([1, 1, 1]);
        assert_eq!(progress.oldest(), None);
        let hour = UnixNanos::now().0 - 3_600_000_000_000;
        progress.sources[1].oldest.store(hour, Ordering::Relaxed);
        progress.sources[2].oldest.store(UnixNanos::now().0, Ordering::Relaxed);
        assert!(progress.oldest().unwrap() >= Duration::from_secs(3_600));
    }
}
