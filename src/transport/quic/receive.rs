//! Frames in: each stream is read by a task of its own, so that none waits for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use quinn::{Connection, RecvStream};
use tokio::sync::mpsc;

use super::{close, varint};
use crate::frame::{Frame, Sequence, UnixNanos};
use crate::transport::{Arrival, ArrivedFrame, Claim, Intake, SourceCount};
use crate::wire::{CloseCode, Decoded, FrameHeader, MAX_HEADER_BYTES, RefusalCode, SourceId};

/// Bytes a session with open frames has to deliver within its stall time, all frames together.
/// Priorities may starve one stream for long while others finish, so a stream on its own is not
/// judged; a link too slow for this would need minutes for a single small frame.
const LEAST_PROGRESS: u64 = 1_024;

/// Memory for a body is claimed in steps that double from here.
const FIRST_CLAIM: u64 = 64 * 1_024;

/// The most that is taken from a stream in one call.
const READ_BYTES: usize = 256 * 1_024;

/// What the tasks of one session share.
struct Session {
    arrived: mpsc::Sender<Arrival>,
    sources: SourceCount,
    intake: Intake,
    open: AtomicUsize,
    progress: AtomicU64,
}

/// Why a frame's stream was refused.
struct Fault {
    frame: Option<(SourceId, Sequence)>,
    code: RefusalCode,
    reason: String,
}

/// Accepts streams until the connection ends.
pub(super) async fn frames(
    connection: Connection,
    arrived: mpsc::Sender<Arrival>,
    sources: SourceCount,
    intake: Intake,
) {
    let (open, progress) = (AtomicUsize::new(0), AtomicU64::new(0));
    let session = Arc::new(Session { arrived, sources, intake, open, progress });
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
    let arrival = match read_frame(&mut stream, &session).await {
        Ok(Some(frame)) => Some(Arrival::Frame(frame)),
        Ok(None) => None,
        Err(Fault { frame, code, reason }) => {
            let _ = stream.stop(varint(code.number()));
            Some(Arrival::Refused { frame, code, reason })
        }
    };
    session.open.fetch_sub(1, Ordering::Relaxed);
    if let Some(arrival) = arrival {
        // The session is gone, and with it whoever would want the frame.
        let _ = session.arrived.send(arrival).await;
    }
}

/// Reads a frame; `None` where the sender gave it up or the connection ended.
async fn read_frame(
    stream: &mut RecvStream,
    session: &Session,
) -> Result<Option<ArrivedFrame>, Fault> {
    let Some((header, start)) = read_header(stream, session).await? else { return Ok(None) };
    let frame = Some((header.source, header.meta.sequence));
    let fault = |code, reason| Fault { frame, code, reason };
    check(&header, session).map_err(|(code, reason)| fault(code, reason))?;
    let announced = header.meta.bytes;
    let longer = || {
        let reason = format!("{} goes on after its {announced} bytes", header.meta.name);
        fault(RefusalCode::LengthMismatch, reason)
    };

    let mut claim = session.intake.budget.claim();
    let mut body = Body::default();
    if start.len() as u64 > announced {
        return Err(longer());
    }
    body.push(&start, announced, &mut claim).await;
    loop {
        match stream.read_chunk(READ_BYTES, true).await {
            Ok(Some(chunk)) => {
                session.progress.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
                if body.bytes.len() as u64 + chunk.bytes.len() as u64 > announced {
                    return Err(longer());
                }
                body.push(&chunk.bytes, announced, &mut claim).await;
            }
            Ok(None) => break,
            Err(_) => return Ok(None),
        }
    }
    if (body.bytes.len() as u64) < announced {
        let (name, came) = (&header.meta.name, body.bytes.len());
        let reason = format!("{name} ended after {came} of {announced} bytes");
        return Err(fault(RefusalCode::LengthMismatch, reason));
    }
    claim.arrived();
    let source = header.source;
    let frame = Frame { meta: header.meta, body: Bytes::from(body.bytes) };
    let received = UnixNanos::now();
    Ok(Some(ArrivedFrame { source, frame, received, repaired: false, claim }))
}

/// Reads up to the end of the header; gives it and what came behind it.
async fn read_header(
    stream: &mut RecvStream,
    session: &Session,
) -> Result<Option<(FrameHeader, Bytes)>, Fault> {
    let bad = |reason| Fault { frame: None, code: RefusalCode::BadHeader, reason };
    let mut buffer: Vec<u8> = Vec::new();
    loop {
        let chunk = match stream.read_chunk(MAX_HEADER_BYTES, true).await {
            Ok(Some(chunk)) => chunk.bytes,
            Ok(None) => {
                let came = buffer.len();
                return Err(bad(format!(
                    "a frame's stream ended after {came} bytes of its header"
                )));
            }
            Err(_) => return Ok(None),
        };
        session.progress.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        buffer.extend_from_slice(&chunk);
        match FrameHeader::decode(&buffer) {
            Ok(Decoded::Value(header, length)) => {
                return Ok(Some((header, Bytes::from(buffer).slice(length..))));
            }
            Ok(Decoded::NeedMore(_)) => {}
            Err(error) => return Err(bad(error.to_string())),
        }
    }
}

/// What can be refused from the header on.
fn check(header: &FrameHeader, session: &Session) -> Result<(), (RefusalCode, String)> {
    let limit = session.intake.max_frame;
    if header.meta.bytes > limit.0 {
        let reason = format!(
            "{} has {} bytes; the receiver takes at most {} (--max-frame)",
            header.meta.name, header.meta.bytes, limit.0
        );
        return Err((RefusalCode::TooLarge, reason));
    }
    if !session.sources.knows(header.source) {
        let reason = format!("source number {} was not in the hello", header.source.0);
        return Err((RefusalCode::UnknownSource, reason));
    }
    Ok(())
}

/// A body as it grows. Memory is claimed, and reserved, only for what has come.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    claimed: u64,
}

impl Body {
    async fn push(&mut self, chunk: &[u8], announced: u64, claim: &mut Claim) {
        let needed = (self.bytes.len() + chunk.len()) as u64;
        if needed > self.claimed {
            let next = needed.max(self.claimed * 2).max(FIRST_CLAIM).min(announced);
            claim.grow_to(next).await;
            self.claimed = next;
            self.bytes.reserve_exact(next as usize - self.bytes.len());
        }
        self.bytes.extend_from_slice(chunk);
    }
}
