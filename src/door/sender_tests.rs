use std::time::Duration;

use tokio::sync::Notify;

use super::*;
use crate::frame::SourceName;
use crate::sender::Weight;
use crate::spool::{SpoolOptions, WhenFull};
use crate::transport::{BoxFuture, SenderLink, TransportError};

/// Reaches nobody, and is at its end only when it is told so.
#[derive(Default)]
struct Held {
    lingers: Arc<Notify>,
    go_on: Arc<Notify>,
}

impl Dial for Held {
    fn dial(&self) -> BoxFuture<'_, Result<SenderLink, TransportError>> {
        Box::pin(std::future::ready(Err(TransportError::Ended)))
    }

    fn linger(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.lingers.notify_one();
            self.go_on.notified().await;
        })
    }
}

/// A sender of one source that gives up at once, and what holds its run at the end.
fn giving_up(spool: Option<Spool>) -> (Sender, Arc<Notify>, Arc<Notify>) {
    let dial = Held::default();
    let (lingers, go_on) = (dial.lingers.clone(), dial.go_on.clone());
    let pushed = Pushed::new(SourceName::parse("visible").unwrap());
    let source: Arc<dyn Source> = match &spool {
        Some(spool) => spool.keep(pushed.clone(), true).unwrap(),
        None => pushed.clone(),
    };
    let options = SendOptions {
        retry_for: Duration::ZERO,
        weights: vec![Weight::default()],
        ..SendOptions::default()
    };
    let sender = Sender::run(Parts {
        dial: Box::new(dial),
        sources: vec![source],
        pushed: vec![pushed],
        options,
        memory: ByteSize(1 << 20),
        spool,
        stop: None,
    });
    (sender, lingers, go_on)
}

/// What is pushed before and after the run has given up, and while it is at its end: that many are taken, and the report.
async fn push_at_the_end(spool: Option<Spool>) -> (u64, SendReport) {
    let (sender, lingers, go_on) = giving_up(spool);
    let mut taken = 0;
    for frame in 0..5_u8 {
        taken += u64::from(sender.push("visible", Frame::raw(vec![frame])).await.is_ok());
        if frame == 2 {
            lingers.notified().await;
        }
    }
    go_on.notify_one();
    (taken, sender.finish().await)
}

#[tokio::test]
async fn a_frame_that_is_taken_while_the_run_ends_is_in_the_report() {
    let (taken, report) = push_at_the_end(None).await;
    assert_eq!((report.sources[0].frames, report.sources[0].missing), (taken, taken));
    assert_eq!(taken, 3, "those at the end are refused");
}

#[tokio::test]
async fn a_spool_has_what_was_taken_and_the_report_says_how_much_of_it() {
    let place = tempfile::tempdir().unwrap();
    let mut options = SpoolOptions::default();
    let spool = Spool::open(place.path(), options, "store:4433").unwrap();
    let (taken, report) = push_at_the_end(Some(spool)).await;
    let source = &report.sources[0];
    assert_eq!((source.frames, source.pending, source.missing), (taken, taken, 0));
    assert_eq!(report.spool.unwrap().disk_frames, source.pending);

    // Room for none of them on disk.
    let place = tempfile::tempdir().unwrap();
    (options.size, options.when_full) = (ByteSize(1), WhenFull::Wait);
    let spool = Spool::open(place.path(), options, "store:4433").unwrap();
    let (taken, report) = push_at_the_end(Some(spool)).await;
    let source = &report.sources[0];
    assert_eq!((source.frames, source.pending, source.missing), (taken, 0, taken));
}

#[test]
fn whoever_waits_is_told_where_the_runtime_is_shut_down() {
    let a_runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (runtime, elsewhere) = (a_runtime(), a_runtime());
    let (sender, _, _) = runtime.block_on(async { giving_up(None) });
    let receipt = elsewhere.block_on(sender.push("visible", Frame::raw(vec![0]))).unwrap();
    drop(runtime);
    elsewhere.block_on(async {
        let limit = Duration::from_secs(60);
        let fate = tokio::time::timeout(limit, receipt.stored()).await.expect("it is told");
        assert_eq!(fate, Err(crate::door::NotStored::Ended));
        let late = sender.push("visible", Frame::raw(vec![1])).await;
        assert_eq!(late.err(), Some(PushError::Ended));
        let why = sender.finish().await.error.unwrap();
        assert!(why.contains("runtime"), "{why}");
    });
}

#[tokio::test]
async fn room_that_is_given_back_is_room_for_others_and_hands_nothing_over() {
    let (sender, _, go_on) = giving_up(None);
    // As long as all of the memory.
    let whole = || Frame::raw(vec![0; 1 << 20]);
    drop(sender.ready("visible", whole()).await.unwrap());
    let ready = sender.ready("visible", whole()).await.unwrap();
    assert_eq!(sender.pending(), 0);
    {
        // Looked at once: the run gives up as soon as it has its turn.
        let second = std::pin::pin!(sender.ready("visible", whole()));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(second.poll(&mut context).is_pending(), "there was room twice");
    }
    drop(ready.push().unwrap());
    assert_eq!(sender.pending(), 1);
    go_on.notify_one();
    assert_eq!(sender.finish().await.sources[0].frames, 1);
}
