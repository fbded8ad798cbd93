//! The account of a source's runs: what each captured, and what became of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::later::{Begun, Later};
use crate::frame::{DropReason, RunId, UnixNanos};
use crate::manifest::{Day, Entry, Listed, Place, Ranges, Record, Summary};

/// Ranges kept of a run, at some 40 bytes each: hours of a camera that drops every other frame.
const MAX_RANGES: usize = 4_000_000;

/// Whether a source has everything that its runs captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Every frame of every run is stored, or declared dropped.
    Complete,
    /// No run declares how many frames there were: they came over stop-and-wait, or to an earlier version.
    Undeclared,
    /// Frames of a run are here, and the ledger does not know of it: it was lost, or a part of it.
    AccountLost,
    /// The sender of a run was killed, or is still at it.
    NotEnded,
    /// Different frames of a run have one sequence: two senders gave it, as from a copied spool, and how many frames there
    /// were nobody can tell.
    Ambiguous,
    /// The account contradicts itself: frames are here, or are declared dropped, that its run did not have by what it says
    /// of itself, or that another sender sent than the run's. Lines were changed or lost.
    Contradictory,
    /// Frames of a run have neither file nor declaration.
    Gap,
}

/// One run of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// Its id, 32 hex digits.
    pub run: String,
    /// What is to be said of it.
    pub state: State,
    /// When it began, on the sender's clock.
    pub began_unix_ns: Option<u64>,
    /// When it ended, on the sender's clock; `None` where it did not.
    pub ended_unix_ns: Option<u64>,
    /// The run that has all of its frames as well, where it did not end, or its account is lost.
    pub resumed_by: Option<String>,
    /// How many frames it had; `None` where it did not end.
    pub captured: Option<u64>,
    /// Frames of it with a line in the manifest.
    pub stored: u64,
    /// Frames of it that an earlier run had stored.
    pub stored_before: u64,
    /// Frames of it that were declared dropped, and not stored after all.
    pub dropped: u64,
    /// Frames of it that were removed because they were old enough.
    pub expired: u64,
    /// Frames of it in a folder that was taken away while it went on.
    pub taken_away: u64,
    /// Frames of it that are in another source that was verified together with this.
    pub elsewhere: u64,
}

/// Frames in a row that a run had and the store does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The run.
    pub run: String,
    /// The first sequence.
    pub from: u64,
    /// The last sequence.
    pub to: u64,
    /// Whether they are in a folder that was taken away while the run went on.
    pub taken_away: bool,
}

/// Declared drops of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drops {
    /// Why.
    pub reason: &'static str,
    /// At which end: `sender` or `receiver`.
    #[serde(rename = "where")]
    pub place: &'static str,
    /// How many frames.
    pub frames: u64,
}

/// Everything that is to be said of a source's runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// All runs together.
    pub state: State,
    /// The pin of the sender whose source it is.
    pub owner: Option<String>,
    /// What the receiver's user called that sender.
    pub owner_name: Option<String>,
    /// In the order in which they began.
    pub runs: Listed<RunReport>,
    /// What is missing of runs that ended.
    pub gaps: Listed<Gap>,
    /// Frames that were declared dropped, and that their run did not bring after all.
    pub dropped: u64,
    /// Those of them that a later run brought, as far as their sequences or their times of capture tell.
    pub came_later: u64,
    /// Those of `dropped` by reason and place.
    pub drops: Vec<Drops>,
    /// Those of `dropped` that the receiver refused, for want of room or because it has other content of that name, and
    /// that no later run brought.
    pub refused: u64,
    /// Those of `refused` of whose names other content is stored.
    pub other_content: u64,
    /// Frames that have the sequence of another frame of their run.
    pub ambiguous: u64,
    /// Frames that their run cannot have had, or not from that sender.
    pub contradictory: u64,
    /// Frames that were removed because they were old enough.
    pub expired: u64,
}

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

#[derive(Debug)]
struct Run {
    /// Among those that the ledger and the manifest name.
    place: usize,
    /// The ledger knows of it.
    is_told: bool,
    first: u64,
    /// Whether its sender says so.
    says_first: bool,
    sender: Option<String>,
    endless: bool,
    /// Its frames that an earlier run had stored, by that run and their places there.
    again: HashMap<RunId, Ranges>,
    /// Those of these runs of which it has frames at other places than they had there.
    shifted: HashSet<RunId>,
    began: Option<UnixNanos>,
    ended: Option<(UnixNanos, u64)>,
    resumed_by: Option<RunId>,
    stored: Ranges,
    /// Those that are the last ones of their names.
    current: Ranges,
    /// How many of these have the sequence of another.
    ambiguous: u64,
    /// How many came from another sender than the run's.
    foreign: u64,
    /// Its frames that an earlier run had stored, as far as those were.
    before: Ranges,
    /// What the ledger says of them: by that run, and how far its places there are from its places here.
    found: HashMap<(RunId, u64), Ranges>,
    expired: Ranges,
    taken: Ranges,
    /// Its frames in other sources.
    elsewhere: Ranges,
    dropped: BTreeMap<(Option<DropReason>, Place), Ranges>,
}

