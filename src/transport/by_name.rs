//! Dialling a receiver by its name, which may lead elsewhere by the next time.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::racing::Racing;
use super::{BoxFuture, Dial, SenderLink, TransportError};

/// How long news of a receiver is waited for that is not where it was. It is asked for again with the next
/// attempt.
const NEWS_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks the name service for the receiver's addresses.
pub(super) type LookUp =
    Box<dyn Fn() -> BoxFuture<'static, Result<Vec<SocketAddr>, TransportError>> + Send + Sync>;

/// Makes the ways to some addresses, of which one may have worked last.
pub(super) type Ways = Box<dyn Fn(Vec<SocketAddr>, Option<SocketAddr>) -> Racing + Send + Sync>;

/// Tries the addresses that a name has at the time.
pub(super) struct ByName {
    lead: Ways,
    look_up: LookUp,
    state: Mutex<Named>,
}

struct Named {
    ways: Arc<Racing>,
    /// Whether their addresses were tried, so that the name may have others by now.
    tried: bool,
}

impl ByName {
    /// Tries `addresses` first, of which `last` may have worked last, and what `look_up` finds from the second
    /// attempt on; from the first on where there are none.
    pub(super) fn new(
        addresses: Vec<SocketAddr>,
        last: Option<SocketAddr>,
        lead: Ways,
        look_up: LookUp,
    ) -> Self {
        let state = Mutex::new(Named { ways: Arc::new(lead(addresses, last)), tried: false });
        Self { lead, look_up, state }
    }

    fn state(&self) -> MutexGuard<'_, Named> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ways to where the receiver is now, where that is not where it was.
    fn news(
        &self,
        found: Result<Vec<SocketAddr>, TransportError>,
        known: &Racing,
    ) -> Option<Arc<Racing>> {
        let addresses = match found {
            Ok(addresses) => addresses,
            // What took the link may have taken the name service.
            Err(error) => {
                tracing::debug!("going on with the addresses known: {error}");
                return None;
            }
        };
        // The order changes with each answer of some name services.
        if known.leads_to(&addresses) {
            return None;
        }
        tracing::info!(?addresses, "the receiver has other addresses than before");
        let ways = Arc::new((self.lead)(addresses, known.last()));
        self.state().ways = ways.clone();
        Some(ways)
    }

    /// Tries the addresses known while the name service is asked: a link that has come back need not
    /// wait for it, and those addresses may be another machine's by now, whose refusal says nothing.
    async fn open(&self) -> Result<SenderLink, TransportError> {
        let (known, tried) = {
            let mut state = self.state();
            (state.ways.clone(), std::mem::replace(&mut state.tried, true))
        };
        if known.leads_to(&[]) {
            // The name has had no address so far: the network may come up after the program.
            let addresses = (self.look_up)().await?;
            let ways = Arc::new((self.lead)(addresses, known.last()));
            self.state().ways = ways.clone();
            return ways.dial().await;
        }
        let mut dialling = known.dial();
        if !tried {
            return dialling.await;
        }
        let mut looking = (self.look_up)();
        let (link, found) = tokio::select! {
            link = &mut dialling => match link {
                Ok(link) => return Ok(link),
                failed => (Some(failed), timeout(NEWS_TIMEOUT, looking).await.ok()),
            },
            found = &mut looking => (None, Some(found)),
        };
        match (found.and_then(|found| self.news(found, &known)), link) {
            (Some(ways), _) => {
                drop(dialling);
                ways.dial().await
            }
            (None, Some(failed)) => failed,
            (None, None) => dialling.await,
        }
    }
}

impl Dial for ByName {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        Box::pin(self.open())
    }

    fn linger(&self) -> BoxFuture<'_, ()> {
        let ways = self.state().ways.clone();
        Box::pin(async move { ways.linger().await })
    }

    fn is_ready(&self) -> bool {
        self.state().ways.is_ready()
    }

    fn proves_content(&self) -> bool {
        self.state().ways.proves_content()
    }
}

#[cfg(test)]
#[path = "by_name_tests.rs"]
mod tests;
