//! What became of a session, and of a run of receiving.

mod held;

use std::collections::HashMap;

use serde::Serialize;

use crate::transport::Transport;
use crate::wire::{Hello, SourceHello};
use held::Held;

/// One session from its hello to its end.
#[derive(Debug, Clone, Serialize)]
pub struct SessionReport {
    /// The sender's address.
    pub peer: String,
    /// The pin of its certificate, where it has one.
    pub pin: Option<String>,
    /// The transport.
    pub transport: String,
    /// Its place among the sessions that asked for sources, from 1; `None` where it was not welcomed, as with a port scan,
    /// or where it was refused. Sessions may end in another order.
    pub began: Option<u64>,
    /// The same, also where it was refused.
    pub asked: Option<u64>,
    /// Connections that have carried it: more than one where its sender uses several links at once, or has lost one.
    pub connections: u64,
    /// One entry a source that the hello named; also where it was refused.
    pub sources: Vec<SourceTotals>,
    /// True where the sender ended every source, and said so.
    pub complete: bool,
    /// True where the sender closed the session as one in which all was said. Where it did not, it may
    /// not know that the session is complete, and come back.
    pub closed: bool,
    /// True where the sender went on in another session, over another connection.
    pub moved: bool,
    /// How the session ended, in words.
    pub end: String,
    /// Frames that were refused without it being known which: at most one a broken stream.
    pub refused_unnamed: u64,
}

impl SessionReport {
    /// True where each source was ended, or was never open.
    pub fn has_no_more(&self) -> bool {
        self.sources.iter().all(|source| source.frames.is_some() || source.unopened.is_some())
    }

    /// True where every frame came with its hash, which the stop-and-wait protocol cannot carry.
    pub fn has_hashes(&self) -> bool {
        self.transport != Transport::StopAndWait.name()
    }
}

/// What became of one source of a session.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SourceTotals {
    /// Its name.
    pub name: String,
    /// Frames in the source, once the sender has ended it.
    pub frames: Option<u64>,
    /// Frames stored in this session, each checked against its hash.
    pub stored: u64,
    /// Frames that were stored before.
    pub stored_before: u64,
    /// Frames that came again over another connection of the session; each is stored once, and counted once above.
    pub copies: u64,
    /// Frames mended by forward repair.
    pub repaired: u64,
    /// Payload bytes stored in this session.
    pub bytes: u64,
    /// Frames that will not come and that the sender has declared, with reasons.
    pub dropped: u64,
    /// Frames that will not come, and of which nothing was declared: none where a run ends, which is told last.
    pub missing: u64,
    /// Those that are missing, and those of `dropped` that were dropped though nobody wanted that, as the sender counts
    /// them; of more than 1,024 at least so many.
    pub lost: u64,
    /// Which, at most 1,024 of them.
    pub lost_frames: Vec<LostFrameReport>,
    /// Frames that were refused in this session; a sender may have sent them again later.
    pub refused: u64,
    /// Why it was not open by the session's end, where it was not: it belongs to another sender, or its folder could not
    /// be used. The other sources of the session went on.
    pub unopened: Option<String>,
}

impl SourceTotals {
    /// The sources of a hello of which none was opened, and why.
    pub(super) fn unopened(hello: &Hello, why: &str) -> Vec<Self> {
        let source = |source: &SourceHello| Self {
            name: source.name.to_string(),
            unopened: Some(why.to_owned()),
            ..Self::default()
        };
        hello.sources.iter().map(source).collect()
    }
}

/// A frame that will not come.
#[derive(Debug, Clone, Serialize)]
pub struct LostFrameReport {
    /// Place in the source.
    pub sequence: u64,
    /// Its name, as the sender calls it.
    pub name: String,
}

/// Everything a receiver did from its start to its end.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ReceiveReport {
    /// Ended sessions, in the order of their ends; the last 1,000 of them.
    pub sessions: Vec<SessionReport>,
    /// Frames stored.
    pub stored: u64,
    /// Those of them that were checked against the hash that came with them: all, but for the
    /// stop-and-wait protocol, which carries none.
    pub verified: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that were declared dropped, as the last sender of each source said that ended it.
    pub dropped: u64,
    /// Frames that will not come and of which nothing was declared, as it said.
    pub missing: u64,
    /// Sessions that began, and ended before their sources did.
    pub incomplete_sessions: u64,
    /// How each source of each sender stands, the last [`STANDINGS`] of them.
    #[serde(skip)]
    standings: HashMap<Key, Standing>,
    /// What is left of those before them.
    #[serde(skip)]
    forgotten: Forgotten,
}

/// Sources whose standing is kept: some megabytes. A receiver without a folder may hear of new ones without end.
/// Tests have fewer, to have them all soon.
const STANDINGS: usize = if cfg!(test) { 64 } else { 4_096 };

/// A sender's pin, where it has one, and the name of its source: elsewhere than in one folder two senders with one
/// name have two sources.
type Key = (Option<String>, String);

