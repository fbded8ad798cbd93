//! A session at a source's panel.

use std::sync::Arc;

use super::guest::{Guest, Told};
use super::panel::Panel;
use crate::frame::UnixNanos;
use crate::transport::{PathWatch, Peer};

/// A session's place at a panel, until this is dropped.
#[derive(Debug)]
pub(in super::super) struct Seat {
    panel: Arc<Panel>,
    number: u64,
}

impl Seat {
    pub(in super::super) fn take(
        panel: Arc<Panel>,
        peer: &Peer,
        path: &PathWatch,
        session: u64,
    ) -> Self {
        let guest = Guest {
            peer: peer.address.to_string(),
            pin: peer.pin.clone(),
            name: peer.permit.name().map(|name| name.to_string()),
            transport: peer.transport.name(),
            session,
            connections: 1,
            began: UnixNanos::now(),
            ended: false,
            rtt: None,
            told: None,
        };
        let number = panel.sit_down(guest, path.clone());
        Self { panel, number }
    }

    /// The panel.
    pub(in super::super) fn panel(&self) -> &Panel {
        &self.panel
    }

    /// The sender has told of itself.
    pub(in super::super) fn tell(&self, told: Told) {
        self.panel.told(self.number, told);
    }

    /// The sender has ended the source, of which so many frames will not come.
    pub(in super::super) fn end(&self, missing: u64) {
        self.panel.ended(self.number, missing);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.panel.leave(self.number);
    }
}
