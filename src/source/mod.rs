//! Where frames come from.
//!
//! - [`synthetic`]: generated frames, for the demonstration and for comparisons without a camera.

pub mod synthetic;
