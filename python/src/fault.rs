//! Errors of the library as exceptions of the package, with the same words.

use pyo3::prelude::*;

/// The kinds of exceptions; the names of the classes in `framelane.errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Start,
    Listen,
    Push,
    Lost,
    Ended,
    Receive,
    Identity,
    Encode,
    Decode,
    Store,
    Forked,
    SpoolInUse,
    SpoolVersion,
    NotASpool,
    SpoolDisk,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Self::Start => "StartError",
            Self::Listen => "ListenError",
            Self::Push => "PushError",
            Self::Lost => "FrameLost",
            Self::Ended => "RunEnded",
            Self::Receive => "ReceiveError",
            Self::Identity => "IdentityError",
            Self::Encode => "EncodeError",
            Self::Decode => "DecodeError",
            Self::Store => "StoreError",
            Self::Forked => "ForkedError",
            Self::SpoolInUse => "SpoolInUse",
            Self::SpoolVersion => "SpoolVersionError",
            Self::NotASpool => "NotASpool",
            Self::SpoolDisk => "SpoolDiskError",
        }
    }
}

/// The exception of a kind, with the words of an error.
pub(crate) fn raise(py: Python<'_>, kind: Kind, words: impl ToString) -> PyErr {
    let made = py
        .import("framelane.errors")
        .and_then(|errors| errors.getattr(kind.class()))
        .and_then(|class| class.call1((in_python(&words.to_string()),)));
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// The options of the command line that are parameters here, and what they are called.
const PARAMETERS: [(&str, &str); 14] = [
    ("allow", "allow"),
    ("allow-overwrite", "allow_overwrite"),
    ("ca", "authority"),
    ("certs", "certs"),
    ("layout", "layout"),
    ("listen", "listen"),
    ("max-frame", "max_frame"),
    ("out", "out"),
    ("pin", "pin"),
    ("retry-for", "retry_for"),
    ("spool", "spool"),
    ("stall", "stall"),
    ("transport", "transport"),
    ("via", "via"),
];

/// Words of the library, with its options as the parameters that they are in Python: `allow=PIN` for `--allow PIN`. What stands
/// between backticks is for a shell, and stays.
fn in_python(words: &str) -> String {
    let pieces = words.split('`').enumerate();
    let told: Vec<String> = pieces
        .map(|(place, piece)| if place % 2 == 0 { parameters(piece) } else { piece.to_owned() })
        .collect();
    told.join("`")
}

fn parameters(words: &str) -> String {
    let mut told = String::with_capacity(words.len());
    let mut rest = words;
    while let Some(at) = rest.find("--") {
        let (before, option) = (&rest[..at], &rest[at + 2..]);
        let end = option.find(|c: char| !(c.is_ascii_lowercase() || c == '-'));
        let (name, behind) = option.split_at(end.unwrap_or(option.len()));
        told.push_str(before);
        match PARAMETERS.iter().find(|(known, _)| *known == name) {
            None => {
                told.push_str("--");
                told.push_str(name);
                rest = behind;
            }
            Some((_, parameter)) => {
                told.push_str(parameter);
                told.push('=');
                // Its value, where one is named: a pin, or a word that stands for one.
                let value = behind.strip_prefix(' ').unwrap_or(behind);
                let is_value =
                    ["sha256:", "PIN", "any"].iter().any(|start| value.starts_with(start));
                rest = if is_value { value } else { behind };
            }
        }
    }
    told.push_str(rest);
    told
}
