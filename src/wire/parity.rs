//! The header of a stream of parity across frames. Decided, and not in use yet: no end of this version says that it
//! can read it.
//!
//! Small frames have too few packets for repair of their own. Parity of several frames covers their streams'
//! bytes, headers included, one behind the other, cut into symbols of one length: so that it also brings a frame
//! whose only packet, header and all, was lost.

use bytes::Bytes;

use super::codec::{Decoded, Reader, WireError, Writer};
use super::field::Fields;
use super::source_id::SourceId;
use crate::frame::Sequence;

/// The first byte of such a stream. It is odd: who does not know it lets the stream go.
pub const PARITY_STREAM: u8 = 3;

/// The longest header, with its first three bytes.
pub const MAX_PARITY_HEADER_BYTES: usize = 2_048;

/// The most frames that one stream of parity covers.
pub const MAX_PARITY_FRAMES: usize = 64;

const PREFIX_BYTES: usize = 3;
const MAX_SYMBOL_BYTES: u64 = 16_384;
const WHAT: &str = "the parity header";

/// Which frames the symbols behind it cover, and which symbols they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParityHeader {
    /// Bytes in a symbol.
    pub symbol_bytes: u32,
    /// The place of the first repair symbol of this stream among those of these frames.
    pub first_symbol: u64,
    /// The frames in the order in which their bytes are joined, at most [`MAX_PARITY_FRAMES`].
    pub frames: Vec<CoveredFrame>,
}

/// One frame that parity covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoveredFrame {
    /// Whose.
    pub source: SourceId,
    /// Which.
    pub sequence: Sequence,
    /// Bytes of its stream: header and body, without repair.
    pub stream_bytes: u64,
}

impl ParityHeader {
    /// The header's bytes.
    pub fn encode(&self) -> Bytes {
        let mut body = Writer::new();
        body.varint(u64::from(self.symbol_bytes)).varint(self.first_symbol);
        let covered = self.frames.len().min(MAX_PARITY_FRAMES);
        body.varint(covered as u64);
        for frame in &self.frames[..covered] {
            frame.source.put(&mut body);
            body.varint(frame.sequence.0).varint(frame.stream_bytes);
        }
        let mut whole = Writer::new();
        let length = body.len() as u16; // at most 64 frames of 17 bytes
        whole.byte(PARITY_STREAM).raw(&length.to_be_bytes()).raw(&body.finish());
        whole.finish()
    }

    /// Decodes a header at the start of `bytes`.
    ///
    /// # Errors
    /// [`WireError`] as soon as what is there cannot become one.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, WireError> {
        match bytes {
            [first, ..] if *first != PARITY_STREAM => {
                Err(WireError::malformed(WHAT, format!("the stream begins with {first}")))
            }
            [_, high, low, ..] => {
                let total = PREFIX_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
                if total > MAX_PARITY_HEADER_BYTES {
                    let (value, limit) = (total as u64, MAX_PARITY_HEADER_BYTES as u64);
                    return Err(WireError::OverLimit { what: WHAT, value, limit });
                }
                match bytes.get(PREFIX_BYTES..total) {
                    Some(body) => Ok(Decoded::Value(Self::decode_body(body)?, total)),
                    None => Ok(Decoded::NeedMore(total)),
                }
            }
            _ => Ok(Decoded::NeedMore(PREFIX_BYTES)),
        }
    }

    fn decode_body(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let symbol_bytes =
            reader.limited(MAX_SYMBOL_BYTES, "the length of a parity symbol")? as u32;
        if symbol_bytes == 0 {
            return Err(WireError::malformed(WHAT, "symbols of no bytes"));
        }
        let first_symbol = reader.varint(WHAT)?;
        let count = reader.limited(MAX_PARITY_FRAMES as u64, "the number of covered frames")?;
        let mut frames = Vec::new();
        for _ in 0..count {
            let source = SourceId::read(&mut reader)?;
            let sequence = Sequence(reader.varint(WHAT)?);
            frames.push(CoveredFrame { source, sequence, stream_bytes: reader.varint(WHAT)? });
        }
        Fields::of(&mut reader, WHAT)?.skip()?;
        Ok(Self { symbol_bytes, first_symbol, frames })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> ParityHeader {
        let frame = |sequence| CoveredFrame {
            source: SourceId(1),
            sequence: Sequence(sequence),
            stream_bytes: 2_100,
        };
        ParityHeader { symbol_bytes: 1_200, first_symbol: 1, frames: vec![frame(4), frame(5)] }
    }

    #[test]
    fn golden_bytes() {
        let golden = [3, 0, 12, 0x44, 0xb0, 1, 2, 1, 4, 0x48, 0x34, 1, 5, 0x48, 0x34];
        assert_eq!(&example().encode()[..], &golden);
        assert_eq!(ParityHeader::decode(&golden), Ok(Decoded::Value(example(), golden.len())));
        for cut in 0..golden.len() {
            match ParityHeader::decode(&golden[..cut]) {
                Ok(Decoded::NeedMore(total)) => assert!(total > cut && total <= golden.len()),
                other => panic!("{cut} bytes gave {other:?}"),
            }
        }
    }

    #[test]
    fn other_streams_and_impossible_symbols_are_refused() {
        for bad in
            [&[2, 0, 3, 4, 0, 0][..], &[3, 0, 3, 0, 0, 0], &[3, 0xff, 0xff], &[3, 0, 3, 4, 0, 65]]
        {
            assert!(ParityHeader::decode(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ParityHeader::decode(&bytes);
        }
    }
}
