//! Identity and trust, as the command line gives them.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;

use super::output;
use crate::identity::{
    Authority, DEFAULT_DAYS, Identity, KnownReceivers, NewCertificate, Origin, Pin,
    ReceiverAddress, ReceiverTrust,
};

/// Loads the identity in `folder`, or makes one and says so.
pub(super) fn identity(folder: &Path) -> anyhow::Result<Identity> {
    let new = NewCertificate { names: Vec::new(), days: DEFAULT_DAYS, now: SystemTime::now() };
    let (identity, origin) = Identity::load_or_create(folder, &new)?;
    if origin == Origin::Created {
        let (folder, pin) = (folder.display(), identity.pin());
        output::note(&format!("made an identity in {folder}: {pin}"));
    }
    Ok(identity)
}

/// How a sender comes to trust its receiver.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct TrustArgs {
    /// Trust the receiver with this pin: sha256: and 64 hex digits, as `receive` prints it there
    /// (repeatable)
    #[arg(long, value_name = "PIN", conflicts_with = "ca")]
    pin: Vec<Pin>,
    /// Trust a receiver whose certificate these authorities (PEM) vouch for
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A file of trusted receivers, HOST:PORT and pin on each line, used where there is no --pin and
    /// no --ca [default: ~/.config/framelane/known_receivers]
    #[arg(long, value_name = "FILE")]
    known_receivers: Option<PathBuf>,
}

impl TrustArgs {
    /// What they come to for one receiver.
    pub(super) fn for_receiver(&self, receiver: &ReceiverAddress) -> anyhow::Result<ReceiverTrust> {
        let authority = self.ca.as_deref().map(Authority::load).transpose()?;
        let known = self.known()?;
        Ok(ReceiverTrust::new(receiver.clone(), self.pin.clone(), authority, &known))
    }

    /// An option that says for this run whom to trust, where there is one.
    pub(super) fn said(&self) -> Option<&'static str> {
        match (self.pin.is_empty(), &self.ca, &self.known_receivers) {
            (false, ..) => Some("--pin"),
            (_, Some(_), _) => Some("--ca"),
            (.., Some(_)) => Some("--known-receivers"),
            _ => None,
        }
    }

    fn known(&self) -> anyhow::Result<KnownReceivers> {
        match (&self.known_receivers, KnownReceivers::default_path()) {
            (Some(path), _) => KnownReceivers::load(path)
                .with_context(|| format!("cannot use --known-receivers {}", path.display())),
            (None, Some(path)) if path.exists() => Ok(KnownReceivers::load(&path)?),
            (None, _) => Ok(KnownReceivers::default()),
        }
    }
}
