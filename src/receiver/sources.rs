//! The open sources of the store: a thread for each, so that none waits for another's disk, be it to
//! open, to store or to close.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::board::{Board, Panel};
use super::busy::Busy;
use super::hashing::Hashing;
use super::source_thread::work;
use super::work::{Admitted, SourceThread, Work};
use crate::frame::SourceName;
use crate::store::{Keeping, OpenSource, Opener, Room, Store, StoreError};
use crate::transport::{Account, WeakAccount};

/// Sources that one receiver has open at once, each with a thread, its files and its index in memory.
/// Those that no session holds stay open until another needs the room, because reading an index
/// again takes time.
const MAX_OPEN: usize = 256;

/// Sources that are being closed at once, beyond which none is opened in the place of one more.
const MAX_CLOSING: usize = 64;

/// How long a session waits for another to have given way, and how often it looks.
const ROOM_PATIENCE: Duration = Duration::from_secs(3);
/// See [`ROOM_PATIENCE`].
const ROOM_INTERVAL: Duration = Duration::from_millis(20);

/// How long a source that needs files waits for another to have given its own back.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a receiver that ends waits until its sources are closed: what is left half done then, an index say, the next
/// one does again.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// The sources of a store, shared by all sessions.
#[derive(Clone)]
pub struct Sources {
    store: Arc<dyn Store>,
    list: Arc<Mutex<List>>,
    hashing: Hashing,
    busy: Busy,
    board: Arc<Board>,
    on_thread_start: Arc<OnThreadStart>,
}

/// Which source: the store's place for its sender, and its name. Of two places, sources with one name are two
/// sources.
type Key = (PathBuf, SourceName);

/// The sources that are open, and how often one was asked for.
#[derive(Debug, Default)]
struct List {
    open: HashMap<Key, Source>,
    closing: Vec<(Key, Gone)>,
    asked: u64,
}

/// An open source, or one that is being opened.
#[derive(Debug)]
struct Source {
    thread: SourceThread,
    gone: Gone,
    failure: Failure,
    /// When a session asked for it last, as a count of such questions.
    asked: u64,
    /// The sessions that asked for it.
    users: Vec<WeakAccount>,
}

/// The thread of a source for one who asked for it.
struct Asked {
    thread: SourceThread,
    failure: Failure,
    /// It was started for this one, and opens the source for this one.
    is_first: bool,
}

/// Tells when a source's thread has closed the store. Not the thread's own handle: to drop that just as
/// the thread ends, as at the end of a run, crashes in glibc 2.36, whose `pthread_detach` looks at
/// a thread that may be gone.
#[derive(Debug, Clone)]
struct Gone(Arc<Mutex<std::sync::mpsc::Receiver<Infallible>>>);

/// Why a source did not open, set before its thread takes no more work.
type Failure = Arc<OnceLock<StoreError>>;

/// Called on each source's thread when it starts; what it returns is dropped there when it ends.
type OnThreadStart = dyn Fn() -> Box<dyn Send> + Send + Sync;

/// Why a source is not opened, in words.
#[derive(Debug)]
pub(super) enum Unopened {
    /// Sessions hold as many sources as can be open, which may pass.
    Busy(String),
    /// It is another's, or its name is taken for another's: that does not pass.
    Owned(String),
    /// Its store does not open, as on a full disk.
    Store(String),
}

impl Sources {
    /// The sources of `store`, none of them open yet.
    pub fn new(store: impl Store + 'static) -> Self {
        Self::shared(Arc::new(store))
    }

    /// The same, of a store that others have as well.
    pub fn shared(store: Arc<dyn Store>) -> Self {
        let on_thread_start = Arc::new(|| Box::new(()) as Box<dyn Send>);
        let (list, hashing, busy, board) = <(_, _, _, Arc<Board>)>::default();
        Self { store, list, hashing, busy, board, on_thread_start }
    }

