//! `framelane compare` for real: both ends over an emulated link, and everything it may be asked
//! that cannot be.
//!
//! Where the system does not allow an emulated link, the tests that need one say SKIPPED and why;
//! with `FRAMELANE_REQUIRE_LINK=1` in the environment that is a failure.

#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn compare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_framelane"));
    command.arg("compare").args(arguments).env_remove("RUST_LOG");
    command
}

fn run(arguments: &[&str]) -> Output {
    compare(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// True where there is no emulated link here, which is said past the harness's capture.
fn skipped(output: &Output) -> bool {
    let stderr = text(&output.stderr);
    if !stderr.contains("an emulated link needs") {
        return false;
    }
    assert!(std::env::var_os("FRAMELANE_REQUIRE_LINK").is_none(), "{stderr}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {stderr}");
    true
}

#[test]
fn every_frame_arrives_over_a_clean_link_and_is_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    let (json, page) = (dir.path().join("r.json"), dir.path().join("r.html"));
    let files = ["--json", json.to_str().unwrap(), "--report", page.to_str().unwrap()];
    let asked = ["--link", "rate=50mbit,delay=5ms", "--frames", "30", "--repeat", "1"];
    let transports = ["--transport", "quic", "--transport", "tcp:cubic", "--seed", "7"];
    let output = run(&[&files[..], &asked[..], &transports[..]].concat());
    if skipped(&output) {
        return;
    }
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("frames lost 0, altered 0"), "{stdout}");
    check_json(&json);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains("quic lossy") && page.contains("tcp cubic"));
    for foreign in ["<script", "http://", "https://", "<link", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

fn check_json(path: &Path) {
    let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(json["seed"], 7);
    let rows = json["links"][0]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let run = &row["runs"][0];
        for source in run["sources"].as_array().unwrap() {
            assert_eq!(source["stored"], 30, "{source}");
            let samples = source["samples"].as_array().unwrap();
            assert_eq!(samples.len(), 30);
            // Nothing is faster than the propagation of one way.
            assert!(samples.iter().all(|sample| sample[2].as_f64().unwrap() >= 5.0), "{source}");
        }
        let (wire, payload) = (run["wire"]["up_bytes"].as_f64(), run["payload_bytes"].as_f64());
        let ratio = wire.unwrap() / payload.unwrap();
        assert!((1.0..1.5).contains(&ratio), "{ratio} bytes on the wire for each of payload");
    }
}

/// Two links together, each alone, and the kernel's TCP.
fn together(more: &[&str]) -> Option<(String, Value, String)> {
    let dir = tempfile::tempdir().unwrap();
    let (json, page) = (dir.path().join("r.json"), dir.path().join("r.html"));
    let files = ["--json", json.to_str().unwrap(), "--report", page.to_str().unwrap()];
    let links = ["--link", "rate=20mbit,delay=10ms", "--link", "rate=10mbit,delay=20ms,loss=1%"];
    let asked = ["--together", "--repeat", "1", "--seed", "7"];
    let transports = ["--transport", "quic", "--transport", "tcp:cubic"];
    let output = run(&[&files[..], &links[..], &asked[..], &transports[..], more].concat());
    if skipped(&output) {
        return None;
    }
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("frames lost 0, altered 0, stored twice 0"), "{stdout}");
    let told = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    Some((stdout, told, std::fs::read_to_string(page).unwrap()))
}

/// The rows of the only link: over what, and the row.
fn rows_by_link(told: &Value) -> Vec<(String, &Value)> {
    let rows = told["links"][0]["rows"].as_array().unwrap().iter();
    rows.map(|row| {
        let variant = &row["variant"];
        let text = |field: &str| variant[field].as_str().unwrap_or("").to_owned();
        (format!("{} {}", text("transport"), text("over")), row)
    })
    .collect()
}

