//! A QUIC endpoint with at most one connection, driven in virtual time.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, DatagramEvent, EcnCodepoint, Endpoint,
    EndpointConfig, Event, ServerConfig, TransportConfig,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Segments in one transmit, as quinn's UDP layer has it.
const MAX_SEGMENTS: usize = 10;
/// tokio's timers fire at whole milliseconds, late rather than early.
const TIMER_GRANULARITY: Duration = Duration::from_millis(1);

/// A datagram on its way out.
pub(crate) struct Outgoing {
    pub(crate) data: BytesMut,
    pub(crate) ecn: Option<EcnCodepoint>,
}

/// One end of a flow.
pub(crate) struct Peer {
    endpoint: Endpoint,
    remote: SocketAddr,
    handle: Option<ConnectionHandle>,
    pub(crate) connection: Option<Connection>,
    buffer: Vec<u8>,
}

impl Peer {
    /// The end that accepts.
    pub(crate) fn server(transport: Arc<TransportConfig>, remote: SocketAddr, seed: u64) -> Self {
        let (cert, key) = identity();
        let mut config = ServerConfig::with_single_cert(
            vec![cert.clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone())),
        )
        .expect("own certificate");
        config.transport_config(transport);
        let endpoint = Endpoint::new(endpoint_config(seed), Some(Arc::new(config)), true, None);
        Self { endpoint, remote, handle: None, connection: None, buffer: Vec::new() }
    }

    /// The end that connects.
    pub(crate) fn client(
        transport: Arc<TransportConfig>,
        remote: SocketAddr,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(identity().0.clone()).expect("own certificate");
        let mut config = ClientConfig::with_root_certificates(Arc::new(roots)).expect("one root");
        config.transport_config(transport);
        let mut endpoint = Endpoint::new(endpoint_config(seed), None, true, None);
        let (handle, connection) =
            endpoint.connect(now, config, remote, "localhost").expect("valid configuration");
        Self {
            endpoint,
            remote,
            handle: Some(handle),
            connection: Some(connection),
            buffer: Vec::new(),
        }
    }

    /// A datagram came in.
    pub(crate) fn receive(&mut self, now: Instant, ecn: Option<EcnCodepoint>, data: BytesMut) {
        self.buffer.clear();
        let event = self.endpoint.handle(now, self.remote, None, ecn, data, &mut self.buffer);
        match event {
            Some(DatagramEvent::NewConnection(incoming)) => {
                self.buffer.clear();
                if let Ok((handle, connection)) =
                    self.endpoint.accept(incoming, now, &mut self.buffer, None)
                {
                    self.handle = Some(handle);
                    self.connection = Some(connection);
                }
            }
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some(connection) = &mut self.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }

    /// Fires timers that are due.
    pub(crate) fn tick(&mut self, now: Instant) {
        if let Some(connection) = &mut self.connection
            && connection.poll_timeout().is_some_and(|at| at <= now)
        {
            connection.handle_timeout(now);
        }
    }

    /// Everything that may leave now.
    pub(crate) fn transmit(&mut self, now: Instant, out: &mut Vec<Outgoing>) {
        let (Some(connection), Some(handle)) = (&mut self.connection, self.handle) else { return };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(handle, event) {
                connection.handle_event(event);
            }
        }
        loop {
            self.buffer.clear();
            let Some(transmit) = connection.poll_transmit(now, MAX_SEGMENTS, &mut self.buffer)
            else {
                return;
            };
            let segment = transmit.segment_size.unwrap_or(transmit.size).max(1);
            for data in self.buffer[..transmit.size].chunks(segment) {
                out.push(Outgoing { data: BytesMut::from(data), ecn: transmit.ecn });
            }
        }
    }

    /// The next event for the application.
    pub(crate) fn poll(&mut self) -> Option<Event> {
        self.connection.as_mut()?.poll()
    }

    /// When [`Peer::tick`] wants to be called next.
    pub(crate) fn wake_at(&mut self, epoch: Instant) -> Option<Instant> {
        let at = self.connection.as_mut()?.poll_timeout()?;
        let grain = TIMER_GRANULARITY.as_nanos();
        let ticks = at.saturating_duration_since(epoch).as_nanos().div_ceil(grain);
        Some(epoch + Duration::from_nanos((ticks * grain) as u64))
    }
}

fn endpoint_config(seed: u64) -> Arc<EndpointConfig> {
    let mut config = EndpointConfig::default();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    config.rng_seed(Some(bytes));
    Arc::new(config)
}

fn identity() -> &'static (CertificateDer<'static>, Vec<u8>) {
    static IDENTITY: OnceLock<(CertificateDer<'static>, Vec<u8>)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])
            .expect("a certificate for localhost");
        (made.cert.der().clone(), made.signing_key.serialize_der())
    })
}
