//! The sources that are sent: their options, and how they are opened.

mod arg;
mod live;
mod spool;
mod unsent;

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::anyhow;

pub(super) use arg::SourceArg;
pub(super) use live::{Ending, LiveArgs, LiveSources};
pub(super) use spool::SpoolArgs;
pub(super) use unsent::Unsent;

use super::{Failure, output};
use crate::frame::SourceName;
use crate::sender::Weight;
use crate::source::{
    CapturedBy, Folder, FolderOptions, NamePattern, Passed, Pick, Source, SourceError, Zone,
};
use crate::transport::{Transport, TransportChoice};
use crate::wire::MAX_SOURCES;
use arg::Place;
use live::Live;

/// What is taken of folders.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct FolderArgs {
    /// Send what is in the folders of a source as well, as flight1/0.jpg
    #[arg(long)]
    recursive: bool,
    /// Send only files that the pattern matches, as in '*.jpg' or 'flight1/**' (repeatable)
    #[arg(long, value_name = "GLOB")]
    include: Vec<NamePattern>,
    /// Leave out files and folders that the pattern matches (repeatable)
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<NamePattern>,
    /// Where capture times come from: mtime, exif, now, or name:PATTERN, as in
    /// name:IMG_%Y%m%d_%H%M%S_%3f for IMG_20261129_201133_123.jpg
    #[arg(long, value_name = "RULE", default_value_t = CapturedBy::Modified)]
    captured: CapturedBy,
    /// The zone of times in names and EXIF that do not say it, as in +02:00
    #[arg(long, value_name = "OFFSET", default_value = "UTC", allow_hyphen_values = true)]
    captured_zone: Zone,
    /// Send hidden names and those of unfinished files as well, as in .0.jpg and 0.jpg.tmp
    #[arg(long)]
    all_names: bool,
}

impl FolderArgs {
    /// Refuses options that none of the sources has a use for.
    fn check(&self, args: &[SourceArg]) -> Result<(), Failure> {
        let options = [
            ("--recursive", self.recursive),
            ("--include", !self.include.is_empty()),
            ("--exclude", !self.exclude.is_empty()),
            ("--all-names", self.all_names),
            ("--captured", self.captured != CapturedBy::Modified),
        ];
        let given = options.iter().find(|(_, is_given)| *is_given);
        match given.filter(|_| args.iter().all(|arg| arg.folder().is_none())) {
            None => Ok(()),
            Some((option, _)) => Err(Failure::usage(anyhow!(
                "{option} is for folders, and no source is one; leave it out"
            ))),
        }
    }

    fn options(&self) -> FolderOptions {
        let pick = Pick {
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            all_names: self.all_names,
        };
        let captured = self.captured.clone();
        FolderOptions { recursive: self.recursive, pick, captured, zone: self.captured_zone }
    }
}

/// A source's weight as the user gives it.
#[derive(Debug, Clone)]
pub(super) struct WeightArg {
    name: SourceName,
    weight: Weight,
}

impl FromStr for WeightArg {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        // A name may have a = in it, a weight has none.
        let (name, weight) =
            text.rsplit_once('=').ok_or_else(|| anyhow!("write NAME=N, as in visible=3"))?;
        Ok(Self { name: SourceName::parse(name)?, weight: weight.parse()? })
    }
}

/// Sources that are open.
pub(super) struct Opened {
    pub(super) sources: Vec<Arc<dyn Source>>,
    /// Sources that could not be used, and what in others is not sent.
    pub(super) unsent: Unsent,
}

/// Refuses sources and options that do not go together.
pub(super) fn check(
    args: &[SourceArg],
    folders: &FolderArgs,
    growing: &LiveArgs,
) -> Result<(), Failure> {
    check_names(args)?;
    folders.check(args)?;
    growing.check(args)
}

/// Opens the sources, and adds those that grow to `live`. One that cannot be used is named, and does not keep the
/// others from going. `quiet`: what commands say is not shown.
pub(super) fn open(
    args: &[SourceArg],
    folders: &FolderArgs,
    growing: &LiveArgs,
    quiet: bool,
    live: &LiveSources,
) -> Result<Opened, Failure> {
    let options = folders.options();
    let mut opened = Opened { sources: Vec::new(), unsent: Unsent::default() };
    for arg in args {
        let how = How { folders: &options, growing, quiet, live };
        if let Err(error) = open_one(arg, &how, &mut opened) {
            let hint = arg.folder().and_then(hint);
            let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
            output::note(&format!("framelane: source {}: {error}{hint}", arg.name));
            opened.unsent.source(&arg.name, &format!("{error}{hint}"));
        }
    }
    if opened.sources.is_empty() {
        return Err(Failure::usage(anyhow!("no source to send")));
    }
    Ok(opened)
}

/// How sources are opened.
struct How<'a> {
    folders: &'a FolderOptions,
    growing: &'a LiveArgs,
    quiet: bool,
    live: &'a LiveSources,
}

