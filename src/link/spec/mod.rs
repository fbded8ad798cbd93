//! A link as users write it: `rate=50mbit,delay=25ms,loss=2%,queue=50ms`, or a preset's name.

mod downtime;
mod keys;
mod parse;
mod presets;
mod show;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

pub use keys::{LinkKey, link_keys};
pub use presets::{Preset, presets};
pub(crate) use trace::OPPORTUNITY_BYTES;
pub use trace::{Trace, TraceError};

use crate::frame::{BitRate, ByteSize, Share};

/// Queue where a rate is given without one: what the rate carries in this time.
const DEFAULT_QUEUE: Duration = Duration::from_millis(50);
/// ... but no fewer than ten full packets, below which TCP cannot even start.
const SMALLEST_DEFAULT_QUEUE: u64 = 15_000;

/// A link: what it does to the packets of each direction.
///
/// Parsed with [`str::parse`]: items separated by commas, a preset's name first if one is wanted,
/// then `key=value`. A key applies to both directions unless it begins with `up.` (sender to
/// receiver) or `down.`, and the prefixed one wins over the other. [`Display`] gives back
/// a specification without presets that parses to the same link.
///
/// [`link_keys`] has the keys and what they mean.
///
/// [`Display`]: std::fmt::Display
#[derive(Debug, Clone)]
pub struct LinkSpec {
    /// As the user wrote it, for headings.
    pub label: String,
    /// From sender to receiver.
    pub up: DirectionSpec,
    /// From receiver to sender.
    pub down: DirectionSpec,
    /// The seed of every random decision; `None` draws one for each run.
    pub seed: Option<u64>,
}

/// What a link does in one direction. The default is a perfect one.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectionSpec {
    /// How much it carries.
    pub capacity: Capacity,
    /// The bottleneck's queue, if a limit was asked for. Means nothing without a rate.
    pub queue: Option<QueueLimit>,
    /// Propagation, one way.
    pub delay: Duration,
    /// Further delay between 0 and this.
    pub jitter: Duration,
    /// Share of the packets lost.
    pub loss: Share,
    /// Mean length of a burst of losses in packets; `None` for independent losses.
    pub burst: Option<f64>,
    /// Packets that are overtaken.
    pub reorder: Option<Reorder>,
    /// When it is down.
    pub outages: Vec<Outage>,
    /// A rate beyond which packets are dropped, without a queue.
    pub police: Option<BitRate>,
    /// The longest packet that passes; longer ones vanish without a word.
    pub mtu: Option<ByteSize>,
}

/// How much a link carries.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Capacity {
    /// As much as the machine can move.
    #[default]
    Unlimited,
    /// A constant rate.
    Constant(BitRate),
    /// A rate that changes with time.
    Trace(Arc<Trace>),
}

/// How long the bottleneck's queue may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueLimit {
    /// In bytes.
    Bytes(ByteSize),
    /// What the (mean) rate carries in this time.
    Time(Duration),
}

/// Packets held back and overtaken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reorder {
    /// The share of packets that this happens to.
    pub share: Share,
    /// How long each is held back.
    pub by: Duration,
}

/// A time in which the link is down. Times count from the start of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// From one beginning to the next; `None` for once.
    pub every: Option<Duration>,
}

/// Why a link specification was refused. Every message says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecError {
    /// Nothing in it.
    #[error("the link is empty; write for example rate=50mbit,delay=25ms,loss=2%")]
    Empty,
    /// Neither a preset nor `key=value`.
    #[error("there is no link {name:?}; the named ones are {known}, or write key=value")]
    UnknownPreset {
        /// What was written.
        name: String,
        /// The presets.
        known: String,
    },
    /// A preset's name that is not the first item.
    #[error("{item:?} is not key=value; a named link comes first: {item},loss=5%")]
    NotFirst {
        /// What was written.
        item: String,
    },
    /// No such key.
    #[error("unknown link key {key:?}; the keys are {known}, each also as up.KEY and down.KEY")]
    UnknownKey {
        /// What was written.
        key: String,
        /// The keys.
        known: String,
    },
    /// A key given more than once.
    #[error("link key {key:?} is given twice")]
    Repeated {
        /// The key.
        key: String,
    },
    /// A value that does not parse or cannot be.
    #[error("link key {key:?}: {reason} (for example {example})")]
    Value {
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
        /// A good one.
        example: &'static str,
    },
}

impl Default for DirectionSpec {
    fn default() -> Self {
        Self {
            capacity: Capacity::Unlimited,
            queue: None,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: Share::ZERO,
            burst: None,
            reorder: None,
            outages: Vec::new(),
            police: None,
            mtu: None,
        }
    }
}

impl DirectionSpec {
    /// The rate, the mean one of a trace; `None` where unlimited.
    pub fn rate(&self) -> Option<BitRate> {
        match &self.capacity {
            Capacity::Unlimited => None,
            Capacity::Constant(rate) => Some(*rate),
            Capacity::Trace(trace) => Some(trace.mean_rate()),
        }
    }

    /// The least time that a packet needs beside its sending and queueing: propagation alone.
    pub fn one_way_delay(&self) -> Duration {
        self.delay
    }

    /// Propagation and the mean of the jitter.
    pub fn mean_delay(&self) -> Duration {
        self.delay + self.jitter / 2
    }

    /// The share of packets lost on average: random and burst loss, and the time spent in
    /// repeating outages. Outages that happen once are not in it.
    pub fn mean_loss(&self) -> Share {
        let up: f64 = self.outages.iter().map(|outage| 1.0 - share_of_time(outage)).product();
        let loss = self.loss.fraction();
        Share::new(loss + (1.0 - loss) * (1.0 - up)).unwrap_or(self.loss)
    }

    /// The limit of the bottleneck's queue in bytes; `None` where nothing limits the rate.
    pub fn queue_limit(&self) -> Option<ByteSize> {
        let rate = self.rate()?;
        Some(match self.queue {
            Some(QueueLimit::Bytes(bytes)) => bytes,
            Some(QueueLimit::Time(time)) => ByteSize(rate.bytes_in(time)),
            None => ByteSize(rate.bytes_in(DEFAULT_QUEUE).max(SMALLEST_DEFAULT_QUEUE)),
        })
    }
}

fn share_of_time(outage: &Outage) -> f64 {
    outage.every.map_or(0.0, |every| outage.lasts.as_secs_f64() / every.as_secs_f64())
}

impl LinkSpec {
    /// The same link with another seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Checks that something can arrive over it in both directions, which a comparison needs.
    ///
    /// # Errors
    /// [`SpecError::Value`] where a direction loses every packet.
    pub fn check_alive(&self) -> Result<(), SpecError> {
        for (key, direction) in [("up.loss", &self.up), ("down.loss", &self.down)] {
            if direction.loss.fraction() >= 1.0 {
                return Err(SpecError::Value {
                    key: key.to_owned(),
                    reason: "nothing ever arrives where all is lost: write from 0% to less than 100%, or an outage, which \
                             ends"
                        .to_owned(),
                    example: "loss=2%",
                });
            }
        }
        Ok(())
    }

    /// The round trip of a small packet on the idle link, without jitter.
    pub fn round_trip(&self) -> Duration {
        self.up.delay + self.down.delay
    }
}
