//! Frames on connections of their own, and what the receiver says of them on the session's.
//!
//! A connection that breaks after its frame was written leaves open whether the frame has arrived: the answer may be
//! what was lost. The session tells, by a receipt or a refusal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::frame::Sequence;
use crate::wire::{Message, SourceId};

/// The frames of one session that are on their way. There are no more of them than connections for frames.
#[derive(Debug, Clone, Default)]
pub(super) struct Underway(Arc<Mutex<Vec<Entry>>>);

#[derive(Debug)]
struct Entry {
    source: SourceId,
    sequence: Sequence,
    settled: watch::Sender<bool>,
}

/// One of them; it is forgotten when this is dropped.
#[derive(Debug)]
pub(super) struct Expected {
    underway: Underway,
    settled: watch::Receiver<bool>,
}

impl Underway {
    /// From now on it is noticed what the receiver says of this frame.
    pub(super) fn begin(&self, source: SourceId, sequence: Sequence) -> Expected {
        let (settle, settled) = watch::channel(false);
        self.entries().push(Entry { source, sequence, settled: settle });
        Expected { underway: self.clone(), settled }
    }

    /// Takes notice of a message from the receiver.
    pub(super) fn hear(&self, message: &Message) {
        let settles = |entry: &&Entry| match message {
            Message::Receipts(receipts) => {
                let has = |first: Sequence, count| entry.sequence.0.wrapping_sub(first.0) < count;
                receipts.source == entry.source
                    && receipts.runs.iter().any(|run| has(run.first, run.count))
            }
            Message::Refusal(refusal) => {
                (refusal.source, refusal.sequence) == (entry.source, entry.sequence)
            }
            _ => false,
        };
        for entry in self.entries().iter().filter(settles) {
            entry.settled.send_replace(true);
        }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        // The list is whole at every moment, so another thread's panic does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expected {
    /// Waits until the receiver has stored or refused the frame. Cancel safe.
    pub(super) async fn settled(&mut self) {
        if self.settled.wait_for(|settled| *settled).await.is_err() {
            // Its entry is there as long as this is.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        let ours = |entry: &Entry| entry.settled.subscribe().same_channel(&self.settled);
        self.underway.entries().retain(|entry| !ours(entry));
    }
}
