//! The frames that a program has pushed and that are not settled: a source in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use time::OffsetDateTime;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::frame::{Frame, Name, captured};
use crate::frame::{Captured, FrameName, NameError, Sequence, SourceName, UnixNanos};
use crate::source::{Bell, Content, Count, Description, Extent, Fate, Source, SourceError};

/// Frames of up to so many bytes are hashed where they are asked for: that takes some tens of microseconds, as long as it
/// takes to wake a thread for it.
const HASHED_AT_ONCE: usize = 64 << 10;

/// A source whose frames come from a program.
#[derive(Debug)]
pub(super) struct Pushed {
    name: SourceName,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: BTreeMap<u64, Kept>,
    frames: u64,
    ended: bool,
    bell: Option<Bell>,
    count: Option<Count>,
    /// The time that the last name was made of, in microseconds.
    last_named: i128,
}

/// A frame until it is settled.
#[derive(Debug)]
struct Kept {
    name: FrameName,
    bytes: Bytes,
    captured: Captured,
    arrived: Instant,
    told: oneshot::Sender<Fate>,
    /// None once somebody else has the bytes.
    room: Option<OwnedSemaphorePermit>,
}

impl Pushed {
    pub(super) fn new(name: SourceName) -> Arc<Self> {
        Arc::new(Self { name, state: Mutex::default() })
    }

    /// Takes a frame, with the room that it has; the receiver is told what becomes of it. `None` where the
    /// source has ended.
    ///
    /// # Errors
    /// [`NameError`] where the frame's own name cannot travel.
    pub(super) fn push(
        &self,
        frame: Frame,
        room: OwnedSemaphorePermit,
    ) -> Result<Option<oneshot::Receiver<Fate>>, NameError> {
        let mut state = self.state();
        if state.ended {
            return Ok(None);
        }
        let at = frame.captured.unwrap_or_else(UnixNanos::now);
        let name = match frame.name {
            Name::Given(name) => name?,
            Name::OfTime(extension) => state.name_of(at, &extension)?,
        };
        let (told, fate) = oneshot::channel();
        let kept = Kept {
            name,
            bytes: frame.bytes,
            captured: captured(at),
            arrived: frame.at.unwrap_or_else(Instant::now),
            told,
            room: Some(room),
        };
        let place = state.frames;
        state.kept.insert(place, kept);
        state.frames += 1;
        state.tell_count();
        state.ring();
        Ok(Some(fate))
    }

    /// Frames that are not settled.
    pub(super) fn pending(&self) -> usize {
        self.state().kept.len()
    }

    /// No more frames will be pushed.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        state.ring();
    }

    /// Nothing becomes of what is kept any more: nobody sends it.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.ended = true;
        state.kept.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a frame. One that was settled is not asked for any more.
    fn kept<T>(&self, sequence: Sequence, look: impl FnOnce(&Kept) -> T) -> Result<T, SourceError> {
        let state = self.state();
        state.kept.get(&sequence.0).map(look).ok_or_else(|| SourceError::Read {
            path: PathBuf::from(format!("frame {sequence} of {}", self.name)),
            why: "it is not kept any more".to_owned(),
        })
    }
}

impl State {
    /// A name made of a time, `20261129T201133.123456Z.jpg`. Of two frames with the same time, or with times
    /// that a step of the clock has turned round, the second has one a microsecond after the first, so that
    /// names keep the order of the frames.
    fn name_of(&mut self, at: UnixNanos, extension: &str) -> Result<FrameName, NameError> {
        let micros = (i128::from(at.0) / 1_000).max(self.last_named + 1);
        self.last_named = micros;
        let time = OffsetDateTime::from_unix_timestamp_nanos(micros * 1_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = time.to_calendar_date();
        let (hour, minute, second, micro) = time.to_hms_micro();
        let month = u8::from(month);
        FrameName::parse(&format!(
            "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{micro:06}Z.{extension}"
        ))
    }

    fn tell_count(&self) {
        if let Some(count) = &self.count {
            count.frames(self.frames);
        }
    }

    fn ring(&self) {
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }
}

impl Source for Pushed {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn extent(&self) -> Extent {
        let state = self.state();
        Extent { frames: state.frames, ended: state.ended }
    }

    fn goes_on(&self) -> bool {
        true
    }

    fn wake_by(&self, bell: &Bell) {
        self.state().bell = Some(bell.clone());
    }

