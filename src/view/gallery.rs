//! The sources that there are to see, by the names that addresses have for them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;

use super::Shown;
use super::disk::Disk;
use super::reel::Reel;
use super::shelf::Shelf;
use crate::frame::SourceName;
use crate::manifest::Expired;
use crate::receiver::{Newest, Panel};

/// Who looks on and on: pages and streams, at once.
const MAX_VIEWERS: usize = 128;

/// Frames that are read or made ready at once.
const MAX_WORK: usize = 2;

/// Requests for what is stored that are answered at once: a search may read a gigabyte of records, and the live pictures do not
/// wait for it.
const MAX_SEARCHES: usize = 1;

/// Memory for what is shown of all sources together, in KiB. An image of some kilobytes may be decoded to 192 MiB.
const MOST_SHOWN_KIB: usize = 1 << 20;

/// Memory for the content of frames that are handed out, in KiB: a reader may take its time. The longest frame that is
/// shown takes half of it.
const MOST_HANDED_OUT_KIB: usize = 512 << 10;

/// Sources of which it is remembered what has expired; of more it is read again.
const MOST_REMEMBERED: usize = 1_024;

/// What is shown, shared by all requests.
#[derive(Debug)]
pub(super) struct Gallery {
    pub(super) shown: Shown,
    reels: Mutex<HashMap<String, Weak<Reel>>>,
    /// What has expired, by source.
    expired: Mutex<HashMap<String, Arc<Mutex<Expired>>>>,
    /// How the disk was when it was last looked at.
    disk: Mutex<Option<Disk>>,
    at_disk: Arc<Semaphore>,
    viewers: Arc<Semaphore>,
    work: Arc<Semaphore>,
    searches: Arc<Semaphore>,
    /// In KiB.
    memory: Arc<Semaphore>,
    /// The same, for what is handed out whole.
    answers: Arc<Semaphore>,
    /// The newest frames that somebody is given just now.
    newest: Mutex<HashMap<String, NewestHeld>>,
    /// Changes when any source has another frame to show.
    news: Arc<watch::Sender<u64>>,
}

/// A newest frame, and its content for as long as somebody has it.
type NewestHeld = (Arc<Newest>, Weak<Held>);

/// Content that is handed out, to one reader or to several.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

/// One who is given it, until all of it is on its way.
#[derive(Clone)]
struct Handed(Arc<Held>);

impl AsRef<[u8]> for Handed {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Held {
    /// `None` where there is no memory for it.
    fn claim(bytes: Bytes, memory: &Arc<Semaphore>) -> Option<Arc<Self>> {
        let kib = u32::try_from(bytes.len() / 1_024 + 1).unwrap_or(u32::MAX);
        let memory = memory.clone().try_acquire_many_owned(kib).ok()?;
        Some(Arc::new(Self { bytes, _memory: memory }))
    }

    /// The same content, which stays for as long as any of these is there.
    pub(super) fn hand(self: &Arc<Self>) -> Bytes {
        Bytes::from_owner(Handed(self.clone()))
    }
}

/// One source to see.
#[derive(Debug, Clone)]
pub(super) struct Exhibit {
    /// Its name; where each sender has a store of its own, behind that one's folder.
    pub(super) id: String,
    pub(super) panel: Arc<Panel>,
}

impl Gallery {
    pub(super) fn new(shown: Shown) -> Self {
        Self {
            shown,
            reels: Mutex::default(),
            expired: Mutex::default(),
            disk: Mutex::default(),
            at_disk: Arc::new(Semaphore::new(1)),
            viewers: Arc::new(Semaphore::new(MAX_VIEWERS)),
            work: Arc::new(Semaphore::new(MAX_WORK)),
            searches: Arc::new(Semaphore::new(MAX_SEARCHES)),
            memory: Arc::new(Semaphore::new(MOST_SHOWN_KIB)),
            answers: Arc::new(Semaphore::new(MOST_HANDED_OUT_KIB)),
            newest: Mutex::default(),
            news: Arc::new(watch::Sender::new(0)),
        }
    }

