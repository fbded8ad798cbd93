//! The receiver's side: one frame's stream, read unordered, until its body is there.

use std::ops::Range;

use bytes::Bytes;

use super::code::Mending;
use super::pieces::Pieces;
use super::plan::header_len_in;
use super::{
    Layout, MAX_REPAIRED_BODY, MAX_SHARD_LEN, Plan, RepairError, TrailerMark, trailer_len,
};
use crate::frame::Spares;

/// Marks looked at for each chunk. A stream has two, and only a peer that plays games has more.
const MOST_MARKS: usize = 4;

/// Bytes of a stream that have come before memory is taken for all of it: a peer that announces much and sends little
/// holds none of what others could use.
const LEAST_BEGUN: usize = 64 * 1_024;

/// What the receiver takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a header.
    pub max_header: usize,
    /// Bytes of a body.
    pub max_body: u64,
}

/// What the wire layer makes of bytes that should begin with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// A header may be there, but not all of it yet.
    NeedMore,
    /// No header begins like this.
    Bad,
    /// A header, and the layout that it announces.
    Found(Layout),
}

/// What a chunk led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Go on reading.
    NeedMore,
    /// Enough has come: [`Assembly::mend`] makes the body of it, for which it needs memory.
    Enough {
        /// How much at most, the body included and what has come not.
        bytes: u64,
    },
    /// The body is there. Its hash is for the caller to check.
    Ready(Arrival),
}

/// A body, and how it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The body, as long as the header announced.
    pub body: Bytes,
    /// Data shards that did not arrive and were computed; 0 if the whole body arrived.
    pub mended_shards: usize,
}

/// Puts one frame together from chunks in any order, with duplicates and overlaps.
///
/// Memory follows the bytes that arrived (at most a quarter more), never an offset or a length that a peer merely
/// announced. What mending takes beside it, about four times the body, is told before.
///
/// After each [`accept`](Self::accept), [`header`](Self::header) tells whether the header is
/// known, so that a frame can be refused before its body is there. If the hash of a
/// [`Progress::Ready`] body with mended shards is wrong, call
/// [`distrust_repair`](Self::distrust_repair) and read on: the stream's own retransmission then
/// brings the whole body.
#[derive(Debug)]
pub struct Assembly {
    limits: Limits,
    mark: TrailerMark,
    pieces: Pieces,
    /// Where memory is to be had for a long stream, until it was asked for.
    spares: Option<Spares>,
    found: Option<Found>,
    trust_repair: bool,
    delivered: bool,
}

/// The header and what it announces.
#[derive(Debug)]
struct Found {
    header: Bytes,
    layout: Layout,
    in_trailer: bool,
    whole: Whole,
}

/// How many shards are whole, so that not all pieces have to be gone through for each chunk.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Whole {
    data: usize,
    repair: usize,
}

impl Assembly {
    /// An empty one. `mark` is the sender's.
    pub fn new(limits: Limits, mark: TrailerMark) -> Self {
        Self {
            limits,
            mark,
            pieces: Pieces::default(),
            spares: None,
            found: None,
            trust_repair: true,
            delivered: false,
        }
    }

    /// The same, with memory for long streams from `spares` where it has some.
    pub(crate) fn with_spares(limits: Limits, mark: TrailerMark, spares: Spares) -> Self {
        Self { spares: Some(spares), ..Self::new(limits, mark) }
    }

    /// Takes in one chunk.
    ///
    /// `parse` is asked, only until the header is known, what bytes beginning with it announce; a
    /// [`Plan`] it returns has passed [`Plan::new`]. Once a body was delivered, further chunks give
    /// [`Progress::NeedMore`].
    ///
    /// # Errors
    /// Any of the stream's own in [`RepairError`]; the stream should then be refused.
    pub fn accept(
        &mut self,
        offset: u64,
        chunk: &[u8],
        parse: impl Fn(&[u8]) -> Head,
    ) -> Result<Progress, RepairError> {
        if self.delivered {
            return Ok(Progress::NeedMore);
        }
        self.check_end(offset.saturating_add(chunk.len() as u64))?;
        self.find_room();
        self.pieces.insert(offset, chunk)?;
        if let Some(found) = &mut self.found {
            found.whole.look_again(&found.layout, &self.pieces);
        } else {
            let arrived = offset..offset + chunk.len() as u64;
            self.found = self.find_header(arrived, parse)?;
            self.check_end(self.pieces.end())?;
            if let Some(found) = &self.found {
                self.pieces.ends_at(found.layout.end());
            }
        }
        Ok(self.deliver())
    }

