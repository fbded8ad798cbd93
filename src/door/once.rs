//! When a receiver that serves one sender has come to its end, as with `receive --once`.

use std::time::{Duration, Instant};

use crate::receiver::SessionReport;
use crate::transport::Transport;

/// How long `--once` waits for a next connection: the stop-and-wait protocol has one for each
/// source, and the scripts open the next when the last has ended.
const ONCE_LINGER: Duration = Duration::from_secs(1);

/// How long `--once` waits for the sender of a session that broke: it pauses for up to 2 s before it
/// comes back, may wait as long for its name service, and then has to connect.
const ONCE_RETURN: Duration = Duration::from_secs(7);

/// When `--once` ends: a sender has sent all that it has, and none is expected back.
#[derive(Debug, Default)]
pub(crate) struct OnceEnd {
    completed: bool,
    /// Until when the sender of an ended session may open a next one.
    until: Option<Instant>,
}

impl OnceEnd {
    /// Takes in an ended session. A connection that came to no session, as a port scan's, changes
    /// nothing; one that broke does not make undone what another completed.
    pub(crate) fn take(&mut self, session: &SessionReport, now: Instant) {
        if session.began.is_none() {
            return;
        }
        let is_over = session.complete || session.closed && session.has_no_more();
        self.completed |= is_over;
        let plain = session.transport == Transport::StopAndWait.name();
        let linger = match (is_over && session.closed, plain) {
            (true, false) => Duration::ZERO,
            (true, true) => ONCE_LINGER,
            // Its sender has another open already.
            (false, _) if session.moved => Duration::ZERO,
            (false, _) => ONCE_RETURN,
        };
        // Whoever was waited for still is.
        self.until = self.until.max(Some(now + linger));
    }

    /// Whether it has, where no session is open.
    pub(crate) fn has_come(&self, now: Instant) -> bool {
        self.completed && self.until.is_some_and(|until| now >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::SourceTotals;

    fn session(began: Option<u64>, complete: bool, closed: bool) -> SessionReport {
        SessionReport {
            peer: "127.0.0.1:1".to_owned(),
            pin: None,
            transport: Transport::Quic.to_string(),
            connections: 1,
            began,
            asked: began,
            sources: Vec::new(),
            complete,
            closed,
            moved: false,
            end: String::new(),
            refused_unnamed: 0,
        }
    }

    /// How long after the last of these sessions `--once` ends, where it does.
    fn wait(sessions: &[SessionReport]) -> Option<Duration> {
        let mut end = OnceEnd::default();
        let now = Instant::now();
        sessions.iter().for_each(|session| end.take(session, now));
        let waits = [Duration::ZERO, ONCE_LINGER, ONCE_RETURN];
        waits.into_iter().find(|wait| end.has_come(now + *wait))
    }

    #[test]
    fn once_ends_with_a_complete_session_in_whatever_order_others_end() {
        let all = || session(Some(1), true, true);
        let broken = || session(Some(2), false, false);
        let scan = || session(None, false, false);
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[scan()]), None, "a port scan is no session");
        assert_eq!(wait(&[broken(), scan()]), None, "its sender has not sent all");
        assert_eq!(wait(&[all()]), Some(Duration::ZERO));
        assert_eq!(wait(&[scan(), all()]), Some(Duration::ZERO));
        assert_eq!(wait(&[all(), scan()]), Some(Duration::ZERO), "a port scan makes it wait");
        // The sender of the other may come back, but is not waited for without end.
        assert_eq!(wait(&[all(), broken()]), Some(ONCE_RETURN));
        assert_eq!(wait(&[broken(), all()]), Some(ONCE_RETURN));
    }

    #[test]
    fn once_does_not_wait_for_a_sender_that_went_on_elsewhere() {
        let moved = SessionReport { moved: true, ..session(Some(1), false, false) };
        assert_eq!(wait(std::slice::from_ref(&moved)), None, "nothing is complete");
        assert_eq!(wait(&[moved, session(Some(2), true, true)]), Some(Duration::ZERO));
    }

    #[test]
    fn once_waits_for_a_sender_that_may_not_know_that_it_is_done() {
        assert_eq!(wait(&[session(Some(1), true, false)]), Some(ONCE_RETURN));
    }

    #[test]
    fn once_ends_where_a_sender_has_sent_all_that_was_taken_of_it() {
        let source = |frames, unopened: Option<&str>| SourceTotals {
            frames,
            unopened: unopened.map(str::to_owned),
            ..SourceTotals::default()
        };
        let with = |last| SessionReport {
            sources: vec![source(Some(1), None), last],
            ..session(Some(1), false, true)
        };
        assert_eq!(wait(&[with(source(None, Some("another's")))]), Some(Duration::ZERO));
        assert_eq!(wait(&[with(source(None, None))]), None);
    }

    #[test]
    fn once_waits_for_the_scripts_next_connection() {
        let transport = Transport::StopAndWait.to_string();
        let plain = SessionReport { transport, ..session(Some(1), true, true) };
        assert_eq!(wait(&[plain]), Some(ONCE_LINGER));
    }
}
