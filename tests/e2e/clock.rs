//! A machine's clock that jumps by a year, forwards and back, while frames are sent. What a frame is called and how old it
//! is must not come to harm. libfaketime has the jumps; where it is not installed that is said.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Place, Process, Receiver, Signal, skipped};

/// Where Debian and others have it, in the order in which they are tried.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// Frames between two jumps.
const FRAMES: usize = 10;

/// Has a program take its time from a file, which says by how many seconds it is wrong.
fn with_clock(command: &mut Command, library: &str, file: &Path) {
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", file);
    command.env("FAKETIME_NO_CACHE", "1").env("NO_FAKE_STAT", "1");
    // The steady clock does not jump: the kernel promises that.
    command.env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

fn jumps_at(who: &str) {
    let Some(library) = LIBRARIES.into_iter().find(|library| Path::new(library).exists()) else {
        return skipped("there is no libfaketime (Debian's package faketime)");
    };
    let place = Place::new();
    let clock = place.file("clock", b"+0");
    fs::create_dir(place.path("watched")).unwrap();
    let mut receive = place.command(&Receiver::arguments(&[]));
    if who == "receiver" {
        with_clock(&mut receive, library, &clock);
    }
    let receiver = Receiver::of(&place, Process::start(receive), 1);
    place.identity("sender");
    let (address, pin) = (receiver.address().to_string(), place.pin("receiver"));
    let camera = "piped=raw:2x2x1:cmd:n=1000; while :; do printf $n; n=$((n+1)); sleep 0.02; done";
    // A minute is far from a year, and far from what a busy machine takes.
    let args = ["send", &address, "--pin", &pin, "--certs", "sender", "--live", "60s", "--json"];
    let more = ["--spool", "spool", "--watch", "watched=./watched", camera];
    let mut send = place.command(&[&args[..], &more].concat());
    if who == "sender" {
        with_clock(&mut send, library, &clock);
    }
    let sending = Process::start(send);
    let mut written = 0;
    for wrong in ["+0", "+31536000", "-31536000", "+0"] {
        // In one piece: it is read at any moment.
        fs::rename(place.file("clock.new", wrong.as_bytes()), &clock).unwrap();
        let (piped, watched) = (count(&place, "piped"), written + 3);
        for number in written..watched {
            let part = place.file(format!("watched/.{number}.part"), &[number as u8; 500]);
            fs::rename(part, place.path(format!("watched/{number}.bin"))).unwrap();
        }
        written = watched;
        wait_until(|| count(&place, "piped") >= piped + FRAMES, wrong);
        wait_until(|| count(&place, "watched") >= written, wrong);
    }
    sending.signal(Signal::TERM);
    let report = sending.finish().expect(0).json();
    for source in report["sources"].as_array().unwrap() {
        assert_eq!(source["dropped"], serde_json::json!({}), "{source}");
        assert_eq!(source["frames"], source["stored"], "{source}");
    }
    receiver.interrupt().expect(130);
    place.run(&["verify", "store"]).expect(0).prints("complete");
    // In the order of the camera, by their names as well, however wrong the clock was.
    let mut frames: Vec<(String, Vec<u8>)> = place
        .manifest("piped")
        .iter()
        .map(|line| {
            let name = line["name"].as_str().unwrap().to_owned();
            let content = fs::read(place.store().join("piped").join(&name)).unwrap();
            (name, content)
        })
        .collect();
    frames.sort();
    let numbers: Vec<u64> = frames
        .iter()
        .map(|(_, content)| String::from_utf8_lossy(content).parse().unwrap())
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
}

fn count(place: &Place, source: &str) -> usize {
    let manifest = place.store().join(source).join("manifest.jsonl");
    fs::read_to_string(manifest).unwrap_or_default().matches('\n').count()
}

#[track_caller]
fn wait_until(is_so: impl Fn() -> bool, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "frames do not come with the clock {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_senders_clock_that_jumps_by_a_year_costs_no_frame_and_no_order() {
    jumps_at("sender");
}

#[test]
fn a_receivers_clock_that_jumps_by_a_year_costs_no_frame() {
    jumps_at("receiver");
}
