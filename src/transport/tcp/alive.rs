//! Whether a connection still leads anywhere.
//!
//! The kernel gives a connection up when nothing was acknowledged for half a minute, and that is right
//! where the link is away: nothing would be better than to wait. But where the address or the route of
//! this machine has changed, where a translator on the way has forgotten the connection, or where long
//! packets vanish since they are longer than the way takes, a new connection works while the old one never
//! will again. So where acknowledgements stay out, another connection is tried beside it: if that
//! one comes through and the old one still hears nothing, the old one is at its end, and the other is the
//! next session's. Where the other goes by another link of this machine that is known soonest: it may be
//! taken as soon as nothing at all has come for longer than on any path that carries anything.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::{Instant, sleep, timeout};

use super::connect::Connector;
use super::settings::{
    ACK_PATIENCE, DOUBT, HEARD_PAUSE, HOLE_PATIENCE, KNOCK_PAUSE, KNOCK_TIME, LAST_OF_KNOCK,
    LEAST_SWALLOW, LONGEST_KNOCK_PAUSE, LOOK, LOOK_CLOSELY, MOVED_PATIENCE, PROOF_LOOK, PROOF_TIME,
    PROVEN_SEGMENTS, SWALLOW_PATIENCE, SWALLOWED_SEGMENTS,
};
use super::socket::{Stream, secure};
use crate::transport::TransportError;
use crate::transport::kernel::{TcpState, tcp_state};
use crate::transport::route::{News, Standing, standing};

/// A connection as it is watched: a handle of its own, which is to be dropped with the connection.
pub(super) struct Watched {
    connector: Connector,
    /// For the handshake of another one.
    tls: Arc<ClientConfig>,
    socket: OwnedFd,
    local: SocketAddr,
    begun: TcpState,
}

impl Watched {
    /// Begins with `stream`; `None` where the system cannot tell anything of it.
    pub(super) fn new(
        connector: &Connector,
        tls: &Arc<ClientConfig>,
        stream: &Stream,
    ) -> Option<Self> {
        let socket = stream.get_ref().0.get_ref();
        let begun = tcp_state(socket.as_fd())?;
        let local = socket.local_addr().ok()?;
        let socket = socket.as_fd().try_clone_to_owned().ok()?;
        Some(Self { connector: connector.clone(), tls: tls.clone(), socket, local, begun })
    }

    /// Waits until the connection leads nowhere any more, and says why.
    async fn until_dead(self) -> TransportError {
        let news = News::new();
        let mut silence = Silence::new(&self.begun, Instant::now());
        let mut stood = standing(self.local, self.connector.address);
        let (mut knock_at, mut pause) = (Instant::now(), KNOCK_PAUSE);
        let mut look = LOOK;
        loop {
            tokio::select! {
                () = news.changed() => {
                    let stands = standing(self.local, self.connector.address);
                    if stands == Standing::Gone {
                        self.connector.segment.set_small(true);
                        return self.connector.lost(format!("this machine's address {} is gone", self.local.ip()));
                    }
                    if stands != stood {
                        // Also where a route has come back: the kernel may take as long again to try.
                        silence.doubt();
                        (knock_at, pause, stood) = (Instant::now(), KNOCK_PAUSE, stands);
                    }
                }
                () = sleep(look) => {}
            }
            let Some(state) = tcp_state(self.socket.as_fd()) else { continue };
            look = if state.awaits() { LOOK_CLOSELY } else { LOOK };
            let now = Instant::now();
            let is_long = silence.is_too_long(&state, now) || silence.is_suspect(&state, now);
            if !is_long || now < knock_at || stood == Standing::NoRoute {
                continue;
            }
            if let Some(cause) = self.knock(&mut silence).await {
                return cause;
            }
            let now = Instant::now();
            if silence.heard_for(now) < HEARD_PAUSE {
                (knock_at, pause) = (now + HEARD_PAUSE, KNOCK_PAUSE);
                continue;
            }
            knock_at = now + pause;
            pause = (pause * 2).min(LONGEST_KNOCK_PAUSE);
        }
    }

