//! Where frames go: a folder for each source, a file for each frame, whole or not at all.
//!
//! ```text
//! body -> check the hash -> OUT/SOURCE/.framelane-N.part -> rename -> a line in the manifest
//!      -> are folder, manifest and ledger the ones at their paths? -> Outcome
//! ```
//!
//! Every step works relative to an open folder, never by path, and follows no symbolic link, so
//! that neither a name from the network nor a link placed in the store leads out of it.
//!
//! # What a crash leaves
//! Wherever the process is killed, the next [`FolderStore::source`] finds nothing worse than a
//! temporary file (removed), a torn line (cut off), or a file that has no line yet. That file is
//! left alone: nothing tells it from one that the user put there. Its frame does not count as
//! stored, is sent again, and where the content is the same the file is adopted. So every frame
//! ends up stored once, and no file is ever deleted that might be somebody's.
//!
//! # What counts as stored
//! A frame whose last manifest line agrees with a regular file of that name and length, looked at
//! anew each time. A file of which the kernel changed anything but between the frame's arrival and its line (its
//! change time, which nobody can set; the modification time is the sender's) is hashed as well, once: it can be one
//! that a receiver had put in the place of another of the same length, before it was killed and could not write the
//! line. A file of another length or hash was altered after it was stored: its frame is sent again and then refused
//! as a [conflict](FrameError::Conflict), because the altered file may be evidence. Only an empty file in the place
//! of a frame is replaced without asking: it is what a power cut leaves of an unsynced file, and holds nothing to
//! lose. Whatever else was altered is found by [`crate::verify`].
//!
//! # What others may do meanwhile
//! A source's folder, or the whole store, may be moved, deleted or mounted over at any time. Before each batch, and
//! again before it is confirmed, all that the store writes to is known to be at its path, by device and inode. Where it is
//! not, everything is opened anew, that is said once, and what was not confirmed is stored there: a frame that had
//! landed in a folder just then moved away is there with its line, and here as well. A run that goes on in a new
//! folder says in its ledger which of its frames are not there.
//!
//! # Whose a source is
//! The sender's that opened it first, by its pin, in the ledger's first line. Others are refused, unless the receiver's
//! user shares sources. Stop-and-wait has no pin: a source that nobody known opened is the first known sender's that
//! names it, and from then on nobody's without a pin. Where a ledger was lost, the first line of the manifest tells.
//!
//! # Names that the file system folds
//! FAT, HFS+ and casefolding ext4 take different names for one. A name that is taken is held against what is there,
//! never against text: where a folder folds names (a file made under one name is found under another), a file
//! without a line of its own is looked for among all frames, by device and inode, and refused by the name of the one
//! whose it is. The store's own files are known by device and inode too, so that no name can reach them.

mod account;
mod batch;
mod belief;
mod brake;
mod content;
mod contract;
mod directory;
mod doubt;
mod error;
mod folder;
mod folder_source;
mod folders;
mod footing;
mod janitor;
mod keep;
mod layout;
mod lock;
#[cfg(test)]
mod model;
mod options;
mod remembered;
mod removal;
mod room;
mod root;
mod said;
mod seat;
mod seats;
mod standing;
mod template;
mod volumes;
mod within;

pub use crate::manifest::Place;
pub use belief::StoredInfo;
pub use brake::Keeping;
pub(crate) use content::hash_file_while;
pub use contract::{
    Held, Note, Offered, OpenSource, Opener, Outcome, Reading, ReceivedFrame, Store,
};
pub(crate) use directory::{Directory, FileId, Kind, Look};
pub use error::{FrameError, StoreError, Taken};
pub use folder::FolderStore;
pub use folder_source::FolderSource;
pub use folders::FolderStores;
pub use footing::is_temporary;
pub use keep::Keep;
pub use layout::Layout;
pub use options::StoreOptions;
pub use room::Room;
pub use template::{FolderTemplate, TemplateError};
pub(crate) use volumes::days;
pub(crate) use within::within;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_days;
#[cfg(all(test, target_os = "linux"))]
mod tests_full_disk;
#[cfg(test)]
mod tests_moved;
#[cfg(test)]
mod tests_names;
#[cfg(test)]
mod tests_runs;
