//! From cuts to frames: names, capture times, and what is no frame.

use std::time::{Instant, SystemTime};

use super::PipeOptions;
use crate::frame::{Clock, DropReason, FrameName, SourceName};
use crate::source::cut::{Cut, Cutter, Kind, Why};
use crate::source::growing::{Body, Entry, Growing, content};
use crate::source::stamp::{self, Stamps};
use crate::source::{Description, SourceError};

/// Passed-over bytes that are told of one by one; the report has all of them.
const TOLD: u64 = 5;

/// Takes a source's stream, or its streams one after the other, into its list of frames.
pub(super) struct Intake {
    source: SourceName,
    frames: Growing,
    options: PipeOptions,
    cutter: Cutter,
    stamps: Stamps,
    /// When the newest bytes were read.
    read: (SystemTime, Instant),
    given: u64,
    passed_over: u64,
}

impl Intake {
    pub(super) fn new(source: SourceName, frames: Growing, options: PipeOptions) -> Self {
        let cutter = Cutter::new(options.framing, options.max_frame);
        let read = (SystemTime::now(), Instant::now());
        let stamps = Stamps::of(source.clone());
        Self { source, frames, options, cutter, stamps, read, given: 0, passed_over: 0 }
    }

    pub(super) fn source(&self) -> &SourceName {
        &self.source
    }

    /// Images so far.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// Takes bytes that were read just now. False where nobody wants more frames.
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
        // What is held was read before: its time is that of its own last byte.
        let is_taken = self.drain();
        self.read = (SystemTime::now(), Instant::now());
        self.cutter.push(bytes);
        is_taken && self.drain()
    }

    /// When silence, counted from the newest bytes, has something to say.
    pub(super) fn quiet_at(&self) -> Option<Instant> {
        self.cutter.patience().map(|patience| self.read.1 + patience)
    }

    pub(super) fn quiet(&mut self) -> bool {
        self.cutter.quiet();
        self.drain()
    }

    /// The stream has ended; another may follow.
    pub(super) fn finish(&mut self) -> bool {
        self.cutter.finish();
        let is_taken = self.drain();
        self.cutter = Cutter::new(self.options.framing, self.options.max_frame);
        is_taken
    }

    /// No more will come.
    pub(super) fn end(&self, failure: Option<String>) {
        self.frames.end(failure);
    }

    /// Notes a gap in time, in which there may have been frames.
    pub(super) fn gap(&mut self, why: &str) -> bool {
        let stamp = self.stamps.take(SystemTime::now(), Instant::now());
        let why = SourceError::Stalled { source_name: self.source.clone(), why: why.to_owned() };
        self.frames.push(Entry {
            label: stamp::name(stamp.at),
            arrival: Some(Instant::now()),
            body: Body::None(why),
        })
    }

    fn drain(&mut self) -> bool {
        while let Some(cut) = self.cutter.next() {
            let is_taken = match cut {
                Cut::Image { bytes, kind } => self.image(bytes, kind),
                Cut::Skipped { why: Why::Multipart, .. } => true,
                Cut::Skipped { bytes, why } => self.skipped(bytes, why),
            };
            if !is_taken {
                return false;
            }
        }
        true
    }

    fn image(&mut self, body: bytes::Bytes, kind: Kind) -> bool {
        let stamp = self.stamps.take(self.read.0, self.read.1);
        let label = format!("{}.{}", stamp::name(stamp.at), kind.extension());
        let entry = match FrameName::parse(&label) {
            Ok(name) => {
                let captured = stamp.captured(Clock::Read);
                let bytes = body.len() as u64;
                let description =
                    Description { name, bytes, modified: None, captured: Some(captured) };
                Body::Held(content(description, body))
            }
            Err(why) => Body::None(SourceError::Name { path: label.clone().into(), why }),
        };
        self.given += 1;
        self.frames.push(Entry { label, arrival: Some(self.read.1), body: entry })
    }

    fn skipped(&mut self, bytes: std::ops::Range<u64>, why: Why) -> bool {
        let what = format!("bytes {} to {} of the stream", bytes.start, bytes.end - 1);
        self.passed_over += 1;
        if self.passed_over <= TOLD {
            let rest =
                if self.passed_over == TOLD { "; more of the like is in the report" } else { "" };
            tracing::warn!("source {}: {what} passed over: {why}{rest}", self.source);
        }
        let path = what.clone().into();
        let error = match why {
            Why::TooLarge => {
                let why = format!("{why} ({} bytes)", self.options.max_frame);
                SourceError::Dropped { path, reason: DropReason::TooLarge, why }
            }
            _ => SourceError::NotAnImage { what: what.clone(), why: why.to_string() },
        };
        let why = error;
        self.frames.push(Entry { label: what, arrival: Some(self.read.1), body: Body::None(why) })
    }
}
