//! The last minutes of a source, second by second.

use std::collections::VecDeque;

/// Seconds that are kept.
pub const SECONDS: usize = 120;

/// A sender that tells how far the clocks are apart does so within a second or two. Of one that never does they are taken for one.
const UNSURE_SECONDS: u64 = 5;

/// Latencies that quantiles are taken of.
const RECENT: usize = 512;

/// What was stored in one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Second {
    /// Which, since 1970.
    pub at: u64,
    /// Frames stored.
    pub frames: u32,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them have a latency.
    pub timed: u32,
    /// The sum of these latencies, in microseconds.
    pub sum_us: u64,
    /// The longest of them.
    pub max_us: u64,
}

/// Upper bounds of the latencies that are counted together, in seconds.
pub const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Latencies since the receiver began, by their size.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spread {
    /// How many were no longer than each of [`BOUNDS`] and longer than the one before; the last, than all.
    pub counts: [u64; BOUNDS.len() + 1],
    /// Their sum in seconds.
    pub sum: f64,
}

impl Spread {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.sum += other.sum;
        self.counts.iter_mut().zip(other.counts).for_each(|(all, more)| *all += more);
    }
}

/// Seconds in which something was stored, and the newest latencies. At most 10 kB.
#[derive(Debug, Default)]
pub(super) struct Chart {
    seconds: VecDeque<Second>,
    recent: VecDeque<u32>,
    spread: Spread,
    /// What was measured before anybody told how far the clocks are apart, and since when.
    unsure: Spread,
    unsure_since: Option<u64>,
    is_sure: bool,
}

impl Chart {
    /// A frame was stored in this second; its latency in microseconds where it has one.
    pub(super) fn add(&mut self, at: u64, bytes: u64, latency_us: Option<u64>) {
        // A clock that was set back counts on in the second that it had reached.
        let at = self.seconds.back().map_or(at, |last| last.at.max(at));
        if self.seconds.back().is_none_or(|last| last.at < at) {
            if self.seconds.len() == SECONDS {
                self.seconds.pop_front();
            }
            self.seconds.push_back(Second { at, ..Second::default() });
        }
        let Some(second) = self.seconds.back_mut() else { return };
        second.frames = second.frames.saturating_add(1);
        second.bytes = second.bytes.saturating_add(bytes);
        let Some(us) = latency_us else { return };
        second.timed += 1;
        second.sum_us = second.sum_us.saturating_add(us);
        second.max_us = second.max_us.max(us);
        let seconds = us as f64 / 1e6;
        let place = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.unsure_since.get_or_insert(at);
        self.settle(at);
        let spread = if self.is_sure { &mut self.spread } else { &mut self.unsure };
        spread.counts[place] += 1;
        spread.sum += seconds;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(u32::try_from(us).unwrap_or(u32::MAX));
    }

    /// The last [`SECONDS`] up to `now`, those in which nothing was stored left out.
    pub(super) fn seconds(&self, now: u64) -> Vec<Second> {
        let first = now.saturating_sub(SECONDS as u64);
        self.seconds.iter().filter(|second| second.at > first).copied().collect()
    }

    /// The newest latencies, sorted.
    pub(super) fn recent(&self) -> Vec<u32> {
        let mut recent: Vec<_> = self.recent.iter().copied().collect();
        recent.sort_unstable();
        recent
    }

    /// Nobody has told for so long how far the clocks are apart that nobody will.
    pub(super) fn settle(&mut self, now: u64) {
        let is_over = |since: u64| !self.is_sure && now.saturating_sub(since) >= UNSURE_SECONDS;
        if self.unsure_since.is_some_and(is_over) {
            self.trust_latency();
        }
    }

    /// All latencies that are sure; they never become fewer.
    pub(super) fn spread(&self) -> Spread {
        self.spread
    }

    /// The clocks have turned out to be one: what was measured before is true.
    pub(super) fn trust_latency(&mut self) {
        let unsure = std::mem::take(&mut self.unsure);
        self.spread.add(&unsure);
        self.is_sure = true;
    }

    /// The clocks have turned out to differ: what was measured before says nothing.
    pub(super) fn forget_latency(&mut self) {
        self.unsure = Spread::default();
        self.is_sure = true;
        self.recent.clear();
        for second in &mut self.seconds {
            (second.timed, second.sum_us, second.max_us) = (0, 0, 0);
        }
    }
}
