//! Removes the files of a day that was declared to have expired: a little at a time, from its lines, and nothing that is
//! not what a line says.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;

use super::directory::{Directory, Kind};
use super::root::Root;
use super::standing::{has_content, wrote};
use super::volumes::Removable;
use super::within::{Within, within};
use crate::frame::UnixNanos;
use crate::manifest::{Day, FILE_NAME, Lines, Record, Text};

/// What is to be removed, and how far that has come.
#[derive(Debug)]
pub(super) struct Removal {
    pub(super) root: Arc<Root>,
    pub(super) day: Day,
    /// Everything of it that was stored until then.
    pub(super) until: UnixNanos,
    pub(super) removable: Vec<Removable>,
    /// The bytes of its frames, as was declared.
    pub(super) declared: u64,
    pub(super) frames: u64,
    pub(super) bytes: u64,
    /// Files that are not what their lines say, and stay.
    pub(super) left: u64,
}

/// For how long it is gone on, and by how many threads: most of the time that a file takes to go is waiting for the file
/// system, and where that gives each block back to the disk at once (`discard`) for the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) until: Instant,
    pub(super) hands: usize,
}

/// Lines that a thread is given at once.
const AT_ONCE: usize = 64;

/// Whether the last line of a name is the one that was stored at this time. An error ends the removal, which is not done.
pub(super) type IsLast<'a> = &'a mut dyn FnMut(&Record) -> Result<bool, Errno>;

impl Removal {
    /// About the bytes that are still to be removed.
    pub(super) fn rest(&self) -> u64 {
        self.declared.saturating_sub(self.bytes)
    }

    /// Goes on for a while; whether all is done.
    pub(super) fn go_on(
        &mut self,
        source: &Directory,
        pace: Pace,
        is_last: IsLast<'_>,
    ) -> Result<bool, Errno> {
        while let Some(part) = self.removable.last().copied() {
            let name = part.day.map(|day| day.to_string());
            let folder = match &name {
                None => source.again()?,
                Some(name) => match source.folder(name) {
                    Ok(folder) => folder,
                    Err(Errno::NOENT | Errno::NOTDIR) => {
                        self.removable.pop();
                        continue;
                    }
                    Err(cause) => return Err(cause),
                },
            };
            match folder.open_file(FILE_NAME) {
                Ok(file) => {
                    if !self.remove_some(&folder, &file, part, pace, is_last)? {
                        return Ok(false);
                    }
                }
                Err(Errno::NOENT) => {}
                Err(cause) => return Err(cause),
            }
            if part.day.is_some() {
                remove_empty(&folder, 0);
            }
            self.removable.pop();
        }
        Ok(true)
    }

    /// Whether the part is done.
    fn remove_some(
        &mut self,
        folder: &Directory,
        file: &File,
        part: Removable,
        pace: Pace,
        is_last: IsLast<'_>,
    ) -> Result<bool, Errno> {
        let failed = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let mut lines = Lines::from(file, part.next, 0, part.end).map_err(failed)?;
        let (mut some, mut is_first) = (Vec::new(), true);
        while let Some(line) = lines.next_line().map_err(failed)? {
            // However little time there is, it gets on.
            let is_over = !std::mem::take(&mut is_first) && Instant::now() >= pace.until;
            if is_over || some.len() >= AT_ONCE * pace.hands {
                self.remove_all(folder, &some, pace.hands, is_last)?;
                some.clear();
                if let Some(part) = self.removable.last_mut() {
                    part.next = line.offset;
                }
                if is_over {
                    return Ok(false);
                }
            }
            let Text::Whole(text) = line.text else { continue };
            let Ok(record) = Record::parse(text) else { continue };
            let day = part.day.unwrap_or_else(|| record.day());
            if day == self.day && record.stored <= self.until {
                some.push(record);
            }
        }
        self.remove_all(folder, &some, pace.hands, is_last)?;
        Ok(true)
    }

