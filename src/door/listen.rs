//! What a receiver is to do, before it starts.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::address::parse_listen;
use super::desk::Desk;
use super::error::ListenError;
use super::handing::Handing;
use super::places::{self, Asked, Common, Place};
use super::receiver::Receiver;
use super::serving::{self, Serving};
use super::taking::Taker;
use super::wants::{Want, Wants};
use crate::congestion::{Congestion, SharedFactory};
use crate::frame::{ByteSize, SourceName};
use crate::identity::{
    Allow, DEFAULT_DAYS, EarlyData, Identity, NewCertificate, SenderPolicy, SharedPolicy,
    server_config,
};
use crate::receiver::{ReceiveLimits, Sources};
use crate::store::{FolderStores, FolderTemplate, Keep, Layout, Store, StoreOptions};
use crate::transport::Transport;
use crate::transport::tcp::TcpOptions;
use crate::wire::{ALPN, ALPN_SINGLE_FRAME};

/// Frames that wait for the program take this much memory at most, if nothing else is said.
const QUEUE: ByteSize = ByteSize(32 << 20);

/// Less than the pauses of any link would end sessions that are well.
const SHORTEST_STALL: Duration = Duration::from_millis(100);

/// What a [`Receiver`] is to do; [`start`](Self::start) makes one of it. What is wrong is said there.
#[must_use = "it does nothing before `start`"]
pub struct ReceiverBuilder {
    listen: Option<String>,
    transports: Vec<(Transport, Option<String>)>,
    allow: Vec<String>,
    policy: Option<SharedPolicy>,
    identity: Option<Identity>,
    certs: PathBuf,
    out: Option<PathBuf>,
    store: Option<Arc<dyn Store>>,
    store_options: StoreOptions,
    limits: ReceiveLimits,
    wants: Vec<(String, Want)>,
    queue: ByteSize,
    once: bool,
    congestion: SharedFactory,
    tcp: TcpOptions,
    hook: Option<Hook>,
}

/// Called on each thread that stores.
type Hook = Box<dyn Fn() -> Box<dyn Send> + Send + Sync>;

/// What was asked for, checked.
struct Checked {
    places: Vec<Place>,
    policy: SharedPolicy,
    out: Option<FolderTemplate>,
    wants: HashMap<SourceName, Want>,
}

impl Receiver {
    /// A receiver at `ADDR:PORT`, or `:PORT` for every address, to be told more and then
    /// [started](ReceiverBuilder::start). Port 0 picks a free one.
    pub fn listen(address: impl Display) -> ReceiverBuilder {
        ReceiverBuilder { listen: Some(address.to_string()), ..Self::anywhere() }
    }

    /// A receiver at port 4433 (stop-and-wait: 8000) of this machine alone, or of every address where it is said
    /// who may send.
    pub fn anywhere() -> ReceiverBuilder {
        ReceiverBuilder {
            listen: None,
            transports: Vec::new(),
            allow: Vec::new(),
            policy: None,
            identity: None,
            certs: "certs".into(),
            out: None,
            store: None,
            store_options: StoreOptions::default(),
            limits: ReceiveLimits::default(),
            wants: Vec::new(),
            queue: QUEUE,
            once: false,
            congestion: Congestion::default().factory(),
            tcp: TcpOptions::default(),
            hook: None,
        }
    }
}

impl ReceiverBuilder {
    /// Lets the sender with this pin send; `NAME=PIN` names it. May be called again for another. Where nobody is
    /// allowed, every sender of this machine may send, and nothing but this machine can be listened on.
    pub fn allow(mut self, sender: impl Display) -> Self {
        self.allow.push(sender.to_string());
        self
    }

    /// Lets everybody send who has a certificate, whoever it is.
    pub fn allow_any(self) -> Self {
        self.allow("any")
    }

    /// Goes by this policy, which may change meanwhile, whatever is allowed beside it.
    pub fn policy(mut self, policy: impl Into<SharedPolicy>) -> Self {
        self.policy = Some(policy.into());
        self
    }

    /// Who this receiver is. Its pin is what a sender trusts.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The folder of this receiver's identity, where none is given; one is made there where it is missing.
    /// `certs` if nothing else is said.
    pub fn certs(mut self, folder: impl Into<PathBuf>) -> Self {
        self.certs = folder.into();
        self
    }

