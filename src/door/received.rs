//! A frame that a receiver hands out.

use std::sync::Arc;

use bytes::Bytes;

use crate::frame::{Captured, FrameName, MediaType, Sequence, SourceName, UnixNanos};
use crate::store::ReceivedFrame;

/// A frame that has arrived whole, and is what its sender announced.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Received {
    /// The source.
    pub source: SourceName,
    /// Its place in the source. Where one is passed over, the frame was dropped, is late, or was skipped.
    pub sequence: Sequence,
    /// Its name, as that of a file; never one that leads out of a folder.
    pub name: FrameName,
    /// When it was captured, and by which clock; `None` where nobody knows.
    pub captured: Option<Captured>,
    /// When a folder that is replayed had it due.
    pub due: Option<UnixNanos>,
    /// When its last byte had arrived here.
    pub received: UnixNanos,
    /// The pin of its sender; `None` over stop-and-wait, which authenticates nobody.
    pub sender: Option<Arc<str>>,
    /// What this receiver's user calls the sender, where it was allowed by a name.
    pub sender_name: Option<Arc<str>>,
    /// What the bytes are, as the sender says.
    pub media: MediaType,
    /// The image, as a file of its kind holds it.
    pub bytes: Bytes,
}

impl Received {
    pub(super) fn new(source: &SourceName, frame: &ReceivedFrame) -> Self {
        let (meta, from) = (&frame.frame.meta, &frame.from);
        Self {
            source: source.clone(),
            sequence: meta.sequence,
            name: meta.name.clone(),
            captured: meta.captured,
            due: meta.due,
            received: frame.received,
            sender: from.pin.clone(),
            sender_name: from.name.clone(),
            media: meta.media.clone(),
            bytes: frame.frame.body.clone(),
        }
    }
}
