//! Streams and commands as sources.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, kill_process_group};

use crate::support::{Finished, Place, Receiver, Relay, Signal, skipped, wait_for_file};

/// A JPEG of `bytes` bytes or some more, like no other of its number.
fn jpeg(number: u8, bytes: usize) -> Vec<u8> {
    let segment = |code: u8, content: &[u8]| {
        let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
        [&[0xff, code][..], &length, content].concat()
    };
    [
        vec![0xff, 0xd8],
        segment(0xdb, &[number; 65]),
        segment(0xc0, &[8, 0, 8, 0, 8, 1, 1, 0x11, 0]),
        segment(0xda, &[1, 1, 0, 0, 63, 0]),
        vec![number & 0x7f; bytes],
        vec![0xff, 0xd9],
    ]
    .concat()
}

/// The images of these numbers, one behind the other.
fn jpegs(numbers: std::ops::Range<u8>) -> Vec<u8> {
    numbers.flat_map(|number| jpeg(number, 1_000)).collect()
}

/// What is stored of a source, in the order of the sequence: name and content.
fn stored(place: &Place, source: &str) -> Vec<(String, Vec<u8>)> {
    let mut lines = place.manifest(source);
    lines.sort_by_key(|line| line["sequence"].as_u64().unwrap());
    let numbers: Vec<_> = lines.iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]), "a sequence twice: {numbers:?}");
    let read = |line: &serde_json::Value| {
        let name = line["name"].as_str().unwrap().to_owned();
        let content = std::fs::read(place.store().join(source).join(&name)).unwrap();
        (name, content)
    };
    lines.iter().map(read).collect()
}

/// Checks that frames are stored with these contents, named by times in their order.
#[track_caller]
fn assert_stored(place: &Place, source: &str, extension: &str, contents: &[Vec<u8>]) {
    let stored = stored(place, source);
    assert_eq!(stored.len(), contents.len());
    assert!(stored.windows(2).all(|pair| pair[0].0 < pair[1].0), "names are not in order");
    for ((name, content), expected) in stored.iter().zip(contents) {
        assert!(name.starts_with("20") && name.ends_with(&format!("Z.{extension}")), "{name}");
        assert!(content == expected, "{name} has other content");
    }
}

#[track_caller]
fn verify(place: &Place, says: &str) {
    place.run(&["verify", "store"]).expect(0).prints(says);
}

fn open(place: &Place, name: &str) -> File {
    File::open(place.path(name)).unwrap()
}

#[test]
fn images_on_standard_input_are_stored_and_another_run_goes_on_behind_them() {
    let place = Place::new();
    place.file("first", &jpegs(0..5));
    place.file("second", &jpegs(5..8));
    let receiver = Receiver::start(&place, &[]);
    for (file, frames) in [("first", 5), ("second", 3)] {
        let sent = receiver.send_reading(open(&place, file), &["visible=-"], &[]);
        sent.expect(0).prints(&format!("sent {frames}, stored {frames},"));
    }
    let images: Vec<_> = (0..8).map(|number| jpeg(number, 1_000)).collect();
    assert_stored(&place, "visible", "jpg", &images);
    let lines = place.manifest("visible");
    assert!(lines.iter().all(|line| line["clock"] == "read"), "{lines:?}");
    let last = lines.iter().map(|line| line["sequence"].as_u64().unwrap()).max();
    assert_eq!(last, Some(7), "the sequence goes on");
    verify(&place, "complete");
}

#[test]
fn a_command_is_run_and_its_words_are_passed_on() {
    let place = Place::new();
    place.file("frames", &jpegs(0..4));
    let receiver = Receiver::start(&place, &[]);
    let command = "visible=cmd:echo hello >&2; cat frames";
    let raw = "infrared=raw:4x2x1:cmd:printf abcdefghABCDEFGH";
    receiver.send(&[command, raw], &[]).expect(0).says("visible: hello\n");
    let images: Vec<_> = (0..4).map(|number| jpeg(number, 1_000)).collect();
    assert_stored(&place, "visible", "jpg", &images);
    assert_stored(&place, "infrared", "raw", &[b"abcdefgh".to_vec(), b"ABCDEFGH".to_vec()]);
    verify(&place, "complete");
}

