//! Which senders a receiver lets in, and where it may listen for them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::str::FromStr;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error as TlsError, SignatureScheme};
use thiserror::Error;

use super::pin::{Pin, PinError};
use super::refusal::TrustRefusal;
use super::trust::{Proof, Refused, check_validity, no_tls12};

/// One `--allow`: the pin of a sender, or `any`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allow {
    /// Whoever has a certificate.
    Any,
    /// The sender with this certificate.
    Pin(Pin),
}

impl FromStr for Allow {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        match text {
            "any" => Ok(Self::Any),
            pin => pin.parse().map(Self::Pin).map_err(AllowError),
        }
    }
}

/// Neither a pin nor `any`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}; to allow every sender, write any")]
pub struct AllowError(#[from] PinError);

/// Which senders a receiver lets in. Every sender has to present a certificate that is in force and
/// to prove that it has the key, whatever the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SenderPolicy {
    /// Any sender on this machine: the policy where the user said nothing.
    Local,
    /// Any sender at all.
    Any,
    /// The senders with these certificates.
    Only(BTreeSet<Pin>),
}

impl FromIterator<Allow> for SenderPolicy {
    /// Nothing allowed is [`SenderPolicy::Local`]; one `any` outweighs all pins.
    fn from_iter<I: IntoIterator<Item = Allow>>(allows: I) -> Self {
        allows.into_iter().fold(Self::Local, |policy, allow| match (policy, allow) {
            (Self::Any, _) | (_, Allow::Any) => Self::Any,
            (Self::Local, Allow::Pin(pin)) => Self::Only(BTreeSet::from([pin])),
            (Self::Only(mut pins), Allow::Pin(pin)) => {
                pins.insert(pin);
                Self::Only(pins)
            }
        })
    }
}

impl SenderPolicy {
    /// Whether the sender with this certificate may send.
    ///
    /// Where senders come over the network, [`check_listen`] has ruled out [`SenderPolicy::Local`].
    pub fn allows(&self, sender: Pin) -> bool {
        match self {
            Self::Local | Self::Any => true,
            Self::Only(pins) => pins.contains(&sender),
        }
    }
}

/// A receiver that would take frames from anybody on the network, without being told to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "listening on {0} would let every machine that reaches it write files here. Say who may send, \
     with --allow PIN (the sender prints its pin) or --allow any, or listen on 127.0.0.1 or [::1]"
)]
pub struct OpenListener(pub SocketAddr);

/// Checks that `address` may be listened on under `policy`: without `--allow`, only loopback.
///
/// This is about transports that authenticate the sender by its certificate.
///
/// # Errors
/// [`OpenListener`], whose message says why and what to add.
pub fn check_listen(address: SocketAddr, policy: &SenderPolicy) -> Result<(), OpenListener> {
    // `::ffff:127.0.0.1` is loopback as well.
    let loopback = address.ip().to_canonical().is_loopback();
    if loopback || *policy != SenderPolicy::Local { Ok(()) } else { Err(OpenListener(address)) }
}

/// The verifier that rustls asks at a receiver.
#[derive(Debug)]
pub(super) struct SenderVerifier {
    pub(super) policy: SenderPolicy,
    pub(super) proof: Proof,
}

impl SenderVerifier {
    fn verify(&self, leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Box<Refused>> {
        let presented = Pin::of(leaf);
        if !self.policy.allows(presented) {
            return Err(Refused::trust(TrustRefusal::SenderNotAllowed { presented }));
        }
        check_validity(leaf, presented, now)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(byte: &str) -> Pin {
        format!("sha256:{}", byte.repeat(32)).parse().unwrap()
    }

    #[test]
    fn allowing_somebody_allows_nobody_else() {
        let policy: SenderPolicy =
            [Allow::Pin(pin("01")), Allow::Pin(pin("02"))].into_iter().collect();
        assert!(policy.allows(pin("01")) && policy.allows(pin("02")));
        assert!(!policy.allows(pin("03")));
        let policy: SenderPolicy = [Allow::Any, Allow::Pin(pin("01"))].into_iter().collect();
        assert_eq!(policy, SenderPolicy::Any);
        assert_eq!(SenderPolicy::from_iter([]), SenderPolicy::Local);
    }

    #[test]
    fn any_is_a_word_of_its_own() {
        assert_eq!("any".parse(), Ok(Allow::Any));
        assert_eq!(pin("0a").to_string().parse(), Ok(Allow::Pin(pin("0a"))));
        let error = "all".parse::<Allow>().unwrap_err().to_string();
        assert!(error.contains("\"all\" is not a pin") && error.contains("write any"), "{error}");
    }

    #[test]
    fn without_allow_only_this_machine_may_send() {
        let only = SenderPolicy::Only(BTreeSet::from([pin("01")]));
        for address in ["127.0.0.1:0", "127.9.9.9:1", "[::1]:4433", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(check_listen(address.parse().unwrap(), &SenderPolicy::Local), Ok(()));
        }
        for address in ["0.0.0.0:4433", "[::]:4433", "192.168.1.2:1", "[::ffff:10.0.0.1]:1"] {
            let address = address.parse().unwrap();
            let error = check_listen(address, &SenderPolicy::Local).unwrap_err().to_string();
            assert!(error.contains(&address.to_string()), "{error}");
            assert!(error.contains("--allow PIN") && error.contains("--allow any"), "{error}");
            assert_eq!(check_listen(address, &SenderPolicy::Any), Ok(()));
            assert_eq!(check_listen(address, &only), Ok(()));
        }
    }
}
