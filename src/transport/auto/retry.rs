//! When QUIC is tried again while a session goes over TCP.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause. An attempt is some 20 packets where nobody answers.
const FIRST: Duration = Duration::from_secs(3);

/// The longest. Where UDP is never let through that is some 5 MB a day.
const LONGEST: Duration = Duration::from_secs(300);

/// A path that has carried QUIC for this long may be trusted again when it fails: otherwise each change would
/// be a wait for somebody's frame, again and again.
const STEADY: Duration = Duration::from_secs(60);

/// Pauses that double, until QUIC has held for a while or the network has changed.
#[derive(Debug)]
pub(super) struct Retry {
    pause: Duration,
    next: Instant,
    /// Since when QUIC is in use, where it has taken over from TCP.
    took_over: Option<Instant>,
}

impl Retry {
    pub(super) fn new(now: Instant) -> Self {
        Self { pause: FIRST, next: now + FIRST, took_over: None }
    }

    /// When the next attempt begins.
    pub(super) fn at(&self) -> Instant {
        self.next
    }

    /// An attempt has failed.
    pub(super) fn failed(&mut self, now: Instant) {
        self.next = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST);
    }

    /// Another network than that of the attempts before.
    pub(super) fn network_changed(&mut self, now: Instant) {
        *self = Self { next: now, ..Self::new(now) };
    }

    /// QUIC has taken over from TCP.
    pub(super) fn took_over(&mut self, now: Instant) {
        self.took_over = Some(now);
    }

    /// TCP has taken over from QUIC.
    pub(super) fn fell_back(&mut self, now: Instant) {
        let held = self.took_over.take().is_none_or(|since| now - since >= STEADY);
        if held {
            self.pause = FIRST;
        }
        self.failed(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_in_another_network() {
        let now = Instant::now();
        let mut retry = Retry::new(now);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            retry.failed(now);
            pauses.push((retry.at() - now).as_secs());
        }
        assert_eq!(pauses, [3, 6, 12, 24, 48, 96, 192, 300, 300]);
        retry.network_changed(now);
        assert_eq!(retry.at(), now);
        retry.failed(now);
        assert_eq!(retry.at(), now + FIRST);
    }

    #[test]
    fn a_path_that_holds_for_moments_only_is_tried_less_and_less() {
        let now = Instant::now();
        let mut retry = Retry::new(now);
        let mut pause = |held: Duration| {
            retry.took_over(now);
            retry.fell_back(now + held);
            (retry.at() - (now + held)).as_secs()
        };
        let moment = Duration::from_secs(5);
        assert_eq!([pause(moment), pause(moment), pause(moment)], [3, 6, 12]);
        assert_eq!([pause(STEADY), pause(moment)], [3, 6]);
    }
}
