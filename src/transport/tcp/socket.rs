//! Sockets with their options, and TLS over them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::gulps::Gulps;
use super::{TcpOptions, settings};
use crate::transport::TransportError;
use crate::transport::kernel::{bound_resending, choose_congestion};

/// `IPPROTO_MPTCP` of Linux, which others refuse.
const MULTIPATH: i32 = 262;

/// A TLS connection. The gulps below TLS make few large reads of its many small ones.
pub(super) type Stream = TlsStream<Gulps<TcpStream>>;

/// A socket to connect to `address`, with every option set. `failed` says what the system's word means. A receiver that
/// lives and takes nothing is not given up sooner than after the user's patience.
pub(super) fn prepare(
    address: SocketAddr,
    chosen: &TcpOptions,
    segment: Option<u32>,
    failed: impl Fn(io::Error) -> TransportError,
) -> Result<TcpSocket, TransportError> {
    let socket = match (address, chosen.multipath) {
        (_, true) => open(address, true).map(|socket| TcpSocket::from_std_stream(socket.into())),
        (SocketAddr::V4(_), false) => TcpSocket::new_v4(),
        (SocketAddr::V6(_), false) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(&failed)?;
    let options = SockRef::from(&socket);
    let tuned = tune(&options, settings::USER_TIMEOUT.max(chosen.stall));
    // The kernel knows fewer options of a connection of several subflows.
    tuned.or_else(|error| if chosen.multipath { Ok(()) } else { Err(error) }).map_err(&failed)?;
    match &chosen.congestion {
        Some(name) => choose_congestion(&options, name)?,
        // Who names what the kernel is to do compares with what it does by itself.
        None => {
            bound_resending(socket.as_fd(), settings::LEAST_RESENDING, settings::LONGEST_RESENDING)
        }
    }
    if let Some(bytes) = segment {
        // Before the connection is opened: it is then announced, and binds the peer as well.
        options.set_tcp_mss(bytes).map_err(&failed)?;
    }
    Ok(socket)
}

/// A socket that does not block, for connections of one subflow or of several.
fn open(address: SocketAddr, multipath: bool) -> io::Result<Socket> {
    let protocol = multipath.then(|| Protocol::from(MULTIPATH));
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, protocol)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Listens, on a port that the system chooses where `address` has port 0.
pub(super) fn bind(address: SocketAddr, multipath: bool) -> io::Result<TcpListener> {
    let socket = open(address, multipath)?;
    // A receiver that is started again must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(settings::BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Sets what every connection has at either end, and for how long what was sent may stay unacknowledged, or without room
/// at the other end, until the kernel ends the connection.
pub(super) fn tune(socket: &SockRef<'_>, unacknowledged: Duration) -> io::Result<()> {
    // Writes are gathered here already; Nagle's algorithm would only hold back their ends.
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(settings::KEEPALIVE_IDLE)
        .with_interval(settings::KEEPALIVE_INTERVAL);
    #[cfg(target_os = "linux")]
    let keepalive = keepalive.with_retries(settings::KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    tune_on_linux(socket, unacknowledged)
}

#[cfg(target_os = "linux")]
fn tune_on_linux(socket: &SockRef<'_>, unacknowledged: Duration) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(unacknowledged))?;
    socket.set_tcp_notsent_lowat(settings::NOT_SENT_LOWAT)
}

#[cfg(not(target_os = "linux"))]
fn tune_on_linux(_: &SockRef<'_>, _: Duration) -> io::Result<()> {
    Ok(())
}

/// The client's side of the TLS handshake.
pub(super) async fn secure(
    socket: TcpStream,
    tls: &Arc<ClientConfig>,
    name: &ServerName<'static>,
) -> io::Result<Stream> {
    let io = Gulps::new(socket, settings::FIRST_READ_BYTES);
    let mut stream = TlsConnector::from(tls.clone()).connect(name.clone(), io).await?;
    stream.get_mut().1.set_buffer_limit(Some(settings::BATCH_BYTES));
    Ok(stream.into())
}

/// The server's side of the TLS handshake. A client that is refused gets the alert that says why.
pub(super) async fn accept(socket: TcpStream, tls: Arc<ServerConfig>) -> io::Result<Stream> {
    let io = Gulps::new(socket, settings::FIRST_READ_BYTES);
    match TlsAcceptor::from(tls).accept(io).into_fallible().await {
        Ok(mut stream) => {
            stream.get_mut().1.set_buffer_limit(Some(settings::BATCH_BYTES));
            Ok(stream.into())
        }
        Err((error, io)) => {
            let_the_alert_arrive(io.into_inner()).await;
            Err(error)
        }
    }
}

/// Closing a socket with unread bytes resets the connection, and the reset may overtake the alert.
async fn let_the_alert_arrive(mut socket: TcpStream) {
    const PATIENCE: Duration = settings::LAST_WORDS;
    let _ = socket.shutdown().await;
    let mut scratch = [0; 4096];
    let reading = async { while let Ok(1..) = socket.read(&mut scratch).await {} };
    let _ = tokio::time::timeout(PATIENCE, reading).await;
}

/// The protocol that both ends agreed on.
pub(super) fn alpn(stream: &Stream) -> Option<&[u8]> {
    stream.get_ref().1.alpn_protocol()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_has_as_much_patience_as_its_user_and_never_less_than_usual() {
        let of = |stall| {
            let failed = |error: io::Error| panic!("{error}");
            let options = TcpOptions { stall, ..TcpOptions::default() };
            let socket = prepare(([127, 0, 0, 1], 1).into(), &options, None, failed).unwrap();
            SockRef::from(&socket).tcp_user_timeout().unwrap()
        };
        assert_eq!(of(Duration::from_secs(120)), Some(Duration::from_secs(120)));
        assert_eq!(of(Duration::from_secs(1)), Some(settings::USER_TIMEOUT));
    }
}
