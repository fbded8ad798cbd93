//! What this connection's path says about repair: loss, round trip, and room on the link.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use quinn::{Connection, PathStats};
use quinn_proto::congestion::Controller;

use crate::congestion::lossy::Lossy;
use crate::repair::{
    Conditions, LossEstimator, Repair, RepairMode, RepairPolicy, Settings, TrailerMark,
};

/// How often the load on the link is worked out. Several frames of a camera fall into it.
const LOAD_INTERVAL: Duration = Duration::from_millis(250);

/// A loss is found a round trip after the packet left, a quarter more where only time tells, and when the
/// acknowledgement has been held back.
const FOUND_LATE: Duration = Duration::from_millis(10);

/// Counts kept: the frames of a long round trip.
const MOST_COUNTS: usize = 1_024;

/// A link that was never the limit is thought to carry so many times what was sent so far, so that repair grows
/// step by step, ...
const UNTRIED: f64 = 2.0;
/// ... but not so much that the load seems less than this: frames of one packet may be sent twice, and others have as
/// much repair as is not much too much if it is twice that.
const LEAST_ASSUMED: f64 = 0.335;

/// Bytes of a typical frame's header.
const HEADER: u64 = 70;

/// What a 1-RTT packet and a STREAM frame take of a packet: short header 1 + 4 + 2, tag 16, stream
/// type 1, identifier 4, offset 4, length 2 (RFC 9000, sections 17.3 and 19.8).
const PACKET_OVERHEAD: usize = 34;

/// The mark at the end of streams with repair, known to both ends and to nobody else: derived from
/// the connection's keys (RFC 5705), so that no image can contain it on purpose.
pub(super) fn mark(connection: &Connection) -> Option<TrailerMark> {
    let mut mark = TrailerMark::default();
    connection.export_keying_material(&mut mark, b"framelane repair mark", b"").ok()?;
    Some(mark)
}

/// What is to be known of a frame to decide on its repair.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// Bytes of its body.
    pub bytes: u64,
    /// It fell due at its own time.
    pub live: bool,
    /// How long it is of use from now on; `None` for as long as it takes.
    pub deadline: Option<Duration>,
    /// Late frames wait for room.
    pub backlog: bool,
}

/// Decides on the repair of each frame of a connection. Time is passed in.
pub struct Repairing {
    policy: RepairPolicy,
    loss: LossEstimator,
    settled: Settled,
    lost: u64,
    load: Load,
}

/// The number of packets sent so long ago that those of them which are lost have been found.
///
/// A loss shows a round trip after the packet left. Against all packets sent, the first frames of a
/// connection would seem to lose none, and go without repair.
#[derive(Default)]
struct Settled {
    counts: VecDeque<(Instant, u64)>,
    packets: u64,
}

impl Settled {
    /// Takes in how many packets were sent by `now`; returns how many were by a round trip before.
    fn update(&mut self, now: Instant, sent: u64, rtt: Duration) -> u64 {
        self.counts.push_back((now, sent));
        let age = rtt + rtt / 4 + FOUND_LATE;
        while let Some(&(at, packets)) = self.counts.front()
            && (now.saturating_duration_since(at) >= age || self.counts.len() > MOST_COUNTS)
        {
            self.packets = packets;
            self.counts.pop_front();
        }
        self.packets
    }
}

/// The share of the link's rate that frames take without their repair.
struct Load {
    since: Instant,
    /// Bytes of packets, without the headers of IP and UDP, as the controller counts them.
    bytes: u64,
    /// The same with repair.
    all: u64,
    /// The most of it in a second so far.
    peak: f64,
    share: f64,
    /// The share of time in which the link was the limit.
    busy: f64,
    /// Packets are lost for coming too fast.
    own_losses: bool,
    /// Packets sent until then, and how many a second since.
    packets: u64,
    packet_rate: f64,
}

impl Repairing {
    /// One that has sent nothing until `now`.
    pub fn new(mode: RepairMode, now: Instant) -> Self {
        let load = Load {
            since: now,
            bytes: 0,
            all: 0,
            peak: 0.0,
            share: 0.0,
            busy: 0.0,
            own_losses: false,
            packets: 0,
            packet_rate: 0.0,
        };
        Self {
            policy: RepairPolicy::new(mode, Settings::default()),
            loss: LossEstimator::new(),
            settled: Settled::default(),
            lost: 0,
            load,
        }
    }

