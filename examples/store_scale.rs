//! What a store of many millions of frames costs: to open it, to hold it, and to store one frame more. Only the
//! records are made, synthetically; of most frames there are no files, as only the index matters here.
//! `cargo run --release --example store_scale -- DIR [FRAMES] [DAYS]`

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use framelane::frame::{
    Captured, Clock, Frame, FrameMeta, FrameName, RunId, Sequence, SourceName, UnixNanos,
};
use framelane::manifest::{Day, FILE_NAME, INDEX_NAME, LEDGER_NAME, Record};
use framelane::store::{
    FolderSource, FolderStore, Layout, OpenSource, Opener, Outcome, ReceivedFrame, StoreOptions,
};

const DAY: u64 = 86_400_000_000_000;
/// 2026-09-01.
const BEGIN: u64 = 20_697 * DAY;
const RUN: RunId = RunId([7; 16]);
/// Frames stored to see what one costs, and how many at a time.
const STORED: u64 = 20_000;
const BATCH: u64 = 32;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().expect("name a folder to measure in");
    let mut number =
        |otherwise| arguments.next().map_or(otherwise, |n| n.parse().expect("a number"));
    let (frames, days) = (number(20_000_000), number(30));
    let root = Path::new(&root).join("store_scale");
    // Only this process's own figure is told, so the first opening of each is in a process of its own.
    if std::env::var_os("STORE_SCALE_OPEN").is_some() {
        return measure(&root, frames, days);
    }
    for (layout, name) in [(Layout::Day, "day"), (Layout::Flat, "flat")] {
        let out = root.join(name);
        let began = Instant::now();
        make(&out, layout, frames, days);
        println!("{layout}: {frames} lines made in {:.1} s", began.elapsed().as_secs_f64());
        for name in [&format!("empty-{name}"), name, name] {
            let own = std::env::current_exe().expect("this program");
            let run = std::process::Command::new(own)
                .arg(root.parent().unwrap_or(&root))
                .args([frames.to_string(), days.to_string()])
                .env("STORE_SCALE_OPEN", name)
                .status();
            assert!(run.expect("it runs").success());
        }
        // Some 430 bytes a line: there may be no room for both layouts at once.
        fs::remove_dir_all(&out).expect("removed");
    }
}

/// The frame of that sequence, of which all are captured evenly over the days.
fn record(sequence: u64, frames: u64, days: u64) -> Record {
    let name = FrameName::parse(&format!("frame-{sequence:09}.jpg")).expect("a name");
    let at = BEGIN + (u128::from(sequence) * u128::from(days * DAY) / u128::from(frames)) as u64;
    let meta = meta(sequence, name, at, 40_000);
    let hash = blake3::hash(&sequence.to_le_bytes());
    let mut record = Record::new(&meta, hash, UnixNanos(at + 5_000_000), UnixNanos(at + 6_000_000));
    record.run = Some(RUN);
    record.sender = opener().pin.map(|pin| pin.to_string());
    record
}

fn meta(sequence: u64, name: FrameName, at: u64, bytes: u64) -> FrameMeta {
    let captured = Captured { at: UnixNanos(at), clock: Clock::Modified, uncertainty: None };
    FrameMeta {
        sequence: Sequence(sequence),
        media: name.media_type(),
        name,
        bytes,
        hash: None,
        captured: Some(captured),
        due: None,
        modified: Some(UnixNanos(at)),
    }
}

fn make(out: &Path, layout: Layout, frames: u64, days: u64) {
    let source = out.join("visible");
    let mut open: Option<(Option<Day>, BufWriter<File>)> = None;
    let mut line = Vec::new();
    for sequence in 0..frames {
        let record = record(sequence, frames, days);
        let day = (layout != Layout::Flat).then(|| record.day());
        if open.as_ref().is_none_or(|(other, _)| *other != day) {
            let folder = source.join(day.map_or_else(String::new, |day| day.to_string()));
            fs::create_dir_all(&folder).expect("a folder");
            let file = File::create(folder.join(FILE_NAME)).expect("a manifest");
            open = Some((day, BufWriter::with_capacity(1 << 20, file)));
        }
        line.clear();
        record.write_line(&mut line);
        open.as_mut().expect("opened").1.write_all(&line).expect("written");
    }
    drop(open);
    let ledger = format!("{{\"run\":\"{RUN}\",\"began\":1,\"first\":0,\"endless\":true}}\n");
    fs::write(source.join(LEDGER_NAME), ledger).expect("written");
}

fn open(out: &Path, layout: Layout) -> FolderSource {
    let options = StoreOptions { layout, ..StoreOptions::default() };
    let store = FolderStore::open(out, options).expect("a store");
    let source = SourceName::parse("visible").expect("a name");
    store.source(&source, &opener()).expect("opened")
}

/// Whose the frames are.
fn opener() -> Opener {
    let pin = format!("sha256:{}", "ab".repeat(32));
    let mut opener = Opener::with_pin(Some(&pin));
    opener.run = Some(RUN);
    opener
}

fn measure(root: &Path, frames: u64, days: u64) {
    let name = std::env::var("STORE_SCALE_OPEN").expect("a store");
    let out = root.join(&name);
    let layout = if name.ends_with("flat") { Layout::Flat } else { Layout::Day };
    let had_index = has_index(&out);
    let began = Instant::now();
    let mut store = open(&out, layout);
    let opened = began.elapsed().as_secs_f64();
    let held = memory("VmRSS");
    println!(
        "{name:<10} {:>9} frames, {}: opened in {opened:.3} s, {held} MB resident, at most {} MB",
        store.frames(),
        if had_index { "indexed" } else { "no index yet" },
        memory("VmHWM"),
    );
    // Behind all that are there.
    let next = store.last_sequence().map_or(0, |last| last.0 + 1).max(frames);
    let last_day = BEGIN + days * DAY;
    let body = Bytes::from(vec![7; 4_000]);
    let (began, cpu) = (Instant::now(), cpu_seconds());
    for first in (0..STORED).step_by(BATCH as usize) {
        let some: Vec<_> =
            (first..first + BATCH).map(|n| frame(next + n, last_day + n, &body)).collect();
        let outcomes = store.store_batch(&some);
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Stored), "{outcomes:?}");
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let each = |seconds: f64| seconds / STORED as f64 * 1e6;
    println!(
        "{name:<10} a frame of 4 kB stored in {:.1} us ({:.1} us of processor), {} MB resident, at most {} MB",
        each(seconds),
        each(cpu),
        memory("VmRSS"),
        memory("VmHWM"),
    );
    let began = Instant::now();
    drop(store);
    println!("{name:<10} closed in {:.3} s", began.elapsed().as_secs_f64());
}

fn has_index(out: &Path) -> bool {
    let source = out.join("visible");
    let days = fs::read_dir(&source).into_iter().flatten().flatten();
    source.join(INDEX_NAME).exists()
        || days.into_iter().any(|day| day.path().join(INDEX_NAME).exists())
}

fn frame(sequence: u64, at: u64, body: &Bytes) -> ReceivedFrame {
    let name = FrameName::parse(&format!("frame-{sequence:09}.jpg")).expect("a name");
    let frame = Frame { meta: meta(sequence, name, at, body.len() as u64), body: body.clone() };
    ReceivedFrame { frame, from: Arc::new(opener()), received: UnixNanos::now(), replace: false }
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A figure of this process, in MB.
fn memory(what: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1_000
}
