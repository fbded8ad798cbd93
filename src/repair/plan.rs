//! What goes where in a stream, and the limits on it.

use std::ops::Range;

use super::RepairError;

/// The longest body that may carry repair, in bytes. Longer frames are not live ones, and the
/// decoder's working memory, about four times the body, stays below 40 MiB.
pub const MAX_REPAIRED_BODY: u64 = 8 << 20;
/// The longest shard in bytes: the payload of a jumbo packet and to spare.
pub const MAX_SHARD_LEN: usize = 16 << 10;
/// The most shards of one frame, data and repair together: the size of GF(2^16) less one.
pub const MAX_SHARDS: usize = 65_535;

/// Marks the end of a header's copies in a stream that carries repair.
///
/// Both ends must use the same. It should be unpredictable to whoever makes the frames' contents
/// (taken from the session, for example by the TLS exporter): a body that held a forged trailer
/// could otherwise pass for another frame when the real header's packet is lost.
pub type TrailerMark = [u8; 8];

/// Bytes of the header length in the trailer (u16, big endian).
const LENGTH_BYTES: usize = 2;

/// How one body is cut into data shards and how many repair shards follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    body_len: usize,
    shard_len: usize,
    data_shards: usize,
    repair_shards: usize,
}

impl Plan {
    /// Checks a plan, the sender's own as well as one that a peer announced.
    ///
    /// # Errors
    /// [`RepairError::BodyLength`], [`RepairError::ShardLength`] or [`RepairError::ShardCount`].
    /// Nothing is allocated.
    pub fn new(body_len: u64, shard_len: usize, repair_shards: usize) -> Result<Self, RepairError> {
        let body = usize::try_from(body_len)
            .ok()
            .filter(|_| (1..=MAX_REPAIRED_BODY).contains(&body_len))
            .ok_or(RepairError::BodyLength(body_len))?;
        if !(2..=MAX_SHARD_LEN).contains(&shard_len) || !shard_len.is_multiple_of(2) {
            return Err(RepairError::ShardLength(shard_len));
        }
        let data_shards = body.div_ceil(shard_len);
        let fits = (1..=data_shards).contains(&repair_shards)
            && data_shards + repair_shards <= MAX_SHARDS
            && reed_solomon_simd::ReedSolomonEncoder::supports(data_shards, repair_shards);
        if !fits {
            return Err(RepairError::ShardCount { data: data_shards, repair: repair_shards });
        }
        Ok(Self { body_len: body, shard_len, data_shards, repair_shards })
    }

    /// Bytes of the body.
    pub fn body_len(&self) -> usize {
        self.body_len
    }

    /// Bytes of every shard; the last data shard is padded to it with zeros that are not sent.
    pub fn shard_len(&self) -> usize {
        self.shard_len
    }

    /// K: the shards that the body is cut into.
    pub fn data_shards(&self) -> usize {
        self.data_shards
    }

    /// R: the shards that follow the body.
    pub fn repair_shards(&self) -> usize {
        self.repair_shards
    }

    /// Bytes that mending a body holds at most while it lasts, the body among them: the code works on twice the next power
    /// of two of shards where their numbers are inconvenient.
    pub fn mending_bytes(&self) -> u64 {
        let (data, repair) = (self.data_shards, self.repair_shards);
        let high = (repair.next_power_of_two() + data).next_power_of_two();
        let low = (data.next_power_of_two() + repair).next_power_of_two();
        let worked_on = high.max(low) * self.shard_len.next_multiple_of(64);
        (worked_on + (data + 1) * self.shard_len) as u64
    }

    /// Bytes of all repair shards.
    pub fn repair_len(&self) -> usize {
        self.repair_shards * self.shard_len
    }
}

/// Where the parts of one stream are, as its header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// H: bytes of the header, which begins the stream.
    pub header_len: usize,
    /// B: bytes of the body.
    pub body_len: u64,
    /// The repair that follows the body, with a trailer before it and one behind it.
    pub repair: Option<Plan>,
}

impl Layout {
    /// A stream of header and body only.
    pub fn plain(header_len: usize, body_len: u64) -> Self {
        Self { header_len, body_len, repair: None }
    }

    /// A stream of header, body, trailer, repair and trailer.
    pub fn repaired(header_len: usize, plan: Plan) -> Self {
        Self { header_len, body_len: plan.body_len as u64, repair: Some(plan) }
    }

    /// Offsets of the body.
    pub fn body(&self) -> Range<u64> {
        let start = self.header_len as u64;
        start..start.saturating_add(self.body_len)
    }

