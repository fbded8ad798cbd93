//! Which senders a receiver lets in, and where it may listen for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;

use thiserror::Error;

use super::pin::{Pin, PinError};
use super::sender_name::{SenderName, SenderNameError};

/// One `--allow`: the pin of a sender, with or without a name for it, or `any`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// Whoever has a certificate.
    Any,
    /// The sender with this certificate.
    Pin(Pin),
    /// The sender with this certificate, by the name that it has here.
    Named(SenderName, Pin),
}

impl FromStr for Allow {
    type Err = AllowError;

    /// Parses `any`, a pin, or `NAME=PIN`.
    fn from_str(text: &str) -> Result<Self, AllowError> {
        match text.split_once('=') {
            Some((name, pin)) => Ok(Self::Named(name.parse()?, pin.parse()?)),
            None if text == "any" => Ok(Self::Any),
            None => text.parse().map(Self::Pin).map_err(AllowError::NeitherPinNorAny),
        }
    }
}

/// Why a text is none of what `--allow` takes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AllowError {
    /// Neither a pin nor `any`.
    #[error("{0}; to allow every sender, write any")]
    NeitherPinNorAny(PinError),
    /// What is before the `=`.
    #[error(transparent)]
    Name(#[from] SenderNameError),
    /// What is behind the `=`.
    #[error(transparent)]
    Pin(#[from] PinError),
}

/// Which senders a receiver lets in. Every sender has to present a certificate and to prove that it has
/// the key, whatever the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SenderPolicy {
    /// Any sender on this machine: the policy where the user said nothing.
    Local,
    /// Any sender at all.
    Any,
    /// The senders on this list, which may be empty.
    Only(SenderList),
}

/// Senders by their certificates' pins, some of them with names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SenderList {
    senders: BTreeMap<Pin, Option<SenderName>>,
    /// Their names by what they look like.
    names: BTreeMap<String, SenderName>,
}

/// Two entries of a list that cannot both be meant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AllowConflict {
    /// Pins beside `any` would look like a protection that there is not.
    #[error(
        "`allow_any` lets every sender in, whatever pins are named beside it; say either `allow_any` or \
         `allow` PIN for each sender"
    )]
    AnyBesidePins,
    /// One certificate, two names.
    #[error("{pin} has two names, {first} and {second}: keep one of them")]
    TwoNames {
        /// The certificate.
        pin: Pin,
        /// Its name so far.
        first: SenderName,
        /// The other one.
        second: SenderName,
    },
    /// Two names that differ in capital letters only, which many file systems take for one.
    #[error("{first} and {second} differ in capital letters only: name one of the two otherwise")]
    LookAlike {
        /// The name so far.
        first: SenderName,
        /// The other one.
        second: SenderName,
    },
}

impl SenderList {
    /// Adds a sender. One name may be that of several certificates: a sender's old one and its new one.
    ///
    /// # Errors
    /// [`AllowConflict`] where the certificate has another name already, or where the name could be taken
    /// for another; the list is unchanged then.
    pub fn insert(&mut self, pin: Pin, name: Option<SenderName>) -> Result<(), AllowConflict> {
        let Some(second) = name else {
            self.senders.entry(pin).or_default();
            return Ok(());
        };
        if let Some(Some(first)) = self.senders.get(&pin)
            && *first != second
        {
            let first = first.clone();
            return Err(AllowConflict::TwoNames { pin, first, second });
        }
        let first = self.names.entry(second.looks()).or_insert_with(|| second.clone());
        if *first != second {
            return Err(AllowConflict::LookAlike { first: first.clone(), second });
        }
        self.senders.insert(pin, Some(second));
        Ok(())
    }

    /// How many certificates it has.
    pub fn len(&self) -> usize {
        self.senders.len()
    }

    /// True where nobody is on it.
    pub fn is_empty(&self) -> bool {
        self.senders.is_empty()
    }

    /// True where this certificate is on it.
    pub fn contains(&self, pin: Pin) -> bool {
        self.senders.contains_key(&pin)
    }

    /// The name of the sender with this certificate, where it has one here.
    pub fn name_of(&self, pin: Pin) -> Option<&SenderName> {
        self.senders.get(&pin)?.as_ref()
    }

    /// Its certificates, in order.
    pub fn pins(&self) -> impl Iterator<Item = Pin> {
        self.senders.keys().copied()
    }
}

impl FromIterator<Pin> for SenderList {
    fn from_iter<I: IntoIterator<Item = Pin>>(pins: I) -> Self {
        let senders = pins.into_iter().map(|pin| (pin, None)).collect();
        Self { senders, names: BTreeMap::new() }
    }
}

impl SenderPolicy {
    /// The policy that the user asks for; nothing allowed is [`SenderPolicy::Local`].
    ///
    /// # Errors
    /// [`AllowConflict`] where two of them cannot both be meant.
    pub fn new(allows: impl IntoIterator<Item = Allow>) -> Result<Self, AllowConflict> {
        let (mut list, mut any) = (SenderList::default(), false);
        for allow in allows {
            match allow {
                Allow::Any => any = true,
                Allow::Pin(pin) => list.insert(pin, None)?,
                Allow::Named(name, pin) => list.insert(pin, Some(name))?,
            }
        }
        match (any, list.is_empty()) {
            (true, true) => Ok(Self::Any),
            (true, false) => Err(AllowConflict::AnyBesidePins),
            (false, true) => Ok(Self::Local),
            (false, false) => Ok(Self::Only(list)),
        }
    }

