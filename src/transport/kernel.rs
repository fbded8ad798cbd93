//! What the kernel lets one choose about a TCP connection, and see of it.

use std::io;

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
    // The kernel would cut a longer name off, and may then know it.
    if name.len() >= NAME_BYTES {
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

#[cfg(test)]
mod tests {
    use super::*;

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
