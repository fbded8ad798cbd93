//! How much the emulated link carries on this machine with both ends beside it.
//!
//! `cargo run --release --example link_capacity [LINK]`
//!
//! For each direction: TCP as fast as it goes, then UDP paced at 500, 750, 1000 and 1250 Mbit/s. The
//! figure that counts is the last line of each direction: the most that arrived where at least 99 % did.
//! The link may carry more: on a busy machine a sender does not come to the rate that it is to have.
//! What is lost is counted where it is lost: before the link (the sender's device), in the link, or in
//! the receiver's socket buffer.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use framelane::link::{
    DirectionStats, Emulation, LinkSpec, LinkStats, NamespaceHandle, enter_user_namespace,
};
use rustix::time::{ClockId, clock_gettime};

/// How long each measurement is.
const TIME: Duration = Duration::from_secs(2);
/// What is offered in turn, Mbit/s of UDP payload.
const RATES: [f64; 4] = [500.0, 750.0, 1000.0, 1250.0];
/// A rate is carried where this share of its datagrams arrives.
const CARRIED: f64 = 0.99;
/// Payload of a datagram that fills a packet of 1,500 bytes.
const DATAGRAM: usize = 1_472;
/// Datagrams are sent in batches this far apart, so that the sender sleeps in between.
const BATCH: Duration = Duration::from_millis(1);
/// A sender that was not let run makes up for so much and no more: the rest would come as one burst,
/// and what that loses says nothing about the rate.
const MOST_AT_ONCE: Duration = Duration::from_millis(4);
/// When nothing has come for so long, nothing more will.
const SILENCE: Duration = Duration::from_millis(500);

fn main() -> Result<()> {
    let privilege = enter_user_namespace()?;
    let text = std::env::args().nth(1).unwrap_or_else(|| "delay=1ms".to_owned());
    let spec: LinkSpec = text.parse()?;
    let link = Emulation::start(privilege, &spec)?;
    let (near, far) = ((link.near(), link.near_addr()), (link.far(), link.far_addr()));
    for (name, from, to, is_up) in [("up", near, far, true), ("down", far, near, false)] {
        let way = Way { link: &link, spec: &spec, name, from, to, is_up };
        for congestion in ["cubic", "bbr"] {
            way.measure_tcp(congestion).with_context(|| format!("TCP {congestion}, {name}"))?;
        }
        let mut best: Option<f64> = None;
        for rate in RATES {
            let carried = way.measure_udp(rate).with_context(|| format!("UDP, {name}"))?;
            best = carried.into_iter().chain(best).reduce(f64::max);
        }
        match best {
            Some(mbit) => println!("{name:4} carries at least {mbit:.0} Mbit/s of UDP: the figure"),
            None => println!("{name:4} loses more than 1 % at each of these rates"),
        }
    }
    Ok(())
}

/// A namespace and its address.
type Place<'a> = (&'a NamespaceHandle, Ipv4Addr);

/// One direction of the link.
struct Way<'a> {
    link: &'a Emulation,
    spec: &'a LinkSpec,
    name: &'static str,
    from: Place<'a>,
    to: Place<'a>,
    is_up: bool,
}

/// What became of the datagrams of one measurement.
#[derive(Default)]
struct Sent {
    datagrams: u64,
    /// Those that the sender's kernel refused.
    refused: u64,
    took: Duration,
}

