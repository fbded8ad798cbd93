//! quinn-proto's real connections over a simulated path, in virtual time.
//!
//! Loss recovery, acknowledgements and pacing are the real ones; only the wire, the clock and the
//! applications are simulated. A run follows from its seed, apart from the bytes TLS draws.

pub(crate) mod app;
pub(crate) mod deadline;
mod frame;
pub(crate) mod link;
mod peer;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use framelane::repair::RepairMode;
use framelane::transport::quic::gather::{self, Gauge};
use framelane::transport::quic::settings;
use quinn_proto::congestion::{ControllerFactory, NewRenoConfig};
use quinn_proto::{EcnCodepoint, MtuDiscoveryConfig, TransportConfig, VarInt};

use app::{FrameRecord, Load, Receiver, Sender};
use deadline::{Deadlines, Shared};
use link::{Fate, Link, LinkConfig, Nanos};
use peer::{Outgoing, Peer};

/// How often a sender is woken.
const NUDGE: Nanos = settings::NUDGE_INTERVAL.as_nanos() as Nanos;

/// Virtual time, shared with whoever needs to read it.
#[derive(Clone)]
pub(crate) struct SimClock {
    epoch: Instant,
    nanos: Arc<AtomicU64>,
}

impl SimClock {
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now(), nanos: Arc::new(AtomicU64::new(0)) }
    }

    /// The virtual instant.
    pub(crate) fn now(&self) -> Instant {
        self.at(self.nanos.load(Ordering::Relaxed))
    }

    fn at(&self, nanos: Nanos) -> Instant {
        self.epoch + Duration::from_nanos(nanos)
    }

    fn nanos_of(&self, at: Instant) -> Nanos {
        at.saturating_duration_since(self.epoch).as_nanos() as Nanos
    }
}

/// One connection and what it sends.
pub(crate) struct FlowConfig {
    pub(crate) controller: Arc<dyn ControllerFactory + Send + Sync>,
    pub(crate) load: Load,
    /// How the repair of frames is decided; `None` where they have none, and no layout for it.
    pub(crate) repair: Option<RepairMode>,
    /// How old frames may be, and what is known of how they leave; the controller is watched by the same.
    pub(crate) deadline: Option<(Nanos, Arc<Shared>)>,
    /// When it connects.
    pub(crate) connect: Nanos,
    /// When the application begins.
    pub(crate) start: Nanos,
    pub(crate) stop: Nanos,
}

/// A whole run.
pub(crate) struct Scenario {
    pub(crate) clock: SimClock,
    pub(crate) forward: LinkConfig,
    pub(crate) back: LinkConfig,
    pub(crate) flows: Vec<FlowConfig>,
    pub(crate) duration: Nanos,
    pub(crate) seed: u64,
    /// Whether newer frames go before older ones.
    pub(crate) newest_first: bool,
    /// Whether connections have the settings that are shipped, and senders are woken as they are.
    pub(crate) shipped: bool,
    /// Whether what comes in at a receiver is gathered where the way back is thin.
    pub(crate) gathers: bool,
}

/// What a flow did.
pub(crate) struct FlowOutcome {
    /// Bytes of streams read in each tenth of a second.
    pub(crate) read: Vec<u64>,
    pub(crate) frames: Vec<FrameRecord>,
    /// Bytes of repair sent.
    pub(crate) repair: u64,
    /// Bytes of UDP payload that were sent, in each tenth of a second.
    pub(crate) sent: Vec<u64>,
    /// When each packet was lost to a full queue.
    pub(crate) overflows: Vec<Nanos>,
    /// When each packet was offered to the forward link.
    pub(crate) offered: Vec<Nanos>,
}

/// What a run did.
pub(crate) struct Outcome {
    pub(crate) flows: Vec<FlowOutcome>,
    /// (time, wait) of every packet that entered the forward queue.
    pub(crate) waits: Vec<(Nanos, Nanos)>,
}

