//! A bound on the memory that bodies and long messages hold while they arrive and wait to be stored
//! or answered, shared fairly by the sessions that are there.
//!
//! Every session has an [`Account`]. Memory that nobody waits for is had by whoever asks. Where it is
//! short, who holds least gets what is given back, senders counting alike and so the sessions of one;
//! a little is every session's own in any case. A session that holds more than its share for what
//! does not become whole gives way to one that waits with less; its sender comes back, and has its turn to hold more
//! for long enough.

mod shares;
mod turns;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

use self::shares::{Granted, Id, Shares};
use crate::frame::{ByteSize, Spares};
use crate::wire::{Message, OfferEntry};

/// What is held comes in steps of this.
const GRAIN: u64 = 1_024;

/// Messages up to this length are not counted: their number is bounded, and all but offers, answers
/// and receipts of many frames are shorter.
pub const SHORT_MESSAGE: u64 = 4 * 1_024;

/// What each session may hold whatever others do, where the budget is not a small one: a frame of a
/// camera. For 64 sessions it is 8 MiB beside the budget.
const RESERVE: u64 = 128 * 1_024;

/// A reserve is at most this part of the budget.
const RESERVE_PART: u64 = 64;

/// Memory of long bodies that is kept for the next ones: of a camera's frames of 1 MB, those that are arriving and those
/// that are being stored. It is beside the budget only while the budget has as much room.
const MOST_SPARES: u64 = 8 << 20;

/// It is at most this part of the budget.
const SPARES_PART: u64 = 16;

/// How often who waits looks whether somebody has to give way.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Memory that bodies and long messages share.
///
/// Many frames that have each a part of their body could fill the budget, so that none could ever
/// be completed. To rule that out, one frame at a time may go over: the oldest of the session that
/// holds least. What is held is therefore at most the budget, one frame, and the reserves.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    shares: Arc<Mutex<Shares>>,
    ages: Arc<AtomicU64>,
    spares: Spares,
}

/// One session's part of a [`MemoryBudget`]. Clones are the same account, which is closed when the last
/// of them and the last claim on it is gone.
#[derive(Debug, Clone)]
pub struct Account(Arc<Open>);

#[derive(Debug)]
struct Open {
    budget: MemoryBudget,
    id: Id,
    sender: String,
    go: watch::Receiver<Option<String>>,
    active: Mutex<Instant>,
    /// Of which session it is, once that is known.
    session: AtomicU64,
    /// It came when all places were taken, and what is to be done where it is to have one.
    guest: AtomicBool,
    host: OnceLock<Host>,
}

/// Gives a guest the place of another, where there is one to be had.
type HasPlace = dyn Fn(&Account) -> bool + Send + Sync;

/// See [`HasPlace`].
struct Host(Box<HasPlace>);

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

/// Tells whether an [`Account`] is still there, without keeping it.
#[derive(Debug, Clone)]
pub struct WeakAccount(Weak<Open>);

/// Memory claimed for one body or message; given back when dropped.
#[derive(Debug)]
pub struct Claim {
    account: Account,
    age: u64,
    /// What is held of the pool, and beyond it.
    pool: u64,
    beyond: u64,
    exempt: bool,
    whole: bool,
}

/// While it is there, something of a session waits for this end.
#[derive(Debug)]
pub struct Holdup(Account);

/// A claim's place among those that wait.
struct Waiting<'a> {
    claim: &'a Claim,
    bytes: u64,
    granted: oneshot::Receiver<Granted>,
    /// Whether what was granted has been taken.
    taken: bool,
}

impl MemoryBudget {
    /// A budget of `total` bytes, in which one frame may go over.
    pub fn new(total: ByteSize) -> Self {
        Self::of(total.0)
    }

    /// The same for frames of up to `longest` bytes, of which the one that may go over has three quarters of its room
    /// within `total`, as long as the budget is twice as long. The last quarter is less than the connections'
    /// buffers and the reserves, which are beside it, leave of as much again.
    pub fn with_longest(total: ByteSize, longest: ByteSize) -> Self {
        Self::of(total.0.saturating_sub(longest.0 / 4 * 3).max(total.0 / 2))
    }

