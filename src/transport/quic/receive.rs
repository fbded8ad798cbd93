//! Frames in: each stream is read by a task of its own, so that none waits for another.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::{Connection, RecvStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::incoming::{Fault, Incoming, Step};
use super::window::Window;
use super::{close, repairing, varint};
use crate::frame::UnixNanos;
use crate::repair::TrailerMark;
use crate::transport::{Account, Arrival, ArrivedFrame, Intake, SourceCount, hand_on, plain};
use crate::wire::{CloseCode, HEADER_VERSION, MAX_KIND, RefusalCode, SourceId, is_ignorable};

/// Bytes a session with open frames has to deliver within its stall time, all frames together.
/// Priorities may starve one stream for long while others finish, so a stream on its own is not
/// judged; a link too slow for this would need minutes for a single small frame.
const LEAST_PROGRESS: u64 = 1_024;

/// So often in a row, without a frame that became whole in between, the frames of a session may stall before all of it
/// is ended. Until then each of them is refused, and the rest goes on.
const MOST_STALLS: u32 = 3;

/// The most that is taken from a stream in one call.
const READ_BYTES: usize = 256 * 1_024;

/// The least time between two looks at a session's progress.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How long a session's frame that may go over the budget may rest before the session gets more credit.
const UNBLOCK_INTERVAL: Duration = Duration::from_millis(100);

/// What the tasks that read one connection's frames share.
struct FrameIntake {
    arrived: mpsc::Sender<Arrival>,
    sources: SourceCount,
    intake: Intake,
    account: Account,
    window: Window,
    mark: TrailerMark,
    open: AtomicUsize,
    /// Since when a frame has been open without a pause.
    busy_since: Mutex<Instant>,
    progress: AtomicU64,
    /// Frames that became whole.
    whole: AtomicU64,
    /// Frames that were open by then have stalled.
    stalled: watch::Sender<Option<Instant>>,
    due: Due,
}

