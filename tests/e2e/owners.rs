//! Whose a source is, and what becomes of a store that senders share: from the command line, as its users do it.

use std::fs;

use crate::support::{Finished, Place, Receiver, assert_same_frames};

/// A receiver that lets the two cameras in by name.
fn of_two_cameras<'a>(place: &'a Place, args: &[&str]) -> Receiver<'a> {
    let (one, two) = (place.pin("sender"), place.pin("other"));
    let (one, two) = (format!("cam1={one}"), format!("cam2={two}"));
    let allow = [args, &["--allow", one.as_str(), "--allow", two.as_str()]].concat();
    Receiver::start(place, &allow)
}

/// What a receiver says at its end in JSON, behind the line that says where it listened.
fn summary(received: &Finished) -> serde_json::Value {
    let (_, document) = received.stdout.split_once('\n').expect("a line for the address");
    serde_json::from_str(document).expect("JSON")
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

/// One source that is another's is not taken; the others of its sender are sent, and the run says what was not.
#[test]
fn a_source_of_another_keeps_no_other_waiting() {
    let place = Place::new();
    place.frames("visible", 3, 5_000);
    place.frames("elsewhere/visible", 4, 4_000);
    for (transport, infrared) in [("quic", "infrared"), ("tcp", "thermal")] {
        place.frames(infrared, 5, 3_000);
        let receiver = of_two_cameras(&place, &["--transport", transport, "--json"]);
        let over = ["--transport", transport];
        receiver.send(&["visible"], &over).expect(0);
        let args = ["--transport", transport, "--certs", "other", "--json"];
        let sent = receiver.send(&["elsewhere/visible", infrared], &args).expect(1);
        let sent = sent.says("source visible").says("cam1").says("--shared");
        let document = sent.json();
        assert_eq!(document["complete"], false);
        assert!(document["error"].as_str().unwrap().contains("cam1"), "{document}");
        let sources = &document["sources"];
        assert_eq!((&sources[0]["missing"], &sources[0]["stored"]), (&4.into(), &0.into()));
        assert!(sources[0]["failed"][0]["reason"].as_str().unwrap().contains("cam1"), "{document}");
        assert_eq!((&sources[1]["missing"], &sources[1]["stored"]), (&0.into(), &5.into()));
        assert_eq!(sources[1]["failed"], serde_json::json!([]));
        place.assert_stored(infrared);
        place.assert_stored("visible");
        let received = receiver.interrupt();
        assert_eq!(received.stderr.matches("source visible is not taken").count(), 1, "{received}");
        let document = summary(&received);
        assert_eq!(document["complete"], false, "one source was not taken");
        let session = &document["sessions"][1];
        assert_eq!((&session["complete"], &session["closed"]), (&false.into(), &true.into()));
        assert!(session["sources"][0]["unopened"].as_str().unwrap().contains("cam1"), "{document}");
        assert!(session["sources"][1]["unopened"].is_null(), "{document}");
        // Of what is here nothing is missing.
        place.run(&["verify", "store"]).expect(0);
    }
}

/// A camera whose source is another's does not wait for room that never comes, nor do the others end for it.
#[test]
fn a_camera_of_another_sends_nothing_and_is_told_when_the_others_have_ended() {
    let place = Place::new();
    place.frames("visible", 3, 5_000);
    let receiver = of_two_cameras(&place, &[]);
    receiver.send(&["visible"], &[]).expect(0);
    place.frames("infrared", 5, 3_000);
    let camera =
        "visible=cmd:for i in 1 2 3 4 5 6 7 8 9; do head -c 3000000 /dev/zero; done; sleep 60";
    let args = ["--certs", "other", "--spool-memory", "1MiB"];
    let sent = receiver.send(&[camera, "infrared"], &args).expect(1);
    sent.says("source visible").says("cam1").prints("stored 5");
    place.assert_stored("infrared");
    place.assert_stored("visible");
}

#[test]
fn what_a_refused_sender_wanted_to_send_is_not_there() {
    let place = Place::new();
    place.frames("visible", 3, 5_000);
    place.frames("elsewhere/visible", 3, 4_000);
    let receiver = of_two_cameras(&place, &[]);
    receiver.send(&["visible"], &[]).expect(0);
    drop(receiver);
    let receiver = of_two_cameras(&place, &["--json"]);
    receiver.send(&["elsewhere/visible"], &["--certs", "other"]).expect(1).says("cam1");
    let received = receiver.interrupt();
    let document = summary(&received);
    assert_eq!((&document["complete"], &document["stored"]), (&false.into(), &0.into()));
    let session = &document["sessions"][0];
    assert!(session["began"].is_null(), "{document}");
    assert_eq!(session["sources"][0]["name"], "visible");
    assert!(session["sources"][0]["unopened"].as_str().unwrap().contains("cam1"), "{document}");
    received.says("refused a session").says("visible");
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
