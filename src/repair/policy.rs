//! How much repair a frame gets.
//!
//! Sized for independent losses: the fewest repair packets r for which more than r of the frame's
//! packets, repair included, are lost in at most 1 % of frames. Bursts longer than that fall back
//! to retransmission; sizing for them would cost more than it saves.

use std::ops::Range;
use std::time::Duration;

use super::chance::more_lost_than;
use super::loss::USUAL_LOSS;
use super::{MAX_REPAIRED_BODY, Plan, RepairMode, trailer_len};

/// Loss below which repair stops, as a share of where it begins.
const LOSS_OFF: f64 = 0.5;
/// RTT below which repair stops, as a share of where it begins.
const RTT_OFF: f64 = 0.8;
/// Changes of loss within these factors leave the sizing alone: the estimate's own noise.
const LOSS_BAND: Range<f64> = 0.8..1.1;
/// Repair may be at most this share of the frames' bytes up to a loss of 6.5 %, which is 5 % and the noise of
/// its estimate, ...
const LEAST_OVERHEAD_CAP: f64 = 0.198;
const CAP_RISES_FROM: f64 = 0.065;
/// ... and this from 9 % on, which is 10 % and the noise; in proportion between.
const MOST_OVERHEAD_CAP: f64 = 0.345;
const CAP_RISES_TO: f64 = 0.09;
/// What one frame may take of what others left: a small frame needs a larger share.
const FRAME_OVERHEAD: f64 = 2.0;
/// Repair that may be saved up, in bytes: what a few small frames need.
const MAX_SAVED: f64 = 65_536.0;
/// How far the target gives way as the savings run out. Without it the large frames, whose need
/// is the smaller share, would have all of theirs and the small ones what is left.
const MOST_RELAXED: f64 = 8.0;
/// Times and parts that the relaxed target varies by from frame to frame. A packet more or less changes the
/// odds of a small frame fivefold: with one target for all, either the small ones or the large would go short
/// every time.
const RELAXED_RANGE: f64 = 2.0;
/// Steps of this fill a range evenly, however many are taken and of whichever frames.
const GOLDEN_STEP: f64 = 0.618_033_988_749_895;
/// The link's rate is known to a few percent only, and frames that come in bursts queue long before
/// it is used up: repair leaves the rest alone.
const USABLE_LOAD: f64 = 0.90;
/// A link that is busy for these shares of the time has no room for all of the repair, or for any.
const BUSY: Range<f64> = 0.85..1.0;
/// While frames of the backlog wait for room, repair takes it from them: it stops sooner.
const BUSY_WITH_BACKLOG: Range<f64> = 0.5..0.7;
/// The header of a typical frame, in bytes.
const TYPICAL_HEADER: usize = 70;
/// Its two trailers.
const TYPICAL_TRAILERS: usize = 2 * trailer_len(TYPICAL_HEADER);
/// The shortest shard in bytes, for bodies up to so many bytes, and the next one: see [`shard_len_for`].
const SHORTEST_SHARD: (usize, u64) = (64, 64 << 10);
const SHORT_SHARD: (usize, u64) = (128, 256 << 10);
/// Pieces of a packet that a shard of longer bodies is.
const SHARDS_PER_PACKET: usize = 8;

/// What does not change while sending.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Frames that repair may leave to retransmission, 0 to 1.
    pub residual: f64,
    /// Loss from which repair begins, 0 to 1.
    pub least_loss: f64,
    /// RTT from which repair begins: below, a retransmission is as good.
    pub least_rtt: Duration,
    /// Loss assumed until one is measured, 0 to 1, so that the first frames are not the worst.
    pub unmeasured_loss: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            residual: 0.003,
            least_loss: 0.001,
            least_rtt: Duration::from_millis(10),
            unmeasured_loss: USUAL_LOSS,
        }
    }
}

/// What the link is like as a frame is about to be sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Packets lost, 0 to 1; `None` if not measured yet (see [`LossEstimator`]).
    ///
    /// [`LossEstimator`]: super::LossEstimator
    pub loss: Option<f64>,
    /// Smoothed round-trip time.
    pub rtt: Duration,
    /// Share of the link's rate that the frames take without their repair; 1 or more if the link
    /// has no room. 0 if the rate is not known yet.
    pub load: f64,
    /// Share of the time in which the link was the limit and not the frames, repair included: 0 to 1. Whatever
    /// its rate is thought to be, it has no room if that is near 1. 0 if not known.
    pub busy: f64,
    /// Frames that have become late wait for what the others leave of the link.
    pub backlog: bool,
    /// The frame is one of a backlog, sent as fast as possible.
    pub bulk: bool,
    /// Stream bytes that a packet carries.
    pub packet_len: usize,
}

