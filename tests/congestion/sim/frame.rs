//! What a frame's stream carries where repair is used: the real layout, code and assembly, behind a header of
//! the simulation's own.

use bytes::Bytes;
use framelane::repair::{
    Arrival, Assembly, Head, Layout, Limits, Plan, Progress, Repair, TrailerMark, encode, trailer,
};

/// Bytes of a header: a typical one.
const HEADER: usize = 70;
const MARK: TrailerMark = *b"simulate";

/// A stream's bytes: what is written at once, and what follows after a pause each.
pub(crate) fn pieces(body: &Bytes, repair: Option<&Repair>) -> (Vec<Bytes>, Vec<Bytes>) {
    let Some(repair) = repair else {
        return (vec![header(body.len(), None), body.clone()], vec![]);
    };
    let header = header(body.len(), Some(&repair.plan));
    let trailer = trailer(&header, MARK).expect("a short header");
    let shards = encode(body, &repair.plan).expect("a plan for this body");
    let behind = Bytes::from([&trailer[..], &shards, &trailer].concat());
    match repair.pause {
        Some(_) => (vec![header, body.clone()], repair.split(behind)),
        None => (vec![header, body.clone(), behind], vec![]),
    }
}

fn header(body: usize, plan: Option<&Plan>) -> Bytes {
    let mut header = vec![0xfa];
    let (shard, repair) = plan.map_or((0, 0), |plan| (plan.shard_len(), plan.repair_shards()));
    for number in [body, shard, repair] {
        header.extend_from_slice(&(number as u64).to_be_bytes());
    }
    header.resize(HEADER, 0);
    header.into()
}

fn parse(bytes: &[u8]) -> Head {
    let Some(header) = bytes.get(..HEADER) else { return Head::NeedMore };
    let number = |at: usize| {
        let bytes = header[at..at + 8].try_into().expect("eight bytes");
        u64::from_be_bytes(bytes)
    };
    let (body, shard, repair) = (number(1), number(9) as usize, number(17) as usize);
    match (header[0], repair) {
        (0xfa, 0) => Head::Found(Layout::plain(HEADER, body)),
        (0xfa, _) => match Plan::new(body, shard, repair) {
            Ok(plan) => Head::Found(Layout::repaired(HEADER, plan)),
            Err(_) => Head::Bad,
        },
        _ => Head::Bad,
    }
}

/// A stream that arrives.
pub(crate) struct Arriving(Assembly);

impl Arriving {
    pub(crate) fn new() -> Self {
        Self(Assembly::new(Limits { max_header: 2_048, max_body: 16 << 20 }, MARK))
    }

    /// The body, once it is there, and whether more of the stream may come that is not needed.
    pub(crate) fn take(&mut self, offset: u64, chunk: &[u8]) -> Option<(Arrival, bool)> {
        match self.0.accept_and_mend(offset, chunk, parse).expect("a sound stream") {
            Progress::NeedMore | Progress::Enough { .. } => None,
            Progress::Ready(arrival) => {
                let repaired = self.0.layout().is_some_and(|layout| layout.repair.is_some());
                Some((arrival, repaired))
            }
        }
    }
}
