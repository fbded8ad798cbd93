//! The threads that do the work, one set a process, and how Python waits for them.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use tokio::runtime::Runtime;

use crate::fault::{Kind, raise};
use crate::logging;
use crate::promise::{Notice, tell};

/// How long Python's signal handlers wait at most, Ctrl-C's among them, while something is waited for.
const SIGNALS: Duration = Duration::from_millis(50);
/// Frames are hashed, encrypted and stored on these threads. More than a sender and a receiver keep busy.
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
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers.max(2))
            .thread_name("framelane")
            .enable_all()
            .build()
            .map_err(failed)?;
        let (notices, to_tell) = mpsc::channel();
        let telling = std::thread::Builder::new()
            .name("framelane-tell".to_owned())
            .spawn(move || tell(&to_tell))
            .map_err(failed)?;
        let telling = Mutex::new(Some(telling));
        let engine: &'static Self =
            Box::leak(Box::new(Self { process, runtime, notices, telling }));
        py.import("atexit")?.call_method1("register", (AtExit(engine),))?;
        engines.push(engine);
        logging::begin(engine);
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
        loop {
            let left = limit.map_or(SIGNALS, |limit| limit.saturating_sub(began.elapsed()));
            let piece = left.min(SIGNALS);
            let done = py.detach(|| {
                self.runtime.block_on(async { tokio::time::timeout(piece, work.as_mut()).await })
            });
            match done {
                Ok(done) => return Ok(Some(done)),
                Err(_) if left <= piece && limit.is_some() => return Ok(None),
                Err(_) => py.check_signals()?,
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
