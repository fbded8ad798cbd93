//! Over which path a frame goes: where it will be complete first. Pure: what is known of the paths is passed in.

use std::time::Duration;

use super::mode::PathsMode;

/// Bytes of a packet, for the chance that a frame loses one.
const PACKET: f64 = 1_200.0;

/// What the loss of a packet costs a frame, in round trips: less than one, since repair mends some of it.
const LOSS_COSTS: f64 = 0.7;

/// A live frame with less time than this behind its expected arrival, beside a round trip, has none to find out that it
/// was lost.
const HASTE: Duration = Duration::from_millis(60);

/// A copy that would come so much later than the first one is of no use, ...
const USELESS_TIMES: u32 = 4;
/// ... but for what is soon anyway.
const SOON: Duration = Duration::from_millis(400);

/// Whether a path carries anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    Well,
    /// What should have come has not.
    Ill,
    /// Nothing comes.
    Dead,
}

/// What is known of a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    pub(super) health: Health,
    pub(super) rtt: Duration,
    /// Bytes a second.
    pub(super) rate: f64,
    /// The part of its packets that it loses.
    pub(super) loss: f64,
    /// How long what it has already takes to leave, of that which goes before the frame.
    pub(super) waits: Duration,
    /// It takes another frame now.
    pub(super) has_room: bool,
}

/// A frame that is to go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) bytes: u64,
    /// It fell due at a time of its own, and is not late yet.
    pub(super) live: bool,
    /// How long until it is of no use, where there is such a time.
    pub(super) left: Option<Duration>,
}

/// Over what it goes now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) first: usize,
    pub(super) second: Option<usize>,
}

impl View {
    /// When a frame of so many bytes that is handed over now will have arrived.
    pub(super) fn arrives(&self, bytes: u64) -> Duration {
        let takes = bytes as f64 / self.rate.max(1.0);
        let none_lost = (1.0 - self.loss.clamp(0.0, 1.0)).powf(bytes as f64 / PACKET + 1.0);
        let again = (1.0 - none_lost) * LOSS_COSTS * self.rtt.as_secs_f64();
        self.waits + self.rtt / 2 + Duration::from_secs_f64((takes + again).min(1e6))
    }
}

/// Over which of the paths a frame goes now; `None` where it waits.
pub(super) fn choose(mode: PathsMode, paths: &[View], wish: Wish) -> Option<Choice> {
    let first = first(paths, wish)?;
    let second =
        if needs_two(mode, paths, first, wish) { second(paths, first, wish) } else { None };
    Some(Choice { first, second })
}

/// The path that a frame takes: a live one that where it arrives first, and waits for it; another that of those with
/// room, so that none stands idle.
fn first(paths: &[View], wish: Wish) -> Option<usize> {
    let best = paths.iter().map(|path| path.health).min()?;
    let candidates = paths.iter().enumerate().filter(|(_, path)| path.health == best);
    let candidates = candidates.filter(|(_, path)| wish.live || path.has_room);
    let (first, path) = candidates.min_by_key(|(_, path)| path.arrives(wish.bytes))?;
    path.has_room.then_some(first)
}

fn needs_two(mode: PathsMode, paths: &[View], first: usize, wish: Wish) -> bool {
    match mode {
        PathsMode::Duplicate => true,
        PathsMode::Auto if wish.live => {
            let path = &paths[first];
            let ill = paths.iter().any(|path| path.health == Health::Ill);
            let soon = path.arrives(wish.bytes) + path.rtt + HASTE;
            ill || wish.left.is_some_and(|left| left < soon)
        }
        _ => false,
    }
}

