//! Reads a stream as it comes, and notices when it is silent.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::intake::Intake;
use crate::source::stop::{Stop, Woken};

/// What is read at a time. A pipe holds 64 KiB unless it is asked for more.
const READ: usize = 256 << 10;

/// Why a stream is not read any more.
#[derive(Debug)]
pub(super) enum Ended {
    /// It has ended.
    End,
    /// Nothing came for as long as it may be silent.
    Silent,
    /// The run has.
    Stopped,
    /// It cannot be read.
    Error(io::Error),
}

/// A stream that is read until it ends.
pub(super) struct Reader<'a> {
    pub(super) input: BorrowedFd<'a>,
    pub(super) stop: &'a Stop,
    /// How long it may be silent.
    pub(super) silence: Option<Duration>,
}

impl Reader<'_> {
    /// Reads all of it. What it holds at the end is given out, or told.
    pub(super) fn run(&self, intake: &mut Intake) -> Ended {
        let ended = self.read(intake);
        if intake.finish() { ended } else { Ended::Stopped }
    }

    fn read(&self, intake: &mut Intake) -> Ended {
        let mut buffer = vec![0; READ];
        let mut heard = Instant::now();
        loop {
            let quiet_at = intake.quiet_at();
            let silent_at = self.silence.map(|silence| heard + silence);
            let wakes_at = quiet_at.into_iter().chain(silent_at).min();
            let time = wakes_at.map(|at| at.saturating_duration_since(Instant::now()));
            let is_wanted = match self.stop.wait(Some(self.input), time) {
                Err(error) => return Ended::Error(error),
                Ok(Woken::Stopped) => return Ended::Stopped,
                Ok(Woken::Input) => match rustix::io::read(self.input, &mut buffer) {
                    Ok(0) => return Ended::End,
                    Ok(bytes) => {
                        let is_wanted = intake.take(&buffer[..bytes]);
                        // The time that we waited for room is not its silence.
                        heard = Instant::now();
                        is_wanted
                    }
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => true,
                    Err(error) => return Ended::Error(error.into()),
                },
                Ok(Woken::Time) => {
                    let now = Instant::now();
                    if silent_at.is_some_and(|at| at <= now) {
                        return Ended::Silent;
                    }
                    quiet_at.is_none_or(|at| at > now) || intake.quiet()
                }
            };
            if !is_wanted {
                return Ended::Stopped;
            }
        }
    }
}
