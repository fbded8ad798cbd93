//! What the state was when a packet was sent, found again by its send time.
//!
//! quinn passes to `on_ack` the very instant it passed to `on_sent`, and all packets of a transmit
//! share it, so the instant is the key.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::loss::Pressure;

/// Transmits remembered. At 10 packets each this is 80,000 packets in flight: 1 Gbit/s over 1 s.
const MAX_FLIGHTS: usize = 8192;
/// A packet unacknowledged for longer says nothing about the path of today.
const MAX_AGE: Duration = Duration::from_secs(10);

/// Whether a packet can meet a queue that this flow has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Queue {
    /// As far as is known, it can.
    Own,
    /// It cannot: far less is in flight than the path once held. But this flow has more to send, so others
    /// may have taken the rest and hold it down, and theirs it can meet.
    Others,
    /// So little is in flight that others would have to be many, or to have been noticed.
    Unlikely,
    /// It cannot, and nobody holds this flow down: the application leaves room.
    None,
}

/// The state at the time of one transmit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    /// When it was sent.
    pub(super) sent: Instant,
    /// Bytes acknowledged by then.
    pub(super) delivered: u64,
    /// When the newest acknowledgement before had come.
    pub(super) delivered_at: Instant,
    /// When the packet acknowledged then had been sent.
    pub(super) acked_sent: Instant,
    /// Which run of back-to-back packets it belongs to.
    pub(super) train: u64,
    /// Bytes sent up to and with this transmit.
    pub(super) sent_bytes: u64,
    /// How many of them belong to its train.
    pub(super) into: u64,
    /// Whose queue it could meet.
    pub(super) queue: Queue,
    /// Whether that was more or less than the path was thought to carry.
    pub(super) pressure: Pressure,
}

/// The transmits in flight, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct SentLog {
    flights: VecDeque<Flight>,
}

impl SentLog {
    /// Adds a transmit, or adds to the newest when it has the same time.
    pub(super) fn push(&mut self, flight: Flight) {
        match self.flights.back_mut() {
            Some(last) if last.sent >= flight.sent => {
                last.sent_bytes = flight.sent_bytes;
                last.into = flight.into;
                last.queue = last.queue.min(flight.queue);
            }
            _ => self.flights.push_back(flight),
        }
        while self.flights.len() > MAX_FLIGHTS {
            self.flights.pop_front();
        }
    }

    /// The transmit of time `sent`, or the last one before it.
    pub(super) fn find(&self, sent: Instant) -> Option<Flight> {
        let after = self.flights.partition_point(|flight| flight.sent <= sent);
        self.flights.get(after.checked_sub(1)?).copied()
    }

    /// Drops what is too old to matter.
    pub(super) fn expire(&mut self, now: Instant) {
        while self
            .flights
            .front()
            .is_some_and(|flight| now.saturating_duration_since(flight.sent) > MAX_AGE)
        {
            self.flights.pop_front();
        }
    }
}
