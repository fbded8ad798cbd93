//! Live frames with a deadline on links that carry less than is offered, and through outages.

use std::fmt;

use framelane::repair::RepairMode;

use crate::paths::{Cell, Run};
use crate::sim::app::{FrameRecord, FrameSource, Load};
use crate::sim::link::{MS, Nanos, SEC};
use crate::sim::{FlowOutcome, quantile};

/// Cameras, a deadline, and a link that may be too small for them.
struct Overload {
    sizes: Vec<usize>,
    per_second: f64,
    deadline: Nanos,
    /// What is offered, as a multiple of what the link carries.
    times: f64,
    rtt_ms: f64,
    loss: f64,
    seconds: u64,
    /// When it begins, and how long it lasts.
    outages: Vec<(Nanos, Nanos)>,
}

/// What came of it.
struct Figures {
    /// Frames stored, given up before they were begun, and after.
    stored: usize,
    unbegun: usize,
    reset: usize,
    /// The age of stored frames, in ms.
    p50: f64,
    p95: f64,
    most: f64,
    /// Payload of frames that were stored, as a share of what the link carries.
    goodput: f64,
    /// Bytes of streams that were sent beyond that, as a share of all that were.
    wasted: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stored, unbegun, reset, p50, p95, most, goodput, wasted } = self;
        write!(
            f,
            "stored {stored}, unbegun {unbegun}, reset {reset}; age {p50:.0}/{p95:.0}/{most:.0} ms; goodput {goodput:.3}, \
             wasted {wasted:.3}"
        )
    }
}

impl Overload {
    fn new(times: f64) -> Self {
        Self {
            sizes: vec![60_000, 20_000],
            per_second: 30.0,
            deadline: 300 * MS,
            times,
            rtt_ms: 50.0,
            loss: 0.0,
            seconds: 12,
            outages: Vec::new(),
        }
    }

    fn cell(&self) -> Cell {
        let offered = self.sizes.iter().sum::<usize>() as f64 * 8.0 * self.per_second / 1e6;
        // What it carries is what is left of it for frames.
        let mbit = offered / self.times / crate::paths::PAYLOAD_SHARE / (1.0 - self.loss);
        Cell::new(mbit, self.rtt_ms, self.loss, 1.0)
    }

    fn go(&self, seed: u64) -> Figures {
        let sources = self.sizes.iter().map(|bytes| FrameSource::steady(*bytes, self.per_second));
        let mut run =
            Run::shipped(self.cell(), Load::Frames(sources.collect()), self.seconds as f64, seed);
        run.repair = Some(RepairMode::Auto);
        run.deadline = Some(self.deadline);
        let out = run.go_changed(|forward, back| {
            forward.outages =
                self.outages.iter().map(|&(from, lasts)| (from, from + lasts)).collect();
            back.outages = forward.outages.clone();
        });
        self.figures(&out.flows[0])
    }

    /// Of the time from the third second on: the link's rate has to be found first.
    fn figures(&self, flow: &FlowOutcome) -> Figures {
        let (from, to) = (3 * SEC, self.seconds * SEC);
        let seen = flow.frames.iter().filter(|frame| (from..to).contains(&frame.due));
        let seen: Vec<&FrameRecord> = seen.collect();
        let count = |is: fn(&FrameRecord) -> bool| seen.iter().filter(|frame| is(frame)).count();
        let mut ages: Vec<f64> = seen
            .iter()
            .filter_map(|frame| frame.delivered.map(|at| (at - frame.due) as f64 / 1e6))
            .collect();
        ages.sort_by(f64::total_cmp);
        let bytes = |frame: &&FrameRecord| self.sizes[frame.source] as u64;
        let came = flow
            .frames
            .iter()
            .filter(|frame| frame.delivered.is_some_and(|at| (from..to).contains(&at)));
        let came: u64 = came.map(|frame| bytes(&frame)).sum();
        let dark: Nanos = self.outages.iter().map(|(_, lasts)| lasts).sum();
        let seconds = (to - from - dark) as f64 / 1e9;
        let carries = self.cell().limit() * 1e6 / 8.0 * seconds;
        let sent = self.cell().limit() / self.cell().mbit; // of each byte on the link
        let bins = (from / 100_000_000) as usize..(to / 100_000_000) as usize;
        let packets: u64 = bins.filter_map(|bin| flow.sent.get(bin)).sum();
        Figures {
            stored: count(|frame| frame.delivered.is_some()),
            unbegun: count(|frame| frame.begun.is_none()),
            reset: count(|frame| frame.given_up.is_some()),
            p50: quantile(&ages, 0.5),
            p95: quantile(&ages, 0.95),
            most: quantile(&ages, 1.0),
            goodput: came as f64 / carries,
            wasted: 1.0 - came as f64 / (packets as f64 * sent),
        }
    }
}