#[test]
fn images_behind_their_lengths_are_cut_by_these() {
    let place = Place::new();
    let images = [jpeg(1, 100), b"\xff\xd8 whatever".to_vec(), jpeg(2, 300)];
    let framed = |image: &Vec<u8>| {
        let length = u32::try_from(image.len()).unwrap().to_be_bytes();
        [&length[..], image].concat()
    };
    place.file("frames", &images.iter().flat_map(framed).collect::<Vec<_>>());
    let receiver = Receiver::start(&place, &[]);
    receiver.send(&["visible=cmd:cat frames"], &["--framing", "length"]).expect(0);
    let mut contents: Vec<_> =
        stored(&place, "visible").into_iter().map(|(_, content)| content).collect();
    contents.sort();
    let mut expected = images.to_vec();
    expected.sort();
    assert!(contents == expected);
    verify(&place, "complete");
}

#[test]
fn what_is_no_image_is_declared_and_the_next_image_goes_on() {
    let place = Place::new();
    let half = jpeg(9, 1_000)[..600].to_vec();
    place.file("frames", &[vec![7; 500], jpegs(0..2), half].concat());
    let receiver = Receiver::start(&place, &[]);
    let sent = receiver.send_reading(open(&place, "frames"), &["visible=-"], &[]);
    sent.expect(1)
        .prints("stored 2, verified 2, dropped 2 (not-an-image), missing 0")
        .says("no image begins here")
        .says("the input ended before the image did");
    assert_stored(&place, "visible", "jpg", &[jpeg(0, 1_000), jpeg(1, 1_000)]);
    verify(&place, "complete, with 2 declared drops");
    let cut_off = "infrared=raw:4x2x1:cmd:printf abcdefghABC";
    receiver.send(&[cut_off], &[]).expect(1).prints("dropped 1 (not-an-image)");
    assert_stored(&place, "infrared", "raw", &[b"abcdefgh".to_vec()]);
    verify(&place, "complete, with 3 declared drops");
}

#[test]
fn an_image_longer_than_the_receiver_takes_is_declared_and_the_next_goes_on() {
    let place = Place::new();
    place.file("frames", &[jpeg(0, 100), jpeg(1, 9_000), jpeg(2, 100)].concat());
    let receiver = Receiver::start(&place, &["--max-frame", "4KiB"]);
    let sent = receiver.send_reading(open(&place, "frames"), &["visible=-"], &["--json"]);
    let sent = sent.expect(1).json();
    let source = &sent["sources"][0];
    assert_eq!((&source["stored"], &source["missing"]), (&2.into(), &0.into()), "{sent}");
    assert_eq!((&source["dropped"]["too-large"], &sent["complete"]), (&1.into(), &false.into()));
    let failed = &source["failed"][0];
    assert_eq!(failed["dropped"], "too-large", "{sent}");
    assert!(failed["reason"].as_str().unwrap().contains("at most 4096"), "{sent}");
    // The same in words, and at the other end.
    let sent = receiver.send_reading(open(&place, "frames"), &["infrared=-"], &[]);
    sent.expect(1)
        .prints("stored 2, verified 2, dropped 1 (too-large), missing 0")
        .prints("at most 4096");
    receiver.interrupt().expect(130).prints("stored 4 frames").prints("dropped 2, missing 0");
    assert_stored(&place, "visible", "jpg", &[jpeg(0, 100), jpeg(2, 100)]);
    let found = place.run(&["verify", "store", "--json"]).expect(0).json();
    let drops = &found["sources"][0]["account"]["drops"][0];
    assert_eq!((&drops["reason"], &drops["frames"]), (&"too-large".into(), &1.into()), "{found}");
    verify(&place, "complete, with 1 declared drop (1 too-large at the sender)");
}

#[test]
fn a_command_that_fails_is_explained_and_other_sources_go_on() {
    let place = Place::new();
    place.frames("good", 3, 1_000);
    place.file("frames", &jpegs(0..2));
    let receiver = Receiver::start(&place, &[]);
    for (command, says) in [
        ("no-such-command", "there is no such command"),
        ("true", "it ended without an image"),
        ("cat frames; echo lens cap >&2; exit 3", "exit status 3; it said: lens cap"),
    ] {
        let source = format!("visible=cmd:{command}");
        receiver.send(&["good", &source], &[]).expect(1).says("source visible: ").says(says);
        place.assert_stored("good");
    }
    assert_eq!(stored(&place, "visible").len(), 2);
    verify(&place, "complete");
}

