//! What can go wrong between two machines.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use super::Transport;

/// Why a link could not be opened, or ended.
#[derive(Debug, Clone, Error)]
pub enum TransportError {
    /// The host name has no address.
    #[error("cannot resolve {host:?}: {why}; check the spelling and the name service")]
    Resolve {
        /// As the user wrote it.
        host: String,
        /// The system's word.
        why: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for {transport}: {why}; {advice}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// For what.
        transport: Transport,
        /// The system's word.
        why: String,
        /// What to do.
        advice: &'static str,
    },
    /// Nothing answered.
    #[error("no answer from {address} over {transport} within {seconds} s; {advice}")]
    NoAnswer {
        /// Where.
        address: SocketAddr,
        /// Over what.
        transport: Transport,
        /// How long was waited.
        seconds: u64,
        /// What to do.
        advice: &'static str,
    },
    /// This machine does not have the link that an address is behind.
    #[error("this machine has no network link {link:?}; {advice}")]
    NoLink {
        /// As the user wrote it.
        link: String,
        /// What to do.
        advice: String,
    },
    /// The system refused the connection.
    #[error("cannot connect to {address} over {transport}: {why}; {advice}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Over what.
        transport: Transport,
        /// The system's word.
        why: String,
        /// What to do.
        advice: String,
        /// Whether packets may have left: not where this machine has no way there.
        has_sent: bool,
    },
    /// This machine cannot do what was asked for: trying again changes nothing.
    #[error("{0}")]
    Unsupported(String),
    /// The receiver has several addresses, and none of them led to it.
    #[error("none of the receiver's {} addresses leads to it: {}", .0.len(), in_a_row(.0))]
    NoneOf(Vec<TransportError>),
    /// The receiver was reached over neither of the two transports.
    #[error("{}", neither(.quic, .tcp))]
    Neither {
        /// Why not over QUIC.
        quic: Box<TransportError>,
        /// Why not over TCP.
        tcp: Box<TransportError>,
    },
    /// Identity or trust: trying again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// The connection was there and is gone.
    #[error("the connection to {address} was lost: {why}")]
    Lost {
        /// To whom.
        address: SocketAddr,
        /// What was noticed.
        why: String,
    },
    /// The peer ended the session.
    #[error("{address} ended the session: {why}")]
    ClosedByPeer {
        /// Who.
        address: SocketAddr,
        /// A [`crate::wire::CloseCode`] number.
        code: u64,
        /// The peer's words.
        why: String,
    },
    /// The peer broke the protocol.
    #[error(
        "{address} does not keep to the protocol: {why}; are both ends the same version of framelane?"
    )]
    Protocol {
        /// Who.
        address: SocketAddr,
        /// What it did.
        why: String,
    },
    /// The receiver does not answer, though the connection is there.
    #[error("{why}")]
    Silent {
        /// What was waited for.
        why: String,
    },
    /// The receiver said what makes no sense.
    #[error(
        "the receiver does not keep to the protocol: {why}; are both ends the same version of framelane?"
    )]
    Nonsense {
        /// What it said.
        why: String,
    },
    /// The data of every link is used up that may be used.
    #[error(
        "the data of {links} is used up, and no other link is left: frames wait until midnight UTC at least; give it more \
         (max=), or another link (`via`)"
    )]
    DataSpent {
        /// The links, each with its cap.
        links: String,
    },
    /// What goes over a link with a cap cannot be counted.
    #[error("cannot count what goes over {link} in {}: {why}", file.display())]
    Uncounted {
        /// The link.
        link: String,
        /// In what it was to be counted.
        file: PathBuf,
        /// Why not.
        why: String,
    },
    /// This end closed the link.
    #[error("the link was closed at this end")]
    Ended,
}

impl TransportError {
    /// Whether packets may have left for a connection that failed so: not where this machine has no way there.
    pub(super) fn has_sent(&self) -> bool {
        match self {
            Self::Connect { has_sent, .. } => *has_sent,
            Self::Resolve { .. } | Self::NoLink { .. } => false,
            Self::Unsupported(_) | Self::Uncounted { .. } | Self::Listen { .. } => false,
            Self::NoneOf(all) => all.iter().any(Self::has_sent),
            Self::Neither { quic, tcp } => quic.has_sent() || tcp.has_sent(),
            _ => true,
        }
    }