#[test]
fn two_links_carry_more_together_than_either_alone() {
    let Some((stdout, told, page)) = together(&["--bulk", "--frames", "100"]) else { return };
    let link = &told["links"][0];
    let limits = link["alone"].as_array().unwrap().iter();
    let alone: Vec<f64> = limits.map(|alone| alone["limit_mbit"].as_f64().unwrap()).collect();
    let both = link["limit_mbit"].as_f64().unwrap();
    assert!((19.0..19.2).contains(&alone[0]) && (9.4..9.6).contains(&alone[1]), "{alone:?}");
    assert!((both - alone[0] - alone[1]).abs() < 0.1, "{both} and {alone:?}");
    let rows = rows_by_link(&told);
    let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    let mut expected = vec!["quic auto", "quic spread", "quic first", "quic second", "tcp first"];
    match link["left_out"].as_array() {
        Some(why) => assert!(why[0].as_str().unwrap().contains("MPTCP was not run"), "{why:?}"),
        None => expected.push("tcp multipath"),
    }
    assert_eq!(names, expected);
    let rate = |name: &str| {
        let (_, row) = rows.iter().find(|(other, _)| other == name).unwrap();
        row["summary"]["goodput_mbit"]["median"].as_f64().unwrap()
    };
    // A run's beginning and a busy machine cost their part; one link alone cannot carry so much.
    assert!(rate("quic auto") > 20.0, "{stdout}");
    assert!(rate("quic first") < 19.5 && rate("quic second") < 9.8, "{stdout}");
    for part in ["limit, link 1", "limit, both", "quic lossy, both", "of the limit of both"] {
        assert!(stdout.contains(part), "{part}: {stdout}");
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn live_frames_over_two_links_are_held_against_what_both_allow() {
    let Some((stdout, told, page)) = together(&["--frames", "60"]) else { return };
    let limit = |at: &Value, source: usize| at["limits"][source]["p50"].as_f64().unwrap();
    let link = &told["links"][0];
    let alone = [limit(&link["alone"][0], 0), limit(&link["alone"][1], 0)];
    // 10 ms, and what 20 and 60 kB take to be sent; 19.2 Mbit/s are too much for the other.
    assert!((44.0..48.0).contains(&alone[0]) && alone[1] > 1_000.0, "{alone:?}");
    let rows = rows_by_link(&told);
    let source = |name: &str| {
        let (_, row) = rows.iter().find(|(other, _)| other == name).unwrap();
        row["runs"][0]["sources"][0].clone()
    };
    let both = source("quic auto")["limit"]["p50"].as_f64().unwrap();
    assert!(both <= alone[0], "{both} and {alone:?}");
    assert_eq!(source("quic auto")["stored"], 60);
    assert_eq!(source("quic duplicate")["stored"], 60);
    assert!(stdout.contains("quic lossy, link 2 cannot keep up"), "{stdout}");
    assert!(page.matches("<svg").count() == page.matches("</svg>").count(), "{page}");
    assert!(page.contains("Latency over time of quic lossy, both over"), "{page}");
}

#[test]
fn another_build_makes_the_same_runs_beside_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("r.json");
    let other = env!("CARGO_BIN_EXE_framelane");
    let against = ["--against", other, "--json", json.to_str().unwrap()];
    let asked = ["--link", "rate=50mbit,delay=5ms", "--frames", "20", "--repeat", "2"];
    let transports = ["--transport", "quic", "--transport", "tcp:cubic", "--seed", "7"];
    let output = run(&[&against[..], &asked[..], &transports[..]].concat());
    if skipped(&output) {
        return;
    }
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    let line = stdout.lines().find(|line| line.contains("this build / the other")).unwrap();
    for part in ["visible p50/p95/p99", "goodput", "processor time", "tcp cubic's"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(stdout.contains(&format!("(other) is {other} (framelane ")), "{stdout}");
    let json: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let rows = json["links"][0]["rows"].as_array().unwrap();
    let others: Vec<_> = rows.iter().map(|row| row["variant"]["other_build"] == true).collect();
    assert_eq!(others, [false, true, false]);
    for (row, repetition) in rows.iter().flat_map(|row| [(row, 0), (row, 1)]) {
        let run = &row["runs"][repetition];
        assert_eq!(run["repetition"], repetition);
        assert_eq!(run["seed"], 7 + repetition, "every build meets the same losses");
        let stored = run["sources"].as_array().unwrap().iter().map(|source| &source["stored"]);
        assert!(stored.clone().count() == 2 && stored.clone().all(|stored| *stored == 20));
    }
}

#[test]
fn what_is_no_other_build_is_said_before_anything_runs() {
    for (program, why) in [("/bin/true", "no framelane"), ("/nowhere/framelane", "cannot be run")] {
        let output = run(&["--against", program, "--link", "lan"]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(program) && stderr.contains(why), "{stderr}");
    }
}

#[test]
fn a_comparison_that_was_stopped_leaves_nothing_behind_but_its_results() {
    for signal in [Signal::INT, Signal::KILL] {
        let temporary = tempfile::tempdir().unwrap();
        let kept = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(kept.path(), "an earlier report").unwrap();
        let json = temporary.path().join("r.json");
        let files = ["--json", json.to_str().unwrap(), "--report", kept.path().to_str().unwrap()];
        let asked = ["--link", "lossy", "--frames", "10", "--repeat", "1000"];
        let mut command = compare(&[&files[..], &asked[..], &["--transport", "quic"]].concat());
        command.env("TMPDIR", temporary.path()).env(MARK, temporary.path());
        let Some(Stopped { pid, status, stderr, namespaces }) =
            stopped_in_its_second_run(command, signal)
        else {
            return;
        };
        let report = std::fs::read_to_string(kept.path()).unwrap();
        if signal == Signal::INT {
            assert_eq!(status.code(), Some(130), "{stderr}");
            let found: Value = serde_json::from_reader(File::open(&json).unwrap()).unwrap();
            let runs = found["links"][0]["rows"][0]["runs"].as_array().unwrap().len() as u64;
            assert!((1..1000).contains(&runs), "{runs}");
            assert_eq!(found["missing_runs"], 1_000 - runs);
            assert!(report.contains("the comparison was stopped"), "{report}");
            std::fs::remove_file(&json).unwrap();
        } else {
            assert_eq!(report, "an earlier report");
        }
        let memory = format!("/dev/shm/framelane-compare-{pid}");
        assert!(!Path::new(&memory).exists(), "{memory} is left after {signal:?}");
        let names: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().flatten().collect();
        assert!(names.is_empty(), "{names:?} are left after {signal:?}");
        assert_not_held(&namespaces, temporary.path());
    }
}

/// In the environment of a comparison, and of everything that it might start.
const MARK: &str = "FRAMELANE_TEST_MARK";

/// A comparison that was stopped.
struct Stopped {
    pid: u32,
    status: ExitStatus,
    stderr: String,
    /// The network namespaces that its threads were in, as the kernel names them.
    namespaces: BTreeSet<String>,
}

/// Runs a comparison until its second run begins, by which time the first has had a link, and
/// sends it a signal. `None` where there is no emulated link.
fn stopped_in_its_second_run(mut command: Command, signal: Signal) -> Option<Stopped> {
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut all = String::new();
    let mut namespaces = BTreeSet::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
        if line.starts_with("run 2/") {
            namespaces = wait_for_namespaces(child.id());
            kill_process(Pid::from_child(&child), signal).unwrap();
        }
        all.push_str(&line);
        all.push('\n');
    }
    let (pid, status) = (child.id(), child.wait().unwrap());
    let output = Output { status, stdout: Vec::new(), stderr: all.clone().into_bytes() };
    if skipped(&output) {
        return None;
    }
    assert!(all.contains("run 2/"), "{all}");
    Some(Stopped { pid, status, stderr: all, namespaces })
}

/// The namespaces of a run that has begun, once its link is there.
fn wait_for_namespaces(pid: u32) -> BTreeSet<String> {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let found = namespaces_of(pid);
        if !found.is_empty() || Instant::now() > patience {
            return found;
        }
        std::thread::yield_now();
    }
}

