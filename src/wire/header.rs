//! The header at the start of a frame's stream.

use bytes::Bytes;

use super::codec::{Decoded, Reader, WireError, Writer};
use super::message::SourceId;
use crate::frame::{ContentHash, FrameMeta, FrameName, MediaType, Sequence, UnixNanos};

/// The version of the header's layout.
pub const HEADER_VERSION: u8 = 1;

/// The longest header, with its first three bytes. The longest names leave room to spare.
pub const MAX_HEADER_BYTES: usize = 1_024;

/// Version and length, which are there before anything else can be read.
const PREFIX_BYTES: usize = 3;

const HAS_CAPTURED: u8 = 1;
const HAS_MODIFIED: u8 = 2;
const HAS_REPAIR: u8 = 4;
const KNOWN_FLAGS: u8 = HAS_CAPTURED | HAS_MODIFIED | HAS_REPAIR;

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
        let hash = self.meta.hash.ok_or_else(|| malformed("it has no content hash"))?;
        let mut body = Writer::new();
        body.byte(self.flags())
            .varint(u64::from(self.source.0))
            .varint(self.meta.sequence.0)
            .varint(self.meta.bytes)
            .raw(hash.as_bytes());
        for time in [self.meta.captured, self.meta.modified].into_iter().flatten() {
            body.u64(time.0);
        }
        if let Some(repair) = self.repair {
            body.varint(u64::from(repair.shard_bytes)).varint(u64::from(repair.repair_shards));
        }
        body.text(self.meta.name.as_str()).text(self.meta.media.as_str());
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
        let flags = reader.byte(WHAT)?;
        if flags & !KNOWN_FLAGS != 0 {
            return Err(malformed(format!("unknown flags {flags:#04x}")));
        }
        let source = SourceId(reader.limited(u64::from(u8::MAX), "the source number")? as u8);
        let sequence = Sequence(reader.varint(WHAT)?);
        let length = reader.varint(WHAT)?;
        let hash = ContentHash::from_bytes(reader.array(WHAT)?);
        let captured = optional_time(&mut reader, flags & HAS_CAPTURED)?;
        let modified = optional_time(&mut reader, flags & HAS_MODIFIED)?;
        let repair = match flags & HAS_REPAIR {
            0 => None,
            _ => Some(decode_repair(&mut reader)?),
        };
        let name = reader.text(MAX_HEADER_BYTES as u64, "the frame name")?;
        let name = FrameName::parse(name).map_err(|error| malformed(error.to_string()))?;
        let media = reader.text(MAX_HEADER_BYTES as u64, "the media type")?;
        let media = MediaType::parse(media).map_err(|error| malformed(error.to_string()))?;
        reader.end(WHAT)?;
        let hash = Some(hash);
        let meta = FrameMeta { sequence, name, bytes: length, hash, captured, modified, media };
        Ok(Self { source, meta, repair })
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.meta.captured.is_some() {
            flags |= HAS_CAPTURED;
        }
        if self.meta.modified.is_some() {
            flags |= HAS_MODIFIED;
        }
        if self.repair.is_some() {
            flags |= HAS_REPAIR;
        }
        flags
    }
}

fn decode_repair(reader: &mut Reader<'_>) -> Result<RepairLayout, WireError> {
    let limit = u64::from(u16::MAX);
    let shard_bytes = reader.limited(limit, "the repair shard length")? as u32;
    let repair_shards = reader.limited(limit, "the number of repair shards")? as u32;
    Ok(RepairLayout { shard_bytes, repair_shards })
}

fn optional_time(reader: &mut Reader<'_>, present: u8) -> Result<Option<UnixNanos>, WireError> {
    if present == 0 {
        return Ok(None);
    }
    Ok(Some(UnixNanos(reader.u64(WHAT)?)))
}

fn malformed(why: impl Into<String>) -> WireError {
    WireError::Malformed { what: WHAT, why: why.into() }
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
                captured: Some(UnixNanos(0x0102_0304_0506_0708)),
                modified: None,
                media: MediaType::parse("image/png").unwrap(),
            },
            repair: None,
        }
    }

    #[test]
    fn golden_bytes() {
        let mut golden = vec![1, 0, 65, HAS_CAPTURED, 1, 0x41, 0x2c, 0x80, 0, 0x4e, 0x20];
        golden.extend([0xab; 32]);
        golden.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        golden.extend(b"\x050.png\x09image/png");
        golden[2] = (golden.len() - 3) as u8;
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
        assert!(error.contains("version 9") && error.contains("version 1"), "{error}");
    }

    #[test]
    fn names_that_leave_the_store_are_refused() {
        let mut bytes = example().encode().unwrap().to_vec();
        let at = bytes.windows(5).position(|window| window == b"0.png").unwrap();
        bytes[at..at + 5].copy_from_slice(b"../xx");
        assert!(FrameHeader::decode(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = FrameHeader::decode(&bytes);
        }

        #[test]
        fn headers_come_back(
            source in any::<u8>(),
            sequence in 0..super::super::MAX_VARINT,
            length in 0..super::super::MAX_VARINT,
            captured in any::<Option<u64>>(),
            modified in any::<Option<u64>>(),
            repair in proptest::option::of((0..65_536_u32, 0..65_536_u32)),
            name in "[a-z0-9 ]{1,64}\\.jpg",
        ) {
            let mut header = example();
            header.source = SourceId(source);
            header.meta.sequence = Sequence(sequence);
            header.meta.bytes = length;
            header.meta.captured = captured.map(UnixNanos);
            header.meta.modified = modified.map(UnixNanos);
            header.meta.name = FrameName::parse(&name).unwrap();
            header.repair = repair
                .map(|(shard_bytes, repair_shards)| RepairLayout { shard_bytes, repair_shards });
            let bytes = header.encode().unwrap();
            let length = bytes.len();
            prop_assert_eq!(FrameHeader::decode(&bytes), Ok(Decoded::Value(header, length)));
        }
    }
}
