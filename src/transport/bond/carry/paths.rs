//! Connections that come, die and come back.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::super::super::TransportError;
use super::super::book::Key;
use super::super::line::{Line, Stage};
use super::super::steer::Health;
use super::super::{Named, Tried, data_spent};
use super::{ALONE_PATIENCE, CAUSE_PATIENCE, Carrier};
use crate::wire::CloseCode;

/// How long a connection that another takes the place of may bring what it has.
const DRAIN: Duration = Duration::from_secs(4);

/// Connections of one link: one that is used, one that is to take its place, and one that is left.
const MOST_OF_A_LINK: usize = 3;

impl Carrier {
    /// Looks how the paths are, and does what follows from that.
    pub(super) fn look(&mut self, now: Instant) {
        let mut others = Vec::new();
        for line in &mut self.lines {
            let before = line.health;
            if line.look(now) {
                others.push((line.id, before, line.health));
            }
            if let Some(meter) = &self.links[line.slot].meter {
                meter.add(line.cost());
            }
        }
        for (id, before, health) in others {
            self.changed = true;
            match health {
                Health::Well if before == Health::Dead => self.is_back(id, now),
                Health::Well => {}
                Health::Ill => self.is_ill(id, now),
                Health::Dead => self.is_dead(id),
            }
        }
        self.leave_spent();
        self.let_go(now);
        self.choose_lead();
    }

    /// True where the data of that link is used up.
    pub(super) fn is_spent(&self, slot: usize) -> bool {
        self.links[slot].is_spent()
    }

    /// Leaves links whose data is used up, once what they have is through; without another one the session is over.
    fn leave_spent(&mut self) {
        if self.links.iter().all(|link| link.meter.is_none()) {
            return;
        }
        for slot in 0..self.links.len() {
            let is_spent = self.is_spent(slot);
            if std::mem::replace(&mut self.spent[slot], is_spent) || !is_spent {
                continue;
            }
            let others = (0..self.links.len()).any(|other| !self.is_spent(other));
            let Named { name, meter: Some(meter) } = &self.links[slot] else { continue };
            tracing::warn!(
                "the data of {name} is used up ({}), until midnight UTC at least: {}",
                meter.cap(),
                match others {
                    true => "frames go by the others",
                    false => "no other link is left, and frames wait",
                }
            );
        }
        let is_left = |line: &Line| self.is_spent(line.slot) && line.is_idle();
        let left: Vec<u64> =
            self.lines.iter().filter(|line| is_left(line)).map(|line| line.id).collect();
        let others = self.lines.iter().any(|line| !self.is_spent(line.slot) && line.is_joined());
        if others {
            left.into_iter().for_each(|id| self.drop_line(id, CloseCode::Moved));
        } else if !left.is_empty() && left.len() == self.lines.len() && self.welcomed {
            self.over.get_or_insert(data_spent(&self.links));
        }
    }

    /// A path is back: what was to go elsewhere since it was silent may come over it.
    fn is_back(&mut self, id: u64, now: Instant) {
        let Some(line) = self.line_mut(id) else { return };
        line.since = now;
        let slot = line.slot;
        if std::mem::take(&mut self.silent[slot]) {
            tracing::warn!("the path by {} carries again", self.links[slot].name);
        }
    }

    /// What should have come over a path has not: live frames that it alone has go elsewhere as well.
    fn is_ill(&mut self, id: u64, now: Instant) {
        let alone = self.alone_on(|line| line == id, true);
        alone.into_iter().for_each(|key| self.book.set_due(key, Some(now)));
    }

    /// Nothing comes over a path: all that it alone has goes elsewhere.
    fn is_dead(&mut self, id: u64) {
        let Some(line) = self.line(id) else { return };
        let slot = line.slot;
        let dead: Vec<u64> = self
            .lines
            .iter()
            .filter(|line| line.health == Health::Dead)
            .map(|line| line.id)
            .collect();
        let others = self.lines.iter().any(|line| line.is_joined() && line.health != Health::Dead);
        if others && !std::mem::replace(&mut self.silent[slot], true) {
            tracing::warn!(
                "nothing comes over the path by {} any more; frames go by the others",
                self.links[slot].name
            );
        }
        let alone = self.alone_on(|line| dead.contains(&line), false);
        let new: Vec<_> = alone.into_iter().filter(|key| !self.again.contains(key)).collect();
        self.again.extend(new);
    }

    /// Gives up connections that are left, and those of a session that is not to be had any more.
    fn let_go(&mut self, now: Instant) {
        let is_left = |line: &Line| match line.stage {
            Stage::Leaves(when) => line.is_idle() || line.health == Health::Dead || when <= now,
            _ => false,
        };
        let left: Vec<u64> =
            self.lines.iter().filter(|line| is_left(line)).map(|line| line.id).collect();
        left.into_iter().for_each(|id| self.drop_line(id, CloseCode::Moved));
        if self.welcomed && self.token.is_none() {
            let silent = self.lines.iter().all(|line| line.is_silent_for(ALONE_PATIENCE, now));
            if silent && self.over.is_none() {
                let why = format!("nothing came for {} s", ALONE_PATIENCE.as_secs());
                self.over = Some(TransportError::Silent { why });
            }
        }
    }

