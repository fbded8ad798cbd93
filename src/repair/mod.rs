//! Forward repair inside a frame's own stream: shards in, frame out, without sockets or clocks.
//!
//! A frame that carries repair is one stream laid out as
//!
//! ```text
//! | header (H) | body (B) | trailer | R shards of L bytes | trailer |
//!
//! trailer: | header copy (H) | u16 H | mark (8) |
//! ```
//!
//! The body is cut into K = ceil(B / L) data shards, the last padded with zeros that are not sent.
//! Any K whole shards out of K + R give the body back, so a frame that lost packets need not wait
//! a round trip for their retransmission. What repair cannot mend, retransmission does: the
//! stream stays reliable underneath.
//!
//! The code is the Reed-Solomon code over GF(2^16) of the crate `reed-solomon-simd` (Leopard-RS:
//! Lin, Chung and Han, "Novel Polynomial Basis and Its Application to Reed-Solomon Erasure
//! Codes", FOCS 2014); the golden bytes in the tests pin it for other implementations.
//!
//! - [`Plan`] and [`Layout`]: what goes where, with every limit checked before anything is allocated.
//! - [`encode`] and [`trailer`]: the sender's side.
//! - [`Assembly`]: the receiver's side, fed with chunks in any order.
//! - [`decide`]: how much repair pays, and when it is written; [`RepairPolicy`] and [`LossEstimator`]: what it has to
//!   know.

mod assembly;
mod chance;
mod code;
mod decide;
mod encoding;
mod engine;
mod loss;
mod mode;
mod pieces;
mod plan;
mod policy;

pub use assembly::{Arrival, Assembly, Head, Limits, Progress};
pub use chance::{Losses, more_lost_than};
pub use code::{encode, warm_up};
pub use decide::{
    Conditions, Means, Overhead, ROOMY_LOAD, Repair, Settings, decide, is_short, overhead,
    shard_len_for, shards_for,
};
pub use loss::LossEstimator;
pub use mode::{ParseModeError, RepairMode};
pub use plan::{
    Layout, MAX_REPAIRED_BODY, MAX_SHARD_LEN, MAX_SHARDS, Plan, TrailerMark, trailer, trailer_len,
};
pub use policy::RepairPolicy;

use thiserror::Error;

/// What can be wrong with a plan, or with a stream that claims to follow one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RepairError {
    /// Repair is for bodies of 1 byte to 8 MiB.
    #[error("a body of {0} bytes cannot carry repair; 1 to {MAX_REPAIRED_BODY} bytes can")]
    BodyLength(u64),
    /// The shard length is odd, zero or too large.
    #[error("shards of {0} bytes are not possible; 2 to {MAX_SHARD_LEN}, an even number, are")]
    ShardLength(usize),
    /// More repair than data, none at all, or too many shards together.
    #[error(
        "{repair} repair shards for {data} data shards are not possible; \
         at least 1, at most as many as data, and {MAX_SHARDS} together are"
    )]
    ShardCount {
        /// Data shards.
        data: usize,
        /// Repair shards.
        repair: usize,
    },
    /// The body given is not the one that was planned for.
    #[error("the body has {given} bytes but its plan was made for {planned}")]
    OtherBody {
        /// Bytes given.
        given: usize,
        /// Bytes planned for.
        planned: usize,
    },
    /// The code refused what the plan allows; a defect here, not in the input.
    #[error("the repair code failed: {0}; send without repair and report this")]
    Code(String),
    /// The header is longer than allowed.
    #[error("the frame's header is longer than the {limit} bytes allowed")]
    HeaderTooLong {
        /// The limit.
        limit: usize,
    },
    /// The bytes at the start of the stream are not a header.
    #[error("the stream does not begin with a frame header")]
    BadHeader,
    /// The header announces more than the receiver takes.
    #[error("the header announces a body of {announced} bytes; at most {limit} are taken here")]
    BodyTooLong {
        /// Announced length.
        announced: u64,
        /// The receiver's limit.
        limit: u64,
    },
    /// Bytes behind the end of the stream that the header, or the receiver's limit, implies.
    #[error("the stream has bytes up to offset {reached}, but must end at {end}")]
    BeyondEnd {
        /// The offset behind the last byte.
        reached: u64,
        /// Where the stream has to end at the latest.
        end: u64,
    },
    /// Many more holes than losses can make: somebody is wasting this side's memory.
    #[error("the stream arrived in {pieces} pieces of only {received} bytes together")]
    TooScattered {
        /// Separate pieces held.
        pieces: usize,
        /// Bytes received.
        received: u64,
    },
    /// The stream ended before the body was complete.
    #[error("the stream ended after {received} bytes without a complete frame")]
    Truncated {
        /// Bytes received.
        received: u64,
    },
}
