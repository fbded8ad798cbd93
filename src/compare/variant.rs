//! A transport together with the congestion control that it runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::congestion::Congestion;
use crate::transport::{PathsMode, Transport};

/// What is compared: a transport, and which congestion control moves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// Its transport's name on the command line.
    pub transport: String,
    /// QUIC's controller, or the kernel's congestion control; `None` is the kernel's default.
    pub congestion: Option<String>,
    /// True where another build of framelane runs it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other_build: bool,
    /// Over which of two links, where there are two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Over>,
}

/// Over which of two links something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    /// The first alone.
    First,
    /// The second alone.
    Second,
    /// Both, each frame where it is complete first, and over two where one is in doubt.
    Auto,
    /// Both, each frame over one.
    Spread,
    /// Both, each frame over both.
    Duplicate,
    /// Both, as the kernel's MPTCP likes it.
    Multipath,
}

impl Over {
    /// How several links are used where it is several.
    pub fn paths(self) -> Option<PathsMode> {
        match self {
            Self::Auto => Some(PathsMode::Auto),
            Self::Spread => Some(PathsMode::Spread),
            Self::Duplicate => Some(PathsMode::Duplicate),
            Self::First | Self::Second | Self::Multipath => None,
        }
    }

    /// True where it is both.
    pub fn is_both(self) -> bool {
        !matches!(self, Self::First | Self::Second)
    }

    fn words(self) -> &'static str {
        match self {
            Self::First => "link 1",
            Self::Second => "link 2",
            Self::Auto => "both",
            Self::Spread => "both, spread",
            Self::Duplicate => "both, duplicate",
            Self::Multipath => "both, MPTCP",
        }
    }
}

/// Why a variant was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VariantError {
    /// No such transport.
    #[error("{0}")]
    Transport(String),
    /// The kernel does not offer it.
    #[error(
        "this kernel does not offer the congestion control {asked:?}; it has {offered} (others may \
         be modules: `sudo modprobe tcp_{asked}`)"
    )]
    Kernel {
        /// What was asked for.
        asked: String,
        /// What there is.
        offered: String,
    },
    /// QUIC has no such controller.
    #[error("{0}")]
    Quic(String),
}

impl Variant {
    /// The transport.
    pub fn parsed_transport(&self) -> Transport {
        // It was written from one.
        self.transport.parse().unwrap_or(Transport::Quic)
    }

    /// QUIC's controller.
    pub fn controller(&self) -> Congestion {
        self.congestion.as_deref().and_then(|name| name.parse().ok()).unwrap_or_default()
    }

    /// QUIC with one of its controllers.
    pub fn quic(controller: Congestion) -> Self {
        Self::new(Transport::Quic, Some(controller.name()))
    }

    /// True for framelane's own choice, which the others are held against.
    pub fn is_default(&self) -> bool {
        let ours = Self::quic(Congestion::default());
        *self == ours || *self == ours.over(Over::Auto)
    }

    /// The same over one of two links, or over both.
    pub fn over(&self, over: Over) -> Self {
        Self { over: Some(over), ..self.clone() }
    }

    /// Whether the kernel is to open connections of several subflows.
    pub fn is_multipath(&self) -> bool {
        self.over == Some(Over::Multipath)
    }

    /// The same, run by another build.
    pub fn of_other_build(&self) -> Self {
        Self { other_build: true, ..self.clone() }
    }

    /// The same, run by this build.
    pub fn of_this_build(&self) -> Self {
        Self { other_build: false, ..self.clone() }
    }

