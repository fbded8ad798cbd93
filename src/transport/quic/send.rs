//! Frames out: a stream for each, with repair behind the body where that pays.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use quinn::{Connection, SendStream, VarInt};
use tokio::sync::{Notify, mpsc};

use super::departure::Departure;
use super::repairing::{self, Repairing};
use super::{close, settings, varint};
use crate::repair::{Plan, RepairMode, TrailerMark};
use crate::transport::OutgoingFrame;
use crate::wire::{CloseCode, FrameHeader, RefusalCode, RepairLayout};

/// Counters of the frames of one connection.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// Bytes of forward repair sent.
    pub(super) repair: AtomicU64,
    /// Bytes of bodies whose streams are not through.
    pub(super) underway: AtomicU64,
    /// Those of them whose frames have become late.
    pub(super) late: AtomicU64,
    /// Bytes of packets that the peer has acknowledged.
    pub(super) acked: Arc<AtomicU64>,
    /// Notified when room has come about: `underway` has fallen, or `late` has risen.
    pub(super) drained: Arc<Notify>,
}

/// Counts a body as underway for as long as it lives.
struct Underway {
    counters: Arc<Sending>,
    bytes: u64,
    late: bool,
}

impl Underway {
    fn new(counters: &Arc<Sending>, bytes: u64) -> Self {
        counters.underway.fetch_add(bytes, Ordering::Relaxed);
        Self { counters: counters.clone(), bytes, late: false }
    }

    /// The frame stands behind fresh ones from now on.
    fn is_late(&mut self) {
        self.late = true;
        self.counters.late.fetch_add(self.bytes, Ordering::Relaxed);
        self.counters.drained.notify_one();
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if self.late {
            self.counters.late.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        self.counters.underway.fetch_sub(self.bytes, Ordering::Relaxed);
        self.counters.drained.notify_one();
    }
}

/// Wakes the connection every few milliseconds while frames are underway, until it has ended.
///
/// After an outage nothing is sent before quinn's probe timeout, which has doubled all along and has
/// no upper bound. The congestion controller would admit a packet or two far sooner, but is asked
/// only when something wakes the connection, and with the window full nothing does.
pub(super) async fn nudge(connection: Connection, counters: Arc<Sending>) {
    let mut tick = tokio::time::interval(settings::NUDGE_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while connection.close_reason().is_none() {
        tick.tick().await;
        if counters.underway.load(Ordering::Relaxed) > 0 {
            // The limit that is set already: all that this does is to wake the connection.
            connection.set_max_concurrent_bi_streams(VarInt::from_u32(1));
        }
    }
}

/// Gives each frame a stream of its own and writes it, many at once, until the session has no more
/// or the connection is gone.
pub(super) async fn frames(
    connection: Connection,
    mut queue: mpsc::Receiver<OutgoingFrame>,
    mode: RepairMode,
    counters: Arc<Sending>,
) {
    let mark = repairing::mark(&connection);
    let mut repairing = Repairing::new(mode);
    let mut departure = Departure::new(Instant::now());
    while let Some(frame) = queue.recv().await {
        // Waits only where the receiver allows fewer streams than frames; the session's window is
        // set so that this does not happen between two framelanes.
        let Ok(stream) = connection.open_uni().await else { return };
        let _ = stream.set_priority(frame.priority);
        let path = connection.stats().path;
        let backlog = counters.late.load(Ordering::Relaxed) > 0;
        let plan = mark
            .and_then(|mark| Some((repairing.plan(&connection, &path, &frame, backlog)?, mark)));
        let underway = Underway::new(&counters, frame.body.len() as u64);
        let late = frame.late;
        let live = frame.is_live();
        let pieces = pieces(frame, plan, &counters.repair);
        let length = pieces.iter().flatten().map(|piece| piece.len() as u64).sum();
        let probe = departure.add(&path, length);
        // Repair is a probe already, and of a backlog the next frame is.
        let probe = probe.filter(|_| live && plan.is_none() && repairing.is_lossy());
        let mut writing = Box::pin(write_frame(stream, pieces, probe, late, underway));
        // The first poll writes all of it where there is room, which there is but for a peer that
        // gives little credit. Were each frame written by a task of its own, a large frame could be
        // on its way before the small one that became due with it and was handed over first.
        match poll_once(writing.as_mut()).await {
            Poll::Ready(refused) => end_if_unreadable(&connection, refused),
            Poll::Pending => {
                let connection = connection.clone();
                tokio::spawn(async move { end_if_unreadable(&connection, writing.await) });
            }
        }
    }
}

/// Nothing tells the session which frame it was whose header was refused, so it would wait for ever.
fn end_if_unreadable(connection: &Connection, refused: Option<RefusalCode>) {
    if refused == Some(RefusalCode::BadHeader) {
        close(connection, CloseCode::Protocol, "the receiver could not read a frame's header");
    }
}

/// Polls a future once, and no more.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// The stream's bytes in order: header, body, and repair with its trailers. `None` where the frame
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

/// The header that announces the repair, and the repair between its two trailers.
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
    let trailer = crate::repair::trailer(&encoded, mark).ok()?;
    let shards = crate::repair::encode(body, plan).ok()?;
    let repair = [trailer.as_slice(), &shards, &trailer].concat();
    Some((encoded, repair.into()))
}

/// Writes one frame and stays until the receiver's transport has it, or wants no more of it and says
/// why.
async fn write_frame(
    mut stream: SendStream,
    pieces: Option<Vec<Bytes>>,
    probe: Option<Instant>,
    late: Option<(Instant, i32)>,
    mut underway: Underway,
) -> Option<RefusalCode> {
    let Some(pieces) = pieces else {
        let _ = stream.reset(varint(RefusalCode::BadHeader.number()));
        return None;
    };
    let stopped = stream.stopped();
    let written = tokio::select! {
        written = write_all(&mut stream, pieces, probe) => written.then_some(()),
        _ = stopped => None,
    };
    // quinn goes on retransmitting a finished stream that the peer has stopped, until it is reset.
    let mut stopped = pin!(stream.stopped());
    let ended = match late.filter(|_| written.is_some()) {
        Some((when, priority)) => {
            match tokio::time::timeout_at(when.into(), &mut stopped).await {
                Ok(ended) => ended,
                Err(_) => {
                    // Frames that have fallen due since are of more use than this one.
                    let _ = stream.set_priority(priority);
                    underway.is_late();
                    stopped.await
                }
            }
        }
        None => stopped.await,
    };
    let code = ended.ok().flatten()?;
    let _ = stream.reset(code);
    RefusalCode::from_number(code.into_inner())
}

/// Writes the pieces, and the stream's end no sooner than `probe`, in a packet of its own then.
async fn write_all(
    stream: &mut SendStream,
    mut pieces: Vec<Bytes>,
    probe: Option<Instant>,
) -> bool {
    if stream.write_all_chunks(&mut pieces).await.is_err() {
        return false;
    }
    if let Some(probe) = probe {
        tokio::time::sleep_until(probe.into()).await;
    }
    stream.finish().is_ok()
}
