//! What is made of what a sender says, and what it is told.

use tokio::time::sleep;

use super::super::board::Told;
use super::super::room::RoomState;
use super::super::work::{
    Afterwards, Done, Question, Settled, Task, Ticket, Unnoted, Work, refusal_code,
};
use super::{Ending, ReceiverSession, protocol};
use crate::frame::{DropRange, RunId, Sequence, UnixNanos};
use crate::store::{Note, Outcome, Place};
use crate::transport::{Arrival, Claim};
use crate::wire::{
    Answer, Drops, EndOfRun, Message, Noted, Notice, Receipts, Refusal, RefusalCode, SequenceRun,
    SourceHello, SourceId, Standing,
};

impl ReceiverSession<'_> {
    /// Takes something from the sender.
    pub(super) fn take(&mut self, arrival: Arrival) -> Result<(), Ending> {
        match arrival {
            Arrival::Frame(frame) => {
                let (replace, reply) = (self.joint.overwrite, self.reply.clone());
                let (place, sources) = (usize::from(frame.source.0), self.lanes.len());
                if let Some(lane) = self.lane_at(place) {
                    let (from, ticket) = (lane.from.clone(), Ticket::new(&reply, Task::Frame));
                    let frame = Box::new(frame);
                    // Where its thread has failed, the ticket says so.
                    let _ = lane.thread.send(Work::Store { frame, from, replace, ticket });
                    self.storing += 1;
                } else if place < sources {
                    let which = (frame.source, frame.frame.meta.sequence);
                    let why = "its source is not open yet";
                    self.refuse(Some(which), RefusalCode::StoreFailed, why);
                } else {
                    return Err(protocol("a frame of a source that the hello did not name"));
                }
                Ok(())
            }
            Arrival::Message(Message::Offer(offer), claim) => {
                let place = usize::from(offer.source.0);
                if place < self.lanes.len() && self.lane_at(place).is_none() {
                    self.answer_not_open(&offer);
                    return Ok(());
                }
                let lane = self.lane(offer.source)?;
                let (from, turn) = (lane.from.clone(), lane.turns.take());
                self.looking_up += 1;
                let question = Question {
                    from,
                    claim,
                    replace: self.joint.overwrite,
                    listening: self.listening.clone(),
                    ticket: Ticket::new(&self.reply, Task::Offer),
                    turn,
                    was_read: false,
                    offer,
                };
                let lane = self.lane(question.offer.source)?;
                let _ = lane.thread.send(Work::LookUp(Box::new(question)));
                Ok(())
            }
            Arrival::Message(Message::Drops(drops), claim) => self.drops(drops, claim),
            Arrival::Message(Message::EndOfRun(end), claim) => self.end_run(end, claim),
            Arrival::Message(Message::Standing(standing), _) => {
                self.show(&standing);
                Ok(())
            }
            Arrival::Message(Message::Skipped { .. }, _) => Ok(()),
            Arrival::Message(Message::ClockProbe(asked), _) => {
                let now = UnixNanos::now().0;
                self.outbox.push_back(Message::ClockReply { asked, arrived: now, replied: now });
                Ok(())
            }
            Arrival::Message(other, _) => {
                Err(protocol(format!("a sender does not say {}", other.name())))
            }
            Arrival::Refused { frame, code, reason } => {
                self.warn(|| format!("refused a frame: {code}: {reason}"));
                self.refuse(frame, code, &reason);
                Ok(())
            }
        }
    }

    fn refuse(&mut self, frame: Option<(SourceId, Sequence)>, code: RefusalCode, reason: &str) {
        let known = frame.filter(|(source, _)| usize::from(source.0) < self.lanes.len());
        match known {
            Some((source, sequence)) => {
                let lane = usize::from(source.0);
                self.joint.refused(Some(lane));
                if let Some(lane) = &self.lanes[lane] {
                    lane.seat.panel().refused();
                }
                self.outbox
                    .push_back(Message::Refusal(Refusal::new(source, sequence, code, reason)));
            }
            None => self.joint.refused(None),
        }
    }

    /// Has shown how the sender stands. Sources that there are not are passed over: nothing depends on it.
    fn show(&self, standing: &Standing) {
        for source in &standing.sources {
            if let Some(Some(lane)) = self.lanes.get(usize::from(source.source.0)) {
                lane.seat.tell(Told::of(standing, source));
            }
        }
    }

    /// Has declared drops noted, which is answered when it is done.
    fn drops(&mut self, drops: Drops, claim: Claim) -> Result<(), Ending> {
        let Drops { source, run, ranges } = drops;
        self.lane(source)?.seat.panel().dropped(run, &ranges);
        let noted = |range: &DropRange| SequenceRun { first: range.first, count: range.count };
        let answer = Noted { source, run, frames: ranges.iter().map(noted).collect() };
        let dropped = Note::Dropped { run, ranges, place: Place::Sender };
        self.note(source, Unnoted::new(vec![dropped], Afterwards::Noted(answer), claim));
        Ok(())
    }

    /// Has something noted by a source's thread. Counted as offers are, and bounded with them.
    fn note(&mut self, source: SourceId, what: Unnoted) {
        let Some(Some(lane)) = self.lanes.get(usize::from(source.0)) else { return };
        self.noting += 1;
        let (from, ticket) = (lane.from.clone(), Ticket::new(&self.reply, Task::Note));
        // Where its thread has failed, the ticket says so.
        let _ = lane.thread.send(Work::Note { source, from, what, ticket });
    }

    /// Has something noted after a while that could not be: the disk may have room then. Drops are told again by their
    /// sender. Nobody waits for that, be it the sender whose session ends: it has no totals, and comes back.
    fn note_later(&mut self, source: SourceId, mut what: Unnoted) {
        if matches!(what.answer, Afterwards::Noted(_)) {
            return;
        }
        let reply = self.reply.clone();
        // Those that have ended are of no more interest.
        while self.late.try_join_next().is_some() {}
        self.late.spawn(async move {
            sleep(what.next_pause()).await;
            let _ = reply.send(Done::NoteAgain { source, what });
        });
    }

    /// Has it noted again. A run that has ended meanwhile has its beginning noted with its end.
    fn note_again(&mut self, source: SourceId, what: Unnoted) {
        let is_beginning = matches!(what.answer, Afterwards::Nothing);
        if !(is_beginning && self.joint.has_ended(usize::from(source.0))) {
            self.note(source, what);
        }
    }

    /// Has the beginnings of the runs noted whose sources are open.
    pub(super) fn begin_runs(&mut self) {
        (0..self.joint.sources.len() as u8).for_each(|place| self.begin_run(SourceId(place)));
    }

    /// Has the beginning of a run noted.
    pub(super) fn begin_run(&mut self, source: SourceId) {
        let notes = self.beginning(source);
        if !notes.is_empty() && self.lane_at(usize::from(source.0)).is_some() {
            self.note(source, Unnoted::new(notes, Afterwards::Nothing, self.account.claim()));
        }
    }

    /// The beginning of a source's run, where it has one.
    fn beginning(&self, source: SourceId) -> Vec<Note> {
        let Some(source) = self.joint.sources.get(usize::from(source.0)) else { return Vec::new() };
        let SourceHello { run, began: at, endless, live, .. } = source.hello;
        let began = Note::Began { run, at, endless, live, first: source.next() };
        if run == RunId::NONE { Vec::new() } else { vec![began] }
    }

    fn end_run(&mut self, mut end: EndOfRun, claim: Claim) -> Result<(), Ending> {
        let lane = self.lane(end.source)?;
        if lane.ended {
            return Err(protocol("a source ended twice"));
        }
        lane.ended = true;
        let (totals, is_news) = self.joint.end(usize::from(end.source.0), &mut end);
        if is_news {
            let undeclared = if end.run == RunId::NONE { end.lost_count } else { 0 };
            self.lane(end.source)?.seat.end(undeclared);
        }
        if end.run == RunId::NONE {
            self.outbox.push_back(Message::Totals(totals));
        } else {
            // What another connection has said is noted, or waits for that before this, unless it could not be; and so
            // is the beginning.
            let EndOfRun { run, ended: at, first, captured, .. } = end;
            let mut notes = if is_news { self.beginning(end.source) } else { Vec::new() };
            notes.push(Note::Ended { run, at, first: Some(first), captured });
            self.note(end.source, Unnoted::new(notes, Afterwards::Totals(totals), claim));
        }
        Ok(())
    }

    /// Says something of this session in the log, as far as there is room for it.
    pub(super) fn warn(&self, line: impl FnOnce() -> String) {
        self.server.voice.warn(self.account.sender(), line);
    }

    /// Takes what a source's thread has done.
    pub(super) fn settle(&mut self, done: Done) {
        match done {
            Done::Failed(task) => {
                self.failed = true;
                match task {
                    Task::Frame => self.storing -= 1,
                    Task::Offer => self.looking_up -= 1,
                    Task::Note => self.noting -= 1,
                }
            }
            Done::Opened { source, thread, admitted } => self.opened(source, thread, admitted),
            Done::Declined { source, why } => self.declined(source, why),
            Done::Noted(told) => {
                self.noting -= 1;
                self.outbox.extend(told);
            }
            Done::Unnoted { source, what } => {
                self.noting -= 1;
                self.note_later(source, what);
            }
            Done::NoteAgain { source, what } => self.note_again(source, what),
            Done::Answered { answer, turn, stored, expired } => {
                self.looking_up -= 1;
                self.say_expired(&answer, expired);
                self.joint.stored_before(usize::from(answer.source.0), &stored);
                let lane = self.lane_at(usize::from(answer.source.0));
                let next = lane.map(|lane| lane.turns.found(turn, answer)).unwrap_or_default();
                self.outbox.extend(next.into_iter().map(Message::Answer));
            }
            Done::Stored { source, at, frames } => {
                self.storing -= frames.len();
                let receipts = self.account(source, frames);
                if !receipts.is_empty() {
                    let receipts = Receipts::new(source, at, receipts);
                    self.outbox.push_back(Message::Receipts(receipts));
                }
            }
        }
    }

    /// Says once in a session that frames on offer are not stored any more, and not wanted.
    fn say_expired(&mut self, answer: &Answer, expired: u64) {
        if expired > 0 && !std::mem::replace(&mut self.told_expired, true) {
            let name = self.joint.name(usize::from(answer.source.0));
            let text = format!(
                "frames of {name} were stored before and have been removed since, because they were old enough; \
                 they count as stored and are not wanted again"
            );
            self.outbox.push_back(Message::Notice(Notice { kind: Notice::EXPIRED, text }));
        }
    }

    /// Says that there is little room for frames, or enough again.
    pub(super) fn say_room(&mut self, state: Option<RoomState>) {
        let Some(state) = state.filter(|state| state.is_low != self.told_low) else { return };
        self.told_low = state.is_low;
        let kind = if state.is_low { Notice::NEARLY_FULL } else { Notice::ROOM_AGAIN };
        self.outbox.push_back(Message::Notice(Notice { kind, text: state.words() }));
    }

    /// Counts stored frames, refuses the others, and gives those to confirm.
    fn account(&mut self, source: SourceId, frames: Vec<Settled>) -> Vec<Sequence> {
        let mut receipts = Vec::with_capacity(frames.len());
        for settled in frames {
            if self.joint.settled(usize::from(source.0), &settled) {
                receipts.push(settled.sequence);
            }
            match settled.outcome {
                Outcome::Stored => self.server.progress.stored(1, settled.bytes),
                Outcome::AlreadyStored => {}
                Outcome::Failed(error) => {
                    let (voice, sender) = (&self.server.voice, self.account.sender());
                    voice.warn(sender, || format!("not stored: {error}"));
                    let code = refusal_code(&error);
                    self.refuse(Some((source, settled.sequence)), code, &error.to_string());
                }
            }
        }
        receipts
    }
}
