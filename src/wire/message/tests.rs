use proptest::prelude::*;

use super::*;
use crate::frame::{
    ContentHash, DropRange, DropReason, FrameName, RunId, Sequence, SourceName, UnixNanos,
};
use crate::wire::code::{CloseCode, RefusalCode};
use crate::wire::limits::{MAX_ENTRIES, MAX_SOURCES, MAX_TEXT_BYTES};
use crate::wire::source_id::SourceId;

const SOURCE: SourceId = SourceId(1);
const RUN: RunId = RunId([3; 16]);

fn hello() -> Message {
    let source = |(name, endless, live)| SourceHello {
        name: SourceName::parse(name).unwrap(),
        run: RUN,
        began: UnixNanos(258),
        endless,
        live,
    };
    Message::Hello(Hello {
        session: [7; SESSION_ID_BYTES],
        overwrite: true,
        agent: "framelane/0.2".to_owned(),
        sources: [("visible", false, false), ("infrared", true, true)].map(source).to_vec(),
        capabilities: Capabilities::JOIN,
    })
}

fn welcome() -> Message {
    Message::Welcome(Welcome {
        durable: false,
        replaces: true,
        max_frame: 1 << 26,
        max_unconfirmed_bytes: 1 << 26,
        max_unconfirmed_frames: 4_096,
        agent: "framelane/0.2".to_owned(),
        next: vec![Sequence(0), Sequence(300)],
        capabilities: Capabilities(0),
        join: Some([9; JOIN_TOKEN_BYTES]),
        unopened: Vec::new(),
    })
}

fn drops() -> Message {
    let late = DropRange {
        first: Sequence(300),
        count: 2,
        reason: DropReason::Late,
        captured: Some((UnixNanos(1), UnixNanos(2))),
    };
    let garbage =
        DropRange { first: Sequence(7), count: 1, reason: DropReason::NotAnImage, captured: None };
    Message::Drops(Drops { source: SOURCE, run: RUN, ranges: vec![late, garbage] })
}

fn standing() -> Message {
    let source = |source, lag| SourceStanding { source, captured: 300, settled: 297, lag };
    Message::Standing(Standing {
        rtt: std::time::Duration::from_micros(42_000),
        packets_sent: 1_000,
        packets_lost: 20,
        bytes_sent: 1_200_000,
        repair_bytes: 40_000,
        clock_ahead: Some(-2),
        sources: vec![
            source(SourceId(0), None),
            source(SOURCE, Some(std::time::Duration::from_millis(80))),
        ],
    })
}

fn end_of_run(lost: Vec<LostFrame>, lost_count: u64) -> EndOfRun {
    let (first, captured, ended) = (Sequence(0), 2_000, UnixNanos(9));
    EndOfRun { source: SOURCE, run: RUN, first, captured, ended, lost, lost_count }
}

fn examples() -> Vec<Message> {
    let entry = |sequence, hash| OfferEntry {
        sequence: Sequence(sequence),
        name: FrameName::parse("flight1/9.jpg").unwrap(),
        bytes: 60_000,
        modified: Some(UnixNanos(5)),
        hash,
    };
    let hash = ContentHash::from_bytes([1; 32]);
    let lost = LostFrame { sequence: Sequence(3), name: "3.jpg".to_owned() };
    let noted = SequenceRun { first: Sequence(3), count: 4 };
    let entries = vec![entry(0, None), entry(1, Some(hash))];
    vec![
        hello(),
        welcome(),
        Message::Offer(Offer { source: SOURCE, entries }),
        Message::Answer(Answer::new(SOURCE, [Verdict::Stored, Verdict::Stored, Verdict::Wanted])),
        Message::Receipts(Receipts::new(SOURCE, UnixNanos(9), [4, 5, 6, 9].map(Sequence))),
        Message::Refusal(Refusal::new(SOURCE, Sequence(4), RefusalCode::NoSpace, "disk full")),
        Message::EndOfRun(end_of_run(vec![lost], 1)),
        Message::Totals(Totals { source: SOURCE, stored: 8, already: 1 }),
        Message::ClockProbe(77),
        Message::ClockReply { asked: 77, arrived: 78, replied: 79 },
        Message::Notice(Notice { kind: Notice::NEARLY_FULL, text: "4% left".to_owned() }),
        drops(),
        standing(),
        Message::Noted(Noted { source: SOURCE, run: RUN, frames: vec![noted] }),
        Message::Join(Join { session: [7; SESSION_ID_BYTES], token: [9; JOIN_TOKEN_BYTES] }),
        Message::Trial(Trial { session: [7; SESSION_ID_BYTES], agent: "framelane/0.2".to_owned() }),
        Message::Counted(Counted { frames: 300, bytes: 18_000_000 }),
        Message::Opened(Opened { source: SOURCE, next: Sequence(300) }),
        Message::Declined(Declined::new(SOURCE, CloseCode::Owned, "another's")),
    ]
}

