//! The bytes of a stream that have arrived, in whatever order they came.

use std::collections::BTreeMap;
use std::ops::Range;

use super::RepairError;
use crate::frame::Body;

/// Pieces that any stream may be in, however little has arrived.
const SPARE_PIECES: usize = 64;
/// Bytes received that earn one more piece. A lost packet makes one piece more and packets carry
/// above 1,000 bytes, so only a stream made of crumbs comes near this.
const BYTES_PER_PIECE: u64 = 256;

/// Received bytes, each held once. Memory is at most a quarter more than the bytes received, and no more than the stream
/// has where that is known, plus a small constant for each piece, and pieces are limited; an offset alone costs nothing.
///
/// Chunks are copied: a chunk that quinn hands out keeps its whole datagram buffer alive, which a
/// peer sending crumbs could use to hold a thousand times what it sent.
#[derive(Debug)]
pub(super) struct Pieces {
    /// What has arrived without a hole from offset 0.
    prefix: Body,
    /// Pieces behind the first hole by offset; they do not overlap, but may touch.
    later: BTreeMap<u64, Vec<u8>>,
    received: u64,
    /// What the last insertion brought, in order.
    fresh: Vec<Range<u64>>,
    /// Where the stream ends.
    stream_end: u64,
}

impl Default for Pieces {
    fn default() -> Self {
        let (prefix, later, fresh) = (Body::default(), BTreeMap::new(), Vec::new());
        Self { prefix, later, received: 0, fresh, stream_end: u64::MAX }
    }
}

impl Pieces {
    /// The stream is known to end there.
    pub(super) fn ends_at(&mut self, stream_end: u64) {
        self.stream_end = stream_end;
    }

    /// Takes in `bytes` at `offset`; what is there already is left as it is.
    /// The caller has checked that `offset + bytes.len()` does not overflow.
    pub(super) fn insert(&mut self, offset: u64, bytes: &[u8]) -> Result<(), RepairError> {
        let end = offset + bytes.len() as u64;
        let mut cursor = offset.max(self.prefix.len() as u64);
        self.fresh.clear();
        while cursor < end {
            if let Some((start, piece)) = self.piece_with(cursor) {
                cursor = start + piece.len() as u64;
                continue;
            }
            let gap_end = self.later.range(cursor..).next().map_or(end, |(&start, _)| start);
            let gap = cursor..gap_end.min(end);
            let fresh = &bytes[(gap.start - offset) as usize..(gap.end - offset) as usize];
            self.place(gap.start, fresh);
            cursor = gap.end;
            self.fresh.push(gap);
        }
        self.join_prefix();
        self.check_scatter()
    }

    /// What has arrived without a hole from offset 0.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Gives the prefix away; nothing else can be asked afterwards.
    pub(super) fn take_prefix(&mut self) -> Body {
        self.later.clear();
        std::mem::take(&mut self.prefix)
    }

    /// Has the prefix go on in other memory, which has room for all that may come.
    pub(super) fn move_prefix(&mut self, to: Body) {
        self.prefix.move_to(to);
    }

    /// Bytes received, each counted once.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The ranges without a hole, as long as possible, in order.
    pub(super) fn runs(&self) -> Vec<Range<u64>> {
        let prefix = 0..self.prefix.len() as u64;
        let mut runs: Vec<Range<u64>> = Vec::new();
        let later = self.later.iter().map(|(&start, piece)| start..start + piece.len() as u64);
        for piece in std::iter::once(prefix).chain(later).filter(|piece| !piece.is_empty()) {
            match runs.last_mut() {
                Some(run) if run.end == piece.start => run.end = piece.end,
                _ => runs.push(piece),
            }
        }
        runs
    }

    /// The ranges that were not there before the last insertion, in order.
    pub(super) fn fresh(&self) -> &[Range<u64>] {
        &self.fresh
    }

    /// Behind the last byte seen of the stream.
    pub(super) fn end(&self) -> u64 {
        let last = self.later.last_key_value();
        last.map_or(self.prefix.len() as u64, |(start, piece)| start + piece.len() as u64)
    }

