//! Cameras with a deadline over links that carry less than they give.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use framelane::link::Privilege;
use rustix::process::Signal;

use crate::ends::{Ends, time};

/// Two cameras, 60 and 20 kB, 30 frames a second: 19.2 Mbit/s.
const SIZES: [(&str, usize, &str); 2] =
    [("visible", 60_000, "raw:300x200x1"), ("infrared", 20_000, "raw:200x100x1")];
const RATE: f64 = 30.0;

/// What of each byte on the link is a frame's, at the best.
const PAYLOAD: f64 = 0.957;

/// The link's rate is found meanwhile.
const START: Duration = Duration::from_secs(3);

/// A row of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// What is offered, as a multiple of what the link carries.
    pub(crate) times: f64,
    pub(crate) loss: f64,
    pub(crate) deadline: Duration,
    /// When the link is away, and for how long, in seconds.
    pub(crate) outage: Option<(u64, u64)>,
    pub(crate) transport: &'static str,
    pub(crate) seconds: u64,
    /// Runs without being asked for.
    pub(crate) is_usual: bool,
}

impl Row {
    const fn new(name: &'static str, times: f64, loss: f64) -> Self {
        let deadline = Duration::from_millis(300);
        Self {
            name,
            times,
            loss,
            deadline,
            outage: None,
            transport: "quic",
            seconds: 20,
            is_usual: false,
        }
    }

    const fn over_tcp(self) -> Self {
        Self { transport: "tcp", ..self }
    }

    const fn with_outage(self, lasts: u64) -> Self {
        Self { outage: Some((6, lasts)), seconds: 14 + lasts, ..self }
    }
}

pub(crate) const ROWS: [Row; 14] = [
    Row {
        is_usual: true,
        outage: Some((4, 1)),
        seconds: 9,
        ..Row::new("half, 2 % loss, away for 1 s, for a test", 2.0, 0.02)
    },
    Row { is_usual: true, seconds: 7, ..Row::new("half, for a test", 2.0, 0.0).over_tcp() },
    Row::new("two thirds", 1.5, 0.0),
    Row::new("half", 2.0, 0.0),
    Row::new("half, 2 % loss", 2.0, 0.02),
    Row::new("half, 5 % loss", 2.0, 0.05),
    Row::new("a third", 3.0, 0.0),
    Row::new("half, away for 1 s", 2.0, 0.0).with_outage(1),
    Row::new("twice, away for 3 s", 0.5, 0.0).with_outage(3),
    Row::new("half, away for 10 s", 2.0, 0.0).with_outage(10),
    Row::new("two thirds", 1.5, 0.0).over_tcp(),
    Row::new("half", 2.0, 0.0).over_tcp(),
    Row::new("a third", 3.0, 0.0).over_tcp(),
    Row::new("half, away for 1 s", 2.0, 0.0).with_outage(1).over_tcp(),
];

/// What came of a row.
pub(crate) struct Seen {
    captured: u64,
    stored: u64,
    late: u64,
    /// The ages of stored frames, sorted, in ms.
    ages: Vec<f64>,
    /// Memory of the sender at the end, in bytes: all of it, and what is not the program's text.
    pub(crate) memory: [u64; 2],
    /// Payload of stored frames, of what the link carries at the best, and of what it did carry.
    pub(crate) goodput: f64,
    pub(crate) of_carried: f64,
}

