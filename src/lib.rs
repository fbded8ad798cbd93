//! framelane moves sequences of camera frames over lossy links and proves that every one arrived.
//!
//! The command line tool of the same name is a thin layer over this library; the README is about
//! that. `docs/wire.md` specifies the protocol, `docs/decisions.md` has the reasons.
//!
//! # The path of a frame
//!
//! ```text
//! source -> sender -> transport ~~ link ~~> transport -> receiver -> store
//!                        |                      |            |
//!                  wire, identity             wire        manifest
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
//! With the feature `cli`, `link` emulates a lossy link on one machine, to measure all of this on. Below
//! everything is [`frame`]: names that are safe by construction, sequences, units.
//!
//! # Where to start
//!
//! [`sender::run`] and [`receiver::run`] are the two ends; [`transport::dial`] and
//! [`transport::listen`] make what they need. Sending two folders:
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//! use std::time::SystemTime;
//!
//! use framelane::congestion::Congestion;
//! use framelane::frame::SourceName;
//! use framelane::identity::{
//!     DEFAULT_DAYS, EarlyData, Identity, KnownReceivers, NewCertificate, Pin, ReceiverAddress,
//!     ReceiverTrust, client_config,
//! };
//! use framelane::repair::RepairMode;
//! use framelane::sender::{self, Pace, Progress, SendOptions};
//! use framelane::source::{Folder, Source};
//! use framelane::transport::{self, DialSetup, Transport};
//! use framelane::wire::ALPN;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Who we are, and which receiver we trust: the one with the pin that it printed.
//! let new = NewCertificate { names: vec![], days: DEFAULT_DAYS, now: SystemTime::now() };
//! let (identity, _) = Identity::load_or_create(Path::new("certs"), &new)?;
//! let receiver: ReceiverAddress = "192.0.2.7:4433".parse()?;
//! let pin: Pin = std::env::args().nth(1).ok_or("which pin?")?.parse()?;
//! let trust =
//!     ReceiverTrust::new(receiver.clone(), vec![pin], None, &KnownReceivers::default());
//!
//! // How to reach it.
//! let dial = transport::dial(&DialSetup {
//!     transport: Transport::Quic,
//!     addresses: vec!["192.0.2.7:4433".parse()?],
//!     host: receiver.host().to_owned(),
//!     tls: client_config(&identity, trust, &[ALPN], EarlyData::Off),
//!     congestion: Congestion::default().factory(),
//!     repair: RepairMode::Auto,
//!     tcp: Default::default(),
//!     stop_and_wait: Default::default(),
//! });
//!
//! // What to send, and how: 30 frames a second of each source.
//! let mut sources: Vec<Arc<dyn Source>> = Vec::new();
//! for name in ["visible", "infrared"] {
//!     sources.push(Arc::new(Folder::open(SourceName::parse(name)?, Path::new(name))?));
//! }
//! let mut options = SendOptions::default();
//! options.pace = Pace::PerSecond(30.0);
//! let progress = Arc::new(Progress::new(sources.iter().map(|source| source.frames())));
//! // Turning the value true stops the run.
//! let (_stop, stopped) = tokio::sync::watch::channel(false);
//!
//! let report = sender::run(dial.as_ref(), sources, options, progress, stopped).await;
//! for source in &report.sources {
//!     println!("{}: {} of {} stored", source.name, source.frames - source.missing, source.frames);
//! }
//! assert!(report.is_complete(), "run it again: what is stored is not sent twice");
//! # Ok(())
//! # }
//! ```
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
#[cfg(feature = "cli")]
pub mod link;
pub mod manifest;
pub mod receiver;
pub mod repair;
#[cfg(feature = "cli")]
pub mod report;
pub mod sender;
pub mod source;
pub mod store;
pub mod transport;
pub mod verify;
pub mod wire;

pub use door::{Frame, Receipt, Received, Receiver, Sender};
pub use identity::Identity;