    /// Whether all of `range` is there. Looks at the pieces in it up to the first hole.
    pub(super) fn has(&self, range: Range<u64>) -> bool {
        let mut at = range.start;
        while at < range.end {
            match self.bytes_at(at).len() as u64 {
                0 => return false,
                there => at += there,
            }
        }
        true
    }

    /// Copies the bytes from `start` on; `false` if some are missing.
    pub(super) fn copy(&self, start: u64, out: &mut [u8]) -> bool {
        let mut filled = 0;
        while filled < out.len() {
            let rest = self.bytes_at(start + filled as u64);
            if rest.is_empty() {
                return false;
            }
            let count = rest.len().min(out.len() - filled);
            out[filled..filled + count].copy_from_slice(&rest[..count]);
            filled += count;
        }
        true
    }

    /// The bytes of `range` and what touches it without a hole, up to `reach` bytes on either side, and the
    /// offset at which they begin; none of them if the range has a hole itself.
    pub(super) fn around(&self, range: Range<u64>, reach: u64) -> (u64, Vec<u8>) {
        let (lowest, highest) =
            (range.start.saturating_sub(reach), range.end.saturating_add(reach));
        let (mut start, mut end) = (range.start, range.end);
        while start > lowest
            && let Some((piece, _)) = self.piece_with(start - 1)
        {
            start = piece.max(lowest);
        }
        while end < highest && !self.bytes_at(end).is_empty() {
            end = (end + self.bytes_at(end).len() as u64).min(highest);
        }
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
        match self.copy(start, &mut bytes) {
            true => (start, bytes),
            false => (start, Vec::new()),
        }
    }

    /// The piece that has `offset`, and where it begins.
    fn piece_with(&self, offset: u64) -> Option<(u64, &[u8])> {
        if offset < self.prefix.len() as u64 {
            return Some((0, &self.prefix));
        }
        let (&start, piece) = self.later.range(..=offset).next_back()?;
        (start + piece.len() as u64 > offset).then_some((start, piece))
    }

    /// The bytes from `offset` to the end of their piece; none if there is a hole.
    fn bytes_at(&self, offset: u64) -> &[u8] {
        self.piece_with(offset).map_or(&[], |(start, piece)| &piece[(offset - start) as usize..])
    }

    /// Puts bytes into a hole, at the end of the piece before it if they touch.
    fn place(&mut self, start: u64, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        if start == self.prefix.len() as u64 {
            extend(&mut self.prefix, bytes, self.stream_end);
            return;
        }
        match self.later.range_mut(..start).next_back() {
            Some((&before, piece)) if before + piece.len() as u64 == start => {
                extend(piece, bytes, self.stream_end.saturating_sub(before));
            }
            _ => {
                self.later.insert(start, bytes.to_vec());
            }
        }
    }

    /// Moves the pieces that now touch the prefix into it. Every byte moves once at most.
    fn join_prefix(&mut self) {
        while let Some(piece) = self.later.remove(&(self.prefix.len() as u64)) {
            extend(&mut self.prefix, &piece, self.stream_end);
        }
    }

    /// Into how many pieces behind the first hole it is cut.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.later.len()
    }

    fn check_scatter(&self) -> Result<(), RepairError> {
        let earned = usize::try_from(self.received / BYTES_PER_PIECE).unwrap_or(usize::MAX);
        if self.later.len() > earned.saturating_add(SPARE_PIECES) {
            let pieces = self.later.len();
            return Err(RepairError::TooScattered { pieces, received: self.received });
        }
        Ok(())
    }
}

