//! What `framelane verify` says to people.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Place, Process, Receiver, Signal};

#[test]
fn whatever_is_not_as_it_should_be_has_a_line() {
    let place = stored(7);
    let visible = place.store().join("visible");
    fs::remove_file(visible.join("1.bin")).unwrap();
    fs::write(visible.join("2.bin"), b"short").unwrap();
    fs::remove_file(visible.join("3.bin")).unwrap();
    symlink("unplugged", visible.join("3.bin")).unwrap();
    fs::write(visible.join("extra.bin"), b"x").unwrap();
    fs::write(visible.join("line\nbreak"), b"x").unwrap();
    symlink("nowhere", visible.join("link.bin")).unwrap();
    let manifest = fs::read_to_string(visible.join("manifest.jsonl")).unwrap();
    let kept = |line: &&str| ["4.bin", "5.bin"].iter().all(|name| !line.contains(name));
    let lines: String = manifest.split_inclusive('\n').filter(kept).collect();
    fs::write(visible.join("manifest.jsonl"), lines).unwrap();
    symlink("/no/such/disk", place.store().join("infrared")).unwrap();
    fs::create_dir(place.store().join("lost+found")).unwrap();

    let found = place.run(&["verify", "store"]).expect(1);
    assert!(!found.stdout.contains("lost+found"), "{found}");
    found
        .prints("visible: 5 in the manifest, verified 2, missing 1, altered 2, unknown 5\n")
        .prints("  missing  visible/1.bin\n")
        .prints("  altered  visible/2.bin: it has 5 bytes")
        .prints(
            "visible/3.bin: it is not a regular file (a symbolic link to unplugged, where there",
        )
        .prints("  unknown  visible/4.bin\n")
        .prints("  unknown  visible/extra.bin\n")
        .prints("  unknown  visible/line\\nbreak\n")
        .prints("  unknown  visible/link.bin (a symbolic link to nowhere, where there is nothing")
        .prints("  gap      visible: sequences 4 to 5 (2 of them) have neither frame nor declaration (run ")
        .prints("beside the sources: unknown 1\n")
        .prints("  unknown  infrared (a symbolic link to /no/such/disk, where there is nothing")
        .prints("NOT proven");
}

#[test]
fn a_gap_is_a_failure_and_unknown_files_are_listed_up_to_a_limit() {
    let place = stored(2);
    let visible = place.store().join("visible");
    let manifest = visible.join("manifest.jsonl");
    let lines = fs::read_to_string(&manifest).unwrap();
    fs::write(manifest, lines.replace("\"sequence\":1,", "\"sequence\":2,")).unwrap();
    for index in 0..250 {
        fs::write(visible.join(format!("unknown-{index}")), b"x").unwrap();
    }
    let found = place.run(&["verify", "store"]).expect(1);
    let listed = found.stdout.lines().filter(|line| line.contains("visible/unknown-")).count();
    assert_eq!(listed, 100, "{found}");
    found
        .prints("  unknown  and 150 more; --json")
        .prints("  gap      visible: sequence 1 has neither frame nor declaration (run ")
        .prints("NOT proven: 2 frames verified");
}

#[test]
fn a_store_behind_a_link_that_leads_nowhere_is_told_with_its_target() {
    let place = Place::new();
    symlink("/no/such/disk", place.store()).unwrap();
    let found = place.run(&["verify", "store"]).expect(1);
    found.says("store is a symbolic link to /no/such/disk, and there is nothing");
}

#[test]
fn one_that_takes_long_is_interrupted_and_says_how_to_go_on() {
    const LONG: u64 = 1 << 40;
    let place = stored(1);
    let visible = place.store().join("visible");
    let manifest = visible.join("manifest.jsonl");
    let lines = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, lines.replace("\"bytes\":1000,", &format!("\"bytes\":{LONG},"))).unwrap();
    // It takes no room, and would be read for a quarter of an hour.
    let file = fs::File::options().write(true).open(visible.join("0.bin")).unwrap();
    file.set_len(LONG).unwrap();
    let arguments = ["verify", "store", "--resume", "--checkpoint", "read"];
    let verify = Process::start(place.command(&arguments));
    verify.stderr_line(|line| line.contains("from the beginning").then_some(()));
    verify.signal(Signal::INT);
    verify
        .finish()
        .expect(130)
        .says("framelane: interrupted before any file was read; `framelane verify store --resume")
        .says("--checkpoint read` goes on there");
    assert!(!place.path("read").exists(), "nothing was read");
    // What is no checkpoint is not written over, and not believed.
    fs::write(place.path("read"), "mine").unwrap();
    for arguments in [&arguments[..], &["verify", "store", "--checkpoint", "read"]] {
        place.run(arguments).expect(1).says("cannot use read to remember what was read");
    }
    assert_eq!(fs::read(place.path("read")).unwrap(), b"mine");
}

/// A place whose store has `count` frames of `visible`.
fn stored(count: u64) -> Place {
    let place = Place::new();
    place.frames("visible", count, 1_000);
    let receiver = Receiver::start(&place, &[]);
    receiver.send(&["visible"], &[]).expect(0);
    receiver.interrupt().expect(130);
    place
}

#[test]
fn a_folder_with_the_stores_of_senders_is_told_to_be_that() {
    let place = Place::new();
    for store in ["st/cam1", "st/cam2"] {
        place.file(format!("{store}/visible/manifest.jsonl"), b"");
    }
    place.file("st/note.txt", b"not a store");
    let refused = place.run(&["verify", "st"]).expect(1);
    refused.says("each sender has a store of its own there: name st/cam1, or st/cam2");
}
