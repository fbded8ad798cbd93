//! Pixels with no file around them that a browser knows: raw frames, whose shape the user tells, and NPY files, which tell
//! it themselves.

use std::io::Cursor;

use bytes::Bytes;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};

/// Pixels of an image that is decoded here. Larger ones are shown where a browser can by itself.
pub(super) const MAX_PIXELS: u64 = 32 << 20;

/// What becomes of pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pixels {
    /// 16-bit values in rows, each two bytes, the lower first: one of grey, or three of colour, for a pixel.
    Values { width: u32, height: u32, channels: u8, values: Bytes },
    /// An image of the same content that a browser shows.
    Image { png: Bytes, grey: bool },
}

/// The shape of a source's raw frames: rows from the top, values of two bytes with the lower first, colours in the order
/// red, green, blue, where nothing else is said ([`RawLook::is_bgr`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawShape {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes of a pixel: 1 or 2 of grey, or 3 of colour.
    pub depth: u32,
}

/// How a source's raw frames are to be shown, as the user says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawLook {
    /// Their shape, where they do not say it themselves.
    pub shape: Option<RawShape>,
    /// Colours are in the order blue, green, red, as OpenCV has them; of NPY files as well.
    pub is_bgr: bool,
}

impl RawLook {
    /// Frames of this shape.
    #[must_use]
    pub fn of_shape(self, shape: RawShape) -> Self {
        Self { shape: Some(shape), ..self }
    }

    /// Frames whose colours are in the order blue, green, red.
    #[must_use]
    pub fn bgr(self) -> Self {
        Self { is_bgr: true, ..self }
    }
}

/// A header beyond this is none.
const MAX_NPY_HEADER: usize = 4_096;

impl RawShape {
    /// Whether frames of this shape can be shown.
    pub fn can_be_shown(self) -> bool {
        (1..=3).contains(&self.depth)
            && (1..=MAX_PIXELS).contains(&(u64::from(self.width) * u64::from(self.height)))
    }

    /// A frame of this shape. One of another length is none.
    pub(super) fn pixels(self, frame: &Bytes, is_bgr: bool) -> Option<Pixels> {
        let Self { width, height, depth } = self;
        if !self.can_be_shown() {
            return None;
        }
        let bytes = u64::from(width) * u64::from(height) * u64::from(depth);
        if frame.len() as u64 != bytes {
            return None;
        }
        let image: DynamicImage = match depth {
            1 => GrayImage::from_raw(width, height, frame.to_vec())?.into(),
            2 => return Some(Pixels::Values { width, height, channels: 1, values: frame.clone() }),
            _ => RgbImage::from_raw(width, height, red_first::<3, 1>(frame, is_bgr))?.into(),
        };
        let mut png = Vec::new();
        image.write_to(&mut Cursor::new(&mut png), ImageFormat::Png).ok()?;
        Some(Pixels::Image { png: png.into(), grey: depth == 1 })
    }
}

/// A numpy array of whole numbers in a byte or two, as in a file of its own.
pub(super) fn npy(file: &Bytes, is_bgr: bool) -> Option<Pixels> {
    let begin = match file.get(6)? {
        1 => 10 + usize::from(u16::from_le_bytes(array(file.get(8..10)?)?)),
        2 | 3 => {
            12usize.checked_add(u32::from_le_bytes(array(file.get(8..12)?)?).try_into().ok()?)?
        }
        _ => return None,
    };
    if begin > MAX_NPY_HEADER || begin > file.len() {
        return None;
    }
    let header = std::str::from_utf8(file.get(10..begin)?).ok()?;
    let after = |key: &str| header.split_once(key).map(|(_, rest)| rest.trim_start());
    if !after("'fortran_order':")?.starts_with("False") {
        return None;
    }
    let shape = after("'shape':")?.strip_prefix('(')?.split_once(')')?.0;
    let parts = shape.split(',').map(str::trim).filter(|part| !part.is_empty());
    let shape = parts.map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>()?;
    let (height, width, channels) = match shape[..] {
        [height, width] => (height, width, 1),
        [height, width, channels] => (height, width, channels),
        _ => return None,
    };
    let kind = after("'descr':")?.trim_start_matches('\'').split('\'').next()?;
    let (depth, values) = match (kind, channels) {
        ("|u1", 1 | 3) => (channels, file.slice(begin..)),
        ("<u2", 1) => (2, file.slice(begin..)),
        (">u2", 1) => (2, swapped(&file[begin..])),
        ("<u2", 3) => return colours(width, height, &file[begin..], is_bgr),
        (">u2", 3) => return colours(width, height, &swapped(&file[begin..]), is_bgr),
        _ => return None,
    };
    RawShape { width, height, depth }.pixels(&values, is_bgr)
}

/// Three values of 16 bits for each pixel.
fn colours(width: u32, height: u32, values: &[u8], is_bgr: bool) -> Option<Pixels> {
    let pixels = u64::from(width) * u64::from(height);
    let fits = (1..=MAX_PIXELS).contains(&pixels) && values.len() as u64 == pixels * 6;
    let values = || red_first::<6, 2>(values, is_bgr).into();
    fits.then(|| Pixels::Values { width, height, channels: 3, values: values() })
}

