//! The paths of a session as its sender sees them: as one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::{PathStats, PathWatch};
use super::line::Line;
use super::steer::Health;

/// What is known of all connections together. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Each that is there, by its number, and whether frames go over it.
    there: Vec<(u64, PathWatch, bool)>,
    /// What those have counted that are gone.
    gone: PathStats,
}

impl Sums {
    /// The connections that there are now.
    pub(super) fn set(&self, lines: &[Line]) {
        let carries = |line: &Line| line.is_joined() && line.health != Health::Dead;
        let any = lines.iter().any(carries);
        let there =
            lines.iter().map(|line| (line.id, line.link.path.clone(), carries(line) || !any));
        self.inner().there = there.collect();
    }

    /// One of them is gone.
    pub(super) fn left(&self, line: &Line) {
        let mut inner = self.inner();
        // Not here and there, however long the others wait to be set.
        inner.there.retain(|(id, ..)| *id != line.id);
        count(&mut inner.gone, &line.link.path.look());
    }

    /// How it is now.
    pub(super) fn look(&self) -> PathStats {
        let inner = self.inner();
        let mut all = inner.gone;
        let mut rtt: Option<Duration> = None;
        for (_, path, carries) in &inner.there {
            let stats = path.look();
            count(&mut all, &stats);
            if !carries {
                continue;
            }
            if !stats.rtt.is_zero() {
                rtt = Some(rtt.map_or(stats.rtt, |rtt| rtt.min(stats.rtt)));
            }
            all.window += stats.window;
            // What stands where nothing moves is sent again elsewhere, and takes no room.
            all.with_transport += stats.with_transport;
            all.late_with_transport += stats.late_with_transport;
            all.datagram = all.datagram.into_iter().chain(stats.datagram).min();
        }
        all.rtt = rtt.unwrap_or_default();
        all
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Counts, each true by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds what only ever goes up.
fn count(all: &mut PathStats, one: &PathStats) {
    let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
    };
    all.datagrams_received = sum(all.datagrams_received, one.datagrams_received);
    all.moved = sum(all.moved, one.moved);
    all.packets_sent += one.packets_sent;
    all.packets_lost += one.packets_lost;
    all.bytes_sent += one.bytes_sent;
    all.bytes_received += one.bytes_received;
    all.repair_bytes += one.repair_bytes;
}
