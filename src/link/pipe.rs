//! One direction of a link: its effects in the order of a real path, and counts of what they did.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use serde::Serialize;

use super::effect::{
    Bottleneck, BurstLoss, Delay, DropReason, Effect, Jitter, LinkRng, Narrow, Outages, Packet,
    Policer, RandomLoss, Reordering,
};
use super::spec::{Capacity, DirectionSpec};
use crate::frame::{ByteSize, Share};

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the sender (near) to the receiver (far).
    Up,
    /// From the receiver to the sender.
    Down,
}

/// What became of the packets of one direction. Lengths are those of IP packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DirectionStats {
    /// Packets that entered.
    pub offered: u64,
    /// Bytes that entered.
    pub offered_bytes: u64,
    /// Packets that were or will be delivered.
    pub delivered: u64,
    /// Bytes of those.
    pub delivered_bytes: u64,
    /// Packets dropped by the full queue, or by a policer.
    pub dropped_queue: u64,
    /// Packets lost at random or in bursts.
    pub dropped_loss: u64,
    /// Packets sent while the link was down.
    pub dropped_outage: u64,
    /// Packets that were longer than a hop takes.
    pub dropped_long: u64,
    /// Packets that a firewall on the way did not let through; they are not among those that entered.
    pub dropped_blocked: u64,
    /// Packets that this machine was too slow to carry, or had no memory for. Anything but 0 means
    /// that the figures are about the machine, not about the link.
    pub dropped_overrun: u64,
    /// The longest the bottleneck's queue was, in bytes.
    pub max_queue_bytes: u64,
    /// What half of the packets waited in the bottleneck's queue at most, in microseconds; without
    /// the first two seconds, and `None` where nothing came later.
    pub queue_wait_p50_us: Option<u64>,
    /// The same for 95 % of the packets.
    pub queue_wait_p95_us: Option<u64>,
}

impl DirectionStats {
    /// The counts of this direction and another link's together; of queues the longer one's.
    #[must_use]
    pub fn beside(self, other: Self) -> Self {
        Self {
            offered: self.offered + other.offered,
            offered_bytes: self.offered_bytes + other.offered_bytes,
            delivered: self.delivered + other.delivered,
            delivered_bytes: self.delivered_bytes + other.delivered_bytes,
            dropped_queue: self.dropped_queue + other.dropped_queue,
            dropped_loss: self.dropped_loss + other.dropped_loss,
            dropped_outage: self.dropped_outage + other.dropped_outage,
            dropped_long: self.dropped_long + other.dropped_long,
            dropped_blocked: self.dropped_blocked + other.dropped_blocked,
            dropped_overrun: self.dropped_overrun + other.dropped_overrun,
            max_queue_bytes: self.max_queue_bytes.max(other.max_queue_bytes),
            queue_wait_p50_us: self.queue_wait_p50_us.max(other.queue_wait_p50_us),
            queue_wait_p95_us: self.queue_wait_p95_us.max(other.queue_wait_p95_us),
        }
    }
}

/// One direction of a link, in virtual time: each packet comes in with the time, and its delivery
/// time is known at once.
///
/// The order is that of a path whose slow hop is the lossy one: queue and rate, then outages and
/// losses (a lost packet has used its share of the rate, as on a radio link), then delay, jitter
/// and reordering.
pub struct Pipe {
    bottleneck: Option<Bottleneck>,
    stages: Vec<Stage>,
    latest: Duration,
    stats: DirectionStats,
    /// For the bottleneck, which decides nothing by chance.
    unused: LinkRng,
}

struct Stage {
    effect: Box<dyn Effect>,
    rng: LinkRng,
}

impl Pipe {
    /// A direction as specified, all of its random decisions following from `seed`.
    ///
    /// The two directions of one link share a seed and still decide independently, and so do its
    /// effects: the n-th packet is lost or not whatever jitter is added to the link.
    pub fn new(spec: &DirectionSpec, seed: u64, direction: Direction) -> Self {
        let rng = |stream| generator(seed, direction, stream);
        let mut stages = Vec::new();
        if let Some(rate) = spec.police {
            let effect = Box::new(Policer::new(rate));
            stages.push(Stage { effect, rng: rng(6) });
        }
        if let Some(longest) = spec.mtu {
            stages.push(Stage { effect: Box::new(Narrow(longest)), rng: rng(7) });
        }
        let mut add = |stream, effect| stages.push(Stage { effect, rng: rng(stream) });
        if !spec.outages.is_empty() {
            add(1, Box::new(Outages(spec.outages.clone())) as Box<dyn Effect>);
        }
        if let Some(loss) = loss(spec) {
            add(2, loss);
        }
        if !spec.delay.is_zero() {
            add(3, Box::new(Delay(spec.delay)));
        }
        if !spec.jitter.is_zero() {
            add(4, Box::new(Jitter::new(spec.jitter)));
        }
        if let Some(reorder) = spec.reorder {
            add(5, Box::new(Reordering(reorder)));
        }
        let (latest, stats) = (Duration::ZERO, DirectionStats::default());
        Self { bottleneck: bottleneck(spec), stages, latest, stats, unused: rng(0) }
    }

