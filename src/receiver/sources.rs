//! The open sources of the store: a thread for each, so that none waits for another's disk.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::frame::{Sequence, SourceName, UnixNanos};
use crate::store::{
    FrameError, Held, Offered, OpenSource, Opener, Outcome, ReceivedFrame, Store, StoreError,
};
use crate::transport::{ArrivedFrame, Claim};
use crate::wire::{Answer, Offer, OfferEntry, RefusalCode, SourceId, Verdict};

/// Sources that one receiver has open at once, each with a thread, its files and its index in memory.
/// Those that no session holds stay open until another needs the room, because reading an index
/// again takes time.
const MAX_OPEN: usize = 256;

/// Frames that are stored together: they share an append to the manifest, and a sync where those
/// are asked for. Few enough that a receipt is not late by more than some milliseconds.
const BATCH_FRAMES: usize = 64;

/// Bytes that are stored together, for the same reason: 8 MiB are some 5 ms of writing to memory.
const BATCH_BYTES: u64 = 8 << 20;

/// The sources of a store, shared by all sessions.
#[derive(Clone)]
pub struct Sources {
    store: Arc<dyn Store>,
    open: Arc<Mutex<Opened>>,
    on_thread_start: Arc<OnThreadStart>,
}

/// The sources that are open, and how often one was asked for.
#[derive(Debug, Default)]
struct Opened {
    sources: HashMap<SourceName, Source>,
    asked: u64,
}

/// An open source.
#[derive(Debug)]
struct Source {
    thread: SourceThread,
    /// Closed when the thread has closed the store. Not the thread's own handle: to drop that just as
    /// the thread ends, as at the end of a run, crashes in glibc 2.36, whose `pthread_detach` looks at
    /// a thread that may be gone.
    gone: std::sync::mpsc::Receiver<Infallible>,
    /// When a session asked for it last, as a count of such questions.
    asked: u64,
}

/// Called on each source's thread when it starts; what it returns is dropped there when it ends.
type OnThreadStart = dyn Fn() -> Box<dyn Send> + Send + Sync;

/// A handle to a source's thread, which goes on at least for as long as a session has one.
pub(super) type SourceThread = mpsc::UnboundedSender<Work>;

/// Why a source is not opened, in words.
#[derive(Debug)]
pub(super) enum Unopened {
    /// Sessions hold as many sources as can be open, which may pass.
    Busy(String),
    /// Its store does not open.
    Store(String),
}

/// Work for a source's thread. Bounded by the memory budget, and by what a session reads ahead.
#[derive(Debug)]
pub(super) enum Work {
    /// Whether another session may use the source.
    Admit {
        opener: Arc<Opener>,
        reply: std::sync::mpsc::Sender<Result<(), StoreError>>,
    },
    Store {
        frame: Box<ArrivedFrame>,
        from: Arc<Opener>,
        replace: bool,
        reply: Reply,
    },
    /// `claim` holds the offer's memory, where it is long, until it is answered.
    LookUp {
        offer: Offer,
        from: Arc<Opener>,
        claim: Claim,
        replace: bool,
        /// Whether anybody waits for the answer: to find it can mean to hash many files.
        listening: Arc<AtomicBool>,
        reply: Reply,
    },
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
    /// The sources of `store`, none of them open yet.
    pub fn new(store: impl Store + 'static) -> Self {
        let on_thread_start = Arc::new(|| Box::new(()) as Box<dyn Send>);
        Self { store: Arc::new(store), open: Arc::default(), on_thread_start }
    }

    /// The same, each source's thread calling `hook` when it starts; what that returns is dropped
    /// on the thread when it ends. For whoever counts what storing costs.
    pub fn on_thread_start(self, hook: impl Fn() -> Box<dyn Send> + Send + Sync + 'static) -> Self {
        Self { on_thread_start: Arc::new(hook), ..self }
    }

    /// Whether frames are on the medium before they are confirmed.
    pub(super) fn is_durable(&self) -> bool {
        self.store.is_durable()
    }

    /// The thread of a source for `opener`, started where it is not running. Blocks on the file system,
    /// where it is running until what it had to do before is done, and, where another source has to be
    /// closed for it, until what that one still has to do is done.
    ///
    /// # Errors
    /// [`Unopened`]. No source that a session holds is touched.
    pub(super) fn open(
        &self,
        name: &SourceName,
        opener: &Arc<Opener>,
    ) -> Result<SourceThread, Unopened> {
        let (thread, is_new) = self.thread(name, opener)?;
        if !is_new {
            admit(&thread, name, opener)?;
        }
        Ok(thread)
    }

    /// The thread, and whether it was started now.
    fn thread(&self, name: &SourceName, opener: &Opener) -> Result<(SourceThread, bool), Unopened> {
        // What is listed is true at every moment, so another thread's panic does not spoil it. The
        // lock is held throughout: nobody can ask for a source that is being closed or opened.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.asked += 1;
        let asked = open.asked;
        if let Some(source) = open.sources.get_mut(name).filter(|source| source.is_alive()) {
            source.asked = asked;
            return Ok((source.thread.clone(), false));
        }
        open.make_room_for(name)?;
        let failed = |error: StoreError| Unopened::Store(error.to_string());
        let store = self.store.open(name, opener).map_err(failed)?;
        let (thread, queue) = mpsc::unbounded_channel();
        let hook = self.on_thread_start.clone();
        let (has_store, gone) = std::sync::mpsc::channel();
        let started = std::thread::Builder::new().name(format!("store {name}")).spawn(move || {
            let until_its_end = hook();
            work(store, queue);
            drop(until_its_end);
            drop(has_store);
        });
        started.map_err(|error| {
            Unopened::Store(format!("cannot start a thread for source {name}: {error}"))
        })?;
        let source = Source { thread: thread.clone(), gone, asked };
        open.sources.insert(name.clone(), source);
        Ok((thread, true))
    }
}

