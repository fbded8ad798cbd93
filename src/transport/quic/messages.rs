//! Session messages on the connection's one bidirectional stream.

use bytes::{Buf, BytesMut};
use quinn::{RecvStream, SendStream};
use tokio::sync::mpsc;

use crate::wire::{Decoded, Message, WireError};

/// Writes what the session says, in order, until it has no more to say or the stream breaks.
pub(super) async fn write(mut stream: SendStream, mut messages: mpsc::Receiver<Message>) {
    // Receipts free the sender's window, offers keep it busy: they go before any frame.
    let _ = stream.set_priority(i32::MAX);
    while let Some(message) = messages.recv().await {
        let mut bytes = BytesMut::from(message.encode());
        while let Ok(message) = messages.try_recv() {
            bytes.extend_from_slice(&message.encode());
        }
        if stream.write_all(&bytes).await.is_err() {
            return; // the connection is gone, and its keeper knows why
        }
    }
    let _ = stream.finish();
}

/// Reads messages and hands each to `take`, until the peer has finished or the stream breaks.
///
/// # Errors
/// [`WireError`] where the peer sent something that is not a message.
pub(super) async fn read<F>(
    mut stream: RecvStream,
    mut take: impl FnMut(Message) -> F,
) -> Result<(), WireError>
where
    F: Future<Output = bool>,
{
    const READ_BYTES: usize = 64 * 1024;
    let mut buffer = BytesMut::new();
    while let Ok(Some(chunk)) = stream.read_chunk(READ_BYTES, true).await {
        buffer.extend_from_slice(&chunk.bytes);
        while let Decoded::Value(message, length) = Message::decode(&buffer)? {
            buffer.advance(length);
            if !take(message).await {
                return Ok(());
            }
        }
    }
    Ok(())
}
