//! What can be shown of a frame: as it is, where a browser shows it, or else as values.

use std::io::Cursor;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use super::raw::{MAX_PIXELS, Pixels, RawLook, npy};

/// Memory for decoding one.
const MAX_DECODING: u64 = 256 << 20;

/// Of the JPEG images that are made for streams.
const QUALITY: u8 = 85;

/// A frame as it can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Picture {
    /// The frame itself: a browser shows it. `grey` where it has one channel, so that a palette fits.
    Plain { media: &'static str, grey: bool },
    /// An image of the same content that a browser shows, losslessly.
    Converted { png: Bytes, grey: bool },
    /// 16-bit values in rows, each two bytes, the lower first: one of grey, or three of colour, for a pixel.
    Values { width: u32, height: u32, channels: u8, values: Bytes },
    /// Nothing that is known here.
    Unknown,
}

impl Picture {
    /// What can be shown of a frame.
    pub(super) fn of(frame: &Bytes) -> Self {
        Self::of_look(frame, RawLook::default())
    }

    /// The same of a source of whose raw frames something was told. Takes a processor where it has to be decoded.
    pub(super) fn of_look(frame: &Bytes, raw: RawLook) -> Self {
        match frame.as_ref() {
            [0xff, 0xd8, 0xff, ..] => {
                Self::Plain { media: "image/jpeg", grey: jpeg_components(frame) == Some(1) }
            }
            [0x89, b'P', b'N', b'G', ..] => match png_kind(frame) {
                Some((16, 0 | 2 | 4 | 6)) => {
                    decode(frame, ImageFormat::Png).unwrap_or(Self::Unknown)
                }
                Some((_, colour)) => Self::Plain { media: "image/png", grey: colour == 0 },
                None => Self::Unknown,
            },
            [b'G', b'I', b'F', b'8', ..] => Self::Plain { media: "image/gif", grey: false },
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
                Self::Plain { media: "image/webp", grey: false }
            }
            [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f', ..] => {
                Self::Plain { media: "image/avif", grey: false }
            }
            [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => {
                decode(frame, ImageFormat::Tiff).unwrap_or(Self::Unknown)
            }
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
                npy(frame, raw.is_bgr).map_or(Self::Unknown, Self::from)
            }
            _ => Self::Unknown,
        }
    }

    /// The same, and frames of the shape that was told.
    pub(super) fn of_shape(frame: &Bytes, raw: RawLook) -> Self {
        match (Self::of_look(frame, raw), raw.shape) {
            (Self::Unknown, Some(shape)) => {
                shape.pixels(frame, raw.is_bgr).map_or(Self::Unknown, Self::from)
            }
            (known, _) => known,
        }
    }

    /// The frame as a JPEG image, for programs that take nothing else: itself where it is one. 16-bit values are
    /// spread between their 1st and 99th percentile.
    pub(super) fn jpeg(&self, frame: &Bytes) -> Option<Bytes> {
        let image = match self {
            Self::Plain { media: "image/jpeg", .. } => return Some(frame.clone()),
            Self::Plain { media: "image/png", .. } => open(frame, ImageFormat::Png)?,
            Self::Converted { png, .. } => open(png, ImageFormat::Png)?,
            Self::Values { width, height, channels, values } => {
                let (low, high) = percentiles(values);
                let levels = values16(values).map(|value| spread(value, low, high)).collect();
                match channels {
                    1 => image::GrayImage::from_raw(*width, *height, levels)?.into(),
                    _ => image::RgbImage::from_raw(*width, *height, levels)?.into(),
                }
            }
            Self::Plain { .. } | Self::Unknown => return None,
        };
        let image = match image {
            grey @ DynamicImage::ImageLuma8(_) => grey,
            other => other.into_rgb8().into(),
        };
        let mut jpeg = Vec::new();
        image.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, QUALITY)).ok()?;
        Some(jpeg.into())
    }
}

impl From<Pixels> for Picture {
    fn from(pixels: Pixels) -> Self {
        match pixels {
            Pixels::Values { width, height, channels, values } => {
                Self::Values { width, height, channels, values }
            }
            Pixels::Image { png, grey } => Self::Converted { png, grey },
        }
    }
}