    /// Takes a packet of `bytes` (IP header included) at `now`, counted from the start of the
    /// link, and says when it arrives, or why it does not.
    ///
    /// Time does not run backwards: a `now` before that of an earlier packet counts as the latter.
    ///
    /// # Errors
    /// The [`DropReason`]. The packet is counted either way.
    pub fn offer(&mut self, now: Duration, bytes: u32) -> Result<Duration, DropReason> {
        self.latest = self.latest.max(now);
        let outcome = self.pass(Packet { at: self.latest, bytes });
        self.count(bytes, outcome);
        outcome
    }

    /// Counts since the start.
    pub fn stats(&self) -> DirectionStats {
        let waited = |q| {
            let wait = self.bottleneck.as_ref()?.waits().quantile(q)?;
            u64::try_from(wait.as_micros()).ok()
        };
        DirectionStats {
            queue_wait_p50_us: waited(0.5),
            queue_wait_p95_us: waited(0.95),
            ..self.stats
        }
    }

    fn pass(&mut self, mut packet: Packet) -> Result<Duration, DropReason> {
        if let Some(bottleneck) = &mut self.bottleneck {
            packet.at = bottleneck.pass(packet, &mut self.unused)?;
        }
        for stage in &mut self.stages {
            packet.at = stage.effect.pass(packet, &mut stage.rng)?;
        }
        Ok(packet.at)
    }

    fn count(&mut self, bytes: u32, outcome: Result<Duration, DropReason>) {
        let stats = &mut self.stats;
        stats.offered += 1;
        stats.offered_bytes += u64::from(bytes);
        match outcome {
            Ok(_) => {
                stats.delivered += 1;
                stats.delivered_bytes += u64::from(bytes);
            }
            Err(DropReason::Queue | DropReason::Policed) => stats.dropped_queue += 1,
            Err(DropReason::TooLong) => stats.dropped_long += 1,
            Err(DropReason::Loss) => stats.dropped_loss += 1,
            Err(DropReason::Outage) => stats.dropped_outage += 1,
        }
        if let Some(bottleneck) = &self.bottleneck {
            stats.max_queue_bytes = bottleneck.longest_queue().0;
        }
    }
}

fn bottleneck(spec: &DirectionSpec) -> Option<Bottleneck> {
    let limit = spec.queue_limit().unwrap_or(ByteSize(0));
    match &spec.capacity {
        Capacity::Unlimited => None,
        Capacity::Constant(rate) => Some(Bottleneck::constant(*rate, limit)),
        Capacity::Trace(trace) => Some(Bottleneck::traced(Arc::clone(trace), limit)),
    }
}

fn loss(spec: &DirectionSpec) -> Option<Box<dyn Effect>> {
    if spec.loss == Share::ZERO {
        return None;
    }
    // A burst that the parser let through is possible; without one, losses are independent.
    match spec.burst.and_then(|burst| BurstLoss::new(spec.loss, burst)) {
        Some(bursts) => Some(Box::new(bursts)),
        None => Some(Box::new(RandomLoss(spec.loss))),
    }
}

