//! What the tests share: a folder to work in, a running program, a running receiver.

mod place;
mod process;
mod receiver;
mod relay;

pub(crate) use place::{Place, assert_same_frames, frame};
pub(crate) use process::{Finished, Process, Signal};
pub(crate) use receiver::Receiver;
pub(crate) use relay::Relay;

/// Says that something cannot be tested on this machine, past the harness, which would keep it.
pub(crate) fn skipped(why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}
