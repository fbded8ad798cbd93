//! Whether a receiver that owes something still gets on with it.
//!
//! A receiver may take its time: over a slow link, for a disk that is full and of which it says so. But one
//! that lets nothing come of what it owes, neither an answer nor a receipt nor room for the next bytes, would
//! hold a run for ever. What counts as getting on is only what brings the run nearer to its end: not signs of
//! life, not bytes that make up no message, not a receipt that was there before.

use std::time::{Duration, Instant};

use crate::frame::Span;

/// A link on which less moves is taken for one that stands: what this end itself says while it waits, and
/// what a receiver can make it say, comes to half of that. A link as slow as this takes fifteen hours for a
/// minute of a small camera.
const LEAST_RATE: u64 = 2_000;

/// How long an answer to the hello may take at the most, as `docs/wire.md` has it: a store of some millions of frames is
/// opened in that time. A connection whose receiver was killed just as it came about hears of nothing, and half of the
/// usual patience has to be left for another.
const WELCOME_PATIENCE: Duration = Duration::from_secs(15);

/// How often it is looked whether the link moves.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What the receiver owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owed {
    /// Its answer to the hello.
    Welcome,
    /// Answers to so many offers.
    Answers(usize),
    /// Receipts for so many frames, or credit for what of them has not gone.
    Receipts(usize),
    /// A note of frames that it was told will not come.
    Notes,
    /// Its count of a source that has ended.
    Totals,
    /// Word that the sources that are left are open.
    Opening,
}

impl std::fmt::Display for Owed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Welcome => f.write_str("no answer to the hello"),
            Self::Answers(1) => f.write_str("no answer to an offer of frames"),
            Self::Answers(offers) => write!(f, "no answer to {offers} offers of frames"),
            Self::Receipts(1) => {
                f.write_str("no receipt for a frame under way, nor room for more of it")
            }
            Self::Receipts(frames) => {
                write!(f, "no receipt for {frames} frames under way, nor room for more of them")
            }
            Self::Notes => f.write_str("no note of frames that will not come"),
            Self::Totals => f.write_str("no totals of a source that has ended"),
            Self::Opening => f.write_str("no word that what is left can be stored"),
        }
    }
}

/// How long the receiver may let nothing come, and which of the user's options says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) time: Duration,
    pub(super) option: &'static str,
}

/// What a session has seen of its receiver's getting on.
#[derive(Debug)]
pub(super) struct Stall {
    limit: Limit,
    owed: Option<Owed>,
    /// When something last came of what is owed, or nothing was owed.
    since: Instant,
    looked: Instant,
    /// What had moved by then.
    moved: Option<u64>,
    checked: Instant,
    owed_for: Duration,
}

impl Stall {
    pub(super) fn new(limit: Limit, now: Instant) -> Self {
        Self {
            limit,
            owed: Some(Owed::Welcome),
            since: now,
            looked: now,
            moved: None,
            checked: now,
            owed_for: Duration::ZERO,
        }
    }

    /// Something has come of what is owed.
    pub(super) fn got_on(&mut self, now: Instant) {
        self.since = now;
    }

    /// A frame was settled: from now on it may take as long as this.
    pub(super) fn renew(&mut self, limit: Limit) {
        self.limit = limit;
    }

    /// Takes in what is `owed` at `now`, and how much has `moved` on the link so far.
    pub(super) fn see(&mut self, now: Instant, owed: Option<Owed>, moved: Option<u64>) {
        if self.owed.is_some() {
            self.owed_for += now - self.checked;
        } else {
            self.since = now;
        }
        (self.checked, self.owed) = (now, owed);
        let passed = now - self.looked;
        if passed < LOOK_INTERVAL {
            return;
        }
        let bytes = moved.zip(self.moved).map_or(0, |(now, before)| now.saturating_sub(before));
        let enough = (passed.as_secs_f64() * LEAST_RATE as f64) as u64;
        // What is sent ends some time, so this excuses no receiver for ever.
        if bytes >= enough {
            self.since = now;
        }
        (self.looked, self.moved) = (now, moved);
    }

    /// Why the session is not waited for any longer, where that is so.
    pub(super) fn why(&self, now: Instant) -> Option<String> {
        let (time, option) = self.limit();
        let owed = self.owed.filter(|_| now - self.since >= time)?;
        let within = Span(time);
        Some(match option {
            Some(option) => format!("{owed} came from the receiver within {within} ({option})"),
            None => format!("{owed} came from the receiver within {within}"),
        })
    }

