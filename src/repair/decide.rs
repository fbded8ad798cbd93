//! The decision: how much repair a frame gets, and when it is written. One function of what is known, with no
//! memory of its own, so that it can be drawn.
//!
//! What a frame's repair may cost follows from two things. Frames of many packets need repair that is a small share of
//! them, so a share bounds it, whatever the link has room for. A short frame cannot have a part of a packet: a
//! fifth of two packets is none. What it may have follows from the room on the link, up to being sent twice, as
//! long as frames and repair together stay below [`ROOMY_LOAD`] of the link.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::chance::{Losses, Spoiled, more_lost_than, spoil_more_than};
use super::{MAX_REPAIRED_BODY, Plan, trailer_len};

/// Repair of frames of many packets may be at most this share of their bytes up to a loss of 6.5 %, which is 5 %
/// and the noise of its estimate, ...
const LEAST_OVERHEAD_CAP: f64 = 0.198;
const CAP_RISES_FROM: f64 = 0.065;
/// ... and this from 8.3 % on, or where losses come in runs; in proportion between.
const MOST_OVERHEAD_CAP: f64 = 0.345;
const CAP_RISES_TO: f64 = 0.083;
/// Frames of up to so many packets are short: the share above would be two packets or fewer.
const SHORT_FRAME: usize = 12;
/// Frames of up to so many packets have their shards counted out packet by packet.
const TINY_FRAME: usize = 3;
/// Parts that the repair of such a frame is written in, each a packet or more of its own. Three small packets
/// instead of two lose less when one of them is lost: of a frame of two packets, sent twice, any two may be.
const MOST_PARTS: usize = 3;
/// Bytes by which packets may begin and end elsewhere than they seem to: numbers in them have several lengths.
const UNSURE: usize = 8;
/// Below this load, or where the rate is not known, a frame of one packet may be sent twice.
const TWICE_BELOW: f64 = 0.40;
/// What that takes at most, as a share of the frame and its header: trailers and all.
const TWICE: f64 = 3.0;
/// What other short frames may have where the link's rate is not known, since nothing was ever in its way.
const UNKNOWN_ROOM: f64 = 0.9;
/// The load that short frames and their repair may make together, acknowledgements and the like left out.
pub const ROOMY_LOAD: f64 = 0.69;
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
/// After this the body's packets have left, so that repair that is written then begins a packet of its own.
const LEAST_PAUSE: Duration = Duration::from_millis(1);
/// Losses in runs shorter than this are taken for single ones.
const IN_RUNS: f64 = 1.5;
/// Runs that should have passed before the repair of a short frame follows it, ...
const RUNS_APART: f64 = 2.0;
/// ... but it waits no longer than this part of a round trip, which a retransmission takes.
const MOST_PAUSE: u32 = 2;
/// A part more has to leave fewer than this part of the frames that wait with one less.
const ANOTHER_PART: f64 = 0.8;
/// Repair that spares fewer than this part of the frames that would wait is not worth a packet.
const WORTH: f64 = 0.15;

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
            unmeasured_loss: super::loss::USUAL_LOSS,
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
    /// Mean length of the runs in which packets are lost; 1 where they are lost one by one.
    pub run: f64,
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
    /// Packets are lost because frames come in longer bursts than the path takes at once: repair makes them longer.
    pub own_losses: bool,
    /// How long the frame is of use from now on; `None` for as long as it takes.
    pub deadline: Option<Duration>,
    /// Stream bytes that a packet carries.
    pub packet_len: usize,
    /// Packets a second that this side sends; 0 if not known.
    pub packet_rate: f64,
}

/// What one frame may have: what earlier ones have left over belongs to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Means {
    /// Bytes of repair, trailers included.
    pub bytes: f64,
    /// The share of such frames that may be left to retransmission.
    pub target: f64,
}

