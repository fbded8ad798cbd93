//! The frames of one source as they come: read and made ready once for all who look, the newest only, and only while
//! somebody looks.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
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
    /// The exact content, where that itself is shown.
    pub(super) bytes: Bytes,
    /// What can be shown of it.
    pub(super) picture: Picture,
    /// Counts the frames that were shown.
    pub(super) number: u64,
    jpeg: OnceLock<Option<Bytes>>,
    message: OnceLock<Bytes>,
    /// Its part of the memory for what is shown.
    memory: Option<OwnedSemaphorePermit>,
}

/// What all sources have in common: turns to work, memory in KiB, and who hears that there is another frame.
type Shared = (Arc<Semaphore>, Arc<Semaphore>, Arc<watch::Sender<u64>>);

/// A source's newest frame, for all who look.
#[derive(Debug)]
pub(super) struct Reel {
    panel: Arc<Panel>,
    stills: watch::Receiver<Option<Arc<Still>>>,
    task: AbortHandle,
}

impl Reel {
    /// Begins to read what comes. Ends when nobody has it any more.
    pub(super) fn start(panel: Arc<Panel>, shelf: Shelf, shared: Shared) -> Arc<Self> {
        let (show, stills) = watch::channel(None);
        let task = tokio::spawn(run(panel.newest(), shelf, shared, show)).abort_handle();
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
    (work, memory, news): Shared,
    show: watch::Sender<Option<Arc<Still>>>,
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
            if let Ok(Some(mut still)) = still.await {
                if !still.claim(&memory) {
                    // That of the one before may do.
                    show.send_replace(None);
                    if !still.claim(&memory) {
                        still.leave_out();
                    }
                }
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
        Some(Self::new(newest, bytes, picture, number))
    }

    fn new(newest: Arc<Newest>, bytes: Bytes, picture: Picture, number: u64) -> Self {
        let is_shown = matches!(picture, Picture::Plain { .. });
        let bytes = if is_shown { bytes } else { Bytes::new() };
        let (jpeg, message, memory) = Default::default();
        Self { newest, bytes, picture, number, jpeg, message, memory }
    }

    /// Takes memory for it and for what is made of it; false where there is not as much.
    fn claim(&mut self, memory: &Arc<Semaphore>) -> bool {
        // The content, that in a message, and one converted for streams.
        let bytes = match &self.picture {
            Picture::Plain { media: "image/jpeg", .. } => 2 * self.bytes.len(),
            Picture::Plain { .. } => 3 * self.bytes.len(),
            Picture::Converted { png, .. } => 3 * png.len(),
            Picture::Values { values, .. } => 3 * values.len(),
            Picture::Unknown => 0,
        };
        let kib = u32::try_from(bytes / 1_024 + 1).unwrap_or(u32::MAX);
        self.memory = memory.clone().try_acquire_many_owned(kib).ok();
        self.memory.is_some()
    }

    /// Shows nothing of it.
    fn leave_out(&mut self) {
        (self.picture, self.bytes) = (Picture::Unknown, Bytes::new());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameName, Sequence, UnixNanos};

    fn still(bytes: usize) -> Still {
        let name = FrameName::parse("0.tiff").unwrap();
        let newest = Newest {
            sequence: Sequence(0),
            media: name.media_type(),
            name,
            bytes: 10,
            hash: None,
            captured: None,
            due: None,
            received: UnixNanos(1),
            stored: UnixNanos(2),
            run: None,
        };
        let values = vec![0_u8; bytes].into();
        let picture = Picture::Values { width: 1, height: 1, channels: 1, values };
        Still::new(Arc::new(newest), Bytes::from_static(b"compressed"), picture, 1)
    }

    #[test]
    fn what_is_shown_of_all_sources_together_is_bounded() {
        let memory = Arc::new(Semaphore::new(1_024));
        let (mut first, mut second) = (still(200 << 10), still(200 << 10));
        assert!(first.claim(&memory), "with a message and an image 601 KiB of 1,024");
        assert!(!second.claim(&memory));
        drop(first);
        assert!(second.claim(&memory), "what is shown no more takes nothing");
        let mut third = still(1 << 20);
        assert!(!third.claim(&memory));
        third.leave_out();
        assert_eq!((third.picture, third.bytes.len()), (Picture::Unknown, 0));
    }
}
