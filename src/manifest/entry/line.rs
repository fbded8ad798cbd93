//! A line of the ledger as bytes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Earlier, Entry, EntryError, Place, Range};
use crate::frame::{DropReason, RunId, UnixNanos};

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
