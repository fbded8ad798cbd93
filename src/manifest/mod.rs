//! The record beside the frames: `OUT/SOURCE/manifest.jsonl`, one line a stored frame.
//!
//! A line is appended after its frame's file is in place, so a line is a claim that can be checked
//! ([`crate::verify`]) and everything a crash can leave behind is one of three things:
//!
//! | left behind | answer |
//! |---|---|
//! | the beginning of a line | cut off when the manifest is next opened for appending |
//! | a file without its line | kept; adopted when the same content is sent again |
//! | a line without its file | does not count as stored; the frame is taken again, and the later line wins |
//!
//! Lines that cannot be read (edited by hand, damaged) are reported by number and skipped.
//!
//! Beside it the [`Ledger`] has what the manifest cannot say: whose the source is, its runs, how many frames each
//! had, and which of them were dropped and why. Together they say whether everything is there.

mod day;
mod entry;
mod expired;
mod index;
mod ledger;
mod lines;
mod listed;
mod log;
mod names;
mod peek;
mod ranges;
mod record;
mod reel;
mod reels;
mod resting;
mod settled;
mod summary;
mod window;

pub use day::{Day, NotADay};
pub use entry::{Earlier, Entry, EntryError, Place, Range};
pub use expired::Expired;
pub use index::Index;
pub use ledger::Ledger;
pub use lines::{BadLine, Line, Lines, MAX_LINE_BYTES, Text};
pub use listed::Listed;
pub use log::{Manifest, ManifestError, Opened};
pub use peek::{Peek, Placed};
pub use ranges::Ranges;
pub use record::{Record, RecordError};
pub use reel::{Reel, Stored};
pub use reels::Reels;
pub use resting::Resting;
pub use settled::{INDEX_NAME, INDEX_PART_NAME, load_summary};
pub use summary::{DayTotal, Summary};

/// The manifest's file name in each source's folder.
pub const FILE_NAME: &str = "manifest.jsonl";

/// The ledger's file name in each source's folder.
pub const LEDGER_NAME: &str = "ledger.jsonl";
