//! One source's folder, open for storing, whatever others do to it meanwhile; and what becomes of its old days.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::account::{LeftBehind, stored_before};
use super::batch::Batch;
use super::belief::StoredInfo;
use super::contract::{Held, Note, Offered, Opener, Outcome, Reading, ReceivedFrame};
use super::error::{FrameError, StoreError};
use super::footing::Footing;
use super::layout::Part;
use super::options::StoreOptions;
use super::remembered::Seen;
use super::removal::Removal;
use super::root::Root;
use super::said::Said;
use super::standing::{Names, Standing};
use crate::frame::{FrameName, RunId, Sequence, SourceName, UnixNanos};
use crate::manifest::{Day, Entry, Opened, Range, Record};

/// How often a folder is opened anew for one call. Somebody may move it away just then, but not all the time.
const ATTEMPTS: usize = 4;

/// An open source's folder.
///
/// Before each batch, and again before it is confirmed, the store's folder, the source's, its manifest and its
/// ledger are known to be the ones at their paths. Where one is not, everything is opened anew, and what had not
/// been confirmed is stored there.
#[derive(Debug)]
pub(super) struct Seat {
    root: Arc<Root>,
    source: SourceName,
    options: StoreOptions,
    /// `None` after something could not be opened anew.
    footing: Option<Box<Footing>>,
    /// What the next ledger has to say of the runs that go on.
    left_behind: Vec<LeftBehind>,
    /// Whose the source was before its folder was taken away.
    left_owner: Option<Opener>,
    said: Said,
}

impl Seat {
    pub(super) fn open(
        root: Arc<Root>,
        source: &SourceName,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let footing = Some(Box::new(Footing::open(&root, source, options)?));
        let (source, said) = (source.clone(), Said::default());
        let (left_behind, left_owner) = (Vec::new(), None);
        Ok(Self { root, source, options, footing, left_behind, left_owner, said })
    }

    /// What was found, and put right, when the source was opened.
    pub(super) fn opened(&self) -> Option<&Opened> {
        self.footing.as_ref().map(|footing| &footing.opened)
    }

    /// How many frames have a line in the manifest.
    pub(super) fn frames(&self) -> u64 {
        self.footing.as_ref().map_or(0, |footing| footing.volumes.frames())
    }

    /// How many of them have not expired.
    pub(super) fn frames_left(&self) -> u64 {
        let Some(Footing { volumes, account, .. }) = self.footing.as_deref() else { return 0 };
        match account.expired.is_empty() {
            true => volumes.frames(),
            false => {
                volumes.frames_left(|day| account.expired.of(day).map_or(0, |gone| gone.frames))
            }
        }
    }

    /// What is stored under `name`; `None` if the frame has to be sent. Fastest in the order in
    /// which the frames were stored.
    ///
    /// # Errors
    /// Where the source or its manifest cannot be read.
    pub(super) fn lookup(&mut self, name: &FrameName) -> Result<Option<StoredInfo>, FrameError> {
        let frame = format!("{}/{name}", self.source);
        let source = self.source.clone();
        let footing = self.stand().map_err(|error| FrameError::from_source(frame, &error))?;
        Ok(match (Names { footing, source: &source }).standing(name)? {
            Standing::Stored(record) => Some(info(&record)),
            Standing::Expired(_) | Standing::Altered | Standing::Open => None,
        })
    }

    /// Stores frames and says what became of each, in their order. When this returns, a stored
    /// frame has its file and its line, both at their paths; in durable mode they are on the medium.
    ///
    /// A frame that fails leaves nothing of itself behind and does not keep the others from being
    /// stored, except where the manifest cannot be appended to: then all of its batch fail, and
    /// the files that it made are removed again.
    pub(super) fn store_batch(&mut self, frames: &[ReceivedFrame]) -> Vec<Outcome> {
        let Some(first) = frames.first() else { return Vec::new() };
        let (root, source, options) = (self.root.clone(), self.source.clone(), self.options);
        let stored = self.firmly(Some(&first.from), |footing| {
            Ok(Batch::on(&root, footing, &source, options).store(frames))
        });
        stored.unwrap_or_else(|error| {
            let failed = |received: &ReceivedFrame| {
                let frame = format!("{}/{}", self.source, received.frame.meta.name);
                Outcome::Failed(FrameError::from_source(frame, &error))
            };
            frames.iter().map(failed).collect()
        })
    }

