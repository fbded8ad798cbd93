//! Where other machines find a receiver.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::transport::{OwnAddress, own_addresses};

/// Addresses that nobody has (RFC 5737, RFC 3849), so that only the default route leads there.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ELSEWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// What stands for an address that only the user knows.
pub(super) const PLACEHOLDER: &str = "HOST";

/// A machine with more addresses than this has most of them for its containers.
const MOST_ADDRESSES: usize = 8;

/// `ADDR:PORT` for a sender on another machine, one or several. A receiver that listens on every address
/// is named by the one from which this machine reaches others; where it reaches none, by each that it
/// has, or by [`PLACEHOLDER`] where the system tells of none.
pub(super) fn to_dial(listening: SocketAddr) -> Vec<String> {
    dialled(listening, own_address, own_addresses)
}

fn dialled(
    listening: SocketAddr,
    own_address: impl Fn(IpAddr) -> Option<IpAddr>,
    all: impl Fn() -> Vec<OwnAddress>,
) -> Vec<String> {
    let port = listening.port();
    let elsewhere: &[IpAddr] = match listening.ip() {
        ip if !ip.is_unspecified() => return vec![listening.to_string()],
        IpAddr::V4(_) => &[IpAddr::V4(ELSEWHERE)],
        // Such a socket has IPv4 as well.
        IpAddr::V6(_) => &[IpAddr::V6(ELSEWHERE_V6), IpAddr::V4(ELSEWHERE)],
    };
    if let Some(ip) = elsewhere.iter().find_map(|&towards| own_address(towards)) {
        return vec![SocketAddr::new(ip, port).to_string()];
    }
    let mut own = all();
    own.retain(|own| own.ip.is_ipv4() || listening.is_ipv6());
    // Those that any machine can use come first, and the others only where there is none.
    own.sort_by_key(|own| reach(own.ip));
    let best = own.first().map(|own| reach(own.ip));
    own.retain(|own| Some(reach(own.ip)) == best);
    let mut found: Vec<_> = own.iter().map(|own| dialled_on(own, port)).collect();
    found.dedup();
    found.truncate(MOST_ADDRESSES);
    if found.is_empty() {
        found.push(format!("{PLACEHOLDER}:{port}"));
    }
    found
}

/// How far an address reaches, the farthest first: the network, one link, this machine.
fn reach(ip: IpAddr) -> u8 {
    match ip {
        ip if ip.is_loopback() => 2,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 1,
        IpAddr::V4(ip) if ip.is_link_local() => 1,
        _ => 0,
    }
}

fn dialled_on(own: &OwnAddress, port: u16) -> String {
    match own.ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => format!("[{ip}%{}]:{port}", own.link),
        ip => SocketAddr::new(ip, port).to_string(),
    }
}

/// The address that packets to `towards` would leave with. Connecting a UDP socket sends nothing.
fn own_address(towards: IpAddr) -> Option<IpAddr> {
    let any = match towards {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // The port means nothing; 9 is the one that is for discarding.
    socket.connect((towards, 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    // An address of one link only is none without the sender's name for that link.
    let is_of_one_link = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    (!ip.is_loopback() && !ip.is_unspecified() && !is_of_one_link).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ReceiverAddress;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
    const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 5);

    fn on_both(towards: IpAddr) -> Option<IpAddr> {
        Some(if towards.is_ipv4() { OWN.into() } else { OWN_V6.into() })
    }

    fn on_ipv4_only(towards: IpAddr) -> Option<IpAddr> {
        towards.is_ipv4().then_some(OWN.into())
    }

    fn own(addresses: &[(&str, &str)]) -> Vec<OwnAddress> {
        let address = |(ip, link): &(&str, &str)| OwnAddress {
            ip: ip.parse().unwrap(),
            link: (*link).to_owned(),
            number: None,
        };
        addresses.iter().map(address).collect()
    }

    #[test]
    fn every_address_becomes_one_that_can_be_dialled() {
        for (listening, both, ipv4_only, none) in [
            ("0.0.0.0:4433", "10.1.2.3:4433", "10.1.2.3:4433", "HOST:4433"),
            ("[::]:4433", "[fd00::5]:4433", "10.1.2.3:4433", "HOST:4433"),
            ("192.168.7.1:1", "192.168.7.1:1", "192.168.7.1:1", "192.168.7.1:1"),
            ("[::1]:4433", "[::1]:4433", "[::1]:4433", "[::1]:4433"),
        ] {
            let listening = listening.parse().unwrap();
            assert_eq!(dialled(listening, on_both, Vec::new), [both]);
            assert_eq!(dialled(listening, on_ipv4_only, Vec::new), [ipv4_only]);
            assert_eq!(dialled(listening, |_| None, Vec::new), [none]);
        }
    }

    #[test]
    fn without_a_default_route_each_address_is_named_that_reaches_farthest() {
        let all = [
            ("127.0.0.1", "lo"),
            ("192.168.7.1", "eth0"),
            ("10.0.0.1", "wlan0"),
            ("fe80::1", "eth0"),
            ("fd00::5", "eth0"),
        ];
        for (listening, addresses, expected) in [
            ("0.0.0.0:1", &all[..], &["192.168.7.1:1", "10.0.0.1:1"][..]),
            ("[::]:1", &all[..], &["192.168.7.1:1", "10.0.0.1:1", "[fd00::5]:1"]),
            ("[::]:1", &[all[0], all[3]], &["[fe80::1%eth0]:1"]),
            ("0.0.0.0:1", &[all[0], all[3]], &["127.0.0.1:1"]),
        ] {
            let found = dialled(listening.parse().unwrap(), |_| None, || own(addresses));
            assert_eq!(found, expected);
            for address in found {
                assert!(address.parse::<ReceiverAddress>().is_ok(), "{address}");
            }
        }
    }

    #[test]
    fn what_is_found_on_this_machine_is_an_address_that_send_takes() {
        for listening in ["0.0.0.0:4433", "[::]:4433", "[fe80::1%2]:7007"] {
            for text in to_dial(listening.parse().unwrap()) {
                assert!(text.parse::<ReceiverAddress>().is_ok(), "{text}");
                assert!(!text.contains("0.0.0.0") && !text.contains("[::]"), "{text}");
            }
        }
    }
}
