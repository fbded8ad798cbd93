//! What is known of runs that are not at their end.

use std::collections::BTreeMap;
use std::ops::Range;

use super::entry::{self, Entry};
use crate::frame::{DropReason, RunId, UnixNanos};
use crate::manifest::Ranges;
use crate::source::Dropped;

/// Ranges that are kept of a run. One whose frames are settled in a worse order is closed with what is known.
const MAX_RANGES: usize = 1_000_000;

/// A run that is not at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Past {
    pub(super) source: String,
    pub(super) slot: u16,
    pub(super) began: UnixNanos,
    pub(super) origin: Option<u64>,
    /// Places that the receiver knows of.
    pub(super) settled: Ranges,
    /// Places that will not come, and of which it may not know.
    pub(super) dropped: Vec<Dropped>,
    /// Places whose frames come again where they are lost.
    pub(super) again: Ranges,
    pub(super) reserved: u64,
}

/// All of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pasts {
    pub(super) runs: BTreeMap<RunId, Past>,
    pub(super) receiver: Option<String>,
    /// The start of the machine on which it was used last.
    pub(super) boot: Option<String>,
    pub(super) is_closed: bool,
}

impl Past {
    pub(super) fn new(source: String, slot: u16, began: UnixNanos) -> Self {
        Self {
            source,
            slot,
            began,
            origin: None,
            settled: Ranges::with_limit(MAX_RANGES),
            dropped: Vec::new(),
            again: Ranges::with_limit(MAX_RANGES),
            reserved: 0,
        }
    }

    /// One more than the highest place that anything is known of.
    pub(super) fn known_frames(&self) -> u64 {
        let settled = self.settled.last().map_or(0, |last| last.saturating_add(1));
        let dropped = self.dropped.iter().map(|dropped| dropped.places.end).max();
        settled.max(dropped.unwrap_or(0))
    }

    /// Of so many frames, those that are neither settled, nor dropped, nor among `kept`: what became of them died with
    /// the process.
    pub(super) fn lost(&self, frames: u64, kept: &Ranges) -> Vec<Dropped> {
        let Some(last) = frames.checked_sub(1) else { return Vec::new() };
        let mut known = self.settled.clone();
        known.extend(kept);
        for dropped in &self.dropped {
            known.insert(dropped.places.start, dropped.places.end.saturating_sub(1));
        }
        let mut lost = Vec::new();
        for (from, to) in known.gaps(0, last) {
            let crashed = self.again.gaps(from, to);
            let mut again = Ranges::default();
            again.insert(from, to);
            for &(first, last) in &crashed {
                lost.push(of_reason(first..last + 1, DropReason::SenderCrashed));
            }
            let mut gone = Ranges::default();
            crashed.iter().for_each(|&(first, last)| {
                gone.insert(first, last);
            });
            let again = gone.gaps(from, to).into_iter();
            lost.extend(again.map(|(first, last)| of_reason(first..last + 1, DropReason::GivenUp)));
        }
        lost
    }
}

fn of_reason(places: Range<u64>, reason: DropReason) -> Dropped {
    Dropped { places, reason, captured: None }
}

impl Pasts {
    /// Takes in what a journal says, or was just told.
    pub(super) fn learn(&mut self, entry: &Entry) {
        match entry {
            Entry::Opened { boot, receiver } => {
                (self.boot, self.receiver) = (Some(boot.clone()), Some(receiver.clone()));
                self.is_closed = false;
            }
            Entry::Closed {} => self.is_closed = true,
            Entry::Began { run, source, slot, began_unix_ns } => {
                let past = Past::new(source.clone(), *slot, UnixNanos(*began_unix_ns));
                self.runs.entry(*run).or_insert(past);
            }
            Entry::Ended { run } => {
                self.runs.remove(run);
            }
            Entry::Origin { run, sequence } => {
                self.with(*run, |past| past.origin = past.origin.or(Some(*sequence)));
            }
            Entry::Settled { run, first, last } => self.with(*run, |past| {
                past.settled.insert(*first, *last);
                take_out(&mut past.dropped, *first, *last);
            }),
            Entry::Dropped { run, first, last, reason, captured_unix_ns } => {
                let dropped = entry::dropped(*first, *last, reason, *captured_unix_ns);
                self.with(*run, |past| add(&mut past.dropped, dropped));
            }
            Entry::Again { run, first, last } => {
                self.with(*run, |past| {
                    past.again.insert(*first, *last);
                });
            }
            Entry::Reserved { run, frames } => {
                self.with(*run, |past| past.reserved = past.reserved.max(*frames));
            }
        }
    }

    fn with(&mut self, run: RunId, change: impl FnOnce(&mut Past)) {
        if let Some(past) = self.runs.get_mut(&run) {
            change(past);
        }
    }

    /// All of it as entries.
    pub(super) fn entries(&self) -> Vec<Entry> {
        self.runs.keys().flat_map(|&run| self.entries_of(run)).collect()
    }

