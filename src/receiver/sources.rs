//! The open sources of the store: a thread for each, so that none waits for another's disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use crate::frame::{Sequence, SourceName, UnixNanos};
use crate::sink::{FolderSink, FrameError, Outcome, ReceivedFrame, SinkError, SourceStore};
use crate::transport::{ArrivedFrame, Claim};
use crate::wire::{Answer, Offer, OfferEntry, RefusalCode, SourceId, Verdict};

/// Sources that one receiver has open at once, each with a thread and its index in memory.
const MAX_OPEN: usize = 256;

/// Frames that are stored together: they share an append to the manifest, and a sync where those
/// are asked for. Few enough that a receipt is not late by more than some milliseconds.
const BATCH_FRAMES: usize = 64;

/// Bytes that are stored together, for the same reason: 8 MiB are some 5 ms of writing to memory.
const BATCH_BYTES: u64 = 8 << 20;

/// The sources of a store, shared by all sessions.
#[derive(Clone)]
pub struct Sources {
    sink: Arc<FolderSink>,
    open: Arc<Mutex<HashMap<SourceName, SourceThread>>>,
    on_thread_start: Arc<OnThreadStart>,
}

/// Called on each source's thread when it starts; what it returns is dropped there when it ends.
type OnThreadStart = dyn Fn() -> Box<dyn Send> + Send + Sync;

/// A handle to a source's thread.
pub(super) type SourceThread = mpsc::UnboundedSender<Work>;

/// Work for a source's thread. Bounded by the memory budget (frames) and by what a session reads
/// ahead (offers).
#[derive(Debug)]
pub(super) enum Work {
    Store { frame: Box<ArrivedFrame>, replace: bool, reply: Reply },
    LookUp { offer: Offer, replace: bool, reply: Reply },
}

/// Where a session hears of its work.
pub(super) type Reply = mpsc::UnboundedSender<Done>;

/// What came of a session's work.
#[derive(Debug)]
pub(super) enum Done {
    Stored { source: SourceId, at: UnixNanos, frames: Vec<Settled> },
    Answered { answer: Answer, stored: u64 },
}

/// What became of one frame.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) sequence: Sequence,
    pub(super) bytes: u64,
    pub(super) repaired: bool,
    pub(super) outcome: Outcome,
}

impl Sources {
    /// The sources of `sink`, none of them open yet.
    pub fn new(sink: FolderSink) -> Self {
        let on_thread_start = Arc::new(|| Box::new(()) as Box<dyn Send>);
        Self { sink: Arc::new(sink), open: Arc::default(), on_thread_start }
    }

    /// The same, each source's thread calling `hook` when it starts; what that returns is dropped
    /// on the thread when it ends. For whoever counts what storing costs.
    pub fn on_thread_start(self, hook: impl Fn() -> Box<dyn Send> + Send + Sync + 'static) -> Self {
        Self { on_thread_start: Arc::new(hook), ..self }
    }

    /// Whether frames are on the medium before they are confirmed.
    pub(super) fn is_durable(&self) -> bool {
        self.sink.is_durable()
    }

    /// The thread of a source, started where it is not running. Blocks on the file system.
    pub(super) fn open(&self, name: &SourceName) -> Result<SourceThread, String> {
        let mut open = self.open.lock().map_err(|_| "a source's thread has failed".to_owned())?;
        if let Some(thread) = open.get(name).filter(|thread| !thread.is_closed()) {
            return Ok(thread.clone());
        }
        if open.len() >= MAX_OPEN {
            return Err(format!("the receiver has {MAX_OPEN} sources open, as many as it can"));
        }
        let store = self.sink.source(name).map_err(|error: SinkError| error.to_string())?;
        let (thread, queue) = mpsc::unbounded_channel();
        let hook = self.on_thread_start.clone();
        let started = std::thread::Builder::new().name(format!("store {name}")).spawn(move || {
            let _until_its_end = hook();
            work(store, queue);
        });
        started.map_err(|error| format!("cannot start a thread for source {name}: {error}"))?;
        open.insert(name.clone(), thread.clone());
        Ok(thread)
    }
}

/// A source's thread: takes whatever waits, stores it as one batch, answers.
fn work(mut store: SourceStore, mut queue: mpsc::UnboundedReceiver<Work>) {
    let mut batch = Batch::default();
    while let Some(mut next) = queue.blocking_recv() {
        loop {
            match next {
                Work::Store { frame, replace, reply } => batch.push(*frame, replace, reply),
                Work::LookUp { offer, replace, reply } => {
                    // Offers are answered as of the frames before them.
                    batch.store(&mut store);
                    look_up(&mut store, offer, replace, &reply);
                }
            }
            if batch.is_full() {
                break;
            }
            match queue.try_recv() {
                Ok(work) => next = work,
                Err(_) => break,
            }
        }
        batch.store(&mut store);
    }
}

/// Frames that are about to be stored together.
#[derive(Default)]
struct Batch {
    frames: Vec<ReceivedFrame>,
    origins: Vec<Origin>,
    bytes: u64,
}

