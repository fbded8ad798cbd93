//! What is measured.

use crate::frames::Frames;
use crate::process::Used;

/// One transfer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// From the sender's start to its end, listing, handshake and last receipt included.
    pub(crate) seconds: f64,
    pub(crate) sender: Used,
    pub(crate) receiver: Used,
}

/// The same transfer, repeated.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) transport: String,
    pub(crate) count: u64,
    pub(crate) bytes: usize,
    pub(crate) runs: Vec<Measured>,
}

/// Median, least and greatest.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Case {
    pub(crate) fn new(transport: &str, frames: &Frames) -> Self {
        let (count, bytes) = (frames.count, frames.bytes);
        Self { transport: transport.to_owned(), count, bytes, runs: Vec::new() }
    }

    pub(crate) fn total_bytes(&self) -> f64 {
        self.count as f64 * self.bytes as f64
    }

    /// A figure of all runs.
    pub(crate) fn spread(&self, figure: impl Fn(&Measured) -> f64) -> Spread {
        let mut values: Vec<f64> = self.runs.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        let [least, .., greatest] = values[..] else {
            let only = values.first().copied().unwrap_or_default();
            return Spread { median: only, least: only, greatest: only };
        };
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => (values[middle - 1] + values[middle]) / 2.0,
            _ => values[middle],
        };
        Spread { median, least, greatest }
    }
}
