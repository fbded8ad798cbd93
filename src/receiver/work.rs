//! What sessions ask of a source's thread, and what they hear of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::frame::{Sequence, UnixNanos};
use crate::store::{FrameError, Note, Opener, Outcome, Reading, StoreError};
use crate::transport::{Account, ArrivedFrame, Claim};
use crate::wire::{Answer, Message, Noted, Offer, RefusalCode, SourceId, Totals};

/// The pause before what could not be noted is tried again. A sender that waits for its totals does so for some seconds.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A full disk is seldom full for less.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A handle to a source's thread, which goes on at least for as long as a session has one.
pub(super) type SourceThread = mpsc::UnboundedSender<Work>;

/// Work for a source's thread. Bounded by the memory budget, and by what a session reads ahead.
#[derive(Debug)]
pub(super) enum Work {
    /// Whether a session may use the source, and if so what it needs to know.
    Admit { opener: Arc<Opener>, reply: oneshot::Sender<Result<Admitted, StoreError>> },
    /// A frame to be stored.
    Store { frame: Box<ArrivedFrame>, from: Arc<Opener>, replace: bool, ticket: Ticket },
    /// What the sender declares of its runs, as of the frames before it, and what it is told after that.
    Note { source: SourceId, from: Arc<Opener>, what: Unnoted, ticket: Ticket },
    /// An offer to be answered.
    LookUp(Box<Question>),
    /// What was read of a stored file since an offer asked for it.
    Read(Reading),
}

/// What a sender is told after what it has declared was noted.
#[derive(Debug, Clone)]
pub(super) enum Afterwards {
    Nothing,
    /// That it is noted, where it is: otherwise it declares it again.
    Noted(Noted),
    /// The totals of a source that has ended. Whoever has them does not come back, so that the end is noted before.
    Totals(Totals),
}

impl Afterwards {
    /// What is to be said when it was noted.
    pub(super) fn message(self) -> Option<Message> {
        match self {
            Self::Noted(noted) => Some(Message::Noted(noted)),
            Self::Totals(totals) => Some(Message::Totals(totals)),
            Self::Nothing => None,
        }
    }
}

/// What a sender has declared of a source, and is not noted yet.
#[derive(Debug)]
pub(super) struct Unnoted {
    pub(super) notes: Vec<Note>,
    pub(super) answer: Afterwards,
    /// Holds its memory, where it is long.
    _claim: Claim,
    /// Before it is tried again.
    pause: Duration,
}

impl Unnoted {
    pub(super) fn new(notes: Vec<Note>, answer: Afterwards, claim: Claim) -> Self {
        Self { notes, answer, _claim: claim, pause: FIRST_PAUSE }
    }

    /// How long it waits now. That doubles up to the longest.
    pub(super) fn next_pause(&mut self) -> Duration {
        let longer = (2 * self.pause).min(LONGEST_PAUSE);
        std::mem::replace(&mut self.pause, longer)
    }
}

/// What a session is told of a source that it may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admitted {
    /// The sequence of the first frame of the sender's run, where that goes on.
    pub(super) next: Sequence,
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
    /// Its turn among the offers of its source in this session.
    pub(super) turn: u64,
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
        /// That of its question.
        turn: u64,
        /// Those of its frames that are stored.
        stored: Vec<Sequence>,
        /// How many of these have been removed since because they were old enough.
        expired: u64,
    },
    /// A source is open that was not when the session began.
    Opened {
        source: SourceId,
        thread: SourceThread,
        admitted: Admitted,
    },
    /// A source is another sender's, as has come out since.
    Declined {
        source: SourceId,
        why: String,
    },
    /// What was declared is noted, and this is to be said.
    Noted(Option<Message>),
    /// What was declared could not be noted.
    Unnoted {
        source: SourceId,
        what: Unnoted,
    },
    /// That may be tried again.
    NoteAgain {
        source: SourceId,
        what: Unnoted,
    },
    /// The source's thread has failed, and with it the work.
    Failed(Task),
}

/// What one piece of work was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Frame,
    Offer,
    Note,
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
    pub(super) fn done(mut self) -> Reply {
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

impl Question {
    /// True while somebody waits for the answer.
    pub(super) fn is_heard(&self) -> bool {
        !self.ticket.reply.is_closed() && self.listening.load(Ordering::Relaxed)
    }

    /// Whose turn it is when files are read for it.
    pub(super) fn account(&self) -> &Account {
        self.claim.account()
    }
}

/// The code by which a sender is told why a frame is not stored.
pub(super) fn refusal_code(error: &FrameError) -> RefusalCode {
    match error {
        FrameError::Conflict { .. }
        | FrameError::NotAFile { .. }
        | FrameError::NotAFolder { .. }
        | FrameError::Occupied { .. }
        | FrameError::Folded { .. } => RefusalCode::Conflict,
        FrameError::Source { why, .. } if matches!(**why, StoreError::NotOwner { .. }) => {
            RefusalCode::Conflict
        }
        FrameError::HashMismatch { .. } => RefusalCode::HashMismatch,
        FrameError::LengthMismatch { .. } => RefusalCode::LengthMismatch,
        FrameError::NoSpace { .. } => RefusalCode::NoSpace,
        FrameError::Io { .. } | FrameError::Source { .. } | FrameError::NotTaken { .. } => {
            RefusalCode::StoreFailed
        }
    }
}
