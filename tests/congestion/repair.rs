//! Frames with forward repair, end to end: the shipped decision, code and assembly over quinn-proto.

use framelane::repair::RepairMode;

use crate::paths::{Cell, PAYLOAD_SHARE, Run};
use crate::sim::app::{FrameSource, Load};
use crate::sim::link::{Nanos, SEC};
use crate::sim::{Outcome, quantile};

/// Sources over a path that loses packets.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) name: &'static str,
    pub(crate) sizes: Vec<usize>,
    pub(crate) per_second: f64,
    pub(crate) cell: Cell,
    /// Mean length of runs of losses.
    pub(crate) run: f64,
    pub(crate) seconds: f64,
}

/// What became of a source's frames: p50, p95, p99 as multiples of L0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tail(pub(crate) [f64; 3]);

impl Live {
    pub(crate) fn new(
        name: &'static str,
        sizes: &[usize],
        per_second: f64,
        (mbit, rtt_ms, loss): (f64, f64, f64),
    ) -> Self {
        let cell = Cell { mbit, rtt_ms, loss, queue_bytes: 312_500 };
        Self { name, sizes: sizes.to_vec(), per_second, cell, run: 1.0, seconds: 30.0 }
    }

    pub(crate) fn in_runs(self, run: f64) -> Self {
        Self { run, ..self }
    }

    /// The share of the link that the frames take.
    pub(crate) fn load(&self) -> f64 {
        let bytes: usize = self.sizes.iter().sum();
        bytes as f64 * 8.0 * self.per_second / self.cell.mbit / 1e6
    }

    pub(crate) fn go(&self, mode: RepairMode, seed: u64) -> Outcome {
        let sources =
            self.sizes.iter().map(|bytes| FrameSource::steady(*bytes, self.per_second)).collect();
        let mut run = Run::shipped(self.cell, Load::Frames(sources), self.seconds, seed);
        run.repair = Some(mode);
        run.go_changed(|forward, back| {
            forward.burst = self.run;
            back.burst = self.run;
        })
    }

    /// Latency in ms of a frame of `source` on the link without loss, beside what is due with it and no longer.
    pub(crate) fn ideal_ms(&self, source: usize) -> f64 {
        let own = self.sizes[source];
        let due: usize = self.sizes.iter().filter(|size| **size <= own).sum();
        self.cell.rtt_ms / 2.0 + due as f64 * 8.0 / (PAYLOAD_SHARE * self.cell.mbit * 1e3)
    }

