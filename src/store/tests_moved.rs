//! What others do to a store while it is in use.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::tests::{files, frame, lines, source};
use super::*;
use crate::frame::{RunId, UnixNanos};
use crate::manifest::{Entry, FILE_NAME, LEDGER_NAME};

fn open(out: &Path) -> FolderSource {
    let store = FolderStore::open(out, StoreOptions::default()).unwrap();
    store.source(&source(), &Opener::default()).unwrap()
}

fn names(out: &Path) -> Vec<String> {
    lines(out).iter().map(|record| record.name.to_string()).collect()
}

/// A source with frame 0 stored, and then what `happens` to the store; frame 1 is stored after that.
fn goes_on(happens: impl FnOnce(&Path)) -> (TempDir, FolderSource) {
    let out = TempDir::new().unwrap();
    let path = out.path().join("out");
    let mut store = open(&path);
    assert_eq!(store.store_batch(&[frame(0, "0.jpg", b"zero")]), [Outcome::Stored]);
    happens(&path);
    let one = frame(1, "1.jpg", b"one");
    assert_eq!(store.lookup(&one.frame.meta.name).unwrap(), None);
    assert_eq!(store.store_batch(std::slice::from_ref(&one)), [Outcome::Stored]);
    assert_eq!(fs::read(path.join("visible/1.jpg")).unwrap(), b"one");
    assert_eq!(names(&path).last().unwrap(), "1.jpg");
    assert!(store.lookup(&one.frame.meta.name).unwrap().is_some());
    // What is there is there for the next receiver as well.
    drop(store);
    let mut store = open(&path);
    assert_eq!(store.store_batch(&[one]), [Outcome::AlreadyStored]);
    (out, store)
}

#[test]
fn a_folder_that_was_moved_away_keeps_what_it_has_and_gets_nothing_more() {
    let (out, mut store) = goes_on(|out| {
        fs::create_dir(out.join("../archive")).unwrap();
        fs::rename(out.join("visible"), out.join("../archive/visible")).unwrap();
    });
    let archive = out.path().join("archive");
    assert_eq!((files(&archive), names(&archive)), (vec!["0.jpg".into()], vec!["0.jpg".into()]));
    assert_eq!(files(&out.path().join("out")), ["1.jpg"]);
    // Nor is what it has replaced, or said to be stored.
    let mut zero = frame(0, "0.jpg", b"new!");
    zero.replace = true;
    assert_eq!(store.store_batch(&[zero]), [Outcome::Stored]);
    assert_eq!(fs::read(archive.join("visible/0.jpg")).unwrap(), b"zero");
}

/// A sender that shares the source, with a run of its own.
fn sharing(pin: &str, run: u8) -> Arc<Opener> {
    let mut opener = Opener::with_pin(Some(pin));
    (opener.run, opener.shared) = (Some(RunId([run; 16])), true);
    Arc::new(opener)
}

/// How a store is used.
type Way<'a> = &'a dyn Fn(&mut FolderSource);

