//! A global bound on the memory that bodies and long messages hold while they arrive and wait to be
//! stored or answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::frame::ByteSize;
use crate::wire::{Message, OfferEntry};

/// One permit stands for this many bytes, so that permits count to more than 4 GiB.
const GRAIN: u64 = 1_024;

/// Messages up to this length are not counted: their number is bounded, and all but offers, answers
/// and receipts of many frames are shorter.
pub const SHORT_MESSAGE: u64 = 4 * 1_024;

/// Memory that bodies and long messages share.
///
/// Many frames that have each a part of their body could fill the budget, so that none could ever
/// be completed. To rule that out, one frame at a time may go over: whoever waits for memory waits
/// for the budget or for that one exemption, whichever comes first. What is held is therefore at
/// most the budget and one frame.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    bytes: Arc<Semaphore>,
    exemption: Arc<Semaphore>,
    arrived: Arc<AtomicUsize>,
    total: u64,
}

/// Memory claimed for one body or message; given back when dropped.
#[derive(Debug)]
pub struct Claim {
    budget: MemoryBudget,
    permits: Vec<OwnedSemaphorePermit>,
    exempt: Option<OwnedSemaphorePermit>,
    bytes: u64,
    arrived: bool,
}

impl MemoryBudget {
    /// A budget of `total` bytes, rounded down to whole kibibytes.
    pub fn new(total: ByteSize) -> Self {
        let grains = usize::try_from(total.0 / GRAIN).unwrap_or(usize::MAX);
        let grains = grains.min(Semaphore::MAX_PERMITS);
        Self {
            bytes: Arc::new(Semaphore::new(grains)),
            exemption: Arc::new(Semaphore::new(1)),
            arrived: Arc::default(),
            total: grains as u64 * GRAIN,
        }
    }

    /// A claim on nothing yet.
    pub fn claim(&self) -> Claim {
        let budget = self.clone();
        Claim { budget, permits: Vec::new(), exempt: None, bytes: 0, arrived: false }
    }

    /// Bytes claimed at the moment, the exempt frame's overdraft not counted.
    pub fn in_use(&self) -> u64 {
        self.total.saturating_sub(self.bytes.available_permits() as u64 * GRAIN)
    }

    /// True while whole frames wait to be stored: where memory is short then, the store is what
    /// everybody waits for, and no peer is to blame.
    pub fn waits_for_store(&self) -> bool {
        self.arrived.load(Ordering::Relaxed) > 0
    }
}

impl Claim {
    /// Grows the claim to at least `bytes`, waiting for memory where there is none.
    ///
    /// Cancel safe: a dropped wait leaves the claim as it was.
    pub async fn grow_to(&mut self, bytes: u64) {
        if self.exempt.is_some() || bytes <= self.bytes {
            return;
        }
        let grains = (bytes - self.bytes).div_ceil(GRAIN);
        let wanted = u32::try_from(grains).unwrap_or(u32::MAX);
        let budget = self.budget.bytes.clone();
        if let Ok(permit) = budget.clone().try_acquire_many_owned(wanted) {
            self.hold(permit, grains);
            return;
        }
        tokio::select! {
            Ok(permit) = budget.acquire_many_owned(wanted) => self.hold(permit, grains),
            Ok(permit) = self.budget.exemption.clone().acquire_owned() => self.exempt = Some(permit),
        }
    }

    /// Grows the claim for a message of `bytes`, before as much is read, where that is long. Cancel safe.
    pub async fn grow_to_message(&mut self, bytes: u64) {
        if bytes > SHORT_MESSAGE {
            self.grow_to(bytes).await;
        }
    }

    /// Holds the memory of a message that was read, which can be many times its length on the wire:
    /// there an entry of an offer may have five bytes. Cancel safe.
    pub async fn hold_message(&mut self, message: &Message) {
        self.grow_to_message(memory_of(message)).await;
        if self.bytes > 0 || self.exempt.is_some() {
            self.arrived();
        }
    }

