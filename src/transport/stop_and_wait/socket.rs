//! What the two roles ask of a TCP socket beyond reading and writing.

use std::io;
use std::mem::MaybeUninit;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::settings::KEEPALIVE;

/// A connection to a peer; a pipe in memory stands in for it in tests.
pub(super) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {
    /// Has what arrives next acknowledged at once. Otherwise the kernel holds back the
    /// acknowledgement of a `continue` for 40 ms, in the hope of a reply to send it with, and the
    /// peer, ours or a script under Nagle's rule, waits for it before it sends the next header.
    fn acknowledge_at_once(&self) {}

    /// Makes the end of the connection a reset, so that a peer that waits for an `ok` gets an error
    /// instead of an empty read that it may not look at.
    fn reset_at_end(&self) {}
}

impl Connection for TcpStream {
    fn acknowledge_at_once(&self) {
        // Only speed depends on it.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = SockRef::from(self).set_tcp_quickack(true);
    }

    fn reset_at_end(&self) {
        // Where it fails the peer sees the end of the stream: also an end.
        let _ = self.set_zero_linger();
    }
}

/// Sets what every connection of either role needs.
///
/// # Errors
/// Those of the system.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Every text is awaited by the peer, and none may wait for another.
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// True where the peer has neither closed nor said anything.
pub(super) fn is_idle(stream: &TcpStream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let peeked = SockRef::from(stream).peek(&mut byte);
    matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Bytes that were written and that the peer's kernel has not acknowledged; `None` where the system
/// does not tell.
#[cfg(all(
    target_os = "linux",
    any(
        target_arch = "x86",
        target_arch = "x86_64",
        target_arch = "arm",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
))]
#[expect(unsafe_code, reason = "rustix has the ioctl's pattern, but not this ioctl")]
pub(super) fn unacknowledged(stream: &TcpStream) -> Option<u32> {
    use rustix::ioctl::{Getter, ioctl};

    /// `linux/sockios.h`; the same number as TIOCOUTQ on these machines. See tcp(7).
    const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;
    // SAFETY: on a TCP socket, which `stream` is, SIOCOUTQ writes one `int` to its argument and
    // does nothing else.
    let unsent = unsafe { ioctl(stream, Getter::<SIOCOUTQ, std::ffi::c_int>::new()) };
    unsent.ok().and_then(|bytes| u32::try_from(bytes).ok())
}

/// Bytes that were written and that the peer's kernel has not acknowledged; `None` where the system
/// does not tell.
#[cfg(not(all(
    target_os = "linux",
    any(
        target_arch = "x86",
        target_arch = "x86_64",
        target_arch = "arm",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
)))]
pub(super) fn unacknowledged(_: &TcpStream) -> Option<u32> {
    None
}
