//! `/ws`: one WebSocket of a page, for all of its sources. Browsers open few connections to a host.
//!
//! The page says which sources it looks at, and tells of each frame when it has shown it. No more than [`AHEAD`] frames
//! of a source are on their way, and of all sources together no more than are shown soon ([`Flow`]): a slow page, or a
//! slow way to it, gets the newest frame next, and never an old one out of a queue. Twice a second it is told the figures.
//!
//! To the page: text, the figures as JSON; binary, a frame: two bytes with the length of a JSON object, lower first,
//! the object, and the content. From the page: `{"watch": [ID, ...]}` and `{"seen": ID, "number": N}`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::figures::Figures;
use super::flow::{Flight, Flow};
use super::gallery::Gallery;
use super::picture::Picture;
use super::raw::RawLook;
use super::reel::{Reel, Still};
use super::shelf::Unread;
use crate::frame::{MediaType, Sequence};
use crate::manifest::Record;

/// Frames of one source on their way to a page.
const AHEAD: usize = 2;

/// Sources that one page looks at.
const MAX_WATCHED: usize = 256;

/// The longest message of a page.
pub(super) const MAX_SAID: usize = 64 * 1024;

/// How often a page is told the figures.
const FIGURES: Duration = Duration::from_millis(500);

/// Seconds of history that are told each time; the page has those before from its first look.
const HISTORY: usize = 4;

/// A page that takes nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// A page is not woken more often.
const PACE: Duration = Duration::from_millis(15);

/// What a page says.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Said {
    Watch { watch: Vec<String> },
    Seen { seen: String, number: u64 },
}

/// What is told of a frame before its content.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
struct Head<'a> {
    source: &'a str,
    number: u64,
    sequence: u64,
    name: &'a str,
    captured_ms: Option<f64>,
    due_ms: Option<f64>,
    stored_ms: f64,
    bytes: usize,
    media_type: &'a str,
    /// `image`, `values` (16 bits each, the lower byte first) or `none`.
    form: &'static str,
    image_type: Option<&'static str>,
    grey: bool,
    width: u32,
    height: u32,
    /// Values of a pixel.
    channels: u8,
    /// Why there is nothing to show, where the frame cannot be had.
    words: Option<String>,
}

/// A source that a page looks at.
struct Eye {
    id: String,
    reel: Arc<Reel>,
    stills: watch::Receiver<Option<Arc<Still>>>,
    sent: u64,
    sent_at: Option<Instant>,
    /// Frames that were sent and not shown.
    flights: VecDeque<Flight>,
}

/// Serves a page until it goes.
pub(super) async fn serve(
    mut socket: WebSocket,
    gallery: Arc<Gallery>,
    _seat: OwnedSemaphorePermit,
) {
    let mut news = gallery.news();
    let (mut eyes, mut flow): (Vec<Eye>, _) = (Vec::new(), Flow::default());
    let mut figures = interval(FIGURES);
    figures.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut history = usize::MAX;
    loop {
        let woken = Instant::now();
        tokio::select! {
            said = socket.recv() => match said {
                Some(Ok(Message::Text(text))) => hear(&text, &gallery, &mut eyes, &mut flow),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            _ = figures.tick() => {
                let text = bulletin(&gallery, history);
                history = HISTORY;
                if !say(&mut socket, Message::Text(text)).await {
                    return;
                }
            }
            // The gallery outlives this.
            _ = news.changed() => {}
        }
        // Where there is not room for all, each has its turn.
        eyes.sort_by_key(|eye| eye.sent_at);
        for eye in &mut eyes {
            let Some(still) = eye.next() else { continue };
            let message = message(&eye.id, &still);
            if !flow.has_room(message.len() as u64) {
                break;
            }
            eye.sends(&still, message.len(), &mut flow);
            if !say(&mut socket, Message::Binary(message)).await {
                return;
            }
        }
        tokio::time::sleep_until(woken + PACE).await;
    }
}

async fn say(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(PATIENCE, socket.send(message)).await, Ok(Ok(())))
}

fn bulletin(gallery: &Gallery, history: usize) -> Utf8Bytes {
    serde_json::to_string(&Figures::of(gallery, history)).unwrap_or_default().into()
}

fn hear(text: &str, gallery: &Gallery, eyes: &mut Vec<Eye>, flow: &mut Flow) {
    match serde_json::from_str(text) {
        Ok(Said::Watch { watch }) => {
            eyes.retain(|eye| {
                let is_watched = watch.contains(&eye.id);
                if !is_watched {
                    flow.forgotten(&eye.flights);
                }
                is_watched
            });
            for id in watch.into_iter().take(MAX_WATCHED) {
                let known = eyes.iter().any(|eye| eye.id == id);
                let Some(exhibit) = gallery.find(&id).filter(|_| !known) else { continue };
                let reel = gallery.reel(&exhibit);
                let stills = reel.stills();
                let flights = VecDeque::new();
                eyes.push(Eye { id, reel, stills, sent: 0, sent_at: None, flights });
            }
        }
        Ok(Said::Seen { seen, number }) => {
            if let Some(eye) = eyes.iter_mut().find(|eye| eye.id == seen) {
                eye.has_seen(number, flow);
            }
        }
        // Of a later page, maybe.
        Err(_) => {}
    }
}

