//! Who is let in, who is not, and what is said about it. Nothing here reaches the store.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use framelane::identity::{Identity, NewCertificate};

use crate::support::{
    Finished, Place, Process, Receiver, Signal, assert_same_frames, skipped, wait_for_file,
};

const ENCRYPTED: [&str; 3] = ["quic", "tcp", "tcp-per-frame"];

#[test]
fn without_a_pin_send_prints_the_pin_that_then_works() {
    for transport in ENCRYPTED {
        let place = Place::new();
        place.frames("visible", 2, 1_000);
        let receiver = Receiver::start(&place, &["--transport", transport]);
        let refused = send(&place, &receiver, &["--transport", transport]).expect(1);
        let pin = refused
            .stderr
            .lines()
            .find_map(|line| line.trim().strip_prefix("--pin "))
            .unwrap_or_else(|| panic!("no pin in {refused}"))
            .to_owned();
        assert_eq!(pin, place.pin("receiver"));
        assert!(refused.stdout.contains("missing 2"), "{refused}");
        assert_nothing_stored(&place);
        send(&place, &receiver, &["--transport", transport, "--pin", &pin]).expect(0);
        place.assert_stored("visible");
    }
}

#[test]
fn a_receiver_in_the_known_receivers_file_is_trusted() {
    let place = Place::new();
    place.frames("visible", 2, 1_000);
    let receiver = Receiver::start(&place, &[]);
    let line = format!("{} {}\n", receiver.address(), place.pin("receiver"));
    place.file("config/framelane/known_receivers", line.as_bytes());
    send(&place, &receiver, &[]).expect(0);
    place.assert_stored("visible");
}

#[test]
fn a_wrong_pin_is_refused_before_any_frame() {
    for transport in ENCRYPTED {
        let place = Place::new();
        place.frames("visible", 2, 1_000);
        let receiver = Receiver::start(&place, &["--transport", transport]);
        let wrong = place.pin("sender");
        let args = ["--transport", transport, "--pin", &wrong];
        let refused = send(&place, &receiver, &args).expect(1);
        refused.says(&place.pin("receiver")).says("but --pin says").says("ask for the pin");
        assert_nothing_stored(&place);
        receiver.assert_serves(&["--transport", transport]);
    }
}

#[test]
fn a_sender_that_is_not_allowed_is_told_its_pin() {
    for transport in ENCRYPTED {
        let place = Place::new();
        place.frames("visible", 2, 1_000);
        let other = place.pin("other");
        let args = ["--transport", transport, "--allow", &other, "--allow", &place.pin("third")];
        let receiver = Receiver::start(&place, &args);
        let advice = format!("--allow {}", place.pin("sender"));
        let refused = receiver.send(&["visible"], &["--transport", transport]).expect(1);
        refused.says("does not allow this sender").says(&advice);
        let log = receiver
            .process()
            .stderr_line(|line| line.contains("is not allowed").then(|| line.to_owned()));
        assert!(log.contains(&advice), "{log}");
        assert_nothing_stored(&place);
        // One that is on the list gets in.
        receiver.assert_serves(&["--transport", transport, "--certs", "other"]);
    }
}

#[test]
fn an_expired_certificate_is_remarked_upon_and_trusted_by_its_pin() {
    let place = Place::new();
    place.frames("visible", 2, 1_000);
    expired(&place);
    for transport in ENCRYPTED {
        let args = ["--certs", "expired", "--transport", transport, "--out", transport];
        let pin = place.pin("expired");
        let args = [&args[..], &["--allow", &pin]].concat();
        let receiver = Receiver::start(&place, &args);
        let remark = receiver
            .process()
            .stderr_line(|line| line.contains("expired on").then(|| line.to_owned()));
        assert!(remark.contains("this machine's clock says 20"), "{remark}");
        let args = ["--certs", "expired", "--transport", transport, "--pin", &pin];
        let sent = receiver.send(&["visible"], &args).expect(0).prints("missing 0");
        let sent = sent.says("It is trusted all the same, by its pin");
        assert!(!sent.stderr.contains("--force"), "{sent}");
        assert_same_frames(&place.path("visible"), &place.path(transport).join("visible"));
    }
    // `certs` shows the pin that peers know, and keeps it.
    let kept = place.run(&["certs", "--certs", "expired"]).expect(0).says("expired on");
    assert_eq!(kept.stdout.trim(), place.pin("expired"));
}

