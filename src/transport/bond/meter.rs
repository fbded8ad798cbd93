//! What goes over a link whose data is limited, counted over runs.
//!
//! Before anything goes over such a link, an allowance for it is written down in a file; what is left of it at the end is
//! given back there. So a run that is killed has used more on paper than on the link, never less, and runs that go on at
//! the same time share what there is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use time::OffsetDateTime;

use super::super::PathStats;
use super::wanted::{DataCap, Period};
use crate::frame::EARLIEST_CLOCK;

/// Of a cap this part is kept for what the ends say to each other where frames do not go any more, ...
const KEPT_PART: u64 = 50;
/// ... and no more than this.
const MOST_KEPT: u64 = 4 << 20;

/// An allowance is this part of a cap, within bounds: a killed run loses one.
const ALLOWANCE_PART: u64 = 100;
const LEAST_ALLOWANCE: u64 = 256 << 10;
const MOST_ALLOWANCE: u64 = 8 << 20;

/// Bytes of the headers of a packet: IPv6 and UDP; those of TCP with its options are 12 more than are counted.
const HEADERS: u64 = 48;
/// An acknowledgement of TCP, of which there is one for two segments.
const TCP_ACK: u64 = 72;
/// Beyond its allowance a connection uses so much before that is written down.
const BEYOND: u64 = 64 << 10;
/// What an attempt at a connection in vain takes.
const ATTEMPT: u64 = 4_000;

/// So many days, or months, a clock may be behind the file. What is further ahead was written by a clock that was wrong.
const MOST_DAYS_BEHIND: u64 = 31;
const MOST_MONTHS_BEHIND: u64 = 1;

/// Links that are remembered; a machine has a few.
const MOST_LINKS: usize = 64;
/// The file as a whole.
const MAX_FILE_BYTES: u64 = 16 * 1_024;

/// A link's data in this time and before. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Meter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    link: String,
    cap: DataCap,
    file: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Which day, or month.
    period: u64,
    /// What this run may use, as the file has it, and what it has used.
    allowed: u64,
    used: u64,
    /// Another allowance is being written down.
    asking: bool,
    /// The cap has no room for another one.
    is_empty: bool,
    /// A frame had no room for that.
    is_spent: bool,
    /// It was said that nothing can be written down, and that is so still.
    is_told: bool,
}

impl State {
    fn left(&self) -> u64 {
        self.allowed.saturating_sub(self.used)
    }
}

impl Meter {
    /// The meter of a link, counted in that file.
    ///
    /// # Errors
    /// The file cannot be read or written: nothing would be counted.
    pub(super) fn open(link: &str, cap: DataCap, file: &Path) -> io::Result<Self> {
        let state = State { period: period(cap.per, SystemTime::now()), ..State::default() };
        let (link, file) = (link.to_owned(), file.to_owned());
        let meter = Self(Arc::new(Inner { link, cap, file, state: Mutex::new(state) }));
        meter.allow()?;
        Ok(meter)
    }

    /// What it keeps.
    pub(super) fn cap(&self) -> DataCap {
        self.0.cap
    }

    /// True where a frame of so many bytes may go over the link now, beside what is under way there.
    pub(super) fn takes(&self, bytes: u64, under_way: u64) -> bool {
        self.turn(SystemTime::now());
        // With what is sent again, and headers.
        let needs = (bytes + under_way) / 16 * 17 + HEADERS * 8;
        let state = *self.state();
        if state.left() < needs + self.allowance() / 2 && !state.is_empty {
            self.ask();
        }
        let mut state = self.state();
        let alone = bytes / 16 * 17 + HEADERS * 8;
        state.is_spent |= state.is_empty && alone > state.left();
        !state.is_spent && needs <= state.left()
    }

    /// True where no frame goes over it any more in this time.
    pub(super) fn is_spent(&self) -> bool {
        self.turn(SystemTime::now());
        self.state().is_spent
    }

    /// So much more has gone over the link.
    pub(super) fn add(&self, bytes: u64) {
        let mut state = self.state();
        state.used = state.used.saturating_add(bytes);
        let is_beyond = state.used > state.allowed + BEYOND;
        drop(state);
        if is_beyond {
            self.ask();
        }
    }

    /// An attempt at a connection was in vain.
    pub(super) fn add_attempt(&self) {
        self.add(ATTEMPT);
    }

