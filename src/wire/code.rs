//! The numbers by which the two ends refuse a frame or end a session.

use std::fmt;

/// Why one frame was refused: the code of STOP_SENDING on its stream, and of a refusal message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum RefusalCode {
    /// The header is cut short, too long, of another version, or does not parse.
    BadHeader = 0x10,
    /// The body is longer than the receiver's `--max-frame`.
    TooLarge = 0x11,
    /// The header names a source that the hello did not.
    UnknownSource = 0x12,
    /// The body is shorter or longer than announced.
    LengthMismatch = 0x13,
    /// The body does not have the announced hash.
    HashMismatch = 0x14,
    /// The name is stored with other content.
    Conflict = 0x15,
    /// The receiver's disk is full.
    NoSpace = 0x16,
    /// The receiver could not store the frame for another reason.
    StoreFailed = 0x17,
    /// The frame was stored already, or needs no more bytes: nothing is wrong.
    NotNeeded = 0x18,
    /// The stream made no progress for too long.
    Stalled = 0x19,
    /// The receiver needed the frame's memory for others: it came too slowly for the room that it held.
    NoMemory = 0x1a,
}

/// Why a session ended: the code of QUIC's CONNECTION_CLOSE, and of a close record over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum CloseCode {
    /// Everything was said.
    Done = 0x0,
    /// The user or the system stopped this end.
    Shutdown = 0x1,
    /// The peer broke the protocol.
    Protocol = 0x2,
    /// The session made no progress for too long.
    Stalled = 0x3,
    /// The receiver serves as many sessions, or has as many sources open, as it can.
    Busy = 0x4,
    /// The receiver cannot use its store.
    Store = 0x5,
    /// The peer speaks another version of the protocol.
    Version = 0x6,
    /// The sender may not send here any more.
    Revoked = 0x7,
    /// A source of the hello belongs to another sender.
    Owned = 0x8,
    /// The session goes on over another connection.
    Moved = 0x9,
}

impl RefusalCode {
    const ALL: [Self; 11] = [
        Self::BadHeader,
        Self::TooLarge,
        Self::UnknownSource,
        Self::LengthMismatch,
        Self::HashMismatch,
        Self::Conflict,
        Self::NoSpace,
        Self::StoreFailed,
        Self::NotNeeded,
        Self::Stalled,
        Self::NoMemory,
    ];

    /// The code on the wire.
    pub fn number(self) -> u64 {
        self as u64
    }

    /// The code that `number` stands for, if it is one of ours.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// True where trying again later, unchanged, may succeed.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::NoSpace | Self::StoreFailed | Self::Stalled | Self::NoMemory)
    }
}

impl CloseCode {
    const ALL: [Self; 10] = [
        Self::Done,
        Self::Shutdown,
        Self::Protocol,
        Self::Stalled,
        Self::Busy,
        Self::Store,
        Self::Version,
        Self::Revoked,
        Self::Owned,
        Self::Moved,
    ];

    /// The code on the wire.
    pub fn number(self) -> u64 {
        self as u64
    }

    /// The code that `number` stands for, if it is one of ours.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadHeader => "bad header",
            Self::TooLarge => "frame too large",
            Self::UnknownSource => "unknown source",
            Self::LengthMismatch => "length is not as announced",
            Self::HashMismatch => "content does not match its hash",
            Self::Conflict => "stored with other content",
            Self::NoSpace => "no space left at the receiver",
            Self::StoreFailed => "the receiver could not store it",
            Self::NotNeeded => "not needed",
            Self::Stalled => "no progress",
            Self::NoMemory => "the receiver needed its memory for others",
        })
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Shutdown => "shutting down",
            Self::Protocol => "protocol violation",
            Self::Stalled => "no progress",
            Self::Busy => "too many sessions",
            Self::Store => "store unavailable",
            Self::Version => "another version of the protocol",
            Self::Revoked => "not permitted any more",
            Self::Owned => "the source belongs to another sender",
            Self::Moved => "goes on over another connection",
        })
    }
}
