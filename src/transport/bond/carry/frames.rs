//! Frames over the paths: which goes where, and which goes again.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::super::super::OutgoingFrame;
use super::super::book::{Copied, Key, Out, key};
use super::super::line::Line;
use super::super::mode::PathsMode;
use super::super::steer::{Choice, Health, View, Wish, choose};
use super::Carrier;

/// A live frame whose receipt is so much later than expected goes over another path as well: a round trip and a quarter,
/// in which what was lost is sent again, but no less and no more than these.
const LEAST_SLACK: Duration = Duration::from_millis(30);
/// See [`LEAST_SLACK`].
const MOST_SLACK: Duration = Duration::from_millis(60);

/// How soon a frame is looked at again that is late and found no other path.
const NO_PATH: Duration = Duration::from_millis(20);

/// The part of what is sent that may go again for no known reason. More would be a load of its own on paths that are
/// full.
const SPARE_PART: u64 = 5;
/// The most of it that is kept.
const MOST_SPARE: u64 = 2 << 20;

/// A path that has not been used is tried out with a copy so often, ...
const SOUND_AGAIN: Duration = Duration::from_secs(10);
/// ... and one of which nothing is known yet, or that has just come, or come back.
const SOUND_NEW: Duration = Duration::from_millis(100);
/// For so long it has just come: its window grows by what goes over it alone, and until it has grown nothing would go.
const JUST_COME: Duration = Duration::from_secs(2);

/// At the end of what there is, a copy goes over a path that is idle where it is there so much sooner.
const SOONER: Duration = Duration::from_millis(20);
/// Frames under way with which an end is one.
const MOST_AT_END: usize = 512;
/// How often one is shared.
const SHARE_EVERY: Duration = Duration::from_millis(2);

impl Carrier {
    /// True where another frame of the session may be taken.
    pub(super) fn takes_frames(&self) -> bool {
        let alive = |line: &&Line| {
            line.is_joined() && line.health != Health::Dead && !self.is_spent(line.slot)
        };
        match self.lines.iter().any(|line| alive(&line)) {
            true => self.lines.iter().filter(alive).any(Line::has_room) && self.again.is_empty(),
            // Into an outage of all of them goes what they take.
            false => self.lines.iter().any(|line| line.has_room() && !self.is_spent(line.slot)),
        }
    }

    /// Hands a frame to the path that it takes, or to two; gives it back where it has to wait.
    pub(super) fn place(&mut self, frame: OutgoingFrame, now: Instant) -> Option<OutgoingFrame> {
        if self.is_hopeless(&frame, now) {
            self.drop_held(&frame);
            return None;
        }
        let wish = wish(&frame, now);
        let (ids, views) = self.views(wish, now, |_| true);
        let Some(Choice { first, second }) = choose(self.mode, &views, wish) else {
            return Some(frame);
        };
        let sounded = second.is_none().then(|| self.to_sound(&ids, first, wish, now)).flatten();
        if !self.give(ids[first], &frame, now) {
            return Some(frame);
        }
        let bytes = frame.header.meta.bytes;
        self.spare = (self.spare + bytes / SPARE_PART).min(MOST_SPARE);
        if let Some(second) = second.or(sounded) {
            self.give(ids[second], &frame, now);
        }
        None
    }

    /// Paths that may be used, and what they are for a frame now.
    pub(super) fn views(
        &self,
        wish: Wish,
        now: Instant,
        may: impl Fn(&Line) -> bool,
    ) -> (Vec<u64>, Vec<View>) {
        let may = |line: &&Line| line.is_joined() && may(line) && self.has_data(line, wish.bytes);
        let lines = self.lines.iter().filter(may);
        lines.map(|line| (line.id, line.view(wish.live, now))).unzip()
    }

    /// True where the link of a path may carry so many bytes more.
    fn has_data(&self, line: &Line, bytes: u64) -> bool {
        let meter = self.links[line.slot].meter.as_ref();
        meter.is_none_or(|meter| meter.takes(bytes, line.under_way()))
    }

    /// A path of which little is known, that a copy of a live frame is to try out.
    fn to_sound(&self, ids: &[u64], first: usize, wish: Wish, now: Instant) -> Option<usize> {
        if !wish.live {
            return None;
        }
        let is_due = |line: &Line| {
            let is_known = line.is_proven() && now - line.since >= JUST_COME;
            let pause = if is_known { SOUND_AGAIN } else { SOUND_NEW };
            line.sounded.is_none_or(|when| now - when >= pause)
        };
        let may = |id: &u64| {
            let line = self.line(*id);
            line.is_some_and(|line| {
                line.health == Health::Well && line.is_idle() && line.has_room() && is_due(line)
            })
        };
        ids.iter()
            .enumerate()
            .find(|(place, id)| *place != first && may(id))
            .map(|(place, _)| place)
    }

    /// Gives a path a copy of a frame; false where it takes none.
    pub(super) fn give(&mut self, id: u64, frame: &OutgoingFrame, now: Instant) -> bool {
        let (bytes, live) = (frame.header.meta.bytes, frame.is_live());
        let (keep, moot) = watch::channel(());
        let Some(line) = self.line_mut(id) else { return false };
        let rtt = line.stats.rtt;
        let expected = now + line.view(live, now).arrives(bytes) + rtt / 2;
        // Each path gives it up for itself, when it cannot make it there.
        let given = OutgoingFrame { moot: Some(moot), ..frame.copy() };
        if line.link.frames.try_send(given).is_err() {
            return false;
        }
        line.given(bytes, live, now);
        line.sounded = Some(now);
        let others = self.book.get(key(frame)).is_some_and(|out| !out.copies.is_empty());
        let due = expected + (rtt + rtt / 4).clamp(LEAST_SLACK, MOST_SLACK);
        let due = (live && !others && self.lines.len() > 1).then_some(due);
        let copied = Copied { line: id, bytes, given: now, expected, keep };
        self.book.give(frame.copy(), copied, due);
        true
    }