#[test]
fn an_expired_sender_is_refused_where_everybody_is_let_in() {
    let place = Place::new();
    place.frames("visible", 2, 1_000);
    expired(&place);
    for transport in ENCRYPTED {
        let receiver = Receiver::start(&place, &["--transport", transport, "--allow", "any"]);
        let args = ["--certs", "expired", "--transport", transport];
        let refused = receiver.send(&["visible"], &args).expect(1);
        let allow = format!("--allow {}", place.pin("expired"));
        let refused = refused.says("as expired or not yet valid").says(&allow);
        assert!(!refused.stderr.contains("--force"), "{refused}");
        assert_nothing_stored(&place);
    }
}

/// Makes an identity that has expired by a whole day.
fn expired(place: &Place) {
    let before = SystemTime::now() - Duration::from_secs(10 * 24 * 3600);
    let new = NewCertificate { names: Vec::new(), days: 9, now: before };
    Identity::create(&place.path("expired"), &new, false).unwrap();
}

#[test]
fn listening_to_the_network_needs_allow() {
    let place = Place::new();
    for transport in ["quic", "tcp", "tcp-per-frame", "stop-and-wait"] {
        let args = Receiver::arguments(&["--listen", "0.0.0.0:0", "--transport", transport]);
        let refused = place.run(&args).expect(2);
        refused.says("0.0.0.0:0").says("--allow");
    }
    // A list of pins means nothing to a protocol that authenticates nobody.
    let pin = place.pin("sender");
    let listed = ["--listen", "0.0.0.0:0", "--allow", &pin, "--transport", "stop-and-wait"];
    place.run(&Receiver::arguments(&listed)).expect(2).says("no authentication");
    assert!(!place.store().exists(), "the store was made all the same");
}

#[test]
fn a_peer_of_another_protocol_is_named_as_such() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    let pin = place.pin("receiver");
    let echo = echo_over_tcp();
    for transport in ["tcp", "tcp-per-frame"] {
        let args = ["send", &echo, "visible", "--certs", "sender", "--transport", transport];
        let end = ["--pin", &pin, "--retry-for", "0"];
        let refused = place.run(&[&args[..], &end].concat()).expect(1);
        refused.says("no TLS handshake").says("--transport");
    }
    let args = ["send", &echo_over_udp(), "visible", "--certs", "sender", "--pin", &pin];
    let refused = place.run(&[&args[..], &["--retry-for", "0"]].concat()).expect(1);
    refused.says("no answer").says("--transport tcp");
}

#[test]
fn a_receiver_that_speaks_another_version_is_named_as_such() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _guard = runtime.enter();
    let tls = framelane::identity::server_config(
        &place.identity("receiver"),
        framelane::identity::SenderPolicy::Any,
        &[b"framelane/9"],
        framelane::identity::EarlyData::Off,
    );
    let config = quinn::ServerConfig::with_crypto(tls.quic().0);
    let endpoint = quinn::Endpoint::server(config, ([127, 0, 0, 1], 0).into()).unwrap();
    let address = endpoint.local_addr().unwrap().to_string();
    runtime.spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let _ = incoming.await;
        }
    });
    let pin = place.pin("receiver");
    let args = ["send", &address, "visible", "--certs", "sender", "--pin", &pin];
    let refused = place.run(&args).expect(1);
    refused.says("does not speak this version of the framelane protocol").says("same version");
}

