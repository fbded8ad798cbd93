//! One session over several links of this machine at once.
//!
//! A connection is opened by each link, and all of them carry one session: the first says hello, the others join it.
//! Frames are steered one by one to where they will be complete first; what a path has that dies is sent again over
//! another, and the first copy wins. A session's task sees a single link, which is there as long as one of them is.

mod book;
mod carry;
mod line;
mod mode;
mod steer;
mod sums;
mod unanswered;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::leave::Link;
use super::{BoxFuture, Dial, SenderLink, TransportError};
use carry::Carrier;
pub use mode::PathsMode;

/// The first pause before a link is tried again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A path that comes back is used again within a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);
/// A connection that lasted less long than this was of no use.
const LASTING: Duration = Duration::from_secs(2);

/// Opens sessions over several links at once.
pub(super) struct Bond {
    ways: Vec<Arc<dyn Dial>>,
    names: Vec<String>,
    mode: PathsMode,
    /// By which of them the end of the last session was told.
    last: Arc<AtomicUsize>,
}

/// What comes of a link.
enum Tried {
    /// A connection by the link in that place. Where there was one, it takes its place; true where that still carries
    /// what it has.
    Opened(usize, SenderLink, bool),
    Failed(usize, TransportError),
}

impl Bond {
    /// One by these links, each dialled by its own way.
    pub(super) fn new(ways: Vec<(Link, Arc<dyn Dial>)>, mode: PathsMode) -> Self {
        let (names, ways) = ways.into_iter().map(|(Link(name), way)| (name, way)).unzip();
        Self { ways, names, mode, last: Arc::default() }
    }

    async fn open(&self) -> Result<SenderLink, TransportError> {
        let (tell, mut told) = mpsc::channel(2 * self.ways.len().max(1));
        let mut keepers = JoinSet::new();
        for (slot, way) in self.ways.iter().enumerate() {
            keepers.spawn(keep(slot, way.clone(), tell.clone()));
        }
        drop(tell);
        let mut failed: Vec<(usize, TransportError)> = Vec::new();
        while let Some(tried) = told.recv().await {
            match tried {
                Tried::Opened(slot, link, _) => {
                    let names = self.names.clone();
                    let last = self.last.clone();
                    return Ok(Carrier::begin(
                        self.mode,
                        names,
                        (slot, link),
                        (keepers, told),
                        last,
                    ));
                }
                Tried::Failed(slot, error) => {
                    failed.retain(|(other, _)| *other != slot);
                    failed.push((slot, error));
                    if failed.len() == self.ways.len() {
                        break;
                    }
                }
            }
        }
        failed.sort_unstable_by_key(|(slot, _)| *slot);
        let mut errors: Vec<_> = failed.into_iter().map(|(_, error)| error).collect();
        match errors.len() {
            0 => Err(TransportError::Ended),
            1 => Err(errors.remove(0)),
            // Of one receiver they say the same; who it is, is said once.
            _ => Err(match errors.iter().position(|error| !error.may_pass()) {
                Some(place) => errors.swap_remove(place),
                None => errors.swap_remove(0),
            }),
        }
    }
}

/// Has a connection by a link, and another when that is gone or there is a better one.
async fn keep(slot: usize, way: Arc<dyn Dial>, tell: mpsc::Sender<Tried>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let mut link = match way.dial().await {
            Ok(link) => link,
            Err(error) => {
                if tell.send(Tried::Failed(slot, error)).await.is_err() {
                    return;
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        let mut drains = false;
        loop {
            let (via, path, end) = (link.via.clone(), link.path.clone(), link.end.clone());
            let began = Instant::now();
            if tell.send(Tried::Opened(slot, link, drains)).await.is_err() {
                return;
            }
            tokio::select! {
                _ = end.cause() => {
                    if began.elapsed() >= LASTING {
                        pause = FIRST_PAUSE;
                    }
                    break;
                }
                better = way.better(&via, &path) => (link, drains) = (better.link, better.drains),
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

impl Dial for Bond {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        Box::pin(self.open())
    }

    fn linger(&self) -> BoxFuture<'_, ()> {
        match self.ways.get(self.last.load(Ordering::Relaxed)) {
            Some(way) => way.linger(),
            None => Box::pin(std::future::ready(())),
        }
    }
}

#[cfg(test)]
mod tests;
