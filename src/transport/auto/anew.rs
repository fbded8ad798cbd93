//! QUIC and nothing else, with another connection where nothing comes over the one in use any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::super::{Better, BoxFuture, Dial, PathWatch, SenderLink, TransportError, Via};
use super::silence::Silence;
use super::{LOOK, PAUSE, until_heard, until_too_long};

/// A way over QUIC alone.
pub(in super::super) struct Anew(Arc<dyn Dial>);

impl Anew {
    pub(in super::super) fn new(quic: Arc<dyn Dial>) -> Self {
        Self(quic)
    }

    /// Another connection than one on which nothing comes any more.
    async fn instead_of_silence(&self, path: &PathWatch) -> (SenderLink, Duration) {
        let mut silence = Silence::new(&path.look(), Instant::now());
        loop {
            sleep(LOOK).await;
            if !silence.is_long(&path.look(), Instant::now()) {
                continue;
            }
            let dialled = tokio::select! {
                dialled = self.0.dial() => dialled,
                () = until_heard(&mut silence, path) => continue,
            };
            match dialled {
                Ok(link) => {
                    if let Some(silent) = until_too_long(&mut silence, path).await {
                        return (link, silent);
                    }
                }
                Err(error) => {
                    tracing::debug!("nothing comes, nor over another connection: {error}");
                    let _ = timeout(PAUSE, until_heard(&mut silence, path)).await;
                }
            }
        }
    }
}

impl Dial for Anew {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        self.0.dial()
    }

    fn better<'a>(&'a self, _: &'a Via, path: &'a PathWatch) -> BoxFuture<'a, Better> {
        Box::pin(async {
            let (mut link, silent) = self.instead_of_silence(path).await;
            let silent = silent.as_secs_f64();
            link.via.why = Some(format!(
                "nothing came over the old connection for {silent:.1} s, and a new one comes through"
            ));
            Better { link, drains: false }
        })
    }

    fn linger(&self) -> BoxFuture<'_, ()> {
        self.0.linger()
    }
}
