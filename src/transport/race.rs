//! Which of several addresses is tried when (RFC 8305, section 5).
//!
//! A host may have an address of each family, or several, and any of them may lead nowhere. They are
//! tried one after the other, but the next does not wait for the one before: a dead address costs
//! [`HEAD_START`], not the patience that a slow one deserves.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// How long an address has to itself before the next is tried as well: RFC 8305's recommendation. Most
/// round trips are shorter, so that most often a single handshake is begun.
pub(super) const HEAD_START: Duration = Duration::from_millis(250);

/// A race of attempts, each known by its place in the list of addresses.
#[derive(Debug)]
pub(super) struct Race {
    waiting: VecDeque<usize>,
    running: usize,
    /// When the next attempt begins at the latest.
    next: Instant,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Begin the attempt with this place.
    Start(usize),
    /// Wait for an attempt to end, and until then at the most.
    WaitUntil(Instant),
    /// Wait for an attempt to end.
    Wait,
    /// Every attempt has failed.
    Over,
}

impl Race {
    /// One that begins `now`, of the attempts in `order`.
    pub(super) fn new(order: impl IntoIterator<Item = usize>, now: Instant) -> Self {
        Self { waiting: order.into_iter().collect(), running: 0, next: now }
    }

    /// What to do at `now`.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        let due = now >= self.next || self.running == 0;
        match self.waiting.front() {
            Some(_) if !due => Step::WaitUntil(self.next),
            Some(&place) => {
                self.waiting.pop_front();
                self.running += 1;
                self.next = now + HEAD_START;
                Step::Start(place)
            }
            None if self.running > 0 => Step::Wait,
            None => Step::Over,
        }
    }

    /// One of the attempts has failed at `now`: the next need not wait for its time.
    pub(super) fn failed(&mut self, now: Instant) {
        self.running -= 1;
        self.next = now;
    }
}

/// The places of `addresses` in the order in which they are to be tried: the one that worked last, then
/// one family after the other in turns, each in the order given (RFC 8305, section 4). Those that `ended`
/// names are left out.
pub(super) fn order(
    addresses: &[SocketAddr],
    last: Option<usize>,
    ended: impl Fn(usize) -> bool,
) -> Vec<usize> {
    let places = || (0..addresses.len()).filter(|&place| !ended(place));
    let first = last.filter(|&place| !ended(place));
    let rest: Vec<usize> = places().filter(|place| Some(*place) != first).collect();
    let family = |place: usize| addresses[place].is_ipv4();
    // After the one that worked last comes the other family: if that one fails now, its family may.
    let begins_with = match first {
        Some(first) => !family(first),
        None => rest.first().is_none_or(|&place| family(place)),
    };
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) =
        rest.into_iter().partition(|&place| family(place) == begins_with);
    let mut order: Vec<usize> = first.into_iter().collect();
    while !(one.is_empty() && other.is_empty()) {
        order.extend(one.pop_front());
        order.extend(other.pop_front());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_families_take_turns_behind_the_one_that_worked_last() {
        let all = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1", "127.0.0.2:1"]);
        let none = |_| false;
        assert_eq!(order(&all, None, none), [0, 3, 1, 4, 2]);
        assert_eq!(order(&all, Some(2), none), [2, 3, 0, 4, 1]);
        assert_eq!(order(&all, Some(4), none), [4, 0, 3, 1, 2]);
        assert_eq!(order(&all, Some(0), |place| place == 0), [1, 3, 2, 4]);
        assert_eq!(order(&all[3..], None, none), [0, 1]);
        assert_eq!(order(&all, Some(1), |_| true), [0_usize; 0]);
        assert_eq!(order(&[], None, none), [0_usize; 0]);
    }

    #[test]
    fn a_dead_address_costs_its_head_start_and_a_refusal_nothing() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut race = Race::new([2, 0, 1], start);
        assert_eq!(race.step(start), Step::Start(2));
        assert_eq!(race.step(at(1)), Step::WaitUntil(at(250)));
        assert_eq!(race.step(at(250)), Step::Start(0));
        assert_eq!(race.step(at(251)), Step::WaitUntil(at(500)));
        race.failed(at(300));
        assert_eq!(race.step(at(300)), Step::Start(1));
        assert_eq!(race.step(at(301)), Step::Wait);
        race.failed(at(310));
        assert_eq!(race.step(at(310)), Step::Wait, "one of three still runs");
        race.failed(at(8_000));
        assert_eq!(race.step(at(8_000)), Step::Over);
    }

    #[test]
    fn nobody_to_try_is_the_end_at_once() {
        let now = Instant::now();
        assert_eq!(Race::new([], now).step(now), Step::Over);
    }
}
