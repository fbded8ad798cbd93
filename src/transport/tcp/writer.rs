//! Records onto a connection, gathered into large writes.

use std::io;
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot, watch};

use super::pace::Paced;
use super::settings::{BATCH_BYTES, COPIED_BODY_BYTES, TLS_RECORD_BYTES, TURN_BYTES};
use crate::transport::{FRAME_QUEUE, OutgoingFrame};
use crate::wire::{CloseCode, Message, SESSION_ID_BYTES, record};

/// A request to close: a code and words for the peer.
pub(super) type Closing = (CloseCode, String);

/// The session's name, once its hello has gone by.
pub(super) type SessionId = [u8; SESSION_ID_BYTES];

/// What a session wants written.
pub(super) struct Outbox {
    /// Messages, which go first.
    pub(super) messages: mpsc::Receiver<Message>,
    /// Frames, where they go over this connection.
    pub(super) frames: Option<mpsc::Receiver<OutgoingFrame>>,
    /// Keeps frames with a deadline from queueing.
    pub(super) paced: Paced,
    /// Asks for everything queued to be written, then a close record.
    pub(super) closing: oneshot::Receiver<Closing>,
    /// Told the session's name.
    pub(super) session: watch::Sender<Option<SessionId>>,
}

/// Writes records in batches.
#[derive(Debug)]
pub(super) struct RecordWriter<W> {
    io: W,
    batch: Vec<u8>,
    /// Held until the bodies that were copied into the batch are written.
    /// True while a write is under way: given up there, no other record may follow.
    torn: bool,
    since_turn: usize,
}

impl<W: AsyncWrite + Unpin> RecordWriter<W> {
    pub(super) fn new(io: W) -> Self {
        Self { io, batch: Vec::new(), torn: false, since_turn: 0 }
    }

    /// Writes what the outbox holds and will hold, until it is asked to close; the close record and
    /// the end of the stream are written then. Not cancel safe: a record may be cut short.
    pub(super) async fn run(&mut self, mut outbox: Outbox) -> io::Result<()> {
        let mut waiting = Waiting::default();
        let (code, reason) = loop {
            let closing = self.fill(&mut outbox, &mut waiting).await?;
            // A session that has more to say has had no chance to say it since its queue was full;
            // small frames are worth a look before they leave alone.
            if closing.is_none() && !self.batch.is_empty() && self.batch.len() < BATCH_BYTES {
                tokio::task::yield_now().await;
                if self.top_up(&mut outbox, &mut waiting).await? {
                    continue;
                }
            }
            self.flush().await?;
            outbox.paced.flushed();
            match closing {
                Some(closing) => break closing,
                None if waiting.is_empty() => {
                    if let Some(closing) = wait(&mut outbox, &mut waiting, self).await {
                        break closing;
                    }
                }
                None => {}
            }
        };
        while self.top_up(&mut outbox, &mut waiting).await? {}
        self.close(code, &reason).await
    }

    /// Adds what is queued until nothing is left or a batch is full.
    async fn fill(
        &mut self,
        outbox: &mut Outbox,
        waiting: &mut Waiting,
    ) -> io::Result<Option<Closing>> {
        while self.batch.len() < BATCH_BYTES && self.top_up(outbox, waiting).await? {}
        Ok(outbox.closing.try_recv().ok())
    }

    /// Adds every queued message and one frame; false where there was nothing.
    async fn top_up(&mut self, outbox: &mut Outbox, waiting: &mut Waiting) -> io::Result<bool> {
        let mut any = false;
        while let Ok(message) = outbox.messages.try_recv() {
            self.put_message(&message, &outbox.session);
            any = true;
        }
        if let Some(frames) = &mut outbox.frames {
            waiting.take_from(frames, &mut outbox.paced);
        }
        while let Some(frame) = waiting.next() {
            // Behind a write that the link held up, it has become late.
            if outbox.paced.gives_up(&frame, Instant::now()) {
                continue;
            }
            outbox.paced.begin(&frame);
            self.put_frame(frame).await?;
            any = true;
            break;
        }
        Ok(any)
    }

    fn put_message(&mut self, message: &Message, session: &watch::Sender<Option<SessionId>>) {
        if let Message::Hello(hello) = message {
            session.send_replace(Some(hello.session));
        }
        self.batch.extend_from_slice(&record::message(message));
    }

    /// Adds bytes that belong before the records.
    pub(super) fn put_raw(&mut self, bytes: &[u8]) {
        self.batch.extend_from_slice(bytes);
    }

