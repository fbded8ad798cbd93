//! A way to a receiver over UDP and TCP, of which UDP can be closed and opened again.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a bridge looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// Forwards datagrams and connections to a receiver, on one port of its own. Ends when dropped.
pub(crate) struct Bridge {
    address: SocketAddr,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    ended: AtomicBool,
    swallows_udp: AtomicBool,
    datagrams: AtomicU64,
    connections: AtomicU64,
}

impl Bridge {
    pub(crate) fn to(receiver: SocketAddr) -> Self {
        let (udp, tcp) = one_port();
        let address = udp.local_addr().unwrap();
        let state = Arc::new(State::default());
        let [for_udp, for_tcp] = [state.clone(), state.clone()];
        let threads = vec![
            thread::spawn(move || for_udp.datagrams(&Arc::new(udp), receiver)),
            thread::spawn(move || for_tcp.connections(&tcp, receiver)),
        ];
        Self { address, state, threads }
    }

    /// Where a sender finds the receiver.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Swallows all datagrams from now on, or lets them through again.
    pub(crate) fn swallow_udp(&self, swallow: bool) {
        self.state.swallows_udp.store(swallow, Ordering::Relaxed);
    }

    /// Datagrams and connections that have come from senders.
    pub(crate) fn seen(&self) -> (u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.state.datagrams), of(&self.state.connections))
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A port that is free for both.
fn one_port() -> (UdpSocket, TcpListener) {
    let both = || {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        let udp = UdpSocket::bind(tcp.local_addr().ok()?).ok()?;
        Some((udp, tcp))
    };
    (0..100).find_map(|_| both()).expect("a port that is free for UDP and TCP")
}

impl State {
    fn is_over(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn swallows(&self) -> bool {
        self.swallows_udp.load(Ordering::Relaxed)
    }

    /// Each sender's socket has one of its own at the other side, as behind an address translator.
    fn datagrams(self: &Arc<Self>, near: &Arc<UdpSocket>, receiver: SocketAddr) {
        near.set_read_timeout(Some(LOOK)).unwrap();
        let mut far: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
        let mut buffer = vec![0; 65_536];
        while !self.is_over() {
            let Ok((length, from)) = near.recv_from(&mut buffer) else { continue };
            self.datagrams.fetch_add(1, Ordering::Relaxed);
            if self.swallows() {
                continue;
            }
            let socket = far.entry(from).or_insert_with(|| {
                let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
                socket.connect(receiver).unwrap();
                socket.set_read_timeout(Some(LOOK)).unwrap();
                let (state, near, far) = (self.clone(), near.clone(), socket.clone());
                thread::spawn(move || state.answers(&far, &near, from));
                socket
            });
            let _ = socket.send(&buffer[..length]);
        }
    }

    fn answers(&self, far: &UdpSocket, near: &UdpSocket, sender: SocketAddr) {
        let mut buffer = vec![0; 65_536];
        while !self.is_over() {
            let Ok(length) = far.recv(&mut buffer) else { continue };
            if !self.swallows() {
                let _ = near.send_to(&buffer[..length], sender);
            }
        }
    }

    fn connections(&self, near: &TcpListener, receiver: SocketAddr) {
        near.set_nonblocking(true).unwrap();
        while !self.is_over() {
            let Ok((near, _)) = near.accept() else {
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            self.connections.fetch_add(1, Ordering::Relaxed);
            near.set_nonblocking(false).unwrap();
            let Ok(far) = TcpStream::connect(receiver) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                thread::spawn(move || copy(from, to));
            }
        }
    }
}

/// Until either end is gone.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 65_536];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
