//! Files that are not complete, or not known to be.

use std::collections::HashMap;
use std::fs::Metadata;
use std::time::{Duration, Instant, SystemTime};

/// Between two looks at a file that is not complete: the first, and the longest.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Files that are waited for at a time; more are found when their folder is looked through again.
pub(super) const MOST_PENDING: usize = 10_000;

/// Files that are waited for, by their paths below the root.
#[derive(Debug, Default)]
pub(super) struct PendingFiles {
    files: HashMap<Vec<u8>, Pending>,
}

/// A file that is not complete.
#[derive(Debug, Clone, Copy)]
struct Pending {
    look_at: Instant,
    pause: Duration,
    /// Its writer let go of it.
    is_let_go: bool,
    /// Its length and time at the last look, and since when they are these. This machine's clock alone is asked, since that
    /// of a mount may be another.
    state: State,
    since: Instant,
    /// It is complete once it has been as it is for this long.
    settles_in: Option<Duration>,
}

/// A file's length and time.
type State = (u64, Option<SystemTime>);

fn state(metadata: Option<&Metadata>) -> State {
    metadata.map_or((0, None), |metadata| (metadata.len(), metadata.modified().ok()))
}

impl PendingFiles {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn has(&self, path: &[u8]) -> bool {
        self.files.contains_key(path)
    }

    /// How long a file has been as it is.
    pub(super) fn unchanged_for(&self, path: &[u8]) -> Option<Duration> {
        self.files.get(path).map(|pending| pending.since.elapsed())
    }

    pub(super) fn remove(&mut self, path: &[u8]) {
        self.files.remove(path);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.files.keys().map(Vec::as_slice)
    }

    /// How many more can be waited for.
    pub(super) fn room(&self) -> usize {
        MOST_PENDING.saturating_sub(self.files.len())
    }

    /// When the next look is due.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.files.values().map(|pending| pending.look_at).min()
    }

    /// Files that are to be looked at by now, and whether their writers let go of them.
    pub(super) fn due(&self, now: Instant) -> Vec<(Vec<u8>, bool)> {
        let due = self.files.iter().filter(|(_, pending)| pending.look_at <= now);
        due.map(|(path, pending)| (path.clone(), pending.is_let_go)).collect()
    }

    /// Whether any may still turn out complete, of those that have not changed later than `most` after `said`. A torn
    /// image gets as much time as one that is written, and so does one that announces more.
    pub(super) fn may_settle(&self, said: Instant, most: Duration, longest: Duration) -> bool {
        self.files.values().any(|pending| match pending.settles_in {
            Some(time) if time <= longest => pending.since <= said + most,
            _ => said.elapsed() < most,
        })
    }

    /// All are to be looked at now.
    pub(super) fn look_at_all(&mut self) {
        let now = Instant::now();
        self.files.values_mut().for_each(|pending| pending.look_at = now);
    }

    /// Looks again later at a file that is torn, or has nothing in it; false where there is no room to.
    pub(super) fn wait_for(
        &mut self,
        path: &[u8],
        is_let_go: bool,
        metadata: Option<&Metadata>,
    ) -> bool {
        let Some(pending) = self.entry(path, is_let_go, state(metadata)) else { return false };
        pending.settles_in = None;
        let now = Instant::now();
        if pending.look_at <= now {
            pending.pause = (pending.pause * 2).min(LOOKS.1);
            pending.look_at = now + pending.pause;
        }
        true
    }

    /// Looks again when the file may have been as it is for `time`; `None` where there is no room to, else whether it has
    /// been.
    pub(super) fn settle(
        &mut self,
        path: &[u8],
        is_let_go: bool,
        metadata: &Metadata,
        time: Duration,
    ) -> Option<bool> {
        let pending = self.entry(path, is_let_go, state(Some(metadata)))?;
        pending.settles_in = Some(time);
        pending.look_at = pending.since + time;
        Some(Instant::now() >= pending.look_at)
    }

    /// Whether a file is as it was, and has yet to stay so for a while: it need not be read before that.
    pub(super) fn is_settling(&mut self, path: &[u8], metadata: &Metadata) -> bool {
        let Some(pending) = self.files.get_mut(path) else { return false };
        let Some(time) = pending.settles_in else { return false };
        let due = pending.since + time;
        let is_so = pending.state == state(Some(metadata)) && Instant::now() < due;
        if is_so {
            pending.look_at = due;
        }
        is_so
    }

    fn entry(&mut self, path: &[u8], is_let_go: bool, state: State) -> Option<&mut Pending> {
        if !self.files.contains_key(path) && self.room() == 0 {
            return None;
        }
        let now = Instant::now();
        let pending = self.files.entry(path.to_vec()).or_insert(Pending {
            look_at: now + LOOKS.0,
            pause: LOOKS.0,
            is_let_go,
            state,
            since: now,
            settles_in: None,
        });
        pending.is_let_go |= is_let_go;
        if pending.state != state {
            (pending.state, pending.since) = (state, now);
        }
        Some(pending)
    }
}
