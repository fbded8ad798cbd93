//! Which names in a folder are frames: not hidden ones, not those that writers give to files under
//! way, and what the user's patterns say.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};
use thiserror::Error;

/// Our own records beside the frames: in a folder that is itself a store they are not frames.
const RECORDS: [&[u8]; 2] = [b"manifest.jsonl", b"ledger.jsonl"];

/// Ends of names that writers and downloads use until a file is whole.
const TEMPORARY_ENDS: [&str; 10] = [
    ".tmp",
    ".temp",
    ".part",
    ".partial",
    ".filepart",
    ".crdownload",
    ".download",
    ".swp",
    "_exiftool_tmp",
    "~",
];

/// Files that file managers leave in folders.
const SYSTEM_FILES: [&str; 3] = ["thumbs.db", "ehthumbs.db", "desktop.ini"];

/// Ends of images, behind which six random characters are a file that is not whole yet.
const IMAGE_ENDS: [&str; 9] =
    [".jpg", ".jpeg", ".png", ".tif", ".tiff", ".jxl", ".webp", ".bmp", ".raw"];

/// A pattern of names, as a shell has them: `*.jpg`, `flight?/**`, `[0-9]*.{png,tif}`.
///
/// Without a `/` it stands for the name of a file or folder, wherever that is; with one, for the path
/// below the source's folder. A `*` takes no `/`, a `**` does.
#[derive(Debug, Clone)]
pub struct NamePattern {
    text: String,
    matcher: GlobMatcher,
    of_path: bool,
}

/// A pattern that is none.
#[derive(Debug, Clone, Error)]
#[error("{text:?} is not a pattern of names: {why}; write one as in *.jpg or flight1/**")]
pub struct PatternError {
    text: String,
    why: String,
}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let fault = |why: String| PatternError { text: text.to_owned(), why };
        let pattern = text.strip_suffix('/').unwrap_or(text);
        let of_path = pattern.contains('/');
        let pattern = pattern.trim_start_matches("./").trim_start_matches('/');
        if pattern.is_empty() {
            return Err(fault("nothing is in it".to_owned()));
        }
        let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
        let glob = glob.map_err(|error| fault(error.kind().to_string()))?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher(), of_path })
    }
}

impl NamePattern {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn takes(&self, path: &[u8]) -> bool {
        let against = if self.of_path { path } else { last_part(path) };
        self.matcher.is_match(Path::new(OsStr::from_bytes(against)))
    }

    /// Whether it is written for hidden or temporary names, as `.*.jpg` and `*.tmp` are.
    fn asks_for(&self, why: LeftOut) -> bool {
        let pattern = self.text.trim_end_matches('/').as_bytes();
        unusual(last_part(pattern)) == Some(why)
    }
}

/// Why a name is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// It begins with a dot.
    Hidden,
    /// It has the form of a file that is being written, or is a file manager's.
    Temporary,
    /// It is this program's own record.
    Record,
    /// The user's patterns leave it out.
    Unwanted,
}

/// What is taken of a folder. The default: every name that is neither hidden nor temporary.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Pick {
    /// Only files that one of these matches, where there are any. One that is itself hidden or
    /// temporary, as `.*.jpg` is, takes such names too.
    pub include: Vec<NamePattern>,
    /// No files, and nothing of the folders, that one of these matches.
    pub exclude: Vec<NamePattern>,
    /// Hidden and temporary names as well.
    pub all_names: bool,
}

impl Pick {
    /// Whether the file at `path`, as it is below the source's folder, is left out.
    pub(crate) fn leaves_out_file(&self, path: &[u8]) -> Option<LeftOut> {
        let name = last_part(path);
        if RECORDS.contains(&name) {
            return Some(LeftOut::Record);
        }
        let mut including = self.include.iter().filter(|pattern| pattern.takes(path)).peekable();
        let is_included = self.include.is_empty() || including.peek().is_some();
        if !is_included || self.excludes(path) {
            return Some(LeftOut::Unwanted);
        }
        let why = unusual(name).filter(|_| !self.all_names)?;
        (!including.any(|pattern| pattern.asks_for(why))).then_some(why)
    }

    /// Whether the folder at `path` is left out, with everything in it.
    pub(crate) fn leaves_out_folder(&self, path: &[u8]) -> Option<LeftOut> {
        if self.excludes(path) {
            return Some(LeftOut::Unwanted);
        }
        let is_hidden = last_part(path).starts_with(b".") && !self.all_names;
        is_hidden.then_some(LeftOut::Hidden)
    }

    fn excludes(&self, path: &[u8]) -> bool {
        self.exclude.iter().any(|pattern| pattern.takes(path))
    }
}

