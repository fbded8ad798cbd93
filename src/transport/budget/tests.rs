//! What is held, by whom, and who gets what is given back.

use std::time::Duration;

use tokio::time::timeout;

use super::*;

/// A moment in which whatever can be had is had. The clock is turned by hand.
const MOMENT: Duration = Duration::from_millis(20);

fn budget(kib: u64) -> MemoryBudget {
    MemoryBudget::new(ByteSize(kib * GRAIN))
}

#[tokio::test]
async fn claims_are_given_back() {
    let budget = budget(10);
    let account = budget.open("a");
    let mut claim = account.claim();
    claim.grow_to(3_000).await;
    claim.grow_to(5_000).await;
    assert_eq!(budget.in_use(), 5 * GRAIN);
    drop(claim);
    assert_eq!(budget.in_use(), 0);
}

#[tokio::test]
async fn long_messages_hold_what_they_take() {
    let budget = budget(1_000);
    let offer = |entries| {
        let entry = |sequence| OfferEntry {
            sequence: crate::frame::Sequence(sequence),
            name: crate::frame::FrameName::parse("x").unwrap(),
            bytes: 1,
            modified: None,
            hash: None,
        };
        let source = crate::wire::SourceId(0);
        Message::Offer(crate::wire::Offer { source, entries: (0..entries).map(entry).collect() })
    };
    let mut claim = budget.open("a").claim();
    for message in [Message::ClockProbe(1), offer(10)] {
        claim.grow_to_message(message.encode().len() as u64).await;
        claim.hold_message(&message).await;
        assert_eq!(budget.in_use(), 0);
    }
    // Short on the wire, long in memory.
    let message = offer(500);
    assert!(message.encode().len() as u64 <= SHORT_MESSAGE);
    claim.hold_message(&message).await;
    assert!(budget.in_use() >= (500 * size_of::<OfferEntry>()) as u64);
    drop(claim);
    assert_eq!(budget.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn half_arrived_frames_cannot_block_one_another() {
    let budget = budget(10);
    let account = budget.open("a");
    let (mut one, mut two, mut three) = (account.claim(), account.claim(), account.claim());
    one.grow_to(5 * GRAIN).await;
    two.grow_to(5 * GRAIN).await;
    // The budget is gone; one frame may still grow without end, and only one.
    one.grow_to(100 * GRAIN).await;
    let second = timeout(MOMENT, two.grow_to(6 * GRAIN));
    assert!(second.await.is_err(), "two frames went over the budget");
    drop(one);
    three.grow_to(GRAIN).await;
    two.grow_to(9 * GRAIN).await;
    drop((two, three));
    assert_eq!(budget.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_goes_to_who_has_least() {
    let budget = budget(100);
    let (rich, poor) = (budget.open("rich"), budget.open("poor"));
    let (mut kept, mut freed, mut over) = (rich.claim(), rich.claim(), rich.claim());
    kept.grow_to(60 * GRAIN).await;
    freed.grow_to(40 * GRAIN).await;
    over.grow_to(50 * GRAIN).await;
    let (mut more, mut first) = (rich.claim(), poor.claim());
    // The rich one asks earlier, and again; the poor one is served.
    let asked = tokio::spawn(async move { more.grow_to(30 * GRAIN).await });
    tokio::task::yield_now().await;
    let served = tokio::spawn(async move {
        first.grow_to(30 * GRAIN).await;
        first
    });
    tokio::task::yield_now().await;
    drop(freed);
    let first = timeout(MOMENT, served).await.expect("the poor one was served").unwrap();
    assert!(!asked.is_finished());
    drop(first);
    timeout(MOMENT, asked).await.expect("then the other").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_little_is_everybodys_own() {
    let budget = budget(6_400);
    let hoard = budget.open("hoard");
    let (mut all, mut over) = (hoard.claim(), hoard.claim());
    all.grow_to(6_400 * GRAIN).await;
    over.grow_to(6_400 * GRAIN).await;
    let poor = budget.open("poor");
    let mut small = poor.claim();
    timeout(MOMENT, small.grow_to(100 * GRAIN)).await.expect("the reserve");
    let mut second = poor.claim();
    assert!(timeout(MOMENT, second.grow_to(1)).await.is_err(), "more than the reserve");
}

#[tokio::test(start_paused = true)]
async fn who_hoards_gives_way_and_who_goes_on_may_finish() {
    let budget = budget(6_400);
    let (hoard, busy, poor) = (budget.open("hoard"), budget.open("busy"), budget.open("poor"));
    let (mut held, mut growing) = (hoard.claim(), busy.claim());
    held.grow_to(3_200 * GRAIN).await;
    growing.grow_to(3_200 * GRAIN).await;
    let mut over = busy.claim();
    over.grow_to(2_000 * GRAIN).await;
    let mut wanted = poor.claim();
    let waiting = tokio::spawn(async move { wanted.grow_to(1_000 * GRAIN).await });
    let drip = async {
        loop {
            hoard.came(1);
            busy.came(100_000);
            tokio::time::sleep(MOMENT).await;
        }
    };
    tokio::select! {
        why = hoard.told_to_go() => assert!(why.contains("above its share"), "{why}"),
        why = busy.told_to_go() => panic!("the wrong one: {why}"),
        () = drip => {}
    }
    drop(held);
    timeout(MOMENT, waiting).await.expect("it was served").unwrap();
    assert!(!busy.is_told_to_go() && !poor.is_told_to_go());
}

#[tokio::test(start_paused = true)]
async fn nobody_gives_way_for_what_the_store_holds() {
    let budget = budget(6_400);
    let (fast, poor) = (budget.open("fast"), budget.open("poor"));
    let mut whole: Vec<Claim> = Vec::new();
    for _ in 0..6 {
        let mut claim = fast.claim();
        claim.grow_to(1_000 * GRAIN).await;
        claim.arrived();
        whole.push(claim);
    }
    let mut over = fast.claim();
    over.grow_to(1_000 * GRAIN).await;
    over.arrived();
    let mut wanted = poor.claim();
    let waits = timeout(Duration::from_secs(60), wanted.grow_to(1_000 * GRAIN));
    assert!(waits.await.is_err());
    assert!(!fast.is_told_to_go() && !poor.is_told_to_go());
    assert!(poor.waited() >= Duration::from_secs(60), "{:?}", poor.waited());
    assert_eq!(fast.waited(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn connections_of_one_sender_wait_for_the_store_together() {
    let budget = budget(6_400);
    let (one, two) = (budget.open("a"), budget.open("a"));
    let (mut whole, mut half, mut over) = (two.claim(), one.claim(), one.claim());
    whole.grow_to(1_000 * GRAIN).await;
    whole.arrived();
    half.grow_to(5_400 * GRAIN).await;
    // Beyond the pool there is one leave, which is taken.
    over.grow_to(100 * GRAIN).await;
    assert!(one.goes_over());
    over.arrived();
    assert!(!one.goes_over(), "what is whole needs no more to come");
    let mut wanted = two.claim();
    let waits = timeout(Duration::from_secs(60), wanted.grow_to(1_000 * GRAIN));
    assert!(waits.await.is_err());
    assert!(!one.is_told_to_go(), "its frames would be whole if the store went on");
    // Without any that waits for the store it is the other connection that holds it up.
    drop((whole, over));
    let mut over = one.claim();
    over.grow_to(2_000 * GRAIN).await;
    tokio::select! {
        () = wanted.grow_to(2_000 * GRAIN) => panic!("there is nothing to be had"),
        why = one.told_to_go() => assert!(why.contains("memory is short"), "{why}"),
        () = tokio::time::sleep(Duration::from_secs(30)) => panic!("nobody gives way"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_given_up_leaves_nothing_behind() {
    let budget = budget(10);
    let account = budget.open("a");
    let (mut all, mut over) = (account.claim(), account.claim());
    all.grow_to(10 * GRAIN).await;
    over.grow_to(50 * GRAIN).await;
    let (mut claim, mut other) = (account.claim(), account.claim());
    let mut asking = Box::pin(claim.grow_to(5 * GRAIN));
    assert!(timeout(MOMENT, &mut asking).await.is_err());
    // It is granted the exemption, and does not take it.
    drop(over);
    drop(asking);
    timeout(MOMENT, other.grow_to(50 * GRAIN)).await.expect("the exemption");
    assert!(timeout(MOMENT, claim.grow_to(5 * GRAIN)).await.is_err(), "two are exempt");
    drop((all, other));
    claim.grow_to(10 * GRAIN).await;
    drop(claim);
    assert_eq!(budget.in_use(), 0);
    assert!(account.waited() >= 2 * MOMENT);
}

#[tokio::test]
async fn credit_is_within_the_share() {
    let budget = budget(1_000);
    let (one, two) = (budget.open("one"), budget.open("two"));
    assert_eq!(one.extend_credit(10 * GRAIN), 10 * GRAIN);
    assert_eq!(one.extend_credit(u64::MAX), 250 * GRAIN);
    assert_eq!(two.extend_credit(100 * GRAIN), 100 * GRAIN);
    assert_eq!(two.extend_credit(50 * GRAIN), 100 * GRAIN, "what is given stays given");
    one.take_back_credit(200 * GRAIN);
    assert_eq!(budget.in_use(), 150 * GRAIN);
    drop((one, two));
    assert_eq!(budget.in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_goes_over_the_budget_and_does_not_go_on_ends_for_those_that_wait() {
    let budget = budget(6_400);
    let (still, other) = (budget.open("still"), budget.open("other"));
    let (mut all, mut over) = (still.claim(), still.claim());
    all.grow_to(3_200 * GRAIN).await;
    let mut half = other.claim();
    half.grow_to(3_200 * GRAIN).await;
    over.grow_to(3_200 * GRAIN).await;
    // It has its share, and is not poor.
    let waiting = half.grow_to(4_000 * GRAIN);
    tokio::select! {
        () = waiting => panic!("there is nothing to be had"),
        why = still.told_to_go() => assert!(why.contains("slow to become whole"), "{why}"),
        () = tokio::time::sleep(Duration::from_secs(30)) => panic!("nobody gives way"),
    }
}