    /// The senders with these certificates and no others.
    pub fn only(pins: impl IntoIterator<Item = Pin>) -> Self {
        Self::Only(pins.into_iter().collect())
    }

    /// Whether the sender with this certificate may send.
    ///
    /// Where senders come over the network, [`check_listen`] has ruled out [`SenderPolicy::Local`].
    pub fn allows(&self, sender: Pin) -> bool {
        match self {
            Self::Local | Self::Any => true,
            Self::Only(list) => list.contains(sender),
        }
    }

    /// Whether it is this very certificate that is trusted, so that its dates are of no matter.
    pub(super) fn knows(&self, sender: Pin) -> bool {
        matches!(self, Self::Only(list) if list.contains(sender))
    }

    /// The name of the sender with this certificate, where it has one here.
    pub fn name_of(&self, sender: Pin) -> Option<&SenderName> {
        match self {
            Self::Local | Self::Any => None,
            Self::Only(list) => list.name_of(sender),
        }
    }
}

/// A receiver that would take frames from anybody on the network, without being told to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "listening on {0} would let every machine that reaches it write files here. Say who may send, \
     with `allow` PIN (the sender prints its pin) or `allow_any`, or listen on 127.0.0.1 or [::1]"
)]
pub struct OpenListener(pub SocketAddr);

/// Checks that `address` may be listened on under `policy`: without `--allow`, only loopback.
///
/// This is about transports that authenticate the sender by its certificate.
///
/// # Errors
/// [`OpenListener`], whose message says why and what to add.
pub fn check_listen(address: SocketAddr, policy: &SenderPolicy) -> Result<(), OpenListener> {
    // `::ffff:127.0.0.1` is loopback as well.
    let loopback = address.ip().to_canonical().is_loopback();
    if loopback || *policy != SenderPolicy::Local { Ok(()) } else { Err(OpenListener(address)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(byte: &str) -> Pin {
        format!("sha256:{}", byte.repeat(32)).parse().unwrap()
    }

    fn allow(texts: &[&str]) -> Result<SenderPolicy, AllowConflict> {
        SenderPolicy::new(texts.iter().map(|text| {
            let (name, byte) = text.split_once('=').unwrap_or(("", text));
            let pin = if byte == "any" { byte.to_owned() } else { pin(byte).to_string() };
            let text = if name.is_empty() { pin } else { format!("{name}={pin}") };
            text.parse().unwrap()
        }))
    }

    #[test]
    fn allowing_somebody_allows_nobody_else() {
        let policy = allow(&["01", "cam=02"]).unwrap();
        assert!(policy.allows(pin("01")) && policy.allows(pin("02")));
        assert!(!policy.allows(pin("03")));
        assert_eq!(policy.name_of(pin("02")).unwrap().as_str(), "cam");
        assert_eq!(policy.name_of(pin("01")), None);
        assert_eq!(allow(&["any"]), Ok(SenderPolicy::Any));
        assert_eq!(allow(&[]), Ok(SenderPolicy::Local));
        assert_eq!(allow(&["any", "01"]), Err(AllowConflict::AnyBesidePins));
        assert!(!SenderPolicy::only([]).allows(pin("01")), "an empty list allows nobody");
    }

    #[test]
    fn a_name_is_given_once() {
        let policy = allow(&["01", "cam=01", "01", "cam=01", "cam=02"]).unwrap();
        assert_eq!(policy.name_of(pin("01")), policy.name_of(pin("02")));
        assert!(policy.name_of(pin("01")).is_some());
        let two = allow(&["cam=01", "kam=01"]).unwrap_err().to_string();
        assert!(two.contains("has two names, cam and kam"), "{two}");
        let alike = allow(&["cam=01", "CAM=02"]).unwrap_err().to_string();
        assert!(alike.contains("cam and CAM differ in capital letters only"), "{alike}");
    }

    #[test]
    fn any_is_a_word_of_its_own() {
        assert_eq!("any".parse(), Ok(Allow::Any));
        assert_eq!(pin("0a").to_string().parse(), Ok(Allow::Pin(pin("0a"))));
        let error = "all".parse::<Allow>().unwrap_err().to_string();
        assert!(error.contains("\"all\" is not a pin") && error.contains("write any"), "{error}");
        for (text, expected) in [
            ("=sha256:00".to_owned(), "\"\" is no name for a sender"),
            ("cam=any".to_owned(), "\"any\" is not a pin"),
            (format!("../x={}", pin("0a")), "\"../x\" is no name"),
            (format!("a=b={}", pin("0a")), "is not a pin"),
        ] {
            let error = text.parse::<Allow>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn without_allow_only_this_machine_may_send() {
        let only = SenderPolicy::only([pin("01")]);
        for address in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:4433", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(check_listen(address.parse().unwrap(), &SenderPolicy::Local), Ok(()));
        }
        for address in ["0.0.0.0:4433", "[::]:4433", "192.168.1.2:1", "[::ffff:10.0.0.1]:1"] {
            let address = address.parse().unwrap();
            let error = check_listen(address, &SenderPolicy::Local).unwrap_err().to_string();
            assert!(error.contains(&address.to_string()), "{error}");
            assert!(error.contains("`allow` PIN") && error.contains("`allow_any`"), "{error}");
            assert_eq!(check_listen(address, &SenderPolicy::Any), Ok(()));
            assert_eq!(check_listen(address, &only), Ok(()));
        }
    }
}
