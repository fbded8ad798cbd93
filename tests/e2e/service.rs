//! As a service: a configuration, and the service manager that is told.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{Place, Process, Receiver, Signal};

/// What a service manager hears, at a socket that has a path or an abstract name.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn at(path: &Path) -> Self {
        let name = path.to_str().expect("a path in UTF-8").to_owned();
        Self::of(UnixDatagram::bind(path), name)
    }

    fn of(socket: std::io::Result<UnixDatagram>, name: String) -> Self {
        let socket = socket.expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        Self { socket, name }
    }

    /// Has a command talk to it.
    fn manages(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", &self.name).env_remove("WATCHDOG_PID");
    }

    /// Waits for a message that has a line which `wanted` takes; gives the message.
    fn hears(&self, wanted: &str) -> String {
        let mut bytes = [0; 4_096];
        let mut heard = Vec::new();
        loop {
            let Ok(length) = self.socket.recv(&mut bytes) else {
                panic!("{wanted:?} did not come, only {heard:?}");
            };
            let text = String::from_utf8(bytes[..length].to_vec()).expect("UTF-8");
            if text.lines().any(|line| line.starts_with(wanted)) {
                return text;
            }
            heard.push(text);
        }
    }

    /// What of the kind was said so far, by a process that has ended.
    fn heard(&self, wanted: &str) -> Option<String> {
        self.socket.set_nonblocking(true).unwrap();
        let mut bytes = [0; 4_096];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            let text = String::from_utf8(bytes[..length].to_vec()).expect("UTF-8");
            if text.lines().any(|line| line.starts_with(wanted)) {
                return Some(text);
            }
        }
        None
    }
}

#[cfg(target_os = "linux")]
fn abstract_manager(name: &str) -> Manager {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let name = format!("framelane-test-{}-{name}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    Manager::of(UnixDatagram::bind_addr(&address), format!("@{name}"))
}

#[cfg(target_os = "linux")]
#[test]
fn a_service_manager_is_told_at_a_path_and_at_an_abstract_name() {
    let place = Place::new();
    place.frames("visible", 3, 5_000);
    let at_path = Manager::at(&place.path("notify"));
    for manager in [at_path, abstract_manager("both")] {
        let args = Receiver::arguments(&["--allow-file", "allowed"]);
        place.file("allowed", format!("{}\n", place.pin("sender")).as_bytes());
        let mut command = place.command(&args);
        manager.manages(&mut command);
        let receiver = Receiver::of(&place, Process::start(command), 1);
        let ready = manager.hears("READY=1");
        // Whatever is served there, an address is said once.
        let status = format!("STATUS=listening on {}", receiver.address());
        assert!(ready.lines().any(|line| line == status), "{ready}");

        let pin = place.pin("receiver");
        let address = receiver.address().to_string();
        let mut command =
            place.command(&["send", &address, "visible", "--certs", "sender", "--pin", &pin]);
        let own = Manager::at(&place.path(format!("notify-{}", address.replace(':', "-"))));
        own.manages(&mut command);
        Process::start(command).finish().expect(0);
        own.hears("READY=1");
        own.hears("STOPPING=1");
        let status = manager.hears("STATUS=3 frames stored");
        assert!(!status.contains("READY"), "{status}");

        receiver.process().signal(Signal::HUP);
        let reloading = manager.hears("RELOADING=1");
        let since = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(
            since.is_some_and(|since| since.parse::<u64>().is_ok_and(|since| since > 0)),
            "{reloading}"
        );
        let ready = manager.hears("READY=1");
        assert!(ready.contains("STATUS=read the configuration again"), "{ready}");
        // The reload is over; that nothing came of it is the status.
        place.file("allowed", b"nobody whom we know");
        receiver.process().signal(Signal::HUP);
        manager.hears("RELOADING=1");
        let ready = manager.hears("READY=1");
        assert!(ready.contains("STATUS=the list of senders stays as it was"), "{ready}");

        receiver.process().signal(Signal::TERM);
        manager.hears("STOPPING=1");
        receiver.finish().expect(0);
        fs::remove_dir_all(place.store()).unwrap();
    }
}

#[test]
fn nobody_is_told_that_a_receiver_is_ready_whose_page_cannot_be_shown() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let view = taken.local_addr().unwrap().to_string();
    let manager = Manager::at(&place.path("notify"));
    let mut command = place.command(&Receiver::arguments(&["--view", &view]));
    manager.manages(&mut command);
    Process::start(command).finish().expect(1).says(&view);
    assert_eq!(manager.heard("READY=1"), None);
}

#[test]
fn a_service_gives_signs_of_life_to_a_manager_that_waits_for_them() {
    let place = Place::new();
    let manager = Manager::at(&place.path("notify"));
    let mut command = place.command(&Receiver::arguments(&[]));
    manager.manages(&mut command);
    command.env("WATCHDOG_USEC", "2000000");
    let receiver = Receiver::of(&place, Process::start(command), 1);
    manager.hears("READY=1");
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }
    receiver.process().signal(Signal::TERM);
    receiver.finish().expect(0);
}

