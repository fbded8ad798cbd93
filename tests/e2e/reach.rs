//! How a receiver is reached: several addresses, none that answers, addresses of one link, another
//! transport than it serves.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Finished, Place, Process, Receiver, skipped};

/// Far less than the eight seconds of a handshake that nobody answers.
const AT_ONCE: Duration = Duration::from_secs(6);

/// Sends `visible` from a place with no more than these options.
fn send(place: &Place, to: &str, args: &[&str]) -> Finished {
    let pin = place.pin("receiver");
    let plain = args.contains(&"stop-and-wait");
    let pin: &[&str] = if plain { &[] } else { &["--pin", &pin] };
    place.run(&[&["send", to, "visible", "--certs", "sender"], args, pin].concat())
}

#[test]
fn a_port_that_nobody_listens_on_is_told_at_once() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    for host in ["127.0.0.1", "::1"] {
        let Ok(closed) = UdpSocket::bind((host, 0)) else { continue };
        let address = closed.local_addr().unwrap().to_string();
        drop(closed);
        for transport in ["auto", "quic", "tcp", "stop-and-wait"] {
            let began = Instant::now();
            send(&place, &address, &["--transport", transport, "--retry-for", "0s"])
                .expect(1)
                .says(&address)
                .says("efused")
                .says("nothing listens there");
            assert!(began.elapsed() < AT_ONCE, "{transport} took {:?}", began.elapsed());
        }
    }
}

#[test]
fn an_address_of_one_link_needs_its_link() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    send(&place, "[fe80::1]:4433", &[]).expect(2).says("[fe80::1%eth0]:4433");
    send(&place, "[fe80::1%nolink0]:4433", &["--retry-for", "0s"])
        .expect(1)
        .says("no network link \"nolink0\"");
    let receive = |listen| place.run(&["receive", "--listen", listen, "--certs", "receiver"]);
    receive("[fe80::1]:4433").expect(2).says("[fe80::1%eth0]:4433");
    receive("4433").expect(2).says(":4433 for every address");
}

#[test]
fn every_address_is_a_port_with_nothing_before_it() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--listen", ":0", "--allow", "any"]);
    let port = receiver.address().port();
    place.frames("visible", 2, 1_000);
    send(&place, &format!("127.0.0.1:{port}"), &[]).expect(0).prints("missing 0");
    place.assert_stored("visible");
    // Who may send has to be said first.
    let args = ["receive", "--listen", ":0", "--certs", "receiver", "--out", "other"];
    place.run(&args).expect(2).says("--allow");
}

#[test]
fn what_protects_nothing_or_does_not_exist_is_refused_before_anything_is_done() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    let pin = place.pin("receiver");
    let args = ["send", "127.0.0.1:1", "visible", "--transport", "stop-and-wait", "--pin", &pin];
    place.run(&args).expect(2).says("--pin protects nothing over stop-and-wait");
    let args = ["--transport", "tcp", "--tcp-congestion", "nosuch"];
    send(&place, "127.0.0.1:1", &args).expect(2).says("nosuch").says("--tcp-congestion");
}

#[test]
fn another_transport_than_the_receiver_serves_is_named() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    for (serves, speaks, says) in [
        ("tcp", "stop-and-wait", "it speaks TLS, not stop-and-wait"),
        ("stop-and-wait", "tcp", "or stop-and-wait?"),
        ("quic", "tcp", "with --transport tcp"),
        ("tcp", "quic", "with --transport quic"),
    ] {
        let receiver = Receiver::start(&place, &["--transport", serves]);
        let args = ["--transport", speaks, "--retry-for", "0s"];
        send(&place, &receiver.address().to_string(), &args).expect(1).says(says);
    }
}

/// A command in namespaces of its own where `store.test` has these addresses.
fn with_hosts(place: &Place, addresses: &[&str], command: &Command) -> Option<Command> {
    let lines: Vec<_> = addresses.iter().map(|address| format!("{address} store.test\n")).collect();
    let hosts = place.file("hosts", lines.concat().as_bytes());
    // Else the name service would be asked for what the file does not have.
    let order = place.file("nsswitch", b"hosts: files\n");
    let script = "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/nsswitch.conf && \
                  shift 2 && exec \"$@\"";
    let wrapped = |arguments: &[&std::ffi::OsStr]| {
        let mut wrapped = Command::new("unshare");
        wrapped.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        wrapped.arg(&hosts).arg(&order).args(arguments);
        wrapped
    };
    let may = wrapped(&["true".as_ref()]).output().is_ok_and(|output| output.status.success());
    if !may {
        skipped("this machine gives nobody a mount namespace of their own");
        return None;
    }
    let arguments: Vec<_> =
        std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let mut wrapped = wrapped(&arguments);
    wrapped.current_dir(command.get_current_dir()?);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    Some(wrapped)
}

