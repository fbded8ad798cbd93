//! Frames that their source has dropped while they were on offer.

use super::super::schedule::Pace;
use super::super::session_tests::Memory;
use super::*;
use crate::frame::SourceName;
use crate::source::Extent;
use crate::wire::{Answer, Verdict, VerdictRun};

#[tokio::test]
async fn what_was_dropped_on_offer_and_is_stored_was_not_dropped() {
    let source = Arc::new(Memory(SourceName::parse("visible").unwrap()));
    let (results, _) = mpsc::unbounded_channel();
    let mut lane = Lane::new(0, source, &SendOptions::default(), results);
    let mut ledger = Ledger::default();
    ledger.grow(Extent::fixed(4));
    let offered = ledger.begin(4).into_iter();
    let offered =
        offered.map(|sequence| Offered { sequence, bytes: 9, hashed: false, captured: None });
    lane.offered.push_back(offered.collect());
    let dropped = Dropped { places: 1..4, reason: DropReason::SpoolFull, captured: None };
    assert_eq!(ledger.drop_range(&dropped), 3);
    lane.forget(&[dropped]);
    let runs = [(Verdict::Stored, 3), (Verdict::Wanted, 1)]
        .map(|(verdict, count)| VerdictRun { verdict, count })
        .to_vec();
    let schedule = Schedule::start(Pace::Bulk);
    lane.answered(Answer { source: lane.id, runs }, &mut ledger, &schedule).unwrap();
    // The last one is wanted, and is gone: three are stored, and one was dropped.
    assert_eq!((ledger.missing(), ledger.dropped["spool-full"]), (0, 1));
    assert_eq!((ledger.stored + ledger.already, ledger.settled()), (3, 4));
    assert!(lane.wanted.is_empty());
}