    /// Has another connection lead where the one that does carries nothing: what it was told and has not answered is
    /// said again.
    fn choose_lead(&mut self) {
        let is_good = |line: &&Line| line.is_joined() && line.health != Health::Dead;
        if self.line(self.lead).is_some_and(|line| is_good(&line)) {
            return;
        }
        let others = self.lines.iter().filter(is_good);
        let Some(best) = others.min_by_key(|line| (line.health, line.stats.rtt)) else { return };
        let id = best.id;
        if let Some(before) = self.lead_mut() {
            before.outbox.clear();
        }
        self.lead = id;
        let again: Vec<_> = self.unanswered.again().collect();
        if let Some(line) = self.lead_mut() {
            line.leads(again.into_iter());
        }
    }

    fn lead_mut(&mut self) -> Option<&mut Line> {
        let lead = self.lead;
        self.line_mut(lead)
    }

    /// A link was tried.
    pub(super) fn tried(&mut self, tried: Tried, now: Instant) {
        match tried {
            Tried::Failed(slot, error) => {
                tracing::debug!("no connection by {}: {error}", self.links[slot].name);
            }
            Tried::Opened(slot, link, drains) => {
                let of_link = self.lines.iter().filter(|line| line.slot == slot).count();
                if of_link >= MOST_OF_A_LINK || self.welcomed && self.token.is_none() {
                    return;
                }
                let id = self.next_id;
                self.next_id += 1;
                let mut line = Line::new(id, slot, link, now);
                line.drains = drains;
                self.lines.push(line);
                self.join(id, now);
            }
        }
    }

    /// A connection carries frames of the session from now on, and takes the place of another by the same link.
    pub(super) fn joined(&mut self, id: u64, now: Instant) {
        let Some(line) = self.line_mut(id).filter(|line| line.stage == Stage::Joins) else {
            return;
        };
        line.stage = Stage::Joined;
        line.since = now;
        let (slot, drains, transport) = (line.slot, line.drains, line.link.via.transport);
        self.changed = true;
        tracing::info!(%transport, "the path by {} carries frames as well", self.links[slot].name);
        if std::mem::take(&mut self.silent[slot]) {
            tracing::warn!("the path by {} carries again", self.links[slot].name);
        }
        let before: Vec<u64> = self
            .lines
            .iter()
            .filter(|line| line.slot == slot && line.id != id && line.is_joined())
            .map(|line| line.id)
            .collect();
        for old in before {
            match drains {
                true => {
                    if let Some(line) = self.line_mut(old) {
                        line.stage = Stage::Leaves(now + DRAIN);
                    }
                }
                false => self.drop_line(old, CloseCode::Moved),
            }
        }
        self.choose_lead();
    }

    /// Ends a connection, and has what it alone had sent again.
    pub(super) fn drop_line(&mut self, id: u64, code: CloseCode) {
        let Some(line) = self.take_line(id) else { return };
        tokio::spawn(async move {
            line.link.end.close(code, "goes on over another connection").await;
        });
    }

    fn take_line(&mut self, id: u64) -> Option<Line> {
        let place = self.lines.iter().position(|line| line.id == id)?;
        let mut line = self.lines.remove(place);
        self.sums.left(&line);
        if let Some(meter) = &self.links[line.slot].meter {
            line.stats = line.link.path.look();
            meter.add(line.cost());
        }
        self.changed = true;
        let had: Vec<_> = self
            .book
            .iter()
            .filter(|(_, out)| out.copies.iter().any(|copied| copied.line == id))
            .map(|(key, _)| key)
            .collect();
        for key in had {
            self.book.take_back(key, id);
            // One that a dead path has is as good as none, and that it is dead was told when this one had another.
            if !self.is_carried(key) {
                self.again.push_back(key);
            }
        }
        Some(line)
    }

    /// Whether a path that carries anything has a copy of a frame.
    pub(super) fn is_carried(&self, key: Key) -> bool {
        let is_alive = |id: u64| self.line(id).is_some_and(|line| line.health != Health::Dead);
        self.book.get(key).is_some_and(|out| out.copies.iter().any(|copied| is_alive(copied.line)))
    }

    /// A connection has ended by itself.
    pub(super) async fn has_ended(&mut self, id: u64) {
        let Some(line) = self.take_line(id) else { return };
        let cause = timeout(CAUSE_PATIENCE, line.link.end.cause()).await;
        let cause = cause.unwrap_or(TransportError::Ended);
        let name = line.name(&self.links).to_owned();
        let was_joined = !matches!(line.stage, Stage::Waits | Stage::Joins);
        let is_carried = |line: &Line| {
            line.is_joined() && line.health != Health::Dead || line.stage == Stage::Joins
        };
        let goes_on = self.welcomed && self.lines.iter().any(is_carried);
        if goes_on && !(was_joined && is_of_session(&cause)) {
            if was_joined && !std::mem::replace(&mut self.silent[line.slot], true) {
                tracing::warn!("the path by {name} is lost: {cause}; frames go by the others");
            }
            self.choose_lead();
            return;
        }
        // Where another is silent only, a session that cannot be joined any more is over as well.
        self.over = Some(match was_joined {
            true => cause,
            // A receiver that was started again knows nothing of this session, but takes another.
            false => TransportError::Lost {
                address: line.link.via.address,
                why: format!("no other connection joins the session: {cause}"),
            },
        });
    }
}

/// True where the receiver has ended the session, and not this connection of it.
fn is_of_session(cause: &TransportError) -> bool {
    let TransportError::ClosedByPeer { code, .. } = cause else { return !cause.may_pass() };
    let of_connection = [CloseCode::Done, CloseCode::Moved, CloseCode::Stalled, CloseCode::Busy];
    !of_connection.iter().any(|known| known.number() == *code)
}
