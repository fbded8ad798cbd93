//! Frames that do not exist before they are due, as a camera's do not.
//!
//! What is measured with a list that is there from the start flatters: such frames are offered and read ahead of
//! their time. These come about one after the other, all cameras of a run by one clock, which begins when the
//! receiver has answered for the first time.

use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::workload::Clip;
use crate::frame::{Captured, Clock, Sequence, SourceName, UnixNanos};
use crate::source::{Bell, Content, Description, Extent, Source, SourceError};

/// The clock that all cameras of a run go by.
#[derive(Debug)]
pub(super) struct Shutter {
    /// Frames a second.
    rate: f64,
    opened: OnceLock<Opened>,
}

/// When the first frames came about, by both clocks.
#[derive(Debug, Clone, Copy)]
struct Opened {
    at: Instant,
    unix: UnixNanos,
}

/// A camera that shows a clip, a frame at a time.
pub(super) struct Live(Arc<Inner>);

struct Inner {
    name: SourceName,
    clip: Arc<Clip>,
    shutter: Arc<Shutter>,
    bell: OnceLock<Bell>,
}

impl Shutter {
    pub(super) fn new(rate: f64) -> Arc<Self> {
        Arc::new(Self { rate, opened: OnceLock::new() })
    }

    /// When it was opened, which this does where nobody has.
    fn open(&self) -> Opened {
        *self.opened.get_or_init(|| Opened { at: Instant::now(), unix: UnixNanos::now() })
    }

    /// From the first frame to this one.
    fn offset(&self, sequence: u64) -> Duration {
        let seconds = sequence as f64 / self.rate;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
    }

    /// How many frames have come about.
    fn frames(&self, most: u64) -> u64 {
        let Some(opened) = self.opened.get() else { return 0 };
        let since = opened.at.elapsed();
        // A frame whose moment has come by the time that its bell rings is there, however floats are rounded.
        let near = ((since.as_secs_f64() * self.rate) as u64).min(most);
        let there = |frames: &u64| *frames == 0 || self.offset(*frames - 1) <= since;
        [near + 2, near + 1, near].into_iter().find(there).unwrap_or(near).min(most)
    }
}

impl Live {
    /// A camera of this name. Its frames are the clip's.
    pub(super) fn new(name: SourceName, clip: Arc<Clip>, shutter: Arc<Shutter>) -> Self {
        Self(Arc::new(Inner { name, clip, shutter, bell: OnceLock::new() }))
    }
}

impl Inner {
    fn captured(&self, sequence: Sequence) -> Captured {
        let offset = u64::try_from(self.shutter.offset(sequence.0).as_nanos()).unwrap_or(u64::MAX);
        let at = UnixNanos(self.shutter.open().unix.0.saturating_add(offset));
        Captured { at, clock: Clock::Program, uncertainty: None }
    }

    /// Rings the bell at each frame's time, for as long as anybody listens.
    fn ring(inner: &Weak<Self>, frames: u64) {
        for sequence in 0..frames {
            let Some(at) = inner
                .upgrade()
                .map(|inner| inner.shutter.open().at + inner.shutter.offset(sequence))
            else {
                return;
            };
            thread::sleep(at.saturating_duration_since(Instant::now()));
            let Some(inner) = inner.upgrade() else { return };
            if let Some(bell) = inner.bell.get() {
                bell.ring();
            }
        }
    }
}

impl Source for Live {
    fn name(&self) -> &SourceName {
        &self.0.name
    }

    fn extent(&self) -> Extent {
        let most = self.0.clip.frames();
        let frames = self.0.shutter.frames(most);
        Extent { frames, ended: frames == most }
    }

    fn wake_by(&self, bell: &Bell) {
        let _ = self.0.bell.set(bell.clone());
    }

    fn arrival(&self, sequence: Sequence) -> Option<Instant> {
        Some(self.0.shutter.open().at + self.0.shutter.offset(sequence.0))
    }

    /// The receiver has answered: the cameras begin.
    fn origin(&self, _next: Sequence) -> Sequence {
        self.0.shutter.open();
        let (inner, frames) = (Arc::downgrade(&self.0), self.0.clip.frames());
        // Without a thread the source would be silent: its frames still come, whenever something else wakes the run.
        let _ = thread::Builder::new()
            .name(format!("camera-{}", self.0.name))
            .spawn(move || Inner::ring(&inner, frames));
        Sequence(0)
    }

    fn describe(&self, sequence: Sequence) -> Result<Description, SourceError> {
        let description = self.0.clip.describe(sequence)?;
        Ok(Description { captured: Some(self.0.captured(sequence)), ..description })
    }

    fn read(&self, sequence: Sequence, limit: u64) -> Result<Content, SourceError> {
        let content = self.0.clip.read(sequence, limit)?;
        Ok(Content { description: self.describe(sequence)?, ..content })
    }

    fn label(&self, sequence: Sequence) -> String {
        self.0.clip.label(sequence)
    }
}
