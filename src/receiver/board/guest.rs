//! Who sends to a source, and what it tells of itself.

use std::collections::VecDeque;
use std::time::Duration;

use crate::frame::UnixNanos;
use crate::transport::PathWatch;
use crate::wire::{SourceStanding, Standing};

/// Who sends to a source at the moment.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Its address and port.
    pub peer: String,
    /// The pin of its certificate, where it has one.
    pub pin: Option<String>,
    /// What the receiver's user calls it.
    pub name: Option<String>,
    /// The transport.
    pub transport: &'static str,
    /// Which session it is, counted from 1 since the receiver began, and by how many connections it goes.
    pub session: u64,
    /// See there.
    pub connections: u32,
    /// When its session began.
    pub began: UnixNanos,
    /// It has said that the source is at its end.
    pub ended: bool,
    /// The round trip, where either end knows it.
    pub rtt: Option<Duration>,
    /// What the sender last told of itself, and when that came.
    pub told: Option<(Told, UnixNanos)>,
}

/// What only a sender knows, of its link and of one source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// The round trip.
    pub rtt: Duration,
    /// Packets sent in this session.
    pub packets_sent: u64,
    /// Packets of these that were lost.
    pub packets_lost: u64,
    /// Bytes sent, of everything.
    pub bytes_sent: u64,
    /// Bytes of forward repair among these.
    pub repair_bytes: u64,
    /// How far the receiver's clock is ahead of the sender's, in nanoseconds; `None` where it does not know.
    pub clock_ahead: Option<i64>,
    /// Frames of the source so far.
    pub captured: u64,
    /// Frames of these that are settled: stored, stored before, or given up.
    pub settled: u64,
    /// Age of the oldest frame that is not, as far as the sender knows it.
    pub lag: Option<Duration>,
}

/// A session as a panel knows it.
#[derive(Debug)]
pub(super) struct Sitting {
    pub(super) number: u64,
    pub(super) guest: Guest,
    pub(super) path: PathWatch,
    /// What the sender told in the last seconds, the oldest first.
    pub(super) earlier: VecDeque<(Told, UnixNanos)>,
}

impl Guest {
    /// Takes in what is known of another connection of the same session.
    pub(super) fn join(&mut self, other: Self) {
        self.connections += other.connections;
        self.ended |= other.ended;
        self.rtt = self.rtt.into_iter().chain(other.rtt).min();
        let when = |told: &Option<(Told, UnixNanos)>| told.map(|(_, when)| when.0);
        if when(&other.told) > when(&self.told) {
            self.told = other.told;
        }
    }
}

impl Told {
    pub(in super::super) fn of(standing: &Standing, source: &SourceStanding) -> Self {
        Self {
            rtt: standing.rtt,
            packets_sent: standing.packets_sent,
            packets_lost: standing.packets_lost,
            bytes_sent: standing.bytes_sent,
            repair_bytes: standing.repair_bytes,
            clock_ahead: standing.clock_ahead,
            captured: source.captured,
            settled: source.settled,
            lag: source.lag,
        }
    }
}
