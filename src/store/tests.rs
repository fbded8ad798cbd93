use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::frame::{Captured, Clock, Frame, FrameMeta, FrameName, Sequence, SourceName, UnixNanos};
use crate::manifest::{FILE_NAME, LEDGER_NAME, Record};

pub(super) fn source() -> SourceName {
    SourceName::parse("visible").unwrap()
}

pub(super) fn frame(sequence: u64, name: &str, body: &[u8]) -> ReceivedFrame {
    let name = FrameName::parse(name).unwrap();
    let meta = FrameMeta {
        sequence: Sequence(sequence),
        media: name.media_type(),
        name,
        bytes: body.len() as u64,
        hash: Some(blake3::hash(body)),
        captured: Some(Captured { at: UnixNanos(1), clock: Clock::Modified, uncertainty: None }),
        due: None,
        modified: Some(UnixNanos(2)),
    };
    let frame = Frame { meta, body: Bytes::copy_from_slice(body) };
    ReceivedFrame { frame, from: Arc::default(), received: UnixNanos(3), replace: false }
}

pub(super) fn open(out: &Path) -> FolderSource {
    let options = StoreOptions { clock: || UnixNanos(4), ..StoreOptions::default() };
    FolderStore::open(out, options).unwrap().source(&source(), &Opener::default()).unwrap()
}

/// The names in the source's folder, but for the manifest.
pub(super) fn files(out: &Path) -> Vec<String> {
    let entries = fs::read_dir(out.join("visible")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != FILE_NAME && name != LEDGER_NAME).collect();
    names.sort();
    names
}

pub(super) fn lines(out: &Path) -> Vec<Record> {
    let text = fs::read_to_string(out.join("visible").join(FILE_NAME)).unwrap();
    text.lines().map(|line| Record::parse(line.as_bytes()).unwrap()).collect()
}

fn stored(out: &Path, name: &str) -> Vec<u8> {
    fs::read(out.join("visible").join(name)).unwrap()
}

fn conflict(outcome: &Outcome) -> Taken {
    match outcome {
        Outcome::Failed(FrameError::Conflict { frame, taken }) => {
            assert!(frame.starts_with("visible/"), "{frame}");
            *taken
        }
        other => panic!("{other:?} is no conflict"),
    }
}

#[test]
fn frames_are_stored_under_their_names_with_a_line_each() {
    for durable in [false, true] {
        let out = TempDir::new().unwrap();
        let path = out.path().join("new/store");
        let options = StoreOptions { durable, clock: || UnixNanos(4), ..StoreOptions::default() };
        let mut store = FolderStore::open(&path, options)
            .unwrap()
            .source(&source(), &Opener::default())
            .unwrap();
        let frames =
            [frame(0, "0.jpg", b"zero"), frame(1, "Ünï 1.jpg", b"one"), frame(2, "e", b"")];
        assert_eq!(store.store_batch(&frames), vec![Outcome::Stored; 3]);
        assert_eq!(files(&path), ["0.jpg", "e", "Ünï 1.jpg"]);
        assert_eq!(stored(&path, "Ünï 1.jpg"), b"one");
        let lines = lines(&path);
        let expected: Vec<_> = frames
            .iter()
            .map(|f| {
                Record::new(&f.frame.meta, blake3::hash(&f.frame.body), f.received, UnixNanos(4))
            })
            .collect();
        assert_eq!(lines, expected);
        let info = store.lookup(&frames[1].frame.meta.name).unwrap().unwrap();
        assert_eq!(
            (info.bytes, info.sequence, info.modified),
            (3, Sequence(1), Some(UnixNanos(2)))
        );
        assert_eq!((store.frames(), store.last_sequence()), (3, Some(Sequence(2))));
        drop(store);
        assert_eq!(open(&path).store_batch(&frames), vec![Outcome::AlreadyStored; 3]);
    }
}

