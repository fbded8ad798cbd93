//! Names in folders, and on file systems that take different names for one. Those are played (`model`): no file
//! system of the kind could be mounted where these tests were written.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use tempfile::TempDir;

use super::model::{Model, play};
use super::tests::{files, frame, lines, open, source};
use super::*;
use crate::frame::{FrameName, SourceName, UnixNanos};
use crate::manifest::{FILE_NAME, LEDGER_NAME};

/// What FAT, HFS+ and casefolding ext4 do to names, together: case, accents taken apart, dots at the end, short
/// names, and letters that are one letter in another form.
fn fold(name: &str) -> String {
    let name = name.trim_end_matches(['.', ' ']).to_lowercase();
    let name = name.replace('\u{17f}', "s").replace("e\u{301}", "\u{e9}");
    match name.as_str() {
        FILE_NAME => "manife~1.jso".to_owned(),
        LEDGER_NAME => "ledger~1.jso".to_owned(),
        "framel~1.par" => ".framelane-0.part".to_owned(),
        name => name.to_owned(),
    }
}

fn folding() {
    play(Model { folds: Some(fold), ..Model::default() });
}

fn folded(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failed(FrameError::Folded { other, .. }) => other,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_that_is_taken_for_another_frames_is_refused_and_nothing_is_replaced() {
    folding();
    let out = TempDir::new().unwrap();
    let mut store = open(out.path());
    let first = [frame(0, "A.jpg", b"a"), frame(1, "caf\u{e9}.jpg", b"b"), frame(2, "empty", b"")];
    assert_eq!(store.store_batch(&first), vec![Outcome::Stored; 3]);
    for replace in [false, true] {
        for (name, body, other) in [
            ("a.jpg", &b"x"[..], "visible/A.jpg"),
            ("a.JPG", b"a", "visible/A.jpg"),
            ("A.jpg.", b"a", "visible/A.jpg"),
            ("cafe\u{301}.jpg", b"b", "visible/caf\u{e9}.jpg"),
            ("EMPTY", b"y", "visible/empty"),
        ] {
            let mut second = frame(9, name, body);
            second.replace = replace;
            assert_eq!(folded(&store.store_batch(&[second])[0]), other, "{name}");
        }
    }
    assert_eq!(fs::read(out.path().join("visible/A.jpg")).unwrap(), b"a");
    assert_eq!((files(out.path()).len(), lines(out.path()).len()), (3, 3));
    // In one batch as well: the second of two meets the first.
    let both = [frame(3, "two.jpg", b"2"), frame(4, "TWO.jpg", b"3")];
    let outcomes = store.store_batch(&both);
    assert_eq!(outcomes[0], Outcome::Stored);
    // Its line was not written yet when the second came, but the file was there.
    assert!(matches!(outcomes[1], Outcome::Failed(_)), "{outcomes:?}");
    assert_eq!(fs::read(out.path().join("visible/two.jpg")).unwrap(), b"2");
}

#[test]
fn no_name_reaches_the_stores_own_files() {
    folding();
    let out = TempDir::new().unwrap();
    let mut store = open(out.path());
    // Its own temporary file, which is the first.
    let mut evil = frame(1, "FRAMEL~1.PAR", b"mine");
    evil.replace = true;
    assert!(folded(&store.store_batch(&[evil])[0]).contains("the store's own"));
    assert_eq!(store.store_batch(&[frame(0, "0.jpg", b"zero")]), [Outcome::Stored]);
    let folder = out.path().join("visible");
    let inode = |name| fs::metadata(folder.join(name)).unwrap().ino();
    let own = (inode(FILE_NAME), inode(LEDGER_NAME));
    for name in ["MANIFE~1.JSO", "manife\u{17f}t.jsonl", "LEDGER~1.JSO", "manifest.jsonl."] {
        let Ok(name) = FrameName::parse(name) else { continue };
        for body in [&b"mine"[..], &fs::read(folder.join(FILE_NAME)).unwrap()] {
            let mut evil = frame(1, name.as_str(), body);
            evil.replace = true;
            assert!(folded(&store.store_batch(&[evil])[0]).contains("the store's own"), "{name}");
        }
    }
    assert_eq!((inode(FILE_NAME), inode(LEDGER_NAME)), own);
    assert_eq!((files(out.path()), lines(out.path()).len()), (vec!["0.jpg".into()], 1));
}

#[test]
fn a_frame_that_came_in_the_place_of_a_deleted_one_is_not_taken_for_it() {
    folding();
    let out = TempDir::new().unwrap();
    let mut store = open(out.path());
    let first = frame(0, "A.jpg", b"aaa");
    assert_eq!(store.store_batch(std::slice::from_ref(&first)), [Outcome::Stored]);
    fs::remove_file(out.path().join("visible/A.jpg")).unwrap();
    assert_eq!(store.store_batch(&[frame(1, "a.jpg", b"bbb")]), [Outcome::Stored]);
    assert_eq!(store.lookup(&first.frame.meta.name).unwrap(), None);
}

#[test]
fn two_sources_that_are_taken_for_one_do_not_share_a_folder() {
    folding();
    let out = TempDir::new().unwrap();
    let store = FolderStore::open(out.path(), StoreOptions::default()).unwrap();
    drop(store.source(&source(), &Opener::default()).unwrap());
    let other = SourceName::parse("Visible").unwrap();
    let error = store.source(&other, &Opener::default()).unwrap_err();
    assert!(matches!(error, StoreError::Folded { .. }), "{error}");
    // A folder that was only renamed is its new source's.
    play(Model::default());
    fs::rename(out.path().join("visible"), out.path().join("Visible")).unwrap();
    store.source(&other, &Opener::default()).unwrap();
}

#[test]
fn a_file_system_without_links_and_careful_renames_is_enough() {
    play(Model { plain: true, ..Model::default() });
    let out = TempDir::new().unwrap();
    let mut store = open(out.path());
    let one = frame(0, "0.jpg", b"zero");
    assert_eq!(store.store_batch(std::slice::from_ref(&one)), [Outcome::Stored]);
    assert_eq!(store.store_batch(&[one]), [Outcome::AlreadyStored]);
    fs::write(out.path().join("visible/1.jpg"), b"mine").unwrap();
    let outcomes = store.store_batch(&[frame(1, "1.jpg", b"one"), frame(2, "in/2.jpg", b"two")]);
    assert!(matches!(outcomes[0], Outcome::Failed(FrameError::Conflict { .. })));
    assert_eq!(outcomes[1], Outcome::Stored);
    assert_eq!(fs::read(out.path().join("visible/1.jpg")).unwrap(), b"mine");
}

#[test]
fn frames_in_folders_are_stored_there_and_found_again() {
    for durable in [false, true] {
        let out = TempDir::new().unwrap();
        let options = StoreOptions { durable, ..StoreOptions::default() };
        let open = || FolderStore::open(out.path(), options).unwrap();
        let mut store = open().source(&source(), &Opener::default()).unwrap();
        let names = ["flight1/0.jpg", "flight1/left/0.jpg", "flight2/0.jpg", "0.jpg"];
        let frames: Vec<_> =
            (0u64..).zip(names).map(|(n, name)| frame(n, name, name.as_bytes())).collect();
        assert_eq!(store.store_batch(&frames), vec![Outcome::Stored; 4]);
        for name in names {
            assert_eq!(fs::read(out.path().join("visible").join(name)).unwrap(), name.as_bytes());
        }
        drop(store);
        let mut store = open().source(&source(), &Opener::default()).unwrap();
        assert_eq!(store.store_batch(&frames), vec![Outcome::AlreadyStored; 4]);
        fs::remove_dir_all(out.path().join("visible/flight1")).unwrap();
        assert_eq!(store.lookup(&frames[0].frame.meta.name).unwrap(), None);
        assert_eq!(store.store_batch(&frames[..2]), vec![Outcome::Stored; 2]);
    }
}

#[test]
fn links_and_files_in_the_place_of_folders_are_kept_and_not_followed() {
    let (out, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut store = open(out.path());
    symlink(outside.path(), out.path().join("visible/link")).unwrap();
    fs::write(out.path().join("visible/file"), b"mine").unwrap();
    for (name, folder) in [
        ("link/0.jpg", "visible/link is a link or a file"),
        ("file/0.jpg", "visible/file is a link or a file"),
    ] {
        for replace in [false, true] {
            let mut evil = frame(0, name, b"zero");
            evil.replace = replace;
            let outcomes = store.store_batch(std::slice::from_ref(&evil));
            let Outcome::Failed(error) = &outcomes[0] else { panic!("{outcomes:?}") };
            assert!(error.to_string().contains(folder), "{error}");
            assert_eq!(store.lookup(&evil.frame.meta.name).unwrap(), None);
        }
    }
    // Nor one that came later, in the place of a folder with a stored frame.
    assert_eq!(store.store_batch(&[frame(1, "in/1.jpg", b"one")]), [Outcome::Stored]);
    fs::rename(out.path().join("visible/in"), outside.path().join("in")).unwrap();
    symlink(outside.path().join("in"), out.path().join("visible/in")).unwrap();
    assert_eq!(store.lookup(&FrameName::parse("in/1.jpg").unwrap()).unwrap(), None);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(files(out.path()), ["file", "in", "link"]);
}

#[test]
fn a_stored_file_has_the_senders_time() {
    let out = TempDir::new().unwrap();
    let mut one = frame(0, "0.jpg", b"zero");
    one.frame.meta.modified = Some(UnixNanos(1_600_000_000_123_456_789));
    open(out.path()).store_batch(&[one]);
    let stored = fs::metadata(out.path().join("visible/0.jpg")).unwrap();
    assert_eq!((stored.mtime(), stored.mtime_nsec()), (1_600_000_000, 123_456_789));
}
