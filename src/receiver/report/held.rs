//! What the store has of a source, as far as one run of a receiver knows.

/// Sessions of a source that are kept apart. A session whose connection was lost may end long after the one in which its
/// sender went on.
const RECENT: usize = 16;

/// One source's frames, by the sessions that stored or found them.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    /// Stored in this run, by sessions that are not among the recent ones.
    sent: u64,
    /// Stored before this run, as far as those said.
    before: u64,
    /// The others, in the order in which they began.
    recent: Vec<Part>,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    began: u64,
    stored: u64,
    before: u64,
}

impl Held {
    /// Adds a session that has ended.
    pub(super) fn add(&mut self, began: u64, stored: u64, before: u64) {
        let at = self.recent.partition_point(|other| other.began < began);
        self.recent.insert(at, Part { began, stored, before });
        if self.recent.len() > RECENT {
            let oldest = self.recent.remove(0);
            (self.sent, self.before) = oldest.behind((self.sent, self.before));
        }
    }

    /// Frames that were stored before this run.
    pub(super) fn before(&self) -> u64 {
        self.recent.iter().fold((self.sent, self.before), |so_far, part| part.behind(so_far)).1
    }
}

impl Part {
    /// What was stored in and before the run, with this session behind those. What an earlier session of the run stored
    /// is before this one and not before the run.
    fn behind(self, (sent, before): (u64, u64)) -> (u64, u64) {
        (sent + self.stored, before.max(self.before.saturating_sub(sent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_ends_after_the_one_that_went_on_counts_no_frame_twice() {
        let mut held = Held::default();
        held.add(2, 4_368, 5_632);
        held.add(1, 5_632, 0);
        assert_eq!(held.before(), 0);
        let mut late = Held::default();
        late.add(1, 10, 7);
        late.add(3, 0, 22);
        late.add(2, 5, 17);
        assert_eq!(late.before(), 7);
    }

    #[test]
    fn many_sessions_are_counted_as_one_after_the_other() {
        let mut held = Held::default();
        (0..1_000).for_each(|place| held.add(place, 2, 9 + 2 * place));
        assert_eq!((held.before(), held.recent.len()), (9, RECENT));
        assert_eq!(held.recent.last().map(|part| part.began), Some(999));
    }
}
