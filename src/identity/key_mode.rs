//! Who else can read a private key, and whether its file's mode is a thing that its owner has chosen.
//!
//! On an ordinary file system nobody but the key's owner may have a right to it. Two other cases are accepted,
//! each only where the mode cannot have been the choice of somebody careless:
//! - the file system keeps no modes (FAT and its kind): all of its files have the mode that the mount gives;
//! - the group may read, nobody else may do anything, and the file is the administrator's: it is root's and
//!   this process is not root, or it is on a read-only mount in memory, as secrets are handed to containers.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::error::IdentityError;

/// Bits that let group or others do anything with a file.
const OTHERS: u32 = 0o077;
/// The one of them that a group may have.
const GROUP_READ: u32 = 0o040;

/// File systems that keep no modes, by the numbers that Linux gives them: FAT, exFAT, NTFS (two drivers),
/// ISO 9660, SMB (three dialects).
const WITHOUT_MODES: [u64; 8] =
    [0x4d44, 0x2011_bab0, 0x5346_544e, 0x7366_746e, 0x9660, 0x517b, 0xff53_4d42, 0xfe53_4d42];
/// File systems in memory, tmpfs and ramfs.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// What counts of a key's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    mode: u32,
    owner: u32,
    /// Whom this process acts for.
    own: u32,
    /// The file system shows a mode that nobody gave to a file.
    modes_are_the_mounts: bool,
    /// It is read-only, and in memory.
    is_secret_mount: bool,
}

/// Whether a key may be used, and what to say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    Private,
    ModeIsTheMounts,
    GroupIsTheAdministrators,
    Exposed,
}

fn judge(found: Found) -> Judgement {
    let others = found.mode & OTHERS;
    let is_administrators = found.owner == 0 && found.own != 0 || found.is_secret_mount;
    match others {
        0 => Judgement::Private,
        _ if found.modes_are_the_mounts => Judgement::ModeIsTheMounts,
        GROUP_READ if is_administrators => Judgement::GroupIsTheAdministrators,
        _ => Judgement::Exposed,
    }
}

/// Checks the file of a private key; gives what to remark where it is used in spite of its mode.
///
/// # Errors
/// [`IdentityError::KeyExposed`], and [`IdentityError::File`].
pub(super) fn check(path: &Path, file: &File) -> Result<Option<String>, IdentityError> {
    let failed = |error| IdentityError::File { action: "read", path: path.to_owned(), error };
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(std::io::ErrorKind::IsADirectory.into()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(None);
    }
    let kind = rustix::fs::fstatfs(file).map_or(0, |system| system.f_type as u64 & 0xffff_ffff);
    let flags = rustix::fs::fstatvfs(file).map(|system| system.f_flag);
    let read_only = flags.is_ok_and(|flags| flags.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    let found = Found {
        mode,
        owner: metadata.uid(),
        own: rustix::process::geteuid().as_raw(),
        modes_are_the_mounts: WITHOUT_MODES.contains(&kind) || gives_modes(path, &metadata),
        is_secret_mount: read_only && IN_MEMORY.contains(&kind),
    };
    let path = path.display();
    match judge(found) {
        Judgement::Private => Ok(None),
        Judgement::ModeIsTheMounts => Ok(Some(format!(
            "the file system of the private key {path} keeps no modes: the mount gives {mode:04o} to all of its \
             files. Who can read the mount can read the key (a mount option such as umask=077 changes that)"
        ))),
        Judgement::GroupIsTheAdministrators => Ok(Some(format!(
            "the private key {path} can be read by group {} (mode {mode:04o}), as the administrator set it up",
            metadata.gid()
        ))),
        Judgement::Exposed => Err(exposed(&path.to_string(), mode, read_only)),
    }
}

fn exposed(path: &str, mode: u32, read_only: bool) -> IdentityError {
    let others = if mode & 0o007 == 0 { "the group" } else { "other users" };
    let what = if mode & 0o022 == 0 { "read" } else { "write" };
    let remedy = if read_only {
        "its mount is read-only, so have it mounted with mode 0400 (0440, where a group needs it)"
            .to_owned()
    } else {
        format!(
            "take it away from them with `chmod 600 {path}`, or make a new one if they may have read it"
        )
    };
    IdentityError::KeyExposed { path: path.into(), mode, others, what, remedy }
}

/// Whether the file system that `key` is on gives a mode of its own to a file that was made for its owner
/// alone. Nothing else can do that: a mask or a default access list only ever takes rights away.
fn gives_modes(key: &Path, metadata: &fs::Metadata) -> bool {
    let Some(folder) = key.parent() else { return false };
    let probe = folder.join(format!(".framelane-mode-{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe);
    let Ok(made) = made else { return false };
    let given = made.metadata();
    let _ = fs::remove_file(&probe);
    // A link may lead to a key on another file system.
    given.is_ok_and(|given| given.dev() == metadata.dev() && given.mode() & OTHERS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key in the home folder of an ordinary user.
    const ORDINARY: Found = Found {
        mode: 0o600,
        owner: 1000,
        own: 1000,
        modes_are_the_mounts: false,
        is_secret_mount: false,
    };

    #[test]
    fn on_an_ordinary_file_system_a_key_is_its_owners() {
        for mode in [0o600, 0o400, 0o700, 0o4600] {
            assert_eq!(judge(Found { mode, ..ORDINARY }), Judgement::Private, "{mode:o}");
        }
        for mode in [0o640, 0o440, 0o604, 0o644, 0o620, 0o601, 0o610, 0o660] {
            assert_eq!(judge(Found { mode, ..ORDINARY }), Judgement::Exposed, "{mode:o}");
            // Root's own key, and a key of somebody else.
            assert_eq!(judge(Found { mode, owner: 0, own: 0, ..ORDINARY }), Judgement::Exposed);
            assert_eq!(judge(Found { mode, own: 1001, ..ORDINARY }), Judgement::Exposed);
        }
    }

    #[test]
    fn a_mode_that_the_mount_gives_is_nobodys_fault() {
        for mode in [0o755, 0o777, 0o644, 0o640] {
            let found = Found { mode, modes_are_the_mounts: true, ..ORDINARY };
            assert_eq!(judge(found), Judgement::ModeIsTheMounts, "{mode:o}");
        }
    }

    #[test]
    fn a_secret_mounts_group_may_read_and_nobody_else() {
        let by_root = Found { owner: 0, ..ORDINARY };
        let mounted = Found { owner: 0, own: 0, is_secret_mount: true, ..ORDINARY };
        for found in [by_root, mounted] {
            for mode in [0o440, 0o640] {
                let judged = judge(Found { mode, ..found });
                assert_eq!(judged, Judgement::GroupIsTheAdministrators, "{mode:o}");
            }
            for mode in [0o444, 0o644, 0o460, 0o450, 0o666] {
                assert_eq!(judge(Found { mode, ..found }), Judgement::Exposed, "{mode:o}");
            }
        }
    }

    #[test]
    fn an_ordinary_file_system_gives_no_modes() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key.pem");
        fs::write(&key, "").unwrap();
        assert!(!gives_modes(&key, &key.metadata().unwrap()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the probe is gone");
    }
}
