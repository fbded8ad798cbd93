//! JPEGs and what cameras put behind them.

use super::*;

fn word(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap().to_be_bytes()
}

/// The index of a multi-picture file whose second picture is `place` bytes behind the index's header.
fn index(place: usize) -> Vec<u8> {
    let entry = |tag: u16, kind: u16, count: usize, value: usize| {
        [&tag.to_be_bytes()[..], &kind.to_be_bytes(), &word(count), &word(value)].concat()
    };
    let pictures = 8 + 2 + 12 * 3 + 4;
    let parts = [
        b"MPF\0MM\0*".to_vec(),
        word(8).to_vec(),
        vec![0, 3],
        entry(0xb000, 7, 4, 0),
        entry(0xb001, 4, 1, 2),
        entry(0xb002, 7, 32, pictures),
        word(0).to_vec(),
        [[0; 16], [0; 16]].concat(),
    ];
    let mut index = parts.concat();
    let at = 4 + pictures + 16 + 8;
    index[at..at + 4].copy_from_slice(&word(place));
    segment(0xe2, &index)
}

/// A picture with an index that names a second one, this many bytes behind its end.
fn indexed(pixels: usize, gap: usize) -> Vec<u8> {
    let whole = jpeg_of(&[exif(), index(0)], pixels);
    let base = 2 + exif().len() + 8;
    let first = jpeg_of(&[exif(), index(whole.len() + gap - base)], pixels);
    assert_eq!(first.len(), whole.len());
    first
}

/// A radiometric camera's picture.
fn radiometric(pixels: usize) -> Vec<u8> {
    let counts: Vec<Vec<u8>> = (0..11).map(|_| segment(0xe3, &vec![0xd8; 60_000])).collect();
    jpeg_of(&[exif(), counts.concat()], pixels)
}

#[test]
fn images_without_anything_behind_are_exact() {
    assert_exact(&[jpeg(1_000), jpeg(10), jpeg_of(&[exif()], 500), jpeg(70_000), jpeg_of(&[], 90)]);
}

#[test]
fn ends_and_beginnings_in_segments_are_none() {
    let flir: Vec<Vec<u8>> = (0..21)
        .map(|part| segment(0xe1, &[b"FLIR\0\x01".to_vec(), png(100), jpeg(part)].concat()))
        .collect();
    assert_exact(&[
        jpeg_of(&[jfif(), exif(), flir.concat()], 500),
        jpeg_of(&[flir.concat()], 30),
        jpeg(20),
    ]);
}

#[test]
fn progressive_scans_and_filling() {
    let more = [segment(0xc4, &[0; 17]), segment(0xda, &[1, 1, 0, 0, 63, 0]), vec![1, 0xff, 0, 2]]
        .concat();
    let mut several = jpeg(100);
    let end = several.split_off(several.len() - 2);
    several.extend([more, vec![0xff, 0xff, 0xff, 0xd9]].concat());
    assert_eq!(end, [0xff, 0xd9]);
    assert_exact(&[several.clone(), jpeg(10), several]);
}

#[test]
fn what_is_behind_an_end_belongs_to_the_frame() {
    let trailer = |bytes: usize| [vec![0xff, 0x10, 0xff, 0xd8, 0, 9], vec![3; bytes]].concat();
    let with = |bytes: usize| [jpeg_of(&[exif()], 300), trailer(bytes)].concat();
    assert_exact(&[with(67), with(2_641), with(33_000), jpeg_of(&[exif()], 100)]);
    // A picture in it that is no camera's next one.
    let depth = [jpeg_of(&[exif()], 300), trailer(500), jpeg(800), trailer(40)].concat();
    assert_exact(&[depth.clone(), depth.clone(), jpeg_of(&[exif()], 10)]);
    // Frames of programs have no such data.
    let plain = [jpeg(300), trailer(10)].concat();
    assert_exact(&[plain.clone(), plain, jpeg(20)]);
}

#[test]
fn second_pictures_that_an_index_names() {
    for gap in [0, 16, 3_700] {
        let frame = |pixels| {
            let stale =
                vec![0xffu8, 0xd8, 0xff, 0xe0, 1, 2].into_iter().cycle().take(gap).collect();
            [indexed(pixels, gap), stale, jpeg_of(&[exif()], 400), vec![5; 1_000]].concat()
        };
        assert_exact(&[frame(100), frame(5_000), jpeg_of(&[exif()], 10)]);
    }
}

#[test]
fn an_index_that_names_nothing_is_not_believed() {
    assert_exact(&[
        indexed(100, 50),
        jpeg_of(&[exif()], 300),
        indexed(200, 9),
        jpeg_of(&[exif()], 10),
    ]);
    // Far outside, in a frame of its own.
    let lies = jpeg_of(&[exif(), index(usize::try_from(u32::MAX).unwrap())], 100);
    assert_exact(&[lies.clone(), lies]);
}

#[test]
fn second_pictures_of_radiometric_cameras() {
    let frame = |stale: usize| {
        [radiometric(900), vec![0; stale], jpeg_of(&[jfif()], 500), vec![6; 2_000]].concat()
    };
    assert_exact(&[frame(0), frame(1_500), frame(3_700), radiometric(10)]);
    // Without one, the next frame is the next frame.
    assert_exact(&[radiometric(100), radiometric(10)]);
}

#[test]
fn gain_maps_that_the_header_speaks_of() {
    let xmp = segment(0xe1, b"http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version=\"1.0\"/>");
    let map = jpeg_of(std::slice::from_ref(&xmp), 200);
    let frame = [jpeg_of(&[exif(), xmp], 900), map].concat();
    assert_exact(&[frame.clone(), frame]);
}

