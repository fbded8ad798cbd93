//! Frames that wait for the link: kept over outages, crashes and ends, and accounted for.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Place, Process, Receiver, Signal, skipped, wait_for_file};

/// The length of each frame, as `raw:` says it.
const SIZE: &str = "40x25x1";
const BYTES: usize = 1_000;

/// Frames of these numbers, one behind the other.
fn frames(numbers: std::ops::Range<u8>) -> Vec<u8> {
    numbers.flat_map(|number| vec![number; BYTES]).collect()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} does not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How many frames are in the spool's files.
fn on_disk(place: &Place) -> usize {
    let runs = fs::read_dir(place.path("spool/frames")).into_iter().flatten().flatten();
    let files = runs.flat_map(|run| fs::read_dir(run.path()).into_iter().flatten().flatten());
    files.filter(|file| file.path().extension().is_some_and(|ending| ending == "frame")).count()
}

fn lines(place: &Place) -> Vec<serde_json::Value> {
    let manifest = place.store().join("visible/manifest.jsonl");
    if manifest.exists() { place.manifest("visible") } else { Vec::new() }
}

/// The numbers of the frames that are stored, in the order of their sequences, each with its sequence.
fn stored(place: &Place) -> Vec<(u64, u8)> {
    let number = |line: &serde_json::Value| {
        let name = line["name"].as_str().unwrap();
        let content = fs::read(place.store().join("visible").join(name)).unwrap();
        assert!(content.len() == BYTES && content.iter().all(|byte| *byte == content[0]));
        (line["sequence"].as_u64().unwrap(), content[0])
    };
    let mut stored: Vec<_> = lines(place).iter().map(number).collect();
    stored.sort_unstable();
    stored
}

/// The account of the source, which has to be complete.
#[track_caller]
fn account(place: &Place) -> serde_json::Value {
    let found = place.run(&["verify", "store", "--json"]).expect(0).json();
    let account = found["sources"][0]["account"].clone();
    assert_eq!(account["state"], "complete", "{found}");
    account
}

/// The command that writes what is in a file, and then waits.
fn camera(line: &str) -> String {
    format!("visible=raw:{SIZE}:cmd:{line}")
}

const SPOOL: [&str; 4] = ["--spool", "spool", "--retry-for", "60s"];

/// How many places of its runs the spool's journal says are settled. A run may be settled in any order.
fn settled(place: &Place) -> usize {
    let journal = fs::read_to_string(place.path("spool/journal")).unwrap_or_default();
    let lines = journal.lines().filter_map(|line| line.split_once(' '));
    let entries =
        lines.filter_map(|(_, json)| serde_json::from_str::<serde_json::Value>(json).ok());
    let places: BTreeSet<u64> = entries
        .filter_map(|entry| {
            let settled = entry.get("settled")?;
            Some(settled["first"].as_u64()?..=settled["last"].as_u64()?)
        })
        .flatten()
        .collect();
    places.len()
}

/// A sender whose receiver is killed before it gives its last twenty frames.
fn sending_into_an_outage(place: &Place, args: &[&str]) -> (Process, String) {
    place.file("first", &frames(0..5));
    place.file("second", &frames(5..25));
    place.file("third", &frames(25..28));
    let receiver = Receiver::start(place, &[]);
    let address = receiver.address().to_string();
    let line =
        "cat first; while [ ! -e go ]; do sleep 0.02; done; cat second; touch all; exec sleep 1000";
    let sending = receiver.sending(&[&camera(line)], &[&SPOOL[..], args].concat());
    wait_until("five stored frames", || lines(place).len() == 5);
    // What is stored is known here as well.
    wait_until("receipts", || settled(place) == 5);
    receiver.process().signal(Signal::KILL);
    drop(receiver);
    place.file("go", b"");
    wait_for_file(&place.path("all"));
    (sending, address)
}

#[test]
fn what_a_killed_sender_had_on_disk_is_sent_by_the_next_in_the_same_run() {
    let place = Place::new();
    let (sending, address) = sending_into_an_outage(&place, &[]);
    wait_until("twenty frames on disk", || on_disk(&place) == 20);
    sending.signal(Signal::KILL);
    sending.finish();
    let receiver = Receiver::start(&place, &["--listen", &address]);
    let sent = receiver.send(&[&camera("cat third")], &SPOOL).expect(0);
    sent.prints("visible: 23 frames: sent 23, stored 23");
    let numbers: Vec<_> = (0..28).map(|number| (u64::from(number), number)).collect();
    assert_eq!(stored(&place), numbers);
    let runs: BTreeSet<_> = lines(&place).iter().map(|line| line["run"].to_string()).collect();
    assert_eq!(runs.len(), 1, "one life of the source is one run");
    assert_eq!((account(&place)["dropped"].clone(), on_disk(&place)), (0.into(), 0));
    // That run is over, and the next one another.
    receiver.send(&[&camera("cat third")], &SPOOL).expect(0).prints("sent 3, stored 3");
    account(&place);
    assert_eq!(lines(&place).len(), 31);
}

