//! Sources that cannot be sent as they are: what is wrong is named, and the rest still goes.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::{Place, Process, Receiver, skipped};

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
    // Something that may hold frames was not sent: that is not success.
    let sent = receiver.send(&["visible"], &[]).expect(1);
    sent.says("visible/folder: it is a folder; --recursive sends what is in it")
        .says("visible/dangling.bin: it links to nothing (a symbolic link to nowhere, where")
        .says("visible/pipe.bin: it is a named pipe, not a file");
    assert_eq!(place.manifest("visible").len(), 3);
    // For programs as well, where a source cannot be used at all too.
    let report = receiver.send(&["visible", "missing"], &["--json"]).expect(1).json();
    let unsent: Vec<_> = report["not_sent"].as_array().unwrap().iter().collect();
    let named = |what: &str| {
        let is_it =
            |one: &&&serde_json::Value| one["path"].as_str().unwrap_or_default().ends_with(what);
        unsent.iter().find(is_it).unwrap_or_else(|| panic!("{what}: {report}"))["source"].clone()
    };
    for what in ["folder", "dangling.bin", "pipe.bin"] {
        assert_eq!(named(what), "visible");
    }
    let whole = unsent.iter().find(|one| one["path"].is_null()).expect("the source itself");
    assert_eq!(whole["source"], "missing");
    assert!(whole["reason"].as_str().unwrap().contains("cannot list missing"), "{report}");
    assert_eq!((unsent.len(), &report["not_sent_more"]), (4, &0.into()), "{report}");
    receiver.assert_serves(&[]);
}

#[test]
fn hidden_and_temporary_names_are_left_out_unless_asked_for() {
    let place = Place::new();
    place.frames("visible", 3, 2_000);
    for name in [".DS_Store", "._0.bin", ".0.bin.aX3d9k", "x.tmp", "y.part"] {
        place.file(format!("visible/{name}"), name.as_bytes());
    }
    let receiver = Receiver::start(&place, &[]);
    let sent = receiver.send(&["visible"], &[]).expect(0);
    sent.says("left out: 3 names hidden").says("left out: 2 names of unfinished files");
    assert_eq!(place.manifest("visible").len(), 3);
    let sent = receiver.send(&["visible"], &["--include", "._*", "--exclude", "0*"]).expect(0);
    sent.prints("visible: 1 frame: sent 1, stored 1");
    receiver.send(&["visible"], &["--include", "*.jpg"]).expect(2).says("your patterns leave out");
    receiver.send(&["visible"], &["--include", "[a"]).expect(2).says("is not a pattern of names");
    receiver.send(&["visible"], &["--all-names"]).expect(0).prints("visible: 8 frames");
    assert_eq!(place.manifest("visible").len(), 8);
}

#[test]
fn folders_in_a_source_are_named() {
    let place = Place::new();
    place.frames("flights/flight9", 2, 2_000);
    place.frames("flights/flight10", 3, 2_000);
    let receiver = Receiver::start(&place, &[]);
    let sent = receiver.send(&["flights"], &[]).expect(2);
    sent.says("2 folders, which --recursive takes");
}

#[test]
fn capture_times_come_from_where_they_are_said_to() {
    let place = Place::new();
    for second in 10..13 {
        place.file(format!("visible/IMG_20261129_2011{second}_250.bin"), &[second]);
    }
    let receiver = Receiver::start(&place, &[]);
    let pattern = ["--captured", "name:IMG_%Y%m%d_%H%M%S_%3f", "--captured-zone", "+02:00"];
    receiver.send(&["visible"], &pattern).expect(0);
    let mut lines = place.manifest("visible");
    lines.sort_by_key(|line| line["name"].to_string());
    let captured: Vec<_> =
        lines.iter().map(|line| line["captured_unix_ns"].as_u64().unwrap()).collect();
    let at = 1_795_975_870_250_000_000_u64;
    assert_eq!(captured, [at, at + 1_000_000_000, at + 2_000_000_000]);
    assert!(lines.iter().all(|line| line["clock"] == "name"), "{lines:?}");
    // What fits no frame is told before anything is sent.
    for (rule, says) in [
        ("name:%s", "no name in it is as name:%s"),
        ("exif", "EXIF"),
        ("name:%q", "%q is not known"),
    ] {
        receiver.send(&["visible"], &["--captured", rule]).expect(2).says(says);
    }
}

