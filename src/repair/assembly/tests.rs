use std::ops::Range;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::super::{encode, trailer};
use super::*;

const MARK: TrailerMark = *b"\x07mark\x80\xff\x00";
const LIMITS: Limits = Limits { max_header: 64, max_body: 1 << 20 };
/// A header of the tests: "hd", its length, body length, shard length and repair shards.
const HEADER: usize = 2 + 1 + 8 + 2 + 2;

fn header(body_len: u64, shard_len: u16, repair: u16) -> Vec<u8> {
    let mut bytes = b"hd".to_vec();
    bytes.push(HEADER as u8);
    bytes.extend(body_len.to_be_bytes());
    bytes.extend(shard_len.to_be_bytes());
    bytes.extend(repair.to_be_bytes());
    bytes
}

fn parse(bytes: &[u8]) -> Head {
    if !b"hd".starts_with(&bytes[..bytes.len().min(2)]) {
        return Head::Bad;
    }
    let Some(bytes) = bytes.first_chunk::<HEADER>() else { return Head::NeedMore };
    let body_len = u64::from_be_bytes(bytes[3..11].try_into().unwrap());
    let shard_len = u16::from_be_bytes(bytes[11..13].try_into().unwrap());
    let repair = u16::from_be_bytes(bytes[13..15].try_into().unwrap());
    let header_len = usize::from(bytes[2]);
    if repair == 0 {
        return Head::Found(Layout::plain(header_len, body_len));
    }
    match Plan::new(body_len, shard_len.into(), repair.into()) {
        Ok(plan) => Head::Found(Layout::repaired(header_len, plan)),
        Err(_) => Head::Bad,
    }
}

fn body_of(len: usize) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(len as u64);
    (0..len).map(|_| rng.random()).collect()
}

/// The whole stream of a frame.
fn stream_of(body: &[u8], plan: &Plan) -> Vec<u8> {
    let (shard_len, repair) = (plan.shard_len() as u16, plan.repair_shards() as u16);
    let header = header(body.len() as u64, shard_len, repair);
    let trailer = trailer(&header, MARK).unwrap();
    [&header, body, &trailer, &encode(body, plan).unwrap(), &trailer].concat()
}

/// Cuts a stream into packets of `size` bytes.
fn packets(stream: &[u8], size: usize) -> Vec<(u64, &[u8])> {
    stream.chunks(size).enumerate().map(|(index, chunk)| ((index * size) as u64, chunk)).collect()
}

/// The packets that arrive when those with the numbers `lost` do not.
fn without<'a>(all: &[(u64, &'a [u8])], lost: &[usize]) -> Vec<(u64, &'a [u8])> {
    let arrived = all.iter().enumerate().filter(|(index, _)| !lost.contains(index));
    arrived.map(|(_, packet)| *packet).collect()
}

/// Feeds chunks until the frame is there.
fn feed<'a>(
    assembly: &mut Assembly,
    chunks: impl IntoIterator<Item = (u64, &'a [u8])>,
) -> Option<Arrival> {
    for (offset, chunk) in chunks {
        if let Progress::Ready(arrival) = assembly.accept_and_mend(offset, chunk, parse).unwrap() {
            return Some(arrival);
        }
    }
    None
}

#[test]
fn the_memory_that_mending_takes_is_told_before_it_is_taken() {
    let body = body_of(60_000);
    for (shard_len, repair) in [(200, 4), (200, 300), (1_434, 42), (1_200, 1)] {
        let plan = Plan::new(60_000, shard_len, repair).unwrap();
        let stream = stream_of(&body, &plan);
        let all = packets(&stream, 1_410);
        let mut assembly = Assembly::new(LIMITS, MARK);
        let mut told = None;
        for (offset, chunk) in without(&all, &[3]) {
            match assembly.accept(offset, chunk, parse).unwrap() {
                Progress::NeedMore => {}
                Progress::Enough { bytes } => told = Some(bytes),
                Progress::Ready(_) => panic!("nobody has mended it"),
            }
        }
        match told {
            // The body, and what the code works on: no less than the shards that there are.
            Some(bytes) => {
                assert!((2 * 60_000..6 * 60_000 + 8 * 1_434).contains(&bytes), "{bytes}");
                let Progress::Ready(arrival) = assembly.mend() else { panic!("enough, it said") };
                assert_eq!(arrival.body, body);
                assert_eq!(assembly.mend(), Progress::NeedMore, "once");
            }
            // A packet is more than a shard.
            None => assert!(repair == 1 || repair * shard_len < 1_410, "{shard_len} {repair}"),
        }
    }
}

