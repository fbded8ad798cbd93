//! `NAME=PATH`, or `PATH` whose last folder is the name.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{anyhow, bail};

use super::{Failure, output};
use crate::frame::SourceName;
use crate::sender::Weight;
use crate::source::{CapturedBy, Folder, FolderOptions, NamePattern, Passed, Pick, Source, Zone};
use crate::transport::Transport;
use crate::wire::MAX_SOURCES;

/// A source as the user names it.
#[derive(Debug, Clone)]
pub(super) struct SourceArg {
    pub(super) name: SourceName,
    pub(super) path: PathBuf,
}

impl FromStr for SourceArg {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        // `./a=b` is a path: a name has no separator.
        if let Some((name, path)) = text.split_once('=')
            && !name.contains('/')
        {
            if path.is_empty() {
                bail!("{text:?} has no path behind the =; write {name}=./FOLDER");
            }
            let name = SourceName::parse(name).map_err(|error| {
                anyhow!("in {text:?}: {error}; give the source another, as in NAME={path}")
            })?;
            return Ok(Self { name, path: path.into() });
        }
        let path = PathBuf::from(text);
        let name = last_folder(&path)
            .ok_or_else(|| anyhow!("{text:?} ends in no folder name; write NAME={text}"))?;
        let name = SourceName::parse(&name)
            .map_err(|error| anyhow!("{error}; give it another, as in NAME={text}"))?;
        Ok(Self { name, path })
    }
}

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
    #[arg(long, value_name = "OFFSET", default_value = "UTC")]
    captured_zone: Zone,
    /// Send hidden names and those of unfinished files as well, as in .0.jpg and 0.jpg.tmp
    #[arg(long)]
    all_names: bool,
}

impl FolderArgs {
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

/// The last folder of a path; of `.` and `..`, the folder that they mean.
fn last_folder(path: &Path) -> Option<String> {
    let name = match path.file_name() {
        Some(name) => name.to_owned(),
        None => path.canonicalize().ok()?.file_name()?.to_owned(),
    };
    name.into_string().ok()
}

/// Sources that are open.
pub(super) struct Opened {
    pub(super) sources: Vec<Arc<dyn Source>>,
    /// A source could not be used, or something in one is not sent.
    pub(super) is_partial: bool,
}

/// Opens the sources. One that cannot be used is named, and does not keep the others from going.
pub(super) fn open(args: &[SourceArg], folders: &FolderArgs) -> Result<Opened, Failure> {
    check_names(args)?;
    let options = folders.options();
    let mut opened = Opened { sources: Vec::new(), is_partial: false };
    for arg in args {
        match Folder::open_with(arg.name.clone(), &arg.path, &options) {
            Ok(folder) => {
                tell_passed(&arg.name, folder.passed());
                opened.is_partial |= folder.passed().is_missing_any();
                opened.sources.push(Arc::new(folder));
            }
            Err(error) => {
                let hint = hint(&arg.path).map(|hint| format!(" ({hint})")).unwrap_or_default();
                output::note(&format!("framelane: source {}: {error}{hint}", arg.name));
                opened.is_partial = true;
            }
        }
    }
    if opened.sources.is_empty() {
        return Err(Failure::usage(anyhow!("no source to send")));
    }
    Ok(opened)
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
pub(super) fn check_transport(args: &[SourceArg], transport: Transport) -> Result<(), Failure> {
    let separated = |arg: &&SourceArg| arg.name.as_str().contains('|');
    match args.iter().find(separated) {
        Some(SourceArg { name, path }) if transport == Transport::StopAndWait => {
            Err(Failure::usage(anyhow!(
                "the source name {:?} contains '|', which ends a field of stop-and-wait; give it \
                 another, as in NAME={}",
                name.as_str(),
                path.display()
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
                arg.path.display()
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
    fn a_source_has_a_name_and_a_path() {
        for (text, name, path) in [
            ("visible=./a/b", "visible", "./a/b"),
            ("./frames/infrared/", "infrared", "./frames/infrared/"),
            ("./a=b", "a=b", "./a=b"),
            ("x=a=b", "x", "a=b"),
        ] {
            let arg: SourceArg = text.parse().unwrap();
            assert_eq!((arg.name.as_str(), arg.path.to_str().unwrap()), (name, path));
        }
    }

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

    #[test]
    fn nonsense_is_explained() {
        for text in ["visible=", "/", "..=x", "con=x"] {
            assert!(text.parse::<SourceArg>().is_err(), "{text:?} was taken");
        }
    }
}
