//! Opening sessions, at the sender.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::AsyncRead;
use tokio::sync::{mpsc, watch};
use tracing::Instrument;

use super::alive::{self, Watched};
use super::connect::{Connector, with_alpn};
use super::counted::Counted;
use super::link::{self, Blame, Ending, Outgoing};
use super::pace::{Pace, Paced};
use super::reader::RecordReader;
use super::underway::Underway;
use super::{Classify, TcpOptions};
use super::{path, per_frame};
use crate::transport::leave::Leave;
use crate::transport::{
    BoxFuture, Dial, FRAME_QUEUE, LinkEnd, MESSAGE_QUEUE, SenderLink, Transport, TransportError,
    Via,
};
use crate::wire::record::Record;
use crate::wire::{ALPN, Message};

/// Opens sessions over TCP.
#[derive(Clone)]
pub struct TcpDial {
    connector: Connector,
    tls: Arc<ClientConfig>,
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
        let connector = Connector {
            address,
            name,
            options,
            classify,
            transport: Transport::Tcp,
            leave: Leave::ByRoute,
            segment: Arc::default(),
            next: Arc::default(),
            written: Arc::default(),
            ended: Arc::default(),
        };
        Self { connector, tls }
    }

    /// The same, leaving by a link of this machine.
    pub(in crate::transport) fn leaving(mut self, leave: Leave) -> Self {
        self.connector.leave = leave;
        self
    }

    /// The same for `tcp-per-frame`: a connection for the session, and a new one for each frame.
    pub fn per_frame(mut self) -> Self {
        self.connector.transport = Transport::TcpPerFrame;
        self
    }

    async fn open(&self) -> Result<SenderLink, TransportError> {
        let connector = &self.connector;
        let stream = connector.connect(&self.tls, ALPN).await?;
        let watched = Watched::new(connector, &self.tls, &stream);
        let socket = path::handle(&stream);
        let written = connector.written.clone();
        let pace = Arc::new(Pace::new(written.clone()));
        let given_up = pace.given_up.clone();
        let (ended, paced) = (connector.ended.clone(), Paced::new(&pace, socket.as_ref()));
        let path = path::watch_all(socket.as_ref(), written.clone(), ended, pace);
        let dead = async move {
            let cause = alive::until_dead(watched).await;
            drop(socket);
            cause
        };
        let stream = Counted::new(stream, written);
        let (end, keeper) = LinkEnd::new();
        let (messages, outgoing_messages) = mpsc::channel(MESSAGE_QUEUE);
        let (frames, outgoing_frames) = mpsc::channel(FRAME_QUEUE);
        let (arrived, incoming) = mpsc::channel(MESSAGE_QUEUE);
        let (session, session_known) = watch::channel(None);
        let blame = connector.blame();
        let read_blame = blame.clone();
        let stall = connector.options.stall;
        let Connector { address, transport, .. } = connector;
        let span = tracing::debug_span!("link", peer = %address, %transport);
        let underway = Underway::default();
        let heard = underway.clone();
        let read = async move |reader: &mut RecordReader<_>| {
            read(reader, arrived, &heard, read_blame).await
        };
        match transport {
            Transport::TcpPerFrame => {
                let outgoing =
                    Outgoing { messages: outgoing_messages, frames: None, paced, session };
                let pool = per_frame::Pool::new(
                    connector.clone(),
                    &self.tls,
                    outgoing_frames,
                    session_known,
                    underway,
                    given_up,
                );
                let pool = |stop| pool.run(stop);
                let run = link::run(stream, stall, keeper, outgoing, blame, read, pool, dead);
                tokio::spawn(run.instrument(span));
            }
            _ => {
                let frames = Some(outgoing_frames);
                let outgoing = Outgoing { messages: outgoing_messages, frames, paced, session };
                let beside = link::nothing;
                let run = link::run(stream, stall, keeper, outgoing, blame, read, beside, dead);
                tokio::spawn(run.instrument(span));
            }
        }
        let via = Via { transport: *transport, address: *address, why: None, link: None };
        Ok(SenderLink { messages, frames, incoming, end, path, via })
    }
}

impl std::fmt::Debug for TcpDial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpDial")
            .field("address", &self.connector.address)
            .field("name", &self.connector.name)
            .field("options", &self.connector.options)
            .field("transport", &self.connector.transport)
            .finish_non_exhaustive()
    }
}

impl Dial for TcpDial {
    /// A receiver that refuses this end's certificate says so only after the handshake has
    /// succeeded here (TLS 1.3): the refusal is then the cause of the link's end.
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        Box::pin(self.open())
    }

    fn is_ready(&self) -> bool {
        self.connector.has_kept(ALPN)
    }
}

/// A sender's reading direction: messages until the end.
async fn read<R: AsyncRead + Unpin>(
    reader: &mut RecordReader<R>,
    arrived: mpsc::Sender<Message>,
    underway: &Underway,
    blame: Blame,
) -> Ending {
    loop {
        match reader.record().await {
            Ok(Record::Message(message)) => {
                underway.hear(&message);
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