    /// Does something on a footing that is in place before and afterwards; does it again on a new one, where it is
    /// not.
    fn firmly<T>(
        &mut self,
        opener: Option<&Opener>,
        mut act: impl FnMut(&mut Footing) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let root = self.root.clone();
        for _ in 0..ATTEMPTS {
            let footing = self.stand_for(opener)?;
            // A new folder is the first comer's. Of one that is another's its frames are refused one by one.
            if let Some(opener) = opener.filter(|opener| footing.account.permits(opener)) {
                footing.admit(opener)?;
            }
            let done = act(footing);
            if footing.is_in_place(&root) {
                return done;
            }
        }
        let path = self.root.path().join(self.source.as_str());
        Err(StoreError::Unsteady { path })
    }

    /// The footing, opened anew where it is not in place any more.
    fn stand(&mut self) -> Result<&mut Footing, StoreError> {
        self.stand_for(None)
    }

    fn stand_for(&mut self, opener: Option<&Opener>) -> Result<&mut Footing, StoreError> {
        if self.footing.as_ref().is_none_or(|footing| !footing.is_in_place(&self.root)) {
            self.leave();
            let path = self.root.path().join(self.source.as_str());
            let opened = self.stand_anew(opener);
            match &opened {
                Ok(_) => self.said.over(&path.display()),
                Err(error) => self.said.trouble(&path.display(), error),
            }
            self.footing = Some(Box::new(opened?));
        }
        Ok(self.footing.as_mut().expect("it was opened just now"))
    }

    /// Leaves a footing that is not in place.
    fn leave(&mut self) {
        // Before it is opened again: it gives its locks back.
        if let Some(old) = self.footing.take() {
            self.left_behind = old.account.left_behind();
            self.left_owner = old.account.owner().cloned();
            tracing::warn!(
                "{} was moved, deleted or replaced while it was in use; going on in what is there now",
                self.root.path().join(self.source.as_str()).display()
            );
        }
    }

    /// Looks at the days that are not written now as well, which is too much to do with each batch.
    fn look_at_all_days(&mut self) {
        let footing = self.footing.as_deref();
        if footing.is_some_and(|footing| !footing.volumes.are_all_there(&footing.folder)) {
            self.leave();
        }
    }

    fn stand_anew(&mut self, opener: Option<&Opener>) -> Result<Footing, StoreError> {
        let mut footing = Footing::open(&self.root, &self.source, self.options)?;
        // The line of its owner is the first of a ledger: of the first comer, or where nobody has come yet and there is
        // something to say of what was taken away, of whoever had that.
        let owner = opener.or(self.left_owner.as_ref());
        if let Some(owner) = owner.filter(|_| footing.account.source.is_none()) {
            footing.admit(owner)?;
        }
        // Where only a day or a file was taken away, the ledger is there and says the rest already.
        let entries = footing.account.taken_away(&self.left_behind);
        footing.note(&entries)?;
        self.left_behind.clear();
        self.left_owner = None;
        Ok(footing)
    }

    fn begin(&mut self, run: RunId, entry: Entry) -> Result<(), StoreError> {
        self.firmly(None, |footing| {
            if footing.account.knows(run) {
                return Ok(());
            }
            Ok(footing.note(std::slice::from_ref(&entry))?)
        })
    }
}

impl Seat {
    pub(super) fn admit(&mut self, opener: &Opener) -> Result<(), StoreError> {
        self.look_at_all_days();
        self.firmly(None, |footing| footing.admit(opener))
    }