/// A frame's repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repair {
    /// What is sent behind the body.
    pub plan: Plan,
    /// How long after the body it is written, and each of its parts after the one before; `None` for at once.
    pub pause: Option<Duration>,
    /// Parts that it is written in.
    pub parts: usize,
}

impl Repair {
    /// Cuts what stands behind the body, trailers and all, into the parts that are written one by one.
    pub fn split(&self, mut behind: Bytes) -> Vec<Bytes> {
        let trailer = behind.len().saturating_sub(self.plan.repair_len()) / 2;
        let part = part_of(self.plan.repair_shards(), self.parts) * self.plan.shard_len();
        let mut parts = Vec::with_capacity(self.parts);
        while parts.len() + 1 < self.parts {
            let before = if parts.is_empty() { trailer } else { 0 };
            parts.push(behind.split_to((before + part).min(behind.len())));
        }
        parts.push(behind);
        parts
    }

    /// Bytes that it adds to the stream, for a typical header.
    pub fn cost(&self) -> usize {
        self.plan.repair_len() + TYPICAL_TRAILERS
    }
}

/// Shards of each part but the last, which may have fewer.
fn part_of(shards: usize, parts: usize) -> usize {
    shards.div_ceil(parts.max(1))
}

/// Whether a body has few packets, so that the room on the link bounds its repair and not a share of it.
pub fn is_short(body_len: u64, packet_len: usize) -> bool {
    packets_of(body_len, packet_len) <= SHORT_FRAME as u64
}

/// What repair may cost in the long run, as shares of the bytes of frames and their headers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overhead {
    /// Of all frames; what those of many packets leave of it, short ones may have.
    pub room: f64,
    /// Of frames of many packets; the least that short ones may have.
    pub share: f64,
}

/// What repair may cost in the long run, where frames are of this length.
pub fn overhead(body_len: u64, now: &Conditions) -> Overhead {
    let spare = spare(now.busy, now.backlog);
    let loss = now.loss.unwrap_or(0.0);
    let share = overhead_cap(loss).min(room(now.load, USABLE_LOAD));
    let runs =
        if now.run >= IN_RUNS { MOST_OVERHEAD_CAP.min(room(now.load, ROOMY_LOAD)) } else { 0.0 };
    let one_packet = packets_of(body_len, now.packet_len) <= 1;
    let room = match one_packet && now.load < TWICE_BELOW {
        true => TWICE,
        false => room(now.load, ROOMY_LOAD),
    };
    Overhead { room: room * spare, share: share.max(runs) * spare }
}

/// The repair for a frame of `body_len` bytes that is sent now; `None` for none.
///
/// None below the least loss or RTT, in bulk, where losses are this flow's own, without means, where it would come after the deadline, and for bodies
/// above 8 MiB. Otherwise the least with which losses leave at most `means.target` of such frames to
/// retransmission, or as much as the means allow.
pub fn decide(
    body_len: u64,
    now: &Conditions,
    means: Means,
    settings: &Settings,
) -> Option<Repair> {
    let losses = Losses::new(now.loss.unwrap_or(settings.unmeasured_loss), now.run);
    let pays = losses.share() >= settings.least_loss && now.rtt >= settings.least_rtt;
    if !pays || now.bulk || now.own_losses || body_len == 0 || body_len > MAX_REPAIRED_BODY {
        return None;
    }
    // Half a round trip from now is when the frame itself arrives.
    let left = now.deadline.map_or(Duration::MAX, |left| left.saturating_sub(now.rtt / 2));
    if left < LEAST_PAUSE {
        return None;
    }
    let body = usize::try_from(body_len).ok()?;
    let shard_len = shard_len_for(now.packet_len, body_len);
    let allowed = ((means.bytes - TYPICAL_TRAILERS as f64) / shard_len as f64).max(0.0) as usize;
    let packets = packets_of(body_len, now.packet_len);
    let apart = pause(now, packets, left);
    let (shards, parts) = if packets <= TINY_FRAME as u64 {
        let gap = apart.map_or(0.0, |pause| pause.as_secs_f64() * now.packet_rate);
        let frame = Tiny { body, packet_len: now.packet_len.max(1), shard_len, gap };
        frame.shards(losses, means.target, allowed.min(body.div_ceil(shard_len)))?
    } else {
        let most = allowed.min(body / shard_len);
        (shards_for(body, now.packet_len, shard_len, losses, means.target, most)?, 1)
    };
    let plan = Plan::new(body_len, shard_len, shards).ok()?;
    // The last part waits as long as the only one would, but where that is too short to be divided.
    let pause = apart.map(|pause| (pause / parts as u32).max(LEAST_PAUSE));
    Some(Repair { plan, pause, parts })
}

