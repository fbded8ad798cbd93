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

/// Stops a sender that says what goes on, once it has a session: before that a signal may end it at once.
fn stop_in_session(sending: Process, says: &str) {
    sending.stderr_line(|line| line.contains("connected transport=").then_some(()));
    stop(sending, says);
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
fn a_file_that_is_not_complete_at_the_end_is_named_and_no_success() {
    let place = Place::new();
    fs::create_dir(place.path("visible")).unwrap();
    let receiver = Receiver::start(&place, &[]);
    let sending = receiver.sending(&["visible"], &["--watch", "--json"]);
    put_frames(&place, "visible", 0..2);
    wait_until_stored(&place, "visible", 2);
    // An image without its end, as one whose writer was killed.
    put(
        &place,
        "visible",
        "torn.jpg",
        b"\xff\xd8\xff\xe0\0\x07JFIF\0\xff\xda\0\x08\x01\x01\0\0\x3f\0\x2a",
    );
    sending.signal(Signal::TERM);
    let ended = sending.finish().expect(1);
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(told["not_sent"][0]["path"].as_str().unwrap().ends_with("torn.jpg"), "{told}");
    assert_eq!(
        (&told["not_sent"][1], &told["sources"][0]["stored"]),
        (&serde_json::Value::Null, &2.into())
    );
}

#[test]
fn a_folder_below_that_is_renamed_goes_on_and_one_that_is_too_deep_is_named() {
    let place = Place::new();
    fs::create_dir_all(place.path("visible/tmp/b")).unwrap();
    let receiver = Receiver::start(&place, &[]);
    let sending = receiver.sending(&["visible"], &["--watch", "--recursive", "--json"]);
    put_frames(&place, "visible/tmp/b", 0..1);
    wait_until_stored(&place, "visible", 1);
    fs::rename(place.path("visible/tmp"), place.path("visible/flight")).unwrap();
    put_frames(&place, "visible/flight/b", 1..2);
    wait_until_stored(&place, "visible", 3);
    fs::create_dir_all(place.path("visible/1/2/3/4/5/6/7/8")).unwrap();
    sending.signal(Signal::TERM);
    let ended = sending.finish().expect(1);
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(told["not_sent"][0]["path"].as_str().unwrap().ends_with("1/2/3/4/5/6/7/8"), "{told}");
    let mut names: Vec<_> =
        place.manifest("visible").iter().map(|line| line["name"].to_string()).collect();
    names.sort_unstable();
    assert_eq!(names, ["\"flight/b/0.bin\"", "\"flight/b/1.bin\"", "\"tmp/b/0.bin\""]);
}

#[test]
fn a_signal_that_comes_twice_at_once_is_one_wish() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    fs::create_dir(place.path("visible")).unwrap();
    let sending = receiver.sending(&["visible"], &["--watch", "-v"]);
    put_frames(&place, "visible", 0..50);
    sending.stderr_line(|line| line.contains("connected transport=").then_some(()));
    // Two that cannot become one in the kernel, as from `timeout` and from its group.
    sending.signal(Signal::TERM);
    sending.signal(Signal::HUP);
    sending.finish().expect(0).prints("50 frames: sent 50, stored 50");
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
    // What is stored is none of those that may be too late, however new its file is.
    for live in [&[][..], &["--live", "1ms"]] {
        let place = Place::new();
        put_frames(&place, "visible", 0..4);
        let receiver = Receiver::start(&place, &[]);
        let mut stored = 0;
        for is_old in [true, false, true] {
            if is_old {
                make_old(&place, "visible");
            }
            let live = if stored == 0 { &[][..] } else { live };
            let args = [&["--watch", "-v"], live].concat();
            let sending = receiver.sending(&["visible"], &args);
            wait_until_stored(&place, "visible", 4);
            if live.is_empty() && stored < 6 {
                let more = stored.max(4) as u64;
                put_frames(&place, "visible", more..more + 1);
                wait_until_stored(&place, "visible", more as usize + 1);
            }
            let all = place.manifest("visible").len();
            let before = match stored {
                0 => format!("sent {all}, stored {all}, verified {all}, missing 0"),
                _ => format!(
                    "sent {}, stored {all} ({stored} before), verified {all}, missing 0",
                    all - stored
                ),
            };
            stop_in_session(sending, &before);
            stored = all;
            place.assert_stored("visible");
            place.run(&["verify", "store"]).expect(0).prints("complete:");
        }
        // And so it is where the folder is sent as it is.
        let all = format!("stored {stored} ({stored} before)");
        receiver.send(&["visible"], &[]).expect(0).prints(&all);
        place.run(&["verify", "store"]).expect(0).prints("complete:");
    }
}

