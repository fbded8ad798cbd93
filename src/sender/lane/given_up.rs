//! Frames that the transport was at, and has given up.
//!
//! It may have given up what has arrived: then the receipt is on its way. So a frame is not declared before that would
//! have come, and where the session is lost meanwhile, the next one asks for it.

use std::time::{Duration, Instant};

use super::super::ledger::Ledger;
use super::super::tend::{too_late, unix};
use super::Lane;
use crate::frame::{DropReason, Sequence};
use crate::transport::PathStats;

/// How long a receipt may take beyond a round trip: the receiver stores the frame first.
const STORING: Duration = Duration::from_millis(60);

/// How often it is looked, in an outage, whether anything has come.
const AGAIN: Duration = Duration::from_millis(20);

/// A frame of which it is not known yet whether it has arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limbo {
    place: Sequence,
    until: Instant,
    /// Datagrams that had come by then, where that is known. In an outage nothing is concluded from silence.
    came: Option<u64>,
}

impl Lane {
    /// The transport sends no more of a frame.
    pub(in crate::sender) fn given_up(
        &mut self,
        sequence: Sequence,
        ledger: &Ledger,
        path: &PathStats,
    ) {
        let Some(place) = ledger.place(sequence).filter(|&place| self.is_handed(place)) else {
            return;
        };
        let until = Instant::now() + path.rtt + STORING;
        self.given_up.push_back(Limbo { place, until, came: path.datagrams_received });
        self.in_vain = true;
    }

    /// Declares those whose receipts would have come by now.
    pub(super) fn settle_given_up(&mut self, ledger: &mut Ledger, path: &PathStats) {
        let now = Instant::now();
        let is_over = |limbo: &Limbo| {
            let heard = limbo.came.is_none() || limbo.came != path.datagrams_received;
            limbo.until <= now && heard
        };
        while let Some(Limbo { place, .. }) = self.given_up.front().copied().filter(is_over) {
            self.given_up.pop_front();
            if self.is_handed(place) {
                let due = ledger.due_of(place);
                self.doom(place, DropReason::Late);
                self.lose(place, too_late(due.map(|due| unix(due.at))), ledger);
            }
        }
        // Nothing that is waited for has a time that has passed.
        if let Some(first) = self.given_up.front_mut().filter(|limbo| limbo.until <= now) {
            first.until = now + AGAIN;
        }
    }

    /// When the next of them is to be looked at.
    pub(super) fn given_up_until(&self) -> Option<Instant> {
        self.given_up.front().map(|limbo| limbo.until)
    }
}
