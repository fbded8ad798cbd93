//! `framelane demo`: the main job on this machine, in one command.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::{
    COMPLETE, INCOMPLETE, INTERRUPTED, Outcome, Talk, output, process, send, sources,
    stop_on_signal, trust,
};
use crate::door::{Receiver, Sender};
use crate::frame::{ByteSize, SourceName};
use crate::identity::{Identity, ReceiverAddress, ReceiverTrust, SenderPolicy};
use crate::sender::SendReport;
use crate::source::synthetic::{self, Kind};
use crate::source::{Folder, Source};
use crate::store::{FolderStore, StoreOptions};
use crate::verify::{VerifyError, VerifyOptions, VerifyReport, verify};

const AFTER_HELP: &str = "\
Exit status: 0 every frame is stored and as it was sent, 1 one is not, 2 wrong usage, 130
interrupted.";

/// Generate two sources, send them over QUIC on this machine, store them, and verify every file
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
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

/// A camera that there is not.
struct Camera {
    name: &'static str,
    kind: Kind,
    extension: &'static str,
    /// About how many a frame has.
    bytes: usize,
}

const CAMERAS: [Camera; 2] = [
    Camera { name: "visible", kind: Kind::Visible, extension: "jpg", bytes: 60_000 },
    Camera { name: "infrared", kind: Kind::Infrared, extension: "png", bytes: 20_000 },
];

/// Any will do; the same one each time makes the same frames each time.
const SEED: u64 = 1;

pub(super) fn run(args: &DemoArgs, talk: Talk) -> Outcome {
    let runtime = process::runtime()?;
    let stop = runtime.block_on(async { stop_on_signal() })?;
    let outcome = demonstrate(args, talk, &runtime, &stop);
    // Where it was interrupted a thread may still be hashing, which changes nothing.
    runtime.shutdown_background();
    outcome
}

fn demonstrate(
    args: &DemoArgs,
    talk: Talk,
    runtime: &Runtime,
    stop: &watch::Receiver<bool>,
) -> Outcome {
    let identity = trust::identity(&args.certs)?;
    let mut sources: Vec<Arc<dyn Source>> = Vec::new();
    for camera in &CAMERAS {
        let folder = args.out.join(camera.name);
        let made = generate(camera, &folder, args.frames, talk, stop)?;
        if made < args.frames {
            let (folder, made) = (folder.display(), output::frames(made));
            return Ok(interrupted(&format!("{made} in {folder}, nothing was sent")));
        }
        sources.push(Arc::new(Folder::open(SourceName::parse(camera.name)?, &folder)?));
    }
    let out = new_store(&args.out)?;
    let report = runtime.block_on(transfer(&identity, sources, &out, stop.clone()))?;
    send::tell(&report, &sources::Unsent::default(), false)?;
    if report.interrupted {
        // Half a copy is of no use, and would be in the way of the next demo's.
        fs::remove_dir_all(&out)
            .with_context(|| format!("cannot remove the unfinished {}", out.display()))?;
        return Ok(interrupted(&format!("removed the unfinished {}", out.display())));
    }
    let Some(verified) = runtime.block_on(hash_again(out.clone(), stop.clone())) else {
        let stored = if report.is_complete() { "all is stored" } else { "NOT all is stored" };
        let out = out.display();
        return Ok(interrupted(&format!("{stored}; `framelane verify {out}` hashes what is")));
    };
    let proven = verified??.is_proven() && report.is_complete();
    tell_where(args, &out, proven);
    Ok(if proven { COMPLETE } else { INCOMPLETE })
}

/// Says that it was interrupted, and what there is.
fn interrupted(what: &str) -> u8 {
    output::note(&format!("framelane: interrupted: {what}"));
    INTERRUPTED
}

fn tell_where(args: &DemoArgs, out: &Path, proven: bool) {
    output::result(&format!(
        "every stored file was hashed again: {}",
        if proven { "all are as they were sent" } else { "NOT all are as they were sent" }
    ));
    output::result(&format!("frames:    {}/visible, infrared", args.out.display()));
    output::result(&format!("received:  {}/visible, infrared", out.display()));
    output::result(&format!("manifests: {}/visible/manifest.jsonl", out.display()));
}

