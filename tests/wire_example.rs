//! The golden bytes of `docs/wire.md`, held against the codec: the specification cannot drift away
//! from the code.

use std::collections::HashMap;
use std::time::Duration;

use framelane::frame::{
    Captured, Clock, ContentHash, DropRange, DropReason, FrameMeta, FrameName, MediaType, RunId,
    Sequence, SourceName, UnixNanos,
};
use framelane::repair::{self, Layout, Plan};
use framelane::wire::parity::{CoveredFrame, ParityHeader};
use framelane::wire::{
    Answer, Capabilities, CloseCode, Counted, Declined, Decoded, Drops, EndOfRun, FrameHeader,
    Hello, Join, LostFrame, Message, Noted, Notice, Offer, OfferEntry, Opened, Receipts, Refusal,
    RefusalCode, RepairLayout, SequenceRun, SourceHello, SourceId, SourceStanding, Standing,
    Totals, Trial, Unopened, Verdict, Welcome, record,
};

/// 2023-11-14 22:13:20 UTC.
const MODIFIED: UnixNanos = UnixNanos(1_700_000_000_000_000_000);
const SOURCE: SourceId = SourceId(1);
const RUN: RunId = RunId([3; 16]);

#[test]
fn every_message_is_as_specified() {
    let blocks = blocks();
    for (name, message) in messages() {
        let golden = &blocks[name];
        // What is skipped has a payload that nobody here could write.
        if !matches!(message, Message::Skipped { .. }) {
            assert_eq!(&message.encode()[..], &golden[..], "{name}");
        }
        assert_eq!(Message::decode(golden), Ok(Decoded::Value(message, golden.len())), "{name}");
    }
}

fn notice() -> Message {
    Message::Notice(Notice { kind: Notice::EXPIRED, text: "three have".to_owned() })
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
            due: None,
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
    assert_eq!([layout.body().end, layout.repair().start, layout.repair().end], [90, 169, 181]);
    assert_eq!(layout.end(), 260);
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
    let by_time = OfferEntry { modified: Some(MODIFIED), ..offered(0, "flight1/9.jpg", 21) };
    let hash = Some(ContentHash::from_bytes([1; 32]));
    let by_hash = OfferEntry { hash, ..offered(1, "10.jpg", 60_000) };
    let receipts = Receipts::new(SourceId(0), UnixNanos(258), [0, 1, 2, 70].map(Sequence));
    let refusal = Refusal::new(SOURCE, Sequence(4), RefusalCode::NoSpace, "disk full");
    let noted = [SequenceRun { first: Sequence(300), count: 2 }].to_vec();
    vec![
        ("hello", Message::Hello(hello())),
        ("welcome", Message::Welcome(welcome())),
        ("welcome-late", Message::Welcome(welcome_late())),
        ("opened", Message::Opened(Opened { source: SOURCE, next: Sequence(300) })),
        ("declined", Message::Declined(Declined::new(SOURCE, CloseCode::Owned, "of cam1"))),
        ("offer", Message::Offer(Offer { source: SOURCE, entries: vec![by_time, by_hash] })),
        ("answer", Message::Answer(Answer::new(SOURCE, [Verdict::Wanted, Verdict::Stored]))),
        ("answer-not-open", Message::Answer(Answer::new(SOURCE, [Verdict::NotOpen; 2]))),
        ("receipts", Message::Receipts(receipts)),
        ("refusal", Message::Refusal(refusal)),
        ("drops", Message::Drops(drops())),
        ("drops-other-content", Message::Drops(drops_other_content())),
        ("standing", Message::Standing(standing())),
        ("notice", notice()),
        ("noted", Message::Noted(Noted { source: SOURCE, run: RUN, frames: noted })),
        ("end-of-run", Message::EndOfRun(end_of_run())),
        ("totals", Message::Totals(Totals { source: SOURCE, stored: 8, already: 1 })),
        ("clock-probe", Message::ClockProbe(77)),
        ("clock-reply", Message::ClockReply { asked: 77, arrived: 78, replied: 79 }),
        ("join", Message::Join(Join { session: [7; 16], token: [9; 16] })),
        ("trial", Message::Trial(Trial { session: [7; 16], agent: "framelane/0.2".to_owned() })),
        ("counted", Message::Counted(Counted { frames: 300, bytes: 21 })),
        ("skipped", Message::Skipped { kind: 15 }),
    ]
}

