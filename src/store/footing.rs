//! What an open source stands on: its folder, its manifests and its ledger, each known to be the one at its path.

use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use super::account::Account;
use super::contract::Opener;
use super::directory::{Directory, FileId, Kind, Look};
use super::error::StoreError;
use super::lock::Locked;
use super::options::StoreOptions;
use super::remembered::Remembered;
use super::root::Root;
use super::volumes::{Volumes, open_record};
use crate::frame::{RESERVED_PREFIX, RunId, Sequence, SourceName};
use crate::manifest::{
    Entry, FILE_NAME, INDEX_NAME, INDEX_PART_NAME, LEDGER_NAME, Ledger, ManifestError, Opened,
    Summary,
};

/// A temporary file's name ends in this.
const PART_SUFFIX: &str = ".part";
/// A file by which it is found out whether the file system folds names.
const PROBE: &str = ".framelane-\u{e9}.part";
/// The same name in capitals, taken apart, and as FAT would shorten it.
const FOLDED_PROBES: [&str; 3] =
    [".FRAMELANE-\u{c9}.PART", ".framelane-e\u{301}.part", "FRAMEL~1.PAR"];
/// Whether one call can wait for many files.
pub(super) const CAN_SYNC_TOGETHER: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The open folder of a source.
#[derive(Debug)]
pub(super) struct Footing {
    /// Keeps the store locked.
    out: Arc<Locked>,
    pub(super) folder: Locked,
    pub(super) volumes: Volumes,
    ledger: Ledger,
    pub(super) account: Account,
    /// What was found, and put right, when it was opened.
    pub(super) opened: Opened,
    /// Whether the file system takes different names for one.
    pub(super) folds: bool,
    pub(super) remembered: Remembered,
    source: SourceName,
    folder_id: FileId,
    ledger_id: FileId,
    options: StoreOptions,
    parts: u64,
    told_of_two: bool,
}

impl Footing {
    /// Opens a source's folder, making it where it is missing, and puts right what a crash left.
    pub(super) fn open(
        root: &Root,
        source: &SourceName,
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        let path = root.path().join(source.as_str());
        let failed = |doing, cause| StoreError::Io { doing, path: path.clone(), cause };
        let out = root.folder()?;
        let folder = open_folder(&out, source, &path, options)?;
        remove_parts(&folder).map_err(|cause| failed("remove temporary files from", cause))?;
        let folder_id = folder.id().map_err(|cause| failed("look at", cause))?;
        let ledger_file = open_record(&path, LEDGER_NAME, || folder.open_to_write(LEDGER_NAME))?;
        if options.durable {
            // What an earlier receiver stored without syncing is confirmed from now on, too.
            folder.sync_names().map_err(|cause| failed("sync", cause))?;
            sync_together(&folder).map_err(|cause| failed("sync", cause))?;
        }
        let ledger_id = Look::of_file(&ledger_file).map_err(|cause| failed("look into", cause))?.id;
        let mut account = Account::default();
        let (ledger, _) = Ledger::open(ledger_file, &path.join(LEDGER_NAME), &mut |entry| {
            account.learn(&entry);
        })?;
        let (volumes, opened) = Volumes::open(&folder, &path, options)?;
        let mut first_sender = None;
        for (_, summary) in volumes.summaries() {
            account.brought_all(summary);
            if first_sender.is_none() {
                first_sender.clone_from(&summary.first_sender);
            }
        }
        if let (None, Some(sender)) = (account.owner(), &first_sender) {
            account.set_owner(sender, None);
        }
        is_own_folder(&out, folder_id, source, &path, &account)?;
        let folds = folds(&folder);
        Ok(Self {
            out,
            folder,
            volumes,
            ledger,
            account,
            opened,
            folds,
            remembered: Remembered::default(),
            source: source.clone(),
            folder_id,
            ledger_id,
            options,
            parts: 0,
            told_of_two: false,
        })
    }

