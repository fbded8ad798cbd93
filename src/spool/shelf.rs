//! A source as its spool has it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::frame_file;
use super::hall::Hall;
use super::room::At;
use crate::frame::{ContentHash, Sequence, SourceName, UnixNanos};
use crate::source::{
    Bell, Content, Count, Description, Dropped, Extent, Fate, Recalled, Remembered, Source,
    SourceError,
};

/// Stands in front of a source that grows.
pub(super) struct Shelf {
    pub(super) hall: Arc<Hall>,
    pub(super) inner: Arc<dyn Source>,
    pub(super) number: usize,
    pub(super) archive: bool,
    recalled: Recalled,
    bell: Mutex<Option<Bell>>,
    /// How many frames were counted, this process's and those before.
    counted: Arc<AtomicU64>,
    /// The run is over: frames that were not taken in yet are of it.
    is_over: AtomicBool,
}

impl Shelf {
    pub(super) fn new(hall: Arc<Hall>, inner: Arc<dyn Source>, archive: bool) -> Self {
        let (number, slot, recalled) = hall.room().admit_source(&inner, archive);
        let counted = Arc::new(AtomicU64::new(recalled.frames));
        let (base, run) = (recalled.frames, recalled.run);
        if let Some(disk) = &hall.disk {
            let (counts, counted, source) =
                (disk.counts.clone(), counted.clone(), inner.name().clone());
            let mut has_failed = false;
            let write = Mutex::new(move |frames: u64| {
                let written = counts.write(slot, run, frames, UnixNanos::now());
                if let Err(error) = written
                    && !std::mem::replace(&mut has_failed, true)
                {
                    tracing::warn!(
                        "source {source}: the spool cannot count its frames: {error}; what a crash loses is not declared"
                    );
                }
            });
            hall.room().count_with(number, counted.clone());
            let tell = move |frames: u64| {
                // In order. Whoever holds the room reads the number and does not wait for the file.
                let mut write = write.lock().unwrap_or_else(PoisonError::into_inner);
                if base + frames > counted.fetch_max(base + frames, Ordering::SeqCst) {
                    write(base + frames);
                }
            };
            inner.count_by(&Count::new(tell));
            // Its first frames wait for a reserve.
            hall.tell();
        }
        let (bell, is_over) = (Mutex::default(), AtomicBool::new(false));
        Self { hall, inner, number, archive, recalled, bell, counted, is_over }
    }

    /// Rings for whoever sends it.
    pub(super) fn ring(&self) {
        if let Some(bell) = &*self.bell.lock().unwrap_or_else(PoisonError::into_inner) {
            bell.ring();
        }
    }

    /// When a frame came about by the steady clock. It may not go back as far, but far enough for all that is decided by it.
    fn instant(&self, at: UnixNanos) -> Instant {
        let nanos = at.nanos_since(self.hall.moment.1);
        let since = Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX));
        let mut ago = Duration::from_nanos(u64::try_from((-nanos).max(0)).unwrap_or(u64::MAX));
        if nanos >= 0 {
            return self.hall.moment.0 + since.min(Duration::from_secs(1 << 32));
        }
        loop {
            if let Some(at) = self.hall.moment.0.checked_sub(ago) {
                return at;
            }
            ago /= 2;
        }
    }

    /// The place of a frame with its source, where it is one of this process.
    pub(super) fn inner_place(&self, sequence: Sequence) -> Option<Sequence> {
        sequence.0.checked_sub(self.recalled.frames).map(Sequence)
    }

    fn look(&self, sequence: Sequence) -> Result<At, SourceError> {
        let found = self.hall.room().look(self.number, sequence.0);
        found.map(|(at, _)| at).ok_or_else(|| self.gone(sequence))
    }

    fn gone(&self, sequence: Sequence) -> SourceError {
        SourceError::Read {
            path: format!("frame {sequence} of {}", self.inner.name()).into(),
            why: "the spool has it no more".to_owned(),
        }
    }

    fn path(&self, sequence: Sequence) -> Result<std::path::PathBuf, SourceError> {
        let disk = self.hall.disk.as_ref().ok_or_else(|| self.gone(sequence))?;
        Ok(disk.path(self.recalled.run, sequence.0))
    }

    fn inner(&self, sequence: Sequence) -> Result<Sequence, SourceError> {
        self.inner_place(sequence).ok_or_else(|| self.gone(sequence))
    }
}

/// Refuses what is longer than the receiver takes.
fn within(content: &Content, limit: u64) -> Result<Content, SourceError> {
    let bytes = content.body.len() as u64;
    if bytes > limit {
        let path = content.description.name.as_str().into();
        return Err(SourceError::TooLarge { path, bytes, limit });
    }
    Ok(content.clone())
}

impl Source for Shelf {
    fn name(&self) -> &SourceName {
        self.inner.name()
    }

    fn extent(&self) -> Extent {
        let (frames, ended) = self.hall.room().shown(self.number);
        if self.is_over.load(Ordering::SeqCst) {
            let frames = frames.max(self.recalled.frames + self.inner.extent().frames);
            return Extent { frames, ended };
        }
        Extent { frames, ended }
    }

    fn goes_on(&self) -> bool {
        true
    }

    fn rename(&self, sequence: Sequence) -> bool {
        self.inner_place(sequence).is_some_and(|place| self.inner.rename(place))
    }