#[test]
fn certs_prints_the_pin_and_never_overwrites_unasked() {
    let place = Place::new();
    let made = place.run(&["certs", "--certs", "new", "--name", "camera.local"]).expect(0);
    let pin = made.stdout.trim().to_owned();
    assert!(pin.starts_with("sha256:") && pin.len() == 7 + 64, "{pin}");
    assert_eq!(pin, place.pin("new"));
    let key = place.path("new/key.pem");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    let before = place.snapshot();
    // As scripts say that know the first version.
    let old = place.run(&["certs", "--out", "new"]).expect(0);
    assert_eq!(old.stdout.trim(), pin);
    place.run(&["certs", "--certs", "new", "--days", "9"]).expect(1).says("--force");
    place.run(&["certs", "--certs", "new", "--name", "other.local"]).expect(1).says("--force");
    // Nothing asked for that is not there already: the pin is shown.
    let kept = place.run(&["certs", "--certs", "new"]).expect(0).says("it was kept");
    assert_eq!(kept.stdout.trim(), pin);
    assert_eq!(place.snapshot(), before);
    // Half an identity is not completed or replaced either.
    fs::remove_file(place.path("new/cert.pem")).unwrap();
    let before = place.snapshot();
    place.run(&["certs", "--certs", "new"]).expect(1).says("--force");
    place.frames("visible", 1, 10);
    let before_send = place.snapshot();
    place.run(&["send", "127.0.0.1:9", "visible", "--certs", "new"]).expect(1).says("cert.pem");
    assert_eq!(place.snapshot(), before_send);
    assert!(before != before_send);

    let forced = place.run(&["certs", "--certs", "new", "--force"]).expect(0);
    assert_ne!(forced.stdout.trim(), pin);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn certs_tells_what_it_wrote_and_what_that_replaces() {
    let place = Place::new();
    let made = place.run(&["certs", "--certs", "new", "--days", "9"]).expect(0);
    let pin = made.stdout.trim().to_owned();
    let until = place.identity("new").valid_until();
    let made = made.says(&format!("wrote new/cert.pem and new/key.pem, valid until {until}"));
    made.says("its pin, for --allow at a receiver and for --pin at a sender:");
    let forced = place.run(&["certs", "--certs", "new", "--force"]).expect(0);
    let forced = forced.says(&format!("they replace {pin}; give every sender and receiver"));
    // One that cannot be used is known to peers all the same; half of one has no pin.
    let pin = forced.stdout.trim();
    fs::remove_file(place.path("new/key.pem")).unwrap();
    let forced = place.run(&["certs", "--certs", "new", "--force"]).expect(0);
    forced.says(&format!("they replace {pin}; give"));
    fs::remove_file(place.path("new/cert.pem")).unwrap();
    let forced = place.run(&["certs", "--certs", "new", "--force"]).expect(0);
    forced.says("they replace what was there, of an unknown pin");
    // Where there is none, nothing is replaced.
    let fresh = place.run(&["certs", "--certs", "fresh", "--force"]).expect(0);
    assert!(!fresh.stderr.contains("replace"), "{fresh}");
}

#[test]
fn certs_says_what_is_wrong_with_an_identity_that_is_there() {
    let place = Place::new();
    let key = place.path("sender/key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = place.run(&["certs", "--certs", "sender"]).expect(1);
    exposed.says("other users can read the private key").says("chmod 600 sender/key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::copy(place.path("receiver/key.pem"), &key).unwrap();
    let before = place.snapshot();
    let foreign = place.run(&["certs", "--certs", "sender"]).expect(1);
    foreign.says("do not fit together").says("--force");
    assert_eq!(place.snapshot(), before);
}

#[test]
fn a_missing_identity_is_made_and_told() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    let receiver = Receiver::start(&place, &["--certs", "fresh"]);
    let told = receiver
        .process()
        .stderr_line(|line| line.starts_with("made an identity in fresh").then(|| line.to_owned()));
    assert!(told.ends_with(&place.pin("fresh")), "{told}");
    let sent = receiver.send(&["visible"], &["--pin", &place.pin("fresh"), "--certs", "another"]);
    sent.expect(0).says("made an identity in another");
}

/// Sends `visible` without saying whom to trust, but for what `args` say.
fn send(place: &Place, receiver: &Receiver<'_>, args: &[&str]) -> Finished {
    let address = receiver.address().to_string();
    let all = [&["send", &address, "visible", "--certs", "sender"], args].concat();
    Process::start(place.command(&all)).finish()
}

#[track_caller]
fn assert_nothing_stored(place: &Place) {
    let stored = fs::read_dir(place.store()).map(|entries| entries.count()).unwrap_or(0);
    assert_eq!(stored, 0, "something was stored");
}

fn echo_over_tcp() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut buffer = [0; 4_096];
            while let Ok(read) = stream.read(&mut buffer) {
                if read == 0 || stream.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
        }
    });
    address
}

