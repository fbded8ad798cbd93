//! Frames that do not exist before they are due, as a camera's do not.
//!
//! What is measured with a list that is there from the start flatters: such frames are offered and read ahead of
//! their time. These come about one after the other, all cameras of a run by one clock, which begins when the
//! receiver has answered for the first time.

use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::clip::Clip;
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
        self.opened.get().map_or(0, |opened| self.frames_after(opened.at.elapsed(), most))
    }

    /// How many there are this long after the first one, however floats are rounded.
    fn frames_after(&self, since: Duration, most: u64) -> u64 {
        let near = ((since.as_secs_f64() * self.rate) as u64).saturating_add(2).min(most);
        let there = |frames: &u64| self.offset(*frames - 1) <= since;
        (1..=near).rev().take(4).find(there).unwrap_or(0)
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::clip::Kept;
    use super::*;
    use crate::frame::FrameName;

    /// Two cameras of one run.
    fn cameras(rate: f64, frames: u64) -> Vec<Arc<dyn Source>> {
        let shutter = Shutter::new(rate);
        let camera = |name: &str| {
            let (name, body) = (SourceName::parse(name).unwrap(), Bytes::from_static(b"image"));
            let hash = blake3::hash(&body);
            let kept = Kept { name: FrameName::parse("0.png").unwrap(), hash, body };
            let clip = Clip { name: name.clone(), frames, kept: [kept].into(), numbered: true };
            Arc::new(Live::new(name, Arc::new(clip), shutter.clone())) as Arc<dyn Source>
        };
        ["visible", "infrared"].map(camera).into()
    }

    #[test]
    fn nothing_is_there_before_the_receiver_has_answered() {
        let cameras = cameras(1e6, 3);
        assert!(cameras.iter().all(|camera| camera.extent() == Extent::growing(0)));
        assert!(cameras.iter().all(|camera| camera.goes_on()));
    }

    #[tokio::test]
    async fn frames_come_when_they_are_due_and_ring() {
        let cameras = cameras(50.0, 4);
        let bell = Bell::default();
        cameras[0].wake_by(&bell);
        assert_eq!(cameras[0].origin(Sequence(9)), Sequence(0));
        for sequence in 0.. {
            let due = cameras[0].arrival(Sequence(sequence)).unwrap();
            let extent = cameras[0].extent();
            // A frame that is there was due by now, whatever the machine does in between.
            assert!(extent.frames <= sequence || due <= Instant::now());
            if extent.ended {
                break;
            }
            bell.rung().await;
        }
        assert_eq!(cameras[0].extent(), Extent::fixed(4));
    }

    #[test]
    fn all_cameras_of_a_run_go_by_one_clock() {
        let cameras = cameras(30.0, 4);
        cameras[1].origin(Sequence(0));
        cameras[0].origin(Sequence(0));
        let due = |camera: usize| cameras[camera].arrival(Sequence(3)).unwrap();
        assert_eq!(due(0), due(1));
        let captured = cameras[0].describe(Sequence(3)).unwrap().captured.unwrap();
        let first = cameras[1].describe(Sequence(0)).unwrap().captured.unwrap();
        assert_eq!(captured.at.nanos_since(first.at), 100_000_000);
    }

    #[test]
    fn a_frame_is_counted_from_the_very_moment_it_is_due() {
        let shutter = Shutter::new(30.0);
        let opened = shutter.open();
        for sequence in 0..1_000 {
            let since = shutter.offset(sequence);
            let frames = shutter.frames_after(since, 2_000);
            assert_eq!(frames, sequence + 1, "at {since:?}");
            let before = since.saturating_sub(Duration::from_nanos(1));
            assert_eq!(shutter.frames_after(before, 2_000), sequence.max(1));
        }
        assert!(opened.at <= Instant::now());
    }
}
