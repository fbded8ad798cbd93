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
    let words = why.words.clone();
    if !ledger.fail(sequence, name, why) {
        return false;
    }
    if source.goes_on() {
        tell_lost(source, reason, &words, ledger.dropped.get(reason.name()).copied());
    }
    if let Some(remembered) = source.remembered() {
        let places = sequence.0..sequence.0 + 1;
        remembered.lost(Dropped { places, reason, captured });
    }
    source.settled(sequence, Fate::Lost);
    true
}

/// Says of a source whose report may be days away that it loses frames: the first, the tenth, the hundredth, ...
fn tell_lost(source: &dyn Source, reason: DropReason, words: &str, count: Option<u64>) {
    use DropReason::{BadName, Conflict, TooLarge, Unreadable, Vanished};
    let count = count.unwrap_or(1);
    let is_told = matches!(reason, TooLarge | Unreadable | Vanished | BadName | Conflict)
        && 10_u64.checked_pow(count.max(1).ilog10()) == Some(count);
    match count {
        _ if !is_told => {}
        1 => tracing::warn!("source {}: a frame is dropped, {reason}: {words}", source.name()),
        _ => tracing::warn!(
            "source {}: {count} frames are dropped by now, {reason}; the last: {words}",
            source.name()
        ),
    }
}

/// The same time on the system's clock.
pub(super) fn unix(at: Instant) -> UnixNanos {
    let ago = u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX);
    UnixNanos(UnixNanos::now().0.saturating_sub(ago))
}
