//! Records from a connection, under a stall limit and in bounded memory.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use super::settings::{
    BODY_GROWTH, FIRST_BODY_BYTES, FRAME_BYTES, PROGRESS_BYTES, RECORD_BUFFER_BYTES, TURN_BYTES,
};
use crate::frame::Body;
use crate::transport::{Claim, SHORT_MESSAGE};
use crate::wire::{Decoded, WireError, record, record::Record};

/// Why nothing more can be read.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    /// The stream ended, with or without a close_notify, and without a close record.
    #[error("the connection ended {0}, without a reason given")]
    Ended(&'static str),
    #[error(transparent)]
    Io(io::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("fewer than {PROGRESS_BYTES} bytes arrived in {0:?}")]
    Stalled(Duration),
}

/// Reads records.
#[derive(Debug)]
pub(super) struct RecordReader<R> {
    io: R,
    /// What was read and not consumed yet.
    buffer: BytesMut,
    progress: Progress,
    since_turn: usize,
}

impl<R: AsyncRead + Unpin> RecordReader<R> {
    /// Reads from `io`; where something is due, [`PROGRESS_BYTES`] have to arrive every `stall`.
    pub(super) fn new(io: R, stall: Duration) -> Self {
        let buffer = BytesMut::with_capacity(RECORD_BUFFER_BYTES);
        Self { io, buffer, progress: Progress::new(stall), since_turn: 0 }
    }

    /// The next record, up to where a frame's body begins. Waits without limit for its first byte,
    /// and then under the stall limit. Cancel safe.
    pub(super) async fn record(&mut self) -> Result<Record, ReadError> {
        self.next(None).await
    }

    /// The same, with `claim` growing for a long message before it is read.
    pub(super) async fn record_within(&mut self, claim: &mut Claim) -> Result<Record, ReadError> {
        let record = self.next(Some(claim)).await?;
        if let Record::Message(message) = &record {
            claim.hold_message(message).await;
        }
        Ok(record)
    }

    async fn next(&mut self, mut claim: Option<&mut Claim>) -> Result<Record, ReadError> {
        let (mut need, mut claimed) = (1, 0);
        self.progress.pause();
        loop {
            if self.buffer.len() >= need {
                match record::decode(&self.buffer)? {
                    Decoded::Value(record, length) => {
                        self.consume(length);
                        return Ok(record);
                    }
                    Decoded::NeedMore(total) => need = total,
                }
            }
            // Room is made for what has come and a step more, never for all that is announced.
            let step = need.min((self.buffer.len() + RECORD_BUFFER_BYTES).next_power_of_two());
            let grows = step > claimed && step as u64 > SHORT_MESSAGE;
            if let Some(claim) = claim.as_mut().filter(|_| grows) {
                // Waiting for our own memory is not the peer's stall.
                self.progress.pause();
                claim.grow_to(step as u64).await;
                claimed = step;
            }
            if !self.buffer.is_empty() {
                self.progress.expect();
            }
            self.fill(step).await?;
        }
    }

