//! What `tcp-per-frame` adds: a new connection for each frame.
//!
//! Such a connection starts with the name of its session, which the hello has made known on the
//! session's own connection, and goes on with one frame record. The receiver answers with a close
//! record once it has the frame, and closes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use tokio::io::AsyncRead;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::alive::{Watched, until_dead};
use super::connect::{Connector, with_alpn};
use super::counted::Counted;
use super::intake::{self, Taken};
use super::link::answer;
use super::reader::{ReadError, RecordReader};
use super::socket::Stream;
use super::underway::{Expected, Underway};
use super::writer::{RecordWriter, SessionId, most_urgent};
use super::{path, settings};
use crate::transport::desk::Seat;
use crate::transport::{
    Account, Arrival, Claim, GivenUp, Intake, OutgoingFrame, SourceCount, TransportError, hand_on,
};
use crate::wire::record::Record;
use crate::wire::{ALPN_SINGLE_FRAME, CloseCode, SourceId};

/// A sender's frames, each on its way to a connection of its own: one of a source at a time.
pub(super) struct Pool {
    connector: Connector,
    tls: Arc<ClientConfig>,
    frames: mpsc::Receiver<OutgoingFrame>,
    session: watch::Receiver<Option<SessionId>>,
    underway: Underway,
    /// Told which frames were given up.
    given_up: GivenUp,
    waiting: Vec<OutgoingFrame>,
    busy: Vec<SourceId>,
    sending: JoinSet<Result<SourceId, TransportError>>,
}

impl Pool {
    pub(super) fn new(
        connector: Connector,
        tls: &ClientConfig,
        frames: mpsc::Receiver<OutgoingFrame>,
        session: watch::Receiver<Option<SessionId>>,
        underway: Underway,
        given_up: GivenUp,
    ) -> Self {
        let tls = with_alpn(tls, ALPN_SINGLE_FRAME);
        let (waiting, busy, sending) = (Vec::new(), Vec::new(), JoinSet::new());
        Self { connector, tls, frames, session, underway, given_up, waiting, busy, sending }
    }

