//! `framelane demo`: the main job on this machine, in one command.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;

use super::serve::{Place, Service};
use super::{
    COMPLETE, INCOMPLETE, INTERRUPTED, Outcome, Talk, output, runtime, send, stop_on_signal, trust,
};
use crate::congestion::Congestion;
use crate::frame::{ByteSize, SourceName};
use crate::identity::{
    EarlyData, Identity, KnownReceivers, ReceiverAddress, ReceiverTrust, SenderPolicy,
    client_config,
};
use crate::receiver::ReceiveLimits;
use crate::repair::RepairMode;
use crate::sender::{self, Pace, Progress, SendOptions, SendReport};
use crate::source::synthetic::{self, Kind};
use crate::source::{Folder, Source};
use crate::transport::stop_and_wait::SenderSettings;
use crate::transport::tcp::TcpOptions;
use crate::transport::{self, DialSetup, Transport};
use crate::verify::{VerifyOptions, verify};

/// Generate two sources, send them over QUIC on this machine, store them, and verify every file
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// The folder to work in
    #[arg(long, value_name = "DIR", default_value = "demo")]
    out: PathBuf,
    /// Frames to generate for each source
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    frames: u64,
    /// The folder of this machine's identity; one is made where it is missing
    #[arg(long, value_name = "DIR", default_value = "certs")]
    certs: PathBuf,
}

/// The two cameras: name, kind, extension, and about how many bytes a frame has.
const CAMERAS: [(&str, Kind, &str, usize); 2] =
    [("visible", Kind::Visible, "jpg", 60_000), ("infrared", Kind::Infrared, "png", 20_000)];

/// Any will do; the same one each time makes the same frames each time.
const SEED: u64 = 1;

pub(super) fn run(args: &DemoArgs, talk: Talk) -> Outcome {
    let identity = trust::identity(&args.certs)?;
    let out = unused_folder(&args.out)?;
    let mut sources: Vec<Arc<dyn Source>> = Vec::new();
    for (name, kind, extension, bytes) in CAMERAS {
        let folder = args.out.join(name);
        generate(&folder, args.frames, kind, extension, bytes, talk)?;
        sources.push(Arc::new(Folder::open(SourceName::parse(name)?, &folder)?));
    }
    let report = runtime()?.block_on(transfer(&identity, sources, &out))?;
    send::tell(&report, false)?;
    if report.interrupted {
        return Ok(INTERRUPTED);
    }
    let verified = verify(&out, VerifyOptions::default(), &mut |_| {})?;
    let proven = verified.is_proven() && report.is_complete();
    output::result(&format!(
        "every stored file was hashed again: {}",
        if proven { "all are as they were sent" } else { "NOT all are as they were sent" }
    ));
    output::result(&format!("frames:    {}/visible, infrared", args.out.display()));
    output::result(&format!("received:  {}/visible, infrared", out.display()));
    output::result(&format!("manifests: {}/visible/manifest.jsonl", out.display()));
    Ok(if proven { COMPLETE } else { INCOMPLETE })
}

/// `received` in the demo's folder, or with a number behind it where there was a demo before.
fn unused_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    let names = std::iter::once("received".to_owned())
        .chain((2..1_000).map(|number| format!("received-{number}")));
    let mut free = names.map(|name| folder.join(name)).filter(|path| !path.exists());
    free.next().with_context(|| format!("{} is full of earlier demos; remove it", folder.display()))
}

/// Writes the frames that are not there yet.
fn generate(
    folder: &Path,
    frames: u64,
    kind: Kind,
    extension: &str,
    bytes: usize,
    talk: Talk,
) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let bar = output::bar(talk, Some(frames));
    bar.set_message(format!("made for {}", folder.display()));
    for index in 0..frames {
        let path = folder.join(format!("{index}.{extension}"));
        if !path.exists() {
            fs::write(&path, synthetic::of_size(bytes, index, SEED, kind))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// A receiver and a sender, as `receive` and `send` run them, connected over loopback.
async fn transfer(
    identity: &Identity,
    sources: Vec<Arc<dyn Source>>,
    out: &Path,
) -> anyhow::Result<SendReport> {
    let interrupted = stop_on_signal()?;
    let (stop, stopping) = watch::channel(false);
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let service = Service {
        identity,
        policy: SenderPolicy::from_iter([crate::identity::Allow::Pin(identity.pin())]),
        places: vec![Place { transport: Transport::Quic, address: loopback }],
        out,
        durable: false,
        limits: ReceiveLimits::default(),
    };
    let serving = service.start(stopping)?;
    let address = serving.places[0].address;
    output::note(&format!("receiving on {address}, storing to {}", out.display()));
    let receiver = ReceiverAddress::from(address);
    let known = KnownReceivers::default();
    let trust = ReceiverTrust::new(receiver.clone(), vec![identity.pin()], None, &known);
    let dial = transport::dial(&DialSetup {
        transport: Transport::Quic,
        addresses: vec![address],
        host: receiver.host().to_owned(),
        tls: client_config(identity, trust, &[crate::wire::ALPN], EarlyData::Off),
        congestion: Congestion::default().factory(),
        repair: RepairMode::Auto,
        tcp: TcpOptions::default(),
        stop_and_wait: SenderSettings::default(),
    });
    let options = SendOptions {
        pace: Pace::Bulk,
        weights: Vec::new(),
        overwrite: false,
        checksum: false,
        retry_for: Duration::from_secs(5),
        observer: None,
    };
    let bytes: u64 = sources.iter().map(|source| bytes_of(source.as_ref())).sum();
    output::note(&format!("sending {} in two sources over QUIC", ByteSize(bytes)));
    let progress = Arc::new(Progress::new(sources.iter().map(|source| source.frames())));
    let report = sender::run(dial.as_ref(), sources, options, progress, interrupted).await;
    stop.send_replace(true);
    serving.task.await?;
    Ok(report)
}

fn bytes_of(source: &dyn Source) -> u64 {
    let sequences = (0..source.frames()).map(crate::frame::Sequence);
    sequences.filter_map(|sequence| source.describe(sequence).ok()).map(|frame| frame.bytes).sum()
}
