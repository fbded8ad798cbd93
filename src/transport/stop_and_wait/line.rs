//! One source's connection to a server, in the sender's role.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant, sleep, timeout, timeout_at};

use super::Failure;
use super::settings::{ACK_POLL, PROGRESS_POLL, RETRY_PAUSE, SenderSettings};
use super::socket::{is_idle, prepare, unacknowledged};
use crate::frame::Sequence;
use crate::transport::OutgoingFrame;
use crate::transport::kernel::choose_congestion;
use crate::wire::stop_and_wait::{CONTINUE, Header, OVER, decode_ok};
use crate::wire::{Decoded, SourceId};

/// How TLS answers what is no TLS: an alert, of any version (RFC 8446, section 5.1).
const TLS_ALERT: &[u8] = &[0x15, 0x03];

/// What a line is to do next.
pub(super) enum Job {
    Frame(Box<OutgoingFrame>),
    /// Say `over` and close.
    End,
}

/// What a line has done.
pub(super) enum Event {
    /// The server has taken the opening: it serves this connection now.
    Opened(SourceId),
    /// The server has confirmed a body.
    Stored(SourceId, Sequence),
    /// `over` was said.
    Finished(SourceId),
}

/// What the lines of a session share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) address: std::net::SocketAddr,
    pub(super) settings: SenderSettings,
    /// How many lines are being served.
    pub(super) served: Arc<watch::Sender<usize>>,
    /// Bytes handed to the kernel.
    pub(super) sent: Arc<AtomicU64>,
    pub(super) events: mpsc::Sender<Event>,
}

/// A line before it is opened.
pub(super) struct Line {
    pub(super) source: SourceId,
    pub(super) opening: Bytes,
    /// A connection that is there already.
    pub(super) stream: Option<TcpStream>,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) shared: Shared,
}

