//! `framelane doctor`: every answer names what to do next, and nothing is stored.

use std::net::{TcpListener, UdpSocket};

use crate::support::{Place, Process, Receiver, Signal};

/// What a doctor says of a receiver, with its exit status.
fn doctor(place: &Place, address: &str, args: &[&str]) -> crate::support::Finished {
    let args = [&["doctor", address, "--certs", "sender"], args].concat();
    place.run(&args)
}

#[test]
fn a_receiver_that_is_well_is_measured_and_stores_nothing() {
    let place = Place::new();
    let allow = place.pin("sender");
    let args = ["--transport", "quic", "--transport", "tcp", "--allow", &allow];
    let receiver = Receiver::start(&place, &args);
    let (address, pin) = (receiver.address().to_string(), place.pin("receiver"));
    let seen = doctor(&place, &address, &["--pin", &pin, "--for", "1s"]).expect(0);
    let seen = seen.prints("UDP (quic)").prints("TCP (tcp)").prints("the receiver lets it in");
    seen.prints("over quic")
        .prints("Mbit/s")
        .prints("clock")
        .prints(&format!("own pin     {allow}"));

    let seen = doctor(&place, &address, &["--pin", &pin, "--for", "1s", "--json"]).expect(0).json();
    assert_eq!(seen["schema"], 1);
    assert_eq!(
        (&seen["can_send"], &seen["allowed"], &seen["compare"]),
        (&true.into(), &true.into(), &true.into())
    );
    for over in ["udp", "tcp"] {
        assert_eq!(seen["addresses"][0][over]["state"], "answers", "{seen}");
    }
    assert!(seen["rate_mbit"].as_f64().unwrap() > 0.1, "{seen}");
    assert!(seen["bytes"].as_u64().unwrap() >= 60_000, "{seen}");
    assert!(seen["datagram"].as_u64().unwrap() >= 1_200, "{seen}");
    assert!((1_280..=9_000).contains(&seen["path_mtu"].as_u64().unwrap()), "{seen}");
    assert!(seen["clock"]["offset_ms"].as_f64().unwrap().abs() < 1e3, "{seen}");
    // Sessions that only measure leave nothing behind, not in the store and not in the account.
    let entries: Vec<_> = std::fs::read_dir(place.store()).map_or_else(
        |_| Vec::new(),
        |all| {
            all.map(|entry| entry.unwrap().file_name())
                .filter(|name| !name.to_string_lossy().starts_with('.'))
                .collect()
        },
    );
    assert!(entries.is_empty(), "{entries:?}");
    receiver.assert_serves(&[]);
    receiver.process().signal(Signal::TERM);
    let ended = receiver.finish().expect(0);
    assert!(!ended.stdout.contains("cut short"), "{ended}");
    ended.prints("stored 3 frames");
}

#[test]
fn without_load_only_clock_and_round_trip_are_measured_and_over_tcp_where_there_is_no_udp() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--transport", "tcp"]);
    let (address, pin) = (receiver.address().to_string(), place.pin("receiver"));
    let seen = doctor(&place, &address, &["--pin", &pin, "--for", "0", "--json"]).expect(0).json();
    assert_eq!((&seen["transport"], &seen["compare"]), (&"tcp".into(), &false.into()), "{seen}");
    assert!(seen["rate_mbit"].is_null() && seen["rtt_ms"].as_f64().is_some(), "{seen}");
    assert!(seen["next"].as_str().unwrap().contains("--transport tcp"), "{seen}");
    let seen = doctor(&place, &address, &["--pin", &pin, "--for", "1s", "--json"]).expect(0).json();
    assert!(seen["rate_mbit"].as_f64().unwrap() > 0.1, "{seen}");
}

#[test]
fn who_is_not_trusted_or_not_let_in_is_told_how_to_be() {
    let place = Place::new();
    let (nobody, pin) = (format!("sha256:{}", "0".repeat(64)), place.pin("receiver"));
    let args = ["--allow", &nobody, "--transport", "quic", "--transport", "tcp"];
    let receiver = Receiver::start(&place, &args);
    let address = receiver.address().to_string();
    // Its pin is told, in the words in which `send` tells it.
    doctor(&place, &address, &["--pin", &nobody]).expect(1).prints(&pin);
    doctor(&place, &address, &[]).expect(1).prints(&format!("--pin {pin}"));
    let own = place.pin("sender");
    let seen = doctor(&place, &address, &["--pin", &pin, "--json"]).expect(1).json();
    assert_eq!((&seen["allowed"], &seen["can_send"]), (&false.into(), &false.into()), "{seen}");
    assert!(seen["verdict"].as_str().unwrap().contains(&own), "{seen}");
    assert_eq!(seen["own_pin"], own.as_str());
}

#[test]
fn a_closed_port_and_a_name_of_nobody_are_told_apart() {
    let place = Place::new();
    let pin = place.pin("receiver");
    // Taken by nobody from here on, over either.
    let address = {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        drop(TcpListener::bind(address));
        address.to_string()
    };
    let seen = doctor(&place, &address, &["--pin", &pin, "--json"]).expect(1).json();
    for over in ["udp", "tcp"] {
        assert_eq!(seen["addresses"][0][over]["state"], "closed", "{seen}");
    }
    assert!(seen["next"].as_str().unwrap().contains("start `framelane receive`"), "{seen}");
    let seen = doctor(&place, "nobody.invalid:4433", &["--pin", &pin]).expect(1);
    seen.prints("nobody.invalid").prints("spelling");
    doctor(&place, "127.0.0.1:4433", &["--for", "1h"]).expect(2).says("12s");
}

#[test]
fn what_answers_and_is_no_receiver_is_named_as_that() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            drop(stream);
        }
    });
    let pin = place.pin("receiver");
    let seen = doctor(&place, &address, &["--pin", &pin, "--json"]).expect(1).json();
    assert_eq!(seen["addresses"][0]["udp"]["state"], "closed", "{seen}");
    assert!(seen["addresses"][0]["tcp"]["state"] != "answers", "{seen}");
    assert!(!seen["next"].as_str().unwrap().is_empty(), "{seen}");
}

#[test]
fn two_measure_at_once_and_a_third_is_told_to_wait() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--allow", "any", "--listen", "127.0.0.1:0"]);
    let (address, pin) = (receiver.address().to_string(), place.pin("receiver"));
    let measuring = |who: &str| {
        place.identity(who);
        let args = ["doctor", &address, "--pin", &pin, "--for", "12s", "--certs", who];
        let process = Process::start(place.command(&args));
        process.stderr_line(|line| line.contains("measuring over").then_some(()));
        process
    };
    let (first, second) = (measuring("first"), measuring("second"));
    // Both are told that they measure before they have a place, but hold it for long.
    let full = (0..10).find_map(|_| {
        let seen = doctor(&place, &address, &["--pin", &pin, "--for", "0", "--json"]);
        (seen.status == Some(1)).then(|| seen.json())
    });
    let full = full.expect("two places are taken for 12 s");
    assert!(full["verdict"].as_str().unwrap().contains("trials are under way"), "{full}");
    assert!(full["next"].as_str().unwrap().contains("later"), "{full}");
    // Sessions that store are not held up by trials.
    receiver.assert_serves(&[]);
    for process in [first, second] {
        process.signal(Signal::INT);
        process.finish().expect(130);
    }
}
