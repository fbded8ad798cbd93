//! The golden bytes of `docs/wire.md`, held against the codec: the specification cannot drift away
//! from the code.

use std::collections::HashMap;

use framelane::frame::{
    ContentHash, FrameMeta, FrameName, MediaType, Sequence, SourceName, UnixNanos,
};
use framelane::repair::{self, Layout, Plan};
use framelane::wire::{
    Answer, Decoded, EndOfSource, FrameHeader, Hello, LostFrame, Message, Offer, OfferEntry,
    Receipts, Refusal, RefusalCode, RepairLayout, SourceId, Totals, Verdict, Welcome, record,
};

/// 2023-11-14 22:13:20 UTC.
const MODIFIED: UnixNanos = UnixNanos(1_700_000_000_000_000_000);
const SOURCE: SourceId = SourceId(1);

#[test]
fn every_message_is_as_specified() {
    let blocks = blocks();
    for (name, message) in messages() {
        let golden = &blocks[name];
        assert_eq!(&message.encode()[..], &golden[..], "{name}");
        assert_eq!(Message::decode(golden), Ok(Decoded::Value(message, golden.len())), "{name}");
    }
}

#[test]
fn the_header_is_as_specified() {
    let header = FrameHeader {
        source: SOURCE,
        meta: FrameMeta {
            sequence: Sequence(300),
            name: name("0.png"),
            bytes: 20_000,
            hash: Some(ContentHash::from_bytes([0xab; 32])),
            captured: Some(UnixNanos(0x0102_0304_0506_0708)),
            modified: None,
            media: MediaType::parse("image/png").unwrap(),
        },
        repair: None,
    };
    assert_eq!(header.encode().unwrap()[..], blocks()["header"][..]);
}

#[test]
fn a_stream_with_repair_is_as_specified() {
    let blocks = blocks();
    let body: Vec<u8> = (0..21).map(|index| (index * 7 % 251) as u8).collect();
    let plan = Plan::new(21, 4, 3).unwrap();
    let header = FrameHeader {
        source: SOURCE,
        meta: FrameMeta {
            sequence: Sequence(0),
            name: name("9.jpg"),
            bytes: 21,
            hash: Some(blake3::hash(&body)),
            captured: None,
            modified: Some(MODIFIED),
            media: MediaType::parse("image/jpeg").unwrap(),
        },
        repair: Some(RepairLayout { shard_bytes: 4, repair_shards: 3 }),
    };
    let header = header.encode().unwrap();
    assert_eq!(header[..], blocks["stream-header"][..]);
    assert_eq!(body, blocks["stream-body"]);
    assert_eq!(repair::encode(&body, &plan).unwrap(), blocks["stream-repair"]);
    assert_eq!(repair::trailer(&header, *b"12345678").unwrap(), blocks["stream-trailer"]);
    let layout = Layout::repaired(header.len(), plan);
    assert_eq!([layout.body().end, layout.repair().start, layout.repair().end], [87, 163, 175]);
    assert_eq!(layout.end(), 251);
}

#[test]
fn a_close_record_is_as_specified() {
    assert_eq!(record::close(3, "ok")[..], blocks()["close"][..]);
}

fn messages() -> Vec<(&'static str, Message)> {
    let offered = |sequence, text, bytes| OfferEntry {
        sequence: Sequence(sequence),
        name: name(text),
        bytes,
        modified: None,
        hash: None,
    };
    let by_time = OfferEntry { modified: Some(MODIFIED), ..offered(0, "9.jpg", 21) };
    let hash = Some(ContentHash::from_bytes([1; 32]));
    let by_hash = OfferEntry { hash, ..offered(1, "10.jpg", 60_000) };
    let receipts = Receipts::new(SourceId(0), UnixNanos(258), [0, 1, 2, 70].map(Sequence));
    vec![
        (
            "hello",
            Message::Hello(Hello {
                session: [7; 16],
                overwrite: true,
                agent: "framelane/0.1".to_owned(),
                sources: ["visible", "infrared"]
                    .map(|name| SourceName::parse(name).expect("a valid name"))
                    .to_vec(),
            }),
        ),
        (
            "welcome",
            Message::Welcome(Welcome {
                durable: false,
                max_frame: 64 << 20,
                max_unconfirmed_bytes: 64 << 20,
                max_unconfirmed_frames: 4_096,
                agent: "framelane/0.1".to_owned(),
            }),
        ),
        ("offer", Message::Offer(Offer { source: SOURCE, entries: vec![by_time, by_hash] })),
        ("answer", Message::Answer(Answer::new(SOURCE, [Verdict::Wanted, Verdict::Stored]))),
        ("receipts", Message::Receipts(receipts)),
        (
            "refusal",
            Message::Refusal(Refusal::new(SOURCE, Sequence(4), RefusalCode::NoSpace, "disk full")),
        ),
        (
            "end-of-source",
            Message::EndOfSource(EndOfSource {
                source: SOURCE,
                frames: 10,
                lost: vec![LostFrame { sequence: Sequence(3), name: "3.jpg".to_owned() }],
                lost_count: 1,
            }),
        ),
        ("totals", Message::Totals(Totals { source: SOURCE, stored: 8, already: 1 })),
        ("clock-probe", Message::ClockProbe(77)),
        ("clock-reply", Message::ClockReply { asked: 77, arrived: 78, replied: 79 }),
    ]
}

fn name(text: &str) -> FrameName {
    FrameName::parse(text).expect("a valid name")
}

/// The blocks of the specification that begin with ```` ```hex NAME ````, as bytes.
fn blocks() -> HashMap<&'static str, Vec<u8>> {
    let mut blocks: HashMap<&str, Vec<u8>> = HashMap::new();
    let mut current = None;
    for line in include_str!("../docs/wire.md").lines() {
        if let Some(name) = line.strip_prefix("```hex ") {
            assert!(blocks.insert(name, Vec::new()).is_none(), "two blocks are called {name}");
            current = Some(name);
        } else if line.starts_with("```") {
            current = None;
        } else if let Some(block) = current.and_then(|name| blocks.get_mut(name)) {
            let digits = line.split('#').next().unwrap_or_default().split_whitespace();
            block.extend(digits.map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits")));
        }
    }
    blocks
}
