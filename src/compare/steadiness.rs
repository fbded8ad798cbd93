//! Whether a transport kept up with what was due, or fell behind further and further.

use super::statistics::median;

/// Growth that is no queue: retransmissions that happen to lie in the last quarter, in ms.
const GROWTH_MS: f64 = 100.0;

/// True where latencies, given in the order in which frames were due and each less what the ideal
/// link takes for the frame, have grown over the run and go on growing: the median of the last
/// quarter is over twice that of the first and 100 ms, and no less than that of the third. A queue
/// that drains again after a hiccup is late, but it keeps up.
///
/// A percentile of such latencies says how long the run was, and nothing about the transport. What
/// the ideal link takes is left out so that a link that itself slows down (a trace, an outage) is
/// not held against a transport.
pub fn grows(excess_ms: &[f64]) -> bool {
    let quarter = excess_ms.len() / 4;
    if quarter < 3 {
        return false;
    }
    let first = median(excess_ms[..quarter].to_vec());
    let last = median(excess_ms[excess_ms.len() - quarter..].to_vec());
    let third = median(excess_ms[2 * quarter..3 * quarter].to_vec());
    last > 2.0 * first.max(0.0) + GROWTH_MS && last >= third
}

/// True where what is left will not be done within `grace_s` seconds at the rate of the first
/// `elapsed_s`: there is no point in waiting for it.
pub fn is_hopeless(done: u64, all: u64, elapsed_s: f64, grace_s: f64) -> bool {
    let left = all.saturating_sub(done) as f64;
    // Twice the time is granted: the first frames may have waited for an outage to end.
    left * elapsed_s > 2.0 * done as f64 * grace_s
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_grows_is_seen() {
        let growing: Vec<f64> = (0..100).map(|frame| f64::from(frame) * 20.0).collect();
        assert!(grows(&growing));
    }

    #[test]
    fn steady_latencies_with_retransmissions_are_not_taken_for_one() {
        let steady: Vec<f64> =
            (0..100).map(|frame| if frame % 4 == 0 { 150.0 } else { 40.0 }).collect();
        assert!(!grows(&steady));
        // A hiccup in the middle, and a slow start.
        let mut hiccup = vec![30.0; 100];
        hiccup[50..60].fill(900.0);
        assert!(!grows(&hiccup));
        // A hiccup late in the run, and what it left drains.
        let draining: Vec<f64> = (0..100)
            .map(|frame| f64::from(if frame < 50 { 20 } else { 480 - 3 * frame }))
            .collect();
        assert!(!grows(&draining));
        let slow_start: Vec<f64> = (0..100).map(|frame| f64::from(300 - 2 * frame)).collect();
        assert!(!grows(&slow_start));
        assert!(!grows(&[1.0, 1000.0]));
    }

    #[test]
    fn hopeless_is_what_would_take_far_longer_than_is_left() {
        assert!(is_hopeless(10, 100, 2.5, 2.0));
        assert!(is_hopeless(0, 100, 2.5, 2.0));
        assert!(!is_hopeless(95, 100, 2.5, 2.0));
        assert!(!is_hopeless(100, 100, 2.5, 2.0));
    }
}
