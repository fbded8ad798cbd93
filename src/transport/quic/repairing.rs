//! What this connection's path says about repair: loss, round trip, and room on the link.

use std::time::{Duration, Instant};

use quinn::Connection;

use crate::congestion::lossy::Lossy;
use crate::repair::{
    Conditions, LossEstimator, Plan, RepairMode, RepairPolicy, Settings, TrailerMark,
};
use crate::transport::OutgoingFrame;

/// How often the load on the link is worked out. Several frames of a camera fall into it.
const LOAD_INTERVAL: Duration = Duration::from_millis(250);

/// What a 1-RTT packet and a STREAM frame take of a packet: short header 1 + 8 + 2, tag 16, stream
/// type 1, identifier 4, offset 4, length 2 (RFC 9000, sections 17.3 and 19.8).
const PACKET_OVERHEAD: usize = 38;

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
    counted: (u64, u64),
    load: Load,
}

/// The share of the link's rate that bodies take.
struct Load {
    since: Instant,
    bytes: u64,
    share: f64,
}

impl Repairing {
    pub(super) fn new(mode: RepairMode) -> Self {
        Self {
            policy: RepairPolicy::new(mode, Settings::default()),
            loss: LossEstimator::new(),
            counted: (0, 0),
            load: Load { since: Instant::now(), bytes: 0, share: 0.0 },
        }
    }

    /// The repair for a frame that is sent now.
    pub(super) fn plan(&mut self, connection: &Connection, frame: &OutgoingFrame) -> Option<Plan> {
        let path = connection.stats().path;
        let (sent, lost) = (path.sent_packets, path.lost_packets);
        self.loss.update(sent.saturating_sub(self.counted.0), lost.saturating_sub(self.counted.1));
        self.counted = (sent, lost);
        self.load.add(connection, frame.body.len() as u64);
        let loss = self.loss.loss();
        let now = Conditions {
            loss,
            rtt: path.rtt,
            // Lost packets are sent again, but for those that repair spares, and every packet has
            // its headers.
            load: self.load.share * HEADERS * (1.0 + loss.unwrap_or(0.0)),
            bulk: !frame.is_live(),
            packet_len: usize::from(path.current_mtu).saturating_sub(PACKET_OVERHEAD),
        };
        self.policy.plan(frame.body.len() as u64, &now)
    }
}

impl Load {
    fn add(&mut self, connection: &Connection, bytes: u64) {
        self.bytes += bytes;
        let elapsed = self.since.elapsed();
        if elapsed < LOAD_INTERVAL {
            return;
        }
        // Only our own controller knows the link's rate; without it the room is not known.
        let controller = connection.congestion_state().into_any().downcast::<Lossy>();
        let rate = controller.ok().and_then(|controller| controller.bandwidth());
        let offered = self.bytes as f64 / elapsed.as_secs_f64();
        self.share = rate.map_or(0.0, |rate| offered / rate.max(1.0));
        (self.since, self.bytes) = (Instant::now(), 0);
    }
}
