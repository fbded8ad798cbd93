//! The file that says which receiver has which certificate, as `known_hosts` does for ssh.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustls::pki_types::ServerName;

use super::error::{AddressError, IdentityError, KnownLineError};
use super::files;
use super::pin::Pin;

/// The file as a whole; [`MAX_RECEIVERS`] lines of usual length take a sixth of it.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// A line: a host name has at most 253 characters, port and pin 78.
const MAX_LINE_BYTES: usize = 1024;
/// Receivers with their pins; more than any fleet that is kept in a text file.
const MAX_RECEIVERS: usize = 10_000;

/// The name of a network link, or its number: Linux takes 15 bytes, Windows some more.
const MAX_ZONE_BYTES: usize = 64;

/// Where a receiver listens, as a user writes it: `HOST:PORT`, or `[ADDRESS]:PORT` for IPv6. An IPv6
/// address of one link only has that link behind it, by name or number: `[fe80::1%eth0]:PORT`.
///
/// Two spellings of one address or name are equal; a link's name and its number are not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReceiverAddress {
    /// A name or an address, and behind a `%` the link of an address that has one.
    host: String,
    port: u16,
}

impl ReceiverAddress {
    /// The host: a name in lower case, or an IP address (without brackets and link), fit for name
    /// resolution and for the server name of a TLS or QUIC connection.
    pub fn host(&self) -> &str {
        self.host.split_once('%').map_or(&*self.host, |(host, _)| host)
    }

    /// The link that an IPv6 address is of, by this machine's name or number for it.
    pub fn zone(&self) -> Option<&str> {
        self.host.split_once('%').map(|(_, zone)| zone)
    }

    /// The port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for ReceiverAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let shown = || text.chars().take(300).collect::<String>();
        let (host, port) = text.rsplit_once(':').ok_or_else(|| AddressError::NoPort(shown()))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        // The last group of an unbracketed IPv6 address would be taken for a port.
        if bare.is_none() && host.contains(':') {
            return Err(AddressError::Host(shown()));
        }
        let port = match port.parse() {
            Ok(0) | Err(_) => return Err(AddressError::Port(shown())),
            Ok(port) => port,
        };
        let (bare, zone) = match bare.and_then(|bare| bare.split_once('%')) {
            Some((bare, zone)) => (Some(bare), Some(zone)),
            None => (bare, None),
        };
        if zone.is_some_and(|zone| !is_zone(zone)) {
            return Err(AddressError::Zone(shown()));
        }
        let host = match bare.map(str::parse::<Ipv6Addr>) {
            Some(Ok(ip)) if zone.is_none() && ip.is_unicast_link_local() => {
                return Err(AddressError::NoZone(shown()));
            }
            Some(ip) => ip.ok().map(|ip| ip.to_string()),
            None => name_or_address(host),
        };
        let mut host = host.ok_or_else(|| AddressError::Host(shown()))?;
        if let Some(zone) = zone {
            host = format!("{host}%{zone}");
        }
        Ok(Self { host, port })
    }
}

/// True for what may be the name or the number of a link.
fn is_zone(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '%' | '/' | '[' | ']');
    (1..=MAX_ZONE_BYTES).contains(&text.len()) && text.chars().all(fits)
}

fn name_or_address(host: &str) -> Option<String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(ip.to_string());
    }
    ServerName::try_from(host).ok().map(|_| host.to_ascii_lowercase())
}

impl From<SocketAddr> for ReceiverAddress {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V6(address) if address.scope_id() != 0 => {
                format!("{}%{}", address.ip(), address.scope_id())
            }
            _ => address.ip().to_string(),
        };
        Self { host, port: address.port() }
    }
}

impl fmt::Display for ReceiverAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The receivers that this user has decided to trust, by address.
///
/// The file has one `HOST:PORT sha256:...` a line; empty lines and lines that begin with `#` are
/// skipped. A receiver may have several lines, for instance while its certificate is replaced.
#[derive(Debug, Clone, Default)]
pub struct KnownReceivers {
    path: PathBuf,
    pins: HashMap<ReceiverAddress, Vec<Pin>>,
}

