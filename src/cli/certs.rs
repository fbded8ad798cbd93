//! `framelane certs`: make an identity.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{COMPLETE, Outcome, output};
use crate::identity::{
    CERTIFICATE_FILE, DEFAULT_DAYS, Identity, IdentityError, KEY_FILE, MAX_DAYS, NewCertificate,
};

/// Make the identity of this machine, a self-signed certificate and its key, and print its pin
#[derive(Debug, clap::Args)]
pub(super) struct CertsArgs {
    /// The folder to write cert.pem and key.pem to
    // `--out` is what it was called at first, and what scripts may still say.
    #[arg(long, value_name = "DIR", default_value = "certs", alias = "out")]
    certs: PathBuf,
    /// A further host name or IP address for the certificate; it matters for --ca only (repeatable)
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Days for which it is valid [default: 36500]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DAYS)))]
    days: Option<u32>,
    /// Replace the identity that is there; every peer then has to be told the new pin
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &CertsArgs) -> Outcome {
    let new = NewCertificate {
        names: args.name.clone(),
        days: args.days.unwrap_or(DEFAULT_DAYS),
        now: SystemTime::now(),
    };
    let asks_for_nothing_new = args.name.is_empty() && args.days.is_none() && !args.force;
    if asks_for_nothing_new {
        match Identity::load(&args.certs, new.now) {
            Ok(identity) => {
                let (folder, until) = (args.certs.display(), identity.valid_until());
                output::note(&format!(
                    "{folder} has an identity, valid until {until}; it was kept"
                ));
                tell_pin(&identity);
                return Ok(COMPLETE);
            }
            Err(IdentityError::Missing { .. }) => {}
            // What is wrong with the one that is there says more than that it is there.
            Err(error) => return Err(error.into()),
        }
    }
    let replaced = args.force.then(|| what_is_in(&args.certs)).flatten();
    let identity = Identity::create(&args.certs, &new, args.force)?;
    let (folder, until) = (args.certs.display(), identity.valid_until());
    output::note(&format!(
        "wrote {folder}/{CERTIFICATE_FILE} and {folder}/{KEY_FILE}, valid until {until}"
    ));
    if let Some(replaced) = replaced {
        output::note(&format!(
            "they replace {replaced}; give every sender and receiver that knows it the new pin"
        ));
    }
    tell_pin(&identity);
    Ok(COMPLETE)
}

/// The identity in a folder, whole or not, by the name that peers know it by.
fn what_is_in(folder: &Path) -> Option<String> {
    let is_there = [CERTIFICATE_FILE, KEY_FILE].iter().any(|name| folder.join(name).exists());
    let nameless = || is_there.then(|| "what was there, of an unknown pin".to_owned());
    Identity::known_pin(folder).map(|pin| pin.to_string()).or_else(nameless)
}

/// The pin alone on stdout, for scripts, and what it is for on stderr.
fn tell_pin(identity: &Identity) {
    output::note("its pin, for --allow at a receiver and for --pin at a sender:");
    output::result(&identity.pin().to_string());
}
