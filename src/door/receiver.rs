//! A receiver that runs, and hands its frames to the program.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::desk::Desk;
use super::frames::Frames;
use super::once::OnceEnd;
use super::places::Place;
use super::received::Received;
use super::serving::Serving;
use super::taking::Taker;
use crate::frame::NameError;
use crate::identity::Pin;
use crate::receiver::{ReceiveError, ReceiveProgress, ReceiveReport};

/// How often it is looked whether a receiver that serves one sender has come to its end.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Receives frames from many senders, in tasks of its own, and hands them to the program one by one.
///
/// # What a receipt means to the sender
/// With a folder ([`out`](super::ReceiverBuilder::out)), or another store: the frame is stored there. It is handed
/// out after that, once; a program that ends before it has taken a frame finds it in the folder.
///
/// Without one: the program has taken the frame, out of [`next`](Self::next). What it has not taken when it shuts
/// down or is killed is not confirmed, and its sender sends it again. A frame that came again, because its receipt
/// was lost, is handed out once, as far as the last 8,192 frames of a source tell. Of a source of which the program
/// wants the [latest](super::ReceiverBuilder::latest) frame only, a receipt means that the frame has arrived whole: the
/// program has taken it, will, or has a newer one.
///
/// # A program that is slow
/// Frames wait for it in bounded memory ([`queue`](super::ReceiverBuilder::queue)); behind that, sources wait, and
/// with them their senders, whose own sources wait or drop what is late. A sender whose frames nobody takes
/// for as long as its stall limit (30 s) takes the session for dead, and connects again.
///
/// Dropped before [`shutdown`](Self::shutdown), it stops as soon as it can.
#[derive(Debug)]
pub struct Receiver {
    task: JoinHandle<(ReceiveReport, Result<(), ReceiveError>)>,
    taker: Taker,
    stop: watch::Sender<bool>,
    places: Vec<Place>,
    pin: Pin,
    progress: Arc<ReceiveProgress>,
}

impl Receiver {
    pub(super) fn run(
        serving: Serving,
        taker: Taker,
        stop: watch::Sender<bool>,
        once: bool,
    ) -> Self {
        let (places, pin) = (serving.places.clone(), serving.pin);
        let progress = serving.progress.clone();
        let task = tokio::spawn(attend(serving, taker.desk.clone(), stop.clone(), once));
        Self { task, taker, stop, places, pin, progress }
    }

    /// The next frame: of each source in turn, and of one source in the order in which its frames came. `None` when
    /// the receiver has ended and no frame is left; [`shutdown`](Self::shutdown) says why.
    ///
    /// Cancel safe: a frame was returned, or it is still there for the next call.
    pub async fn next(&mut self) -> Option<Received> {
        self.taker.next().await
    }

    /// Takes frames from elsewhere, where this receiver cannot be borrowed.
    pub fn taker(&self) -> Taker {
        self.taker.clone()
    }

    /// The same frames as a stream, until the receiver has ended.
    ///
    /// Cancel safe, as [`next`](Self::next) is: the stream holds no frame, and may be dropped and made again at any time.
    pub fn frames(&mut self) -> Frames<'_> {
        Frames::of(&self.taker.desk)
    }

    /// The next frame, where one is there already. With [`ready`](Self::ready) several tasks can take frames.
    pub fn try_next(&self) -> Option<Received> {
        self.taker.try_next()
    }

    /// Waits until there is a frame to take, or there will be none. It takes nothing, so whoever gives up waiting
    /// loses nothing. Cancel safe.
    pub async fn ready(&self) {
        self.taker.ready().await;
    }

    /// True when no frame is left, and none will come.
    pub fn has_ended(&self) -> bool {
        self.taker.desk.has_ended()
    }

    /// From now on, the newest frame of this source, or of all where none is named, as
    /// [`latest`](super::ReceiverBuilder::latest) says it beforehand. Of those that wait for the program already, the newest
    /// is left.
    ///
    /// # Errors
    /// [`NameError`] where no source can have that name.
    pub fn want_latest(&self, source: Option<&str>) -> Result<(), NameError> {
        self.taker.want_latest(source)
    }

    /// From now on, each frame of this source, or of all where none is named.
    ///
    /// # Errors
    /// [`NameError`] where no source can have that name.
    pub fn want_every(&self, source: Option<&str>) -> Result<(), NameError> {
        self.taker.want_every(source)
    }

    /// Calls `callback` with each frame until the receiver has ended. Cancel safe: each frame was given to the
    /// callback, or is still there.
    pub async fn for_each(&mut self, mut callback: impl FnMut(Received)) {
        while let Some(frame) = self.next().await {
            callback(frame);
        }
    }

    /// Where it listens, with the port that the system has picked: the first address, where there are several.
    pub fn local_addr(&self) -> SocketAddr {
        self.places[0].address
    }

    /// Where it listens, for which transport.
    pub fn addresses(&self) -> &[Place] {
        &self.places
    }

    /// The pin by which senders trust it.
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// What is going on, to be looked at from anywhere.
    pub fn progress(&self) -> Arc<ReceiveProgress> {
        self.progress.clone()
    }

    /// Takes nothing new from senders. What has arrived can still be [taken](Self::next), and then there is no more.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Takes nothing new from senders, stores what has arrived where there is a store, confirms it, and says what
    /// was received. What the program has not taken is not handed out any more. The port is free then, unless a sender is
    /// so far away that to tell it takes longer than three seconds.
    ///
    /// # Errors
    /// [`ReceiveError`], where it had ended by itself before.
    ///
    /// # Panics
    /// Where the receiver itself has panicked.
    pub async fn shutdown(mut self) -> Result<ReceiveReport, ReceiveError> {
        self.stop();
        self.taker.desk.close();
        match (&mut self.task).await {
            Ok((report, ended)) => ended.map(|()| report),
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down, and nobody asks any more.
                Err(_) => Ok(ReceiveReport::default()),
            },
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
        self.taker.desk.close();
    }
}

/// Says at the desk that nothing more will come, however the task ends.
struct End(Arc<Desk>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Adds sessions up, and ends a receiver that serves one sender.
async fn attend(
    mut serving: Serving,
    desk: Arc<Desk>,
    stop: watch::Sender<bool>,
    once: bool,
) -> (ReceiveReport, Result<(), ReceiveError>) {
    let _end = End(desk);
    let (mut report, mut end) = (ReceiveReport::default(), OnceEnd::default());
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    let ended = loop {
        tokio::select! {
            // Reports first: what has ended is known before it is asked whether that was all.
            biased;
            Some(session) = serving.reports.recv() => {
                end.take(&session, Instant::now());
                report.add(session);
            }
            ended = &mut serving.task => break ended,
            _ = look.tick(), if once && !*stop.borrow() => {
                if serving.progress.sessions() == 0 && end.has_come(Instant::now()) {
                    stop.send_replace(true);
                }
            }
        }
    };
    while let Ok(session) = serving.reports.try_recv() {
        report.add(session);
    }
    match ended {
        Ok(ended) => (report, ended),
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => (report, Ok(())),
        },
    }
}
