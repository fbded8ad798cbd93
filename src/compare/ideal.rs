//! A sender that wastes nothing, on the link as it is specified: frames go out first due, first
//! served, at the full rate, never into an outage, and nothing is lost.

use std::time::Duration;

use crate::link::{Capacity, DirectionSpec, MTU};

use super::limit::PAYLOAD_SHARE;

/// A frame as the ideal sender sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Due {
    /// Since the start of the link.
    pub(super) at: Duration,
    /// Of the body.
    pub(super) bytes: u64,
}

/// The latency of each frame, in the order given, without any loss: D + S / (0.957 C), where S is
/// what was due up to and with the frame and not yet sent. Of frames due at the same instant the
/// smaller goes first, which makes the sum of their latencies the least.
pub(super) fn latencies(link: &DirectionSpec, frames: &[Due]) -> Vec<Duration> {
    let mut order: Vec<usize> = (0..frames.len()).collect();
    order.sort_by_key(|&index| (frames[index].at, frames[index].bytes));
    let mut server = Server::new(link);
    let mut latencies = vec![Duration::ZERO; frames.len()];
    for index in order {
        let Due { at, bytes } = frames[index];
        latencies[index] = server.serve(at, bytes).saturating_sub(at) + link.one_way_delay();
    }
    latencies
}

/// The bottleneck, as the ideal sender uses it.
struct Server<'a> {
    link: &'a DirectionSpec,
    free_at: Duration,
    /// Of a trace: the next opportunity, and the payload that it still carries.
    opportunity: (u64, f64),
}

impl<'a> Server<'a> {
    fn new(link: &'a DirectionSpec) -> Self {
        Self { link, free_at: Duration::ZERO, opportunity: (0, 0.0) }
    }

    /// When the last byte of a frame has left.
    fn serve(&mut self, due: Duration, bytes: u64) -> Duration {
        let start = self.free_at.max(due);
        let link = self.link;
        self.free_at = match &link.capacity {
            Capacity::Unlimited => self.after_outage(start),
            Capacity::Constant(rate) => {
                let seconds = bytes as f64 * 8.0 / (PAYLOAD_SHARE * rate.0.max(1) as f64);
                self.send_for(
                    start,
                    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4),
                )
            }
            Capacity::Trace(trace) => {
                let payload = f64::from(MTU) * PAYLOAD_SHARE;
                let (mut next, mut room) = self.opportunity;
                if room <= 0.0 || trace.time_of(next) < start {
                    (next, room) = (trace.first_from(start).max(next), payload);
                }
                let mut left = bytes as f64;
                loop {
                    // What leaves during an outage is lost; an ideal sender keeps it back.
                    let at = trace.time_of(next);
                    if self.after_outage(at) > at {
                        (next, room) = (next + 1, payload);
                        continue;
                    }
                    if left <= room {
                        self.opportunity = (next, room - left);
                        break at;
                    }
                    left -= room;
                    (next, room) = (next + 1, payload);
                }
            }
        };
        self.free_at
    }

    /// When sending for so long is over, which goes on only while the link is up.
    fn send_for(&self, start: Duration, mut takes: Duration) -> Duration {
        let mut now = self.after_outage(start);
        while let Some(down) = self.next_outage(now).filter(|&down| down < now + takes) {
            takes -= down - now;
            now = self.after_outage(down);
        }
        now + takes
    }

    /// `at`, or the end of the outages that cover it.
    fn after_outage(&self, mut at: Duration) -> Duration {
        // Each step leaves one outage for good; overlapping ones take a few.
        for _ in 0..=self.link.outages.len() {
            let ends = self.link.outages.iter().filter_map(|outage| {
                let since = at.checked_sub(outage.at)?;
                let within = outage.every.map_or(since, |every| modulo(since, every));
                (within < outage.lasts).then(|| at + (outage.lasts - within))
            });
            match ends.max() {
                Some(end) => at = end,
                None => break,
            }
        }
        at
    }

    /// The beginning of the next outage after `now`, at which the link is up.
    fn next_outage(&self, now: Duration) -> Option<Duration> {
        let begins = self.link.outages.iter().filter_map(|outage| match outage.every {
            _ if now < outage.at => Some(outage.at),
            None => None,
            Some(every) => Some(now + (every - modulo(now - outage.at, every))),
        });
        begins.min()
    }
}

fn modulo(time: Duration, period: Duration) -> Duration {
    let nanos = time.as_nanos() % period.as_nanos().max(1);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkSpec;

    fn up(text: &str) -> DirectionSpec {
        text.parse::<LinkSpec>().unwrap().up
    }

    fn due(ms: u64, bytes: u64) -> Due {
        Due { at: Duration::from_millis(ms), bytes }
    }

    fn millis(link: &str, frames: &[Due]) -> Vec<f64> {
        latencies(&up(link), frames).iter().map(|time| time.as_secs_f64() * 1e3).collect()
    }

    #[test]
    fn frames_due_together_share_the_link_and_the_smaller_goes_first() {
        let found = millis("rate=50mbit,delay=25ms", &[due(0, 60_000), due(0, 20_000)]);
        // 38 ms, not 35, for the larger of the two.
        assert!((found[0] - 38.375).abs() < 0.01, "{found:?}");
        assert!((found[1] - 28.344).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn what_is_not_yet_sent_is_waited_for() {
        // 119,625 bytes take 20 ms.
        let frames = [due(0, 119_625), due(10, 119_625), due(100, 119_625)];
        let found = millis("rate=50mbit,delay=1ms", &frames);
        for (found, expected) in found.iter().zip([21.0, 31.0, 21.0]) {
            assert!((found - expected).abs() < 0.01, "{found} {expected}");
        }
    }

    #[test]
    fn an_outage_is_waited_for_and_sending_goes_on_behind_it() {
        let frames = [due(0, 119_625), due(40, 119_625), due(2_000, 10)];
        let found = millis("rate=50mbit,delay=1ms,outage=10ms+50ms/1s", &frames);
        // 10 ms before the outage, 10 ms after it; then the second; the repetition has begun 990
        // ms before the third.
        for (found, expected) in found.iter().zip([71.0, 51.0, 1.0]) {
            assert!((found - expected).abs() < 0.01, "{found} {expected}");
        }
    }

    #[test]
    fn a_trace_is_replayed() {
        let path = std::env::temp_dir().join(format!("framelane-trace-{}", std::process::id()));
        std::fs::write(&path, "10\n20\n30\n").unwrap();
        let spec = format!("trace={},delay=1ms", path.display());
        let found = millis(&spec, &[due(0, 1_000), due(0, 1_400), due(25, 1_000)]);
        std::fs::remove_file(&path).unwrap();
        // An opportunity carries 1,435.5 payload bytes.
        assert_eq!(found, [11.0, 21.0, 6.0]);
    }

    #[test]
    fn an_unlimited_link_only_delays() {
        assert_eq!(millis("delay=7ms", &[due(0, 1_000_000)]), [7.0]);
    }
}
