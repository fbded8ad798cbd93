//! By which link of this machine a connection leaves, where that is not left to its routes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::SockRef;

use super::links::{link_number, own_addresses};
use super::{TransportError, route};

/// Links that are tried beside the one that the route names; a machine with more has most of them for its
/// containers.
const MOST: usize = 4;

/// A link of this machine, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link(pub(super) String);

impl Link {
    /// The link of that name, or the one that has that address.
    ///
    /// # Errors
    /// [`TransportError::NoLink`] where there is none now.
    pub fn named(text: &str) -> Result<Self, TransportError> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            let own = own_addresses();
            let owner = own.iter().find(|own| own.ip == ip);
            return owner.map(|own| Self(own.link.clone())).ok_or_else(|| TransportError::NoLink {
                link: text.to_owned(),
                advice: "no link has this address: see `ip addr`".to_owned(),
            });
        }
        // A number would be a link as well, but not a name.
        match text.parse::<u32>() {
            Ok(_) => Err(TransportError::NoLink {
                link: text.to_owned(),
                advice: "write its name or its address, as `ip addr` shows them".to_owned(),
            }),
            Err(_) => link_number(text).map(|_| Self(text.to_owned())),
        }
    }
}

impl Link {
    /// One of this name that this machine may get later, as a modem's; `None` for what can be no link's name.
    pub(super) fn later(name: &str) -> Option<Self> {
        /// As the kernel has it, without the end of the text.
        const MOST_BYTES: usize = 15;
        let is_name = (1..=MOST_BYTES).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
        let is_other = name.parse::<IpAddr>().is_ok() || name.parse::<u32>().is_ok();
        (is_name && !is_other).then(|| Self(name.to_owned()))
    }
}

/// By which link packets leave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Leave {
    /// As the routes say, and by another as soon as they say so.
    #[default]
    ByRoute,
    /// By the link of this name alone (`SO_BINDTODEVICE`, which Linux 5.7 and later lets everybody ask for).
    Link(String),
}

impl Leave {
    /// Has a socket leave so.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn bind(&self, socket: &SockRef<'_>) -> io::Result<()> {
        match self {
            Self::ByRoute => Ok(()),
            Self::Link(name) => bind_to(socket, name),
        }
    }
}

#[cfg(target_os = "linux")]
fn bind_to(socket: &SockRef<'_>, link: &str) -> io::Result<()> {
    socket.bind_device(Some(link.as_bytes()))
}

#[cfg(not(target_os = "linux"))]
fn bind_to(_: &SockRef<'_>, _: &str) -> io::Result<()> {
    Err(io::Error::other("a link can be chosen on Linux only"))
}

/// Other links than the one by which packets to `receiver` leave now, of which a route leads there as well: a
/// worse one, as long as the better one is there.
pub(super) fn others(receiver: SocketAddr) -> Vec<Leave> {
    if receiver.ip().to_canonical().is_loopback() {
        return Vec::new();
    }
    let own = own_addresses();
    let used = route::towards(receiver);
    let used = own.iter().find(|own| Some(own.ip) == used).map(|own| own.link.as_str());
    let has_address = |link: &str| {
        own.iter().any(|own| own.link == link && own.ip.is_ipv4() == receiver.is_ipv4())
    };
    let links = match receiver.ip() {
        IpAddr::V4(ip) => links_v4(&table("/proc/net/route"), ip),
        IpAddr::V6(ip) => links_v6(&table("/proc/net/ipv6_route"), ip),
    };
    let mut others: Vec<Leave> = Vec::new();
    for link in links {
        let other = Leave::Link(link.clone());
        if Some(link.as_str()) != used && has_address(&link) && !others.contains(&other) {
            others.push(other);
        }
    }
    others.truncate(MOST);
    others
}

