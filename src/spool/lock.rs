//! Whose a spool is: a file that is locked, and says the version.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::SpoolError;
use super::journal_file::is_no_room;
use crate::frame::printable;

/// The version of a spool's form. Another one is not touched.
pub(super) const VERSION: u32 = 1;

/// The file that makes a folder a spool.
const NAME: &str = "framelane-spool";

/// The longest that is read of it.
const MAX_BYTES: u64 = 256;

/// The lock; it is this process's for as long as this lives.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    /// Closing the file is not enough where the process has forked: the child has it open as well.
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Lock {
    /// Takes the folder, and makes it a spool where there is nothing in it.
    pub(super) fn take(folder: &Path) -> Result<Self, SpoolError> {
        let fault = |doing| move |error: io::Error| SpoolError::system(folder, doing, &error);
        fs::create_dir_all(folder).map_err(fault("make the folder"))?;
        let path = folder.join(NAME);
        if !path.exists() {
            check_empty(folder)?;
        }
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(fault("open framelane-spool in it"))?;
        let mut said = String::new();
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
        // Whatever it holds is bounded, and shown with care.
        let read = (&file).take(MAX_BYTES).read_to_string(&mut said);
        match locked {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let who = said.lines().find_map(|line| line.strip_prefix("process "));
                let who = who.map(|who| format!(" (process {})", printable(who)));
                return Err(SpoolError::InUse {
                    path: folder.to_owned(),
                    who: who.unwrap_or_default(),
                });
            }
            Err(error) => return Err(fault("lock it")(error.into())),
        }
        read.map_err(fault("read framelane-spool in it"))?;
        let version = said.lines().next().map(|line| line.strip_prefix("spool ").unwrap_or(line));
        let own = VERSION.to_string();
        // A file without a word in it is one of a process that was killed here.
        if let Some(found) = version.filter(|version| *version != own) {
            let (path, found) = (folder.to_owned(), printable(found).into_owned());
            return Err(SpoolError::Version { path, found, known: VERSION });
        }
        let text = format!("spool {VERSION}\nprocess {}\n", std::process::id());
        let written = file.write_all_at(text.as_bytes(), 0);
        match written.and_then(|()| file.set_len(text.len() as u64)) {
            // On a full disk it says who had it before.
            Err(error) if is_no_room(&error) && version.is_some() => {}
            written => written.map_err(fault("write to it"))?,
        }
        Ok(Self(file))
    }
}

/// Refuses a folder in which there is something.
fn check_empty(folder: &Path) -> Result<(), SpoolError> {
    let listed = fs::read_dir(folder);
    let mut listed = listed.map_err(|error| SpoolError::system(folder, "list it", &error))?;
    match listed.next() {
        None => Ok(()),
        Some(Err(error)) => Err(SpoolError::system(folder, "list it", &error)),
        Some(Ok(entry)) => Err(SpoolError::NotASpool {
            path: folder.to_owned(),
            what: printable(&entry.file_name().to_string_lossy()).into_owned(),
        }),
    }
}
