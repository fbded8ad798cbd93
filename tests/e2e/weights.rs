//! Sources share a link that is too slow for all of them in proportion to their weights.

use crate::support::{Place, Receiver, Relay};

#[test]
fn in_bulk_a_source_of_weight_3_gets_three_times_as_much() {
    let meanwhile = stored_beside_45(&["--weight", "visible=3"]);
    assert!((8..=23).contains(&meanwhile), "{meanwhile} beside 45");
}

#[test]
fn sources_without_weights_share_alike() {
    let meanwhile = stored_beside_45(&[]);
    assert!((36..=54).contains(&meanwhile), "{meanwhile} beside 45");
}

/// Sends two sources of 60 frames over a narrow link. Gives how many frames of `infrared` were
/// stored by the time at which 45 of `visible` were.
fn stored_beside_45(args: &[&str]) -> usize {
    let place = Place::new();
    for source in ["visible", "infrared"] {
        place.frames(source, 60, 50_000);
    }
    let receiver = Receiver::start(&place, &[]);
    let relay = Relay::start(receiver.address(), 8e6);
    receiver.send_over(&relay, &["visible", "infrared"], args).expect(0);
    place.assert_stored("visible");
    place.assert_stored("infrared");
    let when = stored(&place, "visible")[44];
    stored(&place, "infrared").iter().filter(|&&other| other <= when).count()
}

/// When each frame of a source was stored, in that order.
fn stored(place: &Place, source: &str) -> Vec<u64> {
    let lines = place.manifest(source);
    lines.iter().map(|line| line["stored_unix_ns"].as_u64().expect("a time")).collect()
}
