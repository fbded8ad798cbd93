//! Minutes of two live sources over two links of a vehicle: Wi-Fi with outages and jitter, and LTE with a rate that
//! changes and a deep queue. UDP is blocked on the Wi-Fi half of the time, and the address of either link changes every
//! minute. All that was captured is to be stored; a picture shows how late it was, and what each link carried.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use framelane::link::Privilege;

use crate::plot::{Picture, Span};
use crate::world::{Side, World, now};

/// Frames of each source a second.
const RATE: u32 = 20;
/// Bytes of their frames, and what raw images those are.
const SOURCES: [(&str, &str, u32); 2] =
    [("visible", "300x200x1", 60_000), ("infrared", "200x100x1", 20_000)];

/// A frame that took no longer than this was in time; for the words at the end.
const IN_TIME: f64 = 300.0;

/// What happens in each "minute", which is shorter in a short run, in parts of it.
const BLOCKED: [f64; 2] = [0.5, 1.0];
const MOVES: [f64; 2] = [0.25, 0.75];
const AWAY_EVERY: f64 = 0.8;
const AWAY_AT: f64 = 0.35;
const AWAY_FOR: f64 = 0.06;

/// How often what the links carry is noted.
const LOOK: Duration = Duration::from_millis(500);

/// The links, of which the first is away now and then.
fn links(minute: f64) -> [String; 2] {
    let ms = |part: f64| (minute * part * 1e3) as u64;
    let (at, lasts, every) = (ms(AWAY_AT), ms(AWAY_FOR), ms(AWAY_EVERY));
    [
        format!(
            "rate=40mbit,delay=3ms,jitter=15ms,loss=1%,burst=3,queue=100ms,outage={at}ms+{lasts}ms/{every}ms"
        ),
        "trace=builtin:lte-moving,delay=30ms,jitter=8ms,loss=0.1%,queue=600ms".to_owned(),
    ]
}

/// A journey under way.
struct Journey<'a> {
    world: &'a World,
    began: Instant,
    minute: f64,
    blocked: bool,
    moves: u32,
    picture: Picture,
    /// Bytes that each link has carried, and when that was looked at.
    carried: [u64; 2],
    looked: Instant,
}

