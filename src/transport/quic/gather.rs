//! Fewer wake-ups and acknowledgements, without a word about it on the wire.
//!
//! At 50 Mbit/s a packet comes every fifth of a millisecond, and to take each by itself costs a receiver more than
//! what is in it. So what comes in within a small part of the round trip is taken together.
//!
//! quinn acknowledges every second packet, but whatever it is given at once with a single one. Where the way back
//! to a sender is thin, acknowledgements fill its queue, and the sender takes the time that they wait there for
//! that of its own packets: over 20 Mbit/s out and 0.2 back it got 9 of them. Then what comes in is gathered here
//! for a few milliseconds, and so acknowledged together.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Connection, UdpPoller};
use tokio::sync::oneshot;

use super::socket::Socket;
use crate::alarm::Alarm;

/// How often a connection's way back is looked at.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// What the last second was like, in looks.
const LOOKS: usize = 10;
/// Fewer packets sent between two looks fill no queue that matters.
const FEW_PACKETS: u64 = 10;
/// A round trip longer than the least by a fifth and this much has met a queue, on the way out or back.
const QUEUED: Duration = Duration::from_millis(5);
/// A sender of bulk keeps the queue so short that nothing is seen of it. Gathering is tried for one as well, where so many
/// packets come in between two looks: nobody waits for any frame of it, ...
const MANY_PACKETS: u64 = 20;
/// ... so few are sent, which is what a thin way back carries at most: over a wide one, bulk would lose up to a tenth for as
/// long as it is tried, ...
const FEW_SENT: u64 = 60;
/// ... and acknowledgements that come so much later than a round trip takes are no matter to it.
const BULK_PART: u32 = 4;
/// When so many of the last looks have seen one, gathering is tried, ...
const SURE_LOOKS: usize = 8;
/// ... for so many looks: a sender takes a second or two to find out that it may send more.
const TRIAL_LOOKS: u32 = 40;
/// It goes on where this much more comes in by then. Where the queue is on the way out, nothing does.
const GAIN: f64 = 1.15;
/// Looks between two trials; twice as many after each that has shown nothing.
const PAUSE_LOOKS: u32 = 300;
const MOST_PAUSE_LOOKS: u32 = 36_000;
/// On any path packets are gathered for this part of the least round trip, ...
const LIGHT_PART: u32 = 80;
/// ... and no longer than that: from 0.9 ms on, in runs of ten lost packets, frames of some senders came after 300 ms
/// now and then, ...
const MOST_LIGHT: Duration = Duration::from_micros(600);
/// ... nor at all where it would be less: it saves nothing then.
const LEAST_LIGHT: Duration = Duration::from_micros(250);
/// The first step, and the last one; each is twice the one before.
const FIRST_GATHERING: Duration = Duration::from_millis(4);
const LONGEST_GATHERING: Duration = Duration::from_millis(16);

/// How long what comes in over one connection should be gathered, by looks at it.
///
/// Whether a queue is on the way out or back cannot be seen from one end, but it can be tried: only where
/// acknowledgements fill the way back does more come in when there are fewer of them.
#[derive(Debug, Clone)]
pub struct Gauge {
    least: Duration,
    gathering: Duration,
    /// Packets that came in, and whether there may have been a queue on the way back, in the last second.
    looks: VecDeque<(u64, bool)>,
    trial: Option<Trial>,
    pause: u32,
    next_pause: u32,
}

#[derive(Debug, Clone)]
struct Trial {
    left: u32,
    before: u64,
    gathering_before: Duration,
}

impl Default for Gauge {
    fn default() -> Self {
        Self {
            least: Duration::MAX,
            gathering: Duration::ZERO,
            looks: VecDeque::with_capacity(LOOKS + 1),
            trial: None,
            pause: 0,
            next_pause: PAUSE_LOOKS,
        }
    }
}

