//! What both ends check of a peer's certificate: its dates, its key, and how a refusal is told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error as TlsError, SignatureScheme};

use super::pin::Pin;
use super::provider::provider;
use super::refusal::{TrustRefusal, Verdict};
use super::validity::{self, OutOfDate, ValidityError};

/// A refusal, as this side explains it and as TLS tells it to the peer.
pub(super) struct Refused {
    pub(super) reason: TrustRefusal,
    pub(super) error: TlsError,
}

impl Refused {
    /// A refusal that is not about the certificate as such, which TLS calls `access_denied`.
    pub(super) fn trust(reason: TrustRefusal) -> Box<Self> {
        Box::new(Self { reason, error: CertificateError::ApplicationVerificationFailure.into() })
    }

    /// Refuses a certificate that is not in force. `instead` is the option that trusts it by its pin.
    pub(super) fn check_dates(
        leaf: &CertificateDer<'_>,
        presented: Pin,
        now: UnixTime,
        instead: &'static str,
    ) -> Result<(), Box<Self>> {
        validity::check(leaf, now).map_err(|reason| {
            let error = match reason {
                ValidityError::Expired(not_after) => {
                    CertificateError::ExpiredContext { time: now, not_after }
                }
                ValidityError::NotYet(not_before) => {
                    CertificateError::NotValidYetContext { time: now, not_before }
                }
                ValidityError::Unreadable(_) => CertificateError::BadEncoding,
            };
            let reason = OutOfDate { reason, now };
            let reason = TrustRefusal::NotInForce { presented, reason, instead };
            Box::new(Self { reason, error: error.into() })
        })
    }
}

/// The pinned certificates whose dates were remarked upon, so that each is once. A pin names the very
/// certificate: that its time is over, or that this machine's clock is wrong, is no reason to refuse it.
#[derive(Debug, Clone, Default)]
pub(super) struct DateRemarks(Arc<Mutex<BTreeSet<Pin>>>);

impl DateRemarks {
    /// Refuses a pinned certificate that cannot be read, and remarks once on one that is not in force.
    pub(super) fn readable(
        &self,
        leaf: &CertificateDer<'_>,
        presented: Pin,
        now: UnixTime,
    ) -> Result<(), Box<Refused>> {
        match validity::check(leaf, now) {
            Ok(()) => Ok(()),
            Err(ValidityError::Unreadable(_)) => {
                Refused::check_dates(leaf, presented, now, "`pin`")
            }
            Err(reason) => {
                // There are as many as there are pins in a list; what is in it is whole at every moment.
                if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(presented) {
                    let reason = OutOfDate { reason, now };
                    tracing::warn!(
                        "the peer's certificate {presented} {reason}. It is trusted all the same, by its pin"
                    );
                }
                Ok(())
            }
        }
    }
}

/// The signatures that prove possession of a certificate's key, checked the same way at both ends.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    algorithms: WebPkiSupportedAlgorithms,
    pub(super) verdict: Verdict,
}

impl Proof {
    pub(super) fn new(verdict: Verdict) -> Self {
        Self { algorithms: provider().signature_verification_algorithms, verdict }
    }

    pub(super) fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
            .inspect_err(|error| {
                let presented = Pin::of(certificate);
                self.verdict.note(TrustRefusal::NotProven { presented, reason: error.to_string() });
            })
    }

    pub(super) fn schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// TLS 1.2 is not offered, so nobody gets as far as signing for it.
pub(super) fn no_tls12() -> Result<HandshakeSignatureValid, TlsError> {
    Err(TlsError::General("TLS 1.2 is not spoken here".to_owned()))
}
