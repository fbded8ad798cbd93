//! Sessions of which every frame has to be mended: what that takes is a part of the memory that the receiver may hold.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use framelane::repair::{Plan, encode, trailer};
use framelane::transport::quic::settings;
use framelane::wire::{Decoded, Message, RepairLayout};
use quinn::{Connection, Endpoint, EndpointConfig, SendStream, TokioRuntime};
use tokio::sync::{mpsc, oneshot};

use super::fair::{hostile, peak_kib};
use super::gaps::{Boundless, Lossy};
use super::peer::{self, header, hello};
use crate::support::{Place, Receiver};

/// Sessions, each with a frame of which a shard is lost. To mend all of them at once would take 150 MiB beside the bodies.
const SESSIONS: usize = 14;
const BODY: usize = 4 << 20;
const SHARD: usize = 1_434;
const REPAIR: usize = 4;

const MEMORY: &str = "112MiB";
const MEMORY_KIB: u64 = 112 * 1_024;
const BESIDE_KIB: u64 = 64 * 1_024;

/// What is lost: within one shard, so near the end of the body that no room has to be given for what follows.
const LOST_AT: usize = 2_900 * SHARD;
const LOST: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_all_have_to_be_mended_stay_within_the_memory() {
    let place = Place::new();
    let args = ["--allow", "any", "--memory", MEMORY, "--max-frame", "8MiB", "--json"];
    let receiver = Receiver::start(&place, &args);
    let address = receiver.address();
    (0..SESSIONS).for_each(|number| drop(place.identity(&hostile(number).identity)));
    let configs: Vec<_> =
        (0..SESSIONS).map(|number| peer::config(&place, address, &hostile(number))).collect();
    let (tell, told) = oneshot::channel();
    let (over, keep) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (stored, mut all_stored) = mpsc::unbounded_channel();
        let sessions = runtime.block_on(async {
            let mut sessions = Vec::new();
            for (number, config) in configs.into_iter().enumerate() {
                sessions.push(Session::begin(number, config, address, stored.clone()).await);
            }
            // All are there before the first sends much, so that each is given its share of the room.
            for session in &mut sessions {
                session.send_most().await;
            }
            // All at once: what is missing of each is lost, and the repair that makes up for it comes.
            for session in &mut sessions {
                session.lose_some().await;
            }
            for session in &mut sessions {
                session.end().await;
            }
            for _ in 0..SESSIONS {
                all_stored.recv().await.expect("a receipt");
            }
            sessions
        });
        let _ = tell.send(());
        let _ = keep.recv();
        drop(sessions);
    });
    peer::within("the last receipt", told).await.expect("a thread");
    let peak = peak_kib(&receiver);
    println!("the receiver held {peak} KiB");
    drop(over);
    assert!(peak <= MEMORY_KIB + BESIDE_KIB, "the receiver held {peak} KiB");
    let received = receiver.interrupt();
    let (_, document) = received.stdout.split_once('\n').expect("a line for the address");
    let received: serde_json::Value = serde_json::from_str(document).expect("JSON");
    let sessions = received["sessions"].as_array().expect("sessions").iter();
    let sources = sessions.filter_map(|session| session["sources"].as_array()).flatten();
    let mended: u64 = sources.filter_map(|source| source["repaired"].as_u64()).sum();
    assert!(mended >= SESSIONS as u64 / 2, "{mended} were mended: {received}");
}

struct Session {
    connection: Connection,
    socket: Arc<Lossy>,
    _endpoint: Endpoint,
    _session: SendStream,
    stream: SendStream,
    /// All of the stream, and how much of it was sent.
    bytes: Bytes,
    sent: usize,
}

impl Session {
    /// Opens a session, and a frame's stream in it.
    async fn begin(
        number: usize,
        mut config: quinn::ClientConfig,
        address: SocketAddr,
        stored: mpsc::UnboundedSender<()>,
    ) -> Self {
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
        let (mut session, mut heard) = connection.open_bi().await.expect("a stream");
        let hello = hello(&[&format!("hostile-{number}")]).encode();
        session.write_all(&hello).await.expect("the hello");
        let welcome = heard.read_chunk(64 * 1_024, true).await.expect("the session goes on");
        let mut buffer = bytes::BytesMut::from(&welcome.expect("a welcome").bytes[..]);
        tokio::spawn(async move {
            while let Ok(Some(chunk)) = heard.read_chunk(64 * 1_024, true).await {
                buffer.extend_from_slice(&chunk.bytes);
                while let Ok(Decoded::Value(message, length)) = Message::decode(&buffer) {
                    let _ = buffer.split_to(length);
                    if matches!(message, Message::Receipts(_)) {
                        let _ = stored.send(());
                    }
                }
            }
        });
        let mut mark = [0; 8];
        let exported = connection.export_keying_material(&mut mark, b"framelane repair mark", b"");
        exported.expect("a mark");
        let (bytes, begin) = frame(number, mark);
        let mut stream = connection.open_uni().await.expect("a stream for a frame");
        // Nobody knows a stream of which nothing was sent.
        stream.write_all(&bytes[..begin]).await.expect("the header");
        let (sent, _endpoint, _session) = (begin, endpoint, session);
        Self { connection, socket, _endpoint, _session, stream, bytes, sent }
    }

    /// Sends the stream up to where something is lost.
    async fn send_most(&mut self) {
        let end = self.sent + LOST_AT;
        self.stream.write_all(&self.bytes[self.sent..end]).await.expect("most of the body");
        self.sent = end;
        self.all_is_there().await;
    }

    /// Waits until nothing is on its way that would be sent again.
    async fn all_is_there(&self) {
        let (mut seen, mut since) = (0, Instant::now());
        while since.elapsed() < Duration::from_millis(200) {
            let now = self.connection.stats().udp_tx.datagrams;
            if now != std::mem::replace(&mut seen, now) {
                since = Instant::now();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends some bytes in a packet that is lost; hears no more of the receiver, so that they are not sent again soon.
    async fn lose_some(&mut self) {
        self.socket.is_deaf.store(true, Ordering::SeqCst);
        self.socket.loses.store(true, Ordering::SeqCst);
        let before = self.socket.sent.load(Ordering::SeqCst);
        let lost = &self.bytes[self.sent..self.sent + LOST];
        self.stream.write_all(lost).await.expect("room for a packet");
        self.sent += LOST;
        while self.socket.sent.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
    }

    async fn end(&mut self) {
        self.socket.loses.store(false, Ordering::SeqCst);
        self.stream.write_all(&self.bytes[self.sent..]).await.expect("room for the rest");
        self.stream.finish().expect("the end");
        tokio::task::yield_now().await;
        self.socket.is_deaf.store(false, Ordering::SeqCst);
    }
}

/// A whole stream with repair, and where its body begins.
fn frame(number: usize, mark: [u8; 8]) -> (Bytes, usize) {
    let body: Vec<u8> = (0..BODY).map(|at| ((at * 7 + number) % 251) as u8).collect();
    let plan = Plan::new(BODY as u64, SHARD, REPAIR).unwrap();
    let mut header = header(0, 0, &body);
    header.repair = Some(RepairLayout { shard_bytes: SHARD as u32, repair_shards: REPAIR as u32 });
    let header = header.encode().unwrap();
    let trailer = trailer(&header, mark).unwrap();
    let shards = encode(&body, &plan).unwrap();
    let all = [&header[..], &body, &trailer, &shards, &trailer].concat();
    (all.into(), header.len())
}