#[test]
fn what_cannot_be_is_refused_at_once() {
    let place = Place::new();
    place.frames("visible", 1, 100);
    let command = "a=cmd:true";
    for (args, says) in [
        (vec!["a=-", "b=-"], "standard input is given twice"),
        (vec!["-"], "write NAME=-"),
        (vec!["a=raw:640x512:-"], "not a raw size"),
        (vec!["a=raw:1048576x1048576x2:-"], "a frame has at most"),
        (vec![command, "--watch"], "--watch is for folders"),
        (vec!["a=-", "--recursive"], "--recursive is for folders"),
        (vec![command, "--include", "*.jpg"], "--include is for folders"),
        (vec!["visible", "--framing", "length"], "--framing is for images on standard input"),
        (vec!["a=raw:4x4x1:-", "--framing", "length"], "--framing is for images"),
        (vec!["visible", "a=-", "--restart"], "--restart is for commands"),
        (vec![command, "--silence", "3s"], "--restart"),
        (vec![command, "--restart", "--silence", "0"], "--silence 0"),
    ] {
        let all = [&["send", "127.0.0.1:9", "--retry-for", "0"], &args[..]].concat();
        let refused = place.run(&all);
        assert_eq!(refused.status, Some(2), "{args:?}: {refused}");
        refused.says(says);
    }
}

#[test]
fn a_command_is_started_again_and_its_gaps_are_declared() {
    let place = Place::new();
    place.file("frame", &jpeg(1, 1_000));
    let receiver = Receiver::start(&place, &[]);
    // The third time it goes on.
    let command = "visible=cmd:cat frame; echo x >> starts; [ $(wc -l < starts) -lt 3 ] || { touch third; sleep 1000; }";
    let sending = receiver.sending(&[command], &["--restart"]);
    wait_for_file(&place.path("third"));
    wait_until_stored(&place, "visible", 3);
    sending.signal(Signal::TERM);
    sending.finish().expect(0).prints("stored 3, verified 3, dropped 2 (source-stalled)");
    assert_stored(&place, "visible", "jpg", &vec![jpeg(1, 1_000); 3]);
    verify(&place, "complete, with 2 declared drops");
}

/// Waits until so many frames of a source are stored.
fn wait_until_stored(place: &Place, source: &str, frames: usize) {
    let manifest = place.store().join(source).join("manifest.jsonl");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let stored = || std::fs::read_to_string(&manifest).unwrap_or_default().matches('\n').count();
    while stored() < frames {
        assert!(std::time::Instant::now() < deadline, "{} of {frames} are stored", stored());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_command_ends_with_its_sender() {
    let place = Place::new();
    place.file("frame", &jpeg(1, 1_000));
    let receiver = Receiver::start(&place, &[]);
    for (signal, status) in [(Signal::TERM, 0), (Signal::INT, 130)] {
        let command = "visible=cmd:echo $$ > new; mv new pid; cat frame; exec sleep 1000";
        let sending = receiver.sending(&[command], &[]);
        wait_for_file(&place.path("pid"));
        let pid = std::fs::read_to_string(place.path("pid")).unwrap();
        std::fs::remove_file(place.path("pid")).unwrap();
        sending.signal(signal);
        sending.finish().expect(status).says("stopping");
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "{pid} is there still");
    }
    // So it does where the sender gives up by itself.
    let address = receiver.address().to_string();
    receiver.interrupt().expect(130);
    let pin = place.pin("receiver");
    let command = "visible=cmd:echo $$ > new; mv new pid; exec sleep 1000";
    let args = ["--pin", &pin, "--certs", "sender", "--retry-for", "1s"];
    place.run(&[&["send", &address, command], &args[..]].concat()).expect(1);
    let pid = std::fs::read_to_string(place.path("pid")).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "{pid} is there still");
}

/// As a service's manager tells all processes of a unit, or a terminal that hangs up.
#[test]
fn a_command_that_is_told_to_end_with_its_sender_has_not_failed() {
    for more in [&[][..], &["--restart"]] {
        let place = Place::new();
        place.file("frame", &jpeg(1, 1_000));
        let receiver = Receiver::start(&place, &[]);
        let command = "visible=cmd:echo $$ > new; mv new pid; cat frame; exec sleep 1000";
        let sending = receiver.sending(&[command], more);
        wait_until_stored(&place, "visible", 1);
        let pid = std::fs::read_to_string(place.path("pid")).unwrap();
        let group = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        kill_process_group(group, Signal::TERM).unwrap();
        sending.signal(Signal::TERM);
        sending.finish().expect(0).prints("stored 1, verified 1");
        verify(&place, "complete");
        let ledger = std::fs::read_to_string(place.store().join("visible/ledger.jsonl")).unwrap();
        assert!(!ledger.contains("dropped"), "{ledger}");
    }
}

