//! The receiver's role: each connection is a session with one source.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::Failure;
use super::conversation::{Conversation, Heard};
use super::settings::{
    ACCEPT_PAUSE, BACKLOG, LINK_QUEUE, NEWCOMERS, NEWCOMERS_OF_ONE, PARKED, ReceiverSettings,
};
use super::socket::{Connection, prepare};
use crate::frame::{Frame, FrameMeta, RunId, Sequence, SourceName, UnixNanos};
use crate::identity::Permit;
use crate::transport::desk::Desk;
use crate::transport::places::Places;
use crate::transport::{
    ARRIVAL_QUEUE, Account, Arrival, ArrivedFrame, Intake, LinkEnd, Listener, MESSAGE_QUEUE,
    PathStats, PathWatch, Peer, ReceiverLink, SourceCount, Transport, TransportError, hand_on,
    plain, sender_of,
};
use crate::wire::stop_and_wait::{Command, Header};
use crate::wire::{
    Capabilities, CloseCode, EndOfRun, Hello, Message, Receipts, RefusalCode, SESSION_ID_BYTES,
    SourceHello, SourceId,
};

/// The one source of a connection.
const SOURCE: SourceId = SourceId(0);

/// Listens on `address` for the scripts' clients.
///
/// Several are served at once, at most `intake.max_sessions`; more wait, as they would for a script, and
/// need no answer meanwhile.
///
/// # Errors
/// [`TransportError::Listen`].
pub fn listen(
    address: SocketAddr,
    intake: Intake,
    settings: ReceiverSettings,
) -> Result<Listener, TransportError> {
    let transport = Transport::StopAndWait;
    let failed = |error: io::Error| TransportError::listen(address, transport, &error);
    let listener = bind(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (found, links) = mpsc::channel(LINK_QUEUE);
    let (stop, stopped) = oneshot::channel();
    let (going, gone) = oneshot::channel();
    let accepting = accept(listener, intake, settings, found.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = accepting => {}
            // Sent to or dropped: both mean stop.
            _ = stopped => {}
            () = found.closed() => {}
        }
        drop(going);
    });
    Ok(Listener { address, transport, links, stop: Some(stop), gone })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A receiver that is started again must not wait for its old connections to time out.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Who may come in.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    newcomers: Desk,
    parked: Arc<Semaphore>,
    places: Places,
}

impl Admission {
    pub(super) fn new(intake: &Intake) -> Self {
        Self {
            newcomers: Desk::new(NEWCOMERS, NEWCOMERS_OF_ONE),
            parked: Arc::new(Semaphore::new(PARKED)),
            places: Places::new(intake.max_sessions),
        }
    }
}

