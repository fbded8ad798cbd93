//! Errors of the library as exceptions of the package, with the same words.

use framelane::door::PushError;
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
    // The library's words name what its builders call it, which are the parameters here, but for this one.
    let words = words.to_string().replace("`allow_any`", "`allow=\"any\"`");
    let made = py
        .import("framelane.errors")
        .and_then(|errors| errors.getattr(kind.class()))
        .and_then(|class| class.call1((words,)));
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// Why a frame was not taken.
pub(crate) fn refused(py: Python<'_>, error: &PushError) -> PyErr {
    let kind = if *error == PushError::Ended { Kind::Ended } else { Kind::Push };
    raise(py, kind, error)
}