#[test]
fn equal_times_that_say_nothing_are_not_believed() {
    let place = Place::new();
    let old = place.frames("old", 3, 2_000);
    let receiver = Receiver::start(&place, &["--allow-overwrite"]);
    let epoch = std::time::UNIX_EPOCH;
    let year = std::time::Duration::from_secs(365 * 86_400);
    // Before there were such times, none at all, and as coarse as archives and memory cards keep them.
    let ten_ms = std::time::Duration::from_millis(10);
    for (time, filler) in
        [(epoch - 4 * year, 1), (epoch, 2), (epoch + 50 * year, 3), (epoch + ten_ms, 4)]
    {
        for content in [filler, filler + 100] {
            for entry in fs::read_dir(&old).unwrap() {
                let path = entry.unwrap().path();
                fs::write(&path, vec![content; 2_000]).unwrap();
                fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            }
            receiver.send(&["old"], &["--overwrite"]).expect(0).prints("sent 3, stored 3");
            for entry in fs::read_dir(&old).unwrap() {
                let sent = entry.unwrap().path();
                let stored = place.store().join("old").join(sent.file_name().unwrap());
                assert_eq!(fs::read(&stored).unwrap(), fs::read(&sent).unwrap(), "{time:?}");
            }
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_others_go() {
    let place = Place::new();
    place.frames("visible", 3, 2_000);
    let unreadable = place.path("visible/unreadable.bin");
    // Not even root can read what the kernel only takes.
    let write_only = Path::new("/sys/bus/platform/drivers_probe");
    if write_only.is_file() && fs::read(write_only).is_err() {
        symlink(write_only, &unreadable).unwrap();
    } else {
        fs::write(&unreadable, b"secret").unwrap();
        fs::set_permissions(&unreadable, Permissions::from_mode(0o000)).unwrap();
    }
    if fs::read(&unreadable).is_ok() {
        return skipped("this user can read every file");
    }
    let receiver = Receiver::start(&place, &[]);
    let sent = receiver.send(&["visible"], &[]).expect(1);
    sent.prints("dropped unreadable.bin (unreadable): cannot read visible/unreadable.bin")
        .prints("sent 3, stored 3");
    receiver.assert_serves(&[]);
}

#[test]
fn a_file_that_vanishes_before_it_is_read_is_named_at_both_ends() {
    let place = Place::new();
    place.frames("visible", 2, 2_000);
    let vanishing = place.file("visible/soon-gone.bin", b"soon gone");
    let receiver = Receiver::start(&place, &["--transport", "tcp"]);
    // The sender has listed its folder when it connects. It gets through to the receiver when the
    // file is gone.
    let gate = Gate::new(receiver.address());
    let (pin, address) = (place.pin("receiver"), gate.address());
    let args = ["send", &address, "visible", "--certs", "sender", "--pin", &pin];
    let sending = Process::start(place.command(&[&args[..], &["--transport", "tcp"]].concat()));
    gate.open_when_somebody_came(|| fs::remove_file(vanishing).unwrap());
    let sent = sending.finish().expect(1);
    sent.prints("dropped soon-gone.bin (vanished): cannot read visible/soon-gone.bin")
        .prints("stored 2");
    receiver.process().stderr_line(|line| line.contains("dropped: soon-gone.bin").then_some(()));
    place.assert_stored("visible");
    receiver.assert_serves(&["--transport", "tcp"]);
}

#[test]
fn a_file_that_grows_or_shrinks_while_it_is_read_fails_by_name() {
    let place = Place::new();
    place.frames("visible", 3, 2_000);
    // The kernel's own files have another length than they say: what is read from the first is more
    // and from the second less.
    let grows = "/proc/self/status";
    let shrinks = "/sys/kernel/mm/transparent_hugepage/enabled";
    if !Path::new(shrinks).is_file() {
        return skipped(&format!("there is no {shrinks}"));
    }
    symlink(grows, place.path("visible/grows.bin")).unwrap();
    symlink(shrinks, place.path("visible/shrinks.bin")).unwrap();
    let receiver = Receiver::start(&place, &[]);
    let sent = receiver.send(&["visible"], &[]).expect(1);
    sent.prints("dropped grows.bin (unreadable): visible/grows.bin changed while it was read (it grew")
        .prints("dropped shrinks.bin (unreadable): visible/shrinks.bin changed while it was read (it shrank")
        .prints("sent 3, stored 3");
    assert_eq!(place.manifest("visible").len(), 3);
    receiver.assert_serves(&[]);
}

#[test]
fn a_file_that_is_written_all_the_time_is_never_stored_torn() {
    let place = Place::new();
    place.frames("visible", 20, 2_000);
    let path = place.path("visible/busy.bin");
    let content = crate::support::frame("busy", 0, 400_000);
    fs::write(&path, &content).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    let receiver = Receiver::start(&place, &["--allow-overwrite"]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            let mut length = 1;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                length = (length * 7_919 + 1) % content.len();
                file.set_len(0).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, &content[..length], 0).unwrap();
            }
        });
        for _ in 0..5 {
            // Whether it is caught while it changes is a matter of chance; that the others go is not.
            let sent = receiver.send(&["visible"], &["--overwrite"]);
            assert!(matches!(sent.status, Some(0 | 1)), "{sent}");
            let dropped = sent.stdout.lines().find(|line| line.contains("  dropped "));
            assert!(dropped.is_none_or(|line| line.contains("dropped busy.bin")), "{sent}");
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    // What is stored was there at one moment: the beginning of the content, of some length.
    if let Ok(stored) = fs::read(place.store().join("visible/busy.bin")) {
        assert!(content.starts_with(&stored), "a torn frame of {} bytes", stored.len());
    }
    place.run(&["verify", "store"]).expect(0);
}

/// A TCP port through which somebody gets to a receiver, once it is opened.
struct Gate {
    listener: TcpListener,
    behind: SocketAddr,
}

impl Gate {
    fn new(behind: SocketAddr) -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap(), behind }
    }

    fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// Waits for a connection, does something, and lets the connection through.
    fn open_when_somebody_came(&self, first: impl FnOnce()) {
        let (near, _) = self.listener.accept().unwrap();
        first();
        let far = TcpStream::connect(self.behind).unwrap();
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    }
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
    // Hidden, and so no frame.
    fs::write(visible.join(".framelane-0.part"), b"frame").unwrap();
    // Any other name travels.
    for name in ["Überwärmung 42 °C.bin", "相机.bin", "-rf.bin", " .bin", "a'b\"c.bin"] {
        fs::write(visible.join(name), b"frame").unwrap();
    }
    let receiver = Receiver::start(&place, &[]);
    let before = place.snapshot();
    let sent = receiver.send(&["visible"], &[]).expect(1);
    assert!(
        sent.stdout.contains("sent 8, stored 8, verified 8, dropped 5 (bad-name), missing 0"),
        "{sent}"
    );
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
        sent.prints("dropped large.bin (too-large): visible/large.bin has 20001 bytes")
            .prints("at most 20000 (its --max-frame)")
            .prints("sent 3, stored 3");
        receiver.assert_serves(&["--transport", transport]);
    }
}

/// A camera that was begun in vain may have to be unplugged to be begun again.
#[test]
fn no_command_runs_before_all_else_is_known_to_be_right() {
    let place = Place::new();
    let pin = place.pin("receiver");
    let send = ["send", "127.0.0.1:9", "visible=cmd:touch ran; sleep 60", "--pin", &pin];
    let with = ["--via", "no-such-link", "--certs", "sender"];
    let ended = place.run(&[&send[..], &with].concat());
    assert_ne!(ended.status, Some(0), "{ended}");
    ended.says("no-such-link");
    assert!(!place.path("ran").exists(), "the command ran");
}

#[test]
fn a_live_source_whose_frames_are_too_long_says_so_while_it_runs() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--max-frame", "20kB"]);
    let sent = receiver.send(&["c=raw:100x100x3:cmd:head -c 360000 /dev/zero"], &[]).expect(1);
    sent.says("source c: a frame is dropped, too-large: ")
        .says("has 30000 bytes; the receiver takes at most 20000 (its --max-frame)")
        .says("source c: 10 frames are dropped by now, too-large; the last: ")
        .prints("dropped 12 (too-large), missing 0");
}
