//! Sources that grow: how they are opened, told to end, and ended.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::super::{Failure, output};
use super::arg::{Place, SourceArg, Stream};
use super::unsent::Unsent;
use crate::frame::{SourceName, Span};
use crate::source::cut::{Framing, RawSize};
use crate::source::{
    CommandOptions, FolderOptions, Held, OnLine, Passed, Pipe, PipeOptions, Source, SourceError,
    WatchOptions, Watched,
};

/// How long commands are waited for at the end: a bit longer than one has that does not heed the word.
const ENDING: Duration = Duration::from_secs(3);

/// What is done with sources that grow.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct LiveArgs {
    /// Go on with files as they are written, until Ctrl-C or SIGTERM; a folder that is not there yet is waited for
    #[arg(long)]
    watch: bool,
    /// How images follow one another in a stream: structure (each image's own), or length, with four
    /// bytes (the highest first) or decimal digits and a line feed in front of each
    #[arg(long, value_name = "HOW", default_value = "structure")]
    framing: FramingArg,
    /// Start commands again when they end, or say nothing for as long as --silence
    #[arg(long)]
    restart: bool,
    /// How long a command may say nothing with --restart
    #[arg(long, value_name = "TIME", default_value = "10s", requires = "restart")]
    silence: Span,
}

/// How streams are cut that are not of raw frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FramingArg {
    Structure,
    Length,
}

impl LiveArgs {
    /// Refuses options that none of the sources has a use for, and standard input given twice.
    pub(super) fn check(&self, args: &[SourceArg]) -> Result<(), Failure> {
        let refuse = |why: &str| Err(Failure::usage(anyhow!("{why}")));
        let streams = || {
            args.iter().filter_map(|arg| match &arg.place {
                Place::Folder(_) => None,
                Place::Stream(stream, size) => Some((stream, size)),
            })
        };
        let is_command = |(stream, _): (&Stream, _)| matches!(stream, Stream::Command(_));
        if streams().filter(|(stream, _)| **stream == Stream::Stdin).count() > 1 {
            return refuse(
                "standard input is given twice; one source can have it, another takes a command: NAME=cmd:COMMAND",
            );
        }
        if self.watch && streams().count() == args.len() {
            return refuse("--watch is for folders, and no source is one; leave it out");
        }
        if self.framing == FramingArg::Length && !streams().any(|(_, size)| size.is_none()) {
            return refuse(
                "--framing is for images on standard input or of a command, as in visible=- or \
                 visible=cmd:COMMAND; no source is one",
            );
        }
        if self.restart && !streams().any(is_command) {
            return refuse(
                "--restart is for commands, as in visible=cmd:COMMAND; no source is one",
            );
        }
        if self.restart && self.silence.0.is_zero() {
            return refuse("--silence 0 leaves a command no time; write 10s, say");
        }
        Ok(())
    }