impl KnownReceivers {
    /// Where the file is unless the user says otherwise:
    /// `$XDG_CONFIG_HOME/framelane/known_receivers`, else `~/.config/framelane/known_receivers`.
    /// `None` where neither variable holds an absolute path.
    pub fn default_path() -> Option<PathBuf> {
        Self::path_in(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"))
    }

    fn path_in(config: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
        // The XDG base directory specification has relative paths ignored.
        let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|p| p.is_absolute());
        let config = absolute(config).or_else(|| Some(absolute(home)?.join(".config")))?;
        Some(config.join("framelane").join("known_receivers"))
    }

    /// Reads the file; where there is none, nobody is known.
    ///
    /// # Errors
    /// [`IdentityError::KnownReceivers`] names the line that cannot be understood: a line that is
    /// skipped might be the one that says whom not to trust. Also [`IdentityError::File`] and
    /// [`IdentityError::TooLarge`].
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let Some(file) = files::open(path)? else {
            return Ok(Self { path: path.to_owned(), pins: HashMap::new() });
        };
        let bytes = files::read_bounded(path, file, "list of receivers", MAX_FILE_BYTES)?;
        Self::parse(path, &bytes)
    }

    /// What a file with this content makes: nothing is read.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn parse_for_fuzzing(bytes: &[u8]) {
        let _ = Self::parse(Path::new("known"), bytes);
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, IdentityError> {
        let mut pins: HashMap<ReceiverAddress, Vec<Pin>> = HashMap::new();
        let mut receivers = 0;
        for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
            let at_line = |reason| IdentityError::KnownReceivers {
                path: path.to_owned(),
                line: index + 1,
                reason,
            };
            let Some((address, pin)) = parse_line(line).map_err(at_line)? else { continue };
            receivers += 1;
            if receivers > MAX_RECEIVERS {
                return Err(at_line(KnownLineError::TooMany(MAX_RECEIVERS)));
            }
            pins.entry(address).or_default().push(pin);
        }
        Ok(Self { path: path.to_owned(), pins })
    }

    /// The file this was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pins of a receiver, none where it is not known.
    pub fn pins_of(&self, receiver: &ReceiverAddress) -> &[Pin] {
        self.pins.get(receiver).map_or(&[], Vec::as_slice)
    }
}

