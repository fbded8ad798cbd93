//! What an address of a receiver says over one transport.

use serde::Serialize;

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// A session can be had.
    Answers,
    /// One could be had if the receiver had room.
    Full,
    /// It answers, and this machine does not trust it, or it not this machine.
    Refused,
    /// A session can be had; it is of an earlier version that does not let itself be measured.
    Older,
    /// It answers in a way that a receiver of this version does not.
    Other,
    /// The system there says that nothing listens.
    Closed,
    /// Nothing came.
    Silent,
    /// There is no way there from here.
    NoRoute,
    /// Nobody has asked.
    NotTried,
}

/// The same, with when and why.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Answer {
    pub(super) state: State,
    /// Until the session could begin.
    pub(super) ms: Option<f64>,
    /// What went wrong, and what to do.
    pub(super) why: Option<String>,
}

impl Answer {
    pub(super) fn of(state: State, why: impl Into<String>) -> Self {
        Self { state, ms: None, why: Some(why.into()) }
    }

    /// True where a session can be had, or could be measured later.
    pub(super) fn is_session(&self) -> bool {
        matches!(self.state, State::Answers | State::Full)
    }
}

impl Answer {
    /// Nobody asked there.
    pub(super) fn not_tried() -> Self {
        Self { state: State::NotTried, ms: None, why: None }
    }

    pub(super) fn words(&self) -> String {
        let state = match self.state {
            State::Answers => "answers",
            State::Full => "answers, and has no room",
            State::Refused => "answers, and there is no trust",
            State::Older => "answers; of an earlier version, which cannot be measured",
            State::NotTried => "not tried",
            State::Other => "answers, but not as a receiver of this version",
            State::Closed => "closed",
            State::Silent => "no answer",
            State::NoRoute => "no route",
        };
        let time = self.ms.map_or_else(String::new, |ms| format!(" after {}", milliseconds(ms)));
        format!("{state}{time}")
    }
}

/// `0.4 ms`, `52 ms`, `8.83 s`.
pub(super) fn milliseconds(ms: f64) -> String {
    match ms {
        ..10.0 => format!("{ms:.1} ms"),
        10.0..1_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.2} s", ms / 1e3),
    }
}