#[test]
fn a_service_manager_that_cannot_be_reached_is_said_before_anything_else() {
    let place = Place::new();
    let at = |name: &str| place.path(name).to_str().expect("a path in UTF-8").to_owned();
    drop(UnixDatagram::bind(place.path("stale")).expect("a socket"));
    place.file("plain", b"");
    let too_long = format!("/{}", "x".repeat(300));
    let receive = Receiver::arguments(&[]);
    let send = ["send", "127.0.0.1:9", "visible", "--watch"];
    for name in [&*at("nowhere"), &at("stale"), &at("plain"), "vsock:2:1234", "stale", &too_long] {
        for args in [&receive[..], &send] {
            let mut command = place.command(args);
            command.env("NOTIFY_SOCKET", name);
            Process::start(command).finish().expect(1).says("NOTIFY_SOCKET").says(name);
        }
    }
    assert!(!place.store().exists());
}

#[test]
fn the_manual_has_the_pages_that_the_units_name() {
    let place = Place::new();
    place.run(&["man", "pages"]).expect(0);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for unit in ["framelane-receive.service", "framelane-send@.service"] {
        let text = fs::read_to_string(root.join("packaging/systemd").join(unit)).unwrap();
        let page = text.lines().find_map(|line| line.strip_prefix("Documentation=man:"));
        let page = page.and_then(|page| page.strip_suffix("(1)")).expect("a page");
        assert!(place.path(format!("pages/{page}.1")).is_file(), "{unit} names {page}");
    }
    let how = fs::read_to_string(root.join("docs/service.md")).unwrap();
    assert!(how.lines().any(|line| line.starts_with("framelane man /")), "no pages are installed");
}

#[test]
fn both_ends_run_by_their_files_and_the_list_of_senders_is_read_again() {
    let place = Place::new();
    place.frames("visible", 3, 5_000);
    place.frames("infrared", 2, 5_000);
    let manager = Manager::at(&place.path("notify"));
    let config = |allow: &str, more: &str| {
        let text = format!(
            "[receive]\nlisten = \"127.0.0.1:0\"\nout = \"store\"\ncerts = \"receiver\"\nallow = [{allow}]\n{more}"
        );
        place.file("receive.toml", text.as_bytes());
    };
    let nobody = format!("\"sha256:{}\"", "0".repeat(64));
    config(&nobody, "");
    let mut command = place.command(&["receive", "--config", "receive.toml"]);
    manager.manages(&mut command);
    let receiver = Receiver::of(&place, Process::start(command), 1);
    manager.hears("READY=1");
    let sender = format!(
        "[send]\nreceiver = \"{}\"\nsources = [\"visible\", \"infrared\"]\ncerts = \"sender\"\npin = \"{}\"\n\
         retry-for = \"0s\"\n",
        receiver.address(),
        place.pin("receiver")
    );
    place.file("send.toml", sender.as_bytes());
    place.run(&["send", "--config", "send.toml"]).expect(1).says("--allow");

    let allow = format!("\"camera={}\"", place.pin("sender"));
    config(&allow, "stall = \"17s\"\n");
    receiver.process().signal(Signal::HUP);
    manager.hears("RELOADING=1");
    manager.hears("READY=1");
    receiver.process().stderr_line(|line| line.contains("may send from now on").then_some(()));
    receiver.process().stderr_line(|line| {
        (line.contains("stall") && line.contains("started again")).then_some(())
    });
    place.run(&["send", "--config", "send.toml"]).expect(0).prints("missing 0");
    place.assert_stored("visible");
    place.assert_stored("infrared");

    // What cannot be used changes nothing.
    place.file("receive.toml", b"[receive]\nalow = []\n");
    receiver.process().signal(Signal::HUP);
    receiver.process().stderr_line(|line| {
        (line.contains("stays as it was") && line.contains("did you mean")).then_some(())
    });
    manager.hears("RELOADING=1");
    let ready = manager.hears("READY=1");
    assert!(ready.contains("STATUS=the configuration stays as it was"), "{ready}");
    place.frames("later", 1, 100);
    receiver.send(&["later"], &[]).expect(0);
    receiver.process().signal(Signal::TERM);
    receiver.finish().expect(0);
}

#[test]
fn a_configuration_that_cannot_be_used_is_wrong_usage() {
    let place = Place::new();
    place.file("a.toml", b"[send]\nstall = \"1h\"\nfpps = 30\n");
    place.run(&["send", "--config", "a.toml"]).expect(2).says("a.toml, line 3").says("fps");
    place.file("a.toml", b"[receive]\nstall = \"1ms\"\n");
    place.run(&["receive", "--config", "a.toml"]).expect(2).says("stall stands in a.toml, line 2");
    // Of the section of the other role as well.
    place.file("a.toml", b"[send]\nfps = \"x\"\n[receive]\nonce = true\n");
    place.run(&["receive", "--config", "a.toml"]).expect(2).says("fps stands in a.toml, line 2");
    place.file("a.toml", b"[send]\nsources = [\"visible\"]\n");
    place.run(&["send", "--config", "a.toml"]).expect(2).says("a.toml, line 2").says("no receiver");
    place.run(&["receive", "--config", "none.toml"]).expect(2).says("none.toml");
    let printed = place.run(&["send", "--print-config", "--fps", "12.5"]).expect(0);
    let printed = printed.prints("[send]").prints("fps = \"12.5\" # command line");
    place.file("b.toml", printed.stdout.as_bytes());
    place.run(&["send", "--config", "b.toml", "--print-config"]).expect(0).prints("fps = \"12.5\"");
}