/// The network namespaces of a process's threads, but for the one that we are in.
fn namespaces_of(pid: u32) -> BTreeSet<String> {
    let name = |link: &Path| Some(std::fs::read_link(link).ok()?.to_str()?.to_owned());
    let ours = name(Path::new("/proc/self/ns/net"));
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let all = threads.filter_map(|thread| name(&thread.path().join("ns/net")));
    all.filter(|other| Some(other) != ours.as_ref()).collect()
}

/// A namespace, and with it its devices, lives as long as a process is in it or a mount holds it. Others
/// on this machine may hold theirs.
fn assert_not_held(namespaces: &BTreeSet<String>, mark: &Path) {
    assert!(!namespaces.is_empty(), "no thread of the comparison was in a namespace of its own");
    let mark = format!("{MARK}={}", mark.display());
    let held = |environment: &Path| {
        std::fs::read(environment).is_ok_and(|environment| text(&environment).contains(&mark))
    };
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        assert!(!held(&process.path().join("environ")), "{:?} goes on", process.path());
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    for namespace in namespaces {
        assert!(!mounts.contains(namespace), "{namespace} is mounted: {mounts}");
    }
}

#[test]
fn without_the_tun_driver_it_says_how_to_get_it() {
    // In a mount namespace of its own, in which /dev/net is empty.
    let hidden = "mount -t tmpfs none /dev/net && exec \"$0\" compare --link lan --json \"$1\"";
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("r.json");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", hidden])
        .args([env!("CARGO_BIN_EXE_framelane"), json.to_str().unwrap()])
        .output();
    let stderr = output.as_ref().map_or_else(ToString::to_string, |output| text(&output.stderr));
    if !stderr.contains("framelane:") {
        let _ = writeln!(std::io::stderr(), "SKIPPED: /dev/net cannot be hidden: {stderr}");
        return;
    }
    assert_eq!(output.unwrap().status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("/dev/net/tun is not there"), "{stderr}");
    assert!(stderr.contains("modprobe tun"), "{stderr}");
    assert!(!json.exists(), "an empty report is left");
}

