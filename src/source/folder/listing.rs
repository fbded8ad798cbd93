//! What is in a folder, listed once: the frames in natural order, and what is not sent and why.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, FileType};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::natural;
use super::own;
use super::pick::{LeftOut, Pick};
use crate::frame::MAX_FRAME_NAME_PARTS;

/// Folders between a source's own and a frame.
const MAX_DEPTH: usize = MAX_FRAME_NAME_PARTS - 1;

/// Things that are not sent are kept by name up to this many, and counted beyond.
const MAX_KEPT: usize = 100;

/// Why something in a source's folder is not sent, though no rule leaves it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsent {
    /// A folder, and folders were not asked for.
    Folder,
    /// A folder in more folders than the name of a frame can have.
    TooDeep,
    /// A link to a folder that is listed anyway, as one around a loop.
    SameFolder,
    /// A link to nothing.
    Dangling,
    /// Neither file nor folder: a named pipe, a socket, a device.
    NoFile(&'static str),
    /// It cannot be looked at; the system's word.
    Unreadable(String),
    /// A file that somebody was still writing, or had left torn, when the folder was no longer watched.
    Incomplete,
}

impl Unsent {
    /// Whether frames may be missing because of it.
    pub fn is_missed(&self) -> bool {
        *self != Self::SameFolder
    }
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder => f.write_str("it is a folder; `recursive` sends what is in it"),
            Self::TooDeep => {
                write!(
                    f,
                    "it lies in more than {MAX_DEPTH} folders; send it as a source of its own"
                )
            }
            Self::SameFolder => f.write_str("it links to a folder that is in this source anyway"),
            Self::Dangling => f.write_str("it links to nothing"),
            Self::NoFile(what) => write!(f, "it is {what}, not a file"),
            Self::Unreadable(why) => f.write_str(why),
            Self::Incomplete => f.write_str("it was not complete when the sender was told to end"),
        }
    }
}

/// What a listing passed over.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Passed {
    /// What is not sent though no rule says so, the first hundred.
    pub unsent: Vec<(PathBuf, Unsent)>,
    /// How many more of those there are.
    pub more: u64,
    /// Files and folders that are hidden, and one of them.
    pub hidden: (u64, Option<PathBuf>),
    /// Files whose names are temporary ones, and one of them.
    pub temporary: (u64, Option<PathBuf>),
    /// Files and folders that the user's patterns leave out.
    pub unwanted: u64,
    /// What is this program's own and is never a frame, and one of it: an identity's files, spools, stores.
    pub own: (u64, Option<PathBuf>),
    /// Frames whose names do not have the time that they should, and one of them.
    pub untimed: (u64, Option<PathBuf>),
}

impl Passed {
    /// What is said of what is this program's own.
    pub const OWN_IS_LEFT_OUT: &str = "identities, spools and stores are never sent with the folder that they lie in (what \
                                       is stored of a source can be sent on: name its folder itself)";

    /// Whether frames may be missing because of what was passed over.
    pub fn is_missing_any(&self) -> bool {
        self.more > 0 || self.unsent.iter().any(|(_, why)| why.is_missed())
    }

    pub(in crate::source) fn unsent(&mut self, path: PathBuf, why: Unsent) {
        if self.unsent.len() < MAX_KEPT {
            self.unsent.push((path, why));
        } else if why.is_missed() {
            self.more += 1;
        }
    }

    fn left_out(&mut self, path: &Path, why: LeftOut) {
        let (count, example) = match why {
            LeftOut::Record => return,
            LeftOut::Unwanted => {
                self.unwanted += 1;
                return;
            }
            LeftOut::Hidden => (&mut self.hidden.0, &mut self.hidden.1),
            LeftOut::Temporary => (&mut self.temporary.0, &mut self.temporary.1),
        };
        *count += 1;
        example.get_or_insert_with(|| path.to_owned());
    }
}

/// The frames of a folder. Names are kept end to end in one buffer, about 8 bytes a file beside the
/// name itself, so that a folder of half a million frames costs a few megabytes.
#[derive(Debug, Default)]
pub(super) struct Listing {
    names: Vec<u8>,
    places: Vec<(u32, u16)>,
    pub(super) passed: Passed,
}

impl Listing {
    /// Lists `root`. Links to files count as files.
    pub(super) fn of(root: &Path, recursive: bool, pick: &Pick) -> io::Result<Self> {
        let mut walk = Walk {
            root,
            recursive,
            pick,
            listing: Self::default(),
            seen: HashSet::new(),
            links: Vec::new(),
        };
        walk.seen.extend(fs::metadata(root).map(|folder| (folder.dev(), folder.ino())));
        walk.list(Vec::new(), 0)?;
        // Links come when all real folders are known, so that what is in them has its own name.
        while let Some((path, depth)) = walk.links.pop() {
            walk.enter(path, depth);
        }
        let mut listing = walk.listing;
        let Self { names, places, .. } = &mut listing;
        places.sort_unstable_by(|&a, &b| natural::compare(at(names, a), at(names, b)));
        Ok(listing)
    }

    /// Takes the frames out that are so; gives their names.
    pub(super) fn take_out(&mut self, is_so: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let (names, mut out) = (&self.names, Vec::new());
        self.places.retain(|&place| {
            let name = at(names, place);
            let stays = !is_so(name);
            out.extend((!stays).then(|| name.to_vec()));
            stays
        });
        out
    }

