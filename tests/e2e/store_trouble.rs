//! Stores in which something is in the way, and stores without room.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::{Place, Process, Receiver, Signal, assert_same_frames, skipped};

#[test]
fn a_link_in_the_place_of_a_source_is_not_followed() {
    let place = Place::new();
    place.frames("visible", 3, 2_000);
    let outside = place.path("outside");
    fs::create_dir_all(place.store()).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, place.store().join("visible")).unwrap();
    let receiver = Receiver::start(&place, &[]);
    let before = place.snapshot();
    let sent = receiver.send(&["visible"], &["--overwrite", "--retry-for", "0"]).expect(1);
    sent.says("store/visible is a symbolic link").says("follows no links").prints("missing 3");
    assert_eq!(place.snapshot(), before);
    receiver.assert_serves(&[]);
}

#[test]
fn a_link_in_the_place_of_a_manifest_is_not_followed() {
    let place = Place::new();
    place.frames("visible", 3, 2_000);
    let outside = place.file("outside", b"somebody's");
    fs::create_dir_all(place.store().join("visible")).unwrap();
    symlink(&outside, place.store().join("visible/manifest.jsonl")).unwrap();
    let receiver = Receiver::start(&place, &[]);
    let before = place.snapshot();
    let sent = receiver.send(&["visible"], &["--overwrite", "--retry-for", "0"]).expect(1);
    sent.says("manifest.jsonl is not a regular file").prints("missing 3");
    assert_eq!(place.snapshot(), before);
    receiver.assert_serves(&[]);
}

#[test]
fn links_and_folders_in_the_place_of_frames_are_kept_and_others_go() {
    let place = Place::new();
    place.frames("visible", 5, 2_000);
    let outside = place.file("outside", b"somebody's");
    let folder = place.store().join("visible");
    fs::create_dir_all(folder.join("1.bin")).unwrap();
    symlink(&outside, folder.join("0.bin")).unwrap();
    symlink("nowhere", folder.join("2.bin")).unwrap();
    let receiver = Receiver::start(&place, &[]);
    let before = place.snapshot();
    for args in [&[][..], &["--overwrite"]] {
        let sent = receiver.send(&["visible"], args).expect(1);
        sent.prints("dropped 3 (other-content), missing 0")
            .prints(
                "dropped 0.bin (other-content): stored with other content: \"visible/0.bin is not a regular file",
            )
            .prints("dropped 1.bin")
            .prints("dropped 2.bin");
    }
    assert_eq!(place.snapshot(), before);
    assert!(!folder.join("nowhere").exists());
    assert_eq!(place.manifest("visible").len(), 2);
    receiver.assert_serves(&[]);
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_half_written() {
    let place = Place::new();
    place.frames("visible", 12, 300_000);
    let Some(small) = SmallStore::start(&place) else { return };
    let before = place.snapshot();
    let sent = small.receiver.send(&["visible"], &["--retry-for", "0"]).expect(1);
    sent.prints("no space left at the receiver: \"no room to store visible/")
        .prints("make room at the receiver");
    // What was confirmed is there, whole; of the rest there is nothing.
    let folder = small.folder.join("visible");
    let listed = fs::read_to_string(folder.join("manifest.jsonl")).unwrap().lines().count();
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name();
        if name != "manifest.jsonl" && name != "ledger.jsonl" {
            files += 1;
            let sent = fs::read(place.path("visible").join(&name)).unwrap();
            assert_eq!(fs::read(folder.join(&name)).unwrap(), sent, "{name:?} is not whole");
        }
    }
    assert_eq!(files, listed);
    assert!((1..12).contains(&files), "{files} frames are stored");
    assert_eq!(place.snapshot(), before);
    // What had no room is no success of the store's, though it was declared.
    let store = small.folder.to_str().unwrap();
    let refused = format!("visible: {} frames had no room here", 12 - files);
    place.run(&["verify", store]).expect(1).prints("NOT proven").prints(&refused);
    // With room it goes on where it was.
    small.make_room();
    let rest = small.receiver.send(&["visible"], &[]).expect(0);
    rest.prints(&format!("sent {}, stored 12 ({files} before)", 12 - files));
    place.run(&["verify", store]).expect(0);
    assert_same_frames(&place.path("visible"), &folder);
}