    /// What holds for what is owed now, and the option that says so, if one does.
    fn limit(&self) -> (Duration, Option<&'static str>) {
        let Limit { time, option } = self.limit;
        if self.owed == Some(Owed::Welcome) && time > WELCOME_PATIENCE {
            return (WELCOME_PATIENCE, None);
        }
        (time, Some(option))
    }

    /// How long nothing has come of what is owed.
    pub(super) fn quiet(&self, now: Instant) -> Duration {
        self.owed.map_or(Duration::ZERO, |_| now - self.since)
    }

    /// For how long something was owed, altogether.
    pub(super) fn owed_for(&self) -> Duration {
        self.owed_for
    }

    /// When to see again.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.owed?;
        Some((self.since + self.limit().0).min(self.looked + LOOK_INTERVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { time: Duration::from_secs(5), option: "`stall`" };

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn what_is_owed_and_does_not_come_is_named_with_the_time_and_the_option() {
        let start = Instant::now();
        let mut stall = Stall::new(LIMIT, start);
        stall.see(at(start, 100), Some(Owed::Welcome), None);
        assert_eq!(stall.why(at(start, 4_999)), None);
        assert_eq!(stall.wakes_at(), Some(at(start, 1_000)), "to see whether the link moves");
        let why = stall.why(at(start, 5_000)).unwrap();
        assert_eq!(why, "no answer to the hello came from the receiver within 5 s (`stall`)");
        stall.got_on(at(start, 4_000));
        stall.see(at(start, 4_000), Some(Owed::Receipts(2)), None);
        assert_eq!(stall.why(at(start, 8_999)), None);
        let why = stall.why(at(start, 9_000)).unwrap();
        assert!(why.starts_with("no receipt for 2 frames under way"), "{why}");
        assert_eq!(stall.quiet(at(start, 9_000)), Duration::from_secs(5));
    }

    #[test]
    fn where_nothing_is_owed_nothing_stalls() {
        let start = Instant::now();
        let mut stall = Stall::new(LIMIT, start);
        stall.see(at(start, 10), None, None);
        stall.see(at(start, 60_000), None, None);
        assert_eq!((stall.why(at(start, 60_000)), stall.wakes_at()), (None, None));
        stall.see(at(start, 60_001), Some(Owed::Totals), None);
        assert_eq!(stall.why(at(start, 64_000)), None, "it is owed since a moment ago");
        assert_eq!(stall.owed_for(), Duration::from_millis(10));
    }

    /// Whether a receiver has stalled after 20 s in which so many bytes move each second.
    fn stalls(bytes_a_second: u64) -> bool {
        let start = Instant::now();
        let mut stall = Stall::new(LIMIT, start);
        for second in 0..=20 {
            let moved = Some(second * bytes_a_second);
            stall.see(at(start, second * 1_000), Some(Owed::Receipts(1)), moved);
        }
        stall.why(at(start, 20_000)).is_some()
    }

    #[test]
    fn a_link_that_moves_is_slow_and_one_that_drips_stands() {
        assert!(!stalls(2_500));
        for drip in [0, 1, 1_000] {
            assert!(stalls(drip), "{drip} bytes a second");
        }
    }

    const USUAL: Limit = Limit { time: Duration::from_secs(30), option: "`stall`" };

    /// For how many seconds `owed` is waited for by a session that began with that limit, and the words for it.
    fn waited(owed: Owed, limit: Limit) -> (u64, String) {
        let start = Instant::now();
        let mut stall = Stall::new(limit, start);
        (1..100)
            .find_map(|second| {
                let now = start + Duration::from_secs(second);
                stall.see(now, Some(owed), None);
                Some((second, stall.why(now)?))
            })
            .expect("an end of patience")
    }

    #[test]
    fn half_of_the_usual_patience_is_left_where_no_welcome_comes() {
        let (seconds, why) = waited(Owed::Welcome, USUAL);
        assert_eq!(
            (seconds, why.as_str()),
            (15, "no answer to the hello came from the receiver within 15 s")
        );
        let (seconds, why) = waited(Owed::Totals, USUAL);
        assert_eq!(seconds, 30);
        assert!(why.ends_with("within 30 s (`stall`)"), "{why}");
        let short = Limit { time: Duration::from_secs(2), ..USUAL };
        let (seconds, why) = waited(Owed::Welcome, short);
        assert!(seconds == 2 && why.ends_with("within 2 s (`stall`)"), "{seconds}: {why}");
    }
}
