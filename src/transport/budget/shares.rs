//! Who holds how much of the memory, who waits for more, and who has to give way.
//!
//! Nothing waits in here, and time is passed in.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::turns::Turns;
use crate::frame::Spares;

/// How long a session that has less than its share may wait for memory, before one that has more than
/// its share, and does not go on with what it holds, gives way.
const GRACE: Duration = Duration::from_millis(800);

/// The same for one that goes on: what it has begun may be about to be whole.
const LONG_GRACE: Duration = Duration::from_secs(4);

/// Bytes a second with which a session goes on.
const LEAST_RATE: u64 = 256 * 1_024;

/// Bytes a second with which a frame has to go on that goes over the budget while others wait, on the average since it
/// does, and how far behind it may be: what is counted comes in steps.
const LEAST_RATE_OVER: u64 = 16 * 1_024;
/// See [`LEAST_RATE_OVER`].
const BEHIND: u64 = 64 * 1_024;

/// A session's number.
pub(super) type Id = u64;

/// What a wait for memory ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Granted {
    /// What was asked for.
    Bytes,
    /// The one leave to go over: whoever has it need not ask again.
    Exemption,
}

/// The memory, divided.
#[derive(Debug)]
pub(super) struct Shares {
    spares: Spares,
    pool: u64,
    reserve: u64,
    used: u64,
    exempt: Option<Exempt>,
    turns: Turns,
    sessions: BTreeMap<Id, Standing>,
    senders: HashMap<Arc<str>, Together>,
    next: Id,
    /// Since when somebody waits, and was looked at.
    looked: Option<Instant>,
}

/// Who may go over, since when, and what had come of it by then.
#[derive(Debug, Clone, Copy)]
struct Exempt {
    id: Id,
    since: Instant,
    came: u64,
    /// True once its frame is whole, and waits for our store.
    whole: bool,
}

/// One session.
#[derive(Debug)]
struct Standing {
    sender: Arc<str>,
    /// All that is held: for what is arriving, for what is whole, and for what the peer may send unasked.
    held: u64,
    /// What of it is beyond the pool.
    beyond: u64,
    /// Held for whole frames, which only our store keeps from being given back.
    whole: u64,
    /// Held for what the peer may send unasked.
    credit: u64,
    /// Bytes that have come, and how many had when it was last looked at.
    came: u64,
    seen: u64,
    /// What waits, the oldest first.
    waiters: BTreeMap<u64, Waiter>,
    /// What waits for something of ours that is not memory.
    holdups: usize,
    waiting_since: Option<Instant>,
    waited: Duration,
    told_to_go: watch::Sender<Option<String>>,
}

/// The sessions of one sender.
#[derive(Debug, Default)]
struct Together {
    sessions: u64,
    held: u64,
}

#[derive(Debug)]
struct Waiter {
    bytes: u64,
    since: Instant,
    grant: oneshot::Sender<Granted>,
}

