//! A timer of the kernel's as a file that becomes readable.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One timer. What it is waited for with may change between polls.
#[derive(Debug)]
pub(super) struct KernelTimer {
    file: AsyncFd<OwnedFd>,
    /// When the kernel will make the file readable.
    armed: Option<Instant>,
}

impl KernelTimer {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let file = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { file: readable(file)?, armed: None })
    }

    /// Ready when `at` has come.
    pub(super) fn poll(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            if now >= at {
                return Poll::Ready(());
            }
            // A timer that fires too early costs a wake-up; to set it costs a system call. Deadlines
            // that are put off again and again, as QUIC's are with every packet, cost neither.
            if self.armed.is_none_or(|armed| armed > at || armed <= now)
                && self.arm(at, now).is_err()
            {
                // Nothing that this process could do about it; the caller finds nothing to do, and
                // sets the next time.
                return Poll::Ready(());
            }
            let Ok(mut ready) = ready!(self.file.poll_read_ready(cx)) else {
                return Poll::Ready(());
            };
            // Empty where the timer was set anew since it fired.
            let _ = rustix::io::read(ready.get_inner(), &mut [0; 8]);
            ready.clear_ready();
        }
    }

    fn arm(&mut self, at: Instant, now: Instant) -> io::Result<()> {
        let never = Timespec::default();
        // Zero would disarm it.
        let left = at.saturating_duration_since(now).max(Duration::from_nanos(1));
        let it_value = Timespec::try_from(left).map_err(io::Error::other)?;
        let once = Itimerspec { it_interval: never, it_value };
        timerfd_settime(&self.file, TimerfdTimerFlags::empty(), &once)?;
        self.armed = Some(at);
        Ok(())
    }
}

/// Has tokio watch the file.
#[expect(unsafe_code, reason = "tokio has no safe call any more for a file that only it holds")]
fn readable(file: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the file is open, and nobody can close or replace it while it is within the `AsyncFd`,
    // which `KernelTimer` never takes it out of.
    let watched = unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) };
    watched.map_err(io::Error::from)
}