#[test]
fn what_cannot_be_sent_in_the_time_to_drain_is_declared() {
    let place = Place::new();
    let images: Vec<u8> = (0..20).flat_map(|number| jpeg(number, 1_000_000)).collect();
    place.file("frames", &images);
    let receiver = Receiver::start(&place, &[]);
    let relay = Relay::start(receiver.address(), 2e6);
    let command = "visible=cmd:cat frames; touch all; sleep 1000";
    let sending = receiver.sending_over(&relay, &[command], &["--drain", "200ms"]);
    wait_for_file(&place.path("all"));
    wait_until_stored(&place, "visible", 1);
    sending.signal(Signal::TERM);
    sending
        .finish()
        .expect(130)
        .says("for up to 200 ms")
        .says("(--drain 200ms) was over")
        .says("dropped and declared (given-up)");
    let stored = stored(&place, "visible").len();
    assert!(stored < 20, "all are stored in no time");
    let found = place.run(&["verify", "store", "--json"]).expect(0).json();
    let account = &found["sources"][0]["account"];
    assert_eq!(account["state"], "complete", "{found}");
    assert_eq!(account["dropped"], 20 - stored, "{found}");
    assert_eq!(account["drops"][0]["reason"], "given-up", "{found}");
}

#[test]
fn a_sender_that_has_sent_all_is_not_interrupted_by_having_no_time_to_send_more() {
    let place = Place::new();
    place.file("frames", &(0..3).flat_map(|number| jpeg(number, 1_000)).collect::<Vec<_>>());
    let receiver = Receiver::start(&place, &[]);
    let command = "visible=cmd:cat frames; exec sleep 1000";
    let sending = receiver.sending(&[command], &["--drain", "0s", "--json"]);
    wait_until_stored(&place, "visible", 3);
    sending.signal(Signal::TERM);
    let report = sending.finish().expect(0).json();
    assert_eq!((&report["interrupted"], &report["error"]), (&false.into(), &().into()), "{report}");
    assert_eq!((&report["complete"], &report["sources"][0]["stored"]), (&true.into(), &3.into()));
    verify(&place, "complete");
}

#[test]
fn what_was_captured_before_the_end_is_sent() {
    let place = Place::new();
    let images: Vec<Vec<u8>> = (0..6).map(|number| jpeg(number, 200_000)).collect();
    place.file("frames", &images.concat());
    let receiver = Receiver::start(&place, &[]);
    let relay = Relay::start(receiver.address(), 2e6);
    let command = "visible=cmd:cat frames; touch all; sleep 1000";
    let sending = receiver.sending_over(&relay, &[command], &["--drain", "60s"]);
    wait_for_file(&place.path("all"));
    // The last of them may be in the pipe still.
    wait_until_stored(&place, "visible", 3);
    sending.signal(Signal::TERM);
    let sent: Finished = sending.finish().expect(0).says("stopping");
    let stored = stored(&place, "visible");
    assert!(stored.iter().map(|(_, content)| content).eq(&images[..stored.len()]), "{sent}");
    verify(&place, "complete");
}

#[test]
fn a_real_encoder_is_stored_frame_by_frame() {
    if Command::new("ffmpeg").arg("-version").output().is_err() {
        return skipped("there is no ffmpeg here");
    }
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let video = "ffmpeg -loglevel error -f lavfi -i testsrc=size=320x240:rate=10 -frames:v 20 -threads 1 -f image2pipe";
    let jpegs = format!("visible=cmd:{video} -c:v mjpeg -");
    let pngs = format!("graphic=cmd:{video} -c:v png -");
    let raw = format!("infrared=raw:320x240x2:cmd:{video} -c:v rawvideo -pix_fmt gray16le -");
    receiver
        .send(&[&jpegs, &pngs, &raw], &[])
        .expect(0)
        .prints("stored 20, verified 20, missing 0");
    for (source, extension) in [("visible", "jpg"), ("graphic", "png"), ("infrared", "raw")] {
        let stored = stored(&place, source);
        assert_eq!(stored.len(), 20, "{source}");
        assert!(stored.iter().all(|(name, _)| name.ends_with(extension)), "{source}");
    }
    verify(&place, "complete");
}
