//! The bytes of the protocol: no sockets, no clocks.
//!
//! `docs/wire.md` is the specification; this module is one implementation of it, and the golden
//! bytes in its tests are the proof that the two agree. Decoders take whatever has arrived, say
//! "need more" apart from "bad bytes", and check every length against a limit before they allocate.

mod code;
mod codec;
mod header;
mod message;
pub mod record;
pub mod stop_and_wait;

pub use code::{CloseCode, RefusalCode};
pub use codec::{Decoded, MAX_VARINT, Reader, WireError, Writer};
pub use header::{FrameHeader, HEADER_VERSION, MAX_HEADER_BYTES, RepairLayout};
pub use message::{
    Answer, EndOfSource, Hello, LostFrame, MAX_ENTRIES, MAX_MESSAGE_BYTES, Message, Offer,
    OfferEntry, ReceiptRun, Receipts, Refusal, SESSION_ID_BYTES, SourceId, Totals, Verdict,
    VerdictRun, Welcome,
};

/// The protocol and its version, as ALPN names it.
///
/// Two ends that do not share it are told so by TLS before anything of a session is exchanged.
pub const ALPN: &[u8] = b"framelane/1";

/// The ALPN of a connection that carries exactly one frame (`tcp-per-frame`).
pub const ALPN_SINGLE_FRAME: &[u8] = b"framelane-frame/1";

/// The most sources one session can carry.
pub const MAX_SOURCES: usize = 64;
