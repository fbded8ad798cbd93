//! `kill -9` at either end, at any moment: every frame ends up stored once, byte for byte.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::{Place, Process, Receiver, Signal};

/// Frames of each of two sources, and their pace: a run without a crash takes half a second.
const FRAMES: u64 = 100;
const BYTES: usize = 20_000;
const PACE: &str = "200";

/// Crashes in one run. After these it is left to end.
const CRASHES: u32 = 4;

/// The longest that anybody lives before it is killed.
const LONGEST_LIFE: Duration = Duration::from_millis(400);

#[test]
fn every_frame_is_stored_once_whoever_is_killed() {
    run_some(3, 0x5eed);
}

/// `tests/crash/hundred.sh` runs this. CRASH_RUNS and CRASH_SEED choose how many, and which; CRASH_DURABLE has the
/// receiver sync each batch.
#[test]
#[ignore = "some minutes; see tests/crash/hundred.sh"]
fn a_hundred_runs() {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let seed = number("CRASH_SEED").unwrap_or_else(rand::random);
    run_some(number("CRASH_RUNS").unwrap_or(100), seed);
}

fn run_some(runs: u64, seed: u64) {
    let started = Instant::now();
    let (mut senders, mut receivers) = (0, 0);
    for run in 0..runs {
        let seed = seed.wrapping_add(run);
        println!("run {run}: CRASH_RUNS=1 CRASH_SEED={seed}");
        let (killed_senders, killed_receivers) = run_once(&mut StdRng::seed_from_u64(seed));
        senders += killed_senders;
        receivers += killed_receivers;
    }
    println!(
        "{runs} runs: {senders} senders and {receivers} receivers killed, every frame stored once, \
         in {:.0} s",
        started.elapsed().as_secs_f64()
    );
}

/// One transfer with crashes; how many senders and receivers were killed.
fn run_once(random: &mut StdRng) -> (u32, u32) {
    let place = Place::new();
    place.frames("visible", FRAMES, BYTES);
    place.frames("infrared", FRAMES, BYTES / 3);
    let mut killed = (0, 0);
    // Whatever else is asked of the receiver, it is asked again each time it is started.
    let durable: &[&str] =
        if std::env::var_os("CRASH_DURABLE").is_some() { &["--durable"] } else { &[] };
    let mut receiver = Receiver::start(&place, durable);
    let address = receiver.address().to_string();
    let send =
        |receiver: &Receiver<'_>| receiver.sending(&["visible", "infrared"], &["--fps", PACE]);
    let mut sending = send(&receiver);
    for _ in 0..CRASHES {
        // A moment at random, anywhere: this is no wait for something to be ready.
        std::thread::sleep(LONGEST_LIFE.mul_f64(random.random()));
        if random.random() {
            killed.0 += u32::from(kill(sending));
            sending = send(&receiver);
        } else {
            receiver.process().signal(Signal::KILL);
            drop(receiver);
            killed.1 += 1;
            receiver = Receiver::start(&place, &[&["--listen", &address], durable].concat());
        }
    }
    sending.finish().expect(0).prints("missing 0");
    // A sender that had ended before a receiver was killed knows nothing of what that lost, which
    // without --durable is nothing: the operating system has it.
    receiver.interrupt().expect(130);
    place.assert_stored("visible");
    place.assert_stored("infrared");
    place.run(&["verify", "store"]).expect(0);
    killed
}

/// Kills a sender; false where it had ended by itself, as it should.
fn kill(sending: Process) -> bool {
    if sending.has_ended() {
        sending.finish().expect(0);
        return false;
    }
    sending.signal(Signal::KILL);
    sending.finish();
    true
}
