use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::record::tests::sample;
use super::*;
use crate::manifest::{FILE_NAME, Manifest, Record, Resting};

fn open(folder: &Path) -> Manifest {
    let path = folder.join(FILE_NAME);
    let file = OpenOptions::new().read(true).append(true).create(true).open(&path).unwrap();
    let folder = File::open(folder).unwrap().into();
    Manifest::open_in(folder, file, &path).unwrap().0
}

fn samples(from: u64, count: u64) -> Vec<Record> {
    (from..from + count).map(|n| sample(n, &format!("frame-{n}.jpg"))).collect()
}

fn name(text: &str) -> FrameName {
    FrameName::parse(text).unwrap()
}

/// What the manifest says without an index.
fn read(folder: &Path) -> Manifest {
    let path = folder.join(FILE_NAME);
    Manifest::read(File::open(&path).unwrap(), &path).unwrap().0
}

fn agrees(folder: &Path, manifest: &mut Manifest, names: &[String]) {
    let mut plain = read(folder);
    assert_eq!(format!("{:?}", manifest.summary()), format!("{:?}", plain.summary()));
    for text in names {
        assert_eq!(manifest.find(&name(text)).unwrap(), plain.find(&name(text)).unwrap(), "{text}");
    }
}

#[test]
fn names_are_found_after_they_have_left_memory() {
    let folder = TempDir::new().unwrap();
    let mut manifest = open(folder.path());
    manifest.append(&samples(0, 3_000), false).unwrap();
    drop(manifest);
    let index = folder.path().join(INDEX_NAME);
    assert!(index.is_file());
    let mut manifest = open(folder.path());
    let probes: Vec<_> = (0..3_500).map(|n| format!("frame-{n}.jpg")).collect();
    agrees(folder.path(), &mut manifest, &probes);
    // Replaced, and more of them, over an index that is made anew.
    let mut again = samples(100, 1);
    again[0].bytes = 77;
    manifest.append(&again, false).unwrap();
    manifest.append(&samples(3_000, 500), false).unwrap();
    assert_eq!(manifest.frames(), 3_500);
    manifest.settle().unwrap();
    agrees(folder.path(), &mut manifest, &probes);
    let resting = manifest.rest().unwrap();
    assert_eq!(resting.summary().frames, 3_500);
    assert_eq!(open(folder.path()).find(&name("frame-100.jpg")).unwrap().unwrap().bytes, 77);
}

#[test]
fn where_no_index_can_be_written_it_is_known_what_the_lines_come_to() {
    let folder = TempDir::new().unwrap();
    let mut manifest = open(folder.path());
    manifest.append(&samples(0, 3), false).unwrap();
    fs::create_dir(folder.path().join(INDEX_PART_NAME)).unwrap();
    let summary = manifest.rest().unwrap_err();
    assert_eq!((summary.frames, summary.last_sequence.map(|last| last.0)), (3, Some(2)));
}

#[test]
fn it_is_made_while_frames_are_stored() {
    let folder = TempDir::new().unwrap();
    let mut manifest = open(folder.path());
    for from in (0..80_000).step_by(1_000) {
        manifest.append(&samples(from, 1_000), false).unwrap();
    }
    // However long that takes, it is taken in by one of the next appends.
    let mut from = 80_000;
    while !folder.path().join(INDEX_NAME).exists() {
        manifest.append(&samples(from, 100), false).unwrap();
        from += 100;
        std::thread::yield_now();
    }
    manifest.append(&samples(from, 100), false).unwrap();
    assert_eq!(manifest.frames(), from + 100);
    let probes: Vec<_> = (0..from + 300).step_by(97).map(|n| format!("frame-{n}.jpg")).collect();
    agrees(folder.path(), &mut manifest, &probes);
}

/// An index of all for a handful of lines is not worth its while at the end.
#[test]
fn few_lines_are_left_for_the_next_opening() {
    let folder = TempDir::new().unwrap();
    let index = || fs::metadata(folder.path().join(INDEX_NAME)).unwrap().ino();
    let mut manifest = open(folder.path());
    for from in (0..200_000).step_by(2_000) {
        manifest.append(&samples(from, 2_000), false).unwrap();
    }
    manifest.settle().unwrap();
    let made = index();
    manifest.append(&samples(200_000, 1_200), false).unwrap();
    drop(manifest);
    assert_eq!(index(), made);
    let mut manifest = open(folder.path());
    let probes: Vec<_> = (0..202_000).step_by(61).map(|n| format!("frame-{n}.jpg")).collect();
    agrees(folder.path(), &mut manifest, &probes);
    manifest.append(&samples(201_200, 800), false).unwrap();
    drop(manifest);
    assert_ne!(index(), made);
    agrees(folder.path(), &mut open(folder.path()), &probes);
}

