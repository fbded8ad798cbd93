//! When the folders that are watched are to be looked through: where something changed that nobody told of.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// How often a folder is asked whether it has changed.
pub(super) const POLL: Duration = Duration::from_millis(500);
/// The last of the looks at a folder that has changed, and the only one where the kernel tells of what it holds. Mounts
/// keep what they know of a folder for up to half a minute.
const LAST_LOOK: Duration = Duration::from_secs(64);
/// A look takes at most one part in so many of the time.
const SHARE: u32 = 5;

/// The folders that are listened to, by their paths below the root.
#[derive(Debug, Default)]
pub(super) struct Folders {
    known: HashMap<Vec<u8>, Known>,
}

#[derive(Debug)]
struct Known {
    /// Its time when it was asked last.
    time: Option<SystemTime>,
    /// The kernel tells of whatever is done in it, whoever does it.
    tells: bool,
    /// Something was told of it since it was asked.
    is_told: bool,
    /// When it is to be looked through, and how long after that again.
    look: Option<(Instant, Duration)>,
    /// Not before, whatever happens.
    rests_until: Option<Instant>,
    /// When it was last found that there is no room for files in it.
    lacks_room: Option<Instant>,
}

/// How a folder is to be looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Something changed in it.
    Now,
    /// The kernel has told of what changed: only what lies there for long is taken.
    ToBeSure,
}

impl Folders {
    /// A folder is listened to from now on; `tells` where the kernel tells of all that is done in it.
    pub(super) fn enter(&mut self, folder: &[u8], tells: bool) {
        self.known.entry(folder.to_vec()).or_insert(Known {
            time: None,
            tells,
            is_told: false,
            look: None,
            rests_until: None,
            lacks_room: None,
        });
    }

    pub(super) fn forget(&mut self, folder: &[u8]) {
        self.known.remove(folder);
    }

    pub(super) fn forget_all(&mut self) {
        self.known.clear();
    }

    /// The kernel told of something in the folder of `path`.
    pub(super) fn told(&mut self, path: &[u8]) {
        if let Some(folder) = self.known.get_mut(parent(path)) {
            folder.is_told = true;
        }
    }

    /// Whether the kernel tells of all that is done in the folder of `path`.
    pub(super) fn tells(&self, path: &[u8]) -> bool {
        self.known.get(parent(path)).is_some_and(|folder| folder.tells)
    }

    /// The folder of `path` is to be looked through again: there is no room for what is in it.
    pub(super) fn wait_for_room(&mut self, path: &[u8]) {
        let now = Instant::now();
        if let Some(folder) = self.known.get_mut(parent(path)) {
            folder.lacks_room = Some(now);
            folder.look = Some((now + POLL, POLL));
        }
    }

    /// Folders in which files wait for room.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &[u8]> {
        let waiting = self.known.iter().filter(|(_, folder)| folder.lacks_room.is_some());
        waiting.map(|(path, _)| path.as_slice())
    }

    /// Notes the time that a folder has, asked for at `now`; whether it is to be looked through.
    pub(super) fn asked(&mut self, folder: &[u8], time: SystemTime, now: Instant) -> Option<Look> {
        let folder = self.known.get_mut(folder)?;
        let is_told = std::mem::take(&mut folder.is_told);
        let before = folder.time.replace(time);
        if before != Some(time) {
            folder.changed(before.is_none(), is_told, now);
        }
        let (at, pause) = folder.look?;
        if at > now || folder.rests_until.is_some_and(|until| until > now) {
            return None;
        }
        let is_last = pause >= LAST_LOOK;
        let look = if folder.tells && is_last { Look::ToBeSure } else { Look::Now };
        // What is on its way to here is there by one of these, also where times are whole seconds and lists are kept.
        folder.look = match (is_last, folder.tells) {
            (true, _) => None,
            (false, true) => Some((now + LAST_LOOK, LAST_LOOK)),
            (false, false) => Some((now + pause, pause * 2)),
        };
        Some(look)
    }

    /// A look through a folder took so long.
    pub(super) fn looked(&mut self, folder: &[u8], took: Duration) {
        if let Some(folder) = self.known.get_mut(folder) {
            folder.rests_until = Some(Instant::now() + took * (SHARE - 1));
        }
    }

    /// All of a folder was looked at from `began` on.
    pub(super) fn has_room(&mut self, folder: &[u8], began: Instant) {
        if let Some(folder) = self.known.get_mut(folder) {
            folder.lacks_room = folder.lacks_room.filter(|&last| last >= began);
        }
    }
}

