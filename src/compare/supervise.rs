//! How long a run may take, and watching that it takes no longer.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::steadiness::is_hopeless;
use crate::sender::Progress;

/// A transport that has no connection after this long gets none: three SYNs or hellos in a row were
/// lost, and the next attempt is seconds away.
const CONNECT: Duration = Duration::from_secs(12);

/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(10);

/// What a sender that is done may take to leave: more than it stays for its last packet to arrive.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long a run may take, from the connection on.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimits {
    /// Until the last frame is due; in bulk, half of the time that is granted.
    pub(super) until_due: Duration,
    /// What is granted beyond it.
    pub(super) grace: Duration,
}

/// How a run came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The sender was done, or had to give up.
    BySender,
    /// It took too long.
    Stopped,
    /// No connection, and why, as far as the sender knows.
    NotConnected(String),
    /// The user has had enough.
    Interrupted,
}

/// Waits until the sender has finished or has to be stopped.
pub(super) fn supervise(
    limits: TimeLimits,
    progress: &Progress,
    is_finished: impl Fn() -> bool,
    interrupted: &watch::Receiver<bool>,
) -> Ended {
    let started = Instant::now();
    let mut connected = None;
    loop {
        if is_finished() {
            return Ended::BySender;
        }
        if *interrupted.borrow() {
            return Ended::Interrupted;
        }
        if connected.is_none() && progress.is_connected() {
            connected = Some(Instant::now());
        }
        match connected {
            None if started.elapsed() > CONNECT => {
                return Ended::NotConnected(why_not_connected(progress));
            }
            Some(since) if limits.is_over(since.elapsed(), progress) => return Ended::Stopped,
            _ => thread::sleep(TICK),
        }
    }
}

fn why_not_connected(progress: &Progress) -> String {
    match progress.take_trouble() {
        Some(trouble) => format!("no connection came about: {}", trouble.what),
        None => "no connection came about".to_owned(),
    }
}

impl TimeLimits {
    fn is_over(self, elapsed: Duration, progress: &Progress) -> bool {
        if elapsed < self.until_due {
            return false;
        }
        let left = (self.until_due + self.grace).saturating_sub(elapsed);
        let sum = |of: fn(&crate::sender::SourceProgress) -> u64| {
            progress.sources.iter().map(of).sum::<u64>()
        };
        let done = sum(|source| source.settled.load(Ordering::Relaxed));
        let all = sum(|source| source.frames.load(Ordering::Relaxed));
        if done >= all {
            return elapsed > self.until_due + self.grace + GOODBYE;
        }
        left.is_zero() || is_hopeless(done, all, elapsed.as_secs_f64(), left.as_secs_f64())
    }
}