/// How long the repair of a frame of so many packets waits. `left` is how long anything of it is of use.
///
/// A longer frame has its runs in its middle as well as at its end, so that waiting spares next to none of them
/// and makes the next frame late.
fn pause(now: &Conditions, packets: u64, left: Duration) -> Option<Duration> {
    if packets > TINY_FRAME as u64 {
        return None;
    }
    if now.run < IN_RUNS || now.packet_rate <= 0.0 {
        return Some(LEAST_PAUSE);
    }
    let apart = Duration::try_from_secs_f64(RUNS_APART * now.run / now.packet_rate);
    let most = (now.rtt / MOST_PAUSE).min(left / 2).max(LEAST_PAUSE);
    Some(apart.unwrap_or(most).clamp(LEAST_PAUSE, most))
}

fn packets_of(body_len: u64, packet_len: usize) -> u64 {
    body_len.saturating_add(TYPICAL_HEADER as u64).div_ceil(packet_len.max(1) as u64)
}

/// A frame of so few packets that it matters which shards are in which.
struct Tiny {
    body: usize,
    packet_len: usize,
    shard_len: usize,
    /// Packets that pass between the frame's and those of its repair.
    gap: f64,
}

impl Tiny {
    /// The fewest shards, and parts, that leave at most `target` of the frames, or those that leave fewest; `None`
    /// where no number of shards up to `most` is worth it.
    fn shards(&self, losses: Losses, target: f64, most: usize) -> Option<(usize, usize)> {
        let data: Vec<Spoiled> = self.data().collect();
        let without = more_lost_than(0, data.len(), losses);
        let mut best = (None, without * (1.0 - WORTH));
        for shards in steps(&data, self.body.div_ceil(self.shard_len), most) {
            for parts in 1..=MOST_PARTS.min(shards) {
                let packets = data.iter().copied().chain(self.repair(shards, parts));
                let failing = spoil_more_than(shards, packets, losses);
                if failing < best.1 * ANOTHER_PART || parts == 1 && failing < best.1 {
                    best = (Some((shards, parts)), failing);
                }
                if best.1 <= target {
                    return best.0;
                }
            }
        }
        best.0
    }

    /// The packets of header and body.
    fn data(&self) -> impl Iterator<Item = Spoiled> {
        let body = TYPICAL_HEADER..TYPICAL_HEADER + self.body;
        self.packets(body.end, body, 0.0)
    }

    /// The packets of the trailers and of the repair between them. Each part begins one.
    fn repair(&self, shards: usize, parts: usize) -> impl Iterator<Item = Spoiled> {
        let part = part_of(shards, parts);
        (0..parts).flat_map(move |index| {
            let here = shards.saturating_sub(index * part).min(part) * self.shard_len;
            let before = if index == 0 { TYPICAL_TRAILERS / 2 } else { 0 };
            let behind = if index + 1 == parts { TYPICAL_TRAILERS / 2 } else { 0 };
            let gap = self.gap / parts as f64;
            self.packets(before + here + behind, before..before + here, gap)
        })
    }

