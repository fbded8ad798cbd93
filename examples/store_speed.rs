//! How fast the store is, beside the least that writing a file and naming it costs.
//! `cargo run --release --example store_speed -- DIR`

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use framelane::frame::{
    Captured, Clock as CaptureClock, Frame, FrameMeta, FrameName, Sequence, SourceName, UnixNanos,
};
use framelane::store::{FolderSource, FolderStore, Opener, Outcome, ReceivedFrame, StoreOptions};
use framelane::verify::{VerifyOptions, verify};

fn main() {
    let root = std::env::args().nth(1).expect("name a folder to measure in");
    let root = Path::new(&root).join("store_speed");
    for (count, bytes) in [(50_000, 4_000), (2_000, 1_000_000)] {
        floor(&root, count, bytes);
        store(&root, count, bytes, 64, false);
        store(&root, count / 10, bytes, 64, true);
        store(&root, count / 10, bytes, 1, true);
    }
    resume(&root, 100_000);
    let _ = fs::remove_dir_all(&root);
}

/// A new folder each time, and nothing removed until the end: ext4 takes many times longer to make
/// files in the minute after many were removed.
fn fresh(root: &Path) -> PathBuf {
    let taken = fs::read_dir(root).map_or(0, Iterator::count);
    let folder = root.join(format!("{taken:03}"));
    fs::create_dir_all(&folder).expect("the folder can be made");
    rustix::fs::sync();
    folder
}

/// Wall and processor time; on a busy machine only the second says much.
struct Clock(Instant, f64);

impl Clock {
    fn now() -> Self {
        Self(Instant::now(), cpu_seconds())
    }
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn said(what: &str, count: u64, bytes: u64, Clock(begun, cpu): Clock) {
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let (rate, megabytes) = (count as f64 / seconds, (count * bytes) as f64 / seconds / 1e6);
    println!(
        "{what:<40} {count:>7} x {bytes:>7} B  {seconds:>7.3} s (cpu {cpu:>6.3} s) {rate:>9.0}/s {megabytes:>7.0} MB/s"
    );
}

fn floor(root: &Path, count: u64, bytes: u64) {
    let root = &fresh(root);
    let body = vec![7; bytes as usize];
    let begun = Clock::now();
    for n in 0..count {
        let part = root.join("part");
        File::create_new(&part).and_then(|mut file| file.write_all(&body)).expect("written");
        fs::rename(&part, root.join(format!("{n}.jpg"))).expect("renamed");
    }
    said("open, write, rename", count, bytes, begun);
    let begun = Clock::now();
    for _ in 0..count {
        std::hint::black_box(blake3::hash(&body));
    }
    said("BLAKE3 of the same", count, bytes, begun);
}

fn frame(sequence: u64, body: &Bytes) -> ReceivedFrame {
    let name = FrameName::parse(&format!("{sequence}.jpg")).expect("a name");
    let (bytes, media) = (body.len() as u64, name.media_type());
    let meta = FrameMeta {
        sequence: Sequence(sequence),
        name,
        bytes,
        hash: None,
        captured: Some(Captured {
            at: UnixNanos(1),
            clock: CaptureClock::Modified,
            uncertainty: None,
        }),
        due: None,
        modified: Some(UnixNanos(1)),
        media,
    };
    ReceivedFrame {
        frame: Frame { meta, body: body.clone() },
        from: Arc::default(),
        received: UnixNanos(2),
        replace: false,
    }
}

fn open(root: &Path, durable: bool) -> FolderSource {
    let store = FolderStore::open(root, StoreOptions { durable, ..StoreOptions::default() });
    let source = SourceName::parse("visible").expect("a name");
    store.and_then(|store| store.source(&source, &Opener::default())).expect("opened")
}

fn store(root: &Path, count: u64, bytes: u64, batch: u64, durable: bool) -> PathBuf {
    let root = &fresh(root);
    let body = Bytes::from(vec![7; bytes as usize]);
    let mut store = open(root, durable);
    let begun = Clock::now();
    for first in (0..count).step_by(batch as usize) {
        let frames: Vec<_> = (first..count.min(first + batch)).map(|n| frame(n, &body)).collect();
        let outcomes = store.store_batch(&frames);
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Stored), "{outcomes:?}");
    }
    said(&format!("store_batch of {batch}, durable {durable}"), count, bytes, begun);
    root.clone()
}

fn resume(root: &Path, count: u64) {
    let root = &store(root, count, 100, 256, false);
    let before = resident();
    let begun = Clock::now();
    let mut store = open(root, false);
    said("open", count, 0, begun);
    println!("resident memory: {before} -> {} kB", resident());
    let body = Bytes::new();
    let names: Vec<_> = (0..count).map(|n| frame(n, &body).frame.meta.name).collect();
    let begun = Clock::now();
    assert!(names.iter().all(|name| store.lookup(name).expect("read").is_some()));
    said("lookup in order", count, 0, begun);
    let begun = Clock::now();
    let mut at = 0;
    for _ in 0..count {
        at = (at + 7919 * 13) % count;
        assert!(store.lookup(&names[at as usize]).expect("read").is_some());
    }
    said("lookup out of order", count, 0, begun);
    let begun = Clock::now();
    let report = verify(root, VerifyOptions::default(), &mut |_| {}).expect("verified");
    assert!(report.is_proven());
    said("verify", count, 100, begun);
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS: 0 kB");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}