    /// Whether the store's folder, the source's, its ledger and the manifests that are open are the ones at their
    /// paths.
    pub(super) fn is_in_place(&self, root: &Root) -> bool {
        let is = |folder: &Directory, name: &str, id| {
            folder.look(name).is_ok_and(|found| found.is_some_and(|found| found.id == id))
        };
        root.is_at_its_path(&self.out)
            && is(&self.out, self.source.as_str(), self.folder_id)
            && is(&self.folder, LEDGER_NAME, self.ledger_id)
            && self.volumes.are_in_place(&self.folder)
    }

    /// The store's own file that this one in `folder` is, by what it is and not by its name.
    pub(super) fn own_file(&self, folder: &Directory, id: FileId) -> Option<&'static str> {
        if self.ledger_id == id {
            return Some(LEDGER_NAME);
        }
        let is_it = |name: &&str| {
            folder.look(name).is_ok_and(|found| found.is_some_and(|found| found.id == id))
        };
        [FILE_NAME, INDEX_NAME].into_iter().find(is_it)
    }

    /// Lets a sender in, whose the source becomes where it is nobody's yet.
    pub(super) fn admit(&mut self, opener: &Opener) -> Result<(), StoreError> {
        if !self.account.permits(opener) {
            return Err(self.not_owner(opener));
        }
        let is_claimed = self.account.owner().is_some();
        let says_more = !is_claimed && opener.pin.is_some();
        if says_more || self.account.source.is_none() {
            let mut owner = opener;
            if let Some(known) = self.account.owner() {
                owner = known;
            }
            let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
            let (owner, name) = (text(&owner.pin), text(&owner.name));
            let (source, at) = (self.source.to_string(), (self.options.clock)());
            self.note(&[Entry::Opened { owner, name, source, at }])?;
        }
        Ok(())
    }

    /// Why a sender that is not the owner is refused.
    pub(super) fn not_owner(&self, opener: &Opener) -> StoreError {
        let owner = self.account.owner();
        let has_its_name = |owner: &&Opener| owner.name.is_some() && owner.name == opener.name;
        let earlier_key = owner.filter(has_its_name).and_then(|owner| owner.pin.as_deref());
        // Enough to find it in a list.
        let earlier_key = earlier_key.map(|pin| pin.chars().take(19).collect());
        let pin = owner.and_then(|owner| owner.pin.as_deref()).unwrap_or("another sender");
        // Short enough to be shown whole at the other end.
        let owner = owner.and_then(|owner| owner.name.as_deref()).unwrap_or(pin).to_owned();
        StoreError::NotOwner { source_name: self.source.to_string(), owner, earlier_key }
    }

    /// Writes entries into the ledger.
    pub(super) fn note(&mut self, entries: &[Entry]) -> Result<(), ManifestError> {
        self.ledger.append(entries, self.options.durable)?;
        entries.iter().for_each(|entry| self.account.learn(entry));
        Ok(())
    }

    /// The same, and it is on the medium.
    pub(super) fn note_firmly(&mut self, entries: &[Entry]) -> Result<(), ManifestError> {
        self.ledger.append(entries, true)?;
        entries.iter().for_each(|entry| self.account.learn(entry));
        Ok(())
    }

    /// Whether a frame of that run and sequence has a line: another one of them is another sender's.
    pub(super) fn has_brought(&self, run: Option<RunId>, sequence: Sequence) -> bool {
        let Some(run) = run else { return false };
        // A run that has ended brings no more, but where two senders have it: then it is looked for everywhere.
        let has = |summary: &Summary| {
            summary.runs.get(&run).is_some_and(|brought| brought.contains(sequence.0))
        };
        let anywhere = || self.volumes.summaries().any(|(_, summary)| has(summary));
        self.account.has_brought(run, sequence).unwrap_or_else(anywhere)
    }

    /// Says once that two different frames of a run have one sequence. Both are stored; the account is `verify`'s.
    pub(super) fn tell_of_two(&mut self, source: &SourceName, sequence: Sequence) {
        if !std::mem::replace(&mut self.told_of_two, true) {
            tracing::warn!(
                "source {source}: two different frames are number {sequence} of one run. Was a spool, or the disk of a machine, \
                 copied, and both send? Both frames are stored; verify tells how many there are"
            );
        }
    }

    /// A name for a temporary file.
    pub(super) fn part_name(&mut self) -> String {
        self.parts += 1;
        format!("{RESERVED_PREFIX}-{}{PART_SUFFIX}", self.parts - 1)
    }

    /// Waits until everything that was written is on the medium.
    pub(super) fn sync_together(&self) -> Result<(), Errno> {
        sync_together(&self.folder)
    }
}

