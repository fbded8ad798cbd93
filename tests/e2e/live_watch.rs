//! Folders that something writes into, and folders in folders.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use crate::support::{Place, Process, Receiver, Signal, frame};

/// Writes a file as a good program does: under another name first.
fn put(place: &Place, folder: &str, name: &str, content: &[u8]) {
    let unfinished = place.file(format!("{folder}/.{name}.part"), content);
    fs::rename(unfinished, place.path(folder).join(name)).unwrap();
}

fn put_frames(place: &Place, folder: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        put(place, folder, &format!("{number}.bin"), &frame(folder, number, 1_000));
    }
}

/// Waits until so many frames of a source are stored.
fn wait_until_stored(place: &Place, source: &str, frames: usize) {
    let manifest = place.store().join(source).join("manifest.jsonl");
    let deadline = Instant::now() + Duration::from_secs(60);
    let stored = || fs::read_to_string(&manifest).unwrap_or_default().matches('\n').count();
    while stored() < frames {
        assert!(Instant::now() < deadline, "{} of {frames} are stored", stored());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lets all files of a folder be an hour old: fresh ones count as just written.
fn make_old(place: &Place, folder: &str) {
    let hour = SystemTime::now() - Duration::from_secs(3_600);
    for entry in fs::read_dir(place.path(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::File::options().append(true).open(path).unwrap().set_modified(hour).unwrap();
        } else {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            make_old(place, &format!("{folder}/{name}"));
        }
    }
}

fn stop(sending: Process, says: &str) {
    sending.signal(Signal::TERM);
    sending.finish().expect(0).prints(says);
}

#[test]
fn a_folder_that_is_not_there_yet_is_waited_for() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let sending = receiver.sending(&["visible=./visible"], &["--watch"]);
    sending.stderr_line(|line| line.contains("not there yet; waiting for it").then_some(()));
    put_frames(&place, "visible", 0..3);
    wait_until_stored(&place, "visible", 3);
    put_frames(&place, "visible", 3..5);
    wait_until_stored(&place, "visible", 5);
    stop(sending, "sent 5, stored 5");
    place.assert_stored("visible");
    place.run(&["verify", "store"]).expect(0).prints("complete");
}

#[test]
fn an_empty_folder_is_waited_for_and_one_that_stays_so_is_complete() {
    let place = Place::new();
    fs::create_dir(place.path("visible")).unwrap();
    fs::create_dir(place.path("infrared")).unwrap();
    let receiver = Receiver::start(&place, &[]);
    let sending = receiver.sending(&["visible", "infrared"], &["--watch"]);
    put_frames(&place, "visible", 0..1);
    wait_until_stored(&place, "visible", 1);
    stop(sending, "visible: 1 frame: sent 1, stored 1");
    place.run(&["verify", "store"]).expect(0);
}

#[test]
fn watching_goes_on_where_it_ended_and_what_was_stored_before_is_no_gap() {
    let place = Place::new();
    put_frames(&place, "visible", 0..4);
    let receiver = Receiver::start(&place, &[]);
    let mut stored = 4;
    for (more, is_old) in [(1, true), (1, false), (2, true)] {
        if is_old {
            make_old(&place, "visible");
        }
        let sending = receiver.sending(&["visible"], &["--watch"]);
        wait_until_stored(&place, "visible", stored);
        put_frames(&place, "visible", stored as u64..(stored + more) as u64);
        stored += more;
        wait_until_stored(&place, "visible", stored);
        let before = if is_old && stored > 5 {
            format!("sent {more}, stored {stored} ({} before)", stored - more)
        } else {
            format!("stored {stored}")
        };
        stop(sending, &before);
        place.assert_stored("visible");
        place.run(&["verify", "store"]).expect(0).prints("complete");
    }
    // And so it is where the folder is sent as it is.
    receiver.send(&["visible"], &[]).expect(0).prints("stored 8 (8 before)");
    place.run(&["verify", "store"]).expect(0).prints("complete");
}

#[test]
fn a_watched_folder_goes_beside_a_command() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let raw = "infrared=raw:2x2x1:cmd:printf abcdefgh";
    let sending = receiver.sending(&["visible=./visible", raw], &["--watch"]);
    put_frames(&place, "visible", 0..2);
    wait_until_stored(&place, "visible", 2);
    wait_until_stored(&place, "infrared", 2);
    stop(sending, "infrared: 2 frames: sent 2, stored 2");
    place.run(&["verify", "store"]).expect(0).prints("complete");
}

#[test]
fn folders_in_a_folder_arrive_with_their_names() {
    let place = Place::new();
    let names = ["0.bin", "flight1/0.bin", "flight1/10.bin", "flight2/deep/er/0.bin"];
    for (number, name) in names.into_iter().enumerate() {
        place.file(format!("visible/{name}"), &frame("visible", number as u64, 1_000));
    }
    let receiver = Receiver::start(&place, &[]);
    receiver.send(&["visible"], &["--recursive"]).expect(0).prints("sent 4, stored 4");
    for name in names {
        let [sent, stored] = ["visible", "store/visible"].map(|top| place.path(top).join(name));
        assert!(fs::read(sent).unwrap() == fs::read(stored).unwrap(), "{name}");
    }
    place.run(&["verify", "store"]).expect(0).prints("4 in the manifest, verified 4, missing 0");
    let again = receiver.send(&["visible"], &["--recursive"]);
    again.expect(0).prints("stored 4 (4 before)");

    make_old(&place, "visible");
    let sending = receiver.sending(&["visible"], &["--recursive", "--watch"]);
    place.file("visible/flight3/0.bin", &frame("visible", 9, 1_000));
    wait_until_stored(&place, "visible", 5);
    stop(sending, "sent 1, stored 5 (4 before)");
    place.run(&["verify", "store"]).expect(0).prints("complete");
}
