//! What of a watched folder is not sent though no rule leaves it out: said once each, and kept for the end.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::frame::{SourceName, printable};
use crate::source::folder::{Passed, Unsent};

/// Folders that are kept in mind; more are not counted.
const MOST_KNOWN: usize = 10_000;
/// Folders that get a line; the others are among what was not sent, at the end.
const MOST_TOLD: u64 = 10;
/// Files that are named where they were not complete at the end.
const MOST_NAMED: usize = 5;

pub(super) struct Left {
    source: SourceName,
    passed: Arc<Mutex<Passed>>,
    /// Folders that are not watched, by their paths below the root.
    known: HashSet<Vec<u8>>,
    told: u64,
    /// Something of this program's own was told of.
    tells_own: bool,
    /// The folder has been listed, and what was in it then has been told of.
    pub(super) is_listed: bool,
}

impl Left {
    pub(super) fn new(source: SourceName, passed: Arc<Mutex<Passed>>) -> Self {
        Self { source, passed, known: HashSet::new(), told: 0, tells_own: false, is_listed: false }
    }

    /// Tells of a folder that is not watched, the first time.
    pub(super) fn folder(&mut self, relative: &[u8], absolute: PathBuf, why: Unsent) {
        let is_new = self.known.len() < MOST_KNOWN && self.known.insert(relative.to_vec());
        // The listing has told of all but those that it could read.
        let is_told = !self.is_listed && !matches!(why, Unsent::Unreadable(_));
        if !is_new || is_told {
            return;
        }
        self.told += 1;
        if self.told <= MOST_TOLD {
            let shown = printable(&absolute.to_string_lossy()).into_owned();
            let more =
                if self.told == MOST_TOLD { "; more of them are named at the end" } else { "" };
            tracing::warn!("source {}: not watched: {shown}: {why}{more}", self.source);
        }
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).unsent(absolute, why);
    }

    /// Tells, once, of what is this program's own; the listing has told of what was there.
    pub(super) fn own(&mut self, absolute: PathBuf) {
        if self.is_listed && !std::mem::replace(&mut self.tells_own, true) {
            let shown = printable(&absolute.to_string_lossy()).into_owned();
            tracing::warn!(
                "source {}: left out: {shown}: {}",
                self.source,
                Passed::OWN_IS_LEFT_OUT
            );
        }
    }

    /// Tells of files, by their paths below the root, that were not complete at the end.
    pub(super) fn incomplete(&self, root: &Path, mut names: Vec<PathBuf>) {
        if names.is_empty() {
            return;
        }
        names.sort_unstable();
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().for_each(|name| passed.unsent(root.join(name), Unsent::Incomplete));
        let shown = names.iter().take(MOST_NAMED).map(|name| name.to_string_lossy());
        let shown = shown.map(|name| printable(&name).into_owned()).collect::<Vec<_>>().join(", ");
        let more = if names.len() > MOST_NAMED { ", ..." } else { "" };
        tracing::warn!(
            "source {}: {} files were not complete at the end and are not sent: {shown}{more}",
            self.source,
            names.len()
        );
    }
}
