//! Which sender a receiver believes: the check of every connection, whole handshake or resumed.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error as TlsError, SignatureScheme};

use super::permit::{Permit, SharedPolicy};
use super::pin::Pin;
use super::proof::{DateRemarks, Proof, Refused, no_tls12};
use super::refusal::TrustRefusal;
use super::tickets::LetIn;

/// What a receiver asks of a sender's certificate.
#[derive(Debug, Clone)]
pub(super) struct SenderCheck {
    pub(super) policy: SharedPolicy,
    pub(super) remarks: DateRemarks,
}

impl SenderCheck {
    /// The sender's permit, where it may send.
    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Result<Permit, Box<Refused>> {
        let presented = Pin::of(leaf);
        let Some(permit) = self.policy.permit(presented) else {
            return Err(Refused::trust(TrustRefusal::SenderNotAllowed { presented }));
        };
        if self.policy.knows(presented) {
            self.remarks.readable(leaf, presented, now)?;
        } else {
            Refused::check_dates(leaf, presented, now, "`allow`")?;
        }
        Ok(permit)
    }
}

/// The verifier that rustls asks at a receiver.
#[derive(Debug)]
pub(super) struct SenderVerifier {
    pub(super) check: SenderCheck,
    pub(super) proof: Proof,
    pub(super) let_in: LetIn,
}

impl SenderVerifier {
    fn verify(&self, leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Box<Refused>> {
        self.check.check(leaf, now)?;
        let presented = Pin::of(leaf);
        let dated = if self.check.policy.knows(presented) { &[][..] } else { &[leaf] };
        self.let_in.note(presented, now, dated);
        Ok(())
    }
}

impl ClientCertVerifier for SenderVerifier {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// No hints: a sender has one certificate, and shows it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        match self.verify(leaf, now) {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            Err(refused) => {
                self.proof.verdict.note(refused.reason);
                Err(refused.error)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.proof.verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.proof.schemes()
    }
}
