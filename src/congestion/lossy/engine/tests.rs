use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::Engine;

/// Anything quinn could tell a controller, and some things it could not.
#[derive(Debug, Clone)]
enum Happening {
    Wait { micros: u64 },
    Sent { bytes: u64 },
    Acked { age_micros: u64, bytes: u64, app_limited: bool },
    EndOfAcks { in_flight: u64 },
    Lost { age_micros: u64, bytes: u64 },
    Marked { age_micros: u64 },
    Mtu { mtu: u16 },
}

fn happening() -> impl Strategy<Value = Happening> {
    let bytes = prop_oneof![0..20_000u64, Just(0), any::<u64>()];
    let age = prop_oneof![0..300_000u64, 0..100_000_000u64];
    let micros = prop_oneof![0..5_000u64, 0..200_000u64, 0..20_000_000u64];
    prop_oneof![
        3 => micros.prop_map(|micros| Happening::Wait { micros }),
        4 => bytes.clone().prop_map(|bytes| Happening::Sent { bytes }),
        4 => (age.clone(), bytes.clone(), any::<bool>()).prop_map(
            |(age_micros, bytes, app_limited)| Happening::Acked { age_micros, bytes, app_limited }
        ),
        4 => bytes.clone().prop_map(|in_flight| Happening::EndOfAcks { in_flight }),
        1 => age.clone().prop_map(|age_micros| Happening::Marked { age_micros }),
        2 => (age, bytes).prop_map(|(age_micros, bytes)| Happening::Lost { age_micros, bytes }),
        1 => any::<u16>().prop_map(|mtu| Happening::Mtu { mtu }),
    ]
}

fn apply(engine: &mut Engine, epoch: Instant, now: &mut Instant, happening: &Happening) {
    // A packet's send time lies in the past, but not before the connection; sometimes it is wrong.
    let before = |micros| now.checked_sub(Duration::from_micros(micros)).unwrap_or(epoch);
    match happening {
        Happening::Wait { micros } => *now += Duration::from_micros(*micros),
        Happening::Sent { bytes } => engine.on_sent(*now, *bytes),
        Happening::Acked { age_micros, bytes, app_limited } => {
            let srtt = Duration::from_micros(*age_micros);
            engine.on_ack(before(*age_micros), *bytes, *app_limited, srtt);
        }
        Happening::EndOfAcks { in_flight } => engine.on_end_acks(*now, *in_flight),
        Happening::Lost { age_micros, bytes } => engine.on_loss(before(*age_micros), *bytes),
        Happening::Marked { age_micros } => engine.on_mark(*now, before(*age_micros)),
        Happening::Mtu { mtu } => engine.on_mtu(*mtu),
    }
}

proptest! {
    #[test]
    fn no_sequence_of_events_closes_the_window(
        events in vec(happening(), 0..400),
        packets in any::<u64>(),
        mtu in any::<u16>(),
        seed in any::<u64>(),
    ) {
        let epoch = Instant::now();
        let mut now = epoch;
        let mut engine = Engine::new(now, mtu, packets, seed);
        for event in &events {
            apply(&mut engine, epoch, &mut now, event);
            prop_assert!(engine.window >= 4 * engine.mtu);
            prop_assert!(engine.window(now) > 0);
            prop_assert!(engine.window(now + Duration::from_secs(3600)) > 0);
            if let Some(event) = engine.take_event(now) {
                prop_assert!(event.bandwidth.is_finite() && event.delivery_rate.is_finite());
                prop_assert!((0.0..1.0).contains(&event.base_loss));
            }
        }
    }
}

/// One whose only packet, sent at `start`, was acknowledged 20 ms later.
fn answered_after_20_ms(start: Instant, app_limited: bool) -> Engine {
    let mut engine = Engine::new(start, 1200, 100, 1);
    engine.on_sent(start, 1200);
    engine.on_ack(start, 1200, app_limited, Duration::from_millis(20));
    engine.on_end_acks(start + Duration::from_millis(20), 0);
    engine
}

#[test]
fn acknowledgements_alone_are_not_an_outage() {
    let start = Instant::now();
    let ms = |ms| start + Duration::from_millis(ms);
    let mut engine = answered_after_20_ms(start, true);
    let open = engine.window(ms(20));
    for at in 1..100 {
        engine.on_sent(ms(20 + at * 25), 40);
    }
    assert_eq!(engine.window(ms(10_000)), open);
}

#[test]
fn in_an_outage_two_packets_leave_every_25_ms() {
    let start = Instant::now();
    let ms = |ms| start + Duration::from_millis(ms);
    let mut engine = answered_after_20_ms(start, false);
    engine.on_sent(ms(20), 90_000);
    let mut in_flight = 90_000;
    let mut left = 0;
    for at in 21..2_021 {
        // quinn sends while a whole packet and one byte more are free.
        while in_flight + 1200 < engine.window(ms(at)) && at > 300 {
            in_flight += 1200;
            left += 1;
            engine.on_sent(ms(at), 1200);
        }
    }
    let expected = (2_021 - 300) / 25;
    assert!((expected..=3 * expected).contains(&left), "{left}");
}

#[test]
fn an_acknowledgement_from_before_an_outage_does_not_end_the_probing() {
    let start = Instant::now();
    let ms = |ms| start + Duration::from_millis(ms);
    let mut engine = answered_after_20_ms(start, false);
    engine.on_sent(ms(20), 90_000);
    assert!(engine.in_outage(ms(1_000)));
    // It had come, but its acknowledgement was lost; all that was sent since is lost as well.
    engine.on_ack(ms(20), 1200, false, Duration::from_millis(140));
    engine.on_end_acks(ms(1_000), 88_800);
    assert!(engine.in_outage(ms(1_001)));
    assert!(engine.window(ms(1_030)) > 88_800 + 1200);
    engine.on_sent(ms(1_030), 2_400);
    engine.on_ack(ms(1_030), 2_400, false, Duration::from_millis(125));
    engine.on_end_acks(ms(1_050), 0);
    assert!(!engine.in_outage(ms(1_060)));
}

#[test]
fn the_rate_is_only_known_to_be_no_less_while_starting() {
    let start = Instant::now();
    let mut engine = answered_after_20_ms(start, false);
    assert!(engine.bandwidth().is_some() && engine.is_starting());
    for round in 1..20 {
        let at = start + Duration::from_millis(20 * round);
        engine.on_sent(at, 12_000);
        engine.on_ack(at, 12_000, false, Duration::from_millis(20));
        engine.on_end_acks(at + Duration::from_millis(20), 0);
    }
    assert!(!engine.is_starting());
}
