//! What is said to Python, by a thread of ours that says nothing but this.
//!
//! No thread of the engine ever waits for the interpreter: a program that keeps it busy delays its own futures, and
//! not the frames.

use std::sync::mpsc;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// What a future comes to, made into a Python value where the interpreter is at hand.
pub(crate) type Made = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// Something to be said to Python.
pub(crate) enum Notice {
    /// A future has come to this.
    Done { event_loop: Py<PyAny>, future: Py<PyAny>, made: Made },
    /// A line for the log.
    Line { level: u8, words: String },
    /// Nothing is to be said any more: the interpreter is about to end.
    End,
}

/// Says to Python what there is to be said, until it is told to end.
pub(crate) fn tell(notices: &mpsc::Receiver<Notice>) {
    while let Ok(first) = notices.recv() {
        let told = Python::try_attach(|py| {
            for notice in std::iter::once(first).chain(notices.try_iter()) {
                if matches!(notice, Notice::End) {
                    return false;
                }
                if let Err(error) = say(py, notice) {
                    error.write_unraisable(py, None);
                }
            }
            true
        });
        // Where it cannot attach, the interpreter is ending.
        if told != Some(true) {
            return;
        }
    }
}

fn say(py: Python<'_>, notice: Notice) -> PyResult<()> {
    match notice {
        Notice::End => {}
        Notice::Line { level, words } => {
            let log = py.import("logging")?.call_method1("getLogger", ("framelane",))?;
            log.call_method1("log", (level, "%s", words))?;
        }
        Notice::Done { event_loop, future, made } => {
            let (value, error) = match made(py) {
                Ok(value) => (value, py.None()),
                Err(error) => (py.None(), error.into_value(py).into_any()),
            };
            let settle = py.import("framelane._wait")?.getattr("settle")?;
            let event_loop = event_loop.bind(py);
            if event_loop.call_method0("is_closed")?.is_truthy()? {
                return Ok(());
            }
            let args = PyTuple::new(py, [settle.unbind(), future, value, error])?;
            event_loop.call_method1("call_soon_threadsafe", args)?;
        }
    }
    Ok(())
}
