//! Paths and runs that the tests and the tables share.

use std::sync::Arc;
use std::time::Duration;

use framelane::congestion::{Congestion, LossyConfig, SharedFactory, TraceRing, watched};
use framelane::link::{Capacity, LinkSpec, QueueLimit};
use framelane::repair::RepairMode;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::sim::app::{FrameSource, Load};
use crate::sim::deadline::Shared;
use crate::sim::link::{LinkConfig, MS, Nanos, SEC};
use crate::sim::{FlowConfig, Outcome, Scenario, SimClock, run};

/// The share of a link's rate that is QUIC payload in packets of 1,500 bytes.
pub(crate) const PAYLOAD_SHARE: f64 = 0.957;

/// A path, the same in both directions but for the queue, which only the way out has.
#[derive(Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) mbit: f64,
    pub(crate) rtt_ms: f64,
    pub(crate) loss: f64,
    pub(crate) queue_bytes: u64,
}

impl Cell {
    /// A path with a queue of `queue` times what it holds.
    pub(crate) fn new(mbit: f64, rtt_ms: f64, loss: f64, queue: f64) -> Self {
        let queue_bytes = (mbit * 1e6 / 8.0 * rtt_ms / 1e3 * queue) as u64;
        Self { mbit, rtt_ms, loss, queue_bytes }
    }

    /// The most stream data the path carries, in Mbit/s: 0.957 C (1 - p).
    pub(crate) fn limit(&self) -> f64 {
        PAYLOAD_SHARE * self.mbit * (1.0 - self.loss)
    }

    /// The latency of the last of `bytes` due at once, in ms, if nothing is lost.
    pub(crate) fn ideal_ms(&self, bytes: usize) -> f64 {
        self.rtt_ms / 2.0 + bytes as f64 * 8.0 / (PAYLOAD_SHARE * self.mbit * 1e3)
    }

    fn forward(&self) -> LinkConfig {
        let delay = (self.rtt_ms / 2.0 * 1e6) as Nanos;
        let mut link = LinkConfig::steady((self.mbit * 1e6) as u64, delay, self.queue_bytes);
        link.loss = self.loss;
        link
    }

    fn back(&self) -> LinkConfig {
        LinkConfig { queue_bytes: u64::MAX, ..self.forward() }
    }
}

/// One flow on a path.
pub(crate) struct Run {
    pub(crate) cell: Cell,
    pub(crate) choice: Congestion,
    pub(crate) load: Load,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
    pub(crate) newest_first: bool,
    /// As in [`Scenario`].
    pub(crate) shipped: bool,
    pub(crate) gathers: bool,
    /// As in [`FlowConfig`].
    pub(crate) repair: Option<RepairMode>,
    pub(crate) deadline: Option<Nanos>,
    pub(crate) ring: Arc<TraceRing>,
}

impl Run {
    pub(crate) fn new(cell: Cell, load: Load, seconds: f64) -> Self {
        Self {
            cell,
            choice: Congestion::Lossy,
            load,
            seconds,
            seed: 1,
            newest_first: false,
            shipped: false,
            gathers: false,
            repair: None,
            deadline: None,
            ring: Arc::new(TraceRing::new(100_000)),
        }
    }

    /// A flow as it is shipped, whose newest frame goes first.
    pub(crate) fn shipped(cell: Cell, load: Load, seconds: f64, seed: u64) -> Self {
        Self {
            seed,
            shipped: true,
            newest_first: true,
            gathers: true,
            ..Self::new(cell, load, seconds)
        }
    }

    /// Runs on the path as it is.
    pub(crate) fn go(&self) -> Outcome {
        self.go_changed(|_, _| {})
    }