#[test]
fn golden_hello() {
    let mut golden = vec![1, 0x40, 102];
    golden.extend([7; 16]);
    golden.push(1);
    golden.extend(b"\x0dframelane/0.2\x02");
    for (name, flags) in [(&b"\x07visible"[..], 0), (b"\x08infrared", 3)] {
        golden.extend(name);
        golden.extend([3; 16]);
        golden.extend([0, 0, 0, 0, 0, 0, 1, 2, flags]);
    }
    golden.extend([1, 1, 2]);
    golden[2] = (golden.len() - 3) as u8;
    assert_eq!(&hello().encode()[..], &golden[..]);
}

#[test]
fn golden_welcome() {
    let mut golden = vec![2, 0];
    golden.extend([2, 0x84, 0, 0, 0, 0x84, 0, 0, 0, 0x50, 0]);
    golden.extend(b"\x0dframelane/0.2\x02\x00\x41\x2c");
    golden.extend([3, 16]);
    golden.extend([9; 16]);
    golden[1] = (golden.len() - 2) as u8;
    assert_eq!(&welcome().encode()[..], &golden[..]);
}

#[test]
fn golden_notice() {
    let notice = Message::Notice(Notice { kind: Notice::EXPIRED, text: "three have".to_owned() });
    assert_eq!(&notice.encode()[..], b"\x0b\x0c\x05\x0athree have");
}

#[test]
fn golden_receipts() {
    let receipts = Receipts::new(SourceId(0), UnixNanos(258), [0, 1, 2, 70].map(Sequence));
    let golden = [5, 15, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 0, 3, 0x40, 70, 1];
    assert_eq!(&Message::Receipts(receipts).encode()[..], &golden);
}

#[test]
fn golden_drops() {
    let mut golden = vec![12, 0, 1];
    golden.extend([3; 16]);
    golden.extend([2, 0x41, 0x2c, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
    golden.extend([7, 1, 2, 0]);
    golden[1] = (golden.len() - 2) as u8;
    assert_eq!(&drops().encode()[..], &golden[..]);
}

#[test]
fn every_message_comes_back_and_every_prefix_needs_more() {
    for message in examples() {
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes), Ok(Decoded::Value(message.clone(), bytes.len())));
        for cut in 0..bytes.len() {
            match Message::decode(&bytes[..cut]) {
                Ok(Decoded::NeedMore(total)) => assert!(total > cut && total <= bytes.len()),
                other => panic!("{cut} bytes of {message:?} gave {other:?}"),
            }
        }
    }
}

/// The message with these bytes behind its payload, the length put right.
fn padded(message: &Message, more: &[u8]) -> Vec<u8> {
    let bytes = message.encode();
    let Decoded::Value(length, length_bytes) = peek_varint(&bytes[1..]) else { unreachable!() };
    let mut padded = Writer::new();
    padded.byte(bytes[0]).varint(length + more.len() as u64);
    padded.raw(&bytes[1 + length_bytes..]).raw(more);
    padded.finish().to_vec()
}

#[test]
fn a_field_of_a_later_version_is_skipped_where_it_may_be_and_refused_where_not() {
    for message in examples() {
        let may = padded(&message, &[0x21, 2, 0xff, 0xff]);
        assert_eq!(Message::decode(&may), Ok(Decoded::Value(message.clone(), may.len())));
        let must_not = padded(&message, &[0x22, 0]);
        let error = Message::decode(&must_not).unwrap_err().to_string();
        assert!(error.contains("field 34"), "{message:?}: {error}");
        assert!(Message::decode(&padded(&message, &[0x21])).is_err(), "{message:?} cut short");
    }
}

#[test]
fn a_message_of_a_later_version_is_skipped_where_it_may_be_and_refused_where_not() {
    let skipped = Message::Skipped { kind: 15 };
    assert_eq!(Message::decode(&[15, 2, 0xff, 0xff, 9]), Ok(Decoded::Value(skipped, 4)));
    assert_eq!(Message::decode(&[15, 2, 0xff]), Ok(Decoded::NeedMore(4)));
    let error = Message::decode(&[26, 0]).unwrap_err().to_string();
    assert!(error.contains("type 26"), "{error}");
}

