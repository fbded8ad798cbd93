//! A trial: a session whose frames are counted and dropped, so that its sender can measure the way here. Nothing of it is
//! stored, and no source is opened.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::limits::ReceiveLimits;
use crate::frame::UnixNanos;
use crate::transport::{Arrival, ReceiverLink};
use crate::wire::{Capabilities, CloseCode, Counted, Message, Welcome};

/// How long a trial may last. It fills the link meanwhile, which others may need.
const LONGEST: Duration = Duration::from_secs(15);

/// How long one may send nothing: a sender that is gone without a word does not keep its place.
const LONGEST_SILENCE: Duration = Duration::from_secs(4);

/// Trials at once. Two share a link, and measure half of it each.
const MOST: usize = 2;

/// How often is told what has come. A sender waits for it before it sends on, so it is a part of its round trip.
const TELL_EVERY: Duration = Duration::from_millis(20);

/// What a trial may have unconfirmed: 500 Mbit/s with a round trip of 200 ms, and some more for what is not told yet.
const MOST_UNCONFIRMED: u64 = 16 << 20;

/// The trials under way at a receiver. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Trials(Arc<Mutex<HashSet<String>>>);

/// A place among the trials, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    trials: Trials,
    sender: String,
}

impl Trials {
    /// A place for a sender, which has one at a time.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn take(&self, sender: &str) -> Result<Seat, String> {
        let seconds = LONGEST.as_secs();
        let mut under_way = self.under_way();
        if under_way.contains(sender) {
            return Err(format!(
                "this sender has a trial under way, which lasts {seconds} s at most; try again after it"
            ));
        }
        if under_way.len() >= MOST {
            return Err(format!(
                "{MOST} trials are under way, as many as there may be; try again in {seconds} s"
            ));
        }
        under_way.insert(sender.to_owned());
        Ok(Seat { trials: self.clone(), sender: sender.to_owned() })
    }

    fn under_way(&self) -> MutexGuard<'_, HashSet<String>> {
        // A set is whole between any two of its statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.trials.under_way().remove(&self.sender);
    }
}

/// Why a trial is ended from this side.
pub(super) type Ended = (CloseCode, String);

/// Serves a trial until its sender ends it, which is no error, or its time is up.
///
/// # Errors
/// [`Ended`].
pub(super) async fn serve(
    link: &mut ReceiverLink,
    trials: &Trials,
    limits: &ReceiveLimits,
) -> Result<(), Ended> {
    let seat = trials.take(&link.peer.sender()).map_err(|why| (CloseCode::Busy, why))?;
    let until = Instant::now() + LONGEST;
    // Frames of one source are taken, that nobody has.
    link.sources.set(1);
    let welcome = Message::Welcome(Welcome {
        durable: false,
        replaces: false,
        max_frame: limits.max_frame.0,
        max_unconfirmed_bytes: limits.max_unconfirmed_bytes.0.min(MOST_UNCONFIRMED),
        max_unconfirmed_frames: limits.max_unconfirmed_frames,
        agent: concat!("framelane/", env!("CARGO_PKG_VERSION")).to_owned(),
        next: Vec::new(),
        capabilities: Capabilities::default(),
        join: None,
        unopened: Vec::new(),
    });
    let _ = link.messages.send(welcome).await;
    let counted = count(link, until).await;
    drop(seat);
    counted
}

async fn count(link: &mut ReceiverLink, until: Instant) -> Result<(), Ended> {
    let mut counted = Counted { frames: 0, bytes: 0 };
    let mut told = counted;
    let mut tick = interval(TELL_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let end = link.end.clone();
    let mut over = std::pin::pin!(end.cause());
    loop {
        tokio::select! {
            arrival = link.arrivals.recv() => {
                heard = Instant::now();
                match arrival {
                // Its memory is free again with this.
                Some(Arrival::Frame(frame)) => {
                    counted.frames += 1;
                    counted.bytes += frame.frame.meta.bytes;
                }
                Some(Arrival::Message(Message::ClockProbe(asked), _)) => {
                    let arrived = UnixNanos::now().0;
                    let replied = UnixNanos::now().0;
                    say(link, Message::ClockReply { asked, arrived, replied });
                }
                Some(Arrival::Message(Message::Skipped { .. }, _) | Arrival::Refused { .. }) => {}
                Some(Arrival::Message(other, _)) => {
                    let why = format!("a {} has no place in a trial", other.name());
                    return Err((CloseCode::Protocol, why));
                }
                None => return Ok(()),
                }
            }
            () = sleep_until(heard + LONGEST_SILENCE) => {
                let why = format!("nothing came for {} s", LONGEST_SILENCE.as_secs());
                return Err((CloseCode::Stalled, why));
            }
            _ = tick.tick() => {
                if counted != told && say(link, Message::Counted(counted)) {
                    told = counted;
                }
            }
            // What still waits here is not worth a place that others wait for.
            _ = &mut over => return Ok(()),
            () = sleep_until(until) => {
                let why = format!("a trial lasts {} s at most", LONGEST.as_secs());
                return Err((CloseCode::Stalled, why));
            }
        }
    }
}

/// Says something where there is room to; a sender that does not listen hears less, and never holds anything up.
fn say(link: &ReceiverLink, message: Message) -> bool {
    link.messages.try_send(message).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_has_one_trial_and_all_have_two() {
        let trials = Trials::default();
        let first = trials.take("a").expect("a place");
        assert!(trials.take("a").is_err_and(|why| why.contains("this sender")));
        let second = trials.take("b").expect("a place");
        assert!(trials.take("c").is_err_and(|why| why.contains("2 trials")));
        drop(first);
        let third = trials.take("c").expect("a place again");
        drop((second, third));
        assert!(trials.take("a").is_ok());
    }
}