#[test]
fn what_a_killed_sender_had_in_memory_is_declared_by_the_next() {
    let place = Place::new();
    let (sending, address) = sending_into_an_outage(&place, &[]);
    // Frames that have been taken, and had no time to grow old.
    sending.signal(Signal::KILL);
    sending.finish();
    let kept = on_disk(&place);
    let receiver = Receiver::start(&place, &["--listen", &address]);
    let sent = receiver.send(&[&camera("cat third")], &SPOOL).expect(0);
    let sent = sent.prints(&format!("sent {}", 3 + kept));
    let account = account(&place);
    let (stored, dropped) = (stored(&place), account["dropped"].as_u64().unwrap());
    let is_said = sent.stdout.contains("of an earlier sender");
    assert_eq!(is_said, dropped > 0, "{sent}");
    assert_eq!(stored.len(), 5 + kept + 3);
    assert!(dropped <= 20 - kept as u64, "{account}");
    // The last of the pipe may not have been read; what was is accounted for without a hole.
    assert_eq!(account["runs"]["first"][0]["captured"], stored.len() as u64 + dropped, "{account}");
    if dropped > 0 {
        assert_eq!(account["drops"][0]["reason"], "sender-crashed", "{account}");
    }
}

#[test]
fn what_cannot_be_sent_in_the_time_to_drain_stays_in_the_spool() {
    let place = Place::new();
    let (sending, address) = sending_into_an_outage(&place, &["--drain", "200ms"]);
    wait_until("a frame of the last", || on_disk(&place) > 0);
    sending.signal(Signal::TERM);
    let sent = sending.finish().expect(130).prints("stored 5").prints("in the spool ");
    assert!(sent.stdout.contains("missing 0"), "{sent}");
    let kept = on_disk(&place);
    assert!((1..=20).contains(&kept), "{kept}");
    let receiver = Receiver::start(&place, &["--listen", &address]);
    receiver.send(&[&camera("cat third")], &SPOOL).expect(0).prints(&format!("sent {}", 3 + kept));
    assert_eq!(account(&place)["dropped"], 0);
    assert_eq!(stored(&place).len(), 5 + kept + 3);
}

/// Checks what a sender says at its end of frames that are in its spool then, and that the next one brings them all.
#[track_caller]
fn assert_all_is_kept(place: &Place, ended: &serde_json::Value, address: &str) {
    let (source, kept) = (&ended["sources"][0], on_disk(place) as u64);
    let of = |name: &str| source[name].as_u64().unwrap();
    assert_eq!(
        (of("pending"), of("missing"), &source["dropped"]),
        (kept, 0, &serde_json::json!({})),
        "{ended}"
    );
    assert_eq!(of("frames"), of("stored") + kept, "{ended}");
    assert_eq!(ended["spool"]["disk_frames"], kept, "{ended}");
    let receiver = Receiver::start(place, &["--listen", address]);
    receiver.send(&[&camera("cat third")], &SPOOL).expect(0).prints(&format!("sent {}", 3 + kept));
    assert_eq!(account(place)["dropped"], 0);
    assert_eq!(lines(place).len() as u64, of("frames") + 3);
}

#[test]
fn a_sender_that_gives_up_keeps_every_frame_that_was_captured() {
    let place = Place::new();
    place.file("one", &frames(7..8));
    place.file("third", &frames(25..28));
    let receiver = Receiver::start(&place, &[]);
    let address = receiver.address().to_string();
    // It goes on while the sender gives up.
    let line = "while :; do cat one; sleep 0.002; done";
    let args = ["--spool", "spool", "--retry-for", "1s", "--json"];
    let sending = receiver.sending(&[&camera(line)], &args);
    wait_until("five stored frames", || lines(&place).len() >= 5);
    receiver.process().signal(Signal::KILL);
    drop(receiver);
    let ended = sending.finish().expect(1).json();
    assert_all_is_kept(&place, &ended, &address);
}

#[test]
fn a_sender_that_is_told_twice_to_end_keeps_what_it_has() {
    /// Later than what counts as one wish.
    const LATER: Duration = Duration::from_millis(300);
    let place = Place::new();
    let (sending, address) = sending_into_an_outage(&place, &["--json"]);
    sending.signal(Signal::TERM);
    sending.stderr_line(|line| line.contains("framelane: stopping").then_some(()));
    std::thread::sleep(LATER);
    sending.signal(Signal::TERM);
    let ended = sending.finish().expect(130).json();
    assert_all_is_kept(&place, &ended, &address);
}

