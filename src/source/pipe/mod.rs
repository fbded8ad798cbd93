//! Images that come in a stream of bytes: standard input, or what a command writes.

mod command;
mod intake;
mod reader;
#[cfg(test)]
mod tests;

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use command::{CommandOptions, Held, OnLine};

use super::cut::Framing;
use super::growing::{Body, Growing};
use super::stop::Stop;
use super::{Bell, Content, Count, Description, Extent, Fate, Source, SourceError};
use crate::frame::{ContentHash, Sequence, SourceName};
use intake::Intake;
use reader::{Ended, Reader};

/// How a stream is taken.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PipeOptions {
    /// How it is cut.
    pub framing: Framing,
    /// The longest frame in bytes.
    pub max_frame: u64,
    /// Bytes of frames that wait in memory to be sent; beyond, the stream is not read on.
    pub memory: u64,
}

impl Default for PipeOptions {
    fn default() -> Self {
        Self { framing: Framing::Structure, max_frame: 64 << 20, memory: 64 << 20 }
    }
}

/// Frames cut out of a stream, named by when they were captured: when their last byte was read.
///
/// Ends when the stream does. Dropping it ends the command.
pub struct Pipe {
    name: SourceName,
    frames: Growing,
    stop: Stop,
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Pipe {
    /// The images on this program's standard input.
    ///
    /// # Errors
    /// [`SourceError::Start`] where it is a terminal, or no thread can be had.
    pub fn stdin(name: SourceName, options: PipeOptions) -> Result<Self, SourceError> {
        let fault = |why: String| SourceError::Start { what: "standard input".to_owned(), why };
        let input =
            rustix::io::dup(rustix::stdio::stdin()).map_err(|error| fault(error.to_string()))?;
        if rustix::termios::isatty(&input) {
            return Err(fault("it is a terminal; pipe images into it".to_owned()));
        }
        Self::stream(name, input, "standard input", options)
    }

    /// The images that come from `input`, which is called `what`.
    ///
    /// # Errors
    /// [`SourceError::Start`].
    pub fn stream(
        name: SourceName,
        input: OwnedFd,
        what: &str,
        options: PipeOptions,
    ) -> Result<Self, SourceError> {
        let what = what.to_owned();
        Self::start(name, &what.clone(), options, move |mut intake, stop| {
            let ended =
                Reader { input: input.as_fd(), stop: &stop, silence: None }.run(&mut intake);
            intake.end(match ended {
                Ended::Error(error) => Some(format!("cannot read {what}: {error}")),
                _ if intake.given() == 0 && !stop.is_said() => {
                    Some(format!("{what} ended without an image"))
                }
                _ => None,
            });
        })
    }

    /// The images that a shell's command writes to its standard output.
    ///
    /// # Errors
    /// [`SourceError::Start`] where no thread can be had. A command that fails is told of later, by
    /// [`Source::failure`].
    pub fn command(
        name: SourceName,
        command: CommandOptions,
        options: PipeOptions,
    ) -> Result<Self, SourceError> {
        let what = format!("the command {:?}", command.line);
        Self::start(name, &what, options, move |intake, stop| command.run(intake, &stop))
    }

    fn start(
        name: SourceName,
        what: &str,
        options: PipeOptions,
        run: impl FnOnce(Intake, Stop) + Send + 'static,
    ) -> Result<Self, SourceError> {
        let fault = |error: std::io::Error| SourceError::Start {
            what: what.to_owned(),
            why: error.to_string(),
        };
        let stop = Stop::new().map_err(fault)?;
        let frames = Growing::new(Some(options.memory));
        let intake = Intake::new(name.clone(), frames.clone(), options);
        let (ending, stopping) = (Ending(frames.clone()), stop.clone());
        std::thread::Builder::new()
            .name(format!("source {name}"))
            .spawn(move || {
                let _ending = ending;
                run(intake, stopping);
            })
            .map_err(fault)?;
        Ok(Self { name, frames, stop })
    }
}

/// Ends the list however its thread ends: nobody waits for frames of a thread that is gone.
struct Ending(Growing);

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.0.extent().ended {
            self.0.end(Some("its thread ended in an unforeseen way".to_owned()));
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.close();
    }
}

impl Pipe {
    /// No more is taken from the stream, and a command is ended; what was captured stays.
    pub fn stop(&self) {
        self.stop.stop();
    }

    /// The same, where nobody sends what was captured either: it ends also while there is no room for
    /// more. Once the list has ended, so has the command.
    pub fn close(&self) {
        self.stop.stop();
        self.frames.close();
    }
}

impl Source for Pipe {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn run_over(&self) {
        self.close();
    }

    fn extent(&self) -> Extent {
        self.frames.extent()
    }

    fn goes_on(&self) -> bool {
        true
    }

    fn drained(&self) {
        self.frames.drain();
    }

    fn wake_by(&self, bell: &Bell) {
        self.frames.wake_by(bell);
    }

    fn count_by(&self, count: &Count) {
        self.frames.count_by(count);
    }

    fn let_go(&self, sequence: Sequence) {
        self.frames.settle(sequence);
    }

    fn arrival(&self, sequence: Sequence) -> Option<Instant> {
        let entry = self.frames.entry(sequence);
        Some(entry.and_then(|entry| entry.arrival).unwrap_or_else(Instant::now))
    }

    fn origin(&self, next: Sequence) -> Sequence {
        next
    }

    fn settled(&self, sequence: Sequence, _: Fate) {
        self.frames.settle(sequence);
    }

    fn failure(&self) -> Option<String> {
        self.frames.failure()
    }

    fn describe(&self, sequence: Sequence) -> Result<Description, SourceError> {
        self.frames.entry(sequence).ok_or_else(gone)?.describe()
    }

    fn read(&self, sequence: Sequence, limit: u64) -> Result<Content, SourceError> {
        let entry = self.frames.entry(sequence).ok_or_else(gone)?;
        match entry.body {
            Body::Held(content) if content.body.len() as u64 > limit => {
                let bytes = content.body.len() as u64;
                Err(SourceError::TooLarge { path: entry.label.into(), bytes, limit })
            }
            Body::Held(content) => Ok(content),
            Body::None(why) => Err(why),
            Body::File(..) => Err(gone()),
        }
    }

    fn hash(&self, sequence: Sequence) -> Result<(Description, ContentHash), SourceError> {
        self.frames.entry(sequence).ok_or_else(gone)?.hash()
    }

    fn label(&self, sequence: Sequence) -> String {
        self.frames.entry(sequence).map_or_else(|| sequence.to_string(), |entry| entry.label)
    }
}

/// Asked for after it was settled.
fn gone() -> SourceError {
    SourceError::NotAnImage {
        what: "a frame of the stream".to_owned(),
        why: "it was let go of".to_owned(),
    }
}

/// How long a command may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(2);

/// What a line of a command's standard error is told to.
type Lines = Arc<dyn Fn(&str) + Send + Sync>;
