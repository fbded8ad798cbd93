//! `/SOURCE.mjpeg`: JPEG images one after the other, in `multipart/x-mixed-replace`.
//!
//! A reader that is slow gets the newest image next: one is put together when the last was taken by the kernel, which
//! is told to take little ([`server`](super::server)).

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::watch;
use tokio::time::timeout;

use super::picture::Picture;
use super::reel::{Reel, Still};

pub(super) const MEDIA: &str = "multipart/x-mixed-replace; boundary=framelane";

/// A browser shows a part when the next one begins. So the last is sent again where none follows at once.
const SEEN_AFTER: Duration = Duration::from_millis(100);

/// Readers end where nothing comes for long: the earliest that is known after 15 s.
const ALIVE: Duration = Duration::from_secs(10);

/// What comes next, and what is left to go by; `None` at the end.
type Next = Pin<Box<dyn Future<Output = Option<(State, Vec<Bytes>)>> + Send>>;

/// The stream of one reader.
pub(super) struct Stream {
    waiting: VecDeque<Bytes>,
    next: Next,
}

/// What the stream of a reader goes by.
struct State {
    stills: watch::Receiver<Option<Arc<Still>>>,
    last: Option<Arc<Still>>,
    /// How often the last image was sent.
    sent: u32,
    _reel: Arc<Reel>,
    _seat: OwnedSemaphorePermit,
}

impl Stream {
    pub(super) fn new(reel: Arc<Reel>, seat: OwnedSemaphorePermit) -> Self {
        let mut stills = reel.stills();
        stills.mark_changed();
        let state = State { stills, last: None, sent: 0, _reel: reel, _seat: seat };
        let waiting = VecDeque::from([Bytes::from_static(b"--framelane\r\n")]);
        Self { waiting, next: Box::pin(state.next()) }
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.waiting.is_empty() {
            match self.next.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some((state, parts))) => {
                    self.waiting.extend(parts);
                    self.next = Box::pin(state.next());
                }
            }
        }
        Poll::Ready(self.waiting.pop_front().map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl State {
    /// The next part, whenever it is time for one; `None` where no more will come.
    async fn next(mut self) -> Option<(Self, Vec<Bytes>)> {
        loop {
            let patience = if self.sent < 2 { SEEN_AFTER } else { ALIVE };
            let changed = match &self.last {
                Some(_) => timeout(patience, self.stills.changed()).await.ok(),
                None => Some(self.stills.changed().await),
            };
            match changed {
                Some(Err(_)) => return None,
                Some(Ok(())) => {
                    let still = self.stills.borrow_and_update().clone();
                    let Some(still) = still else { continue };
                    (self.last, self.sent) = (Some(still), 0);
                }
                None => {}
            }
            let still = self.last.clone()?;
            let Some(jpeg) = jpeg(&still).await else {
                // Nothing that could be shown; the next one may be.
                self.last = None;
                continue;
            };
            self.sent += 1;
            return Some((self, part(&still, jpeg)));
        }
    }
}

/// The image, made elsewhere where it has to be.
pub(super) async fn jpeg(still: &Arc<Still>) -> Option<Bytes> {
    if let Picture::Plain { media: "image/jpeg", .. } = still.picture {
        return Some(still.bytes.clone());
    }
    let still = still.clone();
    tokio::task::spawn_blocking(move || still.jpeg().cloned()).await.ok()?
}

/// A part and the boundary behind it, so that a reader knows at once that it is whole.
fn part(still: &Still, jpeg: Bytes) -> Vec<Bytes> {
    let newest = &still.newest;
    let at = newest.captured.map_or(newest.stored, |captured| captured.at).0;
    let (seconds, micros) = (at / 1_000_000_000, at % 1_000_000_000 / 1_000);
    let head = format!(
        "Content-Type: image/jpeg\r\nContent-Length: {}\r\nX-Timestamp: {seconds}.{micros:06}\r\n\
         X-Sequence: {}\r\n\r\n",
        jpeg.len(),
        newest.sequence
    );
    vec![head.into(), jpeg, Bytes::from_static(b"\r\n--framelane\r\n")]
}