    /// The address cannot be listened on, with what can be done about it.
    pub(super) fn listen(address: SocketAddr, transport: Transport, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "choose another `listen` port, or end what uses this one",
            io::ErrorKind::PermissionDenied => "choose a `listen` port over 1023",
            io::ErrorKind::AddrNotAvailable => "choose a `listen` address that this machine has",
            _ => "choose another `listen` address or port",
        };
        Self::Listen { address, transport, why: error.to_string(), advice }
    }

    /// The system has no connection to give, in its own words, with what can be done about it.
    pub(super) fn connect(address: SocketAddr, transport: Transport, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                "no route leads there now: is the network up, and the address right?".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "a firewall forbids it, of this machine or on the way: let this port through"
                    .to_owned()
            }
            io::ErrorKind::ConnectionRefused => format!(
                "nothing listens there: is `framelane receive` running, on this port and with \
                 `transport` {transport}?"
            ),
            io::ErrorKind::AddrNotAvailable => {
                "this machine has no address to send from: is the network up?".to_owned()
            }
            io::ErrorKind::InvalidInput => "is the address one that can be sent to?".to_owned(),
            _ => format!("is `framelane receive` running there, and with `transport` {transport}?"),
        };
        let has_sent = !matches!(
            error.kind(),
            io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::AddrNotAvailable
                | io::ErrorKind::NetworkDown
                | io::ErrorKind::InvalidInput
        );
        Self::Connect { address, transport, why: error.to_string(), advice, has_sent }
    }

    /// True where a new attempt can succeed without anybody changing anything.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Connect { .. } | Self::Lost { .. } => true,
            // A name service can fail for a moment as well.
            Self::Resolve { .. } | Self::NoLink { .. } | Self::Silent { .. } => true,
            // Another day begins.
            Self::DataSpent { .. } => true,
            Self::NoneOf(errors) => errors.iter().any(Self::may_pass),
            Self::Neither { quic, tcp } => quic.may_pass() || tcp.may_pass(),
            Self::ClosedByPeer { code, .. } => {
                use crate::wire::CloseCode;
                matches!(
                    CloseCode::from_number(*code),
                    // A full disk is made room on, and a mount comes back.
                    Some(
                        CloseCode::Shutdown
                            | CloseCode::Busy
                            | CloseCode::Stalled
                            | CloseCode::Store
                    )
                )
            }
            Self::Listen { .. }
            | Self::Refused(_)
            | Self::Unsupported(_)
            | Self::Uncounted { .. }
            | Self::Protocol { .. }
            | Self::Nonsense { .. }
            | Self::Ended => false,
        }
    }
}

/// In one sentence where both say the same.
fn neither(quic: &TransportError, tcp: &TransportError) -> String {
    use TransportError::{Connect, NoAnswer};
    match (quic, tcp) {
        (
            Connect { address, why, advice, .. },
            Connect { address: same, why: too, advice: other, .. },
        ) if (address, why) == (same, too) => {
            // They differ where they name the transport, which is neither here nor there.
            let advice = match advice == other {
                true => advice,
                false => "nothing listens there: is `framelane receive` running, and on this port?",
            };
            format!("cannot connect to {address}, neither over QUIC nor over TCP: {why}; {advice}")
        }
        (NoAnswer { address, seconds, .. }, NoAnswer { address: same, .. }) if address == same => {
            format!(
                "no answer from {address} within {seconds} s, neither over QUIC (UDP) nor over TCP; is \
                 `framelane receive` running there, and does a firewall let it be reached?"
            )
        }
        _ => format!("neither QUIC nor TCP comes through: {quic}; and {tcp}"),
    }
}

fn in_a_row(errors: &[TransportError]) -> String {
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    texts.join("; and ")
}
