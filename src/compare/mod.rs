//! Transports compared over the same emulated link, beside what physics allows.
//!
//! ```text
//! link x transport x repetition -> cell -> run (raw samples) -> summary -> verdict in words
//! ```
//!
//! A cell is a sender and a receiver, the same code that `send` and `receive` run, each in a
//! runtime whose threads live at one end of an [emulated link](crate::link). Latency is counted
//! from the time at which a frame was due to the time at which it was stored, both by the same
//! clock, and every stored file is held against what was offered.
//!
//! [`run_pair`] has two links side by side: each alone, and both together.
//!
//! [`limit`] knows what an ideal sender would reach on the same link, [`steadiness`] whether a
//! transport kept up at all, and [`outcome`] has the types that [`crate::report`] shows.

mod against;
mod cell;
mod clip;
mod elsewhere;
mod ends;
mod error;
mod ideal;
pub mod limit;
mod live;
mod measure;
mod multipath;
pub mod outcome;
mod pair;
mod plan;
pub mod ratios;
pub mod remote;
mod rig;
mod scratch;
mod sharing;
pub mod statistics;
pub mod steadiness;
mod stored;
mod summary;
mod supervise;
mod variant;
pub mod verdict;
mod workload;

pub use against::OtherBuild;
pub use clip::Clip;
pub use error::CompareError;
pub use multipath::no_multipath;
pub use pair::{PairPlan, run_pair};
pub use plan::{Event, Plan, run};
pub use rig::Rig;
pub use scratch::Scratch;
pub use sharing::{SharedFlow, SharedRun};
pub use variant::{Over, Variant, VariantError, kernel_variants};
pub use workload::{CAMERAS, Camera, Coming, Workload};
