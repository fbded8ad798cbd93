//! `kill -9` at either end, at any moment, while cameras go on: every frame that was captured is stored or declared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use framelane::{Frame, Sender};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::{Place, Process, Receiver, Signal};

/// The longest that anybody lives before somebody is killed, and the longest that the receiver stays away.
const LONGEST_LIFE: Duration = Duration::from_millis(1_600);
const LONGEST_OUTAGE: Duration = Duration::from_millis(1_600);

/// After so many kills everybody may end, and what there is is checked.
const KILLS_A_RUN: u64 = 12;

#[test]
fn whoever_is_killed_what_was_captured_is_stored_or_declared() {
    run_some(6, 0x11fe);
}

/// `tests/crash/live.sh` runs this. CRASH_KILLS and CRASH_SEED choose how many, and which.
#[test]
#[ignore = "some minutes; see tests/crash/live.sh"]
fn hundreds_of_kills() {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let seed = number("CRASH_SEED").unwrap_or_else(rand::random);
    run_some(number("CRASH_KILLS").unwrap_or(300), seed);
}

#[derive(Debug, Default)]
struct Sums {
    kills: [u64; 3],
    captured: u64,
    stored: u64,
    dropped: BTreeMap<String, u64>,
}

fn run_some(kills: u64, seed: u64) {
    let started = Instant::now();
    let mut sums = Sums::default();
    for run in 0..kills.div_ceil(KILLS_A_RUN) {
        let seed = seed.wrapping_add(run);
        let here = KILLS_A_RUN.min(kills - run * KILLS_A_RUN);
        println!("run {run}: CRASH_KILLS={here} CRASH_SEED={seed}");
        run_once(&mut StdRng::seed_from_u64(seed), here, &mut sums);
    }
    let Sums { kills: [senders, programs, receivers], captured, stored, dropped } = sums;
    println!(
        "{senders} senders, {programs} pushing programs and {receivers} receivers killed: {captured} frames captured, \
         {stored} stored, declared {dropped:?}, the others found again when they were stored, in {:.0} s",
        started.elapsed().as_secs_f64()
    );
}

/// The pipe's frames: a number in 1,000 digits' room, with the sender's life in front, so that no two are the same.
fn pipe(name: &str, life: u64) -> String {
    format!(
        "{name}=raw:40x25x1:cmd:n={life}000000; while :; do printf '%01000d' $n; n=$((n+1)); sleep 0.01; done"
    )
}

/// A program that pushes frames, as a process of its own: this test program, run with the test below alone.
fn pushing(place: &Place, address: &str, life: u64) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "crash_live::a_program_that_pushes"]);
    command.env("PUSH_TO", address).env("PUSH_PIN", place.pin("receiver"));
    command.env("PUSH_PLACE", place.path("")).env("PUSH_LIFE", life.to_string());
    Process::start_reading(command, Stdio::null())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of other tests"]