    /// How long until it is worth looking whether another time has begun.
    pub(super) fn until_next(&self) -> Duration {
        until_midnight(SystemTime::now())
    }

    /// Begins anew where another day or month has begun.
    fn turn(&self, now: SystemTime) {
        let current = period(self.0.cap.per, now);
        let mut state = self.state();
        // A clock that goes back begins nothing anew.
        if current > state.period {
            let State { asking, is_told, .. } = *state;
            *state = State { period: current, asking, is_told, ..State::default() };
            drop(state);
            self.ask();
        }
    }

    fn allowance(&self) -> u64 {
        (self.0.cap.bytes.0 / ALLOWANCE_PART).clamp(LEAST_ALLOWANCE, MOST_ALLOWANCE)
    }

    /// Has another allowance written down, by another thread where there is one.
    fn ask(&self) {
        if std::mem::replace(&mut self.state().asking, true) {
            return;
        }
        let meter = self.clone();
        let work = move || {
            let allowed = meter.allow();
            let mut state = meter.state();
            state.asking = false;
            let was_told = std::mem::replace(&mut state.is_told, allowed.is_err());
            drop(state);
            // It is asked again and again as long as frames wait.
            if let (Err(error), false) = (allowed, was_told) {
                tracing::warn!(
                    "{}: what goes over {} cannot be counted, so that no frame does: {error}",
                    meter.0.file.display(),
                    meter.0.link
                );
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(work)),
            Err(_) => work(),
        }
    }

    /// Writes another allowance down, as far as the cap has room, and what was used beyond the last in any case.
    fn allow(&self) -> io::Result<()> {
        let (cap, link, file) = (self.0.cap, &self.0.link, &self.0.file);
        let state = *self.state();
        let most = cap.bytes.0 - (cap.bytes.0 / KEPT_PART).min(MOST_KEPT);
        let beyond = state.used.saturating_sub(state.allowed);
        let mut more = 0;
        note(file, link, cap.per, state.period, |before, _| {
            let room = most.saturating_sub(before + beyond);
            more = beyond + self.allowance().min(room);
            i128::from(more)
        })?;
        let mut now = self.state();
        if now.period == state.period {
            now.allowed += more;
            now.is_empty = more - beyond < self.allowance();
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counts, whole at every moment.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    /// What is left of the allowance is for the next run.
    fn drop(&mut self) {
        let state = *self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let correction = i128::from(state.used) - i128::from(state.allowed);
        if correction != 0
            && let Err(error) =
                note(&self.file, &self.link, self.cap.per, state.period, |_, period| {
                    if period == state.period { correction } else { 0 }
                })
        {
            tracing::debug!("{}: not given back: {error}", self.file.display());
        }
    }
}

/// What a connection has cost its link so far, both ways, headers included.
pub(super) fn cost(stats: &PathStats) -> u64 {
    let sent = stats.bytes_sent + stats.packets_sent * HEADERS;
    let received = match stats.datagrams_received {
        Some(datagrams) => stats.bytes_received + datagrams * HEADERS,
        None => stats.packets_sent / 2 * TCP_ACK,
    };
    sent + received
}

/// The number of the day or month, counted from 1970.
fn period(per: Period, now: SystemTime) -> u64 {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match per {
        Period::Day => seconds / 86_400,
        Period::Month => {
            let seconds = i64::try_from(seconds).unwrap_or_default();
            let at =
                OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
            let year = u64::try_from(at.year() - 1970).unwrap_or_default();
            year * 12 + u64::from(u8::from(at.month())) - 1
        }
    }
}

/// How long until another day begins, and with it perhaps another month.
fn until_midnight(now: SystemTime) -> Duration {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let into = Duration::new(since.as_secs() % 86_400, since.subsec_nanos());
    Duration::from_secs(86_400) - into
}

/// Changes what the file has of a link in that time by what `change` makes of it, and gives the sum. Whoever else does
/// so waits. Where the file has a later time, that is the one, and `change` is told: a clock that goes back begins nothing anew,
/// and neither does one that was not set yet when the machine started.
///
/// # Errors
/// The system's, and where the file is not one of these.
fn note(
    file: &Path,
    link: &str,
    per: Period,
    period: u64,
    change: impl FnOnce(u64, u64) -> i128,
) -> io::Result<u64> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(format!(".{name}.lock")))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    let mut lines = read(file)?;
    let is_this = |line: &Line| line.link == link && line.per == per;
    let line = lines.iter().find(|line| is_this(line));
    let line = line.filter(|line| line.period == period || is_behind(per, period, line.period));
    let (period, before) = line.map_or((period, 0), |line| (line.period, line.bytes));
    let after = (i128::from(before) + change(before, period)).max(0);
    let after = u64::try_from(after).unwrap_or(u64::MAX);
    if before == after {
        return Ok(after);
    }
    lines.retain(|line| !is_this(line));
    lines.insert(0, Line { link: link.to_owned(), per, period, bytes: after });
    lines.truncate(MOST_LINKS);
    let text: String = lines
        .iter()
        .map(|line| format!("{} {} {} {}\n", line.link, line.per, line.period, line.bytes))
        .collect();
    let staged = folder.join(format!(".{name}.{}", std::process::id()));
    let written = File::create(&staged)
        .and_then(|mut staged| {
            staged.write_all(text.as_bytes())?;
            // A power cut must not give a day's data back.
            staged.sync_data()
        })
        .and_then(|()| fs::rename(&staged, file));
    if written.is_err() {
        let _ = fs::remove_file(&staged);
    }
    written.map(|()| after)
}