    /// Adds a frame, or writes it where it is long. Not cancel safe.
    pub(super) async fn put_frame(&mut self, frame: OutgoingFrame) -> io::Result<()> {
        let header = record::frame(&frame.header)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.batch.extend_from_slice(&header);
        let mut body = frame.body;
        if body.len() > COPIED_BODY_BYTES {
            body = self.write_long(body).await?;
        }
        self.batch.extend_from_slice(&body);
        self.torn = false;
        if self.batch.len() >= BATCH_BYTES {
            self.write_batch().await?;
        }
        Ok(())
    }

    /// Writes whole TLS records straight from a body, and returns what is left of it.
    async fn write_long(&mut self, mut body: Bytes) -> io::Result<Bytes> {
        let room = (TLS_RECORD_BYTES - self.batch.len() % TLS_RECORD_BYTES) % TLS_RECORD_BYTES;
        self.batch.extend_from_slice(&body.split_to(room.min(body.len())));
        self.write_batch().await?;
        self.torn = true;
        while body.len() >= TLS_RECORD_BYTES {
            let whole = body.len() - body.len() % TLS_RECORD_BYTES;
            let part = body.split_to(whole.min(TURN_BYTES));
            self.io.write_all(&part).await?;
            self.turn(part.len()).await;
        }
        Ok(body)
    }

    async fn write_batch(&mut self) -> io::Result<()> {
        self.torn = true;
        self.io.write_all(&self.batch).await?;
        self.torn = false;
        let written = self.batch.len();
        self.batch.clear();
        self.turn(written).await;
        Ok(())
    }

    /// Lets the connection's other direction run now and then.
    async fn turn(&mut self, bytes: usize) {
        self.since_turn += bytes;
        if self.since_turn >= TURN_BYTES {
            self.since_turn = 0;
            tokio::task::yield_now().await;
        }
    }

    /// Hands everything gathered to the kernel. Not cancel safe.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if !self.batch.is_empty() {
            self.write_batch().await?;
        }
        self.io.flush().await
    }

    /// Writes what is gathered, a close record, and the end of the stream; after a write that was
    /// given up in a record's midst, only the latter. Not cancel safe.
    pub(super) async fn close(&mut self, code: CloseCode, reason: &str) -> io::Result<()> {
        if !self.torn {
            self.batch.extend_from_slice(&record::close(code.number(), reason));
            self.flush().await?;
        }
        self.io.shutdown().await
    }
}

/// Waits until there is something to write; `Some` where the link is to be closed.
async fn wait<W: AsyncWrite + Unpin>(
    outbox: &mut Outbox,
    waiting: &mut Waiting,
    writer: &mut RecordWriter<W>,
) -> Option<Closing> {
    let Outbox { messages, frames, paced, closing, session } = outbox;
    tokio::select! {
        biased;
        closing = closing => Some(closing.unwrap_or_else(|_| dropped())),
        Some(message) = messages.recv() => {
            writer.put_message(&message, session);
            None
        }
        Some(frame) = next_frame(frames) => {
            paced.took(&frame);
            waiting.frames.push(frame);
            None
        }
        () = paced.tell_room() => None,
    }
}

async fn next_frame(frames: &mut Option<mpsc::Receiver<OutgoingFrame>>) -> Option<OutgoingFrame> {
    match frames {
        Some(frames) => frames.recv().await,
        None => None,
    }
}

/// What the peer is told where the session went away without a word.
pub(super) fn dropped() -> Closing {
    (CloseCode::Shutdown, "the session was dropped".to_owned())
}

/// A few frames among which the most urgent goes first.
///
/// No more than the queue in front of it: a longer one would hide fresh frames from the session,
/// which could otherwise still decide what to send.
#[derive(Debug, Default)]
struct Waiting {
    frames: Vec<OutgoingFrame>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    fn take_from(&mut self, queue: &mut mpsc::Receiver<OutgoingFrame>, paced: &mut Paced) {
        while self.frames.len() < FRAME_QUEUE {
            let Ok(frame) = queue.try_recv() else { return };
            paced.took(&frame);
            self.frames.push(frame);
        }
    }

    fn next(&mut self) -> Option<OutgoingFrame> {
        most_urgent(&self.frames, |_| true).map(|place| self.frames.remove(place))
    }
}

/// The place of the most urgent frame that `may` go, of equals the one that waits longest.
pub(super) fn most_urgent(
    frames: &[OutgoingFrame],
    may: impl Fn(&OutgoingFrame) -> bool,
) -> Option<usize> {
    let candidates = frames.iter().enumerate().filter(|(_, frame)| may(frame));
    candidates.min_by_key(|(_, frame)| std::cmp::Reverse(frame.priority)).map(|(place, _)| place)
}
