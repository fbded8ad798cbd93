//! What an application at either end does: bulk, or frames at their due times.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use framelane::repair::RepairMode;
use framelane::transport::quic::departure::Departure;
use framelane::transport::quic::repairing::{self, Repairing};
use quinn_proto::{Connection, Dir, Event, StreamEvent, StreamId, VarInt};

use super::deadline::{Deadlines, Waiting};
use super::frame::{self, Arriving};
use super::link::{MS, Nanos};
use super::peer::Peer;

/// What a flow sends.
#[derive(Debug, Clone)]
pub(crate) enum Load {
    /// As much as fits, from the start on.
    Bulk,
    /// A stream for every frame.
    Frames(Vec<FrameSource>),
}

/// Frames of one size at a fixed rate.
#[derive(Debug, Clone)]
pub(crate) struct FrameSource {
    pub(crate) bytes: usize,
    pub(crate) per_second: f64,
    /// Due times at which nothing is produced, `[from, to)`.
    pub(crate) pauses: Vec<(Nanos, Nanos)>,
}

impl FrameSource {
    /// A source without pauses.
    pub(crate) fn steady(bytes: usize, per_second: f64) -> Self {
        Self { bytes, per_second, pauses: Vec::new() }
    }
}

/// A frame that was due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameRecord {
    pub(crate) source: usize,
    pub(crate) due: Nanos,
    /// When its last byte was read at the other end.
    pub(crate) delivered: Option<Nanos>,
    /// When it was begun.
    pub(crate) begun: Option<Nanos>,
    /// When it was reset, where it was.
    pub(crate) given_up: Option<Nanos>,
}

/// A frame of which something is still to be written.
struct Unsent {
    id: StreamId,
    /// What is left, and when it may be written at the soonest.
    left: VecDeque<(Nanos, Bytes)>,
    /// When the stream may end.
    ends: Nanos,
}

/// The sending application.
pub(crate) struct Sender {
    load: Load,
    connected: bool,
    stream: Option<StreamId>,
    next: Vec<u64>,
    unsent: Vec<Unsent>,
    pub(crate) frames: Vec<FrameRecord>,
    /// Bytes of repair.
    pub(crate) repair: u64,
    by_stream: HashMap<StreamId, usize>,
    payload: Bytes,
    /// Whether the newest frame is served first; otherwise the oldest.
    pub(crate) newest_first: bool,
    /// Repair, probes and priorities as they are shipped, where frames have repair.
    mode: Option<RepairMode>,
    shipped: Option<(Repairing, Departure)>,
    /// Where frames have a deadline.
    pub(crate) deadlines: Option<Deadlines>,
    start: Nanos,
    stop: Nanos,
}

impl Sender {
    pub(crate) fn new(load: Load, mode: Option<RepairMode>, start: Nanos, stop: Nanos) -> Self {
        let sources = match &load {
            Load::Bulk => 0,
            Load::Frames(sources) => sources.len(),
        };
        Self {
            load,
            connected: false,
            stream: None,
            next: vec![0; sources],
            unsent: Vec::new(),
            frames: Vec::new(),
            repair: 0,
            by_stream: HashMap::new(),
            payload: Bytes::from(vec![7u8; 1 << 20]),
            newest_first: false,
            mode,
            shipped: None,
            deadlines: None,
            start,
            stop,
        }
    }

    /// When there is something to do next.
    pub(crate) fn wake_at(&self, now: Nanos, epoch: Instant, rtt: Duration) -> Option<Nanos> {
        let Load::Frames(sources) = &self.load else { return None };
        let deadlines = self.deadlines.as_ref().and_then(|these| these.wake_at(epoch, rtt));
        // A look that is due already was just had.
        let deadlines = deadlines.map(|at| at.max(now + MS));
        let due = (0..sources.len()).map(|source| self.due(sources, source)).min();
        let due = due.filter(|due| *due < self.stop);
        let paused = self.unsent.iter().map(|unsent| match unsent.left.front() {
            Some((at, _)) => *at,
            None => unsent.ends,
        });
        paused.chain(due).chain(deadlines).filter(|at| *at > now).min()
    }

    fn due(&self, sources: &[FrameSource], source: usize) -> Nanos {
        let nth = self.next[source] as f64;
        self.start + (nth / sources[source].per_second * 1e9) as Nanos
    }

    /// Writes what is due and what fits.
    pub(crate) fn drive(&mut self, now: Nanos, epoch: Instant, peer: &mut Peer) {
        while let Some(event) = peer.poll() {
            match event {
                Event::Connected => self.connected = true,
                Event::Stream(StreamEvent::Stopped { id, error_code }) => {
                    let Some(connection) = &mut peer.connection else { continue };
                    let _ = connection.send_stream(id).reset(error_code);
                    self.unsent.retain(|unsent| unsent.id != id);
                    self.ended(id);
                }
                Event::Stream(StreamEvent::Finished { id }) => self.ended(id),
                _ => {}
            }
        }
        let connected = self.connected;
        let Some(connection) = &mut peer.connection else { return };
        match self.load.clone() {
            Load::Bulk => {
                if connected && now >= self.start && now < self.stop {
                    self.write_bulk(connection);
                }
            }
            Load::Frames(sources) => {
                if connected {
                    self.write_frames(now, epoch, &sources, connection);
                    self.begin_frames(now, epoch, connection);
                    self.unsent.retain_mut(|unsent| !unsent.write(now, connection));
                }
            }
        }
    }