/// Sources of which nothing more is kept: what was missing of them is never made good.
#[derive(Debug, Clone, Copy, Default)]
struct Forgotten {
    gone: Gone,
    /// Whether one of them was not ended.
    open: bool,
    /// Their frames that were stored before.
    stored_before: u64,
}

/// How a source stands after the session that came last of those that named it.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// That session's place.
    asked: u64,
    /// True where it did not end the source.
    open: bool,
    /// What the last session said that did.
    gone: Gone,
    /// What all of them stored, and found.
    held: Held,
}

/// Frames that will not come.
#[derive(Debug, Clone, Copy, Default)]
struct Gone {
    dropped: u64,
    missing: u64,
    /// Those of both that nobody wanted to be without.
    lost: u64,
}

impl Gone {
    fn of(source: &SourceTotals) -> Self {
        Self { dropped: source.dropped, missing: source.missing, lost: source.lost }
    }

    fn and(self, other: Self) -> Self {
        Self {
            // As senders say: whatever that is.
            dropped: self.dropped.saturating_add(other.dropped),
            missing: self.missing.saturating_add(other.missing),
            lost: self.lost.saturating_add(other.lost),
        }
    }
}

impl ReceiveReport {
    /// Adds an ended session.
    pub fn add(&mut self, session: SessionReport) {
        const KEPT: usize = 1_000;
        let stored = session.sources.iter().map(|source| source.stored).sum::<u64>();
        self.stored += stored;
        self.verified += if session.has_hashes() { stored } else { 0 };
        self.bytes += session.sources.iter().map(|source| source.bytes).sum::<u64>();
        if let Some(asked) = session.asked {
            let is_cut_short = session.began.is_some() && !session.complete && !session.moved;
            self.incomplete_sessions += u64::from(is_cut_short);
            let sender = session.pin.as_deref();
            session.sources.iter().for_each(|source| self.take(asked, sender, source));
            let standing = self.standings.values().map(|source| source.gone);
            let gone = standing.fold(self.forgotten.gone, Gone::and);
            (self.dropped, self.missing) = (gone.dropped, gone.missing);
        }
        if self.sessions.len() == KEPT {
            self.sessions.remove(0);
        }
        self.sessions.push(session);
    }

    /// Takes how a source stands from a session. One that came earlier and ended later says nothing
    /// new: its connection was lost, which this end may notice long after its sender has come back.
    fn take(&mut self, asked: u64, sender: Option<&str>, source: &SourceTotals) {
        let key = (sender.map(str::to_owned), source.name.clone());
        if self.standings.len() >= STANDINGS && !self.standings.contains_key(&key) {
            self.forget_one();
        }
        let standing = self.standings.entry(key).or_default();
        standing.held.add(asked, source.stored, source.stored_before);
        if asked > standing.asked {
            standing.asked = asked;
            standing.open = source.frames.is_none();
            if !standing.open {
                standing.gone = Gone::of(source);
            }
        }
    }

    /// Forgets the source for which a session came the longest ago, rather one that is complete.
    fn forget_one(&mut self) {
        let oldest = self
            .standings
            .iter()
            .min_by_key(|(_, standing)| (standing.open || standing.gone.lost > 0, standing.asked));
        let Some(key) = oldest.map(|(key, _)| key.clone()) else { return };
        let Some(standing) = self.standings.remove(&key) else { return };
        self.forgotten.gone = self.forgotten.gone.and(standing.gone);
        self.forgotten.open |= standing.open;
        self.forgotten.stored_before += standing.held.before();
    }

    /// Frames that were stored before all of this, as sessions have found.
    pub fn stored_before(&self) -> u64 {
        let held = self.standings.values().map(|source| source.held.before());
        self.forgotten.stored_before + held.sum::<u64>()
    }

