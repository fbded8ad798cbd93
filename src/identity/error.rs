//! What can be wrong with this machine's own identity and with the files that trust is read from.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::pin::PinError;
use super::senders::{AllowConflict, AllowError};
use super::validity::ValidityError;

/// Why an identity, or a file with trust in it, cannot be used. Each says what to do next.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// Neither certificate nor key.
    #[error(
        "there is no identity in {}: make one there", .folder.display(),
    )]
    Missing {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// One file of the pair is there, the other is not.
    #[error(
        "{} is there but {} is missing: put it back, or make a new identity there",
        .found.display(), .missing.display()
    )]
    Half {
        /// The file that is there.
        found: PathBuf,
        /// The file that is not.
        missing: PathBuf,
        /// The folder of both.
        folder: PathBuf,
    },
    /// Something would be overwritten.
    #[error(
        "{} exists already and is not overwritten: use it as it is, choose another folder (`certs`), or \
         replace it (peers then have to be told the new pin)",
        .path.display()
    )]
    Exists {
        /// The file in the way.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// Others than this user can do something with the key.
    #[error("{} can {} the private key {} (mode {mode:04o}): {remedy}", .others, .what, .path.display())]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Who.
        others: &'static str,
        /// What they can do.
        what: &'static str,
        /// What to do about it.
        remedy: String,
    },
    /// Not the PEM that was expected.
    #[error("{} holds no {expected} in PEM form ({reason}): {remedy}", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// What was found instead.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// The key is of another certificate, or of an unknown kind.
    #[error(
        "certificate and key in {} do not fit together ({reason}): put the matching pair there, \
         or make a new identity there",
        .folder.display()
    )]
    Unusable {
        /// The folder of both.
        folder: PathBuf,
        /// The finding.
        reason: rustls::Error,
    },
    /// The certificate is PEM, but no X.509 that can be used.
    #[error(
        "the certificate in {} {reason}: make a new one there",
        .folder.display()
    )]
    BadCertificate {
        /// The folder it is in.
        folder: PathBuf,
        /// The finding.
        reason: ValidityError,
    },
    /// A name that no certificate can carry.
    #[error(
        "{0:?} is neither a host name nor an IP address: a certificate has names of these two kinds"
    )]
    Name(String),
    /// More names than a certificate should have.
    #[error("{asked} names are too many for a certificate; at most {most} are allowed")]
    TooManyNames {
        /// How many.
        asked: usize,
        /// The limit.
        most: usize,
    },
    /// A validity period of nothing, or of more than a century.
    #[error("a certificate cannot be valid for {asked} days, but for 1 to {most}")]
    Days {
        /// How many.
        asked: u32,
        /// The limit.
        most: u32,
    },
    /// Key or certificate could not be made.
    #[error("no certificate could be made: {0}")]
    Generate(String),
    /// The file system refused.
    #[error("cannot {action} {}: {error}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The operating system's answer. Not a source of this error, which has its words.
        error: io::Error,
    },
    /// More than any file of this kind has.
    #[error("{} is larger than {limit} bytes, which no {expected} is: is it the right file?", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// A line of the known-receivers file that cannot be understood.
    #[error("{} line {line}: {reason}: write `HOST:PORT sha256:...`, or begin a comment with #", .path.display())]
    KnownReceivers {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: KnownLineError,
    },
    /// A line of an allow file that cannot be understood.
    #[error("{} line {line}: {reason}. Write a pin or NAME=PIN, or begin a comment with #", .path.display())]
    AllowFile {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: AllowLineError,
    },
    /// A pipe, a folder or a device where a file is needed.
    #[error("{} is no regular file, and cannot be read again when it changes", .0.display())]
    NotAFile(PathBuf),
    /// The file was written to while it was read.
    #[error("{} changed while it was read", .0.display())]
    Unsettled(PathBuf),
}

/// What is wrong with a line of an allow file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AllowLineError {
    /// Not UTF-8.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// More than a name and a pin need.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// More lines than the limit.
    #[error("more than {0} senders")]
    TooMany(usize),
    /// `any`, which would make the list mean nothing.
    #[error("`any` has no place in a list of senders; say `allow_any` instead of `allow_file`")]
    Any,
    /// Neither a pin nor a name with a pin.
    #[error("{0}")]
    Allow(#[from] AllowError),
    /// It contradicts another entry.
    #[error("{0}")]
    Conflict(#[from] AllowConflict),
}

/// What is wrong with a line of the known-receivers file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KnownLineError {
    /// Not UTF-8.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// More than any host and pin need.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// More lines than the limit.
    #[error("more than {0} receivers")]
    TooMany(usize),
    /// Not two words.
    #[error("expected a receiver and a pin")]
    Fields,
    /// The first word.
    #[error("{0}")]
    Address(#[from] AddressError),
    /// The second word.
    #[error("{0}")]
    Pin(#[from] PinError),
}

/// Why a text is not the address of a receiver.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// No port.
    #[error("{0:?} has no port: write HOST:PORT, such as camera-store:4433 or [::1]:4433")]
    NoPort(String),
    /// Not 1 to 65535.
    #[error("{0:?} does not end in a port from 1 to 65535")]
    Port(String),
    /// Neither name nor address.
    #[error(
        "{0:?} does not begin with a host name or an IP address (an IPv6 address goes into \
         brackets: [::1]:4433)"
    )]
    Host(String),
    /// An address of one link, and no link.
    #[error(
        "{0:?} is an address that every link may have: write the link behind it, by this machine's \
         name or number for it, such as [fe80::1%eth0]:4433"
    )]
    NoZone(String),
    /// What is behind the % is no link.
    #[error(
        "{0:?} has no name or number of a network link behind the %, such as [fe80::1%eth0]:4433"
    )]
    Zone(String),
}

impl From<rcgen::Error> for IdentityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Generate(error.to_string())
    }
}
