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

/// Connections of one sender that are let in beyond all places, for each session that it has: as many as join one.
const MOST_GUESTS: usize = 8;

/// The places of a listener's sessions. The connections of one session have one.
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

/// Why there is no room where so many sessions are all that are served.
pub fn all_taken(limit: usize) -> String {
    format!("the receiver has as many sessions as it serves, its limit of {limit}; try later")
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Shared { most, taken: Mutex::default(), freed: Notify::new() }))
    }

    /// A place for a session. Where all are taken, a session of the sender with the most gives way, if
    /// that has more than this one would have then, and otherwise one that is idle. What joins a session later gives its
    /// place back.
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
        if taken.sessions().len() >= self.0.most && !taken.make_room(sender) {
            return Err(Full(all_taken(self.0.most)));
        }
        Ok(taken.enter(account, self))
    }

    /// The same, and where there is no place, leave to come as a guest for a sender that has a session in: its
    /// connection may join that, or be a session in its place, but no session more.
    pub(super) fn take_or_join(&self, account: &Account) -> Result<Place, Full> {
        let full = match self.take(account) {
            Ok(place) => return Ok(place),
            Err(full) => full,
        };
        let mut taken = self.taken();
        if !taken.takes_guest(account.sender()) {
            return Err(full);
        }
        let shared = Arc::downgrade(&self.0);
        account.comes_as_guest(move |guest| {
            shared.upgrade().is_some_and(|shared| Self(shared).taken().swap(guest))
        });
        Ok(taken.enter(account, self))
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

/// Connections of one session, or one that has said of none that it is of it.
type Group<'a> = Vec<&'a Account>;

impl Taken {
    fn enter(&mut self, account: &Account, places: &Places) -> Place {
        let number = self.next;
        self.next += 1;
        self.open.insert(number, account.clone());
        Place { places: places.clone(), number }
    }

    /// Gives a guest the place of another connection of its sender that has begun no session; that is a guest then.
    fn swap(&mut self, guest: &Account) -> bool {
        let waits = |account: &&Account| {
            let is_own = account.sender() == guest.sender() && !account.is_guest();
            is_own && account.session().is_none() && !account.is_told_to_go()
        };
        let other = self.open.values().find(waits);
        other.inspect(|other| other.be_guest(true)).inspect(|_| guest.be_guest(false)).is_some()
    }

    /// The place of a connection that is gone goes to a guest of its sender: one of the same session first, then one that
    /// has begun another.
    fn hand_on(&mut self, gone: &Account) {
        if gone.is_guest() {
            return;
        }
        let is_own =
            |account: &&Account| account.sender() == gone.sender() && account.session().is_some();
        let guests = self.open.values().filter(is_own);
        if guests.clone().any(|other| !other.is_guest() && other.session() == gone.session()) {
            return;
        }
        let heir = guests.filter(|account| account.is_guest());
        let heir = heir.min_by_key(|account| account.session() != gone.session());
        heir.inspect(|heir| heir.be_guest(false));
    }

    /// True where a sender has sessions that one more connection may join: those in which one has a place, so that sessions
    /// that guests have begun in the place of others bring no more of them.
    fn takes_guest(&self, sender: &str) -> bool {
        let sessions = self.sessions();
        let has_place = |group: &&Group<'_>| group.iter().any(|account| !account.is_guest());
        let own = sessions.iter().filter(|group| group[0].sender() == sender);
        let own = own.filter(has_place).count();
        let guests =
            self.open.values().filter(|account| account.is_guest() && account.sender() == sender);
        guests.count() < own * MOST_GUESTS
    }

    /// Sessions that were not told to go, each with its connections. A guest that has not said which it joins is none.
    fn sessions(&self) -> Vec<Group<'_>> {
        let mut groups: BTreeMap<(Option<u64>, u64), Group<'_>> = BTreeMap::new();
        let counts = |account: &Account| !account.is_guest() || account.session().is_some();
        let there = self.open.iter().filter(|(_, account)| !account.is_told_to_go());
        let there = there.filter(|(_, account)| counts(account));
        for (&number, account) in there {
            let session = account.session();
            let alone = if session.is_none() { number } else { 0 };
            groups.entry((session, alone)).or_default().push(account);
        }
        groups.into_values().collect()
    }

    /// Has a session give way to one of `newcomer`; false where none has to.
    fn make_room(&mut self, newcomer: &str) -> bool {
        let sessions = self.sessions();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        sessions.iter().for_each(|group| *counts.entry(group[0].sender()).or_default() += 1);
        let own = counts.get(newcomer).copied().unwrap_or(0);
        let most = counts.values().copied().max().unwrap_or(0);
        let of_most = |group: &&Group<'_>| counts.get(group[0].sender()) == Some(&most);
        let idle = |group: &Group<'_>| {
            group.iter().map(|account| account.idle()).min().unwrap_or_default()
        };
        let victim = match most > own + 1 {
            true => sessions.iter().filter(of_most).max_by_key(|group| idle(group)),
            false => {
                sessions.iter().filter(|group| idle(group) >= IDLE).max_by_key(|group| idle(group))
            }
        };
        let Some(victim) = victim else { return false };
        for account in victim {
            account
                .tell_to_go("all places are taken, and this one goes to another sender; try again");
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(account) = taken.open.remove(&self.number) {
            taken.hand_on(&account);
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
    async fn the_connections_of_a_session_have_one_place() {
        let (budget, places) = (budget(), Places::new(3));
        let enter = |sender: &str, session: u64| {
            let account = budget.open(sender);
            let place = places.take(&account)?;
            account.is_of(session);
            Ok::<_, Full>((place, account))
        };
        // Four connections, of which the last three join the session of the first.
        let joined: Vec<_> = (0..4).map(|_| enter("a", 1).unwrap()).collect();
        let (_other, other) = enter("b", 2).unwrap();
        let (_third, third) = enter("c", 3).unwrap();
        assert!(enter("d", 4).is_err(), "there are three sessions");
        tokio::time::advance(IDLE).await;
        // Something has come over one of its connections, and of the third session.
        joined[2].1.act();
        third.act();
        let (_new, account) = enter("d", 4).expect("the one of which nothing was heard gives way");
        assert!(other.is_told_to_go() && !third.is_told_to_go());
        assert!(joined.iter().all(|(_, account)| !account.is_told_to_go()));
        // A session gives way with all of its connections.
        tokio::time::advance(IDLE).await;
        third.act();
        account.act();
        enter("e", 5).expect("one gives way");
        assert!(joined.iter().all(|(_, account)| account.is_told_to_go()));
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_places_are_taken_a_sender_may_join_its_own_session() {
        let (budget, places) = (budget(), Places::new(1));
        let first = budget.open("a");
        let place = places.take_or_join(&first).unwrap();
        first.is_of(1);
        assert!(!first.is_guest());
        let mut guests = Vec::new();
        for _ in 0..MOST_GUESTS {
            let guest = budget.open("a");
            guests.push((places.take_or_join(&guest).expect("a link of its session"), guest));
        }
        assert!(guests.iter().all(|(_, guest)| guest.is_guest() && !guest.is_told_to_go()));
        assert!(places.take_or_join(&budget.open("a")).is_err(), "so many and no more");
        assert!(places.take_or_join(&budget.open("b")).is_err(), "it has no session here");
        assert!(places.take(&budget.open("a")).is_err(), "it would be a session");
        // What has joined goes on when the first connection is gone, and is still one session.
        guests[0].1.is_of(1);
        drop((place, first));
        assert!(!guests[0].1.is_guest(), "it has the place now");
        assert!(places.take_or_join(&budget.open("b")).is_err());
        // Those that have joined none keep nobody out.
        guests.remove(0);
        places.take_or_join(&budget.open("b")).expect("there is no session any more");
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_connections_either_may_begin_the_session() {
        let (budget, places) = (budget(), Places::new(1));
        let (first, second) = (budget.open("a"), budget.open("a"));
        let _held = (places.take_or_join(&first).unwrap(), places.take_or_join(&second).unwrap());
        assert!(second.is_guest() && second.may_begin());
        assert!(!second.is_guest() && first.is_guest(), "they have changed places");
        second.is_of(1);
        assert!(!first.may_begin(), "there is a session");
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
