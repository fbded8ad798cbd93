//! What the sessions of a receiver share.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::joint::Joints;
use super::limits::ReceiveLimits;
use super::progress::ReceiveProgress;
use super::report::SessionReport;
use super::room::RoomState;
use super::sources::Sources;
use super::trial::Trials;
use crate::transport::Voice;

/// What the sessions of one listener share.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) sources: Sources,
    pub(super) limits: ReceiveLimits,
    pub(super) progress: Arc<ReceiveProgress>,
    pub(super) reports: mpsc::UnboundedSender<SessionReport>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) voice: Voice,
    /// Changes when there is little room for frames, or enough again.
    pub(super) room: watch::Receiver<Option<RoomState>>,
    pub(super) trials: Trials,
    /// Sessions that another connection may join, over whichever listener.
    pub(super) joints: Joints,
}

impl Server {
    /// Frames of one session that may wait to be stored. No good sender has more unconfirmed.
    pub(super) fn max_storing(&self) -> usize {
        usize::try_from(self.limits.max_unconfirmed_frames).unwrap_or(usize::MAX)
    }
}
