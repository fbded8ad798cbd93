//! Sessions that fill what QUIC grants them with bytes that have a gap before each, so that the receiver can read none of
//! them, and has to keep each for itself.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use framelane::transport::quic::settings;
use quinn::congestion::{Controller, ControllerFactory};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncUdpSocket, Connection, Endpoint, EndpointConfig, Runtime, TokioRuntime, UdpPoller,
};
use tokio::sync::oneshot;

use super::fair::{MEMORY, assert_fair, hostile, peak_kib};
use super::peer::{self, hello};
use crate::support::{Place, Receiver};

/// Bytes that are sent on each stream, a packet each for all streams together. Every other packet is lost.
const ROUNDS: usize = 512;

/// Sessions that do it. Each may make the receiver hold as much as one of 63 that share what it may hold beside its
/// `--memory`.
const SESSIONS: usize = 16;
const SESSION_KIB: u64 = 1_024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_with_a_gap_before_each() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--allow", "any", "--memory", MEMORY]);
    let before = peak_kib(&receiver);
    let (over, keep) = std::sync::mpsc::channel::<()>();
    assert_fair(&place, &receiver, async || {
        (0..SESSIONS).for_each(|number| drop(place.identity(&hostile(number).identity)));
        let (filled, all_filled) = oneshot::channel();
        let configs: Vec<_> = (0..SESSIONS)
            .map(|number| peer::config(&place, receiver.address(), &hostile(number)))
            .collect();
        let address = receiver.address();
        std::thread::spawn(move || {
            // One thread, so that what is written without waiting leaves in one packet.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            let sessions = runtime.block_on(async {
                let mut sessions = Vec::new();
                for (number, config) in configs.into_iter().enumerate() {
                    sessions.push(fill(number, config, address).await);
                }
                sessions
            });
            let chunks: u64 = sessions.iter().map(|session| session.2).sum();
            let _ = filled.send(chunks);
            // Until the test is over. Nothing is heard of the receiver, and so nothing is sent again.
            let _ = keep.recv();
            drop(sessions);
        });
        let chunks = peer::within("the last gap", all_filled).await.expect("a thread");
        println!("{chunks} bytes, each by itself");
        assert!(chunks > SESSIONS as u64 * 1_000, "{chunks}");
    })
    .await;
    drop(over);
    let held = peak_kib(&receiver).saturating_sub(before);
    assert!(held <= SESSIONS as u64 * SESSION_KIB, "{SESSIONS} sessions made it hold {held} KiB");
}

/// Opens a session, and as many streams as it may, and sends bytes with gaps on all of them.
async fn fill(
    number: usize,
    mut config: quinn::ClientConfig,
    address: SocketAddr,
) -> (Endpoint, Vec<quinn::SendStream>, u64) {
    config.transport_config(settings::transport(Arc::new(Boundless)));
    let socket = Arc::new(Lossy::bind());
    let endpoint = Endpoint::new_with_abstract_socket(
        EndpointConfig::default(),
        None,
        socket.clone(),
        Arc::new(TokioRuntime),
    );
    let endpoint = endpoint.expect("an endpoint");
    let connecting = endpoint.connect_with(config, address, "localhost");
    let connection = connecting.expect("a valid configuration").await.expect("a connection");
    let (mut session_out, mut session_in) = connection.open_bi().await.expect("a stream");
    let hello = hello(&[&format!("hostile-{number}")]).encode();
    session_out.write_all(&hello).await.expect("the hello");
    session_in.read_chunk(1, true).await.expect("the session goes on").expect("a welcome");
    let mut streams = streams(&connection).await;
    socket.is_deaf.store(true, Ordering::SeqCst);
    let mut chunks = 0;
    for round in 0..ROUNDS {
        let loses = round % 2 == 0;
        socket.loses.store(loses, Ordering::SeqCst);
        let before = socket.sent.load(Ordering::SeqCst);
        let mut written = 0;
        for stream in &mut streams {
            let write = std::pin::pin!(stream.write(b"x"));
            // Where there is no credit left, it would be waited for without end.
            if let Poll::Ready(Ok(1)) = futures_poll(write) {
                written += 1;
            }
        }
        if written == 0 {
            break;
        }
        let since = Instant::now();
        while socket.sent.load(Ordering::SeqCst) == before && since.elapsed().as_secs() < 5 {
            tokio::task::yield_now().await;
        }
        chunks += if loses { 0 } else { written };
    }
    (endpoint, streams, chunks)
}

/// All streams that the receiver lets it open.
async fn streams(connection: &Connection) -> Vec<quinn::SendStream> {
    let mut streams = Vec::new();
    while let Poll::Ready(Ok(stream)) = futures_poll(std::pin::pin!(connection.open_uni())) {
        streams.push(stream);
    }
    streams
}

/// What a future has come to, without waiting.
fn futures_poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(std::task::Waker::noop()))
}

/// Sends as much as there is.
#[derive(Debug, Clone)]
pub(super) struct Boundless;

impl ControllerFactory for Boundless {
    fn build(self: Arc<Self>, _: Instant, _: u16) -> Box<dyn Controller> {
        Box::new(Self)
    }
}

impl Controller for Boundless {
    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        1 << 30
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        1 << 30
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
        self
    }
}

/// A socket that loses what it is told to lose, and may hear nothing.
pub(super) struct Lossy {
    socket: Arc<dyn AsyncUdpSocket>,
    pub(super) loses: AtomicBool,
    pub(super) is_deaf: AtomicBool,
    pub(super) sent: AtomicU64,
}

impl Lossy {
    pub(super) fn bind() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let socket = TokioRuntime.wrap_udp_socket(socket).expect("a socket of the runtime");
        let new = || AtomicBool::new(false);
        Self { socket, loses: new(), is_deaf: new(), sent: AtomicU64::new(0) }
    }
}

impl fmt::Debug for Lossy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lossy")
    }
}

impl AsyncUdpSocket for Lossy {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.sent.fetch_add(1, Ordering::SeqCst);
        if self.loses.load(Ordering::SeqCst) { Ok(()) } else { self.socket.try_send(transmit) }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let received = self.socket.poll_recv(cx, buffers, meta);
            match received {
                Poll::Ready(Ok(_)) if self.is_deaf.load(Ordering::SeqCst) => {}
                other => return other,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        1
    }
}
