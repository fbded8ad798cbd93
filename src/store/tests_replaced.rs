//! What is counted of frames that were replaced.

use super::*;

#[test]
fn a_frame_that_was_replaced_is_counted_once() {
    for layout in [Layout::Flat, Layout::Day] {
        let keep = Keep { bytes: Some(ByteSize(40)), ..Keep::default() };
        let kept = Kept::new(layout, keep);
        let mut store = kept.source();
        later(9 * DAY);
        // Five bytes each, and the first one five times.
        stored(&mut store, &[at(0, 0), at(1, 0), at(2, 1)]);
        for other in 0..4_u8 {
            let mut again = at(0, 0);
            let body = vec![b'a' + other; 5];
            again.frame.meta.hash = Some(blake3::hash(&body));
            (again.frame.body, again.replace) = (body.into(), true);
            stored(&mut store, &[again]);
        }
        let days = || -> Vec<_> {
            let slot = kept.seats.slot(&source());
            let seat = slot.seat();
            let stock = seat.as_ref().unwrap().stock();
            stock.iter().map(|day| (day.frames, day.bytes, day.lines)).collect()
        };
        assert_eq!(days(), [(2, 10, 6), (1, 5, 1)], "{layout}");
        later(QUIET + 1_000_000);
        kept.remove();
        assert_eq!(files(&kept.visible()).len(), 3, "{layout}: 15 of 40 bytes are there");
        // It is what the next receiver counts, too.
        drop(store);
        let mut store = kept.source();
        assert_eq!(days(), [(2, 10, 6), (1, 5, 1)], "{layout}");
        assert_eq!(OpenSource::held(&mut store), Some(3));
        stored(&mut store, &(10..15).map(|number| at(number, 2)).collect::<Vec<_>>());
        later(QUIET + 1_000_000);
        kept.remove();
        assert_eq!(files(&kept.visible()).len(), 6, "{layout}: 45 were there");
        assert_eq!(OpenSource::held(&mut store), Some(6));
    }
}
