//! The account of a source's runs: what each captured, and what became of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::account::{Account, Drops, RunReport, Shared, State};
use super::later::Later;
use super::run::{Run, ranges};
use crate::frame::{DropReason, RunId, UnixNanos};
use crate::manifest::{Day, Entry, Listed, Place, Ranges, Record, Summary};

/// Gathers what ledger and manifest say.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    runs: HashMap<RunId, Run>,
    /// In the order of the ledger.
    order: Vec<RunId>,
    owner: Option<String>,
    owner_name: Option<String>,
    days: HashMap<Day, UnixNanos>,
    later: Later,
}

impl Accounts {
    /// Takes in a line of the ledger.
    pub(super) fn learn(&mut self, entry: Entry) {
        match entry {
            Entry::Opened { owner: Some(owner), name, .. } if self.owner.is_none() => {
                (self.owner, self.owner_name) = (Some(owner), name);
            }
            Entry::Opened { .. } => {}
            Entry::Began { run, at, first, endless, sender, .. } => {
                let run = self.told(run);
                if run.began.is_none() {
                    (run.began, run.first) = (Some(at), first);
                    (run.endless, run.sender) = (endless, sender);
                } else if run.endless {
                    // Its sender was not told that the end had arrived, and with a spool goes on with the same run, in
                    // which more frames may come about. Of a folder the end stays what it was.
                    run.ended = None;
                }
            }
            Entry::Dropped { run, range, reason, place, captured } => {
                let run = self.told(run);
                let dropped = run.dropped.entry((reason, place));
                let dropped = dropped.or_insert_with(ranges);
                dropped.insert(range.first, range.last);
                if let Some(begun) = run.begun().filter(|_| run.endless) {
                    self.later.dropped(begun, range, reason, captured);
                }
            }
            Entry::StoredBefore { run, range, earlier } => {
                let run = self.told(run);
                let Some(earlier) = earlier else {
                    run.before.insert(range.first, range.last);
                    return;
                };
                if earlier.first != range.first {
                    run.shifted.insert(earlier.run);
                }
                let last = earlier.first.saturating_add(range.last - range.first);
                let again = run.again.entry(earlier.run);
                let again = again.or_insert_with(ranges);
                again.insert(earlier.first, last);
                let found = (earlier.run, earlier.first.wrapping_sub(range.first));
                let found = run.found.entry(found);
                let found = found.or_insert_with(ranges);
                found.insert(range.first, range.last);
            }
            Entry::TakenAway { run, range } => {
                self.told(run).taken.insert(range.first, range.last);
            }
            Entry::Expired { run, range, .. } => {
                self.told(run).expired.insert(range.first, range.last);
            }
            Entry::DayRemoved { .. } => {}
            Entry::DayExpired { day, at, .. } => {
                self.days.insert(day, at);
            }
            Entry::Ended { run, at, first, captured } => {
                let run = self.told(run);
                run.ended = Some((at, captured));
                // What its sender says goes before what the receiver took for it when it began: others may have stored in
                // the source between that and what the sender was told.
                run.first = first.unwrap_or(run.first);
                run.says_first = first.is_some();
            }
            Entry::ResumedBy { run, by } => self.told(run).resumed_by = Some(by),
        }
    }

    /// Takes in a line of the manifest, also one that a later line has replaced: its frame was stored.
    pub(super) fn stored(&mut self, record: &Record) {
        if let Some(run) = record.run {
            let sequence = record.sequence.0;
            let run = self.run(run);
            run.stored.insert(sequence, sequence);
            if let Some(begun) = run.begun() {
                self.later.stored(begun, record);
            }
        }
    }

    /// Takes in a line of the manifest that is the last one of its name.
    pub(super) fn current(&mut self, record: &Record) {
        let Some(run) = record.run.map(|run| self.run(run)) else { return };
        if run.sender.is_some() && record.sender.is_some() && run.sender != record.sender {
            run.foreign += 1;
        }
        if !run.current.insert(record.sequence.0, record.sequence.0) {
            run.ambiguous += 1;
        }
    }

    /// The runs that ledger or manifest speak of, as far as those were read.
    pub(super) fn known(&self) -> impl Iterator<Item = RunId> {
        self.runs.keys().copied()
    }

