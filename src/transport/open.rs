//! One place that knows every transport: making a [`Dial`] or a [`Listener`] by name.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::time::timeout;

use super::quic::{self, LastSession, QuicDial, QuicListen};
use super::stop_and_wait::{self, ReceiverSettings, SenderSettings, StopAndWaitDial};
use super::tcp::{self, Admit, Classify, TcpDial, TcpOptions, TlsOfEach};
use super::{BoxFuture, Dial, Intake, Listener, SenderLink, Transport, TransportError};
use crate::congestion::SharedFactory;
use crate::identity::{ClientTls, Explainer, ReceiverAddress, ServerTls};
use crate::repair::RepairMode;

/// How long the name service may take. The system's own patience can be a multiple.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long news of a receiver is waited for that is not where it was. It is asked for again with the next
/// attempt.
const NEWS_TIMEOUT: Duration = Duration::from_secs(2);

/// What it takes to reach a receiver.
#[derive(Clone)]
pub struct DialSetup {
    /// Which transport.
    pub transport: Transport,
    /// The receiver's addresses, the preferred one first.
    pub addresses: Vec<SocketAddr>,
    /// The host name that a certificate has to carry where an authority vouches for it.
    pub host: String,
    /// Identity and trust. Kept over all attempts, so that sessions can be resumed.
    pub tls: ClientTls,
    /// QUIC's congestion controller.
    pub congestion: SharedFactory,
    /// How much forward repair QUIC's frames carry.
    pub repair: RepairMode,
    /// TCP's settings, its congestion control among them.
    pub tcp: TcpOptions,
    /// The stop-and-wait protocol's times.
    pub stop_and_wait: SenderSettings,
}

/// What it takes to listen.
#[derive(Clone)]
pub struct ListenSetup {
    /// Which transport.
    pub transport: Transport,
    /// Where; port 0 picks a free one.
    pub address: SocketAddr,
    /// Identity and trust.
    pub tls: ServerTls,
    /// QUIC's congestion controller, for the little that a receiver sends.
    pub congestion: SharedFactory,
    /// Limits.
    pub intake: Intake,
}

/// A way to open sessions to the receiver: each of its addresses is tried in turn.
pub fn dial(setup: &DialSetup) -> Box<dyn Dial> {
    Box::new(InTurn::new(setup))
}

/// The same, but for a receiver that may get other addresses: its name is resolved again with the second
/// attempt and each one after it. [`DialSetup::addresses`] are those for the first.
pub fn dial_by_name(setup: DialSetup, receiver: ReceiverAddress) -> Box<dyn Dial> {
    let look_up = Box::new(move || {
        let receiver = receiver.clone();
        let found: BoxFuture<'static, _> = Box::pin(async move { resolve(&receiver).await });
        found
    });
    Box::new(ByName::new(setup, look_up))
}

/// Every address of the receiver, as the system prefers them.
///
/// # Errors
/// [`TransportError::Resolve`], also where the name service takes longer than 10 s.
pub async fn resolve(receiver: &ReceiverAddress) -> Result<Vec<SocketAddr>, TransportError> {
    let failed = |why: String| TransportError::Resolve { host: receiver.host().to_owned(), why };
    let looking = tokio::net::lookup_host((receiver.host(), receiver.port()));
    let found = timeout(RESOLVE_TIMEOUT, looking).await.map_err(|_| {
        failed(format!("the name service did not answer within {} s", RESOLVE_TIMEOUT.as_secs()))
    })?;
    let addresses: Vec<_> = found.map_err(|error| failed(error.to_string()))?.collect();
    if addresses.is_empty() {
        return Err(failed("it has no address".to_owned()));
    }
    Ok(addresses)
}

fn dial_one(setup: &DialSetup, address: SocketAddr) -> Box<dyn Dial> {
    match setup.transport {
        Transport::Quic => Box::new(QuicDial {
            address,
            server_name: setup.host.clone(),
            tls: setup.tls.clone(),
            congestion: setup.congestion.clone(),
            repair: setup.repair,
            last: LastSession::default(),
        }),
        Transport::Tcp => Box::new(dial_tcp(setup, address)),
        Transport::TcpPerFrame => Box::new(dial_tcp(setup, address).per_frame()),
        Transport::StopAndWait => {
            Box::new(StopAndWaitDial::new(address.to_string(), setup.stop_and_wait.clone()))
        }
    }
}

