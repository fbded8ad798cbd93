//! The figures of `/state`, as `docs/json.md` has them. The page, `watch` and other programs read them.

use serde::{Deserialize, Serialize};

use super::gallery::{Exhibit, Gallery};
use crate::frame::UnixNanos;
use crate::receiver::{Guest, Newest, Second, Share, Snapshot};
use crate::store::{Keeping, Room};

/// Seconds that a rate is taken of, the present one not among them.
const RATE_SECONDS: u64 = 4;

/// A source whose sender is there and that has had nothing for so long is waiting.
const QUIET_NANOS: u64 = 5_000_000_000;

/// The receiver at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// 1.
    pub schema: u32,
    /// When, on the receiver's clock.
    pub at_unix_ns: u64,
    /// The receiver's version.
    pub version: String,
    /// Whether it takes frames.
    pub ready: bool,
    /// Why not, in words; or that its disk is nearly full, or that storing is slowed.
    #[serde(default)]
    pub trouble: Option<String>,
    /// The disk that frames are stored on; `null` where nobody knows.
    #[serde(default)]
    pub disk: Option<DiskFigures>,
    /// How the store keeps to its limit (`--keep-bytes`, `--keep-free`); `null` where it has none.
    #[serde(default)]
    pub keep: Option<KeepFigures>,
    /// Open sessions.
    pub sessions: u64,
    /// Pages and streams that look at the moment.
    pub viewers: u64,
    /// By name.
    pub sources: Vec<SourceFigures>,
}

/// The disk that frames are stored on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFigures {
    /// What is free to the receiver.
    pub free_bytes: u64,
    /// All that it may use.
    pub total_bytes: u64,
    /// It was said to be nearly full, and there is not enough again.
    pub nearly_full: bool,
}

/// How a store keeps to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KeepFigures {
    /// By how much it is over it; what may not be removed counts.
    pub over_bytes: u64,
    /// Frames come faster than old ones can be removed, and storing is slowed down to that pace.
    pub slowed: bool,
    /// For how long batches of frames have waited for that, all together, since the receiver began.
    pub slowed_s: f64,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceFigures {
    /// Its name in addresses: with the folder before it, where each sender has a store of its own.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `live`, `waiting` (its sender is there and nothing comes), `ended`, or `away` (no sender is there).
    pub state: String,
    /// Frames stored a second, lately.
    pub frames_per_s: f64,
    /// Bytes of these.
    pub bytes_per_s: f64,
    /// Capture to stored, of the last 512 frames; `null` where nobody knows when they were made.
    pub latency: Option<LatencyFigures>,
    /// Round trip, where either end knows it.
    pub rtt_ms: Option<f64>,
    /// Packets lost in the last seconds, as a part of those sent; `null` where the sender does not tell.
    pub loss: Option<f64>,
    /// Bytes of forward repair, as a part of the bytes sent; likewise.
    pub repair: Option<f64>,
    /// Frames that came over the link and were stored, since the receiver began.
    pub sent: u64,
    /// Frames that came and were stored before.
    pub stored_before: u64,
    /// `sent` and `stored_before`.
    pub stored: u64,
    /// Bytes of `sent`.
    pub bytes: u64,
    /// Frames of the source in the store, of all times, those that have expired left out; `null` where it is not known.
    pub held: Option<u64>,
    /// Those of `sent` that forward repair made whole.
    pub repaired: u64,
    /// Frames refused; a sender may have sent them again.
    pub refused: u64,
    /// Frames declared dropped.
    pub dropped: u64,
    /// Frames that will not come, as senders said when they ended the source.
    pub missing: u64,
    /// Frames that senders have and that are not settled, their spools included; `null` where they do not tell.
    pub pending: Option<u64>,
    /// Age of the oldest of these.
    pub lag_s: Option<f64>,
    /// Who sends.
    pub senders: Vec<SenderFigures>,
    /// The newest frame.
    pub newest: Option<NewestFigures>,
    /// The last two minutes, seconds without a frame left out.
    pub history: Vec<SecondFigures>,
}

