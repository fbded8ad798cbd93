//! Why a handshake failed, and what somebody has to do about it.
//!
//! TLS tells the other side one byte, and quinn hands on a sentence, so the reason is put together
//! here from three things: what this side's verifier noted down, whose error it was, and the alert.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::AlertDescription;
use rustls::pki_types::{CertificateDer, UnixTime};
use thiserror::Error;

use super::known::ReceiverAddress;
use super::pin::Pin;
use super::validity::{self, OutOfDate, ValidityError};

/// QUIC carries a TLS alert as this plus the alert's number (RFC 9001, section 4.8).
const QUIC_CRYPTO_ERROR: u64 = 0x100;

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The TLS client.
    Sender,
    /// The TLS server.
    Receiver,
}

/// Why this side did not accept its peer's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TrustRefusal {
    /// Nothing is known of this receiver.
    #[error(
        "the receiver {receiver} is not known here. Compare this pin with the one that the \
         receiver printed, and if they are the same add:\n  `pin` {pin}{}",
        known_hint(receiver, pin, known.as_ref())
    )]
    UnknownReceiver {
        /// Who was asked for.
        receiver: ReceiverAddress,
        /// What it presented.
        pin: Pin,
        /// The file where it could be made known.
        known: Option<PathBuf>,
    },
    /// A pin was given, and the receiver has another.
    #[error(
        "the receiver {receiver} presented {presented}, but `pin` says {}. Either its \
         certificate was replaced, or somebody else is answering: ask for the pin that it prints",
        list(expected)
    )]
    WrongPin {
        /// Who was asked for.
        receiver: ReceiverAddress,
        /// What it presented.
        presented: Pin,
        /// What would have been accepted.
        expected: Vec<Pin>,
    },
    /// The receiver has been known by another certificate.
    #[error(
        "THE CERTIFICATE OF {receiver} HAS CHANGED. It presented {presented}, but {} says {}. \
         Either it was replaced, or somebody is in between. Ask for the pin that the receiver \
         prints; only if it is the new one, change that line",
        .path.display(), list(expected)
    )]
    KnownReceiverChanged {
        /// Who was asked for.
        receiver: ReceiverAddress,
        /// What it presented.
        presented: Pin,
        /// What the file says.
        expected: Vec<Pin>,
        /// The file.
        path: PathBuf,
    },
    /// The certificate authority did not issue it, or not for this host.
    #[error(
        "the certificate of {receiver} is not vouched for by {} ({reason}). Give the authority \
         that issued it with `authority`, or trust this one certificate with `pin` {presented}",
        .authority.display()
    )]
    NotVouchedFor {
        /// Who was asked for.
        receiver: ReceiverAddress,
        /// What it presented.
        presented: Pin,
        /// The authority's file.
        authority: PathBuf,
        /// The verifier's finding.
        reason: String,
    },
    /// The sender is not on the list.
    #[error(
        "the sender with {presented} is not allowed. To let it in, give the receiver \
         `allow` {presented}, or add a line for it to its `allow_file`"
    )]
    SenderNotAllowed {
        /// What it presented.
        presented: Pin,
    },
    /// The peer's certificate is not in force, or is no certificate, where its dates count: that is
    /// where it is not trusted by its pin.
    #[error(
        "the peer's certificate ({presented}) {reason}. {}",
        date_remedy(reason, instead, presented)
    )]
    NotInForce {
        /// What it presented.
        presented: Pin,
        /// The finding, with the clock.
        reason: OutOfDate,
        /// The option that trusts the certificate by its pin, for which dates do not count.
        instead: &'static str,
    },
    /// The peer showed a certificate without proving that it has the key to it.
    #[error(
        "the peer showed the certificate {presented}, but did not prove to have its key ({reason})"
    )]
    NotProven {
        /// What it presented.
        presented: Pin,
        /// The verifier's finding.
        reason: String,
    },
}

