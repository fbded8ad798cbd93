//! Whose a source is, and how far its runs have come: what the ledger and the manifest say, kept while the source is
//! open.

use std::collections::{BTreeMap, VecDeque};

use super::contract::Opener;
use super::layout::Part;
use crate::frame::{DropReason, RunId, Sequence, UnixNanos};
use crate::manifest::{Day, Earlier, Entry, Place, Range, Ranges, Record, Summary};

/// Runs that have not ended are remembered up to this many: one for each crash of a sender, at most. Of older ones
/// nothing is forgotten but that they may be continued.
const MAX_OPEN_RUNS: usize = 256;

/// Runs that have ended are remembered up to this many: a sender that was not told so comes back soon, and may go on with
/// its run.
const MAX_ENDED_RUNS: usize = 16;

/// What is known of a source beside its frames.
#[derive(Debug, Default)]
pub(super) struct Account {
    owner: Option<Opener>,
    /// The name that the source was first opened by.
    pub(super) source: Option<String>,
    /// Those that have not ended, and the last that have; the latest last.
    runs: VecDeque<OpenRun>,
    last: Option<u64>,
    pub(super) expired: ExpiredDays,
}

/// The days that have expired.
#[derive(Debug, Default)]
pub(super) struct ExpiredDays {
    days: BTreeMap<Day, Gone>,
}

/// A day that has expired.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gone {
    /// Everything of it that was stored until then.
    pub(super) until: UnixNanos,
    /// How much that was, this time and before.
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) is_removed: bool,
}

impl ExpiredDays {
    pub(super) fn of(&self, day: Day) -> Option<Gone> {
        self.days.get(&day).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// Whether a frame that has a line in a part of the source has expired.
    pub(super) fn has(&self, part: Part, record: &Record) -> bool {
        self.of(part.day(record)).is_some_and(|gone| record.stored <= gone.until)
    }

    /// A day like this one that goes on: itself, or the first behind all that have expired.
    pub(super) fn open_day(&self, day: Day, came: Day) -> Day {
        let is_open = |day: &Day| !self.days.contains_key(day);
        let behind = || self.days.last_key_value().map_or(came, |(last, _)| Day::of(last.end()));
        [day, came].into_iter().find(is_open).unwrap_or_else(behind)
    }
}

/// A run that has not ended, or not long ago.
#[derive(Debug)]
struct OpenRun {
    id: RunId,
    has_ended: bool,
    began: Entry,
    endless: bool,
    sender: Option<String>,
    /// Its frames with a line in the manifest.
    brought: Ranges,
    /// Its frames that need none: stored before, taken away, expired.
    declared: Ranges,
    /// Its frames that will not come, and why.
    dropped: Dropped,
    /// Frames of earlier runs that this one has as well, by the places they have there.
    again: Vec<(RunId, Ranges)>,
}

/// Frames that were declared dropped, by reason and end.
type Dropped = BTreeMap<(Option<DropReason>, Place), Ranges>;

/// A run that goes on, and what there was of it.
#[derive(Debug, Clone)]
pub(super) struct LeftBehind {
    began: Entry,
    run: RunId,
    had: Ranges,
    dropped: Dropped,
}

/// What the ledger says of a frame of `run`, by its sequence there, that has an earlier run's line.
pub(super) fn stored_before(run: Option<RunId>, line: &Record, sequence: u64) -> Option<Entry> {
    // A run that went on in another process may have found a frame of its own again.
    let run = run.filter(|run| line.run != Some(*run) || line.sequence.0 != sequence)?;
    let earlier = line.run.map(|run| Earlier { run, first: line.sequence.0 });
    Some(Entry::StoredBefore { run, range: Range { first: sequence, last: sequence }, earlier })
}

impl OpenRun {
    /// Its frames that the run `earlier` has as well.
    fn again_of(&mut self, earlier: RunId) -> &mut Ranges {
        let known = self.again.iter().position(|(id, _)| *id == earlier);
        let place = known.unwrap_or_else(|| {
            self.again.push((earlier, Ranges::default()));
            self.again.len() - 1
        });
        &mut self.again[place].1
    }
}

impl Account {
    /// Where a run without a last frame began that has brought frames. Also where its end was noted: a sender that was
    /// not told so goes on with it.
    pub(super) fn goes_on_from(&self, run: RunId) -> Option<Sequence> {
        let run = self.runs.iter().find(|open| open.id == run && open.endless)?;
        let Entry::Began { first, .. } = run.began else { return None };
        (run.brought.count() > 0).then_some(Sequence(first))
    }

