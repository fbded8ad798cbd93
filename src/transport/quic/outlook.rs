//! Whether frames can still arrive by their deadlines.
//!
//! quinn does not tell how much of a stream has left. But it tells its controller of every packet, and streams leave by
//! their priorities, so what is left of each live frame follows: they go before everything else. The little that packets
//! hold beside frames makes the count slow rather than quick, and whenever quinn has had nothing to send, nothing is left.

use std::time::{Duration, Instant};

use crate::transport::Forecast;

/// The share of a packet's bytes that is counted as a frame's: less than it is, so that what is left is never thought to
/// have gone.
const PAYLOAD: f64 = 0.93;

/// Packets of fewer bytes are acknowledgements.
pub(super) const LEAST_PACKET: u64 = 200;

/// The shortest round trip is that of the last so many packets, or up to twice as many.
const SHORTEST_OF: u32 = 1_000;

/// A frame is given up when it could not arrive in time over a link so many times faster than it is measured to be.
const FASTER: f64 = 1.25;

/// What acknowledgements may be late by: the receiver's delay, timers at both ends.
const ACK_LATE: Duration = Duration::from_millis(15);

/// Of the last so many acknowledgements it counts how many found frames waiting.
const REMEMBERED: f64 = 64.0;

/// Which frame of an outlook.
pub type FrameId = u64;

/// A live frame with the transport.
#[derive(Debug, Clone, Copy)]
struct Frame {
    id: FrameId,
    bytes: u64,
    priority: i32,
    deadline: Option<Instant>,
}

/// The live frames that are with the transport, as they leave. Time is passed in.
#[derive(Debug, Default)]
pub struct Outlook {
    /// The most urgent first.
    frames: Vec<Frame>,
    next: FrameId,
    /// Bytes of them that have not left, or were lost and have not left again.
    left: f64,
    /// Something has left since the last frame came: what was dry before it says nothing of it.
    has_sent: bool,
    /// Bytes a second that the path delivers, where that is known.
    rate: Option<u64>,
    /// The share of acknowledgements that found something waiting to be sent.
    busy: f64,
    least: Least,
}

/// The shortest round trip of late.
#[derive(Debug, Default)]
struct Least {
    before: Option<Duration>,
    now: Option<Duration>,
    packets: u32,
}

impl Least {
    fn add(&mut self, rtt: Duration) {
        if self.packets >= SHORTEST_OF {
            (self.before, self.now, self.packets) = (self.now, None, 0);
        }
        self.packets += 1;
        self.now = Some(self.now.map_or(rtt, |least| least.min(rtt)));
    }

    fn get(&self) -> Option<Duration> {
        self.before.into_iter().chain(self.now).min()
    }
}

impl Outlook {
    /// A frame of `bytes` bytes, repair included, is handed over.
    pub fn begin(&mut self, bytes: u64, priority: i32, deadline: Option<Instant>) -> FrameId {
        let id = self.next;
        self.next += 1;
        let place = self.frames.partition_point(|other| other.priority >= priority);
        self.frames.insert(place, Frame { id, bytes, priority, deadline });
        self.left += bytes as f64;
        self.has_sent = false;
        id
    }

    /// The frame is through, or reset: nothing of it is to leave any more.
    pub fn end(&mut self, id: FrameId) {
        let Some(place) = self.frames.iter().position(|frame| frame.id == id) else { return };
        let before = place.checked_sub(1).map_or(0.0, |before| self.until(before));
        let own = self.until(place) - before;
        self.frames.remove(place);
        self.left -= own;
        self.bound();
    }

    /// A packet has left.
    pub fn sent(&mut self, bytes: u64) {
        if bytes >= LEAST_PACKET {
            self.has_sent = true;
            self.left -= bytes as f64 * PAYLOAD;
            self.bound();
        }
    }

    /// Packets were lost.
    pub fn lost(&mut self, bytes: u64) {
        self.left += bytes as f64;
        self.bound();
    }

    /// A packet was acknowledged so long after it had left.
    pub fn acked(&mut self, after: Duration) {
        self.least.add(after);
    }

    /// An acknowledgement has come. `dry`: nothing waited to leave before it.
    pub fn heard(&mut self, dry: bool, rate: Option<u64>) {
        self.rate = rate;
        let waited = if dry { 0.0 } else { 1.0 };
        self.busy += (waited - self.busy) / REMEMBERED;
        if dry && self.has_sent {
            self.left = 0.0;
        }
    }

    /// What becomes of a frame that is handed over now. Where most of the last acknowledgements have found frames
    /// waiting, the path is the limit, and its rate well known.
    pub fn forecast(&self) -> Forecast {
        Forecast {
            left: self.left as u64,
            rate: self.rate,
            least_rtt: self.least.get(),
            is_busy: self.busy > 0.5,
            in_order: false,
        }
    }

    /// Frames that are known not to arrive by their deadlines.
    pub fn hopeless(&self, now: Instant, rtt: Duration) -> Vec<FrameId> {
        let all = self.frames.iter().enumerate();
        let lost = all.filter(|(place, _)| self.lost_at(*place, rtt).is_some_and(|at| at <= now));
        lost.map(|(_, frame)| frame.id).collect()
    }