fn standing() -> Standing {
    let lag = Some(Duration::from_millis(80));
    Standing {
        rtt: Duration::from_micros(42_000),
        packets_sent: 1_000,
        packets_lost: 20,
        bytes_sent: 1_200_000,
        repair_bytes: 40_000,
        clock_ahead: Some(-2),
        sources: vec![
            SourceStanding { source: SourceId(0), captured: 300, settled: 300, lag: None },
            SourceStanding { source: SOURCE, captured: 300, settled: 297, lag },
        ],
    }
}

fn hello() -> Hello {
    let source = |(name, endless)| SourceHello {
        name: SourceName::parse(name).expect("a valid name"),
        run: RUN,
        began: MODIFIED,
        endless,
        live: endless,
    };
    Hello {
        session: [7; 16],
        overwrite: true,
        agent: "framelane/0.2".to_owned(),
        sources: [("visible", false), ("infrared", true)].map(source).to_vec(),
        capabilities: Capabilities::default(),
    }
}

fn welcome() -> Welcome {
    Welcome {
        durable: false,
        replaces: true,
        max_frame: 64 << 20,
        max_unconfirmed_bytes: 64 << 20,
        max_unconfirmed_frames: 4_096,
        agent: "framelane/0.2".to_owned(),
        next: vec![Sequence(0), Sequence(300)],
        capabilities: Capabilities::JOIN,
        join: Some([9; 16]),
        unopened: Vec::new(),
    }
}

/// The same, with a source that is not open yet.
fn welcome_late() -> Welcome {
    Welcome {
        next: vec![Sequence(0), Sequence(0)],
        join: None,
        unopened: vec![Unopened::new(SOURCE, "a file")],
        ..welcome()
    }
}

fn drops() -> Drops {
    let late = DropRange {
        first: Sequence(300),
        count: 2,
        reason: DropReason::Late,
        captured: Some((UnixNanos(1), UnixNanos(2))),
    };
    Drops { source: SOURCE, run: RUN, ranges: vec![late] }
}

fn drops_other_content() -> Drops {
    let (first, reason) = (Sequence(302), DropReason::Conflict);
    let ranges = vec![DropRange { first, count: 1, reason, captured: None }];
    Drops { source: SOURCE, run: RUN, ranges }
}

/// Each reason that the codec reads has its row, with its number and the name that ledgers have; and no other has.
#[test]
fn every_reason_of_a_drop_is_as_specified() {
    let text = include_str!("../docs/wire.md");
    let (_, table) = text.split_once("| reason | name in the ledger |").expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &str| -> Option<(u64, String)> {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        Some((cells.next()?.parse().ok()?, cells.next()?.trim_matches('`').to_owned()))
    };
    let specified: Vec<_> = rows.filter_map(row).collect();
    let golden = &blocks()["drops-other-content"];
    let named = |number: u8| {
        let mut bytes = golden.clone();
        let place = bytes.len() - 2;
        assert_eq!(bytes[place], 0x0b, "where the reason stands");
        bytes[place] = number;
        match Message::decode(&bytes) {
            Ok(Decoded::Value(Message::Drops(drops), _)) => {
                assert_eq!(Message::Drops(drops.clone()).encode()[..], bytes[..]);
                Some((u64::from(number), drops.ranges[0].reason.name().to_owned()))
            }
            _ => None,
        }
    };
    let known: Vec<_> = (0..64).filter_map(named).collect();
    assert_eq!(specified, known);
}

fn end_of_run() -> EndOfRun {
    EndOfRun {
        source: SOURCE,
        run: RUN,
        first: Sequence(300),
        captured: 10,
        ended: UnixNanos(258),
        lost: vec![LostFrame { sequence: Sequence(301), name: "3.jpg".to_owned() }],
        lost_count: 2,
    }
}

#[test]
fn parity_is_as_specified() {
    let frame = |sequence| CoveredFrame {
        source: SOURCE,
        sequence: Sequence(sequence),
        stream_bytes: 2_100,
    };
    let parity =
        ParityHeader { symbol_bytes: 1_200, first_symbol: 1, frames: vec![frame(4), frame(5)] };
    assert_eq!(parity.encode()[..], blocks()["parity"][..]);
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
