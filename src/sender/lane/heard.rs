//! What the receiver says of a source's frames.

use std::time::Instant;

use super::super::ledger::{Ledger, Loss};
use super::super::schedule::Schedule;
use super::super::tend::too_late;
use super::{Confirmed, Lane, MOST_STALE, Nonsense, Offered, REFUSED_PAUSE, Wanted, refused};
use crate::frame::{DropReason, Sequence, UnixNanos, quoted};
use crate::source::Fate;
use crate::wire::{Answer, Noted, Receipts, Refusal, RefusalCode, Totals, Verdict};

/// What is said of a frame whose name the receiver has with other content, `overwrite` having been asked for or not.
fn differs(overwrite: bool) -> &'static str {
    if overwrite {
        "the receiver has a frame of this name with other content, and replaces none (its `allow_overwrite`)"
    } else {
        "the receiver has a frame of this name with other content; send to another folder, or replace it with `overwrite`"
    }
}

impl Lane {
    /// The receiver has opened the source. False where it had before.
    pub(in crate::sender) fn opened(&mut self) -> bool {
        let is_news = self.unopened.take().is_some();
        if is_news {
            self.crossing = self.offered.len();
        }
        is_news
    }

    /// The receiver's verdicts on the oldest offer.
    pub(in crate::sender) fn answered(
        &mut self,
        answer: Answer,
        ledger: &mut Ledger,
        schedule: &Schedule,
    ) -> Result<(), Nonsense> {
        let nonsense = |what: &str| Nonsense(format!("an answer {what}"));
        let offered = self.offered.pop_front().ok_or_else(|| nonsense("to no offer"))?;
        let total = answer.runs.iter().try_fold(0_u64, |sum, run| sum.checked_add(run.count));
        if total != Some(offered.len() as u64) {
            return Err(nonsense("does not fit its offer"));
        }
        let may_be_shut = self.unopened.is_some() || self.crossing > 0;
        self.crossing = self.crossing.saturating_sub(1);
        let verdicts =
            answer.runs.iter().flat_map(|run| std::iter::repeat_n(run.verdict, run.count as usize));
        for (verdict, Offered { sequence, bytes, hashed, captured }) in verdicts.zip(offered) {
            match verdict {
                Verdict::Wanted if self.was_late_before(sequence, captured) => {
                    self.lose(sequence, too_late(captured), ledger);
                }
                Verdict::Wanted => {
                    let due = ledger.due(sequence, false, |slot| schedule.paced(slot));
                    self.is_live |= due.is_some_and(|due| due.live);
                    ledger.wanted(sequence, bytes);
                    self.want(due.map(|due| Wanted { sequence, bytes, due }));
                }
                // Otherwise each round trip would have the same frames read and hashed, without end.
                Verdict::NeedHash if hashed => {
                    return Err(nonsense("asks for a hash that it has"));
                }
                Verdict::NeedHash => self.need_hash.push(sequence),
                // As of a hash that it has: it would be offered again without end.
                Verdict::NotOpen if !may_be_shut => {
                    return Err(nonsense("calls a source not open that is"));
                }
                Verdict::NotOpen => self.held_back.push(sequence),
                Verdict::Stored if self.is_gone(sequence) => {
                    self.already += 1;
                    self.is_stored(sequence.0, bytes, DropReason::SpoolFull, ledger);
                }
                Verdict::Stored => {
                    self.already += 1;
                    let sent = ledger.found(sequence, bytes);
                    let fate = if sent { Fate::Stored } else { Fate::StoredBefore };
                    self.source.settled(sequence, fate);
                }
                // Another frame of the name is stored: it may be offered by a name of its own.
                Verdict::Differs if !self.overwrite && self.source.rename(sequence) => {
                    self.need_hash.push(sequence);
                }
                Verdict::Differs => {
                    let words = differs(self.overwrite).to_owned();
                    let loss = Loss { reason: DropReason::Conflict, ..refused(words) };
                    self.lose(sequence, loss, ledger);
                }
            }
        }
        Ok(())
    }

    /// Whether a frame that a source which goes on had before the run began, a file of a watched folder, is older than
    /// its deadline lets it be.
    fn was_late_before(&self, sequence: Sequence, captured: Option<UnixNanos>) -> bool {
        let Some((deadline, captured)) = self.deadline.zip(captured) else { return false };
        let age = UnixNanos::now().nanos_since(captured);
        let is_old = self.source.goes_on() && self.source.arrival(sequence).is_none();
        is_old && age > deadline.as_nanos() as i128
    }

    /// Frames that the receiver has stored: those of them that were not known to be.
    ///
    /// What this costs goes by what is new. A transport that had to send a frame twice has a receipt come
    /// twice, but a receiver that tells the same again and again is left.
    pub(in crate::sender) fn confirmed(
        &mut self,
        receipts: &Receipts,
        ledger: &mut Ledger,
    ) -> Result<Vec<Confirmed>, Nonsense> {
        let mut news = Vec::new();
        for run in &receipts.runs {
            let before = news.len();
            let first = ledger.place(run.first);
            let range = first.and_then(|first| Some(first.0..first.0.checked_add(run.count)?));
            let doomed =
                range.clone().map_or_else(Vec::new, |range| self.arrived_after_all(range, ledger));
            news.extend(doomed);
            let unsettled = range.and_then(|range| ledger.unsettled_within(range));
            let unsettled = unsettled
                .ok_or_else(|| Nonsense("a receipt for frames that were not sent".to_owned()))?;
            for sequence in unsettled {
                if !self.is_handed(sequence) {
                    if ledger.was_sent(sequence) {
                        self.nothing_new()?; // refused at first, and about to be sent and confirmed again
                        continue;
                    }
                    return Err(Nonsense(format!("a receipt for frame {sequence}, not sent")));
                }
                self.stored_one(sequence);
                let bytes = self.release(sequence);
                self.stored += 1;
                self.refused_since = None;
                self.in_vain = false;
                if let Some(known) = ledger.confirm(sequence, bytes) {
                    self.source.settled(sequence, Fate::Stored);
                    news.push(Confirmed { sequence, bytes, due: known.due });
                }
            }
            if news.len() == before {
                self.nothing_new()?;
            }
        }
        Ok(news)
    }

