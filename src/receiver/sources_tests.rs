//! How sources are opened and closed, and what becomes of sessions whose disk hangs or whose source fails.

use std::sync::atomic::AtomicBool;

use tempfile::TempDir;
use tokio::time::timeout;

use super::super::work::{Done, Question, Task, Ticket};
use super::*;
use crate::frame::{ByteSize, Frame, FrameMeta, FrameName, Sequence, UnixNanos};
use crate::store::{FolderStore, Held, Offered, Outcome, ReceivedFrame, StoreOptions};
use crate::transport::{ArrivedFrame, MemoryBudget};
use crate::wire::{Offer, OfferEntry, SourceId};

/// Each of these tests has hundreds of files open, and a process may have a thousand or so.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Longer than anything takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(60);

fn sources() -> (TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::open(folder.path(), StoreOptions::default()).unwrap();
    (folder, Sources::new(store))
}

fn account(sender: &str) -> Account {
    MemoryBudget::new(ByteSize(1 << 20)).open(sender)
}

fn name(number: usize) -> SourceName {
    SourceName::parse(&format!("source-{number}")).unwrap()
}

fn sender() -> Arc<Opener> {
    Arc::new(Opener::with_pin(Some("sha256:00")))
}

fn entry(sequence: u64) -> OfferEntry {
    OfferEntry {
        sequence: Sequence(sequence),
        name: FrameName::parse(&format!("{sequence}.png")).unwrap(),
        bytes: 1,
        modified: None,
        hash: None,
    }
}

fn question(sources: u64, reply: &mpsc::UnboundedSender<Done>, listens: bool) -> Work {
    Work::LookUp(Box::new(Question {
        offer: Offer { source: SourceId(0), entries: (0..sources).map(entry).collect() },
        from: sender(),
        claim: account("a").claim(),
        replace: false,
        listening: Arc::new(AtomicBool::new(listens)),
        ticket: Ticket::new(reply, Task::Offer),
        turn: 0,
        was_read: false,
    }))
}

/// How many sources are open.
fn open(sources: &Sources) -> usize {
    sources.list().open.len()
}

fn is_open(sources: &Sources, number: usize) -> bool {
    sources.list().open.contains_key(&(PathBuf::new(), name(number)))
}

async fn opened(sources: &Sources, number: usize, account: &Account) -> SourceThread {
    sources.open(&name(number), &sender(), account).await.unwrap().0
}

#[tokio::test]
async fn a_new_source_is_served_however_many_there_were_before() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let (_folder, sources) = sources();
    let account = account("a");
    let held = opened(&sources, 0, &account).await;
    for number in 1..MAX_OPEN + 20 {
        opened(&sources, number, &account).await;
    }
    assert_eq!(open(&sources), MAX_OPEN);
    // The one in use has stayed, though it is the oldest; the next oldest had to go.
    assert!(held.same_channel(&opened(&sources, 0, &account).await));
    assert!(!is_open(&sources, 1));
    // What was closed can be opened again at once.
    opened(&sources, 1, &account).await;
    assert_eq!(open(&sources), MAX_OPEN);
}

#[tokio::test(start_paused = true)]
async fn a_source_in_use_is_never_closed() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let (_folder, sources) = sources();
    let account = account("a");
    let mut held = Vec::new();
    for number in 0..MAX_OPEN {
        held.push(opened(&sources, number, &account).await);
    }
    let refused = sources.open(&name(MAX_OPEN), &sender(), &account).await;
    assert!(matches!(refused, Err(Unopened::Busy(_))), "{refused:?}");
    assert!(held.iter().all(|thread| !thread.is_closed()));
    drop(held.swap_remove(7));
    opened(&sources, MAX_OPEN, &account).await;
    assert!(held.iter().all(|thread| !thread.is_closed()));
}

#[tokio::test]
async fn a_sender_with_many_sources_gives_way_to_one_with_none() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let (_folder, sources) = sources();
    let (greedy, other) = (account("greedy"), account("other"));
    let mut held = Vec::new();
    for number in 0..MAX_OPEN {
        held.push(opened(&sources, number, &greedy).await);
    }
    let goes = async {
        let why = greedy.told_to_go().await;
        assert!(why.contains("sources in use"), "{why}");
        drop(held);
    };
    let (served, ()) = tokio::join!(opened(&sources, MAX_OPEN, &other), goes);
    assert!(!served.is_closed() && !other.is_told_to_go());
}

