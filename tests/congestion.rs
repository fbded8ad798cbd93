//! The congestion controller on simulated links, with quinn-proto's real loss recovery and pacing.

mod congestion_sim;

use std::sync::Arc;

use congestion_sim::app::{FrameSource, Load};
use congestion_sim::link::{LinkConfig, MS, Nanos, SEC};
use congestion_sim::{FlowConfig, Outcome, Scenario, SimClock, quantile, run};
use framelane::congestion::{Congestion, LossyConfig, SharedFactory, TraceRing};

/// A path: rate in Mbit/s, round-trip time in ms, loss in both directions, queue in BDPs.
#[derive(Clone, Copy)]
struct Cell {
    mbit: f64,
    rtt_ms: f64,
    loss: f64,
    queue_bytes: u64,
}

impl Cell {
    fn bdp(mbit: f64, rtt_ms: f64, loss: f64, queue_bdp: f64) -> Self {
        let queue_bytes = (mbit * 1e6 / 8.0 * rtt_ms / 1e3 * queue_bdp) as u64;
        Self { mbit, rtt_ms, loss, queue_bytes }
    }

    fn forward(&self) -> LinkConfig {
        let delay = (self.rtt_ms / 2.0 * 1e6) as Nanos;
        let mut link = LinkConfig::steady((self.mbit * 1e6) as u64, delay, self.queue_bytes);
        link.loss = self.loss;
        link
    }

    fn back(&self) -> LinkConfig {
        let mut link = self.forward();
        link.queue_bytes = u64::MAX;
        link
    }
}

fn factory(clock: &SimClock, choice: Congestion, ring: Option<Arc<TraceRing>>) -> SharedFactory {
    if choice != Congestion::Lossy {
        return choice.factory();
    }
    let clock = clock.clone();
    Arc::new(LossyConfig {
        seed: env_f64("SEED", "1")[0] as u64 + if ring.is_some() { 0 } else { 1000 },
        clock: Arc::new(move || clock.now()),
        trace: ring.map(|ring| ring as _),
        ..LossyConfig::default()
    })
}

fn single(
    cell: Cell,
    choice: Congestion,
    load: Load,
    seconds: f64,
    ring: Option<Arc<TraceRing>>,
    change: impl FnOnce(&mut LinkConfig, &mut LinkConfig),
) -> Outcome {
    let clock = SimClock::new();
    let (mut forward, mut back) = (cell.forward(), cell.back());
    change(&mut forward, &mut back);
    let stop = (seconds * 1e9) as Nanos;
    let start = match load {
        Load::Bulk => 0,
        Load::Frames(_) => (cell.rtt_ms * 3e6) as Nanos + 20 * MS,
    };
    let controller = factory(&clock, choice, ring);
    let flows = vec![FlowConfig { controller, load, connect: 0, start, stop }];
    let newest_first = std::env::var_os("NEWEST").is_some();
    run(Scenario { clock, forward, back, flows, duration: stop + SEC, seed: 1, newest_first })
}

fn frames(pairs: &[(usize, f64)]) -> Load {
    Load::Frames(pairs.iter().map(|(bytes, fps)| FrameSource::steady(*bytes, *fps)).collect())
}

fn choice_from_env() -> Congestion {
    std::env::var("CC").ok().map_or(Congestion::Lossy, |name| name.parse().unwrap())
}

fn dump(ring: &TraceRing) {
    if std::env::var_os("TRACE").is_none() {
        return;
    }
    let events = ring.snapshot();
    let Some(first) = events.first().map(|event| event.at) else { return };
    for e in events {
        println!(
            "{:8.3} {:?}{} W={:.1}kB inflight={:.1}kB bw={:.2}M x={:.2}M base={:.1} round={:.1} srtt={:.1} p={:.3} lost={}k{}",
            (e.at - first).as_secs_f64(),
            e.phase,
            if e.competing { "*" } else { "" },
            e.window as f64 / 1e3,
            e.in_flight as f64 / 1e3,
            e.bandwidth * 8e-6,
            e.delivery_rate * 8e-6,
            e.base_rtt.as_secs_f64() * 1e3,
            e.round_rtt.as_secs_f64() * 1e3,
            e.smoothed_rtt.as_secs_f64() * 1e3,
            e.base_loss,
            e.lost / 1000,
            if e.app_limited { " app" } else { "" },
        );
    }
}