    /// Latencies of all frames as multiples of their L0, sorted.
    fn ratios(&self, out: &Outcome) -> Vec<f64> {
        let to = (self.seconds * 1e9) as Nanos;
        let of = |source| {
            let ideal = self.ideal_ms(source);
            out.flows[0].latencies(source, 0, to).into_iter().map(move |at| at / ideal)
        };
        let mut ratios: Vec<f64> = (0..self.sizes.len()).flat_map(of).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    /// Of each source, over the whole run.
    pub(crate) fn tails(&self, out: &Outcome) -> Vec<Tail> {
        let to = (self.seconds * 1e9) as Nanos;
        (0..self.sizes.len())
            .map(|source| {
                let sorted = out.flows[0].latencies(source, 0, to);
                let ideal = self.ideal_ms(source);
                Tail([0.5, 0.95, 0.99].map(|share| quantile(&sorted, share) / ideal))
            })
            .collect()
    }

    /// The share of the link that was used by packets of the sender, headers included.
    pub(crate) fn used(&self, out: &Outcome) -> f64 {
        let flow = &out.flows[0];
        let bins = 10..(self.seconds * 10.0) as usize;
        let bytes: u64 = flow.sent[bins.clone()].iter().sum();
        let from = bins.start as Nanos * SEC / 10;
        let packets = flow.offered.iter().filter(|at| **at >= from).count() as u64;
        (bytes + 28 * packets) as f64 * 8.0 / (bins.len() as f64 / 10.0) / self.cell.mbit / 1e6
    }
}

/// Paths, the multiple of L0 that p99 has to keep, and what may be used of the link.
fn held() -> Vec<(Live, f64, f64)> {
    let live = Live::new;
    vec![
        (live("2 + 2 kB", &[2_000, 2_000], 100.0, (10.0, 50.0, 0.05)), 1.4, 0.75),
        (live("1 kB", &[1_000], 100.0, (10.0, 50.0, 0.05)), 1.4, 0.3),
        (live("3 kB", &[3_000], 30.0, (10.0, 600.0, 0.01)), 1.4, 0.3),
        (live("12 x 10 kB", &[10_000; 12], 25.0, (50.0, 50.0, 0.03)), 1.4, 0.72),
        (live("25 + 10 kB", &[25_000, 10_000], 15.0, (8.0, 40.0, 0.03)), 1.4, 0.72),
        (live("30 + 30 kB", &[30_000, 30_000], 20.0, (20.0, 120.0, 0.08)), 1.6, 0.75),
    ]
}

#[test]
fn frames_of_few_packets_do_not_wait_for_a_retransmission() {
    for (mut live, limit, room) in held() {
        live.seconds = 20.0;
        let outcomes = [1, 2].map(|seed| live.go(RepairMode::Auto, seed));
        let ratios: Vec<f64> = outcomes.iter().flat_map(|out| live.ratios(out)).collect();
        let late = ratios.iter().filter(|ratio| **ratio > limit).count();
        // A hundredth, and half as much again for chance: a few hundred frames have few that fail.
        let most = ratios.len() * 3 / 200;
        assert!(late <= most, "{}: {late} of {} later than {limit} L0", live.name, ratios.len());
        for out in &outcomes {
            assert!(live.used(out) <= room, "{}: {:.2} of the link", live.name, live.used(out));
        }
    }
}

#[test]
fn runs_of_losses_are_mended_as_far_as_there_is_room() {
    for run in [5.0, 10.0] {
        let live = Live::new("in runs", &[60_000, 20_000], 30.0, (50.0, 50.0, 0.02)).in_runs(run);
        for seed in [1, 2] {
            let out = live.go(RepairMode::Auto, seed);
            for (source, Tail([_, p95, p99])) in live.tails(&out).into_iter().enumerate() {
                let ideal = live.ideal_ms(source);
                let round_trip_more = 1.15 * (ideal + live.cell.rtt_ms) / ideal;
                let told = format!("runs of {run}, seed {seed}, source {source}");
                assert!(p95 <= 1.25, "{told}: p95 {p95:.2} L0");
                assert!(p99 <= round_trip_more, "{told}: p99 {p99:.2} L0 of {round_trip_more:.2}");
            }
        }
    }
}

#[test]
fn repair_leaves_a_link_that_is_full_alone() {
    // 90 % of the link, and nothing but small frames: sent twice they would never be through.
    for (sizes, per_second) in [(vec![2_000], 510.0), (vec![1_000, 600], 590.0)] {
        let live = Live::new("full", &sizes, per_second, (10.0, 50.0, 0.02));
        let live = Live { seconds: 12.0, ..live };
        let out = live.go(RepairMode::Auto, 1);
        let payload: f64 = sizes.iter().sum::<usize>() as f64 * per_second * live.seconds;
        let share = out.flows[0].repair as f64 / payload;
        // What is given before the rate is known, and what is saved up.
        assert!(share < 0.1, "{sizes:?}: {share:.2} of the frames' bytes are repair");
        let settled = |out: &Outcome| {
            let sorted = out.flows[0].latencies(0, 6 * SEC, 12 * SEC);
            quantile(&sorted, 0.5) / live.ideal_ms(0)
        };
        let (with, without) = (settled(&out), settled(&live.go(RepairMode::Off, 1)));
        assert!(with <= 1.2 * without, "{sizes:?}: p50 {with:.2} and {without:.2} L0");
    }
}

/// The rows that repair is held against, and neighbours of theirs that nothing was tuned for.
pub(crate) fn rows() -> Vec<Live> {
    let twelve = [10_000; 12];
    vec![
        Live::new("2 kB", &[2_000], 100.0, (10.0, 50.0, 0.05)),
        Live::new("2 + 2 kB", &[2_000, 2_000], 100.0, (10.0, 50.0, 0.05)),
        Live::new("2 kB twice the load", &[2_000], 200.0, (10.0, 50.0, 0.05)),
        Live::new("1 kB", &[1_000], 100.0, (10.0, 50.0, 0.05)),
        Live::new("300 B", &[300], 100.0, (2.0, 80.0, 0.08)),
        Live::new("3 kB geo", &[3_000], 30.0, (10.0, 600.0, 0.01)),
        Live::new("3 kB geo 100/s", &[3_000], 100.0, (10.0, 600.0, 0.01)),
        Live::new("12 x 10 kB", &twelve, 25.0, (50.0, 50.0, 0.03)),
        Live::new("12 x 10 kB slow", &twelve, 10.0, (20.0, 50.0, 0.03)),
        Live::new("6 x 4 kB", &[4_000; 6], 30.0, (20.0, 80.0, 0.04)),
        Live::new("25 + 10 kB", &[25_000, 10_000], 15.0, (8.0, 40.0, 0.03)),
        Live::new("30 + 30 kB", &[30_000, 30_000], 20.0, (20.0, 120.0, 0.08)),
        Live::new("60 + 20 kB 2 %", &[60_000, 20_000], 30.0, (50.0, 50.0, 0.02)),
        Live::new("60 + 20 kB 5 %", &[60_000, 20_000], 30.0, (50.0, 50.0, 0.05)),
        Live::new("60 + 20 kB 10 %", &[60_000, 20_000], 30.0, (50.0, 50.0, 0.10)),
        Live::new("60 + 20 kB runs of 5", &[60_000, 20_000], 30.0, (50.0, 50.0, 0.02)).in_runs(5.0),
        Live::new("60 + 20 kB runs of 10", &[60_000, 20_000], 30.0, (50.0, 50.0, 0.02))
            .in_runs(10.0),
        Live::new("2 kB runs of 5", &[2_000], 100.0, (10.0, 50.0, 0.02)).in_runs(5.0),
        Live::new("10 kB runs of 8", &[10_000], 30.0, (10.0, 50.0, 0.02)).in_runs(8.0),
    ]
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_repair() {
    let var = |name: &str, default: &str| std::env::var(name).unwrap_or(default.into());
    let mode: RepairMode = var("REPAIR", "auto").parse().expect("a mode");
    let seeds: u64 = var("SEEDS", "3").parse().expect("a number");
    let only = var("ONLY", "");
    for live in rows().into_iter().filter(|live| live.name.contains(&only)) {
        for seed in 1..=seeds {
            let out = live.go(mode, seed);
            print!(
                "{:22} seed {seed} load {:.2} used {:.2}",
                live.name,
                live.load(),
                live.used(&out)
            );
            let payload: f64 =
                live.sizes.iter().sum::<usize>() as f64 * live.per_second * live.seconds;
            print!(" repair {:5.1} %", out.flows[0].repair as f64 / payload * 100.0);
            let tails = live.tails(&out);
            let last = tails.len() - 1;
            for source in if last > 1 { vec![0, last] } else { (0..=last).collect() } {
                let Tail([p50, p95, p99]) = tails[source];
                let sorted = out.flows[0].latencies(source, 0, (live.seconds * 1e9) as Nanos);
                let late = sorted.iter().filter(|at| **at > 1.4 * live.ideal_ms(source)).count();
                print!(" late {:.2} %", late as f64 / sorted.len() as f64 * 100.0);
                print!(" | L0 {:.1}: {p50:.2} {p95:.2} {p99:.2}", live.ideal_ms(source));
            }
            println!();
        }
    }
}

/// Links that are used to a share (`FULL`) by frames alone, with and without repair.
#[test]
#[ignore = "prints a table; run by hand"]
fn table_full() {
    let list = |name: &str, default: &str| -> Vec<f64> {
        let text = std::env::var(name).unwrap_or(default.into());
        text.split(',').map(|part| part.parse().expect("numbers")).collect()
    };
    let sizes: Vec<usize> =
        list("SIZES", "60000,20000").into_iter().map(|size| size as usize).collect();
    let per_second = list("FPS", "30")[0];
    for full in list("FULL", "0.6,0.7,0.8,0.85,0.9") {
        for loss in list("LOSS", "0.02") {
            for rtt in list("RTT", "50") {
                let bytes: usize = sizes.iter().sum();
                let mbit = bytes as f64 * 8.0 * per_second / 1e6 / PAYLOAD_SHARE / full;
                let mut live = Live::new("full", &sizes, per_second, (mbit, rtt, loss));
                live.seconds = list("SECS", "20")[0];
                for mode in ["auto", "off"] {
                    for seed in list("SEED", "1,2,3") {
                        let out = live.go(mode.parse().expect("a mode"), seed as u64);
                        print!(
                            "full {full} loss {loss} rtt {rtt} {mode:4} seed {seed} used {:.2}",
                            live.used(&out)
                        );
                        for source in 0..sizes.len() {
                            let sorted =
                                out.flows[0].latencies(source, 0, (live.seconds * 1e9) as Nanos);
                            let at = |share| quantile(&sorted, share);
                            print!(
                                " | L0 {:.1}: {:.1} {:.1} {:.1} ms",
                                live.ideal_ms(source),
                                at(0.5),
                                at(0.95),
                                at(0.99)
                            );
                        }
                        let payload = bytes as f64 * per_second * live.seconds;
                        println!(" | repair {:.1} %", out.flows[0].repair as f64 / payload * 100.0);
                    }
                }
            }
        }
    }
}
