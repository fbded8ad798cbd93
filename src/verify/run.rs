//! One run of a source: what it captured, and what became of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::account::{Gap, RunReport, Shared, State};
use super::later::Begun;
use crate::frame::{DropReason, RunId, UnixNanos};
use crate::manifest::{Listed, Place, Ranges};

/// Ranges kept of a run, at some 40 bytes each: hours of a camera that drops every other frame.
const MAX_RANGES: usize = 4_000_000;

#[derive(Debug)]
pub(super) struct Run {
    /// Among those that the ledger and the manifest name.
    pub(super) place: usize,
    /// The ledger knows of it.
    pub(super) is_told: bool,
    pub(super) first: u64,
    /// Whether its sender says so.
    pub(super) says_first: bool,
    pub(super) sender: Option<String>,
    pub(super) endless: bool,
    /// Its frames that an earlier run had stored, by that run and their places there.
    pub(super) again: HashMap<RunId, Ranges>,
    /// Those of these runs of which it has frames at other places than they had there.
    pub(super) shifted: HashSet<RunId>,
    pub(super) began: Option<UnixNanos>,
    pub(super) ended: Option<(UnixNanos, u64)>,
    pub(super) resumed_by: Option<RunId>,
    pub(super) stored: Ranges,
    /// Those that are the last ones of their names.
    pub(super) current: Ranges,
    /// How many of these have the sequence of another.
    pub(super) ambiguous: u64,
    /// How many came from another sender than the run's.
    pub(super) foreign: u64,
    /// Its frames that an earlier run had stored, as far as those were.
    pub(super) before: Ranges,
    /// What the ledger says of them: by that run, and how far its places there are from its places here.
    pub(super) found: HashMap<(RunId, u64), Ranges>,
    pub(super) expired: Ranges,
    pub(super) taken: Ranges,
    /// Its frames in other sources.
    pub(super) elsewhere: Ranges,
    /// How many of its frames here are there as well, or others in their place.
    pub(super) shared: Shared,
    pub(super) dropped: BTreeMap<(Option<DropReason>, Place), Ranges>,
}

/// What the receiver refuses is called so.
const REFUSALS: [DropReason; 2] = [DropReason::Refused, DropReason::Conflict];

/// What became later of frames that a run declared dropped.
pub(super) struct BroughtLater {
    pub(super) came: u64,
    /// Refused, and not come.
    pub(super) refused: u64,
    pub(super) other_content: u64,
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
pub(super) fn ranges() -> Ranges {
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
            shared: Shared::default(),
            dropped: BTreeMap::new(),
        }
    }
}

impl Run {
    /// Takes in what another source has of it.
    pub(super) fn join(&mut self, other: &Self) {
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
    pub(super) fn join_ends(&mut self, others: &[&Self]) {
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
    pub(super) fn own_state(&self) -> State {
        let mut gaps = Listed::new(0);
        self.gaps(RunId([0; RunId::BYTES]), &mut gaps);
        match self.ended {
            Some(_) if !gaps.is_empty() => State::Gap,
            _ if self.contradictory() > 0 => State::Contradictory,
            _ if self.ambiguous > 0 || self.shared.differ > 0 => State::Ambiguous,
            Some(_) => State::Complete,
            None if self.is_told => State::NotEnded,
            None => State::AccountLost,
        }
    }

    /// Frames that it cannot have had by what it says of itself, or not from that sender.
    pub(super) fn contradictory(&self) -> u64 {
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

    pub(super) fn in_store(&self) -> Ranges {
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
    pub(super) fn gaps(&self, id: RunId, gaps: &mut Listed<Gap>) {
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
    pub(super) fn begun(&self) -> Option<Begun> {
        self.began.map(|at| Begun { place: self.place, at })
    }

    /// How many of these are not in a set.
    fn dropped_beside(&self, reasons: &[DropReason], stored: &Ranges) -> u64 {
        let is_of = |reason: Option<DropReason>| reason.is_some_and(|it| reasons.contains(&it));
        let of_them = self.dropped.iter().filter(|((reason, _), _)| is_of(*reason));
        of_them.fold(0, |sum: u64, (_, dropped)| sum.saturating_add(dropped.count_beside(stored)))
    }

    /// What later runs brought of frames that this one declared dropped, both being of one folder.
    pub(super) fn brought_later<'a>(
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
    pub(super) fn has_all_of(&self, earlier: &Self, id: RunId) -> bool {
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

    pub(super) fn report(&self, id: RunId, state: State, stored: &Ranges) -> RunReport {
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
