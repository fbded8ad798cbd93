//! How a session begins: hello, welcome, and a second connection that joins it.

use crate::frame::{RunId, Sequence, SourceName, UnixNanos};
use crate::wire::code::CloseCode;
use crate::wire::codec::{Reader, WireError, Writer};
use crate::wire::field::{self, Fields};
use crate::wire::limits::{MAX_AGENT_BYTES, MAX_SOURCES, MAX_TEXT_BYTES};
use crate::wire::source_id::SourceId;

/// Length of the random number that names a session in both ends' logs.
pub const SESSION_ID_BYTES: usize = 16;

/// Length of the number by which a connection shows that it may join a session.
pub const JOIN_TOKEN_BYTES: usize = 16;

/// Fields of hello and welcome.
const CAPABILITIES: u64 = 1;
const JOIN_TOKEN: u64 = 3;
const UNOPENED: u64 = 5;

/// What an end can do beyond the protocol's core, a bit each. What both have may be used. Unknown bits are kept
/// and mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Reads parity across frames, on streams of their own. Not in use yet.
    pub const PARITY: Self = Self(1);
    /// Takes a second connection into a session.
    pub const JOIN: Self = Self(2);
    /// A sender's: it goes on without a source that the receiver cannot open yet.
    pub const LATE_SOURCES: Self = Self(4);
    /// A sender's: it goes on without a source that the receiver will not have of it.
    pub const DECLINED_SOURCES: Self = Self(8);

    /// These and those of `others`.
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// True where all of `others` are there.
    pub fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

/// The sender introduces itself and its sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Random; names the session in logs.
    pub session: [u8; SESSION_ID_BYTES],
    /// Replace frames that are stored with other content. The receiver decides: see [`Welcome::replaces`].
    pub overwrite: bool,
    /// Software and version, for logs.
    pub agent: String,
    /// The sources, numbered by their place here. At most 64, no two of one name.
    pub sources: Vec<SourceHello>,
    /// What the sender can do.
    pub capabilities: Capabilities,
}

/// A source as the hello names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceHello {
    /// Its name.
    pub name: SourceName,
    /// The run that the session carries, or a part of. The same in each session of that run.
    pub run: RunId,
    /// When the run began, on the sender's clock.
    pub began: UnixNanos,
    /// It has no last frame that is known, as a camera has none. A folder is not endless.
    pub endless: bool,
    /// Frames that are too old are dropped rather than sent late.
    pub live: bool,
}

/// The receiver's limits, and what it knows of each source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Receipts mean that frame and folder were synced to the disk.
    pub durable: bool,
    /// Frames that are stored with other content are replaced where the hello asks for it.
    pub replaces: bool,
    /// Longest body in bytes.
    pub max_frame: u64,
    /// Bytes a sender may have unconfirmed.
    pub max_unconfirmed_bytes: u64,
    /// Frames a sender may have unconfirmed.
    pub max_unconfirmed_frames: u64,
    /// Software and version, for logs.
    pub agent: String,
    /// For each source of the hello, in its order, the first sequence above all that the store knows of, stored or
    /// declared dropped, in any run. A source that goes on for ever begins its next run there.
    pub next: Vec<Sequence>,
    /// What the receiver can do.
    pub capabilities: Capabilities,
    /// By which another connection may join this session, where that is possible.
    pub join: Option<[u8; JOIN_TOKEN_BYTES]>,
    /// Sources that are not open yet, each once. The receiver tries again, and says [`Opened`] when one is, or
    /// [`Declined`]. Only for a hello that has [`Capabilities::LATE_SOURCES`], or [`Capabilities::DECLINED_SOURCES`].
    pub unopened: Vec<Unopened>,
}

/// A source that the receiver cannot open yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unopened {
    /// Which one.
    pub source: SourceId,
    /// Why, for people.
    pub why: String,
}

/// A source is open that was not when the session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Which one.
    pub source: SourceId,
    /// As in [`Welcome::next`].
    pub next: Sequence,
}

/// The receiver will not have a source of this sender, and does not try again: it belongs to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declined {
    /// Which one.
    pub source: SourceId,
    /// The [`CloseCode`] by which a session of this source alone would end.
    pub code: u64,
    /// Why, for people.
    pub why: String,
}

