//! A receiver that stores, and whoever runs it hears of each session.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::places::Place;
use crate::identity::Pin;
use crate::receiver::{
    self, Board, Busy, ReceiveError, ReceiveLimits, ReceiveProgress, SessionReport, Sources,
};
use crate::transport::Listener;

/// A receiver that runs in a task of its own and hands out no frames; see
/// [`ReceiverBuilder::serve`](super::ReceiverBuilder::serve).
#[derive(Debug)]
#[non_exhaustive]
pub struct Serving {
    /// Where it listens.
    pub places: Vec<Place>,
    /// The pin by which senders trust it.
    pub pin: Pin,
    /// What is going on.
    pub progress: Arc<ReceiveProgress>,
    /// How long the store has been at what it does.
    pub busy: Busy,
    /// What is going on, source by source, once it is told to [show](Board::show) that.
    pub board: Arc<Board>,
    /// The report of each session when it has ended.
    pub reports: mpsc::UnboundedReceiver<SessionReport>,
    /// Ends when it was told to stop and everything that had arrived is stored, or when it cannot go on.
    pub task: JoinHandle<Result<(), ReceiveError>>,
}

/// Serves until `stop` turns true. In a tokio runtime.
pub(super) fn serve(
    listeners: Vec<Listener>,
    sources: Sources,
    limits: ReceiveLimits,
    pin: Pin,
    stop: watch::Receiver<bool>,
) -> Serving {
    let place =
        |listener: &Listener| Place { transport: listener.transport, address: listener.address };
    let places = listeners.iter().map(place).collect();
    let progress = Arc::new(ReceiveProgress::default());
    let board = sources.board().clone();
    let (report, reports) = mpsc::unbounded_channel();
    let busy = sources.busy();
    let serving = receiver::run(listeners, sources, limits, progress.clone(), report, stop);
    Serving { places, pin, progress, busy, board, reports, task: tokio::spawn(serving) }
}
