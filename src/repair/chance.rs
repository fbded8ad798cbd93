//! How likely it is that more packets are lost than repair can make up for, one by one or in runs.

/// Packets up to which losses in runs are counted out; of more, whole runs are taken for single losses.
const COUNTED_OUT: usize = 128;
/// Runs of less than this are those of independent losses.
const IN_RUNS: f64 = 1.05;

/// How packets get lost: a share of them, in runs of a mean length (the two-state chain of Gilbert).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Losses {
    share: f64,
    run: f64,
}

/// What the loss of a packet costs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Spoiled {
    /// Shards that are not whole without it.
    pub(super) shards: usize,
    /// Whether the first of them is also the last that the packet before spoils.
    pub(super) shared: bool,
    /// Packets that pass between the one before and this: one apart, and correlated, with none.
    pub(super) gap: f64,
}

impl Losses {
    /// A share of 0 to 1 in runs of `run` packets in the mean; independent losses have 1 / (1 - share), and
    /// nothing has less.
    pub fn new(share: f64, run: f64) -> Self {
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        let least = 1.0 / (1.0 - share).max(f64::EPSILON);
        Self { share, run: if run.is_nan() { least } else { run.max(least) } }
    }

    /// Each by itself.
    pub fn independent(share: f64) -> Self {
        Self::new(share, 1.0)
    }

    /// The share lost.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// The mean length of a run.
    pub fn run(&self) -> f64 {
        self.run
    }

    fn in_runs(&self) -> bool {
        self.run * (1.0 - self.share) > IN_RUNS
    }

    /// The probabilities that a packet is lost when the one before was not, and when it was; `gap` others are
    /// between the two.
    fn next(&self, gap: f64) -> (f64, f64) {
        let stay = 1.0 - 1.0 / self.run;
        let enter = self.share / (1.0 - self.share).max(f64::EPSILON) / self.run;
        let kept = (stay - enter).clamp(0.0, 1.0).powf(1.0 + gap.max(0.0));
        (self.share * (1.0 - kept), self.share + (1.0 - self.share) * kept)
    }
}

/// The probability that more than `spared` of `packets` in a row are lost. Takes O(spared) steps for independent
/// losses, O(packets x spared) for runs.
pub fn more_lost_than(spared: usize, packets: usize, losses: Losses) -> f64 {
    if spared >= packets || losses.share <= 0.0 {
        return 0.0;
    }
    if losses.share >= 1.0 {
        return 1.0;
    }
    if !losses.in_runs() {
        return more_independent_than(spared, packets, losses.share);
    }
    if packets > COUNTED_OUT {
        // In runs of mean length n the number of the lost varies 2 n - 1 times as much as else.
        let scale = 2.0 * losses.run - 1.0;
        let scaled = |number: usize| (number as f64 / scale) as usize;
        return more_independent_than(scaled(spared), scaled(packets), losses.share);
    }
    let alone = Spoiled { shards: 1, shared: false, gap: 0.0 };
    spoil_more_than(spared, std::iter::repeat_n(alone, packets), losses)
}

/// The probability that the packets that are lost of `packets` spoil more than `spared` shards together.
pub(super) fn spoil_more_than(
    spared: usize,
    packets: impl IntoIterator<Item = Spoiled>,
    losses: Losses,
) -> f64 {
    // By the number of spoiled shards: what came last was there, or was lost.
    let (mut there, mut lost) = (vec![0.0; spared + 1], vec![0.0; spared + 1]);
    (there[0], lost[0]) = (1.0, 0.0);
    let (mut next_there, mut next_lost) = (vec![0.0; spared + 1], vec![0.0; spared + 1]);
    let mut first = true;
    for packet in packets {
        let (enter, stay) = losses.next(packet.gap);
        let enter = if std::mem::take(&mut first) { losses.share } else { enter };
        next_lost.fill(0.0);
        for spoiled in 0..=spared {
            next_there[spoiled] = there[spoiled] * (1.0 - enter) + lost[spoiled] * (1.0 - stay);
            let mut lose = |from: f64, shards: usize| {
                if let Some(chance) = next_lost.get_mut(spoiled + shards) {
                    *chance += from;
                }
            };
            lose(there[spoiled] * enter, packet.shards);
            let after_lost = packet.shards - usize::from(packet.shared && packet.shards > 0);
            lose(lost[spoiled] * stay, after_lost);
        }
        std::mem::swap(&mut there, &mut next_there);
        std::mem::swap(&mut lost, &mut next_lost);
    }
    let within: f64 = there.iter().chain(&lost).sum();
    (1.0 - within).clamp(0.0, 1.0)
}