/// What the receiver refuses is called so.
const REFUSALS: [DropReason; 2] = [DropReason::Refused, DropReason::Conflict];

/// What became later of frames that a run declared dropped.
struct BroughtLater {
    came: u64,
    /// Refused, and not come.
    refused: u64,
    other_content: u64,
}

/// Whether two runs are of one folder.
enum Same {
    No,
    /// With the same frames, each at its place.
    Frames,
    /// With some more.
    AndMore,
}

/// None so far, of a run.
fn ranges() -> Ranges {
    Ranges::with_limit(MAX_RANGES)
}

impl Default for Run {
    fn default() -> Self {
        Self {
            place: 0,
            is_told: false,
            first: 0,
            says_first: false,
            sender: None,
            endless: true,
            again: HashMap::new(),
            shifted: HashSet::new(),
            began: None,
            ended: None,
            resumed_by: None,
            stored: ranges(),
            current: ranges(),
            ambiguous: 0,
            foreign: 0,
            before: ranges(),
            found: HashMap::new(),
            expired: ranges(),
            taken: ranges(),
            elsewhere: ranges(),
            dropped: BTreeMap::new(),
        }
    }
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
            account.ambiguous += run.ambiguous;
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

impl Run {
    /// Takes in what another source has of it.
    fn join(&mut self, other: &Self) {
        self.is_told |= other.is_told;
        self.elsewhere.extend(&other.stored);
        self.expired.extend(&other.expired);
        for (kind, dropped) in &other.dropped {
            self.dropped.entry(*kind).or_insert_with(ranges).extend(dropped);
        }
        for (kind, found) in &other.found {
            self.found.entry(*kind).or_insert_with(ranges).extend(found);
        }
    }

    /// Takes in how it ended elsewhere, when what it has there is known: the last of its ends counts, unless it went on
    /// behind that.
    fn join_ends(&mut self, others: &[&Self]) {
        let is_open = |run: &Self| run.is_told && run.ended.is_none();
        let may_be_open = is_open(self) || others.iter().any(|other| is_open(other));
        let end = |run: &Self| run.ended.map(|(at, captured)| (captured, at));
        if let Some(last) = others.iter().max_by_key(|other| end(other))
            && end(last) > end(self)
        {
            (self.ended, self.first) = (last.ended, last.first);
            (self.says_first, self.resumed_by) = (last.says_first, None);
        }
        if may_be_open && self.endless && self.beyond_its_end() > 0 {
            self.ended = None;
        }
    }

    /// What is to be said of the run by itself.
    fn own_state(&self) -> State {
        let mut gaps = Listed::new(0);
        self.gaps(RunId([0; RunId::BYTES]), &mut gaps);
        match self.ended {
            Some(_) if !gaps.is_empty() => State::Gap,
            _ if self.contradictory() > 0 => State::Contradictory,
            _ if self.ambiguous > 0 => State::Ambiguous,
            Some(_) => State::Complete,
            None if self.is_told => State::NotEnded,
            None => State::AccountLost,
        }
    }

    /// Frames that it cannot have had by what it says of itself, or not from that sender.
    fn contradictory(&self) -> u64 {
        self.foreign.saturating_add(self.beyond_its_end())
    }

    /// Frames that it cannot have had by its end.
    fn beyond_its_end(&self) -> u64 {
        if self.ended.is_none() {
            return 0;
        }
        let mut settled = self.settled();
        settled.extend(&self.taken);
        let mut whole = ranges();
        if let Some((first, last)) = self.whole() {
            // In lines of earlier versions its first is what its receiver took for it.
            whole.insert(if self.says_first { first } else { 0 }, last);
        }
        settled.count_beside(&whole)
    }

    fn in_store(&self) -> Ranges {
        let mut stored = self.stored.clone();
        stored.extend(&self.before);
        stored.extend(&self.elsewhere);
        stored
    }

    /// What has a frame or a declaration.
    fn settled(&self) -> Ranges {
        let mut settled = self.in_store();
        settled.extend(&self.expired);
        self.dropped.values().for_each(|dropped| settled.extend(dropped));
        settled
    }

    /// What has neither frame nor declaration, and what was taken away.
    fn gaps(&self, id: RunId, gaps: &mut Listed<Gap>) {
        let Some((first, last)) = self.whole() else { return };
        let mut settled = self.settled();
        let run = id.to_string();
        for (from, to) in self.taken.iter() {
            for (from, to) in settled.gaps(from, to) {
                gaps.push(Gap { run: run.clone(), from, to, taken_away: true });
            }
        }
        settled.extend(&self.taken);
        for (from, to) in settled.gaps(first, last) {
            gaps.push(Gap { run: run.clone(), from, to, taken_away: false });
        }
    }

