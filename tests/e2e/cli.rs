//! The command line's contract: exit statuses, what goes to stdout and what to stderr, JSON.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::symlink;

use crate::support::{Place, Process, Receiver, Signal, skipped, wait_for_file};

#[test]
fn a_transfer_ends_with_0_at_both_ends_and_both_sum_up() {
    let place = Place::new();
    place.frames("visible", 12, 20_000);
    place.frames("infrared", 7, 9_000);
    let receiver = Receiver::start(&place, &["--once"]);
    let sent = receiver.send(&["visible=./visible", "infrared"], &[]).expect(0);
    sent.prints("visible: 12 frames: sent 12, stored 12, verified 12, missing 0")
        .prints("infrared: 7 frames: sent 7, stored 7, verified 7, missing 0");
    let received = receiver.finish().expect(0);
    received.prints("stored 19 frames").prints("missing 0");
    place.assert_stored("visible");
    place.assert_stored("infrared");
    place.run(&["verify", "store"]).expect(0).prints("every frame is as it was stored");
}

#[test]
fn every_transport_stores_the_same_frames() {
    for transport in ["quic", "tcp", "tcp-per-frame", "stop-and-wait"] {
        let place = Place::new();
        place.frames("visible", 12, 20_000);
        place.frames("infrared", 7, 9_000);
        let receiver = Receiver::start(&place, &["--once", "--transport", transport]);
        let sent = receiver.send(&["visible", "infrared"], &["--transport", transport]);
        // The scripts' protocol carries no hash, so nothing can be checked against one.
        let verified = if transport == "stop-and-wait" { "verified 0" } else { "verified 12" };
        sent.expect(0).prints("missing 0").prints(verified);
        receiver.finish().expect(0).prints("stored 19 frames");
        place.assert_stored("visible");
        place.assert_stored("infrared");
        place.run(&["verify", "store"]).expect(0);
    }
}

#[test]
fn several_transports_are_served_at_once_into_one_store() {
    let place = Place::new();
    let transports = ["quic", "tcp", "tcp-per-frame", "stop-and-wait=127.0.0.1:0"];
    let args: Vec<&str> = transports.iter().flat_map(|name| ["--transport", name]).collect();
    // QUIC and TCP share a port; stop-and-wait has its own.
    let mut receiver = Receiver::start_several(&place, &args, 2);
    let own = receiver.addresses[1];
    for transport in ["quic", "tcp", "tcp-per-frame"] {
        place.frames(transport, 3, 3_000);
        receiver.send(&[transport], &["--transport", transport]).expect(0);
        place.assert_stored(transport);
    }
    place.frames("plain", 3, 3_000);
    receiver.addresses = vec![own];
    receiver.send(&["plain"], &["--transport", "stop-and-wait"]).expect(0);
    place.assert_stored("plain");
    receiver.interrupt().expect(130).prints("stored 12 frames");
}

#[test]
fn sessions_that_get_no_frame_stored_are_not_repeated_for_ever() {
    let place = Place::new();
    place.frames("visible", 2, 1_000);
    place.file("store/visible/0.bin", b"of another content");
    let receiver = Receiver::start(&place, &["--transport", "stop-and-wait"]);
    let args = ["--transport", "stop-and-wait", "--retry-for", "2s"];
    // The protocol cannot refuse a frame: the receiver ends the session, and every other like it.
    let sent = receiver.send(&["visible"], &args).expect(1);
    sent.prints("missing 2").says("sessions in a row ended before a frame was stored");
    let received = receiver.interrupt().expect(130);
    received.says("visible/0.bin").says("not over stop-and-wait");
}

#[test]
fn the_command_that_receive_prints_works_as_it_is() {
    let place = Place::new();
    place.frames("visible", 2, 1_000);
    place.frames("infrared", 1, 1_000);
    let receiver = Receiver::start(&place, &["--once"]);
    let command = receiver
        .process()
        .stderr_line(|line| Some(line.strip_prefix("send with: framelane ")?.to_owned()));
    let args: Vec<&str> = command.split(' ').collect();
    place.run(&args).expect(0).prints("stored 2");
    receiver.finish().expect(0);
    place.assert_stored("visible");
    place.assert_stored("infrared");
}

