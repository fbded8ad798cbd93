//! One line of the ledger, as a value and as bytes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::day::{Day, NotADay};
use crate::frame::{DropReason, NotARun, RunId, UnixNanos};

/// What a line of the ledger says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The source was opened by a sender, whose it is from then on; by nobody known, where `owner` is `None`.
    Opened {
        /// The sender's pin.
        owner: Option<String>,
        /// What the receiver's user called it.
        name: Option<String>,
        /// The source's name, by which it was opened.
        source: String,
        /// When.
        at: UnixNanos,
    },
    /// A run of the source began.
    Began {
        /// The run.
        run: RunId,
        /// When, on the sender's clock.
        at: UnixNanos,
        /// Its first sequence.
        first: u64,
        /// It has no last frame that is known beforehand, as a camera has none.
        endless: bool,
        /// Frames that are too old are dropped rather than sent late.
        live: bool,
        /// The pin of its sender.
        sender: Option<String>,
    },
    /// Frames of a run that will not come.
    Dropped {
        /// The run.
        run: RunId,
        /// The frames.
        range: Range,
        /// Why; `None` for a reason of a later version.
        reason: Option<DropReason>,
        /// At which end.
        place: Place,
        /// When the first and the last of them were captured, where that is known.
        captured: Option<(UnixNanos, UnixNanos)>,
    },
    /// Frames of a run that were stored before it, by an earlier one.
    StoredBefore {
        /// The run.
        run: RunId,
        /// The frames, by their sequences in this run.
        range: Range,
        /// What they are in the run that stored them, where it is known.
        earlier: Option<Earlier>,
    },
    /// Frames of a run that are in a folder which was taken away while the run went on.
    TakenAway {
        /// The run.
        run: RunId,
        /// The frames.
        range: Range,
    },
    /// A run ended.
    Ended {
        /// The run.
        run: RunId,
        /// When, on the sender's clock.
        at: UnixNanos,
        /// Its first sequence, as its sender says; `None` where only its beginning says so, in lines of earlier versions.
        first: Option<u64>,
        /// How many frames it had, from its first sequence on.
        captured: u64,
    },
    /// A run that never ended is contained in a later one, as the same folder sent again is.
    ResumedBy {
        /// The run that did not end.
        run: RunId,
        /// The one that has all of its frames.
        by: RunId,
    },
    /// A day of which everything stored until a time is removed because it is old enough.
    DayExpired {
        /// The day, by when frames were captured.
        day: Day,
        /// Until when.
        at: UnixNanos,
        /// How many frames it had.
        frames: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// What had expired of a day is removed.
    DayRemoved {
        /// The day.
        day: Day,
        /// When.
        at: UnixNanos,
        /// How many files were removed.
        frames: u64,
        /// How many are not what their lines say, and stay.
        left: u64,
    },
    /// Frames that were removed because they were old enough, and their lines with them.
    Expired {
        /// Their run.
        run: RunId,
        /// The frames.
        range: Range,
        /// When.
        at: UnixNanos,
    },
}

/// Frames in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The first sequence.
    pub first: u64,
    /// The last sequence, at least the first.
    pub last: u64,
}

/// Frames in a row by what they are in an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    /// The run that stored them.
    pub run: RunId,
    /// The first one's sequence there; those of the others count up from it.
    pub first: u64,
}

/// At which end frames were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// They never left the sender, or not whole.
    Sender,
    /// They came, and were not stored.
    Receiver,
}

