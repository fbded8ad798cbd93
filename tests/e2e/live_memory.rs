//! What a live source without end takes of memory at both ends: nothing of it may grow with the number of frames.

use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use crate::support::{Place, Process, Receiver, Signal, skipped};

/// Bytes of a process that are neither the program's text nor a library, where the system tells.
fn own_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes << 10)
}

/// Waits until a source has so many lines in its manifest.
fn wait_for_lines(place: &Place, source: &str, wanted: usize) {
    let deadline = Instant::now() + Duration::from_secs(300);
    let path = place.store().join(source).join("manifest.jsonl");
    let (mut file, mut lines, mut text) = (None, 0, Vec::new());
    while lines < wanted {
        assert!(Instant::now() < deadline, "only {lines} frames of {source} came");
        file = file.or_else(|| fs::File::open(&path).ok());
        if let Some(file) = &mut file {
            text.clear();
            file.read_to_end(&mut text).unwrap();
            lines += text.iter().filter(|&&byte| byte == b'\n').count();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// 1,024 bytes each, without end, as fast as they are read.
const FLOOD: &str = "many=raw:32x32x1:cmd:exec cat /dev/zero";
/// The same, some 3,000 a second.
const STEADY: &str =
    "many=raw:32x32x1:cmd:while head -c 65536 /dev/zero; do sleep 0.02; done; true";

/// Sends small frames, and holds both ends to what they may grow by between two counts of frames. The spool is so small
/// that what waits in it is the same at both.
fn assert_flat(source: &str, counts: [usize; 2], growth: [u64; 2], sender_args: &[&str]) {
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let args = [&["--spool-memory", "1MiB"], sender_args].concat();
    let sender = receiver.sending(&[source], &args);
    let both = [&sender, receiver.process()].map(Process::pid);
    let seen = counts.map(|count| {
        wait_for_lines(&place, "many", count);
        both.map(own_memory)
    });
    let [Some(before), Some(after)] = seen.map(|[sender, receiver]| sender.zip(receiver)) else {
        return skipped("this system does not tell what a process takes of memory");
    };
    let grown = [after.0.saturating_sub(before.0), after.1.saturating_sub(before.1)];
    println!("{counts:?} frames: {before:?} and {after:?} bytes of the sender and the receiver");
    for (who, (grown, most)) in ["sender", "receiver"].iter().zip(grown.iter().zip(growth)) {
        assert!(*grown <= most, "the {who} grew by {grown} bytes: {before:?} to {after:?}");
    }
    sender.signal(Signal::TERM);
    sender.finish().expect(0);
    receiver.interrupt();
}

#[test]
fn memory_does_not_grow_with_the_number_of_frames() {
    // 300 bytes that are kept of each frame would be 1.8 MB.
    assert_flat(FLOOD, [1_500, 7_500], [1_800_000, 3_000_000], &[]);
}

/// The receiver has the names of up to 65,536 lines in memory until its index is made anew, 40 bytes each.
#[test]
#[ignore = "takes minutes: cargo test --test e2e -- --ignored --nocapture memory_is_flat"]
fn memory_is_flat_over_many_frames() {
    let cases = [
        (FLOOD, &[][..]),
        (FLOOD, &["--transport", "tcp"]),
        (FLOOD, &["--spool", "spool", "--spool-size", "10MiB"]),
        (STEADY, &["--live", "300ms"]),
    ];
    for (source, args) in cases {
        println!("{args:?}");
        assert_flat(source, [20_000, 60_000], [2_000_000, 5_000_000], args);
    }
}

/// A sender of two cameras takes 24 MB at most, of which 16 are the program itself as it lies on the disk.
#[test]
fn a_live_sender_of_two_cameras_is_small() {
    const MOST: u64 = 8_000_000;
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let camera = |bytes| {
        format!("raw:{bytes}x1x1:cmd:while head -c {bytes} /dev/urandom; do sleep 0.03; done")
    };
    let sources = [format!("visible={}", camera(60_000)), format!("infrared={}", camera(20_000))];
    let sources = sources.each_ref().map(String::as_str);
    let sender = receiver.sending(&sources, &["--live", "300ms", "--repair", "20%"]);
    wait_for_lines(&place, "visible", 40);
    wait_for_lines(&place, "infrared", 40);
    let Some(memory) = own_memory(sender.pid()) else {
        return skipped("this system does not tell what a process takes of memory");
    };
    println!("{memory} bytes");
    assert!(memory <= MOST, "{memory} bytes");
    sender.signal(Signal::TERM);
    sender.finish().expect(0);
    receiver.interrupt();
}

#[test]
fn a_live_source_that_floods_stays_live_and_within_bounds() {
    /// What waits of a source, and as much again for what each small frame takes beside its bytes.
    const MOST: u64 = 2 * (64 << 20);
    let place = Place::new();
    let receiver = Receiver::start(&place, &[]);
    let sender = receiver.sending(&[FLOOD], &["--live", "300ms", "--drain", "1s"]);
    wait_for_lines(&place, "many", 50);
    let memory = own_memory(sender.pid()).unwrap_or_default();
    assert!(memory <= MOST, "{memory} bytes");
    sender.signal(Signal::TERM);
    sender.finish();
    receiver.interrupt();
    place.run(&["verify", "store"]).expect(0).prints("complete");
}