#[test]
fn the_line_of_its_owner_is_the_first_of_a_new_ledger() {
    let out = TempDir::new().unwrap();
    let path = out.path().join("out");
    let (one, two) = (sharing("sha256:aa", 1), sharing("sha256:bb", 2));
    let store = FolderStore::open(&path, StoreOptions::default()).unwrap();
    let mut store = store.source(&source(), &one).unwrap();
    for (number, opener) in [(0, &one), (1, &two)] {
        store.admit(opener).unwrap();
        let (run, at) = (opener.run.unwrap(), UnixNanos(5));
        let began = Note::Began { run, at, endless: true, live: false, first: None };
        store.note(opener, &[began]).unwrap();
        let mut frame = frame(number, &format!("{number}.jpg"), b"here");
        frame.from = opener.clone();
        assert_eq!(store.store_batch(&[frame]), [Outcome::Stored]);
    }
    let ledger = path.join("visible").join(LEDGER_NAME);
    let entries = || -> Vec<Entry> {
        let text = fs::read_to_string(&ledger).unwrap();
        text.lines().map(|line| Entry::parse(line.as_bytes()).unwrap().unwrap()).collect()
    };
    let is_of = |entry: &Entry, pin: &str| matches!(entry, Entry::Opened { owner: Some(owner), .. } if owner == pin);
    assert!(is_of(&entries()[0], "sha256:aa"));
    let mut frame = frame(2, "2.jpg", b"two");
    frame.from = two.clone();
    let batch = [frame];
    // The first comer's it is; and where the other one only asks, or nobody does, of whoever had it.
    let look_up = |store: &mut FolderSource| drop(store.look_up(&two, &[], &|| true));
    let ways: [(Way<'_>, _); 3] = [
        (&look_up, "sha256:aa"),
        (&|store| assert_eq!(store.lookup(&batch[0].frame.meta.name).unwrap(), None), "sha256:aa"),
        (&|store| assert_eq!(store.store_batch(&batch), [Outcome::Stored]), "sha256:bb"),
    ];
    for (number, (goes_on, pin)) in ways.into_iter().enumerate() {
        fs::rename(path.join("visible"), out.path().join(format!("gone-{number}"))).unwrap();
        goes_on(&mut store);
        let entries = entries();
        assert!(is_of(&entries[0], pin), "{entries:?}");
        let opened = entries.iter().filter(|entry| matches!(entry, Entry::Opened { .. }));
        assert_eq!(opened.count(), 1, "{entries:?}");
        assert!(entries.iter().any(|entry| matches!(entry, Entry::TakenAway { .. })));
    }
}

#[test]
fn a_folder_whose_files_were_deleted_gets_a_manifest_again() {
    let (out, _store) = goes_on(|out| {
        for name in ["0.jpg", FILE_NAME, LEDGER_NAME] {
            fs::remove_file(out.join("visible").join(name)).unwrap();
        }
    });
    assert_eq!(names(&out.path().join("out")), ["1.jpg"]);
}

#[test]
fn a_folder_that_was_deleted_is_made_again() {
    goes_on(|out| fs::remove_dir_all(out.join("visible")).unwrap());
    // And the whole store.
    goes_on(|out| fs::remove_dir_all(out).unwrap());
}

#[test]
fn a_store_that_was_moved_away_is_left_as_it_was() {
    let (out, _store) = goes_on(|out| fs::rename(out, out.with_file_name("gone")).unwrap());
    assert_eq!(files(&out.path().join("gone")), ["0.jpg"]);
    assert_eq!(files(&out.path().join("out")), ["1.jpg"]);
}

#[test]
fn a_manifest_that_was_replaced_by_another_file_is_read_anew() {
    let (out, _store) = goes_on(|out| {
        let manifest = out.join("visible").join(FILE_NAME);
        // As an editor does that saves.
        fs::write(manifest.with_extension("new"), fs::read(&manifest).unwrap()).unwrap();
        fs::rename(manifest.with_extension("new"), &manifest).unwrap();
    });
    assert_eq!(names(&out.path().join("out")), ["0.jpg", "1.jpg"]);
}

#[test]
fn nothing_is_confirmed_without_a_manifest_at_its_path() {
    type InTheWay = fn(&Path);
    let ways: [InTheWay; 3] = [
        |manifest| symlink("/nowhere", manifest).unwrap(),
        |manifest| fs::create_dir(manifest).unwrap(),
        |manifest| {
            let mode = rustix::fs::Mode::RWXU;
            rustix::fs::mkfifoat(rustix::fs::CWD, manifest, mode).unwrap();
        },
    ];
    for (record, put) in
        [FILE_NAME, LEDGER_NAME].iter().flat_map(|name| ways.map(|way| (name, way)))
    {
        let out = TempDir::new().unwrap();
        let mut store = open(out.path());
        store.store_batch(&[frame(0, "0.jpg", b"zero")]);
        let path = out.path().join("visible").join(record);
        fs::rename(&path, path.with_extension("old")).unwrap();
        put(&path);
        for _ in 0..2 {
            let outcomes = store.store_batch(&[frame(1, "1.jpg", b"one")]);
            let Outcome::Failed(error) = &outcomes[0] else { panic!("{outcomes:?}") };
            assert!(error.to_string().contains("is not a regular file"), "{error}");
            assert!(store.look_up(&Opener::default(), &[], &|| true).is_empty());
        }
        assert!(!out.path().join("visible/1.jpg").exists());
        // With that out of the way it goes on.
        if fs::remove_file(&path).is_err() {
            fs::remove_dir(&path).unwrap();
        }
        fs::rename(path.with_extension("old"), &path).unwrap();
        let batch = [frame(0, "0.jpg", b"zero"), frame(1, "1.jpg", b"one")];
        assert_eq!(store.store_batch(&batch), [Outcome::AlreadyStored, Outcome::Stored]);
    }
}

#[test]
fn what_was_placed_in_a_folder_that_is_moved_away_just_then_is_placed_again() {
    let out = TempDir::new().unwrap();
    let path = out.path().join("out");
    let store = FolderStore::open(&path, StoreOptions { clock: move_away, ..Default::default() });
    let mut store = store.unwrap().source(&source(), &Opener::default()).unwrap();
    MOVED.set(Some(path.clone()));
    let batch = [frame(0, "0.jpg", b"zero"), frame(1, "1.jpg", b"one")];
    assert_eq!(store.store_batch(&batch), [Outcome::Stored, Outcome::Stored]);
    assert_eq!((files(&path), names(&path).len()), (vec!["0.jpg".into(), "1.jpg".into()], 2));
    // The one that was moved is consistent with itself.
    let moved = path.with_file_name("moved");
    assert_eq!(files(&moved).len(), lines(&moved).len());
}

thread_local! {
    static MOVED: std::cell::RefCell<Option<std::path::PathBuf>> = const { std::cell::RefCell::new(None) };
}

/// Called when the first frame has its name and no line yet: somebody moves the folder just then.
fn move_away() -> UnixNanos {
    if let Some(out) = MOVED.take() {
        let moved = out.with_file_name("moved");
        fs::create_dir(&moved).unwrap();
        fs::rename(out.join("visible"), moved.join("visible")).unwrap();
    }
    UnixNanos::now()
}

#[test]
fn a_store_that_cannot_be_written_is_not_opened() {
    let out = TempDir::new().unwrap();
    let read_only = Path::new("/proc/self");
    let error = FolderStore::open(read_only, StoreOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
    assert!(error.to_string().contains("choose another `out`"), "{error}");
    fs::set_permissions(out.path(), fs::Permissions::from_mode(0o555)).unwrap();
    // root may write everywhere.
    if !rustix::process::geteuid().is_root() {
        let error = FolderStore::open(out.path(), StoreOptions::default()).unwrap_err();
        assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
    }
    fs::set_permissions(out.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let _store = FolderStore::open(out.path(), StoreOptions::default()).unwrap();
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0, "the probe was left behind");
}
