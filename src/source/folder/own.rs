//! What is a program's own and never a frame, whatever the user asks for: private keys, the folders of identities and
//! of spools, and what a receiver stores below a source's folder. They are known by what is in them, so that no link and
//! no other way to the same place leads around it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use memchr::memmem;

/// What makes a folder a spool; the spool's own word for it is the same.
const SPOOL_MARK: &str = "framelane-spool";

/// What makes a folder the place of one source in a store; the store's own word for it is the same. It is there before
/// the first frame is.
const LEDGER: &str = "ledger.jsonl";

/// The two files of an identity; the identity's own words for them are the same.
const IDENTITY: [&str; 2] = ["key.pem", "cert.pem"];

/// Private keys are no longer than this, whatever else is in their files.
const MAX_KEY_BYTES: usize = 256 << 10;

/// Whether a file that lies `below` a source's root is one of an identity, or lies in a spool or a store.
pub(in crate::source) fn is_own(root: &Path, below: &[u8]) -> bool {
    is_pem_of_identity(root, below) || lies_in_own(root, below, false)
}

/// Whether a file `below` a source's root is one of the two of an identity.
pub(super) fn is_pem_of_identity(root: &Path, below: &[u8]) -> bool {
    let name = below.rsplit(|byte| *byte == b'/').next().unwrap_or(below);
    if !IDENTITY.iter().any(|own| name == own.as_bytes()) {
        return false;
    }
    let path = root.join(OsStr::from_bytes(below));
    path.parent().is_some_and(|folder| IDENTITY.iter().all(|own| folder.join(own).is_file()))
}

/// Whether a folder `below` a source's root is a spool or a source's place in a store, or lies in one.
pub(in crate::source) fn is_own_folder(root: &Path, below: &[u8]) -> bool {
    lies_in_own(root, below, true)
}

fn lies_in_own(root: &Path, below: &[u8], itself: bool) -> bool {
    let has =
        |end: usize, mark: &str| root.join(OsStr::from_bytes(&below[..end])).join(mark).is_file();
    let ends = below.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
    let mut folders = ends.chain(itself.then_some(below.len()));
    // Whoever names a store's folder of a source itself wants its frames sent on. Asked where it matters: this is done for
    // each file that a watched folder tells of.
    let is_sent_on = || has(0, LEDGER);
    has(0, SPOOL_MARK)
        || folders.any(|end| has(end, SPOOL_MARK) || (has(end, LEDGER) && !is_sent_on()))
}

/// Whether a folder is a spool, or lies in one: then it is no source.
pub(super) fn is_in_spool(folder: &Path) -> bool {
    let real = fs::canonicalize(folder);
    real.is_ok_and(|real| real.ancestors().any(|above| above.join(SPOOL_MARK).is_file()))
}

/// Whether these bytes have a private key in them, as PEM or as PuTTY keeps it. Images begin otherwise, and cost nothing.
pub(in crate::source) fn has_private_key(body: &[u8]) -> bool {
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    if body.len() > MAX_KEY_BYTES {
        return false;
    }
    // As editors on Windows save it.
    let plain: Vec<u8>;
    let body = match body {
        [0xff, 0xfe, rest @ ..] | [0xfe, 0xff, rest @ ..] => {
            plain = rest.iter().copied().filter(|byte| *byte != 0).collect();
            &plain
        }
        [0xef, 0xbb, 0xbf, rest @ ..] => rest,
        body => body,
    };
    if !body.iter().take(16).all(is_text) {
        return false;
    }
    body.trim_ascii_start().starts_with(b"PuTTY-User-Key-File-")
        || memmem::find_iter(body, b"-----BEGIN ").any(|at| {
            let line = body[at..].split(|byte| *byte == b'\n').next().unwrap_or_default();
            memmem::find(line, b"PRIVATE KEY-----").is_some()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_keys_are_known_whatever_stands_before_them() {
        for key in [
            "-----BEGIN PRIVATE KEY-----\nMIG",
            "\n-----BEGIN EC PRIVATE KEY-----\n",
            "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\r\nM",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3",
            "\u{feff}-----BEGIN PRIVATE KEY-----\nMIG",
            "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none",
        ] {
            assert!(has_private_key(key.as_bytes()), "{key}");
        }
        for other in ["", "-----BEGIN CERTIFICATE-----\nMII", "-----BEGIN A\nPRIVATE KEY-----"] {
            assert!(!has_private_key(other.as_bytes()), "{other}");
        }
        let wide = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "\u{feff}-----BEGIN PRIVATE KEY-----\nM".encode_utf16().flat_map(order).collect()
        };
        assert!(has_private_key(&wide(u16::to_le_bytes)));
        assert!(has_private_key(&wide(u16::to_be_bytes)));
        assert!(!has_private_key(b"\xff\xd8\xff-----BEGIN PRIVATE KEY-----"));
    }

    #[test]
    fn identities_and_spools_below_a_folder_are_left_out_also_behind_links() {
        use crate::frame::SourceName;
        use crate::source::{Folder, FolderOptions, Source};
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (root, away) = (dir.path(), other.path());
        for folder in [root.join("certs"), root.join("sp/frames/r"), away.join("sp/frames")] {
            fs::create_dir_all(folder).unwrap();
        }
        for file in ["0.jpg", "key.pem", "certs/cert.pem", "certs/key.pem", "sp/journal"] {
            fs::write(root.join(file), file).unwrap();
        }
        fs::write(root.join("sp").join(SPOOL_MARK), "spool 1").unwrap();
        fs::write(root.join("sp/frames/r/0.frame"), "0").unwrap();
        fs::write(away.join("sp").join(SPOOL_MARK), "spool 1").unwrap();
        fs::write(away.join("sp/frames/0.frame"), "0").unwrap();
        std::os::unix::fs::symlink(away.join("sp"), root.join("link")).unwrap();
        fs::write(root.join("1.jpg"), "-----BEGIN PRIVATE KEY-----\nM").unwrap();
        let options = FolderOptions { recursive: true, ..FolderOptions::default() };
        let name = || SourceName::parse("s").unwrap();
        let source = Folder::open_with(name(), root, &options).unwrap();
        let labels: Vec<_> =
            (0..source.frames()).map(|at| source.label(crate::frame::Sequence(at))).collect();
        // One name alone makes no identity; what a file has in it is seen when it is read.
        assert_eq!(labels, ["0.jpg", "1.jpg", "key.pem"]);
        assert_eq!(source.passed().own.0, 4, "{:?}", source.passed());
        let refused = source.read(crate::frame::Sequence(1), 1_000).unwrap_err().to_string();
        assert!(refused.contains("private key"), "{refused}");
        for spool in [root.join("sp"), root.join("sp/frames"), root.join("link")] {
            let refused = Folder::open_with(name(), &spool, &options).unwrap_err().to_string();
            assert!(refused.contains("is a spool"), "{refused}");
        }
    }
}