    /// The same for whoever has the memory: what is enough is mended at once.
    ///
    /// # Errors
    /// As of [`accept`](Self::accept).
    pub fn accept_and_mend(
        &mut self,
        offset: u64,
        chunk: &[u8],
        parse: impl Fn(&[u8]) -> Head,
    ) -> Result<Progress, RepairError> {
        Ok(match self.accept(offset, chunk, parse)? {
            Progress::Enough { .. } => self.mend(),
            progress => progress,
        })
    }

    /// Makes the body of what has come, after [`Progress::Enough`]. Takes about 1 ms for a frame of 60 kB, 12 ms for 1 MB.
    pub fn mend(&mut self) -> Progress {
        let Some(Found { layout, whole, .. }) = &self.found else { return Progress::NeedMore };
        let (layout, whole) = (*layout, *whole);
        if self.delivered {
            return Progress::NeedMore;
        }
        let arrival =
            self.copied_body(&layout, whole).or_else(|| self.repaired_body(&layout, whole));
        self.delivers(arrival)
    }

    /// The header's bytes, as soon as they are known.
    pub fn header(&self) -> Option<&Bytes> {
        self.found.as_ref().map(|found| &found.header)
    }

    /// What the header announced, as soon as it is known.
    pub fn layout(&self) -> Option<Layout> {
        self.found.as_ref().map(|found| found.layout)
    }

