//! A sender made by hand, which can say whatever a good one would not.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use framelane::congestion::Congestion;
use framelane::frame::{FrameMeta, FrameName, RunId, Sequence, SourceName, UnixNanos};
use framelane::identity::{EarlyData, ReceiverAddress, ReceiverTrust, client_config};
use framelane::transport::quic::settings;
use framelane::wire::{
    ALPN, Capabilities, CloseCode, Decoded, FrameHeader, Hello, Message, RefusalCode, SourceHello,
    SourceId,
};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt};

use crate::support::{Place, Receiver};

/// Longer than any wait that a test may need.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a receiver, with its session stream.
pub(crate) struct Peer {
    endpoint: Endpoint,
    pub(crate) connection: Connection,
    session_out: SendStream,
    session_in: RecvStream,
    buffer: BytesMut,
}

/// How to connect.
pub(crate) struct Options {
    pub(crate) alpn: &'static [u8],
    /// Whose certificate, as the place calls it.
    pub(crate) identity: Cow<'static, str>,
    /// Credit for what the receiver says on the session stream.
    pub(crate) session_window: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self { alpn: ALPN, identity: "sender".into(), session_window: None }
    }
}

/// Connects, with the identity of the place's sender.
pub(crate) async fn connect(
    place: &Place,
    address: SocketAddr,
    options: &Options,
) -> Result<(Endpoint, Connection), ConnectionError> {
    let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a socket");
    let connecting = start(&endpoint, place, address, options);
    Ok((endpoint, connecting.await?))
}

/// Starts a further connection from an endpoint.
pub(crate) fn start(
    endpoint: &Endpoint,
    place: &Place,
    address: SocketAddr,
    options: &Options,
) -> quinn::Connecting {
    let config = config(place, address, options);
    endpoint.connect_with(config, address, "localhost").expect("a valid configuration")
}

/// What a connection to a receiver needs.
pub(crate) fn config(place: &Place, address: SocketAddr, options: &Options) -> ClientConfig {
    let receiver = ReceiverAddress::from(address);
    let trust = ReceiverTrust::pinned(receiver, place.identity("receiver").pin());
    let identity = place.identity(&options.identity);
    let tls = client_config(&identity, trust, &[options.alpn], EarlyData::Off);
    let mut config = ClientConfig::new(tls.quic());
    let mut transport = settings::transport(Congestion::default().factory());
    if let Some(window) = options.session_window {
        let transport = Arc::get_mut(&mut transport).expect("not shared yet");
        transport.stream_receive_window(VarInt::from_u32(window));
    }
    config.transport_config(transport);
    config
}

impl Peer {
    /// Connects and opens the session stream; says nothing yet.
    pub(crate) async fn connect(place: &Place, receiver: &Receiver<'_>) -> Self {
        Self::with(place, receiver, &Options::default()).await
    }

    pub(crate) async fn with(place: &Place, receiver: &Receiver<'_>, options: &Options) -> Self {
        Self::try_with(place, receiver, options).await.expect("the session stream")
    }

    /// The same, or why the receiver has closed the connection at once.
    async fn try_with(
        place: &Place,
        receiver: &Receiver<'_>,
        options: &Options,
    ) -> Result<Self, quinn::ConnectionError> {
        let (endpoint, connection) =
            connect(place, receiver.address(), options).await.expect("a connection");
        let (session_out, session_in) = connection.open_bi().await?;
        Ok(Self { endpoint, connection, session_out, session_in, buffer: BytesMut::new() })
    }

    /// Connects, says hello for these sources, and waits for the welcome.
    pub(crate) async fn welcomed(place: &Place, receiver: &Receiver<'_>, sources: &[&str]) -> Self {
        Self::welcomed_as(place, receiver, sources, &Options::default()).await
    }

    /// The same as another sender. A session that has just been left may still have its place: who finds none
    /// comes again, as `send` does.
    pub(crate) async fn welcomed_as(
        place: &Place,
        receiver: &Receiver<'_>,
        sources: &[&str],
        options: &Options,
    ) -> Self {
        let since = std::time::Instant::now();
        loop {
            let why = match Self::try_with(place, receiver, options).await {
                Err(error) => error.to_string(),
                Ok(mut peer) => {
                    peer.say(&hello(sources)).await;
                    match peer.hear_or_end().await {
                        Some(Message::Welcome(_)) => return peer,
                        Some(other) => panic!("no welcome but {other:?}"),
                        None => {
                            let (code, why) = peer.closed().await;
                            assert_eq!(code, CloseCode::Busy, "{why}");
                            why
                        }
                    }
                }
            };
            assert!(since.elapsed() < Duration::from_secs(5), "no place for too long: {why}");
        }
    }

    /// Says a message.
    pub(crate) async fn say(&mut self, message: &Message) {
        self.say_bytes(&message.encode()).await;
    }