    /// What is known of a run.
    pub(super) fn entries_of(&self, run: RunId) -> Vec<Entry> {
        let Some(past) = self.runs.get(&run) else { return Vec::new() };
        let (source, slot, began_unix_ns) = (past.source.clone(), past.slot, past.began.0);
        let mut entries = vec![Entry::Began { run, source, slot, began_unix_ns }];
        entries.extend(past.origin.map(|sequence| Entry::Origin { run, sequence }));
        let settled = past.settled.iter();
        entries.extend(settled.map(|(first, last)| Entry::Settled { run, first, last }));
        entries.extend(past.dropped.iter().map(|dropped| Entry::dropped(run, dropped)));
        let again = past.again.iter();
        entries.extend(again.map(|(first, last)| Entry::Again { run, first, last }));
        if past.reserved > 0 {
            entries.push(Entry::Reserved { run, frames: past.reserved });
        }
        entries
    }

    /// A slot that no run has.
    pub(super) fn free_slot(&self, slots: u16) -> Option<u16> {
        let is_free = |slot: &u16| self.runs.values().all(|past| past.slot != *slot);
        (0..slots).find(is_free)
    }
}

/// Adds a drop, to the one before where it follows that.
pub(super) fn add(all: &mut Vec<Dropped>, dropped: Dropped) {
    if let Some(last) = all.last_mut()
        && last.places.end == dropped.places.start
        && last.reason == dropped.reason
        && last.captured.is_some() == dropped.captured.is_some()
    {
        last.places.end = dropped.places.end;
        if let (Some((_, newest)), Some((_, at))) = (&mut last.captured, dropped.captured) {
            *newest = at;
        }
        return;
    }
    all.push(dropped);
}

/// Takes places out of drops, which split where it is in their midst.
pub(super) fn take_out(all: &mut Vec<Dropped>, first: u64, last: u64) {
    let end = last.saturating_add(1);
    let touches = |dropped: &Dropped| dropped.places.start < end && dropped.places.end > first;
    if !all.iter().any(touches) {
        return;
    }
    let left = std::mem::take(all).into_iter().flat_map(|dropped| {
        let (from, to) = (dropped.places.start, dropped.places.end);
        let parts = if touches(&dropped) {
            [from..first.min(to), end.max(from)..to]
        } else {
            [from..to, to..to]
        };
        parts.map(|places| Dropped { places, ..dropped.clone() })
    });
    *all = left.filter(|dropped| dropped.places.start < dropped.places.end).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: RunId = RunId([3; 16]);

    fn pasts(entries: &[Entry]) -> Pasts {
        let mut pasts = Pasts::default();
        pasts.learn(&Entry::Began { run: RUN, source: "a".into(), slot: 2, began_unix_ns: 5 });
        entries.iter().for_each(|entry| pasts.learn(entry));
        pasts
    }

    fn dropped(first: u64, last: u64, reason: &str) -> Entry {
        let captured_unix_ns = None;
        Entry::Dropped { run: RUN, first, last, reason: reason.to_owned(), captured_unix_ns }
    }

    fn settled(first: u64, last: u64) -> Entry {
        Entry::Settled { run: RUN, first, last }
    }

    #[test]
    fn what_is_neither_settled_nor_kept_nor_dropped_is_lost() {
        let past =
            pasts(&[settled(0, 4), dropped(7, 8, "late"), settled(12, 12)]).runs.remove(&RUN);
        let past = past.unwrap();
        let mut kept = Ranges::default();
        kept.insert(9, 10);
        let lost: Vec<_> = past.lost(15, &kept).into_iter().map(|lost| lost.places).collect();
        assert_eq!(lost, [5..7, 11..12, 13..15]);
        assert_eq!((past.lost(0, &kept), past.known_frames()), (Vec::new(), 13));
    }

    #[test]
    fn what_comes_again_is_given_up_and_not_crashed() {
        let again = Entry::Again { run: RUN, first: 2, last: 3 };
        let past = pasts(&[again]).runs.remove(&RUN).unwrap();
        let lost = past.lost(6, &Ranges::default());
        let of = |reason| {
            let of = lost.iter().filter(move |lost| lost.reason == reason);
            of.map(|lost| lost.places.clone()).collect::<Vec<_>>()
        };
        assert_eq!(of(DropReason::SenderCrashed), [0..2, 4..6]);
        assert_eq!(of(DropReason::GivenUp), vec![2..4]);
    }

    #[test]
    fn drops_are_forgotten_as_they_are_noted() {
        let entries = [dropped(0, 3, "late"), dropped(4, 9, "late"), settled(2, 5), settled(9, 9)];
        let pasts = pasts(&entries);
        let left: Vec<_> = pasts.runs[&RUN].dropped.iter().map(|one| one.places.clone()).collect();
        assert_eq!(left, [0..2, 6..9]);
    }

    #[test]
    fn what_is_written_out_is_read_back() {
        let origin = Entry::Origin { run: RUN, sequence: 700 };
        let reserved = Entry::Reserved { run: RUN, frames: 64 };
        let whole = pasts(&[origin, settled(0, 3), dropped(5, 5, "refused"), reserved]);
        let mut again = Pasts::default();
        whole.entries().iter().for_each(|entry| again.learn(entry));
        assert_eq!(again, whole);
        assert_eq!(again.free_slot(4), Some(0));
        again.learn(&Entry::Ended { run: RUN });
        assert!(again.entries().is_empty());
    }
}
