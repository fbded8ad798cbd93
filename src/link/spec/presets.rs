//! Links that people have, by name.
//!
//! The numbers are round ones of the order that such links show; none is a measurement of a
//! particular network.

/// A link with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// What users write.
    pub name: &'static str,
    /// What it stands for, as a specification.
    pub spec: &'static str,
    /// In words.
    pub description: &'static str,
}

/// All named links, best first.
pub fn presets() -> &'static [Preset] {
    &PRESETS
}

pub(super) fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

const PRESETS: [Preset; 8] = [
    Preset {
        name: "lan",
        spec: "rate=100mbit,delay=200us,queue=20ms",
        description: "clean LAN: Fast Ethernet, as cameras with PoE have it, without loss",
    },
    Preset {
        name: "lossy",
        spec: "rate=50mbit,delay=25ms,loss=2%,queue=312500B",
        description: "the reference: 50 Mbit/s, 50 ms round trip, 2 % independent loss each way",
    },
    Preset {
        name: "busy-wifi",
        spec: "rate=40mbit,delay=3ms,jitter=20ms,loss=1%,burst=3,queue=100ms",
        description: "Wi-Fi on a crowded channel: waits for the medium, short bursts of loss",
    },
    Preset {
        name: "lte-moving",
        spec: "trace=builtin:lte-moving,delay=30ms,jitter=8ms,loss=0.1%,queue=300ms",
        description: "LTE in a moving car: synthetic trace of 3 to 60 Mbit/s, a fade, two handovers, deep queue",
    },
    Preset {
        name: "mesh-edge",
        spec: "rate=30mbit,delay=8ms,jitter=6ms,loss=10%,burst=4,queue=100ms",
        description: "mesh radio at the edge of its range: 10 % loss in bursts of 4 packets",
    },
    Preset {
        name: "leo",
        spec: "up.rate=30mbit,down.rate=150mbit,delay=20ms,jitter=8ms,loss=0.5%,burst=2,\
               queue=100ms,outage=2s+150ms/15s",
        description: "satellite in low orbit: a handover every 15 s takes the link down for 150 ms",
    },
    Preset {
        name: "geo",
        spec: "up.rate=25mbit,down.rate=50mbit,delay=280ms,jitter=4ms,loss=0.5%,queue=300ms",
        description: "geostationary satellite: 560 ms round trip",
    },
    Preset {
        name: "home-uplink",
        spec: "up.rate=20mbit,down.rate=100mbit,delay=12ms,up.queue=1s,down.queue=100ms",
        description: "home connection with bufferbloat: an uplink queue of a whole second, no loss",
    },
];
