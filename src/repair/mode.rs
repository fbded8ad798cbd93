//! What the user asks for: `--repair auto|off|N%`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::frame::Share;

/// How repair is decided.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum RepairMode {
    /// From the measured loss, where it pays.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Always this share of a frame's bytes, whatever the link does.
    Fixed(Share),
}

/// Why a repair mode was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a repair mode; write auto, off, or a share such as 20% (at most 100%)")]
pub struct ParseModeError(String);

impl FromStr for RepairMode {
    type Err = ParseModeError;

    fn from_str(text: &str) -> Result<Self, ParseModeError> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            share => match share.parse::<Share>() {
                Ok(share) if share == Share::ZERO => Ok(Self::Off),
                Ok(share) => Ok(Self::Fixed(share)),
                Err(_) => Err(ParseModeError(text.to_owned())),
            },
        }
    }
}

impl fmt::Display for RepairMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Fixed(share) => write!(f, "{share}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_and_shown() {
        for (text, shown) in [("auto", "auto"), ("off", "off"), ("0%", "off"), ("12.5%", "12.5 %")]
        {
            let mode: RepairMode = text.parse().unwrap();
            assert_eq!(mode.to_string(), shown);
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
    }

    #[test]
    fn others_are_refused_with_advice() {
        for text in ["", "on", "20", "-1%", "101%", "20 percent"] {
            let error = text.parse::<RepairMode>().unwrap_err().to_string();
            assert!(error.contains("auto, off"), "{error}");
        }
    }
}
