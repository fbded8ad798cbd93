//! The files of a folder, in natural order.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{Content, Description, Extent, Source, SourceError, natural};
use crate::frame::{ContentHash, FrameName, Sequence, SourceName, UnixNanos, printable};

/// Our own record beside the frames: in a folder that is itself a store it is not a frame.
const MANIFEST: &[u8] = b"manifest.jsonl";

/// The regular files directly in a folder, as they were listed at the start.
///
/// Names are kept end to end in one buffer, about 8 bytes a file beside the name itself, so that a
/// folder of half a million frames costs a few megabytes.
#[derive(Debug)]
pub struct Folder {
    name: SourceName,
    path: PathBuf,
    names: Vec<u8>,
    places: Vec<(u32, u16)>,
    skipped: Vec<PathBuf>,
}

impl Folder {
    /// Lists `path`. Links to files count as files; folders and other things are skipped.
    ///
    /// # Errors
    /// [`SourceError::List`] or [`SourceError::Empty`].
    pub fn open(name: SourceName, path: &Path) -> Result<Self, SourceError> {
        let (names, places, skipped) = list(path)
            .map_err(|error| SourceError::List { path: path.to_owned(), why: error.to_string() })?;
        if places.is_empty() {
            return Err(SourceError::Empty { path: path.to_owned() });
        }
        Ok(Self { name, path: path.to_owned(), names, places, skipped })
    }

    /// What in the folder is not a frame: folders, sockets, dangling links, a store's manifest.
    pub fn skipped(&self) -> &[PathBuf] {
        &self.skipped
    }

    fn raw_name(&self, sequence: Sequence) -> &[u8] {
        let place = usize::try_from(sequence.0).ok().and_then(|index| self.places.get(index));
        match place {
            Some(&(start, length)) => {
                &self.names[start as usize..start as usize + usize::from(length)]
            }
            None => b"",
        }
    }

    fn file(&self, sequence: Sequence) -> PathBuf {
        self.path.join(OsStr::from_bytes(self.raw_name(sequence)))
    }

    fn frame_name(&self, sequence: Sequence) -> Result<FrameName, SourceError> {
        FrameName::from_bytes(self.raw_name(sequence))
            .map_err(|why| SourceError::Name { path: self.file(sequence), why })
    }
}

impl Source for Folder {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn extent(&self) -> Extent {
        Extent::fixed(self.places.len() as u64)
    }

    fn describe(&self, sequence: Sequence) -> Result<Description, SourceError> {
        let name = self.frame_name(sequence)?;
        let path = self.file(sequence);
        let metadata = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
        Ok(Description {
            name,
            bytes: metadata.len(),
            modified: modified(&metadata),
            captured: None,
        })
    }

    fn read(&self, sequence: Sequence, limit: u64) -> Result<Content, SourceError> {
        let name = self.frame_name(sequence)?;
        let path = self.file(sequence);
        let mut file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
        let before = file.metadata().map_err(|error| unreadable(&path, &error))?;
        let bytes = before.len();
        if bytes > limit {
            return Err(SourceError::TooLarge { path, bytes, limit });
        }
        let body = read_exactly(&mut file, bytes, &path)?;
        check_unchanged(&file, &before, &path)?;
        let description = Description { name, bytes, modified: modified(&before), captured: None };
        Ok(Content { description, hash: blake3::hash(&body), body: Bytes::from(body) })
    }

    fn hash(&self, sequence: Sequence) -> Result<(Description, ContentHash), SourceError> {
        let name = self.frame_name(sequence)?;
        let path = self.file(sequence);
        let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
        let before = file.metadata().map_err(|error| unreadable(&path, &error))?;
        let bytes = before.len();
        let mut hasher = blake3::Hasher::new();
        // One byte more, for a file that grows, and no more of it.
        let rest = (&file).take(bytes.saturating_add(1));
        hasher.update_reader(rest).map_err(|error| unreadable(&path, &error))?;
        check_length(hasher.count(), bytes, &path)?;
        check_unchanged(&file, &before, &path)?;
        let description = Description { name, bytes, modified: modified(&before), captured: None };
        Ok((description, hasher.finalize()))
    }

    fn label(&self, sequence: Sequence) -> String {
        printable(&String::from_utf8_lossy(self.raw_name(sequence))).into_owned()
    }
}

type Listing = (Vec<u8>, Vec<(u32, u16)>, Vec<PathBuf>);

fn list(path: &Path) -> io::Result<Listing> {
    let (mut names, mut places, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let is_file = kind.is_file()
            || kind.is_symlink() && fs::metadata(entry.path()).is_ok_and(|target| target.is_file());
        let name = entry.file_name().into_vec();
        if !is_file || name == MANIFEST {
            skipped.push(entry.path());
            continue;
        }
        let start = u32::try_from(names.len())
            .map_err(|_| io::Error::other("its file names are over 4 GiB altogether"))?;
        let length = u16::try_from(name.len()).map_err(io::Error::other)?;
        names.extend_from_slice(&name);
        places.push((start, length));
    }
    let name_at = |&(start, length): &(u32, u16)| {
        &names[start as usize..start as usize + usize::from(length)]
    };
    places.sort_unstable_by(|a, b| natural::compare(name_at(a), name_at(b)));
    Ok((names, places, skipped))
}