#[test]
fn lengths_and_counts_are_checked_before_anything_is_read() {
    let mut long = Writer::new();
    long.varint(3).varint(MAX_MESSAGE_BYTES + 1);
    assert!(matches!(Message::decode(&long.finish()), Err(WireError::OverLimit { .. })));

    let mut many = Writer::new();
    many.varint(3).varint(5).varint(0).varint(1 << 20);
    assert!(matches!(Message::decode(&many.finish()), Err(WireError::OverLimit { .. })));
}

#[test]
fn a_source_named_twice_or_in_no_run_is_refused() {
    let Message::Hello(hello) = hello() else { unreachable!() };
    let mut twice = hello.clone();
    twice.sources.push(twice.sources[0].clone());
    assert!(Message::decode(&Message::Hello(twice).encode()).is_err());
    let mut nameless = hello;
    nameless.sources[1].run = RunId::NONE;
    assert!(Message::decode(&Message::Hello(nameless).encode()).is_err());
}

#[test]
fn drops_of_nothing_or_beyond_all_sequences_are_refused() {
    let range = |first, count| {
        let (first, reason) = (Sequence(first), DropReason::Late);
        let ranges = vec![DropRange { first, count, reason, captured: None }];
        Message::decode(&Message::Drops(Drops { source: SOURCE, run: RUN, ranges }).encode())
    };
    assert!(range(0, 0).is_err() && range(super::super::MAX_VARINT, 2).is_err());
    assert!(range(super::super::MAX_VARINT, 1).is_ok());
}

#[test]
fn offers_are_cut_to_what_a_message_holds() {
    let entry = |length: usize| OfferEntry {
        sequence: Sequence(1 << 40),
        name: FrameName::parse(&vec!["n".repeat(length); 4].join("/")).unwrap(),
        bytes: 1 << 40,
        modified: Some(UnixNanos(u64::MAX)),
        hash: Some(ContentHash::from_bytes([1; 32])),
    };
    for (length, count, messages) in [(1, 1_024, 1), (1, 1_025, 2), (249, 1_024, 3), (1, 0, 0)] {
        let offers = Offer::batches(SourceId(63), vec![entry(length); count]);
        assert_eq!(offers.len(), messages);
        assert_eq!(offers.iter().map(|offer| offer.entries.len()).sum::<usize>(), count);
        for offer in offers {
            let bytes = Message::Offer(offer).encode();
            assert!(matches!(Message::decode(&bytes), Ok(Decoded::Value(..))));
        }
    }
}

#[test]
fn the_longest_hello_and_welcome_fit() {
    let source = |index: usize| {
        let name = format!("{index:02}{}", "n".repeat(253));
        SourceHello::new(SourceName::parse(&name).unwrap(), RUN, UnixNanos(u64::MAX))
    };
    let Message::Hello(mut hello) = hello() else { unreachable!() };
    hello.sources = (0..MAX_SOURCES).map(source).collect();
    let bytes = Message::Hello(hello).encode();
    assert!(matches!(Message::decode(&bytes), Ok(Decoded::Value(..))));
}

/// What the other end reads of an end of a run whose lost frames have names of these lengths.
fn named_of(lengths: &[usize]) -> EndOfRun {
    let lost = lengths
        .iter()
        .map(|&length| LostFrame { sequence: Sequence(1 << 40), name: "n".repeat(length) });
    let end = end_of_run(lost.collect(), lengths.len() as u64);
    match Message::decode(&Message::EndOfRun(end).encode()) {
        Ok(Decoded::Value(Message::EndOfRun(end), _)) => end,
        other => panic!("{other:?}"),
    }
}

#[test]
fn lost_frames_are_named_as_far_as_a_message_goes_and_all_counted() {
    /// Source, run, first, captured, ended, lost, named.
    const FIXED: u64 = 1 + 16 + 1 + 2 + 8 + 2 + 2;
    let most = named_of(&[2_000; MAX_ENTRIES + 1]);
    assert_eq!(most.lost_count, 1_025);
    // Eight bytes of sequence, two of length, and the name, cut.
    assert_eq!(most.lost.len() as u64, (MAX_MESSAGE_BYTES - FIXED) / (8 + 2 + MAX_TEXT_BYTES));

    // 512 entries of 1,024 bytes are just the limit, but for what stands before them.
    let mut lengths = [1_014; 512];
    lengths[511] -= FIXED as usize;
    assert_eq!(named_of(&lengths).lost.len(), 512);
    lengths[511] += 1;
    let cut = named_of(&lengths);
    assert_eq!((cut.lost.len(), cut.lost_count), (511, 512));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn garbage_behind_each_type_never_panics(
        kind in 0_u8..22,
        payload in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut bytes = vec![kind, payload.len() as u8];
        bytes.extend(payload);
        let _ = Message::decode(&bytes);
    }
}
