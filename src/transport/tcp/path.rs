//! What the kernel knows of the path of a session's connection.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::pace::Pace;
use super::socket::Stream;
use crate::transport::kernel::{TcpState, tcp_state};
use crate::transport::{PathStats, PathWatch, Segments};

/// A connection's socket, to be asked about; to be dropped with the connection, which it would keep from being
/// closed. `None` where the system has no more files.
pub(super) fn handle(stream: &Stream) -> Option<Arc<OwnedFd>> {
    let socket = stream.get_ref().0.get_ref();
    socket.as_fd().try_clone_to_owned().ok().map(Arc::new)
}

/// What was sent over connections of single frames, as they have ended.
#[derive(Debug, Default)]
pub(super) struct Ended(Mutex<Sums>);

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    segments: u64,
    again: u64,
    bytes_again: u64,
}

impl Ended {
    /// Adds what was sent over a connection that is about to end.
    pub(super) fn add(&self, socket: &OwnedFd) {
        let Some(state) = tcp_state(socket.as_fd()) else { return };
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sums.segments += u64::from(state.segments_sent);
        sums.again += u64::from(state.segments_again);
        sums.bytes_again += state.bytes_again;
    }

    fn sums(&self) -> Sums {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at a receiver's connection as long as there is one, and tells of its last moment after that.
pub(super) fn watch(socket: Option<&Arc<OwnedFd>>) -> PathWatch {
    let kernel = Kernel::new(socket);
    PathWatch::new(move || kernel.look())
}

/// The same for a sender, which has connections for single frames beside it: `written` counts the bytes written to
/// all of them, `ended` what they have sent, and `pace` knows which frames have not left.
pub(super) fn watch_all(
    socket: Option<&Arc<OwnedFd>>,
    written: Arc<AtomicU64>,
    ended: Arc<Ended>,
    pace: Arc<Pace>,
) -> PathWatch {
    let kernel = Kernel::new(socket);
    let (before, written_before) = (ended.sums(), written.load(Ordering::Relaxed));
    let (drained, given_up) = (pace.drained.clone(), pace.given_up.clone());
    let watch = PathWatch::new(move || {
        let (path, sums) = (kernel.look(), ended.sums());
        let bytes = written.load(Ordering::Relaxed).saturating_sub(written_before);
        PathStats {
            packets_sent: path.packets_sent + (sums.segments - before.segments),
            packets_lost: path.packets_lost + (sums.again - before.again),
            moved: Some(bytes),
            bytes_sent: bytes + path.bytes_sent + (sums.bytes_again - before.bytes_again),
            forecast: pace.forecast(&kernel.last()),
            ..path
        }
    });
    watch.with_notice(drained).with_given_up(given_up)
}

/// One connection, as the kernel sees it.
struct Kernel {
    socket: Weak<OwnedFd>,
    last: Mutex<TcpState>,
}

impl Kernel {
    fn new(socket: Option<&Arc<OwnedFd>>) -> Self {
        Self { socket: socket.map_or_else(Weak::new, Arc::downgrade), last: Mutex::default() }
    }

    /// The congestion window is left out: what waits in front of it, in the kernel and here, cannot be told from
    /// what is on its way. Of the bytes it has those that were sent again.
    fn look(&self) -> PathStats {
        let now = self.socket.upgrade().and_then(|socket| tcp_state(socket.as_fd()));
        let of = |now: TcpState| Segments { received: now.segments_received, is_due: now.awaits() };
        let mut last = self.lock();
        *last = now.unwrap_or(*last);
        PathStats {
            rtt: last.rtt,
            segments: now.map(of),
            packets_sent: last.segments_sent.into(),
            packets_lost: last.segments_again.into(),
            bytes_sent: last.bytes_again,
            ..PathStats::default()
        }
    }

    /// What the last look has found.
    fn last(&self) -> TcpState {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, TcpState> {
        // One copy of another: a panic elsewhere cannot have left half of it.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
