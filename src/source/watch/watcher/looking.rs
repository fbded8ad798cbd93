//! How folders are looked through, for what nobody tells of.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use super::super::events::join;
use super::super::folders::Look;
use super::{LEFT_THERE, MOST_WAITING, Watcher, has_been};

impl Watcher {
    /// Looks at the files of a folder that have not been seen, as many as there is room for.
    pub(super) fn look_through(&mut self, folder: &[u8], look: Look) {
        let began = Instant::now();
        let (unseen, is_all) = self.unseen(folder, look);
        for path in unseen {
            self.look(path, false);
        }
        self.folders.looked(folder, began.elapsed());
        if is_all {
            self.folders.has_room(folder, began);
        } else {
            self.leave(&join(folder, b"x"));
        }
    }

    /// The files of a folder that have not been seen, in order, as many as there is room for; whether that is all.
    fn unseen(&self, folder: &[u8], look: Look) -> (Vec<Vec<u8>>, bool) {
        let (room, mut is_all) = (self.room(), true);
        let in_order = |a: &Vec<u8>, b: &Vec<u8>| crate::source::folder::in_order(a, b);
        let mut unseen = Vec::new();
        for entry in fs::read_dir(self.absolute(folder)).into_iter().flatten().flatten() {
            let path = join(folder, &entry.file_name().into_vec());
            let may_be_file = entry.file_type().is_ok_and(|it| it.is_file() || it.is_symlink());
            if may_be_file && self.is_new(&path) && self.is_for(&path, look) {
                unseen.push(path);
            }
            // There may be a million of them.
            if unseen.len() > 2 * room {
                unseen.select_nth_unstable_by(room, in_order);
                unseen.truncate(room);
                is_all = false;
            }
        }
        unseen.sort_unstable_by(in_order);
        is_all &= unseen.len() <= room;
        unseen.truncate(room);
        (unseen, is_all)
    }

    fn is_new(&self, path: &[u8]) -> bool {
        !self.pending.has(path)
            && self.options.folder.pick.leaves_out_file(path).is_none()
            && !self.seen().has(path)
    }

    fn is_for(&self, path: &[u8], look: Look) -> bool {
        look == Look::Now
            || fs::metadata(self.absolute(path)).is_ok_and(|it| has_been(&it, LEFT_THERE))
    }

    /// Looks through everything.
    pub(super) fn rescan(&mut self) {
        for folder in self.events.folders() {
            self.look_through(&folder, Look::Now);
            for inner in self.folders_in(&folder) {
                self.enter(inner, true);
            }
        }
    }

    /// How many more frames may wait.
    pub(super) fn room(&self) -> usize {
        MOST_WAITING.saturating_sub(self.frames.waiting())
    }

    /// Leaves a file in its folder, to be found there when there is room.
    pub(super) fn leave(&mut self, path: &[u8]) {
        self.folders.wait_for_room(path);
        self.left_since.get_or_insert_with(Instant::now);
        if self.room() < MOST_WAITING / 8 && !std::mem::replace(&mut self.is_full_told, true) {
            tracing::warn!(
                "source {}: {} frames wait to be sent: further files stay in their folder until there is room, and one that \
                 is removed or written over before is not sent",
                self.source,
                self.frames.waiting()
            );
        }
    }

    /// Looks whether something happened that nobody told of.
    pub(super) fn poll(&mut self) {
        self.polled = Instant::now();
        let root = fs::metadata(&self.root).ok().filter(Metadata::is_dir);
        let identity = root.map(|root| (root.dev(), root.ino()));
        if identity != self.identity {
            self.detach();
            match self.attach() {
                Ok(()) => self.rescan(),
                Err(error) => tracing::warn!("source {}: cannot watch: {error}", self.source),
            }
            return;
        }
        // A few at a time would have the folder listed for each few.
        if self.room() < MOST_WAITING / 4 {
            return;
        }
        for folder in self.events.folders() {
            let time = fs::metadata(self.absolute(&folder)).and_then(|folder| folder.modified());
            let look = match time {
                Ok(time) => self.folders.asked(&folder, time, Instant::now()),
                Err(error) => {
                    if error.kind() == io::ErrorKind::NotFound {
                        self.events.forget(&folder);
                        self.folders.forget(&folder);
                    }
                    continue;
                }
            };
            if let Some(look) = look {
                self.look_through(&folder, look);
                for inner in self.folders_in(&folder) {
                    self.enter(inner, true);
                }
            }
        }
        if self.folders.waiting().next().is_none() && self.pending.is_empty() {
            (self.is_full_told, self.left_since) = (false, None);
        }
        self.forget_names();
    }

    /// Forgets the names of files that are gone, now and then. Where a folder cannot be listed it is not known which these are.
    fn forget_names(&mut self) {
        if !self.seen().is_to_be_swept() {
            return;
        }
        let mut there = Vec::new();
        for folder in self.events.folders() {
            let listed = fs::read_dir(self.absolute(&folder)).and_then(|entries| {
                entries.map(|entry| Ok(join(&folder, &entry?.file_name().into_vec()))).collect()
            });
            match listed {
                Ok(mut names) => there.append(&mut names),
                Err(_) => return self.seen().put_off_sweeping(),
            }
        }
        self.seen().sweep(there.into_iter());
    }
}
