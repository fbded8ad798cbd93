use proptest::prelude::*;

use super::super::schedule::Schedule;
use super::*;

fn ledger(frames: u64) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.grow(Extent::fixed(frames));
    ledger
}

fn loss(reason: DropReason) -> Loss {
    Loss { reason, words: String::new(), captured: None }
}

#[test]
fn what_will_not_come_is_declared_until_it_is_noted() {
    let mut ledger = ledger(10);
    ledger.begin_at(Sequence(100));
    ledger.begin(10);
    for place in [2, 3, 4, 7] {
        ledger.fail(Sequence(place), String::new(), loss(DropReason::Late));
    }
    ledger.fail(Sequence(8), "8".to_owned(), loss(DropReason::Unreadable));
    assert_eq!((ledger.missing(), ledger.dropped["late"]), (5, 4));
    assert_eq!((ledger.dropped["unreadable"], ledger.failed.len()), (1, 1));
    let told: Vec<_> = ledger.declare().iter().map(|range| (range.first.0, range.count)).collect();
    assert_eq!(told, [(102, 3), (107, 1), (108, 1)]);
    let noted = |first, count| SequenceRun { first: Sequence(first), count };
    let none = ledger.noted(&[noted(50, 52), noted(105, 2)]);
    assert!(none.is_empty(), "none of these was told: {none:?}");
    assert_eq!(ledger.noted(&[noted(107, 9), noted(103, 1)]), [3..4, 7..8, 8..9]);
    // What was not noted when the session was lost is told in the next.
    ledger.session_lost();
    assert!(!ledger.drops.are_noted() && ledger.drops.are_to_be_told());
    let left: Vec<_> = ledger.declare().iter().map(|range| (range.first.0, range.count)).collect();
    assert_eq!(left, [(102, 1), (104, 1)]);
    assert!(ledger.drops.await_notes());
    assert_eq!(ledger.noted(&[noted(0, u64::MAX)]), [2..3, 4..5]);
    assert!(ledger.drops.are_noted());
}

#[test]
fn what_is_given_up_is_declared_and_counts_once() {
    let mut ledger = ledger(6);
    ledger.begin_at(Sequence(10));
    ledger.begin(2);
    ledger.session_lost();
    ledger.begin(3);
    assert!(ledger.confirm(Sequence(1), 5).is_some());
    let places = ledger.give_up();
    assert_eq!(places, [0, 2, 3, 4, 5].map(Sequence));
    for place in places {
        assert!(ledger.fail(place, String::new(), loss(DropReason::GivenUp)));
    }
    assert!(ledger.is_settled() && ledger.give_up().is_empty());
    assert_eq!((ledger.stored, ledger.dropped["given-up"], ledger.missing()), (1, 5, 0));
    assert_eq!(ledger.drops.given_up_untold(), [0..1, 2..6]);
    let told: Vec<_> = ledger.declare().iter().map(|range| (range.first.0, range.count)).collect();
    assert_eq!(told, [(10, 1), (12, 4)]);
    ledger.noted(&[SequenceRun { first: Sequence(12), count: 4 }]);
    assert_eq!(ledger.drops.given_up_untold(), std::slice::from_ref(&(0..1)));
}

#[test]
fn a_frame_sent_before_the_session_was_lost_counts_as_stored() {
    let mut ledger = ledger(2);
    ledger.begin(2);
    ledger.sent(Sequence(0));
    ledger.session_lost();
    assert_eq!(ledger.begin(9), [Sequence(0), Sequence(1)]);
    assert!(ledger.found(Sequence(0), 5) && !ledger.found(Sequence(1), 5));
    assert_eq!((ledger.stored, ledger.already, ledger.bytes), (1, 1, 5));
    assert!(ledger.is_settled());
}

#[test]
fn what_the_receiver_wanted_is_wanted_in_the_next_session_unless_it_was_sent() {
    let mut ledger = ledger(4);
    let due = Schedule::arrived(std::time::Instant::now(), 0);
    ledger.begin(4);
    for place in [0, 1, 2] {
        ledger.due(Sequence(place), false, |_| due);
    }
    ledger.wanted(Sequence(0), 10);
    ledger.wanted(Sequence(1), 11);
    ledger.sent(Sequence(1));
    ledger.session_lost();
    assert_eq!(ledger.still_wanted(Sequence(0)), None, "it is not begun");
    ledger.begin(4);
    let wanted: Vec<_> = (0..5).map(|place| ledger.still_wanted(Sequence(place))).collect();
    assert_eq!(wanted, [Some((due, 10)), None, None, None, None]);
    ledger.confirm(Sequence(0), 10);
    assert_eq!(ledger.still_wanted(Sequence(0)), None);
}

