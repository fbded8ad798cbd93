//! Paths that begin to swallow long packets, without a word, while frames are sent.

use crate::paths::{Cell, Run, first_fresh_ms, narrow_loads, still_ms};
use crate::sim::app::Load;
use crate::sim::link::{MS, Nanos, SEC};

/// How long `load` stands still, and when the first frame that is due thereafter is there, both in ms, once
/// packets of more than `longest` bytes vanish; none do where it is `None`.
fn narrowed(load: &Load, rtt_ms: f64, longest: Option<u64>, seed: u64) -> (f64, f64) {
    let cell = Cell { mbit: 50.0, rtt_ms, loss: 0.0, queue_bytes: 312_500 };
    let from = 3 * SEC + seed as Nanos * 7 * MS;
    let run = Run::shipped(cell, load.clone(), 6.0, seed);
    let out = run.go_changed(|forward, back| {
        forward.longest = longest.map(|longest| (from, longest));
        back.longest = forward.longest;
    });
    let bulk = out.flows[0].frames.is_empty();
    (still_ms(&out, from, 6 * SEC), if bulk { 0.0 } else { first_fresh_ms(&out, from) })
}

#[test]
fn a_path_that_falls_to_the_least_that_ipv6_allows_stops_nothing() {
    for (name, load) in narrow_loads() {
        for (rtt, seed) in [(20.0, 1), (50.0, 2), (150.0, 3)] {
            let (usual, usual_fresh) = narrowed(&load, rtt, None, seed);
            let (still, fresh) = narrowed(&load, rtt, Some(1_280), seed);
            assert!(fresh <= usual_fresh + 10.0, "{name}, {rtt} ms, {seed}: {fresh:.0} ms");
            assert!(still <= usual + 10.0, "{name}, {rtt} ms, {seed}: still for {still:.0} ms");
        }
    }
}

#[test]
fn a_path_that_falls_below_that_is_found_out_within_a_second() {
    // The probes that noticed an outage's end kept putting off the only packets that were short enough.
    for (name, load) in narrow_loads() {
        for seed in 1..=2 {
            let (still, _) = narrowed(&load, 50.0, Some(1_240), seed);
            assert!(still <= 1_000.0, "{name}, seed {seed}: {still:.0} ms");
        }
    }
}
