//! One place that knows every transport: making a [`Dial`] or a [`Listener`] by name.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::time::timeout;

use super::auto::{Anew, Auto};
use super::bond::{Bond, PathsMode, ViaLink, Way};
use super::by_name::ByName;
use super::leave::{Leave, Link};
use super::links;
use super::quic::{self, LastSession, QuicDial, QuicListen};
use super::racing::Racing;
use super::reached::Reached;
use super::stop_and_wait::{self, ReceiverSettings, SenderSettings, StopAndWaitDial};
use super::tcp::{self, Admit, Classify, TcpDial, TcpOptions, TlsOfEach};
use super::{BoxFuture, Dial, Intake, Listener, Transport, TransportChoice, TransportError};
use crate::congestion::SharedFactory;
use crate::identity::{ClientTls, HandshakeRefusal, ReceiverAddress, ServerTls};
use crate::repair::RepairMode;

/// How long the name service may take. The system's own patience can be a multiple.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// TCP's settings.
    pub tcp: TcpOptions,
}

/// A way to open sessions to the receiver: its addresses are raced, the one that worked last first.
pub fn dial(setup: &DialSetup) -> Box<dyn Dial> {
    Box::new(racing(setup, setup.addresses.clone(), None, &Leave::ByRoute))
}

fn racing(
    setup: &DialSetup,
    addresses: Vec<SocketAddr>,
    last: Option<SocketAddr>,
    leave: &Leave,
) -> Racing {
    Racing::new(addresses, last, |address| dial_one(setup, address, leave))
}

/// The same, but for a receiver that may get other addresses: its name is resolved again with the second
/// attempt and each one after it. [`DialSetup::addresses`] are those for the first.
pub fn dial_by_name(setup: DialSetup, receiver: ReceiverAddress) -> Box<dyn Dial> {
    Box::new(by_name(setup, receiver, None, Leave::ByRoute))
}

/// The same over QUIC or TCP, whichever gets through; [`DialSetup::transport`] is neither here nor there. What
/// `reached` remembers is tried first, and noted. The links of this machine that `via` names are used in their
/// order, each where those before it do not lead to the receiver.
pub fn dial_either(
    setup: &DialSetup,
    receiver: &ReceiverAddress,
    via: &[Link],
    reached: Reached,
) -> Box<dyn Dial> {
    let reached = reached.among(setup.addresses.len());
    let last = reached.recalled().map(|way| way.address);
    let (setup, receiver) = (setup.clone(), receiver.clone());
    let over = move |transport, leave| -> Arc<dyn Dial> {
        let setup = DialSetup { transport, ..setup.clone() };
        Arc::new(by_name(setup, receiver.clone(), last, leave))
    };
    let via = via.iter().map(|Link(name)| Leave::Link(name.clone())).collect();
    Box::new(Auto::new(Box::new(over), via, reached))
}

/// The same over several links of this machine at once, as `mode` says; over one, or where they are to stand by for
/// one another, it is [`dial_either`]. What goes over links with a cap is counted in the file `counted`.
///
/// # Errors
/// [`TransportError::NoLink`], [`TransportError::Uncounted`], and [`TransportError::Unsupported`] where caps or
/// transports of links are asked for that cannot be kept.
pub fn dial_by_links(
    setup: &DialSetup,
    receiver: &ReceiverAddress,
    via: &[ViaLink],
    mode: PathsMode,
    reached: Reached,
    counted: Option<&Path>,
) -> Result<Box<dyn Dial>, TransportError> {
    let plain = via.iter().all(ViaLink::is_plain);
    if plain && (mode == PathsMode::Standby || via.len() < 2) {
        let links = via.iter().map(ViaLink::link).collect::<Result<Vec<_>, _>>()?;
        return Ok(dial_either(setup, receiver, &links, reached));
    }
    if mode == PathsMode::Standby {
        return Err(TransportError::Unsupported(
            "a data cap and a transport of a link go with `paths` auto, spread or duplicate: with standby, leave them out"
                .to_owned(),
        ));
    }
    let way = |via: &ViaLink| -> Result<Way, TransportError> {
        let link = via.link()?;
        let leave = Leave::Link(link.0.clone());
        let over = |transport| {
            by_name(DialSetup { transport, ..setup.clone() }, receiver.clone(), None, leave)
        };
        let dial: Arc<dyn Dial> = match via.transport() {
            TransportChoice::Auto => {
                // By another link it may be reached otherwise.
                let reached = Reached::recall(receiver.clone(), None);
                dial_either(setup, receiver, std::slice::from_ref(&link), reached).into()
            }
            TransportChoice::Only(Transport::Quic) => {
                Arc::new(Anew::new(Arc::new(over(Transport::Quic))))
            }
            TransportChoice::Only(transport) => Arc::new(over(transport)),
        };
        let cap = match (via.cap(), counted) {
            (None, _) => None,
            (Some(cap), Some(file)) => Some((cap, file.to_owned())),
            (Some(_), None) => {
                return Err(TransportError::Unsupported(format!(
                    "the data cap of {} needs a place to be counted in: set HOME or XDG_CONFIG_HOME",
                    via.name()
                )));
            }
        };
        Ok(Way { link, dial, cap })
    };
    let ways = via.iter().map(way).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::new(Bond::new(ways, mode)?))
}

