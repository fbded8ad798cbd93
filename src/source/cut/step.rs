//! How the structure of an image is walked.

use super::{Kind, Why};

/// How far a walk has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The image goes on, at least to this length.
    More(usize),
    /// The image has this length.
    End(usize),
    /// It is no good. An image that was torn may have lost its end to the next one, which begins no
    /// earlier than at this place in it.
    Bad(Why, usize),
}

/// A walk through one image's structure. It keeps its place, so no byte is looked at twice.
pub(super) trait Walk {
    /// Goes on through `data`, all of the image that is there so far.
    fn step(&mut self, data: &[u8]) -> Step;

    fn kind(&self) -> Kind;

    /// Where in what has been seen another image may begin, if this one was torn and nobody noticed.
    fn torn_at(&self) -> usize;

    /// The end of what belongs to this image by its own account: up to there only what surely is no
    /// part of it is another.
    fn claimed(&self) -> usize;
}

pub(super) fn be16(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*data.get(at..)?.first_chunk()?))
}

pub(super) fn be32(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*data.get(at..)?.first_chunk()?))
}

pub(super) fn be64(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*data.get(at..)?.first_chunk()?))
}

/// A length that the input states; one that this machine cannot address is too long for anything.
pub(super) fn length(stated: u64) -> usize {
    usize::try_from(stated).unwrap_or(usize::MAX)
}
