//! A UDP socket that wakes for what somebody waits for, and for nothing else.
//!
//! The kernel says of each packet that has left that there is room for another. tokio's own socket asks to be told of
//! that, so that a thread which sends is woken once more for every packet, for nothing. This one asks when it
//! is full, which it hardly ever is. And what comes in can be left to come without a word, for as long as it is not to be
//! taken.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::settings;
use crate::alarm::watch;

/// A socket of quinn's for tokio.
#[derive(Debug)]
pub(super) struct Socket {
    udp: UdpSocket,
    state: UdpSocketState,
    /// Packets that leave together at most.
    together: usize,
    inward: AsyncFd<OwnedFd>,
    /// True while nobody is told of what comes.
    hushed: AtomicBool,
    /// True when the kernel took no more of what is to leave.
    full: AtomicBool,
}

/// Packets that were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// How many there are, those that the kernel has put together counted as one.
    pub(super) count: usize,
    /// Whether these were all that had come.
    pub(super) all: bool,
}

impl Socket {
    /// Has tokio watch a socket, from which packets of up to `longest` bytes are to leave.
    ///
    /// # Errors
    /// The system's, where the process may open no more files.
    pub(super) fn new(udp: UdpSocket, longest: u16) -> io::Result<Self> {
        let state = UdpSocketState::new((&udp).into())?;
        let inward = watch(bell::of(&udp)?, Interest::READABLE)?;
        let (hushed, full) = (AtomicBool::new(false), AtomicBool::new(false));
        let together = settings::packets_together(longest);
        Ok(Self { udp, state, together, inward, hushed, full })
    }

