//! A folder for one test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use framelane::identity::{Identity, NewCertificate};
use tempfile::TempDir;

use super::{Finished, Process};

/// A folder with sources, identities and a store, removed at the end.
///
/// ```text
/// sender/      certs of the sender
/// receiver/    certs of the receiver
/// config/      what XDG_CONFIG_HOME points to
/// store/       what `receive` calls --out
/// ```
pub(crate) struct Place {
    dir: TempDir,
}

/// Everything in a place but the store, to see that nothing else was touched.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<PathBuf, (u64, Option<SystemTime>, Vec<u8>)>);

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let place = Self { dir };
        for name in ["config", "home"] {
            fs::create_dir(place.path(name)).unwrap();
        }
        place.identity("sender");
        place.identity("receiver");
        place
    }

    pub(crate) fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(inside)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// The identity in a folder, made where it is missing.
    pub(crate) fn identity(&self, folder: &str) -> Identity {
        let new = NewCertificate { names: Vec::new(), days: 10, now: SystemTime::now() };
        Identity::load_or_create(&self.path(folder), &new).expect("an identity").0
    }

    /// The pin in a folder.
    pub(crate) fn pin(&self, folder: &str) -> String {
        self.identity(folder).pin().to_string()
    }

    /// Makes a folder of `count` frames of about `bytes` bytes: 0.bin, 1.bin, ...
    pub(crate) fn frames(&self, folder: &str, count: u64, bytes: usize) -> PathBuf {
        let path = self.path(folder);
        fs::create_dir_all(&path).unwrap();
        for index in 0..count {
            fs::write(path.join(format!("{index}.bin")), frame(folder, index, bytes)).unwrap();
        }
        path
    }

    /// Makes a file, with the folders it is in.
    pub(crate) fn file(&self, name: impl AsRef<Path>, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The program, in this place and nowhere else.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_framelane"));
        command.current_dir(self.dir.path()).args(args);
        command.env("XDG_CONFIG_HOME", self.path("config")).env("HOME", self.path("home"));
        for name in ["RUST_LOG", "NO_COLOR", "CLICOLOR_FORCE", "NOTIFY_SOCKET", "WATCHDOG_USEC"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Finished {
        Process::start(self.command(args)).finish()
    }

    /// Checks that the store has exactly the frames of a source's folder, byte for byte, each with
    /// one line in the manifest.
    #[track_caller]
    pub(crate) fn assert_stored(&self, source: &str) {
        assert_same_frames(&self.path(source), &self.store().join(source));
    }

    /// Waits until the store holds so many frames of a source.
    pub(crate) fn wait_for_frames(&self, source: &str, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let is_frame = |name: &str| name.ends_with(".bin") && !name.starts_with('.');
        let stored = || {
            let files = fs::read_dir(self.store().join(source)).into_iter().flatten().flatten();
            files.filter(|file| is_frame(&file.file_name().to_string_lossy())).count()
        };
        while stored() < count {
            assert!(Instant::now() < deadline, "only {} frames of {source} came", stored());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The `name` of each line of a source's manifest.
    pub(crate) fn manifest(&self, source: &str) -> Vec<serde_json::Value> {
        manifest(&self.store().join(source))
    }

    /// What is outside of the store.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut files = BTreeMap::new();
        look(self.dir.path(), &self.store(), &mut files);
        Snapshot(files)
    }
}

/// A frame's content: like no other frame's.
pub(crate) fn frame(source: &str, index: u64, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes + (index % 7) as usize];
    let mut hasher = blake3::Hasher::new();
    hasher.update(source.as_bytes()).update(&index.to_be_bytes());
    hasher.finalize_xof().fill(&mut content);
    content
}

/// Checks that a folder holds exactly the frames of another, each with one line in its manifest.
#[track_caller]
pub(crate) fn assert_same_frames(source: &Path, stored: &Path) {
    let (sent, mut found) = (contents(source), contents(stored));
    found.remove("manifest.jsonl");
    found.remove("ledger.jsonl");
    let names = |frames: &BTreeMap<String, Vec<u8>>| frames.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&sent), "other files in {}", stored.display());
    assert!(found == sent, "other content in {}", stored.display());
    let mut listed: Vec<String> = manifest(stored)
        .iter()
        .map(|line| line["name"].as_str().expect("a name").to_owned())
        .collect();
    listed.sort_unstable();
    assert_eq!(listed, names(&sent), "the manifest of {}", stored.display());
}

/// Its whole lines: a receiver may be writing the next one.
fn manifest(folder: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(folder.join("manifest.jsonl")).expect("a manifest");
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    whole.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn look(
    folder: &Path,
    store: &Path,
    files: &mut BTreeMap<PathBuf, (u64, Option<SystemTime>, Vec<u8>)>,
) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path == store {
            continue;
        }
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content =
            if metadata.is_file() { fs::read(&path).unwrap_or_default() } else { Vec::new() };
        files.insert(path.clone(), (metadata.len(), metadata.modified().ok(), content));
        if metadata.is_dir() {
            look(&path, store, files);
        }
    }
}
