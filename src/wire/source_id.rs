//! The number that stands for a source in one session.

use super::codec::{Reader, WireError, Writer};
use super::limits::MAX_SOURCES;

/// A source's number in one session: its place in the hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u8);

impl SourceId {
    pub(super) fn put(self, out: &mut Writer) {
        out.varint(u64::from(self.0));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self(reader.limited(MAX_SOURCES as u64 - 1, "the source number")? as u8))
    }
}
