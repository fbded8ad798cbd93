//! Why there is no emulated link, and what to do about it.

use std::io;

use thiserror::Error;

/// Why a link cannot be emulated here. The messages say how to allow it; everything that does not
/// need an emulated link works without.
#[derive(Debug, Error)]
pub enum EmulationError {
    /// Namespaces and TUN devices are Linux's.
    #[error("an emulated link needs Linux (network namespaces and TUN devices); this is {os}")]
    NotLinux {
        /// What it is instead.
        os: &'static str,
    },
    /// `/dev/net/tun` does not exist, or its driver is missing.
    #[error(
        "an emulated link needs the TUN driver, and /dev/net/tun is not there ({cause}); load it \
         with `sudo modprobe tun`, or give it to a container with `--device /dev/net/tun`"
    )]
    NoTun {
        /// The system's words.
        cause: io::Error,
    },
    /// `/dev/net/tun` may not be opened.
    #[error(
        "an emulated link needs /dev/net/tun, which this user may not open ({cause}); allow it \
         with `sudo chmod 0666 /dev/net/tun` (as most distributions have it: opening it gives no \
         power over networks of others), or run the command as root"
    )]
    TunForbidden {
        /// The system's words.
        cause: io::Error,
    },
    /// No user namespace of our own.
    #[error(
        "an emulated link needs a user namespace, which the system refused ({cause}); {remedy}"
    )]
    UserNamespaceForbidden {
        /// The system's words.
        cause: io::Error,
        /// What stands in the way, as far as can be seen, and how to allow it.
        remedy: String,
    },
    /// A user namespace, but no network namespace in it.
    #[error(
        "an emulated link needs network namespaces, which the system refused ({cause}); {remedy}"
    )]
    NetworkNamespaceForbidden {
        /// The system's words.
        cause: io::Error,
        /// What stands in the way, as far as can be seen, and how to allow it.
        remedy: String,
    },
    /// Entering a user namespace is possible for single-threaded processes only.
    #[error(
        "the user namespace must be entered before any thread is started; there are {threads} \
         threads already"
    )]
    TooManyThreads {
        /// How many there are.
        threads: usize,
    },
    /// A step in setting up a namespace or its device failed.
    #[error("cannot {step} for the emulated link: {cause}")]
    Setup {
        /// What was tried.
        step: &'static str,
        /// The system's words.
        cause: io::Error,
    },
    /// The thread that moves the packets has ended.
    #[error("the emulated link has stopped moving packets: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}