/// Why a line is not an entry.
#[derive(Debug, Error)]
pub enum EntryError {
    /// Not a JSON object, or a field of another type.
    #[error("not a ledger line: {0}")]
    Json(#[from] serde_json::Error),
    /// A run that is none.
    #[error(transparent)]
    Run(#[from] NotARun),
    /// A day that is none.
    #[error(transparent)]
    Day(#[from] NotADay),
    /// A range that ends before it begins.
    #[error("the range from {} to {} is none", .0.first, .0.last)]
    Range(Range),
}

/// The fields as they are written. The names are a contract: other people's scripts read them. Which of them
/// a line has says what it is.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Fields<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    owner: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    source: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opened: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    run: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    began: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    endless: bool,
    #[serde(skip_serializing_if = "is_false")]
    live: bool,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    sender: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<Range>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "where", skip_serializing_if = "Option::is_none")]
    place: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    captured_unix_ns: Option<(u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_before: Option<Range>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    by: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_first: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_away: Option<Range>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    captured: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    resumed_by: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expired: Option<Range>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    day: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expired_unix_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_unix_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Entry {
    /// Reads one line, without its line feed; `None` for a kind that this version does not know.
    ///
    /// # Errors
    /// [`EntryError`] says what is wrong with the line.
    pub fn parse(line: &[u8]) -> Result<Option<Self>, EntryError> {
        let fields: Fields<'_> = serde_json::from_slice(line)?;
        let Some(run) = fields.run.as_deref().map(str::parse::<RunId>).transpose()? else {
            if let (Some(day), Some(at)) = (&fields.day, fields.expired_unix_ns) {
                let (day, at) = (day.parse()?, UnixNanos(at));
                let (frames, bytes) = (fields.frames.unwrap_or(0), fields.bytes.unwrap_or(0));
                return Ok(Some(Self::DayExpired { day, at, frames, bytes }));
            }
            if let (Some(day), Some(at)) = (&fields.day, fields.removed_unix_ns) {
                let (day, at) = (day.parse()?, UnixNanos(at));
                let (frames, left) = (fields.frames.unwrap_or(0), fields.left.unwrap_or(0));
                return Ok(Some(Self::DayRemoved { day, at, frames, left }));
            }
            return Ok(fields.opened.map(|at| Self::Opened {
                owner: fields.owner.map(Cow::into_owned),
                name: fields.name.map(Cow::into_owned),
                source: fields.source.map(Cow::into_owned).unwrap_or_default(),
                at: UnixNanos(at),
            }));
        };
        fields.of_run(run)
    }

    /// Appends the line, with its line feed, to `out`.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(&mut *out, &self.fields())
            .expect("plain fields serialise into memory");
        out.push(b'\n');
    }

    fn fields(&self) -> Fields<'_> {
        let of =
            |run: &RunId| Fields { run: Some(Cow::Owned(run.to_string())), ..Fields::default() };
        match self {
            Self::Opened { owner, name, source, at } => Fields {
                owner: owner.as_deref().map(Cow::Borrowed),
                name: name.as_deref().map(Cow::Borrowed),
                source: Some(Cow::Borrowed(source)),
                opened: Some(at.0),
                ..Fields::default()
            },
            Self::Began { run, at, first, endless, live, sender } => Fields {
                began: Some(at.0),
                first: Some(*first),
                endless: *endless,
                live: *live,
                sender: sender.as_deref().map(Cow::Borrowed),
                ..of(run)
            },
            Self::Dropped { run, range, reason, place, captured } => Fields {
                dropped: Some(*range),
                reason: Some(Cow::Borrowed(reason.map_or("other", DropReason::name))),
                place: Some(Cow::Borrowed(place.name())),
                captured_unix_ns: captured.map(|(first, last)| (first.0, last.0)),
                ..of(run)
            },
            Self::StoredBefore { run, range, earlier } => Fields {
                stored_before: Some(*range),
                by: earlier.map(|earlier| Cow::Owned(earlier.run.to_string())),
                by_first: earlier.map(|earlier| earlier.first),
                ..of(run)
            },
            Self::TakenAway { run, range } => Fields { taken_away: Some(*range), ..of(run) },
            Self::Ended { run, at, first, captured } => {
                Fields { first: *first, ended: Some(at.0), captured: Some(*captured), ..of(run) }
            }
            Self::ResumedBy { run, by } => {
                Fields { resumed_by: Some(Cow::Owned(by.to_string())), ..of(run) }
            }
            Self::DayExpired { day, at, frames, bytes } => Fields {
                day: Some(Cow::Owned(day.to_string())),
                expired_unix_ns: Some(at.0),
                frames: Some(*frames),
                bytes: Some(*bytes),
                ..Fields::default()
            },
            Self::DayRemoved { day, at, frames, left } => Fields {
                day: Some(Cow::Owned(day.to_string())),
                removed_unix_ns: Some(at.0),
                frames: Some(*frames),
                left: Some(*left),
                ..Fields::default()
            },
            Self::Expired { run, range, at } => {
                Fields { expired: Some(*range), expired_unix_ns: Some(at.0), ..of(run) }
            }
        }
    }

