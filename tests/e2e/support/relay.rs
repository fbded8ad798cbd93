//! A link of a fixed rate between a sender and a receiver, for datagrams.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a relay looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// Forwards datagrams to a receiver, and its answers to whoever sent last. Ends when dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// The sockets at a relay's two ends.
struct Ends {
    near: UdpSocket,
    far: UdpSocket,
    sender: Mutex<Option<SocketAddr>>,
}

impl Relay {
    /// Starts one that lets so many bytes a second through to `receiver`. What is too much waits in
    /// the kernel's buffer, and is lost when that is full.
    pub(crate) fn start(receiver: SocketAddr, bytes_per_second: f64) -> Self {
        let socket = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let ends = Arc::new(Ends { near: socket(), far: socket(), sender: Mutex::new(None) });
        ends.far.connect(receiver).unwrap();
        for socket in [&ends.near, &ends.far] {
            socket.set_read_timeout(Some(LOOK)).unwrap();
        }
        let address = ends.near.local_addr().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let up = {
            let (ends, ended) = (ends.clone(), ended.clone());
            thread::spawn(move || ends.forward(bytes_per_second, &ended))
        };
        let down = {
            let ended = ended.clone();
            thread::spawn(move || ends.answer(&ended))
        };
        Self { address, ended, threads: vec![up, down] }
    }

    /// Where a sender finds the receiver.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Ends {
    fn forward(&self, bytes_per_second: f64, ended: &AtomicBool) {
        let mut buffer = vec![0; 65_536];
        let mut free_at = Instant::now();
        while !ended.load(Ordering::Relaxed) {
            let Ok((length, from)) = self.near.recv_from(&mut buffer) else { continue };
            *self.sender.lock().unwrap() = Some(from);
            let starts = free_at.max(Instant::now());
            free_at = starts + Duration::from_secs_f64(length as f64 / bytes_per_second);
            thread::sleep(free_at.saturating_duration_since(Instant::now()));
            let _ = self.far.send(&buffer[..length]);
        }
    }

    fn answer(&self, ended: &AtomicBool) {
        let mut buffer = vec![0; 65_536];
        while !ended.load(Ordering::Relaxed) {
            let Ok(length) = self.far.recv(&mut buffer) else { continue };
            let sender = *self.sender.lock().unwrap();
            if let Some(sender) = sender {
                let _ = self.near.send_to(&buffer[..length], sender);
            }
        }
    }
}