fn open_folder(
    out: &Locked,
    source: &SourceName,
    path: &Path,
    options: StoreOptions,
) -> Result<Locked, StoreError> {
    let failed = |doing, cause| StoreError::Io { doing, path: path.to_owned(), cause };
    let name = source.as_str();
    let is_new = out.make_folder(name).map_err(|cause| failed("make", cause))?;
    if is_new && options.durable {
        out.sync_names().map_err(|cause| failed("sync", cause))?;
    }
    let folder = out.folder(name).map_err(|cause| match cause {
        Errno::NOTDIR => StoreError::NotAFolder { path: path.to_owned() },
        cause => failed("open", cause),
    })?;
    Locked::take(folder).map_err(|cause| match cause {
        Errno::WOULDBLOCK => StoreError::SourceInUse { path: path.to_owned() },
        cause => failed("lock", cause),
    })
}

/// Two sources whose names the file system takes for one must not share a folder. Known by looking: the folder is
/// found under the name of the other as well.
fn is_own_folder(
    out: &Directory,
    id: FileId,
    source: &SourceName,
    path: &Path,
    account: &Account,
) -> Result<(), StoreError> {
    let Some(other) = account.source.as_ref().filter(|other| *other != source.as_str()) else {
        return Ok(());
    };
    let is_same = SourceName::parse(other).is_ok()
        && out.look(other).is_ok_and(|found| found.is_some_and(|found| found.id == id));
    if is_same {
        return Err(StoreError::Folded { path: path.to_owned(), other: other.clone() });
    }
    Ok(())
}

/// Whether the file system takes different names for one, by making a file and looking for it under others. Where
/// that cannot be found out, it is taken to: it costs time and nothing else.
pub(super) fn folds(folder: &Directory) -> bool {
    match folder.write_new(PROBE, b"", None, false) {
        Ok(()) | Err(Errno::EXIST) => {}
        // No room, or no right to write: nothing will be stored either.
        Err(Errno::NOSPC | Errno::DQUOT | Errno::ROFS | Errno::ACCESS) => return false,
        Err(_) => return true,
    }
    let id = |name| folder.look(name).ok().flatten().map(|found| found.id);
    let probe = id(PROBE);
    let folds = probe.is_none() || FOLDED_PROBES.into_iter().any(|name| id(name) == probe);
    let _ = folder.remove(PROBE);
    folds
}

/// Removes the temporary files of a receiver that was killed. The prefix is the store's own: no
/// frame can have it, and users are told so.
fn remove_parts(directory: &Directory) -> Result<(), Errno> {
    let mut parts = Vec::new();
    directory.for_each_name(|name| {
        if let Some(name) = std::str::from_utf8(name).ok().filter(|name| is_part(name)) {
            parts.push(name.to_owned());
        }
        Ok::<_, Errno>(())
    })?;
    parts.iter().try_for_each(|part| match directory.kind(part)? {
        Some(Kind::Folder) | None => Ok(()),
        _ => directory.remove(part),
    })
}

/// Whether a file of this name is one that a receiver makes in its store for a moment: whoever finds it there sees one
/// at work, or what one that was killed has left, which the next one removes.
pub fn is_temporary(name: &str) -> bool {
    name == INDEX_PART_NAME || is_part(name)
}

fn is_part(name: &str) -> bool {
    let number = |name: &str| {
        name.strip_prefix(RESERVED_PREFIX)
            .and_then(|rest| rest.strip_prefix('-')?.strip_suffix(PART_SUFFIX))
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    name == PROBE || number(name)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn sync_together(directory: &Directory) -> Result<(), Errno> {
    directory.sync_file_system()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn sync_together(_directory: &Directory) -> Result<(), Errno> {
    Ok(())
}
