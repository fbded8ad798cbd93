//! The emulated link on this machine: who may have one, and what it consists of.

mod error;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod unsupported;

use std::net::Ipv4Addr;

use serde::Serialize;

pub use error::EmulationError;
#[cfg(target_os = "linux")]
pub use linux::{
    Emulation, NamespaceHandle, Privilege, available_congestion_controls, enter_user_namespace,
};
#[cfg(not(target_os = "linux"))]
pub use unsupported::{
    Emulation, NamespaceHandle, Privilege, available_congestion_controls, enter_user_namespace,
};

use super::pipe::DirectionStats;

/// The largest IP packet on the link, in bytes: what Ethernet carries.
pub const MTU: u32 = 1_500;

/// The sender's end. 198.18.0.0/15 is set aside for benchmarks (RFC 2544, appendix C.2.2).
pub const NEAR_ADDR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// The receiver's end.
pub const FAR_ADDR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// What became of the packets of a link since its specification was last set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LinkStats {
    /// From sender to receiver.
    pub up: DirectionStats,
    /// From receiver to sender.
    pub down: DirectionStats,
    /// How well the emulation itself keeps time.
    pub punctuality: Punctuality,
}

impl LinkStats {
    /// The counts of two links side by side. What was waited for is that of the one where it was longer.
    #[must_use]
    pub fn beside(self, other: Self) -> Self {
        let (a, b) = (self.punctuality, other.punctuality);
        Self {
            up: self.up.beside(other.up),
            down: self.down.beside(other.down),
            punctuality: Punctuality {
                released: a.released + b.released,
                late: a.late + b.late,
                max_late_us: a.max_late_us.max(b.max_late_us),
            },
        }
    }
}

/// How well this machine keeps the link's time, both directions together. A run in which many
/// packets were late says more about a busy machine than about the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Punctuality {
    /// Packets handed to the receiving end's kernel.
    pub released: u64,
    /// Those handed over more than a millisecond after they were due.
    pub late: u64,
    /// The latest, in microseconds after it was due.
    pub max_late_us: u64,
}
