//! What the library logs, handed to Python's logging under the name `framelane`.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::notice::Notice;

/// Hands lines to the thread that speaks to Python.
struct ToPython {
    /// In one that was forked from this nobody listens.
    process: u32,
    notices: Sender<Notice>,
    spans: AtomicU64,
}

/// Has the library's warnings, and what is worse, logged by Python from now on: those of the process in which the
/// package was used first.
pub(crate) fn begin(notices: Sender<Notice>) {
    let handing = ToPython { process: std::process::id(), notices, spans: AtomicU64::new(1) };
    // Where somebody listens already, they go on to.
    let _ = tracing::subscriber::set_global_default(handing);
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
        if self.process == std::process::id() {
            // The thread that listens ends with the process.
            let _ = self.notices.send(Notice::Line { level, words: words.0 });
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
