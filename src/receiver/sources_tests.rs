//! How sources are opened and closed.

use tempfile::TempDir;

use super::*;
use crate::frame::{ByteSize, FrameName};
use crate::store::{FolderStore, StoreOptions};
use crate::transport::MemoryBudget;

/// Each of these tests has hundreds of files open, and a process may have a thousand or so.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn sources() -> (TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let store = FolderStore::open(folder.path(), StoreOptions::default()).unwrap();
    (folder, Sources::new(store))
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

/// How many sources are open.
fn open(sources: &Sources) -> usize {
    sources.open.lock().unwrap().sources.len()
}

#[test]
fn a_new_source_is_served_however_many_there_were_before() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (_folder, sources) = sources();
    let held = sources.open(&name(0), &sender()).unwrap();
    for number in 1..MAX_OPEN + 20 {
        sources.open(&name(number), &sender()).unwrap();
    }
    assert_eq!(open(&sources), MAX_OPEN);
    // The one in use has stayed, though it is the oldest; the next oldest had to go.
    assert!(held.same_channel(&sources.open(&name(0), &sender()).unwrap()));
    assert!(!sources.open.lock().unwrap().sources.contains_key(&name(1)));
    // What was closed can be opened again at once.
    sources.open(&name(1), &sender()).unwrap();
    assert_eq!(open(&sources), MAX_OPEN);
}

#[test]
fn a_source_in_use_is_never_closed() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (_folder, sources) = sources();
    let mut held: Vec<_> =
        (0..MAX_OPEN).map(|number| sources.open(&name(number), &sender()).unwrap()).collect();
    let refused = sources.open(&name(MAX_OPEN), &sender());
    assert!(matches!(refused, Err(Unopened::Busy(_))), "{refused:?}");
    assert!(held.iter().all(|thread| !thread.is_closed()));
    drop(held.swap_remove(7));
    sources.open(&name(MAX_OPEN), &sender()).unwrap();
    assert!(held.iter().all(|thread| !thread.is_closed()));
}

#[test]
fn a_source_is_closed_only_when_its_work_is_done() {
    const OFFERS: usize = 200;
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (_folder, sources) = sources();
    let budget = MemoryBudget::new(ByteSize(1 << 20));
    let (reply, mut done) = mpsc::unbounded_channel();
    let busy = sources.open(&name(0), &sender()).unwrap();
    for _ in 0..OFFERS {
        let offer = Offer { source: SourceId(0), entries: (0..1_000).map(entry).collect() };
        let (claim, reply) = (budget.claim(), reply.clone());
        let listening = Arc::new(AtomicBool::new(true));
        busy.send(Work::LookUp { offer, from: sender(), claim, replace: false, listening, reply })
            .unwrap();
    }
    // The session goes, and others come for which it has to make room.
    drop((busy, reply));
    for number in 1..=MAX_OPEN {
        sources.open(&name(number), &sender()).unwrap();
    }
    assert!(!sources.open.lock().unwrap().sources.contains_key(&name(0)));
    // Two threads that had the store open at once would find it locked.
    sources.open(&name(0), &sender()).unwrap();
    let mut answered = 0;
    while done.try_recv().is_ok() {
        answered += 1;
    }
    assert_eq!(answered, OFFERS, "work was dropped");
}

/// Tells on which thread it was dropped.
struct Told(std::sync::mpsc::Sender<Option<String>>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(std::thread::current().name().map(str::to_owned));
    }
}

#[test]
fn a_sources_thread_is_told_of_from_its_start_to_its_end() {
    let (_folder, sources) = sources();
    let (tell, told) = std::sync::mpsc::channel();
    let sources = sources.on_thread_start(move || {
        let here = std::thread::current().name().map(str::to_owned);
        let _ = tell.send(here);
        Box::new(Told(tell.clone()))
    });
    let source = sources.open(&SourceName::parse("visible").unwrap(), &sender()).unwrap();
    assert_eq!(told.recv().unwrap().as_deref(), Some("store visible"));
    drop((source, sources));
    assert_eq!(told.recv().unwrap().as_deref(), Some("store visible"));
}

#[test]
fn an_offer_is_not_answered_where_nobody_listens() {
    let (_folder, sources) = sources();
    let budget = MemoryBudget::new(ByteSize(1 << 20));
    let (reply, mut done) = mpsc::unbounded_channel();
    let source = sources.open(&name(0), &sender()).unwrap();
    for listens in [true, false, true] {
        let offer = Offer { source: SourceId(0), entries: vec![entry(0)] };
        let (claim, reply) = (budget.claim(), reply.clone());
        let listening = Arc::new(AtomicBool::new(listens));
        source
            .send(Work::LookUp { offer, from: sender(), claim, replace: false, listening, reply })
            .unwrap();
    }
    drop(reply);
    let mut answers = 0;
    while let Some(Done::Answered { .. }) = done.blocking_recv() {
        answers += 1;
    }
    assert_eq!(answers, 2);
}
