//! The controller under whatever it may be told, for the fuzzer.

use std::time::{Duration, Instant};

use super::engine::Engine;

/// Tells a controller what the bytes say, two for each event.
///
/// # Panics
/// Where the controller would let nothing be sent, or measures what is no number.
pub fn controller(bytes: &[u8]) {
    let epoch = Instant::now();
    let mut now = epoch;
    let (head, events) = bytes.split_at(bytes.len().min(4));
    let [mtu, packets, seed, _] = *head else { return };
    let mut engine = Engine::new(now, u16::from(mtu) * 16, u64::from(packets), u64::from(seed));
    for event in events.chunks_exact(2) {
        // Five bits of a number that spans many orders of magnitude.
        let (kind, scale, value) = (event[0] & 7, event[0] >> 3, u64::from(event[1]));
        let number = value << scale;
        let micros = Duration::from_micros(number.min(1 << 36));
        let sent = now.checked_sub(micros).unwrap_or(epoch);
        match kind {
            0 => now += micros,
            1 => engine.on_sent(now, number),
            2 | 3 => engine.on_ack(sent, value * 64, kind == 3, micros),
            4 => engine.on_end_acks(now, number),
            5 => engine.on_loss(sent, value * 64),
            6 => engine.on_mark(now, sent),
            _ => engine.on_mtu(u16::from(event[1]) * 16),
        }
        assert!(engine.window(now) > 0, "nothing may be sent");
        assert!(engine.window(now + Duration::from_secs(3_600)) > 0, "nothing may be sent later");
        if let Some(event) = engine.take_event(now) {
            assert!(event.bandwidth.is_finite() && event.delivery_rate.is_finite());
            assert!((0.0..1.0).contains(&event.base_loss));
        }
    }
}
