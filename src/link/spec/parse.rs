//! Text to link.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::keys::{self, LinkKey, link_keys};
use super::presets::{self, presets};
use super::trace::SYNTHETIC_LTE;
use super::{Capacity, DirectionSpec, LinkSpec, Outage, QueueLimit, Reorder, SpecError, Trace};
use crate::frame::{BitRate, ByteSize, Share, Span, UnitError};
use crate::link::effect::BurstLoss;

const MAX_RATE: BitRate = BitRate(100_000_000_000);
/// Below this a full packet takes more than twelve seconds.
const MIN_RATE: BitRate = BitRate(1_000);
const MAX_DELAY: Duration = Duration::from_secs(60);
const MAX_QUEUE: ByteSize = ByteSize(1 << 30);
const MAX_BURST: f64 = 100_000.0;
const MAX_OUTAGES: usize = 100;
/// For each of an outage's three times: no run lasts so long.
const MAX_OUTAGE: Duration = Duration::from_secs(86_400);
const DEFAULT_HOLD: Duration = Duration::from_millis(5);

impl FromStr for LinkSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut items = text.split(',').map(str::trim).peekable();
        let mut link = Self {
            label: text.trim().to_owned(),
            up: DirectionSpec::default(),
            down: DirectionSpec::default(),
            seed: None,
        };
        match items.peek() {
            None | Some(&"") if text.trim().is_empty() => return Err(SpecError::Empty),
            Some(first) if !first.contains('=') => {
                link.apply(&assignments(preset(first)?.split(','))?)?;
                items.next();
            }
            _ => {}
        }
        link.apply(&assignments(items)?)?;
        Ok(link)
    }
}

fn preset(name: &str) -> Result<&'static str, SpecError> {
    let known = || presets().iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ");
    presets::find(name)
        .map(|preset| preset.spec)
        .ok_or_else(|| SpecError::UnknownPreset { name: name.to_owned(), known: known() })
}

/// `up.rate=50mbit`, taken apart.
struct Assignment<'a> {
    /// As written, for messages.
    written: &'a str,
    side: Side,
    key: &'static str,
    example: &'static str,
    value: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Both,
    Up,
    Down,
}

fn assignments<'a>(items: impl Iterator<Item = &'a str>) -> Result<Vec<Assignment<'a>>, SpecError> {
    let mut all: Vec<Assignment<'a>> = Vec::new();
    for item in items {
        let item = assignment(item)?;
        let again = all.iter().any(|other| other.written == item.written);
        if again && item.key != "outage" {
            return Err(SpecError::Repeated { key: item.written.to_owned() });
        }
        all.push(item);
    }
    // What is said of one direction wins over what is said of both, wherever it stands.
    all.sort_by_key(|item| item.side != Side::Both);
    Ok(all)
}

fn assignment(item: &str) -> Result<Assignment<'_>, SpecError> {
    let Some((written, value)) = item.split_once('=') else {
        return Err(match presets::find(item) {
            Some(_) => SpecError::NotFirst { item: item.to_owned() },
            None => unknown_key(item),
        });
    };
    let (written, value) = (written.trim(), value.trim());
    let (side, name) = match written.split_once('.') {
        Some(("up", name)) => (Side::Up, name),
        Some(("down", name)) => (Side::Down, name),
        _ => (Side::Both, written),
    };
    let Some(LinkKey { name: key, example, .. }) = keys::find(name) else {
        return Err(unknown_key(written));
    };
    if *key == "seed" && side != Side::Both {
        return Err(unknown_key(written));
    }
    Ok(Assignment { written, side, key, example, value })
}

fn unknown_key(key: &str) -> SpecError {
    let known = link_keys().iter().map(|key| key.name).collect::<Vec<_>>().join(", ");
    SpecError::UnknownKey { key: key.to_owned(), known }
}