    /// True where folders are watched.
    pub(in crate::cli) fn watches(&self) -> bool {
        self.watch
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// [`SourceError`].
    pub(super) fn stream(
        &self,
        name: &SourceName,
        stream: &Stream,
        size: Option<RawSize>,
        (quiet, held): (bool, &Held),
    ) -> Result<Arc<Pipe>, SourceError> {
        let framing = match (size, self.framing) {
            (Some(size), _) => Framing::Raw(size.frame_bytes()),
            (None, FramingArg::Structure) => Framing::Structure,
            (None, FramingArg::Length) => Framing::Length,
        };
        let options = PipeOptions { framing, ..PipeOptions::default() };
        if let Some(size) = size.filter(|size| size.frame_bytes() > options.max_frame) {
            return Err(SourceError::Start {
                what: format!("raw frames of {size}"),
                why: format!(
                    "{} bytes each; a frame has at most {}",
                    size.frame_bytes(),
                    options.max_frame
                ),
            });
        }
        let command = match stream {
            Stream::Stdin => return Pipe::stdin(name.clone(), options).map(Arc::new),
            Stream::Command(command) => command,
        };
        let mut command = CommandOptions::new(command);
        command.restart = self.restart.then_some(self.silence.0);
        command.held = Some(held.clone());
        let source = name.clone();
        command.on_line = Some(OnLine(Arc::new(move |line| {
            if !quiet {
                output::note(&format!("{source}: {line}"));
            }
        })));
        Pipe::command(name.clone(), command, options).map(Arc::new)
    }
}

/// Begins to watch a folder; tells what of it is not sent.
///
/// # Errors
/// [`SourceError`].
pub(super) fn watch(
    name: &SourceName,
    path: &Path,
    folder: &FolderOptions,
    tell: impl FnOnce(&Passed),
) -> Result<Arc<Watched>, SourceError> {
    let options = WatchOptions { folder: folder.clone(), ..WatchOptions::default() };
    let watched = Watched::open(name.clone(), path, options)?;
    if !path.exists() {
        output::note(&format!(
            "framelane: source {name}: {} is not there yet; waiting for it",
            path.display()
        ));
    }
    tell(watched.old().passed());
    Ok(Arc::new(watched))
}

/// A source that grows.
#[derive(Debug, Clone)]
pub(super) enum Live {
    Pipe(Arc<Pipe>),
    Watched(Arc<Watched>),
}

impl Live {
    pub(super) fn source(&self) -> Arc<dyn Source> {
        match self {
            Self::Pipe(pipe) => pipe.clone(),
            Self::Watched(watched) => watched.clone(),
        }
    }

    fn stop(&self) {
        match self {
            Self::Pipe(pipe) => pipe.stop(),
            Self::Watched(watched) => watched.stop(),
        }
    }

    fn close(&self) {
        match self {
            Self::Pipe(pipe) => pipe.close(),
            Self::Watched(watched) => watched.close(),
        }
    }

    fn has_ended(&self) -> bool {
        self.source().extent().ended
    }
}

/// The sources that grow. Clones are the same sources.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct LiveSources {
    list: Arc<Mutex<Vec<Live>>>,
    /// Holds commands back until all else is known to be right.
    held: Held,
}

impl LiveSources {
    pub(super) fn add(&self, live: Live) -> Arc<dyn Source> {
        let source = live.source();
        self.list().push(live);
        source
    }

    /// What holds their commands back.
    pub(super) fn held(&self) -> &Held {
        &self.held
    }

    /// Lets commands run: whatever can be wrong with what was asked for has been looked at.
    pub(in crate::cli) fn let_run(&self) {
        self.held.let_run();
    }

    fn list(&self) -> MutexGuard<'_, Vec<Live>> {
        // A list is whole between any two of its statements.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what came to watched folders and is not sent, as files that were not complete at the end.
    pub(in crate::cli) fn note_incomplete(&self, unsent: &mut Unsent) {
        for live in self.list().iter() {
            if let Live::Watched(watched) = live {
                unsent.passed(watched.name(), &watched.passed());
            }
        }
    }

    /// True for a source whose last image may be half there when it is told to end.
    pub(in crate::cli) fn is_pipe(&self, source: &str) -> bool {
        let is_it =
            |live: &Live| matches!(live, Live::Pipe(pipe) if pipe.name().as_str() == source);
        self.list().iter().any(is_it)
    }

    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.list().is_empty()
    }

    /// Takes no more from them: what was captured is their end.
    pub(in crate::cli) fn stop(&self) {
        self.list().iter().for_each(Live::stop);
    }

    /// Ends them, with what was captured, and waits until their commands are gone, for a bounded time.
    pub(in crate::cli) fn end(&self) {
        let sources = self.list().clone();
        sources.iter().for_each(Live::close);
        let until = Instant::now() + ENDING;
        while !sources.iter().all(Live::has_ended) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Ends the sources that grow however whoever has it ends: no command outlives the one that started it.
#[derive(Debug, Default)]
pub(in crate::cli) struct Ending(pub(in crate::cli) LiveSources);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}
