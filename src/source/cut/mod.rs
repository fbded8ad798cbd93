//! Images cut out of a stream of bytes, as a pipe from a camera's program gives them.
//!
//! Cut by structure: the lengths of markers, chunks, boxes and directories, and never by looking for the
//! bytes that an image ends with, since those are in thumbnails, maker's data and other images' pixels
//! as well. Whatever fits no image is passed over and told, and the next whole image goes on.
//!
//! Where an image ends is known at its own last byte. A JPEG or TIFF can have more behind it that belongs
//! to it (a second picture, a maker's trailer), and so is held until the next one begins or the input is
//! silent for [`Cutter::patience`]. A part that comes later than that is passed over, as bytes without
//! an image: a program that writes an image in two goes wants [`Framing::Length`].

mod cutter;
mod jpeg;
mod jpeg_tail;
mod jxl;
mod lengths;
mod png;
mod starts;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod tiff;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use bytes::Bytes;
use thiserror::Error;

pub use cutter::Cutter;

use step::{Step, Walk as _};

/// What comes out of a [`Cutter`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// A whole image, with what belongs to it behind its end.
    Image {
        /// Its bytes, as they came.
        bytes: Bytes,
        /// What it is.
        kind: Kind,
    },
    /// Bytes that are no image, or a damaged or an overlong one.
    Skipped {
        /// Their places in the input, counted from 0.
        bytes: Range<u64>,
        /// What is wrong with the first of them.
        why: Why,
    },
}

/// Kinds of image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// TIFF or BigTIFF.
    Tiff,
    /// JPEG XL, bare or in its container.
    JpegXl,
    /// Pixels and nothing else.
    Raw,
    /// Something else, that came with its length.
    Other,
}

impl Kind {
    /// The usual end of such a file's name, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Tiff => "tif",
            Self::JpegXl => "jxl",
            Self::Raw => "raw",
            Self::Other => "bin",
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Tiff => "image/tiff",
            Self::JpegXl => "image/jxl",
            Self::Raw | Self::Other => "application/octet-stream",
        }
    }
}

/// Why bytes are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Why {
    /// No image begins here.
    #[error("no image begins here")]
    NoImage,
    /// Nor does anything that is known here; what the bytes look like.
    #[error("this is {0}")]
    Looks(&'static str),
    /// They came so late that the image before them had gone on.
    #[error("it may belong to the image before, but came after a pause")]
    Late,
    /// Text between the parts of an HTTP camera's stream. Nothing is wrong with it.
    #[error("it is text between the parts of a stream")]
    Multipart,
    /// The input ended before the image did.
    #[error("the input ended before the image did")]
    Truncated,
    /// Another image begins inside it: what should have ended it is missing.
    #[error("another image begins before this one has ended")]
    Unended,
    /// Its structure is damaged.
    #[error("the image is damaged: {0}")]
    Damaged(&'static str),
    /// It is longer than is taken.
    #[error("the image is longer than the largest frame")]
    TooLarge,
    /// Several images in one, with a clock of their own.
    #[error("it is an animation; images are wanted, as of ffmpeg -c:v png")]
    Animation,
    /// The length in front of it is none: nothing behind it can be cut.
    #[error("there is no length here, as `framing` length wants in front of each image")]
    NoLength,
}

/// How a stream is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// By the structure of the images.
    #[default]
    Structure,
    /// By a length in front of each: four bytes, the highest first, or decimal digits and a line feed.
    Length,
    /// In pieces of this many bytes, at least 1.
    Raw(u64),
}

/// The size of raw frames, as in `640x512x2`: width, height, bytes a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawSize {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes of a pixel.
    pub depth: u32,
}

/// A size that is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a raw size; write WIDTHxHEIGHTxBYTES, as in 640x512x2")]
pub struct RawSizeError(String);

impl RawSize {
    /// Bytes of a frame.
    pub fn frame_bytes(self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * u64::from(self.depth)
    }
}

impl FromStr for RawSize {
    type Err = RawSizeError;

    fn from_str(text: &str) -> Result<Self, RawSizeError> {
        let parts: Vec<Option<u32>> = text
            .split('x')
            .map(|part| part.parse().ok().filter(|&number| (1..=1 << 20).contains(&number)))
            .collect();
        match parts[..] {
            [Some(width), Some(height), Some(depth)] if depth <= 64 => {
                Ok(Self { width, height, depth })
            }
            _ => Err(RawSizeError(text.to_owned())),
        }
    }
}

impl fmt::Display for RawSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.width, self.height, self.depth)
    }
}

/// Whether a file's content is an image that has its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// It is.
    Yes(Kind),
    /// It is an image of this kind, and its end is missing.
    Unended(Kind),
    /// It begins as an image of this kind, and is damaged.
    Damaged(Kind, &'static str),
    /// It is no image that is known here, so nothing can be said.
    Unknown,
}

/// Looks whether `content`, all of a file, is an image with its own end. What is behind that is nobody's
/// business here.
pub fn whole(content: &[u8]) -> Whole {
    let Some(mut walk) = starts::walk_of(content) else { return Whole::Unknown };
    let kind = walk.kind();
    match walk.step(content) {
        Step::End(_) => Whole::Yes(kind),
        Step::More(_) => Whole::Unended(kind),
        Step::Bad(Why::Animation, _) => Whole::Yes(kind),
        Step::Bad(Why::Damaged(what), _) => Whole::Damaged(kind, what),
        Step::Bad(..) => Whole::Unended(kind),
    }
}

/// What may still follow in a file that is a whole image so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Further {
    /// Nothing: its kind ends where the file does.
    Nothing,
    /// Another picture, a maker's trailer, a further page: nothing in it tells.
    Perhaps,
    /// A picture that it announces, and that is not there, or not all of it.
    Announced,
}

/// What may still follow `content`, all that there is of a file by now, if it is still being written.
pub(super) fn further(content: &[u8]) -> Further {
    let Some(mut walk) = starts::walk_of(content) else { return Further::Perhaps };
    match (walk.kind(), walk.step(content)) {
        (Kind::Png, Step::End(bytes)) if bytes == content.len() => Further::Nothing,
        (Kind::Jpeg, Step::End(end)) => {
            let mut first = jpeg::Jpeg::default();
            first.step(content);
            let mut tail = jpeg_tail::JpegTail::new(first.traits, end);
            tail.step(content, usize::MAX);
            if tail.misses_some() { Further::Announced } else { Further::Perhaps }
        }
        _ => Further::Perhaps,
    }
}