    fn count_by(&self, count: &Count) {
        let mut state = self.state();
        state.count = Some(count.clone());
        state.tell_count();
    }

    fn run_over(&self) {
        self.end();
    }

    fn let_go(&self, sequence: Sequence) {
        let mut state = self.state();
        if let Some(kept) = state.kept.get_mut(&sequence.0) {
            (kept.bytes, kept.room) = (Bytes::new(), None);
        }
    }

    fn arrival(&self, sequence: Sequence) -> Option<Instant> {
        self.kept(sequence, |kept| kept.arrived).ok()
    }

    /// A program's frames are new each time.
    fn origin(&self, next: Sequence) -> Sequence {
        next
    }

    fn settled(&self, sequence: Sequence, fate: Fate) {
        let kept = self.state().kept.remove(&sequence.0);
        if let Some(kept) = kept {
            // Most programs do not wait for it.
            let _ = kept.told.send(fate);
        }
    }

    fn describe(&self, sequence: Sequence) -> Result<Description, SourceError> {
        self.kept(sequence, Kept::describe)
    }

    fn read(&self, sequence: Sequence, limit: u64) -> Result<Content, SourceError> {
        let (description, body) =
            self.kept(sequence, |kept| (kept.describe(), kept.bytes.clone()))?;
        let bytes = description.bytes;
        if bytes > limit {
            let path = description.name.as_str().into();
            return Err(SourceError::TooLarge { path, bytes, limit });
        }
        Ok(Content { description, hash: blake3::hash(&body), body })
    }

    fn read_at_once(&self, sequence: Sequence, limit: u64) -> Option<Content> {
        let bytes = self.kept(sequence, |kept| kept.bytes.len()).ok()?;
        if bytes > HASHED_AT_ONCE { None } else { self.read(sequence, limit).ok() }
    }

    fn label(&self, sequence: Sequence) -> String {
        self.kept(sequence, |kept| kept.name.to_string())
            .unwrap_or_else(|_| format!("frame {sequence}"))
    }
}

impl Kept {
    fn describe(&self) -> Description {
        let (name, bytes) = (self.name.clone(), self.bytes.len() as u64);
        Description { name, bytes, modified: None, captured: Some(self.captured) }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    fn push(source: &Pushed, frame: Frame) -> oneshot::Receiver<Fate> {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        source.push(frame, room).unwrap().unwrap()
    }

    #[test]
    fn names_keep_the_order_of_frames_whatever_the_clock_does() {
        let source = Pushed::new(SourceName::parse("s").unwrap());
        for nanos in [1_795_983_093_123_456_789, 1_795_983_093_123_456_789, 1_000] {
            let frame = Frame { captured: Some(UnixNanos(nanos)), ..Frame::jpeg(vec![1]) };
            push(&source, frame);
        }
        let labels: Vec<_> = (0..3).map(|place| source.label(Sequence(place))).collect();
        let name = |micro| format!("20261129T201133.{micro}Z.jpg");
        assert_eq!(labels, [name(123_456), name(123_457), name(123_458)]);
        let captured = source.describe(Sequence(2)).unwrap().captured.unwrap();
        assert_eq!(captured.at, UnixNanos(1_000), "the time itself is what the program said");
    }

    #[test]
    fn a_frame_is_kept_until_it_is_settled() {
        let source = Pushed::new(SourceName::parse("s").unwrap());
        let mut fate = push(&source, Frame::named("a/b.png", vec![1, 2]));
        assert_eq!(source.extent(), Extent::growing(1));
        assert_eq!(source.read(Sequence(0), 9).unwrap().body, [1, 2][..]);
        assert!(matches!(source.read(Sequence(0), 1), Err(SourceError::TooLarge { .. })));
        assert_eq!(source.read_at_once(Sequence(0), 9).unwrap().body, [1, 2][..]);
        assert!(source.read_at_once(Sequence(0), 1).is_none(), "why not is said by `read`");
        source.settled(Sequence(0), Fate::Stored);
        assert_eq!(fate.try_recv(), Ok(Fate::Stored));
        assert!(source.read(Sequence(0), 9).is_err());
        drop(push(&source, Frame::raw(vec![0; HASHED_AT_ONCE + 1])));
        assert!(source.read_at_once(Sequence(1), u64::MAX).is_none(), "a thread hashes it");
        source.end();
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        assert!(source.push(Frame::raw(vec![]), room).unwrap().is_none());
    }
}