    fn of(pool: u64) -> Self {
        let reserve = RESERVE.min(pool / RESERVE_PART);
        let spares = Spares::new(MOST_SPARES.min(pool / SPARES_PART));
        let shares = Arc::new(Mutex::new(Shares::new(pool, reserve, spares.clone())));
        Self { shares, ages: Arc::default(), spares }
    }

    /// An account for a session of this sender: its pin, or where it has none its address.
    pub fn open(&self, sender: &str) -> Account {
        let (id, go) = self.shares().enter(sender);
        let active = Mutex::new(Instant::now());
        let (budget, sender, session) = (self.clone(), sender.to_owned(), AtomicU64::new(0));
        let (guest, host) = (AtomicBool::new(false), OnceLock::new());
        Account(Arc::new(Open { budget, id, sender, go, active, session, guest, host }))
    }

    /// Bytes held at the moment, those of the one frame that goes over not counted.
    pub fn in_use(&self) -> u64 {
        self.shares().used()
    }

    /// Bytes that all share.
    pub fn total(&self) -> u64 {
        self.shares().pool()
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        // What is counted is right at every moment, so another thread's panic does not spoil it.
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// A claim on nothing yet.
    pub fn claim(&self) -> Claim {
        let age = self.0.budget.ages.fetch_add(1, Ordering::Relaxed);
        Claim { account: self.clone(), age, pool: 0, beyond: 0, exempt: false, whole: false }
    }

    /// A claim on so many bytes, where they are there and nobody waits.
    pub fn try_claim(&self, bytes: u64) -> Option<Claim> {
        let bytes = bytes.div_ceil(GRAIN) * GRAIN;
        let mut claim = self.claim();
        if !self.shares().try_hold(self.0.id, bytes) {
            return None;
        }
        claim.pool = bytes;
        Some(claim)
    }

    /// Whose sessions it is one of.
    pub fn sender(&self) -> &str {
        &self.0.sender
    }

    /// Memory for long bodies that was used before.
    pub(crate) fn spares(&self) -> Spares {
        self.0.budget.spares.clone()
    }

    /// It is a connection of the session of this number, from 1: all of those count as one.
    pub fn is_of(&self, session: u64) {
        self.0.session.store(session, Ordering::Relaxed);
    }

    /// The number of its session, once that is known.
    pub(crate) fn session(&self) -> Option<u64> {
        Some(self.0.session.load(Ordering::Relaxed)).filter(|session| *session > 0)
    }

    /// It is let in though all places are taken, to join a session or to take one's place. `host` gives it a place all the
    /// same where there is one to be had, and does so once.
    pub(super) fn comes_as_guest(&self, host: impl Fn(&Self) -> bool + Send + Sync + 'static) {
        self.be_guest(true);
        let _ = self.0.host.set(Host(Box::new(host)));
    }

    /// Whether it has no place of its own.
    pub(super) fn be_guest(&self, is_guest: bool) {
        self.0.guest.store(is_guest, Ordering::Relaxed);
    }

    /// True where it has no place of its own.
    pub(super) fn is_guest(&self) -> bool {
        self.0.guest.load(Ordering::Relaxed)
    }

    /// True where it may be a session of its own. One that came when all places were taken may not, unless another
    /// connection of its sender has one and has not begun a session yet: they came at once, and this one was quicker.
    pub fn may_begin(&self) -> bool {
        !self.is_guest() || self.0.host.get().is_some_and(|Host(host)| host(self))
    }

    /// Counts bytes that have come from the peer.
    pub fn came(&self, bytes: u64) {
        self.act();
        self.shares().came(self.0.id, bytes);
    }

    /// The peer has done something.
    pub fn act(&self) {
        *self.active() = Instant::now();
    }

    /// For how long the peer has done nothing.
    pub fn idle(&self) -> Duration {
        self.active().elapsed()
    }

    /// While what it gives is there, the session waits for this end, which is not the peer's stall.
    pub fn holdup(&self) -> Holdup {
        self.shares().holdup(self.0.id, true, Instant::now());
        Holdup(self.clone())
    }

    /// For how long something of the session has waited for this end, all in all.
    pub fn waited(&self) -> Duration {
        self.shares().waited(self.0.id, Instant::now())
    }

    /// Holds up to `wanted` bytes in all for what the peer may send unasked, as far as its share goes and
    /// there is room, and never less than before; returns what is held.
    pub fn extend_credit(&self, wanted: u64) -> u64 {
        self.shares().extend_credit(self.0.id, wanted)
    }

    /// True where one of the session's frames is the one that may go over the budget, and is not whole yet: it needs more
    /// to come, and not the store to go on.
    pub fn goes_over(&self) -> bool {
        self.shares().goes_over(self.0.id)
    }

    /// Holds that much more credit, whatever there is room for.
    pub fn force_credit(&self, bytes: u64) {
        self.shares().force_credit(self.0.id, bytes);
    }

    /// Gives back credit that the peer cannot use any more.
    pub fn take_back_credit(&self, bytes: u64) {
        self.shares().take_back_credit(self.0.id, bytes, Instant::now());
    }

    /// The most credit that it may hold as things are.
    pub fn most_credit(&self) -> u64 {
        self.shares().most_credit(self.0.id)
    }

    /// Has the session give way to others: its transport closes it with these words.
    pub fn tell_to_go(&self, why: &str) {
        self.shares().tell_to_go(self.0.id, why);
    }

    /// True once the session was told to give way.
    pub fn is_told_to_go(&self) -> bool {
        self.0.go.borrow().is_some()
    }

    /// Waits until the session has to give way to others, and tells why. Cancel safe.
    pub async fn told_to_go(&self) -> String {
        let mut go = self.0.go.clone();
        let told = go.wait_for(Option::is_some).await.map(|why| why.clone().unwrap_or_default());
        match told {
            Ok(why) => why,
            // Told by the account itself, which is there.
            Err(_) => std::future::pending().await,
        }
    }

    /// Tells later whether anything of the session is left.
    pub fn downgrade(&self) -> WeakAccount {
        WeakAccount(Arc::downgrade(&self.0))
    }

    fn shares(&self) -> MutexGuard<'_, Shares> {
        self.0.budget.shares()
    }

