//! A source as the user names it: `NAME=./FOLDER`, `NAME=-`, `NAME=cmd:COMMAND`, `NAME=raw:640x512x2:-`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{anyhow, bail};

use crate::frame::SourceName;
use crate::source::cut::RawSize;

/// A source as the user names it.
#[derive(Debug, Clone)]
pub(in crate::cli) struct SourceArg {
    pub(in crate::cli) name: SourceName,
    pub(in crate::cli) place: Place,
}

/// Where a source's frames come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Place {
    /// A folder of files.
    Folder(PathBuf),
    /// A stream of images; of raw ones, of this size each.
    Stream(Stream, Option<RawSize>),
}

/// A stream that images come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Stream {
    /// This program's standard input.
    Stdin,
    /// What a shell's command writes.
    Command(String),
}

const COMMAND: &str = "cmd:";
const RAW: &str = "raw:";

impl SourceArg {
    /// The folder, where it is one.
    pub(in crate::cli) fn folder(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(path) => Some(path),
            Place::Stream(..) => None,
        }
    }
}

impl Place {
    /// The place that `text` names, where it is no folder.
    fn stream(text: &str) -> anyhow::Result<Option<Self>> {
        let (size, stream) = match text.strip_prefix(RAW) {
            None => (None, text),
            Some(rest) => {
                let (size, stream) = rest.split_once(':').unwrap_or((rest, ""));
                (Some(size.parse::<RawSize>()?), stream)
            }
        };
        let stream = match stream.strip_prefix(COMMAND) {
            Some(command) if command.trim().is_empty() => bail!("{text:?} has no command in it"),
            Some(command) => Stream::Command(command.to_owned()),
            None if stream == "-" => Stream::Stdin,
            None if size.is_none() => return Ok(None),
            None => bail!(
                "in {text:?}, raw frames come from a stream: write raw:640x512x2:- or raw:640x512x2:cmd:COMMAND"
            ),
        };
        Ok(Some(Self::Stream(stream, size)))
    }
}

impl FromStr for SourceArg {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if text == "-" || text.starts_with(COMMAND) || text.starts_with(RAW) {
            bail!("a stream has no name of its own; write NAME={text}, as in visible={text}");
        }
        // `./a=b` is a path: a name has no separator.
        if let Some((name, place)) = text.split_once('=')
            && !name.contains('/')
        {
            if place.is_empty() {
                bail!("{text:?} has no path behind the =; write {name}=./FOLDER");
            }
            let name = SourceName::parse(name).map_err(|error| {
                anyhow!("in {text:?}: {error}; give the source another, as in NAME={place}")
            })?;
            let stream = Place::stream(place)?;
            return Ok(Self { name, place: stream.unwrap_or_else(|| Place::Folder(place.into())) });
        }
        let path = PathBuf::from(text);
        let name = last_folder(&path)
            .ok_or_else(|| anyhow!("{text:?} ends in no folder name; write NAME={text}"))?;
        let name = SourceName::parse(&name)
            .map_err(|error| anyhow!("{error}; give it another, as in NAME={text}"))?;
        Ok(Self { name, place: Place::Folder(path) })
    }
}

/// As it is written behind `NAME=`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stream, size) = match self {
            Self::Folder(path) => return write!(f, "{}", path.display()),
            Self::Stream(stream, size) => (stream, size),
        };
        if let Some(size) = size {
            write!(f, "{RAW}{size}:")?;
        }
        match stream {
            Stream::Stdin => f.write_str("-"),
            Stream::Command(command) => write!(f, "{COMMAND}{command}"),
        }
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
            ("x=./-", "x", "./-"),
            ("./cmd:x", "cmd:x", "./cmd:x"),
        ] {
            let arg: SourceArg = text.parse().unwrap();
            assert_eq!((arg.name.as_str(), arg.folder().unwrap().to_str().unwrap()), (name, path));
        }
    }

    #[test]
    fn a_stream_is_standard_input_or_a_command_and_may_be_of_raw_frames() {
        let size = || Some("640x512x2".parse().unwrap());
        let command = |line: &str| Stream::Command(line.to_owned());
        for (text, stream, size) in [
            ("v=-", Stream::Stdin, None),
            ("v=cmd:ffmpeg -i a=b -", command("ffmpeg -i a=b -"), None),
            ("v=raw:640x512x2:-", Stream::Stdin, size()),
            ("v=raw:640x512x2:cmd:./ir a:b", command("./ir a:b"), size()),
        ] {
            let arg: SourceArg = text.parse().unwrap();
            assert_eq!(arg.place, Place::Stream(stream, size), "{text}");
            assert_eq!(format!("v={}", arg.place), text);
        }
    }

    #[test]
    fn nonsense_is_explained() {
        for (text, says) in [
            ("visible=", "has no path"),
            ("/", "no folder name"),
            ("..=x", "name"),
            ("con=x", "con"),
            ("-", "write NAME=-"),
            ("cmd:a=b", "write NAME=cmd:a=b"),
            ("v=cmd: ", "no command"),
            ("v=raw:640x512", "not a raw size"),
            ("v=raw:0x512x2:-", "not a raw size"),
            ("v=raw:640x512x2", "raw:640x512x2:-"),
            ("v=raw:640x512x2:./folder", "raw:640x512x2:-"),
        ] {
            let error = text.parse::<SourceArg>().unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }
}
