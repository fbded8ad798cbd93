//! Programs that make frames: a camera on a pipe, and one that pushes.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use framelane::{Frame, Sender};

/// Writes raw frames of `bytes` bytes to standard output, `rate` a second, until nobody reads them.
pub(crate) fn film(bytes: usize, rate: f64) -> Result<()> {
    let began = Instant::now();
    let mut frame = vec![0; bytes];
    for number in 0_u64.. {
        let due = began + Duration::from_secs_f64(number as f64 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut hasher = blake3::Hasher::new();
        hasher.update(&std::process::id().to_be_bytes()).update(&number.to_be_bytes());
        hasher.finalize_xof().fill(&mut frame);
        // Whoever reads has gone: so does this.
        if std::io::stdout().write_all(&frame).is_err() {
            break;
        }
    }
    Ok(())
}

/// Pushes frames of 20 kB, 20 a second, until there is a file `no-more`; prints how many.
pub(crate) fn push(address: &str, pin: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let sender = Sender::to(address.to_owned())
            .pin(pin.to_owned())
            .certs(PathBuf::from("pusher"))
            .source("pushed")
            .spool(PathBuf::from("pushed-spool"))
            .retry_for(Duration::from_secs(120))
            .start()
            .await?;
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        let mut number = 0_u64;
        while !PathBuf::from("no-more").exists() {
            tick.tick().await;
            let mut body = vec![0; 20_000];
            blake3::Hasher::new().update(&number.to_be_bytes()).finalize_xof().fill(&mut body);
            drop(sender.push("pushed", Frame::raw(body).captured_now()).await?);
            number += 1;
        }
        let report = sender.finish().await;
        println!("{number}");
        report.is_complete().then_some(()).with_context(|| format!("{report:?}"))
    })
}

/// A PNG of one grey, whose pixels are not compressed.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let rows: Vec<u8> = (0..height)
        .flat_map(|row| std::iter::once(0).chain((0..width).map(move |at| (at * row) as u8)))
        .collect();
    let mut packed = vec![0x78, 0x01];
    let mut blocks = rows.chunks(65_535).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        packed.push(u8::from(blocks.peek().is_none()));
        packed.extend(length.to_le_bytes());
        packed.extend((!length).to_le_bytes());
        packed.extend(block);
    }
    packed.extend(adler(&rows).to_be_bytes());
    let mut head = [width.to_be_bytes(), height.to_be_bytes()].concat();
    head.extend([8, 0, 0, 0, 0]);
    let chunks = [(b"IHDR", head), (b"IDAT", packed), (b"IEND", Vec::new())];
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in chunks {
        let body = [&kind[..], &data].concat();
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(&body);
        file.extend(crc(&body).to_be_bytes());
    }
    file
}

/// The checksums of PNG and zlib.
fn crc(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit))
}

fn adler(bytes: &[u8]) -> u32 {
    let (low, high) = bytes.iter().fold((1_u32, 0_u32), |(low, high), &byte| {
        let low = (low + u32::from(byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    high << 16 | low
}
