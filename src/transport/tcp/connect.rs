//! Making connections to a receiver: each with its TLS handshake, each in its time.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::link::Blame;
use super::path::Ended;
use super::socket::{self, Stream};
use super::{Classify, TcpOptions, settings};
use crate::transport::leave::{self, Leave};
use crate::transport::{Transport, TransportError};

/// The likely reason for a port that takes connections and does not speak TLS.
const OTHER_TRANSPORT: &str =
    "does its `receive` serve `transport` tcp on this port, or stop-and-wait?";

/// What every connection to one receiver is made with.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) address: SocketAddr,
    pub(super) name: ServerName<'static>,
    pub(super) options: TcpOptions,
    pub(super) classify: Classify,
    pub(super) transport: Transport,
    pub(super) leave: Leave,
    pub(super) segment: Arc<Segment>,
    /// A connection whose handshake is done already, and since when.
    pub(super) next: Arc<Mutex<Option<(Stream, Instant)>>>,
    /// Bytes written to all connections that were made.
    pub(super) written: Arc<AtomicU64>,
    /// What was sent over those of single frames.
    pub(super) ended: Arc<Ended>,
}

/// Whether segments are kept small, as connections have found.
#[derive(Debug, Default)]
pub(super) struct Segment(AtomicBool);

impl Segment {
    pub(super) fn is_small(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set_small(&self, small: bool) {
        self.0.store(small, Ordering::Relaxed);
    }
}

impl Connector {
    /// Connects and does the TLS handshake. Where that takes long, the same is tried with small segments.
    pub(super) async fn connect(
        &self,
        tls: &Arc<ClientConfig>,
        alpn: &[u8],
    ) -> Result<Stream, TransportError> {
        if let Some(stream) = self.kept(alpn) {
            return Ok(stream);
        }
        let (small, began, reached) = (self.segment.is_small(), Instant::now(), Notify::new());
        let mut usual = std::pin::pin!(self.attempt(tls, alpn, small, Some(&reached)));
        let late = async {
            let _ = timeout(settings::SMALL_AFTER, reached.notified()).await;
            sleep_until(began + settings::small_after(began.elapsed())).await;
        };
        tokio::select! {
            ended = &mut usual => return ended,
            () = late => {}
        }
        tokio::select! {
            ended = &mut usual => ended,
            Ok(stream) = self.attempt(tls, alpn, true, None) => Ok(stream),
        }
    }

    async fn attempt(
        &self,
        tls: &Arc<ClientConfig>,
        alpn: &[u8],
        small: bool,
        reached: Option<&Notify>,
    ) -> Result<Stream, TransportError> {
        let patience = self.options.handshake;
        let Ok(socket) = timeout(patience, self.reach(small)).await else {
            return Err(self.no_answer(
                "is the receiver running, and does a firewall let TCP through to this port?",
            ));
        };
        let socket = socket?;
        reached.inspect(|reached| reached.notify_one());
        let stream = match timeout(patience, socket::secure(socket, tls, &self.name)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.no_handshake(&error)),
            Err(_) => return Err(self.no_answer(
                "something accepts connections there and says nothing: is it `framelane receive`, and \
                 with `transport` tcp? (stop-and-wait has a port of its own)",
            )),
        };
        if socket::alpn(&stream) != Some(alpn) {
            // As somebody does who answers in the receiver's place, at the gate of a public network.
            return Err(self.lost(format!("it speaks TLS, but not framelane; {OTHER_TRANSPORT}")));
        }
        Ok(stream)
    }

    /// Connects, with small segments or such as the path is thought to take.
    pub(super) async fn reach(&self, small: bool) -> Result<TcpStream, TransportError> {
        let segment = small.then_some(settings::SMALL_SEGMENT);
        let failed = |error| self.no_connection(&error);
        let socket = socket::prepare(self.address, &self.options, segment, failed)?;
        self.leave.bind(&SockRef::from(&socket)).map_err(failed)?;
        socket.connect(self.address).await.map_err(failed)
    }

    /// The same by whichever link leads there first, where that is not said. Where that is another than the usual one, that
    /// is waited for a little longer: it may only be slower.
    pub(super) async fn reach_by_any(&self, small: bool) -> Result<TcpStream, TransportError> {
        let began = Instant::now();
        let mut others = tokio::task::JoinSet::new();
        if self.leave == Leave::ByRoute {
            for leave in leave::others(self.address) {
                let other = Self { leave, ..self.clone() };
                others.spawn(async move { other.reach(small).await });
            }
        }
        let mut usual = std::pin::pin!(self.reach(small));
        let mut failed = None;
        loop {
            tokio::select! {
                reached = &mut usual, if failed.is_none() => match reached {
                    Ok(socket) => return Ok(socket),
                    Err(error) if others.is_empty() => return Err(error),
                    Err(error) => failed = Some(error),
                },
                Some(reached) = others.join_next() => match (reached, &failed) {
                    (Ok(Ok(socket)), Some(_)) => return Ok(socket),
                    (Ok(Ok(socket)), None) => {
                        let patience = (began.elapsed() / 2).max(settings::SLOWER);
                        return match timeout(patience, &mut usual).await {
                            Ok(Ok(usual)) => Ok(usual),
                            _ => Ok(socket),
                        };
                    }
                    (_, Some(error)) if others.is_empty() => return Err(error.clone()),
                    _ => {}
                },
            }
        }
    }

    /// Keeps a connection for the next who asks for one, which should be soon: it is let go then.
    pub(super) fn keep_for_next(&self, stream: Stream) {
        let since = Instant::now();
        *self.next() = Some((stream, since));
        let next = Arc::downgrade(&self.next);
        tokio::spawn(async move {
            tokio::time::sleep(settings::KEEP_NEXT).await;
            let Some(next) = next.upgrade() else { return };
            let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
            drop(next.take_if(|(_, kept)| *kept == since));
        });
    }

    /// True where a connection is kept for who asks for one of this protocol.
    pub(super) fn has_kept(&self, alpn: &[u8]) -> bool {
        let is_fit = |(stream, since): &(Stream, Instant)| {
            since.elapsed() < settings::KEEP_NEXT && socket::alpn(stream) == Some(alpn)
        };
        self.next().as_ref().is_some_and(is_fit)
    }

    fn kept(&self, alpn: &[u8]) -> Option<Stream> {
        if !self.has_kept(alpn) {
            return None;
        }
        self.next().take().map(|(stream, _)| stream)
    }

    fn next(&self) -> MutexGuard<'_, Option<(Stream, Instant)>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some(text) = (self.classify)(error) {
            return TransportError::Refused(text);
        }
        let why = format!("no TLS handshake: {error}");
        match error.kind() {
            io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset => self.lost(format!("{why}; {OTHER_TRANSPORT}")),
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
