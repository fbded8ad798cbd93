//! One end of the link: a runtime whose threads live in its namespace, and what they cost.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::CompareError;
use crate::link::NamespaceHandle;
use crate::transport::worker_threads;

/// How long threads may take to end. A thread that does not (it waits for a frame that never
/// comes) is left to itself, and its processor time is not counted.
const SHUTDOWN: Duration = Duration::from_millis(500);

/// A runtime at one end.
pub(super) struct End {
    runtime: Runtime,
    meter: Meter,
    failed: Arc<Mutex<Option<String>>>,
    name: &'static str,
}

/// Adds up the processor time of threads, each when it ends.
struct Meter {
    nanos: Arc<AtomicU64>,
    /// Of a channel that carries nothing: it is closed when the last counted thread has ended.
    alive: mpsc::Sender<()>,
    all_ended: mpsc::Receiver<()>,
}

/// What a thread holds that is counted. Dropping it, on that thread, adds the thread's time.
struct Counted {
    nanos: Arc<AtomicU64>,
    _alive: mpsc::Sender<()>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.nanos.fetch_add(thread_nanos(), Ordering::Relaxed);
    }
}

impl Meter {
    fn new() -> Self {
        let (alive, all_ended) = mpsc::channel();
        Self { nanos: Arc::default(), alive, all_ended }
    }

    /// What makes a thread count that calls it, and drops what it gets at its end.
    fn count(&self) -> impl Fn() -> Box<dyn Send> + Send + Sync + 'static {
        let (nanos, alive) = (self.nanos.clone(), self.alive.clone());
        move || Box::new(Counted { nanos: nanos.clone(), _alive: alive.clone() })
    }

    /// The processor time of all threads in seconds, once they have ended; of those that have
    /// where that takes longer than `patience`.
    fn read(self, patience: Duration) -> f64 {
        let Self { nanos, alive, all_ended } = self;
        drop(alive);
        // Nothing is ever sent: either it is closed, or time is up.
        let _ = all_ended.recv_timeout(patience);
        nanos.load(Ordering::Relaxed) as f64 / 1e9
    }
}

impl End {
    /// Starts threads inside `namespace`.
    pub(super) fn start(
        name: &'static str,
        namespace: &NamespaceHandle,
    ) -> Result<Self, CompareError> {
        let meter = Meter::new();
        let failed = Arc::new(Mutex::new(None));
        let (counted, trouble) = (meter.nanos.clone(), failed.clone());
        let namespace = namespace.clone();
        let runtime = Builder::new_multi_thread()
            .worker_threads(worker_threads())
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
        Ok(Self { runtime, meter, failed, name })
    }

    /// What makes further threads count for this end, as those do that store: for
    /// [`Sources::on_thread_start`](crate::receiver::Sources::on_thread_start).
    pub(super) fn count_thread(&self) -> impl Fn() -> Box<dyn Send> + Send + Sync + 'static {
        self.meter.count()
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

    /// Ends the threads, and waits for those beside them that count. Returns the processor time of
    /// all of them, in seconds: of the receiving end with what it takes to hash and to store.
    ///
    /// The kernel's work for their sockets is in it as far as it was done in their system calls;
    /// what it does when a packet arrives counts for the thread that moves the link's packets.
    pub(super) fn stop(self) -> f64 {
        self.runtime.shutdown_timeout(SHUTDOWN);
        self.meter.read(SHUTDOWN)
    }
}

/// Processor time of the calling thread so far.
fn thread_nanos() -> u64 {
    let time = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Keeps the calling thread busy for so much processor time.
    fn burn(time: Duration) {
        let from = thread_nanos();
        while u128::from(thread_nanos() - from) < time.as_nanos() {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn threads_beside_the_runtime_count_when_they_have_ended() {
        let meter = Meter::new();
        let time = Duration::from_millis(20);
        let (go, wait) = mpsc::channel::<()>();
        let count = meter.count();
        let counted = thread::spawn(move || {
            let _until_its_end = count();
            // It ends only while the meter is being read.
            let _ = wait.recv();
            burn(time);
        });
        thread::spawn(move || burn(3 * time)).join().unwrap();
        drop(go);
        let seconds = meter.read(Duration::from_secs(60));
        counted.join().unwrap();
        let time = time.as_secs_f64();
        assert!((time..3.0 * time).contains(&seconds), "{seconds} s");
    }
}
