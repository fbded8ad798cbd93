//! What holds of every input. A panic is a finding.

use std::io::Write;
use std::path::Path;

use framelane::link::{LinkSpec, Trace};
use framelane::manifest::{Entry, Manifest, Record};
use framelane::repair::{Assembly, Head, Layout, Limits, Plan, Progress};
use framelane::source::cut::{Cut, Cutter, Framing};
use framelane::wire::parity::ParityHeader;
use framelane::wire::{Decoded, FrameHeader, Message, record, stop_and_wait};

/// Says whether what was decoded took something, and no more than there is.
fn taken<T>(decoded: &Decoded<T>, bytes: &[u8]) -> Option<usize> {
    match decoded {
        Decoded::NeedMore(need) => {
            assert!(*need > bytes.len(), "{need} bytes are wanted of {}", bytes.len());
            None
        }
        Decoded::Value(_, length) => {
            assert!(*length <= bytes.len());
            Some(*length)
        }
    }
}

/// A frame header: what is decoded encodes to what decodes to the same.
pub fn header(bytes: &[u8]) {
    let Ok(decoded) = FrameHeader::decode(bytes) else { return };
    if let (Some(_), Decoded::Value(header, _)) = (taken(&decoded, bytes), decoded) {
        let again = header.encode().expect("what was read can be written");
        let length = again.len();
        assert_eq!(FrameHeader::decode(&again), Ok(Decoded::Value(header, length)));
    }
}

/// A message: the same, and no part of it is a message.
pub fn message(bytes: &[u8]) {
    let Ok(decoded) = Message::decode(bytes) else { return };
    if let (Some(length), Decoded::Value(message, _)) = (taken(&decoded, bytes), decoded) {
        let part = Message::decode(&bytes[..length - 1]);
        assert!(matches!(part, Ok(Decoded::NeedMore(_))), "{part:?} of {message:?}");
        let again = message.encode();
        let length = again.len();
        assert_eq!(Message::decode(&again), Ok(Decoded::Value(message, length)));
    }
}

/// The header of a stream of parity: what is decoded encodes to what decodes to the same.
pub fn parity(bytes: &[u8]) {
    let Ok(decoded) = ParityHeader::decode(bytes) else { return };
    if let (Some(_), Decoded::Value(header, _)) = (taken(&decoded, bytes), decoded) {
        let again = header.encode();
        let length = again.len();
        assert_eq!(ParityHeader::decode(&again), Ok(Decoded::Value(header, length)));
    }
}

/// Records of TCP, one behind the other until one is bad or not whole.
pub fn record(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(decoded) = record::decode(rest) {
        let Some(length) = taken(&decoded, rest).filter(|length| *length > 0) else { return };
        rest = &rest[length..];
    }
}

/// Everything that the scripts' protocol reads.
pub fn stop_and_wait(bytes: &[u8]) {
    let _ = stop_and_wait::opening_outlook(bytes);
    let _ = stop_and_wait::header_outlook(bytes);
    let _ = stop_and_wait::decode_ok(bytes).map(|decoded| taken(&decoded, bytes));
    let _ = stop_and_wait::Command::decode(bytes).map(|decoded| taken(&decoded, bytes));
    if let Ok(opening) = stop_and_wait::Opening::parse(bytes) {
        let _ = opening.source();
        let again = opening.encode().expect("what was read can be written");
        assert_eq!(stop_and_wait::Opening::parse(&again), Ok(opening));
    }
    if let Ok(header) = stop_and_wait::Header::parse(bytes) {
        let _ = header.number();
        // Lengths that the scripts cannot carry are read, so that they can be refused by name.
        if let Ok(again) = header.encode() {
            assert_eq!(stop_and_wait::Header::parse(&again), Ok(header));
        }
    }
}

/// A line of a manifest: what is read is written as a line that reads the same.
pub fn manifest_line(bytes: &[u8]) {
    let Ok(read) = Record::parse(bytes) else { return };
    let mut line = Vec::new();
    read.write_line(&mut line);
    assert_eq!(line.pop(), Some(b'\n'));
    assert!(!line.contains(&b'\n'), "a line of several lines");
    assert_eq!(Record::parse(&line).expect("what was written"), read);
}

/// A line of a ledger: the same. What is written of it says what was read.
pub fn ledger_line(bytes: &[u8]) {
    let Ok(Some(read)) = Entry::parse(bytes) else { return };
    let mut line = Vec::new();
    read.write_line(&mut line);
    assert_eq!(line.pop(), Some(b'\n'));
    assert!(!line.contains(&b'\n'), "a line of several lines");
    let again = Entry::parse(&line).expect("what was written").expect("a kind that is known");
    assert_eq!(again, read);
}

/// A whole manifest, opened to append: read again it is the same, and has no torn end.
pub fn manifest_file(bytes: &[u8]) {
    let mut file = tempfile::tempfile_in(memory()).expect("a file");
    file.write_all(bytes).expect("room");
    let path = Path::new("manifest.jsonl");
    let Ok((manifest, _)) = Manifest::open(file.try_clone().expect("a handle"), path, &mut |_| {})
    else {
        return;
    };
    let frames = manifest.frames();
    let (again, opened) = Manifest::open(file, path, &mut |_| {}).expect("what was put right");
    assert_eq!((again.frames(), opened.torn_bytes), (frames, 0));
}

