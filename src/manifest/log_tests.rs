use std::fs::{self, OpenOptions};

use proptest::prelude::*;

use super::super::record::tests::sample;
use super::*;

fn open_file(path: &Path) -> File {
    OpenOptions::new().read(true).append(true).create(true).open(path).unwrap()
}

fn open(path: &Path) -> (Manifest, Opened) {
    Manifest::open(open_file(path), path, &mut |_| {}).unwrap()
}

fn text(records: &[Record]) -> Vec<u8> {
    let mut text = Vec::new();
    records.iter().for_each(|record| record.write_line(&mut text));
    text
}

fn samples(count: u64) -> Vec<Record> {
    (0..count).map(|sequence| sample(sequence, &format!("{sequence}.jpg"))).collect()
}

#[test]
fn appended_lines_are_found_now_and_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.jsonl");
    let records = samples(1_000);
    let (mut manifest, _) = open(&path);
    for batch in records.chunks(7) {
        manifest.append(batch, false).unwrap();
        assert_eq!(manifest.find(&batch[0].name).unwrap().as_ref(), Some(&batch[0]));
    }
    let (mut again, opened) = open(&path);
    assert_eq!((opened.torn_bytes, opened.bad_lines.count), (0, 0));
    for manifest in [&mut manifest, &mut again] {
        for record in records.iter().chain(records.iter().rev()) {
            assert_eq!(manifest.find(&record.name).unwrap().as_ref(), Some(record));
        }
        assert_eq!(manifest.find(&FrameName::parse("1000.jpg").unwrap()).unwrap(), None);
        assert_eq!((manifest.frames(), manifest.last_sequence()), (1_000, Some(Sequence(999))));
    }
}

#[test]
fn a_later_line_of_a_name_wins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.jsonl");
    let (mut manifest, _) = open(&path);
    let (first, mut second) = (sample(0, "a.jpg"), sample(0, "a.jpg"));
    second.bytes = 99;
    manifest.append(&[first, second.clone()], false).unwrap();
    let (mut again, _) = open(&path);
    for manifest in [&mut manifest, &mut again] {
        assert_eq!(manifest.find(&second.name).unwrap().as_ref(), Some(&second));
        assert_eq!(manifest.frames(), 1);
    }
}

#[test]
fn a_line_torn_at_any_byte_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.jsonl");
    let records = samples(2);
    let (one, both) = (text(&records[..1]), text(&records));
    for length in one.len()..both.len() {
        fs::write(&path, &both[..length]).unwrap();
        let (mut manifest, opened) = open(&path);
        // Only the line feed is missing: the line is complete, and is completed.
        let is_complete = length == both.len() - 1;
        let torn = if is_complete { 0 } else { length - one.len() };
        assert_eq!(opened.torn_bytes, torn as u64, "torn at byte {length}");
        assert_eq!(opened.bad_lines.count, 0);
        assert_eq!(manifest.find(&records[1].name).unwrap().is_some(), is_complete);
        assert_eq!(fs::read(&path).unwrap(), if is_complete { &both[..] } else { &one[..] });
        manifest.append(&records[1..], false).unwrap();
        assert_eq!(manifest.find(&records[1].name).unwrap().as_ref(), Some(&records[1]));
    }
}

#[test]
fn reading_changes_nothing_and_reports_a_torn_line_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.jsonl");
    let both = text(&samples(2));
    for (length, bad) in [(both.len() - 2, 1), (both.len() - 1, 0), (both.len(), 0)] {
        fs::write(&path, &both[..length]).unwrap();
        let (mut manifest, opened) = Manifest::read(File::open(&path).unwrap(), &path).unwrap();
        assert_eq!(opened.bad_lines.count, bad);
        assert!(opened.bad_lines.first.iter().all(|line| line.line == 2));
        let found = manifest.find(&FrameName::parse("1.jpg").unwrap()).unwrap();
        assert_eq!(found.is_some(), bad == 0);
        assert_eq!(fs::read(&path).unwrap(), &both[..length]);
    }
}

#[test]
fn bad_lines_are_named_and_the_rest_still_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.jsonl");
    let records = samples(2);
    let mut content = text(&records[..1]);
    content.extend_from_slice(b"not json\n\xff\xfe\n");
    content.extend(vec![0; 1_000_000]);
    content.push(b'\n');
    content.extend(text(&records[1..]));
    fs::write(&path, &content).unwrap();
    let (mut manifest, opened) = open(&path);
    let numbers: Vec<_> = opened.bad_lines.first.iter().map(|line| line.line).collect();
    assert_eq!(numbers, [2, 3, 4]);
    assert_eq!(manifest.frames(), 2);
    assert_eq!(manifest.find(&records[1].name).unwrap().as_ref(), Some(&records[1]));
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn a_long_end_that_no_torn_write_leaves_is_kept_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.jsonl");
    let foreign = vec![b'x'; 100_000];
    fs::write(&path, &foreign).unwrap();
    let (mut manifest, opened) = open(&path);
    assert_eq!((opened.torn_bytes, opened.bad_lines.count), (0, 1));
    let record = sample(0, "0.jpg");
    manifest.append(std::slice::from_ref(&record), false).unwrap();
    let (mut again, _) = open(&path);
    assert_eq!(again.find(&record.name).unwrap(), Some(record));
    assert!(fs::read(&path).unwrap().starts_with(&foreign));
}

#[test]
fn an_append_that_fails_leaves_no_line_and_the_next_one_works() {
    let path = Path::new("/dev/full");
    let Ok(full) = OpenOptions::new().read(true).write(true).open(path) else { return };
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("manifest.jsonl");
    let records = samples(2);
    let (mut manifest, _) = open(&good);
    manifest.append(&records[..1], false).unwrap();
    let file = std::mem::replace(&mut manifest.file, full);
    let error = manifest.append(&records[1..], false).unwrap_err();
    assert_eq!(error.cause, Errno::NOSPC);
    // The part of the line that had found room.
    manifest.file = file;
    manifest.write(b"{\"sequence\":1,\"na").unwrap();
    assert_eq!(manifest.find(&records[1].name).unwrap(), None);
    manifest.append(&records[1..], true).unwrap();
    assert_eq!(fs::read(&good).unwrap(), text(&records));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_file_holds_opening_it_is_safe_and_settles(
        chunks in prop::collection::vec(prop_oneof![
            Just(text(&samples(1))),
            prop::collection::vec(any::<u8>(), 0..50),
            Just(vec![b'\n']),
            Just(vec![b' '; MAX_LINE_BYTES]),
        ], 0..12)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.jsonl");
        fs::write(&path, chunks.concat()).unwrap();
        let (mut manifest, opened) = open(&path);
        let record = sample(7, "7.jpg");
        manifest.append(std::slice::from_ref(&record), false).unwrap();
        let (mut again, settled) = open(&path);
        prop_assert_eq!(settled.torn_bytes, 0);
        prop_assert_eq!(settled.bad_lines, opened.bad_lines);
        prop_assert_eq!(again.find(&record.name).unwrap(), Some(record));
    }
}
