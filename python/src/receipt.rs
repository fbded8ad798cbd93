//! What becomes of a frame, for whoever wants to know.

use std::future::Future;
use std::pin::Pin;

use framelane::door::NotStored;
use futures_util::FutureExt;
use futures_util::future::Shared;
use pyo3::exceptions::PyTimeoutError;
use pyo3::prelude::*;

use crate::engine::{Engine, Held, seconds};
use crate::fault::{Kind, raise};
use crate::notice::Made;
use crate::promise::promise;

type Fate = Shared<Pin<Box<dyn Future<Output = Result<(), NotStored>> + Send>>>;

/// Tells what becomes of a frame that was pushed.
#[pyclass(frozen, module = "framelane._native")]
pub(crate) struct Receipt {
    engine: &'static Engine,
    fate: Held<Fate>,
}

impl Receipt {
    pub(crate) fn new(engine: &'static Engine, receipt: framelane::Receipt) -> Self {
        let fate: Pin<Box<dyn Future<Output = Result<(), NotStored>> + Send>> =
            Box::pin(receipt.stored());
        Self { engine, fate: Held::new(engine, fate.shared()) }
    }
}

#[pymethods]
impl Receipt {
    /// Waits until the frame is stored.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let fate = self.fate.get().clone();
        match self.engine.wait(py, seconds(timeout)?, fate)? {
            Some(fate) => said(py, fate),
            None => Err(PyTimeoutError::new_err(
                "no receipt has come within the timeout; the frame is still being sent",
            )),
        }
    }

    /// True where it is stored, `None` where that is not known yet. Does not wait.
    #[getter]
    fn stored(&self, py: Python<'_>) -> PyResult<Option<bool>> {
        self.engine.check(py)?;
        let known = self.fate.get().clone().now_or_never();
        Ok(known.map(|fate| fate.is_ok()))
    }

    /// A future of the loop that runs.
    fn promise<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.engine.check(py)?;
        let fate = self.fate.get().clone();
        promise(py, self.engine, async move {
            let fate = fate.await;
            Box::new(move |py: Python<'_>| said(py, fate).map(|()| py.None())) as Made
        })
    }
}

fn said(py: Python<'_>, fate: Result<(), NotStored>) -> PyResult<()> {
    fate.map_err(|why| {
        let kind = if why == NotStored::Ended { Kind::Ended } else { Kind::Lost };
        raise(py, kind, why)
    })
}
