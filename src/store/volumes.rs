//! The manifests of a source, each with its folder: one for the source itself, one for each day, as its layout is
//! or once was. A name is in one of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::directory::{Directory, FileId, Kind, Look};
use super::error::StoreError;
use super::layout::{Layout, Part};
use super::options::StoreOptions;
use crate::frame::{FrameName, RunId, Sequence};
use crate::manifest::{
    Day, DayTotal, FILE_NAME, INDEX_NAME, INDEX_PART_NAME, Listed, MAX_LINE_BYTES, Manifest,
    Opened, Ranges, Record, Resting, Summary,
};

/// Days that are open at once: today, yesterday, and what comes late.
const MAX_OPEN: usize = 4;
/// Memory for the names of days that are not open. Of those beyond, what was asked for the longest ago is read again.
const NAMES_BYTES: usize = 48 << 20;

/// All manifests of a source.
#[derive(Debug)]
pub(super) struct Volumes {
    /// The source's folder, for messages.
    path: PathBuf,
    options: StoreOptions,
    whole: Option<Volume>,
    /// The last used last.
    open: Vec<Volume>,
    resting: BTreeMap<Day, Rested>,
    /// One of those was found to have been taken away.
    is_one_gone: bool,
    uses: u64,
}

/// An open manifest and its folder.
#[derive(Debug)]
pub(super) struct Volume {
    part: Part,
    pub(super) folder: Arc<Directory>,
    pub(super) manifest: Manifest,
    folder_id: FileId,
    pub(super) manifest_id: FileId,
    /// It was closed before, and may be one of many days whose frames come in turn.
    was_closed: bool,
}

/// One that is closed.
#[derive(Debug)]
struct Rested {
    /// Where its index could not be written, what its lines come to: it is opened for each name then.
    manifest: Result<Resting, Box<Summary>>,
    used: u64,
}

/// A frame's line, and the part of the source that it is in.
pub(super) struct Found {
    pub(super) part: Part,
    pub(super) folder: Arc<Directory>,
    pub(super) record: Record,
}

/// Why a part does not open.
type Failed = StoreError;

/// A part of a source in which there are frames to be removed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Removable {
    /// The day whose folder it is; `None` for the source's own.
    pub(super) day: Option<Day>,
    /// The lines to look at: from here to there in its manifest.
    pub(super) next: u64,
    pub(super) end: u64,
}

impl Volumes {
    /// Finds all manifests in a source's folder, and puts right what a crash left.
    pub(super) fn open(
        top: &Directory,
        path: &Path,
        options: StoreOptions,
    ) -> Result<(Self, Opened), Failed> {
        let failed = |doing, cause| StoreError::Io { doing, path: path.to_owned(), cause };
        let mut volumes = Self {
            path: path.to_owned(),
            options,
            whole: None,
            open: Vec::new(),
            resting: BTreeMap::new(),
            is_one_gone: false,
            uses: 0,
        };
        let mut opened = Opened { torn_bytes: 0, bad_lines: Listed::new(100) };
        let is_there = top.look(FILE_NAME).map_err(|cause| failed("look into", cause))?.is_some();
        if options.layout == Layout::Flat || is_there {
            let (volume, found) = volumes.open_part(top, Part::Whole)?;
            volumes.whole = Some(volume);
            opened = found;
        }
        for day in days(top).map_err(|cause| failed("look into", cause))? {
            volumes.find_day(top, day, &mut opened)?;
        }
        Ok((volumes, opened))
    }

    /// Takes a day in that is there. Where its index tells all, its lines are not read.
    fn find_day(&mut self, top: &Directory, day: Day, opened: &mut Opened) -> Result<(), Failed> {
        let found = self.load_resting(top, day);
        let manifest = match found {
            Some(resting) => Ok(resting),
            None => {
                let (volume, found) = self.open_part(top, Part::Of(day))?;
                opened.torn_bytes += found.torn_bytes;
                opened.bad_lines.append(found.bad_lines);
                volume.manifest.rest()
            }
        };
        self.resting.insert(day, Rested { manifest, used: 0 });
        Ok(())
    }