    /// True where the last session of each source ended it with nothing missing, and nothing dropped that nobody wanted to
    /// be dropped: what an earlier one left out was sent since.
    pub fn is_complete(&self) -> bool {
        let Forgotten { gone, open, .. } = self.forgotten;
        let all = || self.standings.values().all(|source| !source.open && source.gone.lost == 0);
        gone.lost == 0 && !open && all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session that began in this place, and said of the frames of `source` how many will not come;
    /// `None` where it did not end the source.
    fn session(began: u64, source: &str, missing: Option<u64>) -> SessionReport {
        let source = SourceTotals {
            name: source.to_owned(),
            frames: missing.map(|missing| missing + 10),
            missing: missing.unwrap_or(0),
            lost: missing.unwrap_or(0),
            ..SourceTotals::default()
        };
        let (began, asked) = (Some(began), Some(began));
        SessionReport { began, asked, sources: vec![source], ..nothing(missing.is_some()) }
    }

    fn nothing(complete: bool) -> SessionReport {
        SessionReport {
            peer: "127.0.0.1:1".to_owned(),
            pin: None,
            transport: Transport::Quic.to_string(),
            began: None,
            asked: None,
            connections: 1,
            sources: Vec::new(),
            complete,
            closed: complete,
            moved: false,
            end: String::new(),
            refused_unnamed: 0,
        }
    }

    fn report(sessions: impl IntoIterator<Item = SessionReport>) -> ReceiveReport {
        let mut report = ReceiveReport::default();
        sessions.into_iter().for_each(|session| report.add(session));
        report
    }

    #[test]
    fn a_later_session_mends_what_an_earlier_one_left_out() {
        let mut report = report([session(1, "a", Some(3)), session(2, "b", Some(0))]);
        assert_eq!((report.missing, report.is_complete()), (3, false));
        // It is not known to be there before a sender has said so.
        report.add(session(3, "a", None));
        assert_eq!((report.missing, report.is_complete()), (3, false));
        report.add(session(4, "a", Some(0)));
        assert_eq!((report.missing, report.is_complete()), (0, true));
        assert_eq!(report.incomplete_sessions, 1);
    }

    #[test]
    fn what_senders_claim_is_added_as_far_as_numbers_go() {
        let mut report = report([session(1, "a", Some(u64::MAX - 10))]);
        report.add(session(2, "b", Some(u64::MAX - 10)));
        assert_eq!((report.missing, report.is_complete()), (u64::MAX, false));
    }

    #[test]
    fn what_was_dropped_as_it_should_be_leaves_nothing_out() {
        let with = |dropped, lost| {
            let mut session = session(1, "a", Some(0));
            (session.sources[0].dropped, session.sources[0].lost) = (dropped, lost);
            report([session])
        };
        let (wanted, unwanted) = (with(3, 0), with(3, 1));
        assert_eq!((wanted.dropped, wanted.missing, wanted.is_complete()), (3, 0, true));
        assert_eq!((unwanted.dropped, unwanted.missing, unwanted.is_complete()), (3, 0, false));
    }

    #[test]
    fn of_two_senders_with_one_source_name_each_has_its_own() {
        let of = |began, pin: &str, missing| SessionReport {
            pin: Some(pin.to_owned()),
            ..session(began, "a", missing)
        };
        let mut report = report([of(1, "one", Some(3)), of(2, "two", Some(0))]);
        assert_eq!((report.missing, report.is_complete()), (3, false));
        report.add(of(3, "one", Some(0)));
        assert!(report.is_complete());
    }

    #[test]
    fn what_is_kept_of_sources_is_bounded_and_their_frames_stay_counted() {
        let most = STANDINGS as u64;
        let mut report = ReceiveReport::default();
        for number in 1..=most + 5 {
            let mut session = session(number, "a", Some(0));
            session.pin = Some(number.to_string());
            (session.sources[0].stored, session.sources[0].stored_before) = (1, 1);
            report.add(session);
        }
        assert_eq!(report.standings.len(), STANDINGS);
        assert_eq!(report.stored_before(), most + 5);
    }

    #[test]
    fn what_is_kept_of_sources_is_bounded_and_what_was_missing_is_not_forgotten() {
        let most = STANDINGS as u64;
        let named = |number: u64, missing| session(number, &number.to_string(), missing);
        let mut report = report((1..=2 * most).map(|number| named(number, Some(0))));
        assert!(report.standings.len() <= STANDINGS && report.is_complete());
        report.add(named(1, Some(2)));
        report.add(named(3 * most, None));
        (3 * most + 1..=5 * most).for_each(|number| report.add(named(number, Some(0))));
        assert_eq!((report.missing, report.is_complete()), (2, false), "those are kept longest");
        (5 * most..=7 * most).for_each(|number| report.add(named(number, Some(1))));
        assert!(report.standings.len() <= STANDINGS);
        assert_eq!((report.missing, report.is_complete()), (2 + 2 * most, false));
    }

    #[test]
    fn a_lost_session_that_is_noticed_late_says_nothing_new() {
        let report = report([session(2, "a", Some(0)), session(1, "a", None)]);
        assert!(report.is_complete(), "the sender had come back and sent all of it");
        assert_eq!(report.incomplete_sessions, 1);
    }

    #[test]
    fn what_a_refused_session_asked_for_is_not_there() {
        let refused = |asked| SessionReport { began: None, ..session(asked, "a", None) };
        let mut report = report([refused(1)]);
        assert!(!report.is_complete(), "its sender has sent nothing");
        assert_eq!(report.incomplete_sessions, 0, "it never began");
        report.add(session(2, "a", Some(0)));
        assert!(report.is_complete(), "it came back, and was let in");
        report.add(refused(3));
        assert!(!report.is_complete());
    }

    #[test]
    fn a_session_that_went_on_elsewhere_was_not_cut_short() {
        let moved = SessionReport { moved: true, ..session(1, "a", None) };
        let report = report([moved, session(2, "a", Some(0))]);
        assert!(report.is_complete());
        assert_eq!(report.incomplete_sessions, 0);
    }

    #[test]
    fn what_came_to_nothing_neither_counts_nor_hides_what_did() {
        let mut report = report([session(1, "a", None)]);
        (0..2_000).for_each(|_| report.add(nothing(false)));
        assert!(!report.is_complete(), "the source was never ended");
        assert_eq!(report.incomplete_sessions, 1);
    }
}
