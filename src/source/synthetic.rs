//! Generated frames that are real images: a drive along a road, seen by a visible and by an
//! infrared camera.
//!
//! Both cameras see the same scene at the same index: cars and people that are coloured shapes in
//! one are warm ones in the other. A frame depends on nothing but its index and the seed, so a
//! test can make again what was sent.

mod infrared;
mod padding;
mod raster;
mod scene;
mod visible;

use scene::Scene;

/// Which camera a frame is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Colour JPEG.
    Visible,
    /// 16-bit grey PNG; 1,100 counts a kelvin above -8 degrees Celsius, full at 51.5.
    Infrared,
}

/// About how large a frame should be; the image's content decides, within some 15 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SizeHint {
    /// About 20 kB: visible 640 x 480 strongly compressed, infrared about 135 x 108.
    Small,
    /// About 60 kB: visible 640 x 480, infrared about 235 x 188.
    #[default]
    Medium,
    /// About 200 kB: visible 640 x 480 hardly compressed, infrared about 430 x 343.
    Large,
}

impl SizeHint {
    /// The size meant, in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Small => 20_000,
            Self::Medium => 60_000,
            Self::Large => 200_000,
        }
    }
}

/// Frame `index` of the visible camera: a colour JPEG.
pub fn visible(index: u64, seed: u64, size: SizeHint) -> Vec<u8> {
    visible::jpeg(&Scene::at(index, seed), size.bytes())
}

/// Frame `index` of the infrared camera: a 16-bit grey PNG.
pub fn infrared(index: u64, seed: u64, size: SizeHint) -> Vec<u8> {
    infrared::png(&Scene::at(index, seed), size.bytes())
}

/// A frame of exactly `bytes` bytes, for measurements in which the size must not vary.
///
/// The image itself comes close to the size and is filled up with a comment segment (JPEG) or an
/// ancillary chunk (PNG), which viewers skip. Below 4 kB the frame may be larger than asked for,
/// as there is a least image; above 32 MB the size is taken as 32 MB.
pub fn of_size(bytes: usize, index: u64, seed: u64, kind: Kind) -> Vec<u8> {
    let bytes = bytes.min(MAX_BYTES);
    let scene = Scene::at(index, seed);
    match kind {
        Kind::Visible => padding::pad_jpeg(visible::jpeg_within(&scene, bytes), bytes),
        Kind::Infrared => padding::pad_png(infrared::png_within(&scene, bytes), bytes),
    }
}

/// The largest frame made, in bytes.
const MAX_BYTES: usize = 32_000_000;

#[cfg(test)]
mod tests;
