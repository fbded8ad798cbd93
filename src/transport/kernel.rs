//! What the kernel lets one choose about a TCP connection, and see of it.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use socket2::SockRef;

use super::TransportError;

/// Checks that this process may choose the TCP congestion control called `name`.
///
/// # Errors
/// [`TransportError::Unsupported`] says which there are.
pub fn check_tcp_congestion(name: &str) -> Result<(), TransportError> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
        .map_err(|error| no_congestion(name, &error))?;
    choose_congestion(&SockRef::from(&socket), name)
}

/// Chooses the congestion control of what this end sends over `socket`.
///
/// # Errors
/// [`TransportError::Unsupported`]: the kernel has none of this name, or not for this user, or the
/// system lets nobody choose.
pub(super) fn choose_congestion(socket: &SockRef<'_>, name: &str) -> Result<(), TransportError> {
    set_congestion(socket, name).map_err(|error| no_congestion(name, &error))
}

#[cfg(target_os = "linux")]
fn set_congestion(socket: &SockRef<'_>, name: &str) -> io::Result<()> {
    /// `TCP_CA_NAME_MAX` of the kernel's `net/tcp.h`, the closing zero included.
    const NAME_BYTES: usize = 16;
    // The kernel would cut the name off, and may then know it.
    if name.len() >= NAME_BYTES || name.contains('\0') {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    socket.set_tcp_congestion(name.as_bytes())
}

#[cfg(not(target_os = "linux"))]
fn set_congestion(_: &SockRef<'_>, _: &str) -> io::Result<()> {
    Err(io::Error::other("it can be chosen on Linux only"))
}

fn no_congestion(name: &str, error: &io::Error) -> TransportError {
    let list = |which: &str| {
        let names =
            std::fs::read_to_string(format!("/proc/sys/net/ipv4/tcp_{which}_congestion_control"));
        names.map(|names| names.split_whitespace().collect::<Vec<_>>().join(", "))
    };
    let why = match (error.kind(), list("available"), list("allowed")) {
        (io::ErrorKind::PermissionDenied, _, Ok(allowed)) => format!(
            "only root may choose it; this user may choose {allowed} (root changes that with `sysctl \
             net.ipv4.tcp_allowed_congestion_control`)"
        ),
        (io::ErrorKind::NotFound, Ok(available), _) => {
            format!("this kernel has {available} (others may be modules: `sudo modprobe tcp_NAME`)")
        }
        _ => error.to_string(),
    };
    TransportError::Unsupported(format!("no TCP congestion control {name:?}: {why}"))
}

/// What the kernel knows of a connection, as far as it is used here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TcpState {
    /// Payload of the longest segment that is sent, in bytes.
    pub(super) segment: u32,
    /// The longest packet that the path is known to carry, headers included, in bytes.
    pub(super) packet: u32,
    /// Segments that were sent and not acknowledged.
    pub(super) unacknowledged: u32,
    /// Those of them that are neither known to be there, nor taken for lost and not sent again.
    pub(super) flying: u32,
    /// Those of them that are known to be there, behind others that are not.
    pub(super) sacked: u32,
    /// Bytes that wait to be sent.
    pub(super) unsent: u32,
    /// Bytes that the peer takes; zero where the kernel is too old to tell.
    pub(super) window: u32,
    /// The smoothed round trip; zero before the first was measured.
    pub(super) rtt: Duration,
    /// How long an acknowledgement takes at the most as a rule: the smoothed round trip and four times its
    /// deviation, as in RFC 6298.
    pub(super) usual: Duration,
    /// Bytes that were acknowledged since the connection was opened.
    pub(super) acknowledged: u64,
    /// Segments that have come.
    pub(super) segments_received: u32,
    /// Segments with payload that were sent, those that were sent again included.
    pub(super) segments_sent: u32,
    /// Segments that were sent again.
    pub(super) segments_again: u32,
    /// Payload in them, in bytes; zero where the kernel is too old to tell.
    pub(super) bytes_again: u64,
    /// The shortest round trip of the last minutes; zero before the first was measured.
    pub(super) least_rtt: Duration,
    /// Bytes a second that were delivered lately; zero where the kernel does not tell.
    pub(super) rate: u64,
    /// Whether there was always something to send while that was measured.
    pub(super) is_busy: bool,
}

impl TcpState {
    /// True where an acknowledgement is due: something is on its way, or waits though the peer would take
    /// it, since the kernel does not count as sent what its own link has dropped.
    pub(super) fn awaits(&self) -> bool {
        self.unacknowledged > 0 || self.unsent > 0 && self.window >= self.segment
    }
}

