//! Frames from a program, frames with a deadline, and what a sender says of them.

use std::time::Duration;

use framelane::frame::ByteSize;
use framelane::{Frame, Sender};

use crate::support::{Place, Receiver, Relay};

#[expect(dead_code, reason = "the test has its own main")]
#[path = "../../examples/send_camera.rs"]
pub(crate) mod send_camera;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_sends_what_a_camera_makes() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let (address, pin) = (receiver.address().to_string(), place.pin("receiver"));
    let report = send_camera::send(&address, &pin, &place.path("sender")).await.unwrap();
    assert!(report.is_complete(), "{:?}", report.error);
    assert_eq!((report.sources[0].frames, report.sources[0].sent), (30, 30));
    assert_eq!(report.sources[0].latency.unwrap().count, 30);
    let manifest = place.manifest("visible");
    let sequences: Vec<_> = manifest.iter().map(|line| line["sequence"].as_u64()).collect();
    assert_eq!(sequences, (0..30).map(Some).collect::<Vec<_>>());
    for line in manifest {
        let name = line["name"].as_str().unwrap();
        assert!(name.starts_with("20") && name.ends_with("Z.jpg"), "{line}");
        assert!(line["captured_unix_ns"].is_u64() && line["due_unix_ns"].is_null(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_waits_for_room_alone_and_its_receipt_for_the_store() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let sender = Sender::to(receiver.address().to_string())
        .pin(place.pin("receiver"))
        .certs(place.path("sender"))
        .source("a")
        .source("b")
        .memory(ByteSize(100_000))
        .start()
        .await
        .unwrap();
    // Each takes more than half of the memory, so that none is there before the last has gone.
    for index in 0..20_u8 {
        let source = if index % 2 == 0 { "a" } else { "b" };
        let name = format!("{index}.bin");
        let receipt = sender.push(source, Frame::named(&name, vec![index; 60_000])).await.unwrap();
        if index >= 18 {
            receipt.stored().await.unwrap();
            assert!(place.store().join(source).join(&name).exists(), "{name} is not stored");
        }
    }
    assert!(sender.push("c", Frame::raw(vec![1])).await.is_err(), "there is no source c");
    assert!(sender.push("a", Frame::named("..", vec![1])).await.is_err());
    let report = sender.finish().await;
    assert!(report.is_complete(), "{:?}", report.error);
    assert_eq!(report.sent(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_a_receiver_that_is_not_there_fails_when_the_run_has_ended() {
    let place = Place::new();
    let deaf = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = Sender::to(deaf.local_addr().unwrap().to_string())
        .pin(place.pin("receiver"))
        .certs(place.path("sender"))
        .source("a")
        .memory(ByteSize(10_000))
        .retry_for(Duration::from_millis(500))
        .start()
        .await
        .unwrap();
    let receipt = sender.push("a", Frame::raw(vec![0; 9_000])).await.unwrap();
    // There is no room for this one, and there will be none.
    let waits = sender.push("a", Frame::raw(vec![0; 9_000]));
    assert!(waits.await.is_err(), "it was taken");
    assert!(receipt.stored().await.is_err(), "it was stored");
    let report = sender.finish().await;
    assert!(report.error.unwrap().contains("no connection came about"));
    assert_eq!(report.sources[0].missing, 1);
}

/// A link that takes a third of what falls due: what would come too late is dropped, declared, and nothing of
/// it is missing.
#[test]
fn frames_that_would_come_after_their_deadline_are_dropped_and_declared() {
    let place = Place::new();
    place.frames("visible", 90, 50_000);
    let receiver = Receiver::start(&place, &[]);
    let relay = Relay::start(receiver.address(), 500_000.0);
    let args = ["--fps", "30", "--live", "400ms", "--json"];
    let finished = receiver.send_over(&relay, &["visible"], &args).expect(0);
    let report = finished.json();
    let source = &report["sources"][0];
    let count = |field: &str| source[field].as_u64().unwrap();
    let late = source["dropped"]["late"].as_u64().unwrap_or(0);
    // A busy machine's relay lets less through.
    assert!(late >= 30 && count("stored") >= 3, "{finished}");
    assert_eq!((count("stored") + late, count("missing")), (90, 0), "{finished}");
    let p95 = source["latency"]["p95_ms"].as_f64().unwrap();
    assert!(p95 < 2_000.0, "a queue has built up: {finished}");
}

/// A folder that is replayed with a deadline over a link that has room: what is due soonest is read first, and nothing
/// becomes late for waiting behind what is due later.
#[test]
fn a_replay_with_a_deadline_that_the_link_can_keep_drops_nothing() {
    let place = Place::new();
    place.frames("visible", 150, 3_000);
    let receiver = Receiver::start(&place, &[]);
    let args = ["--fps", "60", "--live", "2s", "--json"];
    let finished = receiver.send(&["visible"], &args).expect(0);
    let report = finished.json();
    let source = &report["sources"][0];
    assert_eq!(source["stored"].as_u64(), Some(150), "{finished}");
    assert!(source["dropped"]["late"].is_null(), "{finished}");
}

/// What the summary says as text and as JSON is the same.
#[test]
fn the_summary_has_one_meaning() {
    let place = Place::new();
    place.frames("visible", 20, 5_000);
    let receiver = Receiver::start(&place, &[]);
    let report = receiver.send(&["visible"], &["--fps", "100", "--json"]).expect(0).json();
    assert_eq!(report["schema"], 1);
    let numbers = |report: &serde_json::Value| {
        ["frames", "sent", "stored", "stored_before", "missing"]
            .map(|field| report["sources"][0][field].as_u64().unwrap())
    };
    assert_eq!(numbers(&report), [20, 20, 20, 0, 0]);
    for times in ["latency", "lateness"] {
        let [p50, p95, max] = ["p50_ms", "p95_ms", "max_ms"]
            .map(|field| report["sources"][0][times][field].as_f64().unwrap());
        assert!(p50 <= p95 && p95 <= max && max < 60_000.0, "{times}: {p50} {p95} {max}");
    }
    for field in ["rtt_ms", "rate_mbit", "loss", "clock_error_ms"] {
        assert!(report["link"][field].is_number(), "{field}: {report}");
    }
    assert!(report["limited_by"].is_string() && report["limit"].is_string(), "{report}");
    let again = receiver.send(&["visible"], &["--json"]).expect(0).json();
    assert_eq!(numbers(&again), [20, 0, 20, 20, 0]);
    receiver.send(&["visible"], &[]).expect(0).prints("sent 0, stored 20 (20 before)");
}