    /// Frames that were given up, and have arrived.
    fn arrived_after_all(
        &mut self,
        places: std::ops::Range<u64>,
        ledger: &mut Ledger,
    ) -> Vec<Confirmed> {
        let found: Vec<_> =
            self.doomed.range(places).map(|(&place, &what)| (place, what)).collect();
        let arrived = found.into_iter().map(|(place, (bytes, reason))| {
            self.doomed.remove(&place);
            self.stored += 1;
            self.is_stored(place, bytes, reason, ledger);
            Confirmed { sequence: Sequence(place), bytes, due: None }
        });
        arrived.collect()
    }

    /// Whether the source has dropped a frame in this session.
    fn is_gone(&self, sequence: Sequence) -> bool {
        self.gone.iter().any(|places| places.contains(&sequence.0))
    }

    /// The receiver has a frame that was given up.
    fn is_stored(&self, place: u64, bytes: u64, reason: DropReason, ledger: &mut Ledger) {
        ledger.stored_after_all(reason, bytes);
        if let (DropReason::SpoolFull, Some(spool)) = (reason, self.source.remembered()) {
            spool.stored_after_all(place..place + 1);
        }
    }

    /// The receiver has told again what was known.
    pub(in crate::sender) fn nothing_new(&mut self) -> Result<(), Nonsense> {
        self.stale += 1;
        let told = MOST_STALE + 2 * (self.stored + self.already);
        if self.stale > told {
            return Err(Nonsense("it tells again and again of the same frames".to_owned()));
        }
        Ok(())
    }

    /// A frame that the receiver did not store. It is tried again where that can help, for at most
    /// so long without a success as was asked for. False where the refusal tells nothing new.
    pub(in crate::sender) fn refused(
        &mut self,
        refusal: &Refusal,
        ledger: &mut Ledger,
    ) -> Result<bool, Nonsense> {
        let place = ledger.place(refusal.sequence).filter(|&place| {
            self.is_handed(place) || ledger.is_settled_frame(place) || ledger.was_sent(place)
        });
        let place = place.ok_or_else(|| {
            Nonsense(format!("a refusal of frame {}, not sent", refusal.sequence))
        })?;
        if !self.is_handed(place) {
            // A second answer to a frame that a transport had to send twice.
            return self.nothing_new().map(|()| false);
        }
        let now = Instant::now();
        let since = *self.refused_since.get_or_insert(now);
        self.hold_back(place, refusal.code, now, ledger);
        let bytes = self.release(place);
        if refusal.code.may_pass() && now - since < self.patience {
            let due = ledger.due_of(place);
            let wanted = due.map(|due| Wanted { sequence: place, bytes, due });
            if self.hold.is_some() {
                self.want(wanted);
            } else {
                self.later.extend(wanted.map(|wanted| (now + REFUSED_PAUSE, wanted)));
            }
        } else {
            let reason = format!("{}: {}", refusal.code, quoted(&refusal.reason));
            let loss = match refusal.code {
                RefusalCode::TooLarge => Loss { reason: DropReason::TooLarge, ..refused(reason) },
                RefusalCode::Conflict => Loss { reason: DropReason::Conflict, ..refused(reason) },
                _ => refused(reason),
            };
            self.lose(place, loss, ledger);
        }
        Ok(true)
    }

    /// The receiver has noted drops. False where that is not new.
    pub(in crate::sender) fn noted(
        &mut self,
        noted: &Noted,
        ledger: &mut Ledger,
    ) -> Result<bool, Nonsense> {
        let news = if noted.run == ledger.run { ledger.noted(&noted.frames) } else { Vec::new() };
        if news.is_empty() {
            self.nothing_new()?;
            return Ok(false);
        }
        if let Some(remembered) = self.source.remembered() {
            news.into_iter().for_each(|places| remembered.noted(places));
        }
        Ok(true)
    }

    /// What the receiver counts for this source.
    pub(in crate::sender) fn totalled(&mut self, totals: Totals) -> Result<(), Nonsense> {
        if !self.ended {
            return Err(Nonsense("totals before the end of the source".to_owned()));
        }
        // A frame that a transport had to send twice counts twice there.
        if totals.stored.saturating_add(totals.already) < self.stored + self.already {
            return Err(Nonsense(format!(
                "{} frames of {} were confirmed, but the receiver counts {}",
                self.stored + self.already,
                self.source.name(),
                totals.stored.saturating_add(totals.already)
            )));
        }
        self.totals = true;
        if let Some(remembered) = self.source.remembered() {
            remembered.ended();
        }
        Ok(())
    }
}