    /// This entry and the one that follows it as one, where they say the same of neighbours.
    pub fn joined(&self, next: &Self) -> Option<Self> {
        match (self, next) {
            (
                Self::Dropped { run, range, reason, place, captured },
                Self::Dropped { run: r, range: behind, reason: why, place: at, captured: when },
            ) if (run, reason, place) == (r, why, at) && captured.is_some() == when.is_some() => {
                let captured = captured.zip(*when).map(|(one, two)| (one.0, two.1));
                let (run, reason, place) = (*run, *reason, *place);
                range.joined(*behind).map(|range| Self::Dropped {
                    run,
                    range,
                    reason,
                    place,
                    captured,
                })
            }
            (
                Self::StoredBefore { run, range, earlier },
                Self::StoredBefore { run: r, range: behind, earlier: then },
            ) if run == r && Earlier::goes_on(*earlier, *range, *then, *behind) => {
                let (run, earlier) = (*run, *earlier);
                range.joined(*behind).map(|range| Self::StoredBefore { run, range, earlier })
            }
            _ => None,
        }
    }
}

impl Earlier {
    /// Whether what `then` says of `behind` is what `earlier` of `range` comes to further on.
    fn goes_on(earlier: Option<Self>, range: Range, then: Option<Self>, behind: Range) -> bool {
        let place =
            |earlier: Self, range: Range| (earlier.run, earlier.first.wrapping_sub(range.first));
        earlier.map(|earlier| place(earlier, range)) == then.map(|then| place(then, behind))
    }
}

impl Fields<'_> {
    fn of_run(self, run: RunId) -> Result<Option<Entry>, EntryError> {
        for range in
            [self.dropped, self.stored_before, self.taken_away, self.expired].into_iter().flatten()
        {
            if range.first > range.last {
                return Err(EntryError::Range(range));
            }
        }
        let place = match self.place.as_deref() {
            Some("receiver") => Place::Receiver,
            _ => Place::Sender,
        };
        Ok(Some(if let Some(range) = self.dropped {
            let reason = self.reason.as_deref().and_then(DropReason::from_name);
            let captured = self.captured_unix_ns;
            let captured = captured.map(|(first, last)| (UnixNanos(first), UnixNanos(last)));
            Entry::Dropped { run, range, reason, place, captured }
        } else if let Some(range) = self.stored_before {
            let by = self.by.as_deref().map(str::parse::<RunId>).transpose()?;
            let earlier = by.zip(self.by_first).map(|(run, first)| Earlier { run, first });
            Entry::StoredBefore { run, range, earlier }
        } else if let Some(range) = self.taken_away {
            Entry::TakenAway { run, range }
        } else if let Some(range) = self.expired {
            Entry::Expired { run, range, at: UnixNanos(self.expired_unix_ns.unwrap_or(0)) }
        } else if let Some(by) = self.resumed_by {
            Entry::ResumedBy { run, by: by.parse()? }
        } else if let (Some(at), Some(captured)) = (self.ended, self.captured) {
            Entry::Ended { run, at: UnixNanos(at), first: self.first, captured }
        } else if let Some(at) = self.began {
            let (endless, live) = (self.endless, self.live);
            let sender = self.sender.map(Cow::into_owned);
            let first = self.first.unwrap_or(0);
            Entry::Began { run, at: UnixNanos(at), first, endless, live, sender }
        } else {
            return Ok(None);
        }))
    }
}

impl Range {
    /// Both as one, where they touch or overlap, and `next` does not begin before this one.
    fn joined(self, next: Self) -> Option<Self> {
        let touches = next.first >= self.first && next.first <= self.last.saturating_add(1);
        touches.then_some(Self { first: self.first, last: self.last.max(next.last) })
    }
}

impl Place {
    /// The word in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::super::lines::MAX_LINE_BYTES;
    use super::*;

    pub(crate) const RUN: RunId = RunId([0x5a; 16]);

    pub(crate) fn dropped(first: u64, last: u64) -> Entry {
        let (range, reason) = (Range { first, last }, Some(DropReason::Late));
        let captured = Some((UnixNanos(first), UnixNanos(last)));
        Entry::Dropped { run: RUN, range, reason, place: Place::Sender, captured }
    }

