//! `framelane compare` for real: both ends over an emulated link, and everything it may be asked
//! that cannot be.
//!
//! Where the system does not allow an emulated link, the tests that need one say SKIPPED and why;
//! with `FRAMELANE_REQUIRE_LINK=1` in the environment that is a failure.

#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

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

/// Folders of comparisons that have a name outside the process.
fn left_behind() -> usize {
    let entries = |path: &str| std::fs::read_dir(path).into_iter().flatten().flatten();
    let all = entries("/dev/shm").chain(entries("/tmp"));
    all.filter(|entry| entry.file_name().to_string_lossy().starts_with("framelane-compare-"))
        .count()
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

#[test]
fn an_interrupted_comparison_ends_at_once_and_leaves_nothing_behind() {
    for signal in [Signal::INT, Signal::KILL] {
        let asked = ["--link", "lossy", "--frames", "600", "--transport", "quic"];
        let mut child =
            compare(&asked).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
        if first.starts_with("run ") {
            kill_process(Pid::from_child(&child), signal).unwrap();
        }
        let status = child.wait().unwrap();
        let rest = rest.join().unwrap();
        let all = format!("{first}\n{}", rest.join("\n")).into_bytes();
        if skipped(&Output { status, stdout: Vec::new(), stderr: all.clone() }) {
            return;
        }
        if signal == Signal::INT {
            assert_eq!(status.code(), Some(130), "{}", text(&all));
        }
        assert_eq!(left_behind(), 0, "after {signal:?}");
    }
}

#[test]
fn what_cannot_be_is_refused_as_wrong_usage() {
    let empty = tempfile::tempdir().unwrap();
    let empty = format!("visible={}", empty.path().display());
    let cases: [(&[&str], &str); 10] = [
        (&["--link", "rat=5mbit"], "unknown link key"),
        (&["--link", "loss=120%"], "out of range"),
        (&["--link", "loss=-2%"], "-2%"),
        (&["--link", "rate=50"], "no unit"),
        (&["--link", "trace=/nonexistent.trace"], "/nonexistent.trace"),
        (&["--link", "moon"], "there is no link"),
        (&["--transport", "pigeon"], "unknown transport"),
        (&["--transport", "tcp:pigeon"], "does not offer"),
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
    let output = run(&["--json", "/nonexistent/r.json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("/nonexistent/r.json"));
}

#[test]
fn the_named_links_are_listed_with_their_numbers() {
    let output = run(&["--list-links"]);
    assert_eq!(output.status.code(), Some(0));
    let stdout = text(&output.stdout);
    assert!(stdout.contains("mesh-edge") && stdout.contains("loss=10%"), "{stdout}");
}
