//! Waking at a time to some tens of microseconds.
//!
//! tokio's own timers fire at whole milliseconds, and late rather than early. A QUIC sender paces its
//! packets in bursts 2 ms apart: with a timer that is half a millisecond late on average it sends at
//! the path's rate at best, and each frame comes a millisecond or two later than it could.

#[cfg(target_os = "linux")]
mod kernel;
mod watch;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::Sleep;

pub(crate) use watch::watch;

/// A future that is ready at a time, which can be set anew at any moment.
///
/// On Linux it is a timer of the kernel's; elsewhere, or where the process may open no more files,
/// it is tokio's. Cancel safe: it holds nothing but the time. It is to be polled within a tokio runtime
/// that has I/O and time enabled.
#[derive(Debug)]
pub(crate) struct Alarm {
    at: Instant,
    timer: Timer,
}

#[derive(Debug)]
enum Timer {
    #[cfg(target_os = "linux")]
    Kernel(kernel::KernelTimer),
    Wheel(Pin<Box<Sleep>>),
}

impl Alarm {
    /// Goes off at `at`, at once if that has passed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn new(at: Instant) -> Self {
        #[cfg(target_os = "linux")]
        if let Ok(timer) = kernel::KernelTimer::new() {
            return Self { at, timer: Timer::Kernel(timer) };
        }
        Self { at, timer: Timer::Wheel(Box::pin(tokio::time::sleep_until(at.into()))) }
    }

    /// Goes off at `at` instead, whether it has gone off before or not.
    pub(crate) fn reset(&mut self, at: Instant) {
        self.at = at;
        if let Timer::Wheel(sleep) = &mut self.timer {
            sleep.as_mut().reset(at.into());
        }
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { at, timer } = &mut *self;
        match timer {
            #[cfg(target_os = "linux")]
            Timer::Kernel(timer) => timer.poll(*at, cx),
            Timer::Wheel(sleep) => sleep.as_mut().poll(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn it_never_goes_off_early() {
        for microseconds in [0, 1, 50, 999, 1_500, 7_300] {
            let at = Instant::now() + Duration::from_micros(microseconds);
            Alarm::new(at).await;
            assert!(Instant::now() >= at, "{microseconds} us");
        }
    }

    #[tokio::test]
    async fn a_time_that_has_passed_is_ready_at_once() {
        let now = Instant::now();
        Alarm::new(now.checked_sub(MS).unwrap_or(now)).await;
    }

    #[tokio::test]
    async fn it_can_be_put_off_brought_forward_and_used_again() {
        let start = Instant::now();
        let mut alarm = Alarm::new(start + 100 * MS);
        // Polled, so that the earlier time is armed.
        assert!(tokio::time::timeout(MS, &mut alarm).await.is_err());
        alarm.reset(start + 150 * MS);
        (&mut alarm).await;
        assert!(Instant::now() >= start + 150 * MS);

        alarm.reset(Instant::now() + 3_600_000 * MS);
        assert!(tokio::time::timeout(MS, &mut alarm).await.is_err());
        let soon = Instant::now() + 2 * MS;
        alarm.reset(soon);
        (&mut alarm).await;
        assert!(Instant::now() >= soon);
    }

    #[tokio::test]
    async fn the_best_of_many_is_far_below_a_millisecond_late() {
        let mut best = Duration::MAX;
        for _ in 0..20 {
            let at = Instant::now() + Duration::from_micros(1_300);
            Alarm::new(at).await;
            best = best.min(at.elapsed());
        }
        // The best, since the machine may be busy with other things.
        if cfg!(target_os = "linux") {
            assert!(best < MS / 2, "{best:?}");
        }
    }
}
