//! How long a run goes on trying.

use std::time::Duration;

use super::stall::Limit;
use crate::transport::TransportError;

/// The first pause before connecting again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A link that comes back is used within this time, and what a name service without an answer takes.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// After a session that has settled frames, and lasted for this long, the first attempt is made at once: most often its
/// connection is gone, and the receiver is not. No receiver is asked more often than that by it.
const WORKED_FOR: Duration = Duration::from_millis(300);

/// What a wait has at least, however little of the patience is left: a few round trips. An attempt has two
/// such waits at most.
const LEAST_WAIT: Duration = Duration::from_millis(700);

/// Sessions in a row that settle nothing in which a link that moves is no time in vain: a long frame may take
/// its time, and be cut off by an outage. Beyond that the receiver only takes what is sent.
const EXCUSED: u32 = 3;

/// The option that gives a run its patience.
const RETRY_FOR: &str = "`retry_for`";

/// Pauses between attempts, and when to give up.
#[derive(Debug)]
pub(super) struct Attempts {
    patience: Duration,
    stall: Duration,
    /// Time since a frame was settled in which nothing came: dialling, pauses, sessions that settled nothing.
    spent: Duration,
    pause: Duration,
    /// Sessions since the last one that settled a frame.
    in_vain: u32,
    /// The next attempt waits for nothing.
    at_once: bool,
}

impl Attempts {
    /// With no patience there is one attempt, which has as long as dialling and a stall take.
    pub(super) fn new(patience: Duration, stall: Duration) -> Self {
        Self {
            patience,
            stall,
            spent: Duration::ZERO,
            pause: FIRST_PAUSE,
            in_vain: 0,
            at_once: false,
        }
    }

    /// How long the next attempt may dial; `None` where only the transport says so.
    pub(super) fn dialling(&self) -> Option<Duration> {
        (!self.patience.is_zero()).then(|| self.left().max(LEAST_WAIT))
    }

    /// How long the receiver may let nothing come in the next session: until a frame is settled, and after.
    pub(super) fn limits(&self) -> [Limit; 2] {
        let stall = Limit { time: self.stall, option: "`stall`" };
        let within = |left: Duration| match left.max(LEAST_WAIT) {
            left if !self.patience.is_zero() && left < self.stall => {
                Limit { time: left, option: RETRY_FOR }
            }
            _ => stall,
        };
        [within(self.left()), within(self.patience)]
    }

    pub(super) fn spend(&mut self, time: Duration) {
        self.spent = self.spent.saturating_add(time);
    }

    /// A session has ended that lasted for so long, in which something was owed for so long, and at the end of which
    /// nothing had come of that for as long as `quiet`.
    pub(super) fn session_ended(
        &mut self,
        settled_some: bool,
        lasted: Duration,
        owed_for: Duration,
        quiet: Duration,
    ) {
        if settled_some {
            *self = Self::new(self.patience, self.stall);
            self.spend(quiet);
            self.at_once = lasted >= WORKED_FOR;
        } else {
            self.in_vain += 1;
            self.spend(if self.in_vain > EXCUSED { owed_for } else { quiet });
        }
    }