/// Whether a clock that says it is the one time is behind, where the file has the other.
fn is_behind(per: Period, now: u64, noted: u64) -> bool {
    let most = match per {
        Period::Day => MOST_DAYS_BEHIND,
        Period::Month => MOST_MONTHS_BEHIND,
    };
    let is_unset = now < period(per, UNIX_EPOCH + Duration::from_nanos(EARLIEST_CLOCK.0));
    noted > now && (is_unset || noted - now <= most)
}

/// What the file has of one link.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    link: String,
    per: Period,
    period: u64,
    bytes: u64,
}

/// Whether a file is one to count in.
pub(super) fn check(file: &Path) -> io::Result<()> {
    read(file).map(drop)
}

fn read(file: &Path) -> io::Result<Vec<Line>> {
    let mut text = String::new();
    match File::open(file) {
        Ok(opened) => {
            opened.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let lines = text.lines().map(parse).collect::<Option<Vec<_>>>();
    let is_short = text.len() as u64 <= MAX_FILE_BYTES;
    lines.filter(|_| is_short).ok_or_else(|| {
        let what =
            "it is no list of data that links have carried; remove it, and counting begins anew";
        io::Error::new(io::ErrorKind::InvalidData, what)
    })
}

/// `LINK day|month NUMBER BYTES`.
fn parse(line: &str) -> Option<Line> {
    let mut words = line.split(' ');
    let link = words.next()?.to_owned();
    let per = match words.next()? {
        "day" => Period::Day,
        "month" => Period::Month,
        _ => return None,
    };
    let (period, bytes) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some(Line { link, per, period, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::ByteSize;

    fn cap(bytes: u64) -> DataCap {
        DataCap { bytes: ByteSize(bytes), per: Period::Day }
    }

    fn day(number: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(number * 86_400 + 7)
    }

    /// Uses the link in steps until nothing more goes.
    fn use_up(meter: &Meter) -> u64 {
        let mut all = 0;
        while meter.takes(10_000, 0) {
            meter.add(10_500);
            all += 10_500;
        }
        all
    }

    #[test]
    fn that_nothing_can_be_counted_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config");
        let meter = Meter::open("wwan0", cap(10_000_000), &config.join("data-used")).unwrap();
        fs::remove_dir_all(&config).unwrap();
        fs::write(&config, "no folder").unwrap();
        let is_told = || {
            meter.ask();
            let State { asking, is_told, .. } = *meter.state();
            (asking, is_told)
        };
        assert_eq!([is_told(), is_told()], [(false, true); 2]);
        fs::remove_file(&config).unwrap();
        assert_eq!(is_told(), (false, false));
    }

    #[test]
    fn runs_of_one_day_share_the_cap_and_the_next_day_has_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config").join("data-used");
        let used = {
            let meter = Meter::open("wwan0", cap(10_000_000), &file).unwrap();
            for _ in 0..100 {
                assert!(meter.takes(19_000, 0));
                meter.add(20_000);
            }
            2_000_000
        };
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.ends_with(" 2000000\n"), "what was not used is given back: {text}");
        let meter = Meter::open("wwan0", cap(10_000_000), &file).unwrap();
        let more = use_up(&meter);
        assert!(meter.is_spent());
        let all = used + more;
        assert!((9_500_000..=10_000_000).contains(&all), "{all}");
        drop(meter);
        let again = Meter::open("wwan0", cap(10_000_000), &file).unwrap();
        assert!(!again.takes(10_000, 0) && again.is_spent());
        drop(again);
        let other = Meter::open("wlan0", cap(10_000_000), &file).unwrap();
        assert!(other.takes(10_000, 0), "another link has its own");
        let again = Meter::open("wwan0", cap(10_000_000), &file).unwrap();
        assert!(!again.takes(10_000, 0) && again.is_spent());
        again.turn(SystemTime::now() + Duration::from_secs(86_400));
        // `takes` would look at the clock, which has not moved on: what it would find is in the state.
        let state = *again.state();
        assert!(!state.is_spent && state.left() >= LEAST_ALLOWANCE, "{state:?}");
    }

    #[test]
    fn a_run_that_is_killed_has_used_more_on_paper_and_never_less() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data-used");
        let today = period(Period::Day, SystemTime::now());
        for kill in 1..=8 {
            let meter = Meter::open("wwan0", cap(20_000_000), &file).unwrap();
            (0..100).for_each(|_| {
                assert!(meter.takes(9_000, 0));
                meter.add(10_000);
            });
            std::mem::forget(meter);
            let noted = note(&file, "wwan0", Period::Day, today, |_, _| 0).unwrap();
            let most = kill * (1_000_000 + 2 * LEAST_ALLOWANCE);
            assert!((kill * 1_000_000..=most).contains(&noted), "{noted} after {kill}");
        }
    }

    #[test]
    fn a_clock_that_is_behind_begins_nothing_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data-used");
        let noted = |day, bytes| note(&file, "wwan0", Period::Day, day, |_, _| bytes).unwrap();
        assert_eq!(noted(20_787, 1_900_000_000), 1_900_000_000);
        // Not set yet, and a day behind.
        assert_eq!(noted(0, 1_000), 1_900_001_000);
        assert_eq!(noted(20_786, 1_000), 1_900_002_000);
        assert_eq!(noted(20_787, 0), 1_900_002_000);
        assert_eq!(noted(20_788, 5), 5, "another day");
        // Nothing of a day that is over is given back to the next one.
        let state = State { period: 20_787, allowed: 10, used: 6, ..State::default() };
        let (link, state) = ("wwan0".to_owned(), Mutex::new(state));
        drop(Inner { link, cap: cap(1_000), file: file.clone(), state });
        assert_eq!(noted(20_788, 0), 5);
        // A clock that was years ahead once.
        assert_eq!(noted(47_000, 9), 9);
        assert_eq!(noted(20_789, 7), 7);
    }

    #[test]
    fn two_runs_at_once_share_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data-used");
        let used: u64 = std::thread::scope(|scope| {
            let run = || {
                let meter = Meter::open("wwan0", cap(10_000_000), &file).unwrap();
                use_up(&meter)
            };
            let all: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            all.into_iter().map(|run| run.join().unwrap()).sum()
        });
        assert!((9_000_000..=10_000_000).contains(&used), "{used}");
    }

    #[test]
    fn days_and_months_begin_at_midnight() {
        assert_eq!(period(Period::Day, day(3)), 3);
        assert_eq!(until_midnight(day(3)), Duration::from_secs(86_393));
        // 1970-01-31 and 1970-02-01, 2026-11-30 and the day after it.
        let months = [30, 31, 20_787, 20_788].map(|number| period(Period::Month, day(number)));
        assert_eq!(months, [0, 1, 56 * 12 + 10, 56 * 12 + 11]);
    }

    #[test]
    fn a_file_of_anything_else_is_told_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data-used");
        for text in
            ["nonsense\n", "wwan0 day 3\n", "wwan0 week 3 4\n", &"wwan0 day 3 4\n".repeat(2_000)]
        {
            fs::write(&file, text).unwrap();
            let error = Meter::open("wwan0", cap(10_000_000), &file).unwrap_err();
            assert!(error.to_string().contains("remove it"), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }
}
