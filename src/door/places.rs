//! Where a receiver listens: what the user asked for, checked against who may send, and then opened.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::error::ListenError;
use crate::identity::{SenderPolicy, ServerTls, check_listen};
use crate::transport::stop_and_wait::DEFAULT_PORT as STOP_AND_WAIT_PORT;
use crate::transport::tcp::TcpOptions;
use crate::transport::{self, Intake, ListenSetup, Listener, Transport, TransportError};

/// The port that both ends use where none is named.
const DEFAULT_PORT: u16 = 4433;

/// Attempts to find a port that is free for UDP and TCP alike.
const PORT_ATTEMPTS: usize = 20;

/// Where one transport listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The transport.
    pub transport: Transport,
    /// The address, with the port that the system filled in once it is listened on.
    pub address: SocketAddr,
}

/// A transport, and where it listens if not where the others do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) transport: Transport,
    pub(super) address: Option<SocketAddr>,
}

/// Where each transport listens, checked against who may send. Where nothing is said, port 4433 (stop-and-wait:
/// 8000) of this machine alone, or of every address where the policy says who may send.
pub(super) fn places(
    asked: &[Asked],
    listen: Option<SocketAddr>,
    policy: &SenderPolicy,
) -> Result<Vec<Place>, ListenError> {
    let mut places: Vec<Place> = Vec::new();
    for one in asked {
        let Asked { transport, .. } = *one;
        let address = address(*one, asked, listen, policy);
        if transport == Transport::StopAndWait {
            check_plain(address, policy)?;
        } else {
            check_listen(address, policy)?;
        }
        let place = Place { transport, address };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    Ok(places)
}

fn address(
    one: Asked,
    all: &[Asked],
    listen: Option<SocketAddr>,
    policy: &SenderPolicy,
) -> SocketAddr {
    let plain = one.transport == Transport::StopAndWait;
    let is_tls = |other: &Asked| matches!(other.transport, Transport::Tcp | Transport::TcpPerFrame);
    let shares = all.iter().any(|other| is_tls(other) && other.address == one.address);
    match (one.address, listen) {
        (Some(own), _) => own,
        (None, Some(address)) if !(plain && shares) => address,
        (None, Some(address)) => SocketAddr::new(address.ip(), own_port(address)),
        (None, None) if plain => {
            SocketAddr::new(ip(*policy == SenderPolicy::Any), STOP_AND_WAIT_PORT)
        }
        (None, None) => SocketAddr::new(ip(*policy != SenderPolicy::Local), DEFAULT_PORT),
    }
}

fn ip(everywhere: bool) -> IpAddr {
    if everywhere { Ipv4Addr::UNSPECIFIED.into() } else { Ipv4Addr::LOCALHOST.into() }
}

/// The stop-and-wait protocol cannot share a TCP port with one that begins with TLS.
fn own_port(listen: SocketAddr) -> u16 {
    if listen.port() == 0 { 0 } else { STOP_AND_WAIT_PORT }
}

/// The stop-and-wait protocol authenticates nobody, so a list of pins cannot be kept with it.
fn check_plain(address: SocketAddr, policy: &SenderPolicy) -> Result<(), ListenError> {
    let loopback = address.ip().to_canonical().is_loopback();
    if loopback || *policy == SenderPolicy::Any {
        return Ok(());
    }
    Err(ListenError::Unauthenticated(address))
}

/// What all listeners of a receiver have in common.
pub(super) struct Common {
    pub(super) tls: ServerTls,
    pub(super) congestion: crate::congestion::SharedFactory,
    pub(super) intake: Intake,
    pub(super) tcp: TcpOptions,
}

/// Listens at every place. Where the port is left to the system, transports that are to share it are tried
/// together until one is free for all of them.
pub(super) fn listen(places: &[Place], common: &Common) -> Result<Vec<Listener>, TransportError> {
    let mut attempt = 0;
    loop {
        let listened = listen_once(places, common);
        attempt += 1;
        let is_chance = places.iter().any(|place| place.address.port() == 0);
        if listened.is_ok() || !is_chance || attempt == PORT_ATTEMPTS {
            return listened;
        }
    }
}

fn listen_once(places: &[Place], common: &Common) -> Result<Vec<Listener>, TransportError> {
    let mut listeners: Vec<Listener> = Vec::new();
    for place in places {
        let mut address = place.address;
        if let Some(shared) = shared_port(place, &listeners) {
            address.set_port(shared);
        }
        // One TCP listener serves both ways of sending frames over TLS.
        let served = place.transport == Transport::TcpPerFrame
            && listeners.iter().any(|listener| {
                listener.transport == Transport::Tcp && listener.address == address
            });
        if !served {
            listeners.push(transport::listen(ListenSetup {
                transport: place.transport,
                address,
                tls: common.tls.clone(),
                congestion: common.congestion.clone(),
                intake: common.intake.clone(),
                tcp: common.tcp.clone(),
            })?);
        }
    }
    Ok(listeners)
}

/// The port that the system has picked for others and that this transport, which leaves it to the
/// system as well, can share: so that users have to remember one number.
fn shared_port(place: &Place, listeners: &[Listener]) -> Option<u16> {
    let same_host = |other: &Listener| other.address.ip() == place.address.ip();
    if place.address.port() != 0 {
        return None;
    }
    let ports = listeners.iter().filter(|other| same_host(other)).map(|other| other.address.port());
    ports.into_iter().find(|&port| {
        let users = listeners.iter().filter(|other| other.address.port() == port);
        users.into_iter().all(|other| can_share(place.transport, other.transport))
    })
}

/// A port can be shared over UDP and TCP, and by what begins with TLS.
fn can_share(one: Transport, other: Transport) -> bool {
    let is_udp = |transport| transport == Transport::Quic;
    let is_tls = |transport| matches!(transport, Transport::Tcp | Transport::TcpPerFrame);
    is_udp(one) != is_udp(other) || is_tls(one) && is_tls(other)
}
