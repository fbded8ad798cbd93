//! A line of a spool's journal.

use serde::{Deserialize, Serialize};

use crate::frame::{DropReason, RunId, UnixNanos};
use crate::source::Dropped;

/// A fact. Places are first and last, both included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Entry {
    /// A process has begun to use the spool: on which start of the machine, and for which receiver.
    Opened { boot: String, receiver: String },
    /// It has ended in order.
    Closed {},
    /// A run has begun.
    Began {
        #[serde(with = "hex")]
        run: RunId,
        source: String,
        slot: u16,
        began_unix_ns: u64,
    },
    /// The receiver calls its first frame so.
    Origin {
        #[serde(with = "hex")]
        run: RunId,
        sequence: u64,
    },
    /// The receiver has these, or has noted that they will not come.
    Settled {
        #[serde(with = "hex")]
        run: RunId,
        first: u64,
        last: u64,
    },
    /// These will not come, and the receiver has not noted it.
    Dropped {
        #[serde(with = "hex")]
        run: RunId,
        first: u64,
        last: u64,
        reason: String,
        captured_unix_ns: Option<(u64, u64)>,
    },
    /// Where these are lost, the next run has them again, under other places.
    Again {
        #[serde(with = "hex")]
        run: RunId,
        first: u64,
        last: u64,
    },
    /// The run may have as many frames: on the medium before it has.
    Reserved {
        #[serde(with = "hex")]
        run: RunId,
        frames: u64,
    },
    /// Both ends agree on the run.
    Ended {
        #[serde(with = "hex")]
        run: RunId,
    },
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::frame::RunId;

    pub(super) fn serialize<S: Serializer>(run: &RunId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(run)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<RunId, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl Entry {
    pub(super) fn dropped(run: RunId, dropped: &Dropped) -> Self {
        Self::Dropped {
            run,
            first: dropped.places.start,
            last: dropped.places.end.saturating_sub(1),
            reason: dropped.reason.name().to_owned(),
            captured_unix_ns: dropped.captured.map(|(first, last)| (first.0, last.0)),
        }
    }
}

/// The drop that a line tells of.
pub(super) fn dropped(
    first: u64,
    last: u64,
    reason: &str,
    captured: Option<(u64, u64)>,
) -> Dropped {
    Dropped {
        places: first..last.saturating_add(1),
        // Of a later version's reason it is known that the frame will not come.
        reason: DropReason::from_name(reason).unwrap_or(DropReason::GivenUp),
        captured: captured.map(|(first, last)| (UnixNanos(first), UnixNanos(last))),
    }
}
