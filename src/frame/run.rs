//! The account of a source: its runs, when its frames were made, and what became of those that are not stored.

use std::fmt;
use std::str::FromStr;

use super::{Sequence, UnixNanos};

/// One life of a source at a sender: from its start to its end, over any number of connections. Random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RunId(pub [u8; RunId::BYTES]);

impl RunId {
    /// Its length.
    pub const BYTES: usize = 16;

    /// No run: of sources whose protocol knows none, as stop-and-wait. It never travels.
    pub const NONE: Self = Self([0; Self::BYTES]);

    /// The run, where it is one.
    pub fn known(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

/// 32 hex digits in lower case.
impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads what [`Display`](fmt::Display) writes: 32 hex digits of either case and nothing else.
impl FromStr for RunId {
    type Err = NotARun;

    fn from_str(text: &str) -> Result<Self, NotARun> {
        let digits = text.as_bytes();
        if digits.len() != 2 * Self::BYTES || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(NotARun);
        }
        let mut run = [0; Self::BYTES];
        for (byte, pair) in run.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| NotARun)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NotARun)?;
        }
        Ok(Self(run))
    }
}

/// The text is not the name of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a run is named by 32 hex digits")]
pub struct NotARun;

/// When the camera made a frame, as well as its sender knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Captured {
    /// The time, on the clock of whoever took it.
    pub at: UnixNanos,
    /// Where it was taken from.
    pub clock: Clock,
    /// How far it may be off, in nanoseconds either way, where that is known.
    pub uncertainty: Option<u64>,
}

/// Where a capture time was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Clock {
    /// The file's modification time.
    Modified = 0,
    /// The file's name.
    Name = 1,
    /// The image's own record of it.
    Exif = 2,
    /// When the last byte of the image was read from a pipe.
    Read = 3,
    /// When a file in a watched folder was complete.
    Complete = 4,
    /// The program that made the frame said so.
    Program = 5,
    /// When the sender took up the frame, which the user asked for.
    Now = 6,
}

/// Why a frame that was captured is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DropReason {
    /// It would have come after its deadline.
    Late = 0,
    /// The sender had no room left to keep it.
    SpoolFull = 1,
    /// The source gave what is no image.
    NotAnImage = 2,
    /// It is longer than the receiver takes.
    TooLarge = 3,
    /// Its file was gone when it was to be read.
    Vanished = 4,
    /// Its source gave nothing for too long.
    SourceStalled = 5,
    /// It was in the memory of a sender that died.
    SenderCrashed = 6,
    /// The receiver refused it: its disk is full, say.
    Refused = 7,
    /// Its file could not be read, or changed while it was.
    Unreadable = 8,
    /// Its name cannot travel.
    BadName = 9,
    /// The sender gave up before it was stored: it was stopped, or out of patience. The frame may still exist
    /// there, and come in another run.
    GivenUp = 10,
    /// Its name is stored with other content, which the receiver keeps.
    Conflict = 11,
}

/// Frames in a row that will not come, for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropRange {
    /// The first.
    pub first: Sequence,
    /// How many, at least 1.
    pub count: u64,
    /// Why.
    pub reason: DropReason,
    /// When the first and the last of them were captured, where that is known.
    pub captured: Option<(UnixNanos, UnixNanos)>,
}

impl DropRange {
    /// The last sequence of the range.
    pub fn last(&self) -> Sequence {
        Sequence(self.first.0.saturating_add(self.count.saturating_sub(1)))
    }
}

impl Clock {
    const ALL: [Self; 7] = [
        Self::Modified,
        Self::Name,
        Self::Exif,
        Self::Read,
        Self::Complete,
        Self::Program,
        Self::Now,
    ];

    /// The number on the wire.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The clock that `number` stands for.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|clock| clock.number() == number)
    }

    /// The name in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Modified => "modified",
            Self::Name => "name",
            Self::Exif => "exif",
            Self::Read => "read",
            Self::Complete => "complete",
            Self::Program => "program",
            Self::Now => "now",
        }
    }

    /// The clock of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|clock| clock.name() == name)
    }
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Late,
        Self::SpoolFull,
        Self::NotAnImage,
        Self::TooLarge,
        Self::Vanished,
        Self::SourceStalled,
        Self::SenderCrashed,
        Self::Refused,
        Self::Unreadable,
        Self::BadName,
        Self::GivenUp,
        Self::Conflict,
    ];

    /// The number on the wire.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The reason that `number` stands for.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| u64::from(reason.number()) == number)
    }

    /// True where a frame is dropped because that was asked for, or because there is none: it would be too late, there is
    /// no room to keep it, it is no image. False where somebody had a frame that should have come.
    pub fn is_wanted(self) -> bool {
        matches!(self, Self::Late | Self::SpoolFull | Self::NotAnImage | Self::SourceStalled)
    }

    /// The name in a ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::SpoolFull => "spool-full",
            Self::NotAnImage => "not-an-image",
            Self::TooLarge => "too-large",
            Self::Vanished => "vanished",
            Self::SourceStalled => "source-stalled",
            Self::SenderCrashed => "sender-crashed",
            Self::Refused => "refused",
            Self::Unreadable => "unreadable",
            Self::BadName => "bad-name",
            Self::GivenUp => "given-up",
            Self::Conflict => "other-content",
        }
    }

    /// The reason of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_come_back() {
        for clock in Clock::ALL {
            assert_eq!(Clock::from_number(clock.number()), Some(clock));
            assert_eq!(Clock::from_name(clock.name()), Some(clock));
        }
        for reason in DropReason::ALL {
            assert_eq!(DropReason::from_number(reason.number().into()), Some(reason));
            assert_eq!(DropReason::from_name(reason.name()), Some(reason));
        }
        assert_eq!((Clock::from_number(200), DropReason::from_number(1 << 40)), (None, None));
    }

    #[test]
    fn a_run_is_32_hex_digits() {
        let run = RunId([0x0a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff]);
        assert_eq!(run.to_string(), "0a0102030405060708090a0b0c0d0eff");
        assert_eq!(run.to_string().parse(), Ok(run));
        for bad in
            ["", "0a", "+a0102030405060708090a0b0c0d0eff", "0a0102030405060708090a0b0c0d0efé"]
        {
            assert_eq!(bad.parse::<RunId>(), Err(NotARun), "{bad}");
        }
    }

    #[test]
    fn a_range_ends_at_its_last_frame() {
        let range = |first, count| {
            let (first, reason) = (Sequence(first), DropReason::Late);
            DropRange { first, count, reason, captured: None }.last()
        };
        assert_eq!((range(5, 1), range(5, 3)), (Sequence(5), Sequence(7)));
        assert_eq!(range(u64::MAX, 9), Sequence(u64::MAX));
    }
}
