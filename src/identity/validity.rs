//! Whether a certificate is in force at a given time, apart from who vouches for it.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls::pki_types::{CertificateDer, UnixTime};
use thiserror::Error;
use time::OffsetDateTime;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};

/// Why a certificate is not in force.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ValidityError {
    /// After its last moment.
    #[error("expired on {}", day(*.0))]
    Expired(UnixTime),
    /// Before its first moment.
    #[error("is not valid before {}", day(*.0))]
    NotYet(UnixTime),
    /// Not a certificate that can be understood.
    #[error("cannot be read ({0})")]
    Unreadable(String),
}

/// A certificate that is not in force, and the clock that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfDate {
    /// What the certificate says.
    pub reason: ValidityError,
    /// What this machine's clock says.
    pub now: UnixTime,
}

impl fmt::Display for OutOfDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reason, now) = (&self.reason, moment(self.now));
        match reason {
            ValidityError::NotYet(begin) => write!(
                f,
                "is not valid before {}, and this machine's clock says {now}: most likely this clock is \
                 behind",
                moment(*begin)
            ),
            ValidityError::Expired(end) => {
                write!(f, "expired on {}, and this machine's clock says {now}", moment(*end))
            }
            ValidityError::Unreadable(_) => reason.fmt(f),
        }
    }
}

/// Checks that `certificate` is well formed and that `now` is inside its validity period.
///
/// This says nothing about who signed it: a caller has to know the certificate by its pin.
///
/// # Errors
/// [`ValidityError`].
pub(super) fn check(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), ValidityError> {
    let unreadable = |error: webpki::Error| ValidityError::Unreadable(error.to_string());
    let parsed = EndEntityCert::try_from(certificate).map_err(unreadable)?;
    // webpki looks at the validity period before it looks for an issuer. With no issuer to find,
    // reaching that search is the success we want. A pinned certificate may also be one that can
    // issue others, which `openssl req -x509` makes unless told otherwise.
    match parsed.verify_for_usage(&[], &[], &[], now, AnyUsage, None, None) {
        Ok(_) | Err(webpki::Error::UnknownIssuer | webpki::Error::CaUsedAsEndEntity) => Ok(()),
        Err(webpki::Error::CertExpired { not_after, .. }) => Err(ValidityError::Expired(not_after)),
        Err(webpki::Error::CertNotValidYet { not_before, .. }) => {
            Err(ValidityError::NotYet(not_before))
        }
        Err(other) => Err(unreadable(other)),
    }
}

/// The last moment at which `certificate` is in force.
///
/// # Errors
/// [`ValidityError::Unreadable`].
pub(super) fn end(certificate: &CertificateDer<'_>) -> Result<UnixTime, ValidityError> {
    // X.509 cannot express a year after 9999, so everything has expired here.
    let end_of_time = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    match check(certificate, end_of_time) {
        Err(ValidityError::Expired(not_after)) => Ok(not_after),
        Err(other) => Err(other),
        Ok(()) => Err(ValidityError::Unreadable("it has no end".to_owned())),
    }
}

/// The first moment at which `certificate` is in force; 1970 for all that is before.
///
/// # Errors
/// [`ValidityError::Unreadable`].
pub(super) fn begin(certificate: &CertificateDer<'_>) -> Result<UnixTime, ValidityError> {
    let epoch = UnixTime::since_unix_epoch(Duration::ZERO);
    match check(certificate, epoch) {
        Err(ValidityError::NotYet(not_before)) => Ok(not_before),
        Err(ValidityError::Unreadable(why)) => Err(ValidityError::Unreadable(why)),
        Ok(()) | Err(ValidityError::Expired(_)) => Ok(epoch),
    }
}

/// A moment in the form that certificates are checked with; times before 1970 count as 1970.
pub(super) fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// A moment as its day in UTC, for messages.
pub(super) fn day(time: UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .map_or_else(|| format!("second {} since 1970", time.as_secs()), |t| t.date().to_string())
}

/// A moment to the second in UTC, for messages about clocks.
pub(super) fn moment(time: UnixTime) -> String {
    let seconds = time.as_secs() % (24 * 3600);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{} {hour:02}:{minute:02}:{second:02} UTC", day(time))
}

/// Accepts whatever a certificate says it is for; a pin names the very certificate.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}