/// P\[Bin(packets, loss) > spared\].
///
/// Computed from logarithms, because (1 - p)^n alone underflows for large frames.
fn more_independent_than(spared: usize, packets: usize, loss: f64) -> f64 {
    if spared >= packets {
        return 0.0;
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
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn independent(spared: usize, packets: usize, loss: f64) -> f64 {
        more_lost_than(spared, packets, Losses::independent(loss))
    }

    #[test]
    fn agrees_with_sums_by_hand() {
        // Two packets, one lost at most: 1 - p^2.
        assert!((independent(1, 2, 0.1) - 0.01).abs() < 1e-12);
        assert!((independent(0, 10, 0.05) - (1.0 - 0.95f64.powi(10))).abs() < 1e-12);
        assert_eq!(independent(3, 3, 0.5), 0.0);
        assert_eq!(independent(3, 9, 0.0), 0.0);
        assert_eq!(independent(3, 9, 1.0), 1.0);
    }

    #[test]
    fn needs_of_a_60_kb_frame() {
        // Repair packets for 1 % and 0.1 % failure of 43 packets, aligned with shards.
        let needed = |loss, target| {
            (0..43).find(|&repair| independent(repair, 43 + repair, loss) <= target).unwrap()
        };
        let table = [0.01, 0.02, 0.05, 0.10].map(|loss| (needed(loss, 0.01), needed(loss, 0.001)));
        assert_eq!(table, [(3, 4), (4, 5), (7, 8), (11, 13)]);
    }

    #[test]
    fn large_frames_do_not_underflow() {
        let chance = independent(3_000, 10_000, 0.3);
        assert!((0.4..0.6).contains(&chance), "{chance}");
        assert!(independent(3_300, 10_000, 0.3) < 1e-6);
    }

    /// Draws whether each of `gaps` packets is lost, `gaps` others apart.
    fn draw(rng: &mut StdRng, losses: Losses, gaps: &[usize]) -> Vec<bool> {
        let (enter, stay) = losses.next(0.0);
        let mut lost = rng.random_bool(losses.share);
        let mut fates = Vec::new();
        for (index, gap) in gaps.iter().enumerate() {
            for _ in 0..(if index == 0 { 0 } else { gap + 1 }) {
                lost = rng.random_bool(if lost { stay } else { enter });
            }
            fates.push(lost);
        }
        fates
    }

    #[test]
    fn runs_agree_with_draws() {
        const DRAWS: usize = 40_000;
        let mut rng = StdRng::seed_from_u64(7);
        for (share, run, packets, spared) in
            [(0.02, 5.0, 55, 7), (0.02, 10.0, 20, 3), (0.1, 4.0, 30, 8), (0.05, 1.0, 50, 5)]
        {
            let losses = Losses::new(share, run);
            let failing = (0..DRAWS)
                .filter(|_| {
                    let fates = draw(&mut rng, losses, &vec![0; packets]);
                    fates.iter().filter(|lost| **lost).count() > spared
                })
                .count() as f64
                / DRAWS as f64;
            let found = more_lost_than(spared, packets, losses);
            assert!((found - failing).abs() < 0.006, "{share}, {run}: {found} for {failing}");
        }
    }

    #[test]
    fn shared_shards_and_gaps_agree_with_draws() {
        const DRAWS: usize = 40_000;
        let mut rng = StdRng::seed_from_u64(8);
        let packets = [(18, false, 0), (15, true, 0), (18, false, 6), (15, true, 0)];
        let losses = Losses::new(0.1, 4.0);
        let gaps = packets.map(|(_, _, gap)| gap);
        let failing = (0..DRAWS)
            .filter(|_| {
                let fates = draw(&mut rng, losses, &gaps);
                let mut spoiled = 0;
                for (index, (shards, shared, _)) in packets.into_iter().enumerate() {
                    if fates[index] {
                        spoiled += shards - usize::from(shared && fates[index - 1]);
                    }
                }
                spoiled > 32
            })
            .count() as f64
            / DRAWS as f64;
        let spoils =
            packets.map(|(shards, shared, gap)| Spoiled { shards, shared, gap: gap as f64 });
        let found = spoil_more_than(32, spoils, losses);
        assert!((found - failing).abs() < 0.006, "{found} for {failing}");
    }

    proptest! {
        #[test]
        fn any_numbers_give_a_probability(
            spared in 0usize..40, packets in 0usize..2_000, share: f64, run: f64, loss in 0.0f64..1.0, short in 1.0f64..20.0,
        ) {
            for losses in [Losses::new(share, run), Losses::new(loss, short), Losses::new(loss, run)] {
                let chance = more_lost_than(spared, packets, losses);
                prop_assert!((0.0..=1.0).contains(&chance), "{chance} of {losses:?}");
                let more = more_lost_than(spared + 1, packets, losses);
                prop_assert!(more <= chance + 1e-9, "{more} > {chance} of {losses:?}");
            }
        }
    }
}