fn by_name(
    setup: DialSetup,
    receiver: ReceiverAddress,
    last: Option<SocketAddr>,
    leave: Leave,
) -> ByName {
    let look_up = Box::new(move || {
        let receiver = receiver.clone();
        let found: BoxFuture<'static, _> = Box::pin(async move { resolve(&receiver).await });
        found
    });
    let addresses = setup.addresses.clone();
    let ways = Box::new(move |addresses, last| racing(&setup, addresses, last, &leave));
    ByName::new(addresses, last, ways, look_up)
}

/// Every address of the receiver, as the system prefers them.
///
/// # Errors
/// [`TransportError::Resolve`], also where the name service takes longer than 10 s, and
/// [`TransportError::NoLink`] where the address is behind a link that this machine does not have.
pub async fn resolve(receiver: &ReceiverAddress) -> Result<Vec<SocketAddr>, TransportError> {
    if let (Some(zone), Ok(IpAddr::V6(ip))) = (receiver.zone(), receiver.host().parse()) {
        let link = links::link_number(zone)?;
        return Ok(vec![SocketAddrV6::new(ip, receiver.port(), 0, link).into()]);
    }
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

fn dial_one(setup: &DialSetup, address: SocketAddr, leave: &Leave) -> Box<dyn Dial> {
    match setup.transport {
        Transport::Quic => Box::new(QuicDial {
            address,
            server_name: setup.host.clone(),
            tls: setup.tls.clone(),
            congestion: setup.congestion.clone(),
            repair: setup.repair,
            leave: leave.clone(),
            last: LastSession::default(),
        }),
        Transport::Tcp => Box::new(dial_tcp(setup, address, leave)),
        Transport::TcpPerFrame => Box::new(dial_tcp(setup, address, leave).per_frame()),
        Transport::StopAndWait => {
            Box::new(StopAndWaitDial::new(address, setup.stop_and_wait.clone()))
        }
    }
}

fn dial_tcp(setup: &DialSetup, address: SocketAddr, leave: &Leave) -> TcpDial {
    // Only an authority vouches for names; a pin is the certificate itself.
    let name = ServerName::try_from(setup.host.clone())
        .unwrap_or_else(|_| ServerName::IpAddress(address.ip().into()));
    let explainer = setup.tls.explainer().clone();
    let classify: Classify = Arc::new(move |error| {
        let refusal = explainer.explain(error).filter(HandshakeRefusal::is_final);
        refusal.map(|refusal| refusal.to_string())
    });
    let dial = TcpDial::new(address, name, &setup.tls.tcp(), classify, setup.tcp.clone());
    dial.leaving(leave.clone())
}

/// Listens for sessions.
///
/// # Errors
/// [`TransportError::Listen`] where the address cannot be had.
pub fn listen(setup: ListenSetup) -> Result<Listener, TransportError> {
    let ListenSetup { transport, address, tls, congestion, intake, tcp } = setup;
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
                let explain = move |error: &std::io::Error| explainer.explain(error);
                let classify: Classify =
                    Arc::new(move |error| explain(error).map(|refusal| refusal.to_string()));
                (tls, classify)
            });
            tcp::listen(address, of_each, intake, admit, tcp)
        }
        Transport::StopAndWait => {
            stop_and_wait::listen(address, intake, ReceiverSettings::default())
        }
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
