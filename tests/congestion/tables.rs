//! Tables of figures, printed by hand while working on the controller:
//! `cargo test --test congestion table_ -- --ignored --nocapture`. Environment variables narrow the
//! cells (`MBIT`, `RTT`, `LOSS`, `QUEUE`, `SECS`, `SEED`), choose another controller (`CC`, and
//! `OTHER` for the second flow), and print the controller's trace (`TRACE`).

use std::time::Duration;

use framelane::congestion::{Congestion, TraceRing};
use framelane::link::{Capacity, LinkSpec};

use crate::paths::{
    Cell, PAYLOAD_SHARE, Pair, Run, first_fresh_ms, first_share, frames, mean_mbit, mobile_trace,
    narrow_loads, radio, still_ms, wandering,
};
use crate::sim::app::Load;
use crate::sim::link::{MS, Nanos, SEC};
use crate::sim::quantile;

fn list(name: &str, default: &str) -> Vec<f64> {
    let text = std::env::var(name).unwrap_or(default.into());
    text.split(',').map(|part| part.parse().expect("numbers, separated by commas")).collect()
}

fn choice(name: &str, default: &str) -> Congestion {
    std::env::var(name).unwrap_or(default.into()).parse().expect("a controller's name")
}

fn run(cell: Cell, load: Load, seconds: f64) -> Run {
    let mut run = Run::new(cell, load, seconds);
    run.choice = choice("CC", "lossy");
    run.seed = list("SEED", "1")[0] as u64;
    run.newest_first = std::env::var_os("NEWEST").is_some();
    run
}

