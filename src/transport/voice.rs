//! What is said of peers in the log: each line that matters, and no flood of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines about one peer at once, and how long it takes until it has earned another.
const OF_ONE: Rate = Rate { burst: 40, every: Duration::from_secs(2) };

/// The same for all peers together.
const OF_ALL: Rate = Rate { burst: 200, every: Duration::from_millis(250) };

/// Peers that are remembered.
const REMEMBERED: usize = 1_024;

/// A line is cut to this many bytes.
const LONGEST: usize = 1_000;

/// Says what peers cause to be said, within bounds. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Voice(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    all: Count,
    peers: HashMap<String, Count>,
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    every: Duration,
}

/// How much was said.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    lines: u32,
    /// When a line of these was last earned back.
    since: Option<Instant>,
    left_out: u64,
}

impl Voice {
    /// A warning that concerns `peer`: its pin, or its address. What is too much is counted, and its number
    /// said with the next one.
    pub fn warn(&self, peer: &str, line: impl FnOnce() -> String) {
        if let Some(left_out) = self.may_say(peer, Instant::now()) {
            let mut line = line();
            if line.len() > LONGEST {
                line.truncate(line.floor_char_boundary(LONGEST));
                line.push_str("...");
            }
            match left_out {
                0 => tracing::warn!("{line}"),
                left_out => tracing::warn!("{line} ({left_out} lines about it were left out)"),
            }
        }
    }

    /// Whether a line about `peer` may be said, and how many were not since the last.
    pub fn may_say(&self, peer: &str, now: Instant) -> Option<u64> {
        let mut said = self.said();
        if !said.peers.contains_key(peer) {
            if said.peers.len() >= REMEMBERED {
                said.forget(now);
            }
            said.peers.insert(peer.to_owned(), Count::default());
        }
        let Said { all, peers } = &mut *said;
        let peer = peers.get_mut(peer)?;
        if peer.may_say(OF_ONE, now) && all.may_say(OF_ALL, now) {
            peer.lines += 1;
            all.lines += 1;
            return Some(std::mem::take(&mut peer.left_out));
        }
        peer.left_out += 1;
        None
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        // Counts are right at every moment, so another thread's panic does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    /// Forgets those of whom nothing is remembered, or else everybody: more peers than that are a flood,
    /// which the bound for all of them holds back.
    fn forget(&mut self, now: Instant) {
        self.peers.retain(|_, count| {
            count.earn(OF_ONE, now);
            count.lines > 0 || count.left_out > 0
        });
        if self.peers.len() >= REMEMBERED {
            self.peers.clear();
        }
    }
}

impl Count {
    fn may_say(&mut self, rate: Rate, now: Instant) -> bool {
        self.earn(rate, now);
        self.lines < rate.burst
    }

    /// Takes lines off that were earned back since.
    fn earn(&mut self, rate: Rate, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let earned =
            (now.saturating_duration_since(since).as_nanos() / rate.every.as_nanos()) as u32;
        if earned > 0 {
            self.lines = self.lines.saturating_sub(earned);
            self.since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_said() {
        let (voice, start) = (Voice::default(), Instant::now());
        let said = (0..1_000).filter(|_| voice.may_say("a", start).is_some()).count();
        assert_eq!(said, OF_ONE.burst as usize);
        assert_eq!(voice.may_say("b", start), Some(0), "others are heard");
        let later = start + OF_ONE.every;
        assert_eq!(voice.may_say("a", later), Some(1_000 - u64::from(OF_ONE.burst)));
        assert_eq!(voice.may_say("a", later), None);
    }

    #[test]
    fn many_peers_together_are_bounded() {
        let (voice, start) = (Voice::default(), Instant::now());
        let peers = (0..10_000).map(|peer| peer.to_string());
        let said = peers.filter(|peer| voice.may_say(peer, start).is_some()).count();
        assert_eq!(said, OF_ALL.burst as usize);
        assert!(voice.said().peers.len() <= REMEMBERED);
    }
}