/// As ffmpeg's `-update 1` does, or a camera that counts from 0 again.
#[test]
fn a_file_that_was_written_over_between_two_lives_has_its_time_in_its_name() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let told = ["sent 1, stored 1, ", "sent 1, stored 1, ", "sent 0, stored 1 (1 before), "];
    for (life, stored, told) in [(0, 1, told[0]), (1, 2, told[1]), (1, 2, told[2])] {
        place.file("visible/latest.bin", &[life; 5_000]);
        // The time is the same in the last two lives, as that of a file that nobody touches.
        let file = fs::File::options().append(true).open(place.path("visible/latest.bin")).unwrap();
        let hour = Duration::from_secs(3_600);
        let time = SystemTime::UNIX_EPOCH + (400_000 + u32::from(life)) * hour;
        file.set_modified(time + Duration::from_millis(5)).unwrap();
        let sending = receiver.sending(&["visible"], &["--watch", "-v"]);
        wait_until_stored(&place, "visible", stored);
        stop_in_session(sending, told);
        place.run(&["verify", "store"]).expect(0).prints("complete:");
    }
    let names: Vec<_> =
        place.manifest("visible").into_iter().map(|line| line["name"].clone()).collect();
    assert_eq!(names, ["latest.bin", "latest.20150819T170000.005000Z.bin"]);
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

