//! The messages of the session: hello, offers, receipts, totals.
//!
//! Each is a varint type, a varint length and a payload of at most [`MAX_MESSAGE_BYTES`]. Over QUIC
//! they follow one another on the session's bidirectional stream, over TCP inside records.

use bytes::Bytes;

use super::MAX_SOURCES;
use super::code::RefusalCode;
use super::codec::{Decoded, Reader, WireError, Writer, peek_varint};
use crate::frame::{ContentHash, FrameName, Sequence, SourceName, UnixNanos};

/// The longest payload. A batch of offers is cut to fit.
pub const MAX_MESSAGE_BYTES: u64 = 512 * 1024;

/// The most entries in one batch of offers, answers or receipts.
pub const MAX_ENTRIES: usize = 1_024;

/// Length of the random number that names a session in both ends' logs.
pub const SESSION_ID_BYTES: usize = 16;

const MAX_AGENT_BYTES: u64 = 64;
const MAX_TEXT_BYTES: u64 = 1_024;

/// A source's number in one session: its place in the hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u8);

/// What the two ends say to each other beside the frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// First from the sender.
    Hello(Hello),
    /// First from the receiver.
    Welcome(Welcome),
    /// Sender: frames it has.
    Offer(Offer),
    /// Receiver: what it wants of an offer.
    Answer(Answer),
    /// Receiver: frames stored.
    Receipts(Receipts),
    /// Receiver: a frame not stored, and why.
    Refusal(Refusal),
    /// Sender: every frame of a source is settled.
    EndOfSource(EndOfSource),
    /// Receiver: what it counts for that source.
    Totals(Totals),
    /// Sender: asks for the receiver's clock. Its own time, ns since 1970.
    ClockProbe(u64),
    /// Receiver: the probe's time, and its own at arrival and at reply, ns since 1970.
    ClockReply {
        /// The probe's.
        asked: u64,
        /// When the probe arrived.
        arrived: u64,
        /// When the reply left.
        replied: u64,
    },
}

/// The sender introduces itself and its sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Random; names the session in logs.
    pub session: [u8; SESSION_ID_BYTES],
    /// Replace frames that are stored with other content.
    pub overwrite: bool,
    /// Software and version, for logs.
    pub agent: String,
    /// The sources, numbered by their place here. At most 64.
    pub sources: Vec<SourceName>,
}

/// The receiver's limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Receipts mean that frame and folder were synced to the disk.
    pub durable: bool,
    /// Longest body in bytes.
    pub max_frame: u64,
    /// Bytes a sender may have unconfirmed.
    pub max_unconfirmed_bytes: u64,
    /// Frames a sender may have unconfirmed.
    pub max_unconfirmed_frames: u64,
    /// Software and version, for logs.
    pub agent: String,
}

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
}

/// Frames that are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipts {
    /// Whose.
    pub source: SourceId,
    /// Time at the receiver when the batch was stored, ns since 1970.
    pub stored: UnixNanos,
    /// Runs of sequences.
    pub runs: Vec<ReceiptRun>,
}

/// `count` sequences from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptRun {
    /// The first.
    pub first: Sequence,
    /// How many.
    pub count: u64,
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

/// A frame that the sender could not send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostFrame {
    /// Which.
    pub sequence: Sequence,
    /// Its name, as far as it has a valid one.
    pub name: String,
}

/// The sender has settled every frame of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndOfSource {
    /// Whose.
    pub source: SourceId,
    /// Frames in the source, failed ones included.
    pub frames: u64,
    /// Frames that will not come, at most [`MAX_ENTRIES`] of them by name. On the wire are as many
    /// of these, from the first, as fit a message.
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

impl Message {
    fn kind(&self) -> u64 {
        match self {
            Self::Hello(_) => 1,
            Self::Welcome(_) => 2,
            Self::Offer(_) => 3,
            Self::Answer(_) => 4,
            Self::Receipts(_) => 5,
            Self::Refusal(_) => 6,
            Self::EndOfSource(_) => 7,
            Self::Totals(_) => 8,
            Self::ClockProbe(_) => 9,
            Self::ClockReply { .. } => 10,
        }
    }

    /// The message's bytes: type, length, payload.
    pub fn encode(&self) -> Bytes {
        let mut payload = Writer::new();
        match self {
            Self::Hello(hello) => hello.encode(&mut payload),
            Self::Welcome(welcome) => welcome.encode(&mut payload),
            Self::Offer(offer) => offer.encode(&mut payload),
            Self::Answer(answer) => answer.encode(&mut payload),
            Self::Receipts(receipts) => receipts.encode(&mut payload),
            Self::Refusal(refusal) => refusal.encode(&mut payload),
            Self::EndOfSource(end) => end.encode(&mut payload),
            Self::Totals(totals) => totals.encode(&mut payload),
            Self::ClockProbe(asked) => {
                payload.u64(*asked);
            }
            Self::ClockReply { asked, arrived, replied } => {
                payload.u64(*asked).u64(*arrived).u64(*replied);
            }
        }
        let mut whole = Writer::new();
        whole.varint(self.kind()).varint(payload.len() as u64).raw(&payload.finish());
        whole.finish()
    }

