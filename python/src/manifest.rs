//! The records of a store, as columns.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

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
    names: Vec<String>,
    bytes: Vec<u64>,
    captured: Vec<i64>,
    due: Vec<i64>,
    received: Vec<i64>,
    stored: Vec<i64>,
    hashes: Vec<String>,
    clocks: Words,
    media: Words,
    runs: Words,
    senders: Words,
    paths: Vec<String>,
    /// Frames whose lines are there, and whose files were removed because they were old enough.
    expired: u64,
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
        self.paths.push(path.to_string_lossy().into_owned());
        self.sequence.push(record.sequence.0);
        self.names.push(record.name.as_str().to_owned());
        self.bytes.push(record.bytes);
        self.captured.push(time(record.captured));
        self.due.push(time(record.due));
        self.received.push(time(Some(record.received)));
        self.stored.push(time(Some(record.stored)));
        self.hashes.push(record.blake3.to_hex().to_string());
        self.clocks.push(record.clock.map(|clock| clock.name().to_owned()));
        self.media.push(Some(record.media.as_str().to_owned()));
        self.runs.push(record.run.map(|run| run.to_string()));
        self.senders.push(record.sender);
    }

    /// Leaves out lines that a later one of the same name has replaced.
    fn keep_last(&mut self) {
        let mut last: HashMap<&str, usize> = HashMap::with_capacity(self.names.len());
        for (place, name) in self.names.iter().enumerate() {
            last.insert(name, place);
        }
        if last.len() == self.names.len() {
            return;
        }
        let is_last = |(place, name): (usize, &String)| last.get(name.as_str()) == Some(&place);
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
        keep(&mut self.names, kept);
        keep(&mut self.bytes, kept);
        keep(&mut self.hashes, kept);
        keep(&mut self.paths, kept);
        for times in [&mut self.captured, &mut self.due, &mut self.received, &mut self.stored] {
            keep(times, kept);
        }
        for words in [&mut self.clocks, &mut self.media, &mut self.runs, &mut self.senders] {
            words.keep(kept);
        }
    }
}

/// Reads the manifests in a source's folder, whatever its layout: about 2 µs a frame.
#[pyfunction]
pub(crate) fn read_manifest(py: Python<'_>, folder: PathBuf) -> PyResult<Columns> {
    py.detach(|| read(&folder)).map_err(|error| {
        raise(py, Kind::Store, format!("cannot read the source in {}: {error}", folder.display()))
    })
}

fn read(folder: &Path) -> io::Result<Columns> {
    let mut reel = Reel::open(folder)?;
    let mut columns = Columns::default();
    while let Some(stored) = reel.next_frame()? {
        columns.push(stored);
    }
    columns.keep_last();
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

    #[getter]
    fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// Their files.
    #[getter]
    fn paths(&self) -> Vec<&str> {
        self.paths.iter().map(String::as_str).collect()
    }

    #[getter]
    fn hashes(&self) -> Vec<&str> {
        self.hashes.iter().map(String::as_str).collect()
    }

    /// A column of whole numbers.
    fn numbers<'py>(&self, py: Python<'py>, column: &str) -> Option<Bound<'py, PyArray1<u64>>> {
        let numbers = match column {
            "sequence" => &self.sequence,
            "bytes" => &self.bytes,
            _ => return None,
        };
        Some(PyArray1::from_slice(py, numbers))
    }

    /// A column of times, in nanoseconds since 1970.
    fn times<'py>(&self, py: Python<'py>, column: &str) -> Option<Bound<'py, PyArray1<i64>>> {
        let times = match column {
            "captured" => &self.captured,
            "due" => &self.due,
            "received" => &self.received,
            "stored" => &self.stored,
            _ => return None,
        };
        Some(PyArray1::from_slice(py, times))
    }

    /// A column of few different words: the words, and which of them each frame has.
    fn words<'py>(&self, py: Python<'py>, column: &str) -> Option<Told<'py>> {
        let words = match column {
            "clock" => &self.clocks,
            "media" => &self.media,
            "run" => &self.runs,
            "sender" => &self.senders,
            _ => return None,
        };
        Some((words.known.clone(), PyArray1::from_slice(py, &words.of)))
    }
}