#[test]
fn the_command_of_a_receiver_on_every_address_can_be_followed() {
    let place = Place::new();
    place.frames("visible", 2, 1_000);
    place.frames("infrared", 1, 1_000);
    for (everywhere, here) in [("0.0.0.0:0", "127.0.0.1:"), ("[::]:0", "[::1]:")] {
        if TcpListener::bind(everywhere).is_err() {
            crate::support::skipped(&format!("there is no {everywhere} on this machine"));
            continue;
        }
        let allow = place.pin("sender");
        let args = ["--listen", everywhere, "--allow", &allow, "--once"];
        let receiver = Receiver::start(&place, &args);
        let heard = receiver.process();
        let command = heard
            .stderr_line(|line| Some(line.strip_prefix("send with: framelane send ")?.to_owned()));
        // Where this machine reaches no other, only the user knows by what name it is known.
        let place_holder = format!("HOST:{}", receiver.address().port());
        let says = if command.starts_with(&place_holder) { "for HOST" } else { "any other name" };
        heard.stderr_line(|line| line.contains(says).then_some(()));
        let local = format!("{here}{}", receiver.address().port());
        let command = command.replace(&place_holder, &local);
        let args: Vec<&str> = command.split(' ').collect();
        place.run(&[&["send"], &args[..], &["--certs", "sender"]].concat()).expect(0);
        receiver.finish().expect(0);
    }
    place.assert_stored("visible");
}

