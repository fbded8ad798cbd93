//! A link back as text that parses to the same link.

use std::fmt;
use std::time::Duration;

use super::{Capacity, DirectionSpec, LinkSpec, Outage, QueueLimit};
use crate::frame::{BitRate, Share};

impl fmt::Display for LinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut items = items(&self.up, &self.down);
        if let Some(seed) = self.seed {
            items.push(format!("seed={seed}"));
        }
        // A perfect link has nothing to say, and an empty text would not parse.
        if items.is_empty() {
            items.push("delay=0ms".to_owned());
        }
        f.write_str(&items.join(","))
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", span(self.at), span(self.lasts))?;
        self.every.map_or(Ok(()), |every| write!(f, "/{}", span(every)))
    }
}

/// What differs from a perfect link, with a prefix only where the directions differ.
fn items(up: &DirectionSpec, down: &DirectionSpec) -> Vec<String> {
    let mut items = Vec::new();
    for ((key, up), (_, down)) in values(up).into_iter().zip(values(down)) {
        if up == down {
            items.extend(up.iter().map(|value| format!("{key}={value}")));
        } else {
            items.extend(up.iter().map(|value| format!("up.{key}={value}")));
            items.extend(down.iter().map(|value| format!("down.{key}={value}")));
        }
    }
    items
}

/// The values of each key, in the order in which they are shown.
fn values(spec: &DirectionSpec) -> [(&'static str, Vec<String>); 11] {
    let (rate, trace) = match &spec.capacity {
        Capacity::Unlimited => (None, None),
        Capacity::Constant(constant) => (Some(rate(*constant)), None),
        Capacity::Trace(trace) => (None, Some(trace.name().to_owned())),
    };
    let queue = spec.queue.map(|queue| match queue {
        QueueLimit::Bytes(bytes) => format!("{}B", bytes.0),
        QueueLimit::Time(time) => span(time),
    });
    let reorder =
        spec.reorder.map(|reorder| format!("{}+{}", share(reorder.share), span(reorder.by)));
    let outages = spec.outages.iter().map(ToString::to_string);
    let shown = |time: Duration| (!time.is_zero()).then(|| span(time)).into_iter().collect();
    [
        ("rate", rate.into_iter().collect()),
        ("trace", trace.into_iter().collect()),
        ("delay", shown(spec.delay)),
        ("jitter", shown(spec.jitter)),
        ("loss", (spec.loss != Share::ZERO).then(|| share(spec.loss)).into_iter().collect()),
        ("burst", spec.burst.map(|burst| burst.to_string()).into_iter().collect()),
        ("reorder", reorder.into_iter().collect()),
        ("queue", queue.into_iter().collect()),
        ("outage", outages.collect()),
        ("police", spec.police.map(self::rate).into_iter().collect()),
        ("mtu", spec.mtu.map(|bytes| bytes.0.to_string()).into_iter().collect()),
    ]
}

fn rate(rate: BitRate) -> String {
    exact(rate.0, &[(1_000_000_000, "gbit"), (1_000_000, "mbit"), (1_000, "kbit"), (1, "bit")])
}

fn span(time: Duration) -> String {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    exact(nanos, &[(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns")])
}

/// The largest unit that leaves a whole number.
fn exact(value: u64, units: &[(u64, &str)]) -> String {
    let fits = units.iter().find(|(size, _)| value >= *size && value.is_multiple_of(*size));
    match fits.or(units.last()) {
        Some((size, unit)) => format!("{}{unit}", value / size),
        None => value.to_string(),
    }
}

/// Percent, with as many decimals as are meant and not those that binary fractions add.
fn share(share: Share) -> String {
    let text = format!("{:.9}", share.fraction() * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}
