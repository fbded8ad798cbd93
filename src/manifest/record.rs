//! One line of the manifest, as a value and as bytes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::day::Day;
use crate::frame::{
    Clock, ContentHash, FrameMeta, FrameName, MediaType, NameError, NotARun, RunId, Sequence,
    UnixNanos,
};

/// What is known of one stored frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Place in the source.
    pub sequence: Sequence,
    /// File name beside the manifest.
    pub name: FrameName,
    /// Length in bytes.
    pub bytes: u64,
    /// BLAKE3 of the content, as computed by the receiver.
    pub blake3: ContentHash,
    /// When the camera made it; `None` where nobody knows. Lines of earlier versions have the time at which it was
    /// due there, and no clock.
    pub captured: Option<UnixNanos>,
    /// Where that time was taken from.
    pub clock: Option<Clock>,
    /// How far it may be off, in nanoseconds either way.
    pub uncertainty: Option<u64>,
    /// When it was due, where it was sent at the pace of a schedule.
    pub due: Option<UnixNanos>,
    /// When its last byte had arrived.
    pub received: UnixNanos,
    /// When its file had its final name.
    pub stored: UnixNanos,
    /// What the content is.
    pub media: MediaType,
    /// When the sender's file was last changed, if it was a file.
    pub modified: Option<UnixNanos>,
    /// The run that brought it; `None` where the protocol knows none.
    pub run: Option<RunId>,
    /// The pin of the sender that brought it, where it has one.
    pub sender: Option<String>,
    /// The hour whose folder, between the manifest and the name, its file is in; `None` where there is none between.
    pub hour: Option<u8>,
}

/// Why a line is not a record.
#[derive(Debug, Error)]
pub enum RecordError {
    /// Not a JSON object with the fields of a record.
    #[error("not a manifest line: {0}")]
    Json(#[from] serde_json::Error),
    /// A name that no frame can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Not 64 hex digits.
    #[error("blake3 is not 64 hex digits")]
    Hash,
    /// The run is not one.
    #[error(transparent)]
    Run(#[from] NotARun),
    /// A folder that is no hour.
    #[error("the folder is no hour from 00 to 23")]
    Folder,
}

/// The fields as they are written. The names are a contract: other people's scripts read them.
#[derive(Serialize, Deserialize)]
struct Fields<'a> {
    sequence: u64,
    #[serde(borrow)]
    name: Cow<'a, str>,
    bytes: u64,
    #[serde(borrow)]
    blake3: Cow<'a, str>,
    captured_unix_ns: Option<u64>,
    #[serde(default, borrow)]
    clock: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncertainty_ns: Option<u64>,
    #[serde(default)]
    due_unix_ns: Option<u64>,
    received_unix_ns: u64,
    stored_unix_ns: u64,
    #[serde(default)]
    media_type: Option<Cow<'a, str>>,
    modified_unix_ns: Option<u64>,
    #[serde(default, borrow)]
    run: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    sender: Option<Cow<'a, str>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    folder: Option<Cow<'a, str>>,
}

impl Record {
    /// The record of a frame whose content has the hash `blake3`.
    pub fn new(
        meta: &FrameMeta,
        blake3: ContentHash,
        received: UnixNanos,
        stored: UnixNanos,
    ) -> Self {
        Self {
            sequence: meta.sequence,
            name: meta.name.clone(),
            bytes: meta.bytes,
            blake3,
            captured: meta.captured.map(|captured| captured.at),
            clock: meta.captured.map(|captured| captured.clock),
            uncertainty: meta.captured.and_then(|captured| captured.uncertainty),
            due: meta.due,
            received,
            stored,
            media: meta.media.clone(),
            modified: meta.modified,
            run: None,
            sender: None,
            hour: None,
        }
    }

    /// The day that it belongs to, in UTC: the one on which it was captured or, where nobody knows that, came.
    pub fn day(&self) -> Day {
        Day::of(self.at())
    }

