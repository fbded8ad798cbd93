use super::*;
use crate::congestion::Congestion;
use crate::sender::{FailedFrame, SourceReport};

#[test]
fn the_offset_is_that_of_the_quickest_probe_and_within_its_error() {
    // The receiver is 1,000 ns ahead; ways of 10 and 30 ns, then of 500 and 10.
    let quick = [UnixNanos(0), UnixNanos(1_010), UnixNanos(1_015), UnixNanos(45)];
    let slow = [UnixNanos(100), UnixNanos(1_600), UnixNanos(1_600), UnixNanos(610)];
    let clock = ClockOffset::from_probes(&[slow, quick]).unwrap();
    assert!((clock.rtt_ms - 40e-6).abs() < 1e-12);
    assert!((clock.offset_ms - 1_000e-6).abs() <= clock.error_ms + 1e-12, "{clock:?}");
    assert_eq!(ClockOffset::from_probes(&[]), None);
}

/// Twelve frames of each camera, ten a second: 60 kB and 20 kB.
fn plan() -> RemotePlan<'static> {
    RemotePlan {
        variants: Vec::new(),
        workload: Workload::generated(Pace::PerSecond(10.0), 12, 1).unwrap(),
        repeat: 1,
        prefix: "p".to_owned(),
        receiver: "store:4433".to_owned(),
        sender: &|_| panic!("nothing is sent here"),
    }
}

/// Receipts of these frames of the visible source, each 50 ms after it was due.
fn receipts(start: Instant, sequences: impl Iterator<Item = u64>) -> Receipts {
    let heard = sequences.map(|sequence| {
        let due = start + Duration::from_millis(100 * sequence);
        let at = due + Duration::from_millis(50);
        let (sequence, bytes) = (Sequence(sequence), 60_000);
        Receipt { source: 0, sequence, bytes, due, at, to_receipt_ms: 50.0, to_stored_ms: 25.0 }
    });
    Receipts(Mutex::new(Heard { heard: heard.collect(), probes: Vec::new() }))
}

fn source(frames: u64, sent: u64, stored_before: u64, failed: Vec<FailedFrame>) -> SourceReport {
    SourceReport {
        frames,
        stored: sent + stored_before,
        stored_before,
        sent,
        missing: frames - sent - stored_before,
        failed,
        ..SourceReport::default()
    }
}

fn report(sources: Vec<SourceReport>) -> SendReport {
    SendReport { sources, seconds: 1.0, sessions: 1, ..SendReport::default() }
}

fn adds_up(run: &RemoteRun) {
    for source in &run.sources {
        assert_eq!(source.confirmed + source.found + source.missing, source.offered, "{run:?}");
    }
    assert_eq!(run.sources.iter().map(|source| source.missing).sum::<u64>(), run.missing);
}

#[test]
fn goodput_of_a_run_that_was_stopped_counts_until_then() {
    let (plan, start) = (plan(), Instant::now());
    // The first two frames never came, and nothing after the sixth: stopped at 4 s.
    let stopped = start + Duration::from_secs(4);
    let receipts = receipts(start, 2..6);
    let run = plan.measure(RunVerdict::Diverges, Some(stopped), None, &receipts);
    adds_up(&run);
    assert!(run.stopped && (run.seconds - 4.0).abs() < 1e-6, "{run:?}");
    assert!((run.goodput_mbit - 4.0 * 60_000.0 * 8e-6 / 4.0).abs() < 1e-6, "{run:?}");
    assert_eq!(run.missing, 20);
    assert_eq!(run.sources[0].missing, 8);
    let named: Vec<&str> =
        run.sources[0].not_stored.iter().map(|frame| frame.split(' ').next().unwrap()).collect();
    assert_eq!(named, ["0.jpg", "1.jpg", "6.jpg"]);
}

#[test]
fn goodput_of_a_live_run_is_no_more_than_was_offered() {
    let (plan, start) = (plan(), Instant::now());
    let receipts = receipts(start, 1..12);
    let refused = FailedFrame {
        sequence: 0,
        name: "0.jpg".to_owned(),
        dropped: Some("refused"),
        reason: "no space".to_owned(),
    };
    // The infrared frames were there when the connection was made again.
    let report = report(vec![source(12, 11, 0, vec![refused]), source(12, 0, 12, Vec::new())]);
    let run = plan.measure(RunVerdict::Steady, None, Some(&report), &receipts);
    adds_up(&run);
    // Twelve frames at ten a second, though the last receipt came after 1.15 s.
    assert!(!run.stopped && (run.seconds - 1.2).abs() < 1e-6, "{run:?}");
    assert_eq!((run.missing, run.sources[1].found), (1, 12));
    let variant = Variant::quic(Congestion::default());
    let row = RemoteRow { variant, steady: 1, goodput_mbit: None, runs: vec![run] };
    let comparison = RemoteComparison {
        version: String::new(),
        receiver: plan.receiver.clone(),
        offered: offered(&plan.workload),
        repeat: 1,
        prefix: plan.prefix.clone(),
        rows: vec![row],
    };
    assert_eq!(comparison.missing(), 1);
    let shortages = comparison.shortages();
    assert_eq!(
        shortages,
        ["quic lossy, run 1: 1 of 24 frames are not known to be stored: visible/0.jpg (no space)"]
    );
}

#[test]
fn a_run_without_a_receipt_has_no_goodput() {
    let plan = plan();
    let verdict = RunVerdict::Failed("refused".to_owned());
    let run = plan.measure(verdict, Some(Instant::now()), None, &Receipts::default());
    adds_up(&run);
    assert_eq!((run.missing, run.goodput_mbit, run.seconds), (24, 0.0, 0.0));
}
