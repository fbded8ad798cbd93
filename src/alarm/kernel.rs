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

use super::watch::watch;

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
        Ok(Self { file: watch(file, Interest::READABLE)?, armed: None })
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
            // Nothing is read: tokio is told once of each time that it fires, and to set it anew empties it.
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
