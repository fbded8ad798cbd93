//! What the lines of a manifest come to, so that nobody has to read them all to know it.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::day::Day;
use super::lines::BadLine;
use super::listed::Listed;
use super::ranges::Ranges;
use super::record::Record;
use crate::frame::{RunId, Sequence, UnixNanos};

/// How many unreadable lines are named; all are counted.
pub(super) const BAD_LINES_NAMED: usize = 100;
/// Runs whose frames are known. Of more, which only a sender makes that means it, nothing is known.
const MAX_RUNS: usize = 65_536;

/// Senders of a run that are kept: one is as it should be, and more than one is enough to know.
const SENDERS: usize = 2;

/// What the lines so far come to.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Names with a line.
    pub frames: u64,
    /// Lines, unreadable ones included.
    pub lines: u64,
    /// Bytes of the frames in all lines.
    pub bytes: u64,
    /// The highest sequence.
    pub last_sequence: Option<Sequence>,
    /// Who sent the first frame, where that is known.
    pub first_sender: Option<String>,
    /// The lowest and the highest name, numbers in them taken as numbers.
    pub names: Option<(String, String)>,
    /// By the day on which frames were captured.
    pub days: BTreeMap<Day, DayTotal>,
    /// The frames of each run.
    pub runs: BTreeMap<RunId, Ranges>,
    /// Lines with a run and sequence that a line before them has; `None` in an index of a version that did not count them.
    pub twice: Option<u64>,
    /// Who sent the frames of each run, the first two.
    pub senders: BTreeMap<RunId, Vec<String>>,
    /// Lines that are not records.
    pub bad_lines: Listed<BadLine>,
}

/// The frames of a manifest that were captured on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DayTotal {
    /// Lines.
    pub frames: u64,
    /// Those of them whose names have a later line: their frames were replaced, and are not there any more.
    #[serde(default)]
    pub replaced: u64,
    /// Bytes of the frames that were not replaced.
    pub bytes: u64,
    /// When the last of them was stored.
    pub last_stored: u64,
    /// Where its first line begins.
    pub begin: u64,
    /// Where its last line begins.
    pub last: u64,
}

impl DayTotal {
    /// Frames that were not replaced.
    pub fn last_of_name(&self) -> u64 {
        self.frames.saturating_sub(self.replaced)
    }
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            frames: 0,
            lines: 0,
            bytes: 0,
            last_sequence: None,
            first_sender: None,
            names: None,
            days: BTreeMap::new(),
            runs: BTreeMap::new(),
            twice: Some(0),
            senders: BTreeMap::new(),
            bad_lines: Listed::new(BAD_LINES_NAMED),
        }
    }
}

impl Summary {
    /// Takes in a line at an offset.
    pub(super) fn take(&mut self, record: &Record, offset: u64) {
        self.lines += 1;
        self.bytes = self.bytes.saturating_add(record.bytes);
        self.last_sequence = self.last_sequence.max(Some(record.sequence));
        if self.first_sender.is_none() {
            self.first_sender.clone_from(&record.sender);
        }
        self.take_name(record.name.as_str());
        let day = self.days.entry(record.day());
        let day = day.or_insert(DayTotal { begin: offset, ..DayTotal::default() });
        day.frames += 1;
        day.bytes = day.bytes.saturating_add(record.bytes);
        day.last_stored = day.last_stored.max(record.stored.0);
        day.last = offset;
        if let Some(run) = record.run
            && (self.runs.len() < MAX_RUNS || self.runs.contains_key(&run))
        {
            if !self.runs.entry(run).or_default().insert(record.sequence.0, record.sequence.0) {
                self.twice = self.twice.map(|twice| twice + 1);
            }
            if let Some(sender) = &record.sender {
                let senders = self.senders.entry(run).or_default();
                if senders.len() < SENDERS && !senders.contains(sender) {
                    senders.push(sender.clone());
                }
            }
        }
    }