/// The path that a copy takes: the next best that is of use.
pub(super) fn second(paths: &[View], first: usize, wish: Wish) -> Option<usize> {
    let limit = (paths[first].arrives(wish.bytes) * USELESS_TIMES).max(SOON);
    let others = paths
        .iter()
        .enumerate()
        .filter(|(place, path)| *place != first && path.has_room && path.health != Health::Dead);
    let arrives = |path: &View| path.arrives(wish.bytes);
    let useful = others.filter(|(_, path)| arrives(path) <= limit || path.health == Health::Ill);
    useful.min_by_key(|(_, path)| (path.health, arrives(path))).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(rtt_ms: u64, mbit: f64) -> View {
        View {
            health: Health::Well,
            rtt: Duration::from_millis(rtt_ms),
            rate: mbit * 125_000.0,
            loss: 0.0,
            waits: Duration::ZERO,
            has_room: true,
        }
    }

    const LIVE: Wish = Wish { bytes: 60_000, live: true, left: None };
    const BULK: Wish = Wish { bytes: 60_000, live: false, left: None };

    fn chosen(mode: PathsMode, paths: &[View], wish: Wish) -> Option<(usize, Option<usize>)> {
        choose(mode, paths, wish).map(|choice| (choice.first, choice.second))
    }

    #[test]
    fn a_frame_goes_where_it_is_complete_first() {
        let mut paths = [path(40, 20.0), path(100, 10.0)];
        assert_eq!(chosen(PathsMode::Auto, &paths, LIVE), Some((0, None)));
        // 44 ms there, 98 ms here: what waits there for longer than that makes the difference.
        paths[0].waits = Duration::from_millis(53);
        assert_eq!(chosen(PathsMode::Auto, &paths, LIVE), Some((0, None)));
        paths[0].waits = Duration::from_millis(55);
        assert_eq!(chosen(PathsMode::Auto, &paths, LIVE), Some((1, None)));
    }

    #[test]
    fn a_live_frame_waits_for_the_better_path_and_another_takes_what_has_room() {
        let mut paths = [path(40, 20.0), path(600, 1.0)];
        paths[0].has_room = false;
        assert_eq!(chosen(PathsMode::Auto, &paths, LIVE), None);
        assert_eq!(chosen(PathsMode::Auto, &paths, BULK), Some((1, None)));
    }

    #[test]
    fn two_copies_go_where_a_path_is_ill_or_time_is_short() {
        let mut paths = [path(40, 20.0), path(100, 10.0)];
        let left = |ms| Wish { left: Some(Duration::from_millis(ms)), ..LIVE };
        assert_eq!(chosen(PathsMode::Auto, &paths, left(500)), Some((0, None)));
        assert_eq!(chosen(PathsMode::Auto, &paths, left(130)), Some((0, Some(1))));
        assert_eq!(chosen(PathsMode::Spread, &paths, left(130)), Some((0, None)));
        assert_eq!(chosen(PathsMode::Duplicate, &paths, BULK), Some((0, Some(1))));
        paths[0].health = Health::Ill;
        assert_eq!(chosen(PathsMode::Auto, &paths, LIVE), Some((1, Some(0))));
        assert_eq!(chosen(PathsMode::Auto, &paths, BULK), Some((1, None)));
        paths[0].health = Health::Dead;
        assert_eq!(chosen(PathsMode::Duplicate, &paths, LIVE), Some((1, None)));
        // Where nothing comes over either, one of them is tried all the same.
        paths[1].health = Health::Dead;
        assert_eq!(chosen(PathsMode::Auto, &paths, LIVE), Some((0, None)));
    }

    fn any_path() -> impl Strategy<Value = View> {
        (0_u8..3, 0_u64..2_000, 1.0..1e8, 0.0..0.5, 0_u64..5_000, any::<bool>()).prop_map(
            |(health, rtt, rate, loss, waits, has_room)| View {
                health: [Health::Well, Health::Ill, Health::Dead][usize::from(health)],
                rtt: Duration::from_millis(rtt),
                rate,
                loss,
                waits: Duration::from_millis(waits),
                has_room,
            },
        )
    }

    fn any_wish() -> impl Strategy<Value = Wish> {
        (0_u64..10_000_000, any::<bool>(), proptest::option::of(0_u64..1_000)).prop_map(
            |(bytes, live, left)| Wish { bytes, live, left: left.map(Duration::from_millis) },
        )
    }

    proptest! {
        /// Whatever is known of the paths: a frame goes where there is room, to no path that is worse off than another,
        /// and twice only over two; a live one never goes where it arrives later than over a path that is as well.
        #[test]
        fn no_path_makes_a_live_frame_later_than_it_is_without_that(
            paths in proptest::collection::vec(any_path(), 0..5),
            wish in any_wish(),
            mode in 0_usize..3,
        ) {
            let mode = [PathsMode::Auto, PathsMode::Spread, PathsMode::Duplicate][mode];
            let best = paths.iter().map(|path| path.health).min();
            match choose(mode, &paths, wish) {
                None => prop_assert!(wish.live || paths.iter().all(|path| !path.has_room || Some(path.health) != best)),
                Some(Choice { first, second }) => {
                    let path = paths[first];
                    prop_assert!(path.has_room && Some(path.health) == best);
                    for other in paths.iter().filter(|other| wish.live && Some(other.health) == best) {
                        prop_assert!(path.arrives(wish.bytes) <= other.arrives(wish.bytes));
                    }
                    if let Some(second) = second {
                        prop_assert!(second != first && paths[second].has_room);
                        prop_assert!(mode != PathsMode::Spread && paths[second].health != Health::Dead);
                    }
                }
            }
        }

        /// More bytes, more loss, more that waits and a slower path never make it arrive sooner.
        #[test]
        fn what_is_worse_is_later(path in any_path(), bytes in 0_u64..10_000_000, more in 0_u64..1_000_000) {
            let at = path.arrives(bytes);
            prop_assert!(path.arrives(bytes + more) >= at);
            let worse = View { rate: path.rate / 2.0, ..path };
            prop_assert!(worse.arrives(bytes) >= at);
            let worse = View { loss: path.loss + 0.1, ..path };
            prop_assert!(worse.arrives(bytes) >= at);
            let worse = View { waits: path.waits + Duration::from_millis(more), ..path };
            prop_assert!(worse.arrives(bytes) >= at);
        }
    }
}