async fn accept(
    listener: TcpListener,
    intake: Intake,
    settings: ReceiverSettings,
    links: mpsc::Sender<ReceiverLink>,
) {
    let admission = Admission::new(&intake);
    loop {
        // Where many wait for a place, others wait in the kernel.
        let Ok(_) = admission.parked.acquire().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                let address = plain(address);
                let (intake, settings, links) = (intake.clone(), settings.clone(), links.clone());
                tokio::spawn(serve(stream, address, admission.clone(), intake, settings, links));
            }
            Err(error) => {
                intake.voice.warn("", || format!("cannot accept a connection: {error}"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    admission: Admission,
    intake: Intake,
    settings: ReceiverSettings,
    links: mpsc::Sender<ReceiverLink>,
) {
    match prepare(&stream) {
        Ok(()) => converse(stream, address, admission, intake, settings, links).await,
        Err(error) => tracing::debug!(%address, %error, "the connection ended at once"),
    }
}

/// Serves one connection to its end.
pub(super) async fn converse<C: Connection>(
    stream: C,
    address: SocketAddr,
    admission: Admission,
    intake: Intake,
    settings: ReceiverSettings,
    links: mpsc::Sender<ReceiverLink>,
) {
    let mut talk = Conversation::new(stream, settings.clone(), intake.stall);
    let mut seat = admission.newcomers.sit_down(address.ip());
    let opened = tokio::select! {
        opened = open(&mut talk, &settings) => opened,
        () = seat.told_to_go() => return,
    };
    drop(seat);
    let source = match opened {
        Ok(source) => source,
        Err(failure) => {
            tracing::info!(error = %failure.at(address), "no stop-and-wait session came of it");
            return;
        }
    };
    let account = intake.budget.open(&sender_of(None, address));
    let Ok(parked) = admission.parked.acquire().await else { return };
    let place = admission.places.wait(&account).await;
    drop(parked);
    let (to_session, arrivals) = mpsc::channel(ARRIVAL_QUEUE);
    let (messages, from_session) = mpsc::channel(MESSAGE_QUEUE);
    let (end, mut keeper) = LinkEnd::new();
    let link = ReceiverLink {
        peer: Peer {
            address,
            pin: None,
            transport: Transport::StopAndWait,
            permit: Permit::unauthenticated(),
        },
        account: account.clone(),
        arrivals,
        messages,
        sources: SourceCount::default(),
        end,
        path: PathWatch::new(PathStats::default),
    };
    if links.send(link).await.is_err() {
        return;
    }
    let mut session =
        Script { talk, account: account.clone(), intake, settings, to_session, from_session };
    let cause = tokio::select! {
        result = session.run(source) => match result {
            Ok(()) => {
                let why = "it has said over".to_owned();
                TransportError::ClosedByPeer { address, code: CloseCode::Done.number(), why }
            }
            Err(failure) => {
                session.talk.reset_at_end();
                failure.at(address)
            }
        },
        request = keeper.close.recv() => {
            if request.is_none_or(|(code, _)| code != CloseCode::Done) {
                session.talk.reset_at_end();
            }
            TransportError::Ended
        }
        _ = account.told_to_go() => {
            session.talk.reset_at_end();
            TransportError::Ended
        }
    };
    keeper.ended(cause);
    drop(place);
}

async fn open<C: Connection>(
    talk: &mut Conversation<C>,
    settings: &ReceiverSettings,
) -> Result<SourceName, Failure> {
    match timeout(settings.opening, talk.opening()).await {
        Ok(opening) => Ok(opening?.source()?),
        Err(_) => Err(Failure::Lost("it has not sent its opening in time".to_owned())),
    }
}

/// The task behind a [`ReceiverLink`].
struct Script<C> {
    talk: Conversation<C>,
    account: Account,
    intake: Intake,
    settings: ReceiverSettings,
    to_session: mpsc::Sender<Arrival>,
    from_session: mpsc::Receiver<Message>,
}

impl<C: Connection> Script<C> {
    async fn run(&mut self, source: SourceName) -> Result<(), Failure> {
        self.hello(source).await?;
        self.talk.say_ok().await?;
        let frames = self.frames().await?;
        let (lost, lost_count) = (Vec::new(), 0);
        let (run, first, ended) = (RunId::NONE, Sequence(0), UnixNanos::now());
        let captured = frames;
        let end = EndOfRun { source: SOURCE, run, first, captured, ended, lost, lost_count };
        self.say(Message::EndOfRun(end)).await?;
        match timeout(self.settings.totals, self.totals()).await {
            Ok(result) => result,
            // Every frame is confirmed; totals are only for the log.
            Err(_) => Ok(()),
        }
    }

    /// Introduces the client, and waits until the session takes it.
    async fn hello(&mut self, source: SourceName) -> Result<(), Failure> {
        let session: [u8; SESSION_ID_BYTES] = rand::random();
        let agent = "stop-and-wait".to_owned();
        // The protocol knows no runs.
        let (run, began) = (RunId::NONE, UnixNanos::now());
        let source = SourceHello::new(source, run, began);
        let (sources, capabilities) = (vec![source], Capabilities::default());
        let hello = Hello { session, overwrite: false, agent, sources, capabilities };
        self.say(Message::Hello(hello)).await?;
        loop {
            if let Message::Welcome(_) = self.from_session.recv().await.ok_or(Failure::Ended)? {
                return Ok(());
            }
        }
    }

    /// Receives frames up to `over`, and tells how many there were.
    async fn frames(&mut self) -> Result<u64, Failure> {
        let mut count = 0;
        let mut last = None;
        loop {
            if count > 0 {
                self.talk.acknowledge_at_once();
                match self.talk.command().await? {
                    Some(Command::Continue) => {}
                    Some(Command::Over) => return Ok(count),
                    None => {
                        let line =
                            || "a client closed its connection without saying over".to_owned();
                        self.intake.voice.warn(self.account.sender(), line);
                        return Ok(count);
                    }
                }
            }
            let header = match self.talk.header().await? {
                Heard::Header(header) => header,
                Heard::Bad(error) => {
                    return Err(self.refuse(None, RefusalCode::BadHeader, error.to_string()).await);
                }
                Heard::Nothing if count == 0 => return Ok(0),
                Heard::Nothing => {
                    let why = "it closed the connection behind a continue";
                    return Err(Failure::Lost(why.to_owned()));
                }
            };
            let sequence = next_sequence(&header, last);
            self.frame(header, sequence).await?;
            last = Some(sequence);
            count += 1;
        }
    }

    async fn frame(&mut self, header: Header, sequence: Sequence) -> Result<(), Failure> {
        let length = self.checked_length(&header, sequence).await?;
        self.talk.say_ok().await?;
        let mut claim = self.account.claim();
        let body = self.talk.body(length, &mut claim).await?;
        claim.arrived();
        let received = UnixNanos::now();
        let media = header.name.media_type();
        let meta = FrameMeta {
            sequence,
            name: header.name,
            bytes: header.bytes,
            hash: None,
            captured: None,
            due: None,
            modified: None,
            media,
        };
        let frame = Frame { meta, body };
        let arrived = ArrivedFrame { source: SOURCE, frame, received, repaired: false, claim };
        self.pass(Arrival::Frame(arrived)).await?;
        self.verdict(sequence).await?;
        self.talk.say_ok().await
    }

    async fn checked_length(
        &mut self,
        header: &Header,
        sequence: Sequence,
    ) -> Result<usize, Failure> {
        let Header { bytes, name } = header;
        let most = self.intake.max_frame;
        let refusal = match usize::try_from(*bytes) {
            // Two answers with nothing between them would reach the client as one text.
            Ok(0) => (RefusalCode::BadHeader, format!("{name} is empty")),
            Ok(length) if *bytes <= most.0 => return Ok(length),
            _ => {
                let why = format!("{name} is {bytes} bytes long; the limit is {most}");
                (RefusalCode::TooLarge, why)
            }
        };
        Err(self.refuse(Some((SOURCE, sequence)), refusal.0, refusal.1).await)
    }

    /// Waits until the session has stored the frame, or says why not.
    async fn verdict(&mut self, sequence: Sequence) -> Result<(), Failure> {
        loop {
            let message = tokio::select! {
                biased;
                message = self.from_session.recv() => message.ok_or(Failure::Ended)?,
                failure = self.talk.unasked() => return Err(failure),
            };
            match message {
                Message::Receipts(receipts) if covers(&receipts, sequence) => return Ok(()),
                Message::Refusal(refusal) if refusal.sequence == sequence => {
                    return match refusal.code {
                        RefusalCode::NotNeeded => Ok(()),
                        code => Err(Failure::Refused(format!("{code}: {}", refusal.reason))),
                    };
                }
                _ => {}
            }
        }
    }

    async fn totals(&mut self) -> Result<(), Failure> {
        loop {
            match self.from_session.recv().await {
                Some(Message::Totals(_)) | None => return Ok(()),
                Some(_) => {}
            }
        }
    }

    /// Tells the session of a frame that is not taken. The client hears of it by the end of its
    /// connection, as there is no word for it.
    async fn refuse(
        &self,
        frame: Option<(SourceId, Sequence)>,
        code: RefusalCode,
        reason: String,
    ) -> Failure {
        let failure = Failure::Refused(reason.clone());
        match self.pass(Arrival::Refused { frame, code, reason }).await {
            Ok(()) => failure,
            Err(ended) => ended,
        }
    }

    /// Tells the session what a client that spoke the wire would say; such messages are short.
    async fn say(&self, message: Message) -> Result<(), Failure> {
        self.pass(Arrival::Message(message, self.account.claim())).await
    }

    async fn pass(&self, arrival: Arrival) -> Result<(), Failure> {
        hand_on(&self.to_session, arrival, &self.account).await.map_err(|_| Failure::Ended)
    }
}

/// The place of a frame in its source, which the protocol does not carry.
///
/// The scripts order their files by the number in the name, so where that goes up it is the place,
/// the same in every connection, however often the client starts again. Where it does not, the
/// frame takes the place behind the last one: no two frames of a connection share one.
pub(super) fn next_sequence(header: &Header, last: Option<Sequence>) -> Sequence {
    let next = last.map_or(0, |last| last.0 + 1);
    Sequence(header.number().filter(|number| *number >= next).unwrap_or(next))
}

fn covers(receipts: &Receipts, sequence: Sequence) -> bool {
    receipts.source == SOURCE
        && receipts
            .runs
            .iter()
            .any(|run| sequence.0.checked_sub(run.first.0).is_some_and(|offset| offset < run.count))
}