/// Whoever watches the receiver sees that its disk is full, and each frame in one place.
#[test]
fn a_full_disk_is_seen_by_who_watches() {
    let place = Place::new();
    place.frames("visible", 12, 300_000);
    let Some(small) = SmallStore::start_with(&place, &["--view", "127.0.0.1:0"]) else { return };
    let view = small.receiver.process().stderr_line(|line| {
        let (_, place) = line.split_once("view at http://")?;
        place.trim_end_matches('/').parse::<std::net::SocketAddr>().ok()
    });
    let get = |path: &str| {
        let mut stream = TcpStream::connect(view).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nhost: {view}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(get("/readyz").starts_with("HTTP/1.0 200"));
    small.receiver.send(&["visible"], &["--retry-for", "0"]).expect(1);
    let stored = place_lines(&small.folder.join("visible/manifest.jsonl"));
    let state = get("/state");
    let state: serde_json::Value =
        serde_json::from_str(state.split_once("\r\n\r\n").unwrap().1).unwrap();
    let source = &state["sources"][0];
    let counts = ["stored", "dropped", "missing"].map(|word| source[word].as_u64().unwrap());
    assert_eq!(counts, [stored, 12 - stored, 0], "{source:#}");
    assert_eq!(state["ready"], false);
    assert!(state["trouble"].as_str().unwrap().contains("is full"), "{state:#}");
    let ready = get("/readyz");
    assert!(ready.starts_with("HTTP/1.0 503") && ready.contains("had no room"), "{ready}");
    let metrics = get("/metrics");
    assert!(metrics.contains("framelane_ready 0.0\n"), "{metrics}");
    let of = |name: &str| {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("{name} is not in\n{metrics}"))
    };
    let (free, size): (f64, f64) =
        (of("framelane_disk_free_bytes"), of("framelane_disk_size_bytes"));
    assert!(free < 400_000.0 && (4.9e6..5.1e6).contains(&size), "{free} of {size}");
    small.make_room();
    assert!(get("/readyz").starts_with("HTTP/1.0 200"));
}

fn place_lines(manifest: &Path) -> u64 {
    fs::read_to_string(manifest).unwrap().lines().count() as u64
}

#[test]
fn a_sender_waits_for_room_and_goes_on_by_itself() {
    let place = Place::new();
    place.frames("visible", 12, 300_000);
    let Some(small) = SmallStore::start(&place) else { return };
    let sending = small.receiver.sending(&["visible"], &[]);
    sending.stderr_line(|line| line.contains("no space left at the receiver").then_some(()));
    small.make_room();
    sending.finish().expect(0).prints("sent 12, stored 12");
    assert_same_frames(&place.path("visible"), &small.folder.join("visible"));
}

/// Frames of a camera that are refused wait, and are not sent again as fast as they are refused.
fn what_has_no_room_burns_no_link(transport: &str) {
    const FRAMES: u64 = 150;
    const BYTES: u64 = 20_000;
    let place = Place::new();
    let Some(small) = SmallStore::start(&place) else { return };
    let line = format!("head -c {} /dev/zero; exec sleep 1000", FRAMES * BYTES);
    let source = format!("visible=raw:200x100x1:cmd:{line}");
    let args = ["--json", "--retry-for", "60s", "--drain", "60s", "--transport", transport];
    let sending = small.receiver.sending(&[&source], &args);
    sending.stderr_line(|line| line.contains("no space left at the receiver").then_some(()));
    // As long as each frame would be sent twice more, and many more times without a pause.
    std::thread::sleep(Duration::from_millis(2_500));
    small.make_room();
    let manifest = small.folder.join("visible/manifest.jsonl");
    while place_lines(&manifest) < FRAMES {
        std::thread::sleep(Duration::from_millis(20));
    }
    sending.signal(Signal::TERM);
    let ended = sending.finish().expect(0).json();
    assert_eq!(
        (&ended["sources"][0]["stored"], &ended["complete"]),
        (&FRAMES.into(), &true.into())
    );
    // Each at most twice, as all may have been under way when the first was refused, and a few that were tried.
    let sent = ended["link"]["bytes_sent"].as_u64().unwrap();
    assert!(sent < FRAMES * BYTES * 11 / 5, "{transport}: {sent} bytes for {}", FRAMES * BYTES);
}

