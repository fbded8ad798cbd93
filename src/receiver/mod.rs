//! The receiving end: sessions from many senders, one store, and a receipt for every stored frame.

mod report;
mod session;
mod sources;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use report::{LostFrameReport, ReceiveReport, SessionReport, SourceTotals};
pub use sources::Sources;

use crate::frame::ByteSize;
use crate::transport::{Intake, Listener, MemoryBudget};

/// How long a peer may take from its connection to its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// What a receiver lets all of its senders do.
#[derive(Debug, Clone)]
pub struct ReceiveLimits {
    /// The longest frame.
    pub max_frame: ByteSize,
    /// Memory for bodies and long messages that arrive or wait to be stored or answered, all sessions
    /// together.
    pub memory: ByteSize,
    /// Bytes that one session may have unconfirmed.
    pub max_unconfirmed_bytes: ByteSize,
    /// Frames that one session may have unconfirmed.
    pub max_unconfirmed_frames: u64,
    /// Sessions at once, over each transport.
    pub max_sessions: usize,
    /// A session that has frames open and makes next to no progress for this long is ended.
    pub stall: Duration,
    /// Lets every permitted sender write to every source. Without it a source belongs to the sender that
    /// began it.
    pub shared: bool,
    /// Lets a sender that asks for it replace stored frames with others of the same name.
    pub allow_overwrite: bool,
}

impl Default for ReceiveLimits {
    fn default() -> Self {
        Self {
            max_frame: ByteSize(64 << 20),
            // More than twice what one session may have unconfirmed: a slow disk for one sender
            // leaves room for another.
            memory: ByteSize(128 << 20),
            // Four times the bandwidth-delay product of 500 Mbit/s and 200 ms, 12.5 MB: receipts
            // may be late by several round trips before a sender has to wait for them. Either end
            // may hold as much, beside what its transport buffers, and is to stay below 150 MB.
            max_unconfirmed_bytes: ByteSize(48 << 20),
            // As many as QUIC streams may be open. 12.5 MB of 4 kB frames are 3,052.
            max_unconfirmed_frames: 4_096,
            max_sessions: 64,
            stall: Duration::from_secs(30),
            shared: false,
            allow_overwrite: false,
        }
    }
}

impl ReceiveLimits {
    /// The limits in the form that transports enforce. One budget for all that share it.
    pub fn intake(&self) -> Intake {
        Intake {
            max_frame: self.max_frame,
            budget: MemoryBudget::new(self.memory),
            stall: self.stall,
            max_sessions: self.max_sessions,
        }
    }
}

/// Counters that can be looked at while the receiver runs.
#[derive(Debug, Default)]
pub struct ReceiveProgress {
    frames: AtomicU64,
    bytes: AtomicU64,
    sessions: AtomicU64,
    begun: AtomicU64,
}

impl ReceiveProgress {
    /// Frames stored.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Their bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Sessions open at the moment. One is from its hello until its report was handed on, so that who
    /// sees none has all reports, and a connection that says nothing is none.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Acquire)
    }

    /// The place of a session that is welcomed now, from 1.
    fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn stored(&self, frames: u64, bytes: u64) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Serves every session of `listeners` until `stop` turns true, and then until what has arrived is
/// stored. Each session's report goes to `reports` when it ends.
pub async fn run(
    listeners: Vec<Listener>,
    sources: Sources,
    limits: ReceiveLimits,
    progress: Arc<ReceiveProgress>,
    reports: mpsc::UnboundedSender<SessionReport>,
    stop: watch::Receiver<bool>,
) {
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let server = Server {
            sources: sources.clone(),
            limits: limits.clone(),
            progress: progress.clone(),
            reports: reports.clone(),
            stop: stop.clone(),
        };
        accepting.spawn(accept(listener, server));
    }
    while accepting.join_next().await.is_some() {}
}

/// What the sessions of one listener share.
#[derive(Clone)]
struct Server {
    sources: Sources,
    limits: ReceiveLimits,
    progress: Arc<ReceiveProgress>,
    reports: mpsc::UnboundedSender<SessionReport>,
    stop: watch::Receiver<bool>,
}

impl Server {
    /// Frames of one session that may wait to be stored. No good sender has more unconfirmed.
    fn max_storing(&self) -> usize {
        usize::try_from(self.limits.max_unconfirmed_frames).unwrap_or(usize::MAX)
    }
}

/// Counts a session as open from the time it enters until this is dropped.
struct Presence {
    progress: Arc<ReceiveProgress>,
    entered: bool,
}

impl Presence {
    fn enter(&mut self) {
        if !std::mem::replace(&mut self.entered, true) {
            self.progress.sessions.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.entered {
            self.progress.sessions.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

async fn accept(mut listener: Listener, server: Server) {
    let mut stop = server.stop.clone();
    let mut sessions = JoinSet::new();
    loop {
        let link = tokio::select! {
            link = listener.links.recv() => link,
            _ = sessions.join_next(), if !sessions.is_empty() => continue,
            _ = stop.wait_for(|stop| *stop) => None,
        };
        let Some(link) = link else { break };
        let server = server.clone();
        sessions.spawn(async move {
            let mut presence = Presence { progress: server.progress.clone(), entered: false };
            let report = session::serve(link, &server, &mut presence).await;
            // Nobody may be interested in reports.
            let _ = server.reports.send(report);
        });
    }
    drop(listener);
    while sessions.join_next().await.is_some() {}
}
