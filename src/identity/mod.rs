//! Who is at the other end: certificates, the pins that name them, and whom to trust.
//!
//! Both ends of a connection have a certificate, and each verifies the other's, always: that it is
//! one it was told to trust, and that the peer has the key. A sender trusts by pin, by certificate
//! authority or by its known-receivers file ([`ReceiverTrust`]), a receiver by a list of pins
//! ([`SenderPolicy`], and [`SharedPolicy`] where it may change while it runs). A certificate's dates count
//! where an authority vouches for it or where anybody is let in; one that is trusted by its pin may be
//! out of them. [`client_config`] and [`server_config`] make TLS configurations
//! of that, and [`Explainer`] turns a failed handshake into what to do about it.

mod allow_file;
mod error;
mod files;
mod key_mode;
mod known;
mod own;
mod permit;
mod pin;
mod proof;
mod provider;
mod refusal;
mod sender_check;
mod sender_name;
mod senders;
mod tickets;
mod tls;
mod trust;
mod validity;

#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod handshake_tests;

#[cfg(feature = "fuzzing")]
pub(crate) use allow_file::parse_for_fuzzing as parse_allow_file;
pub use allow_file::{AllowFile, AllowFileNews};
pub use error::{AddressError, AllowLineError, IdentityError, KnownLineError};
pub use files::{CERTIFICATE_FILE, KEY_FILE};
pub use known::{KnownReceivers, ReceiverAddress};
pub use own::{DEFAULT_DAYS, Identity, MAX_DAYS, NewCertificate, Origin};
pub use permit::{Permit, PolicyChange, SharedPolicy};
pub use pin::{Pin, PinError};
pub use refusal::{Explainer, HandshakeRefusal, Role, TrustRefusal};
pub use sender_name::{SenderName, SenderNameError};
pub use senders::{
    Allow, AllowConflict, AllowError, OpenListener, SenderList, SenderPolicy, check_listen,
};
pub use tls::{
    ClientTls, EarlyData, ServerTls, client_config, open_server_config, peer_pin,
    quinn_peer_certificates, quinn_peer_pin, server_config,
};
pub use trust::{Authority, ReceiverTrust};
pub use validity::{OutOfDate, ValidityError};