    /// Takes what has come, as much as there is room for, or has the caller woken when something does. What came
    /// since [`hush`](Self::hush) is among it.
    pub(super) fn take(
        &self,
        cx: &mut Context,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<Taken>> {
        if self.hushed.load(Ordering::Relaxed) {
            match self.receive(bufs, meta) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.listen()?,
                taken => return Poll::Ready(taken),
            }
        }
        loop {
            let mut ready = ready!(self.inward.poll_read_ready(cx))?;
            match self.receive(bufs, meta) {
                Ok(taken) => {
                    if taken.all {
                        // Of what has come since then tokio will be told: to look again would be a call for nothing.
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(taken));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Has nobody woken for what comes, until somebody [takes](Self::take) and finds nothing.
    pub(super) fn hush(&self) {
        if !self.hushed.load(Ordering::Relaxed)
            && bell::ring(&self.inward, &self.udp, false).is_ok()
        {
            self.hushed.store(bell::CAN_BE_HUSHED, Ordering::Relaxed);
        }
    }

    fn listen(&self) -> io::Result<()> {
        bell::ring(&self.inward, &self.udp, true)?;
        self.hushed.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn receive(&self, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> io::Result<Taken> {
        let most = bufs.len().min(BATCH_SIZE);
        let count = self.state.recv((&self.udp).into(), bufs, meta)?;
        // Where packets are taken one by one, that there was one says nothing of others.
        Ok(Taken { count, all: BATCH_SIZE > 1 && count < most && bell::CAN_BE_HUSHED })
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Outward { watched: None, socket: self })
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        let sent = self.state.send((&self.udp).into(), transmit);
        if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            self.full.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.take(cx, bufs, meta).map_ok(|taken| taken.count)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments().min(self.together)
    }

    fn max_receive_segments(&self) -> usize {
        // quinn has memory for so many of the longest packets. The kernel puts no more than 64 KiB together,
        // however many they are.
        const MOST: usize = 65_536_usize.div_ceil(settings::LONGEST_DATAGRAM as usize);
        self.state.gro_segments().min(MOST)
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Waits for room for what is to leave. The file is watched only while there is none.
#[derive(Debug)]
struct Outward {
    /// Goes before the socket, whose port is free only then.
    watched: Option<AsyncFd<OwnedFd>>,
    socket: Arc<Socket>,
}

impl UdpPoller for Outward {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context) -> Poll<io::Result<()>> {
        let Self { watched, socket } = &mut *self;
        if socket.full.load(Ordering::Relaxed) {
            let watched = match watched {
                Some(watched) => watched,
                None => {
                    let file = OwnedFd::from(socket.udp.try_clone()?);
                    watched.insert(watch(file, Interest::WRITABLE)?)
                }
            };
            drop(ready!(watched.poll_write_ready(cx))?);
            socket.full.store(false, Ordering::Relaxed);
        }
        *watched = None;
        Poll::Ready(Ok(()))
    }
}

/// An epoll of the socket's own within tokio's: what it tells can be changed at any time by one call, and it never tells
/// that there is room.
#[cfg(target_os = "linux")]
mod bell {
    use std::io;
    use std::net::UdpSocket;
    use std::os::fd::OwnedFd;

    use rustix::event::epoll::{CreateFlags, EventData, EventFlags, add, create, modify};
    use tokio::io::unix::AsyncFd;

    pub(super) const CAN_BE_HUSHED: bool = true;

    pub(super) fn of(udp: &UdpSocket) -> io::Result<OwnedFd> {
        let bell = create(CreateFlags::CLOEXEC)?;
        add(&bell, udp, EventData::new_u64(0), EventFlags::IN | EventFlags::ET)?;
        Ok(bell)
    }

    pub(super) fn ring(bell: &AsyncFd<OwnedFd>, udp: &UdpSocket, rings: bool) -> io::Result<()> {
        let what = if rings { EventFlags::IN | EventFlags::ET } else { EventFlags::ET };
        Ok(modify(bell.get_ref(), udp, EventData::new_u64(0), what)?)
    }
}

/// The socket itself, which tells of each packet.
#[cfg(not(target_os = "linux"))]
mod bell {
    use std::io;
    use std::net::UdpSocket;
    use std::os::fd::OwnedFd;

    use tokio::io::unix::AsyncFd;

    pub(super) const CAN_BE_HUSHED: bool = false;

    pub(super) fn of(udp: &UdpSocket) -> io::Result<OwnedFd> {
        Ok(udp.try_clone()?.into())
    }

    pub(super) fn ring(_: &AsyncFd<OwnedFd>, _: &UdpSocket, _: bool) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Wakes {
        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn pair() -> (Socket, UdpSocket) {
        let socket = Socket::new(UdpSocket::bind("127.0.0.1:0").unwrap(), 1_252).unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        other.connect(socket.local_addr().unwrap()).unwrap();
        (socket, other)
    }

    fn take(socket: &Socket, wakes: &Arc<Wakes>) -> Option<Taken> {
        let waker = Waker::from(wakes.clone());
        let mut memory = vec![[0; 4_096]; BATCH_SIZE];
        let mut bufs: Vec<_> = memory.iter_mut().map(|buf| IoSliceMut::new(buf)).collect();
        let mut meta = vec![RecvMeta::default(); BATCH_SIZE];
        match socket.take(&mut Context::from_waker(&waker), &mut bufs, &mut meta) {
            Poll::Ready(taken) => Some(taken.unwrap()),
            Poll::Pending => None,
        }
    }

    /// Takes packets until there are none, as often as it is woken; returns how many there were.
    async fn take_all(socket: &Socket, wakes: &Arc<Wakes>, wanted: usize) -> usize {
        let mut count = 0;
        while count < wanted {
            match take(socket, wakes) {
                Some(taken) => count += taken.count,
                None => tokio::time::sleep(MS).await,
            }
        }
        count
    }

    #[tokio::test]
    async fn what_comes_wakes_who_waits() {
        let (socket, other) = pair();
        let wakes = Arc::new(Wakes::default());
        assert_eq!(take(&socket, &wakes), None);
        for round in 1..=20 {
            other.send(b"x").unwrap();
            while wakes.count() < round {
                tokio::time::sleep(MS).await;
            }
            assert_eq!(take(&socket, &wakes), Some(Taken { count: 1, all: true }));
            assert_eq!(take(&socket, &wakes), None, "and is there once");
        }
    }

    #[tokio::test]
    async fn what_comes_to_a_hushed_one_waits_and_wakes_nobody() {
        let (socket, other) = pair();
        let wakes = Arc::new(Wakes::default());
        assert_eq!(take(&socket, &wakes), None);
        for _ in 0..20 {
            socket.hush();
            let before = wakes.count();
            (0..5).for_each(|_| assert_eq!(other.send(b"x").unwrap(), 1));
            // The runtime looks for events meanwhile.
            tokio::time::sleep(2 * MS).await;
            assert_eq!(wakes.count(), before);
            assert_eq!(take_all(&socket, &wakes, 5).await, 5);
            // Nothing is left, so it listens again.
            while take(&socket, &wakes).is_some() {}
            let before = wakes.count();
            other.send(b"y").unwrap();
            while wakes.count() == before {
                tokio::time::sleep(MS).await;
            }
            assert_eq!(take(&socket, &wakes).map(|taken| taken.count), Some(1));
            assert_eq!(take(&socket, &wakes), None);
        }
    }

    #[tokio::test]
    async fn what_came_before_it_listens_again_is_not_missed() {
        let (socket, other) = pair();
        let wakes = Arc::new(Wakes::default());
        for _ in 0..200 {
            assert_eq!(take(&socket, &wakes), None);
            socket.hush();
            assert_eq!(take(&socket, &wakes), None, "it listens");
            other.send(b"x").unwrap();
            assert_eq!(take_all(&socket, &wakes, 1).await, 1);
        }
    }

    #[test]
    fn what_has_left_wakes_nobody() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_io().build();
        let runtime = runtime.unwrap();
        let (socket, other) = runtime.block_on(async { pair() });
        let to = other.local_addr().unwrap();
        let send = || {
            let transmit = Transmit {
                destination: to,
                ecn: None,
                contents: &[7; 1_000],
                segment_size: None,
                src_ip: None,
            };
            socket.try_send(&transmit).unwrap();
            // The packet is gone, and there is room again.
            assert_eq!(other.recv(&mut [0; 2_000]).unwrap(), 1_000);
        };
        let parks = || runtime.metrics().worker_park_count(0);
        send();
        let before = parks();
        (0..200).for_each(|_| send());
        std::thread::sleep(20 * MS);
        assert!(parks() - before < 10, "{} of 200 packets", parks() - before);
    }

    #[tokio::test]
    async fn who_found_it_full_is_told_when_there_is_room() {
        let (socket, _other) = pair();
        let socket = Arc::new(socket);
        let mut outward = socket.clone().create_io_poller();
        let mut room = async || std::future::poll_fn(|cx| outward.as_mut().poll_writable(cx)).await;
        room().await.unwrap();
        for _ in 0..10 {
            socket.full.store(true, Ordering::Relaxed);
            room().await.unwrap();
            assert!(!socket.full.load(Ordering::Relaxed));
        }
    }
}
