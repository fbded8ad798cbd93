//! Processor time that others take while a run lasts: its figures are then about the machine.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The machine's processor time, and this process's part of it, at one moment.
pub(super) struct Processors {
    at: Instant,
    machine: Option<Ticks>,
    own: f64,
}

/// Ticks of all processors since the system was started, of whatever length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    /// Spent by programs, or kept back by the host of a virtual machine.
    taken: u64,
    all: u64,
    processors: u32,
}

impl Processors {
    pub(super) fn now() -> Self {
        let own = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default();
        let machine =
            std::fs::read_to_string("/proc/stat").ok().and_then(|text| Ticks::parse(&text));
        Self { at: Instant::now(), machine, own: own.as_secs_f64() }
    }

    /// The share of all processors' time since `earlier` that was not this process's, from 0 to 1; `None` where
    /// the system does not tell.
    ///
    /// Interrupts belong to nobody: the link's packets cause most of them.
    pub(super) fn elsewhere_since(&self, earlier: &Self) -> Option<f64> {
        let (before, now) = (earlier.machine?, self.machine?);
        let all = now.all.checked_sub(before.all).filter(|ticks| *ticks > 0)?;
        let taken = now.taken.checked_sub(before.taken)?;
        let available = (self.at - earlier.at).as_secs_f64() * f64::from(now.processors);
        let own = (self.own - earlier.own) / available.max(1e-3);
        Some((taken as f64 / all as f64 - own).clamp(0.0, 1.0))
    }
}

impl Ticks {
    /// From the text of `/proc/stat`, as proc_stat(5) describes it.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let counts = lines.next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
        let counts: Vec<u64> = counts.map_while(|count| count.parse().ok()).collect();
        // What guests take is in the time of users already.
        let [user, nice, system, _idle, _waiting, _interrupts, _soft, stolen] =
            counts.first_chunk().copied()?;
        let all = counts[..8].iter().sum();
        let is_processor = |line: &&str| {
            line.strip_prefix("cpu")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let processors = u32::try_from(lines.filter(is_processor).count()).ok()?;
        (processors > 0).then_some(Self { taken: user + nice + system + stolen, all, processors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 20 30 800 5 6 7 32 9 9\n\
                        cpu0 50 10 15 400 2 3 3 16 4 4\n\
                        cpu1 50 10 15 400 3 3 4 16 5 5\n\
                        intr 12345 0 1\n";

    fn at(start: Instant, seconds: u64, own: f64, taken: u64, all: u64) -> Processors {
        let machine = Some(Ticks { taken, all, processors: 2 });
        Processors { at: start + Duration::from_secs(seconds), machine, own }
    }

    #[test]
    fn the_kernels_counts_are_read() {
        assert_eq!(Ticks::parse(STAT), Some(Ticks { taken: 182, all: 1_000, processors: 2 }));
        for broken in ["", "cpu", "cpu  1 2 3\ncpu0 1 2 3\n", "cpu  1 2 3 4 5 6 7 8\nintr 5\n"] {
            assert_eq!(Ticks::parse(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn what_is_not_this_process_is_elsewhere() {
        let start = Instant::now();
        let before = at(start, 0, 1.0, 1_000, 10_000);
        // Ten seconds of two processors are 2,000 ticks: 900 were taken, 5 s of 20 s by this process.
        let after = at(start, 10, 6.0, 1_900, 12_000);
        assert_eq!(after.elsewhere_since(&before), Some(0.45 - 0.25));
        let alone = at(start, 10, 11.0, 1_900, 12_000);
        assert_eq!(alone.elsewhere_since(&before), Some(0.0));
        assert_eq!(before.elsewhere_since(&before), None, "no time has passed");
        let unknown = Processors { machine: None, ..at(start, 10, 6.0, 0, 0) };
        assert_eq!(unknown.elsewhere_since(&before), None);
    }
}
