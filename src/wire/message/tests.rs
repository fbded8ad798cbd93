use proptest::prelude::*;

use super::*;

fn hello() -> Message {
    Message::Hello(Hello {
        session: [7; SESSION_ID_BYTES],
        overwrite: true,
        agent: "framelane/0.1".to_owned(),
        sources: ["visible", "infrared"].map(|name| SourceName::parse(name).unwrap()).to_vec(),
    })
}

fn examples() -> Vec<Message> {
    let source = SourceId(1);
    let entry = |sequence, hash| OfferEntry {
        sequence: Sequence(sequence),
        name: FrameName::parse("9.jpg").unwrap(),
        bytes: 60_000,
        modified: Some(UnixNanos(5)),
        hash,
    };
    let hash = ContentHash::from_bytes([1; 32]);
    vec![
        hello(),
        Message::Welcome(Welcome {
            durable: false,
            max_frame: 1 << 26,
            max_unconfirmed_bytes: 1 << 26,
            max_unconfirmed_frames: 4_096,
            agent: "framelane/0.1".to_owned(),
        }),
        Message::Offer(Offer { source, entries: vec![entry(0, None), entry(1, Some(hash))] }),
        Message::Answer(Answer::new(source, [Verdict::Stored, Verdict::Stored, Verdict::Wanted])),
        Message::Receipts(Receipts::new(source, UnixNanos(9), [4, 5, 6, 9].map(Sequence))),
        Message::Refusal(Refusal::new(source, Sequence(4), RefusalCode::NoSpace, "disk full")),
        Message::EndOfSource(EndOfSource {
            source,
            frames: 10,
            lost: vec![LostFrame { sequence: Sequence(3), name: "3.jpg".to_owned() }],
            lost_count: 1,
        }),
        Message::Totals(Totals { source, stored: 8, already: 1 }),
        Message::ClockProbe(77),
        Message::ClockReply { asked: 77, arrived: 78, replied: 79 },
    ]
}

#[test]
fn golden_hello() {
    let mut golden = vec![1, 49];
    golden.extend([7; 16]);
    golden.push(1);
    golden.extend(b"\x0dframelane/0.1\x02\x07visible\x08infrared");
    golden[1] = (golden.len() - 2) as u8;
    assert_eq!(&hello().encode()[..], &golden[..]);
}

#[test]
fn golden_receipts() {
    let receipts = Receipts::new(SourceId(0), UnixNanos(258), [0, 1, 2, 70].map(Sequence));
    let golden = [5, 15, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 0, 3, 0x40, 70, 1];
    assert_eq!(&Message::Receipts(receipts).encode()[..], &golden);
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

#[test]
fn a_payload_that_is_cut_or_padded_is_refused() {
    for message in examples() {
        let bytes = message.encode();
        let mut padded = bytes.to_vec();
        padded.push(0);
        // The length of every example but one is a single byte; the rest would need a re-encoded
        // length and are covered by the others.
        if bytes[1] < 0x3f {
            padded[1] += 1;
            assert!(Message::decode(&padded).is_err(), "{message:?} with a byte too many");
        }
    }
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
fn a_source_named_twice_is_refused() {
    let Message::Hello(mut hello) = hello() else { unreachable!() };
    hello.sources.push(hello.sources[0].clone());
    assert!(Message::decode(&Message::Hello(hello).encode()).is_err());
}

#[test]
fn a_full_batch_of_the_longest_names_fits() {
    let name = FrameName::parse(&"n".repeat(255)).unwrap();
    let entry = OfferEntry {
        sequence: Sequence(1 << 40),
        name,
        bytes: 1 << 40,
        modified: Some(UnixNanos(u64::MAX)),
        hash: Some(ContentHash::from_bytes([1; 32])),
    };
    let offer = Message::Offer(Offer { source: SourceId(63), entries: vec![entry; MAX_ENTRIES] });
    assert!(matches!(Message::decode(&offer.encode()), Ok(Decoded::Value(..))));
}

/// What the other end reads of an end of source whose lost frames have names of these lengths.
fn named_of(lengths: &[usize]) -> EndOfSource {
    let lost = lengths
        .iter()
        .map(|&length| LostFrame { sequence: Sequence(1 << 40), name: "n".repeat(length) });
    let (source, count) = (SourceId(1), lengths.len() as u64);
    let end = EndOfSource { source, frames: count, lost: lost.collect(), lost_count: count };
    match Message::decode(&Message::EndOfSource(end).encode()) {
        Ok(Decoded::Value(Message::EndOfSource(end), _)) => end,
        other => panic!("{other:?}"),
    }
}

#[test]
fn lost_frames_are_named_as_far_as_a_message_goes_and_all_counted() {
    let most = named_of(&[2_000; MAX_ENTRIES + 1]);
    assert_eq!((most.lost_count, most.frames), (1_025, 1_025));
    // Eight bytes of sequence, two of length, and the name, cut.
    assert_eq!(most.lost.len() as u64, (MAX_MESSAGE_BYTES - 7) / (8 + 2 + MAX_TEXT_BYTES));

    // 512 entries of 1,024 bytes are just the limit; before them stand 7 bytes.
    let mut lengths = [1_014; 512];
    lengths[511] -= 7;
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
        kind in 0_u8..12,
        payload in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut bytes = vec![kind, payload.len() as u8];
        bytes.extend(payload);
        let _ = Message::decode(&bytes);
    }
}