/// The first message of a connection that is to carry a part of a session which another has opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Join {
    /// The session, as its hello named it.
    pub session: [u8; SESSION_ID_BYTES],
    /// What the welcome gave for it.
    pub token: [u8; JOIN_TOKEN_BYTES],
}

const OVERWRITE: u8 = 1;
const DURABLE: u8 = 1;
const REPLACES: u8 = 2;
const ENDLESS: u8 = 1;
const LIVE: u8 = 2;

impl Hello {
    const WHAT: &'static str = "the hello";

    pub(super) fn encode(&self, out: &mut Writer) {
        out.raw(&self.session).byte(if self.overwrite { OVERWRITE } else { 0 }).text(&self.agent);
        out.varint(self.sources.len() as u64);
        for source in &self.sources {
            out.text(source.name.as_str()).raw(&source.run.0).u64(source.began.0);
            let endless = if source.endless { ENDLESS } else { 0 };
            out.byte(endless | if source.live { LIVE } else { 0 });
        }
        put_capabilities(self.capabilities, out);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let session = reader.array(Self::WHAT)?;
        let overwrite = flags(reader, OVERWRITE, Self::WHAT)? != 0;
        let agent = agent(reader)?;
        let count = reader.limited(MAX_SOURCES as u64, "the number of sources")?;
        let mut sources: Vec<SourceHello> = Vec::new();
        for _ in 0..count {
            let source = SourceHello::decode(reader)?;
            if sources.iter().any(|other| other.name == source.name) {
                let why = format!("it names the source {} twice", source.name);
                return Err(WireError::malformed(Self::WHAT, why));
            }
            sources.push(source);
        }
        let mut hello = Self { session, overwrite, agent, sources, capabilities: Capabilities(0) };
        let mut fields = Fields::of(reader, Self::WHAT)?;
        while let Some((number, mut content)) = fields.next()? {
            match number {
                CAPABILITIES => hello.capabilities = capabilities(&mut content)?,
                other => fields.unknown(other)?,
            }
        }
        Ok(hello)
    }
}

impl SourceHello {
    /// A source that ends, as a folder does, and of which every frame is sent however late.
    pub fn new(name: SourceName, run: RunId, began: UnixNanos) -> Self {
        Self { name, run, began, endless: false, live: false }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "a source of the hello";
        let name = reader.text(MAX_TEXT_BYTES, "a source name")?;
        let name = SourceName::parse(name)
            .map_err(|error| WireError::malformed("a source name", error.to_string()))?;
        let run = RunId(reader.array(what)?)
            .known()
            .ok_or_else(|| WireError::malformed(what, "its run has no name"))?;
        let began = UnixNanos(reader.u64(what)?);
        let flags = flags(reader, ENDLESS | LIVE, what)?;
        Ok(Self { name, run, began, endless: flags & ENDLESS != 0, live: flags & LIVE != 0 })
    }
}

impl Welcome {
    const WHAT: &'static str = "the welcome";

    pub(super) fn encode(&self, out: &mut Writer) {
        let durable = if self.durable { DURABLE } else { 0 };
        out.byte(durable | if self.replaces { REPLACES } else { 0 })
            .varint(self.max_frame)
            .varint(self.max_unconfirmed_bytes)
            .varint(self.max_unconfirmed_frames)
            .text(&self.agent)
            .varint(self.next.len() as u64);
        for next in &self.next {
            out.varint(next.0);
        }
        put_capabilities(self.capabilities, out);
        if let Some(token) = self.join {
            field::put(out, JOIN_TOKEN, |out| {
                out.raw(&token);
            });
        }
        if !self.unopened.is_empty() {
            field::put(out, UNOPENED, |out| {
                for Unopened { source, why } in &self.unopened {
                    source.put(out);
                    out.text_up_to(MAX_TEXT_BYTES, why);
                }
            });
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let flags = flags(reader, DURABLE | REPLACES, Self::WHAT)?;
        let max_frame = reader.varint(Self::WHAT)?;
        let max_unconfirmed_bytes = reader.varint(Self::WHAT)?;
        let max_unconfirmed_frames = reader.varint(Self::WHAT)?;
        let agent = agent(reader)?;
        let count = reader.limited(MAX_SOURCES as u64, "the number of sources")?;
        let next = (0..count)
            .map(|_| reader.varint(Self::WHAT).map(Sequence))
            .collect::<Result<Vec<_>, _>>()?;
        let (mut known, mut join, mut unopened) = (Capabilities(0), None, Vec::new());
        let mut fields = Fields::of(reader, Self::WHAT)?;
        while let Some((number, mut content)) = fields.next()? {
            match number {
                CAPABILITIES => known = capabilities(&mut content)?,
                JOIN_TOKEN => {
                    join = Some(content.array(Self::WHAT)?);
                    content.end("the join token")?;
                }
                UNOPENED => unopened = Unopened::decode_all(&mut content, next.len())?,
                other => fields.unknown(other)?,
            }
        }
        Ok(Self {
            durable: flags & DURABLE != 0,
            replaces: flags & REPLACES != 0,
            max_frame,
            max_unconfirmed_bytes,
            max_unconfirmed_frames,
            agent,
            next,
            capabilities: known,
            join,
            unopened,
        })
    }
}

impl Unopened {
    /// A source whose reason is cut to what fits on the wire.
    pub fn new(source: SourceId, why: &str) -> Self {
        let why = why[..why.floor_char_boundary(MAX_TEXT_BYTES as usize)].to_owned();
        Self { source, why }
    }