    fn load_resting(&self, top: &Directory, day: Day) -> Option<Resting> {
        let folder = top.folder(&day.to_string()).ok()?;
        // Of a receiver that was killed while it made one. A day whose index is whole is not opened for that.
        let _ = folder.remove(INDEX_PART_NAME);
        Resting::load(&folder, &folder.open_file(FILE_NAME).ok()?)
    }

    /// The line of a name, and where it is. The last days are asked first. Of a name that has several, because one is
    /// of a frame that `is_gone`, the other one is found.
    pub(super) fn find(
        &mut self,
        top: &Directory,
        name: &FrameName,
        is_gone: &dyn Fn(Part, &Record) -> bool,
    ) -> Result<Option<Found>, Failed> {
        let mut gone = None;
        let mut is_it = |found: Option<Found>| match found {
            Some(found) if is_gone(found.part, &found.record) => {
                gone.get_or_insert(found);
                None
            }
            found => found,
        };
        for at in (0..self.open.len()).rev() {
            if let Some(found) = is_it(self.open[at].find(name)?) {
                return Ok(Some(found));
            }
        }
        for day in self.candidates(top, name) {
            if let Some(volume) = self.volume(top, Part::Of(day), false)?
                && let Some(found) = is_it(volume.find(name)?)
            {
                return Ok(Some(found));
            }
        }
        if let Some(whole) = &mut self.whole
            && let Some(found) = is_it(whole.find(name)?)
        {
            return Ok(Some(found));
        }
        Ok(gone)
    }

    /// Days that are at rest and may have a name, the last first.
    fn candidates(&mut self, top: &Directory, name: &FrameName) -> Vec<Day> {
        let mut candidates = Vec::new();
        for (&day, rested) in self.resting.iter_mut().rev() {
            let Ok(resting) = &mut rested.manifest else {
                candidates.push(day);
                continue;
            };
            let folder = || Ok::<_, io::Error>(top.folder(&day.to_string())?);
            let had = resting.memory_bytes();
            // What cannot be asked is looked into.
            if resting.may_have(name, folder).unwrap_or(true) {
                candidates.push(day);
            }
            if had != resting.memory_bytes() {
                self.uses += 1;
                rested.used = self.uses;
            }
        }
        self.bound_names();
        candidates
    }

    /// A part of the source, open. A day that is not there is made, if that is wanted; else there is none.
    pub(super) fn volume(
        &mut self,
        top: &Directory,
        part: Part,
        make: bool,
    ) -> Result<Option<&mut Volume>, Failed> {
        let Part::Of(day) = part else {
            if self.whole.is_none() && make {
                self.whole = Some(self.open_part(top, part)?.0);
            }
            return Ok(self.whole.as_mut());
        };
        if let Some(at) = self.open.iter().position(|volume| volume.part == part) {
            let volume = self.open.remove(at);
            self.open.push(volume);
            return Ok(self.open.last_mut());
        }
        if !is_day(top, day) {
            // It was taken away, where it was there.
            self.is_one_gone |= self.resting.remove(&day).is_some();
            if !make {
                return Ok(None);
            }
        }
        if self.open.len() >= MAX_OPEN {
            self.close(0);
        }
        let (mut volume, _) = self.open_part(top, part)?;
        volume.was_closed = self.resting.remove(&day).is_some();
        self.open.push(volume);
        Ok(self.open.last_mut())
    }

    /// Puts an open day to rest.
    fn close(&mut self, at: usize) {
        let volume = self.open.remove(at);
        if let Part::Of(day) = volume.part {
            self.uses += 1;
            let manifest = match volume.was_closed {
                true => volume.manifest.rest_for_now(),
                false => volume.manifest.rest(),
            };
            self.resting.insert(day, Rested { manifest, used: self.uses });
        }
    }

