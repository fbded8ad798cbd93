//! What panels show of frames, sessions and what senders tell.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;

use super::*;
use crate::frame::{
    Captured, Clock, DropRange, DropReason, Frame, FrameMeta, FrameName, MediaType, RunId,
    Sequence, UnixNanos,
};
use crate::identity::Permit;
use crate::store::{FrameError, Opener, Outcome, ReceivedFrame};
use crate::transport::{PathStats, PathWatch, Peer, Transport};

const SECOND: u64 = 1_000_000_000;

fn source(name: &str) -> SourceName {
    SourceName::parse(name).unwrap()
}

fn panel(board: &Board) -> Arc<Panel> {
    board.panel(Path::new(""), &source("a"))
}

/// A frame of a run that was read from a pipe at so many milliseconds.
fn frame(run: u8, sequence: u64, at_ms: u64) -> ReceivedFrame {
    let from = Opener { run: Some(RunId([run; 16])), ..Opener::default() };
    let at = UnixNanos(at_ms * 1_000_000);
    ReceivedFrame {
        frame: Frame {
            meta: FrameMeta {
                sequence: Sequence(sequence),
                name: FrameName::parse(&format!("{run}-{sequence}.jpg")).unwrap(),
                bytes: 3,
                hash: None,
                captured: Some(Captured { at, clock: Clock::Read, uncertainty: None }),
                due: None,
                modified: None,
                media: MediaType::parse("image/jpeg").unwrap(),
            },
            body: Bytes::from_static(b"abc"),
        },
        from: Arc::new(from),
        received: at,
        replace: false,
    }
}

fn store(panel: &Panel, frames: &[ReceivedFrame], at_ms: u64) {
    let outcome = &Outcome::Stored;
    let frames = frames.iter().map(|frame| StoredFrame { frame, outcome, repaired: false });
    panel.stored(frames, UnixNanos(at_ms * 1_000_000), Some(7));
}

fn seat(panel: &Arc<Panel>) -> Seat {
    let peer = Peer {
        address: ([127, 0, 0, 1], 1).into(),
        pin: None,
        transport: Transport::Quic,
        permit: Permit::unauthenticated(),
    };
    static SESSIONS: AtomicU64 = AtomicU64::new(1);
    let session = SESSIONS.fetch_add(1, Ordering::Relaxed);
    Seat::take(panel.clone(), &peer, &PathWatch::new(PathStats::default), session)
}

#[test]
fn nothing_is_written_before_somebody_may_look() {
    let board = Board::default();
    store(&panel(&board), &[frame(1, 0, 0)], 5);
    assert_eq!(panel(&board).look().counts.stored, 0);
    board.show();
    store(&panel(&board), &[frame(1, 1, 0)], 5);
    let seen = panel(&board).look();
    assert_eq!((seen.counts.stored, seen.counts.bytes, seen.counts.held), (1, 3, Some(7)));
    assert_eq!(board.panels().len(), 1);
}

#[test]
fn the_newest_frame_is_the_latest_made_and_not_the_last_stored() {
    let board = Board::default();
    board.show();
    let panel = panel(&board);
    let newest = |panel: &Panel| panel.look().newest.unwrap().name.to_string();
    store(&panel, &[frame(1, 5, 50), frame(1, 4, 40)], 60);
    assert_eq!(newest(&panel), "1-5.jpg");
    store(&panel, &[frame(1, 3, 30)], 61);
    assert_eq!(newest(&panel), "1-5.jpg", "a backlog that comes late");
    store(&panel, &[frame(2, 0, 70)], 80);
    assert_eq!(newest(&panel), "2-0.jpg", "another run counts from 0");
    store(&panel, &[frame(1, 6, 60)], 90);
    assert_eq!(newest(&panel), "2-0.jpg", "what the earlier run had left behind");
}