impl LinkSpec {
    fn apply(&mut self, assignments: &[Assignment<'_>]) -> Result<(), SpecError> {
        for item in assignments {
            if item.key == "seed" {
                let not_whole = |_| item.refuse("a seed is a whole number below 2^64");
                self.seed = Some(item.value.parse().map_err(not_whole)?);
            }
        }
        self.up.apply(assignments, Side::Up)?;
        self.down.apply(assignments, Side::Down)
    }
}

impl DirectionSpec {
    /// Applies what concerns this direction, then checks what only shows in combination.
    fn apply(&mut self, assignments: &[Assignment<'_>], side: Side) -> Result<(), SpecError> {
        let mine = |item: &&Assignment<'_>| item.side == Side::Both || item.side == side;
        let mine: Vec<&Assignment<'_>> = assignments.iter().filter(mine).collect();
        self.check_capacity(&mine)?;
        self.clear_replaced_outages(&mine);
        for item in &mine {
            self.set(item)?;
        }
        self.check_queue(&mine)?;
        self.check_outages(&mine)?;
        self.check_burst(&mine)
    }

    /// A link that is never up needs no comparison.
    fn check_outages(&self, items: &[&Assignment<'_>]) -> Result<(), SpecError> {
        let Some(item) = given(items, "outage") else { return Ok(()) };
        let alike = || items.iter().filter(|other| other.written == item.written);
        if alike().count() > 1 && alike().any(|other| other.value == "none") {
            return Err(item.refuse("none stands alone: write none, or the outages"));
        }
        let last = self.outages.iter().map(|outage| outage.at).max().unwrap_or_default();
        match self.up_from(last) {
            Some(_) => Ok(()),
            None => Err(item.refuse(
                "the outages overlap so that the link is never up again: let one be shorter, or \
                 come less often",
            )),
        }
    }

    /// Outages are the one key that adds up, but only to what stands beside it.
    fn clear_replaced_outages(&mut self, items: &[&Assignment<'_>]) {
        if given(items, "outage").is_some() {
            self.outages.clear();
        }
    }

    fn set(&mut self, item: &Assignment<'_>) -> Result<(), SpecError> {
        match item.key {
            "rate" => self.capacity = Capacity::Constant(rate(item)?),
            "trace" => self.capacity = Capacity::Trace(Arc::new(trace(item)?)),
            "queue" => self.queue = Some(queue(item)?),
            "delay" => self.delay = delay(item, item.value)?,
            "jitter" => self.jitter = delay(item, item.value)?,
            "loss" => self.loss = item.parse::<Share>(item.value)?,
            "burst" => self.burst = Some(burst(item)?),
            "reorder" => self.reorder = reorder(item)?,
            "outage" => self.add_outage(item)?,
            "police" => self.police = Some(rate(item)?),
            "mtu" => self.mtu = Some(mtu(item)?),
            _ => {}
        }
        Ok(())
    }

    fn add_outage(&mut self, item: &Assignment<'_>) -> Result<(), SpecError> {
        if item.value == "none" {
            self.outages.clear();
            return Ok(());
        }
        if self.outages.len() == MAX_OUTAGES {
            return Err(item.refuse(format!("more than {MAX_OUTAGES} outages")));
        }
        self.outages.push(outage(item)?);
        Ok(())
    }

    fn check_capacity(&self, items: &[&Assignment<'_>]) -> Result<(), SpecError> {
        let (rate, trace) = (given(items, "rate"), given(items, "trace"));
        match (rate, trace) {
            // `rate=10mbit,up.trace=FILE` is a link whose one direction follows a trace.
            (Some(rate), Some(trace)) if rate.side == trace.side => {
                Err(trace.refuse("a link has either a rate or a trace"))
            }
            _ => Ok(()),
        }
    }

    fn check_queue(&self, items: &[&Assignment<'_>]) -> Result<(), SpecError> {
        let Some(item) = given(items, "queue") else { return Ok(()) };
        match self.queue_limit() {
            None => Err(item.refuse("only a link with a rate or a trace has a queue")),
            Some(limit) if limit > MAX_QUEUE => {
                Err(item.refuse(format!("a queue is at most 1 GiB, this would be {limit}")))
            }
            Some(_) => Ok(()),
        }
    }

    fn check_burst(&mut self, items: &[&Assignment<'_>]) -> Result<(), SpecError> {
        let Some(burst) = self.burst else { return Ok(()) };
        let item = given(items, "burst");
        if self.loss == Share::ZERO {
            self.burst = None;
            return item.map_or(Ok(()), |item| {
                Err(item.refuse("bursts need a loss: add loss=1%, or leave it out"))
            });
        }
        if BurstLoss::new(self.loss, burst).is_some() {
            return Ok(());
        }
        let Some(item) = item.or(given(items, "loss")) else { return Ok(()) };
        Err(item.refuse(match BurstLoss::shortest(self.loss) {
            Some(shortest) => format!(
                "a loss of {} cannot come in bursts of {burst} packets on average; at least {:.1}",
                self.loss, shortest
            ),
            None => "a loss of 100 % has no bursts".to_owned(),
        }))
    }
}

/// The last, and so the one that wins.
fn given<'a, 'b>(items: &[&'a Assignment<'b>], key: &str) -> Option<&'a Assignment<'b>> {
    items.iter().rev().find(|item| item.key == key).copied()
}

fn rate(item: &Assignment<'_>) -> Result<BitRate, SpecError> {
    let rate: BitRate = item.parse(item.value)?;
    if rate.0 == 0 {
        return Err(item.refuse("a rate of 0 never delivers anything; use outage for a dead link"));
    }
    if !(MIN_RATE..=MAX_RATE).contains(&rate) {
        return Err(item.refuse(format!("a rate is from {MIN_RATE} to {MAX_RATE}")));
    }
    Ok(rate)
}

fn mtu(item: &Assignment<'_>) -> Result<ByteSize, SpecError> {
    /// What every host of IPv4 takes (RFC 791), below which no transport here gets along, and the longest packet there is.
    const ALLOWED: std::ops::RangeInclusive<u64> = 576..=65_535;
    match item.value.parse::<u64>() {
        Ok(bytes) if ALLOWED.contains(&bytes) => Ok(ByteSize(bytes)),
        _ => Err(item.refuse("the longest packet is a number of bytes from 576 to 65535")),
    }
}

fn trace(item: &Assignment<'_>) -> Result<Trace, SpecError> {
    match item.value {
        SYNTHETIC_LTE => Ok(Trace::synthetic_lte()),
        "" => Err(item.refuse("no file is named")),
        path => Trace::read(Path::new(path)).map_err(|error| item.refuse(error.to_string())),
    }
}

fn queue(item: &Assignment<'_>) -> Result<QueueLimit, SpecError> {
    // Sizes end in B and times do not, which also tells which of two errors to give.
    if item.value.ends_with(['B', 'b']) {
        return item.parse(item.value).map(QueueLimit::Bytes);
    }
    delay(item, item.value).map(QueueLimit::Time)
}

fn delay(item: &Assignment<'_>, text: &str) -> Result<Duration, SpecError> {
    let Span(delay) = item.parse(text)?;
    if delay > MAX_DELAY {
        return Err(item.refuse(format!("at most {}", Span(MAX_DELAY))));
    }
    Ok(delay)
}

fn burst(item: &Assignment<'_>) -> Result<f64, SpecError> {
    let burst: f64 =
        item.value.parse().map_err(|_| item.refuse("a mean burst is a number of packets"))?;
    if !(1.0..=MAX_BURST).contains(&burst) {
        return Err(item.refuse(format!("a mean burst is between 1 and {MAX_BURST} packets")));
    }
    Ok(burst)
}

fn reorder(item: &Assignment<'_>) -> Result<Option<Reorder>, SpecError> {
    let (share, by) = match item.value.split_once('+') {
        Some((share, by)) => (share, delay(item, by)?),
        None => (item.value, DEFAULT_HOLD),
    };
    let share: Share = item.parse(share)?;
    Ok((share != Share::ZERO).then_some(Reorder { share, by }))
}

fn outage(item: &Assignment<'_>) -> Result<Outage, SpecError> {
    let Some((at, rest)) = item.value.split_once('+') else {
        return Err(item.refuse(format!(
            "{:?} is not AT+FOR or AT+FOR/EVERY, three times with their units, or none",
            item.value
        )));
    };
    let (lasts, every) = match rest.split_once('/') {
        Some((lasts, every)) => (lasts, Some(outage_time(item, "EVERY", every)?)),
        None => (rest, None),
    };
    let (at, lasts) = (outage_time(item, "AT", at)?, outage_time(item, "FOR", lasts)?);
    if lasts.is_zero() {
        return Err(item.refuse(
            "an outage that lasts no time: FOR is more than 0; leave the outage out where there is \
             none",
        ));
    }
    if let Some(every) = every.filter(|every| *every <= lasts) {
        return Err(item.refuse(format!(
            "an outage that comes again before it is over: EVERY ({}) has to be longer than FOR ({})",
            Span(every),
            Span(lasts)
        )));
    }
    Ok(Outage { at, lasts, every })
}

/// One of an outage's times; `part` is what it is called in `AT+FOR/EVERY`.
fn outage_time(item: &Assignment<'_>, part: &str, text: &str) -> Result<Duration, SpecError> {
    if text.trim().is_empty() {
        return Err(item.refuse(format!("{part} is missing in {:?}, AT+FOR/EVERY", item.value)));
    }
    let parsed = text.parse::<Span>();
    let Span(time) =
        parsed.map_err(|error| item.refuse(format!("{part} in AT+FOR/EVERY: {error}")))?;
    if time > MAX_OUTAGE {
        return Err(item.refuse(format!("{part} in AT+FOR/EVERY is at most 24h")));
    }
    Ok(time)
}

impl Assignment<'_> {
    fn parse<T: FromStr<Err = UnitError>>(&self, text: &str) -> Result<T, SpecError> {
        text.parse().map_err(|error: UnitError| self.refuse(error.to_string()))
    }

    fn refuse(&self, reason: impl Into<String>) -> SpecError {
        let (key, reason) = (self.written.to_owned(), reason.into());
        SpecError::Value { key, reason, example: self.example }
    }
}

#[cfg(test)]
mod tests;
