//! How likely it is that more packets are lost than repair can make up for.

/// P\[Bin(packets, loss) > spared\]: the probability that more than `spared` of `packets` are lost
/// when each is lost with probability `loss`, independently. Takes O(spared) steps.
///
/// Computed from logarithms, because (1 - p)^n alone underflows for large frames.
pub fn more_lost_than(spared: usize, packets: usize, loss: f64) -> f64 {
    if spared >= packets || loss <= 0.0 {
        return 0.0;
    }
    if loss >= 1.0 {
        return 1.0;
    }
    let odds = (loss / (1.0 - loss)).ln();
    let mut log_term = packets as f64 * (-loss).ln_1p();
    let mut within = log_term.exp();
    for lost in 1..=spared {
        // Bin(n, k) = Bin(n, k - 1) * (n - k + 1) / k * p / (1 - p)
        log_term += ((packets - lost + 1) as f64 / lost as f64).ln() + odds;
        within += log_term.exp();
    }
    (1.0 - within).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_sums_by_hand() {
        // Two packets, one lost at most: 1 - p^2.
        assert!((more_lost_than(1, 2, 0.1) - 0.01).abs() < 1e-12);
        assert!((more_lost_than(0, 10, 0.05) - (1.0 - 0.95f64.powi(10))).abs() < 1e-12);
        assert_eq!(more_lost_than(3, 3, 0.5), 0.0);
        assert_eq!(more_lost_than(3, 9, 0.0), 0.0);
        assert_eq!(more_lost_than(3, 9, 1.0), 1.0);
    }

    #[test]
    fn needs_of_a_60_kb_frame() {
        // Repair packets for 1 % and 0.1 % failure of 43 packets, aligned with shards.
        let needed = |loss, target| {
            (0..43).find(|&repair| more_lost_than(repair, 43 + repair, loss) <= target).unwrap()
        };
        let table = [0.01, 0.02, 0.05, 0.10].map(|loss| (needed(loss, 0.01), needed(loss, 0.001)));
        assert_eq!(table, [(3, 4), (4, 5), (7, 8), (11, 13)]);
    }

    #[test]
    fn large_frames_do_not_underflow() {
        let chance = more_lost_than(3_000, 10_000, 0.3);
        assert!((0.4..0.6).contains(&chance), "{chance}");
        assert!(more_lost_than(3_300, 10_000, 0.3) < 1e-6);
    }
}