fn decode(frame: &Bytes, format: ImageFormat) -> Option<Picture> {
    let image = open(frame, format)?;
    let (width, height) = (image.width(), image.height());
    let values = |channels, image: &[u16]| {
        let values: Vec<u8> = image.iter().flat_map(|value| value.to_le_bytes()).collect();
        Picture::Values { width, height, channels, values: values.into() }
    };
    Some(match image {
        DynamicImage::ImageLuma16(image) => values(1, &image),
        DynamicImage::ImageRgb16(image) => values(3, &image),
        // What is seen through is left out: the values are what the camera gave.
        image @ DynamicImage::ImageLumaA16(_) => values(1, &image.into_luma16()),
        image @ DynamicImage::ImageRgba16(_) => values(3, &image.into_rgb16()),
        image => {
            let grey = matches!(image, DynamicImage::ImageLuma8(_));
            let image = match image {
                known @ (DynamicImage::ImageLuma8(_) | DynamicImage::ImageRgb8(_)) => known,
                other => other.into_rgba8().into(),
            };
            let mut png = Vec::new();
            image.write_to(&mut Cursor::new(&mut png), ImageFormat::Png).ok()?;
            Picture::Converted { png: png.into(), grey }
        }
    })
}

/// Decodes in bounded memory.
fn open(frame: &Bytes, format: ImageFormat) -> Option<DynamicImage> {
    let (width, height) =
        ImageReader::with_format(Cursor::new(frame), format).into_dimensions().ok()?;
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return None;
    }
    let mut reader = ImageReader::with_format(Cursor::new(frame), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODING);
    reader.limits(limits);
    reader.decode().ok()
}

/// Bit depth and colour type.
fn png_kind(frame: &[u8]) -> Option<(u8, u8)> {
    (frame.get(12..16)? == b"IHDR").then_some(())?;
    Some((*frame.get(24)?, *frame.get(25)?))
}

/// How many components a JPEG image has, as its frame header says.
fn jpeg_components(frame: &[u8]) -> Option<u8> {
    let mut at = 2;
    loop {
        let (mark, kind) = (*frame.get(at)?, *frame.get(at + 1)?);
        if mark != 0xff {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([*frame.get(at + 2)?, *frame.get(at + 3)?]));
        match kind {
            // Start of frame, of any kind but those that are something else.
            0xc0..=0xcf if ![0xc4, 0xc8, 0xcc].contains(&kind) => {
                return frame.get(at + 9).copied();
            }
            0xda | 0xd9 => return None,
            _ => at += 2 + length,
        }
    }
}

pub(super) fn values16(values: &[u8]) -> impl Iterator<Item = u16> + '_ {
    values.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
}

/// The 1st and the 99th percentile.
pub(super) fn percentiles(values: &[u8]) -> (u16, u16) {
    let mut counts = vec![0u32; 1 << 16];
    values16(values).for_each(|value| counts[usize::from(value)] += 1);
    let total = (values.len() / 2) as u64;
    let at = |share: u64| {
        let wanted = (total * share / 100).max(1);
        let mut seen = 0;
        let found = counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        });
        found.and_then(|value| u16::try_from(value).ok()).unwrap_or(0)
    };
    (at(1), at(99))
}

