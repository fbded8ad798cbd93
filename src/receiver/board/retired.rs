//! What was counted of panels that were taken away, so that no sum of several days becomes less.

use std::path::{Path, PathBuf};

use super::chart::Spread;
use super::panel::{Counts, Panel};
use crate::frame::SourceName;

/// Sources that are remembered. Beyond that the one that was first is forgotten.
const MOST: usize = 1_024;

/// What was counted of a source on days whose panels have gone.
#[derive(Debug, Clone)]
pub struct Retired {
    /// The place of one of these panels.
    pub place: PathBuf,
    /// The source.
    pub source: SourceName,
    /// Counters; `held` is none.
    pub counts: Counts,
    /// Latencies.
    pub spread: Spread,
}

/// Whether a part of a path is a day, as `{date}` writes it.
pub fn is_day(part: &str) -> bool {
    let digits = |at: std::ops::Range<usize>| {
        part.get(at).is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    part.len() == 10 && digits(0..4) && digits(5..7) && digits(8..10) && part.get(4..5) == Some("-")
}

/// Adds a panel that goes: to that of another day of its source, where there is one.
pub(super) fn retire(all: &mut Vec<Retired>, panel: &Panel) {
    let (counts, spread) = (Counts { held: None, ..panel.counts() }, panel.spread());
    let is_it = |known: &&mut Retired| {
        known.source == panel.source && beside_days(&known.place) == beside_days(&panel.place)
    };
    if let Some(known) = all.iter_mut().find(is_it) {
        known.counts.add(&counts);
        return known.spread.add(&spread);
    }
    if all.len() == MOST {
        all.remove(0);
    }
    let (place, source) = (panel.place.clone(), panel.source.clone());
    all.push(Retired { place, source, counts, spread });
}

fn beside_days(place: &Path) -> PathBuf {
    place.components().filter(|part| !part.as_os_str().to_str().is_some_and(is_day)).collect()
}
