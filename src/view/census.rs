//! What changes in a store by something else than storing is looked for now and then: frames that have expired, and the
//! room on the disk.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::gallery::{Exhibit, Gallery};
use super::past::newest;
use super::stored;
use crate::manifest::{Day, Expired};
use crate::receiver::Newest;

/// How often the disk is looked at.
const DISK_EVERY: Duration = Duration::from_secs(1);
/// How often the ledgers are.
const LEDGERS_EVERY: Duration = Duration::from_secs(2);

/// Looks at the disk again and again.
pub(super) async fn watch_disk(gallery: Arc<Gallery>) {
    loop {
        gallery.look_at_disk().await;
        sleep(DISK_EVERY).await;
    }
}

/// Counts the frames of sources that nobody has counted, and of those of which some have expired.
pub(super) async fn count_stored(gallery: Arc<Gallery>) {
    let mut census = Census::default();
    loop {
        let counting = gallery.clone();
        let counted = spawn_blocking(move || {
            let exhibits = counting.exhibits();
            census.0.retain(|id, _| exhibits.iter().any(|exhibit| exhibit.id == *id));
            exhibits.iter().for_each(|exhibit| census.count(&counting, exhibit));
            census
        });
        census = match counted.await {
            Ok(census) => census,
            Err(_) => return,
        };
        sleep(LEDGERS_EVERY).await;
    }
}

/// In place of what has expired of a source whose folder is not there.
const AWAY: u64 = u64::MAX;

/// What was known to have expired of each source when it was counted.
#[derive(Debug, Default)]
struct Census(HashMap<String, u64>);

impl Census {
    fn count(&mut self, gallery: &Gallery, exhibit: &Exhibit) {
        let (shelf, panel) = (gallery.shelf(exhibit), &exhibit.panel);
        let folder = match shelf.folder() {
            Ok(folder) => folder,
            // It was taken away, as a flight is that is carried home. Where it is there again it is counted anew.
            Err(Errno::NOENT | Errno::NOTDIR) => {
                if panel.recount(|| Some(0)) {
                    self.0.insert(exhibit.id.clone(), AWAY);
                }
                return;
            }
            Err(_) => return,
        };
        let expired = shelf.expired(&folder);
        let counted = self.0.get(&exhibit.id).copied().unwrap_or(0);
        // A source that was opened is counted by its store, as that stores.
        if panel.is_counted() && counted == expired.changes() {
            return;
        }
        // What cannot be read is tried again, and where frames were stored meanwhile, too.
        if panel.recount(|| stored::count(&shelf).ok()) {
            self.0.insert(exhibit.id.clone(), expired.changes());
        }
        let gone = panel.newest().borrow().clone().filter(|newest| has_expired(&expired, newest));
        if let Some(gone) = gone {
            panel.replace_gone(&gone, stored::last(&shelf).ok().flatten().map(newest));
        }
    }
}

fn has_expired(expired: &Expired, newest: &Newest) -> bool {
    let day = Day::of(newest.captured.map_or(newest.received, |captured| captured.at));
    newest.stored <= expired.until(day)
}