    fn new(transport: Transport, congestion: Option<&str>) -> Self {
        let transport = transport.name().to_owned();
        Self {
            transport,
            congestion: congestion.map(str::to_owned),
            other_build: false,
            over: None,
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let build = if self.other_build { " (other)" } else { "" };
        let over = self.over.map_or(String::new(), |over| format!(", {}", over.words()));
        match &self.congestion {
            Some(congestion) => f.pad(&format!("{} {congestion}{build}{over}", self.transport)),
            None => f.pad(&format!("{}{build}{over}", self.transport)),
        }
    }
}

/// The variants that `asked` means: each a transport's name, which for TCP stands for every
/// congestion control in `kernel` (the default first), or `TRANSPORT:CONGESTION`. Nothing asked is
/// one QUIC and everything else there is.
///
/// # Errors
/// [`VariantError`] names what there is.
pub fn kernel_variants(
    asked: &[String],
    controllers: &[Congestion],
    kernel: &[String],
) -> Result<Vec<Variant>, VariantError> {
    let all = Transport::ALL.map(|transport| transport.name().to_owned());
    let asked = if asked.is_empty() { &all[..] } else { asked };
    let mut variants: Vec<Variant> = Vec::new();
    for text in asked {
        for variant in expand(text, controllers, kernel)? {
            if !variants.contains(&variant) {
                variants.push(variant);
            }
        }
    }
    Ok(variants)
}

fn expand(
    text: &str,
    controllers: &[Congestion],
    kernel: &[String],
) -> Result<Vec<Variant>, VariantError> {
    let (name, congestion) = match text.split_once(':') {
        Some((name, congestion)) => (name, Some(congestion)),
        None => (text, None),
    };
    let transport = Transport::from_str(name).map_err(VariantError::Transport)?;
    match (transport, congestion) {
        (Transport::Quic, None) if controllers.is_empty() => {
            Ok(vec![Variant::quic(Congestion::default())])
        }
        (Transport::Quic, None) => Ok(controllers.iter().copied().map(Variant::quic).collect()),
        (Transport::Quic, Some(name)) => {
            let controller: Congestion =
                name.parse().map_err(|error| VariantError::Quic(format!("{error}")))?;
            Ok(vec![Variant::quic(controller)])
        }
        (Transport::Tcp, None) => {
            let each = kernel.iter().map(|name| Variant::new(Transport::Tcp, Some(name)));
            Ok(each.collect())
        }
        (Transport::Tcp | Transport::TcpPerFrame | Transport::StopAndWait, Some(name)) => {
            if !kernel.iter().any(|known| known == name) {
                return Err(VariantError::Kernel {
                    asked: name.to_owned(),
                    offered: kernel.join(", "),
                });
            }
            Ok(vec![Variant::new(transport, Some(name))])
        }
        // Older habits are shown once, with what the kernel does by default.
        (transport, None) => Ok(vec![Variant::new(transport, kernel.first().map(String::as_str))]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(asked: &[&str]) -> Result<Vec<String>, VariantError> {
        let asked: Vec<String> = asked.iter().map(|&text| text.to_owned()).collect();
        let kernel = ["cubic".to_owned(), "bbr".to_owned()];
        let variants = kernel_variants(&asked, &[], &kernel)?;
        Ok(variants.iter().map(Variant::to_string).collect())
    }

    #[test]
    fn tcp_stands_for_every_congestion_control_of_the_kernel() {
        let all =
            ["quic lossy", "tcp cubic", "tcp bbr", "stop-and-wait cubic", "tcp-per-frame cubic"];
        assert_eq!(names(&[]).unwrap(), all);
        assert_eq!(names(&["tcp", "tcp:bbr"]).unwrap(), ["tcp cubic", "tcp bbr"]);
        assert_eq!(names(&["quic:bbr", "tcp:bbr"]).unwrap(), ["quic bbr", "tcp bbr"]);
    }

    #[test]
    fn what_does_not_exist_is_answered_with_what_does() {
        let error = |text| names(&[text]).unwrap_err().to_string();
        assert!(error("carrier-pigeon").contains("stop-and-wait"));
        assert!(error("tcp:vegas").contains("cubic, bbr"));
        assert!(error("quic:vegas").contains("lossy"), "{}", error("quic:vegas"));
    }
}
