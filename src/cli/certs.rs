//! `framelane certs`: make an identity.

use std::path::PathBuf;
use std::time::SystemTime;

use super::{COMPLETE, Outcome, output};
use crate::identity::{
    CERTIFICATE_FILE, DEFAULT_DAYS, Identity, KEY_FILE, MAX_DAYS, NewCertificate,
};

/// Make the identity of this machine, a self-signed certificate and its key, and print its pin
#[derive(Debug, clap::Args)]
pub(super) struct CertsArgs {
    /// The folder to write cert.pem and key.pem to
    #[arg(long, value_name = "DIR", default_value = "certs")]
    out: PathBuf,
    /// A further host name or IP address for the certificate; it matters for --ca only (repeatable)
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Days for which it is valid [default: 3650]
    #[arg(long, value_name = "N",
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
    let folder = args.out.display();
    let asks_for_nothing_new = args.name.is_empty() && args.days.is_none() && !args.force;
    if asks_for_nothing_new && let Ok(identity) = Identity::load(&args.out, new.now) {
        let until = identity.valid_until();
        output::note(&format!("{folder} has an identity, valid until {until}; it was kept"));
        output::result(&identity.pin().to_string());
        return Ok(COMPLETE);
    }
    let identity = Identity::create(&args.out, &new, args.force)?;
    output::note(&format!(
        "wrote {folder}/{CERTIFICATE_FILE} and {folder}/{KEY_FILE}, valid until {}",
        identity.valid_until()
    ));
    output::result(&identity.pin().to_string());
    Ok(COMPLETE)
}
