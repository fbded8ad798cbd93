//! PNG, TIFF, raw frames, lengths.

use super::*;

#[test]
fn pngs_and_tiffs_are_exact() {
    assert_exact(&[png(0), png(10_000), png(3)]);
    for is_directory_last in [false, true] {
        for is_big_endian in [false, true] {
            let tiff = |pixels| tiff(pixels, is_directory_last, is_big_endian);
            assert_exact(&[tiff(640 * 512 * 2), tiff(1), tiff(99)]);
        }
    }
    assert_exact(&[tiff(500, true, false), png(20), jpeg(30), tiff(7, false, true), jpeg(5)]);
}

#[test]
fn a_png_goes_out_at_its_last_byte() {
    let mut cutter = Cutter::new(Framing::Structure, MOST);
    cutter.push(&png(100));
    assert_eq!(cutter.next(), Some(image(&png(100), Kind::Png)));
}

#[test]
fn a_tiff_of_several_pages_and_smaller_images() {
    // A page, its smaller image by tag 330, and a second page, each with pixels in front of it.
    let word = |value: usize| u32::try_from(value).unwrap().to_le_bytes();
    let entry = |tag: u16, value: usize| {
        [&tag.to_le_bytes()[..], &4u16.to_le_bytes(), &word(1), &word(value)].concat()
    };
    let page = |at: usize, further: usize, next: usize| {
        let entries = [entry(273, at - 100), entry(279, 100), entry(330, further)].concat();
        [&3u16.to_le_bytes()[..], &entries, &word(next)].concat()
    };
    let length = 100 + page(200, 0, 0).len();
    let at = |index: usize| 8 + index * length + 100;
    let tiff = [
        b"II*\0".to_vec(),
        word(at(0)).to_vec(),
        [vec![1; 100], page(at(0), at(2), at(1))].concat(),
        [vec![2; 100], page(at(1), 0, 0)].concat(),
        [vec![3; 100], page(at(2), 0, at(0))].concat(),
    ]
    .concat();
    assert_exact(&[tiff.clone(), tiff.clone(), jpeg(9)]);
    // Some bytes of padding.
    assert_exact(&[[tiff.clone(), vec![0; 4]].concat(), [tiff.clone(), vec![0; 4]].concat(), tiff]);
}

#[test]
fn a_big_tiff() {
    let long = |value: u64| value.to_le_bytes();
    let entry = |tag: u16, value: u64| {
        [&tag.to_le_bytes()[..], &16u16.to_le_bytes(), &long(1), &long(value)].concat()
    };
    let tiff = [
        b"II+\0\x08\0\0\0".to_vec(),
        long(16).to_vec(),
        long(2).to_vec(),
        entry(273, 16 + 8 + 40 + 8),
        entry(279, 5_000),
        long(0).to_vec(),
        vec![9; 5_000],
    ]
    .concat();
    assert_exact(&[tiff.clone(), tiff]);
}

