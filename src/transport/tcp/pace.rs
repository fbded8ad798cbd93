//! When the next live frame may be handed to a connection.
//!
//! TCP is one stream of bytes: what was begun has to be finished, and nothing overtakes. So the age of frames is bounded
//! by what waits in front of the next one, here and in the kernel. The next is taken when that has nearly left.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::settings::{LONGEST_ROOM_LOOK, ROOM_LOOK};
use crate::alarm::Alarm;
use crate::transport::kernel::{TcpState, tcp_state};
use crate::transport::{Forecast, GivenUp, OutgoingFrame};

/// What of a connection's bytes has not left, while frames with a deadline go over it.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// A frame with a deadline has come: until then nothing of this costs anything.
    is_on: AtomicBool,
    /// Bytes of frames that were taken and not begun.
    queued: AtomicU64,
    /// The frame that is written.
    begun: Mutex<Option<Begun>>,
    /// Bytes that were written to this connection, and others of its kind.
    written: Arc<AtomicU64>,
    /// Notified when there is room for the next.
    pub(super) drained: Arc<Notify>,
    /// Told which frames were given up.
    pub(super) given_up: GivenUp,
}

#[derive(Debug, Clone, Copy)]
struct Begun {
    bytes: u64,
    /// What had been written when it was begun.
    at: u64,
}

impl Pace {
    /// One for a connection whose bytes `written` counts.
    pub(super) fn new(written: Arc<AtomicU64>) -> Self {
        Self { written, ..Self::default() }
    }

    /// Frames were taken from the session.
    pub(super) fn took(&self, frame: &OutgoingFrame) {
        if frame.deadline.is_some() {
            self.is_on.store(true, Ordering::Relaxed);
        }
        self.queued.fetch_add(frame.body.len() as u64, Ordering::Relaxed);
    }

