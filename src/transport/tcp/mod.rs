//! TLS 1.3 over TCP: one connection for everything (`tcp`), or one more for each frame
//! (`tcp-per-frame`).
//!
//! What is here is the baseline that QUIC is compared with, so it is as good as TCP can be made:
//! frames of all sources follow one another without a pause, small ones share TLS records and system
//! calls, large ones are encrypted from where they lie, and receipts flow the other way meanwhile.
//! What TCP cannot do is let a frame overtake a lost packet of another.
//!
//! `connect`, `dial` and `listener` open connections, `counted` tells whether one moves, `path` what the kernel knows of it, `gulps` makes few system
//! calls of many reads, `pace` keeps live frames from queueing, `link` runs one, `writer` and `reader` move its records,
//! `intake` decides on frames that arrive, `per_frame` is what `tcp-per-frame` adds, and `underway` has
//! what the session hears of its frames.

mod alive;
mod connect;
mod counted;
mod dial;
mod gulps;
mod intake;
mod link;
mod listener;
mod pace;
mod path;
mod per_frame;
mod reader;
mod settings;
mod socket;
mod underway;
mod writer;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;

pub use dial::TcpDial;
pub use listener::listen;

use crate::identity::Permit;

/// Says in a user's words what a TLS error means: at a sender where another attempt fails as well, because it is about
/// identity or trust.
pub type Classify = Arc<dyn Fn(&io::Error) -> Option<String> + Send + Sync>;

/// Makes what one connection needs: TLS, and what explains how its handshake failed. Each has its own, so
/// that a refusal is told of the right sender.
pub type TlsOfEach = Arc<dyn Fn() -> (ServerConfig, Classify) + Send + Sync>;

/// The permit of the sender with these certificates, or in words why it may not send.
pub type Admit = Arc<dyn Fn(&[CertificateDer<'_>]) -> Result<Permit, String> + Send + Sync>;

/// What a user may choose about TCP.
#[derive(Debug, Clone)]
pub struct TcpOptions {
    /// The kernel's congestion control by name, for instance `bbr`; `None` leaves the system's
    /// choice. Linux only. It governs what this end sends: on a receiver next to nothing.
    pub congestion: Option<String>,
    /// Time for connecting and for the TLS handshake, each.
    pub handshake: Duration,
    /// At a sender: time in which a message from the receiver that has begun to arrive has to make
    /// progress, and, beyond 30 s, in which the receiver has to take something. At a receiver [`Intake::stall`](crate::transport::Intake::stall) rules.
    pub stall: Duration,
    /// Connections of several subflows (MPTCP), where the kernel has them; both ends have to ask for it, and by which
    /// links the subflows go is the system's to say (`ip mptcp endpoint`). Linux only.
    pub multipath: bool,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            congestion: None,
            handshake: settings::HANDSHAKE,
            stall: settings::SENDER_STALL,
            multipath: false,
        }
    }
}

#[cfg(test)]
mod tests;
