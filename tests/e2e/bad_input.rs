//! Sources that cannot be sent as they are: what is wrong is named, and the rest still goes.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{Place, Receiver};

#[test]
fn folders_that_are_missing_or_empty_are_named_and_others_go() {
    let place = Place::new();
    place.frames("visible", 3, 2_000);
    fs::create_dir(place.path("empty")).unwrap();
    let receiver = Receiver::start(&place, &[]);
    let before = place.snapshot();
    let sent = receiver.send(&["missing", "empty", "visible"], &[]).expect(1);
    sent.says("source missing: cannot list missing")
        .says("source empty: empty holds no files to send")
        .prints("visible: 3 frames: sent 3, stored 3");
    place.assert_stored("visible");
    // With nothing left to send it is wrong usage.
    for source in ["missing", "empty"] {
        receiver.send(&[source], &[]).expect(2).says(source).says("no source to send");
    }
    assert_eq!(place.snapshot(), before);
    receiver.assert_serves(&[]);
}

#[test]
fn what_is_no_file_in_a_source_is_named_and_others_go() {
    let place = Place::new();
    place.frames("visible", 3, 2_000);
    let visible = place.path("visible");
    fs::create_dir(visible.join("folder")).unwrap();
    symlink("nowhere", visible.join("dangling.bin")).unwrap();
    mknodat(CWD, visible.join("pipe.bin"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let receiver = Receiver::start(&place, &[]);
    let sent = receiver.send(&["visible"], &[]).expect(0);
    sent.says("visible/folder").says("visible/dangling.bin").says("visible/pipe.bin");
    assert_eq!(place.manifest("visible").len(), 3);
    receiver.assert_serves(&[]);
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_others_go() {
    let place = Place::new();
    place.frames("visible", 3, 2_000);
    let unreadable = place.path("visible/1.bin");
    fs::set_permissions(&unreadable, std::os::unix::fs::PermissionsExt::from_mode(0)).unwrap();
    if fs::File::open(&unreadable).is_ok() {
        eprintln!("SKIPPED: this user can read every file");
        return;
    }
    let receiver = Receiver::start(&place, &[]);
    let sent = receiver.send(&["visible"], &[]).expect(1);
    sent.prints("missing 1.bin: cannot read visible/1.bin").prints("sent 2, stored 2");
    receiver.assert_serves(&[]);
}

#[test]
fn a_file_that_vanishes_before_it_is_read_is_named_at_both_ends() {
    let place = Place::new();
    place.frames("visible", 3, 2_000);
    let receiver = Receiver::start(&place, &[]);
    // Frames 1 and 2 fall due tomorrow. Those that are read already still go.
    let sending = receiver.sending(&["visible"], &["--fps", "1", "--checksum"]);
    sending.finish().expect(0);

    // One that is gone from the start of the run on is left out by the listing, so it has to go
    // in between: a link whose target is removed once the sender has listed the folder.
    place.frames("infrared", 1, 2_000);
    let target = place.file("target", b"soon gone");
    symlink(&target, place.path("infrared/1.bin")).unwrap();
    let other = Receiver::start(&place, &["--out", "other", "--transport", "tcp"]);
    let address = other.address().to_string();
    let _keep = other;
    let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (pin, hold) = (place.pin("receiver"), listening.local_addr().unwrap().to_string());
    let args =
        ["send", &hold, "infrared", "--certs", "sender", "--transport", "tcp", "--pin", &pin];
    let sending = crate::support::Process::start(place.command(&args));
    // It has listed its sources when it connects; then the target goes, and the connection is
    // handed on to the receiver.
    let (mut near, _) = listening.accept().unwrap();
    fs::remove_file(target).unwrap();
    let mut far = std::net::TcpStream::connect(address).unwrap();
    let (mut near_in, mut far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut near_in, &mut far_out));
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut far, &mut near);
        let _ = near.flush();
        let _ = near.shutdown(std::net::Shutdown::Both);
    });
    let sent = sending.finish().expect(1);
    sent.prints("missing 1.bin: cannot read infrared/1.bin").prints("stored 1, verified 1");
    let told = _keep.process().stderr_line(|line| {
        line.contains("missing 1.bin").then(|| line.to_owned())
    });
    assert!(told.contains("frame 1"), "{told}");
}

#[test]
fn names_that_cannot_travel_are_refused_by_name_and_others_go() {
    let place = Place::new();
    place.frames("visible", 3, 2_000);
    let visible = place.path("visible");
    for name in [&b"not\xffutf8.bin"[..], b"line\nbreak.bin", b"colour\x1b[31m.bin", b"con.bin"] {
        fs::write(visible.join(OsStr::from_bytes(name)), b"frame").unwrap();
    }
    fs::write(visible.join("back\\slash.bin"), b"frame").unwrap();
    fs::write(visible.join(".framelane-0.part"), b"frame").unwrap();
    // Any other name travels.
    for name in ["Überwärmung 42 °C.bin", "相机.bin", "-rf.bin", " .bin", "a'b\"c.bin"] {
        fs::write(visible.join(name), b"frame").unwrap();
    }
    let receiver = Receiver::start(&place, &[]);
    let before = place.snapshot();
    let sent = receiver.send(&["visible"], &[]).expect(1);
    assert!(sent.stdout.contains("sent 8, stored 8, verified 8, missing 6"), "{sent}");
    assert!(!sent.stdout.contains('\x1b') && !sent.stderr.contains('\x1b'), "{sent:?}");
    assert!(!sent.stdout.contains("line\nbreak"), "a name broke the line: {sent}");
    sent.prints("is not valid UTF-8")
        .prints("con.bin")
        .prints("back\\\\slash.bin")
        .prints("reserved")
        .prints("rename it");
    assert_eq!(place.manifest("visible").len(), 8);
    assert_eq!(place.snapshot(), before);
    let received = receiver.interrupt().expect(130);
    assert!(!received.stderr.contains('\x1b'), "{received:?}");
    assert!(!received.stderr.contains("line\nbreak"), "a name broke the line: {received}");
}

#[test]
fn a_source_name_that_cannot_be_a_folder_is_wrong_usage() {
    let place = Place::new();
    place.frames("visible", 1, 10);
    for name in ["..", ".", "a\\b", "con", ".framelane", "a\nb", &"x".repeat(256)] {
        let source = format!("{name}=visible");
        let refused = place.run(&["send", "127.0.0.1:9", &source]).expect(2);
        assert!(refused.stderr.contains("the name"), "{refused}");
    }
}

#[test]
fn a_frame_over_the_receivers_limit_is_named_and_others_go() {
    for transport in ["quic", "tcp", "tcp-per-frame"] {
        let place = Place::new();
        place.frames("visible", 3, 2_000);
        place.file("visible/large.bin", &[0; 20_001]);
        let args = ["--max-frame", "20kB", "--transport", transport];
        let receiver = Receiver::start(&place, &args);
        let sent = receiver.send(&["visible"], &["--transport", transport]).expect(1);
        sent.prints("missing large.bin: visible/large.bin has 20001 bytes")
            .prints("at most 20000 (its --max-frame)")
            .prints("sent 3, stored 3");
        receiver.assert_serves(&["--transport", transport]);
    }
}
