//! A sender that runs.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::error::PushError;
use super::frame::Frame;
use super::pushed::Pushed;
use super::pushing::{Pusher, Ready};
use super::receipt::Receipt;
use crate::frame::ByteSize;
use crate::sender::{self, Progress, SendOptions, SendReport};
use crate::source::Source;
use crate::spool::{Spool, SpoolFigures};
use crate::transport::Dial;

/// Why nothing is known of a run that was ended from outside.
const CUT_SHORT: &str =
    "the sender was cut short before its end: the runtime that it ran on was shut down";

/// Sends frames to a receiver, in a task of its own: those that are pushed, those of folders, those of any
/// source.
///
/// Lost connections are made again. Dropped before [`finish`](Self::finish), it stops as soon as it can, and
/// nothing is known of what is not confirmed then.
#[derive(Debug)]
pub struct Sender {
    task: JoinHandle<SendReport>,
    pusher: Pusher,
    progress: Arc<Progress>,
    spool: Option<Figures>,
    stop: watch::Sender<bool>,
}

/// Looks at what is in the spool.
#[derive(Clone)]
struct Figures(Arc<dyn Fn() -> SpoolFigures + Send + Sync>);

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0().fmt(f)
    }
}

/// What a sender runs with.
pub(super) struct Parts {
    pub(super) dial: Box<dyn Dial>,
    pub(super) sources: Vec<Arc<dyn Source>>,
    pub(super) pushed: Vec<Arc<Pushed>>,
    pub(super) options: SendOptions,
    pub(super) memory: ByteSize,
    pub(super) spool: Option<Spool>,
    pub(super) stop: Option<watch::Receiver<bool>>,
}

impl Sender {
    pub(super) fn run(parts: Parts) -> Self {
        let Parts { dial, sources, pushed, options, memory, spool, stop: from_outside } = parts;
        let figures = spool.as_ref().map(|spool| Figures(Arc::new(spool.watch())));
        let progress = Arc::new(Progress::new(sources.iter().map(|source| source.frames())));
        let (stop, stopped) = watch::channel(false);
        let pusher = Pusher::new(pushed, memory);
        if let Some(from_outside) = from_outside {
            tokio::spawn(pass_on(from_outside, stop.clone()));
        }
        let shown = progress.clone();
        let end = End(pusher.clone());
        let task = tokio::spawn(async move {
            let end = end;
            let mut report = sender::run(dial.as_ref(), sources, options, shown, stopped).await;
            // Whoever waits for room waits no longer, while the spool is closed.
            end.0.room.close();
            if let Some(spool) = spool {
                close(spool, &mut report).await;
            }
            report
        });
        Self { task, pusher, progress, spool: figures, stop }
    }

    /// Hands over a frame of a source. Waits only while the [memory](super::SenderBuilder::memory) is full, and where
    /// there is a [spool](super::SenderBuilder::spool) that is told to wait, while that is full as well; a frame that is longer than all of it waits until it is empty. Frames of one source are in the order of their
    /// pushes.
    ///
    /// Cancel safe: either the frame was handed over, or it was not.
    ///
    /// # Errors
    /// [`PushError`].
    pub async fn push(&self, source: &str, frame: Frame) -> Result<Receipt, PushError> {
        self.ready(source, frame).await?.push()
    }

    /// The same in two steps: waits until there is room for a frame, which is handed over by [`Ready::push`], at once. For
    /// whoever is told of the room elsewhere, and may have given the frame up by then.
    ///
    /// Cancel safe: nothing was handed over. Frames of one source are in the order of the second step.
    ///
    /// # Errors
    /// [`PushError`].
    pub async fn ready(&self, source: &str, frame: Frame) -> Result<Ready, PushError> {
        self.pusher.ready(source, frame).await
    }

    /// Hands frames over from elsewhere, where this sender cannot be borrowed.
    pub fn pusher(&self) -> Pusher {
        self.pusher.clone()
    }

    /// Frames that were pushed and are not settled.
    pub fn pending(&self) -> usize {
        self.pusher.pending()
    }

    /// What is going on, to be looked at from anywhere.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// What the spool holds, where there is one, to be looked at from anywhere.
    pub fn spool(&self) -> Option<impl Fn() -> SpoolFigures + Send + Sync + use<>> {
        let figures = self.spool.clone()?;
        Some(move || figures.0())
    }

    /// Ends the run early: what is not confirmed by then is missing in the report. The receiver has up to four seconds to
    /// confirm what it has, and to note what will not come; told once more, the run waits for neither.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until everything that was pushed, and every frame of the other sources, is settled, and says what
    /// became of it. A source that never ends is waited for.
    ///
    /// # Panics
    /// Where the run itself has panicked.
    pub async fn finish(mut self) -> SendReport {
        self.pusher.sources.iter().for_each(|source| source.end());
        match (&mut self.task).await {
            Ok(report) => report,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Nobody else has the task.
                Err(_) => {
                    let error = Some(CUT_SHORT.to_owned());
                    SendReport { complete: false, error, ..SendReport::default() }
                }
            },
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // Not once more where it was told: that would be another word.
        self.stop.send_if_modified(|stop| !std::mem::replace(stop, true));
    }
}

/// At the end of a run, however that comes, whoever waits for room, or for a receipt, waits no longer: the runtime may be shut
/// down while others use the sender.
struct End(Pusher);

impl Drop for End {
    fn drop(&mut self) {
        self.0.room.close();
        self.0.sources.iter().for_each(|source| source.abandon());
    }
}

/// Closes the spool at the end of a run, and says in its report what is in it then: frames that had no room on disk are
/// not in it.
async fn close(spool: Spool, report: &mut SendReport) {
    let figures = spool.watch();
    // The disk may take a while.
    let closed = tokio::task::spawn_blocking(move || spool.close()).await;
    report.spool = Some(figures());
    let on_disk = closed.unwrap_or_default();
    for source in &mut report.sources {
        let of_it = on_disk.iter().find(|(name, _)| name.as_str() == source.name);
        let there = of_it.map_or(0, |&(_, frames)| frames);
        let lost = source.pending.saturating_sub(there);
        source.pending -= lost;
        source.missing += lost;
    }
    report.complete = report.is_complete();
}

/// Stops the run when the user's own signal says so, as often as it does.
async fn pass_on(mut from: watch::Receiver<bool>, stop: watch::Sender<bool>) {
    let mut told = false;
    loop {
        tokio::select! {
            Ok(()) = said(&mut from, told) => {
                stop.send_replace(true);
                told = true;
            }
            () = stop.closed() => return,
            else => return,
        }
    }
}

/// Waits for the signal's first word, or another one.
async fn said(
    from: &mut watch::Receiver<bool>,
    again: bool,
) -> Result<(), watch::error::RecvError> {
    if again {
        from.changed().await?;
    }
    from.wait_for(|stop| *stop).await.map(|_| ())
}

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
