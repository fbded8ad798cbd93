//! Images made of arrays, and arrays made of images.

mod jpeg;
mod png;

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::body::Body;
use crate::fault::{Kind, raise};

/// An image as an array holds it: rows of pixels of one, three or four samples.
#[derive(Debug, Clone, Copy)]
struct Shape {
    height: usize,
    width: usize,
    channels: usize,
    /// Blue, green, red, as OpenCV has it.
    bgr: bool,
}

impl Shape {
    fn samples(&self) -> Option<usize> {
        self.height.checked_mul(self.width)?.checked_mul(self.channels)
    }

    /// Refuses an array that is not of this shape.
    fn check(&self, samples: usize) -> Result<(), String> {
        let Self { height, width, channels, .. } = self;
        match self.samples() {
            Some(0) => {
                Err(format!("an image of shape ({height}, {width}, {channels}) has no pixels"))
            }
            Some(own) if own == samples => Ok(()),
            _ => Err(format!(
                "an image of shape ({height}, {width}, {channels}) does not have {samples} samples"
            )),
        }
    }
}

/// Samples of a decoded image.
enum Samples {
    Bytes(Vec<u8>),
    Words(Vec<u16>),
}

/// Red and blue change places, in pixels of three or four samples.
fn swap_ends<T>(samples: &mut [T], channels: usize) {
    if channels >= 3 {
        samples.chunks_exact_mut(channels).for_each(|pixel| pixel.swap(0, 2));
    }
}

/// A frame of these bytes, one after the other: the header of an NPY file, its data, and what stands behind it. The data
/// is copied once, so that the array may be used again at once.
#[pyfunction]
pub(crate) fn joined(
    py: Python<'_>,
    head: &[u8],
    data: PyReadonlyArray1<'_, u8>,
    tail: &[u8],
) -> PyResult<Body> {
    let data = data.as_slice()?;
    let bytes = py.detach(|| [head, data, tail].concat());
    Ok(Body(bytes.into()))
}

/// PNG of 8-bit samples.
#[pyfunction]
pub(crate) fn encode_png_u8(
    py: Python<'_>,
    data: PyReadonlyArray1<'_, u8>,
    shape: (usize, usize, usize),
    bgr: bool,
) -> PyResult<Body> {
    let shape = of(shape, bgr);
    let data = data.as_slice()?;
    finish(py, py.detach(|| png::encode_u8(data, shape)))
}

/// PNG of 16-bit samples.
#[pyfunction]
pub(crate) fn encode_png_u16(
    py: Python<'_>,
    data: PyReadonlyArray1<'_, u16>,
    shape: (usize, usize, usize),
    bgr: bool,
) -> PyResult<Body> {
    let shape = of(shape, bgr);
    let data = data.as_slice()?;
    finish(py, py.detach(|| png::encode_u16(data, shape)))
}

/// JPEG of 8-bit samples, with a quality from 1 to 100.
#[pyfunction]
pub(crate) fn encode_jpeg(
    py: Python<'_>,
    data: PyReadonlyArray1<'_, u8>,
    shape: (usize, usize, usize),
    bgr: bool,
    quality: u8,
) -> PyResult<Body> {
    let shape = of(shape, bgr);
    let data = data.as_slice()?;
    finish(py, py.detach(|| jpeg::encode(data, shape, quality)))
}

/// The array of a JPEG or PNG image: (H, W) or (H, W, C), `None` where it is neither. Not decoded where it would
/// take more than `most` bytes.
#[pyfunction]
pub(crate) fn decode(
    py: Python<'_>,
    body: &Body,
    bgr: bool,
    most: usize,
) -> PyResult<Option<Py<PyAny>>> {
    let bytes = &body.0[..];
    let decoded = py.detach(|| {
        if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            return Some(guarded("PNG", || png::decode(bytes, most)));
        }
        let is_jpeg = bytes.starts_with(&[0xff, 0xd8]);
        is_jpeg.then(|| guarded("JPEG", || jpeg::decode(bytes, most)))
    });
    let Some(decoded) = decoded else { return Ok(None) };
    let (mut samples, shape) = decoded.map_err(|why| raise(py, Kind::Decode, why))?;
    if bgr {
        py.detach(|| match &mut samples {
            Samples::Bytes(samples) => swap_ends(samples, shape.channels),
            Samples::Words(samples) => swap_ends(samples, shape.channels),
        });
    }
    let flat = match samples {
        Samples::Bytes(samples) => PyArray1::from_vec(py, samples).into_any(),
        Samples::Words(samples) => PyArray1::from_vec(py, samples).into_any(),
    };
    let array = match shape.channels {
        1 => flat.call_method1("reshape", (shape.height, shape.width))?,
        channels => flat.call_method1("reshape", (shape.height, shape.width, channels))?,
    };
    Ok(Some(array.unbind()))
}

/// What a decoder says of a peer's bytes; one that panics over them says that it cannot decode them.
fn guarded<T>(kind: &str, decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        Err(format!("the {kind} image cannot be decoded: its decoder has failed"))
    })
}

fn of((height, width, channels): (usize, usize, usize), bgr: bool) -> Shape {
    Shape { height, width, channels, bgr }
}

fn finish(py: Python<'_>, encoded: Result<Vec<u8>, String>) -> PyResult<Body> {
    match encoded {
        Ok(bytes) => Ok(Body(bytes.into())),
        Err(why) => Err(raise(py, Kind::Encode, why)),
    }
}