fn parse_line(line: &[u8]) -> Result<Option<(ReceiverAddress, Pin)>, KnownLineError> {
    if line.len() > MAX_LINE_BYTES {
        return Err(KnownLineError::TooLong(MAX_LINE_BYTES));
    }
    let line = std::str::from_utf8(line).map_err(|_| KnownLineError::NotUtf8)?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(address), Some(pin), None) = (words.next(), words.next(), words.next()) else {
        return Err(KnownLineError::Fields);
    };
    Ok(Some((address.parse()?, pin.parse()?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PIN: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn parse(text: &str) -> Result<KnownReceivers, IdentityError> {
        KnownReceivers::parse(Path::new("/k"), text.as_bytes())
    }

    fn address(text: &str) -> ReceiverAddress {
        text.parse().unwrap()
    }

    #[test]
    fn receivers_are_found_by_any_spelling_of_their_address() {
        let text = format!(
            "# stores\r\n\n  Store.Lab:4433\t{PIN}\r\n[0::0:1]:4433 {PIN}\n10.0.0.1:1 {PIN}\n\
             10.0.0.1:1 sha256:{}",
            "0".repeat(64)
        );
        let known = parse(&text).unwrap();
        assert_eq!(known.pins_of(&address("store.LAB:4433")), [PIN.parse().unwrap()]);
        assert_eq!(known.pins_of(&address("[::1]:4433")).len(), 1);
        assert_eq!(known.pins_of(&address("10.0.0.1:1")).len(), 2);
        assert!(known.pins_of(&address("10.0.0.1:2")).is_empty());
    }

    #[test]
    fn an_address_of_one_link_has_its_link() {
        for (text, host, zone) in [
            ("[fe80::1%2]:7007", "fe80::1", Some("2")),
            ("[FE80:0::1%eth0.7]:7007", "fe80::1", Some("eth0.7")),
            ("[::1%lo]:7007", "::1", Some("lo")),
            ("[fd00::1]:7007", "fd00::1", None),
        ] {
            let address = address(text);
            assert_eq!((address.host(), address.zone()), (host, zone));
            assert_eq!(address.to_string().parse(), Ok(address), "{text}");
        }
        let socket: SocketAddr = "[fe80::1%2]:7007".parse().unwrap();
        assert_eq!(ReceiverAddress::from(socket), address("[fe80::1%2]:7007"));
        let without = "[fe80::1]:7007".parse::<ReceiverAddress>().unwrap_err().to_string();
        assert!(without.contains("[fe80::1%eth0]:4433"), "{without}");
        for bad in ["[fe80::1%]:1", "[fe80::1%a%b]:1", "[fe80::1%a b]:1", "10.0.0.1%eth0:1"] {
            assert!(bad.parse::<ReceiverAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        for (line, expected) in [
            ("store:4433".to_owned(), "expected a receiver and a pin"),
            (format!("store:4433 {PIN} x"), "expected a receiver and a pin"),
            (format!("store {PIN}"), "\"store\" has no port"),
            (format!("store:0 {PIN}"), "does not end in a port from 1 to 65535"),
            (format!("::1:4433 {PIN}"), "goes into brackets"),
            (format!("a/b:4433 {PIN}"), "does not begin with a host name"),
            ("store:4433 sha256:12".to_owned(), "2 characters instead of 64"),
            (format!("# {}", "x".repeat(1100)), "longer than 1024 bytes"),
        ] {
            let error = parse(&format!("# first\n{line}\n")).unwrap_err().to_string();
            assert!(error.starts_with("/k line 2: "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
        let error = KnownReceivers::parse(Path::new("/k"), b"\xff").unwrap_err().to_string();
        assert!(error.starts_with("/k line 1: not UTF-8 text"), "{error}");
    }

    #[test]
    fn the_file_is_bounded() {
        let error = parse(&format!("a:1 {PIN}\n").repeat(MAX_RECEIVERS + 1)).unwrap_err();
        assert!(error.to_string().contains("line 10001: more than 10000 receivers"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_receivers");
        assert!(KnownReceivers::load(&path).unwrap().pins.is_empty());
        std::fs::write(&path, vec![b'\n'; MAX_FILE_BYTES as usize + 1]).unwrap();
        let error = KnownReceivers::load(&path).unwrap_err().to_string();
        assert!(error.contains("is larger than 4194304 bytes"), "{error}");
    }

    #[test]
    fn the_file_is_in_the_users_configuration() {
        let at = |config: &str, home: &str| {
            KnownReceivers::path_in(Some(config.into()), Some(home.into()))
        };
        assert_eq!(at("/c", "/h"), Some("/c/framelane/known_receivers".into()));
        assert_eq!(at("", "/h"), Some("/h/.config/framelane/known_receivers".into()));
        assert_eq!(at("relative", ""), None);
    }

    proptest! {
        #[test]
        fn an_address_is_read_back_as_it_is_printed(text in "(\\[[0-9a-f:]{0,12}(%[a-z0-9]{0,3})?\\]|[A-Za-z0-9._:-]{0,20}):[0-9]{0,6}") {
            if let Ok(address) = text.parse::<ReceiverAddress>() {
                prop_assert_eq!(address.to_string().parse::<ReceiverAddress>().unwrap(), address);
            }
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = KnownReceivers::parse(Path::new("/k"), &bytes);
        }
    }
}
