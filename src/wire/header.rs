//! The header at the start of a frame's stream.

use bytes::Bytes;

use super::codec::{Decoded, Reader, WireError, Writer};
use super::field::{self, Fields};
use super::source_id::SourceId;
use crate::frame::{
    Captured, Clock, ContentHash, FrameMeta, FrameName, MediaType, Sequence, UnixNanos,
};

/// The version of the header's layout. It is the first byte of a frame's stream, and tells it from streams of
/// other kinds.
pub const HEADER_VERSION: u8 = 2;

/// The longest header, with its first three bytes. The longest names leave room to spare.
pub const MAX_HEADER_BYTES: usize = 2_048;

/// Version and length, which are there before anything else can be read.
const PREFIX_BYTES: usize = 3;

/// Fields behind the fixed part; see [`field`](super::field) for what their numbers say.
const CAPTURED: u64 = 1;
const REPAIR: u64 = 2;
const MODIFIED: u64 = 3;
const DUE: u64 = 5;

const WHAT: &str = "the frame header";

/// How the repair shards after the body are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairLayout {
    /// Bytes in a shard.
    pub shard_bytes: u32,
    /// Shards after the body.
    pub repair_shards: u32,
}

/// Everything a receiver has to know before the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameHeader {
    /// The source, as numbered by the hello.
    pub source: SourceId,
    /// What the frame is. Its hash is always there.
    pub meta: FrameMeta,
    /// Repair after the body, if any.
    pub repair: Option<RepairLayout>,
}

impl FrameHeader {
    /// The header's bytes, as `docs/wire.md` lays them out.
    ///
    /// # Errors
    /// [`WireError::Malformed`] where the frame has no hash, which only frames of the stop-and-wait
    /// protocol lack.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        let meta = &self.meta;
        let hash = meta.hash.ok_or_else(|| malformed("it has no content hash"))?;
        let mut body = Writer::new();
        body.varint(u64::from(self.source.0)).varint(meta.sequence.0).varint(meta.bytes);
        body.raw(hash.as_bytes()).text(meta.name.as_str()).text(meta.media.as_str());
        if let Some(captured) = meta.captured {
            field::put(&mut body, CAPTURED, |out| put_captured(out, captured));
        }
        if let Some(repair) = self.repair {
            field::put(&mut body, REPAIR, |out| {
                out.varint(repair.shard_bytes.into()).varint(repair.repair_shards.into());
            });
        }
        for (number, time) in [(MODIFIED, meta.modified), (DUE, meta.due)] {
            if let Some(time) = time {
                field::put(&mut body, number, |out| {
                    out.u64(time.0);
                });
            }
        }
        let mut whole = Writer::new();
        let length = body.len() as u16; // names and media types are bounded far below 64 kB
        whole.byte(HEADER_VERSION).raw(&length.to_be_bytes()).raw(&body.finish());
        Ok(whole.finish())
    }

    /// Decodes a header at the start of `bytes`.
    ///
    /// # Errors
    /// [`WireError`] as soon as what is there cannot become a header.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, WireError> {
        let Some(&version) = bytes.first() else { return Ok(Decoded::NeedMore(PREFIX_BYTES)) };
        if version != HEADER_VERSION {
            let (found, spoken) = (u64::from(version), u64::from(HEADER_VERSION));
            return Err(WireError::Version { what: WHAT, found, spoken });
        }
        if bytes.len() < PREFIX_BYTES {
            return Ok(Decoded::NeedMore(PREFIX_BYTES));
        }
        let length = usize::from(u16::from_be_bytes([bytes[1], bytes[2]]));
        let total = PREFIX_BYTES + length;
        if total > MAX_HEADER_BYTES {
            let (value, limit) = (total as u64, MAX_HEADER_BYTES as u64);
            return Err(WireError::OverLimit { what: WHAT, value, limit });
        }
        if bytes.len() < total {
            return Ok(Decoded::NeedMore(total));
        }
        Ok(Decoded::Value(Self::decode_body(&bytes[PREFIX_BYTES..total])?, total))
    }

    fn decode_body(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let source = SourceId(reader.limited(u64::from(u8::MAX), "the source number")? as u8);
        let sequence = Sequence(reader.varint(WHAT)?);
        let length = reader.varint(WHAT)?;
        let hash = Some(ContentHash::from_bytes(reader.array(WHAT)?));
        let name = reader.text(MAX_HEADER_BYTES as u64, "the frame name")?;
        let name = FrameName::parse(name).map_err(|error| malformed(error.to_string()))?;
        let media = reader.text(MAX_HEADER_BYTES as u64, "the media type")?;
        let media = MediaType::parse(media).map_err(|error| malformed(error.to_string()))?;
        let (captured, due, modified) = (None, None, None);
        let meta =
            FrameMeta { sequence, name, bytes: length, hash, captured, due, modified, media };
        let mut header = Self { source, meta, repair: None };
        header.decode_fields(Fields::of(&mut reader, WHAT)?)?;
        Ok(header)
    }

    fn decode_fields(&mut self, mut fields: Fields<'_>) -> Result<(), WireError> {
        while let Some((number, mut content)) = fields.next()? {
            match number {
                CAPTURED => self.meta.captured = captured(&mut content)?,
                REPAIR => self.repair = Some(repair(&mut content)?),
                MODIFIED => self.meta.modified = Some(UnixNanos(content.u64(WHAT)?)),
                DUE => self.meta.due = Some(UnixNanos(content.u64(WHAT)?)),
                other => {
                    fields.unknown(other)?;
                    continue;
                }
            }
            content.end("a field of the frame header")?;
        }
        Ok(())
    }
}

