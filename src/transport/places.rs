//! How many sessions there are at once, and who gives way where there is no room for one more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::budget::{Account, WeakAccount};

/// A session whose peer has done nothing for this long gives its place to a newcomer, whoever that is.
const IDLE: Duration = Duration::from_secs(60);

/// Sessions of one sender whose connection is gone and whose frames still wait for the disk, beyond which
/// it gets no new one: this part of all places, and a few at least.
const LINGERING_PART: usize = 4;
/// See [`LINGERING_PART`].
const LEAST_LINGERING: usize = 4;

/// The places of a listener's sessions.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    open: BTreeMap<u64, Account>,
    /// Sessions whose connection has ended and of which something is left.
    lingering: BTreeMap<u64, (String, WeakAccount)>,
}

/// A session's place, until its connection has ended.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    number: u64,
}

/// There is no room, in words for the newcomer.
#[derive(Debug)]
pub(super) struct Full(pub(super) String);

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Shared { most, taken: Mutex::default(), freed: Notify::new() }))
    }

    /// A place for a session. Where all are taken, a session of the sender with the most gives way, if
    /// that has more than this one would have then, and otherwise one that is idle.
    pub(super) fn take(&self, account: &Account) -> Result<Place, Full> {
        let mut taken = self.taken();
        taken.lingering.retain(|_, (_, account)| account.is_there());
        let sender = account.sender();
        let lingering = taken.lingering.values().filter(|(of, _)| of == sender).count();
        if lingering >= (self.0.most / LINGERING_PART).max(LEAST_LINGERING) {
            let why =
                format!("{lingering} earlier sessions of this sender still wait for the disk");
            return Err(Full(format!("{why}; try later")));
        }
        if taken.present() >= self.0.most && !taken.make_room(sender) {
            let limit = self.0.most;
            let why =
                format!("the receiver has as many sessions as it serves, its limit of {limit}");
            return Err(Full(format!("{why}; try later")));
        }
        let number = taken.next;
        taken.next += 1;
        taken.open.insert(number, account.clone());
        Ok(Place { places: self.clone(), number })
    }

    /// Waits for a place. Cancel safe.
    pub(super) async fn wait(&self, account: &Account) -> Place {
        loop {
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable();
            match self.take(account) {
                Ok(place) => return place,
                Err(Full(_)) => freed.await,
            }
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // The list is whole at every moment, so another thread's panic does not spoil it.
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Sessions that were not told to go.
    fn present(&self) -> usize {
        self.open.values().filter(|account| !account.is_told_to_go()).count()
    }

    /// Has a session give way to one of `newcomer`; false where none has to.
    fn make_room(&mut self, newcomer: &str) -> bool {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let present = || self.open.values().filter(|account| !account.is_told_to_go());
        present().for_each(|account| *counts.entry(account.sender()).or_default() += 1);
        let own = counts.get(newcomer).copied().unwrap_or(0);
        let most = counts.values().copied().max().unwrap_or(0);
        let of_most = |account: &&Account| counts.get(account.sender()) == Some(&most);
        let victim = match most > own + 1 {
            true => present().filter(of_most).max_by_key(|account| account.idle()),
            false => present()
                .filter(|account| account.idle() >= IDLE)
                .max_by_key(|account| account.idle()),
        };
        let Some(victim) = victim else { return false };
        victim.tell_to_go("all places are taken, and this one goes to another sender; try again");
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(account) = taken.open.remove(&self.number) {
            let weak = account.downgrade();
            taken.lingering.insert(self.number, (account.sender().to_owned(), weak));
            drop(taken);
            // Dropped without the lock: it may be the last of its account.
            drop(account);
        }
        self.places.0.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::ByteSize;
    use crate::transport::MemoryBudget;

    fn budget() -> MemoryBudget {
        MemoryBudget::new(ByteSize(1 << 20))
    }

    #[tokio::test(start_paused = true)]
    async fn one_sender_cannot_take_all_places() {
        let (budget, places) = (budget(), Places::new(4));
        let mut held = Vec::new();
        for _ in 0..4 {
            let account = budget.open("greedy");
            held.push((places.take(&account).unwrap(), account));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let other = budget.open("other");
        let place = places.take(&other).expect("one gives way");
        let told: Vec<_> = held.iter().map(|(_, account)| account.is_told_to_go()).collect();
        assert_eq!(told, [true, false, false, false], "the one that was idle for the longest");
        // Each has its part now.
        let second = budget.open("other");
        let second_place = places.take(&second).expect("they would have two each");
        assert!(places.take(&budget.open("other")).is_err());
        assert!(places.take(&budget.open("greedy")).is_err());
        drop((place, second_place));
        places.take(&budget.open("greedy")).expect("a place is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn idle_sessions_give_way_among_equals() {
        let (budget, places) = (budget(), Places::new(2));
        let (idle, busy, new) = (budget.open("a"), budget.open("b"), budget.open("c"));
        let _held = (places.take(&idle).unwrap(), places.take(&busy).unwrap());
        assert!(places.take(&new).is_err());
        tokio::time::advance(IDLE).await;
        busy.act();
        let _place = places.take(&new).expect("the idle one gives way");
        assert!(idle.is_told_to_go() && !busy.is_told_to_go());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_of_sessions_is_bounded() {
        let (budget, places) = (budget(), Places::new(8));
        let mut left = Vec::new();
        for _ in 0..LEAST_LINGERING {
            let account = budget.open("slow disk");
            drop(places.take(&account).unwrap());
            left.push(account);
        }
        assert!(places.take(&budget.open("slow disk")).is_err());
        places.take(&budget.open("other")).expect("others are not concerned");
        left.pop();
        places.take(&budget.open("slow disk")).expect("one is done");
    }

    #[tokio::test(start_paused = true)]
    async fn any_number_of_sessions_can_be_allowed() {
        let (budget, places) = (budget(), Places::new(usize::MAX));
        let _place = places.take(&budget.open("a")).unwrap();
    }
}