    pub(super) fn unread(&mut self, offered: &[Offered<'_>]) -> Vec<Reading> {
        let source = self.source.clone();
        // What goes wrong here goes wrong when it is looked up, and is told then.
        let Ok(footing) = self.stand() else { return Vec::new() };
        let mut names = Names { footing, source: &source };
        offered.iter().filter_map(|offered| names.unread(offered.name, offered.bytes)).collect()
    }

    pub(super) fn has_read(&mut self, reading: Reading) {
        if let (Some(footing), Some(Some(seen))) =
            (&mut self.footing, reading.found::<Option<Seen>>())
        {
            footing.remembered.take(seen);
        }
    }

    pub(super) fn look_up(
        &mut self,
        asker: &Opener,
        offered: &[Offered<'_>],
        listening: &dyn Fn() -> bool,
    ) -> Vec<Held> {
        let (source, run) = (self.source.clone(), asker.run);
        let looked_up = self.firmly(None, |footing| {
            let (mut held, mut before) = (Vec::with_capacity(offered.len()), Vec::new());
            let mut failed = None;
            for offered in offered {
                if !listening() {
                    break;
                }
                let standing = Names { footing, source: &source }.standing(offered.name);
                held.push(match standing {
                    Ok(Standing::Stored(record)) => {
                        let is = info(&record).compare(asker, offered);
                        if is == Held::Same {
                            before.extend(stored_before(run, &record, offered.sequence.0));
                        }
                        is
                    }
                    Ok(Standing::Expired(record)) => match info(&record).compare(asker, offered) {
                        Held::Same => {
                            before.extend(stored_before(run, &record, offered.sequence.0));
                            Held::Expired
                        }
                        Held::NeedsHash => Held::NeedsHash,
                        // Another frame of that name, which is free.
                        _ => Held::Nothing,
                    },
                    Ok(_) => Held::Nothing,
                    Err(error) => {
                        failed = Some(error);
                        Held::Nothing
                    }
                });
            }
            // Before the sender hears of it, because it will not speak of these frames again.
            footing.note(&before)?;
            Ok((held, failed))
        });
        let (held, failed) = match looked_up {
            Ok((held, failed)) => (held, failed.map(|error| error.to_string())),
            Err(error) => (vec![Held::Nothing; offered.len()], Some(error.to_string())),
        };
        let what = format!("source {}: cannot look up frames on offer", self.source);
        match failed {
            Some(error) => self.said.trouble(&what, &error),
            None => self.said.over(&what),
        }
        held
    }

    pub(super) fn note(&mut self, from: &Opener, notes: &[Note]) -> Result<(), StoreError> {
        let sender = || from.pin.as_deref().map(str::to_owned);
        for note in notes {
            match *note {
                Note::Began { run, at, endless, live, first } => {
                    let next = self.last_sequence().and_then(|last| last.0.checked_add(1));
                    let told = first.map(|first| first.0);
                    let first = if endless { told.or(next).unwrap_or(0) } else { 0 };
                    self.begin(
                        run,
                        Entry::Began { run, at, first, endless, live, sender: sender() },
                    )?;
                }
                Note::Dropped { run, ref ranges, place } => {
                    let entries: Vec<_> = ranges
                        .iter()
                        .filter(|dropped| dropped.count > 0)
                        .map(|dropped| Entry::Dropped {
                            run,
                            range: Range { first: dropped.first.0, last: dropped.last().0 },
                            reason: Some(dropped.reason),
                            place,
                            captured: dropped.captured,
                        })
                        .collect();
                    self.firmly(Some(from), |footing| Ok(footing.note(&entries)?))?;
                }
                Note::Ended { run, at, first, captured } => {
                    self.look_at_all_days();
                    self.firmly(Some(from), |footing| {
                        if footing.account.has_ended(run) {
                            return Ok(()); // said over another connection as well
                        }
                        let resumed = footing.account.resumed_by(run).into_iter();
                        let mut entries: Vec<_> = resumed
                            .map(|earlier| Entry::ResumedBy { run: earlier, by: run })
                            .collect();
                        let first = first.map(|first| first.0);
                        entries.push(Entry::Ended { run, at, first, captured });
                        Ok(footing.note(&entries)?)
                    })?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn goes_on_from(&mut self, run: RunId) -> Option<Sequence> {
        self.footing.as_ref()?.account.goes_on_from(run)
    }

    pub(super) fn last_sequence(&mut self) -> Option<Sequence> {
        let footing = self.footing.as_ref()?;
        footing.volumes.last_sequence().max(footing.account.last_sequence())
    }
}

/// What a source has of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DayStock {
    pub(super) day: Day,
    /// Frames that have not expired, and their bytes.
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) lines: u64,
    pub(super) last_stored: UnixNanos,
    /// When it was declared to have expired, where not all is removed.
    pub(super) pending: Option<UnixNanos>,
    /// A day of its own, of which all frames have expired and are removed.
    pub(super) has_only_records: bool,
}

/// Old days.
impl Seat {
    /// What the source has, by days.
    pub(super) fn stock(&self) -> Vec<DayStock> {
        let Some(footing) = &self.footing else { return Vec::new() };
        let mut days: BTreeMap<Day, DayStock> = BTreeMap::new();
        for (part, day, total) in footing.volumes.days() {
            let stock = days.entry(day).or_insert(DayStock {
                day,
                frames: 0,
                bytes: 0,
                lines: 0,
                last_stored: UnixNanos(0),
                pending: None,
                has_only_records: true,
            });
            stock.frames += total.last_of_name();
            stock.bytes = stock.bytes.saturating_add(total.bytes);
            stock.lines += total.frames;
            stock.last_stored = stock.last_stored.max(UnixNanos(total.last_stored));
            stock.has_only_records &= part != Part::Whole;
        }
        for stock in days.values_mut() {
            let gone = footing.account.expired.of(stock.day);
            // Records that alone tell which frames there were stay.
            stock.has_only_records = stock.has_only_records
                && gone.is_some_and(|gone| gone.is_removed)
                && footing.volumes.knows_runs(stock.day);
            let Some(gone) = gone else { continue };
            stock.frames = stock.frames.saturating_sub(gone.frames);
            stock.bytes = stock.bytes.saturating_sub(gone.bytes);
            stock.pending = (!gone.is_removed).then_some(gone.until);
        }
        days.into_values().collect()
    }

    /// Declares a day to have expired, in the ledger and on the medium, unless that was done before; what is to be
    /// removed then.
    pub(super) fn expire(&mut self, day: Day) -> Result<Removal, StoreError> {
        let (root, now) = (self.root.clone(), (self.options.clock)());
        self.firmly(None, |footing| {
            let (until, declared) = match footing.account.expired.of(day) {
                Some(gone) if !gone.is_removed => (gone.until, gone.bytes),
                _ => {
                    let totals = || footing.volumes.days().filter(|(_, other, _)| *other == day);
                    let frames = totals().map(|(_, _, total)| total.last_of_name()).sum();
                    let bytes = totals().map(|(_, _, total)| total.bytes).sum();
                    // All that is counted goes, also what was stored by a clock that has been set back since.
                    let last = totals().map(|(_, _, total)| UnixNanos(total.last_stored)).max();
                    let at = now.max(last.unwrap_or(now));
                    footing.note_firmly(&[Entry::DayExpired { day, at, frames, bytes }])?;
                    (at, bytes)
                }
            };
            let removable = footing.volumes.put_to_rest(day);
            let root = root.clone();
            Ok(Removal { root, day, until, removable, declared, frames: 0, bytes: 0, left: 0 })
        })
    }

    /// Notes that all that a day had is removed.
    pub(super) fn expired(&mut self, removal: &Removal) -> Result<(), StoreError> {
        let Removal { day, frames, left, .. } = *removal;
        let at = (self.options.clock)();
        self.firmly(None, |footing| {
            Ok(footing.note_firmly(&[Entry::DayRemoved { day, at, frames, left }])?)
        })
    }

    /// Whether this is the last line of its name.
    pub(super) fn is_last(&mut self, record: &Record) -> Result<bool, StoreError> {
        let Footing { volumes, folder, .. } = self.stand()?;
        let found = volumes.find(folder, &record.name, &|_, _| false)?;
        Ok(found.is_some_and(|found| found.record == *record))
    }

    /// Removes the records of a day that has expired, whose sequences the ledger has from then on.
    pub(super) fn fold(&mut self, day: Day) -> Result<(), StoreError> {
        let at = (self.options.clock)();
        self.firmly(None, |footing| {
            let runs = footing.volumes.runs(day);
            let entries: Vec<_> = runs
                .iter()
                .flat_map(|(run, ranges)| {
                    let of = |(first, last)| Entry::Expired {
                        run: *run,
                        range: Range { first, last },
                        at,
                    };
                    ranges.iter().map(of).collect::<Vec<_>>()
                })
                .collect();
            footing.note_firmly(&entries)?;
            let Footing { volumes, folder, .. } = &mut *footing;
            volumes.remove_records(folder, day)
        })
    }
}

fn info(record: &Record) -> StoredInfo {
    StoredInfo {
        bytes: record.bytes,
        hash: record.blake3,
        modified: record.modified,
        sequence: record.sequence,
        from: Opener::with_pin(record.sender.as_deref()),
    }
}