/// Quantiles of latency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LatencyFigures {
    /// Of how many frames.
    pub count: u64,
    /// Half were no longer.
    pub p50_ms: f64,
    /// 95 of 100 were no longer.
    pub p95_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SenderFigures {
    /// The sender's address and port.
    pub peer: String,
    /// Its pin, where it has one.
    pub pin: Option<String>,
    /// What the receiver's user calls it.
    pub name: Option<String>,
    /// Over what it sends.
    pub transport: String,
    /// Since when.
    pub since_unix_ns: u64,
    /// It has ended the source.
    pub ended: bool,
    /// By how many connections its session goes.
    #[serde(default = "one")]
    pub connections: u32,
}

fn one() -> u32 {
    1
}

/// The newest frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewestFigures {
    /// Place in the source.
    pub sequence: u64,
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// What it is, as the sender says.
    pub media_type: String,
    /// When it was made.
    pub captured_unix_ns: Option<u64>,
    /// When it was due.
    pub due_unix_ns: Option<u64>,
    /// When its last byte had come.
    pub received_unix_ns: u64,
    /// When it was stored.
    pub stored_unix_ns: u64,
}

/// One second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SecondFigures {
    /// Which, since 1970.
    pub at: u64,
    /// Frames stored.
    pub frames: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Mean latency.
    pub mean_ms: Option<f64>,
    /// Longest latency.
    pub max_ms: Option<f64>,
}

impl Figures {
    /// Looks at all sources. With `seconds`, no more than so many of each history.
    pub(super) fn of(gallery: &Gallery, seconds: usize) -> Self {
        let shown = &gallery.shown;
        let not_ready = gallery.not_ready();
        let state = shown.progress.room();
        let low = state.filter(|state| state.is_low);
        let keep = state.and_then(|state| state.keeping).map(KeepFigures::of);
        let room = gallery.disk().and_then(|disk| disk.room);
        let disk = room.map(|room| DiskFigures {
            free_bytes: room.free.0,
            total_bytes: room.total.0,
            nearly_full: low.is_some(),
        });
        let nearly_full = || room.filter(|_| low.is_some()).map(nearly_full);
        Self {
            schema: 1,
            at_unix_ns: UnixNanos::now().0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: not_ready.is_none(),
            trouble: not_ready
                .or_else(nearly_full)
                .or_else(|| keep.and_then(|keep| keep.trouble())),
            disk,
            keep,
            sessions: shown.progress.sessions(),
            viewers: gallery.viewers() as u64,
            sources: gallery.exhibits().iter().map(|one| SourceFigures::of(one, seconds)).collect(),
        }
    }
}

impl KeepFigures {
    fn of(keeping: Keeping) -> Self {
        let Keeping { over, is_slowed, slowed, .. } = keeping;
        Self { over_bytes: over.0, slowed: is_slowed, slowed_s: slowed.as_secs_f64() }
    }

    fn trouble(self) -> Option<String> {
        self.slowed.then(|| {
            "frames come faster than old ones can be removed, and storing is slowed down to that pace".to_owned()
        })
    }
}

fn nearly_full(room: Room) -> String {
    let percent = room.free_part() * 100.0;
    format!(
        "the disk that frames are stored on is nearly full: {} ({percent:.1} %) are free",
        room.free
    )
}

