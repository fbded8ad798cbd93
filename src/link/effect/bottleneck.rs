//! The slowest hop: a sender of limited rate behind a drop-tail queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::{DropReason, Effect, LinkRng, Packet, Waits};
use crate::frame::{BitRate, ByteSize};
use crate::link::spec::{OPPORTUNITY_BYTES, Trace};

/// Waits are kept from this time on: before it, any sender is still finding out what the link is.
const SETTLED: Duration = Duration::from_secs(2);

/// A drop-tail queue in front of a constant or traced rate.
///
/// The queue holds whole packets, the one being sent included until its last bit has left. A
/// packet that does not fit into what is left of the limit is dropped; one that finds the link
/// idle is always taken, so that no limit can stop a link altogether.
#[derive(Debug)]
pub struct Bottleneck {
    server: Server,
    limit: u64,
    /// Departure and length of every packet inside, in order.
    inside: VecDeque<(Duration, u32)>,
    queued: u64,
    longest: u64,
    waits: Waits,
}

impl Bottleneck {
    /// Sends at a constant rate. `rate` must be above 0, or everything leaves at once.
    pub fn constant(rate: BitRate, limit: ByteSize) -> Self {
        Self::new(Server::Constant { rate, free_at: Duration::ZERO }, limit)
    }

    /// Sends at the delivery opportunities of a trace.
    pub fn traced(trace: Arc<Trace>, limit: ByteSize) -> Self {
        Self::new(Server::Traced { trace, next: 0, room: OPPORTUNITY_BYTES }, limit)
    }

    fn new(server: Server, limit: ByteSize) -> Self {
        let (inside, waits) = (VecDeque::new(), Waits::default());
        Self { server, limit: limit.0, inside, queued: 0, longest: 0, waits }
    }

    /// The most bytes that were ever inside at once.
    pub fn longest_queue(&self) -> ByteSize {
        ByteSize(self.longest)
    }

    /// How long packets waited for those before them, without the link's first two seconds.
    pub fn waits(&self) -> &Waits {
        &self.waits
    }

    fn forget_departed(&mut self, now: Duration) {
        while let Some(&(departs, bytes)) = self.inside.front()
            && departs <= now
        {
            self.queued -= u64::from(bytes);
            self.inside.pop_front();
        }
    }
}

impl Effect for Bottleneck {
    fn pass(&mut self, packet: Packet, _rng: &mut LinkRng) -> Result<Duration, DropReason> {
        self.forget_departed(packet.at);
        let with_it = self.queued + u64::from(packet.bytes);
        if with_it > self.limit && !self.inside.is_empty() {
            return Err(DropReason::Queue);
        }
        if packet.at >= SETTLED {
            let free_at = self.inside.back().map_or(packet.at, |&(departs, _)| departs);
            self.waits.add(free_at.saturating_sub(packet.at));
        }
        let departs = self.server.serve(packet);
        self.inside.push_back((departs, packet.bytes));
        self.queued = with_it;
        self.longest = self.longest.max(with_it);
        Ok(departs)
    }
}

/// When packets leave, first come first served.
#[derive(Debug)]
enum Server {
    Constant {
        rate: BitRate,
        free_at: Duration,
    },
    /// After Mahimahi: an opportunity carries 1,500 bytes, of several packets or of a part of
    /// one; a packet leaves with its last byte, and what nobody was there to use is gone.
    Traced {
        trace: Arc<Trace>,
        next: u64,
        room: u32,
    },
}

