//! Frames on offer, and what the receiver wants of them.

use crate::frame::{ContentHash, FrameName, Sequence, UnixNanos};
use crate::wire::codec::{Reader, WireError, Writer};
use crate::wire::field::Fields;
use crate::wire::limits::{MAX_ENTRIES, MAX_MESSAGE_BYTES, MAX_NAME_BYTES};
use crate::wire::source_id::SourceId;

/// A batch of frames that the sender has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Whose.
    pub source: SourceId,
    /// At most [`MAX_ENTRIES`].
    pub entries: Vec<OfferEntry>,
}

/// One frame on offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferEntry {
    /// Place in the source.
    pub sequence: Sequence,
    /// File name.
    pub name: FrameName,
    /// Length in bytes.
    pub bytes: u64,
    /// When the file was last changed, where the source knows.
    pub modified: Option<UnixNanos>,
    /// BLAKE3, where the sender has it.
    pub hash: Option<ContentHash>,
}

/// The receiver's verdicts on one offer, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whose.
    pub source: SourceId,
    /// Runs of equal verdicts; their counts add up to the offer's entries.
    pub runs: Vec<VerdictRun>,
}

/// `count` entries in a row with one verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerdictRun {
    /// The verdict.
    pub verdict: Verdict,
    /// How many entries it is for.
    pub count: u64,
}

/// What the receiver says of a frame on offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Send it.
    Wanted = 0,
    /// It is stored.
    Stored = 1,
    /// Its name is stored with other content.
    Differs = 2,
    /// Offer it again with its hash.
    NeedHash = 3,
    /// Its source is not open yet: offer it again when it is.
    NotOpen = 4,
}

/// What an entry takes on the wire at the most, but for its name: flags, three varints, time and hash.
const MAX_ENTRY_BYTES: usize = 1 + 8 + 2 + 8 + 8 + 32;
/// The fixed part of an offer, and room for fields.
const OFFER_BYTES: usize = 64;

impl Offer {
    const HAS_MODIFIED: u8 = 1;
    const HAS_HASH: u8 = 2;

    /// Cuts entries into offers, each within what a message may have.
    pub fn batches(source: SourceId, entries: Vec<OfferEntry>) -> Vec<Self> {
        let mut offers: Vec<Self> = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            let more = MAX_ENTRY_BYTES + entry.name.as_str().len();
            match offers.last_mut() {
                Some(offer)
                    if offer.entries.len() < MAX_ENTRIES
                        && bytes + more <= MAX_MESSAGE_BYTES as usize =>
                {
                    offer.entries.push(entry);
                    bytes += more;
                }
                _ => {
                    bytes = OFFER_BYTES + more;
                    offers.push(Self { source, entries: vec![entry] });
                }
            }
        }
        offers
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.source.0)).varint(self.entries.len() as u64);
        for entry in &self.entries {
            let mut flags = 0;
            if entry.modified.is_some() {
                flags |= Self::HAS_MODIFIED;
            }
            if entry.hash.is_some() {
                flags |= Self::HAS_HASH;
            }
            out.byte(flags).varint(entry.sequence.0).text(entry.name.as_str()).varint(entry.bytes);
            if let Some(modified) = entry.modified {
                out.u64(modified.0);
            }
            if let Some(hash) = entry.hash {
                out.raw(hash.as_bytes());
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let source = SourceId::read(reader)?;
        let count = reader.limited(MAX_ENTRIES as u64, "the number of offers")?;
        let entries = (0..count).map(|_| Self::decode_entry(reader)).collect::<Result<_, _>>()?;
        Fields::of(reader, "an offer")?.skip()?;
        Ok(Self { source, entries })
    }

    fn decode_entry(reader: &mut Reader<'_>) -> Result<OfferEntry, WireError> {
        let what = "an offer";
        let flags = reader.byte(what)?;
        if flags & !(Self::HAS_MODIFIED | Self::HAS_HASH) != 0 {
            return Err(WireError::malformed(what, format!("unknown flags {flags:#04x}")));
        }
        let sequence = Sequence(reader.varint(what)?);
        let name = reader.text(MAX_NAME_BYTES, "a frame name")?;
        let name = FrameName::parse(name)
            .map_err(|error| WireError::malformed("a frame name", error.to_string()))?;
        let bytes = reader.varint(what)?;
        let modified = match flags & Self::HAS_MODIFIED {
            0 => None,
            _ => Some(UnixNanos(reader.u64(what)?)),
        };
        let hash = match flags & Self::HAS_HASH {
            0 => None,
            _ => Some(ContentHash::from_bytes(reader.array(what)?)),
        };
        Ok(OfferEntry { sequence, name, bytes, modified, hash })
    }
}

impl Answer {
    /// Collects verdicts, in the order of an offer's entries, into runs.
    pub fn new(source: SourceId, verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        let mut runs: Vec<VerdictRun> = Vec::new();
        for verdict in verdicts {
            match runs.last_mut() {
                Some(run) if run.verdict == verdict => run.count += 1,
                _ => runs.push(VerdictRun { verdict, count: 1 }),
            }
        }
        Self { source, runs }
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.source.0)).varint(self.runs.len() as u64);
        for run in &self.runs {
            out.byte(run.verdict as u8).varint(run.count);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "an answer";
        let source = SourceId::read(reader)?;
        let count = reader.limited(MAX_ENTRIES as u64, "the runs of an answer")?;
        let mut runs = Vec::new();
        for _ in 0..count {
            let verdict = match reader.byte(what)? {
                0 => Verdict::Wanted,
                1 => Verdict::Stored,
                2 => Verdict::Differs,
                3 => Verdict::NeedHash,
                4 => Verdict::NotOpen,
                other => {
                    return Err(WireError::malformed(what, format!("unknown verdict {other}")));
                }
            };
            let count = reader.limited(MAX_ENTRIES as u64, "a run of verdicts")?;
            runs.push(VerdictRun { verdict, count });
        }
        Fields::of(reader, what)?.skip()?;
        Ok(Self { source, runs })
    }
}