#[test]
fn json_is_one_object_on_stdout_and_quiet_is_quiet() {
    let place = Place::new();
    place.frames("visible", 5, 1_000);
    let receiver = Receiver::start(&place, &["--once", "--json"]);
    let sent = receiver.send(&["visible"], &["--json", "-q"]).expect(0);
    assert_eq!(sent.stderr, "", "-q says nothing where nothing is wrong");
    let report = sent.json();
    assert_eq!(report["sources"][0]["name"], "visible");
    assert_eq!(report["sources"][0]["frames"], 5);
    assert_eq!(report["sources"][0]["stored"], 5);
    assert_eq!(report["sources"][0]["verified"], 5);
    assert_eq!(report["sources"][0]["missing"], 0);
    assert_eq!(report["sessions"], 1);

    // What `receive --json` prints behind the line that says where it listens is one object.
    let received = receiver.finish().expect(0);
    let object = received.stdout.split_once('\n').expect("more than one line").1;
    let report: serde_json::Value = serde_json::from_str(object).expect("an object");
    assert_eq!(report["stored"], 5);
    assert_eq!(report["schema"], 1);
    assert_eq!(report["sessions"][0]["complete"], true);

    let verified = place.run(&["verify", "store", "--json"]).expect(0).json();
    assert_eq!(verified["sources"][0]["verified"], 5);
    for document in [&sent.json(), &verified] {
        assert_eq!(document["schema"], 1, "{document}");
    }
    let source = verified["sources"][0].as_object().unwrap();
    let names: Vec<_> = source.keys().map(String::as_str).collect();
    for name in [
        "altered",
        "bad_lines",
        "frames",
        "missing",
        "sequences",
        "source",
        "unknown",
        "verified",
        "verified_bytes",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
}

/// Programs read what went wrong where people do.
#[test]
fn a_command_that_fails_at_once_is_one_object_too() {
    let place = Place::new();
    place.frames("visible", 1, 10);
    for (args, status, says) in [
        (&["verify", "nowhere", "--json"][..], 1, "nowhere"),
        (&["send", "127.0.0.1:9", "nowhere", "--json"], 2, "no source to send"),
        (&["receive", "--listen", "192.0.2.1:0", "--json", "--allow", "any"], 1, "192.0.2.1"),
    ] {
        let report = place.run(args).expect(status).json();
        assert_eq!(report["schema"], 1, "{report}");
        assert!(report["error"].as_str().unwrap().contains(says), "{report}");
    }
}

#[test]
fn wrong_usage_is_2() {
    let place = Place::new();
    place.frames("visible", 1, 10);
    for (args, says) in [
        (vec![], "Usage"),
        (vec!["fly"], "unrecognized subcommand"),
        (vec!["send"], "required"),
        (vec!["send", "127.0.0.1:4433"], "SOURCE"),
        (vec!["send", "127.0.0.1", "visible"], "PORT"),
        (vec!["send", "127.0.0.1:4433", "visible", "--pin", "sha256:12"], "pin"),
        (vec!["send", "127.0.0.1:4433", "visible", "--fps", "0"], "--fps"),
        (vec!["send", "127.0.0.1:4433", "visible", "--retry-for", "30"], "--retry-for"),
        (vec!["send", "127.0.0.1:4433", "visible", "--transport", "smoke"], "stop-and-wait"),
        (vec!["send", "127.0.0.1:4433", "visible", "visible=visible"], "two sources are called"),
        (vec!["send", "127.0.0.1:4433", "../x/..=visible"], "cannot list"),
        (vec!["send", "127.0.0.1:4433", "visible", "--weight", "visible"], "NAME=N"),
        (vec!["send", "127.0.0.1:4433", "visible", "--weight", "visible=101"], "from 1 to 100"),
        (
            vec!["send", "127.0.0.1:4433", "visible", "--weight", "infrared=3"],
            "no source is called infrared; the sources are visible",
        ),
        (
            vec![
                "send",
                "127.0.0.1:9",
                "visible",
                "--weight",
                "visible=1",
                "--weight",
                "visible=2",
            ],
            "twice",
        ),
        (vec!["receive", "--listen", "127.0.0.1"], "--listen"),
        (vec!["receive", "--max-frame", "12"], "--max-frame"),
        (vec!["receive", "--transport", "tcp=somewhere"], "ADDR:PORT"),
        (vec!["certs", "--days", "0"], "--days"),
    ] {
        let finished = place.run(&args);
        assert_eq!(finished.status, Some(2), "{args:?}: {finished}");
        assert!(finished.stderr.contains(says), "{args:?} does not say {says:?}: {finished}");
    }
}

#[test]
fn wrong_usage_says_what_would_be_right() {
    let place = Place::new();
    place.frames("visible", 1, 10);
    place.file("file", b"x");
    symlink("/no/such/disk", place.path("link")).unwrap();
    let pin = place.pin("sender");
    let receive: [(&[&str], &str); 7] = [
        (&["--stall", "0s"], "write 100ms or more"),
        (&["--stall", "0"], "write 100ms or more"),
        (&["--max-frame", "0B"], "as in 64MiB"),
        (&["--memory", "1MiB"], "less than one frame of --max-frame, 67108864 bytes"),
        (&["--memory", "64MiB", "--max-frame", "65MiB"], "or lower --max-frame"),
        (&["--allow", "any", "--allow", &pin], "--allow any or --allow PIN"),
        (&["--allow", "sha256:PIN-OF-CAMERA"], "64 of them, as `framelane certs` prints it"),
    ];
    let send: [(&[&str], &str); 19] = [
        (&["v=cmd:true", "--fps", "30"], "--fps replays folders, and no source is one"),
        (&["visible", "--gap", "5s"], "--gap is of --transport stop-and-wait"),
        (&["visible", "--paths", "spread"], "of --via are used, and none is named"),
        (&["visible", "--fps", "-1"], "from 0.000001 to 1000000"),
        (&["visible", "--fps", "nan"], "from 0.000001 to 1000000"),
        (&["visible", "--fps", "inf"], "from 0.000001 to 1000000"),
        (&["visible", "--fps", "1e9"], "from 0.000001 to 1000000"),
        (&["visible", "--pin", "sha256:PIN-OF-STORE"], "64 of them, as `framelane certs` prints"),
        (&["visible", "--pin", "sha256:12"], "`framelane certs` prints the whole pin"),
        (&["visible", "--ca", "file"], "name the file with the authority's certificate"),
        (&["visible", "--ca", "sender/key.pem"], "holds no certificate"),
        // Said once, and not again as the cause of itself.
        (
            &["visible", "--ca", "none"],
            "cannot read none: No such file or directory (os error 2)\n",
        ),
        (&["=visible"], "as in NAME=visible"),
        (&["..=visible"], "as in NAME=visible"),
        (&["a/b=visible"], "a name has no /"),
        (&["a|b=visible", "--transport", "stop-and-wait"], "as in NAME=visible"),
        (&["x=file"], "a source is a folder"),
        (&["link"], "a symbolic link to /no/such/disk, where there is nothing"),
        (&["visible", "visible"], "two sources are called visible"),
    ];
    let before = place.snapshot();
    for (args, says) in receive {
        place.run(&Receiver::arguments(args)).expect(2).says(says);
    }
    for (args, says) in send {
        let all = [&["send", "127.0.0.1:9", "--certs", "sender"], args].concat();
        place.run(&all).expect(2).says(says);
    }
    place.run(&["certs", "--days", "-1"]).expect(2).says("1..=36500");
    place.run(&["verify", "store", "--threads", "0"]).expect(2).says("1..=1024");
    assert_eq!(place.snapshot(), before);
    assert!(!place.store().exists(), "the store was made all the same");
    // With more than the frame needs it starts.
    let args = ["--max-frame", "200MiB"];
    Receiver::start(&place, &args).assert_serves(&[]);
}

#[test]
fn a_file_where_a_folder_should_be_is_named() {
    let place = Place::new();
    let file = place.file("file", b"x");
    let file = file.to_str().unwrap();
    place.run(&["verify", file]).expect(1);
    place.run(&["send", "127.0.0.1:9", &format!("x={file}")]).expect(2).says("cannot list");
}

#[test]
fn receive_can_be_interrupted_and_terminated() {
    // A service manager takes anything but 0 after SIGTERM for a failure.
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 0), (Signal::HUP, 0)] {
        if is_ignored(signal) {
            continue;
        }
        let place = Place::new();
        let receiver = Receiver::start(&place, &[]);
        receiver.assert_serves(&[]);
        receiver.process().signal(signal);
        receiver.finish().expect(status).prints("stored 3 frames");
    }
}