#[test]
fn one_that_does_not_fit_is_not_believed() {
    let folder = TempDir::new().unwrap();
    let index = folder.path().join(INDEX_NAME);
    open(folder.path()).append(&samples(0, 1_500), false).unwrap();
    let good = fs::read(&index).unwrap();
    let lines = fs::read(folder.path().join(FILE_NAME)).unwrap();
    let probes: Vec<_> = (0..1_600).map(|n| format!("frame-{n}.jpg")).collect();
    // Damaged in its head or its summary, cut, empty, a folder.
    for at in [0, 20, 30, 40, 60, 100, 130, good.len() - 9] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&index, &bad).unwrap();
        agrees(folder.path(), &mut open(folder.path()), &probes);
    }
    for length in [0, 10, HEAD_BYTES, good.len() - 1] {
        fs::write(&index, &good[..length]).unwrap();
        agrees(folder.path(), &mut open(folder.path()), &probes);
    }
    fs::remove_file(&index).unwrap();
    fs::create_dir(&index).unwrap();
    agrees(folder.path(), &mut open(folder.path()), &probes);
    fs::remove_dir(&index).unwrap();
    // Of a manifest that was cut, or is another's.
    for changed in [&lines[..lines.len() / 2], &lines[400..], b""] {
        fs::write(&index, &good).unwrap();
        fs::write(folder.path().join(FILE_NAME), changed).unwrap();
        let mut manifest = open(folder.path());
        let path = folder.path().join(FILE_NAME);
        let found = Manifest::read(File::open(&path).unwrap(), &path).unwrap().0.frames();
        assert_eq!(manifest.frames(), found);
        assert!(manifest.find(&name("frame-1499.jpg")).is_ok());
    }
}

#[test]
fn one_whose_lines_are_elsewhere_is_made_anew() {
    let folder = TempDir::new().unwrap();
    open(folder.path()).append(&samples(0, 5_000), false).unwrap();
    // Edited by hand far from its end, which is all that is held against the index.
    let path = folder.path().join(FILE_NAME);
    let text = fs::read_to_string(&path).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    let (second, rest) = rest.split_once('\n').unwrap();
    let short = second.replace("\"due_unix_ns\":null,", "");
    let long = first.replace("\"due_unix_ns\":null,", "\"due_unix_ns\":null,\"due_unix_n\":null,");
    let edited = format!("{long} \n{short}\n{rest}");
    assert_eq!(edited.len(), text.len());
    fs::write(&path, edited).unwrap();
    let mut manifest = open(folder.path());
    let probes: Vec<_> = (0..10).map(|n| format!("frame-{n}.jpg")).collect();
    manifest.find(&name("frame-1.jpg")).unwrap();
    agrees(folder.path(), &mut manifest, &probes);
}

#[test]
fn a_manifest_at_rest_tells_what_it_cannot_have() {
    let folder = TempDir::new().unwrap();
    let mut manifest = open(folder.path());
    manifest.append(&samples(0, 4_000), false).unwrap();
    let mut resting = manifest.rest().unwrap();
    let asks = std::cell::Cell::new(0);
    let mut may_have = |text: &str| {
        let folder = || {
            asks.set(asks.get() + 1);
            File::open(folder.path())
        };
        resting.may_have(&name(text), folder).unwrap()
    };
    assert!((0..4_000).all(|n| may_have(&format!("frame-{n}.jpg"))));
    let wrong = (0..4_000).filter(|n| may_have(&format!("frame-{n}.png"))).count();
    assert!(wrong < 2, "{wrong} names are taken for others");
    let before = asks.get();
    assert!(!may_have("frame-4000.jpg") && !may_have("a.jpg"));
    assert!(before < 4_300 && asks.get() == before, "{before} {asks:?}");
    // Of one that has more lines than its index, nothing is said.
    fs::OpenOptions::new()
        .append(true)
        .open(folder.path().join(FILE_NAME))
        .and_then(|mut file| file.write_all(b"x"))
        .unwrap();
    let file = File::open(folder.path().join(FILE_NAME)).unwrap();
    assert!(Resting::load(File::open(folder.path()).unwrap(), &file).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_last_line_of_a_name_wins(
        batches in prop::collection::vec((prop::collection::vec("[a-c]{1,3}", 0..30), 0..3u8), 0..8)
    ) {
        let folder = TempDir::new().unwrap();
        let (mut manifest, mut model, mut sequence) = (open(folder.path()), HashMap::new(), 0);
        for (names, then) in batches {
            for text in names {
                manifest.append(&[sample(sequence, &text)], false).unwrap();
                model.insert(text, sequence);
                sequence += 1;
            }
            match then {
                0 => manifest.settle().unwrap(),
                1 => {
                    drop(manifest);
                    manifest = open(folder.path());
                }
                _ => {}
            }
        }
        prop_assert_eq!(manifest.frames(), model.len() as u64);
        for (text, last) in &model {
            let found = manifest.find(&name(text)).unwrap().map(|record| record.sequence.0);
            prop_assert_eq!(found, Some(*last));
        }
        prop_assert_eq!(manifest.find(&name("absent")).unwrap(), None);
    }
}
