//! What the tests share: a folder to work in, a running program, a running receiver.

mod bridge;
mod network;
mod place;
mod process;
mod receiver;
mod relay;

pub(crate) use bridge::Bridge;
pub(crate) use network::{Network, Side};
pub(crate) use place::{Place, assert_same_frames, frame};
pub(crate) use process::{Finished, Process, Signal};
pub(crate) use receiver::Receiver;
pub(crate) use relay::Relay;

/// Says that something cannot be tested on this machine, past the harness, which would keep it.
pub(crate) fn skipped(why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Waits until a file is there, which another process makes.
pub(crate) fn wait_for_file(path: &std::path::Path) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !path.exists() {
        assert!(std::time::Instant::now() < deadline, "{} does not come", path.display());
        std::thread::yield_now();
    }
}
