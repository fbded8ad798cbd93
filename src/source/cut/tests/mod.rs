//! The cutter against synthetic images of every kind that was seen, real ones, and whatever tools are
//! installed write.

mod files;
mod jpegs;
mod others;
mod random;
mod tools;

use super::{Cut, Cutter, Framing, Kind, Why};

const MOST: u64 = 64 << 20;

/// All cuts of an input that is given in pieces of this many bytes and ends.
fn cut_in(input: &[u8], piece: usize, framing: Framing, most: u64) -> Vec<Cut> {
    let mut cutter = Cutter::new(framing, most);
    let mut cuts = Vec::new();
    for piece in input.chunks(piece) {
        cutter.push(piece);
        cuts.extend(std::iter::from_fn(|| cutter.next()));
    }
    cutter.finish();
    cuts.extend(std::iter::from_fn(|| cutter.next()));
    cuts
}

/// All cuts of an input, which are the same in pieces of any size.
fn cut(input: &[u8]) -> Vec<Cut> {
    let cuts = cut_in(input, input.len().max(1), Framing::Structure, MOST);
    for piece in [1, 7, 4_096] {
        if input.len() / piece < 100_000 {
            assert_eq!(
                cut_in(input, piece, Framing::Structure, MOST),
                cuts,
                "in pieces of {piece}"
            );
        }
    }
    cuts
}

fn image(bytes: &[u8], kind: Kind) -> Cut {
    Cut::Image { bytes: bytes.to_vec().into(), kind }
}

fn skipped(from: usize, bytes: usize, why: Why) -> Cut {
    let from = from as u64;
    Cut::Skipped { bytes: from..from + bytes as u64, why }
}

fn images(cuts: Vec<Cut>) -> Vec<Vec<u8>> {
    let images = cuts.into_iter().filter_map(|cut| match cut {
        Cut::Image { bytes, .. } => Some(bytes.to_vec()),
        Cut::Skipped { .. } => None,
    });
    images.collect()
}

/// That these, one behind the other, are cut into the same again.
fn assert_exact(parts: &[Vec<u8>]) {
    let cuts = cut(&parts.concat());
    let lost: Vec<_> = cuts.iter().filter(|cut| matches!(cut, Cut::Skipped { .. })).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_images(cuts, parts);
}

/// That these are the images among the cuts. In words that can be read where they are not.
fn assert_images(cuts: Vec<Cut>, expected: &[Vec<u8>]) {
    let lengths = |of: &[Vec<u8>]| of.iter().map(Vec::len).collect::<Vec<_>>();
    let images = images(cuts);
    assert_eq!(lengths(&images), lengths(expected), "the lengths of the images");
    assert!(images == expected, "images of the right lengths have other bytes");
}

fn segment(code: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
    [&[0xff, code][..], &length, content].concat()
}

/// The rest of a JPEG behind its first segments, with this many bytes of pixels.
fn picture(pixels: usize) -> Vec<u8> {
    // Stuffed bytes, restarts, and what looks like nothing.
    let pixels: Vec<u8> = [0x12, 0xff, 0x00, 0x89, 0xff, 0xd3, b'I', b'I', b'*', 0]
        .into_iter()
        .cycle()
        .take(pixels / 10 * 10)
        .collect();
    [
        segment(0xdb, &[0; 65]),
        segment(0xc0, &[8, 0, 8, 0, 8, 1, 1, 0x11, 0]),
        segment(0xc4, &[0; 17]),
        segment(0xda, &[1, 1, 0, 0, 63, 0]),
        pixels,
        vec![0xff, 0xd9],
    ]
    .concat()
}

fn jpeg_of(segments: &[Vec<u8>], pixels: usize) -> Vec<u8> {
    [&[0xff, 0xd8][..], &segments.concat(), &picture(pixels)].concat()
}

fn jfif() -> Vec<u8> {
    segment(0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0")
}

/// A plain JPEG, such as programs write.
fn jpeg(pixels: usize) -> Vec<u8> {
    jpeg_of(&[jfif()], pixels)
}

/// A camera's data, with a thumbnail in it.
fn exif() -> Vec<u8> {
    segment(0xe1, &[b"Exif\0\0II*\0\x08\0\0\0".to_vec(), jpeg_of(&[], 300)].concat())
}

fn png_chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let checked = [&name[..], content].concat();
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&length[..], &checked, &crc32fast::hash(&checked).to_be_bytes()].concat()
}

fn png(pixels: usize) -> Vec<u8> {
    // A whole JPEG in a picture's pixels is still pixels.
    png_of(&[jpeg(100), vec![7; pixels]].concat())
}

fn png_of(pixels: &[u8]) -> Vec<u8> {
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        png_chunk(b"IHDR", &[0, 0, 0, 8, 0, 0, 0, 8, 16, 0, 0, 0, 0]),
        png_chunk(b"IDAT", pixels),
        png_chunk(b"IEND", &[]),
    ]
    .concat()
}

/// A TIFF of one strip: the pixels before its directory, or behind it.
fn tiff(pixels: usize, is_directory_last: bool, is_big_endian: bool) -> Vec<u8> {
    let half = |value: u16| if is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let word = |value: u32| if is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
    let entry = |tag, kind, value: u32| {
        let value = if kind == 3 && is_big_endian { value << 16 } else { value };
        [&half(tag)[..], &half(kind), &word(1), &word(value)].concat()
    };
    let length = u32::try_from(pixels).unwrap();
    let directory_length = 2 + 12 * 4 + 4;
    let (directory, strip) =
        if is_directory_last { (8 + length, 8) } else { (8, 8 + directory_length) };
    let entries = [entry(256, 3, 8), entry(257, 3, 8), entry(273, 4, strip), entry(279, 4, length)];
    let directory_bytes = [&half(4)[..], &entries.concat(), &word(0)].concat();
    // Beginnings of other images in the pixels.
    let pixels: Vec<u8> = b"II*\0\x08\0\0\0\xff\xd8\xff\xe0\0\x10JFIF\0"
        .iter()
        .copied()
        .cycle()
        .take(pixels)
        .collect();
    let header = [if is_big_endian { &b"MM\0*"[..] } else { b"II*\0" }, &word(directory)].concat();
    let parts =
        if is_directory_last { [pixels, directory_bytes] } else { [directory_bytes, pixels] };
    [header, parts.concat()].concat()
}
