//! A sender that wastes nothing, on the link as it is specified: frames go out first due, first
//! served, at the full rate, never into an outage, and nothing is lost.

use std::time::Duration;

use crate::link::{Capacity, DirectionSpec, MTU, Trace};

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
        latencies[index] = server.serve(at, bytes as f64).saturating_sub(at) + link.one_way_delay();
    }
    latencies
}

/// The same over several links at once: each frame goes whole over the one on which it is there first, which is the one
/// that is told beside its latency.
pub(super) fn latencies_over(links: &[&DirectionSpec], frames: &[Due]) -> Vec<(Duration, usize)> {
    let mut order: Vec<usize> = (0..frames.len()).collect();
    order.sort_by_key(|&index| (frames[index].at, frames[index].bytes));
    let mut servers: Vec<Server<'_>> = links.iter().map(|link| Server::new(link)).collect();
    let mut latencies = vec![(Duration::ZERO, 0); frames.len()];
    for index in order {
        let Due { at, bytes } = frames[index];
        let tried = servers.iter().enumerate().map(|(place, server)| {
            let mut after = server.clone();
            let left = after.serve(at, bytes as f64);
            (left.saturating_sub(at) + server.link.one_way_delay(), place, after)
        });
        if let Some((latency, place, after)) = tried.min_by_key(|(latency, ..)| *latency) {
            latencies[index] = (latency, place);
            servers[place] = after;
        }
    }
    latencies
}

/// The payload rate in Mbit/s at which `bytes` that are all due at `from` can leave, what the link
/// loses at random being sent again: its rate then, or what its trace carries in that time, without
/// the outages in it. `None` where nothing limits the rate, 0 where nothing gets through.
pub(super) fn bulk_mbit(link: &DirectionSpec, from: Duration, bytes: u64) -> Option<f64> {
    link.rate()?;
    let arrives = 1.0 - link.loss.fraction();
    if arrives <= 0.0 || bytes == 0 {
        return Some(0.0);
    }
    let takes = Server::new(link).serve(from, bytes as f64 / arrives).saturating_sub(from);
    Some(bytes as f64 * 8e-6 / takes.as_secs_f64().max(1e-6))
}

/// The payload rate in Mbit/s that the link carries at most from one time on for `lasts`; `None`
/// where nothing limits the rate.
pub(super) fn carried_mbit(link: &DirectionSpec, from: Duration, lasts: Duration) -> Option<f64> {
    link.rate()?;
    let bytes = match &link.capacity {
        Capacity::Trace(trace) => {
            let carried = up_times(link, from, from.saturating_add(lasts))
                .map(|(up, down)| trace.opportunities(up, down))
                .sum::<u64>();
            carried as f64 * f64::from(MTU)
        }
        _ => {
            let up = up_times(link, from, from.saturating_add(lasts)).map(|(up, down)| down - up);
            link.rate()?.0 as f64 / 8.0 * up.sum::<Duration>().as_secs_f64()
        }
    };
    let arrives = PAYLOAD_SHARE * (1.0 - link.loss.fraction());
    Some(bytes * arrives * 8e-6 / lasts.as_secs_f64().max(1e-6))
}

/// The times between `from` and `to` at which the link is up.
fn up_times(
    link: &DirectionSpec,
    from: Duration,
    to: Duration,
) -> impl Iterator<Item = (Duration, Duration)> {
    let mut next = link.up_from(from);
    std::iter::from_fn(move || {
        let up = next.filter(|&up| up < to)?;
        let down = link.down_after(up).map_or(to, |down| down.min(to));
        next = link.up_from(down);
        Some((up, down))
    })
}

/// When a frame leaves that never does, or not within a year: far enough from the end of time that
/// a delay can be added.
const NEVER: Duration = Duration::from_secs(31_536_000);

