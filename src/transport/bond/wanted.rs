//! A link of this machine as a user names it: `wwan0,max=2GB/day,transport=tcp`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::super::leave::Link;
use super::super::{Transport, TransportChoice, TransportError};
use crate::frame::ByteSize;

/// A cap below this is used up by what the ends say to each other.
const LEAST_CAP: ByteSize = ByteSize(1_000_000);

/// The longest name of a link: Linux takes 15 bytes, an IPv6 address with a zone some more.
const MAX_NAME_BYTES: usize = 64;

/// A link to leave by, with what is to be kept on it. It is read from `LINK[,max=SIZE/day|month][,transport=T]`, and
/// written so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViaLink {
    /// Its name, or an address that it has.
    pub(super) name: String,
    /// Over what it is used.
    pub(super) transport: TransportChoice,
    /// How much may go over it.
    pub(super) cap: Option<DataCap>,
}

/// How much may go over a link in some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataCap {
    /// Bytes of packets, both ways.
    pub bytes: ByteSize,
    /// In which time.
    pub per: Period,
}

/// A time in which data is counted; each begins at midnight UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// A day.
    Day,
    /// A month of the calendar.
    Month,
}

/// Why a link was not understood. It says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ViaError {
    /// No name.
    #[error("write the link's name or its address first, as in wwan0,max=2GB/day; got {0:?}")]
    Name(String),
    /// No such key.
    #[error(
        "unknown {key:?} of the link {link}; there are max=SIZE/day (or /month) and transport=auto, quic or tcp"
    )]
    Key {
        /// The link.
        link: String,
        /// What was written.
        key: String,
    },
    /// A key that is there twice.
    #[error("{key} of the link {link} is given twice")]
    Repeated {
        /// The link.
        link: String,
        /// The key.
        key: String,
    },
    /// A value that cannot be.
    #[error("{key} of the link {link}: {why}")]
    Value {
        /// The link.
        link: String,
        /// The key.
        key: String,
        /// Why not, and what instead.
        why: String,
    },
}

impl ViaLink {
    /// The link of this machine, which may come later where it is given by its name.
    ///
    /// # Errors
    /// [`TransportError::NoLink`] where no link has the address now, or can have the name.
    pub fn link(&self) -> Result<Link, TransportError> {
        Link::named(&self.name).or_else(|error| Link::later(&self.name).ok_or(error))
    }

    /// Why it cannot be used now, where it may be later.
    pub fn missing(&self) -> Option<TransportError> {
        Link::named(&self.name).err()
    }

    /// Its name, or its address, as the user wrote it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Over what it is used.
    pub fn transport(&self) -> TransportChoice {
        self.transport
    }

    /// How much may go over it.
    pub fn cap(&self) -> Option<DataCap> {
        self.cap
    }

    /// True where it is to be used as any other.
    pub fn is_plain(&self) -> bool {
        self.cap.is_none() && self.transport == TransportChoice::Auto
    }
}

impl FromStr for ViaLink {
    type Err = ViaError;

    fn from_str(text: &str) -> Result<Self, ViaError> {
        let mut parts = text.split(',').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let is_name = |character: char| !character.is_whitespace() && !character.is_control();
        if name.is_empty()
            || name.len() > MAX_NAME_BYTES
            || name.contains(['=', '/'])
            || !name.chars().all(is_name)
        {
            return Err(ViaError::Name(text.chars().take(80).collect()));
        }
        let (mut transport, mut cap) = (None, None);
        for part in parts {
            let link = || name.to_owned();
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let repeated = || ViaError::Repeated { link: link(), key: key.to_owned() };
            let wrong = |why| ViaError::Value { link: link(), key: key.to_owned(), why };
            match key {
                "max" => {
                    let known = cap.replace(value.parse().map_err(wrong)?);
                    known.map_or(Ok(()), |_: DataCap| Err(repeated()))?;
                }
                "transport" => {
                    let known = transport.replace(of_link(value).map_err(wrong)?);
                    known.map_or(Ok(()), |_| Err(repeated()))?;
                }
                other => {
                    let key = other.chars().take(40).collect();
                    return Err(ViaError::Key { link: link(), key });
                }
            }
        }
        Ok(Self { name: name.to_owned(), transport: transport.unwrap_or_default(), cap })
    }
}

