//! What the connections of one session share: a session may go over several at once, so that a frame can take the one
//! over which it is there first, or two.
//!
//! A connection joins by the session's name and a number that only its welcome has told, and as the same sender. Each
//! answers what came over it; what is counted, is counted here.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::sync::watch;
use tokio::time::Instant;

use super::progress::Entered;
use super::report::{LostFrameReport, SourceTotals};
use super::work::{Settled, SourceThread};
use crate::frame::{RunId, Sequence};
use crate::store::{Opener, Outcome};
use crate::wire::{
    Capabilities, EndOfRun, Hello, JOIN_TOKEN_BYTES, Join, LostFrame, SESSION_ID_BYTES,
    SourceHello, Totals, Unopened, Welcome,
};

/// Connections that one session may have: links of one machine, and a new one for each before the old is known to be
/// dead.
const MOST_CONNECTIONS: usize = 8;

/// Sessions of one run that may be there beside another when all places are taken: the one that it follows, and those
/// that are not known to have ended, where paths change again and again.
const MOST_PREDECESSORS: usize = 3;

/// Ranges of sequences that are remembered of a source, to tell a second copy from a frame that was there before: some
/// 40 bytes each.
const MOST_RANGES: usize = 4_096;

/// Bytes of the names of lost frames that a session's report keeps, all of its sources together.
const MAX_LOST_NAMES: usize = 16 * 1_024;

/// How a session stands, for each of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// Its sender has said all, over one of them.
    Over,
    /// Its sender has begun another session of the same runs.
    Left(Instant),
}

/// One session, as all of its connections know it.
#[derive(Debug)]
pub(super) struct Joint {
    pub(super) overwrite: bool,
    /// Its sender goes on without a source that is declined.
    pub(super) may_decline: bool,
    /// What a connection is told that joins.
    pub(super) welcome: Welcome,
    pub(super) sources: Vec<JointSource>,
    /// Its place among the sessions that were begun.
    pub(super) began: u64,
    /// By which it counts as one, whatever connections it has.
    pub(super) entered: Weak<Entered>,
    sender: String,
    session: [u8; SESSION_ID_BYTES],
    tally: Mutex<Tally>,
    standing: watch::Sender<State>,
}

/// A source of a session.
#[derive(Debug)]
pub(super) struct JointSource {
    /// As the sender has named it.
    pub(super) hello: SourceHello,
    /// Whose frames these are.
    pub(super) from: Arc<Opener>,
    /// Its thread, and where a run goes on, once it is open.
    pub(super) open: OnceLock<(SourceThread, Sequence)>,
    /// Why it never will be, once that is known.
    pub(super) declined: OnceLock<String>,
}

impl JointSource {
    /// Where a run goes on, once that is known.
    pub(super) fn next(&self) -> Option<Sequence> {
        self.open.get().map(|(_, next)| *next)
    }
}

/// What is counted of a session.
#[derive(Debug)]
struct Tally {
    lanes: Vec<LaneTally>,
    refused_unnamed: u64,
    /// Room for names of lost frames in the report.
    lost_names: usize,
    /// Connections that are open, and all that there were.
    open: usize,
    all: u64,
    /// How it has ended, where one of them has heard that all was said.
    end: Option<String>,
}

/// One source.
#[derive(Debug)]
struct LaneTally {
    totals: SourceTotals,
    ended: bool,
    /// Confirmed in this session.
    seen: Seen,
    /// Found to be stored when they were on offer, which may be far ahead.
    found: Seen,
}

/// Sequences of frames, which come nearly in order: a few ranges hold millions. First -> last of each.
#[derive(Debug, Default)]
struct Seen(BTreeMap<u64, u64>);

impl Seen {
    /// Takes a sequence in; true where it was not there. Where there are too many gaps the lowest are forgotten.
    fn insert(&mut self, place: u64) -> bool {
        let before = self.before(place);
        if before.is_some_and(|(_, last)| last >= place) {
            return false;
        }
        let joins = before.filter(|&(_, last)| last + 1 == place);
        let first = joins.map_or(place, |(first, _)| first);
        let behind = place.checked_add(1).and_then(|next| self.0.remove(&next));
        self.0.insert(first, behind.unwrap_or(place));
        if self.0.len() > MOST_RANGES {
            self.0.pop_first();
        }
        true
    }

    fn has(&self, place: u64) -> bool {
        self.before(place).is_some_and(|(_, last)| last >= place)
    }

    /// The range that begins there, or else the last one before.
    fn before(&self, place: u64) -> Option<(u64, u64)> {
        self.0.range(..=place).next_back().map(|(&first, &last)| (first, last))
    }
}

/// What is reported of a session at its end.
pub(super) struct Counted {
    pub(super) sources: Vec<SourceTotals>,
    pub(super) complete: bool,
    pub(super) refused_unnamed: u64,
    pub(super) connections: u64,
    pub(super) end: Option<String>,
}