/// The kernel's routes as text; none where it does not tell.
fn table(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A route that can be used.
const UP: u32 = 1;

/// The links of the routes of `/proc/net/route` that lead to `ip`: link, destination, gateway, flags, and the mask
/// in the eighth column; numbers are hexadecimal, addresses as this machine stores them.
fn links_v4(table: &str, ip: Ipv4Addr) -> Vec<String> {
    let hex = |word: Option<&&str>| word.and_then(|word| u32::from_str_radix(word, 16).ok());
    let link = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (destination, mask) = (hex(words.get(1))?, hex(words.get(7))?);
        let is_up = hex(words.get(3))? & UP != 0;
        let leads = u32::from_ne_bytes(ip.octets()) & mask == destination & mask;
        (is_up && leads).then(|| words[0].to_owned())
    };
    table.lines().skip(1).filter_map(link).collect()
}

/// The same of `/proc/net/ipv6_route`: destination and its length first, flags and link last.
fn links_v6(table: &str, ip: Ipv6Addr) -> Vec<String> {
    let link = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let destination = u128::from_str_radix(words.first()?, 16).ok()?;
        let length = u32::from_str_radix(words.get(1)?, 16).ok()?;
        let is_up = u32::from_str_radix(words.get(8)?, 16).ok()? & UP != 0;
        let mask = u128::MAX.checked_shl(128_u32.checked_sub(length)?).unwrap_or(0);
        let leads = u128::from(ip) & mask == destination & mask;
        (is_up && leads).then(|| words.get(9).map(|link| (*link).to_owned())).flatten()
    };
    table.lines().filter_map(link).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_with_a_route_there_are_found() {
        // 198.18.0.0/30 by link, 198.19.0.1/32 by link1 (down), everything by wwan0.
        let word = |octets: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(octets));
        let table = format!(
            "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
             link {} 00000000 0001 0 0 0 {} 0 0 0\nlink1 {} 00000000 0000 0 0 20 {} 0 0 0\n\
             wwan0 00000000 0101A8C0 0003 0 0 700 00000000 0 0 0\nnonsense\n",
            word([198, 18, 0, 0]),
            word([255, 255, 255, 252]),
            word([198, 19, 0, 1]),
            word([255; 4])
        );
        assert_eq!(links_v4(&table, Ipv4Addr::new(198, 18, 0, 2)), ["link", "wwan0"]);
        assert_eq!(links_v4(&table, Ipv4Addr::new(198, 19, 0, 1)), ["wwan0"]);
        let table = "fd000000000000000000000000000000 40 0 00 0 00000400 0 0 00000001 wlan0\n\
                     00000000000000000000000000000000 00 0 00 0 ffffffff 0 0 00200200 lo\n\
                     00000000000000000000000000000000 00 0 00 0 00000400 0 0 00000003 wwan0\n?\n";
        assert_eq!(links_v6(table, "fd00::7".parse().unwrap()), ["wlan0", "wwan0"]);
        assert_eq!(links_v6(table, "fe80::7".parse().unwrap()), ["wwan0"]);
    }

    #[test]
    fn loopback_has_no_other_way() {
        assert_eq!(others(([127, 0, 0, 1], 9).into()), []);
        let _ = others(([192, 0, 2, 1], 9).into());
    }

    #[test]
    fn a_link_is_named_by_its_name_or_its_address() {
        let own = own_addresses();
        let Some(loopback) = own.iter().find(|own| own.ip.is_loopback()) else { return };
        let link = Link(loopback.link.clone());
        assert_eq!(Link::named(&loopback.link).ok(), Some(link.clone()));
        assert_eq!(Link::named(&loopback.ip.to_string()).ok(), Some(link));
        for none in ["nolink0", "192.0.2.77", "1"] {
            assert!(Link::named(none).unwrap_err().to_string().contains(none));
        }
    }

    #[test]
    fn a_link_that_may_come_has_a_links_name() {
        assert_eq!(Link::later("wwan0"), Some(Link("wwan0".to_owned())));
        for none in ["", "192.0.2.77", "7", "a/b", "a b", "a-name-too-long-0"] {
            assert_eq!(Link::later(none), None, "{none:?}");
        }
    }

    #[tokio::test]
    async fn a_socket_is_bound_to_a_link_that_is_there() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = SockRef::from(&socket);
        assert!(Leave::ByRoute.bind(&socket).is_ok());
        assert!(Leave::Link("nolink0".to_owned()).bind(&socket).is_err());
    }
}
