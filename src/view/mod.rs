//! What a receiver shows to whoever looks: a page, streams of images, figures as JSON and for Prometheus.
//!
//! ```text
//! receiver -> board (figures, the newest frame's name)  \
//!                                                         -> view -> browsers and programs
//! store    -> a frame's file, when somebody wants it    /
//! ```
//!
//! It reads, and writes nothing anywhere. It runs on threads of its own that come behind all others: a frame is read
//! from the store and made ready once for all who look, only while somebody does, and who is slow gets the newest
//! one next. So viewers cost the transfer next to nothing.
//!
//! # Who may look
//! Whoever reaches it at a loopback address. At another address only those who have the token, or one of certain
//! certificates ([`Access`]; over TLS, [`ViewTls`]). A browser is
//! kept from being used by other pages: the host that it asks for has to be an address, `localhost`, the machine's own
//! name or one that was allowed, nothing may be embedded elsewhere, and the page asks nobody else for anything.

mod access;
mod assets;
mod census;
mod client;
mod disk;
mod error;
mod figures;
mod flow;
mod gallery;
mod live;
mod lobby;
mod metrics;
mod mjpeg;
mod past;
mod picture;
mod raw;
mod reel;
mod routes;
mod server;
mod shelf;
mod stored;
mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use access::{Access, Token, TokenError};
pub use client::{Asking, ClientError, fetch};
pub use error::ViewError;
pub use figures::{
    DiskFigures, Figures, LatencyFigures, NewestFigures, SecondFigures, SenderFigures,
    SourceFigures,
};
pub use raw::{RawLook, RawShape};
use server::Running;
pub use tls::ViewTls;

use crate::frame::SourceName;
use crate::receiver::{Board, ReceiveProgress};

/// What is shown, and where the frames are.
#[derive(Debug, Clone)]
pub struct Shown {
    /// What the receiver writes down.
    pub board: Arc<Board>,
    /// Its sessions.
    pub progress: Arc<ReceiveProgress>,
    /// The folder that the store is, or that all stores are below.
    pub root: PathBuf,
    /// Whether there are several stores below that folder, one for each sender or day.
    pub apart: bool,
    /// Whether stores are apart by day, so that what grows by the day is kept out of the metrics.
    pub by_day: bool,
    /// The shapes of raw frames, by source.
    pub raw: HashMap<SourceName, RawLook>,
    /// Whether the receiver takes frames at the moment.
    pub ready: Arc<AtomicBool>,
}

/// A view that is being served, until this is dropped.
#[derive(Debug)]
pub struct View {
    address: SocketAddr,
    _running: Running,
}

impl View {
    /// Shows it at `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn serve(address: SocketAddr, access: Access, shown: Shown) -> Result<Self, ViewError> {
        access.check_at(address)?;
        shown.board.show();
        past::put_up(&shown, shown.apart);
        let (running, address) = server::start(address, Arc::new(access), shown)?;
        Ok(Self { address, _running: running })
    }

    /// Where it is, the port filled in.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
