//! Which congestion controller a connection uses, and a record of what it does.
//!
//! The default, [`Lossy`](lossy::Lossy), measures the rate at which data is delivered and the delay
//! it meets, and takes a filling queue for congestion but not the loss of packets. quinn's own
//! controllers stay selectable, to compare with.
//!
//! Nothing here reads a clock of its own: every event carries its time, and what has to know the
//! time between events (an outage) reads the [`Clock`] it was given.

pub mod lossy;
mod onlooker;
mod trace;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use quinn_proto::congestion::{BbrConfig, ControllerFactory, CubicConfig, NewRenoConfig};
use thiserror::Error;

pub use lossy::LossyConfig;
pub use onlooker::{Onlooker, watched};
pub use trace::{TraceEvent, TracePhase, TraceRing, TraceSink};

/// A factory as `quinn_proto::TransportConfig::congestion_controller_factory` takes it.
pub type SharedFactory = Arc<dyn ControllerFactory + Send + Sync>;

/// Where the present time comes from: `Instant::now` on a real socket, virtual time in a test.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// The congestion controllers one can choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Congestion {
    /// Delivery rate and delay, tolerant of random loss; the default.
    #[default]
    Lossy,
    /// quinn's Cubic (RFC 9438): every loss is congestion.
    Cubic,
    /// quinn's BBRv1.
    Bbr,
    /// quinn's NewReno (RFC 9002): every loss is congestion.
    NewReno,
}

impl Congestion {
    /// Every choice, in the order in which help texts list them.
    pub const ALL: [Self; 4] = [Self::Lossy, Self::Cubic, Self::Bbr, Self::NewReno];

    /// The name that [`FromStr`] reads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lossy => "lossy",
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
            Self::NewReno => "newreno",
        }
    }

    /// A factory for this controller in its default configuration, without a trace.
    pub fn factory(self) -> SharedFactory {
        match self {
            Self::Lossy => Arc::new(LossyConfig::default()),
            Self::Cubic => Arc::new(CubicConfig::default()),
            Self::Bbr => Arc::new(BbrConfig::default()),
            Self::NewReno => Arc::new(NewRenoConfig::default()),
        }
    }

    /// Like [`Congestion::factory`], with every change of state reported to `sink`.
    ///
    /// Only [`Congestion::Lossy`] reports; quinn's controllers have no such hook.
    pub fn factory_traced(self, sink: Arc<dyn TraceSink>) -> SharedFactory {
        match self {
            Self::Lossy => Arc::new(LossyConfig { trace: Some(sink), ..LossyConfig::default() }),
            other => other.factory(),
        }
    }
}

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no congestion controller's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no congestion controller; choose lossy, cubic, bbr or newreno")]
pub struct UnknownCongestion(pub String);

impl FromStr for Congestion {
    type Err = UnknownCongestion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|choice| choice.name() == text)
            .ok_or_else(|| UnknownCongestion(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for choice in Congestion::ALL {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert_eq!("reno".parse::<Congestion>(), Err(UnknownCongestion("reno".into())));
        assert_eq!(Congestion::default(), Congestion::Lossy);
    }

    #[test]
    fn every_factory_builds_an_open_window() {
        for choice in Congestion::ALL {
            let controller = choice.factory().build(Instant::now(), 1200);
            assert!(controller.window() >= 2 * 1200, "{choice}");
        }
    }
}
