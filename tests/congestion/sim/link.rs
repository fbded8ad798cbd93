//! One direction of an emulated path: droptail queue, serialisation, random loss, propagation.
//!
//! The order is that of a real access link: the queue and the rate come first, so a packet that is
//! then lost at random has used its share of the rate.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Nanoseconds of virtual time.
pub(crate) type Nanos = u64;

/// Nanoseconds in a millisecond.
pub(crate) const MS: Nanos = 1_000_000;
/// Nanoseconds in a second.
pub(crate) const SEC: Nanos = 1_000_000_000;

/// IPv4 and UDP headers, which a link carries beside the UDP payload.
const IP_UDP_BYTES: u64 = 28;

/// What a direction does to packets.
#[derive(Debug, Clone)]
pub(crate) struct LinkConfig {
    /// Bits per second from each point in time on; the first entry starts at 0. Zero stalls.
    pub(crate) rate: Vec<(Nanos, u64)>,
    /// One-way propagation delay from each point in time on.
    pub(crate) delay: Vec<(Nanos, Nanos)>,
    /// Bytes that may wait, the packet being sent included.
    pub(crate) queue_bytes: u64,
    /// Mean share of packets lost after the queue.
    pub(crate) loss: f64,
    /// Mean length of a loss run in packets; 1 is independent loss.
    pub(crate) burst: f64,
    /// Times during which every packet is lost, `[from, to)`.
    pub(crate) outages: Vec<(Nanos, Nanos)>,
    /// A packet that has waited longer is marked, where its sender understands marks (ECN).
    pub(crate) mark_beyond: Option<Nanos>,
    /// From this time on, packets of more bytes (headers of IPv4 and UDP included) vanish without a word.
    pub(crate) longest: Option<(Nanos, u64)>,
    /// A share of the packets that arrives this much later than the others, which overtake them.
    pub(crate) late: Option<(f64, Nanos)>,
    /// Bits per second that are let through, and how many of them at once; what is more is dropped, before the queue.
    pub(crate) police: Option<(u64, u64)>,
}

impl LinkConfig {
    /// A link of constant rate and delay without random loss.
    pub(crate) fn steady(rate: u64, delay: Nanos, queue_bytes: u64) -> Self {
        Self {
            rate: vec![(0, rate)],
            delay: vec![(0, delay)],
            queue_bytes,
            loss: 0.0,
            burst: 1.0,
            outages: Vec::new(),
            mark_beyond: None,
            longest: None,
            late: None,
            police: None,
        }
    }
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Arrives at this time, having waited this long behind others.
    Arrives { at: Nanos, waited: Nanos, marked: bool },
    /// The queue was full.
    Overflow,
    /// Lost at random or in an outage.
    Lost,
}

/// One direction in operation.
pub(crate) struct Link {
    config: LinkConfig,
    rng: StdRng,
    waiting: VecDeque<(Nanos, u64)>,
    backlog: u64,
    busy_until: Nanos,
    last_arrival: Nanos,
    in_burst: bool,
    /// Bits in the policer's bucket, and when that was.
    bucket: (f64, Nanos),
}

impl Link {
    /// A link whose losses follow from `seed`.
    pub(crate) fn new(config: LinkConfig, seed: u64) -> Self {
        let bucket = (config.police.map_or(0.0, |(_, burst)| burst as f64), 0);
        Self {
            config,
            bucket,
            rng: StdRng::seed_from_u64(seed),
            waiting: VecDeque::new(),
            backlog: 0,
            busy_until: 0,
            last_arrival: 0,
            in_burst: false,
        }
    }

    /// Takes a UDP payload of `payload` bytes at `now`.
    pub(crate) fn offer(&mut self, now: Nanos, payload: usize) -> Fate {
        let size = payload as u64 + IP_UDP_BYTES;
        while self.waiting.front().is_some_and(|(done, _)| *done <= now) {
            self.backlog -= self.waiting.pop_front().expect("just seen").1;
        }
        if self.in_outage(now) || self.is_too_long(now, size) {
            return Fate::Lost;
        }
        if self.is_too_fast(now, size * 8) {
            return Fate::Overflow;
        }
        if !self.waiting.is_empty() && self.backlog + size > self.config.queue_bytes {
            return Fate::Overflow;
        }
        let start = now.max(self.busy_until);
        let done = self.serialised(start, size * 8);
        self.busy_until = done;
        self.waiting.push_back((done, size));
        self.backlog += size;
        if self.in_outage(done) || self.lost_at_random() {
            return Fate::Lost;
        }
        let waited = start - now;
        let mut at = done + step(&self.config.delay, done);
        if let Some((share, by)) = self.config.late
            && self.rng.random_bool(share)
        {
            at += by;
        } else {
            at = at.max(self.last_arrival);
            self.last_arrival = at;
        }
        let marked = self.config.mark_beyond.is_some_and(|limit| waited > limit);
        Fate::Arrives { at, waited, marked }
    }

    fn in_outage(&self, at: Nanos) -> bool {
        self.config.outages.iter().any(|(from, to)| (*from..*to).contains(&at))
    }

    fn is_too_fast(&mut self, now: Nanos, bits: u64) -> bool {
        let Some((rate, burst)) = self.config.police else { return false };
        let (level, since) = self.bucket;
        let level = (level + (now - since) as f64 / 1e9 * rate as f64).min(burst as f64);
        let passes = bits as f64 <= level;
        self.bucket = (if passes { level - bits as f64 } else { level }, now);
        !passes
    }

    fn is_too_long(&self, at: Nanos, size: u64) -> bool {
        self.config.longest.is_some_and(|(from, longest)| at >= from && size > longest)
    }

    /// When `bits` are out, starting at `start`, over the steps of the rate.
    fn serialised(&self, start: Nanos, bits: u64) -> Nanos {
        let mut at = start;
        let mut left = bits as f64;
        loop {
            let rate = step(&self.config.rate, at) as f64;
            let next = self.config.rate.iter().map(|(from, _)| *from).find(|from| *from > at);
            let needed = if rate > 0.0 { left / rate * 1e9 } else { f64::INFINITY };
            match next {
                Some(next) if (next - at) as f64 <= needed => {
                    left -= (next - at) as f64 * rate / 1e9;
                    at = next;
                }
                _ => return at + needed.min(3600e9) as Nanos,
            }
        }
    }

    /// A two-state chain (Gilbert): runs of mean length `burst`, a share `loss` of all packets.
    fn lost_at_random(&mut self) -> bool {
        let p = self.config.loss;
        if p <= 0.0 {
            return false;
        }
        let draw: f64 = self.rng.random();
        self.in_burst = if self.in_burst && self.config.burst > 1.0 {
            draw >= 1.0 / self.config.burst
        } else if self.config.burst > 1.0 {
            draw < p / (1.0 - p) / self.config.burst
        } else {
            draw < p
        };
        self.in_burst
    }
}

/// The value of a step function at `at`.
fn step(steps: &[(Nanos, u64)], at: Nanos) -> u64 {
    let index = steps.partition_point(|(from, _)| *from <= at);
    steps[index.saturating_sub(1)].1
}