#[tokio::test]
async fn a_source_is_closed_only_when_its_work_is_done() {
    const OFFERS: usize = 200;
    let _alone = ONE_AT_A_TIME.lock().await;
    let (_folder, sources) = sources();
    let account = account("a");
    let (reply, mut done) = mpsc::unbounded_channel();
    let busy = opened(&sources, 0, &account).await;
    for _ in 0..OFFERS {
        busy.send(question(1_000, &reply, true)).unwrap();
    }
    // The session goes, and others come for which it has to make room.
    drop((busy, reply));
    for number in 1..=MAX_OPEN {
        opened(&sources, number, &account).await;
    }
    assert!(!is_open(&sources, 0));
    // Two threads that had the store open at once would find it locked.
    opened(&sources, 0, &account).await;
    let mut answered = 0;
    while let Ok(Done::Answered { .. }) = done.try_recv() {
        answered += 1;
    }
    assert_eq!(answered, OFFERS, "work was dropped");
}

/// A store of sources that hang, panic or fail, by their names.
#[derive(Debug)]
struct Trouble {
    /// Sources that hang wait until the other end of this is gone.
    disk: Mutex<std::sync::mpsc::Receiver<Infallible>>,
}

impl Trouble {
    /// With what keeps its disk frozen.
    fn new() -> (std::sync::mpsc::Sender<Infallible>, Self) {
        let (frozen, disk) = std::sync::mpsc::channel();
        (frozen, Self { disk: Mutex::new(disk) })
    }
}

#[derive(Debug)]
struct Troubled;

impl Store for Trouble {
    fn open(&self, source: &SourceName, from: &Opener) -> Result<Box<dyn OpenSource>, StoreError> {
        match source.as_str() {
            "hangs" => {
                let _ = self.disk.lock().unwrap().recv();
            }
            "panics" => panic!("a defect in a store"),
            "owned" => {
                let _ = self.disk.lock().unwrap().recv();
                if from.pin.as_deref() != Some("sha256:00") {
                    let (source_name, owner) = ("owned".to_owned(), "sha256:00".to_owned());
                    return Err(StoreError::NotOwner { source_name, owner, earlier_key: None });
                }
            }
            "fails" => return Err(StoreError::SourceInUse { path: "fails".into() }),
            _ => {}
        }
        Ok(Box::new(Troubled))
    }
}