impl FlowOutcome {
    /// Megabits of stream data a second, over `[from, to)`.
    pub(crate) fn goodput(&self, from: Nanos, to: Nanos) -> f64 {
        let bins = (from / 100_000_000) as usize..(to / 100_000_000) as usize;
        let bytes: u64 = bins.filter_map(|bin| self.read.get(bin)).sum();
        bytes as f64 * 8.0 / (to - from) as f64 * 1e3
    }

    /// The share of packets offered in `[from, to)` that a full queue dropped.
    pub(crate) fn overflow_share(&self, from: Nanos, to: Nanos) -> f64 {
        let within = |times: &[Nanos]| times.iter().filter(|at| (from..to).contains(at)).count();
        within(&self.overflows) as f64 / within(&self.offered).max(1) as f64
    }

    /// Latencies in milliseconds of the frames of `source` due in `[from, to)`, sorted; a frame
    /// that never came counts as infinite.
    pub(crate) fn latencies(&self, source: usize, from: Nanos, to: Nanos) -> Vec<f64> {
        let mut latencies: Vec<f64> = self
            .frames
            .iter()
            .filter(|frame| frame.source == source && (from..to).contains(&frame.due))
            .map(|frame| match frame.delivered {
                Some(at) => (at - frame.due) as f64 / 1e6,
                None => f64::INFINITY,
            })
            .collect();
        latencies.sort_by(f64::total_cmp);
        latencies
    }
}

impl Outcome {
    /// The `share` quantile, in milliseconds, of the waits of packets offered in `[from, to)`.
    pub(crate) fn wait_quantile(&self, share: f64, from: Nanos, to: Nanos) -> f64 {
        let mut waits: Vec<f64> = self
            .waits
            .iter()
            .filter(|(at, _)| (from..to).contains(at))
            .map(|(_, wait)| *wait as f64 / 1e6)
            .collect();
        waits.sort_by(f64::total_cmp);
        quantile(&waits, share)
    }
}

/// A quantile of sorted values; not a number when there are none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Runs a scenario to its end.
pub(crate) fn run(scenario: Scenario) -> Outcome {
    let mut sim = Sim::new(scenario);
    while let Some(Reverse((at, _, host))) = sim.events.pop() {
        if at >= sim.duration {
            break;
        }
        sim.clock.nanos.store(at, Ordering::Relaxed);
        sim.handle(at, host);
    }
    sim.into_outcome()
}

/// Two hosts a flow: the sender is even, the receiver odd.
struct Host {
    peer: Option<Peer>,
    inbox: BinaryHeap<Reverse<(Nanos, u64, Packet)>>,
    wake: Option<Nanos>,
}

fn sends(host: usize) -> bool {
    host.is_multiple_of(2)
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    data: Vec<u8>,
    ecn: Option<u8>,
}

struct Flow {
    config: FlowConfig,
    sender: Sender,
    receiver: Receiver,
    gauge: Gauge,
    looked: (Nanos, u64, u64),
    gathering: Nanos,
    overflows: Vec<Nanos>,
    offered: Vec<Nanos>,
    sent: Vec<u64>,
}

impl Flow {
    /// What a receiver does to be woken less, and about a thin way back.
    fn look(&mut self, now: Nanos, gathers: bool, peer: &mut Peer) {
        let Some(connection) = &mut peer.connection else { return };
        if now < self.looked.0 + gather::LOOK_INTERVAL.as_nanos() as Nanos {
            return;
        }
        let stats = connection.stats();
        let (sent, received) = (stats.udp_tx.datagrams, stats.udp_rx.datagrams);
        let bulk = matches!(self.config.load, Load::Bulk);
        let thin =
            self.gauge.look(connection.rtt(), sent - self.looked.1, received - self.looked.2, bulk);
        let thin = if gathers { thin } else { Duration::ZERO };
        self.gathering = thin.max(self.gauge.light()).as_nanos() as Nanos;
        self.looked = (now, sent, received);
        // In the place of receipts, by which a receiver knows the round trip.
        connection.ping();
    }
}