struct Origin {
    source: SourceId,
    repaired: bool,
    reply: Reply,
    /// Gives the body's memory back when the frame is stored.
    _claim: Claim,
}

impl Batch {
    fn push(&mut self, arrived: ArrivedFrame, replace: bool, reply: Reply) {
        let ArrivedFrame { source, frame, received, repaired, claim } = arrived;
        self.bytes += frame.meta.bytes;
        self.frames.push(ReceivedFrame { frame, received, replace });
        self.origins.push(Origin { source, repaired, reply, _claim: claim });
    }

    fn is_full(&self) -> bool {
        self.frames.len() >= BATCH_FRAMES || self.bytes >= BATCH_BYTES
    }

    fn store(&mut self, store: &mut SourceStore) {
        if self.frames.is_empty() {
            return;
        }
        let outcomes = store.store_batch(&self.frames);
        let at = UnixNanos::now();
        let settled = self.frames.drain(..).zip(outcomes).map(|(received, outcome)| Settled {
            sequence: received.frame.meta.sequence,
            bytes: received.frame.meta.bytes,
            repaired: false,
            outcome,
        });
        report(settled.zip(self.origins.drain(..)), at);
        self.bytes = 0;
    }
}

/// Tells each session of its frames; neighbours of one session share a message.
fn report(settled: impl Iterator<Item = (Settled, Origin)>, at: UnixNanos) {
    let mut run: Option<(Reply, SourceId, Vec<Settled>)> = None;
    for (mut settled, origin) in settled {
        settled.repaired = origin.repaired;
        match &mut run {
            Some((reply, source, frames))
                if reply.same_channel(&origin.reply) && *source == origin.source =>
            {
                frames.push(settled);
            }
            _ => {
                send_run(run.take(), at);
                run = Some((origin.reply, origin.source, vec![settled]));
            }
        }
    }
    send_run(run, at);
}

fn send_run(run: Option<(Reply, SourceId, Vec<Settled>)>, at: UnixNanos) {
    if let Some((reply, source, frames)) = run {
        // A session that is gone will ask again when it comes back.
        let _ = reply.send(Done::Stored { source, at, frames });
    }
}

fn look_up(store: &mut SourceStore, offer: Offer, replace: bool, reply: &Reply) {
    let verdicts: Vec<Verdict> =
        offer.entries.iter().map(|entry| verdict(store, entry, replace)).collect();
    let stored = verdicts.iter().filter(|&&verdict| verdict == Verdict::Stored).count() as u64;
    let answer = Answer::new(offer.source, verdicts);
    let _ = reply.send(Done::Answered { answer, stored });
}

/// Whether a frame on offer has to be sent. Equal length and modification time are taken for equal
/// content, as rsync does; a sender that wants more offers the hash.
fn verdict(store: &mut SourceStore, entry: &OfferEntry, replace: bool) -> Verdict {
    let stored = match store.lookup(&entry.name) {
        Ok(Some(stored)) => stored,
        Ok(None) => return Verdict::Wanted,
        Err(error) => {
            tracing::warn!("cannot look up a frame on offer: {error}");
            return Verdict::Wanted;
        }
    };
    let differs = if replace { Verdict::Wanted } else { Verdict::Differs };
    if stored.bytes != entry.bytes {
        return differs;
    }
    match entry.hash {
        Some(hash) if hash == stored.hash => Verdict::Stored,
        Some(_) => differs,
        None if entry.modified.is_some() && entry.modified == stored.modified => Verdict::Stored,
        None => Verdict::NeedHash,
    }
}

/// The code by which a sender is told why a frame is not stored.
pub(super) fn refusal_code(error: &FrameError) -> RefusalCode {
    match error {
        FrameError::Conflict { .. } | FrameError::NotAFile { .. } => RefusalCode::Conflict,
        FrameError::HashMismatch { .. } => RefusalCode::HashMismatch,
        FrameError::LengthMismatch { .. } => RefusalCode::LengthMismatch,
        FrameError::NoSpace { .. } => RefusalCode::NoSpace,
        FrameError::Io { .. } => RefusalCode::StoreFailed,
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("sink", &self.sink).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;
    use crate::sink::StoreOptions;

    /// Tells on which thread it was dropped.
    struct Told(std::sync::mpsc::Sender<Option<String>>);

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().name().map(str::to_owned));
        }
    }

    #[test]
    fn a_sources_thread_is_told_of_from_its_start_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let sink = FolderSink::open(folder.path(), StoreOptions::default()).unwrap();
        let (tell, told) = channel();
        let sources = Sources::new(sink).on_thread_start(move || {
            let here = thread::current().name().map(str::to_owned);
            let _ = tell.send(here);
            Box::new(Told(tell.clone()))
        });
        let source = sources.open(&SourceName::parse("visible").unwrap()).unwrap();
        assert_eq!(told.recv().unwrap().as_deref(), Some("store visible"));
        drop((source, sources));
        assert_eq!(told.recv().unwrap().as_deref(), Some("store visible"));
    }
}
