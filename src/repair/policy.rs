//! What the decision on a frame's repair needs of the frames before it: inertia, and what they left over.

use std::ops::Range;

use super::decide::{
    Conditions, Means, Overhead, Repair, Settings, decide, is_short, overhead, shard_len_for,
};
use super::{Plan, RepairMode};

/// Bytes of a typical frame's header.
const HEADER: u64 = 70;
/// Loss below which repair stops, as a share of where it begins.
const LOSS_OFF: f64 = 0.5;
/// RTT below which repair stops, as a share of where it begins.
const RTT_OFF: f64 = 0.8;
/// Changes of loss within these factors leave the sizing alone: the estimate's own noise.
const LOSS_BAND: Range<f64> = 0.8..1.1;
/// The same for the length of runs.
const RUN_BAND: Range<f64> = 0.75..1.33;
/// What one frame of many packets may take of what others left: a small one needs a larger share.
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

/// Decides for one connection; keeps what hysteresis and the overhead's cap need.
#[derive(Debug, Clone)]
pub struct RepairPolicy {
    mode: RepairMode,
    settings: Settings,
    active: bool,
    /// The loss, and the length of its runs, that frames are sized for now.
    sized_for: f64,
    sized_for_run: f64,
    /// Of the link's room, and of the share of the frames.
    room: Purse,
    share: Purse,
}

/// What frames have left over of what repair may cost.
#[derive(Debug, Clone)]
struct Purse {
    saved: f64,
    /// Where in the range the relaxed target is, 0 to 1.
    place: f64,
}

impl Default for Purse {
    fn default() -> Self {
        Self { saved: MAX_SAVED, place: 0.5 }
    }
}

impl Purse {
    /// 1 while half of the savings are there, rising to [`MOST_RELAXED`] or so without any.
    fn relaxation(&mut self) -> f64 {
        let short = (1.0 - 2.0 * self.saved / MAX_SAVED).clamp(0.0, 1.0);
        self.place = (self.place + GOLDEN_STEP).fract();
        let apart = (2.0 * self.place - 1.0) * (4.0 * short).min(1.0);
        MOST_RELAXED.powf(short) * RELAXED_RANGE.powf(apart)
    }

    fn means(&mut self, bytes: f64, settings: &Settings) -> Means {
        Means { bytes, target: settings.residual * self.relaxation() }
    }

    fn settle(&mut self, earned: f64, spent: f64) {
        self.saved = (self.saved + earned - spent).clamp(-MAX_SAVED, MAX_SAVED);
    }
}

impl RepairPolicy {
    /// One that has sent nothing.
    pub fn new(mode: RepairMode, settings: Settings) -> Self {
        let (room, share) = (Purse::default(), Purse::default());
        Self { mode, settings, active: false, sized_for: 0.0, sized_for_run: 1.0, room, share }
    }

    /// What does not change.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The repair for a frame of `body_len` bytes that is sent now; `None` for none.
    ///
    /// `auto` is what [`decide`] says of conditions without their noise. A fixed share is given whatever the
    /// conditions.
    pub fn plan(&mut self, body_len: u64, now: &Conditions) -> Option<Repair> {
        match self.mode {
            RepairMode::Off => None,
            RepairMode::Fixed(share) => {
                let shard_len = shard_len_for(now.packet_len, body_len);
                let shards = (body_len as f64 * share.fraction() / shard_len as f64).ceil();
                let data_shards = usize::try_from(body_len).ok()?.div_ceil(shard_len);
                let plan = Plan::new(body_len, shard_len, (shards as usize).min(data_shards));
                Some(Repair { plan: plan.ok()?, pause: None, parts: 1 })
            }
            RepairMode::Auto => self.automatic(body_len, now),
        }
    }

    fn automatic(&mut self, body_len: u64, now: &Conditions) -> Option<Repair> {
        self.follow(now);
        if !self.active || now.bulk || now.own_losses {
            return None;
        }
        let steady = Conditions {
            loss: Some(self.sized_for.max(self.settings.least_loss)),
            run: self.sized_for_run,
            rtt: now.rtt.max(self.settings.least_rtt),
            ..*now
        };
        let stream = body_len.saturating_add(HEADER) as f64;
        let Overhead { room, share } = overhead(body_len, &steady);
        let (room, share) = (room * stream, share * stream);
        // Savings are no room: a link that has become full gets none of them.
        let with =
            |saved: f64, earned: f64| if earned > 0.0 { (saved + earned).max(0.0) } else { 0.0 };
        let (of_room, of_share) = (with(self.room.saved, room), with(self.share.saved, share));
        let roomy =
            is_short(body_len, now.packet_len) && of_room > of_share.min(FRAME_OVERHEAD * share);
        let means = match roomy {
            true => self.room.means(of_room, &self.settings),
            false => self.share.means(of_share.min(FRAME_OVERHEAD * share), &self.settings),
        };
        let repair = decide(body_len, &steady, means, &self.settings);
        let spent = repair.map_or(0.0, |repair| repair.cost() as f64);
        self.room.settle(room, spent);
        self.share.settle(share, if roomy { share } else { spent });
        repair
    }

    /// Switches on and off, and follows the loss, each with some inertia.
    fn follow(&mut self, now: &Conditions) {
        let loss = now.loss.unwrap_or(self.settings.unmeasured_loss).clamp(0.0, 1.0);
        let (loss_factor, rtt_factor) = if self.active { (LOSS_OFF, RTT_OFF) } else { (1.0, 1.0) };
        self.active = loss >= self.settings.least_loss * loss_factor
            && now.rtt >= self.settings.least_rtt.mul_f64(rtt_factor);
        keep_within(&mut self.sized_for, loss, LOSS_BAND);
        keep_within(&mut self.sized_for_run, now.run, RUN_BAND);
    }
}