/// Decides for one connection; keeps what hysteresis and the overhead's cap need.
#[derive(Debug, Clone)]
pub struct RepairPolicy {
    mode: RepairMode,
    settings: Settings,
    active: bool,
    /// The loss that frames are sized for now.
    sized_for: f64,
    /// Repair bytes that earlier frames were allowed and did not use.
    saved: f64,
    /// Where in the range the relaxed target is, 0 to 1.
    place: f64,
}

impl RepairPolicy {
    /// One that has sent nothing.
    pub fn new(mode: RepairMode, settings: Settings) -> Self {
        Self { mode, settings, active: false, sized_for: 0.0, saved: MAX_SAVED, place: 0.5 }
    }

    /// What does not change.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The repair for a frame of `body_len` bytes that is sent now; `None` for none.
    ///
    /// `auto` gives none below the least loss or RTT, in bulk, without room on the link, for
    /// bodies above 8 MiB, and for those of a packet or so, whose repair would mostly share the
    /// fate of the body. A fixed share is given whatever the conditions.
    pub fn plan(&mut self, body_len: u64, now: &Conditions) -> Option<Plan> {
        let shard_len = shard_len_for(now.packet_len, body_len);
        let shards = match self.mode {
            RepairMode::Off => None,
            RepairMode::Fixed(share) => {
                let bytes = body_len as f64 * share.fraction();
                Some((bytes / shard_len as f64).ceil() as usize)
            }
            RepairMode::Auto => self.automatic(body_len, shard_len, now),
        };
        let data_shards = usize::try_from(body_len).ok()?.div_ceil(shard_len);
        Plan::new(body_len, shard_len, shards?.min(data_shards)).ok()
    }

    fn automatic(&mut self, body_len: u64, shard_len: usize, now: &Conditions) -> Option<usize> {
        self.follow(now);
        if !self.active || now.bulk || body_len > MAX_REPAIRED_BODY {
            return None;
        }
        let body = body_len as f64;
        let overhead =
            overhead_cap(self.sized_for).min(room(now.load)) * spare(now.busy, now.backlog);
        let earned = overhead * body;
        let allowed = (self.saved + earned).min(FRAME_OVERHEAD * earned);
        let most = ((allowed - TYPICAL_TRAILERS as f64) / shard_len as f64).max(0.0) as usize;
        let most = most.min(body_len as usize / shard_len);

        let target = self.settings.residual * self.relaxation();
        let shards =
            shards_for(body_len as usize, now.packet_len, shard_len, self.sized_for, target, most);
        let spent = shards.map_or(0, |shards| shards * shard_len + TYPICAL_TRAILERS);
        self.saved = (self.saved + earned - spent as f64).clamp(0.0, MAX_SAVED);
        shards
    }

    /// 1 while half of the savings are there, rising to [`MOST_RELAXED`] or so without any.
    fn relaxation(&mut self) -> f64 {
        let short = (1.0 - 2.0 * self.saved / MAX_SAVED).max(0.0);
        self.place = (self.place + GOLDEN_STEP).fract();
        let apart = (2.0 * self.place - 1.0) * (4.0 * short).min(1.0);
        MOST_RELAXED.powf(short) * RELAXED_RANGE.powf(apart)
    }

    /// Switches on and off, and follows the loss, each with some inertia.
    fn follow(&mut self, now: &Conditions) {
        let loss = now.loss.unwrap_or(self.settings.unmeasured_loss).clamp(0.0, 1.0);
        let (loss_factor, rtt_factor) = if self.active { (LOSS_OFF, RTT_OFF) } else { (1.0, 1.0) };
        self.active = loss >= self.settings.least_loss * loss_factor
            && now.rtt >= self.settings.least_rtt.mul_f64(rtt_factor);
        let band = self.sized_for * LOSS_BAND.start..=self.sized_for * LOSS_BAND.end;
        if !band.contains(&loss) {
            self.sized_for = loss;
        }
    }
}

/// The shard length for a body of `body_len` bytes in packets that carry `packet_len` stream bytes: even,
/// and an eighth of a packet at most.
///
/// Packets do not align with shards, so a lost packet spoils its own length and a shard more: an
/// eighth of a packet wastes 12 % of the repair, 64 bytes waste 5 %. But the code's work grows with the
/// number of shards: 60 kB are mended in 1.1 ms from shards of 64 bytes and in 0.7 from an eighth, 200 kB
/// in 6.9 and 5.1 ms. The code works in blocks of 64 bytes, so nothing below them is quicker.
pub fn shard_len_for(packet_len: usize, body_len: u64) -> usize {
    let eighth = packet_len / SHARDS_PER_PACKET / 2 * 2;
    let wanted = [SHORTEST_SHARD, SHORT_SHARD].into_iter().find(|(_, up_to)| body_len <= *up_to);
    let wanted = wanted.map_or(eighth, |(length, _)| length.min(eighth));
    wanted.clamp(SHORTEST_SHARD.0, super::MAX_SHARD_LEN)
}