    /// All sources, sorted.
    pub(super) fn exhibits(&self) -> Vec<Exhibit> {
        let panels = self.shown.board.panels().into_iter();
        let mut all: Vec<_> = panels.map(|panel| Exhibit { id: self.id(&panel), panel }).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    pub(super) fn find(&self, id: &str) -> Option<Exhibit> {
        let mut panels = self.shown.board.panels().into_iter();
        panels.find(|panel| self.id(panel) == id).map(|panel| Exhibit { id: id.to_owned(), panel })
    }

    fn id(&self, panel: &Panel) -> String {
        self.id_of(&panel.place, &panel.source)
    }

    /// What a source at a place is called.
    pub(super) fn id_of(&self, place: &Path, source: &SourceName) -> String {
        let below = place.strip_prefix(&self.shown.root).unwrap_or(place);
        match below.as_os_str().is_empty() {
            true => source.to_string(),
            false => format!("{}/{source}", below.to_string_lossy()),
        }
    }

    /// Where a source's frames are.
    pub(super) fn shelf(&self, exhibit: &Exhibit) -> Shelf {
        let panel = &exhibit.panel;
        let store: PathBuf = match panel.place.as_os_str().is_empty() {
            true => self.shown.root.clone(),
            false => panel.place.clone(),
        };
        let raw = self.shown.raw.get(&panel.source).copied().unwrap_or_default();
        let mut expired = self.expired.lock().unwrap_or_else(PoisonError::into_inner);
        if expired.len() >= MOST_REMEMBERED && !expired.contains_key(&exhibit.id) {
            expired.clear();
        }
        let expired = expired.entry(exhibit.id.clone()).or_default().clone();
        Shelf::new(store, panel.source.clone(), raw).knowing(expired)
    }

    /// How the disk was when it was last looked at; `None` before.
    pub(super) fn disk(&self) -> Option<Disk> {
        *self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why no frames are taken, where that is so, in words for people.
    pub(super) fn not_ready(&self) -> Option<String> {
        if !self.shown.ready.load(Ordering::Relaxed) {
            return Some("the receiver is stopping".to_owned());
        }
        let panels = self.shown.board.panels();
        self.disk()?.refuses(panels.iter().filter_map(|panel| panel.trouble()))
    }

    /// Looks at the disk. One that hangs is asked once, however many wait for it. Cancel safe.
    pub(super) async fn look_at_disk(self: &Arc<Self>) {
        // Nobody closes it.
        let Ok(turn) = self.at_disk.clone().acquire_owned().await else { return };
        let gallery = self.clone();
        let looked = spawn_blocking(move || {
            let _turn = turn;
            let disk = Disk::look(&gallery.shown.root);
            *gallery.disk.lock().unwrap_or_else(PoisonError::into_inner) = Some(disk);
        });
        let _ = looked.await;
    }

    /// The frames of a source as they come, made ready once for all who look.
    pub(super) fn reel(&self, exhibit: &Exhibit) -> Arc<Reel> {
        // The list is true at every moment.
        let mut reels = self.reels.lock().unwrap_or_else(PoisonError::into_inner);
        // A source whose panel was taken down has another one if it comes back.
        let known = reels.get(&exhibit.id).and_then(Weak::upgrade);
        if let Some(reel) = known.filter(|reel| reel.is_of(&exhibit.panel)) {
            return reel;
        }
        reels.retain(|_, reel| reel.strong_count() > 0);
        let shelf = self.shelf(exhibit);
        let shared = (self.work.clone(), self.memory.clone(), self.news.clone());
        let reel = Reel::start(exhibit.panel.clone(), shelf, shared);
        reels.insert(exhibit.id.clone(), Arc::downgrade(&reel));
        reel
    }

    /// Keeps content while it is handed out; `None` where too much is.
    pub(super) fn hold(&self, bytes: Bytes) -> Option<Arc<Held>> {
        Held::claim(bytes, &self.answers)
    }

    /// A source's newest frame, where somebody is being given just that.
    pub(super) fn held_newest(&self, exhibit: &Exhibit, newest: &Arc<Newest>) -> Option<Arc<Held>> {
        let held = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, held) = held.get(&exhibit.id)?;
        Arc::ptr_eq(of, newest).then(|| held.upgrade()).flatten()
    }

    /// Somebody is given a source's newest frame.
    pub(super) fn hand_newest(&self, exhibit: &Exhibit, newest: &Arc<Newest>, content: &Arc<Held>) {
        let mut held = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, (_, held)| held.strong_count() > 0);
        held.insert(exhibit.id.clone(), (newest.clone(), Arc::downgrade(content)));
    }

    /// Changes when any source that somebody looks at has another frame.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// A place for one who looks on and on; `None` where all are taken.
    pub(super) fn seat(&self) -> Option<OwnedSemaphorePermit> {
        self.viewers.clone().try_acquire_owned().ok()
    }

    /// How many look on and on.
    pub(super) fn viewers(&self) -> usize {
        MAX_VIEWERS - self.viewers.available_permits()
    }

    /// A turn to do what takes a processor or a disk.
    pub(super) fn turn(&self) -> Arc<Semaphore> {
        self.work.clone()
    }

    /// The same for what is looked for in the store.
    pub(super) fn searches(&self) -> Arc<Semaphore> {
        self.searches.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slow_readers_are_given_is_bounded_and_shared() {
        let memory = Arc::new(Semaphore::new(1_024));
        let frame = Bytes::from(vec![7; 700 << 10]);
        let held = Held::claim(frame.clone(), &memory).unwrap();
        let readers = [held.hand(), held.hand(), held.hand()];
        drop(held);
        assert!(readers.iter().all(|reader| reader.as_ptr() == frame.as_ptr()), "one for all");
        assert!(Held::claim(frame.clone(), &memory).is_none());
        assert!(Held::claim(Bytes::from(vec![7; 300 << 10]), &memory).is_some());
        // A part that is still on its way is there as a whole.
        let [first, second, third] = readers;
        let part = second.slice(..10);
        drop((first, second, third));
        assert!(Held::claim(frame.clone(), &memory).is_none());
        drop(part);
        assert!(Held::claim(frame, &memory).is_some());
    }
}
