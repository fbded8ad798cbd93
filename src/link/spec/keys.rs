//! What a link is made of, as users write it.

/// A key of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkKey {
    /// What users write.
    pub name: &'static str,
    /// With values that it may have.
    pub example: &'static str,
    /// In words.
    pub meaning: &'static str,
}

/// Every key.
pub fn link_keys() -> &'static [LinkKey] {
    &KEYS
}

pub(super) fn find(name: &str) -> Option<&'static LinkKey> {
    KEYS.iter().find(|key| key.name == name)
}

const KEYS: [LinkKey; 12] = [
    LinkKey {
        name: "rate",
        example: "rate=50mbit",
        meaning: "constant rate; IP packets are what is counted",
    },
    LinkKey {
        name: "trace",
        example: "trace=drive.trace",
        meaning: "instead of a rate, a file of Mahimahi's format: a line for each 1,500 bytes that the link \
                  can carry, the millisecond at which it can",
    },
    LinkKey {
        name: "queue",
        example: "queue=50ms or queue=312500B",
        meaning: "drop-tail limit, as time at the rate or in bytes; 50 ms if not given",
    },
    LinkKey {
        name: "delay",
        example: "delay=25ms",
        meaning: "one way: both directions together are the round trip",
    },
    LinkKey {
        name: "jitter",
        example: "jitter=5ms",
        meaning: "up to this much more, changing with time, keeping the order",
    },
    LinkKey { name: "loss", example: "loss=2%", meaning: "share of the packets lost" },
    LinkKey {
        name: "burst",
        example: "burst=4",
        meaning: "losses come in bursts of this mean length, in packets",
    },
    LinkKey {
        name: "reorder",
        example: "reorder=1%+5ms",
        meaning: "share held back by that time (5 ms), and so overtaken",
    },
    LinkKey {
        name: "outage",
        example: "outage=5s+200ms or outage=2s+150ms/15s",
        meaning: "down at 5 s of a run for 200 ms; at 2 s and again every 15 s; repeatable, and they may overlap; \
                  none clears",
    },
    LinkKey {
        name: "police",
        example: "police=5mbit",
        meaning: "drop what comes faster, without a queue",
    },
    LinkKey {
        name: "mtu",
        example: "mtu=1280",
        meaning: "longer packets vanish without a word; in bytes, IP header included",
    },
    LinkKey {
        name: "seed",
        example: "seed=7",
        meaning: "repeat the random decisions of an earlier run",
    },
];
