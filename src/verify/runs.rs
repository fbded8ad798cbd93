//! The account of a source's runs: what each captured, and what became of it.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

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
    /// The sender of a run was killed, or is still at it.
    NotEnded,
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
    /// The run that has all of its frames as well, where it did not end.
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
    /// Frames that were declared dropped.
    pub dropped: u64,
    /// The same by reason and place.
    pub drops: Vec<Drops>,
    /// Those of them that the receiver refused, for want of room say, and that no later run brought.
    pub refused: u64,
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
}

#[derive(Debug)]
struct Run {
    first: u64,
    sender: Option<String>,
    endless: bool,
    /// Its frames that an earlier run had stored, by that run and their places there.
    again: HashMap<RunId, Ranges>,
    began: Option<UnixNanos>,
    ended: Option<(UnixNanos, u64)>,
    resumed_by: Option<RunId>,
    stored: Ranges,
    before: Ranges,
    expired: Ranges,
    taken: Ranges,
    dropped: BTreeMap<(Option<DropReason>, Place), Ranges>,
}

impl Default for Run {
    fn default() -> Self {
        let ranges = || Ranges::with_limit(MAX_RANGES);
        Self {
            first: 0,
            sender: None,
            endless: true,
            again: HashMap::new(),
            began: None,
            ended: None,
            resumed_by: None,
            stored: ranges(),
            before: ranges(),
            expired: ranges(),
            taken: ranges(),
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
                let run = self.run(run);
                if run.began.is_none() {
                    (run.began, run.first) = (Some(at), first);
                    (run.endless, run.sender) = (endless, sender);
                }
            }
            Entry::Dropped { run, range, reason, place, .. } => {
                let dropped = self.run(run).dropped.entry((reason, place));
                let dropped = dropped.or_insert_with(|| Ranges::with_limit(MAX_RANGES));
                dropped.insert(range.first, range.last);
            }
            Entry::StoredBefore { run, range, earlier } => {
                let run = self.run(run);
                run.before.insert(range.first, range.last);
                if let Some(earlier) = earlier {
                    let last = earlier.first.saturating_add(range.last - range.first);
                    let again = run.again.entry(earlier.run);
                    let again = again.or_insert_with(|| Ranges::with_limit(MAX_RANGES));
                    again.insert(earlier.first, last);
                }
            }
            Entry::TakenAway { run, range } => {
                self.run(run).taken.insert(range.first, range.last);
            }
            Entry::Expired { run, range, .. } => {
                self.run(run).expired.insert(range.first, range.last);
            }
            Entry::DayRemoved { .. } => {}
            Entry::DayExpired { day, at, .. } => {
                self.days.insert(day, at);
            }
            Entry::Ended { run, at, captured } => self.run(run).ended = Some((at, captured)),
            Entry::ResumedBy { run, by } => self.run(run).resumed_by = Some(by),
        }
    }

    /// Takes in a line of the manifest, also one that a later line has replaced: its frame was stored.
    pub(super) fn stored(&mut self, record: &Record) {
        if let Some(run) = record.run {
            let sequence = record.sequence.0;
            self.run(run).stored.insert(sequence, sequence);
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

    /// The days of which everything stored before a time was removed because it was old enough.
    pub(super) fn expired_days(&self) -> HashMap<Day, UnixNanos> {
        self.days.clone()
    }

    fn run(&mut self, id: RunId) -> &mut Run {
        self.runs.entry(id).or_insert_with(|| {
            self.order.push(id);
            Run::default()
        })
    }

    /// Closes the account; of runs and gaps, so many are named.
    pub(super) fn finish(self, named: usize) -> Account {
        let mut account = Account {
            state: if self.runs.is_empty() { State::Undeclared } else { State::Complete },
            owner: self.owner,
            owner_name: self.owner_name,
            runs: Listed::new(named),
            gaps: Listed::new(named),
            dropped: 0,
            drops: Vec::new(),
            refused: 0,
            expired: 0,
        };
        let closed: HashMap<RunId, State> =
            self.runs.iter().map(|(&id, run)| (id, run.own_state())).collect();
        let mut drops: BTreeMap<(Option<DropReason>, Place), u64> = BTreeMap::new();
        for (place, &id) in self.order.iter().enumerate() {
            let run = &self.runs[&id];
            let resumed = run.resumed_by.and_then(|by| closed.get(&by).copied());
            let state = match (closed[&id], resumed) {
                (State::NotEnded, Some(by)) => by,
                (own, _) => own,
            };
            if run.ended.is_some() {
                run.gaps(id, &mut account.gaps);
            }
            let stored = run.in_store();
            for (kind, dropped) in &run.dropped {
                *drops.entry(*kind).or_default() += dropped.count_beside(&stored);
            }
            let later = self.order[place + 1..].iter().map(|id| &self.runs[id]);
            account.refused += run.refused(id, &stored, later);
            let report = run.report(id, state, &stored);
            account.state = account.state.max(state);
            account.dropped += report.dropped;
            account.expired += report.expired;
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
}

impl Account {
    /// Says nothing of runs: there is no ledger that could.
    pub(super) fn declares_nothing(&mut self) {
        self.state = State::Undeclared;
        self.runs.first.iter_mut().for_each(|run| run.state = State::Undeclared);
    }
}

impl Run {
    /// What is to be said of the run by itself.
    fn own_state(&self) -> State {
        if self.ended.is_none() {
            return State::NotEnded;
        }
        let mut gaps = Listed::new(0);
        self.gaps(RunId([0; RunId::BYTES]), &mut gaps);
        if gaps.is_empty() { State::Complete } else { State::Gap }
    }

    fn in_store(&self) -> Ranges {
        let mut stored = self.stored.clone();
        stored.extend(&self.before);
        stored
    }

    /// What has neither frame nor declaration, and what was taken away.
    fn gaps(&self, id: RunId, gaps: &mut Listed<Gap>) {
        let Some((first, last)) = self.whole() else { return };
        let mut settled = self.in_store();
        settled.extend(&self.expired);
        self.dropped.values().for_each(|dropped| settled.extend(dropped));
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

    /// What the receiver refused of it, as was said at either end.
    fn refused_ranges(&self) -> impl Iterator<Item = &Ranges> {
        let refused = Some(DropReason::Refused);
        self.dropped
            .iter()
            .filter_map(move |((reason, _), ranges)| (*reason == refused).then_some(ranges))
    }

    /// How many of its frames the receiver refused, and no later run brought.
    fn refused<'a>(
        &self,
        id: RunId,
        stored: &Ranges,
        mut later: impl Iterator<Item = &'a Self>,
    ) -> u64 {
        let refused = self.refused_ranges().map(|ranges| ranges.count_beside(stored)).sum();
        if refused == 0 || later.any(|run| run.makes_good(self, id)) { 0 } else { refused }
    }

    /// Whether it has all frames of an earlier run, those that were refused there as well: both are of one sender and
    /// have a last frame, every frame that the earlier one brought was found again, and none was refused now. Where it
    /// brought none, only the number of frames says that both are of one folder.
    fn makes_good(&self, earlier: &Self, id: RunId) -> bool {
        let (Some((_, captured)), Some((_, before))) = (self.ended, earlier.ended) else {
            return false;
        };
        let none = Ranges::default();
        let found = earlier.stored.is_within(self.again.get(&id).unwrap_or(&none));
        !self.endless
            && !earlier.endless
            && self.sender == earlier.sender
            && (captured == before || captured > before && earlier.stored.count() > 0)
            && found
            && self.refused_ranges().next().is_none()
    }

    /// First and last sequence of a run that ended and had frames.
    fn whole(&self) -> Option<(u64, u64)> {
        let more = self.ended?.1.checked_sub(1)?;
        Some((self.first, self.first.saturating_add(more)))
    }

    fn report(&self, id: RunId, state: State, stored: &Ranges) -> RunReport {
        let mut dropped = Ranges::with_limit(MAX_RANGES);
        self.dropped.values().for_each(|ranges| dropped.extend(ranges));
        RunReport {
            run: id.to_string(),
            state,
            began_unix_ns: self.began.map(|began| began.0),
            ended_unix_ns: self.ended.map(|(ended, _)| ended.0),
            resumed_by: self.resumed_by.map(|by| by.to_string()),
            captured: self.ended.map(|(_, captured)| captured),
            stored: self.stored.count(),
            stored_before: self.before.count_beside(&self.stored),
            dropped: dropped.count_beside(stored),
            expired: self.expired.count(),
            taken_away: self.taken.count_beside(stored),
        }
    }
}
