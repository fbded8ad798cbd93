//! A sender for Python.

use std::future::Future;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use framelane::door::{PushError, Pusher, Ready as Room, SenderBuilder, StartError};
use framelane::frame::ByteSize;
use framelane::sender::{Progress, SendReport, SourceReport};
use framelane::spool::{SpoolError, SpoolFigures, SpoolOptions, WhenFull};
use framelane::transport::TransportChoice;
use framelane::{Frame, Sender as Door};
use futures_util::FutureExt;
use futures_util::future::Shared;
use pyo3::exceptions::{PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use tokio::sync::watch;

use crate::body::Body;
use crate::engine::{Engine, Held, seconds};
use crate::fault::{Kind, raise, refused};
use crate::identity;
use crate::notice::Made;
use crate::promise::promise;
use crate::ready::Ready;
use crate::receipt::Receipt;
use crate::units::{read, span};

/// How often it is looked whether all is settled.
const LOOK: Duration = Duration::from_millis(5);
/// How long a receiver is looked for only to tell it that this is the end. It may be about to come back.
const FAREWELL: Duration = Duration::from_secs(5);

type Figures = Box<dyn Fn() -> SpoolFigures + Send + Sync>;
type Report = Shared<Pin<Box<dyn Future<Output = Arc<SendReport>> + Send>>>;

/// Frames and bytes in memory, frames and bytes on disk, frames that were dropped because it was full, frames that were found.
type InSpool = (u64, u64, u64, u64, u64, u64);

/// Frames on their way to a receiver.
#[pyclass(frozen, module = "framelane._native")]
pub(crate) struct Sender {
    engine: &'static Engine,
    pusher: Held<Pusher>,
    /// `None` once it was told to finish.
    door: Held<Mutex<Option<Door>>>,
    stop: Held<watch::Sender<bool>>,
    progress: Arc<Progress>,
    report: Mutex<Option<Held<Report>>>,
    pin: String,
    /// What is in the spool, where there is one.
    spool: Option<Figures>,
    /// Their frames are none that were pushed.
    has_folders: bool,
    /// The receiver's name, once nobody has the sender any more.
    let_go: Arc<Mutex<Option<String>>>,
}

/// What a sender is to do, as Python has put it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Wanted {
    receiver: String,
    pins: Vec<String>,
    authority: Option<PathBuf>,
    certs: PathBuf,
    sources: Vec<String>,
    folders: Vec<(String, PathBuf)>,
    weights: Vec<(String, u32)>,
    deadlines: Vec<(String, f64)>,
    transport: String,
    repair: String,
    memory: u64,
    retry_for: f64,
    via: Vec<String>,
    spool: Option<PathBuf>,
    spool_size: Option<u64>,
    spool_memory: Option<u64>,
    when_full: Option<String>,
}

impl Wanted {
    /// How much the spool holds, where there is to be one.
    fn spool_options(&self) -> PyResult<Option<SpoolOptions>> {
        if self.spool.is_none() && self.spool_memory.is_none() && self.when_full.is_none() {
            return Ok(None);
        }
        let mut options = SpoolOptions::default();
        options.size = self.spool_size.map_or(options.size, ByteSize);
        options.memory = self.spool_memory.map_or(options.memory, ByteSize);
        options.when_full = match self.when_full.as_deref() {
            None | Some("wait") => WhenFull::Wait,
            Some("drop-oldest") => WhenFull::DropOldest,
            Some(other) => {
                return Err(PyValueError::new_err(format!(
                    "when_full={other:?}: there are \"wait\" (send waits) and \"drop-oldest\" (and declare them)"
                )));
            }
        };
        Ok(Some(options))
    }
}

/// One frame, as Python has put it: the source, the bytes, the end of its name or all of it, and when it was captured, in
/// nanoseconds since 1970.
#[derive(FromPyObject)]
struct Pushed(String, Py<Body>, String, Option<String>, Option<u64>);

