//! The network links and addresses of this machine, as far as an address may name them.

use std::net::IpAddr;

use super::TransportError;

/// An address that this machine has, and the link that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAddress {
    /// The address.
    pub ip: IpAddr,
    /// The name of its link.
    pub link: String,
    /// The number of its link.
    pub number: Option<u32>,
}

/// Every address of this machine, loopback's included; none where the system does not tell.
pub fn own_addresses() -> Vec<OwnAddress> {
    let found = if_addrs::get_if_addrs().unwrap_or_default();
    let own = found.into_iter().map(|interface| OwnAddress {
        ip: interface.ip(),
        number: interface.index,
        link: interface.name,
    });
    own.collect()
}

/// The number of the link that a user calls `zone`, by name or by number (RFC 4007, section 11.2).
///
/// # Errors
/// [`TransportError::NoLink`] where there is none of this name now.
pub fn link_number(zone: &str) -> Result<u32, TransportError> {
    if let Ok(number) = zone.parse() {
        return Ok(number);
    }
    let own = own_addresses();
    let named = own.iter().find(|address| address.link == zone);
    named.and_then(|address| address.number).or_else(|| asked(zone)).ok_or_else(|| {
        let mut links: Vec<_> = own.into_iter().map(|address| address.link).collect();
        links.sort_unstable();
        links.dedup();
        let advice = match links.len() {
            0 => "see `ip link` for those that it has".to_owned(),
            _ => format!("those with an address are {}", links.join(", ")),
        };
        TransportError::NoLink { link: zone.to_owned(), advice }
    })
}

/// The system's word on a link, which may be one without an address.
#[cfg(target_os = "linux")]
fn asked(zone: &str) -> Option<u32> {
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).ok()?;
    rustix::net::netdevice::name_to_index(&socket, zone).ok()
}

#[cfg(not(target_os = "linux"))]
fn asked(_zone: &str) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_a_link_by_name_and_by_number() {
        let own = own_addresses();
        let loopback = own.iter().find(|address| address.ip.is_loopback());
        let Some(loopback) = loopback else { return };
        assert_eq!(link_number(&loopback.link).ok(), loopback.number);
        assert_eq!(link_number("7").ok(), Some(7), "a number need not be looked up");
    }

    #[test]
    fn a_link_that_there_is_not_is_named_with_those_there_are() {
        let error = link_number("nolink0").unwrap_err();
        assert!(error.may_pass(), "a modem may be plugged in");
        assert!(error.to_string().contains("no network link \"nolink0\""), "{error}");
    }
}
