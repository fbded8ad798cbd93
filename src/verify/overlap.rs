//! Frames of one run and sequence that lie in several folders: copies of one another, or different frames, which two
//! senders with one run sent to two receivers. How many there were nobody can tell then.
//!
//! Each folder's lines are summed up by runs of sequences first, which takes little memory; only where the sums are not
//! the same are the lines held against one another.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::account::Shared;
use super::parts::{Part, parts};
use crate::frame::RunId;
use crate::manifest::{FILE_NAME, Manifest, ManifestError, Ranges, Record, Text};
use crate::store::{Directory, FileId};

/// Sequences that are summed up together.
const TOGETHER: u64 = 1_024;
/// Lines that are held against one another, at 48 bytes each. Of what is beyond, so many sequences as are summed up
/// together count for one.
const MOST_LINES: usize = 1_000_000;

/// A source that has frames of a run of which another has some, too.
pub(super) struct Holder<'a> {
    pub(super) id: FileId,
    pub(super) folder: &'a Directory,
    pub(super) path: &'a Path,
    /// What it has of each run.
    pub(super) stored: HashMap<RunId, Ranges>,
}

/// By the sources and their runs.
pub(super) type AllShared = HashMap<(FileId, RunId), Shared>;

/// Some sequences of a run, in a row.
type Stretch = (RunId, u64);

/// What the lines of a stretch come to, and how many they are.
type Sum = (u128, u64);