/// Verifies the store in a thread of its own; `None` where the user did not wait for it.
async fn hash_again(
    out: PathBuf,
    mut stop: watch::Receiver<bool>,
) -> Option<Result<Result<VerifyReport, VerifyError>, tokio::task::JoinError>> {
    let hashing =
        tokio::task::spawn_blocking(move || verify(&out, VerifyOptions::default(), &mut |_| {}));
    tokio::select! {
        verified = hashing => Some(verified),
        Ok(_) = stop.wait_for(|stop| *stop) => None,
    }
}

/// Makes `received` in the demo's folder, or with a number behind it where there was a demo before. It
/// is this process that makes it, so that it may remove it as well.
fn new_store(folder: &Path) -> anyhow::Result<PathBuf> {
    let names = std::iter::once("received".to_owned())
        .chain((2..1_000).map(|number| format!("received-{number}")));
    for path in names.map(|name| folder.join(name)) {
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make {}", path.display()));
            }
        }
    }
    Err(anyhow!("{} is full of earlier demos; remove it", folder.display()))
}

/// Writes the frames that are not there yet, and says how many are then: all, unless it was
/// interrupted.
fn generate(
    camera: &Camera,
    folder: &Path,
    frames: u64,
    talk: Talk,
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<u64> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let bar = output::bar(talk, Some(frames));
    bar.set_message(format!("made for {}", folder.display()));
    for index in 0..frames {
        if *stop.borrow() {
            bar.finish_and_clear();
            return Ok(index);
        }
        let path = folder.join(format!("{index}.{}", camera.extension));
        if !path.exists() {
            write_whole(&path, &synthetic::of_size(camera.bytes, index, SEED, camera.kind))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    remove_rest(camera, folder, frames)?;
    Ok(frames)
}

/// Removes frames behind the last one, which a longer demo has left. What is not one of a demo's own stays.
fn remove_rest(camera: &Camera, folder: &Path, frames: u64) -> anyhow::Result<()> {
    for index in frames.. {
        let path = folder.join(format!("{index}.{}", camera.extension));
        let own = || synthetic::of_size(camera.bytes, index, SEED, camera.kind);
        if !fs::read(&path).is_ok_and(|found| found == own()) {
            break;
        }
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Writes a file that has its name only when it is whole: half of one would pass for a frame that
/// is there already.
fn write_whole(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    // Beside the source's folder, all of whose files are frames.
    let folder = path.parent().ok_or_else(|| anyhow!("it is in no folder"))?;
    let under_way = folder.with_extension("part");
    let written = fs::write(&under_way, content).and_then(|()| fs::rename(&under_way, path));
    if written.is_err() {
        let _ = fs::remove_file(&under_way);
    }
    Ok(written?)
}

/// A receiver and a sender, as `receive` and `send` run them, connected over loopback.
async fn transfer(
    identity: &Identity,
    sources: Vec<Arc<dyn Source>>,
    out: &Path,
    interrupted: watch::Receiver<bool>,
) -> anyhow::Result<SendReport> {
    let (stop, stopping) = watch::channel(false);
    let serving = Receiver::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
        .policy(SenderPolicy::only([identity.pin()]))
        .identity(identity.clone())
        .store(FolderStore::open(out, StoreOptions::default())?)
        .serve(stopping)?;
    let address = serving.places[0].address;
    output::note(&format!("receiving on {address}, storing to {}", out.display()));
    let bytes: u64 = sources.iter().map(|source| bytes_of(source.as_ref())).sum();
    output::note(&format!("sending {} in two sources over QUIC", ByteSize(bytes)));
    let mut sender = Sender::to(address.to_string())
        .trust(ReceiverTrust::pinned(ReceiverAddress::from(address), serving.pin))
        .identity(identity.clone())
        .retry_for(Duration::from_secs(5))
        .stop_when(interrupted);
    for source in sources {
        sender = sender.any(source);
    }
    let report = sender.start().await?.finish().await;
    stop.send_replace(true);
    serving.task.await??;
    Ok(report)
}

fn bytes_of(source: &dyn Source) -> u64 {
    let sequences = (0..source.frames()).map(crate::frame::Sequence);
    sequences.filter_map(|sequence| source.describe(sequence).ok()).map(|frame| frame.bytes).sum()
}