    /// Those of a welcome that has so many sources.
    fn decode_all(content: &mut Reader<'_>, sources: usize) -> Result<Vec<Self>, WireError> {
        let what = "the sources of the welcome that are not open";
        let mut all: Vec<Self> = Vec::new();
        while content.remaining() > 0 {
            let source = SourceId::read(content)?;
            let is_known = usize::from(source.0) < sources;
            if !is_known || all.iter().any(|other| other.source >= source) {
                let why = format!("source {} is none, or out of order", source.0);
                return Err(WireError::malformed(what, why));
            }
            let why = content.text(MAX_TEXT_BYTES, what)?.to_owned();
            all.push(Self { source, why });
        }
        Ok(all)
    }
}

impl Opened {
    pub(super) fn encode(self, out: &mut Writer) {
        self.source.put(out);
        out.varint(self.next.0);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "an opened source";
        let opened = Self { source: SourceId::read(reader)?, next: Sequence(reader.varint(what)?) };
        Fields::of(reader, what)?.skip()?;
        Ok(opened)
    }
}

impl Declined {
    /// A source whose reason is cut to what fits on the wire.
    pub fn new(source: SourceId, code: CloseCode, why: &str) -> Self {
        let why = why[..why.floor_char_boundary(MAX_TEXT_BYTES as usize)].to_owned();
        Self { source, code: code.number(), why }
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        self.source.put(out);
        out.varint(self.code).text_up_to(MAX_TEXT_BYTES, &self.why);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "a declined source";
        let (source, code) = (SourceId::read(reader)?, reader.varint(what)?);
        let why = reader.text(MAX_TEXT_BYTES, what)?.to_owned();
        Fields::of(reader, what)?.skip()?;
        Ok(Self { source, code, why })
    }
}

impl Join {
    pub(super) fn encode(&self, out: &mut Writer) {
        out.raw(&self.session).raw(&self.token);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let what = "a join";
        let join = Self { session: reader.array(what)?, token: reader.array(what)? };
        Fields::of(reader, what)?.skip()?;
        Ok(join)
    }
}

fn put_capabilities(capabilities: Capabilities, out: &mut Writer) {
    if capabilities != Capabilities(0) {
        field::put(out, CAPABILITIES, |out| {
            out.varint(capabilities.0);
        });
    }
}

fn capabilities(content: &mut Reader<'_>) -> Result<Capabilities, WireError> {
    let known = Capabilities(content.varint("the capabilities")?);
    content.end("the capabilities")?;
    Ok(known)
}

fn agent(reader: &mut Reader<'_>) -> Result<String, WireError> {
    Ok(reader.text(MAX_AGENT_BYTES, "the agent")?.to_owned())
}

/// A byte of flags. The upper four bits may have a meaning in a later version that an older one need not know.
fn flags(reader: &mut Reader<'_>, known: u8, what: &'static str) -> Result<u8, WireError> {
    let flags = reader.byte(what)?;
    if flags & 0x0f & !known != 0 {
        return Err(WireError::malformed(what, format!("unknown flags {flags:#04x}")));
    }
    Ok(flags & known)
}
