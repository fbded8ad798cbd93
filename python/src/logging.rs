//! What the library logs, handed to Python's logging under the name `framelane`.

use std::fmt::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::notice::Notice;

/// Processes that have listened, each a fork of the one before, and where they listen. Read without a lock: one that was
/// held at the moment of a fork would be held in the child for ever. Of more generations than these nobody hears.
static LISTENERS: [OnceLock<(u32, Sender<Notice>)>; 16] = [const { OnceLock::new() }; 16];

/// Hands lines to the thread that speaks to Python.
struct ToPython {
    spans: AtomicU64,
}

/// Has the library's warnings, and what is worse, logged by Python from now on. Called once in each process in which the
/// package is used, by who is attached to the interpreter.
pub(crate) fn begin(notices: Sender<Notice>) {
    if let Some(free) = LISTENERS.iter().find(|listener| listener.get().is_none()) {
        // Nobody else is here.
        let _ = free.set((std::process::id(), notices));
    }
    // Where somebody listens already, it is this, of a process that this one was forked from, or another's, who goes on to.
    let _ = tracing::subscriber::set_global_default(ToPython { spans: AtomicU64::new(1) });
}

/// Where this process listens.
fn listener() -> Option<&'static Sender<Notice>> {
    let process = std::process::id();
    let mut listeners = LISTENERS.iter().map_while(OnceLock::get);
    listeners.find(|(listening, _)| *listening == process).map(|(_, notices)| notices)
}

impl Subscriber for ToPython {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("framelane")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed).max(1))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        let level = if *event.metadata().level() == Level::ERROR { 40 } else { 30 };
        if let Some(notices) = listener() {
            // The thread that listens ends with the process.
            let _ = notices.send(Notice::Line { level, words: words.0 });
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event's message, and its fields behind it.
#[derive(Default)]
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
