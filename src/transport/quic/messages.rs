//! Session messages on the connection's one bidirectional stream.

use bytes::{Buf, BytesMut};
use quinn::{RecvStream, SendStream};
use tokio::sync::mpsc;

use crate::wire::{Decoded, Message, WireError};

/// The peer takes no more messages (STOP_SENDING), and says nothing of why. A session in which one end
/// cannot hear the other is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deaf;

impl Deaf {
    /// What the peer is told.
    pub(super) const WHY: &str = "messages are not taken any more on the session's stream";
}

/// Writes what the session says, in order, until it has no more to say and the peer has all of it, or
/// the connection is gone.
///
/// # Errors
/// [`Deaf`] as soon as the peer stops the stream, be there anything to say or not.
pub(super) async fn write(
    mut stream: SendStream,
    mut messages: mpsc::Receiver<Message>,
) -> Result<(), Deaf> {
    // Receipts free the sender's window, offers keep it busy: they go before any frame.
    let _ = stream.set_priority(i32::MAX);
    let mut stopped = std::pin::pin!(stream.stopped());
    let writing = async {
        write_all(&mut stream, &mut messages).await;
        // Without its end the stream is never known to be through; where it has broken this fails,
        // and what broke it is found below.
        let _ = stream.finish();
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = &mut stopped => ended,
        () = writing => return Ok(()),
    };
    match ended {
        Ok(Some(_)) => Err(Deaf),
        // Taken whole, or the connection is gone, and its keeper knows why.
        Ok(None) | Err(_) => Ok(()),
    }
}

async fn write_all(stream: &mut SendStream, messages: &mut mpsc::Receiver<Message>) {
    while let Some(message) = messages.recv().await {
        let mut bytes = BytesMut::from(message.encode());
        while let Ok(message) = messages.try_recv() {
            bytes.extend_from_slice(&message.encode());
        }
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Reads the peer's messages.
///
/// It is kept until the connection has ended: dropped before, it would tell the peer that its messages
/// are not taken any more.
pub(super) struct Messages {
    stream: RecvStream,
    buffer: BytesMut,
}

impl Messages {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next message; `None` when the peer has finished or the stream has broken.
    ///
    /// # Errors
    /// [`WireError`] where the peer sent something that is not a message.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, WireError> {
        const READ_BYTES: usize = 64 * 1024;
        loop {
            if let Decoded::Value(message, length) = Message::decode(&self.buffer)? {
                self.buffer.advance(length);
                return Ok(Some(message));
            }
            let Ok(Some(chunk)) = self.stream.read_chunk(READ_BYTES, true).await else {
                return Ok(None);
            };
            self.buffer.extend_from_slice(&chunk.bytes);
        }
    }
}
