use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::frame::{Frame, FrameMeta, FrameName, Sequence, SourceName, UnixNanos};
use crate::store::{FolderStore, Outcome, ReceivedFrame, StoreOptions};

fn store(out: &Path, source: &str, count: u64) {
    let store = FolderStore::open(out, StoreOptions::default()).unwrap();
    let mut source = store.source(&SourceName::parse(source).unwrap()).unwrap();
    let frames: Vec<_> = (0..count).map(|sequence| frame(sequence, false)).collect();
    assert_eq!(source.store_batch(&frames), vec![Outcome::Stored; frames.len()]);
}

fn frame(sequence: u64, replace: bool) -> ReceivedFrame {
    let name = FrameName::parse(&format!("{sequence:03}.jpg")).unwrap();
    let body = Bytes::from(format!("frame {sequence:03} {replace}"));
    let meta = FrameMeta {
        sequence: Sequence(sequence),
        media: name.media_type(),
        name,
        bytes: body.len() as u64,
        hash: None,
        captured: None,
        due: None,
        modified: None,
    };
    ReceivedFrame {
        frame: Frame { meta, body },
        from: Arc::default(),
        received: UnixNanos(1),
        replace,
    }
}

fn check(path: &Path) -> VerifyReport {
    let options = VerifyOptions { threads: 3, named: 100 };
    verify(path, options, &mut |_| {}).unwrap()
}

#[test]
fn an_untouched_store_is_proven() {
    let out = TempDir::new().unwrap();
    store(out.path(), "visible", 300);
    store(out.path(), "infrared", 5);
    let mut last = Vec::new();
    let mut progress =
        |at: Progress<'_>| last.push((at.source.to_owned(), at.frames, at.of_frames));
    let report = verify(out.path(), VerifyOptions::default(), &mut progress).unwrap();
    assert_eq!(last.last(), Some(&("visible".to_owned(), 300, 300)));
    assert!(report.is_proven());
    let counts: Vec<_> =
        report.sources.iter().map(|s| (s.source.as_str(), s.frames, s.verified)).collect();
    assert_eq!(counts, [("infrared", 5, 5), ("visible", 300, 300)]);
    assert_eq!(report.sources[1].verified_bytes, 300 * "frame 000 false".len() as u64);
    let single =
        verify(&out.path().join("visible"), VerifyOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(single.sources[0], report.sources[1]);
}

#[test]
fn every_kind_of_damage_is_named() {
    let out = TempDir::new().unwrap();
    store(out.path(), "visible", 200);
    let folder = out.path().join("visible");
    fs::remove_file(folder.join("010.jpg")).unwrap();
    fs::write(folder.join("020.jpg"), "frame 020 fAlse").unwrap();
    fs::write(folder.join("030.jpg"), "short").unwrap();
    fs::remove_file(folder.join("040.jpg")).unwrap();
    symlink(folder.join("041.jpg"), folder.join("040.jpg")).unwrap();
    fs::write(folder.join("extra.jpg"), "x").unwrap();
    fs::write(folder.join(".framelane-3.part"), "x").unwrap();
    symlink("/", folder.join("link")).unwrap();
    fs::create_dir(out.path().join("empty")).unwrap();
    symlink(&folder, out.path().join("other")).unwrap();
    let manifest = folder.join(FILE_NAME);
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replacen("\"sequence\":50,", "\"sequence\":51,", 1) + "{\"torn")
        .unwrap();

    let report = check(out.path());
    assert!(!report.is_proven());
    assert_eq!(report.unknown.first, ["empty", "other"]);
    let source = &report.sources[0];
    assert_eq!((source.frames, source.verified), (200, 196));
    assert_eq!(source.missing.first, ["010.jpg"]);
    assert_eq!(source.unknown.first, [".framelane-3.part", "extra.jpg", "link"]);
    let altered: Vec<_> = source.altered.first.iter().map(|a| (a.name.as_str(), &a.how)).collect();
    assert!(matches!(altered[0], ("020.jpg", Alteration::Content { .. })), "{altered:?}");
    assert_eq!(altered[1], ("030.jpg", &Alteration::Length { expected: 15, found: 5 }));
    assert_eq!(altered[2], ("040.jpg", &Alteration::NotAFile));
    assert_eq!(altered.len(), 3);
    assert_eq!((source.bad_lines.count, source.bad_lines.first[0].line), (1, 201));
    assert_eq!(source.sequences.gaps.first, [SequenceGap { from: 50, to: 50 }]);
    assert_eq!(source.sequences.duplicates, 1);
}

