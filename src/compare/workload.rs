//! What is sent: frames in memory, so that no disk or generator disturbs a run.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::CompareError;
use super::clip::{Clip, Kept};
use super::live::{Live, Shutter};
use crate::frame::{FrameName, Sequence, SourceName};
use crate::repair::RepairMode;
use crate::sender::Pace;
use crate::source::synthetic::{self, Kind};
use crate::source::{Content, Description, Extent, Folder, Source, SourceError};

/// A camera whose frames are generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Camera {
    /// The source's name.
    pub name: &'static str,
    /// What it sees.
    pub kind: Kind,
    /// Bytes of each frame.
    pub bytes: usize,
}

/// The cameras of generated frames, as a rig for inspection has them.
pub const CAMERAS: [Camera; 2] = [
    Camera { name: "visible", kind: Kind::Visible, bytes: 60_000 },
    Camera { name: "infrared", kind: Kind::Infrared, bytes: 20_000 },
];

/// Generated frames that differ; more would take longer to make than to send.
const DIFFERENT: u64 = 10;

/// The most memory for the frames of one source.
const MAX_BYTES: u64 = 1 << 30;

/// What is sent in every cell.
#[derive(Debug, Clone)]
pub struct Workload {
    /// How fast frames fall due.
    pub pace: Pace,
    /// The sources.
    pub clips: Vec<Arc<Clip>>,
    /// Whether the frames were generated.
    pub generated: bool,
    /// How much forward repair QUIC's frames carry.
    pub repair: RepairMode,
    /// Since when there are frames.
    pub coming: Coming,
}

/// Since when there are the frames of a workload that has a pace. In bulk they are there from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coming {
    /// Each from the time at which it is due, as a camera's.
    #[default]
    WhenDue,
    /// All from the start, as a folder's: they are offered and read before they are due.
    AsFolder,
}

impl Workload {
    /// Two cameras, as a rig for inspection has them: visible 60 kB, infrared 20 kB, real images.
    ///
    /// # Errors
    /// [`CompareError::Name`], in which case the cameras' names are at fault.
    pub fn generated(pace: Pace, frames: u64, seed: u64) -> Result<Self, CompareError> {
        Self::of_cameras(pace, frames, &CAMERAS, seed)
    }

    /// Real images from any cameras, `frames` of each.
    ///
    /// # Errors
    /// [`CompareError::Name`] for a camera that cannot be called so.
    pub fn of_cameras(
        pace: Pace,
        frames: u64,
        cameras: &[Camera],
        seed: u64,
    ) -> Result<Self, CompareError> {
        let clips = cameras.iter().map(|camera| Ok(Arc::new(camera.clip(frames, seed)?)));
        Ok(Self {
            pace,
            clips: clips.collect::<Result<_, CompareError>>()?,
            generated: true,
            repair: RepairMode::Auto,
            coming: Coming::default(),
        })
    }

    /// The user's own frames: the first `frames` of each folder, repeated where there are fewer.
    ///
    /// # Errors
    /// [`CompareError::Source`] and [`CompareError::TooLarge`].
    pub fn own(
        pace: Pace,
        frames: u64,
        folders: &[(SourceName, &Path)],
    ) -> Result<Self, CompareError> {
        let clips = folders.iter().map(|(name, path)| own(name, path, frames).map(Arc::new));
        Ok(Self {
            pace,
            clips: clips.collect::<Result<_, CompareError>>()?,
            generated: false,
            repair: RepairMode::Auto,
            coming: Coming::default(),
        })
    }

    /// The same with another forward repair.
    pub fn with_repair(self, repair: RepairMode) -> Self {
        Self { repair, ..self }
    }

    /// The same with frames that are there since another time.
    pub fn with_coming(self, coming: Coming) -> Self {
        Self { coming, ..self }
    }

    /// The same at another pace, with another number of frames from each source, repeated where
    /// there are fewer. Nothing is generated or read again.
    pub fn paced(&self, pace: Pace, frames: u64) -> Self {
        let clips = self.clips.iter().map(|clip| Arc::new(clip.repeated(frames)));
        Self { pace, clips: clips.collect(), ..self.clone() }
    }

    /// The time over which frames fall due, in seconds; 0 for bulk.
    pub fn seconds(&self) -> f64 {
        let frames = self.clips.iter().map(|clip| clip.frames).max().unwrap_or(0);
        match self.pace {
            Pace::Bulk => 0.0,
            Pace::PerSecond(rate) => frames.saturating_sub(1) as f64 / rate,
        }
    }

    /// Payload bytes of all frames.
    pub fn bytes(&self) -> u64 {
        self.clips.iter().map(|clip| clip.bytes()).sum()
    }

    /// Frames of all sources.
    pub fn frames(&self) -> u64 {
        self.clips.iter().map(|clip| clip.frames).sum()
    }

    /// What a run sends. Cameras begin when the receiver has answered, so each run has its own.
    pub(super) fn sources(&self) -> Vec<Arc<dyn Source>> {
        let named = self.clips.iter().map(|clip| (clip.name.clone(), clip.clone()));
        self.of_clips(named.collect())
    }

    /// The same under other source names, the first part of each being `prefix`.
    ///
    /// # Errors
    /// [`CompareError::Name`].
    pub(super) fn renamed(&self, prefix: &str) -> Result<Vec<Arc<dyn Source>>, CompareError> {
        let named = self.clips.iter().map(|clip| {
            let name = SourceName::parse(&format!("{prefix}-{}", clip.name)).map_err(|error| {
                CompareError::Name { source_name: clip.name.to_string(), error }
            })?;
            Ok((name, clip.clone()))
        });
        Ok(self.of_clips(named.collect::<Result<_, CompareError>>()?))
    }