    /// The same, each source's thread calling `hook` when it starts; what that returns is dropped
    /// on the thread when it ends. For whoever counts what storing costs.
    pub fn on_thread_start(self, hook: impl Fn() -> Box<dyn Send> + Send + Sync + 'static) -> Self {
        Self { on_thread_start: Arc::new(hook), ..self }
    }

    /// What the sources' threads are at.
    pub fn busy(&self) -> Busy {
        self.busy.clone()
    }

    /// What is shown of them.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// What is shown of a source for a session of `opener`.
    pub(super) fn panel(&self, name: &SourceName, opener: &Opener) -> Arc<Panel> {
        self.board.panel(&self.store.place(opener), name)
    }

    /// The room that there is for frames, where the store knows. May block.
    pub(super) fn room(&self) -> Option<Room> {
        self.store.room()
    }

    /// How the store keeps to its limit, where it has one.
    pub(super) fn keeping(&self) -> Option<Keeping> {
        self.store.keeping()
    }

    /// Whether frames are on the medium before they are confirmed.
    pub(super) fn is_durable(&self) -> bool {
        self.store.is_durable()
    }

    /// The thread of a source for a session of `opener`, started where it is not running, and what the
    /// source knows. Waits for that source's disk and for no other's. Where sessions hold as many sources
    /// as can be open, one of the sender that holds the most gives way to a sender with less. Cancel safe.
    ///
    /// # Errors
    /// [`Unopened`].
    pub(super) async fn open(
        &self,
        name: &SourceName,
        opener: &Arc<Opener>,
        account: &Account,
    ) -> Result<(SourceThread, Admitted), Unopened> {
        let since = Instant::now();
        let error = loop {
            let Asked { thread, failure, is_first } = match self.thread(name, opener, account) {
                Err(Unopened::Busy(why)) => {
                    if since.elapsed() >= ROOM_PATIENCE || !self.list().has_one_give_way(account) {
                        return Err(Unopened::Busy(why));
                    }
                    sleep(ROOM_INTERVAL).await;
                    continue;
                }
                asked => asked?,
            };
            let (reply, admitted) = oneshot::channel();
            // Where its thread has ended, the question is dropped, which is an answer as well.
            let _ = thread.send(Work::Admit { opener: opener.clone(), reply });
            match admitted.await {
                Ok(Ok(admitted)) => return Ok((thread, admitted)),
                Ok(Err(error)) => break error,
                Err(_) => match failure.get() {
                    // Whose it is was asked for another sender, who opened it in the same moment: it says nothing of
                    // this one.
                    Some(StoreError::NotOwner { .. }) if !is_first => {
                        if since.elapsed() >= ROOM_PATIENCE {
                            return Err(Unopened::Busy(format!(
                                "others that may not have source {name} ask for it over and over; try again"
                            )));
                        }
                    }
                    Some(error) => break error.clone(),
                    None => {
                        let why = format!("the thread of source {name} has failed");
                        return Err(Unopened::Store(format!("{why}; see the receiver's log")));
                    }
                },
            }
        };
        Err(match error {
            StoreError::NotOwner { .. } | StoreError::Folded { .. } => {
                Unopened::Owned(error.to_string())
            }
            _ if is_out_of_files(&error) => Unopened::Busy(format!(
                "{error}; other sources are in use, and the receiver may have no more files open: \
                 raise its limit (ulimit -n)"
            )),
            _ => Unopened::Store(error.to_string()),
        })
    }

    /// Closes those that are open, and waits for that, as long as a disk may take that is well.
    pub(super) async fn close(&self) {
        let list = self.list.clone();
        let closing = tokio::task::spawn_blocking(move || {
            let closing: Vec<Gone> = {
                let mut list = lock(&list);
                let open: Vec<_> = list.open.drain().collect();
                for (key, source) in open {
                    list.close(key, source);
                }
                list.closing.iter().map(|(_, gone)| gone.clone()).collect()
            };
            let until = std::time::Instant::now() + LAST_PATIENCE;
            let left = || until.saturating_duration_since(std::time::Instant::now());
            closing.iter().all(|gone| gone.wait_for(left()))
        });
        if !closing.await.unwrap_or(false) {
            tracing::info!("what is being closed yet is put right by the next receiver");
        }
    }

