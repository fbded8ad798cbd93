//! The texts of the Python socket scripts' protocol, as `docs/wire.md` lays them out.
//!
//! A text has neither a length nor an end mark: it is whatever one `send` carried. So a decoder
//! cannot tell a whole text from the first part of a longer one; only silence can. That is why
//! there are two steps here: [`opening_outlook`] and [`header_outlook`] say of what has arrived
//! whether it could be a whole text already, and [`Opening::parse`] and [`Header::parse`] read it
//! once the sender has been silent. What no further byte could cure is an error at once.
//!
//! `ok`, `continue` and `over` are told by their own letters, and need no silence.

use bytes::Bytes;

use super::codec::{Decoded, WireError};
use crate::frame::{FrameName, SourceName};

/// The longest text: the scripts read each with one `recv(1024)`.
pub const MAX_TEXT_BYTES: usize = 1_024;

/// The most digits of a length: just under 1 TB, far beyond every frame, far below any overflow.
pub const MAX_LENGTH_DIGITS: usize = 12;

/// The shortest body. The scripts read with `recv(LENGTH//2)`, which for less never ends.
pub const MIN_BODY_BYTES: u64 = 2;

/// What a receiver says after the opening, each header and each body.
pub const OK: &[u8] = b"ok";
/// What a sender says where another frame follows.
pub const CONTINUE: &[u8] = b"continue";
/// What a sender says after the last frame.
pub const OVER: &[u8] = b"over";

const SEPARATOR: char = '|';
const OPENING: &str = "the opening of a stop-and-wait connection";
const HEADER: &str = "the header of a stop-and-wait frame";

/// The first text of a connection, `FORMAT|DIRECTORY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// What tells visible from infrared.
    pub format: String,
    /// The folder to save into, as the sender wishes it. Never used as a path.
    pub directory: String,
}

/// What comes before each body, `LENGTH|NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Length of the body.
    pub bytes: u64,
    /// File name.
    pub name: FrameName,
}

/// What a sender says after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// The header of another frame follows, merged with this or not.
    Continue,
    /// That was the last one.
    Over,
}

/// What the bytes of a text without an end mark could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// Not a whole text: more has to come.
    NeedMore,
    /// A whole text, unless more comes.
    PerhapsWhole {
        /// It ends as the name of an image file does, so that more is unlikely.
        likely: bool,
    },
}

/// What has arrived of an opening.
///
/// # Errors
/// [`WireError`] where no further byte could make an opening of it.
pub fn opening_outlook(bytes: &[u8]) -> Result<Outlook, WireError> {
    Ok(match halves(bytes, OPENING)? {
        Some((format, rest)) => {
            if format.is_empty() {
                return Err(malformed(OPENING, "the format is empty"));
            }
            match rest.is_empty() {
                true => Outlook::NeedMore,
                false => Outlook::PerhapsWhole { likely: false },
            }
        }
        None => Outlook::NeedMore,
    })
}

/// What has arrived of a header.
///
/// # Errors
/// [`WireError`] where no further byte could make a header of it.
pub fn header_outlook(bytes: &[u8]) -> Result<Outlook, WireError> {
    let digits = bytes.split(|&byte| byte == SEPARATOR as u8).next().unwrap_or_default();
    check_digits(digits)?;
    Ok(match halves(bytes, HEADER)? {
        Some(("", _)) => return Err(malformed(HEADER, "the length is empty")),
        Some((_, name)) if !name.is_empty() => {
            Outlook::PerhapsWhole { likely: ends_as_an_image(name) }
        }
        _ => Outlook::NeedMore,
    })
}