/// Small frames and few of them, so that the slowest transport is done on the slowest link.
#[test]
#[ignore = "takes two minutes: cargo test --test compare -- --ignored"]
fn frames_of_every_size_pass_every_transport_on_every_preset() {
    let dir = tempfile::tempdir().unwrap();
    // Stop-and-wait cannot carry a single byte, as its receivers read half of the length at least.
    let sizes = [2, 700, 1_410, 1_411, 9_000, 40_000, 120_000];
    for (index, size) in sizes.into_iter().enumerate() {
        let content: Vec<u8> = (0..size).map(|byte: u32| (byte * 31 + size) as u8).collect();
        std::fs::write(dir.path().join(format!("{index}.bin")), content).unwrap();
    }
    let json = dir.path().join("r.json");
    let source = format!("visible={}", dir.path().display());
    let links = ["lan", "lossy", "busy-wifi", "lte-moving", "mesh-edge", "leo", "geo"];
    let links: Vec<&str> = links.iter().flat_map(|link| ["--link", link]).collect();
    let pace = ["--fps", "4", "--frames", "7", "--repeat", "1", "--seed", "11"];
    let files = ["--json", json.to_str().unwrap(), source.as_str()];
    let output = run(&[&links[..], &pace[..], &files[..]].concat());
    if skipped(&output) {
        return;
    }
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("frames lost 0, altered 0"), "{stdout}");
    let json: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    for link in json["links"].as_array().unwrap() {
        for row in link["rows"].as_array().unwrap() {
            let (run, what) = (&row["runs"][0], format!("{}: {}", link["label"], row["variant"]));
            let source = &run["sources"][0];
            let [stored, waiting] = ["stored", "unfinished"].map(|key| source[key].as_u64());
            assert_eq!(stored.unwrap() + waiting.unwrap(), sizes.len() as u64, "{what}");
            // A run that kept up has them all.
            assert!(run["verdict"] != "steady" || waiting == Some(0), "{what}");
        }
    }
}