    /// Forgets all runs but these.
    pub(super) fn keep_only(&mut self, runs: &HashSet<RunId>) {
        self.runs.retain(|id, _| runs.contains(id));
        self.order.retain(|id| runs.contains(id));
    }

    /// Takes in what other sources say of the runs that are here.
    pub(super) fn join(&mut self, others: &[&Self]) {
        for (id, run) in &mut self.runs {
            let others: Vec<_> = others.iter().filter_map(|other| other.runs.get(id)).collect();
            others.iter().for_each(|other| run.join(other));
            run.join_ends(&others);
        }
    }

    /// What there is of each run.
    pub(super) fn stored_of_each(&self) -> HashMap<RunId, Ranges> {
        self.runs.iter().map(|(&id, run)| (id, run.stored.clone())).collect()
    }

    /// Takes in how many frames of a run lie in other sources as well.
    pub(super) fn lie_elsewhere(&mut self, run: RunId, shared: Shared) {
        if let Some(run) = self.runs.get_mut(&run) {
            run.shared = shared;
        }
    }

    /// Whether frames were brought by a run of which the ledger says nothing.
    pub(super) fn has_untold(&self) -> bool {
        self.runs.values().any(|run| !run.is_told)
    }

    /// Takes in of which runs the ledger knows by now: they may have begun since it was read.
    pub(super) fn has_told_since(&mut self, now: &Self) {
        for (id, run) in &mut self.runs {
            run.is_told |= now.runs.get(id).is_some_and(|now| now.is_told);
        }
    }

    /// The frames of each run that were removed because they were old enough.
    pub(super) fn expired(&self) -> HashMap<RunId, Ranges> {
        let expired = self.runs.iter().filter(|(_, run)| run.expired.count() > 0);
        expired.map(|(&id, run)| (id, run.expired.clone())).collect()
    }

    /// Takes in what the lines of a manifest come to.
    pub(super) fn stored_all(&mut self, summary: &Summary) {
        for (run, stored) in &summary.runs {
            self.run(*run).stored.extend(stored);
        }
    }

    /// The same of lines that nobody will read; false where they have to be: frames of a run may have one sequence, or not
    /// be its sender's, and how many that are they alone tell.
    pub(super) fn take_all(&mut self, summary: &Summary) -> bool {
        let is_plain = |(id, stored): (&RunId, &Ranges)| {
            let Some(run) = self.runs.get(id) else { return true };
            let senders = summary.senders.get(id).into_iter().flatten();
            let mut foreign =
                senders.filter(|sender| run.sender.as_ref().is_some_and(|own| own != *sender));
            foreign.next().is_none() && stored.count_beside(&run.current) == stored.count()
        };
        if !summary.has_each_once() || !summary.runs.iter().all(is_plain) {
            return false;
        }
        for (run, stored) in &summary.runs {
            let run = self.run(*run);
            run.stored.extend(stored);
            run.current.extend(stored);
        }
        true
    }

    /// The days of which everything stored before a time was removed because it was old enough.
    pub(super) fn expired_days(&self) -> HashMap<Day, UnixNanos> {
        self.days.clone()
    }

    fn run(&mut self, id: RunId) -> &mut Run {
        self.runs.entry(id).or_insert_with(|| {
            self.order.push(id);
            Run { place: self.order.len() - 1, ..Run::default() }
        })
    }

    /// A run that the ledger speaks of.
    fn told(&mut self, id: RunId) -> &mut Run {
        let run = self.run(id);
        run.is_told = true;
        run
    }