/// The fewest repair shards, `most` at most, with which losses of `loss` leave at most `target`
/// of the frames to retransmission; `most` if that many do not suffice. `None` if no repair is
/// needed, or if `most` would not make up for a single lost packet.
///
/// A lost packet of P bytes spoils (P - 1) / L + 1 shards of L bytes on average, and the repair's
/// own packets can be lost too.
pub fn shards_for(
    body_len: usize,
    packet_len: usize,
    shard_len: usize,
    loss: f64,
    target: f64,
    most: usize,
) -> Option<usize> {
    let spoiled = packet_len.saturating_sub(1) as f64 / shard_len as f64 + 1.0;
    // Each spoils the next lower or the next higher number of them: most sums of these must be covered.
    let odds = spoiled.fract() * (1.0 - spoiled.fract());
    let shards = |lost: usize| {
        let mean = lost as f64 * spoiled;
        (mean + (lost as f64 * odds).sqrt()).ceil() as usize
    };
    let suffices = |lost: usize| {
        let trailers = if lost == 0 { 0 } else { TYPICAL_TRAILERS };
        let stream = TYPICAL_HEADER + body_len + shards(lost) * shard_len + trailers;
        more_lost_than(lost, stream.div_ceil(packet_len.max(1)), loss) <= target
    };
    let most_lost = (most as f64 / spoiled) as usize;
    if most_lost == 0 || suffices(0) {
        return None;
    }
    // Each further packet helps more than it can hurt, so the first that suffices is found by halving.
    let (mut fails, mut holds) = (0, most_lost);
    while holds - fails > 1 {
        let middle = fails + (holds - fails) / 2;
        match suffices(middle) {
            true => holds = middle,
            false => fails = middle,
        }
    }
    let capped = holds == most_lost && !suffices(holds);
    Some(if capped { most } else { shards(holds).min(most) })
}

/// The share of the frames' bytes that repair may take at a loss.
fn overhead_cap(loss: f64) -> f64 {
    let beyond = ((loss - CAP_RISES_FROM) / (CAP_RISES_TO - CAP_RISES_FROM)).clamp(0.0, 1.0);
    LEAST_OVERHEAD_CAP + beyond * (MOST_OVERHEAD_CAP - LEAST_OVERHEAD_CAP)
}

/// The share of the frames' bytes that the link has room for beside them.
fn room(load: f64) -> f64 {
    if load <= 0.0 {
        return 1.0;
    }
    ((USABLE_LOAD - load) / load).max(0.0)
}