#[test]
fn a_frame_that_a_transport_cannot_carry_is_named_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let frames = dir.path().join("visible");
    std::fs::create_dir(&frames).unwrap();
    std::fs::write(frames.join("0.png"), b"a").unwrap();
    std::fs::write(frames.join("1.png"), b"two or more").unwrap();
    let source = format!("visible={}", frames.display());
    let output = run(&[
        source.as_str(),
        "--link",
        "rate=50mbit,delay=1ms",
        "--transport",
        "stop-and-wait",
        "--repeat",
        "1",
        "--frames",
        "2",
    ]);
    if skipped(&output) {
        return;
    }
    let stdout = text(&output.stdout);
    assert!(stdout.contains("frames lost 1, altered 0"), "{stdout}");
    let named = stdout.lines().find(|line| line.contains("did not store 0.png: "));
    assert!(named.is_some_and(|line| line.contains("bytes")), "{stdout}");
    assert!(!stdout.contains("1.png"), "{stdout}");
}

#[test]
fn what_cannot_be_is_refused_as_wrong_usage() {
    let empty = tempfile::tempdir().unwrap();
    let empty = format!("visible={}", empty.path().display());
    let cases: [(&[&str], &str); 20] = [
        (&["--link", "rat=5mbit"], "unknown link key"),
        (&["--link", "loss=120%"], "out of range"),
        (&["--link", "loss=-2%"], "-2%"),
        (&["--link", "rate=50"], "no unit"),
        (&["--link", "trace=/nonexistent.trace"], "/nonexistent.trace"),
        (&["--link", "moon"], "there is no link"),
        (&["--transport", "pigeon"], "unknown transport"),
        (&["--transport", "tcp:pigeon"], "does not offer"),
        (&["--link", "delay=-5ms"], "delay"),
        (&["--link", "reorder=101%"], "reorder"),
        (&["--link", "queue=50ms"], "rate"),
        (&["--link", "loss=90%,burst=2"], "burst"),
        (&["--repair=-3%"], "--repair"),
        (&["--fps", "0"], "--fps"),
        (&["--link", "lan", "--to", "localhost:4433"], "--to"),
        (&["--together", "--link", "lan"], "two links"),
        (&["--together"], "--link"),
        (
            &["--together", "--link", "lan", "--link", "lan", "--transport", "stop-and-wait"],
            "goes over one link",
        ),
        (&["--repeat", "0"], "--repeat"),
        (&[&empty], "no files"),
    ];
    for (arguments, expected) in cases {
        let output = run(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_anything_runs() {
    for option in ["--json", "--report"] {
        for path in ["/nonexistent/r", "/"] {
            let output = run(&[option, path]);
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            assert!(stderr.contains(&format!("cannot write {path}")), "{stderr}");
        }
    }
}

/// What is printed into a pipe that nobody reads is lost, and that is all: `| head` is no error.
#[test]
fn a_closed_standard_output_ends_nothing_with_a_panic() {
    for arguments in [&["--list-links"][..], &["--help"]] {
        // Its reading end is gone before anything is written.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = compare(arguments).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        assert!(stderr.is_empty(), "{arguments:?}: {stderr}");
    }
}

#[test]
fn the_named_links_are_listed_with_their_numbers() {
    let output = run(&["--list-links"]);
    assert_eq!(output.status.code(), Some(0));
    let stdout = text(&output.stdout);
    assert!(stdout.contains("mesh-edge") && stdout.contains("loss=10%"), "{stdout}");
    assert!(stdout.contains("reorder=1%+5ms") && stdout.contains("Mahimahi"), "{stdout}");
}