/// What a session over several connections can go over.
fn of_link(text: &str) -> Result<TransportChoice, String> {
    let choice: TransportChoice = text.parse()?;
    match choice {
        TransportChoice::Only(Transport::StopAndWait | Transport::TcpPerFrame) => Err(format!(
            "over {choice} a link cannot carry a part of a session; write auto, quic or tcp"
        )),
        choice => Ok(choice),
    }
}

impl FromStr for DataCap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form =
            || format!("{text:?} is no amount for a time; write it as in 2GB/day or 50GB/month");
        let (bytes, per) = text.split_once('/').ok_or_else(form)?;
        let per = match per.trim() {
            "day" | "d" => Period::Day,
            "month" => Period::Month,
            _ => return Err(form()),
        };
        let bytes: ByteSize = bytes.trim().parse().map_err(|error| format!("{error}"))?;
        if bytes < LEAST_CAP {
            return Err(format!(
                "{bytes} is less than a session needs to begin; the least is {LEAST_CAP}"
            ));
        }
        Ok(Self { bytes, per })
    }
}

impl fmt::Display for DataCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} a {}", self.bytes, self.per)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Day => "day",
            Self::Month => "month",
        })
    }
}

/// As it is read: a cap in bytes, so that nothing is rounded.
impl fmt::Display for ViaLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(DataCap { bytes: ByteSize(bytes), per }) = self.cap {
            write!(f, ",max={bytes}B/{per}")?;
        }
        match self.transport {
            TransportChoice::Auto => Ok(()),
            other => write!(f, ",transport={other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_link_is_read_with_what_is_kept_on_it() {
        let link: ViaLink = "wwan0,max=2GB/day,transport=tcp".parse().unwrap();
        assert_eq!(link.name(), "wwan0");
        assert_eq!(link.cap(), Some(DataCap { bytes: ByteSize(2_000_000_000), per: Period::Day }));
        assert_eq!(link.transport(), TransportChoice::Only(Transport::Tcp));
        assert_eq!(link.to_string(), "wwan0,max=2000000000B/day,transport=tcp");
        let plain: ViaLink = "192.0.2.7".parse().unwrap();
        assert!(plain.is_plain() && plain.to_string() == "192.0.2.7");
        let month: ViaLink = "fe80::1%3, max=50GB/month".parse().unwrap();
        assert_eq!(month.cap().unwrap().per, Period::Month);
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        for (text, why) in [
            ("", "first"),
            ("max=2GB/day", "first"),
            ("wwan0,max=2GB", "2GB/day"),
            ("wwan0,max=2GB/week", "2GB/day"),
            ("wwan0,max=2/day", "unit"),
            ("wwan0,max=1kB/day", "the least is 1.0 MB"),
            ("wwan0,max=2GB/day,max=1GB/day", "max of the link wwan0 is given twice"),
            ("wwan0,transport=pigeon", "unknown transport"),
            ("wwan0,transport=stop-and-wait", "write auto, quic or tcp"),
            ("wwan0,mtu=1280", "unknown \"mtu\" of the link wwan0"),
            ("wwan0,", "unknown \"\""),
            ("a b", "first"),
        ] {
            let error = text.parse::<ViaLink>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn it_is_read_as_it_is_written(
            name in "[a-z0-9.:%]{1,20}", bytes in 1_000_000_u64..1_000_000_000_000_000, day: bool, capped: bool, over in 0_usize..3,
        ) {
            let per = if day { Period::Day } else { Period::Month };
            let cap = capped.then_some(DataCap { bytes: ByteSize(bytes), per });
            let transport = [
                TransportChoice::Auto,
                TransportChoice::Only(Transport::Quic),
                TransportChoice::Only(Transport::Tcp),
            ][over];
            let link = ViaLink { name, transport, cap };
            prop_assert_eq!(link.to_string().parse::<ViaLink>(), Ok(link));
        }

        #[test]
        fn nothing_that_is_written_breaks_it(text in "\\PC{0,60}") {
            let _ = text.parse::<ViaLink>();
        }
    }
}
