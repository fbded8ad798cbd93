//! Whether a connection's own address and route are still there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// How often is looked where the kernel does not tell of changes.
const LOOK: Duration = Duration::from_secs(1);

/// How a connection stands to the network of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// A new connection would have the same address.
    Stands,
    /// A new connection would have another address, though this one's is still there: its packets may
    /// leave where nobody takes them.
    Moved,
    /// The address is gone, and a new connection would have another.
    Gone,
    /// No route leads to the peer now; nothing would be better than to wait for one.
    NoRoute,
}

/// How the connection from `local` to `peer` stands now. Nothing is sent.
pub(super) fn standing(local: SocketAddr, peer: SocketAddr) -> Standing {
    match towards(peer) {
        Some(would) if would == local.ip() => Standing::Stands,
        Some(_) if is_own(local) => Standing::Moved,
        Some(_) => Standing::Gone,
        None => Standing::NoRoute,
    }
}

/// The address of this machine from which packets to `peer` would leave now; `None` where no route leads there.
/// Nothing is sent.
pub(super) fn towards(peer: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(peer).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// False where this machine does not have the address any more.
fn is_own(mut local: SocketAddr) -> bool {
    local.set_port(0);
    match UdpSocket::bind(local) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
    }
}

/// Tells when an address or a route of this machine may have changed.
#[derive(Debug)]
pub struct News(Option<kernel_news::KernelNews>);

impl News {
    /// From now on. In a tokio runtime.
    #[expect(clippy::new_without_default, reason = "it listens from the call on")]
    pub fn new() -> Self {
        let news = kernel_news::KernelNews::new();
        Self(news.inspect_err(|error| tracing::debug!(%error, "no news of routes")).ok())
    }

    /// Whether the kernel tells of changes, rather than that it is looked now and then.
    pub fn is_told(&self) -> bool {
        self.0.is_some()
    }

    /// Waits for the next news, or for a while where the kernel tells of none. Cancel safe.
    pub async fn changed(&self) {
        match &self.0 {
            Some(news) => news.changed().await,
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

#[cfg(target_os = "linux")]
mod kernel_news {
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::io::Errno;
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{
        AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// Of links, addresses and routes: `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`,
    /// `RTMGRP_IPV6_IFADDR` and `RTMGRP_IPV6_ROUTE` of `linux/rtnetlink.h`.
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

    /// Its number is zero, which rustix writes so.
    const NETLINK_ROUTE: Option<Protocol> = None;

    /// The kernel's announcements, of which only is asked whether there are any.
    #[derive(Debug)]
    pub(super) struct KernelNews(AsyncFd<OwnedFd>);

    impl KernelNews {
        #[expect(unsafe_code, reason = "tokio has no safe way to wait for a file")]
        pub(super) fn new() -> io::Result<Self> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket =
                socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, NETLINK_ROUTE)?;
            bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
            // SAFETY: the socket is owned, and so stays open until it is dropped, after its registration.
            Ok(Self(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? }))
        }

        pub(super) async fn changed(&self) {
            let mut announced = [0; 8192];
            loop {
                let Ok(mut ready) = self.0.readable().await else {
                    return std::future::pending().await;
                };
                let mut any = false;
                // Announcements that were too many for the socket are news as well.
                while let Ok(_) | Err(Errno::NOBUFS | Errno::INTR) =
                    recv(self.0.get_ref(), &mut announced, RecvFlags::empty())
                {
                    any = true;
                }
                ready.clear_ready();
                if any {
                    return;
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel_news {
    use std::io;

    #[derive(Debug)]
    pub(super) enum KernelNews {}

    impl KernelNews {
        pub(super) fn new() -> io::Result<Self> {
            Err(io::Error::other("only Linux is asked for them"))
        }

        pub(super) async fn changed(&self) {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_stands_moves_or_is_gone() {
        let peer = at("127.0.0.1:9");
        assert_eq!(standing(at("127.0.0.1:7"), peer), Standing::Stands);
        if cfg!(target_os = "linux") {
            assert_eq!(standing(at("127.0.0.7:7"), peer), Standing::Moved);
        }
        // Nobody's (RFC 5737).
        assert_eq!(standing(at("192.0.2.77:7"), peer), Standing::Gone);
    }

    #[tokio::test]
    async fn news_come_from_the_kernel_or_by_looking() {
        let news = News::new();
        // Nothing need change on this machine: this only has to be something that can be waited for.
        let _ = tokio::time::timeout(Duration::from_millis(10), news.changed()).await;
        News(None).changed().await;
    }
}