    /// Takes in what the ledger says, or was just told.
    pub(super) fn learn(&mut self, entry: &Entry) {
        match entry {
            Entry::Opened { owner, name, source, .. } => {
                self.source.get_or_insert_with(|| source.clone());
                if self.owner.is_none()
                    && let Some(pin) = owner
                {
                    self.set_owner(pin, name.as_deref());
                }
            }
            Entry::Began { run, first, endless, sender, .. } => {
                if let Some(again) = self.run(*run) {
                    again.has_ended = false;
                    return;
                }
                self.runs.push_back(OpenRun {
                    id: *run,
                    has_ended: false,
                    began: entry.clone(),
                    endless: *endless,
                    sender: sender.clone(),
                    brought: Ranges::default(),
                    declared: Ranges::default(),
                    dropped: Dropped::new(),
                    again: Vec::new(),
                });
                if *endless {
                    self.last = self.last.max(first.checked_sub(1));
                }
                self.forget(MAX_OPEN_RUNS, |open| !open.has_ended);
            }
            Entry::Dropped { run, range, reason, place, .. } => {
                self.last = self.last.max(Some(range.last));
                if let Some(run) = self.run(*run) {
                    let dropped = run.dropped.entry((*reason, *place)).or_default();
                    dropped.insert(range.first, range.last);
                }
            }
            Entry::StoredBefore { run, range, earlier: None } | Entry::TakenAway { run, range } => {
                self.last = self.last.max(Some(range.last));
                if let Some(run) = self.run(*run) {
                    run.declared.insert(range.first, range.last);
                }
            }
            Entry::StoredBefore { run, range, earlier: Some(earlier) } => {
                self.last = self.last.max(Some(range.last));
                let is_open = self.run(earlier.run).is_some();
                let Some(run) = self.run(*run) else { return };
                run.declared.insert(range.first, range.last);
                if !is_open {
                    return;
                }
                let last = earlier.first.saturating_add(range.last - range.first);
                run.again_of(earlier.run).insert(earlier.first, last);
            }
            Entry::Ended { run, .. } => {
                if let Some(run) = self.run(*run) {
                    run.has_ended = true;
                }
                self.forget(MAX_ENDED_RUNS, |open| open.has_ended);
            }
            Entry::ResumedBy { run, .. } => self.runs.retain(|open| open.id != *run),
            Entry::Expired { run, range, .. } => {
                self.last = self.last.max(Some(range.last));
                if let Some(run) = self.run(*run) {
                    run.declared.insert(range.first, range.last);
                }
            }
            Entry::DayExpired { day, at, frames, bytes } => {
                let (until, frames, bytes) = (*at, *frames, *bytes);
                self.expired.days.insert(*day, Gone { until, frames, bytes, is_removed: false });
            }
            Entry::DayRemoved { day, .. } => {
                if let Some(gone) = self.expired.days.get_mut(day) {
                    gone.is_removed = true;
                }
            }
        }
    }

    /// Takes in what the lines of a manifest come to.
    pub(super) fn brought_all(&mut self, summary: &Summary) {
        for open in &mut self.runs {
            if let Some(brought) = summary.runs.get(&open.id) {
                open.brought.extend(brought);
            }
        }
    }

    /// Takes in a line of the manifest.
    pub(super) fn brought(&mut self, record: &Record) {
        let Some(run) = record.run.and_then(|run| self.run(run)) else { return };
        run.brought.insert(record.sequence.0, record.sequence.0);
    }

    /// Whether a frame of a run that goes on has a line already; `None` for a run that has ended, or never began.
    pub(super) fn has_brought(&self, run: RunId, Sequence(sequence): Sequence) -> Option<bool> {
        let open = self.runs.iter().rev().find(|open| open.id == run && !open.has_ended);
        open.map(|open| open.brought.contains(sequence))
    }

    /// Takes in that `run` has replaced the frame of an earlier line. What it has as it was is in the ledger.
    pub(super) fn has_again(&mut self, run: Option<RunId>, earlier: &Record) {
        let (Some(run), Some(before)) = (run, earlier.run) else { return };
        if run == before || self.run(before).is_none() {
            return;
        }
        let Some(run) = self.run(run) else { return };
        run.again_of(before).insert(earlier.sequence.0, earlier.sequence.0);
    }

    /// The runs that never ended, and of which `run`, which ends now, has every frame that was stored. Only where
    /// both are of one sender and have a last frame: of a camera nobody knows what it would have shown.
    pub(super) fn resumed_by(&mut self, run: RunId) -> Vec<RunId> {
        let Some(this) = self.open().find(|open| open.id == run && !open.endless) else {
            return Vec::new();
        };
        let has_all = |other: &&OpenRun| {
            let again = this.again.iter().find(|(id, _)| *id == other.id);
            // One that died before its first frame was stored has left nothing that could be held against this. Of one
            // with too many gaps to be kept nobody knows what it has left.
            let has_left_nothing = other.brought.count() == 0 && !other.brought.is_too_scattered();
            let has_frames =
                has_left_nothing || again.is_some_and(|(_, again)| other.brought.is_within(again));
            other.id != run && !other.endless && other.sender == this.sender && has_frames
        };
        self.open().filter(has_all).map(|other| other.id).collect()
    }

