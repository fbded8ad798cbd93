//! Days of two cameras in faster time, over loopback, into a store that removes old days: memory and descriptors are
//! sampled while it runs, and everything is held against the store at the end.
//! `cargo run --release --example store_soak -- DIR [SECONDS] [KEEP_MB]`

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use framelane::frame::ByteSize;
use framelane::manifest::Reels;
use framelane::store::{Keep, Layout};
use framelane::verify::{VerifyOptions, verify};
use framelane::{Frame, Receiver, Sender};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const DAY: f64 = 86_400.0;
/// The days that are played, and what a frame weighs.
const DAYS: f64 = 16.0;
const FRAME_BYTES: usize = 4_000;
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().ok_or("name a folder to store in")?;
    let mut number = |otherwise: u64| arguments.next().map_or(Ok(otherwise), |n| n.parse());
    let (seconds, keep) = (number(600)?, number(600)?);
    let root = Path::new(&root).join("store_soak");
    let out = root.join("store");
    if out.exists() {
        return Err(format!("{} is there already; remove it first", out.display()).into());
    }
    let mut keeping = Keep::default();
    keeping.bytes = Some(ByteSize(keep * 1_000_000));
    let receiver = Receiver::listen("127.0.0.1:0")
        .certs(root.join("receiver"))
        .out(&out)
        .layout(Layout::Day)
        .keep(keeping);
    let mut receiver = receiver.start().await?;
    let sender = Sender::to(receiver.local_addr().to_string())
        .pin(receiver.pin())
        .certs(root.join("sender"))
        .source("visible")
        .source("infrared");
    let sender = Arc::new(sender.start().await?);
    let (end, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let mut cameras = Vec::new();
    for source in ["visible", "infrared"] {
        let (sender, end, sent) = (sender.clone(), end.clone(), sent.clone());
        cameras.push(tokio::spawn(camera(source, seconds, sender, end, sent)));
    }
    let taking = tokio::spawn(async move {
        while receiver.next().await.is_some() {}
        receiver
    });
    let mut sampled = Vec::new();
    while began.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(SAMPLE_EVERY).await;
        let sample = Sample::take(&out, sent.load(Ordering::Relaxed));
        println!("{:>4} s  {sample}", began.elapsed().as_secs());
        sampled.push(sample);
    }
    end.store(true, Ordering::Relaxed);
    for camera in cameras {
        camera.await??;
    }
    let sender = Arc::into_inner(sender).ok_or("a camera goes on")?;
    let report = sender.finish().await;
    if !report.is_complete() {
        return Err(format!("not all was stored: {report:?}").into());
    }
    taking.abort();
    drop(taking.await);
    judge(&out, sent.load(Ordering::Relaxed), &sampled)
}

/// One camera: as many frames as are taken, captured evenly over the days.
async fn camera(
    source: &'static str,
    seconds: u64,
    sender: Arc<Sender>,
    end: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
) -> std::result::Result<(), String> {
    let first = SystemTime::now() - Duration::from_secs_f64((DAYS + 1.0) * DAY);
    let began = Instant::now();
    let mut body = vec![7; FRAME_BYTES];
    for number in 0u64.. {
        if end.load(Ordering::Relaxed) {
            break;
        }
        let played = began.elapsed().as_secs_f64() / seconds as f64 * DAYS * DAY;
        body[..8].copy_from_slice(&number.to_le_bytes());
        let frame = Frame::raw(body.clone()).captured_at(first + Duration::from_secs_f64(played));
        drop(sender.push(source, frame).await.map_err(|error| error.to_string())?);
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// What the process and its store are at a moment.
struct Sample {
    sent: u64,
    resident_mb: u64,
    descriptors: usize,
    days: usize,
}

impl Sample {
    fn take(out: &Path, sent: u64) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
        let kb = line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok());
        let days = fs::read_dir(out.join("visible")).map_or(0, Iterator::count);
        let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self { sent, resident_mb: kb.unwrap_or(0) / 1_000, descriptors, days }
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sent, resident_mb, descriptors, days } = self;
        write!(
            f,
            "{sent:>9} frames, {resident_mb:>4} MB, {descriptors:>3} descriptors, {days:>3} entries in the source"
        )
    }
}

/// Holds the store against what was sent.
fn judge(out: &Path, sent: u64, sampled: &[Sample]) -> Result<()> {
    let (mut reels, mut seen, mut twice) = (Reels::open(out)?, HashMap::new(), 0);
    while let Some((source, stored)) = reels.next_frame()? {
        let of_source: &mut HashSet<u64> = seen.entry(source).or_default();
        twice += u64::from(!of_source.insert(stored.record.sequence.0));
    }
    let lines: u64 = seen.values().map(|sequences| sequences.len() as u64).sum();
    let report = verify(out, VerifyOptions::default(), &mut |_| {})?;
    let verified: u64 = report.sources.iter().map(|source| source.verified).sum();
    let expired: u64 = report.sources.iter().map(|source| source.expired).sum();
    let half = &sampled[sampled.len() / 2..];
    let figures = |of: fn(&Sample) -> u64| (half.iter().map(of).min(), half.iter().map(of).max());
    println!(
        "sent {sent}, lines {lines} ({twice} twice), verified {verified}, expired {expired}, proven {}",
        report.proven
    );
    println!(
        "second half: resident {:?} MB, descriptors {:?}",
        figures(|s| s.resident_mb),
        figures(|s| s.descriptors as u64)
    );
    if !report.proven || twice > 0 || verified + expired != sent {
        return Err(format!("the store is not what was sent: {:?}", report.sources).into());
    }
    Ok(())
}
