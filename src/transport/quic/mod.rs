//! One QUIC connection: a bidirectional stream for the session, a unidirectional one per frame.

pub mod departure;
mod dial;
pub mod gather;
mod incoming;
#[cfg(test)]
mod linger_tests;
mod listen;
mod live;
mod messages;
pub mod outlook;
mod ping;
mod receive;
pub mod repairing;
mod runtime;
mod send;
pub mod settings;
mod socket;
mod window;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use quinn::ConnectionError;
use tokio::sync::mpsc;

pub use dial::{LastSession, QuicDial};
pub use listen::{QuicListen, listen};

use super::{LinkKeeper, PathStats, PathWatch, TransportError};
use crate::frame::quoted;
use crate::identity::{Explainer, HandshakeRefusal};
use crate::wire::{CloseCode, Message};

/// What the connection's end means to a session.
fn cause_of(
    error: &ConnectionError,
    address: std::net::SocketAddr,
    explainer: &Explainer,
) -> TransportError {
    if let Some(refusal) = explainer.explain(error).filter(HandshakeRefusal::is_final) {
        return TransportError::Refused(refusal.to_string());
    }
    match error {
        ConnectionError::ApplicationClosed(close) => TransportError::ClosedByPeer {
            address,
            code: close.error_code.into_inner(),
            why: words(&close.reason),
        },
        ConnectionError::ConnectionClosed(close) => {
            let why =
                format!("closed by the other end: {} {}", close.error_code, words(&close.reason));
            TransportError::Lost { address, why: why.trim_end().to_owned() }
        }
        ConnectionError::LocallyClosed => TransportError::Ended,
        ConnectionError::TransportError(error) => {
            TransportError::Protocol { address, why: error.to_string() }
        }
        ConnectionError::VersionMismatch => TransportError::Protocol {
            address,
            why: "it speaks another version of QUIC".to_owned(),
        },
        ConnectionError::TimedOut => {
            let silence = settings::IDLE_TIMEOUT.as_secs();
            TransportError::Lost { address, why: format!("nothing was heard for {silence} s") }
        }
        other => TransportError::Lost { address, why: other.to_string() },
    }
}

/// What a peer has given as its reason, as its own words; nothing where it gave none.
fn words(reason: &[u8]) -> String {
    match reason {
        [] => String::new(),
        reason => quoted(&String::from_utf8_lossy(reason)),
    }
}

/// Reads quinn's figures of the connection's path.
fn watch_path(connection: &quinn::Connection, counters: Arc<send::Sending>) -> PathWatch {
    // A weak handle would be better, but quinn has none; the watch lives as long as its link.
    let connection = connection.clone();
    let (drained, given_up) = (counters.drained.clone(), counters.live.given_up.clone());
    let awaited = counters.awaited.clone();
    let watch = PathWatch::new(move || {
        let stats = connection.stats();
        PathStats {
            rtt: stats.path.rtt,
            window: stats.path.cwnd,
            datagram: Some(stats.path.current_mtu),
            datagrams_received: Some(stats.udp_rx.datagrams),
            segments: None,
            packets_sent: stats.path.sent_packets,
            packets_lost: stats.path.lost_packets,
            moved: Some(counters.acked.load(Ordering::Relaxed)),
            bytes_sent: stats.udp_tx.bytes,
            bytes_received: stats.udp_rx.bytes,
            repair_bytes: counters.repair.load(Ordering::Relaxed),
            with_transport: counters.underway.load(Ordering::Relaxed),
            late_with_transport: counters.late.load(Ordering::Relaxed),
            forecast: counters.live.forecast(),
        }
    });
    watch.with_notice(drained).with_given_up(given_up).with_awaited(awaited)
}

/// Writes what the session says; ends a connection whose peer does not take it.
async fn say(
    connection: quinn::Connection,
    stream: quinn::SendStream,
    messages: mpsc::Receiver<Message>,
) {
    if let Err(messages::Deaf) = messages::write(stream, messages).await {
        let address = connection.remote_address();
        tracing::warn!(%address, "ending a session: {}", messages::Deaf::WHY);
        close(&connection, CloseCode::Protocol, messages::Deaf::WHY);
    }
}

/// Waits for the connection's end, for the session's wish to close it, or until it is found `dead`, and reports the
/// cause.
///
/// A session that closes without blaming its peer has been heard when `all_said` has ended, which is
/// waited for, for a moment: closing a QUIC connection delivers nothing.
async fn keep(
    connection: quinn::Connection,
    mut keeper: LinkKeeper,
    address: std::net::SocketAddr,
    explainer: Explainer,
    all_said: impl Future<Output = ()>,
    dead: impl Future<Output = TransportError>,
) {
    let cause = tokio::select! {
        cause = dead => {
            close(&connection, CloseCode::Stalled, "nothing was heard");
            cause
        }
        error = connection.closed() => cause_of(&error, address, &explainer),
        request = keeper.close.recv() => {
            let (code, reason) = request.unwrap_or((CloseCode::Shutdown, "gone".to_owned()));
            if !matches!(code, CloseCode::Protocol | CloseCode::Stalled) {
                let _ = tokio::time::timeout(settings::LAST_WORDS, all_said).await;
            }
            close(&connection, code, &reason);
            TransportError::Ended
        }
    };
    keeper.ended(cause);
}

/// Reads a session's messages, closes the connection where they cannot be read, and waits for its end.
/// The stream is to outlive this: dropped while the connection is open, it would be stopped.
async fn until_closed(
    connection: &quinn::Connection,
    reading: impl Future<Output = Result<(), messages::Unreadable>>,
) {
    if let Err(error) = reading.await {
        close(connection, error.code(), &error.to_string());
    }
    connection.closed().await;
}

fn close(connection: &quinn::Connection, code: CloseCode, reason: &str) {
    connection.close(varint(code.number()), reason.as_bytes());
}

/// Our codes are small constants; anything else would be cut to the largest varint.
fn varint(number: u64) -> quinn::VarInt {
    quinn::VarInt::from_u64(number).unwrap_or(quinn::VarInt::MAX)
}

#[cfg(test)]
mod tests;