/// The part of its repair that a frame keeps on a link that is so busy.
fn spare(busy: f64, backlog: bool) -> f64 {
    let Range { start: from, end: to } = if backlog { BUSY_WITH_BACKLOG } else { BUSY };
    ((to - busy) / (to - from)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOSSY: Conditions = Conditions {
        loss: Some(0.02),
        rtt: Duration::from_millis(50),
        load: 0.4,
        busy: 0.5,
        backlog: false,
        bulk: false,
        packet_len: 1_410,
    };

    fn auto() -> RepairPolicy {
        RepairPolicy::new(RepairMode::Auto, Settings::default())
    }

    /// Lost packets that the repair of a new policy's first frame makes up for.
    fn packets(body_len: u64, now: Conditions) -> usize {
        auto().plan(body_len, &now).map_or(0, |plan| plan.repair_len() / 1_410)
    }

    #[test]
    fn enough_for_three_in_a_thousand() {
        let at = |loss| Conditions { loss: Some(loss), ..LOSSY };
        let needed = [0.001, 0.01, 0.02, 0.05, 0.10].map(|loss| packets(60_000, at(loss)));
        assert_eq!(needed, [1, 3, 4, 8, 13]);
        assert_eq!(packets(60_000, Conditions { loss: None, ..LOSSY }), 4);
    }

    #[test]
    fn none_where_it_does_not_pay() {
        assert!(packets(60_000, LOSSY) > 0);
        for (why, now) in [
            ("no loss", Conditions { loss: Some(0.0005), ..LOSSY }),
            ("short RTT", Conditions { rtt: Duration::from_millis(9), ..LOSSY }),
            ("bulk", Conditions { bulk: true, ..LOSSY }),
            ("full link", Conditions { load: 0.95, ..LOSSY }),
            ("busy link", Conditions { busy: 1.0, ..LOSSY }),
            ("late frames wait", Conditions { busy: 0.8, backlog: true, ..LOSSY }),
            ("overloaded link", Conditions { load: 3.0, ..LOSSY }),
        ] {
            assert_eq!(packets(60_000, now), 0, "{why}");
        }
        assert_eq!(packets(0, LOSSY), 0);
        assert_eq!(packets(1_200, LOSSY), 0, "a single packet");
        assert_eq!(packets(MAX_REPAIRED_BODY + 1, LOSSY), 0);
        assert_eq!(
            RepairPolicy::new(RepairMode::Off, Settings::default()).plan(60_000, &LOSSY),
            None
        );
    }

    #[test]
    fn a_fixed_share_is_given_always() {
        let mode = "20%".parse().unwrap();
        let mut policy = RepairPolicy::new(mode, Settings::default());
        let now = Conditions { loss: Some(0.0), bulk: true, load: 1.0, ..LOSSY };
        let plan = policy.plan(60_000, &now).unwrap();
        assert_eq!(plan.repair_len(), 188 * 64);
        let mut policy = RepairPolicy::new("100%".parse().unwrap(), Settings::default());
        assert_eq!(policy.plan(100, &now).unwrap().repair_shards(), 2);
    }

    #[test]
    fn noise_does_not_make_it_flap() {
        let mut policy = auto();
        let mut plan = |loss| policy.plan(60_000, &Conditions { loss: Some(loss), ..LOSSY });
        let first = plan(0.02);
        for loss in [0.0215, 0.017, 0.021, 0.0165] {
            assert_eq!(plan(loss), first, "at {loss}");
        }
        assert_ne!(plan(0.05), first);
        assert!(plan(0.0015).is_some());
        assert!(plan(0.0008).is_some(), "still on");
        assert!(plan(0.0004).is_none());
        assert!(plan(0.0008).is_none(), "not on again");
        assert!(plan(0.0011).is_some());
    }

    #[test]
    fn a_link_with_little_room_carries_little_repair() {
        let roomy = Conditions { loss: Some(0.05), ..LOSSY };
        let tight = Conditions { load: 0.88, ..roomy };
        let bytes = |now| {
            let mut policy = auto();
            let sent = |policy: &mut RepairPolicy| {
                policy.plan(60_000, &now).map_or(0, |plan| plan.repair_len())
            };
            (0..100).map(|_| sent(&mut policy)).sum::<usize>() / 100
        };
        assert!(bytes(roomy) > 8_000);
        assert!(bytes(tight) < 60_000 * 9 / 100);
    }

    #[test]
    fn small_frames_use_what_large_ones_leave() {
        let now = Conditions { loss: Some(0.02), ..LOSSY };
        let mut policy = auto();
        let mut repair = [0, 0];
        for _ in 0..300 {
            repair[0] += policy.plan(60_000, &now).map_or(0, |plan| plan.repair_len());
            repair[1] += policy.plan(20_000, &now).map_or(0, |plan| plan.repair_len());
        }
        assert_eq!(repair.map(|bytes| bytes / 300 / 1_410), [4, 3]);
    }

    #[test]
    fn large_frames_are_planned_quickly() {
        let now = Conditions { loss: Some(0.1), ..LOSSY };
        let plan = auto().plan(MAX_REPAIRED_BODY, &now).unwrap();
        let share = plan.repair_len() as f64 / MAX_REPAIRED_BODY as f64;
        assert!((0.12..0.2).contains(&share), "{share}");
    }

    proptest! {
        #[test]
        fn repair_stays_within_its_share(
            bodies in proptest::collection::vec(1u64..300_000, 1..200), loss in 0.0f64..0.4,
        ) {
            let now = Conditions { loss: Some(loss), ..LOSSY };
            let mut policy = auto();
            let repair: usize = bodies
                .iter()
                .filter_map(|&body| policy.plan(body, &now))
                .map(|plan| plan.repair_len())
                .sum();
            let bodies: u64 = bodies.iter().sum();
            let cap = if loss <= 0.05 { 0.20 } else { 0.35 };
            prop_assert!(repair as f64 <= cap * bodies as f64 + MAX_SAVED);
        }

        #[test]
        fn any_conditions_give_a_sound_plan_or_none(
            body_len: u64, near in 0u64..MAX_REPAIRED_BODY, loss in proptest::option::of(any::<f64>()),
            load: f64, busy: f64, backlog: bool, packet_len: usize, usual in 0usize..2_000, rtt in 0u64..1_000_000,
        ) {
            for (body_len, packet_len) in [(body_len, packet_len), (near, usual), (near, packet_len)] {
                let rtt = Duration::from_micros(rtt);
                let now = Conditions { loss, rtt, load, busy, backlog, bulk: false, packet_len };
                auto().plan(body_len, &now);
            }
        }
    }
}
