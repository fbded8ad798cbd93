//! How much a sender may send unasked: it grows with what has been read of it, inside its session's share of
//! the memory, so that what quinn buffers is memory that was counted.

use std::sync::{Mutex, PoisonError};

use quinn::{Connection, TransportConfig, VarInt};

use super::settings::{FIRST_RECEIVE_WINDOW, FIRST_STREAMS, MAX_FRAME_STREAMS, RECEIVE_WINDOW};
use crate::congestion::lossy::start_window;
use crate::transport::Account;

/// What an open stream holds before any of its bytes is counted: its task, its state here and in quinn.
const STREAM_BYTES: u64 = 2 * 1_024;

/// The window is this many times what was read. A sender that starts doubles what it sends each round
/// trip, and credit takes one to arrive.
const AHEAD: u64 = 4;

/// What was read is looked at in steps of this.
const STEP_BYTES: u64 = 32 * 1_024;

/// The same for streams.
const STEP_STREAMS: u64 = 16;

/// A connection's flow control.
pub(super) struct Window {
    connection: Connection,
    account: Account,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    bytes: Credit,
    streams: Credit,
}

/// What the peer may use of something, and has used.
#[derive(Debug, Clone, Copy)]
struct Credit {
    first: u64,
    most: u64,
    limit: u64,
    /// What the peer has above the limit since that was lowered, until it has used as much.
    debt: u64,
    used: u64,
    unseen: u64,
}

impl Credit {
    fn new(first: u64, most: u64) -> Self {
        Self { first, most, limit: first, debt: 0, used: 0, unseen: 0 }
    }

    /// What the limit should be, going by what was used.
    fn wanted(&self) -> u64 {
        let ahead = self.used.saturating_mul(AHEAD).checked_next_power_of_two();
        ahead.unwrap_or(self.most).clamp(self.first, self.most)
    }

    /// What the peer has beyond what every session has.
    fn extra(&self) -> u64 {
        self.limit - self.first + self.debt
    }

    /// Counts what was used since the last time; gives how much of the debt that was.
    fn settle(&mut self) -> u64 {
        let used = std::mem::take(&mut self.unseen);
        self.used += used;
        let settled = used.min(self.debt);
        self.debt -= settled;
        settled
    }

    /// Lowers the limit by a share of what it is above the first.
    fn lower(&mut self, keep: u64, of: u64) {
        let above = u128::from(self.limit - self.first) * u128::from(keep) / u128::from(of.max(1));
        let limit = self.first + above as u64;
        self.debt += self.limit - limit;
        self.limit = limit;
    }
}

/// Limits a connection that begins to what every session has.
pub(super) fn begin(config: &mut TransportConfig) {
    config
        .receive_window(varint(FIRST_RECEIVE_WINDOW))
        .max_concurrent_uni_streams(varint(FIRST_STREAMS));
}

impl Window {
    /// Of a connection whose configuration [`begin`] has limited. It begins with what a sender may have under way
    /// over so long a path before anything it sent has been answered, as far as there is room.
    pub(super) fn new(connection: Connection, account: Account) -> Self {
        let mut bytes = Credit::new(FIRST_RECEIVE_WINDOW, u64::from(RECEIVE_WINDOW));
        let streams = Credit::new(FIRST_STREAMS, u64::from(MAX_FRAME_STREAMS));
        let more = start_window(connection.rtt()).saturating_sub(bytes.first);
        if more > 0 {
            bytes.limit += account.extend_credit(more);
            connection.set_receive_window(varint(bytes.limit));
        }
        Self { connection, account, state: Mutex::new(State { bytes, streams }) }
    }

    /// Counts bytes that were read of streams.
    pub(super) fn read(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes.unseen += bytes;
        if state.bytes.unseen >= STEP_BYTES {
            self.account.came(state.bytes.unseen);
            self.adjust(&mut state);
        }
    }

    /// Counts a stream that has ended.
    pub(super) fn ended(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.streams.unseen += 1;
        if state.streams.unseen >= STEP_STREAMS {
            self.adjust(&mut state);
        }
    }

    /// Gives the peer more credit though there is no room for it: what was given lies unread on streams that
    /// wait for memory, and the one that may go over the budget does not get on.
    pub(super) fn unblock(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = &mut state.bytes;
        let more = bytes.limit.min(bytes.most - bytes.limit);
        if more > 0 {
            bytes.limit += more;
            self.account.force_credit(more);
            self.connection.set_receive_window(varint(bytes.limit));
        }
    }

    fn adjust(&self, state: &mut State) {
        let State { bytes, streams } = state;
        let settled = bytes.settle() + streams.settle() * STREAM_BYTES;
        if settled > 0 {
            self.account.take_back_credit(settled);
        }
        let (before_bytes, before_streams) = (bytes.limit, streams.limit);
        let held = bytes.extra() + streams.extra() * STREAM_BYTES;
        let most = self.account.most_credit();
        if held > most {
            // What is owed already will be given back; the rest of it has to come from the limits.
            let owed = bytes.debt + streams.debt * STREAM_BYTES;
            let (above, keep) = (held - owed, most.saturating_sub(owed));
            if above > keep {
                bytes.lower(keep, above);
                streams.lower(keep, above);
            }
        } else {
            let more_streams = streams.wanted().saturating_sub(streams.limit);
            let more_bytes = bytes.wanted().saturating_sub(bytes.limit);
            let wanted = more_streams * STREAM_BYTES + more_bytes;
            if wanted > 0 {
                let got = self.account.extend_credit(held + wanted).saturating_sub(held);
                let got_streams = more_streams.min(got / STREAM_BYTES);
                streams.limit += got_streams;
                bytes.limit += more_bytes.min(got - got_streams * STREAM_BYTES);
                let used = got_streams * STREAM_BYTES + (bytes.limit - before_bytes);
                self.account.take_back_credit(got - used);
            }
        }
        if bytes.limit != before_bytes {
            self.connection.set_receive_window(varint(bytes.limit));
        }
        if streams.limit != before_streams {
            self.connection.set_max_concurrent_uni_streams(varint(streams.limit));
        }
    }
}

fn varint(number: u64) -> VarInt {
    VarInt::from_u64(number).unwrap_or(VarInt::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_runs_ahead_of_what_is_used_and_is_owed_when_lowered() {
        let mut credit = Credit::new(100, 10_000);
        assert_eq!(credit.wanted(), 100);
        credit.unseen = 1_000;
        assert_eq!(credit.settle(), 0);
        assert_eq!(credit.wanted(), 4_096);
        credit.limit = credit.wanted();
        credit.lower(1, 4);
        assert_eq!((credit.limit, credit.debt), (1_099, 2_997));
        assert_eq!(credit.extra(), 3_996, "the peer still has it");
        credit.unseen = 2_000;
        assert_eq!(credit.settle(), 2_000);
        credit.unseen = 2_000;
        assert_eq!(credit.settle(), 997);
        assert_eq!(credit.extra(), 999);
    }
}
