//! Frames out: a stream for each, with repair behind the body where that pays.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quinn::{Connection, SendStream, VarInt};
use tokio::sync::{Notify, mpsc, watch};

use super::departure::Departure;
use super::live::{self, Live, Ticket};
use super::outlook::{LEAST_PACKET, Outlook};
use super::ping::{self, Question};
use super::repairing::{self, Repairing};
use super::{close, settings, varint};
use crate::congestion::Onlooker;
use crate::frame::Sequence;
use crate::repair::{Plan, Repair, RepairMode, TrailerMark};
use crate::transport::threads::beside_packets;
use crate::transport::{Forecast, OutgoingFrame};
use crate::wire::{CloseCode, FrameHeader, RefusalCode, RepairLayout, SourceId};

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
    pub(super) acked: AtomicU64,
    /// Bytes under way that are to be acknowledged, about.
    pub(super) flies: AtomicU64,
    /// Something else is awaited from the receiver than acknowledgements.
    pub(super) awaited: Arc<AtomicBool>,
    /// Notified when room has come about: `underway` has fallen, `late` has risen, or a live frame has left.
    pub(super) drained: Arc<Notify>,
    /// The live frames, where some have a deadline.
    pub(super) live: Arc<Live>,
}

impl Sending {
    /// True where something is to come from the receiver, were it an acknowledgement.
    fn is_answer_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) || self.underway.load(Ordering::Relaxed) > 0
    }

    /// Takes in what has become of packets, where that is of interest.
    fn see(&self, take: impl FnOnce(&mut Outlook)) {
        if self.live.is_on() && self.live.take(take) {
            self.drained.notify_one();
        }
    }
}

impl Onlooker for Sending {
    fn sent(&self, bytes: u64) {
        if bytes >= LEAST_PACKET {
            self.flies.fetch_add(bytes, Ordering::Relaxed);
        }
        self.see(|outlook| outlook.sent(bytes));
    }

    fn acked(&self, bytes: u64, after: Duration) {
        self.acked.fetch_add(bytes, Ordering::Relaxed);
        self.see(|outlook| outlook.acked(after));
    }

    fn lost(&self, bytes: u64) {
        let less = |flies: u64| Some(flies.saturating_sub(bytes));
        let _ = self.flies.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.see(|outlook| outlook.lost(bytes));
    }

    fn heard(&self, dry: bool, in_flight: u64, rate: &dyn Fn() -> Option<u64>) {
        self.flies.store(in_flight, Ordering::Relaxed);
        self.see(|outlook| outlook.heard(dry, rate()));
    }
}

/// Counts a body as underway for as long as it lives.
struct Underway {
    counters: Arc<Sending>,
    bytes: u64,
    late: bool,
    /// Where it is a live one.
    ticket: Option<Ticket>,
}

impl Underway {
    fn new(counters: &Arc<Sending>, bytes: u64) -> Self {
        counters.underway.fetch_add(bytes, Ordering::Relaxed);
        Self { counters: counters.clone(), bytes, late: false, ticket: None }
    }

    /// The frame stands behind fresh ones from now on.
    fn is_late(&mut self) {
        self.late = true;
        self.ticket.take_if(|ticket| !ticket.may_be_given_up());
        self.counters.late.fetch_add(self.bytes, Ordering::Relaxed);
        self.counters.drained.notify_one();
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        // Before others are told that there is room.
        self.ticket = None;
        if self.late {
            self.counters.late.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        self.counters.underway.fetch_sub(self.bytes, Ordering::Relaxed);
        self.counters.drained.notify_one();
    }
}

/// Wakes the connection every few milliseconds while frames are underway, until it has ended, and asks the receiver
/// whether it is there where nothing else would tell.
///
/// After an outage nothing is sent before quinn's probe timeout, which has doubled all along and has
/// no upper bound. The congestion controller would admit a packet or two far sooner, but is asked
/// only when something wakes the connection, and with the window full nothing does.
pub(super) async fn nudge(connection: Connection, counters: Arc<Sending>) {
    let mut tick = tokio::time::interval(settings::NUDGE_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut question = Question::new(0, Instant::now());
    while connection.close_reason().is_none() {
        tick.tick().await;
        let is_awaited = counters.is_answer_awaited();
        ping::ask(&connection, &mut question, is_awaited, counters.flies.load(Ordering::Relaxed));
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
        // From here on, since one that waits for its stream waits for the receiver.
        let mut underway = Underway::new(&counters, frame.body.len() as u64);
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
        let (late, deadline, priority) = (frame.late, frame.deadline, frame.priority);
        let moot = frame.moot.clone();
        let named = (frame.header.source, frame.header.meta.sequence);
        let encoded = if repair.is_some() { known.bytes } else { 0 };
        let outgoing = beside_packets(encoded, || pieces(frame, repair, &counters.repair));
        let length = outgoing.as_ref().map_or(0, Outgoing::len);
        if known.live {
            underway.ticket = Ticket::new(&counters.live, length, priority, deadline);
            // The next one waits until this has been taken.
            counters
                .live
                .forecast()
                .filter(Forecast::has_room)
                .inspect(|_| counters.drained.notify_one());
        }
        let probe = departure.add(now, &path, length);
        // Repair is a probe already, and of a backlog the next frame is.
        let probe = probe.filter(|_| known.live && repair.is_none() && repairing.is_lossy());
        let writing = write_frame(stream, named, outgoing, probe, late, underway, moot);
        let mut writing = Box::pin(writing);
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
/// why, or until it is known not to arrive in time, or another copy of it has arrived.
async fn write_frame(
    mut stream: SendStream,
    named: (SourceId, Sequence),
    outgoing: Option<Outgoing>,
    probe: Option<Instant>,
    late: Option<(Instant, i32)>,
    mut underway: Underway,
    moot: Option<watch::Receiver<()>>,
) -> Option<RefusalCode> {
    let Some(outgoing) = outgoing else {
        let _ = stream.reset(varint(RefusalCode::BadHeader.number()));
        return None;
    };
    let moot = async {
        match moot {
            // Nothing is ever sent: it ends with the other end.
            Some(mut moot) => drop(moot.changed().await),
            None => std::future::pending().await,
        }
    };
    let hopeless = live::hopeless(underway.ticket.as_ref());
    let ended = tokio::select! {
        ended = carry(&mut stream, outgoing, probe, late, &mut underway) => Some(ended),
        () = hopeless => None,
        () = moot => {
            let _ = stream.reset(varint(RefusalCode::NotNeeded.number()));
            return None;
        }
    };
    match ended {
        Some(refused) => refused,
        None => {
            // Nothing more of it leaves. That it was through already is told as ever.
            if stream.reset(varint(RefusalCode::NotNeeded.number())).is_ok() {
                underway.counters.live.given_up.add(named);
            }
            None
        }
    }
}

/// Writes one frame, and waits for what becomes of it.
async fn carry(
    stream: &mut SendStream,
    outgoing: Outgoing,
    probe: Option<Instant>,
    late: Option<(Instant, i32)>,
    underway: &mut Underway,
) -> Option<RefusalCode> {
    let stopped = stream.stopped();
    let written = tokio::select! {
        written = write_all(stream, outgoing, probe) => written.then_some(()),
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