fn echo_over_udp() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((read, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..read], from);
        }
    });
    address
}

/// The sender's process lives on, and has tickets of the receiver as it was.
#[test]
fn a_sender_that_is_not_allowed_any_more_is_refused_when_it_comes_back() {
    for transport in ENCRYPTED {
        let place = Place::new();
        place.frames("visible", 400, 1_000);
        let (sender, stranger) = (place.pin("sender"), place.pin("stranger"));
        let allow = |pin| ["--transport", transport, "--allow", pin];
        let receiver = Receiver::start(&place, &allow(&sender));
        let address = receiver.address().to_string();
        let sending = receiver.sending(&["visible"], &["--transport", transport, "--fps", "20"]);
        wait_for_file(&place.store().join("visible/0.bin"));
        receiver.process().signal(Signal::KILL);
        drop(receiver);
        let before = stored(&place);
        let args = [&allow(&stranger)[..], &["--listen", &address]].concat();
        let _receiver = Receiver::start(&place, &args);
        sending.finish().expect(1).says(&format!("--allow {sender}"));
        assert_eq!(stored(&place), before);
    }
}

fn stored(place: &Place) -> usize {
    let files = fs::read_dir(place.store().join("visible")).unwrap();
    files
        .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with("bin"))
        .count()
}

fn named(line: &str, word: &str) -> Option<String> {
    line.contains(word).then(|| line.to_owned())
}

#[test]
fn a_sender_taken_off_the_list_is_cut_off_and_not_let_in_again() {
    for transport in ENCRYPTED {
        let place = Place::new();
        place.frames("visible", 400, 1_000);
        let (sender, other) = (place.pin("sender"), place.pin("other"));
        let list = format!("# who may send\ncam1={sender}\n\nother={other} # the second\n");
        let allowed = place.file("allowed", list.as_bytes());
        let args = ["--allow-file", "allowed", "--transport", transport];
        let receiver = Receiver::start(&place, &args);
        let sending = receiver.sending(&["visible"], &["--transport", transport, "--fps", "20"]);
        wait_for_file(&place.store().join("visible/0.bin"));
        fs::write(&allowed, format!("other={other}\n")).unwrap();
        let told = sending.finish().expect(1);
        told.says(&format!("does not allow cam1 ({sender}) any more"));
        let log = receiver.process().stderr_line(|line| named(line, "may not send any more"));
        assert!(log.contains(&sender), "{log}");
        receiver.process().stderr_line(|line| named(line, "again: 1 sender may send"));
        let before = stored(&place);
        assert!(before < 400);
        // Whoever was cut off has a ticket of the session, and is refused all the same.
        let args = ["--transport", transport];
        receiver.send(&["visible"], &args).expect(1).says(&format!("--allow {sender}"));
        assert_eq!(stored(&place), before);
        receiver.assert_serves(&["--transport", transport, "--certs", "other"]);
        // Back on the list it is let in, and the rest is sent.
        fs::write(&allowed, format!("cam1={sender}\n")).unwrap();
        receiver.process().stderr_line(|line| named(line, "may send from now on"));
        receiver.send(&["visible"], &args).expect(0);
        place.assert_stored("visible");
    }
}

#[test]
fn a_wrong_allow_file_keeps_the_last_good_list_and_says_so_once() {
    let place = Place::new();
    let sender = place.pin("sender");
    let allowed = place.file("allowed", sender.as_bytes());
    let receiver = Receiver::start(&place, &["--allow-file", "allowed"]);
    fs::write(&allowed, "nonsense").unwrap();
    let log = receiver.process().stderr_line(|line| named(line, "stays as it was"));
    assert!(log.contains("allowed line 1: "), "{log}");
    receiver.assert_serves(&[]);
    // Asked for by SIGHUP, it says so again, and goes on.
    receiver.process().signal(Signal::HUP);
    receiver.process().stderr_line(|line| named(line, "stays as it was"));
    fs::write(&allowed, place.pin("other")).unwrap();
    receiver.process().signal(Signal::HUP);
    receiver.process().stderr_line(|line| named(line, "may not send any more"));
    place.frames("visible", 1, 100);
    receiver.send(&["visible"], &[]).expect(1).says("does not allow this sender");
    receiver.send(&["visible"], &["--certs", "other"]).expect(0);
}