fn spread(value: u16, low: u16, high: u16) -> u8 {
    let range = u32::from(high.saturating_sub(low).max(1));
    let above = u32::from(value.saturating_sub(low)).min(range);
    u8::try_from(above * 255 / range).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, ImageBuffer, Luma, LumaA, Rgb, RgbImage, Rgba};

    use super::*;

    fn write(image: impl Into<DynamicImage>, format: ImageFormat) -> Bytes {
        let mut bytes = Vec::new();
        image.into().write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        bytes.into()
    }

    /// Counts as of a thermal camera.
    fn thermal() -> ImageBuffer<Luma<u16>, Vec<u16>> {
        ImageBuffer::from_fn(30, 20, |x, y| Luma([7_000 + (x * 60 + y) as u16]))
    }

    #[test]
    fn sixteen_bit_values_arrive_as_they_are() {
        for format in [ImageFormat::Png, ImageFormat::Tiff] {
            let Picture::Values { width, height, channels: 1, values } =
                Picture::of(&write(thermal(), format))
            else {
                panic!("{format:?} has 16 bits")
            };
            assert_eq!((width, height, values.len()), (30, 20, 1_200));
            assert!(values16(&values).eq(thermal().iter().copied()));
        }
    }

    #[test]
    fn sixteen_bits_of_colour_are_values_as_well() {
        let value = |x: u32, channel: u16| 7_000 + x as u16 * 256 + channel;
        let colour = ImageBuffer::from_fn(5, 2, |x, _| Rgb([0, 1, 2].map(|at| value(x, at))));
        let through =
            ImageBuffer::from_fn(5, 2, |x, _| Rgba([0, 1, 2, 9_000].map(|at| value(x, at))));
        let grey = ImageBuffer::from_fn(5, 2, |x, _| LumaA([value(x, 0), 9]));
        let png = ImageFormat::Png;
        let frames = [
            (3, write(DynamicImage::ImageRgb16(colour.clone()), png)),
            (3, write(DynamicImage::ImageRgb16(colour), ImageFormat::Tiff)),
            (3, write(DynamicImage::ImageRgba16(through), png)),
            (1, write(DynamicImage::ImageLumaA16(grey), png)),
        ];
        for (wanted, frame) in &frames {
            let picture = Picture::of(frame);
            let Picture::Values { width: 5, height: 2, channels, values } = &picture else {
                panic!("{picture:?}")
            };
            assert_eq!(channels, wanted);
            let row: Vec<u16> =
                (0..5).flat_map(|x| (0..u16::from(*wanted)).map(move |at| value(x, at))).collect();
            assert!(values16(values).eq(row.iter().chain(&row).copied()));
            let jpeg = image::load_from_memory(&picture.jpeg(frame).unwrap()).unwrap();
            assert!(jpeg.into_luma8().iter().max().unwrap() > &200);
        }
    }

    #[test]
    fn what_a_browser_shows_is_left_as_it_is() {
        let grey = write(GrayImage::new(3, 2), ImageFormat::Jpeg);
        assert_eq!(Picture::of(&grey), Picture::Plain { media: "image/jpeg", grey: true });
        let colour = write(RgbImage::new(3, 2), ImageFormat::Png);
        assert_eq!(Picture::of(&colour), Picture::Plain { media: "image/png", grey: false });
        let tiff = write(RgbImage::new(3, 2), ImageFormat::Tiff);
        assert!(matches!(Picture::of(&tiff), Picture::Converted { grey: false, .. }));
    }

    #[test]
    fn streams_get_jpeg_images_in_which_something_is_seen() {
        let frame = write(thermal(), ImageFormat::Png);
        let picture = Picture::of(&frame);
        let jpeg = picture.jpeg(&frame).unwrap();
        let shown = image::load_from_memory(&jpeg).unwrap().into_luma8();
        let (darkest, brightest) = (shown.iter().min().unwrap(), shown.iter().max().unwrap());
        assert!(*darkest < 20 && *brightest > 235, "{darkest} to {brightest}");
        let plain = write(GrayImage::new(3, 2), ImageFormat::Jpeg);
        assert_eq!(Picture::of(&plain).jpeg(&plain), Some(plain));
    }

    #[test]
    fn broken_and_hostile_images_are_unknown() {
        let whole = write(thermal(), ImageFormat::Png);
        for cut in 0..whole.len() {
            // Never a panic, whatever is missing.
            let _ = Picture::of(&whole.slice(..cut));
        }
        let jpeg = write(GrayImage::new(3, 2), ImageFormat::Jpeg);
        for cut in 0..jpeg.len() {
            let _ = Picture::of(&jpeg.slice(..cut));
        }
        let mut huge = whole.to_vec();
        huge[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]); // 65,536 x 65,536
        assert_eq!(Picture::of(&huge.into()), Picture::Unknown);
        assert_eq!(Picture::of(&Bytes::from_static(b"not an image")), Picture::Unknown);
    }

    #[test]
    fn percentiles_leave_the_odd_pixel_out() {
        let values: Vec<u8> = (0..200u16)
            .map(|at| if at == 0 { 60_000 } else { 7_000 + at })
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(percentiles(&values), (7_002, 7_198));
        assert_eq!(percentiles(&[]), (0, 0));
    }
}
