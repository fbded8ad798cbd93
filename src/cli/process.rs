//! What a process needs of the system before it can begin: threads, and files that it may open.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};

use super::{log, output};
use crate::transport::worker_threads;

/// Threads for calls that block, file systems' above all, which are there from the beginning: the runtime
/// leaves work that finds no thread lying where the system gives it no more.
const KEPT_THREADS: usize = 4;

/// How many files a process should be able to open: a receiver has three for each source and one for each
/// session.
const ENOUGH_FILES: u64 = 512;

/// Longer than any process lives, and not so long that a clock overflows.
const FOR_GOOD: Duration = Duration::from_secs(1 << 32);

/// Starts the asynchronous runtime, with the threads that it needs.
///
/// # Errors
/// Where the system gives not as many.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    let workers = worker_threads();
    let needed = workers + KEPT_THREADS;
    let short = |why: String| {
        anyhow!(
            "cannot start {needed} threads: {why}; let this user have more processes (ulimit -u), \
             or end others of its"
        )
    };
    // The runtime panics, and may hang, where it gets no thread: whether there are enough is seen before.
    probe_threads(needed).map_err(|error| short(error.to_string()))?;
    // Somebody else may have taken them since.
    let built = quietly(|| build(workers));
    let runtime = built.map_err(|()| short("the system refused".to_owned()))?;
    let runtime = runtime.context("cannot start the asynchronous runtime")?;
    runtime.spawn(async {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            log::tell_repeated();
        }
    });
    Ok(runtime)
}

fn build(workers: usize) -> std::io::Result<Runtime> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_keep_alive(FOR_GOOD)
        .enable_all()
        .build()?;
    let held = Held::default();
    let until = held.until_dropped();
    (0..KEPT_THREADS).for_each(|_| drop(runtime.spawn_blocking(held.wait())));
    drop(until);
    Ok(runtime)
}

/// Starts so many threads that are there at the same time, and ends them.
fn probe_threads(count: usize) -> std::io::Result<()> {
    let held = Held::default();
    let until = held.until_dropped();
    let start = |_| thread::Builder::new().name("probe".to_owned()).spawn(held.wait());
    let started: std::io::Result<Vec<_>> = (0..count).map(start).collect();
    drop(until);
    for thread in started? {
        // It does nothing that could fail.
        let _ = thread.join();
    }
    Ok(())
}

/// Keeps threads until something is dropped.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<()>>);

impl Held {
    fn until_dropped(&self) -> impl Drop + '_ {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) -> impl FnOnce() + Send + 'static {
        let held = self.clone();
        move || drop(held.until_dropped())
    }
}

/// Makes a panic, which is a fault of this program or of the system's, a line that says so.
pub(super) fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let what = panic.payload_as_str().unwrap_or("no reason was given");
        let place = panic.location().map_or_else(String::new, |place| format!(" ({place})"));
        output::note(&format!(
            "framelane: a fault that should not be, please report it: {what}{place}"
        ));
    }));
}

/// Runs something whose panic is one of its results; it is not printed.
fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, ()> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    std::panic::set_hook(hook);
    done.map_err(drop)
}

/// Raises the limit of open files to what the system permits, and says where that is little.
pub(super) fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none() || current == maximum {
        return tell_file_limit(current);
    }
    let raised = Rlimit { current: maximum, maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => tell_file_limit(maximum),
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays as it is");
            tell_file_limit(current);
        }
    }
}

/// Has memory for long bodies given back to the system as soon as it is free. Otherwise the C library of GNU keeps it
/// for requests of the same size in each of its arenas, and a receiver whose senders begin many long frames, and end
/// none, holds half as much again as its limit.
///
/// Below this length the usual frames of cameras stay, for which the system need not be asked each time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "nothing safe sets it, short of another allocator")]
pub(super) fn return_memory() {
    const LONG_BODY: libc::c_int = 256 * 1_024;
    // SAFETY: it sets a number of the allocator, under the allocator's own lock.
    if unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LONG_BODY) } != 1 {
        tracing::debug!("the allocator keeps its own way with long bodies");
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn return_memory() {}

/// Has all threads of a sender take memory from the same two places. The C library of GNU would give each thread one of its
/// own, and keep in each what an outage has had waiting there: a sender of two cameras has a dozen threads, and
/// hardly ever two that ask at the same time.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "nothing safe sets it, short of another allocator")]
pub(super) fn share_memory() {
    // SAFETY: it sets a number of the allocator, under the allocator's own lock.
    if unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) } != 1 {
        tracing::debug!("the allocator keeps its own way with threads");
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn share_memory() {}

fn tell_file_limit(limit: Option<u64>) {
    if let Some(limit) = limit.filter(|limit| *limit < ENOUGH_FILES) {
        tracing::warn!(
            "this process may have {limit} files open at once, which is few for many sources and \
             sessions; let it have more (ulimit -n)"
        );
    }
}