/// Why a handshake failed, as far as identity and protocol go.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeRefusal {
    /// This side refused the peer.
    #[error(transparent)]
    Here(#[from] TrustRefusal),
    /// At a sender: the receiver refused it.
    #[error(
        "the receiver does not allow this sender. To let it in, give the receiver \
         `allow` {own}, or add a line for it to its `allow_file`"
    )]
    SenderNotAllowed {
        /// This sender's pin.
        own: Pin,
    },
    /// At a receiver: the sender refused it.
    #[error(
        "the sender does not trust this receiver. If it should, start the sender with `pin` {own}"
    )]
    ReceiverNotTrusted {
        /// This receiver's pin.
        own: Pin,
    },
    /// The peer says that this side's certificate is not in force.
    #[error(
        "the peer refused this machine's certificate ({own}) as expired or not yet valid. {finding}"
    )]
    OwnCertificateNotInForce {
        /// This side's pin.
        own: Pin,
        /// What this side knows of the dates, and what to do.
        finding: String,
    },
    /// A sender without a certificate.
    #[error(
        "the sender presented no certificate, and a receiver takes frames only from senders that \
         it can tell apart"
    )]
    NoSenderCertificate,
    /// The two have no version of the protocol in common, or the peer is no framelane at all.
    #[error(
        "the peer does not speak this version of the framelane protocol: run the same version of \
         framelane at both ends, and check the port"
    )]
    UnknownProtocolVersion,
    /// The peer sent something that is not TLS 1.3.
    #[error(
        "the peer does not speak TLS 1.3 ({0}): check the port, and that both ends use the same \
         `transport`"
    )]
    NotTls(String),
    /// Any other alert.
    #[error("the TLS handshake failed: {from} alert {alert:?}")]
    Alert {
        /// Whose it was, "the peer sent" or "this side sent".
        from: &'static str,
        /// Which.
        alert: AlertDescription,
    },
}

impl HandshakeRefusal {
    /// True where another attempt fails as well, as long as nobody changes anything. What is no TLS, or broken TLS, may be
    /// somebody who answers in the receiver's place, as at the gate of a public network, or bytes that were changed on
    /// the way.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::NotTls(_) | Self::Alert { .. })
    }
}

/// Where a verifier notes why it refused, for whoever waits for the handshake.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdict(Arc<Mutex<Option<TrustRefusal>>>);

impl Verdict {
    pub(super) fn note(&self, refusal: TrustRefusal) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn read(&self) -> Option<TrustRefusal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Turns the error of a failed connection into its reason. Made by
/// [`ClientTls`](super::ClientTls) and [`ServerTls`](super::ServerTls).
#[derive(Debug, Clone)]
pub struct Explainer {
    role: Role,
    own: Pin,
    /// This side's certificate.
    leaf: Option<CertificateDer<'static>>,
    verdict: Verdict,
}

/// Who raised an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Here,
    Peer,
}

impl Explainer {
    pub(super) fn new(role: Role, chain: &[CertificateDer<'static>], verdict: Verdict) -> Self {
        let leaf = chain.first().cloned();
        let own = leaf.as_ref().map_or_else(|| Pin::of(&CertificateDer::from(&[][..])), Pin::of);
        Self { role, own, leaf, verdict }
    }

    /// The reason behind an error of rustls, tokio-rustls (an [`io::Error`]) or quinn, searched for
    /// along the error's sources; `None` where it has nothing to do with TLS.
    ///
    /// A sender has to ask for errors of its first reads and writes as well: in TLS 1.3 its own
    /// handshake is over before the receiver has looked at its certificate.
    pub fn explain(&self, error: &(dyn Error + 'static)) -> Option<HandshakeRefusal> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(refusal) = self.explain_one(error) {
                return Some(refusal);
            }
            next = inner(error);
        }
        None
    }

    fn explain_one(&self, error: &(dyn Error + 'static)) -> Option<HandshakeRefusal> {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return self.explain_tls(error);
        }
        match error.downcast_ref::<quinn::ConnectionError>()? {
            quinn::ConnectionError::TransportError(error) => {
                self.explain_code(Side::Here, error.code.into())
            }
            quinn::ConnectionError::ConnectionClosed(close) => {
                self.explain_code(Side::Peer, close.error_code.into())
            }
            _ => None,
        }
    }

    fn explain_tls(&self, error: &rustls::Error) -> Option<HandshakeRefusal> {
        use rustls::Error as Tls;
        match error {
            Tls::AlertReceived(alert) => Some(self.explain_alert(Side::Peer, *alert)),
            Tls::InvalidCertificate(reason) => {
                Some(self.explain_alert(Side::Here, reason.clone().into()))
            }
            Tls::NoCertificatesPresented => {
                Some(self.explain_alert(Side::Here, AlertDescription::CertificateRequired))
            }
            Tls::NoApplicationProtocol => {
                Some(self.explain_alert(Side::Here, AlertDescription::NoApplicationProtocol))
            }
            Tls::InvalidMessage(_)
            | Tls::InappropriateMessage { .. }
            | Tls::InappropriateHandshakeMessage { .. }
            | Tls::PeerIncompatible(_) => Some(HandshakeRefusal::NotTls(error.to_string())),
            _ => None,
        }
    }

