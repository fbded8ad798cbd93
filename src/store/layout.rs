//! Where the frames of a source are: all in its folder, or a folder for each day, with one for each hour in it or not.

use std::fmt;
use std::str::FromStr;

use crate::frame::{FrameName, UnixNanos};
use crate::manifest::{Day, Record};

/// How the frames of a source are put into folders. A store may change its layout at any time: what is stored stays
/// where it is and counts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// All in the folder of the source: `visible/0.jpg`.
    #[default]
    Flat,
    /// A folder for each day of capture, in UTC: `visible/2026-11-29/0.jpg`.
    Day,
    /// A folder for each hour of capture, in that of its day: `visible/2026-11-29/13/0.jpg`.
    Hour,
}

/// The part of a source that has a manifest of its own. In the order in which names are looked for: the last day first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    /// The source's folder itself.
    Whole,
    /// The folder of a day in it.
    Of(Day),
}

/// Where a frame's file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) part: Part,
    /// The folder of an hour in the part's.
    pub(super) hour: Option<u8>,
}

impl Layout {
    /// Where a frame of that moment goes.
    pub(super) fn spot(self, at: UnixNanos) -> Spot {
        match self {
            Self::Flat => Spot { part: Part::Whole, hour: None },
            Self::Day => Spot { part: Part::Of(Day::of(at)), hour: None },
            Self::Hour => Spot { part: Part::Of(Day::of(at)), hour: Some(Day::hour(at)) },
        }
    }
}

impl Spot {
    /// The frames of other names whose files would be at the path of this one's, and by which places: a frame that is
    /// called `2026-11-29/0.jpg` in the source's own folder, and one called `0.jpg` in that of the day.
    pub(super) fn others(self, name: &FrameName) -> Vec<(Self, FrameName)> {
        let hour = self.hour.map(|hour| format!("{hour:02}/")).unwrap_or_default();
        let path = match self.part {
            Part::Whole => format!("{hour}{name}"),
            Part::Of(day) => format!("{day}/{hour}{name}"),
        };
        let mut readings = vec![(Self { part: Part::Whole, hour: None }, path.as_str())];
        if let Some((day, rest)) = path.split_once('/')
            && let Ok(day) = day.parse()
        {
            let part = Part::Of(day);
            readings.push((Self { part, hour: None }, rest));
            if let Some((hour, rest)) = rest.split_once('/')
                && hour.len() == 2
                && let Some(hour) = hour.parse().ok().filter(|hour| *hour < 24)
            {
                readings.push((Self { part, hour: Some(hour) }, rest));
            }
        }
        let others = readings.into_iter().filter(|(spot, _)| *spot != self);
        others.filter_map(|(spot, name)| Some((spot, FrameName::parse(name).ok()?))).collect()
    }
}

impl Part {
    /// The day that a frame of this part belongs to, for keeping and expiring.
    pub(super) fn day(self, record: &Record) -> Day {
        match self {
            Self::Whole => record.day(),
            Self::Of(day) => day,
        }
    }
}

/// The name of its folder.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("."),
            Self::Of(day) => write!(f, "{day}"),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flat => "flat",
            Self::Day => "day",
            Self::Hour => "hour",
        })
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Flat, Self::Day, Self::Hour]
            .into_iter()
            .find(|layout| layout.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no layout: there are flat, day and hour"))
    }
}