#[test]
fn latency_is_from_capture_to_stored_on_one_clock() {
    let board = Board::default();
    board.show();
    let panel = panel(&board);
    let now = UnixNanos::now().0 / 1_000_000;
    store(&panel, &[frame(1, 0, now), frame(1, 1, now + 10)], now + 40);
    let seen = panel.look();
    let latency = seen.latency.unwrap();
    assert_eq!((latency.count, latency.max.as_millis(), latency.p50.as_millis()), (2, 40, 30));
    assert_eq!(seen.spread, Spread::default(), "nobody has told how far the clocks are apart");
    assert_eq!(
        (seen.seconds.len(), seen.seconds[0].frames, seen.seconds[0].max_us),
        (1, 2, 40_000)
    );
    // This clock is an hour ahead: what was measured so far says nothing.
    let seat = seat(&panel);
    let hour = 3_600 * SECOND;
    seat.tell(Told { clock_ahead: Some(hour as i64), ..Told::default() });
    assert!(panel.look().latency.is_none());
    store(&panel, &[frame(1, 2, now)], now + hour / 1_000_000 + 20);
    let seen = panel.look();
    assert_eq!(seen.latency.unwrap().max.as_millis(), 20);
    assert_eq!((seen.spread.counts.iter().sum::<u64>(), seen.spread.counts[2]), (1, 1));
}

#[test]
fn latencies_count_once_the_clocks_are_known_or_nobody_tells() {
    let board = Board::default();
    board.show();
    let [told, silent] = ["told", "silent"].map(|name| board.panel(Path::new(""), &source(name)));
    let now = UnixNanos::now().0 / 1_000_000;
    let count = |panel: &Panel| panel.look().spread.counts.iter().sum::<u64>();
    for panel in [&told, &silent] {
        store(panel, &[frame(1, 0, now)], now + 40);
        assert_eq!(count(panel), 0);
    }
    seat(&told).tell(Told { clock_ahead: Some(0), ..Told::default() });
    assert_eq!(count(&told), 1);
    store(&silent, &[frame(1, 1, now + 6_000)], now + 6_040);
    assert_eq!(count(&silent), 2);
}

#[test]
fn a_picture_of_long_ago_has_no_latency() {
    let board = Board::default();
    board.show();
    let panel = panel(&board);
    let mut old = frame(1, 0, 0);
    old.frame.meta.captured =
        Some(Captured { at: UnixNanos(1), clock: Clock::Exif, uncertainty: None });
    store(&panel, &[old], 1_000_000);
    let seen = panel.look();
    assert_eq!((seen.counts.stored, seen.latency), (1, None));
}

#[test]
fn what_senders_tell_is_held_against_what_they_told_before() {
    let board = Board::default();
    board.show();
    let panel = panel(&board);
    let seat = seat(&panel);
    let told = |sent, lost| Told {
        packets_sent: sent,
        packets_lost: lost,
        rtt: Duration::from_millis(40),
        captured: 9,
        settled: 4,
        ..Told::default()
    };
    seat.tell(told(100, 50));
    assert_eq!(panel.look().lost, Share { part: 50, of: 100 });
    seat.tell(told(200, 51));
    let seen = panel.look();
    assert_eq!(seen.lost, Share { part: 1, of: 100 }, "of late");
    assert_eq!(seen.guests[0].rtt, Some(Duration::from_millis(40)));
    assert_eq!(seen.guests[0].told.unwrap().0.captured, 9);
    drop(seat);
    assert!(panel.look().guests.is_empty() && panel.is_idle());
}

#[test]
fn whatever_a_sender_says_is_shown_and_no_more() {
    let board = Board::default();
    board.show();
    let panel = panel(&board);
    let seats = [seat(&panel), seat(&panel)];
    for ahead in [i64::MIN, i64::MAX, 0] {
        for seat in &seats {
            let all = u64::MAX;
            seat.tell(Told {
                rtt: Duration::MAX,
                packets_sent: all,
                packets_lost: all,
                bytes_sent: all,
                repair_bytes: all,
                clock_ahead: Some(ahead),
                captured: all,
                settled: 0,
                lag: Some(Duration::MAX),
            });
        }
        let mut frames: Vec<_> = (0..2_000).map(|sequence| frame(1, sequence, 0)).collect();
        frames[0].frame.meta.due = Some(UnixNanos(u64::MAX));
        store(&panel, &frames, u64::MAX / 1_000_000);
        assert_eq!(panel.look().guests.len(), 2);
    }
    let range =
        DropRange { first: Sequence(0), count: u64::MAX, reason: DropReason::Late, captured: None };
    panel.dropped(RunId([1; 16]), &[range, DropRange { first: Sequence(1), ..range }]);
    panel.look();
}

