//! How fast images are cut out of a stream on one core: frames of 200 kB, in reads of 64 KiB.
//!
//! ```text
//! cargo run --release --example cut_speed
//! ```

use std::time::Instant;

use framelane::source::cut::{Cut, Cutter, Framing, Kind};

/// What each stream is repeated to.
const STREAM: usize = 1 << 30;

fn main() {
    for (what, frame, framing) in [
        ("JPEG", jpeg(200_000), Framing::Structure),
        ("JPEG, 4 MB", jpeg(4_000_000), Framing::Structure),
        ("PNG", png(200_000), Framing::Structure),
        ("TIFF", tiff(200_000), Framing::Structure),
        ("raw", vec![7; 200_000], Framing::Raw(200_000)),
    ] {
        let several = frame.repeat((64 << 20) / frame.len());
        let mut cutter = Cutter::new(framing, 64 << 20);
        let (mut images, mut bytes) = (0, 0);
        let start = Instant::now();
        for _ in 0..STREAM / several.len() {
            for read in several.chunks(65_536) {
                cutter.push(read);
                while let Some(cut) = cutter.next() {
                    match cut {
                        Cut::Image {
                            bytes: image,
                            kind: Kind::Jpeg | Kind::Png | Kind::Tiff | Kind::Raw,
                        } => {
                            images += 1;
                            bytes += image.len();
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("{what:12} {images:6} images, {:6.0} MB/s", bytes as f64 / seconds / 1e6);
    }
}

/// Bytes of chance, the same each time.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..bytes).map(next).collect()
}

fn jpeg(bytes: usize) -> Vec<u8> {
    let segment = |code: u8, content: &[u8]| {
        let length = (content.len() as u16 + 2).to_be_bytes();
        [&[0xff, code][..], &length, content].concat()
    };
    // As an encoder has it: a zero behind each byte of all ones.
    let scan = noise(bytes)
        .into_iter()
        .flat_map(|byte| std::iter::once(byte).chain((byte == 0xff).then_some(0)));
    [
        vec![0xff, 0xd8],
        segment(0xdb, &[0; 65]),
        segment(0xc0, &[8, 2, 0, 2, 0x80, 1, 1, 0x11, 0]),
        segment(0xda, &[1, 1, 0, 0, 63, 0]),
        scan.collect(),
        vec![0xff, 0xd9],
    ]
    .concat()
}

fn png(bytes: usize) -> Vec<u8> {
    let chunk = |name: &[u8], content: &[u8]| {
        let checked = [name, content].concat();
        let length = (content.len() as u32).to_be_bytes();
        [&length[..], &checked, &crc32fast::hash(&checked).to_be_bytes()].concat()
    };
    // Chunks as small as ffmpeg makes them.
    let pixels = noise(bytes);
    let pixels = pixels.chunks(4_096).flat_map(|part| chunk(b"IDAT", part));
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &[0, 0, 2, 0x80, 0, 0, 2, 0, 16, 0, 0, 0, 0]),
        pixels.collect(),
        chunk(b"IEND", &[]),
    ]
    .concat()
}

fn tiff(bytes: usize) -> Vec<u8> {
    let entry = |tag: u16, value: u32| {
        [&tag.to_le_bytes()[..], &4u16.to_le_bytes(), &1u32.to_le_bytes(), &value.to_le_bytes()]
            .concat()
    };
    let directory = [vec![2, 0], entry(273, 8), entry(279, bytes as u32), vec![0; 4]].concat();
    let place = (8 + bytes as u32).to_le_bytes();
    [b"II*\0".to_vec(), place.to_vec(), noise(bytes), directory].concat()
}
