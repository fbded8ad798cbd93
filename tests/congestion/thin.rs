//! A way back that carries far less than the way out.

use crate::paths::{Cell, Run, frames};
use crate::sim::link::{Nanos, SEC};
use crate::sim::quantile;

/// Frames over 20 Mbit/s out and `back` in Mbit/s back, where 25 kB may wait.
fn run(back: f64, seed: u64) -> crate::sim::Outcome {
    let cell = Cell { mbit: 20.0, rtt_ms: 50.0, loss: 0.0, queue_bytes: 312_500 };
    Run::shipped(cell, frames(&[50_000, 16_000]), 20.0, seed).go_changed(|_, reverse| {
        reverse.rate = vec![(0, (back * 1e6) as Nanos)];
        reverse.queue_bytes = 25_000;
    })
}

#[test]
fn acknowledgements_leave_a_thin_way_back_room() {
    for (back, seed) in [(0.2, 1), (0.2, 2), (0.2, 3)] {
        let live = run(back, seed);
        let sorted = live.flows[0].latencies(0, 8 * SEC, 19 * SEC);
        let [p50, p95] = [0.5, 0.95].map(|share| quantile(&sorted, share));
        // The kernel's TCP over 0.2 Mbit/s: cubic 350 ms, bbr 650 ms.
        assert!(p50 < 200.0 && p95 < 500.0, "{back} Mbit/s, seed {seed}: {p50:.0}, {p95:.0} ms");
    }
}
