//! How to send.

use std::sync::Arc;
use std::time::Duration;

use super::progress::Observer;
use super::schedule::Pace;
use super::weight::Weight;

/// How to send.
#[derive(Clone)]
#[non_exhaustive]
pub struct SendOptions {
    /// How fast frames fall due that were there before: so many a second from each source, or all at once.
    pub pace: Pace,
    /// The weight of each source, in the order of the sources. Those without one have the default.
    pub weights: Vec<Weight>,
    /// How old a frame may be when it arrives at the receiver, in the order of the sources: one that would be
    /// older is dropped here, and declared. `None`, and where there is no entry, is an archive: every frame,
    /// however late. It holds for frames with a due time of their own: of a source that grows while it runs,
    /// and of any source that has a pace.
    pub deadlines: Vec<Option<Duration>>,
    /// Replace frames that are stored with other content.
    pub overwrite: bool,
    /// Compare frames by their hash even where length and modification time agree.
    pub checksum: bool,
    /// How long to go on trying without a connection, or with connections that settle no frame; zero gives up
    /// at once.
    pub retry_for: Duration,
    /// How long the receiver may owe an answer, a receipt or room for the next frame and let nothing of it
    /// come, until the session is given up and another one tried.
    pub stall: Duration,
    /// Is told of each confirmed frame.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self {
            pace: Pace::Bulk,
            weights: Vec::new(),
            deadlines: Vec::new(),
            overwrite: false,
            checksum: false,
            retry_for: Duration::from_secs(30),
            stall: Duration::from_secs(30),
            observer: None,
        }
    }
}