    /// Removes the files of these lines, by so many hands.
    fn remove_all(
        &mut self,
        folder: &Directory,
        records: &[Record],
        hands: usize,
        is_last: IsLast<'_>,
    ) -> Result<(), Errno> {
        let root = &*self.root;
        let share = records.len().div_ceil(hands).max(1);
        let mut shares = records.chunks(share);
        let own = shares.next().unwrap_or_default();
        let swept = std::thread::scope(|scope| {
            // One that cannot be had is done without.
            let begin = |share| {
                let thread = std::thread::Builder::new().name("keep".to_owned());
                thread
                    .spawn_scoped(scope, move || Swept::of(root, folder, share))
                    .map_err(|_| share)
            };
            let others: Vec<_> = shares.map(begin).collect();
            let own = Swept::of(root, folder, own);
            let of_other = |other| match other {
                Ok(thread) => std::thread::ScopedJoinHandle::join(thread)
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(share) => Swept::of(root, folder, share),
            };
            let others = others.into_iter().map(of_other).collect::<Vec<_>>();
            std::iter::once(own).chain(others).collect::<Vec<_>>()
        });
        let mut place = Place::default();
        let mut failed = None;
        for Swept { frames, bytes, unknown, error } in swept {
            self.frames += frames;
            self.bytes += bytes;
            failed = failed.or(error);
            for record in unknown {
                self.remove_unknown(folder, record, &mut place, is_last)?;
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Removes a file that its times do not tell to be that of its line, where it is.
    fn remove_unknown(
        &mut self,
        folder: &Directory,
        record: &Record,
        place: &mut Place,
        is_last: IsLast<'_>,
    ) -> Result<(), Errno> {
        let name = record.name.file_name();
        let Some(within) = place.of(folder, record)? else { return Ok(()) };
        let Some(file) = within.look(name)? else { return Ok(()) };
        // A later line of its name may be the one.
        if !is_last(record)? {
            return Ok(());
        }
        if file.kind == Kind::File(record.bytes) && has_content(within, name, record.blake3)? {
            // While it was read another frame may have come in its place.
            let _still = self.root.hold_expired();
            if within.look(name)? != Some(file) {
                return Ok(());
            }
            within.remove(name)?;
            self.frames += 1;
            self.bytes += record.bytes;
        } else {
            self.left += 1;
        }
        Ok(())
    }
}

/// What became of the files of some lines.
#[derive(Default)]
struct Swept<'a> {
    frames: u64,
    bytes: u64,
    /// Lines of files that are there, and may be others.
    unknown: Vec<&'a Record>,
    /// What went wrong in the end.
    error: Option<Errno>,
}

impl<'a> Swept<'a> {
    /// Removes the files that are, by their times, what their lines say.
    fn of(root: &Root, folder: &Directory, records: &'a [Record]) -> Self {
        let (mut swept, mut place) = (Self::default(), Place::default());
        for record in records {
            if let Err(error) = swept.remove(root, folder, record, &mut place) {
                swept.error = Some(error);
                break;
            }
        }
        swept
    }

    fn remove(
        &mut self,
        root: &Root,
        folder: &Directory,
        record: &'a Record,
        place: &mut Place,
    ) -> Result<(), Errno> {
        let name = record.name.file_name();
        let Some(within) = place.of(folder, record)? else { return Ok(()) };
        let _still = root.hold_expired();
        let Some(file) = within.look(name)? else { return Ok(()) };
        if file.kind != Kind::File(record.bytes) || !wrote(record, file.changed) {
            self.unknown.push(record);
            return Ok(());
        }
        within.remove(name)?;
        self.frames += 1;
        self.bytes += record.bytes;
        Ok(())
    }
}

/// The folder that a frame's file is in. Most are in that of the frame before.
#[derive(Default)]
struct Place {
    hour: Option<u8>,
    below: Option<String>,
    folder: Option<Directory>,
}

impl Place {
    /// `None` where it is not there.
    fn of(&mut self, top: &Directory, record: &Record) -> Result<Option<&Directory>, Errno> {
        let (hour, below) = (record.hour, record.name.folder());
        if self.folder.is_none() || self.hour != hour || self.below.as_deref() != below {
            self.folder = match within(top, hour, &record.name) {
                Ok(Some(Within::Below(folder))) => Some(folder),
                Ok(Some(Within::Top(folder))) => Some(folder.again()?),
                Ok(None) | Err((_, Errno::NOTDIR)) => None,
                Err((_, cause)) => return Err(cause),
            };
            (self.hour, self.below) = (hour, below.map(str::to_owned));
        }
        Ok(self.folder.as_ref())
    }
}

/// Removes folders in a day's that nothing is in any more.
fn remove_empty(folder: &Directory, depth: usize) {
    /// As deep as the folder of an hour and those of a name are.
    const DEEPEST: usize = 9;
    let mut names = Vec::new();
    let _ = folder.for_each_name(|name| {
        names.extend(std::str::from_utf8(name).ok().map(str::to_owned));
        Ok::<_, Errno>(())
    });
    for name in names {
        let Ok(inner) = folder.folder(&name) else { continue };
        if depth < DEEPEST {
            remove_empty(&inner, depth + 1);
        }
        let _ = folder.remove_folder(&name);
    }
}
