//! What an application at either end does: bulk, or frames at their due times.

use std::collections::HashMap;

use bytes::Bytes;
use quinn_proto::{Connection, Dir, Event, StreamEvent, StreamId};

use super::link::Nanos;
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
}

/// The sending application.
pub(crate) struct Sender {
    load: Load,
    connected: bool,
    stream: Option<StreamId>,
    next: Vec<u64>,
    unsent: Vec<(StreamId, usize)>,
    pub(crate) frames: Vec<FrameRecord>,
    by_stream: HashMap<StreamId, usize>,
    payload: Bytes,
    /// Whether the newest frame is served first; otherwise the oldest.
    pub(crate) newest_first: bool,
    start: Nanos,
    stop: Nanos,
}

impl Sender {
    pub(crate) fn new(load: Load, start: Nanos, stop: Nanos) -> Self {
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
            by_stream: HashMap::new(),
            payload: Bytes::from(vec![7u8; 1 << 20]),
            newest_first: false,
            start,
            stop,
        }
    }

    /// When the next frame is due.
    pub(crate) fn wake_at(&self) -> Option<Nanos> {
        let Load::Frames(sources) = &self.load else { return None };
        let due = (0..sources.len()).map(|source| self.due(sources, source)).min()?;
        (due < self.stop).then_some(due)
    }

    fn due(&self, sources: &[FrameSource], source: usize) -> Nanos {
        let nth = self.next[source] as f64;
        self.start + (nth / sources[source].per_second * 1e9) as Nanos
    }

    /// Writes what is due and what fits.
    pub(crate) fn drive(&mut self, now: Nanos, peer: &mut Peer) {
        while let Some(event) = peer.poll() {
            if let Event::Connected = event {
                self.connected = true;
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
                    self.write_frames(now, &sources, connection);
                }
            }
        }
    }

    fn write_bulk(&mut self, connection: &mut Connection) {
        if self.stream.is_none() {
            self.stream = connection.streams().open(Dir::Uni);
        }
        let Some(id) = self.stream else { return };
        while connection.send_stream(id).write_chunks(&mut [self.payload.clone()]).is_ok() {}
    }

    fn write_frames(&mut self, now: Nanos, sources: &[FrameSource], connection: &mut Connection) {
        for (source, spec) in sources.iter().enumerate() {
            while self.due(sources, source) <= now && self.due(sources, source) < self.stop {
                let due = self.due(sources, source);
                if spec.pauses.iter().any(|(from, to)| (*from..*to).contains(&due)) {
                    self.next[source] += 1;
                    continue;
                }
                let Some(id) = connection.streams().open(Dir::Uni) else { break };
                let age = (due / 1_000_000) as i32 * 8 + source as i32;
                let priority = if self.newest_first { age } else { -age };
                connection
                    .send_stream(id)
                    .set_priority(priority)
                    .expect("the stream was just opened");
                self.by_stream.insert(id, self.frames.len());
                let bytes = spec.bytes;
                self.frames.push(FrameRecord { source, due, delivered: None });
                self.unsent.push((id, bytes));
                self.next[source] += 1;
            }
        }
        let payload = &self.payload;
        self.unsent.retain_mut(|(id, left)| {
            while *left > 0 {
                let chunk = payload.slice(..(*left).min(payload.len()));
                match connection.send_stream(*id).write_chunks(&mut [chunk]) {
                    Ok(written) => *left -= written.bytes,
                    Err(_) => return true,
                }
            }
            connection.send_stream(*id).finish().expect("nobody stops a stream here");
            false
        });
    }

    /// The receiver has all of `stream`.
    pub(crate) fn note_delivered(&mut self, stream: StreamId, now: Nanos) {
        if let Some(index) = self.by_stream.remove(&stream) {
            self.frames[index].delivered = Some(now);
        }
    }
}

/// The receiving application: reads everything at once, in whatever order it comes.
#[derive(Default)]
pub(crate) struct Receiver {
    /// Bytes read in each tenth of a second.
    pub(crate) read: Vec<u64>,
}

impl Receiver {
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
        let mut complete = Vec::new();
        for id in readable {
            let mut stream = connection.recv_stream(id);
            let Ok(mut chunks) = stream.read(false) else { continue };
            loop {
                match chunks.next(usize::MAX) {
                    Ok(Some(chunk)) => self.count(now, chunk.bytes.len() as u64),
                    Ok(None) => {
                        complete.push(id);
                        break;
                    }
                    Err(_) => break,
                }
            }
            let _ = chunks.finalize();
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
