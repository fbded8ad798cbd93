//! A receiver made by hand, which goes along with a sender as far as a test wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use framelane::congestion::Congestion;
use framelane::frame::{Sequence, UnixNanos};
use framelane::identity::{EarlyData, SenderPolicy, server_config};
use framelane::transport::quic::settings;
use framelane::wire::{
    ALPN, Answer, Capabilities, Decoded, FrameHeader, Message, Receipts, SourceId, Verdict, Welcome,
};
use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig, VarInt};
use tokio::sync::mpsc;

use crate::support::Place;

/// How far a receiver goes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gives {
    /// The connection, and no word on it.
    Nothing,
    /// A byte of a welcome every now and then.
    Drips,
    Welcome,
    /// Answers, and no stream for a frame.
    Answers,
    /// A few bytes of each frame.
    LittleRoom,
    /// Whole frames are read, and not confirmed.
    Room,
    /// Frames are confirmed, and their number is not.
    Receipts,
    /// A reason for closing at the first offer.
    Reason(&'static str),
}

/// Serves sessions so until it is dropped, with the identity of the place's receiver.
pub(crate) struct HostileReceiver {
    pub(crate) address: SocketAddr,
    endpoint: Endpoint,
}

impl HostileReceiver {
    pub(crate) fn start(place: &Place, gives: Gives) -> Self {
        let tls =
            server_config(&place.identity("receiver"), SenderPolicy::Any, &[ALPN], EarlyData::Off);
        let mut config = ServerConfig::with_crypto(tls.quic().0);
        let mut transport = settings::transport(Congestion::default().factory());
        let limits = Arc::get_mut(&mut transport).expect("not shared yet");
        match gives {
            Gives::Answers => {
                limits.max_concurrent_uni_streams(VarInt::from_u32(0));
            }
            Gives::LittleRoom => {
                limits.stream_receive_window(VarInt::from_u32(500));
            }
            _ => {}
        }
        config.transport_config(transport);
        let endpoint = Endpoint::server(config, ([127, 0, 0, 1], 0).into()).expect("a socket");
        let address = endpoint.local_addr().expect("an address");
        let accepting = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        serve(connection, gives).await;
                    }
                });
            }
        });
        Self { address, endpoint }
    }
}

impl Drop for HostileReceiver {
    fn drop(&mut self) {
        self.endpoint.close(VarInt::from_u32(0), b"the test has ended");
    }
}

async fn serve(connection: Connection, gives: Gives) {
    let Ok((mut out, mut input)) = connection.accept_bi().await else { return };
    let (frames, mut arrived) = mpsc::unbounded_channel();
    if gives >= Gives::Room {
        tokio::spawn(take_frames(connection.clone(), frames));
    }
    let mut buffer = BytesMut::new();
    loop {
        tokio::select! {
            message = hear(&mut input, &mut buffer) => {
                let Some(message) = message else { break };
                if let (Gives::Reason(why), Message::Offer(_)) = (gives, &message) {
                    connection.close(VarInt::from_u32(2), why.as_bytes());
                    break;
                }
                if !go_along(&mut out, &message, gives).await {
                    break;
                }
            }
            Some(sequence) = arrived.recv(), if gives >= Gives::Receipts => {
                let receipts = Receipts::new(SourceId(0), UnixNanos::now(), [sequence]);
                let _ = out.write_all(&Message::Receipts(receipts).encode()).await;
            }
        }
    }
    // Not dropped before: the sender is to be the one that goes.
    connection.closed().await;
    drop((out, input));
}

async fn hear(input: &mut RecvStream, buffer: &mut BytesMut) -> Option<Message> {
    loop {
        if let Decoded::Value(message, length) = Message::decode(buffer).expect("a message") {
            buffer.advance(length);
            return Some(message);
        }
        let chunk = input.read_chunk(64 * 1024, true).await.ok()??;
        buffer.extend_from_slice(&chunk.bytes);
    }
}

/// Answers a message, where the sender is to have an answer; false where it never will.
async fn go_along(out: &mut SendStream, message: &Message, gives: Gives) -> bool {
    let reply = match message {
        Message::Hello(_) if gives == Gives::Nothing => return false,
        Message::Hello(_) if gives == Gives::Drips => {
            drip(out, &welcome().encode()).await;
            return false;
        }
        Message::Hello(_) => welcome(),
        Message::Offer(offer) if gives >= Gives::Answers => {
            let verdicts = offer.entries.iter().map(|_| Verdict::Wanted);
            Message::Answer(Answer::new(offer.source, verdicts))
        }
        // A sign of life is no progress.
        Message::ClockProbe(asked) => {
            let now = UnixNanos::now().0;
            Message::ClockReply { asked: *asked, arrived: now, replied: now }
        }
        _ => return true,
    };
    out.write_all(&reply.encode()).await.is_ok()
}

async fn drip(out: &mut SendStream, bytes: &[u8]) {
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    for byte in bytes {
        tick.tick().await;
        if out.write_all(&[*byte]).await.is_err() {
            return;
        }
    }
}

/// Reads frames to their ends, and tells of each.
async fn take_frames(connection: Connection, arrived: mpsc::UnboundedSender<Sequence>) {
    while let Ok(mut stream) = connection.accept_uni().await {
        let arrived = arrived.clone();
        tokio::spawn(async move {
            let Ok(bytes) = stream.read_to_end(1 << 20).await else { return };
            if let Ok(Decoded::Value(header, _)) = FrameHeader::decode(&bytes) {
                let _ = arrived.send(header.meta.sequence);
            }
        });
    }
}

fn welcome() -> Message {
    Message::Welcome(Welcome {
        durable: false,
        replaces: false,
        max_frame: 1 << 20,
        max_unconfirmed_bytes: 1 << 20,
        max_unconfirmed_frames: 100,
        agent: "a test with a long name, so that it takes its time to drip".to_owned(),
        next: vec![Sequence(0)],
        capabilities: Capabilities::default(),
        join: None,
        unopened: Vec::new(),
    })
}
