//! Addresses, and what is answered there.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH,
    LOCATION, SET_COOKIE,
};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::access::{Access, Token};
use super::assets;
use super::figures::Figures;
use super::gallery::{Exhibit, Gallery};
use super::picture::Picture;
use super::shelf::{Shelf, Unread};
use super::{live, metrics, mjpeg, stored};
use crate::frame::{FrameName, Sequence};
use crate::manifest::Record;

/// How long a disk has to answer.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// Nothing is loaded from elsewhere, nothing of this is used elsewhere, and nothing is remembered.
const HEADERS: [(&str, &str); 8] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
    ("cache-control", "no-store"),
];

/// What every request needs.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) gallery: Arc<Gallery>,
    pub(super) access: Arc<Access>,
}

/// What is wrong with a request, or with what it asks for.
struct Trouble(StatusCode, String);

type Answer = Result<Response, Trouble>;

pub(super) fn router(place: Place) -> Router {
    Router::new()
        .route("/ws", any(socket))
        .fallback(answer)
        .layer(from_fn_with_state(place.clone(), guard))
        .with_state(place)
}

/// Lets in who may look, and says on each answer what a browser may do with it.
async fn guard(State(place): State<Place>, request: Request, next: Next) -> Response {
    let checked = place.access.check(request.method(), request.uri(), request.headers());
    let mut response = match checked {
        Ok(()) => match place.access.in_address(request.uri()) {
            Some(token) if request.uri().path() == "/" => {
                keep_token(token, place.access.tls().is_some())
            }
            _ => next.run(request).await,
        },
        // Who is not let in holds no connection.
        Err(denied) => {
            let close = [(CONNECTION, "close")];
            (denied.status(), close, denied.words()).into_response()
        }
    };
    for (name, value) in HEADERS {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// The token leaves the address, and with it the history and what is copied out of it. A link in a page of another
/// site brings its cookie along: `Lax` lets links do so and nothing else, and there is nothing here but to look.
fn keep_token(token: &Token, only_by_tls: bool) -> Response {
    let secure = if only_by_tls { "; Secure" } else { "" };
    let (name, secret) = (token.cookie(), token.secret());
    let cookie = format!("{name}={secret}; Path=/; HttpOnly; SameSite=Lax{secure}");
    (StatusCode::SEE_OTHER, [(LOCATION, "/"), (SET_COOKIE, cookie.as_str())]).into_response()
}

/// Asked for without an upgrade it says why it would be refused: a socket cannot tell its page.
async fn socket(
    State(place): State<Place>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Some(seat) = place.gallery.seat() else { return full().into_response() };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let upgrade = upgrade
        .max_message_size(live::MAX_SAID)
        .max_frame_size(live::MAX_SAID)
        // A frame is written at once; one that does not fit is waited for before the next is taken.
        .write_buffer_size(0);
    upgrade.on_upgrade(move |socket| live::serve(socket, place.gallery, seat))
}

fn full() -> Trouble {
    let why = "as many look as can at once; close a page or a stream\n";
    Trouble(StatusCode::SERVICE_UNAVAILABLE, why.to_owned())
}

fn too_much() -> Trouble {
    let why =
        "as much is being handed out as can be at once; ask again when other readers have theirs\n";
    Trouble(StatusCode::SERVICE_UNAVAILABLE, why.to_owned())
}

async fn answer(State(place): State<Place>, request: Request) -> Response {
    let (uri, headers) = (request.uri().clone(), request.headers().clone());
    let gallery = &place.gallery;
    let answered = match uri.path() {
        "/state" => Ok(state(gallery).await),
        "/metrics" => metrics(gallery, &headers).await,
        "/healthz" => Ok(text(StatusCode::OK, "ok\n")),
        "/readyz" => Ok(readiness(gallery).await),
        path => match assets::at(path) {
            Some(asset) => Ok(of_media(asset.media, asset.content)),
            None => of_source(gallery, path, &uri, &headers).await,
        },
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

async fn state(gallery: &Arc<Gallery>) -> Response {
    look_at_disk(gallery).await;
    let figures = Figures::of(gallery, usize::MAX);
    of_media("application/json", serde_json::to_vec(&figures).unwrap_or_default())
}

async fn metrics(gallery: &Arc<Gallery>, headers: &HeaderMap) -> Answer {
    look_at_disk(gallery).await;
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let written = metrics::write(gallery, accept.contains("application/openmetrics-text"));
    let written =
        written.map_err(|error| Trouble(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(of_media(written.media, written.text))
}

async fn readiness(gallery: &Arc<Gallery>) -> Response {
    if !look_at_disk(gallery).await {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the store's disk does not answer\n");
    }
    match gallery.not_ready() {
        None => text(StatusCode::OK, "ready\n"),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// Looks at the disk as it is now; false where it does not answer.
async fn look_at_disk(gallery: &Arc<Gallery>) -> bool {
    tokio::time::timeout(DISK_PATIENCE, gallery.look_at_disk()).await.is_ok()
}

/// What is asked of a source.
enum Wish<'a> {
    Stream(&'a str),
    Latest(&'a str),
    List(&'a str),
    Frame(&'a str, Sequence),
}

fn wish(path: &str) -> Option<Wish<'_>> {
    if let Some(id) = path.strip_suffix(".mjpeg") {
        return Some(Wish::Stream(id));
    }
    let (before, last) = path.rsplit_once('/')?;
    match last {
        "latest" => Some(Wish::Latest(before)),
        "frames" => Some(Wish::List(before)),
        sequence => {
            let id = before.strip_suffix("/frames")?;
            Some(Wish::Frame(id, Sequence(sequence.parse().ok()?)))
        }
    }
}

async fn of_source(gallery: &Arc<Gallery>, path: &str, uri: &Uri, headers: &HeaderMap) -> Answer {
    let nothing = || Trouble(StatusCode::NOT_FOUND, "there is nothing here\n".to_owned());
    let path = percent_decoded(path.trim_start_matches('/')).ok_or_else(nothing)?;
    let wish = wish(&path).ok_or_else(nothing)?;
    let (Wish::Stream(id) | Wish::Latest(id) | Wish::List(id) | Wish::Frame(id, _)) = wish;
    let exhibit = gallery.find(id).ok_or_else(|| {
        let why = "there is no such source; /state has those that there are\n";
        Trouble(StatusCode::NOT_FOUND, why.to_owned())
    })?;
    match wish {
        Wish::Stream(_) => {
            let seat = gallery.seat().ok_or_else(full)?;
            let stream = mjpeg::Stream::new(gallery.reel(&exhibit), seat);
            Ok(([(CONTENT_TYPE, mjpeg::MEDIA)], Body::new(stream)).into_response())
        }
        Wish::Latest(_) => latest(gallery, &exhibit, headers).await,
        Wish::List(_) => list(gallery, &exhibit, uri).await,
        Wish::Frame(_, sequence) => frame(gallery, &exhibit, sequence, uri, headers).await,
    }
}

/// The newest frame's exact content.
async fn latest(gallery: &Gallery, exhibit: &Exhibit, headers: &HeaderMap) -> Answer {
    let newest = exhibit.panel.newest().borrow().clone();
    let newest = newest.ok_or_else(|| {
        Trouble(StatusCode::NOT_FOUND, "no frame has come since the receiver began\n".to_owned())
    })?;
    let held = match gallery.held_newest(exhibit, &newest) {
        Some(held) => held,
        None => {
            let wanted = newest.clone();
            let read =
                blocking(gallery, gallery.turn(), exhibit, move |shelf| shelf.read_newest(&wanted))
                    .await?;
            let held = gallery.hold(read).ok_or_else(too_much)?;
            gallery.hand_newest(exhibit, &newest, &held);
            held
        }
    };
    let about = About {
        sequence: newest.sequence,
        name: &newest.name,
        captured: newest.captured.map(|captured| captured.at.0),
        stored: newest.stored.0,
    };
    Ok(content(&held.hand(), &about, headers))
}

/// A stored frame's exact content, held against its line in the manifest; with `as=page`, as pages get it.
async fn frame(
    gallery: &Gallery,
    exhibit: &Exhibit,
    sequence: Sequence,
    uri: &Uri,
    headers: &HeaderMap,
) -> Answer {
    let at = query(uri, "at").and_then(|at| at.parse().ok());
    let for_page = query(uri, "as") == Some("page");
    let id = exhibit.id.clone();
    let read = blocking(gallery, gallery.searches(), exhibit, move |shelf| {
        let Some((day, record)) = stored::record(shelf, sequence, at)? else { return Ok(None) };
        let checked = shelf.read(day, &record).and_then(|bytes| {
            let is_it = blake3::hash(&bytes) == record.blake3;
            let altered = || Unread::Altered { frame: format!("{id}/{}", record.name) };
            is_it.then_some(bytes).ok_or_else(altered)
        });
        let (bytes, message) = match checked {
            Ok(bytes) if for_page => {
                let message = live::stored(&id, &record, &bytes, shelf.raw);
                (bytes, Some(message))
            }
            Ok(bytes) => (bytes, None),
            // A page says it in the picture's place.
            Err(why) if for_page => (Bytes::new(), Some(live::unread(&id, &record, &why))),
            Err(why) => return Err(why),
        };
        Ok(Some((record, bytes, message)))
    });
    let Some((record, bytes, message)) = read.await? else {
        let why = format!("{} has no frame {sequence} in the store\n", exhibit.id);
        return Err(Trouble(StatusCode::NOT_FOUND, why));
    };
    if let Some(message) = message {
        drop(bytes);
        let held = gallery.hold(message).ok_or_else(too_much)?;
        return Ok(of_media("application/octet-stream", held.hand()));
    }
    let bytes = gallery.hold(bytes).ok_or_else(too_much)?.hand();
    let Record { name, captured, stored, .. } = &record;
    let about = About { sequence, name, captured: captured.map(|at| at.0), stored: stored.0 };
    Ok(content(&bytes, &about, headers))
}

async fn list(gallery: &Gallery, exhibit: &Exhibit, uri: &Uri) -> Answer {
    let share = parsed::<f64>(uri, "share")?;
    if share.is_some_and(|share| !share.is_finite()) {
        return Err(misread("share"));
    }
    let (at, before) = (parsed(uri, "at")?, parsed(uri, "before")?);
    let from = match (at, before, parsed::<u64>(uri, "sequence")?, share) {
        (Some(at), ..) => stored::From::At(at),
        (_, Some(before), ..) => stored::From::Before(before),
        (_, _, Some(sequence), _) => stored::From::Sequence(Sequence(sequence)),
        (.., Some(share)) => stored::From::Share(share),
        _ => stored::From::End,
    };
    let most = parsed::<u64>(uri, "limit")?.unwrap_or(100).clamp(1, stored::MOST as u64);
    let most = usize::try_from(most).unwrap_or(stored::MOST);
    let page = blocking(gallery, gallery.searches(), exhibit, move |shelf| {
        stored::page(shelf, from, most)
    })
    .await?;
    Ok(of_media("application/json", serde_json::to_vec(&page).unwrap_or_default()))
}

/// A value of the query, where it has one.
///
/// # Errors
/// 400 where it is there and cannot be read.
fn parsed<T: std::str::FromStr>(uri: &Uri, key: &str) -> Result<Option<T>, Trouble> {
    query(uri, key).map(|value| value.parse().map_err(|_| misread(key))).transpose()
}

fn misread(key: &str) -> Trouble {
    Trouble(StatusCode::BAD_REQUEST, format!("the value of {key} is none that it can have\n"))
}

/// Reads from the store when it is this request's turn, of those that there are for its kind.
async fn blocking<T: Send + 'static>(
    gallery: &Gallery,
    turns: Arc<Semaphore>,
    exhibit: &Exhibit,
    read: impl FnOnce(&Shelf) -> Result<T, Unread> + Send + 'static,
) -> Result<T, Trouble> {
    let gone = || Trouble(StatusCode::SERVICE_UNAVAILABLE, "the view is ending\n".to_owned());
    let turn = turns.acquire_owned().await.map_err(|_| gone())?;
    let shelf = gallery.shelf(exhibit);
    let read = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        read(&shelf)
    });
    read.await.map_err(|_| gone())?.map_err(|unread| {
        let status = match &unread {
            Unread::Gone { .. } | Unread::Expired { .. } => StatusCode::GONE,
            Unread::NotFound { .. } => StatusCode::NOT_FOUND,
            Unread::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Unread::Altered { .. } | Unread::NoFile { .. } | Unread::Io { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Trouble(status, format!("{unread}\n"))
    })
}

/// What is said of a frame beside its content.
struct About<'a> {
    sequence: Sequence,
    name: &'a FrameName,
    captured: Option<u64>,
    stored: u64,
}

/// A frame's content. What it is is looked up in it: a browser is never told what a sender says.
fn content(bytes: &Bytes, about: &About<'_>, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", blake3::hash(bytes).to_hex());
    let seconds = |nanos: u64| format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    let name = percent_encoded(about.name.as_str());
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok());
    let is_known = known
        .flat_map(|tags| tags.split(','))
        .any(|known| known.trim() == "*" || known.trim().trim_start_matches("W/") == tag);
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => of_media(media(bytes), bytes.clone()),
    };
    let mut say = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    };
    say(ETAG.as_str(), tag);
    say(CACHE_CONTROL.as_str(), "private, no-cache".to_owned());
    say("x-sequence", about.sequence.to_string());
    say("x-name", name);
    say("x-stored", seconds(about.stored));
    if let Some(captured) = about.captured {
        say("x-timestamp", seconds(captured));
    }
    response
}

fn media(bytes: &[u8]) -> &'static str {
    match bytes {
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => "image/tiff",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        _ => match Picture::of(&Bytes::copy_from_slice(&bytes[..bytes.len().min(32)])) {
            Picture::Plain { media, .. } => media,
            _ => "application/octet-stream",
        },
    }
}

fn of_media(media: &'static str, content: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, media)], content.into()).into_response()
}

fn text(status: StatusCode, text: &'static str) -> Response {
    (status, text).into_response()
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

fn query<'a>(uri: &'a Uri, key: &str) -> Option<&'a str> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| *name == key).map(|(_, value)| value).next()
}

/// `None` where it is no text.
fn percent_decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8(decoded).ok()
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match plain(byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_sources_with_folders_before_them() {
        let is = |path: &str, wanted: &str| match wish(path) {
            Some(Wish::Stream(id) | Wish::Latest(id) | Wish::List(id) | Wish::Frame(id, _)) => {
                assert_eq!(id, wanted, "{path}");
            }
            None => panic!("{path} is an address"),
        };
        is("visible.mjpeg", "visible");
        is("cam1/visible/latest", "cam1/visible");
        is("cam1/2026-11-30/frames/frames", "cam1/2026-11-30/frames");
        is("frames/frames/7", "frames");
        assert!(wish("visible").is_none() && wish("visible/frames/x").is_none());
        assert!(wish("visible/frames/18446744073709551616").is_none());
    }

    #[test]
    fn text_survives_an_address() {
        for text in ["visible", "Kamera 1/süd?#%41", "%", "%4", "100%zz"] {
            assert_eq!(percent_decoded(&percent_encoded(text)).as_deref(), Some(text));
        }
        assert_eq!(percent_decoded("%zz%41"), Some("%zzA".to_owned()));
        assert_eq!(percent_decoded("%ff"), None);
    }
}
