//! What the receiver's user should know, and the sender's too.

use crate::wire::codec::{Reader, WireError, Writer};
use crate::wire::field::Fields;
use crate::wire::limits::MAX_TEXT_BYTES;

/// Something of the receiver that concerns no single frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What kind of thing; [`Notice::NEARLY_FULL`] and so on. Others may come.
    pub kind: u64,
    /// In words, for people.
    pub text: String,
}

impl Notice {
    /// The disk that frames are stored on is nearly full.
    pub const NEARLY_FULL: u64 = 1;
    /// It has room again.
    pub const ROOM_AGAIN: u64 = 3;
    /// Frames on offer were stored, and have been removed since because they were old enough.
    pub const EXPIRED: u64 = 5;

    pub(super) fn encode(&self, out: &mut Writer) {
        out.varint(self.kind).text_up_to(MAX_TEXT_BYTES, &self.text);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "a notice";
        let kind = reader.varint(what)?;
        let text = reader.text(MAX_TEXT_BYTES, what)?.to_owned();
        Fields::of(reader, what)?.skip()?;
        Ok(Self { kind, text })
    }
}