    /// Runs on the path as `change` makes it.
    pub(crate) fn go_changed(
        &self,
        change: impl FnOnce(&mut LinkConfig, &mut LinkConfig),
    ) -> Outcome {
        let clock = SimClock::new();
        let (mut forward, mut back) = (self.cell.forward(), self.cell.back());
        change(&mut forward, &mut back);
        let stop = (self.seconds * 1e9) as Nanos;
        let start = match self.load {
            Load::Bulk => 0,
            // The session is set up before its first frame is due.
            Load::Frames(_) => (self.cell.rtt_ms * 3e6) as Nanos + 20 * MS,
        };
        let mut controller = factory(&clock, self.choice, self.seed, Some(self.ring.clone()));
        let deadline = self.deadline.map(|deadline| (deadline, Arc::<Shared>::default()));
        if let Some((_, shared)) = &deadline {
            controller = watched(controller, shared.clone());
        }
        let load = self.load.clone();
        run(Scenario {
            clock,
            forward,
            back,
            flows: vec![FlowConfig {
                controller,
                load,
                repair: self.repair,
                deadline,
                connect: 0,
                start,
                stop,
            }],
            duration: stop + SEC,
            seed: self.seed,
            newest_first: self.newest_first,
            shipped: self.shipped,
            gathers: self.gathers,
        })
    }
}

/// Two bulk flows on a path; the first is lossy, the second `other` and `late` by some seconds.
pub(crate) struct Pair {
    pub(crate) cell: Cell,
    pub(crate) other: Congestion,
    pub(crate) late: f64,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
    /// What the path marks, as in [`LinkConfig`].
    pub(crate) mark_beyond: Option<Nanos>,
    pub(crate) ring: Arc<TraceRing>,
}

impl Pair {
    pub(crate) fn new(cell: Cell, other: Congestion, late: f64, seed: u64) -> Self {
        let ring = Arc::new(TraceRing::new(100_000));
        Self { cell, other, late, seconds: 30.0, seed, mark_beyond: None, ring }
    }

    pub(crate) fn start(&self) -> Nanos {
        (self.late * 1e9) as Nanos
    }

    pub(crate) fn stop(&self) -> Nanos {
        (self.seconds * 1e9) as Nanos
    }

    pub(crate) fn go(&self) -> Outcome {
        let clock = SimClock::new();
        let (start, stop) = (self.start(), self.stop());
        let first = factory(&clock, Congestion::Lossy, self.seed, Some(self.ring.clone()));
        let second = factory(&clock, self.other, self.seed + 1000, None);
        let bulk = |controller, start| FlowConfig {
            controller,
            load: Load::Bulk,
            repair: None,
            deadline: None,
            connect: start,
            start,
            stop,
        };
        run(Scenario {
            clock,
            forward: LinkConfig { mark_beyond: self.mark_beyond, ..self.cell.forward() },
            back: self.cell.back(),
            flows: vec![bulk(first, 0), bulk(second, start)],
            duration: stop,
            seed: self.seed,
            newest_first: false,
            shipped: false,
            gathers: false,
        })
    }
}

/// The first flow's part of what both deliver in `[from, to)`.
pub(crate) fn first_share(outcome: &Outcome, from: Nanos, to: Nanos) -> f64 {
    let first = outcome.flows[0].goodput(from, to);
    first / (first + outcome.flows[1].goodput(from, to))
}

fn factory(
    clock: &SimClock,
    choice: Congestion,
    seed: u64,
    ring: Option<Arc<TraceRing>>,
) -> SharedFactory {
    if choice != Congestion::Lossy {
        return choice.factory();
    }
    let clock = clock.clone();
    Arc::new(LossyConfig {
        seed,
        clock: Arc::new(move || clock.now()),
        trace: ring.map(|ring| ring as _),
        ..LossyConfig::default()
    })
}

/// Frames of the given sizes in bytes, all due 30 times a second at the same instants.
pub(crate) fn frames(sizes: &[usize]) -> Load {
    Load::Frames(sizes.iter().map(|bytes| FrameSource::steady(*bytes, 30.0)).collect())
}

/// A mobile link: a random walk over 1 to 40 Mbit/s in steps of 100 ms, with short gaps.
pub(crate) fn mobile_trace(seconds: u64, seed: u64) -> Vec<(Nanos, u64)> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut level: f64 = 15.0;
    let mut steps = Vec::new();
    for step in 0..seconds * 10 {
        level = (level * (0.4 * (random() - 0.5)).exp() + 0.6 * (random() - 0.5)).clamp(1.0, 40.0);
        let now = if random() < 0.01 { 0.2 } else { level };
        steps.push((step * 100 * MS, (now * 1e6) as u64));
    }
    steps
}

/// The mean rate of such a trace, in Mbit/s.
pub(crate) fn mean_mbit(trace: &[(Nanos, u64)]) -> f64 {
    let sum: f64 = trace.iter().map(|(_, rate)| *rate as f64).sum();
    sum / 1e6 / trace.len() as f64
}

