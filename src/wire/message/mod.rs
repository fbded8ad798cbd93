//! The messages of the session: hello, offers, receipts, the account of each run.
//!
//! Each is a varint type, a varint length and a payload of at most [`MAX_MESSAGE_BYTES`]. Over QUIC
//! they follow one another on the session's bidirectional stream, over TCP inside records.

mod notice;
mod offer;
mod opening;
mod receipt;
mod run;
mod standing;
mod trial;

use bytes::Bytes;

use super::codec::{Decoded, Reader, WireError, Writer, peek_varint};
use super::field::{Fields, is_ignorable};
use super::limits::MAX_MESSAGE_BYTES;
pub use notice::Notice;
pub use offer::{Answer, Offer, OfferEntry, Verdict, VerdictRun};
pub use opening::{
    Capabilities, Declined, Hello, JOIN_TOKEN_BYTES, Join, Opened, SESSION_ID_BYTES, SourceHello,
    Unopened, Welcome,
};
pub use receipt::{Receipts, Refusal, SequenceRun};
pub use run::{Drops, EndOfRun, LostFrame, Noted, Totals};
pub use standing::{SourceStanding, Standing};
pub use trial::{Counted, Trial};

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
    /// Sender: every frame of a run is settled.
    EndOfRun(EndOfRun),
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
    /// Receiver: something that concerns no single frame.
    Notice(Notice),
    /// Sender: frames that will not come.
    Drops(Drops),
    /// Sender: how it stands, for whoever looks at the receiver.
    Standing(Standing),
    /// Receiver: drops that are in its ledger.
    Noted(Noted),
    /// First on a connection that joins a session.
    Join(Join),
    /// First from a sender that only measures: its frames are counted and not stored.
    Trial(Trial),
    /// Receiver: what has come in a trial.
    Counted(Counted),
    /// Receiver: a source is open that was not at the welcome.
    Opened(Opened),
    /// Receiver: it will not have a source.
    Declined(Declined),
    /// A message of a later version that may be skipped; its payload is dropped.
    Skipped {
        /// Its type.
        kind: u64,
    },
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
            Self::EndOfRun(_) => 7,
            Self::Totals(_) => 8,
            Self::ClockProbe(_) => 9,
            Self::ClockReply { .. } => 10,
            Self::Notice(_) => 11,
            Self::Drops(_) => 12,
            Self::Standing(_) => 13,
            Self::Noted(_) => 14,
            Self::Join(_) => 16,
            Self::Trial(_) => 18,
            Self::Counted(_) => 20,
            Self::Opened(_) => 22,
            Self::Declined(_) => 24,
            Self::Skipped { kind } => *kind,
        }
    }

    /// The message's name and, where it has one, its source: for people, and short whatever is in it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Welcome(_) => "welcome",
            Self::Offer(_) => "offer",
            Self::Answer(_) => "answer",
            Self::Receipts(_) => "receipts",
            Self::Refusal(_) => "refusal",
            Self::EndOfRun(_) => "end of a run",
            Self::Totals(_) => "totals",
            Self::ClockProbe(_) => "clock probe",
            Self::ClockReply { .. } => "clock reply",
            Self::Notice(_) => "notice",
            Self::Drops(_) => "drops",
            Self::Standing(_) => "standing",
            Self::Noted(_) => "noted drops",
            Self::Join(_) => "join",
            Self::Trial(_) => "trial",
            Self::Counted(_) => "trial's count",
            Self::Opened(_) => "opened source",
            Self::Declined(_) => "declined source",
            Self::Skipped { .. } => "message of a later version",
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
            Self::EndOfRun(end) => end.encode(&mut payload),
            Self::Totals(totals) => totals.encode(&mut payload),
            Self::ClockProbe(asked) => {
                payload.u64(*asked);
            }
            Self::ClockReply { asked, arrived, replied } => {
                payload.u64(*asked).u64(*arrived).u64(*replied);
            }
            Self::Notice(notice) => notice.encode(&mut payload),
            Self::Drops(drops) => drops.encode(&mut payload),
            Self::Standing(standing) => standing.encode(&mut payload),
            Self::Noted(noted) => noted.encode(&mut payload),
            Self::Join(join) => join.encode(&mut payload),
            Self::Trial(trial) => trial.encode(&mut payload),
            Self::Counted(counted) => counted.encode(&mut payload),
            Self::Opened(opened) => opened.encode(&mut payload),
            Self::Declined(declined) => declined.encode(&mut payload),
            Self::Skipped { .. } => {}
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
            7 => Self::EndOfRun(EndOfRun::decode(reader)?),
            8 => Self::Totals(Totals::decode(reader)?),
            9 => {
                let asked = reader.u64("a clock probe")?;
                Fields::of(reader, "a clock probe")?.skip()?;
                Self::ClockProbe(asked)
            }
            10 => {
                let what = "a clock reply";
                let (asked, arrived) = (reader.u64(what)?, reader.u64(what)?);
                let replied = reader.u64(what)?;
                Fields::of(reader, what)?.skip()?;
                Self::ClockReply { asked, arrived, replied }
            }
            11 => Self::Notice(Notice::decode(reader)?),
            12 => Self::Drops(Drops::decode(reader)?),
            13 => Self::Standing(Standing::decode(reader)?),
            14 => Self::Noted(Noted::decode(reader)?),
            16 => Self::Join(Join::decode(reader)?),
            18 => Self::Trial(Trial::decode(reader)?),
            20 => Self::Counted(Counted::decode(reader)?),
            22 => Self::Opened(Opened::decode(reader)?),
            24 => Self::Declined(Declined::decode(reader)?),
            other if is_ignorable(other) => {
                reader.take(reader.remaining(), "a message of a later version")?;
                Self::Skipped { kind: other }
            }
            other => {
                let why = format!(
                    "it is of type {other}, which this version does not know and must not skip"
                );
                return Err(WireError::malformed("a message", why));
            }
        })
    }
}

#[cfg(test)]
mod tests;