#[test]
fn a_damaged_image_ends_itself_and_not_the_stream() {
    let whole = jpeg(2_000);
    // Without its end mark.
    let unended = &whole[..whole.len() - 2];
    let expected = vec![skipped(0, unended.len(), Why::Unended), image(&whole, Kind::Jpeg)];
    assert_eq!(cut(&[unended, &whole].concat()), expected);
    // Torn in a segment whose length goes into the next image.
    let camera = jpeg_of(&[exif()], 100);
    let torn = &camera[..200];
    let cuts = cut(&[torn, &camera, &whole].concat());
    assert_images(cuts.clone(), &[camera.clone(), whole.clone()]);
    assert!(matches!(cuts[0], Cut::Skipped { bytes: std::ops::Range { start: 0, end: 200 }, .. }));
    // Torn in a segment, with its thumbnail: that is no frame.
    let cuts = cut(&camera[..exif().len()]);
    assert!(images(cuts).is_empty());
}

#[test]
fn garbage_is_passed_over_and_told() {
    let garbage =
        [vec![0; 100], b"\xff\xd8\xff\x00 and \x89PNG\r\n".to_vec(), vec![0xff; 9]].concat();
    let cuts = cut(&[&garbage, &jpeg(50)[..], &png(10), &garbage, &jpeg(60)].concat());
    assert_eq!(
        cuts,
        [
            skipped(0, garbage.len(), Why::NoImage),
            image(&jpeg(50), Kind::Jpeg),
            image(&png(10), Kind::Png),
            skipped(garbage.len() + jpeg(50).len() + png(10).len(), garbage.len(), Why::NoImage),
            image(&jpeg(60), Kind::Jpeg),
        ]
    );
}

#[test]
fn an_image_beyond_the_limit_is_passed_over_with_all_that_is_in_it() {
    let large = [radiometric(50_000), vec![1; 100], jpeg(10), vec![2; 9]].concat();
    let camera = jpeg_of(&[exif()], 200);
    let input = [jpeg(100), large.clone(), camera.clone(), radiometric(9)].concat();
    for piece in [1_000, 65_536, 1 << 30] {
        let cuts = cut_in(&input, piece, Framing::Structure, 300_000);
        assert_images(cuts.clone(), &[jpeg(100), camera.clone()]);
        let whys: Vec<_> = cuts
            .iter()
            .filter(|cut| matches!(cut, Cut::Skipped { why: Why::TooLarge, .. }))
            .collect();
        assert_eq!(whys.len(), 2);
        assert_eq!(*whys[0], skipped(jpeg(100).len(), large.len(), Why::TooLarge));
    }
    // Exactly the limit is no more than it.
    let exact = jpeg(1_000);
    let cuts = cut_in(&[&exact[..], &exact].concat(), 500, Framing::Structure, exact.len() as u64);
    assert_images(cuts, &[exact.clone(), exact]);
}

#[test]
fn a_whole_image_goes_out_when_the_input_is_silent() {
    let mut cutter = Cutter::new(Framing::Structure, MOST);
    cutter.push(&jpeg(100)[..50]);
    assert_eq!((cutter.next(), cutter.patience()), (None, None));
    cutter.quiet();
    cutter.push(&jpeg(100)[50..]);
    assert_eq!(cutter.next(), None);
    assert!(cutter.patience().unwrap().as_millis() <= 5);
    cutter.quiet();
    assert_eq!(cutter.next(), Some(image(&jpeg(100), Kind::Jpeg)));
    // What comes too late belongs to nothing.
    cutter.push(b"trailer");
    assert_eq!(cutter.next(), None);
    cutter.push(&jpeg(10));
    assert_eq!(cutter.next(), None);
    // The next beginning is as good as silence.
    cutter.push(&jpeg(10)[..4]);
    assert_eq!(cutter.next(), Some(skipped(jpeg(100).len(), 7, Why::Late)));
    assert_eq!(cutter.next(), Some(image(&jpeg(10), Kind::Jpeg)));
    cutter.push(&jpeg(10)[4..]);
    cutter.push(b"tail\xff\xd8");
    assert_eq!(cutter.next(), None);
    cutter.quiet();
    assert_eq!(cutter.next(), Some(image(&[&jpeg(10)[..], b"tail"].concat(), Kind::Jpeg)));
    cutter.push(&jpeg(20)[2..]);
    cutter.finish();
    assert_eq!(cutter.next(), Some(image(&jpeg(20), Kind::Jpeg)));
    assert_eq!(cutter.next(), None);
}

#[test]
fn an_announced_picture_is_waited_for_longer() {
    let mut cutter = Cutter::new(Framing::Structure, MOST);
    cutter.push(&[indexed(100, 0), jpeg(900)[..50].to_vec()].concat());
    assert_eq!(cutter.next(), None);
    assert!(cutter.patience().unwrap().as_millis() >= 500);
}

#[test]
fn text_between_the_parts_of_a_stream_is_no_part_of_them() {
    let part = |pixels| {
        let head =
            format!("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {pixels}\r\n\r\n");
        [head.into_bytes(), jpeg(pixels), b"\r\n".to_vec()].concat()
    };
    let cuts = cut(&[part(100), part(2_000), b"--frame--\r\n".to_vec()].concat());
    assert_images(cuts.clone(), &[jpeg(100), jpeg(2_000)]);
    let texts = cuts.iter().filter(|cut| matches!(cut, Cut::Skipped { why: Why::Multipart, .. }));
    assert_eq!((texts.count(), cuts.len()), (3, 5));
}
