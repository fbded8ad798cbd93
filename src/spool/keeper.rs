//! The thread that writes: the journal, frames, and at last what is left.

use std::time::{Duration, Instant};

use super::disk::Disk;
use super::hall::Hall;
use super::room::{Room, Spill};
use crate::source::{Bell, Content};

/// How often it is looked for frames that have become old.
const TICK: Duration = Duration::from_millis(50);

/// What was written is brought to the medium this often: a power cut loses what is younger.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// How long a source that gives nothing is waited for at the end.
const LAST_FRAMES: Duration = Duration::from_secs(5);

/// Works until the spool is closed or abandoned.
pub(super) fn run(hall: &Hall) {
    work(hall);
    if let Some(disk) = &hall.disk {
        disk.leave();
    }
}

fn work(hall: &Hall) {
    let mut keeper = Keeper { hall, synced: Instant::now(), is_dirty: false, told: None };
    let mut idle_since = Instant::now();
    loop {
        let room = hall.room();
        if room.abandoned {
            return;
        }
        let (closing, is_taking) = (room.closing, room.intakes > 0);
        drop(room);
        let worked = keeper.work();
        if worked || !closing {
            idle_since = Instant::now();
        }
        if closing && !worked && (!is_taking || idle_since.elapsed() > LAST_FRAMES) {
            return keeper.end();
        }
        if !worked {
            drop(hall.wait(hall.room(), TICK));
        }
    }
}

struct Keeper<'a> {
    hall: &'a Hall,
    synced: Instant,
    is_dirty: bool,
    /// What was said last of what goes wrong.
    told: Option<String>,
}

impl Keeper<'_> {
    /// Does what there is to do at present; false where there was nothing.
    fn work(&mut self) -> bool {
        let now = Instant::now();
        let now = (now, self.hall.unix(now));
        let Some(disk) = &self.hall.disk else {
            let mut room = self.hall.room();
            drop(room.journal.take_unwritten());
            room.useless.clear();
            return false;
        };
        let mut room = self.hall.room();
        let raised = room.reserve(now.0) | std::mem::take(&mut room.is_urgent);
        let reserves = room.reserves();
        let (useless, over) = (std::mem::take(&mut room.useless), std::mem::take(&mut room.over));
        let spill = room.next_spill(now);
        let is_long = disk.is_long();
        let is_resting = room.is_resting(now.0);
        let has_journal = room.journal.has_unwritten() && !is_resting;
        let whole = (is_long && has_journal).then(|| room.journal.pasts.entries());
        let entries = if has_journal { room.journal.take_unwritten() } else { Vec::new() };
        // Whoever pushes a frame or sends one needs the room, and does not wait for the disk.
        drop(room);
        // Where it cannot be written anew, for want of room say, it grows longer.
        let written = match whole {
            Some(whole) if disk.write_anew(&whole).is_ok() => Ok(()),
            _ if has_journal => disk.append(&entries),
            _ => Ok(()),
        };
        if let Err(error) = &written {
            let mut room = self.hall.room();
            room.journal.put_back(entries);
            room.disk_refused(now.0);
            drop(room);
            self.trouble(&format!("cannot write its journal: {error}"));
        }
        if raised {
            let is_safe = written.is_ok() && !is_resting && disk.sync_journal().is_ok();
            let mut room = self.hall.room();
            // What is not synced now is tried again.
            room.is_urgent |= !is_safe;
            let waiting = room.reserved(is_safe.then_some(&reserves));
            drop(room);
            waiting.iter().for_each(Bell::ring);
        }
        self.is_dirty |= has_journal || spill.is_some();
        useless.iter().for_each(|&(run, place)| disk.remove(run, place));
        over.iter().for_each(|&run| disk.remove_run(run));
        if let Some(spill) = &spill {
            self.spill(disk, spill);
        }
        let is_due = self.is_dirty && now.0 - self.synced >= SYNC_EVERY;
        if is_due {
            self.sync(disk);
        }
        spill.is_some() || !useless.is_empty() || has_journal && written.is_ok()
    }

    fn spill(&mut self, disk: &Disk, spill: &Spill) {
        let Spill { run, source, place, content, came, .. } = spill;
        let content: &Content = content;
        let written = disk.write_frame((*run, source.as_str()), *place, content, *came);
        let mut room = self.hall.room();
        room.spilled(spill, written.as_ref().ok().copied());
        match written {
            Ok(_) => {
                room.disk_works();
                drop(room);
                if self.told.take().is_some() {
                    tracing::warn!("the spool: the disk takes frames again");
                }
            }
            Err(error) => {
                room.disk_refused(Instant::now());
                drop(room);
                self.trouble(&format!("cannot write a frame of source {source}: {error}"));
            }
        }
        self.hall.tell();
    }

    fn sync(&mut self, disk: &Disk) {
        self.is_dirty = false;
        if let Err(error) = disk.sync() {
            self.is_dirty = true;
            self.trouble(&format!("cannot sync: {error}"));
        }
        self.synced = Instant::now();
    }

    /// Says what goes wrong, once.
    fn trouble(&mut self, what: &str) {
        if self.told.as_deref() != Some(what) {
            tracing::warn!("the spool: {what}; frames stay in memory until the disk takes them");
        }
        self.told = Some(what.to_owned());
    }

    /// Everything that there is room for is on disk. What is not is given up, and the journal says so.
    fn end(&mut self) {
        let Some(disk) = &self.hall.disk else { return };
        let mut room = self.hall.room();
        room.give_up_rest();
        room.journal.note(super::entry::Entry::Closed {});
        let entries = room.journal.take_unwritten();
        let lost = Room::lost_of(&entries);
        drop(room);
        let written = disk.append(&entries).and_then(|()| disk.sync());
        if let Err(error) = written {
            self.trouble(&format!("cannot write its journal at the end: {error}"));
        }
        if lost > 0 {
            tracing::warn!(
                "the spool: {lost} frames had no room on disk at the end; the next run declares them"
            );
        }
    }
}
