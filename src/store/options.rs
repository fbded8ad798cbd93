//! How a folder store stores.

use super::keep::Keep;
use super::layout::Layout;
use crate::frame::UnixNanos;

/// How frames are stored.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Whether a frame is on the medium, rather than with the operating system, before its
    /// [`Outcome`](super::Outcome) is given.
    pub durable: bool,
    /// The clock that `stored_unix_ns` is read from.
    pub clock: fn() -> UnixNanos,
    /// How frames are put into folders.
    pub layout: Layout,
    /// When old frames are removed.
    pub keep: Keep,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { durable: false, clock: UnixNanos::now, layout: Layout::Flat, keep: Keep::default() }
    }
}
