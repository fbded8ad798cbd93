//! A receiver for Python.

use std::path::PathBuf;
use std::sync::Arc;

use framelane::Receiver as Door;
use framelane::door::{Received as Handed, ReceiverBuilder, Taker};
use framelane::frame::ByteSize;
use framelane::receiver::{ReceiveError, ReceiveLimits, ReceiveReport};
use pyo3::exceptions::PyTimeoutError;
use pyo3::prelude::*;
use tokio::sync::{Mutex, watch};

use crate::body::Body;
use crate::engine::{Engine, Held, seconds};
use crate::fault::{Kind, raise};
use crate::identity;
use crate::notice::Made;
use crate::promise::promise;
use crate::units::{read, span};

/// Frames from senders.
#[pyclass(frozen, module = "framelane._native")]
pub(crate) struct Receiver {
    engine: &'static Engine,
    taker: Held<Taker>,
    /// `None` once it was closed.
    door: Held<Arc<Mutex<Option<Door>>>>,
    closing: Held<watch::Sender<bool>>,
    ended: Held<Arc<Mutex<Option<Ended>>>>,
    pin: String,
    addresses: Vec<(String, String)>,
}

/// How it ended.
type Ended = Result<ReceiveReport, ReceiveError>;

/// What a receiver is to do, as Python has put it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Wanted {
    listen: String,
    allow: Vec<String>,
    certs: PathBuf,
    out: Option<PathBuf>,
    layout: String,
    durable: bool,
    transports: Vec<String>,
    latest: Vec<String>,
    all_latest: bool,
    once: bool,
    queue: u64,
    max_frame: Option<u64>,
    memory: Option<u64>,
    stall: Option<f64>,
    allow_overwrite: bool,
    shared: bool,
}

fn builder(wanted: Wanted) -> PyResult<ReceiverBuilder> {
    let mut at = Door::listen(wanted.listen).certs(wanted.certs).queue(ByteSize(wanted.queue));
    let mut limits = ReceiveLimits::default();
    limits.allow_overwrite = wanted.allow_overwrite;
    limits.shared = wanted.shared;
    if let Some(stall) = wanted.stall {
        limits.stall = span(stall)?;
    }
    at = at.limits(limits).durable(wanted.durable).layout(read(&wanted.layout)?);
    if let Some(memory) = wanted.memory {
        at = at.memory(ByteSize(memory));
    }
    if let Some(longest) = wanted.max_frame {
        at = at.max_frame(ByteSize(longest));
    }
    at = wanted.allow.into_iter().fold(at, ReceiverBuilder::allow);
    at = wanted.latest.into_iter().fold(at, ReceiverBuilder::latest);
    for name in &wanted.transports {
        at = at.transport(read(name)?);
    }
    if let Some(out) = wanted.out {
        at = at.out(out);
    }
    Ok(if wanted.once { at.once() } else { at })
}

#[pymethods]
impl Receiver {
    #[new]
    fn new(py: Python<'_>, wanted: Wanted) -> PyResult<Self> {
        let engine = Engine::here(py)?;
        let (certs, all_latest) = (wanted.certs.clone(), wanted.all_latest);
        let builder = builder(wanted)?;
        builder.check().map_err(|error| raise(py, Kind::Listen, error))?;
        let own = identity::load(py, certs)?;
        let starting = engine.spawn(builder.identity(own).start());
        let door = match engine.wait(py, None, starting)? {
            Some(Ok(Ok(door))) => door,
            Some(Ok(Err(error))) => return Err(raise(py, Kind::Listen, error)),
            Some(Err(error)) => return Err(raise(py, Kind::Listen, error)),
            None => return Err(raise(py, Kind::Listen, "it did not start")),
        };
        if all_latest {
            door.want_latest(None).map_err(|error| raise(py, Kind::Listen, error))?;
        }
        let place = |place: &framelane::door::Place| {
            (place.transport.name().to_owned(), place.address.to_string())
        };
        let (closing, _) = watch::channel(false);
        Ok(Self {
            engine,
            pin: door.pin().to_string(),
            addresses: door.addresses().iter().map(place).collect(),
            taker: Held::new(engine, door.taker()),
            door: Held::new(engine, Arc::new(Mutex::new(Some(door)))),
            closing: Held::new(engine, closing),
            ended: Held::new(engine, Arc::default()),
        })
    }

    /// By which senders trust it.
    #[getter]
    fn pin(&self) -> &str {
        &self.pin
    }

    /// Where it listens: transports and addresses.
    #[getter]
    fn addresses(&self) -> Vec<(String, String)> {
        self.addresses.clone()
    }

