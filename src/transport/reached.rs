//! How receivers were reached last, remembered over runs.
//!
//! It is a hint and nothing else: it decides what is tried first, never whom to trust. A file that cannot be
//! read or written is as good as none.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Transport;
use crate::identity::ReceiverAddress;

/// How long it is remembered over what a receiver was reached. Networks change more often, but then a wrong
/// hint costs nothing: with it QUIC and TCP are tried at once, instead of one after the other.
const EXPIRY: Duration = Duration::from_secs(3_600);

/// A note that says the same is not written again within this time.
const RENEWED_AFTER: Duration = Duration::from_secs(600);

/// Receivers that are remembered, the newest.
const MOST: usize = 256;

/// The file as a whole; [`MOST`] lines of the greatest length are less.
const MAX_FILE_BYTES: u64 = 128 * 1_024;

/// How a receiver was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Over what: QUIC or TCP.
    pub transport: Transport,
    /// At which of its addresses.
    pub address: SocketAddr,
    /// When, in seconds since 1970.
    at: u64,
}

/// What is remembered of one receiver.
#[derive(Debug)]
pub struct Reached {
    receiver: ReceiverAddress,
    file: Option<PathBuf>,
    recalled: Option<Way>,
    /// The receiver has several addresses, so that it is worth knowing which leads to it.
    several: bool,
    noted: Mutex<Option<Way>>,
    /// At which address, in this run or before.
    last: Mutex<Option<SocketAddr>>,
}

impl Reached {
    /// What `file` has of `receiver`, which was noted in the last hour. Without a file nothing is remembered.
    pub fn recall(receiver: ReceiverAddress, file: Option<PathBuf>) -> Self {
        Self::recall_at(receiver, file, seconds(SystemTime::now()))
    }

    fn recall_at(receiver: ReceiverAddress, file: Option<PathBuf>, now: u64) -> Self {
        let lines = file.as_deref().map(read).unwrap_or_default();
        let found = lines.into_iter().find(|(known, _)| *known == receiver).map(|(_, way)| way);
        let is_fresh = |way: &Way| way.at <= now && now - way.at < EXPIRY.as_secs();
        let recalled = found.filter(is_fresh);
        let last = Mutex::new(recalled.map(|way| way.address));
        Self { receiver, file, recalled, several: false, noted: Mutex::new(recalled), last }
    }

    /// The same of a receiver that has so many addresses.
    pub(super) fn among(self, addresses: usize) -> Self {
        Self { several: addresses > 1, ..self }
    }

    /// How the receiver was reached in an earlier run.
    pub fn recalled(&self) -> Option<Way> {
        self.recalled
    }

    /// Where it was reached last, in this run or, as far as it is remembered, before.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        *lock(&self.last)
    }

    /// It was reached so now. Where that is news it is written to the file, by another thread; the first choice
    /// is none.
    pub(super) fn note(&self, transport: Transport, address: SocketAddr) {
        let way = Way { transport, address, at: seconds(SystemTime::now()) };
        *lock(&self.last) = Some(address);
        {
            let mut noted = lock(&self.noted);
            let is_known = noted.is_some_and(|known| {
                (known.transport, known.address) == (transport, address)
                    && way.at.saturating_sub(known.at) < RENEWED_AFTER.as_secs()
            });
            let is_first_choice = transport == Transport::Quic && noted.is_none() && !self.several;
            if is_known || is_first_choice {
                return;
            }
            *noted = Some(way);
        }
        let Some(file) = self.file.clone() else { return };
        let receiver = self.receiver.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = write(&file, receiver, way) {
                tracing::debug!("{}: what is remembered is not written: {error}", file.display());
            }
        });
    }
}

/// What is noted is whole at every moment, so another thread's panic does not spoil it.
fn lock<T>(noted: &Mutex<T>) -> MutexGuard<'_, T> {
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The lines that make sense, the newest first.
fn read(file: &Path) -> Vec<(ReceiverAddress, Way)> {
    let mut text = String::new();
    let opened = std::fs::File::open(file);
    // One that is too long was not written by this.
    let read = opened.and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text));
    if let Err(error) = read {
        tracing::debug!("{}: nothing is remembered: {error}", file.display());
        return Vec::new();
    }
    text.lines().filter_map(parse).take(MOST).collect()
}

/// `HOST:PORT TRANSPORT ADDRESS SECONDS`.
fn parse(line: &str) -> Option<(ReceiverAddress, Way)> {
    let mut words = line.split(' ');
    let (receiver, transport) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (address, at) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let is_one = matches!(transport, Transport::Quic | Transport::Tcp) && words.next().is_none();
    is_one.then_some((receiver, Way { transport, address, at }))
}

/// Puts a line in front, in the place of what is known of the same receiver. Where two do so at once, one of
/// them may be forgotten.
fn write(file: &Path, receiver: ReceiverAddress, way: Way) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut lines = read(file);
    lines.retain(|(known, _)| *known != receiver);
    lines.insert(0, (receiver, way));
    lines.truncate(MOST);
    let line = |(receiver, way): &(ReceiverAddress, Way)| {
        format!("{receiver} {} {} {}\n", way.transport, way.address, way.at)
    };
    let text: String = lines.iter().map(line).collect();
    let staged = folder.join(format!(".reached.{}", std::process::id()));
    let written = std::fs::File::create(&staged)
        .and_then(|mut staged| staged.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&staged, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&staged);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(text: &str) -> ReceiverAddress {
        text.parse().unwrap()
    }

    fn way(transport: Transport, at: u64) -> Way {
        Way { transport, address: "192.0.2.1:4433".parse().unwrap(), at }
    }

    #[test]
    fn a_way_is_remembered_for_an_hour() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("framelane").join("reached");
        let store = || receiver("store:4433");
        let recalled = |now| Reached::recall_at(store(), Some(file.clone()), now).recalled();
        assert_eq!(recalled(1_000), None, "there is no file");
        write(&file, store(), way(Transport::Tcp, 1_000)).unwrap();
        write(&file, receiver("other:4433"), way(Transport::Quic, 2_000)).unwrap();
        assert_eq!(recalled(1_000 + 3_599), Some(way(Transport::Tcp, 1_000)));
        assert_eq!(recalled(1_000 + 3_600), None);
        assert_eq!(recalled(999), None, "a clock that went back");
        write(&file, store(), way(Transport::Quic, 3_000)).unwrap();
        assert_eq!(recalled(3_001), Some(way(Transport::Quic, 3_000)));
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 2);
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_of_anything_is_bounded_and_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("reached");
        let long = format!(
            "x\n\0\u{fffd} a:1 b c\nstore:1 tcp 1.2.3.4:5 9 9\na:1 stop-and-wait 1.2.3.4:5 9\n{}",
            "y".repeat(300_000)
        );
        std::fs::write(&file, long).unwrap();
        assert_eq!(read(&file), []);
        for number in 0..2 * MOST as u64 {
            write(&file, receiver(&format!("store{number}:1")), way(Transport::Tcp, number))
                .unwrap();
        }
        let lines = read(&file);
        assert_eq!((lines.len(), lines[0].1.at), (MOST, 2 * MOST as u64 - 1));
        std::fs::write(&file, b"\xff\xfe").unwrap();
        assert_eq!(read(&file), []);
    }
}