/// The names of a source's stored frames.
fn names(place: &Place, source: &str) -> Vec<String> {
    let lines = place.manifest(source).into_iter();
    let mut names: Vec<_> = lines.map(|line| line["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn with_a_deadline_what_is_too_old_at_the_start_is_declared_and_what_is_stored_is_no_drop() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    put_frames(&place, "visible", 0..2);
    receiver.send(&["visible"], &[]).expect(0);
    put_frames(&place, "visible", 2..5);
    make_old(&place, "visible");
    let args = ["--watch", "--live", "60s", "--spool", "spool"];
    let first = receiver.sending(&["visible"], &args);
    put_frames(&place, "visible", 5..7);
    wait_until_stored(&place, "visible", 4);
    first.signal(Signal::KILL);
    first.finish();
    // While nobody looks: one of an hour ago, and one that is younger, and too old as well.
    put_frames(&place, "visible", 7..8);
    make_old(&place, "visible");
    put_frames(&place, "visible", 8..9);
    let younger = fs::File::options().append(true).open(place.path("visible/8.bin")).unwrap();
    younger.set_modified(SystemTime::now() - Duration::from_secs(4)).unwrap();
    let args = ["--watch", "--live", "2s", "--spool", "spool", "--json"];
    let second = receiver.sending(&["visible"], &args);
    wait_until_declared(&place, 5);
    // It is new when it is seen, whatever its writer takes for the time.
    put_frames(&place, "visible", 9..10);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !place.store().join("visible/9.bin").exists() {
        assert!(Instant::now() < deadline, "the new file does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
    second.signal(Signal::TERM);
    let report = second.finish().expect(0).json();
    assert_eq!(report["sources"][0]["missing"], 0, "{report}");
    assert_eq!(names(&place, "visible"), ["0.bin", "1.bin", "5.bin", "6.bin", "9.bin"]);
    let found = place.run(&["verify", "store", "--json"]).expect(0).json();
    assert_eq!(found["sources"][0]["account"]["state"], "complete", "{found}");
    receiver.interrupt().expect(130);
}

/// Waits until so many frames are declared to be late in the store.
fn wait_until_declared(place: &Place, frames: u64) {
    let number = |value: &serde_json::Value| {
        value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap()
    };
    let declared = || {
        let ledger = fs::read_to_string(place.store().join("visible/ledger.jsonl")).unwrap();
        let lines = ledger.lines().filter_map(|line| serde_json::from_str(line).ok());
        let late = lines.filter(|line: &serde_json::Value| line["reason"] == "late");
        let count = |line: serde_json::Value| {
            let dropped = &line["dropped"];
            number(&dropped["last"]) - number(&dropped["first"]) + 1
        };
        late.map(count).sum::<u64>()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while declared() < frames {
        assert!(Instant::now() < deadline, "{} of {frames} are declared", declared());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a sender of a folder of so many old files takes for it: the time until a new file is stored, and its memory
/// beside the program.
fn with_old_files(count: u32) -> (Duration, u64) {
    let place = Place::new();
    fs::create_dir(place.path("visible")).unwrap();
    let old = SystemTime::now() - Duration::from_secs(3_600);
    // Links to one file: they cost next to nothing to make.
    let mut one = place.file("visible/0.bin", b"an old frame");
    for number in 1..count {
        let name = place.path(format!("visible/{number}.bin"));
        // A file system has a limit of links to one file.
        if number % 30_000 == 0 {
            fs::write(&name, b"an old frame").unwrap();
            one = name;
        } else {
            fs::hard_link(&one, name).unwrap();
        }
        if number % 30_000 == 1 {
            fs::File::options().append(true).open(&one).unwrap().set_modified(old).unwrap();
        }
    }
    let receiver = Receiver::start(&place, &[]);
    let began = Instant::now();
    let sending = receiver.sending(&["visible"], &["--watch", "--live", "300ms", "--json"]);
    let mut next = 0;
    let deadline = Instant::now() + Duration::from_secs(600);
    // A new file now and then, until one of them is in time: the first may come while the folder is listed.
    while !fs::read_dir(place.store().join("visible")).is_ok_and(|found| {
        found.flatten().any(|it| it.file_name().as_encoded_bytes().starts_with(b"new"))
    }) {
        assert!(Instant::now() < deadline, "no new file comes");
        put(&place, "visible", &format!("new{next}.bin"), &frame("visible", next, 1_000));
        next += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    let took = began.elapsed();
    wait_until_declared(&place, u64::from(count));
    let status = fs::read_to_string(format!("/proc/{}/status", sending.pid())).unwrap();
    let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let own: u64 = own.split_whitespace().next().unwrap().parse().unwrap();
    sending.signal(Signal::TERM);
    let report = sending.finish().expect(0).json();
    let late = report["sources"][0]["dropped"]["late"].as_u64().unwrap();
    assert!(late >= u64::from(count), "{report}");
    receiver.interrupt().expect(130);
    place.run(&["verify", "store"]).expect(0).prints("complete, with");
    println!("{count} old files: a new one is stored after {took:?}, {own} kB");
    (took, own << 10)
}

#[test]
fn a_folder_of_many_old_files_is_watched_in_bounded_time_and_memory() {
    let (took, memory) = with_old_files(100_000);
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert!(memory < 64 << 20, "{memory} bytes");
}

/// `cargo test --test e2e -- --ignored --nocapture a_million_old_files`
#[test]
#[ignore = "some minutes: it makes a million files"]
fn a_million_old_files_are_watched_in_bounded_time_and_memory() {
    let (took, memory) = with_old_files(1_000_000);
    assert!(took < Duration::from_secs(300), "{took:?}");
    assert!(memory < 300 << 20, "{memory} bytes");
}

/// What of framelane's own may lie in a folder that is watched: an identity, a spool, a store.
fn put_own(place: &Place, folder: &str) {
    for (file, content) in [
        (".aside/cert.pem", "-----BEGIN CERTIFICATE-----"),
        (".aside/key.pem", "no key, and not to be sent either"),
        ("spool/framelane-spool", "spool 1"),
        ("spool/frames/0.bin", "waits"),
        ("received/visible/ledger.jsonl", ""),
        ("received/visible/manifest.jsonl", ""),
        ("received/visible/0.bin", "is stored"),
        ("received/visible/2026-11-29/1.bin", "is stored, too"),
    ] {
        let path = place.path(folder).join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    // A certificate by itself is nobody's identity: both come at once.
    fs::rename(place.path(folder).join(".aside"), place.path(folder).join("certs")).unwrap();
}

#[test]
fn nothing_of_framelanes_own_is_sent_of_a_watched_folder_whenever_it_comes_there() {
    let place = Place::new();
    put_own(&place, "visible");
    put_frames(&place, "visible", 0..2);
    make_old(&place, "visible");
    let receiver = Receiver::start(&place, &[]);
    let sending = receiver.sending(&["visible"], &["--watch", "--recursive"]);
    wait_until_stored(&place, "visible", 2);
    put_own(&place, "visible/later");
    put_frames(&place, "visible/later", 0..2);
    put(&place, "visible/received/visible", "2.bin", b"is stored by now");
    put_frames(&place, "visible", 2..3);
    wait_until_stored(&place, "visible", 5);
    sending.signal(Signal::TERM);
    sending.finish().expect(0).says("left out").prints("sent 5, stored 5");
    let manifest = fs::read_to_string(place.store().join("visible/manifest.jsonl")).unwrap();
    for own in ["certs/", "spool", "received/"] {
        assert!(!manifest.contains(own), "{manifest}");
    }
    // Whoever names what is stored of a source wants it to be sent on.
    receiver
        .send(&["on=visible/received/visible"], &["--recursive"])
        .expect(0)
        .prints("sent 3, stored 3");
}

#[test]
fn a_receiver_that_stores_into_the_folder_that_is_sent_makes_no_circle() {
    let place = Place::new();
    put_frames(&place, "visible", 0..3);
    make_old(&place, "visible");
    let receiver = Receiver::start(&place, &["--out", "visible/received"]);
    let sending = receiver.sending(&["visible"], &["--watch", "--recursive"]);
    let stored = || {
        let manifest = place.path("visible/received/visible/manifest.jsonl");
        fs::read_to_string(manifest).unwrap_or_default().matches('\n').count()
    };
    let until = Instant::now() + Duration::from_secs(60);
    for number in 3..8 {
        put_frames(&place, "visible", number..number + 1);
        while stored() <= number as usize {
            assert!(Instant::now() < until, "{} are stored", stored());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    stop(sending, "sent 8, stored 8");
    assert_eq!(stored(), 8);
}

#[test]
fn a_spool_in_the_folder_of_a_source_is_refused_before_anything_is_made() {
    let place = Place::new();
    put_frames(&place, "visible", 0..1);
    let receiver = Receiver::start(&place, &[]);
    for (spool, says) in
        [("visible", "is the folder"), ("visible/sp", "lies in"), (".", "has the folder")]
    {
        receiver
            .send(&["visible"], &["--watch", "--spool", spool])
            .expect(2)
            .says(says)
            .says("name a folder beside it");
    }
    assert_eq!(fs::read_dir(place.path("visible")).unwrap().count(), 1);
}