    /// The next frame; `None` where none will come any more.
    #[pyo3(signature = (timeout=None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Received>> {
        self.engine.check(py)?;
        let next = next(self.taker.get(), self.closing.get().subscribe());
        let Some(next) = self.engine.wait(py, seconds(timeout)?, next)? else {
            return Err(PyTimeoutError::new_err("no frame has come within the timeout"));
        };
        Ok(next.map(Received))
    }

    /// A frame that is there already, and whether any can still come.
    fn try_next(&self, py: Python<'_>) -> PyResult<(Option<Received>, bool)> {
        self.engine.check(py)?;
        let taker = self.taker.get();
        let frame = taker.try_next();
        Ok((frame.map(Received), !taker.has_ended()))
    }

    /// Has another task that waits look again: for one that was cancelled, and may have been told of a frame.
    fn pass_on(&self, py: Python<'_>) -> PyResult<()> {
        self.engine.check(py)?;
        self.taker.get().pass_on();
        Ok(())
    }

    /// A future of the loop that runs, which is done when there is a frame to take, or none will come.
    fn ready_soon<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.engine.check(py)?;
        let (taker, mut closing) = (self.taker.get().clone(), self.closing.get().subscribe());
        promise(py, self.engine, async move {
            tokio::select! {
                () = taker.ready() => {}
                _ = closing.wait_for(|closing| *closing) => {}
            }
            Box::new(|py: Python<'_>| Ok(py.None())) as Made
        })
    }

    /// From now on the newest frame of a source, or each.
    fn want(&self, py: Python<'_>, source: Option<String>, latest: bool) -> PyResult<()> {
        self.engine.check(py)?;
        let (taker, source) = (self.taker.get(), source.as_deref());
        let wanted = if latest { taker.want_latest(source) } else { taker.want_every(source) };
        wanted.map_err(|error| raise(py, Kind::Listen, error))
    }

    /// Takes nothing new, hands nothing out any more, and gives the report as JSON; again, where it is asked again.
    fn close(&self, py: Python<'_>) -> PyResult<String> {
        self.engine.check(py)?;
        self.closing.get().send_replace(true);
        let ending = close(self.door.get().clone(), self.ended.get().clone());
        let ending = self.engine.spawn(ending);
        match self.engine.wait(py, None, ending)? {
            Some(Ok(ended)) => report(py, ended),
            _ => Err(raise(py, Kind::Receive, "the receiver has panicked")),
        }
    }

    /// The same for asyncio.
    fn close_soon<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.engine.check(py)?;
        self.closing.get().send_replace(true);
        let ending = self.engine.spawn(close(self.door.get().clone(), self.ended.get().clone()));
        promise(py, self.engine, async move {
            let ended = ending.await;
            Box::new(move |py: Python<'_>| match ended {
                Ok(ended) => Ok(report(py, ended)?.into_pyobject(py)?.into_any().unbind()),
                Err(_) => Err(raise(py, Kind::Receive, "the receiver has panicked")),
            }) as Made
        })
    }
}

/// Keeps nothing that closing would wait for: a signal's handler may close the receiver while this waits below it.
async fn next(taker: &Taker, mut closing: watch::Receiver<bool>) -> Option<Handed> {
    tokio::select! {
        biased;
        frame = taker.next() => frame,
        _ = closing.wait_for(|closing| *closing) => None,
    }
}

async fn close(
    door: Arc<Mutex<Option<Door>>>,
    ended: Arc<Mutex<Option<Ended>>>,
) -> Result<String, String> {
    let mut ended = ended.lock().await;
    let door = door.lock().await.take();
    if let Some(door) = door {
        *ended = Some(door.shutdown().await);
    }
    match &*ended {
        Some(Ok(report)) => serde_json::to_string(report).map_err(|error| error.to_string()),
        Some(Err(error)) => Err(error.to_string()),
        None => Ok("{}".to_owned()),
    }
}

fn report(py: Python<'_>, ended: Result<String, String>) -> PyResult<String> {
    ended.map_err(|error| raise(py, Kind::Receive, error))
}

/// A frame that has arrived whole, and is what its sender announced.
#[pyclass(frozen, module = "framelane._native")]
pub(crate) struct Received(Handed);

#[pymethods]
impl Received {
    #[getter]
    fn source(&self) -> &str {
        self.0.source.as_str()
    }

    #[getter]
    fn sequence(&self) -> u64 {
        self.0.sequence.0
    }

    #[getter]
    fn name(&self) -> &str {
        self.0.name.as_str()
    }

    #[getter]
    fn captured_ns(&self) -> Option<u64> {
        self.0.captured.map(|captured| captured.at.0)
    }

    #[getter]
    fn clock(&self) -> Option<&'static str> {
        self.0.captured.map(|captured| captured.clock.name())
    }

    #[getter]
    fn uncertainty_ns(&self) -> Option<u64> {
        self.0.captured.and_then(|captured| captured.uncertainty)
    }

    #[getter]
    fn received_ns(&self) -> u64 {
        self.0.received.0
    }

    #[getter]
    fn sender(&self) -> Option<&str> {
        self.0.sender.as_deref()
    }

    #[getter]
    fn sender_name(&self) -> Option<&str> {
        self.0.sender_name.as_deref()
    }

    #[getter]
    fn media(&self) -> &str {
        self.0.media.as_str()
    }

    #[getter]
    fn body(&self) -> Body {
        Body(self.0.bytes.clone())
    }
}
