use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use super::*;
use crate::door::desk::Taken;
use crate::frame::{Frame, FrameMeta, FrameName, MediaType, UnixNanos};

fn frame(sequence: u64, name: &str, body: &'static [u8]) -> ReceivedFrame {
    let name = FrameName::parse(name).unwrap();
    let meta = FrameMeta {
        sequence: Sequence(sequence),
        media: MediaType::parse("image/jpeg").unwrap(),
        name,
        bytes: body.len() as u64,
        hash: Some(blake3::hash(body)),
        captured: None,
        due: None,
        modified: None,
    };
    ReceivedFrame {
        frame: Frame { meta, body: bytes::Bytes::from_static(body) },
        from: Arc::new(Opener::with_pin(Some("sha256:00"))),
        received: UnixNanos::now(),
        replace: false,
    }
}

fn source(name: &str) -> SourceName {
    SourceName::parse(name).unwrap()
}

/// A store that hands out up to `queue` bytes, and nothing but that; of the source `new` the latest frame.
fn handing(queue: u64) -> (Handing, Arc<Desk>) {
    let desk = Desk::new(queue);
    let wants = Arc::new(Wants::new(HashMap::from([(source("new"), Want::Latest)])));
    (Handing { below: None, desk: desk.clone(), wants }, desk)
}

/// Takes a frame, waiting for it.
fn take(desk: &Desk) -> Received {
    for _ in 0..10_000 {
        match desk.take() {
            Taken::Frame(frame) => return *frame,
            Taken::NothingYet => thread::sleep(Duration::from_millis(1)),
            Taken::End => panic!("nothing will come"),
        }
    }
    panic!("no frame has come")
}

