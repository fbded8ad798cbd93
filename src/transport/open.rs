//! One place that knows every transport: making a [`Dial`] or a [`Listener`] by name.

use std::net::SocketAddr;

use super::quic::{self, QuicDial, QuicListen};
use super::{BoxFuture, Dial, Intake, Listener, SenderLink, Transport, TransportError};
use crate::congestion::SharedFactory;
use crate::identity::{ClientTls, ServerTls};

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
        }),
        Transport::Tcp | Transport::TcpPerFrame | Transport::StopAndWait => {
            unimplemented!("merged with the transport")
        }
    }
}

/// Listens for sessions.
///
/// # Errors
/// [`TransportError::Listen`] where the address cannot be had.
pub fn listen(setup: ListenSetup) -> Result<Listener, TransportError> {
    let ListenSetup { transport, address, tls, congestion, intake } = setup;
    match transport {
        Transport::Quic => quic::listen(QuicListen { address, tls, congestion, intake }),
        Transport::Tcp | Transport::TcpPerFrame | Transport::StopAndWait => {
            unimplemented!("merged with the transport")
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
}