/// Runs it for so many seconds, and draws it.
pub(crate) fn run(privilege: Privilege, seconds: u32, picture: Option<&Path>) -> Result<String> {
    ensure!(seconds >= 10, "ten seconds at least");
    let total = f64::from(seconds);
    let minute = (total / 2.0).min(60.0);
    let specs = links(minute);
    let mut world = World::new(privilege, &specs[0], &specs[1])?;
    let this = std::env::current_exe()?;
    let this = this.to_str().context("a path that can be written")?;
    let sources = SOURCES.map(|(name, shape, bytes)| {
        format!("{name}=raw:{shape}:cmd:exec '{this}' camera {bytes} {RATE}")
    });
    let [visible, infrared] = &sources;
    let both = ["--via", "link", "--via", "link1", "--retry-for", "120s", "--drain", "60s"];
    let sender = world.send_live(&[&[visible.as_str(), infrared.as_str()], &both[..]].concat())?;
    world.wait_for(5)?;
    // Outages count from here on.
    world.link(0, &specs[0])?;
    world.link(1, &specs[1])?;
    let (start, began) = (now(), Instant::now());
    let mut journey = Journey {
        world: &world,
        began,
        minute,
        blocked: false,
        moves: 0,
        picture: Picture::new(total),
        carried: [0; 2],
        looked: began,
    };
    while began.elapsed().as_secs_f64() < total {
        journey.go_on()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut drawn = journey.end()?;
    let told = sender.finish(&world)?;
    let mut words = Vec::new();
    for (name, ..) in SOURCES {
        let stored = world.stored(name)?;
        let late =
            |frame: &crate::world::Stored| frame.received.saturating_sub(frame.due) as f64 / 1e6;
        let frames: Vec<(f64, f64)> = stored
            .iter()
            .filter(|frame| frame.due >= start)
            .map(|frame| ((frame.due - start) as f64 / 1e9, late(frame)))
            .collect();
        let least = (total * f64::from(RATE) * 0.8) as usize;
        ensure!(frames.len() >= least, "{} of {name} only: {}", frames.len(), world.said());
        let mut sorted: Vec<f64> = frames.iter().map(|(_, late)| *late).collect();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| sorted[((sorted.len() - 1) as f64 * part) as usize];
        let in_time =
            sorted.iter().filter(|late| **late <= IN_TIME).count() as f64 / sorted.len() as f64;
        words.push(format!(
            "{name}: {} frames, p50 {:.0}, p95 {:.0}, p99 {:.0}, latest {:.0} ms, {:.2} % within {IN_TIME} ms",
            sorted.len(),
            at(0.5),
            at(0.95),
            at(0.99),
            at(1.0),
            in_time * 100.0
        ));
        drawn.source(name, frames, [at(0.5), at(0.95), at(0.99), at(1.0)]);
    }
    if let Some(path) = picture {
        std::fs::write(path, drawn.draw())?;
    }
    if std::env::var_os("FRAMELANE_TEST_VERBOSE").is_some() {
        eprintln!("{}", world.said());
    }
    let verified = world.verify()?;
    let last = verified.lines().last().unwrap_or_default().to_owned();
    ensure!(verified.contains("complete"), "{verified}");
    let paths = told["paths"].as_array().map_or(0, Vec::len);
    Ok(format!("{}; {paths} sessions; verify: {last}", words.join("; ")))
}

impl Journey<'_> {
    /// Has happen what is due now.
    fn go_on(&mut self) -> Result<()> {
        let seconds = self.began.elapsed().as_secs_f64();
        let (minutes, part) = ((seconds / self.minute).floor(), (seconds / self.minute).fract());
        let blocked = (BLOCKED[0]..BLOCKED[1]).contains(&part);
        if blocked != self.blocked {
            self.world.links.block_udp(0, blocked)?;
            self.blocked = blocked;
            if blocked {
                let from = (minutes + BLOCKED[0]) * self.minute;
                let to = (minutes + BLOCKED[1]) * self.minute;
                self.picture.span(Span::Blocked, from, to);
            }
        }
        let due = minutes as u32 * 2 + MOVES.iter().filter(|at| part >= **at).count() as u32;
        while self.moves < due {
            self.change_address(self.moves)?;
            self.picture.moves(seconds);
            self.moves += 1;
        }
        if self.looked.elapsed() >= LOOK {
            let apart = self.looked.elapsed().as_secs_f64();
            self.looked = Instant::now();
            let carried = [0, 1].map(|path| self.world.links.stats_of(path).up.delivered_bytes);
            let mbit = [0, 1].map(|path: usize| {
                carried[path].saturating_sub(self.carried[path]) as f64 * 8e-6 / apart
            });
            self.carried = carried;
            self.picture.carried(seconds, mbit);
        }
        Ok(())
    }

    /// Another address for one of the links, in turn, and the last one is gone.
    fn change_address(&self, number: u32) -> Result<()> {
        let (path, turn) = (number % 2, number / 2);
        let device = self.world.links.device_of(path as usize);
        let address = |turn: u32| match turn {
            0 => format!("{}/30", self.world.links.near_addr_of(path as usize)),
            turn => format!("198.18.{path}.{}/32", 8 + turn % 200),
        };
        let (next, last) = (address(turn + 1), address(turn));
        self.world.ip(Side::Near, &format!("addr add {next} dev {device}"))?;
        self.world.ip(Side::Far, &format!("route add {next} dev {device}"))?;
        self.world.ip(Side::Near, &format!("addr del {last} dev {device}"))
    }

    /// All links are as they were, and what has happened.
    fn end(mut self) -> Result<Picture> {
        self.world.links.block_udp(0, false)?;
        let total = self.began.elapsed().as_secs_f64();
        let mut at = AWAY_AT * self.minute;
        while at < total {
            self.picture.span(Span::Away, at, at + AWAY_FOR * self.minute);
            at += AWAY_EVERY * self.minute;
        }
        Ok(self.picture)
    }
}
