//! How several links are used.

use std::fmt;
use std::str::FromStr;

/// How several links of this machine are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathsMode {
    /// At once: each frame goes where it will be complete first, and over two where there is no time to find out that
    /// one does not carry it.
    #[default]
    Auto,
    /// At once, each frame over one of them.
    Spread,
    /// At once, each frame over two of them.
    Duplicate,
    /// One at a time, in their order.
    Standby,
}

impl PathsMode {
    const ALL: [Self; 4] = [Self::Auto, Self::Spread, Self::Duplicate, Self::Standby];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Spread => "spread",
            Self::Duplicate => "duplicate",
            Self::Standby => "standby",
        }
    }
}

impl fmt::Display for PathsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for PathsMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let known = Self::ALL.into_iter().find(|mode| mode.name() == text);
        known.ok_or_else(|| {
            format!("{text:?} is no way to use several links; there are {}", names())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_read_as_it_is_written() {
        for mode in PathsMode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!(
            "both".parse::<PathsMode>().unwrap_err().contains("auto, spread, duplicate, standby")
        );
    }
}
