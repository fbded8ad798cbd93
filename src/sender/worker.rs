//! A thread for each source: file systems block, and one source must not wait for another's.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::frame::{Sequence, UnixNanos};
use crate::source::{Content, Source, SourceError};
use crate::wire::OfferEntry;

/// Bytes of frames that are told of together at most, ...
const TOGETHER_BYTES: usize = 32 * 1_024;

/// ... and for how long the first of them may wait for the others: less than a frame's way over any link but the
/// machine's own.
const MOST_TOGETHER: Duration = Duration::from_micros(200);

/// A file that is in memory is read in less.
const QUICK: Duration = Duration::from_micros(50);

/// Work for a source's thread.
#[derive(Debug)]
pub(super) enum Work {
    /// Look the frames up, and hash them where `hash` says so.
    Describe { sequences: Vec<Sequence>, hash: bool },
    /// Read a frame of at most `limit` bytes.
    Read { sequence: Sequence, limit: u64 },
}

/// A frame that can be offered.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) entry: OfferEntry,
    /// When it was captured, where that is known.
    pub(super) captured: Option<UnixNanos>,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    /// The frames that could be looked up, and those that could not.
    Described { offers: Vec<Described>, failed: Vec<(Sequence, SourceError)> },
    /// A frame.
    Read { sequence: Sequence, content: Content },
    /// A frame that could not be read.
    Failed { sequence: Sequence, error: SourceError },
    /// The source has panicked, and nothing more can be had of it.
    Broken { why: String },
}

impl Done {
    /// True where frames could not be had.
    pub(super) fn has_failed(&self) -> bool {
        match self {
            Self::Described { failed, .. } => !failed.is_empty(),
            Self::Failed { .. } => true,
            Self::Read { .. } | Self::Broken { .. } => false,
        }
    }
}

/// Starts a source's thread; it ends when the returned sender is dropped. `lane` marks its results.
pub(super) fn start(
    lane: usize,
    source: Arc<dyn Source>,
    results: mpsc::UnboundedSender<(usize, Done)>,
) -> mpsc::UnboundedSender<Work> {
    // Unbounded, but a session asks only for what its window admits.
    let (work, mut queue) = mpsc::unbounded_channel();
    tokio::task::spawn_blocking(move || {
        let mut outbox = Outbox::new(lane, results);
        while let Some(work) = outbox.next(&mut queue) {
            let results = &outbox.results;
            let begun = Instant::now();
            let is_wanted = || !results.is_closed();
            // A source may be somebody else's. One that panics is not asked again, so nothing of its state
            // is looked at afterwards.
            let attempt = AssertUnwindSafe(|| perform(source.as_ref(), work, is_wanted));
            let done = std::panic::catch_unwind(attempt)
                .unwrap_or_else(|panic| Some(Done::Broken { why: words(panic.as_ref()) }));
            let Some(done) = done else { return };
            let is_broken = matches!(done, Done::Broken { .. });
            if !outbox.add(done, begun.elapsed()) || is_broken {
                return;
            }
        }
    });
    work
}

/// Results that are told together: to wake the session for each short file costs as much as to read it.
struct Outbox {
    lane: usize,
    results: mpsc::UnboundedSender<(usize, Done)>,
    waiting: Vec<Done>,
    bytes: usize,
    since: Instant,
}

impl Outbox {
    fn new(lane: usize, results: mpsc::UnboundedSender<(usize, Done)>) -> Self {
        Self { lane, results, waiting: Vec::new(), bytes: 0, since: Instant::now() }
    }

    /// The next work. Nothing waits here while nothing is to be done.
    fn next(&mut self, queue: &mut mpsc::UnboundedReceiver<Work>) -> Option<Work> {
        if let Ok(work) = queue.try_recv() {
            // To look files up, and to hash them above all, takes long.
            let takes_long = matches!(work, Work::Describe { .. });
            return (!takes_long || self.tell()).then_some(work);
        }
        if self.tell() { queue.blocking_recv() } else { None }
    }

    /// Adds a result; false where nobody hears them any more.
    fn add(&mut self, done: Done, took: Duration) -> bool {
        if self.waiting.is_empty() {
            self.since = Instant::now();
        }
        let short = match &done {
            Done::Read { content, .. } => Some(content.body.len()),
            _ => None,
        };
        self.bytes += short.unwrap_or(0);
        self.waiting.push(done);
        // Where a frame takes long to read, so may the next, for which this one is not to wait.
        let waits = short.is_some()
            && took < QUICK
            && self.bytes < TOGETHER_BYTES
            && self.since.elapsed() < MOST_TOGETHER;
        waits || self.tell()
    }

    /// Tells what waits; false where nobody hears it.
    fn tell(&mut self) -> bool {
        self.bytes = 0;
        let mut waiting = self.waiting.drain(..);
        waiting.all(|done| self.results.send((self.lane, done)).is_ok())
    }
}

impl Drop for Outbox {
    /// Also where the thread ends by a panic, what was done before is told.
    fn drop(&mut self) {
        self.tell();
    }
}

/// What a panic has said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it did not say why").to_owned()
}

/// Does the work; `None` where its session has ended meanwhile. A session that follows has a thread of
/// its own, which is not to compete with all that was left to hash.
fn perform(source: &dyn Source, work: Work, is_wanted: impl Fn() -> bool) -> Option<Done> {
    match work {
        Work::Describe { sequences, hash } => describe(source, sequences, hash, is_wanted),
        Work::Read { .. } if !is_wanted() => None,
        Work::Read { sequence, limit } => Some(match source.read(sequence, limit) {
            Ok(content) => Done::Read { sequence, content },
            Err(error) => Done::Failed { sequence, error },
        }),
    }
}

fn describe(
    source: &dyn Source,
    sequences: Vec<Sequence>,
    hash: bool,
    is_wanted: impl Fn() -> bool,
) -> Option<Done> {
    let (mut offers, mut failed) = (Vec::with_capacity(sequences.len()), Vec::new());
    for sequence in sequences {
        if !is_wanted() {
            return None;
        }
        match offer(source, sequence, hash) {
            Ok(entry) => offers.push(entry),
            Err(error) => failed.push((sequence, error)),
        }
    }
    Some(Done::Described { offers, failed })
}

fn offer(source: &dyn Source, sequence: Sequence, hash: bool) -> Result<Described, SourceError> {
    let (description, hash) = if hash {
        let (description, hash) = source.hash(sequence)?;
        (description, Some(hash))
    } else {
        (source.describe(sequence)?, None)
    };
    // A time that says nothing of the content is left out, and the receiver asks for the hash.
    let modified = description.telling_time();
    let captured = description.captured.map(|captured| captured.at);
    let (name, bytes) = (description.name, description.bytes);
    Ok(Described { entry: OfferEntry { sequence, name, bytes, modified, hash }, captured })
}
