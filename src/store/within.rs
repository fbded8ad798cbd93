//! The folders that frames are in, below that of their manifest.

use std::borrow::Cow;
use std::ops::Deref;

use rustix::io::Errno;

use super::directory::Directory;
use crate::frame::FrameName;

/// The folder that a frame's file is in.
pub(crate) enum Within<'a> {
    Top(&'a Directory),
    Below(Directory),
}

impl Deref for Within<'_> {
    type Target = Directory;

    fn deref(&self) -> &Directory {
        match self {
            Self::Top(folder) => folder,
            Self::Below(folder) => folder,
        }
    }
}

/// The folder that a frame is in, opened part by part and no link followed; `None` where it is not there.
///
/// # Errors
/// What could not be opened, and why.
pub(crate) fn within<'a>(
    top: &'a Directory,
    hour: Option<u8>,
    name: &FrameName,
) -> Result<Option<Within<'a>>, (String, Errno)> {
    let mut folder = Within::Top(top);
    let mut below = String::new();
    for part in folders(hour, name) {
        let part = &*part;
        below.push_str(part);
        folder = match folder.folder(part) {
            Ok(inner) => Within::Below(inner),
            Err(Errno::NOENT) => return Ok(None),
            Err(cause) => return Err((below, cause)),
        };
        below.push('/');
    }
    Ok(Some(folder))
}

/// The folders between a manifest and a frame's file: that of an hour, where there is one, and those of its name.
fn folders(hour: Option<u8>, name: &FrameName) -> impl Iterator<Item = Cow<'_, str>> {
    let hour = hour.map(|hour| Cow::Owned(format!("{hour:02}")));
    let named = name.folder().into_iter().flat_map(|path| path.split('/')).map(Cow::Borrowed);
    hour.into_iter().chain(named)
}

/// The same, with each folder made where it is missing; with `durable` its name is on the medium.
///
/// # Errors
/// What could not be made or opened, and why.
pub(crate) fn make_within<'a>(
    top: &'a Directory,
    hour: Option<u8>,
    name: &FrameName,
    durable: bool,
) -> Result<Within<'a>, (String, Errno)> {
    let mut folder = Within::Top(top);
    let mut below = String::new();
    for part in folders(hour, name) {
        let part = &*part;
        below.push_str(part);
        let made = match folder.make_folder(part) {
            Ok(true) if durable => folder.sync_names(),
            made => made.map(drop),
        };
        let inner = made.and_then(|()| folder.folder(part));
        folder = Within::Below(inner.map_err(|cause| (below.clone(), cause))?);
        below.push('/');
    }
    Ok(folder)
}
