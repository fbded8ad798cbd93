//! The life of a connection: reading and writing at once, and its end.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::pace::Paced;
use super::reader::{ReadError, RecordReader};
use super::writer::{Closing, Outbox, RecordWriter, SessionId, dropped};
use super::{Classify, settings};
use crate::frame::quoted;
use crate::transport::{LinkKeeper, OutgoingFrame, TransportError};
use crate::wire::{CloseCode, Message};

/// Why a link ends, and what the peer has to be told.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) cause: TransportError,
    pub(super) tell: Option<Closing>,
}

/// Turns what goes wrong on a connection into causes that name the peer.
#[derive(Clone)]
pub(super) struct Blame {
    pub(super) address: SocketAddr,
    pub(super) classify: Classify,
}

impl Blame {
    pub(super) fn read(&self, error: ReadError) -> Ending {
        let why = error.to_string();
        let address = self.address;
        match error {
            ReadError::Io(error) => Ending { cause: self.io(&error), tell: None },
            ReadError::Ended(_) => {
                Ending { cause: TransportError::Lost { address, why }, tell: None }
            }
            ReadError::Wire(_) => self.protocol(why),
            ReadError::Stalled(_) => Ending {
                cause: TransportError::Lost { address, why: why.clone() },
                tell: Some((CloseCode::Stalled, why)),
            },
        }
    }

    pub(super) fn io(&self, error: &io::Error) -> TransportError {
        match (self.classify)(error) {
            Some(text) => TransportError::Refused(text),
            None => TransportError::Lost { address: self.address, why: error.to_string() },
        }
    }

    pub(super) fn protocol(&self, why: String) -> Ending {
        let cause = TransportError::Protocol { address: self.address, why: why.clone() };
        Ending { cause, tell: Some((CloseCode::Protocol, why)) }
    }

    pub(super) fn closed(&self, code: u64, why: String) -> Ending {
        let why = match (why.is_empty(), CloseCode::from_number(code)) {
            (true, Some(code)) => code.to_string(),
            (true, None) => format!("code {code:#x}"),
            (false, _) => quoted(&why),
        };
        Ending {
            cause: TransportError::ClosedByPeer { address: self.address, code, why },
            tell: None,
        }
    }
}

/// The session went away without closing its link.
pub(super) fn abandoned() -> Ending {
    Ending { cause: TransportError::Ended, tell: Some(dropped()) }
}

/// The queues of a link's sending direction.
pub(super) struct Outgoing {
    pub(super) messages: mpsc::Receiver<Message>,
    pub(super) frames: Option<mpsc::Receiver<OutgoingFrame>>,
    pub(super) paced: Paced,
    pub(super) session: watch::Sender<Option<SessionId>>,
}

/// Work beside the connection that has to be finished before the link closes.
pub(super) trait Beside: Future<Output = Result<(), TransportError>> {}
impl<F: Future<Output = Result<(), TransportError>>> Beside for F {}

/// Runs a link until it ends, and reports its cause to `keeper`.
///
/// `read` makes the reading direction of the reader. `beside` makes the work that goes on beside the
/// connection; it ends when its receiver fires, once everything queued is done. `dead` waits for a reason
/// to give the connection up.
#[expect(clippy::too_many_arguments, reason = "each is another part of the link; two callers")]
pub(super) async fn run<S, B: Beside>(
    stream: S,
    stall: std::time::Duration,
    mut keeper: LinkKeeper,
    outgoing: Outgoing,
    blame: Blame,
    read: impl AsyncFnOnce(&mut RecordReader<ReadHalf<S>>) -> Ending,
    beside: impl FnOnce(oneshot::Receiver<()>) -> B,
    dead: impl Future<Output = TransportError>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (input, output) = tokio::io::split(stream);
    let mut reader = RecordReader::new(input, stall);
    let mut writer = RecordWriter::new(output);
    let (close, closing) = oneshot::channel();
    let Outgoing { messages, frames, paced, session } = outgoing;
    let outbox = Outbox { messages, frames, paced, closing, session };

    let ending = {
        let mut reading = std::pin::pin!(read(&mut reader));
        let writing = writer.run(outbox);
        let ordering = close_on_request(&mut keeper, close, beside);
        tokio::select! {
            ending = &mut reading => ending,
            written = writing => match written {
                Ok(()) => Ending { cause: TransportError::Ended, tell: None },
                Err(error) => last_words(reading, blame.io(&error)).await,
            },
            ending = ordering => ending,
            cause = dead => Ending { cause, tell: None },
        }
    };
    finish(&mut reader, &mut writer, &ending).await;
    keeper.ended(ending.cause);
}

/// Waits for a request to close, has everything finished in order, and gives up after a while.
async fn close_on_request<B: Beside>(
    keeper: &mut LinkKeeper,
    close: oneshot::Sender<Closing>,
    beside: impl FnOnce(oneshot::Receiver<()>) -> B,
) -> Ending {
    let (stop, stopped) = oneshot::channel();
    let mut beside = std::pin::pin!(beside(stopped));
    let closing = tokio::select! {
        closing = keeper.close.recv() => closing.unwrap_or_else(dropped),
        done = &mut beside => return lost_beside(done),
    };
    let in_time = timeout(settings::FLUSH, async {
        let _ = stop.send(());
        beside.await?;
        let _ = close.send(closing);
        // The writer's end is the link's; this only waits until it takes too long.
        sleep(settings::FLUSH).await;
        Ok(())
    });
    match in_time.await {
        Ok(Err(cause)) => Ending { cause, tell: None },
        Ok(Ok(())) | Err(_) => Ending { cause: TransportError::Ended, tell: None },
    }
}

fn lost_beside(done: Result<(), TransportError>) -> Ending {
    Ending { cause: done.err().unwrap_or(TransportError::Ended), tell: Some(dropped()) }
}

/// A write that fails often means that the peer has said why, and closed.
async fn last_words(reading: impl Future<Output = Ending>, otherwise: TransportError) -> Ending {
    match timeout(settings::LAST_WORDS, reading).await {
        Ok(ending) => ending,
        Err(_) => Ending { cause: otherwise, tell: None },
    }
}

/// Tells the peer what it has to know, and waits until it has had a chance to read it.
async fn finish<S: AsyncRead + AsyncWrite + Unpin>(
    reader: &mut RecordReader<ReadHalf<S>>,
    writer: &mut RecordWriter<WriteHalf<S>>,
    ending: &Ending,
) {
    if !matches!(ending.cause, TransportError::Ended) && ending.tell.is_none() {
        return;
    }
    let _ = timeout(settings::LINGER, async {
        if let Some((code, reason)) = &ending.tell {
            let _ = writer.close(*code, reason).await;
        }
        reader.drain().await;
    })
    .await;
}

/// What a link's work beside its connection is, where it has none.
pub(super) async fn nothing(stopped: oneshot::Receiver<()>) -> Result<(), TransportError> {
    match stopped.await {
        Ok(()) => Ok(()),
        Err(_) => std::future::pending().await,
    }
}

/// Says one close record on a connection, and waits until the peer has had a chance to read it.
pub(super) async fn answer<R, W>(
    reader: &mut RecordReader<R>,
    writer: &mut RecordWriter<W>,
    code: CloseCode,
    reason: &str,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let _ = timeout(settings::LINGER, async {
        if writer.close(code, reason).await.is_ok() {
            reader.drain().await;
        }
    })
    .await;
}
