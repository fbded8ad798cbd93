//! Frames in: each stream is read by a task of its own, so that none waits for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use quinn::{Connection, RecvStream};
use tokio::sync::mpsc;

use super::incoming::{Fault, Incoming, Step};
use super::{close, repairing, varint};
use crate::repair::TrailerMark;
use crate::transport::{Arrival, ArrivedFrame, Intake, SourceCount};
use crate::wire::{CloseCode, HEADER_VERSION, MAX_KIND, RefusalCode, is_ignorable};

/// Bytes a session with open frames has to deliver within its stall time, all frames together.
/// Priorities may starve one stream for long while others finish, so a stream on its own is not
/// judged; a link too slow for this would need minutes for a single small frame.
const LEAST_PROGRESS: u64 = 1_024;

/// The most that is taken from a stream in one call.
const READ_BYTES: usize = 256 * 1_024;

/// What the tasks of one session share.
struct Session {
    arrived: mpsc::Sender<Arrival>,
    sources: SourceCount,
    intake: Intake,
    mark: TrailerMark,
    open: AtomicUsize,
    progress: AtomicU64,
}

/// Accepts streams until the connection ends.
pub(super) async fn frames(
    connection: Connection,
    arrived: mpsc::Sender<Arrival>,
    sources: SourceCount,
    intake: Intake,
) {
    // Without a mark no trailer is ever recognised, and repair waits for the header itself.
    let mark = repairing::mark(&connection).unwrap_or_else(rand::random);
    let (open, progress) = (AtomicUsize::new(0), AtomicU64::new(0));
    let session = Arc::new(Session { arrived, sources, intake, mark, open, progress });
    let guard = tokio::spawn(watch_for_stall(connection.clone(), session.clone()));
    while let Ok(stream) = connection.accept_uni().await {
        session.open.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(take_frame(stream, session.clone()));
    }
    guard.abort();
}

/// Ends a session that holds streams open and sends next to nothing on them.
async fn watch_for_stall(connection: Connection, session: Arc<Session>) {
    let mut before = 0;
    loop {
        tokio::time::sleep(session.intake.stall).await;
        let now = session.progress.load(Ordering::Relaxed);
        let idle = session.open.load(Ordering::Relaxed) == 0;
        let ours = session.intake.budget.waits_for_store();
        if !idle && !ours && now - before < LEAST_PROGRESS {
            let reason = format!(
                "frames are open and less than {LEAST_PROGRESS} bytes came in {} s",
                session.intake.stall.as_secs_f32()
            );
            tracing::warn!(peer = %connection.remote_address(), "ending a session: {reason}");
            close(&connection, CloseCode::Stalled, &reason);
            return;
        }
        before = now;
    }
}

async fn take_frame(mut stream: RecvStream, session: Arc<Session>) {
    let (arrival, rest) = match read_frame(&mut stream, &session).await {
        Ok(Some((frame, rest))) => (Some(Arrival::Frame(frame)), rest),
        Ok(None) => (None, Rest::Nothing),
        Err(Fault { frame, code, reason }) => {
            let _ = stream.stop(varint(code.number()));
            (Some(Arrival::Refused { frame, code, reason }), Rest::Nothing)
        }
    };
    if rest == Rest::Repair {
        let _ = stream.stop(varint(RefusalCode::NotNeeded.number()));
    }
    if let Some(arrival) = arrival {
        // The session is gone, and with it whoever would want the frame.
        let _ = session.arrived.send(arrival).await;
    }
    if rest == Rest::End {
        read_end(&mut stream).await;
    }
    session.open.fetch_sub(1, Ordering::Relaxed);
}

/// What may still come of a stream whose frame is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Nothing.
    Nothing,
    /// Its end: the sender may keep it back for a moment, so the frame does not wait for it.
    End,
    /// Repair that is not needed any more.
    Repair,
}

/// True for the first byte of a stream of a later version's that may be let go.
fn is_of_another_kind(first: &u8) -> bool {
    *first != HEADER_VERSION && *first <= MAX_KIND && is_ignorable(u64::from(*first))
}

/// Reads a stream's end; bytes instead of it are behind what the header announced.
async fn read_end(stream: &mut RecvStream) {
    if let Ok(Some(_)) = stream.read_chunk(READ_BYTES, false).await {
        let _ = stream.stop(varint(RefusalCode::LengthMismatch.number()));
    }
}

/// Reads a frame; `None` where the sender gave it up or the connection ended.
async fn read_frame(
    stream: &mut RecvStream,
    session: &Session,
) -> Result<Option<(ArrivedFrame, Rest)>, Fault> {
    let mut incoming = Incoming::new(&session.intake, &session.sources, session.mark);
    loop {
        // Unordered: what comes behind a lost packet may be the repair that makes up for it.
        match stream.read_chunk(READ_BYTES, false).await {
            Ok(Some(chunk)) => {
                if chunk.offset == 0 && chunk.bytes.first().is_some_and(is_of_another_kind) {
                    let _ = stream.stop(varint(RefusalCode::NotNeeded.number()));
                    return Ok(None);
                }
                session.progress.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
                match incoming.take(chunk.offset, &chunk.bytes).await? {
                    Step::More => {}
                    Step::Whole(frame) => {
                        let rest = if incoming.has_repair() { Rest::Repair } else { Rest::End };
                        return Ok(Some((*frame, rest)));
                    }
                }
            }
            Ok(None) => return Err(incoming.truncated()),
            Err(_) => return Ok(None),
        }
    }
}