#[test]
fn an_address_that_does_not_answer_does_not_keep_send_from_the_next() {
    for transport in ["quic", "tcp"] {
        let place = Place::new();
        place.frames("visible", 3, 1_000);
        let receiver =
            Receiver::start(&place, &["--transport", transport, "--listen", "127.0.0.1:0"]);
        let port = receiver.address().port();
        // Takes packets and connections, and never says a word.
        let Ok(_hole) = UdpSocket::bind(("127.0.0.9", port)) else { continue };
        let _full = std::net::TcpListener::bind(("127.0.0.9", port));
        let pin = place.pin("receiver");
        let to = format!("store.test:{port}");
        let args = ["send", &to, "visible", "--certs", "sender", "--pin", &pin];
        let command = place.command(&[&args[..], &["--transport", transport]].concat());
        let Some(command) = with_hosts(&place, &["127.0.0.9", "127.0.0.1"], &command) else {
            return;
        };
        let began = Instant::now();
        Process::start(command).finish().expect(0).prints("missing 0");
        assert!(began.elapsed() < AT_ONCE, "{transport} took {:?}", began.elapsed());
        place.assert_stored("visible");
    }
}

/// As where a rig starts before its network does: what it captures meanwhile is not lost.
#[test]
fn a_name_that_nobody_knows_yet_is_waited_for_where_that_is_wanted() {
    let place = Place::new();
    place.frames("visible", 3, 1_000);
    let receiver = Receiver::start(&place, &["--listen", "127.0.0.1:0"]);
    let pin = place.pin("receiver");
    let to = format!("store.test:{}", receiver.address().port());
    let args = ["send", &to, "visible", "--certs", "sender", "--pin", &pin];
    let patient = place.command(&[&args[..], &["--retry-for", "120s"]].concat());
    let Some(command) = with_hosts(&place, &[], &patient) else { return };
    let sending = Process::start(command);
    sending.stderr_line(|line| line.contains("cannot resolve").then_some(()));
    place.file("hosts", b"127.0.0.1 store.test\n");
    sending.finish().expect(0).prints("missing 0");
    place.assert_stored("visible");
    // Without more patience than everybody has it is a slip of the pen.
    let Some(command) = with_hosts(&place, &[], &place.command(&args)) else { return };
    let began = Instant::now();
    Process::start(command).finish().expect(1).says("check the spelling");
    assert!(began.elapsed() < AT_ONCE, "it took {:?}", began.elapsed());
}

/// A modem may come minutes after the machine has started; the other link does not wait for it.
#[test]
fn a_link_that_is_not_there_yet_keeps_no_other_from_being_used() {
    let place = Place::new();
    place.frames("visible", 3, 1_000);
    let receiver = Receiver::start(&place, &[]);
    let to = receiver.address().to_string();
    let both = ["--via", "nolink0", "--via", "lo"];
    let sent = send(&place, &to, &both);
    sent.expect(0).says("no network link \"nolink0\"").says("once it is there");
    // Where they stand by for one another the first is meant.
    let standby = [&both[..], &["--paths", "standby"]].concat();
    send(&place, &to, &standby).expect(1).says("no network link \"nolink0\"");
    place.assert_stored("visible");
    send(&place, &to, &["--via", "nolink0"]).expect(1).says("no network link \"nolink0\"");
}

#[test]
fn another_receiver_at_one_address_is_not_the_end() {
    let (place, other) = (Place::new(), Place::new());
    place.frames("visible", 3, 1_000);
    let receiver = Receiver::start(&place, &["--listen", "127.0.0.1:0"]);
    let port = receiver.address().port();
    let elsewhere = format!("127.0.0.9:{port}");
    let wrong = Process::start(other.command(&Receiver::arguments(&["--listen", &elsewhere])));
    if wrong.stdout_line(|line| line.strip_prefix("listening on ").map(str::to_owned)).is_empty() {
        return;
    }
    let pin = place.pin("receiver");
    let to = format!("store.test:{port}");
    let args = ["send", &to, "visible", "--certs", "sender", "--pin", &pin];
    let Some(command) = with_hosts(&place, &["127.0.0.9", "127.0.0.1"], &place.command(&args))
    else {
        return;
    };
    Process::start(command).finish().expect(0).prints("missing 0");
    place.assert_stored("visible");
    assert!(!other.store().join("visible").exists());
}
