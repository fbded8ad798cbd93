//! What became of frames at the receiver.

use crate::frame::{Sequence, UnixNanos};
use crate::wire::code::RefusalCode;
use crate::wire::codec::{Reader, WireError, Writer};
use crate::wire::field::Fields;
use crate::wire::limits::{MAX_ENTRIES, MAX_TEXT_BYTES};
use crate::wire::source_id::SourceId;

/// Frames that are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipts {
    /// Whose.
    pub source: SourceId,
    /// Time at the receiver when the batch was stored, ns since 1970.
    pub stored: UnixNanos,
    /// Runs of sequences.
    pub runs: Vec<SequenceRun>,
}

/// `count` sequences from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceRun {
    /// The first.
    pub first: Sequence,
    /// How many.
    pub count: u64,
}

impl SequenceRun {
    pub(super) fn put_all(runs: &[Self], out: &mut Writer) {
        out.varint(runs.len() as u64);
        for run in runs {
            out.varint(run.first.0).varint(run.count);
        }
    }

    pub(super) fn read_all(
        reader: &mut Reader<'_>,
        what: &'static str,
    ) -> Result<Vec<Self>, WireError> {
        let count = reader.limited(MAX_ENTRIES as u64, "the number of runs of sequences")?;
        let mut runs = Vec::new();
        for _ in 0..count {
            let first = Sequence(reader.varint(what)?);
            let count = reader.varint(what)?;
            runs.push(Self { first, count });
        }
        Ok(runs)
    }
}

/// One frame that was not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose.
    pub source: SourceId,
    /// Which.
    pub sequence: Sequence,
    /// Why, as a number.
    pub code: RefusalCode,
    /// Why, for people.
    pub reason: String,
}

impl Receipts {
    /// Collects sequences into runs; neighbours that count up by one share a run.
    pub fn new(
        source: SourceId,
        stored: UnixNanos,
        sequences: impl IntoIterator<Item = Sequence>,
    ) -> Self {
        let mut runs: Vec<SequenceRun> = Vec::new();
        for sequence in sequences {
            match runs.last_mut() {
                Some(run) if run.first.0.checked_add(run.count) == Some(sequence.0) => {
                    run.count += 1;
                }
                _ => runs.push(SequenceRun { first: sequence, count: 1 }),
            }
        }
        Self { source, stored, runs }
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.source.0)).u64(self.stored.0);
        SequenceRun::put_all(&self.runs, out);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "a receipt";
        let source = SourceId::read(reader)?;
        let stored = UnixNanos(reader.u64(what)?);
        let runs = SequenceRun::read_all(reader, what)?;
        Fields::of(reader, what)?.skip()?;
        Ok(Self { source, stored, runs })
    }
}

impl Refusal {
    /// A refusal whose reason is cut to what fits on the wire.
    pub fn new(source: SourceId, sequence: Sequence, code: RefusalCode, reason: &str) -> Self {
        let reason = reason[..reason.floor_char_boundary(MAX_TEXT_BYTES as usize)].to_owned();
        Self { source, sequence, code, reason }
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.source.0))
            .varint(self.sequence.0)
            .varint(self.code.number())
            .text_up_to(MAX_TEXT_BYTES, &self.reason);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "a refusal";
        let source = SourceId::read(reader)?;
        let sequence = Sequence(reader.varint(what)?);
        let number = reader.varint(what)?;
        let code = RefusalCode::from_number(number)
            .ok_or_else(|| WireError::malformed(what, format!("unknown code {number:#x}")))?;
        let reason = reader.text(MAX_TEXT_BYTES, what)?.to_owned();
        Fields::of(reader, what)?.skip()?;
        Ok(Self { source, sequence, code, reason })
    }
}