    /// Decodes a message at the start of `bytes`.
    ///
    /// # Errors
    /// [`WireError`] as soon as what is there cannot become a message.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, WireError> {
        let (kind, kind_bytes) = match peek_varint(bytes) {
            Decoded::NeedMore(need) => return Ok(Decoded::NeedMore(need)),
            Decoded::Value(kind, length) => (kind, length),
        };
        let (length, length_bytes) = match peek_varint(&bytes[kind_bytes..]) {
            Decoded::NeedMore(need) => return Ok(Decoded::NeedMore(kind_bytes + need)),
            Decoded::Value(value, length) => (value, length),
        };
        if length > MAX_MESSAGE_BYTES {
            let what = "the length of a message";
            return Err(WireError::OverLimit { what, value: length, limit: MAX_MESSAGE_BYTES });
        }
        let start = kind_bytes + length_bytes;
        let total = start + length as usize; // at most MAX_MESSAGE_BYTES
        if bytes.len() < total {
            return Ok(Decoded::NeedMore(total));
        }
        let mut reader = Reader::new(&bytes[start..total]);
        let message = Self::decode_payload(kind, &mut reader)?;
        reader.end("a message")?;
        Ok(Decoded::Value(message, total))
    }

    fn decode_payload(kind: u64, reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match kind {
            1 => Self::Hello(Hello::decode(reader)?),
            2 => Self::Welcome(Welcome::decode(reader)?),
            3 => Self::Offer(Offer::decode(reader)?),
            4 => Self::Answer(Answer::decode(reader)?),
            5 => Self::Receipts(Receipts::decode(reader)?),
            6 => Self::Refusal(Refusal::decode(reader)?),
            7 => Self::EndOfSource(EndOfSource::decode(reader)?),
            8 => Self::Totals(Totals::decode(reader)?),
            9 => Self::ClockProbe(reader.u64("a clock probe")?),
            10 => Self::ClockReply {
                asked: reader.u64("a clock reply")?,
                arrived: reader.u64("a clock reply")?,
                replied: reader.u64("a clock reply")?,
            },
            other => {
                return Err(malformed("a message", format!("unknown type {other}")));
            }
        })
    }
}

impl Hello {
    const WHAT: &'static str = "the hello";

    fn encode(&self, out: &mut Writer) {
        out.raw(&self.session).byte(u8::from(self.overwrite)).text(&self.agent);
        out.varint(self.sources.len() as u64);
        for source in &self.sources {
            out.text(source.as_str());
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let session = reader.array(Self::WHAT)?;
        let overwrite = flag(reader, Self::WHAT)?;
        let agent = agent(reader)?;
        let count = reader.limited(MAX_SOURCES as u64, "the number of sources")?;
        let mut sources: Vec<SourceName> = Vec::new();
        for _ in 0..count {
            let name = reader.text(MAX_TEXT_BYTES, "a source name")?;
            let name = SourceName::parse(name)
                .map_err(|error| malformed("a source name", error.to_string()))?;
            if sources.contains(&name) {
                return Err(malformed(Self::WHAT, format!("it names the source {name} twice")));
            }
            sources.push(name);
        }
        Ok(Self { session, overwrite, agent, sources })
    }
}

impl Welcome {
    fn encode(&self, out: &mut Writer) {
        out.byte(u8::from(self.durable))
            .varint(self.max_frame)
            .varint(self.max_unconfirmed_bytes)
            .varint(self.max_unconfirmed_frames)
            .text(&self.agent);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "the welcome";
        Ok(Self {
            durable: flag(reader, what)?,
            max_frame: reader.varint(what)?,
            max_unconfirmed_bytes: reader.varint(what)?,
            max_unconfirmed_frames: reader.varint(what)?,
            agent: agent(reader)?,
        })
    }
}

impl Offer {
    const HAS_MODIFIED: u8 = 1;
    const HAS_HASH: u8 = 2;

    fn encode(&self, out: &mut Writer) {
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

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let source = source_id(reader)?;
        let count = reader.limited(MAX_ENTRIES as u64, "the number of offers")?;
        let entries = (0..count).map(|_| Self::decode_entry(reader)).collect::<Result<_, _>>()?;
        Ok(Self { source, entries })
    }

    fn decode_entry(reader: &mut Reader<'_>) -> Result<OfferEntry, WireError> {
        let what = "an offer";
        let flags = reader.byte(what)?;
        if flags & !(Self::HAS_MODIFIED | Self::HAS_HASH) != 0 {
            return Err(malformed(what, format!("unknown flags {flags:#04x}")));
        }
        let sequence = Sequence(reader.varint(what)?);
        let name = reader.text(MAX_TEXT_BYTES, "a frame name")?;
        let name =
            FrameName::parse(name).map_err(|error| malformed("a frame name", error.to_string()))?;
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

    fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.source.0)).varint(self.runs.len() as u64);
        for run in &self.runs {
            out.byte(run.verdict as u8).varint(run.count);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "an answer";
        let source = source_id(reader)?;
        let count = reader.limited(MAX_ENTRIES as u64, "the runs of an answer")?;
        let mut runs = Vec::new();
        for _ in 0..count {
            let verdict = match reader.byte(what)? {
                0 => Verdict::Wanted,
                1 => Verdict::Stored,
                2 => Verdict::Differs,
                3 => Verdict::NeedHash,
                other => return Err(malformed(what, format!("unknown verdict {other}"))),
            };
            let count = reader.limited(MAX_ENTRIES as u64, "a run of verdicts")?;
            runs.push(VerdictRun { verdict, count });
        }
        Ok(Self { source, runs })
    }
}