fn failed(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed(error) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_frame_is_confirmed_when_the_program_has_taken_it() {
    let (store, desk) = handing(1 << 20);
    let mut open = store.open(&source("a"), &Opener::default()).unwrap();
    let storing = thread::spawn(move || {
        let outcomes = open.store(&[frame(4, "4.jpg", b"four"), frame(5, "5.jpg", b"five")]);
        (open, outcomes)
    });
    assert_eq!(&take(&desk).bytes[..], b"four");
    assert!(!storing.is_finished(), "a frame was confirmed that nobody has taken");
    assert_eq!(take(&desk).sequence, Sequence(5));
    let (mut open, outcomes) = storing.join().unwrap();
    assert_eq!(outcomes, [Outcome::Stored, Outcome::Stored]);
    assert_eq!(open.last_sequence(), Some(Sequence(5)));
    // Its receipt was lost, so it is offered again and sent again.
    let again = frame(4, "4.jpg", b"four");
    let meta = &again.frame.meta;
    let ask = |open: &mut Box<dyn OpenSource>, hash| {
        let offered =
            Offered { sequence: meta.sequence, name: &meta.name, bytes: 4, modified: None, hash };
        open.look_up(&Opener::default(), &[offered], &|| true)[0]
    };
    assert_eq!(ask(&mut open, None), Held::NeedsHash);
    assert_eq!(ask(&mut open, meta.hash), Held::Same);
    assert_eq!(ask(&mut open, Some(blake3::hash(b"else"))), Held::Nothing);
    assert_eq!(open.store(&[again]), [Outcome::AlreadyStored]);
    assert!(matches!(desk.take(), Taken::NothingYet), "it was handed out twice");
}

#[test]
fn what_is_not_what_was_announced_is_not_handed_out() {
    let (store, desk) = handing(1 << 20);
    let mut open = store.open(&source("a"), &Opener::default()).unwrap();
    let mut altered = frame(0, "0.jpg", b"zero");
    altered.frame.body = bytes::Bytes::from_static(b"ZERO");
    let mut short = frame(1, "1.jpg", b"one");
    short.frame.body = bytes::Bytes::from_static(b"on");
    let outcomes = open.store(&[altered, short]);
    assert!(failed(&outcomes[0]).contains("a/0.jpg arrived altered"), "{outcomes:?}");
    assert!(failed(&outcomes[1]).contains("a/1.jpg was announced with 3"), "{outcomes:?}");
    assert!(matches!(desk.take(), Taken::NothingYet));
}

#[test]
fn what_the_program_does_not_take_is_not_confirmed() {
    // Room for two of the three.
    let (store, desk) = handing(2_100);
    let mut open = store.open(&source("a"), &Opener::default()).unwrap();
    let frames = [
        frame(0, "0.jpg", b"zero"),
        frame(0, "0.jpg", b"zero"),
        frame(1, "1.jpg", b"one"),
        frame(1, "1.jpg", b"one"),
        frame(2, "2.jpg", b"two"),
        frame(3, "3.jpg", b"three"),
    ];
    let storing = thread::spawn(move || open.store(&frames));
    assert_eq!(take(&desk).sequence, Sequence(0));
    desk.close();
    let outcomes = storing.join().unwrap();
    assert_eq!(outcomes[..2], [Outcome::Stored, Outcome::AlreadyStored]);
    for outcome in &outcomes[2..] {
        assert!(failed(outcome).contains("takes no more"), "{outcomes:?}");
    }
    assert!(matches!(desk.take(), Taken::End));
}

#[test]
fn of_a_latest_source_the_newest_lies_there() {
    let (store, desk) = handing(1 << 20);
    let mut open = store.open(&source("new"), &Opener::default()).unwrap();
    let outcomes = open.store(&[frame(0, "0", b"0"), frame(1, "1", b"1"), frame(2, "2", b"2")]);
    assert_eq!(outcomes, [Outcome::Stored, Outcome::Stored, Outcome::Stored]);
    assert_eq!(take(&desk).sequence, Sequence(2));
    assert!(matches!(desk.take(), Taken::NothingYet));
    assert_eq!(open.store(&[frame(3, "3", b"3")]), [Outcome::Stored]);
    assert_eq!(take(&desk).sequence, Sequence(3));
}

#[test]
fn of_a_latest_source_none_comes_that_a_later_one_has_overtaken() {
    let (store, desk) = handing(1 << 20);
    let mut open = store.open(&source("new"), &Opener::default()).unwrap();
    let from = Arc::new(Opener::with_pin(Some("sha256:00")));
    let of_session = |frame| ReceivedFrame { from: from.clone(), ..frame };
    let frames = [frame(5, "5", b"5"), frame(4, "4", b"4")].map(of_session);
    assert_eq!(open.store(&frames), [Outcome::Stored, Outcome::Stored]);
    assert_eq!(take(&desk).sequence, Sequence(5));
    assert_eq!(open.store(&[of_session(frame(3, "3", b"3"))]), [Outcome::Stored]);
    assert!(matches!(desk.take(), Taken::NothingYet), "it went backwards");
    // The next session counts as it likes.
    assert_eq!(open.store(&[frame(0, "0", b"0")]), [Outcome::Stored]);
    assert_eq!(take(&desk).sequence, Sequence(0));
}

#[test]
fn the_program_may_change_its_mind() {
    let (store, desk) = handing(1 << 20);
    let mut open = store.open(&source("a"), &Opener::default()).unwrap();
    store.wants.set(None, Want::Latest);
    assert_eq!(open.store(&[frame(0, "0", b"0"), frame(1, "1", b"1")]).len(), 2);
    assert_eq!(take(&desk).sequence, Sequence(1));
    store.wants.set(Some(source("a")), Want::Every);
    assert!(!desk.has_news());
    let storing = thread::spawn(move || open.store(&[frame(2, "2", b"2"), frame(3, "3", b"3")]));
    assert_eq!(take(&desk).sequence, Sequence(2));
    assert_eq!(take(&desk).sequence, Sequence(3));
    assert_eq!(storing.join().unwrap(), [Outcome::Stored, Outcome::Stored]);
}

fn numbered(count: u64) -> Vec<ReceivedFrame> {
    (0..count).map(|n| frame(n, &format!("{n}.jpg"), b"frame")).collect()
}

/// What lies at the desk already, and what waits for room there, is not in the way of the newest.
#[test]
fn of_what_lies_there_the_newest_is_left_when_the_program_changes_its_mind() {
    for (queue, lying) in [(1 << 20, 50), (10 << 10, 9)] {
        let (store, desk) = handing(queue);
        let mut open = store.open(&source("a"), &Opener::default()).unwrap();
        let storing = thread::spawn(move || (open.store(&numbered(50)), open));
        while desk.lying() < lying {
            thread::yield_now();
        }
        store.wants.set(None, Want::Latest);
        desk.keep_newest(None);
        let (outcomes, mut open) = storing.join().unwrap();
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Stored), "{outcomes:?}");
        assert_eq!(desk.lying(), 1);
        assert_eq!(open.store(&[frame(50, "50.jpg", b"frame")]), [Outcome::Stored]);
        assert_eq!(take(&desk).sequence, Sequence(50));
        assert!(matches!(desk.take(), Taken::NothingYet));
    }
}

