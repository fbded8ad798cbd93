//! One session over several links of this machine at once.
//!
//! A connection is opened by each link, and all of them carry one session: the first says hello, the others join it.
//! Frames are steered one by one to where they will be complete first; what a path has that dies is sent again over
//! another, and the first copy wins. A session's task sees a single link, which is there as long as one of them is.

mod book;
mod carry;
mod line;
mod meter;
mod mode;
mod steer;
mod sums;
mod unanswered;
mod wanted;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::leave::Link;
use super::{BoxFuture, Dial, SenderLink, TransportError};
use carry::Carrier;
use meter::Meter;
pub use mode::PathsMode;
pub use wanted::{DataCap, Period, ViaError, ViaLink};

/// The first pause before a link is tried again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A path that comes back is used again within a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);
/// The same of a link whose data is limited, once so many attempts were in vain: each takes some of it.
const LONGEST_PAUSE_OF_LIMITED: Duration = Duration::from_secs(10);
const MOST_VAIN_AT_ONCE: u32 = 60;
/// How soon the clock is looked at again where another day is waited for: it may be set meanwhile.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);
/// A connection that lasted less long than this was of no use.
const LASTING: Duration = Duration::from_secs(2);

/// Opens sessions over several links at once.
pub(super) struct Bond {
    ways: Vec<Way>,
    links: Vec<Named>,
    mode: PathsMode,
    /// By which of them the end of the last session was told.
    last: Arc<AtomicUsize>,
}

/// A link, and how a connection by it is dialled.
pub(super) struct Way {
    pub(super) link: Link,
    pub(super) dial: Arc<dyn Dial>,
    /// How much may go over it, and the file in which that is counted.
    pub(super) cap: Option<(DataCap, PathBuf)>,
}

/// A link, for the task of a session.
#[derive(Debug, Clone)]
struct Named {
    name: String,
    meter: Option<Meter>,
}

impl Named {
    /// True where its data is used up.
    fn is_spent(&self) -> bool {
        self.meter.as_ref().is_some_and(Meter::is_spent)
    }

    /// It and its cap, where it has one.
    fn told(&self) -> Option<String> {
        Some(format!("{} ({})", self.name, self.meter.as_ref()?.cap()))
    }
}

/// What comes of a link.
enum Tried {
    /// A connection by the link in that place. Where there was one, it takes its place; true where that still carries
    /// what it has.
    Opened(usize, SenderLink, bool),
    Failed(usize, TransportError),
}

/// Whether what goes over a link with a cap can be counted in a file: for who wants to know it before anything is
/// captured.
///
/// # Errors
/// [`TransportError::Uncounted`].
pub fn check_count(link: &ViaLink, file: &Path) -> Result<(), TransportError> {
    let Some(error) = link.cap().and_then(|_| meter::check(file).err()) else { return Ok(()) };
    let (link, file, why) = (link.name().to_owned(), file.to_owned(), error.to_string());
    Err(TransportError::Uncounted { link, file, why })
}

impl Bond {
    /// One by these links, each dialled by its own way.
    ///
    /// # Errors
    /// [`TransportError::Uncounted`] where what goes over a link with a cap cannot be counted.
    pub(super) fn new(ways: Vec<Way>, mode: PathsMode) -> Result<Self, TransportError> {
        let named = |way: &Way| {
            let Link(name) = &way.link;
            let meter = way.cap.as_ref().map(|(cap, file)| {
                Meter::open(name, *cap, file).map_err(|error| TransportError::Uncounted {
                    link: name.clone(),
                    file: file.clone(),
                    why: error.to_string(),
                })
            });
            Ok(Named { name: name.clone(), meter: meter.transpose()? })
        };
        let links = ways.iter().map(named).collect::<Result<_, TransportError>>()?;
        Ok(Self { ways, links, mode, last: Arc::default() })
    }

    /// Why nothing is dialled now: the data of every link is used up.
    fn all_spent(&self) -> Option<TransportError> {
        self.links.iter().all(Named::is_spent).then(|| data_spent(&self.links))
    }

    /// Links of which a connection may come.
    fn unspent(&self) -> usize {
        self.links.iter().filter(|link| !link.is_spent()).count()
    }

    async fn open(&self) -> Result<SenderLink, TransportError> {
        if let Some(error) = self.all_spent() {
            return Err(error);
        }
        let (tell, mut told) = mpsc::channel(2 * self.ways.len().max(1));
        let mut keepers = JoinSet::new();
        for (slot, (way, link)) in self.ways.iter().zip(&self.links).enumerate() {
            keepers.spawn(keep(slot, way.dial.clone(), link.meter.clone(), tell.clone()));
        }
        drop(tell);
        let mut failed: Vec<(usize, TransportError)> = Vec::new();
        while let Some(tried) = told.recv().await {
            match tried {
                Tried::Opened(slot, link, _) => {
                    let links = self.links.clone();
                    let last = self.last.clone();
                    return Ok(Carrier::begin(
                        self.mode,
                        links,
                        (slot, link),
                        (keepers, told),
                        last,
                    ));
                }
                Tried::Failed(slot, error) => {
                    failed.retain(|(other, _)| *other != slot);
                    failed.push((slot, error));
                    if failed.len() == self.unspent() {
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

/// The data of all these links is used up.
fn data_spent(links: &[Named]) -> TransportError {
    let caps = links.iter().filter_map(Named::told);
    TransportError::DataSpent { links: caps.collect::<Vec<_>>().join(", ") }
}

/// Has a connection by a link, and another when that is gone or there is a better one; none while the link's data is
/// used up.
async fn keep(slot: usize, way: Arc<dyn Dial>, meter: Option<Meter>, tell: mpsc::Sender<Tried>) {
    let mut pause = FIRST_PAUSE;
    let mut vain = 0_u32;
    loop {
        while let Some(meter) = meter.as_ref().filter(|meter| meter.is_spent()) {
            sleep(meter.until_next().min(LOOK_AT_CLOCK)).await;
        }
        let mut link = match way.dial().await {
            Ok(link) => link,
            Err(error) => {
                let mut longest = LONGEST_PAUSE;
                if let Some(meter) = meter.as_ref().filter(|_| error.has_sent()) {
                    meter.add_attempt();
                    vain = vain.saturating_add(1);
                    if vain > MOST_VAIN_AT_ONCE {
                        longest = LONGEST_PAUSE_OF_LIMITED;
                    }
                }
                if tell.send(Tried::Failed(slot, error)).await.is_err() {
                    return;
                }
                sleep(pause).await;
                pause = (pause * 2).min(longest);
                continue;
            }
        };
        vain = 0;
        pause = pause.min(LONGEST_PAUSE);
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
            Some(way) => way.dial.linger(),
            None => Box::pin(std::future::ready(())),
        }
    }
}

#[cfg(test)]
mod tests;
