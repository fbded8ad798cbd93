//! What is in a source's folder that no line speaks of.

use std::path::Path;

use rustix::io::Errno;

use crate::frame::{FrameName, MAX_FRAME_NAME_PARTS};
use crate::manifest::{Day, FILE_NAME, INDEX_NAME, LEDGER_NAME, Listed, Manifest, ManifestError};
use crate::store::{Directory, Kind, is_temporary};

/// Lists what is in the folder of a part of a source, and in folders below it, without a line: a folder of which nothing has
/// one as a whole. Days with manifests of their own are left out where this is the source's own folder, its `top`. The
/// outer error is the manifest's, the inner one the folder's.
pub(super) fn find(
    folder: &Directory,
    is_top: bool,
    lines: &mut Known<'_>,
    unknown: &mut Listed<String>,
) -> Result<Result<bool, Errno>, ManifestError> {
    find_below(folder, "", is_top, lines, unknown)
}

/// Lists what is beside the days of a source that has no manifest of its own.
pub(super) fn beside_days(folder: &Directory, unknown: &mut Listed<String>) -> Result<(), Errno> {
    folder.for_each_name(|name| {
        if !is_own(folder, name, true) {
            unknown.push(String::from_utf8_lossy(name).into_owned());
        }
        Ok(())
    })
}

/// Whether it is a record, or a day of the source's with one.
fn is_own(folder: &Directory, name: &[u8], is_top: bool) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return false };
    let is_record = [FILE_NAME, LEDGER_NAME, INDEX_NAME].contains(&name);
    let has_manifest = || {
        let day = folder.folder(name);
        day.is_ok_and(|day| matches!(day.kind(FILE_NAME), Ok(Some(Kind::File(_)))))
    };
    // No frame, and gone as soon as a receiver is at work there.
    let is_passing = || is_temporary(name) && !matches!(folder.kind(name), Ok(Some(Kind::Folder)));
    is_record || is_passing() || is_top && name.parse::<Day>().is_ok() && has_manifest()
}

/// What has a line in the folder of a part of a source.
pub(super) struct Known<'a> {
    /// The part's own.
    pub(super) manifest: &'a mut Manifest,
    /// Of a day: that and the source's folder. Its manifest may have frames whose own folder is called like the day, from
    /// a time of another layout; it is opened when there is something that the day's does not know.
    pub(super) day: Option<(Day, &'a Directory, &'a Path)>,
    pub(super) whole: &'a mut Option<Manifest>,
}

impl Known<'_> {
    fn has(&mut self, path: &str) -> Result<bool, ManifestError> {
        if has_line(self.manifest, path, None)? {
            return Ok(true);
        }
        // In the folder of an hour.
        if let Some((hour, rest)) = path.split_once('/')
            && hour.len() == 2
            && let Ok(hour) = hour.parse()
            && has_line(self.manifest, rest, Some(hour))?
        {
            return Ok(true);
        }
        let Some((day, top, top_path)) = self.day else { return Ok(false) };
        if self.whole.is_none()
            && let Ok(file) = top.open_file(FILE_NAME)
        {
            *self.whole = Some(Manifest::read(file, &top_path.join(FILE_NAME))?.0);
        }
        let Some(whole) = self.whole else { return Ok(false) };
        has_line(whole, &format!("{day}/{path}"), None)
    }
}

fn has_line(manifest: &mut Manifest, name: &str, hour: Option<u8>) -> Result<bool, ManifestError> {
    let Ok(name) = FrameName::parse(name) else { return Ok(false) };
    Ok(manifest.find(&name)?.is_some_and(|record| record.hour == hour))
}

/// The same of what is `below`. Whether anything has a line.
fn find_below(
    folder: &Directory,
    below: &str,
    is_top: bool,
    lines: &mut Known<'_>,
    unknown: &mut Listed<String>,
) -> Result<Result<bool, Errno>, ManifestError> {
    let (mut failed, mut any) = (None, false);
    let visited = folder.for_each_name(|name| {
        if below.is_empty() && is_own(folder, name, is_top) {
            return Ok(());
        }
        let shown = format!("{below}{}", String::from_utf8_lossy(name));
        let found = match std::str::from_utf8(name) {
            Ok(name) => is_known(folder, name, &shown, lines, unknown),
            Err(_) => Ok(Ok(false)),
        };
        match found {
            Ok(Ok(true)) => any = true,
            Ok(Ok(false)) => unknown.push(shown),
            Ok(Err(cause)) => return Err(cause),
            Err(error) => {
                let cause = error.cause;
                failed = Some(error);
                return Err(cause);
            }
        }
        Ok(())
    });
    failed.map_or(Ok(visited.map(|()| any)), Err)
}

/// Whether what is in a folder has a line, or anything in it has: then what has none there is listed.
fn is_known(
    folder: &Directory,
    name: &str,
    shown: &str,
    lines: &mut Known<'_>,
    unknown: &mut Listed<String>,
) -> Result<Result<bool, Errno>, ManifestError> {
    if lines.has(shown)? {
        return Ok(Ok(true));
    }
    match folder.kind(name) {
        Ok(Some(Kind::Folder)) if shown.split('/').count() <= MAX_FRAME_NAME_PARTS => {}
        Ok(_) => return Ok(Ok(false)),
        Err(cause) => return Ok(Err(cause)),
    }
    let inner = match folder.folder(name) {
        Ok(inner) => inner,
        // What cannot be looked into has no frame that could be read either.
        Err(Errno::ACCESS) => return Ok(Ok(false)),
        Err(cause) => return Ok(Err(cause)),
    };
    let mut inside = unknown.alike();
    let found = find_below(&inner, &format!("{shown}/"), false, lines, &mut inside)?;
    if found == Ok(true) {
        unknown.append(inside);
    }
    Ok(found)
}
