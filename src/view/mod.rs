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
//! Whoever reaches it at a loopback address. At another address only those who have the token ([`Access`]). A browser is
//! kept from being used by other pages: the host that it asks for has to be an address, `localhost` or a name that
//! was allowed, nothing may be embedded elsewhere, and the page asks nobody else for anything.

mod access;
mod assets;
mod client;
mod figures;
mod gallery;
mod live;
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

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use thiserror::Error;

pub use access::{Access, Token, TokenError};
pub use client::{ClientError, fetch};
pub use figures::{
    Figures, LatencyFigures, NewestFigures, SecondFigures, SenderFigures, SourceFigures,
};
pub use raw::RawShape;
use server::Running;

use crate::frame::SourceName;
use crate::receiver::{Board, ReceiveProgress};

/// Why nothing can be shown.
#[derive(Debug, Error)]
pub enum ViewError {
    /// Whoever reaches the address could look.
    #[error(
        "{address} can be reached from other machines, and the view shows every frame: set a token \
         (--view-token-file FILE), or listen on 127.0.0.1 and go there through `ssh -L`"
    )]
    Open {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// It cannot listen there.
    #[error("cannot show the view on {address}: {cause}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The system gives no threads.
    #[error("cannot start the view's threads: {0}")]
    Threads(std::io::Error),
}

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
    pub raw: HashMap<SourceName, RawShape>,
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
        if !address.ip().is_loopback() && !access.has_token() {
            return Err(ViewError::Open { address });
        }
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
