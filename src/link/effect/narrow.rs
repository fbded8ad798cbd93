//! A hop that takes no longer packets, and does not say so.

use std::time::Duration;

use super::{DropReason, Effect, LinkRng, Packet};
use crate::frame::ByteSize;

/// Drops packets that are longer than this, without a word to their sender: no ICMP, as many firewalls have it.
#[derive(Debug)]
pub struct Narrow(pub ByteSize);

impl Effect for Narrow {
    fn pass(&mut self, packet: Packet, _rng: &mut LinkRng) -> Result<Duration, DropReason> {
        if u64::from(packet.bytes) > self.0.0 { Err(DropReason::TooLong) } else { Ok(packet.at) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn longer_packets_vanish_and_others_are_not_touched() {
        let mut narrow = Narrow(ByteSize(1_280));
        let mut pass = |bytes| {
            narrow.pass(Packet { at: Duration::from_millis(3), bytes }, &mut testing::unused())
        };
        assert_eq!(pass(1_280), Ok(Duration::from_millis(3)));
        assert_eq!(pass(1_281), Err(DropReason::TooLong));
    }
}
