//! A frame that a program has made.

use std::borrow::Cow;
use std::time::{Instant, SystemTime};

use bytes::Bytes;

use crate::frame::{Captured, Clock, FrameName, NameError, UnixNanos};

/// A frame to be pushed: an image as a file of its kind holds it, and when it was made.
#[derive(Debug, Clone)]
pub struct Frame {
    pub(super) bytes: Bytes,
    pub(super) name: Name,
    pub(super) captured: Option<UnixNanos>,
    /// Our steady clock at that time, where it is now.
    pub(super) at: Option<Instant>,
}

/// How a frame comes to its name.
#[derive(Debug, Clone)]
pub(super) enum Name {
    /// After the time of its capture, with this extension.
    OfTime(Cow<'static, str>),
    /// As the program says.
    Given(Result<FrameName, NameError>),
}

impl Frame {
    /// A JPEG image.
    pub fn jpeg(bytes: impl Into<Bytes>) -> Self {
        Self::of_kind("jpg", bytes.into())
    }

    /// A PNG image.
    pub fn png(bytes: impl Into<Bytes>) -> Self {
        Self::of_kind("png", bytes.into())
    }

    /// A TIFF image.
    pub fn tiff(bytes: impl Into<Bytes>) -> Self {
        Self::of_kind("tiff", bytes.into())
    }

    /// Bytes of any kind.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::of_kind("bin", bytes.into())
    }

    /// A numpy array in an NPY file: raw pixels that say their own shape and type.
    pub fn npy(bytes: impl Into<Bytes>) -> Self {
        Self::of_kind("npy", bytes.into())
    }

    /// Bytes of any kind, in a file with this extension (`webp`), without a dot in front. One that a name cannot end
    /// in is an error when the frame is pushed.
    pub fn with_extension(extension: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self { name: Name::OfTime(Cow::Owned(extension.into())), ..Self::raw(bytes) }
    }

    /// Bytes of any kind under a name of their own, instead of one made of the capture time:
    /// `front/000017.jpg`. Names that the source has used before are refused by the receiver, unless the
    /// content is the same. One that cannot travel is an error when the frame is pushed.
    pub fn named(name: &str, bytes: impl Into<Bytes>) -> Self {
        let name = Name::Given(FrameName::parse(name));
        Self { name, ..Self::of_kind("bin", bytes.into()) }
    }

    /// It was captured just now. Where nothing is said of it, that is when it is pushed.
    #[must_use]
    pub fn captured_now(self) -> Self {
        Self { captured: Some(UnixNanos::now()), at: Some(Instant::now()), ..self }
    }

    /// It was captured at that time. It is taken for as old as that when it is decided whether a live frame
    /// is too late.
    #[must_use]
    pub fn captured_at(self, time: SystemTime) -> Self {
        let at = SystemTime::now().duration_since(time).ok();
        let at = at.and_then(|age| Instant::now().checked_sub(age));
        Self { captured: Some(time.into()), at, ..self }
    }

    fn of_kind(extension: &'static str, bytes: Bytes) -> Self {
        Self { bytes, name: Name::OfTime(Cow::Borrowed(extension)), captured: None, at: None }
    }
}

/// The capture time as it travels.
pub(super) fn captured(at: UnixNanos) -> Captured {
    Captured { at, clock: Clock::Program, uncertainty: None }
}
