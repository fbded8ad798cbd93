//! Where a receiver listens, as a user writes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, Socket, Type};

use crate::transport::link_number;

/// What may be written for an address to listen on.
const LISTEN_FORM: &str = "write ADDR:PORT with an address of this machine, as in 127.0.0.1:4433 or \
     [fe80::1%eth0]:4433, or :4433 for every address";

/// An address to listen on: `ADDR:PORT`, an IPv6 address with its link behind a `%`, by name or
/// number, or `:PORT` for every address.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("{text:?} is no address to listen on: {LISTEN_FORM}");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    if matches!(host, "" | "*") {
        return Ok(SocketAddr::new(every_address(), port));
    }
    let Some(bare) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) else {
        let ip: Ipv4Addr = host.parse().map_err(|_| wrong())?;
        return Ok(SocketAddr::from((ip, port)));
    };
    let (bare, zone) = match bare.split_once('%') {
        Some((bare, zone)) => (bare, Some(zone)),
        None => (bare, None),
    };
    let ip: Ipv6Addr = bare.parse().map_err(|_| wrong())?;
    let link = match zone {
        Some(zone) => link_number(zone).map_err(|error| error.to_string())?,
        None if ip.is_unicast_link_local() => {
            return Err(format!(
                "every link may have {ip}: write the link behind it, by name or number, as in \
                 [{ip}%eth0]:{port}"
            ));
        }
        None => 0,
    };
    Ok(SocketAddrV6::new(ip, port, 0, link).into())
}

/// IPv6's "every address" where it takes IPv4 in as well, which is Linux's default; else IPv4's.
fn every_address() -> IpAddr {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let takes_both = Socket::new(Domain::IPV6, Type::DGRAM, None).is_ok_and(|socket| {
        socket.only_v6().is_ok_and(|only| !only) && socket.bind(&any.into()).is_ok()
    });
    if takes_both { any.ip() } else { Ipv4Addr::UNSPECIFIED.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_listen_on_is_what_a_user_would_write() {
        for (text, expected) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:4433", "[::1]:4433"),
            ("[fe80::1%2]:7007", "[fe80::1%2]:7007"),
        ] {
            assert_eq!(parse_listen(text), Ok(expected.parse().unwrap()));
        }
        for text in [":4475", "*:4475"] {
            let address = parse_listen(text).unwrap();
            assert!(address.ip().is_unspecified() && address.port() == 4475, "{address}");
        }
        for (text, says) in [
            ("4475", ":4433 for every address"),
            ("localhost:1", "127.0.0.1:4433"),
            ("127.0.0.1:70000", "no address to listen on"),
            ("::1:4433", "no address to listen on"),
            ("[fe80::1]:4433", "[fe80::1%eth0]:4433"),
            ("[fe80::1%nolink0]:4433", "no network link"),
        ] {
            let error = parse_listen(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
