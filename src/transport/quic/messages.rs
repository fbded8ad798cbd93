//! Session messages on the connection's one bidirectional stream.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use quinn::{RecvStream, SendStream};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::transport::{Claim, SHORT_MESSAGE};
use crate::wire::{CloseCode, Decoded, Message, WireError};

/// The most that is taken from the stream in one call.
const READ_BYTES: usize = 64 * 1_024;

/// Bytes of a long message that have to come within the stall time. Memory is held for it meanwhile.
const LEAST_PROGRESS: usize = 1_000;

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

/// Why no more messages can be read.
#[derive(Debug, Error)]
pub(super) enum Unreadable {
    /// The peer sent something that is not a message.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// A long message does not go on.
    #[error("a message was begun and fewer than {LEAST_PROGRESS} bytes of it came in {} s", .0.as_secs_f32())]
    Stalled(Duration),
}

impl Unreadable {
    /// The code to close with.
    pub(super) fn code(&self) -> CloseCode {
        match self {
            Self::Malformed(_) => CloseCode::Protocol,
            Self::Stalled(_) => CloseCode::Stalled,
        }
    }
}

/// What a message that arrives is held to: the memory claimed for it, and the time in which a long one
/// has to go on.
pub(super) struct Bounds<'a> {
    pub(super) claim: &'a mut Claim,
    pub(super) stall: Duration,
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

    /// The next message; `None` when the peer has finished or the stream has broken. Where there are
    /// bounds, memory is claimed as a long message arrives.
    ///
    /// # Errors
    /// [`Unreadable`]; nothing more can be read then.
    pub(super) async fn next(
        &mut self,
        mut bounds: Option<Bounds<'_>>,
    ) -> Result<Option<Message>, Unreadable> {
        let mut progress = None;
        loop {
            let needed = match Message::decode(&self.buffer)? {
                Decoded::NeedMore(needed) => needed,
                Decoded::Value(message, length) => {
                    self.buffer.advance(length);
                    if let Some(bounds) = &mut bounds {
                        bounds.claim.hold_message(&message).await;
                    }
                    return Ok(Some(message));
                }
            };
            let is_there = match &mut bounds {
                Some(bounds) => {
                    let before = Instant::now();
                    self.claim(needed, bounds).await;
                    // Waiting for our own memory is not the peer's stall.
                    progress.iter_mut().for_each(|progress: &mut Progress| {
                        progress.deadline += before.elapsed();
                    });
                    let is_long = needed as u64 > SHORT_MESSAGE;
                    let progress = is_long
                        .then(|| progress.get_or_insert_with(|| Progress::new(bounds.stall)));
                    self.fill_in_time(progress, bounds.stall).await?
                }
                None => self.fill().await,
            };
            if !is_there {
                return Ok(None);
            }
        }
    }

    /// Claims memory for what is read next, in steps, and never for what is merely announced.
    async fn claim(&self, needed: usize, bounds: &mut Bounds<'_>) {
        let next = needed.min((self.buffer.len() + READ_BYTES).next_power_of_two());
        if needed as u64 > SHORT_MESSAGE {
            bounds.claim.grow_to(next as u64).await;
        }
    }

    /// Reads more; false where there is no more. Without `progress` nothing is due.
    async fn fill_in_time(
        &mut self,
        progress: Option<&mut Progress>,
        stall: Duration,
    ) -> Result<bool, Unreadable> {
        let Some(progress) = progress else { return Ok(self.fill().await) };
        let before = self.buffer.len();
        let is_there = timeout_at(progress.deadline, self.fill()).await;
        let is_there = is_there.map_err(|_| Unreadable::Stalled(stall))?;
        progress.bytes += self.buffer.len() - before;
        if progress.bytes >= LEAST_PROGRESS {
            *progress = Progress::new(stall);
        }
        Ok(is_there)
    }

    async fn fill(&mut self) -> bool {
        let Ok(Some(chunk)) = self.stream.read_chunk(READ_BYTES, true).await else { return false };
        self.buffer.extend_from_slice(&chunk.bytes);
        true
    }
}

/// Whether a long message goes on.
struct Progress {
    /// By when [`LEAST_PROGRESS`] bytes have to have come, since it was last so.
    deadline: Instant,
    bytes: usize,
}

impl Progress {
    fn new(stall: Duration) -> Self {
        Self { deadline: Instant::now() + stall, bytes: 0 }
    }
}
