use image::{DynamicImage, ImageFormat};

use super::*;

const HINTS: [SizeHint; 3] = [SizeHint::Small, SizeHint::Medium, SizeHint::Large];

fn decode(bytes: &[u8], format: ImageFormat) -> DynamicImage {
    image::load_from_memory_with_format(bytes, format).unwrap()
}

#[test]
fn visible_frames_are_colour_jpegs() {
    for size in HINTS {
        let jpeg = visible(12, 3, size);
        let picture = decode(&jpeg, ImageFormat::Jpeg);
        assert_eq!((picture.width(), picture.height()), (640, 480));
        let DynamicImage::ImageRgb8(picture) = picture else { panic!("not colour") };
        // The sky is blue and the meadow is green.
        let (sky, meadow) = (picture.get_pixel(5, 5).0, average(&picture, 0..40, 270..290));
        assert!(sky[2] >= sky[0], "{sky:?}");
        assert!(meadow[1] > meadow[0] + 10 && meadow[1] > meadow[2] + 10, "{meadow:?}");
    }
}

#[test]
fn infrared_frames_are_16_bit_pngs_with_warm_things() {
    for size in HINTS {
        let picture = decode(&infrared(12, 3, size), ImageFormat::Png);
        let DynamicImage::ImageLuma16(picture) = picture else { panic!("not 16-bit grey") };
        let counts: Vec<u16> = picture.pixels().map(|pixel| pixel.0[0]).collect();
        let hot = counts.iter().filter(|&&count| count > 45_000).count();
        let cold = counts.iter().filter(|&&count| count < 10_000).count();
        assert!(hot > counts.len() / 2_000, "{hot} hot pixels");
        assert!(hot < counts.len() / 10, "{hot} hot pixels");
        assert!(cold > counts.len() / 10, "{cold} cold pixels");
        // Truly more than 8 bits: most low bytes occur.
        let low_bytes: std::collections::BTreeSet<u8> =
            counts.iter().map(|count| *count as u8).collect();
        assert_eq!(low_bytes.len(), 64, "14 bits leave 64 values of the low byte");
    }
}

#[test]
fn sizes_are_about_what_was_asked_for() {
    for size in HINTS {
        for index in [0, 33, 500, 100_000] {
            for bytes in [visible(index, 9, size).len(), infrared(index, 9, size).len()] {
                let ratio = bytes as f64 / size.bytes() as f64;
                assert!((0.8..1.2).contains(&ratio), "{size:?} gave {bytes} bytes at {index}");
            }
        }
    }
}

#[test]
fn exact_sizes_are_exact_and_still_images() {
    let sizes = [4_096, 4_099, 15_000, 20_000, 60_000, 60_001, 230_001, 1_000_000];
    for bytes in sizes {
        for index in [0, 77] {
            let jpeg = of_size(bytes, index, 5, Kind::Visible);
            assert_eq!(jpeg.len(), bytes);
            decode(&jpeg, ImageFormat::Jpeg);
            let png = of_size(bytes, index, 5, Kind::Infrared);
            assert_eq!(png.len(), bytes);
            assert!(matches!(decode(&png, ImageFormat::Png), DynamicImage::ImageLuma16(_)));
        }
    }
}

#[test]
fn little_of_an_exact_size_is_filling() {
    for (bytes, index) in [(20_000, 0), (60_000, 31), (200_000, 77)] {
        let scene = Scene::at(index, 5);
        for made in [visible::jpeg_within(&scene, bytes), infrared::png_within(&scene, bytes)] {
            assert!(made.len() > bytes * 80 / 100, "{} of {bytes} bytes", made.len());
        }
    }
}

#[test]
fn least_images_still_open() {
    for bytes in [0, 1, 700, 2_000] {
        decode(&of_size(bytes, 3, 5, Kind::Visible), ImageFormat::Jpeg);
        let png = of_size(bytes, 3, 5, Kind::Infrared);
        decode(&png, ImageFormat::Png);
        assert!(png.len() < 4_000, "{}", png.len());
    }
}

#[test]
fn padding_of_any_length_keeps_the_image() {
    let jpeg = visible(0, 0, SizeHint::Small);
    let png = infrared(0, 0, SizeHint::Small);
    for more in (0..40).chain([65_530, 65_537, 65_538, 65_541, 131_074]) {
        let padded = padding::pad_jpeg(jpeg.clone(), jpeg.len() + more);
        assert_eq!(padded.len(), jpeg.len() + more);
        decode(&padded, ImageFormat::Jpeg);
        let padded = padding::pad_png(png.clone(), png.len() + more);
        assert!(padded.len() == png.len() + more || more < 12);
        decode(&padded, ImageFormat::Png);
    }
}

#[test]
fn the_same_frame_comes_out_again_and_others_differ() {
    let made = |index, seed| {
        (visible(index, seed, SizeHint::Small), infrared(index, seed, SizeHint::Small))
    };
    let first = made(7, 1);
    assert!(first == made(7, 1));
    for (index, seed) in [(8, 1), (7, 2), (u64::MAX, 1), (7, 1 << 40)] {
        let other = made(index, seed);
        assert!(first.0 != other.0 && first.1 != other.1, "{index} {seed}");
    }
}

#[test]
fn things_move_from_frame_to_frame() {
    let frames =
        [20, 21].map(|index| decode(&visible(index, 1, SizeHint::Large), ImageFormat::Jpeg));
    let [first, second] = frames.map(DynamicImage::into_rgb8);
    let changed = first.pixels().zip(second.pixels()).filter(|(first, second)| {
        (0..3).any(|channel| first.0[channel].abs_diff(second.0[channel]) > 25)
    });
    let changed = changed.count() as f64 / (640.0 * 480.0);
    assert!((0.01..0.6).contains(&changed), "{changed} of the pixels changed");
}

fn average(
    picture: &image::RgbImage,
    columns: std::ops::Range<u32>,
    rows: std::ops::Range<u32>,
) -> [u32; 3] {
    let places = rows.flat_map(|row| columns.clone().map(move |column| (column, row)));
    let pixels: Vec<[u8; 3]> = places.map(|(x, y)| picture.get_pixel(x, y).0).collect();
    [0, 1, 2].map(|channel| {
        pixels.iter().map(|pixel| u32::from(pixel[channel])).sum::<u32>() / pixels.len() as u32
    })
}
