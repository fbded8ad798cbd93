//! Events of the program, made into lines.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::super::words::in_options;
use super::{Line, say};

/// The longest that is made of an event before it is cut, in bytes. Room for all that is shown, and for
/// the fields of a controller's trace.
const MAX_EVENT: usize = 4_096;

/// How often what is told of the usual course of things may be said while a warning is said once.
const USUAL: u32 = 20;

/// Makes lines of events.
pub(super) struct Lines;

/// What a span says of the events in it.
struct SpanText(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut text = Fields::default();
        attributes.record(&mut text);
        span.extensions_mut().insert(SpanText(text.all()));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut text = Fields::default();
        values.record(&mut text);
        if let Some(SpanText(before)) = span.extensions_mut().get_mut() {
            if !before.is_empty() && before.len() < MAX_EVENT {
                before.push(' ');
            }
            before.push_str(&text.all());
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut text = Bounded::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let fields = extensions.get().map_or("", |SpanText(fields)| fields.as_str());
            let _ = match fields {
                "" => write!(text, "{}: ", span.name()),
                fields => write!(text, "{}{{{fields}}}: ", span.name()),
            };
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let _ = text.write_str(&fields.all());
        let metadata = event.metadata();
        // A trace is asked for to be read by a program, and all of it.
        let folds = *metadata.level() != Level::TRACE;
        // Every place in the code has a description of its own, for ever.
        let place = std::ptr::from_ref(metadata) as usize;
        // A warning that comes again is no news. How things stand is, as long as it is no flood.
        let often = if *metadata.level() <= Level::WARN { 1 } else { USUAL };
        let text = in_options(&text.0).into_owned();
        say(Line { level: Some(*metadata.level()), text, place, often, folds });
    }
}

/// Text that stops growing.
#[derive(Default)]
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_EVENT.saturating_sub(self.0.len());
        let fits =
            text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= room);
        let end = if text.len() <= room { text.len() } else { fits.last().unwrap_or(0) };
        self.0.push_str(&text[..end]);
        // Who writes on is stopped: a value of megabytes is not made into text for nothing.
        if end < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The fields of a span or an event: what it says first, the others as `name=value` behind it.
#[derive(Default)]
struct Fields {
    message: Bounded,
    others: Bounded,
}

impl Fields {
    fn all(self) -> String {
        let (message, others) = (self.message.0, self.others.0);
        match (message.is_empty(), others.is_empty()) {
            (false, false) => message + " " + &others,
            _ => message + &others,
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
            return;
        }
        // What the crate log adds to its events says nothing to a user.
        if field.name().starts_with("log.") {
            return;
        }
        let space = if self.others.0.is_empty() { "" } else { " " };
        let _ = write!(self.others, "{space}{}={value:?}", field.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_megabytes_is_not_kept() {
        let mut text = Bounded::default();
        assert!(write!(text, "{}", "ü".repeat(1_000_000)).is_err());
        assert!(write!(text, "more").is_err() || text.0.len() <= MAX_EVENT);
        assert!(text.0.len() <= MAX_EVENT && text.0.starts_with('ü'));
    }
}