    fn line(entry: &Entry) -> String {
        let mut line = Vec::new();
        entry.write_line(&mut line);
        assert!(line.len() <= MAX_LINE_BYTES / 2);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn golden_lines() {
        let range = Range { first: 3, last: 9 };
        let run = RUN;
        let text = |text: &str| Some(text.to_owned());
        for (entry, golden) in [
            (
                Entry::Opened {
                    owner: text("sha256:ab"),
                    name: text("cam1"),
                    source: "visible".to_owned(),
                    at: UnixNanos(7),
                },
                r#"{"owner":"sha256:ab","name":"cam1","source":"visible","opened":7}"#,
            ),
            (
                Entry::Opened { owner: None, name: None, source: "v".to_owned(), at: UnixNanos(7) },
                r#"{"source":"v","opened":7}"#,
            ),
            (
                Entry::Began {
                    run,
                    at: UnixNanos(5),
                    first: 0,
                    endless: false,
                    live: false,
                    sender: text("sha256:ab"),
                },
                r#"{"run":"R","began":5,"first":0,"sender":"sha256:ab"}"#,
            ),
            (
                Entry::Began {
                    run,
                    at: UnixNanos(5),
                    first: 8,
                    endless: true,
                    live: true,
                    sender: None,
                },
                r#"{"run":"R","began":5,"first":8,"endless":true,"live":true}"#,
            ),
            (
                dropped(3, 9),
                r#"{"run":"R","dropped":{"first":3,"last":9},"reason":"late","where":"sender","captured_unix_ns":[3,9]}"#,
            ),
            (
                Entry::StoredBefore { run, range, earlier: None },
                r#"{"run":"R","stored_before":{"first":3,"last":9}}"#,
            ),
            (
                Entry::StoredBefore {
                    run,
                    range,
                    earlier: Some(Earlier { run: RunId([0xa5; 16]), first: 1 }),
                },
                r#"{"run":"R","stored_before":{"first":3,"last":9},"by":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","by_first":1}"#,
            ),
            (Entry::TakenAway { run, range }, r#"{"run":"R","taken_away":{"first":3,"last":9}}"#),
            (
                Entry::Ended { run, at: UnixNanos(6), first: None, captured: 10 },
                r#"{"run":"R","ended":6,"captured":10}"#,
            ),
            (
                Entry::Ended { run, at: UnixNanos(6), first: Some(8), captured: 10 },
                r#"{"run":"R","first":8,"ended":6,"captured":10}"#,
            ),
            (
                Entry::ResumedBy { run, by: RunId([0xa5; 16]) },
                r#"{"run":"R","resumed_by":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5"}"#,
            ),
            (
                Entry::Expired { run, range, at: UnixNanos(8) },
                r#"{"run":"R","expired":{"first":3,"last":9},"expired_unix_ns":8}"#,
            ),
        ] {
            let golden = golden.replace("\"R\"", &format!("\"{RUN}\""));
            assert_eq!(line(&entry), format!("{golden}\n"));
            assert_eq!(Entry::parse(golden.as_bytes()).unwrap(), Some(entry));
        }
    }

    #[test]
    fn what_is_not_known_is_ignored_and_what_is_wrong_is_refused() {
        let parse =
            |text: &str| Entry::parse(text.replace("\"R\"", &format!("\"{RUN}\"")).as_bytes());
        for unknown in
            ["{}", r#"{"paused":3}"#, r#"{"run":"R","paused":{"first":1}}"#, r#"{"note":"mine"}"#]
        {
            assert_eq!(parse(unknown).unwrap(), None, "{unknown}");
        }
        let later = r#"{"run":"R","dropped":{"first":1,"last":2,"by":3},"reason":"new","more":[]}"#;
        assert!(matches!(parse(later).unwrap(), Some(Entry::Dropped { reason: None, .. })));
        for wrong in [
            "",
            "7",
            r#"{"run":7}"#,
            r#"{"run":"abc","began":1}"#,
            r#"{"run":"R","dropped":{"first":9,"last":3}}"#,
            r#"{"run":"R","dropped":{"first":-1,"last":3}}"#,
            r#"{"run":"R","ended":1e30,"captured":1}"#,
        ] {
            assert!(parse(wrong).is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn neighbours_become_one() {
        assert_eq!(dropped(0, 4).joined(&dropped(5, 9)), Some(dropped(0, 9)));
        assert_eq!(dropped(0, 4).joined(&dropped(6, 9)), None);
        assert_eq!(dropped(5, 9).joined(&dropped(0, 4)), None);
        assert_eq!(
            dropped(0, u64::MAX).joined(&dropped(u64::MAX, u64::MAX)),
            Some(dropped(0, u64::MAX))
        );
        let before =
            Entry::StoredBefore { run: RUN, range: Range { first: 5, last: 6 }, earlier: None };
        assert_eq!(dropped(0, 4).joined(&before), None);
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Entry::parse(&line);
        }
    }
}
