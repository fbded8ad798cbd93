//! Frames out: a stream for each, with repair behind the body where that pays.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::{Connection, SendStream, VarInt};
use tokio::sync::{Notify, mpsc};

use super::departure::Departure;
use super::repairing::{self, Repairing};
use super::{close, settings, varint};
use crate::repair::{Plan, Repair, RepairMode, TrailerMark};
use crate::transport::OutgoingFrame;
use crate::transport::threads::beside_packets;
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
    let mut repairing = Repairing::new(mode, Instant::now());
    let mut departure = Departure::new(Instant::now());
    while let Some(frame) = queue.recv().await {
        // Waits only where the receiver allows fewer streams than frames; the session's window is
        // set so that this does not happen between two framelanes.
        let Ok(stream) = connection.open_uni().await else { return };
        let _ = stream.set_priority(frame.priority);
        let (path, now) = (connection.stats().path, Instant::now());
        let known = repairing::Frame {
            bytes: frame.body.len() as u64,
            live: frame.is_live(),
            deadline: frame.deadline.map(|deadline| deadline.saturating_duration_since(now)),
            backlog: counters.late.load(Ordering::Relaxed) > 0,
        };
        let repair = mark.and_then(|mark| {
            let controller = || connection.congestion_state();
            Some((repairing.plan(now, &path, known, controller)?, mark))
        });
        let underway = Underway::new(&counters, known.bytes);
        let late = frame.late;
        let encoded = if repair.is_some() { known.bytes } else { 0 };
        let outgoing = beside_packets(encoded, || pieces(frame, repair, &counters.repair));
        let length = outgoing.as_ref().map_or(0, Outgoing::len);
        let probe = departure.add(now, &path, length);
        // Repair is a probe already, and of a backlog the next frame is.
        let probe = probe.filter(|_| known.live && repair.is_none() && repairing.is_lossy());
        let mut writing = Box::pin(write_frame(stream, outgoing, probe, late, underway));
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

/// A stream's bytes.
struct Outgoing {
    /// In order, all of them or those before the pause.
    first: Vec<Bytes>,
    /// How long to wait before each of the parts that follow.
    then: Option<(Duration, Vec<Bytes>)>,
}

impl Outgoing {
    fn len(&self) -> u64 {
        let then = self.then.iter().flat_map(|(_, parts)| parts);
        self.first.iter().chain(then).map(|piece| piece.len() as u64).sum()
    }
}

/// Header, body, and repair with its trailers. `None` where the frame cannot be encoded, which only a frame
/// without a hash cannot, and sources always hash.
fn pieces(
    frame: OutgoingFrame,
    repair: Option<(Repair, TrailerMark)>,
    repair_bytes: &AtomicU64,
) -> Option<Outgoing> {
    let OutgoingFrame { mut header, body, .. } = frame;
    if let Some((repair, mark)) = repair
        && let Some((encoded, behind)) = with_repair(&mut header, &body, &repair.plan, mark)
    {
        repair_bytes.fetch_add(behind.len() as u64, Ordering::Relaxed);
        return Some(match repair.pause {
            Some(pause) => {
                let then = Some((pause, repair.split(behind)));
                Outgoing { first: vec![encoded, body], then }
            }
            None => Outgoing { first: vec![encoded, body, behind], then: None },
        });
    }
    header.repair = None;
    Some(Outgoing { first: vec![header.encode().ok()?, body], then: None })
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
    outgoing: Option<Outgoing>,
    probe: Option<Instant>,
    late: Option<(Instant, i32)>,
    mut underway: Underway,
) -> Option<RefusalCode> {
    let Some(outgoing) = outgoing else {
        let _ = stream.reset(varint(RefusalCode::BadHeader.number()));
        return None;
    };
    let stopped = stream.stopped();
    let written = tokio::select! {
        written = write_all(&mut stream, outgoing, probe) => written.then_some(()),
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

/// Writes the bytes, and the stream's end no sooner than `probe`, in a packet of its own then.
async fn write_all(stream: &mut SendStream, outgoing: Outgoing, probe: Option<Instant>) -> bool {
    let Outgoing { mut first, then } = outgoing;
    if stream.write_all_chunks(&mut first).await.is_err() {
        return false;
    }
    let (pause, parts) = then.unwrap_or_default();
    for part in parts {
        tokio::time::sleep(pause).await;
        if stream.write_chunk(part).await.is_err() {
            return false;
        }
    }
    if let Some(probe) = probe {
        tokio::time::sleep_until(probe.into()).await;
    }
    stream.finish().is_ok()
}
