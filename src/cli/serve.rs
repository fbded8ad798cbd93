//! The receiver as `receive` and `demo` run it: store, listeners, and the task that serves them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::congestion::Congestion;
use crate::identity::{EarlyData, Identity, SharedPolicy, server_config};
use crate::receiver::{self, ReceiveError, ReceiveLimits, ReceiveProgress, SessionReport, Sources};
use crate::store::{FolderStore, StoreOptions};
use crate::transport::{self, ListenSetup, Listener, Transport};
use crate::wire::{ALPN, ALPN_SINGLE_FRAME};

/// Where one transport listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) transport: Transport,
    pub(super) address: SocketAddr,
}

/// A receiver that runs.
pub(super) struct Serving {
    pub(super) places: Vec<Place>,
    pub(super) progress: Arc<ReceiveProgress>,
    pub(super) reports: mpsc::UnboundedReceiver<SessionReport>,
    pub(super) task: JoinHandle<Result<(), ReceiveError>>,
}

/// How to receive.
pub(super) struct Service<'a> {
    pub(super) identity: &'a Identity,
    pub(super) policy: SharedPolicy,
    pub(super) places: Vec<Place>,
    pub(super) out: &'a Path,
    pub(super) durable: bool,
    pub(super) limits: ReceiveLimits,
}

/// Attempts to find a port that is free for UDP and TCP alike.
const PORT_ATTEMPTS: usize = 20;

impl Service<'_> {
    /// Opens the store, listens, and serves until `stop` turns true.
    pub(super) fn start(self, stop: watch::Receiver<bool>) -> anyhow::Result<Serving> {
        let store = StoreOptions { durable: self.durable, ..StoreOptions::default() };
        let sources = Sources::new(FolderStore::open(self.out, store)?);
        let listeners = self.listen()?;
        let places = listeners
            .iter()
            .map(|listener| Place { transport: listener.transport, address: listener.address })
            .collect();
        let progress = Arc::new(ReceiveProgress::default());
        let (report, reports) = mpsc::unbounded_channel();
        let serving =
            receiver::run(listeners, sources, self.limits, progress.clone(), report, stop);
        Ok(Serving { places, progress, reports, task: tokio::spawn(serving) })
    }

    /// Listens at every place. Where the port is left to the system, transports that are to share
    /// it are tried together until one is free for all of them.
    fn listen(&self) -> Result<Vec<Listener>, transport::TransportError> {
        let intake = self.limits.intake();
        let alpn = [ALPN, ALPN_SINGLE_FRAME];
        let tls = server_config(self.identity, self.policy.clone(), &alpn, EarlyData::Off);
        let mut attempt = 0;
        loop {
            let listened = self.listen_once(&intake, &tls);
            attempt += 1;
            let is_chance = self.places.iter().any(|place| place.address.port() == 0);
            if listened.is_ok() || !is_chance || attempt == PORT_ATTEMPTS {
                return listened;
            }
        }
    }

    fn listen_once(
        &self,
        intake: &transport::Intake,
        tls: &crate::identity::ServerTls,
    ) -> Result<Vec<Listener>, transport::TransportError> {
        let mut listeners: Vec<Listener> = Vec::new();
        for place in &self.places {
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
                    tls: tls.clone(),
                    congestion: Congestion::default().factory(),
                    intake: intake.clone(),
                })?);
            }
        }
        Ok(listeners)
    }
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
