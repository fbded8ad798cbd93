//! The protocol of the Python socket scripts, in both roles.
//!
//! So that a user can replace one end at a time, and as a baseline. The protocol has none of a
//! session's messages but an `ok`, so each role makes up what the session at its own end expects:
//! the sender's role answers hello and offers itself and turns an `ok` into a receipt; the
//! receiver's role makes a hello out of the opening and an `ok` out of a receipt. `ok` is therefore
//! said only of frames that are stored.

mod conversation;
mod line;
mod receiver;
mod sender;
mod settings;
mod socket;

use crate::wire::WireError;

pub use receiver::listen;
pub use sender::StopAndWaitDial;
pub use settings::{ReceiverSettings, SenderSettings};

/// What the user has to know before either role is used; for stderr.
pub const UNPROTECTED: &str = "warning: stop-and-wait has no encryption, no authentication and no \
     integrity check: anybody on the way can read, alter or forge frames; use it on networks you \
     trust alone";

/// The protocol's default port, as the scripts have it.
pub const DEFAULT_PORT: u16 = 8_000;

/// Why a connection ended, in words; who is at its other end is added where that is known.
#[derive(Debug)]
enum Failure {
    /// The connection broke or fell silent.
    Lost(String),
    /// The peer said something the protocol does not have.
    Protocol(String),
    /// This end does not take what the peer sends, and the protocol has no word for that.
    Refused(String),
    /// The session at this end is gone.
    Ended,
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

impl Failure {
    fn at(self, address: std::net::SocketAddr) -> super::TransportError {
        match self {
            Self::Lost(why) => super::TransportError::Lost { address, why },
            Self::Protocol(why) => super::TransportError::Protocol { address, why },
            Self::Refused(why) => super::TransportError::Refused(format!(
                "closed the connection of {address}, as stop-and-wait cannot say no: {why}"
            )),
            Self::Ended => super::TransportError::Ended,
        }
    }
}

#[cfg(test)]
mod tests;
