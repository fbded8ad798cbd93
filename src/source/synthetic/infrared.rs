//! The infrared camera: 16-bit grey PNG.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use super::raster::{Grain, Raster};
use super::scene::{GRAVEL, ROAD, Scene, mix};

/// Counts a kelvin. The usual 100 would be exact too, but a plain viewer would show it all grey.
const COUNTS_PER_KELVIN: f32 = 1_100.0;
/// The temperature of count 0.
const COLDEST: f32 = -8.0;
/// The sensor's 14 bits are the upper ones of 16.
const SENSOR_STEP: u16 = 4;
/// Bytes a pixel of the PNG, measured.
const BYTES_PER_PIXEL: f64 = 1.36;

/// A PNG of about `bytes`.
pub(super) fn png(scene: &Scene, bytes: usize) -> Vec<u8> {
    picture(scene, bytes as f64 / BYTES_PER_PIXEL)
}

/// A PNG of at most `bytes`, and little less, unless the least picture is larger.
pub(super) fn png_within(scene: &Scene, bytes: usize) -> Vec<u8> {
    let mut pixels = 0.95 * bytes as f64 / BYTES_PER_PIXEL;
    loop {
        let png = picture(scene, pixels);
        if png.len() <= bytes || pixels < 100.0 {
            return png;
        }
        pixels *= 0.97 * bytes as f64 / png.len() as f64;
    }
}

/// A PNG of about so many pixels, aspect 5:4, at least 40 x 32.
fn picture(scene: &Scene, pixels: f64) -> Vec<u8> {
    let height = ((pixels * 0.8).sqrt() as usize).max(32);
    encode(&render(scene, height * 5 / 4, height))
}

fn encode(picture: &Raster<u16>) -> Vec<u8> {
    // The encoder takes 16-bit samples in the machine's own byte order.
    let samples: Vec<u8> = picture.pixels.iter().flat_map(|count| count.to_ne_bytes()).collect();
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Sub)
        .write_image(&samples, picture.width as u32, picture.height as u32, ExtendedColorType::L16)
        .expect("a picture of that many samples can be written to memory");
    png
}

fn render(scene: &Scene, width: usize, height: usize) -> Raster<u16> {
    let mut celsius = Raster::<f32>::new(width, height);
    for (y, row) in celsius.rows() {
        if y < scene.horizon {
            row.fill(-7.0 + 14.0 * (y / scene.horizon).powi(3));
        } else {
            ground_row(scene, y, row, height);
        }
    }
    celsius.fill(scene, |shape, u, v| {
        // Warm things are warmest in their middle.
        let edge = (0.5 * (u * u + v * v)).min(1.0);
        shape.celsius - 0.25 * (shape.celsius - 12.0) * edge
    });
    let mut grain = Grain::new(scene.grain);
    let pixels = celsius.pixels.iter().map(|celsius| counts(*celsius, &mut grain)).collect();
    Raster { width, height, pixels }
}

fn ground_row(scene: &Scene, y: f32, row: &mut [f32], height: usize) {
    let z = scene.distance(y);
    let across = Scene::metres_per_height(z) / height as f32;
    let start = -(row.len() as f32 / 2.0 + scene.vanishing * height as f32) * across;
    let along = ((f64::from(z) + scene.travel) * 1.3) as u32;
    let along = mix(along ^ scene.seed);
    let clear = (1.0 / (across * 2.0 + z * 0.08)).min(1.0);
    let haze = (z / 170.0).min(0.85);
    for (column, pixel) in row.iter_mut().enumerate() {
        let x = start + column as f32 * across;
        let patch = (mix((x * 1.3 + 40_000.0) as u32 ^ along) >> 24) as f32 / 256.0 - 0.5;
        let ground = match x.abs() {
            x if x < ROAD => 22.0 + 0.3 * patch,
            x if x < GRAVEL => 19.0 + 0.6 * patch,
            _ => 14.0 + 2.0 * patch * clear,
        };
        *pixel = ground + (12.0 - ground) * haze;
    }
}

/// What the sensor makes of a temperature: noise of about 0.02 K, and 14 bits.
fn counts(celsius: f32, grain: &mut Grain) -> u16 {
    let bits = grain.next();
    // The sum of four numbers is close enough to a normal distribution.
    let noise: i32 = (0..4).map(|part| (bits >> (8 * part) & 31) as i32).sum::<i32>() - 62;
    let counts = (celsius - COLDEST) * COUNTS_PER_KELVIN + noise as f32;
    counts as u16 / SENSOR_STEP * SENSOR_STEP
}
