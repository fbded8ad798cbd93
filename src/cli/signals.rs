//! The signals that a process is sent, and what they mean to it.

use std::process::exit;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::{INTERRUPTED, output};

/// What the user, or a service manager, wants of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Wish {
    /// Nothing: go on.
    #[default]
    None,
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, or the end of the terminal where that is not to be outlived.
    Terminate,
    /// One of them again: whatever can be left is left.
    AtOnce,
}

/// Signals this soon after the first are the same wish. Who is told to stop by `timeout`, a container's or a service's
/// manager is often told twice: by itself and as one of a group.
const SAME_WISH: Duration = Duration::from_millis(200);

/// Follows the signals. What comes of the first that ends the process is up to whoever looks at the
/// value; another one that comes later than [`SAME_WISH`] ends the process after `at_once` and `grace`, if it has not ended
/// by itself then: nothing is dropped then.
///
/// `hangup_ends`: SIGHUP is as SIGTERM, as for a process whose terminal is gone. Not so where it is to read
/// something again, for which others listen, and not where it was ignored from the beginning, as `nohup`
/// does.
///
/// # Errors
/// The system's, where a signal cannot be listened for.
///
/// # Panics
/// Outside a runtime.
pub(super) fn follow(
    hangup_ends: bool,
    grace: Duration,
    at_once: impl FnOnce() + Send + 'static,
) -> anyhow::Result<watch::Receiver<Wish>> {
    let (tell, wish) = watch::channel(Wish::None);
    let ends = hangup_ends && !hangup_is_ignored();
    let mut heard = Heard {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
        hung_up: ends.then(|| signal(SignalKind::hangup())).transpose()?,
    };
    tokio::spawn(async move {
        // What it begins is not put off until it is known that no more come: a command that was told as well ends
        // meanwhile, and is not to be taken for one that failed.
        tell.send_replace(heard.next().await);
        heard.pass_over().await;
        heard.next().await;
        tell.send_replace(Wish::AtOnce);
        at_once();
        heard.pass_over().await;
        // A third one is somebody who does not even want to wait for that.
        let _ = timeout(grace, heard.next()).await;
        output::flush_lines();
        exit(i32::from(INTERRUPTED));
    });
    Ok(wish)
}

/// The signals that are listened for.
struct Heard {
    interrupt: Signal,
    terminate: Signal,
    hung_up: Option<Signal>,
}

impl Heard {
    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::Interrupt,
            _ = self.terminate.recv() => Wish::Terminate,
            () = next(&mut self.hung_up) => Wish::Terminate,
        }
    }

    /// Hears what is the same wish as the one before.
    async fn pass_over(&mut self) {
        let same_until = Instant::now() + SAME_WISH;
        while timeout_at(same_until, self.next()).await.is_ok() {}
    }
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// True where the process was started with SIGHUP ignored. To listen for it would undo that.
fn hangup_is_ignored() -> bool {
    const HANGUP: u64 = 1;
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, HANGUP))
}

fn ignores(status: &str, signal: u64) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 << (signal - 1) != 0)
}

/// Lets a write beyond the limit of a file's length (`ulimit -f`) fail by itself. It would end the process
/// otherwise, and with it what all others send.
pub(super) fn survive_long_files() {
    const FILE_TOO_LONG: i32 = 25;
    let noted = std::sync::Arc::default();
    // A signal that is handled is as good as one that is ignored: the write has failed all the same.
    if let Err(error) = signal_hook::flag::register(FILE_TOO_LONG, noted) {
        tracing::debug!(%error, "a file over the limit (ulimit -f) will end this process");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_kernels_mask() {
        let status = "Name:\tframelane\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\n";
        assert!(ignores(status, 1) && ignores(status, 13));
        assert!(!ignores(status, 2) && !ignores("Name:\tx\n", 1));
    }
}