impl Joint {
    /// The session of a hello whose sources are open, with one connection.
    pub(super) fn new(
        hello: &Hello,
        sender: &str,
        overwrite: bool,
        welcome: Welcome,
        sources: Vec<JointSource>,
        (began, entered): (u64, Weak<Entered>),
    ) -> Self {
        let lane = |source: &SourceHello| LaneTally {
            totals: SourceTotals { name: source.name.to_string(), ..SourceTotals::default() },
            ended: false,
            seen: Seen::default(),
            found: Seen::default(),
        };
        let mut lanes: Vec<_> = hello.sources.iter().map(lane).collect();
        for Unopened { source, why } in &welcome.unopened {
            let place = usize::from(source.0);
            let declined = sources.get(place).and_then(|source| source.declined.get());
            if let Some(lane) = lanes.get_mut(place) {
                lane.totals.unopened = Some(declined.unwrap_or(why).clone());
            }
        }
        let tally = Tally {
            lanes,
            refused_unnamed: 0,
            lost_names: MAX_LOST_NAMES,
            open: 1,
            all: 1,
            end: None,
        };
        Self {
            overwrite,
            may_decline: hello
                .capabilities
                .has(Capabilities::LATE_SOURCES.and(Capabilities::DECLINED_SOURCES)),
            welcome,
            sources,
            began,
            entered,
            sender: sender.to_owned(),
            session: hello.session,
            tally: Mutex::new(tally),
            standing: watch::Sender::new(State::Open),
        }
    }

    /// True where one of its sources is at this run.
    fn has_run(&self, run: RunId) -> bool {
        run != RunId::NONE && self.sources.iter().any(|source| source.hello.run == run)
    }

    /// Whether the connections are to go on.
    pub(super) fn standing(&self) -> watch::Receiver<State> {
        self.standing.subscribe()
    }

    /// A connection has ended; true for the last.
    pub(super) fn leave(&self) -> bool {
        let mut tally = self.tally();
        tally.open = tally.open.saturating_sub(1);
        tally.open == 0
    }

    /// The sender has closed it as one in which all was said, in these words.
    pub(super) fn is_over(&self, end: &str) {
        self.tally().end.get_or_insert_with(|| end.to_owned());
        self.standing.send_replace(State::Over);
    }

    /// The sender goes on in another session.
    fn is_left(&self, now: Instant) {
        self.standing.send_if_modified(|standing| {
            let news = *standing == State::Open;
            if news {
                *standing = State::Left(now);
            }
            news
        });
    }

    /// Takes what became of a frame; true where it is to be confirmed.
    pub(super) fn settled(&self, lane: usize, settled: &Settled) -> bool {
        let mut tally = self.tally();
        let Some(lane) = tally.lanes.get_mut(lane) else { return false };
        let place = settled.sequence.0;
        match settled.outcome {
            Outcome::Stored => {
                lane.seen.insert(place);
                lane.totals.stored += 1;
                lane.totals.bytes += settled.bytes;
                lane.totals.repaired += u64::from(settled.repaired);
                true
            }
            Outcome::AlreadyStored => {
                // A second copy is no second frame.
                match lane.seen.insert(place) && !lane.found.has(place) {
                    true => lane.totals.stored_before += 1,
                    false => lane.totals.copies += 1,
                }
                true
            }
            Outcome::Failed(_) => false,
        }
    }

    /// These frames on offer were stored before: by this session too, or counted already, where the offer was said over
    /// another connection as well.
    pub(super) fn stored_before(&self, lane: usize, frames: &[Sequence]) {
        let mut tally = self.tally();
        let Some(LaneTally { totals, seen, found, .. }) = tally.lanes.get_mut(lane) else { return };
        for &Sequence(place) in frames {
            totals.stored_before += u64::from(!seen.has(place) && found.insert(place));
        }
    }

    /// A frame was refused; of which source, where that is known.
    pub(super) fn refused(&self, lane: Option<usize>) {
        match lane {
            Some(lane) => self.with_totals(lane, |totals| totals.refused += 1),
            None => self.tally().refused_unnamed += 1,
        }
    }

    /// Why a source is not open, as is known now; it is, where there is nothing.
    pub(super) fn unopened(&self, lane: usize, why: Option<&str>) {
        self.with_totals(lane, |totals| totals.unopened = why.map(str::to_owned));
    }

    /// A source's name.
    pub(super) fn name(&self, lane: usize) -> String {
        self.tally().lanes.get(lane).map_or_else(String::new, |lane| lane.totals.name.clone())
    }

