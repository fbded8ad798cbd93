//! What a source's thread does: it stores what waits as one batch, answers offers, and says what came of
//! each.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::board::{Panel, StoredFrame};
use super::busy::Busy;
use super::hashing::{Hashing, Job};
use super::work::{Admitted, Done, Question, Reply, Settled, Ticket, Work};
use crate::frame::{RunId, Sequence, UnixNanos};
use crate::store::{Held, Offered, OpenSource, Opener, ReceivedFrame};
use crate::transport::{ArrivedFrame, Claim};
use crate::wire::{Answer, OfferEntry, SourceId, Verdict};

/// Frames that are stored together: they share an append to the manifest, and a sync where those
/// are asked for. Few enough that a receipt is not late by more than some milliseconds.
const BATCH_FRAMES: usize = 64;

/// Bytes that are stored together, for the same reason: 8 MiB are some 5 ms of writing to memory.
const BATCH_BYTES: u64 = 8 << 20;

/// Where a run goes on: from its own beginning, where it has brought frames before and its sender was killed before it
/// knew, or behind all that the source has.
fn goes_on(store: &mut dyn OpenSource, run: Option<RunId>) -> Sequence {
    let behind = |last: Sequence| Sequence(last.0.saturating_add(1));
    let begun = run.and_then(|run| store.goes_on_from(run));
    begun.or_else(|| store.last_sequence().map(behind)).unwrap_or(Sequence(0))
}

/// Does what is asked of an open source, until nobody can ask any more. `again` asks the same source.
pub(super) fn work(
    mut store: Box<dyn OpenSource>,
    mut queue: mpsc::UnboundedReceiver<Work>,
    again: &mpsc::WeakUnboundedSender<Work>,
    hashing: &Hashing,
    busy: &Busy,
    panel: &Panel,
) {
    let mut batch = Batch::default();
    while let Some(mut next) = queue.blocking_recv() {
        loop {
            // One for each, and not for all that wait: a queue that never ends is no disk that hangs.
            let _working = busy.begin();
            match next {
                Work::Admit { opener, reply } => {
                    let admitted = store.admit(&opener);
                    panel.holds(store.held());
                    let admitted =
                        admitted.map(|()| Admitted { next: goes_on(&mut *store, opener.run) });
                    let _ = reply.send(admitted);
                }
                Work::Store { frame, from, replace, ticket } => {
                    batch.push(*frame, from, replace, ticket);
                }
                Work::Note { source, from, what, ticket } => {
                    // Ends are noted as of the frames before them.
                    batch.store(&mut *store, panel);
                    let noted = store.note(&from, &what.notes);
                    let _ = ticket.done().send(match noted {
                        Ok(()) => Done::Noted(what.answer.message()),
                        Err(error) => {
                            tracing::warn!("what a sender declares could not be noted: {error}");
                            Done::Unnoted { source, what }
                        }
                    });
                }
                Work::LookUp(question) => {
                    // Offers are answered as of the frames before them.
                    batch.store(&mut *store, panel);
                    answer(question, &mut *store, again, hashing);
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
        let _working = busy.begin();
        batch.store(&mut *store, panel);
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

    fn store(&mut self, store: &mut dyn OpenSource, panel: &Panel) {
        if self.frames.is_empty() {
            return;
        }
        let outcomes = store.store(&self.frames);
        let at = UnixNanos::now();
        let shown = self.frames.iter().zip(&outcomes).zip(&self.origins);
        let shown = shown.map(|((frame, outcome), origin)| StoredFrame {
            frame,
            outcome,
            repaired: origin.repaired,
        });
        panel.stored(shown, at, store.held());
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

/// Answers, unless files have to be read for that: then it comes again when they are.
fn answer(
    mut question: Box<Question>,
    store: &mut dyn OpenSource,
    again: &mpsc::WeakUnboundedSender<Work>,
    hashing: &Hashing,
) {
    if !question.is_heard() {
        question.ticket.done();
        return;
    }
    let offered: Vec<_> = question.offer.entries.iter().map(offered).collect();
    let unread = if question.was_read { Vec::new() } else { store.unread(&offered) };
    if !unread.is_empty() {
        question.was_read = true;
        return hashing.read(Job::new(question, unread, again.clone()));
    }
    let held = store.look_up(&question.from, &offered, &|| question.is_heard());
    if held.len() == offered.len() {
        let expired = held.iter().filter(|held| **held == Held::Expired).count() as u64;
        let verdicts = held.into_iter().map(|held| verdict(held, question.replace));
        let verdicts: Vec<_> = verdicts.collect();
        let entries = question.offer.entries.iter().zip(&verdicts);
        let is_stored = |(_, verdict): &(_, &Verdict)| **verdict == Verdict::Stored;
        let stored = entries.filter(is_stored).map(|(entry, _)| entry.sequence).collect();
        let answer = Answer::new(question.offer.source, verdicts);
        let turn = question.turn;
        let _ = question.ticket.done().send(Done::Answered { answer, turn, stored, expired });
    } else {
        question.ticket.done();
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
        // It was, and is not wanted again.
        Held::Same | Held::Expired => Verdict::Stored,
        Held::NeedsHash => Verdict::NeedHash,
        Held::Other if replace => Verdict::Wanted,
        Held::Other => Verdict::Differs,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    use super::super::board::Board;
    use super::super::work::Task;
    use super::*;
    use crate::frame::{ByteSize, SourceName};
    use crate::store::Outcome;
    use crate::transport::MemoryBudget;
    use crate::wire::Offer;

    /// A store that looks whether it is said to be at one thing for longer than it is.
    #[derive(Debug)]
    struct Asked {
        busy: Busy,
        before: Option<Instant>,
    }

    impl OpenSource for Asked {
        fn look_up(&mut self, _: &Opener, _: &[Offered<'_>], _: &dyn Fn() -> bool) -> Vec<Held> {
            let longest = self.busy.longest();
            if let Some(before) = self.before {
                assert!(longest <= before.elapsed(), "{longest:?}");
            }
            std::thread::sleep(Duration::from_millis(1));
            self.before = Some(Instant::now());
            Vec::new()
        }

        fn store(&mut self, _: &[ReceivedFrame]) -> Vec<Outcome> {
            Vec::new()
        }
    }

    #[test]
    fn a_queue_that_does_not_end_is_no_piece_of_work() {
        let (busy, (reply, mut done)) = (Busy::default(), mpsc::unbounded_channel());
        let (again, queue) = mpsc::unbounded_channel();
        for turn in 0..50 {
            let question = Question {
                offer: Offer { source: SourceId(0), entries: Vec::new() },
                from: Arc::default(),
                claim: MemoryBudget::new(ByteSize(0)).open("test").claim(),
                replace: false,
                listening: Arc::new(AtomicBool::new(true)),
                ticket: Ticket::new(&reply, Task::Offer),
                turn,
                was_read: false,
            };
            again.send(Work::LookUp(Box::new(question))).unwrap();
        }
        let weak = again.downgrade();
        drop(again);
        let store = Box::new(Asked { busy: busy.clone(), before: None });
        let panel = Board::default().panel(Path::new(""), &SourceName::parse("a").unwrap());
        work(store, queue, &weak, &Hashing::default(), &busy, &panel);
        let answered = std::iter::from_fn(|| done.try_recv().ok());
        assert_eq!(answered.filter(|done| matches!(done, Done::Answered { .. })).count(), 50);
        assert_eq!(busy.longest(), Duration::ZERO);
    }
}
