//! Opening sessions, at the sender.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::AsyncRead;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::Instrument;

use super::counted::Counted;
use super::link::{self, Blame, Ending, Outgoing};
use super::per_frame;
use super::reader::RecordReader;
use super::socket::{self, Stream};
use super::{Classify, TcpOptions};
use crate::transport::{
    BoxFuture, Dial, FRAME_QUEUE, LinkEnd, MESSAGE_QUEUE, PathStats, PathWatch, SenderLink,
    Transport, TransportError,
};
use crate::wire::record::Record;
use crate::wire::{ALPN, Message};

/// Opens sessions over TCP.
#[derive(Clone)]
pub struct TcpDial {
    pub(super) address: SocketAddr,
    pub(super) name: ServerName<'static>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) options: TcpOptions,
    pub(super) classify: Classify,
    pub(super) transport: Transport,
    /// Bytes written to all connections that were opened.
    pub(super) written: Arc<AtomicU64>,
}

impl TcpDial {
    /// Dials `address` for `tcp`: one connection for everything. `name` is what the receiver's
    /// certificate is checked against, and `classify` explains a refusal by TLS. The ALPN of `tls`
    /// is replaced by the protocol's.
    pub fn new(
        address: SocketAddr,
        name: ServerName<'static>,
        tls: &ClientConfig,
        classify: Classify,
        options: TcpOptions,
    ) -> Self {
        let tls = with_alpn(tls, ALPN);
        let written = Arc::default();
        Self { address, name, tls, options, classify, transport: Transport::Tcp, written }
    }

    /// The same for `tcp-per-frame`: a connection for the session, and a new one for each frame.
    pub fn per_frame(mut self) -> Self {
        self.transport = Transport::TcpPerFrame;
        self
    }

    async fn open(&self) -> Result<SenderLink, TransportError> {
        let stream = self.connect(&self.tls, ALPN).await?;
        let (end, keeper) = LinkEnd::new();
        let (messages, outgoing_messages) = mpsc::channel(MESSAGE_QUEUE);
        let (frames, outgoing_frames) = mpsc::channel(FRAME_QUEUE);
        let (arrived, incoming) = mpsc::channel(MESSAGE_QUEUE);
        let (session, session_known) = watch::channel(None);
        let blame = self.blame();
        let read_blame = blame.clone();
        let stall = self.options.stall;
        let span = tracing::debug_span!("link", peer = %self.address, transport = %self.transport);
        let read =
            async move |reader: &mut RecordReader<_>| read(reader, arrived, read_blame).await;
        match self.transport {
            Transport::TcpPerFrame => {
                let outgoing = Outgoing { messages: outgoing_messages, frames: None, session };
                let pool = per_frame::Pool::new(self.clone(), outgoing_frames, session_known);
                let run =
                    link::run(stream, stall, keeper, outgoing, blame, read, |stop| pool.run(stop));
                tokio::spawn(run.instrument(span));
            }
            _ => {
                let frames = Some(outgoing_frames);
                let outgoing = Outgoing { messages: outgoing_messages, frames, session };
                let run = link::run(stream, stall, keeper, outgoing, blame, read, link::nothing);
                tokio::spawn(run.instrument(span));
            }
        }
        let written = self.written.clone();
        let path = PathWatch::new(move || {
            let bytes = written.load(Ordering::Relaxed);
            PathStats { moved: Some(bytes), bytes_sent: bytes, ..PathStats::default() }
        });
        Ok(SenderLink { messages, frames, incoming, end, path })
    }

    /// Connects and does the TLS handshake, each in its time.
    pub(super) async fn connect(
        &self,
        tls: &Arc<ClientConfig>,
        alpn: &[u8],
    ) -> Result<Counted<Stream>, TransportError> {
        let patience = self.options.handshake;
        let connecting = socket::connect(self.address, self.options.congestion.as_deref());
        let socket =
            match timeout(patience, connecting).await {
                Ok(Ok(socket)) => socket,
                Ok(Err(error)) => return Err(self.no_connection(&error)),
                Err(_) => return Err(self.no_answer(
                    "is the receiver running, and does a firewall let TCP through to this port?",
                )),
            };
        let stream = match timeout(patience, socket::secure(socket, tls, &self.name)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.no_handshake(&error)),
            Err(_) => return Err(self.no_answer(
                "something accepts connections there and says nothing: is it `framelane receive`?",
            )),
        };
        if socket::alpn(&stream) != Some(alpn) {
            let why = "it speaks TLS, but not framelane".to_owned();
            return Err(TransportError::Protocol { address: self.address, why });
        }
        Ok(Counted::new(stream, self.written.clone()))
    }

    pub(super) fn blame(&self) -> Blame {
        Blame { address: self.address, classify: self.classify.clone() }
    }

    fn no_connection(&self, error: &io::Error) -> TransportError {
        if error.kind() == io::ErrorKind::TimedOut {
            return self.no_answer("does a firewall let TCP through to this port?");
        }
        let why = error.to_string();
        TransportError::Connect { address: self.address, transport: self.transport, why }
    }

    fn no_handshake(&self, error: &io::Error) -> TransportError {
        let address = self.address;
        if let Some(text) = (self.classify)(error) {
            return TransportError::Refused(text);
        }
        let why = format!("no TLS handshake: {error}");
        match error.kind() {
            io::ErrorKind::InvalidData => TransportError::Protocol { address, why },
            _ => TransportError::Lost { address, why },
        }
    }

    fn no_answer(&self, advice: &'static str) -> TransportError {
        let seconds = self.options.handshake.as_secs_f64().ceil() as u64;
        TransportError::NoAnswer {
            address: self.address,
            transport: self.transport,
            seconds,
            advice,
        }
    }
}

impl std::fmt::Debug for TcpDial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpDial")
            .field("address", &self.address)
            .field("name", &self.name)
            .field("options", &self.options)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

impl Dial for TcpDial {
    /// A receiver that refuses this end's certificate says so only after the handshake has
    /// succeeded here (TLS 1.3): the refusal is then the cause of the link's end.
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        Box::pin(self.open())
    }
}

/// A sender's reading direction: messages until the end.
async fn read<R: AsyncRead + Unpin>(
    reader: &mut RecordReader<R>,
    arrived: mpsc::Sender<Message>,
    blame: Blame,
) -> Ending {
    loop {
        match reader.record().await {
            Ok(Record::Message(message)) => {
                if arrived.send(message).await.is_err() {
                    // The session reads no more; it may still have something to write.
                    return until_the_end(reader, blame).await;
                }
            }
            Ok(Record::Close { code, reason }) => return blame.closed(code, reason),
            Ok(Record::Frame(_)) => return blame.protocol("a receiver sent a frame".to_owned()),
            Err(error) => return blame.read(error),
        }
    }
}

async fn until_the_end<R: AsyncRead + Unpin>(reader: &mut RecordReader<R>, blame: Blame) -> Ending {
    loop {
        match reader.record().await {
            Ok(Record::Close { code, reason }) => return blame.closed(code, reason),
            Ok(_) => {}
            Err(error) => return blame.read(error),
        }
    }
}

/// The same TLS configuration, its session cache shared, for one protocol.
pub(super) fn with_alpn(tls: &ClientConfig, alpn: &[u8]) -> Arc<ClientConfig> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(tls)
}

pub(super) fn unknown_path() -> PathWatch {
    PathWatch::new(PathStats::default)
}