impl FrameIntake {
    /// One more frame is open: since when.
    fn opened(&self) -> Instant {
        let now = Instant::now();
        if self.open.fetch_add(1, Ordering::Relaxed) == 0 {
            *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
        now
    }

    fn busy_since(&self) -> Instant {
        *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the last frame was due, and of which source.
struct Due {
    last: Mutex<Option<(SourceId, UnixNanos)>>,
    /// True while frames of a source are due together, so that nobody waits for any one of them.
    bulk: Arc<AtomicBool>,
}

impl Due {
    fn see(&self, frame: &ArrivedFrame) {
        let this = frame.frame.meta.due.map(|due| (frame.source, due));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *last, this);
        let (was, is) = (before.map(|(source, _)| source), this.map(|(source, _)| source));
        // Frames of several sources may be due together.
        if this.is_none() || was == is {
            self.bulk.store(this.is_some() && before == this, Ordering::Relaxed);
        }
    }
}

/// Accepts streams until the connection ends.
pub(super) async fn frames(
    connection: Connection,
    arrived: mpsc::Sender<Arrival>,
    sources: SourceCount,
    intake: Intake,
    account: Account,
    bulk: Arc<AtomicBool>,
) {
    // Without a mark no trailer is ever recognised, and repair waits for the header itself.
    let mark = repairing::mark(&connection).unwrap_or_else(rand::random);
    let (open, progress, whole) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let window = Window::new(connection.clone(), account.clone());
    let due = Due { last: Mutex::default(), bulk };
    let session = FrameIntake {
        arrived,
        sources,
        intake,
        account,
        window,
        mark,
        open,
        busy_since: Mutex::new(Instant::now()),
        progress,
        whole,
        stalled: watch::Sender::new(None),
        due,
    };
    let session = Arc::new(session);
    let guard = tokio::spawn(watch_for_stall(connection.clone(), session.clone()));
    let unblocking = tokio::spawn(unblock(session.clone()));
    while let Ok(stream) = connection.accept_uni().await {
        let arriving =
            Arriving { connection: connection.clone(), stream, opened: session.opened() };
        tokio::spawn(take_frame(arriving, session.clone()));
    }
    guard.abort();
    unblocking.abort();
}

/// Gives a session more credit whose frame that may go over the budget does not get on. One session at a time
/// has such a frame.
async fn unblock(session: Arc<FrameIntake>) {
    let mut before = 0;
    loop {
        sleep(UNBLOCK_INTERVAL).await;
        let now = session.progress.load(Ordering::Relaxed);
        if now == before && session.account.goes_over() {
            session.window.unblock();
        }
        before = now;
    }
}

/// Refuses the frames of a session that holds streams open and sends next to nothing on them; ends it where it does so
/// again and again, or says nothing else either. Time in which something of
/// it waits for this end, be it for memory or for the session to take what has arrived, does not count.
async fn watch_for_stall(connection: Connection, session: Arc<FrameIntake>) {
    let stall = session.intake.stall;
    let (mut in_a_row, mut whole_by_then) = (0, 0);
    loop {
        let (since, waited) = (Instant::now(), session.account.waited());
        let before = session.progress.load(Ordering::Relaxed);
        loop {
            let ours = session.account.waited() - waited;
            // Nobody owed a byte while no frame was open.
            let began = since.max(session.busy_since());
            let left = (stall + ours).saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            sleep(left.max(LOOK_INTERVAL)).await;
        }
        let now = session.progress.load(Ordering::Relaxed);
        let idle = session.open.load(Ordering::Relaxed) == 0;
        if idle || now - before >= LEAST_PROGRESS {
            continue;
        }
        let whole = session.whole.load(Ordering::Relaxed);
        in_a_row = if whole == whole_by_then { in_a_row + 1 } else { 1 };
        whole_by_then = whole;
        let is_silent = session.account.idle() >= stall;
        if in_a_row < MOST_STALLS && !is_silent {
            session.stalled.send_replace(Some(since.max(session.busy_since())));
            continue;
        }
        let reason = format!(
            "frames are open and less than {LEAST_PROGRESS} bytes came in {} s",
            stall.as_secs_f32()
        );
        return end_stalled(&connection, &session, &reason);
    }
}

fn end_stalled(connection: &Connection, session: &FrameIntake, reason: &str) {
    let address = plain(connection.remote_address());
    let sender = session.account.sender();
    session.intake.voice.warn(sender, || format!("ending a session with {address}: {reason}"));
    close(connection, CloseCode::Stalled, reason);
}

/// The stream of a frame, open since then.
struct Arriving {
    connection: Connection,
    stream: RecvStream,
    opened: Instant,
}

async fn take_frame(mut arriving: Arriving, session: Arc<FrameIntake>) {
    let read = read_frame(&mut arriving, &session).await;
    let stream = &mut arriving.stream;
    let (arrival, rest) = match read {
        Ok(Some((frame, rest))) => {
            session.whole.fetch_add(1, Ordering::Relaxed);
            session.due.see(&frame);
            (Some(Arrival::Frame(frame)), rest)
        }
        Ok(None) => (None, Rest::Nothing),
        Err(Fault { frame, code, reason }) => {
            let _ = stream.stop(varint(code.number()));
            (Some(Arrival::Refused { frame, code, reason }), Rest::Nothing)
        }
    };
    if rest == Rest::Repair {
        let _ = stream.stop(varint(RefusalCode::NotNeeded.number()));
    }
    if let Some(arrival) = arrival {
        // The session is gone, and with it whoever would want the frame.
        let _ = hand_on(&session.arrived, arrival, &session.account).await;
    }
    if rest == Rest::End {
        read_end(stream).await;
    }
    session.open.fetch_sub(1, Ordering::Relaxed);
    session.window.ended();
}

/// What may still come of a stream whose frame is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Nothing.
    Nothing,
    /// Its end: the sender may keep it back for a moment, so the frame does not wait for it.
    End,
    /// Repair that is not needed any more.
    Repair,
}

/// True for the first byte of a stream of a later version's that may be let go.
fn is_of_another_kind(first: &u8) -> bool {
    *first != HEADER_VERSION && *first <= MAX_KIND && is_ignorable(u64::from(*first))
}

/// Reads a stream's end; bytes instead of it are behind what the header announced.
async fn read_end(stream: &mut RecvStream) {
    if let Ok(Some(_)) = stream.read_chunk(READ_BYTES, false).await {
        let _ = stream.stop(varint(RefusalCode::LengthMismatch.number()));
    }
}

/// Reads a frame; `None` where the sender gave it up or the connection ended.
async fn read_frame(
    arriving: &mut Arriving,
    session: &FrameIntake,
) -> Result<Option<(ArrivedFrame, Rest)>, Fault> {
    let mut incoming =
        Incoming::new(&session.intake, &session.account, &session.sources, session.mark);
    let Arriving { connection, stream, opened } = arriving;
    let mut stalled = session.stalled.subscribe();
    loop {
        // Unordered: what comes behind a lost packet may be the repair that makes up for it.
        let chunk = tokio::select! {
            biased;
            chunk = stream.read_chunk(READ_BYTES, false) => chunk,
            _ = stalled.wait_for(|since| since.is_some_and(|since| *opened <= since)) => {
                let stall = session.intake.stall;
                if let Some(fault) = incoming.stalled(stall) {
                    return Err(fault);
                }
                // A refusal would not tell its sender which frame it is.
                let reason = format!("a frame is open, and its header did not come in {} s", stall.as_secs_f32());
                end_stalled(connection, session, &reason);
                return Ok(None);
            }
        };
        match chunk {
            Ok(Some(chunk)) => {
                if chunk.offset == 0 && chunk.bytes.first().is_some_and(is_of_another_kind) {
                    let _ = stream.stop(varint(RefusalCode::NotNeeded.number()));
                    return Ok(None);
                }
                let bytes = chunk.bytes.len() as u64;
                session.progress.fetch_add(bytes, Ordering::Relaxed);
                session.window.read(bytes);
                match incoming.take(chunk.offset, &chunk.bytes).await? {
                    Step::More => {}
                    Step::Whole(frame) => {
                        let rest = if incoming.has_repair() { Rest::Repair } else { Rest::End };
                        return Ok(Some((*frame, rest)));
                    }
                }
            }
            Ok(None) => return Err(incoming.truncated()),
            Err(_) => return Ok(None),
        }
    }
}
