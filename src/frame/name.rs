//! Names that are safe to use as one path component, on any common file system.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

/// Names beginning with this are the store's own (temporary files), and refused from anybody else.
pub const RESERVED_PREFIX: &str = ".framelane";

/// The longest component in bytes: `NAME_MAX` of every common file system.
const MAX_COMPONENT_BYTES: usize = 255;
/// The longest frame name in bytes, folders included. A header and a line of the manifest hold it with room to
/// spare, and so does a path (`PATH_MAX` is 4,096) below a store that is not buried deep itself.
pub const MAX_FRAME_NAME_BYTES: usize = 1_000;
/// The most components in a frame name: seven folders and a file.
pub const MAX_FRAME_NAME_PARTS: usize = 8;
/// The longest media type in bytes; registered ones are far shorter.
const MAX_MEDIA_BYTES: usize = 127;
/// The store's records beside the frames.
const RECORDS: [&str; 2] = ["manifest.jsonl", "ledger.jsonl"];
/// Names that open a device rather than a file on Windows, whatever their extension.
const WINDOWS_DEVICES: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8",
    "com9", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing in it.
    #[error("the name is empty")]
    Empty,
    /// More than 255 bytes in a component.
    #[error("a part of the name is {0} bytes long; at most {MAX_COMPONENT_BYTES} are allowed")]
    TooLong(usize),
    /// More than 1,000 bytes with its folders.
    #[error(
        "the name is {0} bytes long with its folders; at most {MAX_FRAME_NAME_BYTES} are allowed"
    )]
    PathTooLong(usize),
    /// More than seven folders.
    #[error("the name {0:?} has too many parts; at most {MAX_FRAME_NAME_PARTS} are allowed")]
    TooDeep(String),
    /// Not UTF-8.
    #[error("the name {0:?} is not valid UTF-8")]
    NotUtf8(String),
    /// `.` or `..`.
    #[error("the name {0:?} means a folder, not a file")]
    Dots(String),
    /// A separator, NUL or another control character.
    #[error("the name {name:?} contains {character:?}, which is not allowed in a name")]
    Character {
        /// The refused name.
        name: String,
        /// The first character that is not allowed.
        character: char,
    },
    /// A name that the store or an operating system keeps for itself.
    #[error("the name {0:?} is reserved")]
    Reserved(String),
    /// Not `type/subtype`.
    #[error("{0:?} is not a media type")]
    NotAMediaType(String),
}

/// The name of a source ("visible"): one folder of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(String);

/// The name of a frame: one file in its source's folder ("0.jpg"), or in folders below it ("flight1/0.jpg").
/// At most 1,000 bytes and eight parts, each of which is safe as one path component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameName(String);

/// What a body is, as `type/subtype` ("image/jpeg").
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MediaType(String);

impl SourceName {
    /// Parses a name that can only ever be one folder directly below the store.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_component(text)?;
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FrameName {
    /// Parses a name that can only ever be one file inside its source's folder, or inside folders there. The
    /// parts are separated by `/`.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        // Before the parts, so that what is shown of a name is bounded.
        if text.len() > MAX_FRAME_NAME_BYTES {
            return Err(NameError::PathTooLong(text.len()));
        }
        if text.split('/').count() > MAX_FRAME_NAME_PARTS {
            return Err(NameError::TooDeep(text.to_owned()));
        }
        text.split('/').try_for_each(check_component)?;
        Ok(Self(text.to_owned()))
    }

    /// Its parts: the folders from the outermost on, and the file. Each is a safe path component.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The folders that it is in, joined by `/`; `None` where it is directly in its source's folder.
    pub fn folder(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(folder, _)| folder)
    }

    /// The name of the file itself, without folders.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, file)| file)
    }

    /// Like [`FrameName::parse`], for bytes from a network or a directory listing.
    ///
    /// # Errors
    /// [`NameError`], also for bytes that are not UTF-8.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NameError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text),
            Err(_) => Err(NameError::NotUtf8(String::from_utf8_lossy(bytes).into_owned())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The media type that the extension stands for, `application/octet-stream` where unknown.
    pub fn media_type(&self) -> MediaType {
        let extension = self.file_name().rsplit_once('.').map_or("", |(_, extension)| extension);
        let media = match extension.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" => "image/jpeg",
            "png" => "image/png",
            "tif" | "tiff" => "image/tiff",
            "bmp" => "image/bmp",
            "webp" => "image/webp",
            "jxl" => "image/jxl",
            "pbm" | "pgm" | "ppm" | "pnm" | "pam" | "pfm" => "image/x-portable-anymap",
            "gif" => "image/gif",
            "avif" => "image/avif",
            "jp2" | "j2k" => "image/jp2",
            "hdr" => "image/vnd.radiance",
            "npy" => "application/x-npy",
            _ => "application/octet-stream",
        };
        MediaType(media.to_owned())
    }
}

