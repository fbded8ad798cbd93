//! What a receiver lets its senders do.

use std::time::Duration;

use crate::frame::{ByteSize, Share};
use crate::transport::{Intake, MemoryBudget, Voice};

/// What a receiver lets all of its senders do. To be had by [`Default`], and changed field by field: there may be more
/// of them in time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReceiveLimits {
    /// The longest frame.
    pub max_frame: ByteSize,
    /// Memory for bodies and long messages that arrive or wait to be stored or answered, all sessions
    /// together.
    pub memory: ByteSize,
    /// Bytes that one session may have unconfirmed.
    pub max_unconfirmed_bytes: ByteSize,
    /// Frames that one session may have unconfirmed.
    pub max_unconfirmed_frames: u64,
    /// Sessions at once, over each transport.
    pub max_sessions: usize,
    /// A session that has frames open and makes next to no progress for this long is ended.
    pub stall: Duration,
    /// The store's disk is said to be nearly full where less than this part of it is free: in the log, to senders, and in
    /// [`ReceiveProgress::room`](super::ReceiveProgress::room).
    pub warn_free: Share,
    /// Lets every permitted sender write to every source. Without it a source belongs to the sender that
    /// began it.
    pub shared: bool,
    /// Lets a sender that asks for it replace stored frames with others of the same name.
    pub allow_overwrite: bool,
}

impl Default for ReceiveLimits {
    fn default() -> Self {
        Self {
            max_frame: ByteSize(64 << 20),
            // More than twice what one session may have unconfirmed: a slow disk for one sender
            // leaves room for another. Three quarters of a longest frame are kept of it for one that goes over.
            memory: ByteSize(128 << 20),
            // Four times the bandwidth-delay product of 500 Mbit/s and 200 ms, 12.5 MB: receipts
            // may be late by several round trips before a sender has to wait for them. Either end
            // may hold as much, beside what its transport buffers, and is to stay below 150 MB.
            max_unconfirmed_bytes: ByteSize(48 << 20),
            // As many as QUIC streams may be open. 12.5 MB of 4 kB frames are 3,052.
            max_unconfirmed_frames: 4_096,
            max_sessions: 64,
            stall: Duration::from_secs(30),
            warn_free: Share::new(0.05).unwrap_or(Share::ZERO),
            shared: false,
            allow_overwrite: false,
        }
    }
}

impl ReceiveLimits {
    /// The limits in the form that transports enforce. One budget for all that share it.
    pub fn intake(&self) -> Intake {
        Intake {
            max_frame: self.max_frame,
            budget: MemoryBudget::with_longest(self.memory, self.max_frame),
            stall: self.stall,
            max_sessions: self.max_sessions,
            voice: Voice::default(),
        }
    }
}