#[test]
fn a_name_with_other_content_conflicts_unless_it_may_be_replaced() {
    let out = TempDir::new().unwrap();
    let mut store = open(out.path());
    let mut other = frame(9, "0.jpg", b"other");
    let batch = [frame(0, "0.jpg", b"zero"), other.clone(), frame(1, "0.jpg", b"zero")];
    let outcomes = store.store_batch(&batch);
    assert_eq!((&outcomes[0], &outcomes[2]), (&Outcome::Stored, &Outcome::AlreadyStored));
    assert_eq!(conflict(&outcomes[1]), Taken::Stored);
    assert_eq!(stored(out.path(), "0.jpg"), b"zero");
    other.replace = true;
    assert_eq!(store.store_batch(std::slice::from_ref(&other)), [Outcome::Stored]);
    assert_eq!(stored(out.path(), "0.jpg"), b"other");
    assert_eq!((lines(out.path()).len(), store.frames()), (2, 1));
    let info = store.lookup(&other.frame.meta.name).unwrap().unwrap();
    assert_eq!(info.hash, blake3::hash(b"other"));
    assert_eq!(files(out.path()), ["0.jpg"]);
}

#[test]
fn bodies_that_are_not_as_announced_leave_nothing() {
    let out = TempDir::new().unwrap();
    let mut store = open(out.path());
    let mut flipped = frame(0, "flipped", b"body");
    flipped.frame.body = Bytes::from_static(b"bodX");
    let mut short = frame(1, "short", b"body");
    short.frame.body = Bytes::from_static(b"bod");
    let mut unhashed = frame(2, "unhashed", b"body");
    unhashed.frame.meta.hash = None;
    let outcomes = store.store_batch(&[flipped, short, unhashed]);
    assert!(matches!(outcomes[0], Outcome::Failed(FrameError::HashMismatch { .. })));
    assert!(matches!(outcomes[1], Outcome::Failed(FrameError::LengthMismatch { .. })));
    assert_eq!(outcomes[2], Outcome::Stored);
    assert_eq!(files(out.path()), ["unhashed"]);
    assert_eq!(lines(out.path())[0].blake3, blake3::hash(b"body"));
}

#[test]
fn one_receiver_at_a_time() {
    let out = TempDir::new().unwrap();
    let whole = FolderStore::open(out.path(), StoreOptions::default()).unwrap();
    let store = whole.source(&source(), &Opener::default()).unwrap();
    assert!(matches!(
        whole.source(&source(), &Opener::default()),
        Err(StoreError::SourceInUse { .. })
    ));
    drop(whole);
    let again = FolderStore::open(out.path(), StoreOptions::default());
    assert!(again.unwrap_err().to_string().contains("in use by another receiver"));
    drop(store);
    open(out.path());
    let in_out: Vec<_> = fs::read_dir(out.path()).unwrap().collect();
    assert_eq!(in_out.len(), 1, "the lock left something behind");
}

// --- After a crash: the states that a kill can leave, one after the other. ---

/// A killed receiver's folder: frame 0 stored, and then whatever `leave` does to it.
fn crashed(leave: impl FnOnce(&Path)) -> TempDir {
    let out = TempDir::new().unwrap();
    open(out.path()).store_batch(&[frame(0, "0.jpg", b"zero")]);
    leave(&out.path().join("visible"));
    out
}

/// Sends both frames again, as a sender does that has no receipt for frame 1, and checks that each
/// is stored once.
fn resumes(out: &Path) {
    let mut store = open(out);
    let one = frame(1, "1.jpg", b"one");
    assert!(store.lookup(&one.frame.meta.name).unwrap().is_none());
    let outcomes = store.store_batch(&[frame(0, "0.jpg", b"zero"), one]);
    assert_eq!(outcomes, [Outcome::AlreadyStored, Outcome::Stored]);
    assert_eq!(files(out), ["0.jpg", "1.jpg"]);
    assert_eq!((stored(out, "0.jpg"), stored(out, "1.jpg")), (b"zero".to_vec(), b"one".to_vec()));
    let names: Vec<_> = lines(out).iter().map(|record| record.name.to_string()).collect();
    assert_eq!(names, ["0.jpg", "1.jpg"]);
}

#[test]
fn killed_before_the_first_byte() {
    resumes(crashed(|_| {}).path());
}

#[test]
fn killed_while_the_file_was_written() {
    resumes(crashed(|folder| fs::write(folder.join(".framelane-7.part"), b"on").unwrap()).path());
}

#[test]
fn killed_between_the_file_and_its_line() {
    resumes(crashed(|folder| fs::write(folder.join("1.jpg"), b"one").unwrap()).path());
}