impl MediaType {
    /// Parses `type/subtype` in printable ASCII, at most 127 bytes.
    ///
    /// # Errors
    /// [`NameError::NotAMediaType`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let well_formed = text.len() <= MAX_MEDIA_BYTES
            && text.bytes().all(|byte| byte.is_ascii_graphic())
            && text
                .split_once('/')
                .is_some_and(|(kind, subtype)| !kind.is_empty() && !subtype.is_empty());
        if !well_formed {
            let shown = text.chars().take(MAX_MEDIA_BYTES).collect();
            return Err(NameError::NotAMediaType(shown));
        }
        Ok(Self(text.to_owned()))
    }

    /// The media type.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Text for people to read on one line: control characters are written as escapes, so that neither
/// a file's name nor a peer's words can move a terminal's cursor or pass for a line of ours.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| {
        let (plain, escaped) =
            if c.is_control() { (None, Some(c.escape_default())) } else { (Some(c), None) };
        plain.into_iter().chain(escaped.into_iter().flatten())
    };
    Cow::Owned(text.chars().flat_map(escape).collect())
}

/// The one place that decides which names can be a path component.
fn check_component(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > MAX_COMPONENT_BYTES {
        return Err(NameError::TooLong(name.len()));
    }
    if let Some(character) = name.chars().find(|&c| c.is_control() || c == '/' || c == '\\') {
        return Err(NameError::Character { name: name.to_owned(), character });
    }
    if name == "." || name == ".." {
        return Err(NameError::Dots(name.to_owned()));
    }
    if is_reserved(name) {
        return Err(NameError::Reserved(name.to_owned()));
    }
    Ok(())
}

fn is_reserved(name: &str) -> bool {
    let lower = name.to_lowercase();
    let stem = lower.split('.').next().unwrap_or_default();
    RECORDS.contains(&lower.as_str())
        || lower.starts_with(RESERVED_PREFIX)
        || WINDOWS_DEVICES.contains(&stem)
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for FrameName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn camera_names_travel() {
        for name in ["0.jpg", "frame 10.png", "Ünïcode-雪.tiff", "a..b", "-rf", ".hidden", "10"]
        {
            assert_eq!(FrameName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn unsafe_names_are_refused() {
        let long = "x".repeat(256);
        for name in [
            "",
            ".",
            "..",
            "a/../b",
            "a//b",
            "a/",
            "/etc",
            "a/.framelane-0.part",
            "a/manifest.jsonl",
            "a\\b",
            "a\0b",
            "a\nb",
            "\u{7f}",
            "\u{85}",
            "manifest.jsonl",
            "MANIFEST.jsonl",
            "Ledger.jsonl",
            ".framelane-7",
            "CON",
            "nul.png",
            long.as_str(),
        ] {
            assert!(FrameName::parse(name).is_err(), "{name:?} was taken");
            assert!(SourceName::parse(name).is_err(), "{name:?} was taken");
        }
    }

    #[test]
    fn frames_may_be_in_folders_and_sources_may_not() {
        let name = FrameName::parse("flight1/left.cam/0.jpg").unwrap();
        assert_eq!(name.parts().collect::<Vec<_>>(), ["flight1", "left.cam", "0.jpg"]);
        assert_eq!((name.folder(), name.file_name()), (Some("flight1/left.cam"), "0.jpg"));
        assert_eq!(name.media_type().as_str(), "image/jpeg");
        let plain = FrameName::parse("0").unwrap();
        assert_eq!((plain.folder(), plain.file_name()), (None, "0"));
        assert!(SourceName::parse("a/b").is_err());
    }

    #[test]
    fn folders_are_bounded_in_depth_and_length() {
        let deep = |parts| FrameName::parse(&vec!["d"; parts].join("/"));
        assert!(deep(MAX_FRAME_NAME_PARTS).is_ok());
        assert!(matches!(deep(MAX_FRAME_NAME_PARTS + 1), Err(NameError::TooDeep(_))));
        let long = |last| {
            FrameName::parse(
                &[&"n".repeat(249)[..], &"n".repeat(249), &"n".repeat(249), &"n".repeat(last)]
                    .join("/"),
            )
        };
        assert!(long(250).is_ok());
        assert_eq!(long(251), Err(NameError::PathTooLong(1_001)));
        assert_eq!(FrameName::parse(&"n".repeat(256)), Err(NameError::TooLong(256)));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused_by_name() {
        let error = FrameName::from_bytes(b"a\xff.png").unwrap_err();
        assert!(error.to_string().contains("not valid UTF-8"), "{error}");
    }

    #[test]
    fn media_types() {
        assert_eq!(FrameName::parse("a.JPG").unwrap().media_type().as_str(), "image/jpeg");
        assert!(MediaType::parse("image/png").is_ok());
        for bad in ["", "image", "/png", "image/", "image/p ng", "image/\n"] {
            assert!(MediaType::parse(bad).is_err(), "{bad:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_normal_components_and_as_many_as_it_has_parts(name in "[a/.~\\PC]{0,40}") {
            if let Ok(name) = FrameName::parse(&name) {
                let path = std::path::Path::new(name.as_str());
                let components: Vec<_> = path.components().collect();
                prop_assert_eq!(components.len(), name.parts().count());
                for (component, part) in components.into_iter().zip(name.parts()) {
                    prop_assert_eq!(component, std::path::Component::Normal(part.as_ref()));
                }
            }
            if let Ok(source) = SourceName::parse(&name) {
                prop_assert_eq!(std::path::Path::new(source.as_str()).components().count(), 1);
            }
        }
    }
}