    /// Offsets of the repair shards; an empty range where there are none.
    pub fn repair(&self) -> Range<u64> {
        let Some(plan) = self.repair else { return self.body().end..self.body().end };
        let start = self.body().end.saturating_add(trailer_len(self.header_len) as u64);
        start..start.saturating_add(plan.repair_len() as u64)
    }

    /// Offset behind the stream's last byte.
    pub fn end(&self) -> u64 {
        let trailer = self.repair.map_or(0, |_| trailer_len(self.header_len) as u64);
        self.repair().end.saturating_add(trailer)
    }

    /// Whether a trailer ends at this offset.
    pub(super) fn has_trailer_to(&self, offset: u64) -> bool {
        self.repair.is_some() && (offset == self.repair().start || offset == self.end())
    }
}

/// Bytes of the trailer of a header of `header_len` bytes.
pub const fn trailer_len(header_len: usize) -> usize {
    header_len + LENGTH_BYTES + size_of::<TrailerMark>()
}

/// What stands before and behind the repair: the header again, so that the loss of its packet does not
/// cost the frame, and what lets a reader find it from its end.
///
/// # Errors
/// [`RepairError::HeaderTooLong`] above 65,535 bytes.
pub fn trailer(header: &[u8], mark: TrailerMark) -> Result<Vec<u8>, RepairError> {
    let length = u16::try_from(header.len())
        .map_err(|_| RepairError::HeaderTooLong { limit: u16::MAX.into() })?;
    let mut bytes = Vec::with_capacity(trailer_len(header.len()));
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&mark);
    Ok(bytes)
}

/// The length of the header whose trailer ends in `tail`, the last 10 bytes of what may be one.
pub(super) fn header_len_in(tail: [u8; 10], mark: TrailerMark) -> Option<usize> {
    let (length, found) = tail.split_at(LENGTH_BYTES);
    (found == mark).then(|| usize::from(u16::from_be_bytes([length[0], length[1]])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits_hold() {
        assert_eq!(Plan::new(0, 176, 1), Err(RepairError::BodyLength(0)));
        assert!(Plan::new(MAX_REPAIRED_BODY + 1, 352, 1).is_err());
        assert!(Plan::new(u64::MAX, 352, 1).is_err());
        assert!(Plan::new(MAX_REPAIRED_BODY, 352, 1).is_ok());
        for shard_len in [0, 1, 177, MAX_SHARD_LEN + 2, usize::MAX] {
            assert_eq!(Plan::new(60_000, shard_len, 1), Err(RepairError::ShardLength(shard_len)));
        }
        for repair in [0, 342, usize::MAX] {
            assert!(Plan::new(60_000, 176, repair).is_err(), "{repair} repair shards were taken");
        }
        assert!(Plan::new(60_000, 176, 341).is_ok());
        // 8 MiB in shards of 2 bytes are more shards than the field has elements.
        assert!(Plan::new(MAX_REPAIRED_BODY, 2, 1).is_err());
    }

    #[test]
    fn a_trailer_tells_its_header() {
        let mark = *b"12345678";
        let bytes = trailer(b"header", mark).unwrap();
        assert_eq!(bytes, b"header\x00\x0612345678");
        assert_eq!(bytes.len(), trailer_len(6));
        let tail = bytes[bytes.len() - 10..].try_into().unwrap();
        assert_eq!(header_len_in(tail, mark), Some(6));
        assert_eq!(header_len_in(tail, *b"12345679"), None);
        assert!(trailer(&[0; 65_536], mark).is_err());
    }

    proptest! {
        #[test]
        fn any_numbers_make_a_sound_plan_or_an_error(
            body in any::<u64>(), small in 0u64..100_000, shard in 0usize..20_000, repair: usize,
        ) {
            for body in [body, small] {
                for repair in [repair, repair % 300] {
                    if let Ok(plan) = Plan::new(body, shard, repair) {
                        prop_assert!(plan.data_shards() * plan.shard_len() >= plan.body_len());
                        prop_assert!((plan.data_shards() - 1) * plan.shard_len() < plan.body_len());
                        prop_assert!(plan.repair_len() < 2 * MAX_REPAIRED_BODY as usize);
                        prop_assert!(Layout::repaired(100, plan).end() > body);
                    }
                }
            }
        }

        #[test]
        fn announced_lengths_do_not_overflow(header: usize, body: u64) {
            let layout = Layout::plain(header, body);
            prop_assert!(layout.end() >= body);
        }
    }
}