#[test]
fn what_cannot_be_meant_by_allow_is_refused() {
    let place = Place::new();
    let (pin, other) = (place.pin("sender"), place.pin("other"));
    place.file("allowed", format!("a={pin}").as_bytes());
    let named = |name: &str, pin: &str| format!("{name}={pin}");
    let cases = [
        (
            vec!["--allow".to_owned(), "any".to_owned(), "--allow-file".into(), "allowed".into()],
            "one of the two",
        ),
        (vec!["--allow".to_owned(), named("../x", &pin)], "is no name for a sender"),
        (
            vec!["--allow".to_owned(), named("b", &pin), "--allow-file".into(), "allowed".into()],
            "two names, b and a",
        ),
        (
            vec!["--allow".to_owned(), named("cam", &pin), "--allow".into(), named("CAM", &other)],
            "capital letters only",
        ),
        (vec!["--allow-file".to_owned(), "absent".into()], "No such file"),
        (vec!["--allow-file".to_owned(), "sender".into()], "no regular file"),
        (
            vec!["--allow".to_owned(), "any".to_owned(), "--allow".into(), pin.clone()],
            "whatever pins",
        ),
    ];
    for (args, expected) in cases {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        place.run(&Receiver::arguments(&args)).expect(2).says(expected);
    }
    assert!(!place.store().exists(), "the store was made all the same");
}

/// A key as a container gets it: on a file system in memory that is mounted read-only, for a group.
#[test]
fn a_secret_mounts_key_may_be_its_groups() {
    let place = Place::new();
    let script = r#"
        mkdir secret && mount -t tmpfs -o mode=755 tmpfs secret || exit 99
        cp receiver/cert.pem receiver/key.pem secret/ && chmod 0440 secret/key.pem || exit 98
        "$0" certs --certs secret && exit 97
        mount -o remount,ro secret || exit 99
        exec "$0" certs --certs secret
    "#;
    let Some(shown) = in_own_mounts(&place, script) else { return };
    let shown =
        shown.expect(0).says("the group can read the private key secret/key.pem (mode 0440)");
    let shown = shown.says("chmod 600").says("as the administrator set it up");
    assert_eq!(shown.stdout.trim(), place.pin("receiver"));
}

/// A file system without modes, as on a camera's card.
#[test]
fn an_identity_lives_on_a_file_system_without_modes() {
    let place = Place::new();
    let script = r#"
        truncate -s 4M image && mkfs.vfat image >/dev/null && mkdir card || exit 99
        mount -o loop,umask=022 image card || exit 99
        "$0" certs --certs card/certs || exit 98
        exec "$0" certs --certs card/certs
    "#;
    let Some(shown) = in_own_mounts(&place, script) else { return };
    let pins: Vec<_> = shown.stdout.lines().collect();
    assert!(pins.len() == 2 && pins[0] == pins[1], "{shown}");
    shown.expect(0).says("keeps no modes: the mount gives 0755");
}

/// Runs a script that mounts things, where this machine lets it; `$0` is the program.
fn in_own_mounts(place: &Place, script: &str) -> Option<Finished> {
    let mut command = place.command(&[]);
    let program = command.get_program().to_owned();
    // Root has no need of a user namespace, in which most file systems cannot be mounted.
    let own = if rustix::process::geteuid().is_root() { "-m" } else { "-rm" };
    let environment: Vec<_> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    command = std::process::Command::new("unshare");
    command.current_dir(place.path("")).args([own, "sh", "-c", script]).arg(program);
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let probe = std::process::Command::new("unshare").args([own, "true"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        skipped("no mount namespaces");
        return None;
    }
    let done = Process::start(command).finish();
    if done.status == Some(99) {
        skipped(&format!("this machine cannot mount what the test needs: {}", done.stderr.trim()));
        return None;
    }
    Some(done)
}
