//! The protocol's limits. A decoder holds every length and count against one before it allocates anything.

use crate::frame::MAX_FRAME_NAME_BYTES;

/// The most sources one session can carry.
pub const MAX_SOURCES: usize = 64;

/// The longest payload of a message. A batch of offers is cut to fit.
pub const MAX_MESSAGE_BYTES: u64 = 512 * 1024;

/// The most entries in one batch of offers, answers, receipts or drops.
pub const MAX_ENTRIES: usize = 1_024;

/// The longest name of a peer's software.
pub(super) const MAX_AGENT_BYTES: u64 = 64;

/// The longest text for people, and the longest name that need not be a valid one.
pub(super) const MAX_TEXT_BYTES: u64 = 1_024;

/// The longest frame name.
pub(super) const MAX_NAME_BYTES: u64 = MAX_FRAME_NAME_BYTES as u64;
