//! One place that knows every transport: making a [`Dial`] or a [`Listener`] by name.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};

use super::quic::{self, QuicDial, QuicListen};
use super::stop_and_wait::{self, ReceiverSettings, SenderSettings, StopAndWaitDial};
use super::tcp::{self, Classify, TcpDial, TcpOptions};
use super::{BoxFuture, Dial, Intake, Listener, SenderLink, Transport, TransportError};
use crate::congestion::SharedFactory;
use crate::identity::{ClientTls, Explainer, Pin, ServerTls};
use crate::repair::RepairMode;

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
    let each = setup.addresses.iter().map(|&address| dial_one(setup, address));
    Box::new(InTurn(each.collect()))
}

fn dial_one(setup: &DialSetup, address: SocketAddr) -> Box<dyn Dial> {
    match setup.transport {
        Transport::Quic => Box::new(QuicDial {
            address,
            server_name: setup.host.clone(),
            tls: setup.tls.clone(),
            congestion: setup.congestion.clone(),
            repair: setup.repair,
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
            let (tls, explainer) = tls.tcp();
            let pin = |der: &[u8]| Pin::of(&CertificateDer::from(der)).to_string();
            let options = TcpOptions::default();
            tcp::listen(address, &tls, intake, pin, classify(explainer), options)
        }
        Transport::StopAndWait => {
            stop_and_wait::listen(address, intake, ReceiverSettings::default())
        }
    }
}

/// Tries several ways one after the other.
struct InTurn(Vec<Box<dyn Dial>>);

impl Dial for InTurn {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        Box::pin(async {
            let mut last = TransportError::Ended;
            for dial in &self.0 {
                match dial.dial().await {
                    Ok(link) => return Ok(link),
                    Err(error) if !error.may_pass() => return Err(error),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
    }

    fn proves_content(&self) -> bool {
        self.0.iter().all(|dial| dial.proves_content())
    }
}
