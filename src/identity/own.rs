//! This machine's own certificate and key.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use super::error::IdentityError;
use super::files::{self, Folder, Pems};
use super::pin::Pin;
use super::provider::provider;
use super::validity::{self, OutOfDate, ValidityError};

/// Days in force unless `--days` says otherwise: a century.
///
/// What revokes an identity here is taking its pin off a peer's list. A camera on a mast that falls silent
/// because nobody renewed its certificate is the likelier harm.
pub const DEFAULT_DAYS: u32 = MAX_DAYS;
/// The most that can be asked for, 100 years, which keeps every date far inside what X.509 and its
/// readers can express.
pub const MAX_DAYS: u32 = 36_500;

/// Every certificate is in force from the beginning of what clocks count, 1970: a machine that has no clock of
/// its own takes itself to be there until somebody tells it the time, and so may a peer.
const BEGIN: UnixTime = UnixTime::since_unix_epoch(Duration::ZERO);
/// The first moment that a clock which is right can show, 2026-01-01: this program is younger.
const EARLIEST_CLOCK: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_767_225_600));
/// The last moment that X.509 can express, the end of 9999.
const END_OF_X509: Duration = Duration::from_secs(253_402_300_799);
/// More names than this in a certificate are a mistake, and every handshake would carry them.
const MAX_NAMES: usize = 100;

/// What a new certificate is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCertificate {
    /// Host names and IP addresses beyond the ones it always has: `localhost`, `127.0.0.1`, `::1`
    /// and the name of this machine. Only a sender that trusts by certificate authority looks at them.
    pub names: Vec<String>,
    /// Days in force from `now` on, 1 to [`MAX_DAYS`]; it is in force since 1970 anyway. Where `now` is earlier
    /// than this program, they are counted from 2026 on.
    pub days: u32,
    /// The present, as far as this machine's clock knows it.
    pub now: SystemTime,
}

impl NewCertificate {
    /// What to say of the clock, where it cannot be right.
    pub fn clock_remark(&self) -> Option<String> {
        let now = validity::unix_time(self.now);
        (now < EARLIEST_CLOCK).then(|| {
            format!(
                "this machine's clock says {}, which is wrong: set it. The certificate is good in spite of \
                 it, since its dates are not taken from this clock",
                validity::moment(now)
            )
        })
    }
}

/// Whether an identity was found or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was in the folder.
    Loaded,
    /// The folder had none; it has now. Say so to the user: peers do not know this pin yet.
    Created,
}

/// A certificate and its private key: who this machine is towards its peers.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    pin: Pin,
    derived: Derived,
}

/// A secret that follows from the private key and does not tell it.
#[derive(Clone, Copy)]
pub(super) struct Derived([u8; 32]);

impl Derived {
    fn of(key: &PrivateKeyDer<'_>) -> Self {
        Self(blake3::derive_key("framelane 2026-11 secrets of a receiver", key.secret_der()))
    }

    /// A secret for one purpose.
    pub(super) fn secret(&self, purpose: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.0, purpose.as_bytes()).as_bytes()
    }
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Derived(..)")
    }
}

impl Identity {
    /// Makes a self-signed identity that is in memory only.
    ///
    /// The key is ECDSA on P-256: every TLS stack, hardware token and browser takes it, which
    /// cannot be said of Ed25519, and one signature a connection is too few for speed to matter.
    ///
    /// # Errors
    /// [`IdentityError::Name`], [`IdentityError::TooManyNames`], [`IdentityError::Days`] or
    /// [`IdentityError::Generate`].
    pub fn generate(new: &NewCertificate) -> Result<Self, IdentityError> {
        generate(new).map(|(identity, _)| identity)
    }

    /// Makes an identity and writes `cert.pem` and `key.pem` (mode 0600) into `folder`, which is
    /// created where missing. The files appear whole or not at all.
    ///
    /// With `force` the old pair is replaced, and every peer has to be told the new pin.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] where either file is there and `force` is not set; those of
    /// [`Identity::generate`]; and [`IdentityError::File`].
    pub fn create(folder: &Path, new: &NewCertificate, force: bool) -> Result<Self, IdentityError> {
        // Made before the folder is touched, so that a refused name leaves nothing behind.
        let (identity, pems) = generate(new)?;
        let locked = Folder::create(folder)?;
        if !force && let Some(path) = locked.any_file() {
            return Err(IdentityError::Exists { path, folder: folder.to_owned() });
        }
        locked.write(&pems)?;
        if let Some(remark) = new.clock_remark() {
            tracing::warn!("{remark}");
        }
        Ok(identity)
    }

    /// Reads `cert.pem` (the leaf first, then what issued it, if anything) and `key.pem`. A certificate that is
    /// not in force at `now` is remarked upon, and used: peers that trust it by its pin take it.
    ///
    /// # Errors
    /// Each names the file and what to do: nothing there, one of the two missing, a key that others
    /// can read, not PEM, or a key of another certificate.
    pub fn load(folder: &Path, now: SystemTime) -> Result<Self, IdentityError> {
        let pair = files::read(folder)?;
        let identity = Self::certify(pair.chain, pair.key)
            .map_err(|reason| IdentityError::Unusable { folder: folder.to_owned(), reason })?;
        identity.remark_on_dates(folder, validity::unix_time(now))?;
        Ok(identity)
    }

