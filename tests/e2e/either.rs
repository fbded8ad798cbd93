//! QUIC where UDP gets through, TCP where it does not, and the one after the other while frames are sent.

use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use crate::support::{Bridge, Finished, Place, Process, Receiver};

/// Far less than the eight seconds of a handshake over QUIC that nobody answers.
const AT_ONCE: Duration = Duration::from_secs(6);

/// The transports of a run's sessions, in their order, and why.
fn paths(sent: &Finished) -> Vec<(String, String)> {
    let told = sent.json();
    let text =
        |path: &serde_json::Value, field: &str| path[field].as_str().unwrap_or("").to_owned();
    let paths = told["paths"].as_array().expect("paths").iter();
    paths.map(|path| (text(path, "transport"), text(path, "why"))).collect()
}

#[test]
fn both_transports_are_served_on_one_port_and_quic_is_the_first_choice() {
    let place = Place::new();
    place.frames("visible", 3, 5_000);
    let receiver = Receiver::start(&place, &[]);
    let sent = receiver.send(&["visible"], &["--json"]).expect(0);
    assert_eq!(paths(&sent), [("quic".to_owned(), String::new())]);
    place.assert_stored("visible");
    receiver.assert_serves(&["--transport", "tcp"]);
    let line =
        receiver.process().stderr_line(|line| line.contains("send with:").then(|| line.to_owned()));
    assert!(!line.contains("--transport"), "{line}");
    receiver.interrupt().says("over quic").says("over tcp");
    // Nothing is remembered of what was the first choice.
    assert!(!place.path("config/framelane/reached").exists());
}

#[test]
fn a_receiver_that_serves_one_of_them_is_reached_over_it() {
    for transport in ["quic", "tcp"] {
        let place = Place::new();
        place.frames("visible", 3, 5_000);
        let receiver = Receiver::start(&place, &["--transport", transport]);
        let began = Instant::now();
        let sent = receiver.send(&["visible"], &["--json"]).expect(0);
        assert_eq!(paths(&sent)[0].0, transport);
        assert!(began.elapsed() < AT_ONCE, "{transport}: {:?}", began.elapsed());
        place.assert_stored("visible");
    }
}

#[test]
fn where_udp_is_swallowed_tcp_is_used_and_remembered() {
    let place = Place::new();
    place.frames("visible", 3, 5_000);
    let receiver = Receiver::start(&place, &["--transport", "tcp"]);
    // Takes whatever comes, and never says a word.
    let Ok(hole) = UdpSocket::bind(receiver.address()) else { return };
    let began = Instant::now();
    receiver
        .send(&["visible"], &[])
        .expect(0)
        .prints("missing 0")
        .prints("over tcp for")
        .prints("no answer over UDP within");
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    place.assert_stored("visible");
    let remembered = std::fs::read_to_string(place.path("config/framelane/reached")).unwrap();
    let address = receiver.address();
    assert!(remembered.starts_with(&format!("{address} tcp {address} ")), "{remembered}");
    // The next run still gives QUIC its chance, which is now there.
    drop(hole);
    drop(receiver);
    let receiver = Receiver::start(&place, &["--listen", &address.to_string()]);
    place.frames("infrared", 3, 5_000);
    let sent = receiver.send(&["infrared"], &["--json"]).expect(0);
    assert!(["quic", "tcp"].contains(&paths(&sent)[0].0.as_str()), "{sent}");
    place.assert_stored("infrared");
}

#[test]
fn where_nothing_answers_over_either_both_are_named() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = hole.local_addr().unwrap();
    // Connections come about here, and nothing more.
    let Ok(_silent) = TcpListener::bind(address) else { return };
    let (to, pin) = (address.to_string(), place.pin("receiver"));
    let args = ["send", &to, "visible", "--certs", "sender", "--pin", &pin, "--retry-for", "0s"];
    place.run(&args).expect(1).says("over QUIC").says("TCP");
}

#[test]
fn another_receiver_is_refused_at_once() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    let receiver = Receiver::start(&place, &[]);
    let other = place.pin("other");
    let began = Instant::now();
    receiver.send(&["visible"], &["--pin", &other]).expect(1).says(&place.pin("receiver"));
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

#[test]
fn udp_may_die_and_come_back_in_mid_stream() {
    const FRAMES: u64 = 400;
    let place = Place::new();
    place.frames("visible", FRAMES, 20_000);
    let receiver = Receiver::start(&place, &["--json"]);
    let bridge = Bridge::to(receiver.address());
    let args = ["--fps", "40", "--json"];
    let sending = sending_over(&place, &bridge, &args);
    place.wait_for_frames("visible", 20);
    assert_eq!(bridge.seen().1, 0, "TCP was not needed");
    let began = Instant::now();
    bridge.swallow_udp(true);
    let over_tcp =
        |line: &str| line.contains("going over TCP: nothing came over UDP for").then_some(());
    sending.stderr_line(over_tcp);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    bridge.swallow_udp(false);
    let again = |line: &str| line.contains("going over QUIC: UDP gets through again").then_some(());
    sending.stderr_line(again);
    let sent = sending.finish().expect(0);
    let told = paths(&sent);
    let transports: Vec<_> = told.iter().map(|(transport, _)| transport.as_str()).collect();
    assert_eq!(transports, ["quic", "tcp", "quic"], "{told:?}");
    place.assert_stored("visible");
    assert_eq!(place.manifest("visible").len() as u64, FRAMES);
    let json = sent.json();
    let source = &json["sources"][0];
    assert_eq!((&source["sent"], &source["stored_before"]), (&FRAMES.into(), &0.into()));
    let received = receiver.interrupt();
    // Nothing is stored twice, and one session was moved in order.
    // The first line says where it listened.
    let (_, document) = received.stdout.split_once('\n').unwrap();
    let stored: serde_json::Value = serde_json::from_str(document).unwrap();
    assert_eq!(stored["sent"], FRAMES, "{received}");
    let sessions = stored["sessions"].as_array().unwrap();
    assert!(sessions.iter().any(|session| session["moved"] == true), "{received}");
    place.run(&["verify", "store"]).expect(0);
}

/// A sender over a bridge.
fn sending_over(place: &Place, bridge: &Bridge, args: &[&str]) -> Process {
    let (to, pin) = (bridge.address().to_string(), place.pin("receiver"));
    let all = [&["send", &to, "visible", "--certs", "sender", "--pin", &pin], args].concat();
    Process::start(place.command(&all))
}