impl Eye {
    /// What was sent before that frame was shown as well, or passed over.
    fn has_seen(&mut self, number: u64, flow: &mut Flow) {
        if number <= self.sent {
            let seen = self.flights.partition_point(|flight| flight.number <= number);
            flow.shown(self.flights.drain(..seen), Instant::now().into_std());
        }
    }

    /// The newest frame, where the page has not got it.
    fn next(&self) -> Option<Arc<Still>> {
        if self.flights.len() >= AHEAD {
            return None;
        }
        let still = self.stills.borrow().clone()?;
        let _kept = &self.reel;
        (still.number > self.sent).then_some(still)
    }

    fn sends(&mut self, still: &Still, bytes: usize, flow: &mut Flow) {
        let now = Instant::now();
        (self.sent, self.sent_at) = (still.number, Some(now));
        self.flights.push_back(flow.sent(still.number, bytes as u64, now.into_std()));
    }
}

/// A frame as pages get it, made once for all of them.
fn message(id: &str, still: &Arc<Still>) -> Bytes {
    still.message(|| {
        let newest = &still.newest;
        let bytes = usize::try_from(newest.bytes).unwrap_or(usize::MAX);
        let mut head = head(id, &still.picture, bytes);
        head.number = still.number;
        (head.sequence, head.name) = (newest.sequence.0, newest.name.as_str());
        head.captured_ms = newest.captured.map(|captured| captured.at.0 as f64 / 1e6);
        head.due_ms = newest.due.map(|due| due.0 as f64 / 1e6);
        head.stored_ms = newest.stored.0 as f64 / 1e6;
        head.media_type = newest.media.as_str();
        put_together(&head, &still.picture, &still.bytes)
    })
}

/// A frame out of the store, as pages get it.
pub(super) fn stored(id: &str, record: &Record, bytes: &Bytes, raw: RawLook) -> Bytes {
    let picture = Picture::of_shape(bytes, raw);
    put_together(&of_record(id, record, &picture), &picture, bytes)
}

/// What a page gets of a frame that has a line and cannot be had.
pub(super) fn unread(id: &str, record: &Record, why: &Unread) -> Bytes {
    let picture = Picture::Unknown;
    let head = Head { words: Some(why.to_string()), ..of_record(id, record, &picture) };
    put_together(&head, &picture, &Bytes::new())
}

fn of_record<'a>(id: &'a str, record: &'a Record, picture: &Picture) -> Head<'a> {
    let Sequence(sequence) = record.sequence;
    Head {
        sequence,
        name: record.name.as_str(),
        captured_ms: record.captured.map(|at| at.0 as f64 / 1e6),
        due_ms: record.due.map(|at| at.0 as f64 / 1e6),
        stored_ms: record.stored.0 as f64 / 1e6,
        media_type: MediaType::as_str(&record.media),
        ..head(id, picture, usize::try_from(record.bytes).unwrap_or(usize::MAX))
    }
}

fn head<'a>(id: &'a str, picture: &Picture, bytes: usize) -> Head<'a> {
    let (form, image_type, grey, width, height) = match picture {
        Picture::Plain { media, grey } => ("image", Some(*media), *grey, 0, 0),
        Picture::Converted { grey, .. } => ("image", Some("image/png"), *grey, 0, 0),
        Picture::Values { width, height, channels, .. } => {
            ("values", None, *channels == 1, *width, *height)
        }
        Picture::Unknown => ("none", None, false, 0, 0),
    };
    let channels = if let Picture::Values { channels, .. } = picture { *channels } else { 0 };
    Head {
        source: id,
        number: 0,
        sequence: 0,
        name: "",
        captured_ms: None,
        due_ms: None,
        stored_ms: 0.0,
        bytes,
        media_type: "",
        form,
        image_type,
        grey,
        width,
        height,
        channels,
        words: None,
    }
}

fn put_together(head: &Head<'_>, picture: &Picture, bytes: &Bytes) -> Bytes {
    let head = serde_json::to_vec(head).unwrap_or_default();
    let content = match picture {
        Picture::Plain { .. } => bytes.as_ref(),
        Picture::Converted { png, .. } => png.as_ref(),
        Picture::Values { values, .. } => values.as_ref(),
        Picture::Unknown => &[],
    };
    // A name has at most 1,000 bytes, a source's address a few times as many.
    let length = u16::try_from(head.len()).unwrap_or(0);
    let mut whole = BytesMut::with_capacity(2 + head.len() + content.len());
    whole.put_u16_le(length);
    whole.put_slice(&head[..usize::from(length)]);
    whole.put_slice(content);
    whole.freeze()
}
