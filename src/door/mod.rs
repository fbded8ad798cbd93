//! The front door: sending what a program makes, in ten lines.
//!
//! ```no_run
//! # async fn camera() -> Vec<u8> { Vec::new() }
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use framelane::door::{Frame, Sender};
//!
//! let pin = std::env::args().nth(1).ok_or("which pin?")?;
//! let sender = Sender::to("host:4433").pin(pin).source("visible").start().await?;
//! for _ in 0..100 {
//!     let receipt = sender.push("visible", Frame::jpeg(camera().await).captured_now()).await?;
//!     receipt.stored().await?; // only where each has to be known to be stored
//! }
//! let report = sender.finish().await;
//! assert!(report.is_complete());
//! # Ok(())
//! # }
//! ```
//!
//! The command line is a user of this: what it checks of names, counts and weights is checked here.

mod builder;
mod error;
mod frame;
mod pushed;
mod receipt;
mod sender;

pub use builder::{SenderBuilder, check_name};
pub use error::{PushError, StartError};
pub use frame::Frame;
pub use receipt::{NotStored, Receipt};
pub use sender::Sender;
