//! The name of a certificate: the hash of its bytes.

use std::fmt;
use std::str::FromStr;

use ring::digest;
use rustls::pki_types::CertificateDer;
use thiserror::Error;

/// What a pin is written with, so that a later hash can be told apart.
const PREFIX: &str = "sha256:";

/// The SHA-256 of a certificate's DER, written `sha256:` and 64 hex digits.
///
/// It names one certificate exactly: renewing a certificate, even with the same key, changes it.
/// A pin is public, so nothing here needs to be compared in constant time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin([u8; Self::BYTES]);

/// Why a text is not a pin.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PinError {
    /// It does not begin with `sha256:`.
    #[error(
        "{0:?} is not a pin: it has to begin with \"sha256:\" (`framelane certs` prints the \
         whole pin)"
    )]
    Prefix(String),
    /// It is cut short, or has something after its end.
    #[error(
        "{text:?} is not a pin: after \"sha256:\" there are {digits} characters instead of 64 \
         (`framelane certs` prints the whole pin)"
    )]
    Length {
        /// The refused text.
        text: String,
        /// Characters found after the prefix.
        digits: usize,
    },
    /// A character that is no hex digit.
    #[error(
        "{text:?} is not a pin: {character:?} is not a hex digit (a pin is \"sha256:\" and 64 of \
         them, as `framelane certs` prints it)"
    )]
    Digit {
        /// The refused text.
        text: String,
        /// The first such character.
        character: char,
    },
}

impl Pin {
    /// The length of the hash in bytes.
    pub const BYTES: usize = 32;

    /// The pin of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let hash = digest::digest(&digest::SHA256, certificate);
        let mut bytes = [0; Self::BYTES];
        bytes.copy_from_slice(hash.as_ref());
        Self(bytes)
    }

    /// The hash.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl FromStr for Pin {
    type Err = PinError;

    /// Parses `sha256:` and 64 hex digits of either case.
    fn from_str(text: &str) -> Result<Self, PinError> {
        // Shown back in messages; a pasted file should not fill the terminal.
        let shown = || text.chars().take(100).collect::<String>();
        let digits = text.strip_prefix(PREFIX).ok_or_else(|| PinError::Prefix(shown()))?;
        if let Some(character) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(PinError::Digit { text: shown(), character });
        }
        if digits.len() != 2 * Self::BYTES {
            return Err(PinError::Length { text: shown(), digits: digits.len() });
        }
        let mut bytes = [0; Self::BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            *byte = (nibble(pair[0]) << 4) | nibble(pair[1]);
        }
        Ok(Self(bytes))
    }
}

/// The value of an ASCII hex digit, which the caller has made sure it is.
fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_pin_is_the_sha_256_of_the_bytes() {
        // The test vector for "abc" of FIPS 180-2, appendix B.1.
        let pin = Pin::of(&CertificateDer::from(&b"abc"[..]));
        assert_eq!(
            pin.to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let zeros = "0".repeat(64);
        for (text, expected) in [
            (String::new(), "has to begin with \"sha256:\""),
            (zeros.clone(), "has to begin with \"sha256:\""),
            (format!("SHA256:{zeros}"), "has to begin with \"sha256:\""),
            ("sha256:".to_owned(), "there are 0 characters instead of 64"),
            (format!("sha256:{}", &zeros[1..]), "there are 63 characters instead of 64"),
            (format!("sha256:{zeros}0"), "there are 65 characters instead of 64"),
            (format!("sha256:g{}", &zeros[1..]), "'g' is not a hex digit"),
            (format!("sha256:{}é", &zeros[2..]), "'é' is not a hex digit"),
            (format!("sha256:{zeros}\n"), "'\\n' is not a hex digit"),
        ] {
            let error = text.parse::<Pin>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let flood = "x".repeat(1 << 20).parse::<Pin>().unwrap_err().to_string();
        assert!(flood.len() < 300, "{}", flood.len());
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(bytes: [u8; 32]) {
            let text = Pin(bytes).to_string();
            prop_assert_eq!(*text.parse::<Pin>().unwrap().as_bytes(), bytes);
            prop_assert_eq!(text.to_uppercase().replace("SHA", "sha").parse::<Pin>().unwrap(), Pin(bytes));
        }
    }
}