impl Gauge {
    /// A look, one every [`LOOK_INTERVAL`]: the round trip as this end knows it, how many packets it has sent
    /// and received since the last look, and whether they were of frames that are all due together. Returns for how
    /// long to gather.
    pub fn look(&mut self, rtt: Duration, sent: u64, received: u64, bulk: bool) -> Duration {
        self.least = self.least.min(rtt);
        let queued = rtt > self.least + self.least / 5 + QUEUED;
        let next = (self.gathering * 2).max(FIRST_GATHERING);
        let slow = (MANY_PACKETS..).contains(&received) && sent <= FEW_SENT;
        let busy = bulk && slow && next <= self.least / BULK_PART;
        // What was measured before a pause says nothing of now.
        self.looks.push_back((received, busy || queued && sent >= FEW_PACKETS));
        if self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
        self.pause = self.pause.saturating_sub(1);
        match &mut self.trial {
            Some(trial) if trial.left > 0 => trial.left -= 1,
            Some(_) => self.end_trial(),
            None => self.maybe_try(),
        }
        self.gathering
    }

    /// For how long to gather on any path, which saves work and costs next to no time.
    pub fn light(&self) -> Duration {
        let part = (self.least / LIGHT_PART).min(MOST_LIGHT);
        if self.looks.is_empty() || part < LEAST_LIGHT { Duration::ZERO } else { part }
    }

    fn maybe_try(&mut self) {
        let queued = self.looks.iter().filter(|(_, queued)| *queued).count();
        // Less than a second is nothing to hold the last one of a trial against.
        let is_whole = self.looks.len() == LOOKS;
        let is_due = is_whole && queued >= SURE_LOOKS && self.pause == 0;
        if !is_due || self.gathering >= LONGEST_GATHERING {
            return;
        }
        let (before, gathering_before) = (self.received(), self.gathering);
        self.trial = Some(Trial { left: TRIAL_LOOKS, before, gathering_before });
        self.gathering = (self.gathering * 2).clamp(FIRST_GATHERING, LONGEST_GATHERING);
    }

    fn end_trial(&mut self) {
        let Some(trial) = self.trial.take() else { return };
        if self.received() as f64 >= GAIN * trial.before as f64 {
            self.next_pause = PAUSE_LOOKS;
            return;
        }
        self.gathering = trial.gathering_before;
        self.pause = self.next_pause;
        self.next_pause = (self.next_pause * 2).min(MOST_PAUSE_LOOKS);
    }

    fn received(&self) -> u64 {
        self.looks.iter().map(|(received, _)| received).sum()
    }
}

/// For how long a socket gathers: as long as one of its connections needs whose way back is thin, and otherwise
/// as long as suits all of them.
#[derive(Debug, Default)]
pub(super) struct Pace {
    wishes: Mutex<HashMap<usize, Wish>>,
    micros: AtomicU64,
}

/// What a connection wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Wish {
    /// Because its way back is thin.
    thin: Duration,
    /// What costs it no time that matters.
    light: Duration,
}

