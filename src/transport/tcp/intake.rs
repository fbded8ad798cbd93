//! What becomes of frames that arrive, at the receiver.

use tokio::io::AsyncRead;

use super::reader::{ReadError, RecordReader};
use super::settings::DISCARD_MULTIPLE;
use crate::frame::{Frame, UnixNanos};
use crate::transport::{Account, Arrival, ArrivedFrame, Intake, SourceCount};
use crate::wire::{FrameHeader, RefusalCode, WireError};

/// What a header leads to.
pub(super) enum Taken {
    /// An arrival, its body read or thrown away.
    Whole(Arrival),
    /// A refusal, its body too long to be read: nothing behind it can be found.
    Endless(Arrival, String),
}

/// Reads the body that follows `header`, where it may come in. Not cancel safe.
pub(super) async fn take<R: AsyncRead + Unpin>(
    reader: &mut RecordReader<R>,
    header: FrameHeader,
    intake: &Intake,
    account: &Account,
    sources: &SourceCount,
) -> Result<Taken, ReadError> {
    if header.repair.is_some() {
        let why = "repair shards have no place on a TCP connection".to_owned();
        return Err(WireError::Malformed { what: "the frame header", why }.into());
    }
    match refusal(&header, intake, sources) {
        Some((code, reason)) => refuse(reader, header, intake, code, reason).await,
        None => Ok(Taken::Whole(body(reader, header, account).await?)),
    }
}

fn refusal(
    header: &FrameHeader,
    intake: &Intake,
    sources: &SourceCount,
) -> Option<(RefusalCode, String)> {
    let (bytes, limit) = (header.meta.bytes, intake.max_frame.0);
    if !sources.knows(header.source) {
        let reason = format!("the hello names no source {}", header.source.0);
        return Some((RefusalCode::UnknownSource, reason));
    }
    if bytes > limit || usize::try_from(bytes).is_err() {
        let reason = format!("{bytes} bytes are over the receiver's `max_frame` of {limit} bytes");
        return Some((RefusalCode::TooLarge, reason));
    }
    None
}

async fn refuse<R: AsyncRead + Unpin>(
    reader: &mut RecordReader<R>,
    header: FrameHeader,
    intake: &Intake,
    code: RefusalCode,
    reason: String,
) -> Result<Taken, ReadError> {
    let bytes = header.meta.bytes;
    let frame = Some((header.source, header.meta.sequence));
    let discarded = intake.max_frame.0.saturating_mul(DISCARD_MULTIPLE);
    if bytes > discarded {
        let why = format!("a frame of {bytes} bytes, over {discarded}, is not even read: {reason}");
        return Ok(Taken::Endless(Arrival::Refused { frame, code, reason }, why));
    }
    reader.discard(bytes).await?;
    Ok(Taken::Whole(Arrival::Refused { frame, code, reason }))
}

async fn body<R: AsyncRead + Unpin>(
    reader: &mut RecordReader<R>,
    header: FrameHeader,
    account: &Account,
) -> Result<Arrival, ReadError> {
    let mut claim = account.claim();
    let length = usize::try_from(header.meta.bytes).unwrap_or(usize::MAX); // checked by `refusal`
    let body = reader.body(length, &mut claim).await?;
    claim.arrived();
    Ok(Arrival::Frame(ArrivedFrame {
        source: header.source,
        frame: Frame { meta: header.meta, body },
        received: UnixNanos::now(),
        repaired: false,
        claim,
    }))
}
