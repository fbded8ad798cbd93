//! What only a sender knows while it sends: what its link is like, and what it has not got rid of.

use std::time::Duration;

use crate::wire::codec::{Reader, WireError, Writer};
use crate::wire::field::Fields;
use crate::wire::limits::MAX_SOURCES;
use crate::wire::source_id::SourceId;

/// How a sender stands, told now and then for whoever looks at the receiver. Nothing depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// The round trip, to microseconds; zero where it is not known.
    pub rtt: Duration,
    /// Packets sent in this session, and of these lost; both zero where they are not counted.
    pub packets_sent: u64,
    /// See [`packets_sent`](Self::packets_sent).
    pub packets_lost: u64,
    /// Bytes sent, of everything.
    pub bytes_sent: u64,
    /// Bytes of forward repair among these.
    pub repair_bytes: u64,
    /// How far the receiver's clock is ahead, in nanoseconds, where that is known.
    pub clock_ahead: Option<i64>,
    /// Sources of the session, each at most once.
    pub sources: Vec<SourceStanding>,
}

/// How one source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceStanding {
    /// Which.
    pub source: SourceId,
    /// Frames of its run so far.
    pub captured: u64,
    /// Frames of these that are settled: stored, stored before, or given up.
    pub settled: u64,
    /// Age of the oldest frame that is not, to milliseconds, where that is known.
    pub lag: Option<Duration>,
}

const WHAT: &str = "a standing";

/// Flags.
const HAS_CLOCK: u8 = 1;
const HAS_LAG: u8 = 1;

impl Standing {
    pub(super) fn encode(&self, out: &mut Writer) {
        out.byte(if self.clock_ahead.is_some() { HAS_CLOCK } else { 0 });
        let rtt = u64::try_from(self.rtt.as_micros()).unwrap_or(u64::MAX);
        for number in
            [rtt, self.packets_sent, self.packets_lost, self.bytes_sent, self.repair_bytes]
        {
            out.varint(number);
        }
        if let Some(ahead) = self.clock_ahead {
            out.raw(&ahead.to_be_bytes());
        }
        out.varint(self.sources.len() as u64);
        for source in &self.sources {
            source.source.put(out);
            out.byte(if source.lag.is_some() { HAS_LAG } else { 0 });
            out.varint(source.captured).varint(source.settled);
            if let Some(lag) = source.lag {
                out.varint(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let has_clock = flag(reader)?;
        let rtt = Duration::from_micros(reader.varint(WHAT)?);
        let [packets_sent, packets_lost, bytes_sent, repair_bytes] = numbers(reader)?;
        let clock_ahead =
            if has_clock { Some(i64::from_be_bytes(reader.array(WHAT)?)) } else { None };
        let count = reader.limited(MAX_SOURCES as u64, "the number of sources of a standing")?;
        let sources =
            (0..count).map(|_| SourceStanding::decode(reader)).collect::<Result<_, _>>()?;
        Fields::of(reader, WHAT)?.skip()?;
        Ok(Self { rtt, packets_sent, packets_lost, bytes_sent, repair_bytes, clock_ahead, sources })
    }
}

impl SourceStanding {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let source = SourceId::read(reader)?;
        let has_lag = flag(reader)?;
        let [captured, settled] = numbers(reader)?;
        let lag = if has_lag { Some(Duration::from_millis(reader.varint(WHAT)?)) } else { None };
        Ok(Self { source, captured, settled, lag })
    }
}

/// The lowest bit of a byte of flags; of others the upper four are ignored.
fn flag(reader: &mut Reader<'_>) -> Result<bool, WireError> {
    match reader.byte(WHAT)? & 0x0f {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(WireError::malformed(WHAT, format!("unknown flags {other:#04x}"))),
    }
}

fn numbers<const N: usize>(reader: &mut Reader<'_>) -> Result<[u64; N], WireError> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = reader.varint(WHAT)?;
    }
    Ok(numbers)
}