fn dump(ring: &TraceRing) {
    if std::env::var_os("TRACE").is_none() {
        return;
    }
    let events = ring.snapshot();
    let Some(first) = events.first().map(|event| event.at) else { return };
    let ms = |span: Duration| span.as_secs_f64() * 1e3;
    for e in events {
        println!(
            "{:8.3} {:?}{} W={:.1}kB flight={:.1}kB bw={:.2}M x={:.2}M base={:.1}+{:.1} round={:.1} \
             srtt={:.1} p={:.3} lost={}k{}",
            (e.at - first).as_secs_f64(),
            e.phase,
            if e.competing { "*" } else { "" },
            e.window as f64 / 1e3,
            e.in_flight as f64 / 1e3,
            e.bandwidth * 8e-6,
            e.delivery_rate * 8e-6,
            ms(e.base_rtt),
            ms(e.wander),
            ms(e.round_rtt),
            ms(e.smoothed_rtt),
            e.base_loss,
            e.lost / 1000,
            if e.app_limited { " app" } else { "" },
        );
    }
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_bulk() {
    let seconds = list("SECS", "10")[0];
    for mbit in list("MBIT", "10,50,200") {
        for rtt in list("RTT", "10,50,200") {
            for loss in list("LOSS", "0,0.02,0.05,0.1") {
                for queue in list("QUEUE", "0.5,1") {
                    bulk_line(Cell::new(mbit, rtt, loss, queue), seconds);
                }
            }
        }
    }
}

fn bulk_line(cell: Cell, seconds: f64) {
    let run = run(cell, Load::Bulk, seconds);
    let out = run.go();
    dump(&run.ring);
    let flow = &out.flows[0];
    let to = (seconds * 1e9) as Nanos;
    let late = to / 3 / SEC * SEC;
    println!(
        "bulk {} Mbit {} ms loss {} queue {} kB: {:.3} of limit (late {:.3}), overflow {:.3} (late \
         {:.3}), wait p50 {:.1} p95 {:.1} ms [<= {:.0}]",
        cell.mbit,
        cell.rtt_ms,
        cell.loss,
        cell.queue_bytes / 1000,
        flow.goodput(0, to) / cell.limit(),
        flow.goodput(late, to) / cell.limit(),
        flow.overflow_share(0, to),
        flow.overflow_share(late, to),
        out.wait_quantile(0.5, late, to),
        out.wait_quantile(0.95, late, to),
        f64::max(15.0, 0.3 * cell.rtt_ms),
    );
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_frames() {
    for mbit in list("MBIT", "27.5,50,100,200") {
        for rtt in list("RTT", "10,50,100,200") {
            for loss in list("LOSS", "0,0.02") {
                let queue_bytes = (list("QUEUE", "312500")[0]) as u64;
                let cell = Cell { mbit, rtt_ms: rtt, loss, queue_bytes };
                frames_line(cell, list("SECS", "30")[0], &[20_000, 60_000]);
            }
        }
    }
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_bloat() {
    for mbit in list("MBIT", "27.5,50,100") {
        for rtt in list("RTT", "10,50,100") {
            let queue_bytes = (mbit * 1e6 / 8.0) as u64;
            let cell = Cell { mbit, rtt_ms: rtt, loss: 0.0, queue_bytes };
            let share = mbit * 0.7 / 19.2;
            frames_line(cell, 10.0, &[(20_000.0 * share) as usize, (60_000.0 * share) as usize]);
            bulk_line(cell, 15.0);
        }
    }
}

fn frames_line(cell: Cell, seconds: f64, sizes: &[usize]) {
    let run = run(cell, frames(sizes), seconds);
    let out = run.go();
    dump(&run.ring);
    let to = (seconds * 1e9) as Nanos;
    print!("frames {} Mbit {} ms loss {}", cell.mbit, cell.rtt_ms, cell.loss);
    let mut due = 0;
    for (source, size) in sizes.iter().enumerate() {
        due += size;
        let ideal = cell.ideal_ms(due);
        let sorted = out.flows[0].latencies(source, 0, to);
        let at = |share| quantile(&sorted, share);
        print!(
            " | L0 {ideal:.1}: p50 {:.2}x p95 {:.2}x ({:+.1}) p99 {:.2}x max {:.1}",
            at(0.5) / ideal,
            at(0.95) / ideal,
            at(0.95) - ideal,
            at(0.99) / ideal,
            at(1.0),
        );
    }
    println!(" | overflow {:.3}", out.flows[0].overflow_share(0, to));
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_share() {
    for mbit in list("MBIT", "20,50,100") {
        for rtt in list("RTT", "20,50,100") {
            for queue in list("QUEUE", "1") {
                for late in list("LATE", "0") {
                    let cell = Cell::new(mbit, rtt, 0.0, queue);
                    let seed = list("SEED", "1")[0] as u64;
                    share_line(&Pair::new(cell, choice("OTHER", "cubic"), late, seed));
                }
            }
        }
    }
}

fn share_line(pair: &Pair) {
    let out = pair.go();
    dump(&pair.ring);
    let (start, stop) = (pair.start(), pair.stop());
    let half = start + (stop - start) / 2;
    println!(
        "share {} Mbit {} ms beside {} {} s late: {:.0} % (second half {:.0} %), overflow {:.3} \
         {:.3}, wait p50 {:.1} ms",
        pair.cell.mbit,
        pair.cell.rtt_ms,
        pair.other,
        pair.late,
        100.0 * first_share(&out, start, stop),
        100.0 * first_share(&out, half, stop),
        out.flows[0].overflow_share(half, stop),
        out.flows[1].overflow_share(half, stop),
        out.wait_quantile(0.5, half, stop),
    );
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_outage() {
    for rtt in list("RTT", "10,50,100,200") {
        for gone in list("GONE", "1,3,5") {
            let cell = Cell { mbit: 50.0, rtt_ms: rtt, loss: 0.0, queue_bytes: 312_500 };
            let from = 3 * SEC + 7 * MS;
            let back = from + (gone * 1e9) as Nanos;
            let run = run(cell, frames(&[20_000, 60_000]), gone + 8.0);
            let out = run.go_changed(|forward, reverse| {
                forward.outages.push((from, back));
                reverse.outages.push((from, back));
            });
            dump(&run.ring);
            println!(
                "outage {gone} s, {rtt} ms: first fresh {:.0} ms after the link is back [<= {:.0}]",
                first_fresh_ms(&out, back),
                100.0 + 1.5 * rtt
            );
        }
    }
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_steps() {
    for mbit in list("MBIT", "20,50,100") {
        for rtt in list("RTT", "10,50,100,200") {
            for loss in list("LOSS", "0,0.02") {
                let cell = Cell::new(mbit, rtt, loss, 1.0);
                let rate = (mbit * 1e6) as u64;
                let run = run(cell, Load::Bulk, 15.0);
                let out = run.go_changed(|forward, _| {
                    forward.rate = vec![(0, rate), (5 * SEC, rate / 2), (10 * SEC, rate)];
                });
                dump(&run.ring);
                let part = |from, to| out.flows[0].goodput(from * SEC, to * SEC) / cell.limit();
                println!(
                    "steps {mbit} Mbit {rtt} ms loss {loss}: {:.3} of offer; parts {:.3} {:.3} \
                     {:.3}; overflow {:.3}; wait in the half p50 {:.1} p95 {:.1} ms",
                    part(0, 15) * 3.0 / 2.5,
                    part(0, 5),
                    part(5, 10) * 2.0,
                    part(10, 15),
                    out.flows[0].overflow_share(0, 15 * SEC),
                    out.wait_quantile(0.5, 5 * SEC, 10 * SEC),
                    out.wait_quantile(0.95, 5 * SEC, 10 * SEC),
                );
            }
        }
    }
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_mobile() {
    for rtt in list("RTT", "20,50,100") {
        for loss in list("LOSS", "0,0.01") {
            for seed in list("SEEDS", "1,2,3") {
                let cell = Cell { mbit: 20.0, rtt_ms: rtt, loss, queue_bytes: 500_000 };
                let trace = mobile_trace(30, seed as u64);
                let offered = mean_mbit(&trace) * PAYLOAD_SHARE * (1.0 - loss);
                let run = run(cell, Load::Bulk, 30.0);
                let out = run.go_changed(|forward, _| forward.rate = trace);
                dump(&run.ring);
                println!(
                    "mobile {rtt} ms loss {loss} seed {seed}: {:.3} of {offered:.1} Mbit/s, wait \
                     p50 {:.1} p95 {:.1} ms, overflow {:.3}",
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
fn table_rtt_change() {
    for mbit in list("MBIT", "20,100") {
        for (before, after) in [(20.0, 80.0), (80.0, 20.0), (50.0, 100.0)] {
            let cell = Cell { mbit, rtt_ms: before, loss: 0.01, queue_bytes: 500_000 };
            let run = run(cell, Load::Bulk, 25.0);
            let out = run.go_changed(|forward, back| {
                for link in [forward, back] {
                    link.delay.push((5 * SEC, (after / 2.0 * 1e6) as Nanos));
                }
            });
            dump(&run.ring);
            let part = |from, to| out.flows[0].goodput(from * SEC, to * SEC) / cell.limit();
            println!(
                "delay {mbit} Mbit {before} -> {after} ms: {:.3}, after {:.3}, then {:.3}; wait \
                 p50 {:.1}, then {:.1} ms",
                part(0, 5),
                part(5, 15),
                part(15, 25),
                out.wait_quantile(0.5, 5 * SEC, 15 * SEC),
                out.wait_quantile(0.5, 17 * SEC, 25 * SEC),
            );
        }
    }
}

/// The rate of the link `lte-moving` in each quarter of a second.
fn drive(seconds: u64) -> Vec<(Nanos, u64)> {
    let link: LinkSpec = "lte-moving".parse().expect("a named link");
    let Capacity::Trace(trace) = link.up.capacity else { panic!("it has a trace") };
    let quarter = |number: u64| {
        let [from, to] = [number, number + 1].map(|at| Duration::from_millis(250 * at));
        (number * 250 * MS, trace.opportunities(from, to) * 12_000 * 4)
    };
    (0..seconds * 4).map(quarter).collect()
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_drive() {
    let seconds = 32;
    for seed in list("SEEDS", "1,2,3,4,5") {
        for jitter in list("JITTER", "1,8") {
            let cell = Cell { mbit: 20.0, rtt_ms: 60.0, loss: 0.001, queue_bytes: 1_100_000 };
            let trace = drive(seconds);
            let offered = mean_mbit(&trace) * PAYLOAD_SHARE;
            let mut run = run(cell, Load::Bulk, seconds as f64);
            run.seed = seed as u64;
            let out = run.go_changed(|forward, back| {
                forward.rate = trace;
                let jitter = (jitter * 1e6) as Nanos;
                forward.delay = wandering(30 * MS, jitter, seconds, seed as u64);
                back.delay = wandering(30 * MS, jitter, seconds, seed as u64 + 100);
            });
            dump(&run.ring);
            println!(
                "drive jitter {jitter} seed {seed}: {:.3} of {offered:.1} Mbit/s, wait p50 {:.1} p95 {:.1} ms, \
                 overflow {:.3}",
                out.flows[0].goodput(0, seconds * SEC) / offered,
                out.wait_quantile(0.5, 0, seconds * SEC),
                out.wait_quantile(0.95, 0, seconds * SEC),
                out.flows[0].overflow_share(0, seconds * SEC),
            );
        }
    }
}

#[test]
#[ignore = "prints a table; run by hand"]
fn table_radio() {
    let seconds = list("SECS", "10")[0];
    for (name, sizes) in [
        ("busy-wifi", [66_000, 22_000]),
        ("mesh-edge", [63_000, 21_000]),
        ("leo", [63_000, 21_000]),
    ] {
        for seed in list("SEEDS", "1,2,3,4,5,6") {
            let (run, out) = radio(name, &sizes, seconds as u64, seed as u64);
            dump(&run.ring);
            let all = out.flows[0].latencies(0, 0, SEC * seconds as u64);
            println!(
                "{name} seed {seed}: p50 {:.1} p95 {:.1} max {:.1} ms, overflow {:.3}",
                quantile(&all, 0.5),
                quantile(&all, 0.95),
                quantile(&all, 1.0),
                out.flows[0].overflow_share(0, SEC * seconds as u64),
            );
        }
    }
}

/// Paths that swallow long packets from a time on (`HOLE`, in bytes).
#[test]
#[ignore = "prints a table; run by hand"]
fn table_hole() {
    let cell = Cell { mbit: 50.0, rtt_ms: list("RTT", "50")[0], loss: 0.0, queue_bytes: 312_500 };
    let longest = list("HOLE", "1240")[0] as u64;
    for (name, load) in narrow_loads() {
        for seed in list("SEED", "1,2,3,4,5") {
            let from = 3 * SEC + seed as u64 * 7 * MS;
            let mut run = run(cell, load.clone(), 8.0);
            (run.seed, run.shipped, run.newest_first) = (seed as u64, true, true);
            let out = run.go_changed(|forward, _| forward.longest = Some((from, longest)));
            dump(&run.ring);
            println!("{name} seed {seed}: still for {:.0} ms", still_ms(&out, from, 6 * SEC));
        }
    }
}

/// Half of the packets late (`LATE`: share, ms), or a thin way back (`DOWN`, in Mbit/s).
#[test]
#[ignore = "prints a table; run by hand"]
fn table_odd() {
    let cell = Cell {
        mbit: list("MBIT", "50")[0],
        rtt_ms: list("RTT", "50")[0],
        loss: list("LOSS", "0")[0],
        queue_bytes: 312_500,
    };
    let [share, late] = [list("LATE", "0,30")[0], list("LATE", "0,30")[1]];
    for load in [frames(&[60_000, 20_000]), Load::Bulk] {
        for seed in list("SEED", "1,2,3") {
            let mut run = run(cell, load.clone(), 10.0);
            (run.seed, run.shipped) = (seed as u64, true);
            run.gathers = std::env::var_os("GATHER").is_some();
            let out = run.go_changed(|forward, back| {
                forward.late = (share > 0.0).then_some((share, (late * 1e6) as Nanos));
                if let Some(down) = list("DOWN", "0").first().filter(|down| **down > 0.0) {
                    back.rate = vec![(0, (down * 1e6) as u64)];
                    back.queue_bytes = 25_000;
                }
            });
            dump(&run.ring);
            let sorted = out.flows[0].latencies(0, SEC, 9 * SEC);
            let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| quantile(&sorted, share));
            let goodput = out.flows[0].goodput(SEC, 10 * SEC);
            println!("seed {seed}: {goodput:.2} Mbit/s, p50 {p50:.1} p95 {p95:.1} p99 {p99:.1} ms");
        }
    }
}

/// A rate that is held by dropping (`POLICE`, in Mbit/s; 20 ms of it at once).
#[test]
#[ignore = "prints a table; run by hand"]
fn table_police() {
    let (mbit, rtt_ms) = (list("MBIT", "50")[0], list("RTT", "50")[0]);
    let cell = Cell { mbit, rtt_ms, loss: list("LOSS", "0")[0], queue_bytes: 312_500 };
    for load in [frames(&[60_000, 20_000]), Load::Bulk] {
        for police in list("POLICE", "20,25,30,40") {
            for seed in list("SEED", "1,2") {
                let mut run = Run::shipped(cell, load.clone(), 10.0, seed as u64);
                run.repair = std::env::var("REPAIR").ok().map(|mode| mode.parse().expect("a mode"));
                let out = run.go_changed(|forward, _| {
                    forward.police = Some(((police * 1e6) as u64, (police * 2e4) as u64));
                });
                dump(&run.ring);
                let sorted = out.flows[0].latencies(0, SEC, 9 * SEC);
                let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| quantile(&sorted, share));
                let goodput = out.flows[0].goodput(SEC, 10 * SEC);
                println!(
                    "{police} Mbit/s, seed {seed}: {goodput:.2} Mbit/s, {:.3} lost, p50 {p50:.1} p95 {p95:.1} p99 {p99:.1} ms",
                    out.flows[0].overflow_share(SEC, 9 * SEC),
                );
            }
        }
    }
}
