//! Where a cutter is in its input.

use super::Kind;
use super::jpeg::Jpeg;
use super::jpeg_tail::{Behind, JpegTail};
use super::starts::{self, Form, Head};
use super::step::Walk;

/// Bytes behind a TIFF that are its own, padding mostly.
const TIFF_TAIL: usize = 64;

/// What the first byte that is not consumed is.
pub(super) enum State {
    /// The first behind an image, or of all: an image is expected.
    Boundary { is_late: bool },
    /// Anything.
    Seek { torn: Option<Torn> },
    /// The first of an image whose end is not known yet.
    Image { form: Form, walk: Box<dyn Walk + Send> },
    /// The first of a JPEG, walked by its own type for what that tells.
    Jpeg(Jpeg),
    /// In a JPEG that is longer than is taken, which is walked to its end all the same: what is in it
    /// and behind it is no other image.
    Overlong(Jpeg),
    /// The first of an image that ends at `end`, or behind it.
    Behind { end: usize, tail: Tail, is_overlong: bool },
    /// Nothing can be cut any more.
    Lost,
}

/// What may belong to an image behind its end.
pub(super) enum Tail {
    Jpeg(JpegTail),
    Tiff,
    Boxes,
}

/// Where an image was that turned out to be torn: in what it had, which ends here, only what surely is
/// no part of it is an image.
pub(super) struct Torn {
    pub(super) until: u64,
    pub(super) kind: Kind,
    /// Its first bytes.
    pub(super) head: [u8; 11],
}

/// A TIFF's end is where its directories say, or some bytes behind, where the next image begins.
pub(super) fn padding(data: &[u8], end: usize) -> Behind {
    for at in end..=end + TIFF_TAIL {
        match starts::head(data.get(at..).unwrap_or_default()) {
            Head::Image(_) => return Behind::End(at),
            Head::Short => return Behind::More,
            Head::Other => {}
        }
    }
    Behind::End(end)
}
