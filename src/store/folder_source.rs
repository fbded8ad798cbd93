//! One source's folder, open for storing, whatever others do to it meanwhile.

use std::sync::Arc;

use super::account::{LeftBehind, stored_before};
use super::batch::Batch;
use super::belief::StoredInfo;
use super::contract::{Held, Note, Offered, OpenSource, Opener, Outcome, Reading, ReceivedFrame};
use super::error::{FrameError, StoreError};
use super::footing::Footing;
use super::options::StoreOptions;
use super::remembered::Seen;
use super::root::Root;
use super::said::Said;
use super::standing::{Names, Standing};
use crate::frame::{FrameName, RunId, Sequence, SourceName};
use crate::manifest::{Entry, Opened, Range, Record};

/// How often a folder is opened anew for one call. Somebody may move it away just then, but not all the time.
const ATTEMPTS: usize = 4;

/// One source of a [`FolderStore`](super::FolderStore), open for storing. All calls block on the file system.
///
/// Before each batch, and again before it is confirmed, the store's folder, the source's, its manifest and its
/// ledger are known to be the ones at their paths. Where one is not, everything is opened anew, and what had not
/// been confirmed is stored there.
#[derive(Debug)]
pub struct FolderSource {
    root: Arc<Root>,
    source: SourceName,
    options: StoreOptions,
    /// `None` after something could not be opened anew.
    footing: Option<Box<Footing>>,
    /// What the next ledger has to say of the runs that go on.
    left_behind: Vec<LeftBehind>,
    said: Said,
}

impl FolderSource {
    pub(super) fn open(
        root: Arc<Root>,
        source: &SourceName,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let footing = Some(Box::new(Footing::open(&root, source, options)?));
        let (source, said) = (source.clone(), Said::default());
        Ok(Self { root, source, options, footing, left_behind: Vec::new(), said })
    }

    /// What was found, and put right, when the source was opened.
    pub fn opened(&self) -> Option<&Opened> {
        self.footing.as_ref().map(|footing| &footing.opened)
    }

    /// How many frames have a line in the manifest.
    pub fn frames(&self) -> u64 {
        self.footing.as_ref().map_or(0, |footing| footing.volumes.frames())
    }

    /// What is stored under `name`; `None` if the frame has to be sent. Fastest in the order in
    /// which the frames were stored.
    ///
    /// # Errors
    /// Where the source or its manifest cannot be read.
    pub fn lookup(&mut self, name: &FrameName) -> Result<Option<StoredInfo>, FrameError> {
        let frame = format!("{}/{name}", self.source);
        let source = self.source.clone();
        let footing = self.stand().map_err(|error| FrameError::from_source(frame, &error))?;
        Ok(match (Names { footing, source: &source }).standing(name)? {
            Standing::Stored(record) => Some(info(&record)),
            Standing::Altered | Standing::Open => None,
        })
    }

    /// Stores frames and says what became of each, in their order. When this returns, a stored
    /// frame has its file and its line, both at their paths; in durable mode they are on the medium.
    ///
    /// A frame that fails leaves nothing of itself behind and does not keep the others from being
    /// stored, except where the manifest cannot be appended to: then all of its batch fail, and
    /// the files that it made are removed again.
    pub fn store_batch(&mut self, frames: &[ReceivedFrame]) -> Vec<Outcome> {
        let Some(first) = frames.first() else { return Vec::new() };
        let (source, options) = (self.source.clone(), self.options);
        let stored = self.firmly(Some(&first.from), |footing| {
            Ok(Batch::on(footing, &source, options).store(frames))
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
            let footing = self.stand()?;
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
        if self.footing.as_ref().is_none_or(|footing| !footing.is_in_place(&self.root)) {
            let path = self.root.path().join(self.source.as_str());
            if let Some(old) = self.footing.take() {
                self.left_behind = old.account.left_behind();
                tracing::warn!(
                    "{} was moved, deleted or replaced while it was in use; going on in what is there now",
                    path.display()
                );
                // Before it is opened again: it gives its locks back.
                drop(old);
            }
            let opened = self.stand_anew();
            match &opened {
                Ok(_) => self.said.over(&path.display()),
                Err(error) => self.said.trouble(&path.display(), error),
            }
            self.footing = Some(Box::new(opened?));
        }
        Ok(self.footing.as_mut().expect("it was opened just now"))
    }

    fn stand_anew(&mut self) -> Result<Footing, StoreError> {
        let mut footing = Footing::open(&self.root, &self.source, self.options)?;
        // Where only a day or a file was taken away, the ledger is there and says the rest already.
        let entries = footing.account.taken_away(&self.left_behind);
        footing.note(&entries)?;
        self.left_behind.clear();
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

impl OpenSource for FolderSource {
    fn admit(&mut self, opener: &Opener) -> Result<(), StoreError> {
        self.firmly(None, |footing| footing.admit(opener))
    }

    fn unread(&mut self, offered: &[Offered<'_>]) -> Vec<Reading> {
        let source = self.source.clone();
        // What goes wrong here goes wrong when it is looked up, and is told then.
        let Ok(footing) = self.stand() else { return Vec::new() };
        let mut names = Names { footing, source: &source };
        offered.iter().filter_map(|offered| names.unread(offered.name, offered.bytes)).collect()
    }

    fn has_read(&mut self, reading: Reading) {
        if let (Some(footing), Some(Some(seen))) =
            (&mut self.footing, reading.found::<Option<Seen>>())
        {
            footing.remembered.take(seen);
        }
    }

    fn look_up(
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

    fn store(&mut self, frames: &[ReceivedFrame]) -> Vec<Outcome> {
        self.store_batch(frames)
    }

    fn note(&mut self, from: &Opener, notes: &[Note]) -> Result<(), StoreError> {
        let sender = || from.pin.as_deref().map(str::to_owned);
        for note in notes {
            match *note {
                Note::Began { run, at, endless, live } => {
                    let next = self.last_sequence().and_then(|last| last.0.checked_add(1));
                    let first = if endless { next.unwrap_or(0) } else { 0 };
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
                Note::Ended { run, at, captured } => self.firmly(Some(from), |footing| {
                    let resumed = footing.account.resumed_by(run).into_iter();
                    let mut entries: Vec<_> =
                        resumed.map(|earlier| Entry::ResumedBy { run: earlier, by: run }).collect();
                    entries.push(Entry::Ended { run, at, captured });
                    Ok(footing.note(&entries)?)
                })?,
            }
        }
        Ok(())
    }

    fn last_sequence(&mut self) -> Option<Sequence> {
        let footing = self.footing.as_ref()?;
        footing.volumes.last_sequence().max(footing.account.last_sequence())
    }

    fn held(&mut self) -> Option<u64> {
        Some(self.frames())
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
