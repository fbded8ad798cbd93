//! A time in the past, as users write it.

use crate::frame::{Span, UnixNanos};
use crate::manifest::Day;

/// A time ago (`10m`, `24h`), or the beginning of a day in UTC (`2026-11-29`).
pub(super) fn parse(text: &str) -> Result<UnixNanos, String> {
    if let Ok(day) = text.parse::<Day>() {
        return Ok(day.begin());
    }
    let Ok(Span(ago)) = text.parse::<Span>() else {
        return Err(format!(
            "{text:?} is no time: write how long ago, as in 24h, or a day in UTC, as in 2026-11-29"
        ));
    };
    let ago = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
    Ok(UnixNanos(UnixNanos::now().0.saturating_sub(ago)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_ago_or_a_day() {
        assert_eq!(parse("1970-01-02"), Ok(UnixNanos(86_400_000_000_000)));
        let hour = UnixNanos::now().0 - parse("1h").unwrap().0;
        assert!((3_590_000_000_000..3_610_000_000_000).contains(&hour), "{hour}");
        for text in ["", "yesterday", "2026-02-30", "10", "-5m"] {
            assert!(parse(text).unwrap_err().contains("24h"), "{text}");
        }
    }
}