    fn active(&self) -> MutexGuard<'_, Instant> {
        self.0.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WeakAccount {
    /// The account, if anything of its session is left.
    pub fn upgrade(&self) -> Option<Account> {
        self.0.upgrade().map(Account)
    }

    /// True while anything of the session is left, a frame that waits to be stored included.
    pub fn is_there(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.budget.shares().leave(self.id, Instant::now());
    }
}

impl Drop for Holdup {
    fn drop(&mut self) {
        self.0.shares().holdup(self.0.0.id, false, Instant::now());
    }
}

impl Claim {
    /// Grows the claim to at least `bytes`, waiting for memory where there is none.
    ///
    /// Cancel safe: a dropped wait leaves the claim as it was.
    pub async fn grow_to(&mut self, bytes: u64) {
        let held = self.pool + self.beyond;
        if bytes <= held {
            return;
        }
        let more = (bytes - held).div_ceil(GRAIN).saturating_mul(GRAIN);
        if self.exempt {
            self.beyond += more;
            return self.account.shares().hold_beyond(self.account.0.id, more);
        }
        match self.wait_for(more).await {
            Granted::Bytes => self.pool += more,
            Granted::Exemption => {
                self.beyond += more;
                self.exempt = true;
            }
        }
    }

    async fn wait_for(&self, bytes: u64) -> Granted {
        let (id, now) = (self.account.0.id, Instant::now());
        let asked = self.account.shares().ask(id, self.age, bytes, now);
        let granted = match asked {
            Ok(()) => return Granted::Bytes,
            Err(granted) => granted,
        };
        let mut waiting = Waiting { claim: self, bytes, granted, taken: false };
        loop {
            tokio::select! {
                granted = &mut waiting.granted => {
                    waiting.taken = true;
                    match granted {
                        Ok(granted) => return granted,
                        // The account is there as long as this claim is.
                        Err(_) => std::future::pending().await,
                    }
                }
                () = sleep(LOOK_INTERVAL) => self.account.shares().look(Instant::now()),
            }
        }
    }

