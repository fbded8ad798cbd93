//! The sending end: offers, frames, receipts, and going on after a lost connection.
//!
//! [`run`] opens sessions one after the other until every frame of every source is settled: stored
//! and confirmed, found to be stored already, or failed by name.

mod attempts;
mod clock;
mod figures;
mod glance;
mod histogram;
mod hold;
mod inquiry;
mod lane;
mod ledger;
#[cfg(test)]
mod live_tests;
mod options;
mod paths;
mod progress;
mod report;
mod run;
mod schedule;
mod session;
#[cfg(test)]
mod session_tests;
mod stall;
#[cfg(test)]
mod stall_tests;
mod stopped;
mod tend;
mod waiting;
mod weight;
mod worker;

pub use figures::LinkFigures;
pub use histogram::Quantiles;
pub use ledger::FailedFrame;
pub use options::SendOptions;
pub use paths::{PathInUse, PathReport};
pub use progress::{Observer, Progress, SourceProgress, Trouble};
pub use report::{SEND_SCHEMA, SendReport, SourceReport};
pub use run::run;
pub use schedule::{Pace, Schedule};
#[cfg(feature = "cli")]
pub(crate) use stopped::INTERRUPTED;
pub use waiting::LimitedBy;
pub use weight::{Weight, WeightError};