#[test]
fn a_frame_keeps_its_place_in_the_schedule() {
    let mut ledger = ledger(4);
    let now = std::time::Instant::now();
    let place = |ledger: &mut Ledger, sequence, arrived| {
        let mut place = None;
        let decide = |slot| {
            place = Some(slot);
            Schedule::arrived(now, slot)
        };
        let due = ledger.due(Sequence(sequence), arrived, decide);
        assert_eq!(due.is_some(), sequence < 4);
        place
    };
    ledger.begin(4);
    assert_eq!(place(&mut ledger, 2, false), Some(0));
    assert_eq!(place(&mut ledger, 3, true), Some(0), "what arrives takes nobody's place");
    assert_eq!(place(&mut ledger, 1, false), Some(1));
    assert_eq!(place(&mut ledger, 9, false), None);
    ledger.session_lost();
    ledger.begin(4);
    assert_eq!(place(&mut ledger, 2, false), None, "it has its place");
    assert_eq!(place(&mut ledger, 0, false), Some(2));
}

#[test]
fn a_source_that_grows_is_settled_when_it_has_ended() {
    let mut ledger = Ledger::default();
    ledger.grow(Extent::growing(1));
    assert_eq!(ledger.begin(9), [Sequence(0)]);
    ledger.confirm(Sequence(0), 1);
    assert!(!ledger.is_settled() && ledger.begin(9).is_empty());
    ledger.grow(Extent::growing(3));
    assert_eq!(ledger.begin(9), [Sequence(1), Sequence(2)]);
    assert_eq!(ledger.unsettled_within(0..3), Some(vec![Sequence(1), Sequence(2)]));
    assert_eq!(ledger.unsettled_within(0..4), None);
    ledger.confirm(Sequence(1), 1);
    ledger.confirm(Sequence(2), 1);
    ledger.grow(Extent::fixed(3));
    assert!(ledger.is_settled());
}

#[test]
fn a_run_goes_on_with_what_an_earlier_process_left() {
    let late = Dropped { places: 4..6, reason: DropReason::SenderCrashed, captured: None };
    let mut recalled = Recalled::new(RunId([1; 16]), 8, vec![2..3, 6..7]);
    (recalled.origin, recalled.dropped) = (Some(Sequence(100)), vec![late]);
    let mut ledger = Ledger::recalled(recalled);
    assert_eq!((ledger.frames(), ledger.frames_here(), ledger.settled_here()), (8, 2, 0));
    ledger.grow(Extent::growing(10));
    // What is fresh goes first, and what may have been sent is known as such.
    assert_eq!(ledger.begin_newest(9, |place| place.0 > 8), [Sequence(9)]);
    assert_eq!(ledger.begin(9), [2, 6, 8].map(Sequence));
    assert!(ledger.was_sent(Sequence(2)) && !ledger.was_sent(Sequence(8)));
    for place in [2, 6, 8, 9] {
        ledger.confirm(Sequence(place), 1);
    }
    ledger.grow(Extent::fixed(10));
    assert!(ledger.is_settled() && !ledger.drops.are_noted());
    let told: Vec<_> = ledger.declare().iter().map(|range| (range.first.0, range.count)).collect();
    assert_eq!((told, ledger.missing()), (vec![(104, 2)], 0));
    // They are in the sum that the receiver is told, captured = stored + dropped, and no failure of this process.
    assert_eq!((ledger.lost_of_run(), ledger.failed_count), (2, 0));
    assert_eq!(ledger.dropped_before["sender-crashed"], 2);
}

#[test]
fn what_the_source_drops_is_settled_wherever_it_was() {
    let mut ledger = ledger(10);
    ledger.begin(2);
    ledger.session_lost();
    ledger.begin(1);
    let full = |places| Dropped { places, reason: DropReason::SpoolFull, captured: None };
    assert_eq!(ledger.drop_range(&full(0..4)), 4);
    assert_eq!((ledger.drop_range(&full(0..4)), ledger.drop_range(&full(6..7))), (0, 1));
    assert_eq!(ledger.begin(99), [4, 5, 7, 8, 9].map(Sequence));
    assert!(ledger.is_settled_frame(Sequence(6)) && !ledger.is_settled_frame(Sequence(5)));
    assert_eq!((ledger.dropped["spool-full"], ledger.missing()), (5, 5));
    assert_eq!(ledger.oldest_unsettled(), Some(Sequence(4)));
}

proptest! {
    #[test]
    fn every_frame_is_settled_once(steps in proptest::collection::vec((0_u8..8, 0_u64..20), 0..200)) {
        let mut ledger = ledger(20);
        for (step, sequence) in steps {
            let sequence = Sequence(sequence);
            match step {
                0 => { ledger.begin(3); }
                1 => { ledger.confirm(sequence, 1); }
                2 => { ledger.found(sequence, 1); }
                3 => { ledger.fail(sequence, String::new(), loss(DropReason::Unreadable)); }
                4 => ledger.session_lost(),
                5 => { ledger.begin_newest(2, |place| place.0 > sequence.0); }
                6 => {
                    let places = sequence.0..sequence.0 + 3;
                    let reason = DropReason::SpoolFull;
                    ledger.drop_range(&Dropped { places, reason, captured: None });
                }
                _ => ledger.sent(sequence),
            }
            let unsettled = ledger.unsettled().count() as u64;
            prop_assert_eq!(unsettled + ledger.settled(), 20);
        }
    }
}
