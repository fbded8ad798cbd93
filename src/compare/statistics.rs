//! Percentiles, medians and spread.

use serde::{Deserialize, Serialize};

/// The quantiles that are told of latencies, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half are no later.
    pub p50: f64,
    /// 95 % are no later.
    pub p95: f64,
    /// 99 % are no later. With fewer than 100 values it is the latest.
    pub p99: f64,
    /// The latest.
    pub max: f64,
}

/// The median of several repetitions, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Spread {
    /// In the middle; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

/// The smallest value that at least the share `q` of all values does not exceed (nearest rank).
/// `sorted` is in ascending order; `None` where it is empty.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let rank = (q * sorted.len() as f64 - 1e-9).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// The quantiles of `values`, `None` where there are none.
pub fn quantiles(mut values: Vec<f64>) -> Option<Quantiles> {
    values.sort_by(f64::total_cmp);
    Some(Quantiles {
        p50: quantile(&values, 0.5)?,
        p95: quantile(&values, 0.95)?,
        p99: quantile(&values, 0.99)?,
        max: *values.last()?,
    })
}

/// The median; 0 of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

/// Median and spread; `None` of nothing.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let values: Vec<f64> = values.into_iter().collect();
    let min = values.iter().copied().min_by(f64::total_cmp)?;
    let max = values.iter().copied().max_by(f64::total_cmp)?;
    Some(Spread { median: median(values), min, max })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_of_a_hundred() {
        let quantiles = quantiles((1..=100).rev().map(f64::from).collect()).unwrap();
        assert_eq!(quantiles, Quantiles { p50: 50.0, p95: 95.0, p99: 99.0, max: 100.0 });
        assert_eq!(quantile(&[7.0], 0.0), Some(7.0));
        assert_eq!(super::quantiles(Vec::new()), None);
    }

    #[test]
    fn medians_and_spread() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert_eq!(spread([3.0, 1.0, 9.0]), Some(Spread { median: 3.0, min: 1.0, max: 9.0 }));
        assert_eq!(spread([]), None);
    }

    proptest! {
        #[test]
        fn a_quantile_is_a_value_and_enough_are_no_larger(
            mut values in proptest::collection::vec(0.0_f64..1e6, 1..300), q in 0.0_f64..1.0,
        ) {
            values.sort_by(f64::total_cmp);
            let found = quantile(&values, q).unwrap();
            let no_larger = values.iter().filter(|&&value| value <= found).count();
            prop_assert!(values.contains(&found));
            prop_assert!(no_larger as f64 >= q * values.len() as f64 - 1e-6);
        }
    }
}
