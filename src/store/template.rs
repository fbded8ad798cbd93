//! The store's path with placeholders: a store of its own for each sender, or for each day.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;
use time::OffsetDateTime;

use super::contract::Opener;
use crate::frame::UnixNanos;

/// Hex digits of a pin that stand for it in a folder's name: 128 bits, which nobody can make collide with
/// another sender's.
const PIN_DIGITS: usize = 32;
/// What stands in a name's place for a sender that nothing tells from others. No sender has this name.
const UNAUTHENTICATED: &str = "unauthenticated";

/// A path in which `{sender}` and `{date}` stand for what a session makes of them, such as
/// `received/{sender}/{date}`.
///
/// `{sender}` is the name that the receiver's user has given to the sender; where it has none, `sha256-` and the
/// first 32 digits of its pin; `unauthenticated` for the stop-and-wait protocol. `{date}` is the day on which the
/// session began, in UTC, as `2026-11-29`. There are no other braces in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderTemplate(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(OsString),
    Sender,
    Date,
}

/// Why a path is not a template.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// Another word in braces.
    #[error("{{{0}}} stands for nothing: there are {{sender}} and {{date}}")]
    Unknown(String),
    /// A brace without its other half.
    #[error(
        "{0:?} has a brace without its other half: write {{sender}} or {{date}}, or a path without braces"
    )]
    Unbalanced(String),
    /// No path at all.
    #[error("an empty path is no folder")]
    Empty,
}

impl FolderTemplate {
    /// Takes a path apart.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn parse(path: &OsStr) -> Result<Self, TemplateError> {
        let shown = || path.to_string_lossy().chars().take(300).collect::<String>();
        let unbalanced = || TemplateError::Unbalanced(shown());
        if path.is_empty() {
            return Err(TemplateError::Empty);
        }
        let mut parts = Vec::new();
        let mut rest = path.as_bytes();
        while !rest.is_empty() {
            let brace =
                rest.iter().position(|byte| matches!(byte, b'{' | b'}')).unwrap_or(rest.len());
            let (text, behind) = rest.split_at(brace);
            if !text.is_empty() {
                parts.push(Part::Text(OsString::from_vec(text.to_vec())));
            }
            let Some(behind) = behind.strip_prefix(b"{") else {
                if behind.is_empty() { break } else { return Err(unbalanced()) }
            };
            let end = behind.iter().position(|byte| *byte == b'}').ok_or_else(unbalanced)?;
            parts.push(match &behind[..end] {
                b"sender" => Part::Sender,
                b"date" => Part::Date,
                other => {
                    let other = String::from_utf8_lossy(other).chars().take(100).collect();
                    return Err(TemplateError::Unknown(other));
                }
            });
            rest = &behind[end + 1..];
        }
        Ok(Self(parts))
    }

    /// A path that is taken as it is, braces included.
    pub fn literal(path: &Path) -> Self {
        Self(vec![Part::Text(path.as_os_str().to_owned())])
    }

    /// The path, where it is the same for all.
    pub fn fixed(&self) -> Option<&Path> {
        match self.0.as_slice() {
            [Part::Text(path)] => Some(Path::new(path)),
            _ => None,
        }
    }

    /// The folder that all of its paths are below: what is before the first part with a placeholder.
    pub fn root(&self) -> PathBuf {
        if let Some(path) = self.fixed() {
            return path.to_owned();
        }
        let text = match self.0.first() {
            Some(Part::Text(text)) => text.as_bytes(),
            _ => &[],
        };
        let end = text.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let root = Path::new(OsStr::from_bytes(&text[..end]));
        if end == 0 { PathBuf::from(".") } else { root.to_owned() }
    }

    /// The path for one session.
    pub fn expand(&self, opener: &Opener) -> PathBuf {
        let mut path = OsString::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => path.push(text),
                Part::Sender => path.push(sender(opener)),
                Part::Date => path.push(day(opener.began.unwrap_or_else(UnixNanos::now))),
            }
        }
        path.into()
    }
}

impl FromStr for FolderTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        Self::parse(OsStr::new(text))
    }
}

impl fmt::Display for FolderTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => write!(f, "{}", Path::new(text).display()),
            Part::Sender => f.write_str("{sender}"),
            Part::Date => f.write_str("{date}"),
        })
    }
}