    fn open_part(&self, top: &Directory, part: Part) -> Result<(Volume, Opened), Failed> {
        let path = match part {
            Part::Whole => self.path.clone(),
            Part::Of(day) => self.path.join(day.to_string()),
        };
        let failed = |doing, cause| StoreError::Io { doing, path: path.clone(), cause };
        let folder = match part {
            Part::Whole => top.again().map_err(|cause| failed("open", cause))?,
            Part::Of(day) => {
                let name = day.to_string();
                let is_new = top.make_folder(&name).map_err(|cause| failed("make", cause))?;
                if is_new && self.options.durable {
                    top.sync_names().map_err(|cause| failed("sync", cause))?;
                }
                top.folder(&name).map_err(|cause| match cause {
                    Errno::NOTDIR => StoreError::NotAFolder { path: path.clone() },
                    cause => failed("open", cause),
                })?
            }
        };
        let file = open_record(&path, FILE_NAME, || folder.open_to_append(FILE_NAME))?;
        if self.options.durable {
            folder.sync_names().map_err(|cause| failed("sync", cause))?;
        }
        let folder_id = folder.id().map_err(|cause| failed("look at", cause))?;
        let manifest_id = Look::of_file(&file).map_err(|cause| failed("look into", cause))?.id;
        let own = folder.again().map_err(|cause| failed("open", cause))?.into();
        let (manifest, opened) = Manifest::open_in(own, file, &path.join(FILE_NAME))?;
        let (folder, was_closed) = (Arc::new(folder), false);
        let volume = Volume { part, folder, manifest, folder_id, manifest_id, was_closed };
        Ok((volume, opened))
    }

    /// Whether the folders and manifests that are open are the ones at their paths.
    pub(super) fn are_in_place(&self, top: &Directory) -> bool {
        self.whole.iter().chain(&self.open).all(|volume| volume.is_in_place(top))
    }

    /// Whether the days at rest are there. That is a look at each of them.
    pub(super) fn are_all_there(&self, top: &Directory) -> bool {
        !self.is_one_gone
            && !self.resting.keys().any(|day| matches!(top.look(&day.to_string()), Ok(None)))
    }

    /// What the lines of each part come to.
    pub(super) fn summaries(&self) -> impl Iterator<Item = (Part, &Summary)> {
        let open = self.whole.iter().chain(&self.open);
        let open = open.map(|volume| (volume.part, volume.manifest.summary()));
        let resting = self.resting.iter().map(|(&day, rested)| {
            let summary =
                rested.manifest.as_ref().map_or_else(|summary| &**summary, Resting::summary);
            (Part::Of(day), summary)
        });
        open.chain(resting)
    }

    /// What there is by days, of each part.
    pub(super) fn days(&self) -> impl Iterator<Item = (Part, Day, DayTotal)> {
        self.summaries().flat_map(|(part, summary)| {
            summary.days.iter().map(move |(&day, &total)| match part {
                Part::Whole => (part, day, total),
                Part::Of(day) => (part, day, total),
            })
        })
    }

    /// The frames of a day that has a part of its own, by runs.
    pub(super) fn runs(&self, day: Day) -> BTreeMap<RunId, Ranges> {
        self.of_day(day).map(|summary| summary.runs.clone()).unwrap_or_default()
    }

    /// Whether these are all, and not some that nobody could keep.
    pub(super) fn knows_runs(&self, day: Day) -> bool {
        self.of_day(day).is_some_and(Summary::knows_runs)
    }

    fn of_day(&self, day: Day) -> Option<&Summary> {
        let of_day = self.summaries().find(|(part, _)| *part == Part::Of(day));
        of_day.map(|(_, summary)| summary)
    }

    /// Closes a day, where it is open, and says where its frames have their lines.
    pub(super) fn put_to_rest(&mut self, day: Day) -> Vec<Removable> {
        if let Some(at) = self.open.iter().position(|volume| volume.part == Part::Of(day)) {
            self.close(at);
        }
        let whole = self.whole.as_ref().and_then(|whole| whole.manifest.summary().days.get(&day));
        // The last line is read whole: what is behind it is not of that day.
        let end = |last: u64| last + MAX_LINE_BYTES as u64;
        let of_whole =
            |total: &DayTotal| Removable { day: None, next: total.begin, end: end(total.last) };
        let of_day = Removable { day: Some(day), next: 0, end: u64::MAX };
        whole.map(of_whole).into_iter().chain([of_day]).collect()
    }