impl Seen {
    pub(crate) fn age(&self, share: f64) -> f64 {
        let rank = (share * self.ages.len() as f64).ceil() as usize;
        self.ages.get(rank.clamp(1, self.ages.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { captured, stored, late, goodput, of_carried, memory, .. } = self;
        let [all, own] = memory.map(|bytes| bytes as f64 / f64::from(1 << 20));
        let [p50, p95, most] = [0.5, 0.95, 1.0].map(|share| self.age(share));
        write!(
            f,
            "{captured} | {stored} | {late} | {p50:.0} / {p95:.0} / {most:.0} | {goodput:.3} | {of_carried:.3} | {all:.1} / {own:.1}"
        )
    }
}

impl Row {
    /// Deadline and one frame interval, in ms.
    pub(crate) fn oldest_ms(&self) -> f64 {
        self.deadline.as_secs_f64() * 1e3 + 1e3 / RATE
    }

    fn carries(&self) -> f64 {
        let offered: usize = SIZES.iter().map(|(_, bytes, _)| bytes).sum();
        offered as f64 * RATE / self.times
    }

    pub(crate) fn run(&self, privilege: Privilege) -> Result<Seen> {
        let kbit = self.carries() * 8.0 / PAYLOAD / (1.0 - self.loss) / 1e3;
        let mut link =
            format!("rate={kbit:.0}kbit,delay=25ms,loss={}%,queue=50ms", self.loss * 100.0);
        if let Some((at, lasts)) = self.outage {
            link += &format!(",outage={at}s+{lasts}s");
        }
        let ends = Ends::new(privilege, &link.parse()?)?;
        self.run_on(&ends).with_context(|| ends.said())
    }

    fn run_on(&self, ends: &Ends) -> Result<Seen> {
        let this = std::env::current_exe()?;
        let this = this.to_str().context("a path that can be written")?;
        let sources = SIZES.map(|(name, bytes, form)| {
            format!("{name}={form}:cmd:exec '{this}' camera {bytes} {RATE}")
        });
        let (receiver, port) = ends.receive(0)?;
        let deadline = format!("{}ms", self.deadline.as_millis());
        let sender = ends.send(
            port,
            &["--transport", self.transport, "--live", &deadline, &sources[0], &sources[1]],
        )?;
        std::thread::sleep(START);
        let carried = |ends: &Ends| ends.link.stats().up.delivered_bytes;
        let (from, before) = (now(), carried(ends));
        std::thread::sleep(Duration::from_secs(self.seconds) - START);
        let (to, after) = (now(), carried(ends));
        let memory = [sender.memory(), sender.anonymous()].map(Option::unwrap_or_default);
        sender.signal(Signal::TERM)?;
        let (status, said) = sender.finish()?;
        ensure!(status == Some(0), "the sender ends with {status:?}");
        receiver.signal(Signal::TERM)?;
        receiver.finish()?;
        let report: serde_json::Value = serde_json::from_str(&said)?;
        let (found, words) = ends.verify()?;
        let mut seen = Seen {
            captured: 0,
            stored: 0,
            late: 0,
            ages: Vec::new(),
            memory,
            goodput: 0.0,
            of_carried: 0.0,
        };
        let mut came = 0;
        for (name, ..) in SIZES {
            let of = |all: &serde_json::Value, field: &str| {
                all.as_array()?.iter().find(|source| source[field] == name).cloned()
            };
            let sent = of(&report["sources"], "name").context("it is in the report")?;
            let account = of(&found["sources"], "source").context("it is in the store")?;
            ensure!(account["account"]["state"] == "complete", "{words}");
            // Both ends count alike. The end of a camera may cut its last frame off.
            let reasons = sent["dropped"].as_object().context("drops")?;
            let dropped: u64 = reasons.values().filter_map(serde_json::Value::as_u64).sum();
            ensure!(account["account"]["dropped"] == dropped, "{sent}; {account}");
            let late = sent["dropped"]["late"].as_u64().unwrap_or(0);
            ensure!(account["frames"] == sent["stored"], "{sent}; {account}");
            seen.captured += sent["frames"].as_u64().context("frames")?;
            seen.stored += sent["stored"].as_u64().context("stored")?;
            seen.late += late;
            for line in ends.lines(name, "manifest.jsonl")? {
                let captured = time(&line["captured_unix_ns"]).context("captured")?;
                let received = time(&line["received_unix_ns"]).context("received")?;
                if captured >= from && captured < to {
                    seen.ages.push(received.saturating_sub(captured) as f64 / 1e6);
                }
                if received >= from && received < to {
                    came += line["bytes"].as_u64().context("bytes")?;
                }
            }
        }
        seen.ages.sort_by(f64::total_cmp);
        let away = self.outage.map_or(0, |(_, lasts)| lasts) as f64;
        let seconds = (to - from) as f64 / 1e9 - away;
        seen.goodput = came as f64 / (self.carries() * seconds);
        seen.of_carried = came as f64 / ((after - before) as f64 * PAYLOAD);
        Ok(seen)
    }
}

fn now() -> u64 {
    framelane::frame::UnixNanos::now().0
}
