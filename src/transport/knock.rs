//! What the system says of the way to a UDP port.
//!
//! QUIC's socket is connected to nobody, so that it outlives the address it sends from. The kernel
//! tells such a socket nothing of an ICMP message, and quinn takes a failed send for a lost packet: what is
//! refused at once would be eight seconds of silence. So another socket, which is connected, knocks beside
//! the handshake, and hears what the system and the way to the receiver have to say.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use super::leave::Leave;

/// A datagram that is no QUIC packet, since the bit that all of them have is not set (RFC 9000, section
/// 17.2), and too short to be answered with a reset: a receiver throws it away.
const KNOCK: [u8; 1] = [0];

/// When is knocked during a handshake. Not before its first packet has arrived: a relay on the way may take
/// whoever comes first for the only one that it forwards answers to.
pub(super) const TIMES: [Duration; 2] = [Duration::from_millis(400), Duration::from_millis(2_500)];

/// Asks for a route at once, knocks at `address` at each of `times` from now on, and waits for a word against it: no route, not
/// permitted, a closed port. For ever, where there is none.
///
/// Cancel safe.
pub(super) async fn word(address: SocketAddr, leave: &Leave, times: &[Duration]) -> io::Error {
    match knock(address, leave, times).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn knock(
    address: SocketAddr,
    leave: &Leave,
    times: &[Duration],
) -> io::Result<std::convert::Infallible> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    leave.bind(&SockRef::from(&socket))?;
    hear_all(&socket);
    // Connecting sends nothing, but asks for a route.
    socket.connect(address).await?;
    let began = Instant::now();
    for &time in times {
        tokio::select! {
            error = refusal(&socket) => return Err(error),
            () = sleep_until(began + time) => {}
        }
        match socket.send(&KNOCK).await {
            Err(error) if is_lasting(&error) => return Err(error),
            _ => {}
        }
    }
    Err(refusal(&socket).await)
}

/// Waits for an error of the socket. Whatever may be answered is nothing that this end asked for.
async fn refusal(socket: &UdpSocket) -> io::Error {
    let mut answer = [0; 16];
    loop {
        match socket.recv(&mut answer).await {
            Err(error) if is_lasting(&error) => return error,
            _ => {}
        }
    }
}

/// False for a queue that is full at the moment.
fn is_lasting(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, OutOfMemory, WouldBlock};
    const NO_BUFFERS: i32 = rustix::io::Errno::NOBUFS.raw_os_error();
    let passes = matches!(error.kind(), Interrupted | OutOfMemory | WouldBlock);
    !passes && error.raw_os_error() != Some(NO_BUFFERS)
}

/// Has the socket told of ICMP's softer words as well, "host unreachable" among them: those that a TCP
/// connection ends with that is being opened.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "neither rustix nor socket2 has this option")]
fn hear_all(socket: &UdpSocket) {
    use std::os::fd::AsRawFd;

    let is_ipv6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
    let option = match is_ipv6 {
        true => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
        false => (libc::IPPROTO_IP, libc::IP_RECVERR),
    };
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the socket is open, and the option takes a `c_int`, which `on` is.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), option.0, option.1, (&raw const on).cast(), length)
    };
    if set != 0 {
        let error = io::Error::last_os_error();
        tracing::debug!(%error, "only the harder words of ICMP are heard");
    }
}

#[cfg(not(target_os = "linux"))]
fn hear_all(_: &UdpSocket) {}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: [Duration; 2] = [Duration::ZERO, Duration::from_millis(50)];
    /// Far more than a word of this machine about itself takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    async fn word_on(address: SocketAddr) -> io::Error {
        tokio::time::timeout(PATIENCE, word(address, &Leave::ByRoute, &SOON)).await.expect("a word")
    }

    #[tokio::test]
    async fn a_closed_port_is_told_at_once() {
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            // Its port is nobody's once it is dropped, and not handed out again soon.
            let Ok(closed) = UdpSocket::bind((ip, 0)).await else { continue };
            let address = closed.local_addr().unwrap();
            drop(closed);
            let error = word_on(address).await;
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
        }
    }

    #[tokio::test]
    async fn an_address_without_its_link_is_told_at_once() {
        let error = word_on("[fe80::1]:9".parse().unwrap()).await;
        // The kernel's word depends on the links that there are.
        assert_ne!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    }

    #[tokio::test]
    async fn a_port_that_is_open_has_no_word_and_is_knocked_at() {
        let open = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = open.local_addr().unwrap();
        let mut word = std::pin::pin!(word(address, &Leave::ByRoute, &SOON));
        let mut heard = [0; 16];
        for _ in SOON {
            tokio::select! {
                error = &mut word => panic!("{error}"),
                received = open.recv(&mut heard) => assert_eq!(received.unwrap(), KNOCK.len()),
            }
        }
    }
}
