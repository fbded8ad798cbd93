//! Over what a run has gone, and why.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use serde::Serialize;

use crate::transport::{Transport, Via};

/// The last links that are remembered. One that changes every minute has them for an hour and a half.
const MOST: usize = 100;

/// A link of a run, as [`SendReport::paths`](super::SendReport::paths) tells of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PathReport {
    /// The transport: `quic`, `tcp`, ...
    pub transport: &'static str,
    /// The receiver's address.
    pub address: String,
    /// Why over this, in words, where there was a choice.
    pub why: Option<String>,
    /// When it was opened, in seconds since the run began.
    pub began: f64,
    /// How long its session went on, in seconds.
    pub seconds: f64,
}

/// Over what a run goes now.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PathInUse {
    /// The transport.
    pub transport: Transport,
    /// The receiver's address.
    pub address: SocketAddr,
    /// Why over this, in words, where there was a choice.
    pub why: Option<String>,
    /// Since when.
    pub since: Instant,
}

/// The links of a run, in their order.
#[derive(Debug)]
pub(super) struct Paths {
    run_began: Instant,
    last: VecDeque<(PathReport, Instant)>,
}

impl Paths {
    pub(super) fn new(now: Instant) -> Self {
        Self { run_began: now, last: VecDeque::new() }
    }

    pub(super) fn opened(&mut self, via: &Via, now: Instant) {
        if self.last.len() == MOST {
            self.last.pop_front();
        }
        let report = PathReport {
            transport: via.transport.name(),
            address: via.address.to_string(),
            why: via.why.clone(),
            began: (now - self.run_began).as_secs_f64(),
            seconds: 0.0,
        };
        self.last.push_back((report, now));
    }

    /// The session over the last one has ended.
    pub(super) fn ended(&mut self, now: Instant) {
        if let Some((report, began)) = self.last.back_mut() {
            report.seconds = (now - *began).as_secs_f64();
        }
    }

    pub(super) fn reports(&self) -> Vec<PathReport> {
        self.last.iter().map(|(report, _)| report.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_links_are_told_with_their_times() {
        let start = Instant::now();
        let mut paths = Paths::new(start);
        for second in 0..150 {
            let why = Some(format!("{second}"));
            let via = Via {
                transport: Transport::Tcp,
                address: ([127, 0, 0, 1], 1).into(),
                why,
                link: None,
            };
            paths.opened(&via, start + Duration::from_secs(second));
            paths.ended(start + Duration::from_secs(second + 1));
        }
        let told = paths.reports();
        assert_eq!((told.len(), told[99].began, told[99].seconds), (MOST, 149.0, 1.0));
        assert_eq!((told[0].transport, told[0].why.as_deref()), ("tcp", Some("50")));
    }
}