    /// Notes the frames whose last name is one of `untimed`.
    pub(super) fn note_untimed(&mut self, root: &Path, untimed: impl Fn(&[u8]) -> bool) {
        for &place in &self.places {
            let path = at(&self.names, place);
            if untimed(path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)) {
                self.passed.untimed.0 += 1;
                let example = || root.join(OsStr::from_bytes(path));
                self.passed.untimed.1.get_or_insert_with(example);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The name of a frame, which has its folders in it; empty where there is none.
    pub(super) fn name(&self, index: u64) -> &[u8] {
        let place = usize::try_from(index).ok().and_then(|index| self.places.get(index));
        place.map_or(b"", |&place| at(&self.names, place))
    }

    fn push(&mut self, path: &[u8]) -> io::Result<()> {
        let start = u32::try_from(self.names.len())
            .map_err(|_| io::Error::other("its file names are over 4 GiB altogether"))?;
        let length = u16::try_from(path.len()).map_err(io::Error::other)?;
        self.names.extend_from_slice(path);
        self.places.push((start, length));
        Ok(())
    }
}

fn at(names: &[u8], (start, length): (u32, u16)) -> &[u8] {
    &names[start as usize..start as usize + usize::from(length)]
}

/// A folder being listed.
struct Walk<'a> {
    root: &'a Path,
    recursive: bool,
    pick: &'a Pick,
    listing: Listing,
    /// Device and inode of each folder that was listed: none is listed twice, whatever links there are.
    seen: HashSet<(u64, u64)>,
    /// Links to folders, and how many folders each lies in.
    links: Vec<(Vec<u8>, usize)>,
}

impl Walk<'_> {
    fn absolute(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }

    /// Lists one folder, which lies in `depth` others, and those in it.
    fn list(&mut self, folder: Vec<u8>, depth: usize) -> io::Result<()> {
        for entry in fs::read_dir(self.absolute(&folder))? {
            let entry = entry?;
            let mut path = folder.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.append(&mut entry.file_name().into_vec());
            match entry.file_type() {
                Ok(kind) if kind.is_symlink() => self.link(path, depth)?,
                Ok(kind) => self.thing(path, kind, depth)?,
                Err(error) => self.unsent(&path, Unsent::Unreadable(error.to_string())),
            }
        }
        Ok(())
    }

    /// Notes what is this program's own.
    fn own(&mut self, path: &[u8]) {
        let path = self.absolute(path);
        let (count, example) = &mut self.listing.passed.own;
        *count += 1;
        example.get_or_insert(path);
    }

    fn thing(&mut self, path: Vec<u8>, kind: FileType, depth: usize) -> io::Result<()> {
        if kind.is_dir() {
            match self.pick.leaves_out_folder(&path) {
                Some(why) => self.left_out(&path, why),
                None => self.enter(path, depth),
            }
            return Ok(());
        }
        match self.pick.leaves_out_file(&path) {
            Some(why) => self.left_out(&path, why),
            None if kind.is_file() && own::is_pem_of_identity(self.root, &path) => self.own(&path),
            None if kind.is_file() => self.listing.push(&path)?,
            None => self.unsent(&path, Unsent::NoFile(kind_of(kind))),
        }
        Ok(())
    }

    fn link(&mut self, path: Vec<u8>, depth: usize) -> io::Result<()> {
        match fs::metadata(self.absolute(&path)) {
            Ok(target) if target.is_dir() && self.recursive => {
                match self.pick.leaves_out_folder(&path) {
                    Some(why) => self.left_out(&path, why),
                    None => self.links.push((path, depth)),
                }
            }
            Ok(target) => self.thing(path, target.file_type(), depth)?,
            Err(error) => match self.pick.leaves_out_file(&path) {
                Some(why) => self.left_out(&path, why),
                None if error.kind() == io::ErrorKind::NotFound => {
                    self.unsent(&path, Unsent::Dangling);
                }
                None => self.unsent(&path, Unsent::Unreadable(error.to_string())),
            },
        }
        Ok(())
    }

    /// Lists a folder inside the source's.
    fn enter(&mut self, path: Vec<u8>, depth: usize) {
        if self.recursive && own::is_own_folder(self.root, &path) {
            return self.own(&path);
        }
        let why = match fs::metadata(self.absolute(&path)) {
            _ if !self.recursive => Unsent::Folder,
            _ if depth == MAX_DEPTH => Unsent::TooDeep,
            Ok(folder) if !self.seen.insert((folder.dev(), folder.ino())) => Unsent::SameFolder,
            _ => match self.list(path.clone(), depth + 1) {
                Ok(()) => return,
                Err(error) => Unsent::Unreadable(format!("it cannot be listed: {error}")),
            },
        };
        self.unsent(&path, why);
    }

    fn unsent(&mut self, path: &[u8], why: Unsent) {
        let path = self.absolute(path);
        self.listing.passed.unsent(path, why);
    }

    fn left_out(&mut self, path: &[u8], why: LeftOut) {
        let path = self.absolute(path);
        self.listing.passed.left_out(&path, why);
    }
}

/// What a thing is that is neither file nor folder, for people.
pub(super) fn kind_of(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_dir() {
        "a folder"
    } else {
        "a device"
    }
}