/// True, and said so, where this process was started with the signal ignored, as by `nohup`: a program that it starts
/// has to ignore it as well.
fn is_ignored(signal: Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
    let ignored = mask >> (signal.as_raw() - 1) & 1 == 1;
    if ignored {
        skipped(&format!("{signal:?} is ignored here"));
    }
    ignored
}

#[test]
fn send_can_be_interrupted_and_terminated_and_goes_on_later() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        if is_ignored(signal) {
            continue;
        }
        let place = Place::new();
        place.frames("visible", 20, 1_000);
        let receiver = Receiver::start(&place, &[]);
        // Twenty frames at this pace take until tomorrow.
        let sending = receiver.sending(&["visible"], &["--fps", "0.0001"]);
        wait_for_file(&place.store().join("visible/0.bin"));
        sending.signal(signal);
        let sent = sending.finish().expect(130);
        // The first frame is stored; its receipt may have been on its way.
        let missing = ["missing 19", "missing 20"].map(|missing| sent.stdout.contains(missing));
        assert!(missing.contains(&true), "{sent}");
        receiver.send(&["visible"], &[]).expect(0).prints("sent 19, stored 20 (1 before)");
        place.assert_stored("visible");
    }
}

#[test]
fn a_sender_without_a_receiver_can_be_interrupted() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let sending =
        Process::start(place.command(&["send", &address, "visible", "--certs", "sender"]));
    // It is trying once its first packet is here.
    silent.recv_from(&mut [0; 2_000]).unwrap();
    sending.signal(Signal::INT);
    sending.finish().expect(130).prints("missing 1");
}

#[test]
fn a_port_in_use_is_named_for_either_protocol() {
    let place = Place::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (transport, address) in
        [("tcp", tcp.local_addr()), ("quic", udp.local_addr()), ("stop-and-wait", tcp.local_addr())]
    {
        let address = address.unwrap().to_string();
        let args = Receiver::arguments(&["--listen", &address, "--transport", transport]);
        let finished = place.run(&args).expect(1);
        finished
            .says(&format!("cannot listen on {address} for {transport}"))
            .says("choose another");
    }
}

#[test]
fn one_store_has_one_receiver() {
    let place = Place::new();
    let first = Receiver::start(&place, &[]);
    let second = place.run(&Receiver::arguments(&["--listen", "127.0.0.1:0"])).expect(1);
    second.says("in use by another receiver").says("--out");
    first.assert_serves(&[]);
}

#[test]
fn an_unresolvable_host_is_named() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    let args = ["send", "no-such-host.invalid:4433", "visible", "--certs", "sender"];
    let finished = place.run(&[&args[..], &["--retry-for", "0"]].concat()).expect(1);
    finished.says("cannot resolve \"no-such-host.invalid\"").says("check the spelling");
}

#[test]
fn a_silent_udp_port_brings_the_advice_to_try_tcp() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let args = ["send", &address, "visible", "--certs", "sender", "--retry-for", "0"];
    let finished = place.run(&args).expect(1);
    finished.says(&format!("no answer from {address}")).says("--transport tcp");
}

#[test]
fn nobody_listening_is_said() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    // Bound and not listening: a connection is refused, and nobody else can get the port.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap().to_string();
    for transport in ["tcp", "tcp-per-frame", "stop-and-wait"] {
        let args = ["send", &address, "visible", "--certs", "sender", "--transport", transport];
        let finished = place.run(&[&args[..], &["--retry-for", "0"]].concat()).expect(1);
        finished.says(&address).says("is `framelane receive` running, on this port");
    }
}

#[test]
fn a_sender_that_was_first_waits_for_its_receiver() {
    let place = Place::new();
    place.frames("visible", 3, 1_000);
    // A free port, found by a receiver that then ends.
    let address = {
        let receiver = Receiver::start(&place, &["--transport", "tcp"]);
        let address = receiver.address().to_string();
        receiver.interrupt().expect(130);
        address
    };
    let pin = place.pin("receiver");
    let args = ["send", &address, "visible", "--certs", "sender", "--transport", "tcp"];
    let sending = Process::start(place.command(&[&args[..], &["--pin", &pin]].concat()));
    sending.stderr_line(|line| line.contains("trying again").then_some(()));
    let receiver = Receiver::start(&place, &["--transport", "tcp", "--listen", &address, "--once"]);
    sending.finish().expect(0);
    receiver.finish().expect(0);
    place.assert_stored("visible");
}
