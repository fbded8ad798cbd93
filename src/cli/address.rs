//! Where other machines find a receiver on this one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses that nobody has (RFC 5737, RFC 3849), so that only the default route leads there.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ELSEWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// What stands for an address that only the user knows.
pub(super) const PLACEHOLDER: &str = "HOST";

/// `ADDR:PORT` for a sender on another machine. A receiver that listens on every address is named
/// by the one from which this machine reaches others, or [`PLACEHOLDER`] where it reaches none.
pub(super) fn to_dial(listening: SocketAddr) -> String {
    dialled(listening, own_address)
}

fn dialled(listening: SocketAddr, own_address: impl Fn(IpAddr) -> Option<IpAddr>) -> String {
    let port = listening.port();
    let elsewhere: &[IpAddr] = match listening.ip() {
        ip if !ip.is_unspecified() => return listening.to_string(),
        IpAddr::V4(_) => &[IpAddr::V4(ELSEWHERE)],
        // Such a socket has IPv4 as well.
        IpAddr::V6(_) => &[IpAddr::V6(ELSEWHERE_V6), IpAddr::V4(ELSEWHERE)],
    };
    let found = elsewhere.iter().find_map(|&towards| own_address(towards));
    match found {
        Some(ip) => SocketAddr::new(ip, port).to_string(),
        None => format!("{PLACEHOLDER}:{port}"),
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

    #[test]
    fn every_address_becomes_one_that_can_be_dialled() {
        for (listening, both, ipv4_only, none) in [
            ("0.0.0.0:4433", "10.1.2.3:4433", "10.1.2.3:4433", "HOST:4433"),
            ("[::]:4433", "[fd00::5]:4433", "10.1.2.3:4433", "HOST:4433"),
            ("192.168.7.1:1", "192.168.7.1:1", "192.168.7.1:1", "192.168.7.1:1"),
            ("[::1]:4433", "[::1]:4433", "[::1]:4433", "[::1]:4433"),
        ] {
            let listening = listening.parse().unwrap();
            assert_eq!(dialled(listening, on_both), both);
            assert_eq!(dialled(listening, on_ipv4_only), ipv4_only);
            assert_eq!(dialled(listening, |_| None), none);
        }
    }

    #[test]
    fn what_is_found_on_this_machine_is_an_address_that_send_takes() {
        for listening in ["0.0.0.0:4433", "[::]:4433"] {
            let text = to_dial(listening.parse().unwrap());
            assert!(text.parse::<ReceiverAddress>().is_ok(), "{text}");
            assert!(!text.contains("0.0.0.0") && !text.contains("[::"), "{text}");
        }
    }
}