/// `base` and up to `jitter` more, in straight lines from one value to the next.
pub(crate) fn wandering(
    base: Nanos,
    jitter: Nanos,
    seconds: u64,
    seed: u64,
) -> Vec<(Nanos, Nanos)> {
    let jitter = jitter.max(MS);
    let mut rng = StdRng::seed_from_u64(seed);
    let knots = seconds * SEC / jitter + 2;
    let knots: Vec<Nanos> = (0..knots).map(|_| rng.random_range(0..=jitter)).collect();
    let at = |time: Nanos| {
        let (knot, into) = ((time / jitter) as usize, time % jitter);
        (knots[knot] * (jitter - into) + knots[knot + 1] * into) / jitter
    };
    (0..seconds * 2_000).map(|half| half * MS / 2).map(|time| (time, base + at(time))).collect()
}

/// A named radio link with frames of `sizes` bytes on it, 30 times a second for `seconds`.
pub(crate) fn radio(name: &str, sizes: &[usize], seconds: u64, seed: u64) -> (Run, Outcome) {
    let link: LinkSpec = name.parse().expect("a named link");
    let up = link.up;
    let Capacity::Constant(rate) = up.capacity else { panic!("{name} has a rate") };
    let Some(QueueLimit::Time(queue)) = up.queue else { panic!("{name} has a queue in ms") };
    let rtt_ms = up.delay.as_secs_f64() * 2e3;
    let queue_bytes = rate.bytes_in(queue);
    let cell = Cell { mbit: rate.0 as f64 / 1e6, rtt_ms, loss: up.loss.fraction(), queue_bytes };
    let mut run = Run::new(cell, frames(sizes), seconds as f64);
    run.seed = seed;
    let [delay, jitter] = [up.delay, up.jitter].map(|span| span.as_nanos() as Nanos);
    let out = run.go_changed(|forward, back| {
        forward.delay = wandering(delay, jitter, seconds + 1, seed);
        back.delay = wandering(delay, jitter, seconds + 1, seed + 100);
        for link in [forward, back] {
            link.burst = up.burst.unwrap_or(1.0);
            let nanos = |span: Duration| span.as_nanos() as Nanos;
            let outages = up.outages.iter();
            link.outages = outages.map(|gap| (nanos(gap.at), nanos(gap.at + gap.lasts))).collect();
        }
    });
    (run, out)
}

/// How long after `back` the first frame that became due since then was delivered, in ms.
pub(crate) fn first_fresh_ms(outcome: &Outcome, back: Nanos) -> f64 {
    let frames = outcome.flows[0].frames.iter();
    let first = frames.filter(|frame| frame.due >= back).filter_map(|frame| frame.delivered).min();
    first.map_or(f64::INFINITY, |at| (at - back) as f64 / 1e6)
}

/// What is sent over paths that become narrow: frames all of one length, of several, large ones, and bulk.
pub(crate) fn narrow_loads() -> Vec<(&'static str, Load)> {
    let large = FrameSource::steady(655_000, 8.0);
    vec![
        ("20 kB", frames(&[20_000])),
        // Its last packet is as long as the others.
        ("16 packets", frames(&[19_475])),
        ("60 and 20 kB", frames(&[60_000, 20_000])),
        ("655 kB", Load::Frames(vec![large])),
        ("bulk", Load::Bulk),
    ]
}

/// The longest time between `from` and `to` in which nothing is read, in ms, in steps of 100 for bulk and of the
/// time between two frames otherwise.
pub(crate) fn still_ms(outcome: &Outcome, from: Nanos, to: Nanos) -> f64 {
    let flow = &outcome.flows[0];
    let within = |at: &Nanos| (from..to).contains(at);
    let mut times: Vec<Nanos> = match flow.frames.is_empty() {
        true => (0..)
            .zip(&flow.read)
            .filter(|(_, n)| **n > 10_000)
            .map(|(bin, _)| bin * SEC / 10)
            .collect(),
        false => flow.frames.iter().filter_map(|frame| frame.delivered).collect(),
    };
    times.retain(within);
    times.extend([from, to]);
    times.sort_unstable();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0) as f64 / 1e6
}
