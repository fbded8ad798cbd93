//! What a receiver's user calls a sender.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The name that a receiver's user has given to a sender, such as `cam1`.
///
/// It is fit to be the name of a folder on any file system: 1 to 64 ASCII letters, digits, `-`, `_` and `.`,
/// the first of them a letter or a digit, the last no `.`. Words that stand for something else, `any`,
/// `unauthenticated` and what begins with `sha256`, are no names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SenderName(String);

/// Why a text is not the name of a sender.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{text:?} is no name for a sender: {why}. A name has 1 to {} letters, digits, - _ and ., and begins with \
     a letter or a digit",
    SenderName::MAX_BYTES
)]
pub struct SenderNameError {
    text: String,
    why: &'static str,
}

impl SenderName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// What stands in a folder's place for a sender that cannot be told apart from others.
    pub(super) const UNAUTHENTICATED: &'static str = "unauthenticated";
    /// What a pin begins with where it stands in a name's place.
    pub(super) const PIN_PREFIX: &'static str = "sha256";

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same for all names that a file system may take for one another.
    pub(super) fn looks(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl FromStr for SenderName {
    type Err = SenderNameError;

    fn from_str(text: &str) -> Result<Self, SenderNameError> {
        let lower = text.to_ascii_lowercase();
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let why = if text.is_empty() {
            "it is empty"
        } else if text.len() > Self::MAX_BYTES {
            "it is too long"
        } else if !text.chars().all(is_name) {
            "it has another character in it"
        } else if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || text.ends_with('.') {
            "it begins or ends with the wrong character"
        } else if lower == "any"
            || lower == Self::UNAUTHENTICATED
            || lower.starts_with(Self::PIN_PREFIX)
        {
            "the word stands for something else"
        } else {
            return Ok(Self(text.to_owned()));
        };
        // Shown back in messages; a pasted file should not fill the terminal.
        Err(SenderNameError { text: text.chars().take(100).collect(), why })
    }
}

impl fmt::Display for SenderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_fit_for_a_folder() {
        for good in ["cam1", "Cam-1.front_left", "7", "a"] {
            assert_eq!(good.parse::<SenderName>().unwrap().as_str(), good);
        }
        let long = "x".repeat(65);
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "-x",
            "_x",
            "end.",
            "a/b",
            "a b",
            "a\nb",
            "käm",
            "a=b",
            "{x}",
            "any",
            "ANY",
            "Unauthenticated",
            "sha256",
            "SHA256-00",
            &long,
        ] {
            let error = bad.parse::<SenderName>().unwrap_err().to_string();
            assert!(error.contains("is no name for a sender"), "{error}");
        }
        let flood = "x".repeat(1 << 20).parse::<SenderName>().unwrap_err().to_string();
        assert!(flood.len() < 400, "{}", flood.len());
    }
}
