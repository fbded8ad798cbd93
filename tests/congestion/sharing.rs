//! Two flows on one path.

use framelane::congestion::Congestion;

use crate::paths::{Cell, Pair, first_share};
use crate::sim::link::Nanos;

#[test]
fn two_of_its_own_share_evenly() {
    for (mbit, rtt) in [(20.0, 50.0), (50.0, 20.0), (100.0, 50.0)] {
        for late in [0.0, 5.0] {
            let pair = Pair::new(Cell::new(mbit, rtt, 0.0, 1.0), Congestion::Lossy, late, 1);
            let share = first_share(&pair.go(), pair.start(), pair.stop());
            let text = format!("{mbit} Mbit/s, {rtt} ms, {late} s late: {share:.2}");
            assert!((0.40..=0.60).contains(&share), "{text}");
        }
    }
}

#[test]
fn beside_cubic_each_gets_its_part() {
    for (mbit, rtt) in [(20.0, 20.0), (20.0, 50.0), (50.0, 50.0), (100.0, 20.0), (50.0, 100.0)] {
        let pair = Pair::new(Cell::new(mbit, rtt, 0.0, 1.0), Congestion::Cubic, 0.0, 1);
        let share = first_share(&pair.go(), pair.start(), pair.stop());
        assert!((0.30..=0.70).contains(&share), "{mbit} Mbit/s, {rtt} ms: {share:.2}");
    }
}

#[test]
fn two_of_its_own_share_evenly_where_the_path_marks_packets() {
    for (mbit, rtt) in [(20.0, 20.0), (20.0, 50.0), (50.0, 50.0)] {
        let mut pair = Pair::new(Cell::new(mbit, rtt, 0.0, 1.0), Congestion::Lossy, 0.0, 1);
        pair.mark_beyond = Some((rtt / 10.0 * 1e6) as Nanos);
        let share = first_share(&pair.go(), pair.start(), pair.stop());
        assert!((0.40..=0.60).contains(&share), "{mbit} Mbit/s, {rtt} ms: {share:.2}");
    }
}
