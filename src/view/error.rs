//! Why a view is not to be had.

use std::net::SocketAddr;

use thiserror::Error;

/// Why nothing can be shown.
#[derive(Debug, Error)]
pub enum ViewError {
    /// Whoever reaches the address could look.
    #[error(
        "{address} can be reached from other machines, and the view shows every frame: ask for a token or for \
         certificates, or listen on 127.0.0.1 and go there through `ssh -L`"
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