    /// The pace that a sender is told. Frames of cameras are due when they come, whatever it says.
    pub(super) fn senders_pace(&self) -> Pace {
        match self.shutter_rate() {
            Some(_) => Pace::Bulk,
            None => self.pace,
        }
    }

    fn of_clips(&self, named: Vec<(SourceName, Arc<Clip>)>) -> Vec<Arc<dyn Source>> {
        let shutter = self.shutter_rate().map(Shutter::new);
        let source = |(name, clip)| match &shutter {
            Some(shutter) => Arc::new(Live::new(name, clip, shutter.clone())) as Arc<dyn Source>,
            None => Arc::new(Renamed { name, clip }),
        };
        named.into_iter().map(source).collect()
    }

    /// How many frames a second cameras make, where they do.
    fn shutter_rate(&self) -> Option<f64> {
        match (self.pace, self.coming) {
            (Pace::PerSecond(rate), Coming::WhenDue) => Some(rate),
            _ => None,
        }
    }
}

impl Camera {
    fn clip(&self, frames: u64, seed: u64) -> Result<Clip, CompareError> {
        let failed = |error| CompareError::Name { source_name: self.name.to_owned(), error };
        let extension = match self.kind {
            Kind::Visible => "jpg",
            Kind::Infrared => "png",
        };
        let kept = (0..DIFFERENT.min(frames)).map(|index| {
            let body = Bytes::from(synthetic::of_size(self.bytes, index, seed, self.kind));
            let name = FrameName::parse(&format!("{index}.{extension}")).map_err(failed)?;
            Ok(Kept { name, hash: blake3::hash(&body), body })
        });
        let kept = kept.collect::<Result<_, CompareError>>()?;
        let name = SourceName::parse(self.name).map_err(failed)?;
        Ok(Clip { name, frames, kept, numbered: true })
    }
}

fn own(name: &SourceName, path: &Path, frames: u64) -> Result<Clip, CompareError> {
    let failed = |error| CompareError::Source { name: name.to_string(), error };
    let folder = Folder::open(name.clone(), path).map_err(failed)?;
    let (mut kept, mut bytes) = (Vec::new(), 0);
    for sequence in (0..folder.frames().min(frames)).map(Sequence) {
        let content = folder.read(sequence, MAX_BYTES).map_err(failed)?;
        bytes += content.body.len() as u64;
        if bytes > MAX_BYTES {
            return Err(CompareError::TooLarge {
                name: name.to_string(),
                frames,
                limit: MAX_BYTES,
            });
        }
        let Content { description, hash, body } = content;
        kept.push(Kept { name: description.name, hash, body });
    }
    let numbered = frames > kept.len() as u64;
    Ok(Clip { name: name.clone(), frames, kept: kept.into(), numbered })
}

/// A clip under another name.
struct Renamed {
    name: SourceName,
    clip: Arc<Clip>,
}

impl Source for Renamed {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn extent(&self) -> Extent {
        self.clip.extent()
    }

    fn describe(&self, sequence: Sequence) -> Result<Description, SourceError> {
        self.clip.describe(sequence)
    }

    fn read(&self, sequence: Sequence, limit: u64) -> Result<Content, SourceError> {
        self.clip.read(sequence, limit)
    }

    fn label(&self, sequence: Sequence) -> String {
        self.clip.label(sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_of_the_size_and_repeat_under_names_of_their_own() {
        let workload = Workload::generated(Pace::Bulk, 25, 1).unwrap();
        let visible = &workload.clips[0];
        assert_eq!(visible.bytes_of(Sequence(3)), 60_000);
        assert_eq!(visible.hash(Sequence(3)), visible.hash(Sequence(13)));
        assert_eq!(visible.frame_name(Sequence(13)).unwrap().as_str(), "13.jpg");
        assert_eq!(visible.hash(Sequence(25)), None);
        assert_eq!(workload.bytes(), 25 * 80_000);
    }

    #[test]
    fn any_cameras_at_any_length() {
        let camera = Camera { name: "front", kind: Kind::Visible, bytes: 40_000 };
        let one = Workload::of_cameras(Pace::Bulk, 10, &[camera], 1).unwrap();
        let many = one.paced(Pace::PerSecond(30.0), 31);
        assert_eq!((many.clips.len(), many.bytes()), (1, 31 * 40_000));
        assert_eq!(many.seconds(), 1.0);
        assert_eq!(many.clips[0].hash(Sequence(12)), one.clips[0].hash(Sequence(2)));
        let bad = Camera { name: "a/b", ..camera };
        assert!(Workload::of_cameras(Pace::Bulk, 1, &[bad], 1).is_err());
    }

    #[test]
    fn own_frames_keep_their_names_unless_they_repeat() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.png"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let name = SourceName::parse("s").unwrap();
        let once = Workload::own(Pace::Bulk, 2, &[(name.clone(), dir.path())]).unwrap();
        assert_eq!(once.clips[0].frame_name(Sequence(1)).unwrap().as_str(), "b.png");
        let often = Workload::own(Pace::Bulk, 5, &[(name, dir.path())]).unwrap();
        assert_eq!(often.clips[0].frame_name(Sequence(4)).unwrap().as_str(), "4.png");
        assert_eq!(often.clips[0].hash(Sequence(4)), Some(blake3::hash(b"a.png")));
    }
}
