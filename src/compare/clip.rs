//! A source in memory.

use std::sync::Arc;

use bytes::Bytes;

use crate::frame::{ContentHash, FrameName, NameError, Sequence, SourceName};
use crate::source::{Content, Description, Extent, Source, SourceError};

/// A source in memory, its frames repeated as often as is needed.
#[derive(Debug)]
pub struct Clip {
    pub(super) name: SourceName,
    pub(super) frames: u64,
    pub(super) kept: Arc<[Kept]>,
    /// Numbered names where frames repeat, or their own.
    pub(super) numbered: bool,
}

/// One of the frames that are repeated.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) name: FrameName,
    pub(super) hash: ContentHash,
    pub(super) body: Bytes,
}

impl Clip {
    /// The same with another number of frames.
    pub(super) fn repeated(&self, frames: u64) -> Self {
        let numbered = self.numbered || frames > self.kept.len() as u64;
        Self { name: self.name.clone(), frames, kept: self.kept.clone(), numbered }
    }

    /// BLAKE3 of a frame.
    pub fn hash(&self, sequence: Sequence) -> Option<ContentHash> {
        self.kept(sequence).map(|kept| kept.hash)
    }

    /// Length of a frame.
    pub fn bytes_of(&self, sequence: Sequence) -> u64 {
        self.kept(sequence).map_or(0, |kept| kept.body.len() as u64)
    }

    /// Length of all frames.
    pub fn bytes(&self) -> u64 {
        (0..self.frames).map(|sequence| self.bytes_of(Sequence(sequence))).sum()
    }

    /// The name that a frame has in the store.
    ///
    /// # Errors
    /// [`SourceError::Name`], which a frame of the clip does not meet.
    pub fn frame_name(&self, sequence: Sequence) -> Result<FrameName, SourceError> {
        let unnamed = |why| SourceError::Name { path: sequence.to_string().into(), why };
        let kept = self.kept(sequence).ok_or(unnamed(NameError::Empty))?;
        if !self.numbered {
            return Ok(kept.name.clone());
        }
        let extension = kept.name.as_str().rsplit_once('.').map(|(_, extension)| extension);
        let extension = extension.map(|extension| format!(".{extension}")).unwrap_or_default();
        FrameName::parse(&format!("{sequence}{extension}")).map_err(unnamed)
    }

    fn kept(&self, sequence: Sequence) -> Option<&Kept> {
        let kept = self.kept.len() as u64;
        (sequence.0 < self.frames && kept > 0).then(|| &self.kept[(sequence.0 % kept) as usize])
    }
}

impl Source for Clip {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn extent(&self) -> Extent {
        Extent::fixed(self.frames)
    }

    fn describe(&self, sequence: Sequence) -> Result<Description, SourceError> {
        let name = self.frame_name(sequence)?;
        Ok(Description { name, bytes: self.bytes_of(sequence), modified: None, captured: None })
    }

    fn read(&self, sequence: Sequence, limit: u64) -> Result<Content, SourceError> {
        let description = self.describe(sequence)?;
        let (path, bytes) = (description.name.as_str().into(), description.bytes);
        match self.kept(sequence) {
            Some(kept) if bytes <= limit => {
                Ok(Content { description, hash: kept.hash, body: kept.body.clone() })
            }
            _ => Err(SourceError::TooLarge { path, bytes, limit }),
        }
    }

    fn label(&self, sequence: Sequence) -> String {
        self.frame_name(sequence).map_or_else(|_| sequence.to_string(), |name| name.to_string())
    }
}
