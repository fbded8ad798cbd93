//! The parts of a source's folder that have a manifest, and what their lines and the ledger say.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::VerifyError;
use super::runs::Accounts;
use crate::manifest::{BadLine, Day, FILE_NAME, LEDGER_NAME, Ledger, Listed, Manifest, Resting};
use crate::store::{Directory, Kind, Look, days};

/// A line of the manifest takes about so much, where nothing tells how many there are.
const LINE_BYTES: u64 = 400;

/// A part of the source with a manifest: all of it, or a day.
pub(super) struct Part {
    pub(super) day: Option<Day>,
    pub(super) folder: Directory,
    pub(super) path: PathBuf,
    /// What its index says, where that speaks of all of it.
    pub(super) resting: Option<Resting>,
}

/// The parts of a source that have a manifest: its own folder, and the days in it.
pub(super) fn parts(folder: &Directory, path: &Path) -> Result<Vec<Part>, Errno> {
    let mut parts = Vec::new();
    if folder.kind(FILE_NAME)?.is_some() {
        parts.push(Part::of(None, folder.again()?, path.to_owned()));
    }
    for day in days(folder)? {
        let name = day.to_string();
        parts.push(Part::of(Some(day), folder.folder(&name)?, path.join(name)));
    }
    Ok(parts)
}

impl Part {
    fn of(day: Option<Day>, folder: Directory, path: PathBuf) -> Self {
        let file = folder.open_file(FILE_NAME).ok();
        let resting = file.and_then(|file| Resting::load(&folder, &file));
        Self { day, folder, path, resting }
    }

    /// About how many frames it has.
    pub(super) fn about(&self) -> u64 {
        let by_length = || match self.folder.kind(FILE_NAME) {
            Ok(Some(Kind::File(bytes))) => bytes / LINE_BYTES,
            _ => 0,
        };
        self.resting.as_ref().map_or_else(by_length, |resting| resting.summary().frames)
    }
}

pub(super) fn look_at_ledger(folder: &Directory) -> Option<Look> {
    folder.look(LEDGER_NAME).ok().flatten()
}

/// Takes in all lines of the manifests, and looks at no file.
pub(super) fn read_lines(
    folder: &Directory,
    path: &Path,
    accounts: &mut Accounts,
) -> Result<(), VerifyError> {
    let failed = |path: &Path, cause| VerifyError::Io { path: path.to_owned(), cause };
    for part in parts(folder, path).map_err(|cause| failed(path, cause))? {
        if let Some(resting) = part.resting.filter(|resting| resting.summary().knows_runs()) {
            accounts.stored_all(resting.summary());
            continue;
        }
        let path = part.path.join(FILE_NAME);
        let file = part.folder.open_file(FILE_NAME).map_err(|cause| failed(&path, cause))?;
        Manifest::read_each(file, &path, &mut |record| accounts.stored(record))?;
    }
    Ok(())
}

/// Takes the ledger in, where there is one: earlier versions wrote none.
pub(super) fn read_ledger(
    folder: &Directory,
    path: &Path,
    named: usize,
    accounts: &mut Accounts,
) -> Result<Listed<BadLine>, VerifyError> {
    let path = path.join(LEDGER_NAME);
    match folder.open_file(LEDGER_NAME) {
        Ok(file) => Ok(Ledger::read(file, &path, &mut |entry| accounts.learn(entry))?),
        Err(Errno::NOENT) => Ok(Listed::new(named)),
        Err(cause) => Err(VerifyError::Io { path, cause }),
    }
}
