//! What forward repair costs and leaves over: the code's throughput, and by Monte Carlo the
//! frames that still wait for a retransmission, for several shard lengths.
//!
//! `cargo run --release --example repair_sizing [SEED]`

use std::time::{Duration, Instant};

use framelane::repair::{
    Assembly, Conditions, Head, Layout, Limits, Losses, Plan, Progress, RepairMode, RepairPolicy,
    Settings, encode, shard_len_for, shards_for, warm_up,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Stream bytes in a packet of 1,500 bytes: what QUIC leaves of its 1,472 bytes of UDP.
const PACKET: usize = 1_438;
const HEADER: usize = 70;
const TRAILER: usize = HEADER + 10;
const FRAMES: usize = 200_000;

fn main() {
    let seed = std::env::args().nth(1).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seed {seed}\n");
    throughput();
    let mut rng = StdRng::seed_from_u64(seed);
    shard_lengths(&mut rng);
    adaptive(&mut rng);
}

fn throughput() {
    let started = Instant::now();
    warm_up();
    println!("tables built in {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    println!("body      shard  data+repair    encode           decode, all repair used");
    for (body_len, lost_packets) in [(20_000, 4), (60_000, 7), (200_000, 16), (1_000_000, 70)] {
        for shard_len in [64, 128, 176, 352, 1_410] {
            let repair = lost_packets * (PACKET / shard_len + 1);
            code_speed(body_len, shard_len, repair);
        }
    }
    println!();
}

fn code_speed(body_len: usize, shard_len: usize, repair: usize) {
    let Ok(plan) = Plan::new(body_len as u64, shard_len, repair) else { return };
    let body: Vec<u8> = (0..body_len).map(|index| (index * 31 % 253) as u8).collect();
    let encoding = median_time(|| encode(&body, &plan).map_or(0, |repair| repair.len()));
    let Ok(shards) = encode(&body, &plan) else { return };
    let kept = repair * shard_len;
    let layout = Layout::repaired(1, plan);
    let decoding = median_time(|| {
        let mut assembly = Assembly::new(Limits { max_header: 8, max_body: 1 << 30 }, *b"12345678");
        let parse = |_: &[u8]| Head::Found(layout);
        let fed =
            [(0, &b"h"[..]), (1 + kept as u64, &body[kept..]), (layout.repair().start, &shards)];
        let progress = fed.map(|(offset, bytes)| assembly.accept_and_mend(offset, bytes, parse));
        assert!(matches!(&progress[2], Ok(Progress::Ready(mended)) if mended.body == body));
        0
    });
    let speed = |time: Duration| body_len as f64 / time.as_secs_f64() / 1e6;
    println!(
        "{body_len:9} {shard_len:5}  {:6}+{repair:<5} {:7.0} us {:5.0} MB/s {:7.0} us {:5.0} MB/s",
        plan.data_shards(),
        encoding.as_secs_f64() * 1e6,
        speed(encoding),
        decoding.as_secs_f64() * 1e6,
        speed(decoding),
    );
}

fn median_time(mut work: impl FnMut() -> usize) -> Duration {
    let mut times: Vec<Duration> = (0..51)
        .map(|_| {
            let started = Instant::now();
            std::hint::black_box(work());
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[25]
}

/// Every frame sized for 1 % residual failure without a cap, by shard length.
fn shard_lengths(rng: &mut StdRng) {
    println!("frames left to retransmission, and the repair that was sent, sized for 1 %");
    println!("body     loss    shards of 64 bytes        1/8 packet            1 packet");
    for body_len in [20_000, 60_000, 200_000] {
        for loss in [0.01, 0.02, 0.05, 0.10] {
            print!("{body_len:7} {:4.0} %", loss * 100.0);
            for shard_len in [64, PACKET / 8 / 2 * 2, PACKET] {
                let most = body_len / shard_len;
                let shards =
                    shards_for(body_len, PACKET, shard_len, Losses::independent(loss), 0.01, most)
                        .unwrap_or(0);
                let failing = failing_share(rng, body_len, shard_len, shards, loss);
                let overhead = (shards * shard_len + 2 * TRAILER) as f64 / body_len as f64;
                print!("    {:5.2} % for {:4.1} %", failing * 100.0, overhead * 100.0);
            }
            println!();
        }
    }
    println!();
}

/// The share of frames that fewer than K whole shards, or neither header, of reached.
fn failing_share(
    rng: &mut StdRng,
    body_len: usize,
    shard_len: usize,
    shards: usize,
    loss: f64,
) -> f64 {
    let failing = (0..FRAMES).filter(|_| frame_fails(rng, body_len, shard_len, shards, loss));
    failing.count() as f64 / FRAMES as f64
}

fn frame_fails(
    rng: &mut StdRng,
    body_len: usize,
    shard_len: usize,
    shards: usize,
    loss: f64,
) -> bool {
    let repair_len = shards * shard_len;
    let repair_start = HEADER + body_len + TRAILER;
    let end = repair_start + repair_len + TRAILER;
    // The first packet may be shared with another stream's end.
    let first = rng.random_range(HEADER..=PACKET);
    let packets = 1 + (end - first).div_ceil(PACKET);
    let lost: Vec<bool> = (0..packets).map(|_| rng.random_bool(loss)).collect();
    let packet_of = |offset: usize| match offset.checked_sub(first) {
        None => 0,
        Some(behind) => 1 + behind / PACKET,
    };
    let arrived = |start: usize, end: usize| {
        !(packet_of(start)..=packet_of(end - 1)).any(|packet| lost[packet])
    };
    let whole = |start: usize, len: usize| {
        (0..len.div_ceil(shard_len))
            .filter(|index| {
                let from = start + index * shard_len;
                arrived(from, (from + shard_len).min(start + len))
            })
            .count()
    };
    let there = whole(HEADER, body_len) + whole(repair_start, repair_len);
    let trailer = |end: usize| shards > 0 && arrived(end - TRAILER, end);
    let header = arrived(0, HEADER) || trailer(repair_start) || trailer(end);
    !header || there < body_len.div_ceil(shard_len)
}

/// The policy as it runs, on the mix of two sources, caps included.
fn adaptive(rng: &mut StdRng) {
    println!("the policy on 60 kB and 20 kB frames in turn, loss known exactly");
    println!("residual  loss   60 kB left     20 kB left     overhead");
    for residual in [0.01, 0.003, 0.001] {
        for loss in [0.01, 0.02, 0.045, 0.05, 0.055, 0.10] {
            adaptive_row(rng, residual, loss);
        }
    }
}

fn adaptive_row(rng: &mut StdRng, residual: f64, loss: f64) {
    let settings = Settings { residual, ..Settings::default() };
    let mut policy = RepairPolicy::new(RepairMode::Auto, settings);
    let rtt = Duration::from_millis(50);
    let now = Conditions {
        loss: Some(loss),
        run: 1.0,
        rtt,
        load: 0.4,
        busy: 0.0,
        backlog: false,
        bulk: false,
        own_losses: false,
        deadline: None,
        packet_len: PACKET,
        packet_rate: 2_000.0,
    };
    let mut failing = [0usize; 2];
    let mut repair = 0;
    for _ in 0..FRAMES / 4 {
        for (source, body_len) in [60_000, 20_000].into_iter().enumerate() {
            let plan = policy.plan(body_len as u64, &now).map(|repair| repair.plan);
            let shard_len = shard_len_for(PACKET, body_len as u64);
            let shards = plan.map_or(0, |plan| plan.repair_shards());
            repair += plan.map_or(0, |plan| plan.repair_len() + 2 * TRAILER);
            failing[source] += usize::from(frame_fails(rng, body_len, shard_len, shards, loss));
        }
    }
    let frames = FRAMES as f64 / 4.0;
    let [visible, infrared] = failing.map(|count| count as f64 / frames * 100.0);
    let overhead = repair as f64 / (frames * 80_000.0) * 100.0;
    println!(
        "{:5.1} %  {:4.0} %   {visible:6.2} %       {infrared:6.2} %       {overhead:6.1} %",
        residual * 100.0,
        loss * 100.0
    );
}