    /// Sends frames until `stop` fires and none is left.
    pub(super) async fn run(
        mut self,
        mut stop: oneshot::Receiver<()>,
    ) -> Result<(), TransportError> {
        let mut stopping = false;
        while !(stopping && self.waiting.is_empty() && self.sending.is_empty()) {
            self.start();
            let room = !stopping && self.waiting.len() < settings::FRAMES_WAITING;
            tokio::select! {
                Some(frame) = self.frames.recv(), if room => self.waiting.push(frame),
                Some(done) = self.sending.join_next() => {
                    let source = done.map_err(|error| self.lost(error.to_string()))??;
                    self.busy.retain(|&busy| busy != source);
                }
                _ = &mut stop, if !stopping => {
                    stopping = true;
                    while let Ok(frame) = self.frames.try_recv() {
                        self.waiting.push(frame);
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts every frame whose source has none under way, the most urgent first.
    fn start(&mut self) {
        while self.sending.len() < settings::FRAME_CONNECTIONS {
            let idle = |frame: &OutgoingFrame| !self.busy.contains(&frame.header.source);
            let Some(place) = most_urgent(&self.waiting, idle) else { return };
            let frame = self.waiting.remove(place);
            if frame.deadline.is_some_and(|deadline| deadline <= std::time::Instant::now()) {
                self.given_up.add((frame.header.source, frame.header.meta.sequence));
                continue;
            }
            self.busy.push(frame.header.source);
            let (connector, tls, session) =
                (self.connector.clone(), self.tls.clone(), self.session.clone());
            let expected = self.underway.begin(frame.header.source, frame.header.meta.sequence);
            let given_up = self.given_up.clone();
            self.sending.spawn(async move {
                let source = frame.header.source;
                let (deadline, named) = (frame.deadline, (source, frame.header.meta.sequence));
                let past = async {
                    match deadline {
                        Some(deadline) => sleep_until(deadline.into()).await,
                        None => std::future::pending().await,
                    }
                };
                // With its connection a frame that is late ends in its midst: the next one waits for it no longer.
                tokio::select! {
                    sent = send(connector, tls, session, frame, expected) => sent,
                    () = past => {
                        given_up.add(named);
                        Ok(source)
                    }
                }
            });
        }
    }

    fn lost(&self, why: String) -> TransportError {
        self.connector.lost(why)
    }
}

/// Sends one frame, with a few attempts, as long as the receiver is not known to have it.
async fn send(
    connector: Connector,
    tls: Arc<ClientConfig>,
    mut session: watch::Receiver<Option<SessionId>>,
    frame: OutgoingFrame,
    mut expected: Expected,
) -> Result<SourceId, TransportError> {
    let source = frame.header.source;
    // A frame can only belong to a session whose hello is on its way.
    let known = session.wait_for(Option::is_some).await.ok().and_then(|session| *session);
    let Some(session) = known else { return Err(TransportError::Ended) };
    let mut pause = settings::FRAME_BACKOFF;
    for attempt in 1.. {
        let mut reached = Reached::Begun;
        let error = match attempt_to_send(&connector, &tls, &session, &frame, &mut reached).await {
            Ok(()) => break,
            Err(error) => error,
        };
        if reached == Reached::Unanswered
            && timeout(settings::RECEIPT, expected.settled()).await.is_ok()
        {
            tracing::debug!(%error, attempt, "a frame's answer was lost; the session has it");
            break;
        }
        if attempt == settings::FRAME_ATTEMPTS || !error.may_pass() {
            return Err(error);
        }
        tracing::debug!(%error, attempt, "a frame's connection failed; trying again");
        sleep(pause).await;
        pause *= 2;
    }
    Ok(source)
}

/// How far an attempt to send a frame has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// Not all of it is with the kernel, so the receiver cannot have it.
    Begun,
    /// It was written, and nothing is known of it.
    Unanswered,
    /// The receiver has answered.
    Answered,
}

async fn attempt_to_send(
    connector: &Connector,
    tls: &Arc<ClientConfig>,
    session: &SessionId,
    frame: &OutgoingFrame,
    reached: &mut Reached,
) -> Result<(), TransportError> {
    let stream = connector.connect(tls, ALPN_SINGLE_FRAME).await?;
    let watched = Watched::new(connector, tls, &stream);
    let socket = path::handle(&stream);
    let stream = Counted::new(stream, connector.written.clone());
    let sent = tokio::select! {
        sent = send_over(stream, connector, session, frame, reached) => sent,
        cause = until_dead(watched) => Err(cause),
    };
    socket.iter().for_each(|socket| connector.ended.add(socket));
    sent
}

async fn send_over(
    stream: Counted<Stream>,
    connector: &Connector,
    session: &SessionId,
    frame: &OutgoingFrame,
    reached: &mut Reached,
) -> Result<(), TransportError> {
    let (input, output) = tokio::io::split(stream);
    let mut writer = RecordWriter::new(output);
    let mut reader = RecordReader::new(input, connector.options.stall);
    let blame = connector.blame();
    writer.put_raw(session);
    let written = async {
        writer.put_frame(frame.copy()).await?;
        writer.flush().await
    };
    let written = written.await;
    let patience = match &written {
        Ok(()) => {
            *reached = Reached::Unanswered;
            settings::FRAME_ANSWER
        }
        Err(_) => settings::LAST_WORDS,
    };
    let answer = match (timeout(patience, reader.record()).await, written) {
        (Ok(Ok(answer)), _) => answer,
        (_, Err(error)) => return Err(blame.io(&error)),
        (Ok(Err(error)), Ok(())) => return Err(blame.read(error).cause),
        (Err(_), Ok(())) => {
            let why = format!("a frame was sent and not answered within {patience:?}");
            return Err(connector.lost(why));
        }
    };
    *reached = Reached::Answered;
    match answer {
        Record::Close { code, .. } if code == CloseCode::Done.number() => Ok(()),
        Record::Close { code, reason } => Err(blame.closed(code, reason).cause),
        _ => Err(blame.protocol("a frame was answered with something else".to_owned()).cause),
    }
}

/// A receiver's open sessions, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions(Arc<Mutex<HashMap<SessionId, OpenSession>>>);

/// Where the frames of a session's other connections go.
#[derive(Debug, Clone)]
pub(super) struct OpenSession {
    /// The certificate's pin, which those connections must share.
    pub(super) pin: Option<String>,
    /// The memory that they hold.
    pub(super) account: Account,
    pub(super) sources: SourceCount,
    pub(super) arrivals: mpsc::Sender<Arrival>,
    /// Bounds the connections read at once.
    pub(super) readers: Arc<Semaphore>,
    /// Closed when the session is over.
    pub(super) alive: watch::Receiver<()>,
}

/// Takes a session off the list when it is over.
#[derive(Debug)]
pub(super) struct Registered {
    sessions: Sessions,
    id: SessionId,
    readers: Arc<Semaphore>,
}

impl Sessions {
    /// Makes a session known by the name in its hello. A sender that opens its session anew replaces
    /// what is left of the old one; nobody else can.
    pub(super) fn register(&self, id: SessionId, session: OpenSession) -> Option<Registered> {
        let readers = session.readers.clone();
        match self.lock().entry(id) {
            Entry::Occupied(known) if known.get().pin != session.pin => return None,
            Entry::Occupied(mut known) => {
                known.insert(session);
            }
            Entry::Vacant(free) => {
                free.insert(session);
            }
        }
        Some(Registered { sessions: self.clone(), id, readers })
    }

    fn find(&self, id: &SessionId, pin: Option<&str>) -> Option<OpenSession> {
        self.lock().get(id).filter(|session| session.pin.as_deref() == pin).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, OpenSession>> {
        // The map is whole at every moment, so another thread's panic does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut sessions = self.sessions.lock();
        let ours = |session: &OpenSession| Arc::ptr_eq(&session.readers, &self.readers);
        if sessions.get(&self.id).is_some_and(ours) {
            sessions.remove(&self.id);
        }
    }
}

/// Serves a connection for one frame. `seat` is given back once its session is known and has memory for it.
pub(super) async fn receive(
    stream: Stream,
    pin: Option<String>,
    sessions: Sessions,
    intake: Intake,
    patience: std::time::Duration,
    mut seat: Seat,
) {
    let gulp = stream.get_ref().0.length();
    let (input, output) = tokio::io::split(stream);
    let mut reader = RecordReader::new(input, intake.stall);
    let mut writer = RecordWriter::new(output);
    let id = tokio::select! {
        id = timeout(patience, reader.array()) => id,
        () = seat.told_to_go() => return,
    };
    let Ok(Ok(id)) = id else { return };
    let Some(mut session) = sessions.find(&id, pin.as_deref()) else {
        // The hello may still be on its way on the other connection: the sender tries again.
        return answer(&mut reader, &mut writer, CloseCode::Busy, "no such session").await;
    };
    let readers = session.readers.clone();
    let room = room(readers, &session.account);
    let room = tokio::select! {
        room = timeout(patience, room) => room,
        () = seat.told_to_go() => return,
    };
    let Ok(Some((_reading, buffer))) = room else {
        return answer(&mut reader, &mut writer, CloseCode::Busy, "too many connections").await;
    };
    if buffer.is_some() {
        gulp.set(settings::READ_BYTES);
    }
    drop(seat);
    let mut alive = session.alive.clone();
    let (code, reason) = tokio::select! {
        answer = frame(&mut reader, &intake, &mut session) => answer,
        _ = alive.changed() => (CloseCode::Shutdown, "the session is over".to_owned()),
    };
    // The session must be able to end while the sender takes its time to read the answer.
    drop(session);
    answer(&mut reader, &mut writer, code, &reason).await;
}

/// Waits until a connection may be read. Each session has one in any case, with a small buffer where the memory is
/// short; more take a large one from its part of the memory.
async fn room(
    readers: Arc<Semaphore>,
    account: &Account,
) -> Option<(OwnedSemaphorePermit, Option<Claim>)> {
    let reading = readers.clone().acquire_owned().await.ok()?;
    loop {
        if let Some(buffer) = account.try_claim(settings::FRAME_CONNECTION_BYTES) {
            return Some((reading, Some(buffer)));
        }
        if readers.available_permits() + 1 == settings::FRAME_CONNECTIONS_READ {
            return Some((reading, None));
        }
        sleep(settings::ROOM_INTERVAL).await;
    }
}

/// Reads the one frame; returns what the sender is told.
async fn frame<R: AsyncRead + Unpin>(
    reader: &mut RecordReader<R>,
    intake: &Intake,
    session: &mut OpenSession,
) -> (CloseCode, String) {
    let header = match timeout(intake.stall, reader.record()).await {
        Ok(Ok(Record::Frame(header))) => header,
        Ok(Ok(_)) => return (CloseCode::Protocol, "not a frame".to_owned()),
        Ok(Err(error)) => return unread(&error),
        Err(_) => return (CloseCode::Stalled, "no frame came".to_owned()),
    };
    let OpenSession { account, sources, .. } = &*session;
    let arrival = match intake::take(reader, header, intake, account, sources).await {
        Ok(Taken::Whole(arrival) | Taken::Endless(arrival, _)) => arrival,
        Err(error) => return unread(&error),
    };
    match hand_on(&session.arrivals, arrival, account).await {
        Ok(()) => (CloseCode::Done, String::new()),
        Err(_) => (CloseCode::Shutdown, "the session is over".to_owned()),
    }
}

fn unread(error: &ReadError) -> (CloseCode, String) {
    let code = match error {
        ReadError::Wire(_) => CloseCode::Protocol,
        _ => CloseCode::Stalled,
    };
    (code, error.to_string())
}
