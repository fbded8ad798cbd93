//! How much of the link a source gets beside the others.

use std::num::NonZeroU8;
use std::str::FromStr;

use thiserror::Error;

/// A source's part of the link, as a whole number from 1 to 100: a source of weight 3 gets three
/// times as much as one of weight 1. What that means for frames is the schedule's affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(NonZeroU8);

/// Not a weight.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a weight: a whole number from 1 to {max}, as in 3", max = Weight::HIGHEST)]
pub struct WeightError(String);

impl Weight {
    /// The highest weight. One source a hundred times as heavy as another has nearly all of the
    /// link; what is meant to wait for longer is better sent later.
    pub const HIGHEST: u8 = 100;

    /// These many bytes as they count for a source of this weight.
    pub fn lighten(self, bytes: u64) -> u64 {
        bytes / u64::from(self.0.get())
    }
}

/// A weight of 1: sources of which nothing is said share alike.
impl Default for Weight {
    fn default() -> Self {
        Self(NonZeroU8::MIN)
    }
}

impl FromStr for Weight {
    type Err = WeightError;

    fn from_str(text: &str) -> Result<Self, WeightError> {
        // The parser of numbers takes a sign as well.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number: &NonZeroU8| number.get() <= Self::HIGHEST);
        number.filter(|_| digits).map(Self).ok_or_else(|| WeightError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_whole_number_from_1_to_100() {
        for (text, lightened) in [("1", 1_000), ("3", 333), ("100", 10)] {
            assert_eq!(text.parse::<Weight>().unwrap().lighten(1_000), lightened);
        }
        for text in ["", "0", "101", "256", "-1", "+1", "1.5", "1e1", " 1", "much"] {
            let error = text.parse::<Weight>().unwrap_err().to_string();
            assert!(error.contains("from 1 to 100"), "{text:?}: {error}");
        }
        assert_eq!(Weight::default(), "1".parse().unwrap());
    }
}
