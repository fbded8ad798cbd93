//! The records of a store, as columns.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::mem::take;
use std::path::{Path, PathBuf};

use blake3::Hash;
use framelane::frame::UnixNanos;
use framelane::manifest::{Entry, LEDGER_NAME, Ledger, Place, Reel, Stored};
use numpy::PyArray1;
use pyo3::prelude::*;

use crate::fault::{Kind, raise};

/// Numpy's "not a time".
const NOT_A_TIME: i64 = i64::MIN;

/// What a manifest says of all frames of a source, in the order in which they were stored.
#[derive(Debug, Default)]
#[pyclass(module = "framelane._native")]
pub(crate) struct Columns {
    sequence: Vec<u64>,
    names: Texts,
    bytes: Vec<u64>,
    captured: Vec<i64>,
    due: Vec<i64>,
    received: Vec<i64>,
    stored: Vec<i64>,
    hashes: Vec<Hash>,
    clocks: Words,
    media: Words,
    runs: Words,
    senders: Words,
    /// What stands before the name in a file's path, as its day; all of the path, with a zero behind it, where it does not
    /// end in the name.
    places: Words,
    /// Frames whose lines are there, and whose files were removed because they were old enough.
    expired: u64,
}

/// Many texts in one piece: 20 million names are no 20 million allocations.
#[derive(Debug, Default)]
struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, at: usize) -> Option<&str> {
        let end = *self.ends.get(at)?;
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text.get(begin..end)
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    fn keep(&mut self, kept: &[bool]) {
        let mut left = Self::default();
        for (text, _) in self.iter().zip(kept).filter(|(_, kept)| **kept) {
            left.push(text);
        }
        *self = left;
    }
}

/// A few different words, many times.
#[derive(Debug, Default)]
struct Words {
    known: Vec<Option<String>>,
    places: HashMap<Option<String>, u32>,
    of: Vec<u32>,
}

impl Words {
    fn push(&mut self, word: Option<String>) {
        let place = match self.places.get(&word) {
            Some(place) => *place,
            None => {
                let place = self.known.len() as u32;
                self.known.push(word.clone());
                self.places.insert(word, place);
                place
            }
        };
        self.of.push(place);
    }

    fn get(&self, at: usize) -> Option<&str> {
        self.known.get(*self.of.get(at)? as usize)?.as_deref()
    }

    fn keep(&mut self, kept: &[bool]) {
        let mut kept = kept.iter();
        self.of.retain(|_| kept.next().copied().unwrap_or(true));
    }
}

fn time(at: Option<UnixNanos>) -> i64 {
    at.and_then(|at| i64::try_from(at.0).ok()).unwrap_or(NOT_A_TIME)
}

impl Columns {
    fn push(&mut self, Stored { record, path }: Stored) {
        let path = path.to_string_lossy();
        let place = path.strip_suffix(record.name.as_str()).map(str::to_owned);
        self.places.push(Some(place.unwrap_or_else(|| format!("{path}\0"))));
        self.sequence.push(record.sequence.0);
        self.names.push(record.name.as_str());
        self.bytes.push(record.bytes);
        self.captured.push(time(record.captured));
        self.due.push(time(record.due));
        self.received.push(time(Some(record.received)));
        self.stored.push(time(Some(record.stored)));
        self.hashes.push(record.blake3);
        self.clocks.push(record.clock.map(|clock| clock.name().to_owned()));
        self.media.push(Some(record.media.as_str().to_owned()));
        self.runs.push(record.run.map(|run| run.to_string()));
        self.senders.push(record.sender);
    }

    /// A frame's file.
    fn path(&self, at: usize) -> Option<String> {
        let (place, name) = (self.places.get(at)?, self.names.get(at)?);
        Some(match place.strip_suffix('\0') {
            Some(path) => path.to_owned(),
            None => format!("{place}{name}"),
        })
    }

    /// Leaves out lines that a later one of the same name has replaced; of a name that is in `over` those before the
    /// place that stands there, where a line came that is not among these.
    fn keep_last(&mut self, over: &HashMap<String, usize>) {
        let mut last: HashMap<&str, usize> = HashMap::with_capacity(self.names.len());
        for (place, name) in self.names.iter().enumerate() {
            last.insert(name, place);
        }
        if last.len() == self.names.len() && over.is_empty() {
            return;
        }
        let is_last = |(place, name): (usize, &str)| {
            last.get(name) == Some(&place) && over.get(name).is_none_or(|over| place >= *over)
        };
        let kept: Vec<bool> = self.names.iter().enumerate().map(is_last).collect();
        self.keep(&kept);
    }

    /// Leaves out those that are not kept.
    fn keep(&mut self, kept: &[bool]) {
        fn keep<T>(column: &mut Vec<T>, kept: &[bool]) {
            let mut kept = kept.iter();
            column.retain(|_| kept.next().copied().unwrap_or(true));
        }
        keep(&mut self.sequence, kept);
        self.names.keep(kept);
        keep(&mut self.bytes, kept);
        keep(&mut self.hashes, kept);
        self.places.keep(kept);
        for times in [&mut self.captured, &mut self.due, &mut self.received, &mut self.stored] {
            keep(times, kept);
        }
        for words in [&mut self.clocks, &mut self.media, &mut self.runs, &mut self.senders] {
            words.keep(kept);
        }
    }
}