#[test]
fn only_the_last_line_of_a_replaced_frame_counts() {
    let out = TempDir::new().unwrap();
    store(out.path(), "visible", 3);
    let store = FolderStore::open(out.path(), StoreOptions::default()).unwrap();
    let mut source = store.source(&SourceName::parse("visible").unwrap()).unwrap();
    source.store_batch(&[frame(1, true)]);
    let report = check(out.path());
    assert!(report.is_proven());
    assert_eq!((report.sources[0].frames, report.sources[0].sequences.duplicates), (3, 0));
}

#[test]
fn findings_are_all_counted_and_some_named() {
    let out = TempDir::new().unwrap();
    store(out.path(), "visible", 150);
    let folder = out.path().join("visible");
    (0..150).for_each(|n| fs::remove_file(folder.join(format!("{n:03}.jpg"))).unwrap());
    let missing = &check(out.path()).sources[0].missing;
    assert_eq!((missing.count, missing.first.len()), (150, 100));
}

#[test]
fn a_folder_without_manifests_is_an_error_that_says_what_to_name() {
    let out = TempDir::new().unwrap();
    fs::write(out.path().join("0.jpg"), "x").unwrap();
    let error = verify(out.path(), VerifyOptions::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("--out"), "{error}");
    let nowhere = out.path().join("nowhere");
    let error = verify(&nowhere, VerifyOptions::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn a_link_that_leads_nowhere_is_told_with_its_target() {
    let out = TempDir::new().unwrap();
    let link = out.path().join("link");
    symlink("unplugged", &link).unwrap();
    let error = verify(&link, VerifyOptions::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("a symbolic link to unplugged, and there is"), "{error}");
    // The same as all that is in a store.
    let error = verify(out.path(), VerifyOptions::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("link to unplugged, where there is nothing"), "{error}");
}

#[test]
fn a_store_that_has_its_source_behind_a_link_is_told_to_name_it() {
    let (out, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    store(elsewhere.path(), "visible", 1);
    let (link, target) = (out.path().join("visible"), elsewhere.path().join("visible"));
    symlink(&target, &link).unwrap();
    let error = verify(out.path(), VerifyOptions::default(), &mut |_| {}).unwrap_err();
    let (store, path) = (out.path().to_owned(), link.clone());
    assert_eq!(error, VerifyError::OnlyLinked { store, path, target, found: true });
    // Named itself it is followed, as the user's own word.
    assert!(check(&link).is_proven());
}

#[test]
fn what_a_file_system_has_of_its_own_is_neither_source_nor_unknown() {
    let out = TempDir::new().unwrap();
    store(out.path(), "visible", 1);
    let own = out.path().join("lost+found");
    fs::create_dir(&own).unwrap();
    // As it is for everybody but root.
    fs::set_permissions(&own, fs::Permissions::from_mode(0o000)).unwrap();
    let report = check(out.path());
    fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(report.is_proven() && report.unknown.is_empty(), "{report:?}");
    // A source may be called so all the same.
    store(out.path(), "lost+found", 1);
    assert_eq!(check(out.path()).sources.len(), 2);
}

#[test]
fn the_report_as_json() {
    let out = TempDir::new().unwrap();
    store(out.path(), "visible", 2);
    fs::write(out.path().join("visible/001.jpg"), "short").unwrap();
    let json = serde_json::to_value(&check(out.path()).sources[0]).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "source": "visible", "frames": 2, "verified": 1, "verified_bytes": 15,
            "missing": { "count": 0, "first": [] },
            "altered": { "count": 1, "first": [
                { "name": "001.jpg", "how": "length", "expected": 15, "found": 5 } ] },
            "unknown": { "count": 0, "first": [] },
            "bad_lines": { "count": 0, "first": [] },
            "sequences": { "first": 0, "last": 1, "gaps": { "count": 0, "first": [] },
                "duplicates": 0, "too_scattered": false },
        })
    );
}
