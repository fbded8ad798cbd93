//! The bytes of the protocol: no sockets, no clocks.
//!
//! `docs/wire.md` is the specification; this module is one implementation of it, and the golden
//! bytes in its tests are the proof that the two agree. Decoders take whatever has arrived, say
//! "need more" apart from "bad bytes", and check every length against a limit before they allocate.

mod code;
mod codec;
mod field;
mod header;
mod limits;
mod message;
pub mod parity;
pub mod record;
mod source_id;
pub mod stop_and_wait;

pub use code::{CloseCode, RefusalCode};
pub use codec::{Decoded, MAX_VARINT, Reader, WireError, Writer};
pub use field::{MAX_KIND, is_ignorable};
pub use header::{FrameHeader, HEADER_VERSION, MAX_HEADER_BYTES, RepairLayout};
pub use limits::{MAX_ENTRIES, MAX_MESSAGE_BYTES, MAX_SOURCES};
pub use message::{
    Answer, Capabilities, Counted, Declined, Drops, EndOfRun, Hello, JOIN_TOKEN_BYTES, Join,
    LostFrame, Message, Noted, Notice, Offer, OfferEntry, Opened, Receipts, Refusal,
    SESSION_ID_BYTES, SequenceRun, SourceHello, SourceStanding, Standing, Totals, Trial, Unopened,
    Verdict, VerdictRun, Welcome,
};
pub use source_id::SourceId;

/// The protocol and its version, as ALPN names it.
///
/// Two ends that do not share it are told so by TLS before anything of a session is exchanged.
pub const ALPN: &[u8] = b"framelane/2";

/// The ALPN of a connection that carries exactly one frame (`tcp-per-frame`).
pub const ALPN_SINGLE_FRAME: &[u8] = b"framelane-frame/2";

/// The versions before this one: a receiver agrees to them only to say that it does not speak them.
pub const ALPN_BEFORE: [&[u8]; 2] = [b"framelane/1", b"framelane-frame/1"];

/// What a sender of one of [`ALPN_BEFORE`] is told, with [`CloseCode::Version`].
pub const OLDER_THAN_THIS: &str = "this receiver speaks version 2 of the framelane protocol, and this \
     sender version 1: bring the sender to the receiver's version of framelane";
