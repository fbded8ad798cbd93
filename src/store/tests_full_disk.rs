//! A disk that is really full: a small tmpfs, mounted in a user namespace of the test's own.

use std::path::PathBuf;
use std::process::Command;

use super::model::{Model, play};
use super::tests::{files, frame, lines, open};
use super::*;

const MOUNTED: &str = "FRAMELANE_TEST_SMALL_FILE_SYSTEM";

/// Runs the test `name` of this binary again with a file system of `bytes` bytes; `None` inside it,
/// and also where the system allows no user namespaces.
fn small_file_system(name: &str, bytes: u64) -> Option<PathBuf> {
    if let Some(mounted) = std::env::var_os(MOUNTED) {
        return Some(mounted.into());
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script =
        r#"mount -t tmpfs -o "size=$1" none "$2" || exit 77; exec "$3" --exact "$4" --nocapture"#;
    let run = Command::new("unshare")
        .args(["-Urm", "sh", "-c", script, "sh"])
        .arg(bytes.to_string())
        .arg(folder.path())
        .arg(std::env::current_exe().expect("this test program"))
        .arg(format!("store::tests_full_disk::{name}"))
        .env(MOUNTED, folder.path())
        .output();
    let Ok(output) = run else {
        eprintln!("not run: there is no unshare(1) here");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => assert!(text.contains("1 passed"), "{text}"),
        // 1: no user namespace; 77: no mount in it.
        Some(1 | 77) => eprintln!("not run: no file system can be mounted here: {text}"),
        _ => panic!("{text}"),
    }
    None
}

#[test]
fn no_room_for_a_body() {
    let Some(out) = small_file_system("no_room_for_a_body", 256 * 1024) else { return };
    let mut store = open(&out);
    let (small, large) = (frame(0, "0.jpg", b"zero"), frame(1, "1.jpg", &[1; 400_000]));
    let outcomes = store.store_batch(&[small, large.clone(), frame(2, "2.jpg", b"two")]);
    assert_eq!((&outcomes[0], &outcomes[2]), (&Outcome::Stored, &Outcome::Stored));
    let Outcome::Failed(FrameError::NoSpace { frame: name, .. }) = &outcomes[1] else {
        panic!("{:?}", outcomes[1]);
    };
    assert_eq!(name, "visible/1.jpg");
    assert_eq!(files(&out), ["0.jpg", "2.jpg"]);
    assert_eq!(lines(&out).len(), 2);
}

#[test]
fn no_room_for_the_lines() {
    let Some(out) = small_file_system("no_room_for_the_lines", 256 * 1024) else { return };
    let mut store = open(&out);
    assert_eq!(store.store_batch(&[frame(99, "kept.jpg", b"kept")]), [Outcome::Stored]);
    // Empty files take no room in a tmpfs, so that only the manifest fills it.
    let mut sequence = 0;
    let failed = loop {
        let batch: Vec<_> = (sequence..sequence + 16)
            .map(|sequence| frame(sequence, &format!("{sequence}.jpg"), b""))
            .collect();
        let outcomes = store.store_batch(&batch);
        if outcomes.iter().any(|outcome| *outcome != Outcome::Stored) {
            assert!(
                outcomes.iter().all(|o| matches!(o, Outcome::Failed(FrameError::NoSpace { .. }))),
                "{outcomes:?}"
            );
            break batch;
        }
        sequence += 16;
        assert!(sequence < 10_000, "the file system is not full");
    };
    assert!(sequence > 0);
    let whole = lines(&out);
    assert_eq!((whole.len() as u64, files(&out).len() as u64), (sequence + 1, sequence + 1));
    assert!(store.lookup(&failed[0].frame.meta.name).unwrap().is_none());

    // A frame that cannot be given its line leaves the one there that it was to replace.
    for no_exchange in [false, true] {
        play(Model { no_exchange, ..Model::default() });
        let mut other = frame(sequence + 16, "kept.jpg", b"");
        other.replace = true;
        let batch: Vec<_> = failed.iter().cloned().chain([other]).collect();
        let outcomes = store.store_batch(&batch);
        let is_refused = |outcome| matches!(outcome, &Outcome::Failed(FrameError::NoSpace { .. }));
        assert!(outcomes.iter().all(is_refused), "{outcomes:?}");
        assert_eq!(std::fs::read(out.join("visible/kept.jpg")).unwrap(), b"kept");
        assert_eq!(files(&out).len() as u64, sequence + 1, "{:?}", files(&out));
    }
    play(Model::default());

    // With room again, the same store goes on where it was.
    std::fs::remove_file(out.join("visible/0.jpg")).unwrap();
    let remount = Command::new("mount").args(["-o", "remount,size=1m"]).arg(&out).status();
    assert!(remount.unwrap().success());
    assert_eq!(store.store_batch(&failed), vec![Outcome::Stored; 16]);
    assert_eq!(lines(&out).len() as u64, sequence + 17);
}
