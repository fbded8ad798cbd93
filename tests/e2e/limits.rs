//! What the system does not give: room for results, threads, files, long files. It is said, and nothing else
//! suffers.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{FileType, Mode, OFlags};

use crate::support::{Place, Process, Receiver, Signal, skipped};

/// Runs a command by a line for the shell, in which `"$0" "$@"` is the command.
fn under(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

const UNWRITTEN: &str = "cannot write the result to standard output";

#[test]
fn a_result_that_cannot_be_written_is_said_and_a_failure() {
    let place = Place::new();
    place.frames("visible", 3, 1_000);
    let receiver = Receiver::start(&place, &[]);
    receiver.assert_serves(&[]);
    let (address, pin) = (receiver.address().to_string(), place.pin("receiver"));
    let send = ["send", &address, "visible", "--certs", "sender", "--pin", &pin];
    for args in [
        &["verify", "store"][..],
        &["verify", "store", "--json"],
        &["tail", "store"],
        &["certs", "--certs", "sender"],
        &["compare", "--list-links"],
        &["--help"],
        &["--version"],
        &send,
        &[&send[..], &["--json"]].concat(),
    ] {
        let command = place.command(args);
        Process::start(command).finish().expect(0);
        for to in [">/dev/full", ">&-"] {
            let script = format!("exec \"$0\" \"$@\" {to}");
            let ended = Process::start(under(&script, &place.command(args))).finish();
            assert_eq!(ended.status, Some(1), "{args:?} {to}: {ended}");
            assert_eq!(ended.stderr.matches(UNWRITTEN).count(), 1, "{args:?} {to}: {ended}");
        }
        // Nobody looks at it, on purpose.
        let mut null = place.command(args);
        let null = null
            .stdin(Stdio::null())
            .stdout(File::options().read(true).write(true).open("/dev/null").unwrap());
        let ended = null.stderr(Stdio::null()).status().unwrap();
        assert_eq!(ended.code(), Some(0), "{args:?} >/dev/null");
    }
}

#[test]
fn a_receiver_without_a_place_for_its_results_receives_and_fails_at_the_end() {
    for to in [">/dev/full", ">&-"] {
        let place = Place::new();
        place.frames("visible", 3, 1_000);
        let args = Receiver::arguments(&["--once"]);
        let script = format!("exec \"$0\" \"$@\" {to}");
        let receiver = Process::start(under(&script, &place.command(&args)));
        let send = receiver
            .stderr_line(|line| Some(line.strip_prefix("send with: framelane ")?.to_owned()));
        let send: Vec<_> = send.split(' ').filter(|word| *word != "./infrared").collect();
        place.run(&[&send[..], &["--certs", "sender"]].concat()).expect(0);
        receiver.finish().expect(1).says(UNWRITTEN);
        place.assert_stored("visible");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    receiver.assert_serves(&[]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = place.command(&["verify", "store"]).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

/// A named pipe that is full, as one whose reader has stopped reading. Gives what keeps it open.
fn full_pipe(path: &Path) -> File {
    rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let pipe = File::from(rustix::fs::open(path, flags, Mode::empty()).unwrap());
    while (&pipe).write(&[b'x'; 512]).is_ok() {}
    pipe
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing_but_itself() {
    let place = Place::new();
    let (source, pin) = (place.frames("visible", 3, 1_000), place.pin("receiver"));
    let log = full_pipe(&place.path("log"));
    let start = |command: &Command| Process::start(under("exec \"$0\" \"$@\" 2>log", command));
    let sender = place.pin("sender");
    let args = Receiver::arguments(&["--transport", "tcp", "--allow", &sender]);
    let receiver = Receiver::of(&place, start(&place.command(&args)), 1);
    // There is a line to be written of each of them.
    (0..3).for_each(|_| drop(TcpStream::connect(receiver.address()).unwrap()));
    let address = receiver.address().to_string();
    let source = source.to_str().unwrap();
    let args = ["send", &address, source, "--certs", "sender", "--pin", &pin, "-v"];
    let sender = start(&place.command(&[&args[..], &["--transport", "tcp"]].concat()));
    sender.finish().expect(0).prints("3 frames: sent 3");
    place.assert_stored("visible");
    receiver.process().signal(Signal::TERM);
    receiver.finish().expect(0).prints("stored 3 frames");
    drop(log);
}

#[test]
fn too_few_threads_are_said() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    if Command::new("prlimit").arg("--version").output().is_err() {
        return skipped("there is no prlimit");
    }
    // The limit is none for root, so another user runs it, from where that user may.
    let root = rustix::process::geteuid().is_root();
    let program = place.path("framelane");
    fs::copy(env!("CARGO_BIN_EXE_framelane"), &program).unwrap();
    for path in ["", "framelane", "config", "home"] {
        fs::set_permissions(place.path(path), Permissions::from_mode(0o777)).unwrap();
    }
    let user = if root { "setpriv --reuid=54321 --regid=54321 --clear-groups" } else { "" };
    let script = format!("exec {user} prlimit --nproc=2 ./framelane \"$@\"");
    for args in [
        &["receive", "--certs", "own", "--listen", "127.0.0.1:0"][..],
        &["send", "127.0.0.1:9", "visible", "--certs", "own"],
        &["demo", "--certs", "own", "--frames", "1"],
    ] {
        let ended = Process::start(under(&script, &place.command(args))).finish();
        if ended.stderr.contains("setpriv") {
            return skipped(&format!("no other user can be had: {}", ended.stderr));
        }
        let ended = ended.expect(1).says("threads").says("ulimit -u");
        assert!(!ended.stderr.contains("panicked"), "{ended}");
    }
    // Whoever needs no other thread does without.
    let receiver = Receiver::start(&place, &[]);
    receiver.assert_serves(&[]);
    let allow = |path: &str, mode| {
        fs::set_permissions(place.path(path), Permissions::from_mode(mode)).unwrap();
    };
    allow("store", 0o755);
    let verify = place.command(&["verify", "store"]);
    Process::start(under(&script, &verify)).finish().expect(0).prints("verified 3");
}

#[test]
fn a_frame_over_the_limit_of_file_lengths_is_refused_and_others_go() {
    let place = Place::new();
    place.frames("visible", 3, 2_000);
    place.file("visible/long.bin", &[7; 2_000_000]);
    // Half a megabyte or one, by what a block is to the shell.
    let script = "ulimit -f 1000 && exec \"$0\" \"$@\"";
    let args = Receiver::arguments(&[]);
    let receiver = Process::start(under(script, &place.command(&args)));
    let receiver = Receiver::of(&place, receiver, 1);
    let sent = receiver.send(&["visible"], &["--retry-for", "1s"]).expect(1);
    sent.prints("dropped long.bin (refused)").prints("sent 3, stored 3");
    receiver.assert_serves(&[]);
    receiver.interrupt().expect(130);
}

#[test]
fn few_files_are_said_and_the_limit_is_raised_where_it_may_be() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    let few = "ulimit -n 64 && exec \"$0\" \"$@\"";
    let args = Receiver::arguments(&[]);
    let receiver = Process::start(under(few, &place.command(&args)));
    let receiver = Receiver::of(&place, receiver, 1);
    receiver.assert_serves(&[]);
    receiver.interrupt().expect(130).says("64 files open at once").says("ulimit -n");
    let soft = "ulimit -S -n 64 && exec \"$0\" \"$@\"";
    let receiver = Process::start(under(soft, &place.command(&args)));
    let receiver = Receiver::of(&place, receiver, 1);
    let limits = fs::read_to_string(format!("/proc/{}/limits", receiver.process().pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut numbers = files.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
    assert_eq!(numbers.next(), numbers.next(), "{files}");
    receiver.interrupt().expect(130);
}

#[test]
fn a_hangup_that_is_ignored_from_the_beginning_stays_so() {
    let place = Place::new();
    let script = "trap '' HUP; exec \"$0\" \"$@\"";
    let args = Receiver::arguments(&[]);
    let receiver = Process::start(under(script, &place.command(&args)));
    let receiver = Receiver::of(&place, receiver, 1);
    receiver.process().signal(Signal::HUP);
    receiver.assert_serves(&[]);
    receiver.process().signal(Signal::TERM);
    receiver.finish().expect(0).prints("stored 3 frames");
}

#[test]
fn a_thing_is_said_once_and_then_how_often_it_came_again() {
    let place = Place::new();
    let receiver = Receiver::start(&place, &["--transport", "tcp"]);
    const SCANS: usize = 10;
    for _ in 0..SCANS {
        // No hello comes of it.
        drop(TcpStream::connect(receiver.address()).unwrap());
    }
    receiver.assert_serves(&["--transport", "tcp"]);
    let received = receiver.interrupt().expect(130);
    let refused = |line: &&str| line.contains("refused a connection");
    let lines: Vec<_> = received.stderr.lines().filter(refused).collect();
    assert_eq!(lines.len(), 2, "{received}");
    assert!(lines[1].contains(&format!(" … ({} more in ", SCANS - 1)), "{received}");
    for line in lines {
        // The time is for whoever reads the file later.
        assert!(line.starts_with("20") && line.contains("Z  WARN "), "{line}");
        assert!(line.chars().count() <= 400, "{line}");
    }
}
