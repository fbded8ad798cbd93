//! Frames in which there was no time where the rule looks for it.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::CapturedBy;
use crate::frame::{Captured, Clock, SourceName};

/// Frames that are told apart; those beyond are not counted.
const MOST_COUNTED: usize = 1_000_000;

/// Counts them as they are read, and says it of the first at once, and at the end how many they were.
#[derive(Debug)]
pub(in crate::source) struct Untimed {
    source: SourceName,
    /// Where the rule looks; `None` for one that gives a time to every frame.
    place: Option<&'static str>,
    hasher: RandomState,
    /// Their names, each as a few bytes.
    frames: Mutex<HashSet<u64>>,
}

impl Untimed {
    pub(in crate::source) fn by(rule: &CapturedBy, source: &SourceName) -> Self {
        let (hasher, frames) = (RandomState::new(), Mutex::default());
        Self { source: source.clone(), place: rule.place(), hasher, frames }
    }

    /// Notes what was found for the frame of a name that was read.
    pub(in crate::source) fn note(&self, name: &[u8], found: Option<&Captured>, label: &str) {
        let Some(place) = self.place else { return };
        if found.is_some_and(|found| matches!(found.clock, Clock::Name | Clock::Exif)) {
            return;
        }
        let mut frames = self.frames();
        let is_counted = frames.len() < MOST_COUNTED && frames.insert(self.hasher.hash_one(name));
        if is_counted && frames.len() == 1 {
            let source = &self.source;
            tracing::warn!("source {source}: {label} has no time {place}; taken from the file");
        }
    }

    /// Says how many they were by now, where they were more than the one that was named.
    pub(in crate::source) fn tell(&self) {
        let (count, source) = (self.frames().len(), &self.source);
        if let Some(place) = self.place.filter(|_| count > 1) {
            tracing::warn!(
                "source {source}: {count} frames without a time {place}; taken from the file"
            );
        }
    }

    /// How many they were by now.
    #[cfg(test)]
    pub(in crate::source) fn count(&self) -> usize {
        self.frames().len()
    }

    fn frames(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
