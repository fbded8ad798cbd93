//! Receivers that hold a sender up: however they do it, the sender leaves in its time and says why.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use super::receiver::{Gives, HostileReceiver};
use crate::support::{Finished, Place, Process};

const RETRY_FOR: f64 = 1.0;
/// `--retry-for` is kept to this.
const GRACE: f64 = 2.0;

/// Runs `send` to that address, with `args` more.
async fn send(place: &Place, address: SocketAddr, args: &[&str]) -> Finished {
    let (address, pin) = (address.to_string(), place.pin("receiver"));
    let first = ["send", &address, "visible", "--certs", "sender", "--pin", &pin, "--json"];
    let process = Process::start(place.command(&[&first, args].concat()));
    tokio::task::spawn_blocking(|| process.finish()).await.unwrap()
}

/// Checks that it gave up in its time, and what it said.
#[track_caller]
fn assert_gave_up(finished: Finished, what: &str) {
    let finished = finished.expect(1).says(what);
    let seconds = finished.json()["seconds"].as_f64().unwrap();
    let kept = (RETRY_FOR * 0.9..RETRY_FOR + GRACE).contains(&seconds);
    assert!(kept, "{what}: {seconds} s where {RETRY_FOR} were asked\n{finished}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_lets_nothing_come_is_left_in_time() {
    for (gives, what) in [
        (Gives::Nothing, "no answer to the hello came from the receiver within"),
        (Gives::Drips, "no answer to the hello came from the receiver within"),
        (Gives::Welcome, "no answer to an offer of frames came from the receiver within"),
        (Gives::Answers, "nor room for more of"),
        (Gives::LittleRoom, "nor room for more of"),
        (Gives::Room, "no receipt for 3 frames under way"),
        (Gives::Receipts, "no totals of a source that has ended"),
    ] {
        let place = Place::new();
        place.frames("visible", 3, 5_000);
        let receiver = HostileReceiver::start(&place, gives);
        let args = ["--retry-for", "1s", "--stall", "60s"];
        let finished = send(&place, receiver.address, &args).await;
        // A frame that was settled gives new patience, so the last of them has a stall of its own.
        if gives == Gives::Receipts {
            let seconds = finished.json()["seconds"].as_f64().unwrap();
            assert!(seconds < RETRY_FOR + GRACE, "{seconds} s\n{finished}");
            finished.expect(1).says(what).says("--retry-for");
        } else {
            assert_gave_up(finished, what);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_has_a_limit_of_its_own() {
    let place = Place::new();
    place.frames("visible", 3, 5_000);
    let receiver = HostileReceiver::start(&place, Gives::Room);
    let finished = send(&place, receiver.address, &["--retry-for", "0", "--stall", "700ms"]).await;
    let finished = finished.expect(1).says("within 700 ms (--stall)");
    let seconds = finished.json()["seconds"].as_f64().unwrap();
    assert!((0.7..2.7).contains(&seconds), "{seconds} s\n{finished}");
    let bad = send(&place, receiver.address, &["--stall", "0"]).await;
    bad.expect(2).says("write 100ms or more");
}

/// Nothing at all comes from a port that somebody holds and does not look after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialling_and_tls_are_given_up_in_time() {
    let place = Place::new();
    place.frames("visible", 1, 100);
    let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
    let finished =
        send(&place, deaf.local_addr().unwrap(), &["--retry-for", "1s", "--transport", "quic"]);
    assert_gave_up(finished.await, "no connection came about within 1 s (--retry-for)");
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    for transport in ["tcp", "tcp-per-frame"] {
        let args = ["--retry-for", "1s", "--transport", transport];
        let finished = send(&place, deaf.local_addr().unwrap(), &args);
        assert_gave_up(finished.await, "no connection came about within 1 s (--retry-for)");
    }
}

/// A receiver's words are its own, on one line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reason_for_closing_cannot_pass_for_a_summary() {
    let place = Place::new();
    place.frames("visible", 1, 100);
    let why = "bye\nvisible: 1 frame: sent 1, stored 1, verified 1, missing 0\r\x1b[2K";
    let receiver = HostileReceiver::start(&place, Gives::Reason(why));
    let finished = send(&place, receiver.address, &["--retry-for", "0"]).await.expect(1);
    let finished = finished.says(r#"ended the session: "bye\nvisible: 1 frame"#);
    let forged = |line: &str| line.trim_start().starts_with("visible:");
    assert!(!finished.stderr.lines().any(forged), "{finished}");
}
