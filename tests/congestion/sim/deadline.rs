//! Frames with a deadline, as the shipped sender treats them: begun when there is room, the newest first, and given up
//! when they cannot make it. The outlook and the forecast are the real ones.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use framelane::congestion::Onlooker;
use framelane::transport::Forecast;
use framelane::transport::quic::outlook::{FrameId, Outlook};
use quinn_proto::{Connection, StreamId};

use super::link::{MS, Nanos, SEC};

/// As the sender has it.
const TRIED_EVERY: Nanos = 5 * SEC;

/// What a connection's controller tells of its packets.
#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<Outlook>);

impl Shared {
    fn outlook(&self) -> MutexGuard<'_, Outlook> {
        self.0.lock().expect("no panic holds it")
    }
}

impl Onlooker for Shared {
    fn sent(&self, bytes: u64) {
        self.outlook().sent(bytes);
    }
    fn acked(&self, _bytes: u64, after: Duration) {
        self.outlook().acked(after);
    }
    fn lost(&self, bytes: u64) {
        self.outlook().lost(bytes);
    }
    fn heard(&self, dry: bool, _: u64, rate: &dyn Fn() -> Option<u64>) {
        self.outlook().heard(dry, rate());
    }
}

/// A frame that is not begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    /// Its place among all frames.
    pub(crate) record: usize,
    pub(crate) source: usize,
    pub(crate) due: Nanos,
    pub(crate) bytes: usize,
}

/// The frames of one sender.
pub(crate) struct Deadlines {
    deadline: Nanos,
    shared: Arc<Shared>,
    waiting: Vec<Waiting>,
    begun: HashMap<FrameId, (StreamId, usize)>,
    last_begun: HashMap<usize, Nanos>,
    in_vain: bool,
    datagrams: u64,
    heard: Nanos,
}

impl Deadlines {
    pub(crate) fn new(deadline: Nanos, shared: Arc<Shared>) -> Self {
        Self {
            deadline,
            shared,
            waiting: Vec::new(),
            begun: HashMap::new(),
            last_begun: HashMap::new(),
            in_vain: false,
            datagrams: 0,
            heard: 0,
        }
    }

    /// A frame has come about.
    pub(crate) fn add(&mut self, frame: Waiting) {
        self.waiting.push(frame);
    }

    /// A frame was given to a stream, with so many bytes in all.
    pub(crate) fn begin(
        &mut self,
        (now, epoch): (Nanos, Instant),
        frame: &Waiting,
        stream: StreamId,
        bytes: u64,
        priority: i32,
    ) {
        let deadline = Some(epoch + Duration::from_nanos(frame.due + self.deadline));
        let id = self.shared.outlook().begin(bytes, priority, deadline);
        self.begun.insert(id, (stream, frame.record));
        self.last_begun.insert(frame.source, now);
    }

    /// A stream is through, or was stopped.
    pub(crate) fn end(&mut self, stream: StreamId) {
        let found = self.begun.iter().find(|(_, (of, _))| *of == stream).map(|(&id, _)| id);
        if let Some(id) = found {
            self.begun.remove(&id);
            self.in_vain = false;
            self.shared.outlook().end(id);
        }
    }

    /// The streams to reset, with the frames that they carry.
    pub(crate) fn give_up(
        &mut self,
        (now, epoch): (Nanos, Instant),
        rtt: Duration,
    ) -> Vec<(StreamId, usize)> {
        let hopeless = self.shared.outlook().hopeless(epoch + Duration::from_nanos(now), rtt);
        let mut given_up = Vec::new();
        for id in hopeless {
            self.shared.outlook().end(id);
            given_up.extend(self.begun.remove(&id));
            self.in_vain = true;
        }
        given_up
    }

    /// The frame to begin now, where there is one; those that cannot make it are gone.
    pub(crate) fn next(
        &mut self,
        (now, epoch): (Nanos, Instant),
        connection: &Connection,
        virtual_deadline: impl Fn(&Waiting) -> u64,
    ) -> Option<Waiting> {
        let known = self.shared.outlook().forecast();
        let forecast = Forecast { is_busy: known.is_busy || self.in_vain, ..known };
        self.drop_late((now, epoch), forecast, connection.rtt());
        if !forecast.has_room() || self.is_silent(now, connection) {
            return None;
        }
        let newest = |frame: &&Waiting| {
            let of_source = self.waiting.iter().filter(|other| other.source == frame.source);
            of_source.map(|other| other.due).max() == Some(frame.due)
        };
        let next =
            *self.waiting.iter().filter(newest).min_by_key(|frame| virtual_deadline(frame))?;
        self.waiting.retain(|frame| frame.record != next.record);
        Some(next)
    }

    fn drop_late(&mut self, (now, epoch): (Nanos, Instant), forecast: Forecast, rtt: Duration) {
        let instant = |nanos| epoch + Duration::from_nanos(nanos);
        let (last_begun, deadline) = (&self.last_begun, self.deadline);
        self.waiting.retain(|frame| {
            let tries = last_begun.get(&frame.source).is_none_or(|&at| now - at >= TRIED_EVERY);
            let arrival = forecast.arrival(instant(now), frame.bytes as u64, rtt);
            let arrival = arrival.filter(|_| !tries).unwrap_or(instant(now) + forecast.way(rtt));
            arrival <= instant(frame.due + deadline)
        });
    }

    fn is_silent(&mut self, now: Nanos, connection: &Connection) -> bool {
        let datagrams = connection.stats().udp_rx.datagrams;
        if datagrams != self.datagrams || self.begun.is_empty() {
            (self.datagrams, self.heard) = (datagrams, now);
        }
        let patience = 60 * MS + 2 * connection.rtt().as_nanos() as Nanos;
        now - self.heard > patience
    }

    /// When there is something to do though nothing happens.
    pub(crate) fn wake_at(&self, epoch: Instant, rtt: Duration) -> Option<Nanos> {
        let next = self.shared.outlook().next_look(rtt);
        let late = self.waiting.iter().map(|frame| frame.due + self.deadline).min();
        let next = next.map(|at| at.saturating_duration_since(epoch).as_nanos() as Nanos);
        next.into_iter().chain(late).min()
    }
}