    /// Tries another connection; the cause of this one's end, where that comes through and this one is
    /// still silent.
    async fn knock(&self, silence: &mut Silence) -> Option<TransportError> {
        let state = tcp_state(self.socket.as_fd())?;
        let was_small = self.connector.segment.is_small();
        // What the way by another link or route takes is not known: short segments cost it less than a hundredth.
        let has_moved = silence.doubted;
        let tries_small = has_moved || silence.is_of_long_packets(&state) && !was_small;
        let reached = self.connector.reach_by_any(tries_small);
        let other = timeout(KNOCK_TIME, reached).await.ok()?.ok()?;
        let elsewhere = other.local_addr().is_ok_and(|local| local.ip() != self.local.ip());
        let secured = secure(other, &self.tls, &self.connector.name);
        let mut securing = std::pin::pin!(timeout(KNOCK_TIME, secured));
        let (state, secured) = {
            let mut proven = std::pin::pin!(self.proven_dead(silence, elsewhere));
            tokio::select! {
                state = &mut proven => (state?, None),
                secured = &mut securing => (proven.await?, Some(secured)),
            }
        };
        // By now that may have shown, and the other one would have the same fault.
        let swallowed = silence.is_of_long_packets(&state);
        let smaller = has_moved || swallowed && !was_small;
        self.connector.segment.set_small(smaller);
        if tries_small == smaller {
            let secured = match secured {
                Some(secured) => secured.ok(),
                None => timeout(LAST_OF_KNOCK, securing).await.ok().and_then(Result::ok),
            };
            match secured {
                Some(Ok(other)) => self.connector.keep_for_next(other),
                failed => tracing::debug!(?failed, "the other connection has no handshake yet"),
            }
        }
        let silent = silence.length(Instant::now()).as_secs_f64();
        let mut why = format!(
            "nothing was acknowledged for {silent:.1} s, though another connection comes through"
        );
        if swallowed {
            let packet = state.packet;
            why.push_str(&format!(
                "; packets of {packet} bytes seem to vanish on the way, which then has a smaller MTU and \
                 does not say so"
            ));
        }
        if swallowed && smaller {
            why.push_str(", so shorter ones are tried");
        }
        Some(self.connector.lost(why))
    }
}

impl Watched {
    /// Waits until it is known, where another connection has come through, that this one leads nowhere; `None` where it
    /// is heard. One by `elsewhere` is as good as this one where that is not dead.
    async fn proven_dead(&self, silence: &mut Silence, elsewhere: bool) -> Option<TcpState> {
        let again = tcp_state(self.socket.as_fd())?.segments_again;
        let mut sent_again = None;
        loop {
            let (state, now) = (tcp_state(self.socket.as_fd())?, Instant::now());
            if !silence.is_too_long(&state, now) {
                match (silence.is_suspect(&state, now), silence.is_swallowed(&state, now)) {
                    (false, _) => return None,
                    (true, true) if elsewhere => return Some(state),
                    (true, _) => {}
                }
                sleep(PROOF_LOOK).await;
                continue;
            }
            if state.segments_again != again {
                sent_again.get_or_insert(now);
            }
            let proof = PROOF_TIME + 2 * state.usual;
            let unanswered = sent_again.is_some_and(|sent| now - sent >= proof);
            let is_known = elsewhere || silence.doubted || silence.is_answered(&state);
            if is_known || unanswered || silence.length(now) >= ACK_PATIENCE {
                return Some(state);
            }
            sleep(PROOF_LOOK).await;
        }
    }
}

/// Waits until a connection leads nowhere any more, and says why; for ever, where it is not watched.
pub(super) async fn until_dead(watched: Option<Watched>) -> TransportError {
    match watched {
        Some(watched) => watched.until_dead().await,
        None => std::future::pending().await,
    }
}

/// How long what was sent has not been acknowledged.
#[derive(Debug)]
struct Silence {
    /// Acknowledged when the connection began to be watched.
    begun: u64,
    acknowledged: u64,
    /// Segments that had come when the silence began.
    heard: u32,
    since: Instant,
    /// Segments that had come when the last did, and when that was.
    last: (u32, Instant),
    /// The most segments that were on their way since.
    flown: u32,
    /// Something has changed that may be the connection's end.
    doubted: bool,
}