#[test]
fn what_has_no_room_burns_no_link_over_quic() {
    what_has_no_room_burns_no_link("quic");
}

#[test]
fn what_has_no_room_burns_no_link_over_tcp() {
    what_has_no_room_burns_no_link("tcp");
}

#[test]
fn a_sender_that_begins_while_a_store_cannot_be_used_waits_until_it_can() {
    let place = Place::new();
    place.frames("visible", 3, 2_000);
    // As any trouble of the store when a session begins: a full disk, a mount that is gone.
    let in_the_way = place.file("store/visible", b"in the way");
    let receiver = Receiver::start(&place, &[]);
    let sending = receiver.sending(&["visible"], &["--retry-for", "60s"]);
    sending.stderr_line(|line| line.contains("is a symbolic link or a file").then_some(()));
    fs::remove_file(in_the_way).unwrap();
    sending.finish().expect(0).prints("sent 3, stored 3");
    place.assert_stored("visible");
}

/// What cannot be opened is told once, and sent when it can; the other cameras of the sender do not wait for it.
#[test]
fn a_source_that_cannot_be_opened_keeps_no_other_waiting() {
    let place = Place::new();
    place.frames("visible", 8, 2_000);
    place.frames("infrared", 5, 2_000);
    let in_the_way = place.file("store/infrared", b"in the way");
    let receiver = Receiver::start(&place, &[]);
    let sending = receiver.sending(&["visible", "infrared"], &["--retry-for", "60s"]);
    sending.stderr_line(|line| {
        let is_told = line.contains("source infrared is not open at the receiver")
            && line.contains("is a symbolic link or a file")
            && line.contains("the others go on");
        is_told.then_some(())
    });
    place.wait_for_frames("visible", 8);
    assert!(!sending.has_ended(), "what is left is waited for");
    assert_eq!(fs::read(&in_the_way).unwrap(), b"in the way");
    fs::remove_file(in_the_way).unwrap();
    let sent = sending.finish().expect(0).prints("stored 8").prints("stored 5");
    assert_eq!(sent.stderr.matches("is not open at the receiver").count(), 1, "{sent}");
    place.assert_stored("visible");
    place.assert_stored("infrared");
    let log = receiver.interrupt().stderr;
    assert_eq!(log.matches("source infrared cannot be opened").count(), 1, "{log}");
    place.run(&["verify", "store"]).expect(0);
}

#[test]
fn a_source_that_stays_shut_is_given_up_with_its_reason_when_the_others_have_ended() {
    let place = Place::new();
    place.frames("visible", 8, 2_000);
    place.frames("infrared", 5, 2_000);
    place.file("store/infrared", b"in the way");
    for transport in ["quic", "tcp"] {
        let receiver = Receiver::start(&place, &["--transport", transport]);
        let args = ["--retry-for", "1s", "--transport", transport];
        let sent = receiver.send(&["visible", "infrared"], &args).expect(1);
        sent.prints("missing 5").says("infrared").says("is a symbolic link or a file");
        place.assert_stored("visible");
    }
}