    /// Takes in that a later line has the name of this one.
    pub(super) fn replaced(&mut self, earlier: &Record) {
        let Some(day) = self.days.get_mut(&earlier.day()) else { return };
        day.replaced = day.frames.min(day.replaced + 1);
        day.bytes = day.bytes.saturating_sub(earlier.bytes);
    }

    /// Whether each line is of a name, and of a sequence of its run, of its own, so that it says of the runs all that the
    /// lines would.
    pub fn has_each_once(&self) -> bool {
        let has_names_once = self.frames + self.bad_lines.count == self.lines;
        self.knows_runs() && has_names_once && self.twice == Some(0)
    }

    /// When anything was last stored.
    pub fn last_stored(&self) -> UnixNanos {
        UnixNanos(self.days.values().map(|day| day.last_stored).max().unwrap_or(0))
    }

    /// Whether it has the frames of every run: not where there are too many runs, or too many gaps in one of them. The
    /// lines tell then.
    pub fn knows_runs(&self) -> bool {
        self.runs.len() < MAX_RUNS && !self.runs.values().any(Ranges::is_too_scattered)
    }

    /// Whether a name can be among them, by the lowest and the highest.
    pub fn may_have(&self, name: &str) -> bool {
        self.names.as_ref().is_some_and(|(lowest, highest)| {
            natural(lowest, name) != Ordering::Greater
                && natural(name, highest) != Ordering::Greater
        })
    }

    fn take_name(&mut self, name: &str) {
        match &mut self.names {
            None => self.names = Some((name.to_owned(), name.to_owned())),
            Some((lowest, highest)) => {
                if natural(name, highest) == Ordering::Greater {
                    name.clone_into(highest);
                } else if natural(name, lowest) == Ordering::Less {
                    name.clone_into(lowest);
                }
            }
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        let days = self.days.iter().map(|(day, total)| (day.to_string(), *total)).collect();
        let ranges = |ranges: &Ranges| {
            (!ranges.is_too_scattered()).then(|| ranges.iter().collect::<Vec<_>>())
        };
        let runs = self.runs.iter().map(|(run, of)| (run.to_string(), ranges(of))).collect();
        let stored = Stored {
            frames: self.frames,
            lines: self.lines,
            bytes: self.bytes,
            last_sequence: self.last_sequence.map(|sequence| sequence.0),
            first_sender: self.first_sender.clone(),
            names: self.names.clone(),
            days,
            runs,
            twice: self.twice,
            senders: self.senders.iter().map(|(run, of)| (run.to_string(), of.clone())).collect(),
            bad_lines: self.bad_lines.count,
            bad_named: self.bad_lines.first.clone(),
        };
        serde_json::to_vec(&stored).expect("plain fields serialise into memory")
    }

    /// `None` where it was not written by this version.
    pub(super) fn from_json(json: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(json).ok()?;
        let days = stored.days.into_iter().map(|(day, total)| Some((day.parse().ok()?, total)));
        let runs = stored.runs.into_iter().map(|(run, ranges)| {
            let mut of = Ranges::default();
            match ranges {
                Some(ranges) => ranges.into_iter().for_each(|(first, last)| {
                    of.insert(first, last);
                }),
                None => of.give_up(),
            }
            Some((run.parse().ok()?, of))
        });
        let senders = stored.senders.into_iter();
        let senders = senders.map(|(run, of)| Some((run.parse().ok()?, of)));
        let mut bad_lines = Listed::new(BAD_LINES_NAMED);
        bad_lines.first = stored.bad_named.into_iter().take(BAD_LINES_NAMED).collect();
        bad_lines.count = stored.bad_lines;
        Some(Self {
            frames: stored.frames,
            lines: stored.lines,
            bytes: stored.bytes,
            last_sequence: stored.last_sequence.map(Sequence),
            first_sender: stored.first_sender,
            names: stored.names,
            days: days.collect::<Option<_>>()?,
            runs: runs.collect::<Option<_>>()?,
            twice: stored.twice,
            senders: senders.collect::<Option<_>>()?,
            bad_lines,
        })
    }
}

/// As it is in the index.
#[derive(Serialize, Deserialize)]
struct Stored {
    frames: u64,
    lines: u64,
    bytes: u64,
    last_sequence: Option<u64>,
    first_sender: Option<String>,
    names: Option<(String, String)>,
    days: BTreeMap<String, DayTotal>,
    runs: BTreeMap<String, Option<Vec<(u64, u64)>>>,
    #[serde(default)]
    twice: Option<u64>,
    #[serde(default)]
    senders: BTreeMap<String, Vec<String>>,
    bad_lines: u64,
    bad_named: Vec<BadLine>,
}

/// Names in an order in which `9.jpg` is before `10.jpg`. Total: names that differ are never equal.
fn natural(one: &str, other: &str) -> Ordering {
    let (mut a, mut b) = (one.as_bytes(), other.as_bytes());
    loop {
        let (Some(x), Some(y)) = (a.first(), b.first()) else {
            return a.len().cmp(&b.len()).then_with(|| one.cmp(other));
        };
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (m, n) = (number(a), number(b));
            let (p, q) = (significant(&a[..m]), significant(&b[..n]));
            let order = p.len().cmp(&q.len()).then_with(|| p.cmp(q));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[m..], &b[n..]);
        } else if x == y {
            (a, b) = (&a[1..], &b[1..]);
        } else {
            return x.cmp(y);
        }
    }
}

