//! The sender's role: what the session says, as far as the protocol can carry it.
//!
//! Each source has a connection of its own. An offer is answered once the server has taken the
//! opening of its source, and never before: a server that serves one connection at a time leaves the
//! second in its backlog until the first is over, and a session that knew its frames wanted would
//! fill its share of unconfirmed ones with frames that cannot move. So with such a server one source
//! follows the other, with one that serves several they run side by side, and nobody has to know
//! which it is.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Failure;
use super::line::{Event, Job, Line, Shared};
use super::settings::{MAX_FRAME_BYTES, SenderSettings, UNCONFIRMED_BYTES, UNCONFIRMED_PER_SOURCE};
use super::socket::prepare;
use crate::frame::{DropRange, FrameMeta, Sequence, UnixNanos};
use crate::transport::kernel::choose_congestion;
use crate::transport::{
    BoxFuture, Dial, FRAME_QUEUE, LinkEnd, LinkKeeper, MESSAGE_QUEUE, OutgoingFrame, PathStats,
    PathWatch, SenderLink, Transport, TransportError, Via,
};
use crate::wire::stop_and_wait::{Header, Opening};
use crate::wire::{
    Answer, Capabilities, EndOfRun, Hello, Message, Noted, Offer, Receipts, Refusal, RefusalCode,
    SequenceRun, SourceId, Totals, Verdict, Welcome,
};

/// Opens sessions to a server that speaks the scripts' protocol.
#[derive(Debug, Clone)]
pub struct StopAndWaitDial {
    address: SocketAddr,
    settings: SenderSettings,
}

impl StopAndWaitDial {
    /// Will connect to `address`.
    pub fn new(address: SocketAddr, settings: SenderSettings) -> Self {
        Self { address, settings }
    }

    async fn open(&self) -> Result<SenderLink, TransportError> {
        let stream = self.connect(self.address).await?;
        Ok(start(stream, self.address, self.settings.clone()))
    }

    async fn connect(&self, address: SocketAddr) -> Result<TcpStream, TransportError> {
        let transport = Transport::StopAndWait;
        let refused = |error: std::io::Error| TransportError::connect(address, transport, &error);
        let attempt = timeout(self.settings.connect, TcpStream::connect(address)).await;
        let stream = attempt.map_err(|_| TransportError::NoAnswer {
            address,
            transport,
            seconds: self.settings.connect.as_secs(),
            advice: "check the address, and that no firewall is in the way",
        })?;
        let stream = stream.map_err(refused)?;
        prepare(&stream).map_err(refused)?;
        if let Some(name) = &self.settings.congestion {
            choose_congestion(&SockRef::from(&stream), name)?;
        }
        Ok(stream)
    }
}

impl Dial for StopAndWaitDial {
    /// Opens the connection that the first source will use.
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        Box::pin(self.open())
    }

    /// The protocol carries no hash: nobody checks what arrives.
    fn proves_content(&self) -> bool {
        false
    }
}

fn start(stream: TcpStream, address: SocketAddr, settings: SenderSettings) -> SenderLink {
    let (messages, from_session) = mpsc::channel(MESSAGE_QUEUE);
    let (frames, frames_from_session) = mpsc::channel(FRAME_QUEUE);
    let (to_session, incoming) = mpsc::channel(MESSAGE_QUEUE);
    let (end, keeper) = LinkEnd::new();
    let (events, happened) = mpsc::channel(MESSAGE_QUEUE);
    let sent = Arc::new(AtomicU64::new(0));
    let served = Arc::new(watch::Sender::new(0));
    let shared = Shared { address, settings, served, sent: Arc::clone(&sent), events };
    let session = Session {
        shared,
        first: Some(stream),
        incoming: to_session,
        sources: Vec::new(),
        unconfirmed: 0,
        lines: JoinSet::new(),
    };
    tokio::spawn(session.run(keeper, from_session, frames_from_session, happened));
    let path = PathWatch::new(move || PathStats {
        bytes_sent: sent.load(Ordering::Relaxed),
        moved: Some(sent.load(Ordering::Relaxed)),
        ..PathStats::default()
    });
    let via = Via { transport: Transport::StopAndWait, address, why: None, link: None };
    SenderLink { messages, frames, incoming, end, path, via }
}

