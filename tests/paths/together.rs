//! Two links at once.

use std::time::Duration;

use anyhow::{Result, ensure};
use framelane::link::Privilege;

use crate::full;
use crate::world::{Stored, World};

/// One thing that is to hold, and what was seen of it, in words.
pub(crate) struct Together {
    pub(crate) name: &'static str,
    pub(crate) run: fn(Privilege) -> Result<String>,
    pub(crate) is_long: bool,
    /// It is held to times, so nothing else runs meanwhile.
    pub(crate) is_alone: bool,
}

/// Both links are named.
pub(crate) const BOTH: [&str; 4] = ["--via", "link", "--via", "198.18.1.1"];

/// The links of the bulk row.
const FAST: &str = "rate=20mbit,delay=20ms,loss=1%,queue=80ms";
const SLOW: &str = "rate=10mbit,delay=50ms,loss=1%,queue=100ms";

/// The links of the live rows.
const GOOD: &str = "rate=50mbit,delay=20ms,queue=50ms";
const OTHER: &str = "rate=30mbit,delay=30ms,queue=50ms";

pub(crate) static ALL: [Together; 6] = [
    Together {
        name: "live over two links, one of them cut again and again",
        run: |privilege| live(privilege, "auto", 4, Duration::from_secs(2)),
        is_long: false,
        is_alone: true,
    },
    Together {
        name: "two copies of each frame, one link cut again and again",
        run: |privilege| live(privilege, "duplicate", 2, Duration::from_secs(10)),
        is_long: true,
        is_alone: true,
    },
    Together { name: "bulk over two links", run: bulk, is_long: true, is_alone: true },
    Together {
        name: "a receiver without room for 4 s",
        run: |privilege| full::run(privilege, 4, [60_000, 20_000], &BOTH),
        is_long: false,
        is_alone: false,
    },
    Together { name: "over TCP, losses move nothing", run: lossy, is_long: true, is_alone: false },
    Together {
        name: "a receiver without room for 10 s, over each kind of path",
        run: |privilege| full::all(privilege, 10),
        is_long: true,
        is_alone: false,
    },
];

/// Two sources at 30 frames/s while the first link is cut so many times for so long.
fn live(privilege: Privilege, mode: &str, times: u64, cut: Duration) -> Result<String> {
    let mut world = World::new(privilege, GOOD, OTHER)?;
    let frames = times * 30 * (cut.as_secs() + 2) + 60;
    let sending = world.send(frames, &[&BOTH[..], &["--paths", mode]].concat())?;
    for _ in 0..times {
        world.link(0, "loss=100%")?;
        std::thread::sleep(cut);
        world.link(0, GOOD)?;
        std::thread::sleep(Duration::from_millis(1_700));
    }
    let (stored, paths) = world.finish(sending)?;
    if std::env::var_os("FRAMELANE_TEST_VERBOSE").is_some() {
        eprintln!("{}", world.said());
        crate::rows::dump(&stored);
    }
    let told = world.said();
    ensure!(told.contains("carries again"), "it was not used again: {told}");
    // A connection that begins has to find its rate, and the second joins after some round trips.
    let begun = stored.first().map_or(0, |frame| frame.due) + 1_000_000_000;
    let (start, rest) = stored.split_at(stored.partition_point(|frame| frame.due < begun));
    let (start, late) = (latencies(start), latencies(rest));
    let at = |part: f64| late[((late.len() - 1) as f64 * part) as usize].as_millis();
    let seen = format!(
        "p50 {} ms, p99 {} ms, latest {} ms, of those of the first second {} ms; {}",
        at(0.5),
        at(0.99),
        at(1.0),
        start.last().map_or(0, Duration::as_millis),
        paths.join(", then ")
    );
    // A busy machine has pauses of its own; the figures are for a quiet one.
    ensure!(at(1.0) <= 2_000 && at(0.5) <= 150, "{seen}");
    Ok(seen)
}

/// Two links that lose packets, over TCP: neither is taken for one that swallows, and left for the other, which is no
/// better.
fn lossy(privilege: Privilege) -> Result<String> {
    let seen = std::thread::scope(|scope| {
        let runs = [1, 3, 5].map(|percent| {
            scope.spawn(move || {
                let link = format!("rate=50mbit,delay=25ms,queue=50ms,loss={percent}%");
                let mut world = World::new(privilege, &link, &link)?;
                let sending = world.send(600, &["--transport", "tcp", "--retry-for", "120s"])?;
                let (_, paths) = world.finish(sending)?;
                anyhow::Ok((percent, paths.len() - 1, world.said()))
            })
        });
        runs.map(|run| run.join().unwrap())
    });
    let mut said = Vec::new();
    for run in seen {
        let (percent, moves, log) = run?;
        ensure!(moves == 0 || percent == 5 && moves <= 2, "{moves} moves at {percent} %: {log}");
        said.push(format!("{percent} % loss: {moves} moves"));
    }
    Ok(said.join(", "))
}

/// What a frame took, of all of them, in order.
fn latencies(stored: &[Stored]) -> Vec<Duration> {
    let took = |frame: &Stored| Duration::from_nanos(frame.received.saturating_sub(frame.due));
    let mut all: Vec<_> = stored.iter().map(took).collect();
    all.sort_unstable();
    all
}

/// All at once over each link and over both: how much of their sum both together reach.
fn bulk(privilege: Privilege) -> Result<String> {
    let mut rates = Vec::new();
    for via in [&BOTH[..2], &BOTH[2..], &BOTH[..]] {
        let mut world = World::new(privilege, FAST, SLOW)?;
        let sending = world.send_at_once(600, via)?;
        let (stored, _) = world.finish(sending)?;
        let first = stored.iter().map(|frame| frame.received).min().unwrap_or(0);
        let last = stored.iter().map(|frame| frame.received).max().unwrap_or(0);
        let bytes = 600.0 * 80_000.0;
        rates.push(bytes * 8e-6 / Duration::from_nanos(last - first).as_secs_f64());
    }
    let part = rates[2] / (rates[0] + rates[1]);
    let seen = format!(
        "{:.1} and {:.1} Mbit/s alone, {:.1} together: {part:.3} of the sum",
        rates[0], rates[1], rates[2]
    );
    ensure!(part > 0.8, "{seen}");
    Ok(seen)
}
