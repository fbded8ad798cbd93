//! A way back that carries far less than the way out.

use crate::paths::{Cell, Run, frames};
use crate::sim::app::Load;
use crate::sim::link::{Nanos, SEC};
use crate::sim::quantile;

/// A load over 20 Mbit/s out and `back` in Mbit/s back, where 25 kB may wait.
fn run(load: Load, back: f64, seed: u64) -> crate::sim::Outcome {
    let cell = Cell { mbit: 20.0, rtt_ms: 50.0, loss: 0.0, queue_bytes: 312_500 };
    Run::shipped(cell, load, 20.0, seed).go_changed(|_, reverse| {
        reverse.rate = vec![(0, (back * 1e6) as Nanos)];
        reverse.queue_bytes = 25_000;
    })
}

#[test]
fn acknowledgements_leave_a_thin_way_back_room() {
    for (back, seed) in [(0.2, 1), (0.2, 2), (0.2, 3)] {
        let live = run(frames(&[50_000, 16_000]), back, seed);
        let sorted = live.flows[0].latencies(0, 8 * SEC, 19 * SEC);
        let [p50, p95] = [0.5, 0.95].map(|share| quantile(&sorted, share));
        // The kernel's TCP over 0.2 Mbit/s: cubic 350 ms, bbr 650 ms.
        assert!(p50 < 200.0 && p95 < 500.0, "{back} Mbit/s, seed {seed}: {p50:.0}, {p95:.0} ms");
    }
}

#[test]
fn bulk_finds_out_that_the_way_back_is_thin() {
    for seed in [1, 2, 3] {
        let bulk = run(Load::Bulk, 0.2, seed);
        let goodput = bulk.flows[0].goodput(10 * SEC, 20 * SEC);
        // 19.1 is what the way out carries; 7.6 were had while every second packet was acknowledged.
        assert!(goodput > 14.0, "seed {seed}: {goodput:.1} Mbit/s");
    }
}

#[test]
fn bulk_loses_nothing_by_trying_where_the_way_back_is_wide() {
    for (mbit, rtt_ms, seed) in [(20.0, 50.0, 1), (50.0, 50.0, 2), (100.0, 100.0, 3)] {
        let cell = Cell { mbit, rtt_ms, loss: 0.0, queue_bytes: 312_500 };
        // The trial is from the second second to the sixth.
        let out = Run::shipped(cell, Load::Bulk, 7.0, seed).go();
        let goodput = out.flows[0].goodput(2 * SEC, 6 * SEC) / (0.957 * mbit);
        assert!(goodput > 0.96, "{mbit} Mbit/s, {rtt_ms} ms: {goodput:.3} of the limit");
    }
}