    /// The repair for a frame that is sent now, over a path that is found like this. `controller` is asked for
    /// a few times a second.
    pub fn plan(
        &mut self,
        now: Instant,
        path: &PathStats,
        frame: Frame,
        controller: impl FnOnce() -> Box<dyn Controller>,
    ) -> Option<Repair> {
        let before = self.settled.packets;
        let settled = self.settled.update(now, path.sent_packets, path.rtt);
        let lost = path.lost_packets;
        self.loss.update(settled.saturating_sub(before), lost.saturating_sub(self.lost));
        self.lost = lost;
        let packet_len = usize::from(path.current_mtu).saturating_sub(PACKET_OVERHEAD);
        self.load.add(now, path, on_the_link(frame.bytes, packet_len), controller);
        let loss = self.loss.loss();
        let conditions = Conditions {
            loss,
            run: self.loss.run(),
            rtt: path.rtt,
            // Lost packets are sent again, but for those that repair spares.
            load: self.load.share * (1.0 + loss.unwrap_or(0.0)),
            busy: self.load.busy,
            backlog: frame.backlog,
            bulk: !frame.live,
            own_losses: self.load.own_losses,
            deadline: frame.deadline,
            packet_len,
            packet_rate: self.load.packet_rate,
        };
        let repair = self.policy.plan(frame.bytes, &conditions);
        self.load.all =
            self.load.all.saturating_add(repair.map_or(0, |repair| repair.cost() as u64));
        repair
    }

    /// Whether packets are lost often enough to matter, or nothing is known of that yet.
    pub fn is_lossy(&self) -> bool {
        self.loss.loss().is_none_or(|loss| loss >= self.policy.settings().least_loss)
    }
}

/// What a body takes of the link: with its header, and those of its packets.
fn on_the_link(body: u64, packet_len: usize) -> u64 {
    let stream = body.saturating_add(HEADER);
    let packets = stream.div_ceil(packet_len.max(1) as u64);
    stream.saturating_add(packets.saturating_mul(PACKET_OVERHEAD as u64))
}

impl Load {
    /// Takes in a frame's bytes.
    fn add(
        &mut self,
        now: Instant,
        path: &PathStats,
        bytes: u64,
        controller: impl FnOnce() -> Box<dyn Controller>,
    ) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.all = self.all.saturating_add(bytes);
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < LOAD_INTERVAL {
            return;
        }
        // Only our own controller knows the link's rate; without it the room is not known.
        let controller = controller().into_any().downcast::<Lossy>().ok();
        self.busy = controller.as_ref().map_or(0.0, |controller| controller.busy());
        self.own_losses =
            controller.as_ref().is_some_and(|controller| controller.loses_by_itself());
        let known = controller.is_some();
        let rate = controller.and_then(|controller| controller.bandwidth());
        let offered = self.bytes as f64 / elapsed.as_secs_f64();
        self.peak = self.peak.max(self.all as f64 / elapsed.as_secs_f64());
        self.share = match (known, rate) {
            (true, Some(rate)) => offered / rate.max(1.0),
            (true, None) => (offered / (UNTRIED * self.peak).max(1.0)).max(LEAST_ASSUMED),
            (false, _) => 0.0,
        };
        let packets = path.sent_packets.saturating_sub(self.packets);
        self.packet_rate = packets as f64 / elapsed.as_secs_f64();
        (self.since, self.bytes, self.all, self.packets) = (now, 0, 0, path.sent_packets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_count_once_their_loss_would_be_known() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let rtt = Duration::from_millis(40);
        let mut settled = Settled::default();
        assert_eq!(settled.update(ms(0), 10, rtt), 0);
        assert_eq!(settled.update(ms(33), 60, rtt), 0);
        assert_eq!(settled.update(ms(60), 110, rtt), 10);
        assert_eq!(settled.update(ms(93), 160, rtt), 60);
        for frame in 0..5_000 {
            settled.update(ms(100), 200 + frame, rtt);
        }
        assert!(settled.counts.len() <= MOST_COUNTS);
    }
}