fn put_captured(out: &mut Writer, captured: Captured) {
    out.u64(captured.at.0).byte(captured.clock.number());
    if let Some(uncertainty) = captured.uncertainty {
        out.varint(uncertainty);
    }
}

/// A capture time; none where it was taken from a clock that this version does not know, which says less than
/// nothing: times of unlike clocks must not be compared.
fn captured(content: &mut Reader<'_>) -> Result<Option<Captured>, WireError> {
    let at = UnixNanos(content.u64(WHAT)?);
    let clock = Clock::from_number(content.byte(WHAT)?);
    let uncertainty = match content.remaining() {
        0 => None,
        _ => Some(content.varint(WHAT)?),
    };
    Ok(clock.map(|clock| Captured { at, clock, uncertainty }))
}

fn repair(content: &mut Reader<'_>) -> Result<RepairLayout, WireError> {
    let limit = u64::from(u16::MAX);
    let shard_bytes = content.limited(limit, "the repair shard length")? as u32;
    let repair_shards = content.limited(limit, "the number of repair shards")? as u32;
    Ok(RepairLayout { shard_bytes, repair_shards })
}

fn malformed(why: impl Into<String>) -> WireError {
    WireError::malformed(WHAT, why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> FrameHeader {
        FrameHeader {
            source: SourceId(1),
            meta: FrameMeta {
                sequence: Sequence(300),
                name: FrameName::parse("0.png").unwrap(),
                bytes: 20_000,
                hash: Some(ContentHash::from_bytes([0xab; 32])),
                captured: Some(Captured {
                    at: UnixNanos(0x0102_0304_0506_0708),
                    clock: Clock::Read,
                    uncertainty: None,
                }),
                due: Some(UnixNanos(9)),
                modified: None,
                media: MediaType::parse("image/png").unwrap(),
            },
            repair: None,
        }
    }

    fn fixed() -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 1, 0x41, 0x2c, 0x80, 0, 0x4e, 0x20];
        bytes.extend([0xab; 32]);
        bytes.extend(b"\x050.png\x09image/png");
        bytes
    }

    /// The fixed part of the example with these bytes of fields behind it.
    fn with_fields(fields: &[u8]) -> Vec<u8> {
        let mut bytes = fixed();
        bytes.extend(fields);
        bytes[2] = (bytes.len() - 3) as u8;
        bytes
    }

    #[test]
    fn golden_bytes() {
        let golden = with_fields(&[1, 9, 1, 2, 3, 4, 5, 6, 7, 8, 3, 5, 8, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(&example().encode().unwrap()[..], &golden[..]);
        assert_eq!(FrameHeader::decode(&golden), Ok(Decoded::Value(example(), golden.len())));
    }

    #[test]
    fn every_prefix_needs_more() {
        let bytes = example().encode().unwrap();
        for cut in 0..bytes.len() {
            match FrameHeader::decode(&bytes[..cut]) {
                Ok(Decoded::NeedMore(total)) => assert!(total > cut && total <= bytes.len()),
                other => panic!("{cut} bytes gave {other:?}"),
            }
        }
    }

    #[test]
    fn another_version_is_named() {
        let error = FrameHeader::decode(&[9]).unwrap_err().to_string();
        assert!(error.contains("version 9") && error.contains("version 2"), "{error}");
    }

    #[test]
    fn a_field_that_may_be_skipped_is_and_another_is_refused() {
        let decoded =
            FrameHeader::decode(&with_fields(&[1, 9, 1, 2, 3, 4, 5, 6, 7, 8, 3, 7, 1, 0xff]));
        assert!(matches!(decoded, Ok(Decoded::Value(header, _)) if header.meta.captured.is_some()));
        let error = FrameHeader::decode(&with_fields(&[8, 1, 0xff])).unwrap_err().to_string();
        assert!(error.contains("field 8"), "{error}");
        // A clock of a later version says nothing to this one.
        let decoded = FrameHeader::decode(&with_fields(&[1, 9, 1, 2, 3, 4, 5, 6, 7, 8, 99]));
        assert!(matches!(decoded, Ok(Decoded::Value(header, _)) if header.meta.captured.is_none()));
    }

    #[test]
    fn names_that_leave_the_store_are_refused() {
        let mut bytes = example().encode().unwrap().to_vec();
        let at = bytes.windows(5).position(|window| window == b"0.png").unwrap();
        bytes[at..at + 5].copy_from_slice(b"../xx");
        assert!(FrameHeader::decode(&bytes).is_err());
    }

    #[test]
    fn the_longest_header_fits() {
        let mut header = example();
        let parts = vec!["n".repeat(249); 4];
        header.meta.name = FrameName::parse(&parts.join("/")).unwrap();
        header.meta.media = MediaType::parse(&format!("image/{}", "x".repeat(121))).unwrap();
        header.meta.modified = Some(UnixNanos(u64::MAX));
        header.repair = Some(RepairLayout { shard_bytes: 65_535, repair_shards: 65_535 });
        let bytes = header.encode().unwrap();
        assert_eq!(FrameHeader::decode(&bytes), Ok(Decoded::Value(header, bytes.len())));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = FrameHeader::decode(&bytes);
        }

        #[test]
        fn garbage_in_the_fields_never_panics(fields in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = FrameHeader::decode(&with_fields(&fields));
        }

        #[test]
        fn headers_come_back(
            source in any::<u8>(),
            sequence in 0..super::super::MAX_VARINT,
            bytes in 0..super::super::MAX_VARINT,
            captured in proptest::option::of((any::<u64>(), 0_u8..7, proptest::option::of(0..super::super::MAX_VARINT))),
            due in proptest::option::of(any::<u64>()),
            modified in proptest::option::of(any::<u64>()),
            repair in proptest::option::of((1..=u32::from(u16::MAX), 1..=u32::from(u16::MAX))),
        ) {
            let mut header = example();
            header.source = SourceId(source);
            header.meta.sequence = Sequence(sequence);
            header.meta.bytes = bytes;
            header.meta.captured = captured.and_then(|(at, clock, uncertainty)| {
                Some(Captured { at: UnixNanos(at), clock: Clock::from_number(clock)?, uncertainty })
            });
            header.meta.due = due.map(UnixNanos);
            header.meta.modified = modified.map(UnixNanos);
            header.repair = repair.map(|(shard_bytes, repair_shards)| RepairLayout { shard_bytes, repair_shards });
            let bytes = header.encode().unwrap();
            prop_assert_eq!(FrameHeader::decode(&bytes), Ok(Decoded::Value(header, bytes.len())));
        }
    }
}
