//! Whether the disk that frames are stored on is nearly full: said early, and once.

use std::time::Duration;

use tokio::sync::watch;

use super::sources::Sources;
use crate::frame::Share;
use crate::store::{Keeping, Room};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// It has room again when so many times the part is free at which it was said to be nearly full.
const ENOUGH: f64 = 1.25;

/// The room that there is, and whether that is little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomState {
    /// The room.
    pub room: Room,
    /// Whether it was said to be little, and is not enough yet.
    pub is_low: bool,
    /// How the store keeps to the limit that it has, where it has one.
    pub keeping: Option<Keeping>,
}

impl RoomState {
    /// The state with this room, where the last one was another.
    fn next(last: Option<Self>, room: Room, keeping: Option<Keeping>, warn: Share) -> Self {
        let (free, warn) = (room.free_part(), warn.fraction());
        let was_low = last.is_some_and(|last| last.is_low);
        let is_low = if was_low { free < (warn * ENOUGH).min(1.0) } else { free < warn };
        Self { room, is_low, keeping }
    }

    /// What is to be said of it.
    pub(super) fn words(&self) -> String {
        let (free, total) = (self.room.free, self.room.total);
        let percent = self.room.free_part() * 100.0;
        match self.is_low {
            true => format!(
                "the disk that frames are stored on is nearly full: {free} of {total} ({percent:.1} %) are free"
            ),
            false => format!(
                "the disk that frames are stored on has room again: {free} of {total} ({percent:.1} %) are free"
            ),
        }
    }
}

/// Looks for as long as `stop` is heard, says in the log when there is little room and when there is enough again, and
/// tells `show` and the sessions.
pub(super) async fn watch(
    sources: Sources,
    warn: Share,
    show: impl Fn(RoomState),
    tell: watch::Sender<Option<RoomState>>,
) {
    loop {
        let looking = sources.clone();
        let look = move || looking.room().map(|room| (room, looking.keeping()));
        let Ok(found) = tokio::task::spawn_blocking(look).await else { return };
        if let Some((room, keeping)) = found {
            let last = *tell.borrow();
            let state = RoomState::next(last, room, keeping, warn);
            show(state);
            if state.is_low != last.is_some_and(|last| last.is_low) {
                match state.is_low {
                    true => tracing::warn!(
                        "{}; remove some, or let old frames be removed (`keep`)",
                        state.words()
                    ),
                    false => tracing::warn!("{}", state.words()),
                }
            }
            tell.send_if_modified(|told| {
                let changes = told.is_none_or(|told| told.is_low != state.is_low);
                *told = Some(state);
                changes
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::ByteSize;

    #[test]
    fn little_room_is_little_until_there_is_clearly_more() {
        let warn = Share::new(0.05).unwrap();
        let mut last = None;
        let mut lows = Vec::new();
        for free in [60, 51, 50, 49, 50, 60, 49, 62, 63, 60, 51, 49] {
            let room = Room { free: ByteSize(free), total: ByteSize(1_000) };
            let state = RoomState::next(last, room, None, warn);
            lows.push(state.is_low);
            last = Some(state);
        }
        let expected = [0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0, 1].map(|low| low == 1);
        assert_eq!(lows, expected);
        assert!(
            last.unwrap().words().contains("nearly full: 49 B of 1.0 kB")
                || last.unwrap().words().contains("(4.9 %)")
        );
    }
}
