//! Where frames go: a folder for each source, a file for each frame, whole or not at all.
//!
//! ```text
//! body -> check the hash -> OUT/SOURCE/.framelane-N.part -> rename -> a line in the manifest -> Outcome
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
//! anew each time. A file that was not changed between the frame's arrival and its line, by its
//! modification time, is hashed as well: it can be one that a receiver had put in the place of
//! another of the same length, before it was killed and could not write the line. A file of another
//! length or hash was altered after it was stored: its frame is sent again and then refused as a
//! [conflict](FrameError::Conflict), because the altered file may be evidence. Only an empty file in the place of a frame is replaced without asking: it is what a
//! power cut leaves of an unsynced file, and holds nothing to lose. Alterations that keep length and
//! modification time are found by [`crate::verify`].

mod belief;
mod content;
mod contract;
mod directory;
mod error;
mod folder;
mod folder_source;
mod folders;
mod known_content;
mod lock;
mod options;
mod template;

pub use belief::StoredInfo;
pub(crate) use content::hash_file;
pub use contract::{Held, Offered, OpenSource, Opener, Outcome, Reading, ReceivedFrame, Store};
pub(crate) use directory::{Directory, Kind};
pub use error::{FrameError, StoreError, Taken};
pub use folder::FolderStore;
pub use folder_source::FolderSource;
pub use folders::FolderStores;
pub use options::StoreOptions;
pub use template::{FolderTemplate, TemplateError};

#[cfg(test)]
mod tests;
#[cfg(all(test, target_os = "linux"))]
mod tests_full_disk;