/// Reads the manifests in a source's folder, whatever its layout: about 2 µs a frame. Where there is a first or a last moment,
/// in nanoseconds since 1970, only frames of which it is known that they were captured from the first on and before the last.
#[pyfunction]
#[pyo3(signature = (folder, since=None, until=None))]
pub(crate) fn read_manifest(
    py: Python<'_>,
    folder: PathBuf,
    since: Option<u64>,
    until: Option<u64>,
) -> PyResult<Columns> {
    let between = (since, until);
    py.detach(|| read(&folder, between)).map_err(|error| {
        raise(py, Kind::Store, format!("cannot read the source in {}: {error}", folder.display()))
    })
}

fn read(folder: &Path, (since, until): (Option<u64>, Option<u64>)) -> io::Result<Columns> {
    let mut reel = Reel::open(folder)?;
    let mut columns = Columns::default();
    let is_meant = |captured: Option<UnixNanos>| match captured {
        Some(at) => {
            since.is_none_or(|since| at.0 >= since) && until.is_none_or(|until| at.0 < until)
        }
        None => since.is_none() && until.is_none(),
    };
    // Names that are meant, by their hashes, to know those again that a frame of another time has replaced.
    let (hasher, mut meant, mut over) = (RandomState::new(), HashSet::new(), HashMap::new());
    let is_part = since.is_some() || until.is_some();
    while let Some(stored) = reel.next_frame()? {
        let name = stored.record.name.as_str();
        if is_meant(stored.record.captured) {
            if is_part {
                meant.insert(hasher.hash_one(name));
            }
            columns.push(stored);
        } else if meant.contains(&hasher.hash_one(name)) {
            over.insert(name.to_owned(), columns.names.len());
        }
    }
    columns.keep_last(&over);
    columns.expired = expired(folder)?;
    Ok(columns)
}

/// How many frames were removed because they were old enough, as the ledger says; the reel leaves their lines out.
fn expired(folder: &Path) -> io::Result<u64> {
    let path = folder.join(LEDGER_NAME);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut days = HashMap::new();
    let mut visit = |entry: Entry| {
        if let Entry::DayExpired { day, frames, .. } = entry {
            // Where more of a day expires later, this counts all of it.
            days.insert(day, frames);
        }
    };
    Ledger::read(file, &path, &mut visit).map_err(io::Error::other)?;
    Ok(days.values().sum())
}

/// Frames that were declared dropped: run, first and last sequence, reason, at which end, and when the first and the
/// last of them were captured, in nanoseconds since 1970.
type Drop = (String, u64, u64, Option<String>, &'static str, Option<(u64, u64)>);

/// Reads what the ledger in a source's folder says of dropped frames; nothing where there is no ledger.
#[pyfunction]
pub(crate) fn read_drops(py: Python<'_>, folder: PathBuf) -> PyResult<Vec<Drop>> {
    let path = folder.join(LEDGER_NAME);
    let mut drops = Vec::new();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(drops),
        Err(error) => {
            return Err(raise(py, Kind::Store, format!("cannot read {}: {error}", path.display())));
        }
    };
    let mut visit = |entry: Entry| {
        if let Entry::Dropped { run, range, reason, place, captured } = entry {
            let place = if place == Place::Sender { "sender" } else { "receiver" };
            let captured = captured.map(|(first, last)| (first.0, last.0));
            drops.push((
                run.to_string(),
                range.first,
                range.last,
                reason.map(|reason| reason.name().to_owned()),
                place,
                captured,
            ));
        }
    };
    let read = py.detach(|| Ledger::read(file, &path, &mut visit).map(|_| ()));
    read.map_err(|error| raise(py, Kind::Store, error))?;
    Ok(drops)
}

/// Words, and which of them each frame has.
type Told<'py> = (Vec<Option<String>>, Bound<'py, PyArray1<u32>>);

#[pymethods]
impl Columns {
    fn __len__(&self) -> usize {
        self.names.len()
    }

    /// Frames that were removed because they were old enough, whose lines are there still.
    #[getter]
    fn expired(&self) -> u64 {
        self.expired
    }

    fn name(&self, at: usize) -> Option<&str> {
        self.names.get(at)
    }

    /// A frame's file.
    #[pyo3(name = "path")]
    fn path_of(&self, at: usize) -> Option<String> {
        self.path(at)
    }

    /// The hash of a frame's content, in hex.
    fn hash(&self, at: usize) -> Option<String> {
        self.hashes.get(at).map(|hash| hash.to_hex().to_string())
    }

    /// A column of whole numbers, which is handed over: it is not here any more.
    fn numbers<'py>(&mut self, py: Python<'py>, column: &str) -> Option<Bound<'py, PyArray1<u64>>> {
        let numbers = match column {
            "sequence" => &mut self.sequence,
            "bytes" => &mut self.bytes,
            _ => return None,
        };
        Some(PyArray1::from_vec(py, take(numbers)))
    }

    /// A column of times, in nanoseconds since 1970, which is handed over: it is not here any more.
    fn times<'py>(&mut self, py: Python<'py>, column: &str) -> Option<Bound<'py, PyArray1<i64>>> {
        let times = match column {
            "captured" => &mut self.captured,
            "due" => &mut self.due,
            "received" => &mut self.received,
            "stored" => &mut self.stored,
            _ => return None,
        };
        Some(PyArray1::from_vec(py, take(times)))
    }

    /// A column of few different words: the words, and which of them each frame has. It is handed over, and not here any more.
    fn words<'py>(&mut self, py: Python<'py>, column: &str) -> Option<Told<'py>> {
        let words = match column {
            "clock" => &mut self.clocks,
            "media" => &mut self.media,
            "run" => &mut self.runs,
            "sender" => &mut self.senders,
            _ => return None,
        };
        let Words { known, of, .. } = take(words);
        Some((known, PyArray1::from_vec(py, of)))
    }
}