/// Adds bytes at the end of others, in memory for a quarter more and no more than `most`: what comes is counted, and what
/// is held for it must not be much more. Each byte is moved some four times at most.
fn extend(piece: &mut Vec<u8>, bytes: &[u8], most: u64) {
    let needed = piece.len() + bytes.len();
    if needed > piece.capacity() {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let wanted = (needed + needed / 4).min(most).max(needed);
        piece.reserve_exact(wanted - piece.len());
    }
    piece.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn runs_join_pieces_that_touch() {
        let mut pieces = Pieces::default();
        for (offset, bytes) in [(20, "uvwx"), (10, "kl"), (16, "qrst"), (0, "ab")] {
            pieces.insert(offset, bytes.as_bytes()).unwrap();
        }
        assert_eq!(pieces.runs(), [0..2, 10..12, 16..24]);
        assert_eq!(pieces.end(), 24);
        assert!(pieces.has(16..24) && !pieces.has(15..24) && !pieces.has(16..25));
        let mut out = [0; 8];
        assert!(pieces.copy(16, &mut out));
        assert_eq!(&out, b"qrstuvwx");
        assert!(!pieces.copy(15, &mut out));
        assert!(!pieces.copy(17, &mut out));
        assert_eq!(pieces.around(18..19, 100), (16, b"qrstuvwx".to_vec()));
        assert_eq!(pieces.around(18..19, 3), (16, b"qrstuv".to_vec()));
        assert_eq!(pieces.around(1..2, 0), (1, b"b".to_vec()));
        assert_eq!(pieces.around(11..13, 5).1, b"");
    }

    #[test]
    fn crumbs_are_refused_before_they_cost_much() {
        let mut pieces = Pieces::default();
        let refused = (0..10_000u64).find(|&index| pieces.insert(index * 2 + 1, b"x").is_err());
        assert_eq!(refused, Some(SPARE_PIECES as u64));
    }

    #[test]
    fn little_is_held_beside_what_has_come() {
        let mut pieces = Pieces::default();
        let held = |pieces: &Pieces| {
            let later: usize = pieces.later.values().map(Vec::capacity).sum();
            pieces.prefix.capacity() + later
        };
        for at in (0..100_000).step_by(1_000) {
            pieces.insert(at, &[1; 1_000]).unwrap();
            pieces.insert(200_000 + at, &[1; 1_000]).unwrap();
            let received = pieces.received() as usize;
            assert!(held(&pieces) <= received + received / 4, "{received}: {}", held(&pieces));
        }
        // And never more than the stream has, where that is known.
        let mut pieces = Pieces::default();
        pieces.ends_at(100_010);
        for at in (0..100_000).step_by(1_000) {
            pieces.insert(at, &[1; 1_000]).unwrap();
        }
        pieces.insert(100_000, &[1; 10]).unwrap();
        assert_eq!(held(&pieces), 100_010);
    }

    #[test]
    fn a_byte_far_away_costs_a_byte() {
        let mut pieces = Pieces::default();
        pieces.insert(1 << 60, b"x").unwrap();
        let held: usize = pieces.later.values().map(Vec::capacity).sum();
        assert!(pieces.prefix.capacity() == 0 && held <= 8, "{held} bytes");
    }

    proptest! {
        #[test]
        fn any_order_and_overlap_give_the_same_bytes(
            chunks in proptest::collection::vec((0usize..400, 0usize..80), 0..60),
        ) {
            let stream: Vec<u8> = (0..480).map(|index| (index % 251) as u8).collect();
            let mut pieces = Pieces::default();
            let mut expected = vec![false; stream.len()];
            for (start, len) in chunks {
                pieces.insert(start as u64, &stream[start..start + len]).unwrap();
                for fresh in pieces.fresh() {
                    let fresh = fresh.start as usize..fresh.end as usize;
                    prop_assert!(expected[fresh.clone()].iter().all(|&had| !had));
                    expected[fresh].fill(true);
                }
                prop_assert!(expected[start..start + len].iter().all(|&have| have));
            }
            prop_assert_eq!(pieces.received(), expected.iter().filter(|&&have| have).count() as u64);
            let mut seen = vec![false; stream.len()];
            for run in pieces.runs() {
                let mut out = vec![0; (run.end - run.start) as usize];
                prop_assert!(pieces.copy(run.start, &mut out));
                let run = run.start as usize..run.end as usize;
                prop_assert_eq!(&out, &stream[run.clone()]);
                seen[run].fill(true);
            }
            prop_assert_eq!(pieces.end(), pieces.runs().last().map_or(0, |run| run.end));
            prop_assert_eq!(seen, expected);
        }
    }
}