    /// When it was captured or, where nobody knows that, came.
    pub fn at(&self) -> UnixNanos {
        self.captured.unwrap_or(self.received)
    }

    /// Where its file is, from its manifest's folder on.
    pub fn path(&self) -> Cow<'_, str> {
        match self.hour {
            Some(hour) => Cow::Owned(format!("{hour:02}/{}", self.name)),
            None => Cow::Borrowed(self.name.as_str()),
        }
    }

    /// Reads one line, without its line feed. Fields that are not known are ignored, so that a
    /// later version, or a user, may add some.
    ///
    /// # Errors
    /// [`RecordError`] says what is wrong with the line.
    pub fn parse(line: &[u8]) -> Result<Self, RecordError> {
        let fields: Fields<'_> = serde_json::from_slice(line)?;
        let name = FrameName::parse(&fields.name)?;
        let media = match &fields.media_type {
            Some(media) => MediaType::parse(media)?,
            None => name.media_type(),
        };
        Ok(Self {
            sequence: Sequence(fields.sequence),
            name,
            bytes: fields.bytes,
            blake3: ContentHash::from_hex(fields.blake3.as_bytes())
                .map_err(|_| RecordError::Hash)?,
            captured: fields.captured_unix_ns.map(UnixNanos),
            clock: fields.clock.as_deref().and_then(Clock::from_name),
            uncertainty: fields.uncertainty_ns,
            due: fields.due_unix_ns.map(UnixNanos),
            received: UnixNanos(fields.received_unix_ns),
            stored: UnixNanos(fields.stored_unix_ns),
            media,
            modified: fields.modified_unix_ns.map(UnixNanos),
            run: fields.run.map(|run| run.parse()).transpose()?,
            sender: fields.sender.map(Cow::into_owned),
            hour: fields.folder.map(|folder| parse_hour(&folder)).transpose()?,
        })
    }

    /// Appends the line, with its line feed, to `out`.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        let hash = self.blake3.to_hex();
        let fields = Fields {
            sequence: self.sequence.0,
            name: Cow::Borrowed(self.name.as_str()),
            bytes: self.bytes,
            blake3: Cow::Borrowed(hash.as_str()),
            captured_unix_ns: self.captured.map(|time| time.0),
            clock: self.clock.map(|clock| Cow::Borrowed(clock.name())),
            uncertainty_ns: self.uncertainty,
            due_unix_ns: self.due.map(|time| time.0),
            received_unix_ns: self.received.0,
            stored_unix_ns: self.stored.0,
            media_type: Some(Cow::Borrowed(self.media.as_str())),
            modified_unix_ns: self.modified.map(|time| time.0),
            run: self.run.map(|run| Cow::Owned(run.to_string())),
            sender: self.sender.as_deref().map(Cow::Borrowed),
            folder: self.hour.map(|hour| Cow::Owned(format!("{hour:02}"))),
        };
        serde_json::to_writer(&mut *out, &fields).expect("plain fields serialise into memory");
        out.push(b'\n');
    }
}