    /// Exactly `N` bytes, under the stall limit. Cancel safe.
    pub(super) async fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        self.progress.expect();
        while self.buffer.len() < N {
            self.fill(N).await?;
        }
        let mut array = [0; N];
        array.copy_from_slice(&self.buffer[..N]);
        self.consume(N);
        Ok(array)
    }

    /// A body of `length` bytes, for which `claim` grows as they arrive. Not cancel safe.
    pub(super) async fn body(
        &mut self,
        length: usize,
        claim: &mut Claim,
    ) -> Result<Bytes, ReadError> {
        let mut body = Body::default();
        self.progress.pause();
        claim.grow_to(FRAME_BYTES).await;
        let mut room_for = 0;
        while body.len() < length {
            if body.len() == room_for {
                room_for = self.grow(&mut body, length, claim).await;
            }
            let room = room_for - body.len();
            if self.buffer.is_empty() {
                self.progress.expect();
                let mut rest = (&mut *body).limit(room);
                let read = self.progress.within(self.io.read_buf(&mut rest)).await?;
                claim.account().came(read as u64);
                self.turn(read).await;
            } else {
                let have = room.min(self.buffer.len());
                body.extend_from_slice(&self.buffer[..have]);
                self.consume(have);
            }
        }
        Ok(body.into_bytes())
    }

    /// Reads `length` bytes and forgets them. Not cancel safe.
    pub(super) async fn discard(&mut self, mut length: u64) -> Result<(), ReadError> {
        while length > 0 {
            if self.buffer.is_empty() {
                self.progress.expect();
                self.fill(1).await?;
            }
            let have = self.buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            self.consume(have);
            length -= have as u64;
        }
        Ok(())
    }

    /// Reads and forgets whatever comes, until the stream ends or fails.
    pub(super) async fn drain(&mut self) {
        self.buffer.clear();
        while let Ok(1..) = self.io.read_buf(&mut self.buffer).await {
            self.buffer.clear();
        }
    }

    /// Gives a body room for what arrives next: a multiple of what has arrived, at least the first
    /// step. Returns up to where it may come. Memory that was used before is taken for all of it at once, and claimed
    /// in the same steps.
    async fn grow(&mut self, body: &mut Body, length: usize, claim: &mut Claim) -> usize {
        let first = FIRST_BODY_BYTES as usize;
        let capacity = length.min(first.max(BODY_GROWTH * body.len()));
        // Waiting for our own memory is not the peer's stall.
        self.progress.pause();
        claim.grow_to(FRAME_BYTES + capacity as u64).await;
        if body.len() == first
            && let Some(room) = claim.account().spares().take(length)
        {
            body.move_to(room);
        }
        if body.capacity() < capacity {
            let more = capacity - body.len();
            body.reserve_exact(more);
        }
        capacity
    }

    /// Reads more into the buffer, which then has room for `need` bytes at least.
    async fn fill(&mut self, need: usize) -> Result<(), ReadError> {
        let wanted = need.max(RECORD_BUFFER_BYTES).max(self.buffer.len() + 1);
        self.buffer.reserve(wanted - self.buffer.len());
        let read = self.progress.within(self.io.read_buf(&mut self.buffer)).await?;
        self.turn(read).await;
        Ok(())
    }

    fn consume(&mut self, count: usize) {
        self.buffer.advance(count);
    }

    /// Lets the connection's other direction run now and then.
    async fn turn(&mut self, bytes: usize) {
        self.since_turn += bytes;
        if self.since_turn >= TURN_BYTES {
            self.since_turn = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Whether bytes that are due keep coming.
#[derive(Debug)]
struct Progress {
    stall: Duration,
    /// By when the next [`PROGRESS_BYTES`] have to be there, while something is due.
    deadline: Option<Instant>,
    since: u64,
}

impl Progress {
    fn new(stall: Duration) -> Self {
        Self { stall, deadline: None, since: 0 }
    }

    /// Nothing is due from the peer.
    fn pause(&mut self) {
        self.deadline = None;
    }

    /// The peer has to go on.
    fn expect(&mut self) {
        if self.deadline.is_none() {
            self.restart();
        }
    }

    fn is_due(&self) -> bool {
        self.deadline.is_some()
    }

    fn restart(&mut self) {
        self.deadline = Some(Instant::now() + self.stall);
        self.since = 0;
    }

    /// Reads something, in time.
    async fn within(
        &mut self,
        read: impl Future<Output = io::Result<usize>>,
    ) -> Result<usize, ReadError> {
        let read = match self.deadline {
            Some(deadline) => {
                timeout_at(deadline, read).await.map_err(|_| ReadError::Stalled(self.stall))?
            }
            None => read.await,
        };
        match read {
            Ok(0) => Err(self.ended()),
            Ok(count) => {
                self.since += count as u64;
                if self.since >= PROGRESS_BYTES && self.is_due() {
                    self.restart();
                }
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.ended()),
            Err(error) => Err(ReadError::Io(error)),
        }
    }

    fn ended(&self) -> ReadError {
        let due = self.deadline.is_some();
        ReadError::Ended(if due { "in the middle of a record" } else { "between two records" })
    }
}