/// Frames that are given up make room for others: what the link carries is whole frames.
const LEAST_GOODPUT: f64 = 0.95;

/// The same of a few seconds before and after an outage, when the link has to be found again: seen are 0.956 and more.
const LEAST_AROUND_OUTAGES: f64 = 0.92;

/// Deadline and one frame interval, in ms.
fn oldest_ms(overload: &Overload) -> f64 {
    overload.deadline as f64 / 1e6 + 1_000.0 / overload.per_second
}

#[test]
fn on_a_link_that_carries_less_than_is_offered_it_carries_whole_frames_in_time() {
    for (times, loss, sizes, deadline, per_second) in [
        (1.5, 0.0, &[60_000, 20_000][..], 300, 30.0),
        (2.0, 0.0, &[60_000, 20_000], 300, 30.0),
        (2.0, 0.02, &[60_000, 20_000], 300, 30.0),
        (2.0, 0.05, &[60_000, 20_000], 300, 30.0),
        (3.0, 0.0, &[60_000, 20_000], 300, 30.0),
        (3.0, 0.05, &[60_000, 20_000], 1_000, 30.0),
        (10.0, 0.0, &[60_000, 20_000], 300, 30.0),
        (2.0, 0.02, &[400_000], 600, 30.0),
        (1.5, 0.0, &[5_000; 32], 300, 30.0),
        (2.0, 0.0, &[200_000], 700, 5.0),
    ] {
        let sizes = sizes.to_vec();
        let deadline = deadline * MS;
        let overload = Overload { loss, sizes, deadline, per_second, ..Overload::new(times) };
        let figures = overload.go(1);
        let what = format!("{times}x, {loss}, {:?}: {figures}", overload.sizes);
        println!("{what}");
        assert!(figures.p95 <= oldest_ms(&overload), "{what}");
        assert!(figures.goodput >= LEAST_GOODPUT, "{what}");
    }
}

#[test]
fn an_outage_costs_the_frames_that_fell_into_it_and_no_others() {
    for (lasts, times) in [(1, 2.0), (3, 0.5), (10, 2.0)] {
        let outages = vec![(5 * SEC, lasts * SEC)];
        let overload = Overload { outages, seconds: 9 + lasts, ..Overload::new(times) };
        let figures = overload.go(1);
        let what = format!("{lasts} s, {times}x: {figures}");
        println!("{what}");
        assert!(figures.p95 <= oldest_ms(&overload), "{what}");
        assert!(figures.goodput >= LEAST_AROUND_OUTAGES * f64::min(times, 1.0), "{what}");
    }
}

#[test]
fn what_cannot_make_it_at_all_is_not_begun_but_now_and_then() {
    // 400 kB take half a second.
    let overload =
        Overload { sizes: vec![400_000], per_second: 4.0, seconds: 30, ..Overload::new(2.0) };
    let figures = overload.go(1);
    println!("{figures}");
    let frames = figures.stored + figures.unbegun + figures.reset;
    assert!(figures.stored == 0 && figures.reset * 20 <= frames, "{figures}");
}