    /// Removes the records of a day, and its folder where nothing else is in it.
    pub(super) fn remove_records(&mut self, top: &Directory, day: Day) -> Result<(), Failed> {
        self.put_to_rest(day);
        self.resting.remove(&day);
        let name = day.to_string();
        let path = self.path.join(&name);
        let failed = |cause| StoreError::Io { doing: "remove the records of", path, cause };
        let removed = top.folder(&name).and_then(|folder| {
            let _ = folder.remove(INDEX_NAME);
            let _ = folder.remove(INDEX_PART_NAME);
            folder.remove(FILE_NAME)?;
            let _ = top.remove_folder(&name);
            Ok(())
        });
        match removed {
            Err(Errno::NOENT) => Ok(()),
            removed => removed.map_err(failed),
        }
    }

    /// How many frames have a line.
    pub(super) fn frames(&self) -> u64 {
        self.summaries().map(|(_, summary)| summary.frames).sum()
    }

    /// How many of them are there, where so many lines of a day have expired.
    pub(super) fn frames_left(&self, expired: impl Fn(Day) -> u64) -> u64 {
        let left = |(part, summary): (Part, &Summary)| {
            // The lines of all parts that have some of a day are counted together.
            let of_day = |(day, total): (&Day, &DayTotal)| expired(*day).min(total.last_of_name());
            let gone = match part {
                Part::Whole => summary.days.iter().map(of_day).sum(),
                Part::Of(day) => expired(day),
            };
            summary.frames.saturating_sub(gone)
        };
        self.summaries().map(left).sum()
    }

    /// The highest sequence in any line.
    pub(super) fn last_sequence(&self) -> Option<Sequence> {
        self.summaries().filter_map(|(_, summary)| summary.last_sequence).max()
    }

    fn bound_names(&mut self) {
        let held = |rested: &Rested| rested.manifest.as_ref().map_or(0, Resting::memory_bytes);
        while self.resting.values().map(held).sum::<usize>() > NAMES_BYTES {
            let holding = self.resting.values_mut().filter(|rested| held(rested) > 0);
            let Some(oldest) = holding.min_by_key(|rested| rested.used) else { return };
            oldest.manifest.iter_mut().for_each(Resting::forget);
        }
    }
}

impl Volume {
    fn find(&mut self, name: &FrameName) -> Result<Option<Found>, Failed> {
        let found = self.manifest.find(name)?;
        Ok(found.map(|record| Found { part: self.part, folder: self.folder.clone(), record }))
    }

    fn is_in_place(&self, top: &Directory) -> bool {
        let is = |folder: &Directory, name: &str, id| {
            folder.look(name).is_ok_and(|found| found.is_some_and(|found| found.id == id))
        };
        let is_there = match self.part {
            Part::Whole => true,
            Part::Of(day) => is(top, &day.to_string(), self.folder_id),
        };
        is_there && is(&self.folder, FILE_NAME, self.manifest_id)
    }
}

/// The days that have a manifest in a source's folder, the first first.
pub(crate) fn days(top: &Directory) -> Result<Vec<Day>, Errno> {
    let mut days = Vec::new();
    top.for_each_name(|name| {
        let day = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
        days.extend(day.filter(|day| is_day(top, *day)));
        Ok::<_, Errno>(())
    })?;
    days.sort_unstable();
    Ok(days)
}

/// Whether a day has a manifest. A frame's own folder can have its name, and has none.
fn is_day(top: &Directory, day: Day) -> bool {
    let folder = top.folder(&day.to_string());
    folder.is_ok_and(|folder| matches!(folder.kind(FILE_NAME), Ok(Some(Kind::File(_)))))
}

/// Opens a record of a source.
pub(super) fn open_record(
    path: &Path,
    name: &str,
    open: impl FnOnce() -> Result<File, Errno>,
) -> Result<File, StoreError> {
    let path = path.join(name);
    open().map_err(|cause| match cause {
        Errno::LOOP | Errno::MLINK | Errno::INVAL | Errno::ISDIR | Errno::NXIO => {
            StoreError::ManifestNotAFile { path }
        }
        cause => StoreError::Io { doing: "open", path, cause },
    })
}