#[test]
fn killed_between_linking_and_unlinking_the_file() {
    let out = crashed(|folder| {
        fs::write(folder.join(".framelane-1.part"), b"one").unwrap();
        fs::hard_link(folder.join(".framelane-1.part"), folder.join("1.jpg")).unwrap();
    });
    resumes(out.path());
}

#[test]
fn killed_while_the_line_was_written() {
    let mut line = Vec::new();
    let one = frame(1, "1.jpg", b"one");
    Record::new(&one.frame.meta, blake3::hash(b"one"), UnixNanos(3), UnixNanos(4))
        .write_line(&mut line);
    for length in 0..line.len() - 1 {
        let out = crashed(|folder| {
            fs::write(folder.join("1.jpg"), b"one").unwrap();
            let mut text = fs::read(folder.join(FILE_NAME)).unwrap();
            text.extend_from_slice(&line[..length]);
            fs::write(folder.join(FILE_NAME), text).unwrap();
        });
        resumes(out.path());
    }
}

#[test]
fn power_cut_that_left_an_empty_file() {
    resumes(crashed(|folder| fs::write(folder.join("1.jpg"), b"").unwrap()).path());
}

#[test]
fn a_line_without_its_file_is_stored_again() {
    let out = crashed(|folder| fs::remove_file(folder.join("0.jpg")).unwrap());
    let mut store = open(out.path());
    let zero = frame(5, "0.jpg", b"zero");
    assert!(store.lookup(&zero.frame.meta.name).unwrap().is_none());
    assert_eq!(store.store_batch(std::slice::from_ref(&zero)), [Outcome::Stored]);
    let info = open_again(store, out.path()).lookup(&zero.frame.meta.name).unwrap().unwrap();
    assert_eq!(info.sequence, Sequence(5));
}

/// Frame 0 stored, whatever `alter` does to its folder, and the times of its lines then moved by so many seconds:
/// as if its file had been changed by so many seconds the other way.
fn stored_and_changed(seconds: i64, alter: impl FnOnce(&Path)) -> (TempDir, FolderSource) {
    let out = TempDir::new().unwrap();
    let open = || FolderStore::open(out.path(), StoreOptions::default()).unwrap();
    let opener = Opener::default();
    let mut zero = frame(0, "0.jpg", b"zero");
    zero.received = UnixNanos::now();
    assert_eq!(open().source(&source(), &opener).unwrap().store_batch(&[zero]), [Outcome::Stored]);
    let folder = out.path().join("visible");
    alter(&folder);
    let by = |UnixNanos(time)| UnixNanos(time.saturating_add_signed(-seconds * 1_000_000_000));
    let mut text = Vec::new();
    for record in lines(out.path()) {
        let (received, stored) = (by(record.received), by(record.stored));
        Record { received, stored, ..record }.write_line(&mut text);
    }
    fs::write(folder.join(FILE_NAME), text).unwrap();
    let store = open().source(&source(), &opener).unwrap();
    (out, store)
}

#[test]
fn killed_between_replacing_a_file_of_the_same_length_and_its_line() {
    let (out, mut store) = stored_and_changed(1, |folder| {
        fs::write(folder.join(".framelane-0.part"), b"ZERO").unwrap();
        fs::rename(folder.join(".framelane-0.part"), folder.join("0.jpg")).unwrap();
    });
    let (old, new) = (frame(0, "0.jpg", b"zero"), frame(0, "0.jpg", b"ZERO"));
    assert_eq!(store.lookup(&old.frame.meta.name).unwrap(), None, "it is there no more");
    assert_eq!(conflict(&store.store_batch(&[old])[0]), Taken::Altered);
    assert_eq!(store.store_batch(std::slice::from_ref(&new)), [Outcome::Stored]);
    let hash = store.lookup(&new.frame.meta.name).unwrap().unwrap().hash;
    assert_eq!((hash, stored(out.path(), "0.jpg")), (blake3::hash(b"ZERO"), b"ZERO".to_vec()));
    assert_eq!((lines(out.path()).len(), files(out.path()).len()), (2, 1));
}