impl Line {
    /// Opens the connection and does what it is told, until it has said `over`.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let mut talk = self.open_in_turn().await?;
        let _turn = Turn::take(&self.shared.served);
        self.tell(Event::Opened(self.source)).await?;
        let mut first = true;
        while let Some(job) = talk.next_job(&mut self.jobs).await? {
            let frame = match job {
                Job::Frame(frame) => frame,
                Job::End => {
                    talk.write(OVER).await?;
                    // The server may have closed already, which is all that is wanted.
                    let _ = talk.stream.shutdown().await;
                    return self.tell(Event::Finished(self.source)).await;
                }
            };
            if !first {
                talk.say_continue().await?;
            }
            first = false;
            let sequence = frame.header.meta.sequence;
            talk.send_frame(*frame).await?;
            self.tell(Event::Stored(self.source, sequence)).await?;
        }
        Ok(())
    }

    async fn tell(&self, event: Event) -> Result<(), Failure> {
        self.shared.events.send(event).await.map_err(|_| Failure::Ended)
    }

    /// Waits as long as other lines are served: a server may serve one connection at a time, and
    /// this one is then in its backlog.
    async fn open_in_turn(&mut self) -> Result<Talk, Failure> {
        let served = self.shared.served.subscribe();
        let reply = self.shared.settings.reply;
        tokio::select! {
            opened = self.open() => opened,
            () = out_of_patience(served, reply) => Err(Failure::Lost(format!(
                "it has not answered the opening for {} s; does it speak stop-and-wait, and is it \
                 free?",
                reply.as_secs()
            ))),
        }
    }

    async fn open(&mut self) -> Result<Talk, Failure> {
        // A source may have been quiet since the session began, for longer than a server waits.
        let stream = match self.stream.take().filter(is_idle) {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let mut talk = Talk { stream, reply: BytesMut::new(), shared: self.shared.clone() };
        talk.write(&self.opening).await?;
        // Whoever called this keeps the time.
        talk.await_ok("the opening; does it speak stop-and-wait?", None).await?;
        Ok(talk)
    }

    async fn connect(&self) -> Result<TcpStream, Failure> {
        loop {
            match TcpStream::connect(self.shared.address).await {
                Ok(stream) => {
                    prepare(&stream)?;
                    if let Some(name) = &self.shared.settings.congestion {
                        choose_congestion(&SockRef::from(&stream), name)
                            .map_err(|error| Failure::Refused(error.to_string()))?;
                    }
                    return Ok(stream);
                }
                // A full backlog answers nothing at all.
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                    sleep(RETRY_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Returns once no line has been served for `patience`.
async fn out_of_patience(mut served: watch::Receiver<usize>, patience: Duration) {
    loop {
        if served.wait_for(|lines| *lines == 0).await.is_err() {
            return;
        }
        match timeout(patience, served.wait_for(|lines| *lines > 0)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// A line's place among the served ones.
struct Turn(Arc<watch::Sender<usize>>);

impl Turn {
    fn take(served: &Arc<watch::Sender<usize>>) -> Self {
        served.send_modify(|lines| *lines += 1);
        Self(Arc::clone(served))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.send_modify(|lines| *lines -= 1);
    }
}

/// An open connection.
struct Talk {
    stream: TcpStream,
    /// What has come of a reply.
    reply: BytesMut,
    shared: Shared,
}

impl Talk {
    /// Waits for the next job; ends early where the server closes the connection meanwhile.
    async fn next_job(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Result<Option<Job>, Failure> {
        let mut unasked = [0];
        tokio::select! {
            biased;
            job = jobs.recv() => Ok(job),
            read = self.stream.read(&mut unasked) => Err(match read? {
                0 => Failure::Lost("it closed the connection between two frames".to_owned()),
                _ => Failure::Protocol("it said something without being asked".to_owned()),
            }),
        }
    }

    /// Says `continue`, and leaves the server the time to read it alone, unless the gap is zero: merged
    /// with the next header, a script would take both for one text and wait forever. Nothing answers a
    /// `continue`, so this can only make it very likely.
    async fn say_continue(&mut self) -> Result<(), Failure> {
        self.write(CONTINUE).await?;
        let gap = self.shared.settings.gap;
        // To wait for the kernel at the other end is a round trip, which the scripts do not take either.
        if gap.is_zero() {
            return Ok(());
        }
        let deadline = Instant::now() + self.shared.settings.reply;
        while unacknowledged(&self.stream).is_some_and(|bytes| bytes > 0) {
            if Instant::now() > deadline {
                return Err(self.silent("continue"));
            }
            sleep(ACK_POLL).await;
        }
        sleep(gap).await;
        Ok(())
    }

    async fn send_frame(&mut self, frame: OutgoingFrame) -> Result<(), Failure> {
        let OutgoingFrame { header, body, .. } = frame;
        let name = header.meta.name.clone();
        let header = Header { bytes: header.meta.bytes, name: header.meta.name }.encode()?;
        let reply = self.shared.settings.reply;
        self.write(&header).await?;
        self.await_ok(&format!("the header of {name}"), Some(reply)).await?;
        // As the scripts do; a frame has two bytes at least.
        for piece in body.chunks((body.len() / 2).max(1)) {
            self.write(piece).await?;
        }
        self.await_ok(name.as_str(), Some(reply)).await
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let write = timeout(self.shared.settings.reply, self.stream.write(bytes)).await;
            let written = write.map_err(|_| self.silent("the bytes of a frame"))??;
            if written == 0 {
                return Err(Failure::Lost("it takes no more bytes".to_owned()));
            }
            self.shared.sent.fetch_add(written as u64, Ordering::Relaxed);
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Waits for an `ok`, without end or for `patience` after the last sign of life: the kernel
    /// holds megabytes of a body, which take their time on a slow link.
    async fn await_ok(&mut self, what: &str, patience: Option<Duration>) -> Result<(), Failure> {
        let mut alive = Instant::now();
        let mut unsent = unacknowledged(&self.stream);
        loop {
            if self.reply.starts_with(TLS_ALERT) {
                return Err(Failure::Protocol(
                    "it speaks TLS, not stop-and-wait: name the `transport` that its `receive` serves"
                        .to_owned(),
                ));
            }
            if let Decoded::Value(..) = decode_ok(&self.reply)? {
                self.reply.clear();
                return Ok(());
            }
            let look = timeout_at(Instant::now() + PROGRESS_POLL, self.read_reply(what)).await;
            match look {
                Ok(read) => read?,
                Err(_) => {
                    let left = unacknowledged(&self.stream);
                    if left < unsent {
                        alive = Instant::now();
                    }
                    unsent = left;
                }
            }
            if patience.is_some_and(|patience| alive.elapsed() >= patience) {
                return Err(self.silent(what));
            }
        }
    }

    async fn read_reply(&mut self, what: &str) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.reply).await? {
            0 => Err(Failure::Lost(format!("it closed the connection instead of taking {what}"))),
            _ => Ok(()),
        }
    }

    fn silent(&self, what: &str) -> Failure {
        let seconds = self.shared.settings.reply.as_secs();
        Failure::Lost(format!("it has not taken {what} for {seconds} s"))
    }
}