#[test]
fn a_plain_frame_in_order() {
    let body = body_of(5_000);
    let mut stream = header(5_000, 0, 0);
    stream.extend_from_slice(&body);
    let mut assembly = Assembly::new(LIMITS, MARK);
    let arrival = feed(&mut assembly, packets(&stream, 1_410)).unwrap();
    assert_eq!(arrival, Arrival { body: body.into(), mended_shards: 0 });
    assert_eq!(assembly.header().unwrap(), &stream[..HEADER]);
    assert!(!assembly.header_from_trailer());
    assembly.finish().unwrap();
}

#[test]
fn long_frames_have_the_memory_of_those_before_them() {
    let spares = Spares::new(4 << 20);
    let mut places = Vec::new();
    for (len, repair) in [(700_000, 0), (650_000, 4), (690_000, 0)] {
        let body = body_of(len);
        let plan = Plan::new(len as u64, 1 << 14, repair).ok();
        let stream = match plan.filter(|_| repair > 0) {
            Some(plan) => stream_of(&body, &plan),
            None => [header(len as u64, 0, 0), body.clone()].concat(),
        };
        let mut all = packets(&stream, 1_200);
        // What comes early is behind a hole for a while.
        all.swap(3, 90);
        let mut assembly = Assembly::with_spares(LIMITS, MARK, spares.clone());
        let arrival = feed(&mut assembly, all).unwrap();
        assert_eq!(arrival.body, body);
        places.push(arrival.body.as_ptr() as usize - HEADER);
    }
    assert!(places.iter().all(|place| *place == places[0]), "{places:?}");
}

#[test]
fn an_empty_body_is_a_frame() {
    let mut assembly = Assembly::new(LIMITS, MARK);
    let arrival = feed(&mut assembly, [(0, header(0, 0, 0).as_slice())]).unwrap();
    assert!(arrival.body.is_empty());
}

#[test]
fn every_loss_of_up_to_r_shards_is_mended() {
    let plan = Plan::new(85, 8, 4).unwrap();
    let body = body_of(85);
    let stream = stream_of(&body, &plan);
    // Chunks are: the header, 11 data shards, 4 repair shards.
    let layout = Layout::repaired(HEADER, plan);
    let pieces = |range: Range<u64>| {
        let part = packets(&stream[range.start as usize..range.end as usize], 8);
        part.into_iter().map(move |(at, chunk)| (range.start + at, chunk))
    };
    let head = [(0, &stream[..HEADER])];
    let shards: Vec<_> = pieces(layout.body()).chain(pieces(layout.repair())).collect();
    for lost in 0u32..1 << 15 {
        if lost.count_ones() > 4 {
            continue;
        }
        let arrived = shards.iter().enumerate().filter(|(index, _)| lost & 1 << index == 0);
        let arrived = head.iter().copied().chain(arrived.map(|(_, chunk)| *chunk));
        let arrival = feed(&mut Assembly::new(LIMITS, MARK), arrived).expect("enough shards");
        assert_eq!(arrival.body, body, "lost shards {lost:b}");
        assert_eq!(arrival.mended_shards, (lost & 0x7ff).count_ones() as usize);
    }
}

