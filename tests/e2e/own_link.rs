//! `compare --to`: the comparison over the user's own link, here loopback.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Finished, Place, Receiver};

/// Compares over the link to a receiver in the same place.
fn compare(place: &Place, receiver: &Receiver<'_>, args: &[&str]) -> Finished {
    let (address, pin) = (receiver.address().to_string(), place.pin("receiver"));
    let to = ["compare", "--to", &address, "--pin", &pin, "--certs", "sender"];
    place.run(&[&to[..], args].concat())
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_page_shows_every_transport_and_loads_nothing() {
    let place = Place::new();
    place.frames("visible", 6, 20_000);
    place.frames("infrared", 6, 5_000);
    let receiver = Receiver::start(&place, &["--transport", "quic", "--transport", "tcp"]);
    let sources = ["near&far=./visible", "infrared"];
    let run = ["--transport", "quic", "--transport", "tcp:cubic", "--frames", "6", "--repeat", "2"];
    let files = ["--report", "page.html", "--json", "all.json"];
    let done = compare(&place, &receiver, &[&sources[..], &run[..], &files[..]].concat());
    done.expect(0).prints("quic lossy").prints("tcp cubic").says("written: page.html");
    receiver.interrupt().expect(130).prints("stored 48 frames");

    let page = read(&place.path("page.html"));
    for transport in ["quic lossy", "tcp cubic"] {
        let plot = format!("aria-label=\"Latency over time of {transport} over ");
        assert_eq!(page.matches(&plot).count(), 1, "{transport}");
    }
    for (part, count) in [("Latency distribution of ", 2), ("Goodput in Mbit/s over ", 1)] {
        assert_eq!(page.matches(&format!("aria-label=\"{part}")).count(), count, "{part}");
    }
    for foreign in ["<script", "http://", "https://", "<link", "url(", "near&far", "NaN", "inf "] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("near&amp;far") && page.contains("one way p50 ms"));

    let all: Value = serde_json::from_str(&read(&place.path("all.json"))).unwrap();
    for run in
        all["rows"].as_array().unwrap().iter().flat_map(|row| row["runs"].as_array().unwrap())
    {
        assert_eq!((&run["verdict"], &run["missing"]), (&"steady".into(), &0.into()), "{run}");
        // Both ends have the same clock here, so the offset is within its error of nothing.
        let [offset, error] =
            ["offset_ms", "error_ms"].map(|key| run["clock"][key].as_f64().unwrap());
        assert!(offset.abs() <= error + 0.01, "{run}");
    }
}

#[test]
fn a_frame_that_is_not_stored_is_missing_by_name_and_is_status_1() {
    let place = Place::new();
    place.frames("visible", 2, 4_000);
    place.file("visible/2.bin", &[7; 60_000]);
    let receiver = Receiver::start(&place, &["--transport", "quic", "--max-frame", "20kB"]);
    let run = ["visible", "--transport", "quic", "--frames", "3", "--repeat", "1"];
    compare(&place, &receiver, &[&run[..], &["--json", "all.json"]].concat())
        .expect(1)
        .prints("missing: quic lossy, run 1: 1 of 3 frames")
        .prints("visible/2.bin (");
    let all: Value = serde_json::from_str(&read(&place.path("all.json"))).unwrap();
    let source = &all["rows"][0]["runs"][0]["sources"][0];
    let counts = ["offered", "confirmed", "found", "missing"].map(|key| source[key].as_u64());
    assert_eq!(counts, [3, 2, 0, 1].map(Some), "{source}");
}

#[test]
fn bulk_has_no_latency_but_goodput() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--transport", "quic"]);
    let args = ["--bulk", "--transport", "quic", "--frames", "3", "--repeat", "1"];
    compare(&place, &receiver, &[&args[..], &["--report", "page.html"]].concat()).expect(0);
    let page = read(&place.path("page.html"));
    assert!(
        page.contains("aria-label=\"Goodput in Mbit/s over ") && !page.contains("Latency over")
    );
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_anything_is_sent() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--transport", "quic"]);
    compare(&place, &receiver, &["--report", "nowhere/page.html"])
        .expect(1)
        .says("cannot write nowhere/page.html");
    receiver.interrupt().expect(130).prints("stored 0 frames");
}
