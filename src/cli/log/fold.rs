//! Saying a thing once, and then how often it came again.
//!
//! No clock of its own: times are passed in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::Level;

use super::line::{likeness, shortened};

/// How long a repetition is kept back before it is told how many there were.
pub(super) const WINDOW: Duration = Duration::from_secs(30);

/// Different things that are kept in mind, in all and of one place in the code. What comes beyond is
/// told as more of the same, so that neither memory nor the log grows with what a peer thinks up.
const MAX_KINDS: usize = 256;
const MAX_KINDS_OF_ONE_PLACE: usize = 12;

/// The place in the code that says something: its address is its name.
pub(super) type Place = usize;

/// What is like another, so far as the log is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    /// Said by a place in words that differ in numbers only.
    Like(Place, String),
    /// Whatever else a place says.
    Other(Place),
    /// Whatever else is said.
    Rest,
}

/// What has been said of late.
#[derive(Debug, Default)]
pub(super) struct Fold {
    kinds: HashMap<Kind, Said>,
}

#[derive(Debug)]
struct Said {
    /// When it was said, or told how often it came again.
    since: Instant,
    /// How often it has come since it was said in full, as far as it may be.
    spoken: u32,
    /// How often it was kept back since, and the last of these.
    more: u64,
    last: (Option<Level>, String),
}

/// How often a thing came again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Again {
    /// The last of them, and its level.
    pub(super) level: Option<Level>,
    pub(super) line: String,
    pub(super) more: u64,
    pub(super) within: Duration,
}

impl std::fmt::Display for Again {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, more, within, .. } = self;
        write!(f, "{} … ({more} more in {} s)", shortened(line), within.as_secs().max(1))
    }
}

impl Fold {
    /// Whether something is to be said now; where it is not, it is counted. `often`: how many times
    /// in a window the like of it is said in full.
    pub(super) fn says(
        &mut self,
        place: Place,
        (level, line): (Option<Level>, &str),
        often: u32,
        now: Instant,
    ) -> bool {
        let kind = self.kind(place, line);
        let Some(said) = self.kinds.get_mut(&kind) else {
            let said = Said { since: now, spoken: 1, more: 0, last: (level, String::new()) };
            self.kinds.insert(kind, said);
            return true;
        };
        if said.spoken < often {
            said.spoken += 1;
            return true;
        }
        said.more += 1;
        said.last = (level, line.to_owned());
        false
    }

    fn kind(&self, place: Place, line: &str) -> Kind {
        let like = Kind::Like(place, likeness(line));
        if self.kinds.contains_key(&like) {
            return like;
        }
        let of_this_place = |kind: &&Kind| matches!(kind, Kind::Like(other, _) if *other == place);
        if self.kinds.keys().filter(of_this_place).count() >= MAX_KINDS_OF_ONE_PLACE {
            return Kind::Other(place);
        }
        if self.kinds.len() >= MAX_KINDS { Kind::Rest } else { like }
    }

    /// What came again, of all whose window is over; what did not is forgotten.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Again> {
        self.tell(now, WINDOW)
    }

    /// What came again until now. At the end nothing is left untold.
    pub(super) fn end(&mut self, now: Instant) -> Vec<Again> {
        self.tell(now, Duration::ZERO)
    }

    fn tell(&mut self, now: Instant, window: Duration) -> Vec<Again> {
        let mut again = Vec::new();
        self.kinds.retain(|_, said| {
            let within = now.saturating_duration_since(said.since);
            if within < window {
                return true;
            }
            if said.more == 0 {
                return false;
            }
            let (level, line) = (said.last.0, std::mem::take(&mut said.last.1));
            again.push((said.since, Again { level, line, more: said.more, within }));
            // It goes on: the next is no news either.
            (said.since, said.more) = (now, 0);
            true
        });
        again.sort_by_key(|(since, _)| *since);
        again.into_iter().map(|(_, again)| again).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = 1;

    #[test]
    fn a_full_disk_is_one_line_and_a_count() {
        let (mut fold, start) = (Fold::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let line = |n| format!("not stored: visible/{n}.jpg: No space left on device");
        let said = (0..486).filter(|&n| fold.says(PLACE, (None, &line(n)), 1, at(10 * n))).count();
        assert_eq!(said, 1);
        assert_eq!(fold.due(at(29_000)), []);
        let told = fold.due(at(31_000));
        assert_eq!(told[0].to_string(), format!("{} … (485 more in 31 s)", line(485)));
        assert_eq!(told.len(), 1);
        // What goes on is a line each window, what has ended is forgotten.
        assert!(!fold.says(PLACE, (None, &line(486)), 1, at(31_001)));
        assert_eq!(fold.due(at(62_000))[0].more, 1);
        assert_eq!(fold.due(at(93_000)), []);
        assert!(fold.says(PLACE, (None, &line(487)), 1, at(93_001)));
        assert_eq!(fold.end(at(93_002)), []);
    }

    #[test]
    fn nothing_that_was_kept_back_is_lost_at_the_end() {
        let (mut fold, now) = (Fold::default(), Instant::now());
        for _ in 0..3 {
            fold.says(PLACE, (None, "the same"), 1, now);
        }
        assert_eq!(fold.end(now)[0].to_string(), "the same … (2 more in 1 s)");
    }

    #[test]
    fn what_may_be_said_often_is_kept_back_only_when_it_floods() {
        let (mut fold, now) = (Fold::default(), Instant::now());
        assert_eq!(
            (0..100).filter(|n| fold.says(PLACE, (None, &format!("{n}")), 20, now)).count(),
            20
        );
        assert_eq!(fold.end(now)[0].more, 80);
    }

    #[test]
    fn a_peer_that_thinks_up_words_has_a_bounded_share() {
        let (mut fold, now) = (Fold::default(), Instant::now());
        let word = |n: u32| format!("{:?}", char::from_u32(0x4e00 + n).unwrap());
        let of_one = (0..5_000).filter(|&n| fold.says(PLACE, (None, &word(n)), 1, now)).count();
        assert_eq!(of_one, MAX_KINDS_OF_ONE_PLACE + 1);
        for place in 2..1_000 {
            fold.says(place, (None, "something"), 1, now);
        }
        assert!(fold.kinds.len() <= MAX_KINDS + MAX_KINDS_OF_ONE_PLACE, "{}", fold.kinds.len());
    }
}
