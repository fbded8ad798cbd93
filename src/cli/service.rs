//! A service manager, systemd's protocol: it is told when this process is ready, what it does, and that it is alive.
//!
//! The protocol is a datagram of lines to the socket that `NOTIFY_SOCKET` names. A process without that variable tells
//! nobody anything.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinHandle;

/// How often the status is told, at most.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// Signs of life for each time that the manager waits for one.
const SIGNS: u32 = 4;

/// The service manager that started this process, if one did.
#[derive(Debug, Default)]
pub(super) struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How long it waits for a sign of life.
    patience: Option<Duration>,
}

impl Manager {
    /// As this process's environment says.
    ///
    /// # Errors
    /// Where `NOTIFY_SOCKET` names no socket that can be written to: whoever set it waits for ever.
    pub(super) fn of_process() -> anyhow::Result<Self> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let socket = reach(&name).with_context(|| {
            format!(
                "cannot reach the service manager at {name:?} (NOTIFY_SOCKET); where there is none, start framelane \
                 without that variable"
            )
        })?;
        let patience = patience(
            std::env::var("WATCHDOG_USEC").ok().as_deref(),
            std::env::var("WATCHDOG_PID").ok().as_deref(),
        );
        Ok(Self { socket: Some(socket), patience })
    }

    /// True where there is one.
    pub(super) fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// This process does what it was started for; also at the end of a reload, whatever came of that: a manager that is
    /// told nothing more waits for it. What came of it is in the status.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// Its configuration is read again. [`Manager::ready`] has to follow.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the configuration again"
        ));
    }

    /// It comes to its end.
    pub(super) fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={}", one_line(status)));
    }

    fn status(&self, status: &str) {
        self.tell(&format!("STATUS={}", one_line(status)));
    }

    fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, text: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
            tracing::debug!(%error, "the service manager was not told {text:?}");
        }
    }
}