    /// Sends live frames over another path that are overdue where they went.
    pub(super) fn rescue(&mut self, now: Instant) {
        while let Some(key) = self.book.take_overdue(now) {
            let Some(out) = self.book.get(key) else { continue };
            let had: Vec<u64> = out.copies.iter().map(|copied| copied.line).collect();
            let is_well = |id: &u64| self.line(*id).is_some_and(|line| line.health == Health::Well);
            let bytes = out.frame.header.meta.bytes;
            // Where it is, it is given up when it cannot make it there either.
            if self.is_hopeless(&out.frame, now) {
                continue;
            }
            let for_no_reason = had.iter().any(is_well);
            if for_no_reason && (self.mode == PathsMode::Spread || self.spare < bytes) {
                self.book.set_due(key, Some(now + NO_PATH));
                continue;
            }
            let frame = out.frame.copy();
            let wish = wish(&frame, now);
            let may = |line: &Line| !had.contains(&line.id) && line.health != Health::Dead;
            let (ids, views) = self.views(wish, now, may);
            let chosen = choose(PathsMode::Spread, &views, wish).map(|choice| choice.first);
            let given = chosen.is_some_and(|place| self.give(ids[place], &frame, now));
            match given {
                true if for_no_reason => self.spare -= bytes.min(self.spare),
                true => {}
                false => self.book.set_due(key, Some(now + NO_PATH)),
            }
        }
    }

    /// Sends what only dead paths have over those that carry something.
    pub(super) fn send_again(&mut self, now: Instant) {
        while let Some(&key) = self.again.front() {
            let Some(out) = self.book.get(key) else {
                self.again.pop_front();
                continue;
            };
            let (frame, none) = (out.frame.copy(), out.copies.is_empty());
            if self.is_carried(key) {
                self.again.pop_front();
                continue;
            }
            if self.is_hopeless(&frame, now) {
                self.give_up(key);
                continue;
            }
            let wish = wish(&frame, now);
            let (ids, views) = self.views(wish, now, |line| none || line.health != Health::Dead);
            let Some(choice) = choose(PathsMode::Spread, &views, wish) else { return };
            if !self.give(ids[choice.first], &frame, now) {
                return;
            }
            self.again.pop_front();
        }
    }

    /// At the end of what there is: a path that is idle takes a copy of what is there later by another.
    pub(super) fn share_rest(&mut self, now: Instant) {
        let few = self.book.len() > 0 && self.book.len() <= MOST_AT_END;
        if self.lines.len() < 2 || !few || !self.again.is_empty() || now < self.stolen + SHARE_EVERY
        {
            return;
        }
        self.stolen = now;
        let idle = |line: &Line| line.health == Health::Well && line.is_idle() && line.has_room();
        let none = Wish { bytes: 0, live: false, left: None };
        let (ids, views) = self.views(none, now, |line| {
            // A copy that only saves time is not worth data that is counted.
            idle(line) && self.links[line.slot].meter.is_none()
        });
        for (id, view) in ids.into_iter().zip(views) {
            let last = self.book.iter().filter(|(_, out)| !out.frame.is_live());
            let last = last.filter(|(_, out)| out.copies.len() == 1 && out.copies[0].line != id);
            let Some((key, late)) =
                last.map(|(key, out)| (key, comes(out, now))).max_by_key(|(_, at)| *at)
            else {
                continue;
            };
            let Some(out) = self.book.get(key) else { continue };
            let takes = view.arrives(out.frame.header.meta.bytes) + view.rtt / 2;
            if now + takes + takes / 8 + SOONER < late {
                let frame = out.frame.copy();
                self.give(id, &frame, now);
            }
        }
    }

    /// A frame is settled: over a connection, where it was confirmed. Other copies of it are taken back.
    pub(super) fn settle(&mut self, key: Key, over: Option<u64>, now: Instant) {
        let Some(Out { frame, copies, .. }) = self.book.remove(key) else { return };
        let live = frame.is_live();
        for copied in copies {
            let Some(line) = self.line_mut(copied.line) else { continue };
            line.rid(copied.bytes, live);
            match over {
                Some(on) if on == copied.line => line.proves(copied.bytes, copied.given, now),
                _ => line.is_beaten(key, copied, now),
            }
        }
    }

    /// Frames of which only such connections have a copy: live ones alone, or all.
    pub(super) fn alone_on(&self, is_such: impl Fn(u64) -> bool, live: bool) -> Vec<Key> {
        let alone = |out: &Out| out.copies.iter().all(|copied| is_such(copied.line));
        let found =
            self.book.iter().filter(|(_, out)| alone(out) && (!live || out.frame.is_live()));
        found.map(|(key, _)| key).collect()
    }
}

/// When a frame with one copy is to be expected: where that is late, as much later as it has taken.
fn comes(out: &Out, now: Instant) -> Instant {
    let copied = &out.copies[0];
    if copied.expected > now { copied.expected } else { now + (now - copied.given) }
}

pub(super) fn wish(frame: &OutgoingFrame, now: Instant) -> Wish {
    let left = |deadline| Instant::from_std(deadline).saturating_duration_since(now);
    Wish { bytes: frame.header.meta.bytes, live: frame.is_live(), left: frame.deadline.map(left) }
}
