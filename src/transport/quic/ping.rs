//! A question whether the receiver is there that needs none of its credit.
//!
//! A receiver that has no room gives no credit, and then nothing that travels on a stream leaves any more, a question
//! of the session's no more than a frame: such a connection is as silent as one whose path has died. What tells them
//! apart is a packet outside of flow control, which a receiver that lives acknowledges. quinn sends no PING at one's
//! wish, but announces a receive window when that has grown: it is made one byte smaller, and as large again.
//!
//! Where packets with frames are under way it need not be asked: they are acknowledged, or it is the path that swallows
//! them.

use std::time::{Duration, Instant};

use quinn::{Connection, VarInt};

use super::outlook::LEAST_PACKET;
use super::settings::{NUDGE_INTERVAL, RECEIVE_WINDOW};

/// When the receiver was heard and asked. Time is passed in.
#[derive(Debug)]
pub(super) struct Question {
    /// Datagrams that had come, and since when there are no more.
    came: u64,
    heard: Instant,
    asked: Option<Instant>,
}

impl Question {
    /// Begins when so many datagrams have come.
    pub(super) fn new(came: u64, now: Instant) -> Self {
        Self { came, heard: now, asked: None }
    }

    /// Takes in how many datagrams have come by now.
    fn look(&mut self, came: u64, now: Instant) {
        if came != self.came {
            (self.came, self.heard, self.asked) = (came, now, None);
        }
    }

    /// True where it is to be asked now; it is, then. One that is not answered is asked again after a round trip, since
    /// the question or the answer may be lost. Where something `flies` that is to be acknowledged it is asked once, and
    /// later: that may not be so any more, and more questions would put off what quinn does about lost packets.
    fn is_due(&mut self, flies: bool, rtt: Duration, now: Instant) -> bool {
        let when = match (self.asked, flies) {
            (None, false) => self.heard + NUDGE_INTERVAL / 2,
            (None, true) => self.heard + rtt + NUDGE_INTERVAL * 2,
            (Some(asked), false) => asked + rtt + NUDGE_INTERVAL,
            (Some(_), true) => return false,
        };
        let is_due = now >= when;
        if is_due {
            self.asked = Some(now);
        }
        is_due
    }
}

/// Asks where an answer `is_awaited` and nothing else would tell; `flies` bytes are under way that are to be acknowledged.
pub(super) fn ask(connection: &Connection, question: &mut Question, is_awaited: bool, flies: u64) {
    let (stats, now) = (connection.stats(), Instant::now());
    question.look(stats.udp_rx.datagrams, now);
    if is_awaited && question.is_due(flies >= LEAST_PACKET, stats.path.rtt, now) {
        connection.set_receive_window(VarInt::from_u32(RECEIVE_WINDOW - 1));
        connection.set_receive_window(VarInt::from_u32(RECEIVE_WINDOW));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When it is asked in 300 ms, in which an answer comes to the second question.
    fn asked(flies: bool) -> Vec<u64> {
        let (start, rtt) = (Instant::now(), Duration::from_millis(50));
        let mut question = Question::new(7, start);
        let mut asked = Vec::new();
        for ms in (0..=300).step_by(25) {
            let now = start + Duration::from_millis(ms);
            question.look(if ms < 150 { 7 } else { 8 }, now);
            if question.is_due(flies, rtt, now) {
                asked.push(ms);
            }
        }
        asked
    }

    #[test]
    fn a_silent_receiver_is_asked_soon_and_again_after_a_round_trip() {
        assert_eq!(asked(false), [25, 100, 175, 250]);
        assert_eq!(asked(true), [100, 250], "once, where packets are under way");
    }
}
