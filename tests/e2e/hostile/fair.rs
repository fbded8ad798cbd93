//! What a good sender gets beside 63 others: its first frame is stored soon, it goes on at its fair share at least, and
//! the receiver's memory stays bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use framelane::wire::Message;
use quinn::{Connection, SendStream};

use super::peer::{Options, Peer, header, wire};
use crate::support::{Place, Receiver};

/// How many mean no good.
pub(super) const HOSTILE: usize = 63;

/// What the receiver may hold: its `--memory` and this.
const BESIDE_MEMORY_KIB: u64 = 64 * 1024;
pub(super) const MEMORY: &str = "128MiB";
const MEMORY_KIB: u64 = 128 * 1024;

/// The time in which a good sender's first frame is stored. It is told in [turns](Turns), since a machine that is busy
/// with more is slower for everybody.
const FIRST: Duration = Duration::from_secs(2);

/// Processor time that the receiver may take until then, by all of its threads. However busy the machine is, it is no
/// more for that.
const FIRST_PROCESSOR: Duration = Duration::from_secs(3);

/// How long goodput is measured, from the first frame on.
const MEASURED: Duration = Duration::from_secs(2);

/// A camera's frame.
const FRAME_BYTES: usize = 60_000;

/// Frames that a good sender has under way at once.
const UNDER_WAY: u64 = 16;

/// Whose the hostile sessions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pins {
    /// All of one sender.
    One,
    /// Each of a sender of its own.
    Each,
}

/// The hostile sender of that number.
pub(super) fn hostile(number: usize) -> Options {
    Options { identity: format!("hostile-{number}").into(), ..Options::default() }
}