/// Digits only: a sign, a space or an underscore, which Python's `int` would take, is never sent.
fn check_digits(digits: &[u8]) -> Result<(), WireError> {
    if digits.len() > MAX_LENGTH_DIGITS {
        let (value, limit) = (digits.len() as u64, MAX_LENGTH_DIGITS as u64);
        return Err(WireError::OverLimit { what: "the digits of a length", value, limit });
    }
    match digits.iter().find(|byte| !byte.is_ascii_digit()) {
        Some(&byte) => {
            let byte = byte.escape_ascii();
            Err(malformed(HEADER, format!("\"{byte}\" stands in its length, which is digits only")))
        }
        None => Ok(()),
    }
}

/// The text before and behind the separator; `None` where there is none yet. A character of which
/// only the first bytes have come makes the second half seem empty, so that more is waited for.
fn halves<'a>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<Option<(&'a str, &'a str)>, WireError> {
    if bytes.len() > MAX_TEXT_BYTES {
        let (value, limit) = (bytes.len() as u64, MAX_TEXT_BYTES as u64);
        return Err(WireError::OverLimit { what, value, limit });
    }
    let (text, cut) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, false),
        Err(error) if error.error_len().is_none() => {
            // The bytes up to there were found valid; the fallback is never taken.
            (std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(), true)
        }
        Err(_) => return Err(malformed(what, "it is not UTF-8")),
    };
    let Some((before, behind)) = text.split_once(SEPARATOR) else { return Ok(None) };
    if behind.contains(SEPARATOR) {
        return Err(malformed(what, "it has more than two parts"));
    }
    Ok(Some((before, if cut { "" } else { behind })))
}

/// Endings that are not the beginning of another common one.
fn ends_as_an_image(name: &str) -> bool {
    const ENDINGS: [&str; 7] = ["png", "jpg", "jpeg", "tiff", "bmp", "webp", "pgm"];
    name.rsplit_once('.').is_some_and(|(stem, ending)| {
        !stem.is_empty() && ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known))
    })
}

impl Opening {
    /// Reads a whole opening.
    ///
    /// # Errors
    /// [`WireError`] where it is not exactly two parts that are not empty.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        match halves(bytes, OPENING)? {
            Some((format, directory)) if !format.is_empty() && !directory.is_empty() => {
                Ok(Self { format: format.to_owned(), directory: directory.to_owned() })
            }
            _ => Err(malformed(OPENING, "it is not FORMAT|DIRECTORY")),
        }
    }

    /// The opening's bytes.
    ///
    /// # Errors
    /// [`WireError`] where a part is empty or holds a `|`, or both together are too long.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        let text = format!("{}{SEPARATOR}{}", self.format, self.directory);
        Self::parse(text.as_bytes())?;
        Ok(text.into())
    }

    /// The source that these frames belong to.
    ///
    /// `DIRECTORY` is a path on some machine or other: `./visible/`, `D:\data\visible`. Its last
    /// folder is what names the sensor, so that becomes the source, and nothing else of the path is
    /// used. Where that is no safe name (`..`, a drive, a reserved name), `FORMAT` is taken.
    ///
    /// # Errors
    /// [`WireError::Malformed`] where neither is a safe name.
    pub fn source(&self) -> Result<SourceName, WireError> {
        let folder = self.directory.rsplit(['/', '\\']).find(|part| !matches!(*part, "" | "."));
        let folder = folder.filter(|folder| !is_drive(folder));
        if let Some(Ok(name)) = folder.map(SourceName::parse) {
            return Ok(name);
        }
        SourceName::parse(&self.format).map_err(|error| {
            let why =
                format!("neither {:?} nor its format names a source: {error}", self.directory);
            malformed(OPENING, why)
        })
    }
}

/// `D:`, which names no folder, or `D:visible`, whose folder depends on where the drive stands.
fn is_drive(folder: &str) -> bool {
    matches!(folder.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic())
}