    /// When to look for such frames again at the latest.
    pub fn next_look(&self, rtt: Duration) -> Option<Instant> {
        (0..self.frames.len()).filter_map(|place| self.lost_at(place, rtt)).min()
    }

    /// From when on a frame cannot make it, unless more of it leaves before.
    fn lost_at(&self, place: usize, rtt: Duration) -> Option<Instant> {
        let deadline = self.frames[place].deadline?;
        let until = self.until(place);
        let way = self.forecast().way(rtt);
        if until < 1.0 {
            // All of it has left. If it was in time, that is known by then.
            return Some(deadline + (rtt - way.min(rtt)) + ACK_LATE);
        }
        let rate = self.rate.map_or(f64::INFINITY, |rate| rate.max(1) as f64 * FASTER);
        let takes = Duration::try_from_secs_f64(until / rate).unwrap_or(Duration::MAX / 4);
        // What leaves by then is there by the deadline.
        Some(deadline.checked_sub(way + takes).unwrap_or(deadline))
    }

    /// Bytes that have to leave before all of the frame at this place has.
    fn until(&self, place: usize) -> f64 {
        let behind: u64 = self.frames[place + 1..].iter().map(|frame| frame.bytes).sum();
        (self.left - behind as f64).max(0.0)
    }

    fn bound(&mut self) {
        let all: u64 = self.frames.iter().map(|frame| frame.bytes).sum();
        self.left = self.left.clamp(0.0, all as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// As many bytes in packets as hold so many of a frame.
    fn packets(bytes: u64) -> u64 {
        (bytes as f64 / PAYLOAD).ceil() as u64
    }

    #[test]
    fn what_is_left_falls_as_packets_leave_the_most_urgent_first() {
        let mut outlook = Outlook::default();
        let (first, second) = (outlook.begin(10_000, 9, None), outlook.begin(20_000, 8, None));
        assert_eq!(outlook.forecast().left, 30_000);
        outlook.sent(100);
        assert_eq!(outlook.forecast().left, 30_000, "an acknowledgement");
        outlook.sent(packets(15_000));
        assert!(
            (14_990..=15_000).contains(&outlook.forecast().left),
            "{}",
            outlook.forecast().left
        );
        outlook.end(first);
        assert!(
            (14_990..=15_000).contains(&outlook.forecast().left),
            "it had left: {}",
            outlook.forecast().left
        );
        outlook.lost(2_000);
        outlook.end(second);
        assert_eq!(outlook.forecast().left, 0);
    }

    #[test]
    fn a_reset_takes_what_was_left_of_it() {
        let mut outlook = Outlook::default();
        let old = outlook.begin(10_000, 5, None);
        outlook.sent(packets(4_000));
        let _new = outlook.begin(3_000, 4, None);
        outlook.end(old);
        assert!((2_990..=3_000).contains(&outlook.forecast().left), "{}", outlook.forecast().left);
    }

    #[test]
    fn nothing_is_left_where_the_transport_had_nothing_to_send() {
        let mut outlook = Outlook::default();
        outlook.begin(10_000, 1, None);
        outlook.heard(true, None);
        assert_eq!(outlook.forecast().left, 10_000, "that was before it came");
        outlook.sent(1_200);
        outlook.heard(false, None);
        assert!(outlook.forecast().left > 8_000);
        outlook.heard(true, None);
        assert_eq!(outlook.forecast().left, 0);
        outlook.lost(50_000);
        assert_eq!(outlook.forecast().left, 10_000, "no more than there is");
    }

    #[test]
    fn a_frame_is_hopeless_once_what_is_left_takes_longer_than_there_is_time() {
        let start = Instant::now();
        let mut outlook = Outlook::default();
        // 1.25 MB/s at the best: 125 kB take 100 ms, and half a round trip.
        outlook.heard(false, Some(1_000_000));
        let id = outlook.begin(125_000, 1, Some(start + ms(200)));
        assert!(outlook.hopeless(start + ms(79), RTT).is_empty());
        assert_eq!(outlook.hopeless(start + ms(81), RTT), [id]);
        assert_eq!(outlook.next_look(RTT), Some(start + ms(80)));
        // Nothing is waited for that is more urgent, only what is.
        outlook.begin(1_000_000, 0, None);
        assert!(outlook.hopeless(start + ms(79), RTT).is_empty());
        outlook.begin(1_000_000, 2, None);
        assert_eq!(outlook.hopeless(start, RTT), [id]);
    }

    #[test]
    fn what_has_left_has_until_its_acknowledgement_could_be_there() {
        let start = Instant::now();
        let mut outlook = Outlook::default();
        let id = outlook.begin(1_000, 1, Some(start + ms(200)));
        outlook.sent(packets(1_000) + 1);
        assert!(outlook.hopeless(start + ms(234), RTT).is_empty());
        assert_eq!(outlook.hopeless(start + ms(235), RTT), [id]);
        // Found to be lost, with no time to come again.
        outlook.lost(1_000);
        assert!(outlook.hopeless(start + ms(179), RTT).is_empty());
        assert_eq!(outlook.hopeless(start + ms(181), RTT), [id]);
        outlook.end(id);
        assert!(outlook.next_look(RTT).is_none());
    }
}