    /// The next pause, or `None` where patience is at its end.
    pub(super) fn next_pause(&mut self) -> Option<Duration> {
        let left = Some(self.left()).filter(|left| !left.is_zero())?;
        if std::mem::take(&mut self.at_once) {
            return Some(Duration::ZERO);
        }
        let pause = self.pause.min(left);
        self.spend(pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }

    /// Why a run ended whose last session, or attempt at one, ended so.
    pub(super) fn explain(&self, error: &TransportError) -> String {
        match self.in_vain {
            sessions @ 2.. => format!(
                "{error}; {sessions} sessions in a row ended before a frame was stored: the receiver's own \
                 messages say why"
            ),
            _ => error.to_string(),
        }
    }

    fn left(&self) -> Duration {
        self.patience.saturating_sub(self.spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);
    const STALL: Duration = Duration::from_secs(20);

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The pauses until patience is at its end, where each attempt takes `attempt` and opens no session, or one
    /// that settles nothing.
    fn pauses(attempt: Duration, opens: bool) -> (usize, Duration, Attempts) {
        let mut attempts = Attempts::new(PATIENCE, STALL);
        let (mut count, mut sum) = (0, Duration::ZERO);
        loop {
            attempts.spend(attempt);
            if opens {
                attempts.session_ended(false, WORKED_FOR, Duration::ZERO, Duration::ZERO);
            }
            let Some(pause) = attempts.next_pause() else { return (count, sum, attempts) };
            assert!(pause <= LONGEST_PAUSE, "{pause:?}");
            (count, sum) = (count + 1, sum + pause);
        }
    }

    #[test]
    fn patience_covers_dialling_and_pauses() {
        let (count, sum, _) = pauses(Duration::from_secs(8), false);
        // 8, 0.1, 8, 0.2, 8, 0.4, 8 seconds.
        assert_eq!((count, sum), (3, ms(700)));
        let (count, sum, _) = pauses(Duration::ZERO, false);
        assert_eq!(sum, PATIENCE);
        assert!(count < 25, "{count} attempts");
    }

    #[test]
    fn sessions_that_settle_nothing_use_up_patience_and_are_told() {
        let (count, _, attempts) = pauses(ms(1), true);
        assert!((15..25).contains(&count), "{count} sessions");
        let why = attempts.explain(&TransportError::Silent { why: "reset".to_owned() });
        assert!(why.starts_with("reset; "), "{why}");
        assert!(why.contains("sessions in a row ended before a frame was stored"), "{why}");
    }

    #[test]
    fn what_waits_in_a_session_has_what_is_left_of_the_patience() {
        let mut attempts = Attempts::new(PATIENCE, STALL);
        let within = |time, option| Limit { time, option };
        assert_eq!(attempts.limits(), [within(STALL, "`stall`"); 2]);
        attempts.spend(ms(25_000));
        assert_eq!(attempts.dialling(), Some(ms(5_000)));
        let limits = [within(ms(5_000), RETRY_FOR), within(STALL, "`stall`")];
        assert_eq!(attempts.limits(), limits);
        attempts.spend(ms(60_000));
        assert_eq!(attempts.dialling(), Some(LEAST_WAIT));
        assert_eq!(attempts.limits()[0], within(LEAST_WAIT, RETRY_FOR));
    }

    #[test]
    fn a_session_that_settles_nothing_counts_with_the_time_in_which_nothing_came() {
        let mut attempts = Attempts::new(PATIENCE, STALL);
        attempts.session_ended(false, ms(60_000), ms(60_000), ms(5_000));
        assert_eq!(attempts.left(), ms(25_000));
        // But a receiver that takes bytes again and again, and stores none, is not excused for ever.
        for _ in 0..EXCUSED {
            attempts.session_ended(false, ms(60_000), ms(60_000), Duration::ZERO);
        }
        assert_eq!(attempts.next_pause(), None);
    }

    #[test]
    fn a_settled_frame_gives_new_patience() {
        let (_, _, mut attempts) = pauses(Duration::from_secs(8), true);
        attempts.session_ended(true, WORKED_FOR / 2, Duration::ZERO, ms(1_000));
        assert_eq!(attempts.left(), ms(29_000));
        assert_eq!(attempts.next_pause(), Some(FIRST_PAUSE));
        assert_eq!(attempts.explain(&TransportError::Ended), TransportError::Ended.to_string());
    }

    #[test]
    fn after_a_session_that_worked_the_first_attempt_is_made_at_once() {
        let mut attempts = Attempts::new(PATIENCE, STALL);
        attempts.session_ended(true, WORKED_FOR, Duration::ZERO, Duration::ZERO);
        assert_eq!(attempts.next_pause(), Some(Duration::ZERO));
        assert_eq!(attempts.next_pause(), Some(FIRST_PAUSE));
        attempts.session_ended(true, WORKED_FOR, Duration::ZERO, PATIENCE);
        assert_eq!(attempts.next_pause(), None, "nothing came for as long as it has patience");
    }

    #[test]
    fn no_patience_is_one_attempt_that_has_its_time() {
        let mut attempts = Attempts::new(Duration::ZERO, STALL);
        assert_eq!(attempts.dialling(), None);
        assert_eq!(attempts.limits()[0].time, STALL);
        assert_eq!(attempts.next_pause(), None);
    }
}