#[test]
fn a_full_spool_drops_the_oldest_and_declares_it() {
    let place = Place::new();
    let full = ["--spool-size", "12kB", "--spool-memory", "4kB", "--when-full", "drop-oldest"];
    let (sending, address) = sending_into_an_outage(&place, &full);
    // It holds a dozen of the twenty.
    let dropped = || -> u64 {
        let journal = fs::read_to_string(place.path("spool/journal")).unwrap();
        let lines = journal.lines().filter_map(|line| serde_json::from_str(line.get(17..)?).ok());
        let drops = lines.map(|line: serde_json::Value| line["dropped"].clone());
        let count =
            |drop: &serde_json::Value| Some(drop["last"].as_u64()? - drop["first"].as_u64()? + 1);
        drops.filter_map(|drop| count(&drop)).sum()
    };
    wait_until("a full spool", || dropped() >= 8);
    let receiver = Receiver::start(&place, &["--listen", &address]);
    wait_until("the last frame", || stored(&place).last().is_some_and(|last| last.1 == 24));
    sending.signal(Signal::TERM);
    sending.finish().expect(0).prints("(spool-full), missing 0");
    let account = account(&place);
    let dropped = account["dropped"].as_u64().unwrap();
    assert!((5..20).contains(&dropped), "{account}");
    assert_eq!(account["drops"][0]["reason"], "spool-full", "{account}");
    let stored = stored(&place);
    assert_eq!(stored.len() as u64 + dropped, 25);
    assert!(stored.iter().all(|(sequence, number)| *sequence == u64::from(*number)), "{stored:?}");
    receiver.interrupt().expect(130);
}

#[test]
fn a_spool_that_cannot_be_used_is_explained() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let sending = receiver.sending(&[&camera("touch begun; exec sleep 1000")], &SPOOL);
    wait_for_file(&place.path("begun"));
    let second = |spool: &str, source: &str| receiver.send(&[source], &["--spool", spool]);
    second("spool", &camera("true")).expect(2).says("in use by another sender (process ");
    sending.signal(Signal::KILL);
    sending.finish();
    place.file("spool/framelane-spool", b"spool 9\n");
    second("spool", &camera("true")).expect(2).says("is of version 9");
    place.file("full/thesis.tex", b"");
    second("full", &camera("true")).expect(2).says("thesis.tex is in it");
    second("full/thesis.tex", &camera("true")).expect(1).says("cannot make the folder");
    place.frames("visible", 1, 100);
    second("other", "visible").expect(2).says("no source does");
    assert!(!place.path("other").exists());
}

/// Frames that a camera gives in an outage, far more than have room.
const MANY: u8 = 200;

/// A sender whose spool is a disk of its own that is full after a dozen frames, with memory for twenty more, and whose
/// receiver is killed before it gives most of its frames; `None`, and a word about it, where this machine lets nobody
/// make a namespace.
fn sending_onto_a_full_disk(place: &Place, when_full: &str) -> Option<(Process, String)> {
    let mount = "mount -t tmpfs -o size=100k tmpfs spool";
    sending_onto(place, when_full, &format!("{mount} && exec \"$@\""))
}

