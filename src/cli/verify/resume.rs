//! Verifications that take long: how far they are, how they are interrupted, and how they go on.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::super::{Failure, INTERRUPTED, Talk, output};
use crate::frame::UnixNanos;
use crate::manifest::Day;
use crate::verify::{Past, Progress};

/// Where there is no bar, a line comes as often as this.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// How far a verification is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Far {
    frames: u64,
    of_frames: u64,
    read_before: u64,
}

impl Far {
    pub(super) fn of(progress: &Progress<'_>) -> Self {
        let Progress { all_frames, of_all_frames, read_before, .. } = *progress;
        Self { frames: all_frames, of_frames: of_all_frames, read_before }
    }
}

/// What was read of this store, and where it is remembered; `None` where it cannot be, which is said.
pub(super) fn open(
    store: &Path,
    checkpoint: Option<&Path>,
    resume: bool,
) -> Result<Option<Past>, Failure> {
    let Some(path) = checkpoint.map(Path::to_owned).or_else(|| default_path(store)) else {
        if resume {
            return Err(Failure::usage(anyhow!(
                "there is no home folder in which it could be remembered what was read; name a file with --checkpoint"
            )));
        }
        return Ok(None);
    };
    if !resume && Past::is_there(&path, store) {
        output::note(
            "a verification of this store was interrupted; this one begins anew, and --resume would have gone on",
        );
    }
    let past = Past::open(&path, store, resume)
        .with_context(|| format!("cannot use {} to remember what was read", path.display()))?;
    match past.earlier() {
        Some(began) => output::note(&format!(
            "going on with the verification that was begun {}: what that has read is read again only where it has \
             changed since",
            utc(began)
        )),
        None if resume => output::note(
            "no verification of this store was interrupted: it is read from the beginning",
        ),
        None => {}
    }
    Ok(Some(past))
}

/// Turns true when the run is to end; a second signal ends it at once.
pub(super) fn stop() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let status = i32::from(INTERRUPTED);
        signal_hook::flag::register_conditional_shutdown(signal, status, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

/// Says how far an interrupted run has come, and how to go on.
pub(super) fn say_interrupted(
    store: &Path,
    checkpoint: Option<&Path>,
    past: Option<&Past>,
    far: Option<Far>,
) {
    let far = far.map_or_else(
        || "before any file was read".to_owned(),
        |Far { frames, of_frames, .. }| format!("at {frames} of {}", output::frames(of_frames)),
    );
    let how = match past.map(Past::keep) {
        Some(Ok(())) => {
            let checkpoint = checkpoint
                .map_or_else(String::new, |path| format!(" --checkpoint {}", path.display()));
            format!(
                "`framelane verify {} --resume{checkpoint}` goes on there, and reads again what was changed less than a \
                 minute before it was read",
                store.display()
            )
        }
        Some(Err(error)) => format!("what was read cannot be remembered: {error}"),
        None => "what was read cannot be remembered: there is no home folder; name a file with --checkpoint".to_owned(),
    };
    output::note(&format!("framelane: interrupted {far}; {how}"));
}

/// Lines for whoever has no bar.
pub(super) struct Lines {
    is_wanted: bool,
    last: Instant,
    /// What had been read then, and not before.
    read: Option<u64>,
}

impl Lines {
    pub(super) fn new(talk: Talk) -> Self {
        let is_wanted = !talk.quiet && !io::stderr().is_terminal();
        Self { is_wanted, last: Instant::now(), read: None }
    }

    pub(super) fn tell(&mut self, far: &Far) {
        let since = self.last.elapsed();
        let read = far.frames - far.read_before;
        let before = *self.read.get_or_insert(read);
        if !self.is_wanted || since < TOLD_EVERY {
            return;
        }
        output::note(&line(far, read - before, since));
        (self.last, self.read) = (Instant::now(), Some(read));
    }
}

/// How far it is, where so many frames were read within a time.
fn line(far: &Far, read: u64, time: Duration) -> String {
    let Far { frames, of_frames, .. } = *far;
    let share = frames.saturating_mul(100) / of_frames.max(1);
    let left = of_frames.saturating_sub(frames) as f64 * time.as_secs_f64() / read as f64;
    let left = match (left / 60.0).round() {
        minutes if !minutes.is_finite() => String::new(),
        minutes if minutes < 120.0 => format!(", about {minutes:.0} min left"),
        minutes => format!(", about {:.0} h left", minutes / 60.0),
    };
    format!("verify: {frames} of {} ({share} %){left}", output::frames(of_frames))
}

/// A file for this store alone, where the XDG base directory specification has what outlives a run.
fn default_path(store: &Path) -> Option<PathBuf> {
    path_in(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"), store)
}

fn path_in(state: Option<OsString>, home: Option<OsString>, store: &Path) -> Option<PathBuf> {
    // The specification has relative paths ignored.
    let absolute =
        |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute(state).or_else(|| Some(absolute(home)?.join(".local/state")))?;
    let store = store.canonicalize().unwrap_or_else(|_| store.to_owned());
    let hash = blake3::hash(store.as_os_str().as_encoded_bytes()).to_hex();
    Some(state.join("framelane/verify").join(&hash[..32]))
}

/// `2026-11-30 07:12:09 UTC`.
pub(super) fn utc(at: UnixNanos) -> String {
    let second = at.0 / 1_000_000_000 % 86_400;
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{} {hour:02}:{minute:02}:{:02} UTC", Day::of(at), second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_and_how_long_it_takes() {
        let far = Far { frames: 500_000, of_frames: 20_000_000, read_before: 200_000 };
        let time = Duration::from_secs(60);
        assert_eq!(
            line(&far, 300_000, time),
            "verify: 500000 of 20000000 frames (2 %), about 65 min left"
        );
        assert!(line(&far, 30_000, time).ends_with("about 11 h left"));
        assert!(line(&far, 0, time).ends_with("(2 %)"));
        assert_eq!(utc(UnixNanos(1_795_763_529_000_000_001)), "2026-11-27 07:12:09 UTC");
    }

    #[test]
    fn each_store_has_a_file_of_its_own() {
        let at = |state: &str, home: &str, store: &str| {
            path_in(Some(state.into()), Some(home.into()), Path::new(store))
        };
        let one = at("/s", "/h", "/").unwrap();
        assert!(one.starts_with("/s/framelane/verify"), "{one:?}");
        assert!(at("s", "/h", "/").unwrap().starts_with("/h/.local/state/framelane/verify"));
        assert_ne!(one, at("/s", "/h", "/tmp").unwrap());
        assert_eq!(at("", "h", "/"), None);
    }
}