/// Follows `now` where it has left the band around what is kept.
fn keep_within(kept: &mut f64, now: f64, band: Range<f64>) {
    if !(*kept * band.start..=*kept * band.end).contains(&now) {
        *kept = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::repair::MAX_REPAIRED_BODY;

    const LOSSY: Conditions = Conditions {
        loss: Some(0.02),
        run: 1.0,
        rtt: Duration::from_millis(50),
        load: 0.4,
        busy: 0.5,
        backlog: false,
        bulk: false,
        own_losses: false,
        deadline: None,
        packet_len: 1_410,
        packet_rate: 1_000.0,
    };

    fn auto() -> RepairPolicy {
        RepairPolicy::new(RepairMode::Auto, Settings::default())
    }

    /// Lost packets that the repair of a new policy's first frame makes up for.
    fn packets(body_len: u64, now: Conditions) -> usize {
        auto().plan(body_len, &now).map_or(0, |repair| repair.plan.repair_len() / 1_410)
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
            ("bursts too long", Conditions { own_losses: true, ..LOSSY }),
            ("busy link", Conditions { busy: 1.0, ..LOSSY }),
            ("late frames wait", Conditions { busy: 0.8, backlog: true, ..LOSSY }),
            ("overloaded link", Conditions { load: 3.0, ..LOSSY }),
        ] {
            assert_eq!(packets(60_000, now), 0, "{why}");
        }
        assert_eq!(packets(0, LOSSY), 0);

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
        let repair = policy.plan(60_000, &now).unwrap();
        assert_eq!(repair.plan.repair_len(), 188 * 64);
        let mut policy = RepairPolicy::new("100%".parse().unwrap(), Settings::default());
        assert_eq!(policy.plan(100, &now).unwrap().plan.repair_shards(), 2);
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
                policy.plan(60_000, &now).map_or(0, |repair| repair.plan.repair_len())
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
            repair[0] += policy.plan(60_000, &now).map_or(0, |repair| repair.plan.repair_len());
            repair[1] += policy.plan(20_000, &now).map_or(0, |given| given.plan.repair_len());
        }
        assert_eq!(repair.map(|bytes| bytes / 300 / 1_410), [4, 3]);
    }

    #[test]
    fn large_frames_are_planned_quickly() {
        let now = Conditions { loss: Some(0.1), ..LOSSY };
        let plan = auto().plan(MAX_REPAIRED_BODY, &now).unwrap().plan;
        let share = plan.repair_len() as f64 / MAX_REPAIRED_BODY as f64;
        assert!((0.12..0.2).contains(&share), "{share}");
    }

    proptest! {
        #[test]
        fn repair_stays_within_its_share(
            bodies in proptest::collection::vec(17_000u64..300_000, 1..200), loss in 0.0f64..0.4,
        ) {
            let now = Conditions { loss: Some(loss), ..LOSSY };
            let mut policy = auto();
            let repair: usize = bodies
                .iter()
                .filter_map(|&body| policy.plan(body, &now))
                .map(|repair| repair.plan.repair_len())
                .sum();
            let bodies: u64 = bodies.iter().sum();
            let cap = if loss <= 0.05 { 0.20 } else { 0.35 };
            prop_assert!(repair as f64 <= cap * bodies as f64 + MAX_SAVED);
        }

        #[test]
        fn short_frames_stay_within_the_room(
            bodies in proptest::collection::vec(1u64..14_000, 100..400), loss in 0.001f64..0.2,
            run in 1.0f64..10.0, load in 0.05f64..1.2,
        ) {
            let now = Conditions { loss: Some(loss), run, load, ..LOSSY };
            let mut policy = auto();
            let repair: usize = bodies
                .iter()
                .filter_map(|&body| policy.plan(body, &now))
                .map(|repair| repair.cost())
                .sum();
            let (count, bodies): (usize, u64) = (bodies.len(), bodies.iter().sum());
            // What long frames may have they may have as well, on a link with less room.
            let share = (0.9 - load).max(0.0).min(0.345 * load) / load;
            let one_packet = if load < 0.4 { 3.0 } else { 0.0 };
            let most = ((0.7 - load) / load).max(share).max(one_packet);
            let streams = bodies as f64 + 70.0 * count as f64;
            prop_assert!(repair as f64 <= most * streams + 2.0 * MAX_SAVED, "{repair} for {bodies}");
        }

        #[test]
        fn any_conditions_give_sound_repair_or_none(
            body_len: u64, near in 0u64..MAX_REPAIRED_BODY, small in 0u64..5_000, loss in proptest::option::of(any::<f64>()),
            numbers: [f64; 4], backlog: bool, packet_len: usize, usual in 0usize..2_000, rtt in 0u64..1_000_000,
            deadline in proptest::option::of(0u64..1_000_000),
        ) {
            let [run, load, busy, packet_rate] = numbers;
            let sizes = [(body_len, packet_len), (near, usual), (near, packet_len), (small, usual), (small, packet_len)];
            for (body_len, packet_len) in sizes {
                let rtt = Duration::from_micros(rtt);
                let deadline = deadline.map(Duration::from_micros);
                let now = Conditions {
                    loss, run, rtt, load, busy, backlog, bulk: false, own_losses: false, deadline, packet_len,
                    packet_rate,
                };
                if let Some(Repair { plan, pause, .. }) = auto().plan(body_len, &now) {
                    prop_assert!(plan.repair_len() <= body_len as usize + plan.shard_len());
                    prop_assert!(pause.is_none_or(|pause| pause <= (rtt / 2).max(Duration::from_millis(1))));
                }
            }
        }
    }
}
