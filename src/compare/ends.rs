//! One end of the link: a runtime whose threads live in its namespace, and what they cost.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::CompareError;
use crate::link::NamespaceHandle;

/// How long threads may take to end. A thread that does not (it waits for a frame that never
/// comes) is left to itself, and its processor time is not counted.
const SHUTDOWN: Duration = Duration::from_millis(500);

/// A runtime at one end.
pub(super) struct End {
    runtime: Runtime,
    processor_nanos: Arc<AtomicU64>,
    failed: Arc<Mutex<Option<String>>>,
    name: &'static str,
}

impl End {
    /// Starts threads inside `namespace`.
    pub(super) fn start(
        name: &'static str,
        namespace: &NamespaceHandle,
    ) -> Result<Self, CompareError> {
        let processor_nanos = Arc::new(AtomicU64::new(0));
        let failed = Arc::new(Mutex::new(None));
        let (counted, trouble) = (processor_nanos.clone(), failed.clone());
        let namespace = namespace.clone();
        let runtime = Builder::new_multi_thread()
            .thread_name(name)
            .enable_all()
            .on_thread_start(move || {
                if let Err(error) = namespace.enter_current_thread()
                    && let Ok(mut trouble) = trouble.lock()
                {
                    *trouble = Some(error.to_string());
                }
            })
            .on_thread_stop(move || {
                counted.fetch_add(thread_nanos(), Ordering::Relaxed);
            })
            .build()
            .map_err(|error| CompareError::End { end: name, why: error.to_string() })?;
        Ok(Self { runtime, processor_nanos, failed, name })
    }

    /// Starts `work` on one of the threads, so that the sockets it opens are at this end.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(work)
    }

    /// Waits for `work`, which was [spawned](Self::spawn).
    pub(super) fn wait<T>(&self, work: JoinHandle<T>) -> Result<T, CompareError> {
        let done = self.runtime.block_on(work);
        let trouble = self.failed.lock().ok().and_then(|trouble| trouble.clone());
        match (trouble, done) {
            (Some(why), _) => Err(CompareError::End { end: self.name, why }),
            (None, Ok(value)) => Ok(value),
            (None, Err(error)) => Err(CompareError::End { end: self.name, why: error.to_string() }),
        }
    }

    /// Waits for `work` for at most `patience`.
    pub(super) fn wait_briefly<T>(&self, work: JoinHandle<T>, patience: Duration) -> Option<T> {
        let waited = async { tokio::time::timeout(patience, work).await };
        self.runtime.block_on(waited).ok()?.ok()
    }

    /// Ends the threads. Returns the processor time of all of them, in seconds.
    ///
    /// The kernel's work for their sockets is in it as far as it was done in their system calls;
    /// what it does when a packet arrives counts for the thread that moves the link's packets.
    pub(super) fn stop(self) -> f64 {
        self.runtime.shutdown_timeout(SHUTDOWN);
        self.processor_nanos.load(Ordering::Relaxed) as f64 / 1e9
    }
}

/// Processor time of the calling thread so far.
fn thread_nanos() -> u64 {
    let time = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