    /// The packets of so many bytes, of which some are shards.
    fn packets(
        &self,
        bytes: usize,
        shards: Range<usize>,
        gap: f64,
    ) -> impl Iterator<Item = Spoiled> {
        let (packet_len, shard_len) = (self.packet_len, self.shard_len);
        (0..bytes.div_ceil(packet_len)).map(move |packet| {
            let (start, end) = (packet * packet_len, (packet + 1) * packet_len);
            let from = if packet == 0 { 0 } else { start.saturating_sub(UNSURE) };
            let (from, to) = (from.max(shards.start), (end + UNSURE).min(shards.end));
            let gap = if packet == 0 { gap } else { 0.0 };
            if from >= to {
                return Spoiled { shards: 0, shared: false, gap };
            }
            let (first, last) =
                ((from - shards.start) / shard_len, (to - 1 - shards.start) / shard_len);
            Spoiled { shards: last - first + 1, shared: from > shards.start, gap }
        })
    }
}

/// Numbers of shards that make up for one more of the packets than the number before.
fn steps(data: &[Spoiled], all: usize, most: usize) -> Vec<usize> {
    let mut steps: Vec<usize> = (1..1usize << data.len())
        .map(|some| {
            let lost = data.iter().enumerate().filter(|(index, _)| some >> index & 1 == 1);
            lost.map(|(_, packet)| packet.shards).sum::<usize>().min(all)
        })
        .filter(|&shards| (1..=most).contains(&shards))
        .collect();
    steps.sort_unstable();
    steps.dedup();
    steps
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

/// The fewest repair shards, `most` at most, with which `losses` leave at most `target`
/// of the frames to retransmission; `most` if that many do not suffice. `None` if no repair is
/// needed, or if `most` would not make up for a single lost packet.
///
/// A lost packet of P bytes spoils (P - 1) / L + 1 shards of L bytes on average, and the repair's
/// own packets can be lost too.
pub fn shards_for(
    body_len: usize,
    packet_len: usize,
    shard_len: usize,
    losses: Losses,
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
        more_lost_than(lost, stream.div_ceil(packet_len.max(1)), losses) <= target
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

/// The share of the frames' bytes that the link has room for beside them, up to a load of `usable`.
fn room(load: f64, usable: f64) -> f64 {
    if load <= 0.0 {
        return UNKNOWN_ROOM;
    }
    ((usable - load) / load).clamp(0.0, TWICE)
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

    const PACKET: usize = 1_218;
    const ALL: Means = Means { bytes: 1e9, target: 0.003 };
    const LOSSY: Conditions = Conditions {
        loss: Some(0.05),
        run: 1.0,
        rtt: Duration::from_millis(50),
        load: 0.3,
        busy: 0.0,
        backlog: false,
        bulk: false,
        own_losses: false,
        deadline: None,
        packet_len: PACKET,
        packet_rate: 400.0,
    };

    fn decided(body_len: u64, now: &Conditions) -> Option<Repair> {
        decide(body_len, now, ALL, &Settings::default())
    }

    #[test]
    fn a_frame_of_one_packet_is_sent_twice_and_apart() {
        for body in [1, 63, 64, 400, 1_000, 1_148] {
            let repair = decided(body, &LOSSY).unwrap();
            assert_eq!(repair.plan.repair_shards(), repair.plan.data_shards(), "{body}");
            assert_eq!(repair.pause, Some(LEAST_PAUSE), "{body}");
        }
    }

    #[test]
    fn what_repair_costs_follows_from_the_room() {
        let at = |load| Conditions { load, ..LOSSY };
        let is =
            |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-9, "{found}, {wanted}");
        for load in [0.3, 0.4, 0.5, 0.6] {
            is(overhead(2_000, &at(load)).room, (ROOMY_LOAD - load) / load);
        }
        is(overhead(2_000, &at(0.0)).room, UNKNOWN_ROOM);
        is(overhead(2_000, &at(0.7)).room, 0.0);
        for load in [0.0, 0.1, 0.39] {
            is(overhead(1_000, &at(load)).room, TWICE);
        }
        is(overhead(1_000, &at(0.4)).room, (ROOMY_LOAD - 0.4) / 0.4);
        for load in [0.0, 0.3, 0.7] {
            is(overhead(60_000, &at(load)).share, LEAST_OVERHEAD_CAP);
        }
        is(overhead(60_000, &at(0.95)).share, 0.0);
        is(overhead(60_000, &Conditions { run: 5.0, ..LOSSY }).share, MOST_OVERHEAD_CAP);
        is(overhead(60_000, &Conditions { busy: 1.0, ..LOSSY }).share, 0.0);
    }

    #[test]
    fn repair_waits_for_runs_to_pass_as_far_as_there_is_time() {
        let runs = Conditions { run: 5.0, ..LOSSY };
        let pause = |now: Conditions| decided(1_000, &now).and_then(|repair| repair.pause);
        let ms = |ms| Some(Duration::from_micros((ms * 1e3) as u64));
        assert_eq!(pause(runs), ms(25.0), "half of a round trip");
        assert_eq!(pause(Conditions { packet_rate: 2_000.0, ..runs }), ms(5.0), "two runs");
        let hurried = Conditions { deadline: Some(Duration::from_millis(35)), ..runs };
        assert_eq!(pause(hurried), ms(5.0), "half of what is left when the frame arrives");
        let too_late = Conditions { deadline: Some(Duration::from_millis(25)), ..runs };
        assert_eq!(decided(1_000, &too_late), None);
        assert_eq!(decided(60_000, &runs).unwrap().pause, None, "it is longer than the runs");
    }

    proptest! {
        #[test]
        fn more_loss_room_or_means_is_no_less_repair(
            body in 1u64..200_000, loss in 0.002f64..0.2, more in 1.0f64..3.0, bytes in 0.0f64..50_000.0,
        ) {
            let shards = |loss: f64, bytes: f64| {
                let means = Means { bytes, ..ALL };
                let now = Conditions { loss: Some(loss), ..LOSSY };
                decide(body, &now, means, &Settings::default())
                    .map_or(0, |repair| repair.plan.repair_shards())
            };
            // Where no number of shards suffices, what a tiny frame has is what helps most.
            if packets_of(body, PACKET) > TINY_FRAME as u64 {
                prop_assert!(shards((loss * more).min(0.25), bytes) >= shards(loss, bytes));
            }
            prop_assert!(shards(loss, bytes * more) >= shards(loss, bytes));
        }

        #[test]
        fn the_packets_of_a_tiny_frame_hold_its_shards(
            body in 1usize..3_600, packet_len in 200usize..1_500, shard in 32usize..200,
            repair in 1usize..60, parts in 1usize..=MOST_PARTS,
        ) {
            let tiny = Tiny { body, packet_len, shard_len: shard * 2, gap: 0.0 };
            let all_lost = |packets: Vec<Spoiled>| {
                packets.iter().map(|packet| packet.shards - usize::from(packet.shared)).sum::<usize>()
            };
            // A packet may take one more than there is, where it is not sure where it begins or ends.
            let data: Vec<Spoiled> = tiny.data().collect();
            let least = body.div_ceil(shard * 2);
            let most = least + data.len();
            prop_assert!((least..=most).contains(&all_lost(data)));
            let packets: Vec<Spoiled> = tiny.repair(repair, parts.min(repair)).collect();
            let most = repair + packets.len();
            prop_assert!((repair..=most).contains(&all_lost(packets)));
        }

        #[test]
        fn parts_are_all_of_the_repair(
            body in 1u64..3_600, repair in 1usize..60, parts in 1usize..=MOST_PARTS, trailer in 10usize..300,
        ) {
            if let Ok(plan) = Plan::new(body, 64, repair) {
                let behind: Bytes = (0..plan.repair_len() + 2 * trailer).map(|at| at as u8).collect();
                let whole = Repair { plan, pause: None, parts }.split(behind.clone());
                prop_assert_eq!(whole.len(), parts);
                prop_assert_eq!(whole.concat(), behind);
            }
        }
    }
}