impl Pace {
    fn get(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    /// Takes what a connection wants; nothing, once it has gone.
    fn wish(&self, connection: usize, wish: Option<Wish>) {
        let mut wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        match wish {
            Some(wish) => wishes.insert(connection, wish),
            None => wishes.remove(&connection),
        };
        let thin = wishes.values().map(|wish| wish.thin).max();
        let light = wishes.values().map(|wish| wish.light).min();
        let pace = thin.max(light).unwrap_or_default();
        self.micros.store(u64::try_from(pace.as_micros()).unwrap_or(0), Ordering::Relaxed);
    }
}

/// Looks at the way back of a connection until it has ended.
pub(super) async fn watch(connection: Connection, pace: Arc<Pace>, bulk: Arc<AtomicBool>) {
    let id = connection.stable_id();
    // A sender of which nothing is known yet keeps the others' packets from waiting.
    pace.wish(id, Some(Wish::default()));
    let looking = async {
        let mut gauge = Gauge::default();
        let mut before = connection.stats();
        let mut wished = Wish::default();
        let mut tick = tokio::time::interval(LOOK_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let stats = connection.stats();
            let sent = stats.udp_tx.datagrams.saturating_sub(before.udp_tx.datagrams);
            let received = stats.udp_rx.datagrams.saturating_sub(before.udp_rx.datagrams);
            let bulk = bulk.load(Ordering::Relaxed);
            let thin = gauge.look(stats.path.rtt, sent, received, bulk);
            before = stats;
            let wish = Wish { thin, light: gauge.light() };
            if wish.thin != wished.thin {
                let address = connection.remote_address();
                tracing::debug!(%address, gathering = ?thin, "acknowledgements: the way back is thin");
            }
            if wish != wished {
                wished = wish;
                pace.wish(id, Some(wish));
            }
        }
    };
    tokio::select! {
        () = looking => {}
        _ = connection.closed() => {}
    }
    pace.wish(id, None);
}

/// A socket that gives what comes in together, at the pace that its connections want.
#[derive(Debug)]
pub(super) struct GatheringSocket {
    inner: Arc<Socket>,
    pace: Arc<Pace>,
    gate: Mutex<Gate>,
    /// Dropped with the socket, and after it: tells that its port is free.
    _going: oneshot::Sender<()>,
}

/// Whether what has come is given now.
#[derive(Debug, Default)]
struct Gate {
    /// When it opens, while it is closed.
    opens: Option<Instant>,
    alarm: Option<Alarm>,
    /// Whether anything was given since it opened, and more may have been there.
    given: bool,
}

impl Gate {
    /// True until the time has come, by which it wakes the caller. One alarm does for all times: another would
    /// cost five calls to the kernel.
    fn is_closed_until(&mut self, opens: Instant, cx: &mut Context) -> bool {
        let alarm = self.alarm.get_or_insert_with(|| Alarm::new(opens));
        alarm.reset(opens);
        Pin::new(alarm).poll(cx).is_pending()
    }
}

impl GatheringSocket {
    pub(super) fn new(inner: Arc<Socket>, pace: Arc<Pace>, going: oneshot::Sender<()>) -> Self {
        Self { inner, pace, gate: Mutex::default(), _going: going }
    }
}

impl AsyncUdpSocket for GatheringSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let pace = self.pace.get();
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opens) = gate.opens {
            if !pace.is_zero() && gate.is_closed_until(opens, cx) {
                return Poll::Pending;
            }
            gate.opens = None;
        }
        let taken = self.inner.take(cx, bufs, meta);
        if let Poll::Ready(Ok(taken)) = &taken {
            gate.given = !taken.all;
            if taken.all && !pace.is_zero() {
                // All that had come is given; what comes next waits, and wakes nobody until then.
                gate.opens = Some(Instant::now() + pace);
                self.inner.hush();
            }
        } else if std::mem::take(&mut gate.given) && !pace.is_zero() {
            gate.opens = Some(Instant::now() + pace);
        }
        taken.map_ok(|taken| taken.count)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_millis(70);

    /// Looks at a path on which `received(gathering)` packets come in between two.
    fn looks(
        gauge: &mut Gauge,
        number: u32,
        rtt: Duration,
        received: impl Fn(Duration) -> u64,
    ) -> Duration {
        let mut gathering = gauge.gathering;
        for _ in 0..number {
            let received = received(gathering);
            gathering = gauge.look(rtt, received / 2, received, false);
        }
        gathering
    }

    #[test]
    fn gathering_goes_on_where_more_comes_in_by_it() {
        let ms = Duration::from_millis;
        let thin = |gathering: Duration| if gathering < ms(8) { 80 } else { 160 };
        let thinner = |gathering: Duration| 80 + 20 * gathering.as_millis() as u64;
        let mut gauge = Gauge::default();
        assert_eq!(looks(&mut gauge, 100, SHORT, thinner), ms(0));
        assert_eq!(looks(&mut gauge, 20, LONG, thinner), ms(4), "it is tried");
        assert_eq!(looks(&mut gauge, 200, LONG, thinner), ms(16), "and more of it");
        assert_eq!(looks(&mut gauge, 2_000, SHORT, thinner), ms(16));
        let mut gauge = Gauge::default();
        looks(&mut gauge, 100, SHORT, thin);
        assert_eq!(
            looks(&mut gauge, 100, LONG, thin),
            ms(0),
            "4 ms are not enough to see anything"
        );
    }

    #[test]
    fn a_queue_on_the_way_out_is_tried_ever_more_seldom() {
        let mut gauge = Gauge::default();
        gauge.look(SHORT, 80, 160, false);
        let mut tried_at = |rtt, bulk| u32::from(!gauge.look(rtt, 80, 160, bulk).is_zero());
        let tried: u32 = (0..10_000).map(|_| tried_at(LONG, false)).sum();
        assert!((1..=6 * (TRIAL_LOOKS + 2)).contains(&tried), "{tried} of 10,000");
        let mut quiet = Gauge::default();
        quiet.look(SHORT, 80, 160, false);
        let is_zero = |_| quiet.look(LONG, 4, 160, false).is_zero();
        assert!((0..1_000).all(is_zero), "too few to fill a queue");
    }

    #[test]
    fn bulk_is_tried_without_a_queue_where_the_round_trip_bears_it() {
        let looks = |rtt: Duration, received: u64, bulk: bool| {
            let mut gauge = Gauge::default();
            let gathered = (0..10_000).map(|_| gauge.look(rtt, received / 4, received, bulk));
            gathered.filter(|gathering| !gathering.is_zero()).count()
        };
        let tried = looks(SHORT, 160, true);
        assert!((1..=6 * (TRIAL_LOOKS as usize + 2)).contains(&tried), "{tried} of 10,000");
        assert_eq!(looks(SHORT, 160, false), 0, "live frames wait for nothing");
        assert_eq!(looks(SHORT, 15, true), 0, "there are few");
        assert_eq!(looks(SHORT, 400, true), 0, "as many answers show a wide way back");
        assert_eq!(looks(Duration::from_millis(10), 160, true), 0, "it is near");
        let mut gauge = Gauge::default();
        let gains = |gathering: Duration| 80 + 20 * gathering.as_millis() as u64;
        let mut gathering = Duration::ZERO;
        for _ in 0..200 {
            gathering = gauge.look(SHORT, 40, gains(gathering), true);
        }
        assert_eq!(gathering, Duration::from_millis(8), "16 would be too much of the round trip");
    }

    #[test]
    fn what_all_can_bear_is_gathered_and_what_one_needs() {
        let pace = Pace::default();
        let us = Duration::from_micros;
        let wish = |thin, light| Some(Wish { thin: us(thin), light: us(light) });
        pace.wish(1, wish(0, 1_250));
        assert_eq!(pace.get(), us(1_250));
        pace.wish(2, wish(0, 0));
        assert_eq!(pace.get(), us(0), "another is near, and would notice");
        pace.wish(3, wish(16_000, 800));
        pace.wish(4, wish(4_000, 800));
        assert_eq!(pace.get(), us(16_000));
        pace.wish(3, None);
        assert_eq!(pace.get(), us(4_000));
        pace.wish(4, None);
        pace.wish(2, None);
        assert_eq!(pace.get(), us(1_250));
        pace.wish(1, None);
        assert_eq!(pace.get(), us(0));
    }

    #[test]
    fn far_senders_packets_are_taken_together_and_near_ones_at_once() {
        let light = |rtt| {
            let mut gauge = Gauge::default();
            assert_eq!(gauge.light(), Duration::ZERO, "nothing is known yet");
            gauge.look(rtt, 10, 20, false);
            gauge.look(rtt * 3, 10, 20, false);
            gauge.light()
        };
        let ms = Duration::from_millis;
        assert_eq!(light(Duration::from_micros(400)), Duration::ZERO);
        assert_eq!(light(ms(10)), Duration::ZERO);
        assert_eq!(light(ms(40)), Duration::from_micros(500), "by the least round trip");
        assert_eq!(light(ms(600)), MOST_LIGHT);
    }
}
