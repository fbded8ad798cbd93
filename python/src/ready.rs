//! A frame for which there is room.

use std::sync::{Mutex, PoisonError};

use framelane::door::{self, PushError};
use pyo3::prelude::*;

use crate::engine::{Engine, Held};
use crate::fault::refused;
use crate::receipt::Receipt;

/// Is handed over by whoever has waited for the room, if he still wants it then.
#[pyclass(frozen, module = "framelane._native")]
pub(crate) struct Ready {
    engine: &'static Engine,
    waiting: Held<Mutex<Option<door::Ready>>>,
}

impl Ready {
    pub(crate) fn new(engine: &'static Engine, ready: door::Ready) -> Self {
        Self { engine, waiting: Held::new(engine, Mutex::new(Some(ready))) }
    }
}

#[pymethods]
impl Ready {
    /// Hands it over, once.
    fn push(&self, py: Python<'_>) -> PyResult<Receipt> {
        self.engine.check(py)?;
        let ready = self.waiting.get().lock().unwrap_or_else(PoisonError::into_inner).take();
        let pushed = ready.map_or(Err(PushError::Ended), door::Ready::push);
        Ok(Receipt::new(self.engine, pushed.map_err(|error| refused(py, &error))?))
    }
}