/// A generator of its own for each direction and effect, all from one seed.
fn generator(seed: u64, direction: Direction, stage: u64) -> LinkRng {
    let mut rng = LinkRng::seed_from_u64(seed);
    let direction = match direction {
        Direction::Up => 0,
        Direction::Down => 1 << 32,
    };
    rng.set_stream(direction + stage);
    rng
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkSpec;
    use crate::link::effect::testing;

    fn pipe(text: &str, direction: Direction) -> Pipe {
        let link: LinkSpec = text.parse().unwrap();
        let spec = if direction == Direction::Up { &link.up } else { &link.down };
        let seed = testing::seed();
        println!("seed {seed}");
        Pipe::new(spec, seed, direction)
    }

    /// The fates of packets of 1,500 bytes sent every `gap`.
    fn run(pipe: &mut Pipe, packets: u32, gap: Duration) -> Vec<Result<Duration, DropReason>> {
        (0..packets).map(|n| pipe.offer(gap * n, 1_500).map(|at| at - gap * n)).collect()
    }

    #[test]
    fn everything_offered_is_accounted_for() {
        let mut pipe =
            pipe("rate=10mbit,queue=20ms,loss=5%,burst=3,outage=1s+300ms", Direction::Up);
        run(&mut pipe, 5_000, Duration::from_millis(1));
        let stats = pipe.stats();
        assert_eq!(stats.offered, 5_000);
        assert_eq!(stats.offered_bytes, 7_500_000);
        let dropped = stats.dropped_queue + stats.dropped_loss + stats.dropped_outage;
        assert_eq!(stats.delivered + dropped, stats.offered);
        assert_eq!(stats.delivered_bytes, stats.delivered * 1_500);
        assert!(stats.dropped_queue > 0 && stats.dropped_loss > 0 && stats.dropped_outage > 0);
        // 20 ms at 10 Mbit/s are 25,000 bytes: 16 packets.
        assert_eq!(stats.max_queue_bytes, 24_000);
    }

    #[test]
    fn a_standing_queue_is_told() {
        // A packet takes 1 ms, the queue holds ten, and twice the rate comes in.
        let mut pipe = pipe("rate=12mbit,queue=15000B", Direction::Up);
        run(&mut pipe, 10_000, Duration::from_micros(500));
        let (p50, p95) = (pipe.stats().queue_wait_p50_us, pipe.stats().queue_wait_p95_us);
        assert!((8_000..10_000).contains(&p50.unwrap()) && p95 >= p50, "{p50:?} {p95:?}");
    }

    #[test]
    fn a_lost_packet_has_used_its_share_of_the_rate() {
        let mut pipe = pipe("rate=12mbit,loss=50%,queue=1s", Direction::Up);
        let fates = run(&mut pipe, 10, Duration::ZERO);
        for (n, fate) in (1..).zip(fates) {
            assert!(fate.is_err() || fate == Ok(Duration::from_millis(n)), "{n} {fate:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_fates_and_another_gives_others() {
        let text = "rate=10mbit,loss=10%,jitter=5ms,reorder=2%,delay=10ms";
        let gap = Duration::from_millis(2);
        let fates = |direction| run(&mut pipe(text, direction), 2_000, gap);
        assert_eq!(fates(Direction::Up), fates(Direction::Up));
        assert_ne!(fates(Direction::Up), fates(Direction::Down));
    }

    #[test]
    fn which_packets_are_lost_does_not_depend_on_the_other_effects() {
        let lost = |text| {
            let fates = run(&mut pipe(text, Direction::Up), 5_000, Duration::from_millis(2));
            fates.iter().map(Result::is_err).collect::<Vec<_>>()
        };
        assert_eq!(lost("loss=3%"), lost("loss=3%,jitter=9ms,reorder=5%,rate=20mbit,delay=1ms"));
    }

    #[test]
    fn an_idle_link_delays_by_sending_and_propagation() {
        let mut pipe = pipe("rate=50mbit,delay=25ms", Direction::Down);
        let expected = Duration::from_nanos(25_240_000);
        let fates = run(&mut pipe, 100, Duration::from_millis(1));
        assert!(fates.iter().all(|fate| *fate == Ok(expected)), "{fates:?}");
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let overtaken = |text| {
            let mut pipe = pipe(text, Direction::Up);
            let gap = Duration::from_micros(200);
            let arrivals: Vec<_> =
                (0..20_000).filter_map(|n| pipe.offer(gap * n, 1_500).ok()).collect();
            arrivals.windows(2).filter(|pair| pair[1] < pair[0]).count()
        };
        assert_eq!(overtaken("delay=5ms,jitter=10ms"), 0);
        // One inversion for every packet held back, unless the next one is held back as well.
        let count = overtaken("delay=5ms,jitter=1ms,reorder=1%");
        assert!((130..270).contains(&count), "{count} overtaken");
    }

    /// Golden: a seed in an old report must replay the same losses in every later version.
    #[test]
    fn seeds_mean_the_same_for_ever() {
        let spec = "loss=20%".parse::<LinkSpec>().unwrap().up;
        let mut pipe = Pipe::new(&spec, 1, Direction::Up);
        let fates = run(&mut pipe, 40, Duration::ZERO);
        let text: String = fates.iter().map(|fate| if fate.is_ok() { '.' } else { 'x' }).collect();
        assert_eq!(text, "xxx.....x.........x................x..x.");
    }
}