    /// Says anything on the session stream.
    pub(crate) async fn say_bytes(&mut self, bytes: &[u8]) {
        // A receiver that has ended the session is found out by the test itself.
        let _ = self.session_out.write_all(bytes).await;
    }

    /// Says no more.
    pub(crate) fn fall_silent(&mut self) {
        let _ = self.session_out.finish();
    }

    /// The next message of the receiver.
    pub(crate) async fn hear(&mut self) -> Message {
        self.hear_or_end().await.expect("the session goes on")
    }

    /// The next message of the receiver, or nothing where it has ended the session.
    pub(crate) async fn hear_or_end(&mut self) -> Option<Message> {
        loop {
            if let Decoded::Value(message, length) = Message::decode(&self.buffer).unwrap() {
                self.buffer.advance(length);
                return Some(message);
            }
            let chunk = self.session_in.read_chunk(64 * 1024, true);
            let chunk = within("a message", chunk).await.ok().flatten()?;
            self.buffer.extend_from_slice(&chunk.bytes);
        }
    }

    /// Sends a whole frame.
    pub(crate) async fn send(&self, header: &FrameHeader, body: &[u8]) {
        let mut stream = self.open().await;
        stream.write_all(&header.encode().unwrap()).await.unwrap();
        stream.write_all(body).await.unwrap();
        stream.finish().unwrap();
    }

    /// Opens a stream for a frame.
    pub(crate) async fn open(&self) -> SendStream {
        within("a stream", self.connection.open_uni()).await.expect("a stream")
    }

    /// Opens a stream, sends bytes without an end, and waits for the code that it is stopped with.
    pub(crate) async fn refused(&self, bytes: &[u8]) -> RefusalCode {
        let mut stream = self.open().await;
        // The receiver may stop the stream while this is being written.
        let _ = stream.write_all(bytes).await;
        stopped(&mut stream).await
    }

    /// Sends a stream to its end, and waits until the receiver has it all or stops it.
    pub(crate) async fn refused_whole(&self, bytes: &[u8]) -> Option<RefusalCode> {
        let mut stream = self.open().await;
        stream.write_all(bytes).await.unwrap();
        stream.finish().unwrap();
        let code = within("the receiver's word", stream.stopped()).await.unwrap()?;
        RefusalCode::from_number(code.into_inner())
    }

    /// Waits until the receiver has closed the connection; gives the code and its words.
    pub(crate) async fn closed(&self) -> (CloseCode, String) {
        match within("the end of the session", self.connection.closed()).await {
            ConnectionError::ApplicationClosed(close) => {
                let code = CloseCode::from_number(close.error_code.into_inner());
                let why = String::from_utf8_lossy(&close.reason).into_owned();
                (code.expect("a code of ours"), why)
            }
            other => panic!("the connection ended with {other}"),
        }
    }

    /// Goes, and waits until it is gone.
    pub(crate) async fn leave(self) {
        self.connection.close(VarInt::from_u32(0), b"done");
        self.endpoint.wait_idle().await;
    }
}

/// The code with which the receiver stops a stream.
pub(crate) async fn stopped(stream: &mut SendStream) -> RefusalCode {
    let code = within("a stop", stream.stopped()).await.expect("the connection is there");
    let code = code.expect("the receiver took the whole stream").into_inner();
    RefusalCode::from_number(code).expect("a code of ours")
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(PATIENCE, future).await;
    outcome.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// The run of a source of that name. Sessions of one sender with a run in common are one that goes on in another.
pub(crate) fn run_of(source: &str) -> RunId {
    let hash = blake3::hash(source.as_bytes());
    RunId(std::array::from_fn(|place| hash.as_bytes()[place]))
}

pub(crate) fn hello(sources: &[&str]) -> Message {
    let source = |name: &&str| {
        SourceHello::new(SourceName::parse(name).unwrap(), run_of(name), UnixNanos(1))
    };
    Message::Hello(Hello {
        session: [7; 16],
        overwrite: false,
        agent: "test".to_owned(),
        sources: sources.iter().map(source).collect(),
        capabilities: Capabilities::default(),
    })
}

/// The header that a good sender would send before `body`.
pub(crate) fn header(source: u8, sequence: u64, body: &[u8]) -> FrameHeader {
    let name = FrameName::parse(&format!("{sequence}.bin")).unwrap();
    FrameHeader {
        source: SourceId(source),
        meta: FrameMeta {
            sequence: Sequence(sequence),
            media: name.media_type(),
            name,
            bytes: body.len() as u64,
            hash: Some(blake3::hash(body)),
            captured: None,
            due: None,
            modified: None,
        },
        repair: None,
    }
}

/// A header and a body as they follow one another on the wire.
pub(crate) fn wire(header: &FrameHeader, body: &[u8]) -> Bytes {
    let mut bytes = BytesMut::from(header.encode().unwrap());
    bytes.extend_from_slice(body);
    bytes.freeze()
}