#[test]
fn many_pieces_backwards_are_put_together_as_soon_as_they_can_be() {
    let plan = Plan::new(60_000, 512, 20).unwrap();
    let body = body_of(60_000);
    let stream = stream_of(&body, &plan);
    // Shorter than a shard, so that each becomes whole out of several, and none joins the one before it.
    let all = packets(&stream, 230);
    let lost = [100, 101, 102, 103];
    let mut assembly = Assembly::new(LIMITS, MARK);
    let (mut arrived, mut most) = (Vec::new(), 0);
    let mut chunks = without(&all, &lost).into_iter().rev();
    let arrival = loop {
        let (offset, chunk) = chunks.next().expect("enough shards");
        arrived.push((offset, chunk));
        match assembly.accept_and_mend(offset, chunk, parse).unwrap() {
            Progress::Ready(arrival) => break arrival,
            Progress::NeedMore | Progress::Enough { .. } => {}
        }
        most = most.max(assembly.pieces.count());
        // All but at the end it is plain that there are too few.
        let late = arrived.len() + 100 > all.len() - lost.len();
        assert!(!late || !decodable(&stream, &arrived, &plan), "it should have been decoded");
    };
    assert!(most > 200, "only {most} pieces");
    assert_eq!(arrival.body, body);
    assert!(arrival.mended_shards > 0);
}

#[test]
fn one_loss_too_many_waits_for_the_retransmission() {
    let plan = Plan::new(60_000, 176, 18).unwrap();
    let body = body_of(60_000);
    let stream = stream_of(&body, &plan);
    let all = packets(&stream, 1_410);
    let lost = [3, 17, 30];
    let mut assembly = Assembly::new(LIMITS, MARK);
    assert_eq!(feed(&mut assembly, without(&all, &lost)), None);
    assert!(matches!(assembly.finish(), Err(RepairError::Truncated { .. })));
    let arrival = feed(&mut assembly, [all[3]]).expect("two losses of 10 shards or less");
    assert_eq!(arrival.body, body);
    assert!((16..=18).contains(&arrival.mended_shards), "{}", arrival.mended_shards);
    assembly.finish().unwrap();
}

#[test]
fn the_trailer_stands_in_for_a_lost_header() {
    let plan = Plan::new(20_000, 176, 12).unwrap();
    let body = body_of(20_000);
    let stream = stream_of(&body, &plan);
    let mut assembly = Assembly::new(LIMITS, MARK);
    let arrival = feed(&mut assembly, packets(&stream, 1_410).into_iter().skip(1)).unwrap();
    assert_eq!(arrival.body, body);
    assert!(assembly.header_from_trailer());
    assert_eq!(assembly.header().unwrap(), &stream[..HEADER]);
}

#[test]
fn either_trailer_is_enough() {
    let plan = Plan::new(20_000, 176, 24).unwrap();
    let body = body_of(20_000);
    let stream = stream_of(&body, &plan);
    let all = packets(&stream, 1_410);
    let last = all.len() - 1;
    let middle = (HEADER + 20_000 + trailer_len(HEADER) - 1) / 1_410;
    assert!(middle < last, "not in one packet");
    for lost in [[0, last], [0, middle]] {
        for backwards in [false, true] {
            let mut chunks = without(&all, &lost);
            if backwards {
                chunks.reverse();
            }
            let mut assembly = Assembly::new(LIMITS, MARK);
            assert_eq!(feed(&mut assembly, chunks).expect("a trailer").body, body);
            assert!(assembly.header_from_trailer());
        }
    }
}

#[test]
fn a_trailer_cut_by_packets_is_found_in_any_order() {
    let plan = Plan::new(500, 50, 10).unwrap();
    let body = body_of(500);
    let stream = stream_of(&body, &plan);
    let mut assembly = Assembly::new(LIMITS, MARK);
    // The header is lost, and the rest comes backwards in pieces shorter than the trailer.
    let arrived = packets(&stream, 21).into_iter().skip(1).rev();
    assert_eq!(feed(&mut assembly, arrived).unwrap().body, body);
    assert!(assembly.header_from_trailer());
}

#[test]
fn a_trailer_that_does_not_fit_its_place_is_only_content() {
    let forged = header(300, 0, 0);
    let mut content = trailer(&forged, MARK).unwrap();
    content.resize(600, 9);
    let plan = Plan::new(600, 50, 4).unwrap();
    let stream = stream_of(&content, &plan);
    let forged_end = HEADER + trailer_len(HEADER);
    let mut assembly = Assembly::new(LIMITS, MARK);
    let middle = (HEADER as u64, &stream[HEADER..forged_end]);
    assert_eq!(feed(&mut assembly, [middle]), None);
    assert!(assembly.header().is_none());
    assert_eq!(feed(&mut assembly, packets(&stream, 100)).unwrap().body, content);
}

