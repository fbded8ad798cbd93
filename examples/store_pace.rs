//! Whether the removal of old days keeps pace with storing, and what it costs storing: two sources are stored as fast as
//! they go, in turns without and with a limit, for each layout. Nothing but the store is in it, and nobody else may write
//! to its file system meanwhile: what it takes is what is free less.
//! `cargo run --release --example store_pace -- DIR [SECONDS] [KEEP_MB] [ROUNDS] [FRAMES_A_SECOND] [LAYOUT]`

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use framelane::frame::{
    ByteSize, Captured, Clock, Frame, FrameMeta, FrameName, Sequence, SourceName, UnixNanos,
};
use framelane::manifest::{Day, FILE_NAME, INDEX_NAME, LEDGER_NAME};
use framelane::store::{FolderStore, Keep, Layout, Opener, Outcome, ReceivedFrame, StoreOptions};

const DAY: u64 = 86_400_000_000_000;
const FRAME_BYTES: u64 = 4_096;
const BATCH: u64 = 32;
const SOURCES: [&str; 2] = ["visible", "infrared"];
/// Of one source.
const FRAMES_A_DAY: u64 = 10_000;
/// Far enough back that no day of it is today.
const DAYS_AGO: u64 = 3_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().expect("name a folder to measure in");
    let mut number = |or: u64| arguments.next().map_or(or, |n| n.parse().expect("a number"));
    let (seconds, keep, rounds, rate) = (number(60), number(300), number(3), number(0));
    let only: Option<Layout> = arguments.next().map(|text| text.parse().expect("a layout"));
    let root = Path::new(&root).join("store_pace");
    for layout in [Layout::Day, Layout::Hour, Layout::Flat] {
        if only.is_some_and(|only| only != layout) {
            continue;
        }
        for round in 0..rounds {
            for limit in [None, Some(keep * 1_000_000)] {
                let out = root.join(format!("{layout}-{round}-{}", limit.is_some()));
                let ran = Run { layout, limit, rate, time: Duration::from_secs(seconds) };
                ran.run(&out);
                fs::remove_dir_all(&out).expect("removed");
                rustix::fs::sync();
            }
        }
    }
}

struct Run {
    layout: Layout,
    limit: Option<u64>,
    /// Frames a second of both sources; as many as there can be, where it is 0.
    rate: u64,
    time: Duration,
}

impl Run {
    fn run(&self, out: &Path) {
        let mut keep = Keep::default();
        keep.bytes = self.limit.map(ByteSize);
        let options = StoreOptions { layout: self.layout, keep, ..StoreOptions::default() };
        let store = Arc::new(FolderStore::open(out, options).expect("a store"));
        let (end, stored) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let cameras: Vec<_> = SOURCES
            .map(|name| {
                let (store, end, stored, rate) =
                    (store.clone(), end.clone(), stored.clone(), self.rate);
                std::thread::spawn(move || camera(&store, name, rate / 2, &end, &stored))
            })
            .into();
        let (free, mut most, mut last) = (free(out), 0, 0);
        while began.elapsed() < self.time {
            std::thread::sleep(Duration::from_millis(500));
            last = free.saturating_sub(self::free(out) + records(out));
            most = most.max(last);
        }
        end.store(true, Ordering::Relaxed);
        let storing: f64 = cameras.into_iter().map(|camera| camera.join().expect("it ends")).sum();
        let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let stored = stored.load(Ordering::Relaxed);
        let limited = self.limit.map_or_else(String::new, |limit| {
            let mb = |bytes: u64| bytes as f64 / 1e6;
            let over = mb(most.saturating_sub(limit)) / (mb(stored * FRAME_BYTES) / seconds);
            format!(
                "; limit {:.0} MB, at most {:.0} MB ({over:.1} s of storing more), at the end {:.0} MB",
                mb(limit),
                mb(most),
                mb(last)
            )
        });
        println!(
            "{:<5} {:>7.0} frames/s, a frame: {:.1} us of processor by who stores, {:.1} by others; {stored} frames, \
             {:.0} MB{limited}",
            self.layout.to_string(),
            stored as f64 / seconds,
            storing * 1e6 / stored as f64,
            (cpu - storing) * 1e6 / stored as f64,
            (stored * FRAME_BYTES) as f64 / 1e6,
        );
    }
}

/// Frames of a source in the order of capture, until the end. The time that this thread had of a processor, in seconds:
/// where others wait for theirs, it says what storing costs, and the clock does not.
fn camera(store: &FolderStore, name: &str, rate: u64, end: &AtomicBool, stored: &AtomicU64) -> f64 {
    let name = SourceName::parse(name).expect("a name");
    let opener = Arc::new(Opener::with_pin(Some("sha256:aa")));
    let mut source = store.source(&name, &opener).expect("a source");
    let first = UnixNanos::now().0 - DAYS_AGO * DAY;
    let body = Bytes::from(vec![7; FRAME_BYTES as usize]);
    let began = Instant::now();
    let mut next = 0;
    while !end.load(Ordering::Relaxed) {
        let frames: Vec<_> = (next..next + BATCH)
            .map(|sequence| {
                frame(sequence, first + sequence * (DAY / FRAMES_A_DAY), &body, &opener)
            })
            .collect();
        let outcomes = source.store_batch(&frames);
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Stored), "{outcomes:?}");
        next += BATCH;
        stored.fetch_add(BATCH, Ordering::Relaxed);
        if rate > 0 {
            let due = Duration::from_secs_f64(next as f64 / rate as f64);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
    }
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn frame(sequence: u64, at: u64, body: &Bytes, from: &Arc<Opener>) -> ReceivedFrame {
    let name = FrameName::parse(&format!("frame-{sequence:09}.raw")).expect("a name");
    let captured = Captured { at: UnixNanos(at), clock: Clock::Program, uncertainty: None };
    let meta = FrameMeta {
        sequence: Sequence(sequence),
        media: name.media_type(),
        name,
        bytes: body.len() as u64,
        hash: None,
        captured: Some(captured),
        due: None,
        modified: None,
    };
    let (frame, from) = (Frame { meta, body: body.clone() }, from.clone());
    ReceivedFrame { frame, from, received: UnixNanos::now(), replace: false }
}

/// Bytes that are free where a folder is.
fn free(folder: &Path) -> u64 {
    let found = rustix::fs::statvfs(folder).expect("a file system");
    found.f_bfree * found.f_frsize
}

/// What the records of a store take.
fn records(out: &Path) -> u64 {
    let in_folder = |folder: &Path| -> u64 {
        let of = |name: &str| fs::metadata(folder.join(name)).map_or(0, |found| found.len());
        [FILE_NAME, INDEX_NAME, LEDGER_NAME].into_iter().map(of).sum()
    };
    let first = Day::of(UnixNanos(UnixNanos::now().0 - DAYS_AGO * DAY)).begin().0;
    let of_source = |name: &str| {
        let source = out.join(name);
        let mut days =
            (0..).map(|day| source.join(Day::of(UnixNanos(first + day * DAY)).to_string()));
        let of_days = days.by_ref().take_while(|day| day.exists()).map(|day| in_folder(&day));
        in_folder(&source) + of_days.sum::<u64>()
    };
    SOURCES.into_iter().map(of_source).sum()
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
