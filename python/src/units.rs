//! Quantities, and whatever else has words on the command line, as that takes them.

use std::time::Duration;

use framelane::frame::{ByteSize, Span};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Seconds of a time such as "250ms".
#[pyfunction]
pub(crate) fn parse_span(text: &str) -> PyResult<f64> {
    let span: Span = text.parse().map_err(|error| PyValueError::new_err(format!("{error}")))?;
    Ok(span.0.as_secs_f64())
}

/// Bytes of a size such as "64MiB".
#[pyfunction]
pub(crate) fn parse_size(text: &str) -> PyResult<u64> {
    let size: ByteSize = text.parse().map_err(|error| PyValueError::new_err(format!("{error}")))?;
    Ok(size.0)
}

/// A length of time that was given in seconds.
pub(crate) fn span(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Something by the words that the command line has for it.
pub(crate) fn read<T>(words: &str) -> PyResult<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    words.parse().map_err(|error: T::Err| PyValueError::new_err(error.to_string()))
}