#[test]
fn power_cut_that_left_the_line_of_a_file_and_the_file_it_was_to_replace() {
    let new = frame(0, "0.jpg", b"ZERO");
    let (out, mut store) = stored_and_changed(-1, |folder| {
        let now = UnixNanos::now();
        let mut text = fs::read(folder.join(FILE_NAME)).unwrap();
        Record::new(&new.frame.meta, blake3::hash(b"ZERO"), now, now).write_line(&mut text);
        fs::write(folder.join(FILE_NAME), text).unwrap();
    });
    assert_eq!(store.lookup(&new.frame.meta.name).unwrap(), None, "it never came");
    assert_eq!(conflict(&store.store_batch(std::slice::from_ref(&new))[0]), Taken::Altered);
    let replace = ReceivedFrame { replace: true, ..new };
    assert_eq!(store.store_batch(&[replace]), [Outcome::Stored]);
    assert_eq!(stored(out.path(), "0.jpg"), b"ZERO");
}

#[test]
fn a_file_that_was_touched_or_copied_is_still_stored() {
    let zero = frame(0, "0.jpg", b"zero");
    for seconds in [-3_600, 0, 3_600] {
        let (_out, mut store) = stored_and_changed(seconds, |_| {});
        assert!(store.lookup(&zero.frame.meta.name).unwrap().is_some(), "{seconds}");
        assert_eq!(store.store_batch(std::slice::from_ref(&zero)), [Outcome::AlreadyStored]);
    }
}

#[test]
fn a_file_that_is_by_its_time_the_one_stored_is_not_read() {
    let (out, mut store) = stored_and_changed(0, |_| {});
    // Within the tick of the kernel's clock in which it was stored.
    let mut text = Vec::new();
    let mut record = lines(out.path()).remove(0);
    record.stored = UnixNanos(record.stored.0 + 3_600_000_000_000);
    record.write_line(&mut text);
    fs::write(out.path().join("visible/0.jpg"), b"ZERO").unwrap();
    fs::write(out.path().join("visible").join(FILE_NAME), text).unwrap();
    let name = FrameName::parse("0.jpg").unwrap();
    assert_eq!(store.lookup(&name).unwrap().unwrap().hash, blake3::hash(b"zero"));
}

fn open_again(store: FolderSource, out: &Path) -> FolderSource {
    drop(store);
    open(out)
}

#[test]
fn files_that_may_be_somebodys_are_never_touched() {
    let out = crashed(|folder| {
        fs::write(folder.join("notes.txt"), b"mine").unwrap();
        fs::write(folder.join(".framelane-notes"), b"mine").unwrap();
        fs::write(folder.join(".framelane-x.part"), b"mine").unwrap();
        fs::create_dir(folder.join(".framelane-3.part")).unwrap();
        fs::write(folder.join("1.jpg"), b"mine").unwrap();
        fs::write(folder.join("0.jpg"), b"annotated").unwrap();
    });
    let mut store = open(out.path());
    let outcomes = store.store_batch(&[frame(0, "0.jpg", b"zero"), frame(1, "1.jpg", b"one")]);
    assert_eq!(conflict(&outcomes[0]), Taken::Altered);
    assert_eq!(conflict(&outcomes[1]), Taken::Unlisted);
    let kept = [".framelane-3.part", ".framelane-notes", ".framelane-x.part", "0.jpg", "1.jpg"];
    assert_eq!(files(out.path())[..5], kept);
    assert_eq!(stored(out.path(), "0.jpg"), b"annotated");
    assert_eq!(stored(out.path(), "1.jpg"), b"mine");
}

// --- Links placed in the store. ---

fn outside() -> (TempDir, PathBuf) {
    let outside = TempDir::new().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, b"precious").unwrap();
    (outside, victim)
}

#[test]
fn a_link_with_a_frames_name_is_refused_and_not_followed() {
    let (_outside, victim) = outside();
    let out = crashed(|folder| symlink(&victim, folder.join("1.jpg")).unwrap());
    let mut store = open(out.path());
    let dangling = out.path().join("visible/2.jpg");
    symlink(victim.with_file_name("new"), &dangling).unwrap();
    for replace in [false, true] {
        for body in [&b"precious"[..], b"other"] {
            let mut frames = [frame(1, "1.jpg", body), frame(2, "2.jpg", body)];
            frames.iter_mut().for_each(|frame| frame.replace = replace);
            for outcome in store.store_batch(&frames) {
                assert!(matches!(outcome, Outcome::Failed(FrameError::NotAFile { .. })));
            }
        }
    }
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert!(!victim.with_file_name("new").exists());
    assert_eq!(lines(out.path()).len(), 1);
    assert_eq!(files(out.path()), ["0.jpg", "1.jpg", "2.jpg"]);
}

