//! File systems that tests play, because this machine may have none like them: ones that fold names, and ones that
//! can neither rename without replacing nor link.

use std::borrow::Cow;
use std::cell::Cell;
use std::os::fd::AsFd;

use rustix::fs::Dir;
use rustix::io::{Errno, Result};

/// What the file system is like, on this thread.
#[derive(Clone, Copy, Default)]
pub(super) struct Model {
    /// Names that become equal are one.
    pub(super) folds: Option<fn(&str) -> String>,
    /// `renameat2` does not know NOREPLACE, and there are no links, as on FAT.
    pub(super) plain: bool,
    /// `renameat2` does not know EXCHANGE, and there are links, as on NFS.
    pub(super) no_exchange: bool,
}

thread_local! {
    static MODEL: Cell<Model> = const { Cell::new(Model { folds: None, plain: false, no_exchange: false }) };
}

/// Plays a file system until the test ends: each test has a thread of its own.
pub(super) fn play(model: Model) {
    MODEL.set(model);
}

pub(super) fn on_disk<'a>(folder: impl AsFd, name: &'a str) -> Cow<'a, str> {
    let Some(folds) = MODEL.get().folds else { return Cow::Borrowed(name) };
    let folded = folds(name);
    let Ok(entries) = Dir::read_from(folder) else { return Cow::Borrowed(name) };
    let mut names =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str().map(str::to_owned).ok());
    names.find(|other| folds(other) == folded).map_or(Cow::Borrowed(name), Cow::Owned)
}

pub(super) fn refuse_no_replace() -> Result<()> {
    if MODEL.get().plain { Err(Errno::INVAL) } else { Ok(()) }
}

pub(super) fn refuse_exchange() -> Result<()> {
    let Model { plain, no_exchange, .. } = MODEL.get();
    if plain || no_exchange { Err(Errno::INVAL) } else { Ok(()) }
}

pub(super) fn refuse_link() -> Result<()> {
    if MODEL.get().plain { Err(Errno::PERM) } else { Ok(()) }
}