/// Sends a flight, lets `take_away` do something to the store under the running receiver, and sends the next.
fn next_flight(args: &[&str], take_away: impl FnOnce(&Place)) -> (Place, String) {
    let place = Place::new();
    place.frames("one/visible", 8, 3_000);
    place.frames("two/visible", 5, 3_000);
    let log = {
        let receiver = Receiver::start(&place, args);
        receiver.send(&["one/visible"], &[]).expect(0).prints("stored 8");
        take_away(&place);
        receiver.send(&["two/visible"], &["--overwrite"]).expect(0).prints("stored 5");
        assert_same_frames(&place.path("two/visible"), &place.store().join("visible"));
        let ended = receiver.interrupt();
        assert!(!ended.stderr.contains("No such file"), "{ended}");
        ended.stderr
    };
    place.run(&["verify", "store"]).expect(0);
    (place, log)
}

/// How often the receiver said that something is not where it was.
fn said(log: &str) -> usize {
    log.lines().filter(|line| line.contains("going on in")).count()
}

#[test]
fn a_flight_is_taken_away_by_moving_its_folder() {
    let (place, log) = next_flight(&[], |place| {
        fs::create_dir(place.path("archive")).unwrap();
        fs::rename(place.store().join("visible"), place.path("archive/flight1")).unwrap();
    });
    // What was taken away is as it was, though the next flight has frames of the same names.
    assert_same_frames(&place.path("one/visible"), &place.path("archive/flight1"));
    place.run(&["verify", "archive"]).expect(0);
    assert_eq!(said(&log), 1, "{log}");
}

#[test]
fn flights_that_share_a_run_are_complete_together() {
    let place = Place::new();
    place.frames("visible", 60, 3_000);
    let receiver = Receiver::start(&place, &[]);
    let sending = receiver.sending(&["visible"], &["--fps", "30"]);
    fs::create_dir(place.path("archive")).unwrap();
    // Twice in the midst of the run.
    for flight in ["archive/one", "archive/two"] {
        place.wait_for_frames("visible", 5);
        fs::rename(place.store().join("visible"), place.path(flight)).unwrap();
    }
    sending.finish().expect(0);
    receiver.interrupt();
    place.run(&["verify", "archive"]).expect(1).prints("run not ended").prints("verify DIR DIR");
    place.run(&["verify", "store"]).expect(1).prints("taken away while the run went on");
    let together = place.run(&["verify", "archive", "store", "--json"]).expect(0).json();
    assert_eq!(
        (&together["proven"], together["stores"].as_array().unwrap().len()),
        (&true.into(), 2)
    );
    for store in together["stores"].as_array().unwrap() {
        for source in store["sources"].as_array().unwrap() {
            let run = &source["account"]["runs"]["first"][0];
            let count = |field: &str| run[field].as_u64().unwrap();
            assert_eq!(
                (count("captured"), count("stored") + count("elsewhere")),
                (60, 60),
                "{source}"
            );
        }
    }
    place.run(&["verify", "archive", "store"]).expect(0).prints("in another of these folders");
    let frames =
        fs::read_dir(place.path("archive/one")).unwrap().map(|entry| entry.unwrap().path());
    let frame = frames.into_iter().find(|path| !path.to_string_lossy().contains("jsonl")).unwrap();
    fs::remove_file(&frame).unwrap();
    place.run(&["verify", "archive", "store"]).expect(1).prints("missing  one/");
    place.run(&["verify", "archive", "archive/one"]).expect(2).says("name it once");
}

#[test]
fn a_flight_is_deleted_under_a_running_receiver() {
    for durable in [&[][..], &["--durable"]] {
        let (_place, log) = next_flight(durable, |place| {
            for entry in fs::read_dir(place.store().join("visible")).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        });
        assert_eq!(said(&log), 1, "{log}");
        let (_place, log) = next_flight(durable, |place| {
            fs::remove_dir_all(place.store().join("visible")).unwrap();
        });
        assert_eq!(said(&log), 1, "{log}");
    }
    // The whole store, too.
    let (_place, log) = next_flight(&[], |place| fs::remove_dir_all(place.store()).unwrap());
    assert!((1..=2).contains(&said(&log)), "{log}");
}