impl Server {
    fn serve(&mut self, packet: Packet) -> Duration {
        match self {
            Self::Constant { rate, free_at } => {
                let takes = rate.time_for(u64::from(packet.bytes)).unwrap_or_default();
                *free_at = packet.at.max(*free_at) + takes;
                *free_at
            }
            Self::Traced { trace, next, room } => {
                if trace.time_of(*next) < packet.at {
                    *next = trace.first_from(packet.at);
                    *room = OPPORTUNITY_BYTES;
                }
                let mut bytes = packet.bytes;
                while bytes > *room {
                    bytes -= *room;
                    *next += 1;
                    *room = OPPORTUNITY_BYTES;
                }
                let departs = trace.time_of(*next);
                *room -= bytes;
                if *room == 0 {
                    *next += 1;
                    *room = OPPORTUNITY_BYTES;
                }
                departs
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::link::effect::testing;

    fn offer(link: &mut Bottleneck, at: Duration, bytes: u32) -> Result<Duration, DropReason> {
        link.pass(Packet { at, bytes }, &mut testing::unused())
    }

    #[test]
    fn packets_leave_at_the_rate() {
        let mut link = Bottleneck::constant(BitRate(50_000_000), ByteSize(312_500));
        let mut last = Duration::ZERO;
        let (mut carried, mut dropped) = (0u64, 0);
        // Twice the rate for ten seconds.
        for n in 0..83_333u64 {
            match offer(&mut link, Duration::from_micros(n * 120), 1_500) {
                Ok(departs) => {
                    carried += 1_500;
                    last = departs;
                }
                Err(reason) => {
                    assert_eq!(reason, DropReason::Queue);
                    dropped += 1;
                }
            }
        }
        let rate = carried as f64 * 8.0 / last.as_secs_f64();
        assert!((rate / 50e6 - 1.0).abs() < 0.001, "{rate} bit/s");
        assert!(dropped > 40_000, "dropped {dropped}");
        // 208 packets of 1,500 bytes fit into 312,500 bytes.
        assert_eq!(link.longest_queue(), ByteSize(312_000));
    }

    #[test]
    fn the_queue_adds_its_own_delay_and_no_more() {
        let mut link = Bottleneck::constant(BitRate(50_000_000), ByteSize(312_500));
        let departures: Vec<_> =
            (0..300).map_while(|_| offer(&mut link, Duration::ZERO, 1_500).ok()).collect();
        assert_eq!(departures.len(), 208);
        assert_eq!(departures.last(), Some(&Duration::from_nanos(208 * 240_000)));
        // One leaves, and there is room for one.
        assert!(offer(&mut link, Duration::from_nanos(239_999), 1_500).is_err());
        assert!(offer(&mut link, Duration::from_nanos(240_000), 1_500).is_ok());
        assert!(offer(&mut link, Duration::from_nanos(240_000), 1_500).is_err());
    }

    #[test]
    fn an_idle_link_takes_a_packet_larger_than_the_queue() {
        let mut link = Bottleneck::constant(BitRate(8_000_000), ByteSize(100));
        assert_eq!(offer(&mut link, Duration::ZERO, 1_000), Ok(Duration::from_millis(1)));
        assert!(offer(&mut link, Duration::from_micros(999), 1_000).is_err());
        assert_eq!(offer(&mut link, Duration::from_millis(1), 1_000), Ok(Duration::from_millis(2)));
    }

    #[test]
    fn waits_are_for_those_before_and_the_start_is_left_out() {
        // A packet takes 1 ms.
        let mut link = Bottleneck::constant(BitRate(12_000_000), ByteSize(1_000_000));
        for _ in 0..100 {
            offer(&mut link, Duration::ZERO, 1_500).unwrap();
        }
        assert_eq!(link.waits().quantile(0.5), None);
        for _ in 0..=10 {
            offer(&mut link, Duration::from_secs(3), 1_500).unwrap();
        }
        assert_eq!(link.waits().quantile(0.05), Some(Duration::ZERO));
        let median = link.waits().quantile(0.5).unwrap().as_secs_f64();
        assert!((median / 0.005 - 1.0).abs() < 0.05, "{median}");
    }

    #[test]
    fn a_trace_delivers_at_its_opportunities() {
        // Opportunities at 5, 5 and 10 ms, repeating every 10 ms.
        let trace = Arc::new(Trace::parse("t", "5\n5\n10\n").unwrap());
        let mut link = Bottleneck::traced(trace, ByteSize(1_000_000));
        let ms = Duration::from_millis;
        assert_eq!(offer(&mut link, ms(0), 1_500), Ok(ms(5)));
        assert_eq!(offer(&mut link, ms(1), 750), Ok(ms(5)));
        assert_eq!(offer(&mut link, ms(1), 750), Ok(ms(5)));
        assert_eq!(offer(&mut link, ms(1), 1_500), Ok(ms(10)));
        assert_eq!(offer(&mut link, ms(2), 1_500), Ok(ms(15)));
        // Spans two opportunities: leaves with its last byte.
        assert_eq!(offer(&mut link, ms(2), 1_600), Ok(ms(20)));
        // Nobody was there at 25 and 30 ms; the rest of an opportunity is gone as well.
        assert_eq!(offer(&mut link, ms(31), 1_500), Ok(ms(35)));
    }

    #[test]
    fn a_trace_carries_its_mean_rate() {
        let trace = Arc::new(Trace::parse("t", "1\n2\n2\n2\n7\n10\n").unwrap());
        let rate = trace.mean_rate();
        assert_eq!(rate, BitRate(7_200_000));
        let mut link = Bottleneck::traced(trace, ByteSize(60_000));
        let mut carried = 0u64;
        for n in 0..20_000u64 {
            let at = Duration::from_micros(n * 1_000);
            carried += if offer(&mut link, at, 1_400).is_ok() { 1_400 } else { 0 };
        }
        let measured = carried as f64 * 8.0 / 20.0;
        assert!((measured / rate.0 as f64 - 1.0).abs() < 0.01, "{measured} bit/s");
    }

    proptest! {
        #[test]
        fn first_come_first_served_within_the_limit(
            limit in 1_500u64..30_000,
            packets in prop::collection::vec((0u64..2_000, 40u32..1_500), 1..300),
        ) {
            let mut link = Bottleneck::constant(BitRate(10_000_000), ByteSize(limit));
            let mut rng = testing::unused();
            let (mut at, mut before) = (Duration::ZERO, Duration::ZERO);
            for (gap, bytes) in packets {
                at += Duration::from_micros(gap);
                if let Ok(departs) = link.pass(Packet { at, bytes }, &mut rng) {
                    prop_assert!(departs > before && departs > at);
                    // No longer than a full queue takes, and a rounding for each packet.
                    let full = BitRate(10_000_000).time_for(limit).unwrap();
                    prop_assert!(departs - at <= full + Duration::from_micros(1));
                    before = departs;
                }
            }
            prop_assert!(link.longest_queue().0 <= limit);
        }
    }
}