impl OpenSource for Troubled {
    fn look_up(&mut self, _: &Opener, _: &[Offered<'_>], _: &dyn Fn() -> bool) -> Vec<Held> {
        panic!("a defect in a store")
    }

    fn store(&mut self, _: &[ReceivedFrame]) -> Vec<Outcome> {
        panic!("a defect in a store")
    }
}

fn named(name: &str) -> SourceName {
    SourceName::parse(name).unwrap()
}

#[tokio::test]
async fn a_disk_that_hangs_holds_up_nobody_elses_source() {
    let (frozen, trouble) = Trouble::new();
    let (sources, account) = (Sources::new(trouble), account("a"));
    let (name, from) = (named("hangs"), sender());
    let mut hanging = Box::pin(sources.open(&name, &from, &account));
    assert!(timeout(Duration::from_millis(20), &mut hanging).await.is_err());
    let good = named("good");
    timeout(PATIENCE, sources.open(&good, &from, &account))
        .await
        .expect("the other source opens")
        .unwrap();
    // Who does not wait any more leaves nothing that others wait for.
    drop(hanging);
    drop(frozen);
    timeout(PATIENCE, sources.open(&name, &from, &account)).await.expect("in time").unwrap();
}

#[tokio::test]
async fn a_source_that_fails_to_open_is_tried_anew() {
    let (sources, account) = (Sources::new(Trouble::new().1), account("a"));
    for name in ["fails", "panics", "fails", "panics"] {
        let (name, from) = (named(name), sender());
        let opened = timeout(PATIENCE, sources.open(&name, &from, &account)).await;
        let failed = opened.expect("nobody waits for it without end");
        assert!(matches!(failed, Err(Unopened::Store(_))), "{failed:?}");
    }
}

#[tokio::test]
async fn the_owner_is_let_in_where_another_asked_first() {
    let (frozen, trouble) = Trouble::new();
    let (sources, account) = (Sources::new(trouble), account("a"));
    let (name, owner) = (named("owned"), sender());
    let other = Arc::new(Opener::with_pin(Some("sha256:11")));
    let mut first = Box::pin(sources.open(&name, &other, &account));
    assert!(timeout(Duration::from_millis(20), &mut first).await.is_err());
    let mut second = Box::pin(sources.open(&name, &owner, &account));
    assert!(timeout(Duration::from_millis(20), &mut second).await.is_err());
    drop(frozen);
    let both = async { tokio::join!(first, second) };
    let (first, second) = timeout(PATIENCE, both).await.expect("in time");
    assert!(matches!(first, Err(Unopened::Owned(_))), "{first:?}");
    second.unwrap();
}

#[tokio::test]
async fn work_of_a_thread_that_has_failed_is_told_of() {
    let (sources, account) = (Sources::new(Trouble::new().1), account("a"));
    let (name, from) = (named("good"), sender());
    let (thread, _) = sources.open(&name, &from, &account).await.unwrap();
    let (reply, mut done) = mpsc::unbounded_channel();
    thread.send(question(1, &reply, true)).unwrap();
    let meta = FrameMeta {
        sequence: Sequence(0),
        name: FrameName::parse("0.png").unwrap(),
        bytes: 0,
        hash: None,
        captured: None,
        due: None,
        modified: None,
        media: FrameName::parse("0.png").unwrap().media_type(),
    };
    let frame = Box::new(ArrivedFrame {
        source: SourceId(0),
        frame: Frame { meta, body: bytes::Bytes::new() },
        received: UnixNanos(1),
        repaired: false,
        claim: account.claim(),
    });
    let ticket = Ticket::new(&reply, Task::Frame);
    let _ = thread.send(Work::Store { frame, from: sender(), replace: false, ticket });
    let mut failed = Vec::new();
    while failed.len() < 2 {
        match timeout(PATIENCE, done.recv()).await.expect("in time") {
            Some(Done::Failed(task)) => failed.push(task),
            other => panic!("{other:?}"),
        }
    }
    assert!(failed.contains(&Task::Offer) && failed.contains(&Task::Frame));
    // The next session finds the source open again.
    let (again, _) = sources.open(&name, &from, &account).await.unwrap();
    assert!(!again.same_channel(&thread));
}

/// Tells on which thread it was dropped.
struct Told(std::sync::mpsc::Sender<Option<String>>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(std::thread::current().name().map(str::to_owned));
    }
}

#[tokio::test]
async fn a_sources_thread_is_told_of_from_its_start_to_its_end() {
    let (_folder, sources) = sources();
    let (tell, told) = std::sync::mpsc::channel();
    let sources = sources.on_thread_start(move || {
        let here = std::thread::current().name().map(str::to_owned);
        let _ = tell.send(here);
        Box::new(Told(tell.clone()))
    });
    let account = account("a");
    let (source, _) = sources.open(&named("visible"), &sender(), &account).await.unwrap();
    assert_eq!(told.recv().unwrap().as_deref(), Some("store visible"));
    drop((source, sources));
    assert_eq!(told.recv().unwrap().as_deref(), Some("store visible"));
}

/// The end of a process would cut off what a source still writes when it is closed.
#[tokio::test]
async fn the_end_waits_until_sources_are_closed() {
    let (_folder, sources) = sources();
    let (tell, told) = std::sync::mpsc::channel();
    let sources = sources.on_thread_start(move || Box::new(Told(tell.clone())));
    let account = account("a");
    let source = opened(&sources, 0, &account).await;
    drop(source);
    assert!(told.try_recv().is_err(), "it is open");
    sources.close().await;
    told.try_recv().expect("its thread has ended");
    assert_eq!(open(&sources), 0);
}

#[tokio::test]
async fn an_offer_is_not_answered_where_nobody_listens() {
    let (_folder, sources) = sources();
    let account = account("a");
    let (reply, mut done) = mpsc::unbounded_channel();
    let source = opened(&sources, 0, &account).await;
    for listens in [true, false, true] {
        source.send(question(1, &reply, listens)).unwrap();
    }
    drop(reply);
    let mut answers = 0;
    while let Some(Done::Answered { .. }) = done.recv().await {
        answers += 1;
    }
    assert_eq!(answers, 2);
}
