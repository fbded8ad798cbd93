//! Frames out: a stream for each, with repair behind the body where that pays.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quinn::{Connection, SendStream};
use tokio::sync::mpsc;

use super::repairing::{self, Repairing};
use super::varint;
use crate::repair::{Plan, RepairMode, TrailerMark};
use crate::transport::OutgoingFrame;
use crate::wire::{FrameHeader, RefusalCode, RepairLayout};

/// Gives each frame a stream of its own and writes it, many at once, until the session has no more
/// or the connection is gone.
pub(super) async fn frames(
    connection: Connection,
    mut queue: mpsc::Receiver<OutgoingFrame>,
    mode: RepairMode,
    repair_bytes: Arc<AtomicU64>,
) {
    let mark = repairing::mark(&connection);
    let mut repairing = Repairing::new(mode);
    while let Some(frame) = queue.recv().await {
        // Waits only where the receiver allows fewer streams than frames; the session's window is
        // set so that this does not happen between two framelanes.
        let Ok(stream) = connection.open_uni().await else { return };
        let _ = stream.set_priority(frame.priority);
        let plan = mark.and_then(|mark| Some((repairing.plan(&connection, &frame)?, mark)));
        let pieces = pieces(frame, plan, &repair_bytes);
        tokio::spawn(write_frame(stream, pieces));
    }
}

/// The stream's bytes in order: header, body, and repair with its trailer. `None` where the frame
/// cannot be encoded, which only a frame without a hash cannot, and sources always hash.
fn pieces(
    frame: OutgoingFrame,
    plan: Option<(Plan, TrailerMark)>,
    repair_bytes: &AtomicU64,
) -> Option<Vec<Bytes>> {
    let OutgoingFrame { mut header, body, .. } = frame;
    if let Some((plan, mark)) = plan
        && let Some((encoded, repair)) = with_repair(&mut header, &body, &plan, mark)
    {
        repair_bytes.fetch_add(repair.len() as u64, Ordering::Relaxed);
        return Some(vec![encoded, body, repair]);
    }
    header.repair = None;
    Some(vec![header.encode().ok()?, body])
}

/// The header that announces the repair, and the repair with the trailer behind it.
fn with_repair(
    header: &mut FrameHeader,
    body: &[u8],
    plan: &Plan,
    mark: TrailerMark,
) -> Option<(Bytes, Bytes)> {
    header.repair = Some(RepairLayout {
        shard_bytes: u32::try_from(plan.shard_len()).ok()?,
        repair_shards: u32::try_from(plan.repair_shards()).ok()?,
    });
    let encoded = header.encode().ok()?;
    let mut repair = crate::repair::encode(body, plan).ok()?;
    repair.extend_from_slice(&crate::repair::trailer(&encoded, mark).ok()?);
    Some((encoded, repair.into()))
}

/// Writes one frame and stays until the receiver's transport has it, or wants no more of it.
async fn write_frame(mut stream: SendStream, pieces: Option<Vec<Bytes>>) {
    let Some(pieces) = pieces else {
        let _ = stream.reset(varint(RefusalCode::BadHeader.number()));
        return;
    };
    let stopped = stream.stopped();
    let written = tokio::select! {
        written = write_all(&mut stream, pieces) => written,
        _ = stopped => false,
    };
    if !written {
        let _ = stream.reset(varint(RefusalCode::NotNeeded.number()));
        return;
    }
    // quinn goes on retransmitting a finished stream that the peer has stopped, until it is reset.
    if let Ok(Some(code)) = stream.stopped().await {
        let _ = stream.reset(code);
    }
}

async fn write_all(stream: &mut SendStream, mut pieces: Vec<Bytes>) -> bool {
    stream.write_all_chunks(&mut pieces).await.is_ok() && stream.finish().is_ok()
}
