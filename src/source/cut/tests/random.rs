//! Whatever comes: no panic, no image that was not there, and the same cuts however it comes.

use proptest::prelude::*;

use super::*;

fn any_part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0usize..2_000).prop_map(jpeg),
        (0usize..500).prop_map(|pixels| jpeg_of(&[exif()], pixels)),
        (0usize..500).prop_map(png),
        (1usize..500, any::<bool>(), any::<bool>()).prop_map(|(a, b, c)| tiff(a, b, c)),
        proptest::collection::vec(any::<u8>(), 0..200),
        proptest::collection::vec(
            prop_oneof![Just(0xff), Just(0xd8), Just(0xe1), Just(0xd9), Just(0)],
            0..60
        ),
        (0usize..600, 0usize..2_000).prop_map(|(cut, pixels)| {
            let whole = jpeg(pixels);
            whole[..cut.min(whole.len())].to_vec()
        }),
        (0usize..300).prop_map(|cut| png(200)[..cut].to_vec()),
        (0usize..90).prop_map(|cut| tiff(40, true, false)[..cut].to_vec()),
        Just(b"\xff\x0a\x12\x34".to_vec()),
        Just(b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl ".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("CUT_CASES").ok().and_then(|c| c.parse().ok()).unwrap_or(200), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_cuts_are_the_same_however_the_input_comes(
        parts in proptest::collection::vec(any_part(), 0..6),
        sizes in proptest::collection::vec(1usize..3_000, 1..20),
        most in prop_oneof![Just(64usize << 20), 100usize..3_000],
    ) {
        let input = parts.concat();
        let most = most as u64;
        let whole = cut_in(&input, input.len().max(1), Framing::Structure, most);
        let mut cutter = Cutter::new(Framing::Structure, most);
        let (mut cuts, mut rest) = (Vec::new(), &input[..]);
        for size in sizes.iter().cycle() {
            let (now, later) = rest.split_at((*size).min(rest.len()));
            cutter.push(now);
            cuts.extend(std::iter::from_fn(|| cutter.next()));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        cutter.finish();
        cuts.extend(std::iter::from_fn(|| cutter.next()));
        prop_assert_eq!(&cuts, &whole);
        // Every byte is in an image or was told, in order.
        let mut at = 0;
        for cut in &cuts {
            match cut {
                Cut::Image { bytes, .. } => {
                    prop_assert_eq!(bytes, &input[at..at + bytes.len()]);
                    prop_assert!(bytes.len() as u64 <= most);
                    at += bytes.len();
                }
                Cut::Skipped { bytes, .. } => {
                    prop_assert_eq!(bytes.start, at as u64);
                    at = usize::try_from(bytes.end).unwrap();
                }
            }
        }
        prop_assert_eq!(at, input.len());
    }

    #[test]
    fn what_is_truncated_is_no_image(pixels in 0usize..400, cut_at in 0.0f64..1.0) {
        for whole in [jpeg(pixels), jpeg_of(&[exif()], pixels), png(pixels), tiff(pixels + 1, true, false), tiff(pixels + 1, false, true)] {
            let end = (whole.len() as f64 * cut_at) as usize;
            prop_assert!(images(cut(&whole[..end])).is_empty());
        }
    }

    #[test]
    fn silence_at_any_time_loses_nothing_but_tails(
        pixels in proptest::collection::vec(0usize..400, 1..5),
        size in 1usize..700,
    ) {
        let frames: Vec<_> = pixels.iter().map(|&pixels| [jpeg(pixels), png(pixels)]).collect::<Vec<_>>().concat();
        let mut cutter = Cutter::new(Framing::Structure, MOST);
        let mut cuts = Vec::new();
        for piece in frames.concat().chunks(size) {
            cutter.push(piece);
            cuts.extend(std::iter::from_fn(|| cutter.next()));
            cutter.quiet();
            cuts.extend(std::iter::from_fn(|| cutter.next()));
        }
        cutter.finish();
        cuts.extend(std::iter::from_fn(|| cutter.next()));
        prop_assert_eq!(images(cuts), frames);
    }
}