impl Silence {
    fn new(state: &TcpState, now: Instant) -> Self {
        let TcpState { acknowledged, segments_received: heard, .. } = *state;
        let last = (heard, now);
        let (flown, doubted) = (state.flying, false);
        Self { begun: acknowledged, acknowledged, heard, since: now, last, flown, doubted }
    }

    /// From now on less is waited for an acknowledgement, until there is one.
    fn doubt(&mut self) {
        self.doubted = true;
    }

    /// Takes in the state at `now`; true where an acknowledgement stays out for longer than any does.
    fn is_too_long(&mut self, state: &TcpState, now: Instant) -> bool {
        if state.segments_received != self.last.0 || !state.awaits() {
            self.last = (state.segments_received, now);
            self.flown = 0;
        }
        self.flown = self.flown.max(state.flying);
        if state.acknowledged != self.acknowledged || !state.awaits() {
            self.doubted &= state.acknowledged == self.acknowledged;
            self.acknowledged = state.acknowledged;
            self.heard = state.segments_received;
            self.since = now;
            return false;
        }
        let patience = match (self.doubted, self.is_hole(state)) {
            (true, _) => MOVED_PATIENCE.max(2 * state.usual),
            (false, true) => HOLE_PATIENCE.max(2 * state.usual),
            (false, false) => DOUBT.max(4 * state.usual),
        };
        self.length(now) >= patience
    }

    /// True where something has come since, and of what was on its way hardly anything did.
    fn is_hole(&self, state: &TcpState) -> bool {
        let is_much = state.unacknowledged >= SWALLOWED_SEGMENTS;
        is_much && state.sacked <= state.unacknowledged / 4 && self.is_answered(state)
    }

    fn length(&self, now: Instant) -> Duration {
        now.duration_since(self.since)
    }

    /// How long nothing at all has come, were it a sign that something is missing, though something is due.
    fn heard_for(&self, now: Instant) -> Duration {
        now.duration_since(self.last.1)
    }

    /// True where that is longer than on a path that carries anything.
    fn is_swallowed(&self, state: &TcpState, now: Instant) -> bool {
        let is_long = self.heard_for(now) >= Self::swallow_patience(state);
        is_long && self.flown >= SWALLOWED_SEGMENTS
    }

    /// The same for half of that time.
    fn is_suspect(&self, state: &TcpState, now: Instant) -> bool {
        let is_long = self.heard_for(now) >= Self::swallow_patience(state) / 2;
        is_long && self.flown >= SWALLOWED_SEGMENTS
    }

    fn swallow_patience(state: &TcpState) -> Duration {
        (state.rtt * 3 + SWALLOW_PATIENCE).max(2 * state.usual).max(LEAST_SWALLOW)
    }

    /// True where only long packets seem to be lost: hardly any was ever acknowledged, or the peer
    /// answers what is short.
    fn is_of_long_packets(&self, state: &TcpState) -> bool {
        let proven = u64::from(state.segment) * PROVEN_SEGMENTS;
        self.is_answered(state) || state.acknowledged - self.begun < proven
    }

