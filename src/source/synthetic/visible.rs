//! The visible camera: colour JPEG.

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use super::raster::{Grain, Raster};
use super::scene::{GRAVEL, HAZE, ROAD, Scene, mix};

/// Bytes of a 640 x 480 picture of this scene by JPEG quality, measured, rising.
const SIZE_BY_QUALITY: [(usize, u8); 10] = [
    (10_300, 5),
    (12_200, 10),
    (19_700, 30),
    (26_300, 50),
    (35_700, 70),
    (46_200, 80),
    (73_600, 90),
    (120_800, 95),
    (179_000, 98),
    (217_400, 99),
];
/// The picture that those sizes belong to.
const USUAL: (usize, usize) = (640, 480);
/// Bytes for which the usual picture is right; others get a smaller or a larger one.
const USUAL_BYTES: std::ops::RangeInclusive<usize> = 15_000..=230_000;
/// Bytes a pixel of those other pictures.
const BYTES_PER_PIXEL: f64 = 0.2;

/// A JPEG of about `bytes`.
pub(super) fn jpeg(scene: &Scene, bytes: usize) -> Vec<u8> {
    let (width, height) = dimensions(bytes);
    encode(&render(scene, width, height), quality_for(bytes, width * height))
}

/// A JPEG of at most `bytes`, and little less, unless the least picture is larger.
pub(super) fn jpeg_within(scene: &Scene, bytes: usize) -> Vec<u8> {
    let (width, height) = dimensions(bytes);
    let picture = render(scene, width, height);
    let mut aim = bytes * 93 / 100;
    loop {
        let quality = quality_for(aim, width * height);
        let jpeg = encode(&picture, quality);
        if jpeg.len() <= bytes || quality <= 1 {
            return jpeg;
        }
        // The next lower quality at least.
        while aim > 0 && quality_for(aim, width * height) >= quality {
            aim = aim * 97 / 100;
        }
    }
}

fn dimensions(bytes: usize) -> (usize, usize) {
    if USUAL_BYTES.contains(&bytes) {
        return USUAL;
    }
    // Aspect 4:3, at least 64 x 48.
    let pixels = bytes as f64 / BYTES_PER_PIXEL;
    let height = ((pixels * 0.75).sqrt() as usize / 16 * 16).max(48);
    (height * 4 / 3 / 16 * 16, height)
}

/// The quality that gives about so many bytes, between the measured ones in proportion.
fn quality_for(bytes: usize, pixels: usize) -> u8 {
    let usual = bytes as f64 * (USUAL.0 * USUAL.1) as f64 / pixels.max(1) as f64;
    let (mut below, mut low) = (0.0, 1.0);
    for (size, quality) in SIZE_BY_QUALITY {
        let (size, quality) = (size as f64, f64::from(quality));
        if usual < size {
            return (low + (quality - low) * (usual - below) / (size - below)) as u8;
        }
        (below, low) = (size, quality);
    }
    99
}

fn encode(picture: &Raster<[u8; 3]>, quality: u8) -> Vec<u8> {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, quality)
        .encode(
            picture.pixels.as_flattened(),
            picture.width as u32,
            picture.height as u32,
            ExtendedColorType::Rgb8,
        )
        .expect("a picture of at most 65,535 pixels a side can be written to memory");
    jpeg
}

fn render(scene: &Scene, width: usize, height: usize) -> Raster<[u8; 3]> {
    let mut picture = Raster::new(width, height);
    let mut grain = Grain::new(scene.grain);
    let skyline = skyline(scene, width, height);
    for (y, row) in picture.rows() {
        if y < scene.horizon {
            sky_row(scene, y, row, &skyline, height);
        } else {
            ground_row(scene, y, row, height);
        }
    }
    picture.fill(scene, |shape, u, v| {
        // Lit from above and a little from the left.
        let light = 1.0 - 0.14 * v - 0.08 * u;
        shape.rgb.map(|channel| (f32::from(channel) * light) as u8)
    });
    for pixel in &mut picture.pixels {
        let noise = (grain.next() >> 29) as u8;
        *pixel = pixel.map(|channel| channel.saturating_add(noise).saturating_sub(3));
    }
    picture
}

/// Where hills begin in each column, in picture heights.
fn skyline(scene: &Scene, width: usize, height: usize) -> Vec<f32> {
    (0..width)
        .map(|column| {
            let x = (column as f32 - width as f32 / 2.0) / height as f32 - scene.vanishing;
            let hills = (x * 3.1 + 0.4).sin() + 0.5 * (x * 7.7).sin() + 0.2 * (x * 19.0).sin();
            scene.horizon - 0.045 - 0.022 * hills
        })
        .collect()
}