    /// Whether the header came from the trailer because its first packet was late or lost.
    pub fn header_from_trailer(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.in_trailer)
    }

    /// Bytes that have arrived, for the caller's memory budget.
    pub fn received(&self) -> u64 {
        self.pieces.received()
    }

    /// The body that repair gave was wrong: from now on only a whole body counts.
    pub fn distrust_repair(&mut self) {
        self.trust_repair = false;
        self.delivered = false;
    }

    /// To be asked when the stream has ended.
    ///
    /// # Errors
    /// [`RepairError::Truncated`] if no body was delivered: the stream was shorter than its
    /// header announced.
    pub fn finish(&self) -> Result<(), RepairError> {
        match self.delivered {
            true => Ok(()),
            false => Err(RepairError::Truncated { received: self.pieces.received() }),
        }
    }

    /// Has a long stream go on in memory that was used before, once so much of it is there that it means it.
    fn find_room(&mut self) {
        if self.pieces.prefix().len() < LEAST_BEGUN {
            return;
        }
        let Some((found, spares)) = self.found.as_ref().zip(self.spares.take()) else { return };
        let length = usize::try_from(found.layout.end()).unwrap_or(usize::MAX);
        if let Some(room) = spares.take(length) {
            self.pieces.move_prefix(room);
        }
    }

    fn check_end(&self, reached: u64) -> Result<(), RepairError> {
        let end = match &self.found {
            Some(found) => found.layout.end(),
            None => self.longest_stream(),
        };
        if reached > end {
            return Err(RepairError::BeyondEnd { reached, end });
        }
        Ok(())
    }

    /// The longest stream that any header can announce here.
    fn longest_stream(&self) -> u64 {
        let header = self.limits.max_header;
        let trailers = 2 * trailer_len(header);
        // Repair shards are at most as many as data shards, of which one can be padding mostly.
        let repaired = 2 * MAX_REPAIRED_BODY.min(self.limits.max_body) + MAX_SHARD_LEN as u64;
        let plain = self.limits.max_body;
        repaired.max(plain).saturating_add((header + trailers) as u64)
    }

    fn find_header(
        &self,
        arrived: Range<u64>,
        parse: impl Fn(&[u8]) -> Head,
    ) -> Result<Option<Found>, RepairError> {
        let found = match self.header_at_start(&parse)? {
            None => self.header_in_trailer(arrived, &parse),
            found => found,
        };
        if let Some(Found { layout, .. }) = &found
            && layout.body_len > self.limits.max_body
        {
            let (announced, limit) = (layout.body_len, self.limits.max_body);
            return Err(RepairError::BodyTooLong { announced, limit });
        }
        Ok(found.map(|found| Found { whole: Whole::of(&found.layout, &self.pieces), ..found }))
    }

    fn header_at_start(&self, parse: impl Fn(&[u8]) -> Head) -> Result<Option<Found>, RepairError> {
        let prefix = self.pieces.prefix();
        if prefix.is_empty() {
            return Ok(None);
        }
        let limit = self.limits.max_header;
        let start = &prefix[..prefix.len().min(limit)];
        match parse(start) {
            Head::Found(layout) => {
                let header = start.get(..layout.header_len).ok_or(RepairError::BadHeader)?;
                let header = Bytes::copy_from_slice(header);
                Ok(Some(Found { header, layout, in_trailer: false, whole: Whole::default() }))
            }
            Head::Bad => Err(RepairError::BadHeader),
            Head::NeedMore if prefix.len() >= limit => Err(RepairError::HeaderTooLong { limit }),
            Head::NeedMore => Ok(None),
        }
    }

    /// Looks for a trailer in what `arrived` and what touches it.
    fn header_in_trailer(
        &self,
        arrived: Range<u64>,
        parse: impl Fn(&[u8]) -> Head,
    ) -> Option<Found> {
        let longest = trailer_len(self.limits.max_header) as u64;
        let (start, bytes) = self.pieces.around(arrived, longest);
        let marks = bytes.windows(self.mark.len()).enumerate();
        marks
            .filter(|(_, window)| *window == self.mark)
            .take(MOST_MARKS)
            .find_map(|(at, _)| self.trailer_at(start, &bytes[..at + self.mark.len()], &parse))
    }

    /// The header of the trailer that `bytes`, from offset `start` of the stream, may end with. It may
    /// also be a part of the body, so nothing that is not right is an error.
    fn trailer_at(&self, start: u64, bytes: &[u8], parse: impl Fn(&[u8]) -> Head) -> Option<Found> {
        let (header, tail) = bytes.split_last_chunk()?;
        let header_len = header_len_in(*tail, self.mark)?;
        if header_len > self.limits.max_header {
            return None;
        }
        let header = &header[header.len().checked_sub(header_len)?..];
        let end = start + bytes.len() as u64;
        match parse(header) {
            Head::Found(layout)
                if layout.header_len == header_len && layout.has_trailer_to(end) =>
            {
                let header = Bytes::copy_from_slice(header);
                Some(Found { header, layout, in_trailer: true, whole: Whole::default() })
            }
            _ => None,
        }
    }

    fn deliver(&mut self) -> Progress {
        let Some(Found { layout, whole, .. }) = &self.found else { return Progress::NeedMore };
        let (layout, whole) = (*layout, *whole);
        if let Some(body) = self.body_in_order(&layout) {
            return self.delivers(Some(Arrival { body, mended_shards: 0 }));
        }
        let Some(plan) = layout.repair else { return Progress::NeedMore };
        if whole.data == plan.data_shards() {
            return Progress::Enough { bytes: layout.body_len };
        }
        match self.trust_repair && whole.data + whole.repair >= plan.data_shards() {
            true => Progress::Enough { bytes: plan.mending_bytes() },
            false => Progress::NeedMore,
        }
    }

    fn delivers(&mut self, arrival: Option<Arrival>) -> Progress {
        match arrival {
            Some(arrival) => {
                self.delivered = true;
                Progress::Ready(arrival)
            }
            None => Progress::NeedMore,
        }
    }

    /// Everything in order: the buffer itself is the body, without another copy.
    fn body_in_order(&mut self, layout: &Layout) -> Option<Bytes> {
        let range = layout.body();
        if (self.pieces.prefix().len() as u64) < range.end {
            return None;
        }
        let stream = self.pieces.take_prefix().into_bytes();
        Some(stream.slice(range.start as usize..range.end as usize))
    }

    /// A whole body behind a hole, as where the header's packet is lost. Without shards the header was at the start, so a
    /// whole body follows it without one.
    fn copied_body(&self, layout: &Layout, whole: Whole) -> Option<Arrival> {
        layout.repair.filter(|plan| whole.data == plan.data_shards())?;
        let mut body = vec![0; usize::try_from(layout.body_len).ok()?];
        self.pieces.copy(layout.body().start, &mut body).then_some(())?;
        Some(Arrival { body: body.into(), mended_shards: 0 })
    }

    fn repaired_body(&mut self, layout: &Layout, whole: Whole) -> Option<Arrival> {
        let plan = layout.repair.filter(|_| self.trust_repair)?;
        if whole.data + whole.repair < plan.data_shards() {
            return None;
        }
        let enough = enough_shards(&plan, layout, &self.pieces)?;
        let mended = mend(&plan, &enough, layout, &self.pieces);
        match mended {
            Ok(body) => Some(body),
            Err(_) => {
                // Plans are checked, so this is a defect of ours; retransmission still works.
                self.trust_repair = false;
                None
            }
        }
    }
}

