//! Another connection in the place of one over QUIC on which nothing comes any more.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::silence::Silence;
use crate::transport::route::{News, towards};
use crate::transport::{BoxFuture, PathWatch, SenderLink, Transport, TransportError};

/// How often it is looked whether anything comes.
const LOOK: Duration = Duration::from_millis(10);

/// The pause after attempts in vain beside a silent connection.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until nothing has come over `path`, which leads to `address`, for too long, and another link has come through
/// meanwhile: that of the first attempt by `open` that does. Cancel safe.
pub(super) async fn instead_of<'a>(
    address: SocketAddr,
    path: &PathWatch,
    open: impl Fn() -> BoxFuture<'a, Result<SenderLink, TransportError>>,
) -> SenderLink {
    let news = News::new();
    let mut stood = towards(address);
    let mut watched = Watched { path, silence: Silence::new(&path.look(), Instant::now()) };
    loop {
        tokio::select! {
            () = sleep(LOOK) => {}
            () = news.changed() => {
                let stands = towards(address);
                if stands != stood && stands.is_some() {
                    watched.silence.doubt();
                }
                stood = stands;
            }
        }
        if !watched.is_silent() {
            continue;
        }
        let opened = tokio::select! {
            opened = open() => opened,
            () = watched.heard() => continue,
        };
        match opened {
            Ok(link) => {
                let beside = link.via.link.is_some();
                if let Some(silent) = watched.silent_for_too_long(beside).await {
                    return explained(link, silent);
                }
            }
            Err(error) => {
                tracing::debug!("nothing comes, and no other connection comes through: {error}");
                let _ = timeout(PAUSE, watched.heard()).await;
            }
        }
    }
}

/// A connection, and for how long nothing has come over it.
struct Watched<'a> {
    path: &'a PathWatch,
    silence: Silence,
}

impl Watched<'_> {
    /// True where nothing has come for so long that something else may be begun.
    fn is_silent(&mut self) -> bool {
        let (stats, now) = (self.path.look(), Instant::now());
        let is_silent = self.silence.is_long(&stats, now);
        // Where frames are with the transport it asks by itself.
        self.path.awaits(self.silence.asks(now));
        is_silent
    }

    /// Waits until something comes.
    async fn heard(&mut self) {
        while self.is_silent() {
            sleep(LOOK).await;
        }
    }

    /// Waits until nothing has come for too long, and tells how long; `None` where something comes. `beside`: what has come
    /// through goes by another link.
    async fn silent_for_too_long(&mut self, beside: bool) -> Option<Duration> {
        while self.is_silent() {
            let (stats, now) = (self.path.look(), Instant::now());
            let is_too_long = match beside {
                true => self.silence.is_too_long_beside(&stats, now),
                false => self.silence.is_too_long(&stats, now),
            };
            if is_too_long {
                return Some(self.silence.length(now));
            }
            sleep(LOOK).await;
        }
        None
    }
}

/// The link that takes the place of one on which nothing has come for so long.
fn explained(mut link: SenderLink, silent: Duration) -> SenderLink {
    let silent = silent.as_secs_f64();
    let old = format!("nothing came over the old connection for {silent:.1} s");
    link.via.why = Some(match (&link.via.link, link.via.transport) {
        (Some(other), _) => format!("{old}, and one by {other} comes through"),
        (None, Transport::Quic) => format!("{old}, and a new one comes through"),
        (None, _) => format!("nothing came over UDP for {silent:.1} s, and TCP comes through"),
    });
    link
}