    /// Loads the identity in `folder`, or makes one where there is neither certificate nor key.
    ///
    /// Two processes that do this at once end up with the same identity.
    ///
    /// # Errors
    /// Those of [`Identity::load`] and [`Identity::create`].
    pub fn load_or_create(
        folder: &Path,
        new: &NewCertificate,
    ) -> Result<(Self, Origin), IdentityError> {
        match Self::load(folder, new.now) {
            Err(IdentityError::Missing { .. }) => {}
            found => return found.map(|identity| (identity, Origin::Loaded)),
        }
        match Self::create(folder, new, false) {
            // Another process was faster.
            Err(IdentityError::Exists { .. }) => {
                Self::load(folder, new.now).map(|identity| (identity, Origin::Loaded))
            }
            made => made.map(|identity| (identity, Origin::Created)),
        }
    }

    /// The pin of the certificate in `folder`, whether it can be used or not: what peers may know
    /// this machine by. `None` where no certificate can be read.
    pub fn known_pin(folder: &Path) -> Option<Pin> {
        let chain = files::read_certificate_file(&folder.join(files::CERTIFICATE_FILE)).ok()?;
        chain.first().map(Pin::of)
    }

    /// The pin of the certificate, by which peers trust it.
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// The certificate that peers see, followed by those that issued it, if it has any.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The last day on which the certificate is in force, in UTC, as `2035-11-20`.
    pub fn valid_until(&self) -> String {
        self.chain()
            .first()
            .and_then(|leaf| validity::end(leaf).ok())
            .map_or_else(|| "unknown".to_owned(), validity::day)
    }

    /// Certificate and key in the form rustls wants them.
    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// What other secrets are made of.
    pub(super) fn derived(&self) -> Derived {
        self.derived
    }

    /// A certificate with somebody else's key.
    #[cfg(test)]
    pub(super) fn forged(certified: CertifiedKey, pin: Pin) -> Self {
        Self { certified: Arc::new(certified), pin, derived: Derived([0; 32]) }
    }

    /// Pairs a chain, which must not be empty, with its key.
    fn certify(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, rustls::Error> {
        let pin = chain.first().map(Pin::of).ok_or(rustls::Error::NoCertificatesPresented)?;
        let derived = Derived::of(&key);
        let certified = Arc::new(CertifiedKey::from_der(chain, key, &provider())?);
        Ok(Self { certified, pin, derived })
    }

    fn remark_on_dates(&self, folder: &Path, now: UnixTime) -> Result<(), IdentityError> {
        let verdict = self.chain().first().map_or(Ok(()), |leaf| validity::check(leaf, now));
        let Err(reason) = verdict else { return Ok(()) };
        let folder = folder.to_owned();
        if let ValidityError::Unreadable(_) = reason {
            return Err(IdentityError::BadCertificate { folder, reason });
        }
        let reason = OutOfDate { reason, now };
        tracing::warn!(
            "the certificate in {} {reason}. Peers that trust it by its pin take it all the same; those that \
             go by `authority` or `allow_any` do not",
            folder.display()
        );
        Ok(())
    }
}

impl fmt::Debug for Identity {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("pin", &self.pin).finish_non_exhaustive()
    }
}

fn generate(new: &NewCertificate) -> Result<(Identity, Pems), IdentityError> {
    let params = parameters(new)?;
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?;
    let pems = Pems { certificate: certificate.pem(), key: key.serialize_pem() };
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let identity = Identity::certify(vec![certificate.into()], key)
        .map_err(|error| IdentityError::Generate(error.to_string()))?;
    Ok((identity, pems))
}

fn parameters(new: &NewCertificate) -> Result<CertificateParams, IdentityError> {
    if !(1..=MAX_DAYS).contains(&new.days) {
        return Err(IdentityError::Days { asked: new.days, most: MAX_DAYS });
    }
    let host = host_name();
    let mut params = CertificateParams::new(names(&new.names, host.as_deref())?)?;
    let in_force = Duration::from_secs(u64::from(new.days) * 24 * 3600);
    let from = Duration::from_secs(validity::unix_time(new.now).max(EARLIEST_CLOCK).as_secs());
    params.not_before = date(BEGIN)?;
    params.not_after =
        date(UnixTime::since_unix_epoch(from.saturating_add(in_force).min(END_OF_X509)))?;
    let subject = format!("framelane {}", host.as_deref().unwrap_or("machine"));
    params.distinguished_name.push(DnType::CommonName, subject);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // The same certificate serves a machine that sends and receives.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// The names of a certificate: the standing ones, then the asked for, each once.
fn names(asked: &[String], host: Option<&str>) -> Result<Vec<String>, IdentityError> {
    if asked.len() > MAX_NAMES {
        return Err(IdentityError::TooManyNames { asked: asked.len(), most: MAX_NAMES });
    }
    let mut names: Vec<String> = Vec::new();
    let standing = ["localhost", "127.0.0.1", "::1"].into_iter().chain(host);
    for name in standing.chain(asked.iter().map(String::as_str)) {
        ServerName::try_from(name).map_err(|_| IdentityError::Name(name.to_owned()))?;
        // One spelling for an address, so that `::0001` is not a second name.
        let name = name.parse::<IpAddr>().map_or_else(|_| name.to_owned(), |ip| ip.to_string());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The name of this machine, where it is one that a certificate can carry.
fn host_name() -> Option<String> {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_str().ok()?;
    ServerName::try_from(name).is_ok().then(|| name.to_owned())
}

fn date(time: UnixTime) -> Result<OffsetDateTime, IdentityError> {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or_else(|| IdentityError::Generate("the clock is out of range".to_owned()))
}