#[test]
fn the_newest_of_one_source_alone_is_left_where_one_is_named() {
    let (store, desk) = handing(1 << 20);
    let storing = ["a", "b"].map(|name| {
        let mut open = store.open(&source(name), &Opener::default()).unwrap();
        thread::spawn(move || open.store(&numbered(5)).len())
    });
    while desk.lying() < 10 {
        thread::yield_now();
    }
    store.wants.set(Some(source("a")), Want::Latest);
    desk.keep_newest(Some(&source("a")));
    let mut taken: Vec<_> =
        (0..6).map(|_| take(&desk)).map(|frame| (frame.source, frame.sequence.0)).collect();
    taken.sort();
    let b = (0..5).map(|n| (source("b"), n));
    assert_eq!(taken, [(source("a"), 4)].into_iter().chain(b).collect::<Vec<_>>());
    assert_eq!(storing.map(|storing| storing.join().unwrap()), [5, 5]);
}

/// It takes the place that it has, and none that the others wait for.
#[test]
fn the_newest_frame_waits_for_no_room_behind_another_source() {
    let (store, desk) = handing(2_100);
    let mut new = store.open(&source("new"), &Opener::default()).unwrap();
    assert_eq!(new.store(&[frame(0, "0.jpg", b"0")]), [Outcome::Stored]);
    let mut every = store.open(&source("every"), &Opener::default()).unwrap();
    let flooding = thread::spawn(move || every.store(&numbered(64)).len());
    while desk.waiting() < 1 {
        thread::yield_now();
    }
    // A little longer than the one before, as pictures are.
    for n in 1..4 {
        assert_eq!(new.store(&[frame(n, &format!("{n}.jpg"), &[7; 400])]), [Outcome::Stored]);
    }
    let newest = [take(&desk), take(&desk)].into_iter().find(|frame| frame.source == source("new"));
    assert_eq!(newest.unwrap().sequence, Sequence(3));
    desk.close();
    assert_eq!(flooding.join().unwrap(), 64);
}

/// A source that always has more does not keep another's single frame waiting.
#[test]
fn sources_take_turns_for_room_and_for_the_program() {
    let (store, desk) = handing(2_100);
    let flood: Vec<_> = (0..64).map(|n| frame(n, &format!("{n}.jpg"), b"flood")).collect();
    let (mut a, mut b) = (
        store.open(&source("a"), &Opener::default()).unwrap(),
        store.open(&source("b"), &Opener::default()).unwrap(),
    );
    let flooding = thread::spawn(move || a.store(&flood).len());
    assert_eq!(take(&desk).source, source("a"));
    let single = thread::spawn(move || b.store(&[frame(0, "0.jpg", b"one")]));
    while desk.waiting() < 2 {
        thread::yield_now();
    }
    // Room is given in the order of asking, and two frames lie there already.
    let before = (0..64).take_while(|_| take(&desk).source == source("a")).count();
    assert!(before <= 4, "the single frame came after {before} others");
    assert_eq!(single.join().unwrap(), [Outcome::Stored]);
    desk.close();
    assert_eq!(flooding.join().unwrap(), 64);
}

#[test]
fn a_frame_longer_than_the_queue_goes_alone() {
    let (store, desk) = handing(10);
    let mut open = store.open(&source("a"), &Opener::default()).unwrap();
    let storing =
        thread::spawn(move || open.store(&[frame(0, "0", b"a"), frame(1, "1", &[7; 5_000])]));
    assert_eq!(take(&desk).bytes.len(), 1);
    assert_eq!(take(&desk).bytes.len(), 5_000);
    assert_eq!(storing.join().unwrap(), [Outcome::Stored, Outcome::Stored]);
}

#[test]
fn where_nothing_is_stored_two_senders_have_two_sources() {
    let (store, _) = handing(1 << 20);
    let place = |pin: Option<&str>, shared| {
        let mut opener = Opener::with_pin(pin);
        opener.shared = shared;
        store.place(&opener)
    };
    assert_ne!(place(Some("a"), false), place(Some("b"), false));
    assert_eq!(place(Some("a"), true), place(Some("b"), true));
    assert_eq!(place(None, false), place(None, false));
}
