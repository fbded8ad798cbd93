//! How long after the start of a connection attempt its first frame is stored, in round trips of an
//! emulated link: of a first connection, and of one that resumes its TLS session.
//!
//! `cargo run --release --example first_frame [LINK]`

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use framelane::Receiver;
use framelane::congestion::Congestion;
use framelane::frame::{Sequence, SourceName, UnixNanos};
use framelane::identity::{
    DEFAULT_DAYS, EarlyData, Identity, NewCertificate, ReceiverAddress, ReceiverTrust,
    client_config,
};
use framelane::link::{Emulation, LinkSpec, enter_user_namespace};
use framelane::repair::RepairMode;
use framelane::sender::{self, Observer, Pace, Progress, SendOptions};
use framelane::source::{Folder, Source};
use framelane::store::{FolderStore, StoreOptions};
use framelane::transport::{self, Dial, DialSetup, Transport};
use framelane::wire::{ALPN, SourceId};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

const ROUNDS: usize = 5;
const FRAME: usize = 20_000;

fn main() -> Result<()> {
    let privilege = enter_user_namespace()?;
    let text = std::env::args().nth(1).unwrap_or_else(|| "rate=50mbit,delay=100ms".to_owned());
    let spec: LinkSpec = text.parse()?;
    println!("{text}: from connect to the first frame of {FRAME} bytes stored, ms");
    for transport in [Transport::Quic, Transport::Tcp] {
        let (mut cold, mut resumed) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let link = Emulation::start(privilege, &spec)?;
            let place = tempfile::tempdir()?;
            let times = link.near().run(|| measure(&link, transport, place.path()))??;
            cold.push(times[0]);
            resumed.push(times[1]);
        }
        println!("{transport:4} first {:.1?}  resumed {:.1?}", sorted(cold), sorted(resumed));
    }
    Ok(())
}

fn sorted(mut times: Vec<f64>) -> Vec<f64> {
    times.sort_by(f64::total_cmp);
    times
}

/// Two runs, one after the other, with one identity and one memory of sessions. On a thread at the
/// sender's end of the link.
fn measure(link: &Emulation, transport: Transport, place: &Path) -> Result<[f64; 2]> {
    let identity = || {
        let new = NewCertificate { names: vec![], days: DEFAULT_DAYS, now: SystemTime::now() };
        Identity::generate(&new)
    };
    let (sender, receiver) = (identity()?, identity()?);
    let listen = Receiver::listen(SocketAddr::from((link.far_addr(), 0)))
        .transport(transport)
        .allow_any()
        .identity(receiver.clone())
        .store(FolderStore::open(&place.join("store"), StoreOptions::default())?);
    let far = runtime(link.far())?;
    let (_go_on, stop) = watch::channel(false);
    let serving = far.block_on(async { tokio::spawn(async { listen.serve(stop) }).await })??;
    let address = serving.places[0].address;

    let trust = ReceiverTrust::pinned(ReceiverAddress::from(address), receiver.pin());
    let dial = transport::dial(&DialSetup {
        transport,
        addresses: vec![address],
        host: "localhost".to_owned(),
        tls: client_config(&sender, trust, &[ALPN], EarlyData::Off),
        congestion: Congestion::default().factory(),
        repair: RepairMode::Auto,
        tcp: Default::default(),
        stop_and_wait: Default::default(),
    });
    let near = runtime(link.near())?;
    let times = near.block_on(async {
        let first = send(dial.as_ref(), place, "first").await?;
        anyhow::Ok([first, send(dial.as_ref(), place, "second").await?])
    });
    near.shutdown_timeout(Duration::from_millis(500));
    far.shutdown_timeout(Duration::from_millis(500));
    times
}

/// A runtime whose threads are at one end of the link.
fn runtime(end: &framelane::link::NamespaceHandle) -> Result<Runtime> {
    let end = end.clone();
    let enter = move || {
        if let Err(error) = end.enter_current_thread() {
            eprintln!("{:?} is not at its end: {error}", thread::current().name());
        }
    };
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().on_thread_start(enter).build()?)
}

/// Sends a source of one frame; milliseconds until it was stored.
async fn send(dial: &dyn Dial, place: &Path, name: &str) -> Result<f64> {
    let folder = place.join(name);
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("0.bin"), vec![7; FRAME])?;
    let sources: Vec<Arc<dyn Source>> =
        vec![Arc::new(Folder::open(SourceName::parse(name)?, &folder)?)];
    let stored = Arc::new(Stored::default());
    let mut options = SendOptions::default();
    options.pace = Pace::PerSecond(30.0);
    options.retry_for = Duration::ZERO;
    options.observer = Some(stored.clone());
    let (_go_on, stop) = watch::channel(false);
    let started = UnixNanos::now();
    let report = sender::run(dial, sources, options, Arc::new(Progress::new([1])), stop).await;
    let stored = stored.0.lock().ok().and_then(|stored| *stored);
    let stored = stored.with_context(|| format!("not stored: {:?}", report.error))?;
    Ok(stored.nanos_since(started) as f64 / 1e6)
}

/// When the frame was stored; both ends have one clock.
#[derive(Default)]
struct Stored(Mutex<Option<UnixNanos>>);

impl Observer for Stored {
    fn confirmed(
        &self,
        _: SourceId,
        _: Sequence,
        _: u64,
        _: Instant,
        _: UnixNanos,
        stored: UnixNanos,
    ) {
        if let Ok(mut known) = self.0.lock() {
            known.get_or_insert(stored);
        }
    }

    fn clock(&self, _: UnixNanos, _: UnixNanos, _: UnixNanos, _: UnixNanos) {}
}