fn sky_row(scene: &Scene, y: f32, row: &mut [[u8; 3]], skyline: &[f32], height: usize) {
    let down = y / scene.horizon;
    let sky = [88.0 + 96.0 * down, 136.0 + 64.0 * down, 196.0 + 20.0 * down];
    let drift = scene.travel as f32 * 0.002;
    let middle = row.len() as f32 / 2.0;
    let cloud_at = |column: usize| {
        let x = (column as f32 - middle) / height as f32;
        cloud(x * 2.2 + drift, y * 7.0, scene.seed)
    };
    // Clouds are smooth, so one in eight columns is enough, and the rest in proportion.
    let mut next = cloud_at(0);
    for (block, (pixels, hills)) in row.chunks_mut(8).zip(skyline.chunks(8)).enumerate() {
        let here = std::mem::replace(&mut next, cloud_at(block * 8 + 8));
        for (column, (pixel, hills)) in pixels.iter_mut().zip(hills).enumerate() {
            *pixel = if y > *hills {
                let near = (y - hills) * 700.0;
                [122.0 - near, 142.0 - near * 0.6, 146.0 - near].map(|channel| channel as u8)
            } else {
                let cloud = here + (next - here) * column as f32 / 8.0;
                sky.map(|channel| (channel + (246.0 - channel) * cloud) as u8)
            };
        }
    }
}

/// How much cloud there is, 0 to 1.
fn cloud(x: f32, y: f32, seed: u32) -> f32 {
    let coarse = smooth_noise(x * 1.5, y, seed);
    let fine = smooth_noise(x * 5.0, y * 3.0, seed ^ 77);
    ((coarse * 0.75 + fine * 0.25 - 0.5) * 2.6).clamp(0.0, 0.9)
}

/// Noise between 0 and 1 that is smooth over a distance of 1.
fn smooth_noise(x: f32, y: f32, seed: u32) -> f32 {
    let (column, row) = (x.floor(), y.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (ease(x - column), ease(y - row));
    let at = |dx: i32, dy: i32| {
        let cell = mix((column as i32 + dx) as u32 ^ mix((row as i32 + dy) as u32 ^ seed));
        (cell >> 16) as f32 / 65_536.0
    };
    let (top, bottom) =
        (at(0, 0) + (at(1, 0) - at(0, 0)) * u, at(0, 1) + (at(1, 1) - at(0, 1)) * u);
    top + (bottom - top) * v
}

fn ground_row(scene: &Scene, y: f32, row: &mut [[u8; 3]], height: usize) {
    let z = scene.distance(y);
    let across = Scene::metres_per_height(z) / height as f32;
    let start = -(row.len() as f32 / 2.0 + scene.vanishing * height as f32) * across;
    let along = f64::from(z) + scene.travel;
    let (fine, coarse) = ((along * 9.0) as u32, (along * 1.3) as u32);
    let (fine, coarse) = (mix(fine ^ scene.seed), mix(coarse ^ scene.seed));
    let dash = along.rem_euclid(9.0) < 4.0;
    // Texture finer than a pixel would only flicker.
    let clear = (0.35 / (across * 9.0 + z * z * 0.004)).min(1.0);
    let haze = (z / 170.0).min(0.85);
    let (mut cell, mut texture, mut patch) = (u32::MAX, 0.0, 0.0);
    for (column, pixel) in row.iter_mut().enumerate() {
        let x = start + column as f32 * across;
        let here = ((x + 4_000.0) * 9.0) as u32;
        // Near the camera many pixels share a speckle.
        if here != cell {
            cell = here;
            texture = ((mix(here ^ fine) >> 24) as f32 - 128.0) * clear / 128.0;
            patch = ((mix((here / 7) ^ coarse) >> 24) as f32 - 128.0) * clear / 128.0;
        }
        let colour = surface(x.abs(), dash, texture, patch);
        *pixel = [0, 1, 2].map(|c| (colour[c] + (f32::from(HAZE[c]) - colour[c]) * haze) as u8);
    }
}

/// The colour of the ground at a distance from the road's middle.
fn surface(x: f32, dash: bool, texture: f32, patch: f32) -> [f32; 3] {
    let marking = (x < 0.09 && dash) || (x - ROAD + 0.35).abs() < 0.07;
    if marking {
        [224.0 + 10.0 * texture; 3]
    } else if x < ROAD {
        let grey = 84.0 + 13.0 * texture + 3.0 * patch;
        [grey, grey, grey + 3.0]
    } else if x < GRAVEL {
        let grey = 132.0 + 26.0 * texture;
        [grey, grey - 8.0, grey - 22.0]
    } else {
        [
            86.0 + 20.0 * texture + 12.0 * patch,
            116.0 + 26.0 * texture + 8.0 * patch,
            58.0 + 14.0 * texture,
        ]
    }
}
