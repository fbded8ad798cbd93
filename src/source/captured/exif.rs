//! The time that a camera wrote into an image.

use std::io::Cursor;

use exif::{DateTime, Exif, In, Reader, Tag, Value};

use super::{Stamp, calendar, pattern};

/// When the image was taken, as its camera says; `None` where it does not.
pub(super) fn read(image: &[u8]) -> Option<Stamp> {
    let exif = Reader::new().read_from_container(&mut Cursor::new(image)).ok()?;
    let original = [Tag::DateTimeOriginal, Tag::SubSecTimeOriginal, Tag::OffsetTimeOriginal];
    let digitized = [Tag::DateTimeDigitized, Tag::SubSecTimeDigitized, Tag::OffsetTimeDigitized];
    [original, digitized].iter().find_map(|tags| stamp(&exif, tags))
}

fn stamp(exif: &Exif, [date, fraction, offset]: &[Tag; 3]) -> Option<Stamp> {
    let text = |tag| match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Ascii(texts) => texts.first().map(Vec::as_slice),
        _ => None,
    };
    let mut time = DateTime::from_ascii(text(*date)?).ok()?;
    let fraction = text(*fraction).map(<[u8]>::trim_ascii_end).filter(|text| !text.is_empty());
    let digits = fraction.filter(|text| time.parse_subsec(text).is_ok()).map_or(0, <[u8]>::len);
    let month = time::Month::try_from(time.month).ok()?;
    let date = time::Date::from_calendar_date(i32::from(time.year), month, time.day).ok()?;
    let nanos = time.nanosecond.unwrap_or(0);
    let local = calendar(date, (time.hour, time.minute, time.second), nanos)?;
    let unit = 10_u64.pow(9_u32.saturating_sub(u32::try_from(digits).unwrap_or(9)));
    // What is no offset says nothing, and spoils nothing.
    let offset = text(*offset).map(<[u8]>::trim_ascii_end).and_then(|text| {
        pattern::offset(text)
            .filter(|(_, length)| *length == text.len())
            .map(|(seconds, _)| seconds)
    });
    Some(Stamp { local, offset, unit })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A TIFF with nothing but a camera's times in it.
    pub(in crate::source) fn image(fields: &[(u16, &str)]) -> Vec<u8> {
        let word = |value: usize| u32::try_from(value).unwrap().to_be_bytes();
        let entry = |tag: u16, kind: u16, count: usize, value: [u8; 4]| {
            [&tag.to_be_bytes()[..], &kind.to_be_bytes(), &word(count), &value].concat()
        };
        let count = u16::try_from(fields.len()).unwrap().to_be_bytes();
        let first = [vec![0, 1], entry(0x8769, 4, 1, word(26)), vec![0; 4]].concat();
        let (mut entries, mut texts) = (Vec::new(), Vec::new());
        let texts_at = 26 + 2 + 12 * fields.len() + 4;
        for (tag, text) in fields {
            let text = [text.as_bytes(), &[0]].concat();
            let value = match text.len() {
                0..=4 => [&text[..], &[0; 4]].concat()[..4].try_into().unwrap(),
                _ => word(texts_at + texts.len()),
            };
            entries.extend(entry(*tag, 2, text.len(), value));
            if text.len() > 4 {
                texts.extend(text);
            }
        }
        [b"MM\0*".to_vec(), word(8).to_vec(), first, count.to_vec(), entries, vec![0; 4], texts]
            .concat()
    }

    #[test]
    fn a_cameras_time_with_its_fraction_and_offset() {
        let at = 1_795_983_093_000_000_000;
        let date = (0x9003, "2026:11:29 20:11:33");
        for (fields, expected) in [
            (vec![date], Some((at, None, 1_000_000_000))),
            (vec![date, (0x9291, "12 ")], Some((at + 120_000_000, None, 10_000_000))),
            (
                vec![date, (0x9011, "+02:00"), (0x9291, "123456")],
                Some((at + 123_456_000, Some(7_200), 1_000)),
            ),
            (vec![date, (0x9291, "no")], Some((at, None, 1_000_000_000))),
            (vec![date, (0x9011, "-05:30")], Some((at, Some(-19_800), 1_000_000_000))),
            (vec![date, (0x9011, "-99:99")], Some((at, None, 1_000_000_000))),
            (vec![date, (0x9011, "+24:00")], Some((at, None, 1_000_000_000))),
            (vec![date, (0x9011, "+02:60")], Some((at, None, 1_000_000_000))),
            (vec![date, (0x9011, "   :  ")], Some((at, None, 1_000_000_000))),
            (vec![(0x9004, "2026:11:29 20:11:33")], Some((at, None, 1_000_000_000))),
            (vec![(0x9003, "0000:00:00 00:00:00")], None),
            (vec![(0x9003, "    :  :     :  :  ")], None),
        ] {
            let mut fields = fields;
            fields.sort_by_key(|(tag, _)| *tag);
            let stamp = read(&image(&fields));
            let expected = expected.map(|(local, offset, unit)| Stamp { local, offset, unit });
            assert_eq!(stamp, expected, "{fields:?}");
        }
        assert_eq!(read(b"no image"), None);
    }
}
