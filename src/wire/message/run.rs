//! The account of a run: frames that will not come, its end, and what the receiver counts.

use super::receipt::SequenceRun;
use crate::frame::{DropRange, DropReason, RunId, Sequence, UnixNanos};
use crate::wire::codec::{MAX_VARINT, Reader, WireError, Writer};
use crate::wire::field::Fields;
use crate::wire::limits::{MAX_ENTRIES, MAX_MESSAGE_BYTES, MAX_TEXT_BYTES};
use crate::wire::source_id::SourceId;

/// Frames that will not come. Their run may be an earlier one of the source, of a sender that died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drops {
    /// Whose.
    pub source: SourceId,
    /// In which run.
    pub run: RunId,
    /// At most [`MAX_ENTRIES`].
    pub ranges: Vec<DropRange>,
}

/// Drops that are in the receiver's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Whose.
    pub source: SourceId,
    /// In which run.
    pub run: RunId,
    /// Which frames; at most [`MAX_ENTRIES`] runs of sequences.
    pub frames: Vec<SequenceRun>,
}

/// A frame that will not come, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostFrame {
    /// Which.
    pub sequence: Sequence,
    /// Its name, as far as it has a valid one.
    pub name: String,
}

/// Every frame of a run is settled: stored, stored before, or dropped and noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndOfRun {
    /// Whose.
    pub source: SourceId,
    /// Which run.
    pub run: RunId,
    /// Its first sequence.
    pub first: Sequence,
    /// Frames that it captured, dropped ones included. Their sequences go from `first` on without a gap.
    pub captured: u64,
    /// When the source ended, on the sender's clock.
    pub ended: UnixNanos,
    /// Frames that will not come, at most [`MAX_ENTRIES`] of them, with their names for people. On the wire are
    /// as many of these, from the first, as fit a message.
    pub lost: Vec<LostFrame>,
    /// How many will not come altogether.
    pub lost_count: u64,
}

/// What the receiver counts for a source in this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Whose.
    pub source: SourceId,
    /// Frames stored in this session.
    pub stored: u64,
    /// Frames that were stored before, as answered to offers or found on arrival.
    pub already: u64,
}

const HAS_CAPTURED: u8 = 1;

impl Drops {
    const WHAT: &'static str = "a declaration of drops";

    pub(super) fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.source.0)).raw(&self.run.0).varint(self.ranges.len() as u64);
        for range in &self.ranges {
            out.varint(range.first.0).varint(range.count).varint(u64::from(range.reason.number()));
            out.byte(if range.captured.is_some() { HAS_CAPTURED } else { 0 });
            if let Some((first, last)) = range.captured {
                out.u64(first.0).u64(last.0);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let source = SourceId::read(reader)?;
        let run = RunId(reader.array(Self::WHAT)?);
        let count = reader.limited(MAX_ENTRIES as u64, "the number of ranges of drops")?;
        let ranges = (0..count).map(|_| Self::range(reader)).collect::<Result<_, _>>()?;
        Fields::of(reader, Self::WHAT)?.skip()?;
        Ok(Self { source, run, ranges })
    }

    fn range(reader: &mut Reader<'_>) -> Result<DropRange, WireError> {
        let first = Sequence(reader.varint(Self::WHAT)?);
        let count = reader.varint(Self::WHAT)?;
        if count == 0 || first.0.saturating_add(count - 1) > MAX_VARINT {
            return Err(WireError::malformed(
                Self::WHAT,
                format!("{count} frames from {first} on"),
            ));
        }
        let number = reader.varint(Self::WHAT)?;
        let reason = DropReason::from_number(number)
            .ok_or_else(|| WireError::malformed(Self::WHAT, format!("unknown reason {number}")))?;
        let captured = match reader.byte(Self::WHAT)? {
            0 => None,
            HAS_CAPTURED => {
                Some((UnixNanos(reader.u64(Self::WHAT)?), UnixNanos(reader.u64(Self::WHAT)?)))
            }
            other => {
                return Err(WireError::malformed(
                    Self::WHAT,
                    format!("unknown flags {other:#04x}"),
                ));
            }
        };
        Ok(DropRange { first, count, reason, captured })
    }
}

impl Noted {
    pub(super) fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.source.0)).raw(&self.run.0);
        SequenceRun::put_all(&self.frames, out);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "a note of drops";
        let source = SourceId::read(reader)?;
        let run = RunId(reader.array(what)?);
        let frames = SequenceRun::read_all(reader, what)?;
        Fields::of(reader, what)?.skip()?;
        Ok(Self { source, run, frames })
    }
}

impl EndOfRun {
    pub(super) fn encode(&self, out: &mut Writer) {
        /// Of the number of names, which is at most [`MAX_ENTRIES`].
        const COUNT_BYTES: usize = 2;
        out.varint(u64::from(self.source.0))
            .raw(&self.run.0)
            .varint(self.first.0)
            .varint(self.captured)
            .u64(self.ended.0)
            .varint(self.lost_count);
        let room = (MAX_MESSAGE_BYTES as usize).saturating_sub(out.len() + COUNT_BYTES);
        let (mut named, mut names) = (0, Writer::new());
        for lost in self.lost.iter().take(MAX_ENTRIES) {
            let mut entry = Writer::new();
            entry.varint(lost.sequence.0).text_up_to(MAX_TEXT_BYTES, &lost.name);
            // As many of the longest names as there may be do not fit, and a message that is too long
            // would end the session. The count above tells of all.
            if names.len() + entry.len() > room {
                break;
            }
            names.raw(&entry.finish());
            named += 1;
        }
        out.varint(named).raw(&names.finish());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "an end of a run";
        let source = SourceId::read(reader)?;
        let run = RunId(reader.array(what)?);
        let first = Sequence(reader.varint(what)?);
        let captured = reader.varint(what)?;
        if first.0.saturating_add(captured) > MAX_VARINT {
            return Err(WireError::malformed(what, format!("{captured} frames from {first} on")));
        }
        let ended = UnixNanos(reader.u64(what)?);
        let lost_count = reader.varint(what)?;
        let named = reader.limited(MAX_ENTRIES as u64, "the number of lost frames")?;
        let mut lost = Vec::new();
        for _ in 0..named {
            let sequence = Sequence(reader.varint(what)?);
            let name = reader.text(MAX_TEXT_BYTES, what)?.to_owned();
            lost.push(LostFrame { sequence, name });
        }
        Fields::of(reader, what)?.skip()?;
        Ok(Self { source, run, first, captured, ended, lost, lost_count })
    }
}

impl Totals {
    pub(super) fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.source.0)).varint(self.stored).varint(self.already);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "the totals";
        let source = SourceId::read(reader)?;
        let totals = Self { source, stored: reader.varint(what)?, already: reader.varint(what)? };
        Fields::of(reader, what)?.skip()?;
        Ok(totals)
    }
}
