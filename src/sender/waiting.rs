//! What a run spends its time on, and so what limits it.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What a session waits for, where it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LimitedBy {
    /// Nothing: frames left as they fell due, or the source had no more by then.
    Nothing,
    /// The link takes no more, or the receiver gives no room for more on it.
    Link,
    /// What was sent has arrived, and the receiver has not stored it yet.
    Receiver,
    /// The receiver has not said yet which frames it wants.
    Answers,
    /// Frames are being read, and hashed where they are compared.
    Source,
    /// This machine's processors are busy with the run itself.
    Machine,
    /// There was no connection.
    Connection,
}

const KINDS: usize = 7;

/// Time by what it was spent on.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    spent: [Duration; KINDS],
    now: LimitedBy,
    since: Instant,
}

impl Waiting {
    pub(super) fn new(now: Instant) -> Self {
        Self { spent: [Duration::ZERO; KINDS], now: LimitedBy::Connection, since: now }
    }

    /// From `now` on the time is spent on `kind`.
    pub(super) fn begin(&mut self, kind: LimitedBy, now: Instant) {
        self.spent[self.now as usize] += now.saturating_duration_since(self.since);
        (self.now, self.since) = (kind, now);
    }

    /// What most of the time went into, and the part of the time that it had. Where frames were late
    /// something has held them up, however much of the time there was nothing to do.
    pub(super) fn most(&self, is_late: bool) -> (LimitedBy, f64) {
        const ALL: [LimitedBy; KINDS] = [
            LimitedBy::Nothing,
            LimitedBy::Link,
            LimitedBy::Receiver,
            LimitedBy::Answers,
            LimitedBy::Source,
            LimitedBy::Machine,
            LimitedBy::Connection,
        ];
        let total: Duration = self.spent.iter().sum();
        let part = |kind: LimitedBy| {
            self.spent[kind as usize].as_secs_f64() / total.as_secs_f64().max(1e-9)
        };
        let candidates = ALL.into_iter().filter(|&kind| !is_late || kind != LimitedBy::Nothing);
        let most = candidates.max_by(|&a, &b| part(a).total_cmp(&part(b)));
        let most = most.unwrap_or(LimitedBy::Nothing);
        (most, part(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_most_of_the_time_limits() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut waiting = Waiting::new(start);
        waiting.begin(LimitedBy::Link, at(10));
        waiting.begin(LimitedBy::Source, at(70));
        waiting.begin(LimitedBy::Nothing, at(90));
        waiting.begin(LimitedBy::Nothing, at(100));
        let (most, part) = waiting.most(false);
        assert_eq!(most, LimitedBy::Link);
        assert!((part - 0.6).abs() < 1e-6, "{part}");
        waiting.begin(LimitedBy::Nothing, at(500));
        assert_eq!(
            (waiting.most(false).0, waiting.most(true).0),
            (LimitedBy::Nothing, LimitedBy::Link)
        );
    }
}
