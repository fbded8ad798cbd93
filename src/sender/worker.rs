//! A thread for each source: file systems block, and one source must not wait for another's.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::frame::Sequence;
use crate::source::{Content, Source, SourceError};
use crate::wire::OfferEntry;

/// Work for a source's thread.
#[derive(Debug)]
pub(super) enum Work {
    /// Look the frames up, and hash them where `hash` says so.
    Describe { sequences: Vec<Sequence>, hash: bool },
    /// Read a frame of at most `limit` bytes.
    Read { sequence: Sequence, limit: u64 },
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    /// The frames that could be looked up, and those that could not.
    Described { offers: Vec<OfferEntry>, failed: Vec<(Sequence, SourceError)> },
    /// A frame.
    Read { sequence: Sequence, content: Content },
    /// A frame that could not be read.
    Failed { sequence: Sequence, error: SourceError },
}

/// Starts a source's thread; it ends when the returned sender is dropped. `lane` marks its results.
pub(super) fn start(
    lane: usize,
    source: Arc<dyn Source>,
    results: mpsc::UnboundedSender<(usize, Done)>,
) -> mpsc::UnboundedSender<Work> {
    // Unbounded, but a session asks only for what its window admits.
    let (work, mut queue) = mpsc::unbounded_channel();
    tokio::task::spawn_blocking(move || {
        while let Some(work) = queue.blocking_recv() {
            if results.send((lane, perform(source.as_ref(), work))).is_err() {
                return;
            }
        }
    });
    work
}

fn perform(source: &dyn Source, work: Work) -> Done {
    match work {
        Work::Describe { sequences, hash } => describe(source, sequences, hash),
        Work::Read { sequence, limit } => match source.read(sequence, limit) {
            Ok(content) => Done::Read { sequence, content },
            Err(error) => Done::Failed { sequence, error },
        },
    }
}

fn describe(source: &dyn Source, sequences: Vec<Sequence>, hash: bool) -> Done {
    let (mut offers, mut failed) = (Vec::with_capacity(sequences.len()), Vec::new());
    for sequence in sequences {
        match offer(source, sequence, hash) {
            Ok(entry) => offers.push(entry),
            Err(error) => failed.push((sequence, error)),
        }
    }
    Done::Described { offers, failed }
}

fn offer(source: &dyn Source, sequence: Sequence, hash: bool) -> Result<OfferEntry, SourceError> {
    let (description, hash) = if hash {
        let content = source.read(sequence, u64::MAX)?;
        (content.description, Some(content.hash))
    } else {
        (source.describe(sequence)?, None)
    };
    let (name, bytes, modified) = (description.name, description.bytes, description.modified);
    Ok(OfferEntry { sequence, name, bytes, modified, hash })
}