    /// The thread. It opens its source itself, so that nobody else waits for that.
    fn thread(
        &self,
        name: &SourceName,
        opener: &Arc<Opener>,
        account: &Account,
    ) -> Result<Asked, Unopened> {
        let key = (self.store.place(opener), name.clone());
        let mut list = self.list();
        list.asked += 1;
        let asked = list.asked;
        if let Some(source) = list.open.get_mut(&key).filter(|source| source.is_alive()) {
            source.asked = asked;
            source.users.retain(WeakAccount::is_there);
            source.users.push(account.downgrade());
            let (thread, failure) = (source.thread.clone(), source.failure.clone());
            return Ok(Asked { thread, failure, is_first: false });
        }
        list.make_room_for(&key)?;
        let before = list.closing_of(&key);
        let panel = self.board.panel(&key.0, &key.1);
        let (thread, queue) = mpsc::unbounded_channel();
        let (has_store, gone) = std::sync::mpsc::channel();
        let gone = Gone(Arc::new(Mutex::new(gone)));
        let hook = self.on_thread_start.clone();
        let running = Running {
            name: name.clone(),
            store: self.store.clone(),
            // The list has the way into the queue, and must not be kept by its end.
            list: Arc::downgrade(&self.list),
            hashing: self.hashing.clone(),
            busy: self.busy.clone(),
            again: thread.downgrade(),
            panel,
            failure: Failure::default(),
        };
        let failure = running.failure.clone();
        let opener = opener.clone();
        let started = std::thread::Builder::new().name(format!("store {name}")).spawn(move || {
            let until_its_end = hook();
            // The same source's files and locks have to be free.
            before.iter().for_each(Gone::wait);
            running.run(&opener, queue);
            drop(until_its_end);
            drop(has_store);
        });
        started.map_err(|error| {
            Unopened::Busy(format!("cannot start a thread for source {name}: {error}"))
        })?;
        let users = vec![account.downgrade()];
        let source =
            Source { thread: thread.clone(), gone, failure: failure.clone(), asked, users };
        list.open.insert(key, source);
        Ok(Asked { thread, failure, is_first: true })
    }

    fn list(&self) -> MutexGuard<'_, List> {
        lock(&self.list)
    }
}

/// What is listed is true at every moment, so another thread's panic does not spoil it. The lock is never
/// held while anything waits.
fn lock(list: &Mutex<List>) -> MutexGuard<'_, List> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a source's thread has.
struct Running {
    name: SourceName,
    store: Arc<dyn Store>,
    list: Weak<Mutex<List>>,
    hashing: Hashing,
    busy: Busy,
    again: mpsc::WeakUnboundedSender<Work>,
    panel: Arc<Panel>,
    failure: Failure,
}

impl Running {
    fn run(&self, opener: &Opener, queue: mpsc::UnboundedReceiver<Work>) {
        let opening = self.busy.begin();
        let opened = self.open(opener);
        drop(opening);
        match opened {
            Ok(store) => {
                work(store, queue, &self.again, &self.hashing, &self.busy, &self.panel);
            }
            Err(error) => {
                // Who has asked finds it when the question is dropped; who asks later has it tried anew.
                let _ = self.failure.set(error);
                drop(queue);
            }
        }
    }

    /// Opens the source in the store. Where the process has no more files, idle sources give way.
    fn open(&self, opener: &Opener) -> Result<Box<dyn OpenSource>, StoreError> {
        loop {
            let error = match self.store.open(&self.name, opener) {
                Err(error) if is_out_of_files(&error) => error,
                opened => return opened,
            };
            let closing = self.list.upgrade().and_then(|list| lock(&list).close_one());
            if !closing.is_some_and(|gone| gone.wait_for(CLOSE_PATIENCE)) {
                return Err(error);
            }
        }
    }
}