    /// Marks the body as whole: from here on the memory is held for the store's sake.
    pub fn arrived(&mut self) {
        if !self.arrived {
            self.arrived = true;
            self.budget.arrived.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn hold(&mut self, permit: OwnedSemaphorePermit, grains: u64) {
        self.permits.push(permit);
        self.bytes += grains * GRAIN;
    }
}

/// Bytes of memory that a message of a sender holds, about, where it may be long.
fn memory_of(message: &Message) -> u64 {
    /// What the system's allocator takes beyond what it is asked for, about.
    const ALLOCATION: usize = 16;
    let bytes = match message {
        Message::Offer(offer) => {
            let entry = |entry: &OfferEntry| {
                size_of::<OfferEntry>() + entry.name.as_str().len() + ALLOCATION
            };
            offer.entries.iter().map(entry).sum()
        }
        Message::Drops(drops) => drops.ranges.len() * size_of::<crate::frame::DropRange>(),
        Message::EndOfRun(end) => {
            let lost = |name: &str| size_of::<crate::wire::LostFrame>() + name.len() + ALLOCATION;
            end.lost.iter().map(|frame| lost(&frame.name)).sum()
        }
        _ => 0,
    };
    bytes as u64
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.arrived {
            self.budget.arrived.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(kib: u64) -> MemoryBudget {
        MemoryBudget::new(ByteSize(kib * GRAIN))
    }

    #[tokio::test]
    async fn claims_are_given_back() {
        let budget = budget(10);
        let mut claim = budget.claim();
        claim.grow_to(3_000).await;
        claim.grow_to(5_000).await;
        assert_eq!(budget.in_use(), 5 * GRAIN);
        drop(claim);
        assert_eq!(budget.in_use(), 0);
    }

    #[tokio::test]
    async fn long_messages_hold_what_they_take() {
        let budget = budget(1_000);
        let offer = |entries| {
            let entry = |sequence| OfferEntry {
                sequence: crate::frame::Sequence(sequence),
                name: crate::frame::FrameName::parse("x").unwrap(),
                bytes: 1,
                modified: None,
                hash: None,
            };
            let source = crate::wire::SourceId(0);
            Message::Offer(crate::wire::Offer {
                source,
                entries: (0..entries).map(entry).collect(),
            })
        };
        let mut claim = budget.claim();
        for message in [Message::ClockProbe(1), offer(10)] {
            claim.grow_to_message(message.encode().len() as u64).await;
            claim.hold_message(&message).await;
            assert_eq!((budget.in_use(), budget.waits_for_store()), (0, false));
        }
        // Short on the wire, long in memory.
        let message = offer(500);
        assert!(message.encode().len() as u64 <= SHORT_MESSAGE);
        claim.hold_message(&message).await;
        assert!(budget.in_use() >= (500 * size_of::<OfferEntry>()) as u64);
        assert!(budget.waits_for_store());
        drop(claim);
        assert_eq!((budget.in_use(), budget.waits_for_store()), (0, false));
        budget.claim().grow_to_message(SHORT_MESSAGE + 1).await;
    }

    #[tokio::test]
    async fn half_arrived_frames_cannot_block_one_another() {
        let budget = budget(10);
        let (mut one, mut two, mut three) = (budget.claim(), budget.claim(), budget.claim());
        one.grow_to(5 * GRAIN).await;
        two.grow_to(5 * GRAIN).await;
        // The budget is gone; one frame may still grow without end, and only one.
        one.grow_to(100 * GRAIN).await;
        let second =
            tokio::time::timeout(std::time::Duration::from_millis(20), two.grow_to(6 * GRAIN));
        assert!(second.await.is_err(), "two frames went over the budget");
        drop(one);
        three.grow_to(GRAIN).await;
        two.grow_to(9 * GRAIN).await;
    }
}