impl Pushed {
    fn frame(&self) -> Frame {
        let Self(_, body, extension, name, captured) = self;
        let body = body.get().0.clone();
        let frame = match name {
            Some(name) => Frame::named(name, body),
            None => Frame::with_extension(extension.as_str(), body),
        };
        match captured {
            Some(nanos) => frame.captured_at(SystemTime::UNIX_EPOCH + Duration::from_nanos(*nanos)),
            None => frame.captured_now(),
        }
    }
}

fn builder(wanted: Wanted) -> PyResult<SenderBuilder> {
    let spool = wanted.spool_options()?;
    let mut to = Door::to(wanted.receiver)
        .certs(wanted.certs)
        .transport(read::<TransportChoice>(&wanted.transport)?)
        .repair(read(&wanted.repair)?)
        .memory(ByteSize(wanted.memory))
        .retry_for(span(wanted.retry_for)?);
    to = wanted.pins.into_iter().fold(to, SenderBuilder::pin);
    if let Some(authority) = wanted.authority {
        to = to.authority(authority);
    }
    to = wanted.sources.into_iter().fold(to, SenderBuilder::source);
    to = wanted.folders.into_iter().fold(to, |to, (name, path)| to.folder(name, path));
    for (source, weight) in wanted.weights {
        to = to.weight(source, read(&weight.to_string())?);
    }
    for (source, age) in wanted.deadlines {
        let age = span(age)?;
        if age.is_zero() {
            return Err(PyValueError::new_err(
                "no frame arrives in no time; a deadline is \"200ms\", say",
            ));
        }
        to = to.deadline(source, age);
    }
    to = wanted.via.into_iter().fold(to, SenderBuilder::via);
    if let Some(options) = spool {
        to = to.spool_options(options);
    }
    Ok(match wanted.spool {
        Some(folder) => to.spool(folder),
        None => to,
    })
}

#[pymethods]
impl Sender {
    #[new]
    fn new(py: Python<'_>, wanted: Wanted) -> PyResult<Self> {
        let engine = Engine::here(py)?;
        let own = identity::load(py, wanted.certs.clone())?;
        let pin = own.pin().to_string();
        let (stop, stopped) = watch::channel(false);
        let has_folders = !wanted.folders.is_empty();
        let builder = builder(wanted)?.identity(own).stop_when(stopped);
        // Not on this thread: what is random there would be the same after a fork.
        let starting = engine.spawn(builder.start());
        let started = engine.wait(py, None, starting)?;
        let door = match started {
            Some(Ok(Ok(door))) => door,
            Some(Ok(Err(error))) => return Err(raise(py, unstarted(&error), error)),
            Some(Err(error)) => return Err(raise(py, Kind::Start, error)),
            None => return Err(raise(py, Kind::Start, "it did not start")),
        };
        let progress = door.progress();
        let spool = door.spool().map(|figures| Box::new(figures) as Figures);
        Ok(Self {
            engine,
            pusher: Held::new(engine, door.pusher()),
            door: Held::new(engine, Mutex::new(Some(door))),
            stop: Held::new(engine, stop),
            progress,
            report: Mutex::default(),
            pin,
            spool,
            has_folders,
            let_go: Arc::default(),
        })
    }

    /// By which receivers allow it.
    #[getter]
    fn pin(&self) -> &str {
        &self.pin
    }

    /// Hands a frame over; waits only while the memory is full.
    #[pyo3(signature = (pushed, timeout=None))]
    fn push(&self, py: Python<'_>, pushed: Pushed, timeout: Option<f64>) -> PyResult<Receipt> {
        let (source, frame) = (pushed.0.clone(), pushed.frame());
        self.check(py)?;
        let pushing = self.pusher.get().push(&source, frame);
        match self.engine.wait(py, seconds(timeout)?, pushing)? {
            Some(pushed) => self.receipt(py, pushed),
            None => Err(PyTimeoutError::new_err(
                "the memory for frames that are not stored yet has stayed full for the timeout: the link, or the \
                 receiver, takes less than is sent. The frame was not taken",
            )),
        }
    }

