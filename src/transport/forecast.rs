//! Whether a frame that is handed to a transport now arrives in time.

use std::time::{Duration, Instant};

/// What travels beside a body: the frame's header, and those of its packets.
const OVERHEAD: f64 = 1.06;

/// Where the link is the limit, its rate is known this well.
const SURE: f64 = 1.1;
/// Where the application has been, the link may be so many times faster than it was ever seen to be.
const UNSURE: f64 = 2.0;

/// What may wait in the transport before the next frame is handed to it: what leaves within the time that this takes, ...
const ROOM_TIME: Duration = Duration::from_millis(4);
/// ... but two packets at least, ...
const LEAST_ROOM: u64 = 3_000;
/// ... and this much where nothing is known of the link.
const UNKNOWN_ROOM: u64 = 64 << 10;

/// What a transport knows of how soon live frames arrive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Bytes of live frames that were handed to it and have not left.
    pub left: u64,
    /// Bytes a second that the path delivers, where that is known.
    pub rate: Option<u64>,
    /// The shortest round trip of late, where that is known: one that met no queue.
    pub least_rtt: Option<Duration>,
    /// Whether the path has been the limit lately, and not what there was to send.
    pub is_busy: bool,
    /// Whether everything leaves in the order in which it was handed over, so that `left` counts frames without a deadline
    /// as well, and they wait like those that have one.
    pub in_order: bool,
}

impl Forecast {
    /// True where the next live frame may be handed over. More would only be a queue, which nothing fresh overtakes.
    pub fn has_room(&self) -> bool {
        self.left <= self.room()
    }

    /// Bytes that may wait in the transport when the next frame is handed to it.
    pub fn room(&self) -> u64 {
        let room =
            self.rate.map_or(UNKNOWN_ROOM, |rate| (rate as f64 * ROOM_TIME.as_secs_f64()) as u64);
        room.max(LEAST_ROOM)
    }

    /// How long a packet takes to the receiver where a round trip takes `rtt`: the queue is on the way there.
    pub fn way(&self, rtt: Duration) -> Duration {
        rtt - self.least_rtt.map_or(rtt, |least| least.min(rtt)) / 2
    }

    /// By when a frame of `bytes` bytes is there at the soonest that is handed over `now`; `None` where nothing is known
    /// of the rate. It is a little early rather than late: what is given up by this would hardly have made it.
    pub fn arrival(&self, now: Instant, bytes: u64, rtt: Duration) -> Option<Instant> {
        let faster = if self.is_busy { SURE } else { UNSURE };
        let rate = self.rate?.max(1) as f64 * faster;
        let takes = (self.left as f64 + bytes as f64 * OVERHEAD) / rate;
        let takes = Duration::try_from_secs_f64(takes).unwrap_or(Duration::MAX / 4);
        now.checked_add(takes.saturating_add(self.way(rtt)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_takes_its_time_behind_what_waits() {
        let now = Instant::now();
        let ms = |ms| now + Duration::from_millis(ms);
        let rtt = Duration::from_millis(40);
        let forecast =
            Forecast { left: 11_000, rate: Some(1_000_000), is_busy: true, ..Forecast::default() };
        let arrival = forecast.arrival(now, 100_000, rtt).unwrap();
        assert!(ms(126) < arrival && arrival < ms(127), "{:?}", arrival - now);
        let unsure = Forecast { is_busy: false, ..forecast }.arrival(now, 100_000, rtt).unwrap();
        assert!(ms(78) < unsure && unsure < ms(79), "{:?}", unsure - now);
        let queued = Forecast { least_rtt: Some(rtt / 2), ..forecast };
        assert_eq!(
            queued.way(rtt),
            Duration::from_millis(30),
            "10 there, 10 back, and 20 in the queue"
        );
        assert_eq!(queued.way(rtt / 4), Duration::from_millis(5));
        assert_eq!(Forecast::default().arrival(now, 1, rtt), None);
        assert!(
            Forecast { rate: Some(0), ..forecast }
                .arrival(now, u64::MAX, rtt)
                .is_none_or(|at| at > ms(1))
        );
    }

    #[test]
    fn there_is_room_for_what_leaves_at_once() {
        let has_room = |left, rate| Forecast { left, rate, ..Forecast::default() }.has_room();
        assert!(has_room(4_000, Some(1_000_000)) && !has_room(4_001, Some(1_000_000)));
        assert!(has_room(3_000, Some(10)) && !has_room(3_001, Some(10)));
        assert!(has_room(64 << 10, None) && !has_room(65 << 10, None));
    }
}
