//! The frames of one source as they come: read and made ready once for all who look, the newest only, and only while
//! somebody looks.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::picture::Picture;
use super::shelf::Shelf;
use crate::receiver::{Newest, Panel};

/// No more often than this is a source's newest frame read: eyes see no more, and a disk has other work.
const INTERVAL: Duration = Duration::from_millis(33);

/// A frame to show.
#[derive(Debug)]
pub(super) struct Still {
    /// What is known of it.
    pub(super) newest: Arc<Newest>,
    /// The exact content.
    pub(super) bytes: Bytes,
    /// What can be shown of it.
    pub(super) picture: Picture,
    /// Counts the frames that were shown.
    pub(super) number: u64,
    jpeg: OnceLock<Option<Bytes>>,
    message: OnceLock<Bytes>,
}

/// A source's newest frame, for all who look.
#[derive(Debug)]
pub(super) struct Reel {
    panel: Arc<Panel>,
    stills: watch::Receiver<Option<Arc<Still>>>,
    task: AbortHandle,
}

impl Reel {
    /// Begins to read what comes. Ends when nobody has it any more.
    pub(super) fn start(
        panel: Arc<Panel>,
        shelf: Shelf,
        work: Arc<Semaphore>,
        news: Arc<watch::Sender<u64>>,
    ) -> Arc<Self> {
        let (show, stills) = watch::channel(None);
        let task = tokio::spawn(run(panel.newest(), shelf, work, show, news)).abort_handle();
        Arc::new(Self { panel, stills, task })
    }

    /// Whether it is this source's.
    pub(super) fn is_of(&self, panel: &Arc<Panel>) -> bool {
        Arc::ptr_eq(&self.panel, panel)
    }

    /// The newest frame, whenever there is a newer one.
    pub(super) fn stills(&self) -> watch::Receiver<Option<Arc<Still>>> {
        self.stills.clone()
    }
}

impl Drop for Reel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    mut newest: watch::Receiver<Option<Arc<Newest>>>,
    shelf: Shelf,
    work: Arc<Semaphore>,
    show: watch::Sender<Option<Arc<Still>>>,
    news: Arc<watch::Sender<u64>>,
) {
    let mut number = 0;
    loop {
        let next = Instant::now() + INTERVAL;
        let wanted = newest.borrow_and_update().clone();
        if let Some(wanted) = wanted {
            number += 1;
            // Nobody closes it.
            let Ok(turn) = work.clone().acquire_owned().await else { return };
            let shelf = shelf.clone();
            let still = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                Still::read(&shelf, wanted, number)
            });
            // One that cannot be read is passed over: the next one comes.
            if let Ok(Some(still)) = still.await {
                show.send_replace(Some(Arc::new(still)));
                news.send_modify(|count| *count += 1);
            }
        }
        sleep_until(next).await;
        if newest.changed().await.is_err() {
            return;
        }
    }
}

impl Still {
    fn read(shelf: &Shelf, newest: Arc<Newest>, number: u64) -> Option<Self> {
        let bytes = shelf.read_newest(&newest).ok()?;
        let picture = Picture::of_shape(&bytes, shelf.raw);
        let (jpeg, message) = Default::default();
        Some(Self { newest, bytes, picture, number, jpeg, message })
    }

    /// The frame as a JPEG image; made once. Takes a processor where it is none.
    pub(super) fn jpeg(&self) -> Option<&Bytes> {
        self.jpeg.get_or_init(|| self.picture.jpeg(&self.bytes)).as_ref()
    }

    /// The frame as pages get it; made once by `make`.
    pub(super) fn message(&self, make: impl FnOnce() -> Bytes) -> Bytes {
        self.message.get_or_init(make).clone()
    }
}