impl Shares {
    /// `reserve` bytes are every session's, whatever others hold.
    pub(super) fn new(pool: u64, reserve: u64, spares: Spares) -> Self {
        Self {
            spares,
            pool,
            reserve,
            used: 0,
            exempt: None,
            turns: Turns::default(),
            sessions: BTreeMap::new(),
            senders: HashMap::new(),
            next: 0,
            looked: None,
        }
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn pool(&self) -> u64 {
        self.pool
    }

    pub(super) fn enter(&mut self, sender: &str) -> (Id, watch::Receiver<Option<String>>) {
        let (told_to_go, go) = watch::channel(None);
        let sender: Arc<str> = match self.senders.get_key_value(sender) {
            Some((known, _)) => known.clone(),
            None => sender.into(),
        };
        self.senders.entry(sender.clone()).or_default().sessions += 1;
        let standing = Standing {
            sender,
            held: 0,
            beyond: 0,
            whole: 0,
            credit: 0,
            came: 0,
            seen: 0,
            waiters: BTreeMap::new(),
            holdups: 0,
            waiting_since: None,
            waited: Duration::ZERO,
            told_to_go,
        };
        self.next += 1;
        self.sessions.insert(self.next, standing);
        (self.next, go)
    }

    /// Everything of the session was given back before.
    pub(super) fn leave(&mut self, id: Id, now: Instant) {
        let Some(gone) = self.sessions.remove(&id) else { return };
        self.used = self.used.saturating_sub(gone.held);
        self.mind_spares();
        if self.is_exempt(id) {
            self.exempt = None;
        }
        if let Some(together) = self.senders.get_mut(&gone.sender) {
            together.sessions -= 1;
            together.held = together.held.saturating_sub(gone.held);
            if together.sessions == 0 {
                self.senders.remove(&gone.sender);
            }
        }
        self.serve(now);
    }

    /// What a session may hold where all want more: senders count alike, and so do the sessions of one.
    pub(super) fn share(&self, id: Id) -> u64 {
        let Some(standing) = self.sessions.get(&id) else { return 0 };
        let together = self.senders.get(&standing.sender).map_or(1, |together| together.sessions);
        self.pool / (self.senders.len() as u64).max(1) / together.max(1)
    }

    /// Asks for `bytes` more for the claim of this age: they are there, or will be told of.
    pub(super) fn ask(
        &mut self,
        id: Id,
        age: u64,
        bytes: u64,
        now: Instant,
    ) -> Result<(), oneshot::Receiver<Granted>> {
        let nobody_waits = self.looked.is_none();
        let fits = self.used + bytes <= self.pool;
        if nobody_waits && fits || self.is_reserved(id, bytes) {
            self.hold(id, bytes);
            return Ok(());
        }
        let (grant, granted) = oneshot::channel();
        if let Some(standing) = self.sessions.get_mut(&id) {
            standing.waiters.insert(age, Waiter { bytes, since: now, grant });
            standing.note_wait(now);
        }
        if nobody_waits {
            self.mark(now);
        }
        self.serve(now);
        Err(granted)
    }

    /// Holds bytes that are there, where nobody waits for them.
    pub(super) fn try_hold(&mut self, id: Id, bytes: u64) -> bool {
        let is_there = self.looked.is_none() && self.used + bytes <= self.pool;
        if is_there {
            self.hold(id, bytes);
        }
        is_there
    }

    /// The claim waits no more; true where it did still wait.
    pub(super) fn withdraw(&mut self, id: Id, age: u64, now: Instant) -> bool {
        let Some(standing) = self.sessions.get_mut(&id) else { return false };
        let waited = standing.waiters.remove(&age).is_some();
        standing.note_wait(now);
        if waited {
            self.serve(now);
        }
        waited
    }

    /// Holds memory that could not be waited for.
    pub(super) fn hold(&mut self, id: Id, bytes: u64) {
        self.used += bytes;
        self.add(id, bytes, 0);
        self.mind_spares();
    }

    /// Holds memory that is not of the pool.
    pub(super) fn hold_beyond(&mut self, id: Id, bytes: u64) {
        self.add(id, bytes, bytes);
    }

    /// Memory is kept for bodies to come as long as there is room for it beside what is held.
    fn mind_spares(&self) {
        self.spares.keep(self.used + self.spares.most() <= self.pool);
    }

    fn add(&mut self, id: Id, bytes: u64, beyond: u64) {
        let Some(standing) = self.sessions.get_mut(&id) else { return };
        standing.held += bytes;
        standing.beyond += beyond;
        if let Some(together) = self.senders.get_mut(&standing.sender) {
            together.held += bytes;
        }
    }

    /// Gives back what one claim held: so many bytes of the pool, and so many beyond it.
    pub(super) fn give_back(&mut self, id: Id, pool: u64, beyond: u64, now: Instant) {
        self.used = self.used.saturating_sub(pool);
        self.mind_spares();
        if let Some(standing) = self.sessions.get_mut(&id) {
            standing.held = standing.held.saturating_sub(pool + beyond);
            standing.beyond = standing.beyond.saturating_sub(beyond);
            if let Some(together) = self.senders.get_mut(&standing.sender) {
                together.held = together.held.saturating_sub(pool + beyond);
            }
        }
        self.serve(now);
    }

    /// The exemption is free again.
    pub(super) fn end_exemption(&mut self, now: Instant) {
        self.exempt = None;
        self.serve(now);
    }

    /// Counts bytes as held for whole frames, or no longer so.
    pub(super) fn whole(&mut self, id: Id, more: u64, less: u64) {
        if let Some(standing) = self.sessions.get_mut(&id) {
            standing.whole = (standing.whole + more).saturating_sub(less);
        }
    }

    pub(super) fn came(&mut self, id: Id, bytes: u64) {
        if let Some(standing) = self.sessions.get_mut(&id) {
            standing.came += bytes;
        }
    }

    /// Holds up to `wanted` bytes of credit in all, as far as there is room that nobody waits for and
    /// the session's share allows, but never less than before. Returns what is held.
    pub(super) fn extend_credit(&mut self, id: Id, wanted: u64) -> u64 {
        let most = self.share(id) / 2;
        let room = self.pool.saturating_sub(self.used);
        let Some(standing) = self.sessions.get_mut(&id) else { return 0 };
        let credit = standing.credit;
        let nobody_waits = self.looked.is_none();
        let more = wanted.min(most).saturating_sub(credit);
        let more = if nobody_waits { more.min(room) } else { 0 };
        standing.credit += more;
        self.hold(id, more);
        credit + more
    }

    /// True where one of the session's frames has the exemption.
    fn is_exempt(&self, id: Id) -> bool {
        self.exempt.is_some_and(|exempt| exempt.id == id)
    }

    /// The same, and that frame is not whole yet.
    pub(super) fn goes_over(&self, id: Id) -> bool {
        self.exempt.is_some_and(|exempt| exempt.id == id && !exempt.whole)
    }

    /// A frame of the session's that had the exemption is whole.
    pub(super) fn went_through(&mut self, id: Id) {
        if let Some(exempt) = self.exempt.as_mut().filter(|exempt| exempt.id == id) {
            exempt.whole = true;
        }
        if let Some(standing) = self.sessions.get(&id) {
            self.turns.done(&standing.sender);
        }
    }

    /// Holds that much more credit, whatever there is room for.
    pub(super) fn force_credit(&mut self, id: Id, bytes: u64) {
        if let Some(standing) = self.sessions.get_mut(&id) {
            standing.credit += bytes;
            self.hold(id, bytes);
        }
    }

    /// Gives credit back that cannot be used any more.
    pub(super) fn take_back_credit(&mut self, id: Id, bytes: u64, now: Instant) {
        let Some(standing) = self.sessions.get_mut(&id) else { return };
        let bytes = bytes.min(standing.credit);
        standing.credit -= bytes;
        self.give_back(id, bytes, 0, now);
    }

    /// The most credit that a session may hold at the moment.
    pub(super) fn most_credit(&self, id: Id) -> u64 {
        self.share(id) / 2
    }

    /// Something of the session begins, or ends, to wait for us, though not for memory.
    pub(super) fn holdup(&mut self, id: Id, begins: bool, now: Instant) {
        if let Some(standing) = self.sessions.get_mut(&id) {
            standing.holdups =
                if begins { standing.holdups + 1 } else { standing.holdups.saturating_sub(1) };
            standing.note_wait(now);
        }
    }

    /// For how long something of the session has waited for us, all in all.
    pub(super) fn waited(&self, id: Id, now: Instant) -> Duration {
        let Some(standing) = self.sessions.get(&id) else { return Duration::ZERO };
        let since = standing.waiting_since.map_or(Duration::ZERO, |since| now - since);
        standing.waited + since
    }

    /// Tells a session to go, in words for its peer.
    pub(super) fn tell_to_go(&mut self, id: Id, why: &str) {
        if let Some(standing) = self.sessions.get(&id) {
            standing.told_to_go.send_if_modified(|told| {
                let first = told.is_none();
                *told = told.take().or_else(|| Some(why.to_owned()));
                first
            });
        }
    }

    /// Has a session give way where another has waited too long. To be asked now and then while
    /// somebody waits.
    pub(super) fn look(&mut self, now: Instant) {
        let Some(looked) = self.looked else { return };
        self.end_turn(now);
        let Some((starved, waited)) = self.starved(now) else { return };
        if waited < GRACE {
            return;
        }
        let since = (now - looked).as_millis().max(1) as u64;
        let slow = |standing: &Standing| {
            (standing.came - standing.seen).saturating_mul(1_000) / since < LEAST_RATE
        };
        // Between connections of one sender nothing is won where whole frames of it wait for our store: what that gives
        // back is theirs.
        let held_up = self.held_up_by_us(starved);
        let over = |(&id, standing): (&Id, &Standing)| {
            let unfinished = standing.held.saturating_sub(standing.whole);
            let above = unfinished.saturating_sub(self.share(id));
            let gives_way = id != starved
                && above > 0
                && held_up.as_ref() != Some(&standing.sender)
                && !self.has_turn(id, standing, now)
                && standing.told_to_go.borrow().is_none()
                && (slow(standing) || waited >= LONG_GRACE);
            gives_way.then_some((above, id))
        };
        if let Some((above, id)) = self.sessions.iter().filter_map(over).max() {
            let why = format!(
                "memory is short here, others wait, and this session held {above} bytes above its \
                 share for frames that did not become whole; try again"
            );
            self.make_go(id, &why);
        }
        if now - looked >= GRACE {
            self.mark(now);
        }
    }

    /// Has the session give way whose frame goes over the budget, where it has had its turn and others wait.
    fn end_turn(&mut self, now: Instant) {
        let Some(Exempt { id, since, whole: false, .. }) = self.exempt else { return };
        let Some(standing) = self.sessions.get(&id) else { return };
        let all = self.sessions.values().flat_map(|standing| standing.waiters.values());
        let others_wait = all.map(|waiter| now - waiter.since).max().is_some_and(|w| w >= GRACE);
        let is_over = now - since >= GRACE && !self.is_in_time(standing, now);
        if others_wait && is_over && standing.told_to_go.borrow().is_none() {
            let why = "memory is short here, others wait, and a long frame of this session was slow to become whole; \
                       try again";
            self.make_go(id, why);
        }
    }

    /// True where the session's frame goes over the budget in its time, and it holds about its share beside it: what it
    /// has before it waits comes in steps that double.
    fn has_turn(&self, id: Id, standing: &Standing, now: Instant) -> bool {
        let within = standing.held.saturating_sub(standing.beyond) <= 2 * self.share(id);
        self.is_exempt(id) && within && self.is_in_time(standing, now)
    }

    /// Whether the frame that goes over the budget, which is one of this session's, goes on, and has for no longer than
    /// its turn.
    fn is_in_time(&self, standing: &Standing, now: Instant) -> bool {
        let Some(Exempt { since, came, .. }) = self.exempt else { return false };
        let elapsed = now - since;
        let due = elapsed.as_millis() as u64 * LEAST_RATE_OVER / 1_000;
        elapsed < self.turns.length(&standing.sender) && standing.came - came + BEHIND >= due
    }

    /// Has a session give way for what it holds; its sender is to have its turn later.
    fn make_go(&mut self, id: Id, why: &str) {
        if let Some(standing) = self.sessions.get(&id) {
            self.turns.gave_way(&standing.sender, self.is_exempt(id));
        }
        self.tell_to_go(id, why);
    }

    /// The sender of a session, where whole frames of it wait for our store.
    fn held_up_by_us(&self, id: Id) -> Option<Arc<str>> {
        let sender = self.sessions.get(&id)?.sender.clone();
        let of_sender = self.sessions.values().filter(|standing| standing.sender == sender);
        of_sender.map(|standing| standing.whole).any(|whole| whole > 0).then_some(sender)
    }

    /// The session below its share that has waited the longest.
    fn starved(&self, now: Instant) -> Option<(Id, Duration)> {
        let waits = self.sessions.iter().filter_map(|(&id, standing)| {
            let since = standing.waiters.values().map(|waiter| waiter.since).min()?;
            (standing.held < self.share(id)).then_some((id, now - since))
        });
        waits.max_by_key(|(_, waited)| *waited)
    }

    fn mark(&mut self, now: Instant) {
        self.looked = Some(now);
        self.sessions.values_mut().for_each(|standing| standing.seen = standing.came);
    }

    fn is_reserved(&self, id: Id, bytes: u64) -> bool {
        let standing = self.sessions.get(&id);
        standing.is_some_and(|standing| standing.held - standing.credit + bytes <= self.reserve)
    }

    /// Gives what is there to who has least.
    fn serve(&mut self, now: Instant) {
        if self.looked.is_none() {
            return;
        }
        let waiting: Vec<Id> = self.sessions.iter().filter_map(Standing::if_it_waits).collect();
        for id in waiting {
            while let Some(bytes) = self.oldest(id)
                && self.is_reserved(id, bytes)
            {
                self.grant(id, Granted::Bytes, now);
            }
        }
        while let Some(id) = self.poorest()
            && let Some(bytes) = self.oldest(id)
        {
            if self.used + bytes <= self.pool {
                self.grant(id, Granted::Bytes, now);
            } else if self.exempt.is_none() {
                self.grant(self.next_over(id, bytes), Granted::Exemption, now);
            } else {
                return;
            }
        }
        self.looked = None;
    }

    fn oldest(&self, id: Id) -> Option<u64> {
        let standing = self.sessions.get(&id)?;
        standing.waiters.values().next().map(|waiter| waiter.bytes)
    }

    /// Who waits and has the least.
    fn poorest(&self) -> Option<Id> {
        let waiting = self.sessions.iter().filter(|(_, standing)| !standing.waiters.is_empty());
        let together = |sender| self.senders.get(sender).map_or(0, |together| together.held);
        let least = waiting.min_by_key(|(_, standing)| (together(&standing.sender), standing.held));
        least.map(|(&id, _)| id)
    }

    /// Who is to go over the budget: the poorest of those that wait, or where its frame goes over its share as well,
    /// the one whose turn it is.
    fn next_over(&self, poorest: Id, bytes: u64) -> Id {
        let held = self.sessions.get(&poorest).map_or(0, |standing| standing.held);
        if held + bytes <= self.share(poorest) {
            return poorest;
        }
        let waiting = self.sessions.iter().filter(|(_, standing)| !standing.waiters.is_empty());
        let turns = waiting.filter_map(|(&id, of)| Some((self.turns.place(&of.sender)?, id)));
        turns.min().map_or(poorest, |(_, id)| id)
    }

    fn grant(&mut self, id: Id, granted: Granted, now: Instant) {
        let Some(standing) = self.sessions.get_mut(&id) else { return };
        let Some((_, waiter)) = standing.waiters.pop_first() else { return };
        standing.note_wait(now);
        // Who has stopped waiting gives it back as soon as the lock is free.
        let _ = waiter.grant.send(granted);
        match granted {
            Granted::Bytes => self.hold(id, waiter.bytes),
            Granted::Exemption => {
                self.exempt = Some(Exempt { id, since: now, came: standing.came, whole: false });
                self.hold_beyond(id, waiter.bytes);
            }
        }
    }
}

impl Standing {
    fn note_wait(&mut self, now: Instant) {
        let waits = self.holdups > 0 || !self.waiters.is_empty();
        match (self.waiting_since, waits) {
            (None, true) => self.waiting_since = Some(now),
            (Some(since), false) => {
                self.waited += now - since;
                self.waiting_since = None;
            }
            _ => {}
        }
    }

    fn if_it_waits((&id, standing): (&Id, &Self)) -> Option<Id> {
        (!standing.waiters.is_empty()).then_some(id)
    }
}