    /// True where the peer answers something since the silence began.
    fn is_answered(&self, state: &TcpState) -> bool {
        state.segments_received.wrapping_sub(self.heard) >= 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: TcpState = TcpState {
        segment: 1_448,
        packet: 1_500,
        unacknowledged: 10,
        flying: 10,
        sacked: 0,
        unsent: 0,
        window: 65_536,
        rtt: Duration::from_millis(30),
        usual: Duration::from_millis(50),
        acknowledged: 2_000,
        segments_received: 10,
        segments_sent: 10,
        segments_again: 0,
        bytes_again: 0,
        least_rtt: Duration::from_millis(30),
        rate: 0,
        is_busy: false,
    };

    #[test]
    fn silence_is_too_long_where_what_was_sent_is_not_acknowledged() {
        let start = Instant::now();
        let mut silence = Silence::new(&STATE, start);
        assert!(!silence.is_too_long(&STATE, start + DOUBT / 2));
        assert!(silence.is_too_long(&STATE, start + DOUBT));
        let more = TcpState { acknowledged: 2_001, ..STATE };
        assert!(!silence.is_too_long(&more, start + DOUBT));
        assert!(!silence.is_too_long(&more, start + DOUBT * 3 / 2));
        let idle = TcpState { unacknowledged: 0, ..more };
        assert!(!silence.is_too_long(&idle, start + 9 * DOUBT), "nothing is awaited");
        let full = TcpState { unsent: 9_000, window: 0, ..idle };
        assert!(!silence.is_too_long(&full, start + 9 * DOUBT), "the peer takes nothing");
        assert!(TcpState { window: 9_000, ..full }.awaits(), "this machine's link drops it");
        assert!(!silence.is_too_long(&more, start + 9 * DOUBT + LOOK), "it was just sent");
        let far = TcpState { usual: DOUBT, ..STATE };
        assert!(!Silence::new(&far, start).is_too_long(&far, start + 3 * DOUBT));
    }

    #[test]
    fn where_nothing_comes_at_all_another_link_is_tried_sooner() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut silence = Silence::new(&STATE, start);
        assert!(!silence.is_too_long(&STATE, at(124)) && !silence.is_suspect(&STATE, at(124)));
        assert!(silence.is_suspect(&STATE, at(125)) && !silence.is_swallowed(&STATE, at(249)));
        assert!(silence.is_swallowed(&STATE, at(250)) && !silence.is_too_long(&STATE, at(250)));
        // What is behind a hole is acknowledged, though nothing more is in order.
        let selective = TcpState { segments_received: 11, ..STATE };
        assert!(
            !silence.is_too_long(&selective, at(260)) && !silence.is_suspect(&selective, at(300))
        );
        let few = TcpState { segments_received: 12, flying: 4, sacked: 6, ..STATE };
        assert!(!silence.is_too_long(&few, at(301)) && !silence.is_suspect(&few, at(700)));
        let idle = TcpState { unacknowledged: 0, flying: 0, ..selective };
        silence.is_too_long(&idle, at(900));
        assert!(!silence.is_suspect(&idle, at(901)), "nothing is due");
        let far = TcpState { rtt: Duration::from_millis(200), ..STATE };
        let mut silence = Silence::new(&far, start);
        silence.is_too_long(&far, at(699));
        assert!(!silence.is_swallowed(&far, at(699)) && silence.is_swallowed(&far, at(700)));
    }

    #[test]
    fn where_only_short_packets_come_through_less_is_waited_for() {
        let start = Instant::now();
        let mut silence = Silence::new(&STATE, start);
        let answered = TcpState { segments_received: 12, unacknowledged: 40, ..STATE };
        // By chance most come through.
        let by_chance = TcpState { sacked: 38, ..answered };
        assert!(!silence.is_too_long(&by_chance, start + HOLE_PATIENCE));
        let hole = TcpState { sacked: 4, ..answered };
        assert!(!silence.is_too_long(&hole, start + HOLE_PATIENCE / 2));
        assert!(silence.is_too_long(&hole, start + HOLE_PATIENCE));
        let far = TcpState { usual: HOLE_PATIENCE, ..hole };
        assert!(!silence.is_too_long(&far, start + HOLE_PATIENCE));
    }

    #[test]
    fn in_doubt_less_is_waited_for_until_something_is_acknowledged() {
        let start = Instant::now();
        let mut silence = Silence::new(&STATE, start);
        silence.doubt();
        assert!(silence.is_too_long(&STATE, start + MOVED_PATIENCE));
        let more = TcpState { acknowledged: 9_000, ..STATE };
        assert!(!silence.is_too_long(&more, start + MOVED_PATIENCE));
        assert!(!silence.is_too_long(&more, start + 3 * MOVED_PATIENCE));
    }

    #[test]
    fn long_packets_vanish_where_few_were_acknowledged_or_short_ones_are_answered() {
        let silence = Silence::new(&STATE, Instant::now());
        let after = |acknowledged, segments_received| {
            let state = TcpState { acknowledged, segments_received, ..STATE };
            silence.is_of_long_packets(&state)
        };
        assert!(after(2_000, 10));
        assert!(!after(2_000 + 1_448 * PROVEN_SEGMENTS, 10));
        assert!(after(2_000 + 1_448 * PROVEN_SEGMENTS, 12));
    }
}
