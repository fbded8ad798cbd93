//! A message that is long on the wire, for the tests of the transports that carry one.

use crate::frame::{FrameName, Sequence};
use crate::wire::{Message, Offer, OfferEntry, SourceId};

/// An offer of a thousand frames.
pub(super) fn long_offer() -> Message {
    let entry = |sequence| OfferEntry {
        sequence: Sequence(sequence),
        name: FrameName::parse(&format!("a-frame-with-a-name-{sequence}.png")).unwrap(),
        bytes: 1,
        modified: None,
        hash: None,
    };
    Message::Offer(Offer { source: SourceId(0), entries: (0..1_000).map(entry).collect() })
}
