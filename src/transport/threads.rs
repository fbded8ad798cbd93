//! How many threads move packets, and what they are kept free of.

use std::thread::available_parallelism;

use tokio::runtime::{Handle, RuntimeFlavor};

/// Bodies from which on to compute or to use their repair takes so long, some milliseconds, that packets should not
/// wait for it.
const LONG_BODY: u64 = 256 * 1_024;

/// Threads that a runtime should have to move packets, for a machine that does nothing else: half of its processors.
///
/// A connection is at work on one of them at a time, and each packet that comes wakes three or four tasks. With
/// a thread for each processor every one of them is handed from thread to thread, which costs more than the work. What
/// blocks or computes, reading, hashing and storing, has threads of its own.
pub fn worker_threads() -> usize {
    (available_parallelism().map_or(1, usize::from) / 2).max(1)
}

/// Does work on a body of so many bytes, beside the tasks of this thread where it is long and the runtime allows that.
pub(super) fn beside_packets<T>(body_bytes: u64, work: impl FnOnce() -> T) -> T {
    let is_long = body_bytes >= LONG_BODY;
    let may_block = || Handle::try_current().map(|handle| handle.runtime_flavor());
    match is_long && may_block().is_ok_and(|flavor| flavor == RuntimeFlavor::MultiThread) {
        true => tokio::task::block_in_place(work),
        false => work(),
    }
}