/// The bottleneck, as the ideal sender uses it.
#[derive(Clone)]
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

    /// When the last of so many bytes has left.
    fn serve(&mut self, due: Duration, bytes: f64) -> Duration {
        let start = self.free_at.max(due);
        let left = match &self.link.capacity {
            // What has not left in a year is not gone through packet by packet.
            _ if start >= NEVER => None,
            Capacity::Unlimited => self.link.up_from(start),
            Capacity::Constant(rate) => {
                let seconds = bytes * 8.0 / (PAYLOAD_SHARE * rate.0.max(1) as f64);
                let takes = Duration::try_from_secs_f64(seconds).unwrap_or(NEVER);
                self.send_for(start, takes)
            }
            Capacity::Trace(trace) => self.replay(trace, start, bytes),
        };
        self.free_at = left.map_or(NEVER, |left| left.min(NEVER));
        self.free_at
    }

    /// When sending for so long is over, which goes on only while the link is up.
    fn send_for(&self, start: Duration, mut takes: Duration) -> Option<Duration> {
        let mut now = self.link.up_from(start)?;
        while let Some(down) = self.link.down_after(now).filter(|&down| down < now + takes) {
            takes -= down - now;
            now = self.link.up_from(down).filter(|&up| up < NEVER)?;
        }
        Some(now + takes)
    }

    /// At which opportunity of a trace the last of so many bytes leaves.
    fn replay(&mut self, trace: &Trace, start: Duration, bytes: f64) -> Option<Duration> {
        let payload = f64::from(MTU) * PAYLOAD_SHARE;
        let (mut next, mut room) = self.opportunity;
        if room <= 0.0 || trace.time_of(next) < start {
            (next, room) = (trace.first_from(start).max(next), payload);
        }
        let mut left = bytes;
        loop {
            let at = trace.time_of(next);
            // What leaves during an outage is lost; an ideal sender keeps it back.
            let up = self.link.up_from(at).filter(|&up| up < NEVER)?;
            if up > at {
                (next, room) = (trace.first_from(up).max(next + 1), payload);
                continue;
            }
            if left <= room {
                self.opportunity = (next, room - left);
                return Some(at);
            }
            left -= room;
            (next, room) = (next + 1, payload);
        }
    }
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

    fn trace(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn frames_due_together_share_the_link_and_the_smaller_goes_first() {
        let found = millis("rate=50mbit,delay=25ms", &[due(0, 60_000), due(0, 20_000)]);
        // 38 ms, not 35, for the larger of the two.
        assert!((found[0] - 38.375).abs() < 0.01, "{found:?}");
        assert!((found[1] - 28.344).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn over_two_links_each_frame_takes_the_one_on_which_it_is_there_first() {
        let (fast, slow) = (up("rate=50mbit,delay=20ms"), up("rate=25mbit,delay=30ms"));
        let frames = [due(0, 119_625), due(0, 119_626), due(1, 59_813), due(500, 10)];
        let found = latencies_over(&[&fast, &slow], &frames);
        // 20 ms to send on the fast one, 40 on the slow one; the second would be there after 60 ms on the fast one, and
        // after 70 on the slow one; the third after 69 (two before it) or 50.
        let millis =
            |(latency, link): (Duration, usize)| ((latency.as_secs_f64() * 1e3).round(), link);
        let found: Vec<_> = found.into_iter().map(millis).collect();
        assert_eq!(found, [(40.0, 0), (60.0, 0), (50.0, 1), (20.0, 0)]);
        let alone: Vec<_> = latencies_over(&[&fast], &frames).into_iter().map(|(l, _)| l).collect();
        assert_eq!(alone, latencies(&fast, &frames), "one link is the case of one");
    }

    #[test]
    fn an_ideal_sender_does_not_wait_for_a_link_that_is_down() {
        let (down, slow) =
            (up("rate=50mbit,delay=20ms,outage=0s+2s"), up("rate=25mbit,delay=30ms"));
        assert_eq!(latencies_over(&[&down, &slow], &[due(100, 1_000)])[0].1, 1);
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
        let trace = trace("10\n20\n30\n");
        let spec = format!("trace={},delay=1ms", trace.path().display());
        let found = millis(&spec, &[due(0, 1_000), due(0, 1_400), due(25, 1_000)]);
        // An opportunity carries 1,435.5 payload bytes.
        assert_eq!(found, [11.0, 21.0, 6.0]);
    }

    #[test]
    fn a_trace_is_not_sent_into_an_outage_however_long() {
        let trace = trace("10\n20\n30\n");
        // Down for a day: gone through by outages, not by the opportunities in them.
        let spec = format!("trace={},delay=1ms,outage=15ms+24h", trace.path().display());
        let found = millis(&spec, &[due(0, 1_000), due(0, 1_400)]);
        assert_eq!(found[0], 11.0);
        assert!((found[1] - 86_400_021.0).abs() < 20.0, "{found:?}");
    }

    #[test]
    fn bulk_is_limited_by_what_the_link_carries_in_its_time() {
        let second = Duration::from_secs(1);
        let bulk = |text: &str, from, bytes| bulk_mbit(&up(text), from, bytes).unwrap();
        let near = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 0.02 * expected, "{found}, not {expected}");
        };
        // 11,962,500 bytes take 2 s at 47.85 Mbit/s of payload.
        near(bulk("rate=50mbit", second, 11_962_500), 47.85);
        near(bulk("rate=50mbit,loss=2%", second, 11_962_500), 46.9);
        // Half of the time that it takes the link is down; before it begins that does not count.
        near(bulk("rate=50mbit,outage=2s+2s", second, 11_962_500), 23.9);
        near(bulk("rate=50mbit,outage=0s+1s", second, 11_962_500), 47.85);
        near(bulk("rate=50mbit,outage=0s+1s/2s", 2 * second, 11_962_500), 23.9);
        assert_eq!(bulk("rate=50mbit,loss=100%", second, 1_000), 0.0);
        assert_eq!(bulk_mbit(&up("delay=1ms,outage=1s+1s"), second, 1_000), None);
        // A second at 12 Mbit/s, then one at 1.2: what is over in the first had the first's rate.
        let fast = (1..=1_000).map(|ms| format!("{ms}\n"));
        let slow = (1..=100).map(|tenth| format!("{}\n", 1_000 + 10 * tenth));
        let trace = trace(&fast.chain(slow).collect::<String>());
        let spec = format!("trace={}", trace.path().display());
        near(bulk(&spec, Duration::ZERO, 1_400_000), 11.48);
        near(bulk(&spec, second, 140_000), 1.148);
        near(bulk(&spec, Duration::ZERO, 1_579_000), 6.32);
        let carried = |text: &str, from, lasts| carried_mbit(&up(text), from, lasts).unwrap();
        near(carried(&spec, Duration::ZERO, 2 * second), 6.32);
        near(carried(&spec, second, second), 1.148);
        near(carried(&format!("{spec},outage=0s+1s"), Duration::ZERO, 2 * second), 0.574);
        near(carried("rate=50mbit,outage=500ms+500ms", Duration::ZERO, 2 * second), 35.9);
        near(carried("rate=50mbit,outage=30s+1s", Duration::ZERO, 2 * second), 47.85);
    }

    #[test]
    fn an_unlimited_link_only_delays() {
        assert_eq!(millis("delay=7ms", &[due(0, 1_000_000)]), [7.0]);
    }
}