struct Sim {
    clock: SimClock,
    duration: Nanos,
    seed: u64,
    shipped: bool,
    gathers: bool,
    sequence: u64,
    forward: Link,
    back: Link,
    hosts: Vec<Host>,
    flows: Vec<Flow>,
    events: BinaryHeap<Reverse<(Nanos, u64, usize)>>,
    waits: Vec<(Nanos, Nanos)>,
    outgoing: Vec<Outgoing>,
}

impl Sim {
    fn new(scenario: Scenario) -> Self {
        let flows: Vec<Flow> = scenario
            .flows
            .into_iter()
            .map(|config| Flow {
                sender: Sender::new(config.load.clone(), config.repair, config.start, config.stop),
                receiver: Receiver::new(config.repair.is_some()),
                gauge: Gauge::default(),
                looked: (0, 0, 0),
                gathering: 0,
                overflows: Vec::new(),
                offered: Vec::new(),
                sent: Vec::new(),
                config,
            })
            .collect();
        let hosts = (0..flows.len() * 2)
            .map(|_| Host { peer: None, inbox: BinaryHeap::new(), wake: None })
            .collect();
        let mut sim = Self {
            clock: scenario.clock,
            duration: scenario.duration,
            seed: scenario.seed,
            shipped: scenario.shipped,
            gathers: scenario.gathers,
            sequence: 0,
            forward: Link::new(scenario.forward, scenario.seed ^ 0x5eed),
            back: Link::new(scenario.back, scenario.seed ^ 0xbacc),
            hosts,
            flows,
            events: BinaryHeap::new(),
            waits: Vec::new(),
            outgoing: Vec::new(),
        };
        for flow in 0..sim.flows.len() {
            sim.flows[flow].sender.newest_first = scenario.newest_first;
            let deadline = sim.flows[flow].config.deadline.clone();
            sim.flows[flow].sender.deadlines =
                deadline.map(|(deadline, shared)| Deadlines::new(deadline, shared));
            let connect = sim.flows[flow].config.connect;
            sim.schedule(connect, flow * 2);
        }
        sim
    }

