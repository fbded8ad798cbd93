//! The threads that do the work, one set a process, and how Python waits for them.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use tokio::runtime::Runtime;

use crate::fault::{Kind, raise};
use crate::logging;
use crate::notice::{Notice, tell};

/// How long Python's signal handlers wait at most, Ctrl-C's among them, while something is waited for.
const SIGNALS: Duration = Duration::from_millis(50);
/// Threads that move packets, at most; what hashes and stores has threads of its own. A connection is at work on one of them at
/// a time.
const WORKERS: usize = 4;

/// The threads of one process, from their first use until its end.
#[derive(Debug)]
pub(crate) struct Engine {
    process: u32,
    runtime: Runtime,
    notices: mpsc::Sender<Notice>,
    telling: Mutex<Option<JoinHandle<()>>>,
}

/// One for this process, and those that it was forked from: their threads are not here, and they are left alone.
/// Locked only by who is attached to the interpreter, so that no fork finds it locked.
static ENGINES: Mutex<Vec<&'static Engine>> = Mutex::new(Vec::new());

impl Engine {
    /// This process's threads, started where there are none yet.
    pub(crate) fn here(py: Python<'_>) -> PyResult<&'static Self> {
        let process = std::process::id();
        let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engines.iter().find(|engine| engine.process == process) {
            return Ok(engine);
        }
        let failed = |error: std::io::Error| {
            raise(py, Kind::Start, format!("the threads of framelane cannot be started: {error}"))
        };
        // One for each processor would hand the tasks of a connection from one to the other, which costs more than they do.
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let workers = (processors / 2).clamp(1, WORKERS);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_name("framelane")
            .enable_all()
            .build()
            .map_err(failed)?;
        let (notices, to_tell) = mpsc::channel();
        let telling = thread::Builder::new()
            .name("framelane-tell".to_owned())
            .spawn(move || tell(&to_tell))
            .map_err(failed)?;
        let telling = Mutex::new(Some(telling));
        logging::begin(notices.clone());
        let engine: &'static Self =
            Box::leak(Box::new(Self { process, runtime, notices, telling }));
        py.import("atexit")?.call_method1("register", (AtExit(engine),))?;
        engines.push(engine);
        Ok(engine)
    }

    /// Refuses what was made before this process was forked: its threads stayed behind.
    pub(crate) fn check(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_here() {
            return Ok(());
        }
        Err(raise(
            py,
            Kind::Forked,
            "this was made before the process was forked, and the threads that it works with stayed in the parent: \
             make it anew in the child, or start the child with multiprocessing.set_start_method(\"spawn\")",
        ))
    }

    /// False in a process that was forked from the one that made it.
    pub(crate) fn is_here(&self) -> bool {
        self.process == std::process::id()
    }

    /// Starts something that goes on by itself.
    pub(crate) fn spawn<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.runtime.spawn(work)
    }

    /// Waits, with the interpreter let go; `None` where the time is over before. A signal's handler is called within
    /// 50 ms, and what it raises ends the wait.
    ///
    /// The thread is parked by itself, and not in the runtime: to set a timer there, and take it back, wakes the thread that
    /// moves packets twice. So what is waited for is nothing that needs a runtime's timers.
    pub(crate) fn wait<F>(
        &self,
        py: Python<'_>,
        limit: Option<Duration>,
        work: F,
    ) -> PyResult<Option<F::Output>>
    where
        F: Future + Send,
        F::Output: Send,
    {
        self.check(py)?;
        let began = Instant::now();
        let mut work = pin!(work);
        // Most frames are handed over at once, for which the interpreter need not be let go.
        if let Some(done) = park(work.as_mut(), Duration::ZERO) {
            return Ok(Some(done));
        }
        loop {
            let left = limit.map_or(SIGNALS, |limit| limit.saturating_sub(began.elapsed()));
            let piece = left.min(SIGNALS);
            match py.detach(|| park(work.as_mut(), piece)) {
                Some(done) => return Ok(Some(done)),
                None if left <= piece && limit.is_some() => return Ok(None),
                None => py.check_signals()?,
            }
        }
    }

    /// Has nothing said to Python any more, and waits until nothing is. A thread that is in the interpreter when that
    /// ends would be torn out of it, and the process would abort.
    fn end_telling(&self, py: Python<'_>) {
        let telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(telling) = telling {
            self.notify(Notice::End);
            // Whether it has panicked makes no difference now.
            let _ = py.detach(|| telling.join());
        }
    }

    /// Has something said to Python, when the interpreter is free.
    pub(crate) fn notify(&self, notice: Notice) {
        // The thread that listens ends with the process.
        let _ = self.notices.send(notice);
    }
}

/// Wakes a thread that is parked.
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: Waker = Waker::from(Arc::new(Parked(thread::current())));
}

/// Waits for so long on this thread; `None` where it is not done by then.
fn park<F: Future>(mut work: Pin<&mut F>, time: Duration) -> Option<F::Output> {
    let waker = WAKER.with(Waker::clone);
    let mut cx = Context::from_waker(&waker);
    let end = Instant::now() + time;
    loop {
        if let Poll::Ready(done) = work.as_mut().poll(&mut cx) {
            return Some(done);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        // It may have been woken for something else, or before.
        thread::park_timeout(left);
    }
}

/// Has all said that there is to be said, and no more: for processes that end without a word to what is registered for the end
/// of the interpreter.
#[pyfunction]
pub(crate) fn end_telling(py: Python<'_>) {
    let process = std::process::id();
    let engine = {
        let engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
        engines.iter().find(|engine| engine.process == process).copied()
    };
    if let Some(engine) = engine {
        engine.end_telling(py);
    }
}

/// Called before the interpreter ends.
#[pyclass(frozen)]
struct AtExit(&'static Engine);

#[pymethods]
impl AtExit {
    fn __call__(&self, py: Python<'_>) {
        if self.0.is_here() {
            self.0.end_telling(py);
        }
    }
}

/// Something whose end needs the engine's threads. In a forked child, where there are none, it is left as it is.
#[derive(Debug)]
pub(crate) struct Held<T> {
    engine: &'static Engine,
    value: Option<T>,
}

impl<T> Held<T> {
    pub(crate) fn new(engine: &'static Engine, value: T) -> Self {
        Self { engine, value: Some(value) }
    }

    pub(crate) fn get(&self) -> &T {
        self.value.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take()
            && !self.engine.is_here()
        {
            std::mem::forget(value);
        }
    }
}

/// A time in seconds as a caller gives it: `None` waits for ever.
pub(crate) fn seconds(given: Option<f64>) -> PyResult<Option<Duration>> {
    let wrong = |_| {
        pyo3::exceptions::PyValueError::new_err("a timeout is a number of seconds, zero or more")
    };
    match given {
        None => Ok(None),
        Some(forever) if forever == f64::INFINITY => Ok(None),
        Some(given) => Duration::try_from_secs_f64(given).map(Some).map_err(wrong),
    }
}
