//! What only the fuzz targets see (`fuzz/`). None of it is stable.

pub use crate::congestion::lossy::fuzzing::controller;

/// Reads the content of a file of senders that may send.
pub fn allow_file(bytes: &[u8]) {
    crate::identity::parse_allow_file(bytes);
}

/// Reads the content of a file of receivers that are trusted.
pub fn known_receivers(bytes: &[u8]) {
    crate::identity::KnownReceivers::parse_for_fuzzing(bytes);
}

/// Reads a rule for capture times, whose length is the first byte, and by it what is behind: as a name and as an image.
pub fn captured(bytes: &[u8]) {
    crate::source::read_captured_for_fuzzing(bytes);
}
