//! Reading what a client says, in the receiver's role: texts by silence, bodies by length.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, Instant, timeout, timeout_at};

use super::Failure;
use super::settings::{FIRST_STEP_BYTES, MIN_PROGRESS_BYTES, ReceiverSettings};
use super::socket::Connection;
use crate::transport::Claim;
use crate::wire::stop_and_wait::{
    Command, Header, MAX_TEXT_BYTES, OK, Opening, Outlook, header_outlook, opening_outlook,
};
use crate::wire::{Decoded, WireError};

/// One client's connection.
pub(super) struct Conversation<C> {
    stream: C,
    /// What has arrived of a text.
    text: BytesMut,
    settings: ReceiverSettings,
    stall: Duration,
}

/// A header as it arrived.
pub(super) enum Heard {
    Header(Header),
    /// Not one that this end takes.
    Bad(WireError),
    /// The connection ended before it.
    Nothing,
}

impl<C: Connection> Conversation<C> {
    /// `stall` bounds how long a text or a body that has begun may rest.
    pub(super) fn new(stream: C, settings: ReceiverSettings, stall: Duration) -> Self {
        let text = BytesMut::with_capacity(2 * MAX_TEXT_BYTES);
        Self { stream, text, settings, stall }
    }

    pub(super) async fn opening(&mut self) -> Result<Opening, Failure> {
        if !self.whole_text(opening_outlook, self.settings.opening).await? {
            return Err(Failure::Lost("it closed the connection without a word".to_owned()));
        }
        let opening = Opening::parse(&self.text)?;
        self.text.clear();
        Ok(opening)
    }

    pub(super) async fn header(&mut self) -> Result<Heard, Failure> {
        match self.whole_text(header_outlook, self.settings.idle).await {
            Ok(true) => {}
            Ok(false) => return Ok(Heard::Nothing),
            Err(Stopped::Bad(error)) => return Ok(Heard::Bad(error)),
            Err(other) => return Err(other.into()),
        }
        let header = Header::parse(&self.text);
        self.text.clear();
        Ok(header.map_or_else(Heard::Bad, Heard::Header))
    }

    /// Waits until the text is whole, which silence alone tells, and leaves it in `self.text`.
    /// False where the connection ended before its first byte.
    async fn whole_text(
        &mut self,
        outlook: fn(&[u8]) -> Result<Outlook, WireError>,
        pause: Duration,
    ) -> Result<bool, Stopped> {
        let mut begun = (!self.text.is_empty()).then(Instant::now);
        loop {
            let outlook = outlook(&self.text).map_err(Stopped::Bad)?;
            let deadline = match (outlook, begun) {
                (Outlook::PerhapsWhole { likely: true }, _) => {
                    Instant::now() + self.settings.quiet_likely
                }
                (Outlook::PerhapsWhole { likely: false }, _) => {
                    Instant::now() + self.settings.quiet
                }
                (Outlook::NeedMore, Some(begun)) => begun + self.stall,
                (Outlook::NeedMore, None) => Instant::now() + pause,
            };
            match timeout_at(deadline, self.stream.read_buf(&mut self.text)).await {
                Ok(read) => match read? {
                    0 if self.text.is_empty() => return Ok(false),
                    0 => return Err(Stopped::lost("it closed the connection inside a text")),
                    _ => begun = begun.or_else(|| Some(Instant::now())),
                },
                Err(_) if outlook != Outlook::NeedMore => return Ok(true),
                Err(_) => return Err(Stopped::lost("it has not gone on for too long")),
            }
        }
    }

    /// What follows a frame; `None` where the connection ended there.
    pub(super) async fn command(&mut self) -> Result<Option<Command>, Failure> {
        let mut deadline = Instant::now() + self.settings.idle;
        loop {
            if let Decoded::Value(command, length) = Command::decode(&self.text)? {
                self.text.advance(length);
                return Ok(Some(command));
            }
            let begun = !self.text.is_empty();
            match timeout_at(deadline, self.stream.read_buf(&mut self.text)).await {
                Ok(read) => match read? {
                    0 if begun => {
                        return Err(Failure::Lost(
                            "it closed the connection inside a text".to_owned(),
                        ));
                    }
                    0 => return Ok(None),
                    _ if !begun => deadline = Instant::now() + self.stall,
                    _ => {}
                },
                Err(_) => return Err(Failure::Lost("it has not gone on for too long".to_owned())),
            }
        }
    }

    /// Reads `length` bytes, with memory claimed as they arrive.
    pub(super) async fn body(
        &mut self,
        length: usize,
        claim: &mut Claim,
    ) -> Result<Bytes, Failure> {
        let mut body: Vec<u8> = Vec::new();
        let mut mark = MIN_PROGRESS_BYTES;
        let mut deadline = Instant::now() + self.stall;
        while body.len() < length {
            if body.len() == body.capacity() {
                let step = body.len().max(FIRST_STEP_BYTES).min(length - body.len());
                claim.grow_to((body.len() + step) as u64).await;
                body.reserve_exact(step);
                // The wait for memory was not the peer's.
                deadline = Instant::now() + self.stall;
            }
            let room = body.capacity().min(length) - body.len();
            let mut part = (&mut body).limit(room);
            match timeout_at(deadline, self.stream.read_buf(&mut part)).await {
                Ok(read) => {
                    let read = read?;
                    claim.account().came(read as u64);
                    if read == 0 {
                        let why = format!(
                            "it closed the connection {} bytes short of a frame",
                            length - body.len()
                        );
                        return Err(Failure::Lost(why));
                    }
                }
                Err(_) => return Err(Failure::Lost("its frame makes no progress".to_owned())),
            }
            if body.len() >= mark {
                mark = body.len() + MIN_PROGRESS_BYTES;
                deadline = Instant::now() + self.stall;
            }
        }
        self.nothing_more().await?;
        Ok(body.into())
    }

    /// The client is silent until its frame is confirmed. A byte too many means that the header was
    /// cut short, so that its end was taken for the beginning of the body.
    async fn nothing_more(&mut self) -> Result<(), Failure> {
        match timeout(Duration::ZERO, self.unasked()).await {
            Ok(failure) => Err(failure),
            Err(_) => Ok(()),
        }
    }

    /// Waits for what must not come before the `ok`: more bytes, or the end. Cancel safe.
    pub(super) async fn unasked(&mut self) -> Failure {
        let mut byte = [0];
        match self.stream.read(&mut byte).await {
            Ok(0) => Failure::Lost("it closed the connection before its frame was stored".to_owned()),
            Ok(_) => Failure::Protocol(
                "a frame is longer than its header says, or its header came in pieces too far apart"
                    .to_owned(),
            ),
            Err(error) => error.into(),
        }
    }

    /// Says `ok`.
    pub(super) async fn say_ok(&mut self) -> Result<(), Failure> {
        match timeout(self.stall, self.stream.write_all(OK)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(Failure::Lost("it does not read what it is told".to_owned())),
        }
    }

    pub(super) fn acknowledge_at_once(&self) {
        self.stream.acknowledge_at_once();
    }

    pub(super) fn reset_at_end(&self) {
        self.stream.reset_at_end();
    }
}

/// Why a text was not heard to its end.
enum Stopped {
    Bad(WireError),
    Failed(Failure),
}

impl Stopped {
    fn lost(why: &str) -> Self {
        Self::Failed(Failure::Lost(why.to_owned()))
    }
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Bad(error) => error.into(),
            Stopped::Failed(failure) => failure,
        }
    }
}