impl List {
    /// Takes what is left of the source off the list, where its thread has ended, and has the idle source
    /// closed that was asked for the longest ago, where there is no room for one more.
    fn make_room_for(&mut self, key: &Key) -> Result<(), Unopened> {
        self.closing.retain(|(_, gone)| !gone.is_gone());
        if let Some(ended) = self.open.remove(key) {
            self.close(key.clone(), ended);
        }
        let full = || {
            Unopened::Busy(format!(
                "the receiver has {MAX_OPEN} sources in use, as many as it can; try again when \
                 other senders have ended, or send fewer sources at once"
            ))
        };
        if self.open.len() < MAX_OPEN {
            return Ok(());
        }
        if self.closing.len() >= MAX_CLOSING {
            return Err(full());
        }
        self.close_one().map(|_| ()).ok_or_else(full)
    }

    /// Has the idle source closed that was asked for the longest ago, if there is one.
    fn close_one(&mut self) -> Option<Gone> {
        let idle = self.open.iter().filter(|(_, source)| source.is_idle());
        let oldest = idle.min_by_key(|(_, source)| source.asked).map(|(key, _)| key.clone())?;
        let source = self.open.remove(&oldest)?;
        Some(self.close(oldest, source))
    }

    /// Has a session of the sender that holds the most sources give way, if that is more than the sender of
    /// `newcomer` would have then. True as well while one is about to.
    fn has_one_give_way(&mut self, newcomer: &Account) -> bool {
        let mut held: HashMap<String, Vec<Account>> = HashMap::new();
        for source in self.open.values().filter(|source| !source.is_idle()) {
            for user in source.users.iter().filter_map(WeakAccount::upgrade) {
                held.entry(user.sender().to_owned()).or_default().push(user);
            }
        }
        let own = held.get(newcomer.sender()).map_or(0, Vec::len);
        let most = held.into_values().max_by_key(Vec::len).unwrap_or_default();
        if most.len() <= own + 1 {
            return false;
        }
        if !most.iter().any(Account::is_told_to_go)
            && let Some(victim) = most.iter().max_by_key(|account| account.idle())
        {
            victim.tell_to_go(
                "the receiver has as many sources in use as it can, and others want some; try again, \
                 with fewer at once",
            );
        }
        true
    }

    /// Lets go of a source: its thread does what was asked of it, and then gives its files and locks back.
    fn close(&mut self, key: Key, source: Source) -> Gone {
        let Source { thread, gone, .. } = source;
        drop(thread);
        self.closing.push((key, gone.clone()));
        gone
    }

    /// The threads that may still have this source's files and locks.
    fn closing_of(&self, key: &Key) -> Vec<Gone> {
        let same = self.closing.iter().filter(|(of, _)| of == key);
        same.map(|(_, gone)| gone.clone()).collect()
    }
}

impl Source {
    /// False where its thread has failed, or did not get it open.
    fn is_alive(&self) -> bool {
        !self.thread.is_closed()
    }

    /// True where no session holds it. That can change only by asking for it.
    fn is_idle(&self) -> bool {
        self.thread.strong_count() == 1 || !self.is_alive()
    }
}

impl Gone {
    fn wait(&self) {
        // An error is what is waited for. A thread that has failed has said so by its panic.
        let _ = self.receiver().recv();
    }

    /// False where it takes longer.
    fn wait_for(&self, patience: Duration) -> bool {
        let waited = self.receiver().recv_timeout(patience);
        !matches!(waited, Err(std::sync::mpsc::RecvTimeoutError::Timeout))
    }

    fn is_gone(&self) -> bool {
        let Ok(receiver) = self.0.try_lock() else { return false };
        matches!(receiver.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected))
    }

    fn receiver(&self) -> MutexGuard<'_, std::sync::mpsc::Receiver<Infallible>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True where the process, or the system, has no more files to open.
fn is_out_of_files(error: &StoreError) -> bool {
    let cause = match error {
        StoreError::Io { cause, .. } => *cause,
        StoreError::Manifest(error) => error.cause,
        _ => return false,
    };
    matches!(cause, Errno::MFILE | Errno::NFILE)
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("store", &self.store).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
