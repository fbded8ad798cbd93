//! A store that is left for months: folders by day, what follows it, and what is said of its disk.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use crate::support::{Place, Receiver, Signal};

/// 2026-11-27, noon, in UTC, and so many days later.
fn noon(days: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs((20_784 + days) * 86_400 + 43_200)
}

/// Frames of three days, two each.
fn three_days(place: &Place) {
    let folder = place.frames("visible", 6, 3_000);
    let mut files: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for (number, path) in files.iter().enumerate() {
        let at = noon(number as u64 / 2) + Duration::from_nanos(number as u64 + 1);
        File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
    }
}

fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_day_has_a_folder_and_a_pipeline_follows() {
    let place = Place::new();
    three_days(&place);
    let followed = place.path("followed.jsonl");
    let command = format!("cat > '{}'", followed.display());
    let receiver = Receiver::start(&place, &["--layout", "day", "--on-stored", &command]);
    receiver.send(&["visible"], &[]).expect(0).prints("6");
    for day in ["2026-11-27", "2026-11-28", "2026-11-29"] {
        let folder = place.store().join("visible").join(day);
        let manifest = fs::read_to_string(folder.join("manifest.jsonl")).unwrap();
        assert_eq!(lines(&manifest).len(), 2, "{day}");
    }
    receiver.interrupt();
    // By the time that the receiver has ended, what follows it has seen all.
    let seen = lines(&fs::read_to_string(&followed).unwrap());
    assert_eq!(seen.len(), 6);
    for line in &seen {
        let path = place.path(line["path"].as_str().unwrap());
        assert_eq!(fs::metadata(path).unwrap().len(), line["bytes"].as_u64().unwrap());
        assert_eq!(line["source"], "visible");
    }
    // In another layout nothing comes twice, and all of it is proven.
    let receiver = Receiver::start(&place, &["--layout", "hour"]);
    let again = receiver.send(&["visible"], &["--json"]).expect(0).json();
    assert_eq!(
        (&again["sources"][0]["stored_before"], &again["sources"][0]["sent"]),
        (&6.into(), &0.into())
    );
    fs::write(place.path("visible/more.bin"), b"one more").unwrap();
    receiver.send(&["visible"], &[]).expect(0);
    receiver.interrupt();
    let verified = place.run(&["verify", "store", "--json"]).expect(0).json();
    assert_eq!(
        (&verified["sources"][0]["verified"], &verified["proven"]),
        (&7.into(), &true.into())
    );
    let since = place.run(&["verify", "store", "--since", "1970-01-01", "--json"]).expect(0).json();
    assert_eq!(since["sources"][0]["skipped"], 0);
    let printed = place.run(&["tail", "store"]).expect(0);
    assert_eq!(lines(&printed.stdout).len(), 7);
    let none = place.run(&["tail", "store", "--source", "infrared"]).expect(0);
    assert!(none.stdout.is_empty());
    none.says("there is no source infrared in store so far");
    place.run(&["tail", "nowhere"]).expect(1).says("nowhere");
    fs::create_dir(place.path("pictures")).unwrap();
    place.run(&["tail", "pictures"]).expect(0).says("pictures is neither a store nor");
}

#[test]
fn a_disk_that_is_nearly_full_is_told_to_both_ends_before_it_is() {
    let place = Place::new();
    place.frames("visible", 2, 3_000);
    let receiver = Receiver::start(&place, &["--warn-free", "100%"]);
    receiver.process().stderr_line(|line| line.contains("nearly full").then_some(()));
    let sent = receiver.send(&["visible"], &[]).expect(0).says("nearly full");
    assert_eq!(sent.stderr.matches("nearly full").count(), 1, "{}", sent.stderr);
    let quiet = Place::new();
    quiet.frames("visible", 2, 3_000);
    let receiver = Receiver::start(&quiet, &["--warn-free", "0%"]);
    let sent = receiver.send(&["visible"], &[]).expect(0);
    assert!(!sent.stderr.contains("full"), "{}", sent.stderr);
}