fn dial_tcp(setup: &DialSetup, address: SocketAddr) -> TcpDial {
    // Only an authority vouches for names; a pin is the certificate itself.
    let name = ServerName::try_from(setup.host.clone())
        .unwrap_or_else(|_| ServerName::IpAddress(address.ip().into()));
    let classify = classify(setup.tls.explainer().clone());
    TcpDial::new(address, name, &setup.tls.tcp(), classify, setup.tcp.clone())
}

fn classify(explainer: Explainer) -> Classify {
    Arc::new(move |error| explainer.explain(error).map(|refusal| refusal.to_string()))
}

/// Listens for sessions.
///
/// # Errors
/// [`TransportError::Listen`] where the address cannot be had.
pub fn listen(setup: ListenSetup) -> Result<Listener, TransportError> {
    let ListenSetup { transport, address, tls, congestion, intake } = setup;
    match transport {
        Transport::Quic => quic::listen(QuicListen { address, tls, congestion, intake }),
        // One listener takes both: a session says by what it does which of the two it is.
        Transport::Tcp | Transport::TcpPerFrame => {
            let admitting = tls.clone();
            let admit: Admit = Arc::new(move |certificates| {
                admitting.admit(certificates).map_err(|refusal| refusal.to_string())
            });
            let of_each: TlsOfEach = Arc::new(move || {
                let (tls, explainer) = tls.tcp();
                (tls, classify(explainer))
            });
            let options = TcpOptions::default();
            tcp::listen(address, of_each, intake, admit, options)
        }
        Transport::StopAndWait => {
            stop_and_wait::listen(address, intake, ReceiverSettings::default())
        }
    }
}

/// Tries several addresses one after the other.
struct InTurn {
    addresses: Vec<SocketAddr>,
    ways: Vec<Box<dyn Dial>>,
}

impl InTurn {
    fn new(setup: &DialSetup) -> Self {
        let addresses = setup.addresses.clone();
        let ways = addresses.iter().map(|&address| dial_one(setup, address)).collect();
        Self { addresses, ways }
    }
}

impl Dial for InTurn {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        Box::pin(async {
            let mut last = TransportError::Ended;
            for way in &self.ways {
                match way.dial().await {
                    Ok(link) => return Ok(link),
                    Err(error) if !error.may_pass() => return Err(error),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
    }

    /// Only one of them can have a session that has just ended.
    fn linger(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            for way in &self.ways {
                way.linger().await;
            }
        })
    }

    fn proves_content(&self) -> bool {
        self.ways.iter().all(|way| way.proves_content())
    }
}

/// Asks the name service for the receiver's addresses.
type LookUp =
    Box<dyn Fn() -> BoxFuture<'static, Result<Vec<SocketAddr>, TransportError>> + Send + Sync>;

/// Tries the addresses that a name has at the time.
struct ByName {
    setup: DialSetup,
    look_up: LookUp,
    state: Mutex<Named>,
}

struct Named {
    ways: Arc<InTurn>,
    /// Whether their addresses were tried, so that the name may have others by now.
    tried: bool,
}

impl ByName {
    fn new(setup: DialSetup, look_up: LookUp) -> Self {
        let state = Mutex::new(Named { ways: Arc::new(InTurn::new(&setup)), tried: false });
        Self { setup, look_up, state }
    }

    fn state(&self) -> MutexGuard<'_, Named> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ways to where the receiver is now, where that is not where it was.
    fn news(
        &self,
        found: Result<Vec<SocketAddr>, TransportError>,
        known: &InTurn,
    ) -> Option<Arc<InTurn>> {
        let addresses = match found {
            Ok(addresses) => addresses,
            // What took the link may have taken the name service.
            Err(error) => {
                tracing::debug!("going on with the addresses known: {error}");
                return None;
            }
        };
        // The order changes with each answer of some name services.
        let is_known = addresses.len() == known.addresses.len()
            && addresses.iter().all(|address| known.addresses.contains(address));
        if is_known {
            return None;
        }
        tracing::info!(?addresses, "the receiver has other addresses than before");
        let ways = Arc::new(InTurn::new(&DialSetup { addresses, ..self.setup.clone() }));
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

    fn proves_content(&self) -> bool {
        self.state().ways.proves_content()
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
