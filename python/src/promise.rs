//! What asyncio waits for: a future of its loop, which is told by a thread of ours when the time has come.

use std::future::Future;

use pyo3::prelude::*;
use tokio::task::AbortHandle;

use crate::engine::Engine;
use crate::notice::{Made, Notice};

/// Makes a future of the loop that runs, and settles it with what `work` comes to. Where the future is cancelled, so is
/// the work.
pub(crate) fn promise<'py, F>(
    py: Python<'py>,
    engine: &'static Engine,
    work: F,
) -> PyResult<Bound<'py, PyAny>>
where
    F: Future<Output = Made> + Send + 'static,
{
    engine.check(py)?;
    let event_loop = py.import("asyncio")?.call_method0("get_running_loop")?;
    let future = event_loop.call_method0("create_future")?;
    let (to_loop, to_future) = (event_loop.unbind(), future.clone().unbind());
    let task = engine.spawn(async move {
        let made = work.await;
        engine.notify(Notice::Done { event_loop: to_loop, future: to_future, made });
    });
    future.call_method1("add_done_callback", (Abandon(task.abort_handle()),))?;
    Ok(future)
}

/// Called by the future when it is done; ends the work where it was cancelled.
#[pyclass(frozen)]
struct Abandon(AbortHandle);

#[pymethods]
impl Abandon {
    fn __call__(&self, future: &Bound<'_, PyAny>) -> PyResult<()> {
        if future.call_method0("cancelled")?.is_truthy()? {
            self.0.abort();
        }
        Ok(())
    }
}