    /// One of them is written from now on.
    pub(super) fn begin(&self, bytes: u64) {
        let at = self.written.load(Ordering::Relaxed);
        *self.begun() = Some(Begun { bytes, at });
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// All that was begun is with the kernel.
    pub(super) fn flushed(&self) {
        *self.begun() = None;
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// What becomes of the next frame, by what the kernel says; `None` before the first with a deadline.
    pub(super) fn forecast(&self, state: &TcpState) -> Option<Forecast> {
        self.is_on().then(|| Forecast {
            left: self.waiting() + u64::from(state.unsent),
            rate: Some(state.rate).filter(|rate| *rate > 0),
            least_rtt: Some(state.least_rtt).filter(|rtt| !rtt.is_zero()),
            is_busy: state.is_busy,
            in_order: true,
        })
    }

    /// Bytes of frames that the kernel does not have.
    fn waiting(&self) -> u64 {
        let written = self.written.load(Ordering::Relaxed);
        let rest = |begun: Begun| begun.bytes.saturating_sub(written.wrapping_sub(begun.at));
        self.queued.load(Ordering::Relaxed) + self.begun().map_or(0, rest)
    }

    fn begun(&self) -> MutexGuard<'_, Option<Begun>> {
        // One copy of another: a panic elsewhere cannot have left half of it.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A writer's hold on it.
#[derive(Debug, Default)]
pub(super) struct Paced {
    pace: Arc<Pace>,
    socket: Weak<OwnedFd>,
    /// Frames were taken since the session was told of room.
    owes_notice: bool,
}

impl Paced {
    pub(super) fn new(pace: &Arc<Pace>, socket: Option<&Arc<OwnedFd>>) -> Self {
        let socket = socket.map_or_else(Weak::new, Arc::downgrade);
        Self { pace: pace.clone(), socket, owes_notice: false }
    }

    /// A frame was taken from the session.
    pub(super) fn took(&mut self, frame: &OutgoingFrame) {
        self.pace.took(frame);
        self.owes_notice |= self.pace.is_on();
    }

    /// Whether a frame that was taken, and of which nothing is written, is past its deadline: then it is given up.
    pub(super) fn gives_up(&self, frame: &OutgoingFrame, now: Instant) -> bool {
        let is_late = frame.deadline.is_some_and(|deadline| deadline <= now);
        if is_late {
            self.pace.queued.fetch_sub(frame.body.len() as u64, Ordering::Relaxed);
            self.pace.given_up.add((frame.header.source, frame.header.meta.sequence));
        }
        is_late
    }

    /// It is written from now on.
    pub(super) fn begin(&self, frame: &OutgoingFrame) {
        self.pace.begin(frame.body.len() as u64);
    }

    /// All that was begun is with the kernel.
    pub(super) fn flushed(&self) {
        self.pace.flushed();
    }

    /// Waits until there is room for the next frame, and tells the session; for ever, where it knows. Cancel safe.
    pub(super) async fn tell_room(&mut self) {
        if !self.owes_notice {
            return std::future::pending().await;
        }
        loop {
            // A connection that is gone takes everything.
            let state = self.socket.upgrade().and_then(|socket| tcp_state(socket.as_fd()));
            let forecast = state.and_then(|state| self.pace.forecast(&state));
            let Some(full) = forecast.filter(|forecast| !forecast.has_room()) else { break };
            // A millisecond late here is a millisecond in which the link may be idle.
            Alarm::new(Instant::now() + look_after(&full)).await;
        }
        self.owes_notice = false;
        self.pace.drained.notify_one();
    }
}

/// When there may be room: when what is too much has left at the rate that is known.
fn look_after(forecast: &Forecast) -> Duration {
    let rate = forecast.rate.unwrap_or(u64::MAX).max(1);
    let excess = forecast.left.saturating_sub(forecast.room());
    let takes = Duration::try_from_secs_f64(excess as f64 / rate as f64);
    takes.unwrap_or(LONGEST_ROOM_LOOK).clamp(ROOM_LOOK, LONGEST_ROOM_LOOK)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::super::tests::support::frame;
    use super::*;

    /// A frame with a deadline.
    fn live(bytes: usize) -> OutgoingFrame {
        OutgoingFrame { deadline: Some(Instant::now()), ..frame(0, 0, bytes) }
    }

    #[tokio::test]
    async fn nothing_is_told_before_a_frame_with_a_deadline_has_come() {
        let pace = Arc::new(Pace::default());
        let mut paced = Paced::new(&pace, None);
        paced.took(&frame(0, 0, 10));
        assert!(pace.forecast(&TcpState::default()).is_none());
        assert!(timeout(Duration::from_millis(20), paced.tell_room()).await.is_err());
        paced.took(&live(10));
        assert!(pace.forecast(&TcpState::default()).is_some_and(|known| known.in_order));
        paced.tell_room().await;
        pace.drained.notified().await;
        assert!(timeout(Duration::from_millis(20), paced.tell_room()).await.is_err(), "told once");
    }

    #[test]
    fn what_has_not_left_is_what_was_taken_and_not_written_and_what_the_kernel_has() {
        let written = Arc::new(AtomicU64::new(7_000));
        let pace = Arc::new(Pace::new(written.clone()));
        let mut paced = Paced::new(&pace, None);
        let (first, second) = (live(60_000), live(20_000));
        [&first, &second].into_iter().for_each(|frame| paced.took(frame));
        let left = || {
            let state = TcpState { unsent: 500, rate: 1_000_000, ..TcpState::default() };
            pace.forecast(&state).unwrap().left
        };
        assert_eq!(left(), 80_500);
        paced.begin(&first);
        assert_eq!(left(), 80_500);
        written.fetch_add(50_000, Ordering::Relaxed);
        assert_eq!(left(), 30_500);
        written.fetch_add(10_100, Ordering::Relaxed);
        assert_eq!(left(), 20_500, "what is written beside it is no part of others");
        paced.begin(&second);
        written.fetch_add(20_000, Ordering::Relaxed);
        paced.flushed();
        assert_eq!(left(), 500);
    }
}