    /// Whether the ledger says already that this run began.
    pub(super) fn knows(&self, run: RunId) -> bool {
        self.open().any(|open| open.id == run)
    }

    /// Whether the ledger says already that this run has ended.
    pub(super) fn has_ended(&self, run: RunId) -> bool {
        self.runs.iter().any(|open| open.id == run && open.has_ended)
    }

    /// What a new ledger has to say of the runs that go on, where the folder was taken away from under them.
    pub(super) fn left_behind(&self) -> Vec<LeftBehind> {
        let of = |open: &OpenRun| {
            let mut had = open.brought.clone();
            had.extend(&open.declared);
            let (began, dropped) = (open.began.clone(), open.dropped.clone());
            LeftBehind { began, run: open.id, had, dropped }
        };
        self.open().map(of).collect()
    }

    /// What the ledger has to say, of what the account had before, so that nothing is unaccounted for here.
    pub(super) fn taken_away(&self, left_behind: &[LeftBehind]) -> Vec<Entry> {
        let mut entries = Vec::new();
        for LeftBehind { began, run, had, dropped } in left_behind {
            let mut here = Ranges::default();
            match self.runs.iter().find(|open| open.id == *run) {
                Some(open) => {
                    here.extend(&open.brought);
                    here.extend(&open.declared);
                    open.dropped.values().for_each(|dropped| here.extend(dropped));
                }
                None => entries.push(began.clone()),
            }
            let run = *run;
            let not_here = |of: &Ranges| -> Vec<_> {
                let gaps = of.iter().flat_map(|(first, last)| here.gaps(first, last));
                gaps.map(|(first, last)| Range { first, last }).collect()
            };
            let gone = not_here(had).into_iter();
            entries.extend(gone.map(|range| Entry::TakenAway { run, range }));
            for (&(reason, place), dropped) in dropped {
                let dropped = not_here(dropped).into_iter();
                entries.extend(dropped.map(|range| Entry::Dropped {
                    run,
                    range,
                    reason,
                    place,
                    captured: None,
                }));
            }
        }
        entries
    }

    /// Whether a sender may use the source.
    pub(super) fn permits(&self, opener: &Opener) -> bool {
        opener.shared || self.owner.as_ref().is_none_or(|owner| opener.is(owner))
    }

    /// Whose the source is.
    pub(super) fn owner(&self) -> Option<&Opener> {
        self.owner.as_ref()
    }

    /// Whose it is, where the ledger does not say: the sender of its first frame.
    pub(super) fn set_owner(&mut self, pin: &str, name: Option<&str>) {
        let mut owner = Opener::with_pin(Some(pin));
        owner.name = name.map(Into::into);
        self.owner = Some(owner);
    }

    /// The highest sequence that the ledger speaks of.
    pub(super) fn last_sequence(&self) -> Option<Sequence> {
        self.last.map(Sequence)
    }

    /// Those that have not ended.
    fn open(&self) -> impl Iterator<Item = &OpenRun> {
        self.runs.iter().filter(|open| !open.has_ended)
    }

    fn run(&mut self, id: RunId) -> Option<&mut OpenRun> {
        self.runs.iter_mut().rev().find(|open| open.id == id)
    }

    /// Forgets the oldest of a kind beyond so many.
    fn forget(&mut self, most: usize, is_of: impl Fn(&OpenRun) -> bool) {
        if self.runs.iter().filter(|open| is_of(open)).count() > most
            && let Some(oldest) = self.runs.iter().position(is_of)
        {
            self.runs.remove(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_which_too_many_frames_are_missing_to_be_known_is_resumed_by_none() {
        let [one, two] = [1, 2].map(|id| RunId([id; 16]));
        let mut account = Account::default();
        for run in [one, two] {
            let (at, first, endless, live, sender) = (UnixNanos(1), 0, false, false, None);
            account.learn(&Entry::Began { run, at, first, endless, live, sender });
        }
        assert_eq!(account.resumed_by(two), [one], "it has stored nothing");
        let brought = &mut account.run(one).unwrap().brought;
        (0..=100_000).for_each(|place| {
            brought.insert(2 * place, 2 * place);
        });
        assert!(brought.is_too_scattered());
        assert!(account.resumed_by(two).is_empty());
    }
}