fn last_part(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

/// What is unusual about a name, if anything.
fn unusual(name: &[u8]) -> Option<LeftOut> {
    if name.starts_with(b".") {
        return Some(LeftOut::Hidden);
    }
    let lower = String::from_utf8_lossy(name).to_ascii_lowercase();
    let is_temporary = TEMPORARY_ENDS.iter().any(|end| lower.ends_with(end))
        || SYSTEM_FILES.contains(&lower.as_str())
        || ends_at_random(&lower);
    is_temporary.then_some(LeftOut::Temporary)
}

/// `0.jpg.21MDZ3`: what mkstemp and its kin make of `0.jpg`. Six digits are a number, not chance.
fn ends_at_random(lower: &str) -> bool {
    let Some((stem, end)) = lower.rsplit_once('.') else { return false };
    let is_random = end.len() == 6
        && end.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && !end.bytes().all(|byte| byte.is_ascii_digit());
    is_random && IMAGE_ENDS.iter().any(|image| stem.ends_with(image))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(include: &[&str], exclude: &[&str]) -> Pick {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Pick { include: parse(include), exclude: parse(exclude), all_names: false }
    }

    #[test]
    fn hidden_temporary_and_own_names_are_left_out() {
        let pick = Pick::default();
        for name in
            ["0.jpg", "a b.png", "x.tmp.jpg", "0.jpg.000001", "part", "tmp1a.jpg", "f/0.png"]
        {
            assert_eq!(pick.leaves_out_file(name.as_bytes()), None, "{name}");
        }
        for name in [".DS_Store", "._0.jpg", ".0.jpg.aX3d9k", "flight1/.s.jpg"] {
            assert_eq!(pick.leaves_out_file(name.as_bytes()), Some(LeftOut::Hidden), "{name}");
        }
        for name in [
            "x.png.tmp",
            "X.PART",
            "o.jpg.21MDZ3",
            "o.tiff.a1b2c3",
            "0.jpg_exiftool_tmp",
            "0.jpg~",
            "Thumbs.db",
            "f/0.jpg.filepart",
        ] {
            assert_eq!(pick.leaves_out_file(name.as_bytes()), Some(LeftOut::Temporary), "{name}");
        }
        assert_eq!(pick.leaves_out_file(b"manifest.jsonl"), Some(LeftOut::Record));
        assert_eq!(pick.leaves_out_folder(b".~tmp~"), Some(LeftOut::Hidden));
        assert_eq!(pick.leaves_out_folder(b"flight.tmp"), None);
        let all = Pick { all_names: true, ..Pick::default() };
        assert_eq!(all.leaves_out_file(b".x.tmp"), None);
        assert_eq!(all.leaves_out_file(b"manifest.jsonl"), Some(LeftOut::Record));
    }

    #[test]
    fn patterns_stand_for_names_or_for_paths() {
        let jpegs = pick(&["*.jpg"], &["1?.jpg", "old/", "flight2/*"]);
        for (path, is_taken) in [
            ("0.jpg", true),
            ("a/b/0.jpg", true),
            ("0.png", false),
            ("10.jpg", false),
            ("a/10.jpg", false),
            ("flight2/0.jpg", false),
            ("flight2/a/0.jpg", true),
            (".s.jpg", false),
        ] {
            assert_eq!(jpegs.leaves_out_file(path.as_bytes()).is_none(), is_taken, "{path}");
        }
        assert_eq!(jpegs.leaves_out_folder(b"a/old"), Some(LeftOut::Unwanted));
        let deep = pick(&["/flight1/**"], &[]);
        assert!(deep.leaves_out_file(b"flight1/a/0.jpg").is_none());
        assert!(deep.leaves_out_file(b"x/flight1/0.jpg").is_some());
    }

    #[test]
    fn a_pattern_can_ask_for_hidden_and_temporary_names() {
        let asks = pick(&[".*.jpg", "*.tmp", "*.png"], &[]);
        assert_eq!(asks.leaves_out_file(b".s.jpg"), None);
        assert_eq!(asks.leaves_out_file(b"0.png.tmp"), None);
        assert_eq!(asks.leaves_out_file(b"0.png"), None);
        assert_eq!(asks.leaves_out_file(b".s.png"), Some(LeftOut::Hidden));
    }

    #[test]
    fn what_is_no_pattern_is_explained() {
        for text in ["", "/", "[a", "{a,b", "a[z-a]"] {
            let error = text.parse::<NamePattern>().unwrap_err().to_string();
            assert!(error.contains("*.jpg"), "{text:?}: {error}");
        }
    }
}
