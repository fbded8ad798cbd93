//! The front door: sending what a program makes, and receiving into one, each in ten lines.
//!
//! The crate's first page shows both. [`Sender::to`] and [`Receiver::listen`] begin; what is said of them then is checked
//! when they start, before anything is made or opened. The command line is a user of this: what it checks of names,
//! counts, weights, addresses, who may send and limits is checked here.

mod address;
mod builder;
mod desk;
mod error;
mod frame;
mod frames;
mod handing;
mod listen;
mod once;
mod places;
mod pushed;
mod pushing;
mod receipt;
mod received;
mod receiver;
mod remembered;
mod sender;
mod serving;
mod taking;
mod wants;

pub use address::parse_listen;
pub use builder::{SenderBuilder, check_name};
pub use error::{ListenError, PushError, StartError};
pub use frame::Frame;
pub use frames::Frames;
pub use listen::ReceiverBuilder;
#[cfg(feature = "cli")]
pub(crate) use once::OnceEnd;
pub use places::Place;
pub use pushing::{Pusher, Ready};
pub use receipt::{NotStored, Receipt};
pub use received::Received;
pub use receiver::Receiver;
pub use sender::Sender;
pub use serving::Serving;
pub use taking::Taker;
