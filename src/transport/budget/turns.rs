//! Whose turn it is to go over the budget with a frame that is longer than the sender's share, and for how long.
//!
//! A frame that needs longer than others can wait for its memory is given up with its session, and begun anew. So that
//! it is likelier to come through in the end, senders that gave way have their turns in order, and each turn is
//! twice as long as the sender's last one, until a frame is whole.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The first turn. It keeps waiting only those whose frames are longer than their share as well.
const FIRST: Duration = Duration::from_secs(10);

/// How often a turn is doubled at the most: to a quarter of an hour and more.
const MOST_DOUBLED: u32 = 7;

/// Senders that are remembered.
const MOST: usize = 256;

/// Senders that gave way and have had no frame whole since, the one first whose turn is next.
#[derive(Debug, Default)]
pub(super) struct Turns(VecDeque<(Arc<str>, u32)>);

impl Turns {
    /// The sender has given way. Where it has just `had` a turn, the next is behind those of others, and longer.
    pub(super) fn gave_way(&mut self, sender: &Arc<str>, had: bool) {
        let place = self.place(sender);
        if place.is_some() && !had {
            return;
        }
        let before = place.and_then(|place| self.0.remove(place));
        let times = before.map_or(0, |(_, times)| times) + u32::from(had);
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((sender.clone(), times));
    }

    /// A frame of the sender's went over the budget and is whole.
    pub(super) fn done(&mut self, sender: &str) {
        self.0.retain(|(of, _)| **of != *sender);
    }

    /// Its place in the order of turns, where it is to have one.
    pub(super) fn place(&self, sender: &str) -> Option<usize> {
        self.0.iter().position(|(of, _)| **of == *sender)
    }

    /// How long its turn may last while others wait.
    pub(super) fn length(&self, sender: &str) -> Duration {
        let times = self.place(sender).map_or(0, |place| self.0[place].1);
        FIRST * (1 << times.min(MOST_DOUBLED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gave_way_goes_behind_the_others_and_has_longer() {
        let (mut turns, one, two) = (Turns::default(), Arc::from("one"), Arc::from("two"));
        assert_eq!((turns.place(&one), turns.length(&one)), (None, FIRST));
        turns.gave_way(&one, true);
        turns.gave_way(&two, true);
        turns.gave_way(&one, true);
        assert_eq!((turns.place(&one), turns.place(&two)), (Some(1), Some(0)));
        assert_eq!((turns.length(&one), turns.length(&two)), (4 * FIRST, 2 * FIRST));
        turns.gave_way(&two, false);
        assert_eq!((turns.place(&two), turns.length(&two)), (Some(0), 2 * FIRST), "it had none");
        turns.done(&one);
        assert_eq!((turns.place(&one), turns.length(&one)), (None, FIRST));
        (0..100).for_each(|_| turns.gave_way(&two, true));
        assert_eq!(turns.length(&two), FIRST * 128);
        (0..1_000).for_each(|number| turns.gave_way(&Arc::from(number.to_string()), false));
        assert_eq!((turns.0.len(), turns.place(&two)), (MOST, None));
    }
}
