//! The receiving end: sessions from many senders, one store, and a receipt for every stored frame.

mod board;
mod busy;
mod hashing;
mod joint;
mod limits;
mod progress;
mod report;
mod room;
mod server;
mod session;
mod source_thread;
mod sources;
mod trial;
mod turns;
mod work;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use board::{
    BOUNDS, Board, Counts, Guest, Newest, Panel, Quantiles, Retired, SECONDS, Second, Share,
    Snapshot, Spread, Told, Trouble, is_day,
};
pub use busy::Busy;
use joint::Joints;
pub use limits::ReceiveLimits;
use progress::Presence;
pub use progress::ReceiveProgress;
pub use report::{LostFrameReport, ReceiveReport, SessionReport, SourceTotals};
pub use room::RoomState;
use server::Server;
pub use sources::Sources;
use trial::Trials;

use crate::transport::{Listener, Transport, Voice};

/// Why a receiver does not go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// Nobody can connect there any more.
    #[error(
        "the receiver does not hear any more on {address} over {transport}: its socket has failed; \
         see the log, and start it again"
    )]
    Deaf {
        /// Where it listened.
        address: SocketAddr,
        /// What for.
        transport: Transport,
    },
}

/// How long a receiver that ends waits for its ports: the last packets of a connection are kept for three probe
/// timeouts (RFC 9000, section 10.2).
const PORT_PATIENCE: Duration = Duration::from_secs(3);

/// Serves every session of `listeners` until `stop` turns true, and then until what has arrived is
/// stored. Each session's report goes to `reports` when it ends. Where nobody holds the other end of
/// `stop`, nobody stops it.
///
/// # Errors
/// [`ReceiveError::Deaf`], where a listener has failed: the sessions of all have been ended as by `stop`.
pub async fn run(
    listeners: Vec<Listener>,
    sources: Sources,
    limits: ReceiveLimits,
    progress: Arc<ReceiveProgress>,
    reports: mpsc::UnboundedSender<SessionReport>,
    stop: watch::Receiver<bool>,
) -> Result<(), ReceiveError> {
    let (to_all, all_stop) = watch::channel(false);
    let to_all = Arc::new(to_all);
    let (voice, trials, joints) = (Voice::default(), Trials::default(), Joints::default());
    let (tell_room, room) = watch::channel(None);
    let shown = progress.clone();
    let show = move |state| shown.set_room(state);
    let looking = room::watch(sources.clone(), limits.warn_free, show, tell_room);
    // Ends with this.
    let mut beside = JoinSet::new();
    beside.spawn(looking);
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let server = Server {
            sources: sources.clone(),
            limits: limits.clone(),
            progress: progress.clone(),
            reports: reports.clone(),
            stop: all_stop.clone(),
            voice: voice.clone(),
            room: room.clone(),
            trials: trials.clone(),
            joints: joints.clone(),
        };
        accepting.spawn(accept(listener, server, to_all.clone()));
    }
    let mut stop = stop;
    let mut outcome = Ok(());
    loop {
        tokio::select! {
            ended = accepting.join_next() => match ended {
                Some(Ok(ended)) => outcome = outcome.and(ended),
                Some(_) => {}
                None => break,
            },
            () = session::stopped(&mut stop), if !*to_all.borrow() => {
                to_all.send_replace(true);
            }
        }
    }
    sources.close().await;
    outcome
}

async fn accept(
    mut listener: Listener,
    server: Server,
    to_all: Arc<watch::Sender<bool>>,
) -> Result<(), ReceiveError> {
    let mut stop = server.stop.clone();
    let mut sessions = JoinSet::new();
    let ended = loop {
        let link = tokio::select! {
            link = listener.links.recv() => link,
            _ = sessions.join_next(), if !sessions.is_empty() => continue,
            () = session::stopped(&mut stop) => break Ok(()),
        };
        let Some(link) = link else {
            let (address, transport) = (listener.address, listener.transport);
            break Err(ReceiveError::Deaf { address, transport });
        };
        let server = server.clone();
        sessions.spawn(async move {
            let mut presence = Presence::new(&server.progress);
            // A trial has none; and nobody may be interested in reports.
            if let Some(report) = session::serve(link, &server, &mut presence).await {
                let _ = server.reports.send(report);
            }
        });
    };
    if let Err(deaf) = &ended {
        tracing::error!("{deaf}");
        // A receiver that half listens is taken for one that works.
        to_all.send_replace(true);
    }
    let Listener { gone, stop, links, .. } = listener;
    drop((stop, links));
    while sessions.join_next().await.is_some() {}
    // Whoever listens again at once finds the port free, unless a peer is far away.
    let _ = tokio::time::timeout(PORT_PATIENCE, gone).await;
    ended
}

#[cfg(test)]
mod joint_tests;
