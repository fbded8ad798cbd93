//! TLS sessions that can be resumed, and for how long: each resumption asks again who may.
//!
//! A resumed handshake shows no certificate, so whatever was checked of it must still hold: a session is
//! resumed for a day after the certificate was shown last, not beyond the certificate's own end where its
//! dates count, and by a receiver only for a sender that its policy still lets in. After that a whole
//! handshake is made, in which everything is checked anew.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::StoresServerSessions;
use rustls::time_provider::TimeProvider;

use super::permit::SharedPolicy;
use super::pin::Pin;
use super::validity;

/// The longest time between a certificate that was shown and the last session resumed on its strength.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// What was checked in the last whole handshake, and how long it holds.
#[derive(Debug, Clone, Copy)]
struct Checked {
    pin: Pin,
    /// The last moment by the system's clock.
    until: UnixTime,
    /// The last moment by a clock that nobody sets.
    deadline: Instant,
}

impl Checked {
    fn holds(&self, time: &dyn TimeProvider) -> bool {
        let now = time.current_time();
        now.is_some_and(|now| now <= self.until) && Instant::now() <= self.deadline
    }
}

/// Where a verifier notes whom it has let in, for the tickets that follow.
#[derive(Debug, Clone, Default)]
pub(super) struct LetIn(Arc<Mutex<Option<Checked>>>);

impl LetIn {
    /// Notes a peer that was let in at `now`. `dated` are the certificates whose ends count.
    pub(super) fn note(&self, pin: Pin, now: UnixTime, dated: &[&CertificateDer<'_>]) {
        let ends = dated.iter().filter_map(|certificate| validity::end(certificate).ok());
        let day =
            UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()).saturating_add(LIFETIME));
        let until = ends.fold(day, |first, end| first.min(end));
        self.set(Some(Checked { pin, until, deadline: Instant::now() + LIFETIME }));
    }

    fn get(&self) -> Option<Checked> {
        *lock(&self.0)
    }

    fn set(&self, checked: Option<Checked>) {
        *lock(&self.0) = checked;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept is whole at every moment, so another thread's panic does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A receiver's sessions, of all its senders: the last `most` of them.
pub(super) struct SenderSessions {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    sessions: HashMap<Vec<u8>, (Vec<u8>, Checked)>,
    /// Their keys, the oldest first.
    order: VecDeque<Vec<u8>>,
}

impl SenderSessions {
    pub(super) fn new(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    fn put(&self, key: Vec<u8>, session: Vec<u8>, checked: Checked) {
        let mut kept = lock(&self.kept);
        kept.order.push_back(key.clone());
        kept.sessions.insert(key, (session, checked));
        while kept.order.len() > self.most {
            if let Some(oldest) = kept.order.pop_front() {
                kept.sessions.remove(&oldest);
            }
        }
    }

    fn take(&self, key: &[u8]) -> Option<(Vec<u8>, Checked)> {
        let mut kept = lock(&self.kept);
        kept.order.retain(|other| other != key);
        kept.sessions.remove(key)
    }
}

impl fmt::Debug for SenderSessions {
    /// Leaves the secrets out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SenderSessions").field("most", &self.most).finish_non_exhaustive()
    }
}

/// The same, as one connection at a receiver sees them.
#[derive(Debug)]
pub(super) struct ConnectionSessions {
    pub(super) all: Arc<SenderSessions>,
    pub(super) policy: SharedPolicy,
    /// The sender of this connection.
    pub(super) let_in: LetIn,
    pub(super) time: Arc<dyn TimeProvider>,
}

impl StoresServerSessions for ConnectionSessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let checked = self.let_in.get();
        if let Some(checked) = checked {
            self.all.put(key, value, checked);
        }
        checked.is_some()
    }

    /// TLS 1.3 takes, and nothing else is spoken.
    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let (session, checked) = self.all.take(key)?;
        if !checked.holds(self.time.as_ref()) || !self.policy.allows(checked.pin) {
            return None;
        }
        // The tickets that follow rest on the same check, and end with it.
        self.let_in.set(Some(checked));
        Some(session)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// A sender's sessions with its one receiver.
#[derive(Debug)]
pub(super) struct ReceiverSessions {
    cache: ClientSessionMemoryCache,
    let_in: LetIn,
    time: Arc<dyn TimeProvider>,
}

impl ReceiverSessions {
    pub(super) fn new(most: usize, let_in: LetIn, time: Arc<dyn TimeProvider>) -> Self {
        Self { cache: ClientSessionMemoryCache::new(most), let_in, time }
    }
}

impl ClientSessionStore for ReceiverSessions {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.cache.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.cache.kx_hint(server)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, server: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.cache.insert_tls13_ticket(server, ticket);
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        if self.let_in.get().is_some_and(|checked| checked.holds(self.time.as_ref())) {
            return self.cache.take_tls13_ticket(server);
        }
        // The next whole handshake speaks for its own tickets, not for these.
        while self.cache.take_tls13_ticket(server).is_some() {}
        None
    }
}
