//! Writes generated frames to look at, and prints how quickly they are made.
//!
//! `cargo run --release --example synthetic_frames [FOLDER]`

use std::time::Instant;

use framelane::source::synthetic::{Kind, SizeHint, infrared, of_size, visible};

const FRAMES: u64 = 100;

fn main() -> std::io::Result<()> {
    println!("frame               mean bytes     least      most   frames/s");
    for size in [SizeHint::Small, SizeHint::Medium, SizeHint::Large] {
        measure(&format!("visible {size:?}"), |index| visible(index, 1, size));
        measure(&format!("infrared {size:?}"), |index| infrared(index, 1, size));
    }
    measure("visible of 60,000", |index| of_size(60_000, index, 1, Kind::Visible));
    measure("infrared of 20,000", |index| of_size(20_000, index, 1, Kind::Infrared));
    measure("visible of 1 MB", |index| of_size(1_000_000, index, 1, Kind::Visible));
    if let Some(folder) = std::env::args_os().nth(1).map(std::path::PathBuf::from) {
        for index in [0, 1, 10, 40, 80] {
            let medium = SizeHint::Medium;
            std::fs::write(folder.join(format!("{index}.jpg")), visible(index, 1, medium))?;
            std::fs::write(folder.join(format!("{index}.png")), infrared(index, 1, medium))?;
        }
    }
    Ok(())
}

fn measure(what: &str, make: impl Fn(u64) -> Vec<u8>) {
    let started = Instant::now();
    let sizes: Vec<usize> = (0..FRAMES).map(|index| make(index * 7).len()).collect();
    let rate = FRAMES as f64 / started.elapsed().as_secs_f64();
    let mean = sizes.iter().sum::<usize>() / sizes.len();
    let (least, most) = (sizes.iter().min().unwrap_or(&0), sizes.iter().max().unwrap_or(&0));
    println!("{what:20} {mean:9} {least:9} {most:9} {rate:10.0}");
}