impl Receipts {
    /// Collects sequences into runs; neighbours that count up by one share a run.
    pub fn new(
        source: SourceId,
        stored: UnixNanos,
        sequences: impl IntoIterator<Item = Sequence>,
    ) -> Self {
        let mut runs: Vec<ReceiptRun> = Vec::new();
        for sequence in sequences {
            match runs.last_mut() {
                Some(run) if run.first.0.checked_add(run.count) == Some(sequence.0) => {
                    run.count += 1;
                }
                _ => runs.push(ReceiptRun { first: sequence, count: 1 }),
            }
        }
        Self { source, stored, runs }
    }

    fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.source.0)).u64(self.stored.0).varint(self.runs.len() as u64);
        for run in &self.runs {
            out.varint(run.first.0).varint(run.count);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "a receipt";
        let source = source_id(reader)?;
        let stored = UnixNanos(reader.u64(what)?);
        let count = reader.limited(MAX_ENTRIES as u64, "the runs of a receipt")?;
        let mut runs = Vec::new();
        for _ in 0..count {
            let first = Sequence(reader.varint(what)?);
            let count = reader.varint(what)?;
            runs.push(ReceiptRun { first, count });
        }
        Ok(Self { source, stored, runs })
    }
}

impl Refusal {
    /// A refusal whose reason is cut to what fits on the wire.
    pub fn new(source: SourceId, sequence: Sequence, code: RefusalCode, reason: &str) -> Self {
        let reason = cut(reason, MAX_TEXT_BYTES as usize).to_owned();
        Self { source, sequence, code, reason }
    }

    fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.source.0))
            .varint(self.sequence.0)
            .varint(self.code.number())
            .text(cut(&self.reason, MAX_TEXT_BYTES as usize));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "a refusal";
        let source = source_id(reader)?;
        let sequence = Sequence(reader.varint(what)?);
        let number = reader.varint(what)?;
        let code = RefusalCode::from_number(number)
            .ok_or_else(|| malformed(what, format!("unknown code {number:#x}")))?;
        let reason = reader.text(MAX_TEXT_BYTES, what)?.to_owned();
        Ok(Self { source, sequence, code, reason })
    }
}

impl EndOfSource {
    fn encode(&self, out: &mut Writer) {
        /// Of the number of names, which is at most [`MAX_ENTRIES`].
        const COUNT_BYTES: usize = 2;
        out.varint(u64::from(self.source.0)).varint(self.frames).varint(self.lost_count);
        let room = (MAX_MESSAGE_BYTES as usize).saturating_sub(out.len() + COUNT_BYTES);
        let (mut named, mut names) = (0, Writer::new());
        for lost in self.lost.iter().take(MAX_ENTRIES) {
            let mut entry = Writer::new();
            entry.varint(lost.sequence.0).text(cut(&lost.name, MAX_TEXT_BYTES as usize));
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

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "an end of source";
        let source = source_id(reader)?;
        let frames = reader.varint(what)?;
        let lost_count = reader.varint(what)?;
        let named = reader.limited(MAX_ENTRIES as u64, "the number of lost frames")?;
        let mut lost = Vec::new();
        for _ in 0..named {
            let sequence = Sequence(reader.varint(what)?);
            let name = reader.text(MAX_TEXT_BYTES, what)?.to_owned();
            lost.push(LostFrame { sequence, name });
        }
        Ok(Self { source, frames, lost, lost_count })
    }
}

impl Totals {
    fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.source.0)).varint(self.stored).varint(self.already);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "the totals";
        let source = source_id(reader)?;
        Ok(Self { source, stored: reader.varint(what)?, already: reader.varint(what)? })
    }
}

fn source_id(reader: &mut Reader<'_>) -> Result<SourceId, WireError> {
    Ok(SourceId(reader.limited(MAX_SOURCES as u64 - 1, "the source number")? as u8))
}

fn agent(reader: &mut Reader<'_>) -> Result<String, WireError> {
    Ok(reader.text(MAX_AGENT_BYTES, "the agent")?.to_owned())
}

fn flag(reader: &mut Reader<'_>, what: &'static str) -> Result<bool, WireError> {
    match reader.byte(what)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(malformed(what, format!("a flag is {other}"))),
    }
}

/// The longest prefix of at most `limit` bytes that ends between characters.
fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

fn malformed(what: &'static str, why: impl Into<String>) -> WireError {
    WireError::Malformed { what, why: why.into() }
}

#[cfg(test)]
mod tests;