async fn a_program_that_pushes() {
    let Ok(address) = std::env::var("PUSH_TO") else { return };
    let of = |name: &str| std::env::var(name).unwrap();
    let place = PathBuf::from(of("PUSH_PLACE"));
    let sender = Sender::to(address)
        .pin(of("PUSH_PIN"))
        .certs(place.join("pusher"))
        .source("pushed")
        .spool(place.join("pushed-spool"))
        .retry_for(Duration::from_secs(60))
        .start()
        .await
        .unwrap();
    let mut log =
        fs::File::options().append(true).create(true).open(place.join("pushed-log")).unwrap();
    let mut number = 0;
    while !place.join("no-more").exists() {
        let body = format!("{} {number} {}", of("PUSH_LIFE"), "x".repeat(2_000));
        drop(sender.push("pushed", Frame::raw(body.into_bytes())).await.unwrap());
        // What is said here was handed over.
        log.write_all(b".").unwrap();
        number += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let report = sender.finish().await;
    assert!(report.is_complete(), "{report:?}");
}

/// Writes files into a watched folder until it is told to end; how many.
fn writing(place: &Place, folder: &str, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    let (folder, stop) = (place.path(folder), stop.clone());
    fs::create_dir_all(&folder).unwrap();
    std::thread::spawn(move || {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            write_one(&folder, number);
            number += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        number
    })
}

/// A file that is there whole or not at all.
fn write_one(folder: &std::path::Path, number: u64) {
    let part = folder.join(format!(".{number}.part"));
    fs::write(&part, format!("{number} {}", "y".repeat(3_000))).unwrap();
    fs::rename(part, folder.join(format!("{number}.bin"))).unwrap();
}

fn run_once(random: &mut StdRng, kills: u64, sums: &mut Sums) {
    let place = Place::new();
    let stop = Arc::new(AtomicBool::new(false));
    let (writer, hasty) = (writing(&place, "watched", &stop), writing(&place, "hasty", &stop));
    let mut receiver = Some(Receiver::start(&place, &[]));
    let address = receiver.as_ref().unwrap().address().to_string();
    place.identity("sender");
    let pin = place.pin("receiver").to_string();
    let send = |life: u64| {
        let sources = [pipe("piped", life), pipe("live", life)];
        let args = [
            "send",
            &address,
            "--pin",
            &pin,
            "--certs",
            "sender",
            "--spool",
            "spool",
            "--live",
            "live=300ms",
            "--live",
            "hasty=300ms",
            "--watch",
            "--drain",
            "60s",
            "--retry-for",
            "60s",
            "watched=./watched",
            "hasty=./hasty",
            &sources[0],
            &sources[1],
            "--json",
        ];
        Process::start(place.command(&args))
    };
    let mut sending = send(1);
    let mut pusher = pushing(&place, &address, 1);
    for life in 2..kills + 2 {
        // A moment at random, anywhere: this is no wait for something to be ready.
        std::thread::sleep(LONGEST_LIFE.mul_f64(random.random()));
        let whom = random.random_range(0..3);
        sums.kills[whom] += 1;
        match whom {
            0 => {
                kill(sending);
                sending = send(life);
            }
            1 => {
                kill(pusher);
                pusher = pushing(&place, &address, life);
            }
            _ => {
                receiver.take().unwrap().process().signal(Signal::KILL);
                if random.random() {
                    std::thread::sleep(LONGEST_OUTAGE.mul_f64(random.random()));
                }
                receiver = Some(Receiver::start(&place, &["--listen", &address]));
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (mut written, hasty) = (writer.join().unwrap(), hasty.join().unwrap());
    // One more file, which only the last sender can have sent: it goes on when it is told to end.
    write_one(&place.path("watched"), written);
    written += 1;
    place.file("no-more", b"");
    pusher.finish().expect(0);
    // The watcher may not have seen the last file.
    wait_until("the last file", || {
        place.store().join(format!("watched/{}.bin", written - 1)).exists()
    });
    sending.signal(Signal::TERM);
    let report = sending.finish().expect(0).json();
    for source in report["sources"].as_array().unwrap() {
        let count = |field: &str| source[field].as_u64().unwrap();
        let dropped = source["dropped"].as_object().unwrap().values();
        let dropped: u64 = dropped.map(|count| count.as_u64().unwrap()).sum();
        let ends = (count("frames"), count("missing") + count("pending"));
        assert_eq!(ends, (count("stored") + dropped, 0), "{source}");
    }
    receiver.unwrap().interrupt().expect(130);
    check(&place, written, hasty, sums);
}

/// Everything is accounted for, at the store as well.
fn check(place: &Place, written: u64, hasty: u64, sums: &mut Sums) {
    let found = place.run(&["verify", "store", "--json"]).expect(0).json();
    let mut captured_of = BTreeMap::new();
    for source in found["sources"].as_array().unwrap() {
        let (name, account) = (source["source"].as_str().unwrap(), &source["account"]);
        let ledger = || fs::read_to_string(place.store().join(name).join("ledger.jsonl"));
        assert_eq!(account["state"], "complete", "{source}\n{}", ledger().unwrap());
        let mut captured = 0;
        for run in account["runs"]["first"].as_array().unwrap() {
            let count = |field: &str| run[field].as_u64().unwrap();
            let settled = count("stored") + count("stored_before") + count("dropped");
            assert_eq!(count("captured"), settled, "{name}: {run}\n{}", ledger().unwrap());
            captured += settled;
        }
        for drops in account["drops"].as_array().unwrap() {
            let reason = format!("{name}: {}", drops["reason"].as_str().unwrap());
            *sums.dropped.entry(reason).or_default() += drops["frames"].as_u64().unwrap();
        }
        sums.captured += captured;
        sums.stored += source["frames"].as_u64().unwrap();
        captured_of.insert(name.to_owned(), captured);
        // No frame is there twice, and none half.
        let mut contents = BTreeSet::new();
        for line in place.manifest(name) {
            let path = place.store().join(name).join(line["name"].as_str().unwrap());
            let content = fs::read(path).unwrap();
            let whole = match name {
                "pushed" => content.ends_with(b"x") && content.len() > 2_000,
                "watched" | "hasty" => content.ends_with(b"y") && content.len() > 3_000,
                _ => content.len() == 1_000 && content.iter().all(u8::is_ascii_digit),
            };
            assert!(whole, "{name}: {line}");
            assert!(contents.insert(content), "{name} has a frame twice: {line}");
        }
    }
    for number in 0..written {
        let file = place.store().join(format!("watched/{number}.bin"));
        assert!(file.exists(), "{} is not stored", file.display());
    }
    // Those with a deadline are found again by each sender, so there are at least as many as were written.
    let counted = captured_of["hasty"];
    assert!(counted >= hasty, "{hasty} written, {counted} counted");
    // A program that was killed may have handed one over and not said so.
    let (pushed, captured) =
        (fs::read(place.path("pushed-log")).unwrap().len() as u64, captured_of["pushed"]);
    assert!(
        (pushed..=pushed + KILLS_A_RUN).contains(&captured),
        "{pushed} pushed, {captured} counted"
    );
}

fn kill(process: Process) {
    process.signal(Signal::KILL);
    process.finish();
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} does not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}
