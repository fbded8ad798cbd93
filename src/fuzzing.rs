//! What only the fuzz targets see (`fuzz/`). None of it is stable.

pub use crate::congestion::lossy::fuzzing::controller;
