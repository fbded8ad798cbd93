//! Making connections to a receiver: each with its TLS handshake, each in its time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::timeout;

use super::link::Blame;
use super::socket::{self, Stream};
use super::{Classify, TcpOptions};
use crate::transport::{Transport, TransportError};

/// The likely reason for a port that takes connections and does not speak TLS.
const OTHER_TRANSPORT: &str =
    "does its `receive` serve --transport tcp on this port, or stop-and-wait?";

/// What every connection to one receiver is made with.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) address: SocketAddr,
    pub(super) name: ServerName<'static>,
    pub(super) options: TcpOptions,
    pub(super) classify: Classify,
    pub(super) transport: Transport,
}

impl Connector {
    /// Connects and does the TLS handshake.
    pub(super) async fn connect(
        &self,
        tls: &Arc<ClientConfig>,
        alpn: &[u8],
    ) -> Result<Stream, TransportError> {
        let patience = self.options.handshake;
        let socket = socket::prepare(self.address, self.options.congestion.as_deref(), |error| {
            self.no_connection(&error)
        })?;
        let socket =
            match timeout(patience, socket.connect(self.address)).await {
                Ok(Ok(socket)) => socket,
                Ok(Err(error)) => return Err(self.no_connection(&error)),
                Err(_) => return Err(self.no_answer(
                    "is the receiver running, and does a firewall let TCP through to this port?",
                )),
            };
        let stream = match timeout(patience, socket::secure(socket, tls, &self.name)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.no_handshake(&error)),
            Err(_) => return Err(self.no_answer(
                "something accepts connections there and says nothing: is it `framelane receive`, and \
                 with --transport tcp? (stop-and-wait has a port of its own)",
            )),
        };
        if socket::alpn(&stream) != Some(alpn) {
            let why = "it speaks TLS, but not framelane".to_owned();
            return Err(TransportError::Protocol { address: self.address, why });
        }
        Ok(stream)
    }

    pub(super) fn blame(&self) -> Blame {
        Blame { address: self.address, classify: self.classify.clone() }
    }

    pub(super) fn lost(&self, why: String) -> TransportError {
        TransportError::Lost { address: self.address, why }
    }

    fn no_connection(&self, error: &io::Error) -> TransportError {
        if error.kind() == io::ErrorKind::TimedOut {
            return self.no_answer("does a firewall let TCP through to this port?");
        }
        TransportError::connect(self.address, self.transport, error)
    }

    fn no_handshake(&self, error: &io::Error) -> TransportError {
        let address = self.address;
        if let Some(text) = (self.classify)(error) {
            return TransportError::Refused(text);
        }
        let why = format!("no TLS handshake: {error}");
        match error.kind() {
            io::ErrorKind::InvalidData => {
                TransportError::Protocol { address, why: format!("{why}; {OTHER_TRANSPORT}") }
            }
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                self.lost(format!("{why}; {OTHER_TRANSPORT}"))
            }
            _ => self.lost(why),
        }
    }

    fn no_answer(&self, advice: &'static str) -> TransportError {
        let seconds = self.options.handshake.as_secs_f64().ceil() as u64;
        let (address, transport) = (self.address, self.transport);
        TransportError::NoAnswer { address, transport, seconds, advice }
    }
}

/// The same TLS configuration, its session cache shared, for one protocol.
pub(super) fn with_alpn(tls: &ClientConfig, alpn: &[u8]) -> Arc<ClientConfig> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(tls)
}