/// Chunks of one frame's stream, at any offsets: memory follows what came, and a body has its length.
pub fn assembly(bytes: &[u8]) {
    let limits = Limits { max_header: 1_024, max_body: 1 << 20 };
    let mut assembly = Assembly::new(limits, *b"12345678");
    let mut rest = bytes;
    // An offset of two bytes and a length of one, and then the chunk.
    while let [high, low, length, chunks @ ..] = rest {
        let offset = u64::from(u16::from_be_bytes([*high, *low]));
        let (chunk, behind) = chunks.split_at(usize::from(*length).min(chunks.len()));
        match assembly.accept_and_mend(offset, chunk, head) {
            Ok(Progress::Ready(arrival)) => {
                assert!(arrival.body.len() as u64 <= limits.max_body);
                if arrival.mended_shards > 0 {
                    assembly.distrust_repair();
                }
            }
            Ok(Progress::NeedMore | Progress::Enough { .. }) => {}
            Err(_) => return,
        }
        rest = behind;
    }
    let _ = assembly.finish();
}

/// What the receiver makes of a stream's first bytes.
fn head(bytes: &[u8]) -> Head {
    match FrameHeader::decode(bytes) {
        Ok(Decoded::NeedMore(_)) => Head::NeedMore,
        Ok(Decoded::Value(header, length)) => {
            let Some(repair) = header.repair else {
                return Head::Found(Layout::plain(length, header.meta.bytes));
            };
            let plan = Plan::new(
                header.meta.bytes,
                repair.shard_bytes as usize,
                repair.repair_shards as usize,
            );
            plan.map_or(Head::Bad, |plan| Head::Found(Layout::repaired(length, plan)))
        }
        Err(_) => Head::Bad,
    }
}

/// What a camera's program writes into a pipe: every byte is in an image or told as passed over, in order and once, and
/// the same whether it comes at once or in pieces. The first byte says how it is cut, the second how long a piece is.
pub fn cut(bytes: &[u8]) {
    let [how, piece, input @ ..] = bytes else { return };
    let framing = match how % 4 {
        0 => Framing::Length,
        1 => Framing::Raw(u64::from(*how)),
        _ => Framing::Structure,
    };
    let whole = cuts(input, input.len(), framing);
    let covered = covered(&whole, framing);
    assert!(covered <= input.len() as u64, "{whole:?}");
    assert!(framing == Framing::Length || covered == input.len() as u64, "{whole:?}");
    // Why something is no image may be seen sooner where more of it is there.
    let pieces = cuts(input, usize::from(*piece), framing);
    assert_eq!(places(&pieces), places(&whole), "{pieces:?} in pieces, {whole:?} at once");
}

/// Each image, or the place of what is none.
fn places(cuts: &[Cut]) -> Vec<Result<&[u8], std::ops::Range<u64>>> {
    cuts.iter()
        .map(|cut| match cut {
            Cut::Image { bytes, .. } => Ok(&bytes[..]),
            Cut::Skipped { bytes, .. } => Err(bytes.clone()),
        })
        .collect()
}

/// The longest frame that is cut: short, so that overlong ones are met.
const MAX_FRAME: u64 = 1_024;

fn cuts(input: &[u8], piece: usize, framing: Framing) -> Vec<Cut> {
    let mut cutter = Cutter::new(framing, MAX_FRAME);
    let mut cuts = Vec::new();
    for part in input.chunks(piece.max(1)) {
        cutter.push(part);
        cuts.extend(std::iter::from_fn(|| cutter.next()));
    }
    cutter.finish();
    cuts.extend(std::iter::from_fn(|| cutter.next()));
    cuts
}

/// Bytes of the input that the cuts account for. A length in front of an image is in no cut.
fn covered(cuts: &[Cut], framing: Framing) -> u64 {
    let mut at = 0;
    for cut in cuts {
        match cut {
            Cut::Image { bytes, .. } => {
                assert!(bytes.len() as u64 <= MAX_FRAME);
                at += bytes.len() as u64;
            }
            Cut::Skipped { bytes, .. } => {
                assert!(bytes.start >= at && bytes.end > bytes.start, "{bytes:?} after {at}");
                assert!(framing == Framing::Length || bytes.start == at, "{bytes:?} after {at}");
                at = bytes.end;
            }
        }
    }
    at
}

/// When a file was captured: the first byte is the length of a rule, which is for the name and the image behind it.
pub fn captured(bytes: &[u8]) {
    framelane::fuzzing::captured(bytes);
}

/// A link as a user writes it: shown, it is read as the same.
pub fn link_spec(bytes: &[u8]) {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| !text.contains("trace")) else {
        return;
    };
    let Ok(link) = text.parse::<LinkSpec>() else { return };
    let shown = link.to_string();
    let again = shown.parse::<LinkSpec>().expect(&shown);
    assert_eq!(again.to_string(), shown);
}

/// A recorded link.
pub fn trace(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(trace) = Trace::parse("trace", text) else { return };
    let _ = (trace.mean_rate(), trace.period());
    // The end of a period is the next one's.
    assert!(trace.opportunities(std::time::Duration::ZERO, 2 * trace.period()) > 0);
}

/// The file of receivers that are trusted: its content, since a file for each would be a hundred times slower.
pub fn known_receivers(bytes: &[u8]) {
    framelane::fuzzing::known_receivers(bytes);
}

/// The file of senders that may send: the same.
pub fn allow_file(bytes: &[u8]) {
    framelane::fuzzing::allow_file(bytes);
}

/// The congestion controller: whatever it is told, it lets something be sent.
pub fn controller(bytes: &[u8]) {
    framelane::fuzzing::controller(bytes);
}

/// Where files are in memory, if there is such a place.
fn memory() -> &'static Path {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared } else { Path::new("/tmp") }
}
