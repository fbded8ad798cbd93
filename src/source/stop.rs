//! How a source's thread, which waits for its input, is told to end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// A word to end. Clones are the same word.
#[derive(Debug, Clone)]
pub(super) struct Stop(Arc<(AtomicBool, OwnedFd)>);

/// What a wait ended by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// There is input, or its end.
    Input,
    /// The time is over.
    Time,
    /// The word has come.
    Stopped,
}

impl Stop {
    pub(super) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new((AtomicBool::new(false), event))))
    }

    /// Says it.
    pub(super) fn stop(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        // Only a counter that is at its end refuses, and then it is readable.
        let _ = rustix::io::write(&self.0.1, &1_u64.to_ne_bytes());
    }

    pub(super) fn is_said(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    /// Waits for input, for at most `time`.
    pub(super) fn wait(
        &self,
        input: Option<BorrowedFd<'_>>,
        time: Option<Duration>,
    ) -> io::Result<Woken> {
        let time = time.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let mut fds = vec![PollFd::from_borrowed_fd(self.0.1.as_fd(), PollFlags::IN)];
        fds.extend(input.map(|input| PollFd::from_borrowed_fd(input, PollFlags::IN)));
        let ready = match poll(&mut fds, time.as_ref()) {
            Ok(ready) => ready,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(match ready {
            _ if self.is_said() => Woken::Stopped,
            0 => Woken::Time,
            _ => Woken::Input,
        })
    }
}
