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

mod address;
mod builder;
mod desk;
mod error;
mod frame;
mod handing;
mod listen;
mod once;
mod places;
mod pushed;
mod receipt;
mod received;
mod receiver;
mod remembered;
mod sender;
mod serving;

pub use address::parse_listen;
pub use builder::{SenderBuilder, check_name};
pub use error::{ListenError, PushError, StartError};
pub use frame::Frame;
pub use listen::ReceiverBuilder;
#[cfg(feature = "cli")]
pub(crate) use once::OnceEnd;
pub use places::Place;
pub use receipt::{NotStored, Receipt};
pub use received::Received;
pub use receiver::Receiver;
pub use sender::Sender;
pub use serving::Serving;
