//! The bytes of a frame, lent to Python without a copy.

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};

/// The bytes of a frame. `numpy.asarray(body)` is a read-only view of them, not a copy.
#[derive(Debug)]
#[pyclass(frozen, module = "framelane._native")]
pub(crate) struct Body(pub(crate) Bytes);

#[pymethods]
impl Body {
    /// The bytes of a `bytes` object, which is kept as long as they are used, and not copied.
    #[new]
    fn new(bytes: PyBackedBytes) -> Self {
        Self(Bytes::from_owner(bytes))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// A copy of them.
    fn tobytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0)
    }

    /// The first bytes, at most so many, copied.
    fn head<'py>(&self, py: Python<'py>, most: usize) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0[..most.min(self.0.len())])
    }

    /// A part of them, which is not copied.
    fn part(&self, begin: usize, end: usize) -> Self {
        let end = end.min(self.0.len());
        Self(self.0.slice(begin.min(end)..end))
    }

    /// Their BLAKE3 hash in hex, as manifests have it.
    fn blake3(&self, py: Python<'_>) -> String {
        py.detach(|| blake3::hash(&self.0).to_hex().to_string())
    }

    /// Numpy's way of sharing memory, read-only: numpy keeps this object as long as it has the array.
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let shared = PyDict::new(py);
        shared.set_item("version", 3)?;
        shared.set_item("typestr", "|u1")?;
        shared.set_item("shape", (self.0.len(),))?;
        shared.set_item("data", (self.0.as_ptr() as usize, true))?;
        Ok(shared)
    }
}