fn open_one(arg: &SourceArg, how: &How<'_>, opened: &mut Opened) -> Result<(), SourceError> {
    let How { folders, growing, quiet, live } = *how;
    let name = &arg.name;
    let unsent = &mut opened.unsent;
    let mut tell = |passed: &Passed| {
        tell_passed(name, passed);
        unsent.passed(name, passed);
    };
    let source: Arc<dyn Source> = match &arg.place {
        Place::Stream(stream, size) => {
            live.add(Live::Pipe(growing.stream(name, stream, *size, (quiet, live.held()))?))
        }
        Place::Folder(path) if growing.watches() => {
            live.add(Live::Watched(live::watch(name, path, folders, tell)?))
        }
        Place::Folder(path) => {
            let folder = Folder::open_with(name.clone(), path, folders)?;
            tell(folder.passed());
            Arc::new(folder)
        }
    };
    opened.sources.push(source);
    Ok(())
}

/// Says what of a folder is not sent.
fn tell_passed(source: &SourceName, passed: &Passed) {
    /// More lines than this are not read by anybody.
    const NAMED: usize = 10;
    for (path, why) in passed.unsent.iter().take(NAMED) {
        let link = output::link(path).map(|link| format!(" ({link})")).unwrap_or_default();
        let path = output::printable(&path.to_string_lossy());
        tracing::warn!("source {source}: not sent: {path}: {why}{link}");
    }
    let more = passed.unsent.len().saturating_sub(NAMED) as u64 + passed.more;
    if more > 0 {
        tracing::warn!("source {source}: not sent: {more} more of the like");
    }
    if let (count, Some(example)) = &passed.untimed {
        let example = output::printable(&example.to_string_lossy());
        tracing::warn!(
            "source {source}: {} without a time in the name, as {example}; taken from the file",
            output::frames(*count)
        );
    }
    if let (count, Some(example)) = &passed.own {
        let example = output::printable(&example.to_string_lossy());
        let more = if *count == 1 { String::new() } else { format!(" and {} more", count - 1) };
        tracing::warn!("source {source}: left out: {example}{more}: {}", Passed::OWN_IS_LEFT_OUT);
    }
    let kinds = [(&passed.hidden, "hidden"), (&passed.temporary, "of unfinished files")];
    for ((count, example), what) in kinds {
        let Some(example) = example else { continue };
        let example = output::printable(&example.to_string_lossy());
        let names = if *count == 1 { "name" } else { "names" };
        tracing::warn!(
            "source {source}: left out: {count} {names} {what}, as {example}; --all-names sends them"
        );
    }
}

/// Why a path is no folder of frames, where that can be guessed.
fn hint(path: &Path) -> Option<String> {
    if path.is_file() {
        return Some("a source is a folder; name the one that the file is in".to_owned());
    }
    if path.exists() {
        return None;
    }
    let is_assigned = path.to_string_lossy().contains('=');
    let taken = || "in NAME=PATH a name has no /, so all of it was taken for a path".to_owned();
    output::link(path).or_else(|| is_assigned.then(taken))
}

/// Refuses names that a transport cannot carry.
pub(super) fn check_transport(
    args: &[SourceArg],
    transport: TransportChoice,
) -> Result<(), Failure> {
    let separated = |arg: &&SourceArg| arg.name.as_str().contains('|');
    match args.iter().find(separated) {
        Some(SourceArg { name, place }) if transport.is_only(Transport::StopAndWait) => {
            Err(Failure::usage(anyhow!(
                "the source name {:?} contains '|', which ends a field of stop-and-wait; give it \
                 another, as in NAME={place}",
                name.as_str()
            )))
        }
        _ => Ok(()),
    }
}

/// Refuses more sources than a session carries, and two of the same name.
pub(super) fn check_names(args: &[SourceArg]) -> Result<(), Failure> {
    if args.len() > MAX_SOURCES {
        return Err(Failure::usage(anyhow!(
            "{} sources; one session carries at most {MAX_SOURCES}",
            args.len()
        )));
    }
    for (index, arg) in args.iter().enumerate() {
        if args[..index].iter().any(|other| other.name == arg.name) {
            return Err(Failure::usage(anyhow!(
                "two sources are called {0}; give one another name, as in NAME={1}",
                arg.name,
                arg.place
            )));
        }
    }
    Ok(())
}

/// Refuses weights of sources that are not sent, and two of the same.
pub(super) fn check_weights(weights: &[WeightArg], sources: &[SourceArg]) -> Result<(), Failure> {
    for (index, WeightArg { name, .. }) in weights.iter().enumerate() {
        if !sources.iter().any(|source| source.name == *name) {
            let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
            return Err(Failure::usage(anyhow!(
                "--weight {name}: no source is called {name}; the sources are {}",
                names.join(", ")
            )));
        }
        if weights[..index].iter().any(|other| other.name == *name) {
            return Err(Failure::usage(anyhow!("--weight {name} is there twice")));
        }
    }
    Ok(())
}

/// The weights of sources, in their order.
pub(super) fn weights(weights: &[WeightArg], sources: &[Arc<dyn Source>]) -> Vec<Weight> {
    let of = |source: &Arc<dyn Source>| {
        let given = weights.iter().find(|given| given.name == *source.name());
        given.map_or_else(Weight::default, |given| given.weight)
    };
    sources.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_for_the_source_of_its_name() {
        let arg: WeightArg = "a=b=3".parse().unwrap();
        assert_eq!((arg.name.as_str(), arg.weight), ("a=b", "3".parse().unwrap()));
        for (text, says) in [
            ("visible", "NAME=N"),
            ("visible=", "1 to 100"),
            ("visible=0", "1 to 100"),
            ("visible=half", "1 to 100"),
            ("=3", "name"),
        ] {
            let error = text.parse::<WeightArg>().unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }
}
