//! How a sender stands while it sends, for its terminal, its log and its service manager.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::{Talk, log, output};
use super::told::{milliseconds, spool_words};
use crate::frame::ByteSize;
use crate::sender::{self, Progress};
use crate::spool::SpoolFigures;

/// How a sender stands, for a service manager.
pub(super) fn state(progress: &Progress) -> String {
    let sum = |count: fn(&sender::SourceProgress) -> u64| -> u64 {
        progress.sources.iter().map(count).sum()
    };
    let (frames, bytes) = (
        sum(|source| source.settled.load(Ordering::Relaxed)),
        sum(|source| source.bytes.load(Ordering::Relaxed)),
    );
    let connected = if progress.is_connected() { "connected" } else { "connecting" };
    format!("{connected}, {} settled, {}", output::frames(frames), ByteSize(bytes))
}

/// What the spool holds at the moment.
pub(super) type Spooled = Box<dyn Fn() -> SpoolFigures + Send + Sync>;

/// How often it is said how things are, where no bar is drawn and the user wants to know what goes on.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// What waits: `; 120 frames wait, the oldest for 4.0 s; spool: 3 in memory (180.0 kB), 117 on disk (7.0 MB)`.
fn waiting(progress: &Progress, spool: Option<&Spooled>) -> String {
    let sum = |count: fn(&sender::SourceProgress) -> u64| -> u64 {
        progress.sources.iter().map(count).sum()
    };
    let frames = sum(|source| source.frames.load(Ordering::Relaxed));
    let backlog = frames.saturating_sub(sum(|source| source.settled.load(Ordering::Relaxed)));
    let mut words = match (backlog, progress.oldest()) {
        (0, _) | (_, None) => String::new(),
        (1, Some(age)) => format!("; 1 frame waits, for {}", milliseconds(age.as_secs_f64() * 1e3)),
        (backlog, Some(age)) => {
            let age = milliseconds(age.as_secs_f64() * 1e3);
            format!("; {backlog} frames wait, the oldest for {age}")
        }
    };
    if let Some(figures) = spool.map(|spool| spool()) {
        words.push_str(&spool_words(&figures));
    }
    words
}

/// Draws progress until it is aborted; what goes wrong is told in any case.
pub(super) async fn show_progress(progress: Arc<Progress>, spool: Option<Spooled>, talk: Talk) {
    let sum = |count: fn(&sender::SourceProgress) -> u64| -> u64 {
        progress.sources.iter().map(count).sum()
    };
    let total = || sum(|source| source.frames.load(Ordering::Relaxed));
    let bar = output::bar(talk, Some(total()));
    let started = std::time::Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(125));
    let mut said = started;
    let mut recent = output::Recent::since(started);
    loop {
        tick.tick().await;
        if let Some(trouble) = progress.take_trouble().filter(|_| !talk.quiet) {
            log::repeatable(&[format!("framelane: {trouble}")], 1);
        }
        if let Some(change) = progress.take_change().filter(|_| !talk.quiet) {
            log::repeatable(&[format!("framelane: {change}")], 5);
        }
        let bytes = sum(|source| source.bytes.load(Ordering::Relaxed));
        bar.set_length(total());
        bar.set_position(sum(|source| source.settled.load(Ordering::Relaxed)));
        let waits = !progress.is_connected() && !progress.has_ended();
        let state = if waits { "  (connecting)" } else { "" };
        let rate = recent.rate(bytes, std::time::Instant::now());
        let waiting = waiting(&progress, spool.as_ref());
        if bar.is_hidden() && said.elapsed() >= SAID_EVERY {
            said = std::time::Instant::now();
            let settled = sum(|source| source.settled.load(Ordering::Relaxed));
            tracing::info!(
                "{settled} of {} settled, {} {rate}{state}{waiting}",
                output::frames(total()),
                ByteSize(bytes)
            );
        }
        bar.set_message(format!("{} {rate}{state}{waiting}", ByteSize(bytes)));
    }
}
