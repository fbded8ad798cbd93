//! Who is at the other end: certificates, the pins that name them, and whom to trust.
//!
//! Both ends of a connection have a certificate, and each verifies the other's, always: that it is
//! one it was told to trust, that it is in force, and that the peer has the key. A sender trusts by
//! pin, by certificate authority or by its known-receivers file ([`ReceiverTrust`]), a receiver by a
//! list of pins ([`SenderPolicy`]). [`client_config`] and [`server_config`] make TLS configurations
//! of that, and [`Explainer`] turns a failed handshake into what to do about it.

mod error;
mod files;
mod known;
mod own;
mod pin;
mod refusal;
mod senders;
mod tls;
mod trust;
mod validity;

#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod handshake_tests;

pub use error::{AddressError, IdentityError, KnownLineError};
pub use files::{CERTIFICATE_FILE, KEY_FILE};
pub use known::{KnownReceivers, ReceiverAddress};
pub use own::{DEFAULT_DAYS, Identity, MAX_DAYS, NewCertificate, Origin};
pub use pin::{Pin, PinError};
pub use refusal::{Explainer, HandshakeRefusal, Role, TrustRefusal};
pub use senders::{Allow, AllowError, OpenListener, SenderPolicy, check_listen};
pub use tls::{
    ClientTls, EarlyData, ServerTls, client_config, peer_pin, quinn_peer_pin, server_config,
};
pub use trust::{Authority, ReceiverTrust};
pub use validity::ValidityError;