/// The task behind a [`SenderLink`].
struct Session {
    shared: Shared,
    /// The connection that was opened by dialling, for the first source that needs one.
    first: Option<TcpStream>,
    incoming: mpsc::Sender<Message>,
    sources: Vec<Source>,
    unconfirmed: u64,
    lines: JoinSet<Result<(), Failure>>,
}

struct Source {
    opening: Bytes,
    jobs: Option<mpsc::Sender<Job>>,
    served: bool,
    /// Lengths of the offers that wait for their answer.
    offers: VecDeque<usize>,
    stored: u64,
}

impl Session {
    async fn run(
        mut self,
        mut keeper: LinkKeeper,
        messages: mpsc::Receiver<Message>,
        frames: mpsc::Receiver<OutgoingFrame>,
        events: mpsc::Receiver<Event>,
    ) {
        let address = self.shared.address;
        let cause = tokio::select! {
            Err(failure) = self.serve(messages, frames, events) => failure.at(address),
            // Whatever is confirmed is stored; a frame on its way the session will send again.
            _ = keeper.close.recv() => TransportError::Ended,
        };
        keeper.ended(cause);
    }

    async fn serve(
        &mut self,
        mut messages: mpsc::Receiver<Message>,
        mut frames: mpsc::Receiver<OutgoingFrame>,
        mut events: mpsc::Receiver<Event>,
    ) -> Result<std::convert::Infallible, Failure> {
        let mut frames_come = true;
        loop {
            let room = self.unconfirmed < self.limit();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.on_message(message).await?,
                    None => return Err(Failure::Ended),
                },
                frame = frames.recv(), if frames_come && room => match frame {
                    Some(frame) => self.on_frame(frame).await?,
                    None => frames_come = false,
                },
                Some(event) = events.recv() => self.on_event(event).await?,
                Some(line) = self.lines.join_next() => match line {
                    Ok(result) => result?,
                    Err(error) => return Err(Failure::Lost(error.to_string())),
                },
            }
        }
    }

    /// Frames that may be unconfirmed in all: what the welcome says.
    fn limit(&self) -> u64 {
        UNCONFIRMED_PER_SOURCE * self.sources.len() as u64
    }

    async fn on_message(&mut self, message: Message) -> Result<(), Failure> {
        match message {
            Message::Hello(hello) => self.on_hello(hello).await,
            Message::Offer(offer) => self.on_offer(offer).await,
            Message::EndOfRun(end) => self.on_end(end).await,
            // Nobody at the other end keeps an account of them.
            Message::Drops(drops) => {
                let run =
                    |range: &DropRange| SequenceRun { first: range.first, count: range.count };
                let frames = drops.ranges.iter().map(run).collect();
                self.tell(Message::Noted(Noted { source: drops.source, run: drops.run, frames }))
                    .await
            }
            // The protocol cannot ask for a clock; whoever asks gets no answer.
            Message::ClockProbe(_) => Ok(()),
            other => {
                tracing::debug!("stop-and-wait has no way to say {}", other.name());
                Ok(())
            }
        }
    }

    async fn on_hello(&mut self, hello: Hello) -> Result<(), Failure> {
        let next = vec![Sequence(0); hello.sources.len()];
        for source in &hello.sources {
            // The name tells visible from infrared, and is the folder that the user wishes for.
            let name = source.name.as_str().to_owned();
            let opening = Opening { format: name.clone(), directory: name }.encode()?;
            self.sources.push(Source {
                opening,
                jobs: None,
                served: false,
                offers: VecDeque::new(),
                stored: 0,
            });
        }
        self.tell(Message::Welcome(Welcome {
            durable: false,
            // It does not ask what is there.
            replaces: true,
            max_frame: MAX_FRAME_BYTES,
            max_unconfirmed_bytes: UNCONFIRMED_BYTES,
            max_unconfirmed_frames: self.limit(),
            agent: "stop-and-wait".to_owned(),
            next,
            capabilities: Capabilities::default(),
            join: None,
            unopened: Vec::new(),
        }))
        .await
    }

    async fn on_offer(&mut self, offer: Offer) -> Result<(), Failure> {
        self.line(offer.source)?;
        let source = self.source(offer.source)?;
        source.offers.push_back(offer.entries.len());
        self.answer(offer.source).await
    }

    /// Everything is wanted: the protocol cannot tell what is stored.
    async fn answer(&mut self, id: SourceId) -> Result<(), Failure> {
        loop {
            let source = self.source(id)?;
            let offer = if source.served { source.offers.pop_front() } else { None };
            let Some(entries) = offer else { return Ok(()) };
            let verdicts = std::iter::repeat_n(Verdict::Wanted, entries);
            self.tell(Message::Answer(Answer::new(id, verdicts))).await?;
        }
    }

    async fn on_frame(&mut self, frame: OutgoingFrame) -> Result<(), Failure> {
        let id = frame.header.source;
        if let Err((code, why)) = check(&frame) {
            let sequence = frame.header.meta.sequence;
            let refusal = Refusal::new(id, sequence, code, &why);
            return self.tell(Message::Refusal(refusal)).await;
        }
        let line = self.line(id)?;
        self.unconfirmed += 1;
        hand(&line, Job::Frame(Box::new(frame))).await
    }

    async fn on_end(&mut self, end: EndOfRun) -> Result<(), Failure> {
        let source = self.source(end.source)?;
        match source.jobs.take() {
            Some(line) => hand(&line, Job::End).await,
            // Nothing of it was ever sent, so the server need not hear of it.
            None => self.totals(end.source).await,
        }
    }

    async fn on_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Opened(id) => {
                self.source(id)?.served = true;
                self.answer(id).await
            }
            Event::Stored(id, sequence) => {
                self.source(id)?.stored += 1;
                self.unconfirmed -= 1;
                let receipts = Receipts::new(id, UnixNanos::now(), [sequence]);
                self.tell(Message::Receipts(receipts)).await
            }
            Event::Finished(id) => self.totals(id).await,
        }
    }

    async fn totals(&mut self, source: SourceId) -> Result<(), Failure> {
        let stored = self.source(source)?.stored;
        self.tell(Message::Totals(Totals { source, stored, already: 0 })).await
    }

    /// The line of a source, opened where it is not.
    fn line(&mut self, id: SourceId) -> Result<mpsc::Sender<Job>, Failure> {
        // Room for all that may be unconfirmed and for the end, so that handing over never waits.
        let room = self.limit() as usize + 1;
        let source = self.source(id)?;
        if let Some(line) = &source.jobs {
            return Ok(line.clone());
        }
        let (line, jobs) = mpsc::channel(room);
        source.jobs = Some(line.clone());
        source.served = false;
        let opening = source.opening.clone();
        let stream = self.first.take();
        let shared = self.shared.clone();
        self.lines.spawn(Line { source: id, opening, stream, jobs, shared }.run());
        Ok(line)
    }

    fn source(&mut self, id: SourceId) -> Result<&mut Source, Failure> {
        let unknown = || Failure::Protocol(format!("the hello has no source {}", id.0));
        self.sources.get_mut(usize::from(id.0)).ok_or_else(unknown)
    }

    async fn tell(&self, message: Message) -> Result<(), Failure> {
        self.incoming.send(message).await.map_err(|_| Failure::Ended)
    }
}

async fn hand(line: &mpsc::Sender<Job>, job: Job) -> Result<(), Failure> {
    // A line that ended says why itself, when it is joined.
    let _ = line.send(job).await;
    Ok(())
}

/// What the protocol cannot carry is refused here, before anything of it is sent.
fn check(frame: &OutgoingFrame) -> Result<(), (RefusalCode, String)> {
    let FrameMeta { bytes, name, .. } = &frame.header.meta;
    if *bytes != frame.body.len() as u64 {
        let why = format!("{name} has {} bytes where {bytes} were announced", frame.body.len());
        return Err((RefusalCode::LengthMismatch, why));
    }
    if *bytes > MAX_FRAME_BYTES {
        let why = format!("{name} is {bytes} bytes long; at most {MAX_FRAME_BYTES} can be sent");
        return Err((RefusalCode::TooLarge, why));
    }
    let header = Header { bytes: *bytes, name: name.clone() };
    header.encode().map(drop).map_err(|error| (RefusalCode::BadHeader, error.to_string()))
}