/// The same with a script that mounts the disk and runs the sender, which it is given.
fn sending_onto(place: &Place, when_full: &str, script: &str) -> Option<(Process, String)> {
    let mount = "mount -t tmpfs tmpfs spool";
    fs::create_dir(place.path("spool")).unwrap();
    let possible = Command::new("unshare")
        .args(["-Urm", "sh", "-c", mount])
        .current_dir(place.path("."))
        .output()
        .is_ok_and(|output| output.status.success());
    if !possible {
        skipped("no small file system can be mounted here (unshare -Urm)");
        return None;
    }
    place.file("first", &frames(0..5));
    place.file("rest", &frames(5..MANY));
    let receiver = Receiver::start(place, &[]);
    let (address, pin) = (receiver.address().to_string(), place.pin("receiver"));
    place.identity("sender");
    let source = camera(
        "[ -e again ] || { cat first; while [ ! -e go ]; do sleep 0.02; done; cat rest; touch all; }; exec sleep 1000",
    );
    let args = ["send", &address, &source, "--certs", "sender", "--pin", &pin];
    let more = ["--spool-memory", "20kB", "--when-full", when_full];
    let send = place.command(&[&args[..], &SPOOL, &more].concat());
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c", script, "sh"]);
    command.arg(send.get_program()).args(send.get_args()).current_dir(place.path("."));
    command.envs(send.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let sending = Process::start(command);
    wait_until("five stored frames", || lines(place).len() == 5);
    receiver.process().signal(Signal::KILL);
    drop(receiver);
    place.file("go", b"");
    sending.stderr_line(|line| line.contains("frames stay in memory until").then_some(()));
    Some((sending, address))
}

#[test]
fn a_full_disk_under_the_spool_costs_nothing_where_the_source_can_wait() {
    let place = Place::new();
    let Some((sending, address)) = sending_onto_a_full_disk(&place, "wait") else { return };
    let receiver = Receiver::start(&place, &["--listen", &address]);
    wait_until("all frames", || lines(&place).len() == usize::from(MANY));
    sending.signal(Signal::TERM);
    sending.finish().expect(0).prints("missing 0");
    let numbers: Vec<_> = (0..MANY).map(|number| (u64::from(number), number)).collect();
    assert_eq!(stored(&place), numbers);
    assert_eq!(account(&place)["dropped"], 0);
    receiver.interrupt().expect(130);
}

#[test]
fn a_full_disk_under_the_spool_costs_the_oldest_frames_where_that_is_asked_for() {
    let place = Place::new();
    let Some((sending, address)) = sending_onto_a_full_disk(&place, "drop-oldest") else { return };
    wait_for_file(&place.path("all"));
    let receiver = Receiver::start(&place, &["--listen", &address]);
    wait_until("the last frame", || stored(&place).last().is_some_and(|last| last.1 == MANY - 1));
    sending.signal(Signal::TERM);
    sending.finish().expect(0).prints("(spool-full), missing 0");
    let account = account(&place);
    let dropped = account["dropped"].as_u64().unwrap();
    let stored = stored(&place);
    assert_eq!(stored.len() as u64 + dropped, u64::from(MANY), "{account}");
    assert!((100..u64::from(MANY) - 8).contains(&dropped), "{account}");
    assert_eq!(account["drops"][0]["reason"], "spool-full", "{account}");
    assert!(stored.iter().all(|(sequence, number)| *sequence == u64::from(*number)), "{stored:?}");
    receiver.interrupt().expect(130);
}

/// A sender is killed when its spool has filled the disk, `between` is done, and it is started again, with a receiver that
/// it is to call so: all that lay there is stored, which are the oldest frames. False where this machine has no such disk.
fn started_again_on_a_full_disk(place: &Place, disk: &str, between: &str, as_host: &str) -> bool {
    let script = format!(
        "mount -t tmpfs -o {disk} tmpfs spool || exit 9
        \"$@\" & sender=$!
        while [ ! -e kill ]; do sleep 0.02; done
        kill -KILL $sender; wait $sender; touch again
        {between}
        program=$1; address={as_host}:${{3##*:}}; shift 3
        touch started; exec \"$program\" send $address --json \"$@\""
    );
    let Some((sending, address)) = sending_onto(place, "wait", &script) else { return false };
    place.file("kill", b"");
    wait_for_file(&place.path("started"));
    let receiver = Receiver::start(place, &["--listen", &address]);
    wait_until("frames that were in the spool", || lines(place).len() >= 8);
    // Nothing more comes about: it ends when the last of them is stored.
    sending.signal(Signal::TERM);
    let ended = sending.finish().expect(0).json();
    receiver.interrupt().expect(130);
    assert_eq!(ended["spool"]["disk_frames"], 0, "{ended}");
    let found = ended["spool"]["found"].as_u64().unwrap();
    let mut numbers: Vec<_> = stored(place).into_iter().map(|frame| u64::from(frame.1)).collect();
    numbers.sort_unstable();
    let all = numbers.len() as u64;
    assert_eq!(numbers, (0..all).collect::<Vec<_>>(), "{ended}");
    // What the first session had stored may not have been known to be.
    assert!(all >= 8 && (all - 5..=all).contains(&found), "{numbers:?}, {ended}");
    true
}

#[test]
fn a_spool_that_has_filled_its_disk_is_opened_again_and_sent() {
    // Its bytes, or its number of files.
    for disk in ["size=100k", "size=10m,nr_inodes=20"] {
        let place = Place::new();
        if !started_again_on_a_full_disk(&place, disk, "", "127.0.0.1") {
            return;
        }
        let account = account(&place);
        assert_eq!(account["drops"][0]["reason"], "sender-crashed", "{account}");
    }
}

#[test]
fn a_spool_that_has_filled_its_disk_and_has_a_torn_journal_is_sent_to_another_receiver() {
    let place = Place::new();
    let torn = "printf '0123456789abcdef {\"settled\":{' >> spool/journal";
    started_again_on_a_full_disk(&place, "size=100k", torn, "localhost");
}