    fn wake_by(&self, bell: &Bell) {
        *self.bell.lock().unwrap_or_else(PoisonError::into_inner) = Some(bell.clone());
        self.hall.room().ring_by(self.number, bell.clone());
    }

    fn arrival(&self, sequence: Sequence) -> Option<Instant> {
        let found = self.hall.room().look(self.number, sequence.0);
        match found {
            Some((At::Source, _)) => self.inner.arrival(self.inner_place(sequence)?),
            Some((_, came)) => Some(self.instant(came)),
            None => Some(Instant::now()),
        }
    }

    fn origin(&self, next: Sequence) -> Sequence {
        self.inner.origin(next)
    }

    fn settled(&self, sequence: Sequence, fate: Fate) {
        // Of what is lost the account has been told.
        self.hall.room().settle(self.number, sequence.0, fate != Fate::Lost);
        self.hall.tell();
        if let Some(place) = self.inner_place(sequence) {
            self.inner.settled(place, fate);
        }
    }

    fn run_over(&self) {
        self.inner.run_over();
        self.is_over.store(true, Ordering::SeqCst);
    }

    fn failure(&self) -> Option<String> {
        self.inner.failure()
    }

    fn remembered(&self) -> Option<&dyn Remembered> {
        Some(self)
    }

    fn describe(&self, sequence: Sequence) -> Result<Description, SourceError> {
        match self.look(sequence)? {
            At::Memory(content) | At::Writing(content) => Ok(content.description.clone()),
            At::Disk(_) => Ok(frame_file::describe(&self.path(sequence)?)?.0),
            At::Source => self.inner.describe(self.inner(sequence)?),
            At::Nowhere(why) => Err(why.1.clone()),
        }
    }

    fn read(&self, sequence: Sequence, limit: u64) -> Result<Content, SourceError> {
        let lent = self.hall.room().lend(self.number, sequence.0);
        match lent.ok_or_else(|| self.gone(sequence))? {
            At::Memory(content) | At::Writing(content) => within(&content, limit),
            At::Disk(_) => frame_file::read(&self.path(sequence)?, limit),
            At::Source => self.inner.read(self.inner(sequence)?, limit),
            At::Nowhere(why) => Err(why.1.clone()),
        }
    }

    fn read_at_once(&self, sequence: Sequence, limit: u64) -> Option<Content> {
        let lent = self.hall.room().lend(self.number, sequence.0)?;
        match lent {
            At::Memory(content) | At::Writing(content) => within(&content, limit).ok(),
            At::Source => self.inner.read_at_once(self.inner_place(sequence)?, limit),
            At::Disk(_) | At::Nowhere(_) => None,
        }
    }

    fn hash(&self, sequence: Sequence) -> Result<(Description, ContentHash), SourceError> {
        match self.look(sequence)? {
            At::Memory(content) | At::Writing(content) => {
                Ok((content.description.clone(), content.hash))
            }
            At::Disk(_) => frame_file::describe(&self.path(sequence)?),
            At::Source => self.inner.hash(self.inner(sequence)?),
            At::Nowhere(why) => Err(why.1.clone()),
        }
    }

    fn label(&self, sequence: Sequence) -> String {
        let nameless = || format!("frame {sequence}");
        match self.look(sequence) {
            Ok(At::Memory(content) | At::Writing(content)) => content.description.name.to_string(),
            Ok(At::Disk(_)) => {
                self.describe(sequence).map_or_else(|_| nameless(), |it| it.name.to_string())
            }
            Ok(At::Source) => {
                self.inner_place(sequence).map_or_else(nameless, |place| self.inner.label(place))
            }
            Ok(At::Nowhere(why)) => why.0.clone(),
            Err(_) => nameless(),
        }
    }
}

impl Remembered for Shelf {
    fn recall(&self) -> Recalled {
        self.recalled.clone()
    }

    fn begun(&self, origin: Sequence) {
        self.hall.room().begun(self.number, origin.0);
        self.hall.tell();
    }

    fn take_dropped(&self) -> Vec<Dropped> {
        self.hall.room().take_dropped(self.number)
    }

    fn session_lost(&self) {
        self.hall.room().session_lost(self.number);
    }

    fn lost(&self, dropped: Dropped) {
        self.hall.room().lost(self.number, &dropped);
    }

    fn stored_after_all(&self, places: Range<u64>) {
        let mut room = self.hall.room();
        room.stored_after_all(places.end.saturating_sub(places.start));
        room.noted(self.number, places);
        drop(room);
        self.hall.tell();
    }

    fn noted(&self, places: Range<u64>) {
        self.hall.room().noted(self.number, places);
        self.hall.tell();
    }

    fn keeps(&self) -> bool {
        self.archive && self.hall.disk.is_some()
    }

    fn ended(&self) {
        self.hall.room().ended(self.number);
        self.hall.tell();
    }
}

impl Shelf {
    /// Counts a frame of a source that does not do so itself.
    pub(super) fn count(&self, frames: u64) {
        let Some(disk) = &self.hall.disk else { return };
        if frames > self.counted.fetch_max(frames, Ordering::SeqCst) {
            let slot = self.hall.room().slot(self.number);
            // The first that fails is told of where the source counts.
            let _ = disk.counts.write(slot, self.recalled.run, frames, UnixNanos::now());
        }
    }
}
