//! Parts of bodies on every transport: frames of 64 MiB of which a byte never comes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use framelane::frame::SourceName;
use framelane::identity::{EarlyData, ReceiverAddress, ReceiverTrust, client_config};
use framelane::wire::{ALPN, ALPN_SINGLE_FRAME, FrameHeader, Message, SESSION_ID_BYTES, record};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use super::fair::{HOSTILE, MEMORY, Pins, assert_fair, begin_streams, beginning, hostile_sessions};
use super::peer::{header, hello, within};
use crate::support::{Place, Receiver};

const ANNOUNCED: u64 = 64 << 20;
/// All of it but a byte: what has been taken of such a frame is held as long as anybody lets it.
const ALL_BUT_A_BYTE: usize = (64 << 20) - 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_bodies_over_quic() {
    for pins in [Pins::One, Pins::Each] {
        let place = Place::new();
        let receiver = Receiver::start(&place, &["--allow", "any", "--memory", MEMORY]);
        assert_fair(&place, &receiver, async || {
            let peers = hostile_sessions(&place, &receiver, pins).await;
            let mut filling = JoinSet::new();
            let start = beginning(ANNOUNCED, ALL_BUT_A_BYTE);
            for peer in &peers {
                let (connection, start) = (peer.connection.clone(), start.clone());
                filling.spawn(async move {
                    let streams = begin_streams(&connection, &start, 4).await;
                    std::future::pending::<()>().await;
                    drop(streams);
                });
            }
            (peers, filling)
        })
        .await;
    }
}

/// The header of a frame of which a byte will not come.
fn announced(sequence: u64) -> FrameHeader {
    let mut announced = header(0, sequence, b"");
    announced.meta.bytes = ANNOUNCED;
    announced
}

/// A connection of the hostile sender of that number.
async fn tls(
    place: &Place,
    address: SocketAddr,
    number: usize,
    alpn: &'static [u8],
) -> TlsStream<TcpStream> {
    let trust =
        ReceiverTrust::pinned(ReceiverAddress::from(address), place.identity("receiver").pin());
    let identity = place.identity(&format!("hostile-{number}"));
    let tls = client_config(&identity, trust, &[alpn], EarlyData::Off);
    let connector = tokio_rustls::TlsConnector::from(tls.tcp());
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    within("TLS", connector.connect(name, socket)).await.unwrap()
}

/// A session's name that no other has.
fn session_id(number: usize) -> [u8; SESSION_ID_BYTES] {
    let mut id = [0; SESSION_ID_BYTES];
    id.copy_from_slice(&blake3::hash(&number.to_be_bytes()).as_bytes()[..SESSION_ID_BYTES]);
    id
}

/// A session over TCP of a sender of its own, which has said hello and was answered.
async fn tcp_session(place: &Place, address: SocketAddr, number: usize) -> TlsStream<TcpStream> {
    let mut stream = tls(place, address, number, ALPN).await;
    let Message::Hello(mut hello) = hello(&["x"]) else { unreachable!() };
    hello.session = session_id(number);
    hello.sources[0].name = SourceName::parse(&format!("hostile-{number}")).unwrap();
    stream.write_all(&record::message(&Message::Hello(hello))).await.unwrap();
    let mut welcome = [0; 1];
    within("a welcome", stream.read_exact(&mut welcome)).await.unwrap();
    stream
}

/// Writes the start of a frame, as far as it is taken, and keeps the connection.
async fn begin<S: AsyncWriteExt + Unpin>(mut stream: S, start: Vec<u8>, part: Arc<Vec<u8>>) {
    let writing = async {
        stream.write_all(&start).await?;
        stream.write_all(&part).await?;
        stream.flush().await?;
        io::Result::Ok(())
    };
    let _ = writing.await;
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_bodies_over_tcp() {
    let place = Place::new();
    let args = ["--allow", "any", "--memory", MEMORY, "--transport", "quic", "--transport", "tcp"];
    let receiver = Receiver::start(&place, &args);
    assert_fair(&place, &receiver, async || {
        let mut filling = JoinSet::new();
        let part = Arc::new(vec![1; ALL_BUT_A_BYTE]);
        for number in 0..HOSTILE {
            let stream = tcp_session(&place, receiver.address(), number).await;
            let start = record::frame(&announced(0)).unwrap().to_vec();
            filling.spawn(begin(stream, start, part.clone()));
        }
        filling
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_bodies_over_a_connection_each() {
    /// Of each session.
    const CONNECTIONS: u64 = 4;
    let place = Place::new();
    let args = [
        "--allow",
        "any",
        "--memory",
        MEMORY,
        "--transport",
        "quic",
        "--transport",
        "tcp-per-frame",
    ];
    let receiver = Receiver::start(&place, &args);
    let address = receiver.address();
    assert_fair(&place, &receiver, async || {
        let (mut filling, mut sessions) = (JoinSet::new(), Vec::new());
        let part = Arc::new(vec![1; ALL_BUT_A_BYTE]);
        for number in 0..HOSTILE {
            sessions.push(tcp_session(&place, address, number).await);
            for frame in 0..CONNECTIONS {
                let stream = tls(&place, address, number, ALPN_SINGLE_FRAME).await;
                let mut start = session_id(number).to_vec();
                start.extend_from_slice(&record::frame(&announced(frame)).unwrap());
                filling.spawn(begin(stream, start, part.clone()));
            }
        }
        (filling, sessions)
    })
    .await;
}

/// Connects from an address of this machine that only this number has: without a certificate it is who sends.
async fn connect_as(number: usize, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 1, 0, number as u8 + 1], 0).into()).unwrap();
    within("a connection", socket.connect(address)).await.unwrap()
}

/// Says a text, and waits for its `ok`.
async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut ok = [0; 2];
    within("an ok", stream.read_exact(&mut ok)).await.unwrap();
    assert_eq!(&ok, b"ok", "in answer to {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_bodies_over_stop_and_wait() {
    let place = Place::new();
    let transports = ["quic", "stop-and-wait=127.0.0.1:0"];
    let args = ["--memory", MEMORY, "--transport", transports[0], "--transport", transports[1]];
    let receiver = Receiver::start(&place, &args);
    // One port, of UDP for the one and of TCP for the other.
    let plain = receiver.address();
    assert_fair(&place, &receiver, async || {
        let mut filling = JoinSet::new();
        let part = Arc::new(vec![1; ALL_BUT_A_BYTE]);
        for number in 0..HOSTILE {
            let mut stream = connect_as(number, plain).await;
            say(&mut stream, &format!("jpg|hostile-{number}")).await;
            say(&mut stream, &format!("{ANNOUNCED}|0.jpg")).await;
            filling.spawn(begin(stream, Vec::new(), part.clone()));
        }
        // What is on its way is there, or waits for room.
        tokio::time::sleep(Duration::from_millis(500)).await;
        filling
    })
    .await;
}