#[test]
fn declared_drops_count_once() {
    let board = Board::default();
    let panel = panel(&board);
    let range =
        DropRange { first: Sequence(3), count: 4, reason: DropReason::Late, captured: None };
    panel.dropped(RunId([1; 16]), &[range]);
    panel.dropped(RunId([1; 16]), &[range]);
    assert_eq!(panel.look().counts.dropped, 4);
    panel.dropped(RunId([2; 16]), &[range]);
    assert_eq!(panel.look().counts.dropped, 8);
    // Told again after a lost session, and grown.
    panel.dropped(RunId([1; 16]), &[DropRange { count: 11, ..range }]);
    assert_eq!(panel.look().counts.dropped, 15);
}

#[test]
fn a_disk_that_takes_nothing_is_known_until_it_does_again() {
    let board = Board::default();
    board.show();
    let panel = panel(&board);
    let put = |outcome: &Outcome, at_ms: u64| {
        let frame = frame(1, at_ms, at_ms);
        let stored = StoredFrame { frame: &frame, outcome, repaired: false };
        panel.stored([stored].into_iter(), UnixNanos(at_ms * 1_000_000), None);
    };
    let full = FrameError::NoSpace { frame: "a/0.jpg".to_owned(), cause: Errno::NOSPC };
    put(&Outcome::Failed(full), 5);
    let at = UnixNanos(5_000_000);
    assert_eq!(panel.trouble(), Some(Trouble { cause: Errno::NOSPC, bytes: 3, at }));
    // What the sender did wrong says nothing of the disk.
    let wrong = FrameError::NotAFile { frame: "a/1.jpg".to_owned() };
    put(&Outcome::Failed(wrong), 6);
    assert!(panel.trouble().is_some());
    put(&Outcome::Stored, 7);
    assert_eq!(panel.trouble(), None);
}

#[test]
fn frames_that_are_stored_while_others_count_them_stay_counted() {
    let board = Board::default();
    board.show();
    let panel = panel(&board);
    assert!(panel.recount(|| Some(5)));
    assert_eq!(panel.look().counts.held, Some(5));
    let meanwhile = || {
        store(&panel, &[frame(1, 0, 0)], 5);
        Some(4)
    };
    assert!(!panel.recount(meanwhile));
    assert_eq!(panel.look().counts.held, Some(7));
    assert!(!panel.recount(|| None));
}

#[test]
fn what_was_counted_of_a_source_stays_when_its_old_days_go() {
    let board = Board::default();
    board.show();
    let days = MAX_PANELS + 88;
    for day in 0..days {
        let place = format!("store/cam/{day:04}-01-01");
        let panel = board.panel(Path::new(&place), &source("a"));
        store(&panel, &[frame(1, day as u64, 0)], 1_000 + day as u64);
    }
    let retired = board.retired();
    let [gone] = &retired[..] else { panic!("{retired:?}") };
    assert_eq!(gone.counts.stored, 88);
    let shown: u64 = board.panels().iter().map(|panel| panel.look().counts.stored).sum();
    assert_eq!(shown + gone.counts.stored, days as u64);
}

#[test]
fn panels_are_bounded_and_those_in_use_stay() {
    let board = Board::default();
    board.show();
    let held = board.panel(Path::new(""), &source("held"));
    let seat = seat(&held);
    for number in 0..2 * MAX_PANELS {
        board.panel(Path::new("day"), &source(&format!("s{number}")));
    }
    let panels = board.panels();
    assert_eq!(panels.len(), MAX_PANELS);
    assert!(panels.iter().any(|panel| panel.source == source("held")));
    drop(seat);
}
