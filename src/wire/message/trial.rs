//! A session that measures: frames that are counted and dropped.

use crate::wire::codec::{Reader, WireError, Writer};
use crate::wire::field::Fields;
use crate::wire::limits::MAX_AGENT_BYTES;

use super::opening::SESSION_ID_BYTES;

/// The first message of a session whose frames are counted and not stored, in place of the hello. It is answered by a
/// welcome without sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Random; names the session in logs.
    pub session: [u8; SESSION_ID_BYTES],
    /// Software and version, for logs.
    pub agent: String,
}

/// What has arrived in a trial since its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Frames that have arrived whole.
    pub frames: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

impl Trial {
    const WHAT: &'static str = "the trial";

    pub(super) fn encode(&self, out: &mut Writer) {
        out.raw(&self.session).text(&self.agent);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let session = reader.array(Self::WHAT)?;
        let agent = reader.text(MAX_AGENT_BYTES, "the name of a peer's software")?.to_owned();
        Fields::of(reader, Self::WHAT)?.skip()?;
        Ok(Self { session, agent })
    }
}

impl Counted {
    pub(super) fn encode(self, out: &mut Writer) {
        out.varint(self.frames).varint(self.bytes);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "a trial's count";
        let (frames, bytes) = (reader.varint(what)?, reader.varint(what)?);
        Fields::of(reader, what)?.skip()?;
        Ok(Self { frames, bytes })
    }
}