#[test]
fn something_mounted_over_the_store_is_the_store_from_then_on() {
    let place = Place::new();
    place.frames("visible", 12, 30_000);
    let Some(small) = SmallStore::start(&place) else { return };
    small.make_room();
    small.receiver.send(&["visible"], &[]).expect(0).prints("stored 12");
    let pid = small.receiver.process().pid().to_string();
    let mount = format!("mount -t tmpfs tmpfs {}", place.store().display());
    let inside = ["-t", &pid, "-U", "-m", "--preserve-credentials", "sh", "-c", &mount];
    if !Command::new("nsenter").args(inside).status().is_ok_and(|status| status.success()) {
        skipped("nothing can be mounted into another process's namespace here (nsenter)");
        return;
    }
    small.receiver.send(&["visible"], &[]).expect(0).prints("sent 12, stored 12");
    // Seen from here it is what lies on top.
    assert_same_frames(&place.path("visible"), &small.folder.join("visible"));
}

#[test]
fn a_store_that_cannot_be_written_is_told_at_the_start() {
    let place = Place::new();
    // Nobody can make a file there, not even root.
    let arguments = Receiver::arguments(&["--out", "/proc/self"]);
    let ended = place.run(&arguments).expect(1);
    assert!(!ended.stdout.contains("listening on"), "{ended}");
    ended.says("/proc/self").says("--out");
}

#[test]
fn a_pipe_in_the_place_of_a_manifest_is_refused_by_name() {
    let place = Place::new();
    place.frames("visible", 3, 2_000);
    let receiver = Receiver::start(&place, &[]);
    receiver.send(&["visible"], &[]).expect(0);
    let manifest = place.store().join("visible/manifest.jsonl");
    fs::remove_file(&manifest).unwrap();
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mkfifoat(rustix::fs::CWD, &manifest, mode).unwrap();
    let sent = receiver.send(&["visible"], &["--retry-for", "0"]).expect(1);
    sent.says("manifest.jsonl is not a regular file");
    fs::remove_file(&manifest).unwrap();
    receiver.send(&["visible"], &[]).expect(0).prints("stored 3");
    place.assert_stored("visible");
    // The lines of the first run went with its manifest, and its ledger misses them.
    place.run(&["verify", "store"]).expect(1).prints("have neither frame nor declaration");
}

/// A receiver whose store is a file system of 5 MB, most of which is taken.
struct SmallStore<'a> {
    receiver: Receiver<'a>,
    /// The store, as it is seen from here.
    folder: PathBuf,
}

const BALLAST: usize = 3_500_000;

impl<'a> SmallStore<'a> {
    /// `None`, and a word about it, where this machine lets nobody make a namespace.
    fn start(place: &'a Place) -> Option<Self> {
        Self::start_with(place, &[])
    }

    fn start_with(place: &'a Place, args: &[&str]) -> Option<Self> {
        fs::create_dir_all(place.store()).unwrap();
        let mount = "mount -t tmpfs -o size=5000000 tmpfs store";
        let possible = Command::new("unshare")
            .args(["-Urm", "sh", "-c", mount])
            .current_dir(place.path("."))
            .output()
            .is_ok_and(|output| output.status.success());
        if !possible {
            skipped("no small file system can be mounted here (unshare -Urm)");
            return None;
        }
        let receive = place.command(&Receiver::arguments(args));
        let mut command = Command::new("unshare");
        let script =
            format!("{mount} && head -c {BALLAST} /dev/zero > store/ballast && exec \"$@\"");
        command.args(["-Urm", "sh", "-c", &script, "sh"]);
        command.arg(receive.get_program()).args(receive.get_args());
        command.current_dir(place.path("."));
        command.envs(receive.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let receiver = Receiver::of(place, Process::start(command), 1);
        // Its mounts are seen through its root folder.
        let inside = place.store().strip_prefix("/").unwrap().to_owned();
        let root = Path::new("/proc").join(receiver.process().pid().to_string()).join("root");
        Some(Self { receiver, folder: root.join(inside) })
    }

    fn make_room(&self) {
        fs::remove_file(self.folder.join("ballast")).unwrap();
    }
}
