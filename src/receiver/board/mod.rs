//! What a receiver shows of itself while it runs: a panel for each source, written by the source's thread and by its
//! sessions, read by whoever looks. Nothing is written while nobody may look.

mod chart;
mod drops;
mod guest;
mod panel;
mod retired;
mod seat;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

pub use chart::{BOUNDS, SECONDS, Second, Spread};
pub use guest::{Guest, Told};
pub(super) use panel::StoredFrame;
pub use panel::{Counts, Newest, Panel, Quantiles, Share, Snapshot, Trouble};
pub use retired::{Retired, is_day};
pub(super) use seat::Seat;

use crate::frame::SourceName;

/// Panels that are kept. Where there is no room for one more, that one goes which no session has and that was
/// written to the longest ago.
const MAX_PANELS: usize = 512;

/// The panels of a receiver.
#[derive(Debug)]
pub struct Board {
    shown: Arc<AtomicBool>,
    panels: Mutex<Vec<Arc<Panel>>>,
    /// What was counted of those that were taken away.
    retired: Mutex<Vec<Retired>>,
    /// Counts the panels that were put up.
    news: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            shown: Arc::default(),
            panels: Mutex::default(),
            retired: Mutex::default(),
            news: watch::Sender::new(0),
        }
    }
}

impl Board {
    /// Has everything shown from now on. Before that nothing is written, so that it costs nothing.
    pub fn show(&self) {
        self.shown.store(true, Ordering::Relaxed);
    }

    /// All panels, in the order in which they came.
    pub fn panels(&self) -> Vec<Arc<Panel>> {
        self.list().clone()
    }

    /// What was counted of panels that were taken away: those of a source's days together.
    pub fn retired(&self) -> Vec<Retired> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes when a panel was put up or taken away.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Puts up a source that is in the store from before, with its last frame, where there is no panel of it.
    pub fn recall(&self, place: &Path, source: &SourceName, newest: Option<Newest>) {
        let panel = self.panel(place, source);
        newest.into_iter().for_each(|newest| panel.recall(newest));
    }

    /// The panel of a source, put up where there is none.
    pub(super) fn panel(&self, place: &Path, source: &SourceName) -> Arc<Panel> {
        let mut list = self.list();
        let known = list.iter().find(|panel| panel.place == place && panel.source == *source);
        if let Some(known) = known {
            return known.clone();
        }
        if list.len() >= MAX_PANELS {
            let idle = list.iter().enumerate().filter(|(_, panel)| panel.is_idle());
            let oldest = idle.min_by_key(|(_, panel)| panel.last_stored()).map(|(at, _)| at);
            if let Some(at) = oldest {
                let gone = list.remove(at);
                let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
                retired::retire(&mut retired, &gone);
            }
        }
        let panel = Arc::new(Panel::new(place.to_owned(), source.clone(), self.shown.clone()));
        // Where all are in use, one more is written to and not shown.
        if list.len() < MAX_PANELS {
            list.push(panel.clone());
            self.news.send_modify(|count| *count += 1);
        }
        panel
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Panel>>> {
        // The list is true at every moment.
        self.panels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