/// What a sender is called in a folder's name. What could lead out of the folder is replaced, whoever has let it
/// come this far.
fn sender(opener: &Opener) -> String {
    let called = match (&opener.name, &opener.pin) {
        (Some(name), _) => name.to_string(),
        (None, Some(pin)) => {
            let digits = pin.strip_prefix("sha256:").unwrap_or(pin);
            format!("sha256-{}", digits.chars().take(PIN_DIGITS).collect::<String>())
        }
        (None, None) => UNAUTHENTICATED.to_owned(),
    };
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let safe: String = called.chars().map(|c| if is_safe(c) { c } else { '_' }).collect();
    if safe.starts_with('.') || safe.is_empty() { format!("_{safe}") } else { safe }
}

/// The day of a moment, in UTC.
fn day(at: UnixNanos) -> String {
    let seconds = i64::try_from(at.0 / 1_000_000_000).unwrap_or_default();
    OffsetDateTime::from_unix_timestamp(seconds)
        .map_or_else(|_| "1970-01-01".to_owned(), |at| at.date().to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn opener(name: Option<&str>, pin: Option<&str>) -> Opener {
        let mut opener = Opener::with_pin(pin);
        opener.name = name.map(Arc::from);
        // 2026-11-29T20:11:33Z
        opener.began = Some(UnixNanos(1_795_983_093_000_000_000));
        opener
    }

    #[test]
    fn each_sender_and_day_has_a_folder() {
        let template: FolderTemplate = "a/{sender}/x-{date}.d/{sender}".parse().unwrap();
        let pin = format!("sha256:{}", "ab".repeat(32));
        let named = template.expand(&opener(Some("cam1"), Some(&pin)));
        assert_eq!(named, Path::new("a/cam1/x-2026-11-29.d/cam1"));
        let nameless = template.expand(&opener(None, Some(&pin)));
        let digits = format!("sha256-{}", "ab".repeat(16));
        assert!(nameless.starts_with(format!("a/{digits}")), "{nameless:?}");
        let nobody = template.expand(&opener(None, None));
        assert!(nobody.starts_with("a/unauthenticated"), "{nobody:?}");
        assert_eq!(template.to_string(), "a/{sender}/x-{date}.d/{sender}");
    }

    #[test]
    fn what_is_below_which_folder_is_known_before() {
        for (template, root) in [
            ("a/b/{sender}", "a/b/"),
            ("a/b-{sender}/c", "a/"),
            ("/{date}", "/"),
            ("{sender}", "."),
            ("pre{sender}", "."),
            ("a/b", "a/b"),
        ] {
            let template: FolderTemplate = template.parse().unwrap();
            assert_eq!(template.root(), Path::new(root), "{template}");
        }
        assert_eq!("a/b".parse::<FolderTemplate>().unwrap().fixed(), Some(Path::new("a/b")));
        assert_eq!("{date}".parse::<FolderTemplate>().unwrap().fixed(), None);
        assert_eq!(FolderTemplate::literal(Path::new("{x")).fixed(), Some(Path::new("{x")));
    }

    #[test]
    fn other_braces_are_refused() {
        for (text, expected) in [
            ("{name}", "{name} stands for nothing: there are {sender} and {date}"),
            ("a/{}", "{} stands for nothing"),
            ("{Sender}", "{Sender} stands for nothing"),
            ("a{", "has a brace without its other half"),
            ("a}b", "has a brace without its other half"),
            ("{sender", "has a brace without its other half"),
            ("{{sender}}", "{{sender} stands for nothing"),
            ("", "an empty path"),
        ] {
            let error = text.parse::<FolderTemplate>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        const DAY: u64 = 24 * 3600 * 1_000_000_000;
        for (days, expected) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (20_513, "2026-03-01"),
            (20_786, "2026-11-29"),
        ] {
            assert_eq!(day(UnixNanos(days * DAY)), expected);
            assert_eq!(day(UnixNanos(days * DAY + DAY - 1)), expected);
        }
    }

    proptest! {
        #[test]
        fn nothing_leads_out(name in ".{0,40}", text in "[a-z{}/.]{0,20}") {
            let template: FolderTemplate = "x/{sender}".parse().unwrap();
            let path = template.expand(&opener(Some(&name), None));
            prop_assert_eq!(path.parent(), Some(Path::new("x")));
            prop_assert!(path.file_name().is_some_and(|last| !last.is_empty()));
            if let Ok(template) = text.parse::<FolderTemplate>() {
                prop_assert_eq!(template.to_string(), text);
            }
        }
    }
}
