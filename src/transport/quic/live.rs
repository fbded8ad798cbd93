//! Live frames on one connection: how they leave, and which of them are given up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quinn::Connection;
use tokio::sync::Notify;

use super::outlook::{FrameId, Outlook};
use crate::transport::{Forecast, GivenUp};

/// The least time between two looks for frames that cannot make it.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// The live frames of a connection.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Frames with a deadline have come: until then nothing of this costs anything.
    is_on: AtomicBool,
    state: Mutex<State>,
    /// Notified when another one has come.
    begun: Notify,
    /// Told which frames were given up.
    pub(super) given_up: GivenUp,
}

#[derive(Debug, Default)]
struct State {
    outlook: Outlook,
    /// Whom to tell that a frame is to be reset.
    tasks: HashMap<FrameId, Arc<Notify>>,
}

/// A live frame for as long as something of it may leave.
#[derive(Debug)]
pub(super) struct Ticket {
    live: Arc<Live>,
    id: FrameId,
    /// Notified when it cannot make it, where it has a deadline.
    hopeless: Option<Arc<Notify>>,
}

impl Live {
    /// Whether it is counted what leaves.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// What becomes of the next frame; `None` before the first with a deadline.
    pub(super) fn forecast(&self) -> Option<Forecast> {
        self.is_on().then(|| self.state().outlook.forecast())
    }

    /// Has the outlook take something in; true where there is room since.
    pub(super) fn take(&self, take: impl FnOnce(&mut Outlook)) -> bool {
        let outlook = &mut self.state().outlook;
        let had_room = outlook.forecast().has_room();
        take(outlook);
        !had_room && outlook.forecast().has_room()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts, each right for itself: a panic elsewhere leaves them so.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// One for a live frame of `bytes` bytes; `None` where no frame of this connection has a deadline.
    pub(super) fn new(
        live: &Arc<Live>,
        bytes: u64,
        priority: i32,
        deadline: Option<Instant>,
    ) -> Option<Self> {
        if deadline.is_some() {
            live.is_on.store(true, Ordering::Relaxed);
        } else if !live.is_on() {
            return None;
        }
        let mut state = live.state();
        let id = state.outlook.begin(bytes, priority, deadline);
        let hopeless = deadline.map(|_| Arc::<Notify>::default());
        if let Some(hopeless) = &hopeless {
            state.tasks.insert(id, hopeless.clone());
            live.begun.notify_one();
        }
        drop(state);
        Some(Self { live: live.clone(), id, hopeless })
    }

    /// True for a frame with a deadline.
    pub(super) fn may_be_given_up(&self) -> bool {
        self.hopeless.is_some()
    }
}

/// Waits until it is known that a frame cannot make it; for ever where it has no deadline.
pub(super) fn hopeless(ticket: Option<&Ticket>) -> impl Future<Output = ()> + use<> {
    let hopeless = ticket.and_then(|ticket| ticket.hopeless.clone());
    async move {
        match hopeless {
            Some(hopeless) => hopeless.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.live.state();
        state.outlook.end(self.id);
        state.tasks.remove(&self.id);
    }
}

/// Tells the frames that cannot make it any more, until the connection has ended.
pub(super) async fn watch(connection: Connection, live: Arc<Live>) {
    let mut next: Option<Instant> = None;
    loop {
        let sleep = async {
            match next {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = connection.closed() => return,
            () = live.begun.notified() => {}
            () = sleep => {}
        }
        let (rtt, now) = (connection.rtt(), Instant::now());
        let mut state = live.state();
        for id in state.outlook.hopeless(now, rtt) {
            if let Some(task) = state.tasks.remove(&id) {
                task.notify_one();
            }
        }
        next = state.outlook.next_look(rtt).map(|next| next.max(now + LOOK_INTERVAL));
    }
}
