//! What a link does to packets: one effect a file, all behind [`Effect`].
//!
//! Nothing here reads a clock or makes up randomness: both come in with the packet. An effect
//! answers at once, when a packet arrives, with the instant at which that packet will leave, so
//! a whole link can be run in virtual time.

mod bottleneck;
mod burst;
mod delay;
mod jitter;
mod loss;
mod narrow;
mod outage;
mod police;
mod reorder;
mod waits;

use std::time::Duration;

use rand::rngs::ChaCha12Rng;
use thiserror::Error;

pub use bottleneck::Bottleneck;
pub use burst::BurstLoss;
pub use delay::Delay;
pub use jitter::Jitter;
pub use loss::RandomLoss;
pub use narrow::Narrow;
pub use outage::Outages;
pub use police::Policer;
pub use reorder::Reordering;
pub use waits::Waits;

/// The generator behind every random decision of a link.
///
/// A named cipher rather than the library's "standard" one, whose output may change between
/// versions: a seed written into a report must replay the same losses years later.
pub type LinkRng = ChaCha12Rng;

/// A packet on its way through the effects: all that they need to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// When it reaches this effect, counted from the start of the link.
    pub at: Duration,
    /// Its length in bytes, IP header included.
    pub bytes: u32,
}

/// Why a packet never arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum DropReason {
    /// The bottleneck's queue was full.
    #[error("the queue was full")]
    Queue,
    /// Lost on the way.
    #[error("lost on the way")]
    Loss,
    /// The link was down.
    #[error("the link was down")]
    Outage,
    /// It came faster than a policer lets through.
    #[error("a policer dropped it")]
    Policed,
    /// It was longer than a hop takes.
    #[error("it was too long for the way")]
    TooLong,
}

/// One effect of a link on the packets of one direction.
pub trait Effect: Send {
    /// When the packet leaves this effect, or why it does not.
    ///
    /// Packets come in the order in which they entered the link. `rng` belongs to this effect
    /// alone, so that its decisions do not depend on which other effects the link has.
    fn pass(&mut self, packet: Packet, rng: &mut LinkRng) -> Result<Duration, DropReason>;
}

#[cfg(test)]
pub(crate) mod testing {
    use rand::SeedableRng;

    use super::LinkRng;

    /// A generator for a test, its seed printed: `FRAMELANE_TEST_SEED=N` replays a failure.
    pub(crate) fn rng() -> LinkRng {
        let seed = seed();
        println!("seed {seed} (FRAMELANE_TEST_SEED={seed} replays this)");
        LinkRng::seed_from_u64(seed)
    }

    /// A generator for effects that decide nothing by chance.
    pub(crate) fn unused() -> LinkRng {
        LinkRng::seed_from_u64(0)
    }

    /// The seed of this test run.
    pub(crate) fn seed() -> u64 {
        std::env::var("FRAMELANE_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7)
    }
}