fn env_f64(name: &str, default: &str) -> Vec<f64> {
    let text = std::env::var(name).unwrap_or(default.into());
    text.split(',').map(|part| part.parse().unwrap()).collect()
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_bulk() {
    let seconds = env_f64("SECS", "6")[0];
    for mbit in env_f64("MBIT", "10,50,200") {
        for rtt in env_f64("RTT", "10,50,200") {
            for loss in env_f64("LOSS", "0,0.02,0.05,0.1") {
                for queue in env_f64("QUEUE", "0.5,1") {
                    let cell = Cell::bdp(mbit, rtt, loss, queue);
                    let ring = Arc::new(TraceRing::new(10_000));
                    let out = single(
                        cell,
                        choice_from_env(),
                        Load::Bulk,
                        seconds,
                        Some(ring.clone()),
                        |_, _| {},
                    );
                    dump(&ring);
                    let flow = &out.flows[0];
                    let (from, to) = (0, (seconds * 1e9) as Nanos);
                    let late = to / 3 / SEC * SEC;
                    let limit = 0.957 * mbit * (1.0 - loss);
                    println!(
                        "bulk {mbit:4} Mbit {rtt:4} ms loss {loss:4} q {queue:4} BDP: {:.3} of limit (late {:.3}), overflow {:.3} (late {:.3}), wait p50 {:.1} p95 {:.1} ms [<= {:.0}]",
                        flow.goodput(from, to) / limit,
                        flow.goodput(late, to) / limit,
                        flow.overflow_share(from, to),
                        flow.overflow_share(late, to),
                        out.wait_quantile(0.5, late, to),
                        out.wait_quantile(0.95, late, to),
                        f64::max(15.0, 0.3 * rtt),
                    );
                }
            }
        }
    }
}

fn frame_line(name: &str, cell: Cell, seconds: f64, load: Load, sizes: &[usize]) {
    let ring = Arc::new(TraceRing::new(100_000));
    let out = single(cell, choice_from_env(), load, seconds, Some(ring.clone()), |_, _| {});
    dump(&ring);
    let to = (seconds * 1e9) as Nanos;
    let mut text = String::new();
    let mut due = 0;
    for (source, size) in sizes.iter().enumerate() {
        due += size;
        let l0 = cell.rtt_ms / 2.0 + due as f64 * 8.0 / (0.957 * cell.mbit * 1e3);
        let sorted = out.flows[0].latencies(source, 0, to);
        text += &format!(
            " | L0 {l0:.1}: p50 {:.2}x p95 {:.2}x ({:+.1}) p99 {:.2}x max {:.1}",
            quantile(&sorted, 0.5) / l0,
            quantile(&sorted, 0.95) / l0,
            quantile(&sorted, 0.95) - l0,
            quantile(&sorted, 0.99) / l0,
            quantile(&sorted, 1.0),
        );
    }
    println!("{name}{text} overflow {:.3}", out.flows[0].overflow_share(0, to));
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_frames() {
    let seconds = env_f64("SECS", "10")[0];
    for mbit in env_f64("MBIT", "27.4,50,100,200") {
        for rtt in env_f64("RTT", "10,50,100,200") {
            for loss in env_f64("LOSS", "0,0.02") {
                let queue = (mbit * 1e6 / 8.0 * env_f64("QSEC", "0.1")[0]) as u64;
                let cell = Cell { mbit, rtt_ms: rtt, loss, queue_bytes: queue.max(64_000) };
                let load = frames(&[(20_000, 30.0), (60_000, 30.0)]);
                let name = format!("frames {mbit:5} Mbit {rtt:4} ms loss {loss:4}");
                frame_line(&name, cell, seconds, load, &[20_000, 60_000]);
            }
        }
    }
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_share() {
    let seconds = env_f64("SECS", "30")[0];
    let other: Congestion = std::env::var("OTHER").unwrap_or("cubic".into()).parse().unwrap();
    for mbit in env_f64("MBIT", "20,50,100") {
        for rtt in env_f64("RTT", "20,50,100") {
            for queue in env_f64("QUEUE", "1") {
                for late in env_f64("LATE", "0") {
                    let cell = Cell::bdp(mbit, rtt, 0.0, queue);
                    let clock = SimClock::new();
                    let stop = (seconds * 1e9) as Nanos;
                    let ring = Arc::new(TraceRing::new(100_000));
                    let first = factory(&clock, Congestion::Lossy, Some(ring.clone()));
                    let second = factory(&clock, other, None);
                    let start = (late * 1e9) as Nanos;
                    let flows = vec![
                        FlowConfig {
                            controller: first,
                            load: Load::Bulk,
                            connect: 0,
                            start: 0,
                            stop,
                        },
                        FlowConfig {
                            controller: second,
                            load: Load::Bulk,
                            connect: start,
                            start,
                            stop,
                        },
                    ];
                    let out = run(Scenario {
                        clock,
                        forward: cell.forward(),
                        back: cell.back(),
                        flows,
                        duration: stop,
                        seed: env_f64("SEED", "1")[0] as u64,
                        newest_first: false,
                    });
                    dump(&ring);
                    let a = out.flows[0].goodput(start, stop);
                    let b = out.flows[1].goodput(start, stop);
                    let half = start + (stop - start) / 2;
                    println!(
                        "share {mbit:4} Mbit {rtt:4} ms q {queue} late {late}: {a:.1} : {b:.1} = {:.0} % (second half {:.0} %), overflow {:.3} {:.3}, wait p50 {:.1}",
                        100.0 * a / (a + b),
                        100.0 * out.flows[0].goodput(half, stop)
                            / (out.flows[0].goodput(half, stop) + out.flows[1].goodput(half, stop)),
                        out.flows[0].overflow_share(half, stop),
                        out.flows[1].overflow_share(half, stop),
                        out.wait_quantile(0.5, half, stop),
                    );
                }
            }
        }
    }
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_outage() {
    for rtt in env_f64("RTT", "10,50,100,200") {
        for gone in env_f64("GONE", "1,3,5") {
            let cell = Cell { mbit: 50.0, rtt_ms: rtt, loss: 0.0, queue_bytes: 312_500 };
            let ring = Arc::new(TraceRing::new(100_000));
            let from = 3 * SEC + 7 * MS;
            let to = from + (gone * 1e9) as Nanos;
            let load = frames(&[(60_000, 30.0), (20_000, 30.0)]);
            let out = single(
                cell,
                choice_from_env(),
                load,
                3.0 + gone + 5.0,
                Some(ring.clone()),
                |f, b| {
                    f.outages.push((from, to));
                    b.outages.push((from, to));
                },
            );
            dump(&ring);
            let first = out.flows[0]
                .frames
                .iter()
                .filter(|frame| frame.due >= to)
                .filter_map(|frame| frame.delivered)
                .min()
                .unwrap_or(u64::MAX);
            let any = out.flows[0]
                .frames
                .iter()
                .filter_map(|frame| frame.delivered)
                .filter(|at| *at >= to)
                .min()
                .unwrap_or(u64::MAX);
            println!(
                "outage {gone} s rtt {rtt}: first delivery {:.0} ms, first fresh {:.0} ms after the link is back [<= {:.0}]",
                (any - to) as f64 / 1e6,
                (first - to) as f64 / 1e6,
                100.0 + 1.5 * rtt
            );
        }
    }
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_steps() {
    for mbit in env_f64("MBIT", "20,50,100") {
        for rtt in env_f64("RTT", "10,50,100,200") {
            for loss in env_f64("LOSS", "0,0.02") {
                let cell = Cell::bdp(mbit, rtt, loss, 1.0);
                let ring = Arc::new(TraceRing::new(100_000));
                let rate = (mbit * 1e6) as u64;
                let out = single(
                    cell,
                    choice_from_env(),
                    Load::Bulk,
                    15.0,
                    Some(ring.clone()),
                    |f, _| {
                        f.rate = vec![(0, rate), (5 * SEC, rate / 2), (10 * SEC, rate)];
                    },
                );
                dump(&ring);
                let flow = &out.flows[0];
                let limit = 0.957 * mbit * (1.0 - loss);
                println!(
                    "steps {mbit} Mbit {rtt} ms loss {loss}: {:.3} of offer; parts {:.3} {:.3} {:.3}; overflow {:.3}; wait p50 in half {:.1}, p95 {:.1}",
                    flow.goodput(0, 15 * SEC) / (limit * 2.5 / 3.0),
                    flow.goodput(0, 5 * SEC) / limit,
                    flow.goodput(5 * SEC, 10 * SEC) / limit * 2.0,
                    flow.goodput(10 * SEC, 15 * SEC) / limit,
                    flow.overflow_share(0, 15 * SEC),
                    out.wait_quantile(0.5, 5 * SEC, 10 * SEC),
                    out.wait_quantile(0.95, 5 * SEC, 10 * SEC),
                );
            }
        }
    }
}

/// A mobile link: a random walk over 1 to 40 Mbit/s in steps of 100 ms, with short gaps.
fn mobile_trace(seconds: u64, seed: u64) -> Vec<(Nanos, u64)> {
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

fn offered_by(trace: &[(Nanos, u64)], from: Nanos, to: Nanos) -> f64 {
    let bits: f64 = trace
        .iter()
        .filter(|(at, _)| (from..to).contains(at))
        .map(|(_, rate)| *rate as f64 * 0.1)
        .sum();
    bits / 1e6 / ((to - from) as f64 / 1e9)
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_mobile() {
    for rtt in env_f64("RTT", "20,50,100") {
        for loss in env_f64("LOSS", "0,0.01") {
            for seed in env_f64("SEED", "1,2") {
                let cell = Cell { mbit: 20.0, rtt_ms: rtt, loss, queue_bytes: 500_000 };
                let trace = mobile_trace(30, seed as u64);
                let ring = Arc::new(TraceRing::new(100_000));
                let offered = offered_by(&trace, 0, 30 * SEC) * 0.957 * (1.0 - loss);
                let out = single(
                    cell,
                    choice_from_env(),
                    Load::Bulk,
                    30.0,
                    Some(ring.clone()),
                    |f, _| {
                        f.rate = trace;
                    },
                );
                dump(&ring);
                println!(
                    "mobile Mbit rtt {rtt} loss {loss} seed {seed}: {:.3} of offer {offered:.1} Mbit/s, wait p50 {:.1} p95 {:.1}, overflow {:.3}",
                    out.flows[0].goodput(0, 30 * SEC) / offered,
                    out.wait_quantile(0.5, 0, 30 * SEC),
                    out.wait_quantile(0.95, 0, 30 * SEC),
                    out.flows[0].overflow_share(0, 30 * SEC),
                );
            }
        }
    }
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_bloat() {
    for mbit in env_f64("MBIT", "27.4,50,100") {
        for rtt in env_f64("RTT", "10,50,100") {
            let queue_bytes = (mbit * 1e6 / 8.0) as u64;
            let cell = Cell { mbit, rtt_ms: rtt, loss: 0.0, queue_bytes };
            let share = mbit * 0.7 / 19.2;
            let sizes = [(20_000.0 * share) as usize, (60_000.0 * share) as usize];
            let load = frames(&[(sizes[0], 30.0), (sizes[1], 30.0)]);
            frame_line(&format!("bloat {mbit} Mbit {rtt} ms"), cell, 10.0, load, &sizes);
            let out = single(cell, choice_from_env(), Load::Bulk, 15.0, None, |_, _| {});
            println!(
                "  bulk Mbit: wait p50 {:.1} p95 {:.1} after 1 s [<= {:.0}], whole run p95 {:.1}",
                out.wait_quantile(0.5, SEC, 15 * SEC),
                out.wait_quantile(0.95, SEC, 15 * SEC),
                f64::max(15.0, 0.3 * rtt),
                out.wait_quantile(0.95, 0, 15 * SEC),
            );
        }
    }
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_rtt_change() {
    for mbit in env_f64("MBIT", "20,100") {
        for (before, after) in [(20.0, 80.0), (80.0, 20.0), (50.0, 100.0)] {
            let cell = Cell { mbit, rtt_ms: before, loss: 0.01, queue_bytes: 500_000 };
            let ring = Arc::new(TraceRing::new(100_000));
            let out =
                single(cell, choice_from_env(), Load::Bulk, 25.0, Some(ring.clone()), |f, b| {
                    for link in [f, b] {
                        link.delay = vec![
                            (0, (before / 2.0 * 1e6) as Nanos),
                            (5 * SEC, (after / 2.0 * 1e6) as Nanos),
                        ];
                    }
                });
            dump(&ring);
            let limit = 0.957 * mbit * 0.99;
            println!(
                "rtt {mbit} Mbit {before} -> {after}: {:.3}, after {:.3} then {:.3}; overflow {:.3}; wait p50 {:.1} then {:.1}",
                out.flows[0].goodput(0, 5 * SEC) / limit,
                out.flows[0].goodput(5 * SEC, 15 * SEC) / limit,
                out.flows[0].goodput(15 * SEC, 25 * SEC) / limit,
                out.flows[0].overflow_share(5 * SEC, 25 * SEC),
                out.wait_quantile(0.5, 5 * SEC, 15 * SEC),
                out.wait_quantile(0.5, 17 * SEC, 25 * SEC),
            );
        }
    }
}