    fn ended(&mut self, id: StreamId) {
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.end(id);
        }
    }

    fn write_bulk(&mut self, connection: &mut Connection) {
        if self.stream.is_none() {
            self.stream = connection.streams().open(Dir::Uni);
        }
        let Some(id) = self.stream else { return };
        while connection.send_stream(id).write_chunks(&mut [self.payload.clone()]).is_ok() {}
    }

    fn write_frames(
        &mut self,
        now: Nanos,
        epoch: Instant,
        sources: &[FrameSource],
        connection: &mut Connection,
    ) {
        let mut due: Vec<(usize, Nanos)> = Vec::new();
        for (source, spec) in sources.iter().enumerate() {
            while self.due(sources, source) <= now && self.due(sources, source) < self.stop {
                let at = self.due(sources, source);
                self.next[source] += 1;
                if !spec.pauses.iter().any(|(from, to)| (*from..*to).contains(&at)) {
                    due.push((source, at));
                }
            }
        }
        if self.mode.is_some() {
            due.sort_by_key(|&(source, at)| virtual_deadline(at, sources[source].bytes));
        }
        if let Some(deadlines) = &mut self.deadlines {
            for (source, due) in due {
                let record = self.frames.len();
                let bytes = sources[source].bytes;
                self.frames.push(FrameRecord {
                    source,
                    due,
                    delivered: None,
                    begun: None,
                    given_up: None,
                });
                deadlines.add(Waiting { record, source, due, bytes });
            }
            return;
        }
        for (source, at) in due {
            let Some(id) = connection.streams().open(Dir::Uni) else {
                self.next[source] -= 1;
                continue;
            };
            let bytes = sources[source].bytes;
            let age = (at / 1_000_000) as i32 * 8 + source as i32;
            let priority = match (self.mode, self.newest_first) {
                (Some(_), _) => -((virtual_deadline(at, bytes) / 10) as i32),
                (None, true) => age,
                (None, false) => -age,
            };
            connection.send_stream(id).set_priority(priority).expect("the stream was just opened");
            self.by_stream.insert(id, self.frames.len());
            let begun = Some(now);
            self.frames.push(FrameRecord {
                source,
                due: at,
                delivered: None,
                begun,
                given_up: None,
            });
            let (unsent, _) = self.unsent_frame(id, now, epoch, bytes, connection);
            self.unsent.push(unsent);
        }
    }

    /// Begins and resets frames that have a deadline.
    fn begin_frames(&mut self, now: Nanos, epoch: Instant, connection: &mut Connection) {
        let Some(mut deadlines) = self.deadlines.take() else { return };
        let time = (now, epoch);
        for (id, record) in deadlines.give_up(time, connection.rtt()) {
            if connection.send_stream(id).reset(VarInt::from_u32(0x18)).is_ok() {
                self.frames[record].given_up = Some(now);
            }
            self.unsent.retain(|unsent| unsent.id != id);
        }
        let urgency = |frame: &Waiting| virtual_deadline(frame.due, frame.bytes);
        while let Some(frame) = deadlines.next(time, connection, urgency) {
            let Some(id) = connection.streams().open(Dir::Uni) else { break };
            let priority = -((urgency(&frame) / 10) as i32);
            connection.send_stream(id).set_priority(priority).expect("the stream was just opened");
            self.by_stream.insert(id, frame.record);
            self.frames[frame.record].begun = Some(now);
            let (unsent, bytes) = self.unsent_frame(id, now, epoch, frame.bytes, connection);
            self.unsent.push(unsent);
            deadlines.begin(time, &frame, id, bytes, priority);
        }
        self.deadlines = Some(deadlines);
    }

    fn unsent_frame(
        &mut self,
        id: StreamId,
        now: Nanos,
        epoch: Instant,
        bytes: usize,
        connection: &mut Connection,
    ) -> (Unsent, u64) {
        let body = self.payload.slice(..bytes.min(self.payload.len()));
        let Some(mode) = self.mode else {
            let unsent = Unsent { id, left: [(now, body)].into(), ends: now };
            return (unsent, bytes as u64);
        };
        let instant = epoch + Duration::from_nanos(now);
        let path = connection.stats().path;
        let shipped = self
            .shipped
            .get_or_insert_with(|| (Repairing::new(mode, instant), Departure::new(instant)));
        let known =
            repairing::Frame { bytes: bytes as u64, live: true, deadline: None, backlog: false };
        let controller = || connection.congestion_state().clone_box();
        let repair = shipped.0.plan(instant, &path, known, controller);
        let (first, behind) = frame::pieces(&body, repair.as_ref());
        let all: usize = first.iter().chain(&behind).map(Bytes::len).sum();
        self.repair += repair.map_or(0, |repair| repair.cost() as u64);
        let probe = shipped.1.add(instant, &path, all as u64);
        let probe = probe.filter(|_| repair.is_none() && shipped.0.is_lossy());
        let nanos = |at: Instant| at.saturating_duration_since(epoch).as_nanos() as Nanos;
        let mut left: VecDeque<_> = first.into_iter().map(|piece| (now, piece)).collect();
        let mut at = now;
        for part in behind {
            // tokio's timers end at whole milliseconds, and never early.
            let pause = repair.and_then(|repair| repair.pause).unwrap_or_default();
            at = (at + pause.as_nanos() as Nanos + MS / 2).next_multiple_of(MS);
            left.push_back((at, part));
        }
        let ends = probe.map_or(now, |at| nanos(at).next_multiple_of(MS));
        (Unsent { id, left, ends }, all as u64)
    }

    /// The receiver has all of `stream`.
    pub(crate) fn note_delivered(&mut self, stream: StreamId, now: Nanos) {
        if let Some(index) = self.by_stream.remove(&stream) {
            self.frames[index].delivered = Some(now);
        }
    }
}