impl Way<'_> {
    /// One connection, as fast as it goes.
    fn measure_tcp(&self, congestion: &str) -> Result<()> {
        self.link.replace(self.spec)?;
        let before = processor_time();
        let listener = self.to.0.run(|| TcpListener::bind((self.to.1, 0)))??;
        let address = listener.local_addr()?;
        let mut sender = self.from.0.run(|| TcpStream::connect(address))??;
        socket2::SockRef::from(&sender).set_tcp_congestion(congestion.as_bytes())?;
        let (mut receiver, _) = listener.accept()?;
        let started = Instant::now();
        let bytes = thread::scope(|scope| {
            scope.spawn(move || {
                let block = [0; 131_072];
                while started.elapsed() < TIME && sender.write_all(&block).is_ok() {}
            });
            receive_all(&mut receiver)
        })?;
        let mbit = mbit(bytes, started.elapsed());
        // On a machine that is busy with other things as well, this is the steadier figure.
        let per_cpu = bytes as f64 * 8e-6 / (processor_time() - before).as_secs_f64();
        let what = format!("TCP {congestion}");
        println!(
            "{:4} {what:14} {mbit:5.0} Mbit/s arrive, {per_cpu:.0} Mbit per second of processor time; {}",
            self.name,
            punctuality(&self.link.stats())
        );
        Ok(())
    }

    /// Full datagrams at a rate in Mbit/s of payload. Gives what arrives where next to nothing is lost.
    fn measure_udp(&self, rate: f64) -> Result<Option<f64>> {
        self.link.replace(self.spec)?;
        let receiver = self.to.0.run(|| UdpSocket::bind((self.to.1, 0)))??;
        socket2::SockRef::from(&receiver).set_recv_buffer_size(4 << 20)?;
        receiver.set_read_timeout(Some(SILENCE))?;
        let sender = self.from.0.run(|| UdpSocket::bind((self.from.1, 0)))??;
        sender.connect(receiver.local_addr()?)?;
        let (before, overflows) = (processor_time(), self.overflows()?);
        let (sent, arrived) = thread::scope(|scope| {
            let sending = scope.spawn(|| send_paced(&sender, rate));
            let arrived = count_arriving(&receiver);
            (sending.join().unwrap_or_default(), arrived)
        });
        let (stats, overflows) = (self.link.stats(), self.overflows()?.saturating_sub(overflows));
        let share = arrived as f64 / sent.datagrams.max(1) as f64;
        let bytes = sent.datagrams * DATAGRAM as u64;
        let carried = mbit(arrived * DATAGRAM as u64, sent.took);
        println!(
            "{:4} UDP {rate:4.0} Mbit/s {:5.0} Mbit/s sent, {:5.1} % arrive, {:.0} % of a processor; lost: {}; {}",
            self.name,
            mbit(bytes, sent.took),
            share * 100.0,
            (processor_time() - before).as_secs_f64() / sent.took.as_secs_f64().max(1e-3) * 100.0,
            self.losses(&sent, &stats, overflows),
            punctuality(&stats)
        );
        Ok((share >= CARRIED).then_some(carried))
    }

    /// Where datagrams were lost.
    fn losses(&self, sent: &Sent, stats: &LinkStats, overflows: u64) -> String {
        let way = if self.is_up { stats.up } else { stats.down };
        let DirectionStats { dropped_overrun, dropped_queue, dropped_loss, dropped_outage, .. } =
            way;
        let by_the_link = dropped_queue + dropped_loss + dropped_outage;
        format!(
            "{} before it was sent, {dropped_overrun} in the link's devices because it was too \
             slow, {by_the_link} by the link as specified, {overflows} in the receiver's socket \
             buffer",
            sent.refused
        )
    }

    /// Datagrams that the receiving end's kernel dropped because nobody took them in time.
    fn overflows(&self) -> Result<u64> {
        let text = self.to.0.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
        let mut columns = names.split_whitespace().zip(values.split_whitespace());
        let column = columns.find(|(name, _)| *name == "RcvbufErrors");
        column.and_then(|(_, value)| value.parse().ok()).context("the kernel counts no overflows")
    }
}

/// Sends what has fallen due, then sleeps for a while. It may come to less than the rate where it
/// is not let run.
fn send_paced(socket: &UdpSocket, rate: f64) -> Sent {
    let per_second = rate * 1e6 / 8.0 / DATAGRAM as f64;
    let datagram = [0; DATAGRAM];
    let (mut sent, started, mut last) = (Sent::default(), Instant::now(), Duration::ZERO);
    // In datagrams, with what is left of the last one.
    let mut due = 0.0;
    while started.elapsed() < TIME {
        let now = started.elapsed();
        due += (now - last).min(MOST_AT_ONCE).as_secs_f64() * per_second;
        last = now;
        while due >= 1.0 {
            sent.refused += u64::from(socket.send(&datagram).is_err());
            sent.datagrams += 1;
            due -= 1.0;
        }
        thread::sleep(BATCH);
    }
    sent.took = started.elapsed();
    sent
}

/// Takes datagrams until none comes any more.
fn count_arriving(socket: &UdpSocket) -> u64 {
    let (mut buffer, mut arrived) = ([0; 2_000], 0);
    while socket.recv(&mut buffer).is_ok() {
        arrived += 1;
    }
    arrived
}

fn receive_all(stream: &mut TcpStream) -> Result<u64> {
    let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0);
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(bytes),
            length => bytes += length as u64,
        }
    }
}

/// How well the link kept its time, both directions together.
fn punctuality(stats: &LinkStats) -> String {
    let kept = stats.punctuality;
    format!(
        "{:.1} % handed over more than 1 ms late, the latest {:.1} ms",
        kept.late as f64 / kept.released.max(1) as f64 * 100.0,
        kept.max_late_us as f64 / 1e3,
    )
}

/// Processor time of this process so far: both ends and the link.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

fn mbit(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8e-6 / time.as_secs_f64().max(1e-3)
}