/// Asks an open source whether it may be used by one more.
fn admit(thread: &SourceThread, name: &SourceName, opener: &Arc<Opener>) -> Result<(), Unopened> {
    let (reply, admitted) = std::sync::mpsc::channel();
    let asked = thread.send(Work::Admit { opener: opener.clone(), reply });
    match asked.map_err(|_| ()).and_then(|()| admitted.recv().map_err(|_| ())) {
        Ok(admitted) => admitted.map_err(|error| Unopened::Store(error.to_string())),
        Err(()) => Err(Unopened::Store(format!("the thread of source {name} has failed"))),
    }
}

impl Opened {
    /// Closes what is left of the source, where its thread has failed, and otherwise the idle source
    /// that was asked for the longest ago, where there is no room for one more.
    fn make_room_for(&mut self, name: &SourceName) -> Result<(), Unopened> {
        if let Some(failed) = self.sources.remove(name) {
            failed.close();
        }
        if self.sources.len() < MAX_OPEN {
            return Ok(());
        }
        let idle = self.sources.iter().filter(|(_, source)| source.is_idle());
        let oldest = idle.min_by_key(|(_, source)| source.asked).map(|(name, _)| name.clone());
        match oldest.and_then(|name| self.sources.remove(&name)) {
            Some(source) => source.close(),
            None => {
                return Err(Unopened::Busy(format!(
                    "the receiver has {MAX_OPEN} sources in use, as many as it can; try again when \
                     other senders have ended, or send fewer sources at once"
                )));
            }
        }
        Ok(())
    }
}

impl Source {
    /// False where its thread has failed.
    fn is_alive(&self) -> bool {
        !self.thread.is_closed()
    }

    /// True where no session holds it. That can change only by asking for it.
    fn is_idle(&self) -> bool {
        self.thread.strong_count() == 1 || !self.is_alive()
    }

    /// Waits until it has done what was asked of it, and has given its files and locks back: the next
    /// to open the same source would find it in use otherwise.
    fn close(self) {
        drop(self.thread);
        // An error is what is waited for. A thread that has failed has said so by its panic.
        let _ = self.gone.recv();
    }
}

/// A source's thread: takes whatever waits, stores it as one batch, answers.
fn work(mut store: Box<dyn OpenSource>, mut queue: mpsc::UnboundedReceiver<Work>) {
    let mut batch = Batch::default();
    while let Some(mut next) = queue.blocking_recv() {
        loop {
            match next {
                Work::Admit { opener, reply } => {
                    let _ = reply.send(store.admit(&opener));
                }
                Work::Store { frame, from, replace, reply } => {
                    batch.push(*frame, from, replace, reply);
                }
                Work::LookUp { offer, from, claim, replace, listening, reply } => {
                    // Offers are answered as of the frames before them.
                    batch.store(&mut *store);
                    look_up(&mut *store, &offer, &from, replace, &listening, &reply);
                    drop(claim);
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
        batch.store(&mut *store);
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
    fn push(&mut self, arrived: ArrivedFrame, from: Arc<Opener>, replace: bool, reply: Reply) {
        let ArrivedFrame { source, frame, received, repaired, claim } = arrived;
        self.bytes += frame.meta.bytes;
        self.frames.push(ReceivedFrame { frame, from, received, replace });
        self.origins.push(Origin { source, repaired, reply, _claim: claim });
    }

    fn is_full(&self) -> bool {
        self.frames.len() >= BATCH_FRAMES || self.bytes >= BATCH_BYTES
    }

    fn store(&mut self, store: &mut dyn OpenSource) {
        if self.frames.is_empty() {
            return;
        }
        let outcomes = store.store(&self.frames);
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

fn look_up(
    store: &mut dyn OpenSource,
    offer: &Offer,
    from: &Opener,
    replace: bool,
    listening: &AtomicBool,
    reply: &Reply,
) {
    let offered: Vec<_> = offer.entries.iter().map(offered).collect();
    let listens = || !reply.is_closed() && listening.load(Ordering::Relaxed);
    let held = store.look_up(from, &offered, &listens);
    if held.len() < offered.len() {
        return;
    }
    let verdicts: Vec<_> = held.into_iter().map(|held| verdict(held, replace)).collect();
    let stored = verdicts.iter().filter(|&&verdict| verdict == Verdict::Stored).count() as u64;
    let answer = Answer::new(offer.source, verdicts);
    let _ = reply.send(Done::Answered { answer, stored });
}

fn offered(entry: &OfferEntry) -> Offered<'_> {
    Offered {
        sequence: entry.sequence,
        name: &entry.name,
        bytes: entry.bytes,
        modified: entry.modified,
        hash: entry.hash,
    }
}

/// Whether a frame on offer has to be sent.
fn verdict(held: Held, replace: bool) -> Verdict {
    match held {
        Held::Nothing => Verdict::Wanted,
        Held::Same => Verdict::Stored,
        Held::NeedsHash => Verdict::NeedHash,
        Held::Other if replace => Verdict::Wanted,
        Held::Other => Verdict::Differs,
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
        f.debug_struct("Sources").field("store", &self.store).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