    /// The same for asyncio: a receipt, or a future of what is to be handed over, as soon as there is room. The loop hands
    /// it over: one that was cancelled by then is not taken.
    fn push_soon<'py>(&self, py: Python<'py>, pushed: Pushed) -> PyResult<Bound<'py, PyAny>> {
        let (source, frame) = (pushed.0.clone(), pushed.frame());
        self.check(py)?;
        let pusher = self.pusher.get().clone();
        let mut waiting = Box::pin(async move { pusher.ready(&source, frame).await });
        if let Some(ready) = waiting.as_mut().now_or_never() {
            let pushed = ready.and_then(Room::push);
            return Ok(Bound::new(py, self.receipt(py, pushed)?)?.into_any());
        }
        let engine = self.engine;
        promise(py, engine, async move {
            let ready = waiting.await;
            Box::new(move |py: Python<'_>| {
                let ready = ready.map_err(|error| refused(py, &error))?;
                Ok(Py::new(py, Ready::new(engine, ready))?.into_any())
            }) as Made
        })
    }

    /// Ends the run early; told once more, without waiting for the receiver's last words.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.engine.check(py)?;
        self.stop.get().send_replace(true);
        Ok(())
    }

    /// Takes no more frames, and waits until all are settled. The report as JSON, `None` where the time is over before;
    /// it may be asked again.
    #[pyo3(signature = (timeout=None))]
    fn finish(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<String>> {
        self.engine.check(py)?;
        let report = self.engine.wait(py, seconds(timeout)?, self.finishing())?;
        report.map(|report| as_json(&report)).transpose()
    }

    /// The same for asyncio.
    fn finish_soon<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.engine.check(py)?;
        let report = self.finishing();
        promise(py, self.engine, async move {
            let report = report.await;
            Box::new(move |py: Python<'_>| {
                Ok(as_json(&report)?.into_pyobject(py)?.into_any().unbind())
            }) as Made
        })
    }

    /// Finishes by itself, for so many seconds, and stops then. What is not stored in the end is said in the log.
    /// For one that the program has let go without a word; nothing is said without the name of its receiver. Does not wait.
    #[pyo3(signature = (seconds, receiver=None))]
    fn leave(&self, py: Python<'_>, seconds: f64, receiver: Option<String>) -> PyResult<()> {
        self.engine.check(py)?;
        let limit = span(seconds)?;
        *self.let_go.lock().unwrap_or_else(PoisonError::into_inner) = receiver;
        let (report, stop) = (self.finishing(), self.stop.get().clone());
        self.engine.spawn(async move {
            if tokio::time::timeout(limit, report).await.is_err() {
                stop.send_replace(true);
            }
        });
        Ok(())
    }

    /// What is in the spool: frames and bytes in memory, frames and bytes on disk, frames that were dropped because it was
    /// full, frames that were found in it.
    #[getter]
    fn spool(&self, py: Python<'_>) -> PyResult<Option<InSpool>> {
        self.engine.check(py)?;
        Ok(self.spool.as_ref().map(|figures| {
            let figures = figures();
            let SpoolFigures { memory_frames, memory_bytes, disk_frames, disk_bytes, .. } = figures;
            (memory_frames, memory_bytes, disk_frames, disk_bytes, figures.dropped, figures.found)
        }))
    }

    /// True while there is a session.
    #[getter]
    fn connected(&self, py: Python<'_>) -> PyResult<bool> {
        self.engine.check(py)?;
        Ok(self.progress.is_connected())
    }

    /// What went wrong since this was last asked.
    fn trouble(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.engine.check(py)?;
        Ok(self.progress.take_trouble().map(|trouble| trouble.to_string()))
    }

    /// Frames that were pushed and are not settled; `None` once it was told to finish.
    #[getter]
    fn pending(&self, py: Python<'_>) -> PyResult<Option<usize>> {
        self.engine.check(py)?;
        Ok((!self.is_finishing()).then(|| self.pusher.get().pending()))
    }
}

impl Sender {
    fn receipt(
        &self,
        py: Python<'_>,
        pushed: Result<framelane::Receipt, PushError>,
    ) -> PyResult<Receipt> {
        let receipt = pushed.map_err(|error| refused(py, &error))?;
        Ok(Receipt::new(self.engine, receipt))
    }

