//! `cert.pem` and `key.pem` in a folder: written whole, never readable by others, read with care.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::IdentityError;
use super::key_mode;

/// The certificate's file name.
pub const CERTIFICATE_FILE: &str = "cert.pem";
/// The private key's file name.
pub const KEY_FILE: &str = "key.pem";

/// Far above a long chain of RSA certificates, and small enough to read at once.
const MAX_PEM_BYTES: u64 = 256 * 1024;

/// A new identity as it goes into its files.
pub(super) struct Pems {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// An identity as it comes out of its files. The chain is not empty.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// An identity's folder, locked against others who write an identity into it.
///
/// `receive` and `send` may be started in one folder in the same second, and both would find
/// nothing there: without the lock, the key of one could end up beside the certificate of the other.
pub(super) struct Folder {
    path: PathBuf,
    handle: File,
}

impl Folder {
    /// Creates the folder where missing, and waits until nobody else writes into it.
    pub(super) fn create(path: &Path) -> Result<Self, IdentityError> {
        if !path.is_dir() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(|error| failed("create the folder", path, error))?;
            // As tools do with folders that nobody should commit; ours is often made inside
            // somebody's repository. Without it nothing is broken, so a failure is no error.
            let _ = fs::write(path.join(".gitignore"), "*\n");
        }
        let handle = File::open(path).map_err(|error| failed("open the folder", path, error))?;
        flock(&handle, FlockOperation::LockExclusive)
            .map_err(|error| failed("lock the folder", path, error.into()))?;
        Ok(Self { path: path.to_owned(), handle })
    }

    /// One of the two files, if either is there (a dangling link counts).
    pub(super) fn any_file(&self) -> Option<PathBuf> {
        [KEY_FILE, CERTIFICATE_FILE]
            .map(|name| self.path.join(name))
            .into_iter()
            .find(|path| path.symlink_metadata().is_ok())
    }

    /// Writes both files, replacing what is there.
    pub(super) fn write(&self, pems: &Pems) -> Result<(), IdentityError> {
        // Both are complete on the disk before either gets its name, so a full disk changes nothing.
        let key = Staged::write(&self.path, KEY_FILE, &pems.key, 0o600)?;
        let certificate = Staged::write(&self.path, CERTIFICATE_FILE, &pems.certificate, 0o644)?;
        key.publish()?;
        certificate.publish()?;
        self.handle.sync_all().map_err(|error| failed("write to the folder", &self.path, error))
    }
}

/// A complete file under a temporary name, removed again unless it is published.
struct Staged {
    temporary: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Staged {
    fn write(folder: &Path, name: &str, text: &str, mode: u32) -> Result<Self, IdentityError> {
        let temporary = folder.join(format!(".{name}.new"));
        // The folder is locked, so one that is there was left by a crash.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &temporary, error));
            }
            _ => {}
        }
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)
            .map_err(|error| failed("create", &temporary, error))?;
        let staged = Self { temporary, target: folder.join(name), published: false };
        staged.fill(written, text).map_err(|error| failed("write", &staged.temporary, error))?;
        Ok(staged)
    }

    fn fill(&self, mut file: File, text: &str) -> io::Result<()> {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    fn publish(mut self) -> Result<(), IdentityError> {
        fs::rename(&self.temporary, &self.target)
            .map_err(|error| failed("write", &self.target, error))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// What to do about a file of a pair that is not what it should be.
const REMEDY: &str = "put the right file there, or make a new identity there";

/// Reads the pair in `folder`, waiting for somebody who is writing one.
pub(super) fn read(folder: &Path) -> Result<Pair, IdentityError> {
    // Held until both are read: a pair is never seen half replaced.
    let _lock = lock_to_read(folder)?;
    let (certificate, key) = (folder.join(CERTIFICATE_FILE), folder.join(KEY_FILE));
    let half = |found: &Path, missing: &Path| IdentityError::Half {
        found: found.to_owned(),
        missing: missing.to_owned(),
        folder: folder.to_owned(),
    };
    match (open(&certificate)?, open(&key)?) {
        (None, None) => Err(IdentityError::Missing { folder: folder.to_owned() }),
        (Some(_), None) => Err(half(&certificate, &key)),
        (None, Some(_)) => Err(half(&key, &certificate)),
        (Some(certificate_file), Some(key_file)) => Ok(Pair {
            chain: read_certificates(&certificate, certificate_file, REMEDY)?,
            key: read_key(&key, key_file, REMEDY)?,
        }),
    }
}

/// Reads a file of one or more certificates, such as a certificate authority's.
pub(super) fn read_certificate_file(
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let file = File::open(path).map_err(|error| failed("read", path, error))?;
    read_certificates(path, file, "name the file with the authority's certificate")
}

fn lock_to_read(folder: &Path) -> Result<File, IdentityError> {
    let handle = File::open(folder).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => IdentityError::Missing { folder: folder.to_owned() },
        _ => failed("open the folder", folder, error),
    })?;
    // A read-only network file system may not know locks, and nobody writes there either.
    let _ = flock(&handle, FlockOperation::LockShared);
    Ok(handle)
}

fn read_certificates(
    path: &Path,
    file: File,
    remedy: &str,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let expected = "certificate";
    let text = read_bounded(path, file, expected, MAX_PEM_BYTES)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let reason = match chain {
        Ok(chain) if !chain.is_empty() => return Ok(chain),
        Ok(_) => rustls::pki_types::pem::Error::NoItemsFound,
        Err(error) => error,
    };
    Err(not_pem(path, expected, &reason, remedy))
}

fn read_key(
    path: &Path,
    file: File,
    remedy: &str,
) -> Result<PrivateKeyDer<'static>, IdentityError> {
    if let Some(remark) = key_mode::check(path, &file)? {
        tracing::warn!("{remark}");
    }
    let text = read_bounded(path, file, "private key", MAX_PEM_BYTES)?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|reason| not_pem(path, "private key", &reason, remedy))
}

/// Opens a file that may not be there.
pub(super) fn open(path: &Path) -> Result<Option<File>, IdentityError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, error)),
    }
}

/// Reads a whole file of at most `limit` bytes.
pub(super) fn read_bounded(
    path: &Path,
    file: File,
    expected: &'static str,
    limit: u64,
) -> Result<Vec<u8>, IdentityError> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| failed("read", path, error))?;
    if bytes.len() as u64 > limit {
        return Err(IdentityError::TooLarge { path: path.to_owned(), expected, limit });
    }
    Ok(bytes)
}

fn not_pem(
    path: &Path,
    expected: &'static str,
    reason: &rustls::pki_types::pem::Error,
    remedy: &str,
) -> IdentityError {
    // The reader's own words quote the offending line, which may be half a key.
    let reason = match reason {
        rustls::pki_types::pem::Error::NoItemsFound => "nothing of the kind in it",
        rustls::pki_types::pem::Error::MissingSectionEnd { .. } => "it is cut off",
        _ => "it is damaged",
    };
    IdentityError::Pem {
        path: path.to_owned(),
        expected,
        reason: reason.to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn failed(action: &'static str, path: &Path, error: io::Error) -> IdentityError {
    IdentityError::File { action, path: path.to_owned(), error }
}
