//! Sending again: what is missing, nothing twice, and never over something else unasked.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use crate::support::{Place, Receiver, frame};

const WITH_RECEIPTS: [&str; 3] = ["quic", "tcp", "tcp-per-frame"];

#[test]
fn nothing_is_sent_twice() {
    for transport in WITH_RECEIPTS {
        let place = Place::new();
        place.frames("visible", 30, 5_000);
        let args = ["--transport", transport];
        let receiver = Receiver::start(&place, &args);
        receiver.send(&["visible"], &args).expect(0).prints("sent 30, stored 30,");
        receiver.send(&["visible"], &args).expect(0).prints("sent 0, stored 30 (30 before)");
        receiver.interrupt().expect(130);
        // Nor by, or to, others that are started later.
        place.frames("visible", 35, 5_000);
        let receiver = Receiver::start(&place, &args);
        receiver.send(&["visible"], &args).expect(0).prints("sent 5, stored 35 (30 before)");
        place.assert_stored("visible");
    }
}

#[test]
fn frames_whose_time_alone_changed_are_not_sent_again() {
    let place = Place::new();
    place.frames("visible", 5, 5_000);
    let receiver = Receiver::start(&place, &[]);
    receiver.send(&["visible"], &[]).expect(0);
    let file = fs::File::options().write(true).open(place.path("visible/3.bin")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    receiver.send(&["visible"], &[]).expect(0).prints("sent 0, stored 5 (5 before)");
    place.assert_stored("visible");
}

#[test]
fn changed_content_is_an_error_that_names_it_unless_it_may_be_replaced() {
    for transport in WITH_RECEIPTS {
        let place = Place::new();
        place.frames("visible", 5, 5_000);
        let with = ["--transport", transport];
        let receiver = Receiver::start(&place, &[&with[..], &["--allow-overwrite"]].concat());
        receiver.send(&["visible"], &with).expect(0);
        // One of another length, one of the same.
        let stored = fs::read(place.path("visible/2.bin")).unwrap();
        place.file("visible/1.bin", b"longer or shorter");
        place.file("visible/2.bin", &vec![7; stored.len()]);
        place.file("visible/new.bin", b"new");
        let sent = receiver.send(&["visible"], &with).expect(1);
        sent.prints("dropped 1.bin (other-content): the receiver has a frame of this name with other content")
            .prints("dropped 2.bin (other-content): the receiver has a frame of this name with other content")
            .prints("--overwrite")
            .prints("sent 1, stored 4 (3 before)")
            .prints("dropped 2 (other-content), missing 0\n");
        assert_eq!(fs::read(place.store().join("visible/2.bin")).unwrap(), stored);
        let replace = [&with[..], &["--overwrite"]].concat();
        receiver.send(&["visible"], &replace).expect(0).prints("sent 2, stored 6 (4 before)");
        for name in ["1.bin", "2.bin", "new.bin"] {
            let (sent, stored) = (place.path("visible"), place.store().join("visible"));
            assert_eq!(fs::read(stored.join(name)).unwrap(), fs::read(sent.join(name)).unwrap());
        }
        place.run(&["verify", "store"]).expect(0);
    }
}

#[test]
fn a_change_that_keeps_length_and_time_is_found_by_checksum() {
    let place = Place::new();
    place.frames("visible", 3, 5_000);
    let receiver = Receiver::start(&place, &[]);
    receiver.send(&["visible"], &[]).expect(0);
    let path = place.path("visible/1.bin");
    let before = fs::metadata(&path).unwrap();
    fs::write(&path, vec![1; before.len() as usize]).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    receiver.send(&["visible"], &[]).expect(0).prints("sent 0, stored 3 (3 before)");
    receiver
        .send(&["visible"], &["--checksum"])
        .expect(1)
        .prints("dropped 1.bin (other-content): the receiver");
}

#[test]
fn frames_are_numbered_in_natural_order() {
    let place = Place::new();
    place.frames("visible", 12, 100);
    let receiver = Receiver::start(&place, &[]);
    receiver.send(&["visible"], &[]).expect(0);
    let lines = place.manifest("visible");
    assert_eq!(lines.len(), 12);
    for line in lines {
        assert_eq!(line["name"], format!("{}.bin", line["sequence"]));
    }
}

#[test]
fn two_senders_of_one_source_store_each_frame_once() {
    let place = Place::new();
    place.frames("visible", 200, 3_000);
    let receiver = Receiver::start(&place, &[]);
    let both = [receiver.sending(&["visible"], &[]), receiver.sending(&["visible"], &[])];
    both.into_iter().for_each(|sending| drop(sending.finish().expect(0)));
    place.assert_stored("visible");
}

#[test]
fn a_receiver_that_was_started_again_is_noticed_at_once() {
    let place = Place::new();
    place.frames("visible", 40, 1_000);
    let receiver = Receiver::start(&place, &[]);
    let address = receiver.address().to_string();
    let sending = receiver.sending(&["visible"], &["--fps", "20"]);
    receiver.process().signal(crate::support::Signal::KILL);
    drop(receiver);
    let started = Instant::now();
    let receiver = Receiver::start(&place, &["--listen", &address, "--once"]);
    sending.finish().expect(0).prints("missing 0");
    receiver.finish().expect(0);
    place.assert_stored("visible");
    // Half of the time after which silence alone would be taken for the end of the connection.
    let limit = framelane::transport::quic::settings::IDLE_TIMEOUT / 2;
    assert!(started.elapsed() < limit, "it took {:?} to go on", started.elapsed());
}

/// An answer for which files have to be read is found later than the one behind it, and must not be taken for that.
#[test]
fn what_has_to_be_read_again_is_not_taken_for_what_is_new() {
    const EACH: u64 = 64;
    let place = Place::new();
    place.frames("visible", EACH, 300_000);
    let receiver = Receiver::start(&place, &[]);
    receiver.send(&["visible"], &[]).expect(0);
    // Somebody has been at the stored files, so what they hold has to be looked at.
    for number in 0..EACH {
        let path = place.store().join(format!("visible/{number}.bin"));
        let file = fs::File::options().append(true).open(path).unwrap();
        file.set_modified(SystemTime::now()).unwrap();
    }
    // As many frames as are in an offer with hashes, so that one answer fits the other offer.
    for number in EACH..3 * EACH {
        place.file(format!("visible/{number}.bin"), &frame("visible", number, 500));
    }
    let sent = receiver.send(&["visible"], &["--checksum"]).expect(0);
    sent.prints(&format!("sent {}, stored {} ({EACH} before)", 2 * EACH, 3 * EACH));
    place.assert_stored("visible");
}

/// Not a test that can fail for its time: a measurement, to be run by hand with
/// `cargo test --release --test e2e -- --ignored --nocapture skipping`.
#[test]
#[ignore = "a measurement of some seconds"]
fn skipping_100_000_stored_frames() {
    let place = Place::new();
    place.frames("visible", 100_000, 10);
    let receiver = Receiver::start(&place, &[]);
    let started = Instant::now();
    receiver.send(&["visible"], &[]).expect(0);
    println!("100,000 frames stored in {:.2} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    receiver.send(&["visible"], &[]).expect(0).prints("(100000 before)");
    println!("100,000 frames skipped in {:.2} s", started.elapsed().as_secs_f64());
    receiver.interrupt().expect(130);
    let receiver = Receiver::start(&place, &[]);
    let started = Instant::now();
    receiver.send(&["visible"], &[]).expect(0).prints("(100000 before)");
    println!("by a receiver just started, in {:.2} s", started.elapsed().as_secs_f64());
}