    /// Refuses what comes after it was told to finish.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        self.engine.check(py)?;
        if self.is_finishing() { Err(refused(py, &PushError::Ended)) } else { Ok(()) }
    }

    fn is_finishing(&self) -> bool {
        self.door.get().lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// The end of the run, which goes on whether it is waited for or not.
    fn finishing(&self) -> Report {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(report) = &*report {
            return report.get().clone();
        }
        let door = self.door.get().lock().unwrap_or_else(PoisonError::into_inner).take();
        let progress = self.progress.clone();
        let (stop, endless) = (self.stop.get().clone(), self.has_folders);
        let let_go = self.let_go.clone();
        let ending = self.engine.spawn(async move {
            let report = match door {
                Some(door) if endless => Arc::new(door.finish().await),
                Some(door) => Arc::new(finish(door, &progress, &stop).await),
                None => Arc::default(),
            };
            let receiver = let_go.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(receiver) = receiver {
                say_what_is_left(&report, &receiver);
            }
            report
        });
        let ending: Pin<Box<dyn Future<Output = Arc<SendReport>> + Send>> = Box::pin(async move {
            ending.await.unwrap_or_else(|failed| {
                let mut report = SendReport::default();
                report.error = Some(failed.to_string());
                Arc::new(report)
            })
        });
        let ending = ending.shared();
        *report = Some(Held::new(self.engine, ending.clone()));
        ending
    }
}

/// What kind of exception says why a sender does not start.
fn unstarted(error: &StartError) -> Kind {
    match error {
        StartError::Spool(SpoolError::InUse { .. }) => Kind::SpoolInUse,
        StartError::Spool(SpoolError::Version { .. }) => Kind::SpoolVersion,
        StartError::Spool(SpoolError::NotASpool { .. }) => Kind::NotASpool,
        StartError::Spool(_) => Kind::SpoolDisk,
        _ => Kind::Start,
    }
}

/// Finishes when all is settled. Where the receiver has gone by then, there is nothing more to be had from it but to be told
/// that the run has ended: that is tried for a few seconds, and not for as long as frames would be.
async fn finish(door: Door, progress: &Progress, stop: &watch::Sender<bool>) -> SendReport {
    while door.pending() > 0 {
        tokio::time::sleep(LOOK).await;
    }
    let mut finish = pin!(door.finish());
    let mut alone = Duration::ZERO;
    loop {
        if let Ok(report) = tokio::time::timeout(LOOK, finish.as_mut()).await {
            return report;
        }
        let is_alone = !progress.is_connected() && is_settled(progress);
        alone = if is_alone { alone + LOOK } else { Duration::ZERO };
        if alone > FAREWELL {
            stop.send_replace(true);
        }
    }
}

/// Says what became of a sender's frames that nobody asks for any more.
fn say_what_is_left(report: &SendReport, receiver: &str) {
    let frames = |count: u64| {
        if count == 1 { "1 frame was".to_owned() } else { format!("{count} frames were") }
    };
    let pending: u64 = report.sources.iter().map(|source| source.pending).sum();
    let lost: u64 = report.sources.iter().map(SourceReport::lost).sum();
    if lost > 0 {
        let frames = frames(lost);
        let why = report.error.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        tracing::warn!(
            target: "framelane",
            "{frames} not stored by {receiver}, whose sender was let go without being finished{why}"
        );
    }
    if pending > 0 {
        let frames = frames(pending);
        tracing::warn!(
            target: "framelane",
            "{frames} left in the spool by a sender to {receiver} that was let go without being finished; the next sender that \
             names it sends them"
        );
    }
}

/// True where no frame is left, of those in the spool as well.
fn is_settled(progress: &Progress) -> bool {
    progress.sources.iter().all(|source| {
        source.settled.load(Ordering::Relaxed) >= source.frames.load(Ordering::Relaxed)
    })
}

fn as_json(report: &SendReport) -> PyResult<String> {
    serde_json::to_string(report).map_err(|error| PyValueError::new_err(error.to_string()))
}
