//! What this connection's path says about repair: loss, round trip, and room on the link.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use quinn::{Connection, PathStats};

use crate::congestion::lossy::Lossy;
use crate::repair::{
    Conditions, LossEstimator, Plan, RepairMode, RepairPolicy, Settings, TrailerMark,
};
use crate::transport::OutgoingFrame;

/// How often the load on the link is worked out. Several frames of a camera fall into it.
const LOAD_INTERVAL: Duration = Duration::from_millis(250);

/// A loss is found a round trip after the packet left, a quarter more where only time tells, and when the
/// acknowledgement has been held back.
const FOUND_LATE: Duration = Duration::from_millis(10);

/// Counts kept: the frames of a long round trip.
const MOST_COUNTS: usize = 1_024;

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

/// Bytes on the link for a byte of stream: 1,500 for 1,410 or so.
const HEADERS: f64 = 1.05;

/// Decides on the repair of each frame of a connection.
pub(super) struct Repairing {
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

/// The share of the link's rate that bodies take.
struct Load {
    since: Instant,
    bytes: u64,
    share: f64,
    /// The share of time in which the link was the limit.
    busy: f64,
}

impl Repairing {
    pub(super) fn new(mode: RepairMode) -> Self {
        Self {
            policy: RepairPolicy::new(mode, Settings::default()),
            loss: LossEstimator::new(),
            settled: Settled::default(),
            lost: 0,
            load: Load { since: Instant::now(), bytes: 0, share: 0.0, busy: 0.0 },
        }
    }

    /// The repair for a frame that is sent now, over a path that is found like this. `backlog` says whether
    /// late frames wait for room.
    pub(super) fn plan(
        &mut self,
        connection: &Connection,
        path: &PathStats,
        frame: &OutgoingFrame,
        backlog: bool,
    ) -> Option<Plan> {
        let before = self.settled.packets;
        let settled = self.settled.update(Instant::now(), path.sent_packets, path.rtt);
        let lost = path.lost_packets;
        self.loss.update(settled.saturating_sub(before), lost.saturating_sub(self.lost));
        self.lost = lost;
        self.load.add(connection, frame.body.len() as u64);
        let loss = self.loss.loss();
        let now = Conditions {
            loss,
            rtt: path.rtt,
            // Lost packets are sent again, but for those that repair spares, and every packet has
            // its headers.
            load: self.load.share * HEADERS * (1.0 + loss.unwrap_or(0.0)),
            busy: self.load.busy,
            backlog,
            bulk: !frame.is_live(),
            packet_len: usize::from(path.current_mtu).saturating_sub(PACKET_OVERHEAD),
        };
        self.policy.plan(frame.body.len() as u64, &now)
    }

    /// Whether packets are lost often enough to matter, or nothing is known of that yet.
    pub(super) fn is_lossy(&self) -> bool {
        self.loss.loss().is_none_or(|loss| loss >= self.policy.settings().least_loss)
    }
}

impl Load {
    /// Takes in a frame's bytes.
    fn add(&mut self, connection: &Connection, bytes: u64) {
        self.bytes += bytes;
        let elapsed = self.since.elapsed();
        if elapsed < LOAD_INTERVAL {
            return;
        }
        // Only our own controller knows the link's rate; without it the room is not known.
        let controller = connection.congestion_state().into_any().downcast::<Lossy>().ok();
        self.busy = controller.as_ref().map_or(0.0, |controller| controller.busy());
        let rate = controller.and_then(|controller| controller.bandwidth());
        let offered = self.bytes as f64 / elapsed.as_secs_f64();
        self.share = rate.map_or(0.0, |rate| offered / rate.max(1.0));
        (self.since, self.bytes) = (Instant::now(), 0);
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