#[test]
fn a_wrong_repair_falls_back_to_the_whole_body() {
    let plan = Plan::new(20_000, 176, 20).unwrap();
    let body = body_of(20_000);
    let mut stream = stream_of(&body, &plan);
    stream[HEADER + 20_000 + trailer_len(HEADER) + 500] ^= 1;
    let all = packets(&stream, 1_410);
    let mut assembly = Assembly::new(LIMITS, MARK);
    let wrong = feed(&mut assembly, without(&all, &[2, 5])).unwrap();
    assert!(wrong.mended_shards > 0 && wrong.body != body);
    assembly.distrust_repair();
    assert_eq!(feed(&mut assembly, [all[2]]), None, "repair is not tried again");
    let arrival = feed(&mut assembly, [all[5]]).unwrap();
    assert_eq!(arrival, Arrival { body: body.into(), mended_shards: 0 });
}

#[test]
fn hostile_offsets_and_lengths_are_refused() {
    let accept = |offset, bytes: &[u8]| {
        Assembly::new(LIMITS, MARK).accept(offset, bytes, parse).unwrap_err()
    };
    assert!(matches!(accept(1 << 40, b"x"), RepairError::BeyondEnd { .. }));
    assert!(matches!(accept(u64::MAX, b"xx"), RepairError::BeyondEnd { .. }));
    assert_eq!(accept(0, b"xx"), RepairError::BadHeader);
    let long = header(LIMITS.max_body + 1, 0, 0);
    assert!(matches!(accept(0, &long), RepairError::BodyTooLong { .. }));
    assert!(matches!(accept(0, &header(u64::MAX, 0, 0)), RepairError::BodyTooLong { .. }));
    // More repair than data, odd shards, more shards than the code has: not a header.
    for (shard_len, repair) in [(176, 60_000), (177, 3), (0, 3), (60_000, 3)] {
        assert_eq!(accept(0, &header(600, shard_len, repair)), RepairError::BadHeader);
    }
}

#[test]
fn bytes_behind_the_announced_end_are_refused() {
    let mut stream = header(10, 0, 0);
    stream.resize(HEADER + 9, 1);
    let mut assembly = Assembly::new(LIMITS, MARK);
    assert_eq!(feed(&mut assembly, [(0, stream.as_slice())]), None);
    let error = assembly.accept(HEADER as u64 + 9, b"ab", parse).unwrap_err();
    let end = HEADER as u64 + 10;
    assert_eq!(error, RepairError::BeyondEnd { reached: end + 1, end });
    // The same when the excess came before the header did.
    let mut assembly = Assembly::new(LIMITS, MARK);
    assert_eq!(feed(&mut assembly, [(500, b"late".as_slice())]), None);
    let error = assembly.accept(0, &stream, parse).unwrap_err();
    assert!(matches!(error, RepairError::BeyondEnd { reached: 504, .. }), "{error}");
}

#[test]
fn a_header_that_never_ends_is_refused() {
    let mut assembly = Assembly::new(LIMITS, MARK);
    let error = assembly.accept(0, &[b'h'; 64], |_| Head::NeedMore).unwrap_err();
    assert_eq!(error, RepairError::HeaderTooLong { limit: 64 });
    // A parser that claims more header than there is gets no further either.
    let lies = |_: &[u8]| Head::Found(Layout::plain(1_000, 10));
    let error = Assembly::new(LIMITS, MARK).accept(0, b"hd", lies).unwrap_err();
    assert_eq!(error, RepairError::BadHeader);
}