#[test]
fn a_stored_frame_swapped_for_a_link_is_not_stored_any_more() {
    let (_outside, victim) = outside();
    let out = crashed(|folder| {
        fs::remove_file(folder.join("0.jpg")).unwrap();
        symlink(&victim, folder.join("0.jpg")).unwrap();
    });
    let zero = frame(0, "0.jpg", b"zero");
    let mut store = open(out.path());
    assert!(store.lookup(&zero.frame.meta.name).unwrap().is_none());
    let outcomes = store.store_batch(&[zero]);
    assert!(matches!(outcomes[0], Outcome::Failed(FrameError::NotAFile { .. })));
}

#[test]
fn links_in_the_place_of_the_source_or_its_manifest_are_refused() {
    let (elsewhere, victim) = outside();
    let out = TempDir::new().unwrap();
    let store = FolderStore::open(out.path(), StoreOptions::default()).unwrap();
    let folder = out.path().join("visible");

    symlink(elsewhere.path(), &folder).unwrap();
    let error = store.source(&source(), &Opener::default()).unwrap_err();
    assert_eq!(error, StoreError::NotAFolder { path: folder.clone() });

    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    symlink(&victim, folder.join(FILE_NAME)).unwrap();
    let error = store.source(&source(), &Opener::default()).unwrap_err();
    assert_eq!(error, StoreError::ManifestNotAFile { path: folder.join(FILE_NAME) });

    fs::remove_file(folder.join(FILE_NAME)).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.join(FILE_NAME), rustix::fs::Mode::RWXU).unwrap();
    let error = store.source(&source(), &Opener::default()).unwrap_err();
    assert_eq!(error, StoreError::ManifestNotAFile { path: folder.join(FILE_NAME) });

    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
}

#[test]
fn a_temporary_name_that_is_a_link_is_not_written_through() {
    let (_outside, victim) = outside();
    let out = TempDir::new().unwrap();
    let mut store = open(out.path());
    for part in 0..3 {
        symlink(&victim, out.path().join(format!("visible/.framelane-{part}.part"))).unwrap();
    }
    assert_eq!(store.store_batch(&[frame(0, "0.jpg", b"zero")]), [Outcome::Stored]);
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    open_again(store, out.path());
    assert_eq!(files(out.path()), ["0.jpg"]);
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn out_that_is_a_file_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = FolderStore::open(file.path(), StoreOptions::default()).unwrap_err();
    assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever is sent in whatever batches, with the store opened anew in between: each name holds
    /// the first content that came for it, or the last one that might replace it.
    #[test]
    fn the_store_holds_what_its_outcomes_say(
        batches in prop::collection::vec(
            prop::collection::vec((0..6u8, 0..3u8, any::<bool>()), 1..6), 1..6)
    ) {
        let out = TempDir::new().unwrap();
        let mut model = std::collections::BTreeMap::new();
        for batch in batches {
            let frames: Vec<_> = batch.iter().map(|&(name, body, replace)| {
                let body = vec![body; usize::from(body) * 3];
                ReceivedFrame { replace, ..frame(u64::from(name), &format!("{name}"), &body) }
            }).collect();
            let outcomes = open(out.path()).store_batch(&frames);
            for (frame, outcome) in frames.iter().zip(outcomes) {
                let (name, body) = (frame.frame.meta.name.to_string(), frame.frame.body.clone());
                let held = model.get(&name);
                let is_lost = held.is_none() || frame.replace && held != Some(&body);
                match outcome {
                    Outcome::Stored => {
                        prop_assert!(is_lost);
                        model.insert(name, body);
                    }
                    Outcome::AlreadyStored => prop_assert_eq!(held, Some(&body)),
                    Outcome::Failed(FrameError::Conflict { .. }) => {
                        prop_assert!(!frame.replace && held != Some(&body));
                    }
                    Outcome::Failed(error) => prop_assert!(false, "{}", error),
                }
            }
        }
        for (name, body) in &model {
            prop_assert_eq!(&stored(out.path(), name), body);
        }
        prop_assert_eq!(files(out.path()), model.into_keys().collect::<Vec<_>>());
    }
}
