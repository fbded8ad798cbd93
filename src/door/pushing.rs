//! Handing frames to a sender, from wherever they come about.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::PushError;
use super::frame::Frame;
use super::pushed::Pushed;
use super::receipt::Receipt;
use crate::frame::ByteSize;
use crate::source::Source;

/// Memory is given out in pieces of this many bytes.
const PIECE: u64 = 1 << 10;

/// Hands frames to a sender from elsewhere: another thread or task, a callback; made by
/// [`Sender::pusher`](super::Sender::pusher). It keeps no sender alive: once that was told to finish, or is dropped,
/// there is [`PushError::Ended`].
#[derive(Debug, Clone)]
pub struct Pusher {
    pub(super) sources: Arc<[Arc<Pushed>]>,
    /// Room for frames that are not settled, in pieces.
    pub(super) room: Arc<Semaphore>,
    pieces: u32,
}

impl Pusher {
    pub(super) fn new(sources: Vec<Arc<Pushed>>, memory: ByteSize) -> Self {
        let most = Semaphore::MAX_PERMITS.min(u32::MAX as usize) as u64;
        let pieces = u32::try_from((memory.0 / PIECE).clamp(1, most)).unwrap_or(u32::MAX);
        let room = Arc::new(Semaphore::new(pieces as usize));
        Self { sources: sources.into(), room, pieces }
    }

    /// As [`Sender::push`](super::Sender::push).
    ///
    /// # Errors
    /// [`PushError`].
    pub async fn push(&self, source: &str, frame: Frame) -> Result<Receipt, PushError> {
        self.ready(source, frame).await?.push()
    }

    /// As [`Sender::ready`](super::Sender::ready).
    ///
    /// # Errors
    /// [`PushError`].
    pub async fn ready(&self, source: &str, frame: Frame) -> Result<Ready, PushError> {
        let unknown = || PushError::UnknownSource(source.to_owned());
        let named = self.sources.iter().find(|pushed| pushed.name().as_str() == source);
        let pushed = named.ok_or_else(unknown)?.clone();
        let pieces = (frame.bytes.len() as u64 / PIECE + 1).min(u64::from(self.pieces));
        let pieces = u32::try_from(pieces).unwrap_or(self.pieces);
        let room = self.room.clone().acquire_many_owned(pieces).await;
        let room = room.map_err(|_| PushError::Ended)?;
        Ok(Ready { pushed, frame, room })
    }

    /// Frames that were pushed and are not settled.
    pub fn pending(&self) -> usize {
        self.sources.iter().map(|source| source.pending()).sum()
    }
}

/// A frame for which there is room. Dropped, it was not handed over, and the room is free again.
#[derive(Debug)]
#[must_use = "nothing is handed over before `push`"]
pub struct Ready {
    pushed: Arc<Pushed>,
    frame: Frame,
    room: OwnedSemaphorePermit,
}

impl Ready {
    /// Hands the frame over.
    ///
    /// # Errors
    /// [`PushError`]: the run has ended meanwhile, or the frame's own name cannot travel.
    pub fn push(self) -> Result<Receipt, PushError> {
        self.pushed.push(self.frame, self.room)?.map(Receipt).ok_or(PushError::Ended)
    }
}