/// What is in several of these sources. One that cannot be read has nothing here, and says so when it is verified.
pub(super) fn shared(holders: &[Holder<'_>]) -> AllShared {
    let several = in_several(holders);
    let mut all = AllShared::new();
    if several.is_empty() {
        return all;
    }
    let (mut sums, mut unlike) = (HashMap::<Stretch, Sum>::new(), HashSet::new());
    let mut own: Vec<HashMap<Stretch, Sum>> = Vec::new();
    for holder in holders {
        let mut sum = HashMap::<Stretch, Sum>::new();
        let _ = holder.read(&several, &mut |run, record| {
            let (total, lines) = sum.entry(stretch(run, record)).or_default();
            *total = total.wrapping_add(mixed(record));
            *lines += 1;
        });
        for (stretch, sum) in &sum {
            if *sums.entry(*stretch).or_insert(*sum) != *sum {
                unlike.insert(*stretch);
            }
        }
        own.push(sum);
    }
    let in_detail = few_of(&unlike, &own);
    for (holder, sums) in holders.iter().zip(&own) {
        for ((run, at), (_, lines)) in sums {
            let shared = all.entry((holder.id, *run)).or_default();
            match unlike.contains(&(*run, *at)) {
                false => shared.copies += lines,
                true if !in_detail.contains(&(*run, *at)) => shared.differ += 1,
                true => {}
            }
        }
    }
    hold_together(holders, &several, &in_detail, &mut all);
    all
}

/// The sequences of each run that more than one source has.
fn in_several(holders: &[Holder<'_>]) -> HashMap<RunId, Ranges> {
    let (mut seen, mut several) = (HashMap::<RunId, Ranges>::new(), HashMap::new());
    for (run, stored) in holders.iter().flat_map(|holder| &holder.stored) {
        let Some(seen) = seen.get_mut(run) else {
            seen.insert(*run, stored.clone());
            continue;
        };
        let mut both: Ranges = several.remove(run).unwrap_or_default();
        if seen.is_too_scattered() || stored.is_too_scattered() {
            // Which they are is not known: all lines are looked at.
            both.insert(0, u64::MAX);
        }
        stored.iter().for_each(|(first, last)| {
            let mut next = Some(first);
            for (gap, end) in seen.gaps(first, last) {
                if let Some(from) = next.filter(|from| *from < gap) {
                    both.insert(from, gap - 1);
                }
                next = end.checked_add(1);
            }
            if let Some(from) = next.filter(|from| *from <= last) {
                both.insert(from, last);
            }
        });
        seen.extend(stored);
        if both.count() > 0 {
            several.insert(*run, both);
        }
    }
    several
}

/// Those stretches whose lines are not too many.
fn few_of(unlike: &HashSet<Stretch>, own: &[HashMap<Stretch, Sum>]) -> HashSet<Stretch> {
    let mut lines = 0;
    let mut sorted: Vec<_> = unlike.iter().copied().collect();
    sorted.sort_unstable();
    sorted.retain(|stretch| {
        let of = own.iter().filter_map(|sums| sums.get(stretch)).map(|(_, lines)| *lines);
        lines += usize::try_from(of.sum::<u64>()).unwrap_or(usize::MAX);
        lines <= MOST_LINES
    });
    sorted.into_iter().collect()
}

/// Holds the lines of these stretches against one another.
fn hold_together(
    holders: &[Holder<'_>],
    several: &HashMap<RunId, Ranges>,
    stretches: &HashSet<Stretch>,
    all: &mut AllShared,
) {
    let mut lines: Vec<(RunId, u64, u128, usize)> = Vec::new();
    for (place, holder) in holders.iter().enumerate().filter(|_| !stretches.is_empty()) {
        let _ = holder.read(several, &mut |run, record| {
            if stretches.contains(&stretch(run, record)) && lines.len() < 2 * MOST_LINES {
                lines.push((run, record.sequence.0, content(record), place));
            }
        });
    }
    lines.sort_unstable();
    for of_one in lines.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
        let (run, _, content, place) = of_one[0];
        let is_elsewhere = of_one.iter().any(|line| line.3 != place);
        let is_same = of_one.iter().all(|line| line.2 == content);
        for line in of_one.iter().filter(|_| is_elsewhere) {
            let shared = all.entry((holders[line.3].id, run)).or_default();
            match is_same {
                true => shared.copies += 1,
                false => shared.differ += 1,
            }
        }
    }
}

fn stretch(run: RunId, record: &Record) -> Stretch {
    (run, record.sequence.0 / TOGETHER)
}

/// What a frame's content is known by here.
fn content(record: &Record) -> u128 {
    begin_of(&record.blake3)
}

/// Its content and its sequence as one number, so that contents that have changed places have another sum.
fn mixed(record: &Record) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(record.blake3.as_bytes()).update(&record.sequence.0.to_le_bytes());
    begin_of(&hasher.finalize())
}

fn begin_of(hash: &blake3::Hash) -> u128 {
    hash.as_bytes()[..16].iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

impl Holder<'_> {
    /// Visits the lines that count, of these frames.
    fn read(
        &self,
        wanted: &HashMap<RunId, Ranges>,
        visit: &mut dyn FnMut(RunId, &Record),
    ) -> Result<(), ManifestError> {
        for part in parts(self.folder, self.path).unwrap_or_default() {
            if !has_some(&part, wanted) {
                continue;
            }
            let path = part.path.join(FILE_NAME);
            let Ok(file) = part.folder.open_file(FILE_NAME) else { continue };
            let (manifest, _) = Manifest::read(file, &path)?;
            let mut lines = manifest.lines()?;
            while let Ok(Some(line)) = lines.next_line() {
                let (Text::Whole(text) | Text::Unfinished(text)) = line.text else { continue };
                let Ok(record) = Record::parse(text) else { continue };
                let Some(run) = record.run else { continue };
                let is_wanted = wanted.get(&run).is_some_and(|of| of.contains(record.sequence.0));
                if is_wanted && manifest.is_current(&record.name, line.offset) {
                    visit(run, &record);
                }
            }
        }
        Ok(())
    }
}

/// Whether a part can have some of these frames, as far as its index tells.
fn has_some(part: &Part, wanted: &HashMap<RunId, Ranges>) -> bool {
    let Some(resting) = &part.resting else { return true };
    let summary = resting.summary();
    let has = |(run, of): (&RunId, &Ranges)| {
        summary.runs.get(run).is_some_and(|there| there.count_beside(of) < there.count())
    };
    !summary.knows_runs() || wanted.iter().any(has)
}
