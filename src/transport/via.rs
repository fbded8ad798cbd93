//! Over what a link goes.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::{SenderLink, Transport};

/// Over what a link goes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// The transport.
    pub transport: Transport,
    /// The receiver's address.
    pub address: SocketAddr,
    /// Why over this, in words, where there was a choice.
    pub why: Option<String>,
    /// By which link of this machine, where that is not left to its routes.
    pub link: Option<String>,
}

/// A link that is to take the place of the one in use.
#[derive(Debug)]
pub struct Better {
    /// It, with nothing said on it yet.
    pub link: SenderLink,
    /// True where the one in use still carries what it was given. Where it does not, nothing more is to be
    /// waited for there.
    pub drains: bool,
}

/// Which transport a user has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransportChoice {
    /// QUIC where UDP gets through, TCP where it does not, changed while frames are sent.
    #[default]
    Auto,
    /// This one and no other.
    Only(Transport),
}

impl TransportChoice {
    const AUTO: &'static str = "auto";

    /// True where it is this transport and no other.
    pub fn is_only(self, transport: Transport) -> bool {
        self == Self::Only(transport)
    }
}

impl From<Transport> for TransportChoice {
    fn from(transport: Transport) -> Self {
        Self::Only(transport)
    }
}

impl fmt::Display for TransportChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad(Self::AUTO),
            Self::Only(transport) => transport.fmt(f),
        }
    }
}

impl FromStr for TransportChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            Self::AUTO => Ok(Self::Auto),
            other => {
                other.parse().map(Self::Only).map_err(|error: String| format!("{error}, and auto"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_as_it_is_written() {
        let all = Transport::ALL.map(TransportChoice::Only);
        for choice in all.into_iter().chain([TransportChoice::Auto]) {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let error = "udp".parse::<TransportChoice>().unwrap_err();
        assert!(error.contains("stop-and-wait") && error.ends_with(", and auto"), "{error}");
    }
}