impl Known {
    fn changed(&mut self, is_first: bool, is_told: bool, now: Instant) {
        // What was there at first has been looked through. Where the kernel tells, it has told.
        if self.tells && (is_told || is_first) {
            self.look.get_or_insert((now + LAST_LOOK, LAST_LOOK));
        } else {
            let at = if is_first { now + POLL } else { now };
            self.look = Some((at, POLL));
        }
    }
}

/// The folder that something is in, by its path below the root.
fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&byte| byte == b'/').map_or(b"", |at| &path[..at])
}

/// Whether the kernel tells of all that is done in a folder, by the kind of its file system: not where others than this
/// machine's programs write there, or by another way.
pub(super) fn tells(folder: &Path) -> bool {
    /// ext2 to ext4, XFS, Btrfs, tmpfs, ramfs, F2FS, ZFS, FAT, exFAT, NTFS (ntfs3), bcachefs, UBIFS, JFFS2, NILFS, JFS.
    const LOCAL: [i128; 15] = [
        0xef53,
        0x5846_5342,
        0x9123_683e,
        0x0102_1994,
        0x8584_58f6,
        0xf2f5_2010,
        0x2fc1_2fc1,
        0x4d44,
        0x2011_bab0,
        0x7366_746e,
        0xca45_1a4e,
        0x2405_1905,
        0x72b6,
        0x3434,
        0x3153_464a,
    ];
    // The number is of another type on each machine.
    rustix::fs::statfs(folder)
        .is_ok_and(|kind| LOCAL.contains(&(i128::from(kind.f_type) & 0xffff_ffff)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn folders(tells: bool) -> (Folders, Instant) {
        let mut folders = Folders::default();
        folders.enter(b"", false);
        folders.enter(b"a", tells);
        let now = Instant::now();
        folders.asked(b"a", at(1), now);
        (folders, now + Duration::from_secs(1_000))
    }

    /// The looks within so many half seconds while its time stays, in half seconds.
    fn looks(folders: &mut Folders, time: SystemTime, from: Instant, polls: u32) -> Vec<u32> {
        (0..polls).filter(|&poll| folders.asked(b"a", time, from + poll * POLL).is_some()).collect()
    }

    #[test]
    fn a_folder_that_tells_nothing_is_looked_through_though_another_tells() {
        let (mut folders, now) = folders(false);
        looks(&mut folders, at(1), now, 1_000);
        let now = now + Duration::from_secs(1_000);
        folders.told(b"0.png");
        // Somebody on this machine writes there as well.
        folders.told(b"a/0.png");
        assert_eq!(folders.asked(b"a", at(2), now), Some(Look::Now));
        assert_eq!(
            folders.asked(b"a", at(2), now + POLL),
            Some(Look::Now),
            "within the same second"
        );
    }

    #[test]
    fn a_folder_that_has_changed_is_looked_through_until_times_of_whole_seconds_and_kept_lists_are_over()
     {
        let (mut folders, now) = folders(false);
        looks(&mut folders, at(1), now, 1_000);
        let now = now + Duration::from_secs(1_000);
        let looks = looks(&mut folders, at(2), now, 1_000);
        assert_eq!(looks[..4], [0, 1, 3, 7]);
        let last = *looks.last().unwrap();
        assert!((60..300).contains(&last), "{looks:?}");
    }

    #[test]
    fn where_the_kernel_tells_a_look_a_minute_makes_sure() {
        let (mut folders, now) = folders(true);
        looks(&mut folders, at(1), now, 1_000);
        let mut now = now + Duration::from_secs(1_000);
        let mut found = Vec::new();
        for poll in 0..300 {
            folders.told(b"a/x.png");
            found.extend(folders.asked(b"a", at(2 + poll), now));
            now += POLL;
        }
        assert_eq!(found, [Look::ToBeSure; 2]);
        // Something that nobody told of.
        assert_eq!(folders.asked(b"a", at(1_000), now), Some(Look::Now));
    }

    #[test]
    fn long_looks_are_far_between() {
        let (mut folders, now) = folders(false);
        folders.looked(b"a", Duration::from_secs(3_600));
        assert_eq!(folders.asked(b"a", at(2), now), None);
        assert_eq!(folders.asked(b"a", at(2), now + Duration::from_secs(20_000)), Some(Look::Now));
    }
}