/// Enough whole shards to decode: all data shards that are there, and the repair shards needed.
struct Enough {
    data: Vec<Range<usize>>,
    repair: Vec<Range<usize>>,
    mended: usize,
}

fn enough_shards(plan: &Plan, layout: &Layout, pieces: &Pieces) -> Option<Enough> {
    let runs = pieces.runs();
    let data = whole_shards(&runs, layout.body(), plan.shard_len());
    let repair = whole_shards(&runs, layout.repair(), plan.shard_len());
    let mended = plan.data_shards() - count(&data);
    (count(&repair) >= mended).then_some(Enough { data, repair, mended })
}

fn count(shards: &[Range<usize>]) -> usize {
    shards.iter().map(Range::len).sum()
}

impl Whole {
    /// Counts all, which takes as long as there are pieces.
    fn of(layout: &Layout, pieces: &Pieces) -> Self {
        let Some(plan) = layout.repair else { return Self::default() };
        let runs = pieces.runs();
        let whole = |region| count(&whole_shards(&runs, region, plan.shard_len()));
        Self { data: whole(layout.body()), repair: whole(layout.repair()) }
    }

    /// Adds those that the last chunk has made whole: they have a byte that was not there before.
    fn look_again(&mut self, layout: &Layout, pieces: &Pieces) {
        let Some(plan) = layout.repair else { return };
        self.data += made_whole(layout.body(), plan.shard_len(), pieces);
        self.repair += made_whole(layout.repair(), plan.shard_len(), pieces);
    }
}

/// How many shards of `region` are whole since the last chunk.
fn made_whole(region: Range<u64>, shard_len: usize, pieces: &Pieces) -> usize {
    let shard_len = shard_len as u64;
    let (mut made, mut next) = (0, 0);
    for fresh in pieces.fresh() {
        let (start, end) = (fresh.start.max(region.start), fresh.end.min(region.end));
        if start >= end {
            continue;
        }
        // Two of these ranges can lie in one shard.
        let first = ((start - region.start) / shard_len).max(next);
        next = (end - region.start).div_ceil(shard_len);
        for index in first..next {
            let shard = region.start + index * shard_len;
            let shard = shard..(shard + shard_len).min(region.end);
            made += usize::from(pieces.has(shard));
        }
    }
    made
}

/// The indices of the shards of `region` that lie wholly inside one of the runs. The region's
/// last shard may be shorter than the others.
fn whole_shards(runs: &[Range<u64>], region: Range<u64>, shard_len: usize) -> Vec<Range<usize>> {
    let shard_len = shard_len as u64;
    let mut shards = Vec::new();
    for run in runs {
        let start = run.start.max(region.start) - region.start;
        let end = run.end.min(region.end).saturating_sub(region.start);
        let first = start.div_ceil(shard_len);
        let behind_last = match run.end >= region.end {
            true => end.div_ceil(shard_len),
            false => end / shard_len,
        };
        if start < end && first < behind_last {
            shards.push(first as usize..behind_last as usize);
        }
    }
    shards
}

fn mend(
    plan: &Plan,
    enough: &Enough,
    layout: &Layout,
    pieces: &Pieces,
) -> Result<Arrival, RepairError> {
    let missing = || RepairError::Code("a shard that was counted is missing".to_owned());
    let shard_len = plan.shard_len();
    let mut shard = vec![0; shard_len];
    let mut mending = Mending::new(plan)?;
    for index in enough.data.iter().cloned().flatten() {
        let start = index * shard_len;
        let len = shard_len.min(plan.body_len() - start);
        let there = pieces.copy(layout.body().start + start as u64, &mut shard[..len]);
        mending.data(index, there.then_some(&shard[..len]).ok_or_else(missing)?)?;
    }
    let repair_start = layout.repair().start;
    for index in enough.repair.iter().cloned().flatten().take(enough.mended) {
        let there = pieces.copy(repair_start + (index * shard_len) as u64, &mut shard);
        mending.repair(index, there.then_some(shard.as_slice()).ok_or_else(missing)?)?;
    }
    Ok(Arrival { body: mending.finish()?.into(), mended_shards: enough.mended })
}

#[cfg(test)]
mod tests;
