//! How much the emulated link carries on this machine with both ends beside it.
//!
//! `cargo run --release --example link_capacity [LINK]`

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use framelane::link::{Emulation, LinkSpec, enter_user_namespace};
use rustix::time::{ClockId, clock_gettime};

const TIME: Duration = Duration::from_secs(4);

fn main() -> Result<()> {
    let privilege = enter_user_namespace()?;
    let text = std::env::args().nth(1).unwrap_or_else(|| "delay=1ms".to_owned());
    let spec: LinkSpec = text.parse()?;
    let link = Emulation::start(privilege, &spec)?;
    for congestion in ["cubic", "bbr"] {
        link.replace(&spec)?;
        let before = cpu();
        let mbit = tcp(&link, congestion).with_context(|| format!("TCP {congestion}"))?;
        report(&format!("TCP {congestion}"), mbit, &link, cpu() - before);
    }
    link.replace(&spec)?;
    let before = cpu();
    let mbit = udp(&link)?;
    report("UDP", mbit, &link, cpu() - before);
    Ok(())
}

/// The figure, with what it cost: on a machine that is busy with other things as well, what is carried
/// per second of processor time is the steadier figure.
fn report(what: &str, mbit: f64, link: &Emulation, cpu: Duration) {
    let stats = link.stats();
    let per_cpu = mbit * TIME.as_secs_f64() / cpu.as_secs_f64();
    let kept = stats.punctuality;
    println!(
        "{what:10} {mbit:6.0} Mbit/s of payload, {per_cpu:5.0} Mbit per second of processor time (ends and link)"
    );
    println!(
        "           {} packets up, {} down, {} dropped because the machine was too slow, {:.1} % handed over more than \
         a millisecond after they were due, the latest {:.1} ms",
        stats.up.offered,
        stats.down.offered,
        stats.up.dropped_overrun + stats.down.dropped_overrun,
        kept.late as f64 / kept.released.max(1) as f64 * 100.0,
        kept.max_late_us as f64 / 1e3,
    );
}

/// Processor time of this process so far.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// One connection, as fast as it goes.
fn tcp(link: &Emulation, congestion: &str) -> Result<f64> {
    let listener = link.far().run(|| TcpListener::bind((link.far_addr(), 0)))??;
    let address = listener.local_addr()?;
    let mut near = link.near().run(|| TcpStream::connect(address))??;
    socket2::SockRef::from(&near).set_tcp_congestion(congestion.as_bytes())?;
    let (mut far, _) = listener.accept()?;
    let started = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            let block = [0; 131_072];
            while started.elapsed() < TIME && near.write_all(&block).is_ok() {}
        });
        let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0);
        loop {
            let length = far.read(&mut buffer)?;
            if length == 0 {
                return Ok(mbit(bytes, started.elapsed()));
            }
            bytes += length;
        }
    })
}

/// Full datagrams, one a call, as fast as they go: what arrives counts.
fn udp(link: &Emulation) -> Result<f64> {
    let far = link.far().run(|| UdpSocket::bind((link.far_addr(), 0)))??;
    socket2::SockRef::from(&far).set_recv_buffer_size(4 << 20)?;
    far.set_read_timeout(Some(Duration::from_millis(500)))?;
    let near = link.near().run(|| UdpSocket::bind((link.near_addr(), 0)))??;
    near.connect(far.local_addr()?)?;
    let over = AtomicBool::new(false);
    let started = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            let datagram = [0; 1_472];
            while started.elapsed() < TIME {
                let _ = near.send(&datagram);
            }
            over.store(true, Ordering::Relaxed);
        });
        let (mut buffer, mut bytes) = ([0; 2_000], 0);
        while !over.load(Ordering::Relaxed) {
            bytes += far.recv(&mut buffer).unwrap_or(0);
        }
        Ok(mbit(bytes, started.elapsed()))
    })
}

fn mbit(bytes: usize, time: Duration) -> f64 {
    bytes as f64 * 8e-6 / time.as_secs_f64()
}
