//! A receiver that has no room for a while: its paths carry all that they are asked to, and it answers, but it takes no
//! frame. That is no path that has died: nothing is to move, and nothing to end.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use framelane::Receiver;
use framelane::frame::ByteSize;
use framelane::link::Privilege;

use crate::together::BOTH;
use crate::world::{LINK, RECEIVER, World};

/// Frames that are taken before nothing is taken any more.
const BEFORE: u64 = 30;

/// The memory of the receiver, and what waits for its program: full within the time.
const MEMORY: ByteSize = ByteSize(6 << 20);
/// See [`MEMORY`].
const QUEUE: ByteSize = ByteSize(200_000);

/// The receiver, as a program of its own: it takes no frame for so long, and says on standard output where it listens,
/// and how many it has taken.
pub(crate) fn receive(seconds: u64) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let receiver = Receiver::listen(format!("{RECEIVER}:0")).allow_any().certs("receiver");
        let receiver = receiver.max_frame(ByteSize(1 << 20)).memory(MEMORY).queue(QUEUE).once();
        let mut receiver = receiver.start().await?;
        let mut out = std::io::stdout();
        writeln!(out, "listening on {}", receiver.local_addr())?;
        out.flush()?;
        let mut taken = std::collections::HashSet::new();
        let mut longest = Duration::ZERO;
        let mut rests = Some(Duration::from_secs(seconds));
        let mut last = Instant::now();
        while let Some(frame) = receiver.next().await {
            ensure!(taken.insert((frame.source, frame.sequence)), "a frame comes twice");
            longest = longest.max(last.elapsed());
            last = Instant::now();
            if taken.len() as u64 >= BEFORE
                && let Some(rest) = rests.take()
            {
                tokio::time::sleep(rest).await;
                last = Instant::now();
            }
        }
        writeln!(out, "{} {}", taken.len(), longest.as_millis())?;
        Ok(())
    })
}

/// Two sources go to it, over the links and transports that `options` name.
pub(crate) fn run(
    privilege: Privilege,
    seconds: u64,
    bytes: [usize; 2],
    options: &[&str],
) -> Result<String> {
    let mut world = World::new(privilege, LINK, LINK)?;
    let frames = (seconds + 3) * 30;
    let sending = world.send_to_full(frames, bytes, seconds, options)?;
    let (paths, said) = world.finish_full(sending)?;
    let log = world.said();
    if std::env::var_os("FRAMELANE_TEST_VERBOSE").is_some() {
        eprintln!("{log}");
    }
    let mut words = said.split_whitespace();
    let taken: u64 = words.next().and_then(|word| word.parse().ok()).context("a number")?;
    ensure!(taken == 2 * frames, "{taken} of {} frames were taken: {log}", 2 * frames);
    ensure!(paths.len() == 1, "it has moved: {paths:?}{log}");
    ensure!(!log.contains("is lost"), "a connection has ended: {log}");
    // Where this machine is busy with something else, a pause of it is as long as a path takes to be taken for dead.
    let silences = log.matches("nothing comes over").count();
    ensure!(silences <= 1, "paths are taken for dead: {log}");
    Ok(format!("all {taken} frames, over {}", paths[0]))
}

/// The same over each kind of path.
pub(crate) fn all(privilege: Privilege, seconds: u64) -> Result<String> {
    let long = [60_000, 20_000];
    let mut seen = Vec::new();
    for (options, bytes) in [
        (&BOTH[..], long),
        (&[][..], long),
        (&["--via", "link,transport=tcp", "--via", "link1,transport=tcp"][..], long),
        (&["--via", "link,transport=quic", "--via", "link1,transport=tcp"][..], [3_000, 1_000]),
    ] {
        seen.push(run(privilege, seconds, bytes, options).with_context(|| options.join(" "))?);
    }
    Ok(seen.join("; "))
}