/// Reads `bytes` bytes and checks that the file ends there.
fn read_exactly(file: &mut File, bytes: u64, path: &Path) -> Result<Vec<u8>, SourceError> {
    // One byte more than announced is asked for: a file that grew shows itself.
    let most = bytes.saturating_add(1);
    let mut body = Vec::new();
    // The length is the file's and the receiver's: one that this machine cannot hold is an error.
    body.try_reserve_exact(usize::try_from(most).unwrap_or(usize::MAX)).map_err(|_| {
        let why = format!("there is no memory for its {bytes} bytes");
        SourceError::Read { path: path.to_owned(), why }
    })?;
    file.take(most).read_to_end(&mut body).map_err(|error| unreadable(path, &error))?;
    check_length(body.len() as u64, bytes, path)?;
    Ok(body)
}

fn check_length(read: u64, bytes: u64, path: &Path) -> Result<(), SourceError> {
    let changed = |what: String| SourceError::Changed { path: path.to_owned(), what };
    match read.cmp(&bytes) {
        std::cmp::Ordering::Less => Err(changed(format!("it shrank from {bytes} to {read} bytes"))),
        std::cmp::Ordering::Greater => Err(changed(format!("it grew beyond {bytes} bytes"))),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

fn check_unchanged(file: &File, before: &Metadata, path: &Path) -> Result<(), SourceError> {
    let after = file.metadata().map_err(|error| unreadable(path, &error))?;
    if after.len() == before.len() && modified(&after) == modified(before) {
        return Ok(());
    }
    let (before, after) = (before.len(), after.len());
    let what = format!("it was written to; {before} bytes before, {after} after");
    Err(SourceError::Changed { path: path.to_owned(), what })
}

fn modified(metadata: &Metadata) -> Option<UnixNanos> {
    metadata.modified().ok().map(UnixNanos::from)
}

fn unreadable(path: &Path, error: &io::Error) -> SourceError {
    SourceError::Read { path: path.to_owned(), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&[u8], &[u8])]) -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(OsStr::from_bytes(name)), content).unwrap();
        }
        let source = Folder::open(SourceName::parse("s").unwrap(), dir.path()).unwrap();
        (dir, source)
    }

    #[test]
    fn files_in_natural_order_with_their_content() {
        let (_dir, source) = folder(&[(b"10.jpg", b"ten"), (b"9.jpg", b"nine")]);
        let content = source.read(Sequence(1), 100).unwrap();
        assert_eq!(content.description.name.as_str(), "10.jpg");
        assert_eq!(&content.body[..], b"ten");
        assert_eq!(content.hash, blake3::hash(b"ten"));
        assert_eq!(source.hash(Sequence(1)).unwrap(), (content.description, content.hash));
        assert_eq!(source.describe(Sequence(0)).unwrap().bytes, 4);
    }

    #[test]
    fn folders_and_a_stores_manifest_are_skipped_and_told() {
        let (dir, _) = folder(&[(b"1", b"x"), (b"manifest.jsonl", b"{}")]);
        fs::create_dir(dir.path().join("sub")).unwrap();
        let source = Folder::open(SourceName::parse("s").unwrap(), dir.path()).unwrap();
        assert_eq!(source.frames(), 1);
        assert_eq!(source.skipped().len(), 2);
    }

    #[test]
    fn a_name_that_is_not_utf8_is_refused_by_name() {
        let (_dir, source) = folder(&[(b"a\xff.png", b"x")]);
        let error = source.describe(Sequence(0)).unwrap_err().to_string();
        assert!(error.contains("not valid UTF-8") && error.contains("rename"), "{error}");
        assert!(source.label(Sequence(0)).starts_with('a'));
    }

    #[test]
    fn missing_and_empty_folders_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let name = SourceName::parse("s").unwrap();
        let empty = Folder::open(name.clone(), dir.path()).unwrap_err().to_string();
        assert!(empty.contains("no files"), "{empty}");
        let missing = Folder::open(name, &dir.path().join("gone")).unwrap_err().to_string();
        assert!(missing.contains("gone"), "{missing}");
    }

    #[test]
    fn vanished_and_too_large_frames_are_named() {
        let (dir, source) = folder(&[(b"1", b"12345"), (b"2", b"x")]);
        let error = source.read(Sequence(0), 4).unwrap_err().to_string();
        assert!(error.contains("at most 4"), "{error}");
        fs::remove_file(dir.path().join("2")).unwrap();
        let error = source.read(Sequence(1), 4).unwrap_err().to_string();
        assert!(error.contains("cannot read") && error.contains('2'), "{error}");
    }

    #[test]
    fn a_frame_that_no_memory_holds_is_an_error_and_has_a_hash_all_the_same() {
        let (dir, source) = folder(&[(b"1", b"")]);
        // Without a block on the disk. Some file systems have a limit below this.
        let file = File::options().write(true).open(dir.path().join("1")).unwrap();
        if file.set_len(i64::MAX as u64).is_ok() {
            let error = source.read(Sequence(0), u64::MAX).unwrap_err().to_string();
            assert!(error.contains("no memory for its"), "{error}");
        }
        file.set_len(300_000).unwrap();
        let (description, hash) = source.hash(Sequence(0)).unwrap();
        assert_eq!((description.bytes, hash), (300_000, blake3::hash(&vec![0; 300_000])));
    }

    #[test]
    fn a_file_of_another_length_than_announced_is_never_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, b"12345").unwrap();
        let open = || File::open(&path).unwrap();
        assert!(read_exactly(&mut open(), 5, &path).is_ok());
        assert!(matches!(read_exactly(&mut open(), 4, &path), Err(SourceError::Changed { .. })));
        assert!(matches!(read_exactly(&mut open(), 6, &path), Err(SourceError::Changed { .. })));
    }
}
