//! A view of a run that can be looked at from another thread at any time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::frame::{Sequence, UnixNanos};
use crate::transport::TransportError;
use crate::wire::SourceId;

/// Counters of a run, written by it and read by whoever shows them.
#[derive(Debug)]
pub struct Progress {
    /// One entry a source.
    pub sources: Vec<SourceProgress>,
    connected: AtomicBool,
    trouble: Mutex<Option<Trouble>>,
}

/// What went wrong, and is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// In words, with advice.
    pub what: String,
    /// When it is tried again, where that takes a new connection.
    pub pause: Option<Duration>,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        match self.pause {
            Some(pause) => write!(f, "; trying again in {:.1} s", pause.as_secs_f32()),
            None => Ok(()),
        }
    }
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
    /// Counters for sources of these numbers of frames.
    pub fn new(frames: impl IntoIterator<Item = u64>) -> Self {
        let source =
            |frames| SourceProgress { frames: AtomicU64::new(frames), ..SourceProgress::default() };
        Self {
            sources: frames.into_iter().map(source).collect(),
            connected: AtomicBool::new(false),
            trouble: Mutex::new(None),
        }
    }

    /// True while a session is open.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// What went wrong since this was last asked.
    pub fn take_trouble(&self) -> Option<Trouble> {
        self.trouble.lock().ok()?.take()
    }

    pub(super) fn connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    pub(super) fn trouble(&self, error: &TransportError, pause: Duration) {
        let trouble = Trouble { what: error.to_string(), pause: Some(pause) };
        tracing::debug!("{trouble}");
        self.set(trouble);
    }

    pub(super) fn note(&self, what: String) {
        self.set(Trouble { what, pause: None });
    }

    fn set(&self, trouble: Trouble) {
        if let Ok(mut last) = self.trouble.lock() {
            *last = Some(trouble);
        }
    }
}