/// Bounds how long the kernel waits, beside a round trip, until it sends again what was not acknowledged, as far as it lets
/// one: no less than `least` at first, no more than `longest` after many times in vain.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "neither rustix nor socket2 has these options")]
pub(super) fn bound_resending(socket: BorrowedFd<'_>, least: Duration, longest: Duration) {
    use std::os::fd::AsRawFd;

    /// Of `linux/tcp.h`, since Linux 6.15: in milliseconds, and in microseconds.
    const TCP_RTO_MAX_MS: libc::c_int = 44;
    const TCP_RTO_MIN_US: libc::c_int = 45;
    for (option, value) in
        [(TCP_RTO_MAX_MS, longest.as_millis()), (TCP_RTO_MIN_US, least.as_micros())]
    {
        let value = libc::c_int::try_from(value).unwrap_or(libc::c_int::MAX);
        let length = size_of_val(&value) as libc::socklen_t;
        // SAFETY: the socket is open as long as it is borrowed, and the option takes a `c_int`, which `value` is.
        let set = unsafe {
            let value = (&raw const value).cast();
            libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, option, value, length)
        };
        if set != 0 {
            let error = io::Error::last_os_error();
            tracing::debug!(%error, "the kernel sends again when it likes");
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn bound_resending(_: BorrowedFd<'_>, _: Duration, _: Duration) {}

/// What the kernel knows of the TCP connection `socket`; `None` where it does not tell.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "neither rustix nor socket2 has this option")]
pub(super) fn tcp_state(socket: BorrowedFd<'_>) -> Option<TcpState> {
    use std::os::fd::AsRawFd;

    /// `struct tcp_info` of `linux/tcp.h`, up to the last field that is read here, and to the last that
    /// every kernel has.
    const BYTES: usize = 232;
    const LEAST: usize = 168;
    let mut info = [0_u8; BYTES];
    let mut length = BYTES as libc::socklen_t;
    // SAFETY: the socket is open as long as it is borrowed, and the kernel writes no more than `length`
    // bytes to `info`, which has as many.
    let got = unsafe {
        let info = info.as_mut_ptr().cast();
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info,
            &raw mut length,
        )
    };
    if got != 0 || (length as usize) < LEAST {
        return None;
    }
    // The fields' places have not changed since they came: the kernel only adds behind them.
    let u32_at = |place: usize| {
        let bytes = info[place..].first_chunk().copied().unwrap_or_default();
        u32::from_ne_bytes(bytes)
    };
    let u64_at = |place: usize| {
        let bytes = info[place..].first_chunk().copied().unwrap_or_default();
        u64::from_ne_bytes(bytes)
    };
    let (rtt, deviation) = (u32_at(68), u32_at(72));
    Some(TcpState {
        segment: u32_at(16),
        packet: u32_at(60),
        unacknowledged: u32_at(24),
        flying: (u32_at(24) + u32_at(36)).saturating_sub(u32_at(28) + u32_at(32)),
        sacked: u32_at(28),
        unsent: u32_at(144),
        window: u32_at(228),
        rtt: Duration::from_micros(u64::from(rtt)),
        usual: Duration::from_micros(u64::from(rtt) + 4 * u64::from(deviation)),
        acknowledged: u64_at(120),
        segments_received: u32_at(140),
        segments_sent: u32_at(156),
        segments_again: u32_at(100),
        bytes_again: u64_at(208),
        least_rtt: least_rtt(u32_at(148)),
        rate: u64_at(160),
        // The lowest bit says that there was not.
        is_busy: info[7] & 1 == 0,
    })
}

/// The kernel says all ones before it knows.
#[cfg(target_os = "linux")]
fn least_rtt(micros: u32) -> Duration {
    if micros == u32::MAX { Duration::ZERO } else { Duration::from_micros(micros.into()) }
}

#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn tcp_state(_: BorrowedFd<'_>) -> Option<TcpState> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_kernel_tells_what_was_acknowledged() {
        use std::io::{Read, Write};
        use std::os::fd::AsFd;

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let before = tcp_state(near.as_fd()).unwrap();
        near.write_all(&[7; 5_000]).unwrap();
        far.read_exact(&mut [0; 5_000]).unwrap();
        far.write_all(b"x").unwrap();
        near.read_exact(&mut [0]).unwrap();
        let after = tcp_state(near.as_fd()).unwrap();
        assert_eq!(after.acknowledged - before.acknowledged, 5_000);
        assert!(!after.awaits(), "{after:?}");
        assert!(after.segments_received > before.segments_received);
        assert!(after.segments_sent > before.segments_sent, "{after:?}");
        assert_eq!((after.segments_again, after.bytes_again), (0, 0), "nothing is lost here");
        assert!((1..=50).contains(&after.rtt.as_micros()) || after.rtt < after.usual, "{after:?}");
        assert!((500..=65_535).contains(&after.segment), "{after:?}");
        assert!(after.rate > 0 && after.least_rtt <= after.rtt * 2, "{after:?}");
        assert!(after.packet > after.segment && after.usual > Duration::ZERO, "{after:?}");
        assert_eq!(tcp_state(std::io::stdin().as_fd()), None, "no TCP connection");
    }

    #[test]
    fn a_congestion_control_that_there_is_not_is_told_with_those_there_are() {
        for name in ["nosuch", "", "reno\0", "cubic-with-a-very-long-name"] {
            let error = check_tcp_congestion(name).unwrap_err();
            assert!(!error.may_pass(), "{error}");
            if cfg!(target_os = "linux") && name == "nosuch" {
                let text = error.to_string();
                assert!(text.contains("\"nosuch\"") && text.contains("this kernel has "), "{text}");
            }
        }
        if cfg!(target_os = "linux") {
            check_tcp_congestion("reno")
                .expect("every kernel has it, and lets everybody choose it");
        }
    }
}