/// Pixels of `PIXEL` bytes, three values of `VALUE` bytes each, with red before blue.
fn red_first<const PIXEL: usize, const VALUE: usize>(pixels: &[u8], is_bgr: bool) -> Vec<u8> {
    let mut pixels = pixels.to_vec();
    if is_bgr {
        for pixel in pixels.chunks_exact_mut(PIXEL) {
            for byte in 0..VALUE {
                pixel.swap(byte, PIXEL - VALUE + byte);
            }
        }
    }
    pixels
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// The lower byte first.
fn swapped(values: &[u8]) -> Bytes {
    values.chunks_exact(2).flat_map(|pair| [pair[1], pair[0]]).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, pixels: &[u8]) -> Bytes {
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend_from_slice(&(header.len() as u16).to_le_bytes());
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(pixels);
        file.into()
    }

    fn header(kind: &str, shape: &str) -> String {
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n")
    }

    #[test]
    fn values_of_a_shape_are_shown_as_they_are() {
        let shape = RawShape { width: 3, height: 2, depth: 2 };
        let frame = Bytes::from_static(b"abcdefghijkl");
        let shown = Pixels::Values { width: 3, height: 2, channels: 1, values: frame.clone() };
        assert_eq!(shape.pixels(&frame, false), Some(shown.clone()));
        assert_eq!(shape.pixels(&frame.slice(1..), false), None, "of another length");
        assert_eq!(npy(&file(&header("<u2", "(2, 3)"), &frame), false), Some(shown.clone()));
        assert_eq!(npy(&file(&header(">u2", "(2, 3, 1)"), b"badcfehgjilk"), false), Some(shown));
    }

    #[test]
    fn sixteen_bits_of_colour_are_three_values() {
        let values = Bytes::from_static(b"abcdefghijkl");
        let shown = Pixels::Values { width: 2, height: 1, channels: 3, values: values.clone() };
        assert_eq!(npy(&file(&header("<u2", "(1, 2, 3)"), &values), false), Some(shown.clone()));
        assert_eq!(npy(&file(&header(">u2", "(1, 2, 3)"), b"badcfehgjilk"), false), Some(shown));
        assert_eq!(npy(&file(&header("<u2", "(2, 2, 3)"), &values), false), None, "too short");
    }

    #[test]
    fn bytes_become_an_image() {
        let frame = Bytes::from_static(b"abcdef");
        for (depth, width, grey) in [(1, 3, true), (3, 1, false)] {
            let shape = RawShape { width, height: 2, depth };
            let Some(Pixels::Image { png, grey: is_grey }) = shape.pixels(&frame, false) else {
                panic!("{depth}")
            };
            assert_eq!(is_grey, grey);
            let image = image::load_from_memory(&png).unwrap();
            assert_eq!((image.width(), image.as_bytes()), (width, &frame[..]));
        }
        let rgb = npy(&file(&header("|u1", "(2, 1, 3)"), &frame), false);
        assert!(matches!(rgb, Some(Pixels::Image { grey: false, .. })));
    }

    #[test]
    fn blue_may_come_first() {
        let frame = Bytes::from_static(b"abcdef");
        let shape = RawShape { width: 2, height: 1, depth: 3 };
        for shown in
            [shape.pixels(&frame, true), npy(&file(&header("|u1", "(1, 2, 3)"), &frame), true)]
        {
            let Some(Pixels::Image { png, .. }) = shown else { panic!("{shown:?}") };
            assert_eq!(image::load_from_memory(&png).unwrap().as_bytes(), b"cbafed");
        }
        let values = b"abcdefghijkl";
        let shown = npy(&file(&header("<u2", "(1, 2, 3)"), values), true);
        let wanted = Bytes::from_static(b"efcdabklijgh");
        assert_eq!(
            shown,
            Some(Pixels::Values { width: 2, height: 1, channels: 3, values: wanted })
        );
        // Grey has no order.
        let grey = npy(&file(&header("<u2", "(2, 3)"), values), true);
        assert_eq!(grey, npy(&file(&header("<u2", "(2, 3)"), values), false));
    }

    #[test]
    fn what_is_no_image_is_not_shown() {
        let whole = file(&header("<u2", "(2, 3)"), b"abcdefghijkl");
        for cut in 0..whole.len() {
            assert_eq!(npy(&whole.slice(..cut), false), None, "{cut}");
        }
        for (kind, shape) in [
            ("<f4", "(1, 3)"),
            ("<u2", "(12,)"),
            ("<u2", "(2, 2, 2)"),
            ("<u2", "(4294967296, 3)"),
            ("<u2", "(4294967295, 4294967295)"),
            ("<u2", "(0, 3)"),
            ("<u2", "2, 3"),
        ] {
            assert_eq!(
                npy(&file(&header(kind, shape), b"abcdefghijkl"), false),
                None,
                "{kind} {shape}"
            );
        }
        let fortran = header("<u2", "(2, 3)").replace("False", "True");
        assert_eq!(npy(&file(&fortran, b"abcdefghijkl"), false), None);
        assert!(!RawShape { width: 1 << 20, height: 1 << 20, depth: 1 }.can_be_shown());
        assert!(!RawShape { width: 4, height: 4, depth: 4 }.can_be_shown());
    }
}