#[test]
fn a_directory_that_points_outside_ends_itself_and_not_the_stream() {
    let mut lies = tiff(1_000, false, false);
    // The strip's place.
    let at = 8 + 2 + 12 * 2 + 8;
    lies[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let good = tiff(300, true, false);
    let input = [lies.clone(), good.clone(), jpeg(10)].concat();
    let cuts = cut_in(&input, 100, Framing::Structure, 1_000_000);
    assert_images(cuts.clone(), &[good, jpeg(10)]);
    assert!(matches!(cuts[0], Cut::Skipped { why: Why::Damaged(_), .. }), "{:?}", cuts[0]);
    // One that is only too large is passed over by its length.
    let cuts = cut_in(&[tiff(5_000, false, true), png(7)].concat(), 50, Framing::Structure, 1_000);
    assert_eq!(cuts[0], skipped(0, tiff(5_000, false, true).len(), Why::TooLarge));
    assert_eq!(cuts[1], image(&png(7), Kind::Png));
}

#[test]
fn damaged_pngs_end_themselves_and_not_the_stream() {
    let good = png_of(&[7; 1_200]);
    let mut wrong_checksum = good.clone();
    wrong_checksum[500] ^= 1;
    let mut wrong_length = good.clone();
    wrong_length[36] = 5;
    let mut huge_length = good.clone();
    huge_length[33] = 0x7f;
    for bad in [wrong_checksum, wrong_length, huge_length, good[..600].to_vec()] {
        let cuts = cut_in(&[&bad[..], &good, &good].concat(), 64, Framing::Structure, 100_000);
        assert_images(cuts.clone(), &[good.clone(), good.clone()]);
        assert_eq!(cuts.len(), 3, "{cuts:?}");
    }
    assert_eq!(cut(&good[..600]), [skipped(0, 600, Why::Truncated)]);
}

#[test]
fn animations_are_refused_in_words() {
    let unsigned = [png_chunk(b"fcTL", &[0; 26]), png_chunk(b"IDAT", &[1; 500])].concat();
    let cuts = cut(&[unsigned.clone(), unsigned].concat());
    let [Cut::Skipped { why, .. }] = &cuts[..] else { panic!("{cuts:?}") };
    assert!(why.to_string().contains("-c:v png"), "{why}");
    // A file, and what a pipe gets, whose end is not known when it begins.
    for (frames, next) in [([0, 0, 0, 2], jpeg(40)), ([0xff; 4], png(5))] {
        let mut animation = png(10);
        animation.splice(33..33, png_chunk(b"acTL", &[frames, [0, 0, 0, 1]].concat()));
        let cuts = cut(&[&animation[..], &next].concat());
        assert_eq!(cuts[0], skipped(0, animation.len(), Why::Animation));
        assert_images(cuts, &[next]);
    }
}

#[test]
fn raw_frames_have_their_size() {
    let size: crate::source::cut::RawSize = "4x3x2".parse().unwrap();
    let framing = Framing::Raw(size.frame_bytes());
    let input: Vec<u8> = (0..60).collect();
    let cuts = cut_in(&input, 7, framing, MOST);
    assert_eq!(cuts[..2], [image(&input[..24], Kind::Raw), image(&input[24..48], Kind::Raw)]);
    assert_eq!(cuts[2..], [skipped(48, 12, Why::Truncated)]);
    for text in ["", "640x512", "0x512x2", "640x512x2x1", "axbxc", "-1x2x3"] {
        assert!(text.parse::<crate::source::cut::RawSize>().is_err(), "{text}");
    }
}

#[test]
fn lengths_leave_no_doubt() {
    let unended = &jpeg(50)[..100];
    let binary = |of: &[u8]| [&u32::try_from(of.len()).unwrap().to_be_bytes()[..], of].concat();
    let decimal = |of: &[u8]| [format!("{}\n", of.len()).as_bytes(), of].concat();
    let input =
        [binary(unended), decimal(b"anything"), decimal(&png(9)), binary(&jpeg(8))].concat();
    for piece in [1, 3, 1_000] {
        assert_eq!(
            cut_in(&input, piece, Framing::Length, MOST),
            [
                image(unended, Kind::Jpeg),
                image(b"anything", Kind::Other),
                image(&png(9), Kind::Png),
                image(&jpeg(8), Kind::Jpeg)
            ]
        );
    }
    let input = [decimal(&[7; 2_000]), binary(&jpeg(8)), b"10\nabc".to_vec()].concat();
    let cuts = cut_in(&input, 99, Framing::Length, 1_000);
    assert_eq!(
        cuts,
        [
            skipped(0, 2_005, Why::TooLarge),
            image(&jpeg(8), Kind::Jpeg),
            skipped(2_005 + 4 + jpeg(8).len(), 6, Why::Truncated)
        ]
    );
    let cuts = cut_in(b"12 apples", 2, Framing::Length, 1_000);
    assert_eq!(cuts, [skipped(0, 9, Why::NoLength)]);
}
