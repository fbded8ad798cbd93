//! `framelane demo`, interrupted: nothing half done stays.

use std::fs::{self, File};

use crate::support::{Place, Process, Signal, wait_for_file};

#[test]
fn interrupted_while_it_makes_frames_it_leaves_whole_ones() {
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::new();
        // So many take minutes.
        let args = ["demo", "--frames", "10000", "--certs", "sender"];
        let demo = Process::start(place.command(&args));
        wait_for_file(&place.path("demo/visible/2.jpg"));
        demo.signal(signal);
        demo.finish().expect(130).says("interrupted").says("demo/visible, nothing was sent");
        assert_eq!(names(&place, "demo"), ["visible"]);
        for name in names(&place, "demo/visible") {
            let frame = fs::read(place.path("demo/visible").join(&name)).unwrap();
            assert!(frame.starts_with(&[0xff, 0xd8]), "{name} has no beginning");
            assert!(frame.ends_with(&[0xff, 0xd9]), "{name} has no end");
        }
    }
}

#[test]
fn interrupted_while_it_sends_it_removes_the_half_it_stored() {
    let place = Place::new();
    fs::create_dir_all(place.path("demo/visible")).unwrap();
    // More than a gigabyte, which takes no room here, and seconds to send.
    for index in 0..20 {
        let path = place.path(format!("demo/visible/long-{index}.bin"));
        File::create(path).unwrap().set_len(60_000_000).unwrap();
    }
    let args = ["demo", "--frames", "1", "--certs", "sender"];
    let demo = Process::start(place.command(&args));
    demo.stderr_line(|line| line.starts_with("sending ").then_some(()));
    demo.signal(Signal::INT);
    let ended = demo.finish().expect(130);
    ended.prints("visible: 21 frames").prints("missing").says("removed the unfinished demo/rec");
    assert_eq!(names(&place, "demo"), ["infrared", "visible"]);
}

#[test]
fn a_shorter_demo_sends_as_many_frames_as_it_was_told_to() {
    let place = Place::new();
    let demo = |frames| place.run(&["demo", "--frames", frames, "--certs", "sender"]).expect(0);
    demo("4");
    // Somebody's own is none of a demo's.
    place.file("demo/visible/3.jpg", b"another picture");
    demo("2").prints("visible: 3 frames").prints("infrared: 2 frames");
    assert_eq!(names(&place, "demo/visible"), ["0.jpg", "1.jpg", "3.jpg"]);
}

fn names(place: &Place, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(place.path(folder)).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
