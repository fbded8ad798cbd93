//! Folders that hold one another's runs: a flight that was taken away while its run went on, and the store that it was taken
//! from.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::overlap::{AllShared, Holder, shared};
use super::parts::{read_ledger, read_lines};
use super::runs::Accounts;
use super::{VerifyError, sources};
use crate::store::{Directory, FileId};

/// What the sources of some folders say of runs of which more than one of them has a part. What a source holds of
/// such a run counts in the account of each. Its files are verified with it alone, so all folders have to be verified.
#[derive(Debug, Default)]
pub struct Together {
    sources: HashMap<FileId, Accounts>,
    /// What lies in several of them.
    shared: AllShared,
}

impl Together {
    /// Reads ledgers, and of sources with a run in common the manifests too. A source that cannot be read says nothing
    /// here, and what is wrong with it when it is verified.
    ///
    /// # Errors
    /// [`VerifyError`], where a folder cannot be read at all.
    pub fn of(paths: &[PathBuf]) -> Result<Self, VerifyError> {
        let mut found = Vec::new();
        for path in paths {
            found.extend(sources(path)?);
        }
        if found.len() < 2 {
            // One alone shares with nobody, and needs not be read twice.
            return Ok(Self::default());
        }
        let known: Vec<_> = found.iter().filter_map(Known::of).collect();
        let (mut once, mut in_several) = (HashMap::new(), HashSet::new());
        for Known { id, accounts, .. } in &known {
            for run in accounts.known() {
                if *once.entry(run).or_insert(*id) != *id {
                    in_several.insert(run);
                }
            }
        }
        let (mut sources, mut holders) = (HashMap::new(), Vec::new());
        for known in known {
            let (folder, path) = (known.folder, known.path);
            if known.accounts.known().any(|run| in_several.contains(&run))
                && let Some((id, mut accounts)) = known.with_lines()
            {
                accounts.keep_only(&in_several);
                let stored = accounts.stored_of_each();
                if sources.insert(id, accounts).is_none() {
                    holders.push(Holder { id, folder, path, stored });
                }
            }
        }
        let shared = shared(&holders);
        Ok(Self { sources, shared })
    }

    /// Takes in what the others say of the runs of the source in that folder.
    pub(super) fn join(&self, folder: FileId, accounts: &mut Accounts) {
        let others = self.sources.iter().filter(|(id, _)| **id != folder);
        let others: Vec<_> = others.map(|(_, other)| other).collect();
        accounts.join(&others);
        for ((_, run), shared) in self.shared.iter().filter(|((id, _), _)| *id == folder) {
            accounts.lie_elsewhere(*run, *shared);
        }
    }
}

/// A source of which the ledger was read or, where there is none, as of a day that was taken away, the manifests.
struct Known<'a> {
    id: FileId,
    folder: &'a Directory,
    path: &'a Path,
    accounts: Accounts,
    has_lines: bool,
}

impl<'a> Known<'a> {
    fn of((folder, path): &'a (Directory, PathBuf)) -> Option<Self> {
        let (id, mut accounts) = (folder.id().ok()?, Accounts::default());
        read_ledger(folder, path, 0, &mut accounts).ok()?;
        let has_lines = accounts.known().next().is_none();
        if has_lines {
            read_lines(folder, path, &mut accounts).ok()?;
        }
        Some(Self { id, folder, path, accounts, has_lines })
    }

    fn with_lines(mut self) -> Option<(FileId, Accounts)> {
        if !self.has_lines {
            read_lines(self.folder, self.path, &mut self.accounts).ok()?;
        }
        Some((self.id, self.accounts))
    }
}

/// Whether one of these folders is, or is in, another: what is verified twice would be counted twice.
pub fn overlapping(paths: &[PathBuf]) -> Option<(&Path, &Path)> {
    let full: Vec<_> = paths.iter().map(|path| path.canonicalize().ok()).collect();
    for (place, inner) in full.iter().enumerate() {
        for (other, outer) in full.iter().enumerate() {
            if place != other
                && let (Some(inner), Some(outer)) = (inner, outer)
                && inner.starts_with(outer)
            {
                return Some((&paths[place], &paths[other]));
            }
        }
    }
    None
}