    /// Serves this transport. May be called again for another. QUIC and TCP, on one port, if nothing is said.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transports.push((transport, None));
        self
    }

    /// The same, at an address of its own.
    pub fn transport_at(mut self, transport: Transport, address: impl Display) -> Self {
        self.transports.push((transport, Some(address.to_string())));
        self
    }

    /// Stores into this folder, one folder a source, before frames are handed out. `{sender}` in it stands for the
    /// sender's name or a part of its pin, `{date}` for the day on which its session began.
    pub fn out(mut self, folder: impl AsRef<Path>) -> Self {
        self.out = Some(folder.as_ref().to_owned());
        self
    }

    /// Stores into this store, instead of a folder.
    pub fn store(mut self, store: impl Store + 'static) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Confirms a frame only when it is synced to the disk, so that it survives a power cut; slower.
    pub fn durable(mut self, durable: bool) -> Self {
        self.store_options.durable = durable;
        self
    }

    /// How frames are put into folders. A store may change it at any time: what is stored stays where it is.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.store_options.layout = layout;
        self
    }

    /// When old frames are removed from the folder: whole days of capture, the oldest first.
    pub fn keep(mut self, keep: Keep) -> Self {
        self.store_options.keep = keep;
        self
    }

    /// What senders may do, and how much.
    pub fn limits(mut self, limits: ReceiveLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Refuses frames longer than this. There is at least as much memory.
    pub fn max_frame(mut self, longest: ByteSize) -> Self {
        self.limits.max_frame = longest;
        self.limits.memory.0 = self.limits.memory.0.max(longest.0);
        self
    }

    /// Memory for frames that are arriving or wait to be stored, of all senders together.
    pub fn memory(mut self, bytes: ByteSize) -> Self {
        self.limits.memory = bytes;
        self
    }

    /// Hands out each frame of this source, which is so if nothing is said: a program that is slower than the
    /// source slows the sender down.
    pub fn every(mut self, source: impl Into<String>) -> Self {
        self.wants.push((source.into(), Want::Every));
        self
    }

    /// Hands out the newest frame of this source, and skips those that the program is too slow for: what it gets
    /// is never older than one frame.
    pub fn latest(mut self, source: impl Into<String>) -> Self {
        self.wants.push((source.into(), Want::Latest));
        self
    }

    /// Memory for frames that wait for the program, of all sources together: 32 MiB if nothing is said, and always
    /// enough for one frame. A source that finds no room waits, and its sender with it.
    pub fn queue(mut self, bytes: ByteSize) -> Self {
        self.queue = bytes;
        self
    }

    /// Ends by itself when a sender has sent all that it has.
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// QUIC's congestion controller, for the little that a receiver sends.
    pub fn congestion(mut self, congestion: SharedFactory) -> Self {
        self.congestion = congestion;
        self
    }

    /// Takes TCP connections of several subflows as well (MPTCP), which other connections cost nothing. Linux only;
    /// listening fails where the kernel has none.
    pub fn multipath_tcp(mut self, multipath: bool) -> Self {
        self.tcp.multipath = multipath;
        self
    }

    /// Calls `hook` on each thread that stores when it starts; what it returns is dropped there when it ends. For
    /// whoever counts what storing costs.
    pub fn on_thread_start(
        mut self,
        hook: impl Fn() -> Box<dyn Send> + Send + Sync + 'static,
    ) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// Checks all that can be checked before anything is made or opened.
    ///
    /// # Errors
    /// [`ListenError`], of the kinds that are [the caller's](ListenError::is_usage).
    pub fn check(&self) -> Result<(), ListenError> {
        self.checked().map(|_| ())
    }

    /// Checks all of it, opens the store where there is one, listens, and receives in tasks of its own.
    ///
    /// Has to be called in a tokio runtime. Cancel safe.
    ///
    /// # Errors
    /// [`ListenError`].
    #[expect(clippy::unused_async, reason = "as a sender starts, and room for what has to wait")]
    pub async fn start(mut self) -> Result<Receiver, ListenError> {
        let checked = self.checked()?;
        let below = self.open_store(checked.out.clone())?;
        let desk = Desk::new(self.queue.0);
        let wants = Arc::new(Wants::new(checked.wants.clone()));
        let handing = Handing { below, desk: desk.clone(), wants: wants.clone() };
        let sources = Sources::new(handing);
        let (stop, stopping) = watch::channel(false);
        let once = self.once;
        let serving = self.run(checked, sources, stopping)?;
        Ok(Receiver::run(serving, Taker { desk, wants }, stop, once))
    }

    /// The same for whoever wants no frames, only to have them stored, and the report of each session when it
    /// ends. It runs until `stop` turns true.
    ///
    /// Has to be called in a tokio runtime.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn serve(mut self, stop: watch::Receiver<bool>) -> Result<Serving, ListenError> {
        let checked = self.checked()?;
        let store = self.open_store(checked.out.clone())?.ok_or(ListenError::NoStore)?;
        self.run(checked, Sources::shared(store), stop)
    }

    fn run(
        self,
        checked: Checked,
        sources: Sources,
        stop: watch::Receiver<bool>,
    ) -> Result<Serving, ListenError> {
        let sources = match self.hook {
            Some(hook) => sources.on_thread_start(hook),
            None => sources,
        };
        let identity = match self.identity {
            Some(identity) => identity,
            None => {
                let now = SystemTime::now();
                let new = NewCertificate { names: Vec::new(), days: DEFAULT_DAYS, now };
                Identity::load_or_create(&self.certs, &new)?.0
            }
        };
        let alpn = [ALPN, ALPN_SINGLE_FRAME];
        let common = Common {
            tls: server_config(&identity, checked.policy, &alpn, EarlyData::Off),
            congestion: self.congestion,
            intake: self.limits.intake(),
            tcp: self.tcp,
        };
        let listeners = places::listen(&checked.places, &common)?;
        Ok(serving::serve(listeners, sources, self.limits, identity.pin(), stop))
    }

    fn open_store(
        &mut self,
        out: Option<FolderTemplate>,
    ) -> Result<Option<Arc<dyn Store>>, ListenError> {
        Ok(match (self.store.take(), out) {
            (Some(store), _) => Some(store),
            (None, Some(out)) => Some(Arc::new(FolderStores::open(out, self.store_options)?)),
            (None, None) => None,
        })
    }

    fn checked(&self) -> Result<Checked, ListenError> {
        let policy = match &self.policy {
            Some(policy) => policy.clone(),
            None => {
                let allowed = self.allow.iter().map(|sender| sender.parse());
                let allowed = allowed.collect::<Result<Vec<Allow>, _>>()?;
                SenderPolicy::new(allowed)?.into()
            }
        };
        let places = self.places(&policy.current())?;
        let out = self.out.as_ref().map(|out| FolderTemplate::parse(out.as_os_str()));
        let out = out.transpose()?;
        let keeps = self.store_options.keep.removes();
        if let Some(many) = out.as_ref().filter(|out| keeps && out.fixed().is_none()) {
            return Err(ListenError::KeepOfMany(many.to_string()));
        }
        self.check_limits()?;
        let mut wants = HashMap::new();
        for (name, want) in &self.wants {
            let parsed = SourceName::parse(name);
            let wrong = |why| ListenError::SourceName { name: name.clone(), why };
            wants.insert(parsed.map_err(wrong)?, *want);
        }
        Ok(Checked { places, policy, out, wants })
    }

    fn places(&self, policy: &SenderPolicy) -> Result<Vec<Place>, ListenError> {
        let parse = |text: &String| parse_listen(text).map_err(ListenError::Address);
        let listen: Option<SocketAddr> = self.listen.as_ref().map(parse).transpose()?;
        let mut asked = Vec::new();
        for (transport, address) in &self.transports {
            let address = address.as_ref().map(parse).transpose()?;
            asked.push(Asked { transport: *transport, address });
        }
        if asked.is_empty() {
            let both = [Transport::Quic, Transport::Tcp];
            asked.extend(both.map(|transport| Asked { transport, address: None }));
        }
        places::places(&asked, listen, policy)
    }

    fn check_limits(&self) -> Result<(), ListenError> {
        let (memory, max_frame) = (self.limits.memory.0, self.limits.max_frame.0);
        if max_frame == 0 {
            return Err(ListenError::Limit("no frame is as short as `max_frame` is"));
        }
        if memory < max_frame {
            return Err(ListenError::Memory { memory, max_frame });
        }
        if self.limits.stall < SHORTEST_STALL {
            return Err(ListenError::Limit(
                "sessions that are well pause for as long as `stall`; say 100ms or more",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    #[tokio::test]
    async fn what_is_wrong_is_said_before_anything_is_made() {
        let place = tempfile::tempdir().unwrap();
        let here = || Receiver::listen("127.0.0.1:0").certs(place.path().join("certs"));
        let short = ReceiveLimits { stall: Duration::ZERO, ..ReceiveLimits::default() };
        for (builder, says) in [
            (Receiver::listen("nowhere"), "nowhere"),
            (Receiver::listen("0.0.0.0:0"), "would let every machine"),
            (
                Receiver::listen(":0").transport(Transport::StopAndWait).allow(PIN),
                "no authentication",
            ),
            (here().allow("sha256:0"), "sha256"),
            (here().allow(PIN).allow_any(), "whatever pins are named"),
            (here().allow(format!("a={PIN}")).allow(format!("b={PIN}")), "two names"),
            (here().out(place.path().join("{camera}")), "{camera} stands for nothing"),
            (here().memory(ByteSize(1 << 20)), "less than one frame"),
            (here().max_frame(ByteSize(0)), "no frame is as short"),
            (here().limits(short), "100ms"),
            (here().latest("../a"), "../a"),
            (here().transport_at(Transport::Tcp, "127.0.0.1"), "no address to listen on"),
        ] {
            let error = builder.start().await.expect_err(says);
            assert!(error.is_usage() && error.to_string().contains(says), "{says}: {error}");
        }
        let (_stop, stopping) = watch::channel(false);
        let error = here().serve(stopping).expect_err("it stores nowhere").to_string();
        assert!(error.contains("no store"), "{error}");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "something was made");
    }

    #[tokio::test]
    async fn longer_frames_have_the_memory_for_one() {
        let longest = ByteSize(1 << 30);
        assert!(Receiver::listen("127.0.0.1:0").max_frame(longest).check().is_ok());
    }
}