fn number(text: &[u8]) -> usize {
    text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len())
}

fn significant(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().position(|&digit| digit != b'0').unwrap_or(digits.len());
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::tests::sample;
    use super::*;

    #[test]
    fn what_it_says_is_read_back() {
        let mut summary = Summary::default();
        for (n, name) in ["9.jpg", "10.jpg", "011.jpg", "2/1.jpg"].iter().enumerate() {
            summary.take(&sample(n as u64, name), n as u64 * 100);
        }
        summary.frames = 4;
        summary.bad_lines.push(BadLine { line: 7, reason: "none".to_owned() });
        let again = Summary::from_json(&summary.to_json()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{summary:?}"));
        let day = again.days[&Day::of(UnixNanos(1_700_000_000_000_000_001))];
        assert_eq!((day.frames, day.bytes, day.begin, day.last), (4, 12, 0, 300));
        summary.replaced(&sample(0, "9.jpg"));
        let day = summary.days[&Day::of(UnixNanos(1_700_000_000_000_000_001))];
        assert_eq!((day.frames, day.last_of_name(), day.bytes), (4, 3, 9));
        assert_eq!(again.runs[&RunId([0x5a; 16])].iter().collect::<Vec<_>>(), [(0, 3)]);
        assert!(again.may_have("10.jpg") && again.may_have("2/1.jpg") && again.may_have("7.png"));
        assert!(!again.may_have("12.jpg") && !again.may_have("1.jpg") && !again.may_have("x"));
    }

    #[test]
    fn it_does_not_claim_to_know_a_run_with_too_many_gaps() {
        let mut summary = Summary::default();
        for place in 0..=100_000 {
            summary.take(&sample(2 * place, "0.jpg"), 0);
            assert_eq!(summary.knows_runs(), place < 100_000, "{place}");
        }
        assert!(!Summary::from_json(&summary.to_json()).unwrap().knows_runs());
    }

    proptest! {
        #[test]
        fn names_are_in_a_total_order(names in prop::collection::vec("[0-9a-b]{0,6}", 3)) {
            let [a, b, c] = [&names[0], &names[1], &names[2]];
            prop_assert_eq!(natural(a, b), natural(b, a).reverse());
            prop_assert_eq!(natural(a, b) == Ordering::Equal, a == b);
            if natural(a, b) != Ordering::Greater && natural(b, c) != Ordering::Greater {
                prop_assert!(natural(a, c) != Ordering::Greater);
            }
        }
    }
}