/// When a frame should be there, by which frames compete, in microseconds: see the sender's schedule.
fn virtual_deadline(due: Nanos, bytes: usize) -> u64 {
    due / 1_000 + bytes as u64 / 16
}

impl Unsent {
    /// Writes what it can; true when all of it is written and ended.
    fn write(&mut self, now: Nanos, connection: &mut Connection) -> bool {
        while let Some((at, piece)) = self.left.front_mut() {
            if *at > now {
                return false;
            }
            let mut chunk = [piece.clone()];
            match connection.send_stream(self.id).write_chunks(&mut chunk) {
                Ok(written) if written.bytes == piece.len() => {
                    self.left.pop_front();
                }
                Ok(written) => *piece = piece.slice(written.bytes..),
                Err(_) => return false,
            }
        }
        if self.ends > now {
            return false;
        }
        // A stream that was stopped has nothing more to say.
        let _ = connection.send_stream(self.id).finish();
        true
    }
}

/// The receiving application: reads everything at once, in whatever order it comes.
#[derive(Default)]
pub(crate) struct Receiver {
    /// Bytes read in each tenth of a second.
    pub(crate) read: Vec<u64>,
    /// Whether streams are those of frames, with repair.
    repaired: bool,
    arriving: HashMap<StreamId, Arriving>,
    there: HashSet<StreamId>,
}

impl Receiver {
    pub(crate) fn new(repaired: bool) -> Self {
        Self { repaired, ..Self::default() }
    }

    /// Reads; returns the streams that are complete.
    pub(crate) fn drive(&mut self, now: Nanos, peer: &mut Peer) -> Vec<StreamId> {
        let mut readable = Vec::new();
        while let Some(event) = peer.poll() {
            let Event::Stream(event) = event else { continue };
            match event {
                StreamEvent::Opened { dir } => {
                    let Some(connection) = &mut peer.connection else { continue };
                    while let Some(id) = connection.streams().accept(dir) {
                        readable.push(id);
                    }
                }
                StreamEvent::Readable { id } => readable.push(id),
                _ => {}
            }
        }
        let Some(connection) = &mut peer.connection else { return Vec::new() };
        readable.into_iter().filter(|id| self.read_stream(now, *id, connection)).collect()
    }

    /// Whether what was to come over the stream is there now, and was not before.
    fn read_stream(&mut self, now: Nanos, id: StreamId, connection: &mut Connection) -> bool {
        let mut complete = false;
        let mut rest = false;
        let mut stream = connection.recv_stream(id);
        let Ok(mut chunks) = stream.read(false) else { return false };
        loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => {
                    self.count(now, chunk.bytes.len() as u64);
                    if self.repaired && !self.there.contains(&id) {
                        let arriving = self.arriving.entry(id).or_insert_with(Arriving::new);
                        if let Some((arrival, more)) = arriving.take(chunk.offset, &chunk.bytes) {
                            assert!(arrival.body.iter().all(|byte| *byte == 7), "a wrong body");
                            self.arriving.remove(&id);
                            self.there.insert(id);
                            (complete, rest) = (true, more);
                        }
                    }
                }
                Ok(None) => {
                    complete |= !self.repaired;
                    break;
                }
                Err(_) => break,
            }
        }
        let _ = chunks.finalize();
        if rest {
            let _ = connection.recv_stream(id).stop(VarInt::from_u32(0x18));
        }
        complete
    }

    fn count(&mut self, now: Nanos, bytes: u64) {
        let bin = (now / 100_000_000) as usize;
        if self.read.len() <= bin {
            self.read.resize(bin + 1, 0);
        }
        self.read[bin] += bytes;
    }
}