impl SourceFigures {
    fn of(exhibit: &Exhibit, seconds: usize) -> Self {
        let seen = exhibit.panel.look();
        let (frames_per_s, bytes_per_s) = rates(&seen);
        let counts = seen.counts;
        let told = || seen.guests.iter().filter_map(|guest| guest.told);
        let pending = told().map(|(told, _)| told.captured.saturating_sub(told.settled));
        let lag = told().filter_map(|(told, at)| {
            let since = seen.at.0.saturating_sub(at.0) as f64 / 1e9;
            told.lag.map(|lag| lag.as_secs_f64() + since)
        });
        let latency = seen.latency.map(|latency| LatencyFigures {
            count: latency.count,
            p50_ms: ms(latency.p50.as_secs_f64()),
            p95_ms: ms(latency.p95.as_secs_f64()),
            max_ms: ms(latency.max.as_secs_f64()),
        });
        let skipped = seen.seconds.len().saturating_sub(seconds);
        Self {
            id: exhibit.id.clone(),
            name: exhibit.panel.source.to_string(),
            state: state(&seen).to_owned(),
            frames_per_s,
            bytes_per_s,
            latency,
            rtt_ms: seen
                .guests
                .iter()
                .filter_map(|guest| guest.rtt)
                .min()
                .map(|rtt| ms(rtt.as_secs_f64())),
            loss: part(seen.lost),
            repair: part(seen.repair),
            sent: counts.stored,
            stored_before: counts.before,
            stored: counts.stored + counts.before,
            bytes: counts.bytes,
            held: counts.held,
            repaired: counts.repaired,
            refused: counts.refused,
            dropped: counts.dropped,
            missing: counts.missing,
            pending: pending.reduce(u64::saturating_add),
            lag_s: lag.reduce(f64::max).map(|lag| round(lag, 1e3)),
            senders: seen.guests.iter().map(sender).collect(),
            newest: seen.newest.as_deref().map(newest),
            history: seen.seconds[skipped..].iter().map(second).collect(),
        }
    }
}

fn state(seen: &Snapshot) -> &'static str {
    // What comes behind the newest, as out of a spool, comes as well.
    let counted = seen.seconds.iter().rev().find(|second| second.frames > 0);
    let last_second = counted.map_or(0, |second| second.at.saturating_mul(1_000_000_000));
    let stored = seen.newest.as_ref().map_or(0, |newest| newest.stored.0).max(last_second);
    let is_quiet = seen.at.0.saturating_sub(stored) > QUIET_NANOS;
    match (seen.guests.is_empty(), seen.guests.iter().all(|guest| guest.ended)) {
        (true, _) => "away",
        (false, true) => "ended",
        (false, false) if is_quiet => "waiting",
        (false, false) => "live",
    }
}

/// Frames and bytes a second.
fn rates(seen: &Snapshot) -> (f64, f64) {
    let now = seen.at.0 / 1_000_000_000;
    let of = |second: &&Second| second.at < now && second.at + RATE_SECONDS >= now;
    let (mut frames, mut bytes, mut first) = (0, 0, now);
    for second in seen.seconds.iter().filter(of) {
        frames += u64::from(second.frames);
        bytes += second.bytes;
        first = first.min(second.at);
    }
    // A source that has only begun has not had all of that time.
    let began = seen.seconds.first().map_or(now, |second| second.at);
    let long = if began == first { (now - first).max(1) } else { RATE_SECONDS };
    (round(frames as f64 / long as f64, 100.0), round(bytes as f64 / long as f64, 1.0))
}

fn part(share: Share) -> Option<f64> {
    (share.of > 0).then(|| round(share.part as f64 / share.of as f64, 1e6))
}

fn ms(seconds: f64) -> f64 {
    round(seconds * 1e3, 1e3)
}

fn round(value: f64, grain: f64) -> f64 {
    (value * grain).round() / grain
}

fn sender(guest: &Guest) -> SenderFigures {
    SenderFigures {
        peer: guest.peer.clone(),
        pin: guest.pin.clone(),
        name: guest.name.clone(),
        transport: guest.transport.to_owned(),
        since_unix_ns: guest.began.0,
        ended: guest.ended,
        connections: guest.connections,
    }
}

fn newest(newest: &Newest) -> NewestFigures {
    NewestFigures {
        sequence: newest.sequence.0,
        name: newest.name.to_string(),
        bytes: newest.bytes,
        media_type: newest.media.as_str().to_owned(),
        captured_unix_ns: newest.captured.map(|captured| captured.at.0),
        due_unix_ns: newest.due.map(|due| due.0),
        received_unix_ns: newest.received.0,
        stored_unix_ns: newest.stored.0,
    }
}

fn second(second: &Second) -> SecondFigures {
    let timed = second.timed > 0;
    let mean = second.sum_us as f64 / f64::from(second.timed.max(1)) / 1e6;
    SecondFigures {
        at: second.at,
        frames: second.frames,
        bytes: second.bytes,
        mean_ms: timed.then(|| ms(mean)),
        max_ms: timed.then(|| ms(second.max_us as f64 / 1e6)),
    }
}
