//! Whose a source is, and what becomes of a store that senders share: from the command line, as its users do it.

use std::fs;

use crate::support::{Place, Receiver, assert_same_frames};

/// A receiver that lets the two cameras in by name.
fn of_two_cameras<'a>(place: &'a Place, args: &[&str]) -> Receiver<'a> {
    let (one, two) = (place.pin("sender"), place.pin("other"));
    let (one, two) = (format!("cam1={one}"), format!("cam2={two}"));
    let allow = [args, &["--allow", one.as_str(), "--allow", two.as_str()]].concat();
    Receiver::start(place, &allow)
}

#[test]
fn a_source_belongs_to_the_sender_that_opened_it() {
    let place = Place::new();
    place.frames("visible", 3, 5_000);
    let receiver = of_two_cameras(&place, &[]);
    receiver.send(&["visible"], &[]).expect(0);
    let frames = place.frames("elsewhere/visible", 3, 4_000);
    let refused = receiver.send(&["elsewhere/visible"], &["--certs", "other"]).expect(1);
    refused.says("cam1").says("--out 'DIR/{sender}'").says("--shared").says("NAME=PATH");
    // Not even where both sides let frames be replaced.
    drop(receiver);
    let receiver = of_two_cameras(&place, &["--allow-overwrite"]);
    receiver.send(&["elsewhere/visible"], &["--certs", "other", "--overwrite"]).expect(1);
    place.assert_stored("visible");
    let name = format!("mine={}", frames.display());
    receiver.send(&[&name], &["--certs", "other"]).expect(0);
    assert_same_frames(&frames, &place.store().join("mine"));
    place.run(&["verify", "store"]).expect(0);
}

#[test]
fn each_sender_has_a_store_of_its_own_where_the_path_says_so() {
    let place = Place::new();
    place.frames("visible", 3, 5_000);
    let other = place.frames("elsewhere/visible", 4, 4_000);
    let receiver = of_two_cameras(&place, &["--out", "store/{sender}"]);
    receiver.send(&["visible"], &[]).expect(0);
    receiver.send(&["elsewhere/visible"], &["--certs", "other"]).expect(0);
    assert_same_frames(&place.path("visible"), &place.store().join("cam1/visible"));
    assert_same_frames(&other, &place.store().join("cam2/visible"));
    for store in ["store/cam1", "store/cam2"] {
        place.run(&["verify", store]).expect(0).prints("complete");
    }
    // The sender of a line is in it.
    let manifest = fs::read_to_string(place.store().join("cam2/visible/manifest.jsonl")).unwrap();
    assert!(manifest.lines().all(|line| line.contains(&place.pin("other"))), "{manifest}");
}

#[test]
fn a_path_with_braces_that_stand_for_nothing_is_wrong_usage() {
    let place = Place::new();
    for (out, says) in [("store/{camera}", "{sender}"), ("store/{sender", "other half")] {
        place.run(&["receive", "--out", out, "--listen", "127.0.0.1:0"]).expect(2).says(says);
    }
    assert!(!place.store().exists());
}

#[test]
fn senders_share_a_source_where_the_receiver_says_so() {
    let place = Place::new();
    place.frames("visible", 3, 5_000);
    let receiver = of_two_cameras(&place, &["--shared"]);
    receiver.send(&["visible"], &[]).expect(0);
    let more = place.path("elsewhere/visible");
    fs::create_dir_all(&more).unwrap();
    fs::write(more.join("9.bin"), b"of the other").unwrap();
    receiver.send(&["elsewhere/visible"], &["--certs", "other"]).expect(0);
    assert_eq!(fs::read(place.store().join("visible/9.bin")).unwrap(), b"of the other");
    place.run(&["verify", "store"]).expect(0);
}

#[test]
fn frames_are_replaced_only_with_the_receivers_consent() {
    let place = Place::new();
    place.frames("visible", 3, 5_000);
    let receiver = of_two_cameras(&place, &[]);
    receiver.send(&["visible"], &[]).expect(0);
    let before = fs::read(place.path("visible/1.bin")).unwrap();
    fs::write(place.path("visible/1.bin"), b"changed").unwrap();
    receiver.send(&["visible"], &["--overwrite"]).expect(1).prints("--allow-overwrite");
    assert_eq!(fs::read(place.store().join("visible/1.bin")).unwrap(), before);
    drop(receiver);
    let receiver = of_two_cameras(&place, &["--allow-overwrite"]);
    receiver.send(&["visible"], &["--overwrite"]).expect(0);
    // The manifest has a line for each of the two.
    assert_eq!(fs::read(place.store().join("visible/1.bin")).unwrap(), b"changed");
    place.run(&["verify", "store"]).expect(0);
}
