//! The order in which people number their frames: 9 before 10.

use std::cmp::Ordering;

/// Compares names piece by piece: runs of digits by their value, everything else by its bytes.
///
/// A `/` comes before everything else, so that what is in a folder stays together. Numbers that differ
/// only in leading zeros fall back to the bytes, so that the order is total and no two different names
/// are equal.
pub(super) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    while let (Some(first_a), Some(first_b)) = (rest_a.first(), rest_b.first()) {
        let order = if first_a.is_ascii_digit() && first_b.is_ascii_digit() {
            let (number_a, number_b) = (take_digits(&mut rest_a), take_digits(&mut rest_b));
            by_value(number_a, number_b)
        } else {
            let order = (first_b == &b'/').cmp(&(first_a == &b'/')).then(first_a.cmp(first_b));
            (rest_a, rest_b) = (&rest_a[1..], &rest_b[1..]);
            order
        };
        if order.is_ne() {
            return order;
        }
    }
    rest_a.len().cmp(&rest_b.len()).then_with(|| a.cmp(b))
}

fn take_digits<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, behind) = rest.split_at(end);
    *rest = behind;
    digits
}

/// Without leading zeros, a longer number is larger, and equally long ones compare as text: numbers
/// of any length, without arithmetic.
fn by_value(a: &[u8], b: &[u8]) -> Ordering {
    let (a, b) = (significant(a), significant(b));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn significant(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&byte| byte == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(mut names: Vec<&str>) -> Vec<&str> {
        names.sort_by(|a, b| compare(a.as_bytes(), b.as_bytes()));
        names
    }

    #[test]
    fn ten_comes_after_two() {
        assert_eq!(sorted(vec!["10.jpg", "9.jpg", "1.jpg"]), ["1.jpg", "9.jpg", "10.jpg"]);
        assert_eq!(sorted(vec!["f10_2", "f2_10", "f2_9"]), ["f2_9", "f2_10", "f10_2"]);
        assert_eq!(sorted(vec!["01", "1", "001", "0"]), ["0", "001", "01", "1"]);
        assert_eq!(sorted(vec!["a-1", "a/2", "a.jpg", "a/1"]), ["a/1", "a/2", "a-1", "a.jpg"]);
        let huge = "9".repeat(40);
        assert_eq!(sorted(vec![&huge, "3"]), ["3", &huge]);
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[0-9a/-]{0,6}", b in "[0-9a/-]{0,6}", c in "[0-9a/-]{0,6}") {
            let (a, b, c) = (a.as_bytes(), b.as_bytes(), c.as_bytes());
            prop_assert_eq!(compare(a, b), compare(b, a).reverse());
            prop_assert_eq!(compare(a, b).is_eq(), a == b);
            if compare(a, b).is_le() && compare(b, c).is_le() {
                prop_assert!(compare(a, c).is_le());
            }
        }
    }
}