#[test]
fn what_cannot_be_kept_or_followed_is_wrong_usage() {
    let place = Place::new();
    for (args, says) in [
        (["--keep", "30d", "--out", "store/{sender}"], "--layout day"),
        (["--keep", "5s", "--out", "store"], "30d"),
        (["--keep-free", "200%", "--out", "store"], "200%"),
        (["--layout", "week", "--out", "store"], "hour"),
        (["--on-stored", "cat", "--out", "store/{date}"], "--on-stored"),
    ] {
        let args = [&["receive", "--listen", "127.0.0.1:0"], &args[..]].concat();
        place.run(&args).expect(2).says(says);
    }
    assert!(!place.store().exists());
}

/// Gives what is stored another age: its lines say that it was stored so long ago.
fn age(day: &std::path::Path, by: Duration) {
    let manifest = day.join("manifest.jsonl");
    let text = fs::read_to_string(&manifest).unwrap();
    let mut aged = String::new();
    for mut line in lines(&text) {
        let stored = line["stored_unix_ns"].as_u64().unwrap();
        line["stored_unix_ns"] = (stored - u64::try_from(by.as_nanos()).unwrap()).into();
        aged.push_str(&format!("{line}\n"));
    }
    fs::write(&manifest, aged).unwrap();
    let _ = fs::remove_file(day.join(".framelane-index"));
}

/// Frames of a day that are there.
fn left(day: &std::path::Path) -> usize {
    let entries = fs::read_dir(day).unwrap().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "bin")).count()
}

#[test]
fn a_receiver_that_is_killed_while_a_day_goes_leaves_what_the_next_one_and_verify_know() {
    const FRAMES: u64 = 1_500;
    let place = Place::new();
    let folder = place.frames("visible", FRAMES, 400);
    for number in 0..FRAMES {
        let path = folder.join(format!("{number}.bin"));
        let at = noon(number * 3 / FRAMES) + Duration::from_nanos(number + 1);
        File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
    }
    let receiver = Receiver::start(&place, &["--layout", "day"]);
    receiver.send(&["visible"], &[]).expect(0);
    receiver.interrupt();
    let days = ["2026-11-27", "2026-11-28", "2026-11-29"]
        .map(|day| place.store().join("visible").join(day));
    days.iter().for_each(|day| age(day, Duration::from_secs(3_600)));
    // One day too much: it is declared, and then its files go.
    let keep = ["--layout", "day", "--keep-bytes", "450KB"];
    let ledger = || fs::read_to_string(place.store().join("visible/ledger.jsonl")).unwrap();
    let declared = |ledger: &str| ledger.matches("\"expired_unix_ns\"").count();
    let receiver = Receiver::start(&place, &keep);
    while declared(&ledger()) == 0 {
        std::thread::yield_now();
    }
    receiver.process().signal(Signal::KILL);
    receiver.finish();
    let some = left(&days[0]);
    assert!(some > 0, "all went before the receiver was killed");
    // Whoever looks now is told that they have expired, but for those that are still there.
    let verified = place.run(&["verify", "store", "--json"]).expect(0).json();
    let of = |field: &str| verified["sources"][0][field].as_u64().unwrap();
    let some = some as u64;
    assert_eq!((of("expired"), of("verified")), (500 - some, 1_000 + some), "{verified}");
    assert_eq!(verified["proven"], true, "{verified}");
    // The next receiver goes on with it, and declares nothing twice.
    let receiver = Receiver::start(&place, &keep);
    while !ledger().contains("\"removed_unix_ns\"") {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!((left(&days[0]), left(&days[1]), left(&days[2])), (0, 500, 500));
    // Nothing of it is sent again.
    let again = receiver.send(&["visible"], &["--json"]).expect(0).json();
    assert_eq!(again["sources"][0]["sent"], 0, "{again}");
    receiver.interrupt();
    assert_eq!(declared(&ledger()), 1, "{}", ledger());
    place.run(&["verify", "store"]).expect(0).prints("expired 500");
}