    /// Holds what runs found stored before against what the earlier runs did store: a frame that none of them brought is
    /// nowhere, whatever a line says.
    fn hold_found(&mut self) {
        let there = |run: &Run| {
            let mut there = run.stored.clone();
            there.extend(&run.expired);
            there.extend(&run.taken);
            there.extend(&run.elsewhere);
            there
        };
        let all: HashMap<RunId, Ranges> =
            self.runs.iter().map(|(&id, run)| (id, there(run))).collect();
        for run in self.runs.values_mut() {
            for ((earlier, away), found) in &run.found {
                let Some(there) = all.get(earlier) else { continue };
                for (first, last) in found.iter() {
                    let (from, to) = (first.wrapping_add(*away), last.wrapping_add(*away));
                    // Of one with too many gaps to be kept nobody knows better.
                    let gaps = match there.is_too_scattered() || from > to {
                        true => Vec::new(),
                        false => there.gaps(from, to),
                    };
                    let mut next = from;
                    for (gap, end) in gaps.into_iter().chain([(to.saturating_add(1), to)]) {
                        if gap > next {
                            let brought = (next.wrapping_sub(*away), (gap - 1).wrapping_sub(*away));
                            run.before.insert(brought.0, brought.1);
                        }
                        next = end.saturating_add(1);
                    }
                }
            }
        }
    }

    /// Closes the account; of runs and gaps, so many are named.
    pub(super) fn finish(mut self, named: usize) -> Account {
        self.hold_found();
        let mut account = Account {
            state: if self.runs.is_empty() { State::Undeclared } else { State::Complete },
            owner: self.owner.clone(),
            owner_name: self.owner_name.clone(),
            runs: Listed::new(named),
            gaps: Listed::new(named),
            dropped: 0,
            came_later: 0,
            drops: Vec::new(),
            refused: 0,
            other_content: 0,
            ambiguous: 0,
            copies: 0,
            contradictory: 0,
            expired: 0,
        };
        let closed: HashMap<RunId, State> =
            self.runs.iter().map(|(&id, run)| (id, run.own_state())).collect();
        let mut drops: BTreeMap<(Option<DropReason>, Place), u64> = BTreeMap::new();
        for (place, &id) in self.order.iter().enumerate() {
            let run = &self.runs[&id];
            let behind = || self.order[place + 1..].iter().map(|id| (*id, &self.runs[id]));
            let resumed_by = match closed[&id] {
                State::AccountLost => self.made_good_by(id),
                State::Gap => {
                    let has_all = |(other, later): &(RunId, &Run)| {
                        closed[other] == State::Complete && later.has_all_of(run, id)
                    };
                    behind().find(has_all).map(|(other, _)| other)
                }
                _ => run.resumed_by,
            };
            let resumed = resumed_by.and_then(|by| closed.get(&by).copied());
            let state = match (closed[&id], resumed) {
                (State::NotEnded | State::AccountLost | State::Gap, Some(by)) => by,
                (own, _) => own,
            };
            if run.ended.is_some() && state == State::Gap {
                run.gaps(id, &mut account.gaps);
            }
            let stored = run.in_store();
            for (kind, dropped) in &run.dropped {
                add(drops.entry(*kind).or_default(), dropped.count_beside(&stored));
            }
            let later = run.brought_later(id, &stored, behind().map(|(_, run)| run));
            add(&mut account.refused, later.refused);
            add(&mut account.other_content, later.other_content);
            let report = RunReport {
                resumed_by: resumed_by.map(|by| by.to_string()),
                ..run.report(id, state, &stored)
            };
            let came = later.came.saturating_add(self.later.came(place));
            add(&mut account.came_later, came.min(report.dropped));
            account.state = account.state.max(state);
            add(&mut account.dropped, report.dropped);
            account.ambiguous += run.ambiguous + run.shared.differ;
            account.copies += run.shared.copies;
            add(&mut account.contradictory, run.contradictory());
            add(&mut account.expired, report.expired);
            account.runs.push(report);
        }
        let named = |((reason, place), frames): ((Option<DropReason>, Place), u64)| Drops {
            reason: reason.map_or("other", DropReason::name),
            place: place.name(),
            frames,
        };
        account.drops = drops.into_iter().filter(|(_, frames)| *frames > 0).map(named).collect();
        account
    }

    /// The run that has all frames of one of which nothing is known but these: the same folder sent again.
    fn made_good_by(&self, lost: RunId) -> Option<RunId> {
        let brought = &self.runs[&lost].stored;
        let has_all = |run: &Run| {
            let found = run.again.get(&lost).is_some_and(|found| brought.is_within(found));
            run.ended.is_some() && !run.endless && found
        };
        self.order.iter().copied().find(|id| has_all(&self.runs[id]))
    }
}

/// Adds to a sum of what senders have declared: any number of frames, as far as that goes.
fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}
