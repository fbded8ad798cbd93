//! The erasure code's arithmetic, with a shorter way to what is peculiar to a decoding.
//!
//! To decode, the logarithm of the product of the distances to all missing shards is needed for each shard: a sum
//! over pairs. The crate has it for all 65,536 shards that a code can have, by a transform that takes 0.2 ms
//! whatever there is to mend. A frame has some hundred shards and misses a few, and that sum is short.

use reed_solomon_simd::engine::tables::get_exp_log;
use reed_solomon_simd::engine::{
    DefaultEngine, Engine, GF_MODULUS, GF_ORDER, GfElement, ShardsRefMut,
};

/// Pairs from which on the transform is quicker.
const MOST_PAIRS: usize = 1 << 18;

/// The crate's engine for this processor, but for the short sum.
#[derive(Default)]
pub(super) struct ShortEngine(DefaultEngine);

impl Engine for ShortEngine {
    fn fft(
        &self,
        data: &mut ShardsRefMut,
        pos: usize,
        size: usize,
        truncated_size: usize,
        skew_delta: usize,
    ) {
        self.0.fft(data, pos, size, truncated_size, skew_delta);
    }

    fn ifft(
        &self,
        data: &mut ShardsRefMut,
        pos: usize,
        size: usize,
        truncated_size: usize,
        skew_delta: usize,
    ) {
        self.0.ifft(data, pos, size, truncated_size, skew_delta);
    }

    fn mul(&self, x: &mut [[u8; 64]], log_m: GfElement) {
        self.0.mul(x, log_m);
    }

    fn eval_poly(erasures: &mut [GfElement; GF_ORDER], truncated_size: usize) {
        if !short_sums(erasures, truncated_size) {
            DefaultEngine::eval_poly(erasures, truncated_size);
        }
    }
}

/// Puts the sum over all that are missing in the place of each shard that is there at all; false, and nothing is
/// changed, where that would take long.
fn short_sums(erasures: &mut [GfElement; GF_ORDER], truncated_size: usize) -> bool {
    // Either a few at the front are marked and none behind `truncated_size`, or all are that are behind the last shard
    // that is there. That one is of repair, behind the data: without any there is nothing to mend with.
    let marks_rest = truncated_size == GF_ORDER;
    let counted = GfElement::from(!marks_rest);
    let end = match marks_rest {
        true => erasures.iter().rposition(|mark| *mark == 0).map_or(0, |last| last + 1),
        false => truncated_size,
    };
    let places = || (0_u16..).take(end);
    let few: Vec<GfElement> =
        places().filter(|place| erasures[usize::from(*place)] == counted).collect();
    if few.len() * end > MOST_PAIRS {
        return false;
    }
    let log = &get_exp_log().log;
    let sums = places().map(|place| {
        let distances = few.iter().map(|other| u64::from(log[usize::from(place ^ other)]));
        let sum = (distances.sum::<u64>() % u64::from(GF_MODULUS)) as GfElement;
        // The logarithms of all distances together are a multiple of the modulus.
        if marks_rest { (GF_MODULUS - sum) % GF_MODULUS } else { sum }
    });
    let sums: Vec<GfElement> = sums.collect();
    erasures[..end].copy_from_slice(&sums);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks places of a code of some shards, and those behind where `rest` says so.
    fn marks(missing: &[usize], end: usize, rest: bool) -> Box<[GfElement; GF_ORDER]> {
        let mut marks = Box::new([0; GF_ORDER]);
        missing.iter().for_each(|place| marks[*place] = 1);
        marks[end..].fill(rest.into());
        marks
    }

    #[test]
    fn the_short_sum_is_what_the_transform_gives() {
        for (end, step) in [(1, 1), (2, 1), (9, 4), (240, 7), (405, 6), (511, 3), (512, 2)] {
            let missing: Vec<usize> = (0..end - 1).step_by(step).collect();
            for rest in [false, true] {
                let truncated = if rest { GF_ORDER } else { end };
                let (mut short, mut long) =
                    (marks(&missing, end, rest), marks(&missing, end, rest));
                assert!(short_sums(&mut short, truncated));
                DefaultEngine::eval_poly(&mut long, truncated);
                let same = |place: &usize| short[*place] % GF_MODULUS == long[*place] % GF_MODULUS;
                assert_eq!((0..end).find(|place| !same(place)), None, "{end} {step} {rest}");
            }
        }
    }

    #[test]
    fn long_sums_are_left_to_the_transform() {
        let missing: Vec<usize> = (0..2_000).collect();
        let mut marks = marks(&missing, 4_000, false);
        assert!(!short_sums(&mut marks, 4_000));
        assert_eq!(marks[..2_000], [1; 2_000]);
    }
}
