use framelane::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
struct Ring {
    name: frame::SourceName,
    bodies: Vec<(bytes::Bytes, frame::ContentHash)>,
    n: u64,
}
impl source::Source for Ring {
    fn name(&self) -> &frame::SourceName {
        &self.name
    }
    fn frames(&self) -> u64 {
        self.n
    }
    fn describe(&self, s: frame::Sequence) -> Result<source::Description, source::SourceError> {
        let (b, _) = &self.bodies[(s.0 % self.bodies.len() as u64) as usize];
        Ok(source::Description {
            name: frame::FrameName::parse(&format!("{}.jpg", s.0)).unwrap(),
            bytes: b.len() as u64,
            modified: None,
        })
    }
    fn read(&self, s: frame::Sequence, _: u64) -> Result<source::Content, source::SourceError> {
        let (b, h) = &self.bodies[(s.0 % self.bodies.len() as u64) as usize];
        Ok(source::Content { description: self.describe(s)?, hash: *h, body: b.clone() })
    }
    fn label(&self, s: frame::Sequence) -> String {
        s.0.to_string()
    }
}
fn ring(name: &str, size: usize, n: u64) -> Arc<dyn source::Source> {
    let bodies = (0..8u8)
        .map(|i| {
            let mut v = vec![i; size];
            for (k, b) in v.iter_mut().enumerate() {
                *b = (k as u32).wrapping_mul(2654435761).to_le_bytes()[3] ^ i;
            }
            let b = bytes::Bytes::from(v);
            (b.clone(), blake3::hash(&b))
        })
        .collect();
    Arc::new(Ring { name: frame::SourceName::parse(name).unwrap(), bodies, n })
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let get = |k: &str, d: &str| {
        args.iter().find_map(|a| a.strip_prefix(&format!("{k}="))).unwrap_or(d).to_string()
    };
    let privilege = link::enter_user_namespace().unwrap();
    let spec: link::LinkSpec = args[1].parse().unwrap();
    let secs: f64 = get("secs", "10").parse().unwrap();
    let fps: f64 = get("fps", "30").parse().unwrap();
    let bulk = get("bulk", "0") == "1";
    let sizes: Vec<usize> =
        get("sizes", "60000,20000").split(',').map(|s| s.parse().unwrap()).collect();
    let repair: repair::RepairMode = get("repair", "auto").parse().unwrap();
    let congestion: congestion::Congestion = get("cc", "lossy").parse().unwrap();
    let transport: transport::Transport = get("t", "quic").parse().unwrap();
    let tcpcc = get("tcp", "bbr");
    let seed: u64 = get("seed", "7").parse().unwrap();
    let link = Arc::new(link::Emulation::start(privilege, &spec.clone().with_seed(seed)).unwrap());
    let rt = |end: &link::NamespaceHandle| {
        let end = end.clone();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(move || end.enter_current_thread().unwrap())
            .build()
            .unwrap()
    };
    let (srt, rrt) = (rt(link.near()), rt(link.far()));
    let out = tempfile::tempdir_in("/dev/shm").unwrap();
    let id = identity::Identity::generate(&identity::NewCertificate {
        names: vec![],
        days: 10,
        now: SystemTime::now(),
    })
    .unwrap();
    let far = SocketAddr::from((link.far_addr(), 4433));
    let (stop_tx, stop_rx) = tokio::sync::watch::channel(false);
    let (rep_tx, mut rep_rx) = tokio::sync::mpsc::unbounded_channel();
    let (id2, outp) = (id.clone(), out.path().to_owned());
    let (ready_tx, ready_rx) = std::sync::mpsc::channel();
    let cong2 = congestion;
    let server = rrt.spawn(async move {
        let limits = receiver::ReceiveLimits::default();
        let sources = receiver::Sources::new(
            sink::FolderSink::open(&outp, sink::StoreOptions::default()).unwrap(),
        );
        let l = transport::listen(transport::ListenSetup {
            transport,
            address: far,
            tls: identity::server_config(
                &id2,
                identity::SenderPolicy::Any,
                &[wire::ALPN, wire::ALPN_SINGLE_FRAME],
                identity::EarlyData::Off,
            ),
            congestion: cong2.factory(),
            intake: limits.intake(),
        })
        .unwrap();
        ready_tx.send(()).unwrap();
        receiver::run(vec![l], sources, limits, Default::default(), rep_tx, stop_rx).await;
    });
    ready_rx.recv().unwrap();
    let trace = Arc::new(congestion::TraceRing::new(100000));
    let factory = congestion.factory_traced(trace.clone());
    let n = if bulk { get("n", "100000").parse().unwrap() } else { (fps * secs) as u64 };
    let names = ["visible", "infrared", "third"];
    let srcs: Vec<_> = sizes.iter().enumerate().map(|(i, &s)| ring(names[i], s, n)).collect();
    let (sstop_tx, sstop_rx) = tokio::sync::watch::channel(false);
    let t0 = std::time::Instant::now();
    let sender = srt.spawn(async move {
        let recv = identity::ReceiverAddress::from(far);
        let trust = identity::ReceiverTrust::pinned(recv.clone(), id.pin());
        let dial = transport::dial(&transport::DialSetup {
            transport,
            addresses: vec![far],
            host: recv.host().to_owned(),
            tls: identity::client_config(&id, trust, &[wire::ALPN], identity::EarlyData::Off),
            congestion: factory,
            repair,
            tcp: transport::tcp::TcpOptions { congestion: Some(tcpcc), ..Default::default() },
            stop_and_wait: transport::stop_and_wait::SenderSettings {
                gap: Duration::ZERO,
                ..Default::default()
            },
        });
        let options = sender::SendOptions {
            pace: if bulk { sender::Pace::Bulk } else { sender::Pace::PerSecond(fps) },
            overwrite: false,
            checksum: false,
            retry_for: Duration::from_secs(5),
            observer: None,
        };
        let progress = Arc::new(sender::Progress::new(srcs.iter().map(|s| s.frames())));
        let r = sender::run(dial.as_ref(), srcs, options, progress.clone(), sstop_rx).await;
        r
    });
    let deadline = if bulk { secs } else { secs + 4.0 };
    while !sender.is_finished() && t0.elapsed().as_secs_f64() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    let el = t0.elapsed().as_secs_f64();
    sstop_tx.send_replace(true);
    let main_rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = main_rt.block_on(sender).unwrap();
    stop_tx.send_replace(true);
    main_rt.block_on(server).unwrap();
    let stats = link.stats();
    let bytes: u64 = report.bytes();
    let repaired: Vec<_> = std::iter::from_fn(|| rep_rx.try_recv().ok())
        .flat_map(|r| r.sources.into_iter().map(|s| s.repaired))
        .collect();
    println!(
        "{} {transport} stored {} err {:?} goodput {:.2} Mbit/s wire/payload {:.3} queue-drop {:.2}% loss {:.2}% maxq {} repaired {:?} late {}/{}",
        args[1],
        report.stored(),
        report.error,
        bytes as f64 * 8.0 / el / 1e6,
        stats.up.offered_bytes as f64 / bytes.max(1) as f64,
        100.0 * stats.up.dropped_queue as f64 / stats.up.offered as f64,
        100.0 * stats.up.dropped_loss as f64 / stats.up.offered as f64,
        stats.up.max_queue_bytes,
        repaired,
        stats.punctuality.late,
        stats.punctuality.released
    );
    for name in &names[..sizes.len()] {
        let Ok(text) = std::fs::read_to_string(out.path().join(name).join("manifest.jsonl")) else {
            continue;
        };
        let mut l: Vec<(f64, u64)> = text
            .lines()
            .map(|t| {
                let v: serde_json::Value = serde_json::from_str(t).unwrap();
                (
                    (v["stored_unix_ns"].as_u64().unwrap() as f64
                        - v["captured_unix_ns"].as_u64().unwrap_or(0) as f64)
                        / 1e6,
                    v["sequence"].as_u64().unwrap(),
                )
            })
            .collect();
        if get("dump", "0") == "1" {
            let mut d = l.clone();
            d.sort_by_key(|x| x.1);
            for (a, b) in &d {
                println!("{name} {b} {a:.1}");
            }
        }
        l.sort_by(|a, b| a.0.total_cmp(&b.0));
        let q = |p: f64| l[((l.len() as f64 - 1.0) * p) as usize].0;
        println!(
            "  {name}: n {} p50 {:.1} p95 {:.1} p99 {:.1} max {:.1} (seq {})",
            l.len(),
            q(0.5),
            q(0.95),
            q(0.99),
            q(1.0),
            l.last().unwrap().1
        );
    }
    if get("trace", "0") == "1" {
        let start = trace.snapshot().first().map(|e| e.at);
        for e in trace.snapshot() {
            println!(
                "T {:.3} {:?} w {} infl {} bw {:.0} dr {:.0} base {:?} srtt {:?} lost {} app {}",
                (e.at - start.unwrap()).as_secs_f64(),
                e.phase,
                e.window,
                e.in_flight,
                e.bandwidth * 8.0,
                e.delivery_rate * 8.0,
                e.base_rtt,
                e.smoothed_rtt,
                e.lost,
                e.app_limited
            );
        }
    }
    std::process::exit(0);
}
