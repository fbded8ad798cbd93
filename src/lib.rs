//! framelane moves sequences of camera frames over lossy links and proves that every one arrived.
//!
//! The command line tool of the same name is a thin layer over this library; the README is about
//! that. `docs/wire.md` specifies the protocol, `docs/decisions.md` has the reasons.
//!
//! # The front door
//!
//! Sending what a program makes, frame by frame; each leaves at once:
//!
//! ```no_run
//! use framelane::{Frame, Sender};
//!
//! # async fn camera() -> Vec<u8> { Vec::new() }
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pin = std::env::args().nth(1).ok_or("which pin? The receiver's own, as it prints it")?;
//! let sender = Sender::to("192.0.2.7:4433").pin(pin).source("visible").source("infrared").start().await?;
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
//! And receiving it into a program; with `out` it is stored first, one folder a source:
//!
//! ```no_run
//! use framelane::Receiver;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pin = std::env::args().nth(1).ok_or("which pin? The sender's own, as it prints it")?;
//! let mut receiver = Receiver::listen("0.0.0.0:4433").allow(pin).out("received").start().await?;
//! while let Some(frame) = receiver.next().await {
//!     println!("{} {}: {} bytes", frame.source, frame.name, frame.bytes.len());
//! }
//! let report = receiver.shutdown().await?;
//! assert!(report.is_complete());
//! # Ok(())
//! # }
//! ```
//!
//! [`Receiver::frames`] has the same frames as a `Stream`. Both are in `examples/`, as `send_camera.rs` and `receive_callback.rs`. [`door`] has the rest: folders and other
//! sources, deadlines, weights, the latest frame only, limits.
//!
//! # The path of a frame
//!
//! ```text
//!       door::Sender                               door::Receiver
//!            |                                             |
//! source -> sender -> transport ~~ link ~~> transport -> receiver -> store
//!                        |                      |                      |
//!                  wire, identity             wire                 manifest
//! ```
//!
//! 1. A [`source`] is a numbered list of frames that can be read, and read again: a [`Folder`], or
//!    generated images.
//! 2. The [`sender`] offers frames, so that nothing stored travels twice, reads those that are
//!    wanted, and hands the most urgent one to its transport. It keeps what is unconfirmed within
//!    bounds, reconnects when the connection is lost, and says at the end what became of each frame.
//! 3. A [`transport`] carries a session: over [`quic`], where each frame has a stream of its own,
//!    with [`repair`] behind its body and a [`congestion`] controller for links that lose packets;
//!    over [`tcp`]; or in the [stop-and-wait] protocol of older scripts. [`wire`] has the bytes,
//!    [`identity`] the certificates and whom to trust.
//! 4. The [`receiver`] takes sessions from many senders, and confirms a frame when it is stored.
//! 5. The [`store`] checks it against its hash and stores it whole or not at all, with a line in the
//!    [`manifest`].
//! 6. Whenever somebody asks, [`verify()`](verify::verify) reads it all again.
//!
//! The [`door`] stands above all of these, sets both ends up, and checks what is asked of them; the command line goes
//! through it. With the feature `cli`, `link` emulates a lossy link on one machine, to measure all of this on. Below
//! everything is [`frame`]: names that are safe by construction, sequences, units.
//!
//! # Below the door
//!
//! [`sender::run`] and [`receiver::run`] are the two ends; [`transport::dial`] and [`transport::listen`] make what they
//! need. A [`Source`](source::Source) or a [`Store`](store::Store) of another kind goes through the door as well.
//!
//! # What can be relied on
//!
//! - A frame counts as stored only when the receiver said so after storing it. Neither a written
//!   stream nor a closed connection proves anything.
//! - Nothing that a peer sends makes this crate panic or use memory without bound; see
//!   [`receiver::ReceiveLimits`].
//! - Below the socket loops nothing reads a clock or makes random numbers of its own.
//!
//! [`Folder`]: source::Folder
//! [`quic`]: transport::quic
//! [`tcp`]: transport::tcp
//! [stop-and-wait]: transport::stop_and_wait

#[cfg(not(unix))]
compile_error!(
    "framelane builds on Unix: it stores with calls of its file systems, and tells processes and links apart by its means. On \
     Windows it runs in WSL 2, built for Linux"
);

mod alarm;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod compare;
pub mod congestion;
pub mod door;
pub mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod identity;
#[cfg(any(feature = "cli", feature = "fuzzing"))]
pub mod link;
pub mod manifest;
pub mod receiver;
pub mod repair;
#[cfg(feature = "cli")]
pub mod report;
pub mod sender;
pub mod source;
pub mod spool;
pub mod store;
pub mod transport;
pub mod verify;
#[cfg(feature = "view")]
pub mod view;
pub mod wire;

pub use door::{Frame, Receipt, Received, Receiver, Sender};
pub use identity::Identity;