    fn explain_code(&self, side: Side, code: u64) -> Option<HandshakeRefusal> {
        let alert = u8::try_from(code.checked_sub(QUIC_CRYPTO_ERROR)?).ok()?;
        Some(self.explain_alert(side, alert.into()))
    }

    fn explain_alert(&self, side: Side, alert: AlertDescription) -> HandshakeRefusal {
        match (alert, side) {
            (AlertDescription::NoApplicationProtocol, _) => {
                HandshakeRefusal::UnknownProtocolVersion
            }
            (AlertDescription::CertificateRequired, _) => HandshakeRefusal::NoSenderCertificate,
            (alert, Side::Here) => self.explain_own_alert(alert),
            (alert, Side::Peer) => self.explain_peers_alert(alert),
        }
    }

    fn explain_own_alert(&self, alert: AlertDescription) -> HandshakeRefusal {
        // Any other alert has its own cause, and the verdict would be that of an earlier attempt.
        let verdict = if refuses_certificate(alert) || alert == AlertDescription::DecryptError {
            self.verdict.read()
        } else {
            None
        };
        let unexplained = HandshakeRefusal::Alert { from: "this side sent", alert };
        verdict.map_or(unexplained, HandshakeRefusal::Here)
    }

    /// What this side can tell of the dates that the peer finds wrong.
    fn own_dates(&self, now: UnixTime) -> String {
        let trusted = match self.role {
            Role::Sender => format!("`allow` {}", self.own),
            Role::Receiver => format!("`pin` {}", self.own),
        };
        let by_pin =
            format!("A peer that trusts it by its pin ({trusted}) does not ask for its dates");
        let Some(leaf) = &self.leaf else { return by_pin };
        match (validity::check(leaf, now), validity::begin(leaf), validity::end(leaf)) {
            (Ok(()), Ok(begin), Ok(end)) => format!(
                "It is valid from {} until {}, and this machine's clock says {}: most likely the peer's \
                 clock is wrong; set it there. {by_pin}",
                validity::moment(begin),
                validity::moment(end),
                validity::moment(now)
            ),
            (Err(reason), ..) => format!("It {}. {by_pin}", OutOfDate { reason, now }),
            (Ok(()), ..) => by_pin,
        }
    }

    fn explain_peers_alert(&self, alert: AlertDescription) -> HandshakeRefusal {
        let own = self.own;
        if alert == AlertDescription::CertificateExpired {
            let finding = self.own_dates(UnixTime::now());
            return HandshakeRefusal::OwnCertificateNotInForce { own, finding };
        }
        match self.role {
            _ if !refuses_certificate(alert) => {
                HandshakeRefusal::Alert { from: "the peer sent", alert }
            }
            Role::Sender => HandshakeRefusal::SenderNotAllowed { own },
            Role::Receiver => HandshakeRefusal::ReceiverNotTrusted { own },
        }
    }
}

/// Whether an alert says that a certificate was not accepted. Ours are `access_denied` for somebody
/// who is not trusted and `certificate_expired`; other implementations use the others.
fn refuses_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::AccessDenied
            | Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::UnsupportedCertificate
    )
}

/// The error inside an error. [`io::Error::source`] skips the very error that it wraps.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    }
}

fn known_hint(receiver: &ReceiverAddress, pin: &Pin, known: Option<&PathBuf>) -> String {
    known.map_or_else(String::new, |path| {
        format!("\nor, to keep it, add this line to {}:\n  {receiver} {pin}", path.display())
    })
}

/// What helps against a date that is out of range. Nothing that costs an identity: a pin does.
fn date_remedy(reason: &OutOfDate, instead: &str, presented: &Pin) -> String {
    let by_pin = format!("{instead} {presented}, for which dates do not count");
    match reason.reason {
        ValidityError::NotYet(_) => {
            format!("Set the clock, or trust the certificate by its pin: {by_pin}")
        }
        ValidityError::Expired(_) => {
            format!("If this clock is right, trust the certificate by its pin: {by_pin}")
        }
        ValidityError::Unreadable(_) => "Is it the right peer?".to_owned(),
    }
}

fn list(pins: &[Pin]) -> String {
    pins.iter().map(Pin::to_string).collect::<Vec<_>>().join(" or ")
}