/// Two digits, of an hour that there is.
fn parse_hour(text: &str) -> Result<u8, RecordError> {
    let is_hour = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let hour = text.parse().ok().filter(|hour| is_hour && *hour < 24);
    hour.ok_or(RecordError::Folder)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::super::MAX_LINE_BYTES;
    use super::*;

    pub(crate) fn sample(sequence: u64, name: &str) -> Record {
        Record {
            sequence: Sequence(sequence),
            name: FrameName::parse(name).unwrap(),
            bytes: 3,
            blake3: blake3::hash(b"abc"),
            captured: Some(UnixNanos(1_700_000_000_000_000_001)),
            clock: Some(Clock::Modified),
            uncertainty: None,
            due: None,
            received: UnixNanos(1_700_000_000_000_000_002),
            stored: UnixNanos(1_700_000_000_000_000_003),
            media: FrameName::parse(name).unwrap().media_type(),
            modified: None,
            run: Some(RunId([0x5a; 16])),
            sender: Some("sha256:ab".to_owned()),
            hour: None,
        }
    }

    #[test]
    fn golden_line() {
        let mut line = Vec::new();
        sample(7, "7 \"é\".jpg").write_line(&mut line);
        let golden = concat!(
            r#"{"sequence":7,"name":"7 \"é\".jpg","bytes":3,"#,
            r#""blake3":"6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85","#,
            r#""captured_unix_ns":1700000000000000001,"clock":"modified","due_unix_ns":null,"#,
            r#""received_unix_ns":1700000000000000002,"stored_unix_ns":1700000000000000003,"#,
            r#""media_type":"image/jpeg","modified_unix_ns":null,"#,
            r#""run":"5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a","sender":"sha256:ab"}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(line).unwrap(), golden);
    }

    #[test]
    fn only_the_promised_fields_are_needed_and_others_are_ignored() {
        let line = format!(
            r#"{{"name":"a.png","bytes":1,"sequence":0,"blake3":"{}","captured_unix_ns":null,
               "received_unix_ns":1,"stored_unix_ns":2,"note":"mine"}}"#,
            blake3::hash(b"x").to_hex()
        );
        let record = Record::parse(line.as_bytes()).unwrap();
        assert_eq!((record.captured, record.modified), (None, None));
        assert_eq!(record.media.as_str(), "image/png");
    }

    #[test]
    fn lines_that_claim_the_impossible_are_refused() {
        let mut good = Vec::new();
        sample(1, "1.jpg").write_line(&mut good);
        let good = String::from_utf8(good).unwrap();
        for (from, to) in [
            ("1.jpg", "../1.jpg"),
            ("1.jpg", "manifest.jsonl"),
            ("6437", "64"),
            ("5a5a", "5a"),
            ("\"bytes\":3", "\"bytes\":-5"),
            ("\"bytes\":3", "\"bytes\":3,\"bytes\":6"),
            ("image/jpeg", "image"),
            ("\"bytes\":3", "\"bytes\":3,\"folder\":\"..\""),
            ("\"bytes\":3", "\"bytes\":3,\"folder\":\"24\""),
            ("\"bytes\":3", "\"bytes\":3,\"folder\":\"+1\""),
            ("{", ""),
        ] {
            let line = good.replacen(from, to, 1);
            assert_ne!(line, good);
            assert!(Record::parse(line.as_bytes()).is_err(), "{line} was taken");
        }
    }

    proptest! {
        #[test]
        fn a_line_is_read_back_as_it_was_written(
            name in "[^\u{0}-\u{1f}\u{7f}-\u{9f}/\\\\]{1,60}",
            sequence: u64, bytes: u64, captured: Option<u64>, modified: Option<u64>,
        ) {
            let Ok(name) = FrameName::parse(&name) else { return Ok(()) };
            let mut record = sample(sequence, "x.png");
            record.name = name;
            record.bytes = bytes;
            record.captured = captured.map(UnixNanos);
            record.modified = modified.map(UnixNanos);
            record.hour = bytes.is_multiple_of(2).then_some((bytes % 24) as u8);
            let mut line = Vec::new();
            record.write_line(&mut line);
            prop_assert!(line.len() <= MAX_LINE_BYTES);
            prop_assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            prop_assert_eq!(Record::parse(&line[..line.len() - 1]).unwrap(), record);
        }
    }

    #[test]
    fn the_longest_line_is_within_the_limit() {
        let mut record = sample(u64::MAX, "x");
        record.name = FrameName::parse(&vec!["\"".repeat(249); 4].join("/")).unwrap();
        record.media = MediaType::parse(&format!("\"/{}", "\"".repeat(125))).unwrap();
        record.bytes = u64::MAX;
        record.modified = Some(UnixNanos(u64::MAX));
        let mut line = Vec::new();
        record.write_line(&mut line);
        assert!(line.len() <= MAX_LINE_BYTES * 2 / 3, "{} bytes", line.len());
    }
}