    /// Gives back what is held above `bytes`, where the body is not whole yet.
    pub fn shrink_to(&mut self, bytes: u64) {
        let less = (self.pool + self.beyond).saturating_sub(bytes.div_ceil(GRAIN) * GRAIN);
        let beyond = less.min(self.beyond);
        let pool = less - beyond;
        if less > 0 && !self.whole {
            self.beyond -= beyond;
            self.pool -= pool;
            self.account.shares().give_back(self.account.0.id, pool, beyond, Instant::now());
        }
    }

    /// Grows the claim for a message of `bytes`, before as much is read, where that is long. Cancel safe.
    pub async fn grow_to_message(&mut self, bytes: u64) {
        if bytes > SHORT_MESSAGE {
            self.grow_to(bytes).await;
        }
    }

    /// Holds the memory of a message that was read, which can be many times its length on the wire:
    /// there an entry of an offer may have five bytes. Cancel safe.
    pub async fn hold_message(&mut self, message: &Message) {
        self.grow_to_message(memory_of(message)).await;
        if self.pool + self.beyond > 0 {
            self.arrived();
        }
    }

    /// Marks the body as whole: from here on the memory is held for the store's sake.
    pub fn arrived(&mut self) {
        if !std::mem::replace(&mut self.whole, true) {
            let (id, mut shares) = (self.account.0.id, self.account.shares());
            shares.whole(id, self.pool + self.beyond, 0);
            if self.exempt {
                shares.went_through(id);
            }
        }
    }

    /// The session that it is of.
    pub fn account(&self) -> &Account {
        &self.account
    }
}

impl Drop for Waiting<'_> {
    /// Waits no more; what was granted meanwhile is given back.
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let account = &self.claim.account;
        let (id, now) = (account.0.id, Instant::now());
        let mut shares = account.shares();
        if shares.withdraw(id, self.claim.age, now) {
            return;
        }
        match self.granted.try_recv() {
            Ok(Granted::Bytes) => shares.give_back(id, self.bytes, 0, now),
            Ok(Granted::Exemption) => {
                shares.give_back(id, 0, self.bytes, now);
                shares.end_exemption(now);
            }
            Err(_) => {}
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let (id, now) = (self.account.0.id, Instant::now());
        let mut shares = self.account.shares();
        if self.whole {
            shares.whole(id, 0, self.pool + self.beyond);
        }
        if self.pool + self.beyond > 0 {
            shares.give_back(id, self.pool, self.beyond, now);
        }
        if self.exempt {
            shares.end_exemption(now);
        }
    }
}

/// Bytes of memory that a message of a sender holds, about, where it may be long.
fn memory_of(message: &Message) -> u64 {
    /// What the system's allocator takes beyond what it is asked for, about.
    const ALLOCATION: usize = 16;
    let bytes = match message {
        Message::Offer(offer) => {
            let entry = |entry: &OfferEntry| {
                size_of::<OfferEntry>() + entry.name.as_str().len() + ALLOCATION
            };
            offer.entries.iter().map(entry).sum()
        }
        Message::Drops(drops) => drops.ranges.len() * size_of::<crate::frame::DropRange>(),
        Message::EndOfRun(end) => {
            let lost = |name: &str| size_of::<crate::wire::LostFrame>() + name.len() + ALLOCATION;
            end.lost.iter().map(|frame| lost(&frame.name)).sum()
        }
        _ => 0,
    };
    bytes as u64
}

#[cfg(test)]
mod tests;