/// A clock that goes by the turns of a thread which works a little and sleeps a little. On a machine that is busy with
/// other programs it gets fewer of them, and so does the receiver.
struct Turns {
    count: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Turns {
    /// Ten of them take a tenth of a second at least.
    const LENGTH: Duration = Duration::from_millis(10);

    fn start() -> Self {
        let (count, ended) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (counting, ending) = (count.clone(), ended.clone());
        std::thread::spawn(move || {
            let work = vec![7; 1 << 20];
            while !ending.load(Ordering::Relaxed) {
                let since = Instant::now();
                std::hint::black_box(blake3::hash(&work));
                // The work takes a tenth of a turn, where nobody else does any.
                std::thread::sleep(Self::LENGTH - Self::LENGTH / 10);
                if let Some(left) = Self::LENGTH.checked_sub(since.elapsed()) {
                    std::thread::sleep(left);
                }
                counting.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { count, ended }
    }

    fn passed(&self) -> Duration {
        Self::LENGTH * self.count.load(Ordering::Relaxed) as u32
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// What a good sender got.
#[derive(Debug, Clone, Copy)]
struct Served {
    first: Duration,
    first_in_turns: Duration,
    /// Processor time of the receiver until the first frame was stored, where the system tells.
    first_processor: Option<Duration>,
    /// By turns as well.
    bytes_a_second: f64,
}

/// Sends frames of one source for a while, as many at once as a window has.
async fn serve_good(place: &Place, receiver: &Receiver<'_>, source: &str) -> Served {
    let body = vec![7; FRAME_BYTES];
    let processor_before = processor_ticks(receiver);
    let (start, turns) = (Instant::now(), Turns::start());
    let mut peer = Peer::welcomed(place, receiver, &[source]).await;
    let (mut sent, mut confirmed, mut first) = (0, 0, None);
    // How it goes on is measured from the first on, however late that was.
    let (mut going, mut turns_before) = (start, Duration::ZERO);
    while first.is_none() || going.elapsed() < MEASURED {
        while sent < confirmed + UNDER_WAY {
            peer.send(&header(0, sent, &body), &body).await;
            sent += 1;
        }
        match peer.hear().await {
            Message::Receipts(receipts) => {
                confirmed += receipts.runs.iter().map(|run| run.count).sum::<u64>();
                first.get_or_insert_with(|| {
                    (going, turns_before) = (Instant::now(), turns.passed());
                    let before = processor_before.zip(processor_ticks(receiver));
                    let processor = before.map(|(before, now)| TICK * (now - before) as u32);
                    (start.elapsed(), turns.passed(), processor)
                });
            }
            other => panic!("no receipts but {other:?}"),
        }
    }
    let seconds = (turns.passed() - turns_before).max(Turns::LENGTH).as_secs_f64();
    let bytes_a_second = (confirmed * FRAME_BYTES as u64) as f64 / seconds;
    // It leaves as a sender does, with nothing under way: a close in the middle of a flood may be lost.
    while confirmed < sent {
        if let Message::Receipts(receipts) = peer.hear().await {
            confirmed += receipts.runs.iter().map(|run| run.count).sum::<u64>();
        }
    }
    peer.leave().await;
    let (first, first_in_turns, first_processor) = first.unwrap_or_default();
    Served { first, first_in_turns, first_processor, bytes_a_second }
}

/// Measures a good sender alone and then beside what `begin` has begun, which is kept meanwhile.
pub(super) async fn assert_fair<T>(
    place: &Place,
    receiver: &Receiver<'_>,
    begin: impl AsyncFnOnce() -> T,
) -> T {
    /// Each of these tests takes all of a machine.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = ONE_AT_A_TIME.lock().await;
    let alone = serve_good(place, receiver, "alone").await;
    let others = begin().await;
    let beside = serve_good(place, receiver, "beside").await;
    println!("alone {alone:?}, beside {beside:?}, peak {} KiB", peak_kib(receiver));
    let Served { first, first_in_turns: in_turns, first_processor: processor, .. } = beside;
    assert!(in_turns <= FIRST, "the first frame took {in_turns:?} of {FIRST:?} ({first:?})");
    assert!(
        processor.is_none_or(|time| time <= FIRST_PROCESSOR),
        "the receiver took {processor:?}"
    );
    let fair = alone.bytes_a_second / (HOSTILE + 1) as f64 / 2.0;
    // Some seconds on a machine that does something else as well may hold little; who is starved gets no more in others.
    let mut most = beside.bytes_a_second;
    for again in ["beside-again", "beside-again-2"] {
        if most < fair {
            most = most.max(serve_good(place, receiver, again).await.bytes_a_second);
        }
    }
    assert!(most >= fair, "{most} of {fair} bytes/s");
    assert_memory(receiver);
    others
}

/// Checks what the receiver has held at most.
#[track_caller]
pub(super) fn assert_memory(receiver: &Receiver<'_>) {
    let peak = peak_kib(receiver);
    assert!(peak <= MEMORY_KIB + BESIDE_MEMORY_KIB, "the receiver held {peak} KiB");
}

/// The most memory that the receiver has held, beside the pages of its own program, which are mapped from a file and
/// which the system may take back at any time; 0 where the system does not tell.
pub(super) fn peak_kib(receiver: &Receiver<'_>) -> u64 {
    let path = format!("/proc/{}/status", receiver.process().pid());
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse().expect("a number"))
    };
    kib("VmHWM:").saturating_sub(kib("RssFile:"))
}

/// A tick of the system's account of processor time.
const TICK: Duration = Duration::from_millis(10);

/// Processor time that the receiver has used, in ticks.
pub(super) fn processor_ticks(receiver: &Receiver<'_>) -> Option<u64> {
    let path = format!("/proc/{}/stat", receiver.process().pid());
    let stat = std::fs::read_to_string(path).ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// Sessions that mean no good, each with a source of its own.
pub(super) async fn hostile_sessions(
    place: &Place,
    receiver: &Receiver<'_>,
    pins: Pins,
) -> Vec<Peer> {
    let mut peers = Vec::new();
    for number in 0..HOSTILE {
        let sender = if pins == Pins::One { 0 } else { number };
        let source = format!("hostile-{number}");
        peers.push(Peer::welcomed_as(place, receiver, &[&source], &hostile(sender)).await);
    }
    peers
}

/// Opens as many streams as the peer lets it and writes a beginning on each; keeps them.
pub(super) async fn begin_streams(
    connection: &Connection,
    start: &[u8],
    most: usize,
) -> Vec<SendStream> {
    let mut streams = Vec::new();
    while streams.len() < most {
        let opened = tokio::time::timeout(Duration::from_millis(100), connection.open_uni());
        let Ok(Ok(mut stream)) = opened.await else { break };
        let written = stream.write_all(start);
        let _ = tokio::time::timeout(Duration::from_millis(100), written).await;
        streams.push(stream);
    }
    streams
}

/// The start of a frame of so many bytes.
pub(super) fn beginning(announced: u64, sent: usize) -> bytes::Bytes {
    let mut header = header(0, 0, b"");
    header.meta.bytes = announced;
    wire(&header, &vec![1; sent])
}