    /// When it began, where it says so.
    fn begun(&self) -> Option<Begun> {
        self.began.map(|at| Begun { place: self.place, at })
    }

    /// How many of these are not in a set.
    fn dropped_beside(&self, reasons: &[DropReason], stored: &Ranges) -> u64 {
        let is_of = |reason: Option<DropReason>| reason.is_some_and(|it| reasons.contains(&it));
        let of_them = self.dropped.iter().filter(|((reason, _), _)| is_of(*reason));
        of_them.fold(0, |sum: u64, (_, dropped)| sum.saturating_add(dropped.count_beside(stored)))
    }

    /// What later runs brought of frames that this one declared dropped, both being of one folder.
    fn brought_later<'a>(
        &self,
        id: RunId,
        stored: &Ranges,
        later: impl Iterator<Item = &'a Self>,
    ) -> BroughtLater {
        let all = Self::all_dropped(&self.dropped);
        let (mut there, mut is_made_good) = (stored.clone(), false);
        if all.count() > 0 {
            for run in later {
                match run.is_of_the_folder_of(self, id) {
                    Same::Frames => there.extend(&run.in_store()),
                    // Where each is there is not known, but all are.
                    Same::AndMore => is_made_good |= run.dropped.is_empty(),
                    Same::No => {}
                }
            }
        }
        let refused = |reasons: &[DropReason]| {
            let left = self.dropped_beside(reasons, &there);
            if is_made_good { 0 } else { left }
        };
        let (every, conflicts) = (refused(&REFUSALS), refused(&[DropReason::Conflict]));
        let before = self.dropped_beside(&REFUSALS, stored);
        let others = all.count_beside(stored).saturating_sub(all.count_beside(&there));
        // Where nothing was stored, the number of frames alone says that the folder is the same: enough for what was
        // refused and is there still, and not for what could not be read.
        let others = if self.stored.count() > 0 { others } else { 0 };
        let came = others.max(before.saturating_sub(every));
        BroughtLater { came, refused: every, other_content: conflicts }
    }

    /// Whether it is of the folder that an earlier run was of: both are of one sender and have a last frame, and every
    /// frame that the earlier one brought was found again. Where it brought none, only the number of frames says so.
    fn is_of_the_folder_of(&self, earlier: &Self, id: RunId) -> Same {
        let (Some((_, captured)), Some((_, before))) = (self.ended, earlier.ended) else {
            return Same::No;
        };
        let none = Ranges::default();
        let found = earlier.stored.is_within(self.again.get(&id).unwrap_or(&none));
        if self.endless || earlier.endless || self.sender != earlier.sender || !found {
            return Same::No;
        }
        if captured == before && !self.shifted.contains(&id) {
            Same::Frames
        } else if captured > before && earlier.stored.count() > 0 {
            Same::AndMore
        } else {
            Same::No
        }
    }

    /// Whether it has every frame of an earlier run, of which some are gone by now: both are of one folder, of which the
    /// earlier one has frames here that this one found again, and no frame of this one is dropped.
    fn has_all_of(&self, earlier: &Self, id: RunId) -> bool {
        let is_same = !matches!(self.is_of_the_folder_of(earlier, id), Same::No);
        is_same && earlier.stored.count() > 0 && self.dropped.is_empty()
    }

    /// First and last sequence of a run that ended and had frames.
    fn whole(&self) -> Option<(u64, u64)> {
        let more = self.ended?.1.checked_sub(1)?;
        Some((self.first, self.first.saturating_add(more)))
    }

    fn all_dropped(dropped: &BTreeMap<(Option<DropReason>, Place), Ranges>) -> Ranges {
        let mut all = ranges();
        dropped.values().for_each(|ranges| all.extend(ranges));
        all
    }

    fn report(&self, id: RunId, state: State, stored: &Ranges) -> RunReport {
        RunReport {
            run: id.to_string(),
            state,
            began_unix_ns: self.began.map(|began| began.0),
            ended_unix_ns: self.ended.map(|(ended, _)| ended.0),
            resumed_by: self.resumed_by.map(|by| by.to_string()),
            captured: self.ended.map(|(_, captured)| captured),
            stored: self.stored.count(),
            stored_before: self.before.count_beside(&self.stored),
            dropped: Self::all_dropped(&self.dropped).count_beside(stored),
            expired: self.expired.count(),
            taken_away: self.taken.count_beside(stored),
            elsewhere: self.elsewhere.count_beside(&self.stored),
        }
    }
}