/// A socket to tell the manager with, and where it listens: somebody does, and takes datagrams.
fn reach(name: &OsStr) -> anyhow::Result<(UnixDatagram, SocketAddr)> {
    let address = address(name)?;
    // One of its own, which is let go: the manager may be started again, and listen at the same place then.
    UnixDatagram::unbound()?.connect_addr(&address)?;
    let socket = UnixDatagram::unbound()?;
    // A manager that does not listen must not hold this process up.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// A path from the root on, or `@` and an abstract name.
fn address(name: &OsStr) -> anyhow::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => Ok(abstract_address(name)?),
        [b'/', ..] => Ok(SocketAddr::from_pathname(name)?),
        _ => Err(anyhow!("it is neither a path that begins with / nor @ and an abstract name")),
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

/// How long the manager waits for signs of life of this process, where it does.
fn patience(microseconds: Option<&str>, process: Option<&str>) -> Option<Duration> {
    let is_ours = process.is_none_or(|process| process.parse() == Ok(std::process::id()));
    let time = Duration::from_micros(microseconds?.parse().ok()?);
    (is_ours && !time.is_zero()).then_some(time)
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Signs of life for the service manager, and the status. Given only while what keeps this process going does go on:
/// whoever calls [`Heart::beat`] is the loop that matters, threads for files are to be had, and the store is not stuck.
pub(super) struct Heart {
    manager: Arc<Manager>,
    beaten: Instant,
    told: Option<(Instant, String)>,
    probe: Option<JoinHandle<()>>,
    was_stuck: bool,
}

impl Heart {
    pub(super) fn new(manager: Arc<Manager>) -> Self {
        Self { manager, beaten: Instant::now(), told: None, probe: None, was_stuck: false }
    }

    /// To be called several times a second. `storing`: how long the store has been at one thing.
    pub(super) fn beat(&mut self, status: impl FnOnce() -> String, storing: Duration) {
        if !self.manager.is_there() {
            return;
        }
        let now = Instant::now();
        self.tell(status, now);
        let Some(patience) = self.manager.patience else { return };
        if now.saturating_duration_since(self.beaten) < patience / SIGNS || !self.has_threads() {
            return;
        }
        if storing >= patience {
            if !std::mem::replace(&mut self.was_stuck, true) {
                let seconds = storing.as_secs();
                tracing::error!(
                    "the store has been at one thing for {seconds} s; the service manager is told no more that this \
                     process is alive, and may start it again"
                );
            }
            return;
        }
        self.was_stuck = false;
        self.beaten = now;
        self.manager.alive();
    }

    fn tell(&mut self, status: impl FnOnce() -> String, now: Instant) {
        let is_due = match &self.told {
            Some((at, _)) => now.saturating_duration_since(*at) >= STATUS_EVERY,
            None => true,
        };
        if !is_due {
            return;
        }
        let status = status();
        if self.told.as_ref().is_none_or(|(_, told)| *told != status) {
            self.manager.status(&status);
        }
        self.told = Some((now, status));
    }

    /// Whether a thread that may block does what it is given. Asks for the next time.
    fn has_threads(&mut self) -> bool {
        let answered = self.probe.as_ref().is_none_or(JoinHandle::is_finished);
        if answered {
            self.probe = Some(tokio::task::spawn_blocking(|| {}));
        }
        answered
    }
}

/// Beats for as long as it is kept, for a process whose loops are in the library.
pub(super) struct Beating(JoinHandle<()>);

impl Beating {
    /// In a runtime.
    pub(super) fn start(
        manager: &Arc<Manager>,
        status: impl Fn() -> String + Send + Sync + 'static,
    ) -> Option<Self> {
        if !manager.is_there() {
            return None;
        }
        let mut heart = Heart::new(manager.clone());
        Some(Self(tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(200));
            loop {
                tick.tick().await;
                heart.beat(&status, Duration::ZERO);
            }
        })))
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_life_are_for_the_process_that_was_asked_for_them() {
        let own = std::process::id().to_string();
        let second = Some(Duration::from_secs(1));
        assert_eq!(patience(Some("1000000"), None), second);
        assert_eq!(patience(Some("1000000"), Some(&own)), second);
        assert_eq!(patience(Some("1000000"), Some("1")), None);
        assert_eq!(patience(Some("0"), None), None);
        assert_eq!(patience(Some("soon"), None), None);
        assert_eq!(patience(None, None), None);
    }

    #[test]
    fn a_manager_is_reached_only_where_somebody_takes_datagrams() {
        use std::os::unix::net::UnixListener;
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let heard = UnixDatagram::bind(path("heard")).expect("a socket");
        let (socket, address) = reach(path("heard").as_os_str()).expect("somebody listens");
        socket.send_to_addr(b"READY=1", &address).expect("it is taken");
        assert_eq!(heard.recv(&mut [0; 64]).expect("it came"), 7);
        drop(heard);
        let _streams = UnixListener::bind(path("streams")).expect("a socket");
        std::fs::write(path("plain"), "").expect("a file");
        for name in ["heard", "streams", "plain", "none"] {
            assert!(reach(path(name).as_os_str()).is_err(), "{name}");
        }
        for name in ["relative", "vsock:2:1234", "@framelane-test-nobody-is-here", "/a\0b"] {
            assert!(reach(OsStr::new(name)).is_err(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_store_that_is_stuck_gives_no_sign_of_life() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let heard = UnixDatagram::bind(&path).expect("a socket");
        heard.set_nonblocking(true).expect("a socket");
        let patience = Duration::from_millis(40);
        let manager = Manager {
            socket: Some((
                UnixDatagram::unbound().expect("a socket"),
                SocketAddr::from_pathname(&path).expect("a short path"),
            )),
            patience: Some(patience),
        };
        let mut heart = Heart::new(Arc::new(manager));
        let mut signs = async |storing, enough: u32| {
            let mut signs = 0;
            for _ in 0..200 {
                heart.beat(|| "well".to_owned(), storing);
                tokio::time::sleep(Duration::from_millis(5)).await;
                let mut text = [0; 64];
                while let Ok(length) = heard.recv(&mut text) {
                    signs += u32::from(&text[..length] == b"WATCHDOG=1");
                }
                if signs >= enough {
                    break;
                }
            }
            signs
        };
        assert_eq!(signs(Duration::ZERO, 3).await, 3);
        assert_eq!(signs(patience / 2, 1).await, 1, "a disk may be slow");
        assert_eq!(signs(patience, 1).await, 0);
        assert_eq!(signs(Duration::ZERO, 2).await, 2, "and it may come back");
    }
}