proptest! {
    #[test]
    fn any_losses_orders_and_overlaps_give_the_body_or_wait(
        body_len in 1usize..12_000,
        half_shard in 1usize..400,
        repair in 1usize..60,
        packet in 20usize..1_500,
        loss in 0.0f64..0.5,
        seed: u64,
    ) {
        let shard_len = 2 * half_shard;
        let repair = repair.min(body_len.div_ceil(shard_len));
        let plan = Plan::new(body_len as u64, shard_len, repair).unwrap();
        let body = body_of(body_len);
        let stream = stream_of(&body, &plan);
        let mut rng = StdRng::seed_from_u64(seed);
        // Packets that overlap their neighbours, some twice, in any order.
        let mut arrived = Vec::new();
        for start in (0..stream.len()).step_by(packet) {
            let early = start.saturating_sub(rng.random_range(0..10));
            let end = (start + packet + rng.random_range(0..10)).min(stream.len());
            for _ in 0..rng.random_range(1..3) {
                if !rng.random_bool(loss) {
                    arrived.push((early as u64, &stream[early..end]));
                }
            }
        }
        arrived.shuffle(&mut rng);
        let mut assembly = Assembly::new(LIMITS, MARK);
        match feed_honest(&mut assembly, &arrived)? {
            Some(arrival) => prop_assert_eq!(&arrival.body, &body),
            None => {
                prop_assert!(!decodable(&stream, &arrived, &plan), "it should have been decoded");
                // The retransmission brings the rest.
                let rest = feed_honest(&mut assembly, &packets(&stream, packet))?;
                prop_assert_eq!(&rest.expect("everything arrived").body, &body);
            }
        }
    }

    #[test]
    fn any_bytes_anywhere_never_panic(
        chunks in proptest::collection::vec(
            (prop_oneof![0u64..200, any::<u64>()], proptest::collection::vec(any::<u8>(), 0..60)),
            0..30,
        ),
        repair in 0u16..40, shard_len in 0u16..40, body_len in 0u64..400,
    ) {
        let mut assembly = Assembly::new(LIMITS, MARK);
        let _ = assembly.accept_and_mend(0, &header(body_len, shard_len, repair), parse);
        let mut forged = header(body_len, shard_len, repair);
        forged.extend(trailer(&header(body_len, shard_len, repair), MARK).unwrap());
        let mut other = Assembly::new(LIMITS, MARK);
        for (offset, bytes) in &chunks {
            let _ = assembly.accept_and_mend(*offset, bytes, parse);
            let _ = other.accept_and_mend(*offset, &forged, parse);
            let _ = other.accept_and_mend(*offset, bytes, parse);
        }
    }
}

/// Like [`feed`]; a stream in crumbs may be refused, which is not what this test is about.
fn feed_honest(
    assembly: &mut Assembly,
    chunks: &[(u64, &[u8])],
) -> Result<Option<Arrival>, TestCaseError> {
    for (offset, chunk) in chunks {
        let progress = assembly.accept_and_mend(*offset, chunk, parse);
        // What is counted chunk by chunk is what a count of all gives.
        if let Some(found) = assembly.found.as_ref().filter(|_| !assembly.delivered)
            && progress.is_ok()
        {
            prop_assert_eq!(found.whole, Whole::of(&found.layout, &assembly.pieces));
        }
        match progress {
            Ok(Progress::Ready(arrival)) => return Ok(Some(arrival)),
            Ok(Progress::NeedMore | Progress::Enough { .. }) => {}
            Err(RepairError::TooScattered { .. }) => return Err(TestCaseError::reject("crumbs")),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
    }
    Ok(None)
}

/// Counts byte by byte what `Assembly` works out from ranges.
fn decodable(stream: &[u8], arrived: &[(u64, &[u8])], plan: &Plan) -> bool {
    let mut have = vec![false; stream.len()];
    for (offset, chunk) in arrived {
        have[*offset as usize..][..chunk.len()].fill(true);
    }
    let whole = |bytes: &[bool]| bytes.iter().all(|&byte| byte);
    let (head, rest) = have.split_at(HEADER);
    let (body, rest) = rest.split_at(plan.body_len());
    let (middle, rest) = rest.split_at(trailer_len(HEADER));
    let (repair, last) = rest.split_at(plan.repair_len());
    let shards = body.chunks(plan.shard_len()).chain(repair.chunks(plan.shard_len()));
    let count = shards.filter(|shard| whole(shard)).count();
    [head, middle, last].into_iter().any(whole) && count >= plan.data_shards()
}
