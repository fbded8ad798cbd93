//! What a source's thread does: it stores what waits as one batch, answers offers, and says what came of
//! each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::hashing::{Hashing, Job};
use crate::frame::{Sequence, UnixNanos};
use crate::store::{
    FrameError, Held, Offered, OpenSource, Opener, Outcome, Reading, ReceivedFrame, StoreError,
};
use crate::transport::{Account, ArrivedFrame, Claim};
use crate::wire::{Answer, Offer, OfferEntry, RefusalCode, SourceId, Verdict};

/// Frames that are stored together: they share an append to the manifest, and a sync where those
/// are asked for. Few enough that a receipt is not late by more than some milliseconds.
const BATCH_FRAMES: usize = 64;

/// Bytes that are stored together, for the same reason: 8 MiB are some 5 ms of writing to memory.
const BATCH_BYTES: u64 = 8 << 20;

/// A handle to a source's thread, which goes on at least for as long as a session has one.
pub(super) type SourceThread = mpsc::UnboundedSender<Work>;

/// Work for a source's thread. Bounded by the memory budget, and by what a session reads ahead.
#[derive(Debug)]
pub(super) enum Work {
    /// Whether a session may use the source, and if so what it needs to know.
    Admit { opener: Arc<Opener>, reply: oneshot::Sender<Result<Admitted, StoreError>> },
    /// A frame to be stored.
    Store { frame: Box<ArrivedFrame>, from: Arc<Opener>, replace: bool, ticket: Ticket },
    /// An offer to be answered.
    LookUp(Box<Question>),
    /// What was read of a stored file since an offer asked for it.
    Read(Reading),
}

/// What a session is told of a source that it may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admitted {
    /// The highest sequence that the source knows of.
    pub(super) last: Option<Sequence>,
}

/// An offer, and who waits for its answer.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) offer: Offer,
    pub(super) from: Arc<Opener>,
    /// Holds the offer's memory, where it is long, until it is answered.
    pub(super) claim: Claim,
    pub(super) replace: bool,
    /// Whether anybody waits for the answer: to find it can mean to hash many files.
    pub(super) listening: Arc<AtomicBool>,
    pub(super) ticket: Ticket,
    /// True once the files that it asks about were read: what is still not known then has changed since, and
    /// is read by the source's own thread.
    pub(super) was_read: bool,
}

/// Where a session hears of its work.
pub(super) type Reply = mpsc::UnboundedSender<Done>;

/// What came of a session's work.
#[derive(Debug)]
pub(super) enum Done {
    Stored {
        source: SourceId,
        at: UnixNanos,
        frames: Vec<Settled>,
    },
    Answered {
        answer: Answer,
        stored: u64,
    },
    /// The source's thread has failed, and with it the work.
    Failed(Task),
}

/// What one piece of work was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Frame,
    Offer,
}

/// What became of one frame.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) sequence: Sequence,
    pub(super) bytes: u64,
    pub(super) repaired: bool,
    pub(super) outcome: Outcome,
}

/// Stands for one piece of work. Where it is dropped before that is done, the session hears so: nobody waits
/// for a thread that has failed.
#[derive(Debug)]
pub(super) struct Ticket {
    reply: Reply,
    task: Task,
    done: bool,
}

impl Ticket {
    pub(super) fn new(reply: &Reply, task: Task) -> Self {
        Self { reply: reply.clone(), task, done: false }
    }

    /// The work is done, which is told elsewhere.
    fn done(mut self) -> Reply {
        self.done = true;
        self.reply.clone()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.done {
            // A session that is gone does not wait.
            let _ = self.reply.send(Done::Failed(self.task));
        }
    }
}

/// Does what is asked of an open source, until nobody can ask any more. `again` asks the same source.
pub(super) fn work(
    mut store: Box<dyn OpenSource>,
    mut queue: mpsc::UnboundedReceiver<Work>,
    again: &mpsc::WeakUnboundedSender<Work>,
    hashing: &Hashing,
) {
    let mut batch = Batch::default();
    while let Some(mut next) = queue.blocking_recv() {
        loop {
            match next {
                Work::Admit { opener, reply } => {
                    let admitted = store.admit(&opener);
                    let admitted = admitted.map(|()| Admitted { last: store.last_sequence() });
                    let _ = reply.send(admitted);
                }
                Work::Store { frame, from, replace, ticket } => {
                    batch.push(*frame, from, replace, ticket);
                }
                Work::LookUp(question) => {
                    // Offers are answered as of the frames before them.
                    batch.store(&mut *store);
                    question.answer(&mut *store, again, hashing);
                }
                Work::Read(reading) => store.has_read(reading),
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
    ticket: Ticket,
    /// Gives the body's memory back when the frame is stored.
    _claim: Claim,
}

impl Batch {
    fn push(&mut self, arrived: ArrivedFrame, from: Arc<Opener>, replace: bool, ticket: Ticket) {
        let ArrivedFrame { source, frame, received, repaired, claim } = arrived;
        self.bytes += frame.meta.bytes;
        self.frames.push(ReceivedFrame { frame, from, received, replace });
        self.origins.push(Origin { source, repaired, ticket, _claim: claim });
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
        let told = origin.ticket.done();
        match &mut run {
            Some((reply, source, frames))
                if reply.same_channel(&told) && *source == origin.source =>
            {
                frames.push(settled);
            }
            _ => {
                send_run(run.take(), at);
                run = Some((told, origin.source, vec![settled]));
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

impl Question {
    /// True while somebody waits for the answer.
    pub(super) fn is_heard(&self) -> bool {
        !self.ticket.reply.is_closed() && self.listening.load(Ordering::Relaxed)
    }

    /// Whose turn it is when files are read for it.
    pub(super) fn account(&self) -> &Account {
        self.claim.account()
    }

    /// Answers, unless files have to be read for that: then it comes again when they are.
    fn answer(
        mut self: Box<Self>,
        store: &mut dyn OpenSource,
        again: &mpsc::WeakUnboundedSender<Work>,
        hashing: &Hashing,
    ) {
        if !self.is_heard() {
            self.ticket.done();
            return;
        }
        let offered: Vec<_> = self.offer.entries.iter().map(offered).collect();
        let unread = if self.was_read { Vec::new() } else { store.unread(&offered) };
        if !unread.is_empty() {
            self.was_read = true;
            return hashing.read(Job::new(self, unread, again.clone()));
        }
        let held = store.look_up(&self.from, &offered, &|| self.is_heard());
        if held.len() == offered.len() {
            let verdicts = held.into_iter().map(|held| verdict(held, self.replace));
            let verdicts: Vec<_> = verdicts.collect();
            let is_stored = |verdict: &&Verdict| **verdict == Verdict::Stored;
            let stored = verdicts.iter().filter(is_stored).count() as u64;
            let answer = Answer::new(self.offer.source, verdicts);
            let _ = self.ticket.done().send(Done::Answered { answer, stored });
        } else {
            self.ticket.done();
        }
    }
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
