//! What a transport was handed and has not taken yet: a few short frames, or two of any length.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::Next;
use crate::transport::{FRAME_QUEUE, OutgoingFrame, SHORT_QUEUE_BYTES};

/// The lengths of the frames that were handed over last.
#[derive(Debug, Default)]
pub(super) struct Queued(VecDeque<u64>);

impl Queued {
    /// How many places of the queue have to be free for the next frame.
    pub(super) fn places_for(
        &mut self,
        next: &Next,
        frames: &mpsc::Sender<OutgoingFrame>,
    ) -> usize {
        self.places(next.bytes, frames.capacity(), frames.max_capacity())
    }

    fn places(&mut self, bytes: u64, free: usize, all: usize) -> usize {
        let waiting = all.saturating_sub(free);
        let taken = self.0.len().saturating_sub(waiting);
        drop(self.0.drain(..taken));
        let together = self.0.iter().sum::<u64>().saturating_add(bytes);
        if together <= SHORT_QUEUE_BYTES { 1 } else { (all + 1).saturating_sub(FRAME_QUEUE).max(1) }
    }

    /// A frame was handed over.
    pub(super) fn push(&mut self, bytes: u64) {
        self.0.push_back(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_frames_wait_together_and_long_ones_by_twos() {
        let mut queued = Queued::default();
        let all = 32;
        for waiting in 0..16 {
            assert_eq!(queued.places(4_000, all - waiting, all), 1, "{waiting}");
            queued.push(4_000);
        }
        assert_eq!(queued.places(4_000, all - 16, all), 31, "one of them may be left");
        assert_eq!(queued.places(4_000, all - 15, all), 1, "the first was taken");
        assert_eq!(queued.places(60_000, all - 15, all), 31);
        assert_eq!(queued.places(1, all, all), 1, "all were taken");
        queued.push(1 << 20);
        assert_eq!(queued.places(1, all - 1, all), 31, "a long one waits");
    }

    #[test]
    fn a_short_queue_is_as_it_was() {
        let mut queued = Queued::default();
        for bytes in [1, 100_000, 1 << 30] {
            assert_eq!(queued.places(bytes, 2, FRAME_QUEUE), 1);
            queued.push(bytes);
            assert_eq!(queued.places(bytes, 1, FRAME_QUEUE), 1);
            queued.push(bytes);
        }
    }
}
