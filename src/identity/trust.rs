//! Which receiver a sender believes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};

use super::error::IdentityError;
use super::files;
use super::known::{KnownReceivers, ReceiverAddress};
use super::pin::Pin;
use super::proof::{DateRemarks, Proof, Refused, no_tls12};
use super::provider::provider;
use super::refusal::TrustRefusal;
use super::tickets::LetIn;
use super::validity::{OutOfDate, ValidityError};

/// A certificate authority, or several, that vouch for receivers.
#[derive(Debug, Clone)]
pub struct Authority {
    path: PathBuf,
    verifier: Arc<WebPkiServerVerifier>,
}

impl Authority {
    /// Reads one or more certificates in PEM form. A receiver's own self-signed certificate does as
    /// well: it vouches for itself, and for its names.
    ///
    /// # Errors
    /// [`IdentityError`] where the file cannot be read or holds no usable certificate.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let unusable = |reason: String| IdentityError::Pem {
            path: path.to_owned(),
            expected: "certificate authority",
            reason,
            remedy: "name a file with the authority's certificate".to_owned(),
        };
        let mut roots = RootCertStore::empty();
        for certificate in files::read_certificate_file(path)? {
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider()))
                .build()
                .map_err(|error| unusable(error.to_string()))?;
        Ok(Self { path: path.to_owned(), verifier })
    }
}

/// What makes a sender believe that it talks to one certain receiver.
///
/// What the user says for this run (`--pin`, `--ca`: any of them suffices) is all that counts then;
/// the known-receivers file is asked where nothing was said. With neither, every handshake fails,
/// and the refusal has the pin to add.
#[derive(Debug, Clone)]
pub struct ReceiverTrust {
    receiver: ReceiverAddress,
    rule: Rule,
}

#[derive(Debug, Clone)]
enum Rule {
    Said { pins: Vec<Pin>, authority: Option<Authority> },
    Known { pins: Vec<Pin>, path: Option<PathBuf> },
}

impl ReceiverTrust {
    /// The trust in `receiver`, from the pins and the authority given for this run and from the
    /// receivers known before.
    pub fn new(
        receiver: ReceiverAddress,
        pins: Vec<Pin>,
        authority: Option<Authority>,
        known: &KnownReceivers,
    ) -> Self {
        let rule = if pins.is_empty() && authority.is_none() {
            let path = Some(known.path().to_owned()).filter(|path| !path.as_os_str().is_empty());
            Rule::Known { pins: known.pins_of(&receiver).to_vec(), path }
        } else {
            Rule::Said { pins, authority }
        };
        Self { receiver, rule }
    }

    /// Trust in exactly one certificate.
    pub fn pinned(receiver: ReceiverAddress, pin: Pin) -> Self {
        Self { receiver, rule: Rule::Said { pins: vec![pin], authority: None } }
    }

    /// The receiver meant.
    pub fn receiver(&self) -> &ReceiverAddress {
        &self.receiver
    }

    /// True where it is this very certificate that is trusted.
    fn knows(&self, pin: Pin) -> bool {
        let (Rule::Said { pins, .. } | Rule::Known { pins, .. }) = &self.rule;
        pins.contains(&pin)
    }

    fn verify(&self, presented: &Presented<'_>, remarks: &DateRemarks) -> Result<(), Box<Refused>> {
        let Presented { leaf, pin, now, .. } = *presented;
        if self.knows(pin) {
            return remarks.readable(leaf, pin, now);
        }
        match &self.rule {
            Rule::Said { authority: Some(authority), .. } => self.ask(authority, presented),
            _ => Err(Refused::trust(self.refusal(pin))),
        }
    }

    fn ask(&self, authority: &Authority, presented: &Presented<'_>) -> Result<(), Box<Refused>> {
        let Presented { leaf, intermediates, name, ocsp, now, pin } = *presented;
        let verdict = authority.verifier.verify_server_cert(leaf, intermediates, name, ocsp, now);
        verdict.map(|_| ()).map_err(|error| {
            let reason = match out_of_date(&error) {
                // The authority is the right one then, and another would not help.
                Some(reason) => {
                    let reason = OutOfDate { reason, now };
                    TrustRefusal::NotInForce { presented: pin, reason, instead: "`pin`" }
                }
                None => TrustRefusal::NotVouchedFor {
                    receiver: self.receiver.clone(),
                    presented: pin,
                    authority: authority.path.clone(),
                    reason: finding(&error),
                },
            };
            Box::new(Refused { reason, error })
        })
    }

    fn refusal(&self, presented: Pin) -> TrustRefusal {
        let receiver = self.receiver.clone();
        match &self.rule {
            Rule::Said { pins, .. } => {
                TrustRefusal::WrongPin { receiver, presented, expected: pins.clone() }
            }
            Rule::Known { pins, path: Some(path) } if !pins.is_empty() => {
                TrustRefusal::KnownReceiverChanged {
                    receiver,
                    presented,
                    expected: pins.clone(),
                    path: path.clone(),
                }
            }
            Rule::Known { path, .. } => {
                TrustRefusal::UnknownReceiver { receiver, pin: presented, known: path.clone() }
            }
        }
    }
}

/// What a receiver showed in a handshake.
#[derive(Clone, Copy)]
struct Presented<'a> {
    leaf: &'a CertificateDer<'a>,
    intermediates: &'a [CertificateDer<'a>],
    name: &'a ServerName<'a>,
    ocsp: &'a [u8],
    now: UnixTime,
    pin: Pin,
}

fn out_of_date(error: &TlsError) -> Option<ValidityError> {
    match error {
        TlsError::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            Some(ValidityError::Expired(*not_after))
        }
        TlsError::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before, ..
        }) => Some(ValidityError::NotYet(*not_before)),
        _ => None,
    }
}

/// The part of a rustls message that says something to a user.
fn finding(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "another authority issued it".to_owned()
        }
        TlsError::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected, ..
        }) => format!("it was not issued for {:?}", expected.to_str()),
        other => other.to_string(),
    }
}

/// The verifier that rustls asks at a sender.
#[derive(Debug)]
pub(super) struct ReceiverVerifier {
    pub(super) trust: ReceiverTrust,
    pub(super) proof: Proof,
    pub(super) remarks: DateRemarks,
    pub(super) let_in: LetIn,
}

impl ServerCertVerifier for ReceiverVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        self.proof.verdict.clear();
        let presented = Presented { leaf, intermediates, name, ocsp, now, pin: Pin::of(leaf) };
        match self.trust.verify(&presented, &self.remarks) {
            Ok(()) => {
                let pinned = self.trust.knows(presented.pin);
                let dated: Vec<_> = [leaf].into_iter().chain(intermediates).collect();
                self.let_in.note(presented.pin, now, if pinned { &[] } else { &dated });
                Ok(ServerCertVerified::assertion())
            }
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