impl Header {
    /// Reads a whole header.
    ///
    /// # Errors
    /// [`WireError`] where it is not a length and a safe name.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        header_outlook(bytes)?;
        let Some((length, name)) = halves(bytes, HEADER)? else {
            return Err(malformed(HEADER, "it is not LENGTH|NAME"));
        };
        let bytes = length.parse().map_err(|_| malformed(HEADER, "it has no length"))?;
        let name = FrameName::parse(name).map_err(|error| malformed(HEADER, error.to_string()))?;
        // The scripts name files, and save them all into one folder.
        if name.folder().is_some() {
            return Err(malformed(HEADER, format!("the name {name} has folders")));
        }
        Ok(Self { bytes, name })
    }

    /// The header's bytes.
    ///
    /// # Errors
    /// [`WireError`] where the protocol cannot carry the frame: a body under
    /// [`MIN_BODY_BYTES`] or of too many digits, a name with a `|`.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        if self.name.folder().is_some() {
            let why = format!("{} is in a folder, which stop-and-wait cannot carry", self.name);
            return Err(malformed(HEADER, why));
        }
        if self.bytes < MIN_BODY_BYTES {
            let why = format!(
                "{} is {} bytes long; the stop-and-wait protocol carries frames of {MIN_BODY_BYTES} \
                 bytes or more, as its receivers read with recv(LENGTH//2)",
                self.name, self.bytes
            );
            return Err(malformed(HEADER, why));
        }
        if self.name.as_str().contains(SEPARATOR) {
            let why = format!(
                "{:?} contains '|', which ends a field there; rename it",
                self.name.as_str()
            );
            return Err(malformed(HEADER, why));
        }
        let text = format!("{}{SEPARATOR}{}", self.bytes, self.name);
        header_outlook(text.as_bytes())?;
        Ok(text.into())
    }

    /// The number that the name carries: the last run of digits before its ending, by which the
    /// scripts order their files. `None` without one, or with one of over 15 digits, which is no
    /// count of frames.
    pub fn number(&self) -> Option<u64> {
        const MAX_DIGITS: usize = 15;
        let name = self.name.as_str();
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let end = stem.rfind(|c: char| c.is_ascii_digit())? + 1;
        let start = stem[..end].rfind(|c: char| !c.is_ascii_digit());
        // The character before the digits may be of several bytes; the digits are the rest of it.
        let digits =
            stem[start.unwrap_or(0)..end].trim_start_matches(|c: char| !c.is_ascii_digit());
        if digits.len() > MAX_DIGITS { None } else { digits.parse().ok() }
    }
}

impl Command {
    /// Decodes a command at the start of `bytes`; the next header may follow it.
    ///
    /// # Errors
    /// [`WireError::Malformed`] as soon as it cannot become one.
    pub fn decode(bytes: &[u8]) -> Result<Decoded<Self>, WireError> {
        for (text, command) in [(CONTINUE, Self::Continue), (OVER, Self::Over)] {
            if bytes.starts_with(text) {
                return Ok(Decoded::Value(command, text.len()));
            }
            if text.starts_with(bytes) {
                return Ok(Decoded::NeedMore(if bytes.is_empty() { 1 } else { text.len() }));
            }
        }
        let shown = bytes[..bytes.len().min(CONTINUE.len())].escape_ascii();
        Err(malformed("what follows a stop-and-wait frame", format!("\"{shown}\" is no command")))
    }
}

/// Decodes an `ok` at the start of `bytes`.
///
/// # Errors
/// [`WireError::Malformed`] where something else was said.
pub fn decode_ok(bytes: &[u8]) -> Result<Decoded<()>, WireError> {
    if bytes == OK {
        return Ok(Decoded::Value((), OK.len()));
    }
    if OK.starts_with(bytes) {
        return Ok(Decoded::NeedMore(OK.len()));
    }
    const SHOWN: usize = 32;
    let shown = bytes[..bytes.len().min(SHOWN)].escape_ascii();
    Err(malformed(
        "the reply of a stop-and-wait receiver",
        format!("\"{shown}\" instead of \"ok\""),
    ))
}

fn malformed(what: &'static str, why: impl Into<String>) -> WireError {
    WireError::Malformed { what, why: why.into() }
}

#[cfg(test)]
mod tests;