    fn schedule(&mut self, at: Nanos, host: usize) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, host)));
    }

    fn handle(&mut self, now: Nanos, host: usize) {
        let instant = self.clock.at(now);
        self.open(instant, host);
        let Host { peer: Some(peer), inbox, .. } = &mut self.hosts[host] else { return };
        while inbox.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, _, packet))) = inbox.pop() else { break };
            let ecn = packet.ecn.and_then(EcnCodepoint::from_bits);
            peer.receive(instant, ecn, BytesMut::from(&packet.data[..]));
        }
        peer.tick(instant);
        self.drive_application(now, host);
        let Some(peer) = &mut self.hosts[host].peer else { return };
        let mut outgoing = std::mem::take(&mut self.outgoing);
        peer.transmit(instant, &mut outgoing);
        for packet in outgoing.drain(..) {
            self.send(now, host, packet);
        }
        self.outgoing = outgoing;
        self.set_wake(now, host);
    }

    /// Creates the endpoints when their time has come.
    fn open(&mut self, now: Instant, host: usize) {
        if self.hosts[host].peer.is_some() {
            return;
        }
        let remote = SocketAddr::from(([10, 0, 0, (host ^ 1) as u8 + 1], 4433));
        let seed = self.seed.wrapping_mul(31).wrapping_add(host as u64);
        // What a receiver sends is too little to be controlled, and would mix into the trace.
        let controller = match sends(host) {
            true => self.flows[host / 2].config.controller.clone(),
            false => Arc::new(NewRenoConfig::default()),
        };
        let longest = settings::longest_datagram(remote.ip(), None);
        let transport = match (self.shipped, sends(host)) {
            (false, _) => transport(controller),
            (true, true) => settings::transport_over(longest, controller),
            (true, false) => settings::transport(controller),
        };
        self.hosts[host].peer = Some(if sends(host) {
            Peer::client(transport, remote, seed, now)
        } else {
            Peer::server(transport, remote, seed)
        });
    }

    fn drive_application(&mut self, now: Nanos, host: usize) {
        let Some(peer) = &mut self.hosts[host].peer else { return };
        let flow = &mut self.flows[host / 2];
        if sends(host) {
            flow.sender.drive(now, self.clock.epoch, peer);
        } else {
            if self.gathers || self.shipped {
                flow.look(now, self.gathers, peer);
            }
            for stream in flow.receiver.drive(now, peer) {
                flow.sender.note_delivered(stream, now);
            }
        }
    }

    fn send(&mut self, now: Nanos, host: usize, packet: Outgoing) {
        let forward = sends(host);
        let link = if forward { &mut self.forward } else { &mut self.back };
        let fate = link.offer(now, packet.data.len());
        if forward {
            let flow = &mut self.flows[host / 2];
            flow.offered.push(now);
            let bin = (now / 100_000_000) as usize;
            flow.sent.resize(flow.sent.len().max(bin + 1), 0);
            flow.sent[bin] += packet.data.len() as u64;
            if fate == Fate::Overflow {
                flow.overflows.push(now);
            }
            if let Fate::Arrives { waited, .. } = fate {
                self.waits.push((now, waited));
            }
        }
        if let Fate::Arrives { at, marked, .. } = fate {
            let mark = |ecn| if marked { EcnCodepoint::Ce } else { ecn };
            let ecn = packet.ecn.map(|ecn| mark(ecn) as u8);
            let grain = if forward { self.flows[host / 2].gathering } else { 0 };
            let at = if grain > 0 { at.div_ceil(grain) * grain } else { at };
            let sequence = self.sequence;
            let packet = Packet { data: packet.data.to_vec(), ecn };
            self.hosts[host ^ 1].inbox.push(Reverse((at, sequence, packet)));
            self.schedule(at, host ^ 1);
        }
    }

    fn set_wake(&mut self, now: Nanos, host: usize) {
        let epoch = self.clock.epoch;
        let Some(peer) = &mut self.hosts[host].peer else { return };
        let timer = peer.wake_at(epoch).map(|at| self.clock.nanos_of(at));
        let rtt = peer.connection.as_ref().map(|connection| connection.rtt()).unwrap_or_default();
        let sender = sends(host).then(|| &self.flows[host / 2].sender);
        let due = sender.and_then(|sender| sender.wake_at(now, epoch, rtt));
        // As a sender is woken while frames are underway.
        let nudge =
            (self.shipped && sends(host) && timer.is_some()).then(|| (now / NUDGE + 1) * NUDGE);
        let Some(at) = timer.into_iter().chain(due).chain(nudge).min() else { return };
        let at = at.max(now);
        if self.hosts[host].wake.is_none_or(|wake| wake <= now || at < wake) {
            self.hosts[host].wake = Some(at);
            self.schedule(at, host);
        }
    }

    fn into_outcome(self) -> Outcome {
        let flows = self
            .flows
            .into_iter()
            .map(|flow| FlowOutcome {
                read: flow.receiver.read,
                frames: flow.sender.frames,
                repair: flow.sender.repair,
                sent: flow.sent,
                overflows: flow.overflows,
                offered: flow.offered,
            })
            .collect();
        Outcome { flows, waits: self.waits }
    }
}

/// Windows and limits large enough that the congestion controller alone decides.
fn transport(controller: Arc<dyn ControllerFactory + Send + Sync>) -> Arc<TransportConfig> {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(1472);
    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(controller)
        .max_concurrent_uni_streams(VarInt::from_u32(100_000))
        .stream_receive_window(VarInt::from_u32(64 << 20))
        .receive_window(VarInt::from_u32(256 << 20))
        .send_window(48 << 20)
        .initial_rtt(Duration::from_millis(100))
        .mtu_discovery_config(Some(mtu));
    Arc::new(config)
}
