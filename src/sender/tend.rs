//! What a source has by now, and what of it is not worth sending any more: looked at in sessions, and between them, so that
//! nothing piles up while there is no connection.

use std::time::{Duration, Instant};

use super::ledger::{Ledger, Loss};
use crate::frame::{DropReason, Sequence, UnixNanos};
use crate::source::{Dropped, Fate, Remembered, Source};

/// How often sources are looked after while there is no session.
pub(super) const TEND_EVERY: Duration = Duration::from_millis(50);

/// Takes in what a source has by now; gives up frames that were never handed to a transport and would be older than
/// `deadline` where the way there takes so long. What the source itself has dropped since the last time.
pub(super) fn tend(
    source: &dyn Source,
    ledger: &mut Ledger,
    deadline: Option<Duration>,
    way: Duration,
) -> Vec<Dropped> {
    // In this order: the source has every frame that it has dropped.
    let dropped = source.remembered().map(Remembered::take_dropped).unwrap_or_default();
    ledger.grow(source.extent());
    for dropped in &dropped {
        ledger.drop_range(dropped);
    }
    if let Some(deadline) = deadline {
        let now = Instant::now();
        let is_late = |place| source.arrival(place).is_some_and(|at| now + way > at + deadline);
        let mut late = ledger.begin_unsent(is_late);
        late.extend(ledger.begin_oldest(usize::MAX, is_late));
        for place in late {
            lose(source, ledger, place, too_late(source.arrival(place).map(unix)));
        }
    }
    dropped
}

/// A frame that would come after its deadline.
pub(super) fn too_late(captured: Option<UnixNanos>) -> Loss {
    Loss { reason: DropReason::Late, words: "it would have come too late".to_owned(), captured }
}

/// A frame will not come. False where that was settled before.
pub(super) fn lose(
    source: &dyn Source,
    ledger: &mut Ledger,
    sequence: Sequence,
    mut why: Loss,
) -> bool {
    let name = source.label(sequence);
    why.captured = why.captured.or_else(|| source.arrival(sequence).map(unix));
    // The report has it, and so has whoever prints that.
    tracing::info!(source = %source.name(), %name, "not sent: {}", why.words);
    let (reason, captured) = (why.reason, why.captured.map(|at| (at, at)));
    if !ledger.fail(sequence, name, why) {
        return false;
    }
    if let Some(remembered) = source.remembered() {
        let places = sequence.0..sequence.0 + 1;
        remembered.lost(Dropped { places, reason, captured });
    }
    source.settled(sequence, Fate::Lost);
    true
}

/// The same time on the system's clock.
pub(super) fn unix(at: Instant) -> UnixNanos {
    let ago = u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX);
    UnixNanos(UnixNanos::now().0.saturating_sub(ago))
}