    /// A source has ended: what the sender is told of it. True where that is news, and not what another connection has
    /// said as well.
    pub(super) fn end(&self, lane: usize, end: &mut EndOfRun) -> (Totals, bool) {
        let mut tally = self.tally();
        let room = tally.lost_names;
        let (mut totals, mut is_news, mut left) =
            (Totals { source: end.source, stored: 0, already: 0 }, false, room);
        if let Some(lane) = tally.lanes.get_mut(lane) {
            is_news = !std::mem::replace(&mut lane.ended, true);
            if is_news {
                lane.totals.frames = Some(end.captured);
                // What a run has lost it has declared, which it is told of before it ends; where there is none, nobody has.
                let is_declared = end.run != RunId::NONE;
                let (dropped, missing) =
                    if is_declared { (end.lost_count, 0) } else { (0, end.lost_count) };
                let lost = missing.max((end.lost.len() as u64).min(end.lost_count));
                let totals = &mut lane.totals;
                (totals.dropped, totals.missing, totals.lost) = (dropped, missing, lost);
                totals.lost_frames = keep_names(std::mem::take(&mut end.lost), &mut left);
            }
            totals.stored = lane.totals.stored;
            totals.already = lane.totals.stored_before;
        }
        tally.lost_names = left;
        (totals, is_news)
    }

    /// Whether a source has ended.
    pub(super) fn has_ended(&self, lane: usize) -> bool {
        self.tally().lanes.get(lane).is_some_and(|lane| lane.ended)
    }

    /// What is reported of it.
    pub(super) fn counted(&self) -> Counted {
        let mut tally = self.tally();
        Counted {
            complete: tally.lanes.iter().all(|lane| lane.ended),
            sources: tally.lanes.iter().map(|lane| lane.totals.clone()).collect(),
            refused_unnamed: tally.refused_unnamed,
            connections: tally.all,
            end: tally.end.take(),
        }
    }

    fn with_totals(&self, lane: usize, change: impl FnOnce(&mut SourceTotals)) {
        if let Some(lane) = self.tally().lanes.get_mut(lane) {
            change(&mut lane.totals);
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Counts, each true by itself.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many of the names of lost frames as the report has room for. All of them are counted anyway.
fn keep_names(lost: Vec<LostFrame>, room: &mut usize) -> Vec<LostFrameReport> {
    let mut kept = Vec::new();
    for LostFrame { sequence: Sequence(sequence), name } in lost {
        let bytes = size_of::<LostFrameReport>() + name.len();
        let Some(left) = room.checked_sub(bytes) else { break };
        *room = left;
        kept.push(LostFrameReport { sequence, name });
    }
    kept
}

/// Why a connection does not join a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unjoined {
    /// There is no such session of this sender, or not any more.
    Unknown,
    /// It has as many connections as it may.
    Full,
}

/// The sessions of a receiver that can be joined. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Joints(Arc<Mutex<ByName>>);

/// By their senders and the names that these have given them.
type ByName = HashMap<(String, [u8; SESSION_ID_BYTES]), Weak<Joint>>;

impl Joints {
    /// Enters a session. Those that its sender had of the same runs are left.
    pub(super) fn enter(&self, joint: &Arc<Joint>) {
        let mut all = self.all();
        all.retain(|_, other| other.strong_count() > 0);
        for ((sender, _), other) in all.iter() {
            let Some(other) = other.upgrade().filter(|_| *sender == joint.sender) else { continue };
            if joint.sources.iter().any(|source| other.has_run(source.hello.run)) {
                other.is_left(Instant::now());
            }
        }
        all.insert((joint.sender.clone(), joint.session), Arc::downgrade(joint));
    }

    /// True where a hello of this sender begins a session in the place of one that it has here: one of the same runs, of
    /// which there are not many yet that are to end.
    pub(super) fn is_succeeded(&self, sender: &str, hello: &Hello) -> bool {
        let all = self.all();
        let own = all.iter().filter(|((of, _), _)| of == sender).filter_map(|(_, it)| it.upgrade());
        let same =
            |joint: &Arc<Joint>| hello.sources.iter().any(|source| joint.has_run(source.run));
        (1..=MOST_PREDECESSORS).contains(&own.filter(same).count())
    }

    /// The session that a connection of this sender is to join, in which it counts from now on.
    ///
    /// # Errors
    /// [`Unjoined`].
    pub(super) fn join(&self, sender: &str, join: &Join) -> Result<Arc<Joint>, Unjoined> {
        let found = self.all().get(&(sender.to_owned(), join.session)).and_then(Weak::upgrade);
        let joint = found.ok_or(Unjoined::Unknown)?;
        let token = joint.welcome.join.ok_or(Unjoined::Unknown)?;
        if !is_same(&token, &join.token) || *joint.standing.borrow() != State::Open {
            return Err(Unjoined::Unknown);
        }
        let mut tally = joint.tally();
        match tally.open {
            0 => return Err(Unjoined::Unknown),
            MOST_CONNECTIONS.. => return Err(Unjoined::Full),
            _ => {}
        }
        tally.open += 1;
        tally.all += 1;
        drop(tally);
        Ok(joint)
    }

    fn all(&self) -> MutexGuard<'_, ByName> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares without telling by its time how much of it fits.
fn is_same(a: &[u8; JOIN_TOKEN_BYTES], b: &[u8; JOIN_TOKEN_BYTES]) -> bool {
    a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
